//! Model signatures by Sigstore identity: the one that is accepted, and what is refused before, and by, the Sigstore checks.

use assay_provenance::error::{Carried, Mismatch, SigstoreError, StatementError};
use assay_provenance::oms::SignedBy;
use assay_provenance::{ProvenanceError, VerifiedSignature, sha256, verify_model_signature};
use assay_schema::signers::{Signer, SignerIdentity};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;
use sigstore_trust_root::SIGSTORE_PRODUCTION_TRUSTED_ROOT;

use crate::forge::{TestKey, fixture, now, sign, statement};

const SUBJECT: &str = "https://github.com/sigstore-conformance/extremely-dangerous-public-oidc-beacon/.github/workflows/extremely-dangerous-oidc-beacon.yml@refs/heads/main";
const ISSUER: &str = "https://token.actions.githubusercontent.com";

fn beacon() -> Signer {
    let identity = SignerIdentity::Sigstore {
        issuer: ISSUER.to_owned(),
        subject: SUBJECT.to_owned(),
    };
    Signer {
        name: "beacon".to_owned(),
        models: Vec::new(),
        statements: Vec::new(),
        identity,
    }
}

/// A real keyless bundle, whose statement is SLSA provenance.
fn keyless() -> Vec<u8> {
    fixture("sigstore-bundles/happy-path-intoto-in-dsse-v3/bundle.sigstore.json")
}

/// The same certificate, log entry and signature around a model's statement.
fn transplanted() -> Vec<u8> {
    let mut bundle: Value = serde_json::from_slice(&keyless()).unwrap();
    let payload = serde_json::to_vec(&statement()).unwrap();
    bundle["dsseEnvelope"]["payload"] = BASE64_STANDARD.encode(payload).into();
    serde_json::to_vec(&bundle).unwrap()
}

fn judge(bundle: &[u8], signer: &Signer, root: Option<&[u8]>) -> Result<VerifiedSignature, ProvenanceError> {
    verify_model_signature(bundle, &[signer], root, now())
}

#[test]
fn refuses_another_kind_of_statement_by_the_right_identity() {
    let refused = judge(
        &keyless(),
        &beacon(),
        Some(SIGSTORE_PRODUCTION_TRUSTED_ROOT.as_bytes()),
    )
    .unwrap_err();
    assert!(
        matches!(&refused, ProvenanceError::Statement(StatementError::PredicateType { found, .. }) if found.contains("slsa")),
        "{refused}"
    );
}

#[test]
fn refuses_a_real_certificate_around_another_statement() {
    let refused = judge(
        &transplanted(),
        &beacon(),
        Some(SIGSTORE_PRODUCTION_TRUSTED_ROOT.as_bytes()),
    )
    .unwrap_err();
    let ProvenanceError::NotPermitted { carried, permitted } = refused else {
        panic!("{refused}")
    };
    assert_eq!(
        carried,
        Carried::Certificate {
            subject: Some(SUBJECT.to_owned()),
            issuer: Some(ISSUER.to_owned())
        }
    );
    assert!(
        matches!(
            permitted[0].reason,
            Mismatch::Sigstore(SigstoreError::Signature(_))
        ),
        "{permitted:?}"
    );
}

#[test]
fn refuses_a_keyless_bundle_without_a_trusted_root_and_with_a_broken_one() {
    let refused = judge(&transplanted(), &beacon(), None).unwrap_err();
    assert!(
        matches!(&refused, ProvenanceError::NotPermitted { permitted, .. } if matches!(permitted[0].reason, Mismatch::NoRoot)),
        "{refused}"
    );
    assert!(refused.to_string().contains("trust/sigstore.json"), "{refused}");
    for root in ["", "{}", "{\"tlogs\":7}"] {
        let refused = judge(&transplanted(), &beacon(), Some(root.as_bytes())).unwrap_err();
        assert!(
            matches!(refused, ProvenanceError::Root(SigstoreError::Root(_))),
            "{root}: {refused}"
        );
    }
}

#[test]
fn refuses_a_certificate_from_a_signer_with_a_key_and_a_key_from_a_sigstore_signer() {
    let key = TestKey::p256(1);
    let root = Some(SIGSTORE_PRODUCTION_TRUSTED_ROOT.as_bytes());
    let refused = judge(&transplanted(), &key.signer("alice"), root).unwrap_err();
    assert!(
        matches!(&refused, ProvenanceError::NotPermitted { permitted, .. } if matches!(permitted[0].reason, Mismatch::SignsByKey)),
        "{refused}"
    );
    let refused = judge(&sign(&key, &statement()), &beacon(), root).unwrap_err();
    assert!(
        matches!(&refused, ProvenanceError::NotPermitted { permitted, .. } if matches!(permitted[0].reason, Mismatch::SignsBySigstore)),
        "{refused}"
    );
}

const CI: &str = "https://ci.assay.test/acme/minilm/release.yml@refs/heads/main";
const CI_ISSUER: &str = "https://token.assay.test";

fn ci(subject: &str, issuer: &str) -> Signer {
    let identity = SignerIdentity::Sigstore {
        issuer: issuer.to_owned(),
        subject: subject.to_owned(),
    };
    Signer {
        name: "acme's pipeline".to_owned(),
        models: Vec::new(),
        statements: Vec::new(),
        identity,
    }
}

fn keyless_model() -> (Value, Vec<u8>) {
    let bundle = serde_json::from_slice(&fixture("keyless-model/bundle.sigstore.json")).unwrap();
    (bundle, fixture("keyless-model/trusted_root.json"))
}

fn judge_model(bundle: &Value, signer: &Signer, root: &[u8]) -> Result<VerifiedSignature, ProvenanceError> {
    judge(&serde_json::to_vec(bundle).unwrap(), signer, Some(root))
}

