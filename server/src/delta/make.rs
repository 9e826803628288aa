//! One delta, made and then decoded again before anybody sees it. Everything here may wait, and runs on threads that nothing else needs.

use std::io;
use std::path::Path;
use std::thread;

use assay_delta::encode::{EncodeError, EncodeScratch, Encoded, Encoder};
use assay_delta::error::{BadChunk, BadIndex, Why};
use assay_delta::matching::{MatchError, ModelFile, correspond};
use assay_delta::spans::{FileSpans, read_release};
use assay_delta::{Entry, Index, ReadAt, Scratch, decode_chunk};
use assay_schema::manifest::FileEntry;
use assay_schema::{ChunkIndex, FilePath, NamespaceName, ReleaseManifest, Sha256Digest, chunk};
use sha2::{Digest, Sha256};
use tokio::runtime::Handle;

use super::maker::Halt;
use super::source::Source;
use super::spool::{Spool, Spooled};
use crate::state::AppState;

/// Two releases, and what is known of them.
pub(super) struct Work {
    /// Their namespace.
    pub(super) namespace: NamespaceName,
    /// Digests of the two manifests.
    pub(super) roots: [Sha256Digest; 2],
    /// The base's files.
    pub(super) bases: Vec<Source>,
    /// The target's files.
    pub(super) targets: Vec<Source>,
    /// Both manifests, whose chunk digests decide.
    pub(super) manifests: [ReleaseManifest; 2],
    /// From this size on a delta does not pay.
    pub(super) most: u64,
    /// Threads to use.
    pub(super) threads: usize,
    /// Set when the work is called off.
    pub(super) halt: Halt,
}

/// What came of it.
pub(super) enum Made {
    /// A delta that yields the target, and the SHA-256 of its bytes.
    Delta(Spooled, Sha256Digest),
    /// It would be too large.
    TooLarge,
}

