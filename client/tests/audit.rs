//! Audits: every checkpoint that was ever seen is of one history, or the evidence is kept.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod common;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use assay_client::log::audit::{Audit, Audited};
use assay_client::log::{FollowStep, LogError, LogFolder, LogReader};
use assay_log::SignedCheckpoint;
use assay_log::cosignature::WitnessPolicy;
use assay_log::merkle::{MerkleError, TreeHead, verify_consistency};
use assay_log::policy::{LogPolicy, PolicyError};
use assay_schema::Sha256Digest;
use common::{Cut, Logged, MemoryLog, MemoryRegistry, ORIGIN, Witnesses, now};
use tempfile::TempDir;

struct World {
    logged: Logged,
    dir: TempDir,
}

impl World {
    /// A log of so many entries, in one batch.
    fn of(entries: u64) -> Self {
        let logged = Logged::new(MemoryRegistry::new(now()));
        logged.log(|log| *log = MemoryLog::of(ORIGIN, entries));
        Self {
            logged,
            dir: tempfile::tempdir().unwrap(),
        }
    }

    fn policy(&self, witnesses: Option<WitnessPolicy>) -> LogPolicy {
        LogPolicy::new(self.logged.log(|log| log.key.clone()), witnesses).unwrap()
    }

    fn audit(&self, given: &[SignedCheckpoint], full: bool) -> Result<Audited, LogError> {
        self.audit_with(&self.policy(None), given, full)
    }

    fn audit_with(
        &self,
        policy: &LogPolicy,
        given: &[SignedCheckpoint],
        full: bool,
    ) -> Result<Audited, LogError> {
        let mirror = LogFolder::open(self.dir.path()).unwrap();
        let audit = Audit {
            reader: &LogReader::new(&self.logged, "/log"),
            policy,
            mirror: Some(&mirror),
            given: given
                .iter()
                .map(|signed| ("given".to_owned(), signed.clone()))
                .collect(),
            full,
        };
        audit.run(&mut |_| {})
    }
}

/// Whether a file of evidence convinces somebody who knows only the log's key.
fn convinces(path: &Path, policy: &LogPolicy) -> bool {
    let file: serde_json::Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let signed = |name: &str| SignedCheckpoint::parse(file[name].as_str().unwrap().as_bytes()).unwrap();
    let (older, newer) = (signed("older"), signed("newer"));
    let proof: Vec<Sha256Digest> = serde_json::from_value(file["proof"].clone()).unwrap();
    let (old, new) = (
        policy.verify(&older).unwrap().head(),
        policy.verify(&newer).unwrap().head(),
    );
    // The proof leads from the newer root to an older one that is not the signed one.
    match verify_consistency(&old, &new, &proof) {
        Err(MerkleError::Root { expected, .. }) => expected == old.root,
        _ => false,
    }
}

#[test]
fn checkpoints_of_a_growing_log_are_kept_and_every_pair_is_proven() {
    let world = World::of(0);
    for (n, entries) in [0, 1, 4, 251, 256, 700, 1].into_iter().enumerate() {
        world.logged.log(|log| log.grow(entries));
        let audited = world.audit(&[], false).unwrap();
        assert_eq!((audited.added, audited.checkpoints), (1, n as u64 + 1));
        assert_eq!(audited.pairs(), (n as u64 + 1) * n as u64 / 2);
    }
    let again = world.audit(&[], true).unwrap();
    assert_eq!((again.added, again.checkpoints, again.head.size), (0, 7, 1213));
    assert_eq!(again.entries.unwrap().read, 1213);
    // Partial tiles and bundles may go once the full ones are there.
    world.logged.log(|log| log.grow(67));
    world.logged.log(MemoryLog::forget_partial);
    assert_eq!(world.audit(&[], true).unwrap().checkpoints, 8);
}

/// A fork that is shown to some without the tiles that would tell, and is taken back before anybody can compare.
#[test]
fn a_fork_that_was_shown_without_its_tiles_is_found_when_the_log_goes_on() {
    let world = World::of(700);
    world.audit(&[], false).unwrap();
    let policy = world.policy(None);
    let honest = world.logged.log(|log| log.clone());
    world.logged.log(|log| {
        *log = log.rewritten(5);
        log.grow(300);
        log.files.retain(|path, _| !path.starts_with("tile/"));
    });
    assert!(!matches!(
        world.audit(&[], false),
        Err(LogError::Split { .. }) | Ok(_)
    ));
    // Not yet as large as what was shown.
    world.logged.log(|log| *log = honest);
    world.audit(&[], false).unwrap();
    world.logged.log(|log| log.grow(400));
    for _ in 0..2 {
        let LogError::Split { split, evidence } = world.audit(&[], false).unwrap_err() else {
            panic!("the fork was forgotten")
        };
        assert_eq!((split.heads().0.size, split.heads().1.size), (1000, 1100));
        assert!(convinces(&evidence.unwrap(), &policy));
    }
}

