//! What every room shares.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use actix_web::web::Data;
use assay_log::Leaf;
use assay_log::leaf::LeafKind;
use assay_schema::{NamespaceName, Sha256Digest};
use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt};
use tokio::sync::Notify;

use crate::blobs::{BlobError, Blobs};
use crate::clock::Clock;
use crate::config::Config;
use crate::distribute::cache::BundleCache;
use crate::log::LogError;
use crate::log::prove::{self, Placed, Proven};
use crate::log::witnessing::Witnessing;
use crate::persistence::{BlobRecord, Database, DatabaseError};
use crate::seal::{SealError, Sealing};
use crate::steps::Steps;
use crate::store::Leases;
use crate::tasks::Tasks;

/// Bytes of check bundles that are kept.
const BUNDLES: usize = 16 << 20;

/// The file in the data folder that a running registry holds locked.
pub(crate) const LOCK: &str = "lock";

/// How long an answer waits until its snapshot has a place in the log.
const LOG_PATIENCE: Duration = Duration::from_secs(2);
/// How often it looks.
const LOG_PERIOD: Duration = Duration::from_millis(50);

/// The registry's parts. Cheap to clone.
#[derive(Debug, Clone)]
pub struct AppState {
    /// The configuration, parsed.
    pub config: Arc<Config>,
    /// The database.
    pub db: Database,
    /// The object store.
    pub blobs: Blobs,
    /// Where durable steps are reported.
    pub steps: Steps,
    /// Who writes to which upload.
    pub leases: Leases,
    /// Work that outlives its request.
    pub tasks: Tasks,
    /// What time it is.
    pub clock: Clock,
    /// What opens the online keys.
    pub seal: Sealing,
    /// Check bundles that were assembled before.
    pub bundles: Arc<BundleCache>,
    /// How the log's witnesses fare.
    pub witnessing: Arc<Witnessing>,
    /// Told when there may be a delta to make.
    pub delta_work: Arc<Notify>,
    /// Held as long as the registry runs: nobody else works in the data folder.
    lock: Option<Arc<std::fs::File>>,
}

/// [`AppState`] as handlers take it.
pub type State = Data<AppState>;

/// The registry's parts cannot be brought up.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The data folder.
    #[error("cannot use the data folder {folder}: {source}; choose another with --data-dir")]
    Folder {
        /// The folder.
        folder: std::path::PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// Another registry works in the data folder.
    #[error(
        "expected to be alone in the data folder {folder}, found another registry; stop it or choose another folder"
    )]
    InUse {
        /// The folder.
        folder: std::path::PathBuf,
    },
    /// The database.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// The object store.
    #[error(transparent)]
    Blobs(#[from] BlobError),
    /// The key that seals the online keys.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// The sealing key's file is gone, and a new one would open none of the online keys.
    #[error(
        "the database holds online keys that were sealed with {path}, which is not there; restore it from a backup. (With 32 other \
         bytes in its place the registry starts, but can sign for none of its namespaces)"
    )]
    SealKeyGone {
        /// Where it should be.
        path: std::path::PathBuf,
    },
}

impl AppState {
    /// Opens database and object store.
    ///
    /// # Errors
    /// One of them does not open.
    pub async fn open(config: Config) -> Result<Self, StartError> {
        let folder = |source| StartError::Folder {
            folder: config.data_dir.clone(),
            source,
        };
        std::fs::create_dir_all(&config.data_dir).map_err(folder)?;
        let lock = std::fs::File::create(config.data_dir.join(LOCK)).map_err(folder)?;
        lock.try_lock().map_err(|why| match why {
            std::fs::TryLockError::WouldBlock => StartError::InUse {
                folder: config.data_dir.clone(),
            },
            std::fs::TryLockError::Error(source) => folder(source),
        })?;
        let db = Database::connect(config.database.url.expose()).await?;
        let blobs = Blobs::open(&config.storage)?;
        let mut state = Self::new(config, db, blobs);
        state.lock = Some(Arc::new(lock));
        // A seal key that cannot be used is found out now, not when metadata must be signed again.
        let path = &state.config.signing.seal_key;
        if !path.exists() && state.db.has_online_keys().await? {
            return Err(StartError::SealKeyGone { path: path.clone() });
        }
        state.seal.key()?;
        Ok(state)
    }

