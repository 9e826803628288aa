//! Deltas between releases. A pair has one, the smallest that anybody made; its bytes are a blob like any other.

use assay_schema::delta::{DeltaInfo, DeltaMaker};
use assay_schema::{ModelName, NamespaceName, Sha256Digest};
use sea_orm::{
    ActiveModelTrait, ActiveValue::Set, ColumnTrait, Condition, EntityTrait, IntoActiveModel, PaginatorTrait,
    QueryFilter, QueryOrder, QuerySelect,
};

use super::connection::Database;
use super::convert::{PUBLISHED, digest, integer, micros, time, unsigned};
use super::entity::{blob, delta, delta_job, namespace, namespace_blob, release, release_blob, segment};
use super::error::DatabaseError;
use super::namespaces::link;
use super::transaction::WriteTransaction;
use super::types::Segment;

type Result<T> = std::result::Result<T, DatabaseError>;

/// What came of offering a delta.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptDelta {
    /// The delta that the pair has now.
    pub kept: DeltaInfo,
    /// It is the one that was offered; else the one before is at least as small.
    pub changed: bool,
    /// Objects that no row names any more, for the caller to delete.
    pub unused: Vec<String>,
}

impl Database {
    /// The deltas to a release, the smallest first; only from `bases`, where some are given.
    ///
    /// # Errors
    /// The database fails.
    pub async fn deltas(
        &self,
        name: &NamespaceName,
        model: &ModelName,
        target: &Sha256Digest,
        bases: &[Sha256Digest],
        limit: u64,
    ) -> Result<Vec<DeltaInfo>> {
        let mut query = delta::Entity::find()
            .filter(delta::Column::Namespace.eq(name.as_str()))
            .filter(delta::Column::Model.eq(model.as_str()))
            .filter(delta::Column::Target.eq(target.to_hex()));
        if !bases.is_empty() {
            query = query.filter(delta::Column::Base.is_in(bases.iter().map(Sha256Digest::to_hex)));
        }
        let rows = query
            .order_by_asc(delta::Column::Size)
            .order_by_asc(delta::Column::Base)
            .limit(limit)
            .all(&self.read)
            .await?;
        rows.into_iter().map(DeltaInfo::try_from).collect()
    }

    /// Those of these manifests that published releases of a model have.
    ///
    /// # Errors
    /// The database fails.
    pub async fn published_manifests(
        &self,
        name: &NamespaceName,
        model: &ModelName,
        manifests: &[Sha256Digest],
    ) -> Result<Vec<Sha256Digest>> {
        let found: Vec<String> = release::Entity::find()
            .select_only()
            .column(release::Column::Manifest)
            .filter(release::Column::Namespace.eq(name.as_str()))
            .filter(release::Column::Model.eq(model.as_str()))
            .filter(release::Column::State.eq(PUBLISHED))
            .filter(release::Column::Manifest.is_in(manifests.iter().map(Sha256Digest::to_hex)))
            .into_tuple()
            .all(&self.read)
            .await?;
        found.iter().map(|text| digest(text)).collect()
    }

