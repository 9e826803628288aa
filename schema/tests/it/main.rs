//! The wire types: what they take, and above all what they refuse.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::disallowed_methods
)]

mod bundle;
mod canonical;
mod chunk_index;
mod difference;
mod manifest;
mod names;
mod order;
mod paths;
mod tuf;
mod wire;
