//! What Assay logs: every root and every snapshot of every namespace.

use assay_schema::Sha256Digest;
use assay_schema::canonical::{self, JsonError};
use assay_schema::limits::{MAX_INTEGER, MAX_LOG_ENTRY};
use serde::{Deserialize, Serialize};

use crate::merkle::leaf_hash;

/// The form of the leaves that this software makes and reads.
pub const LEAF_VERSION: u32 = 1;

/// Which file of a namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LeafKind {
    /// `N.root.json`.
    Root,
    /// `N.snapshot.json`, which names every other file of the namespace by version, length and hash.
    Snapshot,
}

/// One state of a namespace. One proof of a snapshot's leaf binds every file that the snapshot names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Fields", into = "Fields")]
pub struct Leaf {
    namespace: Sha256Digest,
    kind: LeafKind,
    version: u64,
    sha256: Sha256Digest,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields {
    v: u32,
    namespace: Sha256Digest,
    kind: LeafKind,
    version: u64,
    sha256: Sha256Digest,
}

/// Bytes that are no leaf of Assay's.
#[derive(Debug, thiserror::Error)]
pub enum LeafError {
    /// A leaf of another version of the format.
    #[error("log leaf: expected version {LEAF_VERSION} of the format, found {found}; update the software")]
    Format {
        /// The version of the format.
        found: u32,
    },
    /// A version that no TUF file has.
    #[error("log leaf: expected a file's version from 1 to 2^53-1, found {found}")]
    Version {
        /// The version.
        found: u64,
    },
    /// Not the canonical JSON of a leaf.
    #[error("log leaf: {0}")]
    Json(#[from] JsonError),
}

impl Leaf {
    /// The leaf of a file: `namespace` is the namespace's identity (the SHA-256 of its `1.root.json`), `sha256` the file's digest.
    ///
    /// # Errors
    /// The version is 0 or over 2^53-1.
    pub fn new(
        namespace: Sha256Digest,
        kind: LeafKind,
        version: u64,
        sha256: Sha256Digest,
    ) -> Result<Self, LeafError> {
        match (1..=MAX_INTEGER).contains(&version) {
            true => Ok(Self {
                namespace,
                kind,
                version,
                sha256,
            }),
            false => Err(LeafError::Version { found: version }),
        }
    }

    /// Reads an entry of the log.
    ///
    /// # Errors
    /// Too long, or not the canonical JSON of a leaf.
    pub fn parse(entry: &[u8]) -> Result<Self, LeafError> {
        let fields: Fields = canonical::read_document(entry, MAX_LOG_ENTRY as u64)?;
        fields.try_into()
    }

    /// The entry's bytes: canonical JSON.
    ///
    /// # Errors
    /// None in practice: a leaf has a canonical form.
    pub fn to_bytes(&self) -> Result<Vec<u8>, LeafError> {
        Ok(canonical::document(self)?)
    }

    /// The entry's hash in the tree.
    ///
    /// # Errors
    /// As [`Self::to_bytes`].
    pub fn hash(&self) -> Result<Sha256Digest, LeafError> {
        Ok(leaf_hash(&self.to_bytes()?))
    }

    /// The namespace's identity.
    pub fn namespace(&self) -> Sha256Digest {
        self.namespace
    }

    /// Which file.
    pub fn kind(&self) -> LeafKind {
        self.kind
    }

    /// The file's version.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// The file's digest.
    pub fn sha256(&self) -> Sha256Digest {
        self.sha256
    }
}

impl TryFrom<Fields> for Leaf {
    type Error = LeafError;

    fn try_from(fields: Fields) -> Result<Self, LeafError> {
        match fields.v {
            LEAF_VERSION => Self::new(fields.namespace, fields.kind, fields.version, fields.sha256),
            found => Err(LeafError::Format { found }),
        }
    }
}

impl From<Leaf> for Fields {
    fn from(leaf: Leaf) -> Self {
        let Leaf {
            namespace,
            kind,
            version,
            sha256,
        } = leaf;
        Self {
            v: LEAF_VERSION,
            namespace,
            kind,
            version,
            sha256,
        }
    }
}
