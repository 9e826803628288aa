//! The protocol between a log and its witnesses: `add-checkpoint` (c2sp.org/tlog-witness), on both sides.

use std::fmt;

use assay_schema::Sha256Digest;
use assay_schema::limits::{MAX_ADD_CHECKPOINT, MAX_LOG_PROOF, MAX_LOG_SIZE, MAX_WITNESS_ANSWER};
use jiff::Timestamp;

use crate::checkpoint::{Checkpoint, CheckpointError, SignedCheckpoint};
use crate::cosignature::{cosign, verify_line};
use crate::merkle::{MerkleError, TreeHead, verify_consistency};
use crate::note::{NoteError, SignatureLine, SigningError, VerifierKey, parse_signatures};
use crate::text::{self, decimal, hash, hash_line, shown};

/// The media type of a conflict's body: the size that the witness knows.
pub const SIZE_TYPE: &str = "text/x.tlog.size";

/// What a log asks of a witness.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddCheckpoint {
    old: u64,
    proof: Vec<Sha256Digest>,
    checkpoint: SignedCheckpoint,
}

/// Why a witness does not cosign; each has the HTTP status that tlog-witness demands.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// 400: not a request.
    #[error("witness: expected {expected}, found {found:?}")]
    Malformed {
        /// The rule.
        expected: &'static str,
        /// What is there.
        found: String,
    },
    /// 400: the request does not end with a checkpoint.
    #[error("witness: {0}")]
    Checkpoint(#[from] CheckpointError),
    /// 400: the log says that it shrank.
    #[error("witness: expected an old size of at most the checkpoint's {size}, found {old}")]
    OldSize {
        /// The old size.
        old: u64,
        /// The checkpoint's size.
        size: u64,
    },
    /// 403: no trusted key of this log signed.
    #[error("witness: expected a signature by a trusted key of the log {origin}, found none that holds")]
    NotSigned {
        /// The origin.
        origin: String,
    },
    /// 404: a log that this witness does not follow.
    #[error(
        "witness: expected a log that this witness follows, found {origin}; ask its operator to add the log"
    )]
    UnknownLog {
        /// The origin.
        origin: String,
    },
    /// 409: the witness's last checkpoint has another size.
    #[error("witness: expected old size {stored}, found {old}; send a proof from {stored}")]
    Conflict {
        /// The size of the last checkpoint that the witness cosigned.
        stored: u64,
        /// The old size.
        old: u64,
    },
    /// 409: the log signed two trees of one size. The request is the evidence: keep it.
    #[error("witness: expected root {expected} at size {size}, found {found}; the log shows two histories")]
    Equivocation {
        /// The size.
        size: u64,
        /// The root that the witness cosigned.
        expected: Sha256Digest,
        /// The root that the log signed now.
        found: Sha256Digest,
    },
    /// 422: the newer tree does not contain the older one. The request is the evidence: keep it.
    #[error("witness: {0}")]
    Proof(#[from] MerkleError),
}

impl Refusal {
    /// The HTTP status (tlog-witness, "add-checkpoint").
    pub fn status(&self) -> u16 {
        match self {
            Self::Malformed { .. } | Self::Checkpoint(_) | Self::OldSize { .. } => 400,
            Self::NotSigned { .. } => 403,
            Self::UnknownLog { .. } => 404,
            Self::Conflict { .. } | Self::Equivocation { .. } => 409,
            Self::Proof(_) => 422,
        }
    }

    /// Media type and body of the answer.
    pub fn body(&self) -> (&'static str, String) {
        match self {
            Self::Conflict { stored, .. } => (SIZE_TYPE, format!("{stored}\n")),
            // An equivocation has no size: a log that read one would send the same request again.
            other => ("text/plain; charset=utf-8", format!("{other}\n")),
        }
    }
}

/// A checkpoint that a witness may cosign, after it has persisted it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    checkpoint: Checkpoint,
    replaces: Option<TreeHead>,
}

