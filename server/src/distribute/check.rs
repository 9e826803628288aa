//! The check bundle of a model.

use actix_web::http::header::{CONTENT_ENCODING, CONTENT_TYPE, ETag, VARY};
use actix_web::web::{Path, Query};
use actix_web::{HttpRequest, HttpResponse};
use assay_schema::api::{ReleaseInfo, ReleaseState};
use assay_schema::bundle::{BundleDifference, Held, LogPart};
use assay_schema::limits::{MAX_MANIFEST, MAX_ROOT_ROTATIONS, MAX_TRUST_TARGET};
use assay_schema::problem::{Problem, ProblemKind};
use assay_schema::status::ROLE;
use assay_schema::tuf::ModelRole;
use assay_schema::{CheckBundle, ModelName, NamespaceName, ReleaseManifest, VersionName, log};
use serde::{Deserialize, Serialize};

use super::bundle::{Builder, fitting};
use super::cache::{Body, Form, Head, Keep, Key};
use super::difference::{Earlier, Kinds, kinds};
use super::{coding, conditional, revalidated};
use crate::auth::Caller;
use crate::metadata::{TargetsFile, sha256};
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
    /// The size of the checkpoint that the device accepted last.
    log: Option<u64>,
    /// What the device has of an earlier bundle.
    #[serde(default)]
    have: String,
    /// The block whose listing of another namespace's releases is asked for, instead of a release.
    block: Option<u64>,
}

/// What a device asks for, and from where it stands.
#[derive(Debug)]
struct Asked {
    model: ModelName,
    version: Option<VersionName>,
    root: u64,
    log: Option<u64>,
    held: Held,
    block: Option<u64>,
}

impl Asked {
    fn key(&self, namespace: &NamespaceRecord) -> Key {
        Key {
            identity: namespace.identity,
            revision: namespace.revision,
            model: self.model.clone(),
            version: self.version.clone(),
            block: self.block,
        }
    }

    fn form(&self, namespace: &NamespaceRecord, newest_root: u64) -> Form {
        Form {
            key: self.key(namespace),
            // However far ahead a device says it is, there is one bundle without roots.
            root: self.root.min(newest_root),
            log: self.log,
            held: self.held.clone(),
        }
    }
}

/// The body of an answer, for the API's description.
#[derive(Serialize, utoipa::ToSchema)]
#[serde(untagged)]
#[allow(dead_code, reason = "it describes what is sent as a BundleDifference")]
pub enum CheckAnswer {
    /// To a device that names nothing that it has.
    Whole(CheckBundle),
    /// To one that does.
    Difference(BundleDifference),
}

