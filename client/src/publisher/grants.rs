//! Who publishes a model: delegations of its blocks of a hundred releases.

use std::collections::BTreeMap;
use std::path::Path;

use assay_authority::PublicKey;
use assay_authority::metadata::{Delegation, RoleKeys, Root, Targets, default_expiry};
use assay_schema::limits::MAX_ROOT;
use assay_schema::tuf::{DelegationTerms, ModelRole};
use assay_schema::{ModelName, NamespaceName, Sha256Digest};
use assay_verifier::{DeviceState, Pin};
use jiff::Timestamp;

use super::authority::NamespaceRecord;
use super::proposal::{Proposal, mismatch};
use super::refresh;
use super::renew::renewed;
use super::rotate::{edit, id};
use super::{PublishError, Publisher, journal};
use crate::transport::{Fetched, paths};

/// Keys for blocks of a model.
#[derive(Debug, Clone)]
pub struct Grant {
    /// The model.
    pub model: ModelName,
    /// The blocks: counter / 100.
    pub blocks: Vec<u64>,
    /// The publishers' keys. They replace the ones that the block has.
    pub keys: Vec<PublicKey>,
    /// How many of them must sign.
    pub threshold: u64,
    /// The highest epoch that they may give a release; where absent, what the block has, or 1.
    pub max_epoch: Option<u64>,
}

/// Takes a key from all blocks of a model.
#[derive(Debug, Clone)]
pub struct Revocation {
    /// The model.
    pub model: ModelName,
    /// The key's id: whole, or its first 8 digits or more.
    pub key: String,
    /// Keys that take its place.
    pub replace: Vec<PublicKey>,
    /// How many must sign from now on.
    pub threshold: Option<u64>,
}

/// A delegation as it stands.
#[derive(Debug, Clone)]
pub struct DelegationView {
    /// The role's name.
    pub role: String,
    /// The block.
    pub block: u64,
    /// How many keys must sign.
    pub threshold: u64,
    /// Ids of the keys.
    pub keys: Vec<String>,
    /// The highest epoch.
    pub max_epoch: u64,
    /// The releases that it lists.
    pub releases: usize,
    /// When its file expires, if there is one.
    pub expires: Option<Timestamp>,
}

impl Publisher {
    /// Makes this folder one of a namespace that exists: for publishers and for holders of single keys. Nothing is signed.
    ///
    /// # Errors
    /// The folder is another namespace's, or the registry's first root is not the one of this fingerprint.
    pub fn join(
        &self,
        name: &NamespaceName,
        identity: Sha256Digest,
        registry: &str,
    ) -> Result<NamespaceRecord, PublishError> {
        let record = NamespaceRecord {
            v: 1,
            name: name.clone(),
            identity,
            registry: registry.to_owned(),
        };
        if let Some(found) = self.folder.find_namespace()? {
            if found.identity != identity || found.name != *name {
                let theirs = format!("{} {}", found.name, found.identity);
                return Err(mismatch(
                    "namespace of the folder",
                    theirs,
                    format!("{name} {identity}"),
                ));
            }
            return Ok(found);
        }
        let path = paths::metadata(name, "1.root.json");
        let missing = || PublishError::Missing {
            what: "1.root.json".to_owned(),
        };
        let root = match self.transport.get(&path, MAX_ROOT, None)? {
            Fetched::Found { bytes, .. } => bytes,
            Fetched::Missing | Fetched::NotModified => return Err(missing()),
        };
        let pin = Pin::new(name.clone(), identity);
        self.folder.save_state(&DeviceState::first(&pin, &root)?)?;
        journal::begin(&self.folder)?;
        self.folder.save_namespace(&record)?;
        Ok(record)
    }

    /// The delegations of a model, verified, lowest block first.
    ///
    /// # Errors
    /// The registry's metadata does not verify.
    pub fn delegations(
        &self,
        model: &ModelName,
        now: Timestamp,
    ) -> Result<Vec<DelegationView>, PublishError> {
        let record = self.folder.namespace()?;
        let base = self.base(&record, Some(model), now)?;
        let mut views = Vec::new();
        for (role, delegation) in delegated(&Targets::read(&base.targets)?, model)? {
            let file = base.role(&role).map(Targets::read).transpose()?;
            let keys = delegation.keys.keys.iter().map(id).collect::<Result<_, _>>()?;
            views.push(DelegationView {
                role: role.name(),
                block: role.block,
                threshold: delegation.keys.threshold,
                keys,
                max_epoch: delegation.terms.max_epoch,
                releases: file.as_ref().map_or(Ok(0), |f| f.targets().map(|t| t.len()))?,
                expires: file.as_ref().map(Targets::expires).transpose()?,
            });
        }
        views.sort_by_key(|view| view.block);
        Ok(views)
    }

