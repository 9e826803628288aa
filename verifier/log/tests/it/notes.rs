//! Signed notes and checkpoints: published ones, another implementation's, and every way to write them wrongly.

use assay_log::note::{KeyName, Note, NoteError, SignatureType, SigningError};
use assay_log::{Checkpoint, LogPolicy, Origin, SignedCheckpoint, VerifierKey};
use assay_schema::limits::{MAX_LOG_SIZE, MAX_NOTE, MAX_NOTE_SIGNATURES};
use signed_note::{StandardVerifier, VerifierList};

use crate::support::{Leaves, ORIGIN, Pair, checkpoint_of, our_log, policy};

/// The key and note of Go's `sumdb/note` documentation.
const NEUMANN: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
const NEUMANN_NOTE: &str = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n\n\
    — PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";

/// A checkpoint of Go's checksum database.
const GOSUM: &str = "sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8";
const GOSUM_NOTE: &str = "go.sum database tree\n65209736\n5+uGFjx6xBZG8ip1+wi77v+grwbhhukIrxEUS8PXvRo=\n\n\
    — sum.golang.org Az3grnbssgK7ubgFX36gVETtNv0U23qxyAhAMai2QUfeGa3nB/akvkMdlUErfcZz7l/R3cVtYspg3dxXABkGZZKdsQ8=\n";

fn key(text: &str) -> VerifierKey {
    text.parse().unwrap()
}

fn malformed(note: &str) -> bool {
    matches!(Note::parse(note.as_bytes()), Err(NoteError::Malformed { .. }))
}

#[test]
fn published_notes_verify_and_round_trip() {
    for (vkey, text) in [(NEUMANN, NEUMANN_NOTE), (GOSUM, GOSUM_NOTE)] {
        let note = Note::parse(text.as_bytes()).unwrap();
        note.verify(&key(vkey)).unwrap();
        assert_eq!(note.to_string(), text);
        assert_eq!(key(vkey).to_string(), vkey);
    }
    let checkpoint = SignedCheckpoint::parse(GOSUM_NOTE.as_bytes()).unwrap();
    assert_eq!(checkpoint.checkpoint().head().size, 65_209_736);
    assert_eq!(checkpoint.checkpoint().origin().as_str(), "go.sum database tree");
}

#[test]
fn keys_and_notes_are_those_of_another_implementation() {
    let pair = our_log();
    let text = "a\n\nb\n".to_owned();
    let mut note = Note::new(text.clone()).unwrap();
    note.sign(&pair.key, |m| pair.sign(m)).unwrap();
    let theirs = signed_note::Note::from_bytes(note.to_string().as_bytes()).unwrap();
    let verifier = StandardVerifier::new(&pair.key.to_string()).unwrap();
    let (verified, unverified) = theirs
        .verify(&VerifierList::new(vec![Box::new(verifier)]))
        .unwrap();
    assert_eq!((verified.len(), unverified.len()), (1, 0));
    assert_eq!(theirs.to_bytes(), note.to_string().into_bytes());
    assert_eq!(theirs.text(), text.as_bytes());
    let head = Leaves::new(5).head(5);
    let ours = checkpoint_of(&pair, head);
    let theirs = tlog_tiles::Checkpoint::from_bytes(ours.note().text().as_bytes()).unwrap();
    assert_eq!(
        (theirs.origin(), theirs.size(), theirs.hash().0),
        (ORIGIN, 5, *head.root.as_bytes())
    );
}

#[test]
fn a_changed_text_is_refused() {
    let changed = NEUMANN_NOTE.replace("cryptography", "Cryptography");
    let note = Note::parse(changed.as_bytes()).unwrap();
    assert!(matches!(
        note.verify(&key(NEUMANN)),
        Err(NoteError::BadSignature { .. })
    ));
}

