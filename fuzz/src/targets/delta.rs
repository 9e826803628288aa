//! `assay-delta`: index and frames of a delta, low-rank factors, tensors in model files.

use std::cell::Cell;
use std::io;

use assay_delta::lora::Factors;
use assay_delta::spans::{self, Format};
use assay_delta::{
    BasePosition, Dtype, EncodeScratch, Encoder, Header, Index, ReadAt, Scratch, Segment, Why, decode_chunk,
};
use assay_schema::limits::CHUNK_SIZE;

use super::{sha256, texts};
use crate::random::Random;
use crate::target::{Form, Memory, Outcome, Target};

/// A chunk, the base of it, and what decoding needs beside: tables of every model, planes, words.
const DECODING: Memory = Memory {
    flat: 12 << 20,
    each: 400,
};

/// The targets of this area.
pub const TARGETS: &[Target] = &[
    Target {
        made: deltas,
        runs: 4_000,
        longest: 24 << 10,
        memory: DECODING,
        covers: &[
            "verifier/delta/src/index.rs Header::parse",
            "verifier/delta/src/index.rs Index::parse",
            "verifier/delta/src/decode.rs decode_chunk",
            "verifier/delta/src/dtype.rs Dtype::from_code",
        ],
        ..Target::new("delta/object", Form::Binary, object)
    },
    Target {
        made: factors,
        covers: &["verifier/delta/src/lora/mod.rs Factors::parse"],
        ..Target::new("delta/factors", Form::Binary, low_rank)
    },
    Target {
        fixtures: &["verifier/delta/tests/fixtures/python.safetensors"],
        words: &[
            "\"dtype\":\"F32\"",
            "\"shape\":[1]",
            "\"data_offsets\":[0,4]",
            "__metadata__",
            "{\"\":",
        ],
        covers: &[
            "verifier/delta/src/spans/safetensors.rs read",
            "verifier/delta/src/spans/mod.rs read",
        ],
        ..Target::new("delta/safetensors", Form::Binary, |bytes| {
            tensors(Format::Safetensors, bytes)
        })
    },
    Target {
        made: headers,
        words: &[
            "__metadata__",
            "dtype",
            "shape",
            "data_offsets",
            "F32",
            "F8_E4M3",
            "BOOL",
            "F4",
        ],
        ..Target::new("delta/safetensors-header", Form::Json, safetensors_header)
    },
    Target {
        fixtures: &[
            "verifier/delta/tests/fixtures/python-32.gguf",
            "verifier/delta/tests/fixtures/python-64.gguf",
        ],
        words: &["general.alignment", "GGUF"],
        covers: &["verifier/delta/src/spans/gguf.rs read"],
        ..Target::new("delta/gguf", Form::Binary, |bytes| tensors(Format::Gguf, bytes))
    },
    Target {
        fixtures: &[
            "verifier/delta/tests/fixtures/python.onnx",
            "verifier/delta/tests/fixtures/python-external.onnx",
        ],
        words: &["location", "offset", "length"],
        covers: &["verifier/delta/src/spans/onnx.rs read"],
        ..Target::new("delta/onnx", Form::Binary, |bytes| tensors(Format::Onnx, bytes))
    },
    Target {
        fixtures: &[
            "verifier/delta/tests/fixtures/python.safetensors",
            "verifier/delta/tests/fixtures/python-32.gguf",
            "verifier/delta/tests/fixtures/python-external.onnx",
        ],
        runs: 1_500,
        longest: 4 << 10,
        // A model's tensors are compared with those of another by name and shape.
        memory: Memory {
            flat: 8 << 20,
            each: 2_000,
        },
        covers: &["verifier/delta/src/spans/release.rs read_release"],
        ..Target::new("delta/release", Form::Binary, release)
    },
];

