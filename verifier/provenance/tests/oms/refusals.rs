//! Statements that a permitted signer signed and that still are not a model signature.

use assay_provenance::error::{BundleError, OmsError, StatementError};
use assay_provenance::{ProvenanceError, sha256};
use assay_schema::limits::MAX_FILES;
use serde_json::{Value, json};

use crate::forge::{TestKey, judge, sign, sign_bytes, statement};

fn refused(change: impl FnOnce(&mut Value)) -> ProvenanceError {
    let key = TestKey::p256(1);
    let mut changed = statement();
    change(&mut changed);
    judge(&sign(&key, &changed), &[&key.signer("alice")]).unwrap_err()
}

fn oms(change: impl FnOnce(&mut Value)) -> OmsError {
    match refused(change) {
        ProvenanceError::Oms(error) => error,
        other => panic!("{other}"),
    }
}

/// The subject's digest for whatever the resources now are.
fn consistent(statement: &mut Value) {
    let mut all = Vec::new();
    for resource in statement["predicate"]["resources"].as_array().unwrap() {
        all.extend(hex::decode(resource["digest"].as_str().unwrap()).unwrap());
    }
    statement["subject"][0]["digest"]["sha256"] = sha256(&all).to_hex().into();
}

#[test]
fn refuses_another_predicate_type() {
    let error = refused(|s| s["predicateType"] = "https://model_signing/Digest/v0.1".into());
    assert!(
        matches!(&error, ProvenanceError::Statement(StatementError::PredicateType { found, .. }) if found.contains("v0.1")),
        "{error}"
    );
}

#[test]
fn refuses_another_statement_type() {
    let error = refused(|s| s["_type"] = "https://in-toto.io/Statement/v0.1".into());
    assert!(
        matches!(error, ProvenanceError::Statement(StatementError::Type { .. })),
        "{error}"
    );
}

#[test]
fn refuses_a_list_that_does_not_hash_to_the_subject() {
    let changed = |s: &mut Value| s["predicate"]["resources"][0]["digest"] = "0".repeat(64).into();
    assert!(matches!(oms(changed), OmsError::Inconsistent { .. }));
    let less = |s: &mut Value| drop(s["predicate"]["resources"].as_array_mut().unwrap().pop());
    assert!(matches!(oms(less), OmsError::Inconsistent { .. }));
    let more = |s: &mut Value| {
        let resource = json!({"name": "x", "algorithm": "sha256", "digest": "0".repeat(64)});
        s["predicate"]["resources"].as_array_mut().unwrap().push(resource);
    };
    assert!(matches!(oms(more), OmsError::Inconsistent { .. }));
    let turned = |s: &mut Value| s["predicate"]["resources"].as_array_mut().unwrap().reverse();
    assert!(matches!(oms(turned), OmsError::Inconsistent { .. }));
}

#[test]
fn shows_an_extra_and_a_missing_file_in_the_signed_list() {
    let key = TestKey::p256(1);
    let mut extra = statement();
    let resource = json!({"name": "evil.py", "algorithm": "sha256", "digest": "0".repeat(64)});
    extra["predicate"]["resources"]
        .as_array_mut()
        .unwrap()
        .push(resource);
    consistent(&mut extra);
    let listed = judge(&sign(&key, &extra), &[&key.signer("alice")])
        .unwrap()
        .resources;
    assert_eq!(
        listed.keys().collect::<Vec<_>>(),
        ["README.md", "evil.py", "weights.safetensors"]
    );
    let mut missing = statement();
    missing["predicate"]["resources"].as_array_mut().unwrap().pop();
    consistent(&mut missing);
    let listed = judge(&sign(&key, &missing), &[&key.signer("alice")])
        .unwrap()
        .resources;
    assert_eq!(listed.keys().collect::<Vec<_>>(), ["README.md"]);
}

#[test]
fn refuses_a_file_that_is_listed_twice() {
    for digest in [sha256(b"readme").to_hex(), "0".repeat(64)] {
        let error = oms(|s| {
            let again = json!({"name": "README.md", "algorithm": "sha256", "digest": digest});
            s["predicate"]["resources"].as_array_mut().unwrap().push(again);
            consistent(s);
        });
        assert_eq!(
            error,
            OmsError::Duplicate {
                name: "README.md".to_owned()
            }
        );
    }
}

#[test]
fn refuses_another_hash() {
    let error = oms(|s| s["predicate"]["resources"][1]["algorithm"] = "blake2b".into());
    assert!(
        matches!(&error, OmsError::Algorithm { name, found } if name == "weights.safetensors" && found == "blake2b")
    );
    let error = oms(|s| s["predicate"]["serialization"]["hash_type"] = "blake2b".into());
    assert!(matches!(error, OmsError::Serialization { .. }));
}

#[test]
fn refuses_shards() {
    let error = oms(|s| s["predicate"]["serialization"]["method"] = "shards".into());
    assert!(
        matches!(&error, OmsError::Serialization { method, .. } if method == "shards"),
        "{error}"
    );
}

