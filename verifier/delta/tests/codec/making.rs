//! Small deltas to test with.

use assay_delta::{
    BadChunk, BasePosition, Dtype, EncodeScratch, Encoder, Index, OpKind, Scratch, Segment, Span,
    decode_chunk,
};
use assay_schema::Sha256Digest;
use sha2::{Digest, Sha256};

pub(crate) const CHUNK: usize = 1 << 20;

pub(crate) fn sha256(bytes: &[u8]) -> Sha256Digest {
    Sha256Digest::new(Sha256::digest(bytes).into())
}

/// A delta as it lies in one object, with the target that it should give.
#[derive(Clone)]
pub(crate) struct Made {
    pub(crate) delta: Vec<u8>,
    pub(crate) index: usize,
    pub(crate) bases: Vec<Vec<u8>>,
    pub(crate) targets: Vec<Vec<u8>>,
    pub(crate) kinds: Vec<OpKind>,
}

impl Made {
    pub(crate) fn new(bases: Vec<Vec<u8>>, targets: Vec<Vec<u8>>, segments: Vec<Vec<Segment>>) -> Self {
        Self::with_tensors(bases, targets, segments, &[])
    }

    pub(crate) fn with_tensors(
        bases: Vec<Vec<u8>>,
        targets: Vec<Vec<u8>>,
        segments: Vec<Vec<Segment>>,
        tensors: &[Vec<Span>],
    ) -> Self {
        let encoder = Encoder::with_tensors(
            [sha256(b"base"), sha256(b"target")],
            &bases,
            &targets,
            segments,
            tensors,
        )
        .unwrap();
        let (mut index, mut frames, mut kinds) = (encoder.index(), Vec::new(), Vec::new());
        let mut scratch = EncodeScratch::default();
        for (file, chunk) in encoder.chunks() {
            let encoded = encoder.encode_chunk(file, chunk, &mut scratch).unwrap();
            index.push(&encoded);
            frames.extend_from_slice(&encoded.frame);
            kinds.extend(encoded.ops.iter().map(|op| op.kind));
        }
        let mut delta = index.finish().unwrap();
        let index = delta.len();
        delta.extend_from_slice(&frames);
        Self {
            delta,
            index,
            bases,
            targets,
            kinds,
        }
    }

    /// One file each, one segment, which begins at `lead` bytes of both.
    pub(crate) fn simple(
        dtype: Dtype,
        lead: usize,
        base: Vec<u8>,
        target: Vec<u8>,
        row: Option<u32>,
    ) -> Self {
        let at = |range: std::ops::Range<usize>, dtype, row| Segment {
            target: range.start as u64..range.end as u64,
            base: Some(BasePosition {
                file: 0,
                offset: range.start as u64,
            }),
            dtype,
            row,
        };
        let segments = vec![
            at(0..lead, Dtype::Bytes, None),
            at(lead..target.len(), dtype, row),
        ];
        Self::new(vec![base], vec![target], vec![segments])
    }

    /// Decodes every chunk with this index and these frames.
    pub(crate) fn decode(&self, scratch: &mut Scratch) -> Result<Vec<Vec<u8>>, BadChunk> {
        let index = Index::parse(&self.delta[..self.index]).unwrap();
        let mut out: Vec<Vec<u8>> = self.targets.iter().map(|_| Vec::new()).collect();
        for entry in index.chunks() {
            let file = entry.file as usize;
            let from = entry.chunk as usize * CHUNK;
            let expected = sha256(&self.targets[file][from..(from + CHUNK).min(self.targets[file].len())]);
            let frame = &self.delta[entry.frame.start as usize..entry.frame.end as usize];
            out[file].extend_from_slice(
                decode_chunk(&index, &entry, frame, &self.bases, &expected, scratch)?.bytes(),
            );
        }
        Ok(out)
    }

    pub(crate) fn assert_round_trip(&self) {
        let out = self
            .decode(&mut Scratch::new())
            .unwrap_or_else(|bad| panic!("{bad}"));
        assert!(out == self.targets, "decoded bytes differ");
        assert_eq!(
            Index::parse(&self.delta[..self.index]).unwrap().total(),
            self.delta.len() as u64
        );
    }
}

/// Numbers without a pattern, the same every time.
pub(crate) struct Noise(pub(crate) u64);

impl Noise {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub(crate) fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| (self.next() >> 32) as u8).collect()
    }

    /// Roughly normal, of width 1.
    pub(crate) fn normal(&mut self) -> f32 {
        (0..4)
            .map(|_| (self.next() >> 40) as f32 / (1 << 24) as f32 - 0.5)
            .sum::<f32>()
            * 1.7
    }
}

/// Weights of `count` elements or blocks, and the same after a small step.
pub(crate) fn weights(dtype: Dtype, count: usize, seed: u64) -> (Vec<u8>, Vec<u8>) {
    let mut noise = Noise(seed);
    let (mut base, mut target) = (Vec::new(), Vec::new());
    for at in 0..count {
        let quiet = (at / (500 / dtype.weights().min(100))).is_multiple_of(3);
        match dtype {
            Dtype::F32 | Dtype::F16 | Dtype::Bf16 => {
                let old = noise.normal() * 0.05;
                let new = if quiet {
                    old * 0.99997
                } else {
                    old + noise.normal() * 0.0005
                };
                for (value, out) in [(old, &mut base), (new, &mut target)] {
                    match dtype {
                        Dtype::F32 => out.extend_from_slice(&value.to_le_bytes()),
                        Dtype::Bf16 => out.extend_from_slice(&value.to_le_bytes()[2..]),
                        // Truncated, without denormals: near enough.
                        _ => {
                            let bits = value.to_bits();
                            let half = (bits >> 13 & 0x3ff)
                                | ((bits >> 23 & 0xff).saturating_sub(112) & 31) << 10
                                | bits >> 31 << 15;
                            out.extend_from_slice(&(half as u16).to_le_bytes());
                        }
                    }
                }
            }
            _ => {
                let unit = noise.bytes(dtype.unit());
                let mut new = unit.clone();
                if !quiet {
                    let byte = noise.next() as usize % new.len();
                    new[byte] = new[byte].wrapping_add((noise.next() % 3) as u8);
                }
                base.extend_from_slice(&unit);
                target.extend_from_slice(&new);
            }
        }
    }
    (base, target)
}
