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
//! | [`plan`] | the cheapest permitted way to a release, stage 7 |
//! | [`read`] | positioned reads, which the caller implements |

#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic
    )
)]

pub mod dtype;
pub mod lora;
pub mod matching;
pub mod plan;
pub mod read;
pub mod segment;
pub mod spans;

pub use dtype::Dtype;
pub use read::ReadAt;
pub use segment::{BasePosition, Segment, Span};
