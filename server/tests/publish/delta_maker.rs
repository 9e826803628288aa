//! Deltas that the registry makes: when, of what, and that neither a stop nor a damaged store makes it show a wrong one.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use actix_web::http::Method;
use assay_delta::{Index, Scratch, decode_chunk};
use assay_schema::Sha256Digest;
use assay_schema::api::Visibility;
use assay_schema::delta::{DeltaInfo, DeltaMaker};
use assay_server::config::Config;
use assay_server::delta::maker::round;
use assay_server::steps::{Observer, Step, Steps, Stopped, Writes};
use assay_server::store;
use jiff::SignedDuration;

use crate::authority::sha256;
use crate::deltas::{DELTAS, Series, attach, blob_path, contents, delta, list, noise};
use crate::support::Registry;

fn one_base(config: &mut Config) {
    config.deltas.bases = 1;
}

/// Applies a delta as a device does, to files of less than a chunk.
async fn apply(registry: &Registry, info: &DeltaInfo, bases: &[Vec<u8>], targets: &[Vec<u8>]) {
    let object = registry.get(&blob_path(&info.blob)).await.expect(200).body;
    assert_eq!((object.len() as u64, sha256(&object)), (info.size, info.blob));
    let index = Index::parse(&object[..info.index as usize]).unwrap();
    index.between(&info.base, &info.target).unwrap();
    let mut scratch = Scratch::new();
    let mut chunks = 0;
    for entry in index.chunks() {
        let frame = &object[entry.frame.start as usize..entry.frame.end as usize];
        let target = &targets[entry.file as usize];
        let made = decode_chunk(&index, &entry, frame, bases, &sha256(target), &mut scratch).unwrap();
        assert_eq!(made.bytes(), target);
        chunks += 1;
    }
    assert_eq!(chunks, targets.len());
}

/// Releases 1 to `n` with the usual contents.
async fn series(registry: &Registry, n: u64) -> (Series, Vec<Sha256Digest>) {
    let mut series = Series::new(registry, Visibility::Public).await;
    let mut roots = Vec::new();
    for n in 1..=n {
        roots.push(series.publish(registry, &contents(n)).await);
    }
    (series, roots)
}

#[actix_web::test]
async fn deltas_are_made_from_the_last_releases_to_the_highest() {
    let registry = Registry::with(|config| config.deltas.bases = 2).await;
    let (_, roots) = series(&registry, 4).await;
    assert_eq!(round(&registry.state).await.unwrap(), 2);
    let made = list(&registry, &roots[3]).await;
    for info in &made {
        let base = roots.iter().position(|root| *root == info.base).unwrap();
        assert!(base == 1 || base == 2, "{base}");
        assert_eq!((info.made_by, info.full), (DeltaMaker::Registry, 400_000));
        assert!(info.size < 20_000, "{}", info.size);
        apply(&registry, info, &contents(base as u64 + 1), &contents(4)).await;
    }
    assert_eq!(made.len(), 2);
    for root in &roots[..3] {
        assert!(list(&registry, root).await.is_empty());
    }
    assert_eq!(round(&registry.state).await.unwrap(), 0);
}

#[actix_web::test]
async fn several_threads_make_a_delta_of_many_chunks() {
    let registry = Registry::with(|config| config.deltas.threads = 3).await;
    let mut series = Series::new(&registry, Visibility::Public).await;
    let many = |n: u64| -> Vec<Vec<u8>> {
        (0..8)
            .map(|file| [noise(file, 50_000), noise(n * 100 + file, 500)].concat())
            .collect()
    };
    series.publish(&registry, &many(1)).await;
    let target = series.publish(&registry, &many(2)).await;
    assert_eq!(round(&registry.state).await.unwrap(), 1);
    let made = list(&registry, &target).await;
    apply(&registry, &made[0], &many(1), &many(2)).await;
}

#[actix_web::test]
async fn a_registry_that_runs_makes_a_delta_when_a_release_is_published() {
    let registry = Registry::new().await;
    let (mut series, _) = series(&registry, 1).await;
    assay_server::delta::start(&registry.state);
    let target = series.publish(&registry, &contents(2)).await;
    let waiting = async {
        while list(&registry, &target).await.is_empty() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), waiting)
        .await
        .unwrap();
    assert!(registry.state.tasks.stop(Duration::from_secs(60)).await);
    assert_eq!(spooled(&registry), 0);
    // A registry that stops begins nothing.
    series.publish(&registry, &contents(3)).await;
    assert_eq!(round(&registry.state).await.unwrap(), 0);
}

#[actix_web::test]
async fn no_delta_is_made_of_a_release_that_is_not_published() {
    let registry = Registry::new().await;
    let (series, roots) = series(&registry, 1).await;
    let parts = contents(2);
    let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
    let candidate = registry
        .candidate("acme", &series.authority, "2.0.0", 2, &parts)
        .await;
    assert_eq!(round(&registry.state).await.unwrap(), 0);
    for target in [roots[0], crate::support::digest_of(&candidate)] {
        assert!(list(&registry, &target).await.is_empty());
    }
}

