//! Stage 8: every chunk is checked before it is written; activation comes after all of them, in one step.
//!
//! The machine never sees the bytes: its driver fetches, hashes, writes and persists what it is told to, on as many threads as it
//! likes, and reports in any order. The order of the durable steps (A1 to A5) is the machine's.

mod messages;
mod progress;
mod scope;

use std::collections::{BTreeSet, VecDeque};

use assay_provenance::crypto::sha256;
use assay_schema::trust_policy::Requirement;
use assay_schema::verdict::{Refusal, Subject};
use assay_schema::{ReleaseManifest, Sha256Digest, Stage};
use assay_trust::{DeviceState, Pin};
use jiff::Timestamp;

use crate::approved::Approved;
use crate::consensus::kept;
use crate::report::{Reports, refusal};
pub use messages::{Action, Event, Piece, PresentFile};
use progress::{FileProgress, Next, Task};
pub use scope::Scope;

/// Files whose chunk indexes are in memory at once.
const OPEN_FILES: usize = 8;
/// Pieces under way from which on nothing new is begun. With one more run of [`RUN`] that bounds the memory that held pieces take:
/// 47 MiB.
const IN_FLIGHT: usize = 32;
/// Neighbouring pieces of one request.
const RUN: u64 = 16;
/// How often a piece is asked for before it is given up.
const ATTEMPTS: u8 = 3;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Pull,
    Verify,
}

/// What follows once every piece is right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    Pieces,
    Sealing,
    Persisting,
    Activating,
    Done,
}

/// Stage 8 as a machine: `poll` until it has nothing to ask, then `handle` what came of it, in any order.
#[derive(Debug)]
pub struct Content {
    mode: Mode,
    manifest: ReleaseManifest,
    /// Of a pull: what is persisted, and the manifest's digest.
    state: Option<(DeviceState, Sha256Digest)>,
    reports: Reports,
    files: Vec<FileProgress>,
    /// The first file that is not finished.
    first_open: usize,
    follow_up: VecDeque<Action>,
    in_flight: usize,
    failure: Option<Refusal>,
    ending: Ending,
    right: u64,
    written: u64,
}

impl Content {
    /// Pulls a release. `staged` tells, for each file of the manifest, how many bytes an earlier run left in the staging folder:
    /// they are hashed, and only what is wrong or missing is fetched.
    pub fn pull(approved: Approved, staged: &[u64]) -> Self {
        let Approved {
            manifest,
            digest,
            state,
            reports,
            ..
        } = approved;
        let files = manifest.files.iter().enumerate();
        let files = files
            .map(|(i, f)| FileProgress::new(i, f, staged.get(i).copied().unwrap_or(0).min(f.size), true))
            .collect();
        Self::new(Mode::Pull, manifest, Some((state, digest)), reports, files)
    }

    /// Verifies what lies in a folder against a release that has just been checked. Nothing is fetched but chunk indexes, and
    /// nothing is written. `present` lists every file below the folder.
    pub fn verify(approved: Approved, present: &[PresentFile]) -> Self {
        let Approved {
            manifest, reports, ..
        } = approved;
        Self::verify_manifest(manifest, reports, present)
    }

