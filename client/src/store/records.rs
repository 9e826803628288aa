//! The store's own small JSON files.

use std::collections::BTreeSet;

use assay_schema::{NamespaceName, ReleaseOrder, Sha256Digest, VersionName};
use assay_verifier::Terms;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::error::{Result, StoreError};
use crate::folder::Folder;

/// The largest record: `state.json` holds a root, timestamps and a snapshot as quoted text, twice while a root waits for its log.
const MAX_RECORD: u64 = 48 << 20;

/// `pin.json`: what a namespace is known by, and where its registry is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PinRecord {
    /// The record's version: 1.
    pub v: u32,
    /// The registry's address.
    pub registry: String,
    /// The namespace's name there.
    pub namespace: NamespaceName,
    /// SHA-256 of its first root file.
    pub identity: Sha256Digest,
    /// Nobody gave the fingerprint: the registry's first answer was believed.
    pub first_use: bool,
    /// What the device's owner demands beside.
    #[serde(default, skip_serializing_if = "Terms::is_empty")]
    pub terms: Terms,
}

/// One release on this device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReleaseRecord {
    /// SHA-256 of its manifest; the name of its folder.
    pub manifest: Sha256Digest,
    /// Its version.
    pub version: VersionName,
    /// Its order.
    pub order: ReleaseOrder,
    /// Identities of the other authorities that had signed it when it was activated, of those that were required then.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub endorsed_by: BTreeSet<Sha256Digest>,
}

/// `active.json`: which release is active, and which were before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ActiveRecord {
    /// The record's version: 1.
    pub v: u32,
    /// Rolled back and not resumed: no update until then.
    pub held: bool,
    /// The active release.
    pub active: ReleaseRecord,
    /// Releases that were active before and are kept, the last one first.
    pub kept: Vec<ReleaseRecord>,
}

impl ActiveRecord {
    /// The record after `next` becomes active; at most `keep` releases stay named, the active one included.
    pub(crate) fn with(previous: Option<Self>, next: ReleaseRecord, held: bool, keep: usize) -> Self {
        let mut kept: Vec<_> = previous.map_or_else(Vec::new, |p| {
            let mut all = vec![p.active];
            all.extend(p.kept);
            all
        });
        kept.retain(|r| r.manifest != next.manifest);
        kept.truncate(keep.max(1) - 1);
        Self {
            v: 1,
            held,
            active: next,
            kept,
        }
    }

    /// The active release and those kept, the active first.
    pub(crate) fn all(&self) -> impl Iterator<Item = &ReleaseRecord> {
        std::iter::once(&self.active).chain(&self.kept)
    }
}

/// Reads a record; `None` where there is none.
pub(crate) fn load<T: DeserializeOwned>(
    folder: &Folder,
    name: &str,
    advice: &'static str,
) -> Result<Option<T>> {
    let Some(bytes) = folder.read(name, MAX_RECORD)? else {
        return Ok(None);
    };
    let damaged = |reason| StoreError::Damaged {
        path: folder.path().join(name),
        reason,
        advice,
    };
    #[derive(Deserialize)]
    struct Version {
        v: u32,
    }
    let version: Version = serde_json::from_slice(&bytes)
        .map_err(|e| damaged(format!("expected a record of this store: {e}")))?;
    if version.v != 1 {
        return Err(damaged(format!(
            "expected a record of version 1, found {}",
            version.v
        )));
    }
    match serde_json::from_slice(&bytes) {
        Ok(record) => Ok(Some(record)),
        Err(e) => Err(damaged(format!("expected a record of this store: {e}"))),
    }
}

/// Writes a record in one step.
pub(crate) fn save<T: Serialize>(folder: &Folder, name: &str, record: &T) -> Result<()> {
    let bytes = serde_json::to_vec_pretty(record).map_err(|e| StoreError::Damaged {
        path: folder.path().join(name),
        reason: format!("it cannot be written as JSON: {e}"),
        advice: "This is an error in Assay; please report it",
    })?;
    Ok(folder.replace(name, &bytes, 0o644)?)
}
