//! Root metadata: which keys sign for which role.

use std::collections::BTreeMap;

use assay_schema::limits::MAX_ROOT;
use jiff::Timestamp;
use serde_json::{Map, Value};

use super::TopRole;
use super::document::{Document, advance_known, common};
use super::error::{MetadataError, field};
use super::keys::{self, RoleKeys};
use super::signed::Signed;
use crate::key::SigningKey;
use crate::public::PublicKey;

/// Root metadata. The SHA-256 of a namespace's first root file is its identity, so root alone carries no `x-assay` binding.
#[derive(Debug, Clone, PartialEq)]
pub struct Root {
    document: Document,
}

common!(Root);
advance_known!(Root);

impl Root {
    /// Version 1, with consistent snapshots.
    ///
    /// # Errors
    /// [`MetadataError::Threshold`], [`MetadataError::SameKeyTwice`], [`MetadataError::KeyInTwoRoles`],
    /// [`MetadataError::Key`] or [`MetadataError::Expiry`].
    pub fn new(
        root: &RoleKeys,
        targets: &RoleKeys,
        snapshot: &RoleKeys,
        timestamp: &RoleKeys,
        expires: Timestamp,
    ) -> Result<Self, MetadataError> {
        let mut document = Document::new("root", "root", 1, expires)?;
        document.put("consistent_snapshot", &true)?;
        document.put("keys", &Map::new())?;
        document.put("roles", &Map::new())?;
        let mut made = Self { document };
        for (role, keys) in TopRole::ALL.into_iter().zip([root, targets, snapshot, timestamp]) {
            made.write_role(role, keys)?;
        }
        made.check()?;
        Ok(made)
    }

    /// Reads a root file, whatever else it holds.
    ///
    /// # Errors
    /// [`MetadataError::Json`], [`MetadataError::Field`] or [`MetadataError::Expiry`].
    pub fn read(bytes: &[u8]) -> Result<Self, MetadataError> {
        let document = Document::read("root", bytes, MAX_ROOT)?;
        document.object("keys")?;
        document.object("roles")?;
        Ok(Self { document })
    }

    /// The keys and threshold of a role.
    ///
    /// # Errors
    /// [`MetadataError::Field`]: the role is not there; [`MetadataError::KeyId`].
    pub fn role(&self, role: TopRole) -> Result<RoleKeys, MetadataError> {
        let name = role.as_str();
        let entry = self
            .document
            .object("roles")?
            .get(name)
            .and_then(Value::as_object)
            .ok_or_else(|| field("root", format!("role {name}"), "keys and a threshold", "none"))?;
        keys::read("root", entry, self.document.object("keys")?, name)
    }

    /// Gives a role other keys; keys that no role uses any more are dropped. Rotates nothing by itself: [`Root::advance`] and
    /// [`Root::sign`] with enough old and new root keys do.
    ///
    /// # Errors
    /// As [`Root::new`]; the metadata is as it was then.
    pub fn set_role(&mut self, role: TopRole, keys: &RoleKeys) -> Result<(), MetadataError> {
        let mut changed = self.clone();
        changed.write_role(role, keys)?;
        changed.check()?;
        *self = changed;
        Ok(())
    }

    fn write_role(&mut self, role: TopRole, role_keys: &RoleKeys) -> Result<(), MetadataError> {
        role_keys.check(role.as_str())?;
        let mut keys = std::mem::take(self.document.object_mut("keys")?);
        let roles = self.document.object_mut("roles")?;
        let entry = roles
            .entry(role.as_str())
            .or_insert_with(|| Value::Object(Map::new()))
            .as_object_mut()
            .ok_or_else(|| {
                field(
                    "root",
                    format!("role {}", role.as_str()),
                    "an object",
                    "something else",
                )
            })?;
        keys::write(entry, &mut keys, role.as_str(), role_keys)?;
        keys::drop_unused(&mut keys, roles.values());
        self.document
            .signed
            .insert("keys".to_owned(), Value::Object(keys));
        Ok(())
    }

    /// Checks what root metadata must not do, whoever wrote it.
    ///
    /// # Errors
    /// As [`Root::new`].
    pub fn check(&self) -> Result<(), MetadataError> {
        let mut seen: BTreeMap<PublicKey, &str> = BTreeMap::new();
        for role in TopRole::ALL {
            for (point, key_id) in self.role(role)?.check(role.as_str())? {
                if let Some(first) = seen.insert(point, role.as_str()) {
                    return Err(MetadataError::KeyInTwoRoles {
                        first: first.to_owned(),
                        second: role.as_str().to_owned(),
                        key_id,
                    });
                }
            }
        }
        Ok(())
    }

    /// The top-level role that lists this key, if one does.
    ///
    /// # Errors
    /// As [`Root::role`].
    pub fn role_of(&self, key: &PublicKey) -> Result<Option<TopRole>, MetadataError> {
        for role in TopRole::ALL {
            if self.role(role)?.check(role.as_str())?.contains_key(key) {
                return Ok(Some(role));
            }
        }
        Ok(None)
    }

    /// Signs. The keys must be root keys of this version or, in a rotation, of `previous` (TUF 5.3.4 wants both thresholds).
    ///
    /// # Errors
    /// [`MetadataError::NotListed`], or what [`Root::new`] would have refused.
    pub fn sign(&self, keys: &[&SigningKey], previous: Option<&Self>) -> Result<Signed, MetadataError> {
        self.check()?;
        let mut listed = self.role(TopRole::Root)?;
        if let Some(previous) = previous {
            listed.keys.extend(previous.role(TopRole::Root)?.keys);
        }
        listed.require_listed("root", keys)?;
        self.document.sign(keys)
    }
}
