//! Uploads, blobs, links.

use assay_schema::api::Visibility;
use assay_server::persistence::{BlobLocation, DatabaseError, NewBlob};

use super::Fixture;
use super::samples::{at, namespace, segment, sha256};

pub async fn an_upload_asked_for_twice_is_one_upload(Fixture { db, .. }: Fixture) {
    let acme = namespace(&db, "acme", Visibility::Public).await;
    let other = namespace(&db, "other", Visibility::Public).await;
    let digest = sha256("bytes");
    let (one, two) = tokio::join!(
        db.start_upload("u1", &acme, &digest, 10, at(0)),
        db.start_upload("u2", &acme, &digest, 10, at(0))
    );
    let (one, two) = (one.unwrap(), two.unwrap());
    assert_eq!(one, two);
    assert_eq!((one.offset, one.size), (0, 10));
    // Another namespace's upload of the same digest is its own, and nobody else's id works.
    let theirs = db.start_upload("u3", &other, &digest, 10, at(0)).await.unwrap();
    assert_ne!(theirs.id, one.id);
    assert!(db.upload(&acme, &theirs.id).await.unwrap().is_none());
    assert_eq!(db.upload_of(&other, &digest).await.unwrap().unwrap().id, "u3");
}

pub async fn an_offset_that_moved_is_refused(Fixture { db, .. }: Fixture) {
    let acme = namespace(&db, "acme", Visibility::Public).await;
    db.start_upload("u", &acme, &sha256("bytes"), 10, at(0))
        .await
        .unwrap();
    assert_eq!(
        db.advance_upload("u", &segment("u", 0, 4), at(1)).await.unwrap(),
        4
    );
    for start in [0, 3, 5] {
        let late = db.advance_upload("u", &segment("u", start, 2), at(2)).await;
        assert!(matches!(late, Err(DatabaseError::OffsetMoved { .. })), "{late:?}");
    }
    assert_eq!(
        db.advance_upload("u", &segment("u", 4, 6), at(3)).await.unwrap(),
        10
    );
    let upload = db.upload(&acme, "u").await.unwrap().unwrap();
    assert_eq!((upload.offset, upload.updated), (10, at(3)));
    assert_eq!(
        db.segments("u", 0..10).await.unwrap(),
        [segment("u", 0, 4), segment("u", 4, 6)]
    );
    assert_eq!(db.segments("u", 3..4).await.unwrap(), [segment("u", 0, 4)]);
    assert_eq!(db.segments("u", 4..5).await.unwrap(), [segment("u", 4, 6)]);
    assert!(db.segments("u", 10..11).await.unwrap().is_empty());
}

pub async fn a_segment_beyond_the_declared_size_is_refused(Fixture { db, .. }: Fixture) {
    let acme = namespace(&db, "acme", Visibility::Public).await;
    db.start_upload("u", &acme, &sha256("bytes"), 10, at(0))
        .await
        .unwrap();
    let beyond = db.advance_upload("u", &segment("u", 0, 11), at(1)).await;
    assert!(matches!(beyond, Err(DatabaseError::OffsetMoved { .. })));
    assert!(db.segments("u", 0..11).await.unwrap().is_empty());
}

