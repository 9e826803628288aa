//! The static TUF repository, consistent snapshots on, for Assay's devices and every other TUF client.

use actix_web::http::Method;
use actix_web::http::header::CONTENT_TYPE;
use actix_web::web::Path;
use actix_web::{HttpRequest, HttpResponse};
use assay_schema::api::ReleaseState;
use assay_schema::problem::Problem;
use assay_schema::status;
use assay_schema::tuf::ModelRole;
use assay_schema::{NamespaceName, Sha256Digest};

use super::blobs::{head, not_modified, serve};
use super::{conditional, immutable, revalidated};
use crate::auth::Caller;
use crate::metadata::{TargetsFile, version_in_path};
use crate::persistence::{BlobRecord, NamespaceRecord};
use crate::problem::{ApiError, ApiResult};
use crate::state::{AppState, State};

/// Versions of the targets role that are looked through for a `trust/*` target.
const HISTORY: u64 = 64;

/// A file of the repository's metadata.
#[derive(Debug, PartialEq, Eq)]
enum File<'a> {
    Timestamp,
    Versioned { role: &'a str, version: u64 },
}

impl<'a> File<'a> {
    /// `timestamp.json` or `VERSION.ROLE.json`, in one spelling only.
    fn parse(name: &'a str) -> Option<Self> {
        if name == "timestamp.json" {
            return Some(Self::Timestamp);
        }
        let (number, role) = name.strip_suffix(".json")?.split_once('.')?;
        let version: u64 = number.parse().ok()?;
        // A name of other characters is no role's; PostgreSQL would even refuse to be asked for a NUL.
        let named = !role.is_empty()
            && role
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'));
        // The timestamp is the one file that has no version in its name (TUF 6.2.1).
        let known = role != "timestamp" && named && version.to_string() == number && version > 0;
        known.then_some(Self::Versioned { role, version })
    }
}

/// Get a TUF metadata file
///
/// `timestamp.json`, or `VERSION.ROLE.json` for every version that ever was current.
#[utoipa::path(
    get,
    path = "/tuf/{namespace}/metadata/{file}",
    tag = "distribute",
    operation_id = "get_metadata",
    params(
        ("namespace" = NamespaceName, Path, description = "The namespace"),
        ("file" = String, Path, description = "The file's name"),
        ("If-None-Match" = Option<String>, Header, description = "RFC 9110 section 13.1.2"),
    ),
    responses(
        (status = 200, description = "The exact bytes", content_type = "application/json", headers(("ETag" = String))),
        (status = 304, description = "The entity tag still holds"),
        (status = "4XX", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ),
    security((), ("token" = []))
)]
pub async fn metadata(
    request: HttpRequest,
    state: State,
    caller: Caller,
    path: Path<(String, String)>,
) -> ApiResult {
    let (namespace, name) = path.into_inner();
    let namespace: NamespaceName = namespace.parse()?;
    let record = caller.reads(&state, &namespace).await?;
    let missing = || {
        ApiError::not_found(format_args!(
            "metadata file {:?}",
            name.chars().take(120).collect::<String>()
        ))
    };
    let (file, cache) = match File::parse(&name).ok_or_else(missing)? {
        File::Timestamp => (
            state.db.current_metadata(&namespace, "timestamp").await?,
            revalidated(record.visibility),
        ),
        File::Versioned { role, version } => (
            state.db.metadata(&namespace, role, version).await?,
            immutable(record.visibility),
        ),
    };
    let file = file.ok_or_else(missing)?;
    if conditional::not_modified(&request, &conditional::tag(&file.sha256)) {
        return Ok(not_modified(&file.sha256, cache));
    }
    let mut answer = HttpResponse::Ok();
    answer
        .insert_header(conditional::etag(&file.sha256))
        .insert_header(conditional::repr_digest(&file.sha256))
        .insert_header(cache)
        .insert_header((CONTENT_TYPE, "application/json"));
    if request.method() == Method::HEAD {
        return Ok(head(&mut answer, file.bytes.len() as u64));
    }
    Ok(answer.body(file.bytes))
}

