//! Following a log: it must only grow, and show everybody the same history. What a device persists of it, and what it does with
//! the next checkpoint.

use assay_schema::Sha256Digest;
use serde::{Deserialize, Serialize};

use crate::checkpoint::Origin;
use crate::merkle::{MerkleError, TreeHead, verify_consistency};
use crate::policy::VerifiedCheckpoint;

/// The largest checkpoint that a device accepted of a log: a floor, which only [`follow`] raises.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogState {
    /// The log.
    pub origin: Origin,
    /// Its size and root.
    pub head: TreeHead,
}

/// A checkpoint that a device must not accept.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FollowError {
    /// Another log's checkpoint.
    #[error("log: expected a checkpoint of {expected}, found one of {found}; keep a state for each log")]
    OtherLog {
        /// The log of the state.
        expected: Origin,
        /// The checkpoint's log.
        found: Origin,
    },
    /// Two trees of one size.
    #[error(
        "log {origin}: expected root {expected} at size {size}, found {found}; the log shows two histories: keep both checkpoints, \
         report them, and trust no release that only one of them holds"
    )]
    Equivocation {
        /// The log.
        origin: Origin,
        /// The size of both.
        size: u64,
        /// The root that the device knows.
        expected: Sha256Digest,
        /// The root that was offered.
        found: Sha256Digest,
    },
    /// An older tree, which nothing proves to be a part of the known one.
    #[error(
        "log {origin}: expected a checkpoint of at least {expected} entries, found {found} without a proof that it is a part of \
         the known log; fetch a newer checkpoint, or the consistency proof from {found} to {expected}"
    )]
    Rollback {
        /// The log.
        origin: Origin,
        /// The size that the device knows.
        expected: u64,
        /// The size that was offered.
        found: u64,
    },
    /// A larger tree, which nothing proves to contain the known one.
    #[error(
        "log {origin}: expected a consistency proof from {old} to {new} entries, found none; fetch it, or the log's tiles"
    )]
    NoProof {
        /// The log.
        origin: Origin,
        /// The size that the device knows.
        old: u64,
        /// The size that was offered.
        new: u64,
    },
    /// The proof does not show that one tree contains the other.
    #[error("log {origin}: {source}")]
    Inconsistent {
        /// The log.
        origin: Origin,
        /// Why not.
        source: MerkleError,
    },
}

/// What a checkpoint means to a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// It is acceptable as it is; persist this state before anything that relies on it.
    Accept(LogState),
    /// It is acceptable with a consistency proof.
    Prove(AwaitConsistency),
}

/// A checkpoint that waits for the proof that connects it with the known one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AwaitConsistency {
    state: LogState,
    offered: TreeHead,
}

/// Compares a verified checkpoint with what the device knows of the log. The first checkpoint of a log is taken as it is: its
/// signatures are all that speaks for it.
///
/// # Errors
/// It is another log's, or another tree of the known size.
pub fn follow(state: Option<&LogState>, checkpoint: &VerifiedCheckpoint) -> Result<Next, FollowError> {
    let (origin, offered) = (checkpoint.origin().clone(), checkpoint.head());
    let Some(state) = state else {
        return match offered.size {
            // There is one empty tree.
            0 => accept_empty(origin, offered),
            _ => Ok(Next::Accept(LogState {
                origin,
                head: offered,
            })),
        };
    };
    if state.origin != origin {
        return Err(FollowError::OtherLog {
            expected: state.origin.clone(),
            found: origin,
        });
    }
    if offered == state.head {
        return Ok(Next::Accept(state.clone()));
    }
    if offered.size == state.head.size {
        return Err(FollowError::Equivocation {
            origin,
            size: offered.size,
            expected: state.head.root,
            found: offered.root,
        });
    }
    Ok(Next::Prove(AwaitConsistency {
        state: state.clone(),
        offered,
    }))
}

fn accept_empty(origin: Origin, head: TreeHead) -> Result<Next, FollowError> {
    match head == TreeHead::EMPTY {
        true => Ok(Next::Accept(LogState { origin, head })),
        false => Err(FollowError::Equivocation {
            origin,
            size: 0,
            expected: TreeHead::EMPTY.root,
            found: head.root,
        }),
    }
}

impl AwaitConsistency {
    /// The sizes between which a proof is needed, smaller first.
    pub fn sizes(&self) -> (u64, u64) {
        let (old, new) = self.ordered();
        (old.size, new.size)
    }

    /// Takes the proof and gives the state to persist. It never shrinks: an older checkpoint that is a part of the known log is
    /// acceptable evidence, and changes nothing.
    ///
    /// # Errors
    /// The proof does not connect the two trees.
    pub fn proven(self, proof: &[Sha256Digest]) -> Result<LogState, FollowError> {
        let (old, new) = self.ordered();
        let LogState { origin, .. } = self.state;
        match verify_consistency(&old, &new, proof) {
            Ok(()) => Ok(LogState { origin, head: new }),
            Err(source) => Err(FollowError::Inconsistent { origin, source }),
        }
    }

    /// What the device says when nobody gives it the proof.
    pub fn unproven(self) -> FollowError {
        let LogState { origin, head } = self.state;
        match self.offered.size < head.size {
            true => FollowError::Rollback {
                origin,
                expected: head.size,
                found: self.offered.size,
            },
            false => FollowError::NoProof {
                origin,
                old: head.size,
                new: self.offered.size,
            },
        }
    }

    fn ordered(&self) -> (TreeHead, TreeHead) {
        match self.offered.size < self.state.head.size {
            true => (self.offered, self.state.head),
            false => (self.state.head, self.offered),
        }
    }
}
