"""Bytes on the wire of a check, in namespaces of different sizes, beside python-tuf over the same repository by its static paths.

Whole HTTP messages, heads and bodies, in both directions, as a proxy between device and registry counts them. There is no TLS on loopback.
"""

import base64
import hashlib
import http.server
import json
import os
import socket
import threading
import time
import urllib.request
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

KB = 1000
# Models x releases of each; a semicolon begins a namespace of its own, in which the models grow.
SIZES = os.environ.get("BENCH_WIRE", "10x10,100x10,1000x10;10x100,100x100")


class Proxy:
    """Passes connections on to a registry, and counts."""

    def __init__(self, url):
        host, port = url.removeprefix("http://").rsplit(":", 1)
        self.target = (host, int(port))
        self.lock = threading.Lock()
        self.sent = self.received = 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                device, _ = self.listener.accept()
            except OSError:
                return
            registry = socket.create_connection(self.target)
            for source, sink, what in ((device, registry, "sent"), (registry, device, "received")):
                threading.Thread(target=self._pump, args=(source, sink, what), daemon=True).start()

    def _pump(self, source, sink, what):
        try:
            while data := source.recv(1 << 16):
                with self.lock:
                    setattr(self, what, getattr(self, what) + len(data))
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def count(self, work):
        """What `work` gives, and the bytes that it sent and received."""
        with self.lock:
            before = self.sent, self.received
        result = work()
        with self.lock:
            return result, self.sent - before[0], self.received - before[1]

    def stop(self):
        self.listener.close()


class Witness:
    """A witness (c2sp.org/tlog-witness) that cosigns whatever it is shown: only the bytes of its cosignatures count here."""

    NAME = "witness.bench/w1"

    def __init__(self):
        self.key = Ed25519PrivateKey.generate()
        public = b"\x04" + self.key.public_key().public_bytes_raw()
        self.id = hashlib.sha256(self.NAME.encode() + b"\n" + public).digest()[:4]
        self.verifier = f"{self.NAME}+{self.id.hex()}+{base64.b64encode(public).decode()}"
        witness = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["content-length"]))
                # The proof, an empty line, and the checkpoint: its text, an empty line, signatures.
                answer = witness.cosign(body.split(b"\n\n")[1] + b"\n")
                self.send_response(200)
                self.send_header("content-length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def cosign(self, text):
        now = int(time.time())
        signature = self.key.sign(b"cosignature/v1\ntime %d\n" % now + text)
        line = base64.b64encode(self.id + now.to_bytes(8, "big") + signature).decode()
        return f"\u2014 {self.NAME} {line}\n".encode()

    def configuration(self):
        return f'[[transparency.witnesses]]\nurl = "{self.url}"\nkey = "{self.verifier}"\n'

    def stop(self):
        self.server.shutdown()


class Namespace:
    """A namespace with log, witness and status, filled to a size."""

    def __init__(self, world, proxy, name):
        self.world, self.proxy, self.name = world, proxy, name
        self.folder = world.work / name
        self.env = {"ASSAY_AUTHORITY": str(self.folder)}
        world.assay("keygen", self.folder, "--status", 1)
        created = world.assay("namespace", "create", name, "--json", more_env=self.env)[1]
        self.fingerprint = json.loads(created)["fingerprint"]
        world.assay("status", "init", name, "--key", self.folder / "status.pem.pub", "--yes", more_env=self.env)
        self.published = 0

    def fill(self, program, run, models, releases, witness):
        run(program, self.folder, models, releases, witness.verifier, env=self.world.env)

    def publish(self):
        """One more release of a model that was there before."""
        self.published += 1
        folder = self.world.work / "one-more"
        folder.mkdir(exist_ok=True)
        (folder / "model.bin").write_bytes(os.urandom(1000))
        self.world.assay("publish", folder, f"{self.name}/m0000@2.0.{self.published}", more_env=self.env)

    def device(self, name):
        store = self.world.work / f"{self.name}-{name}"
        env = {"ASSAY_REGISTRY": self.proxy.url}
        self.world.assay("trust", "add", self.name, "--fingerprint", self.fingerprint, store=store, more_env=env)
        return store

    def check(self, store):
        args = ("check", f"{self.name}/m0000", "--require", "log", "--json")
        out, sent, received = self.proxy.count(lambda: self.world.assay(*args, store=store)[1])
        return json.loads(out)["requests"], sent, received

    def peer(self, name):
        """A python-tuf client, and what one update brings it."""
        from tuf.ngclient import Updater

        base = f"{self.proxy.url}/tuf/{self.name}"
        folder = self.world.work / f"{self.name}-{name}-tuf"
        (folder / "metadata").mkdir(parents=True)
        (folder / "targets").mkdir()
        with urllib.request.urlopen(f"{self.world.url}/tuf/{self.name}/metadata/1.root.json", timeout=10) as answer:
            root = answer.read()
        if hashlib.sha256(root).hexdigest() != self.fingerprint:
            raise SystemExit("the registry serves another root than the namespace's")

        def update(path):
            updater = Updater(
                metadata_dir=str(folder / "metadata"),
                metadata_base_url=f"{base}/metadata/",
                target_dir=str(folder / "targets"),
                target_base_url=f"{base}/targets/",
                bootstrap=root,
            )
            updater.refresh()
            updater.download_target(updater.get_targetinfo(path))

        return lambda path: self.proxy.count(lambda: update(path))[2]


def kb(number):
    return f"{number / KB:.1f} KB"


def wire(world, row, run, program: Path):
    """Fills namespaces step by step; each step is a first check, one for a new release, and one for nothing new."""
    witness = Witness()
    world.restart(witness.configuration())
    proxy = Proxy(world.url)
    try:
        for number, sizes in enumerate(SIZES.split(";")):
            namespace = Namespace(world, proxy, f"wire{number}")
            for size in sizes.split(","):
                models, releases = map(int, size.split("x"))
                namespace.fill(program, run, models, releases, witness)
                step(namespace, row, models, releases)
    finally:
        proxy.stop()
        witness.stop()


def step(namespace, row, models, releases):
    size = f"{models} models x {releases} releases"
    store, peer = namespace.device(f"{models}x{releases}"), namespace.peer(f"{models}x{releases}")
    # The fill's own releases are counted from 1; the one that both clients have before is an ordinary one.
    namespace.publish()
    path = lambda: f"models/m0000/{(releases + namespace.published) // 100}/2.0.{namespace.published}.json"
    requests, _, first = namespace.check(store)
    peer_first = peer(path())
    row(f"first check, {size}", kb(first), f"python-tuf {kb(peer_first)}, {peer_first / first:.1f} x; {requests} request(s)")
    namespace.publish()
    requests, sent, one = namespace.check(store)
    peer_one = peer(path())
    goal = {"goal": "< 100 KB, 1 request", "met": one < 100 * KB and requests == 1} if models * releases >= 10_000 else {}
    row(f"  one new release", kb(one), f"python-tuf {kb(peer_one)}, {peer_one / one:.1f} x; {requests} request(s), {kb(sent)} sent", **goal)
    requests, sent, same = namespace.check(store)
    row(
        "  nothing new, with log, witness and status",
        f"{sent + same} bytes",
        f"{sent} sent, {same} received; {requests} request(s)",
        goal="1 request, 1 KB",
        met=requests == 1 and sent + same <= 1024,
    )
