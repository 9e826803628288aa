//! Makes a delta: chooses models from samples, and then the operations of each chunk, which any number of workers encode independently.

mod prepare;

use std::collections::BTreeMap;

use assay_schema::Sha256Digest;
use assay_schema::chunk;

use crate::codec::blocks;
use crate::codec::elements::{self, Sink, with_element};
use crate::codec::layout::Layout;
use crate::codec::pack::Packer;
use crate::codec::planes::{self, Planes, Transform};
use crate::codec::train::Trained;
use crate::index::{self, MAX_OPS};
use crate::lora::Factors;
use crate::op::{Op, OpKind, Prediction};
use crate::wire::put_varint;
use crate::{BasePosition, Dtype, ReadAt, Segment, Span};

/// Operations below this are not worth a model.
const SMALL: usize = 64;
/// Pieces of an operation that all modes are tried on: three of this many bytes.
const TRIAL: usize = 4 << 10;

/// Why no delta could be made.
#[derive(Debug, thiserror::Error)]
pub enum EncodeError {
    /// Segments that do not cover their file in order, or lie outside of their base.
    #[error("segments of target file {file}: {what}")]
    Segments {
        /// Which target file.
        file: u32,
        /// What is wrong.
        what: &'static str,
    },
    /// No such chunk.
    #[error("target file {file} has no chunk {chunk}")]
    Missing {
        /// Which target file.
        file: u32,
        /// Which chunk.
        chunk: u64,
    },
    /// A file could not be read.
    #[error("{side} file {file} could not be read at {offset}: {source}")]
    Read {
        /// "base" or "target".
        side: &'static str,
        /// Which file, in the order of sorted paths.
        file: u32,
        /// Where.
        offset: u64,
        /// What the reader said.
        source: std::io::Error,
    },
    /// More index than any device reads.
    #[error("the delta's index would exceed {max} bytes; publish the release without a delta")]
    IndexTooLarge {
        /// The limit.
        max: u64,
    },
}

/// Makes the chunks of one delta. `B` and `T` read the files of base and target, in the order of sorted paths.
pub struct Encoder<'a, B, T> {
    roots: [Sha256Digest; 2],
    bases: &'a [B],
    targets: &'a [T],
    segments: Vec<Vec<Segment>>,
    models: Vec<Trained>,
    factors: Vec<Factors>,
    /// Which factors a target file's segment is predicted by.
    predicted: BTreeMap<(u32, u64), u8>,
}

/// A chunk's part of the index, and its frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encoded {
    entry: Vec<u8>,
    /// Bytes that follow those of the chunk before.
    pub frame: Vec<u8>,
    /// What the chunk is made of.
    pub ops: Vec<Op>,
}

/// Room that a worker keeps from chunk to chunk: at most 16 MiB.
#[derive(Default)]
pub struct EncodeScratch {
    target: Vec<u8>,
    base: Vec<u8>,
    sink: Sink,
    trial: Sink,
    words: Vec<u16>,
    trial_out: Vec<u8>,
    planes: Planes,
    packer: Packer,
    elements: elements::Work,
    blocks: blocks::Work,
}

/// How one run of bytes is to be coded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Context(u8),
    Planes(Transform),
    Raw(u8),
}

/// A run of a chunk that lies in one segment.
struct Run {
    /// Bytes of the target file.
    start: u64,
    end: u64,
    base: Option<BasePosition>,
    dtype: Dtype,
    /// Bytes of the segment before it.
    skipped: u64,
    /// Low-rank factors that predict its segment.
    factors: Option<u8>,
}

impl<'a, B: ReadAt, T: ReadAt> Encoder<'a, B, T> {
    /// Prepares a delta from the release `base_root` to `target_root`. `segments` has one list for each target file, which covers it.
    ///
    /// # Errors
    ///
    /// [`EncodeError::Segments`] for segments that do not fit the files, [`EncodeError::Read`] where a sample cannot be read.
    pub fn new(
        base_root: Sha256Digest,
        target_root: Sha256Digest,
        bases: &'a [B],
        targets: &'a [T],
        segments: Vec<Vec<Segment>>,
    ) -> Result<Self, EncodeError> {
        Self::with_tensors([base_root, target_root], bases, targets, segments, &[])
    }