impl AddCheckpoint {
    /// A request: the witness's last size, the proof from it, and the checkpoint.
    ///
    /// # Errors
    /// More than 63 hashes, or an old size over the checkpoint's.
    pub fn new(old: u64, proof: Vec<Sha256Digest>, checkpoint: SignedCheckpoint) -> Result<Self, Refusal> {
        let size = checkpoint.checkpoint().head().size;
        if proof.len() > MAX_LOG_PROOF {
            return Err(malformed("at most 63 hashes", &proof.len().to_string()));
        }
        match old <= size {
            true => Ok(Self {
                old,
                proof,
                checkpoint,
            }),
            false => Err(Refusal::OldSize { old, size }),
        }
    }

    /// Reads the body of a request. Apart from the old size, which is judged with the rest, nothing is believed yet.
    ///
    /// # Errors
    /// Too long, or not exactly an old size, hashes, an empty line and a checkpoint.
    pub fn parse(bytes: &[u8]) -> Result<Self, Refusal> {
        if bytes.len() > MAX_ADD_CHECKPOINT {
            return Err(malformed(
                "a body within the limit",
                &format!("{} bytes", bytes.len()),
            ));
        }
        let body = str::from_utf8(bytes).map_err(|_| malformed("UTF-8", "other bytes"))?;
        let rule = "old SIZE, hashes, an empty line and a checkpoint, each a line";
        let (first, mut rest) = text::line(body).ok_or_else(|| malformed(rule, body))?;
        let old = first
            .strip_prefix("old ")
            .and_then(|size| decimal(size, MAX_LOG_SIZE));
        let old = old.ok_or_else(|| malformed("old SIZE without leading zeroes", first))?;
        let mut proof = Vec::new();
        loop {
            let (line, more) = text::line(rest).ok_or_else(|| malformed(rule, rest))?;
            rest = more;
            if line.is_empty() {
                break;
            }
            if proof.len() == MAX_LOG_PROOF {
                return Err(malformed("at most 63 hashes", line));
            }
            proof.push(hash(line).ok_or_else(|| malformed("a hash of 32 bytes in base64", line))?);
        }
        Ok(Self {
            old,
            proof,
            checkpoint: SignedCheckpoint::parse(rest.as_bytes())?,
        })
    }

    /// The size from which the proof leads.
    pub fn old(&self) -> u64 {
        self.old
    }

    /// What the witness is to cosign.
    pub fn checkpoint(&self) -> &SignedCheckpoint {
        &self.checkpoint
    }

    /// What a witness does with this request. `keys` are those that it trusts for the request's origin, none if it does not follow that
    /// log; `stored` is the last checkpoint of that origin that it cosigned.
    ///
    /// # Errors
    /// The first check of tlog-witness that fails.
    pub fn decide(&self, keys: &[VerifierKey], stored: Option<TreeHead>) -> Result<Accepted, Refusal> {
        let checkpoint = self.checkpoint.checkpoint();
        let (origin, head) = (checkpoint.origin(), checkpoint.head());
        if keys.is_empty() {
            return Err(Refusal::UnknownLog {
                origin: origin.to_string(),
            });
        }
        if !self.signed_by(keys) {
            return Err(Refusal::NotSigned {
                origin: origin.to_string(),
            });
        }
        if self.old > head.size {
            return Err(Refusal::OldSize {
                old: self.old,
                size: head.size,
            });
        }
        let last = stored.unwrap_or(TreeHead::EMPTY);
        if self.old != last.size {
            return Err(Refusal::Conflict {
                stored: last.size,
                old: self.old,
            });
        }
        if last.size == head.size && last.root != head.root {
            return Err(Refusal::Equivocation {
                size: head.size,
                expected: last.root,
                found: head.root,
            });
        }
        verify_consistency(&last, &head, &self.proof)?;
        Ok(Accepted {
            checkpoint: checkpoint.clone(),
            replaces: stored,
        })
    }

    /// A trusted key signed, and no line under a trusted key's name and id is wrong.
    fn signed_by(&self, keys: &[VerifierKey]) -> bool {
        let mut signed = false;
        for key in keys {
            match self.checkpoint.note().verify(key) {
                Ok(()) => signed = true,
                Err(NoteError::NotSigned { .. }) => {}
                Err(_) => return false,
            }
        }
        signed
    }
}

impl fmt::Display for AddCheckpoint {
    /// The body of the request.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "old {}", self.old)?;
        self.proof
            .iter()
            .try_for_each(|hash| f.write_str(&hash_line(hash)))?;
        write!(f, "\n{}", self.checkpoint)
    }
}

