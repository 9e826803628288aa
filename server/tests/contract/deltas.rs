//! Deltas: one for each pair, made by one registry at a time.

use assay_schema::api::Visibility;
use assay_schema::delta::{DeltaInfo, DeltaMaker};
use assay_schema::{ModelName, NamespaceName, Sha256Digest};
use assay_server::persistence::{BASES_OF_A_MODEL, Database, DatabaseError, DeltaPair, JobEnd, Segment};

use super::Fixture;
use super::samples::{at, blob, namespace, release, segment, sha256};

fn model() -> ModelName {
    "minilm".parse().unwrap()
}

/// Manifest of the n-th release, as the samples name it.
fn manifest(n: u64) -> Sha256Digest {
    sha256(&format!("acme/minilm@{n}.0.0"))
}

/// `acme` with published releases 1 to `n` of `minilm`.
async fn releases(db: &Database, n: u64) -> NamespaceName {
    let acme = namespace(db, "acme", Visibility::Public).await;
    for n in 1..=n {
        release(db, &acme, "minilm", &format!("{n}.0.0"), n).await;
    }
    acme
}

fn info(base: u64, target: u64, bytes: &str, made_by: DeltaMaker) -> DeltaInfo {
    DeltaInfo {
        base: manifest(base),
        target: manifest(target),
        blob: sha256(bytes),
        size: bytes.len() as u64,
        index: 3,
        full: 100,
        made_by,
        created: at(5),
    }
}

fn pieces(upload: &str, bytes: &str) -> Vec<Segment> {
    vec![segment(upload, 0, bytes.len() as u64)]
}

async fn bases_of_pairs(db: &Database, bases: u32, holder: &str, second: i64) -> Vec<Sha256Digest> {
    let mut found = Vec::new();
    while let Some(pair) = db.next_delta_pair(bases, holder, at(second)).await.unwrap() {
        assert!(
            db.hold_delta_pair(&pair, holder, at(second), at(second))
                .await
                .unwrap()
        );
        db.end_delta_job(&pair, holder, JobEnd::Unpaid).await.unwrap();
        found.push(pair.base);
    }
    found
}

pub async fn pairs_lead_from_the_last_releases_and_from_reported_bases(Fixture { db, .. }: Fixture) {
    let acme = releases(&db, 6).await;
    let other = namespace(&db, "other", Visibility::Public).await;
    release(&db, &other, "minilm", "1.0.0", 1).await;
    let first = db.next_delta_pair(2, "a", at(3)).await.unwrap().unwrap();
    let expected = DeltaPair {
        namespace: acme.clone(),
        model: model(),
        base: manifest(5),
        target: manifest(6),
        full: 100,
    };
    assert_eq!(first, expected);
    assert!(
        db.note_delta_bases(&acme, &model(), &[manifest(2)], at(3), at(0))
            .await
            .unwrap()
    );
    assert_eq!(
        bases_of_pairs(&db, 2, "a", 4).await,
        [manifest(5), manifest(4), manifest(2)]
    );
    // What does not pay is not tried again, until there is another release.
    assert!(db.next_delta_pair(2, "b", at(10_000)).await.unwrap().is_none());
    release(&db, &acme, "minilm", "7.0.0", 7).await;
    assert!(db.forget_delta_work(at(0)).await.unwrap());
    assert!(!db.forget_delta_work(at(0)).await.unwrap());
    assert_eq!(
        bases_of_pairs(&db, 2, "a", 4).await,
        [manifest(6), manifest(5), manifest(2)]
    );
    assert!(db.forget_delta_work(at(4)).await.unwrap());
    release(&db, &acme, "minilm", "8.0.0", 8).await;
    assert!(bases_of_pairs(&db, 0, "a", 4).await.is_empty());
}

