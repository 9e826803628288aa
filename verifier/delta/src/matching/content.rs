//! Searching for content: runs of target bytes that lie somewhere in the base.
//!
//! A rolling hash over the last 64 bytes (a gear hash) picks the same places of equal content in both releases: *anchors*, one in
//! 2^k bytes. The base's anchors are indexed; where the target has one of them, the bytes are compared in both directions. `k` grows
//! with the base, so that the index is bounded; a run shorter than some 2^k bytes may then be missed, and is left to the codec.

use super::{MatchError, ModelFile};
use crate::{BasePosition, ReadAt};

/// Anchors that the index holds: 12 MiB.
pub const MAX_ANCHORS: usize = 1 << 19;
/// The smallest run that is worth a segment.
pub const MIN_RUN: u64 = 512;
/// Anchors of a small base: one in 512 bytes.
const MIN_SPACING: u32 = 9;
/// Bytes that the rolling hash depends on.
const WINDOW: usize = 64;
/// Bytes that are read at once.
const BLOCK: usize = 256 << 10;
/// Bytes of one comparison, to begin with.
const FIRST_COMPARISON: usize = 4 << 10;

/// Splitmix64, so that every byte has a constant of its own.
const GEAR: [u64; 256] = {
    let mut table = [0; 256];
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut i = 0;
    while i < 256 {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        #[allow(clippy::indexing_slicing)]
        // Constant evaluation knows no iterators, and fails to compile out of bounds.
        {
            table[i] = z ^ (z >> 31);
        }
        i += 1;
    }
    table
};

/// A run of target bytes that lies in the base as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// Where it begins in the target file.
    pub target: u64,
    /// Where it begins in the base.
    pub base: BasePosition,
    /// Bytes.
    pub length: u64,
}

/// The anchors of a base release.
pub struct Index<'a> {
    files: &'a [ModelFile<'a>],
    /// By hash; of equal hashes the first place.
    anchors: Vec<Anchor>,
    spacing: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Anchor {
    hash: u64,
    base: BasePosition,
}

impl<'a> Index<'a> {
    /// Indexes the base: all of it, or without its tensors.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn new(files: &'a [ModelFile<'a>], tensors: bool) -> Result<Self, MatchError> {
        let mut index = Self {
            files,
            anchors: Vec::new(),
            spacing: MIN_SPACING,
        };
        for (file, number) in files.iter().zip(0_u32..) {
            let end = file.bytes.len();
            if tensors {
                index.add(file, number, 0, end)?;
                continue;
            }
            let mut next = 0;
            for span in file.spans {
                index.add(file, number, next, span.offset)?;
                next = span.offset.saturating_add(span.length);
            }
            index.add(file, number, next, end)?;
        }
        index.settle();
        Ok(index)
    }

    fn add(&mut self, file: &ModelFile<'_>, number: u32, from: u64, to: u64) -> Result<(), MatchError> {
        let mut scan = Scan::new(file.bytes, from, to);
        while let Some((hash, offset)) = scan.next(self.spacing).map_err(|e| file.failed(e))? {
            let base = BasePosition { file: number, offset };
            self.anchors.push(Anchor { hash, base });
            if self.anchors.len() >= 2 * MAX_ANCHORS {
                self.settle();
            }
        }
        Ok(())
    }

    /// Sorts, and thins out as long as there are too many. An anchor of wide spacing is one of every smaller spacing.
    fn settle(&mut self) {
        loop {
            self.anchors.sort_unstable();
            self.anchors.dedup_by_key(|a| a.hash);
            if self.anchors.len() <= MAX_ANCHORS || self.spacing == u64::BITS - 1 {
                return;
            }
            self.spacing += 1;
            let spacing = self.spacing;
            self.anchors.retain(|a| is_anchor(a.hash, spacing));
        }
    }

    /// The runs of `from..to` of a file that lie in the base, in order and disjoint.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn runs(&self, file: &ModelFile<'_>, from: u64, to: u64) -> Result<Vec<Run>, MatchError> {
        let mut runs: Vec<Run> = Vec::new();
        if self.anchors.is_empty() {
            return Ok(runs);
        }
        let mut free = from;
        let mut scan = Scan::new(file.bytes, from, to);
        while let Some((hash, offset)) = scan.next(self.spacing).map_err(|e| file.failed(e))? {
            let known = self.anchors.binary_search_by_key(&hash, |a| a.hash).ok();
            let Some(anchor) = known.and_then(|i| self.anchors.get(i)) else {
                continue;
            };
            let Some(base) = self.files.get(anchor.base.file as usize) else {
                continue;
            };
            let back = common_before(file, offset, free, base, anchor.base.offset)?;
            let ahead = common_after(file, offset, to, base, anchor.base.offset)?;
            if back + ahead < MIN_RUN {
                continue;
            }
            runs.push(Run {
                target: offset - back,
                base: BasePosition {
                    file: anchor.base.file,
                    offset: anchor.base.offset - back,
                },
                length: back + ahead,
            });
            free = offset + ahead;
            scan.jump(free);
        }
        Ok(runs)
    }
}

const fn is_anchor(hash: u64, spacing: u32) -> bool {
    // The upper bits depend on the most bytes.
    hash >> (u64::BITS - spacing) == 0
}

/// Looks for anchors in a part of a file.
struct Scan<'a> {
    file: &'a dyn ReadAt,
    buffer: Vec<u8>,
    /// Where the buffer begins, and how much of it was looked at.
    start: u64,
    at: usize,
    to: u64,
    hash: u64,
    /// Bytes that the hash depends on, up to a whole window.
    warm: usize,
    last: u64,
}

