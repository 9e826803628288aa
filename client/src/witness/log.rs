//! One log of a witness: its keys, its last checkpoint, and what does not fit to it.

use std::sync::{Mutex, MutexGuard, PoisonError};

use assay_log::checkpoint::Origin;
use assay_log::merkle::{MerkleError, TreeHead};
use assay_log::witness::{AddCheckpoint, Refusal};
use assay_log::{SignedCheckpoint, VerifierKey};
use assay_schema::Sha256Digest;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::{FollowedLog, WitnessError, WitnessStep};
use crate::exclusive::{self, Steps};
use crate::folder::Folder;
use crate::store::{StoreError, records};

const KEYS: &str = "log.json";
const STATE: &str = "state.json";
/// So far a clock may be set back without anybody having to know: time servers correct it by less.
const SET_BACK: SignedDuration = SignedDuration::from_mins(1);
const KEYS_ADVICE: &str = "Remove it and run `assay witness add-log` again";
const STATE_ADVICE: &str = "It protects against a log that goes back, so it is not made anew by itself. Restore it from a backup of this folder; \
     without one, remove the log's folder and run `assay witness add-log` again: the witness then believes the log's next checkpoint, whatever it is";

/// `log.json`.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Keys {
    v: u32,
    keys: Vec<VerifierKey>,
}

/// `state.json`.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct State {
    v: u32,
    /// `None` before the first. The file is there all the same: a lost one must not look like a log that was never cosigned.
    checkpoint: Option<String>,
}

/// A file of evidence.
#[derive(Serialize)]
struct Evidence<'a> {
    v: u32,
    refusal: String,
    cosigned: Option<String>,
    offered: String,
    request: &'a str,
}

/// The name of a log's folder: an origin may hold what no file name may.
pub(super) fn folder_name(origin: &Origin) -> String {
    crate::sha256(origin.as_str().as_bytes()).to_hex()
}

/// The log of a folder; `None` where nobody follows one.
pub(super) fn load(folder: &Folder) -> Result<Option<FollowedLog>, WitnessError> {
    let Some(keys) = records::load::<Keys>(folder, KEYS, KEYS_ADVICE)? else {
        return Ok(None);
    };
    let damaged = |reason: String| StoreError::Damaged {
        path: folder.path().join(KEYS),
        reason,
        advice: KEYS_ADVICE,
    };
    let first = keys.keys.first();
    let first = first.ok_or_else(|| damaged("expected the log's keys, found none".to_owned()))?;
    let origin = super::folder::origin(first)?;
    if folder.path().file_name() != Some(folder_name(&origin).as_ref()) {
        return Err(damaged(format!("expected the log of this folder, found {origin}")).into());
    }
    let evidence = exclusive::evidence(folder)?;
    let of = |kind: Kind| evidence.iter().filter(|name| kind.names(name)).count();
    Ok(Some(FollowedLog {
        last: last(folder, &origin)?,
        origin,
        keys: keys.keys,
        equivocations: of(Kind::Equivocation),
        unproven: of(Kind::Unproven),
    }))
}

fn last(folder: &Folder, origin: &Origin) -> Result<Option<SignedCheckpoint>, WitnessError> {
    let damaged = |reason: String| StoreError::Damaged {
        path: folder.path().join(STATE),
        reason,
        advice: STATE_ADVICE,
    };
    let state = records::load::<State>(folder, STATE, STATE_ADVICE)?;
    let state = state.ok_or_else(|| damaged("expected what was cosigned last, found no file".to_owned()))?;
    let Some(checkpoint) = state.checkpoint else {
        return Ok(None);
    };
    let checkpoint = SignedCheckpoint::parse(checkpoint.as_bytes()).map_err(|e| damaged(e.to_string()))?;
    match checkpoint.checkpoint().origin() == origin {
        true => Ok(Some(checkpoint)),
        false => Err(damaged(format!("expected a checkpoint of {origin}, found another log's")).into()),
    }
}

/// The first half of W3, for a log that nobody follows yet; a record that is there stays.
pub(super) fn begin(folder: &Folder) -> Result<(), WitnessError> {
    let there = records::load::<State>(folder, STATE, STATE_ADVICE)?;
    match there {
        Some(_) => Ok(()),
        None => Ok(records::save(
            folder,
            STATE,
            &State {
                v: 1,
                checkpoint: None,
            },
        )?),
    }
}

/// W3.
pub(super) fn save_keys(folder: &Folder, log: &FollowedLog) -> Result<(), WitnessError> {
    let keys = log.keys.clone();
    Ok(records::save(folder, KEYS, &Keys { v: 1, keys })?)
}

/// A log that is witnessed.
pub(super) struct Log {
    folder: Folder,
    pub(super) keys: Vec<VerifierKey>,
    memory: Mutex<Memory>,
    steps: Steps<WitnessStep, WitnessError>,
}

/// What a witness remembers of a log.
pub(super) struct Memory {
    /// The last checkpoint that was cosigned.
    pub(super) last: Option<SignedCheckpoint>,
    /// When this process cosigned last.
    cosigned: Option<Timestamp>,
    /// Its operator knows that there is no more room for this evidence.
    told: Vec<Kind>,
}

