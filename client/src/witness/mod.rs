//! A witness that anybody can host (c2sp.org/tlog-witness): it remembers the largest checkpoint of each log that it follows, and
//! cosigns another one only if that contains the remembered one.
//!
//! ```text
//! lock
//! witness.pem                             the private key, its owner's only, encrypted if there is a passphrase
//! witness.json                            name and verifier key
//! logs/<SHA-256 of the origin>/log.json   the log's keys
//!                             /state.json the last checkpoint that was cosigned
//!                             /evidence/  requests that show two histories, or may
//! ```
//!
//! What it decides is [`assay_log::witness`]'s; here it is made durable. One process uses a folder, and one request at a time a log.
//! The folder is trusted with the witness's memory: whoever sets `state.json` back, or copies the key, makes it cosign a fork.

mod answer;
mod error;
mod folder;
mod log;

use std::sync::Arc;

pub use answer::{Event, Reply, Witness};
pub use error::WitnessError;
pub use folder::{FollowedLog, NewWitness, WitnessFolder, view};

/// The durable steps of a witness, as `ARCHITECTURE.md` lists them. Whatever writes to its folder is one of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum WitnessStep {
    /// W1: the private key is made.
    Key,
    /// W2: `witness.json` names it; the witness exists.
    Name,
    /// W3: a log is followed, or follows under another key.
    Follow,
    /// W4: a checkpoint that does not fit is kept as evidence, before it is refused.
    Evidence,
    /// W5: the new checkpoint is persisted, before its cosignature is made.
    Checkpoint,
    /// W6: what looked like evidence is removed, because the log proved it, or a larger checkpoint, consistent.
    Cleared,
}

impl WitnessStep {
    /// All steps in order.
    pub const ALL: [Self; 6] = [
        Self::Key,
        Self::Name,
        Self::Follow,
        Self::Evidence,
        Self::Checkpoint,
        Self::Cleared,
    ];
}

/// Called right behind each durable step; an error ends the run there, as a crash would.
pub type StepHook = Arc<dyn Fn(WitnessStep) -> Result<(), WitnessError> + Send + Sync>;
