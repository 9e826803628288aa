//! Elements as numbers, and back.

use crate::Dtype;

/// The number of an element's bits.
pub(super) fn value(dtype: Dtype, bits: u32) -> f32 {
    match dtype {
        Dtype::F16 => from_half(bits as u16),
        Dtype::Bf16 => f32::from_bits(bits << 16),
        _ => f32::from_bits(bits),
    }
}

/// The step between an element and the next one of larger magnitude.
pub(super) fn step(dtype: Dtype, value: f32) -> f64 {
    let (mantissa, least) = match dtype {
        Dtype::F16 => (10, -14),
        Dtype::Bf16 => (7, -126),
        _ => (23, -126),
    };
    let exponent = ((value.to_bits() >> 23) & 0xff).cast_signed() - 127;
    f64::from(exponent.max(least) - mantissa).exp2()
}

/// The elements of a run, as the bits that stand for them.
pub(super) fn bits(dtype: Dtype, bytes: &[u8]) -> impl Iterator<Item = u32> {
    let wide = dtype == Dtype::F32;
    let (words, _) = bytes.as_chunks::<4>();
    let (halves, _) = bytes.as_chunks::<2>();
    let words = words.iter().filter(move |_| wide).map(|w| u32::from_le_bytes(*w));
    let halves = halves.iter().filter(move |_| !wide);
    words.chain(halves.map(|h| u32::from(u16::from_le_bytes(*h))))
}

/// Adds to every finite element; one to which nothing is added keeps its bits, a negative zero's too.
pub(super) fn add(dtype: Dtype, run: &mut [u8], sums: &[f64]) {
    let moved = |bits: u32, sum: f64| {
        let value = value(dtype, bits);
        (value.is_finite() && sum != 0.0).then(|| (f64::from(value) + sum) as f32)
    };
    if dtype == Dtype::F32 {
        let (words, _) = run.as_chunks_mut::<4>();
        for (word, sum) in words.iter_mut().zip(sums) {
            if let Some(value) = moved(u32::from_le_bytes(*word), *sum) {
                *word = value.to_le_bytes();
            }
        }
        return;
    }
    let (halves, _) = run.as_chunks_mut::<2>();
    for (half, sum) in halves.iter_mut().zip(sums) {
        if let Some(value) = moved(u16::from_le_bytes(*half).into(), *sum) {
            let bits = if dtype == Dtype::F16 {
                to_half(value)
            } else {
                to_brain(value)
            };
            *half = bits.to_le_bytes();
        }
    }
}

/// binary16 to binary32, exactly.
fn from_half(half: u16) -> f32 {
    let sign = u32::from(half & 0x8000) << 16;
    let (exponent, mantissa) = (u32::from(half >> 10) & 31, u32::from(half) & 0x3ff);
    match (exponent, mantissa) {
        (0, _) => {
            // Subnormal: the mantissa counts steps of 2^-24.
            let value = mantissa as f32 / 16_777_216.0;
            f32::from_bits(value.to_bits() | sign)
        }
        (31, _) => f32::from_bits(sign | 0x7f80_0000 | mantissa << 13),
        _ => f32::from_bits(sign | (exponent + 112) << 23 | mantissa << 13),
    }
}

/// binary32 to binary16, to the nearest, ties to even. The value is no NaN.
fn to_half(value: f32) -> u16 {
    let bits = value.to_bits();
    let sign = (bits >> 16 & 0x8000) as u16;
    let magnitude = bits & 0x7fff_ffff;
    let half = if magnitude >= 0x4780_0000 {
        // 65536 and more.
        0x7c00
    } else if magnitude >= 0x3880_0000 {
        // Normal: the carry of the rounding may reach the exponent, and 65520 becomes infinite.
        let rebiased = magnitude - (112 << 23);
        (rebiased + 0xfff + (rebiased >> 13 & 1)) >> 13
    } else {
        // Subnormal: steps of 2^-24; the product is exact in binary64 and `round_ties_even` is IEEE's.
        (f64::from(f32::from_bits(magnitude)) * 16_777_216.0).round_ties_even() as u32
    };
    // At most 0x7c00.
    sign | half as u16
}

/// binary32 to bfloat16, to the nearest, ties to even. The value is no NaN.
fn to_brain(value: f32) -> u16 {
    let bits = value.to_bits();
    // An infinity has no bits below, so the sum does not overflow.
    ((bits + 0x7fff + (bits >> 16 & 1)) >> 16) as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_half_comes_back() {
        for half in 0..=u16::MAX {
            let value = from_half(half);
            if !value.is_nan() {
                assert_eq!(to_half(value), half, "{half:#x}");
            }
        }
        assert_eq!(from_half(0x3c01), 1.000_976_6);
        assert_eq!(from_half(0x0001), 5.960_464_5e-8);
        assert_eq!(from_half(0xfbff), -65504.0);
    }

    #[test]
    fn rounding_is_to_the_nearest_and_to_even() {
        assert_eq!(to_half(65_519.9), 0x7bff);
        assert_eq!(to_half(65_520.0), 0x7c00);
        assert_eq!(to_half(1.000_488_3), 0x3c00);
        assert_eq!(to_half(1.001_464_9), 0x3c02);
        assert_eq!(to_half(2.9e-8), 0);
        assert_eq!(to_half(-8.9e-8), 0x8001);
        assert_eq!(to_brain(1.003_906_3), 0x3f80);
        assert_eq!(to_brain(1.011_718_8), 0x3f82);
        assert_eq!(to_brain(f32::MAX), 0x7f80);
    }
}
