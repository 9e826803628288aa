//! Every parser that sees a stranger's bytes, and what drives it with mutated inputs.
//!
//! A [`Target`] takes any bytes and must return: with an [`Outcome`], in bounded time and memory, and with what it accepted read back
//! as it was written. [`mod@drive`] feeds it, from the same seed always the same inputs, in two ways: a fixed number of runs in the tests
//! (`tests/parsers.rs`), and for as long as is asked in `make fuzz`.
//!
//! | module | holds |
//! |---|---|
//! | [`targets`] | the parsers, one function each, by crate |
//! | [`target`] | what a target is, and how many runs it gets |
//! | [`mutate`] | inputs from inputs: bytes, text and JSON |
//! | [`corpus`] | the inputs to begin with |
//! | [`mod@drive`] | the loop, and what it reports |
//! | [`guard`] | time, memory and panics of one run |
//! | [`inventory`] | the parsers that the sources declare, so that none is forgotten |
//!
//! Why not libFuzzer: its coverage feedback needs a second build of everything with instrumentation, and a C++ runtime; the same
//! inputs on every machine, in the ordinary build of the tests, are worth more here. The text of a refusal stands in for coverage:
//! inputs that are refused in a new way are kept and mutated further.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "test support: a panic in a target is what this crate is there to report"
)]

pub mod corpus;
pub mod drive;
pub mod guard;
pub mod inventory;
pub mod mutate;
pub mod random;
pub mod target;
pub mod targets;

pub use drive::{Finding, Plan, Tally, drive};
pub use target::{Form, Outcome, Target};

/// Counts what is allocated: the bound on memory is checked against it.
#[global_allocator]
static MEMORY: peak_alloc::PeakAlloc = peak_alloc::PeakAlloc;
