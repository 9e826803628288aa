//! Whose rules the workflow follows beside TUF's own: Assay's, or none.
//!
//! They are types, not values: what only Assay's rules make true (releases, orders, `x-assay`) exists only on states of
//! [`Assay`], so a repository that was opened by plain TUF cannot reach the check of a release:
//!
//! ```
//! # use assay_schema::{VersionName, tuf::ModelRole};
//! use assay_trust::{Assay, Refreshed};
//! fn release(ours: &Refreshed<Assay>, role: &ModelRole, version: &VersionName) {
//!     let _ = ours.version(role, version);
//! }
//! ```
//! ```compile_fail,E0599
//! # use assay_schema::{VersionName, tuf::ModelRole};
//! use assay_trust::{Plain, Refreshed};
//! fn release(foreign: &Refreshed<Plain>, role: &ModelRole, version: &VersionName) {
//!     let _ = foreign.version(role, version);
//! }
//! ```

use std::fmt::Debug;

use assay_schema::{Sha256Digest, limits};
use sigstore_tuf::TrustedMetadataSet;
use sigstore_tuf::metadata::{MetaFile, Root, Snapshot, Targets, Timestamp};

use crate::binding;
use crate::error::TrustError;
use crate::foreign::ForeignSet;
use crate::keys;

/// A set of rules: [`Assay`] or [`Plain`].
pub trait Rules: Checks + Clone + Debug {}

impl Rules for Assay {}
impl Rules for Plain {}

/// Assay's rules: the `x-assay` binding, no key in two roles, lengths and hashes everywhere.
#[derive(Debug, Clone)]
pub struct Assay {
    pub(crate) identity: Sha256Digest,
}

/// TUF's rules alone, for foreign repositories.
///
/// One of Assay's stays: no role counts one raw key twice. TUF 4.2 means that too, but says it of key ids only.
#[derive(Debug, Clone)]
pub struct Plain {
    _made_by_open_plain: (),
}

impl Plain {
    pub(crate) const fn new() -> Self {
        Self {
            _made_by_open_plain: (),
        }
    }
}

mod sealed {
    use std::fmt::Debug;

    use jiff::Timestamp as Time;
    use sigstore_tuf::Error;

    use super::{Root, Snapshot, Targets, Timestamp, TrustError};

    /// The files that are trusted so far: what `sigstore-tuf`'s set does.
    pub trait TrustedSet: Clone + Debug + Sized {
        fn from_root(bytes: &[u8]) -> Result<Self, Error>;
        fn root(&self) -> &Root;
        fn timestamp(&self) -> Option<&Timestamp>;
        fn snapshot(&self) -> Option<&Snapshot>;
        fn targets_role(&self, name: &str) -> Option<&Targets>;
        fn update_root(&mut self, bytes: &[u8]) -> Result<(), Error>;
        fn check_root_expired(&self, now: Time) -> Result<(), Error>;
        fn check_timestamp_expired(&self, now: Time) -> Result<(), Error>;
        fn update_timestamp(&mut self, bytes: &[u8], now: Time) -> Result<(), Error>;
        fn update_snapshot(&mut self, bytes: &[u8], now: Time) -> Result<(), Error>;
        fn update_targets(&mut self, bytes: &[u8], now: Time) -> Result<(), Error>;
    }

    /// What is checked of a file that the set has accepted.
    pub trait Checks {
        /// The trusted files.
        type Set: TrustedSet;
        /// Rotations that one run follows (TUF 5.3.3).
        const MAX_ROOT_ROTATIONS: u32;
        fn root(&self, root: &Root) -> Result<(), TrustError>;
        fn timestamp(&self, timestamp: &Timestamp) -> Result<(), TrustError>;
        fn snapshot(&self, snapshot: &Snapshot) -> Result<(), TrustError>;
        fn targets(&self, root: &Root, role: &str, targets: &Targets) -> Result<(), TrustError>;
        /// Whether a key of timestamp or snapshot was rotated away (TUF 5.3.11).
        fn online_keys_rotated(&self, old: &Root, new: &Root) -> bool;
    }
}
pub(crate) use sealed::{Checks, TrustedSet};

impl TrustedSet for TrustedMetadataSet {
    fn from_root(bytes: &[u8]) -> sigstore_tuf::Result<Self> {
        Self::from_root(bytes)
    }

    fn root(&self) -> &Root {
        self.root()
    }

    fn timestamp(&self) -> Option<&Timestamp> {
        self.timestamp()
    }

