//! The registry's current metadata, verified by the device's own workflow before a publisher signs on top of it.

use std::collections::BTreeSet;

use assay_authority::metadata::Targets;
use assay_schema::limits::{MAX_ROOT, MAX_TIMESTAMP};
use assay_schema::status::ROLE;
use assay_schema::tuf::ModelRole;
use assay_schema::{ModelName, Sha256Digest, VersionName};
use assay_trust::releases::ListedRelease;
use assay_trust::workflow::{Failure, Pinned};
use assay_trust::{Refreshed, Roots};
use assay_verifier::Pin;
use jiff::Timestamp;

use super::{AuthorityFolder, NamespaceRecord, PublishError};
use crate::transport::{Fetched, Transport, TransportError, paths};

/// Verified metadata of a namespace: the exact files that a new signature builds on.
pub(super) struct Current {
    pub(super) root: Vec<u8>,
    pub(super) targets: Vec<u8>,
    refreshed: Refreshed,
    roles: Vec<(ModelRole, Vec<u8>)>,
    status: Option<Vec<u8>>,
}

impl Current {
    /// Whether nothing was published between the two.
    pub(super) fn is(&self, other: &Self) -> bool {
        self.root == other.root
            && self.targets == other.targets
            && self.roles == other.roles
            && self.status == other.status
    }

    /// The status file, where one is delegated.
    pub(super) fn status(&self) -> Option<&[u8]> {
        self.status.as_deref()
    }

    /// The file of an accepted role.
    pub(super) fn role(&self, role: &ModelRole) -> Option<&[u8]> {
        self.roles
            .iter()
            .find(|(found, _)| found == role)
            .map(|(_, bytes)| bytes.as_slice())
    }

    /// The files of the model's roles that were accepted.
    pub(super) fn model_roles(&self) -> impl Iterator<Item = (ModelRole, &[u8])> {
        let roles = self.roles.iter();
        roles.map(|(role, bytes)| (role.clone(), bytes.as_slice()))
    }

    /// The version of a role, as the snapshot and the files that lead to it say; `None` if the snapshot does not name it.
    pub(super) fn version_of(&self, role: &str) -> Option<u64> {
        self.refreshed.current_version(role)
    }

    /// The file of any model's role, as the snapshot names it: its digest is the signed one, its own signatures are not judged.
    pub(super) fn fetch_role(
        &self,
        record: &NamespaceRecord,
        transport: &dyn Transport,
        role: &ModelRole,
    ) -> Result<Option<Vec<u8>>, PublishError> {
        if let Some(bytes) = self.role(role) {
            return Ok(Some(bytes.to_vec()));
        }
        let Some(wanted) = self.refreshed.wanted_role(&role.name())? else {
            return Ok(None);
        };
        let bytes = Fetch { record, transport }.pinned(&wanted)?;
        match wanted.matches(&bytes) {
            true => Ok(Some(bytes)),
            false => Err(PublishError::Missing { what: wanted.file }),
        }
    }

    /// Ids of the keys that the status revokes, where one stands.
    pub(super) fn revoked_keys(&self) -> Result<BTreeSet<String>, PublishError> {
        let status = self.status().map(Targets::read).transpose()?;
        let status = status.map(|file| file.status()).transpose()?;
        Ok(status.map(|status| status.revoked_keys).unwrap_or_default())
    }

    /// The release that is highest in order.
    pub(super) fn highest(&self) -> Result<Option<ListedRelease>, PublishError> {
        let mut highest: Option<ListedRelease> = None;
        for (role, _) in &self.roles {
            if let Some(found) = self.refreshed.highest(role)?
                && highest.as_ref().is_none_or(|h| h.order < found.order)
            {
                highest = Some(found);
            }
        }
        Ok(highest)
    }

