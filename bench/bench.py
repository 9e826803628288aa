"""Measures the release binaries beside their peers. Run by bench/run.sh."""

import json
import os
import re
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

REPO = Path(__file__).resolve().parent.parent
BIN = Path(sys.argv[1])
GIB = 1 << 30
MIB = 1 << 20
CORES = len(os.sched_getaffinity(0))
ROUNDS = 3
rows = []
missed = []


def row(what, figure, peer="", goal="", met=None):
    """One line of the table; `met` says whether the goal is reached."""
    mark = "" if met is None else ("met" if met else "MISSED")
    rows.append((what, figure, peer, goal, mark))
    if met is False:
        missed.append(what)
    print(f"  {what}: {figure} {peer} {goal} {mark}", file=sys.stderr, flush=True)


def table():
    head = ("what", "figure", "beside", "goal", "")
    widths = [max(len(r[i]) for r in [head, *rows]) for i in range(5)]
    print()
    for line in [head, tuple("-" * w for w in widths), *rows]:
        print("  ".join(cell.ljust(w) for cell, w in zip(line, widths)).rstrip())


class Peak:
    """The largest resident size that /proc saw of a process (VmHWM)."""

    def __init__(self, process):
        self.kib = 0
        self.process = process
        self.thread = threading.Thread(target=self._watch, daemon=True)
        self.thread.start()

    def _watch(self):
        while self.process.poll() is None:
            self.look()
            time.sleep(0.02)

    def look(self):
        try:
            status = Path(f"/proc/{self.process.pid}/status").read_text()
        except OSError:
            return
        if found := re.search(r"VmHWM:\s+(\d+) kB", status):
            self.kib = max(self.kib, int(found.group(1)))

    @property
    def mib(self):
        self.look()
        return self.kib / 1024


def run(*args, env=None, peak=False):
    """Runs to the end; gives seconds, output and the peak in MiB."""
    began = time.perf_counter()
    process = subprocess.Popen(
        list(map(str, args)), env=os.environ | (env or {}), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    watch = Peak(process) if peak else None
    out, err = process.communicate()
    took = time.perf_counter() - began
    if process.returncode != 0:
        raise SystemExit(f"{' '.join(map(str, args))}: exit code {process.returncode}\n{out}\n{err}")
    return took, out, watch.mib if watch else 0


def cpu_seconds():
    """Processor time of all children that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def best(*args, **more):
    """Shortest time and least processor time of some rounds: the machine's other work only ever adds."""
    took, used = [], []
    for _ in range(ROUNDS):
        before = cpu_seconds()
        took.append(run(*args, **more)[0])
        used.append(cpu_seconds() - before)
    return min(took), min(used)


class World:
    """A registry on loopback, an authority, a device."""

    def __init__(self, work):
        self.work = work
        text = self.start("127.0.0.1:0")
        self.env = {
            "ASSAY_REGISTRY": self.url,
            "ASSAY_TOKEN": re.search(r"admin token \(shown once\): (\S+)", text).group(1),
            "ASSAY_AUTHORITY": str(work / "authority"),
            "ASSAY_STORE": str(work / "device"),
        }
        self.assay("keygen", work / "authority")
        created = self.assay("namespace", "create", "bench", "--json")[1]
        self.fingerprint = json.loads(created)["fingerprint"]
        self.assay("trust", "add", "bench", "--fingerprint", self.fingerprint)

    def start(self, address, *options):
        """Starts the registry; gives what it printed."""
        log = self.work / "server.out"
        self.server = subprocess.Popen(
            [str(BIN / "assay-server"), "--listen", address, "--data-dir", str(self.work / "registry"), *map(str, options)],
            stdout=log.open("w"),
            stderr=(self.work / "server.err").open("w"),
        )
        self.peak = Peak(self.server)
        deadline = time.monotonic() + 60
        while "listening on" not in (text := log.read_text()):
            if self.server.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"the registry did not start:\n{(self.work / 'server.err').read_text()}")
            time.sleep(0.05)
        self.url = re.search(r"listening on (\S+)", text).group(1)
        return text

    def restart(self, configuration):
        """The same registry again, with a configuration."""
        file = self.work / "registry.toml"
        file.write_text(configuration)
        self.stop()
        self.start(self.url.removeprefix("http://"), "--config", file)

    def assay(self, *args, store=None, more_env=None, **more):
        env = self.env | ({"ASSAY_STORE": str(store)} if store else {}) | (more_env or {})
        return run(BIN / "assay", *args, env=env, **more)

    def device(self, name):
        store = self.work / name
        self.assay("trust", "add", "bench", "--fingerprint", self.fingerprint, store=store)
        return store

    def stop(self):
        self.server.send_signal(signal.SIGTERM)
        self.server.wait()


