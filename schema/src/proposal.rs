//! Proposals as the registry keeps them: publications that some of their signers have not signed yet.
//!
//! The registry collects signatures and shows them. That somebody signed is for whoever reads this to verify: the signatures come
//! along, and the keys that count are those of metadata that the reader verified.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::api::Publication;
use crate::digest::Sha256Digest;

/// A signature of a TUF file, as the file carries it (TUF 4.2.1).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "json-schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RoleSignature {
    /// The id of the key: hexadecimal SHA-256 of its canonical JSON.
    pub keyid: String,
    /// The signature in hexadecimal.
    pub sig: String,
}

/// Adds signatures to a proposal.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "json-schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AddSignatures {
    /// By the role whose file they sign.
    pub roles: BTreeMap<String, Vec<RoleSignature>>,
}

/// What became of a proposal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(feature = "json-schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum ProposalStanding {
    /// Every file that it replaces is the current one: it may be signed and published.
    Open,
    /// Another publication came first; the signatures are void.
    Superseded,
    /// It was published.
    Published,
}

/// How many keys of one set must sign a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "json-schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ProposalThreshold {
    /// The set of keys, for people.
    pub of: String,
    /// How many must sign.
    pub threshold: u64,
    /// How many did.
    pub signed: u64,
    /// Ids of the keys.
    pub keys: Vec<String>,
}

/// One file of a proposal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "json-schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ProposedFile {
    /// Its version.
    pub version: u64,
    /// SHA-256 of the file that it replaces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<Sha256Digest>,
    /// The signatures that there are.
    pub signatures: Vec<RoleSignature>,
    /// What they have to meet; empty unless the proposal is open.
    pub thresholds: Vec<ProposalThreshold>,
}

/// A proposal without the content of its files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "json-schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ProposalInfo {
    /// SHA-256 of its canonical content without signatures: who knows the id knows whether a proposal is the one.
    pub id: Sha256Digest,
    /// What became of it.
    pub standing: ProposalStanding,
    /// Its files by role.
    pub files: BTreeMap<String, ProposedFile>,
    /// When it was made.
    #[cfg_attr(feature = "json-schema", schemars(with = "String"))]
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub created: Timestamp,
    /// When it was signed last. Proposals that nobody goes on with are forgotten.
    #[cfg_attr(feature = "json-schema", schemars(with = "String"))]
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub updated: Timestamp,
}

/// A proposal with its files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "json-schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ProposalDetail {
    /// What it is.
    pub proposal: ProposalInfo,
    /// Its files with the signatures that there are, as they would be published.
    pub publication: Publication,
}
