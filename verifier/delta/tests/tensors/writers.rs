//! Writers of the three formats, as small as they can be, and numbers to fill them with.

use assay_delta::Dtype;

/// A tensor to write. Its dtype is one that all formats have.
#[derive(Clone)]
pub(crate) struct Tensor {
    pub(crate) name: String,
    pub(crate) dtype: Dtype,
    pub(crate) shape: Vec<u64>,
    pub(crate) bytes: Vec<u8>,
}

impl Tensor {
    pub(crate) fn new(name: &str, dtype: Dtype, shape: &[u64], bytes: Vec<u8>) -> Self {
        Self {
            name: name.to_owned(),
            dtype,
            shape: shape.to_vec(),
            bytes,
        }
    }

    /// A matrix of f32 around zero, by a seed.
    pub(crate) fn random(name: &str, shape: &[u64], seed: u64) -> Self {
        let mut random = Random(seed);
        let count = shape.iter().product::<u64>();
        let bytes = (0..count).flat_map(|_| (random.normal() * 0.05).to_le_bytes());
        Self::new(name, Dtype::F32, shape, bytes.collect())
    }

    /// The same after a few steps of training.
    pub(crate) fn trained(&self, seed: u64) -> Self {
        let mut random = Random(seed);
        let (values, _) = self.bytes.as_chunks();
        let bytes = values
            .iter()
            .flat_map(|v| (f32::from_le_bytes(*v) + random.normal() * 5e-4).to_le_bytes());
        Self {
            bytes: bytes.collect(),
            ..self.clone()
        }
    }

    pub(crate) fn named(&self, name: &str) -> Self {
        Self {
            name: name.to_owned(),
            ..self.clone()
        }
    }
}

/// A small generator of the same numbers everywhere.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    /// Nearly normal: the sum of four uniform numbers.
    pub(crate) fn normal(&mut self) -> f32 {
        (0..4)
            .map(|_| (self.next() >> 40) as f32 / (1 << 24) as f32 - 0.5)
            .sum()
    }

    pub(crate) fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.next() as u8).collect()
    }
}