pub async fn a_pair_is_made_by_one_registry_at_a_time(Fixture { db, url }: Fixture) {
    releases(&db, 2).await;
    let second = Database::connect(&url).await.unwrap();
    let pair = db.next_delta_pair(3, "a", at(3)).await.unwrap().unwrap();
    let (one, two) = tokio::join!(
        db.hold_delta_pair(&pair, "a", at(3), at(10)),
        second.hold_delta_pair(&pair, "b", at(3), at(10))
    );
    let (one, two) = (one.unwrap(), two.unwrap());
    assert!(one != two, "one of them has it");
    let (holder, loser) = if one { ("a", "b") } else { ("b", "a") };
    assert!(db.next_delta_pair(3, loser, at(9)).await.unwrap().is_none());
    assert!(!db.hold_delta_pair(&pair, loser, at(9), at(20)).await.unwrap());
    // Its holder finds it again after a restart, and goes on holding it.
    assert_eq!(
        db.next_delta_pair(3, holder, at(9)).await.unwrap().as_ref(),
        Some(&pair)
    );
    assert!(db.hold_delta_pair(&pair, holder, at(9), at(20)).await.unwrap());
    assert!(!db.hold_delta_pair(&pair, loser, at(19), at(30)).await.unwrap());
    // One that gave no sign of life loses it, and changes nothing any more.
    assert_eq!(
        db.next_delta_pair(3, loser, at(20)).await.unwrap().as_ref(),
        Some(&pair)
    );
    assert!(db.hold_delta_pair(&pair, loser, at(20), at(30)).await.unwrap());
    assert!(!db.hold_delta_pair(&pair, holder, at(21), at(30)).await.unwrap());
    db.end_delta_job(&pair, holder, JobEnd::Unpaid).await.unwrap();
    assert!(db.next_delta_pair(3, loser, at(21)).await.unwrap().is_some());
    db.end_delta_job(&pair, loser, JobEnd::Failed(at(40)))
        .await
        .unwrap();
    assert!(db.next_delta_pair(3, loser, at(39)).await.unwrap().is_none());
    assert!(db.next_delta_pair(3, loser, at(40)).await.unwrap().is_some());
    second.close().await.unwrap();
}

pub async fn the_smallest_delta_of_a_pair_stays(Fixture { db, .. }: Fixture) {
    let acme = releases(&db, 2).await;
    let large = info(1, 2, "a large one", DeltaMaker::Registry);
    let stored = pieces("u1", "a large one");
    let kept = db
        .keep_delta(&acme, &model(), &large, Some(("u1", stored)))
        .await
        .unwrap();
    assert!(kept.changed && kept.unused.is_empty());
    assert!(db.blob_is_published(&acme, &large.blob).await.unwrap());
    assert!(db.next_delta_pair(3, "a", at(3)).await.unwrap().is_none());
    // Of the same size: the first stays, and the new bytes have no name.
    let same = info(1, 2, "another one", DeltaMaker::Registry);
    let stored = pieces("u2", "another one");
    let kept = db
        .keep_delta(&acme, &model(), &same, Some(("u2", stored)))
        .await
        .unwrap();
    assert_eq!((kept.changed, &kept.kept), (false, &large));
    assert_eq!(kept.unused, ["segments/u2/0"]);
    assert!(db.blob(&same.blob).await.unwrap().is_none());
    // A smaller one that its publisher uploaded.
    let small = info(1, 2, "small", DeltaMaker::Publisher);
    let missing = db.keep_delta(&acme, &model(), &small, None).await;
    assert!(
        matches!(missing, Err(DatabaseError::BlobsMissing { .. })),
        "{missing:?}"
    );
    blob(&db, &acme, "small").await;
    let kept = db.keep_delta(&acme, &model(), &small, None).await.unwrap();
    assert_eq!((kept.changed, &kept.kept), (true, &small));
    assert_eq!(kept.unused, ["segments/u1/0"]);
    assert!(db.linked_blob(&acme, &large.blob).await.unwrap().is_none());
    assert!(db.blob(&large.blob).await.unwrap().is_none());
    assert!(db.segments("u1", 0..11).await.unwrap().is_empty());
    let listed = db.deltas(&acme, &model(), &manifest(2), &[], 64).await.unwrap();
    assert_eq!(listed, [small]);
}

pub async fn deltas_are_listed_by_size_and_by_base(Fixture { db, .. }: Fixture) {
    let acme = releases(&db, 4).await;
    let all = [(1, "cc"), (2, "a"), (3, "bbb")].map(|(n, text)| info(n, 4, text, DeltaMaker::Registry));
    for (n, new) in all.iter().enumerate() {
        let upload = format!("u{n}");
        let stored = vec![segment(&upload, 0, new.size)];
        db.keep_delta(&acme, &model(), new, Some((&upload, stored)))
            .await
            .unwrap();
    }
    let [two, one, three] = all;
    let list = async |bases: &[Sha256Digest], limit| {
        db.deltas(&acme, &model(), &manifest(4), bases, limit)
            .await
            .unwrap()
    };
    assert_eq!(list(&[], 64).await, [one.clone(), two.clone(), three.clone()]);
    assert_eq!(list(&[], 2).await, [one.clone(), two]);
    assert_eq!(list(&[manifest(3), manifest(2)], 64).await, [one, three]);
    assert!(list(&[manifest(4)], 64).await.is_empty());
    let other: ModelName = "other".parse().unwrap();
    assert!(
        db.deltas(&acme, &other, &manifest(4), &[], 64)
            .await
            .unwrap()
            .is_empty()
    );
    assert_eq!(
        db.published_manifests(&acme, &model(), &[manifest(1), sha256("x")])
            .await
            .unwrap(),
        [manifest(1)]
    );
    assert!(
        db.published_manifests(&acme, &other, &[manifest(1)])
            .await
            .unwrap()
            .is_empty()
    );
}

