//! Sigstore bundles as bytes: bounded reading, and what a bundle says about its signer before anything is verified.

use std::fmt;

use assay_schema::limits::MAX_ATTESTATION;
use serde_json::Value;
use sigstore_types::bundle::VerificationMaterialContent;
use sigstore_types::{Bundle, DsseEnvelope, SignatureContent};

use crate::statement::{PAYLOAD_TYPE, StatementError, shown};

/// Bytes that are no Sigstore bundle, or not one of the kind that is needed.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// More bytes than an attestation may have.
    #[error("bundle: expected at most {MAX_ATTESTATION} bytes, found {found}")]
    TooLong {
        /// How many there are.
        found: u64,
    },
    /// Not JSON, nested too deeply, or not a bundle.
    #[error("bundle: expected a Sigstore bundle in JSON, found {0}")]
    Parse(String),
    /// A signature over bytes, where one over a statement is needed.
    #[error(
        "bundle: expected a DSSE envelope, found a message signature; sign a statement, not the file itself"
    )]
    NoEnvelope,
    /// A bundle of another version than the one that is defined here.
    #[error("bundle: expected the media type {expected}, found {found}; sign again with a current tool")]
    MediaType {
        /// The media type that is defined.
        expected: &'static str,
        /// The one that it has.
        found: String,
    },
}

/// What a bundle says about who signed it. Nobody has checked it: it is for messages and never for decisions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Carried {
    /// A key, which the bundle does not contain.
    Key {
        /// The hint about which key, where there is one.
        hint: Option<String>,
    },
    /// A certificate.
    Certificate {
        /// The subject alternative name, where it could be read.
        subject: Option<String>,
        /// The OIDC issuer, where it could be read.
        issuer: Option<String>,
    },
}

impl fmt::Display for Carried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key { hint: Some(hint) } => write!(f, "a signature by a key with the hint {hint:?}"),
            Self::Key { hint: None } => f.write_str("a signature by a key without a hint"),
            Self::Certificate { subject, issuer } => write!(
                f,
                "a certificate for {:?} by issuer {:?}",
                subject.as_deref().unwrap_or("nobody"),
                issuer.as_deref().unwrap_or("none")
            ),
        }
    }
}

/// Reads a bundle of any version, at most [`MAX_ATTESTATION`] bytes and 128 levels deep.
pub(crate) fn read(bytes: &[u8]) -> Result<Bundle, BundleError> {
    let found = bytes.len() as u64;
    if found > MAX_ATTESTATION {
        return Err(BundleError::TooLong { found });
    }
    let text = std::str::from_utf8(bytes).map_err(|error| BundleError::Parse(error.to_string()))?;
    Bundle::from_json(text).or_else(|error| {
        let parse = || BundleError::Parse(shown(&error.to_string()));
        without_null_key_ids(text).map_or_else(
            || Err(parse()),
            |text| Bundle::from_json(&text).map_err(|_| parse()),
        )
    })
}

/// `model_signing` 0.2 wrote `"keyid": null`, which stands for none in JSON's form of Protocol Buffers.
fn without_null_key_ids(text: &str) -> Option<String> {
    let mut bundle: Value = serde_json::from_str(text).ok()?;
    let signatures = bundle.pointer_mut("/dsseEnvelope/signatures")?.as_array_mut()?;
    let mut found = false;
    for signature in signatures.iter_mut().filter_map(Value::as_object_mut) {
        if signature.get("keyid").is_some_and(Value::is_null) {
            found |= signature.remove("keyid").is_some();
        }
    }
    found.then(|| bundle.to_string())
}

/// The in-toto payload that the bundle's one signature covers.
pub(crate) fn envelope(bundle: &Bundle) -> Result<&DsseEnvelope, BundleError> {
    match &bundle.content {
        SignatureContent::DsseEnvelope(envelope) => Ok(envelope),
        _ => Err(BundleError::NoEnvelope),
    }
}

/// Refuses an envelope around anything but an in-toto statement.
pub(crate) fn in_toto(envelope: &DsseEnvelope) -> Result<&[u8], StatementError> {
    match envelope.payload_type == PAYLOAD_TYPE {
        true => Ok(envelope.payload.as_bytes()),
        false => Err(StatementError::PayloadType {
            found: shown(&envelope.payload_type),
        }),
    }
}

/// What the bundle says about its signer.
pub(crate) fn carried(bundle: &Bundle) -> Carried {
    match &bundle.verification_material.content {
        VerificationMaterialContent::PublicKey(key) => Carried::Key {
            hint: (!key.hint.is_empty()).then(|| shown(&key.hint)),
        },
        _ => {
            let (subject, issuer) = certificate_claims(bundle);
            Carried::Certificate {
                subject: subject.as_deref().map(shown),
                issuer: issuer.as_deref().map(shown),
            }
        }
    }
}

/// Subject and issuer that the bundle's certificate claims, in full.
pub(crate) fn certificate_claims(bundle: &Bundle) -> (Option<String>, Option<String>) {
    let info = bundle
        .signing_certificate()
        .and_then(|certificate| sigstore_crypto::parse_certificate_info(certificate).ok());
    match info {
        Some(info) => (info.identity.map(|name| name.as_str().to_owned()), info.issuer),
        None => (None, None),
    }
}
