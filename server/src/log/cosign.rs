//! One loop for each witness, beside sequencing and beside one another: a witness that is down, slow, behind or lying keeps back
//! nothing but its own cosignatures.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;

use super::LogError;
use super::ask::{Asked, WitnessError, ask};
use super::witnessing::Witness;
use crate::state::AppState;

/// The shortest pause after a failure; it doubles with each further one.
const PAUSE: Duration = Duration::from_secs(1);
/// The longest pause after a failure.
const LONGEST_PAUSE: Duration = Duration::from_secs(64);
/// How often a loop looks for what another registry published; its own registry wakes it.
const LOOK: [Duration; 2] = [Duration::from_millis(50), Duration::from_secs(1)];
/// How long a start waits for what the witnesses know.
const START_PATIENCE: Duration = Duration::from_secs(3);

/// Begins to ask every witness, until the registry stops.
pub fn start(state: &AppState) {
    for witness in state.witnessing.all() {
        state.tasks.spawn(follow(state.clone(), Arc::clone(witness)));
    }
}

/// Failures of one witness in a row.
#[derive(Default)]
struct Trouble {
    count: u32,
    said: String,
}

impl Trouble {
    /// Says what failed - what is new at once, the same again ever more seldom - and how long to leave the witness alone.
    fn happened(&mut self, error: &WitnessError) -> Duration {
        self.count = self.count.saturating_add(1);
        let text = error.to_string();
        let pause = PAUSE
            .saturating_mul(1 << self.count.saturating_sub(1).min(16))
            .min(LONGEST_PAUSE);
        if text != self.said || self.count.is_power_of_two() {
            let (failures, next_seconds) = (self.count, pause.as_secs());
            match error.is_grave() {
                true => tracing::error!(failures, next_seconds, "{text}"),
                false => tracing::warn!(failures, next_seconds, "{text}"),
            }
        }
        self.said = text;
        pause
    }

    fn is_over(&mut self, witness: &Witness) {
        if self.count > 0 {
            tracing::info!(witness = %witness.config.key.name(), "the witness cosigns again");
        }
        *self = Self::default();
    }
}

async fn follow(state: AppState, witness: Arc<Witness>) {
    let [shortest, longest] = LOOK;
    let look = Duration::from_millis(state.config.transparency.batch_millis).clamp(shortest, longest);
    let mut news = state.witnessing.listen();
    let mut trouble = Trouble::default();
    loop {
        news.borrow_and_update();
        let worked = tokio::select! {
            () = state.tasks.stopped() => return,
            worked = turn(&state, &witness) => worked,
        };
        let pause = match worked {
            Ok(false) => None,
            Ok(true) => {
                trouble.is_over(&witness);
                continue;
            }
            Err(error) => Some(trouble.happened(&error)),
        };
        tokio::select! {
            () = state.tasks.stopped() => return,
            () = tokio::time::sleep(pause.unwrap_or(look)) => {}
            _ = news.changed(), if pause.is_none() => {}
        }
    }
}

/// Has the round's checkpoint cosigned, if this witness has not yet; says whether it did something.
///
/// # Errors
/// The witness does not cosign, or a store fails.
pub async fn turn(state: &AppState, witness: &Witness) -> Result<bool, WitnessError> {
    let Some(record) = state.db.log_state().await? else {
        return Ok(false);
    };
    if record.published <= witness.cosigned() {
        return Ok(false);
    }
    // Another registry on the database may have asked.
    if let Some(last) = state.db.last_cosigned(&witness.config.key).await? {
        witness.has_cosigned(last.size);
    }
    let cosigned = state.db.newest_cosigned(state.witnessing.keys()).await?;
    let size = state
        .witnessing
        .round(record.published, cosigned.unwrap_or_default());
    if size <= witness.cosigned() {
        return Ok(false);
    }
    let asked = ask(state, witness, size).await;
    state.witnessing.tell();
    // Whoever asked it will store what it said; this round is over for it.
    Ok(asked? == Asked::Cosigned)
}

/// At a start: refuses to go on where most witnesses have cosigned more than is published. Database and storage then come from one
/// old backup, and nobody but the witnesses can tell. A size is not signed, so neither a minority nor a single witness is believed; a
/// witness that does not answer in time is no reason to stay away.
///
/// # Errors
/// [`LogError::WitnessedBeyond`].
pub async fn refuse_behind(state: &AppState, published: u64) -> Result<(), LogError> {
    let all = state.witnessing.all();
    let asking = all.iter().map(async |witness| {
        match tokio::time::timeout(START_PATIENCE, ask(state, witness, published)).await {
            Ok(Err(WitnessError::Beyond { witness, found, .. })) => Some((witness, found)),
            // The loops say what else is wrong.
            _ => None,
        }
    });
    let beyond: Vec<_> = join_all(asking).await.into_iter().flatten().collect();
    let Some(found) = beyond.iter().map(|(_, size)| *size).min() else {
        return Ok(());
    };
    // One stranger's unsigned word must not keep a registry down; the loops go on saying it.
    if beyond.len() < 2 || beyond.len() * 2 <= all.len() {
        for (witness, size) in &beyond {
            tracing::error!(
                witness,
                cosigned = size,
                published,
                "a witness says that it cosigned more of the log than is published, and is not believed alone; if database and storage \
                 were restored from a backup, stop the registry and restore newer ones"
            );
        }
        return Ok(());
    }
    let names: Vec<String> = beyond.into_iter().map(|(name, _)| name).collect();
    Err(LogError::WitnessedBeyond {
        expected: found,
        found: published,
        witnesses: names.join(", "),
    })
}
