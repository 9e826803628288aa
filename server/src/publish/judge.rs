//! The device's own verifier over the state that a publication would make, before anything of it becomes visible.
//!
//! A device that holds the present state ([`Held`]) is walked to the proposed one, so that rollback, removal and
//! mix-and-match are caught as a device would catch them.

use std::collections::{BTreeMap, BTreeSet};

use assay_schema::status::Status;
use assay_schema::tuf::{ModelRole, metadata_file};
use assay_schema::{ModelName, NamespaceName, Sha256Digest, Verdict, VersionName};
use assay_trust::{Refreshed, Roots};
use assay_verifier::{
    Answer, AwaitFetch, CheckRequest, CheckStep, Checked, Consensus, DeviceState, Pin, Resource, Route,
    TrustError, Want, check,
};
use jiff::Timestamp;

use super::decide::TARGETS;

/// The metadata files of one state of a namespace, by the name under which a device asks for them.
#[derive(Debug, Clone, Default)]
pub struct Files(BTreeMap<String, String>);

/// What a device holds when it meets the proposed state.
#[derive(Debug, Clone)]
pub struct Held {
    /// The namespace as the device pinned it.
    pub pin: Pin,
    /// Its persisted files.
    pub state: DeviceState,
}

/// The top-level files of a state.
#[derive(Debug, Clone, Copy)]
pub struct TopLevel<'a> {
    /// The next root, if it rotates.
    pub root: Option<&'a str>,
    /// `timestamp.json`
    pub timestamp: &'a str,
    /// The snapshot that it names.
    pub snapshot: &'a str,
    /// The targets file that the snapshot names.
    pub targets: &'a str,
}

/// What the verifier said of one release.
#[derive(Debug)]
pub enum Judged {
    /// Stages 1 to 3 and 5 hold; it may be that a device has to wait.
    Accepted,
    /// They do not.
    Refused(Box<Verdict>),
}

impl Held {
    /// A device that holds a namespace's present files.
    pub fn new(
        namespace: &NamespaceName,
        identity: Sha256Digest,
        root: &str,
        online: Option<(&str, &str)>,
    ) -> Self {
        let pin = Pin::new(namespace.clone(), identity);
        let state = DeviceState {
            timestamp: online.map(|(timestamp, _)| timestamp.to_owned()),
            snapshot: online.map(|(_, snapshot)| snapshot.to_owned()),
            ..DeviceState::of_root(root.to_owned())
        };
        Self { pin, state }
    }

    /// Walks the device through TUF 5.3 to 5.6 to this state.
    ///
    /// # Errors
    /// The device would refuse it.
    pub fn walk(&self, files: TopLevel<'_>, now: Timestamp) -> Result<Refreshed, TrustError> {
        Roots::open(&self.pin, self.state.clone(), now)
            .and_then(|roots| match files.root {
                Some(root) => roots.accept(root.as_bytes()),
                None => Ok(roots),
            })
            .and_then(Roots::finish)
            .and_then(|timestamp| timestamp.accept(files.timestamp.as_bytes()))
            .and_then(|snapshot| snapshot.accept(files.snapshot.as_bytes()))
            .and_then(|targets| targets.accept(files.targets.as_bytes()))
            .map_err(|failure| failure.error)
    }
}

/// Whether a device accepts a model's role, and everything that it lists.
///
/// # Errors
/// It would refuse the role.
pub fn role(refreshed: &Refreshed, role: &ModelRole, bytes: &str) -> Result<(), TrustError> {
    let accepted = refreshed
        .clone()
        .accept_role(&role.name(), bytes.as_bytes())
        .map_err(|failure| failure.error)?;
    if !accepted.roles_of(&role.model)?.contains(role) {
        return Err(TrustError::Malformed {
            subject: TARGETS.to_owned(),
            expected: format!("a delegation to {}", role.name()),
            found: "none".to_owned(),
        });
    }
    match accepted.highest(role)? {
        Some(_) => Ok(()),
        None => Err(TrustError::NoRelease {
            model: role.model.clone(),
            wanted: "release".to_owned(),
        }),
    }
}

/// Whether a device that requires this namespace's word for another's release finds it in this role.
///
/// # Errors
/// It would not.
pub fn endorsement(
    refreshed: &Refreshed,
    role: &ModelRole,
    bytes: &str,
    version: &VersionName,
    manifest: Sha256Digest,
) -> Result<(), TrustError> {
    let accepted = refreshed
        .clone()
        .accept_role(&role.name(), bytes.as_bytes())
        .map_err(|failure| failure.error)?;
    match accepted.version(role, version)? {
        Some(listed) if listed.target.sha256 == manifest => Ok(()),
        found => Err(TrustError::Malformed {
            subject: role.manifest_path(version),
            expected: manifest.to_hex(),
            found: found.map_or_else(|| "none".to_owned(), |listed| listed.target.sha256.to_hex()),
        }),
    }
}

