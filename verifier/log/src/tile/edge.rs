//! The right edge of a log in tiles: what a sequencer holds to append entries and to know which tiles arise.

use std::collections::BTreeMap;

use assay_schema::Sha256Digest;
use assay_schema::limits::{LOG_TILE_WIDTH, MAX_LOG_SIZE};

use super::{Tile, TileError, VerifiedTiles, bytes_of, edge_tiles, subtree_hash};
use crate::merkle::{MerkleError, Node, NodeReader, TreeHead};

/// The hashes of each level's partial tile.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Edge {
    size: u64,
    /// By tile level; 0 to 255 hashes each.
    levels: Vec<Vec<Sha256Digest>>,
    /// Full tiles since [`Self::take_tiles`].
    full: BTreeMap<Tile, Vec<u8>>,
    /// The size at the last [`Self::take_tiles`].
    taken: u64,
}

impl Edge {
    /// The log without entries.
    pub fn empty() -> Self {
        Self::default()
    }

    /// The edge of a stored log, from its [`edge_tiles`], which are compared with the root.
    ///
    /// # Errors
    /// A tile is missing, has another length, or is not what the root commits to.
    pub fn new(head: TreeHead, tiles: impl IntoIterator<Item = (Tile, Vec<u8>)>) -> Result<Self, TileError> {
        let edge = edge_tiles(head.size);
        let tiles = tiles.into_iter().filter(|(tile, _)| edge.contains(tile));
        let verified = VerifiedTiles::check(head, tiles)?;
        let mut levels = Vec::new();
        for tile in &edge {
            let level = usize::from(tile.level());
            levels.resize_with(levels.len().max(level + 1), Vec::new);
            if let (Some(to), Some(from)) = (levels.get_mut(level), verified.hashes(tile)) {
                to.extend_from_slice(from);
            }
        }
        Ok(Self {
            size: head.size,
            levels,
            full: BTreeMap::new(),
            taken: head.size,
        })
    }

    /// The number of entries.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Appends the hash of an entry.
    ///
    /// # Errors
    /// The log is full; nothing was appended.
    pub fn push(&mut self, leaf: Sha256Digest) -> Result<(), TileError> {
        if self.size >= MAX_LOG_SIZE {
            return Err(MerkleError::TooLarge {
                limit: MAX_LOG_SIZE,
                found: self.size.saturating_add(1),
            }
            .into());
        }
        let mut hash = leaf;
        self.size += 1;
        for level in 0..=u8::MAX {
            self.levels
                .resize_with(self.levels.len().max(usize::from(level) + 1), Vec::new);
            let Some(hashes) = self.levels.get_mut(usize::from(level)) else {
                break;
            };
            hashes.push(hash);
            if hashes.len() < usize::from(LOG_TILE_WIDTH) {
                break;
            }
            let hashes = std::mem::take(hashes);
            let index = (self.size >> (8 * (u32::from(level) + 1))).saturating_sub(1);
            self.full
                .insert(Tile::new(level, index, LOG_TILE_WIDTH)?, bytes_of(&hashes));
            let Some(up) = subtree_hash(&hashes) else { break };
            hash = up;
        }
        Ok(())
    }

    /// Size and root.
    ///
    /// # Errors
    /// None for an edge that was built here; a missing node otherwise.
    pub fn head(&self) -> Result<TreeHead, TileError> {
        TreeHead::read(self.size, self)
    }

    /// The tiles that arose since the last call, full ones and the partial ones of the present size, ready to be stored.
    pub fn take_tiles(&mut self) -> BTreeMap<Tile, Vec<u8>> {
        let mut tiles = std::mem::take(&mut self.full);
        for tile in super::new_tiles(self.taken, self.size)
            .into_iter()
            .filter(|tile| !tile.is_full())
        {
            if let Some(hashes) = self.levels.get(usize::from(tile.level())) {
                tiles.insert(tile, bytes_of(hashes));
            }
        }
        self.taken = self.size;
        tiles
    }
}

impl NodeReader for Edge {
    type Error = TileError;

    /// Knows the nodes of the partial tiles only.
    fn node(&self, node: Node) -> Result<Sha256Digest, TileError> {
        let no_node = || TileError::NoSuchNode {
            node,
            size: self.size,
        };
        let tile = Tile::of_node(node, self.size)
            .filter(|tile| !tile.is_full())
            .ok_or_else(no_node)?;
        let hashes = self.levels.get(usize::from(tile.level())).ok_or_else(no_node)?;
        let from = ((node.index << (node.level % 8)) % 256) as usize;
        let under = hashes
            .get(from..from + (1 << (node.level % 8)))
            .ok_or_else(no_node)?;
        subtree_hash(under).ok_or_else(no_node)
    }
}
