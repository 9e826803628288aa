//! The one writer of a store. Each function here is one durable step; `ARCHITECTURE.md` says what a crash behind it leaves.

use std::fs::{File, TryLockError};

use assay_schema::{ModelName, ModelRef, NamespaceName};
use assay_verifier::{CachedBundle, DeviceState};

use super::error::{Result, StoreError};
use super::records::{self, ActiveRecord, PinRecord, ReleaseRecord};
use super::staging::Staging;
use super::{ActivateStep, Lock, Store, active_record, names, subfolders};
use crate::folder::{Folder, Kind, io_error};

/// Holds the store's lock; only it writes.
pub(crate) struct Writer<'s> {
    store: &'s Store,
    _lock: Lock,
}

impl<'s> Writer<'s> {
    pub(super) fn new(store: &'s Store, lock: Lock) -> Self {
        Self { store, _lock: lock }
    }

    pub(super) fn store(&self) -> &'s Store {
        self.store
    }

    fn namespace(&self, namespace: &NamespaceName) -> Result<Folder> {
        Ok(self
            .store
            .root
            .ensure_sub(names::NAMESPACES)?
            .ensure_sub(namespace.as_str())?)
    }

    fn model(&self, model: &ModelRef) -> Result<Folder> {
        let models = self.namespace(&model.namespace)?.ensure_sub(names::MODELS)?;
        Ok(models.ensure_sub(model.model.as_str())?)
    }

    /// T1. The pin comes last: without it the namespace is not trusted, and adding it again begins anew.
    pub(crate) fn trust(&self, pin: &PinRecord, first: Option<&DeviceState>) -> Result<()> {
        let folder = self.namespace(&pin.namespace)?;
        if let Some(state) = first {
            records::save(&folder, names::STATE, state)?;
        }
        records::save(&folder, names::PIN, pin)?;
        self.store.root.sub(names::NAMESPACES)?.sync()?;
        self.store.root.sync()?;
        self.store.step(ActivateStep::Trust)
    }

    /// T2, and A6 for what is left behind. The folder goes as a whole, floors and releases with the pin: a namespace that is
    /// added later under the same name finds nothing of it. `false` if there is none.
    pub(crate) fn forget(&self, namespace: &NamespaceName) -> Result<bool> {
        let Some(all) = self.store.root.find(names::NAMESPACES)? else {
            return Ok(false);
        };
        // What an earlier run left that was stopped behind T2.
        self.clear_removed(&all)?;
        let Some(folder) = all.find(namespace.as_str())? else {
            return Ok(false);
        };
        // Held until the folder is away: nobody begins to use a release meanwhile.
        let _leases = self.take_leases(&folder)?;
        all.rename(namespace.as_str(), &all, names::REMOVED)?;
        all.sync()?;
        self.store.step(ActivateStep::Forget)?;
        self.clear_removed(&all)?;
        Ok(true)
    }

    fn clear_removed(&self, all: &Folder) -> Result<()> {
        if all.kind(names::REMOVED)?.is_none() {
            return Ok(());
        }
        all.remove_tree(names::REMOVED)?;
        self.store.step(ActivateStep::Collect)
    }

    /// The leases of all releases of a namespace, which nobody else may hold.
    fn take_leases(&self, namespace: &Folder) -> Result<Vec<File>> {
        let mut leases = Vec::new();
        for model in subfolders::<ModelName>(namespace.find(names::MODELS)?)? {
            let models = namespace.sub(names::MODELS)?;
            let Some(releases) = models.sub(model.as_str())?.find(names::RELEASES)? else {
                continue;
            };
            for (name, kind) in releases.entries()? {
                if kind != Kind::Folder {
                    continue;
                }
                let release = releases.sub(&name)?;
                match take_lease(&release)? {
                    Lease::Taken(lease) => leases.push(lease),
                    Lease::Absent => {}
                    Lease::Held => {
                        return Err(StoreError::InUse {
                            path: release.path().to_owned(),
                        });
                    }
                }
            }
        }
        Ok(leases)
    }

    /// S1.
    pub(crate) fn state(&self, namespace: &NamespaceName, state: &DeviceState) -> Result<()> {
        records::save(&self.namespace(namespace)?, names::STATE, state)?;
        self.store.step(ActivateStep::State)
    }

    /// S1, the convenience part: what the next check may ask the registry to compare with.
    pub(crate) fn cache(&self, model: &ModelRef, bundle: &CachedBundle) -> Result<()> {
        self.cache_as(model, names::CHECK, bundle)
    }

    /// As [`Writer::cache`], of what another authority said of the model.
    pub(crate) fn cache_endorsement(
        &self,
        model: &ModelRef,
        authority: &NamespaceName,
        bundle: &CachedBundle,
    ) -> Result<()> {
        self.cache_as(model, &names::endorsement(authority), bundle)
    }

    fn cache_as(&self, model: &ModelRef, name: &str, bundle: &CachedBundle) -> Result<()> {
        let folder = self.model(model)?.ensure_sub(names::CACHE)?;
        let mut bytes = serde_json::to_vec(&bundle.etag).unwrap_or_default();
        bytes.push(b'\n');
        bytes.extend_from_slice(&bundle.bytes);
        folder.replace(name, &bytes, 0o644)?;
        self.store.step(ActivateStep::State)
    }

    /// The staging folder of a release, with whatever an earlier run left in it.
    pub(crate) fn staging(&self, model: &ModelRef, release: &ReleaseRecord) -> Result<Staging> {
        Staging::open(self.store, &self.model(model)?, release.manifest)
    }

    /// A2. Nothing in the folder is written again after this.
    pub(crate) fn seal(&self, staging: &Staging, manifest: &[u8]) -> Result<()> {
        let folder = staging.folder();
        folder.replace(names::MANIFEST, manifest, 0o444)?;
        folder.remove_file(names::LEASE)?;
        folder.create(names::LEASE, b"", 0o444)?;
        folder.sync_tree(true)?;
        self.store.step(ActivateStep::Seal)
    }

    /// A3. A damaged release in the way changes places with the good one, in one step.
    pub(crate) fn publish(&self, model: &ModelRef, staging: Staging) -> Result<()> {
        let folder = self.model(model)?;
        let (from, to) = (
            folder.ensure_sub(names::STAGING)?,
            folder.ensure_sub(names::RELEASES)?,
        );
        let name = staging.digest().to_hex();
        drop(staging);
        if to.kind(&name)?.is_some() {
            from.exchange(&name, &to, &name)?;
        } else {
            from.rename(&name, &to, &name)?;
        }
        from.sync()?;
        to.sync()?;
        folder.sync()?;
        self.store.step(ActivateStep::Move)
    }

    /// A4.
    pub(crate) fn floors(&self, namespace: &NamespaceName, state: &DeviceState) -> Result<()> {
        records::save(&self.namespace(namespace)?, names::STATE, state)?;
        self.store.step(ActivateStep::Floors)
    }

    /// A5.
    pub(crate) fn activate(&self, model: &ModelRef, next: ReleaseRecord, held: bool) -> Result<ActiveRecord> {
        let folder = self.model(model)?;
        let record = ActiveRecord::with(active_record(&folder)?, next, held, self.store.keep);
        records::save(&folder, names::ACTIVE, &record)?;
        self.store.step(ActivateStep::Activate)?;
        Ok(record)
    }

    /// A6. Removes what `active.json` does not name and nobody leases, and what unfinished pulls left.
    pub(crate) fn collect(&self, model: &ModelRef) -> Result<()> {
        let folder = self.model(model)?;
        let Some(record) = active_record(&folder)? else {
            return Ok(());
        };
        if let Some(releases) = folder.find(names::RELEASES)? {
            for (name, kind) in releases.entries()? {
                let wanted = record.all().any(|r| name.to_str() == Some(&r.manifest.to_hex()));
                if !wanted && (kind != Kind::Folder || self.is_free(&releases.sub(&name)?)?) {
                    releases.remove_tree(&name)?;
                }
            }
        }
        if let Some(staging) = folder.find(names::STAGING)? {
            for (name, _) in staging.entries()? {
                staging.remove_tree(&name)?;
            }
        }
        self.store.step(ActivateStep::Collect)
    }

    /// Whether no lease is held on a release. Its lease file goes while the lock is ours, so that whoever opens the folder
    /// later finds no lease to take.
    fn is_free(&self, release: &Folder) -> Result<bool> {
        match take_lease(release)? {
            Lease::Taken(_lease) => {
                release.remove_file(names::LEASE)?;
                Ok(true)
            }
            Lease::Absent => Ok(true),
            Lease::Held => Ok(false),
        }
    }

    /// Refuses when a pull would not fit.
    pub(crate) fn reserve(&self, needed: u64) -> Result<()> {
        match self.store.root.free_space() {
            Some(available) if available < needed => Err(self.full(needed)),
            _ => Ok(()),
        }
    }

    /// The error for a disk that ran full with so many bytes to go.
    pub(crate) fn full(&self, needed: u64) -> StoreError {
        let available = self.store.root.free_space().unwrap_or(0);
        StoreError::Full {
            path: self.store.path().to_owned(),
            needed,
            available,
        }
    }
}

/// What came of asking for a release's lease without sharing it.
enum Lease {
    /// Nobody holds it; the lock lasts as long as the file.
    Taken(File),
    /// There is none to hold: the release was being removed.
    Absent,
    /// Somebody uses the release.
    Held,
}

fn take_lease(release: &Folder) -> Result<Lease> {
    let lease = match release.read_file(names::LEASE) {
        Ok(lease) => lease,
        Err(e) if e.is_absent() => return Ok(Lease::Absent),
        Err(e) => return Err(e.into()),
    };
    match lease.try_lock() {
        Ok(()) => Ok(Lease::Taken(lease)),
        Err(TryLockError::WouldBlock) => Ok(Lease::Held),
        Err(TryLockError::Error(e)) => Err(io_error("lock", release.path(), e).into()),
    }
}
