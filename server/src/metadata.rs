//! What the registry reads out of TUF files: versions, target entries, keys. It judges no signature here; the device's own
//! verifier does, before anything becomes visible.

use std::collections::{BTreeMap, BTreeSet};

use assay_schema::canonical::{self, JsonError};
use assay_schema::limits::{MAX_INTEGER, MAX_ROOT, MAX_TARGETS};
use assay_schema::tuf::{FIELD, TargetNote, TufKey};
use assay_schema::{Sha256Digest, VersionName};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

/// SHA-256 of bytes in memory.
pub use assay_verifier::provenance::sha256;

/// A stored TUF file as text: it was read as JSON before it was stored, so it is UTF-8.
pub fn utf8(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A TUF file that has not the form that the registry needs.
#[derive(Debug, thiserror::Error)]
pub enum BadMetadata {
    /// Not JSON, too long, or fields of another form.
    #[error("{role} metadata: {source}")]
    Json {
        /// The role.
        role: String,
        /// What is wrong.
        source: JsonError,
    },
    /// A field says something else than it should.
    #[error("{role} metadata: {what}: expected {expected}, found {found}")]
    Field {
        /// The role.
        role: String,
        /// The field.
        what: String,
        /// The rule.
        expected: String,
        /// What is there.
        found: String,
    },
}

/// The parts of a targets file, top-level or delegated, that the registry acts on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetsFile {
    /// Its version.
    pub version: u64,
    /// When it ends.
    pub expires: Timestamp,
    /// What it lists, by path.
    pub targets: BTreeMap<String, Target>,
    /// The roles that it delegates to, in order.
    pub delegated: Vec<Delegated>,
}

/// A role that a targets file delegates to.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Delegated {
    /// Its name.
    pub name: String,
    /// Everything else that the delegation says: ids of keys, threshold, paths, terms.
    #[serde(flatten)]
    pub rest: BTreeMap<String, Value>,
}

/// A target's entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Bytes.
    pub length: u64,
    /// SHA-256 of the bytes.
    pub sha256: Sha256Digest,
    /// `custom.x-assay`.
    pub note: TargetNote,
}

/// The parts of a root file that the registry acts on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RootFile {
    /// Its version.
    pub version: u64,
    /// Every key by its id.
    pub keys: BTreeMap<String, TufKey>,
    /// Every role.
    pub roles: BTreeMap<String, RoleKeys>,
}

/// A role's keys.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct RoleKeys {
    /// Ids of the keys.
    pub keyids: Vec<String>,
    /// How many of them must sign.
    pub threshold: u64,
}

#[derive(Deserialize)]
struct Envelope<T> {
    signed: T,
}

#[derive(Deserialize)]
struct RawTargets {
    #[serde(rename = "_type")]
    kind: String,
    version: u64,
    expires: Timestamp,
    targets: BTreeMap<String, RawTarget>,
    delegations: Option<RawDelegations>,
}

#[derive(Deserialize)]
struct RawTarget {
    length: u64,
    hashes: BTreeMap<String, String>,
    #[serde(default)]
    custom: BTreeMap<String, Value>,
}

#[derive(Deserialize)]
struct RawDelegations {
    #[serde(default)]
    roles: Vec<Delegated>,
}

#[derive(Deserialize)]
struct RawRoot {
    #[serde(rename = "_type")]
    kind: String,
    version: u64,
    keys: BTreeMap<String, Value>,
    roles: BTreeMap<String, RoleKeys>,
}

#[derive(Deserialize)]
struct RawVersioned {
    version: u64,
    expires: Timestamp,
}

/// Version and expiry of any role's file.
///
/// # Errors
/// The bytes are not a TUF file.
pub fn version_and_expiry(role: &str, bytes: &[u8]) -> Result<(u64, Timestamp), BadMetadata> {
    let raw: Envelope<RawVersioned> = read(role, bytes, MAX_TARGETS)?;
    Ok((raw.signed.version, raw.signed.expires))
}

