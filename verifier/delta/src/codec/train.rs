//! Chooses a model from samples of corresponding base and target bytes.

use super::blocks;
use super::elements::{self, Activity, BUCKETS, Element, F32, with_element};
use super::layout::Layout;
use super::model::{Counts, Intervals, Model};
use crate::Dtype;

/// A model with what an encoder needs beside.
pub(crate) struct Trained {
    pub(crate) model: Model,
    pub(crate) intervals: Intervals,
    pub(crate) activity: Activity,
    /// About how many bits its samples need.
    bits: f32,
}

impl Trained {
    fn new(model: Model, activity: Activity, bits: f32) -> Self {
        let intervals = model.intervals();
        Self {
            model,
            intervals,
            activity,
            bits,
        }
    }

    /// Bits of the model itself.
    fn price(&self) -> f32 {
        let mut bytes = Vec::new();
        self.model.write(&mut bytes);
        bytes.len() as f32 * 8.0
    }
}

/// Fits one model to all samples, and three to samples of like activity, and keeps what is cheaper for `scale` times as many bytes.
pub(crate) fn models(dtype: Dtype, row: Option<u16>, samples: Vec<Sample>, scale: f32) -> Vec<Trained> {
    let fit = |samples: &[Sample]| elements(dtype, row, samples).or_else(|| blocks(dtype, samples));
    let cost = |models: &[Trained]| {
        models
            .iter()
            .map(|trained| trained.bits * scale + trained.price())
            .sum::<f32>()
    };
    let one: Vec<Trained> = fit(&samples).into_iter().collect();
    let several: Vec<Trained> = split(samples, 3).iter().filter_map(|group| fit(group)).collect();
    if cost(&several) < cost(&one) { several } else { one }
}

/// Equally long runs of base and target bytes, each of whole rows or of whole groups of 256 elements.
pub(crate) struct Sample {
    pub(crate) base: Vec<u8>,
    pub(crate) target: Vec<u8>,
}

/// Fits a model to samples of elements of `dtype`, whose rows have `row` elements; `None` for a dtype without elements.
fn elements(dtype: Dtype, row: Option<u16>, samples: &[Sample]) -> Option<Trained> {
    with_element!(dtype, fit(dtype, row, samples), None)
}

/// Fits a model to samples of whole blocks; `None` for a dtype without blocks.
fn blocks(dtype: Dtype, samples: &[Sample]) -> Option<Trained> {
    let layout = Layout::of(dtype)?;
    let (mut counts, mut work) = (Counts::default(), blocks::Work::default());
    for sample in samples {
        blocks::encode(&layout, (&sample.base, &sample.target), &mut counts, &mut work);
    }
    let model = Model::fit(dtype, 32, 0, 1.0, &counts);
    let activity = Activity {
        weight: [1.0; BUCKETS],
        bounds: [0.0; 6],
    };
    Some(Trained::new(model, activity, counts.bits()))
}

fn fit<E: Element>(dtype: Dtype, row: Option<u16>, samples: &[Sample]) -> Option<Trained> {
    let finite = |e: &u8| {
        !matches!(
            (dtype, *e),
            (Dtype::F32 | Dtype::Bf16, 255) | (Dtype::F16 | Dtype::F8E5m2, 31)
        )
    };
    let mut exponents = [0_u64; 256];
    for sample in samples {
        for bytes in sample.base.chunks_exact(E::SIZE) {
            let exponent = E::exponent(E::load(bytes));
            if let Some(count) = exponents
                .get_mut(usize::from(exponent))
                .filter(|_| finite(&exponent))
            {
                *count += 1;
            }
        }
    }
    // The highest exponent that is not a rarity: lower ones get buckets of their own.
    let total: u64 = exponents.iter().sum();
    let mut above = 0;
    let peak = exponents.iter().enumerate().rev().find(|(_, count)| {
        above += **count;
        above * 2000 > total
    });
    let peak = peak.map_or(0, |(exponent, _)| exponent as u8);
    // Factor and length of blocks are chosen on a quarter of the samples, the rest of the model on all.
    let part: Vec<&Sample> = samples.iter().step_by(4).collect();
    let all: Vec<&Sample> = samples.iter().collect();
    let mut best: Option<(f32, u16, f32)> = None;
    let factor = if dtype == Dtype::F32 { decay(samples) } else { None };
    for factor in [Some(1.0), factor].into_iter().flatten() {
        let differences = differences::<E>(dtype, peak, factor, &part);
        let weight = weights(&differences);
        let row = row.filter(|row| (96..=1024).contains(row));
        for block in [Some(64), Some(128), Some(256), row].into_iter().flatten() {
            let (_, bits) = tally(&differences, block, &weight).1;
            if best.is_none_or(|(least, ..)| bits < least) {
                best = Some((bits, block, factor));
            }
        }
    }
    let (_, block, factor) = best?;
    let differences = differences::<E>(dtype, peak, factor, &all);
    let (activity, (counts, bits)) = tally(&differences, block, &weights(&differences));
    let model = Model::fit(dtype, block, peak, factor, &counts);
    Some(Trained::new(model, activity, bits))
}

fn differences<E: Element>(dtype: Dtype, peak: u8, factor: f32, samples: &[&Sample]) -> Vec<(i32, u8)> {
    let shape = Model::fit(dtype, 128, peak, factor, &Counts::default());
    let mut differences = Vec::new();
    for sample in samples {
        elements::differences::<E>(&shape, &sample.base, &sample.target, &mut differences);
    }
    differences
}

