//! The check bundle of a model.

use actix_web::http::header::CONTENT_TYPE;
use actix_web::web::{Path, Query};
use actix_web::{HttpRequest, HttpResponse};
use assay_schema::api::{ReleaseInfo, ReleaseState};
use assay_schema::limits::{MAX_MANIFEST, MAX_ROOT_ROTATIONS, MAX_TRUST_TARGET};
use assay_schema::problem::{Problem, ProblemKind};
use assay_schema::status::ROLE;
use assay_schema::tuf::ModelRole;
use assay_schema::{CheckBundle, ModelName, NamespaceName, ReleaseManifest, VersionName, log};
use serde::Deserialize;

use super::blobs::not_modified;
use super::bundle::Builder;
use super::cache::{Assembled, Keep, Kept, Key};
use super::{conditional, revalidated};
use crate::auth::Caller;
use crate::metadata::TargetsFile;
use crate::persistence::{MetadataFile, NamespaceRecord};
use crate::problem::{ApiError, ApiResult};
use crate::state::{AppState, State};

/// How often a bundle begins again because the namespace changed meanwhile.
const ATTEMPTS: usize = 5;
/// The query of a check.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CheckQuery {
    /// The version of the root that the device trusts.
    root: u64,
    /// A certain version; else the highest.
    version: Option<String>,
}

/// Get a check bundle
///
/// Everything that a device needs for the stages before content, in one answer: unmodified TUF files, the manifest and its
/// attestations. It proves nothing by itself; the device judges each part. What is too large is left out.
#[utoipa::path(
    get,
    path = "/v1/namespaces/{namespace}/models/{model}/check",
    tag = "distribute",
    operation_id = "get_check_bundle",
    params(
        ("namespace" = NamespaceName, Path, description = "The namespace"),
        ("model" = ModelName, Path, description = "The model"),
        ("root" = u64, Query, description = "The version of the root that the device trusts"),
        ("version" = Option<VersionName>, Query, description = "A certain version; the highest in order without it"),
        ("If-None-Match" = Option<String>, Header, description = "RFC 9110 section 13.1.2"),
    ),
    responses(
        (status = 200, description = "The bundle", body = CheckBundle, headers(("ETag" = String))),
        (status = 304, description = "The entity tag still holds"),
        (status = "4XX", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ),
    security((), ("token" = []))
)]
pub async fn check(
    request: HttpRequest,
    state: State,
    caller: Caller,
    path: Path<(String, String)>,
    query: Query<CheckQuery>,
) -> ApiResult {
    let (namespace, model) = path.into_inner();
    let (namespace, model): (NamespaceName, ModelName) = (namespace.parse()?, model.parse()?);
    let version: Option<VersionName> = query.version.as_deref().map(str::parse).transpose()?;
    let record = caller.reads(&state, &namespace).await?;
    let visibility = record.visibility;
    let unchanged = |sha256| conditional::not_modified(&request, &conditional::tag(sha256));
    let kept = kept(&state, &record, &model, version.as_ref(), query.root);
    let (sha256, bytes) = match kept {
        Some(Kept { sha256, .. }) if unchanged(&sha256) => {
            return Ok(not_modified(&sha256, revalidated(visibility)));
        }
        Some(Kept {
            sha256,
            bytes: Some(bytes),
        }) => (sha256, bytes),
        _ => {
            let made = bundle(&state, record, &model, version.as_ref(), query.root).await?;
            (made.sha256, made.bytes)
        }
    };
    if unchanged(&sha256) {
        return Ok(not_modified(&sha256, revalidated(visibility)));
    }
    Ok(HttpResponse::Ok()
        .insert_header(conditional::etag(&sha256))
        .insert_header(revalidated(visibility))
        .insert_header((CONTENT_TYPE, "application/json"))
        .body(bytes))
}

fn key(
    namespace: &NamespaceRecord,
    newest_root: u64,
    model: &ModelName,
    version: Option<&VersionName>,
    root: u64,
) -> Key {
    Key {
        identity: namespace.identity,
        revision: namespace.revision,
        // However far ahead a device says it is, there is one bundle without roots.
        root: root.min(newest_root),
        model: model.clone(),
        version: version.cloned(),
    }
}

/// What is kept of the bundle, without a question to the database.
fn kept(
    state: &AppState,
    namespace: &NamespaceRecord,
    model: &ModelName,
    version: Option<&VersionName>,
    root: u64,
) -> Option<Kept> {
    let newest = state
        .bundles
        .newest_root(&namespace.identity, namespace.revision)?;
    state.bundles.get(&key(namespace, newest, model, version, root))
}

async fn bundle(
    state: &AppState,
    mut record: NamespaceRecord,
    model: &ModelName,
    version: Option<&VersionName>,
    root: u64,
) -> ApiResult<Assembled> {
    // Before one's turn: whoever waits for the log keeps nobody else waiting.
    wait_for_log(state, &record).await?;
    let _permit = state.bundles.permit().await;
    for _ in 0..ATTEMPTS {
        let newest = current(state, &record, "root").await?.version;
        let (assembled, keep) = assemble(state, &record, model, version, root).await?;
        // The parts were read one by one: they are of one state only if the revision is still the same.
        let again = state.db.namespace(&record.name).await?;
        let again = again.ok_or_else(|| ApiError::not_found(format_args!("namespace {}", record.name)))?;
        if again.revision == record.revision {
            state
                .bundles
                .set_newest_root(record.identity, record.revision, newest);
            state
                .bundles
                .put(key(&record, newest, model, version, root), &assembled, keep);
            return Ok(assembled);
        }
        record = again;
    }
    Err(ApiError::new(
        ProblemKind::Unavailable,
        "the namespace changes all the time; try again",
    ))
}

