//! Targets metadata: the top-level role's delegations and `trust/*`, and a model role's releases.

use std::collections::BTreeMap;

use assay_schema::Sha256Digest;
use assay_schema::canonical::{self, JsonError};
use assay_schema::limits::{MAX_INTEGER, MAX_TARGETS};
use assay_schema::status::{self, Status};
use assay_schema::tuf::{Binding, DelegationTerms, FIELD, ModelRole, TargetNote};
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::document::{Document, advance_known, common};
use super::error::{MetadataError, field};
use super::keys::{self, RoleKeys};
use super::root::Root;
use super::signed::Signed;
use crate::key::SigningKey;
use crate::public::sha256;

const TOP: &str = "targets";
const RELEASES: &str = "models/";

/// Targets metadata of the top-level role or of a model role.
#[derive(Debug, Clone, PartialEq)]
pub struct Targets {
    document: Document,
}

common!(Targets);
advance_known!(Targets);

/// A target: what a path must hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Bytes.
    pub length: u64,
    /// SHA-256 of the bytes.
    pub sha256: Sha256Digest,
    /// Assay's additions.
    pub note: TargetNote,
}

impl Target {
    /// The target of these bytes, without additions.
    pub fn of(bytes: &[u8]) -> Self {
        Self {
            length: bytes.len() as u64,
            sha256: sha256(bytes),
            note: TargetNote::default(),
        }
    }
}

/// A model role as the top-level targets metadata delegates to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delegation {
    /// Whose keys sign, and how many.
    pub keys: RoleKeys,
    /// How far they may go.
    pub terms: DelegationTerms,
}

impl Targets {
    /// The first version of the top-level targets metadata of a namespace.
    ///
    /// # Errors
    /// [`MetadataError::Expiry`].
    pub fn top_level(namespace: Sha256Digest, expires: Timestamp) -> Result<Self, MetadataError> {
        Self::new(TOP, namespace, expires)
    }

    /// The first version of a model role's metadata.
    ///
    /// # Errors
    /// [`MetadataError::Expiry`].
    pub fn model_role(
        role: &ModelRole,
        namespace: Sha256Digest,
        expires: Timestamp,
    ) -> Result<Self, MetadataError> {
        Self::new(&role.name(), namespace, expires)
    }

    /// The first version of the status role's metadata.
    ///
    /// # Errors
    /// [`MetadataError::Expiry`], or as [`Targets::set_status`].
    pub fn status_role(
        content: &Status,
        namespace: Sha256Digest,
        expires: Timestamp,
    ) -> Result<Self, MetadataError> {
        let mut made = Self::new(status::ROLE, namespace, expires)?;
        made.set_status(content)?;
        Ok(made)
    }

    /// Replaces `status.json`, which stands in its own entry.
    ///
    /// # Errors
    /// [`MetadataError::NotItsPath`] in another role, or [`MetadataError::Json`] for one that no device would read.
    pub fn set_status(&mut self, content: &Status) -> Result<(), MetadataError> {
        let json = |source: JsonError| MetadataError::Json {
            role: status::TARGET.to_owned(),
            source,
        };
        let bytes = canonical::document(content).map_err(json)?;
        Status::parse(&bytes).map_err(json)?;
        let mut target = Target::of(&bytes);
        target.note.inline = Some(String::from_utf8_lossy(&bytes).into_owned());
        self.set_target(status::TARGET, &target)
    }

    /// `status.json` of the status role.
    ///
    /// # Errors
    /// [`MetadataError::Field`] or [`MetadataError::Json`]: there is none that can be read.
    pub fn status(&self) -> Result<Status, MetadataError> {
        let inline = self.target(status::TARGET)?.and_then(|t| t.note.inline);
        let inline = inline.ok_or_else(|| field(self.role(), status::TARGET, "its inline bytes", "none"))?;
        Status::parse(inline.as_bytes()).map_err(|source| MetadataError::Json {
            role: status::TARGET.to_owned(),
            source,
        })
    }

    fn new(role: &str, namespace: Sha256Digest, expires: Timestamp) -> Result<Self, MetadataError> {
        let mut document = Document::new(TOP, role, 1, expires)?.bound(namespace)?;
        document.put("targets", &Map::new())?;
        Ok(Self { document })
    }

