//! Public keys as SubjectPublicKeyInfo and as TUF writes them.

use std::fmt;

use assay_schema::Sha256Digest;
use assay_schema::canonical::{self, JsonError};
use assay_schema::tuf::{TufKey, TufKeyValue};
use p256::ecdsa::signature::Verifier;
use pkcs8::der::pem::LineEnding;
use pkcs8::{DecodePublicKey, Document, EncodePublicKey};
use sha2::{Digest, Sha256};

use crate::key::{KeyError, KeyKind, SigningKey};

const LABEL: &str = "PUBLIC KEY";

/// A public key. Two are equal exactly if they are the same point, however they were written.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicKey {
    kind: KeyKind,
    /// SubjectPublicKeyInfo, points uncompressed: the one normal form.
    der: Vec<u8>,
}

impl PublicKey {
    pub(crate) fn new(kind: KeyKind, key: &impl EncodePublicKey) -> Result<Self, KeyError> {
        let document = key
            .to_public_key_der()
            .map_err(|e| KeyError::Encoding(e.to_string()))?;
        Ok(Self {
            kind,
            der: document.into_vec(),
        })
    }

    fn ed25519(key: &ed25519_dalek::VerifyingKey) -> Result<Self, KeyError> {
        // A point of small order accepts forged signatures on anything (RFC 8032, 8.9 leaves the check to the reader).
        if key.is_weak() {
            return Err(KeyError::Unsupported {
                found: "an Ed25519 key of small order".to_owned(),
            });
        }
        Self::new(KeyKind::Ed25519, key)
    }

    /// Reads PEM labelled `PUBLIC KEY`.
    ///
    /// # Errors
    /// [`KeyError::NotPublic`] or [`KeyError::Unsupported`].
    pub fn from_pem(pem: &str) -> Result<Self, KeyError> {
        let (label, document) =
            Document::from_pem(pem.trim()).map_err(|e| KeyError::NotPublic { found: e.to_string() })?;
        if label != LABEL {
            return Err(KeyError::NotPublic {
                found: format!("{label:?}"),
            });
        }
        Self::from_spki_der(document.as_bytes())
    }

    /// Reads DER SubjectPublicKeyInfo (RFC 5280, RFC 8410, RFC 5480).
    ///
    /// # Errors
    /// [`KeyError::Unsupported`]: another algorithm, another curve, or not a point of the curve.
    pub fn from_spki_der(der: &[u8]) -> Result<Self, KeyError> {
        if let Ok(key) = ed25519_dalek::VerifyingKey::from_public_key_der(der) {
            Self::ed25519(&key)
        } else if let Ok(key) = p256::PublicKey::from_public_key_der(der) {
            Self::new(KeyKind::P256, &key)
        } else if let Ok(key) = p384::PublicKey::from_public_key_der(der) {
            Self::new(KeyKind::P384, &key)
        } else if let Ok(key) = p521::PublicKey::from_public_key_der(der) {
            Self::new(KeyKind::P521, &key)
        } else {
            Err(KeyError::Unsupported {
                found: "another public key, or damaged bytes".to_owned(),
            })
        }
    }

    /// Reads a key as TUF writes it: hexadecimal for `ed25519`, PEM for `ecdsa`.
    ///
    /// # Errors
    /// [`KeyError::Unsupported`]: the type and scheme are not of one kind, or the value is not such a key.
    pub fn from_tuf(key: &TufKey) -> Result<Self, KeyError> {
        let public = &key.keyval.public;
        let unsupported = |why: &str| KeyError::Unsupported {
            found: format!("TUF key {}/{}: {why}", key.keytype, key.scheme),
        };
        let kind = match (key.keytype.as_str(), key.scheme.as_str()) {
            ("ed25519", "ed25519") => {
                let mut raw = [0_u8; 32];
                hex::decode_to_slice(public, &mut raw)
                    .map_err(|_| unsupported("not 64 hexadecimal digits"))?;
                let point = ed25519_dalek::VerifyingKey::from_bytes(&raw)
                    .map_err(|_| unsupported("not a point of the curve"))?;
                return Self::ed25519(&point);
            }
            ("ecdsa", "ecdsa-sha2-nistp256") => KeyKind::P256,
            ("ecdsa", "ecdsa-sha2-nistp384") => KeyKind::P384,
            _ => return Err(unsupported("not a type and scheme that Assay writes")),
        };
        let found = Self::from_pem(public)?;
        if found.kind == kind {
            Ok(found)
        } else {
            Err(unsupported(&format!("the PEM holds a {} key", found.kind)))
        }
    }

    /// Reads the bare point, as tokens keep it: 32 bytes for Ed25519 (RFC 8032), SEC1 for the other curves.
    ///
    /// # Errors
    /// [`KeyError::Unsupported`]: not a point of the curve.
    pub fn from_point(kind: KeyKind, point: &[u8]) -> Result<Self, KeyError> {
        let unsupported = || KeyError::Unsupported {
            found: format!("{} bytes that are no point of {kind}", point.len()),
        };
        match kind {
            KeyKind::Ed25519 => {
                let raw = point.try_into().map_err(|_| unsupported())?;
                Self::ed25519(&ed25519_dalek::VerifyingKey::from_bytes(raw).map_err(|_| unsupported())?)
            }
            KeyKind::P256 => Self::new(
                kind,
                &p256::PublicKey::from_sec1_bytes(point).map_err(|_| unsupported())?,
            ),
            KeyKind::P384 => Self::new(
                kind,
                &p384::PublicKey::from_sec1_bytes(point).map_err(|_| unsupported())?,
            ),
            KeyKind::P521 => Self::new(
                kind,
                &p521::PublicKey::from_sec1_bytes(point).map_err(|_| unsupported())?,
            ),
        }
    }