/// Counts tokens with blocks of this length; beside them, about how many bits they need.
fn tally(differences: &[(i32, u8)], block: u16, weight: &[f32; BUCKETS]) -> (Activity, (Counts, f32)) {
    let block = usize::from(block);
    let activity = Activity {
        weight: *weight,
        bounds: bounds(differences, block, weight),
    };
    let mut counts = Counts::default();
    elements::count(differences, block, &activity, &mut counts);
    let bits = counts.bits() + raw_bits(differences);
    (activity, (counts, bits))
}

fn raw_bits(differences: &[(i32, u8)]) -> f32 {
    differences
        .iter()
        .map(|(difference, _)| super::token::split(*difference).2 as f32)
        .sum()
}

/// One over the mean magnitude of each bucket's differences.
fn weights(differences: &[(i32, u8)]) -> [f32; BUCKETS] {
    let mut sums = [(0.0_f64, 0_u32); BUCKETS];
    for (difference, bucket) in differences {
        if let Some((sum, count)) = sums.get_mut(usize::from(*bucket)) {
            *sum += f64::from(difference.unsigned_abs());
            *count += 1;
        }
    }
    sums.map(|(sum, count)| {
        if count == 0 {
            1.0
        } else {
            (f64::from(count) / sum.max(1e-3)).min(1e3) as f32
        }
    })
}

/// Bounds between the classes: equal steps of the logarithm between the highest and the lowest activity, of an octave at least.
fn bounds(differences: &[(i32, u8)], block: usize, weight: &[f32; BUCKETS]) -> [f32; 6] {
    let mut means = elements::magnitudes(differences, block, weight);
    means.sort_unstable_by(f32::total_cmp);
    let at = |share: f32| {
        means
            .get((means.len() as f32 * share) as usize)
            .copied()
            .unwrap_or(1.0)
            .max(1e-9)
            .log2()
    };
    let (high, low) = (at(0.999), at(0.01));
    let step = ((high - low) / 7.0).max(1.0);
    std::array::from_fn(|class| (high - step * (class as f32 + 1.0)).exp2())
}

/// The factor that weight decay left between most unchanged elements of base and target, if it is there to see. Other dtypes round
/// it away.
fn decay(samples: &[Sample]) -> Option<f32> {
    let mut ratios: Vec<f64> = Vec::new();
    for sample in samples {
        let pairs = sample.base.chunks_exact(4).zip(sample.target.chunks_exact(4));
        for (base, target) in pairs.step_by(13) {
            let [base, target] = [base, target].map(|bytes| f32::from_bits(F32::load(bytes)));
            if base.is_normal() && target.is_normal() {
                ratios.push(f64::from(target) / f64::from(base));
            }
        }
    }
    ratios.retain(|ratio| (ratio - 1.0).abs() < 0.01);
    ratios.sort_unstable_by(f64::total_cmp);
    // As wide as two units in the last place of a significand.
    let (mut densest, mut from) = (0..0, 0);
    for to in 0..ratios.len() {
        while ratios
            .get(to)
            .zip(ratios.get(from))
            .is_some_and(|(high, low)| high - low > 2.4e-7)
        {
            from += 1;
        }
        if to - from > densest.len() {
            densest = from..to;
        }
    }
    let window = ratios
        .get(densest.clone())
        .filter(|window| window.len() * 10 > ratios.len())?;
    let mean = (window.iter().sum::<f64>() / window.len() as f64) as f32;
    (mean != 1.0).then_some(mean)
}

/// How much changed in a sample: the mean bit length of its bytes' XOR, 0 to 8.
fn activity(sample: &Sample) -> f32 {
    let bits: u32 = sample
        .base
        .iter()
        .zip(&sample.target)
        .map(|(old, new)| 8 - (old ^ new).leading_zeros())
        .sum();
    bits as f32 / sample.base.len().max(1) as f32
}

/// Splits samples into groups of like activity, at most `most`: embeddings of which most rows only decay, and layers that learn.
fn split(samples: Vec<Sample>, most: usize) -> Vec<Vec<Sample>> {
    let mut samples: Vec<(f32, Sample)> = samples
        .into_iter()
        .map(|sample| (activity(&sample), sample))
        .collect();
    samples.sort_by(|a, b| a.0.total_cmp(&b.0));
    // Lloyd's algorithm on a line, from evenly spaced quantiles.
    let quantile = |at: usize| {
        samples
            .get(samples.len() * (2 * at + 1) / (2 * most))
            .map_or(0.0, |(activity, _)| *activity)
    };
    let mut centres: Vec<f32> = (0..most).map(quantile).collect();
    let nearest = |centres: &[f32], activity: f32| {
        let distances = centres.iter().map(|centre| (centre - activity).abs()).enumerate();
        distances
            .min_by(|a, b| a.1.total_cmp(&b.1))
            .map_or(0, |(at, _)| at)
    };
    for _ in 0..12 {
        let mut sums = vec![(0.0_f32, 0_u32); most];
        for (activity, _) in &samples {
            if let Some((sum, count)) = sums.get_mut(nearest(&centres, *activity)) {
                *sum += activity;
                *count += 1;
            }
        }
        for (centre, (sum, count)) in centres.iter_mut().zip(sums) {
            if count > 0 {
                *centre = sum / count as f32;
            }
        }
    }
    let mut groups: Vec<Vec<Sample>> = (0..most).map(|_| Vec::new()).collect();
    for (activity, sample) in samples {
        if let Some(group) = groups.get_mut(nearest(&centres, activity)) {
            group.push(sample);
        }
    }
    groups.retain(|group| !group.is_empty());
    groups
}
