//! The right edge of a tree: all that is needed to grow it and to know its root.

use assay_schema::Sha256Digest;
use assay_schema::limits::MAX_LOG_SIZE;

use super::{MerkleError, Node, NodeReader, TreeHead, join, node_hash, peaks};

/// The perfect subtrees of a tree, one for each bit of its size.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Frontier {
    size: u64,
    /// Largest and leftmost first.
    peaks: Vec<Sha256Digest>,
}

impl Frontier {
    /// The tree without leaves.
    pub fn empty() -> Self {
        Self::default()
    }

    /// A stored frontier: the hashes of [`peaks`] of `size`, in their order.
    ///
    /// # Errors
    /// Another number of peaks than the size demands, or too large a tree.
    pub fn new(size: u64, hashes: Vec<Sha256Digest>) -> Result<Self, MerkleError> {
        if size > MAX_LOG_SIZE {
            return Err(MerkleError::TooLarge {
                limit: MAX_LOG_SIZE,
                found: size,
            });
        }
        let expected = size.count_ones() as usize;
        match hashes.len() == expected {
            true => Ok(Self { size, peaks: hashes }),
            false => Err(MerkleError::Peaks {
                size,
                expected,
                found: hashes.len(),
            }),
        }
    }

    /// The frontier of the tree of `size` leaves that a reader holds.
    ///
    /// # Errors
    /// The reader lacks a node.
    pub fn read<R: NodeReader>(size: u64, reader: &R) -> Result<Self, R::Error> {
        let peaks = peaks(size)
            .into_iter()
            .map(|node| reader.node(node))
            .collect::<Result<_, _>>()?;
        Ok(Self { size, peaks })
    }

    /// The number of leaves.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The hashes of the perfect subtrees, largest first.
    pub fn peaks(&self) -> &[Sha256Digest] {
        &self.peaks
    }

    /// Size and root.
    pub fn head(&self) -> TreeHead {
        TreeHead {
            size: self.size,
            root: join(&self.peaks).unwrap_or(TreeHead::EMPTY.root),
        }
    }

    /// Appends a leaf, and hands over every perfect subtree that it completes, the leaf itself first.
    ///
    /// # Errors
    /// The log is full; nothing was appended.
    pub fn push(
        &mut self,
        leaf: Sha256Digest,
        mut made: impl FnMut(Node, Sha256Digest),
    ) -> Result<(), MerkleError> {
        if self.size >= MAX_LOG_SIZE {
            return Err(MerkleError::TooLarge {
                limit: MAX_LOG_SIZE,
                found: self.size.saturating_add(1),
            });
        }
        let mut node = Node {
            level: 0,
            index: self.size,
        };
        let mut hash = leaf;
        made(node, hash);
        while node.index & 1 == 1 {
            let Some(left) = self.peaks.pop() else { break };
            hash = node_hash(&left, &hash);
            node = Node {
                level: node.level + 1,
                index: node.index >> 1,
            };
            made(node, hash);
        }
        self.peaks.push(hash);
        self.size += 1;
        Ok(())
    }
}
