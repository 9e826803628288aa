//! The requests about proposals: parse, hand on, answer.

use actix_web::HttpResponse;
use actix_web::web::{self, Path, Payload, Query, ServiceConfig};
use assay_schema::api::{Page, Publication};
use assay_schema::limits::{MAX_JSON_BODY, MAX_PUBLICATION};
use assay_schema::problem::Problem;
use assay_schema::proposal::{AddSignatures, ProposalDetail, ProposalInfo};
use assay_schema::{NamespaceName, Sha256Digest};

use crate::auth::Caller;
use crate::body;
use crate::page::PageQuery;
use crate::problem::ApiResult;
use crate::state::State;

/// Wires the paths.
pub fn configure(cfg: &mut ServiceConfig) {
    cfg.service(
        web::resource("/v1/namespaces/{namespace}/proposals")
            .post(make_proposal)
            .get(list_proposals),
    )
    .service(
        web::resource("/v1/namespaces/{namespace}/proposals/{id}")
            .get(get_proposal)
            .delete(withdraw_proposal),
    )
    .service(web::resource("/v1/namespaces/{namespace}/proposals/{id}/signatures").post(sign_proposal));
}

/// Propose metadata that others have to sign, too
///
/// It must follow what stands, and at least one key that signs one of its roles now must have signed; every signature is
/// verified. The same content again adds its signatures to the proposal that is kept. Once the thresholds are met, whoever likes
/// publishes it through `metadata`. Scope `publish`.
#[utoipa::path(
    post,
    path = "/v1/namespaces/{namespace}/proposals",
    tag = "publish",
    operation_id = "make_proposal",
    params(("namespace" = NamespaceName, Path, description = "The namespace")),
    request_body = Publication,
    responses(
        (status = 201, description = "Kept", body = ProposalDetail),
        (status = 200, description = "It was kept already; new signatures were added", body = ProposalDetail),
        (status = 409, description = "`stale-parent`, with the current files, or `too-many-proposals`", body = Problem,
            content_type = "application/problem+json"),
        (status = 422, description = "`metadata-refused`", body = Problem, content_type = "application/problem+json"),
        (status = "4XX", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ),
    security(("token" = []))
)]
pub async fn make_proposal(state: State, caller: Caller, path: Path<String>, payload: Payload) -> ApiResult {
    let namespace: NamespaceName = path.into_inner().parse()?;
    caller.publishes(&state, &namespace).await?;
    let publication: Publication = body::json(&state, payload, MAX_PUBLICATION).await?;
    let (detail, new) = super::propose(&state, &namespace, publication, state.clock.now()).await?;
    Ok(match new {
        true => HttpResponse::Created().json(detail),
        false => HttpResponse::Ok().json(detail),
    })
}

/// List proposals: who signed, and what is missing
///
/// Scope `publish`.
#[utoipa::path(
    get,
    path = "/v1/namespaces/{namespace}/proposals",
    tag = "publish",
    operation_id = "list_proposals",
    params(
        ("namespace" = NamespaceName, Path, description = "The namespace"),
        ("limit" = Option<u32>, Query, description = "1 to 200; 50 without it"),
        ("cursor" = Option<String>, Query, description = "`next` of the page before"),
    ),
    responses(
        (status = 200, description = "A page", body = Page<ProposalInfo>),
        (status = "4XX", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ),
    security(("token" = []))
)]
pub async fn list_proposals(
    state: State,
    caller: Caller,
    path: Path<String>,
    query: Query<PageQuery>,
) -> ApiResult {
    let namespace: NamespaceName = path.into_inner().parse()?;
    caller.publishes(&state, &namespace).await?;
    let after: Option<Sha256Digest> = query.cursor().map(str::parse).transpose()?;
    let page = super::list(&state, &namespace, after.as_ref(), query.limit()?).await?;
    Ok(HttpResponse::Ok().json(page))
}

/// Get a proposal with its files and signatures
///
/// Scope `publish`.
#[utoipa::path(
    get,
    path = "/v1/namespaces/{namespace}/proposals/{id}",
    tag = "publish",
    operation_id = "get_proposal",
    params(
        ("namespace" = NamespaceName, Path, description = "The namespace"),
        ("id" = Sha256Digest, Path, description = "The proposal"),
    ),
    responses(
        (status = 200, description = "The proposal", body = ProposalDetail),
        (status = "4XX", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ),
    security(("token" = []))
)]
pub async fn get_proposal(state: State, caller: Caller, path: Path<(String, String)>) -> ApiResult {
    let (namespace, id) = named(path)?;
    caller.publishes(&state, &namespace).await?;
    let detail = super::get(&state, &namespace, &id).await?;
    Ok(HttpResponse::Ok().json(detail))
}

/// Add signatures to a proposal
///
/// Each must be by a key that counts towards one of the file's thresholds, over that very file; else none of them is added.
/// Scope `publish`.
#[utoipa::path(
    post,
    path = "/v1/namespaces/{namespace}/proposals/{id}/signatures",
    tag = "publish",
    operation_id = "sign_proposal",
    params(
        ("namespace" = NamespaceName, Path, description = "The namespace"),
        ("id" = Sha256Digest, Path, description = "The proposal"),
    ),
    request_body = AddSignatures,
    responses(
        (status = 200, description = "The proposal with them", body = ProposalDetail),
        (status = 409, description = "`stale-parent`: it is superseded", body = Problem,
            content_type = "application/problem+json"),
        (status = 422, description = "`metadata-refused`: a signature is not right", body = Problem,
            content_type = "application/problem+json"),
        (status = "4XX", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ),
    security(("token" = []))
)]
pub async fn sign_proposal(
    state: State,
    caller: Caller,
    path: Path<(String, String)>,
    payload: Payload,
) -> ApiResult {
    let (namespace, id) = named(path)?;
    caller.publishes(&state, &namespace).await?;
    let added: AddSignatures = body::json(&state, payload, MAX_JSON_BODY).await?;
    let detail = super::sign(&state, &namespace, &id, added, state.clock.now()).await?;
    Ok(HttpResponse::Ok().json(detail))
}

/// Withdraw a proposal
///
/// Whoever has a copy of it may propose it again. Scope `publish`.
#[utoipa::path(
    delete,
    path = "/v1/namespaces/{namespace}/proposals/{id}",
    tag = "publish",
    operation_id = "withdraw_proposal",
    params(
        ("namespace" = NamespaceName, Path, description = "The namespace"),
        ("id" = Sha256Digest, Path, description = "The proposal"),
    ),
    responses(
        (status = 204, description = "Withdrawn"),
        (status = "4XX", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ),
    security(("token" = []))
)]
pub async fn withdraw_proposal(state: State, caller: Caller, path: Path<(String, String)>) -> ApiResult {
    let (namespace, id) = named(path)?;
    caller.publishes(&state, &namespace).await?;
    super::withdraw(&state, &namespace, &id).await?;
    Ok(HttpResponse::NoContent().finish())
}

fn named(path: Path<(String, String)>) -> ApiResult<(NamespaceName, Sha256Digest)> {
    let (namespace, id) = path.into_inner();
    Ok((namespace.parse()?, id.parse()?))
}
