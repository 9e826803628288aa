//! The room's requests: parse, hand on, answer.

use actix_web::web::{Path, Payload, Query};
use actix_web::{HttpResponse, HttpResponseBuilder};
use assay_schema::api::{
    CreateNamespace, NamespaceInfo, OnlineKeys, Publication, Published, ReleaseInfo, Scope,
};
use assay_schema::limits::{MAX_CREATION, MAX_MANIFEST, MAX_PUBLICATION};
use assay_schema::problem::Problem;
use assay_schema::{ModelName, NamespaceName, VersionName};
use serde::Deserialize;

use super::{candidate, commit, create};
use crate::auth::Caller;
use crate::body;
use crate::problem::ApiResult;
use crate::state::State;

/// Hand out the registry's online keys for a namespace
///
/// They are made when they are first asked for; a root lists them for its snapshot and timestamp roles. With `next=true` those of
/// a later root: each becomes the current one in the same transaction as a root that lists it. Scope `admin`.
#[utoipa::path(
    post,
    path = "/v1/namespaces/{namespace}/keys",
    tag = "publish",
    operation_id = "make_keys",
    params(
        ("namespace" = NamespaceName, Path, description = "The namespace, which need not exist yet unless `next` is true"),
        ("next" = Option<bool>, Query, description = "The keys for the next rotation instead of the current ones"),
    ),
    responses(
        (status = 200, description = "The public keys", body = OnlineKeys),
        (status = "4XX", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ),
    security(("token" = []))
)]
pub async fn make_keys(
    state: State,
    caller: Caller,
    path: Path<String>,
    query: Query<KeysQuery>,
) -> ApiResult {
    let namespace: NamespaceName = path.into_inner().parse()?;
    caller.require(Scope::Admin, Some(&namespace))?;
    let keys = match query.next {
        true => create::next_keys(&state, &namespace).await?,
        false => create::keys(&state, &namespace).await?,
    };
    Ok(HttpResponse::Ok().json(keys))
}

/// Which online keys are asked for.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeysQuery {
    /// Those of a later root.
    #[serde(default)]
    next: bool,
}

/// Create a namespace
///
/// From its first root, which lists exactly the registry's keys for the online roles, and its first targets. The device's own
/// verifier judges the outcome before it is visible. Scope `admin`.
///
/// A namespace that moves here from another registry brings all its roots and roles along; its last root lists this registry's keys.
/// What its releases name was uploaded before, which the scope `admin` permits once the keys were asked for.
#[utoipa::path(
    put,
    path = "/v1/namespaces/{namespace}",
    tag = "publish",
    operation_id = "create_namespace",
    params(("namespace" = NamespaceName, Path, description = "The namespace")),
    request_body = CreateNamespace,
    responses(
        (status = 201, description = "Created", body = NamespaceInfo),
        (status = 200, description = "It was created with the same content before", body = NamespaceInfo),
        (status = 409, description = "`namespace-exists`", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "`metadata-refused` or `blobs-missing`", body = Problem,
            content_type = "application/problem+json"),
        (status = "4XX", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ),
    security(("token" = []))
)]
pub async fn create_namespace(
    state: State,
    caller: Caller,
    path: Path<String>,
    payload: Payload,
) -> ApiResult {
    let namespace: NamespaceName = path.into_inner().parse()?;
    caller.require(Scope::Admin, Some(&namespace))?;
    let request: CreateNamespace = body::json(&state, payload, MAX_CREATION).await?;
    let created = create::create(&state, &namespace, request, state.clock.now()).await?;
    Ok(created_or_ok(created.new).json(created.info))
}

/// 201 for what is new, 200 for what stood already.
fn created_or_ok(new: bool) -> HttpResponseBuilder {
    match new {
        true => HttpResponse::Created(),
        false => HttpResponse::Ok(),
    }
}

/// Put a release candidate
///
/// The body is the exact bytes of `release.json`, whose blobs were uploaded before. Devices see the release once signed metadata
/// lists it. Scope `publish`.
#[utoipa::path(
    put,
    path = "/v1/namespaces/{namespace}/models/{model}/releases/{version}",
    tag = "publish",
    operation_id = "put_release",
    params(
        ("namespace" = NamespaceName, Path, description = "The namespace"),
        ("model" = ModelName, Path, description = "The model"),
        ("version" = VersionName, Path, description = "The version"),
    ),
    request_body(content = Vec<u8>, content_type = "application/json", description = "The release manifest, canonical JSON"),
    responses(
        (status = 201, description = "The candidate was made or replaced", body = ReleaseInfo),
        (status = 200, description = "The same content stood already", body = ReleaseInfo),
        (status = 409, description = "`release-exists`", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "`bad-manifest` or `blobs-missing`", body = Problem,
            content_type = "application/problem+json"),
        (status = "4XX", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ),
    security(("token" = []))
)]
pub async fn put_release(
    state: State,
    caller: Caller,
    path: Path<(String, String, String)>,
    payload: Payload,
) -> ApiResult {
    let (namespace, model, version) = path.into_inner();
    let (namespace, model, version): (NamespaceName, ModelName, VersionName) =
        (namespace.parse()?, model.parse()?, version.parse()?);
    caller.publishes(&state, &namespace).await?;
    let bytes = body::bytes(&state, payload, MAX_MANIFEST).await?;
    let put = candidate::put(&state, &namespace, &model, &version, bytes, state.clock.now()).await?;
    Ok(created_or_ok(put.changed).json(put.info))
}

/// Publish signed metadata: targets files, or the next root
///
/// Compare-and-swap: each file names the one that it replaces. The registry signs the next snapshot and timestamp, has the
/// device's own verifier judge the outcome, and makes all of it visible at once, or nothing. Sending the same publication again
/// gives the same answer. A root is signed by the thresholds of the root before it and of its own, and lists this registry's
/// current or next online keys. Scope `publish`.
#[utoipa::path(
    post,
    path = "/v1/namespaces/{namespace}/metadata",
    tag = "publish",
    operation_id = "publish_metadata",
    params(("namespace" = NamespaceName, Path, description = "The namespace")),
    request_body = Publication,
    responses(
        (status = 200, description = "Published", body = Published),
        (status = 409, description = "`stale-parent`, with the current files", body = Problem,
            content_type = "application/problem+json"),
        (status = 422, description = "`metadata-refused`, with the verdict where a release was judged, or `blobs-missing`",
            body = Problem, content_type = "application/problem+json"),
        (status = "4XX", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ),
    security(("token" = []))
)]
pub async fn publish_metadata(
    state: State,
    caller: Caller,
    path: Path<String>,
    payload: Payload,
) -> ApiResult {
    let namespace: NamespaceName = path.into_inner().parse()?;
    caller.publishes(&state, &namespace).await?;
    let publication: Publication = body::json(&state, payload, MAX_PUBLICATION).await?;
    let published = commit::publish(&state, &namespace, publication, state.clock.now()).await?;
    Ok(HttpResponse::Ok().json(published))
}
