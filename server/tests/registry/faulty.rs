//! An object store whose disk fills up.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use assay_schema::api::Visibility;
use assay_schema::problem::ProblemKind;
use assay_server::blobs::Blobs;
use assay_server::persistence::Database;
use assay_server::state::AppState;
use futures_util::stream::BoxStream;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use sea_orm_migration::async_trait::async_trait;

use super::support::{MIB, Registry, config, problem, sample, sha256};

#[derive(Debug)]
struct Disk {
    inner: LocalFileSystem,
    full: Arc<AtomicBool>,
}

impl std::fmt::Display for Disk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a disk that fills up")
    }
}

#[async_trait]
impl ObjectStore for Disk {
    async fn put_opts(&self, at: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        if self.full.load(Ordering::SeqCst) {
            let source = Box::new(std::io::Error::from(std::io::ErrorKind::StorageFull));
            return Err(object_store::Error::Generic {
                store: "disk",
                source,
            });
        }
        self.inner.put_opts(at, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        at: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(at, options).await
    }

    async fn get_opts(&self, at: &Path, options: GetOptions) -> Result<GetResult> {
        self.inner.get_opts(at, options).await
    }

    fn delete_stream(&self, paths: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(paths)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

#[tokio::test]
async fn a_full_disk_is_told_and_the_upload_goes_on_once_there_is_space() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path());
    let full = Arc::new(AtomicBool::new(false));
    std::fs::create_dir(folder.path().join("storage")).unwrap();
    let inner = LocalFileSystem::new_with_prefix(folder.path().join("storage")).unwrap();
    let blobs = Blobs::new(Arc::new(Disk {
        inner,
        full: Arc::clone(&full),
    }));
    let db = Database::connect(config.database.url.expose()).await.unwrap();
    let registry = Registry::with(AppState::new(config, db, blobs), None).await;
    let acme = registry.namespace("acme", Visibility::Public).await;
    let bytes = sample(3 * MIB);
    let id = registry.begin(&acme, &bytes).await.id.unwrap();
    registry
        .patch(&acme, &id, 0)
        .body(bytes.slice(..MIB))
        .send()
        .await
        .unwrap();
    full.store(true, Ordering::SeqCst);
    let answer = registry
        .patch(&acme, &id, MIB as u64)
        .body(bytes.slice(MIB..))
        .send()
        .await
        .unwrap();
    problem(answer, ProblemKind::StorageFull).await;
    assert_eq!(registry.offset(&acme, &id).await, MIB as u64);
    full.store(false, Ordering::SeqCst);
    assert!(registry.upload(&acme, &bytes).await.complete);
    assert_eq!(registry.stored(&acme, &sha256(&bytes)).await.unwrap(), bytes);
}

#[tokio::test]
async fn a_registry_whose_storage_is_gone_is_not_ready() {
    let folder = tempfile::tempdir().unwrap();
    let registry = Registry::start(folder.path()).await;
    let ready = async || {
        registry
            .anonymous(reqwest::Method::GET, "/readyz")
            .send()
            .await
            .unwrap()
    };
    assert_eq!(ready().await.status(), 200);
    registry.state().db.clone().close().await.unwrap();
    problem(ready().await, ProblemKind::Unavailable).await;
    let alive = registry
        .anonymous(reqwest::Method::GET, "/healthz")
        .send()
        .await
        .unwrap();
    assert_eq!(alive.status(), 200);
}