impl Accepted {
    /// What was accepted.
    pub fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// What must be in the witness's store at the moment when the new head replaces it: compare and swap in one step, or two requests
    /// at once roll the log back.
    pub fn replaces(&self) -> Option<TreeHead> {
        self.replaces
    }

    /// Makes the cosignature. The new head must be persisted before (tlog-witness: "MUST persist the new checkpoint before responding").
    ///
    /// # Errors
    /// The key is no Ed25519 witness key, the time is before 1970, the signer failed, or its signature does not hold.
    pub fn cosign<E>(
        self,
        key: &VerifierKey,
        time: Timestamp,
        signer: impl FnOnce(&[u8]) -> Result<[u8; 64], E>,
    ) -> Result<SignatureLine, SigningError<E>> {
        cosign(&self.checkpoint, key, time, signer)
    }
}

/// What a witness's answer means to the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The witness cosigned: a checked line for the checkpoint's note.
    Cosigned {
        /// The line.
        line: SignatureLine,
        /// The time in it.
        time: Timestamp,
    },
    /// The witness's last checkpoint has this size: send a proof from there. If it is larger than the log, the log lost entries and
    /// must not go on.
    Conflict {
        /// The size.
        size: u64,
    },
}

/// An answer that does not help the log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AnswerError {
    /// Another status.
    #[error("witness {witness}: expected status 200, or 409 with a size, found {status}: {reason:?}")]
    Refused {
        /// The witness's name.
        witness: String,
        /// The HTTP status.
        status: u16,
        /// The beginning of the body.
        reason: String,
    },
    /// A body that is not what its status demands.
    #[error("witness {witness}: expected {expected}, found {found:?}; ask its operator")]
    Malformed {
        /// The witness's name.
        witness: String,
        /// The rule.
        expected: &'static str,
        /// The beginning of the body.
        found: String,
    },
    /// Lines that are no signatures, or one that does not hold.
    #[error("witness {witness}: {source}")]
    Note {
        /// The witness's name.
        witness: String,
        /// What is wrong.
        source: NoteError,
    },
}

/// Reads a witness's answer to a request for `checkpoint`; `media_type` is its `Content-Type`. Lines of keys other than `key` are
/// ignored.
///
/// # Errors
/// Another status than 200 and 409 with a size, a malformed body, no line of this witness, or one that does not hold.
pub fn read_answer(
    status: u16,
    media_type: &str,
    body: &[u8],
    checkpoint: &SignedCheckpoint,
    key: &VerifierKey,
) -> Result<Answer, AnswerError> {
    let witness = || key.name().to_string();
    let note = |source| AnswerError::Note {
        witness: witness(),
        source,
    };
    let bad = |expected| AnswerError::Malformed {
        witness: witness(),
        expected,
        found: shown(&String::from_utf8_lossy(body.get(..80).unwrap_or(body))),
    };
    if body.len() > MAX_WITNESS_ANSWER {
        return Err(bad("an answer within the limit"));
    }
    let whole = str::from_utf8(body).map_err(|_| bad("UTF-8"))?;
    match status {
        200 => {
            let lines = parse_signatures(whole).map_err(note)?;
            let line = lines
                .into_iter()
                .find(|line| line.id == key.id() && line.name == *key.name());
            let line = line.ok_or_else(|| {
                note(NoteError::NotSigned {
                    name: witness(),
                    id: key.id(),
                })
            })?;
            let time = verify_line(checkpoint.note(), key, &line).map_err(note)?;
            Ok(Answer::Cosigned { line, time })
        }
        409 if media_type == SIZE_TYPE => {
            let size = whole
                .strip_suffix('\n')
                .and_then(|size| decimal(size, MAX_LOG_SIZE));
            size.map(|size| Answer::Conflict { size })
                .ok_or_else(|| bad("a size and a line feed"))
        }
        status => Err(AnswerError::Refused {
            witness: witness(),
            status,
            reason: shown(whole),
        }),
    }
}

fn malformed(expected: &'static str, found: &str) -> Refusal {
    Refusal::Malformed {
        expected,
        found: shown(found),
    }
}
