//! Transactions that write, and SQLite's group commit.
//!
//! SQLite has one writer, and a synchronous commit costs a flush of the disk. So writers that wait for their turn share one: the
//! first opens a transaction, each writes inside a savepoint of its own, and the last of those that wait - or the one that makes the
//! group large or old enough - commits for all. Nobody is told of success before that commit; whoever fails or goes away takes back
//! their own savepoint only. PostgreSQL groups its flushes by itself.
//!
//! A request may go away at every await. So everything but a writer's own statements runs in a task that nobody can drop halfway:
//! opening, leaving and committing a savepoint are done wholly, with the group's lock held. A savepoint that cannot be opened or left
//! is that of a transaction which is no longer the group's (SQLite takes one back by itself when its disk is full): then the whole
//! group fails, and all of its members are told so.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex as Lock, PoisonError};
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

/// Begins a member's part.
const SAVEPOINT: &str = "SAVEPOINT member";
/// Keeps it.
const RELEASE: &str = "RELEASE member";
/// Takes it back.
const ROLLBACK: &str = "ROLLBACK TO member; RELEASE member";

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
    /// Outlives the requests, and the runtimes that serve them.
    runtime: Handle,
}

/// A shared transaction and those who wait for its commit.
#[derive(Debug)]
struct Open {
    transaction: DatabaseTransaction,
    members: Vec<Told>,
    since: Instant,
}

type Told = oneshot::Sender<Result<(), DbErr>>;
type Guard = OwnedMutexGuard<Option<Open>>;

/// A transaction that will write. Dropping it takes back what it wrote.
#[derive(Debug)]
pub(super) struct WriteTransaction(Part);

#[derive(Debug)]
enum Part {
    Whole(DatabaseTransaction),
    Member(Member),
    Ended,
}

/// A savepoint, and the right to write into the group's transaction.
#[derive(Debug)]
struct Member {
    group: Group,
    guard: Guard,
    /// The last statement that failed: why SQLite took back more than that statement, if it did.
    trouble: Lock<Option<DbErr>>,
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
            Self::Single(connection) => Ok(WriteTransaction(Part::Whole(connection.begin().await?))),
            Self::Grouped(group) => {
                // Made whole inside the task: if nobody waits for it any more, it is dropped as what it is.
                let joining = group.clone().join();
                let begun = async { Ok(WriteTransaction(Part::Member(joining.await?))) };
                group.runtime.spawn(begun).await.map_err(stopping)?
            }
        }
    }
}

impl Group {
    /// Waits for its turn, and opens a savepoint.
    async fn join(self) -> Result<Member, DatabaseError> {
        self.waiting.fetch_add(1, Ordering::SeqCst);
        let turn = tokio::time::timeout(self.patience, Arc::clone(&self.open).lock_owned()).await;
        self.waiting.fetch_sub(1, Ordering::SeqCst);
        let Ok(mut guard) = turn else {
            // The one before may have counted on this one to commit.
            self.runtime.spawn(self.clone().settle());
            let late = "every turn to write was taken for too long";
            return Err(DatabaseError::Unavailable(DbErr::Custom(late.to_owned())));
        };
        let open = match guard.take() {
            Some(open) => open,
            None => Open {
                // The write lock at once: a deferred transaction that reads and then writes would fail with SQLITE_BUSY whatever
                // the time-out.
                transaction: self
                    .connection
                    .begin_with_options(TransactionOptions {
                        sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
                        ..TransactionOptions::default()
                    })
                    .await?,
                members: Vec::new(),
                since: Instant::now(),
            },
        };
        if let Err(error) = open.transaction.execute_unprepared(SAVEPOINT).await {
            open.fail(error.clone()).await;
            return Err(error.into());
        }
        *guard = Some(open);
        Ok(Member {
            group: self,
            guard,
            trouble: Lock::default(),
        })
    }

    async fn settle(self) {
        let guard = Arc::clone(&self.open).lock_owned().await;
        self.pass_on(guard).await;
    }

    /// Lets the next writer in, or commits for all if nobody waits or the group is due.
    async fn pass_on(&self, mut guard: Guard) {
        let due = |open: &Open| open.members.len() >= MEMBERS || open.since.elapsed() >= AGE;
        // Whoever is counted gets the lock next, or settles when it gives up.
        if self.waiting.load(Ordering::SeqCst) > 0 && !guard.as_ref().is_none_or(due) {
            return;
        }
        if let Some(open) = guard.take() {
            open.commit().await;
        }
    }
}

impl Open {
    async fn commit(self) {
        let committed = self.transaction.commit().await;
        tell(self.members, &committed);
    }