    /// The same, with the tensors of each target file, among which merged adapters are looked for.
    ///
    /// # Errors
    ///
    /// As [`Encoder::new`].
    pub fn with_tensors(
        roots: [Sha256Digest; 2],
        bases: &'a [B],
        targets: &'a [T],
        segments: Vec<Vec<Segment>>,
        tensors: &[Vec<Span>],
    ) -> Result<Self, EncodeError> {
        let mut files = 0_u32;
        for (target, segments) in targets.iter().zip(&segments) {
            let bad = |what| EncodeError::Segments { file: files, what };
            let mut next = 0;
            for segment in segments {
                if segment.target.start != next || segment.target.end < next {
                    return Err(bad("they do not cover the file in order"));
                }
                next = segment.target.end;
                if let Some(base) = segment.base {
                    let size = bases.get(base.file as usize).map_or(0, ReadAt::len);
                    let length = segment.target.end - segment.target.start;
                    if base.offset.checked_add(length).is_none_or(|end| end > size) {
                        return Err(bad("one reaches beyond the end of its base file"));
                    }
                }
            }
            if next != target.len() {
                return Err(bad("they do not cover the file"));
            }
            files += 1;
        }
        if segments.len() != targets.len() {
            return Err(EncodeError::Segments {
                file: files,
                what: "there is not one list for each file",
            });
        }
        let mut encoder = Self {
            roots,
            bases,
            targets,
            segments,
            models: Vec::new(),
            factors: Vec::new(),
            predicted: BTreeMap::new(),
        };
        encoder.find_adapters(tensors)?;
        for dtype in Dtype::ALL {
            if dtype != Dtype::Bytes {
                let trained = encoder.train(dtype)?;
                encoder.models.extend(trained);
            }
        }
        Ok(encoder)
    }

