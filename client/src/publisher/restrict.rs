//! The status role: what the authority restricts, signed anew before it expires.

use std::collections::BTreeMap;

use assay_authority::PublicKey;
use assay_authority::metadata::{RoleKeys, Root, Targets, default_expiry};
use assay_schema::status::{self, RevokedRelease, Status};
use assay_schema::{ModelName, ReleaseOrder};
use jiff::Timestamp;

use super::proposal::{Proposal, mismatch};
use super::refresh;
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
    /// delegated already.
    ///
    /// # Errors
    /// A key serves a top-level role, the threshold cannot be met, or the present metadata does not verify.
    pub fn propose_status_keys(
        &self,
        keys: &[PublicKey],
        threshold: u64,
        now: Timestamp,
    ) -> Result<Proposal, PublishError> {
        let tuf = |key: &PublicKey| key.to_tuf().map_err(|e| mismatch("key", "one for TUF", e));
        let keys = RoleKeys {
            keys: keys.iter().map(tuf).collect::<Result<_, _>>()?,
            threshold,
        };
        self.propose_status(Some(&keys), &Restriction::default(), now)
    }

    /// The next status: what stands, and these restrictions; with a new expiry.
    ///
    /// # Errors
    /// No status role is delegated, or the present metadata does not verify.
    pub fn propose_restriction(&self, add: &Restriction, now: Timestamp) -> Result<Proposal, PublishError> {
        self.propose_status(None, add, now)
    }

    fn propose_status(
        &self,
        keys: Option<&RoleKeys>,
        add: &Restriction,
        now: Timestamp,
    ) -> Result<Proposal, PublishError> {
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
        if let Some(keys) = keys {
            top.delegate_status(keys, &root)?;
            top.advance(default_expiry("targets", at)?)?;
            let parent = Some(refresh::digest(&base.targets));
            roles.insert("targets".to_owned(), top.sign(&[], None)?.publish(parent)?);
        }
        let mut content = before
            .as_ref()
            .map_or_else(|| Ok(Status::new(at)), Targets::status)?;
        content.issued = at;
        add.to(&mut content);
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
        Ok(Proposal::new(&record, roles, at))
    }
}

impl Restriction {
    /// Restrictions only grow here: what an earlier status demanded stays.
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
