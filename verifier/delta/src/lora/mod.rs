//! Merged adapters: a tensor that differs from its base by a product of two thin matrices (LoRA, arXiv 2106.09685).
//!
//! Merging W' = W + B A touches every weight, so that no difference of bytes is small; but the product has rank 8 or 16 and fits into
//! a few per cent of the tensor. [`search()`] finds such factors in two tensors; [`Factors::predict`] adds their product to base bytes,
//! and what it yields is a better base: the codec still stores what is exactly left, which for most weights is nothing.
//!
//! A prediction comes out the same on every machine: products and sums are in binary64, in the order of the ranks, without fused
//! operations, and no NaN takes part.

mod float;
mod search;
mod solve;

pub use search::{Tensor, search};

use crate::Dtype;

/// The highest rank that is looked for, and accepted.
pub const MAX_RANK: usize = 64;
/// Numbers of both factors together that are accepted: 16 MiB.
pub const MAX_NUMBERS: usize = 4 << 20;
/// Bytes in front of the numbers: rows, columns and rank.
const HEADER: usize = 12;

/// Two thin matrices whose product is what a tensor gained.
#[derive(Debug, Clone, PartialEq)]
pub struct Factors {
    columns: usize,
    rank: usize,
    /// Row by row: `rank` numbers for each row of the tensor.
    left: Vec<f32>,
    /// Rank by rank: `columns` numbers each.
    right: Vec<f32>,
}

/// Bytes that are no factors.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("low-rank factors: {what}: expected {expected}, found {found}")]
pub struct BadFactors {
    /// What was looked at.
    pub what: &'static str,
    /// The rule.
    pub expected: String,
    /// What is there.
    pub found: String,
}

impl Factors {
    /// Rows of the tensor.
    pub fn rows(&self) -> usize {
        self.left.len().checked_div(self.rank).unwrap_or(0)
    }

    /// Columns of the tensor.
    pub const fn columns(&self) -> usize {
        self.columns
    }

    /// Columns of the left and rows of the right factor.
    pub const fn rank(&self) -> usize {
        self.rank
    }

