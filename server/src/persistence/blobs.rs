//! Blobs, links and segments.

use std::collections::BTreeSet;
use std::ops::Range;

use assay_schema::{NamespaceName, Sha256Digest};
use sea_orm::sea_query::{Expr, ExprTrait};
use sea_orm::{ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect};

use super::connection::Database;
use super::convert::{digest, integer};
use super::entity::{blob, namespace_blob, segment, upload};
use super::error::DatabaseError;
use super::namespaces::{insert_blob, link};
use super::types::{BlobLocation, BlobRecord, NewBlob, Segment};

type Result<T> = std::result::Result<T, DatabaseError>;

/// Digests of one query, below SQLite's 32,766 variables.
const DIGESTS: usize = 10_000;

impl Database {
    /// A blob, if this namespace may use it. Knowing a digest grants nothing: only the link does.
    ///
    /// # Errors
    /// The database fails.
    pub async fn linked_blob(
        &self,
        namespace: &NamespaceName,
        sha256: &Sha256Digest,
    ) -> Result<Option<BlobRecord>> {
        let key = (namespace.to_string(), sha256.to_hex());
        if namespace_blob::Entity::find_by_id(key)
            .one(&self.read)
            .await?
            .is_none()
        {
            return Ok(None);
        }
        self.blob(sha256).await
    }

    /// A blob whoever may use it; for the registry's own work.
    ///
    /// # Errors
    /// The database fails.
    pub async fn blob(&self, sha256: &Sha256Digest) -> Result<Option<BlobRecord>> {
        let row = blob::Entity::find_by_id(sha256.to_hex()).one(&self.read).await?;
        row.map(BlobRecord::try_from).transpose()
    }

    /// Which of these digests this namespace may not use, sorted.
    ///
    /// # Errors
    /// The database fails.
    pub async fn unlinked(
        &self,
        namespace: &NamespaceName,
        digests: &[Sha256Digest],
    ) -> Result<Vec<Sha256Digest>> {
        unlinked(&self.read, namespace, digests).await
    }

    /// Writes the row of a blob whose object is stored, and links it to the namespace.
    ///
    /// # Errors
    /// The database fails.
    pub async fn add_small_blob(&self, namespace: &NamespaceName, new: NewBlob) -> Result<()> {
        let transaction = self.begin().await?;
        insert_blob(&transaction, new).await?;
        link(&transaction, namespace, &new.sha256).await?;
        self.commit(transaction).await
    }

    /// The segments of an upload that hold bytes of a range, in order.
    ///
    /// # Errors
    /// The database fails.
    pub async fn segments(&self, upload: &str, range: Range<u64>) -> Result<Vec<Segment>> {
        let rows = segment::Entity::find()
            .filter(segment::Column::Upload.eq(upload))
            .filter(segment::Column::Start.lt(integer(range.end)?))
            .filter(
                Expr::col(segment::Column::Start)
                    .add(Expr::col(segment::Column::Len))
                    .gt(integer(range.start)?),
            )
            .order_by_asc(segment::Column::Start)
            .all(&self.read)
            .await?;
        rows.into_iter().map(Segment::try_from).collect()
    }

    /// Whether an upload, or a blob that came of one, still uses this object.
    ///
    /// # Errors
    /// The database fails.
    pub async fn segment_in_use(&self, upload: &str, object: &str) -> Result<bool> {
        let used = segment::Entity::find()
            .filter(segment::Column::Upload.eq(upload))
            .filter(segment::Column::Object.eq(object))
            .one(&self.read)
            .await?;
        if used.is_none() {
            return Ok(false);
        }
        let blob = blob::Entity::find()
            .filter(blob::Column::Upload.eq(upload))
            .one(&self.read)
            .await?;
        Ok(blob.is_some()
            || upload::Entity::find_by_id(upload)
                .one(&self.read)
                .await?
                .is_some())
    }

    /// Where a blob's bytes lie, piece by piece, for a range of it.
    ///
    /// # Errors
    /// The database fails.
    pub async fn pieces(&self, blob: &BlobRecord, range: Range<u64>) -> Result<Vec<Segment>> {
        match &blob.location {
            BlobLocation::Object => Ok(vec![Segment {
                start: 0,
                len: blob.size,
                object: crate::blobs::object_path(&blob.sha256),
            }]),
            BlobLocation::Segments { upload } => self.segments(upload, range).await,
        }
    }
}

pub(super) async fn unlinked<C: ConnectionTrait>(
    connection: &C,
    namespace: &NamespaceName,
    digests: &[Sha256Digest],
) -> Result<Vec<Sha256Digest>> {
    let mut missing: BTreeSet<Sha256Digest> = digests.iter().copied().collect();
    let all: Vec<_> = missing.iter().map(Sha256Digest::to_hex).collect();
    for part in all.chunks(DIGESTS) {
        let found: Vec<String> = namespace_blob::Entity::find()
            .select_only()
            .column(namespace_blob::Column::Sha256)
            .filter(namespace_blob::Column::Namespace.eq(namespace.as_str()))
            .filter(namespace_blob::Column::Sha256.is_in(part.iter().map(String::as_str)))
            .into_tuple()
            .all(connection)
            .await?;
        for sha256 in found {
            missing.remove(&digest(&sha256)?);
        }
    }
    Ok(missing.into_iter().collect())
}
