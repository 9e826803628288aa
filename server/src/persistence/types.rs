//! What goes into and comes out of the database: the rooms' types, never entities.

use std::collections::BTreeMap;

use assay_schema::api::{RoleState, Visibility};
use assay_schema::tuf::TufKey;
use assay_schema::{ModelName, NamespaceName, ReleaseOrder, Sha256Digest, VersionName};
use jiff::Timestamp;

/// A namespace's row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamespaceRecord {
    /// Its name on this registry.
    pub name: NamespaceName,
    /// SHA-256 of its first root file.
    pub identity: Sha256Digest,
    /// Who may read it.
    pub visibility: Visibility,
    /// When it was created.
    pub created: Timestamp,
    /// Rises by one with every commit; compare-and-swap works on it.
    pub revision: u64,
}

/// A namespace that is to be created, with its first metadata.
#[derive(Debug, Clone)]
pub struct NewNamespace {
    /// Its name on this registry.
    pub name: NamespaceName,
    /// SHA-256 of its first root file.
    pub identity: Sha256Digest,
    /// Who may read it.
    pub visibility: Visibility,
    /// Now.
    pub created: Timestamp,
    /// Roots, ascending, targets files, snapshot and timestamp. The last file of a role becomes current.
    pub metadata: Vec<NewMetadata>,
    /// Small blobs (`trust/*`) whose objects are stored already; they are linked to the namespace.
    pub blobs: Vec<NewBlob>,
    /// Releases that it has from the start, published.
    pub releases: Vec<NewCandidate>,
}

/// A metadata file that becomes its role's current one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewMetadata {
    /// `root`, `targets`, `snapshot`, `timestamp` or a delegated role's name.
    pub role: String,
    /// Its version.
    pub version: u64,
    /// SHA-256 of `bytes`.
    pub sha256: Sha256Digest,
    /// The exact bytes.
    pub bytes: Vec<u8>,
    /// When it expires.
    pub expires: Timestamp,
}

/// A metadata file as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetadataFile {
    /// The role's name.
    pub role: String,
    /// Its version.
    pub version: u64,
    /// SHA-256 of `bytes`.
    pub sha256: Sha256Digest,
    /// The exact bytes.
    pub bytes: Vec<u8>,
    /// When it expires.
    pub expires: Timestamp,
}

impl MetadataFile {
    /// Version and digest, as the API shows them.
    pub fn state(&self) -> RoleState {
        RoleState {
            version: self.version,
            sha256: self.sha256,
        }
    }
}

/// A namespace with the current file of every role, from one snapshot of the database.
#[derive(Debug, Clone)]
pub struct NamespaceHead {
    /// The namespace.
    pub record: NamespaceRecord,
    /// The current file of every role, by role.
    pub current: BTreeMap<String, MetadataFile>,
}

/// A role whose keys the registry holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum OnlineRole {
    /// TUF's snapshot.
    Snapshot,
    /// TUF's timestamp.
    Timestamp,
}

impl OnlineRole {
    /// The role's name in TUF.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Snapshot => "snapshot",
            Self::Timestamp => "timestamp",
        }
    }
}

/// An online key: its private half sealed by whoever asks for it, before it comes here.
#[derive(Clone, PartialEq, Eq)]
pub struct OnlineKey {
    /// Whose key it is.
    pub role: OnlineRole,
    /// The public half.
    pub public: TufKey,
    /// The private half (PKCS #8), sealed.
    pub sealed: Vec<u8>,
}

impl std::fmt::Debug for OnlineKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OnlineKey")
            .field("role", &self.role)
            .field("public", &self.public)
            .finish_non_exhaustive()
    }
}

/// Where a blob's bytes lie in the object store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BlobLocation {
    /// One object, named by the digest.
    Object,
    /// The segments of this upload.
    Segments {
        /// The upload's id.
        upload: String,
    },
}

/// A blob's row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlobRecord {
    /// SHA-256 of its bytes.
    pub sha256: Sha256Digest,
    /// How many bytes.
    pub size: u64,
    /// SHA-256 of its chunk index, which is a blob too; `None` if it has at most one chunk.
    pub chunks: Option<Sha256Digest>,
    /// Where the bytes lie.
    pub location: BlobLocation,
}

/// A blob whose bytes are stored as one object already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NewBlob {
    /// SHA-256 of its bytes.
    pub sha256: Sha256Digest,
    /// How many bytes.
    pub size: u64,
}

/// A stored piece of an upload: `object` holds the bytes from `start` to `start + len`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// Offset of its first byte in the whole.
    pub start: u64,
    /// Bytes.
    pub len: u64,
    /// The object's path.
    pub object: String,
}

/// A release that is to become a candidate; its manifest's object is stored already.
#[derive(Debug, Clone)]
pub struct NewCandidate {
    /// Its namespace.
    pub namespace: NamespaceName,
    /// Its model.
    pub model: ModelName,
    /// Its version.
    pub version: VersionName,
    /// Its order.
    pub order: ReleaseOrder,
    /// The manifest.
    pub manifest: NewBlob,
    /// Bytes of all its files.
    pub size: u64,
    /// How many files it has.
    pub files: u64,
    /// Every blob that the manifest names: files, chunk indexes, attestations. All must be linked to the namespace.
    pub references: Vec<Sha256Digest>,
    /// Now.
    pub created: Timestamp,
}

/// A candidate that a publication makes visible.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublishRelease {
    /// Its model.
    pub model: ModelName,
    /// Its version.
    pub version: VersionName,
    /// The manifest that was judged; the commit fails if the candidate has another by now.
    pub manifest: Sha256Digest,
}

/// An upload's row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UploadRecord {
    /// Its name in its URL.
    pub id: String,
    /// Its namespace.
    pub namespace: NamespaceName,
    /// SHA-256 as declared.
    pub sha256: Sha256Digest,
    /// Bytes as declared.
    pub size: u64,
    /// Bytes that are safely stored.
    pub offset: u64,
    /// When it last moved.
    pub updated: Timestamp,
}

/// Which namespaces an asker may know of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Viewer {
    /// All.
    Everything,
    /// The public ones, and one private one.
    Public {
        /// The one namespace that the asker's token is for.
        and: Option<NamespaceName>,
    },
}
