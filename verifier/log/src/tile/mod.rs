//! Tiled logs: the tree as immutable resources (c2sp.org/tlog-tiles).

mod coordinates;
mod edge;
mod entries;
mod verified;

use std::fmt;

use assay_schema::Sha256Digest;
use assay_schema::limits::{LOG_TILE_BYTES, LOG_TILE_WIDTH};

use crate::merkle::{MerkleError, Node, node_hash};

pub use coordinates::{EntryBundle, Resource, Tile};
pub use edge::Edge;
pub use entries::{decode_entries, encode_entries};
pub use verified::{TileReader, VerifiedTiles};

/// A path that is no resource of a log, or bytes that are not that resource.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TileError {
    /// Not a path of tlog-tiles.
    #[error(
        "log: expected tile/<level>/<index>[.p/<width>] or tile/entries/<index>[.p/<width>] as tlog-tiles writes them, found {found:?}"
    )]
    Path {
        /// The beginning of the path.
        found: String,
    },
    /// Coordinates that no log can have.
    #[error(
        "log: expected a tile of a level up to 63 and 1 to 256 wide, below the largest log, found level {level}, index {index}, width {width}"
    )]
    Coordinates {
        /// The level.
        level: u8,
        /// The index.
        index: u64,
        /// The width.
        width: u16,
    },
    /// A tile or bundle of another length than its width demands.
    #[error("log: {resource}: expected {expected}, found {found}; fetch it again")]
    Length {
        /// Its path.
        resource: String,
        /// What its width demands.
        expected: String,
        /// What is there.
        found: String,
    },
    /// An entry that is longer than its length field can say.
    #[error("log: expected entries of at most {limit} bytes, found {found}; log its digest instead")]
    EntryTooLong {
        /// The limit.
        limit: usize,
        /// The length.
        found: usize,
    },
    /// A tile that was needed and is not there.
    #[error(
        "log: expected {tile} of a tree of {size} entries, found nothing; fetch it, or the full tile in its place"
    )]
    Missing {
        /// Its path.
        tile: String,
        /// The tree's size.
        size: u64,
    },
    /// A node that a tree of this size does not have.
    #[error("log: expected a node of a tree of {size} entries, found level {}, index {}", .node.level, .node.index)]
    NoSuchNode {
        /// The node.
        node: Node,
        /// The tree's size.
        size: u64,
    },
    /// Bytes that are not what the tree's root commits to.
    #[error(
        "log: {resource}: expected hash {expected}, found {found}; it was damaged or forged: fetch it again, and report the log if that repeats"
    )]
    Forged {
        /// The path.
        resource: String,
        /// What the tree commits to.
        expected: Sha256Digest,
        /// What the bytes hash to.
        found: Sha256Digest,
    },
    /// A tree that cannot be.
    #[error(transparent)]
    Merkle(#[from] MerkleError),
}

/// The hash of a perfect subtree from the hashes of its leaves, whose number must be a power of two.
fn subtree_hash(hashes: &[Sha256Digest]) -> Option<Sha256Digest> {
    if !hashes.len().is_power_of_two() {
        return None;
    }
    let mut layer = hashes.to_vec();
    while layer.len() > 1 {
        layer = layer
            .as_chunks::<2>()
            .0
            .iter()
            .map(|[left, right]| node_hash(left, right))
            .collect();
    }
    layer.first().copied()
}

/// The 32-byte hashes of a tile's bytes, which must be as many as the tile is wide.
fn hashes_of(tile: Tile, bytes: &[u8]) -> Result<Vec<Sha256Digest>, TileError> {
    let expected = usize::from(tile.width()) * 32;
    match bytes.as_chunks::<32>() {
        (hashes, []) if bytes.len() == expected => {
            Ok(hashes.iter().copied().map(Sha256Digest::new).collect())
        }
        _ => Err(length(
            &tile,
            format!("{expected} bytes"),
            format!("{} bytes", bytes.len()),
        )),
    }
}

fn bytes_of(hashes: &[Sha256Digest]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(LOG_TILE_BYTES);
    for hash in hashes {
        bytes.extend_from_slice(hash.as_bytes());
    }
    bytes
}

fn length(resource: &impl fmt::Display, expected: String, found: String) -> TileError {
    TileError::Length {
        resource: resource.to_string(),
        expected,
        found,
    }
}

/// Hashes at a tile level in a tree of `size` entries: floor(size / 256^level).
fn count(level: u8, size: u64) -> u64 {
    size.checked_shr(8 * u32::from(level)).unwrap_or(0)
}

/// Tile levels that a tree of `size` entries has.
fn levels(size: u64) -> impl Iterator<Item = u8> {
    (0..8).take_while(move |level| count(*level, size) > 0)
}

/// The full and partial tiles that a tree of `new` entries has and one of `old` entries does not; with `old` 0, all of them.
pub fn new_tiles(old: u64, new: u64) -> Vec<Tile> {
    let mut tiles = Vec::new();
    for level in levels(new) {
        tiles.extend(
            grown(count(level, old), count(level, new))
                .filter_map(|(index, width)| Tile::new(level, index, width).ok()),
        );
    }
    tiles
}

/// The full and partial entry bundles that a log of `new` entries has and one of `old` entries does not.
pub fn new_bundles(old: u64, new: u64) -> Vec<EntryBundle> {
    grown(old, new)
        .filter_map(|(index, width)| EntryBundle::new(index, width).ok())
        .collect()
}

fn grown(old: u64, new: u64) -> impl Iterator<Item = (u64, u16)> {
    let width = u64::from(LOG_TILE_WIDTH);
    let partial = (new % width) as u16;
    let full = (old / width..new / width).map(|index| (index, LOG_TILE_WIDTH));
    full.chain((new > old && partial > 0).then_some((new / width, partial)))
}

/// The partial tiles at the right edge of a tree of `size` entries, lowest level first.
pub fn edge_tiles(size: u64) -> Vec<Tile> {
    levels(size)
        .filter_map(|level| Tile::of_hash(level, count(level, size).checked_sub(1)?, size))
        .filter(|t| !t.is_full())
        .collect()
}
