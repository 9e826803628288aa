//! Making a delta: chunks are encoded on all cores and written in order.

use std::fs::File;
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::path::Path;

use assay_delta::matching::correspond;
use assay_delta::{EncodeError, EncodeScratch, Encoded, Encoder, Span};
use assay_schema::Sha256Digest;
use serde::Serialize;

use super::tree::DiskFile;
use super::{AHEAD, DeltaError, Result, Tree, beside, put_in_place, vacant};

/// What was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Made {
    /// Identity of the base's files.
    pub base: Sha256Digest,
    /// Identity of the target's.
    pub target: Sha256Digest,
    /// Bytes of the target's files.
    pub full: u64,
    /// Bytes of the delta.
    pub size: u64,
    /// Of them, header and index.
    pub index: u64,
}

/// Makes the delta from `base` to `target` in the file `out`, which must not exist, on `threads` threads. `identities` are what its
/// header names the two by: their listings' identities, or the digests of the manifests of two releases (`schema/delta.md`, "Object").
/// `progress` is told how many bytes of the target are encoded.
///
/// # Errors
/// A file cannot be read or written, or the delta would have more index than devices read.
pub fn make(
    base: &Tree,
    target: &Tree,
    identities: [Sha256Digest; 2],
    out: &Path,
    threads: usize,
    progress: &mut dyn FnMut(u64),
) -> Result<Made> {
    vacant(out)?;
    let (base_spans, target_spans) = (base.spans(), target.spans());
    let segments = correspond(&base.models(&base_spans), &target.models(&target_spans))?;
    let tensors: Vec<Vec<Span>> = target_spans.into_iter().map(|found| found.spans).collect();
    let encoder = Encoder::with_tensors(identities, base.bytes(), target.bytes(), segments, &tensors)?;
    // The index stands before the frames, and is known behind them.
    let (frames_at, new) = (beside(out, ".frames"), beside(out, ".new"));
    let made = (|| {
        let mut frames = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(&frames_at)
            .map_err(|e| DeltaError::io("create", &frames_at, e))?;
        let index = encode(&encoder, &mut frames, &frames_at, threads, progress)?;
        let fail = |e| DeltaError::io("write", &new, e);
        let mut file = File::create(&new).map_err(fail)?;
        file.write_all(&index).map_err(fail)?;
        frames.seek(SeekFrom::Start(0)).map_err(fail)?;
        let copied = io::copy(&mut frames, &mut file).map_err(fail)?;
        file.sync_all().map_err(fail)?;
        put_in_place(&new, out)?;
        let [base, target_identity] = identities;
        Ok(Made {
            base,
            target: target_identity,
            full: target.size(),
            size: index.len() as u64 + copied,
            index: index.len() as u64,
        })
    })();
    let _ = std::fs::remove_file(&frames_at);
    if made.is_err() {
        let _ = std::fs::remove_file(&new);
    }
    made
}

/// Writes the frames; returns header and index.
fn encode(
    encoder: &Encoder<'_, DiskFile, DiskFile>,
    frames: &mut File,
    path: &Path,
    threads: usize,
    progress: &mut dyn FnMut(u64),
) -> Result<Vec<u8>> {
    let fail = |e| DeltaError::io("write", path, e);
    let threads = threads.max(1);
    let mut scratches: Vec<EncodeScratch> = Vec::new();
    scratches.resize_with(threads, EncodeScratch::default);
    let (mut index, mut out, mut done) = (encoder.index(), BufWriter::new(frames), 0);
    let chunks: Vec<(u32, u64)> = encoder.chunks().collect();
    for batch in chunks.chunks(AHEAD * threads) {
        for encoded in side_by_side(encoder, batch, &mut scratches) {
            let encoded = encoded?;
            out.write_all(&encoded.frame).map_err(fail)?;
            index.push(&encoded);
            done += encoded.ops.iter().map(|op| u64::from(op.length)).sum::<u64>();
        }
        progress(done);
    }
    out.flush().map_err(fail)?;
    Ok(index.finish()?)
}

type Encodings = Vec<std::result::Result<Encoded, EncodeError>>;

/// Encodes a batch, its chunks dealt out to the threads in turn.
fn side_by_side(
    encoder: &Encoder<'_, DiskFile, DiskFile>,
    batch: &[(u32, u64)],
    scratches: &mut [EncodeScratch],
) -> Encodings {
    let threads = scratches.len();
    let parts: Vec<Encodings> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..)
            .zip(scratches)
            .map(|(first, scratch)| {
                scope.spawn(move || -> Encodings {
                    let own = batch.iter().skip(first).step_by(threads);
                    own.map(|(file, chunk)| encoder.encode_chunk(*file, *chunk, scratch))
                        .collect()
                })
            })
            .collect();
        let joined = workers.into_iter().map(|worker| worker.join());
        joined
            .map(|part| part.unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    });
    let mut parts: Vec<_> = parts.into_iter().map(Vec::into_iter).collect();
    let mut all = Vec::with_capacity(batch.len());
    for turn in 0..batch.len() {
        all.extend(parts.get_mut(turn % threads).and_then(Iterator::next));
    }
    all
}
