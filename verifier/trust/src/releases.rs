//! Finding a release: which role lists it, and whether that role may.

use std::collections::BTreeSet;

use assay_schema::{ModelName, ReleaseOrder, Sha256Digest, VersionName, limits, status, tuf};
use jiff::Timestamp;
use serde_json::Value;
use sigstore_tuf::metadata::{DelegatedRole, TargetFile, Targets};

use crate::error::TrustError;
use crate::keys;
use crate::workflow::Refreshed;

/// A target by its digest and length, as its role signed them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetRef {
    /// The target's path.
    pub path: String,
    /// Its length in bytes.
    pub length: u64,
    /// Its digest.
    pub sha256: Sha256Digest,
    /// Its `x-assay` note.
    pub note: tuf::TargetNote,
}

impl TargetRef {
    fn read(path: &str, file: &TargetFile) -> Result<Self, TrustError> {
        let malformed = |expected: &str, found: String| TrustError::Malformed {
            subject: path.to_owned(),
            expected: expected.to_owned(),
            found,
        };
        let sha256 = file
            .hashes
            .get("sha256")
            .and_then(|h| h.parse().ok())
            .ok_or_else(|| malformed("a SHA-256 digest", format!("{:?}", file.hashes)))?;
        let note = match file.custom.as_ref().and_then(|c| c.get(tuf::FIELD)) {
            None => tuf::TargetNote::default(),
            Some(value) => serde_json::from_value(value.clone())
                .map_err(|e| malformed("an x-assay note of order and inline", e.to_string()))?,
        };
        Ok(Self {
            path: path.to_owned(),
            length: file.length,
            sha256,
            note,
        })
    }

    /// The name on the static path.
    pub fn consistent_path(&self) -> String {
        tuf::consistent_target(&self.path, &self.sha256)
    }
}

/// A release as its role lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedRelease {
    /// The role.
    pub role: tuf::ModelRole,
    /// The manifest's target.
    pub target: TargetRef,
    /// Its version, from the path.
    pub version: VersionName,
    /// Its order, from the note; the manifest must say the same.
    pub order: ReleaseOrder,
    /// The highest epoch that the delegation grants.
    pub max_epoch: u64,
    /// The role's version and expiry, for the verdict.
    pub role_version: u64,
}

impl Refreshed {
    /// The roles of a model that are part of the repository: first the one that may list the highest order.
    ///
    /// # Errors
    /// There are more than a device looks through.
    pub fn roles_of(&self, model: &ModelName) -> Result<Vec<tuf::ModelRole>, TrustError> {
        let snapshot = self.core.set.snapshot();
        let listed = |role: &tuf::ModelRole| {
            snapshot.is_some_and(|s| s.meta.contains_key(&format!("{}.json", role.name())))
        };
        let delegations = self.targets().and_then(|t| t.delegations.as_ref());
        let mut roles: Vec<_> = delegations
            .iter()
            .flat_map(|d| &d.roles)
            .filter_map(|delegation| Some((delegation, tuf::ModelRole::parse(&delegation.name)?)))
            .filter(|(_, role)| role.model == *model && listed(role))
            .map(|(delegation, role)| (reach(delegation, &role), role))
            .collect();
        roles.sort_by_key(|(reach, _)| std::cmp::Reverse(*reach));
        Ok(roles.into_iter().map(|(_, role)| role).collect())
    }

    /// The highest epoch and counter that a role may give a release: its delegation's `max_epoch`, its block's last counter.
    ///
    /// A release of a lower block is higher in order where its epoch is, so a search ends only where no role may reach more.
    pub fn may_reach(&self, role: &tuf::ModelRole) -> (u64, u64) {
        let name = role.name();
        let delegations = self.targets().and_then(|t| t.delegations.as_ref());
        let mut delegations = delegations.into_iter().flat_map(|d| &d.roles);
        delegations
            .find(|d| d.name == name)
            .map_or((0, 0), |d| reach(d, role))
    }

    /// Raw bytes of every offline key that has a say in what a role signs: the root's, the targets', and the delegation's.
    ///
    /// # Errors
    /// A key is not in its one form.
    pub fn authority_keys(&self, role: &str) -> Result<BTreeSet<Vec<u8>>, TrustError> {
        let delegations = self.targets().and_then(|t| t.delegations.as_ref());
        keys::of_authority(self.core.set.root(), delegations, role)
    }

