//! Witnesses: what they refuse, what they write down before they answer, and where they go on after a crash.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod common;

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use assay_client::witness::{Event, Reply, Witness, WitnessError, WitnessFolder, WitnessStep, view};
use assay_log::merkle::TreeHead;
use assay_log::witness::{Answer, SIZE_TYPE, read_answer};
use assay_log::{SignedCheckpoint, VerifierKey};
use common::{MemoryLog, now};
use tempfile::TempDir;

const ORIGIN: &str = "log.example/1";

/// A witness that follows one log.
fn folder(log: &MemoryLog) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let folder = WitnessFolder::open(dir.path()).unwrap();
    folder.init("witness.example/w", None).unwrap();
    folder.add_log(&log.key).unwrap();
    dir
}

fn open(path: &Path) -> Witness {
    WitnessFolder::open(path).unwrap().witness(&|_| None).unwrap()
}

fn ask(witness: &Witness, body: &str) -> Reply {
    witness.add_checkpoint(body.as_bytes(), now()).unwrap()
}

fn cosigned(reply: &Reply, checkpoint: &SignedCheckpoint, key: &VerifierKey) -> bool {
    let answer = read_answer(
        reply.status,
        reply.media_type,
        reply.body.as_bytes(),
        checkpoint,
        key,
    );
    matches!(answer, Ok(Answer::Cosigned { time, .. }) if time == now())
}

/// A log of sizes 3 and 7, and another history of size 7 by the same key.
fn forked() -> (MemoryLog, MemoryLog) {
    let mut log = MemoryLog::of(ORIGIN, 3);
    let mut other = log.clone();
    log.grow(4);
    other.append(b"another entry".to_vec());
    other.grow(3);
    (log, other)
}

fn evidence(dir: &TempDir) -> Vec<String> {
    let mut found = Vec::new();
    for log in std::fs::read_dir(dir.path().join("logs")).unwrap() {
        if let Ok(files) = std::fs::read_dir(log.unwrap().path().join("evidence")) {
            found.extend(files.map(|file| file.unwrap().file_name().into_string().unwrap()));
        }
    }
    found.sort();
    found
}

#[test]
fn a_growing_log_is_cosigned_step_by_step_and_remembered_by_the_next_process() {
    let mut log = MemoryLog::of(ORIGIN, 3);
    let dir = folder(&log);
    let witness = open(dir.path());
    let reply = ask(&witness, &log.request(0, 3));
    assert!(cosigned(&reply, &log.at(3), witness.key()), "{reply:?}");
    assert!(matches!(reply.event, Some(Event::Cosigned { head, .. }) if head.size == 3));
    log.grow(600);
    drop(witness);

    let witness = open(dir.path());
    let reply = ask(&witness, &log.request(3, 603));
    assert!(cosigned(&reply, &log.at(603), witness.key()), "{reply:?}");
    // The same again is cosigned again: the log may have lost the answer.
    let again = ask(&witness, &log.request(603, 603));
    assert!(cosigned(&again, &log.at(603), witness.key()), "{again:?}");
    assert_eq!(again.event, None);
    let (key, logs) = view(dir.path()).unwrap();
    assert_eq!(&key, witness.key());
    assert_eq!(logs[0].last, Some(log.at(603)));
}

#[test]
fn a_request_behind_the_remembered_checkpoint_is_told_the_size() {
    let mut log = MemoryLog::of(ORIGIN, 3);
    log.grow(4);
    let dir = folder(&log);
    let witness = open(dir.path());
    assert_eq!(ask(&witness, &log.request(0, 7)).status, 200);
    for body in [log.request(0, 7), log.request(3, 7), log.request(0, 3)] {
        let reply = ask(&witness, &body);
        assert_eq!(
            (reply.status, reply.media_type, reply.body.as_str()),
            (409, SIZE_TYPE, "7\n")
        );
        assert_eq!(reply.event, None);
    }
    assert!(evidence(&dir).is_empty());
}

