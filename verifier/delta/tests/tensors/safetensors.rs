use assay_delta::Dtype;
use assay_delta::spans::safetensors::read;
use assay_delta::spans::{Format, SpanError, format, limits};

use crate::writers::{Tensor, assert_holds, safetensors, with_header};

fn refused(file: &[u8]) -> (String, String, String) {
    match read(&file.to_vec()) {
        Err(SpanError::Malformed {
            format: Format::Safetensors,
            what,
            expected,
            found,
        }) => (what, expected, found),
        other => panic!("{other:?}"),
    }
}

fn refused_header(json: &str, data: usize) -> (String, String, String) {
    refused(&with_header(json, &vec![0; data]))
}

#[test]
fn every_tensor_is_found() {
    let tensors = [
        Tensor::random("a.weight", &[3, 5], 1),
        Tensor::new("b", Dtype::Bf16, &[7], vec![1; 14]),
        Tensor::new("scalar", Dtype::F32, &[], vec![2; 4]),
        Tensor::new("none", Dtype::F16, &[0, 9], vec![]),
        Tensor::new("e", Dtype::F8E5m2, &[3], vec![3; 3]),
        Tensor::new("i", Dtype::I8, &[2, 2], vec![4; 4]),
    ];
    let file = safetensors(&tensors);
    assert_holds(&file, &read(&file).unwrap().spans, &tensors);
    assert_eq!(format("model", &file).unwrap(), Some(Format::Safetensors));
}

#[test]
fn a_header_length_beyond_the_file_or_the_limit_is_refused() {
    let mut file = safetensors(&[Tensor::random("a", &[4], 1)]);
    file[..8].copy_from_slice(&u64::MAX.to_le_bytes());
    assert_eq!(refused(&file).0, "header length");
    let mut file = vec![b' '; limits::MAX_SAFETENSORS_HEADER as usize + 9];
    file[..8].copy_from_slice(&(limits::MAX_SAFETENSORS_HEADER + 1).to_le_bytes());
    assert_eq!(refused(&file).0, "header length");
    assert_eq!(refused(&[1, 2, 3]).0, "header length");
}

#[test]
fn holes_and_overlaps_are_refused() {
    let entry = |name: &str, from: u64, to: u64| {
        format!(
            r#""{name}":{{"dtype":"U8","shape":[{}],"data_offsets":[{from},{to}]}}"#,
            to - from
        )
    };
    let hole = format!("{{{},{}}}", entry("a", 0, 4), entry("b", 5, 9));
    assert!(refused_header(&hole, 9).0.contains("\"b\": data_offsets"));
    let overlap = format!("{{{},{}}}", entry("a", 0, 4), entry("b", 3, 7));
    assert!(refused_header(&overlap, 7).0.contains("\"b\": data_offsets"));
    let short = format!("{{{}}}", entry("a", 0, 4));
    assert_eq!(refused_header(&short, 5).0, "data");
    assert_eq!(refused_header(&short, 3).0, "data");
}

#[test]
fn lengths_that_are_not_those_of_the_shape_are_refused() {
    for (shape, from, to) in [
        ("[2]", 0, 4),
        ("[4611686018427387904,4]", 0, 8),
        ("[18446744073709551615,18446744073709551615]", 0, 8),
        ("[1]", 8, 4),
        ("[1]", 0, u64::MAX),
    ] {
        let json = format!(r#"{{"a":{{"dtype":"F32","shape":{shape},"data_offsets":[{from},{to}]}}}}"#);
        assert!(
            refused_header(&json, 8).0.contains("data_offsets"),
            "{shape} {from} {to}"
        );
    }
}

#[test]
fn a_name_twice_is_refused() {
    let json = r#"{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}"#;
    assert!(refused_header(json, 2).0.contains("name"));
}

#[test]
fn more_than_the_limits_is_refused() {
    let dimensions = r#"{"a":{"dtype":"U8","shape":[1,1,1,1,1,1,1,1,1],"data_offsets":[0,1]}}"#;
    assert!(refused_header(dimensions, 1).2.contains("8 dimensions"));
    let name = format!(
        r#"{{"{}":{{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}}}"#,
        "n".repeat(limits::MAX_TENSOR_NAME + 1)
    );
    assert!(refused_header(&name, 1).2.contains("name"));
    let many: Vec<String> = (0..=limits::MAX_TENSORS)
        .map(|i| format!(r#""{i}":{{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}"#))
        .collect();
    assert!(
        refused_header(&format!("{{{}}}", many.join(",")), 0)
            .2
            .contains("tensors")
    );
}

#[test]
fn json_that_is_no_header_is_refused() {
    for json in [
        "[]",
        "{",
        r#"{"a":1}"#,
        r#"{"a":{"dtype":"F31","shape":[1],"data_offsets":[0,4]}}"#,
        r#"{"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}"#,
        r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4,8]}}"#,
        r#"{"a":{"dtype":"F32","shape":[1.5],"data_offsets":[0,4]}}"#,
        r#"{} {}"#,
    ] {
        assert_eq!(refused_header(json, 4).0, "header", "{json}");
    }
    let deep = format!(r#"{{"__metadata__":{}}}"#, "[".repeat(100_000));
    assert_eq!(refused_header(&deep, 0).0, "header");
}
