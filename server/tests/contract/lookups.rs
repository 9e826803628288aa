//! What publication and distribution ask about blobs and releases.

use assay_schema::api::Visibility;
use assay_server::persistence::NewMetadata;

use super::Fixture;
use super::samples::{at, blob, candidate, namespace, publication, sha256};

pub async fn only_linked_blobs_are_found(Fixture { db, .. }: Fixture) {
    let acme = namespace(&db, "acme", Visibility::Public).await;
    let other = namespace(&db, "other", Visibility::Public).await;
    let (ours, theirs) = (blob(&db, &acme, "ours").await, blob(&db, &other, "theirs").await);
    let asked = [ours, theirs, sha256("nobody's"), ours];
    let found = db.linked_blobs(&acme, &asked).await.unwrap();
    assert_eq!(found.keys().collect::<Vec<_>>(), [&ours]);
    assert_eq!(found[&ours].size, 4);
    assert!(db.linked_blobs(&acme, &[]).await.unwrap().is_empty());
}

pub async fn a_blob_is_published_with_its_release(Fixture { db, .. }: Fixture) {
    let acme = namespace(&db, "acme", Visibility::Public).await;
    let other = namespace(&db, "other", Visibility::Public).await;
    let file = blob(&db, &acme, "file").await;
    let mut new = candidate(&acme, "minilm", "1.0.0", 1);
    new.references = vec![file];
    db.put_candidate(new.clone()).await.unwrap();
    assert!(!db.blob_is_published(&acme, &file).await.unwrap());
    let revision = db.namespace(&acme).await.unwrap().unwrap().revision;
    db.commit_publication(&acme, revision, Vec::new(), &[publication(&new)], at(2))
        .await
        .unwrap();
    assert!(db.blob_is_published(&acme, &file).await.unwrap());
    assert!(db.blob_is_published(&acme, &new.manifest.sha256).await.unwrap());
    assert!(!db.blob_is_published(&other, &file).await.unwrap());
    assert!(!db.blob_is_published(&acme, &sha256("another")).await.unwrap());
}

pub async fn a_counter_is_taken_by_a_published_release_only(Fixture { db, .. }: Fixture) {
    let acme = namespace(&db, "acme", Visibility::Public).await;
    let new = candidate(&acme, "minilm", "1.0.0", 7);
    db.put_candidate(new.clone()).await.unwrap();
    let taken = async |model: &str, counter| {
        db.published_with_counter(&acme, &model.parse().unwrap(), counter)
            .await
            .unwrap()
    };
    assert_eq!(taken("minilm", 7).await, None);
    let revision = db.namespace(&acme).await.unwrap().unwrap().revision;
    db.commit_publication(&acme, revision, Vec::new(), &[publication(&new)], at(2))
        .await
        .unwrap();
    assert_eq!(taken("minilm", 7).await, Some(new.version));
    assert_eq!(taken("minilm", 8).await, None);
    assert_eq!(taken("other", 7).await, None);
}

pub async fn a_roles_history_is_newest_first(Fixture { db, .. }: Fixture) {
    let acme = namespace(&db, "acme", Visibility::Public).await;
    for version in 101..=103 {
        let revision = db.namespace(&acme).await.unwrap().unwrap().revision;
        let text = format!("targets {version}");
        let file = NewMetadata {
            role: "targets".to_owned(),
            version,
            sha256: sha256(&text),
            bytes: text.into_bytes(),
            expires: at(100),
        };
        db.commit_publication(&acme, revision, vec![file], &[], at(3))
            .await
            .unwrap();
    }
    let found = db.metadata_history(&acme, "targets", 2).await.unwrap();
    assert_eq!(found.iter().map(|f| f.version).collect::<Vec<_>>(), [103, 102]);
    assert!(db.metadata_history(&acme, "no role", 2).await.unwrap().is_empty());
}
