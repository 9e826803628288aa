use assay_delta::spans::{Format, read_release};
use assay_delta::{Dtype, ReadAt};

use crate::writers::{Tensor, onnx_model, onnx_tensor, safetensors};

fn files<'a>(files: &'a [(&'a str, Vec<u8>)]) -> Vec<(&'a str, &'a dyn ReadAt)> {
    files
        .iter()
        .map(|(path, bytes)| (*path, bytes as &dyn ReadAt))
        .collect()
}

#[test]
fn a_hostile_header_makes_a_plain_file_and_spares_the_others() {
    let good = safetensors(&[Tensor::random("a", &[4], 1)]);
    let mut bad = good.clone();
    bad[0] ^= 0xff;
    let release = [
        ("bad.safetensors", bad),
        ("config.json", b"{}".to_vec()),
        ("good.safetensors", good),
    ];
    let found = read_release(&files(&release));
    assert_eq!(found[0].format, Some(Format::Safetensors));
    assert!(found[0].spans.is_empty());
    let problem = found[0].problem.as_ref().unwrap().to_string();
    assert!(
        problem.contains("expected") && problem.contains("found"),
        "{problem}"
    );
    assert_eq!((found[1].format, found[1].spans.len()), (None, 0));
    assert_eq!(found[2].spans.len(), 1);
}

#[test]
fn external_data_belongs_to_the_file_beside_the_model() {
    let w = Tensor::random("W", &[4, 4], 1);
    let v = Tensor::new("V", Dtype::F32, &[4], vec![9; 16]);
    let model = onnx_model(&[
        onnx_tensor(&w, Some(("w.bin", "16", "64"))),
        onnx_tensor(&v, Some(("w.bin", "0", "16"))),
        // Tied to V: the same bytes again.
        onnx_tensor(&v.named("V2"), Some(("w.bin", "0", "16"))),
    ]);
    let data = [v.bytes.clone(), w.bytes.clone()].concat();
    let release = [("onnx/model.onnx", model), ("onnx/w.bin", data)];
    let found = read_release(&files(&release));
    assert!(found[0].problem.is_none(), "{:?}", found[0].problem);
    let names: Vec<&str> = found[1].spans.iter().map(|s| s.name.as_str()).collect();
    assert_eq!(names, ["V", "W"]);
}

#[test]
fn external_data_that_is_not_there_is_reported() {
    let w = Tensor::random("W", &[4, 4], 1);
    let place = |offset| onnx_model(&[onnx_tensor(&w, Some(("w.bin", offset, "64")))]);
    for (model, data) in [
        (place("0"), ("other.bin", vec![0; 64])),
        (place("1"), ("w.bin", vec![0; 64])),
        (place("18446744073709551615"), ("w.bin", vec![0; 64])),
    ] {
        let release = [("model.onnx", model), data];
        let found = read_release(&files(&release));
        assert!(found[0].problem.is_some());
        assert!(found[1].spans.is_empty());
    }
}
