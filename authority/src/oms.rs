//! OpenSSF Model Signing v1.0 signatures by key, as `model-signing` 1.1 writes and verifies them.
//!
//! A Sigstore bundle v0.3 holds a DSSE envelope, which holds an in-toto Statement v1. The statement's subject is the model,
//! with the SHA-256 of all file digests one after the other; its predicate names every file with its digest. The subject's
//! digest does not bind the files' names: verifiers compare the predicate's resources.

use std::collections::BTreeMap;

use assay_schema::path::PathCollision;
use assay_schema::{FilePath, Sha256Digest, path};
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::attestation::{AttestationError, STATEMENT_TYPE, sign};
use crate::key::SigningKey;

/// The predicate type of a model signature.
pub const PREDICATE_TYPE: &str = "https://model_signing/signature/v1.0";
/// Paths that are not part of a model unless the signer says otherwise: the defaults of `model-signing`.
pub const DEFAULT_IGNORED: [&str; 4] = [".git", ".gitattributes", ".github", ".gitignore"];

/// A model that cannot be signed.
#[derive(Debug, thiserror::Error)]
pub enum OmsError {
    /// It cannot be signed.
    #[error("model signature: {0}")]
    Statement(#[from] AttestationError),
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
    let subject = model_digest(files.values().map(|(_, digest)| digest));
    let mut resources = Vec::with_capacity(files.len());
    for (path, digest) in files.into_values() {
        resources.push(json!({"name": path, "algorithm": "sha256", "digest": digest}));
    }
    let mut serialization = json!({"method": "files", "hash_type": "sha256", "allow_symlinks": false});
    // The reference leaves the field away where there is nothing to ignore.
    if let (false, Some(serialization)) = (ignored.is_empty(), serialization.as_object_mut()) {
        serialization.insert("ignore_paths".to_owned(), json!(ignored));
    }
    let statement = json!({
        "_type": STATEMENT_TYPE,
        "subject": [{"name": model_name, "digest": {"sha256": subject}}],
        "predicateType": PREDICATE_TYPE,
        "predicate": {"serialization": serialization, "resources": resources},
    });
    Ok(sign(key, statement)?)
}

/// Every file of a model and its digest as one digest, by which other statements name the whole of it; `digests` in the order of
/// paths by their components, as the reference sorts.
fn model_digest<'a>(digests: impl Iterator<Item = &'a Sha256Digest>) -> Sha256Digest {
    let mut hash = Sha256::new();
    for digest in digests {
        hash.update(digest.as_bytes());
    }
    Sha256Digest::new(hash.finalize().into())
}

/// The digest by which a statement names a whole model: the subject of its model signature.
pub fn digest_of_model<'a>(files: impl IntoIterator<Item = (&'a FilePath, Sha256Digest)>) -> Sha256Digest {
    let files: BTreeMap<Vec<&str>, Sha256Digest> = files
        .into_iter()
        .map(|(path, digest)| (path.components().collect(), digest))
        .collect();
    model_digest(files.values())
}
