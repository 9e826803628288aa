//! `status.json`: what an authority restricts, in a role of its own with a short expiry.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::canonical::{self, JsonError};
use crate::digest::Sha256Digest;
use crate::limits::MAX_STATUS;
use crate::name::{ModelName, VersionName};
use crate::order::ReleaseOrder;

/// The delegated role that signs [`Status`]: terminating, for the one path [`TARGET`].
pub const ROLE: &str = "status";
/// The TUF target that holds [`Status`], always inside its own entry.
pub const TARGET: &str = "status.json";

/// What the authority restricts. It can only restrict: a field that a reader does not know could be a restriction, so unknown
/// fields are refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "json-schema", derive(schemars::JsonSchema))]
pub struct Status {
    /// The document's version: 1.
    pub v: u32,
    /// When it was written.
    #[cfg_attr(feature = "json-schema", schemars(with = "String"))]
    pub issued: Timestamp,
    /// The least version of roles, by their names.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub versions: BTreeMap<String, u64>,
    /// The least order of a model's releases.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub orders: BTreeMap<ModelName, ReleaseOrder>,
    /// Releases that no device takes any more.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub revoked_releases: Vec<RevokedRelease>,
    /// Ids of keys: a targets file that one of them signed is refused, whoever else signed it.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub revoked_keys: BTreeSet<String>,
}

/// A revoked release: by its version, by its manifest's digest, or by both.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "json-schema", derive(schemars::JsonSchema))]
pub struct RevokedRelease {
    /// Its model.
    pub model: ModelName,
    /// Its version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<VersionName>,
    /// SHA-256 of its manifest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest: Option<Sha256Digest>,
    /// Why, for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
}

impl Status {
    /// A status that restricts nothing.
    pub const fn new(issued: Timestamp) -> Self {
        Self {
            v: 1,
            issued,
            versions: BTreeMap::new(),
            orders: BTreeMap::new(),
            revoked_releases: Vec::new(),
            revoked_keys: BTreeSet::new(),
        }
    }

    /// Reads the document.
    ///
    /// # Errors
    /// Not JSON of this form, too long, another version, or a revocation that names neither version nor manifest.
    pub fn parse(bytes: &[u8]) -> Result<Self, JsonError> {
        let status: Self = canonical::read(bytes, MAX_STATUS)?;
        let wrong = |what: String| JsonError::Parse(serde::de::Error::custom(what));
        if status.v != 1 {
            return Err(wrong(format!("expected version 1, found {}", status.v)));
        }
        let nameless = |r: &&RevokedRelease| r.version.is_none() && r.manifest.is_none();
        match status.revoked_releases.iter().find(nameless) {
            Some(r) => Err(wrong(format!(
                "a revoked release of {}: expected its version or its manifest, found neither",
                r.model
            ))),
            None => Ok(status),
        }
    }

    /// The revocation that this release falls under, if there is one.
    pub fn revocation(
        &self,
        model: &ModelName,
        version: &VersionName,
        manifest: &Sha256Digest,
    ) -> Option<&RevokedRelease> {
        // Either name suffices: it must not help to publish the same content under another version.
        self.revoked_releases.iter().find(|r| {
            r.model == *model
                && (r.version.as_ref() == Some(version) || r.manifest.as_ref() == Some(manifest))
        })
    }
}
