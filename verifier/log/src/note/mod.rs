//! Signed notes: text with signatures by named keys (c2sp.org/signed-note).

mod key;

use std::fmt;

use assay_schema::limits::{MAX_NOTE, MAX_NOTE_NAME, MAX_NOTE_SIGNATURES};

use crate::text::{base64, shown, to_base64};

pub use key::{KeyId, SignatureType, VerifierKey};

/// Text that is no note or key, or a signature that does not hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    /// Longer than a note may be.
    #[error("note: expected at most {limit} bytes, found {found}")]
    TooLong {
        /// The limit in bytes.
        limit: usize,
        /// The length in bytes.
        found: usize,
    },
    /// Not the form of a signed note.
    #[error("note: expected {expected}, found {found:?}")]
    Malformed {
        /// The rule.
        expected: &'static str,
        /// What is there.
        found: String,
    },
    /// More signatures than anybody needs.
    #[error("note: expected at most {limit} signatures, found more")]
    TooManySignatures {
        /// The limit.
        limit: usize,
    },
    /// Not a verifier key.
    #[error("note key: expected {expected}, found {found:?}; copy the key again from its owner")]
    Key {
        /// The rule.
        expected: &'static str,
        /// What is there.
        found: String,
    },
    /// A kind of key that cannot do what is asked of it.
    #[error(
        "note key {name}: expected signature type {expected}, found {found}; configure the key of the right kind"
    )]
    WrongType {
        /// The key's name.
        name: String,
        /// What was needed.
        expected: SignatureType,
        /// What it is.
        found: SignatureType,
    },
    /// Nobody that is trusted signed.
    #[error(
        "note: expected a signature by {name} (key {id}), found none; fetch it again, or pin the key that signs now"
    )]
    NotSigned {
        /// The key's name.
        name: String,
        /// The key's id.
        id: KeyId,
    },
    /// A trusted key is named, and did not make the signature.
    #[error(
        "note: expected the signature of {name} (key {id}) to hold, found one that does not; the text was changed or the signature forged"
    )]
    BadSignature {
        /// The key's name.
        name: String,
        /// The key's id.
        id: KeyId,
    },
}

/// Why a note could not be signed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SigningError<E> {
    /// The signer failed.
    #[error("note: the signer failed: {0}")]
    Signer(E),
    /// What the signer returned does not hold, or the key cannot sign this.
    #[error(transparent)]
    Note(#[from] NoteError),
}

/// A key's name: not empty, at most 255 bytes, without white space, `+` and control characters.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyName(String);

impl KeyName {
    /// Reads a name.
    ///
    /// # Errors
    /// It breaks one of the rules.
    pub fn new(text: &str) -> Result<Self, NoteError> {
        let allowed = |c: char| !c.is_whitespace() && !c.is_control() && c != '+';
        match !text.is_empty() && text.len() <= MAX_NOTE_NAME && text.chars().all(allowed) {
            true => Ok(Self(text.to_owned())),
            false => Err(NoteError::Key {
                expected: "a name of 1 to 255 bytes without white space, '+' and control characters",
                found: shown(text),
            }),
        }
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for KeyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One signature line. It is a claim until a key of this name and id has judged it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignatureLine {
    /// The name of the key.
    pub name: KeyName,
    /// The id of the key.
    pub id: KeyId,
    /// What the key made, in the form of its signature type; never empty.
    pub signature: Vec<u8>,
}

/// A note: its text, which ends with a line feed, and its signatures, unjudged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    text: String,
    signatures: Vec<SignatureLine>,
}

impl Note {
    /// A note that nobody signed yet.
    ///
    /// # Errors
    /// The text is empty, too long, does not end with a line feed, or holds another control character.
    pub fn new(text: String) -> Result<Self, NoteError> {
        refuse_text(&text)?;
        Ok(Self {
            text,
            signatures: Vec::new(),
        })
    }

    /// Reads a signed note.
    ///
    /// # Errors
    /// Too long, too many signatures, or not exactly the form of a signed note.
    pub fn parse(bytes: &[u8]) -> Result<Self, NoteError> {
        refuse_long(bytes.len())?;
        let whole = str::from_utf8(bytes)
            .map_err(|e| malformed("UTF-8", &format!("other bytes from byte {}", e.valid_up_to())))?;
        // The last empty line is the border: the text may hold empty lines.
        let border = whole.rfind("\n\n").and_then(|at| whole.split_at_checked(at + 1));
        let (text, rest) = border.ok_or_else(|| malformed("text, an empty line and signatures", whole))?;
        refuse_text(text)?;
        let signatures = parse_signatures(rest.strip_prefix('\n').unwrap_or(rest))?;
        Ok(Self {
            text: text.to_owned(),
            signatures,
        })
    }

    /// The signed text, with its last line feed.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The signatures, in their order.
    pub fn signatures(&self) -> &[SignatureLine] {
        &self.signatures
    }

