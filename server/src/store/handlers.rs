//! `/v1/namespaces/{ns}/uploads`: parse, decide, commit, answer.

use actix_web::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use actix_web::web::{Path, Payload};
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder};
use assay_schema::NamespaceName;
use assay_schema::api::{StartUpload, UploadInfo};
use assay_schema::limits::{CHUNK_SIZE, MAX_JSON_BODY, MAX_UPLOAD_PART};
use assay_schema::problem::{Problem, ProblemKind};

use super::lease::{Lease, NoLease};
use super::{finish, receive};
use crate::auth::Caller;
use crate::body;
use crate::nonce;
use crate::persistence::{BlobRecord, UploadRecord};
use crate::problem::{ApiError, ApiResult};
use crate::state::{AppState, State};
use crate::steps::Step;

/// Where a `PATCH` begins, and where an upload stands.
const OFFSET: &str = "Upload-Offset";

/// `POST`: starts an upload, finds the one that was started, or says that the namespace has the blob.
pub(super) async fn start(state: State, caller: Caller, path: Path<String>, payload: Payload) -> ApiResult {
    let namespace: NamespaceName = path.parse()?;
    caller.uploads(&state, &namespace).await?;
    let asked: StartUpload = body::json(&state, payload, MAX_JSON_BODY).await?;
    if asked.size > state.config.uploads.max_size {
        let detail = format!(
            "size: expected at most {}, found {}",
            state.config.uploads.max_size, asked.size
        );
        return Err(ApiError::new(ProblemKind::TooLarge, detail));
    }
    if let Some(blob) = state.db.linked_blob(&namespace, &asked.sha256).await?
        && has_its_index(&blob)
    {
        same_size(asked.size, blob.size, "the blob of this digest")?;
        return Ok(answer(HttpResponse::Ok(), &complete(&blob)));
    }
    let upload = insert(&state, &namespace, &asked).await?;
    same_size(
        asked.size,
        upload.size,
        "the upload of this digest; DELETE that one, or go on with its size",
    )?;
    if upload.offset < upload.size {
        return Ok(answer(HttpResponse::Created(), &under_way(&upload)));
    }
    // All bytes are here (or there are none to come): what is left is to finish, as after a crash behind U3.
    let lease = take_lease(&state, &upload.id, &upload.namespace)?;
    let info = finish_in_background(&state, lease, upload).await?;
    Ok(answer(HttpResponse::Ok(), &info))
}

/// U1, unless the upload was started before.
async fn insert(state: &AppState, namespace: &NamespaceName, asked: &StartUpload) -> ApiResult<UploadRecord> {
    if let Some(found) = state.db.upload_of(namespace, &asked.sha256).await? {
        return Ok(found);
    }
    let upload = state
        .db
        .start_upload(
            &nonce::nonce().map_err(ApiError::internal)?,
            namespace,
            &asked.sha256,
            asked.size,
            state.clock.now(),
        )
        .await?;
    state.steps.done(Step::U1)?;
    Ok(upload)
}

/// `GET`, `HEAD`: where an upload stands.
pub(super) async fn show(state: State, caller: Caller, path: Path<(String, String)>) -> ApiResult {
    let upload = find(&state, &caller, &path).await?;
    Ok(answer(HttpResponse::Ok(), &under_way(&upload)))
}

/// `PATCH`: takes bytes from `Upload-Offset` on.
pub(super) async fn append(
    request: HttpRequest,
    state: State,
    caller: Caller,
    path: Path<(String, String)>,
    payload: Payload,
) -> ApiResult {
    let UploadRecord { id, namespace, .. } = find(&state, &caller, &path).await?;
    let offset: u64 = header(&request, OFFSET)?
        .ok_or_else(|| bad_request(format!("expected the header {OFFSET}, found none")))?;
    let media = request.headers().get(CONTENT_TYPE).map(|value| value.as_bytes());
    if media.is_some_and(|media| media != b"application/octet-stream") {
        return Err(bad_request(
            "expected Content-Type application/octet-stream".to_owned(),
        ));
    }
    let lease = take_lease(&state, &id, &namespace)?;
    // Read under the lease: no one else moves it now.
    let upload = find(&state, &caller, &path).await?;
    if offset != upload.offset {
        let detail = format!(
            "expected {OFFSET} {}, found {offset}; go on from there",
            upload.offset
        );
        let mut problem = Problem::new(ProblemKind::OffsetMismatch, detail);
        problem.offset = Some(upload.offset);
        return Err(problem.into());
    }
    let most = upload.size.saturating_sub(offset).min(MAX_UPLOAD_PART);
    if header::<u64>(&request, CONTENT_LENGTH.as_str())?.is_some_and(|length| length > most) {
        return Err(receive::too_large(most));
    }
    let info = receive::receive(&state, lease, upload, payload).await?;
    Ok(answer(HttpResponse::Ok(), &info))
}

