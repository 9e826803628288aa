//! One log of a witness: its keys, its last checkpoint, and what does not fit to it.

use std::sync::{Mutex, MutexGuard, PoisonError};

use assay_log::checkpoint::Origin;
use assay_log::witness::{AddCheckpoint, Refusal};
use assay_log::{SignedCheckpoint, VerifierKey};
use serde::{Deserialize, Serialize};

use super::{FollowedLog, StepHook, WitnessError, WitnessStep};
use crate::folder::Folder;
use crate::store::{StoreError, records};

const KEYS: &str = "log.json";
const STATE: &str = "state.json";
const EVIDENCE: &str = "evidence";
/// Two histories of one log are proven by one file; the rest is for people to look at.
const MOST_EVIDENCE: usize = 256;
const READABLE: u32 = 0o644;
const KEYS_ADVICE: &str = "Remove it and run `assay witness add-log` again";
const STATE_ADVICE: &str = "It protects against a log that goes back, so it is not made anew by itself. Restore it from a backup of this folder";

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
    checkpoint: String,
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
    let evidence = folder
        .find(EVIDENCE)?
        .map(|folder| folder.entries())
        .transpose()?;
    Ok(Some(FollowedLog {
        last: last(folder, &origin)?,
        origin,
        keys: keys.keys,
        evidence: evidence.map_or(0, |files| files.len()),
    }))
}

fn last(folder: &Folder, origin: &Origin) -> Result<Option<SignedCheckpoint>, WitnessError> {
    let Some(state) = records::load::<State>(folder, STATE, STATE_ADVICE)? else {
        return Ok(None);
    };
    let damaged = |reason: String| StoreError::Damaged {
        path: folder.path().join(STATE),
        reason,
        advice: STATE_ADVICE,
    };
    let checkpoint =
        SignedCheckpoint::parse(state.checkpoint.as_bytes()).map_err(|e| damaged(e.to_string()))?;
    match checkpoint.checkpoint().origin() == origin {
        true => Ok(Some(checkpoint)),
        false => Err(damaged(format!("expected a checkpoint of {origin}, found another log's")).into()),
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
    last: Mutex<Option<SignedCheckpoint>>,
    hook: Option<StepHook>,
}

impl Log {
    pub(super) fn new(folder: Folder, followed: FollowedLog, hook: Option<StepHook>) -> Self {
        Self {
            folder,
            keys: followed.keys,
            last: Mutex::new(followed.last),
            hook,
        }
    }

    /// The last checkpoint that was cosigned. As long as the guard lives no other request is decided: compare and swap in one step
    /// (tlog-witness, "add-checkpoint").
    pub(super) fn last(&self) -> MutexGuard<'_, Option<SignedCheckpoint>> {
        // Whoever panicked here had not changed it yet: it changes last, in one assignment.
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// W5: temporary file, sync, rename, sync folder.
    pub(super) fn persist(&self, checkpoint: &SignedCheckpoint) -> Result<(), WitnessError> {
        let checkpoint = checkpoint.to_string();
        records::save(&self.folder, STATE, &State { v: 1, checkpoint })?;
        self.step(WitnessStep::Checkpoint)
    }

    /// W4: keeps a request that shows two histories, or one that a proof may still connect. One file a head: anybody may send a
    /// log's checkpoint with any proof, and must not fill the disk by it. Says whether there is one now.
    pub(super) fn keep_evidence(
        &self,
        cosigned: Option<&SignedCheckpoint>,
        request: &AddCheckpoint,
        refusal: &Refusal,
    ) -> Result<bool, WitnessError> {
        let Some(kind) = Kind::of(refusal) else {
            return Ok(false);
        };
        let name = kind.file(request);
        let folder = self.folder.ensure_sub(EVIDENCE)?;
        if folder.kind(&name)?.is_some() {
            return Ok(true);
        }
        if folder.entries()?.len() >= MOST_EVIDENCE {
            return Ok(false);
        }
        let evidence = Evidence {
            v: 1,
            refusal: refusal.to_string(),
            cosigned: cosigned.map(ToString::to_string),
            offered: request.checkpoint().to_string(),
            request: &request.to_string(),
        };
        let bytes = serde_json::to_vec_pretty(&evidence).map_err(|e| StoreError::Damaged {
            path: folder.path().join(&name),
            reason: format!("it cannot be written as JSON: {e}"),
            advice: "This is an error in Assay; please report it",
        })?;
        folder.replace(&name, &bytes, READABLE)?;
        self.folder.sync()?;
        self.step(WitnessStep::Evidence)?;
        Ok(true)
    }

    /// W6: a checkpoint that was sent with a wrong proof before has been proven now.
    pub(super) fn clear(&self, request: &AddCheckpoint) -> Result<(), WitnessError> {
        let Some(folder) = self.folder.find(EVIDENCE)? else {
            return Ok(());
        };
        let name = Kind::Unproven.file(request);
        if folder.kind(&name)?.is_none() {
            return Ok(());
        }
        folder.remove_file(&name)?;
        self.step(WitnessStep::Cleared)
    }

    fn step(&self, step: WitnessStep) -> Result<(), WitnessError> {
        self.hook.as_ref().map_or(Ok(()), |hook| hook(step))
    }
}

#[derive(Clone, Copy)]
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
            Refusal::Proof(_) => Some(Self::Unproven),
            _ => None,
        }
    }

    fn file(self, request: &AddCheckpoint) -> String {
        let head = request.checkpoint().checkpoint().head();
        let kind = match self {
            Self::Equivocation => "equivocation",
            Self::Unproven => "unproven",
        };
        format!("{kind}-{}-{}.json", head.size, head.root)
    }
}
