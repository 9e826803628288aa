//! Finding the factors: the rank by a sampled square, the factors by alternating least squares over sampled rows and columns.
//!
//! What a merge left is the product plus the rounding of each sum to the tensor's type. A first round without weights finds the
//! directions and drops those that are only rounding; in a second one, equations are weighted by their rounding. A sample of 512 rows
//! and columns determines the factors nearly as well as all of them, and bounds the work.

use std::io;

use super::solve::{Problem, eigenvectors, orthonormal, spanning_rows, sums};
use super::{Factors, MAX_NUMBERS, float};
use crate::{Dtype, ReadAt};

/// Rows and columns of the square by which the rank is judged.
const SQUARE: usize = 160;
/// Rows and columns that take part in the equations.
const SAMPLE: usize = 512;
/// Rounding that counts as exact, of the median's, in the second round. Small weights are rounded least and say most; but the factors
/// are rounded as well, and below this the rounds hardly converge. Measured on merges of rank 8: a third round gains nothing.
const FINEST: f64 = 0.125;
/// How far above the noise a direction of the left factor must be to be kept, in squares.
const DISTINCT: f64 = 6.0;
/// Sums of columns that are in memory at once: 8 MiB.
const MAX_SUMS: usize = 1 << 20;
/// How much larger than the rounding's what is left may be to count as nothing.
const SLACK: f64 = 2.0;
/// Bits of the factors for each bit that they save, at most.
const WORTH: f64 = 0.5;