    /// Adds a signature, unless the very same one is there.
    ///
    /// # Errors
    /// The note would be too long or have too many signatures; nothing was added.
    pub fn add(&mut self, line: SignatureLine) -> Result<(), NoteError> {
        if self.signatures.contains(&line) {
            return Ok(());
        }
        refuse_more(self.signatures.len())?;
        refuse_long(self.to_string().len() + line.to_string().len())?;
        self.signatures.push(line);
        Ok(())
    }

    /// Signs the text with an Ed25519 key (type 0x01) that the caller holds, and adds the signature, which is checked first.
    ///
    /// # Errors
    /// The key is of another type, the signer failed, its signature does not hold, or the note is full.
    pub fn sign<E>(
        &mut self,
        key: &VerifierKey,
        signer: impl FnOnce(&[u8]) -> Result<[u8; 64], E>,
    ) -> Result<(), SigningError<E>> {
        key.require(SignatureType::Ed25519)?;
        let signature = signer(self.text.as_bytes()).map_err(SigningError::Signer)?;
        key.verify_raw(self.text.as_bytes(), &signature)?;
        Ok(self.add(key.line(signature.to_vec()))?)
    }

    /// Checks the signature of an Ed25519 key (type 0x01). Lines of other keys do not matter; every line of this one must hold.
    ///
    /// # Errors
    /// The key is of another type, did not sign, or one of its lines does not hold.
    pub fn verify(&self, key: &VerifierKey) -> Result<(), NoteError> {
        key.require(SignatureType::Ed25519)?;
        let mut signed = false;
        for line in self.by(key) {
            key.verify_raw(self.text.as_bytes(), &line.signature)?;
            signed = true;
        }
        match signed {
            true => Ok(()),
            false => Err(NoteError::NotSigned {
                name: key.name().to_string(),
                id: key.id(),
            }),
        }
    }

    /// The lines under the name and id of a key: both must match (signed-note, "Signatures").
    pub fn by<'a>(&'a self, key: &'a VerifierKey) -> impl Iterator<Item = &'a SignatureLine> + 'a {
        self.signatures
            .iter()
            .filter(move |line| line.id == key.id() && line.name == *key.name())
    }
}

impl fmt::Display for Note {
    /// The one form of the note; it ends with a line feed. Without signatures it is not a signed note, and does not parse.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.text)?;
        self.signatures.iter().try_for_each(|line| line.fmt(f))
    }
}

impl fmt::Display for SignatureLine {
    /// With its line feed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = self.id.0.to_vec();
        bytes.extend_from_slice(&self.signature);
        writeln!(f, "\u{2014} {} {}", self.name, to_base64(&bytes))
    }
}

/// Reads signature lines, at least one, as they end a note and as a witness answers.
///
/// # Errors
/// Not exactly signature lines, or too many.
pub fn parse_signatures(text: &str) -> Result<Vec<SignatureLine>, NoteError> {
    refuse_long(text.len())?;
    let lines = text
        .strip_suffix('\n')
        .ok_or_else(|| malformed("a line feed behind the last signature", text))?;
    let mut signatures = Vec::new();
    for line in lines.split('\n') {
        refuse_more(signatures.len())?;
        signatures.push(parse_signature(line).ok_or_else(|| {
            malformed(
                "\"\u{2014} NAME BASE64\" with a key id and a signature in the base64",
                line,
            )
        })?);
    }
    Ok(signatures)
}

fn parse_signature(line: &str) -> Option<SignatureLine> {
    let (name, encoded) = line.strip_prefix("\u{2014} ")?.split_once(' ')?;
    let bytes = base64(encoded)?;
    let (id, signature) = bytes.split_first_chunk::<4>()?;
    if signature.is_empty() {
        return None;
    }
    Some(SignatureLine {
        name: KeyName::new(name).ok()?,
        id: KeyId(*id),
        signature: signature.to_vec(),
    })
}

fn refuse_text(text: &str) -> Result<(), NoteError> {
    refuse_long(text.len())?;
    if !text.ends_with('\n') {
        return Err(malformed("text that ends with a line feed", text));
    }
    match text.chars().find(|c| *c < ' ' && *c != '\n') {
        Some(control) => Err(malformed(
            "no control character but line feeds",
            &control.escape_default().to_string(),
        )),
        None => Ok(()),
    }
}

fn refuse_long(found: usize) -> Result<(), NoteError> {
    match found <= MAX_NOTE {
        true => Ok(()),
        false => Err(NoteError::TooLong {
            limit: MAX_NOTE,
            found,
        }),
    }
}

fn refuse_more(present: usize) -> Result<(), NoteError> {
    match present < MAX_NOTE_SIGNATURES {
        true => Ok(()),
        false => Err(NoteError::TooManySignatures {
            limit: MAX_NOTE_SIGNATURES,
        }),
    }
}

fn malformed(expected: &'static str, found: &str) -> NoteError {
    NoteError::Malformed {
        expected,
        found: shown(found),
    }
}
