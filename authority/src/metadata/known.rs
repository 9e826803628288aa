//! Files reduced to what this software knows: what it writes, and all that it can show to whoever signs.
//!
//! TUF readers ignore fields that they do not know, and keep them (TUF 1.0.31, 4.1). Whoever signs cannot: a field that is
//! nothing to this software may be a trust decision to another reader of the same bytes.

use std::collections::BTreeSet;
use std::fmt;

use assay_schema::status;
use assay_schema::tuf::{FIELD, ModelRole};
use serde_json::{Map, Value, json};

use super::TopRole;
use super::document::Document;
use super::error::{MetadataError, field};
use super::keys;
use super::root::Root;
use super::targets::{Targets, target_entry};
use crate::public::key_id;

/// A place where a file is other than this software would have written it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unknown {
    /// A JSON pointer (RFC 6901) into `signed`.
    pub at: String,
    /// What this software would have written there, if anything.
    pub known: Option<Value>,
    /// What is there, if anything.
    pub found: Option<Value>,
}

impl fmt::Display for Unknown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown =
            |value: &Option<Value>| value.as_ref().map_or_else(|| "none".to_owned(), Value::to_string);
        write!(f, "{}: {} -> {}", self.at, shown(&self.found), shown(&self.known))
    }
}

impl Root {
    /// The same file with what this software knows of it, and nothing else: the four roles, their keys, consistent snapshots.
    ///
    /// # Errors
    /// [`MetadataError::Field`] or [`MetadataError::KeyId`]: a role or key that cannot be read.
    pub fn known(&self) -> Result<Self, MetadataError> {
        let mut document = self.document().bare()?;
        document.put("consistent_snapshot", &true)?;
        let (mut roles, mut all_keys) = (Map::new(), Map::new());
        for role in TopRole::ALL {
            let entry = self.document().object("roles")?.get(role.as_str());
            let role_keys = self.role(role)?;
            for key in &role_keys.keys {
                all_keys.insert(key_id(key)?, json!(key));
            }
            let ids = entry.and_then(|entry| entry.get("keyids"));
            roles.insert(
                role.as_str().to_owned(),
                json!({"keyids": ids, "threshold": role_keys.threshold}),
            );
        }
        document.put("keys", &all_keys)?;
        document.put("roles", &roles)?;
        Ok(Self::of(document))
    }

    /// Where the file is other than [`Root::known`].
    ///
    /// # Errors
    /// As [`Root::known`].
    pub fn unknown(&self) -> Result<Vec<Unknown>, MetadataError> {
        Ok(differences(&self.signed_value(), &self.known()?.signed_value()))
    }
}

impl Targets {
    /// The same file with what this software knows of it, and nothing else: of a target its length, SHA-256 and note; of the
    /// delegation of a model's role or of `status` its keys, its one path and its terms. A delegation to any other role stays as it
    /// is, with its keys: whoever signs is shown all of it.
    ///
    /// # Errors
    /// [`MetadataError::Field`] or [`MetadataError::KeyId`]: a target, delegation or key that cannot be read, inline bytes that are
    /// not their target's, or two delegations of one name.
    pub fn known(&self) -> Result<Self, MetadataError> {
        let mut document = self.document().bare()?.bound(self.binding()?.namespace)?;
        let mut targets = Map::new();
        for (path, target) in self.targets()? {
            self.check_inline(&path, &target)?;
            targets.insert(path, target_entry(self.role(), &target)?);
        }
        document.put("targets", &targets)?;
        if self.role() == TopRole::Targets.as_str()
            && let Some(found) = self.document().signed.get("delegations")
        {
            document.put("delegations", &self.known_delegations(found)?)?;
        }
        Ok(Self::of(document))
    }

    /// Where the file is other than [`Targets::known`].
    ///
    /// # Errors
    /// As [`Targets::known`].
    pub fn unknown(&self) -> Result<Vec<Unknown>, MetadataError> {
        Ok(differences(&self.signed_value(), &self.known()?.signed_value()))
    }

    fn known_delegations(&self, found: &Value) -> Result<Value, MetadataError> {
        let bad = |what: &str, expected: &str| field(self.role(), what, expected, "something else");
        let listed = found.get("keys").and_then(Value::as_object);
        let listed = listed.ok_or_else(|| bad("delegations", "keys"))?;
        let roles = found.get("roles").and_then(Value::as_array);
        let roles = roles.ok_or_else(|| bad("delegations", "roles"))?;
        let (mut names, mut all_keys, mut known) = (BTreeSet::new(), Map::new(), Vec::new());
        for entry in roles {
            let entry = entry.as_object().ok_or_else(|| bad("delegations", "objects"))?;
            let name = entry.get("name").and_then(Value::as_str);
            let name = name.ok_or_else(|| bad("delegations", "roles with names"))?;
            // Whoever reads the file takes one of them, and whoever signs it would be shown the other.
            if !names.insert(name) {
                return Err(field(self.role(), format!("delegations of {name}"), "one", "two"));
            }
            let role_keys = keys::read(self.role(), entry, listed, name)?;
            for key in &role_keys.keys {
                all_keys.insert(key_id(key)?, json!(key));
            }
            let model = ModelRole::parse(name);
            let path = match &model {
                Some(role) => role.pattern(),
                None if name == status::ROLE => status::TARGET.to_owned(),
                None => {
                    known.push(Value::Object(entry.clone()));
                    continue;
                }
            };
            role_keys.check(name)?;
            let mut form = json!({
                "name": name,
                "keyids": entry.get("keyids"),
                "threshold": role_keys.threshold,
                "paths": [path],
                "terminating": true,
            });
            if let (Some(role), Some(form)) = (&model, form.as_object_mut()) {
                let terms = self.delegation(role)?.map(|delegation| json!(delegation.terms));
                form.insert(FIELD.to_owned(), terms.unwrap_or_default());
            }
            known.push(form);
        }
        Ok(json!({"keys": all_keys, "roles": known}))
    }
}

impl Document {
    /// The fields that every role has, as they are.
    fn bare(&self) -> Result<Self, MetadataError> {
        let mut signed = Map::new();
        for name in ["_type", "spec_version", "version"] {
            signed.extend(
                self.signed
                    .get(name)
                    .map(|value| (name.to_owned(), value.clone())),
            );
        }
        let role = self.role.clone();
        let mut bare = Self { role, signed };
        bare.set_expires(self.expires()?)?;
        Ok(bare)
    }
}

fn differences(found: &Value, known: &Value) -> Vec<Unknown> {
    let mut all = Vec::new();
    compare(String::new(), Some(found), Some(known), &mut all);
    all
}

fn compare(at: String, found: Option<&Value>, known: Option<&Value>, all: &mut Vec<Unknown>) {
    match (found, known) {
        (found, known) if found == known => {}
        (Some(Value::Object(f)), Some(Value::Object(k))) => {
            let names: BTreeSet<_> = f.keys().chain(k.keys()).collect();
            for name in names {
                let part = name.replace('~', "~0").replace('/', "~1");
                compare(format!("{at}/{part}"), f.get(name), k.get(name), all);
            }
        }
        (Some(Value::Array(f)), Some(Value::Array(k))) if f.len() == k.len() => {
            for (n, (f, k)) in f.iter().zip(k).enumerate() {
                compare(format!("{at}/{n}"), Some(f), Some(k), all);
            }
        }
        (found, known) => all.push(Unknown {
            at,
            known: known.cloned(),
            found: found.cloned(),
        }),
    }
}