    /// The chunks of the delta, in the order in which [`Encoder::index`] wants them: target file and chunk.
    pub fn chunks(&self) -> impl Iterator<Item = (u32, u64)> + '_ {
        (0_u32..)
            .zip(self.targets)
            .flat_map(|(file, target)| (0..chunk::count(target.len())).map(move |chunk| (file, chunk)))
    }

    /// Begins the index, to which each chunk is to be given in order.
    #[must_use]
    pub fn index(&self) -> IndexWriter {
        let base: Vec<u64> = self.bases.iter().map(ReadAt::len).collect();
        let target: Vec<u64> = self.targets.iter().map(ReadAt::len).collect();
        let models = self.models.iter().map(|trained| &trained.model);
        IndexWriter(index::Writer::new(
            self.roots,
            &base,
            &target,
            models,
            &self.factors,
        ))
    }

    /// Encodes one chunk.
    ///
    /// # Errors
    ///
    /// [`EncodeError::Missing`] or [`EncodeError::Read`].
    pub fn encode_chunk(
        &self,
        file: u32,
        chunk: u64,
        scratch: &mut EncodeScratch,
    ) -> Result<Encoded, EncodeError> {
        let missing = || EncodeError::Missing { file, chunk };
        let target = self.targets.get(file as usize).ok_or_else(missing)?;
        let segments = self.segments.get(file as usize).ok_or_else(missing)?;
        let (offset, length) = chunk::range(target.len(), chunk).ok_or_else(missing)?;
        let mut bytes = std::mem::take(&mut scratch.target);
        bytes.resize(length as usize, 0);
        let read = target.read_at(offset, &mut bytes);
        read.map_err(|source| EncodeError::Read {
            side: "target",
            file,
            offset,
            source,
        })?;
        let mut runs = runs(
            &self.predicted,
            file,
            segments,
            offset,
            offset + u64::from(length),
        );
        if runs.len() > MAX_OPS / 3 {
            // Too many scraps: better one run without a base than more operations than a device reads.
            runs = vec![Run {
                start: offset,
                end: offset + u64::from(length),
                base: None,
                dtype: Dtype::Bytes,
                skipped: 0,
                factors: None,
            }];
        }
        let (mut ops, mut payloads) = (Vec::new(), Vec::new());
        scratch.sink.clear();
        for run in runs {
            let (from, to) = ((run.start - offset) as usize, (run.end - offset) as usize);
            let aim = bytes.get(from..to).unwrap_or_default();
            self.encode_run(&run, aim, scratch, &mut ops, &mut payloads)?;
        }
        scratch.target = bytes;
        let mut frame = Vec::new();
        if ops.iter().any(|op| !matches!(op.kind, OpKind::Copy { .. })) {
            let EncodeScratch {
                sink,
                words,
                trial_out,
                ..
            } = scratch;
            trial_out.clear();
            if ops.iter().any(|op| matches!(op.kind, OpKind::Context { .. })) {
                sink.rans.finish(words, trial_out);
            }
            put_varint(&mut frame, trial_out.len() as u64);
            put_varint(&mut frame, sink.bits.len().div_ceil(8));
            frame.extend_from_slice(trial_out);
            sink.bits.finish(&mut frame);
            frame.extend_from_slice(&payloads);
        }
        let mut entry = Vec::new();
        index::write_entry(file, offset, &ops, &frame, &mut entry);
        Ok(Encoded { entry, frame, ops })
    }

    fn encode_run(
        &self,
        run: &Run,
        target: &[u8],
        scratch: &mut EncodeScratch,
        ops: &mut Vec<Op>,
        payloads: &mut Vec<u8>,
    ) -> Result<(), EncodeError> {
        let Some(position) = run.base else {
            raw(run.dtype, target, scratch, ops, payloads);
            return Ok(());
        };
        let mut base = std::mem::take(&mut scratch.base);
        base.resize(target.len(), 0);
        self.read_base(position, &mut base)?;
        if base == target {
            copy(position, target.len() as u32, ops);
        } else {
            // An element or block that the chunk's border cuts goes as it is.
            let unit = run.dtype.unit();
            let head =
                (run.skipped.next_multiple_of(unit as u64) - run.skipped).min(target.len() as u64) as usize;
            let whole = (target.len() - head) / unit * unit;
            let parts = [(0, head), (head, head + whole), (head + whole, target.len())];
            for (part, (from, to)) in parts.into_iter().enumerate() {
                let (Some(old), Some(new)) = (base.get_mut(from..to), target.get(from..to)) else {
                    continue;
                };
                let position = BasePosition {
                    offset: position.offset + from as u64,
                    ..position
                };
                if new.is_empty() {
                } else if old == new {
                    copy(position, new.len() as u32, ops);
                } else if part != 1 || new.len() < SMALL {
                    raw(Dtype::Bytes, new, scratch, ops, payloads);
                } else {
                    let first = (run.skipped + head as u64) / unit as u64;
                    let prediction = run.factors.map(|factors| Prediction { factors, first });
                    self.predict(run.dtype, prediction, old);
                    let place = (run.dtype, first, position, prediction);
                    self.difference(place, (old, new), scratch, (ops, payloads));
                }
            }
        }
        scratch.base = base;
        Ok(())
    }

    fn difference(
        &self,
        (dtype, element, position, prediction): (Dtype, u64, BasePosition, Option<Prediction>),
        (base, target): (&[u8], &[u8]),
        scratch: &mut EncodeScratch,
        (ops, payloads): (&mut Vec<Op>, &mut Vec<u8>),
    ) {
        let mode = self.choose(dtype, (base, target), scratch);
        let length = target.len() as u32;
        match mode {
            Mode::Context(model) => {
                let Some(trained) = self.models.get(usize::from(model)) else {
                    return;
                };
                let block = u64::from(trained.model.block);
                let phase = if Layout::of(dtype).is_some() {
                    0
                } else {
                    ((block - element % block) % block) as u16
                };
                let EncodeScratch {
                    sink,
                    elements,
                    blocks,
                    ..
                } = scratch;
                context(trained, phase, (base, target), sink, (elements, blocks));
                ops.push(Op {
                    length,
                    kind: OpKind::Context {
                        base: position,
                        model,
                        phase,
                    },
                    prediction,
                });
            }
            Mode::Planes(transform) => {
                let EncodeScratch { planes, packer, .. } = scratch;
                let before = payloads.len();
                planes::encode(dtype, transform, (base, target), planes, packer, payloads);
                let payload = (payloads.len() - before) as u32;
                let kind = OpKind::Planes {
                    base: position,
                    dtype,
                    transform: transform.code(),
                    payload,
                };
                ops.push(Op {
                    length,
                    kind,
                    prediction,
                });
            }
            Mode::Raw(width) => raw_in(width, target, scratch, ops, payloads),
        }
    }

    /// Tries all modes on pieces of the run.
    fn choose(&self, dtype: Dtype, (base, target): (&[u8], &[u8]), scratch: &mut EncodeScratch) -> Mode {
        let unit = dtype.unit();
        let piece = TRIAL / unit * unit;
        let mut pieces: Vec<(usize, usize)> = vec![(0, target.len())];
        if target.len() > 4 * TRIAL {
            pieces = (0..3)
                .map(|third| ((target.len() - piece) / unit * third / 2 * unit, piece))
                .map(|(at, n)| (at, at + n))
                .collect();
        }
        let EncodeScratch {
            trial,
            words,
            trial_out,
            planes,
            packer,
            elements,
            blocks,
            ..
        } = scratch;
        let mut cost = |mode: Mode| {
            trial_out.clear();
            for (from, to) in &pieces {
                let (Some(base), Some(target)) = (base.get(*from..*to), target.get(*from..*to)) else {
                    continue;
                };
                match mode {
                    Mode::Context(model) => {
                        let Some(trained) = self.models.get(usize::from(model)) else {
                            return usize::MAX;
                        };
                        trial.clear();
                        context(trained, 0, (base, target), trial, (elements, blocks));
                        let before = trial_out.len();
                        trial.rans.finish(words, trial_out);
                        trial.bits.finish(trial_out);
                        // The states are written once a frame.
                        trial_out.truncate((trial_out.len() - 32).max(before));
                    }
                    Mode::Planes(transform) => {
                        planes::encode(dtype, transform, (base, target), planes, packer, trial_out)
                    }
                    Mode::Raw(width) => planes::split(usize::from(width), target, planes, packer, trial_out),
                }
            }
            trial_out.len()
        };
        let contexts = (0_u8..)
            .zip(&self.models)
            .filter(|(_, trained)| trained.model.dtype == dtype);
        let contexts: Vec<Mode> = contexts.map(|(model, _)| Mode::Context(model)).collect();
        let best = contexts
            .into_iter()
            .map(|mode| (cost(mode), mode))
            .min_by_key(|(cost, _)| *cost);
        // What contexts bring below an eighth, planes never bring lower: their codes take a bit for each byte.
        let sampled: usize = pieces.iter().map(|(from, to)| to - from).sum();
        if let Some((cost, mode)) = best
            && cost < sampled / 8
        {
            return mode;
        }
        let mut modes: Vec<Mode> = Transform::ALL.map(Mode::Planes).to_vec();
        modes.push(Mode::Raw(1));
        if planes::width(dtype) > 1 {
            modes.push(Mode::Raw(planes::width(dtype) as u8));
        }
        let others = modes.into_iter().map(|mode| (cost(mode), mode));
        best.into_iter()
            .chain(others)
            .min_by_key(|(cost, _)| *cost)
            .map_or(Mode::Raw(1), |(_, mode)| mode)
    }

    fn read_base(&self, position: BasePosition, into: &mut [u8]) -> Result<(), EncodeError> {
        let BasePosition { file, offset } = position;
        let failed = |source| EncodeError::Read {
            side: "base",
            file,
            offset,
            source,
        };
        let base = self
            .bases
            .get(file as usize)
            .ok_or_else(|| failed(std::io::ErrorKind::NotFound.into()))?;
        base.read_at(offset, into).map_err(failed)
    }

    fn predict(&self, dtype: Dtype, prediction: Option<Prediction>, base: &mut [u8]) {
        if let Some(Prediction { factors, first }) = prediction
            && let Some(factors) = self.factors.get(usize::from(factors))
        {
            factors.predict(dtype, first, base);
        }
    }
}

