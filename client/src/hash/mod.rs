//! Hashing on all cores, with bounded memory.

mod lanes;
mod whole;

use std::cell::RefCell;
use std::fs::File;
use std::io;

use assay_schema::Sha256Digest;
use assay_schema::limits::CHUNK_SIZE;
use sha2::{Digest, Sha256};

use crate::folder;

pub use assay_verifier::provenance::sha256;
use lanes::{LANES, Lanes};
pub(crate) use whole::{HashedFile, hash_files};

/// Bytes read at a time for one message.
const BLOCK: usize = CHUNK_SIZE as usize;
/// Bytes read at a time for each of several messages side by side: together they stay in a core's second-level cache.
const STEP: usize = 128 << 10;

thread_local! {
    static BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; BLOCK]);
}

/// SHA-256 of each of these ranges (offset, length) of a file; `None` where the file ends before.
///
/// # Errors
/// Reading fails.
pub(crate) fn hash_ranges(file: &File, ranges: &[(u64, u64)]) -> io::Result<Vec<Option<Sha256Digest>>> {
    let mut digests = Vec::with_capacity(ranges.len());
    let mut left = ranges;
    while let Some((&(offset, len), rest)) = left.split_first() {
        if let Some((four, rest)) = left.split_first_chunk::<LANES>()
            && let Some(found) = hash_side_by_side(file, four)?
        {
            digests.extend(found.map(Some));
            left = rest;
            continue;
        }
        digests.push(hash_range(file, offset, len)?);
        left = rest;
    }
    Ok(digests)
}

/// `None` where it has to go one by one: other lengths than whole steps, a short file, no such processor.
fn hash_side_by_side(file: &File, ranges: &[(u64, u64); LANES]) -> io::Result<Option<[Sha256Digest; LANES]>> {
    let [(_, len), ..] = *ranges;
    if len == 0 || len % STEP as u64 != 0 || ranges.iter().any(|range| range.1 != len) {
        return Ok(None);
    }
    let Some(mut lanes) = Lanes::new() else {
        return Ok(None);
    };
    BUFFER.with_borrow_mut(|buffer| {
        for at in (0..len).step_by(STEP) {
            let mut blocks: [&[[u8; 64]]; LANES] = [&[]; LANES];
            for ((part, lane), (offset, _)) in buffer.chunks_exact_mut(STEP).zip(&mut blocks).zip(ranges) {
                if folder::read_at(file, part, offset + at)? < STEP {
                    return Ok(None);
                }
                *lane = part.as_chunks::<64>().0;
            }
            lanes.update(blocks);
        }
        Ok(Some(lanes.finish()))
    })
}

/// SHA-256 of `len` bytes of a file from `offset`; `None` if the file ends before.
///
/// # Errors
/// Reading fails.
fn hash_range(file: &File, offset: u64, len: u64) -> io::Result<Option<Sha256Digest>> {
    BUFFER.with_borrow_mut(|buffer| {
        let mut hash = Sha256::new();
        let mut done = 0;
        while done < len {
            let want = usize::try_from(len - done).map_or(BLOCK, |left| left.min(BLOCK));
            let Some(block) = buffer.get_mut(..want) else {
                return Err(io::ErrorKind::InvalidInput.into());
            };
            if folder::read_at(file, block, offset + done)? < want {
                return Ok(None);
            }
            hash.update(block);
            done += want as u64;
        }
        Ok(Some(Sha256Digest::new(hash.finalize().into())))
    })
}

/// How many threads hash: one for each core that this process may use.
pub(crate) fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

const _: () = assert!(LANES * STEP <= BLOCK);
