//! Forgetting what nobody goes on with.

use futures_util::StreamExt;
use jiff::{SignedDuration, Timestamp};

use super::finish;
use crate::problem::ApiResult;
use crate::state::AppState;
use crate::steps::Step;

/// Uploads of one round.
const BATCH: u32 = 100;

/// Forgets uploads that have not moved for `[uploads] idle_days`, and deletes segments as old that no row names.
///
/// # Errors
/// Database or object store fail; the next sweep goes on.
pub async fn sweep(state: &AppState, now: Timestamp) -> ApiResult<()> {
    let idle = SignedDuration::from_hours(24 * i64::from(state.config.uploads.idle_days));
    let before = now.saturating_sub(idle).unwrap_or(Timestamp::MIN);
    let mut forgotten = 0_u64;
    for upload in state.db.idle_uploads(before, BATCH).await? {
        // Someone may be writing to it at last, or may have since it was listed.
        let Ok(_lease) = state.leases.take(&upload.id, &upload.namespace) else {
            continue;
        };
        let current = state.db.upload(&upload.namespace, &upload.id).await?;
        if current.is_none_or(|current| current.updated >= before) {
            continue;
        }
        let segments = state.db.segments(&upload.id, 0..upload.size).await?;
        finish::discard(state, &upload.id, &segments).await?;
        forgotten = forgotten.saturating_add(1);
    }
    let mut orphans = 0_u64;
    let mut stored = std::pin::pin!(state.blobs.stored_segments());
    while let Some(segment) = stored.next().await {
        let segment = segment?;
        // A young one may be between U2 and U3.
        if segment.written < before && !state.db.segment_in_use(&segment.upload, &segment.object).await? {
            state.blobs.delete(&segment.object).await?;
            state.steps.done(Step::U6)?;
            orphans = orphans.saturating_add(1);
        }
    }
    if forgotten > 0 || orphans > 0 {
        tracing::info!(forgotten, orphans, "swept idle uploads and orphan segments");
    }
    Ok(())
}
