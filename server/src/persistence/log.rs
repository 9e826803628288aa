//! The transparency log's tables: entries, the tree's state, and what its root was after each batch.
//!
//! An entry gets its place in one transaction with the tree's new size and root. Everything in the object store follows from the
//! places, so that whoever goes on after a crash writes the same bytes.

use assay_log::leaf::{Leaf, LeafKind};
use assay_log::merkle::TreeHead;
use assay_schema::{NamespaceName, Sha256Digest};
use jiff::Timestamp;
use sea_orm::sea_query::{Expr, ExprTrait, OnConflict};
use sea_orm::{
    ActiveValue::Set, ColumnTrait, ConnectionTrait, EntityTrait, Iterable, QueryFilter, QueryOrder,
    QuerySelect,
};

use super::connection::Database;
use super::convert::{digest, integer, micros, time, unsigned};
use super::entity::{log_batch, log_entry, log_state, namespace};
use super::error::DatabaseError;
use super::types::NewMetadata;

type Result<T> = std::result::Result<T, DatabaseError>;

/// The key of the one row of `log_state`.
pub(super) const LOG: &str = "log";

/// The log's one row.
#[derive(Clone, PartialEq, Eq)]
pub struct LogRecord {
    /// The log's verifier key, whose name is its origin.
    pub key: String,
    /// The private half, sealed.
    pub sealed: Vec<u8>,
    /// Entries that have a place, and the root over them.
    pub head: TreeHead,
    /// The size of the newest checkpoint whose tiles are all stored.
    pub published: u64,
}

impl std::fmt::Debug for LogRecord {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LogRecord")
            .field("key", &self.key)
            .field("head", &self.head)
            .field("published", &self.published)
            .finish_non_exhaustive()
    }
}

/// Where an entry stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogPlace {
    /// Its index.
    pub index: u64,
    /// The size of the tree after the batch that it came with.
    pub tree: u64,
}

impl Database {
    /// The log's state; `None` before its key was made.
    ///
    /// # Errors
    /// The database fails.
    pub async fn log_state(&self) -> Result<Option<LogRecord>> {
        let row = log_state::Entity::find_by_id(LOG).one(&self.read).await?;
        row.map(|row| {
            Ok(LogRecord {
                head: TreeHead {
                    size: unsigned(row.size)?,
                    root: digest(&row.root)?,
                },
                published: unsigned(row.published)?,
                key: row.key,
                sealed: row.sealed,
            })
        })
        .transpose()
    }

    /// Begins an empty log with this key, unless there is one: the first key wins, and every asker gets that.
    ///
    /// # Errors
    /// The database fails.
    pub async fn create_log(&self, key: String, sealed: Vec<u8>) -> Result<LogRecord> {
        let row = log_state::ActiveModel {
            name: Set(LOG.to_owned()),
            key: Set(key),
            sealed: Set(sealed),
            size: Set(0),
            root: Set(TreeHead::EMPTY.root.to_hex()),
            published: Set(0),
        };
        let transaction = self.begin().await?;
        log_state::Entity::insert(row)
            .on_conflict_do_nothing()
            .exec_without_returning(&transaction)
            .await?;
        self.commit(transaction).await?;
        let made = self.log_state().await?;
        made.ok_or_else(|| DatabaseError::corrupt("log_state", "the row just written", "none"))
    }

    /// Commits an entry that waits for its place. What publishes an entry inserts it in its own transaction (P3); this is for
    /// measuring how many entries the log takes.
    ///
    /// # Errors
    /// The database fails.
    pub async fn submit_log_entry(&self, entry: &Leaf, now: Timestamp) -> Result<()> {
        let transaction = self.begin().await?;
        insert_entry(&transaction, entry, now).await?;
        self.commit(transaction).await
    }

    /// Entries without a place, oldest first.
    ///
    /// # Errors
    /// The database fails.
    pub async fn pending_log_entries(&self, limit: u32) -> Result<Vec<Leaf>> {
        let rows = log_entry::Entity::find()
            .filter(log_entry::Column::Place.is_null())
            .order_by_asc(log_entry::Column::Created)
            .order_by_asc(log_entry::Column::Namespace)
            .order_by_asc(log_entry::Column::Kind)
            .order_by_asc(log_entry::Column::Version)
            .limit(u64::from(limit))
            .all(&self.read)
            .await?;
        rows.into_iter().map(leaf).collect()
    }

