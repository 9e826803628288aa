//! Stage 8 when something is wrong: corrupted bytes, files that do not belong, a device that breaks.

use assay_schema::{Outcome, Stage};
use assay_verifier::{Action, Content, Event, Piece, PresentFile};

use crate::content::{approved, complete, driver, files, filler, present};
use crate::support::driver::Step;
use crate::support::*;

#[test]
fn a_corrupted_piece_is_fetched_again() {
    for times in [1, 2] {
        let (sim, approved) = approved(files());
        let mut driver = driver(&sim);
        let mut left = times;
        driver.tamper = Some(Box::new(move |piece, bytes| {
            if left > 0 && piece.file == 3 && piece.chunk == 2 {
                left -= 1;
                bytes[9] ^= 1;
            }
        }));
        let verdict = driver.run(&mut Content::pull(approved, &[]), |_| 0);
        assert_eq!(verdict.outcome, Outcome::Permit);
        complete(&driver, &files());
        assert_eq!(driver.discarded, times);
    }
}

#[test]
fn a_piece_that_stays_corrupted_is_refused_after_three_and_never_written() {
    let (sim, approved) = approved(files());
    let mut driver = driver(&sim);
    driver.tamper = Some(Box::new(|piece, bytes| {
        if piece.file == 2 {
            bytes[0] ^= 1;
        }
    }));
    let verdict = driver.run(&mut Content::pull(approved, &[]), |_| 0);
    assert_eq!(decided(&verdict), code(Stage::Content, "digest-mismatch"));
    assert_eq!(driver.fetched.iter().filter(|p| p.file == 2).count(), 3);
    assert!(!driver.files.contains_key(&2));
    assert!(driver.steps.is_empty());
}

#[test]
fn a_blob_that_cannot_be_had_is_refused_after_three() {
    let (mut sim, approved) = approved(files());
    let small = approved.manifest().files[2].sha256;
    sim.blobs.remove(&small);
    let verdict = driver(&sim).run(&mut Content::pull(approved, &[]), |_| 0);
    assert_eq!(decided(&verdict), code(Stage::Content, "unavailable"));
}

#[test]
fn a_wrong_chunk_index_is_refused() {
    let (sim, approved) = approved(files());
    let index = approved.manifest().files[3].chunks.unwrap();
    let mut wrong = driver(&sim);
    wrong.blobs.get_mut(&index).unwrap()[40] ^= 1;
    let verdict = wrong.run(&mut Content::pull(approved.clone(), &[]), |_| 0);
    assert_eq!(decided(&verdict), code(Stage::Content, "digest-mismatch"));
    let mut missing = driver(&sim);
    missing.blobs.remove(&index);
    let verdict = missing.run(&mut Content::pull(approved, &[]), |_| 0);
    assert_eq!(decided(&verdict), code(Stage::Content, "unavailable"));
}

#[test]
fn a_chunk_index_of_another_size_is_refused_although_its_digest_is_signed() {
    let mut sim = Simulator::empty();
    let mut release = draft("1.0.0", 1);
    release.files = vec![("long", filler((2 << 20) + 1))];
    sim.release(release);
    let other = assay_schema::chunk::ChunkIndex::new((2 << 20) + 2, vec![sim.identity; 3])
        .unwrap()
        .encode();
    let digest = assay_verifier::provenance::sha256(&other);
    sim.blobs.insert(digest, other);
    sim.replace_manifest(|m| m["files"][0]["chunks"] = serde_json::json!(digest));
    let approved = Device::new(&sim, By::Bundle).permitted(&sim);
    let verdict = driver(&sim).run(&mut Content::pull(*approved, &[]), |_| 0);
    assert_eq!(decided(&verdict), code(Stage::Content, "malformed"));
}

