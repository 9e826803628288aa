//! The device's durable steps: stopped behind any of them, what was active stays active and usable, and the next run ends in the
//! right state.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod common;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use assay_client::delta::{self, Tree};
use assay_client::device::{DeviceError, Fingerprint, Options};
use assay_client::{ActivateStep, Device, Store, StoreError, sha256};
use assay_schema::delta::{DeltaInfo, DeltaMaker};
use assay_schema::{ModelRef, Outcome, ReleaseOrder};
use common::{World, contents, model, noise, pull};

const MIB: usize = 1 << 20;

fn big() -> Vec<u8> {
    noise((3 << 20) + 11, 4)
}

/// Everything in a store but the lock: names, and digests of the files.
fn picture(store: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for path in common::tree(store) {
        let at = store.join(&path);
        let what = if at.is_dir() {
            "folder".to_owned()
        } else {
            sha256(&std::fs::read(&at).unwrap()).to_hex()
        };
        found.insert(path, what);
    }
    found.remove("lock");
    found
}

/// Trusts, and pulls what there is.
fn update(device: &Device, world: &World) -> Result<Outcome, DeviceError> {
    let known = Fingerprint::Known(world.identity);
    device.trust_add("http://registry.test", &"acme".parse().unwrap(), known)?;
    Ok(pull(device)?.verdict.outcome)
}

/// A device that stops behind its `stop`th step, and what it did until then.
struct Stopping {
    device: Device,
    steps: Arc<Mutex<Vec<ActivateStep>>>,
    seen: Arc<Mutex<BTreeMap<String, String>>>,
}

fn stopping(world: &World, path: PathBuf, stop: usize) -> Stopping {
    let steps: Arc<Mutex<Vec<ActivateStep>>> = Arc::default();
    let seen: Arc<Mutex<BTreeMap<String, String>>> = Arc::default();
    let (log, look, at) = (steps.clone(), seen.clone(), path.clone());
    let count = AtomicUsize::new(0);
    let store = Store::open(&path).unwrap().on_step(Arc::new(move |step| {
        log.lock().unwrap().push(step);
        if count.fetch_add(1, Ordering::Relaxed) == stop {
            *look.lock().unwrap() = picture(&at);
            return Err(StoreError::Stopped(step));
        }
        Ok(())
    }));
    Stopping {
        device: world.device_with(store),
        steps,
        seen,
    }
}

#[test]
fn stopped_behind_any_step_it_goes_on_from_there() {
    let world = World::new();
    world.publish("1.0.0", &[("weights.bin", b"old"), ("sub/empty", b"")]);
    // What a device looks like that has activated 1.0.0.
    let path = world.store_path();
    let first = stopping(&world, path.clone(), usize::MAX);
    assert_eq!(update(&first.device, &world).unwrap(), Outcome::Permit);
    let mut covered: Vec<ActivateStep> = first.steps.lock().unwrap().clone();
    let before = copy_of(&path, world.dir.path().join("before"));
    world.publish(
        "1.1.0",
        &[("weights.bin", &big()), ("sub/empty", b""), ("more", b"x")],
    );

    for stop in 0.. {
        let at = copy_of(&before, world.dir.path().join(format!("stop-{stop}")));
        let run = stopping(&world, at.clone(), stop);
        match update(&run.device, &world) {
            Ok(outcome) => {
                assert_eq!(outcome, Outcome::Permit);
                covered.extend(run.steps.lock().unwrap().iter());
                assert!(stop > 10, "there are more steps than {stop}");
                break;
            }
            Err(DeviceError::Store(StoreError::Stopped(step))) => {
                // Nothing writes that is not a step, also not on the way out.
                assert_eq!(
                    picture(&at),
                    *run.seen.lock().unwrap(),
                    "behind {step:?} ({stop})"
                );
                let device = world.device_with(Store::open(&at).unwrap());
                let active = contents(&device, "weights.bin").unwrap();
                let new = active == big();
                assert!(
                    new || active == b"old",
                    "one of the two releases, whole, behind {step:?}"
                );
                assert_eq!(new, step >= ActivateStep::Activate, "behind {step:?}");
                assert_eq!(
                    device.verify_active(&model(), &mut |_| {}).unwrap().outcome,
                    Outcome::Permit
                );
                assert_eq!(
                    update(&device, &world).unwrap(),
                    Outcome::Permit,
                    "behind {step:?}"
                );
                assert!(contents(&device, "weights.bin").unwrap() == big());
                assert_eq!(
                    device.verify_active(&model(), &mut |_| {}).unwrap().outcome,
                    Outcome::Permit
                );
                let floor = device.store().state(&"acme".parse().unwrap()).unwrap().floors[&model().model];
                assert_eq!(floor, ReleaseOrder::new(1, 2).unwrap());
                assert!(
                    !at.join("namespaces/acme/models/minilm/staging")
                        .read_dir()
                        .unwrap()
                        .any(|_| true)
                        || new
                );
            }
            Err(other) => panic!("{other}"),
        }
    }
    let last = stopping(&world, before.clone(), usize::MAX);
    require(&before);
    assert!(last.device.trust_unrequire(&model()).unwrap());
    last.device.trust_remove(&"acme".parse().unwrap()).unwrap();
    covered.extend(last.steps.lock().unwrap().iter());
    for step in ActivateStep::ALL {
        assert!(covered.contains(&step), "{step:?} was never reached");
    }
}

