//! Online keys, sealed: the present ones of each namespace, and those that a later root may list.

use assay_schema::NamespaceName;
use sea_orm::sea_query::Expr;
use sea_orm::{
    ActiveValue::Set, ColumnTrait, Condition, ConnectionTrait, EntityTrait, QueryFilter, QueryOrder,
};

use super::connection::Database;
use super::entity::online_key;
use super::error::DatabaseError;
use super::types::{OnlineKey, OnlineRole};

type Result<T> = std::result::Result<T, DatabaseError>;

/// Stands behind the role's name of a key that no root lists yet.
const NEXT: &str = ".next";

impl Database {
    /// Stores online keys for a namespace that need not exist yet, unless it has some: the first keys win, and every asker gets
    /// those.
    ///
    /// # Errors
    /// The database fails.
    pub async fn reserve_online_keys(
        &self,
        namespace: &NamespaceName,
        candidates: Vec<OnlineKey>,
    ) -> Result<Vec<OnlineKey>> {
        self.reserve_keys(namespace, candidates, "").await
    }

    /// Stores the online keys that a later root may list, unless there are some: the first keys win.
    ///
    /// # Errors
    /// The database fails.
    pub async fn reserve_next_online_keys(
        &self,
        namespace: &NamespaceName,
        candidates: Vec<OnlineKey>,
    ) -> Result<Vec<OnlineKey>> {
        self.reserve_keys(namespace, candidates, NEXT).await
    }

    async fn reserve_keys(
        &self,
        namespace: &NamespaceName,
        candidates: Vec<OnlineKey>,
        suffix: &str,
    ) -> Result<Vec<OnlineKey>> {
        let found = self.keys_named(namespace, suffix).await?;
        if found.len() >= candidates.len() {
            return Ok(found);
        }
        let rows = candidates
            .into_iter()
            .map(|key| {
                Ok(online_key::ActiveModel {
                    namespace: Set(namespace.to_string()),
                    role: Set(format!("{}{suffix}", key.role.name())),
                    public: Set(serde_json::to_string(&key.public)
                        .map_err(|e| DatabaseError::corrupt("online_keys.public", "a TUF key", e))?),
                    sealed: Set(key.sealed),
                })
            })
            .collect::<Result<Vec<_>>>()?;
        let transaction = self.begin().await?;
        online_key::Entity::insert_many(rows)
            .on_conflict_do_nothing()
            .exec_without_returning(&transaction)
            .await?;
        self.commit(transaction).await?;
        self.keys_named(namespace, suffix).await
    }

    /// Whether any namespace has online keys.
    ///
    /// # Errors
    /// The database fails.
    pub async fn has_online_keys(&self) -> Result<bool> {
        Ok(online_key::Entity::find().one(&self.read).await?.is_some())
    }

    /// The online keys of a namespace, by role; empty if none were reserved.
    ///
    /// # Errors
    /// The database fails.
    pub async fn online_keys(&self, namespace: &NamespaceName) -> Result<Vec<OnlineKey>> {
        self.keys_named(namespace, "").await
    }

    /// The online keys that a later root may list, by role; empty if none were reserved.
    ///
    /// # Errors
    /// The database fails.
    pub async fn next_online_keys(&self, namespace: &NamespaceName) -> Result<Vec<OnlineKey>> {
        self.keys_named(namespace, NEXT).await
    }

    async fn keys_named(&self, namespace: &NamespaceName, suffix: &str) -> Result<Vec<OnlineKey>> {
        let rows = online_key::Entity::find()
            .filter(online_key::Column::Namespace.eq(namespace.as_str()))
            .order_by_asc(online_key::Column::Role)
            .all(&self.read)
            .await?;
        rows.into_iter()
            .filter(|row| row.role.ends_with(NEXT) != suffix.is_empty())
            .map(|row| {
                let name = row.role.trim_end_matches(NEXT);
                Ok(OnlineKey {
                    role: [OnlineRole::Snapshot, OnlineRole::Timestamp]
                        .into_iter()
                        .find(|role| role.name() == name)
                        .ok_or_else(|| {
                            DatabaseError::corrupt("online_keys.role", "snapshot or timestamp", &row.role)
                        })?,
                    public: serde_json::from_str(&row.public)
                        .map_err(|e| DatabaseError::corrupt("online_keys.public", "a TUF key", e))?,
                    sealed: row.sealed,
                })
            })
            .collect()
    }
}

/// The role's next key takes the place of its present one; false if there is no next key.
pub(super) async fn promote_key<C: ConnectionTrait>(
    connection: &C,
    name: &NamespaceName,
    role: OnlineRole,
) -> Result<bool> {
    let of = |role: String| {
        Condition::all()
            .add(online_key::Column::Namespace.eq(name.as_str()))
            .add(online_key::Column::Role.eq(role))
    };
    online_key::Entity::delete_many()
        .filter(of(role.name().to_owned()))
        .exec(connection)
        .await?;
    let moved = online_key::Entity::update_many()
        .col_expr(online_key::Column::Role, Expr::value(role.name()))
        .filter(of(format!("{}{NEXT}", role.name())))
        .exec(connection)
        .await?;
    Ok(moved.rows_affected == 1)
}
