//! What a tensor looks like at a few places: enough to tell whether another one is the same, its successor, or unrelated.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;

use crate::{Dtype, ReadAt, Span};

/// Places that are looked at, spread evenly over the tensor.
const WINDOWS: u64 = 32;
/// Elements of a window; of block types one block is looked at.
const ELEMENTS: usize = 32;
/// Bytes of a block's numbers that are looked at.
const BLOCK_BYTES: usize = 16;
/// Bits of a signature.
pub(super) const SIGNATURE: u32 = 256;

/// The numbers at a tensor's windows, as integers in the order of the numbers that they stand for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sample {
    dtype: Dtype,
    values: Vec<i64>,
    /// Of the windows' bytes. Equal hashes are a reason to compare bytes, not a proof.
    pub(super) hash: u64,
}

/// How two samples compare, beyond what chance explains.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Likeness {
    /// One is the other, or comes from it by small changes.
    Related,
    /// They have nothing to do with each other.
    Unrelated,
    /// Every number resembles every other (a new norm's ones, zeros): samples cannot tell.
    Uniform,
}

/// Samples the first `length` bytes of a tensor.
pub(super) fn sample(file: &dyn ReadAt, span: &Span, length: u64) -> io::Result<Sample> {
    let unit = span.dtype.unit() as u64;
    let window = if span.dtype.weights() > 1 {
        unit
    } else {
        unit * ELEMENTS as u64
    };
    let units = length / unit;
    let mut bytes = Vec::new();
    if length <= WINDOWS * window {
        // `length` is at most 32 blocks.
        bytes.resize(usize::try_from(length).unwrap_or(0), 0);
        file.read_at(span.offset, &mut bytes)?;
    } else {
        let last = units - window / unit;
        let size = usize::try_from(window).unwrap_or(0);
        let mut buffer = vec![0; size];
        for i in 0..WINDOWS {
            // In 128 bits, because `last` may be as large as a file.
            let at = u128::from(last) * u128::from(i) / u128::from(WINDOWS - 1);
            let at = u64::try_from(at).unwrap_or(last);
            file.read_at(span.offset.saturating_add(at * unit), &mut buffer)?;
            bytes.extend_from_slice(&buffer);
        }
    }
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    Ok(Sample {
        dtype: span.dtype,
        values: values(span.dtype, &bytes),
        hash: hasher.finish(),
    })
}

impl Sample {
    /// One bit for each pair of neighbouring numbers: whether the first is the larger. Small changes flip few of them, and unrelated
    /// tensors differ in half.
    pub(super) fn signature(&self) -> [u64; 4] {
        let mut bits = [0_u64; 4];
        // Spread over all windows, whatever their number of values.
        let pairs = self.values.len() / 2;
        let step = (pairs / SIGNATURE as usize).max(1);
        let (pairs, _) = self.values.as_chunks::<2>();
        for (i, [a, b]) in pairs.iter().step_by(step).take(SIGNATURE as usize).enumerate() {
            if let Some(word) = bits.get_mut(i / 64) {
                *word |= u64::from(a > b) << (i % 64);
            }
        }
        bits
    }

    /// Whether `other` is this tensor's predecessor.
    pub(super) fn likeness(&self, other: &Self) -> Likeness {
        if self.hash == other.hash {
            return Likeness::Related;
        }
        let length = self.values.len();
        if self.dtype != other.dtype || length != other.values.len() || length == 0 {
            return Likeness::Unrelated;
        }
        let agree = |shift: usize| {
            let shifted = other.values.iter().cycle().skip(shift);
            let pairs = self.values.iter().zip(shifted);
            pairs.filter(|(a, b)| close(self.dtype, **a, **b)).count()
        };
        // How often numbers of this tensor resemble each other by chance, measured where they cannot correspond.
        let (here, chance) = (agree(0), agree(length / 2 + 1));
        if chance * 10 > length * 9 {
            return match here * 10 > length * 9 {
                true => Likeness::Uniform,
                false => Likeness::Unrelated,
            };
        }
        match (here.saturating_sub(chance)) * 2 >= length - chance {
            true => Likeness::Related,
            false => Likeness::Unrelated,
        }
    }
}

/// Bits between two signatures that differ.
pub(super) fn distance(a: &[u64; 4], b: &[u64; 4]) -> u32 {
    a.iter().zip(b).map(|(a, b)| (a ^ b).count_ones()).sum()
}

/// Whether one number may have become the other in training: floats within a factor of two, integers within a few steps.
fn close(dtype: Dtype, a: i64, b: i64) -> bool {
    let difference = (a - b).unsigned_abs();
    match dtype {
        Dtype::F32 => difference < 1 << 23,
        Dtype::F16 => difference < 1 << 10,
        Dtype::Bf16 => difference < 1 << 7,
        Dtype::F8E4m3 => difference < 1 << 3,
        Dtype::F8E5m2 => difference < 1 << 2,
        Dtype::I8 | Dtype::U8 | Dtype::Q8_0 => difference <= 4,
        // The lower four bits of a number that may have more: they wrap.
        Dtype::Q4_0 | Dtype::Q4K | Dtype::Q5K | Dtype::Q6K => matches!(difference, 0 | 1 | 15),
        Dtype::Bytes => difference == 0,
    }
}

