//! The log's key: made at the first start, sealed like the online keys, its name the log's origin for ever.

use assay_authority::{KeyKind, SigningKey};
use assay_log::checkpoint::{Checkpoint, Origin, SignedCheckpoint};
use assay_log::merkle::TreeHead;
use assay_log::note::{KeyName, VerifierKey};
use assay_schema::limits::MAX_WITNESSES;

use super::LogError;
use crate::metadata::sha256;
use crate::persistence::LogRecord;
use crate::state::AppState;

/// The opened key.
pub struct LogKey {
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
    let raw = raw(&secret)?;
    let origin = match &state.config.transparency.origin {
        Some(origin) => origin.clone(),
        // Two registries whose operators chose no name must still not share one.
        None => format!(
            "assay-log/{}",
            sha256(&raw).to_hex().chars().take(32).collect::<String>()
        ),
    };
    let public = VerifierKey::log(KeyName::new(&origin)?, &raw)?;
    let sealed = state.seal.key()?.seal_log(secret.to_pem()?.as_bytes())?;
    Ok(state.db.create_log(public.to_string(), sealed).await?)
}

fn raw(key: &SigningKey) -> Result<[u8; 32], LogError> {
    let hex = key.tuf_key()?.keyval.public;
    let bytes = hex::decode(&hex).ok().and_then(|bytes| bytes.try_into().ok());
    bytes.ok_or(LogError::NoKey { found: hex })
}

/// The log's verifier key.
///
/// # Errors
/// The database holds none.
pub fn public(record: &LogRecord) -> Result<VerifierKey, LogError> {
    Ok(record.key.parse()?)
}

impl LogKey {
    /// Opens the log's key.
    ///
    /// # Errors
    /// It was sealed under another sealing key, or is none.
    pub fn open(state: &AppState, record: &LogRecord) -> Result<Self, LogError> {
        let pem = zeroize::Zeroizing::new(state.seal.key()?.open_log(&record.sealed)?);
        let pem = std::str::from_utf8(&pem).map_err(|e| LogError::NoKey { found: e.to_string() })?;
        Ok(Self {
            public: public(record)?,
            secret: SigningKey::from_pem(pem, None)?,
        })
    }

    /// Signs a head that is committed. The same head always gives the same bytes (RFC 8032).
    ///
    /// # Errors
    /// The key does not fit its public half.
    pub fn checkpoint(&self, head: TreeHead) -> Result<SignedCheckpoint, LogError> {
        let origin = Origin::try_from(self.public.name().to_string())?;
        let checkpoint = Checkpoint::new(origin, head)?;
        Ok(SignedCheckpoint::sign(checkpoint, &self.public, |text| {
            let signature = self.secret.sign(text)?;
            let kind = self.secret.kind();
            signature
                .try_into()
                .map_err(|_| assay_authority::KeyError::NotForTuf { kind })
        })?)
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
    let mut signed = LogKey::open(state, record)?.checkpoint(head)?;
    // Witnesses that are no longer asked count for whoever still trusts them; a note has no room for all that there ever were.
    for cosignature in state.db.cosignatures(head.size, MAX_WITNESSES as u64).await? {
        signed.add(cosignature.line)?;
    }
    Ok(signed)
}
