//! A registry of its own for every test, over loopback.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    unreachable_pub
)]

mod administer;
mod answers;
mod binary;
mod dedup;
mod faulty;
mod idle;
mod raw;
mod refusals;
mod resume;
mod steps;
mod support;
mod sweeping;
mod tokens;
#[path = "../witness/mod.rs"]
mod witness;
mod witnesses;