    /// Reads a targets file, whatever else it holds. Its role is that of its `x-assay` binding.
    ///
    /// # Errors
    /// [`MetadataError::Json`], [`MetadataError::Field`] or [`MetadataError::Expiry`].
    pub fn read(bytes: &[u8]) -> Result<Self, MetadataError> {
        let document = Document::read(TOP, bytes, MAX_TARGETS)?;
        let known = [TOP, status::ROLE].contains(&document.role.as_str());
        if !known && ModelRole::parse(&document.role).is_none() {
            return Err(field(
                TOP,
                "x-assay role",
                "targets, status or model.<model>.<block>",
                &document.role,
            ));
        }
        document.object("targets")?;
        Ok(Self { document })
    }

    /// The namespace and role that it is for.
    ///
    /// # Errors
    /// None for metadata that was made or read here.
    pub fn binding(&self) -> Result<Binding, MetadataError> {
        self.document.binding()
    }

    /// The role's name.
    pub fn role(&self) -> &str {
        &self.document.role
    }

    /// A target by its path.
    ///
    /// # Errors
    /// [`MetadataError::Field`]: the entry has no length or no SHA-256.
    pub fn target(&self, path: &str) -> Result<Option<Target>, MetadataError> {
        self.document
            .object("targets")?
            .get(path)
            .map(|entry| self.parse_target(path, entry))
            .transpose()
    }

    /// All targets by path.
    ///
    /// # Errors
    /// As [`Targets::target`].
    pub fn targets(&self) -> Result<BTreeMap<String, Target>, MetadataError> {
        let entries = self.document.object("targets")?;
        entries
            .iter()
            .map(|(path, entry)| Ok((path.clone(), self.parse_target(path, entry)?)))
            .collect()
    }

    fn parse_target(&self, path: &str, entry: &Value) -> Result<Target, MetadataError> {
        let bad = |what: &str, found: &dyn ToString| {
            field(self.role(), format!("target {path}"), what, found.to_string())
        };
        let length = entry
            .get("length")
            .and_then(Value::as_u64)
            .ok_or_else(|| bad("a length", &"none"))?;
        let sha256 = entry
            .pointer("/hashes/sha256")
            .and_then(Value::as_str)
            .ok_or_else(|| bad("a SHA-256", &"none"))?
            .parse()
            .map_err(|e| bad("a SHA-256", &e))?;
        let note = match entry.get("custom").and_then(|custom| custom.get(FIELD)) {
            Some(note) => {
                serde_json::from_value(note.clone()).map_err(|e| bad("x-assay {order, inline}", &e))?
            }
            None => TargetNote::default(),
        };
        let target = Target { length, sha256, note };
        self.check_inline(path, &target)?;
        Ok(target)
    }

    /// A target's own bytes, where its entry holds them, are those that its length and digest name: devices refuse others.
    pub(super) fn check_inline(&self, path: &str, target: &Target) -> Result<(), MetadataError> {
        let Some(inline) = &target.note.inline else {
            return Ok(());
        };
        let found = (inline.len() as u64, sha256(inline.as_bytes()));
        match found == (target.length, target.sha256) {
            true => Ok(()),
            false => Err(field(
                self.role(),
                format!("inline bytes of {path}"),
                format!("{} bytes with SHA-256 {}", target.length, target.sha256),
                format!("{} with {}", found.0, found.1),
            )),
        }
    }

    /// Takes away a document under `trust/`; `false` if it is not listed. Releases stay.
    ///
    /// # Errors
    /// [`MetadataError::NotItsPath`]: no such document.
    pub fn remove_trust(&mut self, path: &str) -> Result<bool, MetadataError> {
        self.check_path(path)?;
        if path.starts_with(RELEASES) {
            return Err(MetadataError::NotItsPath {
                role: self.role().to_owned(),
                expected: "trust/* to remove".to_owned(),
                path: path.to_owned(),
            });
        }
        Ok(self.document.object_mut("targets")?.remove(path).is_some())
    }