/// Two matrices of one shape and type, in files.
#[derive(Clone, Copy)]
pub struct Tensor<'a> {
    /// The base file, and where the tensor begins in it.
    pub base: (&'a dyn ReadAt, u64),
    /// The target file, and where the tensor begins in it.
    pub target: (&'a dyn ReadAt, u64),
    /// What both hold.
    pub dtype: Dtype,
    /// Rows.
    pub rows: usize,
    /// Columns.
    pub columns: usize,
}

/// Factors of the difference of two tensors, where it has a low rank and they save more than they take.
///
/// # Errors
/// A file cannot be read.
pub fn search(tensor: &Tensor<'_>) -> io::Result<Option<Factors>> {
    let (rows, columns) = (tensor.rows, tensor.columns);
    if !Factors::applies_to(tensor.dtype) || rows.min(columns) < 16 {
        return Ok(None);
    }
    let Some(judged) = rank(tensor)? else {
        return Ok(None);
    };
    let rank = judged.spanning.len();
    let numbers = rows.saturating_add(columns).saturating_mul(rank);
    if rank == 0 || numbers > MAX_NUMBERS {
        return Ok(None);
    }
    let mut line = Line::new(tensor);
    let mut right = Vec::with_capacity(rank);
    for row in judged.spanning {
        line.read(row)?;
        right.push(line.differences.clone());
    }
    let sampled: Vec<usize> = spread(rows, SAMPLE).collect();
    let Some(left) = line.left_of(&sampled, &right)? else {
        return Ok(None);
    };
    let Some(better) = columns_of(&mut line, &sampled, &left)? else {
        return Ok(None);
    };
    right = better;
    if orthonormal(&mut right).is_none() {
        return Ok(None);
    }
    let Some(left) = line.left_of(&sampled, &right)? else {
        return Ok(None);
    };
    right = distinct(
        &left,
        &right,
        judged.noise,
        columns as f64 / line.picked.len() as f64,
    );
    let rank = right.len();
    line.floor = Some(judged.step * FINEST);
    let Some(left) = line.left_of(&sampled, &right)? else {
        return Ok(None);
    };
    let Some(better) = columns_of(&mut line, &sampled, &left)? else {
        return Ok(None);
    };
    right = better;
    if orthonormal(&mut right).is_none() {
        return Ok(None);
    }
    // The left factor makes up for the rounding of the right one.
    let stored: Vec<f32> = right.iter().flatten().map(|a| *a as f32).collect();
    let right: Vec<Vec<f64>> = stored
        .chunks_exact(columns)
        .map(|row| row.iter().map(|a| f64::from(*a)).collect())
        .collect();
    let all: Vec<usize> = (0..rows).collect();
    let Some(left) = line.left_of(&all, &right)? else {
        return Ok(None);
    };
    let left = left.iter().flatten().map(|a| *a as f32).collect();
    let factors = Factors {
        columns,
        rank,
        left,
        right: stored,
    };
    let finite = factors.left.iter().chain(&factors.right).all(|n| n.is_finite());
    Ok((finite && pays(tensor, &factors)?).then_some(factors))
}

/// At most `most` numbers below `count`, spread evenly.
fn spread(count: usize, most: usize) -> impl Iterator<Item = usize> {
    let taken = count.min(most);
    // Rounded so that neither end is always taken.
    (0..taken).map(move |i| (2 * i + 1) * count / (2 * taken))
}

/// What a square of samples says.
struct Judged {
    /// Rows that span the difference; some too many rather than too few.
    spanning: Vec<usize>,
    /// The rounding, root mean square.
    noise: f64,
    /// The median of the steps that weights are rounded to.
    step: f64,
}

/// `None` if the difference is no product of thin matrices.
fn rank(tensor: &Tensor<'_>) -> io::Result<Option<Judged>> {
    let mut line = Line::new(tensor);
    let columns: Vec<usize> = spread(tensor.columns, SQUARE).collect();
    let rows: Vec<usize> = spread(tensor.rows, SQUARE).collect();
    let (mut square, mut steps) = (Vec::new(), Vec::new());
    for row in &rows {
        line.read(*row)?;
        let picked =
            |from: &[f64]| -> Vec<f64> { columns.iter().filter_map(|c| from.get(*c).copied()).collect() };
        square.push(picked(&line.differences));
        steps.extend(picked(&line.steps).into_iter().filter(|s| *s > 0.0));
    }
    if steps.is_empty() {
        return Ok(None);
    }
    // Rounding is uniform over a step.
    let noise = (steps.iter().map(|s| s * s).sum::<f64>() / steps.len() as f64 / 12.0).sqrt();
    steps.sort_by(f64::total_cmp);
    let step = steps.get(steps.len() / 2).copied().unwrap_or(0.0);
    let spanning = spanning_rows(&mut square, SLACK * noise);
    Ok(spanning.map(|chosen| Judged {
        spanning: chosen.iter().filter_map(|i| rows.get(*i).copied()).collect(),
        noise,
        step,
    }))
}

/// The directions of the right factor in which the left one is more than noise. With orthonormal rows on the right, a number of the
/// left factor has the variance of the rounding, and that of the sampling on top.
fn distinct(left: &[Vec<f64>], right: &[Vec<f64>], noise: f64, sampling: f64) -> Vec<Vec<f64>> {
    let gram: Vec<Vec<f64>> = (0..right.len())
        .map(|i| {
            let column = |i: usize| left.iter().filter_map(move |row| row.get(i));
            let with = |j: usize| column(i).zip(column(j)).map(|(a, b)| a * b).sum::<f64>();
            (0..right.len())
                .map(|j| with(j) / left.len().max(1) as f64)
                .collect()
        })
        .collect();
    let least = DISTINCT * noise * noise * sampling;
    let columns = right.first().map_or(0, Vec::len);
    let kept = eigenvectors(gram).into_iter().filter(|(value, _)| *value > least);
    kept.map(|(_, vector)| {
        let mut row = vec![0.0; columns];
        for (by, direction) in vector.iter().zip(right) {
            for (sum, a) in row.iter_mut().zip(direction) {
                *sum += by * a;
            }
        }
        row
    })
    .collect()
}

/// A row of both tensors.
struct Line<'a> {
    tensor: &'a Tensor<'a>,
    /// The least rounding that weights equations; `None` weights them alike.
    floor: Option<f64>,
    bytes: Vec<u8>,
    /// Target minus base; 0 where one is not finite.
    differences: Vec<f64>,
    /// The target's rounding; 0 where the difference says nothing.
    steps: Vec<f64>,
    picked: Vec<usize>,
}

impl<'a> Line<'a> {
    fn new(tensor: &'a Tensor<'a>) -> Self {
        Self {
            tensor,
            floor: None,
            bytes: Vec::new(),
            differences: Vec::new(),
            steps: Vec::new(),
            picked: spread(tensor.columns, SAMPLE).collect(),
        }
    }

    fn read(&mut self, row: usize) -> io::Result<()> {
        let Tensor {
            base,
            target,
            dtype,
            columns,
            ..
        } = *self.tensor;
        let length = columns * dtype.unit();
        let at = row as u64 * length as u64;
        self.bytes.resize(length, 0);
        base.0.read_at(base.1.saturating_add(at), &mut self.bytes)?;
        self.differences.clear();
        self.differences
            .extend(float::bits(dtype, &self.bytes).map(|b| f64::from(float::value(dtype, b))));
        target.0.read_at(target.1.saturating_add(at), &mut self.bytes)?;
        self.steps.clear();
        for (difference, bits) in self.differences.iter_mut().zip(float::bits(dtype, &self.bytes)) {
            let value = float::value(dtype, bits);
            let known = value.is_finite() && difference.is_finite();
            *difference = if known {
                f64::from(value) - *difference
            } else {
                0.0
            };
            self.steps
                .push(if known { float::step(dtype, value) } else { 0.0 });
        }
        Ok(())
    }

