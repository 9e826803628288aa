//! What can go wrong with the database, in the words of its callers.

use assay_schema::Sha256Digest;
use sea_orm::{DbErr, RuntimeErr, SqlErr, sqlx};

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
    /// Another request wrote the same at the same time.
    #[error("another request wrote the same at the same time; try again: {0}")]
    Raced(DbErr),
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
        if matches!(error.sql_err(), Some(SqlErr::UniqueConstraintViolation(_))) {
            return Self::Raced(error);
        }
        let driver = match &error {
            DbErr::Conn(_) | DbErr::ConnectionAcquire(_) => return Self::Unavailable(error),
            DbErr::Exec(RuntimeErr::SqlxError(driver)) | DbErr::Query(RuntimeErr::SqlxError(driver)) => {
                driver
            }
            _ => return Self::Failed(error),
        };
        match driver.as_ref() {
            sqlx::Error::Io(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed => Self::Unavailable(error),
            sqlx::Error::Database(said) => match said.code().as_deref() {
                // SQLITE_FULL; PostgreSQL's disk_full.
                Some("13" | "53100") => Self::Full(error),
                // SQLITE_BUSY and its kinds; PostgreSQL's deadlock and serialization failures.
                Some("5" | "261" | "517" | "40P01" | "40001") => Self::Raced(error),
                // PostgreSQL is starting, stopping, or has no connection left.
                Some(code) if code.starts_with("57P") || code.starts_with("53") => Self::Unavailable(error),
                _ => Self::Failed(error),
            },
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

#[cfg(test)]
mod tests {
    use sea_orm::{ConnectOptions, ConnectionTrait};

    use super::*;

    #[tokio::test]
    async fn a_full_disk_is_told_from_other_failures() {
        let folder = tempfile::tempdir().unwrap();
        let url = format!(
            "sqlite://{}?mode=rwc",
            folder.path().join("small.sqlite").display()
        );
        let mut options = ConnectOptions::new(url);
        options.max_connections(1);
        let db = sea_orm::Database::connect(options).await.unwrap();
        db.execute_unprepared("CREATE TABLE t (a TEXT PRIMARY KEY)")
            .await
            .unwrap();
        db.execute_unprepared("PRAGMA max_page_count = 4").await.unwrap();
        let full = db
            .execute_unprepared("INSERT INTO t VALUES (hex(zeroblob(100000)))")
            .await
            .unwrap_err();
        assert!(matches!(DatabaseError::from(full), DatabaseError::Full(_)));
        db.execute_unprepared("INSERT INTO t VALUES ('a')").await.unwrap();
        let twice = db
            .execute_unprepared("INSERT INTO t VALUES ('a')")
            .await
            .unwrap_err();
        assert!(matches!(DatabaseError::from(twice), DatabaseError::Raced(_)));
        let wrong = db
            .execute_unprepared("INSERT INTO nothing VALUES ('a')")
            .await
            .unwrap_err();
        assert!(matches!(DatabaseError::from(wrong), DatabaseError::Failed(_)));
        db.clone().close().await.unwrap();
        let closed = db.execute_unprepared("SELECT 1").await.unwrap_err();
        assert!(matches!(
            DatabaseError::from(closed),
            DatabaseError::Unavailable(_)
        ));
    }
}
