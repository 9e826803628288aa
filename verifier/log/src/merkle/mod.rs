//! The Merkle tree of RFC 6962 section 2.1 and RFC 9162 section 2.1, over SHA-256.

mod frontier;
mod prove;
mod verify;

use assay_provenance::Sha256;
use assay_schema::Sha256Digest;
use serde::{Deserialize, Serialize};

pub use frontier::Frontier;
pub use prove::{NodeReader, Plan};
pub use verify::{verify_consistency, verify_inclusion};

/// A tree's size and root.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TreeHead {
    /// The number of leaves.
    pub size: u64,
    /// The Merkle tree hash.
    pub root: Sha256Digest,
}

impl TreeHead {
    /// The tree without leaves (RFC 9162 2.1.1: the hash of no bytes).
    pub const EMPTY: Self = Self {
        size: 0,
        root: Sha256Digest::EMPTY,
    };
}

/// A perfect subtree: the 2^`level` leaves from `index` * 2^`level`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Node {
    /// The height: 0 is a leaf.
    pub level: u8,
    /// The place among the perfect subtrees of this height.
    pub index: u64,
}

/// A proof that does not prove, or one that nobody can make.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MerkleError {
    /// An entry that a tree of this size does not have.
    #[error(
        "log: expected an entry below the tree's size {size}, found index {index}; ask for a proof in a larger tree"
    )]
    Index {
        /// The entry's index.
        index: u64,
        /// The tree's size.
        size: u64,
    },
    /// A tree that is smaller than the one that it should contain.
    #[error(
        "log: expected a tree of at least {old} entries, found {new}; a log only grows, ask for a newer checkpoint"
    )]
    Shrunk {
        /// The older size.
        old: u64,
        /// The newer size.
        new: u64,
    },
    /// Larger than any log that Assay follows.
    #[error("log: expected a tree of at most {limit} entries, found {found}")]
    TooLarge {
        /// The limit.
        limit: u64,
        /// The size.
        found: u64,
    },
    /// More or fewer hashes than the sizes demand.
    #[error(
        "log: {proof} proof: expected as many hashes as the tree's shape demands, found {found}; fetch the proof again"
    )]
    Length {
        /// "inclusion" or "consistency".
        proof: &'static str,
        /// The number of hashes.
        found: usize,
    },
    /// The hashes lead elsewhere.
    #[error(
        "log: {proof} proof: expected root {expected} at size {size}, found {found}; the proof, the entry or the log is not \
         what it claims to be: fetch the proof again, and report the log if that repeats"
    )]
    Root {
        /// "inclusion" or "consistency".
        proof: &'static str,
        /// The tree's size.
        size: u64,
        /// The root that was to be reached.
        expected: Sha256Digest,
        /// The root that the hashes lead to.
        found: Sha256Digest,
    },
    /// A frontier whose peaks are not those of its size.
    #[error("log: expected {expected} peaks for a tree of {size} entries, found {found}")]
    Peaks {
        /// The tree's size.
        size: u64,
        /// How many bits of the size are set.
        expected: usize,
        /// How many there are.
        found: usize,
    },
}

/// The hash of an entry: SHA-256(0x00 || entry), RFC 9162 2.1.1.
pub fn leaf_hash(entry: &[u8]) -> Sha256Digest {
    let mut hash = Sha256::new();
    hash.update(&[0x00]);
    hash.update(entry);
    hash.finalize()
}

/// The hash of two subtrees: SHA-256(0x01 || left || right), RFC 9162 2.1.1.
pub fn node_hash(left: &Sha256Digest, right: &Sha256Digest) -> Sha256Digest {
    let mut bytes = [1; 65];
    let (prefix, rest) = bytes.split_at_mut(33);
    for (to, from) in prefix.iter_mut().skip(1).zip(left.as_bytes()) {
        *to = *from;
    }
    rest.copy_from_slice(right.as_bytes());
    assay_provenance::sha256(&bytes)
}

/// The perfect subtrees that a tree of `size` leaves consists of, largest and leftmost first.
pub fn peaks(size: u64) -> Vec<Node> {
    range(0, size)
}

/// The perfect subtrees of the leaves `from..to`, where `from` is a multiple of a power of two that is not below the count.
fn range(mut from: u64, to: u64) -> Vec<Node> {
    let mut nodes = Vec::new();
    while let Some(level) = to.checked_sub(from).and_then(u64::checked_ilog2) {
        nodes.push(Node {
            level: level as u8,
            index: from >> level,
        });
        from += 1 << level;
    }
    nodes
}

/// The hash of neighbouring perfect subtrees of falling size; `None` of none.
fn join(peaks: &[Sha256Digest]) -> Option<Sha256Digest> {
    peaks
        .iter()
        .rev()
        .copied()
        .reduce(|right, left| node_hash(&left, &right))
}
