//! Namespaces, metadata, and the compare-and-swap of a publication.

use std::collections::BTreeMap;

use assay_schema::api::{NamespaceInfo, Page, RoleState};
use assay_schema::{ModelName, NamespaceName, Sha256Digest};
use jiff::Timestamp;
use sea_orm::sea_query::{Expr, ExprTrait};
use sea_orm::{
    ActiveValue::Set, ColumnTrait, Condition, ConnectionTrait, EntityTrait, QueryFilter, QueryOrder,
    QuerySelect,
};

use super::connection::Database;
use super::convert::{PUBLISHED, digest, integer, micros, parsed, time, unsigned, visibility_name};
use super::entity::{blob, metadata, namespace, namespace_blob, release};
use super::error::DatabaseError;
use super::log::insert_entries;
use super::online_keys::promote_key;
use super::releases::insert_published;
use super::types::{
    MetadataFile, NamespaceHead, NamespaceRecord, NewBlob, NewMetadata, NewNamespace, OnlineRole,
    PublishRelease, Viewer,
};

type Result<T> = std::result::Result<T, DatabaseError>;

/// The top-level roles, whose versions a namespace shows.
const TOP_LEVEL: [&str; 4] = ["root", "targets", "snapshot", "timestamp"];

impl Database {
    /// Creates a namespace in one transaction, with revision 1.
    ///
    /// # Errors
    /// [`DatabaseError::Exists`] if the name is taken; [`DatabaseError::BlobsMissing`] if a release names a blob that is not linked.
    pub async fn create_namespace(&self, new: NewNamespace) -> Result<NamespaceRecord> {
        let transaction = self.begin().await?;
        let row = namespace::ActiveModel {
            name: Set(new.name.to_string()),
            identity: Set(new.identity.to_hex()),
            visibility: Set(visibility_name(new.visibility).to_owned()),
            created: Set(micros(new.created)),
            revision: Set(1),
        };
        let inserted = namespace::Entity::insert(row)
            .on_conflict_do_nothing()
            .exec_without_returning(&transaction)
            .await?;
        if !matches!(inserted, sea_orm::TryInsertResult::Inserted(1)) {
            return Err(DatabaseError::Exists {
                what: format!("namespace {}", new.name),
            });
        }
        insert_entries(&transaction, &new.name, &new.metadata, new.created).await?;
        insert_metadata(&transaction, &new.name, new.metadata).await?;
        for blob in &new.blobs {
            insert_blob(&transaction, *blob).await?;
            link(&transaction, &new.name, &blob.sha256).await?;
        }
        for release in new.releases {
            insert_published(&transaction, release).await?;
        }
        self.commit(transaction).await?;
        Ok(NamespaceRecord {
            name: new.name,
            identity: new.identity,
            visibility: new.visibility,
            created: time(micros(new.created))?,
            revision: 1,
        })
    }

    /// A namespace's row.
    ///
    /// # Errors
    /// The database fails.
    pub async fn namespace(&self, name: &NamespaceName) -> Result<Option<NamespaceRecord>> {
        let row = namespace::Entity::find_by_id(name.as_str())
            .one(&self.read)
            .await?;
        row.map(NamespaceRecord::try_from).transpose()
    }

    /// A namespace with the current files of all its roles, consistent with its revision.
    ///
    /// # Errors
    /// The database fails.
    pub async fn head(&self, name: &NamespaceName) -> Result<Option<NamespaceHead>> {
        // Two statements may see two states: the revision tells, and then the reading begins again.
        loop {
            let Some(record) = self.namespace(name).await? else {
                return Ok(None);
            };
            let rows = metadata::Entity::find()
                .filter(metadata::Column::Namespace.eq(name.as_str()))
                .filter(metadata::Column::Current.eq(true))
                .all(&self.read)
                .await?;
            if self
                .namespace(name)
                .await?
                .is_some_and(|again| again.revision == record.revision)
            {
                let current = rows
                    .into_iter()
                    .map(|row| Ok((row.role.clone(), MetadataFile::try_from(row)?)))
                    .collect::<Result<BTreeMap<_, _>>>()?;
                return Ok(Some(NamespaceHead { record, current }));
            }
        }
    }

