//! The little linear algebra of the search: small symmetric systems, orthonormal rows, a rank by elimination.

use super::MAX_RANK;

/// Numbers that a problem of so many unknowns keeps.
pub(super) const fn sums(rank: usize) -> usize {
    rank * (rank + 1) / 2 + rank
}

/// A weighted least-squares problem, as the sums of its equations.
#[derive(Debug, Clone)]
pub(super) struct Problem {
    /// The lower triangle of the normal matrix, row by row.
    normal: Vec<f64>,
    right: Vec<f64>,
}

impl Problem {
    pub(super) fn new(rank: usize) -> Self {
        Self {
            normal: vec![0.0; rank * (rank + 1) / 2],
            right: vec![0.0; rank],
        }
    }

    pub(super) fn clear(&mut self) {
        self.normal.fill(0.0);
        self.right.fill(0.0);
    }

    /// Adds one equation: `numbers` times the unknowns is `value`, with `weight`.
    pub(super) fn add(&mut self, numbers: &[f64], value: f64, weight: f64) {
        let mut rest = self.normal.as_mut_slice();
        for (i, (a, right)) in numbers.iter().zip(&mut self.right).enumerate() {
            let scaled = a * weight;
            *right += scaled * value;
            let Some((row, after)) = rest.split_at_mut_checked(i + 1) else {
                return;
            };
            for (sum, b) in row.iter_mut().zip(numbers) {
                *sum += scaled * b;
            }
            rest = after;
        }
    }

    /// The unknowns, by Cholesky's decomposition: zeros if no equation has weight, `None` if they do not determine the unknowns.
    pub(super) fn solve(&self) -> Option<Vec<f64>> {
        let rank = self.right.len();
        if self.normal.iter().all(|sum| *sum == 0.0) {
            return Some(vec![0.0; rank]);
        }
        let at = |i: usize, j: usize| i * (i + 1) / 2 + j;
        let mut lower = self.normal.clone();
        for i in 0..rank {
            for j in 0..=i {
                let mut sum = *lower.get(at(i, j))?;
                for k in 0..j {
                    sum -= lower.get(at(i, k))? * lower.get(at(j, k))?;
                }
                let value = if i == j {
                    // What is left of the diagonal after elimination is noise where the unknown does not matter.
                    let least = self.normal.get(at(i, i))?.abs() * 1e-13;
                    (sum > least).then(|| sum.sqrt())?
                } else {
                    sum / lower.get(at(j, j))?
                };
                *lower.get_mut(at(i, j))? = value;
            }
        }
        let mut x = self.right.clone();
        for i in 0..rank {
            let mut sum = *x.get(i)?;
            for k in 0..i {
                sum -= lower.get(at(i, k))? * x.get(k)?;
            }
            *x.get_mut(i)? = sum / lower.get(at(i, i))?;
        }
        for i in (0..rank).rev() {
            let mut sum = *x.get(i)?;
            for k in i + 1..rank {
                sum -= lower.get(at(k, i))? * x.get(k)?;
            }
            *x.get_mut(i)? = sum / lower.get(at(i, i))?;
        }
        x.iter().all(|n| n.is_finite()).then_some(x)
    }
}

/// Sweeps after which Jacobi's method has long converged for at most [`MAX_RANK`] rows.
const SWEEPS: usize = 24;

/// The eigenvalues of a symmetric matrix with their vectors, by Jacobi's method.
pub(super) fn eigenvectors(mut matrix: Vec<Vec<f64>>) -> Vec<(f64, Vec<f64>)> {
    let n = matrix.len();
    let get =
        |m: &[Vec<f64>], i: usize, j: usize| m.get(i).and_then(|row| row.get(j)).copied().unwrap_or(0.0);
    let mut vectors: Vec<Vec<f64>> = (0..n)
        .map(|i| (0..n).map(|j| f64::from(u8::from(i == j))).collect())
        .collect();
    for _ in 0..SWEEPS {
        for p in 0..n {
            for q in p + 1..n {
                let off = get(&matrix, p, q);
                let (a, b) = (get(&matrix, p, p), get(&matrix, q, q));
                if off.abs() <= f64::EPSILON * (a * b).abs().sqrt() {
                    continue;
                }
                let theta = (b - a) / (2.0 * off);
                let t = theta.signum() / (theta.abs() + theta.hypot(1.0));
                let c = 1.0 / t.hypot(1.0);
                let s = t * c;
                // Columns, and then rows, of the matrix; rows of the vectors, which so end up as the eigenvectors.
                for row in &mut matrix {
                    if let Ok([x, y]) = row.get_disjoint_mut([p, q]) {
                        (*x, *y) = (c * *x - s * *y, s * *x + c * *y);
                    }
                }
                for rows in [&mut matrix, &mut vectors] {
                    if let Ok([x, y]) = rows.get_disjoint_mut([p, q]) {
                        for (x, y) in x.iter_mut().zip(y) {
                            (*x, *y) = (c * *x - s * *y, s * *x + c * *y);
                        }
                    }
                }
            }
        }
    }
    vectors
        .into_iter()
        .enumerate()
        .map(|(i, v)| (get(&matrix, i, i), v))
        .collect()
}

