//! A monitor: whatever a log holds of an authority's namespaces must be what the authority made.
//!
//! Every entry of the log is compared with a proven checkpoint and looked at once, in order. A root must stand in the signing
//! journals; so must everything that a snapshot names, apart from what the registry signs itself. Versions go up, one version has
//! one body, and what the log names is handed out. The position and the alerts that nobody was told yet are persisted together.

mod alert;
mod journals;
mod judge;
mod round;
mod state;
mod webhook;

use std::collections::BTreeMap;
use std::time::Duration;

use assay_log::SignedCheckpoint;
use assay_log::policy::LogPolicy;
use assay_schema::{NamespaceName, Sha256Digest};
use jiff::{SignedDuration, Timestamp};

pub use alert::{Alert, AlertKind};
pub use journals::Journals;
pub use round::Round;
pub use webhook::{BadWebhook, Webhook};

use self::alert::Finding;
use self::state::{Pending, State};
use super::{FollowStep, LogError, LogFolder};
use crate::store::{StoreError, records};

const STATE: &str = "monitor.json";
const ADVICE: &str = "Restore it from a backup, or remove it: the monitor then looks at the whole log again, and raises again what it \
                      raised before";
/// Alerts that wait at most; a registry that makes more is found out by fewer.
const OUTBOX: usize = 1000;
/// Files that are asked for again at most. Of further ones only the number is known, until the monitor looks at all of them again.
const WITHHELD: usize = 1000;

/// What is watched, and how strictly.
#[derive(Debug, Clone)]
pub struct Terms {
    /// The namespaces by their identities, and their names on the registry.
    pub namespaces: BTreeMap<Sha256Digest, NamespaceName>,
    /// What the authority made.
    pub journals: Journals,
    /// How long a file that the log names may be missing on the registry, and entries of the log unread.
    pub grace: SignedDuration,
    /// How long files are asked for before those that are left are put off to the next round: a registry that answers slowly must not
    /// keep alerts back.
    pub patience: Duration,
    /// How old the log's last sign of life may be; `None` does not matter.
    pub max_age: Option<SignedDuration>,
}

/// Watches one log for some namespaces.
#[derive(Debug)]
pub struct Monitor {
    folder: LogFolder,
    policy: LogPolicy,
    log_only: LogPolicy,
    state: State,
    /// The checkpoint in the state.
    known: Option<SignedCheckpoint>,
}

impl Monitor {
    /// Goes on with what the folder holds.
    ///
    /// # Errors
    /// The folder follows another log, or its record is damaged.
    pub fn open(folder: LogFolder, policy: LogPolicy) -> Result<Self, LogError> {
        let log_only = LogPolicy::new(policy.log().clone(), None).map_err(|source| LogError::Policy {
            what: "the log's key".to_owned(),
            source,
        })?;
        folder.pin(policy.log())?;
        let state: State = records::load(folder.root(), STATE, ADVICE)?.unwrap_or_default();
        let known = state.checkpoint.as_ref().map(|text| {
            SignedCheckpoint::parse(text.as_bytes()).map_err(|e| StoreError::Damaged {
                path: folder.path().join(STATE),
                reason: e.to_string(),
                advice: ADVICE,
            })
        });
        Ok(Self {
            known: known.transpose()?,
            folder,
            policy,
            log_only,
            state,
        })
    }

    /// What was raised and lasts on: conditions of the log, and files that are withheld.
    pub fn standing(&self) -> impl Iterator<Item = AlertKind> + '_ {
        let withheld = self.state.withheld.iter().any(|file| file.raised);
        let withheld = withheld.then_some(AlertKind::Withheld);
        self.state.standing.iter().copied().chain(withheld)
    }

    /// Alerts that were not delivered yet.
    pub fn undelivered(&self) -> usize {
        self.state.outbox.len()
    }

    /// Prints each alert that was not printed yet, and posts each that the webhook did not take yet, in order; what it does not
    /// take is tried again next time. Returns why it took none.
    ///
    /// # Errors
    /// The state cannot be written. The alerts that were delivered meanwhile are delivered again, under the same ids.
    pub fn deliver(
        &mut self,
        webhook: Option<&Webhook>,
        print: &mut dyn FnMut(&Alert),
        now: Timestamp,
    ) -> Result<Option<String>, LogError> {
        if self.state.more > 0 && self.state.outbox.len() < OUTBOX {
            let found = format!("{} further ones", std::mem::take(&mut self.state.more));
            let finding = Finding::new(
                AlertKind::More,
                "alerts",
                format!("at most {OUTBOX} at a time"),
                found,
            );
            self.raise(finding, None, now);
        }
        for pending in self.state.outbox.iter_mut().filter(|pending| !pending.printed) {
            print(&pending.alert);
            pending.printed = true;
        }
        let Some(webhook) = webhook else {
            if !self.state.outbox.is_empty() {
                self.state.outbox.clear();
                self.save(FollowStep::Delivered)?;
            }
            return Ok(None);
        };
        while let Some(first) = self.state.outbox.first() {
            if let Err(why) = webhook.post(&first.alert) {
                self.save(FollowStep::Delivered)?;
                return Ok(Some(why));
            }
            self.state.outbox.remove(0);
            self.save(FollowStep::Delivered)?;
        }
        Ok(None)
    }

    fn raise(&mut self, finding: Finding, namespace: Option<&NamespaceName>, now: Timestamp) {
        if self.state.outbox.len() >= OUTBOX {
            self.state.more += 1;
            return;
        }
        let alert = finding.raise(now, self.policy.log().name().as_str(), namespace);
        self.state.outbox.push(Pending {
            printed: false,
            alert,
        });
    }

    /// Raises a condition when it comes, and forgets it when it goes.
    fn condition(&mut self, kind: AlertKind, finding: Option<Finding>, now: Timestamp) {
        match finding {
            Some(finding) if self.state.standing.insert(kind) => {
                self.raise(Finding { kind, ..finding }, None, now);
            }
            Some(_) => {}
            None => {
                self.state.standing.remove(&kind);
            }
        }
    }

    /// F4, F5.
    fn save(&self, step: FollowStep) -> Result<(), LogError> {
        records::save(self.folder.root(), STATE, &self.state)?;
        self.folder.step(step)
    }
}
