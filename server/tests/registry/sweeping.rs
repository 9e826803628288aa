//! What nobody goes on with is forgotten, and nothing else.

use assay_schema::api::Visibility;
use assay_schema::problem::ProblemKind;
use assay_server::store;
use jiff::{SignedDuration, Timestamp};
use reqwest::Method;

use super::support::{MIB, Registry, problem, sample, sha256};

fn after_days(days: i64) -> Timestamp {
    Timestamp::now() + SignedDuration::from_hours(24 * days)
}

#[tokio::test]
async fn idle_uploads_and_orphan_segments_go_and_blobs_stay() {
    let folder = tempfile::tempdir().unwrap();
    let registry = Registry::start(folder.path()).await;
    let acme = registry.namespace("acme", Visibility::Public).await;
    let kept = sample(2 * MIB);
    registry.upload(&acme, &kept).await;
    let id = registry.begin(&acme, b"never finished").await.id.unwrap();
    registry.patch(&acme, &id, 0).body("never").send().await.unwrap();
    // What a crash between U2 and U3 leaves.
    let orphan = folder.path().join("storage/segments/0123/0000000000000000-ff");
    std::fs::create_dir_all(orphan.parent().unwrap()).unwrap();
    std::fs::write(&orphan, "orphan").unwrap();
    assert_eq!(registry.segments_on_disk(), 3);

    store::sweep(registry.state(), after_days(6)).await.unwrap();
    assert_eq!(
        registry.segments_on_disk(),
        3,
        "within the idle days nothing goes"
    );
    let lease = registry.state().leases.take(&id, &acme).unwrap();
    store::sweep(registry.state(), after_days(8)).await.unwrap();
    assert!(!orphan.exists());
    assert_eq!(
        registry.segments_on_disk(),
        2,
        "an upload that someone writes to stays"
    );
    drop(lease);
    store::sweep(registry.state(), after_days(8)).await.unwrap();
    assert_eq!(registry.segments_on_disk(), 1);
    let gone = registry
        .request(Method::GET, &format!("/v1/namespaces/acme/uploads/{id}"))
        .send()
        .await
        .unwrap();
    problem(gone, ProblemKind::NotFound).await;
    assert_eq!(registry.stored(&acme, &sha256(&kept)).await.unwrap(), kept);
}