    /// Verifies a release that was activated on this device, offline, against the manifest that is kept beside it. Who made it and
    /// whether it is fresh was judged when it was activated.
    ///
    /// # Errors
    /// A refusal, if the bytes are not a manifest of this namespace or not those of `digest`.
    pub fn recheck(
        pin: &Pin,
        manifest: &[u8],
        digest: Sha256Digest,
        present: &[PresentFile],
        now: Timestamp,
    ) -> Result<Self, Box<Refusal>> {
        let advice = "The store is damaged: `assay pull` fetches the release again.";
        let found = sha256(manifest);
        if found != digest {
            return Err(Box::new(refusal(
                "digest-mismatch",
                "release.json",
                digest,
                found,
                advice,
            )));
        }
        let parsed = ReleaseManifest::parse(manifest).map_err(|e| {
            Box::new(refusal(
                "malformed",
                "release.json",
                "a release manifest of version 1",
                e,
                advice,
            ))
        })?;
        if parsed.namespace != pin.identity {
            return Err(Box::new(refusal(
                "wrong-release",
                "release.json",
                pin.identity,
                parsed.namespace,
                advice,
            )));
        }
        let subject = Subject {
            namespace: pin.namespace.clone(),
            identity: pin.identity,
            model: parsed.model.clone(),
            version: Some(parsed.version.clone()),
            order: Some(parsed.order),
            manifest: Some(digest),
        };
        let mut reports = Reports::new(subject, now, Default::default());
        for stage in [
            Stage::TrustRoot,
            Stage::Freshness,
            Stage::Release,
            Stage::Provenance,
        ] {
            reports.skip(stage, "judged when the release was activated on this device");
        }
        Ok(Self::verify_manifest(parsed, reports, present))
    }

    /// With what the owner's trust policy requires of a release that was activated here, and who had signed it then.
    #[must_use]
    pub fn under(mut self, requirement: Option<&Requirement>, endorsed_by: &BTreeSet<Sha256Digest>) -> Self {
        if let Some(requirement) = requirement {
            let release = format!("{}@{}", requirement.model, self.manifest.version);
            let signed = requirement.authorities.iter();
            let signed = signed.filter(|a| endorsed_by.contains(&a.identity)).count();
            let evidence = format!(
                "{signed} of {} had signed it when it was activated, {} required",
                requirement.authorities.len(),
                requirement.threshold
            );
            self.reports.evidence(Stage::Release, "authorities", evidence);
            if let Err(refused) = kept(Some(requirement), &release, endorsed_by) {
                self.reports.refuse(Stage::Release, *refused);
            }
        }
        self
    }

    /// With what stage 7 came to: the path that was chosen and the others, each with what it costs. A plan decides nothing: every piece
    /// is compared with its signed digest wherever it comes from.
    #[must_use]
    pub fn planned(mut self, evidence: impl IntoIterator<Item = (String, String)>) -> Self {
        for (key, value) in evidence {
            self.reports.evidence(Stage::Plan, &key, value);
        }
        self.reports.pass(Stage::Plan);
        self
    }

    fn verify_manifest(manifest: ReleaseManifest, reports: Reports, present: &[PresentFile]) -> Self {
        let files = manifest.files.iter().enumerate();
        let files = files
            .map(|(i, f)| FileProgress::new(i, f, f.size, false))
            .collect();
        let failure = compare_listing(&manifest, present);
        let mut content = Self::new(Mode::Verify, manifest, None, reports, files);
        content.failure = failure;
        content
    }

    fn new(
        mode: Mode,
        manifest: ReleaseManifest,
        state: Option<(DeviceState, Sha256Digest)>,
        reports: Reports,
        files: Vec<FileProgress>,
    ) -> Self {
        Self {
            mode,
            manifest,
            state,
            reports,
            files,
            first_open: 0,
            follow_up: VecDeque::new(),
            in_flight: 0,
            failure: None,
            ending: Ending::Pieces,
            right: 0,
            written: 0,
        }
    }

    /// The manifest that is followed.
    pub fn manifest(&self) -> &ReleaseManifest {
        &self.manifest
    }

    /// What a piece's SHA-256 must be, by the signed manifest and chunk index; `None` for a piece of no file, and while its file's index
    /// is not here.
    pub fn expected(&self, piece: Piece) -> Option<Sha256Digest> {
        self.files.get(piece.file)?.expected(piece)
    }

    /// Bytes that are known to be right on this device, of [`ReleaseManifest::size`].
    pub fn done(&self) -> u64 {
        self.right
    }