#[test]
fn an_unknown_log_an_unsigned_checkpoint_and_garbage_are_refused_and_leave_nothing() {
    let log = MemoryLog::of(ORIGIN, 3);
    let dir = folder(&log);
    let witness = open(dir.path());
    let before = common::tree(dir.path());
    let other = MemoryLog::of("log.example/other", 3);
    assert_eq!(ask(&witness, &other.request(0, 3)).status, 404);
    let impostor = MemoryLog::of(ORIGIN, 3);
    assert_eq!(ask(&witness, &impostor.request(0, 3)).status, 403);
    for body in ["", "old 0\n", "old 00\n\n", "\u{0}"] {
        assert_eq!(ask(&witness, body).status, 400, "{body:?}");
    }
    assert_eq!(
        witness.add_checkpoint(&[0xff; 300_000], now()).unwrap().status,
        400
    );
    assert_eq!(common::tree(dir.path()), before);
}

#[test]
fn two_histories_of_one_size_are_refused_and_kept_as_evidence() {
    let (log, other) = forked();
    let dir = folder(&log);
    let witness = open(dir.path());
    assert_eq!(ask(&witness, &log.request(0, 7)).status, 200);
    let body = format!("old 7\n\n{}", other.at(7));
    for _ in 0..3 {
        let reply = ask(&witness, &body);
        // Without a size: a log that read one would send the same request again.
        assert_eq!(reply.status, 409);
        assert_ne!(reply.media_type, SIZE_TYPE);
        assert!(
            matches!(reply.event, Some(Event::Split { kept: true, .. })),
            "{reply:?}"
        );
    }
    let files = evidence(&dir);
    assert_eq!(files, [format!("equivocation-7-{}.json", other.head().root)]);
    let (_, logs) = view(dir.path()).unwrap();
    assert_eq!((logs[0].evidence, logs[0].last.as_ref()), (1, Some(&log.at(7))));
    // Both signed checkpoints are in it, for whoever wants to judge.
    let path = common::tree(dir.path())
        .into_iter()
        .find(|path| path.ends_with(&files[0]))
        .unwrap();
    let kept: serde_json::Value =
        serde_json::from_slice(&std::fs::read(dir.path().join(path)).unwrap()).unwrap();
    assert_eq!(kept["cosigned"], log.at(7).to_string());
    assert_eq!(kept["offered"], other.at(7).to_string());
}

#[test]
fn a_fork_that_grew_cannot_be_proven_and_is_kept_until_somebody_proves_it() {
    let (mut log, other) = forked();
    log.grow(5);
    let dir = folder(&log);
    let witness = open(dir.path());
    assert_eq!(ask(&witness, &log.request(0, 3)).status, 200);
    // The fork contains the first three entries, but not with this proof.
    let honest = other.request(3, 7);
    let wrong = honest.replacen(honest.lines().nth(1).unwrap(), &"A".repeat(43).add_pad(), 1);
    let reply = ask(&witness, &wrong);
    assert_eq!(reply.status, 422);
    assert_eq!(evidence(&dir), [format!("unproven-7-{}.json", other.head().root)]);
    // With the right one it does, and the suspicion goes.
    assert_eq!(ask(&witness, &honest).status, 200);
    assert!(evidence(&dir).is_empty());
    // From now on the other history is the fork, at whatever size.
    let reply = ask(&witness, &log.request(3, 7).replacen("old 3", "old 7", 1));
    assert!(matches!(reply.status, 409 | 422), "{reply:?}");
    assert!(matches!(reply.event, Some(Event::Split { .. })));
    let reply = ask(&witness, &log.request(7, 12));
    assert_eq!(reply.status, 422);
    assert_eq!(evidence(&dir).len(), 2);
}

trait Pad {
    fn add_pad(self) -> String;
}

impl Pad for String {
    fn add_pad(self) -> String {
        self + "="
    }
}

