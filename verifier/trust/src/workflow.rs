//! The order of the steps: roots, timestamp, snapshot, targets. Each state consumes itself, so no step can be left out.
//!
//! A step's error comes with the device state up to it: what was accepted before stays accepted and is persisted.

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

/// What every state holds.
#[derive(Debug, Clone)]
pub(crate) struct Core<R: Rules> {
    pub(crate) rules: R,
    pub(crate) set: R::Set,
    pub(crate) state: DeviceState,
    pub(crate) time: Times,
    /// Delegated roles that were accepted.
    pub(crate) delegated: Vec<String>,
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
            error,
            state: self.state,
        }))
    }
}

/// Following root rotations (TUF 5.3).
#[derive(Debug, Clone)]
pub struct Roots<R: Rules = Assay> {
    pub(crate) core: Core<R>,
    rotations: u32,
    terms: Terms,
}

impl Roots {
    /// Begins with the persisted root (TUF 5.2).
    ///
    /// # Errors
    /// The state is not this pin's, or damaged.
    pub fn open(pin: &Pin, state: DeviceState, now: Timestamp) -> Step<Self> {
        let identity = pin.identity;
        let roots = Self::begin(Assay { identity }, pin.terms.clone(), state, now)?;
        let found = sha256(roots.core.state.root.as_bytes());
        // Later roots are tied to the first by signatures that were checked when they were persisted.
        if roots.version() == 1 && found != identity {
            let error = TrustError::Identity {
                expected: identity,
                found,
            };
            return roots.core.fail(error);
        }
        Ok(roots)
    }
}

impl Roots<Plain> {
    /// Begins with the persisted root of a foreign repository, which is followed by TUF's rules alone (TUF 5.2).
    ///
    /// # Errors
    /// The state is damaged.
    pub fn open_plain(state: DeviceState, now: Timestamp) -> Step<Self> {
        Self::begin(Plain::new(), Terms::default(), state, now)
    }
}

impl<R: Rules> Roots<R> {
    fn begin(rules: R, terms: Terms, state: DeviceState, clock: Timestamp) -> Step<Self> {
        if state.v != 1 {
            let error = TrustError::Version {
                subject: "the device's state".into(),
                expected: 1,
                found: state.v.into(),
            };
            return Err(Box::new(Failure { error, state }));
        }
        let loaded = load_root::<R::Set>(state.root.as_bytes()).and_then(|set| {
            rules.root(set.root())?;
            Ok(set)
        });
        match loaded {
            Ok(set) => Ok(Self {
                core: Core {
                    rules,
                    set,
                    time: Times {
                        now: state.judged(clock),
                        clock,
                    },
                    state,
                    delegated: Vec::new(),
                },
                rotations: 0,
                terms,
            }),
            Err(error) => Err(Box::new(Failure { error, state })),
        }
    }

    /// The trusted root's version.
    pub fn version(&self) -> u64 {
        self.core.set.root().version
    }

    /// The version to ask for next; `None` when this run has followed as many as it may (TUF 5.3.3). The next run goes on.
    pub fn next_version(&self) -> Option<u64> {
        (self.rotations < R::MAX_ROOT_ROTATIONS)
            .then(|| self.version().checked_add(1))
            .flatten()
    }

    /// The state to persist.
    pub fn state(&self) -> &DeviceState {
        &self.core.state
    }

    /// Accepts the next root: signed by the trusted root's threshold and by its own, version exactly one higher
    /// (TUF 5.3.4, 5.3.5).
    ///
    /// # Errors
    /// It is not that.
    pub fn accept(mut self, bytes: &[u8]) -> Step<Self> {
        let subject = format!("{}.root.json", self.version().saturating_add(1));
        if bytes.len() as u64 > limits::MAX_ROOT {
            return self
                .core
                .fail(TrustError::too_long(subject, limits::MAX_ROOT, bytes.len()));
        }
        let mut set = self.core.set.clone();
        let text = match set
            .update_root(bytes)
            .map_err(|e| TrustError::tuf(&subject, e))
            .and_then(|()| self.core.rules.root(set.root()))
            .and_then(|()| utf8(bytes, &subject))
        {
            Ok(text) => text,
            Err(error) => return self.core.fail(error),
        };
        if let Some(error) = self.only_by_revoked_keys(&subject, bytes) {
            return self.core.fail(error);
        }
        if self.core.state.followed.is_some() || self.terms.log.is_some() {
            self.core.state.keep_settled();
        }
        if self
            .core
            .rules
            .online_keys_rotated(self.core.set.root(), set.root())
        {
            // TUF 5.3.11: recovery from a fast-forward attack. Both files go at once, in the same persisted state as the root.
            self.core.state.timestamp = None;
            self.core.state.snapshot = None;
            self.core.state.snapshot_timestamp = None;
            self.core.state.timestamp_seen = None;
        }
        self.core.state.root = text;
        self.core.set = set;
        self.rotations += 1;
        Ok(self)
    }

