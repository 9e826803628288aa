//! Asking a witness for its cosignature: `add-checkpoint` of c2sp.org/tlog-witness.
//!
//! A witness is a stranger. What it answers is read within a time and a length, believed only as far as its signature goes, and
//! never decides whether the log grows.

use assay_log::merkle::{Plan, TreeHead};
use assay_log::witness::{AddCheckpoint, Answer, AnswerError, Refusal, read_answer};
use assay_schema::limits::MAX_WITNESS_ANSWER;

use super::LogError;
use super::key::LogKey;
use super::prove::prove;
use super::witnessing::Witness;
use crate::persistence::{DatabaseError, LogRecord};
use crate::state::AppState;
use crate::steps::Step;

/// Requests to one witness for one checkpoint: one with what the database says, one with what the witness says, one more where
/// another registry asked it in between.
const REQUESTS: usize = 3;
/// How often in a row a witness may name a size that it cosigned and that no cosignature shows, before it is left alone for a while:
/// another registry may be about to store the cosignature.
const UNSHOWN: u32 = 3;

/// What came of asking.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// The cosignature is stored.
    Cosigned,
    /// The witness has cosigned more by now, which is published too: another registry asked it.
    Passed,
}

/// A witness that does not cosign.
#[derive(Debug, thiserror::Error)]
pub enum WitnessError {
    /// No answer, or not in time.
    #[error(
        "witness {witness} does not answer: {reason}; see that it runs and that its url in [transparency] witnesses is right"
    )]
    Unreachable {
        /// Its name.
        witness: String,
        /// Why not.
        reason: String,
    },
    /// An answer without end.
    #[error("witness {witness}: expected an answer of at most {limit} bytes, found more; ask its operator")]
    TooLong {
        /// Its name.
        witness: String,
        /// The limit.
        limit: usize,
    },
    /// 404: the witness does not know the log.
    #[error("witness {witness} does not follow this log; ask its operator to add {key}")]
    UnknownLog {
        /// Its name.
        witness: String,
        /// The log's verifier key.
        key: String,
    },
    /// 403: the witness trusts another key of the log.
    #[error("witness {witness} trusts another key of this log; ask its operator to add {key}")]
    OtherKey {
        /// Its name.
        witness: String,
        /// The log's verifier key.
        key: String,
    },
    /// The witness says that the log was larger.
    #[error(
        "witness {witness} says that it cosigned {found} entries of this log, and {expected} are published: either the witness is \
         wrong - ask its operator for the checkpoint - or database and storage were restored from an old backup, and the log shows \
         two histories: then stop the registry and restore a newer backup"
    )]
    Beyond {
        /// Its name.
        witness: String,
        /// What is published.
        expected: u64,
        /// What the witness says.
        found: u64,
    },
    /// The witness names a size that was published, and has shown nobody its cosignature.
    #[error(
        "witness {witness} says that it cosigned {found} entries of this log instead of the {size} that it was asked for, and no registry \
         on this database has that cosignature; ask its operator whether another registry with a copy of the log's key asks it"
    )]
    Unshown {
        /// Its name.
        witness: String,
        /// The size that was to be cosigned.
        size: u64,
        /// What the witness says.
        found: u64,
    },
    /// 422, or 409 without a size: the witness knows another tree.
    #[error(
        "witness {witness} knows another history of this log than the one published over {size} entries (status {status}: {reason:?}): \
         either the witness is wrong, or the log shows two histories; compare the checkpoints with its operator, and keep both"
    )]
    OtherHistory {
        /// Its name.
        witness: String,
        /// The size that was to be cosigned.
        size: u64,
        /// The HTTP status.
        status: u16,
        /// The beginning of the answer.
        reason: String,
    },
    /// It names a size and then does not go on from there.
    #[error(
        "witness {witness} says that it is at {found} entries, and does not take a proof from there; ask its operator"
    )]
    Unsteady {
        /// Its name.
        witness: String,
        /// The last size that it named.
        found: u64,
    },
    /// Anything else that it answers.
    #[error(transparent)]
    Answer(#[from] AnswerError),
    /// A request that cannot be made.
    #[error(transparent)]
    Request(#[from] Refusal),
    /// The log itself.
    #[error(transparent)]
    Log(#[from] LogError),
}

impl From<DatabaseError> for WitnessError {
    fn from(error: DatabaseError) -> Self {
        Self::Log(error.into())
    }
}

impl WitnessError {
    /// Whether the log may have shown two histories.
    pub fn is_grave(&self) -> bool {
        matches!(self, Self::Beyond { .. } | Self::OtherHistory { .. })
    }
}

/// Asks a witness to cosign the published checkpoint over `size` entries, and stores its cosignature.
///
/// # Errors
/// It does not cosign, or a store fails.
pub async fn ask(state: &AppState, witness: &Witness, size: u64) -> Result<Asked, WitnessError> {
    let known = state.db.last_cosigned(&witness.config.key).await?;
    // A size beyond this one was cosigned for another registry meanwhile.
    let mut old = known.map_or(0, |last| last.size).min(size);
    for _ in 0..REQUESTS {
        let (record, request) = request(state, old, size).await?;
        witness.asked();
        let answer = exchange(state, witness, &record, &request).await;
        witness.answered(answer.is_ok());
        match answer? {
            Answer::Cosigned { line, time } => {
                state
                    .db
                    .add_cosignature(size, &witness.config.key, &line, time)
                    .await?;
                state.steps.done(Step::L5).map_err(LogError::from)?;
                witness.has_cosigned(size);
                witness.has_shown();
                return Ok(Asked::Cosigned);
            }
            Answer::Conflict { size: found } if found <= size => old = found,
            Answer::Conflict { size: found } => {
                let record = state.db.log_state().await?;
                let published = record.map_or(0, |record| record.published);
                if found <= published {
                    let last = state.db.last_cosigned(&witness.config.key).await?;
                    if last.is_some_and(|last| last.size >= found) {
                        witness.has_shown();
                        return Ok(Asked::Passed);
                    }
                    // Anybody can name a size; only a cosignature shows it.
                    witness.answered(false);
                    return match witness.names_unshown() > UNSHOWN {
                        false => Ok(Asked::Passed),
                        true => Err(WitnessError::Unshown {
                            witness: witness.config.key.name().to_string(),
                            size,
                            found,
                        }),
                    };
                }
                witness.answered(false);
                return Err(WitnessError::Beyond {
                    witness: witness.config.key.name().to_string(),
                    expected: published,
                    found,
                });
            }
        }
    }
    witness.answered(false);
    Err(WitnessError::Unsteady {
        witness: witness.config.key.name().to_string(),
        found: old,
    })
}

/// The request that leads from `old` to `size` entries.
async fn request(state: &AppState, old: u64, size: u64) -> Result<(LogRecord, AddCheckpoint), WitnessError> {
    let gone = |what| DatabaseError::Missing { what };
    let record = state.db.log_state().await?;
    let record = record.ok_or_else(|| gone("log".to_owned()))?;
    let head = state.db.log_head(size).await?;
    let head: TreeHead = head.ok_or_else(|| gone(format!("batch of {size} entries")))?;
    // tlog-witness: "The proof MUST be empty if the old size is zero."
    let hashes = match old == 0 || old == size {
        true => Vec::new(),
        false => {
            let plan = Plan::consistency(old, size).map_err(LogError::from)?;
            prove(state, head, plan).await?
        }
    };
    let checkpoint = LogKey::open(state, &record).await?.checkpoint(head)?;
    let request = AddCheckpoint::new(old, hashes, checkpoint)?;
    Ok((record, request))
}

/// One request and its answer, within the witness's time and the limit of its length.
async fn exchange(
    state: &AppState,
    witness: &Witness,
    record: &LogRecord,
    request: &AddCheckpoint,
) -> Result<Answer, WitnessError> {
    let key = &witness.config.key;
    let name = || key.name().to_string();
    let unreachable = |error: &reqwest::Error| WitnessError::Unreachable {
        witness: name(),
        reason: causes(error),
    };
    let client = state.witnessing.client().map_err(|e| unreachable(&e))?;
    let mut answer = client
        .post(witness.config.endpoint())
        .header("content-type", "text/plain; charset=utf-8")
        .timeout(witness.config.timeout())
        .body(request.to_string())
        .send()
        .await
        .map_err(|e| unreachable(&e))?;
    let status = answer.status().as_u16();
    let media_type = answer
        .headers()
        .get("content-type")
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(';').next())
        .unwrap_or_default()
        .trim()
        .to_owned();
    let mut body = Vec::new();
    while let Some(piece) = answer.chunk().await.map_err(|e| unreachable(&e))? {
        if body.len() + piece.len() > MAX_WITNESS_ANSWER {
            return Err(WitnessError::TooLong {
                witness: name(),
                limit: MAX_WITNESS_ANSWER,
            });
        }
        body.extend_from_slice(&piece);
    }
    let checkpoint = request.checkpoint();
    read_answer(status, &media_type, &body, checkpoint, key).map_err(|error| match error {
        AnswerError::Refused { status: 404, .. } => WitnessError::UnknownLog {
            witness: name(),
            key: record.key.clone(),
        },
        AnswerError::Refused { status: 403, .. } => WitnessError::OtherKey {
            witness: name(),
            key: record.key.clone(),
        },
        AnswerError::Refused {
            status: status @ (409 | 422),
            reason,
            ..
        } => WitnessError::OtherHistory {
            witness: name(),
            size: checkpoint.checkpoint().head().size,
            status,
            reason,
        },
        other => other.into(),
    })
}

/// An error with what caused it, which alone says what is wrong.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}
