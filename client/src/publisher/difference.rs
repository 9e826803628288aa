//! What a signer is shown: every key, threshold, expiry, delegation and target that a file changes.

use std::collections::{BTreeMap, BTreeSet};

use assay_authority::metadata::{RoleKeys, Root, Target, Targets, TopRole, Unknown};
use assay_authority::public::key_id;
use assay_schema::status::{self, Status};
use assay_schema::tuf::{ModelRole, SPEC_VERSION};
use jiff::Timestamp;
use serde_json::Value;

use super::PublishError;
use super::proposal::mismatch;

/// What differs between two roots.
pub(super) fn root(old: &Root, new: &Root) -> Result<Vec<String>, PublishError> {
    let mut lines = vec![format!("root: version {} -> {}", old.version()?, new.version()?)];
    only_known("root", &new.unknown()?)?;
    same_form("root", Some(&old.signed_value()), &new.signed_value())?;
    for role in TopRole::ALL {
        lines.extend(keys(role.as_str(), &old.role(role)?, &new.role(role)?)?);
    }
    lines.extend(expiry("root", Some(old.expires()?), new.expires()?));
    lines.extend(dropped("root", &old.unknown()?));
    Ok(lines)
}

/// What differs between two top-level targets files.
pub(super) fn targets(old: &Targets, new: &Targets) -> Result<Vec<String>, PublishError> {
    let mut lines = vec![format!(
        "targets: version {} -> {}",
        old.version()?,
        new.version()?
    )];
    only_known("targets", &new.unknown()?)?;
    same_form("targets", Some(&old.signed_value()), &new.signed_value())?;
    let (before, after) = (delegations(old), delegations(new));
    same_order(&before, &after)?;
    let (before, after): (BTreeMap<_, _>, BTreeMap<_, _>) =
        (before.into_iter().collect(), after.into_iter().collect());
    for (name, entry) in &after {
        match ModelRole::parse(name) {
            Some(role) => lines.extend(delegation(&role, old, new)?),
            None if name == status::ROLE => lines.extend(status_keys(old, new)?),
            // What this software does not know, a person must see as it is.
            None if before.get(name) != Some(entry) => {
                lines.push(format!("delegation {name}: becomes {entry}"));
            }
            None => {}
        }
    }
    let gone = before.keys().filter(|name| !after.contains_key(*name));
    lines.extend(gone.map(|name| format!("delegation {name}: removed")));
    lines.extend(listed("targets", &old.targets()?, &new.targets()?));
    lines.extend(expiry("targets", Some(old.expires()?), new.expires()?));
    lines.extend(dropped("targets", &old.unknown()?));
    Ok(lines)
}

/// What differs between two files of a model's role.
pub(super) fn model(name: &str, old: Option<&Targets>, new: &Targets) -> Result<Vec<String>, PublishError> {
    let version = old.map_or(Ok(0), Targets::version)?;
    let mut lines = vec![format!("{name}: version {version} -> {}", new.version()?)];
    let before = old.map_or_else(|| Ok(BTreeMap::new()), Targets::targets)?;
    let after = new.targets()?;
    for (path, target) in &before {
        // A release never changes and none disappears.
        if after.get(path) != Some(target) {
            let found = after.get(path).map_or_else(|| "none".to_owned(), described);
            return Err(mismatch(path, described(target), found));
        }
    }
    lines.extend(listed(name, &before, &after));
    lines.extend(expiry(
        name,
        old.map(Targets::expires).transpose()?,
        new.expires()?,
    ));
    lines.extend(form(name, old, new)?);
    Ok(lines)
}

