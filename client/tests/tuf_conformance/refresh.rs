//! What a refresh asks for, and what it trusts afterwards.

use serde_json::{Value, json};

use crate::repository::Repository;

#[test]
fn a_refresh_asks_for_each_file_once_and_keeps_its_bytes() {
    let repository = Repository::new();
    let mut unusual = repository.served("metadata/timestamp.json");
    unusual.push(b' ');
    repository.serve("metadata/timestamp.json", &unusual);
    repository.refresh().unwrap();
    assert_eq!(
        repository.asked(),
        [
            "2.root.json",
            "timestamp.json",
            "1.snapshot.json",
            "1.targets.json"
        ]
    );
    assert_eq!(repository.trusted("timestamp"), Some(unusual));
    assert_eq!(repository.versions(), [1; 4]);

    repository.refresh().unwrap();
    assert_eq!(repository.asked(), ["2.root.json", "timestamp.json"]);
}

#[test]
fn a_bad_first_root_is_refused_before_any_request() {
    let repository = Repository::new();
    let good: Value = serde_json::from_slice(&repository.served("metadata/1.root.json")).unwrap();
    let mut without_version = good.clone();
    without_version["signed"]
        .as_object_mut()
        .unwrap()
        .remove("version");
    let mut unsigned = good;
    unsigned["signatures"][0]["sig"] = json!("00".repeat(64));
    for bad in [without_version, unsigned] {
        repository.init(&serde_json::to_vec(&bad).unwrap()).unwrap();
        repository.refresh().unwrap_err();
        assert_eq!(repository.asked(), [""; 0]);
    }
}

#[test]
fn a_role_without_its_signature_ends_the_refresh_there() {
    for (role, expected) in [
        ("root", [1, 0, 0, 0]),
        ("timestamp", [2, 0, 0, 0]),
        ("snapshot", [2, 2, 0, 0]),
        ("targets", [2, 2, 2, 0]),
    ] {
        let mut repository = Repository::new();
        repository.keys.get_mut(role).unwrap().clear();
        repository.publish(&["root", "targets", "snapshot", "timestamp"]);
        repository.refresh().unwrap_err();
        assert_eq!(repository.versions(), expected, "{role}");
    }
}

#[test]
fn a_file_of_another_version_than_its_name_is_refused() {
    for (role, expected) in [
        ("root", [1, 0, 0, 0]),
        ("snapshot", [2, 2, 0, 0]),
        ("targets", [2, 2, 2, 0]),
    ] {
        let mut repository = Repository::new();
        repository.publish(&["root", "targets", "snapshot", "timestamp"]);
        repository.publish(&[role]);
        let wrong = repository.served(&format!("metadata/3.{role}.json"));
        repository.serve(&format!("metadata/2.{role}.json"), &wrong);
        repository.withdraw(&format!("metadata/3.{role}.json"));
        repository.refresh().unwrap_err();
        assert_eq!(repository.versions(), expected, "{role}");
    }
}

#[test]
fn a_file_with_another_hash_or_length_is_refused() {
    for field in ["hashes", "length"] {
        let mut repository = Repository::new();
        repository.with_hashes = true;
        repository.publish(&["targets", "snapshot", "timestamp"]);
        repository.refresh().unwrap();
        repository.publish(&["targets"]);
        repository.edit("snapshot")["meta"]["targets.json"][field] = match field {
            "hashes" => json!({"sha256": "00".repeat(32)}),
            _ => json!(1),
        };
        repository.publish(&["snapshot", "timestamp"]);
        repository.refresh().unwrap_err();
        assert_eq!(repository.versions(), [1, 3, 3, 2], "{field}");
    }
}

#[test]
fn a_missing_file_ends_the_refresh_there() {
    let mut repository = Repository::new();
    repository.refresh().unwrap();
    repository.publish(&["targets", "snapshot", "timestamp"]);
    repository.withdraw("metadata/2.targets.json");
    repository.refresh().unwrap_err();
    assert_eq!(repository.versions(), [1, 2, 2, 1]);

    repository.publish(&["snapshot", "timestamp"]);
    repository.withdraw("metadata/3.snapshot.json");
    repository.refresh().unwrap_err();
    assert_eq!(repository.versions(), [1, 3, 2, 1]);

    repository.withdraw("metadata/timestamp.json");
    repository.refresh().unwrap_err();
    assert_eq!(repository.asked().last().unwrap(), "timestamp.json");
}

#[test]
fn a_snapshot_signed_as_timestamp_is_refused() {
    let mut repository = Repository::new();
    let timestamp = repository.keys.remove("timestamp").unwrap();
    repository.set_keys("snapshot", timestamp, 1);
    repository.edit("snapshot")["meta"] = json!({"snapshot.json": {"version": 1}});
    repository.publish(&["root", "snapshot"]);
    let snapshot = repository.served("metadata/2.snapshot.json");
    repository.serve("metadata/timestamp.json", &snapshot);
    repository.refresh().unwrap_err();
    assert_eq!(repository.versions(), [2, 0, 0, 0]);
}

#[test]
fn fields_that_nobody_knows_count_for_signatures_and_nothing_else() {
    let mut repository = Repository::new();
    repository.refresh().unwrap();
    let root = repository.edit("root");
    root["custom-field"] = json!({"a": 1});
    root["roles"]["root"]["another"] = json!("value");
    let id = root["roles"]["snapshot"]["keyids"][0]
        .as_str()
        .unwrap()
        .to_owned();
    root["keys"][&id]["keyid_hash_algorithms"] = json!("md5");
    repository.publish(&["root", "snapshot", "timestamp"]);
    repository.refresh().unwrap();
    assert_eq!(repository.versions(), [2, 2, 2, 1]);
}

#[test]
fn a_repository_without_consistent_snapshots_is_read_by_plain_names() {
    let mut repository = Repository::new();
    repository.edit("root")["consistent_snapshot"] = json!(false);
    repository.delegate("targets", "deep", json!({"paths": ["a/*"]}));
    repository.add_target("deep", "a/file", b"content");
    repository.publish(&["root", "deep", "targets", "snapshot", "timestamp"]);
    repository.download(&["a/file"]).unwrap();
    assert_eq!(
        repository.asked(),
        [
            "2.root.json",
            "3.root.json",
            "timestamp.json",
            "snapshot.json",
            "targets.json",
            "deep.json",
            "/targets/a/file"
        ]
    );
    assert_eq!(repository.downloaded(), [b"content".to_vec()]);
}

#[test]
fn many_rotations_are_followed_in_one_run() {
    let mut repository = Repository::new();
    for _ in 0..255 {
        repository.publish(&["root"]);
    }
    repository.refresh().unwrap();
    assert_eq!(repository.versions(), [256, 1, 1, 1]);
}
