//! The status role: what the authority restricts, signed anew before it expires.

use std::collections::BTreeMap;

use assay_authority::PublicKey;
use assay_authority::metadata::{RoleKeys, Root, Targets, default_expiry};
use assay_schema::status::{self, RevokedRelease, Status};
use assay_schema::{ModelName, ReleaseOrder, VersionName};
use jiff::Timestamp;

use super::authority::NamespaceRecord;
use super::proposal::{Proposal, mismatch};
use super::refresh::{self, Current};
use super::{PublishError, Publisher};

/// What the next status restricts beyond the present one.
#[derive(Debug, Clone, Default)]
pub struct Restriction {
    /// Releases that no device takes any more.
    pub releases: Vec<RevokedRelease>,
    /// Ids of keys whose signatures no device takes any more: whole.
    pub keys: Vec<String>,
    /// The least order of a model's releases.
    pub orders: BTreeMap<ModelName, ReleaseOrder>,
    /// The least version of roles.
    pub versions: BTreeMap<String, u64>,
}

/// What the next status restricts no longer.
#[derive(Debug, Clone, Default)]
pub struct Lift {
    /// Everything.
    pub all: bool,
    /// Releases that were revoked by their version.
    pub releases: Vec<(ModelName, VersionName)>,
    /// Ids of revoked keys: whole.
    pub keys: Vec<String>,
    /// Models that have a least order.
    pub orders: Vec<ModelName>,
    /// Roles that have a least version.
    pub versions: Vec<String>,
}

/// The status as it stands.
#[derive(Debug, Clone)]
pub struct StatusView {
    /// The file's version.
    pub version: u64,
    /// When it expires.
    pub expires: Timestamp,
    /// What it says.
    pub status: Status,
}

impl Publisher {
    /// The namespace's status, verified; `None` where none is delegated.
    ///
    /// # Errors
    /// The registry's metadata does not verify.
    pub fn status(&self, now: Timestamp) -> Result<Option<StatusView>, PublishError> {
        let record = self.folder.namespace()?;
        let base = self.base(&record, None, now)?;
        let file = base.status().map(Targets::read).transpose()?;
        let view = file.map(|file| {
            Ok::<_, PublishError>(StatusView {
                version: file.version()?,
                expires: file.expires()?,
                status: file.status()?,
            })
        });
        view.transpose()
    }

    /// Targets metadata that delegates the status role to these keys, and the role's first file, or its next one where it is
    /// delegated already. Where a present key is taken away, it may have been stolen: the next status then restricts nothing, unless
    /// what the present one restricts is to be carried over.
    ///
    /// # Errors
    /// A key serves a top-level role, the threshold cannot be met, or the present metadata does not verify.
    pub fn propose_status_keys(
        &self,
        keys: &[PublicKey],
        threshold: u64,
        carry_over: bool,
        now: Timestamp,
    ) -> Result<Proposal, PublishError> {
        let tuf = |key: &PublicKey| key.to_tuf().map_err(|e| mismatch("key", "one for TUF", e));
        let keys = RoleKeys {
            keys: keys.iter().map(tuf).collect::<Result<_, _>>()?,
            threshold,
        };
        let (proposal, ..) = self.propose_status(Some((&keys, carry_over)), |_| Ok(()), now)?;
        Ok(proposal)
    }

    /// The next status: what stands, and these restrictions; with a new expiry.
    ///
    /// # Errors
    /// No status role is delegated, the present metadata does not verify, [`PublishError::StopsDevices`], or, unless somebody
    /// insists, [`PublishError::Doubtful`].
    pub fn propose_restriction(
        &self,
        add: &Restriction,
        insist: bool,
        now: Timestamp,
    ) -> Result<Proposal, PublishError> {
        let add = |status: &mut Status| {
            add.to(status);
            Ok(())
        };
        let (proposal, record, base) = self.propose_status(None, add, now)?;
        let doubts = self.effects(&record, &base, &proposal.publication)?.doubts;
        match doubts.is_empty() || insist {
            true => Ok(proposal),
            false => Err(PublishError::Doubtful { doubts }),
        }
    }

