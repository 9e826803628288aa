//! Blobs by digest.

use actix_web::body::SizedStream;
use actix_web::http::header::{ACCEPT_RANGES, CONTENT_RANGE, CONTENT_TYPE};
use actix_web::http::{Method, StatusCode};
use actix_web::web::Path;
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder, ResponseError};
use assay_schema::api::Scope;
use assay_schema::problem::{Problem, ProblemKind};
use assay_schema::{NamespaceName, Sha256Digest};
use futures_util::stream::{self, StreamExt};

use super::conditional::{self, Selection};
use super::immutable;
use crate::auth::Caller;
use crate::persistence::{BlobRecord, NamespaceRecord};
use crate::problem::{ApiError, ApiResult};
use crate::state::{AppState, State};

/// Get a blob, or a range of it
///
/// Files, chunk indexes, attestations and manifests that a published release names; with scope `publish` any blob that the
/// namespace uploaded. A single range is answered with 206, several with the whole.
#[utoipa::path(
    get,
    path = "/v1/namespaces/{namespace}/blobs/{sha256}",
    tag = "distribute",
    operation_id = "get_blob",
    params(
        ("namespace" = NamespaceName, Path, description = "The namespace"),
        ("sha256" = Sha256Digest, Path, description = "SHA-256 of the blob"),
        ("Range" = Option<String>, Header, description = "RFC 9110 section 14.2"),
        ("If-None-Match" = Option<String>, Header, description = "RFC 9110 section 13.1.2"),
        ("If-Range" = Option<String>, Header, description = "RFC 9110 section 13.1.5"),
    ),
    responses(
        (status = 200, description = "The blob", body = Vec<u8>, content_type = "application/octet-stream",
            headers(("ETag" = String), ("Repr-Digest" = String), ("Accept-Ranges" = String))),
        (status = 206, description = "The range", body = Vec<u8>, content_type = "application/octet-stream",
            headers(("Content-Range" = String), ("Repr-Digest" = String, description = "Of the whole blob"))),
        (status = 304, description = "The entity tag still holds"),
        (status = 416, description = "`range-not-satisfiable`", body = Problem, content_type = "application/problem+json"),
        (status = "4XX", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ),
    security((), ("token" = []))
)]
pub async fn blob(
    request: HttpRequest,
    state: State,
    caller: Caller,
    path: Path<(String, String)>,
) -> ApiResult {
    let (namespace, sha256) = path.into_inner();
    let (namespace, sha256): (NamespaceName, Sha256Digest) = (namespace.parse()?, sha256.parse()?);
    let record = caller.reads(&state, &namespace).await?;
    let found = state.db.linked_blob(&namespace, &sha256).await?;
    let visible = state.db.blob_is_published(&namespace, &sha256).await?
        || caller.require(Scope::Publish, Some(&namespace)).is_ok();
    match found.filter(|_| visible) {
        Some(blob) => serve(&request, &state, &record, &blob, "application/octet-stream").await,
        None => Err(ApiError::not_found(format_args!("blob {sha256}"))),
    }
}

/// Answers with a blob or a part of it, in pieces of at most 1 MiB.
pub(super) async fn serve(
    request: &HttpRequest,
    state: &AppState,
    namespace: &NamespaceRecord,
    blob: &BlobRecord,
    content_type: &'static str,
) -> ApiResult {
    let tag = conditional::tag(&blob.sha256);
    let (mut answer, range) = match conditional::select(request, &tag, blob.size) {
        Selection::NotModified => return Ok(not_modified(&blob.sha256, immutable(namespace.visibility))),
        Selection::Unsatisfiable => return Ok(unsatisfiable(blob.size)),
        Selection::Whole => (HttpResponse::Ok(), 0..blob.size),
        Selection::Part { first, last } => {
            let mut answer = HttpResponse::build(StatusCode::PARTIAL_CONTENT);
            answer.insert_header((CONTENT_RANGE, format!("bytes {first}-{last}/{}", blob.size)));
            (answer, first..last.saturating_add(1))
        }
    };
    answer
        .insert_header(conditional::etag(&blob.sha256))
        .insert_header(conditional::repr_digest(&blob.sha256))
        .insert_header(immutable(namespace.visibility))
        .insert_header((ACCEPT_RANGES, "bytes"))
        .insert_header((CONTENT_TYPE, content_type));
    let length = range.end.saturating_sub(range.start);
    if request.method() == Method::HEAD {
        return Ok(head(&mut answer, length));
    }
    let mut pieces = Box::pin(state.read_blob(blob, range).await?);
    // What the store does not have is said while there still is an answer to say it with.
    let first = pieces.next().await.transpose()?;
    let all = stream::iter(first.map(Ok)).chain(pieces);
    Ok(answer.body(SizedStream::new(length, all)))
}

/// An answer without its body, but with its length.
pub(super) fn head(answer: &mut HttpResponseBuilder, length: u64) -> HttpResponse {
    let nothing = stream::empty::<Result<bytes::Bytes, std::io::Error>>();
    answer.body(SizedStream::new(length, nothing))
}

pub(super) fn not_modified(sha256: &Sha256Digest, cache: (&'static str, &'static str)) -> HttpResponse {
    HttpResponse::NotModified()
        .insert_header(conditional::etag(sha256))
        .insert_header(cache)
        .finish()
}

fn unsatisfiable(size: u64) -> HttpResponse {
    let detail = format!("expected a range within {size} bytes, found one outside");
    let mut answer = ApiError::new(ProblemKind::RangeNotSatisfiable, detail).error_response();
    if let Ok(value) = format!("bytes */{size}").try_into() {
        answer.headers_mut().insert(CONTENT_RANGE, value);
    }
    answer
}
