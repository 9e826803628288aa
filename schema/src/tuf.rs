//! Where Assay's things stand in a TUF repository: role names, target paths, and the `x-assay` binding.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::digest::Sha256Digest;
use crate::name::{ModelName, VersionName};
use crate::order::ReleaseOrder;

/// The TUF specification that Assay writes.
pub const SPEC_VERSION: &str = "1.0.31";
/// The field of `signed` that holds [`Binding`], and the field of `custom` or a delegation that holds Assay's additions.
pub const FIELD: &str = "x-assay";

/// `x-assay` in the `signed` part of every role but root: TUF's signed bytes name neither the repository nor the role, so that
/// one namespace's file could be served as another's wherever they share a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Binding {
    /// SHA-256 of the namespace's first root file.
    pub namespace: Sha256Digest,
    /// The role's name: `targets`, `snapshot`, `timestamp`, or a delegated role's.
    pub role: String,
    /// When the registry signed a timestamp: the age of the state that a device rests on. TUF's own fields say only until when it
    /// holds. Other roles do without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issued: Option<Timestamp>,
}

/// `x-assay` in the delegation of a model's role.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DelegationTerms {
    /// The highest epoch that the delegated role may give a release.
    pub max_epoch: u64,
}

/// `x-assay` in the `custom` of a target.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct TargetNote {
    /// A release's order, so that a device finds the highest without fetching every manifest. The manifest must say the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<ReleaseOrder>,
    /// The target's own bytes, where they are few: the entry's length and hashes decide whether they are right. Saves a request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inline: Option<String>,
}

/// A public key as TUF writes it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "json-schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TufKey {
    /// `ed25519` or `ecdsa`.
    pub keytype: String,
    /// `ed25519`, `ecdsa-sha2-nistp256` or `ecdsa-sha2-nistp384`.
    pub scheme: String,
    /// The key itself.
    pub keyval: TufKeyValue,
}

/// The key itself.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "json-schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TufKeyValue {
    /// Hexadecimal of 32 bytes for Ed25519, PEM SubjectPublicKeyInfo for ECDSA.
    pub public: String,
}

/// A delegated role of Assay: the releases of one model in one block of 100.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ModelRole {
    /// The model.
    pub model: ModelName,
    /// `counter / 100`.
    pub block: u64,
}

impl ModelRole {
    /// The role that signs a release of this order.
    pub fn of(model: &ModelName, order: ReleaseOrder) -> Self {
        Self {
            model: model.clone(),
            block: order.block(),
        }
    }

    /// `model.<model>.<block>`.
    pub fn name(&self) -> String {
        format!("model.{}.{}", self.model, self.block)
    }

    /// Reads [`ModelRole::name`] back; `None` for any other role.
    pub fn parse(name: &str) -> Option<Self> {
        let (model, block) = name.strip_prefix("model.")?.rsplit_once('.')?;
        let role = Self {
            model: model.parse().ok()?,
            block: block.parse().ok()?,
        };
        // Only one spelling: no "00", no "+1".
        (role.name() == name).then_some(role)
    }

    /// The one path pattern that the role is trusted for.
    pub fn pattern(&self) -> String {
        format!("{}*", self.prefix())
    }

    /// What all its target paths begin with: `models/<model>/<block>/`.
    pub fn prefix(&self) -> String {
        format!("models/{}/{}/", self.model, self.block)
    }

    /// The target path of a release's manifest.
    pub fn manifest_path(&self, version: &VersionName) -> String {
        format!("{}{version}.json", self.prefix())
    }
}

/// The file name of a role's metadata with consistent snapshots: `VERSION.ROLE.json`.
pub fn metadata_file(role: &str, version: u64) -> String {
    format!("{version}.{role}.json")
}

/// The path of a target with consistent snapshots: `dir/SHA256.name`.
pub fn consistent_target(path: &str, sha256: &Sha256Digest) -> String {
    match path.rsplit_once('/') {
        Some((dir, name)) => format!("{dir}/{sha256}.{name}"),
        None => format!("{sha256}.{path}"),
    }
}
