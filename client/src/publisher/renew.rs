//! The next version of a file: as it stands, for a later expiry, or without the signature of a key that is not listed any more.

use std::collections::{BTreeMap, BTreeSet};

use assay_authority::metadata::{RoleKeys, Targets, default_expiry};
use assay_schema::ModelName;
use assay_schema::api::SignedRole;
use assay_schema::tuf::ModelRole;
use jiff::Timestamp;

use super::authority::NamespaceRecord;
use super::proposal::{Proposal, mismatch, signers};
use super::refresh::{self, Current};
use super::{PublishError, Publisher};

impl Publisher {
    /// The next version of the top-level targets metadata: as it stands, with a later expiry. Its keys suffice for that, wherever
    /// the root keys are kept.
    ///
    /// # Errors
    /// The present metadata does not verify.
    pub fn propose_targets_renewal(&self, now: Timestamp) -> Result<Proposal, PublishError> {
        let record = self.folder.namespace()?;
        let base = self.base(&record, None, now)?;
        self.propose_top(&record, &base, Targets::read(&base.targets)?, now)
    }

    /// The next targets metadata, of which a part was changed.
    pub(super) fn propose_top(
        &self,
        record: &NamespaceRecord,
        base: &Current,
        mut top: Targets,
        now: Timestamp,
    ) -> Result<Proposal, PublishError> {
        let versions = BTreeMap::from([("targets".to_owned(), top.version()? + 1)]);
        let at = self.folder.signing_time(record.identity, &versions, now)?;
        top.advance(default_expiry("targets", at)?)?;
        let parent = Some(refresh::digest(&base.targets));
        let file = top.sign(&[], None)?.publish(parent)?;
        let roles = BTreeMap::from([("targets".to_owned(), file)]);
        Ok(Proposal::new(record, roles, at))
    }

    /// The next version of the files of a model's roles: the releases that stand, with a later expiry. Of these blocks, or of every
    /// block that has releases where none is named.
    ///
    /// # Errors
    /// A block that is named, or the model, has no releases; or the present metadata does not verify.
    pub fn propose_role_renewal(
        &self,
        model: &ModelName,
        blocks: &[u64],
        now: Timestamp,
    ) -> Result<Proposal, PublishError> {
        let record = self.folder.namespace()?;
        let base = self.base(&record, Some(model), now)?;
        let mut files: BTreeMap<ModelRole, &[u8]> = base.model_roles().collect();
        if files.is_empty() {
            return Err(mismatch(format!("files of {model}"), "one or more", "none"));
        }
        let missing = |block: &&u64| !files.keys().any(|role| role.block == **block);
        if let Some(block) = blocks.iter().find(missing) {
            let there: Vec<_> = files.keys().map(|role| role.block.to_string()).collect();
            let expected = format!("one that has releases: {}", there.join(", "));
            return Err(mismatch(format!("block of {model}"), expected, block));
        }
        if !blocks.is_empty() {
            files.retain(|role, _| blocks.contains(&role.block));
        }
        let mut versions = BTreeMap::new();
        for (role, bytes) in &files {
            versions.insert(role.name(), Targets::read(bytes)?.version()? + 1);
        }
        let at = self.folder.signing_time(record.identity, &versions, now)?;
        let mut roles = BTreeMap::new();
        for (role, bytes) in files {
            roles.insert(role.name(), anew(&role.name(), bytes, at)?);
        }
        Ok(Proposal::new(&record, roles, at))
    }
}

/// The next version of a targets file with the same content, which nobody has signed yet.
fn anew(role: &str, bytes: &[u8], at: Timestamp) -> Result<SignedRole, PublishError> {
    let mut file = Targets::read(bytes)?;
    file.advance(default_expiry(role, at)?)?;
    Ok(file.sign(&[], None)?.publish(Some(refresh::digest(bytes)))?)
}

/// The role's file to be signed anew, if too few of these keys signed the one that stands, or one that is not among them did: once
/// that key is revoked, devices refuse whatever carries its signature, whoever else signed it.
pub(super) fn renewed(
    base: &Current,
    role: &ModelRole,
    keys: &RoleKeys,
    at: Timestamp,
) -> Result<Option<SignedRole>, PublishError> {
    let Some(bytes) = base.role(role) else {
        return Ok(None);
    };
    let signed = signers(&String::from_utf8_lossy(bytes));
    let unreadable = |e| mismatch("key", "one with an id", e);
    let listed: BTreeSet<_> = keys.ids().map_err(unreadable)?.into_iter().collect();
    let enough = listed.intersection(&signed).count() as u64 >= keys.threshold;
    match enough && signed.is_subset(&listed) {
        true => Ok(None),
        false => anew(&role.name(), bytes, at).map(Some),
    }
}