    /// Whether this key signed the message, in the form of [`SigningKey::sign`].
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        match self.kind {
            KeyKind::Ed25519 => ed25519_dalek::VerifyingKey::from_public_key_der(&self.der)
                .ok()
                .zip(ed25519_dalek::Signature::from_slice(signature).ok())
                .is_some_and(|(key, signature)| key.verify_strict(message, &signature).is_ok()),
            KeyKind::P256 => p256::ecdsa::VerifyingKey::from_public_key_der(&self.der)
                .ok()
                .zip(p256::ecdsa::Signature::from_der(signature).ok())
                .is_some_and(|(key, signature)| key.verify(message, &signature).is_ok()),
            KeyKind::P384 => p384::ecdsa::VerifyingKey::from_public_key_der(&self.der)
                .ok()
                .zip(p384::ecdsa::Signature::from_der(signature).ok())
                .is_some_and(|(key, signature)| key.verify(message, &signature).is_ok()),
            KeyKind::P521 => p521::ecdsa::VerifyingKey::from_public_key_der(&self.der)
                .ok()
                .zip(p521::ecdsa::Signature::from_der(signature).ok())
                .is_some_and(|(key, signature)| key.verify(message, &signature).is_ok()),
        }
    }

    /// The kind.
    pub const fn kind(&self) -> KeyKind {
        self.kind
    }

    /// DER SubjectPublicKeyInfo.
    pub fn spki_der(&self) -> &[u8] {
        &self.der
    }

    /// The 32 bytes of an Ed25519 key, as RFC 8032 encodes it.
    ///
    /// # Errors
    /// [`KeyError::Unsupported`] for a key of another kind.
    pub fn ed25519_bytes(&self) -> Result<[u8; 32], KeyError> {
        // The last 32 bytes of an Ed25519 SubjectPublicKeyInfo are the key (RFC 8410).
        let raw = self
            .der
            .last_chunk::<32>()
            .filter(|_| self.kind == KeyKind::Ed25519);
        raw.copied().ok_or_else(|| KeyError::Unsupported {
            found: format!("a {} key where only Ed25519 will do", self.kind),
        })
    }

    /// PEM SubjectPublicKeyInfo: lines of 64, each ended by a line feed.
    ///
    /// # Errors
    /// [`KeyError::Encoding`].
    pub fn to_pem(&self) -> Result<String, KeyError> {
        let encoding = |e: pkcs8::der::Error| KeyError::Encoding(e.to_string());
        Document::try_from(self.der.as_slice())
            .map_err(encoding)?
            .to_pem(LABEL, LineEnding::LF)
            .map_err(encoding)
    }

    /// The key as TUF writes it.
    ///
    /// # Errors
    /// [`KeyError::NotForTuf`] for P-521.
    pub fn to_tuf(&self) -> Result<TufKey, KeyError> {
        let (keytype, scheme, public) = match self.kind {
            KeyKind::Ed25519 => ("ed25519", "ed25519", hex::encode(self.ed25519_bytes()?)),
            KeyKind::P256 => ("ecdsa", "ecdsa-sha2-nistp256", self.to_pem()?),
            KeyKind::P384 => ("ecdsa", "ecdsa-sha2-nistp384", self.to_pem()?),
            KeyKind::P521 => return Err(KeyError::NotForTuf { kind: self.kind }),
        };
        Ok(TufKey {
            keytype: keytype.to_owned(),
            scheme: scheme.to_owned(),
            keyval: TufKeyValue { public },
        })
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, sha256(&self.der))
    }
}

impl SigningKey {
    /// The public key as TUF writes it.
    ///
    /// # Errors
    /// [`KeyError::NotForTuf`] for P-521.
    pub fn tuf_key(&self) -> Result<TufKey, KeyError> {
        self.public_key().to_tuf()
    }

    /// The TUF key id, see [`key_id`].
    ///
    /// # Errors
    /// [`KeyError::NotForTuf`] for P-521.
    pub fn key_id(&self) -> Result<String, KeyError> {
        key_id(&self.tuf_key()?)
    }

    /// DER SubjectPublicKeyInfo of the public key.
    pub fn public_key_spki_der(&self) -> &[u8] {
        self.public_key().spki_der()
    }

    /// PEM SubjectPublicKeyInfo of the public key.
    ///
    /// # Errors
    /// [`KeyError::Encoding`].
    pub fn public_key_pem(&self) -> Result<String, KeyError> {
        self.public_key().to_pem()
    }
}

/// The key id: hexadecimal SHA-256 of the canonical JSON of `{keytype, keyval: {public}, scheme}`. TUF lets it be anything;
/// this is what python-tuf computes and what tough insists on.
///
/// # Errors
/// [`KeyError::Encoding`].
pub fn key_id(key: &TufKey) -> Result<String, KeyError> {
    let bytes = serde_json::to_value(key)
        .map_err(JsonError::from)
        .and_then(|value| canonical::signed_bytes(&value))
        .map_err(|e| KeyError::Encoding(e.to_string()))?;
    Ok(sha256(&bytes).to_hex())
}

pub(crate) fn sha256(bytes: &[u8]) -> Sha256Digest {
    Sha256Digest::new(Sha256::digest(bytes).into())
}
