//! Model signatures by certificate, and of the format before OMS 1.0, as the reference implementations wrote them.

use assay_provenance::error::{CertificateError, Mismatch, OmsError};
use assay_provenance::oms::{LEGACY_PREDICATE_TYPE, PREDICATE_TYPE, SignedBy, read_unverified_claims};
use assay_provenance::{KeyAlgorithm, ProvenanceError, PublicKey, VerifiedSignature, verify_model_signature};
use assay_schema::signers::{Signer, SignerIdentity};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use crate::forge::{TestKey, by_key, fixture, judge, reference_signer};

fn format(name: &str) -> Vec<u8> {
    fixture(&format!("oms-formats/{name}"))
}

fn root(name: &str) -> String {
    BASE64_STANDARD.encode(format(&format!("root-{name}.der")))
}

fn by_certificate(roots: &[&str], subject: &str) -> Signer {
    Signer {
        name: "acme's authority".to_owned(),
        models: Vec::new(),
        statements: Vec::new(),
        identity: SignerIdentity::Certificate {
            roots: roots.iter().map(|name| root(name)).collect(),
            subject: subject.parse().unwrap(),
        },
    }
}

fn certified(case: &str, signer: &Signer) -> Result<VerifiedSignature, ProvenanceError> {
    judge(&format(&format!("{case}.sig")), &[signer])
}

fn refused(case: &str, signer: &Signer) -> CertificateError {
    match certified(case, signer) {
        Err(ProvenanceError::NotPermitted { mut permitted, .. }) => match permitted.remove(0).reason {
            Mismatch::Certificate(error) => error,
            other => panic!("{case}: {other}"),
        },
        other => panic!("{case}: {other:?}"),
    }
}

fn legacy_signer(curve: &str) -> Signer {
    let pem = String::from_utf8(format(&format!("legacy-{curve}.pub"))).unwrap();
    by_key("old hand", &PublicKey::from_pem(&pem).unwrap())
}

#[test]
fn accepts_certificates_of_every_curve_and_of_authorities_with_ec_and_rsa_keys() {
    let files = judge(&fixture("oms/model.ec-p256.sig"), &[&reference_signer("p256")])
        .unwrap()
        .resources;
    for (case, authority, subject) in [
        ("certificate-p256", "ec", "models@acme.example"),
        ("certificate-p384-rsa", "rsa", "https://acme.example/*"),
        ("certificate-p521", "ec", "*@acme.example"),
        ("certificate-common-name", "ec", "Acme Models"),
    ] {
        let verified = certified(case, &by_certificate(&["rsa", "ec"], subject)).unwrap();
        assert_eq!(verified.signer, "acme's authority");
        assert!(
            matches!(verified.signed_by, SignedBy::Certificate { .. }),
            "{case}"
        );
        assert_eq!(verified.predicate_type, PREDICATE_TYPE);
        assert_eq!(verified.resources, files, "{case}");
        assert_eq!(verified.signed_at, None, "no trusted time says when");
        let other = if authority == "ec" { "rsa" } else { "ec" };
        assert!(
            matches!(
                refused(case, &by_certificate(&[other], subject)),
                CertificateError::Chain { roots: 1, .. }
            ),
            "{case}"
        );
    }
}

#[test]
fn refuses_a_root_of_the_same_name_with_another_key() {
    let signer = by_certificate(&["twin"], "models@acme.example");
    assert!(matches!(
        refused("certificate-p256", &signer),
        CertificateError::Chain { .. }
    ));
}

#[test]
fn refuses_a_certificate_of_another_name_from_the_same_authority() {
    for subject in [
        "sales@acme.example",
        "Acme Models",
        "https://acme.example/other",
        "*@acme.example.org",
    ] {
        match refused("certificate-p256", &by_certificate(&["ec"], subject)) {
            CertificateError::Subject { expected, found } => {
                assert_eq!(expected, subject);
                assert_eq!(found, ["models@acme.example", "https://acme.example/minilm"]);
            }
            other => panic!("{other}"),
        }
    }
}

#[test]
fn refuses_certificates_for_something_else_and_chains_that_do_not_hold() {
    let signer = by_certificate(&["ec", "rsa"], "models@acme.example");
    let usage = refused("certificate-not-for-signing_fail", &signer);
    assert!(matches!(usage, CertificateError::Usage { .. }), "{usage}");
    for case in [
        "certificate-server_fail",
        "certificate-of-an-authority_fail",
        "certificate-ended-issuer_fail",
        "certificate-missing-issuer_fail",
    ] {
        let found = refused(case, &signer);
        assert!(
            matches!(found, CertificateError::Chain { roots: 2, .. }),
            "{case}: {found}"
        );
    }
}

#[test]
fn refuses_a_certificate_that_begins_after_the_present() {
    let signer = by_certificate(&["ec"], "models@acme.example");
    let before = "2026-09-30T23:59:59Z".parse().unwrap();
    let found =
        verify_model_signature(&format("certificate-p256.sig"), &[&signer], None, before).unwrap_err();
    assert!(
        matches!(&found, ProvenanceError::NotPermitted { permitted, .. }
            if matches!(permitted[0].reason, Mismatch::Certificate(CertificateError::Future { .. }))),
        "{found}"
    );
    // Its end is no reason: nothing says that it was signed later.
    let much_later = "2030-01-01T00:00:00Z".parse().unwrap();
    verify_model_signature(&format("certificate-p256.sig"), &[&signer], None, much_later).unwrap();
}

