//! Which base tensor each target tensor comes from.

use std::collections::HashMap;

use super::sample::{self, Likeness, SIGNATURE, Sample};
use super::{MatchError, ModelFile};
use crate::{BasePosition, Dtype, Span};

/// Signatures that one target tensor's group may be compared with, all together: two seconds at most. Beyond it, renamed tensors that
/// have changed are matched in their order only.
const MAX_COMPARISONS: usize = 1 << 28;
/// Signatures that differ in more bits than this are not worth a look; unrelated ones differ in 128.
const FAR: u32 = SIGNATURE * 3 / 8;

/// Where a tensor, or its first rows, come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Match {
    pub(super) base: BasePosition,
    /// Bytes that correspond, from the tensor's beginning.
    pub(super) length: u64,
}

/// A tensor with the file that it is in.
#[derive(Clone, Copy)]
struct Placed<'a> {
    file: &'a ModelFile<'a>,
    number: u32,
    span: &'a Span,
}

impl Placed<'_> {
    fn sample(&self, length: u64) -> Result<Sample, MatchError> {
        sample::sample(self.file.bytes, self.span, length).map_err(|e| self.file.failed(e))
    }

    fn whole(&self) -> Match {
        self.first(self.span.length)
    }

    const fn first(&self, length: u64) -> Match {
        Match {
            base: BasePosition {
                file: self.number,
                offset: self.span.offset,
            },
            length,
        }
    }
}

