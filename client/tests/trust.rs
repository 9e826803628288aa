//! A namespace that is trusted no longer: nothing of it is left to use, and nothing of it comes back by itself.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod common;

use std::sync::Arc;

use assay_client::device::{DeviceError, Fingerprint};
use assay_client::{ActivateStep, Device, Store, StoreError};
use assay_schema::NamespaceName;
use assay_verifier::TrustError;
use common::{World, contents, model, pull};
use serde_json::json;

fn acme() -> NamespaceName {
    "acme".parse().unwrap()
}

fn is_not_trusted(device: &Device) -> bool {
    matches!(pull(device), Err(DeviceError::Store(StoreError::NotTrusted(_))))
        && matches!(
            device.trust_remove(&acme()),
            Err(DeviceError::Store(StoreError::NotTrusted(_)))
        )
        && device.store().list().unwrap().is_empty()
        && device.active(&model()).unwrap().is_none()
}

/// A device with an active release.
fn with_release(world: &World) -> Device {
    world.publish("1.0.0", &[("weights.bin", b"old"), ("sub/empty", b"")]);
    let device = world.device();
    pull(&device).unwrap();
    device
}

#[test]
fn a_removed_namespace_leaves_nothing_and_can_be_added_anew() {
    let world = World::new();
    let device = with_release(&world);
    device.trust_remove(&acme()).unwrap();
    assert!(is_not_trusted(&device));
    assert_eq!(common::tree(&world.store_path()), ["lock", "namespaces"]);

    let known = Fingerprint::Known(world.identity);
    device.trust_add("http://registry.test", &acme(), known).unwrap();
    assert!(device.store().state(&acme()).unwrap().floors.is_empty());
    pull(&device).unwrap();
    assert_eq!(contents(&device, "weights.bin").unwrap(), b"old");
}

#[test]
fn a_release_in_use_keeps_its_namespace_whole() {
    let world = World::new();
    let device = with_release(&world);
    let used = device.active(&model()).unwrap().unwrap();
    let before = common::tree(&world.store_path());
    let refused = device.trust_remove(&acme());
    assert!(
        matches!(refused, Err(DeviceError::Store(StoreError::InUse { .. }))),
        "{refused:?}"
    );
    assert_eq!(common::tree(&world.store_path()), before);
    assert_eq!(std::fs::read(used.path().join("weights.bin")).unwrap(), b"old");
    drop(used);
    device.trust_remove(&acme()).unwrap();
}

#[test]
fn a_namespace_with_damaged_records_can_be_removed() {
    let world = World::new();
    let device = with_release(&world);
    let folder = world.store_path().join("namespaces/acme");
    for record in ["pin.json", "state.json", "models/minilm/active.json"] {
        std::fs::write(folder.join(record), "{").unwrap();
    }
    device.trust_remove(&acme()).unwrap();
    assert!(is_not_trusted(&device));
}

#[test]
fn a_removal_that_stopped_behind_its_step_is_complete_for_everybody_and_cleared_later() {
    let world = World::new();
    drop(with_release(&world));
    let store = Store::open(&world.store_path()).unwrap();
    let stops = store.on_step(Arc::new(|step| Err(StoreError::Stopped(step))));
    let stopped = world.device_with(stops).trust_remove(&acme());
    assert!(
        matches!(
            stopped,
            Err(DeviceError::Store(StoreError::Stopped(ActivateStep::Forget)))
        ),
        "{stopped:?}"
    );
    let device = world.device_with(Store::open(&world.store_path()).unwrap());
    let left = world.store_path().join("namespaces/.removed");
    assert!(left.exists());
    assert!(device.store().list().unwrap().is_empty());
    let known = Fingerprint::Known(world.identity);
    device.trust_add("http://registry.test", &acme(), known).unwrap();
    assert!(
        device.active(&model()).unwrap().is_none(),
        "its releases did not come back"
    );
    pull(&device).unwrap();
    device.trust_remove(&acme()).unwrap();
    assert!(!left.exists() && is_not_trusted(&device));
}

#[test]
fn a_folder_of_the_store_is_known_by_its_release_and_no_other_is() {
    let world = World::new();
    let device = with_release(&world);
    let store = device.store();
    let active = device.active(&model()).unwrap().unwrap();
    let found = store.release_at(active.path()).unwrap().unwrap();
    assert_eq!(found.to_string(), "acme/minilm@1.0.0");
    let link = world.dir.path().join("link");
    std::os::unix::fs::symlink(active.path(), &link).unwrap();
    assert_eq!(store.release_at(&link).unwrap().unwrap(), found);
    for other in [
        active.path().parent().unwrap(),
        world.dir.path(),
        "/nonexistent".as_ref(),
    ] {
        assert!(store.release_at(other).unwrap().is_none(), "{}", other.display());
    }
}

#[test]
fn a_device_does_not_move_where_nobody_shows_which_log_the_namespace_names() {
    let world = World::new();
    let device = with_release(&world);
    let unreadable = "{\"v\": 2}";
    let digest = assay_client::sha256(unreadable.as_bytes());
    let cases = [
        // Not in its entry, and nowhere else.
        json!({"length": 10, "hashes": {"sha256": "ab".repeat(32)}}),
        json!({"length": unreadable.len(), "hashes": {"sha256": digest}, "custom": {"x-assay": {"inline": unreadable}}}),
        // Not what was signed.
        json!({"length": unreadable.len(), "hashes": {"sha256": "ab".repeat(32)},
            "custom": {"x-assay": {"inline": unreadable}}}),
    ];
    for entry in cases {
        world.sign_targets(|signed| signed["targets"]["trust/log.json"] = entry.clone());
        let refused = device.trust_move("http://other.test", &acme());
        let Err(DeviceError::Root { source, .. }) = &refused else {
            panic!("{entry}: {refused:?}");
        };
        assert!(matches!(source, TrustError::Malformed { .. }), "{source}");
        assert_eq!(
            device.store().list().unwrap()[0].pin.registry,
            "http://registry.test"
        );
    }
}
