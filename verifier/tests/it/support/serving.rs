//! What the simulator's registry answers, by both routes.

use assay_schema::bundle::{BlobPart, BundleDifference, BundledBlob, Held, LogPart, RoleFile, RolePart};
use assay_schema::difference::Part;
use assay_schema::{CheckBundle, VersionName};
use assay_verifier::provenance::sha256;
use assay_verifier::{Answer, Fetch, Resource};

use super::simulator::{Simulator, text};

fn against(base: Option<&Vec<u8>>, new: String) -> Part {
    match base {
        Some(base) => Part::between(&text(base), &new),
        None => Part::Whole(new),
    }
}

impl Simulator {
    /// The check bundle for a device with this root version.
    pub(crate) fn bundle(&self, version: Option<&VersionName>, root: u64) -> CheckBundle {
        let chosen = match version {
            Some(version) => self.releases.iter().find(|r| r.version == *version),
            None => self.releases.iter().max_by_key(|r| r.order),
        };
        let mut blobs: Vec<&[u8]> = Vec::new();
        if let Some(release) = chosen {
            blobs.push(&release.manifest);
            blobs.extend(
                release
                    .attestations
                    .iter()
                    .filter_map(|d| self.blobs.get(d))
                    .map(Vec::as_slice),
            );
        }
        CheckBundle {
            v: 1,
            roots: self.roots.iter().skip(root as usize).map(|r| text(r)).collect(),
            timestamp: text(&self.current["timestamp"]),
            snapshot: text(&self.current["snapshot"]),
            targets: text(&self.current["targets"]),
            delegated: chosen
                .map(|r| RoleFile {
                    role: r.role.clone(),
                    metadata: text(&self.current[&r.role]),
                })
                .into_iter()
                .chain(self.current.get("status").map(|bytes| RoleFile {
                    role: "status".to_owned(),
                    metadata: text(bytes),
                }))
                .collect(),
            blobs: blobs
                .into_iter()
                .map(|b| BundledBlob {
                    sha256: sha256(b),
                    content: text(b),
                })
                .collect(),
            log: None,
        }
    }

    /// The bundle for a device that stands there, as differences from what it names; and its entity tag, which is that of the state.
    /// `None` if the device has it.
    pub(crate) fn bundle_for(&self, fetch: &Fetch, log: Option<LogPart>) -> Option<Answer> {
        let (bundle, have) = match &fetch.resource {
            Resource::Bundle {
                version, root, have, ..
            } => (self.bundle(version.as_ref(), *root), have),
            Resource::Endorsement {
                model,
                block,
                root,
                have,
                ..
            } => (self.endorsement(&format!("model.{model}.{block}"), *root), have),
            _ => return None,
        };
        let whole = CheckBundle { log, ..bundle };
        let mut state = CheckBundle {
            roots: Vec::new(),
            ..whole.clone()
        };
        if let Some(log) = &mut state.log {
            log.consistency = None;
        }
        let etag = sha256(&serde_json::to_vec(&state).unwrap()).to_hex();
        if fetch.etag.as_ref() == Some(&etag) && whole.roots.is_empty() {
            return Some(Answer::NotModified);
        }
        let bytes = serde_json::to_vec(&self.difference(whole, have)).unwrap();
        Some(Answer::Found {
            bytes,
            etag: Some(etag),
        })
    }

    fn difference(&self, whole: CheckBundle, have: &Held) -> BundleDifference {
        let part = |role: &str, new: String| {
            let version = have.roles.get(role);
            let base = version.and_then(|v| self.metadata.get(&format!("{v}.{role}.json")));
            against(base, new)
        };
        let held = self
            .releases
            .iter()
            .find(|r| Some(&r.version) == have.release.as_ref());
        let blobs = whole.blobs.into_iter().enumerate().map(|(n, blob)| {
            // The manifest comes first, and is like the manifest before it; attestations the device has or has not.
            let has = held
                .is_some_and(|r| sha256(&r.manifest) == blob.sha256 || r.attestations.contains(&blob.sha256));
            let base = match (has, n, held) {
                (true, ..) => Some(blob.content.clone().into_bytes()),
                (false, 0, Some(release)) => Some(release.manifest.clone()),
                _ => None,
            };
            BlobPart {
                sha256: blob.sha256,
                base: base.as_deref().map(sha256),
                content: against(base.as_ref(), blob.content),
            }
        });
        BundleDifference {
            v: whole.v,
            roots: whole.roots,
            timestamp: whole.timestamp,
            snapshot: part("snapshot", whole.snapshot),
            targets: part("targets", whole.targets),
            blobs: blobs.collect(),
            delegated: whole
                .delegated
                .into_iter()
                .map(|file| RolePart {
                    metadata: part(&file.role, file.metadata),
                    role: file.role,
                })
                .collect(),
            log: whole.log,
        }
    }

    /// What an authority's registry answers about a block of another namespace's model.
    pub(crate) fn endorsement(&self, role: &str, root: u64) -> CheckBundle {
        let mut bundle = self.bundle(None, root);
        bundle.delegated.retain(|file| file.role == "status");
        bundle.blobs.clear();
        bundle
            .delegated
            .extend(self.current.get(role).map(|bytes| RoleFile {
                role: role.to_owned(),
                metadata: text(bytes),
            }));
        bundle
    }

    /// What the registry answers.
    pub(crate) fn serve(&self, fetch: &Fetch) -> Answer {
        let found = match &fetch.resource {
            Resource::Bundle { .. } | Resource::Endorsement { .. } if self.bundles => {
                return self.bundle_for(fetch, None).unwrap_or(Answer::Missing);
            }
            Resource::Bundle { .. } | Resource::Endorsement { .. } => None,
            Resource::Metadata { file } => self.metadata.get(file).cloned(),
            Resource::Target { path } => self.targets.get(path).cloned(),
            Resource::Blob { sha256, .. } => self.blobs.get(sha256).cloned(),
            Resource::LogProof { .. } | Resource::RootProof { .. } => None,
        };
        match found {
            None => Answer::Missing,
            Some(bytes) => {
                let etag = sha256(&bytes).to_hex();
                match fetch.etag.as_ref() == Some(&etag) {
                    true => Answer::NotModified,
                    false => Answer::Found {
                        bytes,
                        etag: Some(etag),
                    },
                }
            }
        }
    }
}
