//! An audit: every checkpoint that was ever seen is of one history.
//!
//! A mirror's folder holds the checkpoints as the log signed them. One is added after it was proven consistent with the largest of
//! them, which was proven with all others before: so each pair is proven.

use std::collections::{BTreeMap, BTreeSet};

use assay_log::cosignature::Witnessed;
use assay_log::merkle::{Frontier, TreeHead, leaf_hash};
use assay_log::policy::{LogPolicy, PolicyError};
use assay_log::tile::{TileError, decode_entries, new_bundles};
use assay_log::{Leaf, SignedCheckpoint};
use assay_schema::limits::MAX_NOTE;

use super::folder::{file_name, names};
use super::history::prove;
use super::{FollowStep, LogError, LogFolder, LogReader};
use crate::store::StoreError;

const CHECKPOINTS: &str = "checkpoints";
const READABLE: u32 = 0o644;
/// Bundles whose entries are listed at a time.
const STRETCH: u64 = 1 << 20;

/// What is audited, and how.
#[derive(Debug)]
pub struct Audit<'a> {
    /// The log.
    pub reader: &'a LogReader<'a>,
    /// The log's key, and the witnesses that are demanded of its newest checkpoint.
    pub policy: &'a LogPolicy,
    /// Where checkpoints are kept.
    pub mirror: Option<&'a LogFolder>,
    /// Checkpoints from elsewhere, each with its name: of devices, of other auditors.
    pub given: Vec<(String, SignedCheckpoint)>,
    /// Read every entry and recompute every root.
    pub full: bool,
}

/// What an audit found to be right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Audited {
    /// The newest checkpoint.
    pub head: TreeHead,
    /// Different checkpoints that are proven to be of one history, the newest included.
    pub checkpoints: u64,
    /// Of them, those that this run added to the mirror.
    pub added: u64,
    /// What the witnesses state; `None` where none are demanded, and then a split view is not excluded.
    pub witnessed: Option<Witnessed>,
    /// What reading every entry gave.
    pub entries: Option<Entries>,
}

/// What reading every entry gave: they have the roots that were signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entries {
    /// How many there are.
    pub read: u64,
    /// Of them, states of namespaces.
    pub leaves: u64,
}

impl Audited {
    /// Pairs of different checkpoints that are proven consistent.
    pub fn pairs(&self) -> u64 {
        self.checkpoints * self.checkpoints.saturating_sub(1) / 2
    }
}

impl Audit<'_> {
    /// Fetches the newest checkpoint and proves it consistent with those that are known. `progress` is told how many entries were
    /// read.
    ///
    /// # Errors
    /// [`LogError::Split`], whose evidence is kept in the mirror; [`LogError::Behind`]; [`LogError::Entries`]; a checkpoint that the
    /// policy does not accept; or the log or the mirror cannot be read.
    pub fn run(&self, progress: &mut dyn FnMut(u64)) -> Result<Audited, LogError> {
        // Others' checkpoints are the log's statements, whoever cosigned them.
        let log_only = policy(LogPolicy::new(self.policy.log().clone(), None), "the log's key")?;
        for (name, given) in &self.given {
            policy(log_only.verify(given), name)?;
        }
        if let Some(mirror) = self.mirror {
            mirror.pin(self.policy.log())?;
        }
        let newest = self.reader.checkpoint()?;
        // First of all: a log that shows two histories is told from one whose witnesses are slow.
        policy(log_only.verify(&newest), "the log's checkpoint")?;
        let stored = self.stored()?;
        let mut older: Vec<(String, SignedCheckpoint)> = match self.full {
            true => stored
                .iter()
                .map(|name| self.load(name))
                .collect::<Result<_, _>>()?,
            // It contains all the others: they were proven when it came.
            false => stored
                .last()
                .map(|name| self.load(name))
                .transpose()?
                .into_iter()
                .collect(),
        };
        older.extend(self.given.iter().cloned());
        let compared = compare(self.reader, &newest, &older);
        if let Some(mirror) = self.mirror {
            match compared {
                Ok(()) => mirror.settle(self.reader, &newest),
                Err(split @ LogError::Split { .. }) => Err(split),
                Err(unproven) => mirror.set_aside(&newest).and(Err(unproven)),
            }
            .map_err(|error| mirror.keep_evidence(error))?;
        } else {
            compared?;
        }
        let verified = policy(self.policy.verify(&newest), "the log's checkpoint")?;
        let entries = match self.full {
            true => Some(read_entries(self.reader, &newest, &older, progress)?),
            false => None,
        };
        let (mut all, mut added): (BTreeSet<String>, u64) = (stored.into_iter().collect(), 0);
        for signed in self.given.iter().map(|(_, signed)| signed).chain([&newest]) {
            if all.insert(file_name(signed)) {
                added += self
                    .mirror
                    .map_or(Ok(0), |mirror| put(mirror, signed).map(|()| 1))?;
            }
        }
        Ok(Audited {
            head: verified.head(),
            checkpoints: all.len() as u64,
            added,
            witnessed: verified.witnessed().cloned(),
            entries,
        })
    }

    /// The names of the mirror's checkpoints, the largest last.
    fn stored(&self) -> Result<Vec<String>, LogError> {
        let Some(folder) = self
            .mirror
            .map(|mirror| mirror.root().find(CHECKPOINTS))
            .transpose()?
            .flatten()
        else {
            return Ok(Vec::new());
        };
        names(&folder)
    }

    fn load(&self, name: &str) -> Result<(String, SignedCheckpoint), LogError> {
        let folder = self
            .mirror
            .map(|mirror| mirror.root().sub(CHECKPOINTS))
            .transpose()?;
        let damaged = |reason: String| StoreError::Damaged {
            path: self
                .mirror
                .map(|mirror| mirror.path().join(CHECKPOINTS).join(name))
                .unwrap_or_default(),
            reason,
            advice: "Restore it from a backup; without it, what the log showed at that time is not known",
        };
        let bytes = folder
            .map(|folder| folder.read(name, MAX_NOTE as u64))
            .transpose()?
            .flatten();
        let bytes = bytes.ok_or_else(|| damaged("it is gone".to_owned()))?;
        let signed = SignedCheckpoint::parse(&bytes).map_err(|e| damaged(e.to_string()))?;
        match file_name(&signed) == name {
            true => Ok(("the mirror".to_owned(), signed)),
            false => Err(damaged("expected the checkpoint of its name, found another".to_owned()).into()),
        }
    }
}

