//! One file's progress: which of its pieces are right, under way, or to be fetched.

use std::collections::{BTreeMap, BTreeSet};

use assay_schema::Sha256Digest;
use assay_schema::chunk::{self, ChunkIndex};
use assay_schema::manifest::FileEntry;
use assay_schema::verdict::Refusal;

use super::Piece;
use crate::report::refusal;

/// SHA-256 of no bytes (FIPS 180-4), the digest of an empty file.
const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// What is under way for a piece. An event counts only if it answers this: a stray or repeated one must not make a piece right
/// that was never written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Task {
    /// It is hashed where it lies.
    HashLocal,
    /// It was asked for.
    Fetch,
    /// It has arrived, is held in memory, and is hashed.
    HashReceived,
    /// It is written.
    Write,
}

#[derive(Debug)]
enum Index {
    Wanted,
    Asked,
    /// Digests of all pieces.
    Ready(Vec<Sha256Digest>),
    Forgotten,
}

/// What a file needs next.
#[derive(Debug)]
pub(super) enum Next {
    Nothing,
    Index {
        sha256: Sha256Digest,
        size: u64,
    },
    Local(Piece),
    Empty(Piece),
    Run {
        sha256: Sha256Digest,
        pieces: Vec<Piece>,
    },
    Wrong(Box<Refusal>),
}

#[derive(Debug)]
pub(super) struct FileProgress {
    file: usize,
    entry: FileEntry,
    index: Index,
    index_attempts: u8,
    /// The next chunk to hash where it lies, below `local`.
    scan: u64,
    /// Chunks that may lie on this device already.
    local: u64,
    /// The next chunk that has never been asked for, from `local` on.
    fresh: u64,
    /// Chunks to fetch that were found wrong or missing, or whose fetch failed.
    again: BTreeSet<u64>,
    /// Chunks that something is under way for.
    tasks: BTreeMap<u64, Task>,
    attempts: BTreeMap<u64, u8>,
    right: u64,
    fetches: bool,
}

impl FileProgress {
    /// A file of which `staged` bytes may lie on this device; `fetches` what does not.
    pub(super) fn new(file: usize, entry: &FileEntry, staged: u64, fetches: bool) -> Self {
        let local = match fetches {
            // A partial last chunk counts: hashing it costs less than fetching it.
            true => chunk::count(staged),
            false => pieces(entry),
        };
        Self {
            file,
            entry: entry.clone(),
            index: Index::Wanted,
            index_attempts: 0,
            scan: 0,
            local,
            fresh: local,
            again: BTreeSet::new(),
            tasks: BTreeMap::new(),
            attempts: BTreeMap::new(),
            right: 0,
            fetches,
        }
    }

    pub(super) fn is_finished(&self) -> bool {
        self.right == pieces(&self.entry)
    }

    /// Nothing of the file is looked at.
    pub(super) fn pass_over(&mut self) {
        self.right = pieces(&self.entry);
    }

    /// Frees the index of a finished file.
    pub(super) fn forget_index(&mut self) {
        self.index = Index::Forgotten;
    }

    /// What is needed next, and marks it as asked for.
    pub(super) fn next(&mut self, run: u64) -> Next {
        match self.index {
            Index::Wanted => return self.begin(run),
            Index::Asked | Index::Forgotten => return Next::Nothing,
            Index::Ready(_) => {}
        }
        if self.scan < self.local {
            let piece = self.piece(self.scan);
            self.tasks.insert(self.scan, Task::HashLocal);
            self.scan += 1;
            return Next::Local(piece);
        }
        if !self.fetches {
            return Next::Nothing;
        }
        let first = self.again.first().copied().unwrap_or(self.fresh);
        if first >= pieces(&self.entry) {
            return Next::Nothing;
        }
        if self.entry.size == 0 {
            self.fresh = 1;
            self.again.clear();
            self.tasks.insert(0, Task::Write);
            return Next::Empty(self.piece(0));
        }
        let mut taken = Vec::new();
        for chunk in first..first.saturating_add(run) {
            if !self.again.remove(&chunk) {
                if chunk != self.fresh || chunk >= pieces(&self.entry) {
                    break;
                }
                self.fresh += 1;
            }
            self.tasks.insert(chunk, Task::Fetch);
            taken.push(self.piece(chunk));
        }
        Next::Run {
            sha256: self.entry.sha256,
            pieces: taken,
        }
    }