fn runs(
    predicted: &BTreeMap<(u32, u64), u8>,
    file: u32,
    segments: &[Segment],
    start: u64,
    end: u64,
) -> Vec<Run> {
    let first = segments.partition_point(|segment| segment.target.end <= start);
    let within = segments
        .iter()
        .skip(first)
        .take_while(|segment| segment.target.start < end);
    within
        .filter(|segment| segment.target.start < segment.target.end)
        .map(|segment| {
            let from = segment.target.start.max(start);
            let skipped = from - segment.target.start;
            Run {
                start: from,
                end: segment.target.end.min(end),
                base: segment.base.map(|base| BasePosition {
                    offset: base.offset + skipped,
                    ..base
                }),
                dtype: segment.dtype,
                skipped,
                factors: predicted.get(&(file, segment.target.start)).copied(),
            }
        })
        .collect()
}

fn context(
    trained: &Trained,
    phase: u16,
    run: (&[u8], &[u8]),
    sink: &mut Sink,
    (elements, blocks): (&mut elements::Work, &mut blocks::Work),
) {
    use elements::encode;
    let Trained {
        model,
        intervals,
        activity,
        ..
    } = trained;
    if let Some(layout) = Layout::of(model.dtype) {
        blocks::encode(&layout, run, &mut blocks::Stream { intervals, sink }, blocks);
    } else {
        with_element!(
            model.dtype,
            encode(
                (model, intervals, activity),
                usize::from(phase),
                run,
                sink,
                elements
            ),
            ()
        );
    }
}