#[test]
fn a_signature_by_nobody_known_is_refused() {
    let note = Note::parse(NEUMANN_NOTE.as_bytes()).unwrap();
    assert!(matches!(
        note.verify(&our_log().key),
        Err(NoteError::NotSigned { .. })
    ));
    // The same name with another id, and the same id with another name, are other keys.
    let same_name = Pair::log("PeterNeumann", 9).key;
    assert!(matches!(
        note.verify(&same_name),
        Err(NoteError::NotSigned { .. })
    ));
    let renamed = NEUMANN_NOTE.replace("— PeterNeumann", "— PaulNeumann");
    let renamed = Note::parse(renamed.as_bytes()).unwrap();
    assert!(matches!(
        renamed.verify(&key(NEUMANN)),
        Err(NoteError::NotSigned { .. })
    ));
}

#[test]
fn a_wrong_line_beside_a_right_one_is_refused() {
    let mut note = Note::parse(NEUMANN_NOTE.as_bytes()).unwrap();
    let mut line = note.signatures()[0].clone();
    note.add(line.clone()).unwrap();
    assert_eq!(note.signatures().len(), 1, "the same line twice is one");
    line.signature[5] ^= 1;
    note.add(line).unwrap();
    assert!(matches!(
        note.verify(&key(NEUMANN)),
        Err(NoteError::BadSignature { .. })
    ));
}

#[test]
fn a_witness_key_does_not_sign_notes() {
    let note = Note::parse(NEUMANN_NOTE.as_bytes()).unwrap();
    let witness = Pair::witness("example.com/witness", 3);
    assert!(matches!(
        note.verify(&witness.key),
        Err(NoteError::WrongType {
            found: SignatureType::CosignatureEd25519,
            ..
        })
    ));
    let mut note = Note::new("text\n".into()).unwrap();
    let refused = note.sign(&witness.key, |m| witness.sign(m));
    assert!(matches!(
        refused,
        Err(SigningError::Note(NoteError::WrongType { .. }))
    ));
}

#[test]
fn a_signer_with_another_key_is_found_out() {
    let (pair, other) = (our_log(), Pair::log(ORIGIN, 2));
    let mut note = Note::new("text\n".into()).unwrap();
    let refused = note.sign(&pair.key, |m| other.sign(m));
    assert!(matches!(
        refused,
        Err(SigningError::Note(NoteError::BadSignature { .. }))
    ));
    assert_eq!(
        note.sign(&pair.key, |_| Err("token removed")),
        Err(SigningError::Signer("token removed"))
    );
    assert!(note.signatures().is_empty());
}

#[test]
fn a_second_form_of_a_note_is_refused() {
    let good = "text\n\n— name AAAAAAA=\n";
    Note::parse(good.as_bytes()).unwrap();
    for bad in [
        "",
        "\n",
        "\n\n",
        "text",
        "text\n",
        "text\n\n",
        "text\n\n\n",
        "text\n— name AAAAAAA=\n",
        "text\n\n— name AAAAAAA=",
        "text\n\n— name AAAAAAA=\n\n",
        "text\n\n— name AAAAAAA=\n\nmore\n",
        "text\r\n\r\n— name AAAAAAA=\r\n",
        "te\txt\n\n— name AAAAAAA=\n",
        "te\0xt\n\n— name AAAAAAA=\n",
        "text\n\n- name AAAAAAA=\n",
        "text\n\n—name AAAAAAA=\n",
        "text\n\n—  AAAAAAA=\n",
        "text\n\n— name  AAAAAAA=\n",
        "text\n\n— name AAAAAAA= \n",
        "text\n\n— name\n",
        "text\n\n— name \n",
        "text\n\n— na+me AAAAAAA=\n",
        "text\n\n— na\u{a0}me AAAAAAA=\n",
        "text\n\n— na\u{85}me AAAAAAA=\n",
        "text\n\n— name AAAAAA==\n",
        "text\n\n— name AAAAAAB=\n",
        "text\n\n— name AAAAAAA\n",
        "text\n\n— name AAAA_AA=\n",
        "text\n\n— name AAAAAAA=\nmore\n",
    ] {
        assert!(malformed(bad), "{bad:?}");
    }
    assert!(matches!(
        Note::parse(b"te\xffxt\n\n\xe2\x80\x94 name AAAAAAA=\n"),
        Err(NoteError::Malformed { .. })
    ));
}

