//! Cosignatures and k of n: a real witness's, and every way to make one count for more than it is.

use assay_log::cosignature::{self, message};
use assay_log::merkle::TreeHead;
use assay_log::note::{NoteError, SignatureLine, SignatureType};
use assay_log::policy::PolicyError;
use assay_log::witness::AddCheckpoint;
use assay_log::{LogPolicy, SignedCheckpoint, VerifierKey, WitnessPolicy};
use jiff::Timestamp;

use crate::support::{Leaves, Pair, checkpoint_of, our_log};

/// A checkpoint of a public staging log, cosigned by witnesses of the public network.
const REAL: &str = "arche2025h1.staging.ct.transparency.dev\n1432088532\nU7WM79jrzyhGZ5/GUBTpM7NzwdyfFx61t3RovgcC4Ro=\n\n\
    — arche2025h1.staging.ct.transparency.dev zTM8sQAAAZ5W0WdjBAMARjBEAiBjW5IQf9pvsYLfQFX6hoGREPMHbdQ3urbllzalApkptQIgIpwtEroeW2BXaHAI4kJXFbon5Ch9MNL5zRNZ55lvGt0=\n\
    — arche2025h1.staging.ct.transparency.dev ui8GwCF1+kWqZrxGdhj4aX3gcw7XUlXQQabg/27lefwhUkzbC3NygNI75MdhL1bfTW9g8Ei59RA23oHP7Ry1k3ZFWwQ=\n\
    — transparency.dev/DEV:witness-little-garden 2AQqhwAAAABqEiEgzgFIqqhbUoDwjMWE6UP8nd8/KYTzwZ2rhIgcqoXHAwVkjZr4AscylP3v7sEodkRAErumC2q44vdgJY096st5BQ==\n\
    — witness1.smartit.nu/witness1 pIyCDwAAAABqEiEghIp82KWebrw7/oHQwlTAm3g2RKS4+eebl8eO0WH+/iEcxZ75W3u5hNI7TOQtmJbqmNWVuE0tgh0XwzdZsDsUAQ==\n\
    — remora.n621.de 2net5wAAAABqEiEgPlfF3V06o0Y+fHM+J5J9s27wgxxcOVSpZ/2g/KSiXCg9DEZI+aVCIobWX9sXTynk5XeU/zZ0WBxtqB0DrAWfBw==\n\
    — witness.stagemole.eu Z/euoAAAAABqEiEgw0i+7g2ENfDAWHmtRzCfKTHSDwYDJA2NmKeGi9Y8FtEyOUvVr+AJmIY/2TUFucgKi7lI7cUiOvKFYe/TmN9DAg==\n";
const REMORA: &str = "remora.n621.de+da77ade7+BOvN63jn/bLvkieywe8R6UYAtVtNbZpXh34x7onlmtw2";

fn second(s: i64) -> Timestamp {
    Timestamp::from_second(s).unwrap()
}

fn witness(n: u8) -> Pair {
    Pair::witness(&format!("w{n}.example"), 100 + n)
}

fn head() -> TreeHead {
    Leaves::new(9).head(9)
}

/// What an honest witness that sees the log for the first time answers.
fn line(witness: &Pair, checkpoint: &SignedCheckpoint, time: i64) -> SignatureLine {
    let request = AddCheckpoint::new(0, vec![], checkpoint.clone()).unwrap();
    let accepted = request.decide(&[our_log().key], None).unwrap();
    accepted
        .cosign(&witness.key, second(time), |m| witness.sign(m))
        .unwrap()
}

fn cosigned(times: &[(u8, i64)]) -> SignedCheckpoint {
    let mut checkpoint = checkpoint_of(&our_log(), head());
    for (n, time) in times {
        let line = line(&witness(*n), &checkpoint, *time);
        checkpoint.add(line).unwrap();
    }
    checkpoint
}

fn k_of(k: usize, witnesses: std::ops::RangeInclusive<u8>) -> LogPolicy {
    let keys = witnesses.map(|n| witness(n).key).collect();
    LogPolicy::new(our_log().key, Some(WitnessPolicy::new(k, keys).unwrap())).unwrap()
}

/// A key of the type that Assay knows and cannot check.
fn ml_dsa() -> VerifierKey {
    use base64::Engine as _;
    let public = [5u8; 1312];
    let mut id = b"pq.example\n\x06".to_vec();
    id.extend_from_slice(&public);
    let id = hex::encode(&assay_provenance::sha256(&id).as_bytes()[..4]);
    let encoded = base64::prelude::BASE64_STANDARD.encode([&[6][..], &public].concat());
    format!("pq.example+{id}+{encoded}").parse().unwrap()
}