    /// The entries from one index up to another, in their order.
    ///
    /// # Errors
    /// The database fails, or lacks one of them.
    pub async fn log_entries(&self, from: u64, to: u64) -> Result<Vec<Leaf>> {
        let rows = log_entry::Entity::find()
            .filter(log_entry::Column::Place.gte(integer(from)?))
            .filter(log_entry::Column::Place.lt(integer(to)?))
            .order_by_asc(log_entry::Column::Place)
            .all(&self.read)
            .await?;
        for (expected, row) in (from..to).zip(&rows) {
            if row.place != Some(integer(expected)?) {
                return Err(DatabaseError::corrupt(
                    "log_entries.place",
                    "every place once",
                    expected,
                ));
            }
        }
        match rows.len() as u64 == to.saturating_sub(from) {
            true => rows.into_iter().map(leaf).collect(),
            false => Err(DatabaseError::corrupt(
                "log_entries",
                "an entry for every place",
                rows.len(),
            )),
        }
    }

    /// L1: gives these entries the places behind `old`, and makes `new` the tree's head, all or nothing.
    ///
    /// # Errors
    /// [`DatabaseError::Conflict`] if another sequencer came first.
    pub async fn integrate_log(&self, old: TreeHead, new: TreeHead, entries: &[Leaf]) -> Result<()> {
        let conflict = || DatabaseError::Conflict { expected: old.size };
        let transaction = self.begin().await?;
        // The row is locked from here to the commit: sequencers work one after the other, and those behind find another head.
        let swapped = log_state::Entity::update_many()
            .col_expr(log_state::Column::Size, Expr::value(integer(new.size)?))
            .col_expr(log_state::Column::Root, Expr::value(new.root.to_hex()))
            .filter(log_state::Column::Name.eq(LOG))
            .filter(log_state::Column::Size.eq(integer(old.size)?))
            .filter(log_state::Column::Root.eq(old.root.to_hex()))
            .exec(&transaction)
            .await?;
        if swapped.rows_affected != 1 {
            return Err(conflict());
        }
        let rows = (old.size..new.size).zip(entries).map(|(place, entry)| {
            Ok(log_entry::ActiveModel {
                place: Set(Some(integer(place)?)),
                tree: Set(Some(integer(new.size)?)),
                ..waiting(entry, Timestamp::UNIX_EPOCH)?
            })
        });
        // One statement for all: entries are never removed, so each row is there and only gets its place.
        let mut places = OnConflict::columns(log_entry::PrimaryKey::iter());
        places
            .update_columns([log_entry::Column::Place, log_entry::Column::Tree])
            .action_and_where(Expr::col((log_entry::Entity, log_entry::Column::Place)).is_null());
        let placed = log_entry::Entity::insert_many(rows.collect::<Result<Vec<_>>>()?)
            .on_conflict(places)
            .exec_without_returning(&transaction)
            .await?;
        if placed != entries.len() as u64 {
            return Err(conflict());
        }
        let batch = log_batch::ActiveModel {
            size: Set(integer(new.size)?),
            root: Set(new.root.to_hex()),
        };
        log_batch::Entity::insert(batch)
            .exec_without_returning(&transaction)
            .await?;
        self.commit(transaction).await
    }

    /// L4: the checkpoint of this size may be shown; a smaller one than is shown already changes nothing.
    ///
    /// # Errors
    /// The database fails.
    pub async fn publish_log(&self, size: u64) -> Result<()> {
        let transaction = self.begin().await?;
        log_state::Entity::update_many()
            .col_expr(log_state::Column::Published, Expr::value(integer(size)?))
            .filter(log_state::Column::Name.eq(LOG))
            .filter(log_state::Column::Published.lt(integer(size)?))
            .exec(&transaction)
            .await?;
        self.commit(transaction).await
    }

    /// The tree's head after the batch that made it this large; `None` if no batch did.
    ///
    /// # Errors
    /// The database fails.
    pub async fn log_head(&self, size: u64) -> Result<Option<TreeHead>> {
        if size == 0 {
            return Ok(Some(TreeHead::EMPTY));
        }
        let Ok(key) = i64::try_from(size) else {
            return Ok(None);
        };
        let row = log_batch::Entity::find_by_id(key).one(&self.read).await?;
        row.map(|row| {
            Ok(TreeHead {
                size,
                root: digest(&row.root)?,
            })
        })
        .transpose()
    }

