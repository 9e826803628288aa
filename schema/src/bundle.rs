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
