//! `assay-log`: notes, checkpoints, cosignatures, tiles, proofs.

use assay_log::checkpoint::{Checkpoint, Origin, SignedCheckpoint};
use assay_log::leaf::{Leaf, LeafKind};
use assay_log::merkle::{TreeHead, verify_consistency, verify_inclusion};
use assay_log::note::{KeyName, Note, VerifierKey, parse_signatures};
use assay_log::policy::LogPolicy;
use assay_log::proof::LogProof;
use assay_log::tile::{Edge, EntryBundle, Resource, Tile, VerifiedTiles, decode_entries, encode_entries};
use assay_log::witness::{AddCheckpoint, read_answer};
use assay_schema::canonical::read;
use assay_schema::limits::MAX_TRUST_TARGET;
use assay_schema::log::LogTrust;
use assay_schema::{Sha256Digest, canonical};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signer, SigningKey};
use jiff::Timestamp;
use serde_json::json;

use super::{sha256, text, texts};
use crate::target::{Form, Outcome, Target};

/// The targets of this area.
pub const TARGETS: &[Target] = &[
    Target {
        made: || {
            vec![
                checkpoint().to_string().into_bytes(),
                cosigned().to_string().into_bytes(),
            ]
        },
        words: WORDS,
        runs: 8_000,
        covers: &[
            "verifier/log/src/note/mod.rs Note::parse",
            "verifier/log/src/note/mod.rs parse_signatures",
            "verifier/log/src/checkpoint.rs SignedCheckpoint::parse",
            "verifier/log/src/checkpoint.rs Checkpoint::parse",
            "verifier/log/src/checkpoint.rs Origin::try_from",
        ],
        ..Target::new("log/note", Form::Text, note)
    },
    Target {
        made: keys,
        words: WORDS,
        covers: &["verifier/log/src/note/key.rs VerifierKey::from_str"],
        ..Target::new("log/key", Form::Text, key)
    },
    Target {
        made: proofs,
        words: WORDS,
        runs: 6_000,
        covers: &["verifier/log/src/proof.rs LogProof::parse"],
        ..Target::new("log/proof", Form::Text, proof)
    },
    Target {
        made: requests,
        words: WORDS,
        runs: 6_000,
        covers: &["verifier/log/src/witness.rs AddCheckpoint::parse"],
        ..Target::new("log/add-checkpoint", Form::Text, add_checkpoint)
    },
    Target {
        made: answers,
        words: WORDS,
        covers: &["verifier/log/src/witness.rs read_answer"],
        ..Target::new("log/answer", Form::Text, answer)
    },
    Target {
        made: || vec![leaf_bytes()],
        covers: &[
            "verifier/log/src/leaf.rs Leaf::parse",
            "verifier/log/src/leaf.rs Leaf::try_from",
        ],
        ..Target::new("log/leaf", Form::Json, leaf)
    },
    Target {
        made: || vec![trust()],
        words: &["witnesses", "threshold", "log"],
        covers: &["verifier/log/src/policy.rs LogPolicy::try_from"],
        ..Target::new("log/policy", Form::Json, policy)
    },
    Target {
        made: || {
            texts(&[
                "tile/0/x001/x234/067.p/112",
                "tile/entries/000",
                "tile/63/000.p/1",
                "tile/entries/x012/345",
            ])
        },
        words: &["tile/", "entries/", "x000/", ".p/", "000", "256", "255"],
        runs: 10_000,
        longest: 400,
        covers: &["verifier/log/src/tile/coordinates.rs Resource::from_str"],
        ..Target::new("log/path", Form::Text, path)
    },
    Target {
        made: || vec![entries(3), entries(1), entries(256)],
        covers: &["verifier/log/src/tile/entries.rs decode_entries"],
        ..Target::new("log/entries", Form::Binary, bundle)
    },
    Target {
        made: || [1_u64, 7, 300].map(tree).to_vec(),
        runs: 2_000,
        covers: &["verifier/log/src/tile/verified.rs VerifiedTiles::read"],
        ..Target::new("log/tiles", Form::Binary, tiles)
    },
    Target {
        made: || vec![vec![7; 32 * 12 + 16], inclusion_bytes()],
        ..Target::new("log/merkle", Form::Binary, merkle)
    },
];

const WORDS: &[&str] = &[
    "\u{2014} ",
    "log.example",
    "witness.example",
    "extra ",
    "index ",
    "old ",
    "c2sp.org/tlog-proof@v1",
    "AAAA",
    "=",
];