pub async fn a_blob_is_stored_once_and_linked_to_each_namespace(Fixture { db, .. }: Fixture) {
    let acme = namespace(&db, "acme", Visibility::Public).await;
    let other = namespace(&db, "other", Visibility::Public).await;
    let digest = sha256("bytes");
    let index = NewBlob {
        sha256: sha256("index"),
        size: 5,
    };
    for (id, namespace) in [("u1", &acme), ("u2", &other)] {
        db.start_upload(id, namespace, &digest, 10, at(0)).await.unwrap();
        db.advance_upload(id, &segment(id, 0, 10), at(1)).await.unwrap();
    }
    assert_eq!(
        db.unlinked(&acme, &[digest, index.sha256]).await.unwrap().len(),
        2
    );
    let upload = db.upload(&acme, "u1").await.unwrap().unwrap();
    let first = db.finish_upload(&upload, Some(index)).await.unwrap();
    assert!(!first.known_before);
    assert_eq!(
        first.blob.location,
        BlobLocation::Segments {
            upload: "u1".to_owned()
        }
    );
    assert_eq!(first.blob.chunks, Some(index.sha256));
    assert!(db.upload(&acme, "u1").await.unwrap().is_none());
    assert!(
        db.unlinked(&acme, &[digest, index.sha256])
            .await
            .unwrap()
            .is_empty()
    );
    // The other namespace has not finished: knowing the digest grants nothing.
    assert!(db.linked_blob(&other, &digest).await.unwrap().is_none());
    assert_eq!(
        db.unlinked(&other, &[digest, index.sha256]).await.unwrap().len(),
        2
    );
    let upload = db.upload(&other, "u2").await.unwrap().unwrap();
    let second = db.finish_upload(&upload, Some(index)).await.unwrap();
    assert!(second.known_before);
    assert_eq!(second.blob, first.blob);
    assert_eq!(
        db.linked_blob(&other, &digest).await.unwrap().unwrap(),
        first.blob
    );
    assert!(db.segments("u2", 0..10).await.unwrap().is_empty());
    assert!(db.segment_in_use("u1", "segments/u1/0").await.unwrap());
    assert!(!db.segment_in_use("u2", "segments/u2/0").await.unwrap());
    assert_eq!(
        db.pieces(&first.blob, 0..10).await.unwrap(),
        [segment("u1", 0, 10)]
    );
}

pub async fn an_unfinished_upload_makes_no_blob(Fixture { db, .. }: Fixture) {
    let acme = namespace(&db, "acme", Visibility::Public).await;
    db.start_upload("u", &acme, &sha256("bytes"), 10, at(0))
        .await
        .unwrap();
    db.advance_upload("u", &segment("u", 0, 9), at(1)).await.unwrap();
    let upload = db.upload(&acme, "u").await.unwrap().unwrap();
    let refused = db.finish_upload(&upload, None).await;
    assert!(matches!(refused, Err(DatabaseError::Missing { .. })));
    assert!(db.blob(&sha256("bytes")).await.unwrap().is_none());
    assert_eq!(db.upload(&acme, "u").await.unwrap().unwrap().offset, 9);
}

pub async fn a_dropped_upload_leaves_nothing(Fixture { db, .. }: Fixture) {
    let acme = namespace(&db, "acme", Visibility::Public).await;
    db.start_upload("u", &acme, &sha256("bytes"), 10, at(0))
        .await
        .unwrap();
    db.advance_upload("u", &segment("u", 0, 9), at(1)).await.unwrap();
    assert!(db.segment_in_use("u", "segments/u/0").await.unwrap());
    assert!(db.drop_upload("u").await.unwrap());
    assert!(!db.drop_upload("u").await.unwrap());
    assert!(db.segments("u", 0..10).await.unwrap().is_empty());
    let late = db.advance_upload("u", &segment("u", 9, 1), at(2)).await;
    assert!(matches!(late, Err(DatabaseError::OffsetMoved { .. })));
}

pub async fn idle_uploads_are_found(Fixture { db, .. }: Fixture) {
    let acme = namespace(&db, "acme", Visibility::Public).await;
    for (id, second) in [("old", 0), ("older", -5), ("young", 100)] {
        db.start_upload(id, &acme, &sha256(id), 10, at(second))
            .await
            .unwrap();
    }
    let idle: Vec<_> = db
        .idle_uploads(at(50), 10)
        .await
        .unwrap()
        .into_iter()
        .map(|upload| upload.id)
        .collect();
    assert_eq!(idle, ["older", "old"]);
}

pub async fn writers_at_once_do_not_fail_as_busy(Fixture { db, .. }: Fixture) {
    let acme = namespace(&db, "acme", Visibility::Public).await;
    let writers: Vec<_> = (0..32)
        .map(|i| {
            let (db, acme) = (db.clone(), acme.clone());
            tokio::spawn(async move {
                let id = format!("u{i}");
                db.start_upload(&id, &acme, &sha256(&id), 3, at(0)).await?;
                for start in 0..3 {
                    db.advance_upload(&id, &segment(&id, start, 1), at(1)).await?;
                }
                let upload = db.upload(&acme, &id).await?.unwrap();
                db.finish_upload(&upload, None).await
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap().unwrap();
    }
}
