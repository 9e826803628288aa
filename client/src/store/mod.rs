//! A device's store: pins, trusted metadata, releases, and which of them is active.
//!
//! ```text
//! lock
//! trust-policy.json                                     whose signatures the owner requires
//! namespaces/<namespace>/pin.json                       what it is known by
//!                       /state.json                     trusted metadata and floors
//!                       /models/<model>/active.json     which release is active
//!                                      /cache/check.json  authority.<namespace>.json
//!                                      /staging/<manifest digest>/   a pull that is not finished
//!                                      /releases/<manifest digest>/files/  release.json  indexes/<digest>  lease
//!            .removed/                                  a namespace that is no longer trusted, until its files are gone
//! ```
//!
//! Only the holder of the store's one lock writes, and every write is one of [`ActivateStep::ALL`].

mod error;
mod lease;
mod policy;
pub(crate) mod records;
mod staging;
mod write;

use std::fs::{File, TryLockError};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use assay_schema::{ModelName, ModelRef, NamespaceName, ReleaseRef};
use assay_verifier::{CachedBundle, DeviceState};
use serde::Serialize;

pub use error::StoreError;
pub use lease::ActiveRelease;
pub use records::{ActiveRecord, PinRecord, ReleaseRecord};

pub(crate) use error::Result;
pub(crate) use lease::{active_record, lease, manifest};
pub(crate) use staging::Staging;
pub(crate) use write::Writer;

use crate::folder::{Folder, Kind, io_error};

/// Names inside a store.
pub(crate) mod names {
    pub(crate) const LOCK: &str = "lock";
    pub(crate) const TRUST_POLICY: &str = "trust-policy.json";
    pub(crate) const NAMESPACES: &str = "namespaces";
    /// No namespace's name begins with a dot.
    pub(crate) const REMOVED: &str = ".removed";
    pub(crate) const PIN: &str = "pin.json";
    pub(crate) const STATE: &str = "state.json";
    pub(crate) const MODELS: &str = "models";
    pub(crate) const ACTIVE: &str = "active.json";
    pub(crate) const CACHE: &str = "cache";
    pub(crate) const CHECK: &str = "check.json";
    pub(crate) const STAGING: &str = "staging";
    pub(crate) const RELEASES: &str = "releases";
    pub(crate) const FILES: &str = "files";
    pub(crate) const INDEXES: &str = "indexes";
    pub(crate) const MANIFEST: &str = "release.json";
    pub(crate) const LEASE: &str = "lease";

    /// What the last check used of another authority.
    pub(crate) fn endorsement(authority: &assay_schema::NamespaceName) -> String {
        format!("authority.{authority}.json")
    }
}

/// The durable steps of a device, as `ARCHITECTURE.md` lists them. Whatever writes to a store is one of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ActivateStep {
    /// T1: a namespace is pinned: its first trusted state, then `pin.json`, which makes it trusted.
    Trust,
    /// T2: a namespace is no longer trusted: its folder leaves its place in one step.
    Forget,
    /// T3: the owner's trust policy is replaced.
    Require,
    /// S1: the newer trusted metadata of a check is persisted.
    State,
    /// A1: a checked chunk, or a checked chunk index, is written into the staging folder.
    Chunk,
    /// A2: `release.json` is written and everything in the staging folder is synced and made read-only.
    Seal,
    /// A3: the staging folder becomes a release's folder.
    Move,
    /// A4: the floors are persisted.
    Floors,
    /// A5: `active.json` is replaced.
    Activate,
    /// A6: releases that nobody needs are removed, and what namespaces that are no longer trusted left.
    Collect,
}

impl ActivateStep {
    /// All steps in order.
    pub const ALL: [Self; 10] = [
        Self::Trust,
        Self::Forget,
        Self::Require,
        Self::State,
        Self::Chunk,
        Self::Seal,
        Self::Move,
        Self::Floors,
        Self::Activate,
        Self::Collect,
    ];
}

/// Called right behind each durable step; an error ends the run there, as a crash would.
pub type StepHook = Arc<dyn Fn(ActivateStep) -> std::result::Result<(), StoreError> + Send + Sync>;

/// A namespace that a device trusts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TrustedNamespace {
    /// What it is known by.
    pub pin: PinRecord,
    /// Its models that were pulled or tried here.
    pub models: Vec<KeptModel>,
}