    fn begin(&mut self, run: u64) -> Next {
        match self.entry.chunks {
            Some(sha256) => {
                self.index = Index::Asked;
                Next::Index {
                    sha256,
                    size: chunk::encoded_len(self.entry.size),
                }
            }
            None if self.entry.size == 0 && self.entry.sha256.to_hex() != EMPTY => {
                Next::Wrong(Box::new(refusal(
                    "digest-mismatch",
                    &self.entry.path,
                    format!("SHA-256 {}", self.entry.sha256),
                    "a size of 0, whose SHA-256 is another",
                    "The publisher signed a wrong manifest: ask them for another release.",
                )))
            }
            None => {
                self.index = Index::Ready(vec![self.entry.sha256]);
                self.next(run)
            }
        }
    }

    pub(super) fn awaits_index(&self) -> bool {
        matches!(self.index, Index::Asked)
    }

    /// Takes the bytes of the chunk index: they must be those that the manifest names.
    pub(super) fn index(&mut self, bytes: &[u8]) -> Result<(), Box<Refusal>> {
        let advice = "The registry or the store damaged it: pull again, or use a mirror.";
        let subject = format!("chunk index of {}", self.entry.path);
        let found = assay_provenance::crypto::sha256(bytes);
        match self.entry.chunks {
            Some(expected) if expected == found => {}
            expected => {
                let expected = expected.map_or_else(|| "none".to_owned(), |e| e.to_string());
                return Err(Box::new(refusal(
                    "digest-mismatch",
                    subject,
                    expected,
                    found,
                    advice,
                )));
            }
        }
        let index = ChunkIndex::decode(bytes, self.entry.size)
            .map_err(|e| Box::new(refusal("malformed", subject, e.expected, e.found, advice)))?;
        self.index = Index::Ready(index.digests().to_vec());
        Ok(())
    }

    /// What is under way for a piece; `None` for one that nothing is, or that is not this file's.
    pub(super) fn task(&self, piece: Piece) -> Option<Task> {
        let task = self.tasks.get(&piece.chunk).copied();
        task.filter(|_| piece == self.piece(piece.chunk))
    }

    /// Something else is under way for the piece now.
    pub(super) fn proceed(&mut self, piece: Piece, task: Task) {
        self.tasks.insert(piece.chunk, task);
    }

    /// Nothing is under way for the piece any more.
    pub(super) fn settle(&mut self, piece: Piece) {
        self.tasks.remove(&piece.chunk);
    }

    /// What the piece's digest must be; `None` for a piece that is not one of this file's.
    pub(super) fn expected(&self, piece: Piece) -> Option<Sha256Digest> {
        match &self.index {
            Index::Ready(digests) if piece == self.piece(piece.chunk) => {
                digests.get(usize::try_from(piece.chunk).ok()?).copied()
            }
            _ => None,
        }
    }

    pub(super) fn right(&mut self, piece: Piece) {
        self.attempts.remove(&piece.chunk);
        self.right += 1;
    }

    /// The piece is to be fetched.
    pub(super) fn wanted(&mut self, piece: Piece) {
        self.again.insert(piece.chunk);
    }

    pub(super) fn attempt(&mut self, piece: Piece) -> u8 {
        let count = self.attempts.entry(piece.chunk).or_default();
        *count = count.saturating_add(1);
        *count
    }

    pub(super) fn index_attempt(&mut self) -> u8 {
        self.index = Index::Wanted;
        self.index_attempts = self.index_attempts.saturating_add(1);
        self.index_attempts
    }

    fn piece(&self, chunk: u64) -> Piece {
        let (offset, len) = chunk::range(self.entry.size, chunk).unwrap_or((0, 0));
        Piece {
            file: self.file,
            chunk,
            offset,
            len,
        }
    }
}

/// How many pieces a file has: an empty one has one of no bytes, so that it is created.
fn pieces(entry: &FileEntry) -> u64 {
    entry.chunk_count().max(1)
}
