//! From matches and runs to the segments of a file.

use assay_schema::limits::CHUNK_SIZE;

use super::content::{Index, MIN_RUN, Run};
use super::rows::rows;
use super::tensors::Match;
use super::{MatchError, ModelFile};
use crate::{BasePosition, Dtype, Segment};

/// Segments that begin in one chunk, before small ones are no longer told apart. A chunk has room for few operations, and a file of
/// thousands of tiny tensors in another order must not cost all of it.
const MAX_SEGMENTS: usize = 1_000;
/// The largest segment that is given up then.
const SCRAP: u64 = 4 << 10;

/// The segments of `file`: disjoint, in order, and all of it.
pub(super) fn segments(
    base: &[ModelFile<'_>],
    index: &Index<'_>,
    file: &ModelFile<'_>,
    matches: &[Option<Match>],
) -> Result<Vec<Segment>, MatchError> {
    let mut out = Out {
        base,
        index,
        file,
        segments: Vec::new(),
        chunk: (0, 0),
    };
    let rows = rows(file.spans);
    let mut next = 0;
    for ((span, found), row) in file.spans.iter().zip(matches).zip(rows) {
        let end = span.offset.saturating_add(span.length);
        out.unmatched(next, span.offset, Dtype::Bytes, None)?;
        match found {
            Some(m) => {
                let middle = span.offset + m.length.min(span.length);
                out.push(span.offset, middle, Some(m.base), span.dtype, row);
                // Rows that the base does not have.
                out.push(middle, end, None, span.dtype, row);
            }
            None => out.unmatched(span.offset, end, span.dtype, row)?,
        }
        next = end;
    }
    out.unmatched(next, file.bytes.len(), Dtype::Bytes, None)?;
    Ok(out.segments)
}

struct Out<'a> {
    base: &'a [ModelFile<'a>],
    index: &'a Index<'a>,
    file: &'a ModelFile<'a>,
    segments: Vec<Segment>,
    /// The chunk in which the last segment begins, and how many do.
    chunk: (u64, usize),
}

impl Out<'_> {
    /// Adds a segment, or lengthens the one before where both are one run on both sides.
    fn push(&mut self, from: u64, to: u64, base: Option<BasePosition>, dtype: Dtype, row: Option<u32>) {
        if from >= to {
            return;
        }
        if let Some(last) = self.segments.last_mut()
            && (last.dtype, last.row, last.target.end) == (dtype, row, from)
        {
            let length = last.target.end - last.target.start;
            let whole = length.is_multiple_of(dtype.unit() as u64)
                && row.is_none_or(|row| row > 0 && length.is_multiple_of(u64::from(row)));
            let one_run = match (last.base, base) {
                (Some(a), Some(b)) => a.file == b.file && a.offset.checked_add(length) == Some(b.offset),
                (None, None) => true,
                _ => false,
            };
            if whole && one_run {
                last.target.end = to;
                return;
            }
        }
        let chunk = from / u64::from(CHUNK_SIZE);
        self.chunk = match self.chunk {
            (last, count) if last == chunk => (chunk, count + 1),
            _ => (chunk, 1),
        };
        if self.chunk.1 > MAX_SEGMENTS
            && to - from <= SCRAP
            && let Some(last) = self.segments.last_mut()
            && last.target.end - last.target.start <= u64::from(CHUNK_SIZE)
        {
            last.target.end = to;
            (last.base, last.dtype, last.row) = (None, Dtype::Bytes, None);
            return;
        }
        self.segments.push(Segment {
            target: from..to,
            base,
            dtype,
            row,
        });
    }

    /// Searches for what has no counterpart by name. Of a tensor, runs keep to whole elements or blocks.
    fn unmatched(&mut self, from: u64, to: u64, dtype: Dtype, row: Option<u32>) -> Result<(), MatchError> {
        if from >= to {
            return Ok(());
        }
        let unit = dtype.unit() as u64;
        let runs = self.index.runs(self.file, from, to)?;
        let runs = runs.into_iter().filter_map(|run| whole_units(run, from, unit));
        let runs: Vec<Run> = runs.filter(|run| run.length >= MIN_RUN).collect();
        let mut next = from;
        let mut before = None;
        for run in &runs {
            self.between(next, run.target, before, Some(*run), dtype, row);
            self.push(run.target, run.target + run.length, Some(run.base), dtype, row);
            next = run.target + run.length;
            before = Some(*run);
        }
        self.between(next, to, before, None, dtype, row);
        Ok(())
    }

    /// What lies between two runs was probably changed in place: it goes on where the run before ended, or ends where the next one
    /// begins. In a file without runs, it lies where it lies in the file of the same path.
    fn between(
        &mut self,
        from: u64,
        to: u64,
        before: Option<Run>,
        behind: Option<Run>,
        dtype: Dtype,
        row: Option<u32>,
    ) {
        if from >= to {
            return;
        }
        // A tensor's type says that it was not in the base: other bytes there are of another type.
        if dtype != Dtype::Bytes && before.is_none() && behind.is_none() {
            return self.push(from, to, None, dtype, row);
        }
        let length = to - from;
        let after = before.map(|run| BasePosition {
            file: run.base.file,
            offset: run.base.offset + run.length,
        });
        let ahead = behind.and_then(|run| {
            let offset = run.base.offset.checked_sub(length)?;
            Some(BasePosition {
                file: run.base.file,
                offset,
            })
        });
        let place = after
            .filter(|at| self.room(*at) > 0)
            .or(ahead)
            .or_else(|| self.same_path(from));
        let Some(place) = place else {
            return self.push(from, to, None, dtype, row);
        };
        let unit = dtype.unit() as u64;
        let covered = self.room(place).min(length) / unit * unit;
        self.push(from, from + covered, Some(place), dtype, row);
        self.push(from + covered, to, None, dtype, row);
    }

    /// Bytes from there to the end of the base file.
    fn room(&self, at: BasePosition) -> u64 {
        let file = self.base.get(at.file as usize);
        file.map_or(0, |f| f.bytes.len().saturating_sub(at.offset))
    }

    fn same_path(&self, offset: u64) -> Option<BasePosition> {
        let number = self.base.iter().position(|f| f.path == self.file.path)?;
        let at = BasePosition {
            file: u32::try_from(number).ok()?,
            offset,
        };
        (self.room(at) > 0).then_some(at)
    }
}

/// The part of a run that holds whole units, counted from `from`.
fn whole_units(run: Run, from: u64, unit: u64) -> Option<Run> {
    if unit <= 1 {
        return Some(run);
    }
    let begin = from + (run.target - from).next_multiple_of(unit);
    let skip = begin - run.target;
    let length = run.length.checked_sub(skip)? / unit * unit;
    Some(Run {
        target: begin,
        base: BasePosition {
            file: run.base.file,
            offset: run.base.offset + skip,
        },
        length,
    })
}
