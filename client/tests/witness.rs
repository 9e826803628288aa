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
use std::time::Duration;

use assay_client::witness::{Event, Reply, Witness, WitnessError, WitnessFolder, WitnessStep, view};
use assay_log::merkle::TreeHead;
use assay_log::witness::{Answer, SIZE_TYPE, read_answer};
use assay_log::{SignedCheckpoint, VerifierKey};
use common::{MemoryLog, now};
use jiff::{SignedDuration, Timestamp};
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
    witness.add_checkpoint(body.as_bytes(), &now).unwrap()
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
        witness.add_checkpoint(&[0xff; 300_000], &now).unwrap().status,
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
    for attempt in 0..3 {
        let reply = ask(&witness, &body);
        // Without a size: a log that read one would send the same request again.
        assert_eq!(reply.status, 409);
        assert_ne!(reply.media_type, SIZE_TYPE);
        // Whoever repeats it fills nobody's journal.
        assert_eq!(reply.event.is_some(), attempt == 0);
        assert!(
            matches!(reply.event, Some(Event::Split { kept: true, .. }) | None),
            "{reply:?}"
        );
    }
    let files = evidence(&dir);
    assert_eq!(files, [format!("equivocation-7-{}.json", other.head().root)]);
    let (_, logs) = view(dir.path()).unwrap();
    assert_eq!((logs[0].equivocations, logs[0].unproven), (1, 0));
    assert_eq!(logs[0].last.as_ref(), Some(&log.at(7)));
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
    let reply = ask(&witness, &with_wrong_proof(&honest));
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

/// A request whose proof has the right length and leads elsewhere.
fn with_wrong_proof(request: &str) -> String {
    let first = request.lines().nth(1).unwrap();
    request.replacen(first, &format!("{}=", "A".repeat(43)), 1)
}

#[test]
fn a_strangers_proof_of_another_length_is_refused_and_leaves_nothing() {
    let (log, _) = forked();
    let dir = folder(&log);
    let witness = open(dir.path());
    assert_eq!(ask(&witness, &log.request(0, 3)).status, 200);
    let before = common::tree(dir.path());
    let hash = format!("{}=\n", "A".repeat(43));
    // The checkpoint that was cosigned, public as it is; and a larger one.
    let same = format!("old 3\n{hash}\n{}", log.at(3));
    let larger = format!("old 3\n{}\n{}", hash.repeat(9), log.at(7));
    for body in [same, larger, format!("old 3\n\n{}", log.at(7))] {
        let reply = ask(&witness, &body);
        assert_eq!((reply.status, reply.event), (422, None), "{body}");
    }
    assert_eq!(common::tree(dir.path()), before);
}

#[test]
fn strangers_with_wrong_proofs_take_no_room_from_what_proves_a_fork() {
    let mut log = MemoryLog::of(ORIGIN, 3);
    let dir = folder(&log);
    let witness = open(dir.path());
    assert_eq!(ask(&witness, &log.request(0, 3)).status, 200);
    let mut events = Vec::new();
    for _ in 0..400 {
        let size = log.grow(1).checkpoint().head().size;
        let reply = ask(&witness, &with_wrong_proof(&log.request(3, size)));
        assert_eq!(reply.status, 422);
        events.extend(reply.event);
    }
    // Each that is kept is told, and once that there is no more room.
    let kept = |kept: bool| {
        let is = |event: &&Event| matches!(event, Event::Split { kept: found, .. } if *found == kept);
        events.iter().filter(is).count()
    };
    assert_eq!((kept(true), kept(false), evidence(&dir).len()), (64, 1, 64));
    // What the log really signed twice is kept all the same.
    let other = log.sign(TreeHead {
        size: 3,
        root: assay_schema::Sha256Digest::new([7; 32]),
    });
    let reply = ask(&witness, &format!("old 3\n\n{other}"));
    assert!(
        matches!(reply.event, Some(Event::Split { kept: true, .. })),
        "{reply:?}"
    );
    // A larger checkpoint that is proven clears what was smaller, and nothing else.
    assert_eq!(ask(&witness, &log.request(3, 60)).status, 200);
    let left = evidence(&dir);
    assert_eq!(
        left.iter()
            .filter(|name| name.starts_with("equivocation-3-"))
            .count(),
        1
    );
    let sizes = left.iter().filter_map(|name| name.strip_prefix("unproven-"));
    let mut sizes: Vec<u64> = sizes
        .map(|rest| rest.split_once('-').unwrap().0.parse().unwrap())
        .collect();
    sizes.sort_unstable();
    assert_eq!(sizes, [61, 62, 63, 64, 65, 66, 67]);
    // There is room again.
    let reply = ask(&witness, &with_wrong_proof(&log.request(60, 403)));
    assert!(
        matches!(reply.event, Some(Event::Split { kept: true, .. })),
        "{reply:?}"
    );
}

