//! The check bundle: everything that a device needs for stages 1 to 6, in one answer.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::difference::Part;
use crate::digest::Sha256Digest;
use crate::limits::{MAX_HELD, MAX_HELD_ROLES, MAX_INTEGER};
use crate::name::VersionName;
use crate::tuf::ModelRole;

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

/// A [`CheckBundle`] for a device that has an earlier one: each file as the difference from the version that the device named in
/// [`Held`], or whole where it named none.
///
/// Every whole bundle reads as one of these, too.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "json-schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct BundleDifference {
    /// The bundle's version: 1.
    pub v: u32,
    /// Root files above the version that the device named, ascending.
    #[serde(default)]
    pub roots: Vec<String>,
    /// The current timestamp.
    pub timestamp: String,
    /// The snapshot that it names.
    pub snapshot: Part,
    /// The top-level targets.
    pub targets: Part,
    /// Delegated roles, each against the version of the same role.
    #[serde(default)]
    pub delegated: Vec<RolePart>,
    /// Targets: the release manifest, and `trust/*` where they are not inline.
    #[serde(default)]
    pub blobs: Vec<BlobPart>,
    /// The snapshot's place in the transparency log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<LogPart>,
}

/// A delegated role's metadata, or its difference.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "json-schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RolePart {
    /// The role's name.
    pub role: String,
    /// Its metadata.
    pub metadata: Part,
}

/// A manifest, attestation or `trust/*` target, or its difference.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "json-schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct BlobPart {
    /// SHA-256 of the bytes.
    pub sha256: Sha256Digest,
    /// The blob that `content` is the difference from; itself, where the device has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<Sha256Digest>,
    /// The bytes.
    pub content: Part,
}

/// What a device names of an earlier bundle that it has, so that only the difference is sent. As text
/// `snapshot:12,targets:3,model.minilm.0:7,release:1.2.0`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Held {
    /// Versions of its snapshot, top-level targets, status and model roles.
    pub roles: BTreeMap<String, u64>,
    /// The release whose manifest and attestations it has.
    pub release: Option<VersionName>,
}

/// Text that is no [`Held`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "have: expected at most {MAX_HELD_ROLES} of snapshot, targets, status and model.<model>.<block>, each once and with its version, and \
     at most one release, as in snapshot:12,release:1.2.0; found {found:?}"
)]
pub struct BadHeld {
    /// The beginning of the text, or the part that is wrong.
    pub found: String,
}

const RELEASE: &str = "release";

impl Held {
    /// Whether a device may name this role.
    pub fn names(role: &str) -> bool {
        matches!(role, "snapshot" | "targets" | "status") || ModelRole::parse(role).is_some()
    }

    /// Whether there is nothing to name.
    pub fn is_empty(&self) -> bool {
        self.roles.is_empty() && self.release.is_none()
    }
}

impl fmt::Display for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut between = "";
        for (role, version) in &self.roles {
            write!(f, "{between}{role}:{version}")?;
            between = ",";
        }
        match &self.release {
            Some(release) => write!(f, "{between}{RELEASE}:{release}"),
            None => Ok(()),
        }
    }
}

impl FromStr for Held {
    type Err = BadHeld;

    fn from_str(text: &str) -> Result<Self, BadHeld> {
        let bad = |found: &str| BadHeld {
            found: found.chars().take(80).collect(),
        };
        if text.len() > MAX_HELD {
            return Err(bad(text));
        }
        let mut held = Self::default();
        for part in text.split(',').filter(|part| !part.is_empty()) {
            let (name, version) = part.split_once(':').ok_or_else(|| bad(part))?;
            if name == RELEASE {
                let version = version.parse().map_err(|_| bad(part))?;
                if held.release.replace(version).is_some() {
                    return Err(bad(part));
                }
                continue;
            }
            let number: u64 = version.parse().map_err(|_| bad(part))?;
            let fine = Self::names(name) && number.to_string() == version && number <= MAX_INTEGER;
            if !fine || held.roles.insert(name.to_owned(), number).is_some() {
                return Err(bad(part));
            }
        }
        match held.roles.len() <= MAX_HELD_ROLES {
            true => Ok(held),
            false => Err(bad(text)),
        }
    }
}

impl TryFrom<String> for Held {
    type Error = BadHeld;

    fn try_from(text: String) -> Result<Self, BadHeld> {
        text.parse()
    }
}

impl From<Held> for String {
    fn from(held: Held) -> Self {
        held.to_string()
    }
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
