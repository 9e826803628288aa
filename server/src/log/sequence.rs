//! Sequencing: pending entries get places, tiles follow from the places, then the checkpoint is signed and shown.
//!
//! L1 commits places, size and root in one transaction; only then is anything written to the object store or signed. So the bytes
//! of every tile follow from the database, and whoever goes on after a crash - this process, its successor, another registry on
//! the same database - writes the same ones. `finish` is that way, and the only one.

use assay_log::merkle::TreeHead;
use assay_log::policy::LogPolicy;
use assay_log::tile::{Edge, Tile, edge_tiles, encode_entries, new_bundles};
use assay_log::{Leaf, SignedCheckpoint};
use assay_schema::limits::{LOG_TILE_BYTES, LOG_TILE_WIDTH, MAX_NOTE};
use bytes::Bytes;

use super::key::{LogKey, find_or_make, public};
use super::{CHECKPOINT, FOLDER, LogError, cosign};
use crate::persistence::{DatabaseError, LogRecord};
use crate::state::AppState;
use crate::steps::Step;

/// The pause between rounds is doubled with every failure in a row, so often at most.
const LONGEST_REST: u32 = 6;

/// Entries of one batch; more go on in the next, at once.
const BATCH: u32 = 4096;

/// Begins or goes on with the log: makes its key, refuses to go on behind what was published, finishes what a crash left, and
/// integrates what waits.
///
/// # Errors
/// The database is behind the published checkpoint, or is another log's; or a store fails.
pub async fn prepare(state: &AppState) -> Result<(), LogError> {
    let stored = state.blobs.small_object(CHECKPOINT, MAX_NOTE as u64).await?;
    let known = state.db.log_state().await?;
    if let (None, Some(bytes)) = (&known, &stored) {
        let text = String::from_utf8_lossy(bytes);
        let found = text.lines().next().unwrap_or_default().chars().take(80).collect();
        return Err(LogError::NoLog { found });
    }
    let record = find_or_make(state).await?;
    let key = public(&record)?;
    let configured = state.config.transparency.origin.as_deref();
    if let Some(configured) = configured.filter(|origin| *origin != key.name().as_str()) {
        return Err(LogError::Renamed {
            stored: key.name().to_string(),
            configured: configured.to_owned(),
        });
    }
    match stored {
        Some(bytes) => refuse_behind(state, &record, &bytes).await?,
        None if record.published > 0 => {
            return Err(LogError::NoStorage {
                expected: record.published,
            });
        }
        None => {
            put_checkpoint(state, &record, TreeHead::EMPTY).await?;
        }
    }
    // Of a log that begins now there is nothing that a witness could have seen.
    if let Some(known) = known {
        cosign::refuse_behind(state, known.published).await?;
    }
    while integrate(state).await? {}
    Ok(())
}

/// What was published must be a part of what the database holds: else it was restored from an old backup.
async fn refuse_behind(state: &AppState, record: &LogRecord, bytes: &[u8]) -> Result<(), LogError> {
    let published = published(state, record, &SignedCheckpoint::parse(bytes)?).await?;
    if published.size > record.head.size {
        return Err(LogError::Behind {
            expected: published.size,
            found: record.head.size,
        });
    }
    let ours = state.db.log_head(published.size).await?;
    match ours {
        Some(ours) if ours == published => Ok(()),
        other => Err(LogError::Forked {
            size: published.size,
            expected: published.root.to_string(),
            found: other.map_or_else(|| "not there".to_owned(), |head| head.root.to_string()),
        }),
    }
}

/// What a stored checkpoint states, under the log's key, its next one, or one that it had when the checkpoint was made.
async fn published(
    state: &AppState,
    record: &LogRecord,
    signed: &SignedCheckpoint,
) -> Result<TreeHead, LogError> {
    let present = LogPolicy::new(public(record)?, None)?.verify(signed);
    let next = state.db.next_log_key().await?.map(|next| next.key);
    let others = state.db.retired_log_keys().await?.into_iter().chain(next);
    let mut judged = present;
    for key in others {
        if judged.is_ok() {
            break;
        }
        judged = LogPolicy::new(key.parse()?, None)?.verify(signed).or(judged);
    }
    Ok(judged?.head())
}

/// Integrates periodically, until the registry stops. What waited at the start was integrated before anything was served.
pub fn start(state: &AppState) -> tokio::task::JoinHandle<()> {
    let period = std::time::Duration::from_millis(state.config.transparency.batch_millis);
    let owned = state.clone();
    state.tasks.spawn(async move {
        let mut failures = 0_u32;
        loop {
            let pause = period.saturating_mul(1 << failures.min(LONGEST_REST));
            tokio::select! {
                () = owned.tasks.stopped() => return,
                () = tokio::time::sleep(pause) => {}
            }
            match drain(&owned).await {
                Ok(()) => failures = 0,
                Err(error) => {
                    failures = failures.saturating_add(1);
                    // The same trouble is told ever more seldom.
                    if failures.is_power_of_two() {
                        tracing::error!(%error, failures, "the log does not grow; a later round tries again");
                    }
                }
            }
        }
    })
}

/// Integrates batch after batch, until nothing waits or the registry stops.
async fn drain(state: &AppState) -> Result<(), LogError> {
    while !state.tasks.stopping() && integrate(state).await? {}
    Ok(())
}

