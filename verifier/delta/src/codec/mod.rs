//! The codec: what a run of target bytes is, given the base bytes at its place.

pub(crate) mod blocks;
pub(crate) mod elements;
pub(crate) mod layout;
pub(crate) mod model;
pub(crate) mod pack;
pub(crate) mod planes;
pub(crate) mod rans;
pub(crate) mod token;
pub(crate) mod train;

/// Why a payload cannot be decoded. Whoever knows the chunk adds which one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Corrupt(pub(crate) &'static str);
