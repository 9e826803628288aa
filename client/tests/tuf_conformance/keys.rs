//! Keys, thresholds and rotations.

use assay_authority::{KeyKind, SigningKey};
use serde_json::{Value, json};

use crate::repository::{Repository, key};

fn pool() -> Vec<String> {
    (0..10).map(|_| key().to_pem().unwrap().to_string()).collect()
}

fn pick(pool: &[String], which: &[usize]) -> Vec<SigningKey> {
    which
        .iter()
        .map(|i| SigningKey::from_pem(&pool[*i], None).unwrap())
        .collect()
}

/// Keys, threshold, signers of one version.
type Version = (&'static [usize], usize, &'static [usize]);

fn rotate(repository: &mut Repository, pool: &[String], role: &str, (keys, threshold, signers): Version) {
    repository.set_keys(role, pick(pool, keys), threshold);
    repository.keys.insert(role.into(), pick(pool, signers));
}

#[test]
fn roots_signed_by_both_thresholds_are_followed_and_no_others() {
    let cases: [(&[Version], bool); 15] = [
        (&[(&[1], 1, &[1]), (&[2], 1, &[2, 1]), (&[2], 1, &[2])], true),
        (
            &[
                (&[1], 1, &[3, 1, 4]),
                (&[2], 1, &[3, 2, 1, 4]),
                (&[2], 1, &[3, 2, 4]),
            ],
            true,
        ),
        (
            &[
                (&[0, 1, 2, 3, 4], 3, &[0, 2, 4]),
                (&[0, 1, 2, 3, 4], 3, &[0, 4, 1]),
            ],
            true,
        ),
        (
            &[
                (&[0, 1, 2, 3, 4], 3, &[0, 2, 4]),
                (&[0, 1, 3, 4, 5], 3, &[0, 4, 1]),
            ],
            true,
        ),
        (
            &[
                (&[0, 1, 2, 3, 4], 3, &[0, 2, 4]),
                (&[0, 1, 3, 4, 5], 3, &[0, 2, 4, 5]),
                (&[0, 1, 3, 4, 5], 3, &[0, 4, 5]),
            ],
            true,
        ),
        (
            &[
                (&[0, 1, 2, 3, 4], 3, &[0, 2, 4]),
                (&[5, 6, 7, 8, 9], 3, &[0, 2, 4, 5, 6, 7]),
                (&[5, 6, 7, 8, 9], 3, &[5, 6, 7]),
            ],
            true,
        ),
        (&[(&[1, 2, 3], 1, &[1]), (&[1, 2, 3], 2, &[1, 2])], true),
        (
            &[
                (&[1, 2, 3], 2, &[1, 2]),
                (&[1, 2, 3], 1, &[1, 2]),
                (&[1, 2, 3], 1, &[1]),
            ],
            true,
        ),
        (&[(&[1], 1, &[1]), (&[1, 2], 2, &[1, 2])], true),
        (&[(&[1], 1, &[1]), (&[2], 1, &[2, 3, 4])], false),
        (&[(&[1], 1, &[1]), (&[2], 1, &[1, 3, 4])], false),
        (
            &[
                (&[0, 1, 2, 3, 4], 3, &[0, 2, 4]),
                (&[0, 1, 3, 4, 5], 3, &[0, 2, 4]),
            ],
            false,
        ),
        (
            &[
                (&[0, 1, 2, 3, 4], 3, &[0, 2, 4]),
                (&[0, 1, 3, 4, 5], 3, &[0, 4, 5]),
            ],
            false,
        ),
        (&[(&[1, 2, 3], 1, &[1]), (&[1, 2, 3], 2, &[2])], false),
        (&[(&[1, 2, 3], 2, &[1, 2]), (&[1, 2, 3], 1, &[1])], false),
    ];
    let pool = pool();
    for (versions, accepted) in cases {
        let mut repository = Repository::new();
        for (version, case) in (1..).zip(versions) {
            rotate(&mut repository, &pool, "root", *case);
            repository.publish_as("root", version);
        }
        let first = repository.served("metadata/1.root.json");
        repository.init(&first).unwrap();
        assert_eq!(repository.refresh().is_ok(), accepted, "{versions:?}");
        let last = versions.len() - usize::from(!accepted);
        let expected = repository.served(&format!("metadata/{last}.root.json"));
        assert_eq!(repository.trusted("root"), Some(expected), "{versions:?}");
    }
}

#[test]
fn other_roles_need_the_threshold_of_the_present_root() {
    let cases: [(Version, bool); 10] = [
        ((&[2], 1, &[2]), true),
        ((&[1], 1, &[3, 1, 4]), true),
        ((&[2], 1, &[1, 3, 4]), false),
        ((&[0, 1, 3, 4, 5], 3, &[0, 2, 4]), false),
        ((&[0, 1, 3, 4, 5], 3, &[0, 4]), false),
        ((&[0, 1, 2, 3, 4], 3, &[0, 2, 4]), true),
        ((&[0, 1, 2, 3, 4], 3, &[0, 4, 1]), true),
        ((&[0, 1, 2, 3, 4], 3, &[0, 1, 3]), true),
        ((&[0, 1, 2, 3, 4], 3, &[1, 2, 3]), true),
        ((&[0, 1, 2, 3, 4], 3, &[2, 3, 4]), true),
    ];
    let pool = pool();
    for (case, accepted) in cases {
        // The three share their keys, as foreign repositories may.
        let mut repository = Repository::new();
        for role in ["timestamp", "snapshot", "targets"] {
            rotate(&mut repository, &pool, role, case);
            repository.publish(&["root", "targets", "snapshot", "timestamp"]);
            assert_eq!(repository.refresh().is_ok(), accepted, "{role} {case:?}");
        }
    }
}