    /// The next thing to do; `None` while everything that can be asked has been.
    pub fn poll(&mut self) -> Option<Action> {
        if self.ending != Ending::Pieces {
            return self.follow_up.pop_front();
        }
        if self.failure.is_some() {
            return self.poll_failed();
        }
        if let Some(action) = self.follow_up.pop_front() {
            return Some(action);
        }
        if self.in_flight < IN_FLIGHT
            && let Some(action) = self.poll_files()
        {
            return Some(action);
        }
        let all_done = self.first_open == self.files.len() && self.in_flight == 0;
        match (all_done, self.mode) {
            (false, _) => None,
            (true, Mode::Verify) => Some(self.finish()),
            (true, Mode::Pull) => {
                self.ending = Ending::Sealing;
                Some(Action::Seal)
            }
        }
    }

    /// After a failure nothing new is begun; held pieces are let go; the end comes when nothing is under way.
    fn poll_failed(&mut self) -> Option<Action> {
        match self.follow_up.pop_front() {
            Some(Action::HashReceived(piece) | Action::Write(piece)) => {
                self.settle(piece);
                return Some(Action::Discard(piece));
            }
            Some(other) => return Some(other),
            None => {}
        }
        (self.in_flight == 0).then(|| self.finish())
    }

    fn poll_files(&mut self) -> Option<Action> {
        while self
            .files
            .get(self.first_open)
            .is_some_and(FileProgress::is_finished)
        {
            if let Some(file) = self.files.get_mut(self.first_open) {
                file.forget_index();
            }
            self.first_open += 1;
        }
        let end = self.files.len().min(self.first_open.saturating_add(OPEN_FILES));
        for i in self.first_open..end {
            let Some(file) = self.files.get_mut(i) else {
                continue;
            };
            match file.next(RUN) {
                Next::Nothing => {}
                Next::Index { sha256, size } => {
                    self.in_flight += 1;
                    return Some(Action::ReadIndex {
                        file: i,
                        sha256,
                        size,
                    });
                }
                Next::Local(piece) => {
                    self.in_flight += 1;
                    return Some(Action::HashLocal(piece));
                }
                Next::Empty(piece) => {
                    self.in_flight += 1;
                    return Some(Action::Write(piece));
                }
                Next::Run { sha256, pieces } => {
                    self.in_flight += pieces.len();
                    return Some(Action::Fetch {
                        file: i,
                        sha256,
                        pieces,
                    });
                }
                Next::Wrong(refusal) => {
                    self.failure = Some(*refusal);
                    return self.poll_failed();
                }
            }
        }
        None
    }

    /// Takes what came of an action. What answers nothing that was asked for changes nothing.
    pub fn handle(&mut self, event: Event) {
        match event {
            _ if self.ending == Ending::Done => {}
            Event::Sealed if self.ending == Ending::Sealing => self.persist(),
            Event::Persisted if self.ending == Ending::Persisting => {
                self.ending = Ending::Activating;
                self.follow_up.push_back(Action::Activate);
            }
            Event::Activated if self.ending == Ending::Activating => {
                let last = self.finish();
                self.follow_up.push_back(last);
            }
            Event::Broken { reason } => self.broken(&reason),
            Event::Index { file, bytes } => self.index(file, &bytes),
            Event::Received(piece) if self.task(piece) == Some(Task::Fetch) => {
                self.proceed(piece, Task::HashReceived);
                self.follow_up.push_back(Action::HashReceived(piece));
            }
            Event::Hashed { piece, sha256 } => self.hashed(piece, sha256),
            Event::Absent(piece) if self.task(piece) == Some(Task::HashLocal) => {
                self.not_there(piece, "nothing");
            }
            Event::Written(piece) if self.task(piece) == Some(Task::Write) => {
                self.settle(piece);
                self.written = self.written.saturating_add(u64::from(piece.len));
                self.right(piece);
            }
            Event::Failed {
                file,
                pieces,
                reason,
                retry,
            } => self.failed(file, &pieces, &reason, retry),
            Event::Sealed
            | Event::Persisted
            | Event::Activated
            | Event::Received(_)
            | Event::Absent(_)
            | Event::Written(_) => {}
        }
    }

