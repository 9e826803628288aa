//! What a witness answers to `add-checkpoint` (c2sp.org/tlog-witness).

use std::collections::BTreeMap;

use assay_authority::SigningKey;
use assay_log::VerifierKey;
use assay_log::checkpoint::Origin;
use assay_log::merkle::TreeHead;
use assay_log::witness::{AddCheckpoint, Refusal};
use jiff::Timestamp;

use super::log::Log;
use super::{WitnessError, WitnessStep};
use crate::exclusive::ExclusiveFolder;

const TEXT: &str = "text/plain; charset=utf-8";

/// A witness at work.
pub struct Witness {
    key: VerifierKey,
    secret: SigningKey,
    logs: BTreeMap<Origin, Log>,
    /// Nobody else's as long as the witness is at work.
    _folder: ExclusiveFolder<WitnessStep, WitnessError>,
}

impl std::fmt::Debug for Witness {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Witness")
            .field("key", &self.key)
            .field("logs", &self.logs.keys())
            .finish_non_exhaustive()
    }
}

/// An HTTP answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The HTTP status.
    pub status: u16,
    /// `Content-Type`.
    pub media_type: &'static str,
    /// The body.
    pub body: String,
    /// What its operator may want to know.
    pub event: Option<Event>,
}

/// What a witness's operator may want to know, once for each checkpoint that a log signed: strangers can repeat requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A checkpoint of another head than before was cosigned.
    Cosigned {
        /// The log.
        origin: Origin,
        /// What the witness remembers now.
        head: TreeHead,
    },
    /// The log signed a checkpoint that does not contain what was cosigned, or nobody has proven yet that it does.
    Split {
        /// The log.
        origin: Origin,
        /// What is wrong with it.
        refusal: Refusal,
        /// Whether the request is in the folder `evidence`; not if that is full, which is told once.
        kept: bool,
    },
}

impl Witness {
    pub(super) fn new(
        key: VerifierKey,
        secret: SigningKey,
        logs: BTreeMap<Origin, Log>,
        folder: ExclusiveFolder<WitnessStep, WitnessError>,
    ) -> Self {
        Self {
            key,
            secret,
            logs,
            _folder: folder,
        }
    }

    /// What logs and devices know it by.
    pub fn key(&self) -> &VerifierKey {
        &self.key
    }

    /// The logs that it follows.
    pub fn origins(&self) -> impl Iterator<Item = &Origin> {
        self.logs.keys()
    }

    /// Answers the body of an `add-checkpoint` request. The new checkpoint is on disk before the cosignature is made. `clock` is read
    /// when no other request for this log can be cosigned any more before this one: times go up with the checkpoints.
    ///
    /// # Errors
    /// The folder cannot be written, the key does not sign, or the clock was set back: nothing was cosigned, and the log may ask again.
    pub fn add_checkpoint(&self, body: &[u8], clock: &dyn Fn() -> Timestamp) -> Result<Reply, WitnessError> {
        let request = match AddCheckpoint::parse(body) {
            Ok(request) => request,
            Err(refusal) => return Ok(Reply::refusal(&refusal)),
        };
        let origin = request.checkpoint().checkpoint().origin();
        let Some(log) = self.logs.get(origin) else {
            let origin = origin.to_string();
            return Ok(Reply::refusal(&Refusal::UnknownLog { origin }));
        };
        let mut memory = log.memory();
        let stored = memory.head();
        let accepted = match request.decide(&log.keys, stored) {
            Ok(accepted) => accepted,
            Err(refusal) => {
                let news = log.keep_evidence(&mut memory, &request, &refusal)?;
                let reply = Reply::refusal(&refusal);
                let event = news.map(|kept| Event::Split {
                    origin: origin.clone(),
                    refusal,
                    kept,
                });
                return Ok(Reply { event, ..reply });
            }
        };
        let time = memory.time(clock())?;
        let head = request.checkpoint().checkpoint().head();
        let is_new = stored != Some(head);
        if is_new {
            // tlog-witness: "MUST persist the new checkpoint before responding".
            log.persist(request.checkpoint())?;
            memory.last = Some(request.checkpoint().clone());
            log.clear(&head)?;
        }
        let line = accepted.cosign(&self.key, time, |message| self.sign(message));
        let line = line.map_err(|source| WitnessError::Signing {
            log: origin.to_string(),
            source,
        })?;
        Ok(Reply {
            status: 200,
            media_type: TEXT,
            body: line.to_string(),
            event: is_new.then(|| Event::Cosigned {
                origin: origin.clone(),
                head,
            }),
        })
    }

    fn sign(&self, message: &[u8]) -> Result<[u8; 64], assay_authority::KeyError> {
        let kind = self.secret.kind();
        let signature = self.secret.sign(message)?.try_into();
        signature.map_err(|_| assay_authority::KeyError::Unsupported {
            found: format!("a {kind} key"),
        })
    }
}

impl Reply {
    fn refusal(refusal: &Refusal) -> Self {
        let (media_type, body) = refusal.body();
        Self {
            status: refusal.status(),
            media_type,
            body,
            event: None,
        }
    }
}
