//! Floats and 8-bit integers: the difference of ordered integers, in the context of what the base holds.
//!
//! Each element is mapped to an integer that has the order of the values (a float with its sign set to the complement of its bits,
//! any other float to its bits with the sign set). The base element's integer is subtracted; where the base is negative, the sign of
//! the difference is turned, so that "towards zero" is one direction. The context of the token is the *bucket* - how far the base's
//! exponent lies below the model's peak, or the upper five bits of an integer - and the *class* of the block: 0 where nothing in
//! it changed, which costs nothing more, or 1 (much changed) to 7 (little). Classes are coded in the context of the class before.

use super::Corrupt;
use super::model::{Counts, Intervals, Model};
use super::rans::{self, Tables};
use super::token::{self, BitReader, BitWriter, DIRECT, ZERO};

/// Elements that are worked on at a time; two blocks at least.
pub(crate) const TILE: usize = 4096;
/// Buckets of a class.
pub(crate) const BUCKETS: usize = 32;
/// Classes, unchanged blocks included.
pub(crate) const CLASSES: u8 = 8;
/// Contexts from here on are those of classes.
const CLASS_CONTEXT: u8 = 224;

/// A kind of element: how its bits map to ordered integers.
pub(crate) trait Element {
    /// Bytes.
    const SIZE: usize;
    /// Half of the ordered integers: those below are negative values.
    const HALF: u32;
    fn load(bytes: &[u8]) -> u32;
    fn store(bits: u32, bytes: &mut [u8]);
    fn order(bits: u32) -> u32;
    fn restore(ordered: u32) -> u32;
    fn bucket(bits: u32, peak: u8) -> u8;
    /// The exponent field, or 0 where there is none.
    fn exponent(bits: u32) -> u8;
    /// The value times `factor`, rounded to nearest even; what is not finite stays as it is.
    fn predict(bits: u32, factor: f32) -> u32;
}

macro_rules! element {
    ($name:ident, $int:ty, float $exponent:literal $mantissa:literal, $predict:expr) => {
        pub(crate) struct $name;
        impl Element for $name {
            const SIZE: usize = size_of::<$int>();
            const HALF: u32 = 1 << (<$int>::BITS - 1);
            #[inline(always)]
            fn load(bytes: &[u8]) -> u32 {
                bytes
                    .first_chunk()
                    .map_or(0, |bytes| u32::from(<$int>::from_le_bytes(*bytes)))
            }
            #[inline(always)]
            fn store(bits: u32, bytes: &mut [u8]) {
                if let Some(bytes) = bytes.first_chunk_mut() {
                    *bytes = (bits as $int).to_le_bytes();
                }
            }
            #[inline(always)]
            fn order(bits: u32) -> u32 {
                let bits = bits as $int;
                let sign = ((bits as <$int as Signed>::Int) >> (<$int>::BITS - 1)) as $int;
                u32::from(bits ^ (sign | 1 << (<$int>::BITS - 1)))
            }
            #[inline(always)]
            fn restore(ordered: u32) -> u32 {
                let bits = ordered as $int;
                let positive = ((bits as <$int as Signed>::Int) >> (<$int>::BITS - 1)) as $int;
                u32::from(bits ^ (!positive | 1 << (<$int>::BITS - 1)))
            }
            #[inline(always)]
            fn bucket(bits: u32, peak: u8) -> u8 {
                peak.saturating_sub(Self::exponent(bits))
                    .min(BUCKETS as u8 - 1)
            }
            #[inline(always)]
            fn exponent(bits: u32) -> u8 {
                (bits >> $mantissa) as u8 & (((1_u32 << $exponent) - 1) as u8)
            }
            #[inline(always)]
            fn predict(bits: u32, factor: f32) -> u32 {
                let predict: fn(u32, f32) -> u32 = $predict;
                predict(bits, factor)
            }
        }
    };
    ($name:ident, integer $flip:literal) => {
        pub(crate) struct $name;
        impl Element for $name {
            const SIZE: usize = 1;
            const HALF: u32 = 128;
            #[inline(always)]
            fn load(bytes: &[u8]) -> u32 {
                bytes.first().map_or(0, |byte| u32::from(*byte))
            }
            #[inline(always)]
            fn store(bits: u32, bytes: &mut [u8]) {
                if let Some(byte) = bytes.first_mut() {
                    *byte = bits as u8;
                }
            }
            #[inline(always)]
            fn order(bits: u32) -> u32 {
                bits ^ $flip
            }
            #[inline(always)]
            fn restore(ordered: u32) -> u32 {
                (ordered & 0xff) ^ $flip
            }
            #[inline(always)]
            fn bucket(bits: u32, _: u8) -> u8 {
                (Self::order(bits) >> 3) as u8
            }
            #[inline(always)]
            fn exponent(_: u32) -> u8 {
                0
            }
            #[inline(always)]
            fn predict(bits: u32, _: f32) -> u32 {
                bits
            }
        }
    };
}