    /// The bytes of [`Factors::parse`].
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEADER + 4 * (self.left.len() + self.right.len()));
        // Both were bounded when the factors were made.
        out.extend_from_slice(&(self.rows() as u32).to_le_bytes());
        out.extend_from_slice(&(self.columns as u32).to_le_bytes());
        out.extend_from_slice(&(self.rank as u32).to_le_bytes());
        for number in self.left.iter().chain(&self.right) {
            out.extend_from_slice(&number.to_le_bytes());
        }
        out
    }

    /// Reads factors that a stranger may have made: rows, columns and rank as little-endian u32, then the left factor row by row and
    /// the right factor rank by rank, as binary32.
    ///
    /// # Errors
    /// They are cut, larger than [`MAX_NUMBERS`] or [`MAX_RANK`], or not finite.
    pub fn parse(bytes: &[u8]) -> Result<Self, BadFactors> {
        let bad = |what, expected: String, found: String| BadFactors {
            what,
            expected,
            found,
        };
        let header = bytes.first_chunk::<HEADER>();
        let Some([r0, r1, r2, r3, c0, c1, c2, c3, k0, k1, k2, k3]) = header else {
            return Err(bad("header", format!("{HEADER} bytes"), bytes.len().to_string()));
        };
        let [rows, columns, rank] = [[r0, r1, r2, r3], [c0, c1, c2, c3], [k0, k1, k2, k3]]
            .map(|word| u32::from_le_bytes(word.map(|b| *b)) as usize);
        if rank == 0 || rank > MAX_RANK {
            return Err(bad("rank", format!("1 to {MAX_RANK}"), rank.to_string()));
        }
        let numbers = rows.saturating_add(columns).saturating_mul(rank);
        if rows == 0 || columns == 0 || numbers > MAX_NUMBERS {
            return Err(bad(
                "shape",
                format!("1 to {MAX_NUMBERS} numbers"),
                format!("{rows} rows and {columns} columns of rank {rank}"),
            ));
        }
        let body = bytes.get(HEADER..).unwrap_or_default();
        let (words, rest) = body.as_chunks::<4>();
        if words.len() != numbers || !rest.is_empty() {
            return Err(bad(
                "length",
                format!("{} bytes", 4 * numbers),
                body.len().to_string(),
            ));
        }
        let all: Vec<f32> = words.iter().map(|word| f32::from_le_bytes(*word)).collect();
        // A NaN's bits differ between machines once it was calculated with.
        if let Some(number) = all.iter().find(|n| !n.is_finite()) {
            return Err(bad("number", "finite numbers".to_owned(), number.to_string()));
        }
        let (left, right) = all.split_at(rows * rank);
        Ok(Self {
            columns,
            rank,
            left: left.to_vec(),
            right: right.to_vec(),
        })
    }

    /// Whether [`Factors::predict`] can add to elements of this type.
    pub const fn applies_to(dtype: Dtype) -> bool {
        matches!(dtype, Dtype::F32 | Dtype::F16 | Dtype::Bf16)
    }

    /// Adds the product to a run of the base tensor's bytes, which begins with its element `first` and holds whole ones. Elements
    /// that are not finite, of other types, or outside the tensor, stay as they are.
    pub fn predict(&self, dtype: Dtype, first: u64, run: &mut [u8]) {
        let unit = dtype.unit();
        if !Self::applies_to(dtype) || self.columns == 0 {
            return;
        }
        let columns = self.columns as u64;
        let (mut element, mut rest) = (first, run);
        let mut sums = Vec::new();
        while rest.len() >= unit {
            let Ok(row) = usize::try_from(element / columns) else {
                return;
            };
            // Less than `columns`, which fits.
            let column = (element % columns) as usize;
            let count = (self.columns - column).min(rest.len() / unit);
            let Some((part, after)) = std::mem::take(&mut rest).split_at_mut_checked(count * unit) else {
                return;
            };
            let Some(left) = self.left.get(row * self.rank..(row + 1) * self.rank) else {
                return;
            };
            sums.clear();
            sums.resize(count, 0.0_f64);
            self.product(left, column, &mut sums);
            float::add(dtype, part, &sums);
            rest = after;
            element += count as u64;
        }
    }

    /// Adds to `sums` a row's product, from `column` on. Four ranks go together, which spares memory traffic; every sum still grows
    /// rank by rank, so that no other order of additions gives another rounding.
    fn product(&self, left: &[f32], column: usize, sums: &mut [f64]) {
        let right = |rank: usize| {
            let from = rank * self.columns + column;
            self.right.get(from..from + sums.len()).unwrap_or_default()
        };
        let rows: Vec<&[f32]> = (0..self.rank).map(right).collect();
        let (fours, factors) = (rows.chunks_exact(4), left.chunks_exact(4));
        let rest = fours.remainder().iter().zip(factors.remainder());
        for (rows, factors) in fours.zip(factors) {
            let ([a, b, c, d], [e, f, g, h]) = (rows, factors) else {
                continue;
            };
            let [e, f, g, h] = [e, f, g, h].map(|factor| f64::from(*factor));
            let numbers = a.iter().zip(*b).zip(c.iter().zip(*d));
            for (sum, ((a, b), (c, d))) in sums.iter_mut().zip(numbers) {
                let mut grown = *sum;
                grown += e * f64::from(*a);
                grown += f * f64::from(*b);
                grown += g * f64::from(*c);
                grown += h * f64::from(*d);
                *sum = grown;
            }
        }
        for (row, factor) in rest {
            let factor = f64::from(*factor);
            for (sum, number) in sums.iter_mut().zip(*row) {
                *sum += factor * f64::from(*number);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn factors() -> Factors {
        Factors {
            columns: 5,
            rank: 2,
            left: vec![1.0, -2.0, 0.5, 0.25, 0.0, 0.0],
            right: vec![1.0, 2.0, 3.0, 4.0, 5.0, 0.1, 0.2, 0.3, 0.4, 0.5],
        }
    }

    #[test]
    fn bytes_come_back_and_hostile_ones_are_refused() {
        let bytes = factors().to_bytes();
        assert_eq!(Factors::parse(&bytes).unwrap(), factors());
        assert_eq!(Factors::parse(&bytes[..7]).unwrap_err().what, "header");
        assert_eq!(
            Factors::parse(&bytes[..bytes.len() - 1]).unwrap_err().what,
            "length"
        );
        assert_eq!(
            Factors::parse(&[bytes.clone(), vec![0; 4]].concat())
                .unwrap_err()
                .what,
            "length"
        );
        for (at, value, what) in [
            (0, u32::MAX, "shape"),
            (0, 0, "shape"),
            (4, u32::MAX, "shape"),
            (8, 0, "rank"),
            (8, 65, "rank"),
            (12, f32::NAN.to_bits(), "number"),
            (16, f32::INFINITY.to_bits(), "number"),
        ] {
            let mut lying = bytes.clone();
            lying[at..at + 4].copy_from_slice(&value.to_le_bytes());
            assert_eq!(Factors::parse(&lying).unwrap_err().what, what, "{at}");
        }
    }

    /// A run may begin and end inside a row, as chunks do, and yields what the whole tensor yields.
    #[test]
    fn runs_predict_what_the_whole_predicts() {
        for dtype in [Dtype::F32, Dtype::F16, Dtype::Bf16] {
            let unit = dtype.unit();
            let base: Vec<u8> = (0..15 * unit).map(|i| (i * 37 % 60) as u8).collect();
            let mut whole = base.clone();
            factors().predict(dtype, 0, &mut whole);
            assert_ne!(whole, base);
            for first in 0..15 {
                for last in first..=15 {
                    let mut run = base[first * unit..last * unit].to_vec();
                    factors().predict(dtype, first as u64, &mut run);
                    assert_eq!(run, whole[first * unit..last * unit], "{first}..{last}");
                }
            }
        }
    }

    #[test]
    fn what_is_not_finite_or_outside_stays() {
        let odd = [
            f32::NAN,
            -f32::NAN,
            f32::INFINITY,
            f32::from_bits(0x7fa0_0001),
            1.0,
        ];
        let mut run: Vec<u8> = odd.iter().flat_map(|v| v.to_le_bytes()).collect();
        let before = run.clone();
        factors().predict(Dtype::F32, 0, &mut run);
        assert_eq!(run[..16], before[..16]);
        assert_ne!(run[16..], before[16..]);
        // The third row gains nothing, and its negative zeros stay negative.
        let mut zeros = (-0.0_f32).to_le_bytes().repeat(5);
        factors().predict(Dtype::F32, 10, &mut zeros);
        assert_eq!(zeros, (-0.0_f32).to_le_bytes().repeat(5));
        for first in [15, u64::MAX] {
            let mut beyond = before.clone();
            factors().predict(Dtype::F32, first, &mut beyond);
            assert_eq!(beyond, before);
        }
        let mut integers = before.clone();
        factors().predict(Dtype::I8, 0, &mut integers);
        assert_eq!(integers, before);
    }

    /// As many ranks as do not go by fours, with numbers whose sum depends on the order.
    #[test]
    fn sums_grow_rank_by_rank() {
        let rank = 7;
        let number = |i: usize| (i * i % 97) as f32 * 1.1_f32.powi((i % 60) as i32 - 30);
        let factors = Factors {
            columns: 9,
            rank,
            left: (0..2 * rank).map(number).collect(),
            right: (0..9 * rank).map(|i| -number(i + 5)).collect(),
        };
        let mut run = 1.0_f32.to_le_bytes().repeat(18);
        factors.predict(Dtype::F32, 0, &mut run);
        for (i, found) in run.as_chunks().0.iter().enumerate() {
            let mut sum = 0.0_f64;
            for k in 0..rank {
                sum += f64::from(factors.left[i / 9 * rank + k]) * f64::from(factors.right[k * 9 + i % 9]);
            }
            assert_eq!(f32::from_le_bytes(*found), (1.0 + sum) as f32, "{i}");
        }
    }

    /// The same numbers on every machine: nothing else would let a decoder elsewhere make the chunk.
    #[test]
    fn a_prediction_is_bit_for_bit_this_one() {
        let mut run: Vec<u8> = [0.1_f32, -0.2, 0.3, 1e-8, 7.0]
            .iter()
            .flat_map(|v| v.to_le_bytes())
            .collect();
        factors().predict(Dtype::F32, 0, &mut run);
        let expected = [0.9_f32, 1.4, 2.7, 3.2, 11.0];
        let found: Vec<f32> = run.as_chunks().0.iter().map(|w| f32::from_le_bytes(*w)).collect();
        assert_eq!(found, expected);
    }
}
