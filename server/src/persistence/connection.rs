//! Connecting, migrating, beginning transactions.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use sea_orm::sqlx::sqlite::{SqliteJournalMode, SqliteSynchronous};
use sea_orm::{ConnectOptions, DatabaseConnection};
use sea_orm_migration::MigratorTrait;

use super::error::DatabaseError;
use super::migration::Migrator;
use super::transaction::{WriteTransaction, Writer};

/// How many SQLite connections only read.
const READERS: u32 = 4;
/// How many connections a PostgreSQL server lends us.
const POSTGRES_CONNECTIONS: u32 = 16;
/// How long a statement waits for a connection or lock before the answer is 503.
const BUSY: Duration = Duration::from_secs(10);

/// The database: SQLite or PostgreSQL, the same functions on both.
#[derive(Clone)]
pub struct Database {
    pub(super) read: DatabaseConnection,
    write: Writer,
    writes: WriteCount,
}

/// How many transactions that write were committed: tests compare it with the steps that may write.
#[derive(Clone, Debug, Default)]
pub struct WriteCount(Arc<AtomicU64>);

impl WriteCount {
    /// The count so far.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    pub(super) fn add(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl std::fmt::Debug for Database {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Database")
            .field("backend", &self.write.connection().get_database_backend())
            .finish_non_exhaustive()
    }
}

impl Database {
    /// Connects to `sqlite://PATH` or `postgres://...` and brings its tables up to date.
    ///
    /// # Errors
    /// The database is not reachable, or a migration fails.
    pub async fn connect(url: &str) -> Result<Self, DatabaseError> {
        let (read, write) = if url.starts_with("sqlite:") {
            let write = sea_orm::Database::connect(sqlite(url, 1)).await?;
            (sea_orm::Database::connect(sqlite(url, READERS)).await?, write)
        } else {
            let mut options = ConnectOptions::new(url);
            options
                .max_connections(POSTGRES_CONNECTIONS)
                .acquire_timeout(BUSY)
                .sqlx_logging(false);
            let both = sea_orm::Database::connect(options).await?;
            (both.clone(), both)
        };
        Migrator::up(&write, None).await?;
        Ok(Self {
            read,
            write: Writer::new(write, BUSY),
            writes: WriteCount::default(),
        })
    }

    /// Whether the database answers.
    ///
    /// # Errors
    /// It does not.
    pub async fn ping(&self) -> Result<(), DatabaseError> {
        Ok(self.read.ping().await?)
    }

    /// Transactions that wrote, so far.
    pub fn writes(&self) -> &WriteCount {
        &self.writes
    }

    /// Closes every connection; SQLite folds its write-ahead log in.
    ///
    /// # Errors
    /// The database refuses.
    pub async fn close(self) -> Result<(), DatabaseError> {
        self.read.close().await?;
        Ok(self.write.connection().clone().close().await?)
    }

    /// Begins a transaction that will write.
    pub(super) async fn begin(&self) -> Result<WriteTransaction, DatabaseError> {
        self.write.begin().await
    }

    /// Ends a transaction that only read: what it read may be another's who shares the commit, and stands only behind that.
    pub(super) async fn confirm(&self, transaction: WriteTransaction) -> Result<(), DatabaseError> {
        transaction.commit().await
    }

    /// Commits a transaction that wrote.
    pub(super) async fn commit(&self, transaction: WriteTransaction) -> Result<(), DatabaseError> {
        transaction.commit().await?;
        self.writes.add();
        Ok(())
    }
}

fn sqlite(url: &str, connections: u32) -> ConnectOptions {
    let mut options = ConnectOptions::new(url);
    options
        .max_connections(connections)
        .acquire_timeout(BUSY)
        .sqlx_logging(false);
    options.map_sqlx_sqlite_opts(|sqlite| {
        sqlite
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(BUSY)
    });
    options
}
