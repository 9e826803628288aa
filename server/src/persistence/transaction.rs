//! Transactions that write, and SQLite's group commit.
//!
//! SQLite has one writer, and a synchronous commit costs a flush of the disk. So writers that wait for their turn share one: the
//! first opens a transaction, each writes inside a savepoint of its own, and the last of those that wait - or the one that makes the
//! group large or old enough - commits for all. Nobody is told of success before that commit; whoever fails or goes away takes back
//! their own savepoint only. PostgreSQL groups its flushes by itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use sea_orm::{
    ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbBackend, DbErr, ExecResult, QueryResult,
    SqliteTransactionMode, Statement, TransactionOptions, TransactionTrait,
};
use tokio::runtime::Handle;
use tokio::sync::{Mutex, OwnedMutexGuard, oneshot};

use super::error::DatabaseError;

/// Members of one group at most.
const MEMBERS: usize = 64;
/// The age from which a group takes no more members.
const AGE: Duration = Duration::from_millis(10);

/// Begins the transactions that write.
#[derive(Debug, Clone)]
pub(super) enum Writer {
    /// Each transaction by itself.
    Single(DatabaseConnection),
    /// Savepoints of shared transactions.
    Grouped(Group),
}

#[derive(Debug, Clone)]
pub(super) struct Group {
    connection: DatabaseConnection,
    open: Arc<Mutex<Option<Open>>>,
    /// Writers in the queue for `open`.
    waiting: Arc<AtomicUsize>,
    /// How long a writer waits for its turn.
    patience: Duration,
    /// Commits survive the request that began them, and the runtime that served it.
    runtime: Handle,
}

/// A shared transaction and those who wait for its commit.
#[derive(Debug)]
struct Open {
    transaction: DatabaseTransaction,
    members: Vec<oneshot::Sender<Result<(), DbErr>>>,
    since: Instant,
}

/// A transaction that will write. Dropping it takes back what it wrote.
#[derive(Debug)]
pub(super) struct WriteTransaction {
    /// `None` from the commit on.
    own: Option<DatabaseTransaction>,
    turn: Option<Turn>,
}

/// The right to write into the group's transaction.
#[derive(Debug)]
struct Turn {
    group: Group,
    guard: OwnedMutexGuard<Option<Open>>,
}

impl Writer {
    /// # Panics
    /// Outside a runtime.
    pub(super) fn new(connection: DatabaseConnection, patience: Duration) -> Self {
        match connection.get_database_backend() {
            DbBackend::Sqlite => Self::Grouped(Group {
                connection,
                open: Arc::default(),
                waiting: Arc::default(),
                patience,
                runtime: Handle::current(),
            }),
            _ => Self::Single(connection),
        }
    }

    pub(super) const fn connection(&self) -> &DatabaseConnection {
        match self {
            Self::Single(connection) | Self::Grouped(Group { connection, .. }) => connection,
        }
    }

    pub(super) async fn begin(&self) -> Result<WriteTransaction, DatabaseError> {
        match self {
            Self::Single(connection) => Ok(WriteTransaction {
                own: Some(connection.begin().await?),
                turn: None,
            }),
            Self::Grouped(group) => group.begin().await,
        }
    }
}

impl Group {
    async fn begin(&self) -> Result<WriteTransaction, DatabaseError> {
        let mut turn = self.turn().await?;
        if turn.guard.is_none() {
            // The write lock at once: a deferred transaction that reads and then writes would fail with SQLITE_BUSY whatever the
            // time-out.
            let options = TransactionOptions {
                sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
                ..TransactionOptions::default()
            };
            *turn.guard = Some(Open {
                transaction: self.connection.begin_with_options(options).await?,
                members: Vec::new(),
                since: Instant::now(),
            });
        }
        let own = match turn.guard.as_ref() {
            Some(open) => open.transaction.begin().await,
            None => Err(DbErr::Custom("no transaction is open".to_owned())),
        };
        match own {
            Ok(own) => Ok(WriteTransaction {
                own: Some(own),
                turn: Some(turn),
            }),
            Err(error) => {
                drop(turn);
                self.settle();
                Err(error.into())
            }
        }
    }

