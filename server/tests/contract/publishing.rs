//! Namespaces and metadata.

use assay_schema::api::Visibility;
use assay_server::persistence::{Database, DatabaseError, NewNamespace, OnlineRole, Viewer};

use super::Fixture;
use super::samples::{at, candidate, key, metadata, name, namespace, publication, sha256};

pub async fn migrating_again_changes_nothing(Fixture { db, url }: Fixture) {
    let acme = namespace(&db, "acme", Visibility::Public).await;
    let again = Database::connect(&url).await.unwrap();
    let record = again.namespace(&acme).await.unwrap().unwrap();
    assert_eq!(
        (record.identity, record.revision, record.created),
        (sha256("acme"), 1, at(0))
    );
    again.close().await.unwrap();
}

pub async fn a_namespace_that_exists_is_refused(Fixture { db, .. }: Fixture) {
    let acme = namespace(&db, "acme", Visibility::Public).await;
    let again = NewNamespace {
        name: acme.clone(),
        identity: sha256("another"),
        visibility: Visibility::Private,
        created: at(9),
        metadata: vec![metadata("root", 2)],
        blobs: Vec::new(),
        releases: Vec::new(),
    };
    assert!(matches!(
        db.create_namespace(again).await,
        Err(DatabaseError::Exists { .. })
    ));
    let head = db.head(&acme).await.unwrap().unwrap();
    assert_eq!(head.record.identity, sha256("acme"));
    assert_eq!(head.current["root"].version, 1);
    let info = db.namespace_info(head.record).await.unwrap();
    assert_eq!(info.versions.len(), 4);
}

pub async fn the_first_online_keys_win(Fixture { db, .. }: Fixture) {
    let acme = name("acme");
    assert!(db.online_keys(&acme).await.unwrap().is_empty());
    let first = vec![key(OnlineRole::Snapshot, "a"), key(OnlineRole::Timestamp, "b")];
    let second = vec![key(OnlineRole::Snapshot, "c"), key(OnlineRole::Timestamp, "d")];
    let (one, other) = tokio::join!(
        db.reserve_online_keys(&acme, first.clone()),
        db.reserve_online_keys(&acme, second.clone())
    );
    let (one, other) = (one.unwrap(), other.unwrap());
    assert_eq!(one, other);
    assert!(one == first || one == second, "the keys of two askers were mixed");
    assert_eq!(db.reserve_online_keys(&acme, second).await.unwrap(), one);
}

pub async fn every_version_of_metadata_is_kept(Fixture { db, .. }: Fixture) {
    let acme = namespace(&db, "acme", Visibility::Public).await;
    for version in 2..=4 {
        let files = vec![metadata("root", version), metadata("timestamp", version)];
        db.commit_publication(&acme, version - 1, files, &[], at(2))
            .await
            .unwrap();
    }
    let head = db.head(&acme).await.unwrap().unwrap();
    assert_eq!(head.record.revision, 4);
    let versions: Vec<_> = head
        .current
        .iter()
        .map(|(role, file)| (role.as_str(), file.version))
        .collect();
    assert_eq!(
        versions,
        [("root", 4), ("snapshot", 1), ("targets", 1), ("timestamp", 4)]
    );
    let above: Vec<_> = db
        .roots_above(&acme, 1, 2)
        .await
        .unwrap()
        .into_iter()
        .map(|file| file.version)
        .collect();
    assert_eq!(above, [2, 3]);
    let old = db.metadata(&acme, "timestamp", 2).await.unwrap().unwrap();
    assert_eq!(
        (old.bytes, old.sha256),
        (b"timestamp 2".to_vec(), sha256("timestamp 2"))
    );
    assert!(db.metadata(&acme, "timestamp", 5).await.unwrap().is_none());
    assert!(db.metadata(&acme, "timestamp", u64::MAX).await.unwrap().is_none());
    assert_eq!(
        db.current_metadata(&acme, "root").await.unwrap().unwrap().version,
        4
    );
    assert_eq!(
        db.role_states(&acme).await.unwrap()["timestamp"].sha256,
        sha256("timestamp 4")
    );
}

pub async fn a_publication_on_an_old_revision_is_refused(Fixture { db, .. }: Fixture) {
    let acme = namespace(&db, "acme", Visibility::Public).await;
    assert_eq!(
        db.commit_publication(&acme, 1, vec![metadata("targets", 2)], &[], at(2))
            .await
            .unwrap(),
        2
    );
    let late = db
        .commit_publication(&acme, 1, vec![metadata("targets", 3)], &[], at(3))
        .await;
    assert!(
        matches!(late, Err(DatabaseError::Conflict { expected: 1 })),
        "{late:?}"
    );
    assert_eq!(
        db.current_metadata(&acme, "targets")
            .await
            .unwrap()
            .unwrap()
            .version,
        2
    );
    let nowhere = db
        .commit_publication(&name("nowhere"), 1, Vec::new(), &[], at(3))
        .await;
    assert!(matches!(nowhere, Err(DatabaseError::Conflict { .. })));
}

