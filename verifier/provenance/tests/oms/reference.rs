//! Signatures by `model_signing` 1.1.1, and the model that they are about.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use assay_provenance::error::{Carried, Mismatch};
use assay_provenance::oms::{PREDICATE_TYPE, SignedBy, read_unverified_claims, subject_digest};
use assay_provenance::{KeyAlgorithm, KeyError, ProvenanceError, sha256};
use assay_schema::Sha256Digest;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;

use crate::forge::{fixture, judge, reference_signer};

fn model() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/oms/model")
}

/// The files of the folder with their digests, found independently of the signature.
fn hashed(folder: &Path, prefix: &str, into: &mut BTreeMap<String, Sha256Digest>) {
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let name = format!("{prefix}{}", entry.file_name().into_string().unwrap());
        if entry.file_type().unwrap().is_dir() {
            hashed(&entry.path(), &format!("{name}/"), into);
        } else {
            into.insert(name, sha256(&fs::read(entry.path()).unwrap()));
        }
    }
}

fn files() -> BTreeMap<String, Sha256Digest> {
    let mut files = BTreeMap::new();
    hashed(&model(), "", &mut files);
    assert_eq!(files.len(), 4);
    files
}

/// The bundle with its statement changed, and the signature left alone.
fn tampered(curve: &str, change: impl FnOnce(&mut Value)) -> Vec<u8> {
    let mut bundle: Value = serde_json::from_slice(&fixture(&format!("oms/model.ec-{curve}.sig"))).unwrap();
    let payload = bundle["dsseEnvelope"]["payload"].as_str().unwrap();
    let mut statement: Value = serde_json::from_slice(&BASE64_STANDARD.decode(payload).unwrap()).unwrap();
    change(&mut statement);
    bundle["dsseEnvelope"]["payload"] = BASE64_STANDARD
        .encode(serde_json::to_vec(&statement).unwrap())
        .into();
    serde_json::to_vec(&bundle).unwrap()
}

#[test]
fn accepts_both_samples_and_lists_the_files_that_are_there() {
    for (curve, expected) in [
        ("p256", KeyAlgorithm::EcdsaP256),
        ("p384", KeyAlgorithm::EcdsaP384),
    ] {
        let signer = reference_signer(curve);
        let verified = judge(&fixture(&format!("oms/model.ec-{curve}.sig")), &[&signer]).unwrap();
        assert_eq!(verified.signer, signer.name);
        assert!(matches!(verified.signed_by, SignedBy::Key { algorithm, .. } if algorithm == expected));
        assert_eq!(verified.predicate_type, PREDICATE_TYPE);
        assert_eq!(verified.model_name, "model");
        assert_eq!(verified.resources, files());
        assert!(!verified.serialization.allow_symlinks);
        assert_eq!(verified.serialization.ignore_paths.len(), 4);
        assert_eq!(verified.signed_at, None, "a key proves no time");
    }
}

#[test]
fn finds_the_signer_among_many() {
    let (first, second) = (reference_signer("p256"), reference_signer("p384"));
    for permitted in [[&first, &second], [&second, &first]] {
        let verified = judge(&fixture("oms/model.ec-p384.sig"), &permitted).unwrap();
        assert_eq!(verified.signer, second.name);
    }
}

#[test]
fn a_changed_missing_or_extra_file_shows_in_the_comparison() {
    let signed = judge(&fixture("oms/model.ec-p256.sig"), &[&reference_signer("p256")])
        .unwrap()
        .resources;
    let mut changed = files();
    changed.insert("config.json".to_owned(), sha256(b"changed"));
    let mut missing = files();
    missing.remove("tokenizer/vocab.txt");
    let mut extra = files();
    extra.insert("adapter.safetensors".to_owned(), sha256(b"extra"));
    let mut swapped = files();
    let (readme, config) = (swapped["README.md"], swapped["config.json"]);
    swapped.insert("README.md".to_owned(), config);
    swapped.insert("config.json".to_owned(), readme);
    for other in [changed, missing, extra, swapped] {
        assert_ne!(signed, other);
    }
}

#[test]
fn refuses_every_change_of_what_was_signed() {
    let signer = reference_signer("p256");
    type Change = fn(&mut Value);
    let changes: [(&str, Change); 6] = [
        ("a file's digest", |s| {
            s["predicate"]["resources"][0]["digest"] = "0".repeat(64).into()
        }),
        ("a file's name", |s| {
            s["predicate"]["resources"][0]["name"] = "evil.md".into()
        }),
        // The subject's digest does not bind names: only the signature stands in the way of this one.
        ("two names swapped", |s| {
            let first = s["predicate"]["resources"][0]["name"].take();
            let second = s["predicate"]["resources"][1]["name"].take();
            s["predicate"]["resources"][0]["name"] = second;
            s["predicate"]["resources"][1]["name"] = first;
        }),
        ("a file less", |s| {
            s["predicate"]["resources"].as_array_mut().unwrap().pop();
        }),
        ("another predicate type", |s| {
            s["predicateType"] = "https://slsa.dev/provenance/v1".into()
        }),
        ("only white space", |_| {}),
    ];
    for (what, change) in changes {
        let refused = judge(&tampered("p256", change), &[&signer]).unwrap_err();
        assert!(
            matches!(refused, ProvenanceError::NotPermitted { .. }),
            "{what}: {refused}"
        );
    }
}

#[test]
fn refuses_another_key_and_says_whose_was_expected_and_what_was_found() {
    let other = reference_signer("p384");
    let refused = judge(&fixture("oms/model.ec-p256.sig"), &[&other]).unwrap_err();
    let text = refused.to_string();
    let ProvenanceError::NotPermitted { carried, permitted } = refused else {
        panic!("{text}")
    };
    let hint = "b09fd951e9955a57d269e7ac5b8d06969da20a0958ea6e2ce936ad705dd55baf";
    assert_eq!(
        carried,
        Carried::Key {
            hint: Some(hint.to_owned())
        }
    );
    assert_eq!(permitted.len(), 1);
    assert!(matches!(
        permitted[0].reason,
        Mismatch::Key(KeyError::Signature { .. })
    ));
    for part in ["reference-p384", hint, "trust/signers.json"] {
        assert!(text.contains(part), "{text}");
    }
}

#[test]
fn refuses_a_signature_when_nobody_is_permitted() {
    let refused = judge(&fixture("oms/model.ec-p256.sig"), &[]).unwrap_err();
    assert!(refused.to_string().contains("nobody is permitted"), "{refused}");
}

#[test]
fn the_subject_is_the_digest_of_the_digests_in_their_order() {
    let claims = read_unverified_claims(&fixture("oms/model.ec-p256.sig")).unwrap();
    assert_eq!(claims.resources, files());
    let digest = subject_digest(claims.resources.values());
    assert_eq!(
        digest.to_hex(),
        "85558f397713b3e082014f448c8f5eee1fdcfd4157f5d16994df25079056b35b"
    );
}
