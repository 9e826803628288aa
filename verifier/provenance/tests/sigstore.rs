//! One right bundle, and everything around it that must make a difference.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::disallowed_methods
)]

use std::fs;
use std::path::Path;

use assay_provenance::error::{SigstoreError, StatementError};
use assay_provenance::key::PublicKey;
use assay_provenance::sha256;
use assay_provenance::sigstore::{Artifact, Evidence, Expected, TrustedRoot, verify};
use assay_schema::limits::{MAX_ATTESTATION, MAX_TRUST_TARGET};
use jiff::Timestamp;
use serde_json::{Value, json};
use sigstore_trust_root::SIGSTORE_PRODUCTION_TRUSTED_ROOT;

const SUBJECT: &str = "https://github.com/sigstore-conformance/extremely-dangerous-public-oidc-beacon/.github/workflows/extremely-dangerous-oidc-beacon.yml@refs/heads/main";
const ISSUER: &str = "https://token.actions.githubusercontent.com";
const BEACON: Expected<'_> = Expected::Identity {
    subject: SUBJECT,
    issuer: ISSUER,
};
const SLSA: &str = "https://slsa.dev/provenance/v1";

fn fixture(name: &str) -> Vec<u8> {
    fs::read(
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/fixtures")
            .join(name),
    )
    .unwrap()
}

fn bundle(case: &str) -> Vec<u8> {
    fixture(&format!("sigstore-bundles/{case}/bundle.sigstore.json"))
}

fn artifact() -> Vec<u8> {
    fixture("sigstore-bundles/a.txt")
}

fn key(name: &str) -> PublicKey {
    PublicKey::from_pem(&String::from_utf8(fixture(name)).unwrap()).unwrap()
}

fn root() -> TrustedRoot {
    TrustedRoot::read(SIGSTORE_PRODUCTION_TRUSTED_ROOT.as_bytes()).unwrap()
}

fn now() -> Timestamp {
    "2026-11-01T00:00:00Z".parse().unwrap()
}

fn judge(bundle: &[u8], expected: Expected<'_>) -> Result<Evidence, SigstoreError> {
    verify(bundle, Artifact::Bytes(&artifact()), expected, &root(), now())
}

#[test]
fn refuses_another_subject_and_another_issuer() {
    let good = bundle("happy-path-v0.3-new-mediaType");
    assert_eq!(judge(&good, BEACON).unwrap().issuer.as_deref(), Some(ISSUER));
    for subject in [
        "",
        "somebody@example.com",
        &SUBJECT[..SUBJECT.len() - 1],
        &SUBJECT.to_uppercase(),
    ] {
        let refused = judge(
            &good,
            Expected::Identity {
                subject,
                issuer: ISSUER,
            },
        )
        .unwrap_err();
        assert!(
            matches!(&refused, SigstoreError::Identity { found: Some(found), .. } if found == SUBJECT),
            "{refused}"
        );
    }
    for issuer in ["", "https://accounts.google.com", &format!("{ISSUER}/")] {
        let refused = judge(
            &good,
            Expected::Identity {
                subject: SUBJECT,
                issuer,
            },
        )
        .unwrap_err();
        assert!(
            matches!(&refused, SigstoreError::Issuer { found: Some(found), .. } if found == ISSUER),
            "{refused}"
        );
    }
}

#[test]
fn refuses_another_artifact_by_bytes_and_by_digest() {
    let good = bundle("happy-path-v0.3-new-mediaType");
    for other in [Artifact::Bytes(b"another"), Artifact::Digest(sha256(b"another"))] {
        let refused = verify(&good, other, BEACON, &root(), now()).unwrap_err();
        assert!(matches!(refused, SigstoreError::Artifact(_)), "{refused}");
    }
}

#[test]
fn refuses_a_bundle_from_the_future() {
    let good = bundle("happy-path-intoto-in-dsse-v3");
    let signed_at = judge(&good, BEACON).unwrap().signed_at.unwrap();
    let at = |now| verify(&good, Artifact::Bytes(&artifact()), BEACON, &root(), now);
    at(signed_at).unwrap();
    let before = signed_at - jiff::SignedDuration::from_secs(1);
    let refused = at(before).unwrap_err();
    assert!(
        matches!(refused, SigstoreError::Future { found, now } if found == signed_at && now == before),
        "{refused}"
    );
}

#[test]
fn trusts_no_log_and_no_authority_that_starts_after_now() {
    let good = bundle("happy-path-v0.3-new-mediaType");
    let long_ago = "2019-01-01T00:00:00Z".parse().unwrap();
    let refused = verify(&good, Artifact::Bytes(&artifact()), BEACON, &root(), long_ago).unwrap_err();
    assert!(
        matches!(
            refused,
            SigstoreError::Log(_) | SigstoreError::Certificate(_) | SigstoreError::Timestamp(_)
        ),
        "without the trusted root's keys, not for the time alone: {refused}"
    );
}