/// What differs between two files of the status role, entry by entry.
pub(super) fn status(old: Option<&Targets>, new: &Targets) -> Result<Vec<String>, PublishError> {
    let version = old.map_or(Ok(0), Targets::version)?;
    let mut lines = vec![format!("status: version {version} -> {}", new.version()?)];
    let before = old.map(Targets::status).transpose()?;
    let after = new.status()?;
    if new.targets()?.len() != 1 {
        return Err(mismatch(
            "targets of status",
            status::TARGET,
            new.targets()?.len(),
        ));
    }
    let entries = |s: &Status| {
        let mut lines = BTreeSet::new();
        lines.extend(
            s.versions
                .iter()
                .map(|(r, v)| format!("least version of {r}: {v}")),
        );
        lines.extend(s.orders.iter().map(|(m, o)| format!("least order of {m}: {o}")));
        lines.extend(s.revoked_keys.iter().map(|k| format!("revoked key {k}")));
        lines.extend(s.revoked_releases.iter().map(|r| {
            let version = r.version.as_ref().map_or_else(String::new, |v| format!("@{v}"));
            let manifest = r.manifest.map_or_else(String::new, |m| format!(" manifest {m}"));
            format!("revoked release {}{version}{manifest}: {}", r.model, r.reason)
        }));
        lines
    };
    let (was, is) = (before.as_ref().map(entries).unwrap_or_default(), entries(&after));
    lines.extend(is.difference(&was).map(|line| format!("status: adds {line}")));
    lines.extend(was.difference(&is).map(|line| format!("status: removes {line}")));
    lines.extend(expiry(
        "status",
        old.map(Targets::expires).transpose()?,
        new.expires()?,
    ));
    lines.extend(form(status::ROLE, old, new)?);
    Ok(lines)
}

/// A key as people compare it: kind, and the id that TUF files name it by.
pub(super) fn shown(key: &assay_schema::tuf::TufKey) -> Result<String, PublishError> {
    let id = key_id(key).map_err(|e| mismatch("key", "one with an id", e))?;
    Ok(format!("{} key {id}", key.keytype))
}

fn keys(role: &str, old: &RoleKeys, new: &RoleKeys) -> Result<Vec<String>, PublishError> {
    let mut lines = Vec::new();
    for key in new.keys.iter().filter(|key| !old.keys.contains(key)) {
        lines.push(format!("{role}: adds {}", shown(key)?));
    }
    for key in old.keys.iter().filter(|key| !new.keys.contains(key)) {
        lines.push(format!("{role}: removes {}", shown(key)?));
    }
    let of = |keys: &RoleKeys| format!("{} of {}", keys.threshold, keys.keys.len());
    if of(old) != of(new) {
        lines.push(format!("{role}: threshold {} -> {}", of(old), of(new)));
    }
    Ok(lines)
}

fn delegation(role: &ModelRole, old: &Targets, new: &Targets) -> Result<Vec<String>, PublishError> {
    let name = role.name();
    let (Some(after), before) = (new.delegation(role)?, old.delegation(role)?) else {
        return Ok(Vec::new());
    };
    let none = RoleKeys {
        keys: Vec::new(),
        threshold: 0,
    };
    let mut lines = keys(&name, before.as_ref().map_or(&none, |d| &d.keys), &after.keys)?;
    let epoch = before.as_ref().map(|d| d.terms.max_epoch);
    if epoch != Some(after.terms.max_epoch) {
        let from = epoch.map_or_else(|| "none".to_owned(), |e| e.to_string());
        lines.push(format!(
            "{name}: highest epoch {from} -> {}",
            after.terms.max_epoch
        ));
    }
    Ok(lines)
}

fn status_keys(old: &Targets, new: &Targets) -> Result<Vec<String>, PublishError> {
    let none = RoleKeys {
        keys: Vec::new(),
        threshold: 0,
    };
    match new.status_keys()? {
        Some(after) => keys(status::ROLE, &old.status_keys()?.unwrap_or(none), &after),
        None => Ok(Vec::new()),
    }
}