def content_of(store):
    """The folder that holds the newest release's files."""
    newest = max(store.rglob("releases/*"), key=lambda p: p.stat().st_mtime_ns)
    return newest / "files" if (newest / "files").is_dir() else newest


def warm(folder):
    """Reads every file once, so that the page cache holds it."""
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb", buffering=0) as file:
                while file.read(8 * MIB):
                    pass


def openssl_rate():
    """Bytes a second of one core, at 16 KiB: the best of some rounds."""
    best_rate = 0
    for _ in range(ROUNDS):
        out = run("openssl", "speed", "-seconds", "2", "-evp", "sha256", "-bytes", "16384")[1]
        best_rate = max(best_rate, float(re.search(r"sha256\s+([\d.]+)k", out).group(1)) * 1000)
    return best_rate


def verify(world):
    """Local verification, page cache warm: one large file, and the same bytes as four files that a peer can share out."""
    size = float(os.environ.get("BENCH_MODEL", "2"))
    rate = openssl_rate()
    row("openssl speed -evp sha256, 16 KiB, one core", f"{rate / 1e9:.2f} GB/s")
    for shards in (1, 4):
        verify_shards(world, size, shards, rate)


def verify_shards(world, size, shards, rate):
    model = f"verify-{shards}"
    folder = world.work / model
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    for i in range(shards):
        with (folder / f"model-{i:05}.safetensors").open("wb") as file:
            for _ in range(int(size * GIB / shards) // (16 * MIB)):
                file.write(os.urandom(16 * MIB))
    total = sum(p.stat().st_size for p in folder.iterdir())
    what = f"{total / GIB:.1f} GiB in {shards} file{'s' if shards > 1 else ''}"
    world.assay("publish", folder, f"bench/{model}@1.0.0")
    shutil.rmtree(folder)
    world.assay("pull", f"bench/{model}")
    content = content_of(Path(world.env["ASSAY_STORE"]))
    warm(content)
    took, used = best(BIN / "assay", "verify", f"bench/{model}", env=world.env)
    ours = total / took
    ceiling = rate * CORES
    row(
        f"assay verify, release by chunks, {what}",
        f"{ours / 1e9:.2f} GB/s",
        f"{ours / ceiling:.2f} x openssl x {CORES} cores",
        ">= 0.85",
        ours / ceiling >= 0.85,
    )
    # Both count their own processor time, so this ratio holds on a busy machine too.
    row("  the same, by processor time", f"{total / used / 1e9:.2f} GB per CPU second", f"{total / used / rate:.2f} x openssl")

    model_signing = Path(sys.executable).parent / "model_signing"
    key, public, signature = (world.work / f"{model}.{n}" for n in ("key", "pub", "sig"))
    run("openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", key)
    run("openssl", "ec", "-in", key, "-pubout", "-out", public)
    run(model_signing, "sign", "key", content, "--private_key", key, "--signature", signature)
    warm(content)
    took, used = best(model_signing, "verify", "key", content, "--signature", signature, "--public_key", public)
    theirs = total / took
    row(f"model_signing verify key, {what}", f"{theirs / 1e9:.2f} GB/s", f"{total / used / 1e9:.2f} GB per CPU second")
    # It hashes each file on one thread, so only one large file shows what a device waits for at worst.
    ratio = ours / theirs
    goal = {"goal": ">= 3", "met": ratio >= 3} if shards == 1 else {}
    row("  assay verify over model_signing verify", f"{ratio:.1f} x", **goal)
    took, _ = best(BIN / "assay", "verify", content, "--signature", signature, "--public-key", public, env=world.env)
    foreign = total / took
    row(
        f"assay verify of the foreign signature, whole files, {what}",
        f"{foreign / 1e9:.2f} GB/s",
        f"{foreign / theirs:.1f} x model_signing, {foreign / ceiling:.2f} x openssl x {CORES} cores",
    )


def stream(world):
    """One large file through publish and pull: memory, and speed beside curl."""
    size = int(float(os.environ.get("BENCH_SIZE", "8")) * GIB)
    folder = world.work / "large"
    folder.mkdir()
    path = folder / "model.safetensors"
    # Sparse on disk, but every chunk is another: the counter keeps equal chunks from being one.
    with path.open("wb") as file:
        file.truncate(size)
        for at in range(0, size, MIB):
            os.pwrite(file.fileno(), at.to_bytes(8, "little") + b"assay", at)
    took, _, client = world.assay("publish", folder, "bench/large@1.0.0", peak=True)
    gib = f"{size / GIB:.1f} GiB"
    row(f"publish of {gib}: client's peak", f"{client:.0f} MiB", f"at {size / took / 1e6:.0f} MB/s", "< 100 MiB", client < 100)
    row(f"publish of {gib}: registry's peak", f"{world.peak.mib:.0f} MiB", "", "< 100 MiB", world.peak.mib < 100)
    path.unlink()
    store = world.device("large-device")
    took, _, client = world.assay("pull", "bench/large", store=store, peak=True)
    row(f"pull of {gib}: client's peak", f"{client:.0f} MiB", f"at {size / took / 1e6:.0f} MB/s", "< 100 MiB", client < 100)
    row(f"publish and pull of {gib}: registry's peak", f"{world.peak.mib:.0f} MiB", "", "< 100 MiB", world.peak.mib < 100)
    digest = json.loads((content_of(store).parent / "release.json").read_text())["files"][0]["sha256"]
    shutil.rmtree(store, onerror=force)
    if shutil.which("curl"):
        url = f"{world.url}/v1/namespaces/bench/blobs/{digest}"
        plain = size / run("curl", "-sf", "-o", world.work / "plain", url)[0]
        row("curl of the same blob to disk, unverified", f"{plain / 1e6:.0f} MB/s", f"assay pull is {size / took / plain:.2f} x")


def check(world):
    """Requests and bytes of a device's check, of a namespace that names the registry's log and of one that names none."""
    folder = world.work / "small"
    folder.mkdir()
    (folder / "model.bin").write_bytes(os.urandom(3 * MIB))
    world.assay("publish", folder, "bench/small@1.0.0")
    plain = {"ASSAY_AUTHORITY": str(world.work / "plain")}
    world.assay("keygen", world.work / "plain")
    created = world.assay("namespace", "create", "plain", "--log", "none", "--json", more_env=plain)[1]
    world.assay("publish", folder, "plain/small@1.0.0", more_env=plain)
    fingerprint = json.loads(created)["fingerprint"]
    # The log's proof is no TUF file: by static paths it is one request more, in a bundle it is inside.
    for how, namespace, flags, first_goal, again_goal in (
        ("check bundle", "bench", (), 2, 1),
        ("static TUF files", "plain", ("--static",), 7, 2),
        ("static TUF files, and the log's proof", "bench", ("--static",), 8, 2),
    ):
        store = world.device(f"check-{namespace}-{len(flags)}")
        world.assay("trust", "add", "plain", "--fingerprint", fingerprint, store=store)
        count = lambda: json.loads(world.assay("check", f"{namespace}/small", "--json", *flags, store=store)[1])
        first, again = count(), count()
        row(f"first check by {how}", f"{first['requests']} requests", f"{first['bytes_received']} bytes", f"<= {first_goal}", first["requests"] <= first_goal)
        fine = again["requests"] <= again_goal and (flags or again["bytes_received"] <= 1024)
        goal = f"<= {again_goal}" + ("" if flags else ", 1 KB")
        row(f"unchanged check by {how}", f"{again['requests']} requests", f"{again['bytes_received']} bytes", goal, bool(fine))


def offline(world):
    """The whole check of a release, from its first root to provenance, without a network or content: in Rust and in WebAssembly."""
    fixtures = REPO / "verifier" / "provenance" / "tests" / "fixtures" / "keyless-model"
    # The files that the fixture's pipeline signed.
    folder = world.work / "offline"
    folder.mkdir()
    (folder / "README.md").write_text("readme")
    (folder / "weights.safetensors").write_text("weights")
    world.assay("publish", folder, "bench/offline@1.0.0")
    keyless = {"ASSAY_AUTHORITY": str(world.work / "keyless")}
    world.assay("keygen", world.work / "keyless")
    signer = "CI=https://token.assay.test,https://ci.assay.test/acme/minilm/release.yml@refs/heads/main"
    root = fixtures / "trusted_root.json"
    created = world.assay(
        "namespace", "create", "keyless", "--sigstore-signer", signer, "--sigstore-root", root, "--json", more_env=keyless
    )[1]
    (world.work / "keyless" / "model-signing.pem").unlink()
    world.assay(
        "publish", folder, "keyless/offline@1.0.0", "--attestation", fixtures / "bundle.sigstore.json", more_env=keyless
    )
    store = world.device("offline")
    world.assay("trust", "add", "keyless", "--fingerprint", json.loads(created)["fingerprint"], store=store)
    module = REPO / "wasm" / "pkg" / "node" / "assay_wasm.js"
    for namespace, how, goal in (("bench", "key", 2000), ("keyless", "keyless", 10_000)):
        dump = world.work / f"{namespace}.json"
        native = json.loads(run(BIN / "examples" / "check_offline", store, f"{namespace}/offline", 200, dump)[1])["median_us"]
        row(f"offline check, {how} signature, median", f"{native / 1000:.2f} ms", "", f"{goal / 1000:.0f} ms", native <= goal)
        if module.exists():
            found = json.loads(run("node", REPO / "bench" / "offline.mjs", dump, 100)[1])["median_us"]
            times = f"{found / native:.1f} x native"
            row(f"  the same in WebAssembly", f"{found / 1000:.2f} ms", times, "4 x native", found <= 4 * native)
        else:
            row("  the same in WebAssembly", "not built", "make wasm")


class Postgres:
    """A server of its own in a folder, with every commit synchronous."""

    def __init__(self, work):
        self.bin = sorted(Path("/usr/lib/postgresql").glob("*/bin"))[-1]
        # A short path: that of a Unix socket has at most 107 bytes.
        self.folder = Path(tempfile.mkdtemp(prefix="assay-pg-", dir=work))
        # PostgreSQL refuses to run as root.
        self.user = ["runuser", "-u", "postgres", "--"] if os.getuid() == 0 else []
        if self.user:
            for folder in (work, self.folder):
                folder.chmod(0o755)
            shutil.chown(self.folder, "postgres")
        self.data = self.folder / "data"
        self.call("initdb", "-D", self.data, "-U", "assay", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8")
        self.call("pg_ctl", "-D", self.data, "-l", self.folder / "log", "-w", "-o", f"-c listen_addresses= -k {self.folder}", "start")
        self.url = f"postgres://assay@localhost/postgres?host={self.folder}"

    def call(self, program, *args):
        command = [*self.user, str(self.bin / program), *map(str, args)]
        # The server that pg_ctl leaves behind would hold a pipe open.
        with (self.folder.parent / "postgres.out").open("w+") as out:
            done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, cwd="/")
            out.seek(0)
            if done.returncode != 0:
                raise SystemExit(f"{program}: {out.read()}")
            return out.read()

    def one_row_commits(self, seconds):
        """What pgbench commits a second, one row each, with 64 clients."""
        script = self.folder.parent / "insert.sql"
        script.write_text("INSERT INTO plain VALUES (md5(random()::text) || md5(random()::text), 1);\n")
        script.chmod(0o644)
        socket = ["-h", self.folder, "-U", "assay"]
        self.call("psql", *socket, "-c", "CREATE TABLE plain (a text PRIMARY KEY, b bigint)", "postgres")
        out = self.call("pgbench", *socket, "-n", "-c", 64, "-j", 2, "-T", seconds, "-f", script, "postgres")
        return float(re.search(r"tps = ([\d.]+)", out).group(1))

    def stop(self):
        self.call("pg_ctl", "-D", self.data, "-m", "fast", "-w", "stop")


def sqlite_commits(path, seconds):
    """What SQLite commits a second, one row each, synchronous, by one writer."""
    database = sqlite3.connect(path, isolation_level=None)
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("PRAGMA synchronous = FULL")
    database.execute("CREATE TABLE plain (a TEXT PRIMARY KEY, b INTEGER)")
    began, rows = time.perf_counter(), 0
    while time.perf_counter() - began < seconds:
        database.execute("INSERT INTO plain VALUES (?, 1)", (os.urandom(32).hex(),))
        rows += 1
    database.close()
    return rows / seconds


def log(world):
    """Entries that 64 submitters, each waiting for its synchronous commit, bring into published checkpoints; and how soon a
    publication can be installed."""
    seconds = 10

    def throughput(name, goal, peer, beside, *more):
        folder = world.work / name
        folder.mkdir()
        found = json.loads(run(BIN / "examples" / "log_throughput", folder, "--seconds", seconds, *more)[1])
        rate, late = found["per_second"], found["inclusion_p99"]
        row(f"log entries on {name}", f"{rate:.0f}/s", f"{rate / peer:.2f} x {beside}: {peer:.0f}/s", f">= {goal}/s", rate >= goal)
        row(f"99th percentile to a checkpoint, {name}", f"{late:.2f} s", f"median {found['inclusion_p50']:.2f} s", "< 1 s", late < 1)

    throughput("SQLite", 5000, sqlite_commits(world.work / "plain.sqlite", 5), "one-row commits by Python's sqlite3")
    postgres = Postgres(world.work)
    try:
        peer = postgres.one_row_commits(5)
        throughput("PostgreSQL", 1500, peer, "one-row commits by pgbench", "--database-url", postgres.url)
    finally:
        postgres.stop()

    folder = world.work / "soon"
    folder.mkdir()
    (folder / "model.bin").write_bytes(os.urandom(MIB))
    store, slowest = world.device("soon-device"), 0
    for n in range(5):
        began = time.perf_counter()
        world.assay("publish", folder, f"bench/soon@1.0.{n}")
        seen = json.loads(world.assay("check", "bench/soon", "--require", "log", "--json", store=store)[1])
        assert seen["release"].endswith(f"soon@1.0.{n}"), seen
        slowest = max(slowest, time.perf_counter() - began)
    row("publish (1 MiB) to a device's permit with proof, slowest of 5", f"{slowest:.2f} s", "", "< 2 s", slowest < 2)


def wire(world):
    """Bytes on the wire of checks, in namespaces of different sizes."""
    from wire import wire as measure

    measure(world, row, run, BIN / "examples" / "fill_namespace")


def tree(_world):
    """What the verifier depends on."""
    done = subprocess.run([str(REPO / "scripts" / "tree-check.sh")], capture_output=True, text=True)
    found = re.search(r"assay-verifier: (\d+) crates", done.stdout)
    row("crates below the verifier", found.group(1) if found else "?", "", "no tokio, reqwest, hyper, ring, aws-lc", done.returncode == 0)


def force(function, path, _error):
    """Releases are stored read-only: their folders first."""
    os.chmod(os.path.dirname(path), 0o700)
    os.chmod(path, 0o700)
    function(path)


def main():
    chosen = os.environ.get("BENCH_ONLY", "check,offline,wire,tree,log,verify,stream").split(",")
    parts = {"check": check, "offline": offline, "wire": wire, "tree": tree, "log": log, "verify": verify, "stream": stream}
    for name in chosen:
        if name not in parts:
            raise SystemExit(f"BENCH_ONLY: expected {', '.join(parts)}, found {name}")
    for name in chosen:
        # Each part has a registry of its own, so that none sees another's memory.
        work = Path(tempfile.mkdtemp(prefix="assay-bench-", dir=os.environ.get("BENCH_DIR")))
        world = None
        try:
            print(f"{name} ...", file=sys.stderr, flush=True)
            world = World(work)
            parts[name](world)
        finally:
            if world:
                world.stop()
            shutil.rmtree(work, onerror=force)
    print(f"\n{CORES} cores, {os.uname().machine}, load {os.getloadavg()[0]:.1f}")
    table()
    if missed:
        print(f"\nmissed: {'; '.join(missed)}")
        if os.environ.get("BENCH_STRICT"):
            raise SystemExit(1)


main()
