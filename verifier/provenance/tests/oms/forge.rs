//! Makes model signatures, right ones and wrong ones.

use std::fs;
use std::path::Path;

use assay_provenance::key::PublicKey;
use assay_provenance::statement;
use assay_provenance::verify_model_signature;
use assay_provenance::{ProvenanceError, VerifiedSignature, sha256};
use assay_schema::signers::{Signer, SignerIdentity};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use jiff::Timestamp;
use p256::ecdsa::signature::Signer as _;
use p256::pkcs8::EncodePublicKey as _;
use serde_json::{Value, json};

pub(crate) fn fixture(name: &str) -> Vec<u8> {
    fs::read(
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/fixtures")
            .join(name),
    )
    .unwrap()
}

pub(crate) fn now() -> Timestamp {
    "2026-11-01T00:00:00Z".parse().unwrap()
}

/// A permitted signer with this key.
pub(crate) fn by_key(name: &str, key: &PublicKey) -> Signer {
    Signer {
        name: name.to_owned(),
        models: Vec::new(),
        statements: Vec::new(),
        identity: SignerIdentity::Key {
            spki: key.spki_base64(),
        },
    }
}

/// The signer whose key lies beside the reference implementation's signatures.
pub(crate) fn reference_signer(curve: &str) -> Signer {
    let pem = String::from_utf8(fixture(&format!("oms/ec-{curve}.pub"))).unwrap();
    by_key(&format!("reference-{curve}"), &PublicKey::from_pem(&pem).unwrap())
}

pub(crate) fn judge(bundle: &[u8], permitted: &[&Signer]) -> Result<VerifiedSignature, ProvenanceError> {
    verify_model_signature(bundle, permitted, None, now())
}

/// A key that signs in these tests; never from a random source, so that a failure repeats.
pub(crate) enum TestKey {
    P256(p256::ecdsa::SigningKey),
    P384(p384::ecdsa::SigningKey),
    P521(p521::ecdsa::SigningKey),
    Ed25519(ed25519_dalek::SigningKey),
}

impl TestKey {
    pub(crate) fn p256(seed: u8) -> Self {
        Self::P256(p256::ecdsa::SigningKey::from_slice(&[seed; 32]).unwrap())
    }

    pub(crate) fn p384(seed: u8) -> Self {
        Self::P384(p384::ecdsa::SigningKey::from_slice(&[seed; 48]).unwrap())
    }

    pub(crate) fn p521(seed: u8) -> Self {
        let mut bytes = [seed; 66];
        bytes[0] = 0;
        Self::P521(p521::ecdsa::SigningKey::from_slice(&bytes).unwrap())
    }

    pub(crate) fn ed25519(seed: u8) -> Self {
        Self::Ed25519(ed25519_dalek::SigningKey::from_bytes(&[seed; 32]))
    }

    pub(crate) fn public(&self) -> PublicKey {
        let der = match self {
            Self::P256(key) => key.verifying_key().to_public_key_der(),
            Self::P384(key) => key.verifying_key().to_public_key_der(),
            Self::P521(key) => key.verifying_key().to_public_key_der(),
            Self::Ed25519(key) => key.verifying_key().to_public_key_der(),
        };
        PublicKey::from_spki_der(der.unwrap().as_bytes()).unwrap()
    }

    pub(crate) fn sign(&self, message: &[u8]) -> Vec<u8> {
        match self {
            Self::P256(key) => {
                let signature: p256::ecdsa::Signature = key.sign(message);
                signature.to_der().as_bytes().to_vec()
            }
            Self::P384(key) => {
                let signature: p384::ecdsa::Signature = key.sign(message);
                signature.to_der().as_bytes().to_vec()
            }
            Self::P521(key) => {
                let signature: p521::ecdsa::Signature = key.sign(message);
                signature.to_der().as_bytes().to_vec()
            }
            Self::Ed25519(key) => key.sign(message).to_vec(),
        }
    }

    pub(crate) fn signer(&self, name: &str) -> Signer {
        by_key(name, &self.public())
    }
}

/// A right statement over two files.
pub(crate) fn statement() -> Value {
    let (readme, weights) = (sha256(b"readme"), sha256(b"weights"));
    let mut both = readme.as_bytes().to_vec();
    both.extend_from_slice(weights.as_bytes());
    json!({
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": "minilm", "digest": {"sha256": sha256(&both).to_hex()}}],
        "predicateType": "https://model_signing/signature/v1.0",
        "predicate": {
            "serialization": {
                "method": "files",
                "hash_type": "sha256",
                "allow_symlinks": false,
                "ignore_paths": [".git"],
            },
            "resources": [
                {"name": "README.md", "algorithm": "sha256", "digest": readme.to_hex()},
                {"name": "weights.safetensors", "algorithm": "sha256", "digest": weights.to_hex()},
            ],
        },
    })
}

/// A bundle around these payload bytes, rightly signed.
pub(crate) fn sign_bytes(key: &TestKey, payload: &[u8]) -> Value {
    json!({
        "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
        "verificationMaterial": {"publicKey": {"hint": key.public().oms_hint()}, "tlogEntries": []},
        "dsseEnvelope": {
            "payload": BASE64_STANDARD.encode(payload),
            "payloadType": "application/vnd.in-toto+json",
            "signatures": [{"sig": BASE64_STANDARD.encode(key.sign(&statement::signed_bytes(payload))), "keyid": ""}],
        },
    })
}

/// A bundle around this statement, rightly signed.
pub(crate) fn sign(key: &TestKey, statement: &Value) -> Vec<u8> {
    serde_json::to_vec(&sign_bytes(key, &serde_json::to_vec(statement).unwrap())).unwrap()
}
