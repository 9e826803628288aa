//! The signing journal: one body for each version, unless somebody asks for another.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod common;

use std::io::{Read, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use assay_client::publisher::{AuthorityFolder, PublishError, Publisher, ReleaseTerms, RootChange};
use assay_client::transport::{Fetched, Reply, Request, Traffic, Transport, TransportError};
use common::{MemoryRegistry, World, now};
use jiff::SignedDuration;

/// A way to the registry on which publications get lost while it is cut.
struct Cut {
    inner: Arc<MemoryRegistry>,
    cut: AtomicBool,
}

impl Transport for Cut {
    fn get(&self, path: &str, max: u64, etag: Option<&str>) -> Result<Fetched, TransportError> {
        self.inner.get(path, max, etag)
    }

    fn open(&self, path: &str, offset: u64, len: u64) -> Result<Box<dyn Read + '_>, TransportError> {
        self.inner.open(path, offset, len)
    }

    fn send(&self, request: Request<'_>) -> Result<Reply, TransportError> {
        if request.path.ends_with("/metadata") && self.cut.load(Ordering::SeqCst) {
            return Err(TransportError::Unreachable {
                registry: "memory".into(),
                path: request.path,
                reason: "cut".into(),
                attempts: 1,
            });
        }
        self.inner.send(request)
    }

    fn traffic(&self) -> Traffic {
        self.inner.traffic()
    }
}

fn cut(world: &World) -> (Arc<Cut>, impl Fn() -> Publisher) {
    let way = Arc::new(Cut {
        inner: world.registry.clone(),
        cut: AtomicBool::new(true),
    });
    let (path, transport) = (world.dir.path().join("authority"), Arc::clone(&way));
    let publisher = move || Publisher::new(AuthorityFolder::open(&path).unwrap(), transport.clone());
    (way, publisher)
}

fn terms(version: &str) -> ReleaseTerms {
    ReleaseTerms::new("minilm".parse().unwrap(), version.parse().unwrap())
}

#[test]
fn an_interrupted_publication_goes_on_a_day_later_with_the_same_bodies() {
    let world = World::new();
    let (way, publisher) = cut(&world);
    let folder = world.files("model", &[("a", b"1")]);
    let lost = publisher().publish(&folder, &terms("1.0.0"), now());
    assert!(matches!(lost, Err(PublishError::Transport(_))), "{lost:?}");
    let signed = publisher().folder().journal().unwrap();
    assert_eq!(signed.len(), 4, "{signed:?}");

    way.cut.store(false, Ordering::SeqCst);
    // The registry's timestamp lasts a day.
    let later = now() + SignedDuration::from_hours(20);
    publisher().publish(&folder, &terms("1.0.0"), later).unwrap();
    assert_eq!(publisher().folder().journal().unwrap(), signed);
}

#[test]
fn another_body_of_a_version_is_refused_until_somebody_asks_for_it() {
    let world = World::new();
    let (way, publisher) = cut(&world);
    let first = world.files("first", &[("a", b"1")]);
    assert!(publisher().publish(&first, &terms("1.0.0"), now()).is_err());
    way.cut.store(false, Ordering::SeqCst);
    let second = world.files("second", &[("a", b"2")]);
    let refused = publisher().publish(&second, &terms("1.0.0"), now());
    let Err(PublishError::SignedBefore { role, version, .. }) = &refused else {
        panic!("{refused:?}");
    };
    assert_eq!((role.as_str(), *version), ("model.minilm.0", 1));
    // Nothing of it reached the registry.
    assert!(world.registry.file("1.model.minilm.0.json").is_none());
    let asked = publisher().sign_again(true);
    asked.publish(&second, &terms("1.0.0"), now()).unwrap();
    let bodies = publisher().folder().journal().unwrap();
    let of_role = bodies
        .iter()
        .filter(|e| e.role == "model.minilm.0" && e.version == 1);
    assert_eq!(of_role.count(), 2);
}

