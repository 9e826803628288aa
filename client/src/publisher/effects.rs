//! What a status would do to the state that it is published on: judged as devices judge it, and said to whoever signs it.

use std::collections::{BTreeMap, BTreeSet};

use assay_authority::metadata::{RoleKeys, Root, Target, Targets, TopRole};
use assay_schema::api::Publication;
use assay_schema::status::{self, RevokedRelease, Status};
use assay_schema::tuf::ModelRole;
use assay_schema::{ModelName, ReleaseOrder};
use assay_trust::restricted::{old_role, revoked_signer};

use super::authority::NamespaceRecord;
use super::proposal::{mismatch, signers};
use super::refresh::Current;
use super::{PublishError, Publisher};

/// What is said of a status before it is signed.
#[derive(Debug, Default)]
pub(super) struct Effects {
    /// Worth a look.
    pub(super) notes: Vec<String>,
    /// What stops something, or does nothing: a slip, unless somebody insists.
    pub(super) doubts: Vec<String>,
}

/// The state that a publication would make.
struct Outcome<'a> {
    record: &'a NamespaceRecord,
    base: &'a Current,
    publication: &'a Publication,
    root: Root,
    top: Targets,
    status: Status,
    /// What the status that stands says.
    before: Status,
    /// The model roles' files that matter.
    files: BTreeMap<ModelRole, Vec<u8>>,
}

impl Publisher {
    /// What the status of a publication does, if it has one.
    ///
    /// # Errors
    /// [`PublishError::StopsDevices`]: every model of the namespace would be refused, whatever came after it but another status.
    pub(super) fn effects(
        &self,
        record: &NamespaceRecord,
        base: &Current,
        publication: &Publication,
    ) -> Result<Effects, PublishError> {
        let sent = |role: &str| publication.roles.get(role).map(|file| file.metadata.as_bytes());
        let Some(file) = sent(status::ROLE) else {
            return Ok(Effects::default());
        };
        let (file, stands) = (
            Targets::read(file)?,
            base.status().map(Targets::read).transpose()?,
        );
        let status = file.status()?;
        let before = match stands {
            Some(stands) => stands.status()?,
            None => Status::new(status.issued),
        };
        let top = Targets::read(sent("targets").unwrap_or(&base.targets))?;
        // Whatever a key signed may stop: all of it is looked at. Anything else concerns the models that it names.
        let every = status.revoked_keys != before.revoked_keys;
        let named = named_models(&status);
        let mut files = BTreeMap::new();
        for role in top.delegated() {
            if every || named.contains(&role.model) {
                let bytes = match sent(&role.name()) {
                    Some(bytes) => Some(bytes.to_vec()),
                    None => base.fetch_role(record, self.transport.as_ref(), &role)?,
                };
                files.extend(bytes.map(|bytes| (role, bytes)));
            }
        }
        let outcome = Outcome {
            record,
            base,
            publication,
            root: Root::read(sent("root").unwrap_or(&base.root))?,
            top,
            status,
            before,
            files,
        };
        outcome.stops_everything()?;
        let mut effects = Effects::default();
        outcome.versions(&mut effects);
        outcome.releases(&mut effects)?;
        outcome.keys(&mut effects)?;
        Ok(effects)
    }
}

fn named_models(status: &Status) -> BTreeSet<ModelName> {
    let of_roles = status.versions.keys().filter_map(|role| ModelRole::parse(role));
    let of_releases = status.revoked_releases.iter().map(|r| r.model.clone());
    let of_orders = status.orders.keys().cloned();
    of_roles
        .map(|role| role.model)
        .chain(of_releases)
        .chain(of_orders)
        .collect()
}

/// How many of these keys no status revokes.
fn unrevoked(keys: &RoleKeys, status: &Status) -> Result<u64, PublishError> {
    let ids = ids(keys)?;
    Ok(ids.difference(&status.revoked_keys).count() as u64)
}

fn ids(keys: &RoleKeys) -> Result<BTreeSet<String>, PublishError> {
    let ids = keys.ids().map_err(|e| mismatch("key", "one with an id", e))?;
    Ok(ids.into_iter().collect())
}

