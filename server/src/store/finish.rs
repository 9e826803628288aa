//! From all bytes received to a blob: U4, U5, U6.

use assay_schema::ChunkIndex;
use assay_schema::Sha256Digest;
use assay_schema::api::UploadInfo;
use assay_schema::limits::CHUNK_SIZE;
use assay_schema::problem::ProblemKind;
use bytes::Bytes;
use sha2::{Digest, Sha256};

use super::handlers;
use super::hash::{self, Digests};
use crate::persistence::{Finished, NewBlob, Segment, UploadRecord};
use crate::problem::{ApiError, ApiResult};
use crate::state::AppState;
use crate::steps::Step;

/// Hashes an upload that has all its bytes and makes a blob of it. The caller holds the lease. Doing it again after a crash
/// behind any step comes to the same.
pub(super) async fn finish(state: &AppState, upload: &UploadRecord) -> ApiResult<UploadInfo> {
    let segments = state.db.segments(&upload.id, 0..upload.size).await?;
    let chunked = upload.size > u64::from(CHUNK_SIZE);
    let found = hash::digests(state.blobs.read(segments.clone(), 0..upload.size), chunked).await?;
    if found.whole != upload.sha256 {
        discard(state, &upload.id, &segments).await?;
        let detail = format!(
            "expected bytes with SHA-256 {}, found {}; the upload is dropped, begin a new one",
            upload.sha256, found.whole
        );
        return Err(ApiError::new(ProblemKind::DigestMismatch, detail));
    }
    let index = if chunked {
        Some(put_index(state, upload, found).await?)
    } else {
        None
    };
    let finished = complete(state, upload, index).await?;
    if finished.known_before {
        delete_segments(state, &segments).await?;
    }
    tracing::info!(namespace = %upload.namespace, sha256 = %upload.sha256, size = upload.size, "blob complete");
    Ok(handlers::complete(&finished.blob))
}

async fn put_index(state: &AppState, upload: &UploadRecord, found: Digests) -> ApiResult<NewBlob> {
    let index = ChunkIndex::new(upload.size, found.chunks).map_err(ApiError::internal)?;
    // An index is up to 128 MiB: encoding and hashing it are not for a thread that answers requests.
    let (sha256, bytes) = tokio::task::spawn_blocking(move || {
        let bytes = index.encode();
        (Sha256Digest::new(Sha256::digest(&bytes).into()), bytes)
    })
    .await
    .map_err(ApiError::internal)?;
    let size = bytes.len() as u64;
    state.blobs.put_object(&sha256, Bytes::from(bytes)).await?;
    state.steps.done(Step::U4)?;
    Ok(NewBlob { sha256, size })
}

async fn complete(state: &AppState, upload: &UploadRecord, index: Option<NewBlob>) -> ApiResult<Finished> {
    let finished = state.db.finish_upload(upload, index).await?;
    state.steps.done(Step::U5)?;
    Ok(finished)
}

/// Drops an upload: its rows (as U5), then its segments (U6). One whose row is gone by now was finished by somebody else, and its
/// segments hold a blob; or it was dropped before, and the sweep finds what is left.
pub(super) async fn discard(state: &AppState, id: &str, segments: &[Segment]) -> ApiResult<()> {
    if !state.db.drop_upload(id).await? {
        return Ok(());
    }
    state.steps.done(Step::U5)?;
    delete_segments(state, segments).await
}

pub(super) async fn delete_segments(state: &AppState, segments: &[Segment]) -> ApiResult<()> {
    for segment in segments {
        state.blobs.delete(&segment.object).await?;
        state.steps.done(Step::U6)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blobs::segment_path;
    use crate::config::Config;
    use crate::persistence::NewNamespace;
    use assay_schema::api::Visibility;
    use futures_util::TryStreamExt;
    use jiff::Timestamp;

    #[tokio::test]
    async fn forgetting_an_upload_that_was_finished_meanwhile_keeps_its_blob() {
        let folder = tempfile::tempdir().unwrap();
        let state = AppState::open(Config::in_folder(folder.path()).unwrap())
            .await
            .unwrap();
        let (name, now) = ("acme".parse().unwrap(), Timestamp::now());
        let new = NewNamespace {
            name,
            identity: Sha256Digest::EMPTY,
            visibility: Visibility::Public,
            created: now,
            metadata: Vec::new(),
            blobs: Vec::new(),
            releases: Vec::new(),
        };
        let name = state.db.create_namespace(new).await.unwrap().name;
        let bytes = Bytes::from_static(b"weights");
        let sha256 = Sha256Digest::new(Sha256::digest(&bytes).into());
        let upload = state.db.start_upload("1", &name, &sha256, 7, now).await.unwrap();
        let segment = Segment {
            start: 0,
            len: 7,
            object: segment_path("1", 0, "w"),
        };
        state
            .blobs
            .put_segment(&segment.object, vec![bytes.clone()])
            .await
            .unwrap();
        state.db.advance_upload("1", &segment, now).await.unwrap();
        finish(&state, &upload).await.unwrap();

        // Whoever forgets it saw the upload before it was finished.
        discard(&state, "1", &[segment]).await.unwrap();
        let blob = state.db.linked_blob(&name, &sha256).await.unwrap().unwrap();
        let pieces: Vec<Bytes> = state
            .read_blob(&blob, 0..7)
            .await
            .unwrap()
            .try_collect()
            .await
            .unwrap();
        assert_eq!(pieces.concat(), bytes);
    }
}
