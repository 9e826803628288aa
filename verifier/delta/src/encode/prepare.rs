//! Before the first chunk: merged adapters, and models fitted to samples.

use std::collections::BTreeMap;

use super::{EncodeError, Encoder, SMALL};
use crate::codec::layout::Layout;
use crate::codec::train::{self, Sample, Trained};
use crate::index::MAX_FACTORS;
use crate::lora::{self, Factors};
use crate::op::Prediction;
use crate::{BasePosition, Dtype, ReadAt, Segment, Span};

/// Elements (bytes of blocks) of the target that models are fitted to, and bytes that are read at most to find them.
const SAMPLE_UNITS: usize = 1 << 20;
const SEARCH: usize = 48 << 20;
/// Tensors that changed otherwise before the search for merged adapters ends: merging changes only what the adapter adapts, and a
/// fine-tune is not to be searched tensor by tensor, which costs more than coding it.
const MISSES: usize = 2;

impl<B: ReadAt, T: ReadAt> Encoder<'_, B, T> {
    /// Looks for tensors that gained the product of two thin matrices, and gives each of those a segment of its own.
    pub(super) fn find_adapters(&mut self, tensors: &[Vec<Span>]) -> Result<(), EncodeError> {
        let mut misses = 0;
        for (file, (spans, target)) in (0_u32..).zip(tensors.iter().zip(self.targets)) {
            for span in spans.iter().filter(|span| Factors::applies_to(span.dtype)) {
                let Some((at, base)) = self.segment_of(file, span) else {
                    continue;
                };
                let (Some(rows), unit) = (
                    span.shape.first().copied().filter(|rows| *rows > 0),
                    span.dtype.unit() as u64,
                ) else {
                    continue;
                };
                let columns = span.length / unit / rows;
                let Some(reader) = self.bases.get(base.file as usize) else {
                    continue;
                };
                if rows * columns * unit != span.length
                    || rows.min(columns) < 16
                    || self.factors.len() == MAX_FACTORS
                {
                    continue;
                }
                // A merged adapter moves nearly every weight; where most are as they were, there is none.
                let window = span.length.min(1 << 12) / unit * unit;
                let middle = (span.length / unit - window / unit) / 2 * unit;
                let (mut old, mut new) = (vec![0; window as usize], vec![0; window as usize]);
                self.read_base(
                    BasePosition {
                        offset: base.offset + middle,
                        ..base
                    },
                    &mut old,
                )?;
                let offset = span.offset + middle;
                let failed = |source| EncodeError::Read {
                    side: "target",
                    file,
                    offset,
                    source,
                };
                target.read_at(offset, &mut new).map_err(failed)?;
                let same = old
                    .chunks(unit as usize)
                    .zip(new.chunks(unit as usize))
                    .filter(|(old, new)| old == new)
                    .count();
                if same as u64 * unit * 2 > window {
                    continue;
                }
                let tensor = lora::Tensor {
                    base: (reader, base.offset),
                    target: (target, span.offset),
                    dtype: span.dtype,
                    rows: rows as usize,
                    columns: columns as usize,
                };
                if let Some(factors) = lora::search(&tensor).map_err(failed)? {
                    self.split(file, at, span);
                    self.predicted
                        .insert((file, span.offset), self.factors.len() as u8);
                    self.factors.push(factors);
                } else {
                    misses += 1;
                    if misses == MISSES {
                        return Ok(());
                    }
                }
            }
        }
        Ok(())
    }

    /// The segment in which a whole tensor lies, and where the tensor's base begins.
    fn segment_of(&self, file: u32, span: &Span) -> Option<(usize, BasePosition)> {
        let segments = self.segments.get(file as usize)?;
        let at = segments.partition_point(|segment| segment.target.end <= span.offset);
        let segment = segments.get(at).filter(|segment| segment.dtype == span.dtype)?;
        let skipped = span.offset.checked_sub(segment.target.start)?;
        let end = span.offset.checked_add(span.length)?;
        let base = segment.base.filter(|_| end <= segment.target.end)?;
        Some((
            at,
            BasePosition {
                offset: base.offset + skipped,
                ..base
            },
        ))
    }

    /// Cuts a segment where a tensor begins and ends.
    fn split(&mut self, file: u32, at: usize, span: &Span) {
        let Some(segments) = self.segments.get_mut(file as usize) else {
            return;
        };
        let Some(segment) = segments.get(at).cloned() else {
            return;
        };
        let borders = [
            segment.target.start,
            span.offset,
            span.offset + span.length,
            segment.target.end,
        ];
        let parts = borders.windows(2).filter_map(|border| match border {
            [from, to] if from < to => {
                let skipped = from - segment.target.start;
                let base = segment.base.map(|base| BasePosition {
                    offset: base.offset + skipped,
                    ..base
                });
                Some(Segment {
                    target: *from..*to,
                    base,
                    ..segment.clone()
                })
            }
            _ => None,
        });
        segments.splice(at..=at, parts.collect::<Vec<_>>());
    }

    /// Fits a model to pieces of the target, of which something changed, spread over all segments of a dtype.
    pub(super) fn train(&self, dtype: Dtype) -> Result<Vec<Trained>, EncodeError> {
        let unit = dtype.unit() as u64;
        let mut pieces = Vec::new();
        let mut rows: BTreeMap<u32, u64> = BTreeMap::new();
        for (file, segments) in (0_u32..).zip(&self.segments) {
            for segment in segments.iter().filter(|segment| segment.dtype == dtype) {
                let (Some(base), length) = (segment.base, segment.target.end - segment.target.start) else {
                    continue;
                };
                let row = segment.row.filter(|row| u64::from(*row).is_multiple_of(unit));
                *rows.entry(row.unwrap_or(0)).or_default() += length;
                let row = row.map_or(unit * 256, u64::from).max(1);
                let piece = (32 * 1024 / row).max(1) * row;
                let count = length.div_ceil(piece);
                pieces.extend((0..count).map(|at| {
                    (
                        file,
                        segment.target.start,
                        base,
                        at * piece,
                        piece.min(length - at * piece),
                    )
                }));
            }
        }
        let total = pieces.len();
        let bytes: u64 = rows.values().sum();
        let most = SAMPLE_UNITS
            * if Layout::of(dtype).is_some() {
                1
            } else {
                dtype.unit()
            };
        // Steps of about the golden section spread any number of pieces evenly.
        let step = (1..total)
            .rev()
            .find(|step| *step * 1618 <= total * 1000 && gcd(*step, total) == 1)
            .unwrap_or(1);
        let (mut samples, mut taken, mut searched, mut at) = (Vec::new(), 0, 0, 0);
        for _ in 0..total {
            let Some((file, start, base, from, length)) = pieces.get(at).copied() else {
                break;
            };
            at = (at + step) % total;
            let factors = self.predicted.get(&(file, start)).copied();
            let prediction = factors.map(|factors| Prediction {
                factors,
                first: from / unit,
            });
            let length = length.min(1 << 20) / unit * unit;
            let mut sample = Sample {
                base: vec![0; length as usize],
                target: vec![0; length as usize],
            };
            self.read_base(
                BasePosition {
                    offset: base.offset + from,
                    ..base
                },
                &mut sample.base,
            )?;
            let offset = start + from;
            if let Some(target) = self.targets.get(file as usize) {
                let read = target.read_at(offset, &mut sample.target);
                read.map_err(|source| EncodeError::Read {
                    side: "target",
                    file,
                    offset,
                    source,
                })?;
            }
            self.predict(dtype, prediction, &mut sample.base);
            searched += sample.base.len();
            if sample.base != sample.target {
                taken += sample.base.len();
                samples.push(sample);
            }
            if taken >= most || searched >= SEARCH {
                break;
            }
        }
        if taken < SMALL {
            return Ok(Vec::new());
        }
        let row = rows
            .into_iter()
            .max_by_key(|(_, length)| *length)
            .map(|(row, _)| u64::from(row) / unit);
        let row = row.and_then(|row| u16::try_from(row).ok());
        // What was not read is taken to be like what was.
        let scale = bytes as f32 / searched.max(1) as f32;
        Ok(train::models(dtype, row, samples, scale))
    }
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}
