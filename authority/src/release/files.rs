//! Digests of files and of their chunks.

use assay_schema::chunk::{BadChunkIndex, ChunkIndex};
use assay_schema::limits::CHUNK_SIZE;
use assay_schema::manifest::FileEntry;
use assay_schema::{FilePath, Sha256Digest};
use sha2::{Digest, Sha256};

use crate::public::sha256;

/// Hashes a file that comes as bytes in order: the whole of it, and every chunk.
#[derive(Debug, Clone, Default)]
pub struct FileHasher {
    whole: Sha256,
    chunk: Sha256,
    in_chunk: usize,
    size: u64,
    chunks: Vec<Sha256Digest>,
}

impl FileHasher {
    /// A hasher that has seen nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next bytes, any number of them.
    pub fn update(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let room = CHUNK_SIZE as usize - self.in_chunk;
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            self.whole.update(now);
            // The first chunk's digest is the whole's so far.
            if !self.chunks.is_empty() {
                self.chunk.update(now);
            }
            self.in_chunk += now.len();
            self.size += now.len() as u64;
            if self.in_chunk == CHUNK_SIZE as usize {
                self.end_chunk();
            }
            bytes = later;
        }
    }

    fn end_chunk(&mut self) {
        let digest = if self.chunks.is_empty() {
            self.whole.clone().finalize()
        } else {
            self.chunk.finalize_reset()
        };
        self.chunks.push(Sha256Digest::new(digest.into()));
        self.in_chunk = 0;
    }

    /// Bytes so far.
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// The end of the file.
    ///
    /// # Errors
    /// The file is larger than Assay accepts.
    pub fn finish(mut self) -> Result<HashedFile, BadChunkIndex> {
        if self.in_chunk > 0 {
            self.end_chunk();
        }
        HashedFile::from_parts(
            self.size,
            Sha256Digest::new(self.whole.finalize().into()),
            self.chunks,
        )
    }
}

/// A file's digests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HashedFile {
    sha256: Sha256Digest,
    index: ChunkIndex,
}

impl HashedFile {
    /// Digests that were computed elsewhere, chunks on many threads for instance: of the whole file, and of each 1 MiB chunk in
    /// order.
    ///
    /// # Errors
    /// The number of chunks is not that of a file of this size, the file is too large, or its only chunk has another digest
    /// than the whole.
    pub fn from_parts(
        size: u64,
        sha256: Sha256Digest,
        chunks: Vec<Sha256Digest>,
    ) -> Result<Self, BadChunkIndex> {
        if let [only] = chunks.as_slice()
            && *only != sha256
        {
            return Err(BadChunkIndex {
                expected: format!("{sha256} (the file's own digest) for its only chunk"),
                found: only.to_hex(),
            });
        }
        Ok(Self {
            sha256,
            index: ChunkIndex::new(size, chunks)?,
        })
    }

    /// Bytes.
    pub const fn size(&self) -> u64 {
        self.index.file_size()
    }

    /// SHA-256 of the whole file.
    pub const fn sha256(&self) -> Sha256Digest {
        self.sha256
    }

    /// The chunk index, for a file of more than one chunk.
    pub fn index(&self) -> Option<&ChunkIndex> {
        (self.size() > u64::from(CHUNK_SIZE)).then_some(&self.index)
    }

    /// The encoded chunk index and its digest, for a file of more than one chunk.
    pub fn index_blob(&self) -> Option<(Vec<u8>, Sha256Digest)> {
        let bytes = self.index()?.encode();
        let digest = sha256(&bytes);
        Some((bytes, digest))
    }

    /// The file's entry in the manifest.
    pub fn entry(&self, path: FilePath) -> FileEntry {
        FileEntry {
            path,
            size: self.size(),
            sha256: self.sha256,
            chunks: self.index_blob().map(|(_, digest)| digest),
        }
    }
}
