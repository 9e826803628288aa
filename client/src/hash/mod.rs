//! Hashing on all cores, with bounded memory.

mod whole;

use std::cell::RefCell;
use std::fs::File;
use std::io;

use assay_schema::Sha256Digest;
use assay_schema::limits::CHUNK_SIZE;
use sha2::{Digest, Sha256};

use crate::folder;

pub(crate) use whole::{HashedFile, hash_files};

/// Bytes read at a time: a chunk. Measured, smaller blocks cost more in system calls than they save in cache misses.
const BLOCK: usize = CHUNK_SIZE as usize;

thread_local! {
    static BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; BLOCK]);
}

/// SHA-256 of bytes in memory.
pub fn sha256(bytes: &[u8]) -> Sha256Digest {
    Sha256Digest::new(Sha256::digest(bytes).into())
}

/// SHA-256 of `len` bytes of a file from `offset`; `None` if the file ends before.
///
/// # Errors
/// Reading fails.
pub(crate) fn hash_range(file: &File, offset: u64, len: u64) -> io::Result<Option<Sha256Digest>> {
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
