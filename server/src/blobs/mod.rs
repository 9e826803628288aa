//! The only place that touches the object store.
//!
//! A blob is one object named by its digest, or the ordered segments of the upload that it came from. Objects are written once,
//! synced, and never changed. The store is trusted with keeping bytes, not with their content: whoever changes them is found out
//! by the digest that the authority signed.

mod error;
mod read;
mod sweep;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use assay_schema::Sha256Digest;
use bytes::Bytes;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutPayload};

pub use error::BlobError;
use read::Readers;
pub use sweep::StoredSegment;

use crate::config::StorageConfig;

/// The object that holds a blob as a whole.
pub fn object_path(sha256: &Sha256Digest) -> String {
    let hex = sha256.to_hex();
    let shard: String = hex.chars().take(2).collect();
    format!("objects/{shard}/{hex}")
}

/// Where the segments of uploads lie.
const SEGMENTS: &str = "segments";

/// The object of a segment. `writer` is different for every request that writes, so that two of them, whatever they believe of
/// each other, never write one object.
pub fn segment_path(upload: &str, start: u64, writer: &str) -> String {
    format!("{SEGMENTS}/{upload}/{start:016x}-{writer}")
}

/// Objects that were written and deleted so far: tests compare them with the steps that may write.
#[derive(Debug, Clone, Default)]
pub struct ObjectCount {
    puts: Arc<AtomicU64>,
    deletes: Arc<AtomicU64>,
}

impl ObjectCount {
    /// Objects written.
    pub fn puts(&self) -> u64 {
        self.puts.load(Ordering::Relaxed)
    }

    /// Objects deleted.
    pub fn deletes(&self) -> u64 {
        self.deletes.load(Ordering::Relaxed)
    }
}

/// The object store.
#[derive(Debug, Clone)]
pub struct Blobs {
    store: Arc<dyn ObjectStore>,
    count: ObjectCount,
    readers: Readers,
}

impl Blobs {
    /// Opens the store that the configuration names.
    ///
    /// # Errors
    /// The URL names no store, or its folder cannot be made.
    pub fn open(config: &StorageConfig) -> Result<Self, BlobError> {
        match config {
            StorageConfig::Folder(folder) => {
                std::fs::create_dir_all(folder).map_err(|source| BlobError::Folder {
                    folder: folder.clone(),
                    source,
                })?;
                let store = LocalFileSystem::new_with_prefix(folder)
                    .map_err(|source| BlobError::open(source.to_string()))?
                    .with_fsync(true);
                Ok(Self::new(Arc::new(store)))
            }
            StorageConfig::Url { url, options } => {
                let (store, prefix) =
                    object_store::parse_url_opts(url, options.iter().map(|(k, v)| (k, v.expose())))
                        .map_err(|source| BlobError::open(source.to_string()))?;
                Ok(Self::new(Arc::new(object_store::prefix::PrefixStore::new(
                    store, prefix,
                ))))
            }
        }
    }

    /// Any object store.
    pub fn new(store: Arc<dyn ObjectStore>) -> Self {
        Self {
            store,
            count: ObjectCount::default(),
            readers: Readers::default(),
        }
    }

    /// What was written so far.
    pub fn count(&self) -> &ObjectCount {
        &self.count
    }

    /// Stores a small blob as one object; the caller has computed the digest. The same bytes again change nothing.
    ///
    /// # Errors
    /// The store fails or is full.
    pub async fn put_object(&self, sha256: &Sha256Digest, bytes: Bytes) -> Result<(), BlobError> {
        self.put(&object_path(sha256), PutPayload::from(bytes)).await
    }

    /// Stores a segment; it is on disk when this returns.
    ///
    /// # Errors
    /// The store fails or is full.
    pub async fn put_segment(&self, object: &str, parts: Vec<Bytes>) -> Result<(), BlobError> {
        self.put(object, PutPayload::from_iter(parts)).await
    }

    async fn put(&self, object: &str, payload: PutPayload) -> Result<(), BlobError> {
        self.store
            .put(&Path::from(object), payload)
            .await
            .map_err(|e| BlobError::store(object, e))?;
        self.count.puts.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Stores an object that never changes, unless it is there with these very bytes; says whether it was written.
    ///
    /// # Errors
    /// [`BlobError::Different`] if other bytes are there; or the store fails or is full.
    pub async fn put_once(&self, object: &str, bytes: Bytes) -> Result<bool, BlobError> {
        let path = Path::from(object);
        let payload = PutPayload::from(bytes.clone());
        match self.store.put_opts(&path, payload, PutMode::Create.into()).await {
            Ok(_) => {
                self.count.puts.fetch_add(1, Ordering::Relaxed);
                Ok(true)
            }
            Err(object_store::Error::AlreadyExists { .. }) => {
                match self.small_object(object, bytes.len() as u64).await? {
                    Some(found) if found == bytes => Ok(false),
                    _ => Err(BlobError::Different {
                        object: object.to_owned(),
                    }),
                }
            }
            Err(e) => Err(BlobError::store(object, e)),
        }
    }

    /// Stores the log's checkpoint, in place of an older one.
    ///
    /// # Errors
    /// The store fails or is full.
    pub async fn put_checkpoint(&self, object: &str, bytes: Bytes) -> Result<(), BlobError> {
        self.put(object, PutPayload::from(bytes)).await
    }

    /// A whole object of at most `limit` bytes; `None` if there is none.
    ///
    /// # Errors
    /// [`BlobError::Different`] if it is longer; or the store fails.
    pub async fn small_object(&self, object: &str, limit: u64) -> Result<Option<Bytes>, BlobError> {
        let found = match self.store.get(&Path::from(object)).await {
            Ok(found) => found,
            Err(object_store::Error::NotFound { .. }) => return Ok(None),
            Err(e) => return Err(BlobError::store(object, e)),
        };
        if found.meta.size > limit {
            return Err(BlobError::Different {
                object: object.to_owned(),
            });
        }
        let bytes = found.bytes().await.map_err(|e| BlobError::store(object, e))?;
        Ok(Some(bytes))
    }

    /// Deletes an object; one that is gone already is no error.
    ///
    /// # Errors
    /// The store fails.
    pub async fn delete(&self, object: &str) -> Result<(), BlobError> {
        match self.store.delete(&Path::from(object)).await {
            Ok(()) => {
                self.count.deletes.fetch_add(1, Ordering::Relaxed);
                Ok(())
            }
            Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(e) => Err(BlobError::store(object, e)),
        }
    }

    /// Whether the store answers.
    ///
    /// # Errors
    /// It does not.
    pub async fn ping(&self) -> Result<(), BlobError> {
        match self.store.head(&Path::from("objects/ready")).await {
            Ok(_) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(e) => Err(BlobError::store("objects/ready", e)),
        }
    }
}
