//! The chunk index: the SHA-256 of every 1 MiB piece of a file.
//!
//! Byte for byte (version 1, all integers little-endian):
//!
//! | offset | bytes | meaning |
//! |---|---|---|
//! | 0 | 8 | `ASSAYCI1` |
//! | 8 | 4 | chunk size: 1048576 |
//! | 12 | 4 | 0, reserved |
//! | 16 | 8 | file size |
//! | 24 | 32 x n | SHA-256 of each chunk in order, n = ceil(file size / chunk size) |
//!
//! A file of at most one chunk has no index: the file's own digest is its chunk's.

use crate::digest::Sha256Digest;
use crate::limits::{CHUNK_SIZE, MAX_FILE_SIZE};

const MAGIC: &[u8; 8] = b"ASSAYCI1";
const HEADER: usize = 24;

/// The chunks of one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChunkIndex {
    file_size: u64,
    digests: Vec<Sha256Digest>,
}

/// Bytes that are not a chunk index, or not that of the file they should describe.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("chunk index: expected {expected}, found {found}")]
pub struct BadChunkIndex {
    /// What should be there.
    pub expected: String,
    /// What is there.
    pub found: String,
}

/// How many chunks a file of this many bytes has.
pub const fn count(file_size: u64) -> u64 {
    file_size.div_ceil(CHUNK_SIZE as u64)
}

/// Offset and length of chunk `index` in a file of `file_size` bytes; `None` past its end.
pub fn range(file_size: u64, index: u64) -> Option<(u64, u32)> {
    let offset = index.checked_mul(u64::from(CHUNK_SIZE))?;
    let left = file_size.checked_sub(offset).filter(|left| *left > 0)?;
    Some((
        offset,
        u32::try_from(left).map_or(CHUNK_SIZE, |left| left.min(CHUNK_SIZE)),
    ))
}

/// Bytes of the index of a file of `file_size` bytes.
pub const fn encoded_len(file_size: u64) -> u64 {
    HEADER as u64 + 32 * count(file_size)
}

impl ChunkIndex {
    /// An index from the digests of all chunks in order.
    ///
    /// # Errors
    /// The number of digests is not that of a file of this size, or the file is too large.
    pub fn new(file_size: u64, digests: Vec<Sha256Digest>) -> Result<Self, BadChunkIndex> {
        if file_size > MAX_FILE_SIZE {
            return Err(bad(format!("a file of at most {MAX_FILE_SIZE} bytes"), file_size));
        }
        let expected = count(file_size);
        if digests.len() as u64 != expected {
            return Err(bad(
                format!("{expected} digests for {file_size} bytes"),
                digests.len(),
            ));
        }
        Ok(Self { file_size, digests })
    }

    /// Reads the encoded form.
    ///
    /// # Errors
    /// The bytes are not an index of a file of exactly `file_size` bytes.
    pub fn decode(bytes: &[u8], file_size: u64) -> Result<Self, BadChunkIndex> {
        let expected = encoded_len(file_size);
        if bytes.len() as u64 != expected {
            return Err(bad(
                format!("{expected} bytes for a file of {file_size}"),
                bytes.len(),
            ));
        }
        let (header, body) = bytes
            .split_at_checked(HEADER)
            .ok_or_else(|| bad("24 bytes of header", bytes.len()))?;
        let mut wanted = Vec::with_capacity(HEADER);
        wanted.extend_from_slice(MAGIC);
        wanted.extend_from_slice(&CHUNK_SIZE.to_le_bytes());
        wanted.extend_from_slice(&[0; 4]);
        wanted.extend_from_slice(&file_size.to_le_bytes());
        if header != wanted {
            return Err(bad(hex::encode(wanted), hex::encode(header)));
        }
        let (digests, _) = body.as_chunks::<32>();
        Self::new(file_size, digests.iter().map(|d| Sha256Digest::new(*d)).collect())
    }

    /// The encoded form.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEADER + 32 * self.digests.len());
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&CHUNK_SIZE.to_le_bytes());
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&self.file_size.to_le_bytes());
        for digest in &self.digests {
            out.extend_from_slice(digest.as_bytes());
        }
        out
    }

    /// Bytes of the file.
    pub const fn file_size(&self) -> u64 {
        self.file_size
    }

    /// The digests in order.
    pub fn digests(&self) -> &[Sha256Digest] {
        &self.digests
    }
}

fn bad(expected: impl ToString, found: impl ToString) -> BadChunkIndex {
    BadChunkIndex {
        expected: expected.to_string(),
        found: found.to_string(),
    }
}
