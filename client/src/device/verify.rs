//! Verifying what lies on the device; rolling back and resuming.

use std::path::Path;

use assay_schema::manifest::FileEntry;
use assay_schema::{ModelRef, ReleaseRef, Sha256Digest, Verdict, VersionName};
use assay_verifier::{Content, DeviceState, Piece, PresentFile, Want};

use super::check::Decision;
use super::drive::{Host, Sources, drive};
use super::pull::read_index;
use super::verification::{Begun, Verification};
use super::{Device, DeviceError, Options, Result, permits};
use crate::folder::Folder;
use crate::scan::{ScanError, scan_folder};
use crate::store::{
    ActiveRecord, PinRecord, ReleaseRecord, StoreError, active_record, lease, manifest, names,
};

/// Every file below a folder, for the verifier to compare with a manifest.
pub(super) fn present(files: &Folder) -> std::result::Result<Vec<PresentFile>, ScanError> {
    let found = scan_folder(files, &[])?;
    Ok(found
        .into_iter()
        .map(|f| PresentFile {
            size: f.size(),
            path: f.path.into(),
        })
        .collect())
}

impl Device {
    /// Verifies every byte of the active release against its manifest, offline. Who made it was judged when it was activated.
    ///
    /// # Errors
    /// No release is active, its folder cannot be read, or the last check that let the model pass is older than the owner lets it
    /// be. Damage is a verdict.
    pub fn verify_active(&self, model: &ModelRef, progress: &mut dyn FnMut(u64)) -> Result<Verdict> {
        let (_, record) = self.record(model)?;
        self.check_age(model)?;
        self.verify_kept(model, &record.active, &self.verification, progress)
    }

    /// Verifies a folder against a release: the release is checked like before a pull (stages 1 to 6), then every byte below the
    /// folder is compared with its manifest. Nothing is written but trusted metadata.
    ///
    /// # Errors
    /// The namespace is not trusted, or the folder or the store cannot be read.
    pub fn verify_directory(
        &self,
        folder: &Path,
        release: &ReleaseRef,
        options: &Options,
        progress: &mut dyn FnMut(u64),
    ) -> Result<Verdict> {
        let model = &release.model;
        let pin = self.store.pin(&model.namespace)?;
        let options = Options {
            want: Want::Version(release.version.clone()),
            ..options.clone()
        };
        let transport = self.transport(&pin.registry)?;
        let approved = {
            let writer = self.store.writer()?;
            match self.run_check(
                &writer,
                &pin,
                transport.as_ref(),
                model,
                &options,
                self.consensus(model)?,
            )? {
                Decision::Approved(approved) => *approved,
                Decision::Not(verdict) => return Ok(*verdict),
            }
        };
        let files = Folder::open(folder)?;
        let begun = self.verification.begin(scan_folder(&files, &[])?, self.now())?;
        let present = begun.present();
        let content = Content::verify(approved, &present).within(&begun.scope, &present);
        let right = right_digests(&content);
        let sources = Sources {
            files: &files,
            remote: Some((transport.as_ref(), &model.namespace)),
            ways: None,
            threads: self.threads,
        };
        let verdict = *drive(content, sources, &mut ReadOnly { release: None }, progress)?.verdict;
        keep(begun, &files, &right, &verdict)?;
        Ok(verdict)
    }

    /// Activates a release again that is kept on this device, after verifying every byte of it: the given version, or the highest
    /// below the active one. Floors stay, and the model is held there until [`Device::resume`].
    ///
    /// # Errors
    /// No such release is kept, or the store cannot be read or written. Damage is a verdict, and nothing changes.
    pub fn rollback(
        &self,
        model: &ModelRef,
        version: Option<&VersionName>,
        progress: &mut dyn FnMut(u64),
    ) -> Result<Verdict> {
        let writer = self.store.writer()?;
        let (_, record) = self.record(model)?;
        let wanted = match version {
            Some(version) => record.all().find(|r| r.version == *version),
            None => record
                .kept
                .iter()
                .filter(|r| r.order < record.active.order)
                .max_by_key(|r| r.order),
        };
        let wanted = wanted.cloned().ok_or_else(|| StoreError::NotKept {
            model: model.clone(),
            wanted: version.cloned(),
            kept: record
                .all()
                .map(|r| r.version.to_string())
                .collect::<Vec<_>>()
                .join(", "),
        })?;
        let verdict = self.verify_kept(model, &wanted, &Verification::default(), progress)?;
        if permits(&verdict) {
            writer.activate(model, wanted, true)?;
        }
        Ok(verdict)
    }

