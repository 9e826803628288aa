//! The first step: from the trusted root to the newest one (TUF 5.3), and what speaks for a root beside its signatures.

use super::*;

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
                    refused: None,
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
        (self.rotations < R::MAX_ROOT_ROTATIONS && self.core.refused.is_none())
            .then(|| self.version().checked_add(1))
            .flatten()
    }

    /// The state to persist.
    pub fn state(&self) -> &DeviceState {
        &self.core.state
    }

    /// Whether this run followed as many roots as it may.
    pub fn has_more(&self) -> bool {
        self.rotations >= R::MAX_ROOT_ROTATIONS
    }

    /// As [`Roots::accept`]; but a root that only revoked keys vouch for ends the rotations, and the walk goes on under the trusted one
    /// as if the registry had withheld it. Whoever asks for that must not let anything pass while [`Refreshed::refused_root`] says that
    /// it was refused.
    ///
    /// # Errors
    /// As [`Roots::accept`], but for [`TrustError::RevokedRoot`].
    pub fn accept_or_stay(self, bytes: &[u8]) -> Step<Self> {
        match self.only_by_revoked_keys(bytes) {
            // It is judged in every other way first: what is no next root at all is refused as such.
            Some(root) => match self.clone().accept(bytes) {
                Err(failure) if matches!(failure.error, TrustError::RevokedRoot { .. }) => {
                    let mut stayed = self;
                    stayed.core.refused = Some(root);
                    Ok(stayed)
                }
                judged => judged,
            },
            None => self.accept(bytes),
        }
    }

    /// Accepts the next root: signed by the trusted root's threshold and by its own, version exactly one higher
    /// (TUF 5.3.4, 5.3.5).
    ///
    /// # Errors
    /// It is not that.
    pub fn accept(mut self, bytes: &[u8]) -> Step<Self> {
        let subject = self.next_file();
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
        if let Some(root) = self.only_by_revoked_keys(bytes) {
            return self.core.fail(root.into());
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
    fn only_by_revoked_keys(&self, bytes: &[u8]) -> Option<RefusedRoot> {
        let revoked = &self.core.state.restrictions.as_ref()?.revoked_keys;
        let sha256 = sha256(bytes);
        if revoked.is_empty() || self.terms.confirmed_root == Some(sha256) {
            return None;
        }
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
            false => Some(RefusedRoot {
                subject: self.next_file(),
                sha256,
                by,
            }),
        }
    }

    fn next_file(&self) -> String {
        format!("{}.root.json", self.version().saturating_add(1))
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
