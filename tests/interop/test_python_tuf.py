"""python-tuf's client, unmodified, on a namespace's static TUF repository."""

import hashlib
import json
import sys
import urllib.request
from pathlib import Path

import pytest
from tuf.api.exceptions import DownloadError, RepositoryError
from tuf.ngclient import Updater

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from conftest import assay, make_world, write_model  # noqa: E402


def updater(world, folder):
    base = f"{world.registry.url}/tuf/{world.namespace}"
    (folder / "metadata").mkdir(parents=True)
    (folder / "targets").mkdir()
    with urllib.request.urlopen(f"{base}/metadata/1.root.json", timeout=10) as answer:
        root = answer.read()
    assert hashlib.sha256(root).hexdigest() == world.fingerprint
    return Updater(
        metadata_dir=str(folder / "metadata"),
        metadata_base_url=f"{base}/metadata/",
        target_dir=str(folder / "targets"),
        target_base_url=f"{base}/targets/",
        bootstrap=root,
    )


def test_it_downloads_a_release_manifest(published, tmp_path):
    client = updater(published, tmp_path / "client")
    client.refresh()
    info = client.get_targetinfo("models/minilm/0/1.0.0.json")
    assert info is not None
    manifest = json.loads(Path(client.download_target(info)).read_bytes())
    assert manifest["model"] == "minilm" and manifest["version"] == "1.0.0"
    assert manifest["namespace"] == published.fingerprint


def test_it_finds_a_second_release_and_no_third(published, tmp_path):
    published.publish(write_model(tmp_path / "m2", seed=2), "minilm@1.1.0").ok()
    client = updater(published, tmp_path / "client")
    assert client.get_targetinfo("models/minilm/0/1.1.0.json")
    assert client.get_targetinfo("models/minilm/0/1.2.0.json") is None


def test_it_downloads_who_may_sign(published, tmp_path):
    client = updater(published, tmp_path / "client")
    info = client.get_targetinfo("trust/signers.json")
    assert json.loads(Path(client.download_target(info)).read_bytes())["v"] == 1


def test_it_refuses_what_the_registry_changed(published, tmp_path):
    for path in published.blobs():
        data = path.read_bytes()
        if data.startswith(b'{"') and b'"model":"minilm"' in data and b'"files":' in data:
            path.chmod(0o644)
            path.write_bytes(data.replace(b"minilm", b"minilN"))
    client = updater(published, tmp_path / "client")
    info = client.get_targetinfo("models/minilm/0/1.0.0.json")
    with pytest.raises((RepositoryError, DownloadError)):
        client.download_target(info)


def test_it_downloads_what_a_second_authority_signed(published, tmp_path):
    (tmp_path / "second").mkdir()
    regulator = make_world(tmp_path / "second", "regulator", published.registry)
    store = {"ASSAY_STORE": str(tmp_path / "store")}
    trust = ("--registry", published.registry.url, "--fingerprint", published.fingerprint)
    assay("trust", "add", published.namespace, *trust, env=store).ok()
    endorse = ("endorse", f"{published.namespace}/minilm@1.0.0", "--authority", regulator.authority, "--yes")
    assay(*endorse, env=regulator.env | store).ok()

    path = "models/minilm/0/1.0.0.json"
    digests = []
    for world in (published, regulator):
        client = updater(world, tmp_path / f"client-{world.namespace}")
        info = client.get_targetinfo(path)
        digests.append(hashlib.sha256(Path(client.download_target(info)).read_bytes()).hexdigest())
    assert digests[0] == digests[1]
    assert json.loads(Path(client.download_target(info)).read_bytes())["namespace"] == published.fingerprint
