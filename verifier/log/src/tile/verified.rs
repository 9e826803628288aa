//! Tiles that were compared with a tree's root, and the nodes and entries under them.

use std::collections::{BTreeMap, BTreeSet};

use assay_schema::Sha256Digest;

use super::{EntryBundle, Tile, TileError, decode_entries, edge_tiles, hashes_of, subtree_hash};
use crate::merkle::{Node, NodeReader, TreeHead, leaf_hash};

/// Where tiles come from: a store, or a log's server.
pub trait TileReader {
    /// Why tiles cannot be had; a bad tile is one reason.
    type Error: From<TileError>;

    /// The bytes of each of these tiles, in this order.
    ///
    /// # Errors
    /// One of them cannot be had.
    fn tiles(&self, tiles: &[Tile]) -> Result<Vec<Vec<u8>>, Self::Error>;
}

/// Tiles whose every hash the tree's root commits to.
#[derive(Debug, Clone)]
pub struct VerifiedTiles {
    head: TreeHead,
    tiles: BTreeMap<Tile, Vec<Sha256Digest>>,
}

impl VerifiedTiles {
    /// The tiles to fetch for these nodes: those that hold them, those above up to the edge, and the edge, which leads to the root.
    ///
    /// # Errors
    /// A node that a tree of this size does not have.
    pub fn needed(size: u64, nodes: impl IntoIterator<Item = Node>) -> Result<BTreeSet<Tile>, TileError> {
        let mut needed: BTreeSet<Tile> = edge_tiles(size).into_iter().collect();
        for node in nodes {
            let mut tile = Tile::of_node(node, size).ok_or(TileError::NoSuchNode { node, size })?;
            while needed.insert(tile) && tile.is_full() {
                // A full tile is a hash one level up, in every tree (tlog-tiles, "Partial Tiles").
                tile = tile.parent(size).ok_or(TileError::NoSuchNode { node, size })?;
            }
        }
        Ok(needed)
    }

    /// Compares tiles with the root: the partial tiles together hash to it, and each full one to its place in the tile above.
    ///
    /// # Errors
    /// A tile of the edge or above another one is missing, has another length, or is not what the root commits to.
    pub fn check(
        head: TreeHead,
        tiles: impl IntoIterator<Item = (Tile, Vec<u8>)>,
    ) -> Result<Self, TileError> {
        let given = tiles
            .into_iter()
            .map(|(tile, bytes)| Ok((tile, hashes_of(tile, &bytes)?)))
            .collect::<Result<BTreeMap<_, _>, TileError>>()?;
        let mut verified = Self {
            head,
            tiles: BTreeMap::new(),
        };
        for tile in edge_tiles(head.size) {
            let hashes = given.get(&tile).ok_or_else(|| verified.missing(&tile))?;
            verified.tiles.insert(tile, hashes.clone());
        }
        let found = TreeHead::read(head.size, &verified)?.root;
        if found != head.root {
            return Err(TileError::Forged {
                resource: format!("tree of {} entries", head.size),
                expected: head.root,
                found,
            });
        }
        // From the top down, so that the tile above is known to be right.
        for (tile, hashes) in given.into_iter().rev().filter(|(tile, _)| tile.is_full()) {
            let parent = tile.parent(head.size).ok_or_else(|| verified.missing(&tile))?;
            let place = (tile.index() % 256) as usize;
            let expected = verified
                .tiles
                .get(&parent)
                .and_then(|above| above.get(place))
                .copied();
            let expected = expected.ok_or_else(|| verified.missing(&parent))?;
            let found = subtree_hash(&hashes).ok_or_else(|| verified.missing(&tile))?;
            if found != expected {
                return Err(TileError::Forged {
                    resource: tile.to_string(),
                    expected,
                    found,
                });
            }
            verified.tiles.insert(tile, hashes);
        }
        Ok(verified)
    }

    /// Fetches and checks what these nodes need.
    ///
    /// # Errors
    /// As [`Self::needed`] and [`Self::check`], and where the reader fails.
    pub fn read<R: TileReader>(
        reader: &R,
        head: TreeHead,
        nodes: impl IntoIterator<Item = Node>,
    ) -> Result<Self, R::Error> {
        let needed: Vec<Tile> = Self::needed(head.size, nodes)?.into_iter().collect();
        let bytes = reader.tiles(&needed)?;
        Ok(Self::check(head, needed.into_iter().zip(bytes))?)
    }

    /// The tree that these tiles belong to.
    pub fn head(&self) -> TreeHead {
        self.head
    }

    /// The hashes of a tile that is among the verified ones.
    pub fn hashes(&self, tile: &Tile) -> Option<&[Sha256Digest]> {
        self.tiles.get(tile).map(Vec::as_slice)
    }

    /// The entries of a bundle, each compared with its hash in the verified tile of the same place. The tile may be wider.
    ///
    /// # Errors
    /// The tile is not among the verified ones, the bundle is malformed, or an entry is not the one in the tree.
    pub fn entries<'a>(&self, bundle: EntryBundle, bytes: &'a [u8]) -> Result<Vec<&'a [u8]>, TileError> {
        let entries = decode_entries(bundle, bytes)?;
        let tile = Tile::of_hash(0, bundle.start(), self.head.size)
            .filter(|tile| tile.width() >= bundle.width())
            .unwrap_or(bundle.tile());
        let hashes = self.tiles.get(&tile).ok_or_else(|| self.missing(&tile))?;
        for (entry, expected) in entries.iter().zip(hashes) {
            let found = leaf_hash(entry);
            if found != *expected {
                return Err(TileError::Forged {
                    resource: bundle.to_string(),
                    expected: *expected,
                    found,
                });
            }
        }
        Ok(entries)
    }

    fn missing(&self, tile: &Tile) -> TileError {
        TileError::Missing {
            tile: tile.to_string(),
            size: self.head.size,
        }
    }
}

impl NodeReader for VerifiedTiles {
    type Error = TileError;

    fn node(&self, node: Node) -> Result<Sha256Digest, TileError> {
        let no_node = || TileError::NoSuchNode {
            node,
            size: self.head.size,
        };
        let tile = Tile::of_node(node, self.head.size).ok_or_else(no_node)?;
        let hashes = self.tiles.get(&tile).ok_or_else(|| self.missing(&tile))?;
        let height = node.level % 8;
        let from = ((node.index << height) % 256) as usize;
        let under = hashes.get(from..from + (1 << height)).ok_or_else(no_node)?;
        subtree_hash(under).ok_or_else(no_node)
    }
}
