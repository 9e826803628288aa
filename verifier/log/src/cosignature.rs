//! Cosignatures: a witness's statement that, at a time, a checkpoint was the largest consistent one that it had seen of the log
//! (c2sp.org/tlog-cosignature).

use std::collections::BTreeMap;

use assay_schema::limits::MAX_WITNESSES;
use jiff::Timestamp;

use crate::checkpoint::Checkpoint;
use crate::note::{KeyName, Note, NoteError, SignatureLine, SignatureType, SigningError, VerifierKey};
use crate::policy::PolicyError;

/// What a witness signs: two lines, then the whole text of the checkpoint.
pub fn message(time: Timestamp, text: &str) -> Vec<u8> {
    format!("cosignature/v1\ntime {}\n{text}", time.as_second()).into_bytes()
}

/// Makes a cosignature. Only [`Accepted`](crate::witness::Accepted) calls it: nothing else has compared the checkpoint with the last one.
pub(crate) fn cosign<E>(
    checkpoint: &Checkpoint,
    key: &VerifierKey,
    time: Timestamp,
    signer: impl FnOnce(&[u8]) -> Result<[u8; 64], E>,
) -> Result<SignatureLine, SigningError<E>> {
    key.require(SignatureType::CosignatureEd25519)?;
    let seconds = u64::try_from(time.as_second()).ok().filter(|s| *s > 0);
    // tlog-witness: "the timestamp MUST NOT be zero".
    let seconds = seconds.ok_or_else(|| key.bad_signature())?;
    let message = message(time, &checkpoint.to_string());
    let signature = signer(&message).map_err(SigningError::Signer)?;
    key.verify_raw(&message, &signature)?;
    let mut bytes = seconds.to_be_bytes().to_vec();
    bytes.extend_from_slice(&signature);
    Ok(key.line(bytes))
}

/// When a witness cosigned this note, as one of its lines says.
///
/// # Errors
/// The key is no Ed25519 witness key, or it did not make this line over this note.
pub fn verify_line(note: &Note, key: &VerifierKey, line: &SignatureLine) -> Result<Timestamp, NoteError> {
    key.require(SignatureType::CosignatureEd25519)?;
    if line.id != key.id() || line.name != *key.name() {
        return Err(NoteError::NotSigned {
            name: key.name().to_string(),
            id: key.id(),
        });
    }
    // tlog-cosignature, "Format": timestamp (big-endian, at most 2^63-1; not zero, tlog-witness) and 64 bytes of Ed25519.
    let (seconds, signature) = line
        .signature
        .split_first_chunk::<8>()
        .ok_or_else(|| key.bad_signature())?;
    let seconds = i64::try_from(u64::from_be_bytes(*seconds)).ok();
    let time = seconds
        .filter(|s| *s > 0)
        .and_then(|s| Timestamp::from_second(s).ok())
        .ok_or_else(|| key.bad_signature())?;
    key.verify_raw(&message(time, note.text()), signature)?;
    Ok(time)
}

/// When a witness last cosigned this note; `None` if it did not.
///
/// # Errors
/// The key is no Ed25519 witness key, or one line under its name and id does not hold.
pub fn verify(note: &Note, key: &VerifierKey) -> Result<Option<Timestamp>, NoteError> {
    key.require(SignatureType::CosignatureEd25519)?;
    let mut last = None;
    for line in note.by(key) {
        last = last.max(Some(verify_line(note, key, line)?));
    }
    Ok(last)
}

/// How many of which witnesses must have cosigned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WitnessPolicy {
    threshold: usize,
    witnesses: Vec<VerifierKey>,
}

/// What the witnesses state together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Witnessed {
    /// The k-th largest time, where k is the threshold: unless k witnesses lie together, it is not later than the true time.
    /// Only this time may raise a device's time floor.
    pub time: Timestamp,
    /// Who cosigned, and when last.
    pub cosigners: BTreeMap<KeyName, Timestamp>,
}

impl WitnessPolicy {
    /// `threshold` of `witnesses`, none of which counts twice.
    ///
    /// # Errors
    /// The threshold is 0 or over their number, there are more than 32, one key is there twice, or one is a log's key.
    pub fn new(threshold: usize, witnesses: Vec<VerifierKey>) -> Result<Self, PolicyError> {
        if witnesses.len() > MAX_WITNESSES {
            return Err(PolicyError::TooManyWitnesses {
                limit: MAX_WITNESSES,
                found: witnesses.len(),
            });
        }
        if !(1..=witnesses.len()).contains(&threshold) {
            return Err(PolicyError::Threshold {
                threshold,
                witnesses: witnesses.len(),
            });
        }
        // tlog-policy, "Public key representation": one raw key under two names is one witness.
        for (i, second) in witnesses.iter().enumerate() {
            if second.kind() == SignatureType::Ed25519 {
                second.require(SignatureType::CosignatureEd25519)?;
            }
            let twin = |first: &&VerifierKey| first.raw() == second.raw() || first.name() == second.name();
            if let Some(first) = witnesses.iter().take(i).find(twin) {
                return Err(PolicyError::SameKey {
                    first: first.to_string(),
                    second: second.to_string(),
                });
            }
        }
        Ok(Self { threshold, witnesses })
    }

    /// How many must have cosigned.
    pub fn threshold(&self) -> usize {
        self.threshold
    }

    /// Who may.
    pub fn witnesses(&self) -> &[VerifierKey] {
        &self.witnesses
    }

    /// Witnesses whose signature type Assay cannot check; they never count.
    pub fn unsupported(&self) -> impl Iterator<Item = &KeyName> {
        self.witnesses
            .iter()
            .filter(|key| key.kind() == SignatureType::CosignatureMlDsa44)
            .map(VerifierKey::name)
    }

    /// Judges the cosignatures of a checkpoint's note.
    ///
    /// # Errors
    /// Fewer than the threshold cosigned, or a line of a known witness does not hold (signed-note, "Signatures").
    pub fn evaluate(&self, note: &Note) -> Result<Witnessed, PolicyError> {
        let mut cosigners = BTreeMap::new();
        for key in self
            .witnesses
            .iter()
            .filter(|key| key.kind() == SignatureType::CosignatureEd25519)
        {
            if let Some(time) = verify(note, key)? {
                cosigners.insert(key.name().clone(), time);
            }
        }
        let mut times: Vec<Timestamp> = cosigners.values().copied().collect();
        times.sort_unstable_by(|a, b| b.cmp(a));
        match times.get(self.threshold.saturating_sub(1)) {
            Some(time) => Ok(Witnessed {
                time: *time,
                cosigners,
            }),
            None => Err(PolicyError::TooFewWitnesses {
                expected: self.threshold,
                found: cosigners.into_keys().collect(),
                unsupported: self.unsupported().cloned().collect(),
            }),
        }
    }
}
