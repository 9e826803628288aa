//! The real command against the real registry: a publisher attaches a delta, and a device pulls by it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod support;

use std::path::Path;

use support::exit::{CONFLICT, DONE};
use support::{World, weights};

/// The next step of a model: every chunk is another one, and mostly the same.
fn next(seed: u8) -> Vec<u8> {
    let mut bytes = weights(seed);
    bytes.iter_mut().step_by(4096).for_each(|byte| *byte ^= 1);
    bytes
}

#[test]
fn a_publisher_attaches_a_delta_and_a_device_pulls_by_it() {
    let world = World::new();
    let old = world.model("old", 1);
    world.run(["publish", &old, "acme/minilm@1.0.0"]).exits(DONE);
    world.run(["pull", "acme/minilm"]).exits(DONE);

    let new = world.model("new", 1);
    std::fs::write(Path::new(&new).join("weights.bin"), next(1)).unwrap();
    let published = world
        .run(["publish", &new, "acme/minilm@1.1.0", "--base", &old, "--json"])
        .exits(DONE)
        .json();
    let delta = &published["delta"];
    assert_eq!(delta["base"], "1.0.0", "{published}");
    // The registry makes one by itself, too; the smaller stays, or the first of two of one size.
    let kept = delta["kept"]["size"].as_u64().unwrap();
    assert!(kept <= delta["size"].as_u64().unwrap(), "{published}");
    let (size, full) = (delta["size"].as_u64().unwrap(), delta["full"].as_u64().unwrap());
    assert!(size * 20 < full, "{size} of {full}");
    // Other files than the release's are no base of it.
    world
        .run([
            "publish",
            &new,
            "acme/minilm@1.1.0",
            "--base",
            &new,
            "--delta-from",
            "1.0.0",
        ])
        .exits(CONFLICT);

    let pulled = world.run(["pull", "acme/minilm", "--json"]).exits(DONE).json();
    let delivery = &pulled["delivery"];
    assert_eq!(delivery["full"], full, "{pulled}");
    assert_eq!(delivery["missed"], 0, "{pulled}");
    assert!(delivery["saved"].as_u64().unwrap() * 20 > full * 19, "{pulled}");
    assert!(pulled["bytes_received"].as_u64().unwrap() * 10 < full, "{pulled}");
    let stages = pulled["verdict"]["stages"].as_array().unwrap();
    let plan = stages.iter().find(|stage| stage["stage"] == "plan").unwrap();
    assert_eq!(plan["evidence"]["path"], delivery["plan"], "{plan}");
    let path = Path::new(pulled["path"].as_str().unwrap());
    assert!(std::fs::read(path.join("weights.bin")).unwrap() == next(1));
    world.run(["verify", "acme/minilm"]).exits(DONE);
}

#[test]
fn what_lies_on_the_device_is_not_fetched_again() {
    let world = World::new();
    let old = world.model("old", 1);
    world.run(["publish", &old, "acme/minilm@1.0.0"]).exits(DONE);
    world.run(["pull", "acme/minilm"]).exits(DONE);
    std::fs::write(Path::new(&old).join("config.json"), "{}").unwrap();
    std::fs::rename(
        Path::new(&old).join("weights.bin"),
        Path::new(&old).join("model.bin"),
    )
    .unwrap();
    world.run(["publish", &old, "acme/minilm@1.1.0"]).exits(DONE);
    let pulled = world.run(["pull", "acme/minilm", "--no-delta"]).exits(DONE);
    assert!(pulled.out.contains("saved"), "{pulled:?}");
    let path = world.run(["path", "acme/minilm"]).exits(DONE).out;
    let file = Path::new(path.trim_end()).join("model.bin");
    assert!(std::fs::read(file).unwrap() == weights(1));
}
