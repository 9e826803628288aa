//! Differences between texts: how a registry sends a metadata file to a device that has an earlier version of it.
//!
//! A difference proves nothing. What it rebuilds is judged by its signed length and digest like any fetched file; one that does
//! not fit costs a request for the file itself. Bounded before anything is allocated for it: [`MAX_EDITS`], and the length that
//! the caller allows.
//!
//! Why not a library: those for text search for the smallest difference, in quadratic time, which strangers may not cause here;
//! those for binary files bring containers, checksums and compressors into the verifier.

use std::collections::HashMap;
use std::fmt;
use std::ops::Range;

use serde::de::{Error, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use crate::limits::MAX_EDITS;

/// The shortest run that is looked for in the base; a shorter one costs more to name than to send.
const BLOCK: usize = 32;

/// A step of rebuilding a text. In JSON a pair of numbers or a string.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "json-schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(untagged)]
pub enum Edit {
    /// Bytes of the base: offset and length.
    Copy([u64; 2]),
    /// This text.
    Insert(String),
}

/// A text, whole or as the edits that make it from another one. In JSON a string or a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "json-schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(untagged)]
pub enum Part {
    /// The text itself.
    Whole(String),
    /// What makes it from the base, one after the other.
    Edits(Vec<Edit>),
}

/// Edits that make no text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadEdits {
    /// The text that they are made for is not at hand.
    #[error("difference: expected its base, found none; fetch the file whole")]
    NoBase,
    /// They copy what the base does not have.
    #[error(
        "difference: expected bytes within a base of {base}, found {length} from {offset}; fetch the file whole"
    )]
    Outside {
        /// Where the copy begins.
        offset: u64,
        /// Its length.
        length: u64,
        /// Bytes of the base.
        base: usize,
    },
    /// They make more than is allowed.
    #[error("difference: expected a text of at most {max} bytes, found more; fetch the file whole")]
    TooLong {
        /// The limit.
        max: u64,
    },
    /// A copy cuts a character in two.
    #[error("difference: expected UTF-8, found other bytes; fetch the file whole")]
    NotText,
}

impl Part {
    /// The difference that makes `new` from `base`, or `new` itself where that is shorter. It takes time in proportion to both.
    pub fn between(base: &str, new: &str) -> Self {
        let edits = edits(base, new);
        let cost: usize = edits.iter().map(Edit::cost).sum();
        match edits.len() <= MAX_EDITS && cost < new.len() {
            true => Self::Edits(edits),
            false => Self::Whole(new.to_owned()),
        }
    }

    /// The text, of at most `max` bytes.
    ///
    /// # Errors
    /// Edits that do not fit `base`, or make a longer text.
    pub fn rebuild(self, base: Option<&str>, max: u64) -> Result<String, BadEdits> {
        let edits = match self {
            Self::Whole(text) if text.len() as u64 > max => return Err(BadEdits::TooLong { max }),
            Self::Whole(text) => return Ok(text),
            Self::Edits(edits) => edits,
        };
        let base = base.ok_or(BadEdits::NoBase)?.as_bytes();
        let mut made: Vec<u8> = Vec::new();
        for edit in &edits {
            let piece = match edit {
                Edit::Insert(text) => text.as_bytes(),
                Edit::Copy([offset, length]) => slice(base, *offset, *length).ok_or(BadEdits::Outside {
                    offset: *offset,
                    length: *length,
                    base: base.len(),
                })?,
            };
            if made.len() as u64 + piece.len() as u64 > max {
                return Err(BadEdits::TooLong { max });
            }
            made.extend_from_slice(piece);
        }
        String::from_utf8(made).map_err(|_| BadEdits::NotText)
    }
}

impl Edit {
    /// About how many bytes it takes in JSON.
    fn cost(&self) -> usize {
        match self {
            Self::Copy(_) => 16,
            Self::Insert(text) => text.len() + 3,
        }
    }
}

fn slice(base: &[u8], offset: u64, length: u64) -> Option<&[u8]> {
    let from = usize::try_from(offset).ok()?;
    base.get(from..from.checked_add(usize::try_from(length).ok()?)?)
}

/// Where each block of the base stands, at whole multiples of [`BLOCK`].
struct Blocks<'a> {
    base: &'a [u8],
    at: HashMap<&'a [u8], Vec<usize>>,
}

impl<'a> Blocks<'a> {
    fn of(base: &'a [u8]) -> Self {
        let mut at: HashMap<&[u8], Vec<usize>> = HashMap::new();
        for (n, block) in base.chunks_exact(BLOCK).enumerate() {
            at.entry(block).or_default().push(n * BLOCK);
        }
        Self { base, at }
    }