#[test]
fn evidence_never_fills_the_disk() {
    let (log, _) = forked();
    let dir = folder(&log);
    let witness = open(dir.path());
    assert_eq!(ask(&witness, &log.request(0, 7)).status, 200);
    let mut kept = 0;
    for n in 0..300_u16 {
        let mut root = [7; 32];
        root[..2].copy_from_slice(&n.to_be_bytes());
        let head = TreeHead {
            size: 7,
            root: assay_schema::Sha256Digest::new(root),
        };
        let reply = ask(&witness, &format!("old 7\n\n{}", log.sign(head)));
        assert_eq!(reply.status, 409);
        kept += usize::from(matches!(reply.event, Some(Event::Split { kept: true, .. })));
    }
    assert_eq!((kept, evidence(&dir).len()), (256, 256));
}

#[test]
fn of_two_forks_at_once_one_is_cosigned() {
    let (log, other) = forked();
    let dir = folder(&log);
    let witness = Arc::new(open(dir.path()));
    assert_eq!(ask(&witness, &log.request(0, 3)).status, 200);
    let threads: Vec<_> = (0..8)
        .map(|n| {
            let (witness, body) = (
                witness.clone(),
                if n % 2 == 0 {
                    log.request(3, 7)
                } else {
                    other.request(3, 7)
                },
            );
            std::thread::spawn(move || (n % 2, ask(&witness, &body).status))
        })
        .collect();
    let answers: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
    let winners: Vec<_> = answers.iter().filter(|(_, status)| *status == 200).collect();
    assert_eq!(winners.len(), 1, "{answers:?}");
}

#[test]
fn stopped_behind_any_step_it_goes_on_from_there_and_nothing_was_cosigned_that_is_not_on_disk() {
    let (log, other) = forked();
    let mut covered = Vec::new();
    for stop in 0.. {
        let dir = tempfile::tempdir().unwrap();
        let steps: Arc<Mutex<Vec<WitnessStep>>> = Arc::default();
        let (seen, count) = (steps.clone(), AtomicUsize::new(0));
        let hook = Arc::new(move |step| {
            seen.lock().unwrap().push(step);
            match count.fetch_add(1, Ordering::Relaxed) == stop {
                true => Err(WitnessError::Stopped(step)),
                false => Ok(()),
            }
        });
        let run = || -> Result<Vec<u16>, WitnessError> {
            let folder = WitnessFolder::open(dir.path())?.on_step(hook.clone());
            folder.init("witness.example/w", None)?;
            folder.add_log(&log.key)?;
            let witness = folder.witness(&|_| None)?;
            let wrong = log
                .request(3, 7)
                .replacen("\n\n", &format!("\n{}=\n\n", "A".repeat(43)), 1);
            let bodies = [
                log.request(0, 3),
                wrong,
                log.request(3, 7),
                format!("old 7\n\n{}", other.at(7)),
            ];
            let answers = bodies
                .iter()
                .map(|body| witness.add_checkpoint(body.as_bytes(), now()));
            answers.map(|reply| reply.map(|reply| reply.status)).collect()
        };
        let outcome = run();
        covered.extend(steps.lock().unwrap().iter().copied());
        let stopped = match outcome {
            Ok(answers) => {
                assert_eq!(answers, [200, 422, 200, 409]);
                break;
            }
            Err(WitnessError::Stopped(step)) => step,
            Err(other) => panic!("{other}"),
        };

        // The next process takes up whatever is there.
        let folder = WitnessFolder::open(dir.path()).unwrap();
        match folder.init("witness.example/w", None) {
            Ok(_) => assert_eq!(stopped, WitnessStep::Key),
            Err(WitnessError::Exists { .. }) => {}
            Err(other) => panic!("{other}"),
        }
        folder.add_log(&log.key).unwrap();
        let witness = folder.witness(&|_| None).unwrap();
        let known = ask(&witness, &log.request(0, 3));
        match known.status {
            200 => {}
            409 if known.body == "3\n" => assert_eq!(ask(&witness, &log.request(3, 3)).status, 200),
            409 => assert_eq!(known.body, "7\n", "behind {stopped:?}"),
            other => panic!("{other} behind {stopped:?}"),
        }
        if known.body != "7\n" {
            assert_eq!(
                ask(&witness, &log.request(3, 7)).status,
                200,
                "behind {stopped:?}"
            );
        }
        let last = ask(&witness, &log.request(7, 7));
        assert!(cosigned(&last, &log.at(7), witness.key()), "behind {stopped:?}");
        assert_eq!(ask(&witness, &format!("old 7\n\n{}", other.at(7))).status, 409);
    }
    for step in WitnessStep::ALL {
        assert!(covered.contains(&step), "{step:?} was never reached");
    }
}

