//! Publication and distribution over HTTP: what the registry takes, what it refuses, and what devices then fetch.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod authority;
mod blobs;
mod check;
mod delta_maker;
mod deltas;
mod endorsement;
mod listing;
mod log;
mod log_keys;
mod metadata;
mod namespace;
mod openapi;
mod proposals;
mod rebase;
mod resign;
mod rooms;
mod rotation;
mod standing;
mod status;
mod steps;
mod support;
mod tuf;
#[path = "../witness/mod.rs"]
mod witness;
mod witnesses;
