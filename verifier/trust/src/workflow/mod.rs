//! The order of the steps: roots, timestamp, snapshot, targets. Each state consumes itself, so no step can be left out.
//!
//! A step's error comes with the device state up to it: what was accepted before stays accepted and is persisted.

mod refreshed;
mod roots;

use std::collections::BTreeSet;

use assay_log::LogState;
use assay_provenance::crypto::sha256;
use assay_schema::log::LogTrust;
use assay_schema::{Sha256Digest, limits, status};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use sigstore_tuf::metadata::{MetaFile, Targets};

use crate::binding;
use crate::error::TrustError;
use crate::floors::{Followed, Restrictions};
use crate::pin::{DeviceState, Pin, load_root, utf8};
use crate::rules::{Assay, Plain, Rules, TrustedSet as _, unpinned};
use crate::terms::Terms;

pub use refreshed::Refreshed;
pub use roots::Roots;

/// What every state holds.
#[derive(Debug, Clone)]
pub(crate) struct Core<R: Rules> {
    pub(crate) rules: R,
    pub(crate) set: R::Set,
    pub(crate) state: DeviceState,
    pub(crate) time: Times,
    /// Delegated roles that were accepted.
    pub(crate) delegated: Vec<String>,
    /// The next root, refused for its signers: nothing passes unless the status that stands takes the revocation back.
    pub(crate) refused: Option<RefusedRoot>,
}

/// A next root that holds only with the signatures of revoked keys.
#[derive(Debug, Clone)]
pub(crate) struct RefusedRoot {
    subject: String,
    sha256: Sha256Digest,
    /// The revoked keys that signed it.
    by: Vec<String>,
}

impl From<RefusedRoot> for TrustError {
    fn from(root: RefusedRoot) -> Self {
        Self::RevokedRoot {
            subject: root.subject,
            sha256: root.sha256,
            keys: root.by.join(", "),
        }
    }
}

/// What time it is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Times {
    /// By which everything is judged: the device's clock, or its time floor, whichever is later.
    pub(crate) now: Timestamp,
    /// What the device's clock says.
    pub(crate) clock: Timestamp,
}

/// A refusal, and the state that the device persists all the same.
#[derive(Debug)]
pub struct Failure {
    /// Why.
    pub error: TrustError,
    /// What was trusted up to then.
    pub state: DeviceState,
}

pub(crate) type Step<T> = Result<T, Box<Failure>>;

impl<R: Rules> Core<R> {
    /// The time by which `sigstore-tuf` judges expiry. It lets metadata pass at the very instant of its expiry, which must be
    /// higher than the time of the update (TUF 5.3.10, 5.4.4, 5.5.6, 5.6.5).
    pub(crate) fn judged(&self) -> Timestamp {
        let instant = SignedDuration::from_nanos(1);
        self.time.now.checked_add(instant).unwrap_or(self.time.now)
    }

    pub(crate) fn fail<T>(self, error: TrustError) -> Step<T> {
        Err(Box::new(Failure {
            // Files that do not hold under the trusted root may well be those of the root that was refused.
            error: self.refused.map_or(error, TrustError::from),
            state: self.state,
        }))
    }
}

/// The roots are settled; the timestamp is next (TUF 5.4).
#[derive(Debug, Clone)]
pub struct AwaitTimestamp<R: Rules = Assay> {
    pub(crate) core: Core<R>,
}

impl<R: Rules> AwaitTimestamp<R> {
    /// The trusted root's version.
    pub fn root_version(&self) -> u64 {
        self.core.set.root().version
    }

    /// Threshold and number of keys of the root role, for the verdict.
    pub fn root_threshold(&self) -> (usize, usize) {
        self.core
            .set
            .root()
            .role("root")
            .map_or((0, 0), |role| (role.threshold, role.keyids.len()))
    }

    /// The state to persist.
    pub fn state(&self) -> &DeviceState {
        &self.core.state
    }

    /// Ends here with an error of the caller's: what was trusted up to now is still persisted.
    pub fn into_state(self) -> DeviceState {
        self.core.state
    }

