//! Taking an upload's bytes in: U2 and U3, again and again.

use std::time::Duration;

use actix_web::web::Payload;
use assay_schema::api::UploadInfo;
use assay_schema::limits::MAX_UPLOAD_PART;
use assay_schema::problem::ProblemKind;
use bytes::Bytes;
use tokio::sync::mpsc;

use super::lease::Lease;
use super::segments::Gather;
use super::{finish, handlers};
use crate::blobs;
use crate::body;
use crate::nonce;
use crate::persistence::{Segment, UploadRecord};
use crate::problem::{ApiError, ApiResult};
use crate::state::AppState;
use crate::steps::Step;

/// Pieces (some 64 KiB each) that wait for the writer; a client that is faster than the disk waits, too.
const WAITING: usize = 16;

/// Takes a body in. The writing goes on in a task of its own: when the connection drops and this future with it, the task still
/// stores what came.
pub(super) async fn receive(
    state: &AppState,
    lease: Lease,
    upload: UploadRecord,
    mut payload: Payload,
) -> ApiResult<UploadInfo> {
    let most = upload.size.saturating_sub(upload.offset).min(MAX_UPLOAD_PART);
    let (pieces, received) = mpsc::channel(WAITING);
    let writer = state.tasks.spawn(write(state.clone(), lease, upload, received));
    let pumped = pump(&mut payload, state.config.requests.idle(), most, &pieces).await;
    drop(pieces);
    let written = writer.await.map_err(ApiError::internal)?;
    // The writer's error explains why the pump stopped; without one, the body's does.
    written.and_then(|info| pumped.map(|()| info))
}

async fn pump(
    payload: &mut Payload,
    idle: Duration,
    most: u64,
    pieces: &mpsc::Sender<Bytes>,
) -> ApiResult<()> {
    let mut left = most;
    while let Some(piece) = body::next_piece(payload, idle).await? {
        left = left
            .checked_sub(piece.len() as u64)
            .ok_or_else(|| too_large(most))?;
        if pieces.send(piece).await.is_err() {
            break;
        }
    }
    Ok(())
}

/// More than was declared, or more than one request may bring.
pub(super) fn too_large(most: u64) -> ApiError {
    let detail = format!(
        "expected at most {most} bytes in this request (what is left of the declared size, and no more than \
         {MAX_UPLOAD_PART}), found more"
    );
    ApiError::new(ProblemKind::TooLarge, detail)
}

async fn write(
    state: AppState,
    lease: Lease,
    mut upload: UploadRecord,
    mut pieces: mpsc::Receiver<Bytes>,
) -> ApiResult<UploadInfo> {
    let writer = nonce::nonce().map_err(ApiError::internal)?;
    let mut gather = Gather::default();
    while let Some(mut piece) = pieces.recv().await {
        while !piece.is_empty() {
            piece = gather.take(piece);
            if gather.is_full() {
                store(&state, &mut upload, &mut gather, &writer).await?;
            }
        }
    }
    if gather.len() > 0 {
        store(&state, &mut upload, &mut gather, &writer).await?;
    }
    let info = if upload.offset == upload.size {
        finish::finish(&state, &upload).await?
    } else {
        handlers::under_way(&upload)
    };
    drop(lease);
    Ok(info)
}

async fn store(
    state: &AppState,
    upload: &mut UploadRecord,
    gather: &mut Gather,
    writer: &str,
) -> ApiResult<()> {
    let segment = Segment {
        start: upload.offset,
        len: gather.len() as u64,
        object: blobs::segment_path(&upload.id, upload.offset, writer),
    };
    put_segment(state, &segment, gather.finish()).await?;
    upload.offset = advance(state, &upload.id, &segment).await?;
    Ok(())
}

async fn put_segment(state: &AppState, segment: &Segment, parts: Vec<Bytes>) -> ApiResult<()> {
    state.blobs.put_segment(&segment.object, parts).await?;
    Ok(state.steps.done(Step::U2)?)
}

async fn advance(state: &AppState, id: &str, segment: &Segment) -> ApiResult<u64> {
    let offset = state.db.advance_upload(id, segment, state.clock.now()).await?;
    state.steps.done(Step::U3)?;
    Ok(offset)
}