#[test]
fn a_threshold_that_no_keys_can_meet_stops_its_role_and_not_the_root() {
    let mut repository = Repository::new();
    repository.edit("root")["roles"]["snapshot"]["threshold"] = json!(6);
    repository.publish(&["root", "snapshot", "timestamp"]);
    repository.refresh().unwrap_err();
    assert_eq!(repository.versions(), [2, 2, 0, 0]);
}

#[test]
fn a_threshold_of_zero_is_refused() {
    let mut repository = Repository::new();
    repository.edit("root")["roles"]["targets"]["threshold"] = json!(0);
    repository.publish(&["root"]);
    let error = repository.refresh().unwrap_err();
    assert!(error.contains("threshold"), "{error}");
    assert_eq!(repository.versions(), [1, 0, 0, 0]);
}

#[test]
fn one_key_id_listed_many_times_counts_once() {
    let mut repository = Repository::new();
    let role = &mut repository.edit("root")["roles"]["snapshot"];
    let id = role["keyids"][0].clone();
    *role = json!({"keyids": vec![id; 9], "threshold": 6});
    repository.publish(&["root", "snapshot", "timestamp"]);
    let mut file: Value = serde_json::from_slice(&repository.served("metadata/2.snapshot.json")).unwrap();
    let one = file["signatures"][0].clone();
    file["signatures"] = json!(vec![one; 6]);
    repository.serve("metadata/2.snapshot.json", &serde_json::to_vec(&file).unwrap());
    repository.refresh().unwrap_err();
    assert_eq!(repository.trusted("snapshot"), None);
}

#[test]
fn one_key_under_two_ids_is_refused() {
    let mut repository = Repository::new();
    let root = repository.edit("root");
    let id = root["roles"]["snapshot"]["keyids"][0]
        .as_str()
        .unwrap()
        .to_owned();
    root["keys"]["another-id"] = root["keys"][&id].clone();
    root["roles"]["snapshot"] = json!({"keyids": [id, "another-id"], "threshold": 2});
    repository.publish(&["root"]);
    let error = repository.refresh().unwrap_err();
    assert!(error.contains("the same key"), "{error}");
    assert_eq!(repository.versions(), [1, 0, 0, 0]);
}

#[test]
fn two_signatures_of_one_key_id_are_refused() {
    let repository = Repository::new();
    let mut file: Value = serde_json::from_slice(&repository.served("metadata/1.snapshot.json")).unwrap();
    let one = file["signatures"][0].clone();
    file["signatures"] = json!([one, one]);
    repository.serve("metadata/1.snapshot.json", &serde_json::to_vec(&file).unwrap());
    repository.refresh().unwrap_err();
    assert_eq!(repository.trusted("snapshot"), None);
}

#[test]
fn a_wrong_or_empty_signature_beside_enough_right_ones_does_not_matter() {
    for bad in ["", "00", "not hexadecimal"] {
        let mut repository = Repository::new();
        repository.set_keys("timestamp", vec![key(), key()], 1);
        repository.publish(&["root", "timestamp"]);
        let mut file: Value = serde_json::from_slice(&repository.served("metadata/timestamp.json")).unwrap();
        file["signatures"][0]["sig"] = json!(bad);
        repository.serve("metadata/timestamp.json", &serde_json::to_vec(&file).unwrap());
        repository.refresh().unwrap();
    }
}

#[test]
fn ecdsa_keys_sign() {
    for kind in [KeyKind::P256, KeyKind::P384] {
        let mut repository = Repository::of(kind);
        repository.publish(&["root", "targets", "snapshot", "timestamp"]);
        repository.refresh().unwrap();
        repository
            .keys
            .insert("targets".into(), vec![SigningKey::generate(kind).unwrap()]);
        repository.publish(&["targets", "snapshot", "timestamp"]);
        repository.refresh().unwrap_err();
    }
}

fn vector(name: &str) -> Vec<u8> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/tuf_conformance/vectors");
    std::fs::read(format!("{folder}/{name}")).unwrap()
}

#[test]
fn rsa_keys_of_both_schemes_sign_and_wrong_signatures_do_not() {
    let repository = Repository::empty();
    repository.init(&vector("1.root.json")).unwrap();
    for name in [
        "2.root.json",
        "timestamp.json",
        "1.snapshot.json",
        "1.targets.json",
    ] {
        repository.serve(&format!("metadata/{name}"), &vector(name));
    }
    repository.refresh().unwrap();
    assert_eq!(repository.versions(), [2, 1, 1, 1]);
    for (bad, why) in [
        ("3.root.pss_fail.json", "2/3"),
        ("3.root.pkcs1_fail.json", "2/3"),
        ("3.root.twin_fail.json", "the same key"),
    ] {
        repository.serve("metadata/3.root.json", &vector(bad));
        let error = repository.refresh().unwrap_err();
        assert!(error.contains(why), "{bad}: {error}");
        assert_eq!(repository.versions(), [2, 1, 1, 1]);
    }
}
