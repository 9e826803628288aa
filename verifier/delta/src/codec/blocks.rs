//! GGUF's quantised blocks: scales and quants apart, quants in the context of how their scale changed.
//!
//! A group of weights that was quantised anew with another scale shifts each quant by an amount that depends on the quant and on the
//! change of the scale; both are in the context. Contexts of a model of blocks:
//!
//! | context | of |
//! |---|---|
//! | 16 s + n, s 0..=14 | a quant: s is 7 plus the signed bit length of its scale's change, at most 7; n the base quant's upper four bits |
//! | 240 + s, s 0..=7 | whether any quant of a group changed; s as above, without sign |
//! | 248 + c, c 0..=3 | the change of a block's scale; c is the bit length of the change before it, at most 3 |
//! | 252 | the change of a block's minimum |
//! | 253, 254 | the change of a scale, of a minimum within a block |

use super::elements::{Element, F16, Source, half_to_single};
use super::layout::{Layout, MOST, Scales};
use super::model::{Counts, Intervals, Model};
use super::rans::{LANES, Tables};
use super::token::{self, BitReader, DIRECT, ZERO};
use super::{Corrupt, elements};

const CHANGED: u8 = 240;
const SCALE: u8 = 248;
const MINIMUM: u8 = 252;
const SUB_SCALE: u8 = 253;
const SUB_MINIMUM: u8 = 254;
/// Weights that are worked on at a time.
const TILE: usize = 4096;

/// Room for one tile.
pub(crate) struct Work {
    base: Box<[u8; TILE]>,
    target: Box<[u8; TILE]>,
    contexts: Vec<u8>,
    tokens: Vec<u8>,
    scales: Vec<Scales>,
    groups: Vec<Option<u8>>,
}

impl Default for Work {
    fn default() -> Self {
        Self {
            base: Box::new([0; TILE]),
            target: Box::new([0; TILE]),
            contexts: Vec::with_capacity(TILE),
            tokens: vec![0; TILE],
            scales: Vec::with_capacity(TILE / 32),
            groups: Vec::with_capacity(TILE / 16),
        }
    }
}

/// The signed bit length of a scale's change, plus 7.
#[inline(always)]
fn bucket(change: i32) -> u8 {
    let length = (32 - change.unsigned_abs().leading_zeros()).min(7) as u8;
    if change < 0 { 7 - length } else { 7 + length }
}

/// How the scale of a group changed, in units of about 2^-10.
#[inline(always)]
fn change(layout: &Layout, base: &Scales, target: &Scales, group: usize) -> i32 {
    if layout.subs == 0 {
        return super_change(base.supers[0], target.supers[0]);
    }
    let scale = |scales: &Scales| {
        let sub = scales.subs.get(group).copied().unwrap_or_default();
        let sub = if layout.supers == 1 {
            f32::from(sub as i8)
        } else {
            f32::from(sub)
        };
        half_to_single(scales.supers[0]) * sub
    };
    let (base, target) = (scale(base), scale(target));
    // The bits of a NaN that an operation made differ between processors.
    if base.is_nan() || target.is_nan() {
        return 0;
    }
    let [base, target] = [base, target].map(|scale| elements::F32::order(scale.to_bits()));
    (target.wrapping_sub(base) as i32) >> 13
}

/// The change of an f16, turned where the base is negative.
#[inline(always)]
fn super_change(base: u16, target: u16) -> i32 {
    let ordered = F16::order(u32::from(base));
    let difference = F16::order(u32::from(target)).wrapping_sub(ordered) as i32;
    if ordered < F16::HALF {
        -difference
    } else {
        difference
    }
}

#[inline(always)]
fn changed_super(base: u16, change: i32) -> u16 {
    let ordered = F16::order(u32::from(base));
    let difference = if ordered < F16::HALF {
        change.wrapping_neg()
    } else {
        change
    };
    F16::restore(ordered.wrapping_add(difference as u32)) as u16
}

/// Bits of a scale within a block.
const fn sub_bits(layout: &Layout) -> u32 {
    if layout.supers == 1 { 8 } else { 6 }
}

/// A difference modulo 2^bits, as the number nearest to zero.
#[inline(always)]
fn nearest(difference: u8, bits: u32) -> i32 {
    let unused = 8 - bits;
    i32::from((difference << unused) as i8 >> unused)
}