    /// Targets metadata in which these blocks are delegated to these keys. Where a block's file lacks signatures of the keys, or has
    /// one of another key, it comes along, for them to sign.
    ///
    /// # Errors
    /// A key serves a top-level role, the threshold cannot be met, or the present metadata does not verify.
    pub fn propose_grant(&self, grant: &Grant, now: Timestamp) -> Result<Proposal, PublishError> {
        let tuf = |key: &PublicKey| key.to_tuf().map_err(|e| mismatch("key", "one for TUF", e));
        let keys = RoleKeys {
            keys: grant.keys.iter().map(tuf).collect::<Result<_, _>>()?,
            threshold: grant.threshold,
        };
        self.redelegate(&grant.model, now, |top| {
            let mut changed = Vec::new();
            for block in &grant.blocks {
                let role = ModelRole {
                    model: grant.model.clone(),
                    block: *block,
                };
                let before = top.delegation(&role)?.map_or(1, |d| d.terms.max_epoch);
                let terms = DelegationTerms {
                    max_epoch: grant.max_epoch.unwrap_or(before),
                };
                changed.push((
                    role,
                    Delegation {
                        keys: keys.clone(),
                        terms,
                    },
                ));
            }
            Ok(changed)
        })
    }

    /// Targets metadata in which no block of the model lists the key any more. Files that it signed come along, for those who remain
    /// to sign: nobody could use the releases in them any more once a status revokes the key, or now if only it signed them.
    ///
    /// # Errors
    /// No block lists the key, or too few keys would remain.
    pub fn propose_revocation(
        &self,
        revocation: &Revocation,
        now: Timestamp,
    ) -> Result<Proposal, PublishError> {
        let (model, remove) = (&revocation.model, [revocation.key.clone()]);
        self.redelegate(model, now, |top| {
            let mut changed = Vec::new();
            for (role, mut delegation) in delegated(top, model)? {
                let mut unused = remove.to_vec();
                let (keys, threshold) = (&delegation.keys, revocation.threshold);
                let edited = edit(keys, &revocation.replace, &remove, threshold, &mut unused)?;
                if unused.is_empty() {
                    delegation.keys = edited;
                    changed.push((role, delegation));
                }
            }
            match changed.is_empty() {
                true => Err(mismatch(
                    "key to revoke",
                    format!("the id of a key that publishes {model}"),
                    &revocation.key,
                )),
                false => Ok(changed),
            }
        })
    }

    fn redelegate(
        &self,
        model: &ModelName,
        now: Timestamp,
        change: impl Fn(&Targets) -> Result<Vec<(ModelRole, Delegation)>, PublishError>,
    ) -> Result<Proposal, PublishError> {
        let record = self.folder.namespace()?;
        let base = self.base(&record, Some(model), now)?;
        let (root, mut top) = (Root::read(&base.root)?, Targets::read(&base.targets)?);
        let changed = change(&top)?;
        let mut versions = BTreeMap::from([("targets".to_owned(), top.version()? + 1)]);
        for (role, _) in &changed {
            let version = base.role(role).map(Targets::read).transpose()?;
            versions.insert(role.name(), version.map_or(Ok(0), |t| t.version())? + 1);
        }
        let at = self.folder.signing_time(record.identity, &versions, now)?;
        let mut roles = BTreeMap::new();
        for (role, delegation) in &changed {
            top.delegate(role, delegation, &root)?;
            if let Some(file) = renewed(&base, role, &delegation.keys, at)? {
                roles.insert(role.name(), file);
            }
        }
        if top != Targets::read(&base.targets)? {
            top.advance(default_expiry("targets", at)?)?;
            let parent = Some(refresh::digest(&base.targets));
            roles.insert("targets".to_owned(), top.sign(&[], None)?.publish(parent)?);
        }
        match roles.is_empty() {
            true => Err(mismatch(
                "change",
                "other keys, threshold or epoch; `assay role renew` signs what stands anew",
                "what stands",
            )),
            false => Ok(Proposal::new(&record, roles, at)),
        }
    }
}

fn delegated(top: &Targets, model: &ModelName) -> Result<Vec<(ModelRole, Delegation)>, PublishError> {
    let mut found = Vec::new();
    for role in top.delegated().into_iter().filter(|role| role.model == *model) {
        if let Some(delegation) = top.delegation(&role)? {
            found.push((role, delegation));
        }
    }
    Ok(found)
}

/// Reads a public key from its PEM file.
///
/// # Errors
/// There is none, or it is no public key.
pub fn public_key(path: &Path) -> Result<PublicKey, PublishError> {
    let text = std::fs::read_to_string(path).map_err(|e| {
        super::folder_error(
            path.to_owned(),
            format!("expected a public key in PEM, found: {e}"),
        )
    })?;
    PublicKey::from_pem(&text).map_err(|source| PublishError::Key {
        path: path.to_owned(),
        source,
    })
}