    /// Adds or replaces a target. A release that is listed never changes: the same content again is accepted, other content
    /// is not. Nothing of an entry that is replaced stays.
    ///
    /// # Errors
    /// [`MetadataError::NotItsPath`], [`MetadataError::ReleaseChanged`], or [`MetadataError::Field`] for inline bytes that are
    /// not the target's.
    pub fn set_target(&mut self, path: &str, target: &Target) -> Result<(), MetadataError> {
        self.check_path(path)?;
        self.check_inline(path, target)?;
        if path.starts_with(RELEASES)
            && let Some(published) = self.target(path)?
        {
            if published == *target {
                return Ok(());
            }
            return Err(MetadataError::ReleaseChanged {
                path: path.to_owned(),
                published: describe(&published),
                found: describe(target),
            });
        }
        let entry = target_entry(self.role(), target)?;
        self.document
            .object_mut("targets")?
            .insert(path.to_owned(), entry);
        Ok(())
    }

    fn check_path(&self, path: &str) -> Result<(), MetadataError> {
        let (expected, fits) = match ModelRole::parse(self.role()) {
            Some(role) => {
                let pattern = role.pattern();
                let prefix = pattern.trim_end_matches('*');
                let fits = path
                    .strip_prefix(prefix)
                    .is_some_and(|name| !name.is_empty() && !name.contains('/'));
                (pattern, fits)
            }
            None if self.role() == status::ROLE => (status::TARGET.to_owned(), path == status::TARGET),
            None => (
                "no model: releases belong to the role that their block is delegated to".to_owned(),
                !path.starts_with(RELEASES) && !path.is_empty(),
            ),
        };
        if fits {
            Ok(())
        } else {
            Err(MetadataError::NotItsPath {
                role: self.role().to_owned(),
                expected,
                path: path.to_owned(),
            })
        }
    }

    /// A delegation by its role, if there is one.
    ///
    /// # Errors
    /// [`MetadataError::Field`] or [`MetadataError::KeyId`].
    pub fn delegation(&self, role: &ModelRole) -> Result<Option<Delegation>, MetadataError> {
        let name = role.name();
        let Some(delegations) = self.document.signed.get("delegations") else {
            return Ok(None);
        };
        let Some(entry) = delegations
            .get("roles")
            .and_then(Value::as_array)
            .and_then(|roles| {
                roles
                    .iter()
                    .find(|entry| entry.get("name").and_then(Value::as_str) == Some(&name))
            })
        else {
            return Ok(None);
        };
        let bad = |what: &str| field(self.role(), format!("delegation {name}"), what, "something else");
        let terms =
            serde_json::from_value(entry.get(FIELD).cloned().unwrap_or(Value::Null)).map_err(|e| {
                field(
                    self.role(),
                    format!("delegation {name}"),
                    "x-assay {max_epoch}",
                    e,
                )
            })?;
        let keys = delegations
            .get("keys")
            .and_then(Value::as_object)
            .ok_or_else(|| bad("keys"))?;
        let entry = entry.as_object().ok_or_else(|| bad("an object"))?;
        Ok(Some(Delegation {
            keys: keys::read(self.role(), entry, keys, &name)?,
            terms,
        }))
    }

    /// The model roles that are delegated, in their order.
    pub fn delegated(&self) -> Vec<ModelRole> {
        let roles = self
            .document
            .signed
            .get("delegations")
            .and_then(|d| d.get("roles"))
            .and_then(Value::as_array);
        roles
            .into_iter()
            .flatten()
            .filter_map(|entry| ModelRole::parse(entry.get("name")?.as_str()?))
            .collect()
    }

    /// Delegates a block of a model's releases, terminating, with its one path pattern; or gives a role that is delegated
    /// already other keys or terms. Several model roles may share keys, for the binding names the role in what they sign; a
    /// key of a top-level role is refused.
    ///
    /// # Errors
    /// [`MetadataError::KeyInTwoRoles`], [`MetadataError::SameKeyTwice`], [`MetadataError::Threshold`], or
    /// [`MetadataError::Field`] for terms out of range or if this is not the top-level role.
    pub fn delegate(
        &mut self,
        role: &ModelRole,
        delegation: &Delegation,
        root: &Root,
    ) -> Result<(), MetadataError> {
        let name = role.name();
        let epoch = delegation.terms.max_epoch;
        if !(1..=MAX_INTEGER).contains(&epoch) {
            return Err(field(TOP, format!("max_epoch of {name}"), "1 to 2^53-1", epoch));
        }
        let terms = json!({"max_epoch": epoch});
        self.write_delegation(name, &role.pattern(), &delegation.keys, Some(terms), root)
    }

