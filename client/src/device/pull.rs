//! Pulling a release: check, fetch what is missing, activate in one step.

use assay_schema::manifest::FileEntry;
use assay_schema::{ModelRef, ReleaseManifest, Sha256Digest, Stage, Verdict};
use assay_verifier::{Approved, Content, DeviceState, Piece, Want};
use serde::Serialize;

use super::check::Decision;
use super::drive::{Driven, Host, Sources, Tally, drive};
use super::verify::present;
use super::ways::{Task, Ways};
use super::{Device, DeviceError, Options, Result, permits};
use crate::folder::Folder;
use crate::store::{ReleaseRecord, Staging, StoreError, Writer, active_record, lease, manifest, names};
use crate::transport::{Traffic, Transport};

/// Room that a pull needs beside the files: records, chunk indexes, folders.
const ROOM: u64 = 4 << 20;

/// How far a pull is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct PullProgress {
    /// Bytes of the release that are on this device and right.
    pub done: u64,
    /// Bytes of the release.
    pub total: u64,
}

/// How the files of a release came to a device.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Delivery {
    /// Bytes of the release's files.
    pub full: u64,
    /// Of them, those that were copied from what was on the device: other releases, or the same chunk of this one.
    pub copied: u64,
    /// Those that were made of deltas.
    pub decoded: u64,
    /// Those that came as they are. What is in none of the three was there since an earlier run.
    pub whole: u64,
    /// Bytes of deltas that were received for it: frames and indexes.
    pub delta: u64,
    /// Bytes that were not received because the device had something: `copied` and `decoded` without `delta`.
    pub saved: u64,
    /// The planned path in words; `None` where nothing was planned.
    pub plan: Option<String>,
    /// Chunks that did not come as planned - a delta that is damaged or lies, a file that was changed on the device - and were
    /// fetched whole.
    pub missed: u64,
    /// What was wrong with deltas and with the first of `missed`.
    pub problems: Vec<String>,
}

/// What a pull came to.
#[derive(Debug, Clone)]
pub struct Pulled {
    /// The verdict: the release is active if it permits.
    pub verdict: Verdict,
    /// The release was active before; nothing was read or written but metadata.
    pub already_active: bool,
    /// What this pull sent and received, other authorities included.
    pub traffic: Traffic,
    /// How the files came; `None` where nothing was pulled.
    pub delivery: Option<Delivery>,
}

impl Device {
    /// Checks a model and, if the verdict permits, pulls the release and activates it in one step. Stopped at any moment, the
    /// active release stays active, and the next pull goes on where this one stopped. A release that is active already is not
    /// read again: [`Device::verify_active`] does that, and [`Device::repair`].
    ///
    /// # Errors
    /// The namespace is not trusted, the model is held, the disk is full, or the store cannot be read or written. A hostile or
    /// unreachable registry is a verdict.
    pub fn pull(
        &self,
        model: &ModelRef,
        options: &Options,
        progress: &mut dyn FnMut(PullProgress),
    ) -> Result<Pulled> {
        self.pull_with(model, options, false, progress)
    }

    /// Like [`Device::pull`] for the release that is active, whichever `options` want, and reads every byte of it: what is
    /// damaged is fetched again, and the whole takes the damaged one's place in one step.
    ///
    /// # Errors
    /// As [`Device::pull`], and no release is active.
    pub fn repair(
        &self,
        model: &ModelRef,
        options: &Options,
        progress: &mut dyn FnMut(PullProgress),
    ) -> Result<Pulled> {
        let (_, record) = self.record(model)?;
        let options = Options {
            want: Want::Version(record.active.version),
            ..options.clone()
        };
        self.pull_with(model, &options, true, progress)
    }