    /// Takes the whole group back.
    async fn fail(self, error: DbErr) {
        // Where SQLite has ended the transaction by itself, a rollback would fail and leave the connection believing in it: it gets
        // one to roll back. Else this fails, and changes nothing.
        let _ = self.transaction.execute_unprepared("BEGIN").await;
        let _ = self.transaction.rollback().await;
        tell(self.members, &Err(error));
    }
}

/// A member that went away has nobody to tell.
fn tell(members: Vec<Told>, outcome: &Result<(), DbErr>) {
    for member in members {
        let _ = member.send(outcome.clone());
    }
}

/// Keeps or takes back a member's part, wholly, and passes the turn on. A member that is told gets the answer of the group's commit.
async fn leave(member: Member, how: &'static str, told: Option<Told>) {
    let Member {
        group,
        mut guard,
        trouble,
    } = member;
    let Some(mut open) = guard.take() else { return };
    let left = open.transaction.execute_unprepared(how).await;
    open.members.extend(told);
    match left {
        Ok(_) => {
            *guard = Some(open);
            group.pass_on(guard).await;
        }
        Err(error) => {
            let trouble = trouble.into_inner().unwrap_or_else(PoisonError::into_inner);
            open.fail(trouble.unwrap_or(error)).await;
        }
    }
}

impl WriteTransaction {
    pub(super) async fn commit(mut self) -> Result<(), DatabaseError> {
        match std::mem::replace(&mut self.0, Part::Ended) {
            Part::Whole(transaction) => Ok(transaction.commit().await?),
            Part::Ended => Err(DatabaseError::Failed(closed())),
            Part::Member(member) => {
                let (told, committed) = oneshot::channel();
                let runtime = member.group.runtime.clone();
                runtime.spawn(leave(member, RELEASE, Some(told)));
                Ok(committed.await.map_err(stopping)??)
            }
        }
    }

    fn transaction(&self) -> Result<&DatabaseTransaction, DbErr> {
        match &self.0 {
            Part::Whole(transaction) => Ok(transaction),
            Part::Member(member) => member
                .guard
                .as_ref()
                .map(|open| &open.transaction)
                .ok_or_else(closed),
            Part::Ended => Err(closed()),
        }
    }

    fn note<T>(&self, done: Result<T, DbErr>) -> Result<T, DbErr> {
        if let (Part::Member(member), Err(error)) = (&self.0, &done) {
            *member.trouble.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.clone());
        }
        done
    }
}

fn closed() -> DbErr {
    DbErr::Custom("the transaction has ended".to_owned())
}

/// A task that was dropped: only a runtime that ends does that.
fn stopping(_: impl std::error::Error) -> DatabaseError {
    DatabaseError::Unavailable(DbErr::Custom("the registry is stopping".to_owned()))
}

impl Drop for WriteTransaction {
    fn drop(&mut self) {
        if let Part::Member(member) = std::mem::replace(&mut self.0, Part::Ended) {
            let runtime = member.group.runtime.clone();
            runtime.spawn(leave(member, ROLLBACK, None));
        }
    }
}

#[async_trait::async_trait]
impl ConnectionTrait for WriteTransaction {
    fn get_database_backend(&self) -> DbBackend {
        match &self.0 {
            Part::Whole(transaction) => transaction.get_database_backend(),
            // Without a transaction every statement fails, in whatever dialect it is.
            Part::Member(_) | Part::Ended => DbBackend::Sqlite,
        }
    }

    async fn execute_raw(&self, statement: Statement) -> Result<ExecResult, DbErr> {
        self.note(self.transaction()?.execute_raw(statement).await)
    }

    async fn execute_unprepared(&self, sql: &str) -> Result<ExecResult, DbErr> {
        self.note(self.transaction()?.execute_unprepared(sql).await)
    }

    async fn query_one_raw(&self, statement: Statement) -> Result<Option<QueryResult>, DbErr> {
        self.note(self.transaction()?.query_one_raw(statement).await)
    }