impl Outcome<'_> {
    fn sent(&self, role: &str) -> Option<&str> {
        let file = self.publication.roles.get(role);
        file.map(|file| file.metadata.as_str())
    }

    fn version(&self, role: &str) -> Option<u64> {
        let sent = self.sent(role).map(str::as_bytes);
        match (role, sent) {
            ("root", _) => self.root.version().ok(),
            (_, Some(bytes)) => Targets::read(bytes).and_then(|file| file.version()).ok(),
            // The registry signs the next ones for this very publication.
            ("snapshot" | "timestamp", None) => self.base.version_of(role).map(|v| v + 1),
            (_, None) => self.base.version_of(role),
        }
    }

    /// What devices would refuse every model for.
    fn stops_everything(&self) -> Result<(), PublishError> {
        let stop = |reason: String| PublishError::StopsDevices { reason };
        old_role(&self.status, None, |role| self.version(role)).map_err(|e| stop(e.to_string()))?;
        let mut signing = Vec::new();
        match self.sent("targets") {
            Some(_) => signing.push(("targets", self.root.role(TopRole::Targets)?)),
            None => revoked_signer(&self.status, "targets", &self.base.targets).map_err(|e| {
                stop(format!(
                    "{e}. Have it signed without that key first: `assay root rotate --remove-key`"
                ))
            })?,
        }
        if let Some(keys) = self.top.status_keys()? {
            signing.push((status::ROLE, keys));
        }
        for (role, keys) in signing {
            let (left, needed) = (unrevoked(&keys, &self.status)?, keys.threshold);
            if left < needed {
                return Err(stop(format!(
                    "{role}: expected {needed} keys that can sign it and are not revoked, found {left}. Give the role other keys first"
                )));
            }
        }
        Ok(())
    }

    fn versions(&self, effects: &mut Effects) {
        let of_models = self.status.versions.iter().filter(|(role, least)| {
            ModelRole::parse(role).is_some() && self.before.versions.get(*role) != Some(least)
        });
        for (role, least) in of_models {
            match self.version(role) {
                None => effects
                    .doubts
                    .push(format!("least version of {role}: the namespace has no such role")),
                Some(found) if found < *least => effects.doubts.push(format!(
                    "least version of {role}: {least} is above {found}, which stands; devices refuse its model until that is published"
                )),
                Some(_) => {}
            }
        }
    }

    /// The releases of a model that the files list.
    fn listed(&self, model: &ModelName) -> Result<Vec<(String, Target)>, PublishError> {
        let mut found = Vec::new();
        for (role, bytes) in self.files.iter().filter(|(role, _)| role.model == *model) {
            for (path, target) in Targets::read(bytes)?.targets()? {
                let version = path.strip_prefix(&role.prefix());
                let version = version.and_then(|p| p.strip_suffix(".json")).unwrap_or(&path);
                found.push((version.to_owned(), target));
            }
        }
        Ok(found)
    }

    fn releases(&self, effects: &mut Effects) -> Result<(), PublishError> {
        let revoked = self.status.revoked_releases.iter();
        for r in revoked.filter(|r| !self.before.revoked_releases.contains(r)) {
            if !self.listed(&r.model)?.iter().any(|release| is_of(release, r)) {
                let version = r.version.as_ref().map_or_else(String::new, |v| format!("@{v}"));
                effects.doubts.push(format!(
                    "revoked release {}{version}: the namespace lists no such release",
                    r.model
                ));
            }
        }
        let orders = self.status.orders.iter();
        for (model, least) in orders.filter(|(m, o)| self.before.orders.get(*m) != Some(o)) {
            let listed = self.listed(model)?;
            let highest: Option<ReleaseOrder> = listed.iter().filter_map(|(_, t)| t.note.order).max();
            match highest {
                None => effects
                    .doubts
                    .push(format!("least order of {model}: the namespace has no releases of it")),
                Some(highest) if highest < *least => effects.notes.push(format!(
                    "least order of {model}: {least} is above {highest}, the highest published; devices take none of its releases until \
                     one of that order is"
                )),
                Some(_) => {}
            }
        }
        Ok(())
    }

    fn keys(&self, effects: &mut Effects) -> Result<(), PublishError> {
        let mut known = BTreeSet::new();
        for role in TopRole::ALL {
            known.extend(ids(&self.root.role(role)?)?);
        }
        let mut publishers: BTreeMap<ModelRole, BTreeSet<String>> = BTreeMap::new();
        for role in self.top.delegated() {
            let keys = self.top.delegation(&role)?.map(|d| ids(&d.keys)).transpose()?;
            publishers.insert(role, keys.unwrap_or_default());
        }
        known.extend(publishers.values().flatten().cloned());
        if let Some(keys) = self.top.status_keys()? {
            known.extend(ids(&keys)?);
        }
        let root = self.root.role(TopRole::Root)?;
        for key in self.status.revoked_keys.difference(&self.before.revoked_keys) {
            for (role, bytes) in &self.files {
                if signers(&String::from_utf8_lossy(bytes)).contains(key) {
                    let name = role.name();
                    // A file that comes along is signed anew without revoked keys.
                    if self.sent(&name).is_some() {
                        continue;
                    }
                    let listed = publishers.get(role).is_some_and(|keys| keys.contains(key));
                    let first = match listed {
                        true => format!("`assay role revoke {}/{} {key}`", self.record.name, role.model),
                        false => format!("`assay role renew {}/{}`", self.record.name, role.model),
                    };
                    effects.doubts.push(format!(
                        "revoked key {key} signed {name}: devices refuse the releases in it until others sign it anew. First {first}"
                    ));
                }
            }
            if ids(&root)?.contains(key) && unrevoked(&root, &self.status)? < root.threshold {
                effects.doubts.push(format!(
                    "revoked key {key}: too few root keys are left for devices to follow a next root. First replace them: \
                     `assay root rotate`"
                ));
            }
            if !known.contains(key) {
                effects
                    .notes
                    .push(format!("revoked key {key}: no role lists it now"));
            }
        }
        Ok(())
    }
}

fn is_of((version, target): &(String, Target), revoked: &RevokedRelease) -> bool {
    let same = revoked
        .version
        .as_ref()
        .is_some_and(|v| v.as_str() == version.as_str());
    same || revoked.manifest == Some(target.sha256)
}
