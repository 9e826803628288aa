use assay_delta::Dtype;
use assay_delta::spans::gguf::read;
use assay_delta::spans::{Format, SpanError, format};

use crate::writers::{Random, Tensor, assert_holds, gguf};

fn tensors() -> Vec<Tensor> {
    let mut random = Random(7);
    let mut tensor = |name: &str, dtype: Dtype, shape: &[u64]| {
        let weights = shape.iter().product::<u64>() as usize;
        Tensor::new(
            name,
            dtype,
            shape,
            random.bytes(weights / dtype.weights() * dtype.unit()),
        )
    };
    vec![
        tensor("token_embd.weight", Dtype::Q8_0, &[3, 64]),
        tensor("norm", Dtype::F32, &[5]),
        tensor("q4", Dtype::Q4_0, &[2, 32]),
        tensor("k4", Dtype::Q4K, &[1, 256]),
        tensor("k5", Dtype::Q5K, &[2, 256]),
        tensor("k6", Dtype::Q6K, &[1, 512]),
        tensor("half", Dtype::F16, &[3, 3]),
        tensor("brain", Dtype::Bf16, &[3]),
        tensor("bytes", Dtype::I8, &[9]),
    ]
}

fn refused(file: &[u8]) -> String {
    match read(&file.to_vec()) {
        Err(SpanError::Malformed {
            format: Format::Gguf,
            what,
            ..
        }) => what,
        other => panic!("{other:?}"),
    }
}

/// Replaces the first occurrence.
fn with(file: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let at = file.windows(from.len()).position(|w| w == from).unwrap();
    let mut out = file.to_vec();
    out[at..at + to.len()].copy_from_slice(to);
    out
}

#[test]
fn every_tensor_is_found() {
    for alignment in [None, Some(64), Some(8)] {
        let file = gguf(&tensors(), alignment);
        assert_holds(&file, &read(&file).unwrap().spans, &tensors());
        assert_eq!(format("model.bin", &file).unwrap(), Some(Format::Gguf));
    }
    let mut second = gguf(&tensors(), None);
    second[4] = 2;
    assert_eq!(read(&second).unwrap(), read(&gguf(&tensors(), None)).unwrap());
}

#[test]
fn other_versions_and_big_endian_are_refused() {
    let mut file = gguf(&tensors(), None);
    file[4] = 1;
    assert_eq!(refused(&file), "version");
    file[4..8].copy_from_slice(&3_u32.to_be_bytes());
    assert_eq!(refused(&file), "version");
    file[0] = b'g';
    assert_eq!(refused(&file), "magic");
}

#[test]
fn counts_that_no_file_can_hold_are_refused() {
    let file = gguf(&tensors(), None);
    for (at, what) in [(8, "tensor count"), (16, "metadata count")] {
        let mut lying = file.clone();
        lying[at..at + 8].copy_from_slice(&u64::MAX.to_le_bytes());
        assert_eq!(refused(&lying), what);
    }
    // An array of 2^62 strings, of 2^61 numbers, and a string that is longer than the file.
    let length = [8_u32.to_le_bytes().to_vec(), 3_u64.to_le_bytes().to_vec()].concat();
    let strings = [8_u32.to_le_bytes().to_vec(), (1_u64 << 62).to_le_bytes().to_vec()].concat();
    assert!(refused(&with(&file, &length, &strings)).contains("metadata"));
    let length = [6_u32.to_le_bytes().to_vec(), 3_u64.to_le_bytes().to_vec()].concat();
    let numbers = [
        12_u32.to_le_bytes().to_vec(),
        (1_u64 << 61).to_le_bytes().to_vec(),
    ]
    .concat();
    assert_eq!(refused(&with(&file, &length, &numbers)), "array length");
    let string = [5_u64.to_le_bytes().to_vec(), b"llama".to_vec()].concat();
    let long = (u64::MAX / 2).to_le_bytes();
    assert_eq!(refused(&with(&file, &string, &long)), "metadata value");
}

#[test]
fn arrays_nested_without_end_are_refused() {
    let mut file = b"GGUF".to_vec();
    file.extend_from_slice(&3_u32.to_le_bytes());
    file.extend_from_slice(&0_u64.to_le_bytes());
    file.extend_from_slice(&1_u64.to_le_bytes());
    file.extend_from_slice(&1_u64.to_le_bytes());
    file.push(b'k');
    file.extend_from_slice(&9_u32.to_le_bytes());
    for _ in 0..100_000 {
        file.extend_from_slice(&9_u32.to_le_bytes());
        file.extend_from_slice(&1_u64.to_le_bytes());
    }
    assert_eq!(refused(&file), "metadata value");
}

#[test]
fn alignments_that_are_no_power_of_two_are_refused() {
    for alignment in [0, 3, 48, 1 << 20] {
        // The writer pads to it, so it writes with another one first.
        let file = gguf(&tensors(), Some(64));
        let named = [4_u32.to_le_bytes(), 64_u32.to_le_bytes()].concat();
        let lying = [4_u32.to_le_bytes(), u32::to_le_bytes(alignment)].concat();
        assert_eq!(
            refused(&with(&file, &named, &lying)),
            "general.alignment",
            "{alignment}"
        );
    }
}

#[test]
fn tensors_that_overlap_leave_gaps_or_end_outside_are_refused() {
    let two = [
        Tensor::new("first", Dtype::F32, &[16], vec![1; 64]),
        Tensor::new("other", Dtype::F32, &[16], vec![2; 64]),
    ];
    let file = gguf(&two, None);
    let at = |offset: u64| [0_u32.to_le_bytes().to_vec(), offset.to_le_bytes().to_vec()].concat();
    assert!(refused(&with(&file, &at(64), &at(32))).contains("offset"));
    assert!(refused(&with(&file, &at(64), &at(96))).contains("offset"));
    assert!(refused(&with(&file, &at(64), &at(65))).contains("offset"));
    assert!(refused(&file[..file.len() - 1]).contains("length"));
    let named = [5_u64.to_le_bytes().to_vec(), b"other".to_vec()].concat();
    let twice = [5_u64.to_le_bytes().to_vec(), b"first".to_vec()].concat();
    assert!(refused(&with(&file, &named, &twice)).contains("name"));
}

#[test]
fn dimensions_that_overflow_or_split_blocks_are_refused() {
    let one = [Tensor::new("w", Dtype::Q8_0, &[32], vec![1; 34])];
    let file = gguf(&one, None);
    let shape = [1_u32.to_le_bytes().to_vec(), 32_u64.to_le_bytes().to_vec()].concat();
    for elements in [31, u64::MAX, u64::MAX - 31] {
        let lying = [1_u32.to_le_bytes().to_vec(), elements.to_le_bytes().to_vec()].concat();
        let what = refused(&with(&file, &shape, &lying));
        assert!(
            what.contains("dimensions") || what.contains("length"),
            "{elements}: {what}"
        );
    }
    assert!(refused(&with(&file, &shape, &9_u32.to_le_bytes())).contains("dimensions"));
}
