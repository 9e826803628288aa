//! What a device lacks of a check bundle: each part against what it says that it has.
//!
//! The registry keeps every version of metadata, so the names of the versions are enough. A device that names something else than
//! it has rebuilds other bytes, which their signed digests refuse; it fetches the file then.

use std::collections::BTreeMap;

use assay_schema::bundle::{BlobPart, BundleDifference, Held, RolePart};
use assay_schema::difference::Part;
use assay_schema::limits::{MAX_ATTESTATION, MAX_BUNDLE, MAX_MANIFEST};
use assay_schema::{CheckBundle, ModelName, NamespaceName, ReleaseManifest, Sha256Digest};

use crate::metadata::{TargetsFile, utf8};
use crate::problem::ApiResult;
use crate::state::AppState;

/// What a blob is to its release: the manifest, or an attestation of this predicate type.
pub type Kinds = BTreeMap<Sha256Digest, String>;

/// The kind of a manifest; a predicate type is a URI.
const MANIFEST: &str = "manifest";

/// The kinds of a release's blobs.
pub fn kinds(sha256: Sha256Digest, manifest: &ReleaseManifest) -> Kinds {
    let attestations = manifest.attestations.iter();
    attestations
        .map(|a| (a.sha256, a.predicate_type.clone()))
        .chain([(sha256, MANIFEST.to_owned())])
        .collect()
}

/// What a device has of an earlier state.
#[derive(Debug, Default)]
pub struct Earlier {
    roles: BTreeMap<String, String>,
    blobs: BTreeMap<Sha256Digest, String>,
    kinds: Kinds,
}

impl Earlier {
    /// Reads what the device names. What this registry does not know is left out, and so is what no device is shown: a name grants
    /// nothing.
    ///
    /// # Errors
    /// Database or object store fail.
    pub async fn read(
        state: &AppState,
        namespace: &NamespaceName,
        model: &ModelName,
        held: &Held,
    ) -> ApiResult<Self> {
        let mut earlier = Self::default();
        for (role, version) in &held.roles {
            if let Some(file) = state.db.metadata(namespace, role, *version).await? {
                earlier.roles.insert(role.clone(), utf8(&file.bytes));
            }
        }
        earlier.read_release(state, namespace, model, held).await?;
        let targets = earlier.roles.get("targets");
        if let Some(Ok(file)) = targets.map(|text| TargetsFile::parse("targets", text.as_bytes())) {
            for target in file.targets.values().filter(|t| t.note.inline.is_none()) {
                earlier
                    .read_blob(state, namespace, target.sha256, target.length)
                    .await?;
            }
        }
        Ok(earlier)
    }

    async fn read_release(
        &mut self,
        state: &AppState,
        namespace: &NamespaceName,
        model: &ModelName,
        held: &Held,
    ) -> ApiResult<()> {
        let Some(version) = &held.release else {
            return Ok(());
        };
        let release = state.db.release(namespace, model, version).await?;
        let Some(release) = release.filter(|r| r.state == assay_schema::api::ReleaseState::Published) else {
            return Ok(());
        };
        self.read_blob(state, namespace, release.manifest, MAX_MANIFEST)
            .await?;
        let text = self.blobs.get(&release.manifest);
        let Some(Ok(manifest)) = text.map(|text| ReleaseManifest::parse(text.as_bytes())) else {
            return Ok(());
        };
        self.kinds = kinds(release.manifest, &manifest);
        for attestation in &manifest.attestations {
            self.read_blob(state, namespace, attestation.sha256, MAX_ATTESTATION)
                .await?;
        }
        Ok(())
    }

    async fn read_blob(
        &mut self,
        state: &AppState,
        namespace: &NamespaceName,
        sha256: Sha256Digest,
        limit: u64,
    ) -> ApiResult<()> {
        let used: usize = self.blobs.values().map(String::len).sum();
        let left = (MAX_BUNDLE / 2).saturating_sub(used as u64);
        let found = state.small_blob(namespace, &sha256, limit.min(left)).await?;
        if let Some(Ok(text)) = found.map(|bytes| String::from_utf8(bytes.into())) {
            self.blobs.insert(sha256, text);
        }
        Ok(())
    }

    /// The blob itself where the device has it, or the earlier release's of the same kind.
    fn base(&self, sha256: &Sha256Digest, kinds: &Kinds) -> Option<(Sha256Digest, &str)> {
        let alike = || {
            let kind = kinds.get(sha256)?;
            self.kinds
                .iter()
                .find(|(_, k)| *k == kind)
                .map(|(digest, _)| *digest)
        };
        let base = match self.blobs.contains_key(sha256) {
            true => *sha256,
            false => alike()?,
        };
        Some((base, self.blobs.get(&base)?))
    }

    fn part(&self, role: &str, new: String) -> Part {
        against(self.roles.get(role).map(String::as_str), new)
    }

    /// The bundle as the difference from what the device has.
    pub fn difference(&self, whole: CheckBundle, kinds: &Kinds) -> BundleDifference {
        let delegated = whole.delegated.into_iter().map(|file| RolePart {
            metadata: self.part(&file.role, file.metadata),
            role: file.role,
        });
        let blobs = whole.blobs.into_iter().map(|blob| {
            let base = self.base(&blob.sha256, kinds);
            let content = against(base.map(|(_, text)| text), blob.content);
            BlobPart {
                sha256: blob.sha256,
                base: base
                    .map(|(digest, _)| digest)
                    .filter(|_| matches!(content, Part::Edits(_))),
                content,
            }
        });
        BundleDifference {
            v: whole.v,
            roots: whole.roots,
            timestamp: whole.timestamp,
            snapshot: self.part("snapshot", whole.snapshot),
            targets: self.part("targets", whole.targets),
            delegated: delegated.collect(),
            blobs: blobs.collect(),
            log: whole.log,
        }
    }
}

fn against(base: Option<&str>, new: String) -> Part {
    match base {
        Some(base) => Part::between(base, &new),
        None => Part::Whole(new),
    }
}
