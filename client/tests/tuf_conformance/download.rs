//! Targets: their bytes, their names, and the ones that are there already.

use serde_json::json;

use crate::repository::{Repository, sha256};

fn with_target(path: &str, bytes: &[u8]) -> Repository {
    let mut repository = Repository::new();
    repository.add_target("targets", path, bytes);
    repository.publish(&["targets", "snapshot", "timestamp"]);
    repository
}

#[test]
fn targets_are_downloaded_and_not_fetched_again() {
    for path in [
        "file.txt",
        "path/to/file.txt",
        "with space and %",
        "..",
        "a/../../b",
    ] {
        let repository = with_target(path, b"content");
        // A server decodes what a client encoded; this one does not.
        let hash = sha256(b"content");
        repository.serve(&format!("targets/{hash}.with%20space%20and%20%25"), b"content");
        repository.download(&[path]).unwrap();
        assert_eq!(repository.downloaded(), [b"content"], "{path}");
        repository.asked();
        repository.download(&[path]).unwrap();
        assert_eq!(repository.asked(), ["2.root.json", "timestamp.json"], "{path}");
    }
}

#[test]
fn an_unknown_target_is_refused_after_a_refresh() {
    let repository = Repository::new();
    repository.download(&["missing"]).unwrap_err();
    assert_eq!(repository.versions(), [1; 4]);
}

#[test]
fn other_bytes_under_a_targets_name_are_refused() {
    for other in [&b"CONTENT"[..], b"", b"content and more"] {
        let repository = with_target("file", b"content");
        repository.serve(&format!("targets/{}.file", sha256(b"content")), other);
        repository.download(&["file"]).unwrap_err();
        assert_eq!(repository.downloaded().len(), 0);
    }
}

#[test]
fn a_new_target_replaces_the_old_one_and_a_wrong_one_does_not() {
    let mut repository = with_target("file", b"first");
    repository.download(&["file"]).unwrap();
    repository.add_target("targets", "file", b"second");
    repository.publish(&["targets", "snapshot", "timestamp"]);
    repository.download(&["file"]).unwrap();
    assert_eq!(repository.downloaded(), [b"second"]);
    repository.add_target("targets", "file", b"third");
    repository.publish(&["targets", "snapshot", "timestamp"]);
    repository.serve(&format!("targets/{}.file", sha256(b"third")), b"wrong");
    repository.download(&["file"]).unwrap_err();
    assert_eq!(repository.downloaded(), [b"second"]);
}

#[test]
fn a_sha512_hash_alone_is_enough() {
    // SHA-512 of "abc" (FIPS 180-4, appendix C.1).
    let hash = "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f";
    let mut repository = Repository::new();
    repository.edit("targets")["targets"]["file"] = json!({"length": 3, "hashes": {"sha512": hash}});
    repository.publish(&["targets", "snapshot", "timestamp"]);
    repository.serve(&format!("targets/{hash}.file"), b"abc");
    repository.download(&["file"]).unwrap();
    assert_eq!(repository.downloaded(), [b"abc"]);
}

#[test]
fn every_hash_must_be_right() {
    let mut repository = with_target("file", b"abc");
    repository.edit("targets")["targets"]["file"]["hashes"]["sha512"] = json!("00".repeat(64));
    repository.publish(&["targets", "snapshot", "timestamp"]);
    repository.download(&["file"]).unwrap_err();
    assert_eq!(repository.downloaded().len(), 0);
}

#[test]
fn targets_without_a_usable_hash_are_refused_before_they_are_fetched() {
    for hashes in [
        json!({}),
        json!({"unknown": "00"}),
        json!({"sha256": "../.."}),
        json!({"sha256": "00"}),
    ] {
        let mut repository = with_target("file", b"abc");
        repository.edit("targets")["targets"]["file"]["hashes"] = hashes;
        repository.publish(&["targets", "snapshot", "timestamp"]);
        repository.download(&["file"]).unwrap_err();
        assert_eq!(repository.asked().last().unwrap(), "3.targets.json");
        assert_eq!(repository.downloaded().len(), 0);
    }
    let mut repository = with_target("file", b"abc");
    repository.edit("targets")["targets"]["file"]
        .as_object_mut()
        .unwrap()
        .remove("hashes");
    repository.publish(&["targets", "snapshot", "timestamp"]);
    repository.download(&["file"]).unwrap_err();
}
