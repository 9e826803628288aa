//! Model signatures. That `model-signing` itself accepts them is tested with its command, outside of this crate.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

use assay_authority::oms::{DEFAULT_IGNORED, OmsError, PREDICATE_TYPE, sign_model};
use assay_authority::{KeyKind, SigningKey};
use assay_schema::{FilePath, Sha256Digest};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use p256::ecdsa::signature::Verifier;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

const P256: &str = include_str!("keys/p256.pem");

fn digest(byte: u8) -> Sha256Digest {
    Sha256Digest::new([byte; 32])
}

fn paths(names: &[&str]) -> Vec<(FilePath, Sha256Digest)> {
    names
        .iter()
        .zip(1..)
        .map(|(name, byte)| (name.parse().unwrap(), digest(byte)))
        .collect()
}

fn sign(names: &[&str], ignored: &[&str]) -> Result<Vec<u8>, OmsError> {
    let key = SigningKey::from_pem(P256, None).unwrap();
    sign_model(
        &key,
        "minilm",
        paths(names).iter().map(|(path, digest)| (path, *digest)),
        ignored,
    )
}

fn statement(bundle: &Value) -> Value {
    serde_json::from_slice(&payload(bundle)).unwrap()
}

fn payload(bundle: &Value) -> Vec<u8> {
    STANDARD
        .decode(bundle["dsseEnvelope"]["payload"].as_str().unwrap())
        .unwrap()
}

#[test]
fn the_bundle_is_that_of_model_signing() {
    let bundle: Value = serde_json::from_slice(&sign(&["b", "a/x"], &DEFAULT_IGNORED).unwrap()).unwrap();
    let key = SigningKey::from_pem(P256, None).unwrap();
    assert_eq!(
        bundle["mediaType"],
        "application/vnd.dev.sigstore.bundle.v0.3+json"
    );
    let hint = hex::encode(Sha256::digest(key.public_key_pem().unwrap()));
    assert_eq!(
        bundle["verificationMaterial"],
        json!({"publicKey": {"hint": hint}, "tlogEntries": []})
    );
    assert_eq!(
        bundle["dsseEnvelope"]["payloadType"],
        "application/vnd.in-toto+json"
    );
    assert_eq!(bundle["dsseEnvelope"]["signatures"][0]["keyid"], "");
    let subject = hex::encode(Sha256::digest([[2_u8; 32], [1; 32]].concat()));
    assert_eq!(
        statement(&bundle),
        json!({
            "_type": "https://in-toto.io/Statement/v1",
            "subject": [{"name": "minilm", "digest": {"sha256": subject}}],
            "predicateType": PREDICATE_TYPE,
            "predicate": {
                "serialization": {
                    "method": "files",
                    "hash_type": "sha256",
                    "allow_symlinks": false,
                    "ignore_paths": [".git", ".gitattributes", ".github", ".gitignore"],
                },
                "resources": [
                    {"name": "a/x", "algorithm": "sha256", "digest": digest(2)},
                    {"name": "b", "algorithm": "sha256", "digest": digest(1)},
                ],
            },
        })
    );
}

#[test]
fn the_signature_covers_the_pre_authentication_encoding() {
    let bundle: Value = serde_json::from_slice(&sign(&["a"], &[]).unwrap()).unwrap();
    let payload = payload(&bundle);
    let mut message = format!("DSSEv1 28 application/vnd.in-toto+json {} ", payload.len()).into_bytes();
    message.extend_from_slice(&payload);
    let key = SigningKey::from_pem(P256, None).unwrap();
    let public: p256::ecdsa::VerifyingKey =
        pkcs8::DecodePublicKey::from_public_key_der(key.public_key_spki_der()).unwrap();
    let raw = STANDARD
        .decode(bundle["dsseEnvelope"]["signatures"][0]["sig"].as_str().unwrap())
        .unwrap();
    let signature = p256::ecdsa::DerSignature::try_from(raw.as_slice()).unwrap();
    public.verify(&message, &signature).unwrap();
    message.push(b' ');
    assert!(public.verify(&message, &signature).is_err());
    assert!(
        statement(&bundle)["predicate"]["serialization"]
            .get("ignore_paths")
            .is_none()
    );
}

/// The reference compares paths by their components; the subject's digest follows that order.
#[test]
fn resources_are_sorted_as_the_reference_sorts_them() {
    let bundle: Value = serde_json::from_slice(&sign(&["a.txt", "a-b/y", "a/x"], &[]).unwrap()).unwrap();
    let statement = statement(&bundle);
    let resources = statement["predicate"]["resources"].as_array().unwrap();
    let names: Vec<_> = resources.iter().map(|r| r["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["a/x", "a-b/y", "a.txt"]);
}

#[test]
fn a_signature_is_the_same_whatever_the_order_of_files() {
    for kind in [KeyKind::Ed25519, KeyKind::P256, KeyKind::P384, KeyKind::P521] {
        let key = SigningKey::generate(kind).unwrap();
        let files = paths(&["a", "b", "c/d"]);
        let forward = sign_model(&key, "m", files.iter().map(|(p, d)| (p, *d)), &[]).unwrap();
        let backward = sign_model(&key, "m", files.iter().rev().map(|(p, d)| (p, *d)), &[]).unwrap();
        assert_eq!(forward, backward);
    }
}

#[test]
fn a_name_with_a_control_character_stays_json() {
    let key = SigningKey::from_pem(P256, None).unwrap();
    let files = paths(&["a"]);
    let bundle = sign_model(&key, "a\nb", files.iter().map(|(p, d)| (p, *d)), &[]).unwrap();
    let bundle: Value = serde_json::from_slice(&bundle).unwrap();
    assert_eq!(statement(&bundle)["subject"][0]["name"], "a\nb");
}

#[test]
fn what_cannot_be_signed_is_refused() {
    assert!(matches!(sign(&[], &[]), Err(OmsError::NoFiles)));
    assert!(matches!(sign(&["a", "a"], &[]), Err(OmsError::Paths(_))));
    assert!(matches!(sign(&["a", "A"], &[]), Err(OmsError::Paths(_))));
    for path in ["model.sig", ".git/config", ".gitignore"] {
        let result = sign(&["a", path], &[".git", ".gitignore", "model.sig"]);
        assert!(matches!(result, Err(OmsError::Ignored { .. })), "{path}");
    }
    assert!(sign(&["a", ".github2"], &[".github"]).is_ok());
}
