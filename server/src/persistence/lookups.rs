//! Questions that publication and distribution ask about blobs and releases.

use std::collections::BTreeMap;

use assay_schema::{ModelName, NamespaceName, Sha256Digest, VersionName};
use sea_orm::{ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect, Statement};

use super::connection::Database;
use super::convert::{PUBLISHED, integer, parsed};
use super::entity::{blob, metadata, namespace_blob, release};
use super::error::DatabaseError;
use super::types::{BlobRecord, MetadataFile};

type Result<T> = std::result::Result<T, DatabaseError>;

/// Digests of one query, below SQLite's 32,766 variables.
const DIGESTS: usize = 10_000;

impl Database {
    /// Those of these blobs that this namespace may use, by digest.
    ///
    /// # Errors
    /// The database fails.
    pub async fn linked_blobs(
        &self,
        namespace: &NamespaceName,
        digests: &[Sha256Digest],
    ) -> Result<BTreeMap<Sha256Digest, BlobRecord>> {
        let mut all: Vec<_> = digests.iter().map(Sha256Digest::to_hex).collect();
        all.sort_unstable();
        all.dedup();
        let mut found = BTreeMap::new();
        for part in all.chunks(DIGESTS) {
            let linked: Vec<String> = namespace_blob::Entity::find()
                .select_only()
                .column(namespace_blob::Column::Sha256)
                .filter(namespace_blob::Column::Namespace.eq(namespace.as_str()))
                .filter(namespace_blob::Column::Sha256.is_in(part.iter().map(String::as_str)))
                .into_tuple()
                .all(&self.read)
                .await?;
            let rows = blob::Entity::find()
                .filter(blob::Column::Sha256.is_in(linked))
                .all(&self.read)
                .await?;
            for row in rows {
                let record = BlobRecord::try_from(row)?;
                found.insert(record.sha256, record);
            }
        }
        Ok(found)
    }

    /// Whether a published release of this namespace names this blob, as manifest, file, chunk index or attestation; or whether it is
    /// a delta between two of them.
    ///
    /// # Errors
    /// The database fails.
    pub async fn blob_is_published(&self, namespace: &NamespaceName, sha256: &Sha256Digest) -> Result<bool> {
        let sql = format!(
            "SELECT 1 FROM release_blobs b JOIN releases r ON r.namespace = b.namespace AND r.model = b.model \
             AND r.version = b.version WHERE b.sha256 = $1 AND b.namespace = $2 AND r.state = '{PUBLISHED}' \
             UNION ALL SELECT 1 FROM deltas d WHERE d.blob = $1 AND d.namespace = $2 LIMIT 1"
        );
        let values = [sha256.to_hex().into(), namespace.as_str().into()];
        let statement = Statement::from_sql_and_values(self.read.get_database_backend(), sql, values);
        Ok(self.read.query_one_raw(statement).await?.is_some())
    }

    /// The published release of a model that has this counter.
    ///
    /// # Errors
    /// The database fails.
    pub async fn published_with_counter(
        &self,
        namespace: &NamespaceName,
        model: &ModelName,
        counter: u64,
    ) -> Result<Option<VersionName>> {
        let found: Option<String> = release::Entity::find()
            .select_only()
            .column(release::Column::Version)
            .filter(release::Column::Namespace.eq(namespace.as_str()))
            .filter(release::Column::Model.eq(model.as_str()))
            .filter(release::Column::Counter.eq(integer(counter)?))
            .filter(release::Column::State.eq(PUBLISHED))
            .into_tuple()
            .one(&self.read)
            .await?;
        found
            .map(|version| parsed("releases.version", &version))
            .transpose()
    }

    /// A role's files, newest first, at most `limit`.
    ///
    /// # Errors
    /// The database fails.
    pub async fn metadata_history(
        &self,
        namespace: &NamespaceName,
        role: &str,
        limit: u64,
    ) -> Result<Vec<MetadataFile>> {
        let rows = metadata::Entity::find()
            .filter(metadata::Column::Namespace.eq(namespace.as_str()))
            .filter(metadata::Column::Role.eq(role))
            .order_by_desc(metadata::Column::Version)
            .limit(limit)
            .all(&self.read)
            .await?;
        rows.into_iter().map(MetadataFile::try_from).collect()
    }
}
