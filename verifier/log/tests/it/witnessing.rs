//! The witness protocol: each status of tlog-witness by what earns it, and what a log makes of the answers.

use assay_log::SignedCheckpoint;
use assay_log::merkle::TreeHead;
use assay_log::note::{NoteError, SignatureLine};
use assay_log::witness::{AddCheckpoint, Answer, AnswerError, Refusal, SIZE_TYPE, read_answer};
use assay_schema::Sha256Digest;
use jiff::Timestamp;

use crate::support::{Leaves, ORIGIN, Pair, checkpoint_of, flip, our_log};

/// The example of tlog-witness, apart from its checkpoint's second signature.
const EXAMPLE: &str = "old 20852014\nPlRNCrwHpqhGrupue0L7gxbjbMiKA9temvuZZDDpkaw=\njrJZDmY8Y7SyJE0MWLpLozkIVMSMZcD5kvuKxPC3swk=\n\
    5+pKlUdi2LeF/BcMHBn+Ku6yhPGNCswZZD1X/6QgPd8=\n/6WVhPs2CwSsb5rYBH5cjHV/wSmA79abXAwhXw3Kj/0=\n\n\
    example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n\
    — example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n";

fn request(leaves: &Leaves, old: u64, new: u64) -> AddCheckpoint {
    AddCheckpoint::new(
        old,
        leaves.consistency(old, new),
        checkpoint_of(&our_log(), leaves.head(new)),
    )
    .unwrap()
}

fn status(request: &AddCheckpoint, stored: Option<TreeHead>) -> u16 {
    request
        .decide(&[our_log().key], stored)
        .err()
        .map_or(200, |refusal| refusal.status())
}

fn witness() -> Pair {
    Pair::witness("w.example", 50)
}

fn time() -> Timestamp {
    Timestamp::from_second(1_800_000_000).unwrap()
}

fn cosigned(leaves: &Leaves, size: u64) -> (SignedCheckpoint, SignatureLine) {
    let request = request(leaves, 0, size);
    let accepted = request.decide(&[our_log().key], None).unwrap();
    let line = accepted
        .cosign(&witness().key, time(), |m| witness().sign(m))
        .unwrap();
    (request.checkpoint().clone(), line)
}

#[test]
fn the_specifications_example_round_trips() {
    let parsed = AddCheckpoint::parse(EXAMPLE.as_bytes()).unwrap();
    assert_eq!(
        (parsed.old(), parsed.checkpoint().checkpoint().head().size),
        (20_852_014, 20_852_163)
    );
    assert_eq!(parsed.to_string(), EXAMPLE);
}

#[test]
fn an_honest_log_is_cosigned_at_every_growth() {
    let leaves = Leaves::new(40);
    for old in 0..40 {
        for new in old..40 {
            let stored = (old > 0).then(|| leaves.head(old));
            let parsed = AddCheckpoint::parse(request(&leaves, old, new).to_string().as_bytes()).unwrap();
            let accepted = parsed.decide(&[our_log().key], stored).unwrap();
            assert_eq!(
                (accepted.checkpoint().head(), accepted.replaces()),
                (leaves.head(new), stored)
            );
        }
    }
}

#[test]
fn a_second_form_of_a_request_is_refused_with_400() {
    let good = request(&Leaves::new(9), 3, 9).to_string();
    let (head, rest) = good.split_once("\n\n").unwrap();
    let checkpoint = rest;
    for bad in [
        String::new(),
        "old 3".into(),
        "old 3\n".into(),
        "old 3\n\n".into(),
        good.replacen("old 3", "old 03", 1),
        good.replacen("old 3", "old  3", 1),
        good.replacen("old 3", "Old 3", 1),
        good.replacen("old 3", "old -3", 1),
        good.replacen("old 3", "old 3 ", 1),
        good.replacen("old 3\n", "", 1),
        good.replacen("old 3", "old 9007199254740992", 1),
        format!("{head}\nAAAA\n\n{checkpoint}"),
        format!("{head}\n{checkpoint}"),
        format!("{head}\n\n\n{checkpoint}"),
        good.trim_end().to_owned(),
        good.replace('\n', "\r\n"),
        format!("{good}\n"),
        format!(
            "old 3\n{}\n{checkpoint}",
            "CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n".repeat(64)
        ),
        format!("{head}\n\n{}", "a".repeat(200_000)),
    ] {
        let refusal = AddCheckpoint::parse(bad.as_bytes()).unwrap_err();
        assert_eq!(refusal.status(), 400, "{bad:?}");
    }
    assert_eq!(AddCheckpoint::parse(b"old 1\n\n\xff").unwrap_err().status(), 400);
}

