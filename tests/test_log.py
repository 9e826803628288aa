"""The log from outside, with the real binaries: a registry that asks a witness, an auditor, and an authority's monitor."""

import json
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest

from conftest import ALARM, DENIED, DONE, REFUSED, STORE, USAGE, Registry, assay, make_world, start, write_model


@dataclass
class Witness:
    """A witness process that keeps its port when it starts again."""

    folder: Path
    key: str = ""
    port: int = 0
    process: subprocess.Popen = None

    @classmethod
    def make(cls, folder, name):
        made = assay("witness", "init", folder, "--name", name, "--json").ok()
        return cls(folder, made.json["key"])

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def start(self, *logs):
        options = [option for log in logs for option in ("--log", log)]
        self.process = start("witness", "run", self.folder, "--listen", f"127.0.0.1:{self.port}", "--quiet", *options)
        line = self.process.stdout.readline()
        assert line.startswith("listening on "), line + self.process.stderr.read()
        self.port = int(line.rsplit(":", 1)[1])
        return self

    def kill(self):
        self.process.kill()
        self.process.communicate()

    def stop(self):
        self.process.terminate()
        self.process.communicate(timeout=60)
        assert self.process.returncode == 0


def log_info(registry):
    with urllib.request.urlopen(f"{registry.url}/v1/log", timeout=10) as answer:
        return json.load(answer)


def wait_for(what, seconds=60):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = what()
        if found:
            return found
        time.sleep(0.1)
    raise AssertionError("it did not come")


@pytest.fixture
def witnessed(tmp_path):
    """A registry whose log one witness follows, and a namespace on it."""
    registry = Registry(tmp_path / "registry").start()
    witness = Witness.make(tmp_path / "witness", "witness.example/w").start(log_info(registry)["key"])
    registry.stop()
    config = tmp_path / "server.toml"
    config.write_text(f'[[transparency.witnesses]]\nurl = "{witness.url}"\nkey = "{witness.key}"\n')
    registry.start("--config", config)
    world = make_world(tmp_path, registry=registry)
    world.config, world.witness = config, witness
    yield world
    for process in (registry.process, witness.process):
        if process.poll() is None:
            process.kill()


def audit(world, *options):
    return assay("log", "audit", world.registry.url, "--dir", world.root / "audit", "--json", *options)


def cosigned(world, beyond=0):
    """Waits until the witness has cosigned all that is published: more entries than `beyond`."""

    def caught_up():
        info = log_info(world.registry)
        return info["size"] > beyond and info["witnesses"][0].get("size") == info["size"]

    wait_for(caught_up)
    return ("--witness", world.witness.key)


def monitor(world, *options, authority=None):
    folders = ("--authority", authority or world.authority)
    return assay("monitor", *folders, "--dir", world.root / "monitor", "--once", "--json", *options, env=world.env)


def test_a_witness_that_is_killed_and_comes_back_cosigns_the_same_log(witnessed, model):
    world = witnessed
    demanded = cosigned(world)
    first = audit(world, *demanded).ok().json
    assert first["witnessed"]["cosigners"].keys() == {"witness.example/w"}
    world.witness.kill()
    world.publish(model, "minilm@1.0.0").ok()
    # Nothing waits for a witness that is down; who demands it is told.
    wait_for(lambda: log_info(world.registry)["size"] > first["size"])
    assert audit(world, *demanded).code == REFUSED
    world.witness.start()
    cosigned(world, beyond=first["size"])
    after = audit(world, *demanded, "--full").ok().json
    assert after["entries"]["read"] == after["size"] > first["size"]
    assert after["entries"]["leaves"] == after["size"]
    shown = assay("witness", "show", world.witness.folder, "--json").ok().json
    assert shown["logs"][0]["size"] == after["size"] and shown["logs"][0]["evidence"] == 0
    world.witness.stop()
    world.registry.stop()


def test_a_log_that_begins_anew_under_its_key_is_cosigned_by_nobody_and_found_out_by_the_auditor(witnessed, model):
    world = witnessed
    cosigned(world)
    registry = world.registry
    copied = log_info(registry)["size"]
    registry.stop()
    early = world.root / "early"
    shutil.copytree(registry.data, early)
    registry.start("--config", world.config)
    world.publish(model, "minilm@1.0.0").ok()
    demanded = cosigned(world, beyond=copied)
    audit(world, *demanded).ok()
    # The thief of database, storage and keys shows another history under the same key: without the witness in his configuration.
    registry.stop()
    thief = Registry(early, port=registry.port, token=registry.token).start()
    try:
        other = make_world(world.root, "evil", registry=thief)
        other.publish(write_model(world.root / "evil-model", seed=3), "m@1.0.0").ok()
        wait_for(lambda: log_info(thief)["size"] >= log_size(world))
        found = audit(world).failed(ALARM)
        evidence = json.loads(Path(found.json["evidence"]).read_text())
        assert evidence["older"] != evidence["newer"]
        assert audit(world, *demanded).code == ALARM
    finally:
        thief.kill()


