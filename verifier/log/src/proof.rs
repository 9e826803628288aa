//! `c2sp.org/tlog-proof@v1`: a file that proves offline that something was logged (c2sp.org/tlog-proof).

use std::fmt;

use assay_schema::Sha256Digest;
use assay_schema::limits::{MAX_LOG_PROOF, MAX_LOG_PROOF_EXTRA, MAX_LOG_PROOF_FILE, MAX_LOG_SIZE};

use crate::checkpoint::{CheckpointError, SignedCheckpoint};
use crate::merkle::{MerkleError, verify_inclusion};
use crate::policy::{LogPolicy, PolicyError, VerifiedCheckpoint};
use crate::text::{self, base64, decimal, hash, hash_line, shown, to_base64};

const HEADER: &str = "c2sp.org/tlog-proof@v1";

/// A file that is no proof, or one that does not prove.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// Longer than a proof may be.
    #[error("log proof: expected at most {limit} {what}, found {found}")]
    TooLong {
        /// What is counted.
        what: &'static str,
        /// The limit.
        limit: usize,
        /// How many there are.
        found: usize,
    },
    /// Not the form of a proof.
    #[error("log proof: expected {expected}, found {found:?}; fetch the proof again")]
    Malformed {
        /// The rule.
        expected: &'static str,
        /// What is there.
        found: String,
    },
    /// It does not end with a checkpoint.
    #[error("log proof: {0}")]
    Checkpoint(#[from] CheckpointError),
    /// Its checkpoint is not one that the policy accepts.
    #[error("log proof: {0}")]
    Policy(#[from] PolicyError),
    /// It leads elsewhere.
    #[error("log proof: {0}")]
    Merkle(#[from] MerkleError),
}

/// An entry's place in a log, the hashes from it to a checkpoint's root, and the checkpoint. Everything in it is a claim until
/// [`LogProof::verify`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogProof {
    extra: Option<Vec<u8>>,
    index: u64,
    hashes: Vec<Sha256Digest>,
    checkpoint: SignedCheckpoint,
}

impl LogProof {
    /// A proof of its parts. `extra` is opaque, and nothing authenticates it.
    ///
    /// # Errors
    /// More hashes, a larger index or more extra data than a proof may have.
    pub fn new(
        index: u64,
        hashes: Vec<Sha256Digest>,
        checkpoint: SignedCheckpoint,
        extra: Option<Vec<u8>>,
    ) -> Result<Self, ProofError> {
        let extra_length = extra.as_ref().map_or(0, Vec::len);
        refuse_more("hashes", hashes.len(), MAX_LOG_PROOF)?;
        refuse_more("bytes of extra data", extra_length, MAX_LOG_PROOF_EXTRA)?;
        match index < MAX_LOG_SIZE {
            true => Ok(Self {
                extra,
                index,
                hashes,
                checkpoint,
            }),
            false => Err(malformed("an index below 2^53-1", &index.to_string())),
        }
    }

    /// Reads a proof file.
    ///
    /// # Errors
    /// Too long, or not exactly the form of a proof.
    pub fn parse(bytes: &[u8]) -> Result<Self, ProofError> {
        refuse_more("bytes", bytes.len(), MAX_LOG_PROOF_FILE)?;
        let whole = str::from_utf8(bytes).map_err(|_| malformed("UTF-8", "other bytes"))?;
        let next = |rest| text::line(rest).ok_or_else(|| malformed("a line", rest));
        let (header, rest) = next(whole)?;
        if header != HEADER {
            return Err(malformed(HEADER, header));
        }
        let (mut line, mut rest) = next(rest)?;
        let mut extra = None;
        if let Some(encoded) = line.strip_prefix("extra ") {
            extra = Some(base64(encoded).ok_or_else(|| malformed("extra data in base64", line))?);
            (line, rest) = next(rest)?;
        }
        let index = line
            .strip_prefix("index ")
            .and_then(|index| decimal(index, MAX_LOG_SIZE));
        let index = index.ok_or_else(|| malformed("index NUMBER without leading zeroes", line))?;
        let mut hashes = Vec::new();
        loop {
            (line, rest) = next(rest)?;
            if line.is_empty() {
                break;
            }
            refuse_more("hashes", hashes.len() + 1, MAX_LOG_PROOF)?;
            hashes.push(hash(line).ok_or_else(|| malformed("a hash of 32 bytes in base64", line))?);
        }
        Self::new(index, hashes, SignedCheckpoint::parse(rest.as_bytes())?, extra)
    }

    /// The entry's index.
    pub fn index(&self) -> u64 {
        self.index
    }

    /// Opaque data of the application. Nothing authenticates it.
    pub fn extra(&self) -> Option<&[u8]> {
        self.extra.as_deref()
    }

    /// The checkpoint, unjudged.
    pub fn checkpoint(&self) -> &SignedCheckpoint {
        &self.checkpoint
    }

    /// Checks that the entry with this leaf hash is in the log that the policy pins, as its witnesses saw it.
    ///
    /// # Errors
    /// The policy does not accept the checkpoint, or the hashes do not lead from this leaf to its root.
    pub fn verify(&self, leaf: &Sha256Digest, policy: &LogPolicy) -> Result<VerifiedCheckpoint, ProofError> {
        let checkpoint = policy.verify(&self.checkpoint)?;
        verify_inclusion(leaf, self.index, &checkpoint.head(), &self.hashes)?;
        Ok(checkpoint)
    }
}

impl fmt::Display for LogProof {
    /// The file.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{HEADER}")?;
        if let Some(extra) = &self.extra {
            writeln!(f, "extra {}", to_base64(extra))?;
        }
        writeln!(f, "index {}", self.index)?;
        self.hashes
            .iter()
            .try_for_each(|hash| f.write_str(&hash_line(hash)))?;
        write!(f, "\n{}", self.checkpoint)
    }
}

fn refuse_more(what: &'static str, found: usize, limit: usize) -> Result<(), ProofError> {
    match found <= limit {
        true => Ok(()),
        false => Err(ProofError::TooLong { what, limit, found }),
    }
}

fn malformed(expected: &'static str, found: &str) -> ProofError {
    ProofError::Malformed {
        expected,
        found: shown(found),
    }
}
