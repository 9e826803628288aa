//! Reading request bodies within a bound. What is left of a body that was refused is `assay-unread`'s.

use std::time::Duration;

use actix_web::web::Payload;
use assay_schema::canonical;
use assay_schema::problem::ProblemKind;
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use serde::de::DeserializeOwned;

use crate::problem::{ApiError, ApiResult};
use crate::state::AppState;

/// The next piece of a body; `None` at its end.
///
/// # Errors
/// The connection broke, or stood still for longer than `idle`.
pub async fn next_piece(payload: &mut Payload, idle: Duration) -> ApiResult<Option<Bytes>> {
    match tokio::time::timeout(idle, payload.next()).await {
        Ok(None) => Ok(None),
        Ok(Some(Ok(bytes))) => Ok(Some(bytes)),
        Ok(Some(Err(error))) => Err(ApiError::new(
            ProblemKind::BadRequest,
            format!("the body ended early: {error}; send it again"),
        )),
        Err(_) => Err(ApiError::new(
            ProblemKind::BadRequest,
            format!(
                "expected more of the body within {} seconds, found none",
                idle.as_secs()
            ),
        )
        // Who sends nothing sends nothing to be read to its end, either.
        .closing()),
    }
}

/// A whole body of at most `limit` bytes.
///
/// # Errors
/// `too-large` beyond the limit; `bad-request` if the body ends early.
pub async fn bytes(state: &AppState, mut payload: Payload, limit: u64) -> ApiResult<Bytes> {
    let idle = state.config.requests.idle();
    let mut all = BytesMut::new();
    while let Some(piece) = next_piece(&mut payload, idle).await? {
        if (all.len() as u64).saturating_add(piece.len() as u64) > limit {
            let detail = format!("expected a body of at most {limit} bytes, found more");
            return Err(ApiError::new(ProblemKind::TooLarge, detail));
        }
        all.extend_from_slice(&piece);
    }
    Ok(all.freeze())
}

/// A JSON body of at most `limit` bytes, no deeper than 128 levels.
///
/// # Errors
/// `too-large`; `bad-request` if it is not JSON of this form.
pub async fn json<T: DeserializeOwned>(state: &AppState, payload: Payload, limit: u64) -> ApiResult<T> {
    let bytes = bytes(state, payload, limit).await?;
    Ok(canonical::read(&bytes, limit)?)
}