#[actix_web::test]
async fn a_delta_that_does_not_pay_is_not_shown_and_not_made_again() {
    let mut registry = Registry::new().await;
    let mut series = Series::new(&registry, Visibility::Public).await;
    series.publish(&registry, &[noise(1, 200_000)]).await;
    let target = series.publish(&registry, &[noise(2, 200_000)]).await;
    let watch = Watch::new(None);
    registry.state.steps = Steps::observed_by(watch.clone());
    assert_eq!(round(&registry.state).await.unwrap(), 0);
    assert_eq!(watch.seen(), [Step::D1, Step::D3]);
    assert!(list(&registry, &target).await.is_empty());
    registry.pass(SignedDuration::from_hours(24 * 365));
    let registry = registry.restart().await;
    let objects = registry.state.blobs.count().puts();
    assert_eq!(round(&registry.state).await.unwrap(), 0);
    assert_eq!(registry.state.blobs.count().puts(), objects);
    assert_eq!(spooled(&registry), 0);
}

#[actix_web::test]
async fn a_base_that_a_device_reports_gets_its_delta() {
    let mut registry = Registry::with(one_base).await;
    let (_, roots) = series(&registry, 4).await;
    assert_eq!(round(&registry.state).await.unwrap(), 1);
    let watch = Watch::new(None);
    registry.state.steps = Steps::observed_by(watch.clone());
    let writes = registry.state.db.writes().get();
    let ask = async |target: &Sha256Digest, base: &Sha256Digest| {
        let path = format!("{DELTAS}?target={target}&base={base}");
        registry.get(&path).await.expect(200)
    };
    // Neither what there is, nor strangers, nor the way to another release than the highest.
    ask(&roots[3], &roots[2]).await;
    ask(&roots[3], &sha256(b"stranger")).await;
    ask(&roots[3], &roots[3]).await;
    ask(&roots[2], &roots[0]).await;
    assert_eq!(round(&registry.state).await.unwrap(), 0);
    assert_eq!((watch.seen(), registry.state.db.writes().get()), (vec![], writes));
    for _ in 0..2 {
        ask(&roots[3], &roots[0]).await;
    }
    assert_eq!(
        (watch.seen(), registry.state.db.writes().get()),
        (vec![Step::D6], writes + 1)
    );
    assert_eq!(round(&registry.state).await.unwrap(), 1);
    let bases: Vec<_> = list(&registry, &roots[3])
        .await
        .into_iter()
        .map(|info| info.base)
        .collect();
    assert!(bases.contains(&roots[0]) && bases.contains(&roots[2]) && bases.len() == 2);
}

#[actix_web::test]
async fn deltas_to_releases_that_are_not_among_the_last_go_with_their_bytes() {
    let registry = Registry::with(one_base).await;
    let (mut series, mut roots) = series(&registry, 1).await;
    let mut made = Vec::new();
    for n in 2..=4 {
        roots.push(series.publish(&registry, &contents(n)).await);
        assert_eq!(round(&registry.state).await.unwrap(), 1);
        made.extend(list(&registry, roots.last().unwrap()).await);
    }
    assert_eq!(made.len(), 3);
    assert!(list(&registry, &roots[1]).await.is_empty());
    registry.get(&blob_path(&made[0].blob)).await.expect(404);
    assert!(registry.state.db.blob(&made[0].blob).await.unwrap().is_none());
    for (root, info) in roots[2..].iter().zip(&made[1..]) {
        assert_eq!(list(&registry, root).await, std::slice::from_ref(info));
        registry.get(&blob_path(&info.blob)).await.expect(200);
    }
    // A publisher's own stays until its publisher removes it.
    let own = delta([roots[0], roots[1]], &contents(1), &contents(2), true);
    attach(&registry, [roots[0], roots[1]], &own).await.expect(201);
    round(&registry.state).await.unwrap();
    assert_eq!(list(&registry, &roots[1]).await.len(), 1);
}

#[actix_web::test]
async fn a_publishers_delta_is_not_made_again_and_a_removed_one_neither() {
    let registry = Registry::with(one_base).await;
    let (_, roots) = series(&registry, 2).await;
    let own = delta([roots[0], roots[1]], &contents(1), &contents(2), false);
    attach(&registry, [roots[0], roots[1]], &own).await.expect(201);
    assert_eq!(round(&registry.state).await.unwrap(), 0);
    let path = format!("{DELTAS}/{}/{}", roots[0], roots[1]);
    registry.as_admin(Method::DELETE, &path, &()).await.expect(204);
    assert_eq!(round(&registry.state).await.unwrap(), 0);
    assert!(list(&registry, &roots[1]).await.is_empty());
}