/// Makes rows orthonormal, by Gram and Schmidt twice over; `None` if one depends on those before.
pub(super) fn orthonormal(rows: &mut [Vec<f64>]) -> Option<()> {
    for i in 0..rows.len() {
        let (before, rest) = rows.split_at_mut_checked(i)?;
        let row = rest.first_mut()?;
        let length = norm(row);
        for _ in 0..2 {
            for other in before.iter() {
                let along: f64 = row.iter().zip(other).map(|(a, b)| a * b).sum();
                for (a, b) in row.iter_mut().zip(other) {
                    *a -= along * b;
                }
            }
        }
        let left = norm(row);
        if left.is_nan() || left <= length * 1e-9 {
            return None;
        }
        for a in row.iter_mut() {
            *a /= left;
        }
    }
    Some(())
}

fn norm(row: &[f64]) -> f64 {
    row.iter().map(|a| a * a).sum::<f64>().sqrt()
}

/// The rows that span a matrix up to its noise, by elimination with complete pivoting; `None` if [`MAX_RANK`] or half of its rows do
/// not suffice. An empty answer means that there is nothing but noise.
pub(super) fn spanning_rows(matrix: &mut [Vec<f64>], noise: f64) -> Option<Vec<usize>> {
    let count: usize = matrix.iter().map(Vec::len).sum();
    let enough = noise * noise * count.max(1) as f64;
    let mut chosen = Vec::new();
    // By how much of the pivot's row each row is lessened; nothing at first.
    let (mut pivot, mut column) = (Vec::new(), None);
    loop {
        let (mut square, mut largest) = (0.0, (0.0, 0));
        for (i, row) in matrix.iter_mut().enumerate() {
            let by = column.and_then(|j: usize| Some(row.get(j)? / pivot.get(j)?));
            if let Some(by) = by {
                for (a, b) in row.iter_mut().zip(&pivot) {
                    *a -= by * b;
                }
            }
            let (sum, here) = squares(row);
            square += sum;
            if here > largest.0 {
                largest = (here, i);
            }
        }
        if square <= enough {
            return Some(chosen);
        }
        if chosen.len() == MAX_RANK || 2 * chosen.len() >= matrix.len() || !square.is_finite() {
            return None;
        }
        pivot.clone_from(matrix.get(largest.1)?);
        column = pivot.iter().position(|a| a.abs() == largest.0);
        column?;
        chosen.push(largest.1);
    }
}

/// The sum of squares and the largest magnitude, in eight lanes that do not wait for each other.
fn squares(row: &[f64]) -> (f64, f64) {
    let (lanes, rest) = row.as_chunks::<8>();
    let (mut sums, mut most) = ([0.0_f64; 8], [0.0_f64; 8]);
    for numbers in lanes {
        for ((sum, most), a) in sums.iter_mut().zip(&mut most).zip(numbers) {
            *sum += a * a;
            *most = if a.abs() > *most { a.abs() } else { *most };
        }
    }
    let tail = rest.iter().map(|a| a * a).sum::<f64>();
    let largest = most.iter().chain(rest).fold(0.0_f64, |most, a| most.max(a.abs()));
    (sums.iter().sum::<f64>() + tail, largest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equations_are_solved_and_undetermined_ones_are_not() {
        let unknowns = [2.0, -1.0, 0.5];
        let mut all = Problem::new(3);
        for i in 0..6 {
            let i = f64::from(i);
            let numbers = [1.0, i, i * i];
            let value = numbers.iter().zip(unknowns).map(|(a, b)| a * b).sum();
            all.add(&numbers, value, 1.0 + i);
        }
        let found = all.solve().unwrap();
        assert!(
            found.iter().zip(unknowns).all(|(a, b)| (a - b).abs() < 1e-9),
            "{found:?}"
        );
        let mut few = Problem::new(3);
        assert_eq!(few.solve(), Some(vec![0.0; 3]));
        few.add(&[1.0, 2.0, 3.0], 1.0, 1.0);
        assert_eq!(few.solve(), None);
    }

    #[test]
    fn eigenvectors_are_those_of_the_matrix() {
        let matrix = vec![vec![4.0, 1.0, -2.0], vec![1.0, 3.0, 0.5], vec![-2.0, 0.5, 1.0]];
        let found = eigenvectors(matrix.clone());
        for (value, vector) in &found {
            for (row, a) in matrix.iter().zip(vector) {
                let product: f64 = row.iter().zip(vector).map(|(m, v)| m * v).sum();
                assert!((product - value * a).abs() < 1e-12, "{value} {vector:?}");
            }
        }
        let trace: f64 = found.iter().map(|(value, _)| value).sum();
        assert!((trace - 8.0).abs() < 1e-12);
    }

    #[test]
    fn a_full_matrix_is_spanned_by_no_few_rows() {
        let mut state = 1_u64;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 40) as f64 / 16_777_216.0 - 0.5
        };
        let mut full: Vec<Vec<f64>> = (0..160).map(|_| (0..160).map(|_| next()).collect()).collect();
        assert_eq!(spanning_rows(&mut full, 1e-6), None);
        let (u, v): (Vec<_>, Vec<_>) = (0..160).map(|_| ([next(), next()], [next(), next()])).unzip();
        let mut thin: Vec<Vec<f64>> = u
            .iter()
            .map(|u| {
                v.iter()
                    .map(|v| u[0] * v[0] + u[1] * v[1] + 1e-9 * next())
                    .collect()
            })
            .collect();
        assert_eq!(spanning_rows(&mut thin, 1e-8).map(|rows| rows.len()), Some(2));
    }
}
