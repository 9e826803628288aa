//! Room: the transparency log. Every root and snapshot that is published gets a place in one Merkle tree, and a signed checkpoint
//! covers it.
//!
//! | module | holds |
//! |---|---|
//! | [`key`] | the log's keys and what they sign |
//! | [`rotate`] | the next key, and the end of the present one |
//! | [`sequence`] | places, tiles, checkpoint: the durable steps L1 to L4 |
//! | [`witnessing`] | who the witnesses are, how they fare, and for which size they are asked |
//! | [`ask`] | one request to a witness and what its answer means |
//! | [`cosign`] | a loop for each witness: the durable step L5 |
//! | [`prove`] | the proof that a snapshot is in the log, and the checkpoint that it leads to |
//! | [`handlers`] | C2SP tlog-tiles, and proofs for devices without bundles |
//!
//! The log key is trusted with one history for everybody. Its thief can show different devices different histories; devices that
//! compare checkpoints, or demand witnesses, find that out.

pub mod ask;
pub mod cosign;
pub mod handlers;
pub mod key;
pub mod prove;
pub mod rotate;
pub mod sequence;
pub mod witnessing;

use actix_web::web::{self, ServiceConfig};
use assay_log::checkpoint::CheckpointError;
use assay_log::leaf::LeafError;
use assay_log::merkle::MerkleError;
use assay_log::note::{NoteError, SigningError};
use assay_log::policy::PolicyError;
use assay_log::proof::ProofError;
use assay_log::tile::TileError;

use crate::blobs::BlobError;
use crate::persistence::DatabaseError;
use crate::problem::ApiError;
use crate::seal::SealError;
use crate::steps::Stopped;

/// The folder of the log's objects.
const FOLDER: &str = "log";

/// The object that holds the newest checkpoint.
pub(crate) const CHECKPOINT: &str = "log/checkpoint";

/// Wires the room's paths.
pub fn configure(cfg: &mut ServiceConfig) {
    cfg.service(web::resource("/v1/log").get(handlers::info))
        .service(
            web::resource("/log/checkpoint")
                .get(handlers::checkpoint)
                .head(handlers::checkpoint),
        )
        .service(
            web::resource("/log/{path:tile/.*}")
                .get(handlers::tile)
                .head(handlers::tile),
        )
        .service(web::resource("/v1/namespaces/{namespace}/log-proof").get(handlers::proof));
}

/// The log does not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The database.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// The object store.
    #[error(transparent)]
    Blobs(#[from] BlobError),
    /// The log's key cannot be sealed or opened.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// The log's key cannot be made or read.
    #[error("log key: {0}")]
    Key(#[from] assay_authority::KeyError),
    /// The log's key is not of the kind or name that a log's is.
    #[error("log key: {0}")]
    Note(#[from] NoteError),
    /// A log's key that signs nothing that holds.
    #[error("log key: {0}")]
    Signing(#[from] SigningError<assay_authority::KeyError>),
    /// A log's key in the database that is none.
    #[error("log key: expected an Ed25519 key, found {found}; restore the database from a backup")]
    NoKey {
        /// What is there.
        found: String,
    },
    /// Tiles in the object store.
    #[error("{0}; restore the storage from a backup of the same time as the database")]
    Tile(#[from] TileError),
    /// A proof that cannot be.
    #[error(transparent)]
    Merkle(#[from] MerkleError),
    /// A proof file that cannot be.
    #[error(transparent)]
    Proof(#[from] ProofError),
    /// An entry that cannot be.
    #[error(transparent)]
    Leaf(#[from] LeafError),
    /// A checkpoint that cannot be.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The entries in the database do not have the root that was committed.
    #[error(
        "log: expected root {expected} over {size} entries, found {found}; the database was changed or is damaged: restore it from a \
         backup"
    )]
    Root {
        /// The tree's size.
        size: u64,
        /// What was committed.
        expected: String,
        /// What the entries give.
        found: String,
    },
    /// A key to change, and no log.
    #[error("expected a log, found none; start the registry once, which begins it")]
    NotBegun,
    /// A key to retire, and none to take its place.
    #[error(
        "expected a next key beside {present}, found none; make it with `assay-server log-key next`, and retire the present one when \
         the authorities name the next"
    )]
    NoNextKey {
        /// The present key.
        present: String,
    },
    /// The configuration names another log than the database holds.
    #[error(
        "transparency.origin: expected {stored}, the name that the log has since it was begun, found {configured}; a log never \
         changes its name"
    )]
    Renamed {
        /// The log's name.
        stored: String,
        /// The configuration's.
        configured: String,
    },
    /// The object store holds a checkpoint, and the database no log.
    #[error(
        "the storage holds the checkpoint of a log ({found:?}), the database holds none; restore the database that belongs to this \
         storage, or choose a storage of its own with --storage-url"
    )]
    NoLog {
        /// Its first line.
        found: String,
    },
    /// The database has published entries, and the object store holds no checkpoint.
    #[error(
        "the database's log has published {expected} entries, and the storage holds no checkpoint of it; choose the storage that \
         belongs to this database, or restore both from the same backup"
    )]
    NoStorage {
        /// The published size.
        expected: u64,
    },
    /// The stored checkpoint is another log's.
    #[error("log/checkpoint in the storage: {0}; restore storage and database from the same backup")]
    OtherLog(#[from] PolicyError),
    /// The database is older than what was published.
    #[error(
        "the database's log has {found} entries, and a checkpoint over {expected} was published already; the database was restored \
         from an old backup: going on would show the world two histories. Restore a newer one, or begin a new log in an empty \
         storage and tell the authorities its new key"
    )]
    Behind {
        /// The published size.
        expected: u64,
        /// The database's.
        found: u64,
    },
    /// Another history was published.
    #[error(
        "the log's root over {size} entries is {found} in the database, and {expected} was published; storage and database are not of \
         one log: restore both from the same backup"
    )]
    Forked {
        /// The published size.
        size: u64,
        /// The published root.
        expected: String,
        /// The database's.
        found: String,
    },
    /// Most witnesses have cosigned more than was published.
    #[error(
        "the log has {found} published entries, and most of its witnesses ({witnesses}) have cosigned at least {expected}; database and \
         storage were restored from an old backup: going on would show the world two histories. Restore newer ones, or begin a new \
         log in an empty storage and tell the authorities its new key. If it is the witnesses who are wrong, take them out of \
         [transparency] witnesses"
    )]
    WitnessedBeyond {
        /// The smallest size that they name.
        expected: u64,
        /// What is published.
        found: u64,
        /// Their names.
        witnesses: String,
    },
    /// A test stops here.
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

impl From<LogError> for ApiError {
    fn from(error: LogError) -> Self {
        match error {
            LogError::Database(error) => error.into(),
            LogError::Blobs(error) => error.into(),
            other => Self::internal(other),
        }
    }
}
