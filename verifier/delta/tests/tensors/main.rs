//! Finding tensors in files and matching releases by them, over files that small writers make.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod fixtures;
mod gguf;
mod matching;
mod mutation;
mod onnx;
mod release;
mod safetensors;
mod writers;
