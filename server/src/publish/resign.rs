//! Signing snapshot and timestamp again before they expire; after a long stop, the expired ones at once.

use std::collections::BTreeSet;
use std::time::Duration;

use assay_schema::NamespaceName;
use jiff::Timestamp;

use super::commit::{current, signer};
use super::error::PublishError;
use super::online::Lifetimes;
use crate::persistence::{DatabaseError, OnlineRole};
use crate::state::AppState;
use crate::steps::Step;

/// Namespaces of one round; more go on in the next.
const ROUND: u32 = 10_000;
/// How often one namespace begins again because a publication came first.
const ATTEMPTS: usize = 4;

/// Signs again: at once, and then periodically until the registry stops. The period is a little different in each process, so
/// that several registries on one database seldom meet.
pub fn start(state: &AppState) -> tokio::task::JoinHandle<()> {
    let check = state.config.signing.check;
    let period = check.mul_f64(0.8) + jitter(check.mul_f64(0.4));
    let owned = state.clone();
    state.tasks.every(period, move || {
        let state = owned.clone();
        async move {
            all_due(&state).await;
        }
    })
}

/// A random time up to `most`.
fn jitter(most: Duration) -> Duration {
    let mut bytes = [0; 4];
    match getrandom::fill(&mut bytes) {
        Ok(()) => most.mul_f64(f64::from(u32::from_le_bytes(bytes)) / f64::from(u32::MAX)),
        // Without randomness the period is only less varied.
        Err(_) => most / 2,
    }
}

/// Signs whatever is due in every namespace; says how many were signed. One namespace's failure does not keep the others waiting.
pub async fn all_due(state: &AppState) -> usize {
    let now = state.clock.now();
    let names = match due(state, now).await {
        Ok(names) => names,
        Err(error) => {
            tracing::error!(%error, "cannot find out which snapshots and timestamps expire; trying again");
            return 0;
        }
    };
    let mut signed = 0;
    for name in names {
        if state.tasks.stopping() {
            break;
        }
        match resign(state, &name, now).await {
            Ok(true) => signed += 1,
            Ok(false) => {}
            Err(error) => {
                tracing::error!(%error, namespace = %name, "cannot sign snapshot and timestamp again")
            }
        }
    }
    signed
}

async fn due(state: &AppState, now: Timestamp) -> Result<BTreeSet<NamespaceName>, DatabaseError> {
    let lifetimes = Lifetimes::from(&state.config.signing);
    let mut names = BTreeSet::new();
    for role in [OnlineRole::Snapshot, OnlineRole::Timestamp] {
        names.extend(
            state
                .db
                .online_metadata_expiring(role, lifetimes.due(role, now), ROUND)
                .await?,
        );
    }
    Ok(names)
}

/// Signs a namespace's snapshot and timestamp again where they are due; says whether it did.
///
/// # Errors
/// A store fails, or the keys cannot be used.
pub async fn resign(state: &AppState, name: &NamespaceName, now: Timestamp) -> Result<bool, PublishError> {
    let lifetimes = Lifetimes::from(&state.config.signing);
    for _ in 0..ATTEMPTS {
        let Some(record) = state.db.namespace(name).await? else {
            return Ok(false);
        };
        let snapshot = current(state, name, OnlineRole::Snapshot.name()).await?;
        let timestamp = current(state, name, OnlineRole::Timestamp.name()).await?;
        let snapshot_due = snapshot.expires < lifetimes.due(OnlineRole::Snapshot, now);
        let timestamp_due = timestamp.expires < lifetimes.due(OnlineRole::Timestamp, now);
        if !snapshot_due && !timestamp_due {
            return Ok(false);
        }
        let signer = signer(state, &record).await?;
        let online = if snapshot_due {
            signer.next(&snapshot, &timestamp, std::iter::empty(), now)?
        } else {
            signer.renew_timestamp(&snapshot, &timestamp, now)?
        };
        let files = online.snapshot.into_iter().chain([online.timestamp]).collect();
        // P3 without targets files or releases
        match state
            .db
            .commit_publication(name, record.revision, files, &[], now)
            .await
        {
            Ok(_) => {
                state.steps.done(Step::P3)?;
                tracing::info!(namespace = %name, snapshot = snapshot_due, "signed again");
                return Ok(true);
            }
            // A publication came first, and signed both itself.
            Err(DatabaseError::Conflict { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(false)
}
