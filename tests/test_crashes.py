"""The process is killed at any moment, and the work goes on: nothing is lost, nothing half is shown."""

import time

import pytest

from conftest import CHUNK, DONE, NOT_FOUND, Registry, make_world, same_files, start, write_model

# Fractions of the time that the whole work takes, so that the kills spread over all of its steps on any machine.
MOMENTS = [0.05, 0.2, 0.4, 0.6, 0.8, 0.95]
SIZE = 24 * CHUNK + 5


def timed(work):
    began = time.monotonic()
    work()
    return time.monotonic() - began


def kill_after(process, seconds):
    try:
        process.wait(timeout=seconds)
    except Exception:  # still running: that is the point
        process.kill()
    process.communicate()


def whole(world, name):
    """A release is either not there at all or complete."""
    device = world.device()
    checked = device.check(name)
    if checked.code == 0:
        device.pull(name).ok()
        return device
    return None


def test_publish_killed_at_several_points_goes_on(world, tmp_path):
    took = timed(lambda: world.publish(write_model(tmp_path / "m0", SIZE, seed=100), "m0@1.0.0").ok())
    for i, moment in enumerate(MOMENTS, 1):
        folder = write_model(tmp_path / f"m{i}", SIZE, seed=100 + i)
        args = ("publish", folder, f"{world.namespace}/m{i}@1.0.0", "--authority", world.authority)
        kill_after(start(*args, env=world.env), took * moment)
        device = whole(world, f"m{i}")
        assert device is None or same_files(device.content(), folder)
        world.publish(folder, f"m{i}@1.0.0").ok()
        device = whole(world, f"m{i}")
        assert device and same_files(device.content(), folder), moment


def test_pull_killed_at_several_points_goes_on(world, tmp_path):
    folder = write_model(tmp_path / "m", SIZE)
    world.publish(folder, "m@1.0.0").ok()
    took = timed(lambda: world.device().pull("m").ok())
    for moment in MOMENTS:
        device = world.device()
        env = {"ASSAY_STORE": device.store}
        kill_after(start("pull", device.ref("m"), env=env), took * moment)
        # Whatever is there after the kill is complete or absent, never half.
        if device.releases():
            assert same_files(device.content(), folder)
        device.pull("m").ok()
        assert same_files(device.content(), folder)
        device.verify("m").ok()


def test_a_killed_pull_keeps_what_it_checked(world, tmp_path):
    folder = write_model(tmp_path / "m", 64 * CHUNK)
    world.publish(folder, "m@1.0.0").ok()
    device = world.device()
    process = start("pull", device.ref("m"), env={"ASSAY_STORE": device.store})
    deadline = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < deadline:
        staged = sum(p.stat().st_blocks * 512 for p in device.store.rglob("staging/**/*") if p.is_file())
        if staged > 16 * CHUNK:
            break
        time.sleep(0.002)
    process.kill()
    process.communicate()
    if device.releases():
        pytest.skip("the pull was faster than the kill")
    again = device.pull("m").ok().json
    assert again["bytes_received"] < 60 * CHUNK, again
    assert same_files(device.content(), folder)


@pytest.mark.parametrize("moment", MOMENTS)
def test_registry_killed_during_publish_goes_on(tmp_path, moment):
    world = make_world(tmp_path)
    try:
        took = timed(lambda: world.publish(write_model(tmp_path / "m0", SIZE, seed=200), "m0@1.0.0").ok())
        folder = write_model(tmp_path / "m1", SIZE, seed=201)
        args = ("publish", folder, f"{world.namespace}/m1@1.0.0", "--authority", world.authority)
        publisher = start(*args, env=world.env)
        time.sleep(took * moment)
        world.registry.kill()
        world.registry.start()
        publisher.communicate(timeout=300)
        device = whole(world, "m1")
        assert device is None or same_files(device.content(), folder)
        world.publish(folder, "m1@1.0.0").ok()
        device = whole(world, "m1")
        assert device and same_files(device.content(), folder)
        # What was published before the kill is untouched.
        assert whole(world, "m0")
    finally:
        world.registry.kill()


def test_registry_killed_during_pull_goes_on(world, tmp_path):
    folder = write_model(tmp_path / "m", 48 * CHUNK)
    world.publish(folder, "m@1.0.0").ok()
    took = timed(lambda: world.device().pull("m").ok())
    device = world.device()
    pull = start("pull", device.ref("m"), env={"ASSAY_STORE": device.store})
    time.sleep(took * 0.5)
    world.registry.kill()
    pull.communicate(timeout=300)
    world.registry.start()
    device.pull("m").ok()
    assert same_files(device.content(), folder)


def test_a_graceful_stop_ends_cleanly_and_a_start_goes_on(published, model):
    published.registry.stop()
    published.registry.start()
    device = published.device()
    device.pull("minilm").ok()
    assert same_files(device.content(), model)


def test_the_token_is_printed_once_only(tmp_path):
    registry = Registry(tmp_path / "registry").start()
    token = registry.token
    registry.stop()
    before = registry.log.stat().st_size
    registry.start()
    assert token not in registry.log.read_text()[before:]
    registry.stop()


# The durable steps of upload and publish in ARCHITECTURE.md. Behind each, the registry's process ends as if its power had.
STEPS = ["U1", "U2", "U3", "U4", "U5", "U6", "P1", "P2", "P3"]


@pytest.mark.parametrize("step", STEPS)
def test_the_registry_ends_behind_a_durable_step_and_publish_goes_on(published, tmp_path, step):
    registry = published.registry
    registry.stop()
    config = tmp_path / "testing.toml"
    config.write_text(f'[testing]\nstop_after = "{step}"\n')
    registry.start("--config", str(config))
    folder = write_model(tmp_path / "next", SIZE, seed=300)
    args = ("publish", folder, "acme/minilm@1.1.0", "--authority", published.authority)
    publisher = start(*args, env=published.env)
    if step == "U6":
        # It deletes what nobody needs, and here nothing may have to be.
        publisher.communicate(timeout=300)
        registry.kill()
    else:
        assert registry.process.wait(timeout=60) != 0
    registry.start()
    # The publisher may have waited and gone on by itself.
    publisher.communicate(timeout=300)
    # What was there is there; what was interrupted is complete or not shown.
    device = published.device()
    device.pull("minilm@1.0.0").ok()
    assert (shown := device.check("minilm@1.1.0")).code in (DONE, NOT_FOUND), shown.report()
    published.publish(folder, "minilm@1.1.0").ok()
    device.pull("minilm").ok()
    assert same_files(device.content(), folder)
