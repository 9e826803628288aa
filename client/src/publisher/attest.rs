//! Statements about a folder, signed by key.

use std::path::Path;

use assay_authority::SigningKey;
use assay_authority::attestation::sign_statement;
use assay_authority::oms::{DEFAULT_IGNORED, digest_of_model};
use assay_schema::Sha256Digest;
use serde_json::Value;

use super::PublishError;
use crate::folder::Folder;
use crate::{hash, scan};

/// What is to be said of a model's files.
#[derive(Debug, Clone, Copy)]
pub struct Statement<'a> {
    /// The model's folder, as it is published.
    pub folder: &'a Path,
    /// What kind of statement it is: a URI.
    pub predicate_type: &'a str,
    /// What it says.
    pub predicate: &'a Value,
    /// Paths in the folder that it is about; none means the whole model, and every file of it.
    pub files: &'a [String],
}

/// A statement that is signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedStatement {
    /// The Sigstore bundle around it.
    pub bundle: Vec<u8>,
    /// How many files it is about.
    pub files: usize,
    /// The digest by which statements name the whole model.
    pub model_digest: Sha256Digest,
}

impl Statement<'_> {
    /// Hashes the folder and signs.
    ///
    /// # Errors
    /// The folder cannot be read, a file is not in it, or the statement cannot be signed.
    pub fn sign(&self, key: &SigningKey) -> Result<SignedStatement, PublishError> {
        let root = Folder::open(self.folder)?;
        let found = scan::scan_folder(&root, &DEFAULT_IGNORED.map(str::to_owned))?;
        let all = hash::hash_files(&root, &found, false, hash::threads(), &|_| {})?;
        let model_digest = digest_of_model(all.iter().map(|file| (&file.path, file.sha256)));
        if let Some(absent) = self
            .files
            .iter()
            .find(|path| !all.iter().any(|f| f.path.as_str() == **path))
        {
            return Err(PublishError::Attestation {
                name: absent.clone(),
                expected: "a file of the folder".to_owned(),
                found: "none of this path".to_owned(),
            });
        }
        let about: Vec<_> = all
            .iter()
            .filter(|file| self.files.is_empty() || self.files.iter().any(|path| path == file.path.as_str()))
            .map(|file| (file.path.as_str(), file.sha256))
            .collect();
        let whole = self.files.is_empty().then_some(("model", model_digest));
        let subjects = whole.into_iter().chain(about.iter().copied());
        Ok(SignedStatement {
            bundle: sign_statement(key, self.predicate_type, subjects, self.predicate)?,
            files: about.len(),
            model_digest,
        })
    }
}