#[test]
fn refuses_another_statement_and_another_leaf_in_a_good_chain() {
    let signer = by_certificate(&["ec"], "models@acme.example");
    let mut bundle: Value = serde_json::from_slice(&format("certificate-p256.sig")).unwrap();
    let other: Value = serde_json::from_slice(&format("certificate-p384-rsa.sig")).unwrap();
    bundle["dsseEnvelope"] = other["dsseEnvelope"].clone();
    let found = judge(&serde_json::to_vec(&bundle).unwrap(), &[&signer]).unwrap_err();
    assert!(
        matches!(&found, ProvenanceError::NotPermitted { permitted, .. }
            if matches!(permitted[0].reason, Mismatch::Certificate(CertificateError::Key(_)))),
        "{found}"
    );
}

#[test]
fn refuses_a_key_signature_for_a_signer_with_a_certificate_and_a_chain_of_nothing() {
    let signer = by_certificate(&["ec"], "models@acme.example");
    let found = judge(&fixture("oms/model.ec-p256.sig"), &[&signer]).unwrap_err();
    assert!(
        matches!(&found, ProvenanceError::NotPermitted { permitted, .. }
            if matches!(permitted[0].reason, Mismatch::SignsByCertificate)),
        "{found}"
    );
    let mut nobody = signer;
    nobody.identity = SignerIdentity::Certificate {
        roots: Vec::new(),
        subject: "**".parse().unwrap(),
    };
    assert!(matches!(
        refused("certificate-p256", &nobody),
        CertificateError::Malformed { .. }
    ));
}

#[test]
fn accepts_the_old_format_by_key_and_certificate() {
    let files = judge(&fixture("oms/model.ec-p256.sig"), &[&reference_signer("p256")])
        .unwrap()
        .resources;
    for curve in ["p256", "p384"] {
        let verified = judge(&format(&format!("legacy-{curve}.sig")), &[&legacy_signer(curve)]).unwrap();
        assert_eq!(verified.predicate_type, LEGACY_PREDICATE_TYPE);
        assert_eq!(verified.resources, files);
        assert_eq!(verified.model_name, "");
    }
    let verified = certified(
        "legacy-certificate",
        &by_certificate(&["ec"], "models@acme.example"),
    )
    .unwrap();
    assert_eq!(verified.resources, files);
    assert_eq!(
        read_unverified_claims(&format("legacy-p256.sig"))
            .unwrap()
            .resources,
        files
    );
}

fn legacy_statement() -> Value {
    let bundle: Value = serde_json::from_slice(&format("legacy-p256.sig")).unwrap();
    let payload = bundle["dsseEnvelope"]["payload"].as_str().unwrap();
    serde_json::from_slice(&BASE64_STANDARD.decode(payload).unwrap()).unwrap()
}

#[test]
fn refuses_an_old_signature_over_other_files_and_by_another_key() {
    let (key, other) = (legacy_signer("p256"), TestKey::p256(9).signer("other"));
    let mut bundle: Value = serde_json::from_slice(&format("legacy-p256.sig")).unwrap();
    let mut statement = legacy_statement();
    statement["subject"][0]["digest"]["sha256"] = json!("0".repeat(64));
    for (payload, signer) in [
        (serde_json::to_vec(&statement).unwrap(), &key),
        (serde_json::to_vec(&legacy_statement()).unwrap(), &other),
    ] {
        bundle["dsseEnvelope"]["payload"] = BASE64_STANDARD.encode(payload).into();
        let found = judge(&serde_json::to_vec(&bundle).unwrap(), &[signer]).unwrap_err();
        assert!(matches!(found, ProvenanceError::NotPermitted { .. }), "{found}");
    }
}

#[test]
fn refuses_the_old_encoding_around_a_statement_of_today() {
    let key = TestKey::p256(3);
    let payload = serde_json::to_vec(&crate::forge::statement()).unwrap();
    let mut bundle = crate::forge::sign_bytes(&key, &payload);
    let literal = String::from_utf8(payload.clone()).unwrap();
    let old = format!(
        "DSSEV1 28 application/vnd.in-toto+json {} b'{literal}'",
        payload.len()
    );
    bundle["dsseEnvelope"]["signatures"][0]["sig"] = BASE64_STANDARD.encode(key.sign(old.as_bytes())).into();
    let found = judge(&serde_json::to_vec(&bundle).unwrap(), &[&key.signer("alice")]).unwrap_err();
    assert!(matches!(found, ProvenanceError::NotPermitted { .. }), "{found}");
}

#[test]
fn refuses_old_statements_with_other_hashes_doubled_files_or_none() {
    let key = TestKey::p256(4);
    let judged = |change: &dyn Fn(&mut Value)| {
        let mut statement = legacy_statement();
        change(&mut statement);
        match judge(&crate::forge::sign(&key, &statement), &[&key.signer("alice")]) {
            Err(ProvenanceError::Oms(error)) => error,
            other => panic!("{other:?}"),
        }
    };
    assert!(matches!(
        judged(&|s| s["subject"][1]["annotations"]["actual_hash_algorithm"] = json!("file-blake2")),
        OmsError::Algorithm { .. }
    ));
    assert!(matches!(
        judged(&|s| s["subject"][1]["name"] = s["subject"][0]["name"].clone()),
        OmsError::Duplicate { .. }
    ));
    assert!(matches!(
        judged(&|s| s["subject"] = json!([])),
        OmsError::Count { found: 0 }
    ));
    assert!(matches!(
        judged(&|s| s["subject"][0]["digest"] = json!({"sha512": "00"})),
        OmsError::SubjectDigest { .. }
    ));
}

#[test]
fn refuses_an_old_signature_on_p521_for_which_its_hash_is_too_short() {
    let signer = TestKey::p521(5);
    let found = judge(&format("legacy-p256.sig"), &[&signer.signer("alice")]).unwrap_err();
    assert!(
        found.to_string().contains(&KeyAlgorithm::EcdsaP521.to_string()),
        "{found}"
    );
}
