//! One history: whether older trees are parts of a newer one. Proofs are made here, from tiles that hash to the newer tree's root, so
//! that a wrong one is the log's fault and nobody else's.

use std::fmt;

use assay_log::SignedCheckpoint;
use assay_log::merkle::{MerkleError, Plan, TreeHead, verify_consistency};
use assay_log::tile::VerifiedTiles;
use assay_schema::Sha256Digest;
use serde::Serialize;

use super::{LogError, LogReader};

/// Trees that are proven with one set of tiles: each needs a few tiles of 8 KiB.
const AT_ONCE: usize = 64;

/// Two checkpoints that the log signed and that are not of one history. With `proof` anybody can check it offline: it leads from the
/// newer root to another older root than the one that was signed (RFC 9162 2.1.4.2).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Split {
    /// The version of this document: 1.
    pub v: u32,
    /// The log's unique name.
    pub origin: String,
    /// The smaller checkpoint, as it was signed.
    pub older: String,
    /// The larger one, or the other one of the same size.
    pub newer: String,
    /// The consistency proof between their sizes, out of the newer tree; empty for equal sizes.
    pub proof: Vec<Sha256Digest>,
    /// The heads of the two.
    #[serde(skip)]
    heads: (TreeHead, TreeHead),
    /// The older root as the newer tree has it.
    #[serde(skip)]
    found: Sha256Digest,
}

impl Split {
    fn new(
        older: &SignedCheckpoint,
        newer: &SignedCheckpoint,
        proof: Vec<Sha256Digest>,
        found: Sha256Digest,
    ) -> Self {
        let (first, second) = (older.checkpoint(), newer.checkpoint());
        Self {
            v: 1,
            origin: first.origin().to_string(),
            older: older.to_string(),
            newer: newer.to_string(),
            proof,
            heads: (first.head(), second.head()),
            found,
        }
    }

    /// The heads of the older and the newer checkpoint.
    pub fn heads(&self) -> (TreeHead, TreeHead) {
        self.heads
    }

    /// The older root as the newer tree has it.
    pub fn found(&self) -> Sha256Digest {
        self.found
    }
}

impl fmt::Display for Split {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (older, newer) = self.heads;
        write!(
            f,
            "log {}: expected root {} at size {}, as it signed, found {} in its tree of {} entries, which it signed too; the log shows \
             two histories: trust no release that only one of them holds, and show the evidence to others",
            self.origin, older.root, older.size, self.found, newer.size
        )
    }
}

/// Proves every one of `older` to be a part of `newer`, whose signatures were judged before, as were theirs.
///
/// # Errors
/// [`LogError::Split`] for the first that is not; or the log does not hand out the tiles that its checkpoint is made of. An older one
/// must not be larger.
pub fn prove(
    reader: &LogReader<'_>,
    newer: &SignedCheckpoint,
    older: &[SignedCheckpoint],
) -> Result<(), LogError> {
    let head = newer.checkpoint().head();
    for some in older.chunks(AT_ONCE) {
        let mut plans = Vec::new();
        for signed in some {
            let old = signed.checkpoint().head();
            plans.push((signed, old, Plan::consistency(old.size, head.size).map_err(tile)?));
        }
        let nodes: Vec<_> = plans.iter().flat_map(|(_, _, plan)| plan.nodes()).collect();
        // Equal sizes and empty trees need no tiles.
        let tiles = match nodes.is_empty() {
            true => None,
            false => Some(VerifiedTiles::read(reader, head, nodes)?),
        };
        for (signed, old, plan) in plans {
            let proof = tiles.as_ref().map_or(Ok(Vec::new()), |tiles| plan.prove(tiles))?;
            match verify_consistency(&old, &head, &proof) {
                Ok(()) => {}
                // The tiles lead to the newer root, so it is the older one that is of another history.
                Err(MerkleError::Root { expected, found, .. }) => {
                    let found = if expected == old.root { found } else { head.root };
                    return Err(LogError::Split {
                        split: Box::new(Split::new(signed, newer, proof, found)),
                        evidence: None,
                    });
                }
                Err(other) => return Err(tile(other)),
            }
        }
    }
    Ok(())
}

fn tile(error: MerkleError) -> LogError {
    LogError::Tile(error.into())
}