    /// The place of this block that is nearest to `expected`: lists repeat themselves, and what follows is found where it was.
    fn find(&self, block: &[u8], expected: usize) -> Option<usize> {
        let places = self.at.get(block)?;
        let after = places.partition_point(|place| *place < expected);
        let near = [after.checked_sub(1), Some(after)];
        let near = near.into_iter().flatten().filter_map(|n| places.get(n));
        near.min_by_key(|place| place.abs_diff(expected)).copied()
    }
}

/// How many bytes two slices have in common from their beginnings.
fn common(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).take_while(|(x, y)| x == y).count()
}

/// How many bytes two slices have in common before their ends.
fn common_before(a: &[u8], b: &[u8]) -> usize {
    a.iter()
        .rev()
        .zip(b.iter().rev())
        .take_while(|(x, y)| x == y)
        .count()
}

fn from(bytes: &[u8], at: usize) -> &[u8] {
    bytes.get(at..).unwrap_or_default()
}

fn edits(base: &str, new: &str) -> Vec<Edit> {
    let (old, text) = (base.as_bytes(), new.as_bytes());
    let blocks = Blocks::of(old);
    let mut edits = Vec::new();
    // What is decided of `new`, and where the base goes on behind the last copy.
    let (mut done, mut behind) = (0_usize, 0_usize);
    let mut at = 0_usize;
    while at < text.len() {
        // First where the base simply goes on, then wherever the next block stands.
        let expected = behind + (at - done);
        let ahead = common(from(old, expected), from(text, at));
        let found = match ahead >= BLOCK || (at == 0 && ahead > 0) {
            true => Some((expected, ahead)),
            false => text
                .get(at..at + BLOCK)
                .and_then(|block| blocks.find(block, expected))
                .map(|place| (place, common(from(blocks.base, place), from(text, at)))),
        };
        let Some((place, length)) = found else {
            at += 1;
            continue;
        };
        let back = common_before(
            old.get(..place).unwrap_or_default(),
            text.get(done..at).unwrap_or_default(),
        );
        // A copy holds whole characters, for what is left between copies is sent as text.
        let (mut first, mut last) = (at - back, at + length);
        while !new.is_char_boundary(first) {
            first += 1;
        }
        while !new.is_char_boundary(last) {
            last -= 1;
        }
        if first >= last {
            at += 1;
            continue;
        }
        let offset = place + first - at;
        push(&mut edits, new.get(done..first), offset..offset + last - first);
        (done, behind, at) = (last, offset + last - first, last);
    }
    push(&mut edits, new.get(done..), 0..0);
    edits
}

fn push(edits: &mut Vec<Edit>, text: Option<&str>, copy: Range<usize>) {
    if let Some(text) = text.filter(|text| !text.is_empty()) {
        edits.push(Edit::Insert(text.to_owned()));
    }
    if !copy.is_empty() {
        edits.push(Edit::Copy([copy.start as u64, copy.len() as u64]));
    }
}

// By hand, because what serde derives for untagged types keeps all of a stranger's list before it looks at it.

impl<'de> Deserialize<'de> for Part {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(PartVisitor)
    }
}

impl<'de> Deserialize<'de> for Edit {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(EditVisitor)
    }
}

struct PartVisitor;

impl<'de> Visitor<'de> for PartVisitor {
    type Value = Part;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a text, or a list of at most {MAX_EDITS} edits")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Part, E> {
        Ok(Part::Whole(text.to_owned()))
    }

    fn visit_string<E: Error>(self, text: String) -> Result<Part, E> {
        Ok(Part::Whole(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Part, A::Error> {
        let mut edits = Vec::new();
        while let Some(edit) = list.next_element()? {
            if edits.len() == MAX_EDITS {
                return Err(Error::invalid_length(MAX_EDITS + 1, &self));
            }
            edits.push(edit);
        }
        Ok(Part::Edits(edits))
    }
}

struct EditVisitor;

impl<'de> Visitor<'de> for EditVisitor {
    type Value = Edit;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text, or a pair of offset and length")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Edit, E> {
        Ok(Edit::Insert(text.to_owned()))
    }

    fn visit_string<E: Error>(self, text: String) -> Result<Edit, E> {
        Ok(Edit::Insert(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Edit, A::Error> {
        let mut next = |n| {
            list.next_element::<u64>()?
                .ok_or_else(|| Error::invalid_length(n, &self))
        };
        let copy = [next(0)?, next(1)?];
        match list.next_element::<u64>()? {
            None => Ok(Edit::Copy(copy)),
            Some(_) => Err(Error::invalid_length(3, &self)),
        }
    }
}
