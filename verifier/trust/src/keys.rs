//! One raw key never counts twice.
//!
//! `sigstore-tuf` counts distinct key *ids*, and TUF lets an id be any string: one key under two ids would count twice towards a
//! threshold. Keys are therefore compared by their raw bytes, whatever their encoding.

use std::collections::{BTreeMap, BTreeSet};

use sigstore_tuf::Key;
use sigstore_tuf::metadata::{Delegations, Root};

use crate::error::TrustError;

/// The roles that every root lists (TUF 4.3).
const TOP_LEVEL: [&str; 4] = ["root", "targets", "snapshot", "timestamp"];

/// Raw public key bytes; keys of schemes that the verifier does not know cannot sign anything and have none.
fn raw(key: &Key) -> Option<Vec<u8>> {
    key.verification_key().ok().map(|key| key.as_bytes().to_vec())
}

fn distinct<'a>(
    subject: &str,
    keys: impl IntoIterator<Item = (&'a String, &'a Key)>,
) -> Result<BTreeMap<Vec<u8>, String>, TrustError> {
    let mut seen: BTreeMap<Vec<u8>, String> = BTreeMap::new();
    for (id, key) in keys {
        let Some(raw) = raw(key) else { continue };
        if let Some(first) = seen.insert(raw, id.clone()) {
            return Err(TrustError::OneKeyTwoIds {
                subject: subject.to_owned(),
                first,
                second: id.clone(),
            });
        }
    }
    Ok(seen)
}

/// Checks a root's keys: no two ids for one raw key, the four roles present with sane thresholds, no key in two of them.
pub(crate) fn check_root(root: &Root) -> Result<(), TrustError> {
    distinct("root", &root.keys)?;
    let mut owner: BTreeMap<&str, &str> = BTreeMap::new();
    for name in TOP_LEVEL {
        let role = root.role(name).ok_or_else(|| TrustError::Malformed {
            subject: "root".into(),
            expected: format!("the role {name}"),
            found: "none".into(),
        })?;
        let ids: BTreeSet<&str> = role.keyids.iter().map(String::as_str).collect();
        if role.threshold == 0 || role.threshold > ids.len() {
            return Err(TrustError::Malformed {
                subject: format!("root, role {name}"),
                expected: format!("a threshold between 1 and {}", ids.len()),
                found: role.threshold.to_string(),
            });
        }
        for id in ids {
            if let Some(other) = owner.insert(id, name) {
                return Err(TrustError::OneKeyTwoRoles {
                    key: id.to_owned(),
                    first: other.to_owned(),
                    second: name.to_owned(),
                });
            }
        }
    }
    if !root.consistent_snapshot {
        return Err(TrustError::Malformed {
            subject: "root".into(),
            expected: "consistent_snapshot: true".into(),
            found: "false".into(),
        });
    }
    Ok(())
}

/// Checks the keys of delegations: no two ids for one raw key, and none that serves a top-level role.
///
/// One publisher's key may serve several model roles: `x-assay` keeps their files apart.
pub(crate) fn check_delegations(
    root: &Root,
    delegator: &str,
    delegations: &Delegations,
) -> Result<(), TrustError> {
    let delegated = distinct(delegator, &delegations.keys)?;
    for name in TOP_LEVEL {
        let Some(role) = root.role(name) else { continue };
        for (id, key) in role.keyids.iter().filter_map(|id| root.keys.get_key_value(id)) {
            if let Some(second) = raw(key).and_then(|raw| delegated.get(&raw)) {
                return Err(TrustError::OneKeyTwoRoles {
                    key: id.clone(),
                    first: name.to_owned(),
                    second: format!("a role that {delegator} delegates to (as key {second})"),
                });
            }
        }
    }
    for role in &delegations.roles {
        let ids: BTreeSet<&String> = role.keyids.iter().collect();
        if role.threshold == 0 || role.threshold > ids.len() {
            return Err(TrustError::Malformed {
                subject: format!("{delegator}, delegation {}", role.name),
                expected: format!("a threshold between 1 and {}", ids.len()),
                found: role.threshold.to_string(),
            });
        }
    }
    Ok(())
}

/// Whether a key that signed timestamps or snapshots under `old` no longer does under `new` (TUF 5.3.11).
pub(crate) fn online_keys_rotated(old: &Root, new: &Root) -> bool {
    let raws = |root: &Root, name: &str| -> BTreeSet<Vec<u8>> {
        root.role(name)
            .map(|role| {
                role.keyids
                    .iter()
                    .filter_map(|id| root.keys.get(id))
                    .filter_map(raw)
                    .collect()
            })
            .unwrap_or_default()
    };
    ["timestamp", "snapshot"]
        .iter()
        .any(|name| !raws(old, name).is_subset(&raws(new, name)))
}