pub async fn of_two_publications_at_once_one_wins(Fixture { db, .. }: Fixture) {
    let acme = namespace(&db, "acme", Visibility::Public).await;
    let racers: Vec<_> = (0..8)
        .map(|_| {
            let (db, acme) = (db.clone(), acme.clone());
            tokio::spawn(async move {
                db.commit_publication(&acme, 1, vec![metadata("targets", 2)], &[], at(2))
                    .await
            })
        })
        .collect();
    let mut won = 0;
    for racer in racers {
        match racer.await.unwrap() {
            Ok(revision) => {
                won += 1;
                assert_eq!(revision, 2);
            }
            Err(error) => assert!(
                matches!(error, DatabaseError::Conflict { expected: 1 }),
                "{error}"
            ),
        }
    }
    assert_eq!(won, 1);
}

pub async fn a_publication_that_fails_leaves_nothing(Fixture { db, .. }: Fixture) {
    let acme = namespace(&db, "acme", Visibility::Public).await;
    let writes = db.writes().get();
    let missing = publication(&candidate(&acme, "minilm", "1.0.0", 1));
    let failed = db
        .commit_publication(&acme, 1, vec![metadata("targets", 2)], &[missing], at(2))
        .await;
    assert!(matches!(failed, Err(DatabaseError::ReleaseChanged { .. })));
    assert_eq!(db.namespace(&acme).await.unwrap().unwrap().revision, 1);
    assert_eq!(
        db.current_metadata(&acme, "targets")
            .await
            .unwrap()
            .unwrap()
            .version,
        1
    );
    assert!(db.metadata(&acme, "targets", 2).await.unwrap().is_none());
    assert_eq!(db.writes().get(), writes);
}

pub async fn expiring_online_metadata_is_found(Fixture { db, .. }: Fixture) {
    let acme = namespace(&db, "acme", Visibility::Public).await;
    let zeta = namespace(&db, "zeta", Visibility::Private).await;
    let mut fresh = metadata("timestamp", 2);
    fresh.expires = at(10 * 86_400);
    db.commit_publication(&acme, 1, vec![fresh], &[], at(2))
        .await
        .unwrap();
    let due = |role, second| db.online_metadata_expiring(role, at(second), 10);
    assert_eq!(
        due(OnlineRole::Timestamp, 86_401).await.unwrap(),
        std::slice::from_ref(&zeta)
    );
    assert_eq!(due(OnlineRole::Snapshot, 86_401).await.unwrap(), [acme, zeta]);
    assert!(due(OnlineRole::Snapshot, 86_400).await.unwrap().is_empty());
}

pub async fn a_private_namespace_is_listed_to_its_own_only(Fixture { db, .. }: Fixture) {
    for (text, visibility) in [
        ("open", Visibility::Public),
        ("hidden", Visibility::Private),
        ("other", Visibility::Private),
    ] {
        namespace(&db, text, visibility).await;
    }
    let listed = async |viewer: Viewer| {
        let page = db.list_namespaces(&viewer, None, 10).await.unwrap();
        page.items
            .into_iter()
            .map(|info| info.name.to_string())
            .collect::<Vec<_>>()
    };
    assert_eq!(listed(Viewer::Public { and: None }).await, ["open"]);
    assert_eq!(
        listed(Viewer::Public {
            and: Some(name("hidden"))
        })
        .await,
        ["hidden", "open"]
    );
    assert_eq!(listed(Viewer::Everything).await, ["hidden", "open", "other"]);
}

pub async fn names_order_by_their_bytes(Fixture { db, .. }: Fixture) {
    let ordered = ["a", "a-b", "a.b", "a0", "a_b", "aa", "b"];
    for text in ordered.iter().rev() {
        namespace(&db, text, Visibility::Public).await;
    }
    let mut seen = Vec::new();
    let mut cursor: Option<String> = None;
    loop {
        let page = db
            .list_namespaces(&Viewer::Everything, cursor.as_deref(), 2)
            .await
            .unwrap();
        seen.extend(page.items.iter().map(|info| info.name.to_string()));
        assert!(page.items.iter().all(|info| info.versions["root"] == 1));
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(seen, ordered);
}