/// The owner requires another authority's signature.
fn require(store: &Path) {
    let policy = serde_json::json!({"v": 1, "require": [{"model": model(), "threshold": 1, "authorities": [
        {"namespace": "regulator", "identity": "07".repeat(32)}]}]});
    std::fs::write(store.join("trust-policy.json"), policy.to_string()).unwrap();
}

#[test]
fn a_trust_policy_is_replaced_in_one_step() {
    let world = World::new();
    world.publish("1.0.0", &[("weights.bin", b"old")]);
    pull(&world.device()).unwrap();
    let path = world.store_path();
    require(&path);
    assert_eq!(
        pull(&world.device()).unwrap().verdict.refusal().unwrap().1.code,
        "consensus-missing"
    );
    assert!(matches!(
        world.device().active(&model()),
        Err(DeviceError::Store(StoreError::NotEndorsed(_)))
    ));
    let run = stopping(&world, path.clone(), 0);
    let stopped = run.device.trust_unrequire(&model());
    assert!(matches!(
        stopped,
        Err(DeviceError::Store(StoreError::Stopped(ActivateStep::Require)))
    ));
    assert_eq!(picture(&path), *run.seen.lock().unwrap());
    assert_eq!(contents(&world.device(), "weights.bin").unwrap(), b"old");
}

fn copy_of(from: &Path, to: PathBuf) -> PathBuf {
    for path in common::tree(from) {
        let (from, to) = (from.join(&path), to.join(&path));
        if from.is_dir() {
            std::fs::create_dir_all(to).unwrap();
        } else {
            std::fs::create_dir_all(to.parent().unwrap()).unwrap();
            std::fs::copy(from, to).unwrap();
        }
    }
    to
}

