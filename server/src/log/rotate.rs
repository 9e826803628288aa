//! Changing the log's key without a day on which devices refuse the log: the next key is made and signs beside the present one
//! (N4); when everybody who trusts the present one trusts the next, it takes its place (N5). The origin stays, and so does the history:
//! what a checkpoint states does not depend on who signed it, and cosignatures cover what it states.

use assay_authority::{KeyKind, SigningKey};
use assay_log::VerifierKey;

use super::LogError;
use super::key::{public, seal};
use crate::persistence::LogRecord;
use crate::state::AppState;
use crate::steps::Step;

/// A change that is done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changed {
    /// What signs no more.
    pub retired: VerifierKey,
    /// What signs now.
    pub present: VerifierKey,
}

async fn record(state: &AppState) -> Result<LogRecord, LogError> {
    state.db.log_state().await?.ok_or(LogError::NotBegun)
}

/// The log's next key, which is made if there is none.
///
/// # Errors
/// The log has not begun, or a store fails.
pub async fn next(state: &AppState) -> Result<VerifierKey, LogError> {
    let present = public(&record(state).await?)?;
    if let Some(next) = state.db.next_log_key().await? {
        return Ok(next.key.parse()?);
    }
    let secret = SigningKey::generate(KeyKind::Ed25519)?;
    let (key, sealed) = seal(state, present.name().as_str(), &secret)?;
    let next = state.db.add_next_log_key(key.to_string(), sealed).await?;
    state.steps.done(Step::N4)?;
    Ok(next.key.parse()?)
}

/// The next key becomes the present one; the private half of the present one is deleted.
///
/// # Errors
/// The log has not begun, there is no next key, or a store fails.
pub async fn retire(state: &AppState) -> Result<Changed, LogError> {
    let retired = public(&record(state).await?)?;
    let Some(next) = state.db.next_log_key().await? else {
        return Err(LogError::NoNextKey {
            present: retired.to_string(),
        });
    };
    let present = next.key.parse()?;
    let now = state.clock.now();
    state.db.retire_log_key(&retired.to_string(), next, now).await?;
    state.steps.done(Step::N5)?;
    Ok(Changed { retired, present })
}
