//! Every key algorithm, signed here and verified.

use assay_provenance::oms::SignedBy;
use assay_provenance::{KeyAlgorithm, ProvenanceError, sha256};

use crate::forge::{TestKey, judge, sign, statement};

#[test]
fn accepts_every_algorithm_and_no_other_key_of_it() {
    let keys = [
        (TestKey::p256(1), TestKey::p256(2), KeyAlgorithm::EcdsaP256),
        (TestKey::p384(1), TestKey::p384(2), KeyAlgorithm::EcdsaP384),
        (TestKey::p521(1), TestKey::p521(2), KeyAlgorithm::EcdsaP521),
        (TestKey::ed25519(1), TestKey::ed25519(2), KeyAlgorithm::Ed25519),
    ];
    for (key, other, expected) in keys {
        let bundle = sign(&key, &statement());
        let verified = judge(&bundle, &[&other.signer("mallory"), &key.signer("alice")]).unwrap();
        assert_eq!(verified.signer, "alice");
        let fingerprint = key.public().fingerprint();
        assert_eq!(
            verified.signed_by,
            SignedBy::Key {
                fingerprint,
                algorithm: expected
            }
        );
        assert_eq!(verified.resources["README.md"], sha256(b"readme"));
        assert_eq!(verified.resources.len(), 2);
        let refused = judge(&bundle, &[&other.signer("mallory")]).unwrap_err();
        assert!(
            matches!(refused, ProvenanceError::NotPermitted { .. }),
            "{expected}: {refused}"
        );
    }
}

#[test]
fn the_hint_decides_nothing() {
    let (key, other) = (TestKey::p256(1), TestKey::p256(2));
    let mut bundle: serde_json::Value = serde_json::from_slice(&sign(&key, &statement())).unwrap();
    bundle["verificationMaterial"]["publicKey"]["hint"] = other.public().oms_hint().into();
    let bundle = serde_json::to_vec(&bundle).unwrap();
    assert!(judge(&bundle, &[&other.signer("the hinted one")]).is_err());
    assert_eq!(judge(&bundle, &[&key.signer("alice")]).unwrap().signer, "alice");
}

#[test]
fn one_unusable_signer_does_not_hide_the_next() {
    let key = TestKey::p521(1);
    let mut broken = key.signer("broken");
    broken.identity = assay_schema::signers::SignerIdentity::Key {
        spki: "AAAA".to_owned(),
    };
    let bundle = sign(&key, &statement());
    assert_eq!(
        judge(&bundle, &[&broken, &key.signer("alice")]).unwrap().signer,
        "alice"
    );
    let refused = judge(&bundle, &[&broken]).unwrap_err().to_string();
    assert!(refused.contains("broken") && refused.contains("DER"), "{refused}");
}