#[test]
fn a_pull_by_delta_stopped_behind_any_step_goes_on_from_there() {
    let world = World::new();
    let bases = world.publish(
        "1.0.0",
        &[("weights.bin", &big()), ("same.bin", &big()[..MIB * 2])],
    );
    let path = world.store_path();
    let first = stopping(&world, path.clone(), usize::MAX);
    assert_eq!(update(&first.device, &world).unwrap(), Outcome::Permit);
    let before = copy_of(&path, world.dir.path().join("before"));
    // Every chunk of one file is another one and mostly the same; the other file stays.
    let (old, mut new) = (big(), big());
    new.iter_mut().step_by(1000).for_each(|byte| *byte ^= 1);
    let target = world.publish("1.1.0", &[("weights.bin", &new), ("same.bin", &big()[..MIB * 2])]);
    let [from, to] = ["1.0.0", "1.1.0"]
        .map(|version| world.dir.path().join(format!("model-{version}")))
        .map(|folder| Tree::open(&folder, &|_| {}).unwrap());
    let out = world.dir.path().join("delta");
    let made = delta::make(
        &from,
        &to,
        [bases.manifest, target.manifest],
        &out,
        2,
        &mut |_| {},
    )
    .unwrap();
    world.registry.offer(vec![DeltaInfo {
        base: bases.manifest,
        target: target.manifest,
        blob: world.registry.set_blob(std::fs::read(&out).unwrap()),
        size: made.size,
        index: made.index,
        full: made.full,
        made_by: DeltaMaker::Registry,
        created: common::now(),
    }]);

    for stop in 0.. {
        let at = copy_of(&before, world.dir.path().join(format!("stop-{stop}")));
        let run = stopping(&world, at.clone(), stop);
        let stopped = match update(&run.device, &world) {
            Err(DeviceError::Store(StoreError::Stopped(step))) => step,
            other => {
                assert_eq!(other.unwrap(), Outcome::Permit);
                assert!(stop > 10, "there are more steps than {stop}");
                break;
            }
        };
        assert_eq!(
            picture(&at),
            *run.seen.lock().unwrap(),
            "behind {stopped:?} ({stop})"
        );
        let device = world.device_with(Store::open(&at).unwrap());
        let active = contents(&device, "weights.bin").unwrap();
        let whose = if stopped >= ActivateStep::Activate {
            &new
        } else {
            &old
        };
        assert!(active == *whose, "behind {stopped:?}");
        let resumed = pull(&device).unwrap();
        assert_eq!(resumed.verdict.outcome, Outcome::Permit, "behind {stopped:?}");
        if let Some(delivery) = resumed.delivery {
            assert_eq!(
                (delivery.whole, delivery.missed),
                (0, 0),
                "behind {stopped:?} ({stop})"
            );
        }
        assert!(contents(&device, "weights.bin").unwrap() == new);
        let verified = device.verify_active(&model(), &mut |_| {}).unwrap();
        assert_eq!(verified.outcome, Outcome::Permit);
    }
}

#[test]
fn a_first_pull_stopped_behind_any_step_ends_well() {
    let world = World::new();
    world.publish("1.0.0", &[("weights.bin", &big())]);
    for stop in 0.. {
        let at = world.dir.path().join(format!("first-{stop}"));
        let run = stopping(&world, at.clone(), stop);
        if update(&run.device, &world).is_ok() {
            break;
        }
        let device = world.device_with(Store::open(&at).unwrap());
        assert_eq!(
            update(&device, &world).unwrap(),
            Outcome::Permit,
            "stopped at {stop}"
        );
        assert!(contents(&device, "weights.bin").unwrap() == big());
    }
}

#[test]
fn a_second_writer_is_told_to_wait() {
    let world = World::new();
    world.publish("1.0.0", &[("a", &big())]);
    let device = world.device();
    let path = world.store_path();
    let busy = Mutex::new(None);
    device
        .pull(&model(), &Options::default(), &mut |_| {
            let other = Store::open(&path)
                .unwrap()
                .wait(std::time::Duration::from_millis(30));
            let other = world.device_with(other);
            let tried = other.check(&model(), &Options::default());
            busy.lock().unwrap().get_or_insert(tried);
        })
        .unwrap();
    let busy = busy.into_inner().unwrap().unwrap();
    assert!(
        matches!(busy, Err(DeviceError::Store(StoreError::Busy { .. }))),
        "{busy:?}"
    );
}

fn model_folder(world: &World) -> PathBuf {
    world.store_path().join("namespaces/acme/models/minilm")
}

