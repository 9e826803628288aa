//! The log against other people's implementations, published vectors, forgers and garbage.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod cosignatures;
mod following;
mod leaves;
mod merkle;
mod notes;
mod proofs;
mod strangers;
mod support;
mod tiles;
mod witnessing;
