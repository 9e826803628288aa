//! The next root: other keys, other thresholds, a later expiry.

use std::collections::BTreeMap;

use assay_authority::PublicKey;
use assay_authority::metadata::{RoleKeys, Root, Targets, TopRole, default_expiry};
use assay_authority::public::key_id;
use jiff::Timestamp;

use super::authority::KeyRole;
use super::namespace::refs;
use super::proposal::{Proposal, mismatch};
use super::refresh;
use super::registry::Registry;
use super::{PublishError, Publisher};

/// What the next root changes.
#[derive(Debug, Clone, Default)]
pub struct RootChange {
    /// Root keys to add.
    pub add_root: Vec<PublicKey>,
    /// Targets keys to add.
    pub add_targets: Vec<PublicKey>,
    /// Ids of root or targets keys to remove: whole, or their first 8 digits or more.
    pub remove: Vec<String>,
    /// How many root keys must sign from now on.
    pub root_threshold: Option<u64>,
    /// How many targets keys must sign from now on.
    pub targets_threshold: Option<u64>,
    /// Whether the registry's online keys change: what a thief of the present ones signed is then refused (TUF 5.3.11).
    pub online_keys: bool,
    /// Sign a later expiry, also where nothing else changes; of targets, too, where the folder holds enough of their keys.
    pub renew: bool,
}

/// A role as the present root has it.
#[derive(Debug, Clone)]
pub struct RoleView {
    /// The role's name.
    pub role: &'static str,
    /// How many keys must sign.
    pub threshold: u64,
    /// Id and kind of each key.
    pub keys: Vec<(String, String)>,
}

/// The present root.
#[derive(Debug, Clone)]
pub struct RootView {
    /// Its version.
    pub version: u64,
    /// When it expires.
    pub expires: Timestamp,
    /// The four top-level roles.
    pub roles: Vec<RoleView>,
}

impl Publisher {
    /// The namespace's present root, verified.
    ///
    /// # Errors
    /// The registry's metadata does not verify.
    pub fn root(&self, now: Timestamp) -> Result<RootView, PublishError> {
        let record = self.folder.namespace()?;
        let root = Root::read(&self.base(&record, None, now)?.root)?;
        let mut roles = Vec::new();
        for role in TopRole::ALL {
            let listed = root.role(role)?;
            let keys = listed.keys.iter().map(|key| Ok((id(key)?, key.keytype.clone())));
            roles.push(RoleView {
                role: role.as_str(),
                threshold: listed.threshold,
                keys: keys.collect::<Result<_, PublishError>>()?,
            });
        }
        Ok(RootView {
            version: root.version()?,
            expires: root.expires()?,
            roles,
        })
    }

    /// The next root as `change` describes it, on top of what stands, without signatures. Where targets keys change, the targets
    /// file comes with it, for devices refuse the one that stands under the new root.
    ///
    /// # Errors
    /// Nothing would change, a key to remove is not there, a threshold cannot be met, a key would serve two roles, or the present
    /// metadata does not verify.
    pub fn propose_root(&self, change: &RootChange, now: Timestamp) -> Result<Proposal, PublishError> {
        let record = self.folder.namespace()?;
        let base = self.base(&record, None, now)?;
        let (old, mut top) = (Root::read(&base.root)?, Targets::read(&base.targets)?);
        let versions = BTreeMap::from([
            ("root".to_owned(), old.version()? + 1),
            ("targets".to_owned(), top.version()? + 1),
        ]);
        let at = self.folder.signing_time(record.identity, &versions, now)?;

        let mut new = old.clone();
        let mut unused = change.remove.clone();
        let edited = [
            (TopRole::Root, &change.add_root, change.root_threshold),
            (TopRole::Targets, &change.add_targets, change.targets_threshold),
        ];
        for (role, add, threshold) in edited {
            let keys = edit(&old.role(role)?, add, &change.remove, threshold, &mut unused)?;
            new.set_role(role, &keys)?;
        }
        if let Some(id) = unused.first() {
            return Err(mismatch("key to remove", "the id of a root or targets key", id));
        }
        if change.online_keys {
            let registry = Registry {
                transport: self.transport.as_ref(),
                namespace: &record.name,
            };
            let fresh = registry.next_online_keys()?;
            new.set_role(TopRole::Snapshot, &RoleKeys::single(fresh.snapshot))?;
            new.set_role(TopRole::Timestamp, &RoleKeys::single(fresh.timestamp))?;
        }
        if new == old && !change.renew {
            return Err(mismatch("change", "another key or threshold, or --renew", "none"));
        }
        new.advance(default_expiry("root", at)?)?;
        let mut roles = BTreeMap::new();
        let parent = Some(refresh::digest(&base.root));
        roles.insert("root".to_owned(), new.sign(&[], Some(&old))?.publish(parent)?);

        let listed = new.role(TopRole::Targets)?;
        let at_hand = self.folder.keys_at_hand(KeyRole::Targets, &*self.passphrase)?;
        let held = listed.held(&refs(&at_hand));
        let enough = held.is_ok_and(|held| held.len() as u64 >= listed.threshold);
        if listed != old.role(TopRole::Targets)? || top.expires()? <= now || (change.renew && enough) {
            top.advance(default_expiry("targets", at)?)?;
            let parent = Some(refresh::digest(&base.targets));
            roles.insert("targets".to_owned(), top.sign(&[], None)?.publish(parent)?);
        }
        Ok(Proposal::new(&record, roles, at))
    }
}

pub(super) fn id(key: &assay_schema::tuf::TufKey) -> Result<String, PublishError> {
    key_id(key).map_err(|e| mismatch("key", "one with an id", e))
}

/// Adds and removes keys; the ids that it found are taken out of `unused`.
pub(super) fn edit(
    old: &RoleKeys,
    add: &[PublicKey],
    remove: &[String],
    threshold: Option<u64>,
    unused: &mut Vec<String>,
) -> Result<RoleKeys, PublishError> {
    let mut keys = Vec::new();
    for key in &old.keys {
        let id = id(key)?;
        let named = |wanted: &String| wanted.len() >= 8 && id.starts_with(wanted.as_str());
        match remove.iter().any(named) {
            true => unused.retain(|wanted| !named(wanted)),
            false => keys.push(key.clone()),
        }
    }
    for key in add {
        let key = key
            .to_tuf()
            .map_err(|e| mismatch("key to add", "one for TUF", e))?;
        if !keys.contains(&key) {
            keys.push(key);
        }
    }
    Ok(RoleKeys {
        keys,
        threshold: threshold.unwrap_or(old.threshold),
    })
}