    fn pull_with(
        &self,
        model: &ModelRef,
        options: &Options,
        reread: bool,
        progress: &mut dyn FnMut(PullProgress),
    ) -> Result<Pulled> {
        let pin = self.store.pin(&model.namespace)?;
        let writer = self.store.writer()?;
        let active = self
            .store
            .find_model(model)?
            .map(|f| active_record(&f))
            .transpose()?
            .flatten();
        if let Some(active) = active.as_ref().filter(|a| a.held) {
            return Err(StoreError::Held {
                model: model.clone(),
                version: active.active.version.clone(),
            }
            .into());
        }
        let transport = self.transport(&pin.registry)?;
        let before = self.traffic();
        let pulled = |verdict, already_active, delivery| Pulled {
            verdict,
            already_active,
            traffic: self.traffic().since(before),
            delivery,
        };
        let approved = match self.run_check(
            &writer,
            &pin,
            transport.as_ref(),
            model,
            options,
            self.consensus(model)?,
        )? {
            Decision::Approved(approved) => *approved,
            Decision::Not(verdict) => return Ok(pulled(*verdict, false, None)),
        };
        let same = active
            .as_ref()
            .is_some_and(|a| a.active.manifest == approved.manifest_digest());
        // A release that its own folder no longer shows as whole is pulled again, which repairs it.
        if same && !reread && self.is_listed_whole(model, &approved)? {
            // Who signed it may have changed since, or been asked for the first time.
            let record = record_of(&approved);
            if !approved.endorsements().is_empty() && active.as_ref().is_some_and(|a| a.active != record) {
                writer.activate(model, record, false)?;
            }
            return Ok(pulled(approved.verdict(), true, None));
        }
        let pull = Pull {
            device: self,
            writer: &writer,
            model,
            registry: &pin.registry,
            approved: &approved,
            deltas: options.deltas,
        };
        let (verdict, delivery) = pull.run(transport.as_ref(), progress)?;
        if permits(&verdict) {
            writer.collect(model)?;
        }
        Ok(pulled(*verdict, false, Some(delivery)))
    }

    /// Whether the release's folder holds exactly the manifest's files with their sizes. It does not read them.
    fn is_listed_whole(&self, model: &ModelRef, approved: &Approved) -> Result<bool> {
        Ok(whole(self, model, &record_of(approved), approved.manifest())?.is_some())
    }
}

fn record_of(approved: &Approved) -> ReleaseRecord {
    let manifest = approved.manifest();
    ReleaseRecord {
        manifest: approved.manifest_digest(),
        version: manifest.version.clone(),
        order: manifest.order,
        endorsed_by: approved.endorsed_by(),
    }
}

/// The folder of a release that an earlier run moved into place (A3), if it looks complete.
fn whole(
    device: &Device,
    model: &ModelRef,
    record: &ReleaseRecord,
    wanted: &ReleaseManifest,
) -> Result<Option<(Folder, std::fs::File)>> {
    let Some(folder) = device.store.find_model(model)? else {
        return Ok(None);
    };
    let Some((release, lock)) = lease(&folder, record)? else {
        return Ok(None);
    };
    if manifest(&release, record).is_err() {
        return Ok(None);
    }
    let files = match release.find(names::FILES)? {
        Some(files) => files,
        None => return Ok(None),
    };
    let Ok(found) = present(&files) else {
        return Ok(None);
    };
    let equal = found.len() == wanted.files.len()
        && found
            .iter()
            .zip(&wanted.files)
            .all(|(a, b)| a.path == b.path.as_str() && a.size == b.size);
    Ok(equal.then_some((release, lock)))
}

struct Pull<'a> {
    device: &'a Device,
    writer: &'a Writer<'a>,
    model: &'a ModelRef,
    /// Where the namespace's pin says that its registry is.
    registry: &'a str,
    approved: &'a Approved,
    /// Whether deltas are asked for.
    deltas: bool,
}

