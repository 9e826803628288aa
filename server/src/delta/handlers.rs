//! `/v1/namespaces/{ns}/models/{model}/deltas`: parse, decide, commit, answer.

use actix_web::HttpResponse;
use actix_web::web::{Path, Payload, Query};
use assay_schema::api::Visibility;
use assay_schema::delta::{AttachDelta, DeltaInfo, DeltaList, MAX_DELTAS};
use assay_schema::limits::MAX_JSON_BODY;
use assay_schema::problem::{Problem, ProblemKind};
use assay_schema::{ModelName, NamespaceName, Sha256Digest};
use jiff::SignedDuration;
use serde::Deserialize;

use super::{attach, unused};
use crate::auth::Caller;
use crate::body;
use crate::persistence::NamespaceRecord;
use crate::problem::{ApiError, ApiResult};
use crate::state::{AppState, State};
use crate::steps::Step;

/// A base that is reported again within this time is not noted again.
const RECENT: SignedDuration = SignedDuration::from_hours(24);

/// The query of a list.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListQuery {
    target: String,
    base: Option<String>,
}

/// List the deltas that lead to a release
///
/// The smallest first. Their bytes are blobs of the namespace, to be fetched by ranges: the index, and then the frames that a device
/// needs. A base that is asked for and from which there is none is noted: the registry may make that delta later.
#[utoipa::path(
    get,
    path = "/v1/namespaces/{namespace}/models/{model}/deltas",
    tag = "delta",
    operation_id = "list_deltas",
    params(
        ("namespace" = NamespaceName, Path, description = "The namespace"),
        ("model" = ModelName, Path, description = "The model"),
        ("target" = Sha256Digest, Query, description = "SHA-256 of the manifest of the release that is wanted"),
        ("base" = Option<String>, Query, description = "Only from these: SHA-256 of the manifests of releases that a device has, \
            separated by commas, at most 64"),
    ),
    responses(
        (status = 200, description = "The deltas, at most 64; none for a release that there is not", body = DeltaList),
        (status = "4XX", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ),
    security((), ("token" = []))
)]
pub async fn list(
    state: State,
    caller: Caller,
    path: Path<(String, String)>,
    query: Query<ListQuery>,
) -> ApiResult {
    let (namespace, model) = path.into_inner();
    let (namespace, model): (NamespaceName, ModelName) = (namespace.parse()?, model.parse()?);
    let target: Sha256Digest = query.target.parse()?;
    let bases = bases(query.base.as_deref())?;
    let record = caller.reads(&state, &namespace).await?;
    let items = state
        .db
        .deltas(&record.name, &model, &target, &bases, MAX_DELTAS as u64)
        .await?;
    let missing: Vec<_> = bases
        .into_iter()
        .filter(|base| items.iter().all(|item| item.base != *base))
        .collect();
    if !missing.is_empty()
        && let Err(error) = report(&state, &record, &model, &target, missing).await
    {
        // The device has its answer; it reports its base again the next time.
        tracing::warn!(%error, "cannot note the base that a device reported");
    }
    let cache = match record.visibility {
        Visibility::Public => "no-cache",
        Visibility::Private => "private, no-cache",
    };
    Ok(HttpResponse::Ok()
        .insert_header(("cache-control", cache))
        .json(DeltaList { items }))
}

/// Attach a delta
///
/// The blob was uploaded to the namespace before. Its header and index must be of a delta between these two published releases, over
/// files of their sizes, and as long as the blob; whether its frames tell the truth is for devices to find out. A pair of releases
/// keeps one delta, the smallest. Scope `publish`.
#[utoipa::path(
    post,
    path = "/v1/namespaces/{namespace}/models/{model}/deltas",
    tag = "delta",
    operation_id = "attach_delta",
    params(
        ("namespace" = NamespaceName, Path, description = "The namespace"),
        ("model" = ModelName, Path, description = "The model"),
    ),
    request_body = AttachDelta,
    responses(
        (status = 201, description = "It is shown from now on", body = DeltaInfo),
        (status = 200, description = "The pair has a delta that is at least as small, which stays", body = DeltaInfo),
        (status = 404, description = "One of the releases is not published", body = Problem,
            content_type = "application/problem+json"),
        (status = 422, description = "`bad-delta` or `blobs-missing`", body = Problem,
            content_type = "application/problem+json"),
        (status = "4XX", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ),
    security(("token" = []))
)]
pub async fn attach(
    state: State,
    caller: Caller,
    path: Path<(String, String)>,
    payload: Payload,
) -> ApiResult {
    let (namespace, model) = path.into_inner();
    let (namespace, model): (NamespaceName, ModelName) = (namespace.parse()?, model.parse()?);
    let record = caller.publishes(&state, &namespace).await?;
    let asked: AttachDelta = body::json(&state, payload, MAX_JSON_BODY).await?;
    let info = attach::examine(&state, &record, &model, &asked).await?;
    let kept = state.db.keep_delta(&record.name, &model, &info, None).await?;
    state.steps.done(Step::D3)?;
    unused::delete(&state, &kept.unused).await?;
    let mut answer = if kept.changed {
        HttpResponse::Created()
    } else {
        HttpResponse::Ok()
    };
    Ok(answer.json(kept.kept))
}

