//! `/openapi.json`: the API's description (OpenAPI 3.1), made from the handlers' annotations and the wire types' schemas.

use std::sync::OnceLock;

use actix_web::HttpResponse;
use actix_web::http::header::CONTENT_TYPE;
use actix_web::web::{self, ServiceConfig};
use bytes::Bytes;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::{Modify, OpenApi};

use crate::problem::{ApiError, ApiResult};
use crate::{delta, distribute, log, publish};

/// Wires the path.
pub fn configure(cfg: &mut ServiceConfig) {
    cfg.service(web::resource("/openapi.json").get(document));
}

/// The description.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Assay",
        description = "A registry of models that is not trusted: devices verify every byte themselves. \
            Errors are RFC 9457 problems; lists take `limit` and `cursor`; requests with unknown fields are refused.",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
    ),
    paths(
        publish::handlers::make_keys,
        publish::handlers::create_namespace,
        publish::handlers::put_release,
        publish::handlers::publish_metadata,
        publish::collect::handlers::make_proposal,
        publish::collect::handlers::list_proposals,
        publish::collect::handlers::get_proposal,
        publish::collect::handlers::sign_proposal,
        publish::collect::handlers::withdraw_proposal,
        distribute::listing::namespaces,
        distribute::listing::namespace,
        distribute::listing::models,
        distribute::listing::model,
        distribute::listing::releases,
        distribute::listing::release,
        distribute::listing::search,
        distribute::check::check,
        distribute::blobs::blob,
        distribute::tuf::metadata,
        distribute::tuf::target,
        log::handlers::info,
        log::handlers::checkpoint,
        log::handlers::tile,
        log::handlers::proof,
        delta::handlers::list,
        delta::handlers::attach,
        delta::handlers::remove,
        uploads::start_upload,
        uploads::get_upload,
        uploads::append_upload,
        uploads::cancel_upload,
        tokens::list_tokens,
        tokens::create_token,
        tokens::revoke_token,
        health::alive,
        health::ready,
    ),
    tags(
        (name = "publish", description = "Namespaces, candidates, proposals, metadata"),
        (name = "store", description = "Resumable uploads by digest"),
        (name = "distribute", description = "What devices and people fetch"),
        (name = "delta", description = "Deltas between releases"),
        (name = "log", description = "The transparency log, as C2SP tlog-tiles"),
        (name = "tokens", description = "API tokens"),
        (name = "health", description = "For whoever runs the registry"),
    ),
    modifiers(&Token),
)]
pub struct Api;

struct Token;

impl Modify for Token {
    fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
        let scheme = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some(
                "A token of this registry; what it allows is its scope: read, publish or admin",
            ))
            .build();
        let components = openapi.components.get_or_insert_with(Default::default);
        components.add_security_scheme("token", SecurityScheme::Http(scheme));
    }
}

async fn document() -> ApiResult {
    static DOCUMENT: OnceLock<Bytes> = OnceLock::new();
    let bytes = match DOCUMENT.get() {
        Some(bytes) => bytes.clone(),
        None => {
            let made = serde_json::to_vec(&Api::openapi()).map_err(ApiError::internal)?;
            DOCUMENT.get_or_init(|| made.into()).clone()
        }
    };
    Ok(HttpResponse::Ok()
        .insert_header((CONTENT_TYPE, "application/json"))
        .body(bytes))
}

// Rooms whose handlers are private to them are described here; the functions carry the description and are never called.

mod uploads {
    #![expect(dead_code, reason = "only their descriptions are used")]

    use assay_schema::NamespaceName;
    use assay_schema::api::{StartUpload, UploadInfo};
    use assay_schema::problem::Problem;

