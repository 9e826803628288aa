//! What can go wrong with the database, in the words of its callers.

use assay_schema::Sha256Digest;
use sea_orm::{DbErr, SqlErr};

/// An operation that the database did not do.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    /// The namespace's revision is no longer the expected one: someone else committed first. Load the head and begin again.
    #[error(
        "compare-and-swap: expected revision {expected}, found another; load the current state and begin again"
    )]
    Conflict {
        /// The revision that the caller built on.
        expected: u64,
    },
    /// A row of this name is there already.
    #[error("{what} exists")]
    Exists {
        /// What it is, with its name.
        what: String,
    },
    /// There is no such row.
    #[error("there is no {what}")]
    Missing {
        /// What it is, with its name.
        what: String,
    },
    /// A published release never changes.
    #[error(
        "release {release} is published with manifest {published}; a release is immutable, choose another version"
    )]
    ReleasePublished {
        /// `model@version`.
        release: String,
        /// The manifest that is published.
        published: Sha256Digest,
    },
    /// The candidate's manifest is not the one that was judged.
    #[error("release {release}: expected a candidate with manifest {expected}, found another; begin again")]
    ReleaseChanged {
        /// `model@version`.
        release: String,
        /// The manifest that the caller judged.
        expected: Sha256Digest,
    },
    /// A release names blobs that its namespace has not uploaded.
    #[error("{} blobs are not linked to the namespace; upload them first", .missing.len())]
    BlobsMissing {
        /// Their digests.
        missing: Vec<Sha256Digest>,
    },
    /// The upload's offset is not where the caller thinks.
    #[error("upload: expected offset {expected}, found another writer's")]
    OffsetMoved {
        /// The offset that the caller built on.
        expected: u64,
    },
    /// A cursor that no earlier page gave out.
    #[error("cursor: expected one that an earlier page gave, found {found:?}")]
    BadCursor {
        /// The beginning of the cursor.
        found: String,
    },
    /// A row that this software would not have written.
    #[error("database: {what}: expected {expected}, found {found:?}; restore from a backup or report this")]
    Corrupt {
        /// The table and column.
        what: &'static str,
        /// What should be there.
        expected: &'static str,
        /// What is there.
        found: String,
    },
    /// The database's disk is full.
    #[error("database: no space left: {0}")]
    Full(DbErr),
    /// The database is away or busy beyond its time-out.
    #[error("database is not reachable: {0}")]
    Unavailable(DbErr),
    /// Anything else that the database says.
    #[error("database: {0}")]
    Failed(DbErr),
}

impl From<DbErr> for DatabaseError {
    fn from(error: DbErr) -> Self {
        if let Some(SqlErr::UniqueConstraintViolation(what)) = error.sql_err() {
            return Self::Exists { what };
        }
        match &error {
            DbErr::Conn(_) | DbErr::ConnectionAcquire(_) => Self::Unavailable(error),
            // SQLITE_FULL (13) and PostgreSQL's disk_full (53100) reach us as text only through sea-orm's error.
            _ if ["database or disk is full", "No space left on device"]
                .iter()
                .any(|text| error.to_string().contains(text)) =>
            {
                Self::Full(error)
            }
            _ => Self::Failed(error),
        }
    }
}

impl DatabaseError {
    pub(super) fn corrupt(what: &'static str, expected: &'static str, found: impl ToString) -> Self {
        Self::Corrupt {
            what,
            expected,
            found: found.to_string().chars().take(80).collect(),
        }
    }
}
