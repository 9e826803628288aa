//! Assay's device check: a state machine without I/O, and the verdict.
//!
//! Bytes and `now` go in, decisions come out. The machine says what it needs ([`CheckStep`], [`Action`]); its driver - threads and
//! files, a browser, a test - does it and says what came of it. Nothing here reads a clock, a file or a socket.
//!
//! The modules follow the device's check:
//!
//! | module | stages |
//! |---|---|
//! | [`request`] | what a driver asks for, and what it is asked to fetch |
//! | [`mod@check`] | 1 trust root, 2 freshness, 3 release, 5 provenance |
//! | [`consensus`] | 3, where the owner's trust policy names other authorities |
//! | [`approved`] | a release that passed; the only way to stage 8 |
//! | [`content`] | 8 content: every chunk checked before it is written |
//! | [`documents`] | what stages 4 and 5 read under `trust/` |
//! | [`report`] | 10 verdict |

#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic
    )
)]

pub mod approved;
pub mod check;
pub mod consensus;
pub mod content;
pub mod documents;
mod prefetch;
pub mod report;
pub mod request;

pub use approved::Approved;
pub use assay_provenance as provenance;
pub use assay_trust::{DeviceState, Pin, Terms, TrustError};
pub use check::{
    AwaitFetch, AwaitPersist, CheckStep, Checked, check, check_age, judge_signature, judge_statement,
};
pub use consensus::{Consensus, Endorsement, Known};
pub use content::{Action, Content, Event, Piece, PresentFile, Scope};
pub use request::{Answer, CachedBundle, CheckRequest, Fetch, Resource, Route, Want};
