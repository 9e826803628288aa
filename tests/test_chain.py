"""Publish, check, pull, verify, roll back, resume: the whole chain with the real binaries."""

import json
import urllib.request

import pytest

from conftest import CHUNK, CONFLICT, DEFERRED, DENIED, NETWORK, REFUSED, STORE, USAGE, assay, same_files, write_model


def test_a_release_reaches_a_device_and_every_byte_is_verified(published, model):
    device = published.device()
    verdict = device.check("minilm").ok().json
    assert verdict["verdict"]["outcome"] == "permit"
    device.pull("minilm").ok()
    assert same_files(device.content(), model)
    verdict = device.verify("minilm").ok().json["verdict"]
    content = next(stage for stage in verdict["stages"] if stage["stage"] == "content")
    assert content["outcome"] == "passed"


def test_a_verdict_names_every_stage_in_order(published):
    stages = published.device().check("minilm").ok().json["verdict"]["stages"]
    assert [s["stage"] for s in stages] == [
        "trust-root", "freshness", "release", "log", "provenance", "permission", "plan", "content", "screening", "verdict",
    ]
    outcome = {s["stage"]: s["outcome"] for s in stages}
    for stage in ("trust-root", "freshness", "release", "log", "provenance"):
        assert outcome[stage] == "passed", stages
    for stage in ("permission", "screening"):
        assert outcome[stage] == "skipped", stages


@pytest.mark.parametrize("stage", ["permission", "plan", "screening"])
def test_a_skipped_stage_that_is_required_refuses(published, stage):
    found = published.device().check("minilm", "--require", stage).refused()
    assert found.json["verdict"]["outcome"] == "refuse"


def test_checks_cost_few_requests(published):
    device = published.device()
    first = device.check("minilm").ok().json
    assert first["requests"] <= 2, first
    again = device.check("minilm").ok().json
    assert again["requests"] <= 1 and again["bytes_received"] <= 1024, again


def test_static_checks_cost_few_requests(published):
    device = published.device()
    first = device.check("minilm", "--static").ok().json
    # Seven TUF files and blobs, and the log's proof, which is no TUF file.
    assert first["requests"] <= 8, first
    again = device.check("minilm", "--static").ok().json
    assert again["requests"] <= 2, again


def test_an_update_is_pulled_and_rolled_back_and_resumed(published, tmp_path):
    device = published.device()
    device.pull("minilm").ok()
    first = device.content()
    second = write_model(tmp_path / "second", seed=2)
    published.publish(second, "minilm@1.1.0").ok()
    device.pull("minilm").ok()
    assert same_files(device.content(), second) and device.content() != first
    device.run("rollback", device.ref("minilm")).ok()
    device.verify("minilm").ok()
    # Held: an update is not taken until its owner says so.
    held = device.pull("minilm")
    assert held.code == DEFERRED, held.report()
    device.run("resume", device.ref("minilm")).ok()
    device.pull("minilm").ok()


def test_publishing_the_same_again_changes_nothing_and_other_content_is_refused(published, model, tmp_path):
    published.publish(model, "minilm@1.0.0").ok()
    other = write_model(tmp_path / "other", seed=9)
    published.publish(other, "minilm@1.0.0").failed(CONFLICT)
    device = published.device()
    device.pull("minilm").ok()
    assert same_files(device.content(), model)


def test_a_namespace_that_exists_is_refused(world, tmp_path):
    other = tmp_path / "other-authority"
    assay("keygen", other).ok()
    found = assay("namespace", "create", world.namespace, "--authority", other, env=world.env).failed(CONFLICT)
    assert "exist" in found.err + found.out


def test_who_found_a_name_taken_is_told_how_to_take_another(world, tmp_path):
    other = tmp_path / "other"
    assay("keygen", other).ok()
    again = ("namespace", "create", "--authority", other)
    assert "create.json" in assay(*again, "acme", env=world.env).failed(CONFLICT).err
    # What was signed for one name is not sent for another.
    assert "create.json" in assay(*again, "acme2", env=world.env).failed(STORE).err
    (other / "create.json").unlink()
    assay(*again, "acme2", env=world.env).ok()


def test_a_wrong_fingerprint_is_refused(published, tmp_path):
    wrong = "0" * 64
    args = ("trust", "add", published.namespace, "--registry", published.registry.url, "--fingerprint", wrong)
    found = assay(*args, "--store", tmp_path / "store").failed(REFUSED)
    assert wrong[:16] in found.err + found.out


def test_trust_without_a_fingerprint_needs_a_flag_and_stays_in_the_verdict(published, tmp_path):
    store = ("--store", tmp_path / "store")
    args = ("trust", "add", published.namespace, "--registry", published.registry.url)
    assay(*args, *store).failed(USAGE)
    assay(*args, "--trust-on-first-use", *store).ok()
    verdict = assay("check", f"{published.namespace}/minilm", "--json", *store).ok().json["verdict"]
    assert "trust_on_first_use" in verdict["stages"][0]["evidence"], verdict["stages"][0]


def test_a_wrong_token_is_refused(world, model):
    env = world.env | {"ASSAY_TOKEN": world.registry.token[:-4] + "0000"}
    assay("publish", model, "acme/minilm@1.0.0", "--authority", world.authority, env=env).failed(DENIED)


def test_the_registry_shows_what_is_there(published):
    def get(path):
        with urllib.request.urlopen(published.registry.url + path, timeout=10) as answer:
            return json.load(answer)

    assert get("/v1/namespaces/acme")["identity"] == published.fingerprint
    models = get("/v1/namespaces/acme/models")["items"]
    assert [m["model"] for m in models] == ["minilm"]
    releases = get("/v1/namespaces/acme/models/minilm/releases")["items"]
    assert [(r["version"], r["state"]) for r in releases] == [("1.0.0", "published")]
    assert get("/v1/search?q=mini")["items"][0]["model"] == "minilm"
    assert get("/openapi.json")["openapi"].startswith("3.1")


def test_a_device_keeps_its_model_when_the_registry_is_gone(published, model):
    device = published.device()
    device.pull("minilm").ok()
    published.registry.kill()
    device.verify("minilm").ok()
    device.check("minilm").failed(NETWORK, REFUSED)
    assert same_files(device.content(), model)


def test_a_changed_file_on_the_device_is_found(published):
    device = published.device()
    device.pull("minilm").ok()
    weights = device.content() / "model.safetensors"
    weights.chmod(0o644)
    data = bytearray(weights.read_bytes())
    data[2 * CHUNK + 5] ^= 1
    weights.write_bytes(data)
    found = device.verify("minilm").refused().json["verdict"]
    content = next(s for s in found["stages"] if s["stage"] == "content")
    assert content["code"] == "digest-mismatch" and "chunk 2" in content["subject"], content


def test_an_extra_file_on_the_device_is_found(published):
    device = published.device()
    device.pull("minilm").ok()
    folder = device.content()
    folder.chmod(0o755)
    (folder / "adapter.safetensors").write_bytes(b"surprise")
    assert device.verify("minilm").code == REFUSED
