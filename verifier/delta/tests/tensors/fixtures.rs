//! Files that the formats' own libraries wrote (`tests/fixtures/make.py`).
#![allow(clippy::disallowed_methods)]

use std::path::Path;

use assay_delta::spans::read_release;
use assay_delta::{ReadAt, Span};
use sha2::{Digest, Sha256};

fn file(name: &str) -> Vec<u8> {
    std::fs::read(
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/fixtures")
            .join(name),
    )
    .unwrap()
}

/// Compares spans with what the library noted: name, dtype, shape, and the digest of the bytes.
fn assert_noted(name: &str, spans: &[Span]) {
    let noted: Vec<serde_json::Value> = serde_json::from_slice(&file(&format!("{name}.json"))).unwrap();
    let bytes = file(name);
    let mut compared = 0;
    for tensor in &noted {
        let shape: Vec<u64> = serde_json::from_value(tensor["shape"].clone()).unwrap();
        let Some(span) = spans.iter().find(|s| s.name == tensor["name"]) else {
            // Tensors without bytes have no place.
            assert!(shape.contains(&0), "{name}: {tensor}");
            continue;
        };
        let found = &bytes[span.offset as usize..][..span.length as usize];
        assert_eq!(
            hex::encode(Sha256::digest(found)),
            tensor["sha256"],
            "{name}: {}",
            span.name
        );
        assert_eq!(
            format!("{:?}", span.dtype),
            tensor["dtype"],
            "{name}: {}",
            span.name
        );
        assert_eq!(span.shape, shape, "{name}: {}", span.name);
        compared += 1;
    }
    assert_eq!(compared, spans.len(), "{name}");
    assert!(compared >= 4, "{name}");
}

#[test]
fn files_of_the_formats_own_libraries_are_read() {
    for name in [
        "python.safetensors",
        "python-32.gguf",
        "python-64.gguf",
        "python.onnx",
    ] {
        let bytes = file(name);
        let found = read_release(&[(name, &bytes as &dyn ReadAt)]);
        assert!(found[0].problem.is_none(), "{name}: {:?}", found[0].problem);
        assert_noted(name, &found[0].spans);
    }
    let (model, data) = (file("python-external.onnx"), file("python-external.onnx.data"));
    let found = read_release(&[
        ("m/python-external.onnx", &model as &dyn ReadAt),
        ("m/python-external.onnx.data", &data as &dyn ReadAt),
    ]);
    assert!(found[0].problem.is_none(), "{:?}", found[0].problem);
    assert_noted("python-external.onnx.data", &found[1].spans);
}
