//! Public keys that sign models and metadata: P-256, P-384, P-521 (ECDSA, the curve's own SHA-2) and Ed25519 (pure).
//!
//! A key has one form: DER `SubjectPublicKeyInfo` with an uncompressed point (RFC 5480 2.2, RFC 8410 4). Another encoding of the same
//! key is refused, so that one key can never count as two.

use std::fmt;

use assay_schema::Sha256Digest;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use ed25519_dalek::Signature as Ed25519Signature;
use p256::ecdsa::signature::hazmat::PrehashVerifier as _;
use pkcs8::der::{Decode as _, Document};
use pkcs8::spki::{DecodePublicKey as _, EncodePublicKey as _, SubjectPublicKeyInfoRef};
use pkcs8::{LineEnding, ObjectIdentifier};
use sha2::Digest as _;

use crate::crypto::sha256;

const EC_PUBLIC_KEY: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const SECP256R1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const SECP384R1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");
const SECP521R1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.35");
const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");

/// The longest text or DER that is looked at; the longest supported key is 158 bytes of DER.
const MAX_KEY: usize = 4 << 10;
const PEM_LABEL: &str = "PUBLIC KEY";

/// What kind of key it is, and so which hash its signatures use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KeyAlgorithm {
    /// ECDSA on P-256 with SHA-256.
    EcdsaP256,
    /// ECDSA on P-384 with SHA-384.
    EcdsaP384,
    /// ECDSA on P-521 with SHA-512.
    EcdsaP521,
    /// Ed25519 over the message itself (RFC 8032, not Ed25519ph).
    Ed25519,
}

impl fmt::Display for KeyAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::EcdsaP256 => "ECDSA P-256",
            Self::EcdsaP384 => "ECDSA P-384",
            Self::EcdsaP521 => "ECDSA P-521",
            Self::Ed25519 => "Ed25519",
        })
    }
}

/// Bytes that are no acceptable key, or a signature that this key did not make.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Not PEM, base64 or DER as it should be.
    #[error("key: expected {expected}, found {found}; export the public key with `openssl pkey -pubout`")]
    Encoding {
        /// The form that was asked for.
        expected: &'static str,
        /// What is wrong with it.
        found: String,
    },
    /// A key of another kind.
    #[error("key: expected ECDSA on P-256, P-384 or P-521, or Ed25519, found algorithm {found}")]
    Algorithm {
        /// The object identifiers of algorithm and parameters.
        found: String,
    },
    /// The same key in another encoding, which would let one key count as two.
    #[error(
        "key: expected the one DER form of a {algorithm} key (uncompressed point), found another encoding of it"
    )]
    NotCanonical {
        /// The key's kind.
        algorithm: KeyAlgorithm,
    },
    /// An Ed25519 key under which anybody can make signatures.
    #[error("key: expected an Ed25519 key of full order, found a weak one; make a new key")]
    Weak,
    /// The signature is not this key's over this message.
    #[error(
        "signature: expected one by {algorithm} key {fingerprint} over exactly these bytes, found another"
    )]
    Signature {
        /// The key's kind.
        algorithm: KeyAlgorithm,
        /// The key's fingerprint.
        fingerprint: Sha256Digest,
    },
}

#[derive(Clone)]
enum Inner {
    P256(p256::ecdsa::VerifyingKey),
    P384(p384::ecdsa::VerifyingKey),
    P521(p521::ecdsa::VerifyingKey),
    Ed25519(ed25519_dalek::VerifyingKey),
}

/// A public key in its one form.
#[derive(Clone)]
pub struct PublicKey {
    inner: Inner,
    spki: Vec<u8>,
    pem: String,
    raw: Vec<u8>,
}

