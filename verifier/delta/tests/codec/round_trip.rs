//! Whatever goes in comes out, bit for bit.

use assay_delta::{BasePosition, Dtype, Index, OpKind, Segment, Span};
use proptest::prelude::*;

use crate::making::{CHUNK, Made, Noise, weights};

#[test]
fn weights_of_every_dtype_come_back_and_shrink() {
    for dtype in Dtype::ALL {
        let (base, target) = weights(dtype, 120_000 / dtype.unit(), 7);
        let made = Made::simple(dtype, 0, base, target, None);
        made.assert_round_trip();
        assert!(
            made.delta.len() < made.targets[0].len() / 2,
            "{dtype:?}: {} of {}",
            made.delta.len(),
            made.targets[0].len()
        );
        if dtype != Dtype::Bytes {
            assert!(
                made.kinds
                    .iter()
                    .any(|kind| matches!(kind, OpKind::Context { .. })),
                "{dtype:?}"
            );
        }
    }
}

#[test]
fn patterns_without_a_relation_come_back() {
    for dtype in Dtype::ALL {
        let mut noise = Noise(11);
        let (base, target) = (noise.bytes(9000), noise.bytes(9000));
        let whole = 9000 / dtype.unit() * dtype.unit();
        Made::simple(dtype, 0, base[..whole].to_vec(), target[..whole].to_vec(), None).assert_round_trip();
    }
}

#[test]
fn minus_zero_nan_payloads_denormals_and_infinities_survive() {
    let special: Vec<u32> = vec![
        0,
        0x8000_0000,
        1,
        0x8000_0001,
        0x007f_ffff,
        0x7f80_0000,
        0xff80_0000,
        0x7f80_0001,
        0x7fc0_0000,
        0xffc1_2345,
        0x7fff_ffff,
        0xffff_ffff,
        0x3f80_0000,
        0xbf80_0000,
        0x7f7f_ffff,
    ];
    for dtype in [Dtype::F32, Dtype::F16, Dtype::Bf16, Dtype::F8E4m3, Dtype::F8E5m2] {
        let unit = dtype.unit();
        let (mut base, mut target) = weights(dtype, 40_000, 3);
        for (i, old) in special.iter().enumerate() {
            for (j, new) in special.iter().enumerate() {
                let at = (i * special.len() + j) * unit * 17;
                // The upper bytes, which hold sign and exponent; and for halves every pattern of their own below.
                base[at..at + unit].copy_from_slice(&old.to_le_bytes()[4 - unit..]);
                target[at..at + unit].copy_from_slice(&new.to_le_bytes()[4 - unit..]);
            }
        }
        Made::simple(dtype, 0, base, target, Some(384 * unit as u32)).assert_round_trip();
    }
    let every: Vec<u8> = (0..=u16::MAX).flat_map(u16::to_le_bytes).collect();
    let turned: Vec<u8> = (0..=u16::MAX)
        .map(|bits| bits.wrapping_mul(40_503))
        .flat_map(u16::to_le_bytes)
        .collect();
    for dtype in [
        Dtype::F16,
        Dtype::Bf16,
        Dtype::F8E4m3,
        Dtype::F8E5m2,
        Dtype::I8,
        Dtype::U8,
    ] {
        Made::simple(dtype, 0, every.clone(), turned.clone(), None).assert_round_trip();
    }
}

#[test]
fn chunk_borders_cut_elements_and_blocks() {
    for (dtype, lead) in [
        (Dtype::F32, 3),
        (Dtype::Bf16, 1),
        (Dtype::Q8_0, 8),
        (Dtype::Q6K, 5),
        (Dtype::I8, 7),
    ] {
        let (base, target) = weights(dtype, (2 * CHUNK + 5000) / dtype.unit(), 5);
        let lead_bytes = vec![9; lead];
        let made = Made::simple(
            dtype,
            lead,
            [lead_bytes.clone(), base].concat(),
            [lead_bytes, target].concat(),
            Some(384 * dtype.unit() as u32),
        );
        made.assert_round_trip();
        assert!(made.delta.len() < made.targets[0].len() / 2, "{dtype:?}");
    }
}

#[test]
fn a_release_that_only_moved_costs_next_to_nothing() {
    let tensors: Vec<Vec<u8>> = (1..9).map(|seed| Noise(seed).bytes(700_000)).collect();
    let base = tensors.concat();
    let target: Vec<u8> = tensors.iter().rev().flatten().copied().collect();
    let segments = (0..8_u64)
        .map(|at| Segment {
            target: at * 700_000..(at + 1) * 700_000,
            base: Some(BasePosition {
                file: 0,
                offset: (7 - at) * 700_000,
            }),
            dtype: Dtype::F16,
            row: None,
        })
        .collect();
    let made = Made::new(vec![base], vec![target], vec![segments]);
    made.assert_round_trip();
    assert!(made.delta.len() < 500, "{}", made.delta.len());
    assert!(
        Index::parse(&made.delta)
            .unwrap()
            .chunks()
            .all(|entry| entry.frame.is_empty())
    );
}

