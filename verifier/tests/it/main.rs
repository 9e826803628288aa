//! The device's check and content machine against a hostile registry in memory. Tests are named after the attack.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs
)]

mod support;

mod attacks;
mod clock;
mod consensus;
mod content;
mod content_failures;
mod damage;
mod delegation;
mod difference;
mod forgery;
mod fork;
mod freeze;
mod honest;
mod keys;
mod log;
mod order;
mod provenance;
mod rollback;
mod rotation;
mod simulation;
mod stages;
mod stale;
mod statements;
mod status;
mod thieves;
mod volume;
