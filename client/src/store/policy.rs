//! `trust-policy.json`: whose signatures the owner requires. It lies beside the namespaces and not inside one, so that neither a
//! registry nor the removal of a namespace makes the device forget it.

use std::collections::BTreeSet;

use assay_schema::trust_policy::{BadTrustPolicy, Requirement};
use assay_schema::{ModelRef, Sha256Digest, TrustPolicy, VersionName};
use assay_verifier::consensus;

use super::error::{Result, StoreError};
use super::write::Writer;
use super::{ActivateStep, Store, names, records};

const ADVICE: &str = "Without it nobody knows what its owner requires, so no release is used. Restore it, or remove it and require \
     anew: `assay trust require`";

impl Store {
    /// What the owner requires.
    ///
    /// # Errors
    /// The document cannot be read or followed: then nothing may be used.
    pub fn trust_policy(&self) -> Result<TrustPolicy> {
        let policy: Option<TrustPolicy> = records::load(&self.root, names::TRUST_POLICY, ADVICE)?;
        let policy = policy.unwrap_or_default();
        match policy.check() {
            Ok(()) => Ok(policy),
            Err(error) => Err(StoreError::Damaged {
                path: self.root.path().join(names::TRUST_POLICY),
                reason: error.to_string(),
                advice: ADVICE,
            }),
        }
    }

    /// What the owner requires of a model's releases.
    ///
    /// # Errors
    /// As [`Store::trust_policy`].
    pub fn requirement(&self, model: &ModelRef) -> Result<Option<Requirement>> {
        Ok(self.trust_policy()?.of(model).cloned())
    }

    /// Whether a release that is on this device has the signatures that are required now.
    pub(crate) fn require_kept(
        &self,
        model: &ModelRef,
        version: &VersionName,
        endorsed_by: &BTreeSet<Sha256Digest>,
    ) -> Result<()> {
        let requirement = self.requirement(model)?;
        let release = format!("{model}@{version}");
        consensus::kept(requirement.as_ref(), &release, endorsed_by).map_err(StoreError::NotEndorsed)
    }
}

impl Writer<'_> {
    /// T3.
    pub(crate) fn trust_policy(&self, policy: &TrustPolicy) -> Result<()> {
        let root = &self.store().root;
        records::save(root, names::TRUST_POLICY, policy)?;
        root.sync()?;
        self.store().step(ActivateStep::Require)
    }
}

impl From<BadTrustPolicy> for StoreError {
    fn from(error: BadTrustPolicy) -> Self {
        Self::TrustPolicy(error)
    }
}