fn note(bytes: &[u8]) -> Outcome {
    let note = Outcome::of(Note::parse(bytes), |note| {
        assert_eq!(note.to_string().as_bytes(), bytes, "one form only");
        let lines: String = note.signatures().iter().map(ToString::to_string).collect();
        assert_eq!(
            parse_signatures(&lines).as_deref(),
            Ok(note.signatures()),
            "signature lines alone"
        );
        note.signatures().len().min(3)
    });
    let checkpoint = Outcome::of(SignedCheckpoint::parse(bytes), |signed| {
        let again = Checkpoint::parse(&signed.checkpoint().to_string());
        assert_eq!(again.as_ref(), Ok(signed.checkpoint()), "read back");
        let policy = LogPolicy::new(log_key(), None).expect("a policy");
        let accepted = policy.verify(&signed);
        if accepted.is_ok() {
            let known = [checkpoint(), cosigned()];
            assert!(
                known
                    .iter()
                    .any(|known| known.checkpoint() == signed.checkpoint()),
                "a signature over another text holds"
            );
        }
        (accepted.is_ok(), signed.checkpoint().extensions().len().min(2))
    });
    note.and(checkpoint)
}

/// A key as it is, and under the id that it should have.
fn key(bytes: &[u8]) -> Outcome {
    text(bytes, |key| exact_key(key).and(exact_key(&with_id(key))))
}

fn with_id(key: &str) -> String {
    let Some((name, (_, public))) = key
        .split_once('+')
        .and_then(|(name, rest)| Some((name, rest.split_once('+')?)))
    else {
        return String::new();
    };
    let decoded = STANDARD.decode(public).unwrap_or_default();
    let id = sha256(&[name.as_bytes(), b"\n", &decoded].concat()).to_hex();
    format!("{name}+{}+{public}", &id[..8])
}

fn exact_key(text: &str) -> Outcome {
    Outcome::of(text.parse::<VerifierKey>(), |key| {
        assert_eq!(key.to_string(), text, "one spelling only");
        key.kind()
    })
}

fn proof(bytes: &[u8]) -> Outcome {
    Outcome::of(LogProof::parse(bytes), |proof| {
        assert_eq!(proof.to_string().as_bytes(), bytes, "one form only");
        let policy = LogPolicy::new(log_key(), None).expect("a policy");
        let leaf = Leaf::parse(&leaf_bytes())
            .and_then(|leaf| leaf.hash())
            .expect("a leaf");
        let holds = proof.verify(&leaf, &policy);
        assert!(
            holds.is_err() || proof.index() == 0,
            "the leaf is proven elsewhere"
        );
        (holds.is_ok(), proof.extra().is_some())
    })
}

fn add_checkpoint(bytes: &[u8]) -> Outcome {
    Outcome::of(AddCheckpoint::parse(bytes), |request| {
        assert_eq!(request.to_string().as_bytes(), bytes, "one form only");
        let fresh = request.decide(&[log_key()], None);
        let stored = request.decide(&[log_key()], Some(head()));
        let class = |decided: Result<_, assay_log::witness::Refusal>| {
            decided.err().map(|refusal| Outcome::refused(refusal).class)
        };
        (class(fresh), class(stored))
    })
}

/// A digit for the status, and the body.
fn answer(bytes: &[u8]) -> Outcome {
    let (status, media_type) = match bytes.first() {
        Some(b'2') => (200, "text/plain"),
        Some(b'4') => (409, "text/x.tlog.size"),
        _ => (503, ""),
    };
    let body = bytes.get(1..).unwrap_or_default();
    let read = read_answer(status, media_type, body, &checkpoint(), &witness_key());
    Outcome::of(read, |answer| match answer {
        assay_log::witness::Answer::Cosigned { time, .. } => {
            assert_eq!(time, at(), "nobody cosigned at another time");
            0
        }
        assay_log::witness::Answer::Conflict { size } => {
            assert_eq!(format!("{size}\n").as_bytes(), body, "one form only");
            1
        }
    })
}

fn leaf(bytes: &[u8]) -> Outcome {
    Outcome::of(Leaf::parse(bytes), |leaf| {
        assert_eq!(
            leaf.to_bytes().expect("a leaf can be written"),
            bytes,
            "one form only"
        );
        leaf.kind()
    })
}