impl Pull<'_> {
    fn run(
        &self,
        transport: &dyn Transport,
        progress: &mut dyn FnMut(PullProgress),
    ) -> Result<(Box<Verdict>, Delivery)> {
        let record = record_of(self.approved);
        let wanted = self.approved.manifest();
        let total = wanted.size();
        let mut report = |done| progress(PullProgress { done, total });
        if let Some((release, _lease)) = whole(self.device, self.model, &record, wanted)? {
            // Behind A3: all that is missing is to look at every byte again, and to activate.
            let lengths: Vec<u64> = wanted.files.iter().map(|f| f.size).collect();
            let files = release.sub(names::FILES)?;
            let mut host = Finished {
                pull: self,
                record: record.clone(),
                release,
            };
            let sources = Sources {
                files: &files,
                remote: None,
                ways: None,
                threads: self.device.threads,
            };
            let path = ("path".to_owned(), "nothing to fetch".to_owned());
            let content = Content::pull(self.approved.clone(), &lengths).planned([path]);
            match drive(content, sources, &mut host, &mut report) {
                Ok(Driven { verdict, tally }) if permits(&verdict) => {
                    return Ok((verdict, delivery(total, &tally, None)));
                }
                // Damaged, or unreadable: repaired below, and put in its place in one step.
                Ok(_) => {}
                Err(DeviceError::Store(StoreError::File(error))) if !error.is_full() => {}
                Err(error) => return Err(error),
            }
        }
        let staging = self.writer.staging(self.model, &record)?;
        self.salvage(&staging, &record)?;
        let lengths = staging.prepare(wanted)?;
        let missing = total.saturating_sub(lengths.iter().sum());
        self.writer.reserve(missing.saturating_add(ROOM))?;
        let ways = Task {
            store: self.device.store(),
            model: self.model,
            registry: self.registry,
            transport,
            approved: self.approved,
            staging: &staging,
            staged: &lengths,
            deltas: self.deltas,
        };
        // The disk ran full in spite of the look at it before: somebody else uses it too.
        let ran_full = |error, done| match error {
            DeviceError::Store(StoreError::File(error)) if error.is_full() => {
                let left = total.saturating_sub(done).saturating_add(ROOM);
                self.writer.full(left).into()
            }
            error => error,
        };
        let ways = ways.plan().map_err(|error| ran_full(error, 0))?;
        let mut content = Content::pull(self.approved.clone(), &lengths);
        if let Some(ways) = &ways {
            content = content.planned(ways.evidence());
        }
        let files = staging.files().clone();
        let sources = Sources {
            files: &files,
            remote: Some((transport, &self.model.namespace)),
            ways: ways.as_ref(),
            threads: self.device.threads,
        };
        let mut host = Fetching {
            pull: self,
            record,
            staging: Some(staging),
        };
        let mut so_far = 0;
        let result = drive(content, sources, &mut host, &mut |done| {
            so_far = done;
            report(done);
        });
        match result {
            Ok(Driven { mut verdict, tally }) => {
                let delivery = delivery(total, &tally, ways.as_ref());
                not_as_planned(&mut verdict, &delivery);
                Ok((verdict, delivery))
            }
            Err(error) => Err(ran_full(error, so_far)),
        }
    }

    /// Copies what is usable of a damaged release into an empty staging folder: every chunk is checked there again.
    fn salvage(&self, staging: &Staging, record: &ReleaseRecord) -> Result<()> {
        let Some(folder) = self.device.store.find_model(self.model)? else {
            return Ok(());
        };
        let Some(releases) = folder.find(names::RELEASES)? else {
            return Ok(());
        };
        let Some(release) = releases.find(record.manifest.to_hex())? else {
            return Ok(());
        };
        let Some(files) = release.find(names::FILES)? else {
            return Ok(());
        };
        let wanted = self.approved.manifest();
        let size = wanted.size();
        if staging.prepare(wanted)?.iter().any(|n| *n > 0) {
            return Ok(());
        }
        self.writer.reserve(size.saturating_add(ROOM))?;
        staging.salvage(&files, wanted)?;
        Ok(())
    }

    fn persist(&self, state: &DeviceState) -> Result<()> {
        Ok(self.writer.floors(&self.model.namespace, state)?)
    }

    fn activate(&self, record: &ReleaseRecord) -> Result<()> {
        self.writer.activate(self.model, record.clone(), false)?;
        Ok(())
    }
}

/// How the files came, from what was counted.
fn delivery(full: u64, tally: &Tally, ways: Option<&Ways>) -> Delivery {
    let delta = ways.map_or(0, Ways::received).saturating_add(tally.frames);
    let mut problems = ways.map_or_else(Vec::new, |ways| ways.unusable().to_vec());
    problems.extend(tally.first_missed.clone());
    Delivery {
        full,
        copied: tally.copied,
        decoded: tally.decoded,
        whole: tally.whole,
        delta,
        saved: tally.copied.saturating_add(tally.decoded).saturating_sub(delta),
        plan: ways.and_then(Ways::chosen),
        missed: tally.missed,
        problems,
    }
}