    fn weight(&self, column: usize) -> f64 {
        match (self.steps.get(column), self.floor) {
            (Some(step), Some(floor)) if *step > 0.0 => step.max(floor).powi(-2),
            (Some(step), None) if *step > 0.0 => 1.0,
            _ => 0.0,
        }
    }

    /// Rows of the left factor, by the sampled columns of the right one; `None` if these do not determine it.
    fn left_of(&mut self, rows: &[usize], right: &[Vec<f64>]) -> io::Result<Option<Vec<Vec<f64>>>> {
        let numbers: Vec<Vec<f64>> = self
            .picked
            .iter()
            .map(|column| right.iter().filter_map(|row| row.get(*column).copied()).collect())
            .collect();
        let mut left = Vec::with_capacity(rows.len());
        let mut problem = Problem::new(right.len());
        for row in rows {
            self.read(*row)?;
            problem.clear();
            for (column, numbers) in self.picked.iter().zip(&numbers) {
                if let Some(difference) = self.differences.get(*column) {
                    problem.add(numbers, *difference, self.weight(*column));
                }
            }
            let Some(unknowns) = problem.solve() else {
                return Ok(None);
            };
            left.push(unknowns);
        }
        Ok(Some(left))
    }
}

/// The right factor by sampled rows of the left one, some columns at a time.
fn columns_of(
    line: &mut Line<'_>,
    sampled: &[usize],
    left: &[Vec<f64>],
) -> io::Result<Option<Vec<Vec<f64>>>> {
    let (columns, rank) = (line.tensor.columns, left.first().map_or(0, Vec::len));
    let at_once = (MAX_SUMS / sums(rank).max(1)).max(1);
    let mut right = vec![Vec::with_capacity(columns); rank];
    for from in (0..columns).step_by(at_once) {
        let mut all = vec![Problem::new(rank); at_once.min(columns - from)];
        for (row, numbers) in sampled.iter().zip(left) {
            line.read(*row)?;
            for (column, problem) in (from..columns).zip(&mut all) {
                if let Some(difference) = line.differences.get(column) {
                    problem.add(numbers, *difference, line.weight(column));
                }
            }
        }
        for problem in &all {
            let Some(unknowns) = problem.solve() else {
                return Ok(None);
            };
            for (row, a) in right.iter_mut().zip(unknowns) {
                row.push(a);
            }
        }
    }
    Ok(Some(right))
}

/// Whether the factors save clearly more than they take, judged by the bits of the differences of sampled rows.
fn pays(tensor: &Tensor<'_>, factors: &Factors) -> io::Result<bool> {
    let length = tensor.columns * tensor.dtype.unit();
    let (mut base, mut target) = (vec![0; length], vec![0; length]);
    let (mut saved, mut elements) = (0.0, 0_usize);
    for row in spread(tensor.rows, 32) {
        let at = row as u64 * length as u64;
        tensor
            .base
            .0
            .read_at(tensor.base.1.saturating_add(at), &mut base)?;
        tensor
            .target
            .0
            .read_at(tensor.target.1.saturating_add(at), &mut target)?;
        saved += difference(tensor.dtype, &base, &target);
        factors.predict(tensor.dtype, row as u64 * tensor.columns as u64, &mut base);
        saved -= difference(tensor.dtype, &base, &target);
        elements += tensor.columns;
    }
    let all = tensor.rows as f64 * tensor.columns as f64;
    let taken = 32.0 * (factors.left.len() + factors.right.len()) as f64;
    Ok(taken <= saved / elements.max(1) as f64 * all * WORTH)
}

