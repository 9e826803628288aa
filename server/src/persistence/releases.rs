//! Candidates, listings, search.

use std::collections::BTreeSet;

use assay_schema::api::{ModelInfo, Page, ReleaseInfo, ReleaseState, SearchHit};
use assay_schema::{ModelName, ModelRef, NamespaceName, ReleaseOrder, Sha256Digest, VersionName};
use jiff::Timestamp;
use sea_orm::{
    ActiveModelTrait, ActiveValue::Set, ColumnTrait, Condition, ConnectionTrait, DbBackend, EntityTrait,
    FromQueryResult, IntoActiveModel, QueryFilter, QueryOrder, QuerySelect, Statement, Value,
};

use super::connection::Database;
use super::convert::{CANDIDATE, PUBLISHED, integer, micros, parsed, unsigned};
use super::entity::{namespace, release, release_blob};
use super::error::DatabaseError;
use super::namespaces::{bad_cursor, insert_blob, link, truncate};
use super::types::{NewCandidate, Viewer};

type Result<T> = std::result::Result<T, DatabaseError>;

/// Rows of one INSERT: four columns each, below SQLite's 32,766 variables.
const ROWS: usize = 4_000;

#[derive(FromQueryResult)]
struct ModelRow {
    namespace: String,
    model: String,
    version: String,
    releases: i64,
}

impl Database {
    /// P2: makes a release a candidate and pins every blob that it names, in one transaction. The same content again changes
    /// nothing; other content replaces a candidate, but never a published release.
    ///
    /// # Errors
    /// [`DatabaseError::BlobsMissing`] if a named blob is not linked to the namespace; [`DatabaseError::ReleasePublished`].
    pub async fn put_candidate(&self, new: NewCandidate) -> Result<ReleaseInfo> {
        let transaction = self.begin().await?;
        // PostgreSQL: no blob that this names is dropped meanwhile. SQLite has one writer anyway.
        namespace::Entity::find_by_id(new.namespace.as_str())
            .lock_shared()
            .one(&transaction)
            .await?;
        let key = (
            new.namespace.to_string(),
            new.model.to_string(),
            new.version.to_string(),
        );
        let found = release::Entity::find_by_id(key.clone()).one(&transaction).await?;
        let found = found.map(ReleaseInfo::try_from).transpose()?;
        if let Some(found) = found {
            if found.manifest == new.manifest.sha256 {
                self.confirm(transaction).await?;
                return Ok(found);
            }
            if found.state == ReleaseState::Published {
                return Err(DatabaseError::ReleasePublished {
                    release: format!("{}@{}", new.model, new.version),
                    published: found.manifest,
                });
            }
            // Still a candidate: `state` in the filter guards against a publication in between on PostgreSQL.
            let removed = release::Entity::delete_many()
                .filter(same_release(&key))
                .filter(release::Column::State.eq(CANDIDATE))
                .exec(&transaction)
                .await?;
            if removed.rows_affected != 1 {
                return Err(DatabaseError::ReleasePublished {
                    release: format!("{}@{}", new.model, new.version),
                    published: found.manifest,
                });
            }
            release_blob::Entity::delete_many()
                .filter(release_blob::Column::Namespace.eq(key.0.as_str()))
                .filter(release_blob::Column::Model.eq(key.1.as_str()))
                .filter(release_blob::Column::Version.eq(key.2.as_str()))
                .exec(&transaction)
                .await?;
        }
        let row = insert(&transaction, new, None).await?;
        self.commit(transaction).await?;
        row.try_into()
    }

    /// One release, candidate or published.
    ///
    /// # Errors
    /// The database fails.
    pub async fn release(
        &self,
        namespace: &NamespaceName,
        model: &ModelName,
        version: &VersionName,
    ) -> Result<Option<ReleaseInfo>> {
        let key = (namespace.to_string(), model.to_string(), version.to_string());
        let row = release::Entity::find_by_id(key).one(&self.read).await?;
        row.map(ReleaseInfo::try_from).transpose()
    }

    /// The published release that is highest in order.
    ///
    /// # Errors
    /// The database fails.
    pub async fn highest_release(
        &self,
        namespace: &NamespaceName,
        model: &ModelName,
    ) -> Result<Option<ReleaseInfo>> {
        let row = release::Entity::find()
            .filter(release::Column::Namespace.eq(namespace.as_str()))
            .filter(release::Column::Model.eq(model.as_str()))
            .filter(release::Column::State.eq(PUBLISHED))
            .order_by_desc(release::Column::Epoch)
            .order_by_desc(release::Column::Counter)
            .one(&self.read)
            .await?;
        row.map(ReleaseInfo::try_from).transpose()
    }