#[test]
fn refuses_another_real_key() {
    let good = bundle("managed-key-happy-path");
    let right = key("sigstore-bundles/managed-key-happy-path/key.pub");
    assert_eq!(judge(&good, Expected::Key(&right)).unwrap().subject, None);
    let other = key("openssl/p256.pem");
    let refused = judge(&good, Expected::Key(&other)).unwrap_err();
    assert!(matches!(refused, SigstoreError::Signature(_)), "{refused}");
    let unsupported = key("openssl/p521.pem");
    assert!(judge(&good, Expected::Key(&unsupported)).is_err());
}

#[test]
fn refuses_a_key_where_a_certificate_is_expected_and_the_reverse() {
    assert!(judge(&bundle("managed-key-happy-path"), BEACON).is_err());
    let right = key("sigstore-bundles/managed-key-happy-path/key.pub");
    assert!(judge(&bundle("happy-path-v0.3-new-mediaType"), Expected::Key(&right)).is_err());
}

#[test]
fn hands_out_a_statement_only_of_the_predicate_type_that_was_asked_for() {
    let good = bundle("happy-path-intoto-in-dsse-v3");
    let evidence = verify(&good, Artifact::Statement, BEACON, &root(), now()).unwrap();
    let statement = evidence.statement::<Value>(SLSA).unwrap();
    assert_eq!(statement.predicate_type, SLSA);
    assert_eq!(
        statement.subject[0].digest["sha256"],
        sha256(&artifact()).to_hex()
    );
    let refused = evidence
        .statement::<Value>("https://model_signing/signature/v1.0")
        .unwrap_err();
    assert!(
        matches!(
            refused,
            SigstoreError::Statement(StatementError::PredicateType { .. })
        ),
        "{refused}"
    );
}

#[test]
fn refuses_a_message_signature_where_a_statement_is_needed() {
    let message = bundle("happy-path-v0.3-new-mediaType");
    let refused = verify(&message, Artifact::Statement, BEACON, &root(), now()).unwrap_err();
    assert!(matches!(refused, SigstoreError::Unsupported(_)), "{refused}");
    assert!(judge(&message, BEACON).unwrap().statement::<Value>(SLSA).is_err());
}

#[test]
fn refuses_an_empty_certificate_chain_and_one_with_a_root_in_it() {
    let good: Value = serde_json::from_slice(&bundle("happy-path-v0.2")).unwrap();
    judge(&serde_json::to_vec(&good).unwrap(), BEACON).unwrap();
    let chain = |certificates: Value| {
        let mut changed = good.clone();
        changed["verificationMaterial"]["x509CertificateChain"]["certificates"] = certificates;
        judge(&serde_json::to_vec(&changed).unwrap(), BEACON)
    };
    let refused = chain(json!([])).unwrap_err();
    assert!(matches!(refused, SigstoreError::Bundle(_)), "{refused}");
    let root: Value = serde_json::from_str(SIGSTORE_PRODUCTION_TRUSTED_ROOT).unwrap();
    let authority = root["certificateAuthorities"].as_array().unwrap().last().unwrap();
    let anchor = authority["certChain"]["certificates"]
        .as_array()
        .unwrap()
        .last()
        .unwrap();
    let leaf = &good["verificationMaterial"]["x509CertificateChain"]["certificates"][0];
    let refused = chain(json!([leaf, anchor])).unwrap_err();
    assert!(
        matches!(refused, SigstoreError::Bundle(_) | SigstoreError::Certificate(_)),
        "{refused}"
    );
}

#[test]
fn refuses_a_bundle_without_its_log_entry_or_its_time() {
    let good: Value = serde_json::from_slice(&bundle("happy-path-v0.3-new-mediaType")).unwrap();
    let mut no_entry = good.clone();
    no_entry["verificationMaterial"]["tlogEntries"] = json!([]);
    let mut no_promise = good.clone();
    no_promise["verificationMaterial"]["tlogEntries"][0]
        .as_object_mut()
        .unwrap()
        .remove("inclusionPromise");
    for changed in [no_entry, no_promise] {
        judge(&serde_json::to_vec(&changed).unwrap(), BEACON).unwrap_err();
    }
}

#[test]
fn refuses_a_bundle_and_a_root_that_are_too_long() {
    let long = vec![b' '; usize::try_from(MAX_ATTESTATION).unwrap() + 1];
    assert!(matches!(judge(&long, BEACON), Err(SigstoreError::Bundle(_))));
    let long = vec![b' '; usize::try_from(MAX_TRUST_TARGET).unwrap() + 1];
    assert!(matches!(TrustedRoot::read(&long), Err(SigstoreError::Root(_))));
}

#[test]
fn refuses_every_bundle_under_an_empty_root() {
    let empty =
        TrustedRoot::read(br#"{"mediaType":"application/vnd.dev.sigstore.trustedroot+json;version=0.1"}"#)
            .unwrap();
    for case in [
        "happy-path-v0.3-new-mediaType",
        "happy-path-intoto-in-dsse-v3",
        "managed-key-happy-path",
    ] {
        let key = key("sigstore-bundles/managed-key-happy-path/key.pub");
        let expected = if case.starts_with("managed") {
            Expected::Key(&key)
        } else {
            BEACON
        };
        verify(
            &bundle(case),
            Artifact::Bytes(&artifact()),
            expected,
            &empty,
            now(),
        )
        .unwrap_err();
    }
}