#[test]
fn a_log_that_the_witness_does_not_follow_is_refused_with_404() {
    let refusal = request(&Leaves::new(3), 0, 3).decide(&[], None).unwrap_err();
    assert_eq!(
        refusal,
        Refusal::UnknownLog {
            origin: ORIGIN.into()
        }
    );
    assert_eq!(refusal.status(), 404);
}

#[test]
fn a_checkpoint_that_no_trusted_key_signed_is_refused_with_403() {
    let request = request(&Leaves::new(3), 0, 3);
    let refusal = request.decide(&[Pair::log(ORIGIN, 2).key], None).unwrap_err();
    assert!(matches!(refusal, Refusal::NotSigned { .. }));
    assert_eq!(refusal.status(), 403);
    // One of several trusted keys is enough: a log may be changing its key.
    request
        .decide(&[Pair::log(ORIGIN, 2).key, our_log().key], None)
        .unwrap();
    // A key of another type is no log's.
    assert_eq!(request.decide(&[witness().key], None).unwrap_err().status(), 403);
}

#[test]
fn a_wrong_line_of_a_trusted_key_is_refused_with_403() {
    let leaves = Leaves::new(3);
    let mut checkpoint = checkpoint_of(&our_log(), leaves.head(3));
    let mut line = checkpoint.note().signatures()[0].clone();
    line.signature[0] ^= 1;
    checkpoint.add(line).unwrap();
    let request = AddCheckpoint::new(0, vec![], checkpoint).unwrap();
    assert_eq!(status(&request, None), 403);
    // Nor does another trusted key's right line make up for it.
    let second = Pair::log(ORIGIN, 2);
    let mut checkpoint = checkpoint_of(&our_log(), leaves.head(3));
    let mut line = checkpoint_of(&second, leaves.head(3)).note().signatures()[0].clone();
    line.signature[0] ^= 1;
    checkpoint.add(line).unwrap();
    let request = AddCheckpoint::new(0, vec![], checkpoint).unwrap();
    assert_eq!(status(&request, None), 200);
    let refusal = request.decide(&[our_log().key, second.key], None).unwrap_err();
    assert_eq!(refusal.status(), 403);
}

#[test]
fn an_old_size_over_the_checkpoints_is_refused_with_400() {
    let leaves = Leaves::new(9);
    let checkpoint = checkpoint_of(&our_log(), leaves.head(5));
    assert_eq!(
        AddCheckpoint::new(6, vec![], checkpoint.clone()),
        Err(Refusal::OldSize { old: 6, size: 5 })
    );
    let parsed = AddCheckpoint::parse(format!("old 6\n\n{checkpoint}").as_bytes()).unwrap();
    assert_eq!(status(&parsed, Some(leaves.head(6))), 400);
}

#[test]
fn an_old_size_that_is_not_the_stored_one_is_refused_with_409_and_the_stored_size() {
    let leaves = Leaves::new(9);
    for (old, stored, size) in [
        (0, Some(leaves.head(4)), "4\n"),
        (5, Some(leaves.head(4)), "4\n"),
        (5, None, "0\n"),
        (3, Some(leaves.head(9)), "9\n"),
    ] {
        let refusal = request(&leaves, old, 9)
            .decide(&[our_log().key], stored)
            .unwrap_err();
        assert_eq!(
            (refusal.status(), refusal.body()),
            (409, (SIZE_TYPE, size.to_owned()))
        );
    }
}

#[test]
fn a_rollback_is_never_cosigned() {
    let leaves = Leaves::new(9);
    for old in 0..=5 {
        assert_eq!(
            status(&request(&leaves, old, 5), Some(leaves.head(9))),
            409,
            "from {old}"
        );
    }
}

#[test]
fn two_histories_of_one_size_are_refused_with_409_and_no_size() {
    let leaves = Leaves::new(9);
    let fork = TreeHead {
        root: flip(&leaves.head(9).root, 0),
        size: 9,
    };
    let request = AddCheckpoint::new(9, vec![], checkpoint_of(&our_log(), fork)).unwrap();
    let refusal = request
        .decide(&[our_log().key], Some(leaves.head(9)))
        .unwrap_err();
    assert!(matches!(refusal, Refusal::Equivocation { size: 9, .. }));
    assert_eq!(
        (refusal.status(), refusal.body().0),
        (409, "text/plain; charset=utf-8")
    );
    // An empty log has one root as well.
    let empty = TreeHead { size: 0, ..fork };
    let request = AddCheckpoint::new(0, vec![], checkpoint_of(&our_log(), empty)).unwrap();
    assert_eq!(status(&request, None), 409);
    let request = AddCheckpoint::new(0, vec![], checkpoint_of(&our_log(), TreeHead::EMPTY)).unwrap();
    assert_eq!(status(&request, None), 200);
}