impl TargetsFile {
    /// Reads a targets file of this role.
    ///
    /// # Errors
    /// The bytes are not a targets file, or a target has no SHA-256.
    pub fn parse(role: &str, bytes: &[u8]) -> Result<Self, BadMetadata> {
        let raw = read::<Envelope<RawTargets>>(role, bytes, MAX_TARGETS)?.signed;
        expect(role, "_type", "targets", &raw.kind)?;
        if !(1..=MAX_INTEGER).contains(&raw.version) {
            return Err(field(role, "version", "1 to 2^53-1", raw.version));
        }
        let targets = raw
            .targets
            .into_iter()
            .map(|(path, target)| Ok((path.clone(), Target::read(role, &path, target)?)))
            .collect::<Result<_, BadMetadata>>()?;
        let delegated = raw.delegations.map(|d| d.roles).unwrap_or_default();
        Ok(Self {
            version: raw.version,
            expires: raw.expires,
            targets,
            delegated,
        })
    }
}

impl Target {
    fn read(role: &str, path: &str, raw: RawTarget) -> Result<Self, BadMetadata> {
        let digest = raw.hashes.get("sha256").map_or("", String::as_str);
        let sha256 = digest.parse().map_err(|_| {
            field(
                role,
                &format!("hashes.sha256 of {path}"),
                "64 hexadecimal digits",
                digest,
            )
        })?;
        let note = match raw.custom.get(FIELD) {
            None => TargetNote::default(),
            Some(note) => serde_json::from_value(note.clone()).map_err(|e| BadMetadata::Json {
                role: role.to_owned(),
                source: e.into(),
            })?,
        };
        Ok(Self {
            length: raw.length,
            sha256,
            note,
        })
    }
}

impl RootFile {
    /// Reads a root file.
    ///
    /// # Errors
    /// The bytes are not a root file.
    pub fn parse(bytes: &[u8]) -> Result<Self, BadMetadata> {
        let raw = read::<Envelope<RawRoot>>("root", bytes, MAX_ROOT)?.signed;
        expect("root", "_type", "root", &raw.kind)?;
        let keys = raw
            .keys
            .into_iter()
            .map(|(id, key)| match serde_json::from_value(key) {
                Ok(key) => Ok((id, key)),
                Err(e) => Err(BadMetadata::Json {
                    role: "root".to_owned(),
                    source: e.into(),
                }),
            })
            .collect::<Result<_, _>>()?;
        Ok(Self {
            version: raw.version,
            keys,
            roles: raw.roles,
        })
    }

    /// The keys of a role; ids without a key are left out.
    pub fn keys_of<'a>(&'a self, role: &str) -> BTreeSet<&'a TufKey> {
        let ids = self
            .roles
            .get(role)
            .map(|r| r.keyids.as_slice())
            .unwrap_or_default();
        ids.iter().filter_map(|id| self.keys.get(id)).collect()
    }

    /// How many signatures a role needs; 0 if there is no such role.
    pub fn threshold(&self, role: &str) -> u64 {
        self.roles.get(role).map_or(0, |r| r.threshold)
    }
}

/// The version in `models/<model>/<block>/<version>.json`, for paths below that folder.
pub fn version_in_path(folder: &str, path: &str) -> Option<VersionName> {
    path.strip_prefix(folder)?
        .strip_prefix('/')?
        .strip_suffix(".json")?
        .parse()
        .ok()
}

fn read<T: serde::de::DeserializeOwned>(role: &str, bytes: &[u8], limit: u64) -> Result<T, BadMetadata> {
    canonical::read(bytes, limit).map_err(|source| BadMetadata::Json {
        role: role.to_owned(),
        source,
    })
}

fn expect(role: &str, what: &str, expected: &str, found: &str) -> Result<(), BadMetadata> {
    if expected == found {
        Ok(())
    } else {
        Err(field(role, what, expected, found))
    }
}

fn field(role: &str, what: &str, expected: impl ToString, found: impl ToString) -> BadMetadata {
    BadMetadata::Field {
        role: role.to_owned(),
        what: what.to_owned(),
        expected: expected.to_string(),
        found: found.to_string().chars().take(120).collect(),
    }
}
