//! Listings and search: for people and tools. No device decides by them.

use actix_web::HttpResponse;
use actix_web::web::{Path, Query};
use assay_schema::api::{ModelInfo, NamespaceInfo, Page, ReleaseInfo, ReleaseState, Scope, SearchHit};
use assay_schema::problem::{Problem, ProblemKind};
use assay_schema::{ModelName, NamespaceName, VersionName};
use serde::Deserialize;

use crate::auth::Caller;
use crate::page::PageQuery;
use crate::problem::{ApiError, ApiResult};
use crate::state::State;

/// Bytes of a search's text.
const MAX_SEARCH: usize = 200;

/// The query of a search.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SearchQuery {
    q: String,
    limit: Option<u32>,
    cursor: Option<String>,
}

/// List namespaces
#[utoipa::path(
    get,
    path = "/v1/namespaces",
    tag = "distribute",
    operation_id = "list_namespaces",
    params(
        ("limit" = Option<u32>, Query, description = "1 to 200; 50 without it"),
        ("cursor" = Option<String>, Query, description = "`next` of the page before"),
    ),
    responses(
        (status = 200, description = "A page", body = Page<NamespaceInfo>),
        (status = "4XX", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ),
    security((), ("token" = []))
)]
pub async fn namespaces(state: State, caller: Caller, page: Query<PageQuery>) -> ApiResult {
    let found = state
        .db
        .list_namespaces(&caller.viewer(), page.cursor(), page.limit()?)
        .await?;
    Ok(HttpResponse::Ok().json(found))
}

/// Get a namespace
#[utoipa::path(
    get,
    path = "/v1/namespaces/{namespace}",
    tag = "distribute",
    operation_id = "get_namespace",
    params(("namespace" = NamespaceName, Path, description = "The namespace")),
    responses(
        (status = 200, description = "The namespace", body = NamespaceInfo),
        (status = "4XX", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ),
    security((), ("token" = []))
)]
pub async fn namespace(state: State, caller: Caller, path: Path<String>) -> ApiResult {
    let record = caller.reads(&state, &path.into_inner().parse()?).await?;
    Ok(HttpResponse::Ok().json(state.db.namespace_info(record).await?))
}

/// List a namespace's models of which something is published
#[utoipa::path(
    get,
    path = "/v1/namespaces/{namespace}/models",
    tag = "distribute",
    operation_id = "list_models",
    params(
        ("namespace" = NamespaceName, Path, description = "The namespace"),
        ("limit" = Option<u32>, Query, description = "1 to 200; 50 without it"),
        ("cursor" = Option<String>, Query, description = "`next` of the page before"),
    ),
    responses(
        (status = 200, description = "A page", body = Page<ModelInfo>),
        (status = "4XX", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ),
    security((), ("token" = []))
)]
pub async fn models(state: State, caller: Caller, path: Path<String>, page: Query<PageQuery>) -> ApiResult {
    let record = caller.reads(&state, &path.into_inner().parse()?).await?;
    let found = state
        .db
        .list_models(&record.name, page.cursor(), page.limit()?)
        .await?;
    Ok(HttpResponse::Ok().json(found))
}

/// Get a model
#[utoipa::path(
    get,
    path = "/v1/namespaces/{namespace}/models/{model}",
    tag = "distribute",
    operation_id = "get_model",
    params(
        ("namespace" = NamespaceName, Path, description = "The namespace"),
        ("model" = ModelName, Path, description = "The model"),
    ),
    responses(
        (status = 200, description = "The model", body = ModelInfo),
        (status = "4XX", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ),
    security((), ("token" = []))
)]
pub async fn model(state: State, caller: Caller, path: Path<(String, String)>) -> ApiResult {
    let (namespace, model) = path.into_inner();
    let model: ModelName = model.parse()?;
    let record = caller.reads(&state, &namespace.parse()?).await?;
    let found = state.db.model(&record.name, &model).await?;
    let found = found.ok_or_else(|| ApiError::not_found(format_args!("model {model}")))?;
    Ok(HttpResponse::Ok().json(found))
}

