//! The bytes of `trust/*` targets: uploaded before, sent along at creation, or inside their own entry.

use assay_schema::limits::MAX_TRUST_TARGET;
use assay_schema::{NamespaceName, Sha256Digest};
use assay_verifier::documents;
use bytes::Bytes;

use super::decide::NewRole;
use super::error::PublishError;
use crate::metadata::{Target, sha256};
use crate::persistence::NewBlob;
use crate::state::AppState;
use crate::steps::Step;

/// A target's bytes that are to be stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustBlob {
    /// Their digest.
    pub sha256: Sha256Digest,
    /// The bytes.
    pub bytes: Bytes,
}

impl TrustBlob {
    fn of(text: &str) -> Self {
        let bytes = Bytes::copy_from_slice(text.as_bytes());
        Self {
            sha256: sha256(&bytes),
            bytes,
        }
    }

    /// What its row says.
    pub fn row(&self) -> NewBlob {
        NewBlob {
            sha256: self.sha256,
            size: self.bytes.len() as u64,
        }
    }
}

/// Finds the bytes of every `trust/*` target, and of every `endorsed` manifest, that is not stored yet, so that every TUF client can
/// fetch it. Documents that devices know are judged, those that stand inside their entry by [`super::decide`] before.
///
/// # Errors
/// There are none for a target, `sent_along` has bytes that no target names, or devices could not read a document.
pub async fn find(
    state: &AppState,
    namespace: &NamespaceName,
    sent: &[NewRole],
    endorsed: &[&Target],
    sent_along: &[&str],
) -> Result<Vec<TrustBlob>, PublishError> {
    let along: Vec<_> = sent_along.iter().map(|text| TrustBlob::of(text)).collect();
    let targets: Vec<_> = sent
        .iter()
        .flat_map(NewRole::trust_targets)
        .map(|(_, target)| target)
        .chain(endorsed.iter().copied())
        .collect();
    if let Some(stray) = along
        .iter()
        .find(|b| targets.iter().all(|t| t.sha256 != b.sha256))
    {
        return Err(PublishError::Unlisted(stray.sha256));
    }
    let digests: Vec<_> = targets.iter().map(|t| t.sha256).collect();
    let linked = state.db.linked_blobs(namespace, &digests).await?;
    let (mut found, mut missing) = (Vec::<TrustBlob>::new(), Vec::new());
    for target in targets {
        let is_it =
            |blob: &TrustBlob| blob.sha256 == target.sha256 && blob.bytes.len() as u64 == target.length;
        if linked
            .get(&target.sha256)
            .is_some_and(|b| b.size == target.length)
            || found.iter().any(is_it)
        {
            continue;
        }
        let inline = target.note.inline.as_deref().map(TrustBlob::of);
        match along.iter().cloned().chain(inline).find(is_it) {
            Some(blob) => found.push(blob),
            None => missing.push(target.sha256),
        }
    }
    if !missing.is_empty() {
        return Err(PublishError::BlobsMissing {
            what: "the targets metadata".to_owned(),
            missing,
        });
    }
    for role in sent {
        let apart =
            |(path, target): &(&String, &Target)| documents::is_known(path) && target.note.inline.is_none();
        for (path, target) in role.trust_targets().filter(apart) {
            let stored = match found.iter().find(|blob| blob.sha256 == target.sha256) {
                Some(blob) => Some(blob.bytes.clone()),
                None => {
                    state
                        .small_blob(namespace, &target.sha256, MAX_TRUST_TARGET)
                        .await?
                }
            };
            role.check_document(path, target, &stored.unwrap_or_default())?;
        }
    }
    Ok(found)
}

/// Puts the objects (P1).
///
/// # Errors
/// The object store fails.
pub async fn put(state: &AppState, blobs: &[TrustBlob]) -> Result<(), PublishError> {
    for blob in blobs {
        state.blobs.put_object(&blob.sha256, blob.bytes.clone()).await?;
        state.steps.done(Step::P1)?;
    }
    Ok(())
}

/// Puts the objects (P1) and links them to the namespace (P2).
///
/// # Errors
/// A store fails.
pub async fn store(
    state: &AppState,
    namespace: &NamespaceName,
    blobs: Vec<TrustBlob>,
) -> Result<(), PublishError> {
    put(state, &blobs).await?;
    for blob in blobs {
        state.db.add_small_blob(namespace, blob.row()).await?;
        state.steps.done(Step::P2)?;
    }
    Ok(())
}
