//! The last state: what a refresh gives, and what the stages behind it add to the state that is persisted.

use super::*;

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

    /// The next root that [`Roots::accept_or_stay`] refused, as far as what a status restricted up to now still refuses it. With
    /// `None` the root may be asked for again.
    pub fn refused_root(&self) -> Option<TrustError> {
        let refused = self.core.refused.as_ref()?;
        let restrictions = self.core.state.restrictions.as_ref();
        let still = |key: &String| restrictions.is_some_and(|r| r.revoked_keys.contains(key));
        match refused.by.iter().all(still) {
            true => Some(refused.clone().into()),
            false => None,
        }
    }

    /// Whether the walk stayed at a root because the next one was refused.
    pub fn stayed(&self) -> bool {
        self.core.refused.is_some()
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