#[test]
fn refuses_malformed_digests() {
    for digest in [
        "",
        "00",
        &"0".repeat(63),
        &"A".repeat(64),
        &"g".repeat(64),
        &"0".repeat(128),
    ] {
        let error = oms(|s| s["predicate"]["resources"][0]["digest"] = digest.into());
        assert!(matches!(error, OmsError::Digest { .. }), "{digest}");
        let error = oms(|s| s["subject"][0]["digest"]["sha256"] = digest.into());
        assert!(matches!(error, OmsError::SubjectDigest { .. }), "{digest}");
    }
    let error = oms(|s| s["subject"][0]["digest"] = json!({"sha512": "0".repeat(128)}));
    assert!(matches!(error, OmsError::SubjectDigest { .. }));
}

#[test]
fn refuses_names_that_no_file_can_have() {
    for name in ["", "a\u{0}b", "a\nb", "\u{1b}[2J", &"x".repeat(2000)] {
        let error = oms(|s| s["predicate"]["resources"][0]["name"] = name.into());
        assert!(matches!(error, OmsError::Name { .. }), "{name:?}");
    }
}

#[test]
fn refuses_no_subject_two_subjects_and_no_file() {
    assert_eq!(oms(|s| s["subject"] = json!([])), OmsError::Subjects { found: 0 });
    let two = |s: &mut Value| {
        let subject = s["subject"][0].clone();
        s["subject"].as_array_mut().unwrap().push(subject);
    };
    assert_eq!(oms(two), OmsError::Subjects { found: 2 });
    let none = |s: &mut Value| {
        s["predicate"]["resources"] = json!([]);
        consistent(s);
    };
    assert_eq!(oms(none), OmsError::Count { found: 0 });
}

#[test]
fn refuses_more_files_than_a_release_may_have() {
    let error = oms(|s| {
        let digest = sha256(b"").to_hex();
        let resources =
            (0..=MAX_FILES).map(|n| json!({"name": n.to_string(), "algorithm": "sha256", "digest": digest}));
        s["predicate"]["resources"] = resources.collect();
        consistent(s);
    });
    assert_eq!(error, OmsError::Count { found: MAX_FILES + 1 });
}

#[test]
fn refuses_a_predicate_of_another_form() {
    let changes: [fn(&mut Value); 5] = [
        |s| s["predicate"] = json!(null),
        |s| s["predicate"]["resources"] = json!({}),
        |s| s["predicate"]["resources"][0]["digest"] = json!(7),
        |s| drop(s["predicate"].as_object_mut().unwrap().remove("serialization")),
        |s| drop(s.as_object_mut().unwrap().remove("subject")),
    ];
    for change in changes {
        let error = refused(change);
        assert!(
            matches!(error, ProvenanceError::Statement(StatementError::Parse(_))),
            "{error}"
        );
    }
}

#[test]
fn ignores_fields_that_later_versions_may_add() {
    let key = TestKey::ed25519(1);
    let mut later = statement();
    later["predicate"]["model_card"] = json!({"license": "apache-2.0"});
    later["more"] = json!([1, 2, 3]);
    judge(&sign(&key, &later), &[&key.signer("alice")]).unwrap();
}

#[test]
fn refuses_a_field_that_stands_there_twice() {
    let key = TestKey::p256(1);
    let text = serde_json::to_string(&statement()).unwrap();
    for (field, twice) in [
        (
            "\"predicateType\":",
            "\"predicateType\":\"https://slsa.dev/provenance/v1\",\"predicateType\":",
        ),
        ("\"resources\":", "\"resources\":[],\"resources\":"),
    ] {
        let bundle = sign_bytes(&key, text.replacen(field, twice, 1).as_bytes());
        let error = judge(&serde_json::to_vec(&bundle).unwrap(), &[&key.signer("alice")]).unwrap_err();
        assert!(
            matches!(error, ProvenanceError::Statement(StatementError::Parse(_))),
            "{error}"
        );
    }
}

#[test]
fn refuses_another_payload_type() {
    let key = TestKey::p256(1);
    let mut bundle: Value = serde_json::from_slice(&sign(&key, &statement())).unwrap();
    bundle["dsseEnvelope"]["payloadType"] = "application/json".into();
    let error = judge(&serde_json::to_vec(&bundle).unwrap(), &[&key.signer("alice")]).unwrap_err();
    assert!(
        matches!(
            error,
            ProvenanceError::Statement(StatementError::PayloadType { .. })
        ),
        "{error}"
    );
}

#[test]
fn refuses_two_signatures_and_none() {
    let key = TestKey::p256(1);
    let good: Value = serde_json::from_slice(&sign(&key, &statement())).unwrap();
    let signature = good["dsseEnvelope"]["signatures"][0].clone();
    for signatures in [json!([]), json!([signature, signature])] {
        let mut bundle = good.clone();
        bundle["dsseEnvelope"]["signatures"] = signatures;
        let error = judge(&serde_json::to_vec(&bundle).unwrap(), &[&key.signer("alice")]).unwrap_err();
        assert!(
            matches!(error, ProvenanceError::Bundle(BundleError::Parse(_))),
            "{error}"
        );
    }
}

#[test]
fn refuses_an_older_bundle_version_by_key() {
    let key = TestKey::p256(1);
    let mut bundle: Value = serde_json::from_slice(&sign(&key, &statement())).unwrap();
    bundle["mediaType"] = "application/vnd.dev.sigstore.bundle+json;version=0.1".into();
    let error = judge(&serde_json::to_vec(&bundle).unwrap(), &[&key.signer("alice")]).unwrap_err();
    assert!(
        matches!(error, ProvenanceError::Bundle(BundleError::MediaType { .. })),
        "{error}"
    );
}