    /// A next root that holds only with the signatures of keys that a status revoked: whoever stole them could fork the namespace
    /// from any root that they were retired by. The owner may have learned from the authority that this root is right all the same.
    fn only_by_revoked_keys(&self, subject: &str, bytes: &[u8]) -> Option<TrustError> {
        let revoked = &self.core.state.restrictions.as_ref()?.revoked_keys;
        let sha256 = sha256(bytes);
        if revoked.is_empty() || self.terms.confirmed_root == Some(sha256) {
            return None;
        }
        // The file was verified: it is JSON with signatures.
        let mut file: Value = serde_json::from_slice(bytes).unwrap_or_default();
        let signatures = file.get_mut("signatures").and_then(Value::as_array_mut)?;
        let mut by = Vec::new();
        signatures.retain(|signature| {
            let key = signature.get("keyid").and_then(Value::as_str).unwrap_or_default();
            let is_revoked = revoked.contains(key);
            if is_revoked {
                by.push(key.to_owned());
            }
            !is_revoked
        });
        let without = serde_json::to_vec(&file).unwrap_or_default();
        match by.is_empty() || self.core.set.clone().update_root(&without).is_ok() {
            true => None,
            false => Some(TrustError::RevokedRoot {
                subject: subject.to_owned(),
                sha256,
                keys: by.join(", "),
            }),
        }
    }

    /// Ends the rotations: the last root must not have expired (TUF 5.3.10) nor be older than the owner's least; persisted files
    /// become floors.
    ///
    /// # Errors
    /// The root has expired, or is too old.
    pub fn finish(mut self) -> Step<AwaitTimestamp<R>> {
        let (version, time) = (self.version(), self.core.time);
        if let Some(least) = self.terms.least_root.filter(|least| version < *least) {
            return self.core.fail(TrustError::OldRoot {
                expected: least,
                found: version,
            });
        }
        if self.core.set.check_root_expired(self.core.judged()).is_err() {
            let expires = self.core.set.root().expires;
            return self.core.fail(TrustError::expired("root", expires, time));
        }
        load_floors(&mut self.core);
        Ok(AwaitTimestamp { core: self.core })
    }
}