/// Why there is no delta.
#[derive(Debug, thiserror::Error)]
pub(super) enum MakeError {
    /// The registry stops, or another one has taken the pair over.
    #[error("called off; whoever holds the pair next begins again")]
    Halted,
    /// A file of a release.
    #[error(transparent)]
    Match(#[from] MatchError),
    /// A file of a release, or more index than a device reads.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// The spool.
    #[error("spooling the delta's frames below the data folder: {0}; make room there")]
    Spool(#[from] io::Error),
    /// A chunk index that is not there or is another.
    #[error("chunk index {sha256}: expected it in the store, found {found}; restore it")]
    ChunkIndex {
        /// As the manifest names it.
        sha256: Sha256Digest,
        /// What is there.
        found: String,
    },
    /// A base in the store is not what its signers stand for, and neither would be what devices make of a delta from it.
    #[error(
        "{path}: expected chunk {chunk} of the base as it was signed, found other bytes; restore the object store"
    )]
    Damaged {
        /// The file.
        path: FilePath,
        /// Which of its chunks.
        chunk: u64,
    },
    /// The delta's own index is not one.
    #[error("the delta that was made: {0}")]
    Index(#[from] BadIndex),
    /// A chunk does not come out right.
    #[error("the delta that was made: {0}")]
    Chunk(#[from] BadChunk),
}

impl MakeError {
    /// Whether it would come to the same if it were tried again: the codec's own failure, not a store's.
    pub(super) fn is_final(&self) -> bool {
        match self {
            Self::Encode(error) => !matches!(error, EncodeError::Read { .. }),
            // Another digest: the target in the store may be damaged.
            Self::Chunk(error) => !matches!(error.why, Why::Base { .. } | Why::Digest { .. }),
            Self::Index(_) => true,
            Self::Halted
            | Self::Match(_)
            | Self::Spool(_)
            | Self::ChunkIndex { .. }
            | Self::Damaged { .. } => false,
        }
    }
}

/// Makes the delta and decodes it against the digests that the release's signers stand for.
pub(super) fn make(state: &AppState, folder: &Path, name: &str, work: &Work) -> Result<Made, MakeError> {
    let made = encode(folder, name, work).and_then(|made| match made {
        None => Ok(Made::TooLarge),
        Some(mut spooled) => {
            verify(state, work, &mut spooled)?;
            intact(state, work)?;
            let sha256 = spooled.sha256()?;
            Ok(Made::Delta(spooled, sha256))
        }
    });
    // Reads fail on purpose once the work is called off.
    made.map_err(|error| {
        if work.halt.is_set() {
            MakeError::Halted
        } else {
            error
        }
    })
}

fn encode(folder: &Path, name: &str, work: &Work) -> Result<Option<Spooled>, MakeError> {
    let (base_spans, target_spans) = (spans(&work.bases), spans(&work.targets));
    let segments = correspond(
        &models(&work.bases, &base_spans),
        &models(&work.targets, &target_spans),
    )?;
    drop(base_spans);
    let tensors: Vec<_> = target_spans.into_iter().map(|file| file.spans).collect();
    let encoder = Encoder::with_tensors(work.roots, &work.bases, &work.targets, segments, &tensors)?;
    let (mut index, mut spool) = (encoder.index(), Spool::new(folder, name)?);
    let mut rooms: Vec<EncodeScratch> = (0..work.threads).map(|_| EncodeScratch::default()).collect();
    let mut chunks = encoder.chunks();
    loop {
        let batch: Vec<_> = chunks.by_ref().take(work.threads).collect();
        if batch.is_empty() {
            break;
        }
        if work.halt.is_set() {
            return Err(MakeError::Halted);
        }
        for encoded in in_parallel(&batch, &mut rooms, |(file, chunk), room| {
            encoder.encode_chunk(*file, *chunk, room)
        }) {
            let encoded: Encoded = encoded?;
            spool.push(&encoded.frame)?;
            index.push(&encoded);
        }
        if spool.length() > work.most {
            return Ok(None);
        }
    }
    let spooled = spool.finish(index.finish()?)?;
    Ok(Some(spooled).filter(|spooled| spooled.size() <= work.most))
}

/// Decodes every chunk as a device would.
fn verify(state: &AppState, work: &Work, spooled: &mut Spooled) -> Result<(), MakeError> {
    let index = Index::parse(spooled.index())?;
    index.between(&work.roots[0], &work.roots[1])?;
    let mut rooms: Vec<Scratch> = (0..work.threads).map(|_| Scratch::new()).collect();
    let [_, manifest] = &work.manifests;
    for (number, file) in (0_u32..).zip(&manifest.files) {
        let digests = chunk_digests(state, work, file)?;
        let mut chunks = 0..chunk::count(file.size);
        loop {
            let mut batch: Vec<(Entry<'_>, Vec<u8>, Sha256Digest)> = Vec::new();
            for chunk in chunks.by_ref().take(work.threads) {
                let missing = || BadIndex::Malformed {
                    what: format!("target file {number} has no chunk {chunk}"),
                };
                let entry = index.chunk(number, chunk).ok_or_else(missing)?;
                let expected = usize::try_from(chunk).ok().and_then(|at| digests.get(at));
                let expected = *expected.ok_or_else(missing)?;
                let frame = spooled.read(entry.frame.start, entry.frame.end - entry.frame.start)?;
                batch.push((entry, frame, expected));
            }
            if batch.is_empty() {
                break;
            }
            if work.halt.is_set() {
                return Err(MakeError::Halted);
            }
            for checked in in_parallel(&batch, &mut rooms, |(entry, frame, expected), room| {
                decode_chunk(&index, entry, frame, &work.bases, expected, room).map(drop)
            }) {
                checked?;
            }
        }
    }
    Ok(())
}

/// Compares the base with its own digests: a delta that fits a damaged base would fit no device's.
fn intact(state: &AppState, work: &Work) -> Result<(), MakeError> {
    let mut bytes = Vec::new();
    let [manifest, _] = &work.manifests;
    for ((number, file), source) in (0_u32..).zip(&manifest.files).zip(&work.bases) {
        let digests = chunk_digests(state, work, file)?;
        for (chunk, expected) in (0..chunk::count(file.size)).zip(digests) {
            let (offset, length) = chunk::range(file.size, chunk).unwrap_or_default();
            bytes.resize(length as usize, 0);
            let read = source.read_at(offset, &mut bytes);
            read.map_err(|source| EncodeError::Read {
                side: "base",
                file: number,
                offset,
                source,
            })?;
            if Sha256Digest::new(Sha256::digest(&bytes).into()) != expected {
                return Err(MakeError::Damaged {
                    path: file.path.clone(),
                    chunk,
                });
            }
        }
    }
    Ok(())
}

/// One item for each room, each on a thread of its own where there are several; the answers in the items' order.
fn in_parallel<I: Sync, S: Send, O: Send>(
    items: &[I],
    rooms: &mut [S],
    run: impl Fn(&I, &mut S) -> O + Sync,
) -> Vec<O> {
    if let ([item], [room, ..]) = (items, &mut *rooms) {
        return vec![run(item, room)];
    }
    let run = &run;
    thread::scope(|scope| {
        let threads: Vec<_> = items
            .iter()
            .zip(rooms)
            .map(|(item, room)| scope.spawn(move || run(item, room)))
            .collect();
        threads
            .into_iter()
            .map(|thread| {
                thread
                    .join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            })
            .collect()
    })
}

/// A file's chunk digests; the chunk index itself is compared with the digest that the manifest has of it.
fn chunk_digests(state: &AppState, work: &Work, file: &FileEntry) -> Result<Vec<Sha256Digest>, MakeError> {
    let Some(sha256) = &file.chunks else {
        return Ok(vec![file.sha256]);
    };
    let size = file.size;
    let bad = |found: String| MakeError::ChunkIndex {
        sha256: *sha256,
        found,
    };
    let namespace = &work.namespace;
    let read = state.small_blob(namespace, sha256, chunk::encoded_len(size));
    let bytes = Handle::current()
        .block_on(read)
        .map_err(|error| bad(error.to_string()))?
        .ok_or_else(|| bad("none of this size".to_owned()))?;
    let found = Sha256Digest::new(Sha256::digest(&bytes).into());
    if found != *sha256 {
        return Err(bad(format!("bytes with SHA-256 {found}")));
    }
    let index = ChunkIndex::decode(&bytes, size).map_err(|error| bad(error.to_string()))?;
    Ok(index.digests().to_vec())
}

fn spans(files: &[Source]) -> Vec<FileSpans> {
    let readers: Vec<(&str, &dyn ReadAt)> = files
        .iter()
        .map(|file| (file.path.as_str(), file as &dyn ReadAt))
        .collect();
    read_release(&readers)
}

fn models<'a>(files: &'a [Source], spans: &'a [FileSpans]) -> Vec<ModelFile<'a>> {
    files
        .iter()
        .zip(spans)
        .map(|(file, spans)| ModelFile {
            path: file.path.as_str(),
            bytes: file,
            spans: &spans.spans,
        })
        .collect()
}