    /// Accepts the timestamp: signed, not older than the trusted one nor naming an older snapshot, not expired
    /// (TUF 5.4.2 to 5.4.4). The same version again changes nothing.
    ///
    /// # Errors
    /// It is not that.
    pub fn accept(mut self, bytes: &[u8]) -> Step<AwaitSnapshot<R>> {
        if bytes.len() as u64 > limits::MAX_TIMESTAMP {
            return self.core.fail(TrustError::too_long(
                "timestamp",
                limits::MAX_TIMESTAMP,
                bytes.len(),
            ));
        }
        let now = self.core.time;
        let mut set = self.core.set.clone();
        match set.update_timestamp(bytes, self.core.judged()) {
            Ok(()) => {}
            Err(sigstore_tuf::Error::EqualVersion { .. }) => {
                // TUF 5.4.3.1: the trusted one stays, and must itself still be valid.
                if let Err(error) = set.check_timestamp_expired(self.core.judged()) {
                    let error = with_time("timestamp", error, now);
                    return self.core.fail(error);
                }
                self.core.state.timestamp_seen.get_or_insert(now.now);
                return Ok(AwaitSnapshot { core: self.core });
            }
            Err(error) => return self.core.fail(with_time("timestamp", error, now)),
        }
        let checked = set
            .timestamp()
            .map_or(Ok(()), |timestamp| self.core.rules.timestamp(timestamp));
        let text = match checked.and_then(|()| utf8(bytes, "timestamp")) {
            Ok(text) => text,
            Err(error) => return self.core.fail(error),
        };
        let state = &mut self.core.state;
        if state.snapshot.is_some() && state.snapshot_timestamp.is_none() {
            state.snapshot_timestamp = state.timestamp.take();
        }
        state.timestamp = Some(text);
        state.timestamp_seen = Some(now.now);
        self.core.set = set;
        Ok(AwaitSnapshot { core: self.core })
    }
}

pub(crate) fn with_time(subject: &str, error: sigstore_tuf::Error, time: Times) -> TrustError {
    match error {
        sigstore_tuf::Error::Expired { role, expires } => TrustError::expired(role, expires, time),
        other => TrustError::tuf(subject, other),
    }
}

/// What a file pinned by another must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pinned {
    /// The file's name on the static path.
    pub file: String,
    /// Its length in bytes.
    pub length: u64,
    /// Its digest.
    pub sha256: Sha256Digest,
}

impl Pinned {
    fn of(role: &str, meta: Option<&MetaFile>, limit: u64) -> Result<Self, TrustError> {
        let name = format!("{role}.json");
        let meta = meta.ok_or_else(|| unpinned("snapshot", &name))?;
        let digest = meta
            .hashes
            .as_ref()
            .and_then(|h| h.get("sha256"))
            .and_then(|h| h.parse().ok());
        let (Some(length), Some(sha256)) = (meta.length, digest) else {
            return Err(unpinned("snapshot", &name));
        };
        if length > limit {
            return Err(TrustError::TooLong {
                subject: name,
                expected: limit,
                found: length,
            });
        }
        Ok(Self {
            file: assay_schema::tuf::metadata_file(role, meta.version),
            length,
            sha256,
        })
    }

    /// Whether these bytes are the file.
    pub fn matches(&self, bytes: &[u8]) -> bool {
        bytes.len() as u64 == self.length && sha256(bytes) == self.sha256
    }
}

/// The timestamp is settled; the snapshot that it names is next (TUF 5.5).
#[derive(Debug, Clone)]
pub struct AwaitSnapshot<R: Rules = Assay> {
    pub(crate) core: Core<R>,
}

impl AwaitSnapshot {
    /// The snapshot to get.
    ///
    /// # Errors
    /// The timestamp names one that is too long.
    pub fn wanted(&self) -> Result<Pinned, TrustError> {
        let meta = self.core.set.timestamp().and_then(|t| t.snapshot_meta());
        Pinned::of("snapshot", meta, limits::MAX_SNAPSHOT)
    }

    /// As of when the registry's state is that this timestamp stands for.
    pub fn as_of(&self) -> AsOf {
        let (state, now) = (&self.core.state, self.core.time.now);
        let signed = self.core.set.timestamp().and_then(|t| binding::read(&t.extra));
        match signed.and_then(|binding| binding.issued) {
            // A time to come proves nothing; it must not make the state look fresh for as long as it is to come.
            Some(issued) => AsOf::Issued(issued.min(now)),
            None => AsOf::Seen(state.timestamp_seen.unwrap_or(now)),
        }
    }
}