    /// Start an upload, or find the one that was started
    ///
    /// A blob that this namespace uploaded before is complete at once. Scope `publish`.
    #[utoipa::path(
        post,
        path = "/v1/namespaces/{namespace}/uploads",
        tag = "store",
        params(("namespace" = NamespaceName, Path, description = "The namespace")),
        request_body = StartUpload,
        responses(
            (status = 201, description = "Under way: `PATCH` goes on at `offset`", body = UploadInfo),
            (status = 200, description = "The blob is complete", body = UploadInfo),
            (status = "4XX", description = "A problem", body = Problem, content_type = "application/problem+json"),
        ),
        security(("token" = []))
    )]
    pub(super) fn start_upload() {}

    /// Get where an upload stands
    #[utoipa::path(
        get,
        path = "/v1/namespaces/{namespace}/uploads/{id}",
        tag = "store",
        params(
            ("namespace" = NamespaceName, Path, description = "The namespace"),
            ("id" = String, Path, description = "The upload"),
        ),
        responses(
            (status = 200, description = "Where it stands", body = UploadInfo, headers(("Upload-Offset" = u64))),
            (status = "4XX", description = "A problem", body = Problem, content_type = "application/problem+json"),
        ),
        security(("token" = []))
    )]
    pub(super) fn get_upload() {}

    /// Send bytes of an upload
    ///
    /// From `Upload-Offset` on, which must be where the upload stands. What was received before a connection broke is kept.
    #[utoipa::path(
        patch,
        path = "/v1/namespaces/{namespace}/uploads/{id}",
        tag = "store",
        params(
            ("namespace" = NamespaceName, Path, description = "The namespace"),
            ("id" = String, Path, description = "The upload"),
            ("Upload-Offset" = u64, Header, description = "Where these bytes begin"),
        ),
        request_body(content = Vec<u8>, content_type = "application/octet-stream"),
        responses(
            (status = 200, description = "Where it stands now; `complete` once every byte is here and the digest is right",
                body = UploadInfo, headers(("Upload-Offset" = u64))),
            (status = 409, description = "`offset-mismatch` or `upload-busy`", body = Problem,
                content_type = "application/problem+json"),
            (status = 422, description = "`digest-mismatch`", body = Problem, content_type = "application/problem+json"),
            (status = "4XX", description = "A problem", body = Problem, content_type = "application/problem+json"),
        ),
        security(("token" = []))
    )]
    pub(super) fn append_upload() {}

    /// Forget an upload
    #[utoipa::path(
        delete,
        path = "/v1/namespaces/{namespace}/uploads/{id}",
        tag = "store",
        params(
            ("namespace" = NamespaceName, Path, description = "The namespace"),
            ("id" = String, Path, description = "The upload"),
        ),
        responses(
            (status = 204, description = "Forgotten"),
            (status = "4XX", description = "A problem", body = Problem, content_type = "application/problem+json"),
        ),
        security(("token" = []))
    )]
    pub(super) fn cancel_upload() {}
}

mod tokens {
    #![expect(dead_code, reason = "only their descriptions are used")]

    use assay_schema::api::{CreateToken, NewToken, Page, TokenInfo};
    use assay_schema::problem::Problem;

    /// List tokens, without their secrets
    ///
    /// Scope `admin` for the whole registry.
    #[utoipa::path(
        get,
        path = "/v1/tokens",
        tag = "tokens",
        params(
            ("limit" = Option<u32>, Query, description = "1 to 200; 50 without it"),
            ("cursor" = Option<String>, Query, description = "`next` of the page before"),
        ),
        responses(
            (status = 200, description = "A page", body = Page<TokenInfo>),
            (status = "4XX", description = "A problem", body = Problem, content_type = "application/problem+json"),
        ),
        security(("token" = []))
    )]
    pub(super) fn list_tokens() {}

    /// Make a token
    ///
    /// Its secret is shown this once. Scope `admin`.
    #[utoipa::path(
        post,
        path = "/v1/tokens",
        tag = "tokens",
        request_body = CreateToken,
        responses(
            (status = 201, description = "The token and its secret", body = NewToken),
            (status = "4XX", description = "A problem", body = Problem, content_type = "application/problem+json"),
        ),
        security(("token" = []))
    )]
    pub(super) fn create_token() {}

    /// Revoke a token
    ///
    /// Scope `admin`.
    #[utoipa::path(
        delete,
        path = "/v1/tokens/{id}",
        tag = "tokens",
        params(("id" = String, Path, description = "The token's id")),
        responses(
            (status = 204, description = "Revoked"),
            (status = "4XX", description = "A problem", body = Problem, content_type = "application/problem+json"),
        ),
        security(("token" = []))
    )]
    pub(super) fn revoke_token() {}
}

mod health {
    #![expect(dead_code, reason = "only their descriptions are used")]

    use assay_schema::problem::Problem;

    /// Ask whether the process answers
    #[utoipa::path(
        get,
        path = "/healthz",
        tag = "health",
        responses((status = 200, description = "It does", body = String, content_type = "text/plain"))
    )]
    pub(super) fn alive() {}

    /// Ask whether database and object store answer
    #[utoipa::path(
        get,
        path = "/readyz",
        tag = "health",
        responses(
            (status = 200, description = "They do", body = String, content_type = "text/plain"),
            (status = 503, description = "`unavailable`", body = Problem, content_type = "application/problem+json"),
        )
    )]
    pub(super) fn ready() {}
}
