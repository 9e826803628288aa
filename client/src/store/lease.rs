//! Leases: an application that uses a release holds a shared lock on it, which collection (A6) respects.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::time::Duration;

use assay_schema::limits::MAX_MANIFEST;
use assay_schema::{ModelRef, ReleaseManifest, Sha256Digest};

use super::error::{Result, StoreError};
use super::records::{self, ActiveRecord, ReleaseRecord};
use super::{Store, names};
use crate::folder::{Folder, io_error};
use crate::hash;

/// The active release of a model, held for as long as this value lives: its folder neither changes nor goes away, whatever is
/// pulled, rolled back or collected meanwhile.
#[derive(Debug)]
pub struct ActiveRelease {
    path: PathBuf,
    manifest: ReleaseManifest,
    digest: Sha256Digest,
    held: bool,
    _lease: File,
}

impl ActiveRelease {
    /// The folder that holds the release's files. They are read-only.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The release manifest.
    pub fn manifest(&self) -> &ReleaseManifest {
        &self.manifest
    }

    /// SHA-256 of the release manifest.
    pub fn manifest_digest(&self) -> Sha256Digest {
        self.digest
    }

    /// Whether the model is held at this release since a rollback.
    pub fn is_held(&self) -> bool {
        self.held
    }
}

impl Store {
    /// The active release, resolved once and leased; `None` if none is. It needs no lock and waits for nobody.
    ///
    /// It says what was verified when the release was activated; it does not read the files again
    /// ([`Device::verify_active`](crate::Device::verify_active) does).
    ///
    /// # Errors
    /// A record is damaged or cannot be read, or the owner's trust policy requires signatures that the release does not have.
    pub fn active(&self, model: &ModelRef) -> Result<Option<ActiveRelease>> {
        let Some(folder) = self.find_model(model)? else {
            return Ok(None);
        };
        // Each round that fails means that another process activated a release meanwhile.
        for _ in 0..50 {
            let Some(record) = active_record(&folder)? else {
                return Ok(None);
            };
            let ReleaseRecord {
                version, endorsed_by, ..
            } = &record.active;
            self.require_kept(model, version, endorsed_by)?;
            match lease(&folder, &record.active)? {
                // Collection removes only what active.json no longer names: if it still names this one now that the lock is
                // ours, the release is whole and stays.
                Some((release, lock)) if active_record(&folder)?.as_ref() == Some(&record) => {
                    let (manifest, _) = manifest(&release, &record.active)?;
                    return Ok(Some(ActiveRelease {
                        path: release.path().join(names::FILES),
                        manifest,
                        digest: record.active.manifest,
                        held: record.held,
                        _lease: lock,
                    }));
                }
                _ => std::thread::sleep(Duration::from_millis(2)),
            }
        }
        Err(StoreError::Damaged {
            path: folder.path().join(names::ACTIVE),
            reason: "it names a release that is not here".to_owned(),
            advice: "Pull the model again",
        })
    }
}

/// `active.json`.
pub(crate) fn active_record(model: &Folder) -> Result<Option<ActiveRecord>> {
    records::load(
        model,
        names::ACTIVE,
        "Remove it and pull again; releases that are here are checked and used",
    )
}

/// The folder of a release and a shared lock on it; `None` if it is not there or is being removed.
pub(crate) fn lease(model: &Folder, record: &ReleaseRecord) -> Result<Option<(Folder, File)>> {
    let Some(releases) = model.find(names::RELEASES)? else {
        return Ok(None);
    };
    let Some(release) = releases.find(record.manifest.to_hex())? else {
        return Ok(None);
    };
    let lock = match release.read_file(names::LEASE) {
        Ok(lock) => lock,
        Err(e) if e.is_absent() => return Ok(None),
        Err(e) => return Err(e.into()),
    };
    match lock.try_lock_shared() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Ok(None),
        Err(TryLockError::Error(e)) => return Err(io_error("lock", release.path(), e).into()),
    }
    // The folder may have been removed, or changed places with a repaired one, between opening and locking.
    let current = releases.find(record.manifest.to_hex())?;
    Ok(current
        .is_some_and(|c| c.is_same(names::LEASE, &lock))
        .then_some((release, lock)))
}

/// The manifest of a release on this device, by the digest that names its folder.
pub(crate) fn manifest(release: &Folder, record: &ReleaseRecord) -> Result<(ReleaseManifest, Vec<u8>)> {
    let damaged = |reason| StoreError::Damaged {
        path: release.path().join(names::MANIFEST),
        reason,
        advice: "Pull the model again to repair it",
    };
    let bytes = release
        .read(names::MANIFEST, MAX_MANIFEST)?
        .ok_or_else(|| damaged("it is missing".to_owned()))?;
    let found = hash::sha256(&bytes);
    if found != record.manifest {
        return Err(damaged(format!(
            "expected SHA-256 {}, found {found}",
            record.manifest
        )));
    }
    let manifest = ReleaseManifest::parse(&bytes).map_err(|e| damaged(e.to_string()))?;
    Ok((manifest, bytes))
}
