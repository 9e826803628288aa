//! The release manifest, `release.json`: what the authority signs about one release.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::canonical::{self, JsonError};
use crate::chunk;
use crate::digest::Sha256Digest;
use crate::limits::{
    CHUNK_SIZE, MAX_ATTESTATION, MAX_ATTESTATIONS, MAX_FILE_SIZE, MAX_FILES, MAX_MANIFEST, MAX_RELEASE_SIZE,
};
use crate::name::{ModelName, VersionName};
use crate::order::ReleaseOrder;
use crate::path::{self, FilePath, PathCollision};

/// The only manifest version there is.
pub const VERSION: u32 = 1;

/// What one release is: its files, their chunks, its place in the order, and the digests of its attestations.
///
/// Written as canonical JSON; the TUF target `models/<model>/<block>/<version>.json` is these bytes. Fields that this version
/// does not know are kept out of the decision: a later version that must be understood raises `v`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "json-schema", derive(schemars::JsonSchema))]
pub struct ReleaseManifest {
    /// The manifest's version: 1.
    pub v: u32,
    /// SHA-256 of the namespace's first root file.
    pub namespace: Sha256Digest,
    /// The model.
    pub model: ModelName,
    /// The version's label.
    pub version: VersionName,
    /// The place in the model's order of releases.
    pub order: ReleaseOrder,
    /// No device activates the release before this time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "json-schema", schemars(with = "Option<String>"))]
    pub not_before: Option<Timestamp>,
    /// All files, sorted by path.
    pub files: Vec<FileEntry>,
    /// The attestations of this release: at least the model signature, where there is one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attestations: Vec<AttestationRef>,
}

/// One file of a release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "json-schema", derive(schemars::JsonSchema))]
pub struct FileEntry {
    /// Where the file lies in the release.
    pub path: FilePath,
    /// Bytes.
    pub size: u64,
    /// SHA-256 of the whole file: the same that the model signature names.
    pub sha256: Sha256Digest,
    /// SHA-256 of the file's chunk index. Present exactly if the file has more than one chunk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chunks: Option<Sha256Digest>,
}

/// An attestation by its bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "json-schema", derive(schemars::JsonSchema))]
pub struct AttestationRef {
    /// The in-toto predicate type that the publisher says it has; the verifier reads the true one from the statement.
    pub predicate_type: String,
    /// Bytes of the Sigstore bundle.
    pub size: u64,
    /// SHA-256 of the Sigstore bundle.
    pub sha256: Sha256Digest,
}

/// A manifest that no device may follow.
#[derive(Debug, thiserror::Error)]
pub enum BadManifest {
    /// Not the canonical JSON of a manifest.
    #[error("release manifest: {0}")]
    Json(#[from] JsonError),
    /// Two paths that cannot stand beside each other.
    #[error("release manifest: {0}")]
    Paths(#[from] PathCollision),
    /// Anything else.
    #[error("release manifest: {what}: expected {expected}, found {found}")]
    Field {
        /// The field.
        what: &'static str,
        /// The rule.
        expected: String,
        /// What is there.
        found: String,
    },
}

fn field(what: &'static str, expected: impl ToString, found: impl ToString) -> BadManifest {
    BadManifest::Field {
        what,
        expected: expected.to_string(),
        found: found.to_string(),
    }
}

impl ReleaseManifest {
    /// Reads and checks the bytes of a manifest.
    ///
    /// # Errors
    /// See [`BadManifest`].
    pub fn parse(bytes: &[u8]) -> Result<Self, BadManifest> {
        let manifest: Self = canonical::read_document(bytes, MAX_MANIFEST)?;
        manifest.check()?;
        Ok(manifest)
    }

    /// The bytes that are signed.
    ///
    /// # Errors
    /// The manifest would not pass [`ReleaseManifest::parse`].
    pub fn to_bytes(&self) -> Result<Vec<u8>, BadManifest> {
        self.check()?;
        let bytes = canonical::document(self)?;
        if bytes.len() as u64 > MAX_MANIFEST {
            return Err(field(
                "length",
                format!("at most {MAX_MANIFEST} bytes"),
                bytes.len(),
            ));
        }
        Ok(bytes)
    }

    /// Bytes of all files together.
    pub fn size(&self) -> u64 {
        self.files.iter().fold(0, |sum, f| sum.saturating_add(f.size))
    }

    fn check(&self) -> Result<(), BadManifest> {
        if self.v != VERSION {
            return Err(field("v", VERSION, self.v));
        }
        if self.files.is_empty() || self.files.len() > MAX_FILES {
            return Err(field(
                "files",
                format!("1 to {MAX_FILES} files"),
                self.files.len(),
            ));
        }
        if self.attestations.len() > MAX_ATTESTATIONS {
            return Err(field(
                "attestations",
                format!("at most {MAX_ATTESTATIONS}"),
                self.attestations.len(),
            ));
        }
        if let Some(a) = self.attestations.iter().find(|a| a.size > MAX_ATTESTATION) {
            return Err(field(
                "attestation size",
                format!("at most {MAX_ATTESTATION} bytes"),
                a.size,
            ));
        }
        path::check_together(self.files.iter().map(|f| &f.path))?;
        if let Some([a, b]) = self.files.array_windows().find(|[a, b]| a.path >= b.path) {
            return Err(field(
                "files",
                "paths in ascending order",
                format!("{} before {}", a.path, b.path),
            ));
        }
        let mut total = 0_u64;
        let mut by_digest = BTreeMap::new();
        for file in &self.files {
            if file.size > MAX_FILE_SIZE {
                return Err(field(
                    "file size",
                    format!("at most {MAX_FILE_SIZE} bytes"),
                    file.size,
                ));
            }
            // An empty file has no chunk, so no later check would look at its digest.
            if file.size == 0 && file.sha256 != Sha256Digest::EMPTY {
                return Err(field(
                    "sha256",
                    format!("{}, that of no bytes, for {}", Sha256Digest::EMPTY, file.path),
                    file.sha256,
                ));
            }
            if let Some(other) = by_digest.insert(file.sha256, file)
                && (other.size, other.chunks) != (file.size, file.chunks)
            {
                return Err(field(
                    "files",
                    format!("one size and chunk index for {}", file.sha256),
                    format!("others in {} and {}", other.path, file.path),
                ));
            }
            total = total.saturating_add(file.size);
            match (file.needs_index(), file.chunks) {
                (true, None) => {
                    return Err(field(
                        "chunks",
                        format!("a chunk index for {}", file.path),
                        "none",
                    ));
                }
                (false, Some(found)) => {
                    return Err(field(
                        "chunks",
                        format!("none: {} has one chunk", file.path),
                        found,
                    ));
                }
                _ => {}
            }
        }
        if total > MAX_RELEASE_SIZE {
            return Err(field("size", format!("at most {MAX_RELEASE_SIZE} bytes"), total));
        }
        Ok(())
    }
}

impl FileEntry {
    /// Whether the file has more than one chunk, and so a chunk index.
    pub const fn needs_index(&self) -> bool {
        self.size > CHUNK_SIZE as u64
    }

    /// How many chunks the file has; 0 for an empty file.
    pub const fn chunk_count(&self) -> u64 {
        chunk::count(self.size)
    }
}
