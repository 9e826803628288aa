//! Bundles that are hardly bundles.

use assay_provenance::ProvenanceError;
use assay_provenance::error::BundleError;
use assay_provenance::oms::read_unverified_claims;
use assay_schema::limits::MAX_ATTESTATION;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use crate::forge::{TestKey, fixture, judge, reference_signer, sign_bytes};

#[test]
fn refuses_a_bundle_that_is_cut_anywhere() {
    let (bundle, signer) = (fixture("oms/model.ec-p256.sig"), reference_signer("p256"));
    for cut in (0..bundle.len() - 1).step_by(7) {
        let error = judge(&bundle[..cut], &[&signer]).unwrap_err();
        assert!(
            matches!(error, ProvenanceError::Bundle(BundleError::Parse(_))),
            "{cut}: {error}"
        );
    }
}

#[test]
fn refuses_garbage() {
    let signer = reference_signer("p256");
    let garbage: [&[u8]; 8] = [
        b"",
        b"{}",
        b"[]",
        b"null",
        b"\xff\xfe",
        b"-----BEGIN",
        b"{\"mediaType\":7}",
        &[0; 4096],
    ];
    for bytes in garbage {
        let error = judge(bytes, &[&signer]).unwrap_err();
        assert!(
            matches!(error, ProvenanceError::Bundle(BundleError::Parse(_))),
            "{error}"
        );
        assert!(read_unverified_claims(bytes).is_err());
    }
}

#[test]
fn refuses_deep_nesting_in_the_bundle_and_in_the_statement() {
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let error = judge(deep.as_bytes(), &[]).unwrap_err();
    assert!(
        matches!(error, ProvenanceError::Bundle(BundleError::Parse(_))),
        "{error}"
    );
    let field = format!("{{\"mediaType\":{deep}}}");
    assert!(judge(field.as_bytes(), &[]).is_err());

    let key = TestKey::p256(1);
    let payload = format!("{{\"_type\":\"https://in-toto.io/Statement/v1\",\"predicate\":{deep}}}");
    let bundle = sign_bytes(&key, payload.as_bytes());
    let error = judge(&serde_json::to_vec(&bundle).unwrap(), &[&key.signer("alice")]).unwrap_err();
    assert!(matches!(error, ProvenanceError::Statement(_)), "{error}");
}

#[test]
fn refuses_a_bundle_that_is_too_long_before_reading_it() {
    let long = vec![b' '; usize::try_from(MAX_ATTESTATION).unwrap() + 1];
    let error = judge(&long, &[]).unwrap_err();
    assert!(
        matches!(error, ProvenanceError::Bundle(BundleError::TooLong { found }) if found == MAX_ATTESTATION + 1)
    );
}

#[test]
fn refuses_every_changed_byte_of_the_payload() {
    let (bundle, signer) = (fixture("oms/model.ec-p384.sig"), reference_signer("p384"));
    let mut json: serde_json::Value = serde_json::from_slice(&bundle).unwrap();
    let payload = BASE64_STANDARD
        .decode(json["dsseEnvelope"]["payload"].as_str().unwrap())
        .unwrap();
    for index in (0..payload.len()).step_by(37) {
        let mut changed = payload.clone();
        changed[index] ^= 1;
        json["dsseEnvelope"]["payload"] = BASE64_STANDARD.encode(&changed).into();
        let error = judge(&serde_json::to_vec(&json).unwrap(), &[&signer]).unwrap_err();
        assert!(
            matches!(error, ProvenanceError::NotPermitted { .. }),
            "byte {index}: {error}"
        );
    }
}

#[test]
fn an_error_repeats_no_more_of_a_strangers_text_than_a_line() {
    let long = "x".repeat(100_000);
    let bundle = format!("{{\"mediaType\":\"{long}\"}}");
    assert!(judge(bundle.as_bytes(), &[]).unwrap_err().to_string().len() < 1000);
}
