//! What can go wrong between a log and whoever looks at it.

use std::path::PathBuf;

use assay_log::checkpoint::CheckpointError;
use assay_log::merkle::TreeHead;
use assay_log::policy::PolicyError;
use assay_log::tile::TileError;
use assay_schema::Sha256Digest;

use super::FollowStep;
use super::history::Split;
use crate::folder::FileError;
use crate::store::StoreError;
use crate::transport::TransportError;

/// What can go wrong between a log and whoever looks at it.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The way to the log.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// The log does not hand out what its own checkpoint is made of.
    #[error(
        "log: expected {what}, found nothing there; check the address, and report the log if that repeats"
    )]
    Missing {
        /// What was asked for.
        what: String,
    },
    /// Bytes that are not what the log signed.
    #[error(transparent)]
    Tile(#[from] TileError),
    /// A checkpoint that is none.
    #[error("{what}: {source}")]
    Checkpoint {
        /// Where it comes from.
        what: String,
        /// What is wrong.
        source: CheckpointError,
    },
    /// A checkpoint that the policy does not accept.
    #[error("{what}: {source}")]
    Policy {
        /// Where it comes from.
        what: String,
        /// What is wrong.
        source: PolicyError,
    },
    /// The log signed two histories.
    #[error("{split}{}", .evidence.as_ref().map_or_else(String::new, |path| format!("; the evidence is in {}", path.display())))]
    Split {
        /// Both of them.
        split: Box<Split>,
        /// The file that proves it, where somebody keeps one.
        evidence: Option<PathBuf>,
    },
    /// The log shows less than it signed before.
    #[error(
        "log: expected a checkpoint of at least {expected} entries, which {whose} holds, found {found}; ask again, and report the log \
         if that repeats: it may have been restored from an old backup"
    )]
    Behind {
        /// The larger size.
        expected: u64,
        /// Who knows it.
        whose: String,
        /// The size that the log shows.
        found: u64,
    },
    /// The entries that the log hands out are not the ones that it signed.
    #[error(
        "log: expected entries with root {} at size {}, found entries with root {found}; the log hands out other entries than it \
         signed: report it", .expected.root, .expected.size
    )]
    Entries {
        /// What the log signed.
        expected: TreeHead,
        /// What its entries give.
        found: Sha256Digest,
    },
    /// The folder belongs to another log.
    #[error(
        "{}: expected the log {expected}, which this folder follows, found {found}; use a folder for each log, or --log with the \
         right key", path.display()
    )]
    OtherLog {
        /// The folder.
        path: PathBuf,
        /// The key of the folder's log.
        expected: String,
        /// The key that was given.
        found: String,
    },
    /// The folder.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A signing journal that cannot be read.
    #[error("{}: {reason}", path.display())]
    Journal {
        /// The journal.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// The step hook stopped the run (tests).
    #[error("stopped behind step {0:?}")]
    Stopped(FollowStep),
}

impl From<FileError> for LogError {
    fn from(error: FileError) -> Self {
        Self::Store(error.into())
    }
}