    /// Version and digest of every role's current file, without the bytes.
    ///
    /// # Errors
    /// The database fails.
    pub async fn role_states(&self, name: &NamespaceName) -> Result<BTreeMap<String, RoleState>> {
        let rows: Vec<(String, i64, String)> = metadata::Entity::find()
            .select_only()
            .columns([
                metadata::Column::Role,
                metadata::Column::Version,
                metadata::Column::Sha256,
            ])
            .filter(metadata::Column::Namespace.eq(name.as_str()))
            .filter(metadata::Column::Current.eq(true))
            .into_tuple()
            .all(&self.read)
            .await?;
        rows.into_iter()
            .map(|(role, version, sha256)| {
                Ok((
                    role,
                    RoleState {
                        version: unsigned(version)?,
                        sha256: digest(&sha256)?,
                    },
                ))
            })
            .collect()
    }

    /// One metadata file by version: what `VERSION.ROLE.json` names. Every version that was current is kept.
    ///
    /// # Errors
    /// The database fails.
    pub async fn metadata(
        &self,
        name: &NamespaceName,
        role: &str,
        version: u64,
    ) -> Result<Option<MetadataFile>> {
        let Ok(version) = i64::try_from(version) else {
            return Ok(None);
        };
        let key = (name.to_string(), role.to_owned(), version);
        let row = metadata::Entity::find_by_id(key).one(&self.read).await?;
        row.map(MetadataFile::try_from).transpose()
    }

    /// A role's current file.
    ///
    /// # Errors
    /// The database fails.
    pub async fn current_metadata(&self, name: &NamespaceName, role: &str) -> Result<Option<MetadataFile>> {
        let row = metadata::Entity::find()
            .filter(metadata::Column::Namespace.eq(name.as_str()))
            .filter(metadata::Column::Role.eq(role))
            .filter(metadata::Column::Current.eq(true))
            .one(&self.read)
            .await?;
        row.map(MetadataFile::try_from).transpose()
    }

    /// Root files above a version, ascending, at most `limit`.
    ///
    /// # Errors
    /// The database fails.
    pub async fn roots_above(
        &self,
        name: &NamespaceName,
        version: u64,
        limit: u32,
    ) -> Result<Vec<MetadataFile>> {
        let rows = metadata::Entity::find()
            .filter(metadata::Column::Namespace.eq(name.as_str()))
            .filter(metadata::Column::Role.eq("root"))
            .filter(metadata::Column::Version.gt(i64::try_from(version).unwrap_or(i64::MAX)))
            .order_by_asc(metadata::Column::Version)
            .limit(u64::from(limit))
            .all(&self.read)
            .await?;
        rows.into_iter().map(MetadataFile::try_from).collect()
    }

    /// P3: makes metadata current and releases published, all or nothing, if the namespace still has `expected` revision.
    /// Gives the new revision.
    ///
    /// # Errors
    /// [`DatabaseError::Conflict`] if another commit came first; [`DatabaseError::ReleaseChanged`] if a candidate is gone or has
    /// another manifest by now.
    pub async fn commit_publication(
        &self,
        name: &NamespaceName,
        expected: u64,
        files: Vec<NewMetadata>,
        publish: &[PublishRelease],
        now: Timestamp,
    ) -> Result<u64> {
        self.commit_rotation(name, expected, files, publish, &[], now)
            .await
    }