/// A delta as one object. Lengths and digests are made right again, so that what they protect is reached.
fn object(bytes: &[u8]) -> Outcome {
    let mut object = bytes.to_vec();
    let as_sent = Outcome::of(Header::parse(bytes), |header| {
        Index::parse(bytes.get(..header.frames() as usize).unwrap_or(bytes)).is_ok()
    });
    // Where the frames begin is the length that the header says, or all of it.
    let said = Header::parse(bytes).map_or(u64::MAX, |header| header.frames());
    let end = usize::try_from(said).unwrap_or(usize::MAX).min(object.len());
    if end < assay_delta::index::HEADER {
        return as_sent;
    }
    object[..8].copy_from_slice(b"ASSAYDL1");
    object[8..12].copy_from_slice(&((end - assay_delta::index::HEADER) as u32).to_le_bytes());
    object[12..16].fill(0);
    let digest = sha256(&object[assay_delta::index::HEADER..end]);
    object[80..96].copy_from_slice(&digest.as_bytes()[..16]);
    let index = match Index::parse(&object[..end]) {
        Ok(index) => index,
        Err(error) => return as_sent.and(Outcome::refused(error)),
    };
    let bases = base_files();
    let mut scratch = Scratch::new();
    let mut outcome = as_sent;
    for mut entry in index.chunks().take(3) {
        assert!(entry.length <= CHUNK_SIZE, "a chunk of {} bytes", entry.length);
        let ops = entry.ops().expect("an index has read its operations");
        assert_eq!(
            ops.iter().map(|op| u64::from(op.length)).sum::<u64>(),
            u64::from(entry.length),
            "operations make the chunk"
        );
        let [from, to] = [entry.frame.start, entry.frame.end]
            .map(|at| usize::try_from(at).unwrap_or(usize::MAX).min(object.len()));
        let frame = &object[from..to];
        entry.frame = entry.frame.start..entry.frame.start + frame.len() as u64;
        entry.check.copy_from_slice(&sha256(frame).as_bytes()[..16]);
        // Nobody knows the digest of what comes out, so that the chunk itself is made, and refused by its digest only.
        let wanted = sha256(b"another chunk");
        let decoded = decode_chunk(&index, &entry, frame, &bases, &wanted, &mut scratch);
        let refused = decoded.expect_err("a chunk of another digest");
        outcome = outcome.and(match refused.why {
            Why::Digest { found, .. } => {
                let again = decode_chunk(&index, &entry, frame, &bases, &found, &mut scratch)
                    .expect("the same bytes again");
                assert_eq!(again.bytes().len(), entry.length as usize, "the chunk's length");
                Outcome::accepted(ops.len().min(4))
            }
            _ => Outcome::refused(refused),
        });
    }
    outcome
}

fn low_rank(bytes: &[u8]) -> Outcome {
    Outcome::of(Factors::parse(bytes), |factors| {
        assert_eq!(factors.to_bytes(), bytes, "one form only");
        let mut run = [0x3f; 32];
        for (dtype, first) in [(Dtype::F32, 0), (Dtype::Bf16, 3), (Dtype::F16, u64::MAX - 2)] {
            factors.predict(dtype, first, &mut run);
        }
        factors.rank()
    })
}

/// Counts what is read.
struct Counted<'a> {
    bytes: &'a [u8],
    read: Cell<u64>,
}

impl ReadAt for Counted<'_> {
    fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        self.read.set(self.read.get() + into.len() as u64);
        self.bytes.read_at(offset, into)
    }
}

fn tensors(format: Format, bytes: &[u8]) -> Outcome {
    let counted = Counted {
        bytes,
        read: Cell::new(0),
    };
    let outcome = Outcome::of(spans::read(format, &counted), |found| {
        for span in &found.spans {
            let end = span.offset.checked_add(span.length).expect("an end");
            assert!(end <= bytes.len() as u64, "{span:?} of {} bytes", bytes.len());
        }
        for external in &found.external {
            assert!(
                !external
                    .location
                    .split('/')
                    .any(|part| matches!(part, "" | "." | "..")),
                "{external:?}"
            );
        }
        (found.spans.len().min(8), found.external.len().min(2))
    });
    // A window is read again only behind a skip, which a file of this size has few of.
    let most = 64 * bytes.len() as u64 + (64 << 10);
    assert!(
        counted.read.get() <= most,
        "{} of {} bytes were read",
        counted.read.get(),
        bytes.len()
    );
    outcome
}

/// A stranger's files beside each other, matched against the same ones as they were.
fn release(bytes: &[u8]) -> Outcome {
    use assay_delta::matching::{ModelFile, correspond};
    use assay_delta::spans::read_release;
    let names = ["model.safetensors", "model.gguf", "model.onnx", "model.onnx.data"];
    let files: Vec<(&str, &dyn ReadAt)> = names.iter().map(|name| (*name, &bytes as &dyn ReadAt)).collect();
    let spans = read_release(&files);
    let turned: Vec<u8> = bytes.iter().rev().copied().collect();
    let model = |bytes: &[u8]| -> Vec<Vec<u8>> { names.iter().map(|_| bytes.to_vec()).collect() };
    let (base, target) = (model(&turned), model(bytes));
    let of = |all: &'_ [Vec<u8>]| -> Vec<(usize, usize)> { all.iter().map(Vec::len).enumerate().collect() };
    let (base_files, target_files): (Vec<_>, Vec<_>) = of(&base)
        .into_iter()
        .map(|(n, _)| {
            let file = |bytes| ModelFile {
                path: names[n],
                bytes,
                spans: &spans[n].spans,
            };
            (file(&base[n]), file(&target[n]))
        })
        .unzip();
    let matched = Outcome::of(correspond(&base_files, &target_files), |segments| {
        for (segments, file) in segments.iter().zip(&target) {
            let mut at = 0;
            for segment in segments {
                assert_eq!(segment.target.start, at, "segments follow one another");
                at = segment.target.end;
            }
            assert_eq!(at, file.len() as u64, "to the end of the file");
        }
        segments.iter().map(Vec::len).sum::<usize>().min(20)
    });
    // What was not found of tensors is compared as plain bytes, and says why.
    let problems = spans.iter().filter_map(|file| file.problem.as_ref());
    problems
        .map(Outcome::refused)
        .fold(matched, |all, problem| Outcome {
            accepted: all.accepted && problem.accepted,
            ..all.and(problem)
        })
}