/// Bits that the differences of two runs take, about.
fn difference(dtype: Dtype, a: &[u8], b: &[u8]) -> f64 {
    let pairs = float::bits(dtype, a).zip(float::bits(dtype, b));
    let bits = pairs.map(|(a, b)| f64::from(a.abs_diff(b)).ln_1p() * std::f64::consts::LOG2_E);
    bits.sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Random(u64);

    impl Random {
        fn next(&mut self) -> f32 {
            let mut one = || {
                self.0 = self
                    .0
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                (self.0 >> 40) as f32 / 16_777_216.0 - 0.5
            };
            one() + one() + one() + one()
        }

        fn matrix(&mut self, count: usize, scale: f32) -> Vec<f32> {
            (0..count).map(|_| self.next() * scale).collect()
        }
    }

    const ROWS: usize = 192;
    const COLUMNS: usize = 256;

    /// Base and merged weights.
    fn merge(rank: usize, seed: u64) -> (Vec<f32>, Vec<f32>) {
        let mut random = Random(seed);
        let base = random.matrix(ROWS * COLUMNS, 0.05);
        let (b, a) = (
            random.matrix(ROWS * rank, 0.05),
            random.matrix(rank * COLUMNS, 0.02),
        );
        let mut merged = base.clone();
        for (i, value) in merged.iter_mut().enumerate() {
            let (row, column) = (i / COLUMNS, i % COLUMNS);
            *value += (0..rank)
                .map(|k| b[row * rank + k] * a[k * COLUMNS + column])
                .sum::<f32>();
        }
        (base, merged)
    }

    fn bytes(dtype: Dtype, values: &[f32]) -> Vec<u8> {
        let mut out = vec![0; values.len() * dtype.unit()];
        let sums: Vec<f64> = values.iter().map(|v| f64::from(*v)).collect();
        float::add(dtype, &mut out, &sums);
        out
    }

    fn searched(dtype: Dtype, base: &[u8], target: &[u8]) -> Option<Factors> {
        let tensor = Tensor {
            base: (&base, 0),
            target: (&target, 0),
            dtype,
            rows: ROWS,
            columns: COLUMNS,
        };
        search(&tensor).unwrap()
    }

    #[test]
    fn a_merged_adapter_is_found_and_predicts_most_weights() {
        for (dtype, exact) in [(Dtype::F32, 0.85), (Dtype::Bf16, 0.85), (Dtype::F16, 0.85)] {
            let (base, merged) = merge(3, 3);
            let gained: Vec<f64> = merged.iter().zip(&base).map(|(m, b)| f64::from(m - b)).collect();
            let base = bytes(dtype, &base);
            let mut target = base.clone();
            float::add(dtype, &mut target, &gained);
            let factors = searched(dtype, &base, &target).expect("factors");
            assert_eq!(factors.rank(), 3, "{dtype:?}");
            let mut predicted = base.clone();
            factors.predict(dtype, 0, &mut predicted);
            let pairs = float::bits(dtype, &predicted).zip(float::bits(dtype, &target));
            let same = pairs.filter(|(a, b)| a == b).count() as f64 / (ROWS * COLUMNS) as f64;
            assert!(same > exact, "{dtype:?}: {same}");
            let before = float::bits(dtype, &base).zip(float::bits(dtype, &target));
            assert!(before.filter(|(a, b)| a == b).count() < ROWS * COLUMNS / 4);
        }
    }

    #[test]
    fn training_of_full_rank_has_no_factors() {
        let mut random = Random(5);
        let base = random.matrix(ROWS * COLUMNS, 0.05);
        let tuned: Vec<f32> = base.iter().map(|v| v + random.next() * 1e-3).collect();
        for dtype in [Dtype::F32, Dtype::Bf16] {
            assert_eq!(searched(dtype, &bytes(dtype, &base), &bytes(dtype, &tuned)), None);
        }
    }

    #[test]
    fn an_unchanged_tensor_and_other_types_have_no_factors() {
        let (base, merged) = merge(2, 7);
        let (base, merged) = (bytes(Dtype::F32, &base), bytes(Dtype::F32, &merged));
        assert_eq!(searched(Dtype::F32, &base, &base), None);
        assert_eq!(searched(Dtype::I8, &base, &merged), None);
    }

    #[test]
    fn weights_that_are_not_finite_do_not_spoil_the_others() {
        let (mut base, mut merged) = merge(4, 9);
        // Where the rank is judged they would look like a change of full rank.
        let judged: Vec<usize> = spread(ROWS, SQUARE).collect();
        for row in (0..ROWS).filter(|row| !judged.contains(row)) {
            base[row * COLUMNS + row] = f32::NAN;
            merged[row * COLUMNS + 3] = f32::INFINITY;
        }
        let as_bytes = |v: &[f32]| v.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>();
        let factors = searched(Dtype::F32, &as_bytes(&base), &as_bytes(&merged)).expect("factors");
        let mut predicted = as_bytes(&base);
        factors.predict(Dtype::F32, 0, &mut predicted);
        let target = as_bytes(&merged);
        let same = predicted
            .as_chunks::<4>()
            .0
            .iter()
            .zip(target.as_chunks::<4>().0)
            .filter(|(a, b)| a == b);
        assert!(same.count() > ROWS * COLUMNS * 3 / 4);
    }
}