#[test]
fn a_checkpoint_whose_tiles_came_late_is_proven_then_and_forgotten() {
    let world = World::of(700);
    world.audit(&[], false).unwrap();
    let whole = world.logged.log(|log| {
        log.grow(300);
        let whole = log.clone();
        log.files.retain(|path, _| !path.starts_with("tile/"));
        whole
    });
    let set_aside = || std::fs::read_dir(world.dir.path().join("unproven")).map_or(0, |all| all.count());
    for _ in 0..2 {
        world.audit(&[], false).unwrap_err();
        assert_eq!(set_aside(), 1);
    }
    world.logged.log(|log| *log = whole);
    assert_eq!(world.audit(&[], false).unwrap().checkpoints, 2);
    assert_eq!(set_aside(), 0);
}

#[test]
fn a_fork_is_found_at_the_same_size_and_behind_it_and_the_evidence_convinces_others() {
    for more in [0, 300] {
        let world = World::of(700);
        world.audit(&[], false).unwrap();
        let policy = world.policy(None);
        world.logged.log(|log| {
            let key = log.clone();
            // The same key, another history.
            *log = key.rewritten(5);
            log.grow(more);
        });
        let error = world.audit(&[], false).unwrap_err();
        let LogError::Split { split, evidence } = error else {
            panic!("{error}")
        };
        assert_eq!((split.heads().0.size, split.heads().1.size), (700, 700 + more));
        assert!(convinces(&evidence.unwrap(), &policy));
        // What was known stays known: the fork is not taken over.
        assert!(matches!(world.audit(&[], false), Err(LogError::Split { .. })));
        assert_eq!(
            std::fs::read_dir(world.dir.path().join("checkpoints"))
                .unwrap()
                .count(),
            1
        );
        assert_eq!(
            std::fs::read_dir(world.dir.path().join("evidence"))
                .unwrap()
                .count(),
            1
        );
    }
}

#[test]
fn a_checkpoint_that_a_device_was_shown_must_be_of_the_same_history() {
    let world = World::of(300);
    let honest = world.logged.log(|log| log.checkpoint());
    let mut other = world.logged.log(|log| log.rewritten(5));
    let forked = other.checkpoint();
    let newer = other.grow(900);
    world.logged.log(|log| log.grow(500));
    let audited = world.audit(std::slice::from_ref(&honest), false).unwrap();
    assert_eq!((audited.checkpoints, audited.added), (2, 2));
    for shown in [forked, newer] {
        // A larger one than the log shows can be proven neither way: its tiles are not there.
        match world.audit(std::slice::from_ref(&shown), false).unwrap_err() {
            LogError::Split { evidence, .. } => assert!(convinces(&evidence.unwrap(), &world.policy(None))),
            LogError::Behind { expected, whose, .. } => {
                assert_eq!(
                    (expected, whose.as_str()),
                    (shown.checkpoint().head().size, "given")
                );
            }
            other => panic!("{other}"),
        }
    }
    let stranger = MemoryLog::of(ORIGIN, 3).checkpoint();
    assert!(matches!(
        world.audit(&[stranger], false),
        Err(LogError::Policy { .. })
    ));
}

#[test]
fn a_log_that_goes_back_is_refused_although_it_is_of_one_history() {
    let world = World::of(300);
    let old = world.logged.log(|log| log.head());
    world.logged.log(|log| log.grow(100));
    world.audit(&[], false).unwrap();
    world.logged.log(|log| log.show(old));
    let error = world.audit(&[], false).unwrap_err();
    assert!(
        matches!(
            error,
            LogError::Behind {
                expected: 400,
                found: 300,
                ..
            }
        ),
        "{error}"
    );
    // Back to another history is more than back.
    world.logged.log(|log| {
        log.show(TreeHead {
            size: 300,
            root: Sha256Digest::new([3; 32]),
        })
    });
    let error = world.audit(&[], false).unwrap_err();
    assert!(matches!(error, LogError::Split { .. }), "{error}");
}

#[test]
fn forged_and_missing_tiles_are_refused_and_prove_nothing() {
    for damage in ["flip", "cut", "remove"] {
        let world = World::of(300);
        world.audit(&[], false).unwrap();
        world.logged.log(|log| {
            log.grow(300);
            let tile = log.files.get_mut("tile/0/001").unwrap();
            match damage {
                "flip" => tile[77] ^= 1,
                "cut" => tile.truncate(100),
                _ => drop(log.files.remove("tile/0/001")),
            }
        });
        let error = world.audit(&[], false).unwrap_err();
        let right = match damage {
            "remove" => matches!(error, LogError::Missing { .. }),
            _ => matches!(error, LogError::Tile(_)),
        };
        assert!(right, "{damage}: {error}");
        assert!(!world.dir.path().join("evidence").exists());
        assert_eq!(
            std::fs::read_dir(world.dir.path().join("checkpoints"))
                .unwrap()
                .count(),
            1
        );
    }
}