    /// The release of this version, whatever block it is in.
    pub(super) fn version(&self, version: &VersionName) -> Result<Option<ListedRelease>, PublishError> {
        for (role, _) in &self.roles {
            if let Some(found) = self.refreshed.version(role, version)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }
}

/// Refreshes from the static TUF paths (TUF 5.3 to 5.6), with the folder's own pin and floors; of delegated roles those of `model`.
pub(super) fn refresh(
    folder: &AuthorityFolder,
    record: &NamespaceRecord,
    transport: &dyn Transport,
    model: Option<&ModelName>,
    now: Timestamp,
) -> Result<Current, PublishError> {
    let pin = Pin::new(record.name.clone(), record.identity);
    let fetch = Fetch { record, transport };
    let _turn = folder.turn()?;
    let keep = |failure: Box<Failure>| -> PublishError {
        match folder.save_state(&failure.state) {
            Ok(()) => failure.error.into(),
            Err(error) => error,
        }
    };
    let mut roots = Roots::open(&pin, folder.state(&pin)?, now).map_err(keep)?;
    while let Some(next) = roots.next_version() {
        let Some(bytes) = fetch.find(&format!("{next}.root.json"), MAX_ROOT)? else {
            break;
        };
        roots = roots.accept(&bytes).map_err(keep)?;
    }
    let root = roots.state().root.clone().into_bytes();
    let timestamp = fetch.get("timestamp.json", MAX_TIMESTAMP)?;
    let snapshot = roots.finish().map_err(keep)?.accept(&timestamp).map_err(keep)?;
    let wanted = snapshot.wanted()?;
    let bytes = match snapshot.kept() {
        Some(kept) if wanted.matches(kept.as_bytes()) => kept.as_bytes().to_vec(),
        _ => fetch.pinned(&wanted)?,
    };
    let top = snapshot.accept(&bytes).map_err(keep)?;
    let targets = fetch.pinned(&top.wanted()?)?;
    let mut refreshed = top.accept(&targets).map_err(keep)?;
    let mut status = None;
    if refreshed.has_status() {
        let wanted = refreshed
            .wanted_role(ROLE)?
            .ok_or_else(|| PublishError::Missing {
                what: format!("{ROLE}.json"),
            })?;
        let bytes = fetch.pinned(&wanted)?;
        refreshed = refreshed.accept_role(ROLE, &bytes).map_err(keep)?;
        refreshed.status_target()?;
        status = Some(bytes);
    }
    let mut roles = Vec::new();
    let of_model = model.map(|model| refreshed.roles_of(model)).transpose()?;
    for role in of_model.unwrap_or_default() {
        let name = role.name();
        if let Some(wanted) = refreshed.wanted_role(&name)? {
            let bytes = fetch.pinned(&wanted)?;
            refreshed = refreshed.accept_role(&name, &bytes).map_err(keep)?;
            roles.push((role, bytes));
        }
    }
    folder.save_state(refreshed.state())?;
    Ok(Current {
        root,
        targets,
        refreshed,
        roles,
        status,
    })
}

/// A blob of the namespace, by its digest; `None` if the registry has none of this length.
pub(super) fn blob(
    record: &NamespaceRecord,
    transport: &dyn Transport,
    sha256: &Sha256Digest,
    length: u64,
) -> Result<Option<Vec<u8>>, PublishError> {
    match transport.get(&paths::blob(&record.name, sha256), length, None) {
        Ok(Fetched::Found { bytes, .. }) if crate::sha256(&bytes) == *sha256 => Ok(Some(bytes)),
        Ok(_) | Err(TransportError::TooLong { .. }) => Ok(None),
        Err(e) => Err(e.into()),
    }
}

/// The bytes of a release's manifest, by the digest that its role signed.
pub(super) fn manifest(
    record: &NamespaceRecord,
    transport: &dyn Transport,
    listed: &ListedRelease,
) -> Result<Vec<u8>, PublishError> {
    let target = &listed.target;
    let path = format!("/tuf/{}/targets/{}", record.name, target.consistent_path());
    let missing = || PublishError::Missing {
        what: target.path.clone(),
    };
    let bytes = match transport.get(&path, target.length, None)? {
        Fetched::Found { bytes, .. } => bytes,
        Fetched::Missing | Fetched::NotModified => return Err(missing()),
    };
    if crate::sha256(&bytes) == target.sha256 {
        Ok(bytes)
    } else {
        Err(missing())
    }
}

struct Fetch<'a> {
    record: &'a NamespaceRecord,
    transport: &'a dyn Transport,
}

impl Fetch<'_> {
    fn find(&self, file: &str, max: u64) -> Result<Option<Vec<u8>>, PublishError> {
        match self
            .transport
            .get(&paths::metadata(&self.record.name, file), max, None)?
        {
            Fetched::Found { bytes, .. } => Ok(Some(bytes)),
            Fetched::Missing | Fetched::NotModified => Ok(None),
        }
    }

    fn get(&self, file: &str, max: u64) -> Result<Vec<u8>, PublishError> {
        self.find(file, max)?.ok_or_else(|| PublishError::Missing {
            what: file.to_owned(),
        })
    }

    fn pinned(&self, wanted: &Pinned) -> Result<Vec<u8>, PublishError> {
        self.get(&wanted.file, wanted.length)
    }
}

/// SHA-256 of metadata bytes, to tell whether a file is still the one.
pub(super) fn digest(bytes: &[u8]) -> Sha256Digest {
    crate::sha256(bytes)
}