/// The present snapshot, if the namespace names a log.
async fn logged_snapshot(state: &AppState, namespace: &NamespaceRecord) -> ApiResult<Option<MetadataFile>> {
    let targets = current(state, namespace, "targets").await?;
    let listed = TargetsFile::parse("targets", &targets.bytes).map_err(ApiError::internal)?;
    if !listed.targets.contains_key(log::TARGET) {
        return Ok(None);
    }
    current(state, namespace, "snapshot").await.map(Some)
}

/// Puts the proof of the present snapshot into the bundle, if the namespace names a log; says for how long the bundle is good.
async fn add_proof(state: &AppState, namespace: &NamespaceRecord, builder: &mut Builder) -> ApiResult<Keep> {
    let Some(snapshot) = logged_snapshot(state, namespace).await? else {
        return Ok(Keep::Long);
    };
    let proven = state
        .log_part(namespace.identity, snapshot.version, snapshot.sha256, None)
        .await?;
    let Some(proven) = proven else {
        return Ok(Keep::Not);
    };
    builder.log(proven.part);
    // Witnesses that are down now may have cosigned when the device asks again.
    Ok(match proven.settled {
        true => Keep::Long,
        false => Keep::Short,
    })
}

/// Without a place in the log in time, a bundle is served without proof, and not kept.
async fn wait_for_log(state: &AppState, namespace: &NamespaceRecord) -> ApiResult<()> {
    if let Some(snapshot) = logged_snapshot(state, namespace).await? {
        state
            .wait_for_log(namespace.identity, snapshot.version, snapshot.sha256)
            .await?;
    }
    Ok(())
}

async fn current(state: &AppState, namespace: &NamespaceRecord, role: &str) -> ApiResult<MetadataFile> {
    let file = state.db.current_metadata(&namespace.name, role).await?;
    file.ok_or_else(|| {
        ApiError::internal(format_args!(
            "namespace {} has no current {role} file",
            namespace.name
        ))
    })
}

fn text(bytes: Vec<u8>) -> ApiResult<String> {
    String::from_utf8(bytes).map_err(ApiError::internal)
}

async fn wanted(
    state: &AppState,
    namespace: &NamespaceName,
    model: &ModelName,
    version: Option<&VersionName>,
) -> ApiResult<ReleaseInfo> {
    let found = match version {
        Some(version) => state.db.release(namespace, model, version).await?,
        None => state.db.highest_release(namespace, model).await?,
    };
    found
        .filter(|r| r.state == ReleaseState::Published)
        .ok_or_else(|| match version {
            Some(version) => ApiError::not_found(format_args!("release {model}@{version}")),
            None => ApiError::not_found(format_args!("published release of model {model}")),
        })
}

async fn assemble(
    state: &AppState,
    namespace: &NamespaceRecord,
    model: &ModelName,
    version: Option<&VersionName>,
    root: u64,
) -> ApiResult<(Assembled, Keep)> {
    let name = &namespace.name;
    let release = wanted(state, name, model, version).await?;
    let role = ModelRole::of(model, release.order).name();
    let targets = current(state, namespace, "targets").await?;
    let listed = TargetsFile::parse("targets", &targets.bytes).map_err(ApiError::internal)?;
    let mut builder = Builder::new(
        text(current(state, namespace, "timestamp").await?.bytes)?,
        text(current(state, namespace, "snapshot").await?.bytes)?,
        text(targets.bytes)?,
    );
    for file in state.db.roots_above(name, root, MAX_ROOT_ROTATIONS).await? {
        // Roots must follow one another: after one that does not fit none is of use.
        if !builder.root(text(file.bytes)?) {
            break;
        }
    }
    builder.role(role.clone(), text(current(state, namespace, &role).await?.bytes)?);
    if listed.delegated.iter().any(|name| name == ROLE) {
        builder.role(
            ROLE.to_owned(),
            text(current(state, namespace, ROLE).await?.bytes)?,
        );
    }

    let small = async |sha256, limit| {
        state
            .small_blob(name, sha256, limit)
            .await
            .map_err(ApiError::from)
    };
    let manifest = small(&release.manifest, MAX_MANIFEST.min(builder.room())).await?;
    let parsed = manifest
        .as_deref()
        .map(ReleaseManifest::parse)
        .transpose()
        .map_err(ApiError::internal)?;
    if let Some(bytes) = manifest {
        builder.blob(release.manifest, bytes.into());
    }
    for target in listed.targets.values().filter(|t| t.note.inline.is_none()) {
        if let Some(bytes) = small(&target.sha256, MAX_TRUST_TARGET.min(builder.room())).await? {
            builder.blob(target.sha256, bytes.into());
        }
    }
    for attestation in parsed.iter().flat_map(|m| &m.attestations).filter(|a| a.size > 0) {
        if attestation.size <= builder.room()
            && let Some(bytes) = small(&attestation.sha256, attestation.size).await?
        {
            builder.blob(attestation.sha256, bytes.into());
        }
    }
    let keep = add_proof(state, namespace, &mut builder).await?;
    Ok((builder.finish().map_err(ApiError::internal)?, keep))
}
