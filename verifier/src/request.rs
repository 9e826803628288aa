//! What a driver asks for, and what it is asked to fetch.

use std::collections::BTreeSet;

use assay_schema::bundle::Held;
use assay_schema::{ModelName, Sha256Digest, Stage, VersionName};
use serde::{Deserialize, Serialize};

use crate::consensus::Consensus;

/// Which release of a model is wanted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Want {
    /// The one that is highest in order.
    Highest,
    /// This one; never one below what the device has activated.
    Version(VersionName),
}

/// How the metadata comes to the device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Route {
    /// By check bundle: one request; conditional, if a bundle is cached.
    Bundle {
        /// What the last check used.
        cached: Option<CachedBundle>,
    },
    /// By the static TUF paths; unchanged files come from the cache.
    Static {
        /// What the last check used.
        cached: Option<CachedBundle>,
    },
}

impl Route {
    /// What the last check used.
    pub fn cached(&self) -> Option<&CachedBundle> {
        match self {
            Self::Bundle { cached } | Self::Static { cached } => cached.as_ref(),
        }
    }
}

/// What the last check used. It is a cache: every file in it is judged again, and losing it costs requests only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CachedBundle {
    /// The registry's entity tag for it; `None` when it was put together from static paths.
    pub etag: Option<String>,
    /// A [`CheckBundle`](assay_schema::CheckBundle) as JSON.
    pub bytes: Vec<u8>,
}

/// What to check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckRequest {
    /// The model.
    pub model: ModelName,
    /// Which release.
    pub want: Want,
    /// How the metadata comes.
    pub route: Route,
    /// Stages that must have passed: one that is skipped refuses.
    pub require: BTreeSet<Stage>,
    /// Which other authorities must have signed the release: what the owner's trust policy requires.
    pub consensus: Consensus,
}

/// Something that a registry or mirror holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Resource {
    /// The check bundle of a model for a device with this root version.
    Bundle {
        /// The model.
        model: ModelName,
        /// A certain version; else the highest.
        version: Option<VersionName>,
        /// The version of the root that the device trusts.
        root: u64,
        /// The size of the checkpoint that the device accepted last, if any.
        log: Option<u64>,
        /// What the device has of an earlier bundle: a registry may send the differences from it alone.
        have: Held,
    },
    /// What shows whether a namespace lists a release that is another's: a check bundle without a manifest.
    Endorsement {
        /// The model.
        model: ModelName,
        /// The block of the release: counter / 100.
        block: u64,
        /// The version of the root that the device trusts.
        root: u64,
        /// The size of the checkpoint that the device accepted last, if any.
        log: Option<u64>,
        /// What the device has of an earlier bundle.
        have: Held,
    },
    /// A TUF metadata file by its name: `7.snapshot.json`.
    Metadata {
        /// The name.
        file: String,
    },
    /// A TUF target by its consistent path: `models/minilm/0/<sha256>.1.0.0.json`.
    Target {
        /// The path.
        path: String,
    },
    /// A blob by digest.
    Blob {
        /// The digest.
        sha256: Sha256Digest,
        /// Its length in bytes.
        size: u64,
    },
    /// The proof that a snapshot is in the log ([`LogPart`](assay_schema::bundle::LogPart)).
    LogProof {
        /// The snapshot's version.
        snapshot: u64,
        /// The size of the checkpoint that the device accepted last, if any.
        size: Option<u64>,
    },
    /// The proof that a root is in the log: before one is followed that came since the device's last check.
    RootProof {
        /// The root's version.
        root: u64,
        /// The size of the checkpoint that the device accepted last, if any.
        size: Option<u64>,
    },
}

/// A request to the driver: get this, stop after `max` bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fetch {
    /// What.
    pub resource: Resource,
    /// More bytes than this are refused: the driver stops reading and answers `Failed`.
    pub max: u64,
    /// Make the request conditional on this entity tag (RFC 9110 13.1.2).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub etag: Option<String>,
}

/// What came of a [`Fetch`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The bytes.
    Found {
        /// All of them.
        bytes: Vec<u8>,
        /// Their entity tag, if the answer had one.
        etag: Option<String>,
    },
    /// The entity tag still holds (304).
    NotModified,
    /// There is none (404).
    Missing,
    /// No answer: time-out, too long, 5xx, no network.
    Failed {
        /// For the verdict.
        reason: String,
    },
}
