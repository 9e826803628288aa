//! Whom somebody trusts to log: one log, and k of n witnesses if they want split views excluded.

use std::fmt;

use assay_schema::log::{LogTrust, VERSION};

use crate::checkpoint::{Origin, SignedCheckpoint};
use crate::cosignature::{WitnessPolicy, Witnessed};
use crate::merkle::TreeHead;
use crate::note::{KeyName, NoteError, SignatureType, VerifierKey};

/// A policy that cannot be, or a checkpoint that it does not accept.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// A threshold that nobody or nothing can meet.
    #[error(
        "witness policy: expected a threshold of 1 to the number of witnesses ({witnesses}), found {threshold}"
    )]
    Threshold {
        /// The threshold.
        threshold: usize,
        /// The number of witnesses.
        witnesses: usize,
    },
    /// More witnesses than anybody needs.
    #[error("witness policy: expected at most {limit} witnesses, found {found}")]
    TooManyWitnesses {
        /// The limit.
        limit: usize,
        /// Their number.
        found: usize,
    },
    /// One key or name that would count twice.
    #[error("witness policy: expected a key and a name of its own for everybody, found {first} and {second}")]
    SameKey {
        /// One.
        first: String,
        /// The other.
        second: String,
    },
    /// A document of another version.
    #[error(
        "log policy: expected version {expected}, found {found}; update this software, or have the document written anew"
    )]
    Version {
        /// The version that this software reads.
        expected: u32,
        /// The document's.
        found: u32,
    },
    /// Another log's checkpoint.
    #[error(
        "checkpoint: expected the log {expected}, found {found}; fetch the checkpoint of the pinned log, or pin this one"
    )]
    OtherLog {
        /// The pinned log.
        expected: String,
        /// The checkpoint's origin.
        found: String,
    },
    /// Not enough witnesses cosigned.
    #[error(
        "checkpoint: expected cosignatures of {expected} pinned witnesses, found {}{}; wait until the witnesses have cosigned and \
         fetch again", Names(.found), Unsupported(.unsupported)
    )]
    TooFewWitnesses {
        /// The threshold.
        expected: usize,
        /// Who cosigned.
        found: Vec<KeyName>,
        /// Pinned witnesses whose signature type (ML-DSA-44) cannot be checked here.
        unsupported: Vec<KeyName>,
    },
    /// A signature is missing or does not hold, or a key is of the wrong kind.
    #[error("checkpoint: {0}")]
    Note(#[from] NoteError),
}

/// The log and witnesses that somebody trusts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogPolicy {
    log: VerifierKey,
    witnesses: Option<WitnessPolicy>,
}

impl TryFrom<&LogTrust> for LogPolicy {
    type Error = PolicyError;

    /// The policy that a signed or pinned document states.
    ///
    /// # Errors
    /// Another version, a key that cannot be read or is of the wrong kind, or a threshold that nobody can meet.
    fn try_from(trust: &LogTrust) -> Result<Self, PolicyError> {
        if trust.v != VERSION {
            return Err(PolicyError::Version {
                expected: VERSION,
                found: trust.v,
            });
        }
        let witnesses = trust.witnesses.iter().map(|text| text.parse());
        let witnesses = witnesses.collect::<Result<Vec<VerifierKey>, _>>()?;
        let demanded = match trust.threshold {
            0 => None,
            // A threshold beyond this machine's numbers is beyond the number of witnesses, too.
            k => Some(WitnessPolicy::new(
                usize::try_from(k).unwrap_or(usize::MAX),
                witnesses,
            )?),
        };
        Self::new(trust.log.parse()?, demanded)
    }
}

/// A checkpoint that a policy accepts. Only [`LogPolicy::verify`] makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedCheckpoint {
    origin: Origin,
    head: TreeHead,
    witnessed: Option<Witnessed>,
}

impl LogPolicy {
    /// A log by its key, whose name is its origin (tlog-policy, "Defining a log"). Without witnesses a split view is not excluded.
    ///
    /// # Errors
    /// The key is no Ed25519 log key, or the log would be its own witness.
    pub fn new(log: VerifierKey, witnesses: Option<WitnessPolicy>) -> Result<Self, PolicyError> {
        log.require(SignatureType::Ed25519)?;
        let keys = witnesses.iter().flat_map(WitnessPolicy::witnesses);
        match keys.into_iter().find(|key| key.raw() == log.raw()) {
            Some(witness) => Err(PolicyError::SameKey {
                first: log.to_string(),
                second: witness.to_string(),
            }),
            None => Ok(Self { log, witnesses }),
        }
    }

    /// The log's key.
    pub fn log(&self) -> &VerifierKey {
        &self.log
    }

    /// The witnesses, if any are demanded.
    pub fn witnesses(&self) -> Option<&WitnessPolicy> {
        self.witnesses.as_ref()
    }

    /// Judges a checkpoint: its origin, the log's signature, and the cosignatures if any are demanded.
    ///
    /// # Errors
    /// Another log's checkpoint, a signature that is missing or does not hold, or too few cosignatures.
    pub fn verify(&self, signed: &SignedCheckpoint) -> Result<VerifiedCheckpoint, PolicyError> {
        let checkpoint = signed.checkpoint();
        if checkpoint.origin().as_str() != self.log.name().as_str() {
            return Err(PolicyError::OtherLog {
                expected: self.log.name().to_string(),
                found: checkpoint.origin().to_string(),
            });
        }
        signed.note().verify(&self.log)?;
        let witnessed = self
            .witnesses
            .as_ref()
            .map(|policy| policy.evaluate(signed.note()))
            .transpose()?;
        Ok(VerifiedCheckpoint {
            origin: checkpoint.origin().clone(),
            head: checkpoint.head(),
            witnessed,
        })
    }
}

impl VerifiedCheckpoint {
    /// The log's unique name.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Size and root.
    pub fn head(&self) -> TreeHead {
        self.head
    }

    /// What the witnesses state; `None` where the policy demands none, and then a split view is not excluded.
    pub fn witnessed(&self) -> Option<&Witnessed> {
        self.witnessed.as_ref()
    }
}

struct Names<'a>(&'a [KeyName]);

impl fmt::Display for Names<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.len())?;
        for (i, name) in self.0.iter().enumerate() {
            write!(f, "{}{name}", if i == 0 { " (" } else { ", " })?;
        }
        f.write_str(if self.0.is_empty() { "" } else { ")" })
    }
}

struct Unsupported<'a>(&'a [KeyName]);

impl fmt::Display for Unsupported<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            [] => Ok(()),
            names => write!(
                f,
                ", and cannot check the ML-DSA-44 cosignatures of {}",
                Names(names)
            ),
        }
    }
}