    /// Delegates `status.json` to the status role, or gives it other keys.
    ///
    /// # Errors
    /// As [`Targets::delegate`].
    pub fn delegate_status(&mut self, keys: &RoleKeys, root: &Root) -> Result<(), MetadataError> {
        self.write_delegation(status::ROLE.to_owned(), status::TARGET, keys, None, root)
    }

    /// The keys of the status role, if it is delegated.
    ///
    /// # Errors
    /// [`MetadataError::Field`] or [`MetadataError::KeyId`].
    pub fn status_keys(&self) -> Result<Option<RoleKeys>, MetadataError> {
        let Some(delegations) = self.document.signed.get("delegations") else {
            return Ok(None);
        };
        let roles = delegations.get("roles").and_then(Value::as_array);
        let entry = roles
            .into_iter()
            .flatten()
            .filter_map(Value::as_object)
            .find(|entry| entry.get("name").and_then(Value::as_str) == Some(status::ROLE));
        let Some(entry) = entry else { return Ok(None) };
        let keys = delegations.get("keys").and_then(Value::as_object);
        let keys = keys.ok_or_else(|| field(self.role(), "delegations", "keys", "none"))?;
        keys::read(self.role(), entry, keys, status::ROLE).map(Some)
    }

    fn write_delegation(
        &mut self,
        name: String,
        pattern: &str,
        role_keys: &RoleKeys,
        terms: Option<Value>,
        root: &Root,
    ) -> Result<(), MetadataError> {
        if self.role() != TOP {
            return Err(field(
                self.role(),
                "delegation",
                "the top-level targets role to delegate",
                &name,
            ));
        }
        for (point, key_id) in role_keys.check(&name)? {
            if let Some(first) = root.role_of(&point)? {
                return Err(MetadataError::KeyInTwoRoles {
                    first: first.as_str().to_owned(),
                    second: name,
                    key_id,
                });
            }
        }
        let delegations = self.document.signed.get("delegations");
        let mut all_keys = match delegations.and_then(|d| d.get("keys")) {
            Some(Value::Object(found)) => found.clone(),
            _ => Map::new(),
        };
        let mut roles = match delegations.and_then(|d| d.get("roles")) {
            Some(Value::Array(found)) => found.clone(),
            _ => Vec::new(),
        };
        let at = roles
            .iter()
            .position(|entry| entry.get("name").and_then(Value::as_str) == Some(&name));
        at.map(|at| roles.remove(at));
        let mut entry = Map::new();
        keys::write(&mut entry, &mut all_keys, &name, role_keys)?;
        entry.insert("name".to_owned(), name.into());
        entry.insert("paths".to_owned(), json!([pattern]));
        entry.insert("terminating".to_owned(), true.into());
        if let Some(terms) = terms {
            entry.insert(FIELD.to_owned(), terms);
        }
        // The patterns are disjoint, so a role's place decides nothing; a role that was there keeps it all the same.
        roles.insert(at.unwrap_or(roles.len()), Value::Object(entry));
        keys::drop_unused(&mut all_keys, roles.iter());
        self.document
            .put("delegations", &json!({"keys": all_keys, "roles": roles}))
    }

    /// Signs. `listed` are the role's keys where they are known: root's for the top-level role, the delegation's for a model
    /// role. Fewer than the threshold may sign; [`RoleKeys::require`] asks for enough.
    ///
    /// # Errors
    /// [`MetadataError::NotListed`] or [`MetadataError::Json`].
    pub fn sign(&self, keys: &[&SigningKey], listed: Option<&RoleKeys>) -> Result<Signed, MetadataError> {
        if let Some(listed) = listed {
            listed.require_listed(self.role(), keys)?;
        }
        self.document.sign(keys)
    }
}

/// A target's entry as this software writes it.
pub(super) fn target_entry(role: &str, target: &Target) -> Result<Value, MetadataError> {
    let mut entry = json!({"length": target.length, "hashes": {"sha256": target.sha256}});
    if target.note != TargetNote::default()
        && let Some(entry) = entry.as_object_mut()
    {
        let note = serde_json::to_value(&target.note).map_err(|e| MetadataError::Json {
            role: role.to_owned(),
            source: e.into(),
        })?;
        entry.insert("custom".to_owned(), json!({FIELD: note}));
    }
    Ok(entry)
}

fn describe(target: &Target) -> String {
    match target.note.order {
        Some(order) => format!("{} (order {order})", target.sha256),
        None => target.sha256.to_hex(),
    }
}
