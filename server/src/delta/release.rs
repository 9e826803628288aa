//! A release as its manifest and blobs have it.

use assay_schema::limits::MAX_MANIFEST;
use assay_schema::{NamespaceName, ReleaseManifest, Sha256Digest};

use crate::problem::{ApiError, ApiResult};
use crate::state::AppState;

/// The manifest of a release, from its blob.
///
/// # Errors
/// It is not there, or a store fails.
pub(super) async fn manifest(
    state: &AppState,
    namespace: &NamespaceName,
    sha256: &Sha256Digest,
) -> ApiResult<ReleaseManifest> {
    let bytes = state.small_blob(namespace, sha256, MAX_MANIFEST).await?;
    let bytes =
        bytes.ok_or_else(|| ApiError::internal(format!("manifest {sha256}: its blob is not there")))?;
    ReleaseManifest::parse(&bytes).map_err(ApiError::internal)
}
