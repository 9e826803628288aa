//! A release: the digests of its files, its manifest, and its publication.

mod files;
mod publish;

pub use files::{FileHasher, HashedFile};
pub use publish::{Authority, PublishError, PublishRelease, delegate_block, publish_release};

use assay_schema::manifest::{AttestationRef, BadManifest, FileEntry, ReleaseManifest, VERSION};
use assay_schema::{ModelName, ReleaseOrder, Sha256Digest, VersionName};
use jiff::Timestamp;

use crate::public::sha256;

/// What a manifest says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReleaseDraft {
    /// The namespace's identity: SHA-256 of its first root file.
    pub namespace: Sha256Digest,
    /// The model.
    pub model: ModelName,
    /// The version's label.
    pub version: VersionName,
    /// The place in the model's order of releases.
    pub order: ReleaseOrder,
    /// No device activates it before this time.
    pub not_before: Option<Timestamp>,
    /// The files, in any order.
    pub files: Vec<FileEntry>,
    /// The attestations.
    pub attestations: Vec<AttestationRef>,
}

/// The bytes of the manifest: canonical JSON, files sorted by path.
///
/// # Errors
/// [`BadManifest`]: no device would follow it.
pub fn build_manifest(draft: ReleaseDraft) -> Result<Vec<u8>, BadManifest> {
    let ReleaseDraft {
        namespace,
        model,
        version,
        order,
        not_before,
        mut files,
        attestations,
    } = draft;
    files.sort_by(|a, b| a.path.cmp(&b.path));
    ReleaseManifest {
        v: VERSION,
        namespace,
        model,
        version,
        order,
        not_before,
        files,
        attestations,
    }
    .to_bytes()
}

/// How a manifest names these bytes of an attestation.
pub fn attestation_ref(predicate_type: &str, bundle: &[u8]) -> AttestationRef {
    AttestationRef {
        predicate_type: predicate_type.to_owned(),
        size: bundle.len() as u64,
        sha256: sha256(bundle),
    }
}
