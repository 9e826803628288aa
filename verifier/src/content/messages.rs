//! What the machine of stage 8 says to its driver, and what it is told.

use assay_schema::{Sha256Digest, Verdict};
use assay_trust::DeviceState;
use serde::{Deserialize, Serialize};

/// One chunk of one file. An empty file has one piece of no bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Piece {
    /// Index into the manifest's files.
    pub file: usize,
    /// Index of the chunk in the file.
    pub chunk: u64,
    /// Where it begins in the file.
    pub offset: u64,
    /// How many bytes it has.
    pub len: u32,
}

/// What the driver is to do.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Action {
    /// Get a file's chunk index, from disk or the registry, and give its bytes back. At most `size` bytes.
    ReadIndex {
        /// Index into the manifest's files.
        file: usize,
        /// The index's digest.
        sha256: Sha256Digest,
        /// Its length in bytes.
        size: u64,
    },
    /// Hash a piece that lies on this device; [`Event::Absent`] if the file is shorter.
    HashLocal(Piece),
    /// Get a run of neighbouring pieces of a file: by one range request, or from wherever the driver has the same bytes cheaper
    /// ([`Content::expected`](super::Content::expected) tells which). Report each as it has arrived.
    Fetch {
        /// Index into the manifest's files.
        file: usize,
        /// The file's digest, which is its blob's name.
        sha256: Sha256Digest,
        /// The pieces, ascending, without gaps.
        pieces: Vec<Piece>,
    },
    /// Hash a piece that has arrived and is held in memory.
    HashReceived(Piece),
    /// Step A1: write a held piece to its place. Its digest is right.
    Write(Piece),
    /// Let a held piece go.
    Discard(Piece),
    /// Steps A2 and A3: everything is written. Every file has exactly its manifest's size; sync, make immutable, rename.
    Seal,
    /// Step A4.
    Persist(Box<DeviceState>),
    /// Step A5.
    Activate,
    /// The end.
    Finish(Box<Verdict>),
}

/// What came of an [`Action`].
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Event {
    /// The bytes of a chunk index.
    Index {
        /// Index into the manifest's files.
        file: usize,
        /// The bytes, unchecked.
        bytes: Vec<u8>,
    },
    /// A fetched piece has arrived in full and is held in memory.
    Received(Piece),
    /// A piece's digest.
    Hashed {
        /// Which.
        piece: Piece,
        /// The digest of its bytes.
        sha256: Sha256Digest,
    },
    /// A local piece is not there.
    Absent(Piece),
    /// A piece is written.
    Written(Piece),
    /// A chunk index (no pieces) or pieces of a run could not be had.
    Failed {
        /// Index into the manifest's files.
        file: usize,
        /// The pieces that did not arrive; those that did were reported.
        pieces: Vec<Piece>,
        /// Why.
        reason: String,
        /// Asking again may help.
        retry: bool,
    },
    /// Done: [`Action::Seal`].
    Sealed,
    /// Done: [`Action::Persist`].
    Persisted,
    /// Done: [`Action::Activate`].
    Activated,
    /// The device cannot go on: disk full, a damaged disk, no permission.
    Broken {
        /// Why, and what to do.
        reason: String,
    },
}

/// A file that lies in a release's folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PresentFile {
    /// Its path relative to the folder, components separated by `/`.
    pub path: String,
    /// Its length in bytes.
    pub size: u64,
}