impl Memory {
    /// The head that was cosigned last.
    pub(super) fn head(&self) -> Option<TreeHead> {
        self.last.as_ref().map(|last| last.checkpoint().head())
    }

    /// The time of the next cosignature: never before that of the last one.
    ///
    /// # Errors
    /// The clock was set back by more than a correction. It or the last cosignature is wrong, and only a person knows which.
    pub(super) fn time(&mut self, now: Timestamp) -> Result<Timestamp, WitnessError> {
        let time = match self.cosigned {
            Some(last) if last.duration_since(now) > SET_BACK => {
                return Err(WitnessError::ClockSetBack { last, now });
            }
            Some(last) => last.max(now),
            None => now,
        };
        self.cosigned = Some(time);
        Ok(time)
    }
}

impl Log {
    pub(super) fn new(
        folder: Folder,
        followed: FollowedLog,
        steps: Steps<WitnessStep, WitnessError>,
    ) -> Self {
        Self {
            folder,
            keys: followed.keys,
            memory: Mutex::new(Memory {
                last: followed.last,
                cosigned: None,
                told: Vec::new(),
            }),
            steps,
        }
    }

    /// What is remembered. As long as the guard lives no other request is decided: compare and swap in one step (tlog-witness,
    /// "add-checkpoint").
    pub(super) fn memory(&self) -> MutexGuard<'_, Memory> {
        // Whoever panicked here had not changed it yet: each field changes last, in one assignment.
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// W5: temporary file, sync, rename, sync folder.
    pub(super) fn persist(&self, checkpoint: &SignedCheckpoint) -> Result<(), WitnessError> {
        let checkpoint = Some(checkpoint.to_string());
        records::save(&self.folder, STATE, &State { v: 1, checkpoint })?;
        self.steps.done(WitnessStep::Checkpoint)
    }

    /// W4: keeps a request that shows two histories, or one that a proof may still connect. One file a head, and each kind has its own
    /// room: anybody may send a log's checkpoint with any proof, and must neither fill the disk nor take the place of what proves a
    /// fork. Says whether there is a file now, if its operator does not know that yet.
    pub(super) fn keep_evidence(
        &self,
        memory: &mut Memory,
        request: &AddCheckpoint,
        refusal: &Refusal,
    ) -> Result<Option<bool>, WitnessError> {
        let Some(kind) = Kind::of(refusal) else {
            return Ok(None);
        };
        let head = request.checkpoint().checkpoint().head();
        let (name, there) = (kind.file(&head), exclusive::evidence(&self.folder)?);
        if there.contains(&name) {
            return Ok(None);
        }
        if there.iter().filter(|name| kind.names(name)).count() >= kind.most() {
            let is_news = !memory.told.contains(&kind);
            if is_news {
                memory.told.push(kind);
            }
            return Ok(is_news.then_some(false));
        }
        let evidence = Evidence {
            v: 1,
            refusal: refusal.to_string(),
            cosigned: memory.last.as_ref().map(ToString::to_string),
            offered: request.checkpoint().to_string(),
            request: &request.to_string(),
        };
        exclusive::put_evidence(&self.folder, &name, &evidence)?;
        self.steps.done(WitnessStep::Evidence)?;
        Ok(Some(true))
    }

    /// W6: this checkpoint has been proven now, and smaller ones can be proven to this witness no more. What shows two histories stays.
    pub(super) fn clear(&self, proven: &TreeHead) -> Result<(), WitnessError> {
        for name in exclusive::evidence(&self.folder)? {
            let head = Kind::Unproven.head(&name);
            if head.is_some_and(|head| head.size < proven.size || head == *proven) {
                exclusive::remove_evidence(&self.folder, &name)?;
                self.steps.done(WitnessStep::Cleared)?;
            }
        }
        Ok(())
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Two roots of one size, both signed by the log.
    Equivocation,
    /// A larger tree whose proof does not hold: the proof may be at fault, or the log.
    Unproven,
}

impl Kind {
    fn of(refusal: &Refusal) -> Option<Self> {
        match refusal {
            Refusal::Equivocation { .. } => Some(Self::Equivocation),
            // A proof of another length proves nothing about the log: its checkpoint may even be the one that was cosigned.
            Refusal::Proof(MerkleError::Root { .. }) => Some(Self::Unproven),
            _ => None,
        }
    }

    fn prefix(self) -> &'static str {
        match self {
            Self::Equivocation => "equivocation-",
            Self::Unproven => "unproven-",
        }
    }

    /// Two histories of one log are proven by one file; the rest is for people to look at.
    fn most(self) -> usize {
        match self {
            Self::Equivocation => 256,
            Self::Unproven => 64,
        }
    }

    fn names(self, name: &str) -> bool {
        name.starts_with(self.prefix())
    }

    fn file(self, head: &TreeHead) -> String {
        format!("{}{}-{}.json", self.prefix(), head.size, head.root)
    }

    /// The head that a file's name holds.
    fn head(self, name: &str) -> Option<TreeHead> {
        let rest = name.strip_prefix(self.prefix())?.strip_suffix(".json")?;
        let (size, root) = rest.split_once('-')?;
        Some(TreeHead {
            size: size.parse().ok()?,
            root: root.parse::<Sha256Digest>().ok()?,
        })
    }
}
