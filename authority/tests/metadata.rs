//! TUF metadata: made, read back, edited, signed, refused.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod common;

use std::collections::BTreeMap;

use assay_authority::metadata::{Delegation, add_signature, default_expiry, sign_value};
use assay_authority::{
    FileMeta, MetadataError, Root, Signed, SigningKey, Snapshot, Target, Targets, TimestampRole, TopRole,
};
use assay_schema::canonical;
use assay_schema::limits::MAX_INTEGER;
use assay_schema::tuf::DelegationTerms;
use common::{Keys, digest, key, now, one, role, root};
use serde_json::{Value, json};

fn value(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap()
}

/// Checks every signature with the verifying half of dalek, over the canonical form of what the file says.
fn valid_ed25519_signatures(file: &[u8], keys: &[&SigningKey]) -> usize {
    let file = value(file);
    let message = canonical::signed_bytes(&file["signed"]).unwrap();
    let signatures = file["signatures"].as_array().unwrap();
    keys.iter()
        .filter(|key| {
            let raw: [u8; 32] = hex::decode(key.tuf_key().unwrap().keyval.public)
                .unwrap()
                .try_into()
                .unwrap();
            let public = ed25519_dalek::VerifyingKey::from_bytes(&raw).unwrap();
            signatures.iter().any(|s| {
                let sig: [u8; 64] = hex::decode(s["sig"].as_str().unwrap())
                    .unwrap()
                    .try_into()
                    .unwrap();
                s["keyid"] == key.key_id().unwrap().as_str()
                    && public
                        .verify_strict(&message, &ed25519_dalek::Signature::from_bytes(&sig))
                        .is_ok()
            })
        })
        .count()
}

#[test]
fn root_says_what_tuf_asks_for() {
    let keys = Keys::new();
    let signed = root(&keys).sign(&[&keys.root[1], &keys.root[0]], None).unwrap();
    let file = value(&signed.bytes);
    assert_eq!(file["signed"]["_type"], "root");
    assert_eq!(file["signed"]["spec_version"], assay_schema::tuf::SPEC_VERSION);
    assert_eq!(file["signed"]["version"], 1);
    assert_eq!(file["signed"]["consistent_snapshot"], true);
    assert_eq!(file["signed"]["expires"], "2027-11-20T09:00:00Z");
    assert_eq!(file["signed"]["keys"].as_object().unwrap().len(), 7);
    assert_eq!(file["signed"]["roles"]["root"]["threshold"], 2);
    assert!(file["signed"].get("x-assay").is_none());
    assert_eq!(signed.file_name(), "1.root.json");
    let ids: Vec<_> = file["signatures"]
        .as_array()
        .unwrap()
        .iter()
        .map(|s| s["keyid"].as_str().unwrap())
        .collect();
    assert!(ids.is_sorted() && ids.len() == 2, "{ids:?}");
    assert_eq!(valid_ed25519_signatures(&signed.bytes, &keys.root.each_ref()), 2);
}

#[test]
fn the_same_metadata_is_signed_to_the_same_bytes() {
    let keys = Keys::new();
    let signers = [&keys.root[0], &keys.root[1]];
    let signed = root(&keys).sign(&signers, None).unwrap();
    assert_eq!(
        root(&keys)
            .sign(&[signers[1], signers[0], signers[0]], None)
            .unwrap(),
        signed
    );
    assert_eq!(
        Root::read(&signed.bytes).unwrap().sign(&signers, None).unwrap(),
        signed
    );
}

#[test]
fn one_key_in_two_roles_is_refused() {
    let keys = Keys::new();
    let expires = default_expiry("root", now()).unwrap();
    let (snapshot, both) = (one(&keys.snapshot), one(&keys.root[1]));
    let result = Root::new(&keys.root_keys(), &keys.targets_keys(), &snapshot, &both, expires);
    assert!(
        matches!(result, Err(MetadataError::KeyInTwoRoles { .. })),
        "{result:?}"
    );
    let mut edited = root(&keys);
    let before = edited.clone();
    let result = edited.set_role(TopRole::Snapshot, &one(&keys.timestamp));
    assert!(
        matches!(result, Err(MetadataError::KeyInTwoRoles { .. })),
        "{result:?}"
    );
    assert_eq!(edited, before);
}

#[test]
fn one_raw_key_under_two_ids_is_refused() {
    let keys = Keys::new();
    let mut twice = keys.root_keys();
    let mut upper = twice.keys[0].clone();
    upper.keyval.public = upper.keyval.public.to_uppercase();
    twice.keys.push(upper);
    let expires = default_expiry("root", now()).unwrap();
    let (snapshot, timestamp) = (one(&keys.snapshot), one(&keys.timestamp));
    let result = Root::new(&twice, &keys.targets_keys(), &snapshot, &timestamp, expires);
    assert!(
        matches!(result, Err(MetadataError::SameKeyTwice { .. })),
        "{result:?}"
    );
}