/// Stage 7 shows what did not come as it was planned: who served it may want to know, and so may whoever looks after the disk.
fn not_as_planned(verdict: &mut Verdict, delivery: &Delivery) {
    let plan = verdict
        .stages
        .iter_mut()
        .find(|report| report.stage == Stage::Plan);
    if let (Some(plan), Some(first)) = (plan, delivery.problems.last().filter(|_| delivery.missed > 0)) {
        let chunks = delivery.missed;
        plan.evidence.insert(
            "missed".to_owned(),
            format!("{chunks} chunks, fetched whole; {first}"),
        );
    }
}

/// A release that is in its place and not active yet.
struct Finished<'a> {
    pull: &'a Pull<'a>,
    record: ReleaseRecord,
    release: Folder,
}

impl Host for Finished<'_> {
    fn index(&mut self, sha256: Sha256Digest, size: u64) -> Result<Option<Vec<u8>>> {
        read_index(&self.release, sha256, size)
    }

    fn keep_index(&mut self, _: Sha256Digest, _: &[u8]) -> Result<()> {
        Ok(())
    }

    fn write(&mut self, _: Piece, _: &FileEntry, _: &[u8]) -> Result<()> {
        // Only empty files get here, and the listing showed that they are there.
        Ok(())
    }

    fn seal(&mut self) -> Result<()> {
        Ok(())
    }

    fn persist(&mut self, state: &DeviceState) -> Result<()> {
        self.pull.persist(state)
    }

    fn activate(&mut self) -> Result<()> {
        self.pull.activate(&self.record)
    }
}

/// A release that is being fetched.
struct Fetching<'a> {
    pull: &'a Pull<'a>,
    record: ReleaseRecord,
    /// Given away when it is sealed.
    staging: Option<Staging>,
}

impl Host for Fetching<'_> {
    fn index(&mut self, sha256: Sha256Digest, size: u64) -> Result<Option<Vec<u8>>> {
        let Some(staging) = &self.staging else {
            return Ok(None);
        };
        // What an earlier run left; if it is damaged, it is fetched again.
        Ok(read_index(staging.folder(), sha256, size)?.filter(|bytes| crate::sha256(bytes) == sha256))
    }

    fn keep_index(&mut self, sha256: Sha256Digest, bytes: &[u8]) -> Result<()> {
        match &self.staging {
            Some(staging) => Ok(staging.write_index(sha256, bytes)?),
            None => Ok(()),
        }
    }

    fn write(&mut self, piece: Piece, entry: &FileEntry, bytes: &[u8]) -> Result<()> {
        let staging = self.staging.as_mut().ok_or(DeviceError::Stuck)?;
        match bytes {
            [] => staging.touch(&entry.path)?,
            bytes => staging.write(piece.file, &entry.path, piece.offset, bytes)?,
        }
        Ok(())
    }

    fn seal(&mut self) -> Result<()> {
        let staging = self.staging.take().ok_or(DeviceError::Stuck)?;
        self.pull
            .writer
            .seal(&staging, self.pull.approved.manifest_bytes())?;
        Ok(self.pull.writer.publish(self.pull.model, staging)?)
    }

    fn persist(&mut self, state: &DeviceState) -> Result<()> {
        self.pull.persist(state)
    }

    fn activate(&mut self) -> Result<()> {
        self.pull.activate(&self.record)
    }
}

/// A chunk index from a staging or release folder.
pub(super) fn read_index(folder: &Folder, sha256: Sha256Digest, size: u64) -> Result<Option<Vec<u8>>> {
    let Some(indexes) = folder.find(names::INDEXES)? else {
        return Ok(None);
    };
    // One that is too long is damaged, like one with other bytes: the machine or the next fetch says so.
    Ok(indexes.read(sha256.to_hex(), size).unwrap_or_default())
}