    /// Puts the parts together.
    pub fn new(config: Config, db: Database, blobs: Blobs) -> Self {
        #[cfg(feature = "crash-points")]
        let steps = config
            .testing
            .stop_after
            .map_or_else(Steps::default, Steps::crash_behind);
        #[cfg(not(feature = "crash-points"))]
        let steps = Steps::default();
        let seal = Sealing::new(config.signing.seal_key.clone());
        let witnessing = Arc::new(Witnessing::new(&config.transparency.witnesses));
        Self {
            db,
            blobs,
            steps,
            leases: Leases::new(config.uploads.concurrent),
            tasks: Tasks::of_this_runtime(),
            config: Arc::new(config),
            lock: None,
            clock: Clock::default(),
            seal,
            bundles: Arc::new(BundleCache::new(BUNDLES)),
            witnessing,
            delta_work: Arc::default(),
        }
    }

    /// The proof that a snapshot of the namespace with this identity is in the log, and that its checkpoint and the one of `known`
    /// entries are of one history; `None` while it is in no published checkpoint.
    ///
    /// # Errors
    /// See [`LogError`].
    pub async fn log_part(
        &self,
        identity: Sha256Digest,
        version: u64,
        sha256: Sha256Digest,
        known: Option<u64>,
    ) -> Result<Option<Proven>, LogError> {
        match prove::place(self, identity, version, sha256).await? {
            Some(placed) => Ok(Some(prove::snapshot(self, placed, known).await?)),
            None => Ok(None),
        }
    }

    /// Waits while the sequencer has the snapshot still before it, and while witnesses that answer promptly are still to cosign it: a
    /// device that asks right behind a publication is not sent away. A witness that is down or slow is not waited for.
    ///
    /// # Errors
    /// See [`LogError`].
    pub async fn wait_for_log(
        &self,
        identity: Sha256Digest,
        version: u64,
        sha256: Sha256Digest,
    ) -> Result<Option<Placed>, LogError> {
        let leaf = Leaf::new(identity, LeafKind::Snapshot, version, sha256)?;
        self.wait_for_leaf(&leaf).await
    }

    async fn wait_for_leaf(&self, leaf: &Leaf) -> Result<Option<Placed>, LogError> {
        let patience = tokio::time::Instant::now() + LOG_PATIENCE;
        loop {
            let placed = prove::place_of(self, leaf).await?;
            let may_grow = placed.is_none_or(|at| !at.settled && self.witnessing.may_grow(at.tree));
            if !may_grow || tokio::time::Instant::now() >= patience {
                return Ok(placed);
            }
            tokio::time::sleep(LOG_PERIOD).await;
        }
    }

    /// The proof of a leaf, a snapshot's or a root's, as [`AppState::log_part`] gives it, but behind the wait of
    /// [`AppState::wait_for_log`].
    ///
    /// # Errors
    /// See [`LogError`].
    pub async fn leaf_part_soon(&self, leaf: &Leaf, known: Option<u64>) -> Result<Option<Proven>, LogError> {
        match self.wait_for_leaf(leaf).await? {
            Some(placed) => Ok(Some(prove::snapshot(self, placed, known).await?)),
            None => Ok(None),
        }
    }

    /// The bytes of a range of a blob as a stream of pieces of at most 1 MiB.
    ///
    /// # Errors
    /// The database fails; what the object store has to say comes through the stream.
    pub async fn read_blob(
        &self,
        blob: &BlobRecord,
        range: Range<u64>,
    ) -> Result<impl Stream<Item = Result<Bytes, BlobError>> + Send + 'static + use<>, DatabaseError> {
        let pieces = self.db.pieces(blob, range.clone()).await?;
        Ok(self.blobs.read(pieces, range))
    }

    /// A whole blob that this namespace may use, if it is no larger than `limit` bytes; `None` if there is none or it is larger.
    ///
    /// # Errors
    /// Database or object store fail.
    pub async fn small_blob(
        &self,
        namespace: &NamespaceName,
        sha256: &Sha256Digest,
        limit: u64,
    ) -> Result<Option<Bytes>, StartError> {
        let Some(blob) = self.db.linked_blob(namespace, sha256).await? else {
            return Ok(None);
        };
        if blob.size > limit {
            return Ok(None);
        }
        let mut all = BytesMut::new();
        let mut pieces = std::pin::pin!(self.read_blob(&blob, 0..blob.size).await?);
        while let Some(piece) = pieces.next().await {
            all.extend_from_slice(&piece?);
        }
        Ok(Some(all.freeze()))
    }
}
