//! The log as C2SP tlog-tiles serve it, below `/log`; and proofs for devices that take no check bundle.

use actix_web::http::Method;
use actix_web::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use actix_web::web::{Json, Path, Query};
use actix_web::{HttpRequest, HttpResponse};
use assay_log::Leaf;
use assay_log::leaf::LeafKind;
use assay_log::tile::Resource;
use assay_schema::NamespaceName;
use assay_schema::api::{LogInfo, Visibility, WitnessInfo};
use assay_schema::bundle::LogPart;
use assay_schema::limits::MAX_LOG_BUNDLE;
use assay_schema::problem::{Problem, ProblemKind};
use serde::Deserialize;

use super::LogError;
use super::key::{cosigned, public};
use super::sequence;
use crate::auth::Caller;
use crate::persistence::LogRecord;
use crate::problem::{ApiError, ApiResult};
use crate::state::{AppState, State};

/// For what never changes under its name: tiles, also partial ones (tlog-tiles, "Caching").
const IMMUTABLE: &str = "public, max-age=31536000, immutable";

/// What a device wants proven.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProofQuery {
    /// The snapshot's version.
    snapshot: Option<u64>,
    /// Or the root's.
    root: Option<u64>,
    /// The size of the checkpoint that the device accepted last.
    log: Option<u64>,
}

async fn record(state: &AppState) -> ApiResult<LogRecord> {
    let found = state.db.log_state().await?;
    found.ok_or_else(|| ApiError::not_found("log"))
}

/// Get the name, key and witnesses of this registry's transparency log
///
/// An authority that names it in `trust/log.json` makes every device demand that its snapshots are in it.
#[utoipa::path(
    get,
    path = "/v1/log",
    tag = "log",
    operation_id = "get_log",
    responses(
        (status = 200, description = "The log", body = LogInfo),
        (status = "4XX", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ),
    security((), ("token" = []))
)]
pub async fn info(state: State) -> ApiResult<Json<LogInfo>> {
    let record = record(&state).await?;
    let key = public(&record)?;
    let mut witnesses = Vec::new();
    for key in state.witnessing.keys() {
        let last = state.db.last_cosigned(key).await?;
        witnesses.push(WitnessInfo {
            name: key.name().to_string(),
            key: key.to_string(),
            size: last.as_ref().map(|last| last.size),
            cosigned: last.map(|last| last.time),
        });
    }
    Ok(Json(LogInfo {
        origin: key.name().to_string(),
        key: key.to_string(),
        next_key: state.db.next_log_key().await?.map(|next| next.key),
        size: record.published,
        witnesses,
    }))
}

/// Get the newest checkpoint (c2sp.org/tlog-checkpoint)
///
/// It carries the cosignatures that its witnesses have made by now.
#[utoipa::path(
    get,
    path = "/log/checkpoint",
    tag = "log",
    operation_id = "get_log_checkpoint",
    responses(
        (status = 200, description = "A signed note", content_type = "text/plain; charset=utf-8"),
        (status = "4XX", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ),
    security((), ("token" = []))
)]
pub async fn checkpoint(request: HttpRequest, state: State) -> ApiResult {
    let record = record(&state).await?;
    let head = state.db.log_head(record.published).await?;
    let head = head.ok_or_else(|| ApiError::internal("the published size of the log is no batch's"))?;
    let signed = cosigned(&state, &record, head).await?.to_string();
    Ok(answer(
        &request,
        "text/plain; charset=utf-8",
        "no-cache",
        signed.into(),
    ))
}

/// Get a tile or an entry bundle (c2sp.org/tlog-tiles)
///
/// `tile/L/N[.p/W]` holds hashes, `tile/entries/N[.p/W]` holds entries behind 16-bit lengths: canonical JSON of
/// `{kind, namespace, sha256, v, version}`.
#[utoipa::path(
    get,
    path = "/log/{path}",
    tag = "log",
    operation_id = "get_log_tile",
    params(("path" = String, Path, description = "The path below the log's prefix, which holds slashes")),
    responses(
        (status = 200, description = "The bytes, which never change", content_type = "application/octet-stream"),
        (status = "4XX", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ),
    security((), ("token" = []))
)]
pub async fn tile(request: HttpRequest, state: State, path: Path<String>) -> ApiResult {
    let missing = || {
        let shown: String = path.chars().take(120).collect();
        ApiError::not_found(format_args!("tile {shown:?} in the log"))
    };
    let resource: Resource = path.parse().map_err(|_| missing())?;
    let object = sequence::object(&resource);
    let bytes = state.blobs.small_object(&object, MAX_LOG_BUNDLE as u64).await?;
    let bytes = bytes.ok_or_else(missing)?;
    Ok(answer(&request, "application/octet-stream", IMMUTABLE, bytes))
}

fn answer(
    request: &HttpRequest,
    content_type: &'static str,
    cache: &'static str,
    bytes: bytes::Bytes,
) -> HttpResponse {
    let mut answer = HttpResponse::Ok();
    answer
        .insert_header((CONTENT_TYPE, content_type))
        .insert_header((CACHE_CONTROL, cache));
    if request.method() == Method::HEAD {
        let length = bytes.len() as u64;
        return answer.no_chunking(length).finish();
    }
    answer.body(bytes)
}

/// Get the proof that a snapshot or a root is in the log
///
/// A snapshot's is what the check bundle holds under `log`, for devices that go by the static paths or know another checkpoint. A root's
/// is for devices that follow a new root.
#[utoipa::path(
    get,
    path = "/v1/namespaces/{namespace}/log-proof",
    tag = "log",
    operation_id = "get_log_proof",
    params(
        ("namespace" = NamespaceName, Path, description = "The namespace"),
        ("snapshot" = Option<u64>, Query, description = "The snapshot's version"),
        ("root" = Option<u64>, Query, description = "Or the root's"),
        ("log" = Option<u64>, Query, description = "The size of the checkpoint that the device accepted last"),
    ),
    responses(
        (status = 200, description = "The proof", body = LogPart),
        (status = "4XX", description = "A problem; 404 also if it is not in the log within two seconds", body = Problem,
         content_type = "application/problem+json"),
    ),
    security((), ("token" = []))
)]
pub async fn proof(state: State, caller: Caller, path: Path<String>, query: Query<ProofQuery>) -> ApiResult {
    let namespace: NamespaceName = path.parse()?;
    let record = caller.reads(&state, &namespace).await?;
    let (role, kind, version) = match (query.snapshot, query.root) {
        (Some(version), None) => ("snapshot", LeafKind::Snapshot, version),
        (None, Some(version)) => ("root", LeafKind::Root, version),
        _ => {
            let detail = "expected the version of either a snapshot or a root in the query";
            return Err(ApiError::new(ProblemKind::BadRequest, detail));
        }
    };
    let missing = || ApiError::not_found(format_args!("{role} {version} in the log"));
    let file = state.db.metadata(&namespace, role, version).await?;
    let file = file.ok_or_else(missing)?;
    let leaf = Leaf::new(record.identity, kind, file.version, file.sha256).map_err(LogError::from)?;
    let proven = state
        .leaf_part_soon(&leaf, query.log)
        .await?
        .ok_or_else(missing)?;
    let cache = match record.visibility {
        Visibility::Public => "no-cache",
        Visibility::Private => "private, no-cache",
    };
    Ok(HttpResponse::Ok()
        .insert_header((CACHE_CONTROL, cache))
        .json(proven.part))
}