    fn snapshot(&self) -> Option<&Snapshot> {
        self.snapshot()
    }

    fn targets_role(&self, name: &str) -> Option<&Targets> {
        self.targets_role(name)
    }

    fn update_root(&mut self, bytes: &[u8]) -> sigstore_tuf::Result<()> {
        self.update_root(bytes)
    }

    fn check_root_expired(&self, now: jiff::Timestamp) -> sigstore_tuf::Result<()> {
        self.check_root_expired(now)
    }

    fn check_timestamp_expired(&self, now: jiff::Timestamp) -> sigstore_tuf::Result<()> {
        self.check_timestamp_expired(now)
    }

    fn update_timestamp(&mut self, bytes: &[u8], now: jiff::Timestamp) -> sigstore_tuf::Result<()> {
        self.update_timestamp(bytes, now)
    }

    fn update_snapshot(&mut self, bytes: &[u8], now: jiff::Timestamp) -> sigstore_tuf::Result<()> {
        self.update_snapshot(bytes, now)
    }

    fn update_targets(&mut self, bytes: &[u8], now: jiff::Timestamp) -> sigstore_tuf::Result<()> {
        self.update_targets(bytes, now).map(drop)
    }
}

impl Checks for Assay {
    type Set = TrustedMetadataSet;
    const MAX_ROOT_ROTATIONS: u32 = limits::MAX_ROOT_ROTATIONS;

    fn root(&self, root: &Root) -> Result<(), TrustError> {
        keys::check_root(root)
    }

    fn timestamp(&self, timestamp: &Timestamp) -> Result<(), TrustError> {
        binding::check(&timestamp.extra, &self.identity, "timestamp")?;
        match timestamp.snapshot_meta() {
            Some(meta) => pinned("timestamp", "snapshot.json", meta),
            None => Err(unpinned("timestamp", "snapshot.json")),
        }
    }

    fn snapshot(&self, snapshot: &Snapshot) -> Result<(), TrustError> {
        binding::check(&snapshot.extra, &self.identity, "snapshot")?;
        snapshot
            .meta
            .iter()
            .try_for_each(|(file, meta)| pinned("snapshot", file, meta))
    }

    fn targets(&self, root: &Root, role: &str, targets: &Targets) -> Result<(), TrustError> {
        binding::check(&targets.extra, &self.identity, role)?;
        match &targets.delegations {
            Some(delegations) => keys::check_delegations(root, role, delegations),
            None => Ok(()),
        }
    }

    fn online_keys_rotated(&self, old: &Root, new: &Root) -> bool {
        keys::online_keys_rotated(old, new)
    }
}

impl Checks for Plain {
    type Set = ForeignSet;
    const MAX_ROOT_ROTATIONS: u32 = limits::MAX_FOREIGN_ROOT_ROTATIONS;

    fn root(&self, root: &Root) -> Result<(), TrustError> {
        keys::check_foreign_root(root)
    }

    fn timestamp(&self, timestamp: &Timestamp) -> Result<(), TrustError> {
        match timestamp.snapshot_meta() {
            Some(_) => Ok(()),
            // TUF 4.6: a timestamp describes the snapshot.
            None => Err(TrustError::Malformed {
                subject: "timestamp".into(),
                expected: "the version of snapshot.json".into(),
                found: "none".into(),
            }),
        }
    }

    fn snapshot(&self, _: &Snapshot) -> Result<(), TrustError> {
        Ok(())
    }

    fn targets(&self, _: &Root, role: &str, targets: &Targets) -> Result<(), TrustError> {
        match &targets.delegations {
            Some(delegations) => keys::check_foreign_delegations(role, delegations),
            None => Ok(()),
        }
    }

    fn online_keys_rotated(&self, old: &Root, new: &Root) -> bool {
        keys::foreign_online_keys_rotated(old, new)
    }
}

pub(crate) fn unpinned(by: &str, file: &str) -> TrustError {
    TrustError::Malformed {
        subject: by.to_owned(),
        expected: format!("length and SHA-256 of {file}"),
        found: "none".to_owned(),
    }
}

fn pinned(by: &str, file: &str, meta: &MetaFile) -> Result<(), TrustError> {
    let hashed = meta
        .hashes
        .as_ref()
        .and_then(|h| h.get("sha256"))
        .and_then(|h| h.parse::<Sha256Digest>().ok());
    if meta.length.is_none() || hashed.is_none() {
        return Err(unpinned(by, file));
    }
    Ok(())
}