    /// The next status: what stands, without these restrictions; with a new expiry.
    ///
    /// # Errors
    /// No status role is delegated, it restricts no such thing, or the present metadata does not verify.
    pub fn propose_lift(&self, lift: &Lift, now: Timestamp) -> Result<Proposal, PublishError> {
        let (proposal, ..) = self.propose_status(None, |status| lift.from(status), now)?;
        Ok(proposal)
    }

    /// `keys` delegate the role anew, and say whether the present restrictions are carried over to other keys.
    fn propose_status(
        &self,
        keys: Option<(&RoleKeys, bool)>,
        change: impl Fn(&mut Status) -> Result<(), PublishError>,
        now: Timestamp,
    ) -> Result<(Proposal, NamespaceRecord, Current), PublishError> {
        let record = self.folder.namespace()?;
        let base = self.base(&record, None, now)?;
        let (root, mut top) = (Root::read(&base.root)?, Targets::read(&base.targets)?);
        let before = base.status().map(Targets::read).transpose()?;
        if before.is_none() && keys.is_none() {
            return Err(mismatch(
                "status role",
                "a delegation; begin with `assay status init`",
                "none",
            ));
        }
        let version = before.as_ref().map_or(Ok(0), Targets::version)?;
        let mut versions = BTreeMap::from([(status::ROLE.to_owned(), version + 1)]);
        if keys.is_some() {
            versions.insert("targets".to_owned(), top.version()? + 1);
        }
        let at = self.folder.signing_time(record.identity, &versions, now)?;
        let mut roles = BTreeMap::new();
        let mut carried = true;
        if let Some((keys, carry_over)) = keys {
            let present = top.status_keys()?;
            let kept = |present: &RoleKeys| present.keys.iter().all(|key| keys.keys.contains(key));
            carried = carry_over || present.as_ref().is_none_or(kept);
            top.delegate_status(keys, &root)?;
            top.advance(default_expiry("targets", at)?)?;
            let parent = Some(refresh::digest(&base.targets));
            roles.insert("targets".to_owned(), top.sign(&[], None)?.publish(parent)?);
        }
        let mut content = match &before {
            Some(before) if carried => before.status()?,
            _ => Status::new(at),
        };
        content.issued = at;
        change(&mut content)?;
        let expires = default_expiry(status::ROLE, at)?;
        let file = match before {
            Some(mut file) => {
                file.set_status(&content)?;
                file.advance(expires)?;
                file
            }
            None => Targets::status_role(&content, record.identity, expires)?,
        };
        let parent = base.status().map(refresh::digest);
        roles.insert(status::ROLE.to_owned(), file.sign(&[], None)?.publish(parent)?);
        Ok((Proposal::new(&record, roles, at), record, base))
    }
}

impl Restriction {
    /// Restrictions only grow here: what an earlier status demanded stays until it is lifted.
    fn to(&self, status: &mut Status) {
        for release in &self.releases {
            if !status.revoked_releases.contains(release) {
                status.revoked_releases.push(release.clone());
            }
        }
        status.revoked_keys.extend(self.keys.iter().cloned());
        for (model, order) in &self.orders {
            let least = status.orders.entry(model.clone()).or_insert(*order);
            *least = (*least).max(*order);
        }
        for (role, version) in &self.versions {
            let least = status.versions.entry(role.clone()).or_insert(*version);
            *least = (*least).max(*version);
        }
    }
}

impl Lift {
    fn from(&self, status: &mut Status) -> Result<(), PublishError> {
        if self.all {
            *status = Status::new(status.issued);
            return Ok(());
        }
        let there = |found: bool, what: String| match found {
            true => Ok(()),
            false => Err(mismatch(
                "restriction to lift",
                "one that `assay status show` lists",
                what,
            )),
        };
        for (model, version) in &self.releases {
            let before = status.revoked_releases.len();
            let named = |r: &RevokedRelease| r.model == *model && r.version.as_ref() == Some(version);
            status.revoked_releases.retain(|r| !named(r));
            let found = status.revoked_releases.len() < before;
            there(found, format!("release {model}@{version}"))?;
        }
        for key in &self.keys {
            there(status.revoked_keys.remove(key), format!("key {key}"))?;
        }
        for model in &self.orders {
            there(
                status.orders.remove(model).is_some(),
                format!("least order of {model}"),
            )?;
        }
        for role in &self.versions {
            there(
                status.versions.remove(role).is_some(),
                format!("least version of {role}"),
            )?;
        }
        Ok(())
    }
}
