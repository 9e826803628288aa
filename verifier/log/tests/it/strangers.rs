//! Whatever a stranger sends: no parser panics, and what parses is the one form of its value.

use assay_log::leaf::Leaf;
use assay_log::note::{Note, parse_signatures};
use assay_log::tile::{EntryBundle, Resource, decode_entries};
use assay_log::witness::{AddCheckpoint, read_answer};
use assay_log::{Checkpoint, LogProof, SignedCheckpoint, VerifierKey};
use proptest::prelude::*;

use crate::support::{Leaves, Pair, checkpoint_of, our_log, proof};

/// Feeds everything to every parser; whatever one accepts must format to the same bytes.
fn feed(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let same = |again: String| assert_eq!(again.as_bytes(), bytes);
    if let Ok(note) = Note::parse(bytes) {
        same(note.to_string());
    }
    if let Ok(checkpoint) = SignedCheckpoint::parse(bytes) {
        same(checkpoint.to_string());
    }
    if let Ok(request) = AddCheckpoint::parse(bytes) {
        same(request.to_string());
        let _ = request.decide(&[our_log().key], None);
    }
    if let Ok(file) = LogProof::parse(bytes) {
        same(file.to_string());
    }
    if let Ok(leaf) = Leaf::parse(bytes) {
        assert_eq!(leaf.to_bytes().unwrap(), bytes);
    }
    if let Ok(checkpoint) = Checkpoint::parse(&text) {
        assert_eq!(checkpoint.to_string(), text);
    }
    if let Ok(lines) = parse_signatures(&text) {
        assert_eq!(lines.iter().map(ToString::to_string).collect::<String>(), text);
    }
    if let Ok(key) = text.parse::<VerifierKey>() {
        assert_eq!(key.to_string(), text);
    }
    if let Ok(resource) = text.parse::<Resource>() {
        assert_eq!(resource.to_string(), text);
    }
    for width in [1, 2, 256] {
        let _ = decode_entries(EntryBundle::new(0, width).unwrap(), bytes);
    }
    let checkpoint = checkpoint_of(&our_log(), Leaves::new(2).head(2));
    for status in [200, 409] {
        let _ = read_answer(
            status,
            "text/x.tlog.size",
            bytes,
            &checkpoint,
            &Pair::witness("w", 4).key,
        );
    }
}

fn seeds() -> Vec<String> {
    let leaves = Leaves::new(9);
    let checkpoint = checkpoint_of(&our_log(), leaves.head(9));
    let request = AddCheckpoint::new(3, leaves.consistency(3, 9), checkpoint.clone()).unwrap();
    vec![
        proof(&leaves, 4, 9).to_string(),
        request.to_string(),
        checkpoint.to_string(),
        checkpoint.checkpoint().to_string(),
        checkpoint.note().signatures()[0].to_string(),
        our_log().key.to_string(),
        "tile/0/x001/x234/067.p/12".to_owned(),
        "12\n".to_owned(),
    ]
}

#[test]
fn the_seeds_parse() {
    for seed in seeds() {
        feed(seed.as_bytes());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        feed(&bytes);
    }

    #[test]
    fn any_lines_of_the_formats(lines in prop::collection::vec(prop::sample::select(vec![
        "", "— ", "— name AAAAAAA=", "old 1", "old 0", "index 0", "extra AAAA", "extra ", "c2sp.org/tlog-proof@v1", "0", "1", "origin", "\u{85}", "\r",
        "CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=",
    ]), 0..12), end in prop::bool::ANY) {
        feed(format!("{}{}", lines.join("\n"), if end { "\n" } else { "" }).as_bytes());
    }

    #[test]
    fn any_damage_to_what_is_right(seed in prop::sample::select(seeds()), edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0u8..3), 1..4)) {
        let mut bytes = seed.into_bytes();
        for (at, byte, kind) in edits {
            let at = at.index(bytes.len() + 1);
            match kind {
                0 => bytes.insert(at, byte),
                1 if at < bytes.len() => { bytes.remove(at); }
                _ if at < bytes.len() => bytes[at] = byte,
                _ => bytes.truncate(at / 2),
            }
        }
        feed(&bytes);
    }
}