#[test]
fn entries_that_are_not_the_signed_ones_are_found_by_reading_all() {
    let world = World::of(600);
    world.logged.log(|log| {
        let bundle = log.files.get_mut("tile/entries/001").unwrap();
        *bundle.last_mut().unwrap() ^= 1;
    });
    assert!(world.audit(&[], false).is_ok());
    let error = world.audit(&[], true).unwrap_err();
    assert!(matches!(error, LogError::Entries { .. }), "{error}");
}

#[test]
fn too_few_witnesses_are_refused_but_not_taken_for_two_histories() {
    let world = World::of(10);
    let witnesses = Witnesses::new(3);
    let policy = world.policy(Some(WitnessPolicy::new(2, witnesses.keys()).unwrap()));
    let show = |count| {
        world.logged.log(|log| {
            let mut checkpoint = log.checkpoint();
            witnesses.cosign(&log.key, &mut checkpoint, count, now());
            log.files
                .insert("checkpoint".to_owned(), checkpoint.to_string().into_bytes());
        });
    };
    show(1);
    let error = world.audit_with(&policy, &[], false).unwrap_err();
    let few = matches!(&error, LogError::Policy { source: PolicyError::TooFewWitnesses { found, .. }, .. } if found.len() == 1);
    assert!(few, "{error}");
    show(2);
    let audited = world.audit_with(&policy, &[], false).unwrap();
    assert_eq!(audited.witnessed.unwrap().cosigners.len(), 2);
}

#[test]
fn a_folder_belongs_to_one_log_and_one_process_and_damage_is_told() {
    let world = World::of(10);
    world.audit(&[], false).unwrap();
    let lock = LogFolder::open(world.dir.path()).unwrap();
    assert!(
        LogFolder::open(world.dir.path())
            .unwrap_err()
            .to_string()
            .contains("another process")
    );
    drop(lock);
    let other = LogPolicy::new(MemoryLog::new("log.example/2").key, None).unwrap();
    assert!(matches!(
        world.audit_with(&other, &[], false),
        Err(LogError::OtherLog { .. })
    ));
    let checkpoints = world.dir.path().join("checkpoints");
    let file = std::fs::read_dir(&checkpoints)
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    std::fs::write(&file, "damaged").unwrap();
    assert!(matches!(world.audit(&[], false), Err(LogError::Store(_))));
}

#[test]
fn a_log_that_cannot_be_reached_is_not_a_lying_one() {
    let world = World::of(10);
    world.logged.cut("/checkpoint", Cut::Unreachable);
    let error = world.audit(&[], false).unwrap_err();
    assert!(matches!(error, LogError::Transport(_)), "{error}");
}

#[test]
fn stopped_behind_any_step_the_next_audit_finds_the_same() {
    let mut covered = Vec::new();
    for stop in 0..6 {
        let world = World::of(300);
        let forked = world.logged.log(|log| log.rewritten(5)).checkpoint();
        let honest = world.logged.log(|log| log.checkpoint());
        world.logged.log(|log| log.grow(30));
        let count = Arc::new(AtomicUsize::new(0));
        let steps = Arc::new(std::sync::Mutex::new(Vec::new()));
        let run = |given: SignedCheckpoint| {
            let (count, steps) = (count.clone(), steps.clone());
            let mirror = LogFolder::open(world.dir.path())
                .unwrap()
                .on_step(Arc::new(move |step| {
                    steps.lock().unwrap().push(step);
                    match count.fetch_add(1, Ordering::Relaxed) == stop {
                        true => Err(LogError::Stopped(step)),
                        false => Ok(()),
                    }
                }));
            let audit = Audit {
                reader: &LogReader::new(&world.logged, "/log"),
                policy: &world.policy(None),
                mirror: Some(&mirror),
                given: vec![("given".to_owned(), given)],
                full: true,
            };
            audit.run(&mut |_| {})
        };
        let (_, _) = (run(honest.clone()), run(forked.clone()));
        covered.extend(steps.lock().unwrap().iter().copied());
        // Without crashes from here on: the honest ones are of one history, the fork is not.
        let audited = world.audit(&[honest], true).unwrap();
        assert_eq!(audited.checkpoints, 2, "stopped at {stop}");
        assert!(matches!(
            world.audit(&[forked], true),
            Err(LogError::Split {
                evidence: Some(_),
                ..
            })
        ));
    }
    for step in [FollowStep::Pin, FollowStep::Evidence, FollowStep::Checkpoint] {
        assert!(covered.contains(&step), "{step:?} was never reached");
    }
}