    fn index(&mut self, file: usize, bytes: &[u8]) {
        let Some(f) = self.files.get_mut(file).filter(|f| f.awaits_index()) else {
            return;
        };
        let taken = f.index(bytes);
        self.settled();
        if let Err(refusal) = taken {
            self.fail(*refusal);
        }
    }

    fn task(&self, piece: Piece) -> Option<Task> {
        self.files.get(piece.file)?.task(piece)
    }

    fn proceed(&mut self, piece: Piece, task: Task) {
        if let Some(file) = self.files.get_mut(piece.file) {
            file.proceed(piece, task);
        }
    }

    fn settle(&mut self, piece: Piece) {
        if let Some(file) = self.files.get_mut(piece.file) {
            file.settle(piece);
        }
        self.settled();
    }

    fn right(&mut self, piece: Piece) {
        if let Some(file) = self.files.get_mut(piece.file) {
            file.right(piece);
            self.right = self.right.saturating_add(u64::from(piece.len));
        }
    }

    fn settled(&mut self) {
        self.in_flight = self.in_flight.saturating_sub(1);
    }

    fn fail(&mut self, refusal: Refusal) {
        self.failure.get_or_insert(refusal);
    }

    fn broken(&mut self, reason: &str) {
        self.fail(refusal(
            "device-failed",
            "this device",
            "a store that can be written",
            reason,
            "Free space or repair the disk and pull again: what was checked so far is kept. What is active stays active.",
        ));
        if self.ending == Ending::Pieces {
            // The action that broke will not be confirmed; what else is under way no longer matters.
            self.in_flight = 0;
        } else {
            self.follow_up.clear();
            let last = self.finish();
            self.follow_up.push_back(last);
        }
    }

    fn hashed(&mut self, piece: Piece, found: Sha256Digest) {
        let Some(file) = self.files.get_mut(piece.file) else {
            return;
        };
        let (Some(task), Some(expected)) = (file.task(piece), file.expected(piece)) else {
            return;
        };
        match (task, expected == found) {
            // Still under way until it is written.
            (Task::HashReceived, true) => {
                file.proceed(piece, Task::Write);
                self.follow_up.push_back(Action::Write(piece));
            }
            (Task::HashLocal, true) => {
                self.settle(piece);
                self.right(piece);
            }
            (Task::HashReceived, false) => {
                let gone = file.attempt(piece) >= ATTEMPTS;
                file.wanted(piece);
                self.settle(piece);
                if gone {
                    let wrong = mismatch(&self.manifest, piece, &expected, &found.to_string(), REFETCH);
                    self.fail(wrong);
                }
                // Letting go is not waited for: it does not count as under way.
                self.follow_up.push_back(Action::Discard(piece));
            }
            (Task::HashLocal, false) => self.not_there(piece, &found.to_string()),
            (Task::Fetch | Task::Write, _) => {}
        }
    }

    /// A local piece is missing or wrong: a pull fetches it, a verification refuses.
    fn not_there(&mut self, piece: Piece, found: &str) {
        self.settle(piece);
        let Some(file) = self.files.get_mut(piece.file) else {
            return;
        };
        match self.mode {
            Mode::Pull => file.wanted(piece),
            Mode::Verify => {
                let Some(expected) = file.expected(piece) else {
                    return;
                };
                let wrong = mismatch(&self.manifest, piece, &expected, found, REPULL);
                self.fail(wrong);
            }
        }
    }