def log_size(world):
    names = sorted(p.name for p in (world.root / "audit" / "checkpoints").iterdir())
    return int(names[-1].split("-")[0])


def test_a_monitor_knows_what_the_authority_made_and_what_somebody_else_did(witnessed, model):
    world = witnessed
    cosigned(world)
    assert monitor(world).ok().json["alerts"] == []
    before = log_info(world.registry)["size"]
    world.publish(model, "minilm@1.0.0").ok()
    demanded = cosigned(world, beyond=before)
    seen = wait_for(lambda: (found := monitor(world, *demanded).ok().json)["leaves"] and found)
    assert seen["alerts"] == []
    # The keys are stolen, and their thief publishes from elsewhere.
    thief = world.root / "thief"
    shutil.copytree(world.authority, thief)
    poisoned = write_model(world.root / "poisoned", seed=9)
    assay("publish", poisoned, f"{world.namespace}/minilm@1.0.1", "--authority", thief, env=world.env).ok()
    cosigned(world, beyond=seen["size"])
    received = []

    class Hook(BaseHTTPRequestHandler):
        def do_POST(self):
            received.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Hook)
    Thread(target=server.serve_forever, daemon=True).start()
    hook = ("--webhook", f"http://127.0.0.1:{server.server_port}/hook")
    alarm = monitor(world, *hook).failed(ALARM).json
    assert [alert["kind"] for alert in alarm["alerts"]] == ["not-made"]
    assert received == alarm["alerts"]
    assert received[0]["subject"] == "2.model.minilm.0.json"
    # Told once.
    assert monitor(world, *hook).ok().json["alerts"] == []
    server.shutdown()
    # With the journal of whoever published, it is somebody's.
    both = ("--journal", thief / "signed.jsonl")
    shutil.rmtree(world.root / "monitor")
    assert monitor(world, *both).ok().json["alerts"] == []


def test_a_log_that_shows_the_same_checkpoint_for_too_long_raises_an_alarm(witnessed):
    world = witnessed
    cosigned(world)
    monitor(world).ok()
    remembered = world.root / "monitor" / "monitor.json"
    state = json.loads(remembered.read_text())
    state["grown"] = "2020-01-01T00:00:00Z"
    remembered.write_text(json.dumps(state))
    alarm = monitor(world).failed(ALARM).json
    assert [alert["kind"] for alert in alarm["alerts"]] == ["stale"]
    # It lasts on, until the log grows.
    assert monitor(world).failed(ALARM).json["standing"] == ["stale"]
    world.witness.stop()
    world.registry.stop()


def test_a_monitor_that_loops_is_killed_and_gone_on_with(witnessed, model):
    world = witnessed
    cosigned(world)
    options = ("--authority", world.authority, "--dir", world.root / "monitor", "--every", "1s", "--json")
    looping = start("monitor", *options, env=world.env)
    wait_for(lambda: (world.root / "monitor" / "monitor.json").exists())
    assert monitor(world).code == STORE
    looping.kill()
    looping.communicate()
    thief = world.root / "thief"
    shutil.copytree(world.authority, thief)
    assay("publish", model, f"{world.namespace}/minilm@1.0.0", "--authority", thief, env=world.env).ok()
    looping = start("monitor", *options, env=world.env)
    alert = json.loads(looping.stdout.readline())
    assert alert["kind"] == "not-made"
    looping.kill()
    looping.communicate()


def stripped(answer):
    """A check bundle or proof without its cosignatures: only the log's own line stays below the checkpoint."""

    def strip(part):
        head, note = part["proof"].split("\n\n", 1)
        body, signatures = note.split("\n\n", 1)
        own = [line for line in signatures.splitlines() if not line.startswith("\u2014 witness.example/")]
        assert len(own) < len(signatures.splitlines()), "there was nothing to strip"
        return part | {"proof": f"{head}\n\n{body}\n\n" + "\n".join(own) + "\n"}

    return answer | {"log": strip(answer["log"])} if "log" in answer else strip(answer)


