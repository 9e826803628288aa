//! Foreign models: a folder with an OpenSSF Model Signing signature, from whatever registry it came.

use std::path::Path;

use assay_authority::oms::DEFAULT_IGNORED;
use assay_schema::limits::MAX_ATTESTATION;
use assay_schema::signers::Signer;
use assay_schema::verdict::Refusal;
use assay_verifier::provenance::oms::VerifiedSignature;
use assay_verifier::provenance::verify_model_signature;
use jiff::Timestamp;

use super::{DeviceError, Result};
use crate::folder::{Folder, io_error};
use crate::hash;
use crate::scan::scan_folder;

/// A folder, its signature, and who may have made it.
#[derive(Debug, Clone, Copy)]
pub struct OmsCheck<'a> {
    /// The folder.
    pub folder: &'a Path,
    /// The signature's file, inside the folder or elsewhere.
    pub signature: &'a Path,
    /// Who may sign.
    pub signers: &'a [Signer],
    /// The Sigstore trusted root (JSON), for signers that are known by a Sigstore identity.
    pub sigstore_root: Option<&'a [u8]>,
    /// Paths in the folder, relative, that are not part of the model; `.git`, `.github`, `.gitignore`, `.gitattributes` and the
    /// signature itself never are.
    pub ignore: &'a [String],
    /// The time that a certificate is judged at.
    pub now: Timestamp,
    /// Files are hashed on so many threads; each file whole.
    pub threads: usize,
}

/// A folder that is exactly what its signer signed.
#[derive(Debug, Clone)]
pub struct VerifiedDirectory {
    /// Who signed, and what.
    pub signature: VerifiedSignature,
    /// How many files.
    pub files: usize,
    /// Bytes of all files.
    pub bytes: u64,
}

impl OmsCheck<'_> {
    /// Verifies the signature, hashes every file and compares both ways: a file that is missing, changed or not listed refuses.
    ///
    /// # Errors
    /// The signature is not one of a permitted signer, or the folder is not what it signs.
    pub fn run(&self, progress: &(dyn Fn(u64) + Sync)) -> Result<VerifiedDirectory> {
        let name = self.signature.file_name().unwrap_or_default();
        let parent = self
            .signature
            .parent()
            .filter(|p| !p.as_os_str().is_empty())
            .unwrap_or(Path::new("."));
        let bytes = Folder::open(parent)?
            .read(name, MAX_ATTESTATION)?
            .ok_or_else(|| io_error("read", self.signature, std::io::ErrorKind::NotFound.into()))?;
        let permitted: Vec<&Signer> = self.signers.iter().collect();
        let signature = verify_model_signature(&bytes, &permitted, self.sigstore_root, self.now)?;

        let root = Folder::open(self.folder)?;
        let mut ignore: Vec<String> = DEFAULT_IGNORED.map(str::to_owned).into();
        ignore.extend(self.ignore.iter().map(|p| p.trim_end_matches('/').to_owned()));
        ignore.extend(self.signature_inside());
        let found = scan_folder(&root, &ignore)?;
        // Names and their number are compared before anything is hashed: it costs nothing and finds most.
        for file in &found {
            if !signature.resources.contains_key(file.path.as_str()) {
                let advice = "Remove it, or ignore it if the model does not need it.";
                return Err(refused(
                    "extraneous-file",
                    file.path.as_str(),
                    "only files that were signed",
                    "another file",
                    advice,
                ));
            }
        }
        for (name, digest) in &signature.resources {
            if found.binary_search_by(|f| f.path.as_str().cmp(name)).is_err() {
                let expected = format!("SHA-256 {digest}");
                return Err(refused(
                    "missing-file",
                    name,
                    &expected,
                    "nothing",
                    "Get the model again.",
                ));
            }
        }
        let files = hash::hash_files(&root, &found, false, self.threads.max(1), progress)?;
        for file in &files {
            let expected = signature.resources.get(file.path.as_str());
            if expected != Some(&file.sha256) {
                let expected = expected.map_or_else(String::new, |e| format!("SHA-256 {e}"));
                let found = format!("SHA-256 {}", file.sha256);
                let advice =
                    "The file was changed after it was signed: do not use it, and get the model again.";
                return Err(refused(
                    "digest-mismatch",
                    file.path.as_str(),
                    &expected,
                    &found,
                    advice,
                ));
            }
        }
        Ok(VerifiedDirectory {
            signature,
            files: files.len(),
            bytes: files.iter().map(|f| f.size).sum(),
        })
    }

    /// The signature's path relative to the folder, if it lies inside.
    fn signature_inside(&self) -> Option<String> {
        let folder = self.folder.canonicalize().ok()?;
        let parent = self.signature.parent()?;
        let parent = if parent.as_os_str().is_empty() {
            Path::new(".")
        } else {
            parent
        };
        let signature = parent.canonicalize().ok()?.join(self.signature.file_name()?);
        Some(signature.strip_prefix(folder).ok()?.to_str()?.to_owned())
    }
}

fn refused(code: &str, subject: &str, expected: &str, found: &str, advice: &str) -> DeviceError {
    DeviceError::Refused(Box::new(Refusal {
        code: code.to_owned(),
        subject: subject.to_owned(),
        expected: expected.to_owned(),
        found: found.to_owned(),
        advice: advice.to_owned(),
    }))
}