#[test]
fn damaged_records_are_reported_and_floors_are_not_made_anew() {
    let world = World::new();
    world.publish("1.0.0", &[("a", b"1")]);
    let device = world.device();
    pull(&device).unwrap();
    let state = world.store_path().join("namespaces/acme/state.json");
    for damage in [&b""[..], b"{", b"{\"v\":2}", b"[1,2,3]"] {
        std::fs::write(&state, damage).unwrap();
        let error = pull(&device).unwrap_err();
        assert!(
            matches!(error, DeviceError::Store(StoreError::Damaged { .. })),
            "{error}"
        );
        let known = Fingerprint::Known(world.identity);
        let error = device
            .trust_add("http://registry.test", &"acme".parse().unwrap(), known)
            .unwrap_err();
        assert!(
            matches!(error, DeviceError::Store(StoreError::Damaged { .. })),
            "{error}"
        );
    }
    std::fs::write(model_folder(&world).join("active.json"), "{\"v\":1,\"held\"").unwrap();
    let error = device.active(&model()).unwrap_err();
    assert!(error.to_string().contains("active.json"), "{error}");
}

#[test]
fn a_truncated_cache_costs_a_request_and_nothing_else() {
    let world = World::new();
    world.publish("1.0.0", &[("a", b"1")]);
    let device = world.device();
    pull(&device).unwrap();
    std::fs::write(model_folder(&world).join("cache/check.json"), "\"tag\"\n{\"v\"").unwrap();
    assert_eq!(pull(&device).unwrap().verdict.outcome, Outcome::Permit);
}

#[test]
fn a_damaged_active_release_is_found_and_repaired() {
    let world = World::new();
    world.publish("1.0.0", &[("weights.bin", &big()), ("a", b"1")]);
    let device = world.device();
    pull(&device).unwrap();
    let file = device
        .active(&model())
        .unwrap()
        .unwrap()
        .path()
        .join("weights.bin");
    let mut bytes = big();
    bytes[(1 << 20) + 3] ^= 1;
    std::fs::remove_file(&file).unwrap();
    std::fs::write(&file, &bytes[..bytes.len() - 1]).unwrap();
    let verdict = device.verify_active(&model(), &mut |_| {}).unwrap();
    assert_eq!(verdict.outcome, Outcome::Refuse);

    world.registry.take_opened();
    let lease = device.active(&model()).unwrap().unwrap();
    assert_eq!(pull(&device).unwrap().verdict.outcome, Outcome::Permit);
    let fetched: u64 = world.registry.take_opened().iter().map(|(_, _, len)| len).sum();
    assert!(
        fetched < 2 << 20,
        "what was right was not fetched again: {fetched}"
    );
    assert_eq!(
        device.verify_active(&model(), &mut |_| {}).unwrap().outcome,
        Outcome::Permit
    );
    assert_eq!(std::fs::read(lease.path().join("weights.bin")).unwrap(), big());
}

#[test]
fn damage_of_the_same_size_is_repaired_when_asked() {
    let world = World::new();
    world.publish("1.0.0", &[("weights.bin", &big())]);
    let device = world.device();
    pull(&device).unwrap();
    let file = device
        .active(&model())
        .unwrap()
        .unwrap()
        .path()
        .join("weights.bin");
    let mut bytes = big();
    bytes[7] ^= 1;
    std::fs::remove_file(&file).unwrap();
    std::fs::write(&file, bytes).unwrap();
    assert!(
        pull(&device).unwrap().already_active,
        "a pull does not read what is active"
    );
    for stop in 0.. {
        let at = copy_of(
            &world.store_path(),
            world.dir.path().join(format!("repair-{stop}")),
        );
        let run = stopping(&world, at.clone(), stop);
        let stopped = run.device.repair(&model(), &Options::default(), &mut |_| {});
        let device = world.device_with(Store::open(&at).unwrap());
        assert!(device.active(&model()).unwrap().is_some(), "stopped at {stop}");
        let repaired = device.repair(&model(), &Options::default(), &mut |_| {}).unwrap();
        assert_eq!(repaired.verdict.outcome, Outcome::Permit);
        assert!(contents(&device, "weights.bin").unwrap() == big());
        if stopped.is_ok() {
            break;
        }
    }
}

