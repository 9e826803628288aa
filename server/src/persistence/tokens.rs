//! API tokens: only their hashes are here.

use assay_schema::NamespaceName;
use assay_schema::api::{Page, Scope, TokenInfo};
use jiff::Timestamp;
use sea_orm::sea_query::Expr;
use sea_orm::{
    ActiveValue::Set, ColumnTrait, EntityTrait, PaginatorTrait, QueryFilter, QueryOrder, QuerySelect,
};

use super::connection::Database;
use super::convert::{micros, parsed, scope, scope_name, time};
use super::entity::token;
use super::error::DatabaseError;
use super::namespaces::truncate;

type Result<T> = std::result::Result<T, DatabaseError>;

/// A token that is to be stored.
#[derive(Debug, Clone)]
pub struct NewTokenRecord {
    /// Its name in its URL.
    pub id: String,
    /// What it is for.
    pub label: String,
    /// Hexadecimal of the SHA-256 of its secret.
    pub hash: String,
    /// What it allows.
    pub scope: Scope,
    /// The one namespace that it is for.
    pub namespace: Option<NamespaceName>,
    /// Now.
    pub created: Timestamp,
    /// When it ends.
    pub expires: Option<Timestamp>,
}

/// A token as stored, unless it was revoked.
#[derive(Debug, Clone)]
pub struct TokenRecord {
    /// What the API shows of it.
    pub info: TokenInfo,
    /// Hexadecimal of the SHA-256 of its secret.
    pub hash: String,
}

impl Database {
    /// Stores a token.
    ///
    /// # Errors
    /// The database fails.
    pub async fn add_token(&self, new: NewTokenRecord) -> Result<TokenInfo> {
        let transaction = self.begin().await?;
        let row = token::Model {
            id: new.id,
            label: new.label,
            hash: new.hash,
            scope: scope_name(new.scope).to_owned(),
            namespace: new.namespace.map(String::from),
            created: micros(new.created),
            expires: new.expires.map(micros),
            revoked: None,
        };
        let active = token::ActiveModel {
            id: Set(row.id.clone()),
            label: Set(row.label.clone()),
            hash: Set(row.hash.clone()),
            scope: Set(row.scope.clone()),
            namespace: Set(row.namespace.clone()),
            created: Set(row.created),
            expires: Set(row.expires),
            revoked: Set(None),
        };
        token::Entity::insert(active)
            .exec_without_returning(&transaction)
            .await?;
        self.commit(transaction).await?;
        Ok(TokenRecord::try_from(row)?.info)
    }

    /// A token that was not revoked; whether it expired is the caller's to ask.
    ///
    /// # Errors
    /// The database fails.
    pub async fn token(&self, id: &str) -> Result<Option<TokenRecord>> {
        let row = token::Entity::find_by_id(id)
            .filter(token::Column::Revoked.is_null())
            .one(&self.read)
            .await?;
        row.map(TokenRecord::try_from).transpose()
    }

    /// Whether any token was ever made: at the first start none was.
    ///
    /// # Errors
    /// The database fails.
    pub async fn has_tokens(&self) -> Result<bool> {
        Ok(token::Entity::find().limit(1).count(&self.read).await? > 0)
    }

    /// A page of the tokens that were not revoked, by id.
    ///
    /// # Errors
    /// The database fails.
    pub async fn list_tokens(&self, cursor: Option<&str>, limit: u32) -> Result<Page<TokenInfo>> {
        let mut query = token::Entity::find()
            .filter(token::Column::Revoked.is_null())
            .order_by_asc(token::Column::Id)
            .limit(u64::from(limit) + 1);
        if let Some(cursor) = cursor {
            query = query.filter(token::Column::Id.gt(cursor));
        }
        let mut rows = query.all(&self.read).await?;
        let more = truncate(&mut rows, limit);
        let next = more.then(|| rows.last().map(|row| row.id.clone())).flatten();
        let items = rows
            .into_iter()
            .map(|row| Ok(TokenRecord::try_from(row)?.info))
            .collect::<Result<_>>()?;
        Ok(Page { items, next })
    }

    /// Revokes a token; `false` if there is none.
    ///
    /// # Errors
    /// The database fails.
    pub async fn revoke_token(&self, id: &str, now: Timestamp) -> Result<bool> {
        let transaction = self.begin().await?;
        let revoked = token::Entity::update_many()
            .col_expr(token::Column::Revoked, Expr::value(micros(now)))
            .filter(token::Column::Id.eq(id))
            .filter(token::Column::Revoked.is_null())
            .exec(&transaction)
            .await?;
        self.commit(transaction).await?;
        Ok(revoked.rows_affected == 1)
    }
}

impl TryFrom<token::Model> for TokenRecord {
    type Error = DatabaseError;

    fn try_from(row: token::Model) -> Result<Self> {
        Ok(Self {
            info: TokenInfo {
                id: row.id,
                label: row.label,
                scope: scope(&row.scope)?,
                namespace: row
                    .namespace
                    .as_deref()
                    .map(|name| parsed("tokens.namespace", name))
                    .transpose()?,
                created: time(row.created)?,
                expires: row.expires.map(time).transpose()?,
            },
            hash: row.hash,
        })
    }
}
