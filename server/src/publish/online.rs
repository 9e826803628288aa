//! The registry's own roles: a namespace's snapshot and timestamp keys, and what they sign.

use std::collections::BTreeMap;

use assay_authority::metadata::{FileMeta, MetadataError, Snapshot, TimestampRole};
use assay_authority::{KeyError, KeyKind, SigningKey};
use assay_schema::api::OnlineKeys;
use assay_schema::{NamespaceName, Sha256Digest};
use jiff::{SignedDuration, Timestamp};

use super::first::{self, BadRoot};
use crate::config::SigningConfig;
use crate::metadata::{RootFile, sha256};
use crate::persistence::{MetadataFile, NewMetadata, OnlineKey, OnlineRole};
use crate::seal::{SealError, SealKey};

/// How long the registry's own metadata holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lifetimes {
    /// Of a snapshot.
    pub snapshot: SignedDuration,
    /// Of a timestamp.
    pub timestamp: SignedDuration,
}

impl From<&SigningConfig> for Lifetimes {
    fn from(config: &SigningConfig) -> Self {
        let life = |duration| SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX);
        Self {
            snapshot: life(config.snapshot),
            timestamp: life(config.timestamp),
        }
    }
}

impl Lifetimes {
    /// Metadata of this role that expires before this time is due for signing again: half of its life is over.
    pub fn due(&self, role: OnlineRole, now: Timestamp) -> Timestamp {
        let life = match role {
            OnlineRole::Snapshot => self.snapshot,
            OnlineRole::Timestamp => self.timestamp,
        };
        now.checked_add(life / 2).unwrap_or(Timestamp::MAX)
    }
}

/// The online keys cannot be made, opened or used.
#[derive(Debug, thiserror::Error)]
pub enum OnlineError {
    /// Sealing or opening.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// Making or reading a key.
    #[error("online key: {0}")]
    Key(#[from] KeyError),
    /// Writing metadata.
    #[error("signing online metadata: {0}")]
    Metadata(#[from] MetadataError),
    /// A role's key is not in the database.
    #[error("namespace {namespace}: expected a {role} key, found none; restore the database from a backup")]
    Missing {
        /// The namespace.
        namespace: NamespaceName,
        /// The role.
        role: &'static str,
    },
}

/// A namespace's opened online keys.
pub struct OnlineSigner {
    identity: Sha256Digest,
    snapshot: SigningKey,
    timestamp: SigningKey,
    lifetimes: Lifetimes,
}

/// New online files that belong together.
#[derive(Debug, Clone)]
pub struct OnlineFiles {
    /// A new snapshot; `None` if the current one stays.
    pub snapshot: Option<NewMetadata>,
    /// A new timestamp.
    pub timestamp: NewMetadata,
}

/// Makes a namespace's two keys.
///
/// # Errors
/// No randomness.
pub fn make(seal: &SealKey, namespace: &NamespaceName) -> Result<Vec<OnlineKey>, OnlineError> {
    [OnlineRole::Snapshot, OnlineRole::Timestamp]
        .into_iter()
        .map(|role| {
            let key = SigningKey::generate(KeyKind::Ed25519)?;
            let sealed = seal.seal(namespace, role.name(), key.to_pem()?.as_bytes())?;
            Ok(OnlineKey {
                role,
                public: key.tuf_key()?,
                sealed,
            })
        })
        .collect()
}

/// The public halves, as the API hands them out.
///
/// # Errors
/// A role has none.
pub fn publics(namespace: &NamespaceName, keys: &[OnlineKey]) -> Result<OnlineKeys, OnlineError> {
    let public = |role| find(namespace, keys, role).map(|key| key.public.clone());
    Ok(OnlineKeys {
        snapshot: public(OnlineRole::Snapshot)?,
        timestamp: public(OnlineRole::Timestamp)?,
    })
}

fn find<'a>(
    namespace: &NamespaceName,
    keys: &'a [OnlineKey],
    role: OnlineRole,
) -> Result<&'a OnlineKey, OnlineError> {
    keys.iter()
        .find(|key| key.role == role)
        .ok_or_else(|| OnlineError::Missing {
            namespace: namespace.clone(),
            role: role.name(),
        })
}

/// The keys that a root lists for the online roles, out of the present and the next ones.
#[derive(Debug)]
pub struct Listed {
    /// One for each role.
    pub keys: Vec<OnlineKey>,
    /// The roles whose next key it is.
    pub promoted: Vec<OnlineRole>,
}

/// Finds the keys that a new root lists for snapshot and timestamp: each role's present one or its next one.
///
/// # Errors
/// It lists another: the registry could sign nothing for devices then.
pub fn listed(root: &RootFile, present: Vec<OnlineKey>, next: Vec<OnlineKey>) -> Result<Listed, BadRoot> {
    let (mut keys, mut promoted) = (Vec::new(), Vec::new());
    for role in [OnlineRole::Snapshot, OnlineRole::Timestamp] {
        let mut own: Vec<_> = present
            .iter()
            .chain(&next)
            .filter(|key| key.role == role)
            .collect();
        let publics: Vec<_> = own.iter().map(|key| &key.public).collect();
        let at = first::online_key(root, role.name(), &publics)?;
        let key = own.swap_remove(at);
        if !present.contains(key) {
            promoted.push(role);
        }
        keys.push(key.clone());
    }
    Ok(Listed { keys, promoted })
}

