//! Making proofs: first the nodes that a proof is made of, so that a driver can fetch all of them at once, then the proof.

use assay_schema::Sha256Digest;
use assay_schema::limits::MAX_LOG_SIZE;

use super::{MerkleError, Node, TreeHead, join, range};

/// Where the hashes of perfect subtrees come from.
pub trait NodeReader {
    /// Why a node cannot be had.
    type Error;

    /// The hash of a perfect subtree.
    ///
    /// # Errors
    /// The reader does not have it.
    fn node(&self, node: Node) -> Result<Sha256Digest, Self::Error>;
}

/// The hashes that a proof consists of, each as the perfect subtrees under it, left to right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan(Vec<Vec<Node>>);

impl Plan {
    /// The inclusion proof of entry `index` in a tree of `size` entries (RFC 9162 2.1.3.1).
    ///
    /// # Errors
    /// The tree has no such entry, or is larger than a log may be.
    pub fn inclusion(index: u64, size: u64) -> Result<Self, MerkleError> {
        refuse_large(size)?;
        if index >= size {
            return Err(MerkleError::Index { index, size });
        }
        let (mut from, mut to) = (0, size);
        let mut elements = Vec::new();
        while to - from > 1 {
            let middle = from + split(to - from);
            if index < middle {
                elements.push(range(middle, to));
                to = middle;
            } else {
                elements.push(range(from, middle));
                from = middle;
            }
        }
        elements.reverse();
        Ok(Self(elements))
    }

    /// The proof that a tree of `old` entries is a prefix of one of `new` (RFC 9162 2.1.4.1); empty where there is nothing to prove.
    ///
    /// # Errors
    /// The tree would shrink, or is larger than a log may be.
    pub fn consistency(old: u64, new: u64) -> Result<Self, MerkleError> {
        refuse_large(new)?;
        if old > new {
            return Err(MerkleError::Shrunk { old, new });
        }
        if old == 0 || old == new {
            return Ok(Self(Vec::new()));
        }
        let (mut from, mut to) = (0, new);
        let mut elements = Vec::new();
        while to != old {
            let middle = from + split(to - from);
            if old <= middle {
                elements.push(range(middle, to));
                to = middle;
            } else {
                elements.push(range(from, middle));
                from = middle;
            }
        }
        // The verifier knows the root of the whole older tree, but of no other subtree that ends with it.
        if from != 0 {
            elements.push(range(from, to));
        }
        elements.reverse();
        Ok(Self(elements))
    }

    /// The nodes to fetch.
    pub fn nodes(&self) -> impl Iterator<Item = Node> + '_ {
        self.0.iter().flatten().copied()
    }

    /// The proof.
    ///
    /// # Errors
    /// The reader lacks a node.
    pub fn prove<R: NodeReader>(&self, reader: &R) -> Result<Vec<Sha256Digest>, R::Error> {
        self.0.iter().map(|nodes| hash_of(nodes, reader)).collect()
    }
}

impl TreeHead {
    /// The head of the tree of `size` entries that a reader holds. The nodes to fetch are [`peaks`](super::peaks).
    ///
    /// # Errors
    /// The reader lacks a node.
    pub fn read<R: NodeReader>(size: u64, reader: &R) -> Result<Self, R::Error> {
        let root = hash_of(&super::peaks(size), reader)?;
        Ok(Self { size, root })
    }
}

fn hash_of<R: NodeReader>(nodes: &[Node], reader: &R) -> Result<Sha256Digest, R::Error> {
    let hashes = nodes
        .iter()
        .map(|node| reader.node(*node))
        .collect::<Result<Vec<_>, _>>()?;
    Ok(join(&hashes).unwrap_or(TreeHead::EMPTY.root))
}

/// The largest power of two below `count`, which is at least 2.
fn split(count: u64) -> u64 {
    1 << (count - 1).checked_ilog2().unwrap_or(0)
}

fn refuse_large(size: u64) -> Result<(), MerkleError> {
    match size <= MAX_LOG_SIZE {
        true => Ok(()),
        false => Err(MerkleError::TooLarge {
            limit: MAX_LOG_SIZE,
            found: size,
        }),
    }
}