fn policy(bytes: &[u8]) -> Outcome {
    Outcome::of(read::<LogTrust>(bytes, MAX_TRUST_TARGET), |trust| {
        LogPolicy::try_from(&trust)
            .map(|policy| {
                let demanded = policy.witnesses().map_or(0, |witnesses| witnesses.threshold());
                assert_eq!(
                    demanded as u64,
                    u64::from(trust.threshold),
                    "the threshold that was asked for"
                );
                demanded.min(3)
            })
            .map_err(|refusal| Outcome::refused(refusal).class)
    })
}

fn path(bytes: &[u8]) -> Outcome {
    text(bytes, |path| {
        Outcome::of(path.parse::<Resource>(), |resource| {
            assert_eq!(resource.to_string(), path, "one spelling only");
            matches!(resource, Resource::Tile(_))
        })
    })
}

/// The width, and the bytes of a bundle.
fn bundle(bytes: &[u8]) -> Outcome {
    let (width, bytes) = bytes.split_first().unwrap_or((&0, &[]));
    let bundle = EntryBundle::new(0, u16::from(*width) + 1).expect("1 to 256 are widths");
    Outcome::of(decode_entries(bundle, bytes), |entries| {
        assert_eq!(
            entries.len(),
            usize::from(bundle.width()),
            "as many as it is wide"
        );
        assert_eq!(
            encode_entries(entries).expect("what was read can be written"),
            bytes,
            "one form only"
        );
    })
}

/// A tree's size and root, and the hashes of its edge.
fn tiles(bytes: &[u8]) -> Outcome {
    let Some((size, rest)) = bytes.split_first_chunk::<8>() else {
        return Outcome::refused("too short");
    };
    let Some((root, mut rest)) = rest.split_first_chunk::<32>() else {
        return Outcome::refused("too short");
    };
    let head = TreeHead {
        size: u64::from_le_bytes(*size),
        root: Sha256Digest::new(*root),
    };
    let needed = match VerifiedTiles::needed(head.size, []) {
        Ok(needed) => needed,
        Err(error) => return Outcome::refused(error),
    };
    let mut given: Vec<(Tile, Vec<u8>)> = Vec::new();
    for tile in needed {
        let (hashes, more) = rest.split_at(rest.len().min(usize::from(tile.width()) * 32));
        given.push((tile, hashes.to_vec()));
        rest = more;
    }
    let edge = Edge::new(head, given.clone());
    let checked = VerifiedTiles::check(head, given);
    assert_eq!(edge.is_ok(), checked.is_ok(), "{edge:?} {checked:?}");
    Outcome::of(checked, |tiles| tiles.head().size.checked_ilog2())
}

/// Sizes, an index, and hashes.
fn merkle(bytes: &[u8]) -> Outcome {
    let (numbers, rest) = bytes.split_at(bytes.len().min(16));
    let number = |at: usize| {
        let eight = numbers.get(at..at + 8).and_then(|eight| eight.try_into().ok());
        eight.map_or(0, u64::from_le_bytes)
    };
    let (old, new) = (number(0), number(8));
    let (hashes, _) = rest.as_chunks::<32>();
    let mut hashes = hashes.iter().map(|hash| Sha256Digest::new(*hash));
    let roots = [hashes.next(), hashes.next()].map(|root| root.unwrap_or(Sha256Digest::EMPTY));
    let proof: Vec<_> = hashes.collect();
    let [old_head, new_head] = [(old, roots[0]), (new, roots[1])].map(|(size, root)| TreeHead { size, root });
    let consistent = Outcome::of(verify_consistency(&old_head, &new_head, &proof), |()| {
        old.cmp(&new)
    });
    consistent.and(Outcome::of(
        verify_inclusion(&roots[0], old, &new_head, &proof),
        |()| (),
    ))
}

fn signing(byte: u8) -> SigningKey {
    SigningKey::from_bytes(&[byte; 32])
}

fn name(text: &str) -> KeyName {
    KeyName::new(text).expect("a key's name")
}

fn log_key() -> VerifierKey {
    VerifierKey::log(name("log.example"), &signing(1).verifying_key().to_bytes()).expect("a key")
}

fn witness_key() -> VerifierKey {
    VerifierKey::witness(name("witness.example"), &signing(2).verifying_key().to_bytes()).expect("a key")
}

fn sign(byte: u8) -> impl FnOnce(&[u8]) -> Result<[u8; 64], std::convert::Infallible> {
    move |message| Ok(signing(byte).sign(message).to_bytes())
}

