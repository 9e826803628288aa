//! Coordinates of tiles and entry bundles, and their paths.

use std::fmt;
use std::str::FromStr;

use assay_schema::limits::{LOG_TILE_WIDTH, MAX_LOG_SIZE};

use super::{TileError, count};
use crate::merkle::Node;
use crate::text::{decimal, shown};

const MAX_LEVEL: u8 = 63;
const MAX_INDEX: u64 = MAX_LOG_SIZE / LOG_TILE_WIDTH as u64;
/// Tile levels that a log of the largest size has: 256^7 is larger.
const TREE_LEVELS: u8 = 7;

/// A run of neighbouring hashes at one level: `width` hashes from `index` * 256, each over 256^`level` entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tile {
    level: u8,
    index: u64,
    width: u16,
}

/// A run of neighbouring entries: `width` of them from `index` * 256.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntryBundle {
    index: u64,
    width: u16,
}

/// What a path below a log's prefix names, apart from the checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Resource {
    /// Hashes.
    Tile(Tile),
    /// Entries.
    Entries(EntryBundle),
}

impl Tile {
    /// A tile by its coordinates; a width of 256 is the full tile.
    ///
    /// # Errors
    /// A level over 63, a width of 0 or over 256, or an index that no log reaches.
    pub fn new(level: u8, index: u64, width: u16) -> Result<Self, TileError> {
        let right = level <= MAX_LEVEL && (1..=LOG_TILE_WIDTH).contains(&width) && index <= MAX_INDEX;
        match right {
            true => Ok(Self { level, index, width }),
            false => Err(TileError::Coordinates { level, index, width }),
        }
    }

    /// The tile that holds hash `place` of a tile level, as wide as a tree of `size` entries makes it.
    pub(super) fn of_hash(level: u8, place: u64, size: u64) -> Option<Self> {
        let hashes = count(level, size);
        if place >= hashes || level >= TREE_LEVELS || size > MAX_LOG_SIZE {
            return None;
        }
        let width = u64::from(LOG_TILE_WIDTH);
        let index = place / width;
        let here = (hashes - index * width).min(width);
        Some(Self {
            level,
            index,
            width: here as u16,
        })
    }

    /// The tile from which a node follows in a tree of `size` entries; `None` if the tree has no such node.
    pub fn of_node(node: Node, size: u64) -> Option<Self> {
        let (level, height) = (node.level / 8, node.level % 8);
        let last = node
            .index
            .checked_add(1)?
            .checked_mul(1 << height)?
            .checked_sub(1)?;
        Self::of_hash(level, last, size)
    }

    /// The tile one level up, in which a full tile is one hash; `None` above the largest tree.
    pub fn parent(&self, size: u64) -> Option<Self> {
        Self::of_hash(self.level + 1, self.index, size)
    }

    /// The level: each hash spans 256^level entries.
    pub fn level(&self) -> u8 {
        self.level
    }

    /// The place among the tiles of its level.
    pub fn index(&self) -> u64 {
        self.index
    }

    /// Hashes in it, 1 to 256.
    pub fn width(&self) -> u16 {
        self.width
    }

    /// A tile that will never change, rather than a partial one.
    pub fn is_full(&self) -> bool {
        self.width == LOG_TILE_WIDTH
    }

    /// The full tile in the same place.
    pub fn full(&self) -> Self {
        Self {
            width: LOG_TILE_WIDTH,
            ..*self
        }
    }
}

impl EntryBundle {
    /// A bundle by its coordinates; a width of 256 is the full bundle.
    ///
    /// # Errors
    /// A width of 0 or over 256, or an index that no log reaches.
    pub fn new(index: u64, width: u16) -> Result<Self, TileError> {
        Tile::new(0, index, width).map(|tile| Self {
            index: tile.index,
            width: tile.width,
        })
    }

    /// The place among the bundles.
    pub fn index(&self) -> u64 {
        self.index
    }

    /// Entries in it, 1 to 256.
    pub fn width(&self) -> u16 {
        self.width
    }

    /// The index of its first entry.
    pub fn start(&self) -> u64 {
        self.index * u64::from(LOG_TILE_WIDTH)
    }

    /// The tile with the hashes of these entries.
    pub fn tile(&self) -> Tile {
        Tile {
            level: 0,
            index: self.index,
            width: self.width,
        }
    }
}

impl FromStr for Resource {
    type Err = TileError;

    /// Reads a path relative to the log's prefix, such as `tile/0/x001/x234/067.p/112`.
    fn from_str(path: &str) -> Result<Self, TileError> {
        parse(path).ok_or_else(|| TileError::Path { found: shown(path) })
    }
}

fn parse(path: &str) -> Option<Resource> {
    let (level, rest) = path.strip_prefix("tile/")?.split_once('/')?;
    let (index, width) = match rest.split_once(".p/") {
        Some((index, width)) => (index, decimal(width, u64::from(LOG_TILE_WIDTH) - 1)?),
        None => (rest, u64::from(LOG_TILE_WIDTH)),
    };
    let (index, width) = (parse_index(index)?, u16::try_from(width).ok()?);
    match level {
        "entries" => EntryBundle::new(index, width).ok().map(Resource::Entries),
        level => {
            let level = decimal(level, u64::from(MAX_LEVEL))?;
            Tile::new(u8::try_from(level).ok()?, index, width)
                .ok()
                .map(Resource::Tile)
        }
    }
}

fn parse_index(text: &str) -> Option<u64> {
    let mut index: u64 = 0;
    let mut elements = text.split('/').peekable();
    let mut first = true;
    while let Some(element) = elements.next() {
        // Every element but the last begins with an x; the first of several is not zero.
        let digits = match elements.peek() {
            Some(_) => element.strip_prefix('x')?,
            None => element,
        };
        if digits.len() != 3 || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        if first && digits == "000" && elements.peek().is_some() {
            return None;
        }
        first = false;
        index = index.checked_mul(1000)?.checked_add(digits.parse().ok()?)?;
    }
    Some(index)
}

fn write_path(f: &mut fmt::Formatter<'_>, index: u64, width: u16) -> fmt::Result {
    let mut groups = vec![index % 1000];
    let mut rest = index / 1000;
    while rest > 0 {
        groups.push(rest % 1000);
        rest /= 1000;
    }
    for group in groups.iter().skip(1).rev() {
        write!(f, "/x{group:03}")?;
    }
    write!(f, "/{:03}", index % 1000)?;
    match width {
        LOG_TILE_WIDTH => Ok(()),
        width => write!(f, ".p/{width}"),
    }
}

impl fmt::Display for Tile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "tile/{}", self.level)?;
        write_path(f, self.index, self.width)
    }
}

impl fmt::Display for EntryBundle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("tile/entries")?;
        write_path(f, self.index, self.width)
    }
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tile(tile) => tile.fmt(f),
            Self::Entries(bundle) => bundle.fmt(f),
        }
    }
}
