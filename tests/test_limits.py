"""Full disks, wrong clocks, two publishers at once, and folders that are no model."""

import os
import resource
import shutil
import subprocess

import pytest

from conftest import ASSAY, CHUNK, CONFLICT, NETWORK, NOT_FOUND, REFUSED, STORE, USAGE, FAILED, Registry, assay, environment, make_world, same_files, start, write_model


def limited(size):
    """Files of this process end at `size` bytes, as on a full disk; the signal becomes an error that it must handle."""

    def apply():
        import signal

        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

    return apply


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 40 MiB, where this machine allows one."""
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=40m", "tmpfs", folder], capture_output=True)
    if mounted.returncode != 0:
        pytest.skip("mounting is not allowed here")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def test_a_full_disk_on_the_device_keeps_what_is_active(world, small_disk, tmp_path):
    first = write_model(tmp_path / "first", 8 * CHUNK)
    world.publish(first, "m@1.0.0").ok()
    device = world.device()
    shutil.move(device.store, small_disk / "store")
    device.store = small_disk / "store"
    device.pull("m").ok()
    world.publish(write_model(tmp_path / "second", 64 * CHUNK, seed=2), "m@1.1.0").ok()
    device.pull("m").failed(REFUSED, STORE)
    device.verify("m").ok()
    # A release that fits is taken, although the failed one was begun.
    third = write_model(tmp_path / "third", 2 * CHUNK, seed=3)
    world.publish(third, "m@1.2.0").ok()
    device.pull("m").ok()
    assert same_files(device.content(), third)


def test_a_full_disk_on_the_registry_is_said_and_survived(small_disk, tmp_path):
    world = make_world(tmp_path, registry=Registry(small_disk / "registry").start())
    try:
        first = write_model(tmp_path / "first", 4 * CHUNK)
        world.publish(first, "m@1.0.0").ok()
        found = world.publish(write_model(tmp_path / "second", 64 * CHUNK, seed=2), "m@1.1.0").failed(FAILED, NETWORK)
        assert "full" in (found.err + found.out).lower() or "space" in (found.err + found.out).lower(), found.report()
        device = world.device()
        device.pull("m").ok()
        assert same_files(device.content(), first)
    finally:
        world.registry.kill()


def test_a_file_size_limit_on_the_device_is_an_error_not_a_crash(published):
    device = published.device()
    done = subprocess.run(
        [str(ASSAY), "pull", device.ref("minilm")],
        env=environment(ASSAY_STORE=device.store),
        preexec_fn=limited(CHUNK),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode in (REFUSED, STORE), done
    assert "panicked" not in done.stderr
    assert not device.releases()
    device.pull("minilm").ok()


def test_two_publishers_at_once_one_wins_and_the_other_is_told(world, tmp_path):
    world.publish(write_model(tmp_path / "m0"), "m@1.0.0").ok()
    copy = tmp_path / "authority-copy"
    shutil.copytree(world.authority, copy)
    folders = [write_model(tmp_path / f"r{i}", 4 * CHUNK, seed=10 + i) for i in range(2)]
    running = [
        start("publish", folder, f"acme/m@1.{i + 1}.0", "--authority", authority, env=world.env)
        for i, (folder, authority) in enumerate(zip(folders, [world.authority, copy]))
    ]
    ends = [(p, *p.communicate(timeout=300)) for p in running]
    codes = [p.returncode for p, _, _ in ends]
    assert 0 in codes, ends
    for (p, _, err), folder, authority, version in zip(ends, folders, [world.authority, copy], ["1.1.0", "1.2.0"]):
        if p.returncode != 0:
            assert p.returncode == CONFLICT and err.strip(), err
            # Told to rebase: doing it again is all it takes.
            world.publish(folder, f"m@{version}", authority=authority).ok()
    device = world.device()
    for folder, version in zip(folders, ["1.1.0", "1.2.0"]):
        assay("check", f"acme/m@{version}", "--store", device.store).ok()


def test_two_authorities_for_one_name_one_wins(registry, tmp_path):
    folders = [tmp_path / "a", tmp_path / "b"]
    for folder in folders:
        assay("keygen", folder).ok()
    env = {"ASSAY_REGISTRY": registry.url, "ASSAY_TOKEN": registry.token}
    running = [start("namespace", "create", "acme", "--authority", f, "--json", env=env) for f in folders]
    for p in running:
        p.communicate(timeout=120)
    assert sorted(p.returncode == 0 for p in running) == [False, True]


@pytest.mark.parametrize("when", ["1999-01-01", "2020-01-01"])
def test_a_clock_in_the_past_is_refused(published, when):
    library = faketime()
    device = published.device()
    found = device.check("minilm", env={"LD_PRELOAD": library, "FAKETIME": f"{when} 00:00:00"})
    found.refused()
    freshness = {s["stage"]: s for s in found.json["verdict"]["stages"]}
    refused = [s for s in freshness.values() if s["outcome"] == "refused"]
    assert refused and "clock" in str(refused).lower(), refused


def test_a_clock_in_the_future_finds_everything_expired(published):
    library = faketime()
    device = published.device()
    found = device.check("minilm", env={"LD_PRELOAD": library, "FAKETIME": "2099-01-01 00:00:00"})
    found.refused()
    refused = [s for s in found.json["verdict"]["stages"] if s["outcome"] == "refused"]
    assert refused[0]["code"] == "expired", refused


def faketime():
    from glob import glob

    found = glob("/usr/lib/*/faketime/libfaketime.so.1") + glob("/usr/lib/faketime/libfaketime.so.1")
    if not found:
        pytest.skip("libfaketime is not here")
    return found[0]


def test_symlinks_in_a_model_are_refused(world, model):
    (model / "link.bin").symlink_to("/etc/hostname")
    found = world.publish(model, "minilm@1.0.0").failed(FAILED, STORE, USAGE)
    assert "link.bin" in found.err + found.out


@pytest.mark.parametrize("name", ["Config.json", "con.bin", "trailing.", "a\nb", "tab\there"])
def test_file_names_that_break_elsewhere_are_refused(world, model, name):
    (model / name).write_bytes(b"x")
    world.publish(model, "minilm@1.0.0").failed(FAILED, STORE, USAGE)
    assert world.device().check("minilm").code != 0


def test_an_empty_folder_and_no_folder_are_refused(world, tmp_path):
    (tmp_path / "empty").mkdir()
    world.publish(tmp_path / "empty", "minilm@1.0.0").failed(FAILED, STORE, USAGE)
    world.publish(tmp_path / "nowhere", "minilm@1.0.0").failed(NOT_FOUND, STORE)


@pytest.mark.parametrize("name", ["../x@1.0.0", "a@..", "A@1.0.0", "a@", "con@1.0.0", "a\nb@1", "a@1/2"])
def test_bad_names_are_refused_before_anything_is_sent(world, model, name):
    world.publish(model, name).failed(USAGE)


def test_usage_errors_have_their_own_exit_code():
    assert assay("pull").code == USAGE
    assert assay("no-such-command").code == USAGE
    assert assay("--help").code == 0
    assert "Examples" in assay("publish", "--help").out


def test_nothing_of_a_secret_is_in_the_process_list(world):
    help_text = assay("publish", "--help").out
    assert "ASSAY_TOKEN" in help_text
    assert os.environ.get("ASSAY_TOKEN", "unset") not in help_text