/// Get a check bundle
///
/// Everything that a device needs for the stages before content, in one answer: unmodified TUF files, the manifest and its
/// attestations. It proves nothing by itself; the device judges each part. What is too large is left out. A device that names what
/// it has gets the differences from that.
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
        ("log" = Option<u64>, Query, description = "The size of the checkpoint that the device accepted last"),
        ("have" = Option<String>, Query, description = "Versions of metadata and the release that the device has, as in \
            `snapshot:12,targets:3,model.minilm.0:7,release:1.2.0`"),
        ("block" = Option<u64>, Query, description = "Instead of a release: what the namespace lists of another namespace's releases in \
            this block (counter / 100). The bundle has no manifest, and no role where there is none"),
        ("If-None-Match" = Option<String>, Header, description = "RFC 9110 section 13.1.2"),
        ("Accept-Encoding" = Option<String>, Header, description = "RFC 9110 section 12.5.3; `gzip`"),
    ),
    responses(
        (status = 200, description = "The bundle", body = CheckAnswer, headers(("ETag" = String))),
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
    let namespace: NamespaceName = namespace.parse()?;
    let asked = Asked {
        model: model.parse()?,
        version: query.version.as_deref().map(str::parse).transpose()?,
        root: query.root,
        log: query.log,
        held: query.have.parse().map_err(|e: assay_schema::bundle::BadHeld| {
            ApiError::new(ProblemKind::BadRequest, e.to_string())
        })?,
        block: query.block,
    };
    let record = caller.reads(&state, &namespace).await?;
    let cache = revalidated(record.visibility);
    // Whatever its form, a state is the same to everybody but a device that still has roots to follow.
    let unchanged = |head: &Head| {
        asked.root >= head.newest_root
            && conditional::not_modified(&request, &conditional::state_tag(&head.sha256))
    };
    let known = state.bundles.head(&asked.key(&record));
    let made = known.and_then(|head| state.bundles.body(&asked.form(&record, head.newest_root)));
    let (head, body) = match (known, made) {
        (Some(head), _) if unchanged(&head) => (head, None),
        (Some(head), Some(body)) => (head, Some(body)),
        _ => {
            // Before one's turn: whoever waits for the log keeps nobody else waiting.
            wait_for_log(&state, &record).await?;
            let _permit = state.bundles.permit().await;
            let present = present(&state, record, &asked).await?;
            match present.head {
                head if unchanged(&head) => (head, None),
                head => (head, Some(body(&state, present, &asked).await?)),
            }
        }
    };
    let mut answer = match body {
        None => HttpResponse::NotModified(),
        Some(_) => HttpResponse::Ok(),
    };
    answer
        .insert_header(ETag(conditional::state_tag(&head.sha256)))
        .insert_header(cache)
        .insert_header((VARY, "accept-encoding"));
    let Some(Body { plain, gzip }) = body else {
        return Ok(answer.finish());
    };
    answer.insert_header((CONTENT_TYPE, "application/json"));
    match gzip.filter(|_| coding::accepts_gzip(&request)) {
        Some(gzip) => Ok(answer.insert_header((CONTENT_ENCODING, "gzip")).body(gzip)),
        None => Ok(answer.body(plain)),
    }
}

/// A namespace's state as one model's devices see it.
struct Present {
    namespace: NamespaceRecord,
    head: Head,
    bundle: CheckBundle,
    kinds: Kinds,
    roots: Vec<MetadataFile>,
    /// For how long it is good: without the proof that it needs it is served, and not kept.
    keep: Keep,
}

async fn present(state: &AppState, mut record: NamespaceRecord, asked: &Asked) -> ApiResult<Present> {
    for _ in 0..ATTEMPTS {
        let found = assemble(state, record, asked).await?;
        // The parts were read one by one: they are of one state only if the revision is still the same.
        let name = &found.namespace.name;
        let again = state.db.namespace(name).await?;
        let again = again.ok_or_else(|| ApiError::not_found(format_args!("namespace {name}")))?;
        if again.revision == found.namespace.revision {
            let key = asked.key(&found.namespace);
            state.bundles.put_head(key, found.head, found.keep);
            return Ok(found);
        }
        record = again;
    }
    Err(ApiError::new(
        ProblemKind::Unavailable,
        "the namespace changes all the time; try again",
    ))
}

