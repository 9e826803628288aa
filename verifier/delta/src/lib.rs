//! Deltas: what turns the files of one release into those of another.
//!
//! A delta is a hint that anybody may have made. It is never trusted: whatever comes out of it is compared with the chunk digests that
//! the release manifest's signers stand for, before a byte is written. Nothing here does I/O, reads a clock or starts a thread; bytes
//! come from a [`ReadAt`] of the caller.
//!
//! | module | holds |
//! |---|---|
//! | [`dtype`] | what a run of bytes holds |
//! | [`segment`] | tensors inside a file; which base bytes correspond to which target bytes |
//! | [`spans`] | where the tensors lie in safetensors, GGUF and ONNX files |
//! | [`matching`] | which base bytes each target byte is coded against |
//! | [`lora`] | merged adapters: factors of what a tensor gained |
//! | [`encode`] | [`Encoder`]: models from samples, then chunk by chunk, on as many threads as the caller has |
//! | [`index`], [`op`] | [`Index`]: what a delta is between, and how each target chunk is made (`schema/delta.md`) |
//! | [`decode`] | [`decode_chunk`]: base bytes and a frame in, a chunk whose digest was right out |
//! | [`error`] | [`BadIndex`], and [`BadChunk`], which names the chunk |
//! | [`plan`] | the cheapest permitted way to a release, stage 7 |
//! | [`read`] | positioned reads, which the caller implements |
//!
//! # Example
//!
//! ```
//! use assay_delta::matching::{ModelFile, correspond};
//! use assay_delta::{EncodeScratch, Encoder, Index, Scratch, decode_chunk};
//! use assay_schema::Sha256Digest;
//! use sha2::{Digest, Sha256};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let base = vec![b"the licence of this model, version 1. ".repeat(9)];
//! let target = vec![b"the licence of this model, version 2. ".repeat(9)];
//! let roots = [Sha256Digest::new([1; 32]), Sha256Digest::new([2; 32])]; // identities of the two releases
//!
//! // Making: match, fit models, encode the chunks (each independently), write the index.
//! let model = |bytes| ModelFile { path: "LICENSE", bytes, spans: &[] };
//! let segments = correspond(&[model(&base[0])], &[model(&target[0])])?;
//! let encoder = Encoder::new(roots[0], roots[1], &base, &target, segments)?;
//! let (mut index, mut frames, mut scratch) = (encoder.index(), Vec::new(), EncodeScratch::default());
//! for (file, chunk) in encoder.chunks() {
//!     let encoded = encoder.encode_chunk(file, chunk, &mut scratch)?;
//!     index.push(&encoded);
//!     frames.extend_from_slice(&encoded.frame);
//! }
//! let object = [index.finish()?, frames].concat();
//!
//! // Applying: the header says how long the index is; an entry, which range its frame has.
//! let length = assay_delta::Header::parse(&object[..assay_delta::index::HEADER])?.frames() as usize;
//! let index = Index::parse(&object[..length])?;
//! index.between(&roots[0], &roots[1])?;
//! let mut scratch = Scratch::new();
//! for entry in index.chunks() {
//!     let frame = &object[entry.frame.start as usize..entry.frame.end as usize];
//!     let expected = Sha256Digest::new(Sha256::digest(&target[0]).into()); // from the signed release's chunk index
//!     let checked = decode_chunk(&index, &entry, frame, &base, &expected, &mut scratch)?;
//!     assert_eq!(checked.bytes(), target[0]);
//! }
//! # Ok(())
//! # }
//! ```

#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic
    )
)]

mod codec;
pub mod decode;
pub mod dtype;
pub mod encode;
pub mod error;
pub mod index;
pub mod lora;
pub mod matching;
pub mod op;
pub mod plan;
pub mod read;
pub mod segment;
pub mod spans;
mod wire;

pub use decode::{Checked, Scratch, decode_chunk};
pub use dtype::Dtype;
pub use encode::{EncodeError, EncodeScratch, Encoded, Encoder, IndexWriter};
pub use error::{BadChunk, BadIndex, Why};
pub use index::{Entry, Header, Index};
pub use op::{Op, OpKind};
pub use read::ReadAt;
pub use segment::{BasePosition, Segment, Span};