trait Signed {
    type Int;
}
impl Signed for u8 {
    type Int = i8;
}
impl Signed for u16 {
    type Int = i16;
}
impl Signed for u32 {
    type Int = i32;
}

element!(F32, u32, float 8 23, |bits, factor| {
    let product = f32::from_bits(bits) * factor;
    if product.is_finite() { product.to_bits() } else { bits }
});
element!(F16, u16, float 5 10, |bits, factor| {
    let product = half_to_single(bits as u16) * factor;
    if product.is_finite() { u32::from(single_to_half(product)) } else { bits }
});
element!(Bf16, u16, float 8 7, |bits, factor| {
    let product = f32::from_bits(bits << 16) * factor;
    let rounded = product.to_bits().wrapping_add(0x7fff + ((product.to_bits() >> 16) & 1)) >> 16;
    if product.is_finite() { rounded } else { bits }
});
element!(F8E4m3, u8, float 4 3, |bits, _| bits);
element!(F8E5m2, u8, float 5 2, |bits, _| bits);
element!(I8, integer 0x80);
element!(U8, integer 0);

/// IEEE 754 binary16 to binary32, exactly.
#[inline(always)]
pub(crate) fn half_to_single(half: u16) -> f32 {
    // The exponent is moved by a product with 2^112, which also makes denormals normal; infinities and NaNs need their exponent filled.
    let magnitude = f32::from_bits(u32::from(half & 0x7fff) << 13) * f32::from_bits(239 << 23);
    let filled = if half & 0x7c00 == 0x7c00 { 0x7f80_0000 } else { 0 };
    f32::from_bits(magnitude.to_bits() | filled | u32::from(half & 0x8000) << 16)
}

/// A finite binary32 to binary16, to nearest even.
fn single_to_half(single: f32) -> u16 {
    let bits = single.to_bits();
    let (sign, magnitude) = ((bits >> 16) as u16 & 0x8000, bits & 0x7fff_ffff);
    let rounded = if magnitude >= 0x4780_0000 {
        0x7c00
    } else if magnitude < 0x3880_0000 {
        // Below the smallest normal: adding 1/2 leaves the fraction in units of 2^-24 in the lowest bits, rounded as it must be.
        (f32::from_bits(magnitude) + 0.5).to_bits() - 0x3f00_0000
    } else {
        (magnitude - 0x3800_0000 + 0xfff + ((magnitude >> 13) & 1)) >> 13
    };
    sign | rounded as u16
}

/// Calls a generic function with the element kind of a dtype; `$other` where there is none.
macro_rules! with_element {
    ($dtype:expr, $function:ident ( $($argument:expr),* $(,)? ), $other:expr) => {
        match $dtype {
            Dtype::F32 => $function::<$crate::codec::elements::F32>($($argument),*),
            Dtype::F16 => $function::<$crate::codec::elements::F16>($($argument),*),
            Dtype::Bf16 => $function::<$crate::codec::elements::Bf16>($($argument),*),
            Dtype::F8E4m3 => $function::<$crate::codec::elements::F8E4m3>($($argument),*),
            Dtype::F8E5m2 => $function::<$crate::codec::elements::F8E5m2>($($argument),*),
            Dtype::I8 => $function::<$crate::codec::elements::I8>($($argument),*),
            Dtype::U8 => $function::<$crate::codec::elements::U8>($($argument),*),
            _ => $other,
        }
    };
}
pub(crate) use with_element;

