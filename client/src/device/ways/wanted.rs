//! The chunks of the wanted release, by its signed chunk indexes.

use std::collections::{HashMap, HashSet};

use assay_delta::plan::WantedChunk;
use assay_schema::chunk::{self, ChunkIndex};
use assay_schema::manifest::FileEntry;
use assay_schema::{NamespaceName, ReleaseManifest, Sha256Digest};

use super::held::Holdings;
use crate::device::Result;
use crate::device::pull::read_index;
use crate::store::Staging;
use crate::transport::{Fetched, Transport, paths};

/// The most chunks that are planned one by one, as many as a delta's index can have. A larger release, beyond 1 TiB, is pulled as its
/// pieces come.
const MAX_PLANNED: u64 = 1 << 20;
/// Chunk indexes that are asked for at once.
const AT_ONCE: usize = 3;
/// The machine has at most so many pieces of a file under way: what an earlier run left is there but for these, at its end.
const UNSURE: u64 = 48;

/// The chunks of a release.
pub(super) struct Wanted {
    /// File by file.
    pub(super) chunks: Vec<WantedChunk>,
    /// The first chunk of each file.
    first: Vec<usize>,
}

impl Wanted {
    /// Reads the chunk indexes: from staging, from a release that has the same file, or from the registry; these are kept in staging
    /// (A1), where the machine finds them. `None` if one cannot be had or is not the signed one: the machine asks again, and says so.
    pub(super) fn read(
        manifest: &ReleaseManifest,
        staging: &Staging,
        held: &Holdings,
        (transport, namespace): (&dyn Transport, &NamespaceName),
    ) -> Result<Option<Self>> {
        let count = manifest.files.iter().map(FileEntry::chunk_count);
        if count.fold(0, u64::saturating_add) > MAX_PLANNED {
            return Ok(None);
        }
        let mut indexes: HashMap<Sha256Digest, Vec<u8>> = HashMap::new();
        let mut missing: Vec<(Sha256Digest, u64)> = Vec::new();
        for entry in &manifest.files {
            let Some(sha256) = entry.chunks else { continue };
            let size = chunk::encoded_len(entry.size);
            let staged = read_index(staging.folder(), sha256, size)?;
            if let Some(bytes) = staged.filter(|bytes| crate::sha256(bytes) == sha256) {
                indexes.insert(sha256, bytes);
            } else if let Some(bytes) = held.index(sha256, size) {
                staging.write_index(sha256, &bytes)?;
                indexes.insert(sha256, bytes);
            } else {
                missing.push((sha256, size));
            }
        }
        missing.sort_unstable();
        missing.dedup();
        for batch in missing.chunks(AT_ONCE) {
            for ((sha256, _), bytes) in batch.iter().zip(fetch(transport, namespace, batch)) {
                let Some(bytes) = bytes.filter(|bytes| crate::sha256(bytes) == *sha256) else {
                    return Ok(None);
                };
                staging.write_index(*sha256, &bytes)?;
                indexes.insert(*sha256, bytes);
            }
        }
        Ok(Self::of(manifest, &indexes))
    }

    fn of(manifest: &ReleaseManifest, indexes: &HashMap<Sha256Digest, Vec<u8>>) -> Option<Self> {
        let mut wanted = Self {
            chunks: Vec::new(),
            first: Vec::new(),
        };
        for entry in &manifest.files {
            wanted.first.push(wanted.chunks.len());
            let digests = match entry.chunks {
                Some(sha256) => ChunkIndex::decode(indexes.get(&sha256)?, entry.size)
                    .ok()?
                    .digests()
                    .to_vec(),
                None => vec![entry.sha256],
            };
            for (at, sha256) in (0..entry.chunk_count()).zip(digests) {
                let (_, length) = chunk::range(entry.size, at)?;
                wanted.chunks.push(WantedChunk {
                    sha256,
                    length,
                    compressed: None,
                });
            }
        }
        Some(wanted)
    }

    /// A chunk's place in `chunks`.
    pub(super) fn ordinal(&self, file: usize, chunk: u64) -> Option<usize> {
        self.first.get(file)?.checked_add(usize::try_from(chunk).ok()?)
    }

    pub(super) fn digests(&self) -> HashSet<Sha256Digest> {
        self.chunks.iter().map(|chunk| chunk.sha256).collect()
    }

    /// Digests that more than one chunk has.
    pub(super) fn repeated(&self) -> HashSet<Sha256Digest> {
        let mut seen = HashSet::new();
        let digests = self.chunks.iter().map(|chunk| chunk.sha256);
        digests.filter(|sha256| !seen.insert(*sha256)).collect()
    }

    /// Chunks that an earlier run left, as far as the files' lengths tell.
    pub(super) fn staged(&self, lengths: &[u64]) -> HashSet<Sha256Digest> {
        let mut staged = HashSet::new();
        for (file, length) in lengths.iter().enumerate() {
            for chunk in 0..chunk::count(*length).saturating_sub(UNSURE) {
                let found = self.ordinal(file, chunk).and_then(|at| self.chunks.get(at));
                staged.extend(found.map(|chunk| chunk.sha256));
            }
        }
        staged
    }
}

/// Several chunk indexes at once; `None` for what does not come.
fn fetch(
    transport: &dyn Transport,
    namespace: &NamespaceName,
    batch: &[(Sha256Digest, u64)],
) -> Vec<Option<Vec<u8>>> {
    let one =
        |sha256: Sha256Digest, size: u64| match transport.get(&paths::blob(namespace, &sha256), size, None) {
            Ok(Fetched::Found { bytes, .. }) => Some(bytes),
            Ok(_) | Err(_) => None,
        };
    std::thread::scope(|scope| {
        let asked: Vec<_> = batch
            .iter()
            .map(|(sha256, size)| scope.spawn(move || one(*sha256, *size)))
            .collect();
        asked
            .into_iter()
            .map(|asked| asked.join().unwrap_or_default())
            .collect()
    })
}
