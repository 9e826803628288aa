//! One suite for every object store: a local folder, and a store by URL.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

use std::collections::BTreeMap;

use assay_schema::Sha256Digest;
use assay_server::blobs::{BlobError, Blobs, object_path, segment_path};
use assay_server::config::StorageConfig;
use assay_server::persistence::Segment;
use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt};
use sha2::{Digest, Sha256};

async fn suite(blobs: Blobs) {
    blobs.ping().await.unwrap();
    let bytes = Bytes::from((0..3_000_000_u32).map(|i| (i % 253) as u8).collect::<Vec<_>>());
    let mut segments = Vec::new();
    let mut start = 0;
    for len in [1, 1_500_000, 7, 1_499_992] {
        let part = bytes.slice(start..start + len);
        let object = segment_path("upload", start as u64, "writer");
        let (head, tail) = (part.slice(..len / 2), part.slice(len / 2..));
        blobs.put_segment(&object, vec![head, tail]).await.unwrap();
        segments.push(Segment {
            start: start as u64,
            len: len as u64,
            object,
        });
        start += len;
    }
    for range in [
        0..0,
        0..1,
        0..3_000_000,
        1_048_575..1_048_577,
        1_500_000..1_500_009,
        2_999_999..3_000_000,
    ] {
        let pieces: Vec<Bytes> = blobs
            .read(segments.clone(), range.clone())
            .try_collect()
            .await
            .unwrap();
        assert!(pieces.iter().all(|piece| piece.len() <= 1 << 20));
        assert_eq!(
            pieces.concat(),
            bytes[range.start as usize..range.end as usize],
            "{range:?}"
        );
    }
    let beyond = blobs
        .read(segments.clone(), 2_999_999..3_000_001)
        .try_collect::<Vec<_>>()
        .await;
    assert!(matches!(beyond, Err(BlobError::Gone { .. })), "{beyond:?}");

    let mut lie = segments.clone();
    lie[3].len += 10;
    let short = blobs.read(lie, 0..3_000_010).try_collect::<Vec<_>>().await;
    assert!(short.is_err(), "an object that is shorter than its row says");

    let listed: Vec<_> = blobs
        .stored_segments()
        .map(|entry| entry.unwrap().object)
        .collect()
        .await;
    let mut expected: Vec<_> = segments.iter().map(|segment| segment.object.clone()).collect();
    expected.sort();
    let mut sorted = listed;
    sorted.sort();
    assert_eq!(sorted, expected);

    blobs.delete(&segments[1].object).await.unwrap();
    blobs.delete(&segments[1].object).await.unwrap();
    let gone = blobs.read(segments.clone(), 0..10).try_collect::<Vec<_>>().await;
    assert!(matches!(gone, Err(BlobError::Gone { .. })), "{gone:?}");

    let small = Bytes::from_static(b"a manifest");
    let sha256 = Sha256Digest::new(Sha256::digest(&small).into());
    for _ in 0..2 {
        blobs.put_object(&sha256, small.clone()).await.unwrap();
    }
    let whole = vec![Segment {
        start: 0,
        len: small.len() as u64,
        object: object_path(&sha256),
    }];
    let read: Vec<Bytes> = blobs
        .read(whole, 0..small.len() as u64)
        .try_collect()
        .await
        .unwrap();
    assert_eq!(read.concat(), small);
    assert_eq!(blobs.count().puts(), 6);
}

#[tokio::test]
async fn a_local_folder() {
    let folder = tempfile::tempdir().unwrap();
    suite(Blobs::open(&StorageConfig::Folder(folder.path().join("made on the way"))).unwrap()).await;
}

#[tokio::test]
async fn a_store_by_url() {
    let url = "memory:///a/prefix".parse().unwrap();
    suite(
        Blobs::open(&StorageConfig::Url {
            url,
            options: BTreeMap::new(),
        })
        .unwrap(),
    )
    .await;
}

#[test]
fn a_url_of_no_store_is_refused() {
    let url = "gopher://x/y".parse().unwrap();
    let refused = Blobs::open(&StorageConfig::Url {
        url,
        options: BTreeMap::new(),
    });
    assert!(matches!(refused, Err(BlobError::Open { .. })));
}
