//! The folder of whoever follows a log: which log it is, and evidence.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use assay_log::{SignedCheckpoint, VerifierKey};
use serde::{Deserialize, Serialize};

use super::LogError;
use super::history::Split;
use crate::exclusive::{self, ExclusiveFolder};
use crate::folder::{Folder, Kind};
use crate::store::records;

const PIN: &str = "log.json";
const SUFFIX: &str = ".note";

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
    /// F6: a checkpoint that cannot be compared yet is kept.
    SetAside,
    /// F7: it was compared, and goes.
    Proven,
}

impl FollowStep {
    /// All steps in order.
    pub const ALL: [Self; 7] = [
        Self::Pin,
        Self::Evidence,
        Self::Checkpoint,
        Self::Position,
        Self::Delivered,
        Self::SetAside,
        Self::Proven,
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
pub struct LogFolder(ExclusiveFolder<FollowStep, LogError>);

impl std::fmt::Debug for LogFolder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("LogFolder").field(&self.path()).finish()
    }
}

impl LogFolder {
    /// Opens a folder, making it if it is missing.
    ///
    /// # Errors
    /// It cannot be made or opened, or another process uses it.
    pub fn open(path: &Path) -> Result<Self, LogError> {
        Ok(Self(ExclusiveFolder::open(path)?))
    }

    /// Calls `hook` right behind each durable step. Tests stop there.
    #[must_use]
    pub fn on_step(self, hook: StepHook) -> Self {
        Self(self.0.on_step(hook))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    pub(super) fn root(&self) -> &Folder {
        &self.0.root
    }

    /// The key of the log that the folder follows; `None` before the first time.
    ///
    /// # Errors
    /// The record is damaged.
    pub fn pinned(&self) -> Result<Option<VerifierKey>, LogError> {
        let advice = "Remove it and name the log's key with --log";
        let pin = records::load::<Pin>(self.root(), PIN, advice)?;
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
                records::save(self.root(), PIN, &pin)?;
                self.step(FollowStep::Pin)
            }
        }
    }

    /// F2. The name follows from the heads: the same two are one file.
    pub(super) fn keep(&self, split: &Split) -> Result<PathBuf, LogError> {
        let (older, newer) = split.heads();
        let name = format!(
            "{}-{}-{}-{}.json",
            older.size,
            short(older.root),
            newer.size,
            short(newer.root)
        );
        if !exclusive::evidence(self.root())?.contains(&name) {
            exclusive::put_evidence(self.root(), &name, split)?;
            self.step(FollowStep::Evidence)?;
        }
        Ok(exclusive::evidence_path(self.root(), &name))
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
        self.0.steps.done(step)
    }
}

/// The file of a checkpoint. Sorted by name is sorted by size.
pub(super) fn file_name(signed: &SignedCheckpoint) -> String {
    let head = signed.checkpoint().head();
    format!("{:016}-{}{SUFFIX}", head.size, short(head.root))
}

/// The names of a folder's checkpoints, the largest last. A temporary file that a crash left begins with a dot and is none.
pub(super) fn names(folder: &Folder) -> Result<Vec<String>, LogError> {
    let files = folder.entries()?.into_iter();
    let names = files
        .filter(|(_, kind)| *kind == Kind::File)
        .filter_map(|(name, _)| name.into_string().ok());
    Ok(names
        .filter(|name| name.ends_with(SUFFIX) && !name.starts_with('.'))
        .collect())
}

fn short(root: assay_schema::Sha256Digest) -> String {
    root.to_hex().chars().take(16).collect()
}
