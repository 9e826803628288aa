//! In-toto statements in Sigstore bundles v0.3, signed by key: model signatures ([`crate::oms`]), and what else is to be said of a
//! model - what it was trained from, how it was evaluated, what it consists of.

use assay_schema::Sha256Digest;
use assay_schema::canonical::JsonError;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::key::{KeyError, SigningKey};
use crate::public::sha256;

/// `_type` of an in-toto Statement v1.
pub(crate) const STATEMENT_TYPE: &str = "https://in-toto.io/Statement/v1";
const BUNDLE_TYPE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";
const PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";

/// A statement that cannot be signed.
#[derive(Debug, thiserror::Error)]
pub enum AttestationError {
    /// The key cannot be encoded.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// No JSON.
    #[error(transparent)]
    Json(#[from] JsonError),
    /// About nothing.
    #[error("statement: expected at least one subject, found none")]
    NoSubject,
    /// A kind that is no URI.
    #[error(
        "statement: expected a predicate type that is a URI, such as https://slsa.dev/provenance/v1, found {0:?}"
    )]
    PredicateType(String),
    /// A kind whose statements are made otherwise.
    #[error("statement: {0} is a model signature's predicate type; publishing signs the model by itself")]
    ModelSignature(String),
}

/// Signs a statement about things that are named by their SHA-256: whole models ([`crate::oms::digest_of_model`]) or single files.
///
/// # Errors
/// See [`AttestationError`].
pub fn sign_statement<'a>(
    key: &SigningKey,
    predicate_type: &str,
    subjects: impl IntoIterator<Item = (&'a str, Sha256Digest)>,
    predicate: &Value,
) -> Result<Vec<u8>, AttestationError> {
    let uri = predicate_type.split_once("://").is_some_and(|(scheme, rest)| {
        !scheme.is_empty()
            && !rest.is_empty()
            && !predicate_type
                .chars()
                .any(|c| c.is_whitespace() || c.is_control())
    });
    if !uri {
        return Err(AttestationError::PredicateType(predicate_type.to_owned()));
    }
    if predicate_type.starts_with("https://model_signing/") {
        return Err(AttestationError::ModelSignature(predicate_type.to_owned()));
    }
    let subjects: Vec<Value> = subjects
        .into_iter()
        .map(|(name, digest)| json!({"name": name, "digest": {"sha256": digest}}))
        .collect();
    if subjects.is_empty() {
        return Err(AttestationError::NoSubject);
    }
    sign(
        key,
        json!({
            "_type": STATEMENT_TYPE,
            "subject": subjects,
            "predicateType": predicate_type,
            "predicate": predicate,
        }),
    )
}

/// A bundle around a statement. It is always the same for the same input, whatever order `serde_json` was built with.
pub(crate) fn sign(key: &SigningKey, statement: Value) -> Result<Vec<u8>, AttestationError> {
    let statement = to_json(statement)?;
    let signature = key.sign(&pre_authentication(&statement))?;
    to_json(json!({
        "mediaType": BUNDLE_TYPE,
        "verificationMaterial": {
            // The reference of model signing hints at the key by the SHA-256 of its PEM.
            "publicKey": {"hint": sha256(key.public_key_pem()?.as_bytes())},
            "tlogEntries": [],
        },
        "dsseEnvelope": {
            "payload": STANDARD.encode(&statement),
            "payloadType": PAYLOAD_TYPE,
            "signatures": [{"sig": STANDARD.encode(signature), "keyid": ""}],
        },
    }))
}

fn to_json(mut value: Value) -> Result<Vec<u8>, AttestationError> {
    value.sort_all_objects();
    serde_json::to_vec(&value).map_err(|e| AttestationError::Json(e.into()))
}

/// DSSE v1's pre-authentication encoding: what is signed.
fn pre_authentication(payload: &[u8]) -> Vec<u8> {
    let mut out = format!("DSSEv1 {} {PAYLOAD_TYPE} {} ", PAYLOAD_TYPE.len(), payload.len()).into_bytes();
    out.extend_from_slice(payload);
    out
}