    /// Lets a model update again after a rollback. Whether it was held.
    ///
    /// # Errors
    /// No release is active, or the store cannot be written.
    pub fn resume(&self, model: &ModelRef) -> Result<bool> {
        let writer = self.store.writer()?;
        let (_, record) = self.record(model)?;
        if record.held {
            writer.activate(model, record.active, false)?;
        }
        Ok(record.held)
    }

    pub(super) fn record(&self, model: &ModelRef) -> Result<(Folder, ActiveRecord)> {
        self.store.pin(&model.namespace)?;
        let not_active = || StoreError::NotActive(model.clone());
        let folder = self.store.find_model(model)?.ok_or_else(not_active)?;
        let record = active_record(&folder)?.ok_or_else(not_active)?;
        Ok((folder, record))
    }

    fn verify_kept(
        &self,
        model: &ModelRef,
        record: &ReleaseRecord,
        how: &Verification,
        progress: &mut dyn FnMut(u64),
    ) -> Result<Verdict> {
        let pin = self.store.pin(&model.namespace)?;
        let gone = || StoreError::NotKept {
            model: model.clone(),
            wanted: Some(record.version.clone()),
            kept: String::new(),
        };
        let folder = self.store.find_model(model)?.ok_or_else(gone)?;
        let (release, _lease) = lease(&folder, record)?.ok_or_else(gone)?;
        let files = release.sub(names::FILES)?;
        self.compare(&pin, model, &files, (release, record), how, progress)
    }

    /// Compares every byte of a folder with a release that is kept on this device, whose lease the caller holds.
    pub(super) fn compare(
        &self,
        pin: &PinRecord,
        model: &ModelRef,
        files: &Folder,
        (release, record): (Folder, &ReleaseRecord),
        how: &Verification,
        progress: &mut dyn FnMut(u64),
    ) -> Result<Verdict> {
        let (_, bytes) = manifest(&release, record)?;
        let begun = how.begin(scan_folder(files, &[])?, self.now())?;
        let present = begun.present();
        let content = Content::recheck(&self.pin_of(pin), &bytes, record.manifest, &present, self.now())
            .map_err(DeviceError::Refused)?
            .within(&begun.scope, &present)
            .under(self.store.requirement(model)?.as_ref(), &record.endorsed_by);
        let right = right_digests(&content);
        let sources = Sources {
            files,
            remote: None,
            ways: None,
            threads: self.threads,
        };
        let mut host = ReadOnly {
            release: Some(release),
        };
        let verdict = *drive(content, sources, &mut host, progress)?.verdict;
        keep(begun, files, &right, &verdict)?;
        Ok(verdict)
    }
}

/// What the files are if the verification ends well.
fn right_digests(content: &Content) -> Vec<(String, Sha256Digest)> {
    let files = content.manifest().files.iter();
    files.map(|f| (f.path.to_string(), f.sha256)).collect()
}

/// Remembers what was read, if it was right.
fn keep(begun: Begun, files: &Folder, right: &[(String, Sha256Digest)], verdict: &Verdict) -> Result<()> {
    if !permits(verdict) {
        return Ok(());
    }
    begun.keep(
        files,
        &[],
        right.iter().map(|(path, digest)| (path.as_str(), *digest)),
    )
}

/// A verification: it reads chunk indexes, and writes nothing.
struct ReadOnly {
    release: Option<Folder>,
}

impl Host for ReadOnly {
    fn index(&mut self, sha256: Sha256Digest, size: u64) -> Result<Option<Vec<u8>>> {
        match &self.release {
            Some(release) => read_index(release, sha256, size),
            None => Ok(None),
        }
    }

    fn keep_index(&mut self, _: Sha256Digest, _: &[u8]) -> Result<()> {
        Ok(())
    }

    fn write(&mut self, _: Piece, _: &FileEntry, _: &[u8]) -> Result<()> {
        Err(DeviceError::Stuck)
    }

    fn seal(&mut self) -> Result<()> {
        Err(DeviceError::Stuck)
    }

    fn persist(&mut self, _: &DeviceState) -> Result<()> {
        Err(DeviceError::Stuck)
    }

    fn activate(&mut self) -> Result<()> {
        Err(DeviceError::Stuck)
    }
}
