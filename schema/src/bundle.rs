//! The check bundle: everything that a device needs for stages 1 to 6, in one answer.

use serde::{Deserialize, Serialize};

use crate::digest::Sha256Digest;

/// The unmodified TUF files, manifest and attestations for one model, from the registry's present state.
///
/// It proves nothing by itself: a device treats each part as if it had fetched it from its static path, and fetches from there
/// what is missing. Files are their exact bytes as text (TUF files, manifests and Sigstore bundles are UTF-8 JSON).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "json-schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CheckBundle {
    /// The bundle's version: 1.
    pub v: u32,
    /// Root files above the version that the device named, ascending.
    #[serde(default)]
    pub roots: Vec<String>,
    /// The current timestamp.
    pub timestamp: String,
    /// The snapshot that it names.
    pub snapshot: String,
    /// The top-level targets.
    pub targets: String,
    /// Delegated roles: the one that lists the release.
    #[serde(default)]
    pub delegated: Vec<RoleFile>,
    /// Targets: the release manifest, and `trust/*` where they are not inline.
    #[serde(default)]
    pub blobs: Vec<BundledBlob>,
    /// The snapshot's place in the transparency log, where the namespace names one and the snapshot is in it by now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<LogPart>,
}

/// Proof that a snapshot is in the transparency log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "json-schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LogPart {
    /// A `c2sp.org/tlog-proof@v1` file: the snapshot's leaf in the first checkpoint that covers it and has the cosignatures of all the
    /// witnesses that the registry asks, or most of them so far. Once it has all it never changes.
    pub proof: String,
    /// The consistency proof (RFC 9162 section 2.1.4) between the size that the device named and the proof's checkpoint, whichever
    /// is smaller first; `None` where no size was named or the registry never published one of that size.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub consistency: Option<Vec<Sha256Digest>>,
}

/// A delegated role's metadata.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "json-schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RoleFile {
    /// The role's name.
    pub role: String,
    /// The exact bytes of its metadata.
    pub metadata: String,
}

/// A manifest, attestation or `trust/*` target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "json-schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct BundledBlob {
    /// SHA-256 of the bytes of `content`.
    pub sha256: Sha256Digest,
    /// The exact bytes.
    pub content: String,
}