    async fn query_all_raw(&self, statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
        self.note(self.transaction()?.query_all_raw(statement).await)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(10);

    struct Store {
        writer: Writer,
        group: Group,
        reader: DatabaseConnection,
        _folder: tempfile::TempDir,
    }

    impl Store {
        async fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let url = format!(
                "sqlite://{}?mode=rwc",
                folder.path().join("test.sqlite").display()
            );
            let connect = || {
                let mut options = sea_orm::ConnectOptions::new(&url);
                options.max_connections(1).sqlx_logging(false);
                sea_orm::Database::connect(options)
            };
            let connection = connect().await.unwrap();
            connection
                .execute_unprepared("PRAGMA journal_mode = WAL")
                .await
                .unwrap();
            connection
                .execute_unprepared("CREATE TABLE t (n INTEGER PRIMARY KEY)")
                .await
                .unwrap();
            let writer = Writer::new(connection, PATIENCE);
            let Writer::Grouped(group) = writer.clone() else {
                panic!("SQLite groups");
            };
            Self {
                writer,
                group,
                reader: connect().await.unwrap(),
                _folder: folder,
            }
        }

        async fn queued(&self, writers: usize) {
            while self.group.waiting.load(Ordering::SeqCst) < writers {
                tokio::task::yield_now().await;
            }
        }

        /// What is on disk.
        async fn committed(&self) -> Vec<i32> {
            let all = Statement::from_string(DbBackend::Sqlite, "SELECT n FROM t ORDER BY n");
            let rows = self.reader.query_all_raw(all).await.unwrap();
            rows.iter().map(|row| row.try_get_by(0).unwrap()).collect()
        }
    }

    async fn insert(transaction: &WriteTransaction, n: i32) {
        let sql = format!("INSERT INTO t VALUES ({n})");
        transaction.execute_unprepared(&sql).await.unwrap();
    }

    /// A first member that has left its savepoint, and a second one that has its turn.
    async fn two_of_a_group(
        store: &Store,
    ) -> (
        tokio::task::JoinHandle<Result<(), DatabaseError>>,
        WriteTransaction,
    ) {
        let first = store.writer.begin().await.unwrap();
        insert(&first, 1).await;
        let writer = store.writer.clone();
        let second = tokio::spawn(async move { writer.begin().await });
        store.queued(1).await;
        let first = tokio::spawn(first.commit());
        (first, second.await.unwrap().unwrap())
    }

    #[tokio::test]
    async fn nobody_is_told_of_success_before_the_commit_of_all() {
        let store = Store::new().await;
        let (first, second) = two_of_a_group(&store).await;
        insert(&second, 2).await;
        assert!(!first.is_finished());
        assert!(store.committed().await.is_empty());
        second.commit().await.unwrap();
        first.await.unwrap().unwrap();
        assert_eq!(store.committed().await, [1, 2]);
    }

    #[tokio::test]
    async fn a_member_that_goes_away_takes_back_its_own_part_and_keeps_nobody_waiting() {
        let store = Store::new().await;
        let (first, second) = two_of_a_group(&store).await;
        insert(&second, 2).await;
        drop(second);
        first.await.unwrap().unwrap();
        assert_eq!(store.committed().await, [1]);
    }

    #[tokio::test]
    async fn a_writer_that_goes_away_in_the_queue_keeps_nobody_waiting() {
        let store = Store::new().await;
        let first = store.writer.begin().await.unwrap();
        insert(&first, 1).await;
        let writer = store.writer.clone();
        let second = tokio::spawn(async move { writer.begin().await });
        store.queued(1).await;
        second.abort();
        first.commit().await.unwrap();
        assert_eq!(store.committed().await, [1]);
        let third = store.writer.begin().await.unwrap();
        insert(&third, 3).await;
        third.commit().await.unwrap();
        assert_eq!(store.committed().await, [1, 3]);
    }

    #[tokio::test]
    async fn a_transaction_that_sqlite_takes_back_fails_for_all_and_the_next_one_is_whole() {
        let store = Store::new().await;
        let (first, second) = two_of_a_group(&store).await;
        insert(&second, 2).await;
        // What SQLite does by itself when its disk is full.
        second.execute_unprepared("ROLLBACK").await.unwrap();
        let cause = second
            .execute_unprepared("INSERT INTO missing VALUES (1)")
            .await
            .unwrap_err();
        drop(second);
        let told = first.await.unwrap().unwrap_err();
        assert!(told.to_string().contains(&cause.to_string()), "{told}");
        assert!(store.committed().await.is_empty());
        for n in [3, 4] {
            let next = store.writer.begin().await.unwrap();
            insert(&next, n).await;
            next.commit().await.unwrap();
        }
        assert_eq!(store.committed().await, [3, 4]);
    }

    #[tokio::test]
    async fn a_commit_of_what_sqlite_took_back_is_refused() {
        let store = Store::new().await;
        let (first, second) = two_of_a_group(&store).await;
        second.execute_unprepared("ROLLBACK").await.unwrap();
        assert!(second.commit().await.is_err());
        assert!(first.await.unwrap().is_err());
        assert!(store.committed().await.is_empty());
    }
}
