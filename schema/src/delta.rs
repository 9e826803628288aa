//! Deltas as the API names them. Their bytes are described in `schema/delta.md`; nobody signs them, and nobody trusts them.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::digest::Sha256Digest;

/// The most deltas that one answer lists, and the most bases that one request may ask for.
pub const MAX_DELTAS: usize = 64;

/// Who made a delta. It says nothing of its worth: what comes out of it is checked either way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(feature = "json-schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum DeltaMaker {
    /// A publisher attached it.
    Publisher,
    /// The registry made it by itself.
    Registry,
}

/// A delta that the registry serves: the blob `blob`, of which a device fetches the first `index` bytes and then the frames that it needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "json-schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DeltaInfo {
    /// SHA-256 of the manifest of the release that it builds on.
    pub base: Sha256Digest,
    /// SHA-256 of the manifest of the release that it leads to.
    pub target: Sha256Digest,
    /// SHA-256 of the delta's bytes.
    pub blob: Sha256Digest,
    /// Bytes of the delta.
    pub size: u64,
    /// Bytes of header and index, with which it begins.
    pub index: u64,
    /// Bytes of the target's files.
    pub full: u64,
    /// Who made it.
    pub made_by: DeltaMaker,
    /// When it was made or attached.
    #[cfg_attr(feature = "json-schema", schemars(with = "String"))]
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub created: Timestamp,
}

/// The deltas that lead to a release, the smallest first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "json-schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DeltaList {
    /// At most [`MAX_DELTAS`].
    pub items: Vec<DeltaInfo>,
}

/// Attaches a delta that its publisher made and uploaded as a blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "json-schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AttachDelta {
    /// SHA-256 of the manifest of the release that it builds on.
    pub base: Sha256Digest,
    /// SHA-256 of the manifest of the release that it leads to.
    pub target: Sha256Digest,
    /// SHA-256 of the delta's bytes.
    pub blob: Sha256Digest,
}