    /// Whether a role's file has been accepted.
    pub fn has_role(&self, role: &tuf::ModelRole) -> bool {
        self.core.set.targets_role(&role.name()).is_some()
    }

    /// The release that is highest in order in an accepted role; `None` if it lists none.
    ///
    /// # Errors
    /// The role lists something that it may not.
    pub fn highest(&self, role: &tuf::ModelRole) -> Result<Option<ListedRelease>, TrustError> {
        let Some(targets) = self.core.set.targets_role(&role.name()) else {
            return Ok(None);
        };
        let mut highest: Option<(ReleaseOrder, &String)> = None;
        for (path, file) in &targets.targets {
            let order = TargetRef::read(path, file)?.note.order;
            // A release without an order, or outside the role's paths, is refused if it would win, and cannot win.
            if let Some(order) = order
                && highest.is_none_or(|(h, _)| h < order)
                && path.starts_with(&role.prefix())
            {
                highest = Some((order, path));
            }
        }
        // Only the winner's delegation is searched: a search costs a comparison with every delegation before it.
        highest.map_or(Ok(None), |(_, path)| self.listed(role, targets, path))
    }

    /// The release of this version in an accepted role.
    ///
    /// # Errors
    /// The role lists it, but may not.
    pub fn version(
        &self,
        role: &tuf::ModelRole,
        version: &VersionName,
    ) -> Result<Option<ListedRelease>, TrustError> {
        match self.core.set.targets_role(&role.name()) {
            Some(targets) => self.listed(role, targets, &role.manifest_path(version)),
            None => Ok(None),
        }
    }

    /// A target of the top-level targets role itself, `trust/*`.
    ///
    /// # Errors
    /// Its entry is malformed or too long.
    pub fn top_level_target(&self, path: &str) -> Result<Option<TargetRef>, TrustError> {
        let Some(file) = self.targets().and_then(|t| t.target(path)) else {
            return Ok(None);
        };
        let target = TargetRef::read(path, file)?;
        if target.length > limits::MAX_TRUST_TARGET {
            return Err(TrustError::TooLong {
                subject: path.to_owned(),
                expected: limits::MAX_TRUST_TARGET,
                found: target.length,
            });
        }
        Ok(Some(target))
    }

    /// Whether the top-level targets delegate a status role. One that exists must be valid (fail closed).
    pub fn has_status(&self) -> bool {
        let delegations = self.targets().and_then(|t| t.delegations.as_ref());
        let mut roles = delegations.into_iter().flat_map(|d| &d.roles);
        roles.any(|delegation| delegation.name == status::ROLE)
    }

    /// `status.json` of the accepted status role, to which TUF's search for that path must lead (TUF 5.6.7).
    ///
    /// # Errors
    /// The role was not accepted, lists it not, or lists something else too; another role would be searched for it; it is too
    /// long.
    pub fn status_target(&self) -> Result<TargetRef, TrustError> {
        let malformed = |expected: &str, found: String| TrustError::Malformed {
            subject: status::ROLE.to_owned(),
            expected: expected.to_owned(),
            found,
        };
        let file = self.core.set.targets_role(status::ROLE);
        let targets = file.ok_or_else(|| malformed("an accepted file", "none".to_owned()))?;
        let expected = "the target status.json and no other";
        let target = match targets.targets.iter().next() {
            Some((path, file)) if path == status::TARGET && targets.targets.len() == 1 => {
                TargetRef::read(path, file)?
            }
            _ => return Err(malformed(expected, format!("{} targets", targets.targets.len()))),
        };
        let resolving = self.resolving_role(status::TARGET)?;
        if resolving.name != status::ROLE {
            return Err(malformed(
                "a path that TUF resolves to status",
                resolving.name.clone(),
            ));
        }
        if target.length > limits::MAX_STATUS {
            return Err(TrustError::TooLong {
                subject: status::TARGET.to_owned(),
                expected: limits::MAX_STATUS,
                found: target.length,
            });
        }
        Ok(target)
    }

    /// Version and expiry of an accepted targets role.
    pub fn role_version(&self, role: &str) -> Option<(u64, Timestamp)> {
        let targets = self.core.set.targets_role(role)?;
        Some((targets.version, targets.expires))
    }

