//! One blob for everybody who sent it, and for nobody else.

use assay_schema::api::Visibility;

use super::support::{MIB, Registry, sample, sha256};

#[tokio::test]
async fn knowing_a_digest_grants_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let registry = Registry::start(folder.path()).await;
    let acme = registry.namespace("acme", Visibility::Private).await;
    let thief = registry.namespace("thief", Visibility::Public).await;
    let secret = sample(2 * MIB);
    let info = registry.upload(&acme, &secret).await;
    let theirs = registry.begin(&thief, &secret).await;
    assert!(!theirs.complete);
    assert_eq!((theirs.offset, theirs.chunks), (0, None));
    assert!(registry.stored(&thief, &sha256(&secret)).await.is_none());
    assert!(registry.stored(&thief, &info.chunks.unwrap()).await.is_none());
    let chunk = secret.slice(..MIB);
    assert!(!registry.begin(&thief, &chunk).await.complete);
}

#[tokio::test]
async fn the_same_bytes_in_two_namespaces_are_stored_once() {
    let folder = tempfile::tempdir().unwrap();
    let registry = Registry::start(folder.path()).await;
    let acme = registry.namespace("acme", Visibility::Public).await;
    let other = registry.namespace("other", Visibility::Public).await;
    let bytes = sample(17 * MIB);
    let first = registry.upload(&acme, &bytes).await;
    let segments = registry.segments_on_disk();
    assert_eq!(segments, 2);
    let second = registry.upload(&other, &bytes).await;
    assert_eq!(first, second);
    assert_eq!(registry.segments_on_disk(), segments);
    for namespace in [&acme, &other] {
        assert_eq!(registry.stored(namespace, &sha256(&bytes)).await.unwrap(), bytes);
    }
}