/// The answer to a device that stands where this one does.
async fn body(state: &AppState, present: Present, asked: &Asked) -> ApiResult<Body> {
    let Present {
        namespace,
        head,
        mut bundle,
        kinds,
        roots,
        keep,
    } = present;
    let roots = roots
        .into_iter()
        .map(|file| text(file.bytes))
        .collect::<ApiResult<Vec<_>>>()?;
    bundle.roots = fitting(roots);
    let earlier = Earlier::read(state, &namespace.name, &asked.model, &asked.held).await?;
    // Comparing and compressing megabytes is nothing for the threads that serve.
    let made = tokio::task::spawn_blocking(move || {
        let plain = serde_json::to_vec(&earlier.difference(bundle, &kinds))?;
        Ok::<_, serde_json::Error>(Body {
            gzip: coding::gzip(&plain),
            plain: plain.into(),
        })
    });
    let body = made
        .await
        .map_err(ApiError::internal)?
        .map_err(ApiError::internal)?;
    let form = asked.form(&namespace, head.newest_root);
    state.bundles.put_body(form, &body, keep);
    Ok(body)
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

/// The proof of the present snapshot, if the namespace names a log and it is in it; and for how long that answer is good.
async fn log_part(
    state: &AppState,
    namespace: &NamespaceRecord,
    known: Option<u64>,
) -> ApiResult<(Option<LogPart>, Keep)> {
    let Some(snapshot) = logged_snapshot(state, namespace).await? else {
        return Ok((None, Keep::Long));
    };
    let proven = state
        .log_part(namespace.identity, snapshot.version, snapshot.sha256, known)
        .await?;
    Ok(match proven {
        None => (None, Keep::Not),
        Some(proven) if proven.settled => (Some(proven.part), Keep::Long),
        // Witnesses that are down now may have cosigned when the device asks again.
        Some(proven) => (Some(proven.part), Keep::Short),
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

async fn assemble(state: &AppState, namespace: NamespaceRecord, asked: &Asked) -> ApiResult<Present> {
    let name = &namespace.name;
    let release = match asked.block {
        None => Some(wanted(state, name, &asked.model, asked.version.as_ref()).await?),
        Some(_) => None,
    };
    let block = asked.block.or(release.as_ref().map(|r| r.order.block()));
    let role = ModelRole {
        model: asked.model.clone(),
        block: block.unwrap_or_default(),
    }
    .name();
    let newest_root = current(state, &namespace, "root").await?.version;
    let roots = state.db.roots_above(name, asked.root, MAX_ROOT_ROTATIONS).await?;
    let targets = current(state, &namespace, "targets").await?;
    let listed = TargetsFile::parse("targets", &targets.bytes).map_err(ApiError::internal)?;
    let mut builder = Builder::new(
        text(current(state, &namespace, "timestamp").await?.bytes)?,
        text(current(state, &namespace, "snapshot").await?.bytes)?,
        text(targets.bytes)?,
    );
    match (state.db.current_metadata(name, &role).await?, &release) {
        (Some(file), _) => drop(builder.role(role, text(file.bytes)?)),
        // A block of which this namespace signs nothing.
        (None, None) => {}
        (None, Some(_)) => drop(current(state, &namespace, &role).await?),
    }
    if listed.delegated.iter().any(|role| role.name == ROLE) {
        builder.role(
            ROLE.to_owned(),
            text(current(state, &namespace, ROLE).await?.bytes)?,
        );
    }

    let small = async |sha256, limit| {
        state
            .small_blob(name, sha256, limit)
            .await
            .map_err(ApiError::from)
    };
    let manifest = match &release {
        Some(release) => small(&release.manifest, MAX_MANIFEST.min(builder.room())).await?,
        None => None,
    };
    let parsed = manifest
        .as_deref()
        .map(ReleaseManifest::parse)
        .transpose()
        .map_err(ApiError::internal)?;
    if let (Some(bytes), Some(release)) = (manifest, &release) {
        builder.blob(release.manifest, bytes.into());
    }
    // Who made a release is its own namespace's to say; of another one only the log matters.
    let needed = |path: &String| release.is_some() || path == log::TARGET;
    let trust = listed.targets.iter().filter(|(path, _)| needed(path));
    for target in trust.map(|(_, t)| t).filter(|t| t.note.inline.is_none()) {
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
    let (part, keep) = log_part(state, &namespace, asked.log).await?;
    let mut connection = None;
    if let Some(LogPart { proof, consistency }) = part {
        builder.log(LogPart {
            proof,
            consistency: None,
        });
        connection = consistency;
    }
    let mut bundle = builder.finish();
    let whole = serde_json::to_vec(&bundle).map_err(ApiError::internal)?;
    if let Some(log) = &mut bundle.log {
        log.consistency = connection;
    }
    Ok(Present {
        head: Head {
            sha256: sha256(&whole),
            newest_root,
        },
        bundle,
        kinds: match (parsed, release) {
            (Some(manifest), Some(release)) => kinds(release.manifest, &manifest),
            _ => Kinds::new(),
        },
        roots,
        keep,
        namespace,
    })
}