#[test]
fn a_real_witnesss_cosignature_verifies() {
    let checkpoint = SignedCheckpoint::parse(REAL.as_bytes()).unwrap();
    assert_eq!(checkpoint.to_string(), REAL);
    let key: VerifierKey = REMORA.parse().unwrap();
    let time = cosignature::verify(checkpoint.note(), &key).unwrap();
    assert_eq!(time, Some(second(0x6a12_2120)));
    let later = REAL.replace("2net5wAAAABqEiEg", "2net5wAAAABqEiEh");
    let later = SignedCheckpoint::parse(later.as_bytes()).unwrap();
    assert!(matches!(
        cosignature::verify(later.note(), &key),
        Err(NoteError::BadSignature { .. })
    ));
}

#[test]
fn the_message_is_the_specifications_example() {
    let text = "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n";
    let expected = format!("cosignature/v1\ntime 1679315147\n{text}");
    assert_eq!(message(second(1_679_315_147), text), expected.into_bytes());
}

#[test]
fn the_time_is_the_kth_largest() {
    let checkpoint = cosigned(&[(1, 100), (2, 300), (3, 200)]);
    for (k, time) in [(1, 300), (2, 200), (3, 100)] {
        let verified = k_of(k, 1..=4).verify(&checkpoint).unwrap();
        assert_eq!(verified.witnessed().unwrap().time, second(time), "{k} of 4");
        assert_eq!(verified.witnessed().unwrap().cosigners.len(), 3);
    }
    let refused = k_of(4, 1..=4).verify(&checkpoint);
    assert!(
        matches!(refused, Err(PolicyError::TooFewWitnesses { expected: 4, found, .. }) if found.len() == 3)
    );
}

#[test]
fn one_witness_cannot_push_the_time_of_two_forward() {
    let checkpoint = cosigned(&[(1, 4_000_000_000), (2, 200)]);
    assert_eq!(
        k_of(2, 1..=3)
            .verify(&checkpoint)
            .unwrap()
            .witnessed()
            .unwrap()
            .time,
        second(200)
    );
}

#[test]
fn one_witness_that_cosigns_twice_counts_once_with_its_last_time() {
    let checkpoint = cosigned(&[(1, 100), (1, 150)]);
    assert_eq!(
        k_of(1, 1..=2)
            .verify(&checkpoint)
            .unwrap()
            .witnessed()
            .unwrap()
            .time,
        second(150)
    );
    assert!(matches!(
        k_of(2, 1..=2).verify(&checkpoint),
        Err(PolicyError::TooFewWitnesses { .. })
    ));
}

#[test]
fn strangers_do_not_count() {
    let checkpoint = cosigned(&[(1, 100), (7, 100), (8, 100)]);
    assert!(matches!(
        k_of(2, 1..=3).verify(&checkpoint),
        Err(PolicyError::TooFewWitnesses { .. })
    ));
    k_of(1, 1..=3).verify(&checkpoint).unwrap();
}

#[test]
fn one_key_under_two_names_is_refused() {
    let (first, second) = (
        Pair::witness("a.example", 7).key,
        Pair::witness("b.example", 7).key,
    );
    let refused = WitnessPolicy::new(2, vec![first.clone(), second]);
    assert!(matches!(refused, Err(PolicyError::SameKey { .. })));
    let same_name = Pair::witness("a.example", 8).key;
    assert!(matches!(
        WitnessPolicy::new(2, vec![first, same_name]),
        Err(PolicyError::SameKey { .. })
    ));
}

#[test]
fn a_log_that_witnesses_itself_is_refused() {
    let own = Pair::witness("w.example", 1).key;
    let refused = LogPolicy::new(our_log().key, Some(WitnessPolicy::new(1, vec![own]).unwrap()));
    assert!(matches!(refused, Err(PolicyError::SameKey { .. })));
}

#[test]
fn impossible_policies_are_refused() {
    let keys = |n: u8| (0..n).map(|n| witness(n).key).collect::<Vec<_>>();
    assert!(matches!(
        WitnessPolicy::new(0, keys(2)),
        Err(PolicyError::Threshold { .. })
    ));
    assert!(matches!(
        WitnessPolicy::new(3, keys(2)),
        Err(PolicyError::Threshold { .. })
    ));
    assert!(matches!(
        WitnessPolicy::new(1, vec![]),
        Err(PolicyError::Threshold { .. })
    ));
    assert!(matches!(
        WitnessPolicy::new(1, keys(33)),
        Err(PolicyError::TooManyWitnesses { .. })
    ));
    assert!(matches!(
        WitnessPolicy::new(1, vec![our_log().key]),
        Err(PolicyError::Note(NoteError::WrongType { .. }))
    ));
}