fn at() -> Timestamp {
    Timestamp::from_second(1_795_000_000).expect("a time")
}

/// The log's only entry is a leaf.
fn head() -> TreeHead {
    let root = Leaf::parse(&leaf_bytes())
        .and_then(|leaf| leaf.hash())
        .expect("a leaf");
    TreeHead { size: 1, root }
}

fn leaf_bytes() -> Vec<u8> {
    let leaf = Leaf::new(sha256(b"root"), LeafKind::Snapshot, 7, sha256(b"snapshot")).expect("a leaf");
    leaf.to_bytes().expect("a leaf")
}

fn checkpoint() -> SignedCheckpoint {
    let origin = Origin::try_from("log.example".to_owned()).expect("an origin");
    let checkpoint = Checkpoint::new(origin, head()).expect("a checkpoint");
    SignedCheckpoint::sign(checkpoint, &log_key(), sign(1)).expect("signed")
}

fn cosignature() -> assay_log::note::SignatureLine {
    let request = AddCheckpoint::new(0, Vec::new(), checkpoint()).expect("a request");
    let accepted = request.decide(&[log_key()], None).expect("accepted");
    accepted.cosign(&witness_key(), at(), sign(2)).expect("cosigned")
}

fn cosigned() -> SignedCheckpoint {
    let mut checkpoint = checkpoint();
    checkpoint.add(cosignature()).expect("room");
    checkpoint
}

fn proofs() -> Vec<Vec<u8>> {
    let proof = |hashes, extra| {
        LogProof::new(0, hashes, cosigned(), extra)
            .expect("a proof")
            .to_string()
            .into_bytes()
    };
    vec![
        proof(Vec::new(), None),
        proof(vec![sha256(b"1"), sha256(b"2")], Some(b"extra".to_vec())),
    ]
}

fn requests() -> Vec<Vec<u8>> {
    let request = |old, hashes| {
        AddCheckpoint::new(old, hashes, checkpoint())
            .expect("a request")
            .to_string()
            .into_bytes()
    };
    vec![
        request(0, Vec::new()),
        request(1, Vec::new()),
        request(1, vec![sha256(b"1")]),
    ]
}

fn answers() -> Vec<Vec<u8>> {
    texts(&[&format!("2{}", cosignature()), "417\n", "5no"])
}

fn trust() -> Vec<u8> {
    let witness = witness_key().to_string();
    canonical::document(
        &json!({"v": 1, "log": log_key().to_string(), "witnesses": [witness], "threshold": 1}),
    )
    .expect("a document")
}

fn entries(count: u16) -> Vec<u8> {
    let entries: Vec<Vec<u8>> = (0..count)
        .map(|n| leaf_bytes().repeat(usize::from(n % 3)))
        .collect();
    let mut bytes = vec![(count - 1) as u8];
    bytes.extend(encode_entries(entries.iter().map(Vec::as_slice)).expect("entries"));
    bytes
}

fn tree(size: u64) -> Vec<u8> {
    let mut edge = Edge::empty();
    for n in 0..size {
        edge.push(sha256(&n.to_le_bytes())).expect("room");
    }
    let head = edge.head().expect("a tree");
    let mut bytes = size.to_le_bytes().to_vec();
    bytes.extend_from_slice(head.root.as_bytes());
    let tiles = edge.take_tiles();
    for tile in VerifiedTiles::needed(size, []).expect("a size") {
        bytes.extend_from_slice(&tiles[&tile]);
    }
    bytes
}

/// The second of two leaves.
fn inclusion_bytes() -> Vec<u8> {
    let (left, right) = (sha256(b"left"), sha256(b"right"));
    let root = assay_log::merkle::node_hash(&left, &right);
    let numbers = [1_u64, 2].map(u64::to_le_bytes).concat();
    [
        numbers.as_slice(),
        right.as_bytes(),
        root.as_bytes(),
        left.as_bytes(),
    ]
    .concat()
}

/// One of each kind; any 1,312 bytes are an ML-DSA-44 key.
fn keys() -> Vec<Vec<u8>> {
    let post_quantum = format!(
        "pq.example+00000000+{}",
        STANDARD.encode([&[6][..], &[7; 1312]].concat())
    );
    texts(&[
        &log_key().to_string(),
        &witness_key().to_string(),
        &with_id(&post_quantum),
    ])
}