#[test]
fn accepts_a_model_that_the_permitted_identity_signed() {
    let (bundle, root) = keyless_model();
    let verified = judge_model(&bundle, &ci(CI, CI_ISSUER), &root).unwrap();
    assert_eq!(verified.signer, "acme's pipeline");
    assert_eq!(
        verified.signed_by,
        SignedBy::Sigstore {
            subject: CI.to_owned(),
            issuer: CI_ISSUER.to_owned()
        }
    );
    assert_eq!(verified.signed_at, Some("2024-06-01T12:01:00Z".parse().unwrap()));
    assert_eq!(verified.resources["README.md"], sha256(b"readme"));
    assert_eq!(verified.resources["weights.safetensors"], sha256(b"weights"));
    assert_eq!(verified.resources.len(), 2);
}

#[test]
fn refuses_another_subject_another_issuer_and_another_instance() {
    let (bundle, root) = keyless_model();
    let mismatch = |signer: Signer, root: &[u8]| match judge_model(&bundle, &signer, root).unwrap_err() {
        ProvenanceError::NotPermitted { mut permitted, .. } => match permitted.remove(0).reason {
            Mismatch::Sigstore(error) => error,
            other => panic!("{other}"),
        },
        other => panic!("{other}"),
    };
    let subject = mismatch(ci("https://ci.assay.test/mallory", CI_ISSUER), &root);
    assert!(matches!(subject, SigstoreError::Identity { .. }), "{subject}");
    let issuer = mismatch(ci(CI, "https://token.mallory.test"), &root);
    assert!(matches!(issuer, SigstoreError::Issuer { .. }), "{issuer}");
    let instance = mismatch(ci(CI, CI_ISSUER), SIGSTORE_PRODUCTION_TRUSTED_ROOT.as_bytes());
    assert!(matches!(instance, SigstoreError::Log(_)), "{instance}");
}

#[test]
fn refuses_a_keyless_model_whose_list_was_changed() {
    let (good, root) = keyless_model();
    let payload = BASE64_STANDARD
        .decode(good["dsseEnvelope"]["payload"].as_str().unwrap())
        .unwrap();
    let text = String::from_utf8(payload).unwrap();
    // The subject's digest still fits: only the signature binds the names.
    let renamed = text.replace("README.md", "readme.py");
    assert_ne!(text, renamed);
    let mut bundle = good.clone();
    bundle["dsseEnvelope"]["payload"] = BASE64_STANDARD.encode(renamed).into();
    let refused = judge_model(&bundle, &ci(CI, CI_ISSUER), &root).unwrap_err();
    assert!(
        matches!(&refused, ProvenanceError::NotPermitted { permitted, .. }
            if matches!(permitted[0].reason, Mismatch::Sigstore(SigstoreError::Signature(_)))),
        "{refused}"
    );
    let changed = text.replace(&sha256(b"readme").to_hex(), &sha256(b"evil").to_hex());
    bundle["dsseEnvelope"]["payload"] = BASE64_STANDARD.encode(changed).into();
    let refused = judge_model(&bundle, &ci(CI, CI_ISSUER), &root).unwrap_err();
    assert!(
        matches!(&refused, ProvenanceError::NotPermitted { permitted, .. }
            if matches!(permitted[0].reason, Mismatch::Sigstore(SigstoreError::Signature(_)))),
        "{refused}"
    );
}

#[test]
fn refuses_a_keyless_model_without_log_entry_promise_proof_or_envelope() {
    let (good, root) = keyless_model();
    let changes: [fn(&mut Value); 4] = [
        |b| b["verificationMaterial"]["tlogEntries"] = serde_json::json!([]),
        |b| {
            drop(
                b["verificationMaterial"]["tlogEntries"][0]
                    .as_object_mut()
                    .unwrap()
                    .remove("inclusionPromise"),
            )
        },
        |b| {
            drop(
                b["verificationMaterial"]["tlogEntries"][0]
                    .as_object_mut()
                    .unwrap()
                    .remove("inclusionProof"),
            )
        },
        |b| drop(b.as_object_mut().unwrap().remove("dsseEnvelope")),
    ];
    for change in changes {
        let mut bundle = good.clone();
        change(&mut bundle);
        judge_model(&bundle, &ci(CI, CI_ISSUER), &root).unwrap_err();
    }
}

#[test]
fn a_pattern_permits_the_identities_that_fit_it_and_no_other() {
    let (bundle, root) = keyless_model();
    let pattern = |subject: &str, issuer: &str| Signer {
        identity: SignerIdentity::SigstorePattern {
            issuer: issuer.to_owned(),
            subject: subject.parse().unwrap(),
        },
        ..ci(CI, CI_ISSUER)
    };
    let verified = judge_model(
        &bundle,
        &pattern("https://ci.assay.test/acme/*/release.yml@refs/heads/*", CI_ISSUER),
        &root,
    )
    .unwrap();
    assert!(
        matches!(&verified.signed_by, SignedBy::Sigstore { subject, .. } if subject == CI),
        "the verdict shows who it was, not the pattern"
    );
    let refusals = [
        (pattern("https://ci.assay.test/acme/*", CI_ISSUER), "identity"),
        (pattern("https://ci.assay.test/other/**", CI_ISSUER), "identity"),
        (
            pattern("https://ci.assay.test/acme/**", "https://token.assay.test/"),
            "issuer",
        ),
    ];
    for (signer, expected) in refusals {
        match judge_model(&bundle, &signer, &root).unwrap_err() {
            ProvenanceError::NotPermitted { permitted, .. } => match &permitted[0].reason {
                Mismatch::Sigstore(error) => assert_eq!(error.code(), expected),
                other => panic!("{other}"),
            },
            other => panic!("{other}"),
        }
    }
}