/// A model on a device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct KeptModel {
    /// Its name.
    pub model: ModelName,
    /// Which release is active and which are kept; `None` if none was activated.
    pub active: Option<ActiveRecord>,
}

/// A device's store.
#[derive(Clone)]
pub struct Store {
    root: Folder,
    keep: usize,
    wait: Duration,
    hook: Option<StepHook>,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store")
            .field("path", &self.root.path())
            .field("keep", &self.keep)
            .finish_non_exhaustive()
    }
}

const STATE_ADVICE: &str = "Its floors protect against old releases, so it is not made anew by itself. Restore it, or give \
                            them up: `assay trust remove`, then `assay trust add`";

impl Store {
    /// Opens a store, making its folder if it is missing. Two releases of each model are kept, the active one included, and a
    /// writer waits ten seconds for another one.
    ///
    /// # Errors
    /// The folder cannot be made or opened.
    pub fn open(path: &Path) -> Result<Self> {
        let root = Folder::ensure(path)?;
        let root = Folder::open(
            &root
                .path()
                .canonicalize()
                .map_err(|e| io_error("open", path, e))?,
        )?;
        Ok(Self {
            root,
            keep: 2,
            wait: Duration::from_secs(10),
            hook: None,
        })
    }

    /// How many releases of a model stay, the active one included; at least 1.
    #[must_use]
    pub fn keep(mut self, releases: usize) -> Self {
        self.keep = releases.max(1);
        self
    }

    /// How long a writer waits for another one.
    #[must_use]
    pub fn wait(mut self, wait: Duration) -> Self {
        self.wait = wait;
        self
    }

    /// Calls `hook` right behind each durable step. Tests stop there.
    #[must_use]
    pub fn on_step(mut self, hook: StepHook) -> Self {
        self.hook = Some(hook);
        self
    }

    /// The store's folder.
    pub fn path(&self) -> &Path {
        self.root.path()
    }