    /// Waits for its turn to write.
    async fn turn(&self) -> Result<Turn, DatabaseError> {
        let queued = Queued::new(self);
        let guard = tokio::time::timeout(self.patience, Arc::clone(&self.open).lock_owned()).await;
        let guard = guard.map_err(|_| {
            DatabaseError::Unavailable(DbErr::Custom(
                "every turn to write was taken for too long".to_owned(),
            ))
        })?;
        queued.served();
        Ok(Turn {
            group: self.clone(),
            guard,
        })
    }

    /// Commits what is open as soon as nobody writes into it: for a group whose next writer went away.
    fn settle(&self) {
        let open = Arc::clone(&self.open);
        self.runtime
            .spawn(async move { finish(open.lock_owned().await).await });
    }
}

/// A writer in the queue. If it goes away there, the group must not wait for it.
struct Queued<'a>(Option<&'a Group>);

impl<'a> Queued<'a> {
    fn new(group: &'a Group) -> Self {
        group.waiting.fetch_add(1, Ordering::SeqCst);
        Self(Some(group))
    }

    fn served(mut self) {
        if let Some(group) = self.0.take() {
            group.waiting.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        if let Some(group) = self.0.take() {
            group.waiting.fetch_sub(1, Ordering::SeqCst);
            group.settle();
        }
    }
}

/// Commits for all members.
async fn finish(mut guard: OwnedMutexGuard<Option<Open>>) {
    let Some(Open {
        transaction, members, ..
    }) = guard.take()
    else {
        return;
    };
    let committed = transaction.commit().await;
    drop(guard);
    for member in members {
        // A member that went away has nobody to tell.
        let _ = member.send(committed.clone());
    }
}

impl WriteTransaction {
    pub(super) async fn commit(mut self) -> Result<(), DatabaseError> {
        let Some(own) = self.own.take() else {
            return Err(DatabaseError::Failed(closed()));
        };
        own.commit().await?;
        // From here on nothing is awaited before the turn is passed on: it cannot get lost.
        let Some(Turn { group, mut guard }) = self.turn.take() else {
            return Ok(());
        };
        let (told, committed) = oneshot::channel();
        let due = guard.as_mut().is_none_or(|open| {
            open.members.push(told);
            open.members.len() >= MEMBERS || open.since.elapsed() >= AGE
        });
        if due || group.waiting.load(Ordering::SeqCst) == 0 {
            group.runtime.spawn(finish(guard));
        } else {
            drop(guard);
        }
        let gone = |_| DatabaseError::Unavailable(DbErr::Custom("the registry is stopping".to_owned()));
        Ok(committed.await.map_err(gone)??)
    }

    fn own(&self) -> Result<&DatabaseTransaction, DbErr> {
        self.own.as_ref().ok_or_else(closed)
    }
}

fn closed() -> DbErr {
    DbErr::Custom("the transaction has ended".to_owned())
}

impl Drop for WriteTransaction {
    fn drop(&mut self) {
        // The savepoint first: its rollback is queued before whatever the next writer does.
        drop(self.own.take());
        if let Some(Turn { group, guard }) = self.turn.take() {
            drop(guard);
            group.settle();
        }
    }
}

#[async_trait::async_trait]
impl ConnectionTrait for WriteTransaction {
    fn get_database_backend(&self) -> DbBackend {
        // Without a transaction every statement fails, in whatever dialect it is.
        self.own
            .as_ref()
            .map_or(DbBackend::Sqlite, ConnectionTrait::get_database_backend)
    }

    async fn execute_raw(&self, statement: Statement) -> Result<ExecResult, DbErr> {
        self.own()?.execute_raw(statement).await
    }

    async fn execute_unprepared(&self, sql: &str) -> Result<ExecResult, DbErr> {
        self.own()?.execute_unprepared(sql).await
    }

    async fn query_one_raw(&self, statement: Statement) -> Result<Option<QueryResult>, DbErr> {
        self.own()?.query_one_raw(statement).await
    }

    async fn query_all_raw(&self, statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
        self.own()?.query_all_raw(statement).await
    }
}
