//! What can be wrong with a delta, said with the chunk that it is about.

use assay_schema::Sha256Digest;

use crate::codec::Corrupt;

/// An index that cannot be used. The delta is worthless then; the release is to be fetched by chunks or whole.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadIndex {
    /// Too short for a header, or other bytes than those of a delta.
    #[error(
        "delta index: expected a header that begins with ASSAYDL1, found other bytes; fetch the release without this delta"
    )]
    Header,
    /// Larger than any index that is read.
    #[error("delta index: expected at most {max} bytes, found {found}; fetch the release without this delta")]
    TooLarge {
        /// The limit.
        max: u64,
        /// What the header says.
        found: u64,
    },
    /// Damaged on its way.
    #[error("delta index: its digest is not the one in its header; fetch the index again")]
    Damaged,
    /// Not as the format says.
    #[error("delta index: {what}; fetch the release without this delta")]
    Malformed {
        /// What is wrong.
        what: String,
    },
    /// The entry of one chunk is not as the format says.
    #[error("delta index: chunk {chunk} of file {file}: {what}; fetch the release without this delta")]
    Entry {
        /// Which target file, in the order of sorted paths.
        file: u32,
        /// Which of its chunks.
        chunk: u64,
        /// What is wrong.
        what: String,
    },
    /// For other releases than those at hand.
    #[error(
        "delta index: expected a delta {what} {expected}, found one {what} {found}; look for another delta"
    )]
    Other {
        /// "from" or "to".
        what: &'static str,
        /// What was asked for.
        expected: Sha256Digest,
        /// What the index says.
        found: Sha256Digest,
    },
}

/// A chunk that this delta does not give. Nothing of it may be written; fetch the chunk in full.
#[derive(Debug, thiserror::Error)]
#[error("chunk {chunk} of file {file}: {why}; fetch this chunk in full")]
pub struct BadChunk {
    /// Which target file, in the order of sorted paths.
    pub file: u32,
    /// Which of its chunks.
    pub chunk: u64,
    /// What went wrong.
    pub why: Why,
}

/// Why a chunk could not be had from a delta.
#[derive(Debug, thiserror::Error)]
pub enum Why {
    /// The index has no such chunk.
    #[error("expected a chunk of the delta's target, found none with these numbers")]
    Missing,
    /// The frame is not the one that the index speaks of.
    #[error(
        "expected a frame of {expected} bytes with the digest in the index, found {found} bytes with another"
    )]
    Frame {
        /// Length by the index.
        expected: u64,
        /// Length at hand.
        found: u64,
    },
    /// Entry or frame are not as the format says.
    #[error("delta is malformed: {0}")]
    Malformed(String),
    /// The base could not be read.
    #[error("base file {file} could not be read at {offset}: {source}")]
    Base {
        /// Which base file, in the order of sorted paths.
        file: u32,
        /// Where.
        offset: u64,
        /// What the reader said.
        source: std::io::Error,
    },
    /// The result is not what the release's signers stand for: wrong or changed base, or a delta that lies.
    #[error("expected content with SHA-256 {expected}, found {found}")]
    Digest {
        /// The chunk's digest in the release.
        expected: Sha256Digest,
        /// What came out.
        found: Sha256Digest,
    },
}

impl From<Corrupt> for Why {
    fn from(corrupt: Corrupt) -> Self {
        Self::Malformed(corrupt.to_string())
    }
}

impl From<Corrupt> for BadIndex {
    fn from(corrupt: Corrupt) -> Self {
        Self::Malformed {
            what: corrupt.to_string(),
        }
    }
}
