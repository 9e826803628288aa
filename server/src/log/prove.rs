//! The proof that a snapshot is in the log, against the first checkpoint that covers it: always the same bytes for one snapshot, so
//! that a check bundle does not change because other namespaces publish.

use assay_log::leaf::LeafKind;
use assay_log::merkle::{Plan, TreeHead};
use assay_log::tile::VerifiedTiles;
use assay_log::{Leaf, LogProof};
use assay_schema::Sha256Digest;
use assay_schema::bundle::LogPart;

use super::LogError;
use super::key::LogKey;
use super::sequence::read;
use crate::state::AppState;

/// The proof for a snapshot of the namespace with this identity, and the consistency proof from or to the tree of `known` entries;
/// `None` while the snapshot is in no published checkpoint.
///
/// # Errors
/// A store fails, or holds what does not follow from the database.
pub async fn snapshot(
    state: &AppState,
    identity: Sha256Digest,
    version: u64,
    sha256: Sha256Digest,
    known: Option<u64>,
) -> Result<Option<LogPart>, LogError> {
    let leaf = Leaf::new(identity, LeafKind::Snapshot, version, sha256)?;
    let (Some(place), Some(record)) = (state.db.log_place(&leaf).await?, state.db.log_state().await?) else {
        return Ok(None);
    };
    if place.tree > record.published {
        return Ok(None);
    }
    let Some(head) = state.db.log_head(place.tree).await? else {
        return Ok(None);
    };
    let hashes = prove(state, head, Plan::inclusion(place.index, head.size)?).await?;
    let checkpoint = LogKey::open(state, &record)?.checkpoint(head)?;
    let proof = LogProof::new(place.index, hashes, checkpoint, None)?.to_string();
    let consistency = match known {
        Some(known) if known <= record.published => consistency(state, head, known).await?,
        _ => None,
    };
    Ok(Some(LogPart { proof, consistency }))
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
    // The device knows a larger tree than the one that first covered the snapshot.
    match state.db.log_head(known).await? {
        Some(larger) => {
            let plan = Plan::consistency(head.size, larger.size)?;
            Ok(Some(prove(state, larger, plan).await?))
        }
        None => Ok(None),
    }
}

/// Tiles are compared with the root before a proof is made of them.
async fn prove(state: &AppState, head: TreeHead, plan: Plan) -> Result<Vec<Sha256Digest>, LogError> {
    let needed = VerifiedTiles::needed(head.size, plan.nodes())?;
    let tiles = VerifiedTiles::check(head, read(state, needed).await?)?;
    Ok(plan.prove(&tiles)?)
}