#[actix_web::test]
async fn a_store_that_lost_or_damaged_a_file_makes_no_delta_until_it_is_restored() {
    for (of, file) in [(1, 0), (1, 1), (2, 0)] {
        let registry = Registry::with(one_base).await;
        let (_, roots) = series(&registry, 2).await;
        let right = &contents(of)[file];
        let blob = registry.state.db.blob(&sha256(right)).await.unwrap().unwrap();
        let piece = registry
            .state
            .db
            .pieces(&blob, 0..blob.size)
            .await
            .unwrap()
            .remove(0);
        let mut wrong = right.clone();
        wrong[50_000] ^= 1;
        for (now, bytes) in [("damaged", Some(wrong)), ("lost", None)] {
            match bytes {
                Some(bytes) => registry
                    .state
                    .blobs
                    .put_segment(&piece.object, vec![bytes.into()])
                    .await
                    .unwrap(),
                None => registry.state.blobs.delete(&piece.object).await.unwrap(),
            }
            assert_eq!(round(&registry.state).await.unwrap(), 0, "{of}, {file}: {now}");
            assert!(list(&registry, &roots[1]).await.is_empty());
            registry.pass(SignedDuration::from_hours(1));
        }
        let bytes = right.clone().into();
        registry
            .state
            .blobs
            .put_segment(&piece.object, vec![bytes])
            .await
            .unwrap();
        assert_eq!(round(&registry.state).await.unwrap(), 1);
        let made = list(&registry, &roots[1]).await;
        apply(&registry, &made[0], &contents(1), &contents(2)).await;
    }
}

/// Notes every step, and stops behind the first of its kind.
struct Watch {
    stop: Option<Step>,
    seen: Mutex<Vec<Step>>,
}

impl Watch {
    fn new(stop: Option<Step>) -> Arc<Self> {
        Arc::new(Self {
            stop,
            seen: Mutex::default(),
        })
    }

    fn seen(&self) -> Vec<Step> {
        self.seen.lock().unwrap().clone()
    }
}

impl Observer for Watch {
    fn done(&self, step: Step) -> Result<(), Stopped> {
        self.seen.lock().unwrap().push(step);
        if self.stop == Some(step) {
            Err(Stopped(step))
        } else {
            Ok(())
        }
    }
}

fn files(folder: &Path) -> usize {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return 0;
    };
    entries
        .map(|entry| entry.unwrap().path())
        .map(|path| if path.is_dir() { files(&path) } else { 1 })
        .sum()
}

fn segments(registry: &Registry) -> usize {
    files(&registry.state.config.data_dir.join("storage/segments"))
}

/// Frames that are spooled; the registry's name lies beside them.
fn spooled(registry: &Registry) -> usize {
    files(&registry.state.config.data_dir.join("deltas")) - 1
}

/// One old delta to drop, one new one to make.
async fn before_a_round() -> (Registry, Vec<Sha256Digest>) {
    let registry = Registry::with(one_base).await;
    let (mut series, mut roots) = series(&registry, 2).await;
    assert_eq!(round(&registry.state).await.unwrap(), 1);
    for n in 3..=4 {
        roots.push(series.publish(&registry, &contents(n)).await);
    }
    (registry, roots)
}

#[actix_web::test]
async fn every_write_of_deltas_is_a_step() {
    let (mut registry, _) = before_a_round().await;
    let watch = Watch::new(None);
    registry.state.steps = Steps::observed_by(watch.clone());
    let written = |registry: &Registry| {
        let objects = registry.state.blobs.count();
        [
            registry.state.db.writes().get(),
            objects.puts(),
            objects.deletes(),
        ]
    };
    let before = written(&registry);
    assert_eq!(round(&registry.state).await.unwrap(), 1);
    let seen = watch.seen();
    assert_eq!(seen, [Step::D4, Step::D5, Step::D1, Step::D2, Step::D3]);
    assert!(Step::DELTA.iter().all(|step| seen.contains(step)));
    let allowed = [Writes::Transaction, Writes::Object, Writes::Deletion]
        .map(|kind| seen.iter().filter(|step| step.writes() == kind).count() as u64);
    let after = written(&registry);
    assert_eq!([0, 1, 2].map(|i| after[i] - before[i]), allowed);
}

#[actix_web::test]
async fn a_registry_that_stopped_behind_any_step_goes_on_after_its_restart() {
    let (registry, _) = before_a_round().await;
    assert_eq!(round(&registry.state).await.unwrap(), 1);
    let expected = segments(&registry);
    for step in Step::DELTA {
        let (mut registry, roots) = before_a_round().await;
        let watch = Watch::new(Some(step));
        registry.state.steps = Steps::observed_by(watch.clone());
        round(&registry.state).await.unwrap_err();
        assert_eq!(watch.seen().last(), Some(&step));

        // Nobody waits for the lease of a registry that is back.
        let registry = registry.restart().await;
        let again = round(&registry.state).await.unwrap();
        assert_eq!(again, u64::from(step != Step::D3), "behind {step:?}");
        let made = list(&registry, &roots[3]).await;
        assert_eq!((made.len(), made[0].base), (1, roots[2]), "behind {step:?}");
        apply(&registry, &made[0], &contents(3), &contents(4)).await;
        assert!(list(&registry, &roots[1]).await.is_empty(), "behind {step:?}");
        assert_eq!(spooled(&registry), 0);
        let later = registry.now() + SignedDuration::from_hours(24 * 8);
        store::sweep(&registry.state, later).await.unwrap();
        assert_eq!(segments(&registry), expected, "behind {step:?}");
        apply(&registry, &made[0], &contents(3), &contents(4)).await;
    }
}