impl OnlineSigner {
    /// Opens a namespace's keys.
    ///
    /// # Errors
    /// A key is missing, or was sealed under another sealing key.
    pub fn open(
        seal: &SealKey,
        namespace: &NamespaceName,
        identity: Sha256Digest,
        keys: &[OnlineKey],
        lifetimes: Lifetimes,
    ) -> Result<Self, OnlineError> {
        let open = |role: OnlineRole| {
            let key = find(namespace, keys, role)?;
            let secret = zeroize::Zeroizing::new(seal.open(namespace, role.name(), &key.sealed)?);
            let pem = std::str::from_utf8(&secret).map_err(|_| SealError::Open {
                namespace: namespace.clone(),
                role: role.name(),
            })?;
            Ok::<_, OnlineError>(SigningKey::from_pem(pem, None)?)
        };
        let (snapshot, timestamp) = (open(OnlineRole::Snapshot)?, open(OnlineRole::Timestamp)?);
        Ok(Self {
            identity,
            snapshot,
            timestamp,
            lifetimes,
        })
    }

    /// The first snapshot and timestamp that these keys sign, of these roles.
    ///
    /// # Errors
    /// [`OnlineError::Metadata`].
    pub fn first<'a>(
        &self,
        roles: impl IntoIterator<Item = (&'a str, FileMeta)>,
        now: Timestamp,
    ) -> Result<OnlineFiles, OnlineError> {
        let files = roles.into_iter().map(|(role, meta)| (file_name(role), meta));
        let files: BTreeMap<_, _> = files.collect();
        let snapshot = Snapshot::new(self.identity, 1, after(now, self.lifetimes.snapshot), &files)?;
        let snapshot = self.sign_snapshot(&snapshot)?;
        let meta = FileMeta::of(1, &snapshot.bytes);
        let timestamp = TimestampRole::new(self.identity, 1, after(now, self.lifetimes.timestamp), &meta)?;
        Ok(OnlineFiles {
            timestamp: self.sign_timestamp(timestamp, now)?,
            snapshot: Some(snapshot),
        })
    }

    /// The next snapshot with these changed roles, and a timestamp for it.
    ///
    /// # Errors
    /// [`OnlineError::Metadata`].
    pub fn next<'a>(
        &self,
        snapshot: &MetadataFile,
        timestamp: &MetadataFile,
        changed: impl IntoIterator<Item = (&'a str, FileMeta)>,
        now: Timestamp,
    ) -> Result<OnlineFiles, OnlineError> {
        let mut next = Snapshot::read(&snapshot.bytes)?;
        for (role, meta) in changed {
            next.set_file(&file_name(role), &meta)?;
        }
        next.advance(after(now, self.lifetimes.snapshot))?;
        let snapshot = self.sign_snapshot(&next)?;
        let timestamp =
            self.next_timestamp(timestamp, &FileMeta::of(snapshot.version, &snapshot.bytes), now)?;
        Ok(OnlineFiles {
            snapshot: Some(snapshot),
            timestamp,
        })
    }

    /// The next timestamp for the snapshot that stands.
    ///
    /// # Errors
    /// [`OnlineError::Metadata`].
    pub fn renew_timestamp(
        &self,
        snapshot: &MetadataFile,
        timestamp: &MetadataFile,
        now: Timestamp,
    ) -> Result<OnlineFiles, OnlineError> {
        let meta = FileMeta::of(snapshot.version, &snapshot.bytes);
        Ok(OnlineFiles {
            snapshot: None,
            timestamp: self.next_timestamp(timestamp, &meta, now)?,
        })
    }

    fn next_timestamp(
        &self,
        old: &MetadataFile,
        snapshot: &FileMeta,
        now: Timestamp,
    ) -> Result<NewMetadata, OnlineError> {
        let mut next = TimestampRole::read(&old.bytes)?;
        next.set_snapshot(snapshot)?;
        next.advance(after(now, self.lifetimes.timestamp))?;
        self.sign_timestamp(next, now)
    }

    fn sign_snapshot(&self, snapshot: &Snapshot) -> Result<NewMetadata, OnlineError> {
        let signed = snapshot.sign(&[&self.snapshot])?;
        Ok(new_metadata(
            OnlineRole::Snapshot.name(),
            signed.version,
            signed.bytes,
            snapshot.expires()?,
        ))
    }

    fn sign_timestamp(
        &self,
        mut timestamp: TimestampRole,
        now: Timestamp,
    ) -> Result<NewMetadata, OnlineError> {
        timestamp.set_issued(now)?;
        let signed = timestamp.sign(&[&self.timestamp])?;
        Ok(new_metadata(
            OnlineRole::Timestamp.name(),
            signed.version,
            signed.bytes,
            timestamp.expires()?,
        ))
    }
}

/// A file that becomes its role's current one.
pub fn new_metadata(role: &str, version: u64, bytes: Vec<u8>, expires: Timestamp) -> NewMetadata {
    NewMetadata {
        role: role.to_owned(),
        version,
        sha256: sha256(&bytes),
        bytes,
        expires,
    }
}

fn file_name(role: &str) -> String {
    format!("{role}.json")
}

fn after(now: Timestamp, life: SignedDuration) -> Timestamp {
    now.checked_add(life).unwrap_or(Timestamp::MAX)
}
