//! Which tensors have rows that matter to the codec.

use std::collections::HashMap;

use crate::{Dtype, Span};

/// Names of tensors that hold one vector a row, of which training leaves many untouched.
const EMBEDDINGS: [&str; 4] = ["embed", "wte", "wpe", "token_type"];
/// How a quantised tensor's scales are called.
const SCALES: [&str; 2] = ["scale", "scb"];
/// What a quantised tensor's name ends in, where its scales' name goes on otherwise.
const ENDINGS: [&str; 4] = [".weight", ".qweight", "_quantized", "_q"];

/// For each tensor of a file, the bytes of a row, where rows matter: int8 with one scale a row, and embeddings.
pub(super) fn rows(spans: &[Span]) -> Vec<Option<u32>> {
    // Scales by the tensor whose name they continue: the stem and the number of elements.
    let mut scales: HashMap<(&str, u64), ()> = HashMap::new();
    for span in spans {
        if let Some(stem) = scaled(&span.name) {
            scales.insert((stem, elements(span)), ());
        }
    }
    spans.iter().map(|span| row(span, &scales)).collect()
}

fn row(span: &Span, scales: &HashMap<(&str, u64), ()>) -> Option<u32> {
    let [rows, columns] = span.shape.as_slice() else {
        return None;
    };
    if *rows == 0 || *columns == 0 {
        return None;
    }
    let name = span.name.to_ascii_lowercase();
    let matters = match span.dtype {
        Dtype::I8 | Dtype::U8 => stems(&span.name).any(|stem| scales.contains_key(&(stem, *rows))),
        _ => EMBEDDINGS.iter().any(|e| name.contains(e)),
    };
    let bytes = span.length / rows;
    u32::try_from(bytes).ok().filter(|_| matters)
}

/// The stem of a name of scales: `layer.weight_scale`, `layer.scales` and `layer.SCB` are those of `layer`.
fn scaled(name: &str) -> Option<&str> {
    let lower = name.to_ascii_lowercase();
    let at = SCALES.iter().filter_map(|s| lower.rfind(s)).max()?;
    // ASCII lower case has the same length, so the place is one in `name` as well.
    let stem = name.get(..at)?.trim_end_matches(['.', '_']);
    Some(without_ending(stem))
}

fn stems(name: &str) -> impl Iterator<Item = &str> {
    [name, without_ending(name)].into_iter()
}

fn without_ending(name: &str) -> &str {
    ENDINGS.iter().find_map(|e| name.strip_suffix(e)).unwrap_or(name)
}

fn elements(span: &Span) -> u64 {
    span.shape.iter().fold(1, |n, d| n.saturating_mul(*d))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(name: &str, dtype: Dtype, shape: &[u64]) -> Span {
        Span {
            name: name.to_owned(),
            dtype,
            shape: shape.to_vec(),
            offset: 0,
            length: shape.iter().product::<u64>() * dtype.unit() as u64,
        }
    }

    #[test]
    fn int8_has_rows_only_beside_scales_of_as_many() {
        for scales in [
            "l.0.weight_scale",
            "l.0.weight.scale",
            "l.0.scales",
            "l.0.SCB",
            "l.0.weight_scale_inv",
        ] {
            let weight = span("l.0.weight", Dtype::I8, &[4, 8]);
            let spans = [weight.clone(), span(scales, Dtype::F32, &[4, 1])];
            assert_eq!(rows(&spans), [Some(8), None], "{scales}");
            let wrong = [weight.clone(), span(scales, Dtype::F32, &[1])];
            assert_eq!(rows(&wrong), [None, None], "{scales} of the whole tensor");
        }
        let other = [
            span("l.0.weight", Dtype::I8, &[4, 8]),
            span("l.1.weight_scale", Dtype::F32, &[4]),
        ];
        assert_eq!(rows(&other), [None, None]);
        let onnx = [
            span("W_quantized", Dtype::U8, &[4, 8]),
            span("W_scale", Dtype::F32, &[4]),
        ];
        assert_eq!(rows(&onnx), [Some(8), None]);
    }

    #[test]
    fn embeddings_have_rows() {
        let spans = [
            span("model.embed_tokens.weight", Dtype::Bf16, &[10, 4]),
            span("model.norm.weight", Dtype::Bf16, &[4]),
        ];
        assert_eq!(rows(&spans), [Some(8), None]);
    }
}
