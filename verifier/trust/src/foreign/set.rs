//! The trusted files of a foreign repository.
//!
//! `sigstore-tuf`'s own set, which Assay's rules use, knows no `rsa-pkcs1v15-sha256` keys, and its counting of signatures cannot
//! be extended. This one leaves parsing, canonical bytes and all other schemes to `sigstore-tuf`, adds that scheme, and follows
//! TUF's client workflow in the same order.

use std::collections::{BTreeMap, BTreeSet};

use assay_provenance::crypto::verify_rsa_pkcs1_sha256;
use jiff::Timestamp as Time;
use sha2::Digest as _;
use sigstore_tuf::metadata::{MetaFile, Metadata, Role, RoleKeys, Root, Snapshot, Targets, Timestamp};
use sigstore_tuf::{Error, Key};

use crate::rules::TrustedSet;

type Result<T> = std::result::Result<T, Error>;

/// What is trusted of a foreign repository.
#[derive(Debug, Clone)]
pub struct ForeignSet {
    root: Root,
    timestamp: Option<Timestamp>,
    snapshot: Option<Snapshot>,
    /// With their signatures: a delegated role is judged again for each delegator.
    targets: BTreeMap<String, Metadata<Targets>>,
}

/// The scheme that `sigstore-tuf` does not know.
pub(crate) const PKCS1: &str = "rsa-pkcs1v15-sha256";

/// Checks that a threshold of a role's keys signed a file (TUF 5.3.4, 5.4.2, 5.5.3, 5.6.3).
fn check_threshold<T: Role>(
    file: &Metadata<T>,
    keys: &BTreeMap<String, Key>,
    role: &RoleKeys,
    name: &str,
) -> Result<()> {
    let authorized: BTreeSet<&String> = role.keyids.iter().collect();
    let by_pkcs1 = |id: &String| {
        authorized
            .contains(id)
            .then(|| keys.get(id))
            .flatten()
            .filter(|key| {
                // A key is used for what its type and scheme say, and nothing else.
                key.keytype == "rsa" && key.scheme == PKCS1
            })
    };
    let mut good = BTreeSet::new();
    for signature in file.signatures() {
        let Some(key) = by_pkcs1(&signature.keyid) else {
            continue;
        };
        let Ok(bytes) = hex::decode(&signature.sig) else {
            continue;
        };
        if verify_rsa_pkcs1_sha256(&key.keyval.public, file.signed_canonical(), &bytes) {
            good.insert(&signature.keyid);
        }
    }
    if good.is_empty() || role.threshold == 0 {
        return file.verify_threshold(keys, role, name);
    }
    // `sigstore-tuf` counts the others, none of `good` among them. It is asked even where `good` is enough, because it refuses two
    // signatures of one key id.
    let mut rest = role.clone();
    rest.threshold = role.threshold.saturating_sub(good.len());
    let others = match rest.threshold {
        0 => {
            rest.threshold = 1;
            match file.verify_threshold(keys, &rest, name) {
                Err(Error::ThresholdNotMet { .. }) => Ok(()),
                other => other,
            }
        }
        _ => file.verify_threshold(keys, &rest, name),
    };
    others.map_err(|error| match error {
        Error::ThresholdNotMet {
            role: name, found, ..
        } => Error::ThresholdNotMet {
            role: name,
            found: found + good.len(),
            threshold: role.threshold,
        },
        other => other,
    })
}

fn signed_by_root<T: Role>(bytes: &[u8], root: &Root, name: &str) -> Result<T> {
    let file = Metadata::<T>::from_slice(bytes)?;
    check_by_root(&file, root, name)?;
    Ok(file.into_signed())
}

fn check_by_root<T: Role>(file: &Metadata<T>, root: &Root, name: &str) -> Result<()> {
    let role = root
        .role(name)
        .ok_or_else(|| Error::UnknownRole(name.to_owned()))?;
    check_threshold(file, &root.keys, role, name)
}

fn check_expiry<T: Role>(file: &T, name: &str, now: Time) -> Result<()> {
    if file.is_expired(now) {
        return Err(Error::Expired {
            role: name.to_owned(),
            expires: file.expires(),
        });
    }
    Ok(())
}