/// As of when a state is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AsOf {
    /// The timestamp says when it was signed.
    Issued(Timestamp),
    /// It does not: since then this device knows it. How old it was then, nobody can tell.
    Seen(Timestamp),
}

impl AsOf {
    /// The time.
    pub fn time(self) -> Timestamp {
        match self {
            Self::Issued(time) | Self::Seen(time) => time,
        }
    }
}

impl<R: Rules> AwaitSnapshot<R> {
    /// The trusted timestamp's version and expiry.
    pub fn timestamp(&self) -> Option<(u64, Timestamp)> {
        self.core.set.timestamp().map(|t| (t.version, t.expires))
    }

    /// The persisted snapshot, which may be the one that is wanted.
    pub fn kept(&self) -> Option<&str> {
        self.core.state.snapshot.as_deref()
    }

    /// The state to persist.
    pub fn state(&self) -> &DeviceState {
        &self.core.state
    }

    /// Ends here with an error of the caller's.
    pub fn into_state(self) -> DeviceState {
        self.core.state
    }

    /// Accepts the snapshot: the bytes that the timestamp names, signed, no targets file removed or older than in the trusted
    /// one, not expired (TUF 5.5.2 to 5.5.6).
    ///
    /// # Errors
    /// It is not that.
    pub fn accept(mut self, bytes: &[u8]) -> Step<AwaitTargets<R>> {
        let now = self.core.time;
        let mut set = self.core.set.clone();
        if let Err(error) = set.update_snapshot(bytes, self.core.judged()) {
            return self.core.fail(with_time("snapshot", error, now));
        }
        let checked = set
            .snapshot()
            .map_or(Ok(()), |snapshot| self.core.rules.snapshot(snapshot));
        match checked.and_then(|()| utf8(bytes, "snapshot")) {
            Ok(text) => {
                self.core.state.snapshot = Some(text);
                self.core.state.snapshot_timestamp = None;
                self.core.set = set;
                Ok(AwaitTargets { core: self.core })
            }
            Err(error) => self.core.fail(error),
        }
    }
}

/// The snapshot is settled; the top-level targets are next (TUF 5.6).
#[derive(Debug, Clone)]
pub struct AwaitTargets<R: Rules = Assay> {
    pub(crate) core: Core<R>,
}

impl AwaitTargets {
    /// The targets file to get.
    ///
    /// # Errors
    /// The snapshot names none, or one that is too long.
    pub fn wanted(&self) -> Result<Pinned, TrustError> {
        let meta = self.core.set.snapshot().and_then(|s| s.meta.get("targets.json"));
        Pinned::of("targets", meta, limits::MAX_TARGETS)
    }
}

impl<R: Rules> AwaitTargets<R> {
    /// The trusted snapshot's version and expiry.
    pub fn snapshot(&self) -> Option<(u64, Timestamp)> {
        self.core.set.snapshot().map(|s| (s.version, s.expires))
    }

    /// The state to persist.
    pub fn state(&self) -> &DeviceState {
        &self.core.state
    }

    /// Ends here with an error of the caller's.
    pub fn into_state(self) -> DeviceState {
        self.core.state
    }

    /// Accepts the top-level targets: the bytes that the snapshot names, signed by the root's keys for it, not expired
    /// (TUF 5.6.2 to 5.6.5).
    ///
    /// # Errors
    /// It is not that.
    pub fn accept(mut self, bytes: &[u8]) -> Step<Refreshed<R>> {
        let (now, judged) = (self.core.time, self.core.judged());
        let checked = match self.core.set.update_targets(bytes, judged) {
            Ok(()) => Ok(()),
            Err(error) => Err(with_time("targets", error, now)),
        };
        let checked = checked.and_then(|()| match self.core.set.targets_role("targets") {
            Some(targets) => self.core.rules.targets(self.core.set.root(), "targets", targets),
            None => Ok(()),
        });
        match checked {
            Ok(()) => Ok(Refreshed { core: self.core }),
            Err(error) => self.core.fail(error),
        }
    }
}
