//! What a device remembers of time and age: through restarts, offline, and in states that older software wrote.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod common;

use assay_client::device::{Change, Device, DeviceError, Options, TermsChange};
use assay_client::{Store, StoreError};
use assay_schema::{NamespaceName, Outcome};
use common::{World, model, now, pull};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

fn acme() -> NamespaceName {
    "acme".parse().unwrap()
}

fn hours(count: i64) -> Timestamp {
    now().checked_add(SignedDuration::from_hours(count)).unwrap()
}

/// The device after a restart, at another time.
fn restarted(world: &World, clock: Timestamp) -> Device {
    let store = Store::open(&world.store_path()).unwrap();
    world.device_with(store).clock(move || clock)
}

/// A device with an active release, whose owner allows its state six hours.
fn impatient(world: &World) -> Device {
    world.publish("1.0.0", &[("weights.bin", b"new")]);
    let device = world.device();
    let change = TermsChange {
        max_stale: Change::Set(SignedDuration::from_hours(6)),
        ..TermsChange::default()
    };
    device.trust_set(&acme(), change).unwrap();
    pull(&device).unwrap();
    device
}

fn is_stale<T: std::fmt::Debug>(result: Result<T, DeviceError>) -> bool {
    matches!(&result, Err(DeviceError::Refused(refusal)) if refusal.code == "stale")
}

/// Changes a record as it lies in the store.
fn edit(world: &World, record: &str, change: impl FnOnce(&mut Value)) {
    let path = world.store_path().join("namespaces/acme").join(record);
    let mut value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    change(&mut value);
    std::fs::write(&path, value.to_string()).unwrap();
}

#[test]
fn what_is_active_is_not_used_offline_once_it_is_too_old_for_the_owner() {
    let world = World::new();
    impatient(&world);
    let fresh = restarted(&world, hours(6));
    assert!(fresh.active(&model()).unwrap().is_some());
    fresh.verify_active(&model(), &mut |_| {}).unwrap();

    let old = restarted(&world, hours(7));
    assert!(is_stale(old.active(&model())));
    assert!(is_stale(old.verify_active(&model(), &mut |_| {})));
    let copy = world.files("copy", &[("weights.bin", b"new")]);
    assert!(is_stale(old.verify_copy(&copy, &model(), None, &mut |_| {})));
    // The registry shows the same timestamp again: that is no fresher.
    let verdict = old.check(&model(), &Options::default()).unwrap();
    assert_eq!(verdict.refusal().unwrap().1.code, "stale");
    assert!(is_stale(old.active(&model())));
    // Whoever asks the store itself asks nothing of its age.
    assert!(old.store().active(&model()).unwrap().is_some());
}

#[test]
fn a_default_of_the_device_holds_where_a_namespace_has_no_terms() {
    let world = World::new();
    impatient(&world);
    let old = || restarted(&world, hours(7)).max_stale(SignedDuration::from_hours(1000));
    assert!(
        is_stale(old().active(&model())),
        "the namespace's own terms count"
    );
    let change = TermsChange {
        max_stale: Change::Drop,
        ..TermsChange::default()
    };
    old().trust_set(&acme(), change).unwrap();
    assert!(old().active(&model()).unwrap().is_some());
    assert!(is_stale(
        restarted(&world, hours(7))
            .max_stale(SignedDuration::from_hours(6))
            .active(&model())
    ));
}

#[test]
fn a_time_floor_outlives_restarts_and_holds_offline() {
    let world = World::new();
    impatient(&world);
    let device = restarted(&world, now());
    assert!(device.active(&model()).unwrap().is_some());
    edit(&world, "state.json", |state| {
        state["time_floor"] = json!(hours(30))
    });
    // The clock says that an hour went by; the witnesses have seen thirty.
    let set_back = restarted(&world, hours(1));
    assert!(is_stale(set_back.active(&model())));
    let verdict = set_back.check(&model(), &Options::default()).unwrap();
    let (_, refusal) = verdict.refusal().unwrap();
    assert_eq!(refusal.code, "expired");
    assert!(refusal.advice.contains("clock is wrong"), "{refusal:?}");
    let state = set_back.store().state(&acme()).unwrap();
    assert_eq!(state.time_floor, Some(hours(30)));
}

#[test]
fn records_of_before_there_were_terms_and_floors_of_time_are_read() {
    let world = World::new();
    impatient(&world);
    edit(&world, "pin.json", |pin| {
        pin.as_object_mut().unwrap().remove("terms").unwrap();
    });
    edit(&world, "state.json", |state| {
        let known = ["v", "root", "timestamp", "snapshot", "floors", "log"];
        state
            .as_object_mut()
            .unwrap()
            .retain(|key, _| known.contains(&key.as_str()));
    });
    let device = restarted(&world, hours(1));
    assert!(device.active(&model()).unwrap().is_some());
    let verdict = device.check(&model(), &Options::default()).unwrap();
    assert_eq!(verdict.outcome, Outcome::Permit);
    assert_eq!(
        device.store().state(&acme()).unwrap().fresh[&model().model],
        hours(1)
    );
}

#[test]
fn terms_that_nobody_can_meet_are_refused_and_change_nothing() {
    let world = World::new();
    let device = impatient(&world);
    let log = assay_schema::log::LogTrust {
        v: 1,
        log: "no key".to_owned(),
        witnesses: Vec::new(),
        threshold: 0,
    };
    let change = TermsChange {
        log: Change::Set(log),
        least_root: Change::Set(9),
        ..TermsChange::default()
    };
    assert!(matches!(
        device.trust_set(&acme(), change),
        Err(DeviceError::Log(_))
    ));
    let terms = device.store().pin(&acme()).unwrap().terms;
    assert_eq!((terms.log, terms.least_root), (None, None));
    let nowhere = device.trust_set(&"other".parse().unwrap(), TermsChange::default());
    assert!(matches!(
        nowhere,
        Err(DeviceError::Store(StoreError::NotTrusted(_)))
    ));
}