    /// A page of a model's releases, the highest order first; candidates only if asked for.
    ///
    /// # Errors
    /// [`DatabaseError::BadCursor`], or the database fails.
    pub async fn list_releases(
        &self,
        namespace: &NamespaceName,
        model: &ModelName,
        candidates: bool,
        cursor: Option<&str>,
        limit: u32,
    ) -> Result<Page<ReleaseInfo>> {
        let mut query = release::Entity::find()
            .filter(release::Column::Namespace.eq(namespace.as_str()))
            .filter(release::Column::Model.eq(model.as_str()))
            .order_by_desc(release::Column::Epoch)
            .order_by_desc(release::Column::Counter)
            .order_by_asc(release::Column::Version)
            .limit(u64::from(limit) + 1);
        if !candidates {
            query = query.filter(release::Column::State.eq(PUBLISHED));
        }
        if let Some(cursor) = cursor {
            query = query.filter(below(cursor)?);
        }
        let mut rows = query.all(&self.read).await?;
        let more = truncate(&mut rows, limit);
        let next = more
            .then(|| {
                rows.last()
                    .map(|row| format!("{}.{}.{}", row.epoch, row.counter, row.version))
            })
            .flatten();
        let items = rows
            .into_iter()
            .map(ReleaseInfo::try_from)
            .collect::<Result<_>>()?;
        Ok(Page { items, next })
    }

    /// One model; `None` if nothing of it is published.
    ///
    /// # Errors
    /// The database fails.
    pub async fn model(&self, namespace: &NamespaceName, model: &ModelName) -> Result<Option<ModelInfo>> {
        let rows = self
            .models(
                "r.namespace = $1 AND r.model = $2",
                vec![namespace.as_str().into(), model.as_str().into()],
                1,
            )
            .await?;
        rows.into_iter().next().map(ModelInfo::try_from).transpose()
    }

    /// A page of a namespace's models of which something is published, by name.
    ///
    /// # Errors
    /// [`DatabaseError::BadCursor`], or the database fails.
    pub async fn list_models(
        &self,
        namespace: &NamespaceName,
        cursor: Option<&str>,
        limit: u32,
    ) -> Result<Page<ModelInfo>> {
        let after = match cursor {
            Some(cursor) => cursor
                .parse::<ModelName>()
                .map_err(|_| bad_cursor(cursor))?
                .to_string(),
            None => String::new(),
        };
        let values = vec![namespace.as_str().into(), after.into()];
        let mut rows = self
            .models(
                "r.namespace = $1 AND r.model > $2",
                values,
                limit.saturating_add(1),
            )
            .await?;
        let more = truncate(&mut rows, limit);
        let next = more.then(|| rows.last().map(|row| row.model.clone())).flatten();
        let items = rows.into_iter().map(ModelInfo::try_from).collect::<Result<_>>()?;
        Ok(Page { items, next })
    }

    /// Published models whose `namespace/model` contains a text, that the viewer may know of.
    ///
    /// # Errors
    /// [`DatabaseError::BadCursor`], or the database fails.
    pub async fn search(
        &self,
        viewer: &Viewer,
        text: &str,
        cursor: Option<&str>,
        limit: u32,
    ) -> Result<Page<SearchHit>> {
        let after = match cursor {
            Some(cursor) => Some(cursor.parse::<ModelRef>().map_err(|_| bad_cursor(cursor))?),
            None => None,
        };
        let (namespace, model) = after.map_or_else(Default::default, |after| {
            (after.namespace.to_string(), after.model.to_string())
        });
        let (everything, and) = match viewer {
            Viewer::Everything => (1, String::new()),
            Viewer::Public { and } => (0, and.as_ref().map(ToString::to_string).unwrap_or_default()),
        };
        let filter = "(r.namespace > $1 OR (r.namespace = $1 AND r.model > $2)) \
            AND (r.namespace || '/' || r.model) LIKE $3 ESCAPE '!' \
            AND (1 = $4 OR EXISTS (SELECT 1 FROM namespaces n WHERE n.name = r.namespace \
            AND (n.visibility = 'public' OR n.name = $5)))";
        let values: Vec<Value> = vec![
            namespace.into(),
            model.into(),
            like(text).into(),
            everything.into(),
            and.into(),
        ];
        let mut rows = self.models(filter, values, limit.saturating_add(1)).await?;
        let more = truncate(&mut rows, limit);
        let next = more
            .then(|| rows.last().map(|row| format!("{}/{}", row.namespace, row.model)))
            .flatten();
        let items = rows
            .into_iter()
            .map(|row| {
                let info = ModelInfo::try_from(row)?;
                Ok(SearchHit {
                    namespace: info.namespace,
                    model: info.model,
                    highest: info.highest,
                })
            })
            .collect::<Result<_>>()?;
        Ok(Page { items, next })
    }

    /// Models with their highest published release and how many there are, in one statement.
    async fn models(
        &self,
        filter: &'static str,
        mut values: Vec<Value>,
        limit: u32,
    ) -> Result<Vec<ModelRow>> {
        values.push(i64::from(limit).into());
        // `filter` is one of the constants above; everything from outside is bound.
        let sql = format!(
            "SELECT namespace, model, version, releases FROM (SELECT r.namespace, r.model, r.version, \
             COUNT(*) OVER (PARTITION BY r.namespace, r.model) AS releases, \
             ROW_NUMBER() OVER (PARTITION BY r.namespace, r.model ORDER BY r.epoch DESC, r.counter DESC) AS place \
             FROM releases r WHERE r.state = '{PUBLISHED}' AND {filter}) AS ranked \
             WHERE place = 1 ORDER BY namespace, model LIMIT ${}",
            values.len()
        );
        let backend: DbBackend = self.read.get_database_backend();
        let statement = Statement::from_sql_and_values(backend, sql, values);
        Ok(ModelRow::find_by_statement(statement).all(&self.read).await?)
    }
}

