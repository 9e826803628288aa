//! The TUF client workflow of a device (TUF 1.0 section 5), sans I/O, on `sigstore-tuf`'s verified metadata set.
//!
//! `sigstore-tuf` checks signatures, thresholds, versions, lengths, hashes and expiry of each file. This crate adds what a
//! device of Assay needs beside it:
//!
//! | module | adds |
//! |---|---|
//! | [`pin`] | what a device knows a namespace by, and what it persists |
//! | [`terms`] | what the owner of a device demands of a namespace beyond its identity |
//! | [`floors`] | the time floor, the age of a state, persisted restrictions, the log that is followed |
//! | [`keys`] | one raw key never counts twice, and no key of a top-level role serves another role |
//! | [`binding`] | `x-assay`: whose role a file is |
//! | [`rules`] | Assay's rules, or TUF's alone for foreign repositories |
//! | [`workflow`] | the order of the steps, floors that a half-finished refresh cannot erase, fast-forward recovery |
//! | [`releases`] | finding a release: delegation search, order, epochs |
//! | [`restricted`] | what a status restricts of the state that it is part of |
//! | [`foreign`] | what a foreign repository's files and targets are called, and the search through nested delegations |
//! | [`error`] | refusals with stage, expected and found |

#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic
    )
)]

pub mod binding;
pub mod error;
pub mod floors;
pub mod foreign;
pub mod keys;
pub mod pin;
pub mod releases;
pub mod restricted;
pub mod rules;
pub mod terms;
pub mod workflow;

pub use error::TrustError;
pub use floors::{Followed, Restrictions};
pub use pin::{DeviceState, Pin};
pub use rules::{Assay, Plain, Rules};
pub use terms::Terms;
pub use workflow::{AsOf, AwaitSnapshot, AwaitTargets, AwaitTimestamp, Failure, Refreshed, Roots};