/// The match of every tensor of every target file.
pub(super) fn pair(
    base: &[ModelFile<'_>],
    target: &[ModelFile<'_>],
) -> Result<Vec<Vec<Option<Match>>>, MatchError> {
    let base = placed(base);
    let wanted = placed(target);
    let mut names: HashMap<&str, Vec<usize>> = HashMap::new();
    for (i, tensor) in base.iter().enumerate() {
        names.entry(&tensor.span.name).or_default().push(i);
    }
    let mut found: Vec<Option<Match>> = vec![None; wanted.len()];
    // Of one name, but unlike: better than nothing, if nothing else turns up.
    let mut namesakes: Vec<Option<Match>> = vec![None; wanted.len()];
    let mut open = Vec::new();
    for (i, tensor) in wanted.iter().enumerate() {
        let same_name = names.get(tensor.span.name.as_str()).into_iter().flatten();
        let same_name = same_name.filter_map(|b| base.get(*b));
        match by_name(tensor, same_name)? {
            Some((m, Likeness::Related | Likeness::Uniform)) => set(&mut found, i, m),
            Some((m, Likeness::Unrelated)) => {
                set(&mut namesakes, i, m);
                open.push(i);
            }
            None => open.push(i),
        }
    }
    if !open.is_empty() {
        by_content(&base, &wanted, &open, &mut found)?;
    }
    let mut all = found.into_iter().zip(namesakes).map(|(m, n)| m.or(n));
    Ok(target
        .iter()
        .map(|file| all.by_ref().take(file.spans.len()).collect())
        .collect())
}

fn set(matches: &mut [Option<Match>], at: usize, found: Match) {
    if let Some(slot) = matches.get_mut(at) {
        *slot = Some(found);
    }
}

fn placed<'a>(files: &'a [ModelFile<'a>]) -> Vec<Placed<'a>> {
    let numbered = files.iter().zip(0_u32..);
    numbered
        .flat_map(|(file, number)| file.spans.iter().map(move |span| Placed { file, number, span }))
        .collect()
}

/// The likest of the base tensors of this name that have the same type and rows.
fn by_name<'a>(
    tensor: &Placed<'_>,
    same_name: impl Iterator<Item = &'a Placed<'a>>,
) -> Result<Option<(Match, Likeness)>, MatchError> {
    let mut best: Option<(Match, Likeness)> = None;
    for candidate in same_name {
        let Some(length) = common(tensor.span, candidate.span) else {
            continue;
        };
        let likeness = tensor.sample(length)?.likeness(&candidate.sample(length)?);
        let better = match best {
            None => true,
            Some((m, l)) => (likeness != Likeness::Unrelated, length) > (l != Likeness::Unrelated, m.length),
        };
        if better {
            best = Some((candidate.first(length), likeness));
        }
    }
    Ok(best)
}

/// Bytes of the rows that two tensors of one name have in common; all, if their shapes are the same.
fn common(a: &Span, b: &Span) -> Option<u64> {
    if a.dtype != b.dtype {
        return None;
    }
    let (Some((_, a_row)), Some((_, b_row))) = (a.shape.split_first(), b.shape.split_first()) else {
        // Single numbers.
        return (a.shape == b.shape && a.length == b.length).then_some(a.length);
    };
    let length = a.length.min(b.length);
    (a_row == b_row && length > 0).then_some(length)
}

/// Renamed tensors.
fn by_content(
    base: &[Placed<'_>],
    wanted: &[Placed<'_>],
    open: &[usize],
    found: &mut [Option<Match>],
) -> Result<(), MatchError> {
    let mut groups: HashMap<(Dtype, u64), Group<'_>> = HashMap::new();
    for i in open {
        if let Some(tensor) = wanted.get(*i) {
            let group = groups.entry((tensor.span.dtype, tensor.span.length)).or_default();
            group.wanted.push(*i);
        }
    }
    for tensor in base {
        if let Some(group) = groups.get_mut(&(tensor.span.dtype, tensor.span.length)) {
            let sample = tensor.sample(tensor.span.length)?;
            group.known.push(Known {
                tensor,
                hash: sample.hash,
                signature: sample.signature(),
            });
        }
    }
    for group in groups.values() {
        group.pair(wanted, found)?;
    }
    Ok(())
}

struct Known<'a> {
    tensor: &'a Placed<'a>,
    hash: u64,
    signature: [u64; 4],
}

/// Tensors of one type and length.
#[derive(Default)]
struct Group<'a> {
    wanted: Vec<usize>,
    known: Vec<Known<'a>>,
}

impl Group<'_> {
    fn pair(&self, wanted: &[Placed<'_>], found: &mut [Option<Match>]) -> Result<(), MatchError> {
        if self.known.is_empty() {
            return Ok(());
        }
        let mut equal: HashMap<u64, usize> = HashMap::new();
        for (i, known) in self.known.iter().enumerate() {
            equal.entry(known.hash).or_insert(i);
        }
        let compare_all = self.wanted.len().saturating_mul(self.known.len()) <= MAX_COMPARISONS;
        for (rank, i) in self.wanted.iter().enumerate() {
            let Some(tensor) = wanted.get(*i) else { continue };
            let sample = tensor.sample(tensor.span.length)?;
            if let Some(known) = equal.get(&sample.hash).and_then(|k| self.known.get(*k)) {
                set(found, *i, known.tensor.whole());
                continue;
            }
            let known = match compare_all {
                true => self.nearest(rank, &sample.signature()),
                false => self.known.get(rank),
            };
            if let Some(known) = known {
                let candidate = known.tensor.sample(known.tensor.span.length)?;
                if sample.likeness(&candidate) != Likeness::Unrelated {
                    set(found, *i, known.tensor.whole());
                }
            }
        }
        Ok(())
    }

    /// The base tensor with the likest signature; of several, the one whose place in the base is likest.
    fn nearest(&self, rank: usize, signature: &[u64; 4]) -> Option<&Known<'_>> {
        let near = self.known.iter().enumerate();
        let near = near.map(|(i, known)| {
            let distance = sample::distance(&known.signature, signature);
            (distance, i.abs_diff(rank), known)
        });
        let (distance, _, known) = near.min_by_key(|(distance, place, _)| (*distance, *place))?;
        (distance <= FAR).then_some(known)
    }
}
