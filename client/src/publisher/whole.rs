//! Everything that a namespace is, verified by the device's own workflow: for exporting it, and for judging an export.

use std::collections::{BTreeMap, BTreeSet};

use assay_authority::metadata::{Target, Targets};
use assay_schema::chunk::encoded_len;
use assay_schema::limits::{MAX_MANIFEST, MAX_ROOT, MAX_TIMESTAMP};
use assay_schema::{NamespaceName, ReleaseManifest, Sha256Digest, status, tuf};
use assay_trust::workflow::{Failure, Pinned};
use assay_trust::{Refreshed, Roots, TrustError};
use assay_verifier::{DeviceState, Pin, Resource};
use jiff::{SignedDuration, Timestamp};

use super::PublishError;
use crate::transport::{Fetched, Transport, paths};

/// Is given each target with the path under which a registry serves it, and its bytes, right after they were verified.
pub(super) type Keep<'a> = dyn FnMut(&str, &[u8]) -> Result<(), PublishError> + 'a;

/// A blob that a release names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct NamedBlob {
    pub(super) sha256: Sha256Digest,
    /// Bytes.
    pub(super) size: u64,
    /// The registry computes chunk indexes itself.
    pub(super) index: bool,
}

/// A namespace's whole metadata and manifests.
pub(super) struct Whole {
    /// Every root, ascending.
    pub(super) roots: Vec<Vec<u8>>,
    pub(super) timestamp: Vec<u8>,
    pub(super) snapshot: (String, Vec<u8>),
    pub(super) targets: (String, Vec<u8>),
    /// Status and model roles: by role, the file's name and bytes.
    pub(super) roles: BTreeMap<String, (String, Vec<u8>)>,
    /// The snapshot's version.
    pub(super) snapshot_version: u64,
    /// Every target with the path under which a registry serves it.
    pub(super) target_files: Vec<(Target, String)>,
    /// Every blob that a manifest of its own names, each once.
    pub(super) blobs: BTreeSet<NamedBlob>,
    /// How many releases of its own.
    pub(super) releases: usize,
}

/// Fetches by the static paths, and keeps to the pin.
struct Walk<'a> {
    transport: &'a dyn Transport,
    pin: Pin,
    now: Timestamp,
    /// Snapshot and timestamp may have expired: an export keeps them as they were.
    offline: bool,
}

/// Top-level metadata as accepted at one moment.
struct Top {
    at: Timestamp,
    refreshed: Refreshed,
    timestamp: Vec<u8>,
    snapshot: (String, Vec<u8>),
    targets: (String, Vec<u8>),
}

/// Reads a namespace whole.
///
/// # Errors
/// A file is missing, or a device that has pinned `identity` would refuse it.
pub(super) fn read(
    transport: &dyn Transport,
    name: &NamespaceName,
    identity: Sha256Digest,
    now: Timestamp,
    offline: bool,
    keep: &mut Keep<'_>,
) -> Result<Whole, PublishError> {
    let pin = Pin::new(name.clone(), identity);
    let walk = Walk {
        transport,
        pin,
        now,
        offline,
    };
    let (roots, state) = walk.roots()?;
    let top = walk.top(&state)?;
    let roles = walk.roles(&state, &top)?;
    let (target_files, blobs, releases) = walk.targets(&top, &roles, keep)?;
    Ok(Whole {
        roots,
        snapshot_version: top.refreshed.snapshot_version(),
        timestamp: top.timestamp,
        snapshot: top.snapshot,
        targets: top.targets,
        roles,
        target_files,
        blobs,
        releases,
    })
}

fn refused(failure: Box<Failure>) -> PublishError {
    failure.error.into()
}

