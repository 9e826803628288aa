//! The next root: other keys, other thresholds, a later expiry.

use std::collections::BTreeMap;

use assay_authority::PublicKey;
use assay_authority::metadata::{RoleKeys, Root, Targets, TopRole, default_expiry};
use assay_authority::public::key_id;
use assay_schema::api::OnlineKeys;
use jiff::Timestamp;

use super::authority::{KeyRole, NamespaceRecord};
use super::namespace::refs;
use super::proposal::{Proposal, mismatch};
use super::refresh::{self, Current};
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
        let mut next = self.succession(now)?;
        let mut unused = change.remove.clone();
        let edited = [
            (TopRole::Root, &change.add_root, change.root_threshold),
            (TopRole::Targets, &change.add_targets, change.targets_threshold),
        ];
        for (role, add, threshold) in edited {
            let keys = edit(&next.old.role(role)?, add, &change.remove, threshold, &mut unused)?;
            next.new.set_role(role, &keys)?;
        }
        if let Some(id) = unused.first() {
            return Err(mismatch("key to remove", "the id of a root or targets key", id));
        }
        if change.online_keys {
            let registry = Registry {
                transport: self.transport.as_ref(),
                namespace: &next.record.name,
            };
            next.online(registry.next_online_keys()?)?;
        }
        if next.new == next.old && !change.renew {
            return Err(mismatch("change", "another key or threshold, or --renew", "none"));
        }
        let other_keys = next.new.role(TopRole::Targets)? != next.old.role(TopRole::Targets)?;
        let with_targets = other_keys
            || next.top.expires()? <= now
            || (change.renew && self.signs_targets_under(&next.new)?);
        next.propose(with_targets)
    }

    /// What the next root builds on, verified.
    pub(super) fn succession(&self, now: Timestamp) -> Result<Succession, PublishError> {
        let record = self.folder.namespace()?;
        let base = self.base(&record, None, now)?;
        let (old, top) = (Root::read(&base.root)?, Targets::read(&base.targets)?);
        let versions = BTreeMap::from([
            ("root".to_owned(), old.version()? + 1),
            ("targets".to_owned(), top.version()? + 1),
        ]);
        let at = self.folder.signing_time(record.identity, &versions, now)?;
        let new = old.clone();
        Ok(Succession {
            record,
            base,
            old,
            new,
            top,
            at,
        })
    }

    /// Whether this folder's keys alone sign targets metadata under a root.
    pub(super) fn signs_targets_under(&self, root: &Root) -> Result<bool, PublishError> {
        let listed = root.role(TopRole::Targets)?;
        let at_hand = self.folder.keys_at_hand(KeyRole::Targets, &*self.passphrase)?;
        let held = listed.held(&refs(&at_hand));
        Ok(held.is_ok_and(|held| held.len() as u64 >= listed.threshold))
    }
}

/// A root, the one that is to follow it, and the targets metadata that may change with it.
pub(super) struct Succession {
    pub(super) record: NamespaceRecord,
    base: Current,
    old: Root,
    /// Not yet of the next version.
    pub(super) new: Root,
    /// Likewise.
    pub(super) top: Targets,
    /// The time from which expiry counts.
    at: Timestamp,
}

impl Succession {
    /// Lists a registry's online keys.
    pub(super) fn online(&mut self, keys: OnlineKeys) -> Result<(), PublishError> {
        self.new
            .set_role(TopRole::Snapshot, &RoleKeys::single(keys.snapshot))?;
        self.new
            .set_role(TopRole::Timestamp, &RoleKeys::single(keys.timestamp))?;
        Ok(())
    }

    /// The next versions, without signatures.
    pub(super) fn propose(mut self, with_targets: bool) -> Result<Proposal, PublishError> {
        self.new.advance(default_expiry("root", self.at)?)?;
        let parent = Some(refresh::digest(&self.base.root));
        let root = self.new.sign(&[], Some(&self.old))?.publish(parent)?;
        let mut roles = BTreeMap::from([("root".to_owned(), root)]);
        if with_targets {
            self.top.advance(default_expiry("targets", self.at)?)?;
            let parent = Some(refresh::digest(&self.base.targets));
            roles.insert("targets".to_owned(), self.top.sign(&[], None)?.publish(parent)?);
        }
        Ok(Proposal::new(&self.record, roles, self.at))
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