pub(crate) fn safetensors(tensors: &[Tensor]) -> Vec<u8> {
    let mut entries = vec![r#""__metadata__":{"format":"pt"}"#.to_owned()];
    let mut at = 0;
    for t in tensors {
        let dtype = match t.dtype {
            Dtype::F32 => "F32",
            Dtype::F16 => "F16",
            Dtype::Bf16 => "BF16",
            Dtype::F8E4m3 => "F8_E4M3",
            Dtype::F8E5m2 => "F8_E5M2",
            Dtype::I8 => "I8",
            Dtype::U8 => "U8",
            other => panic!("safetensors has no {other:?}"),
        };
        let end = at + t.bytes.len();
        entries.push(format!(
            r#""{}":{{"dtype":"{dtype}","shape":{:?},"data_offsets":[{at},{end}]}}"#,
            t.name, t.shape
        ));
        at = end;
    }
    with_header(
        &format!("{{{}}}", entries.join(",")),
        &tensors.iter().flat_map(|t| t.bytes.clone()).collect::<Vec<_>>(),
    )
}

pub(crate) fn with_header(json: &str, data: &[u8]) -> Vec<u8> {
    let mut header = json.as_bytes().to_vec();
    header.resize(header.len().next_multiple_of(8), b' ');
    let mut out = (header.len() as u64).to_le_bytes().to_vec();
    out.extend_from_slice(&header);
    out.extend_from_slice(data);
    out
}

fn text(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(&(text.len() as u64).to_le_bytes());
    out.extend_from_slice(text.as_bytes());
}

pub(crate) fn gguf(tensors: &[Tensor], alignment: Option<u32>) -> Vec<u8> {
    let mut out = b"GGUF".to_vec();
    out.extend_from_slice(&3_u32.to_le_bytes());
    out.extend_from_slice(&(tensors.len() as u64).to_le_bytes());
    out.extend_from_slice(&(4 + u64::from(alignment.is_some())).to_le_bytes());
    text(&mut out, "general.architecture");
    out.extend_from_slice(&8_u32.to_le_bytes());
    text(&mut out, "llama");
    text(&mut out, "llama.rope.freq_base");
    out.extend_from_slice(&6_u32.to_le_bytes());
    out.extend_from_slice(&10_000_f32.to_le_bytes());
    text(&mut out, "tokenizer.ggml.tokens");
    out.extend_from_slice(&9_u32.to_le_bytes());
    out.extend_from_slice(&8_u32.to_le_bytes());
    out.extend_from_slice(&3_u64.to_le_bytes());
    for token in ["<s>", "</s>", "a"] {
        text(&mut out, token);
    }
    text(&mut out, "tokenizer.ggml.scores");
    out.extend_from_slice(&9_u32.to_le_bytes());
    out.extend_from_slice(&6_u32.to_le_bytes());
    out.extend_from_slice(&3_u64.to_le_bytes());
    out.extend_from_slice(&[0; 12]);
    if let Some(alignment) = alignment {
        text(&mut out, "general.alignment");
        out.extend_from_slice(&4_u32.to_le_bytes());
        out.extend_from_slice(&alignment.to_le_bytes());
    }
    let alignment = alignment.unwrap_or(32) as usize;
    let mut at = 0;
    for t in tensors {
        text(&mut out, &t.name);
        out.extend_from_slice(&(t.shape.len() as u32).to_le_bytes());
        for dimension in t.shape.iter().rev() {
            out.extend_from_slice(&dimension.to_le_bytes());
        }
        let kind: u32 = match t.dtype {
            Dtype::F32 => 0,
            Dtype::F16 => 1,
            Dtype::Q4_0 => 2,
            Dtype::Q8_0 => 8,
            Dtype::Q4K => 12,
            Dtype::Q5K => 13,
            Dtype::Q6K => 14,
            Dtype::I8 => 24,
            Dtype::Bf16 => 30,
            other => panic!("GGUF has no {other:?}"),
        };
        out.extend_from_slice(&kind.to_le_bytes());
        out.extend_from_slice(&(at as u64).to_le_bytes());
        at = (at + t.bytes.len()).next_multiple_of(alignment);
    }
    for t in tensors {
        out.resize(out.len().next_multiple_of(alignment), 0);
        out.extend_from_slice(&t.bytes);
    }
    out
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

pub(crate) fn number(out: &mut Vec<u8>, field: u64, value: u64) {
    varint(out, field << 3);
    varint(out, value);
}

pub(crate) fn message(out: &mut Vec<u8>, field: u64, bytes: &[u8]) {
    varint(out, field << 3 | 2);
    varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

pub(crate) fn onnx_kind(dtype: Dtype) -> u64 {
    match dtype {
        Dtype::F32 => 1,
        Dtype::U8 => 2,
        Dtype::I8 => 3,
        Dtype::F16 => 10,
        Dtype::Bf16 => 16,
        Dtype::F8E4m3 => 17,
        Dtype::F8E5m2 => 19,
        other => panic!("ONNX has no {other:?}"),
    }
}

pub(crate) fn onnx_tensor(t: &Tensor, external: Option<(&str, &str, &str)>) -> Vec<u8> {
    let mut tensor = Vec::new();
    for dimension in &t.shape {
        number(&mut tensor, 1, *dimension);
    }
    number(&mut tensor, 2, onnx_kind(t.dtype));
    message(&mut tensor, 8, t.name.as_bytes());
    let Some((location, offset, length)) = external else {
        message(&mut tensor, 9, &t.bytes);
        return tensor;
    };
    for (key, value) in [("location", location), ("offset", offset), ("length", length)] {
        let mut entry = Vec::new();
        message(&mut entry, 1, key.as_bytes());
        message(&mut entry, 2, value.as_bytes());
        message(&mut tensor, 13, &entry);
    }
    number(&mut tensor, 14, 1);
    tensor
}

/// A model of serialised initialisers.
pub(crate) fn onnx_model(initializers: &[Vec<u8>]) -> Vec<u8> {
    let mut node = Vec::new();
    message(&mut node, 1, b"x");
    message(&mut node, 4, b"Identity");
    let mut graph = Vec::new();
    message(&mut graph, 1, &node);
    message(&mut graph, 2, b"graph");
    for tensor in initializers {
        message(&mut graph, 5, tensor);
    }
    let mut model = Vec::new();
    number(&mut model, 1, 8);
    message(&mut model, 2, b"test");
    message(&mut model, 7, &graph);
    model
}

pub(crate) fn onnx(tensors: &[Tensor]) -> Vec<u8> {
    onnx_model(&tensors.iter().map(|t| onnx_tensor(t, None)).collect::<Vec<_>>())
}

/// Checks that every span holds the bytes of the tensor of its name.
pub(crate) fn assert_holds(file: &[u8], spans: &[assay_delta::Span], tensors: &[Tensor]) {
    assert_eq!(spans.len(), tensors.len());
    for t in tensors {
        let span = spans.iter().find(|s| s.name == t.name).expect(&t.name);
        assert_eq!((span.dtype, &span.shape), (t.dtype, &t.shape), "{}", t.name);
        let at = span.offset as usize;
        assert_eq!(file[at..at + span.length as usize], t.bytes[..], "{}", t.name);
    }
}
