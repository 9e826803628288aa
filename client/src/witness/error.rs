//! What can go wrong with a witness's folder. What is wrong with a request is an answer, not an error.

use std::path::PathBuf;

use assay_authority::KeyError;
use assay_log::note::{NoteError, SigningError};
use jiff::Timestamp;

use super::WitnessStep;
use crate::folder::FileError;
use crate::store::StoreError;

/// What can go wrong with a witness's folder.
#[derive(Debug, thiserror::Error)]
pub enum WitnessError {
    /// A record is damaged, or another process holds the folder.
    #[error(transparent)]
    Record(#[from] StoreError),
    /// A name or a verifier key that is none.
    #[error(transparent)]
    Name(#[from] NoteError),
    /// A key of another kind than logs have.
    #[error(
        "{key}: expected a log's key (signature type 0x01), found type {found}; copy the key that the log's operator names"
    )]
    NotALog {
        /// The key.
        key: String,
        /// Its type.
        found: String,
    },
    /// The private key cannot be made, read or decrypted.
    #[error("{}: {source}", path.display())]
    Key {
        /// The key's file.
        path: PathBuf,
        /// Why not.
        source: KeyError,
    },
    /// The private key is not the one that `witness.json` names.
    #[error(
        "{}: expected the private key of {expected}, found that of {found}; restore the key that belongs to this folder",
        path.display()
    )]
    OtherKey {
        /// The key's file.
        path: PathBuf,
        /// The verifier key in `witness.json`.
        expected: String,
        /// The verifier key of the private key.
        found: String,
    },
    /// There is no witness in the folder.
    #[error("{}: expected a witness, found none; run `assay witness init` first", path.display())]
    NoWitness {
        /// The folder.
        path: PathBuf,
    },
    /// There is one already.
    #[error("{}: the witness {name} is here already; it is never overwritten", path.display())]
    Exists {
        /// The folder.
        path: PathBuf,
        /// Its name.
        name: String,
    },
    /// The cosignature could not be made.
    #[error("the cosignature of {log} was not made: {source}")]
    Signing {
        /// The log's origin.
        log: String,
        /// Why not.
        source: SigningError<KeyError>,
    },
    /// The machine's clock went back behind a cosignature.
    #[error(
        "clock: expected a time from {last} on, at which this witness cosigned, found {now}; set the clock right, and start the witness \
         again if the earlier time was wrong"
    )]
    ClockSetBack {
        /// The time of the last cosignature.
        last: Timestamp,
        /// What the clock shows.
        now: Timestamp,
    },
    /// The step hook stopped the run (tests).
    #[error("stopped behind step {0:?}")]
    Stopped(WitnessStep),
}

impl From<FileError> for WitnessError {
    fn from(error: FileError) -> Self {
        Self::Record(error.into())
    }
}
