//! The proof that a snapshot or a root is in the log. It leads to the first published checkpoint that covers it and that every witness
//! cosigned: always the same bytes for one snapshot, so that a check bundle does not change because other namespaces publish.
//!
//! Until there is such a checkpoint the proof leads to the one with the most cosignatures, the earlier of two, and is not *settled*.

use assay_log::leaf::LeafKind;
use assay_log::merkle::{Plan, TreeHead};
use assay_log::tile::VerifiedTiles;
use assay_log::{Leaf, LogProof};
use assay_schema::Sha256Digest;
use assay_schema::bundle::LogPart;

use super::LogError;
use super::key::cosigned;
use super::sequence::read;
use crate::persistence::DatabaseError;
use crate::state::AppState;

/// Cosignatures that are looked at in one go. Witnesses are asked for the same sizes, so that the first few decide.
const WINDOW: u64 = 1024;

/// Where a snapshot stands, and the checkpoint that proves it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placed {
    /// Its index.
    pub index: u64,
    /// The size of the first published checkpoint that covers it.
    pub tree: u64,
    /// The size of the checkpoint that proves it.
    pub size: u64,
    /// Every witness has cosigned that checkpoint: there will be no better one.
    pub settled: bool,
}

/// A snapshot's proof.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proven {
    /// The proof.
    pub part: LogPart,
    /// There will be no better one.
    pub settled: bool,
}

/// Where the snapshot of the namespace with this identity stands; `None` while it is in no published checkpoint.
///
/// # Errors
/// The database fails.
pub async fn place(
    state: &AppState,
    identity: Sha256Digest,
    version: u64,
    sha256: Sha256Digest,
) -> Result<Option<Placed>, LogError> {
    let leaf = Leaf::new(identity, LeafKind::Snapshot, version, sha256)?;
    place_of(state, &leaf).await
}

/// Where a leaf stands, be it a snapshot's or a root's; `None` while it is in no published checkpoint.
///
/// # Errors
/// The database fails.
pub async fn place_of(state: &AppState, leaf: &Leaf) -> Result<Option<Placed>, LogError> {
    let (Some(place), Some(record)) = (state.db.log_place(leaf).await?, state.db.log_state().await?) else {
        return Ok(None);
    };
    if place.tree > record.published {
        return Ok(None);
    }
    let (size, settled) = best(state, place.tree).await?;
    Ok(Some(Placed {
        index: place.index,
        tree: place.tree,
        size,
        settled,
    }))
}

/// The proof for a snapshot, and the consistency proof from or to the tree of `known` entries.
///
/// # Errors
/// A store fails, or holds what does not follow from the database.
pub async fn snapshot(state: &AppState, placed: Placed, known: Option<u64>) -> Result<Proven, LogError> {
    let missing = |what| DatabaseError::Missing { what };
    let record = state.db.log_state().await?;
    let record = record.ok_or_else(|| missing("log".to_owned()))?;
    let head = state.db.log_head(placed.size).await?;
    let head = head.ok_or_else(|| missing(format!("batch of {} entries in the log", placed.size)))?;
    let hashes = prove(state, head, Plan::inclusion(placed.index, head.size)?).await?;
    let checkpoint = cosigned(state, &record, head).await?;
    let proof = LogProof::new(placed.index, hashes, checkpoint, None)?.to_string();
    let consistency = match known {
        Some(known) if known <= record.published => consistency(state, head, known).await?,
        _ => None,
    };
    Ok(Proven {
        part: LogPart { proof, consistency },
        settled: placed.settled,
    })
}

/// The size of the first checkpoint from `tree` on that every witness cosigned, or of the one that most did; and whether all did.
async fn best(state: &AppState, tree: u64) -> Result<(u64, bool), LogError> {
    let keys = state.witnessing.keys();
    if keys.is_empty() {
        return Ok((tree, true));
    }
    let sizes = state.db.cosigned_sizes(keys, tree, WINDOW).await?;
    let first = most(&sizes, keys.len());
    let (whole, all) = (sizes.len() as u64 == WINDOW, first.1 == keys.len());
    if all || !whole {
        return Ok((if first.1 == 0 { tree } else { first.0 }, all));
    }
    // One of them was away for long: nothing before its first cosignature has all.
    let mut from = tree;
    for key in keys {
        match state.db.first_cosigned(key, tree).await? {
            Some(size) => from = from.max(size),
            None => return Ok((first.0, false)),
        }
    }
    let later = most(&state.db.cosigned_sizes(keys, from, WINDOW).await?, keys.len());
    let chosen = if later.1 > first.1 { later } else { first };
    Ok((chosen.0, chosen.1 == keys.len()))
}

/// Of sizes in order, one for each cosignature: the first that has `enough` of them or else the most, and how many it has.
fn most(sizes: &[u64], enough: usize) -> (u64, usize) {
    let mut best = (0, 0);
    for same in sizes.chunk_by(|a, b| a == b) {
        if let [size, ..] = same
            && same.len() > best.1
        {
            best = (*size, same.len());
        }
        if best.1 == enough {
            break;
        }
    }
    best
}

async fn consistency(
    state: &AppState,
    head: TreeHead,
    known: u64,
) -> Result<Option<Vec<Sha256Digest>>, LogError> {
    if known <= head.size {
        let plan = Plan::consistency(known, head.size)?;
        return Ok(Some(prove(state, head, plan).await?));
    }
    // The device knows a larger tree than the one that the snapshot is proven by.
    match state.db.log_head(known).await? {
        Some(larger) => {
            let plan = Plan::consistency(head.size, larger.size)?;
            Ok(Some(prove(state, larger, plan).await?))
        }
        None => Ok(None),
    }
}

/// Tiles are compared with the root before a proof is made of them.
pub(super) async fn prove(
    state: &AppState,
    head: TreeHead,
    plan: Plan,
) -> Result<Vec<Sha256Digest>, LogError> {
    let needed = VerifiedTiles::needed(head.size, plan.nodes())?;
    let tiles = VerifiedTiles::check(head, read(state, needed).await?)?;
    Ok(plan.prove(&tiles)?)
}

#[cfg(test)]
mod tests {
    use super::most;

    #[test]
    fn the_first_size_that_all_cosigned_wins_and_else_the_earliest_with_the_most() {
        assert_eq!(most(&[], 2), (0, 0));
        assert_eq!(most(&[5, 7, 9], 2), (5, 1));
        assert_eq!(most(&[5, 7, 7, 9, 9], 2), (7, 2));
        assert_eq!(most(&[5, 7, 7, 9, 9, 9], 4), (9, 3));
        assert_eq!(most(&[5, 5, 5, 7, 7, 7], 4), (5, 3));
    }
}