#[test]
fn a_threshold_of_none_or_of_more_than_all_is_refused() {
    let keys = Keys::new();
    for threshold in [0, 4, u64::MAX] {
        let mut bad = keys.root_keys();
        bad.threshold = threshold;
        let result = root(&keys).set_role(TopRole::Root, &bad);
        assert!(
            matches!(result, Err(MetadataError::Threshold { keys: 3, .. })),
            "{threshold}: {result:?}"
        );
    }
}

#[test]
fn a_key_that_the_role_does_not_list_does_not_sign() {
    let keys = Keys::new();
    let result = root(&keys).sign(&[&keys.targets[0]], None);
    assert!(matches!(result, Err(MetadataError::NotListed { .. })));
    let signed = root(&keys).sign(&[&keys.root[0]], None).unwrap();
    let result = add_signature(&signed.bytes, &key(), "root", Some(&keys.root_keys()));
    assert!(matches!(result, Err(MetadataError::NotListed { .. })));
}

#[test]
fn signatures_of_several_holders_come_together() {
    let keys = Keys::new();
    let first = root(&keys).sign(&[&keys.root[0]], None).unwrap();
    let both = add_signature(&first.bytes, &keys.root[2], "root", Some(&keys.root_keys())).unwrap();
    assert_eq!(
        both,
        root(&keys).sign(&[&keys.root[0], &keys.root[2]], None).unwrap()
    );
    let again = add_signature(&both.bytes, &keys.root[2], "root", None).unwrap();
    assert_eq!(again, both);
}

#[test]
fn a_file_of_another_role_gets_no_signature() {
    let keys = Keys::new();
    let targets = Targets::top_level(digest(1), now())
        .unwrap()
        .sign(&[&keys.targets[0]], None)
        .unwrap();
    for role in ["root", "snapshot", "model.minilm.0"] {
        let result = add_signature(&targets.bytes, &keys.targets[1], role, None);
        assert!(
            matches!(result, Err(MetadataError::Field { .. })),
            "{role}: {result:?}"
        );
    }
    assert!(
        add_signature(
            &targets.bytes,
            &keys.targets[1],
            "targets",
            Some(&keys.targets_keys())
        )
        .is_ok()
    );
    assert!(add_signature(b"{}", &keys.targets[1], "targets", None).is_err());
}

#[test]
fn a_file_that_every_device_would_find_too_long_is_not_signed() {
    let files = (0..40_000)
        .map(|i| (format!("model.m.{i}.json"), FileMeta::of(1, b"")))
        .collect();
    let snapshot = Snapshot::new(digest(1), 1, now(), &files).unwrap();
    assert!(matches!(
        snapshot.sign(&[&key()]),
        Err(MetadataError::Field { .. })
    ));
}

#[test]
fn a_rotation_is_signed_by_old_and_new_keys_and_forgets_the_old() {
    let keys = Keys::new();
    let old = root(&keys);
    let fresh = key();
    let mut new = old.clone();
    new.advance(default_expiry("root", now()).unwrap()).unwrap();
    new.set_role(TopRole::Root, &one(&fresh)).unwrap();
    assert!(matches!(
        new.sign(&[&keys.root[0]], None),
        Err(MetadataError::NotListed { .. })
    ));
    let signed = new
        .sign(&[&keys.root[0], &keys.root[1], &fresh], Some(&old))
        .unwrap();
    assert_eq!(signed.version, 2);
    assert_eq!(
        value(&signed.bytes)["signed"]["keys"].as_object().unwrap().len(),
        5
    );
    assert_eq!(
        valid_ed25519_signatures(&signed.bytes, &[&keys.root[0], &keys.root[1], &fresh]),
        3
    );
}

