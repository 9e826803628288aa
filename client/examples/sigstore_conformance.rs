//! The adapter that the public Sigstore conformance suite drives: Assay's verification of bundles by that suite's command line.
//!
//! ```text
//! sigstore_conformance verify-bundle [--staging] --bundle FILE
//!     (--certificate-identity SUBJECT --certificate-oidc-issuer URL | --key FILE)
//!     [--trusted-root FILE] (FILE | sha256:HEX)
//! ```
//!
//! Exit code 0: the bundle proves that this signer signed this artifact. Exit code 1: it does not, and standard error says why, first
//! of all the kind of refusal in brackets. Without `--trusted-root` the public-good instance's root counts (with `--staging` its
//! staging environment's), as the library was built with it: nothing is fetched.

use std::error::Error;
use std::fmt;
use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use assay_schema::limits::{MAX_ATTESTATION, MAX_TRUST_TARGET};
use assay_verifier::provenance::error::{KeyError, SigstoreError};
use assay_verifier::provenance::sigstore::{Artifact, Expected, TrustedRoot, verify};
use assay_verifier::provenance::{PublicKey, Sha256};
use jiff::Timestamp;

#[allow(dead_code)] // The tests run `run` without a process.
fn main() -> ExitCode {
    match run(std::env::args().skip(1), Timestamp::now()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(refusal) => {
            eprintln!("sigstore_conformance: {refusal}");
            ExitCode::FAILURE
        }
    }
}

/// Why it did not end well.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// The bundle is not what it should be.
    Bundle(SigstoreError),
    /// The key is none.
    Key(KeyError),
    /// The command line, or a file that it names, cannot be followed.
    Usage(Box<dyn Error>),
}

impl Refusal {
    /// The kind of refusal, as [`SigstoreError::code`] has them.
    pub(crate) const fn code(&self) -> &'static str {
        match self {
            Self::Bundle(error) => error.code(),
            Self::Key(_) => "key",
            Self::Usage(_) => "usage",
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}] ", self.code())?;
        match self {
            Self::Bundle(error) => error.fmt(f),
            Self::Key(error) => error.fmt(f),
            Self::Usage(error) => error.fmt(f),
        }
    }
}

impl From<SigstoreError> for Refusal {
    fn from(error: SigstoreError) -> Self {
        Self::Bundle(error)
    }
}

impl From<KeyError> for Refusal {
    fn from(error: KeyError) -> Self {
        Self::Key(error)
    }
}

fn usage(what: impl Into<Box<dyn Error>>) -> Refusal {
    Refusal::Usage(what.into())
}

/// Does what the command line says, at this time.
pub(crate) fn run(args: impl Iterator<Item = String>, now: Timestamp) -> Result<(), Refusal> {
    let Options {
        staging,
        bundle,
        identity,
        issuer,
        key,
        trusted_root,
        words,
    } = Options::read(args)?;
    let [command, artifact] = words.as_slice() else {
        return Err(usage("expected verify-bundle and one artifact"));
    };
    if command != "verify-bundle" {
        return Err(usage(format!("{command}: only verify-bundle is supported")));
    }
    let root = match &trusted_root {
        Some(path) => TrustedRoot::read(&bounded(path, MAX_TRUST_TARGET)?)?,
        None if staging => TrustedRoot::public_good_staging()?,
        None => TrustedRoot::public_good()?,
    };
    let key = key.as_deref().map(read_key).transpose()?;
    let expected = match (&key, &identity, &issuer) {
        (Some(key), None, None) => Expected::Key(key),
        (None, Some(subject), Some(issuer)) => Expected::Identity { subject, issuer },
        _ => {
            return Err(usage(
                "expected --certificate-identity with --certificate-oidc-issuer, or --key",
            ));
        }
    };
    let bundle = bounded(
        bundle.as_deref().ok_or_else(|| usage("--bundle is missing"))?,
        MAX_ATTESTATION,
    )?;
    let digest = match artifact.strip_prefix("sha256:") {
        Some(hex) => hex.parse().map_err(usage)?,
        None => digest_of(Path::new(artifact))?,
    };
    verify(&bundle, Artifact::Digest(digest), expected, &root, now)?;
    Ok(())
}

/// The file's digest, in constant memory: all that a bundle needs of its artifact.
fn digest_of(path: &Path) -> Result<assay_schema::Sha256Digest, Refusal> {
    let mut file = File::open(path).map_err(|e| unreadable(path, &e))?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        let read = file.read(&mut buffer).map_err(|e| unreadable(path, &e))?;
        match buffer.get(..read) {
            Some(bytes) if !bytes.is_empty() => hash.update(bytes),
            _ => return Ok(hash.finalize()),
        }
    }
}

fn read_key(path: &Path) -> Result<PublicKey, Refusal> {
    let text = fs::read_to_string(path).map_err(|e| unreadable(path, &e))?;
    Ok(PublicKey::from_pem(text.trim())?)
}

/// One byte more than the limit at most: who reads on finds that it is too long.
fn bounded(path: &Path, limit: u64) -> Result<Vec<u8>, Refusal> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(limit + 1).read_to_end(&mut bytes))
        .map_err(|e| unreadable(path, &e))?;
    Ok(bytes)
}

fn unreadable(path: &Path, error: &std::io::Error) -> Refusal {
    usage(format!("{}: {error}", path.display()))
}

#[derive(Default)]
struct Options {
    staging: bool,
    bundle: Option<PathBuf>,
    identity: Option<String>,
    issuer: Option<String>,
    key: Option<PathBuf>,
    trusted_root: Option<PathBuf>,
    words: Vec<String>,
}

impl Options {
    fn read(mut args: impl Iterator<Item = String>) -> Result<Self, Refusal> {
        let mut options = Self::default();
        while let Some(arg) = args.next() {
            // `--name=value` means the same as two words.
            let (name, inline) = match arg.split_once('=') {
                Some((name, value)) if name.starts_with("--") => (name.to_owned(), Some(value.to_owned())),
                _ => (arg, None),
            };
            let mut value = || {
                inline
                    .clone()
                    .or_else(|| args.next())
                    .ok_or_else(|| usage(format!("{name} needs a value")))
            };
            match name.as_str() {
                "--staging" => options.staging = true,
                "--bundle" => options.bundle = Some(value()?.into()),
                "--certificate-identity" => options.identity = Some(value()?),
                "--certificate-oidc-issuer" => options.issuer = Some(value()?),
                "--key" => options.key = Some(value()?.into()),
                "--trusted-root" => options.trusted_root = Some(value()?.into()),
                other if other.starts_with("--") => return Err(usage(format!("{other}: no such option"))),
                word => options.words.push(word.to_owned()),
            }
        }
        Ok(options)
    }
}
