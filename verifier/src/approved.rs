//! A release that stages 1 to 6 let pass.

use std::collections::BTreeSet;

use assay_schema::{ReleaseManifest, Sha256Digest, Stage, Verdict};
use assay_trust::DeviceState;

use crate::consensus::Endorsement;
use crate::report::Reports;
use crate::request::CachedBundle;

/// A release that stages 1 to 6 let pass. Only a check makes one, and only an `Approved` can be pulled.
#[derive(Debug, Clone)]
pub struct Approved {
    pub(crate) manifest: ReleaseManifest,
    pub(crate) bytes: Vec<u8>,
    pub(crate) digest: Sha256Digest,
    pub(crate) state: DeviceState,
    pub(crate) bundle: Option<CachedBundle>,
    pub(crate) reports: Reports,
    pub(crate) endorsements: Vec<Endorsement>,
}

impl Approved {
    /// The release manifest.
    pub fn manifest(&self) -> &ReleaseManifest {
        &self.manifest
    }

    /// Its exact bytes.
    pub fn manifest_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Their SHA-256.
    pub fn manifest_digest(&self) -> Sha256Digest {
        self.digest
    }

    /// The state as it was persisted at the end of the check.
    pub fn state(&self) -> &DeviceState {
        &self.state
    }

    /// What to keep for the next check.
    pub fn bundle(&self) -> Option<&CachedBundle> {
        self.bundle.as_ref()
    }

    /// What the other authorities said that the owner's trust policy names.
    pub fn endorsements(&self) -> &[Endorsement] {
        &self.endorsements
    }

    /// Identities of those of them that signed the release: to keep with it, for [`crate::consensus::kept`].
    pub fn endorsed_by(&self) -> BTreeSet<Sha256Digest> {
        let counted = self.endorsements.iter().filter(|e| e.counts());
        counted.map(|e| e.authority().identity).collect()
    }

    /// The verdict as far as it goes: content is skipped, which refuses if the caller requires it.
    pub fn verdict(&self) -> Verdict {
        let mut reports = self.reports.clone();
        reports.skip(Stage::Content, "nothing was pulled");
        reports.enforce(&[]);
        reports.verdict()
    }
}