fn sub_context(layout: &Layout, at: usize) -> u8 {
    if layout.supers == 2 && at >= 8 {
        SUB_MINIMUM
    } else {
        SUB_SCALE
    }
}

/// Decodes whole blocks.
pub(crate) fn decode(
    (model, tables): (&Model, Tables<'_>),
    (base, out): (&[u8], &mut [u8]),
    source: &mut Source<'_, '_>,
    work: &mut Work,
) -> Result<(), Corrupt> {
    let layout = Layout::of(model.dtype).ok_or(Corrupt("model's dtype has neither elements nor blocks"))?;
    let tile = TILE / layout.weights * layout.bytes;
    let mut before = 0;
    for (base, out) in base.chunks(tile).zip(out.chunks_mut(tile)) {
        decode_tile(&layout, tables, &mut before, (base, out), source, work)
            .ok_or(Corrupt("blocks are corrupt"))??;
    }
    Ok(())
}

/// `None` cannot happen with whole blocks.
fn decode_tile(
    layout: &Layout,
    tables: Tables<'_>,
    before: &mut u32,
    (base, out): (&[u8], &mut [u8]),
    source: &mut Source<'_, '_>,
    work: &mut Work,
) -> Option<Result<(), Corrupt>> {
    work.scales.clear();
    work.groups.clear();
    work.contexts.clear();
    let mut lane = 0;
    let shift = layout.bits.saturating_sub(4);
    for (block, quants) in base
        .chunks_exact(layout.bytes)
        .zip(work.base.chunks_exact_mut(layout.weights))
    {
        let old = layout.unpack(block, quants)?;
        let mut new = old;
        let mut read = |source: &mut Source<'_, '_>, context: u8| -> Result<i32, Corrupt> {
            lane = (lane + 1) % LANES;
            let token = source.rans.one(tables, context, lane)?;
            if token < DIRECT {
                Ok(i32::from(token) - i32::from(ZERO))
            } else {
                token::join(token, source.bits)
            }
        };
        let result = (|| {
            let change = read(source, SCALE + (*before).min(3) as u8)?;
            *before = 32 - change.unsigned_abs().leading_zeros();
            new.supers[0] = changed_super(old.supers[0], change);
            if layout.supers == 2 {
                new.supers[1] = changed_super(old.supers[1], read(source, MINIMUM)?);
            }
            let mask = ((1_u32 << sub_bits(layout)) - 1) as u8;
            for (at, sub) in new.subs.iter_mut().enumerate().take(layout.subs) {
                *sub = sub.wrapping_add(read(source, sub_context(layout, at))? as u8) & mask;
            }
            Ok(())
        })();
        if let Err(corrupt) = result {
            return Some(Err(corrupt));
        }
        work.scales.push(new);
        for (group, quants) in quants.chunks_exact(layout.group).enumerate() {
            let bucket = bucket(change(layout, &old, &new, group));
            lane = (lane + 1) % LANES;
            let changed = match source.small(tables, CHANGED + bucket.abs_diff(7), lane) {
                Ok(changed) => changed != 0,
                Err(corrupt) => return Some(Err(corrupt)),
            };
            work.groups.push(changed.then_some(bucket));
            if changed {
                work.contexts
                    .extend(quants.iter().map(|quant| bucket << 4 | quant >> shift));
            }
        }
    }
    let tokens = work.tokens.get_mut(..work.contexts.len())?;
    if let Err(corrupt) = source.rans.batch(tables, &work.contexts, tokens) {
        return Some(Err(corrupt));
    }
    let mut tokens: &[u8] = tokens;
    for (changed, quants) in work.groups.iter().zip(work.base.chunks_exact_mut(layout.group)) {
        if changed.is_some() {
            let (own, rest) = tokens.split_at_checked(layout.group)?;
            tokens = rest;
            if let Err(corrupt) = add(layout.bits, own, quants, source.bits) {
                return Some(Err(corrupt));
            }
        }
    }
    let quants = work.base.chunks_exact(layout.weights);
    for ((scales, quants), block) in work
        .scales
        .iter()
        .zip(quants)
        .zip(out.chunks_exact_mut(layout.bytes))
    {
        layout.pack(scales, quants, block)?;
    }
    Some(Ok(()))
}

/// Adds the differences that tokens stand for.
#[inline(always)]
fn add(bits: u32, tokens: &[u8], quants: &mut [u8], raw: &mut BitReader<'_>) -> Result<(), Corrupt> {
    let mask = ((1_u32 << bits) - 1) as u8;
    if tokens
        .iter()
        .fold(true, |direct, token| direct & (*token < DIRECT))
    {
        for (quant, token) in quants.iter_mut().zip(tokens) {
            *quant = quant.wrapping_add(token.wrapping_sub(ZERO)) & mask;
        }
    } else {
        for (quant, token) in quants.iter_mut().zip(tokens) {
            *quant = quant.wrapping_add(token::join(*token, raw)? as u8) & mask;
        }
    }
    Ok(())
}

/// Where tokens go: to a stream, or into counts.
pub(crate) trait Put {
    fn put(&mut self, context: u8, lane: usize, split: (u8, u32, u32));
}

/// To a stream, by a model's tables.
pub(crate) struct Stream<'a> {
    pub(crate) intervals: &'a Intervals,
    pub(crate) sink: &'a mut elements::Sink,
}