    /// D3: shows a delta, unless the pair has one that is at least as small. `stored` says where the bytes lie that the registry put
    /// itself (`None`: a blob that its publisher uploaded). What the delta before left without a name goes with it, and so does the
    /// pair's job.
    ///
    /// # Errors
    /// [`DatabaseError::BlobsMissing`] if the namespace has no blob of this digest, and none is stored.
    pub async fn keep_delta(
        &self,
        name: &NamespaceName,
        model: &ModelName,
        new: &DeltaInfo,
        stored: Option<(&str, Vec<Segment>)>,
    ) -> Result<KeptDelta> {
        let transaction = self.begin().await?;
        lock(&transaction, name).await?;
        let key = (name.to_string(), new.base.to_hex(), new.target.to_hex());
        let before = delta::Entity::find_by_id(key.clone()).one(&transaction).await?;
        let before = before.map(DeltaInfo::try_from).transpose()?;
        delta_job::Entity::delete_by_id(key.clone())
            .exec(&transaction)
            .await?;
        if let Some(kept) = before.clone().filter(|before| before.size <= new.size) {
            self.commit(transaction).await?;
            return Ok(KeptDelta {
                kept,
                changed: false,
                unused: stored.map(|(_, segments)| objects(segments)).unwrap_or_default(),
            });
        }
        let mut unused = match stored {
            Some((upload, segments)) => insert_bytes(&transaction, name, new, upload, segments).await?,
            None => {
                let linked = (name.to_string(), new.blob.to_hex());
                if namespace_blob::Entity::find_by_id(linked)
                    .one(&transaction)
                    .await?
                    .is_none()
                {
                    return Err(DatabaseError::BlobsMissing {
                        missing: vec![new.blob],
                    });
                }
                Vec::new()
            }
        };
        delta::Entity::delete_by_id(key).exec(&transaction).await?;
        delta::Entity::insert(row(name, model, new)?.into_active_model().reset_all())
            .exec_without_returning(&transaction)
            .await?;
        if let Some(before) = before {
            unused.extend(release_bytes(&transaction, name, &before.blob).await?);
        }
        self.commit(transaction).await?;
        Ok(KeptDelta {
            kept: new.clone(),
            changed: true,
            unused,
        })
    }

    /// D4: drops a pair's delta and what it leaves without a name: the link, the blob. With `remember`, nobody makes one again. Gives
    /// the objects to delete; `None` if the pair's delta is another or gone.
    ///
    /// # Errors
    /// The database fails.
    pub async fn drop_delta(
        &self,
        name: &NamespaceName,
        base: &Sha256Digest,
        target: &Sha256Digest,
        blob: &Sha256Digest,
        remember: bool,
    ) -> Result<Option<Vec<String>>> {
        let transaction = self.begin().await?;
        lock(&transaction, name).await?;
        let key = (name.to_string(), base.to_hex(), target.to_hex());
        let found = delta::Entity::find_by_id(key.clone()).one(&transaction).await?;
        let Some(found) = found.filter(|row| row.blob == blob.to_hex()) else {
            self.confirm(transaction).await?;
            return Ok(None);
        };
        delta::Entity::delete_by_id(key.clone())
            .exec(&transaction)
            .await?;
        if remember {
            let row = delta_job::ActiveModel {
                namespace: Set(key.0),
                base: Set(key.1),
                target: Set(key.2),
                model: Set(found.model),
                state: Set(super::delta_work::UNWANTED.to_owned()),
                holder: Set(String::new()),
                lease_end: Set(0),
            };
            delta_job::Entity::insert(row)
                .on_conflict_do_nothing()
                .exec_without_returning(&transaction)
                .await?;
        }
        let unused = release_bytes(&transaction, name, blob).await?;
        self.commit(transaction).await?;
        Ok(Some(unused))
    }
}

/// Whoever drops a blob and whoever comes to need it go one after the other: candidates hold the namespace's row, too. SQLite has one
/// writer anyway.
async fn lock(transaction: &WriteTransaction, name: &NamespaceName) -> Result<()> {
    namespace::Entity::find_by_id(name.as_str())
        .lock_exclusive()
        .one(transaction)
        .await?;
    Ok(())
}

/// The rows of bytes that the registry put; gives the objects that are not needed, because somebody has these bytes already.
async fn insert_bytes(
    transaction: &WriteTransaction,
    name: &NamespaceName,
    new: &DeltaInfo,
    upload: &str,
    segments: Vec<Segment>,
) -> Result<Vec<String>> {
    let row = blob::ActiveModel {
        sha256: Set(new.blob.to_hex()),
        size: Set(integer(new.size)?),
        chunks: Set(None),
        upload: Set(Some(upload.to_owned())),
    };
    let inserted = blob::Entity::insert(row)
        .on_conflict_do_nothing()
        .exec_without_returning(transaction)
        .await?;
    link(transaction, name, &new.blob).await?;
    if !matches!(inserted, sea_orm::TryInsertResult::Inserted(1)) {
        return Ok(objects(segments));
    }
    for piece in segments {
        let row = segment::ActiveModel {
            upload: Set(upload.to_owned()),
            start: Set(integer(piece.start)?),
            len: Set(integer(piece.len)?),
            object: Set(piece.object),
        };
        segment::Entity::insert(row)
            .exec_without_returning(transaction)
            .await?;
    }
    Ok(Vec::new())
}