#[test]
fn the_next_version_has_nothing_that_nobody_could_be_shown() {
    let keys = Keys::new();
    let honest = root(&keys).signed_value();
    let mut root_value = honest.clone();
    let id = keys.root[0].key_id().unwrap();
    root_value["x-other"] = json!({"a": [1, "two"]});
    root_value["roles"]["root"]["x-note"] = "unknown".into();
    root_value["roles"]["x-mirrors"] = json!({"keyids": [], "threshold": 1});
    root_value["keys"][&id]["x-tuf-on-ci-keyowner"] = "@someone".into();
    let bytes = sign_value("root", &root_value, &[&keys.root[0]]).unwrap();
    let mut read = Root::read(&bytes).unwrap();
    assert_eq!(read.signed_value(), root_value);
    let unknown: Vec<_> = read.unknown().unwrap().into_iter().map(|u| u.at).collect();
    let expected = [
        &format!("/keys/{id}/x-tuf-on-ci-keyowner"),
        "/roles/root/x-note",
        "/roles/x-mirrors",
        "/x-other",
    ];
    assert_eq!(unknown, expected);
    read.advance(default_expiry("root", now()).unwrap()).unwrap();
    let mut expected = honest;
    expected["version"] = 2.into();
    assert_eq!(read.signed_value(), expected);

    let mut honest = Targets::top_level(digest(1), default_expiry("targets", now()).unwrap()).unwrap();
    honest.set_target("trust/a/b", &Target::of(b"{}")).unwrap();
    let delegation = Delegation {
        keys: one(&key()),
        terms: DelegationTerms { max_epoch: 1 },
    };
    honest.delegate(&role(), &delegation, &root(&keys)).unwrap();
    honest.delegate_status(&one(&key()), &root(&keys)).unwrap();
    assert!(honest.unknown().unwrap().is_empty());
    let honest = honest.signed_value();
    let mut value = honest.clone();
    value["x-other"] = true.into();
    value["x-assay"]["other"] = 1.into();
    value["delegations"]["succinct_roles"] = json!({});
    value["delegations"]["roles"][0]["path_hash_prefixes"] = json!([""]);
    value["delegations"]["roles"][0]["x-assay"]["more"] = 2.into();
    value["delegations"]["roles"][1]["terminating"] = false.into();
    value["targets"]["trust/a/b"]["custom"] = json!({"theirs": 5});
    value["targets"]["trust/a/b"]["hashes"]["sha512"] = "00".into();
    let bytes = sign_value("targets", &value, &[&keys.targets[0]]).unwrap();
    let mut read = Targets::read(&bytes).unwrap();
    let unknown = read.unknown().unwrap();
    assert_eq!(unknown.len(), 8, "{unknown:?}");
    assert!(
        unknown
            .iter()
            .any(|u| u.at == "/targets/trust~1a~1b/hashes/sha512")
    );
    read.advance(default_expiry("targets", now()).unwrap()).unwrap();
    let mut expected = honest.clone();
    expected["version"] = 2.into();
    assert_eq!(read.signed_value(), expected);

    // A file of which nobody could say what it means has no next version.
    let twice = honest["delegations"]["roles"][0].clone();
    let mut two = honest.clone();
    two["delegations"]["roles"].as_array_mut().unwrap().push(twice);
    let mut other_key = honest;
    let ids = other_key["delegations"]["keys"].as_object_mut().unwrap();
    let stranger = json!(key().tuf_key().unwrap());
    ids.values_mut().for_each(|key| *key = stranger.clone());
    for bad in [two, other_key] {
        let bytes = sign_value("targets", &bad, &[&keys.targets[0]]).unwrap();
        let mut read = Targets::read(&bytes).unwrap();
        assert!(read.unknown().is_err());
        assert!(read.advance(now()).is_err());
    }
}

#[test]
fn a_version_has_no_successor_at_the_end() {
    let expires = default_expiry("snapshot", now()).unwrap();
    let mut last = Snapshot::new(digest(1), MAX_INTEGER, expires, &BTreeMap::new()).unwrap();
    assert!(matches!(
        last.advance(expires),
        Err(MetadataError::LastVersion { .. })
    ));
    for version in [0, MAX_INTEGER + 1] {
        let result = Snapshot::new(digest(1), version, expires, &BTreeMap::new());
        assert!(matches!(result, Err(MetadataError::Field { .. })), "{version}");
    }
}

#[test]
fn a_time_that_cannot_be_written_is_refused() {
    let end = jiff::Timestamp::MAX;
    assert!(matches!(
        default_expiry("root", end),
        Err(MetadataError::Expiry { .. })
    ));
    let before = "1969-12-31T23:59:59Z".parse().unwrap();
    assert!(matches!(
        Targets::top_level(digest(1), before),
        Err(MetadataError::Expiry { .. })
    ));
}

#[test]
fn default_expiries_are_those_of_the_roles() {
    for (role, day) in [
        ("root", "2027-11-20"),
        ("targets", "2027-05-19"),
        ("model.minilm.0", "2027-05-19"),
        ("snapshot", "2026-11-27"),
        ("timestamp", "2026-11-21"),
    ] {
        assert_eq!(
            default_expiry(role, now()).unwrap().to_string(),
            format!("{day}T09:00:00.123Z"),
            "{role}"
        );
    }
}

