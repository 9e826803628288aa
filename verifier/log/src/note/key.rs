//! Verifier keys: a name, a signature type and a public key, in text `NAME+ID+BASE64` (signed-note, "Verifier keys").

use std::fmt;
use std::str::FromStr;

use assay_provenance::sha256;
use assay_schema::limits::MAX_NOTE_KEY;
use ed25519_dalek::{Signature, VerifyingKey};
use serde::{Deserialize, Serialize};

use super::{KeyName, NoteError, SignatureLine};
use crate::text::{base64, shown, to_base64};

const ML_DSA_44_KEY: usize = 1312;

/// The first four bytes of SHA-256(name || 0x0A || type || public key): a short name, no proof of anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(pub [u8; 4]);

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

/// What a key's signatures cover, and how they are encoded (signed-note, "Signature types").
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SignatureType {
    /// 0x01: Ed25519 over the note's text.
    Ed25519,
    /// 0x04: a witness's timestamped Ed25519 cosignature.
    CosignatureEd25519,
    /// 0x06: a timestamped ML-DSA-44 cosignature. Assay knows the type and cannot check it.
    CosignatureMlDsa44,
}

impl SignatureType {
    /// The identifier byte.
    pub fn byte(self) -> u8 {
        match self {
            Self::Ed25519 => 0x01,
            Self::CosignatureEd25519 => 0x04,
            Self::CosignatureMlDsa44 => 0x06,
        }
    }
}

impl fmt::Display for SignatureType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ed25519 => "0x01 (Ed25519)",
            Self::CosignatureEd25519 => "0x04 (Ed25519 cosignature)",
            Self::CosignatureMlDsa44 => "0x06 (ML-DSA-44 cosignature)",
        })
    }
}

#[derive(Clone, PartialEq, Eq)]
enum Public {
    Ed25519(VerifyingKey),
    MlDsa44(Vec<u8>),
}

/// A key that signs notes.
#[derive(Clone, PartialEq, Eq)]
pub struct VerifierKey {
    name: KeyName,
    kind: SignatureType,
    id: KeyId,
    public: Public,
}

impl VerifierKey {
    /// The key of a log, whose signatures cover the note's text (type 0x01).
    ///
    /// # Errors
    /// The bytes are no Ed25519 key of full order in its one encoding.
    pub fn log(name: KeyName, public: &[u8; 32]) -> Result<Self, NoteError> {
        Self::new(name, SignatureType::Ed25519, public)
    }

    /// The key of a witness (type 0x04).
    ///
    /// # Errors
    /// As [`Self::log`].
    pub fn witness(name: KeyName, public: &[u8; 32]) -> Result<Self, NoteError> {
        Self::new(name, SignatureType::CosignatureEd25519, public)
    }

    fn new(name: KeyName, kind: SignatureType, bytes: &[u8]) -> Result<Self, NoteError> {
        let bad = |expected| NoteError::Key {
            expected,
            found: format!("{name}, {} bytes", bytes.len()),
        };
        let public = match kind {
            SignatureType::Ed25519 | SignatureType::CosignatureEd25519 => {
                let bytes = bytes.try_into().map_err(|_| bad("an Ed25519 key of 32 bytes"))?;
                let key = VerifyingKey::from_bytes(bytes).map_err(|_| bad("an Ed25519 key"))?;
                // RFC 8032 5.1.3 and 5.1.7: anybody signs for a key of small order, and a second encoding counts one key twice.
                if key.is_weak() || key.to_edwards().compress().as_bytes() != bytes {
                    return Err(bad("an Ed25519 key of full order in its one encoding"));
                }
                Public::Ed25519(key)
            }
            SignatureType::CosignatureMlDsa44 if bytes.len() == ML_DSA_44_KEY => {
                Public::MlDsa44(bytes.to_vec())
            }
            SignatureType::CosignatureMlDsa44 => return Err(bad("an ML-DSA-44 key of 1,312 bytes")),
        };
        let id = key_id(&name, kind, bytes);
        Ok(Self {
            name,
            kind,
            id,
            public,
        })
    }

    /// The name.
    pub fn name(&self) -> &KeyName {
        &self.name
    }

    /// The id.
    pub fn id(&self) -> KeyId {
        self.id
    }

    /// What its signatures are.
    pub fn kind(&self) -> SignatureType {
        self.kind
    }

    /// The public key itself: equal for one key under two names or types.
    pub fn raw(&self) -> &[u8] {
        match &self.public {
            Public::Ed25519(key) => key.as_bytes(),
            Public::MlDsa44(bytes) => bytes,
        }
    }

    pub(crate) fn require(&self, expected: SignatureType) -> Result<(), NoteError> {
        match self.kind == expected {
            true => Ok(()),
            false => Err(NoteError::WrongType {
                name: self.name.to_string(),
                expected,
                found: self.kind,
            }),
        }
    }

    pub(crate) fn line(&self, signature: Vec<u8>) -> SignatureLine {
        SignatureLine {
            name: self.name.clone(),
            id: self.id,
            signature,
        }
    }

    pub(crate) fn bad_signature(&self) -> NoteError {
        NoteError::BadSignature {
            name: self.name.to_string(),
            id: self.id,
        }
    }

    /// Checks 64 bytes of Ed25519 by the strict rule, so that a signature has one meaning.
    pub(crate) fn verify_raw(&self, message: &[u8], signature: &[u8]) -> Result<(), NoteError> {
        let Public::Ed25519(key) = &self.public else {
            return Err(self.bad_signature());
        };
        Signature::from_slice(signature)
            .and_then(|signature| key.verify_strict(message, &signature))
            .map_err(|_| self.bad_signature())
    }
}

fn key_id(name: &KeyName, kind: SignatureType, public: &[u8]) -> KeyId {
    let mut bytes = name.as_str().as_bytes().to_vec();
    bytes.extend_from_slice(&[b'\n', kind.byte()]);
    bytes.extend_from_slice(public);
    let [a, b, c, d, ..] = *sha256(&bytes).as_bytes();
    KeyId([a, b, c, d])
}

impl FromStr for VerifierKey {
    type Err = NoteError;

    fn from_str(text: &str) -> Result<Self, NoteError> {
        let bad = |expected| NoteError::Key {
            expected,
            found: shown(text),
        };
        let form = "NAME+ID+BASE64, as in example.com/log+1a2b3c4d+AR...";
        if text.len() > MAX_NOTE_KEY {
            return Err(bad(form));
        }
        let (name, rest) = text.split_once('+').ok_or_else(|| bad(form))?;
        let (id, encoded) = rest.split_once('+').ok_or_else(|| bad(form))?;
        let bytes = base64(encoded).ok_or_else(|| bad(form))?;
        let (kind, public) = bytes.split_first().ok_or_else(|| bad(form))?;
        let kind = match kind {
            0x01 => SignatureType::Ed25519,
            0x04 => SignatureType::CosignatureEd25519,
            0x06 => SignatureType::CosignatureMlDsa44,
            _ => return Err(bad("signature type 0x01 (log) or 0x04 (witness)")),
        };
        let key = Self::new(KeyName::new(name)?, kind, public)?;
        match key.id.to_string() == id {
            true => Ok(key),
            false => Err(bad(
                "the id that follows from name and key, in lower-case hexadecimal",
            )),
        }
    }
}

impl fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = vec![self.kind.byte()];
        bytes.extend_from_slice(self.raw());
        write!(f, "{}+{}+{}", self.name, self.id, to_base64(&bytes))
    }
}

impl fmt::Debug for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for VerifierKey {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for VerifierKey {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}