/// Room for one tile.
pub(crate) struct Work {
    ordered: Box<[u32; TILE]>,
    differences: Box<[i32; TILE]>,
    buckets: Box<[u8; TILE]>,
    contexts: Vec<u8>,
    tokens: Vec<u8>,
    classes: Vec<(usize, u8)>,
}

impl Default for Work {
    fn default() -> Self {
        Self {
            ordered: Box::new([0; TILE]),
            differences: Box::new([0; TILE]),
            buckets: Box::new([0; TILE]),
            contexts: Vec::with_capacity(TILE),
            tokens: vec![0; TILE],
            classes: Vec::with_capacity(TILE / 16 + 1),
        }
    }
}

/// Lengths of the blocks of the next tile: the first ends `phase` elements from here, if that is not 0.
fn next_tile(left: usize, phase: &mut usize, block: usize, classes: &mut Vec<(usize, u8)>) -> usize {
    classes.clear();
    let mut total = 0;
    while total < left {
        let length = if *phase > 0 { *phase } else { block }.min(left - total);
        if total + length > TILE {
            break;
        }
        *phase = 0;
        total += length;
        classes.push((length, 0));
    }
    total
}

/// Loads the base: ordered integers and buckets.
#[inline(always)]
fn load_base<E: Element>(model: &Model, base: &[u8], ordered: &mut [u32], buckets: &mut [u8]) {
    let (peak, factor) = (model.peak, model.factor);
    if factor == 1.0 {
        for ((bytes, ordered), bucket) in base.chunks_exact(E::SIZE).zip(ordered).zip(buckets) {
            let bits = E::load(bytes);
            *ordered = E::order(bits);
            *bucket = E::bucket(bits, peak);
        }
    } else {
        for ((bytes, ordered), bucket) in base.chunks_exact(E::SIZE).zip(ordered).zip(buckets) {
            let bits = E::predict(E::load(bytes), factor);
            *ordered = E::order(bits);
            *bucket = E::bucket(bits, peak);
        }
    }
}

/// The difference with its sign turned where the base is negative; its own inverse.
#[inline(always)]
fn fold<E: Element>(ordered: u32, difference: i32) -> i32 {
    let turn = -i32::from(ordered < E::HALF);
    (difference ^ turn).wrapping_sub(turn)
}

/// Where the tokens and raw bits of a frame come from.
pub(crate) struct Source<'a, 'b> {
    pub(crate) rans: &'a mut rans::Decoder<'b>,
    pub(crate) bits: &'a mut BitReader<'b>,
}

impl Source<'_, '_> {
    /// A symbol without raw bits, unless it escapes.
    #[inline]
    pub(crate) fn small(&mut self, tables: Tables<'_>, context: u8, lane: usize) -> Result<u8, Corrupt> {
        let symbol = self.rans.one(tables, context, lane)?;
        Ok(if symbol == token::ESCAPE {
            self.bits.take(8) as u8
        } else {
            symbol
        })
    }
}