/// The delegations in their order: of several that fit a path, readers take the first.
fn delegations(targets: &Targets) -> Vec<(String, Value)> {
    let value = targets.signed_value();
    let roles = value.pointer("/delegations/roles").and_then(Value::as_array);
    let named = roles.into_iter().flatten().map(|entry| {
        (
            entry.get("name").and_then(Value::as_str).unwrap_or("").to_owned(),
            entry.clone(),
        )
    });
    named.collect()
}

/// Delegations that stand keep their places, and new ones come after them.
fn same_order(old: &[(String, Value)], new: &[(String, Value)]) -> Result<(), PublishError> {
    let names = |roles: &[(String, Value)]| roles.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
    let (before, found) = (names(old), names(new));
    let stay = before.iter().filter(|name| found.contains(name));
    let fresh = found.iter().filter(|name| !before.contains(name));
    let expected: Vec<_> = stay.chain(fresh).cloned().collect();
    match expected == found {
        true => Ok(()),
        false => Err(mismatch(
            "order of the delegations",
            expected.join(", "),
            found.join(", "),
        )),
    }
}

fn listed(role: &str, old: &BTreeMap<String, Target>, new: &BTreeMap<String, Target>) -> Vec<String> {
    let changed = new.iter().filter(|(path, target)| old.get(*path) != Some(target));
    let mut lines: Vec<_> = changed
        .map(|(path, target)| format!("{role}: target {path} becomes {}", described(target)))
        .collect();
    let gone = old.keys().filter(|path| !new.contains_key(*path));
    lines.extend(gone.map(|path| format!("{role}: target {path} removed")));
    lines
}

fn described(target: &Target) -> String {
    let order = target
        .note
        .order
        .map_or_else(String::new, |o| format!(", order {o}"));
    format!("SHA-256 {}, {} bytes{order}", target.sha256, target.length)
}

fn expiry(role: &str, old: Option<Timestamp>, new: Timestamp) -> Option<String> {
    match old {
        Some(old) if old == new => None,
        Some(old) => Some(format!("{role}: expires {old} -> {new}")),
        None => Some(format!("{role}: expires {new}")),
    }
}

/// What [`only_known`] and [`same_form`] demand of a delegated role's file; and what it drops of the one before it.
fn form(role: &str, old: Option<&Targets>, new: &Targets) -> Result<Vec<String>, PublishError> {
    only_known(role, &new.unknown()?)?;
    let before = old.map(Targets::signed_value);
    same_form(role, before.as_ref(), &new.signed_value())?;
    let unknown = old.map(Targets::unknown).transpose()?.unwrap_or_default();
    Ok(dropped(role, &unknown))
}

/// Nothing is signed that this software could not show: not a field, a digest or a delegation's terms that it does not know.
fn only_known(role: &str, unknown: &[Unknown]) -> Result<(), PublishError> {
    let Some(first) = unknown.first() else {
        return Ok(());
    };
    let shown = |value: &Option<Value>| value.as_ref().map_or_else(|| "none".to_owned(), Value::to_string);
    Err(mismatch(
        format!("{role}, {}", first.at),
        format!("{}, which is what this software knows there", shown(&first.known)),
        shown(&first.found),
    ))
}

/// What a file had that the next one has no more, because this software does not know it.
fn dropped(role: &str, unknown: &[Unknown]) -> Vec<String> {
    let lines = unknown
        .iter()
        .map(|place| format!("{role}: drops what this software does not know, {place}"));
    lines.collect()
}

/// The version of the specification is the one before, or this software's, where there is none before.
fn same_form(role: &str, old: Option<&Value>, new: &Value) -> Result<(), PublishError> {
    let expected = match old {
        Some(old) => old.get("spec_version").cloned().unwrap_or_default(),
        None => SPEC_VERSION.into(),
    };
    let found = new.get("spec_version").cloned().unwrap_or_default();
    match expected == found {
        true => Ok(()),
        false => Err(mismatch(format!("spec_version of {role}"), expected, found)),
    }
}
