//! One raw key never counts twice.
//!
//! `sigstore-tuf` counts distinct key *ids*, and TUF lets an id be any string: one key under two ids would count twice towards a
//! threshold. Keys are therefore compared by their raw bytes, whatever their encoding.

use std::collections::{BTreeMap, BTreeSet};

use assay_provenance::PublicKey;
use sigstore_tuf::Key;
use sigstore_tuf::metadata::{Delegations, Root};

use crate::error::TrustError;
use crate::foreign::PKCS1;

/// The roles that every root lists (TUF 4.3).
const TOP_LEVEL: [&str; 4] = ["root", "targets", "snapshot", "timestamp"];

/// What DER puts before the 32 bytes of an Ed25519 key (RFC 8410 4).
const ED25519_SPKI: [u8; 12] = [
    0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
];

/// Raw public key bytes; keys of schemes that the verifier does not know cannot sign anything and have none.
///
/// An elliptic point has several encodings, all of which verify: a key in any but its one form could count twice.
fn raw(subject: &str, id: &str, key: &Key) -> Result<Option<Vec<u8>>, TrustError> {
    let Ok(usable) = key.verification_key() else {
        return Ok(None);
    };
    let form = match key.scheme.as_str() {
        "ed25519" => PublicKey::from_spki_der(&[&ED25519_SPKI, usable.as_bytes()].concat()),
        "ecdsa-sha2-nistp256" | "ecdsa-sha2-nistp384" => PublicKey::from_pem(key.keyval.public.trim()),
        _ => return Ok(Some(usable.as_bytes().to_vec())),
    };
    match form {
        Ok(one) if one.raw_bytes() == usable.as_bytes() => Ok(Some(one.raw_bytes().to_vec())),
        other => Err(TrustError::Malformed {
            subject: format!("{subject}, key {id}"),
            expected: "a key in its one form (an uncompressed point)".into(),
            found: other.map_or_else(|e| e.to_string(), |_| "another encoding of it".to_owned()),
        }),
    }
}

fn distinct<'a>(
    subject: &str,
    keys: impl IntoIterator<Item = (&'a String, &'a Key)>,
) -> Result<BTreeMap<Vec<u8>, String>, TrustError> {
    let mut seen: BTreeMap<Vec<u8>, String> = BTreeMap::new();
    for (id, key) in keys {
        let Some(raw) = raw(subject, id, key)? else {
            continue;
        };
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

/// Checks the keys of delegations: no two ids for one raw key, and none that serves a top-level role; and that each says by paths,
/// and by nothing else, what its role may sign.
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
            if let Some(second) = raw("root", id, key)?.and_then(|raw| delegated.get(&raw)) {
                return Err(TrustError::OneKeyTwoRoles {
                    key: id.clone(),
                    first: name.to_owned(),
                    second: format!("a role that {delegator} delegates to (as key {second})"),
                });
            }
        }
    }
    let mut names = BTreeSet::new();
    for role in &delegations.roles {
        // Signatures would be checked by the keys of the one, and paths and terms taken from the other.
        if !names.insert(&role.name) {
            return Err(TrustError::Malformed {
                subject: delegator.to_owned(),
                expected: format!("one delegation of {}", role.name),
                found: "two".into(),
            });
        }
        let malformed = |expected: String, found: String| TrustError::Malformed {
            subject: format!("{delegator}, delegation {}", role.name),
            expected,
            found,
        };
        // TUF 4.5: exactly one of the two. Where both stand, readers differ in which counts.
        let (paths, prefixes) = (&role.paths, &role.path_hash_prefixes);
        if paths.is_none() || prefixes.is_some() {
            let found = match (paths, prefixes) {
                (Some(_), _) => "both",
                (None, Some(_)) => "path_hash_prefixes",
                (None, None) => "neither",
            };
            return Err(malformed(
                "paths and no path_hash_prefixes".to_owned(),
                found.to_owned(),
            ));
        }
        let ids: BTreeSet<&String> = role.keyids.iter().collect();
        if role.threshold == 0 || role.threshold > ids.len() {
            return Err(malformed(
                format!("a threshold between 1 and {}", ids.len()),
                role.threshold.to_string(),
            ));
        }
    }
    Ok(())
}

/// Raw bytes of the keys with which an authority speaks for a delegated role: those of its root and targets roles, any of which can
/// replace the others, and the delegation's own. All were checked before.
pub(crate) fn of_authority(
    root: &Root,
    delegations: Option<&Delegations>,
    role: &str,
) -> Result<BTreeSet<Vec<u8>>, TrustError> {
    let top = ["root", "targets"].into_iter().filter_map(|name| root.role(name));
    let mut listed: Vec<(&String, &Key)> = top
        .flat_map(|r| &r.keyids)
        .filter_map(|id| root.keys.get_key_value(id))
        .collect();
    if let Some(delegations) = delegations {
        let own = delegations.roles.iter().filter(|d| d.name == role);
        let ids = own.flat_map(|d| &d.keyids);
        listed.extend(ids.filter_map(|id| delegations.keys.get_key_value(id)));
    }
    let raws = listed.into_iter().map(|(id, key)| raw(role, id, key));
    raws.filter_map(Result::transpose).collect()
}

