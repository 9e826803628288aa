"""The real binaries over loopback: a registry, an authority and devices, each in a folder of its own."""

import json
import os
import re
import secrets
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parent.parent
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", REPO / "target")) / os.environ.get("ASSAY_PROFILE", "debug")
ASSAY = TARGET / "assay"
SERVER = TARGET / "assay-server"
FIXTURES = REPO / "verifier" / "provenance" / "tests" / "fixtures"
CHUNK = 1 << 20

# The command's exit codes, which `assay --help` lists.
DONE, FAILED, USAGE, REFUSED, DEFERRED, NETWORK, NOT_FOUND, CONFLICT, STORE, DENIED, ALARM = range(11)


@dataclass
class Result:
    """What a command came to."""

    code: int
    out: str
    err: str

    @property
    def json(self):
        return json.loads(self.out)

    def ok(self):
        assert self.code == DONE, self.report()
        return self

    def refused(self):
        assert self.code == REFUSED, self.report()
        return self

    def failed(self, *codes):
        """One of these codes, and an error that says something."""
        assert self.code in codes, self.report()
        assert self.err.strip() or self.out.strip(), "an error without a word"
        assert "panicked" not in self.err, self.report()
        return self

    def report(self):
        return f"exit code {self.code}\n--- stdout\n{self.out}\n--- stderr\n{self.err}"


def environment(**more):
    """No variable of the caller's may reach the command."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith("ASSAY_")}
    return clean | {"NO_COLOR": "1", "RUST_BACKTRACE": "1"} | {k: str(v) for k, v in more.items()}


def assay(*args, env=None, timeout=300, prefix=()):
    """Runs the command to its end."""
    done = subprocess.run(
        [*prefix, str(ASSAY), *map(str, args)],
        env=environment(**(env or {})),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout,
    )
    return Result(done.returncode, done.stdout, done.stderr)


def start(*args, env=None):
    """Starts the command and does not wait for it."""
    return subprocess.Popen(
        [str(ASSAY), *map(str, args)],
        env=environment(**(env or {})),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@dataclass
class Registry:
    """A registry process on a free loopback port."""

    data: Path
    port: int = 0
    token: str = ""
    process: subprocess.Popen = None
    env: dict = field(default_factory=dict)
    prefix: tuple = ()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def start(self, *options):
        """Starts, or starts again on the same port and folder."""
        self.data.mkdir(parents=True, exist_ok=True)
        log = self.data.parent / f"{self.data.name}.log"
        since = log.stat().st_size if log.exists() else 0
        self.log = log
        self.process = subprocess.Popen(
            [*self.prefix, str(SERVER), "--listen", f"127.0.0.1:{self.port}", "--data-dir", str(self.data), *options],
            env=environment(**self.env),
            stdin=subprocess.DEVNULL,
            stdout=log.open("a"),
            stderr=subprocess.STDOUT,
        )
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            text = log.read_text()[since:] if log.exists() else ""
            address = re.search(r"listening on http://127\.0\.0\.1:(\d+)", text)
            token = re.search(r"admin token \(shown once\): (\S+)", text)
            if token:
                self.token = token.group(1)
            if address and self.token and self._answers(int(address.group(1))):
                self.port = int(address.group(1))
                return self
            assert self.process.poll() is None, f"the registry ended:\n{text}"
            time.sleep(0.05)
        raise AssertionError(f"the registry did not start:\n{log.read_text()}")

    @staticmethod
    def _answers(port):
        import urllib.request

        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=2) as answer:
                return answer.status == 200
        except OSError:
            return False

    def kill(self):
        """kill -9, as a power cut would."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self):
        """Asks to stop, and expects a clean end."""
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            assert self.process.wait(timeout=60) == 0, self.log.read_text()


@dataclass
class World:
    """A registry, one authority and its namespace."""

    root: Path
    registry: Registry
    namespace: str
    authority: Path
    fingerprint: str = ""

    @property
    def env(self):
        return {"ASSAY_REGISTRY": self.registry.url, "ASSAY_TOKEN": self.registry.token}

    def publish(self, folder, release, authority=None, **more):
        return assay("publish", folder, f"{self.namespace}/{release}", "--authority", authority or self.authority, env=self.env, **more)

    def device(self, name="device"):
        return Device(self, self.root / f"{name}-{secrets.token_hex(3)}").trust()

    def blobs(self):
        """Objects on the registry's disk that are large enough to be content."""
        return [p for p in self.registry.data.rglob("*") if p.is_file() and "sqlite" not in p.name]


@dataclass
class Device:
    """A device's store."""

    world: World
    store: Path

    def run(self, command, *args, **more):
        env = {"ASSAY_STORE": self.store} | more.pop("env", {})
        return assay(command, *args, env=env, **more)

    def trust(self):
        world = self.world
        self.run("trust", "add", world.namespace, "--registry", world.registry.url, "--fingerprint", world.fingerprint).ok()
        return self

    def ref(self, model):
        return f"{self.world.namespace}/{model}"

    def check(self, model, *args, **more):
        return self.run("check", self.ref(model), "--json", *args, **more)

    def pull(self, model, *args, **more):
        return self.run("pull", self.ref(model), "--json", *args, **more)

    def verify(self, model, *args, **more):
        return self.run("verify", self.ref(model), "--json", *args, **more)

    def releases(self):
        """Activated or sealed releases, by their folder of files."""
        return sorted(p for p in self.store.rglob("releases/*") if p.is_dir())

    def content(self):
        """The files of the newest release folder."""
        newest = max(self.releases(), key=lambda p: p.stat().st_mtime_ns)
        files = newest / "files"
        return files if files.is_dir() else newest


def write_model(folder, size=3 * CHUNK + 17, seed=1):
    """A small model whose bytes are the same for the same seed."""
    import random

    folder = Path(folder)
    (folder / "tokenizer").mkdir(parents=True, exist_ok=True)
    rng = random.Random(seed)
    (folder / "config.json").write_text(json.dumps({"seed": seed}))
    (folder / "model.safetensors").write_bytes(rng.randbytes(size))
    (folder / "tokenizer" / "vocab.txt").write_text("a\nb\n")
    (folder / "empty.txt").write_bytes(b"")
    return folder


def make_world(root, namespace="acme", registry=None):
    """Keys, a namespace, nothing published yet."""
    registry = registry or Registry(root / "registry").start()
    authority = root / f"authority-{namespace}"
    assay("keygen", authority).ok()
    world = World(root, registry, namespace, authority)
    created = assay("namespace", "create", namespace, "--authority", authority, "--json", env=world.env).ok()
    world.fingerprint = created.json["fingerprint"]
    return world


def same_files(left, right):
    """Whether two folders hold the same files with the same bytes."""
    listing = lambda folder: {str(p.relative_to(folder)): p.read_bytes() for p in Path(folder).rglob("*") if p.is_file()}
    return listing(left) == listing(right)


@pytest.fixture
def registry(tmp_path):
    registry = Registry(tmp_path / "registry").start()
    yield registry
    if registry.process.poll() is None:
        registry.kill()


@pytest.fixture
def world(tmp_path, registry):
    return make_world(tmp_path, registry=registry)


@pytest.fixture
def model(tmp_path):
    return write_model(tmp_path / "model")


@pytest.fixture
def published(world, model):
    world.publish(model, "minilm@1.0.0").ok()
    return world


@pytest.fixture
def big_enough_tmp(tmp_path):
    free = shutil.disk_usage(tmp_path).free
    if free < 2 << 30:
        pytest.skip("needs 2 GiB of free space")
    return tmp_path
