//! The transparency log, stage 4: what makes a secret or split-view state of a namespace visible.
//!
//! It speaks the C2SP formats, so that other people's logs, witnesses and monitors work with it unmodified. Nothing here does I/O,
//! reads a clock, draws randomness or holds a secret: tiles come from a reader, times and signatures from the caller.
//!
//! | module | holds | specification |
//! |---|---|---|
//! | [`merkle`] | hashes, inclusion and consistency proofs, the frontier that grows a tree | RFC 6962, RFC 9162 |
//! | [`tile`] | coordinates, paths, entry bundles, tiles checked against a root | c2sp.org/tlog-tiles |
//! | [`note`] | signed notes and their keys | c2sp.org/signed-note |
//! | [`checkpoint`] | origin, size and root of a log, signed | c2sp.org/tlog-checkpoint |
//! | [`cosignature`] | what a witness states, and k of n of them | c2sp.org/tlog-cosignature |
//! | [`policy`] | the log and witnesses that somebody trusts | c2sp.org/tlog-policy |
//! | [`witness`] | the `add-checkpoint` request and its answer | c2sp.org/tlog-witness |
//! | [`proof`] | the file that proves an entry offline | c2sp.org/tlog-proof |
//! | [`leaf`] | what Assay logs of a namespace | |
//! | [`follow`] | a log must only grow: what a device persists of it | |
//!
//! Everything that a stranger may send is parsed strictly: a text that parses is exactly the text that its value formats to.

#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic
    )
)]

pub mod checkpoint;
pub mod cosignature;
pub mod follow;
pub mod leaf;
pub mod merkle;
pub mod note;
pub mod policy;
pub mod proof;
mod text;
pub mod tile;
pub mod witness;

pub use checkpoint::{Checkpoint, Origin, SignedCheckpoint};
pub use cosignature::{WitnessPolicy, Witnessed};
pub use follow::LogState;
pub use leaf::Leaf;
pub use merkle::TreeHead;
pub use note::{Note, VerifierKey};
pub use policy::{LogPolicy, VerifiedCheckpoint};
pub use proof::LogProof;