/// `DELETE`: forgets an upload.
pub(super) async fn cancel(state: State, caller: Caller, path: Path<(String, String)>) -> ApiResult {
    let upload = find(&state, &caller, &path).await?;
    let _lease = take_lease(&state, &upload.id, &upload.namespace)?;
    let segments = state.db.segments(&upload.id, 0..upload.size).await?;
    finish::discard(&state, &upload.id, &segments).await?;
    Ok(HttpResponse::NoContent().finish())
}

async fn finish_in_background(state: &AppState, lease: Lease, upload: UploadRecord) -> ApiResult<UploadInfo> {
    let work = {
        let state = state.clone();
        async move {
            let _lease = lease;
            finish::finish(&state, &upload).await
        }
    };
    state.tasks.spawn(work).await.map_err(ApiError::internal)?
}

async fn find(state: &AppState, caller: &Caller, path: &(String, String)) -> ApiResult<UploadRecord> {
    let namespace: NamespaceName = path.0.parse()?;
    caller.uploads(state, &namespace).await?;
    let found = if nonce::is_nonce(&path.1) {
        state.db.upload(&namespace, &path.1).await?
    } else {
        None
    };
    found.ok_or_else(|| {
        ApiError::not_found("upload of this id; it may be complete: POST its digest again to find out")
    })
}

fn take_lease(state: &AppState, id: &str, namespace: &NamespaceName) -> ApiResult<Lease> {
    state.leases.take(id, namespace).map_err(|why| {
        let kind = match why {
            NoLease::Busy => ProblemKind::UploadBusy,
            NoLease::Full(_) | NoLease::Share(_) => ProblemKind::Unavailable,
        };
        ApiError::new(kind, why.to_string()).retry_after(1)
    })
}

/// A manifest or trust target that the registry stored by itself has none; an upload of the same bytes makes it.
fn has_its_index(blob: &BlobRecord) -> bool {
    blob.chunks.is_some() || blob.size <= u64::from(CHUNK_SIZE)
}

fn same_size(asked: u64, found: u64, what: &str) -> ApiResult<()> {
    if asked == found {
        return Ok(());
    }
    Err(bad_request(format!(
        "size: expected {found}, as {what} has, found {asked}"
    )))
}

fn bad_request(detail: String) -> ApiError {
    ApiError::new(ProblemKind::BadRequest, detail)
}

fn header<T: std::str::FromStr>(request: &HttpRequest, name: &str) -> ApiResult<Option<T>> {
    let Some(value) = request.headers().get(name) else {
        return Ok(None);
    };
    let parsed = value.to_str().ok().and_then(|text| text.parse().ok());
    parsed.map(Some).ok_or_else(|| {
        bad_request(format!(
            "header {name}: expected a number of bytes, found {value:?}"
        ))
    })
}

/// An upload that goes on.
pub(super) fn under_way(upload: &UploadRecord) -> UploadInfo {
    UploadInfo {
        id: Some(upload.id.clone()),
        sha256: upload.sha256,
        size: upload.size,
        offset: upload.offset,
        complete: false,
        chunks: None,
    }
}

/// A blob that the namespace may use.
pub(super) fn complete(blob: &BlobRecord) -> UploadInfo {
    UploadInfo {
        id: None,
        sha256: blob.sha256,
        size: blob.size,
        offset: blob.size,
        complete: true,
        chunks: blob.chunks,
    }
}

fn answer(mut status: HttpResponseBuilder, info: &UploadInfo) -> HttpResponse {
    status
        .insert_header((OFFSET, info.offset.to_string()))
        .insert_header(("Cache-Control", "no-store"))
        .json(info)
}