#[test]
fn every_role_but_root_names_its_namespace_and_itself() {
    let keys = Keys::new();
    let expires = default_expiry("timestamp", now()).unwrap();
    let meta = FileMeta::of(3, b"bytes");
    let files = BTreeMap::from([("targets.json".to_owned(), meta)]);
    let signed: [Signed; 4] = [
        Targets::top_level(digest(9), expires)
            .unwrap()
            .sign(&[&keys.targets[0]], None)
            .unwrap(),
        Targets::model_role(&role(), digest(9), expires)
            .unwrap()
            .sign(&[&keys.targets[0]], None)
            .unwrap(),
        Snapshot::new(digest(9), 5, expires, &files)
            .unwrap()
            .sign(&[&keys.snapshot])
            .unwrap(),
        TimestampRole::new(digest(9), 5, expires, &meta)
            .unwrap()
            .sign(&[&keys.timestamp])
            .unwrap(),
    ];
    let names = [
        "1.targets.json",
        "1.model.minilm.0.json",
        "5.snapshot.json",
        "timestamp.json",
    ];
    for (file, name) in signed.iter().zip(names) {
        assert_eq!(file.file_name(), name);
        let binding = &value(&file.bytes)["signed"]["x-assay"];
        assert_eq!(*binding, json!({"namespace": digest(9), "role": file.role}));
    }
    let entry = &value(&signed[2].bytes)["signed"]["meta"]["targets.json"];
    assert_eq!(
        *entry,
        json!({"version": 3, "length": 5, "hashes": {"sha256": meta.sha256}})
    );
    assert_eq!(
        TimestampRole::read(&signed[3].bytes).unwrap().snapshot().unwrap(),
        meta
    );
}

#[test]
fn a_snapshot_never_lowers_a_version() {
    let expires = default_expiry("snapshot", now()).unwrap();
    let files = BTreeMap::from([("targets.json".to_owned(), FileMeta::of(4, b"four"))]);
    let mut snapshot = Snapshot::new(digest(1), 1, expires, &files).unwrap();
    let result = snapshot.set_file("targets.json", &FileMeta::of(3, b"three"));
    assert!(matches!(result, Err(MetadataError::Field { .. })));
    snapshot
        .set_file("targets.json", &FileMeta::of(5, b"five"))
        .unwrap();
    snapshot
        .set_file("model.minilm.0.json", &FileMeta::of(1, b"one"))
        .unwrap();
    let read = Snapshot::read(&snapshot.sign(&[&key()]).unwrap().bytes).unwrap();
    assert_eq!(read.files().unwrap().len(), 2);
    assert_eq!(read.files().unwrap()["targets.json"].version, 5);
}

#[test]
fn files_that_are_not_what_they_should_be_are_refused() {
    let keys = Keys::new();
    let good = root(&keys).signed_value();
    let sign = |value: &Value| sign_value("root", value, &[&keys.root[0]]).unwrap();
    for (field, bad) in [
        ("_type", json!("targets")),
        ("spec_version", json!("2.0.0")),
        ("version", json!(0)),
        ("version", json!("1")),
        ("expires", json!("tomorrow")),
        ("roles", json!([])),
    ] {
        let mut value = good.clone();
        value[field] = bad;
        assert!(Root::read(&sign(&value)).is_err(), "{field}");
    }
    assert!(matches!(Root::read(b"{"), Err(MetadataError::Json { .. })));
    let unbound = json!({"_type": "targets", "spec_version": "1.0", "version": 1, "expires": "2030-01-01T00:00:00Z", "targets": {}});
    assert!(matches!(
        Targets::read(&sign(&unbound)),
        Err(MetadataError::Field { .. })
    ));
    let mut float = good.clone();
    float["x"] = json!(1.5);
    assert!(matches!(
        sign_value("root", &float, &[]),
        Err(MetadataError::Json { .. })
    ));

    let mut renamed = good;
    let id = keys.root[0].key_id().unwrap();
    let object = renamed["keys"].as_object_mut().unwrap();
    let key = object.remove(&id).unwrap();
    object.insert("ab".repeat(32), key);
    for entry in renamed["roles"]["root"]["keyids"].as_array_mut().unwrap() {
        if *entry == id.as_str() {
            *entry = "ab".repeat(32).into();
        }
    }
    let read = Root::read(&sign(&renamed)).unwrap();
    assert!(matches!(
        read.sign(&[&keys.root[1]], None),
        Err(MetadataError::KeyId { .. })
    ));
}
