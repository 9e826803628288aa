//! Comparing any folder with a release that is kept on this device, without asking anybody.

use std::path::Path;

use assay_schema::{ModelRef, Verdict, VersionName};

use super::{Device, Result};
use crate::folder::Folder;
use crate::store::{StoreError, active_record, lease};

impl Device {
    /// Verifies every byte of a folder against a release that is kept on this device, offline: the given version, or the active
    /// one. Who made the release, and whether it was fresh, was judged when it was activated.
    ///
    /// # Errors
    /// No such release is kept, the folder or the store cannot be read, or the last check that let the model pass is older than the
    /// owner lets it be. A folder that differs is a verdict.
    pub fn verify_copy(
        &self,
        folder: &Path,
        model: &ModelRef,
        version: Option<&VersionName>,
        progress: &mut dyn FnMut(u64),
    ) -> Result<Verdict> {
        let pin = self.store.pin(&model.namespace)?;
        self.check_age(model)?;
        let not_active = || StoreError::NotActive(model.clone());
        let kept = self.store.find_model(model)?.ok_or_else(not_active)?;
        let active = active_record(&kept)?.ok_or_else(not_active)?;
        let wanted = version.unwrap_or(&active.active.version);
        let record = active.all().find(|r| r.version == *wanted);
        let found = record.map(|record| lease(&kept, record)).transpose()?.flatten();
        let (Some(record), Some((release, _lease))) = (record, found) else {
            let versions: Vec<_> = active.all().map(|r| r.version.to_string()).collect();
            let (wanted, kept) = (Some(wanted.clone()), versions.join(", "));
            return Err(StoreError::NotKept {
                model: model.clone(),
                wanted,
                kept,
            }
            .into());
        };
        let how = &self.verification;
        self.compare(
            &pin,
            model,
            &Folder::open(folder)?,
            (release, record),
            how,
            progress,
        )
    }
}
