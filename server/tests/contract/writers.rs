//! Writers at once: whoever is told of success has it on disk, and nobody waits for one that went away.

use std::pin::pin;
use std::time::Duration;

use assay_log::leaf::{Leaf, LeafKind};
use assay_server::persistence::Database;
use futures_util::poll;

use crate::Fixture;
use crate::samples::{at, sha256};

fn entry(writer: &str, version: u64) -> Leaf {
    Leaf::new(sha256(writer), LeafKind::Snapshot, version, sha256("body")).unwrap()
}

async fn stored(db: &Database) -> Vec<Leaf> {
    db.pending_log_entries(10_000).await.unwrap()
}

pub async fn every_acknowledged_write_stands_for_others(Fixture { db, url }: Fixture) {
    let writers: Vec<_> = (0..40)
        .map(|n| {
            let db = db.clone();
            tokio::spawn(async move {
                for version in 1..=10 {
                    db.submit_log_entry(&entry(&n.to_string(), version), at(1))
                        .await
                        .unwrap();
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    // Another connection sees what is committed, and nothing else.
    let other = Database::connect(&url).await.unwrap();
    assert_eq!(stored(&other).await.len(), 400);
    assert_eq!(db.writes().get(), 400);
    other.close().await.unwrap();
}

pub async fn nobody_waits_for_a_writer_that_went_away(Fixture { db, url }: Fixture) {
    let mut acknowledged = Vec::new();
    for round in 0..60_u64 {
        let staying = entry("staying", round + 1);
        let write = tokio::spawn({
            let (db, staying) = (db.clone(), staying.clone());
            async move { db.submit_log_entry(&staying, at(1)).await }
        });
        // Given up at every point of its way: in the queue, inside its savepoint, while the group is committed.
        let going = entry("going", round + 1);
        {
            let mut giving_up = pin!(db.submit_log_entry(&going, at(1)));
            for _ in 0..round % 20 {
                if poll!(&mut giving_up).is_ready() {
                    acknowledged.push(going.clone());
                    break;
                }
                tokio::time::sleep(Duration::from_micros(100 * (round % 7))).await;
            }
        }
        tokio::time::timeout(Duration::from_secs(60), write)
            .await
            .unwrap()
            .unwrap()
            .unwrap();
        acknowledged.push(staying);
    }
    let other = Database::connect(&url).await.unwrap();
    let found = stored(&other).await;
    assert!(acknowledged.iter().all(|leaf| found.contains(leaf)));
    other.close().await.unwrap();
}

pub async fn a_write_that_fails_takes_only_itself_back(Fixture { db, url }: Fixture) {
    db.create_log("key".into(), vec![1]).await.unwrap();
    let writes = (0..60_u64).map(|n| {
        let db = db.clone();
        tokio::spawn(async move {
            match n % 3 {
                // Nothing can be put behind a head that is not the log's.
                0 => {
                    let wrong = assay_log::TreeHead {
                        size: n + 1,
                        root: sha256("no"),
                    };
                    let more = assay_log::TreeHead {
                        size: n + 2,
                        root: sha256("no"),
                    };
                    assert!(db.integrate_log(wrong, more, &[entry("w", 1)]).await.is_err());
                }
                _ => db.submit_log_entry(&entry("w", n + 1), at(1)).await.unwrap(),
            }
        })
    });
    for write in writes.collect::<Vec<_>>() {
        write.await.unwrap();
    }
    let other = Database::connect(&url).await.unwrap();
    assert_eq!(stored(&other).await.len(), 40);
    other.close().await.unwrap();
}

/// Requests end at any moment, on other threads than the writers that share their group.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_is_acknowledged_stands_whoever_else_goes_away() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}", folder.path().join("test.sqlite").display());
    let db = Database::connect(&url).await.unwrap();
    let staying = (0..8_u64).map(|n| {
        let db = db.clone();
        tokio::spawn(async move {
            for version in 1..=150 {
                db.submit_log_entry(&entry(&n.to_string(), version), at(1))
                    .await
                    .unwrap();
            }
        })
    });
    let staying: Vec<_> = staying.collect();
    let going = (0..24_u64).map(|n| {
        let db = db.clone();
        tokio::spawn(async move {
            for version in 1..=60 {
                let (db, entry) = (db.clone(), entry(&format!("going {n}"), version));
                let write = tokio::spawn(async move { db.submit_log_entry(&entry, at(1)).await });
                tokio::time::sleep(Duration::from_micros((n * 97 + version * 131) % 4_000)).await;
                write.abort();
            }
        })
    });
    for task in staying.into_iter().chain(going.collect::<Vec<_>>()) {
        task.await.unwrap();
    }
    let other = Database::connect(&url).await.unwrap();
    let found = stored(&other).await;
    for n in 0..8_u64 {
        for version in 1..=150 {
            assert!(found.contains(&entry(&n.to_string(), version)), "{n} {version}");
        }
    }
    other.close().await.unwrap();
}
