//! Uploads, from their first row to their blob.

use assay_schema::{NamespaceName, Sha256Digest};
use jiff::Timestamp;
use sea_orm::sea_query::Expr;
use sea_orm::{ActiveValue::Set, ColumnTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect};

use super::connection::Database;
use super::convert::{integer, micros};
use super::entity::{blob, segment, upload};
use super::error::DatabaseError;
use super::namespaces::{insert_blob, link};
use super::types::{BlobRecord, NewBlob, Segment, UploadRecord};

type Result<T> = std::result::Result<T, DatabaseError>;

/// What U5 came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finished {
    /// The blob, which the namespace may use now.
    pub blob: BlobRecord,
    /// Someone had stored the same bytes before: this upload's segments hold nothing that is needed.
    pub known_before: bool,
}

impl Database {
    /// U1: makes the upload of this digest in this namespace; if another request was faster, gives that one's.
    ///
    /// # Errors
    /// The database fails.
    pub async fn start_upload(
        &self,
        id: &str,
        namespace: &NamespaceName,
        sha256: &Sha256Digest,
        size: u64,
        now: Timestamp,
    ) -> Result<UploadRecord> {
        let transaction = self.begin().await?;
        let row = upload::ActiveModel {
            id: Set(id.to_owned()),
            namespace: Set(namespace.to_string()),
            sha256: Set(sha256.to_hex()),
            size: Set(integer(size)?),
            stored: Set(0),
            updated: Set(micros(now)),
        };
        upload::Entity::insert(row)
            .on_conflict_do_nothing_on([upload::Column::Namespace, upload::Column::Sha256])
            .exec_without_returning(&transaction)
            .await?;
        self.commit(transaction).await?;
        self.upload_of(namespace, sha256)
            .await?
            .ok_or_else(|| DatabaseError::Missing {
                what: format!("upload of {sha256}"),
            })
    }

    /// The upload of a digest in a namespace.
    ///
    /// # Errors
    /// The database fails.
    pub async fn upload_of(
        &self,
        namespace: &NamespaceName,
        sha256: &Sha256Digest,
    ) -> Result<Option<UploadRecord>> {
        let row = upload::Entity::find()
            .filter(upload::Column::Namespace.eq(namespace.as_str()))
            .filter(upload::Column::Sha256.eq(sha256.to_hex()))
            .one(&self.read)
            .await?;
        row.map(UploadRecord::try_from).transpose()
    }

    /// An upload of this namespace.
    ///
    /// # Errors
    /// The database fails.
    pub async fn upload(&self, namespace: &NamespaceName, id: &str) -> Result<Option<UploadRecord>> {
        let row = upload::Entity::find_by_id(id)
            .filter(upload::Column::Namespace.eq(namespace.as_str()))
            .one(&self.read)
            .await?;
        row.map(UploadRecord::try_from).transpose()
    }

    /// U3: counts a stored segment, if the upload still stands where it begins. Gives the new offset.
    ///
    /// # Errors
    /// [`DatabaseError::OffsetMoved`] if another writer came first or the upload is gone.
    pub async fn advance_upload(&self, id: &str, segment: &Segment, now: Timestamp) -> Result<u64> {
        let expected = segment.start;
        let offset = expected.saturating_add(segment.len);
        let transaction = self.begin().await?;
        let moved = upload::Entity::update_many()
            .col_expr(upload::Column::Stored, Expr::value(integer(offset)?))
            .col_expr(upload::Column::Updated, Expr::value(micros(now)))
            .filter(upload::Column::Id.eq(id))
            .filter(upload::Column::Stored.eq(integer(expected)?))
            .filter(upload::Column::Size.gte(integer(offset)?))
            .exec(&transaction)
            .await?;
        if moved.rows_affected != 1 {
            return Err(DatabaseError::OffsetMoved { expected });
        }
        let row = segment::ActiveModel {
            upload: Set(id.to_owned()),
            start: Set(integer(segment.start)?),
            len: Set(integer(segment.len)?),
            object: Set(segment.object.clone()),
        };
        segment::Entity::insert(row)
            .exec_without_returning(&transaction)
            .await?;
        self.commit(transaction).await?;
        Ok(offset)
    }

    /// U5: the blob's row unless it is known, the index's row, both linked to the namespace, and the upload's row gone.
    ///
    /// # Errors
    /// [`DatabaseError::Missing`] if the upload is gone.
    pub async fn finish_upload(&self, done: &UploadRecord, index: Option<NewBlob>) -> Result<Finished> {
        let transaction = self.begin().await?;
        let removed = upload::Entity::delete_by_id(done.id.as_str())
            .filter(upload::Column::Stored.eq(integer(done.size)?))
            .exec(&transaction)
            .await?;
        if removed.rows_affected != 1 {
            return Err(DatabaseError::Missing {
                what: format!("upload {}", done.id),
            });
        }
        if let Some(index) = index {
            insert_blob(&transaction, index).await?;
            link(&transaction, &done.namespace, &index.sha256).await?;
        }
        let row = blob::ActiveModel {
            sha256: Set(done.sha256.to_hex()),
            size: Set(integer(done.size)?),
            chunks: Set(index.map(|index| index.sha256.to_hex())),
            upload: Set(Some(done.id.clone())),
        };
        let inserted = blob::Entity::insert(row)
            .on_conflict_do_nothing()
            .exec_without_returning(&transaction)
            .await?;
        let known_before = !matches!(inserted, sea_orm::TryInsertResult::Inserted(1));
        if known_before {
            // A manifest or trust target that the registry stored by itself has no index on record; now it is known.
            blob::Entity::update_many()
                .col_expr(
                    blob::Column::Chunks,
                    Expr::value(index.map(|index| index.sha256.to_hex())),
                )
                .filter(blob::Column::Sha256.eq(done.sha256.to_hex()))
                .exec(&transaction)
                .await?;
            segment::Entity::delete_many()
                .filter(segment::Column::Upload.eq(done.id.as_str()))
                .exec(&transaction)
                .await?;
        }
        link(&transaction, &done.namespace, &done.sha256).await?;
        let blob = blob::Entity::find_by_id(done.sha256.to_hex())
            .one(&transaction)
            .await?
            .ok_or_else(|| DatabaseError::Missing {
                what: format!("blob {}", done.sha256),
            })?
            .try_into()?;
        self.commit(transaction).await?;
        Ok(Finished { blob, known_before })
    }

    /// Forgets an upload and its segments' rows; the objects are the caller's to delete afterwards. `false` if it was gone.
    ///
    /// # Errors
    /// The database fails.
    pub async fn drop_upload(&self, id: &str) -> Result<bool> {
        let transaction = self.begin().await?;
        let removed = upload::Entity::delete_by_id(id).exec(&transaction).await?;
        if removed.rows_affected == 0 {
            self.confirm(transaction).await?;
            return Ok(false);
        }
        segment::Entity::delete_many()
            .filter(segment::Column::Upload.eq(id))
            .exec(&transaction)
            .await?;
        self.commit(transaction).await?;
        Ok(true)
    }

    /// Uploads that have not moved since a time, at most `limit`.
    ///
    /// # Errors
    /// The database fails.
    pub async fn idle_uploads(&self, before: Timestamp, limit: u32) -> Result<Vec<UploadRecord>> {
        let rows = upload::Entity::find()
            .filter(upload::Column::Updated.lt(micros(before)))
            .order_by_asc(upload::Column::Updated)
            .limit(u64::from(limit))
            .all(&self.read)
            .await?;
        rows.into_iter().map(UploadRecord::try_from).collect()
    }
}