impl TryFrom<ModelRow> for ModelInfo {
    type Error = DatabaseError;

    fn try_from(row: ModelRow) -> Result<Self> {
        Ok(Self {
            namespace: parsed("releases.namespace", &row.namespace)?,
            model: parsed("releases.model", &row.model)?,
            releases: unsigned(row.releases)?,
            highest: Some(parsed("releases.version", &row.version)?),
        })
    }
}

/// A LIKE pattern for a text anywhere; names are lower-case.
fn like(text: &str) -> String {
    let mut pattern = String::from("%");
    for c in text.to_lowercase().chars() {
        if matches!(c, '%' | '_' | '!') {
            pattern.push('!');
        }
        pattern.push(c);
    }
    pattern.push('%');
    pattern
}

fn same_release((namespace, model, version): &(String, String, String)) -> Condition {
    Condition::all()
        .add(release::Column::Namespace.eq(namespace.as_str()))
        .add(release::Column::Model.eq(model.as_str()))
        .add(release::Column::Version.eq(version.as_str()))
}

/// What comes behind a cursor `epoch.counter.version` in descending order.
fn below(cursor: &str) -> Result<Condition> {
    let bad = || bad_cursor(cursor);
    let mut parts = cursor.splitn(3, '.');
    let mut number = || {
        parts
            .next()
            .and_then(|part| part.parse::<u64>().ok())
            .ok_or_else(bad)
    };
    let order = ReleaseOrder::new(number()?, number()?).map_err(|_| bad())?;
    let version: VersionName = parts.next().and_then(|part| part.parse().ok()).ok_or_else(bad)?;
    let (epoch, counter) = (integer(order.epoch())?, integer(order.counter())?);
    let same_epoch = release::Column::Epoch.eq(epoch);
    Ok(Condition::any()
        .add(release::Column::Epoch.lt(epoch))
        .add(
            Condition::all()
                .add(same_epoch.clone())
                .add(release::Column::Counter.lt(counter)),
        )
        .add(
            Condition::all()
                .add(same_epoch)
                .add(release::Column::Counter.eq(counter))
                .add(release::Column::Version.gt(version.as_str())),
        ))
}

/// A release that is published from the start, in the transaction that creates its namespace.
pub(super) async fn insert_published<C: ConnectionTrait>(connection: &C, new: NewCandidate) -> Result<()> {
    let published = new.created;
    insert(connection, new, Some(published)).await?;
    Ok(())
}

/// A release that is not there yet, with its manifest and everything that it names.
async fn insert<C: ConnectionTrait>(
    connection: &C,
    new: NewCandidate,
    published: Option<Timestamp>,
) -> Result<release::Model> {
    let key = (
        new.namespace.to_string(),
        new.model.to_string(),
        new.version.to_string(),
    );
    let missing = super::blobs::unlinked(connection, &new.namespace, &new.references).await?;
    if !missing.is_empty() {
        return Err(DatabaseError::BlobsMissing { missing });
    }
    insert_blob(connection, new.manifest).await?;
    link(connection, &new.namespace, &new.manifest.sha256).await?;
    pin(connection, &key, &new).await?;
    let state = match published {
        Some(_) => PUBLISHED,
        None => CANDIDATE,
    };
    let row = release::Model {
        namespace: key.0,
        model: key.1,
        version: key.2,
        epoch: integer(new.order.epoch())?,
        counter: integer(new.order.counter())?,
        manifest: new.manifest.sha256.to_hex(),
        state: state.to_owned(),
        size: integer(new.size)?,
        files: integer(new.files)?,
        created: micros(new.created),
        published: published.map(micros),
    };
    release::Entity::insert(row.clone().into_active_model().reset_all())
        .exec_without_returning(connection)
        .await?;
    Ok(row)
}

async fn pin<C: ConnectionTrait>(
    connection: &C,
    (namespace, model, version): &(String, String, String),
    new: &NewCandidate,
) -> Result<()> {
    let mut all: BTreeSet<&Sha256Digest> = new.references.iter().collect();
    all.insert(&new.manifest.sha256);
    let rows: Vec<_> = all
        .into_iter()
        .map(|sha256| release_blob::ActiveModel {
            namespace: Set(namespace.clone()),
            model: Set(model.clone()),
            version: Set(version.clone()),
            sha256: Set(sha256.to_hex()),
        })
        .collect();
    for part in rows.chunks(ROWS) {
        release_blob::Entity::insert_many(part.to_vec())
            .exec_without_returning(connection)
            .await?;
    }
    Ok(())
}
