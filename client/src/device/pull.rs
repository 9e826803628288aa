//! Pulling a release: check, fetch what is missing, activate in one step.

use assay_schema::manifest::FileEntry;
use assay_schema::{ModelRef, ReleaseManifest, Sha256Digest, Verdict};
use assay_verifier::{Approved, Content, DeviceState, Piece, Want};
use serde::Serialize;

use super::check::Decision;
use super::drive::{Host, Sources, drive};
use super::verify::present;
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

/// What a pull came to.
#[derive(Debug, Clone)]
pub struct Pulled {
    /// The verdict: the release is active if it permits.
    pub verdict: Verdict,
    /// The release was active before; nothing was read or written but metadata.
    pub already_active: bool,
    /// What this pull sent and received, other authorities included.
    pub traffic: Traffic,
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
        let pulled = |verdict, already_active| Pulled {
            verdict,
            already_active,
            traffic: self.traffic().since(before),
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
            Decision::Not(verdict) => return Ok(pulled(*verdict, false)),
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
            return Ok(pulled(approved.verdict(), true));
        }
        let pull = Pull {
            device: self,
            writer: &writer,
            model,
            approved: &approved,
        };
        let verdict = *pull.run(transport.as_ref(), progress)?;
        if permits(&verdict) {
            writer.collect(model)?;
        }
        Ok(pulled(verdict, false))
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
    approved: &'a Approved,
}

impl Pull<'_> {
    fn run(&self, transport: &dyn Transport, progress: &mut dyn FnMut(PullProgress)) -> Result<Box<Verdict>> {
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
                threads: self.device.threads,
            };
            let content = Content::pull(self.approved.clone(), &lengths);
            match drive(content, sources, &mut host, &mut report) {
                Ok(verdict) if permits(&verdict) => return Ok(verdict),
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
        let files = staging.files().clone();
        let sources = Sources {
            files: &files,
            remote: Some((transport, &self.model.namespace)),
            threads: self.device.threads,
        };
        let mut host = Fetching {
            pull: self,
            record,
            staging: Some(staging),
        };
        let mut so_far = 0;
        let result = drive(
            Content::pull(self.approved.clone(), &lengths),
            sources,
            &mut host,
            &mut |done| {
                so_far = done;
                report(done);
            },
        );
        match result {
            // The disk ran full in spite of the look at it before: somebody else uses it too.
            Err(DeviceError::Store(StoreError::File(error))) if error.is_full() => Err(self
                .writer
                .full(total.saturating_sub(so_far).saturating_add(ROOM))
                .into()),
            other => other,
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