#[test]
fn huge_notes_are_refused() {
    let lines = |n: usize| format!("text\n\n{}", "— name AAAAAAA=\n".repeat(n));
    Note::parse(lines(MAX_NOTE_SIGNATURES).as_bytes()).unwrap();
    let refused = Note::parse(lines(MAX_NOTE_SIGNATURES + 1).as_bytes());
    assert_eq!(
        refused,
        Err(NoteError::TooManySignatures {
            limit: MAX_NOTE_SIGNATURES
        })
    );
    let long = format!("{}\n\n— name AAAAAAA=\n", "a".repeat(MAX_NOTE));
    assert!(matches!(
        Note::parse(long.as_bytes()),
        Err(NoteError::TooLong { .. })
    ));
    assert!(matches!(Note::new(long), Err(NoteError::TooLong { .. })));
    // signed-note: verifiers MUST accept 16 signatures; of nearly 5 kB, says the specification.
    let line = format!("— name {}\n", "A".repeat(6668));
    Note::parse(format!("text\n\n{}", line.repeat(16)).as_bytes()).unwrap();
}

#[test]
fn a_full_note_takes_no_more_signatures() {
    let pair = our_log();
    let mut note =
        Note::parse(format!("text\n\n{}", "— name AAAAAAA=\n".repeat(MAX_NOTE_SIGNATURES)).as_bytes())
            .unwrap();
    let before = note.clone();
    let refused = note.sign(&pair.key, |m| pair.sign(m));
    assert!(matches!(
        refused,
        Err(SigningError::Note(NoteError::TooManySignatures { .. }))
    ));
    assert_eq!(note, before);
}

#[test]
fn every_mangled_key_is_refused() {
    for good in [
        NEUMANN,
        "remora.n621.de+da77ade7+BOvN63jn/bLvkieywe8R6UYAtVtNbZpXh34x7onlmtw2",
    ] {
        assert_eq!(key(good).to_string(), good);
        for from in 0..good.len() {
            for to in from..=good.len() {
                let part = &good[from..to];
                assert!(part == good || part.parse::<VerifierKey>().is_err(), "{part}");
            }
        }
        for at in 0..good.len() {
            let mut bytes = good.as_bytes().to_vec();
            bytes[at] += 1;
            assert!(
                String::from_utf8(bytes).unwrap().parse::<VerifierKey>().is_err(),
                "byte {at}"
            );
        }
        assert!(good.to_uppercase().parse::<VerifierKey>().is_err());
    }
    // ECDSA and RFC 6962 keys are no business of ours.
    let rekor = "rekor.sigstore.dev+c0d23d6a+AjBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABNhtmPtrWm3U1eQXBogSMdGvXwBcK5AW5i0hrZLOC96l+smGNM7nwZ4QvFK/4sueRoVj//QP22Ni4Qt9DPfkWLc=";
    assert!(matches!(rekor.parse::<VerifierKey>(), Err(NoteError::Key { .. })));
    assert!("a".repeat(5000).parse::<VerifierKey>().is_err());
}

#[test]
fn a_weak_key_is_refused() {
    // The neutral element, a point of small order, and the neutral element in an encoding that is not reduced.
    let (mut one, mut unreduced) = ([0; 32], [0xff; 32]);
    one[0] = 1;
    unreduced[0] = 0xee;
    unreduced[31] = 0x7f;
    for weak in [one, [0; 32], unreduced] {
        let name = || KeyName::new(ORIGIN).unwrap();
        assert!(matches!(
            VerifierKey::log(name(), &weak),
            Err(NoteError::Key { .. })
        ));
        assert!(matches!(
            VerifierKey::witness(name(), &weak),
            Err(NoteError::Key { .. })
        ));
    }
}

