//! A folder that one process uses at a time, and whose durable steps tests can stop behind: a witness's, an auditor's, a monitor's.

use std::fs::{File, TryLockError};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use crate::folder::{Folder, io_error};
use crate::store::{StoreError, records};

const LOCK: &str = "lock";
const EVIDENCE: &str = "evidence";

/// Called right behind each durable step; an error ends the run there, as a crash would.
pub(crate) type StepHook<S, E> = Arc<dyn Fn(S) -> Result<(), E> + Send + Sync>;

/// Where durable steps are told.
pub(crate) struct Steps<S, E>(Option<StepHook<S, E>>);

impl<S, E> Clone for Steps<S, E> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<S, E> Steps<S, E> {
    /// This step is durable.
    pub(crate) fn done(&self, step: S) -> Result<(), E> {
        self.0.as_ref().map_or(Ok(()), |hook| hook(step))
    }
}

/// A folder that no other process uses as long as this value lives: two with one memory would each miss what the other learns.
pub(crate) struct ExclusiveFolder<S, E> {
    pub(crate) root: Folder,
    pub(crate) steps: Steps<S, E>,
    /// Released when it is dropped.
    _lock: File,
}

impl<S, E> ExclusiveFolder<S, E> {
    /// Opens a folder, making it if it is missing.
    pub(crate) fn open(path: &Path) -> Result<Self, StoreError> {
        let root = Folder::ensure(path)?;
        let lock = root.write_file(LOCK)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self {
                root,
                steps: Steps(None),
                _lock: lock,
            }),
            Err(TryLockError::WouldBlock) => Err(StoreError::Busy {
                path: root.path().to_owned(),
                waited: Duration::ZERO,
            }),
            Err(TryLockError::Error(e)) => Err(io_error("lock", root.path(), e).into()),
        }
    }

    /// Calls `hook` right behind each durable step.
    pub(crate) fn on_step(mut self, hook: StepHook<S, E>) -> Self {
        self.steps = Steps(Some(hook));
        self
    }

    pub(crate) fn path(&self) -> &Path {
        self.root.path()
    }
}

/// Names of the evidence below a folder; a temporary file that a crash left begins with a dot and is none.
pub(crate) fn evidence(folder: &Folder) -> Result<Vec<String>, StoreError> {
    let Some(evidence) = folder.find(EVIDENCE)? else {
        return Ok(Vec::new());
    };
    let names = evidence
        .entries()?
        .into_iter()
        .filter_map(|(name, _)| name.into_string().ok());
    Ok(names.filter(|name| !name.starts_with('.')).collect())
}

/// Puts evidence below a folder, synced with the folders on the way to it.
pub(crate) fn put_evidence<T: Serialize>(
    folder: &Folder,
    name: &str,
    document: &T,
) -> Result<(), StoreError> {
    records::save(&folder.ensure_sub(EVIDENCE)?, name, document)?;
    Ok(folder.sync()?)
}

/// Removes evidence that is none any more.
pub(crate) fn remove_evidence(folder: &Folder, name: &str) -> Result<(), StoreError> {
    match folder.find(EVIDENCE)? {
        Some(evidence) => Ok(evidence.remove_file(name)?),
        None => Ok(()),
    }
}

/// Where evidence of this name lies.
pub(crate) fn evidence_path(folder: &Folder, name: &str) -> std::path::PathBuf {
    folder.path().join(EVIDENCE).join(name)
}