/// Decodes `out` from `base`, which is as long and holds whole elements.
pub(crate) fn decode<E: Element>(
    (model, tables): (&Model, Tables<'_>),
    mut phase: usize,
    (mut base, mut out): (&[u8], &mut [u8]),
    source: &mut Source<'_, '_>,
    work: &mut Work,
) -> Result<(), Corrupt> {
    let block = usize::from(model.block);
    let mut class = 0;
    while !base.is_empty() {
        let count = next_tile(base.len() / E::SIZE, &mut phase, block, &mut work.classes);
        if count == 0 {
            return Err(Corrupt("run does not hold whole elements"));
        }
        let cut = count * E::SIZE;
        let (tile, rest) = base.split_at_checked(cut).ok_or(Corrupt("run is cut"))?;
        let (into, rest_out) = std::mem::take(&mut out)
            .split_at_mut_checked(cut)
            .ok_or(Corrupt("run is cut"))?;
        (base, out) = (rest, rest_out);
        decode_tile::<E>((model, tables), &mut class, (tile, into), source, work)?;
    }
    Ok(())
}

fn decode_tile<E: Element>(
    (model, tables): (&Model, Tables<'_>),
    class: &mut u8,
    (base, mut out): (&[u8], &mut [u8]),
    source: &mut Source<'_, '_>,
    work: &mut Work,
) -> Result<(), Corrupt> {
    for (at, (_, own)) in work.classes.iter_mut().enumerate() {
        *class = source.small(tables, CLASS_CONTEXT + *class, at % rans::LANES)?;
        if *class >= CLASSES {
            return Err(Corrupt("block has an unknown class"));
        }
        *own = *class;
    }
    if work.classes.iter().all(|(_, class)| *class == 0) && model.factor == 1.0 {
        out.copy_from_slice(base);
        return Ok(());
    }
    load_base::<E>(
        model,
        base,
        work.ordered.as_mut_slice(),
        work.buckets.as_mut_slice(),
    );
    work.contexts.clear();
    let mut buckets = work.buckets.as_slice();
    for (length, class) in &work.classes {
        let (block, rest) = buckets.split_at_checked(*length).ok_or(Corrupt("run is cut"))?;
        buckets = rest;
        if *class > 0 {
            let above = (*class - 1) * BUCKETS as u8;
            work.contexts.extend(block.iter().map(|bucket| above + bucket));
        }
    }
    let tokens = work
        .tokens
        .get_mut(..work.contexts.len())
        .ok_or(Corrupt("run is cut"))?;
    source.rans.batch(tables, &work.contexts, tokens)?;
    let (mut ordered, mut tokens): (&[u32], &[u8]) = (work.ordered.as_slice(), tokens);
    for (length, class) in &work.classes {
        let (block, rest) = ordered.split_at_checked(*length).ok_or(Corrupt("run is cut"))?;
        ordered = rest;
        let (into, rest) = std::mem::take(&mut out)
            .split_at_mut_checked(length * E::SIZE)
            .ok_or(Corrupt("run is cut"))?;
        out = rest;
        if *class == 0 {
            for (ordered, bytes) in block.iter().zip(into.chunks_exact_mut(E::SIZE)) {
                E::store(E::restore(*ordered), bytes);
            }
        } else {
            let (own, rest) = tokens.split_at_checked(*length).ok_or(Corrupt("run is cut"))?;
            tokens = rest;
            restore_block::<E>(block, own, into, source.bits)?;
        }
    }
    Ok(())
}

/// Adds the differences that tokens stand for.
#[inline(always)]
fn restore_block<E: Element>(
    ordered: &[u32],
    tokens: &[u8],
    out: &mut [u8],
    bits: &mut BitReader<'_>,
) -> Result<(), Corrupt> {
    const STEP: usize = 32;
    for ((ordered, tokens), out) in ordered
        .chunks(STEP)
        .zip(tokens.chunks(STEP))
        .zip(out.chunks_mut(STEP * E::SIZE))
    {
        if tokens
            .iter()
            .fold(true, |direct, token| direct & (*token < DIRECT))
        {
            for ((ordered, token), bytes) in ordered.iter().zip(tokens).zip(out.chunks_exact_mut(E::SIZE)) {
                let difference = fold::<E>(*ordered, i32::from(*token) - 15);
                E::store(E::restore(ordered.wrapping_add(difference as u32)), bytes);
            }
        } else {
            for ((ordered, token), bytes) in ordered.iter().zip(tokens).zip(out.chunks_exact_mut(E::SIZE)) {
                let difference = fold::<E>(*ordered, token::join(*token, bits)?);
                E::store(E::restore(ordered.wrapping_add(difference as u32)), bytes);
            }
        }
    }
    Ok(())
}

/// Where an encoder's tokens and raw bits go.
#[derive(Default)]
pub(crate) struct Sink {
    pub(crate) rans: rans::Encoder,
    pub(crate) bits: BitWriter,
}

impl Sink {
    /// Adds one token on `lane`; `raw` are its raw bits.
    #[inline(always)]
    pub(crate) fn put(
        &mut self,
        intervals: &Intervals,
        context: u8,
        lane: usize,
        (token, raw, count): (u8, u32, u32),
    ) {
        let (interval, escaped) = intervals.find(context, token);
        self.rans.push(interval, lane);
        if escaped {
            self.bits.put(u32::from(token), 8);
        }
        if count > 0 {
            self.bits.put(raw, count);
        }
    }

    /// Forgets everything, keeps the memory.
    pub(crate) fn clear(&mut self) {
        self.rans.clear();
        self.bits.clear();
    }
}

/// How an encoder chooses classes. Decoders need none of it.
#[derive(Debug, Clone)]
pub(crate) struct Activity {
    /// One over the mean magnitude of differences, by bucket.
    pub(crate) weight: [f32; BUCKETS],
    /// A block whose mean weighted magnitude is below `n` of these has class `n + 1`; they fall.
    pub(crate) bounds: [f32; 6],
}

impl Activity {
    #[inline(always)]
    fn weigh(&self, difference: i32, bucket: u8) -> f32 {
        difference.unsigned_abs() as f32 * self.weight.get(usize::from(bucket)).copied().unwrap_or_default()
    }

    fn class(&self, mean: f32) -> u8 {
        1 + self.bounds.iter().filter(|bound| mean < **bound).count() as u8
    }
}

/// Differences and buckets of a run, for those who choose a model.
pub(crate) fn differences<E: Element>(model: &Model, base: &[u8], target: &[u8], into: &mut Vec<(i32, u8)>) {
    for (base, target) in base.chunks_exact(E::SIZE).zip(target.chunks_exact(E::SIZE)) {
        let bits = E::load(base);
        let bits = if model.factor == 1.0 {
            bits
        } else {
            E::predict(bits, model.factor)
        };
        let ordered = E::order(bits);
        let difference = E::order(E::load(target)).wrapping_sub(ordered) as i32;
        into.push((fold::<E>(ordered, difference), E::bucket(bits, model.peak)));
    }
}

/// Encodes `target` against `base`: the counterpart of [`decode`].
pub(crate) fn encode<E: Element>(
    (model, intervals, activity): (&Model, &Intervals, &Activity),
    mut phase: usize,
    (mut base, mut target): (&[u8], &[u8]),
    sink: &mut Sink,
    work: &mut Work,
) {
    let block = usize::from(model.block);
    let mut class = 0;
    while !base.is_empty() {
        let count = next_tile(base.len() / E::SIZE, &mut phase, block, &mut work.classes);
        let (Some((tile, rest)), Some((aim, rest_target))) = (
            base.split_at_checked(count * E::SIZE),
            target.split_at_checked(count * E::SIZE),
        ) else {
            return;
        };
        if count == 0 {
            return;
        }
        (base, target) = (rest, rest_target);
        load_base::<E>(
            model,
            tile,
            work.ordered.as_mut_slice(),
            work.buckets.as_mut_slice(),
        );
        for ((difference, ordered), bytes) in work
            .differences
            .iter_mut()
            .zip(work.ordered.iter())
            .zip(aim.chunks_exact(E::SIZE))
        {
            *difference = fold::<E>(*ordered, E::order(E::load(bytes)).wrapping_sub(*ordered) as i32);
        }
        let (mut differences, mut buckets) = (work.differences.as_slice(), work.buckets.as_slice());
        for (at, (length, own)) in work.classes.iter_mut().enumerate() {
            let (Some(block), Some(scale)) = (differences.get(..*length), buckets.get(..*length)) else {
                return;
            };
            differences = differences.get(*length..).unwrap_or_default();
            buckets = buckets.get(*length..).unwrap_or_default();
            *own = if block.iter().all(|difference| *difference == 0) {
                0
            } else {
                let sum: f32 = block.iter().zip(scale).map(|(d, b)| activity.weigh(*d, *b)).sum();
                activity.class(sum / *length as f32)
            };
            sink.put(intervals, CLASS_CONTEXT + class, at % rans::LANES, (*own, 0, 0));
            class = *own;
        }
        let (mut differences, mut buckets, mut lane) =
            (work.differences.as_slice(), work.buckets.as_slice(), 0);
        for (length, class) in &work.classes {
            let (Some(block), Some(scale)) = (differences.get(..*length), buckets.get(..*length)) else {
                return;
            };
            differences = differences.get(*length..).unwrap_or_default();
            buckets = buckets.get(*length..).unwrap_or_default();
            if *class == 0 {
                continue;
            }
            for (difference, bucket) in block.iter().zip(scale) {
                sink.put(
                    intervals,
                    (class - 1) * BUCKETS as u8 + bucket,
                    lane,
                    token::split(*difference),
                );
                lane = (lane + 1) % rans::LANES;
            }
        }
    }
}

/// Counts the tokens that [`encode`] would write for blocks of `block` elements.
pub(crate) fn count(differences: &[(i32, u8)], block: usize, activity: &Activity, counts: &mut Counts) {
    let mut before = 0;
    for block in differences.chunks(block) {
        let changed = block.iter().any(|(difference, _)| *difference != 0);
        let sum: f32 = block.iter().map(|(d, b)| activity.weigh(*d, *b)).sum();
        let class = if changed {
            activity.class(sum / block.len() as f32)
        } else {
            0
        };
        counts.add(CLASS_CONTEXT + before, class);
        before = class;
        if changed {
            for (difference, bucket) in block {
                let token = if *difference == 0 {
                    ZERO
                } else {
                    token::of(*difference)
                };
                counts.add((class - 1) * BUCKETS as u8 + bucket, token);
            }
        }
    }
}

/// Mean weighted magnitudes of blocks in which something changed.
pub(crate) fn magnitudes(differences: &[(i32, u8)], block: usize, weight: &[f32; BUCKETS]) -> Vec<f32> {
    let activity = Activity {
        weight: *weight,
        bounds: [0.0; 6],
    };
    differences
        .chunks(block)
        .map(|block| block.iter().map(|(d, b)| activity.weigh(*d, *b)).sum::<f32>() / block.len() as f32)
        .filter(|mean| *mean > 0.0)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keeps_order<E: Element>(values: impl Iterator<Item = u32>) {
        for bits in values {
            assert_eq!(E::restore(E::order(bits)), bits);
        }
    }

    #[test]
    fn every_pattern_survives_the_mapping() {
        keeps_order::<F16>(0..=0xffff);
        keeps_order::<Bf16>(0..=0xffff);
        keeps_order::<F8E4m3>(0..=0xff);
        keeps_order::<F8E5m2>(0..=0xff);
        keeps_order::<I8>(0..=0xff);
        keeps_order::<U8>(0..=0xff);
        keeps_order::<F32>((0..=u32::MAX).step_by(65_521));
        assert!(F16::order(0x8001) < F16::order(0x8000) && F16::order(0x8000) < F16::order(0));
        assert!(I8::order(0xff) < I8::order(0));
    }

    #[test]
    fn halves_widen_and_narrow_exactly() {
        for half in 0..=0xffff_u16 {
            let single = half_to_single(half);
            if single.is_finite() {
                assert_eq!(single_to_half(single), half);
            }
        }
        assert_eq!(half_to_single(1), 2.0_f32.powi(-24));
        assert_eq!(half_to_single(0x7bff), 65504.0);
        assert_eq!(half_to_single(0xfc00), f32::NEG_INFINITY);
        assert!(half_to_single(0x7e01).is_nan());
        assert_eq!(single_to_half(65520.0), 0x7c00);
        assert_eq!(single_to_half(1.0 + 2.0_f32.powi(-11)), 0x3c00);
        assert_eq!(single_to_half(1.0 + 3.0 * 2.0_f32.powi(-11)), 0x3c02);
    }
}