fn check_rollback(name: &str, trusted: u64, new: u64) -> Result<()> {
    if new < trusted {
        return Err(Error::Rollback {
            role: name.to_owned(),
            trusted,
            new,
        });
    }
    Ok(())
}

/// Length and hashes, where the parent gives them (TUF 5.5.2, 5.6.2). Hashes of which none is known check nothing and are refused.
fn check_pin(bytes: &[u8], pin: &MetaFile, name: &str) -> Result<()> {
    let mismatch = |what: String| Err(Error::IntegrityMismatch(format!("{name}: {what}")));
    if let Some(length) = pin.length.filter(|length| *length != bytes.len() as u64) {
        return mismatch(format!("expected {length} bytes, found {}", bytes.len()));
    }
    let Some(hashes) = &pin.hashes else {
        return Ok(());
    };
    let mut known = false;
    for (algorithm, expected) in hashes {
        let found = match algorithm.as_str() {
            "sha256" => hex::encode(sha2::Sha256::digest(bytes)),
            "sha512" => hex::encode(sha2::Sha512::digest(bytes)),
            _ => continue,
        };
        if !found.eq_ignore_ascii_case(expected) {
            return mismatch(format!("expected {algorithm} {expected}, found {found}"));
        }
        known = true;
    }
    if known {
        Ok(())
    } else {
        mismatch("expected a SHA-256 or SHA-512 hash, found others".to_owned())
    }
}

fn check_version(name: &str, expected: u64, found: u64) -> Result<()> {
    if expected == found {
        return Ok(());
    }
    Err(Error::IntegrityMismatch(format!(
        "{name}: expected version {expected}, found {found}"
    )))
}

impl TrustedSet for ForeignSet {
    fn from_root(bytes: &[u8]) -> Result<Self> {
        let file = Metadata::<Root>::from_slice(bytes)?;
        check_by_root(&file, file.signed(), "root")?;
        Ok(Self {
            root: file.into_signed(),
            timestamp: None,
            snapshot: None,
            targets: BTreeMap::new(),
        })
    }

    fn root(&self) -> &Root {
        &self.root
    }

    fn timestamp(&self) -> Option<&Timestamp> {
        self.timestamp.as_ref()
    }

    fn snapshot(&self) -> Option<&Snapshot> {
        self.snapshot.as_ref()
    }

    fn targets_role(&self, name: &str) -> Option<&Targets> {
        self.targets.get(name).map(Metadata::signed)
    }

    fn update_root(&mut self, bytes: &[u8]) -> Result<()> {
        let file = Metadata::<Root>::from_slice(bytes)?;
        let new = file.signed();
        // TUF 5.3.5.
        if self.root.version.checked_add(1) != Some(new.version) {
            return Err(Error::BadRootVersion {
                trusted: self.root.version,
                new: new.version,
            });
        }
        // TUF 5.3.4: by the keys of both.
        check_by_root(&file, &self.root, "root")?;
        check_by_root(&file, new, "root")?;
        *self = Self {
            root: file.into_signed(),
            timestamp: None,
            snapshot: None,
            targets: BTreeMap::new(),
        };
        Ok(())
    }

    fn check_root_expired(&self, now: Time) -> Result<()> {
        check_expiry(&self.root, "root", now)
    }

    fn check_timestamp_expired(&self, now: Time) -> Result<()> {
        match &self.timestamp {
            Some(timestamp) => check_expiry(timestamp, "timestamp", now),
            None => Ok(()),
        }
    }

    fn update_timestamp(&mut self, bytes: &[u8], now: Time) -> Result<()> {
        let new: Timestamp = signed_by_root(bytes, &self.root, "timestamp")?;
        if let Some(trusted) = &self.timestamp {
            // TUF 5.4.3.
            check_rollback("timestamp", trusted.version, new.version)?;
            if new.version == trusted.version {
                return Err(Error::EqualVersion {
                    role: "timestamp".to_owned(),
                    version: new.version,
                });
            }
            if let (Some(trusted), Some(new)) = (trusted.snapshot_meta(), new.snapshot_meta()) {
                check_rollback("snapshot (via timestamp)", trusted.version, new.version)?;
            }
        }
        // TUF 5.4.4.
        check_expiry(&new, "timestamp", now)?;
        self.timestamp = Some(new);
        Ok(())
    }

