//! Mutated files, the same ones on every run: a reader ends with spans inside the file or an error, and reads no more than a bounded
//! part of it.

use std::cell::Cell;
use std::io;

use assay_delta::spans::{self, Format};
use assay_delta::{Dtype, ReadAt};

use crate::writers::{Random, Tensor, gguf, onnx, onnx_model, onnx_tensor, safetensors};

const ROUNDS: usize = 6_000;

/// Counts what is read.
struct Counted {
    bytes: Vec<u8>,
    read: Cell<u64>,
}

impl ReadAt for Counted {
    fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        self.read.set(self.read.get() + into.len() as u64);
        self.bytes.read_at(offset, into)
    }
}

fn mutate(random: &mut Random, file: &[u8]) -> Vec<u8> {
    let mut out = file.to_vec();
    for _ in 0..=random.below(3) {
        // Headers are where the lies are.
        let reach = if random.below(4) == 0 {
            out.len()
        } else {
            out.len().min(600)
        };
        if reach < 9 {
            break;
        }
        let at = random.below(reach - 8);
        match random.below(7) {
            0 => out[at] ^= 1 << random.below(8),
            1 => out[at] = random.next() as u8,
            2 => out[at..at + 8].copy_from_slice(&random.next().to_le_bytes()),
            3 => out[at..at + 8].copy_from_slice(&(u64::MAX >> random.below(64)).to_le_bytes()),
            4 => out.truncate(at),
            5 => {
                let length = 1 + random.below(8);
                out.drain(at..at + length);
            }
            _ => {
                let length = 1 + random.below(16);
                let inserted = random.bytes(length);
                out.splice(at..at, inserted);
            }
        }
        if out.is_empty() {
            break;
        }
    }
    out
}

fn attack(format: Format, file: &[u8], seed: u64) {
    let mut random = Random(seed);
    let (mut followed, mut refused) = (0, 0);
    for round in 0..ROUNDS {
        let mutated = Counted {
            bytes: mutate(&mut random, file),
            read: Cell::new(0),
        };
        match spans::read(format, &mutated) {
            Ok(found) => {
                followed += 1;
                for span in &found.spans {
                    let end = span.offset.checked_add(span.length).unwrap();
                    assert!(end <= mutated.len(), "round {round}: {span:?}");
                }
            }
            Err(error) => {
                refused += 1;
                let text = error.to_string();
                assert!(text.contains("expected") && text.contains("found"), "{text}");
            }
        }
        // A window is read again only behind a skip, which a file of this size has few of.
        let most = 64 * mutated.len() + (64 << 10);
        assert!(
            mutated.read.get() <= most,
            "round {round}: {}",
            mutated.read.get()
        );
    }
    // Otherwise this would test the first comparison only.
    assert!(
        followed > ROUNDS / 100 && refused > ROUNDS / 4,
        "{followed} {refused}"
    );
}

fn tensors() -> Vec<Tensor> {
    (0..6)
        .map(|i| Tensor::random(&format!("layer.{i}.weight"), &[4, 8], i))
        .collect()
}

#[test]
fn mutated_safetensors_never_panic() {
    attack(Format::Safetensors, &safetensors(&tensors()), 11);
}

#[test]
fn mutated_gguf_never_panics() {
    let mut tensors = tensors();
    tensors.push(Tensor::new("q", Dtype::Q6K, &[1, 256], vec![5; 210]));
    attack(Format::Gguf, &gguf(&tensors, Some(32)), 12);
}

#[test]
fn mutated_onnx_never_panics() {
    attack(Format::Onnx, &onnx(&tensors()), 13);
    let external: Vec<Vec<u8>> = tensors()
        .iter()
        .map(|t| onnx_tensor(t, Some(("w.bin", "128", "128"))))
        .collect();
    attack(Format::Onnx, &onnx_model(&external), 14);
}
