//! The change of the log's key: the next one beside the present one, which stands in `log_state`, and the public halves of those that
//! the log had, under which an old checkpoint may still have to be judged.

use jiff::Timestamp;
use sea_orm::sea_query::Expr;
use sea_orm::{ActiveValue::Set, ColumnTrait, EntityTrait, QueryFilter, QueryOrder};

use super::connection::Database;
use super::convert::micros;
use super::entity::{log_next_key, log_retired_key, log_state};
use super::error::DatabaseError;
use super::log::LOG;

type Result<T> = std::result::Result<T, DatabaseError>;

/// The key that will take the present one's place.
#[derive(Clone, PartialEq, Eq)]
pub struct NextLogKey {
    /// The verifier key, under the log's name.
    pub key: String,
    /// The private half, sealed.
    pub sealed: Vec<u8>,
}

impl std::fmt::Debug for NextLogKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NextLogKey")
            .field("key", &self.key)
            .finish_non_exhaustive()
    }
}

impl Database {
    /// The log's next key; `None` if its key is not being changed.
    ///
    /// # Errors
    /// The database fails.
    pub async fn next_log_key(&self) -> Result<Option<NextLogKey>> {
        let row = log_next_key::Entity::find_by_id(LOG).one(&self.read).await?;
        Ok(row.map(|row| NextLogKey {
            key: row.key,
            sealed: row.sealed,
        }))
    }

    /// N4: keeps the next key, unless there is one: the first wins, and every asker gets that.
    ///
    /// # Errors
    /// The database fails.
    pub async fn add_next_log_key(&self, key: String, sealed: Vec<u8>) -> Result<NextLogKey> {
        let row = log_next_key::ActiveModel {
            name: Set(LOG.to_owned()),
            key: Set(key),
            sealed: Set(sealed),
        };
        let transaction = self.begin().await?;
        log_next_key::Entity::insert(row)
            .on_conflict_do_nothing()
            .exec_without_returning(&transaction)
            .await?;
        self.commit(transaction).await?;
        let made = self.next_log_key().await?;
        made.ok_or_else(|| DatabaseError::corrupt("log_next_key", "the row just written", "none"))
    }

    /// N5: `next` takes the place of `present`, whose private half goes.
    ///
    /// # Errors
    /// [`DatabaseError::Missing`] if they are no longer the present and the next key.
    pub async fn retire_log_key(&self, present: &str, next: NextLogKey, now: Timestamp) -> Result<()> {
        let changed = || DatabaseError::Missing {
            what: format!("log key {present} with the next key {}", next.key),
        };
        let transaction = self.begin().await?;
        let swapped = log_state::Entity::update_many()
            .col_expr(log_state::Column::Key, Expr::value(next.key.clone()))
            .col_expr(log_state::Column::Sealed, Expr::value(next.sealed.clone()))
            .filter(log_state::Column::Name.eq(LOG))
            .filter(log_state::Column::Key.eq(present))
            .exec(&transaction)
            .await?;
        let removed = log_next_key::Entity::delete_many()
            .filter(log_next_key::Column::Name.eq(LOG))
            .filter(log_next_key::Column::Key.eq(next.key.as_str()))
            .exec(&transaction)
            .await?;
        if (swapped.rows_affected, removed.rows_affected) != (1, 1) {
            return Err(changed());
        }
        let row = log_retired_key::ActiveModel {
            key: Set(present.to_owned()),
            retired: Set(micros(now)),
        };
        log_retired_key::Entity::insert(row)
            .exec_without_returning(&transaction)
            .await?;
        self.commit(transaction).await
    }

    /// The keys that the log had, newest first.
    ///
    /// # Errors
    /// The database fails.
    pub async fn retired_log_keys(&self) -> Result<Vec<String>> {
        let rows = log_retired_key::Entity::find()
            .order_by_desc(log_retired_key::Column::Retired)
            .all(&self.read)
            .await?;
        Ok(rows.into_iter().map(|row| row.key).collect())
    }
}
