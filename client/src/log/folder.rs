//! The folder of whoever follows a log: which log it is, and evidence.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use assay_log::VerifierKey;
use serde::{Deserialize, Serialize};

use super::LogError;
use super::history::Split;
use crate::folder::{Folder, io_error};
use crate::store::{StoreError, records};

const LOCK: &str = "lock";
const PIN: &str = "log.json";
const EVIDENCE: &str = "evidence";
pub(super) const READABLE: u32 = 0o644;

/// The durable steps of auditors and monitors, as `ARCHITECTURE.md` lists them. Whatever writes to their folder is one of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FollowStep {
    /// F1: the log's key is pinned.
    Pin,
    /// F2: two checkpoints that are not of one history are kept, before anybody is told.
    Evidence,
    /// F3 (auditor): a checkpoint that was proven consistent with all others is kept.
    Checkpoint,
    /// F4 (monitor): position, what was seen, and alerts that nobody was told yet, together.
    Position,
    /// F5 (monitor): alerts that were delivered are taken out.
    Delivered,
}

impl FollowStep {
    /// All steps in order.
    pub const ALL: [Self; 5] = [
        Self::Pin,
        Self::Evidence,
        Self::Checkpoint,
        Self::Position,
        Self::Delivered,
    ];
}

/// Called right behind each durable step; an error ends the run there, as a crash would.
pub type StepHook = Arc<dyn Fn(FollowStep) -> Result<(), LogError> + Send + Sync>;

/// `log.json`: whose log the folder follows.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Pin {
    v: u32,
    key: VerifierKey,
}

/// The folder of an auditor or monitor, which no other process uses as long as this value lives.
pub struct LogFolder {
    pub(super) root: Folder,
    hook: Option<StepHook>,
    _lock: File,
}

impl std::fmt::Debug for LogFolder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LogFolder")
            .field("path", &self.root.path())
            .finish_non_exhaustive()
    }
}

impl LogFolder {
    /// Opens a folder, making it if it is missing.
    ///
    /// # Errors
    /// It cannot be made or opened, or another process uses it.
    pub fn open(path: &Path) -> Result<Self, LogError> {
        let root = Folder::ensure(path)?;
        let lock = root.write_file(LOCK)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(StoreError::Busy {
                    path: root.path().to_owned(),
                    waited: Duration::ZERO,
                }
                .into());
            }
            Err(TryLockError::Error(e)) => return Err(io_error("lock", root.path(), e).into()),
        }
        Ok(Self {
            root,
            hook: None,
            _lock: lock,
        })
    }

    /// Calls `hook` right behind each durable step. Tests stop there.
    #[must_use]
    pub fn on_step(mut self, hook: StepHook) -> Self {
        self.hook = Some(hook);
        self
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.root.path()
    }

    /// The key of the log that the folder follows; `None` before the first time.
    ///
    /// # Errors
    /// The record is damaged.
    pub fn pinned(&self) -> Result<Option<VerifierKey>, LogError> {
        let advice = "Remove it and name the log's key with --log";
        let pin = records::load::<Pin>(&self.root, PIN, advice)?;
        Ok(pin.map(|pin| pin.key))
    }

    /// Follows this log from now on, and no other.
    ///
    /// # Errors
    /// The folder follows another one, or the record cannot be written.
    pub fn pin(&self, key: &VerifierKey) -> Result<(), LogError> {
        match self.pinned()? {
            Some(pinned) if pinned == *key => Ok(()),
            Some(pinned) => Err(LogError::OtherLog {
                path: self.path().to_owned(),
                expected: pinned.to_string(),
                found: key.to_string(),
            }),
            None => {
                let pin = Pin {
                    v: 1,
                    key: key.clone(),
                };
                records::save(&self.root, PIN, &pin)?;
                self.step(FollowStep::Pin)
            }
        }
    }

    /// F2. The name follows from the heads: the same two are one file.
    pub(super) fn keep(&self, split: &Split) -> Result<PathBuf, LogError> {
        let folder = self.root.ensure_sub(EVIDENCE)?;
        let (older, newer) = split.heads();
        let name = format!(
            "{}-{}-{}-{}.json",
            older.size,
            short(older.root),
            newer.size,
            short(newer.root)
        );
        let path = folder.path().join(&name);
        if folder.kind(&name)?.is_none() {
            let bytes = serde_json::to_vec_pretty(split).map_err(|e| StoreError::Damaged {
                path: path.clone(),
                reason: format!("it cannot be written as JSON: {e}"),
                advice: "This is an error in Assay; please report it",
            })?;
            folder.replace(&name, &bytes, READABLE)?;
            self.root.sync()?;
            self.step(FollowStep::Evidence)?;
        }
        Ok(path)
    }

    /// Keeps the evidence that an error carries, and says where.
    pub(super) fn keep_evidence(&self, error: LogError) -> LogError {
        match error {
            LogError::Split {
                split,
                evidence: None,
            } => match self.keep(&split) {
                Ok(path) => LogError::Split {
                    split,
                    evidence: Some(path),
                },
                Err(error) => error,
            },
            other => other,
        }
    }

    pub(super) fn step(&self, step: FollowStep) -> Result<(), LogError> {
        self.hook.as_ref().map_or(Ok(()), |hook| hook(step))
    }
}

fn short(root: assay_schema::Sha256Digest) -> String {
    root.to_hex().chars().take(16).collect()
}
