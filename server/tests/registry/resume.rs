//! Uploads go on where they stopped.

use assay_schema::ChunkIndex;
use assay_schema::api::{UploadInfo, Visibility};
use bytes::Bytes;
use reqwest::StatusCode;

use super::raw::Connection;
use super::support::{MIB, Registry, eventually, json, sample, sha256};

#[tokio::test]
async fn a_blob_arrives_with_its_chunk_index() {
    let folder = tempfile::tempdir().unwrap();
    let registry = Registry::start(folder.path()).await;
    let acme = registry.namespace("acme", Visibility::Public).await;
    let bytes = sample(17 * MIB + 5);
    let info = registry.upload(&acme, &bytes).await;
    assert!(info.complete && info.id.is_none());
    assert_eq!(info.offset, bytes.len() as u64);
    assert_eq!(registry.stored(&acme, &sha256(&bytes)).await.unwrap(), bytes);
    let index = registry.stored(&acme, &info.chunks.unwrap()).await.unwrap();
    let index = ChunkIndex::decode(&index, bytes.len() as u64).unwrap();
    assert_eq!(index.digests(), bytes.chunks(MIB).map(sha256).collect::<Vec<_>>());
    // Asked again, as after a lost answer.
    assert_eq!(registry.begin(&acme, &bytes).await, info);
}

#[tokio::test]
async fn small_and_empty_blobs_have_no_index() {
    let folder = tempfile::tempdir().unwrap();
    let registry = Registry::start(folder.path()).await;
    let acme = registry.namespace("acme", Visibility::Public).await;
    for len in [0, 1, MIB] {
        let bytes = sample(len);
        let info = registry.upload(&acme, &bytes).await;
        assert!(info.complete && info.chunks.is_none(), "{len}");
        assert_eq!(registry.stored(&acme, &sha256(&bytes)).await.unwrap(), bytes);
    }
}

#[tokio::test]
async fn an_upload_in_parts_of_odd_lengths_is_put_together() {
    let folder = tempfile::tempdir().unwrap();
    let registry = Registry::start(folder.path()).await;
    let acme = registry.namespace("acme", Visibility::Public).await;
    let bytes = sample(5 * MIB);
    let id = registry.begin(&acme, &bytes).await.id.unwrap();
    let mut at = 0;
    let mut info: Option<UploadInfo> = None;
    for len in [1, 65_537, 3, MIB + 7, bytes.len()] {
        let part = bytes.slice(at..(at + len).min(bytes.len()));
        let answer = registry
            .patch(&acme, &id, at as u64)
            .body(part.clone())
            .send()
            .await
            .unwrap();
        at += part.len();
        let now: UploadInfo = json(answer, StatusCode::OK).await;
        assert_eq!(now.offset, at as u64);
        info = Some(now);
    }
    assert!(info.unwrap().complete);
    assert_eq!(registry.stored(&acme, &sha256(&bytes)).await.unwrap(), bytes);
}

#[tokio::test]
async fn a_dropped_connection_keeps_every_byte_that_came() {
    let folder = tempfile::tempdir().unwrap();
    let registry = Registry::start(folder.path()).await;
    let acme = registry.namespace("acme", Visibility::Public).await;
    let bytes = sample(20 * MIB);
    let id = registry.begin(&acme, &bytes).await.id.unwrap();
    let sent = 16 * MIB + 70_000;
    let mut connection = Connection::open(registry.running.address).await;
    let head = format!(
        "PATCH /v1/namespaces/acme/uploads/{id} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\n\
         Upload-Offset: 0\r\nContent-Length: {}\r\n\r\n",
        registry.token,
        bytes.len()
    );
    connection.send(head.as_bytes()).await.unwrap();
    connection.send(&bytes[..sent]).await.unwrap();
    // Until the last bytes have left the kernel's buffers, closing could reset the connection.
    eventually("a first segment", async || {
        registry.offset(&acme, &id).await >= 16 << 20
    })
    .await;
    drop(connection);
    eventually("every byte that was sent", async || {
        registry.offset(&acme, &id).await == sent as u64
    })
    .await;
    let info = registry.upload(&acme, &bytes).await;
    assert!(info.complete);
    assert_eq!(registry.stored(&acme, &sha256(&bytes)).await.unwrap(), bytes);
}

#[tokio::test]
async fn an_upload_goes_on_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let registry = Registry::start(folder.path()).await;
    let acme = registry.namespace("acme", Visibility::Public).await;
    let bytes = sample(3 * MIB);
    let id = registry.begin(&acme, &bytes).await.id.unwrap();
    let part = bytes.slice(..2 * MIB + 1);
    let answer = registry.patch(&acme, &id, 0).body(part).send().await.unwrap();
    assert!(!json::<UploadInfo>(answer, StatusCode::OK).await.complete);
    let registry = registry.restart().await;
    let found = registry.begin(&acme, &bytes).await;
    assert_eq!(
        (found.id.as_deref(), found.offset),
        (Some(id.as_str()), 2 * MIB as u64 + 1)
    );
    assert!(registry.upload(&acme, &bytes).await.complete);
    let registry = registry.restart().await;
    assert_eq!(registry.stored(&acme, &sha256(&bytes)).await.unwrap(), bytes);
}

#[tokio::test]
async fn stopping_waits_for_an_upload_under_way() {
    let folder = tempfile::tempdir().unwrap();
    let registry = Registry::start(folder.path()).await;
    let acme = registry.namespace("acme", Visibility::Public).await;
    let bytes = sample(2 * MIB);
    let id = registry.begin(&acme, &bytes).await.id.unwrap();
    let (first, second) = (bytes.slice(..MIB), bytes.slice(MIB..));
    let (started, go_on) = tokio::sync::oneshot::channel::<()>();
    let body = futures_util::stream::once(async move { Ok::<_, std::io::Error>(first) }).chain(
        futures_util::stream::once(async move {
            let _ = go_on.await;
            Ok::<Bytes, std::io::Error>(second)
        }),
    );
    use futures_util::StreamExt;
    let request = registry
        .patch(&acme, &id, 0)
        .body(reqwest::Body::wrap_stream(body));
    let sending = tokio::spawn(request.send());
    eventually("the lease is taken", async || {
        registry.state().leases.take(&id, &acme).is_err()
    })
    .await;
    let (folder, token) = (registry.folder.clone(), registry.token.clone());
    let stopping = tokio::spawn(registry.running.stop());
    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    started.send(()).unwrap();
    let info: UploadInfo = json(sending.await.unwrap().unwrap(), StatusCode::OK).await;
    assert!(info.complete);
    stopping.await.unwrap().unwrap();
    let registry = Registry::with(
        super::support::open(super::support::config(&folder)).await,
        Some(token),
    )
    .await;
    assert_eq!(registry.stored(&acme, &sha256(&bytes)).await.unwrap(), bytes);
}
