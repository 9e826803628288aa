//! OpenSSF Model Signing v1.0 signatures by key, as `model-signing` 1.1 writes and verifies them.
//!
//! A Sigstore bundle v0.3 holds a DSSE envelope, which holds an in-toto Statement v1. The statement's subject is the model,
//! with the SHA-256 of all file digests one after the other; its predicate names every file with its digest. The subject's
//! digest does not bind the files' names: verifiers compare the predicate's resources.

use std::collections::BTreeMap;

use assay_schema::canonical::JsonError;
use assay_schema::path::PathCollision;
use assay_schema::{FilePath, Sha256Digest, path};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::key::{KeyError, SigningKey};
use crate::public::sha256;

/// The predicate type of a model signature.
pub const PREDICATE_TYPE: &str = "https://model_signing/signature/v1.0";
/// Paths that are not part of a model unless the signer says otherwise: the defaults of `model-signing`.
pub const DEFAULT_IGNORED: [&str; 4] = [".git", ".gitattributes", ".github", ".gitignore"];

const BUNDLE_TYPE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";
const PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";
const STATEMENT_TYPE: &str = "https://in-toto.io/Statement/v1";

/// A model that cannot be signed.
#[derive(Debug, thiserror::Error)]
pub enum OmsError {
    /// The key cannot be encoded.
    #[error("model signature: {0}")]
    Key(#[from] KeyError),
    /// No canonical form.
    #[error("model signature: {0}")]
    Json(#[from] JsonError),
    /// Nothing to sign.
    #[error("model signature: expected at least one file, found none")]
    NoFiles,
    /// Two files of one path.
    #[error("model signature: {0}")]
    Paths(#[from] PathCollision),
    /// A file that the signature would tell verifiers to ignore.
    #[error(
        "model signature: file {path} lies under the ignored path {ignored}; remove it from the model, or from the ignored paths"
    )]
    Ignored {
        /// The file.
        path: String,
        /// The ignored path.
        ignored: String,
    },
}

/// Signs a model: its name (informative, usually the folder's), each file with its SHA-256, and the paths in the folder that
/// are not part of the model (files or folders, relative; the signature's own path if it lies inside).
///
/// The signature is always the same for the same input. `model_signing verify key` accepts P-256, P-384 and P-521; Ed25519 is
/// Assay's own extension.
///
/// # Errors
/// See [`OmsError`].
pub fn sign_model<'a>(
    key: &SigningKey,
    model_name: &str,
    files: impl IntoIterator<Item = (&'a FilePath, Sha256Digest)>,
    ignored: &[&str],
) -> Result<Vec<u8>, OmsError> {
    let files: Vec<_> = files.into_iter().collect();
    if files.is_empty() {
        return Err(OmsError::NoFiles);
    }
    path::check_together(files.iter().map(|(path, _)| *path))?;
    // The reference sorts by path components, so that `a/x` comes before `a-b`; the subject's digest follows that order.
    let files: BTreeMap<Vec<&str>, (&FilePath, Sha256Digest)> = files
        .into_iter()
        .map(|(path, digest)| (path.components().collect(), (path, digest)))
        .collect();
    for (components, (path, _)) in &files {
        if let Some(ignored) = ignored
            .iter()
            .find(|i| components.starts_with(&i.split('/').collect::<Vec<_>>()))
        {
            return Err(OmsError::Ignored {
                path: path.to_string(),
                ignored: (*ignored).to_owned(),
            });
        }
    }
    let mut subject = Sha256::new();
    let mut resources = Vec::with_capacity(files.len());
    for (path, digest) in files.into_values() {
        subject.update(digest.as_bytes());
        resources.push(json!({"name": path, "algorithm": "sha256", "digest": digest}));
    }
    let mut serialization = json!({"method": "files", "hash_type": "sha256", "allow_symlinks": false});
    // The reference leaves the field away where there is nothing to ignore.
    if let (false, Some(serialization)) = (ignored.is_empty(), serialization.as_object_mut()) {
        serialization.insert("ignore_paths".to_owned(), json!(ignored));
    }
    let statement = to_json(json!({
        "_type": STATEMENT_TYPE,
        "subject": [{"name": model_name, "digest": {"sha256": hex::encode(subject.finalize())}}],
        "predicateType": PREDICATE_TYPE,
        "predicate": {"serialization": serialization, "resources": resources},
    }))?;
    let signature = key.sign(&pre_authentication(&statement))?;
    let bundle = json!({
        "mediaType": BUNDLE_TYPE,
        "verificationMaterial": {
            // The reference hints at the key by the SHA-256 of its PEM.
            "publicKey": {"hint": sha256(key.public_key_pem()?.as_bytes())},
            "tlogEntries": [],
        },
        "dsseEnvelope": {
            "payload": STANDARD.encode(&statement),
            "payloadType": PAYLOAD_TYPE,
            "signatures": [{"sig": STANDARD.encode(signature), "keyid": ""}],
        },
    });
    to_json(bundle)
}

/// JSON with sorted keys: every signer writes the same bytes, whatever order serde_json was built with.
fn to_json(mut value: Value) -> Result<Vec<u8>, OmsError> {
    value.sort_all_objects();
    serde_json::to_vec(&value).map_err(|e| OmsError::Json(e.into()))
}

/// DSSE v1's pre-authentication encoding: what is signed.
fn pre_authentication(payload: &[u8]) -> Vec<u8> {
    let mut out = format!("DSSEv1 {} {PAYLOAD_TYPE} {} ", PAYLOAD_TYPE.len(), payload.len()).into_bytes();
    out.extend_from_slice(payload);
    out
}
