//! What witnesses cosigned: for each size and key the first cosignature that anybody stored, which then stays. So several registries
//! on one database may ask the same witnesses, and a proof that has its cosignatures never changes.

use assay_log::VerifierKey;
use assay_log::note::{SignatureLine, parse_signatures};
use jiff::Timestamp;
use sea_orm::{ActiveValue::Set, ColumnTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect};

use super::connection::Database;
use super::convert::{integer, micros, time, unsigned};
use super::entity::log_cosignature::{ActiveModel, Column, Entity, Model};
use super::error::DatabaseError;

type Result<T> = std::result::Result<T, DatabaseError>;

/// A witness's cosignature of the checkpoint over `size` entries. It was checked before it was stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cosignature {
    /// The checkpoint's size.
    pub size: u64,
    /// The witness's verifier key, as text.
    pub key: String,
    /// The signature line.
    pub line: SignatureLine,
    /// The time in it.
    pub time: Timestamp,
}

impl TryFrom<Model> for Cosignature {
    type Error = DatabaseError;

    fn try_from(row: Model) -> Result<Self> {
        let line = parse_signatures(&row.line)
            .ok()
            .and_then(|mut lines| lines.pop())
            .ok_or_else(|| DatabaseError::corrupt("log_cosignatures.line", "a signature line", &row.line))?;
        Ok(Self {
            size: unsigned(row.size)?,
            key: row.key,
            line,
            time: time(row.cosigned)?,
        })
    }
}

fn texts(keys: &[VerifierKey]) -> impl Iterator<Item = String> + '_ {
    keys.iter().map(VerifierKey::to_string)
}

impl Database {
    /// L5: keeps a cosignature, unless there is one of this size and key.
    ///
    /// # Errors
    /// The database fails.
    pub async fn add_cosignature(
        &self,
        size: u64,
        key: &VerifierKey,
        line: &SignatureLine,
        time: Timestamp,
    ) -> Result<()> {
        let row = ActiveModel {
            size: Set(integer(size)?),
            key: Set(key.to_string()),
            line: Set(line.to_string()),
            cosigned: Set(micros(time)),
        };
        let transaction = self.begin().await?;
        Entity::insert(row)
            .on_conflict_do_nothing()
            .exec_without_returning(&transaction)
            .await?;
        self.commit(transaction).await
    }

    /// At most `limit` cosignatures of the checkpoint over `size` entries, by key.
    ///
    /// # Errors
    /// The database fails.
    pub async fn cosignatures(&self, size: u64, limit: u64) -> Result<Vec<Cosignature>> {
        let rows = Entity::find()
            .filter(Column::Size.eq(integer(size)?))
            .order_by_asc(Column::Key)
            .limit(limit)
            .all(&self.read)
            .await?;
        rows.into_iter().map(Cosignature::try_from).collect()
    }

    /// The cosignature of the largest checkpoint that this witness cosigned.
    ///
    /// # Errors
    /// The database fails.
    pub async fn last_cosigned(&self, key: &VerifierKey) -> Result<Option<Cosignature>> {
        let row = Entity::find()
            .filter(Column::Key.eq(key.to_string()))
            .order_by_desc(Column::Size)
            .one(&self.read)
            .await?;
        row.map(Cosignature::try_from).transpose()
    }

    /// The smallest size from `from` on that this witness cosigned.
    ///
    /// # Errors
    /// The database fails.
    pub async fn first_cosigned(&self, key: &VerifierKey, from: u64) -> Result<Option<u64>> {
        let size: Option<i64> = Entity::find()
            .select_only()
            .column(Column::Size)
            .filter(Column::Key.eq(key.to_string()))
            .filter(Column::Size.gte(integer(from)?))
            .order_by_asc(Column::Size)
            .into_tuple()
            .one(&self.read)
            .await?;
        size.map(unsigned).transpose()
    }

    /// The largest size that any of these witnesses cosigned.
    ///
    /// # Errors
    /// The database fails.
    pub async fn newest_cosigned(&self, keys: &[VerifierKey]) -> Result<Option<u64>> {
        let size: Option<i64> = Entity::find()
            .select_only()
            .column(Column::Size)
            .filter(Column::Key.is_in(texts(keys)))
            .order_by_desc(Column::Size)
            .into_tuple()
            .one(&self.read)
            .await?;
        size.map(unsigned).transpose()
    }

    /// The sizes from `from` on that these witnesses cosigned: one for each cosignature, in order, at most `limit` of them.
    ///
    /// # Errors
    /// The database fails.
    pub async fn cosigned_sizes(&self, keys: &[VerifierKey], from: u64, limit: u64) -> Result<Vec<u64>> {
        let sizes: Vec<i64> = Entity::find()
            .select_only()
            .column(Column::Size)
            .filter(Column::Key.is_in(texts(keys)))
            .filter(Column::Size.gte(integer(from)?))
            .order_by_asc(Column::Size)
            .limit(limit)
            .into_tuple()
            .all(&self.read)
            .await?;
        sizes.into_iter().map(unsigned).collect()
    }
}
