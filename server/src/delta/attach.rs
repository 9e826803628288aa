//! What a publisher's delta must be before it is shown.

use assay_delta::index::{HEADER, MAX_INDEX};
use assay_delta::{Header, Index};
use assay_schema::delta::{AttachDelta, DeltaInfo, DeltaMaker};
use assay_schema::problem::{Problem, ProblemKind};
use assay_schema::{ModelName, ReleaseManifest};
use bytes::{Bytes, BytesMut};
use futures_util::TryStreamExt;
use tokio::sync::Semaphore;

use super::release;
use crate::persistence::{BlobRecord, NamespaceRecord};
use crate::problem::{ApiError, ApiResult};
use crate::state::AppState;

/// Indexes that are read at the same time: each may take [`MAX_INDEX`] and somewhat more.
static READING: Semaphore = Semaphore::const_new(2);

/// Reads header and index of the blob, and compares them with what they should be of.
///
/// # Errors
/// `not-found` for releases that are not published, `blobs-missing`, `bad-delta`.
pub(super) async fn examine(
    state: &AppState,
    namespace: &NamespaceRecord,
    model: &ModelName,
    asked: &AttachDelta,
) -> ApiResult<DeltaInfo> {
    let pair = [asked.base, asked.target];
    let published = state
        .db
        .published_manifests(&namespace.name, model, &pair)
        .await?;
    if let Some(missing) = pair.iter().find(|manifest| !published.contains(manifest)) {
        let what = format_args!("published release of {model} with manifest {missing}");
        return Err(ApiError::not_found(what));
    }
    let blob = state
        .db
        .linked_blob(&namespace.name, &asked.blob)
        .await?
        .ok_or_else(|| {
            let mut problem = Problem::new(
                ProblemKind::BlobsMissing,
                format!("delta {}: upload it first", asked.blob),
            );
            problem.missing = vec![asked.blob];
            ApiError::from(problem)
        })?;
    let base = release::manifest(state, &namespace.name, &asked.base).await?;
    let target = release::manifest(state, &namespace.name, &asked.target).await?;

    let _turn = READING.acquire().await.map_err(ApiError::internal)?;
    let head = bytes(state, &blob, HEADER as u64).await?;
    let header = Header::parse(&head).map_err(bad)?;
    if header.frames() > blob.size {
        let found = blob.size;
        return Err(bad(format!(
            "expected header and index of {} bytes, found a blob of {found}",
            header.frames()
        )));
    }
    let head = bytes(state, &blob, header.frames()).await?;
    let (asked, size) = (*asked, blob.size);
    let checked = move || check(&head, &asked, size, (&base, &target));
    tokio::task::spawn_blocking(checked)
        .await
        .map_err(ApiError::internal)?
        .map(|(index, full)| DeltaInfo {
            base: asked.base,
            target: asked.target,
            blob: asked.blob,
            size,
            index,
            full,
            made_by: DeltaMaker::Publisher,
            created: state.clock.now(),
        })
}

/// Gives the bytes of header and index, and those of the target's files.
fn check(
    head: &[u8],
    asked: &AttachDelta,
    size: u64,
    (base, target): (&ReleaseManifest, &ReleaseManifest),
) -> ApiResult<(u64, u64)> {
    let index = Index::parse(head).map_err(bad)?;
    index.between(&asked.base, &asked.target).map_err(bad)?;
    sizes("base", base, index.base_sizes().iter().copied())?;
    sizes("target", target, index.target_sizes())?;
    if index.total() != size {
        return Err(bad(format!(
            "expected {} bytes, as its index says, found a blob of {size}",
            index.total()
        )));
    }
    Ok((index.header().frames(), target.size()))
}

/// The delta's files are the release's, in the order of their paths.
fn sizes(
    side: &'static str,
    manifest: &ReleaseManifest,
    found: impl ExactSizeIterator<Item = u64>,
) -> ApiResult<()> {
    let (expected, count) = (manifest.files.len(), found.len());
    if expected != count {
        return Err(bad(format!("{side}: expected {expected} files, found {count}")));
    }
    for (file, found) in manifest.files.iter().zip(found) {
        if file.size != found {
            return Err(bad(format!(
                "{side}: {}: expected {} bytes, found {found}",
                file.path, file.size
            )));
        }
    }
    Ok(())
}

fn bad(what: impl std::fmt::Display) -> ApiError {
    ApiError::new(
        ProblemKind::BadDelta,
        format!("delta: {what}; make it of these two releases' files"),
    )
}

/// The first bytes of a blob, of which [`MAX_INDEX`] and the header are the most.
async fn bytes(state: &AppState, blob: &BlobRecord, length: u64) -> ApiResult<Bytes> {
    let length = length.min(blob.size).min(MAX_INDEX + HEADER as u64);
    let pieces = state.read_blob(blob, 0..length).await?;
    let all = pieces
        .try_fold(BytesMut::new(), |mut all, piece| async move {
            all.extend_from_slice(&piece);
            Ok(all)
        })
        .await?;
    Ok(all.freeze())
}
