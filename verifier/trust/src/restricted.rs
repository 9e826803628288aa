//! What a status restricts of the state that it is part of: judged alike by devices, by the registry that is asked to publish it, and
//! by whoever is asked to sign it.

use std::collections::BTreeSet;

use assay_provenance::crypto::sha256;
use assay_schema::ModelName;
use assay_schema::status::{ROLE, Status, TARGET};
use assay_schema::tuf::ModelRole;
use serde::Deserialize;

use crate::error::TrustError;
use crate::releases::ListedRelease;
use crate::workflow::Refreshed;

#[derive(Deserialize)]
struct Signatures {
    signatures: Vec<Signature>,
}

#[derive(Deserialize)]
struct Signature {
    keyid: String,
}

impl Refreshed {
    /// The status of an accepted status role, from its own entry.
    ///
    /// # Errors
    /// The role lists something else, other bytes than it signed, or what cannot be read whole.
    pub fn status(&self) -> Result<Status, TrustError> {
        let target = self.status_target()?;
        let inline = target.note.inline.unwrap_or_default();
        let malformed = |expected: String, found: String| TrustError::Malformed {
            subject: TARGET.to_owned(),
            expected,
            found,
        };
        let digest = sha256(inline.as_bytes());
        if digest != target.sha256 || inline.len() as u64 != target.length {
            return Err(malformed(
                format!("{} inline bytes with SHA-256 {}", target.length, target.sha256),
                format!("{} with {digest}", inline.len()),
            ));
        }
        Status::parse(inline.as_bytes())
            .map_err(|e| malformed("a status of version 1".to_owned(), e.to_string()))
    }

    /// What stops every model of the namespace, if this status stands in this state: a role that is older than it demands, or a
    /// revoked key's signature on `targets` or on the status's own file, which are the bytes of this state.
    ///
    /// # Errors
    /// [`TrustError::OldRole`] or [`TrustError::RevokedKey`].
    pub fn stopped_by(&self, status: &Status, targets: &[u8], file: &[u8]) -> Result<(), TrustError> {
        old_role(status, None, |role| self.current_version(role))?;
        revoked_signer(status, "targets", targets)?;
        revoked_signer(status, ROLE, file)
    }
}

/// Whether the roles are as new as the status demands: those of no model, and those of `model`. `version` says what stands.
///
/// # Errors
/// [`TrustError::OldRole`]: one is older, or nobody knows it.
pub fn old_role(
    status: &Status,
    model: Option<&ModelName>,
    version: impl Fn(&str) -> Option<u64>,
) -> Result<(), TrustError> {
    for (role, least) in &status.versions {
        let concerned = ModelRole::parse(role).is_none_or(|role| Some(&role.model) == model);
        let found = version(role);
        if concerned && found.is_none_or(|found| found < *least) {
            let (role, least) = (role.clone(), *least);
            return Err(TrustError::OldRole { role, least, found });
        }
    }
    Ok(())
}

/// Whether no revoked key signed a file of this role. Others may have signed it, too; but without that signature the file might not
/// have reached its threshold, and the authority has it signed anew by those who remain.
///
/// # Errors
/// [`TrustError::RevokedKey`].
pub fn revoked_signer(status: &Status, role: &str, bytes: &[u8]) -> Result<(), TrustError> {
    // The file was verified: it has signatures, each with a key id.
    let signers: BTreeSet<String> = serde_json::from_slice::<Signatures>(bytes)
        .map(|file| file.signatures.into_iter().map(|s| s.keyid).collect())
        .unwrap_or_default();
    match signers.intersection(&status.revoked_keys).next() {
        None => Ok(()),
        Some(key) => Err(TrustError::RevokedKey {
            role: role.to_owned(),
            key: key.clone(),
        }),
    }
}

/// Whether the status lets a release of this model pass.
///
/// # Errors
/// [`TrustError::RevokedRelease`] or [`TrustError::OldRelease`].
pub fn release(status: &Status, model: &ModelName, release: &ListedRelease) -> Result<(), TrustError> {
    let version = release.version.clone();
    if let Some(revoked) = status.revocation(model, &version, &release.target.sha256) {
        let reason = revoked.reason.clone();
        return Err(TrustError::RevokedRelease { version, reason });
    }
    match status.orders.get(model) {
        Some(least) if release.order < *least => Err(TrustError::OldRelease {
            version,
            least: *least,
            found: release.order,
        }),
        _ => Ok(()),
    }
}