/// Finishes what is committed, then gives a batch of pending entries their places and finishes that. Says whether more may wait.
///
/// # Errors
/// A store fails, or holds what does not follow from the database.
pub async fn integrate(state: &AppState) -> Result<bool, LogError> {
    let record = finish(state).await?;
    let pending = state.db.pending_log_entries(BATCH).await?;
    if pending.is_empty() {
        return Ok(false);
    }
    let mut edge = edge(state, record.head).await?;
    for entry in &pending {
        edge.push(entry.hash()?)?;
    }
    match state.db.integrate_log(record.head, edge.head()?, &pending).await {
        Ok(()) => state.steps.done(Step::L1)?,
        // Another sequencer came first: these entries, or some of them, have their places.
        Err(DatabaseError::Conflict { .. } | DatabaseError::Raced(_)) => return Ok(false),
        Err(error) => return Err(error.into()),
    }
    finish(state).await?;
    Ok(pending.len() as u64 == u64::from(BATCH))
}

/// L2 to L4 for what has its places: tiles and entry bundles, checkpoint, showing it.
async fn finish(state: &AppState) -> Result<LogRecord, LogError> {
    let record = find_or_make(state).await?;
    if record.published >= record.head.size {
        return Ok(record);
    }
    let old = state.db.log_head(record.published).await?;
    let old = old.ok_or_else(|| LogError::Root {
        size: record.published,
        expected: "a root".to_owned(),
        found: "none".to_owned(),
    })?;
    let from = old.size / u64::from(LOG_TILE_WIDTH) * u64::from(LOG_TILE_WIDTH);
    let entries = state.db.log_entries(from, record.head.size).await?;
    let mut edge = edge(state, old).await?;
    for entry in entries.iter().skip(offset(old.size, from)) {
        edge.push(entry.hash()?)?;
    }
    let found = edge.head()?;
    if found != record.head {
        return Err(LogError::Root {
            size: record.head.size,
            expected: record.head.root.to_string(),
            found: found.root.to_string(),
        });
    }
    for (tile, bytes) in edge.take_tiles() {
        put(state, &tile, bytes).await?;
    }
    let bytes: Vec<Vec<u8>> = entries.iter().map(Leaf::to_bytes).collect::<Result<_, _>>()?;
    for bundle in new_bundles(old.size, record.head.size) {
        let here = bytes.iter().skip(offset(bundle.start(), from));
        let here = here.take(usize::from(bundle.width())).map(Vec::as_slice);
        put(state, &bundle, encode_entries(here)?).await?;
    }
    put_checkpoint(state, &record, record.head).await?;
    state.steps.done(Step::L3)?;
    state.db.publish_log(record.head.size).await?;
    state.steps.done(Step::L4)?;
    // If this round stood still before L3 while another registry went on, it has put an older checkpoint over the newer one.
    if let Some(newer) = state.db.log_state().await?.map(|now| now.published)
        && newer > record.head.size
        && let Some(head) = state.db.log_head(newer).await?
    {
        put_checkpoint(state, &record, head).await?;
    }
    state.witnessing.tell();
    Ok(LogRecord {
        published: record.head.size,
        ..record
    })
}

/// Entries between two places, which are at most a batch and a tile apart.
fn offset(place: u64, from: u64) -> usize {
    usize::try_from(place.saturating_sub(from)).unwrap_or(usize::MAX)
}

/// Where a tile or entry bundle lies.
pub(super) fn object(resource: &impl std::fmt::Display) -> String {
    format!("{FOLDER}/{resource}")
}

async fn put(state: &AppState, resource: &impl std::fmt::Display, bytes: Vec<u8>) -> Result<(), LogError> {
    if state
        .blobs
        .put_once(&object(resource), Bytes::from(bytes))
        .await?
    {
        state.steps.done(Step::L2)?;
    }
    Ok(())
}

/// Signs a committed head and puts the checkpoint.
async fn put_checkpoint(state: &AppState, record: &LogRecord, head: TreeHead) -> Result<(), LogError> {
    let signed = LogKey::open(state, record).await?.checkpoint(head)?;
    let bytes = Bytes::from(signed.to_string());
    Ok(state.blobs.put_checkpoint(CHECKPOINT, bytes).await?)
}

/// The right edge of the stored tree, compared with its root.
async fn edge(state: &AppState, head: TreeHead) -> Result<Edge, LogError> {
    if head.size == 0 {
        return Ok(Edge::empty());
    }
    let tiles = read(state, edge_tiles(head.size)).await?;
    Ok(Edge::new(head, tiles)?)
}

/// Tiles from the object store.
pub(super) async fn read(
    state: &AppState,
    tiles: impl IntoIterator<Item = Tile>,
) -> Result<Vec<(Tile, Vec<u8>)>, LogError> {
    let mut found = Vec::new();
    for tile in tiles {
        let object = object(&tile);
        let bytes = state.blobs.small_object(&object, LOG_TILE_BYTES as u64).await?;
        let bytes = bytes.ok_or(crate::blobs::BlobError::Gone { object })?;
        found.push((tile, bytes.to_vec()));
    }
    Ok(found)
}