    /// Where an entry stands; `None` if it has no place yet, or is not there.
    ///
    /// # Errors
    /// The database fails.
    pub async fn log_place(&self, entry: &Leaf) -> Result<Option<LogPlace>> {
        let key = (
            entry.namespace().to_hex(),
            kind_name(entry.kind()).to_owned(),
            integer(entry.version())?,
            entry.sha256().to_hex(),
        );
        let row = log_entry::Entity::find_by_id(key).one(&self.read).await?;
        match row.and_then(|row| row.place.zip(row.tree)) {
            Some((index, tree)) => Ok(Some(LogPlace {
                index: unsigned(index)?,
                tree: unsigned(tree)?,
            })),
            None => Ok(None),
        }
    }
}

/// Part of P3: what becomes current of root and snapshot waits for its place in the log from the same commit on.
pub(super) async fn insert_entries<C: ConnectionTrait>(
    connection: &C,
    name: &NamespaceName,
    files: &[NewMetadata],
    now: Timestamp,
) -> Result<()> {
    let logged: Vec<_> = files
        .iter()
        .filter_map(|file| kind_of(&file.role).map(|kind| (kind, file)))
        .collect();
    if logged.is_empty() {
        return Ok(());
    }
    let row = namespace::Entity::find_by_id(name.as_str())
        .one(connection)
        .await?;
    let row = row.ok_or_else(|| DatabaseError::Missing {
        what: format!("namespace {name}"),
    })?;
    let identity = digest(&row.identity)?;
    let now = not_before_earlier(connection, &row.identity, now).await?;
    for (kind, file) in logged {
        let entry = entry(identity, kind, file.version, file.sha256)?;
        insert_entry(connection, &entry, now).await?;
    }
    Ok(())
}

/// A time for a namespace's new entries that is later than that of its earlier ones: places follow it, and neither another
/// registry's clock nor a publication that began again may put a version before the one that it replaces.
async fn not_before_earlier<C: ConnectionTrait>(
    connection: &C,
    identity: &str,
    now: Timestamp,
) -> Result<Timestamp> {
    let mut at = micros(now);
    for kind in [LeafKind::Root, LeafKind::Snapshot] {
        let last = log_entry::Entity::find()
            .filter(log_entry::Column::Namespace.eq(identity))
            .filter(log_entry::Column::Kind.eq(kind_name(kind)))
            .order_by_desc(log_entry::Column::Version)
            .one(connection)
            .await?;
        at = last.map_or(at, |last| Ord::max(at, last.created.saturating_add(1)));
    }
    time(at)
}

async fn insert_entry<C: ConnectionTrait>(connection: &C, entry: &Leaf, now: Timestamp) -> Result<()> {
    log_entry::Entity::insert(waiting(entry, now)?)
        .on_conflict_do_nothing()
        .exec_without_returning(connection)
        .await?;
    Ok(())
}

/// The row of an entry that has no place yet.
fn waiting(entry: &Leaf, created: Timestamp) -> Result<log_entry::ActiveModel> {
    Ok(log_entry::ActiveModel {
        namespace: Set(entry.namespace().to_hex()),
        kind: Set(kind_name(entry.kind()).to_owned()),
        version: Set(integer(entry.version())?),
        sha256: Set(entry.sha256().to_hex()),
        created: Set(micros(created)),
        place: Set(None),
        tree: Set(None),
    })
}

fn entry(namespace: Sha256Digest, kind: LeafKind, version: u64, sha256: Sha256Digest) -> Result<Leaf> {
    Leaf::new(namespace, kind, version, sha256)
        .map_err(|e| DatabaseError::corrupt("log_entries.version", "a file's version", e))
}

fn kind_of(role: &str) -> Option<LeafKind> {
    match role {
        "root" => Some(LeafKind::Root),
        "snapshot" => Some(LeafKind::Snapshot),
        _ => None,
    }
}

const fn kind_name(kind: LeafKind) -> &'static str {
    match kind {
        LeafKind::Root => "root",
        LeafKind::Snapshot => "snapshot",
    }
}

fn leaf(row: log_entry::Model) -> Result<Leaf> {
    let kind = kind_of(&row.kind)
        .ok_or_else(|| DatabaseError::corrupt("log_entries.kind", "root or snapshot", &row.kind))?;
    entry(
        digest(&row.namespace)?,
        kind,
        unsigned(row.version)?,
        digest(&row.sha256)?,
    )
}
