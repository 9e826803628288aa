//! The log's tables: places are given once, whoever gives them.

use std::collections::BTreeSet;

use assay_log::leaf::LeafKind;
use assay_log::{Leaf, TreeHead};
use assay_schema::Sha256Digest;
use assay_schema::api::Visibility;
use assay_server::AppState;
use assay_server::blobs::Blobs;
use assay_server::config::Config;
use assay_server::log::sequence::{integrate, prepare};
use assay_server::persistence::{Database, DatabaseError};

use crate::Fixture;
use crate::samples::{at, metadata, name, namespace, sha256};

fn head(size: u64, text: &str) -> TreeHead {
    TreeHead {
        size,
        root: sha256(text),
    }
}

pub async fn roots_and_snapshots_wait_for_a_place(Fixture { db, .. }: Fixture) {
    namespace(&db, "acme", Visibility::Public).await;
    let pending = db.pending_log_entries(10).await.unwrap();
    assert_eq!(pending.len(), 2);
    assert!(pending.iter().all(|leaf| leaf.namespace() == sha256("acme")));
    db.commit_publication(
        &name("acme"),
        1,
        vec![metadata("targets", 2), metadata("timestamp", 2)],
        &[],
        at(1),
    )
    .await
    .unwrap();
    assert_eq!(db.pending_log_entries(10).await.unwrap(), pending);
    db.commit_publication(&name("acme"), 2, vec![metadata("snapshot", 2)], &[], at(2))
        .await
        .unwrap();
    assert_eq!(db.pending_log_entries(10).await.unwrap().len(), 3);
    // One that did not happen leaves no entry.
    let refused = db
        .commit_publication(&name("acme"), 2, vec![metadata("snapshot", 3)], &[], at(3))
        .await;
    assert!(matches!(refused, Err(DatabaseError::Conflict { .. })));
    assert_eq!(db.pending_log_entries(10).await.unwrap().len(), 3);
}

pub async fn a_place_is_given_once_and_on_the_present_head_only(Fixture { db, .. }: Fixture) {
    assert_eq!(db.log_state().await.unwrap(), None);
    let made = db.create_log("key".into(), vec![1]).await.unwrap();
    let again = db.create_log("other".into(), vec![2]).await.unwrap();
    assert_eq!(again, made, "the first key wins");
    namespace(&db, "acme", Visibility::Public).await;
    let entries: Vec<Leaf> = db.pending_log_entries(10).await.unwrap();
    for stale in [head(1, "x"), head(0, "x")] {
        let refused = db.integrate_log(stale, head(2, "two"), &entries).await;
        assert!(matches!(refused, Err(DatabaseError::Conflict { .. })));
    }
    db.integrate_log(TreeHead::EMPTY, head(2, "two"), &entries)
        .await
        .unwrap();
    let twice = db.integrate_log(head(2, "two"), head(4, "four"), &entries).await;
    assert!(matches!(twice, Err(DatabaseError::Conflict { .. })));
    let state = db.log_state().await.unwrap().unwrap();
    assert_eq!((state.head, state.published), (head(2, "two"), 0));
    assert_eq!(db.log_entries(0, 2).await.unwrap(), entries);
    assert!(db.log_entries(0, 3).await.is_err(), "a gap is an error");
    assert_eq!(db.log_head(2).await.unwrap(), Some(head(2, "two")));
    assert_eq!(db.log_head(4).await.unwrap(), None);
    let place = db.log_place(&entries[1]).await.unwrap().unwrap();
    assert_eq!((place.index, place.tree), (1, 2));
    for (size, expected) in [(2, 2), (1, 2)] {
        db.publish_log(size).await.unwrap();
        assert_eq!(db.log_state().await.unwrap().unwrap().published, expected);
    }
}

