use assay_delta::Dtype;
use assay_delta::spans::onnx::read;
use assay_delta::spans::{Format, SpanError, format};

use crate::writers::{Tensor, assert_holds, message, number, onnx, onnx_kind, onnx_model, onnx_tensor};

fn refused(file: &[u8]) -> String {
    match read(&file.to_vec()) {
        Err(SpanError::Malformed {
            format: Format::Onnx,
            what,
            ..
        }) => what,
        other => panic!("{other:?}"),
    }
}

fn tensors() -> Vec<Tensor> {
    vec![
        Tensor::random("W", &[6, 50], 1),
        Tensor::new("half", Dtype::F16, &[3], vec![1; 6]),
        Tensor::new("brain", Dtype::Bf16, &[2, 2], vec![2; 8]),
        Tensor::new("Q", Dtype::I8, &[2, 8], vec![3; 16]),
        Tensor::new("scalar", Dtype::U8, &[], vec![4]),
    ]
}

#[test]
fn every_initializer_is_found() {
    let file = onnx(&tensors());
    assert_holds(&file, &read(&file).unwrap().spans, &tensors());
    assert_eq!(format("dir/Model.ONNX", &file).unwrap(), Some(Format::Onnx));
    assert_eq!(format("dir/model.bin", &file).unwrap(), None);
}

#[test]
fn packed_dimensions_and_floats_are_found() {
    let values = Tensor::random("W", &[2, 3], 5);
    let mut tensor = Vec::new();
    message(&mut tensor, 1, &[2, 3]);
    number(&mut tensor, 2, onnx_kind(Dtype::F32));
    message(&mut tensor, 4, &values.bytes);
    message(&mut tensor, 8, b"W");
    let file = onnx_model(&[tensor]);
    assert_holds(&file, &read(&file).unwrap().spans, &[values]);
}

#[test]
fn external_data_is_placed_in_the_other_file() {
    let w = Tensor::random("W", &[4, 4], 1);
    let file = onnx_model(&[onnx_tensor(&w, Some(("data/w.bin", "4096", "64")))]);
    let found = read(&file).unwrap();
    assert!(found.spans.is_empty());
    let external = &found.external[0];
    assert_eq!(
        (
            external.location.as_str(),
            external.span.offset,
            external.span.length
        ),
        ("data/w.bin", 4096, 64)
    );
}

#[test]
fn external_data_outside_the_folder_is_refused() {
    let w = Tensor::random("W", &[4, 4], 1);
    for location in [
        "/etc/passwd",
        "../other/w.bin",
        "a/../../w.bin",
        "a//b",
        "",
        ".",
        "C:\\w.bin",
        "a\\..\\b",
    ] {
        let file = onnx_model(&[onnx_tensor(&w, Some((location, "0", "64")))]);
        assert_eq!(refused(&file), "external_data location", "{location:?}");
    }
}

#[test]
fn external_numbers_that_are_none_are_refused() {
    let w = Tensor::random("W", &[4, 4], 1);
    for (offset, length) in [
        ("-1", "64"),
        ("+1", "64"),
        ("0x10", "64"),
        ("", "64"),
        ("99999999999999999999999", "64"),
    ] {
        let file = onnx_model(&[onnx_tensor(&w, Some(("w.bin", offset, length)))]);
        assert_eq!(refused(&file), "external_data offset", "{offset:?}");
    }
    let file = onnx_model(&[onnx_tensor(&w, Some(("w.bin", "0", "63")))]);
    assert!(refused(&file).contains("length"));
}

#[test]
fn data_that_is_not_that_of_the_shape_is_refused() {
    let short = Tensor::new("W", Dtype::F32, &[4], vec![0; 15]);
    assert!(refused(&onnx(&[short])).contains("data"));
    let huge = Tensor::new("W", Dtype::F32, &[u64::MAX, u64::MAX], vec![0; 16]);
    assert!(refused(&onnx(&[huge])).contains("dims"));
    let flat = Tensor::new("W", Dtype::U8, &[1; 9], vec![0]);
    assert_eq!(refused(&onnx(&[flat])), "dims");
}

#[test]
fn wire_format_that_lies_is_refused() {
    let file = onnx(&tensors());
    // Cut anywhere inside the graph, its length is more than what is left.
    for end in [file.len() - 1, file.len() / 2, 12] {
        assert!(refused(&file[..end]).contains("length of field"), "{end}");
    }
    assert_eq!(refused(&[]), "model");
    assert_eq!(refused(&[0xff; 32]), "varint");
    // Field 0, a group, a graph that is a number.
    assert_eq!(refused(&[0x00, 0x00]), "field number");
    assert_eq!(refused(&[0x0b]), "wire type");
    let mut graph = Vec::new();
    number(&mut graph, 7, 1);
    assert_eq!(refused(&graph), "model");
    // A tensor that is longer than its graph.
    let mut inner = Vec::new();
    message(&mut inner, 5, &[0x4a, 0xff, 0x7f]);
    let mut outer = Vec::new();
    message(&mut outer, 7, &inner);
    outer.extend_from_slice(&[0; 20_000]);
    assert!(refused(&outer).contains("length of field 9"));
}