#[test]
fn a_second_process_is_refused() {
    let log = MemoryLog::of(ORIGIN, 3);
    let dir = folder(&log);
    let witness = open(dir.path());
    let error = WitnessFolder::open(dir.path()).unwrap_err().to_string();
    assert!(error.contains("another process"), "{error}");
    assert!(view(dir.path()).is_ok(), "looking is permitted");
    drop(witness);
    open(dir.path());
}

#[test]
fn a_damaged_memory_is_not_forgotten() {
    let log = MemoryLog::of(ORIGIN, 3);
    let dir = folder(&log);
    assert_eq!(ask(&open(dir.path()), &log.request(0, 3)).status, 200);
    let tree = common::tree(dir.path());
    let state = dir
        .path()
        .join(tree.iter().find(|path| path.ends_with("state.json")).unwrap());
    let whole = std::fs::read(&state).unwrap();
    for damage in [b"".to_vec(), b"{}".to_vec(), whole[..whole.len() / 2].to_vec()] {
        std::fs::write(&state, damage).unwrap();
        let error = WitnessFolder::open(dir.path())
            .unwrap()
            .witness(&|_| None)
            .unwrap_err();
        assert!(error.to_string().contains("Restore it from a backup"), "{error}");
    }
}

#[test]
fn a_key_of_another_folder_a_witness_as_log_and_a_second_init_are_refused() {
    use std::os::unix::fs::PermissionsExt;
    let log = MemoryLog::of(ORIGIN, 3);
    let (dir, other) = (folder(&log), folder(&log));
    let mode = dir
        .path()
        .join("witness.pem")
        .metadata()
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    std::fs::copy(other.path().join("witness.pem"), dir.path().join("witness.pem")).unwrap();
    let folder = WitnessFolder::open(dir.path()).unwrap();
    let key = folder.key().unwrap();
    assert!(matches!(folder.add_log(&key), Err(WitnessError::NotALog { .. })));
    assert!(matches!(
        folder.init("other", None),
        Err(WitnessError::Exists { .. })
    ));
    assert!(matches!(
        folder.witness(&|_| None),
        Err(WitnessError::OtherKey { .. })
    ));
    let empty = tempfile::tempdir().unwrap();
    let folder = WitnessFolder::open(empty.path()).unwrap();
    assert!(matches!(
        folder.add_log(&log.key),
        Err(WitnessError::NoWitness { .. })
    ));
    assert!(folder.init("a name with spaces", None).is_err());
}

#[test]
fn an_encrypted_key_needs_its_passphrase() {
    let log = MemoryLog::of(ORIGIN, 3);
    let dir = tempfile::tempdir().unwrap();
    let folder = WitnessFolder::open(dir.path()).unwrap();
    folder.init("witness.example/w", Some("sesame")).unwrap();
    folder.add_log(&log.key).unwrap();
    drop(folder);
    for wrong in [None, Some("simsim".to_owned())] {
        let folder = WitnessFolder::open(dir.path()).unwrap();
        let error = folder.witness(&|_| wrong.clone()).unwrap_err();
        assert!(matches!(error, WitnessError::Key { .. }), "{error}");
    }
    let witness = WitnessFolder::open(dir.path()).unwrap();
    let witness = witness.witness(&|_| Some("sesame".to_owned())).unwrap();
    assert!(cosigned(
        &ask(&witness, &log.request(0, 3)),
        &log.at(3),
        witness.key()
    ));
}