#[test]
fn a_proof_that_does_not_verify_is_refused_with_422() {
    let leaves = Leaves::new(9);
    let checkpoint = || checkpoint_of(&our_log(), leaves.head(9));
    let right = leaves.consistency(4, 9);
    let with = |old, proof: Vec<Sha256Digest>| AddCheckpoint::new(old, proof, checkpoint()).unwrap();
    assert_eq!(status(&with(4, right.clone()), Some(leaves.head(4))), 200);
    assert_eq!(status(&with(4, vec![]), Some(leaves.head(4))), 422);
    assert_eq!(status(&with(4, right[1..].to_vec()), Some(leaves.head(4))), 422);
    assert_eq!(
        status(
            &with(4, right.iter().map(|h| flip(h, 3)).collect()),
            Some(leaves.head(4))
        ),
        422
    );
    let fork = TreeHead {
        root: flip(&leaves.head(4).root, 0),
        size: 4,
    };
    assert_eq!(status(&with(4, right.clone()), Some(fork)), 422);
    // "The proof MUST be empty if the old size is zero."
    assert_eq!(status(&with(0, right.clone()), None), 422);
    assert_eq!(status(&with(9, right), Some(leaves.head(9))), 422);
}

#[test]
fn a_log_reads_the_answers() {
    let (checkpoint, line) = cosigned(&Leaves::new(9), 9);
    let stranger = "— stranger.example AAAAAAA=\n";
    for body in [line.to_string(), format!("{stranger}{line}{stranger}")] {
        let answer = read_answer(200, "text/plain", body.as_bytes(), &checkpoint, &witness().key);
        assert_eq!(
            answer,
            Ok(Answer::Cosigned {
                line: line.clone(),
                time: time()
            })
        );
    }
    let conflict = read_answer(409, SIZE_TYPE, b"7\n", &checkpoint, &witness().key);
    assert_eq!(conflict, Ok(Answer::Conflict { size: 7 }));
}

#[test]
fn answers_that_do_not_help_are_refused() {
    let leaves = Leaves::new(9);
    let (checkpoint, line) = cosigned(&leaves, 9);
    let (_, other) = cosigned(&leaves, 8);
    let read = |status, media_type: &str, body: &str| {
        read_answer(status, media_type, body.as_bytes(), &checkpoint, &witness().key).unwrap_err()
    };
    assert!(matches!(
        read(200, "", &other.to_string()),
        AnswerError::Note {
            source: NoteError::BadSignature { .. },
            ..
        }
    ));
    assert!(matches!(
        read(200, "", "— stranger.example AAAAAAA=\n"),
        AnswerError::Note {
            source: NoteError::NotSigned { .. },
            ..
        }
    ));
    assert!(matches!(
        read(200, "", ""),
        AnswerError::Note {
            source: NoteError::Malformed { .. },
            ..
        }
    ));
    assert!(matches!(
        read(200, "", line.to_string().trim_end()),
        AnswerError::Note { .. }
    ));
    for body in ["", "7", "07\n", "7\n\n", "-7\n", "x\n"] {
        assert!(
            matches!(read(409, SIZE_TYPE, body), AnswerError::Malformed { .. }),
            "{body:?}"
        );
    }
    assert!(matches!(
        read(409, "text/plain", "7\n"),
        AnswerError::Refused { status: 409, .. }
    ));
    for status in [100, 201, 301, 400, 403, 404, 422, 500, 503] {
        assert!(
            matches!(read(status, "text/plain", "no"), AnswerError::Refused { reason, .. } if reason == "no")
        );
    }
    assert!(matches!(
        read(200, "", &"a".repeat(100_000)),
        AnswerError::Malformed { .. }
    ));
}

#[test]
fn a_witness_that_signs_with_another_key_is_found_out() {
    let request = request(&Leaves::new(3), 0, 3);
    let accepted = request.decide(&[our_log().key], None).unwrap();
    let other = Pair::witness("w.example", 51);
    assert!(
        accepted
            .clone()
            .cosign(&witness().key, time(), |m| other.sign(m))
            .is_err()
    );
    assert!(
        accepted
            .cosign(&our_log().key, time(), |m| our_log().sign(m))
            .is_err()
    );
}
