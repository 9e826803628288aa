//! Expiry, rollback, and recovery from fast-forward.

use serde_json::json;

use crate::repository::{NOW, Repository, key};

const PAST: &str = "2026-11-01T00:00:00Z";
const DAY_7: &str = "2026-12-08T00:00:00Z";
const DAY_18: &str = "2026-12-19T00:00:00Z";
const DAY_21: &str = "2026-12-22T00:00:00Z";

#[test]
fn expired_files_are_refused_and_what_came_before_them_is_kept() {
    for (role, expected) in [
        ("root", [2, 1, 1, 1]),
        ("timestamp", [2, 1, 1, 1]),
        ("snapshot", [2, 2, 1, 1]),
        ("targets", [2, 2, 2, 1]),
    ] {
        let mut repository = Repository::new();
        repository.refresh().unwrap();
        repository.edit(role)["expires"] = json!(PAST);
        repository.publish(&["root", "targets", "snapshot", "timestamp"]);
        repository.refresh().unwrap_err();
        assert_eq!(repository.versions(), expected, "{role}");
    }
}

#[test]
fn a_file_at_the_instant_of_its_expiry_is_refused() {
    for role in ["root", "timestamp", "snapshot", "targets"] {
        let mut repository = Repository::new();
        repository.edit(role)["expires"] = json!(NOW);
        repository.publish(&["root", "targets", "snapshot", "timestamp"]);
        repository.refresh().unwrap_err();
    }
}

#[test]
fn expired_kept_files_are_refused_alone_and_replaced_by_newer_ones() {
    for role in ["root", "timestamp", "snapshot", "targets"] {
        let mut repository = Repository::new();
        repository.edit(role)["expires"] = json!(DAY_7);
        repository.publish(&["root", "targets", "snapshot", "timestamp"]);
        repository.refresh().unwrap();
        repository.refresh_at(DAY_18).unwrap_err();
        repository.edit(role)["expires"] = json!(DAY_21);
        repository.publish(&["root", "targets", "snapshot", "timestamp"]);
        repository.refresh_at(DAY_18).unwrap();
        assert_eq!(repository.versions(), [3; 4], "{role}");
    }
}

#[test]
fn an_expired_kept_timestamp_still_is_a_floor() {
    let mut repository = Repository::new();
    repository.edit("timestamp")["expires"] = json!(DAY_7);
    repository.publish(&["timestamp"]);
    repository.refresh().unwrap();
    repository.edit("timestamp")["expires"] = json!(DAY_21);
    repository.publish_as("timestamp", 1);
    let error = repository.refresh_at(DAY_18).unwrap_err();
    assert!(error.contains("rollback"), "{error}");
}

#[test]
fn an_expired_delegated_role_is_not_used_until_it_is_renewed() {
    let mut repository = Repository::new();
    repository.delegate("targets", "late", json!({"paths": ["late/*"]}));
    repository.edit("late")["expires"] = json!(DAY_7);
    repository.add_target("late", "late/one", b"one");
    repository.add_target("late", "late/two", b"two");
    repository.publish(&["late", "targets", "snapshot", "timestamp"]);
    repository.download(&["late/one"]).unwrap();
    repository.download_at(&["late/two"], DAY_18).unwrap_err();
    assert_eq!(repository.downloaded().len(), 1);
    repository.edit("late")["expires"] = json!(DAY_21);
    repository.publish(&["late", "snapshot", "timestamp"]);
    repository.download_at(&["late/two"], DAY_18).unwrap();
    assert_eq!(repository.downloaded().len(), 2);
}

#[test]
fn another_timestamp_of_the_same_version_changes_nothing() {
    let mut repository = Repository::new();
    repository.refresh().unwrap();
    repository.asked();
    let trusted = repository.trusted("timestamp");
    repository.edit("timestamp")["meta"]["snapshot.json"]["version"] = json!(100);
    repository.publish_as("timestamp", 1);
    repository.refresh().unwrap();
    assert_eq!(repository.asked(), ["2.root.json", "timestamp.json"]);
    assert_eq!(repository.trusted("timestamp"), trusted);
}

#[test]
fn an_older_timestamp_snapshot_or_targets_is_refused() {
    for with_hashes in [false, true] {
        for (role, expected) in [
            ("timestamp", [1, 2, 2, 2]),
            ("snapshot", [1, 2, 2, 2]),
            ("targets", [1, 3, 2, 2]),
        ] {
            let mut repository = Repository::new();
            repository.with_hashes = with_hashes;
            repository.publish(&["targets", "snapshot", "timestamp"]);
            repository.refresh().unwrap();
            repository.publish_as(role, 1);
            match role {
                "targets" => repository.publish(&["snapshot", "timestamp"]),
                "snapshot" => repository.publish(&["timestamp"]),
                _ => {}
            }
            let error = repository.refresh().unwrap_err();
            assert!(error.contains("rollback"), "{error}");
            assert_eq!(repository.versions(), expected, "{role}");
        }
    }
}

#[test]
fn withholding_a_snapshot_erases_no_floor() {
    let mut repository = Repository::new();
    repository.publish(&["targets", "snapshot", "timestamp"]);
    repository.refresh().unwrap();
    repository.publish(&["snapshot", "timestamp"]);
    repository.withdraw("metadata/3.snapshot.json");
    repository.refresh().unwrap_err();
    repository.publish_as("targets", 1);
    repository.publish(&["snapshot", "timestamp"]);
    let error = repository.refresh().unwrap_err();
    assert!(error.contains("rollback"), "{error}");
}

#[test]
fn a_run_that_ended_between_two_files_erases_no_floor() {
    let mut repository = Repository::new();
    let old = repository.served("metadata/timestamp.json");
    repository.publish(&["targets", "snapshot", "timestamp"]);
    repository.refresh().unwrap();
    let left = repository
        .trusted_path("timestamp")
        .with_file_name("timestamp-of-snapshot");
    assert!(!left.exists());
    std::fs::write(left, old).unwrap();
    repository.publish_as("targets", 1);
    repository.publish(&["snapshot", "timestamp"]);
    let error = repository.refresh().unwrap_err();
    assert!(error.contains("rollback"), "{error}");
}

#[test]
fn a_fast_forward_is_recovered_from_by_rotation() {
    for (role, rotated) in [
        ("timestamp", vec!["timestamp"]),
        ("snapshot", vec!["snapshot", "timestamp"]),
        ("targets", vec!["snapshot"]),
    ] {
        let mut repository = Repository::new();
        repository.publish_as(role, 1000);
        match role {
            "targets" => repository.publish(&["snapshot", "timestamp"]),
            "snapshot" => repository.publish(&["timestamp"]),
            _ => {}
        }
        repository.refresh().unwrap();
        for role in rotated {
            repository.set_keys(role, vec![key()], 1);
        }
        repository.edit(role)["version"] = json!(1);
        repository.publish(&["root", "targets", "snapshot", "timestamp"]);
        repository.refresh().unwrap();
        let version = ["root", "timestamp", "snapshot", "targets"]
            .iter()
            .position(|r| *r == role);
        assert_eq!(repository.versions()[version.unwrap()], 2, "{role}");
    }
}