impl PublicKey {
    /// Reads DER `SubjectPublicKeyInfo`.
    ///
    /// # Errors
    /// Not DER, another algorithm, not the key's one form, or a weak Ed25519 key.
    pub fn from_spki_der(der: &[u8]) -> Result<Self, KeyError> {
        let encoding = |found: String| KeyError::Encoding {
            expected: "DER SubjectPublicKeyInfo",
            found,
        };
        if der.len() > MAX_KEY {
            return Err(encoding(format!("{} bytes", der.len())));
        }
        let spki = SubjectPublicKeyInfoRef::from_der(der).map_err(|e| encoding(e.to_string()))?;
        let curve = spki.algorithm.parameters_oid().ok();
        let inner = match (spki.algorithm.oid, curve) {
            (EC_PUBLIC_KEY, Some(SECP256R1)) => Inner::P256(
                p256::PublicKey::from_public_key_der(der)
                    .map_err(|e| encoding(e.to_string()))?
                    .into(),
            ),
            (EC_PUBLIC_KEY, Some(SECP384R1)) => Inner::P384(
                p384::PublicKey::from_public_key_der(der)
                    .map_err(|e| encoding(e.to_string()))?
                    .into(),
            ),
            (EC_PUBLIC_KEY, Some(SECP521R1)) => Inner::P521(
                p521::PublicKey::from_public_key_der(der)
                    .map_err(|e| encoding(e.to_string()))?
                    .into(),
            ),
            (ED25519, None) => Inner::Ed25519(
                ed25519_dalek::VerifyingKey::from_public_key_der(der).map_err(|e| encoding(e.to_string()))?,
            ),
            (oid, None) => {
                return Err(KeyError::Algorithm {
                    found: oid.to_string(),
                });
            }
            (oid, Some(curve)) => {
                return Err(KeyError::Algorithm {
                    found: format!("{oid} with {curve}"),
                });
            }
        };
        let pem = Document::try_from(der)
            .and_then(|document| document.to_pem(PEM_LABEL, LineEnding::LF))
            .map_err(|e| encoding(e.to_string()))?;
        let key = Self {
            raw: inner.raw(),
            spki: der.to_vec(),
            pem,
            inner,
        };
        key.refuse_second_form()?;
        Ok(key)
    }

    /// Reads base64 (standard alphabet, padded) of DER `SubjectPublicKeyInfo`, the form of `trust/signers.json`.
    ///
    /// # Errors
    /// As [`Self::from_spki_der`], or not base64.
    pub fn from_spki_base64(text: &str) -> Result<Self, KeyError> {
        let encoding = |found: String| KeyError::Encoding {
            expected: "base64 of DER SubjectPublicKeyInfo",
            found,
        };
        if text.len() > MAX_KEY {
            return Err(encoding(format!("{} characters", text.len())));
        }
        Self::from_spki_der(
            &BASE64_STANDARD
                .decode(text)
                .map_err(|e| encoding(e.to_string()))?,
        )
    }

    /// Reads PEM with the label `PUBLIC KEY`.
    ///
    /// # Errors
    /// As [`Self::from_spki_der`], or not PEM, or another label.
    pub fn from_pem(text: &str) -> Result<Self, KeyError> {
        let encoding = |found: String| KeyError::Encoding {
            expected: "PEM with the label PUBLIC KEY",
            found,
        };
        if text.len() > MAX_KEY {
            return Err(encoding(format!("{} characters", text.len())));
        }
        let (label, der) = Document::from_pem(text).map_err(|e| encoding(e.to_string()))?;
        if label != PEM_LABEL {
            return Err(encoding(format!("the label {label}")));
        }
        Self::from_spki_der(der.as_bytes())
    }