def stripping(registry):
    """A network between device and registry that takes the cosignatures out of every proof."""

    class Proxy(BaseHTTPRequestHandler):
        def do_GET(self):
            try:
                with urllib.request.urlopen(urllib.request.Request(registry.url + self.path), timeout=30) as answer:
                    status, body = answer.status, answer.read()
            except urllib.error.HTTPError as error:
                status, body = error.code, error.read()
            path = self.path.split("?")[0]
            if status == 200 and path.endswith(("/check", "/log-proof")):
                body = json.dumps(stripped(json.loads(body))).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Proxy)
    Thread(target=server.serve_forever, daemon=True).start()
    return server


def stage(verdict, name):
    return next(stage for stage in verdict["stages"] if stage["stage"] == name)


def demand(world, *options):
    sign = ("--authority", world.authority, "--yes", "--json")
    return assay("namespace", "log", world.namespace, *options, *sign, env=world.env)


def test_devices_demand_the_witnesses_that_the_authority_named_and_no_fewer(witnessed, model):
    world = witnessed
    world.publish(model, "minilm@1.0.0").ok()
    device = world.device()
    before = device.check("minilm").ok().json["verdict"]
    assert "not excluded" in json.dumps(stage(before, "log"))
    # Every key is shown before it is signed, and nothing is signed unasked.
    unasked = assay("namespace", "log", world.namespace, "--witness", world.witness.key, "--authority", world.authority, env=world.env)
    assert unasked.code == DENIED and f"log: adds witness {world.witness.key}" in unasked.err
    changed = demand(world, "--witness", world.witness.key).ok()
    assert "log: witnesses that must have cosigned 0 of 0 -> 1 of 1" in changed.json["changes"]
    assert demand(world).ok().json["log"]["threshold"] == 1
    assert demand(world, "--witness", world.witness.key).code == REFUSED, "nothing would change"
    cosigned(world, beyond=log_info(world.registry)["size"] - 1)
    wait_for(lambda: device.check("minilm").code == DONE)
    after = stage(device.check("minilm").ok().json["verdict"], "log")
    assert "excluded by witness.example/w" in json.dumps(after)
    # A network that strips the cosignatures gets a device to refuse.
    proxy = stripping(world.registry)
    other = world.root / "other"
    url = f"http://127.0.0.1:{proxy.server_port}"
    trust = ("--registry", url, "--fingerprint", world.fingerprint)
    assay("trust", "add", world.namespace, *trust, env={"ASSAY_STORE": other}).ok()
    refused = assay("check", f"{world.namespace}/minilm", "--json", env={"ASSAY_STORE": other}).refused()
    assert "too-few-witnesses" in json.dumps(stage(refused.json["verdict"], "log"))
    proxy.shutdown()
    # One more witness, whom the registry does not ask: a majority is two, and one is too few.
    stranger = Witness.make(world.root / "stranger", "witness.example/x")
    more = demand(world, "--witness", world.witness.key, "--witness", stranger.key).ok()
    assert stranger.key in more.err and "does not ask" in more.err
    refused = wait_for(lambda: (r := device.check("minilm")).code == REFUSED and r)
    assert "too-few-witnesses" in json.dumps(stage(refused.json["verdict"], "log"))
    # One of the two will do.
    demand(world, "--witness-threshold", "1").ok()
    wait_for(lambda: device.check("minilm").code == DONE)
    world.witness.stop()
    world.registry.stop()


def test_a_namespace_demands_witnesses_from_its_beginning(witnessed, model):
    world = witnessed
    authority = world.root / "authority-lab"
    assay("keygen", authority).ok()
    create = ("namespace", "create", "lab", "--authority", authority)
    failed = assay(*create, "--log", "none", "--witness", world.witness.key, env=world.env)
    assert failed.code == USAGE
    created = assay(*create, "--witness", world.witness.key, "--json", env=world.env).ok()
    assay("publish", model, "lab/minilm@1.0.0", "--authority", authority, env=world.env).ok()
    store = {"ASSAY_STORE": world.root / "store"}
    trust = ("--registry", world.registry.url, "--fingerprint", created.json["fingerprint"])
    assay("trust", "add", "lab", *trust, env=store).ok()
    passed = wait_for(lambda: (r := assay("check", "lab/minilm", "--json", env=store)).code == DONE and r)
    assert "excluded by witness.example/w" in json.dumps(stage(passed.json["verdict"], "log"))
    world.witness.stop()
    world.registry.stop()