pub async fn old_deltas_of_the_registry_are_stale_and_go_with_their_bytes(Fixture { db, .. }: Fixture) {
    let acme = releases(&db, 5).await;
    let other = namespace(&db, "other", Visibility::Public).await;
    let old = info(1, 2, "old", DeltaMaker::Registry);
    let new = info(4, 5, "new", DeltaMaker::Registry);
    let theirs = info(1, 3, "theirs", DeltaMaker::Publisher);
    db.keep_delta(&acme, &model(), &old, Some(("u1", pieces("u1", "old"))))
        .await
        .unwrap();
    db.keep_delta(&acme, &model(), &new, Some(("u2", pieces("u2", "new"))))
        .await
        .unwrap();
    blob(&db, &acme, "theirs").await;
    db.keep_delta(&acme, &model(), &theirs, None).await.unwrap();
    assert!(db.stale_deltas(4, 9).await.unwrap().is_empty());
    let stale = db.stale_deltas(3, 9).await.unwrap();
    assert_eq!(stale.len(), 1);
    assert_eq!(
        (stale[0].base, stale[0].target, stale[0].blob),
        (old.base, old.target, old.blob)
    );

    let gone = async |blob: Sha256Digest| {
        db.drop_delta(&acme, &manifest(1), &manifest(2), &blob, false)
            .await
    };
    assert!(
        gone(new.blob).await.unwrap().is_none(),
        "the pair has another by now"
    );
    // Another namespace has uploaded the same bytes: they stay, but not for this one.
    db.start_upload("u3", &other, &old.blob, 3, at(6)).await.unwrap();
    db.advance_upload("u3", &segment("u3", 0, 3), at(6))
        .await
        .unwrap();
    let upload = db.upload(&other, "u3").await.unwrap().unwrap();
    assert!(db.finish_upload(&upload, None).await.unwrap().known_before);
    assert_eq!(gone(old.blob).await.unwrap().unwrap(), Vec::<String>::new());
    assert!(db.linked_blob(&acme, &old.blob).await.unwrap().is_none());
    let kept = db.linked_blob(&other, &old.blob).await.unwrap().unwrap();
    assert_eq!(db.pieces(&kept, 0..3).await.unwrap(), pieces("u1", "old"));
    assert!(gone(old.blob).await.unwrap().is_none());

    // One that its publisher removed is not made again, although the pair is among the last.
    let removed = db
        .drop_delta(&acme, &new.base, &new.target, &new.blob, true)
        .await
        .unwrap();
    assert_eq!(removed.unwrap(), ["segments/u2/0"]);
    assert!(db.blob(&new.blob).await.unwrap().is_none());
    assert!(db.next_delta_pair(1, "a", at(9)).await.unwrap().is_none());
}

pub async fn reported_bases_are_bounded_and_old_ones_make_room(Fixture { db, .. }: Fixture) {
    let acme = releases(&db, 1).await;
    let many: Vec<_> = (0..BASES_OF_A_MODEL)
        .map(|n| sha256(&format!("base {n}")))
        .collect();
    let note = async |bases: &[Sha256Digest], second, recent| {
        db.note_delta_bases(&acme, &model(), bases, at(second), at(recent))
            .await
            .unwrap()
    };
    assert!(note(&many, 10, 0).await);
    let writes = db.writes().get();
    let new = [sha256("one more")];
    assert!(!note(&many, 11, 0).await, "reported a while ago");
    assert!(!note(&new, 11, 0).await, "there is no room");
    assert!(!note(&[], 11, 0).await);
    assert_eq!(db.writes().get(), writes);
    assert!(note(&many[1..], 20, 15).await);
    assert!(note(&[new[0], new[0]], 21, 15).await, "the oldest makes room");
    assert!(!note(&many[..1], 22, 15).await, "and has none itself");
}
