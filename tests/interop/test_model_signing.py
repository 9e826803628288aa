"""OpenSSF Model Signing's reference implementation: it accepts what ours signs, ours accepts what it signs."""

import hashlib
import json
import shutil
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from conftest import CHUNK, FIXTURES, assay, write_model  # noqa: E402

MODEL_SIGNING = Path(sys.executable).parent / "model_signing"
OMS = FIXTURES / "oms"


def model_signing(*args):
    return subprocess.run([str(MODEL_SIGNING), *map(str, args)], capture_output=True, text=True, timeout=120)


def signature_of(world, model, version, into):
    """The model signature of a release, fetched as a stranger would: by its digest in the manifest."""
    base = f"{world.registry.url}/v1/namespaces/{world.namespace}"
    with urllib.request.urlopen(f"{base}/models/{model}/releases/{version}", timeout=10) as answer:
        digest = json.load(answer)["manifest"]
    with urllib.request.urlopen(f"{world.registry.url}/tuf/{world.namespace}/targets/models/{model}/0/{digest}.{version}.json", timeout=10) as answer:
        manifest = json.load(answer)
    for attestation in manifest["attestations"]:
        with urllib.request.urlopen(f"{base}/blobs/{attestation['sha256']}", timeout=10) as answer:
            data = answer.read()
        assert hashlib.sha256(data).hexdigest() == attestation["sha256"]
        if attestation["predicate_type"].startswith("https://model_signing/"):
            into.write_bytes(data)
            return into
    raise AssertionError(f"no model signature among {manifest['attestations']}")


def test_it_accepts_what_publish_signed_and_refuses_a_change(published, model, tmp_path):
    signature = signature_of(published, "minilm", "1.0.0", tmp_path / "model.sig")
    (key,) = published.authority.glob("model-signing.pem.pub")
    args = ("verify", "key", model, "--signature", signature, "--public_key", key)
    done = model_signing(*args)
    assert done.returncode == 0, done.stdout + done.stderr
    weights = model / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[CHUNK] ^= 1
    weights.write_bytes(data)
    assert model_signing(*args).returncode != 0


@pytest.mark.parametrize("curve", ["p256", "p384"])
def test_ours_accepts_the_sample_and_refuses_it_after_a_change(tmp_path, curve):
    folder = shutil.copytree(OMS / "model", tmp_path / "model")
    args = ("verify", folder, "--signature", OMS / f"model.ec-{curve}.sig", "--public-key", OMS / f"ec-{curve}.pub", "--json")
    assert assay(*args).ok().json["files"] == 4
    config = folder / "config.json"
    original = config.read_bytes()
    config.write_bytes(original.replace(b"{", b"{ ", 1))
    assay(*args).refused()
    config.write_bytes(original)
    assay(*args).ok()
    (folder / "adapter.bin").write_bytes(b"unsigned")
    assay(*args).refused()
    (folder / "adapter.bin").unlink()
    config.rename(folder / "confih.json")
    assay(*args).refused()


def test_ours_refuses_the_sample_with_another_key(tmp_path):
    folder = shutil.copytree(OMS / "model", tmp_path / "model")
    assay("verify", folder, "--signature", OMS / "model.ec-p256.sig", "--public-key", OMS / "ec-p384.pub").refused()


@pytest.mark.parametrize("curve", ["prime256v1", "secp384r1", "secp521r1"])
def test_ours_accepts_what_it_signs_now(tmp_path, curve):
    folder = write_model(tmp_path / "model")
    key, public, signature = tmp_path / "key.pem", tmp_path / "key.pub", tmp_path / "model.sig"
    for command in (
        ["openssl", "ecparam", "-name", curve, "-genkey", "-noout", "-out", key],
        ["openssl", "ec", "-in", key, "-pubout", "-out", public],
    ):
        subprocess.run(list(map(str, command)), check=True, capture_output=True)
    done = model_signing("sign", "key", folder, "--private_key", key, "--signature", signature)
    assert done.returncode == 0, done.stderr
    args = ("verify", folder, "--signature", signature, "--public-key", public)
    assay(*args).ok()
    (folder / "tokenizer" / "vocab.txt").write_text("a\nc\n")
    assay(*args).refused()
