//! What the signing journal knows of the newest state: no signature is made on top of an older one.
//!
//! `state.json` holds what this folder trusted last, the floors of every check. The journal is the second witness: a body of version
//! N was signed on top of N - 1, whatever became of it.

use std::collections::BTreeMap;

use assay_authority::metadata::Root;
use assay_schema::Sha256Digest;
use assay_schema::limits::MAX_ROOT;
use assay_verifier::{DeviceState, Pin};
use jiff::Timestamp;
use serde_json::Value;

use super::authority::AuthorityFolder;
use super::import::Export;
use super::journal::{self, JournalEntry};
use super::proposal::Proposal;
use super::{PublishError, Publisher};
use crate::transport::{Fetched, paths};

/// A role of which this folder signed a later version than the registry has: it was not published, or the registry withholds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unpublished {
    /// The role.
    pub role: String,
    /// The highest version that this folder signed.
    pub signed: u64,
    /// The registry's version, 0 for none.
    pub stands: u64,
}

impl AuthorityFolder {
    fn signed_for(&self, namespace: Sha256Digest) -> Result<Vec<JournalEntry>, PublishError> {
        let mut entries = self.journal()?;
        entries.retain(|entry| entry.namespace == namespace);
        Ok(entries)
    }

    /// Whether this folder signed anything behind a namespace's creation: then it has trusted a state, and kept it.
    pub(super) fn trusted_before(&self, namespace: Sha256Digest) -> Result<bool, PublishError> {
        let entries = self.signed_for(namespace)?;
        let first = |e: &JournalEntry| e.version == 1 && matches!(e.role.as_str(), "root" | "targets");
        Ok(!entries.iter().all(first))
    }
}

impl Publisher {
    /// Refuses an export that is older than what this folder signed for the namespace: a revocation may be missing in it. What the
    /// move itself would sign is left to the journal, which never lets two bodies of one version through.
    ///
    /// # Errors
    /// [`PublishError::OlderExport`], or the journal cannot be read.
    pub fn check_newest(&self, export: &Export, proposal: &Proposal) -> Result<(), PublishError> {
        let record = self.folder.namespace()?;
        let stands = export.versions()?;
        for entry in self.folder.signed_for(record.identity)? {
            let found = stands.get(&entry.role).copied().unwrap_or(0);
            let own = match proposal.publication.roles.get(&entry.role) {
                Some(file) => journal::body(&entry.role, &file.metadata)?.0 == entry.version,
                None => false,
            };
            if entry.version > found && !own {
                return Err(PublishError::OlderExport {
                    role: entry.role,
                    signed: entry.version,
                    found,
                });
            }
        }
        Ok(())
    }

    /// Reads again from the registry what this folder trusted last, where `state.json` is gone, but never less than what its journal
    /// says that its signatures built on. `None` where nothing is missing.
    ///
    /// # Errors
    /// The registry's metadata does not verify, or is older than what this folder signed on top of. The folder stays as it was.
    pub fn restore_state(&self, now: Timestamp) -> Result<Option<Vec<Unpublished>>, PublishError> {
        let record = self.folder.namespace()?;
        if self.folder.has_state()? || !self.folder.trusted_before(record.identity)? {
            return Ok(None);
        }
        let path = paths::metadata(&record.name, "1.root.json");
        let root = match self.transport.get(&path, MAX_ROOT, None)? {
            Fetched::Found { bytes, .. } => bytes,
            Fetched::Missing | Fetched::NotModified => return Err(PublishError::Missing { what: path }),
        };
        let pin = Pin::new(record.name.clone(), record.identity);
        self.folder.save_state(&DeviceState::first(&pin, &root)?)?;
        let restored = self.base(&record, None, now).and_then(|_| {
            let state = self.folder.state(&pin)?;
            behind(&self.folder.signed_for(record.identity)?, &state)
        });
        if restored.is_err() {
            self.folder.remove_state()?;
        }
        restored.map(Some)
    }
}

/// Of which roles the state has less than was signed; a state that is older than what was signed on top of is refused.
fn behind(entries: &[JournalEntry], state: &DeviceState) -> Result<Vec<Unpublished>, PublishError> {
    let snapshot = state.snapshot.as_deref().unwrap_or_default();
    let snapshot: Value = serde_json::from_str(snapshot).unwrap_or_default();
    let root = Root::read(state.root.as_bytes())?.version()?;
    let mut highest: BTreeMap<&str, u64> = BTreeMap::new();
    for entry in entries {
        let signed = highest.entry(&entry.role).or_default();
        *signed = entry.version.max(*signed);
    }
    let mut behind = Vec::new();
    for (role, signed) in highest {
        let listed = || {
            let meta = snapshot.get("signed")?.get("meta")?;
            meta.get(format!("{role}.json"))?.get("version")?.as_u64()
        };
        let stands = if role == "root" {
            root
        } else {
            listed().unwrap_or(0)
        };
        if stands + 1 < signed {
            return Err(PublishError::OlderRegistry {
                role: role.to_owned(),
                signed,
                found: stands,
            });
        }
        if stands < signed {
            behind.push(Unpublished {
                role: role.to_owned(),
                signed,
                stands,
            });
        }
    }
    Ok(behind)
}