/// Loads persisted timestamp and snapshot as floors. Expired ones still are floors (TUF 5.4.3, 5.5.5); ones that the present
/// root's keys did not sign are none. The lowest time keeps `sigstore-tuf` from judging their expiry here.
fn load_floors<R: Rules>(core: &mut Core<R>) {
    let (lowest, set, state) = (Timestamp::MIN, &mut core.set, &core.state);
    let named_by = state.snapshot_timestamp.as_ref().or(state.timestamp.as_ref());
    if let (Some(timestamp), Some(snapshot)) = (named_by, &state.snapshot)
        && set.update_timestamp(timestamp.as_bytes(), lowest).is_ok()
    {
        let _floor_or_none = set.update_snapshot(snapshot.as_bytes(), lowest);
    }
    if let Some(timestamp) = &state.timestamp {
        // An equal version is the usual case: the same file loaded above.
        let _floor_or_none = set.update_timestamp(timestamp.as_bytes(), lowest);
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

/// All top-level roles are settled: releases can be looked for.
#[derive(Debug, Clone)]
pub struct Refreshed<R: Rules = Assay> {
    pub(crate) core: Core<R>,
}

impl<R: Rules> Refreshed<R> {
    /// The state to persist.
    pub fn state(&self) -> &DeviceState {
        &self.core.state
    }

    /// The end of the workflow.
    pub fn into_state(self) -> DeviceState {
        self.core.state
    }

    /// The version of the snapshot that all of this rests on.
    pub fn snapshot_version(&self) -> u64 {
        self.core.set.snapshot().map_or(0, |snapshot| snapshot.version)
    }

    /// Accepts the state with what was judged of logs: the checkpoint, if there is one, is this device's floor in its log from here
    /// on, `named` the log that a later root must be in, and no older root is gone back to.
    #[must_use]
    pub fn accept_logged(mut self, checkpoint: Option<LogState>, named: Option<LogTrust>) -> Self {
        let root = self.core.set.root().version;
        let state = &mut self.core.state;
        if checkpoint.is_some() {
            state.log = checkpoint;
        }
        state.followed = named.map(|log| Followed { log, root });
        state.settled = None;
        self
    }

    /// Raises the time floor to `witnessed`, the k-th largest cosignature time of pinned witnesses. It rises at most to the first
    /// expiry of the state that was accepted: that does for refusing this state from then on, and no lie of all the witnesses
    /// stops a device for longer than until the next renewal.
    ///
    /// # Errors
    /// By the witnesses' time something of this state has expired.
    pub fn raise_time(mut self, witnessed: Timestamp) -> Step<Self> {
        let time = Times {
            now: witnessed.max(self.core.time.now),
            ..self.core.time
        };
        let expired = self.first_expiry().filter(|(_, expires)| *expires <= time.now);
        let bound = expired.as_ref().map_or(witnessed, |(_, expires)| *expires);
        self.core.state.raise_time(witnessed.min(bound));
        self.core.time = time;
        match expired {
            // TUF 5.3.10, 5.4.4, 5.5.6, 5.6.5: the expiry must be higher than the time of the update.
            Some((role, expires)) => self.core.fail(TrustError::expired(role, expires, time)),
            None => Ok(self),
        }
    }

    /// The file of this state that expires first.
    fn first_expiry(&self) -> Option<(String, Timestamp)> {
        let set = &self.core.set;
        let targets = self.core.delegated.iter().map(String::as_str).chain(["targets"]);
        let targets = targets.filter_map(|name| Some((name, set.targets_role(name)?.expires)));
        let others = [
            Some(("root", set.root().expires)),
            set.timestamp().map(|t| ("timestamp", t.expires)),
            set.snapshot().map(|s| ("snapshot", s.expires)),
        ];
        let first = targets
            .chain(others.into_iter().flatten())
            .min_by_key(|(_, expires)| *expires);
        first.map(|(role, expires)| (role.to_owned(), expires))
    }

    /// The trusted root's version.
    pub fn root_version(&self) -> u64 {
        self.core.set.root().version
    }

    /// SHA-256 of the trusted root.
    pub fn root_digest(&self) -> Sha256Digest {
        sha256(self.core.state.root.as_bytes())
    }

    /// The top-level targets.
    pub fn targets(&self) -> Option<&Targets> {
        self.core.set.targets_role("targets")
    }
}

impl Refreshed {
    /// The delegated role's file to get; `None` if the snapshot does not name it, so that it is not part of the repository.
    ///
    /// # Errors
    /// The snapshot names one that is too long.
    pub fn wanted_role(&self, role: &str) -> Result<Option<Pinned>, TrustError> {
        match self
            .core
            .set
            .snapshot()
            .and_then(|s| s.meta.get(&format!("{role}.json")))
        {
            None => Ok(None),
            meta => Pinned::of(role, meta, limits::MAX_TARGETS).map(Some),
        }
    }

    /// Accepts a role that the top-level targets delegate to: the bytes that the snapshot names, signed by the delegation's
    /// threshold, not expired (TUF 5.6.7).
    ///
    /// # Errors
    /// It is not that.
    pub fn accept_role(mut self, role: &str, bytes: &[u8]) -> Step<Self> {
        let (now, judged) = (self.core.time, self.core.judged());
        let identity = &self.core.rules.identity;
        let checked = match self
            .core
            .set
            .update_delegated_targets(bytes, role, "targets", judged)
        {
            Ok(targets) => {
                binding::check(&targets.extra, identity, role).and_then(|()| match &targets.delegations {
                    // A model's role signs manifests; it hands nothing on.
                    Some(d) if !d.roles.is_empty() => Err(TrustError::Malformed {
                        subject: role.to_owned(),
                        expected: "a role without delegations of its own".into(),
                        found: format!("{} delegations", d.roles.len()),
                    }),
                    _ => Ok(()),
                })
            }
            Err(error) => Err(with_time(role, error, now)),
        };
        match checked {
            Ok(()) => {
                self.core.delegated.push(role.to_owned());
                Ok(self)
            }
            Err(error) => self.core.fail(error),
        }
    }

    /// Remembers what an accepted status restricts of roots, and says what holds now.
    #[must_use]
    pub fn restrict(mut self, least_root: u64, revoked_keys: &BTreeSet<String>) -> Self {
        let delegations = self.targets().and_then(|t| t.delegations.as_ref());
        let roles = delegations.iter().flat_map(|d| &d.roles);
        let role = roles.into_iter().find(|role| role.name == status::ROLE);
        let newer = Restrictions {
            signers: role.iter().flat_map(|r| &r.keyids).cloned().collect(),
            least_root,
            revoked_keys: revoked_keys.clone(),
        };
        let known = &mut self.core.state.restrictions;
        *known = Some(match known.take() {
            Some(known) => known.after(newer),
            None => newer,
        });
        self
    }
}