    /// Takes the store's lock.
    ///
    /// # Errors
    /// Another process holds it for longer than this one waits.
    pub(crate) fn writer(&self) -> Result<Writer<'_>> {
        let path = self.root.path().join(names::LOCK);
        let lock = self.root.write_file(names::LOCK)?;
        let begun = Instant::now();
        loop {
            match lock.try_lock() {
                Ok(()) => return Ok(Writer::new(self, lock)),
                Err(TryLockError::Error(e)) => return Err(io_error("lock", &path, e).into()),
                Err(TryLockError::WouldBlock) if begun.elapsed() >= self.wait => {
                    return Err(StoreError::Busy {
                        path: self.root.path().to_owned(),
                        waited: begun.elapsed(),
                    });
                }
                Err(TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(20)),
            }
        }
    }

    fn find_namespace(&self, namespace: &NamespaceName) -> Result<Option<Folder>> {
        match self.root.find(names::NAMESPACES)? {
            Some(all) => Ok(all.find(namespace.as_str())?),
            None => Ok(None),
        }
    }

    pub(crate) fn find_model(&self, model: &ModelRef) -> Result<Option<Folder>> {
        let Some(namespace) = self.find_namespace(&model.namespace)? else {
            return Ok(None);
        };
        match namespace.find(names::MODELS)? {
            Some(all) => Ok(all.find(model.model.as_str())?),
            None => Ok(None),
        }
    }

    /// What a namespace is known by.
    ///
    /// # Errors
    /// It is not trusted here, or its record is damaged.
    pub fn pin(&self, namespace: &NamespaceName) -> Result<PinRecord> {
        self.find_pin(namespace)?
            .ok_or_else(|| StoreError::NotTrusted(namespace.clone()))
    }

    pub(crate) fn find_pin(&self, namespace: &NamespaceName) -> Result<Option<PinRecord>> {
        match self.find_namespace(namespace)? {
            Some(folder) => records::load(
                &folder,
                names::PIN,
                "Run `assay trust add` again with the fingerprint",
            ),
            None => Ok(None),
        }
    }

    /// A namespace's trusted metadata and floors.
    ///
    /// # Errors
    /// It is missing or damaged.
    pub fn state(&self, namespace: &NamespaceName) -> Result<DeviceState> {
        let not_trusted = || StoreError::NotTrusted(namespace.clone());
        let folder = self.find_namespace(namespace)?.ok_or_else(not_trusted)?;
        records::load(&folder, names::STATE, STATE_ADVICE)?.ok_or_else(|| StoreError::Damaged {
            path: folder.path().join(names::STATE),
            reason: "it is missing".to_owned(),
            advice: STATE_ADVICE,
        })
    }

    /// The bundle of the last check, if it can be read: it is a convenience and judged like any stranger's bytes.
    pub(crate) fn cached(&self, model: &ModelRef) -> Option<CachedBundle> {
        self.cached_as(model, names::CHECK)
    }

    /// As [`Store::cached`], of what another authority said of the model.
    pub(crate) fn cached_endorsement(
        &self,
        model: &ModelRef,
        authority: &NamespaceName,
    ) -> Option<CachedBundle> {
        self.cached_as(model, &names::endorsement(authority))
    }

    fn cached_as(&self, model: &ModelRef, name: &str) -> Option<CachedBundle> {
        let cache = self.find_model(model).ok()??.find(names::CACHE).ok()??;
        // The first line is the entity tag as JSON, the rest the bundle's exact bytes.
        let mut bytes = cache.read(name, assay_schema::limits::MAX_BUNDLE + 1024).ok()??;
        let at = bytes.iter().position(|b| *b == b'\n')?;
        let etag = serde_json::from_slice(bytes.get(..at)?).ok()?;
        bytes.drain(..=at);
        Some(CachedBundle { etag, bytes })
    }

    /// Namespaces that are trusted here, and the models of each that were pulled or tried.
    ///
    /// # Errors
    /// A record is damaged or cannot be read.
    pub fn list(&self) -> Result<Vec<TrustedNamespace>> {
        let mut found = Vec::new();
        for name in subfolders::<NamespaceName>(self.root.find(names::NAMESPACES)?)? {
            let Some(pin) = self.find_pin(&name)? else {
                continue;
            };
            let Some(namespace) = self.find_namespace(&name)? else {
                continue;
            };
            let mut models = Vec::new();
            for model in subfolders::<ModelName>(namespace.find(names::MODELS)?)? {
                let folder = self.find_model(&ModelRef {
                    namespace: name.clone(),
                    model: model.clone(),
                })?;
                let active = folder.map(|f| active_record(&f)).transpose()?.flatten();
                models.push(KeptModel { model, active });
            }
            found.push(TrustedNamespace { pin, models });
        }
        Ok(found)
    }

    /// Which release's files lie in a folder of this store: an active one, or one that is kept. `None` for any other folder.
    ///
    /// # Errors
    /// A record is damaged or cannot be read.
    pub fn release_at(&self, folder: &Path) -> Result<Option<ReleaseRef>> {
        let Ok(folder) = folder.canonicalize() else {
            return Ok(None);
        };
        let all = self.root.path().join(names::NAMESPACES);
        for trusted in self.list()? {
            for kept in trusted.models {
                let namespace = trusted.pin.namespace.clone();
                let releases = all
                    .join(namespace.as_str())
                    .join(names::MODELS)
                    .join(kept.model.as_str())
                    .join(names::RELEASES);
                let found = kept
                    .active
                    .iter()
                    .flat_map(ActiveRecord::all)
                    .find(|r| folder == releases.join(r.manifest.to_hex()).join(names::FILES));
                if let Some(record) = found {
                    let model = ModelRef {
                        namespace,
                        model: kept.model,
                    };
                    let version = record.version.clone();
                    return Ok(Some(ReleaseRef { model, version }));
                }
            }
        }
        Ok(None)
    }

    fn step(&self, step: ActivateStep) -> Result<()> {
        match &self.hook {
            Some(hook) => hook(step),
            None => Ok(()),
        }
    }
}

/// Names of subfolders that are names of the kind asked for.
fn subfolders<T: std::str::FromStr>(folder: Option<Folder>) -> Result<Vec<T>> {
    let Some(folder) = folder else {
        return Ok(Vec::new());
    };
    let entries = folder.entries()?.into_iter();
    Ok(entries
        .filter(|(_, kind)| *kind == Kind::Folder)
        .filter_map(|(name, _)| name.to_str()?.parse().ok())
        .collect())
}

/// Keeps the lock file open for as long as the writer lives.
type Lock = File;