impl Put for Stream<'_> {
    #[inline(always)]
    fn put(&mut self, context: u8, lane: usize, split: (u8, u32, u32)) {
        self.sink.put(self.intervals, context, lane, split);
    }
}

impl Put for Counts {
    fn put(&mut self, context: u8, _: usize, (token, ..): (u8, u32, u32)) {
        self.add(context, token);
    }
}

/// Encodes whole blocks: the counterpart of [`decode`]. Does nothing for a dtype without blocks.
pub(crate) fn encode(layout: &Layout, (base, target): (&[u8], &[u8]), out: &mut impl Put, work: &mut Work) {
    let tile = TILE / layout.weights * layout.bytes;
    let mut before = 0;
    for (base, target) in base.chunks(tile).zip(target.chunks(tile)) {
        encode_tile(layout, &mut before, (base, target), out, work);
    }
}

fn encode_tile(
    layout: &Layout,
    before: &mut u32,
    (base, target): (&[u8], &[u8]),
    out: &mut impl Put,
    work: &mut Work,
) {
    work.groups.clear();
    let mut lane = 0;
    let mut put = |out: &mut _, context: u8, split| {
        lane = (lane + 1) % LANES;
        Put::put(out, context, lane, split);
    };
    let shift = layout.bits.saturating_sub(4);
    let blocks = base
        .chunks_exact(layout.bytes)
        .zip(target.chunks_exact(layout.bytes));
    let quants = work
        .base
        .chunks_exact_mut(layout.weights)
        .zip(work.target.chunks_exact_mut(layout.weights));
    for ((base, target), (old_quants, new_quants)) in blocks.zip(quants) {
        let (Some(old), Some(new)) = (layout.unpack(base, old_quants), layout.unpack(target, new_quants))
        else {
            return;
        };
        let difference = super_change(old.supers[0], new.supers[0]);
        put(out, SCALE + (*before).min(3) as u8, token::split(difference));
        *before = 32 - difference.unsigned_abs().leading_zeros();
        if layout.supers == 2 {
            put(
                out,
                MINIMUM,
                token::split(super_change(old.supers[1], new.supers[1])),
            );
        }
        for (at, (old, new)) in old.subs.iter().zip(&new.subs).enumerate().take(layout.subs) {
            put(
                out,
                sub_context(layout, at),
                token::split(nearest(new.wrapping_sub(*old), sub_bits(layout))),
            );
        }
        let groups = old_quants
            .chunks_exact(layout.group)
            .zip(new_quants.chunks_exact(layout.group));
        for (group, (old_quants, new_quants)) in groups.enumerate() {
            let bucket = bucket(change(layout, &old, &new, group));
            let changed = old_quants != new_quants;
            put(out, CHANGED + bucket.abs_diff(7), (u8::from(changed), 0, 0));
            work.groups.push(changed.then_some(bucket));
        }
    }
    let quants = work
        .base
        .chunks_exact(layout.group)
        .zip(work.target.chunks_exact(layout.group));
    let mut lane = 0;
    for (changed, (old, new)) in work.groups.iter().zip(quants) {
        let Some(bucket) = changed else { continue };
        for (old, new) in old.iter().zip(new) {
            let difference = nearest(new.wrapping_sub(*old), layout.bits);
            out.put(bucket << 4 | old >> shift, lane, token::split(difference));
            lane = (lane + 1) % LANES;
        }
    }
}

const _: () = assert!(TILE >= MOST);
