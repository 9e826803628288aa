//! Model signatures by Sigstore identity: what is refused before, and by, the Sigstore checks.

use assay_provenance::error::{Carried, Mismatch, SigstoreError, StatementError};
use assay_provenance::{ProvenanceError, VerifiedSignature, verify_model_signature};
use assay_schema::signers::{Signer, SignerIdentity};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;
use sigstore_trust_root::SIGSTORE_PRODUCTION_TRUSTED_ROOT;

use crate::forge::{TestKey, now, sign, statement};

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
        identity,
    }
}

/// A real keyless bundle, whose statement is SLSA provenance.
fn keyless() -> Vec<u8> {
    crate::forge::fixture("sigstore-bundles/happy-path-intoto-in-dsse-v3/bundle.sigstore.json")
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