/// Get a TUF target by its consistent path, `DIR/SHA256.NAME`
///
/// Manifests of published releases and of those of other namespaces that this one signed too, `trust/*` targets and `status.json`.
#[utoipa::path(
    get,
    path = "/tuf/{namespace}/targets/{path}",
    tag = "distribute",
    operation_id = "get_target",
    params(
        ("namespace" = NamespaceName, Path, description = "The namespace"),
        ("path" = String, Path, description = "The consistent path, which holds slashes"),
        ("Range" = Option<String>, Header, description = "RFC 9110 section 14.2"),
        ("If-None-Match" = Option<String>, Header, description = "RFC 9110 section 13.1.2"),
    ),
    responses(
        (status = 200, description = "The exact bytes", content_type = "application/json", headers(("ETag" = String))),
        (status = 206, description = "The range"),
        (status = 304, description = "The entity tag still holds"),
        (status = "4XX", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ),
    security((), ("token" = []))
)]
pub async fn target(
    request: HttpRequest,
    state: State,
    caller: Caller,
    path: Path<(String, String)>,
) -> ApiResult {
    let (namespace, consistent) = path.into_inner();
    let namespace: NamespaceName = namespace.parse()?;
    let record = caller.reads(&state, &namespace).await?;
    let found = match parse_consistent(&consistent) {
        Some((path, sha256)) => find(&state, &record, &path, &sha256).await?,
        None => None,
    };
    match found {
        Some(blob) => serve(&request, &state, &record, &blob, "application/json").await,
        None => {
            let shown: String = consistent.chars().take(200).collect();
            Err(ApiError::not_found(format_args!("target {shown:?}")))
        }
    }
}

/// The target's path and digest from `DIR/SHA256.NAME`.
fn parse_consistent(consistent: &str) -> Option<(String, Sha256Digest)> {
    let (dir, file) = match consistent.rsplit_once('/') {
        Some((dir, file)) => (format!("{dir}/"), file),
        None => (String::new(), consistent),
    };
    let (sha256, name) = file.split_once('.')?;
    Some((format!("{dir}{name}"), sha256.parse().ok()?))
}

async fn find(
    state: &AppState,
    namespace: &NamespaceRecord,
    path: &str,
    sha256: &Sha256Digest,
) -> ApiResult<Option<BlobRecord>> {
    let Some(blob) = state.db.linked_blob(&namespace.name, sha256).await? else {
        return Ok(None);
    };
    let listed = if path.starts_with("trust/") {
        listed_in(state, namespace, "targets", path, sha256, HISTORY).await?
    } else if path == status::TARGET {
        listed_in(state, namespace, status::ROLE, path, sha256, HISTORY).await?
    } else {
        is_manifest(state, namespace, path, sha256).await?
    };
    Ok(listed.then_some(blob))
}

async fn is_manifest(
    state: &AppState,
    namespace: &NamespaceRecord,
    path: &str,
    sha256: &Sha256Digest,
) -> ApiResult<bool> {
    let Some((folder, _)) = path.rsplit_once('/') else {
        return Ok(false);
    };
    let role = folder
        .strip_prefix("models/")
        .map(|rest| format!("model.{}", rest.replace('/', ".")));
    let Some(role) = role.and_then(|name| ModelRole::parse(&name)) else {
        return Ok(false);
    };
    let Some(version) = version_in_path(folder, path) else {
        return Ok(false);
    };
    if role.manifest_path(&version) != path {
        return Ok(false);
    }
    let release = state.db.release(&namespace.name, &role.model, &version).await?;
    match release.filter(|r| r.state == ReleaseState::Published) {
        Some(r) => Ok(r.manifest == *sha256 && r.order.block() == role.block),
        // Another namespace's release: what a model's role lists, it lists for ever.
        None => listed_in(state, namespace, &role.name(), path, sha256, 1).await,
    }
}

async fn listed_in(
    state: &AppState,
    namespace: &NamespaceRecord,
    role: &str,
    path: &str,
    sha256: &Sha256Digest,
    history: u64,
) -> ApiResult<bool> {
    for file in state.db.metadata_history(&namespace.name, role, history).await? {
        let targets = TargetsFile::parse(role, &file.bytes).map_err(ApiError::internal)?;
        if targets.targets.get(path).is_some_and(|t| t.sha256 == *sha256) {
            return Ok(true);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_names_have_one_spelling() {
        assert_eq!(File::parse("timestamp.json"), Some(File::Timestamp));
        let role = File::parse("12.model.mini.lm.0.json");
        assert_eq!(
            role,
            Some(File::Versioned {
                role: "model.mini.lm.0",
                version: 12
            })
        );
        for bad in [
            "root.json",
            "0.root.json",
            "01.root.json",
            "+1.root.json",
            "1.timestamp.json",
            "1..json",
            "1.root",
            "1.\0.json",
            "1.r/t.json",
            "x",
        ] {
            assert_eq!(File::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn consistent_paths_read_back() {
        let sha256 = Sha256Digest::new([7; 32]);
        let path = "models/minilm/0/1.0.0.json";
        let consistent = assay_schema::tuf::consistent_target(path, &sha256);
        assert_eq!(parse_consistent(&consistent), Some((path.to_owned(), sha256)));
        assert_eq!(parse_consistent(path), None);
        assert_eq!(parse_consistent("x"), None);
    }
}