/// Remove a delta
///
/// Its bytes go, too, where nothing else names them. The registry does not make one of this pair by itself again. Scope `publish`.
#[utoipa::path(
    delete,
    path = "/v1/namespaces/{namespace}/models/{model}/deltas/{base}/{target}",
    tag = "delta",
    operation_id = "remove_delta",
    params(
        ("namespace" = NamespaceName, Path, description = "The namespace"),
        ("model" = ModelName, Path, description = "The model"),
        ("base" = Sha256Digest, Path, description = "SHA-256 of the base's manifest"),
        ("target" = Sha256Digest, Path, description = "SHA-256 of the target's manifest"),
    ),
    responses(
        (status = 204, description = "It is gone"),
        (status = "4XX", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ),
    security(("token" = []))
)]
pub async fn remove(state: State, caller: Caller, path: Path<(String, String, String, String)>) -> ApiResult {
    let (namespace, model, base, target) = path.into_inner();
    let (namespace, model): (NamespaceName, ModelName) = (namespace.parse()?, model.parse()?);
    let (base, target): (Sha256Digest, Sha256Digest) = (base.parse()?, target.parse()?);
    let record = caller.publishes(&state, &namespace).await?;
    let none = || ApiError::not_found(format_args!("delta of {model} from {base} to {target}"));
    let found = state.db.deltas(&record.name, &model, &target, &[base], 1).await?;
    let blob = found.first().ok_or_else(none)?.blob;
    let dropped = state
        .db
        .drop_delta(&record.name, &base, &target, &blob, true)
        .await?;
    let unused = dropped.ok_or_else(none)?;
    state.steps.done(Step::D4)?;
    unused::delete(&state, &unused).await?;
    Ok(HttpResponse::NoContent().finish())
}

fn bases(text: Option<&str>) -> ApiResult<Vec<Sha256Digest>> {
    let Some(text) = text.filter(|text| !text.is_empty()) else {
        return Ok(Vec::new());
    };
    let count = text.split(',').count();
    if count > MAX_DELTAS {
        let detail = format!("base: expected at most {MAX_DELTAS} digests, found {count}");
        return Err(ApiError::new(ProblemKind::BadRequest, detail));
    }
    Ok(text.split(',').map(str::parse).collect::<Result<_, _>>()?)
}

/// Notes bases from which devices want to come to the highest release. Only published releases of the model count, so that no
/// stranger fills the table.
async fn report(
    state: &AppState,
    namespace: &NamespaceRecord,
    model: &ModelName,
    target: &Sha256Digest,
    mut bases: Vec<Sha256Digest>,
) -> ApiResult<()> {
    if !state.config.deltas.enabled {
        return Ok(());
    }
    let highest = state.db.highest_release(&namespace.name, model).await?;
    if highest.is_none_or(|highest| highest.manifest != *target) {
        return Ok(());
    }
    bases.retain(|base| base != target);
    let published = state
        .db
        .published_manifests(&namespace.name, model, &bases)
        .await?;
    let now = state.clock.now();
    let recent = now.saturating_sub(RECENT).unwrap_or(now);
    if state
        .db
        .note_delta_bases(&namespace.name, model, &published, now, recent)
        .await?
    {
        state.steps.done(Step::D6)?;
        state.delta_work.notify_one();
    }
    Ok(())
}
