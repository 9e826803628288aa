//! Foreign models: a folder with an OpenSSF Model Signing signature, from whatever registry it came.

use std::collections::BTreeMap;
use std::path::Path;

use assay_authority::oms::DEFAULT_IGNORED;
use assay_schema::Sha256Digest;
use assay_schema::limits::MAX_ATTESTATION;
use assay_schema::signers::Signer;
use assay_schema::verdict::Refusal;
use assay_verifier::provenance::certificate::{CertificateError, base64, check_roots};
use assay_verifier::provenance::oms::VerifiedSignature;
use assay_verifier::provenance::verify_model_signature;
use jiff::Timestamp;

use super::{DeviceError, Result, Verification};
use crate::folder::{Folder, io_error};
use crate::hash;
use crate::scan::{FoundFile, scan_folder};

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
    /// What is covered, and on whose word.
    pub how: &'a Verification,
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
    /// What was not read here just now, in the words of a verdict's evidence: empty if every byte of every file was.
    pub unread: BTreeMap<String, String>,
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
        let begun = self.how.begin(found.clone(), self.now)?;
        let scope = &begun.scope;
        if let Some(unknown) = scope
            .only
            .iter()
            .flatten()
            .find(|path| !signature.resources.contains_key(*path))
        {
            let advice = "Name a file by its path in the model.";
            return Err(refused(
                "extraneous-file",
                unknown,
                "a file that was signed",
                "another path",
                advice,
            ));
        }
        let found: Vec<FoundFile> = found
            .into_iter()
            .filter(|f| scope.covers(f.path.as_str()))
            .collect();
        let signed = signature.resources.iter().filter(|(name, _)| scope.covers(name));
        let signed: BTreeMap<&str, Sha256Digest> =
            signed.map(|(name, digest)| (name.as_str(), *digest)).collect();
        // Names and their number are compared before anything is hashed: it costs nothing and finds most.
        for file in &found {
            if !signed.contains_key(file.path.as_str()) {
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
        for (name, digest) in &signed {
            if found.binary_search_by(|f| f.path.as_str().cmp(*name)).is_err() {
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
        let is = |digests: &BTreeMap<String, Sha256Digest>, file: &FoundFile| {
            let path = file.path.as_str();
            digests
                .get(path)
                .is_some_and(|digest| signed.get(path) == Some(digest))
        };
        let (given, rest): (Vec<_>, Vec<_>) = found
            .iter()
            .partition(|f| scope.given.contains_key(f.path.as_str()));
        let (unchanged, read): (Vec<_>, Vec<_>) = rest.into_iter().partition(|f| is(&scope.unchanged, f));
        let read: Vec<FoundFile> = read.into_iter().cloned().collect();
        let hashed = hash::hash_files(&root, &read, false, self.threads.max(1), progress)?;
        let hashed = hashed.iter().map(|file| (file.path.as_str(), file.sha256, ""));
        let elsewhere = given.iter().filter_map(|file| {
            let digest = scope.given.get(file.path.as_str())?;
            Some((file.path.as_str(), *digest, ", by the digests that were given"))
        });
        for (path, digest, whose) in hashed.chain(elsewhere) {
            let expected = signed.get(path);
            if expected != Some(&digest) {
                let expected = expected.map_or_else(String::new, |e| format!("SHA-256 {e}"));
                let found = format!("SHA-256 {digest}{whose}");
                let advice =
                    "The file was changed after it was signed: do not use it, and get the model again.";
                return Err(refused("digest-mismatch", path, &expected, &found, advice));
            }
        }
        let mut unread = BTreeMap::new();
        let mut note = |what: &str, text: String| drop(unread.insert(what.to_owned(), text));
        if found.len() < signature.resources.len() {
            let all = signature.resources.len();
            note(
                "partial",
                format!("{} of {all} files; the others were not looked at", found.len()),
            );
        }
        if !given.is_empty() {
            note(
                "not_recomputed",
                format!(
                    "{} files, by digests that were given and not computed here",
                    given.len()
                ),
            );
        }
        if !unchanged.is_empty() {
            note(
                "unchanged",
                format!("{} files, by digests of an earlier reading", unchanged.len()),
            );
        }
        let (files, bytes) = (found.len(), found.iter().map(FoundFile::size).sum());
        begun.keep(
            &root,
            &ignore,
            signed.iter().map(|(path, digest)| (*path, *digest)),
        )?;
        Ok(VerifiedDirectory {
            signature,
            files,
            bytes,
            unread,
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

/// Root certificates of a file, in PEM (any number of them) or DER, in the form of [`Certificate`](assay_schema::signers::SignerIdentity::Certificate).
///
/// # Errors
/// There is none, or one is no certificate.
pub fn root_certificates(bytes: &[u8]) -> std::result::Result<Vec<String>, CertificateError> {
    let text = std::str::from_utf8(bytes).unwrap_or("");
    let mut roots: Vec<String> = Vec::new();
    let mut current: Option<String> = None;
    for line in text.lines().map(str::trim) {
        match (line, &mut current) {
            ("-----BEGIN CERTIFICATE-----", _) => current = Some(String::new()),
            ("-----END CERTIFICATE-----", Some(_)) => roots.extend(current.take()),
            (line, Some(base64)) => base64.push_str(line),
            (_, None) => {}
        }
    }
    if roots.is_empty() {
        roots.push(base64(bytes));
    }
    check_roots(&roots)?;
    Ok(roots)
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
