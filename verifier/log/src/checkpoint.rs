//! Checkpoints: a log's origin, size and root in a signed note (c2sp.org/tlog-checkpoint).

use std::fmt;

use assay_schema::Sha256Digest;
use assay_schema::limits::{MAX_LOG_SIZE, MAX_NOTE_NAME};
use serde::{Deserialize, Serialize};

use crate::merkle::TreeHead;
use crate::note::{Note, NoteError, SignatureLine, SigningError, VerifierKey};
use crate::text::{self, decimal, hash, hash_line, shown};

/// Text that is no checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointError {
    /// Not the form of a checkpoint's text.
    #[error("checkpoint: expected {expected}, found {found:?}")]
    Malformed {
        /// The rule.
        expected: &'static str,
        /// What is there.
        found: String,
    },
    /// Not the form of a signed note.
    #[error("checkpoint: {0}")]
    Note(#[from] NoteError),
}

/// A log's unique name: a line of 1 to 255 bytes without control characters.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Origin(String);

impl Origin {
    /// The origin as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Origin {
    type Error = CheckpointError;

    fn try_from(line: String) -> Result<Self, CheckpointError> {
        match !line.is_empty() && line.len() <= MAX_NOTE_NAME && !line.chars().any(char::is_control) {
            true => Ok(Self(line)),
            false => Err(malformed(
                "an origin of 1 to 255 bytes without control characters",
                &line,
            )),
        }
    }
}

impl From<Origin> for String {
    fn from(origin: Origin) -> Self {
        origin.0
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a log states about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    origin: Origin,
    head: TreeHead,
    extensions: Vec<String>,
}

impl Checkpoint {
    /// A checkpoint without extension lines, which tlog-checkpoint advises against.
    ///
    /// # Errors
    /// The tree is larger than a log may be.
    pub fn new(origin: Origin, head: TreeHead) -> Result<Self, CheckpointError> {
        match head.size <= MAX_LOG_SIZE {
            true => Ok(Self {
                origin,
                head,
                extensions: Vec::new(),
            }),
            false => Err(malformed("a size of at most 2^53-1", &head.size.to_string())),
        }
    }

    /// Reads the text of a checkpoint.
    ///
    /// # Errors
    /// Not exactly an origin, a size, a root, and perhaps extension lines, each ending with a line feed.
    pub fn parse(whole: &str) -> Result<Self, CheckpointError> {
        let missing = || malformed("an origin, a size and a root, each a line", whole);
        let (origin, rest) = text::line(whole).ok_or_else(missing)?;
        let (size, rest) = text::line(rest).ok_or_else(missing)?;
        let (root, mut rest) = text::line(rest).ok_or_else(missing)?;
        let size = decimal(size, MAX_LOG_SIZE)
            .ok_or_else(|| malformed("a size of at most 2^53-1 without leading zeroes", size))?;
        let root: Sha256Digest = hash(root).ok_or_else(|| malformed("a root of 32 bytes in base64", root))?;
        let mut extensions = Vec::new();
        while !rest.is_empty() {
            let (line, more) = text::line(rest).ok_or_else(|| malformed("a line feed at the end", rest))?;
            if line.is_empty() || line.chars().any(|c| c < ' ') {
                return Err(malformed(
                    "extension lines that are not empty and hold no control character",
                    line,
                ));
            }
            extensions.push(line.to_owned());
            rest = more;
        }
        Ok(Self {
            origin: origin.to_owned().try_into()?,
            head: TreeHead { size, root },
            extensions,
        })
    }

    /// The log's unique name.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Size and root.
    pub fn head(&self) -> TreeHead {
        self.head
    }

    /// Lines that no monitor can audit; Assay's log makes none and acts on none.
    pub fn extensions(&self) -> &[String] {
        &self.extensions
    }
}

impl fmt::Display for Checkpoint {
    /// The note's text.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}\n{}\n{}",
            self.origin,
            self.head.size,
            hash_line(&self.head.root)
        )?;
        self.extensions.iter().try_for_each(|line| writeln!(f, "{line}"))
    }
}

/// A checkpoint in its note, the signatures unjudged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedCheckpoint {
    checkpoint: Checkpoint,
    note: Note,
}

impl SignedCheckpoint {
    /// Reads a signed checkpoint.
    ///
    /// # Errors
    /// Not a signed note, or its text is no checkpoint.
    pub fn parse(bytes: &[u8]) -> Result<Self, CheckpointError> {
        let note = Note::parse(bytes)?;
        Ok(Self {
            checkpoint: Checkpoint::parse(note.text())?,
            note,
        })
    }

    /// Signs a checkpoint with the log's key, which the caller holds. A log must never sign two checkpoints of which one is not a
    /// prefix of the other (tlog-checkpoint, "Signatures"): commit its size and root before.
    ///
    /// # Errors
    /// The key is not an Ed25519 log key, the signer failed, or its signature does not hold.
    pub fn sign<E>(
        checkpoint: Checkpoint,
        key: &VerifierKey,
        signer: impl FnOnce(&[u8]) -> Result<[u8; 64], E>,
    ) -> Result<Self, SigningError<E>> {
        let mut note = Note::new(checkpoint.to_string())?;
        note.sign(key, signer)?;
        Ok(Self { checkpoint, note })
    }

    /// What the log states, unjudged.
    pub fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// The note.
    pub fn note(&self) -> &Note {
        &self.note
    }

    /// Adds a signature line, such as a witness's, unjudged.
    ///
    /// # Errors
    /// The note would be too long or have too many signatures.
    pub fn add(&mut self, line: SignatureLine) -> Result<(), NoteError> {
        self.note.add(line)
    }
}

impl fmt::Display for SignedCheckpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.note.fmt(f)
    }
}

fn malformed(expected: &'static str, found: &str) -> CheckpointError {
    CheckpointError::Malformed {
        expected,
        found: shown(found),
    }
}