/// List a model's releases, highest order first
///
/// Candidates are listed to holders of scope `publish` only.
#[utoipa::path(
    get,
    path = "/v1/namespaces/{namespace}/models/{model}/releases",
    tag = "distribute",
    operation_id = "list_releases",
    params(
        ("namespace" = NamespaceName, Path, description = "The namespace"),
        ("model" = ModelName, Path, description = "The model"),
        ("limit" = Option<u32>, Query, description = "1 to 200; 50 without it"),
        ("cursor" = Option<String>, Query, description = "`next` of the page before"),
    ),
    responses(
        (status = 200, description = "A page", body = Page<ReleaseInfo>),
        (status = "4XX", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ),
    security((), ("token" = []))
)]
pub async fn releases(
    state: State,
    caller: Caller,
    path: Path<(String, String)>,
    page: Query<PageQuery>,
) -> ApiResult {
    let (namespace, model) = path.into_inner();
    let model: ModelName = model.parse()?;
    let record = caller.reads(&state, &namespace.parse()?).await?;
    let candidates = caller.require(Scope::Publish, Some(&record.name)).is_ok();
    let found = state
        .db
        .list_releases(&record.name, &model, candidates, page.cursor(), page.limit()?)
        .await?;
    Ok(HttpResponse::Ok().json(found))
}

/// Get a release
///
/// A candidate is shown to holders of scope `publish` only.
#[utoipa::path(
    get,
    path = "/v1/namespaces/{namespace}/models/{model}/releases/{version}",
    tag = "distribute",
    operation_id = "get_release",
    params(
        ("namespace" = NamespaceName, Path, description = "The namespace"),
        ("model" = ModelName, Path, description = "The model"),
        ("version" = VersionName, Path, description = "The version"),
    ),
    responses(
        (status = 200, description = "The release", body = ReleaseInfo),
        (status = "4XX", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ),
    security((), ("token" = []))
)]
pub async fn release(state: State, caller: Caller, path: Path<(String, String, String)>) -> ApiResult {
    let (namespace, model, version) = path.into_inner();
    let (model, version): (ModelName, VersionName) = (model.parse()?, version.parse()?);
    let record = caller.reads(&state, &namespace.parse()?).await?;
    let candidates = caller.require(Scope::Publish, Some(&record.name)).is_ok();
    let found = state.db.release(&record.name, &model, &version).await?;
    let found = found
        .filter(|r| candidates || r.state == ReleaseState::Published)
        .ok_or_else(|| ApiError::not_found(format_args!("release {model}@{version}")))?;
    Ok(HttpResponse::Ok().json(found))
}

/// Search published models by a part of `namespace/model`
#[utoipa::path(
    get,
    path = "/v1/search",
    tag = "distribute",
    operation_id = "search",
    params(
        ("q" = String, Query, description = "The text to look for, at most 200 bytes"),
        ("limit" = Option<u32>, Query, description = "1 to 200; 50 without it"),
        ("cursor" = Option<String>, Query, description = "`next` of the page before"),
    ),
    responses(
        (status = 200, description = "A page", body = Page<SearchHit>),
        (status = "4XX", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ),
    security((), ("token" = []))
)]
pub async fn search(state: State, caller: Caller, query: Query<SearchQuery>) -> ApiResult {
    let SearchQuery { q, limit, cursor } = query.into_inner();
    if q.len() > MAX_SEARCH {
        let detail = format!("q: expected at most {MAX_SEARCH} bytes, found {}", q.len());
        return Err(ApiError::new(ProblemKind::BadRequest, detail));
    }
    // No name holds one, and PostgreSQL takes no NUL.
    if q.chars().any(char::is_control) {
        let detail = "q: expected text without control characters, found one";
        return Err(ApiError::new(ProblemKind::BadRequest, detail));
    }
    let page = PageQuery { limit, cursor };
    let found = state
        .db
        .search(&caller.viewer(), &q, page.cursor(), page.limit()?)
        .await?;
    Ok(HttpResponse::Ok().json(found))
}