    fn failed(&mut self, file: usize, pieces: &[Piece], reason: &str, retry: bool) {
        let Some(f) = self.files.get_mut(file) else { return };
        let mut settled = 0_usize;
        let mut tries = 0;
        if pieces.is_empty() && f.awaits_index() {
            settled = 1;
            tries = f.index_attempt();
        }
        for piece in pieces {
            // A piece that has arrived is hashed, whatever became of the rest of its run.
            if let Some(Task::Fetch | Task::HashLocal) = f.task(*piece) {
                f.settle(*piece);
                settled += 1;
                tries = tries.max(f.attempt(*piece));
                f.wanted(*piece);
            }
        }
        self.in_flight = self.in_flight.saturating_sub(settled);
        // A verification fetches nothing, so what cannot be read is not asked for again.
        let unread = self.mode == Mode::Verify && !pieces.is_empty();
        if settled > 0 && (!retry || unread || tries >= ATTEMPTS) {
            let subject = self
                .manifest
                .files
                .get(file)
                .map_or_else(String::new, |f| f.path.to_string());
            self.fail(refusal(
                "unavailable",
                subject,
                "its bytes",
                reason,
                "Try again: the pull goes on where it stopped. What is active stays active.",
            ));
        }
    }

    fn persist(&mut self) {
        self.ending = Ending::Persisting;
        // Only a pull gets here, and a pull has a state.
        if let Some((state, digest)) = &mut self.state {
            state.raise_floor(&self.manifest.model, self.manifest.order, *digest);
            self.follow_up.push_back(Action::Persist(Box::new(state.clone())));
        }
    }

    fn finish(&mut self) -> Action {
        self.ending = Ending::Done;
        self.reports
            .evidence(Stage::Content, "files", self.manifest.files.len());
        self.reports.evidence(Stage::Content, "bytes_right", self.done());
        if self.mode == Mode::Pull {
            self.reports
                .evidence(Stage::Content, "bytes_written", self.written);
        }
        match self.failure.take() {
            Some(refusal) => self.reports.refuse(Stage::Content, refusal),
            None => self.reports.pass(Stage::Content),
        }
        self.reports.enforce(&[]);
        Action::Finish(Box::new(self.reports.verdict()))
    }
}

const REFETCH: &str = "The registry's copy is damaged or tampered with: nothing of it was written. Tell its operator, or use a mirror.";
const REPULL: &str = "The file was changed after it was activated, or the disk is damaged: do not use it. In a device's store, `assay repair` fetches what is wrong.";

fn mismatch(
    manifest: &ReleaseManifest,
    piece: Piece,
    expected: &Sha256Digest,
    found: &str,
    advice: &str,
) -> Refusal {
    let path = manifest.files.get(piece.file).map_or("", |f| f.path.as_str());
    refusal(
        "digest-mismatch",
        format!(
            "chunk {} of {path} ({} bytes at {})",
            piece.chunk, piece.len, piece.offset
        ),
        format!("SHA-256 {expected}"),
        format!("SHA-256 {found}"),
        advice,
    )
}

/// Extraneous files are refused: a shard or adapter that no manifest lists would be loaded like the others.
fn compare_listing(manifest: &ReleaseManifest, present: &[PresentFile]) -> Option<Refusal> {
    let listed = |path: &str| manifest.files.binary_search_by(|f| f.path.as_str().cmp(path));
    for file in present {
        let Some(entry) = listed(&file.path).ok().and_then(|i| manifest.files.get(i)) else {
            let advice = "Remove it; in a device's store, `assay repair` does.";
            return Some(refusal(
                "extraneous-file",
                &file.path,
                "only files that the manifest lists",
                "another file",
                advice,
            ));
        };
        if file.size != entry.size {
            let sizes = (format!("{} bytes", entry.size), format!("{} bytes", file.size));
            return Some(refusal("size-mismatch", &file.path, sizes.0, sizes.1, REPULL));
        }
    }
    let found: std::collections::BTreeSet<&str> = present.iter().map(|f| f.path.as_str()).collect();
    let missing = manifest.files.iter().find(|f| !found.contains(f.path.as_str()))?;
    Some(refusal(
        "missing-file",
        &missing.path,
        "the file",
        "nothing",
        REPULL,
    ))
}