    /// Checks a signature over `message`: ASN.1 DER for ECDSA (RFC 3279 2.2.3), 64 bytes for Ed25519 (RFC 8032 5.1.6).
    ///
    /// # Errors
    /// The signature is not this key's over this message.
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), KeyError> {
        let right = match &self.inner {
            Inner::P256(key) => p256::ecdsa::Signature::from_der(signature)
                .and_then(|s| key.verify_prehash(&sha2::Sha256::digest(message), &s)),
            Inner::P384(key) => p384::ecdsa::Signature::from_der(signature)
                .and_then(|s| key.verify_prehash(&sha2::Sha384::digest(message), &s)),
            Inner::P521(key) => p521::ecdsa::Signature::from_der(signature)
                .and_then(|s| key.verify_prehash(&sha2::Sha512::digest(message), &s)),
            Inner::Ed25519(key) => {
                Ed25519Signature::from_slice(signature).and_then(|s| key.verify_strict(message, &s))
            }
        };
        right.map_err(|_| KeyError::Signature {
            algorithm: self.algorithm(),
            fingerprint: self.fingerprint(),
        })
    }

    /// Checks an ECDSA signature over the SHA-256 of `message`, whatever the curve: what `model_signing` 0.2 made.
    ///
    /// # Errors
    /// The signature is not this key's over this message, or the key is Ed25519, or P-521, for which that hash is too short.
    pub(crate) fn verify_sha256(&self, message: &[u8], signature: &[u8]) -> Result<(), KeyError> {
        let digest = sha2::Sha256::digest(message);
        let right = match &self.inner {
            Inner::P256(key) => p256::ecdsa::Signature::from_der(signature)
                .is_ok_and(|s| key.verify_prehash(&digest, &s).is_ok()),
            Inner::P384(key) => p384::ecdsa::Signature::from_der(signature)
                .is_ok_and(|s| key.verify_prehash(&digest, &s).is_ok()),
            Inner::P521(_) | Inner::Ed25519(_) => false,
        };
        match right {
            true => Ok(()),
            false => Err(KeyError::Signature {
                algorithm: self.algorithm(),
                fingerprint: self.fingerprint(),
            }),
        }
    }

    /// What kind of key it is.
    pub fn algorithm(&self) -> KeyAlgorithm {
        match self.inner {
            Inner::P256(_) => KeyAlgorithm::EcdsaP256,
            Inner::P384(_) => KeyAlgorithm::EcdsaP384,
            Inner::P521(_) => KeyAlgorithm::EcdsaP521,
            Inner::Ed25519(_) => KeyAlgorithm::Ed25519,
        }
    }

    /// The uncompressed SEC 1 point, or Ed25519's 32 bytes: equal for equal keys, whatever identifier they go by.
    pub fn raw_bytes(&self) -> &[u8] {
        &self.raw
    }

    /// DER `SubjectPublicKeyInfo`.
    pub fn spki_der(&self) -> &[u8] {
        &self.spki
    }

    /// Base64 of the DER, the form of `trust/signers.json`.
    pub fn spki_base64(&self) -> String {
        BASE64_STANDARD.encode(&self.spki)
    }

    /// PEM as OpenSSL writes it: label `PUBLIC KEY`, lines of 64, line feeds, one at the end.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// The SHA-256 of the DER, by which people compare keys.
    pub fn fingerprint(&self) -> Sha256Digest {
        sha256(&self.spki)
    }

    /// `verificationMaterial.publicKey.hint` as `model_signing` 1.x writes and demands it: the SHA-256 of the PEM, in hexadecimal.
    pub fn oms_hint(&self) -> String {
        sha256(self.pem.as_bytes()).to_hex()
    }

    fn refuse_second_form(&self) -> Result<(), KeyError> {
        let again = match &self.inner {
            Inner::P256(key) => key.to_public_key_der(),
            Inner::P384(key) => key.to_public_key_der(),
            Inner::P521(key) => key.to_public_key_der(),
            Inner::Ed25519(key) => {
                if key.is_weak() {
                    return Err(KeyError::Weak);
                }
                // RFC 8032 5.1.3: a coordinate must be reduced, but decoders commonly let others pass.
                if key.to_edwards().compress().as_bytes() != key.as_bytes() {
                    return Err(KeyError::NotCanonical {
                        algorithm: self.algorithm(),
                    });
                }
                key.to_public_key_der()
            }
        };
        match again {
            Ok(der) if der.as_bytes() == self.spki => Ok(()),
            _ => Err(KeyError::NotCanonical {
                algorithm: self.algorithm(),
            }),
        }
    }
}

impl Inner {
    fn raw(&self) -> Vec<u8> {
        match self {
            Self::P256(key) => key.to_sec1_point(false).as_bytes().to_vec(),
            Self::P384(key) => key.to_sec1_point(false).as_bytes().to_vec(),
            Self::P521(key) => key.to_sec1_point(false).as_bytes().to_vec(),
            Self::Ed25519(key) => key.as_bytes().to_vec(),
        }
    }
}

impl PartialEq for PublicKey {
    fn eq(&self, other: &Self) -> bool {
        self.spki == other.spki
    }
}

impl Eq for PublicKey {}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} key {}", self.algorithm(), self.fingerprint())
    }
}