/// Takes a namespace's link to a delta's bytes back, and the bytes' rows, where nothing else names them. The chunk index of an uploaded
/// delta stays (32 bytes a MiB): its object has the digest's name, so that deleting it would race with whoever puts it anew.
async fn release_bytes(
    transaction: &WriteTransaction,
    name: &NamespaceName,
    sha256: &Sha256Digest,
) -> Result<Vec<String>> {
    let hex = sha256.to_hex();
    let of_release = release_blob::Entity::find()
        .filter(release_blob::Column::Namespace.eq(name.as_str()))
        .filter(release_blob::Column::Sha256.eq(hex.as_str()))
        .count(transaction)
        .await?;
    let of_delta = delta::Entity::find()
        .filter(delta::Column::Namespace.eq(name.as_str()))
        .filter(delta::Column::Blob.eq(hex.as_str()))
        .count(transaction)
        .await?;
    if of_release + of_delta > 0 {
        return Ok(Vec::new());
    }
    // An upload of the same bytes updates this row before it links them: it comes before or behind.
    let found = blob::Entity::find_by_id(hex.as_str())
        .lock_exclusive()
        .one(transaction)
        .await?;
    namespace_blob::Entity::delete_by_id((name.to_string(), hex.clone()))
        .exec(transaction)
        .await?;
    let linked = namespace_blob::Entity::find()
        .filter(namespace_blob::Column::Sha256.eq(hex.as_str()))
        .count(transaction)
        .await?;
    let Some(upload) = found.and_then(|row| row.upload).filter(|_| linked == 0) else {
        return Ok(Vec::new());
    };
    blob::Entity::delete_by_id(hex).exec(transaction).await?;
    let of_upload = Condition::all().add(segment::Column::Upload.eq(upload.as_str()));
    let rows = segment::Entity::find()
        .filter(of_upload.clone())
        .all(transaction)
        .await?;
    segment::Entity::delete_many()
        .filter(of_upload)
        .exec(transaction)
        .await?;
    Ok(rows.into_iter().map(|row| row.object).collect())
}

fn objects(segments: Vec<Segment>) -> Vec<String> {
    segments.into_iter().map(|segment| segment.object).collect()
}

const PUBLISHER: &str = "publisher";
/// The registry, in `deltas.made_by`.
pub(super) const REGISTRY: &str = "registry";

fn row(name: &NamespaceName, model: &ModelName, info: &DeltaInfo) -> Result<delta::Model> {
    Ok(delta::Model {
        namespace: name.to_string(),
        base: info.base.to_hex(),
        target: info.target.to_hex(),
        model: model.to_string(),
        blob: info.blob.to_hex(),
        size: integer(info.size)?,
        index_size: integer(info.index)?,
        full_size: integer(info.full)?,
        made_by: match info.made_by {
            DeltaMaker::Publisher => PUBLISHER,
            DeltaMaker::Registry => REGISTRY,
        }
        .to_owned(),
        created: micros(info.created),
    })
}

impl TryFrom<delta::Model> for DeltaInfo {
    type Error = DatabaseError;

    fn try_from(row: delta::Model) -> Result<Self> {
        Ok(Self {
            base: digest(&row.base)?,
            target: digest(&row.target)?,
            blob: digest(&row.blob)?,
            size: unsigned(row.size)?,
            index: unsigned(row.index_size)?,
            full: unsigned(row.full_size)?,
            made_by: match row.made_by.as_str() {
                PUBLISHER => DeltaMaker::Publisher,
                REGISTRY => DeltaMaker::Registry,
                other => {
                    return Err(DatabaseError::corrupt(
                        "deltas.made_by",
                        "publisher or registry",
                        other,
                    ));
                }
            },
            created: time(row.created)?,
        })
    }
}