fn values(dtype: Dtype, bytes: &[u8]) -> Vec<i64> {
    match dtype {
        Dtype::F32 => {
            let (elements, _) = bytes.as_chunks();
            elements
                .iter()
                .map(|e| ordered(u32::from_le_bytes(*e).into(), 32))
                .collect()
        }
        Dtype::F16 | Dtype::Bf16 => {
            let (elements, _) = bytes.as_chunks();
            elements
                .iter()
                .map(|e| ordered(u16::from_le_bytes(*e).into(), 16))
                .collect()
        }
        Dtype::F8E4m3 | Dtype::F8E5m2 => bytes.iter().map(|e| ordered((*e).into(), 8)).collect(),
        Dtype::I8 => bytes.iter().map(|e| i64::from(e.cast_signed())).collect(),
        Dtype::U8 | Dtype::Bytes => bytes.iter().map(|e| i64::from(*e)).collect(),
        Dtype::Q8_0 => blocks(dtype, bytes, 2)
            .map(|e| i64::from(e.cast_signed()))
            .collect(),
        // Where each block's lower four bits begin (ggml's `block_q*` structures).
        Dtype::Q4_0 => nibbles(dtype, bytes, 2),
        Dtype::Q4K => nibbles(dtype, bytes, 16),
        Dtype::Q5K => nibbles(dtype, bytes, 48),
        Dtype::Q6K => nibbles(dtype, bytes, 0),
    }
}

/// The first bytes of every block's numbers, which begin `skip` bytes into it.
fn blocks(dtype: Dtype, bytes: &[u8], skip: usize) -> impl Iterator<Item = &u8> {
    let blocks = bytes.chunks_exact(dtype.unit());
    blocks.flat_map(move |block| block.iter().skip(skip).take(BLOCK_BYTES))
}

fn nibbles(dtype: Dtype, bytes: &[u8], skip: usize) -> Vec<i64> {
    blocks(dtype, bytes, skip)
        .flat_map(|b| [i64::from(b & 15), i64::from(b >> 4)])
        .collect()
}

/// A float's bits as an integer that is larger exactly if the float is (IEEE 754 total order, with both zeros as one).
fn ordered(bits: u64, width: u32) -> i64 {
    let magnitude = (bits & ((1 << (width - 1)) - 1)).cast_signed();
    match bits >> (width - 1) {
        0 => magnitude,
        _ => -magnitude,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(dtype: Dtype, length: u64) -> Span {
        Span {
            name: "w".to_owned(),
            dtype,
            shape: vec![length / dtype.unit() as u64],
            offset: 0,
            length,
        }
    }

    /// Numbers around zero, without a library: the sum of uniform bytes.
    fn weights(seed: u64, count: usize) -> Vec<f32> {
        let mut state = seed;
        let mut next = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            ((state >> 40) as f32) / (1 << 24) as f32 - 0.5
        };
        (0..count)
            .map(|_| (next() + next() + next() + next()) * 0.02)
            .collect()
    }

    fn bytes(values: &[f32]) -> Vec<u8> {
        values.iter().flat_map(|v| v.to_le_bytes()).collect()
    }

    fn of(bytes: &[u8], dtype: Dtype) -> Sample {
        sample(&bytes, &span(dtype, bytes.len() as u64), bytes.len() as u64).unwrap()
    }

    #[test]
    fn a_trained_tensor_is_told_from_another() {
        let base = weights(1, 100_000);
        let tuned: Vec<f32> = base
            .iter()
            .zip(weights(2, 100_000))
            .map(|(a, n)| a + n * 0.02)
            .collect();
        let (a, b, c) = (
            of(&bytes(&base), Dtype::F32),
            of(&bytes(&tuned), Dtype::F32),
            of(&bytes(&weights(3, 100_000)), Dtype::F32),
        );
        assert_eq!(b.likeness(&a), Likeness::Related);
        assert_eq!(c.likeness(&a), Likeness::Unrelated);
        assert!(distance(&a.signature(), &b.signature()) < 32);
        assert!(distance(&a.signature(), &c.signature()) > 96);
    }

    #[test]
    fn tensors_of_ones_cannot_be_told_apart() {
        let a = of(&bytes(&vec![1.0; 5_000]), Dtype::F32);
        let b = of(&bytes(&vec![1.01; 5_000]), Dtype::F32);
        assert_eq!(a.likeness(&b), Likeness::Uniform);
        assert_eq!(a.likeness(&a.clone()), Likeness::Related);
    }

    #[test]
    fn blocks_are_compared_by_their_numbers() {
        let mut a: Vec<u8> = weights(4, 9_000).iter().map(|v| v.to_bits() as u8).collect();
        let related = of(&a, Dtype::Q4_0);
        for block in a.chunks_exact_mut(18) {
            block[0] ^= 0x55;
            block[7] = (block[7] & 0xf0) | ((block[7] + 1) & 15);
        }
        assert_eq!(of(&a, Dtype::Q4_0).likeness(&related), Likeness::Related);
        let other: Vec<u8> = weights(5, 9_000).iter().map(|v| v.to_bits() as u8).collect();
        assert_eq!(of(&other, Dtype::Q4_0).likeness(&related), Likeness::Unrelated);
    }
}