#[test]
fn a_full_disk_says_how_much_is_needed_and_loses_nothing() {
    let world = World::new();
    world.publish("1.0.0", &[("weights.bin", b"old")]);
    pull(&world.device()).unwrap();
    world.publish("1.1.0", &[("weights.bin", &big())]);
    let store = Store::open(&world.store_path())
        .unwrap()
        .on_step(Arc::new(|step| match step {
            ActivateStep::Chunk => Err(StoreError::File(assay_client::FileError::Io {
                doing: "write",
                path: "weights.bin".into(),
                source: std::io::ErrorKind::StorageFull.into(),
            })),
            _ => Ok(()),
        }));
    let full = pull(&world.device_with(store)).unwrap_err();
    let DeviceError::Store(StoreError::Full { needed, .. }) = full else {
        panic!("{full}")
    };
    assert!(needed >= big().len() as u64, "{needed}");
    let device = world.device();
    assert_eq!(contents(&device, "weights.bin").unwrap(), b"old");
    pull(&device).unwrap();
    assert!(contents(&device, "weights.bin").unwrap() == big());
}

#[test]
fn links_planted_in_the_staging_folder_lead_nowhere() {
    let world = World::new();
    let published = world.publish("1.0.0", &[("sub/a", b"1"), ("b", b"2")]);
    let device = world.device();
    let victim = world.dir.path().join("victim");
    std::fs::create_dir(&victim).unwrap();
    std::fs::write(victim.join("precious"), b"precious").unwrap();
    let files = model_folder(&world)
        .join("staging")
        .join(published.manifest.to_hex())
        .join("files");
    std::fs::create_dir_all(&files).unwrap();
    std::os::unix::fs::symlink(&victim, files.join("sub")).unwrap();
    std::os::unix::fs::symlink(victim.join("precious"), files.join("b")).unwrap();
    std::fs::write(files.join("stranger"), b"loaded like the others").unwrap();
    assert_eq!(pull(&device).unwrap().verdict.outcome, Outcome::Permit);
    assert_eq!(common::tree(&victim), ["precious"]);
    assert_eq!(std::fs::read(victim.join("precious")).unwrap(), b"precious");
    assert_eq!(contents(&device, "b").unwrap(), b"2");
    assert!(
        !device
            .active(&model())
            .unwrap()
            .unwrap()
            .path()
            .join("stranger")
            .exists()
    );
}

#[test]
fn a_hard_link_planted_in_the_staging_folder_is_not_written_to() {
    let world = World::new();
    let published = world.publish("1.0.0", &[("b", b"2")]);
    let device = world.device();
    let victim = world.dir.path().join("victim");
    std::fs::write(&victim, b"p").unwrap();
    let files = model_folder(&world)
        .join("staging")
        .join(published.manifest.to_hex())
        .join("files");
    std::fs::create_dir_all(&files).unwrap();
    std::fs::hard_link(&victim, files.join("b")).unwrap();
    let error = pull(&device).unwrap_err();
    assert!(error.to_string().contains("hard link"), "{error}");
    assert_eq!(std::fs::read(&victim).unwrap(), b"p");
}

#[test]
fn a_folder_of_links_in_place_of_the_store_is_refused() {
    let world = World::new();
    world.publish("1.0.0", &[("a", b"1")]);
    let device = world.device();
    let models = world.store_path().join("namespaces/acme/models");
    let elsewhere = world.dir.path().join("elsewhere");
    std::fs::create_dir(&elsewhere).unwrap();
    std::os::unix::fs::symlink(&elsewhere, &models).unwrap();
    let error = pull(&device).unwrap_err();
    assert!(error.to_string().contains("symbolic link"), "{error}");
    assert!(common::tree(&elsewhere).is_empty());
}

#[test]
fn listing_shows_what_is_trusted_and_active() {
    let world = World::new();
    world.publish("1.0.0", &[("a", b"1")]);
    let device = world.device();
    pull(&device).unwrap();
    let listed = device.store().list().unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0].pin.identity, world.identity);
    assert_eq!(
        listed[0].models[0]
            .active
            .as_ref()
            .unwrap()
            .active
            .version
            .as_str(),
        "1.0.0"
    );
    let nobody: ModelRef = "acme/other".parse().unwrap();
    assert!(device.active(&nobody).unwrap().is_none());
}