#[test]
fn bytes_without_a_base_are_compressed_or_stored() {
    let text = b"the same words again and again, ".repeat(5000);
    let none = |length: usize, dtype| {
        vec![vec![Segment {
            target: 0..length as u64,
            base: None,
            dtype,
            row: None,
        }]]
    };
    let made = Made::new(vec![], vec![text.clone()], none(text.len(), Dtype::Bytes));
    made.assert_round_trip();
    assert!(made.delta.len() < text.len() / 50);
    let noise = Noise(4).bytes(3 * CHUNK / 2 + 1);
    let made = Made::new(vec![], vec![noise.clone()], none(noise.len(), Dtype::Bytes));
    made.assert_round_trip();
    assert!(made.delta.len() < noise.len() + 300);
    let (weights, _) = weights(Dtype::Bf16, 300_001, 6);
    let made = Made::new(vec![], vec![weights.clone()], none(weights.len(), Dtype::Bf16));
    made.assert_round_trip();
    assert!(made.delta.len() < weights.len() * 9 / 10);
}

#[test]
fn empty_releases_and_empty_files_come_back() {
    Made::new(vec![], vec![], vec![]).assert_round_trip();
    Made::new(vec![vec![1, 2, 3]], vec![vec![]], vec![vec![]]).assert_round_trip();
}

#[test]
fn a_decaying_tensor_is_predicted() {
    let mut noise = Noise(21);
    let base: Vec<f32> = (0..200_000).map(|_| noise.normal() * 0.05).collect();
    let target: Vec<u8> = base
        .iter()
        .flat_map(|value| (value * 0.999_97).to_le_bytes())
        .collect();
    let base: Vec<u8> = base.iter().flat_map(|value| value.to_le_bytes()).collect();
    let made = Made::simple(Dtype::F32, 0, base, target, None);
    made.assert_round_trip();
    assert!(made.delta.len() < 50_000, "{}", made.delta.len());
}

/// A tensor of `rows` x `columns`, and the same with the product of a column and a row added.
pub(crate) fn merged(rows: usize, columns: usize) -> (Vec<u8>, Vec<u8>) {
    let mut noise = Noise(33);
    let left: Vec<f32> = (0..rows).map(|_| noise.normal() * 0.1).collect();
    let right: Vec<f32> = (0..columns).map(|_| noise.normal() * 0.1).collect();
    let (mut base, mut target) = (Vec::new(), Vec::new());
    for a in &left {
        for b in &right {
            let old = noise.normal() * 0.05;
            base.extend_from_slice(&old.to_le_bytes());
            target.extend_from_slice(&(old + a * b).to_le_bytes());
        }
    }
    (base, target)
}

/// Its delta, the tensor between two others of the same segment.
pub(crate) fn merged_delta(rows: usize, columns: usize) -> Made {
    let (base, target) = merged(rows, columns);
    let length = target.len() as u64;
    let wrap = |tensor: Vec<u8>| [vec![7; 24], tensor, vec![8; 40]].concat();
    let segment = Segment {
        target: 0..length + 64,
        base: Some(BasePosition { file: 0, offset: 0 }),
        dtype: Dtype::F32,
        row: None,
    };
    let shape = vec![rows as u64, columns as u64];
    let span = Span {
        name: "w".to_owned(),
        dtype: Dtype::F32,
        shape,
        offset: 24,
        length,
    };
    Made::with_tensors(
        vec![wrap(base)],
        vec![wrap(target)],
        vec![vec![segment]],
        &[vec![span]],
    )
}

#[test]
fn a_merged_adapter_costs_its_factors() {
    let made = merged_delta(800, 500);
    made.assert_round_trip();
    assert!(
        made.delta.len() < made.targets[0].len() / 20,
        "{}",
        made.delta.len()
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn anything_comes_back(
        code in 0_u8..13,
        lead in 0_usize..40,
        seed in 1_u64..u64::MAX,
        length in 0_usize..60_000,
        rate in 1_u64..2000,
        row in proptest::option::of(1_u32..3000),
    ) {
        let dtype = Dtype::from_code(code).unwrap();
        let mut noise = Noise(seed);
        let base = noise.bytes(lead + length);
        let mut target = base.clone();
        for byte in &mut target {
            if noise.next().is_multiple_of(rate) {
                *byte = noise.next() as u8;
            }
        }
        Made::simple(dtype, lead, base, target, row).assert_round_trip();
    }
}