#[test]
fn a_device_that_breaks_anywhere_ends_in_a_refusal_without_activation() {
    type At = fn(&Action) -> bool;
    // How many durable steps were done by then.
    let breaks: [(At, usize); 7] = [
        (|a| matches!(a, Action::ReadIndex { .. }), 0),
        (|a| matches!(a, Action::HashLocal(_)), 0),
        (|a| matches!(a, Action::Fetch { .. }), 0),
        (|a| matches!(a, Action::Write(_)), 0),
        (|a| matches!(a, Action::Seal), 0),
        (|a| matches!(a, Action::Persist(_)), 1),
        (|a| matches!(a, Action::Activate), 2),
    ];
    for (break_at, steps) in breaks {
        let (sim, approved) = approved(files());
        let mut driver = driver(&sim);
        driver.break_at = Some(break_at);
        driver.files.insert(3, filler(1 << 20));
        let staged = driver.staged(5);
        let verdict = driver.run(&mut Content::pull(approved, &staged), |waiting| waiting / 2);
        assert_eq!(decided(&verdict), code(Stage::Content, "device-failed"));
        assert_eq!(driver.steps.len(), steps, "{:?}", driver.steps);
        assert!(!driver.steps.contains(&Step::Activate));
    }
}

#[test]
fn a_changed_missing_extraneous_or_resized_file_is_refused_by_verification() {
    let (sim, approved) = approved(files());
    let whole: Vec<PresentFile> = present(&approved);
    let verify = |listing: &[PresentFile], change: &dyn Fn(&mut crate::support::driver::Driver)| {
        let mut driver = driver(&sim);
        driver.files = files().into_iter().map(|(_, b)| b).enumerate().collect();
        change(&mut driver);
        let verdict = driver.run(&mut Content::verify(approved.clone(), listing), |_| 0);
        assert!(driver.fetched.is_empty() && driver.steps.is_empty());
        decided(&verdict)
    };
    let flipped = |d: &mut crate::support::driver::Driver| d.files.get_mut(&3).unwrap()[1 << 20] ^= 1;
    assert_eq!(verify(&whole, &flipped), code(Stage::Content, "digest-mismatch"));
    let short = |d: &mut crate::support::driver::Driver| d.files.get_mut(&1).unwrap().truncate(100);
    assert_eq!(verify(&whole, &short), code(Stage::Content, "digest-mismatch"));

    let mut more = whole.clone();
    more.push(PresentFile {
        path: "adapter.safetensors".into(),
        size: 3,
    });
    assert_eq!(verify(&more, &|_| {}), code(Stage::Content, "extraneous-file"));
    for i in 0..whole.len() {
        let mut fewer = whole.clone();
        fewer.remove(i);
        assert_eq!(verify(&fewer, &|_| {}), code(Stage::Content, "missing-file"));
        let mut resized = whole.clone();
        resized[i].size += 1;
        assert_eq!(verify(&resized, &|_| {}), code(Stage::Content, "size-mismatch"));
    }
}

#[test]
fn a_recheck_of_another_manifest_is_refused() {
    let (sim, approved) = approved(files());
    let (pin, digest) = (sim.pin(), approved.manifest_digest());
    let recheck = |pin: &assay_verifier::Pin, bytes: &[u8], digest| {
        let refused = Content::recheck(pin, bytes, digest, &present(&approved), sim.now);
        refused.map(drop).unwrap_err().code
    };
    let mut changed = approved.manifest_bytes().to_vec();
    changed[30] ^= 1;
    assert_eq!(recheck(&pin, &changed, digest), "digest-mismatch");
    let nonsense = b"{}";
    assert_eq!(
        recheck(&pin, nonsense, assay_verifier::provenance::sha256(nonsense)),
        "malformed"
    );
    let mut other = pin.clone();
    other.identity = digest;
    assert_eq!(
        recheck(&other, approved.manifest_bytes(), digest),
        "wrong-release"
    );
}

/// Polls until there is nothing to ask.
fn asked(content: &mut Content) -> Vec<Action> {
    std::iter::from_fn(|| content.poll()).collect()
}

