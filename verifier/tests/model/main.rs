//! Every subset of stolen keys, in a small space of states: rotate, publish, serve, log and check, in every order up to a depth.
//!
//! The model's transitions are the device's own check: each is made by the verifier over real metadata, and remembered by what it depends
//! on, so that the model cannot drift from the code. What a subset must not gain is a property that holds in every state; what the table in
//! `ARCHITECTURE.md` admits is one that is reached. Each property is shown to fail where one rule of the device is weakened.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    missing_docs,
    reason = "a test, which prints a failed property's path"
)]

#[path = "../it/support/mod.rs"]
#[allow(dead_code, unused_imports, reason = "the model uses a part of it")]
mod support;

mod properties;
mod space;
mod world;