#[test]
fn a_logs_signature_does_not_pass_for_a_cosignature() {
    // The same key as log and as witness: type and id differ, and so do the messages.
    let twin = Pair::witness(crate::support::ORIGIN, 1);
    let mut checkpoint = checkpoint_of(&our_log(), head());
    assert_eq!(cosignature::verify(checkpoint.note(), &twin.key), Ok(None));
    let mut line = checkpoint.note().signatures()[0].clone();
    line.id = twin.key.id();
    line.signature.splice(0..0, 100u64.to_be_bytes());
    checkpoint.add(line).unwrap();
    assert!(matches!(
        cosignature::verify(checkpoint.note(), &twin.key),
        Err(NoteError::BadSignature { .. })
    ));
}

#[test]
fn a_cosignature_of_another_checkpoint_is_refused() {
    let other = checkpoint_of(&our_log(), Leaves::new(8).head(8));
    let mut checkpoint = checkpoint_of(&our_log(), head());
    checkpoint.add(line(&witness(1), &other, 100)).unwrap();
    let refused = k_of(1, 1..=2).verify(&checkpoint);
    assert!(matches!(
        refused,
        Err(PolicyError::Note(NoteError::BadSignature { .. }))
    ));
}

#[test]
fn times_that_are_none_are_refused() {
    let checkpoint = checkpoint_of(&our_log(), head());
    let good = line(&witness(1), &checkpoint, 100);
    for seconds in [0, 101, i64::MAX as u64, 1 << 63, u64::MAX] {
        let mut line = good.clone();
        line.signature.splice(0..8, u64::to_be_bytes(seconds));
        let refused = cosignature::verify_line(checkpoint.note(), &witness(1).key, &line);
        assert!(
            matches!(refused, Err(NoteError::BadSignature { .. })),
            "{seconds}"
        );
    }
    for cut in [0, 8, 71] {
        let mut line = good.clone();
        line.signature.truncate(cut);
        assert!(cosignature::verify_line(checkpoint.note(), &witness(1).key, &line).is_err());
    }
    for time in [0, -1] {
        let request = AddCheckpoint::new(0, vec![], checkpoint.clone()).unwrap();
        let accepted = request.decide(&[our_log().key], None).unwrap();
        assert!(
            accepted
                .cosign(&witness(1).key, second(time), |m| witness(1).sign(m))
                .is_err()
        );
    }
}

#[test]
fn a_time_of_zero_is_refused_though_the_witness_signed_it() {
    let mut checkpoint = checkpoint_of(&our_log(), head());
    let (witness, zero) = (witness(1), second(0));
    let signature = witness.sign(&message(zero, checkpoint.note().text())).unwrap();
    let signature = [&[0; 8][..], &signature].concat();
    let (name, id) = (witness.key.name().clone(), witness.key.id());
    checkpoint.add(SignatureLine { name, id, signature }).unwrap();
    let refused = k_of(1, 1..=2).verify(&checkpoint);
    assert!(matches!(
        refused,
        Err(PolicyError::Note(NoteError::BadSignature { .. }))
    ));
}

#[test]
fn an_ml_dsa_witness_is_known_and_never_counts() {
    let key = ml_dsa();
    assert_eq!(key.kind(), SignatureType::CosignatureMlDsa44);
    let policy = WitnessPolicy::new(2, vec![witness(1).key, key.clone()]).unwrap();
    assert_eq!(
        policy.unsupported().map(|n| n.as_str()).collect::<Vec<_>>(),
        ["pq.example"]
    );
    let mut checkpoint = cosigned(&[(1, 100)]);
    let signature = [&100u64.to_be_bytes()[..], &[9; 2420]].concat();
    checkpoint
        .add(SignatureLine {
            name: key.name().clone(),
            id: key.id(),
            signature,
        })
        .unwrap();
    let refused = policy.evaluate(checkpoint.note()).unwrap_err();
    let PolicyError::TooFewWitnesses {
        found, unsupported, ..
    } = &refused
    else {
        panic!("{refused}")
    };
    assert_eq!((found.len(), unsupported.len()), (1, 1));
    assert!(
        refused
            .to_string()
            .contains("cannot check the ML-DSA-44 cosignatures of 1 (pq.example)"),
        "{refused}"
    );
    assert!(matches!(
        cosignature::verify(checkpoint.note(), &key),
        Err(NoteError::WrongType { .. })
    ));
}
