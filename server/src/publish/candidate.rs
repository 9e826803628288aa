//! Candidates: a manifest and everything that it names is here, but no signed metadata lists it yet (P1, P2).

use std::collections::BTreeMap;

use assay_schema::api::{ReleaseInfo, ReleaseState};
use assay_schema::{ModelName, NamespaceName, ReleaseManifest, Sha256Digest, VersionName};
use bytes::Bytes;
use jiff::Timestamp;

use super::error::PublishError;
use crate::metadata::sha256;
use crate::persistence::{BlobRecord, DatabaseError, NewBlob, NewCandidate};
use crate::state::AppState;
use crate::steps::Step;

/// What came of putting a candidate.
#[derive(Debug)]
pub struct Put {
    /// The release as it stands now.
    pub info: ReleaseInfo,
    /// It was made or replaced; otherwise the same content stood already.
    pub changed: bool,
}

/// Makes a release a candidate.
///
/// # Errors
/// The manifest is no manifest of this release, names blobs that are not there, or the release is published with other content.
pub async fn put(
    state: &AppState,
    namespace: &NamespaceName,
    model: &ModelName,
    version: &VersionName,
    bytes: Bytes,
    now: Timestamp,
) -> Result<Put, PublishError> {
    let record = state
        .db
        .namespace(namespace)
        .await?
        .ok_or_else(|| PublishError::NoNamespace(namespace.clone()))?;
    let manifest = read(record.identity, (model, version), &bytes)?;
    let digest = sha256(&bytes);
    if let Some(info) = state.db.release(namespace, model, version).await? {
        if info.manifest == digest {
            return Ok(Put { info, changed: false });
        }
        if info.state == ReleaseState::Published {
            let (model, version, published) = (model.clone(), version.clone(), info.manifest);
            return Err(PublishError::ReleaseExists {
                model,
                version,
                published,
            });
        }
    }
    check_counter(state, namespace, &manifest).await?;
    let candidate = NewCandidate {
        created: now,
        ..with_blobs(state, namespace, &manifest, &bytes).await?
    };

    // P1
    state.blobs.put_object(&digest, bytes.clone()).await?;
    state.steps.done(Step::P1)?;
    // P2
    let info = match state.db.put_candidate(candidate).await {
        Err(DatabaseError::BlobsMissing { missing }) => {
            return Err(PublishError::BlobsMissing {
                what: "the manifest".to_owned(),
                missing,
            });
        }
        put => put?,
    };
    state.steps.done(Step::P2)?;
    Ok(Put { info, changed: true })
}

/// A release as its manifest describes it, all of whose blobs are here.
///
/// # Errors
/// As [`put`].
pub(super) async fn examine(
    state: &AppState,
    namespace: &NamespaceName,
    identity: Sha256Digest,
    release: (&ModelName, &VersionName),
    bytes: &[u8],
) -> Result<NewCandidate, PublishError> {
    let manifest = read(identity, release, bytes)?;
    with_blobs(state, namespace, &manifest, bytes).await
}

fn read(
    identity: Sha256Digest,
    (model, version): (&ModelName, &VersionName),
    bytes: &[u8],
) -> Result<ReleaseManifest, PublishError> {
    let manifest = ReleaseManifest::parse(bytes)?;
    same("namespace", &identity, &manifest.namespace)?;
    same("model", model, &manifest.model)?;
    same("version", version, &manifest.version)?;
    Ok(manifest)
}

async fn with_blobs(
    state: &AppState,
    namespace: &NamespaceName,
    manifest: &ReleaseManifest,
    bytes: &[u8],
) -> Result<NewCandidate, PublishError> {
    let references = references(manifest);
    check_blobs(&state.db.linked_blobs(namespace, &references).await?, manifest)?;
    Ok(NewCandidate {
        namespace: namespace.clone(),
        model: manifest.model.clone(),
        version: manifest.version.clone(),
        order: manifest.order,
        manifest: NewBlob {
            sha256: sha256(bytes),
            size: bytes.len() as u64,
        },
        size: manifest.size(),
        files: manifest.files.len() as u64,
        references,
        created: Timestamp::UNIX_EPOCH,
    })
}

fn same<T: PartialEq + ToString>(what: &str, expected: &T, found: &T) -> Result<(), PublishError> {
    if expected == found {
        return Ok(());
    }
    Err(PublishError::ManifestField {
        what: what.to_owned(),
        expected: expected.to_string(),
        found: found.to_string(),
    })
}

/// A counter that a published release has would leave devices without a highest release.
pub(super) async fn check_counter(
    state: &AppState,
    namespace: &NamespaceName,
    manifest: &ReleaseManifest,
) -> Result<(), PublishError> {
    let counter = manifest.order.counter();
    match state
        .db
        .published_with_counter(namespace, &manifest.model, counter)
        .await?
    {
        Some(other) if other != manifest.version => Err(PublishError::ManifestField {
            what: "order".to_owned(),
            expected: "a counter that no published release of the model has".to_owned(),
            found: format!("{counter}, the counter of {other}"),
        }),
        _ => Ok(()),
    }
}

/// Every blob that the manifest names, each once.
fn references(manifest: &ReleaseManifest) -> Vec<Sha256Digest> {
    let files = manifest
        .files
        .iter()
        .flat_map(|f| [Some(f.sha256), f.chunks])
        .flatten();
    let mut all: Vec<_> = files
        .chain(manifest.attestations.iter().map(|a| a.sha256))
        .collect();
    all.sort_unstable();
    all.dedup();
    all
}

/// Sizes, and the chunk indexes that the registry itself computed while the files were uploaded.
fn check_blobs(
    linked: &BTreeMap<Sha256Digest, BlobRecord>,
    manifest: &ReleaseManifest,
) -> Result<(), PublishError> {
    let missing: Vec<_> = references(manifest)
        .into_iter()
        .filter(|d| !linked.contains_key(d))
        .collect();
    let known = |digest: &Sha256Digest| linked.get(digest);
    for file in &manifest.files {
        let Some(blob) = known(&file.sha256) else { continue };
        field(|| format!("size of {}", file.path), blob.size, file.size)?;
        let expected = blob.chunks.map_or_else(|| "none".to_owned(), |d| d.to_string());
        let found = file.chunks.map_or_else(|| "none".to_owned(), |d| d.to_string());
        field(|| format!("chunks of {}", file.path), expected, found)?;
    }
    for attestation in &manifest.attestations {
        if let Some(blob) = known(&attestation.sha256) {
            field(
                || format!("size of attestation {}", attestation.sha256),
                blob.size,
                attestation.size,
            )?;
        }
    }
    if missing.is_empty() {
        Ok(())
    } else {
        Err(PublishError::BlobsMissing {
            what: "the manifest".to_owned(),
            missing,
        })
    }
}

fn field<T: PartialEq + ToString>(
    what: impl FnOnce() -> String,
    expected: T,
    found: T,
) -> Result<(), PublishError> {
    if expected == found {
        return Ok(());
    }
    let (expected, found) = (expected.to_string(), found.to_string());
    Err(PublishError::ManifestField {
        what: what(),
        expected,
        found,
    })
}