#[test]
fn events_that_answer_nothing_make_no_piece_right() {
    let (_, approved) = approved(vec![("b", b"small".to_vec())]);
    let right = approved.manifest().files[0].sha256;
    let mut content = Content::pull(approved, &[]);
    let piece = Piece {
        file: 0,
        chunk: 0,
        offset: 0,
        len: 5,
    };
    let stray = [
        Event::Written(piece),
        Event::Hashed { piece, sha256: right },
        Event::Received(piece),
        Event::Absent(piece),
        Event::Index {
            file: 0,
            bytes: Vec::new(),
        },
        Event::Index {
            file: 7,
            bytes: Vec::new(),
        },
        Event::Failed {
            file: 0,
            pieces: vec![],
            reason: "stray".into(),
            retry: false,
        },
        Event::Failed {
            file: 9,
            pieces: vec![piece],
            reason: "stray".into(),
            retry: false,
        },
        Event::Written(Piece { file: 9, ..piece }),
        Event::Written(Piece { chunk: 4, ..piece }),
        Event::Sealed,
        Event::Persisted,
        Event::Activated,
    ];
    for event in &stray {
        content.handle(event.clone());
    }
    assert_eq!(content.done(), 0);
    let [Action::Fetch { pieces, .. }] = &asked(&mut content)[..] else {
        panic!("the piece is still to be fetched");
    };
    assert_eq!(pieces, &[piece]);
    // While it is fetched, it is neither hashed nor written.
    for event in [&stray[0], &stray[1], &stray[3]] {
        content.handle(event.clone());
    }
    assert_eq!((content.done(), asked(&mut content)), (0, vec![]));
    content.handle(Event::Received(piece));
    assert_eq!(asked(&mut content), [Action::HashReceived(piece)]);
    // The connection breaks after the piece has arrived: it is hashed and written all the same, once.
    content.handle(Event::Failed {
        file: 0,
        pieces: vec![piece],
        reason: "reset".into(),
        retry: true,
    });
    assert_eq!(asked(&mut content), []);
    content.handle(Event::Hashed { piece, sha256: right });
    assert_eq!(asked(&mut content), [Action::Write(piece)]);
    content.handle(Event::Hashed { piece, sha256: right });
    assert_eq!((content.done(), asked(&mut content)), (0, vec![]));
    content.handle(Event::Written(piece));
    assert_eq!((content.done(), asked(&mut content)), (5, vec![Action::Seal]));
    // What comes late no longer decides anything.
    content.handle(Event::Failed {
        file: 0,
        pieces: vec![piece],
        reason: "late".into(),
        retry: false,
    });
    content.handle(Event::Persisted);
    assert_eq!(asked(&mut content), []);
    content.handle(Event::Sealed);
    let [Action::Persist(_)] = &asked(&mut content)[..] else {
        panic!("the floors come next");
    };
    content.handle(Event::Sealed);
    content.handle(Event::Persisted);
    assert_eq!(asked(&mut content), [Action::Activate]);
    content.handle(Event::Activated);
    let [Action::Finish(verdict)] = &asked(&mut content)[..] else {
        panic!("the end");
    };
    assert_eq!(verdict.outcome, Outcome::Permit);
}

#[test]
fn a_file_that_cannot_be_read_ends_a_verification() {
    let (_, approved) = approved(vec![("b", b"small".to_vec())]);
    let listing = present(&approved);
    let mut content = Content::verify(approved, &listing);
    let [Action::HashLocal(piece)] = asked(&mut content)[..] else {
        panic!("one piece");
    };
    content.handle(Event::Failed {
        file: 0,
        pieces: vec![piece],
        reason: "input/output error".into(),
        retry: true,
    });
    let [Action::Finish(verdict)] = &asked(&mut content)[..] else {
        panic!("the end");
    };
    assert_eq!(decided(verdict), code(Stage::Content, "unavailable"));
}

#[test]
fn a_failure_lets_go_of_what_is_held_before_the_end() {
    let (_, approved) = approved(vec![("a", b"one".to_vec()), ("b", b"two".to_vec())]);
    let digests: Vec<_> = approved.manifest().files.iter().map(|f| f.sha256).collect();
    let mut content = Content::pull(approved, &[]);
    let pieces: Vec<Piece> = asked(&mut content)
        .into_iter()
        .flat_map(|a| match a {
            Action::Fetch { pieces, .. } => pieces,
            other => panic!("{other:?}"),
        })
        .collect();
    content.handle(Event::Received(pieces[0]));
    content.handle(Event::Failed {
        file: 1,
        pieces: vec![pieces[1]],
        reason: "404".into(),
        retry: false,
    });
    assert_eq!(content.poll(), Some(Action::Discard(pieces[0])));
    assert!(matches!(content.poll(), Some(Action::Finish(_))));
    content.handle(Event::Hashed {
        piece: pieces[0],
        sha256: digests[0],
    });
    assert_eq!(content.poll(), None);
}
