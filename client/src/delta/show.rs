//! Where a delta's bytes go.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use assay_delta::index::HEADER;
use assay_delta::spans::FileSpans;
use assay_delta::{Header, Index, OpKind, Span};
use assay_schema::Sha256Digest;
use assay_schema::limits::CHUNK_SIZE;
use serde::Serialize;

use super::{DeltaError, Listing, Result};

/// A tensor, or what lies between tensors in a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Row {
    /// The file's path; empty for a single file.
    pub file: String,
    /// The tensor's name; `None` for headers, padding and files without tensors.
    pub tensor: Option<String>,
    /// What it holds, as the delta's types are named.
    pub dtype: String,
    /// Bytes of the target.
    pub bytes: u64,
    /// Of them, those that are copied from the base as they are.
    pub copied: u64,
    /// Bytes of the delta. Tensors of one chunk share a stream, which is divided by their sizes.
    pub delta: u64,
    /// Bytes of the target by the way in which they are coded.
    pub modes: BTreeMap<&'static str, u64>,
}

/// A delta, taken apart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Shown {
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
    /// Tensors and what is between them, the most expensive first.
    pub rows: Vec<Row>,
}

/// Header and index of a delta's file, and the file.
pub(super) fn read_index(delta: &Path) -> Result<(File, Index)> {
    let fail = |e| DeltaError::io("read", delta, e);
    let file = File::open(delta).map_err(fail)?;
    let mut bytes = vec![0; HEADER];
    let length = file.metadata().map_err(fail)?.len();
    if length < HEADER as u64 {
        bytes.truncate(length as usize);
    }
    file.read_exact_at(&mut bytes, 0).map_err(fail)?;
    let header = Header::parse(&bytes)?;
    bytes.resize(HEADER + header.length as usize, 0);
    file.read_exact_at(&mut bytes, 0).map_err(fail)?;
    Ok((file, Index::parse(&bytes)?))
}

/// Takes a delta apart. `listing` and `spans` name the target's files and tensors, where they are at hand.
///
/// # Errors
/// The delta cannot be read, or is none.
pub fn show(delta: &Path, listing: Option<&Listing>, spans: &[FileSpans]) -> Result<Shown> {
    let (_, index) = read_index(delta)?;
    let mut rows: BTreeMap<(u32, Option<usize>), Row> = BTreeMap::new();
    for entry in index.chunks() {
        let ops = entry.ops()?;
        let frame = entry.frame.end - entry.frame.start;
        let own: u64 = ops.iter().map(|op| u64::from(op.payload())).sum();
        let in_stream = |kind: &OpKind| matches!(kind, OpKind::Context { .. });
        let sharing: u64 = ops
            .iter()
            .filter(|op| in_stream(&op.kind))
            .map(|op| u64::from(op.length))
            .sum();
        let stream = frame.saturating_sub(own);
        let mut at = entry.chunk * u64::from(CHUNK_SIZE);
        for op in &ops {
            let tensors = spans
                .get(entry.file as usize)
                .map_or(&[][..], |found| &found.spans);
            let tensor = holder(tensors, at);
            let row = rows.entry((entry.file, tensor)).or_insert_with(|| {
                let span = tensor.and_then(|i| tensors.get(i));
                let path = listing.and_then(|l| l.files.get(entry.file as usize));
                Row {
                    file: path.map_or_else(|| entry.file.to_string(), |file| file.path.clone()),
                    tensor: span.map(|span| span.name.clone()),
                    dtype: span.map_or_else(|| "bytes".to_owned(), |span| format!("{:?}", span.dtype)),
                    bytes: 0,
                    copied: 0,
                    delta: 0,
                    modes: BTreeMap::new(),
                }
            });
            let length = u64::from(op.length);
            let (mode, shared) = match op.kind {
                OpKind::Copy { .. } => ("copy", 0),
                OpKind::Raw { .. } => ("raw", 0),
                OpKind::Planes { transform: 0, .. } => ("xor", 0),
                OpKind::Planes { transform: 1, .. } => ("subtract", 0),
                OpKind::Planes { .. } => ("sorted", 0),
                OpKind::Context { .. } => ("context", (stream * length).checked_div(sharing).unwrap_or(0)),
            };
            row.bytes += length;
            row.copied += if mode == "copy" { length } else { 0 };
            row.delta += u64::from(op.payload()) + shared;
            *row.modes.entry(mode).or_default() += length;
            at += length;
        }
    }
    let mut rows: Vec<Row> = rows.into_values().collect();
    rows.sort_by_key(|row| std::cmp::Reverse((row.delta, row.bytes)));
    let header = index.header();
    Ok(Shown {
        base: header.base,
        target: header.target,
        full: index.target_sizes().sum(),
        size: index.total(),
        index: header.frames(),
        rows,
    })
}

/// The tensor that holds this byte.
fn holder(spans: &[Span], at: u64) -> Option<usize> {
    let before = spans.partition_point(|span| span.offset <= at).checked_sub(1)?;
    let span = spans.get(before)?;
    (at - span.offset < span.length).then_some(before)
}