fn policy<T>(judged: Result<T, PolicyError>, what: &str) -> Result<T, LogError> {
    judged.map_err(|source| LogError::Policy {
        what: what.to_owned(),
        source,
    })
}

/// Every two of these are of one history.
fn compare(
    reader: &LogReader<'_>,
    newest: &SignedCheckpoint,
    older: &[(String, SignedCheckpoint)],
) -> Result<(), LogError> {
    let size = |signed: &SignedCheckpoint| signed.checkpoint().head().size;
    let mut all: Vec<SignedCheckpoint> = older.iter().map(|(_, signed)| signed.clone()).collect();
    let largest = older.iter().max_by_key(|(_, signed)| size(signed));
    let Some((whose, largest)) = largest.filter(|(_, signed)| size(signed) > size(newest)) else {
        return prove(reader, newest, &all);
    };
    let behind = LogError::Behind {
        expected: size(largest),
        whose: whose.clone(),
        found: size(newest),
    };
    all.push(newest.clone());
    match prove(reader, largest, &all) {
        Err(split @ LogError::Split { .. }) => Err(split),
        Err(LogError::Transport(error)) => Err(error.into()),
        // Whether it hands out the larger tree or not: it does not show it.
        _ => Err(behind),
    }
}

/// Recomputes the root of every known size from the entries alone.
fn read_entries(
    reader: &LogReader<'_>,
    newest: &SignedCheckpoint,
    older: &[(String, SignedCheckpoint)],
    progress: &mut dyn FnMut(u64),
) -> Result<Entries, LogError> {
    let signed = older.iter().map(|(_, signed)| signed).chain([newest]);
    let heads: BTreeMap<u64, TreeHead> = signed
        .map(|signed| signed.checkpoint().head())
        .map(|head| (head.size, head))
        .collect();
    let size = newest.checkpoint().head().size;
    let (mut frontier, mut leaves) = (Frontier::empty(), 0);
    for from in (0..size).step_by(STRETCH as usize) {
        for bundle in new_bundles(from, size.min(from + STRETCH)) {
            let bytes = reader.bundle(bundle)?;
            for entry in decode_entries(bundle, &bytes)? {
                leaves += u64::from(Leaf::parse(entry).is_ok());
                frontier
                    .push(leaf_hash(entry), |_, _| {})
                    .map_err(TileError::from)?;
                if let Some(expected) = heads.get(&frontier.size()) {
                    same(expected, frontier.head())?;
                }
            }
            progress(frontier.size());
        }
    }
    same(&newest.checkpoint().head(), frontier.head())?;
    Ok(Entries {
        read: frontier.size(),
        leaves,
    })
}

fn same(expected: &TreeHead, found: TreeHead) -> Result<(), LogError> {
    match *expected == found {
        true => Ok(()),
        false => Err(LogError::Entries {
            expected: *expected,
            found: found.root,
        }),
    }
}

/// F3.
fn put(mirror: &LogFolder, signed: &SignedCheckpoint) -> Result<(), LogError> {
    let folder = mirror.root().ensure_sub(CHECKPOINTS)?;
    folder.replace(&file_name(signed), signed.to_string().as_bytes(), READABLE)?;
    mirror.root().sync()?;
    mirror.step(FollowStep::Checkpoint)
}