pub async fn a_log_key_is_changed_once(Fixture { db, .. }: Fixture) {
    db.create_log("first".into(), vec![1]).await.unwrap();
    assert_eq!(db.next_log_key().await.unwrap(), None);
    let made = db.add_next_log_key("second".into(), vec![2]).await.unwrap();
    let again = db.add_next_log_key("third".into(), vec![3]).await.unwrap();
    assert_eq!(again, made, "the first next key wins");
    let mut other = made.clone();
    other.key = "third".into();
    for (present, next) in [("other", made.clone()), ("first", other)] {
        let refused = db.retire_log_key(present, next, at(1)).await;
        assert!(
            matches!(refused, Err(DatabaseError::Missing { .. })),
            "{refused:?}"
        );
    }
    let state = db.log_state().await.unwrap().unwrap();
    assert_eq!(
        (state.key.as_str(), state.sealed),
        ("first", vec![1]),
        "all or nothing"
    );
    db.retire_log_key("first", made.clone(), at(1)).await.unwrap();
    let refused = db.retire_log_key("first", made, at(2)).await;
    assert!(matches!(refused, Err(DatabaseError::Missing { .. })));
    let state = db.log_state().await.unwrap().unwrap();
    assert_eq!((state.key.as_str(), state.sealed), ("second", vec![2]));
    assert_eq!(db.next_log_key().await.unwrap(), None);
    let next = db.add_next_log_key("third".into(), vec![3]).await.unwrap();
    db.retire_log_key("second", next, at(2)).await.unwrap();
    assert_eq!(db.retired_log_keys().await.unwrap(), ["second", "first"]);
}

pub async fn three_sequencers_at_once_make_one_history(Fixture { db, url }: Fixture) {
    let folder = tempfile::tempdir().unwrap();
    let config = Config::in_folder(folder.path()).unwrap();
    let mut states = Vec::new();
    for _ in 0..3 {
        let blobs = Blobs::open(&config.storage).unwrap();
        let db = Database::connect(&url).await.unwrap();
        let state = AppState::new(config.clone(), db, blobs);
        prepare(&state).await.unwrap();
        states.push(state);
    }
    let publishing = tokio::spawn({
        let db = db.clone();
        async move {
            for n in 0..40 {
                namespace(&db, &format!("acme{n}"), Visibility::Public).await;
            }
        }
    });
    let sequencers: Vec<_> = states
        .iter()
        .cloned()
        .map(|state| {
            tokio::spawn(async move {
                let mut last = 0;
                while last < 80 {
                    integrate(&state).await.unwrap();
                    let record = state.db.log_state().await.unwrap().unwrap();
                    assert!(record.published >= last, "a log never shrinks");
                    last = record.published;
                    tokio::task::yield_now().await;
                }
            })
        })
        .collect();
    publishing.await.unwrap();
    for sequencer in sequencers {
        sequencer.await.unwrap();
    }
    let entries = db.log_entries(0, 80).await.unwrap();
    let different: BTreeSet<Sha256Digest> = entries.iter().map(|leaf| leaf.hash().unwrap()).collect();
    assert_eq!(different.len(), 80);
    let mut tree = assay_log::merkle::Frontier::empty();
    for leaf in &entries {
        tree.push(leaf.hash().unwrap(), |_, _| {}).unwrap();
    }
    let record = db.log_state().await.unwrap().unwrap();
    assert_eq!((record.head, record.published), (tree.head(), 80));
    // Another one that starts finds the checkpoint right.
    prepare(&states[0]).await.unwrap();
    for state in states {
        state.db.close().await.unwrap();
    }
}

pub async fn a_publication_that_began_earlier_does_not_overtake_the_one_before_it(
    Fixture { db, .. }: Fixture,
) {
    namespace(&db, "acme", Visibility::Public).await;
    for (revision, version, when) in [(1, 2, 20), (2, 3, 10), (3, 4, 15)] {
        let files = vec![metadata("snapshot", version)];
        db.commit_publication(&name("acme"), revision, files, &[], at(when))
            .await
            .unwrap();
    }
    let pending = db.pending_log_entries(10).await.unwrap();
    let snapshots = pending.iter().filter(|leaf| leaf.kind() == LeafKind::Snapshot);
    assert_eq!(snapshots.map(Leaf::version).collect::<Vec<_>>(), [1, 2, 3, 4]);
}
