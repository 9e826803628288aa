//! What a monitor remembers: one file, replaced in one step, so that a crash neither loses an alert nor raises it twice.

use std::collections::{BTreeMap, BTreeSet};

use assay_schema::{NamespaceName, Sha256Digest};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::WITHHELD;
use super::alert::{Alert, AlertKind};

/// Versions whose digests are remembered; of older ones only that they were there.
const RECENT: usize = 1024;
/// Snapshots of a namespace whose contents are remembered at most, to compare withheld ones with.
const NEIGHBOURS: usize = 32;

/// `monitor.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct State {
    /// The record's version: 1.
    pub(super) v: u32,
    /// The largest checkpoint that was proven, as the log signed it.
    pub(super) checkpoint: Option<String>,
    /// The log's last sign of life, it grew or was cosigned, of which every entry was read.
    pub(super) grown: Option<Timestamp>,
    /// Since when there is no checkpoint, or entries that it holds cannot be looked at.
    pub(super) unread: Option<Timestamp>,
    /// By identity.
    pub(super) namespaces: BTreeMap<Sha256Digest, Seen>,
    /// Files that the log names and nobody hands out.
    pub(super) withheld: Vec<Withheld>,
    /// Conditions that were raised and last on.
    pub(super) standing: BTreeSet<AlertKind>,
    /// Alerts that nobody was told yet.
    pub(super) outbox: Vec<Pending>,
    /// Alerts that did not fit into the outbox.
    pub(super) more: u64,
}

impl Default for State {
    fn default() -> Self {
        Self {
            v: 1,
            checkpoint: None,
            grown: None,
            unread: None,
            namespaces: BTreeMap::new(),
            withheld: Vec::new(),
            standing: BTreeSet::new(),
            outbox: Vec::new(),
            more: 0,
        }
    }
}

/// An alert that is on its way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Pending {
    /// It was printed; the webhook did not take it yet.
    pub(super) printed: bool,
    pub(super) alert: Alert,
}

/// What was seen of a namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Seen {
    pub(super) name: NamespaceName,
    /// The next entry of the log to look at.
    pub(super) next: u64,
    pub(super) roots: Versions,
    pub(super) snapshots: Versions,
    /// What snapshots named, by their entries in the log: the newest, and those beside a withheld one, which it is compared with
    /// when it comes.
    pub(super) named: BTreeMap<u64, Named>,
    /// The registry's keys in the newest root that the authority made.
    pub(super) online_keys: Option<BTreeSet<String>>,
    /// How often that root named other keys than the one before: versions may begin anew (TUF 5.3.11).
    pub(super) restarts: u64,
    /// No snapshot came behind the last of them yet.
    pub(super) restart: bool,
    /// Withheld files that are not asked for again, because too many are.
    pub(super) missed: u64,
}

/// What a snapshot named.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Named {
    /// The [`Seen::restarts`] before it.
    pub(super) restarts: u64,
    pub(super) roles: BTreeMap<String, Listed>,
}

/// The place of a snapshot in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Place {
    pub(super) entry: u64,
    /// The [`Seen::restarts`] before it.
    pub(super) restarts: u64,
}

/// A file that a snapshot names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Listed {
    pub(super) version: u64,
    pub(super) sha256: Sha256Digest,
}

/// Versions of one kind of leaf.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Versions {
    highest: u64,
    recent: BTreeMap<u64, Sha256Digest>,
}

/// What a leaf's version means beside those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// The highest so far.
    New,
    /// The very same leaf once more.
    Repeated,
    /// Another digest of a version that was there.
    Fork(Sha256Digest),
    /// Below the highest.
    Back(u64),
}

/// A file that the log, or a snapshot in it, names and nobody hands out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Withheld {
    pub(super) namespace: Sha256Digest,
    pub(super) role: String,
    pub(super) version: u64,
    pub(super) sha256: Sha256Digest,
    /// Where a snapshot stands in the log, so that it is compared with its neighbours when it comes.
    pub(super) place: Option<Place>,
    pub(super) since: Timestamp,
    /// What the registry handed out instead, when it was last asked.
    pub(super) found: String,
    /// An alert was raised.
    pub(super) raised: bool,
}