#[test]
fn a_second_encoding_of_a_key_is_refused() {
    // RFC 8032 5.1.3: y = p + n for the points of full order whose y is small enough to have two encodings.
    let mut tried = 0;
    for n in 2..19 {
        let mut bytes = [0xff; 32];
        (bytes[0], bytes[31]) = (0xed + n, 0x7f);
        let usable = ed25519_dalek::VerifyingKey::from_bytes(&bytes).is_ok_and(|key| !key.is_weak());
        if usable {
            tried += 1;
            let refused = VerifierKey::witness(KeyName::new(ORIGIN).unwrap(), &bytes);
            assert!(matches!(refused, Err(NoteError::Key { .. })), "p + {n}");
        }
    }
    assert!(tried > 0);
}

#[test]
fn names_that_would_break_a_line_are_refused() {
    for bad in [
        "",
        "a b",
        "a+b",
        "a\nb",
        "a\u{2003}b",
        "a\u{7f}b",
        "a\tb",
        &"a".repeat(256),
    ] {
        assert!(matches!(KeyName::new(bad), Err(NoteError::Key { .. })), "{bad:?}");
    }
    for bad in ["", "a\nb", "a\0b", &"a".repeat(256)] {
        assert!(Origin::try_from(bad.to_owned()).is_err(), "{bad:?}");
    }
}

#[test]
fn a_second_form_of_a_checkpoint_is_refused() {
    let root = "CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=";
    for good in [
        format!("o\n0\n{root}\n"),
        format!("o\n{MAX_LOG_SIZE}\n{root}\n"),
        format!("a b+c\n7\n{root}\next\nmore\n"),
    ] {
        assert_eq!(Checkpoint::parse(&good).unwrap().to_string(), good);
    }
    for bad in [
        String::new(),
        "o\n".into(),
        "o\n1\n".into(),
        format!("o\n1\n{root}"),
        format!("\n1\n{root}\n"),
        format!("o\n01\n{root}\n"),
        format!("o\n+1\n{root}\n"),
        format!("o\n-1\n{root}\n"),
        format!("o\n1 \n{root}\n"),
        format!("o\n\n{root}\n"),
        format!("o\n{}\n{root}\n", MAX_LOG_SIZE + 1),
        format!("o\n1\n{}\n", root.replace('=', "")),
        format!("o\n1\n{}\n", root.replace("2I=", "2J=")),
        "o\n1\nAAAA\n".into(),
        format!("o\n1\n{root}\n\n"),
        format!("o\n1\n{root}\next\n\nmore\n"),
        format!("o\n1\n{root}\next"),
        format!("o\n1\n{root}\ne\rxt\n"),
        format!("o\r\n1\r\n{root}\r\n"),
    ] {
        assert!(Checkpoint::parse(&bad).is_err(), "{bad:?}");
    }
}

#[test]
fn another_logs_checkpoint_is_refused() {
    let other = Pair::log("example.com/other", 1);
    let head = Leaves::new(3).head(3);
    let refused = policy().verify(&checkpoint_of(&other, head));
    assert!(matches!(
        refused,
        Err(assay_log::policy::PolicyError::OtherLog { .. })
    ));
    // The pinned origin, signed by a key of its name that is not the pinned one.
    let forged = checkpoint_of(&Pair::log(ORIGIN, 2), head);
    assert!(matches!(
        policy().verify(&forged),
        Err(assay_log::policy::PolicyError::Note(NoteError::NotSigned { .. }))
    ));
    assert_eq!(
        policy().verify(&checkpoint_of(&our_log(), head)).unwrap().head(),
        head
    );
}

#[test]
fn a_witness_key_is_no_log() {
    assert!(LogPolicy::new(Pair::witness(ORIGIN, 1).key, None).is_err());
}