    /// The version of a role in the state that was accepted; `None` if the snapshot does not name it.
    pub fn current_version(&self, role: &str) -> Option<u64> {
        let set = &self.core.set;
        match role {
            "root" => Some(set.root().version),
            "timestamp" => set.timestamp().map(|t| t.version),
            "snapshot" => set.snapshot().map(|s| s.version),
            _ => set
                .snapshot()
                .and_then(|s| s.meta.get(&format!("{role}.json")))
                .map(|meta| meta.version),
        }
    }

    fn listed(
        &self,
        role: &tuf::ModelRole,
        targets: &Targets,
        path: &str,
    ) -> Result<Option<ListedRelease>, TrustError> {
        let Some(file) = targets.target(path) else {
            return Ok(None);
        };
        let Some(version) = path
            .strip_prefix(&role.prefix())
            .and_then(|rest| rest.strip_suffix(".json"))
        else {
            // TUF 5.6.7: a role's word counts only for the paths that were delegated to it.
            return Ok(None);
        };
        let malformed = |expected: String, found: String| TrustError::Malformed {
            subject: path.to_owned(),
            expected,
            found,
        };
        let version: VersionName = version
            .parse()
            .map_err(|_| malformed("a version in the file name".into(), version.to_owned()))?;
        let delegation = self.resolving_role(path)?;
        if delegation.name != role.name() {
            return Err(malformed(
                format!("a path that TUF resolves to {}", role.name()),
                delegation.name.clone(),
            ));
        }
        let max_epoch = terms(delegation)?.max_epoch;
        let target = TargetRef::read(path, file)?;
        if target.length > limits::MAX_MANIFEST {
            return Err(TrustError::TooLong {
                subject: path.to_owned(),
                expected: limits::MAX_MANIFEST,
                found: target.length,
            });
        }
        let order = target
            .note
            .order
            .ok_or_else(|| malformed("the release's order in custom.x-assay".into(), "none".into()))?;
        if order.block() != role.block {
            return Err(malformed(
                format!("an order of block {}", role.block),
                format!("order {order}"),
            ));
        }
        // Only the top-level targets role raises an epoch.
        if order.epoch() > max_epoch {
            return Err(malformed(
                format!("an epoch of at most {max_epoch}, which its delegation grants"),
                format!("order {order}"),
            ));
        }
        let role_version = targets.version;
        Ok(Some(ListedRelease {
            role: role.clone(),
            target,
            version,
            order,
            max_epoch,
            role_version,
        }))
    }

    /// The delegation to which TUF's search leads for a path: the first that matches, since all of Assay's are terminating
    /// (TUF 5.6.7). The top-level role itself must not list the path.
    fn resolving_role(&self, path: &str) -> Result<&DelegatedRole, TrustError> {
        let malformed = |expected: &str, found: String| TrustError::Malformed {
            subject: path.to_owned(),
            expected: expected.to_owned(),
            found,
        };
        let targets = self
            .targets()
            .ok_or_else(|| malformed("top-level targets", "none".into()))?;
        if targets.target(path).is_some() {
            return Err(malformed(
                "a release that only its model's role lists",
                "the top-level targets list it too".into(),
            ));
        }
        let roles = targets.delegations.iter().flat_map(|d| &d.roles);
        for delegation in roles {
            if delegation
                .matches_path(path)
                .map_err(|e| TrustError::tuf("targets", e))?
            {
                if !delegation.terminating {
                    return Err(malformed("a terminating delegation", delegation.name.clone()));
                }
                return Ok(delegation);
            }
        }
        Err(malformed("a delegation for this path", "none".into()))
    }
}

/// The highest epoch and counter that a delegation permits; terms that cannot be read grant nothing.
fn reach(delegation: &DelegatedRole, role: &tuf::ModelRole) -> (u64, u64) {
    let epoch = terms(delegation).map_or(0, |terms| terms.max_epoch);
    let first = role.block.saturating_mul(limits::BLOCK);
    (epoch, first.saturating_add(limits::BLOCK - 1))
}

fn terms(delegation: &DelegatedRole) -> Result<tuf::DelegationTerms, TrustError> {
    let found = delegation.extra.get(tuf::FIELD);
    found
        .and_then(|value| serde_json::from_value(value.clone()).ok())
        .ok_or_else(|| TrustError::Malformed {
            subject: format!("delegation of {}", delegation.name),
            expected: "x-assay with max_epoch".into(),
            found: found.map_or_else(|| "none".to_owned(), Value::to_string),
        })
}
