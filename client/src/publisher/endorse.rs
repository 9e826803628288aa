//! Signing another namespace's release in one's own repository: the second authority's part of TUF TAP 4.

use std::collections::{BTreeMap, BTreeSet};

use assay_authority::RoleKeys;
use assay_authority::metadata::{Delegation, Root, Target, Targets, default_expiry};
use assay_schema::tuf::{DelegationTerms, ModelRole};
use assay_schema::{ReleaseManifest, Sha256Digest};
use jiff::Timestamp;

use super::authority::{KeyRole, NamespaceRecord};
use super::namespace::refs;
use super::proposal::{Proposal, mismatch};
use super::refresh;
use super::release::latest_delegation;
use super::{PublishError, Publisher};
use crate::device::Endorsable;

impl Publisher {
    /// Metadata of this folder's namespace that lists a release of another one: the same target path, length and SHA-256, in the role
    /// of the same name. Where nobody has the role yet, the targets metadata that delegates it to this folder's publisher keys comes
    /// along. `None` if the release is listed already.
    ///
    /// Only an [`Endorsable`] can be endorsed: the release passed stages 1 to 6 at its own registry, by this device's pin.
    ///
    /// # Errors
    /// It is a release of this very namespace; another release is listed under its path, or has its order; its epoch is above what the
    /// role may give; or the present metadata does not verify.
    pub fn propose_endorsement(
        &self,
        endorsable: &Endorsable,
        now: Timestamp,
    ) -> Result<Option<Proposal>, PublishError> {
        let record = self.folder.namespace()?;
        let manifest = endorsable.manifest();
        foreign(&record, manifest)?;
        let text = String::from_utf8(endorsable.manifest_bytes().to_vec())
            .map_err(|e| mismatch("manifest", "UTF-8 text", e))?;
        let base = self.base(&record, Some(&manifest.model), now)?;
        let role = ModelRole::of(&manifest.model, manifest.order);
        let (name, path) = (role.name(), role.manifest_path(&manifest.version));
        let mut top = Targets::read(&base.targets)?;
        let before = base.role(&role).map(Targets::read).transpose()?;
        let mut target = Target::of(endorsable.manifest_bytes());
        target.note.order = Some(manifest.order);
        if let Some(file) = &before {
            let listed = file.targets()?;
            if listed.get(&path) == Some(&target) {
                return Ok(None);
            }
            let mut others = listed.iter().filter(|(other, _)| **other != path);
            if others.any(|(_, t)| t.note.order == Some(manifest.order)) {
                let expected = "one that no other release in it has";
                return Err(mismatch(format!("order in {name}"), expected, manifest.order));
            }
        }

        let version = before.as_ref().map_or(Ok(0), Targets::version)?;
        let versions = BTreeMap::from([
            (name.clone(), version + 1),
            ("targets".to_owned(), top.version()? + 1),
        ]);
        let at = self.folder.signing_time(record.identity, &versions, now)?;
        let expires = default_expiry(&name, at)?;
        let mut file = match before {
            Some(mut file) => {
                file.advance(expires)?;
                file
            }
            None => Targets::model_role(&role, record.identity, expires)?,
        };
        file.set_target(&path, &target)?;
        let mut roles = BTreeMap::new();
        let epoch = manifest.order.epoch();
        match top.delegation(&role)? {
            Some(found) if found.terms.max_epoch >= epoch => {}
            _ => {
                let delegation = self.delegation_for(&top, &role, epoch)?;
                top.delegate(&role, &delegation, &Root::read(&base.root)?)?;
                top.advance(default_expiry("targets", at)?)?;
                let parent = Some(refresh::digest(&base.targets));
                roles.insert("targets".to_owned(), top.sign(&[], None)?.publish(parent)?);
            }
        }
        let parent = base.role(&role).map(refresh::digest);
        roles.insert(name, file.sign(&[], None)?.publish(parent)?);
        let mut proposal = Proposal::new(&record, roles, at);
        proposal.publication.manifests = vec![text];
        Ok(Some(proposal))
    }

    /// What stands, with a higher epoch; else those who sign another block of the model; else this folder's publisher keys.
    fn delegation_for(
        &self,
        top: &Targets,
        role: &ModelRole,
        epoch: u64,
    ) -> Result<Delegation, PublishError> {
        let found = match top.delegation(role)? {
            Some(found) => Some(found),
            None => latest_delegation(top, &role.model)?,
        };
        if let Some(found) = found {
            let max_epoch = found.terms.max_epoch.max(epoch);
            return Ok(Delegation {
                terms: DelegationTerms { max_epoch },
                ..found
            });
        }
        let keys = self.folder.keys(KeyRole::Publisher, &*self.passphrase)?;
        let keys = RoleKeys::of(&refs(&keys), 1).map_err(|source| PublishError::Key {
            path: self.folder.path().to_owned(),
            source,
        })?;
        Ok(Delegation {
            keys,
            terms: DelegationTerms { max_epoch: epoch },
        })
    }
}

fn foreign(record: &NamespaceRecord, manifest: &ReleaseManifest) -> Result<(), PublishError> {
    match manifest.namespace == record.identity {
        true => Err(mismatch(
            "namespace of the release",
            "another one's: `assay publish` signs one's own",
            &record.name,
        )),
        false => Ok(()),
    }
}

/// What a signer is shown of the manifests that come with a proposal. Each must be listed by it, and be of the place where it is listed.
pub(super) fn review(
    record: &NamespaceRecord,
    manifests: &[String],
    files: &BTreeMap<ModelRole, Targets>,
) -> Result<Vec<String>, PublishError> {
    let mut lines = Vec::new();
    let mut seen: BTreeSet<Sha256Digest> = BTreeSet::new();
    for text in manifests {
        let manifest = ReleaseManifest::parse(text.as_bytes())?;
        foreign(record, &manifest)?;
        let role = ModelRole::of(&manifest.model, manifest.order);
        let path = role.manifest_path(&manifest.version);
        let mut expected = Target::of(text.as_bytes());
        expected.note.order = Some(manifest.order);
        let listed = files
            .get(&role)
            .map(|file| file.target(&path))
            .transpose()?
            .flatten();
        if listed.as_ref() != Some(&expected) || !seen.insert(expected.sha256) {
            let found = listed.map_or_else(|| "none".to_owned(), |t| t.sha256.to_hex());
            return Err(mismatch(path, expected.sha256, found));
        }
        lines.push(format!(
            "{}: endorses {}@{} of the namespace with identity {}: {} files, {} bytes, manifest {}",
            role.name(),
            manifest.model,
            manifest.version,
            manifest.namespace,
            manifest.files.len(),
            manifest.size(),
            expected.sha256
        ));
    }
    Ok(lines)
}