impl Walk<'_> {
    fn find(&self, path: &str, max: u64) -> Result<Option<Vec<u8>>, PublishError> {
        match self.transport.get(path, max, None)? {
            Fetched::Found { bytes, .. } => Ok(Some(bytes)),
            Fetched::Missing | Fetched::NotModified => Ok(None),
        }
    }

    fn get(&self, path: &str, max: u64) -> Result<Vec<u8>, PublishError> {
        self.find(path, max)?.ok_or_else(|| PublishError::Missing {
            what: path.to_owned(),
        })
    }

    fn metadata(&self, file: &str, max: u64) -> Result<Vec<u8>, PublishError> {
        self.get(&paths::metadata(&self.pin.namespace, file), max)
    }

    fn pinned(&self, wanted: &Pinned) -> Result<(String, Vec<u8>), PublishError> {
        let bytes = self.metadata(&wanted.file, wanted.length)?;
        Ok((wanted.file.clone(), bytes))
    }

    /// Every root from the pinned one on (TUF 5.3), in as many runs as there are.
    fn roots(&self) -> Result<(Vec<Vec<u8>>, DeviceState), PublishError> {
        let first = self.metadata("1.root.json", MAX_ROOT)?;
        let mut state = DeviceState::first(&self.pin, &first)?;
        let mut roots = vec![first];
        loop {
            let mut run = Roots::open(&self.pin, state, self.now).map_err(refused)?;
            let before = roots.len();
            while let Some(version) = run.next_version() {
                let path = paths::metadata(&self.pin.namespace, &format!("{version}.root.json"));
                let Some(bytes) = self.find(&path, MAX_ROOT)? else {
                    return Ok((roots, run.state().clone()));
                };
                run = run.accept(&bytes).map_err(refused)?;
                roots.push(bytes);
            }
            state = run.state().clone();
            if roots.len() == before {
                return Ok((roots, state));
            }
        }
    }

    /// At `now`, or at the last moment at which everything top-level was valid.
    fn top(&self, state: &DeviceState) -> Result<Top, PublishError> {
        let mut at = self.now;
        loop {
            match self.top_at(state, at) {
                Err(PublishError::Untrusted(TrustError::Expired { role, expires, .. }))
                    if expires <= at
                        && (self.offline || !matches!(role.as_str(), "snapshot" | "timestamp")) =>
                {
                    at = expires - SignedDuration::from_secs(1);
                }
                done => return done,
            }
        }
    }

    fn top_at(&self, state: &DeviceState, at: Timestamp) -> Result<Top, PublishError> {
        let timestamp = self.metadata("timestamp.json", MAX_TIMESTAMP)?;
        let roots = Roots::open(&self.pin, state.clone(), at).map_err(refused)?;
        let await_timestamp = roots.finish().map_err(refused)?;
        let await_snapshot = await_timestamp.accept(&timestamp).map_err(refused)?;
        let snapshot = self.pinned(&await_snapshot.wanted()?)?;
        let await_targets = await_snapshot.accept(&snapshot.1).map_err(refused)?;
        let targets = self.pinned(&await_targets.wanted()?)?;
        let refreshed = await_targets.accept(&targets.1).map_err(refused)?;
        Ok(Top {
            at,
            refreshed,
            timestamp,
            snapshot,
            targets,
        })
    }

    fn roles(
        &self,
        state: &DeviceState,
        top: &Top,
    ) -> Result<BTreeMap<String, (String, Vec<u8>)>, PublishError> {
        let delegated = Targets::read(&top.targets.1)?.delegated();
        let mut names: Vec<_> = delegated.iter().map(tuf::ModelRole::name).collect();
        names.extend(top.refreshed.has_status().then(|| status::ROLE.to_owned()));
        let mut roles = BTreeMap::new();
        for name in names {
            // A block that nothing was published in yet has no file.
            let Some(wanted) = top.refreshed.wanted_role(&name)? else {
                continue;
            };
            let (file, bytes) = self.pinned(&wanted)?;
            match top.refreshed.clone().accept_role(&name, &bytes) {
                Ok(_) => {}
                // A block of old releases whose file nobody renewed: it is what it was while it held.
                Err(failure) => match failure.error {
                    TrustError::Expired { role, expires, .. } if role == name && expires <= top.at => {
                        let at = expires - SignedDuration::from_secs(1);
                        let earlier = self.top_at(state, at)?.refreshed;
                        earlier.accept_role(&name, &bytes).map_err(refused)?;
                    }
                    error => return Err(error.into()),
                },
            }
            roles.insert(name, (file, bytes));
        }
        Ok(roles)
    }

    #[expect(clippy::type_complexity, reason = "the three parts of Whole, used once")]
    fn targets(
        &self,
        top: &Top,
        roles: &BTreeMap<String, (String, Vec<u8>)>,
        keep: &mut Keep<'_>,
    ) -> Result<(Vec<(Target, String)>, BTreeSet<NamedBlob>, usize), PublishError> {
        let (mut files, mut blobs, mut releases) = (Vec::new(), BTreeSet::new(), 0);
        let listing = std::iter::once(&top.targets).chain(roles.values());
        for (_, metadata) in listing {
            for (path, target) in Targets::read(metadata)?.targets()? {
                let resource = Resource::Target {
                    path: tuf::consistent_target(&path, &target.sha256),
                };
                let served = paths::resource(&self.pin.namespace, &resource);
                let bytes = self.get(&served, target.length.min(MAX_MANIFEST))?;
                if bytes.len() as u64 != target.length || crate::sha256(&bytes) != target.sha256 {
                    return Err(PublishError::Damaged {
                        what: served,
                        expected: format!("{} bytes with SHA-256 {}", target.length, target.sha256),
                        found: format!("{} with {}", bytes.len(), crate::sha256(&bytes)),
                    });
                }
                if path.starts_with("models/") {
                    let manifest = ReleaseManifest::parse(&bytes)?;
                    // Of another namespace's release only the manifest is here (TUF TAP 4); its files are where it was released.
                    if manifest.namespace == self.pin.identity {
                        releases += 1;
                        blobs.extend(named(&manifest));
                    }
                }
                keep(&served, &bytes)?;
                files.push((target, served));
            }
        }
        Ok((files, blobs, releases))
    }
}

/// The blobs that a manifest names.
fn named(manifest: &ReleaseManifest) -> Vec<NamedBlob> {
    let mut all = Vec::new();
    for file in &manifest.files {
        all.push(NamedBlob {
            sha256: file.sha256,
            size: file.size,
            index: false,
        });
        all.extend(file.chunks.map(|sha256| NamedBlob {
            sha256,
            size: encoded_len(file.size),
            index: true,
        }));
    }
    all.extend(manifest.attestations.iter().map(|a| NamedBlob {
        sha256: a.sha256,
        size: a.size,
        index: false,
    }));
    all
}