/// Appends a copy, to the operation before it where that copies the bytes before.
fn copy(base: BasePosition, length: u32, ops: &mut Vec<Op>) {
    if let Some(Op {
        length: before,
        kind: OpKind::Copy { base: from },
        ..
    }) = ops.last_mut()
        && from.file == base.file
        && from.offset + u64::from(*before) == base.offset
    {
        *before += length;
        return;
    }
    ops.push(Op {
        length,
        kind: OpKind::Copy { base },
        prediction: None,
    });
}

/// Appends bytes without a base, in planes where a sample says that they shrink more.
fn raw(dtype: Dtype, target: &[u8], scratch: &mut EncodeScratch, ops: &mut Vec<Op>, payloads: &mut Vec<u8>) {
    let width = planes::width(dtype) as u8;
    let sample = target.get(..target.len().min(4 * TRIAL)).unwrap_or_default();
    let mut cost = |width: u8| {
        let EncodeScratch {
            planes,
            packer,
            trial_out,
            ..
        } = &mut *scratch;
        trial_out.clear();
        planes::split(usize::from(width), sample, planes, packer, trial_out);
        trial_out.len()
    };
    let width = if width > 1 && cost(width) < cost(1) {
        width
    } else {
        1
    };
    raw_in(width, target, scratch, ops, payloads);
}

fn raw_in(width: u8, target: &[u8], scratch: &mut EncodeScratch, ops: &mut Vec<Op>, payloads: &mut Vec<u8>) {
    let EncodeScratch { planes, packer, .. } = scratch;
    let before = payloads.len();
    planes::split(usize::from(width), target, planes, packer, payloads);
    let payload = (payloads.len() - before) as u32;
    ops.push(Op {
        length: target.len() as u32,
        kind: OpKind::Raw {
            planes: width,
            payload,
        },
        prediction: None,
    });
}

/// Writes the index of a delta while its chunks come.
pub struct IndexWriter(index::Writer);

impl IndexWriter {
    /// Adds the next chunk, in the order of [`Encoder::chunks`].
    pub fn push(&mut self, chunk: &Encoded) {
        self.0.push(&chunk.entry);
    }

    /// The bytes that stand before the frames.
    ///
    /// # Errors
    ///
    /// [`EncodeError::IndexTooLarge`].
    pub fn finish(self) -> Result<Vec<u8>, EncodeError> {
        self.0.finish().ok_or(EncodeError::IndexTooLarge {
            max: index::MAX_INDEX,
        })
    }
}