/// The status of a file that a device accepts, and under which it still accepts this state: what restricts every model at once would
/// stop devices until another status came.
///
/// # Errors
/// It would refuse the file, or every model under it.
pub fn status(refreshed: &Refreshed, bytes: &[u8], targets: &str) -> Result<Status, TrustError> {
    let accepted = refreshed
        .clone()
        .accept_role(assay_schema::status::ROLE, bytes)
        .map_err(|failure| failure.error)?;
    let status = accepted.status()?;
    accepted.stopped_by(&status, targets.as_bytes(), bytes)?;
    Ok(status)
}

impl Files {
    /// Adds a role's file.
    pub fn insert(&mut self, role: &str, version: u64, bytes: &str) {
        let name = match role {
            "timestamp" => "timestamp.json".to_owned(),
            _ => metadata_file(role, version),
        };
        self.0.insert(name, bytes.to_owned());
    }
}

/// What a device could fetch of the state that stands.
pub trait Source {
    /// What a failing store answers.
    type Error;

    /// A metadata file by role and version.
    ///
    /// # Errors
    /// The database fails.
    fn metadata(
        &self,
        role: &str,
        version: u64,
    ) -> impl Future<Output = Result<Option<Vec<u8>>, Self::Error>>;

    /// A blob that the namespace may use: `None` if there is none of this digest, or it is longer than `max`.
    ///
    /// # Errors
    /// A store fails.
    fn blob(
        &self,
        sha256: &Sha256Digest,
        max: u64,
    ) -> impl Future<Output = Result<Option<Vec<u8>>, Self::Error>>;
}

/// Walks the device through stages 1 to 3 and 5 for one release of the proposed state.
/// Files that are not new come from `source`.
///
/// # Errors
/// Whatever `source` fails with.
pub async fn release<S: Source>(
    held: &Held,
    files: &Files,
    model: &ModelName,
    version: &VersionName,
    now: Timestamp,
    source: &S,
) -> Result<Judged, S::Error> {
    let request = CheckRequest {
        model: model.clone(),
        want: Want::Version(version.clone()),
        route: Route::Static { cached: None },
        // Provenance is judged wherever the manifest names attestations; requiring it is each device's own decision.
        require: BTreeSet::new(),
        consensus: Consensus::none(),
    };
    let mut step = check(&held.pin, held.state.clone(), request, now);
    loop {
        step = match step {
            // Stage 4 comes last, and the proposed snapshot has no place in the log before it is published: whoever gets as far as to
            // ask for the proof has been let pass by everything else, the pinned log's form included.
            CheckStep::Fetch(wait) if matches!(wait.wanted().resource, Resource::LogProof { .. }) => {
                return Ok(Judged::Accepted);
            }
            CheckStep::Fetch(wait) => {
                let answer = answer(&wait, files, source).await?;
                wait.answer(answer)
            }
            CheckStep::Persist(wait) => wait.persisted(),
            CheckStep::Done(Checked::Refused(verdict)) => return Ok(Judged::Refused(verdict)),
            // "Not yet" is for devices to wait for; the release itself is sound.
            CheckStep::Done(Checked::Permitted(_) | Checked::Deferred(_)) => return Ok(Judged::Accepted),
        };
    }
}

async fn answer<S: Source>(wait: &AwaitFetch, files: &Files, source: &S) -> Result<Answer, S::Error> {
    let wanted = wait.wanted();
    let bytes = match &wanted.resource {
        Resource::Metadata { file } => match (files.0.get(file), parse_file(file)) {
            (Some(new), _) => Some(new.clone().into_bytes()),
            (None, Some((role, version))) => source.metadata(role, version).await?,
            (None, None) => None,
        },
        Resource::Target { path } => match consistent_digest(path) {
            Some(sha256) => source.blob(&sha256, wanted.max).await?,
            None => None,
        },
        Resource::Blob { sha256, .. } => source.blob(sha256, wanted.max).await?,
        // The request asks for the static route.
        Resource::Bundle { .. }
        | Resource::Endorsement { .. }
        | Resource::LogProof { .. }
        | Resource::RootProof { .. } => None,
    };
    Ok(match bytes {
        Some(bytes) if bytes.len() as u64 <= wanted.max => Answer::Found { bytes, etag: None },
        Some(bytes) => Answer::Failed {
            reason: format!("{} bytes, more than {}", bytes.len(), wanted.max),
        },
        None => Answer::Missing,
    })
}

/// Role and version in `VERSION.ROLE.json`; the timestamp is always among the new files.
fn parse_file(file: &str) -> Option<(&str, u64)> {
    let (version, role) = file.strip_suffix(".json")?.split_once('.')?;
    Some((role, version.parse().ok()?))
}

/// The digest in `dir/SHA256.name`.
fn consistent_digest(path: &str) -> Option<Sha256Digest> {
    let name = path.rsplit_once('/').map_or(path, |(_, name)| name);
    name.split_once('.')?.0.parse().ok()
}
