"""A registry that lies: whoever holds its disk changes what he likes, and no device installs it."""

import sqlite3

import pytest

from conftest import CHUNK, same_files, write_model


def flip(path, at=None):
    data = bytearray(path.read_bytes())
    at = len(data) // 2 if at is None else at
    data[at] ^= 1
    path.chmod(0o644)
    path.write_bytes(data)


def objects_holding(world, needle):
    found = [p for p in world.blobs() if needle in p.read_bytes()]
    assert found, "nothing on the registry's disk holds these bytes"
    return found


def test_one_changed_byte_in_content_is_refused_and_nothing_is_activated(published, model):
    needle = (model / "model.safetensors").read_bytes()[2 * CHUNK : 2 * CHUNK + 64]
    for path in objects_holding(published, needle):
        flip(path, path.read_bytes().index(needle))
    device = published.device()
    found = device.pull("minilm").refused()
    content = next(s for s in found.json["verdict"]["stages"] if s["stage"] == "content")
    assert content["code"] == "digest-mismatch", content
    assert not device.releases()
    assert needle not in b"".join(p.read_bytes() for p in device.store.rglob("*") if p.is_file())


def test_a_changed_manifest_is_refused(published):
    for path in objects_holding(published, b'"model":"minilm"'):
        text = path.read_bytes()
        if text.startswith(b'{"attestations"') or text.startswith(b'{"files"'):
            path.chmod(0o644)
            path.write_bytes(text.replace(b'"size":', b'"sizf":', 1))
    device = published.device()
    assert device.pull("minilm").code != 0
    assert not device.releases()


def test_after_the_tampering_is_undone_the_pull_goes_on(published, model):
    needle = (model / "model.safetensors").read_bytes()[:64]
    (path,) = objects_holding(published, needle)
    at = path.read_bytes().index(needle)
    flip(path, at)
    device = published.device()
    device.pull("minilm").refused()
    flip(path, at)
    device.pull("minilm").ok()
    assert same_files(device.content(), model)


def test_content_of_another_release_is_refused(published, tmp_path):
    other = write_model(tmp_path / "other", seed=5)
    published.publish(other, "minilm@1.1.0").ok()
    first = objects_holding(published, (tmp_path / "model" / "model.safetensors").read_bytes()[:64])
    second = objects_holding(published, (other / "model.safetensors").read_bytes()[:64])
    for old, new in zip(first, second):
        new.chmod(0o644)
        new.write_bytes(old.read_bytes())
    device = published.device()
    device.pull("minilm").refused()
    assert not device.releases()


@pytest.mark.parametrize("role", ["snapshot", "timestamp"])
def test_an_older_state_of_the_registry_is_a_rollback(published, tmp_path, role):
    """Steal or restore a backup: a device that saw the newer state takes nothing older."""
    registry = published.registry
    registry.stop()
    backup = {p: p.read_bytes() for p in registry.data.rglob("*") if p.is_file()}
    registry.start()
    published.publish(write_model(tmp_path / "v2", seed=2), "minilm@1.1.0").ok()
    device = published.device()
    if role == "snapshot":
        device.pull("minilm").ok()
    else:
        device.check("minilm").ok()
    registry.stop()
    for p in registry.data.rglob("*"):
        if p.is_file() and p not in backup:
            p.unlink()
    for p, data in backup.items():
        p.parent.mkdir(parents=True, exist_ok=True)
        p.write_bytes(data)
    registry.start()
    found = device.check("minilm").refused().json["verdict"]
    freshness = next(s for s in found["stages"] if s["stage"] == "freshness")
    assert freshness["outcome"] == "refused", found


def test_the_database_holds_no_private_key_and_no_token(published):
    published.registry.stop()
    secrets = [published.registry.token.encode(), b"PRIVATE KEY"]
    for path in published.registry.data.rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            for secret in secrets:
                assert secret not in data, path
    databases = list(published.registry.data.rglob("*.sqlite"))
    assert databases
    with sqlite3.connect(databases[0]) as connection:
        assert connection.execute("pragma integrity_check").fetchone() == ("ok",)


def test_publisher_keys_never_leave_the_publishers_folder(published):
    keys = [p.read_text().splitlines()[1] for p in published.authority.glob("*.pem")]
    assert len(keys) >= 4
    for path in published.registry.data.rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            assert not any(key.encode() in data for key in keys), path
