//! The chunk index: its published vectors, and every wrong byte of its header.

use assay_schema::chunk::{count, encoded_len, range};
use assay_schema::limits::{CHUNK_SIZE, MAX_FILE_SIZE};
use assay_schema::{ChunkIndex, Sha256Digest};
use proptest::prelude::*;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

fn vectors() -> Value {
    serde_json::from_str(include_str!("../../vectors/chunk-index.json")).unwrap()
}

fn sha256(bytes: &[u8]) -> Sha256Digest {
    Sha256Digest::new(Sha256::digest(bytes).into())
}

#[test]
fn encodes_the_published_vectors() {
    for vector in vectors()["valid"].as_array().unwrap() {
        let size = vector["file_size"].as_u64().unwrap();
        let content: Vec<u8> = (0..size).map(|i| u8::try_from(i % 251).unwrap()).collect();
        assert_eq!(sha256(&content).to_hex(), vector["file_sha256"].as_str().unwrap());
        let digests = (0..count(size))
            .map(|i| {
                let (offset, len) = range(size, i).unwrap();
                sha256(&content[usize::try_from(offset).unwrap()..][..len as usize])
            })
            .collect();
        let index = ChunkIndex::new(size, digests).unwrap();
        let bytes = index.encode();
        assert_eq!(hex::encode(&bytes), vector["index"].as_str().unwrap());
        assert_eq!(sha256(&bytes).to_hex(), vector["index_sha256"].as_str().unwrap());
        assert_eq!(bytes.len() as u64, encoded_len(size));
        assert_eq!(ChunkIndex::decode(&bytes, size).unwrap(), index);
    }
}

#[test]
fn refuses_the_published_failures() {
    let vectors = vectors();
    let invalid = vectors["invalid"].as_array().unwrap();
    assert!(invalid.len() >= 12);
    for vector in invalid {
        let name = vector["name"].as_str().unwrap();
        let bytes = hex::decode(vector["index"].as_str().unwrap()).unwrap();
        assert!(
            ChunkIndex::decode(&bytes, vector["file_size"].as_u64().unwrap()).is_err(),
            "{name}"
        );
    }
}

#[test]
fn refuses_a_wrong_number_of_digests_and_a_file_that_is_too_large() {
    let one = Sha256Digest::EMPTY;
    assert!(ChunkIndex::new(u64::from(CHUNK_SIZE) + 1, vec![one]).is_err());
    assert!(ChunkIndex::new(u64::from(CHUNK_SIZE) + 1, vec![one; 3]).is_err());
    assert!(ChunkIndex::new(MAX_FILE_SIZE + 1, Vec::new()).is_err());
    // Nothing is allocated for a size that only a liar would name.
    assert!(ChunkIndex::decode(&[0; 24], u64::MAX).is_err());
}

#[test]
fn ranges_at_the_edges() {
    let c = u64::from(CHUNK_SIZE);
    assert_eq!(range(0, 0), None);
    assert_eq!(range(1, 0), Some((0, 1)));
    assert_eq!(range(c, 0), Some((0, CHUNK_SIZE)));
    assert_eq!(range(c, 1), None);
    assert_eq!(range(c + 1, 1), Some((c, 1)));
    assert_eq!(
        range(MAX_FILE_SIZE, count(MAX_FILE_SIZE) - 1),
        Some((MAX_FILE_SIZE - c, CHUNK_SIZE))
    );
    assert_eq!(range(u64::MAX, u64::MAX), None);
}

proptest! {
    #[test]
    fn ranges_tile_the_file(size in 0..40 * u64::from(CHUNK_SIZE)) {
        let mut at = 0;
        for i in 0..count(size) {
            let (offset, len) = range(size, i).unwrap();
            prop_assert_eq!(offset, at);
            prop_assert!((1..=CHUNK_SIZE).contains(&len));
            at += u64::from(len);
        }
        prop_assert_eq!(at, size);
        prop_assert_eq!(range(size, count(size)), None);
    }

    #[test]
    fn any_changed_byte_changes_or_breaks_the_index(seed in any::<[u8; 32]>(), at in any::<prop::sample::Index>(), flip in 1..=255u8) {
        let size = 2 * u64::from(CHUNK_SIZE) + 1;
        let index = ChunkIndex::new(size, vec![Sha256Digest::new(seed); 3]).unwrap();
        let mut bytes = index.encode();
        let at = at.index(bytes.len());
        bytes[at] ^= flip;
        match ChunkIndex::decode(&bytes, size) {
            Ok(other) => { prop_assert!(at >= 24); prop_assert_ne!(other, index); }
            Err(_) => prop_assert!(at < 24),
        }
    }

    #[test]
    fn strangers_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), size in any::<u64>()) {
        prop_assert!(ChunkIndex::decode(&bytes, size).is_err() || encoded_len(size) == bytes.len() as u64);
    }
}
