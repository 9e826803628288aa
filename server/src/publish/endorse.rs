//! Endorsements: targets of a model's role that are manifests of another namespace's releases (TUF TAP 4).
//!
//! Their bytes are stored, so that every TUF client can fetch the target; of the blobs that they name nothing is demanded. They have
//! no row among the releases: no listing, search or check bundle takes them for the namespace's own.

use std::collections::BTreeSet;

use assay_schema::{ModelName, NamespaceName, ReleaseManifest, VersionName};

use super::decide::{NewRelease, Sent};
use super::error::PublishError;
use super::proposed::Present;
use crate::metadata::Target;
use crate::state::AppState;

/// Another namespace's release that a publication lists for the first time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewEndorsement {
    /// Where it is listed, as a release of the namespace's own would be.
    pub listed: NewRelease,
}

impl NewEndorsement {
    /// The manifest, as listed.
    pub const fn target(&self) -> &Target {
        &self.listed.target
    }

    /// Its version.
    pub const fn version(&self) -> &VersionName {
        &self.listed.version
    }
}

/// Parts what is newly listed into releases of the namespace's own and endorsements: these come with their manifests.
///
/// # Errors
/// A manifest that came along is not that of its place, or of this namespace; or a model would have releases of both kinds.
pub async fn part(
    state: &AppState,
    present: &Present,
    sent: &Sent,
    listed: Vec<NewRelease>,
) -> Result<(Vec<NewRelease>, Vec<NewEndorsement>), PublishError> {
    let (mut releases, mut endorsements) = (Vec::new(), Vec::new());
    for new in listed {
        match sent.along(&new.target.sha256) {
            Some(bytes) => {
                check(present, &new, bytes)?;
                endorsements.push(NewEndorsement { listed: new });
            }
            None => releases.push(new),
        }
    }
    one_kind(state, present, &releases, &endorsements).await?;
    Ok((releases, endorsements))
}

fn check(present: &Present, new: &NewRelease, bytes: &str) -> Result<(), PublishError> {
    let manifest = ReleaseManifest::parse(bytes.as_bytes())?;
    if manifest.namespace == present.record.identity {
        return Err(field(
            "namespace",
            "another namespace's identity: a release of one's own is put as a candidate",
            manifest.namespace,
        ));
    }
    placed(new, &manifest, bytes.len())
}

/// Whether a manifest is of the model, version, order and length under which it is listed.
///
/// # Errors
/// It is not.
pub fn placed(new: &NewRelease, manifest: &ReleaseManifest, length: usize) -> Result<(), PublishError> {
    let place = |model: &dyn ToString, version: &dyn ToString, order: &dyn ToString| {
        format!(
            "{}@{} order {}",
            model.to_string(),
            version.to_string(),
            order.to_string()
        )
    };
    let noted = new.target.note.order;
    let order = noted.map_or_else(|| "none".to_owned(), |order| order.to_string());
    let expected = place(&new.role.model, &new.version, &order);
    let found = place(&manifest.model, &manifest.version, &manifest.order);
    if found != expected || manifest.order.block() != new.role.block {
        return Err(field("place", &expected, found));
    }
    if new.target.length != length as u64 {
        return Err(field("length", new.target.length, length));
    }
    Ok(())
}

/// A device looks for a model's highest release in all of its roles: endorsements among them would hide the namespace's own.
async fn one_kind(
    state: &AppState,
    present: &Present,
    releases: &[NewRelease],
    endorsements: &[NewEndorsement],
) -> Result<(), PublishError> {
    let namespace = &present.record.name;
    for endorsed in endorsements {
        let model = &endorsed.listed.role.model;
        let own = releases.iter().any(|release| release.role.model == *model);
        if own || state.db.highest_release(namespace, model).await?.is_some() {
            let expected = format!("a model of which {namespace} publishes no releases of its own");
            return Err(field("model", &expected, model));
        }
    }
    for release in releases {
        let model = &release.role.model;
        let listed = present.model_roles().any(|(role, _)| role.model == *model);
        // Nothing is ever delisted: a role of the model without a release of its own lists another namespace's.
        if listed && state.db.highest_release(namespace, model).await?.is_none() {
            let expected = format!("a model of which {namespace} signs no other namespace's releases");
            return Err(field("model", &expected, model));
        }
    }
    Ok(())
}

/// As [`part`] keeps it, where all that a namespace lists is there at once.
///
/// # Errors
/// A model has releases of both kinds.
pub fn apart(
    namespace: &NamespaceName,
    own: &BTreeSet<ModelName>,
    endorsements: &[NewEndorsement],
) -> Result<(), PublishError> {
    match endorsements.iter().find(|e| own.contains(&e.listed.role.model)) {
        Some(endorsed) => {
            let expected = format!("a model of which {namespace} publishes no releases of its own");
            Err(field("model", &expected, &endorsed.listed.role.model))
        }
        None => Ok(()),
    }
}

fn field(what: &str, expected: impl ToString, found: impl ToString) -> PublishError {
    PublishError::ManifestField {
        what: what.to_owned(),
        expected: expected.to_string(),
        found: found.to_string(),
    }
}
