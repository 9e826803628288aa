//! The keys of a role, and their place in root metadata and delegations.

use std::collections::{BTreeMap, BTreeSet};

use assay_schema::tuf::TufKey;
use serde_json::{Map, Value};

use super::error::{MetadataError, field};
use crate::key::{KeyError, SigningKey};
use crate::public::{PublicKey, key_id};

/// The keys of a role, and how many of them must sign.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoleKeys {
    /// The public keys, each once.
    pub keys: Vec<TufKey>,
    /// How many of them must sign: 1 to their number.
    pub threshold: u64,
}

impl RoleKeys {
    /// The public halves of these keys.
    ///
    /// # Errors
    /// [`KeyError::NotForTuf`].
    pub fn of(keys: &[&SigningKey], threshold: u64) -> Result<Self, KeyError> {
        let keys = keys.iter().map(|key| key.tuf_key()).collect::<Result<_, _>>()?;
        Ok(Self { keys, threshold })
    }

    /// The one key of a role that one key signs.
    pub fn single(key: TufKey) -> Self {
        Self {
            keys: vec![key],
            threshold: 1,
        }
    }

    /// The key ids, in the order of the keys.
    ///
    /// # Errors
    /// [`KeyError::Encoding`].
    pub fn ids(&self) -> Result<Vec<String>, KeyError> {
        self.keys.iter().map(key_id).collect()
    }

    /// Checks that each of these keys is one of the role's, and that they are enough.
    ///
    /// # Errors
    /// [`MetadataError::NotListed`] or [`MetadataError::NotEnough`].
    pub fn require(&self, role: &str, signers: &[&SigningKey]) -> Result<(), MetadataError> {
        self.require_listed(role, signers)?;
        let different: BTreeSet<_> = signers.iter().map(|key| key.public_key()).collect();
        if (different.len() as u64) < self.threshold {
            return Err(MetadataError::NotEnough {
                role: role.to_owned(),
                threshold: self.threshold,
                found: different.len(),
            });
        }
        Ok(())
    }

    /// Those of these keys that the role lists.
    ///
    /// # Errors
    /// [`KeyError::Encoding`].
    pub fn held<'k>(&self, keys: &[&'k SigningKey]) -> Result<Vec<&'k SigningKey>, KeyError> {
        let listed = self.ids()?;
        let mut held = Vec::new();
        for key in keys {
            // A kind that TUF knows no scheme for cannot be listed.
            if key.key_id().is_ok_and(|id| listed.contains(&id)) {
                held.push(*key);
            }
        }
        Ok(held)
    }

    pub(super) fn require_listed(&self, role: &str, signers: &[&SigningKey]) -> Result<(), MetadataError> {
        let listed = self.ids()?;
        for signer in signers {
            let key_id = signer.key_id()?;
            if !listed.contains(&key_id) {
                return Err(MetadataError::NotListed {
                    role: role.to_owned(),
                    key_id,
                });
            }
        }
        Ok(())
    }

    /// Checks threshold and keys, and gives the keys by their points.
    pub(crate) fn check(&self, role: &str) -> Result<BTreeMap<PublicKey, String>, MetadataError> {
        let mut points = BTreeMap::new();
        for key in &self.keys {
            let key_id = key_id(key)?;
            // Two spellings of one key have two ids, and would count twice towards the threshold.
            if points.insert(PublicKey::from_tuf(key)?, key_id.clone()).is_some() {
                return Err(MetadataError::SameKeyTwice {
                    role: role.to_owned(),
                    key_id,
                });
            }
        }
        if self.threshold == 0 || self.threshold > points.len() as u64 {
            return Err(MetadataError::Threshold {
                role: role.to_owned(),
                keys: points.len(),
                found: self.threshold,
            });
        }
        Ok(points)
    }
}

/// Writes `keyids` and `threshold` into a role object and its keys into the map beside it.
pub(super) fn write(
    entry: &mut Map<String, Value>,
    keys: &mut Map<String, Value>,
    role: &str,
    role_keys: &RoleKeys,
) -> Result<(), MetadataError> {
    let mut ids = Vec::with_capacity(role_keys.keys.len());
    for key in &role_keys.keys {
        let id = key_id(key)?;
        let value = serde_json::to_value(key).map_err(|e| MetadataError::Json {
            role: role.to_owned(),
            source: e.into(),
        })?;
        keys.insert(id.clone(), value);
        ids.push(id);
    }
    ids.sort_unstable();
    entry.insert("keyids".to_owned(), ids.into());
    entry.insert("threshold".to_owned(), role_keys.threshold.into());
    Ok(())
}

/// Reads `keyids` and `threshold` of a role object and its keys from the map beside it.
pub(super) fn read(
    file: &str,
    entry: &Map<String, Value>,
    keys: &Map<String, Value>,
    role: &str,
) -> Result<RoleKeys, MetadataError> {
    let threshold = entry
        .get("threshold")
        .and_then(Value::as_u64)
        .ok_or_else(|| field(file, format!("threshold of {role}"), "a number", "something else"))?;
    let ids = entry
        .get("keyids")
        .and_then(Value::as_array)
        .ok_or_else(|| field(file, format!("keyids of {role}"), "a list", "something else"))?;
    let mut found = Vec::with_capacity(ids.len());
    for id in ids {
        let declared = id
            .as_str()
            .ok_or_else(|| field(file, format!("keyids of {role}"), "text", id))?;
        let value = keys
            .get(declared)
            .ok_or_else(|| field(file, format!("keyids of {role}"), "ids of listed keys", declared))?;
        let key: TufKey = serde_json::from_value(value.clone())
            .map_err(|e| field(file, format!("key {declared}"), "a TUF key", e))?;
        let computed = key_id(&key)?;
        if computed != declared {
            return Err(MetadataError::KeyId {
                role: file.to_owned(),
                declared: declared.to_owned(),
                computed,
            });
        }
        found.push(key);
    }
    Ok(RoleKeys {
        keys: found,
        threshold,
    })
}

/// Drops the keys that no role object names.
pub(super) fn drop_unused<'a>(keys: &mut Map<String, Value>, entries: impl Iterator<Item = &'a Value>) {
    let used: BTreeSet<String> = entries
        .filter_map(|entry| entry.get("keyids")?.as_array())
        .flatten()
        .filter_map(|id| id.as_str().map(str::to_owned))
        .collect();
    keys.retain(|id, _| used.contains(id));
}
