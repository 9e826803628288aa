//! What a device names of a bundle that it has, and what it gets.

use assay_schema::bundle::{BundleDifference, BundledBlob, Held, RoleFile};
use assay_schema::difference::Part;
use assay_schema::limits::{MAX_HELD, MAX_HELD_ROLES};
use assay_schema::{CheckBundle, Sha256Digest};

#[test]
fn what_a_device_has_reads_back() {
    for text in [
        "",
        "snapshot:12",
        "release:1.0.0+cpu",
        "model.mini.lm.0:7,snapshot:12,status:1,targets:3,release:1.2.0",
    ] {
        let held: Held = text.parse().unwrap();
        assert_eq!(held.to_string(), text);
        assert_eq!(held.is_empty(), text.is_empty());
        let json = serde_json::to_string(&held).unwrap();
        assert_eq!(serde_json::from_str::<Held>(&json).unwrap(), held);
    }
}

#[test]
fn refuses_what_no_device_names() {
    let many: Vec<String> = (0..=MAX_HELD_ROLES).map(|n| format!("model.m.{n}:1")).collect();
    let long = format!("model.m.0:1{}", ",".repeat(MAX_HELD));
    for bad in [
        "snapshot",
        "snapshot:",
        "snapshot:01",
        "snapshot:-1",
        "snapshot:9007199254740992",
        "snapshot:1,snapshot:2",
        "release:1,release:2",
        "release:..",
        "timestamp:1",
        "root:1",
        "other:1",
        "model.m.00:1",
        &many.join(","),
        &long,
    ] {
        assert!(bad.parse::<Held>().is_err(), "{bad}");
    }
}

#[test]
fn a_whole_bundle_reads_as_a_difference() {
    let whole = CheckBundle {
        v: 1,
        roots: vec!["r".to_owned()],
        timestamp: "t".to_owned(),
        snapshot: "s".to_owned(),
        targets: "ts".to_owned(),
        delegated: vec![RoleFile {
            role: "model.m.0".to_owned(),
            metadata: "m".to_owned(),
        }],
        blobs: vec![BundledBlob {
            sha256: Sha256Digest::new([1; 32]),
            content: "c".to_owned(),
        }],
        log: None,
    };
    let text = serde_json::to_string(&whole).unwrap();
    let read: BundleDifference = serde_json::from_str(&text).unwrap();
    assert_eq!(read.targets, Part::Whole("ts".to_owned()));
    assert_eq!(serde_json::to_string(&read).unwrap(), text);
}
