//! A registry of its own for every test, over loopback.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    unreachable_pub
)]

mod administer;
mod answers;
mod binary;
mod cors;
mod dedup;
mod faulty;
mod follower;
mod idle;
mod log_crashes;
#[path = "../contract/postgres.rs"]
mod postgres;
mod process;
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
