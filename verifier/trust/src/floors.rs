//! What a device remembers beside trusted files: the time, the age of its states, what a status restricted, and the log that it
//! follows. None of it is lowered by what a registry shows.

use std::collections::BTreeSet;

use assay_schema::log::LogTrust;
use assay_schema::{ModelName, limits};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::pin::DeviceState;

/// What the authority's status restricted, as far as it concerns roots: those are judged before any status is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Restrictions {
    /// Ids of the keys that could sign the status.
    pub signers: BTreeSet<String>,
    /// The least version of the root.
    #[serde(default)]
    pub least_root: u64,
    /// Ids of revoked keys.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub revoked_keys: BTreeSet<String>,
}

/// The log that the last accepted state was in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Followed {
    /// Its key, its witnesses and their threshold.
    pub log: LogTrust,
    /// The root's version then.
    pub root: u64,
}

impl Restrictions {
    /// What holds after a newer status.
    ///
    /// Restrictions add up, so that no later status takes a revocation back for whoever stole a retired key. Where a key of the
    /// status role was rotated away, though, the newer status alone counts, as with the online keys (TUF 5.3.11): else the thief
    /// of a status key, who may stop devices, could stop them for ever.
    #[must_use]
    pub(crate) fn after(self, newer: Self) -> Self {
        if !self.signers.is_subset(&newer.signers) {
            return newer;
        }
        let revoked_keys: BTreeSet<String> = self.revoked_keys.union(&newer.revoked_keys).cloned().collect();
        let bytes: usize = revoked_keys.iter().map(String::len).sum();
        Self {
            least_root: self.least_root.max(newer.least_root),
            revoked_keys: match bytes as u64 > limits::MAX_STATUS {
                // One status never names so many: then the newest has to do, so that the state keeps its bounds.
                true => newer.revoked_keys,
                false => revoked_keys,
            },
            signers: newer.signers,
        }
    }
}

impl DeviceState {
    /// The time by which everything is judged: the device's, or a later one that its time floor proves.
    pub fn judged(&self, now: Timestamp) -> Timestamp {
        self.time_floor.map_or(now, |floor| floor.max(now))
    }

    /// Raises the time floor to `time`; an earlier time changes nothing. Only the k-th largest cosignature time of pinned
    /// witnesses may be given here, never a device's own.
    pub fn raise_time(&mut self, time: Timestamp) {
        self.time_floor = self.time_floor.max(Some(time));
    }

    /// Remembers that a state as of `time` let this model pass.
    pub fn prove_fresh(&mut self, model: &ModelName, time: Timestamp) {
        let known = self.fresh.entry(model.clone()).or_insert(time);
        *known = time.max(*known);
    }

    /// Keeps this state to go back to, because a root is about to be followed that no log has confirmed yet.
    pub(crate) fn keep_settled(&mut self) {
        if self.settled.is_none() {
            self.settled = Some(Box::new(self.clone()));
        }
    }

    /// The state as it was before roots were followed that no log confirmed; unchanged if there are none. What rises by other
    /// evidence stays risen.
    #[must_use]
    pub fn settle(mut self) -> Self {
        let Some(settled) = self.settled.take() else {
            return self;
        };
        let mut before = *settled;
        before.time_floor = before.time_floor.max(self.time_floor);
        for (model, order) in &self.floors {
            before.raise_floor_to(model, *order, self.activated.get(model).copied());
        }
        before
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn restrictions(signers: &[&str], least_root: u64, revoked: &[&str]) -> Restrictions {
        let set = |ids: &[&str]| ids.iter().map(|id| (*id).to_owned()).collect();
        Restrictions {
            signers: set(signers),
            least_root,
            revoked_keys: set(revoked),
        }
    }

    #[test]
    fn a_later_status_takes_nothing_back() {
        let first = restrictions(&["a"], 4, &["x"]);
        let after = first.after(restrictions(&["a", "b"], 2, &["y"]));
        assert_eq!(after, restrictions(&["a", "b"], 4, &["x", "y"]));
    }

    #[test]
    fn a_stolen_status_key_stops_devices_only_until_it_is_rotated_away() {
        let stolen = restrictions(&["stolen"], 1 << 50, &["every", "root", "key"]);
        let honest = restrictions(&["fresh"], 0, &[]);
        assert_eq!(stolen.after(honest.clone()), honest);
    }

    #[test]
    fn revocations_without_end_do_not_outgrow_the_state() {
        let long = "k".repeat(usize::try_from(limits::MAX_STATUS).unwrap() / 2 + 1);
        let other = format!("{}x", &long[1..]);
        let after = restrictions(&["a"], 0, &[&long]).after(restrictions(&["a"], 0, &[&other]));
        assert_eq!(after.revoked_keys, BTreeSet::from([other]));
    }
}