impl<'a> Scan<'a> {
    fn new(file: &'a dyn ReadAt, from: u64, to: u64) -> Self {
        Self {
            file,
            buffer: Vec::new(),
            start: from,
            at: 0,
            to,
            hash: 0,
            warm: 0,
            last: u64::MAX,
        }
    }

    /// Goes on at `offset`.
    fn jump(&mut self, offset: u64) {
        let inside = offset
            .checked_sub(self.start)
            .and_then(|i| usize::try_from(i).ok());
        match inside.filter(|i| *i <= self.buffer.len()) {
            Some(at) => self.at = at,
            None => {
                self.start = offset;
                self.buffer.clear();
                self.at = 0;
            }
        }
        self.hash = 0;
        self.warm = 0;
    }

    /// The next anchor: its hash, and the offset behind its window.
    fn next(&mut self, spacing: u32) -> std::io::Result<Option<(u64, u64)>> {
        loop {
            if self.at == self.buffer.len() {
                let start = self.start + self.buffer.len() as u64;
                let length = self.to.saturating_sub(start).min(BLOCK as u64) as usize;
                if length == 0 {
                    return Ok(None);
                }
                self.buffer.resize(length, 0);
                self.file.read_at(start, &mut self.buffer)?;
                (self.start, self.at) = (start, 0);
                self.skip_constant();
            }
            let Some((hash, length)) = self.find(spacing) else {
                self.at = self.buffer.len();
                continue;
            };
            self.at += length;
            return Ok(Some((hash, self.start + self.at as u64)));
        }
    }

    /// Holes of sparse files, and other blocks of one byte: their hash does not change, so only their end is looked at.
    fn skip_constant(&mut self) {
        let Some(first) = self.buffer.first() else { return };
        if self.buffer.len() > 2 * WINDOW && self.buffer.iter().all(|b| b == first) {
            self.at = self.buffer.len() - WINDOW;
            (self.hash, self.warm) = (0, 0);
        }
    }

    fn find(&mut self, spacing: u32) -> Option<(u64, usize)> {
        let rest = self.buffer.get(self.at..)?;
        let mut hash = self.hash;
        let cold = WINDOW - self.warm.min(WINDOW);
        let (warming, rest) = rest.split_at(cold.min(rest.len()));
        for byte in warming {
            hash = roll(hash, *byte);
        }
        self.warm += warming.len();
        let mut found = None;
        if self.warm >= WINDOW {
            // Runs of one byte have one hash: one anchor is enough for them.
            if !warming.is_empty() && is_anchor(hash, spacing) && hash != self.last {
                found = Some(0);
            } else {
                for (i, byte) in rest.iter().enumerate() {
                    hash = roll(hash, *byte);
                    if is_anchor(hash, spacing) && hash != self.last {
                        found = Some(i + 1);
                        break;
                    }
                }
            }
        }
        self.hash = hash;
        found.map(|length| {
            self.last = hash;
            (hash, warming.len() + length)
        })
    }
}

fn roll(hash: u64, byte: u8) -> u64 {
    (hash << 1).wrapping_add(GEAR.get(usize::from(byte)).copied().unwrap_or(0))
}

/// How many bytes before two places are the same, down to `from` in the target.
fn common_before(
    target: &ModelFile<'_>,
    at: u64,
    from: u64,
    base: &ModelFile<'_>,
    base_at: u64,
) -> Result<u64, MatchError> {
    let most = at.saturating_sub(from).min(base_at);
    compare(target, base, most, |done, length| {
        (at - done - length, base_at - done - length, true)
    })
}

/// How many bytes behind two places are the same, up to `to` in the target.
fn common_after(
    target: &ModelFile<'_>,
    at: u64,
    to: u64,
    base: &ModelFile<'_>,
    base_at: u64,
) -> Result<u64, MatchError> {
    let most = to
        .saturating_sub(at)
        .min(base.bytes.len().saturating_sub(base_at));
    compare(target, base, most, |done, _| (at + done, base_at + done, false))
}

/// Compares up to `most` bytes, in growing pieces; `place` says where in both files, and whether from the end.
fn compare(
    target: &ModelFile<'_>,
    base: &ModelFile<'_>,
    most: u64,
    place: impl Fn(u64, u64) -> (u64, u64, bool),
) -> Result<u64, MatchError> {
    let (mut done, mut size) = (0_u64, FIRST_COMPARISON);
    let (mut a, mut b) = (Vec::new(), Vec::new());
    while done < most {
        let length = (most - done).min(size as u64);
        let (target_at, base_at, backwards) = place(done, length);
        // `length` is at most BLOCK.
        a.resize(length as usize, 0);
        b.resize(length as usize, 0);
        target
            .bytes
            .read_at(target_at, &mut a)
            .map_err(|e| target.failed(e))?;
        base.bytes.read_at(base_at, &mut b).map_err(|e| base.failed(e))?;
        if a != b {
            let same = |(a, b): &(&u8, &u8)| a == b;
            let equal = match backwards {
                true => a.iter().rev().zip(b.iter().rev()).take_while(same).count(),
                false => a.iter().zip(&b).take_while(same).count(),
            };
            return Ok(done + equal as u64);
        }
        done += length;
        size = (size * 2).min(BLOCK);
    }
    Ok(done)
}