/// When the witness cosigned, as its answer says.
fn time(reply: &Reply, checkpoint: &SignedCheckpoint, key: &VerifierKey) -> Timestamp {
    let body = reply.body.as_bytes();
    match read_answer(reply.status, reply.media_type, body, checkpoint, key) {
        Ok(Answer::Cosigned { time, .. }) => time,
        other => panic!("{other:?}: {reply:?}"),
    }
}

#[test]
fn a_smaller_checkpoint_is_not_cosigned_at_a_later_time_than_a_larger_one() {
    let (log, _) = forked();
    let dir = folder(&log);
    let witness = open(dir.path());
    assert_eq!(ask(&witness, &log.request(0, 3)).status, 200);
    let (smaller, larger) = (log.request(3, 3), log.request(3, 7));
    let (witness, smaller) = (&witness, &smaller);
    std::thread::scope(|scope| {
        let (tell, told) = std::sync::mpsc::channel();
        let overtaking = Mutex::new(None);
        // While the larger one's time is taken, somebody asks for the smaller one, and has time to be answered.
        let clock = || {
            let tell = tell.clone();
            let asking = scope.spawn(move || {
                let reply = ask(witness, smaller);
                let _ = tell.send(());
                reply.status
            });
            *overtaking.lock().unwrap() = Some(asking);
            let _ = told.recv_timeout(Duration::from_millis(200));
            now()
        };
        let reply = witness.add_checkpoint(larger.as_bytes(), &clock).unwrap();
        assert_eq!(reply.status, 200);
        let asking = overtaking.lock().unwrap().take().unwrap();
        assert_eq!(asking.join().unwrap(), 409, "it was cosigned in between");
    });
}

#[test]
fn a_clock_that_is_corrected_keeps_the_last_time_and_one_that_is_set_back_cosigns_nothing() {
    let (log, _) = forked();
    let dir = folder(&log);
    let witness = open(dir.path());
    let at = |body: &str, seconds: i64| {
        witness.add_checkpoint(body.as_bytes(), &|| now() + SignedDuration::from_secs(seconds))
    };
    let first = at(&log.request(0, 3), 100).unwrap();
    let last = now() + SignedDuration::from_secs(100);
    assert_eq!(time(&first, &log.at(3), witness.key()), last);
    let corrected = at(&log.request(3, 3), 40).unwrap();
    assert_eq!(time(&corrected, &log.at(3), witness.key()), last);
    let before = common::tree(dir.path());
    let error = at(&log.request(3, 7), -60).unwrap_err();
    assert!(matches!(error, WitnessError::ClockSetBack { .. }), "{error}");
    assert_eq!(common::tree(dir.path()), before);
    let (_, logs) = view(dir.path()).unwrap();
    assert_eq!(logs[0].last, Some(log.at(3)));
    // It goes on when the clock is there again.
    let later = at(&log.request(3, 7), 101).unwrap();
    assert!(time(&later, &log.at(7), witness.key()) > last);
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
            let wrong = with_wrong_proof(&log.request(3, 7));
            let bodies = [
                log.request(0, 3),
                wrong,
                log.request(3, 7),
                format!("old 7\n\n{}", other.at(7)),
            ];
            let answers = bodies
                .iter()
                .map(|body| witness.add_checkpoint(body.as_bytes(), &now));
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
    let state = first_state(&dir);
    let whole = std::fs::read(&state).unwrap();
    for damage in [b"".to_vec(), b"{}".to_vec(), whole[..whole.len() / 2].to_vec()] {
        std::fs::write(&state, damage).unwrap();
        let error = WitnessFolder::open(dir.path())
            .unwrap()
            .witness(&|_| None)
            .unwrap_err();
        assert!(error.to_string().contains("Restore it from a backup"), "{error}");
    }
    // A lost one neither: before the first cosignature there is a file, too.
    std::fs::remove_file(&state).unwrap();
    for lost in [&state, &first_state(&folder(&log))] {
        let _ = std::fs::remove_file(lost);
        let root = lost.ancestors().nth(3).unwrap();
        let lost = WitnessFolder::open(root).unwrap();
        let error = lost.add_log(&log.key).unwrap_err().to_string();
        assert!(error.contains("found no file"), "{error}");
        let error = lost.witness(&|_| None).unwrap_err().to_string();
        assert!(error.contains("remove the log's folder"), "{error}");
    }
    // Nobody follows a log whose keys are lost, and whoever follows it again goes on from what was cosigned.
    std::fs::write(&state, whole).unwrap();
    std::fs::remove_file(state.with_file_name("log.json")).unwrap();
    let witness = WitnessFolder::open(dir.path()).unwrap();
    witness.add_log(&log.key).unwrap();
    let witness = witness.witness(&|_| None).unwrap();
    assert_eq!(ask(&witness, &log.request(0, 3)).status, 409);
}

