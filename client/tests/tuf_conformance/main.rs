//! The plain TUF client against foreign repositories: the families of cases that the public TUF conformance suite has.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs
)]

#[path = "../../examples/tuf_conformance.rs"]
mod adapter;
mod repository;

mod delegations;
mod download;
mod freshness;
mod keys;
mod refresh;
