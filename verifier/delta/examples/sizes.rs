//! Sizes and speeds of deltas: `sizes DIR..`, where each DIR has the folders `base` and `target`, as bench/pairs.py makes them.
//!
//! One thread, seconds of its processor time by Linux's /proc. `encode` includes matching and choosing models; `apply` includes the SHA-256 of frames and of every target chunk.
//! Every chunk is decoded and compared with the target's digest; a wrong one ends the program.

#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "an example reads files and the clock, and may end where it fails"
)]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use assay_delta::matching::{ModelFile, correspond};
use assay_delta::spans::read_release;
use assay_delta::{EncodeScratch, Encoder, Index, OpKind, ReadAt, Scratch, decode_chunk};
use assay_schema::Sha256Digest;
use sha2::{Digest, Sha256};

const CHUNK: usize = 1 << 20;

fn processor_seconds() -> f64 {
    let text = fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    text.split_whitespace().next().unwrap().parse::<f64>().unwrap() / 1e9
}

fn files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| {
            (
                path.file_name().unwrap().to_string_lossy().into_owned(),
                fs::read(&path).unwrap(),
            )
        })
        .collect();
    files.sort();
    files
}

fn main() {
    println!(
        "{:<16} {:>12} {:>10} {:>8} {:>7} {:>12} {:>12}  modes",
        "pair", "full", "delta", "percent", "index", "encode MB/s", "apply MB/s"
    );
    for folder in std::env::args().skip(1) {
        let folder = Path::new(&folder);
        let (base, target) = (files(&folder.join("base")), files(&folder.join("target")));
        let full: usize = target.iter().map(|(_, bytes)| bytes.len()).sum();

        let begin = processor_seconds();
        let spans = |files: &[(String, Vec<u8>)]| {
            let readers: Vec<(&str, &dyn ReadAt)> = files
                .iter()
                .map(|(path, bytes)| (path.as_str(), bytes as &dyn ReadAt))
                .collect();
            read_release(&readers)
        };
        let (base_spans, target_spans) = (spans(&base), spans(&target));
        let models = |files, spans| -> Vec<ModelFile<'_>> { join(files, spans) };
        let segments = correspond(&models(&base, &base_spans), &models(&target, &target_spans)).unwrap();
        let bases: Vec<&[u8]> = base.iter().map(|(_, bytes)| bytes.as_slice()).collect();
        let targets: Vec<&[u8]> = target.iter().map(|(_, bytes)| bytes.as_slice()).collect();
        let roots = [Sha256Digest::new([1; 32]), Sha256Digest::new([2; 32])];
        let matched = processor_seconds() - begin;
        let tensors: Vec<_> = target_spans.iter().map(|file| file.spans.clone()).collect();
        let encoder = Encoder::with_tensors(roots, &bases, &targets, segments, &tensors).unwrap();
        let trained = processor_seconds() - begin;
        let (mut index, mut frames, mut scratch) = (encoder.index(), Vec::new(), EncodeScratch::default());
        let mut modes: BTreeMap<String, u64> = BTreeMap::new();
        for (file, chunk) in encoder.chunks() {
            let encoded = encoder.encode_chunk(file, chunk, &mut scratch).unwrap();
            for op in &encoded.ops {
                let name = match op.kind {
                    OpKind::Copy { .. } => "copy".to_owned(),
                    OpKind::Raw { planes, .. } => format!("raw{planes}"),
                    OpKind::Planes { transform, .. } => format!("planes{transform}"),
                    OpKind::Context { model, .. } => format!("context{model}"),
                };
                *modes.entry(name).or_default() += u64::from(op.length);
            }
            index.push(&encoded);
            frames.extend_from_slice(&encoded.frame);
        }
        let mut delta = index.finish().unwrap();
        let encode = processor_seconds() - begin;
        let index_size = delta.len();
        delta.extend_from_slice(&frames);

        let digests: Vec<Vec<Sha256Digest>> = targets
            .iter()
            .map(|bytes| {
                bytes
                    .chunks(CHUNK)
                    .map(|chunk| Sha256Digest::new(Sha256::digest(chunk).into()))
                    .collect()
            })
            .collect();
        let (mut best, mut scratch) = (f64::MAX, Scratch::new());
        for _ in 0..3 {
            let begin = processor_seconds();
            let index = Index::parse(&delta[..index_size]).unwrap();
            for entry in index.chunks() {
                let frame = &delta[entry.frame.start as usize..entry.frame.end as usize];
                let expected = &digests[entry.file as usize][entry.chunk as usize];
                decode_chunk(&index, &entry, frame, &bases, expected, &mut scratch).unwrap();
            }
            best = best.min(processor_seconds() - begin);
        }
        let rate = |seconds: f64| full as f64 / seconds / 1e6;
        println!(
            "{:<16} {full:>12} {:>10} {:>8.3} {index_size:>7} {:>12.0} {:>12.0}  {modes:?} match {matched:.3}s train {:.3}s",
            folder.file_name().unwrap().to_string_lossy(),
            delta.len(),
            delta.len() as f64 * 100.0 / full as f64,
            rate(encode),
            rate(best),
            trained - matched
        );
    }
}

fn join<'a>(
    files: &'a [(String, Vec<u8>)],
    spans: &'a [assay_delta::spans::FileSpans],
) -> Vec<ModelFile<'a>> {
    files
        .iter()
        .zip(spans)
        .map(|((path, bytes), spans)| ModelFile {
            path,
            bytes,
            spans: &spans.spans,
        })
        .collect()
}