fn first_state(dir: &TempDir) -> std::path::PathBuf {
    let tree = common::tree(dir.path());
    let found = tree.iter().find(|path| path.ends_with("state.json")).unwrap();
    dir.path().join(found)
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

#[test]
fn a_key_that_lay_open_is_not_taken_for_an_encrypted_one() {
    let dir = tempfile::tempdir().unwrap();
    let stop = |step| match step {
        WitnessStep::Key => Err(WitnessError::Stopped(step)),
        _ => Ok(()),
    };
    let folder = WitnessFolder::open(dir.path()).unwrap().on_step(Arc::new(stop));
    assert!(folder.init("witness.example/w", None).is_err());
    drop(folder);
    let pem = || std::fs::read_to_string(dir.path().join("witness.pem")).unwrap();
    let open = pem();
    assert!(
        open.contains("BEGIN PRIVATE KEY"),
        "the key was made, and not named"
    );

    let folder = WitnessFolder::open(dir.path()).unwrap();
    let made = folder.init("witness.example/w", Some("sesame")).unwrap();
    assert!(made.encrypted);
    assert!(pem().contains("BEGIN ENCRYPTED PRIVATE KEY"));
    // It is another one: whoever read the open file does not hold it.
    let opened = assay_authority::SigningKey::from_pem(&open, None).unwrap();
    let held = assay_authority::SigningKey::from_pem(&pem(), Some("sesame")).unwrap();
    assert_ne!(
        opened.public_key().ed25519_bytes().unwrap(),
        held.public_key().ed25519_bytes().unwrap()
    );
    assert_eq!(made.key.raw(), held.public_key().ed25519_bytes().unwrap());
}

#[test]
fn an_encrypted_key_of_an_interrupted_run_needs_its_passphrase_and_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let stop = |step| match step {
        WitnessStep::Key => Err(WitnessError::Stopped(step)),
        _ => Ok(()),
    };
    let folder = WitnessFolder::open(dir.path()).unwrap().on_step(Arc::new(stop));
    assert!(folder.init("witness.example/w", Some("sesame")).is_err());
    drop(folder);
    let path = dir.path().join("witness.pem");
    let before = std::fs::read(&path).unwrap();
    let folder = WitnessFolder::open(dir.path()).unwrap();
    for wrong in [None, Some("simsim")] {
        let error = folder.init("witness.example/w", wrong).unwrap_err();
        assert!(matches!(error, WitnessError::Key { .. }), "{error}");
    }
    assert!(
        folder
            .init("witness.example/w", Some("sesame"))
            .unwrap()
            .encrypted
    );
    assert_eq!(std::fs::read(&path).unwrap(), before);
}