    fn update_snapshot(&mut self, bytes: &[u8], now: Time) -> Result<()> {
        let timestamp = self.timestamp.as_ref();
        let pin = timestamp
            .and_then(Timestamp::snapshot_meta)
            .ok_or_else(|| Error::Malformed("no trusted timestamp names snapshot.json".to_owned()))?;
        self.check_timestamp_expired(now)?;
        // TUF 5.5.2.
        check_pin(bytes, pin, "snapshot.json")?;
        let new: Snapshot = signed_by_root(bytes, &self.root, "snapshot")?;
        // TUF 5.5.4.
        check_version("snapshot.json", pin.version, new.version)?;
        // TUF 5.5.5: no targets file is older, or gone.
        for (name, trusted) in self.snapshot.iter().flat_map(|s| &s.meta) {
            match new.meta.get(name) {
                Some(new) => check_rollback(&format!("{name} (via snapshot)"), trusted.version, new.version)?,
                None => {
                    return Err(Error::IntegrityMismatch(format!(
                        "snapshot.json: expected {name}, which the trusted one names, found none"
                    )));
                }
            }
        }
        // TUF 5.5.6.
        check_expiry(&new, "snapshot", now)?;
        self.snapshot = Some(new);
        self.targets.clear();
        Ok(())
    }

    fn update_targets(&mut self, bytes: &[u8], now: Time) -> Result<()> {
        let file = self.pinned_targets(bytes, "targets", now)?;
        check_by_root(&file, &self.root, "targets")?;
        check_expiry(file.signed(), "targets", now)?;
        self.targets.insert("targets".to_owned(), file);
        Ok(())
    }
}

impl ForeignSet {
    /// A targets file that is the one that the snapshot names (TUF 5.6.2, 5.6.4); who signed it is not checked.
    fn pinned_targets(&self, bytes: &[u8], role: &str, now: Time) -> Result<Metadata<Targets>> {
        let name = format!("{role}.json");
        let snapshot = self
            .snapshot
            .as_ref()
            .ok_or_else(|| Error::Malformed("no trusted snapshot".to_owned()))?;
        check_expiry(snapshot, "snapshot", now)?;
        let pin = snapshot
            .meta
            .get(&name)
            .ok_or_else(|| Error::Malformed(format!("the snapshot does not name {name}")))?;
        check_pin(bytes, pin, &name)?;
        let file = Metadata::<Targets>::from_slice(bytes)?;
        check_version(&name, pin.version, file.signed().version)?;
        Ok(file)
    }

    /// Checks a delegated file by the keys of this delegator (TUF 5.6.3), and its expiry (TUF 5.6.5).
    fn check_delegated(
        &self,
        file: &Metadata<Targets>,
        role: &str,
        delegator: &str,
        now: Time,
    ) -> Result<()> {
        let unknown = || Error::UnknownRole(format!("{role}, delegated by {delegator}"));
        let delegations = self
            .targets_role(delegator)
            .and_then(|targets| targets.delegations.as_ref())
            .ok_or_else(unknown)?;
        let delegation = delegations
            .roles
            .iter()
            .find(|d| d.name == role)
            .ok_or_else(unknown)?;
        check_threshold(file, &delegations.keys, &delegation.role_keys(), role)?;
        check_expiry(file.signed(), role, now)
    }

    /// Accepts a delegated role's file by the keys of this delegator.
    pub(crate) fn update_delegated(
        &mut self,
        bytes: &[u8],
        role: &str,
        delegator: &str,
        now: Time,
    ) -> Result<()> {
        let file = self.pinned_targets(bytes, role, now)?;
        self.check_delegated(&file, role, delegator, now)?;
        self.targets.insert(role.to_owned(), file);
        Ok(())
    }

    /// Checks an accepted role by the keys of another delegator.
    pub(crate) fn verify_delegated(&self, role: &str, delegator: &str, now: Time) -> Result<()> {
        let file = self
            .targets
            .get(role)
            .ok_or_else(|| Error::UnknownRole(role.to_owned()))?;
        self.check_delegated(file, role, delegator, now)
    }
}