    /// As [`Database::commit_publication`]; besides, the next key of each of these online roles replaces its present one, in the
    /// same transaction as the root that lists it.
    ///
    /// # Errors
    /// As [`Database::commit_publication`]; [`DatabaseError::Conflict`] also if a role has no next key.
    pub async fn commit_rotation(
        &self,
        name: &NamespaceName,
        expected: u64,
        files: Vec<NewMetadata>,
        publish: &[PublishRelease],
        promote: &[OnlineRole],
        now: Timestamp,
    ) -> Result<u64> {
        let transaction = self.begin().await?;
        let swapped = namespace::Entity::update_many()
            .col_expr(
                namespace::Column::Revision,
                Expr::col(namespace::Column::Revision).add(1),
            )
            .filter(namespace::Column::Name.eq(name.as_str()))
            .filter(namespace::Column::Revision.eq(integer(expected)?))
            .exec(&transaction)
            .await?;
        if swapped.rows_affected != 1 {
            return Err(DatabaseError::Conflict { expected });
        }
        insert_entries(&transaction, name, &files, now).await?;
        insert_metadata(&transaction, name, files).await?;
        for entry in publish {
            publish_release(&transaction, name, entry, now).await?;
        }
        for role in promote {
            if !promote_key(&transaction, name, *role).await? {
                return Err(DatabaseError::Conflict { expected });
            }
        }
        self.commit(transaction).await?;
        Ok(expected.saturating_add(1))
    }

    /// Namespaces whose current snapshot or timestamp expires before a time, for re-signing; by name, at most `limit`.
    ///
    /// # Errors
    /// The database fails.
    pub async fn online_metadata_expiring(
        &self,
        role: OnlineRole,
        before: Timestamp,
        limit: u32,
    ) -> Result<Vec<NamespaceName>> {
        let names: Vec<String> = metadata::Entity::find()
            .select_only()
            .column(metadata::Column::Namespace)
            .filter(metadata::Column::Current.eq(true))
            .filter(metadata::Column::Role.eq(role.name()))
            .filter(metadata::Column::Expires.lt(micros(before)))
            .order_by_asc(metadata::Column::Namespace)
            .limit(u64::from(limit))
            .into_tuple()
            .all(&self.read)
            .await?;
        names
            .iter()
            .map(|name| parsed("metadata.namespace", name))
            .collect()
    }

    /// A page of the namespaces that the viewer may know of, by name.
    ///
    /// # Errors
    /// [`DatabaseError::BadCursor`], or the database fails.
    pub async fn list_namespaces(
        &self,
        viewer: &Viewer,
        cursor: Option<&str>,
        limit: u32,
    ) -> Result<Page<NamespaceInfo>> {
        let mut query = namespace::Entity::find()
            .filter(visible(viewer))
            .order_by_asc(namespace::Column::Name)
            .limit(u64::from(limit) + 1);
        if let Some(cursor) = cursor {
            let after: NamespaceName = cursor.parse().map_err(|_| bad_cursor(cursor))?;
            query = query.filter(namespace::Column::Name.gt(after.as_str()));
        }
        let mut rows = query.all(&self.read).await?;
        let more = truncate(&mut rows, limit);
        let next = more.then(|| rows.last().map(|row| row.name.clone())).flatten();
        let names: Vec<_> = rows.iter().map(|row| row.name.clone()).collect();
        let versions: Vec<(String, String, i64)> = metadata::Entity::find()
            .select_only()
            .columns([
                metadata::Column::Namespace,
                metadata::Column::Role,
                metadata::Column::Version,
            ])
            .filter(metadata::Column::Namespace.is_in(names))
            .filter(metadata::Column::Role.is_in(TOP_LEVEL))
            .filter(metadata::Column::Current.eq(true))
            .into_tuple()
            .all(&self.read)
            .await?;
        let mut by_namespace: BTreeMap<String, BTreeMap<String, u64>> = BTreeMap::new();
        for (namespace, role, version) in versions {
            by_namespace
                .entry(namespace)
                .or_default()
                .insert(role, unsigned(version)?);
        }
        let items = rows
            .into_iter()
            .map(|row| {
                let versions = by_namespace.remove(&row.name).unwrap_or_default();
                Ok(namespace_info(row.try_into()?, versions))
            })
            .collect::<Result<_>>()?;
        Ok(Page { items, next })
    }

    /// What the API shows of a namespace.
    ///
    /// # Errors
    /// The database fails.
    pub async fn namespace_info(&self, record: NamespaceRecord) -> Result<NamespaceInfo> {
        let mut states = self.role_states(&record.name).await?;
        states.retain(|role, _| TOP_LEVEL.contains(&role.as_str()));
        Ok(namespace_info(
            record,
            states
                .into_iter()
                .map(|(role, state)| (role, state.version))
                .collect(),
        ))
    }
}