/// What the deltas below are against.
fn base_files() -> Vec<Vec<u8>> {
    let mut noise = Random::new(13);
    let mut floats = Vec::new();
    for _ in 0..1500 {
        floats
            .extend_from_slice(&(((noise.next() >> 40) as f32 / (1 << 24) as f32 - 0.5) * 0.1).to_le_bytes());
    }
    vec![
        floats,
        noise.bytes(34 * 60),
        b"0123456789 some text that is there again; ".repeat(60),
    ]
}

/// A small delta for each way to code a chunk, and a target of more than one chunk.
fn deltas() -> Vec<Vec<u8>> {
    let bases = base_files();
    let mut noise = Random::new(17);
    let changed = |bytes: &[u8], noise: &mut Random| -> Vec<u8> {
        let mut bytes = bytes.to_vec();
        for at in (0..bytes.len()).step_by(4) {
            bytes[at] = bytes[at].wrapping_add((noise.next() % 3) as u8);
        }
        bytes
    };
    let mut deltas = Vec::new();
    for (file, dtype) in [
        (0_u32, Dtype::F32),
        (0, Dtype::Bf16),
        (0, Dtype::F16),
        (0, Dtype::I8),
        (1, Dtype::Q8_0),
        (2, Dtype::Bytes),
    ] {
        let whole = &bases[file as usize];
        let whole = &whole[..whole.len() / dtype.unit() * dtype.unit()];
        let target = changed(whole, &mut noise);
        let segment = Segment {
            target: 0..target.len() as u64,
            base: Some(BasePosition { file, offset: 0 }),
            dtype,
            row: None,
        };
        deltas.push(encoded(&bases, vec![target], vec![vec![segment]]));
    }
    let long = vec![0_u8; CHUNK_SIZE as usize + 3];
    let segment = Segment {
        target: 0..long.len() as u64,
        base: None,
        dtype: Dtype::Bytes,
        row: None,
    };
    deltas.push(encoded(&bases, vec![long], vec![vec![segment]]));
    deltas
}

fn encoded(bases: &[Vec<u8>], targets: Vec<Vec<u8>>, segments: Vec<Vec<Segment>>) -> Vec<u8> {
    let encoder =
        Encoder::new(sha256(b"base"), sha256(b"target"), bases, &targets, segments).expect("an encoder");
    let (mut index, mut frames, mut scratch) = (encoder.index(), Vec::new(), EncodeScratch::default());
    for (file, chunk) in encoder.chunks() {
        let encoded = encoder.encode_chunk(file, chunk, &mut scratch).expect("a chunk");
        index.push(&encoded);
        frames.extend_from_slice(&encoded.frame);
    }
    let mut object = index.finish().expect("an index");
    object.extend_from_slice(&frames);
    object
}

fn factors() -> Vec<Vec<u8>> {
    [(3_u32, 4_u32, 1_u32), (8, 5, 2)]
        .map(|(rows, columns, rank)| {
            let mut bytes = [rows, columns, rank].map(u32::to_le_bytes).concat();
            for n in 0..(rows + columns) * rank {
                bytes.extend_from_slice(&(n as f32 * 0.25 - 1.0).to_le_bytes());
            }
            bytes
        })
        .to_vec()
}

/// A file whose header is this JSON, and whose tensors are zeros.
fn safetensors_header(bytes: &[u8]) -> Outcome {
    let mut file = (bytes.len() as u64).to_le_bytes().to_vec();
    file.extend_from_slice(bytes);
    file.resize(file.len() + 4096, 0);
    tensors(Format::Safetensors, &file)
}

fn headers() -> Vec<Vec<u8>> {
    texts(&[
        r#"{"__metadata__":{"format":"pt"},"a":{"dtype":"F32","shape":[32,16],"data_offsets":[0,2048]},"b":{"dtype":"BF16","shape":[1024],"data_offsets":[2048,4096]}}"#,
        r#"{"a":{"dtype":"I8","shape":[4096],"data_offsets":[0,4096]}}"#,
    ])
}
