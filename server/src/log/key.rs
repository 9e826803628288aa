//! The log's key: made at the first start, sealed like the online keys, its name the log's origin for ever. While it is being changed
//! there are two, and both sign every checkpoint, so that whoever trusts either accepts it.

use assay_authority::{KeyKind, SigningKey};
use assay_log::checkpoint::{Checkpoint, Origin, SignedCheckpoint};
use assay_log::merkle::TreeHead;
use assay_log::note::{KeyName, VerifierKey};
use assay_schema::limits::MAX_WITNESSES;

use super::LogError;
use crate::metadata::sha256;
use crate::persistence::LogRecord;
use crate::state::AppState;

/// The opened keys: the present one, and the next if there is one.
pub struct LogKey {
    present: Opened,
    next: Option<Opened>,
}

struct Opened {
    public: VerifierKey,
    secret: SigningKey,
}

/// The log's record; the log is begun if there is none.
///
/// # Errors
/// The key cannot be made or sealed, the name is no key's name, or the database fails.
pub async fn find_or_make(state: &AppState) -> Result<LogRecord, LogError> {
    if let Some(record) = state.db.log_state().await? {
        return Ok(record);
    }
    let secret = SigningKey::generate(KeyKind::Ed25519)?;
    let origin = match &state.config.transparency.origin {
        Some(origin) => origin.clone(),
        // Two registries whose operators chose no name must still not share one.
        None => format!(
            "assay-log/{}",
            sha256(&secret.public_key().ed25519_bytes()?)
                .to_hex()
                .chars()
                .take(32)
                .collect::<String>()
        ),
    };
    let (public, sealed) = seal(state, &origin, &secret)?;
    Ok(state.db.create_log(public.to_string(), sealed).await?)
}

/// A key as the database keeps it.
pub(super) fn seal(
    state: &AppState,
    origin: &str,
    secret: &SigningKey,
) -> Result<(VerifierKey, Vec<u8>), LogError> {
    let public = VerifierKey::log(KeyName::new(origin)?, &secret.public_key().ed25519_bytes()?)?;
    let sealed = state.seal.key()?.seal_log(secret.to_pem()?.as_bytes())?;
    Ok((public, sealed))
}

/// The log's verifier key.
///
/// # Errors
/// The database holds none.
pub fn public(record: &LogRecord) -> Result<VerifierKey, LogError> {
    Ok(record.key.parse()?)
}

impl Opened {
    fn new(state: &AppState, key: &str, sealed: &[u8]) -> Result<Self, LogError> {
        let pem = zeroize::Zeroizing::new(state.seal.key()?.open_log(sealed)?);
        let pem = std::str::from_utf8(&pem).map_err(|e| LogError::NoKey { found: e.to_string() })?;
        Ok(Self {
            public: key.parse()?,
            secret: SigningKey::from_pem(pem, None)?,
        })
    }

    fn sign(&self, checkpoint: Checkpoint) -> Result<SignedCheckpoint, LogError> {
        Ok(SignedCheckpoint::sign(checkpoint, &self.public, |text| {
            let signature = self.secret.sign(text)?;
            let kind = self.secret.kind();
            signature
                .try_into()
                .map_err(|_| assay_authority::KeyError::NotForTuf { kind })
        })?)
    }
}

impl LogKey {
    /// Opens the log's key, and the next one if there is one.
    ///
    /// # Errors
    /// They were sealed under another sealing key, or are none; or the database fails.
    pub async fn open(state: &AppState, record: &LogRecord) -> Result<Self, LogError> {
        let next = state.db.next_log_key().await?;
        Ok(Self {
            present: Opened::new(state, &record.key, &record.sealed)?,
            next: next
                // A record that was read before the change is not signed twice with one key.
                .filter(|next| next.key != record.key)
                .map(|next| Opened::new(state, &next.key, &next.sealed))
                .transpose()?,
        })
    }

    /// Signs a head that is committed. The same head and keys always give the same bytes (RFC 8032).
    ///
    /// # Errors
    /// A key does not fit its public half.
    pub fn checkpoint(&self, head: TreeHead) -> Result<SignedCheckpoint, LogError> {
        let origin = Origin::try_from(self.present.public.name().to_string())?;
        let checkpoint = Checkpoint::new(origin, head)?;
        let mut signed = self.present.sign(checkpoint.clone())?;
        if let Some(next) = &self.next {
            for line in next.sign(checkpoint)?.note().signatures() {
                signed.add(line.clone())?;
            }
        }
        Ok(signed)
    }
}

/// A checkpoint that is published, with the cosignatures that it has by now.
///
/// # Errors
/// The key cannot be opened, or the database fails.
pub async fn cosigned(
    state: &AppState,
    record: &LogRecord,
    head: TreeHead,
) -> Result<SignedCheckpoint, LogError> {
    let mut signed = LogKey::open(state, record).await?.checkpoint(head)?;
    // Witnesses that are no longer asked count for whoever still trusts them; a note has no room for all that there ever were.
    for cosignature in state.db.cosignatures(head.size, MAX_WITNESSES as u64).await? {
        signed.add(cosignature.line)?;
    }
    Ok(signed)
}