fn namespace_info(record: NamespaceRecord, versions: BTreeMap<String, u64>) -> NamespaceInfo {
    NamespaceInfo {
        name: record.name,
        identity: record.identity,
        visibility: record.visibility,
        versions,
        created: record.created,
    }
}

pub(super) fn visible(viewer: &Viewer) -> Condition {
    match viewer {
        Viewer::Everything => Condition::all(),
        Viewer::Public { and } => {
            let public = Condition::any().add(namespace::Column::Visibility.eq("public"));
            match and {
                Some(name) => public.add(namespace::Column::Name.eq(name.as_str())),
                None => public,
            }
        }
    }
}

pub(super) fn bad_cursor(cursor: &str) -> DatabaseError {
    DatabaseError::BadCursor {
        found: cursor.chars().take(80).collect(),
    }
}

/// Cuts the one entry too many that says that there is another page.
pub(super) fn truncate<T>(rows: &mut Vec<T>, limit: u32) -> bool {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let more = rows.len() > limit;
    rows.truncate(limit);
    more
}

async fn insert_metadata<C: ConnectionTrait>(
    connection: &C,
    name: &NamespaceName,
    files: Vec<NewMetadata>,
) -> Result<()> {
    for file in files {
        metadata::Entity::update_many()
            .col_expr(metadata::Column::Current, Expr::value(false))
            .filter(metadata::Column::Namespace.eq(name.as_str()))
            .filter(metadata::Column::Role.eq(file.role.as_str()))
            .filter(metadata::Column::Current.eq(true))
            .exec(connection)
            .await?;
        let row = metadata::ActiveModel {
            namespace: Set(name.to_string()),
            role: Set(file.role),
            version: Set(integer(file.version)?),
            sha256: Set(file.sha256.to_hex()),
            bytes: Set(file.bytes),
            expires: Set(micros(file.expires)),
            current: Set(true),
        };
        metadata::Entity::insert(row)
            .exec_without_returning(connection)
            .await?;
    }
    Ok(())
}

async fn publish_release<C: ConnectionTrait>(
    connection: &C,
    name: &NamespaceName,
    entry: &PublishRelease,
    now: Timestamp,
) -> Result<()> {
    let same_release = |model: &ModelName| {
        Condition::all()
            .add(release::Column::Namespace.eq(name.as_str()))
            .add(release::Column::Model.eq(model.as_str()))
            .add(release::Column::Version.eq(entry.version.as_str()))
            .add(release::Column::Manifest.eq(entry.manifest.to_hex()))
    };
    let updated = release::Entity::update_many()
        .col_expr(release::Column::State, Expr::value(PUBLISHED))
        // A release that was published keeps its first time.
        .col_expr(
            release::Column::Published,
            Expr::col(release::Column::Published).if_null(micros(now)),
        )
        .filter(same_release(&entry.model))
        .exec(connection)
        .await?;
    if updated.rows_affected == 1 {
        Ok(())
    } else {
        Err(DatabaseError::ReleaseChanged {
            release: format!("{}@{}", entry.model, entry.version),
            expected: entry.manifest,
        })
    }
}

pub(super) async fn insert_blob<C: ConnectionTrait>(connection: &C, new: NewBlob) -> Result<()> {
    let row = blob::ActiveModel {
        sha256: Set(new.sha256.to_hex()),
        size: Set(integer(new.size)?),
        chunks: Set(None),
        upload: Set(None),
    };
    blob::Entity::insert(row)
        .on_conflict_do_nothing()
        .exec_without_returning(connection)
        .await?;
    Ok(())
}

pub(super) async fn link<C: ConnectionTrait>(
    connection: &C,
    name: &NamespaceName,
    sha256: &Sha256Digest,
) -> Result<()> {
    let row = namespace_blob::ActiveModel {
        namespace: Set(name.to_string()),
        sha256: Set(sha256.to_hex()),
    };
    namespace_blob::Entity::insert(row)
        .on_conflict_do_nothing()
        .exec_without_returning(connection)
        .await?;
    Ok(())
}