#[test]
fn the_journal_is_written_before_a_signature_leaves() {
    let world = World::new();
    let path = world.dir.path().join("authority");
    let folder = world.files("model", &[("a", b"1")]);
    let seen = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&seen);
    world.registry.race("POST /v1/namespaces/acme/metadata", move || {
        let signed = AuthorityFolder::open(&path).unwrap().journal().unwrap();
        assert_eq!(signed.iter().filter(|e| e.role == "model.minilm.0").count(), 1);
        told.store(true, Ordering::SeqCst);
    });
    world
        .publisher()
        .publish(&folder, &terms("1.0.0"), now())
        .unwrap();
    assert!(seen.load(Ordering::SeqCst));
}

#[test]
fn half_a_line_of_a_crash_is_written_over_and_other_damage_is_refused() {
    let world = World::new();
    let path = world.dir.path().join("authority/signed.jsonl");
    let whole = std::fs::read(&path).unwrap();
    let mut file = std::fs::OpenOptions::new().append(true).open(&path).unwrap();
    file.write_all(b"{\"v\":1,\"at\":\"20").unwrap();
    assert_eq!(world.publisher().folder().journal().unwrap().len(), 2);
    world.publish("1.0.0", &[("a", b"1")]);
    let text = std::fs::read_to_string(&path).unwrap();
    assert_eq!(text.lines().count(), 4, "{text}");

    let mut damaged = whole.clone();
    damaged[3] ^= 1;
    std::fs::write(&path, damaged).unwrap();
    let folder = world.files("model", &[("a", b"2")]);
    let refused = world.publisher().publish(&folder, &terms("1.1.0"), now());
    assert!(
        matches!(&refused, Err(PublishError::Folder { path, .. }) if path.ends_with("signed.jsonl")),
        "{refused:?}"
    );
}

/// Somebody's editor takes the last end of line away: the line is the record of a signature all the same.
#[test]
fn a_line_without_its_end_counts_and_is_not_written_over() {
    let world = World::new();
    let path = world.dir.path().join("authority/signed.jsonl");
    let whole = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, whole.trim_end()).unwrap();
    assert_eq!(world.publisher().folder().journal().unwrap().len(), 2);
    world.publish("1.0.0", &[("a", b"1")]);
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.starts_with(&whole), "{text}");
    assert_eq!(text.lines().count(), 4, "{text}");
}

#[test]
fn a_journal_that_is_lost_is_not_begun_anew() {
    let world = World::new();
    let path = world.dir.path().join("authority/signed.jsonl");
    let kept = std::fs::read(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    let folder = world.files("model", &[("a", b"1")]);
    let refused = world.publisher().publish(&folder, &terms("1.0.0"), now());
    let refused = refused.unwrap_err().to_string();
    assert!(
        refused.contains("signed.jsonl") && refused.contains("Restore it from a backup"),
        "{refused}"
    );
    assert!(!path.exists());
    std::fs::write(&path, kept).unwrap();
    world.publish("1.0.0", &[("a", b"1")]);
}

/// Of two runs that read the floors, ask and write them, the slower would take them back.
#[test]
fn two_runs_in_one_folder_take_turns_at_the_floors() {
    let world = World::new();
    let lock = std::fs::File::create(world.dir.path().join("authority/state.lock")).unwrap();
    lock.lock().unwrap();
    std::thread::scope(|scope| {
        let (told, done) = mpsc::channel();
        let publisher = world.publisher();
        scope.spawn(move || told.send(publisher.root(now()).is_ok()));
        let early = done.recv_timeout(Duration::from_millis(500));
        assert_eq!(early, Err(mpsc::RecvTimeoutError::Timeout));
        lock.unlock().unwrap();
        assert_eq!(done.recv_timeout(Duration::from_secs(60)), Ok(true));
    });
}

#[test]
fn a_root_is_not_proposed_on_top_of_metadata_that_does_not_verify() {
    let world = World::new();
    let mut targets = world.registry.file("1.targets.json").unwrap();
    let at = targets.len() / 2;
    targets[at] ^= 1;
    world.registry.set_file("1.targets.json", targets);
    let change = RootChange {
        renew: true,
        ..RootChange::default()
    };
    let refused = world.publisher().propose_root(&change, now());
    assert!(matches!(refused, Err(PublishError::Untrusted(_))), "{refused:?}");
}
