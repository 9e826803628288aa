//! `tlog-proof` files: round trips, and proofs of something else.

use assay_log::merkle::{MerkleError, TreeHead};
use assay_log::note::NoteError;
use assay_log::policy::PolicyError;
use assay_log::proof::ProofError;
use assay_log::{LogPolicy, LogProof, WitnessPolicy};
use assay_schema::limits::{MAX_LOG_PROOF, MAX_LOG_PROOF_EXTRA, MAX_LOG_PROOF_FILE, MAX_LOG_SIZE};

use crate::support::{Leaves, ORIGIN, Pair, checkpoint_of, flip, our_log, policy, proof};

#[test]
fn every_entry_of_every_small_log_is_proven_by_a_file() {
    let leaves = Leaves::new(40);
    for size in 1..=40 {
        for index in 0..size {
            let file = proof(&leaves, index, size).to_string();
            let parsed = LogProof::parse(file.as_bytes()).unwrap();
            assert_eq!(parsed.to_string(), file);
            let verified = parsed.verify(&leaves.0[index as usize], &policy()).unwrap();
            assert_eq!(
                (verified.head(), verified.origin().as_str()),
                (leaves.head(size), ORIGIN)
            );
            assert!(verified.witnessed().is_none());
        }
    }
}

#[test]
fn extra_data_round_trips_and_proves_nothing() {
    let leaves = Leaves::new(5);
    let checkpoint = checkpoint_of(&our_log(), leaves.head(5));
    for extra in [
        vec![],
        b"extra information".to_vec(),
        vec![0xff; MAX_LOG_PROOF_EXTRA],
    ] {
        let made = LogProof::new(2, leaves.inclusion(2, 5), checkpoint.clone(), Some(extra.clone())).unwrap();
        let parsed = LogProof::parse(made.to_string().as_bytes()).unwrap();
        assert_eq!((parsed.extra(), parsed.index()), (Some(&extra[..]), 2));
        assert_eq!(parsed, made);
        parsed.verify(&leaves.0[2], &policy()).unwrap();
    }
    let too_much = LogProof::new(2, vec![], checkpoint, Some(vec![0; MAX_LOG_PROOF_EXTRA + 1]));
    assert!(matches!(too_much, Err(ProofError::TooLong { .. })));
}

#[test]
fn a_proof_of_another_entry_is_refused() {
    let leaves = Leaves::new(9);
    let parsed = proof(&leaves, 4, 9);
    let refused = parsed.verify(&leaves.0[5], &policy());
    assert!(matches!(
        refused,
        Err(ProofError::Merkle(MerkleError::Root { .. }))
    ));
    assert!(parsed.verify(&flip(&leaves.0[4], 17), &policy()).is_err());
    let elsewhere = parsed.to_string().replacen("index 4", "index 5", 1);
    assert!(
        LogProof::parse(elsewhere.as_bytes())
            .unwrap()
            .verify(&leaves.0[4], &policy())
            .is_err()
    );
    let outside = parsed.to_string().replacen("index 4", "index 9", 1);
    let refused = LogProof::parse(outside.as_bytes())
        .unwrap()
        .verify(&leaves.0[4], &policy());
    assert!(matches!(
        refused,
        Err(ProofError::Merkle(MerkleError::Index { index: 9, size: 9 }))
    ));
}

#[test]
fn a_proof_into_a_log_that_nobody_pinned_is_refused() {
    let leaves = Leaves::new(9);
    let other = Pair::log("example.com/other", 9);
    let made = LogProof::new(
        4,
        leaves.inclusion(4, 9),
        checkpoint_of(&other, leaves.head(9)),
        None,
    )
    .unwrap();
    let refused = made.verify(&leaves.0[4], &policy());
    assert!(matches!(
        refused,
        Err(ProofError::Policy(PolicyError::OtherLog { .. }))
    ));
    let forged = Pair::log(ORIGIN, 9);
    let made = LogProof::new(
        4,
        leaves.inclusion(4, 9),
        checkpoint_of(&forged, leaves.head(9)),
        None,
    )
    .unwrap();
    let refused = made.verify(&leaves.0[4], &policy());
    assert!(matches!(
        refused,
        Err(ProofError::Policy(PolicyError::Note(NoteError::NotSigned { .. })))
    ));
}

#[test]
fn a_proof_without_the_witnesses_that_the_owner_demands_is_refused() {
    let leaves = Leaves::new(9);
    let witnesses = WitnessPolicy::new(1, vec![Pair::witness("w.example", 3).key]).unwrap();
    let strict = LogPolicy::new(our_log().key, Some(witnesses)).unwrap();
    let refused = proof(&leaves, 4, 9).verify(&leaves.0[4], &strict);
    assert!(matches!(
        refused,
        Err(ProofError::Policy(PolicyError::TooFewWitnesses { .. }))
    ));
}

#[test]
fn a_changed_bit_anywhere_in_the_file_proves_nothing_else() {
    let leaves = Leaves::new(9);
    let file = proof(&leaves, 4, 9).to_string().into_bytes();
    for at in 0..file.len() {
        for bit in 0..8 {
            let mut changed = file.clone();
            changed[at] ^= 1 << bit;
            let outcome = LogProof::parse(&changed).and_then(|p| p.verify(&leaves.0[4], &policy()));
            assert!(outcome.is_err(), "byte {at}, bit {bit}");
        }
    }
}

#[test]
fn a_second_form_of_a_proof_is_refused() {
    let leaves = Leaves::new(9);
    let good = proof(&leaves, 4, 9).to_string();
    for bad in [
        String::new(),
        good.replacen("@v1", "@v2", 1),
        good.replacen("\nindex", "\n\nindex", 1),
        good.replacen("index 4", "index 04", 1),
        good.replacen("index 4", "index  4", 1),
        good.replacen("index 4", "index -4", 1),
        good.replacen("index 4\n", "", 1),
        good.replacen("index 4", "index 4\nextra AAAA", 1),
        good.replacen("index 4", "extra A\nindex 4", 1),
        good.replacen("index 4", "extra\nindex 4", 1),
        good.replacen("index 4", "extra AAAA\nextra AAAA\nindex 4", 1),
        good.replacen("=\n\nexample", "=\nexample", 1),
        good.replacen("=\n\nexample", "=\n\n\nexample", 1),
        good.replacen("index 4", "index 9007199254740991", 1),
        good.trim_end().to_owned(),
        format!("{good}\n"),
        format!(" {good}"),
        good.replace('\n', "\r\n"),
        good.replacen(
            "index 4\n",
            &format!(
                "index 4\n{}",
                "CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n".repeat(MAX_LOG_PROOF)
            ),
            1,
        ),
        "a".repeat(MAX_LOG_PROOF_FILE + 1),
    ] {
        assert!(LogProof::parse(bad.as_bytes()).is_err(), "{bad:?}");
    }
    let checkpoint = checkpoint_of(&our_log(), TreeHead::EMPTY);
    assert!(LogProof::new(MAX_LOG_SIZE, vec![], checkpoint, None).is_err());
}