/// Checks a foreign root's keys: the four roles present, no role with two ids for one raw key.
///
/// A threshold that no set of keys can meet is no reason to refuse the root (TUF 5.3.4 asks for the root role's only): the role
/// itself can then never be accepted.
pub(crate) fn check_foreign_root(root: &Root) -> Result<(), TrustError> {
    for name in TOP_LEVEL {
        let role = root.role(name).ok_or_else(|| TrustError::Malformed {
            subject: "root".into(),
            expected: format!("the role {name}"),
            found: "none".into(),
        })?;
        check_foreign_role(
            &format!("root, role {name}"),
            &root.keys,
            &role.keyids,
            role.threshold,
        )?;
    }
    Ok(())
}

/// Checks a foreign role's delegations, as `check_foreign_root`; and that each says without ambiguity who may sign what.
pub(crate) fn check_foreign_delegations(
    delegator: &str,
    delegations: &Delegations,
) -> Result<(), TrustError> {
    let mut names = BTreeSet::new();
    for role in &delegations.roles {
        let subject = format!("{delegator}, delegation {}", role.name);
        let malformed = |expected: &str, found: &str| TrustError::Malformed {
            subject: subject.clone(),
            expected: expected.to_owned(),
            found: found.to_owned(),
        };
        // Signatures would be checked by the keys of the one, and paths and terms taken from the other.
        if !names.insert(&role.name) {
            return Err(malformed("one delegation of this name", "two"));
        }
        if TOP_LEVEL.contains(&role.name.as_str()) {
            return Err(malformed("a name that is not a top-level role's", &role.name));
        }
        // TUF 4.5: exactly one of the two.
        match (&role.paths, &role.path_hash_prefixes) {
            (Some(_), None) | (None, Some(_)) => {}
            (Some(_), Some(_)) => return Err(malformed("paths or path_hash_prefixes", "both")),
            (None, None) => return Err(malformed("paths or path_hash_prefixes", "neither")),
        }
        check_foreign_role(&subject, &delegations.keys, &role.keyids, role.threshold)?;
    }
    Ok(())
}

fn check_foreign_role(
    subject: &str,
    keys: &BTreeMap<String, Key>,
    ids: &[String],
    threshold: usize,
) -> Result<(), TrustError> {
    if threshold == 0 {
        return Err(TrustError::Malformed {
            subject: subject.to_owned(),
            expected: "a threshold of at least 1".into(),
            found: "0".into(),
        });
    }
    let ids: BTreeSet<&String> = ids.iter().collect();
    let keys: Vec<_> = ids
        .into_iter()
        .filter_map(|id| Some((id, comparable(keys.get(id)?))))
        .collect();
    distinct(subject, keys.iter().map(|(id, key)| (*id, key)))?;
    Ok(())
}

/// A key in a form that [`raw`] reads: an RSA key is the same key under either of its schemes.
fn comparable(key: &Key) -> Key {
    let mut key = key.clone();
    if key.scheme == PKCS1 {
        "rsassa-pss-sha256".clone_into(&mut key.scheme);
    }
    key
}

/// As [`online_keys_rotated`], for a foreign repository.
pub(crate) fn foreign_online_keys_rotated(old: &Root, new: &Root) -> bool {
    let with_comparable_keys = |root: &Root| {
        let mut root = root.clone();
        root.keys.values_mut().for_each(|key| *key = comparable(key));
        root
    };
    online_keys_rotated(&with_comparable_keys(old), &with_comparable_keys(new))
}

/// Whether a key that signed timestamps or snapshots under `old` no longer does under `new` (TUF 5.3.11).
pub(crate) fn online_keys_rotated(old: &Root, new: &Root) -> bool {
    let raws = |root: &Root, name: &str| -> BTreeSet<Vec<u8>> {
        root.role(name)
            .map(|role| {
                role.keyids
                    .iter()
                    .filter_map(|id| root.keys.get_key_value(id))
                    // Both roots were checked: none of their keys is in another form.
                    .filter_map(|(id, key)| raw("root", id, key).ok().flatten())
                    .collect()
            })
            .unwrap_or_default()
    };
    ["timestamp", "snapshot"]
        .iter()
        .any(|name| !raws(old, name).is_subset(&raws(new, name)))
}