impl State {
    /// Remembers a file, once, to ask for it again; of those over the limit only that they are there.
    pub(super) fn withhold(&mut self, file: Withheld) {
        let is_same = |other: &Withheld| {
            (other.namespace, other.version, other.sha256) == (file.namespace, file.version, file.sha256)
                && other.role == file.role
        };
        // Two snapshots may name one file.
        if self.withheld.iter().any(is_same) {
            return;
        }
        let seen = self.namespaces.get_mut(&file.namespace);
        // Beside each gap stands what it is compared with, which is large.
        let crowded = file.place.is_some() && seen.as_ref().is_some_and(|seen| seen.named.len() > NEIGHBOURS);
        if self.withheld.len() < WITHHELD && !crowded {
            self.withheld.push(file);
        } else if let Some(seen) = seen {
            seen.missed += 1;
        }
    }

    /// Forgets what snapshots named that no withheld one is compared with any more.
    pub(super) fn tidy(&mut self, namespace: Sha256Digest) {
        let gaps: Vec<u64> = self
            .withheld
            .iter()
            .filter(|file| file.namespace == namespace)
            .filter_map(|file| Some(file.place?.entry))
            .collect();
        let Some(seen) = self.namespaces.get_mut(&namespace) else {
            return;
        };
        let mut keep: BTreeSet<u64> = seen.named.keys().next_back().copied().into_iter().collect();
        for gap in gaps {
            keep.extend(seen.named.range(..gap).next_back().map(|(entry, _)| *entry));
            keep.extend(seen.named.range(gap..).next().map(|(entry, _)| *entry));
        }
        seen.named.retain(|entry, _| keep.contains(entry));
    }
}

impl Seen {
    pub(super) fn new(name: NamespaceName) -> Self {
        Self {
            name,
            next: 0,
            roots: Versions::default(),
            snapshots: Versions::default(),
            named: BTreeMap::new(),
            online_keys: None,
            restarts: 0,
            restart: false,
            missed: 0,
        }
    }
}

impl Versions {
    /// Notes a leaf.
    pub(super) fn note(&mut self, version: u64, sha256: Sha256Digest) -> Order {
        let order = match self.recent.get(&version) {
            Some(first) if *first == sha256 => Order::Repeated,
            Some(first) => Order::Fork(*first),
            None if version > self.highest => Order::New,
            None => Order::Back(self.highest),
        };
        if matches!(order, Order::New | Order::Back(_)) {
            self.recent.insert(version, sha256);
            self.highest = self.highest.max(version);
        }
        while self.recent.len() > RECENT {
            self.recent.pop_first();
        }
        order
    }

    /// Begins anew.
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(n: u8) -> Sha256Digest {
        Sha256Digest::new([n; 32])
    }

    #[test]
    fn a_version_counts_once_and_never_falls() {
        let mut versions = Versions::default();
        assert_eq!(versions.note(1, digest(1)), Order::New);
        assert_eq!(versions.note(5, digest(5)), Order::New);
        assert_eq!(versions.note(5, digest(5)), Order::Repeated);
        assert_eq!(versions.note(5, digest(6)), Order::Fork(digest(5)));
        assert_eq!(versions.note(3, digest(3)), Order::Back(5));
        versions.forget();
        assert_eq!(versions.note(2, digest(2)), Order::New);
    }

    #[test]
    fn memory_is_bounded_and_an_old_version_still_goes_back() {
        let mut versions = Versions::default();
        for version in 1..=5000 {
            assert_eq!(versions.note(version, digest(1)), Order::New);
        }
        assert_eq!(versions.recent.len(), RECENT);
        assert_eq!(versions.note(1, digest(2)), Order::Back(5000));
    }
}
