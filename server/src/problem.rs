//! The one place that turns errors into answers: RFC 9457 problem details.

use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::StatusCode;
use actix_web::http::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use actix_web::middleware::Next;
use actix_web::{HttpResponse, ResponseError};
use assay_schema::canonical::JsonError;
use assay_schema::digest::BadDigest;
use assay_schema::manifest::BadManifest;
use assay_schema::name::BadName;
use assay_schema::problem::{MEDIA_TYPE, Problem, ProblemKind};

use crate::blobs::BlobError;
use crate::persistence::DatabaseError;
use crate::state::StartError;
use crate::steps::Stopped;

/// An error as the API answers it. What happened inside stays in the log; the answer tells the asker what to do.
#[derive(Debug)]
pub struct ApiError {
    problem: Box<Problem>,
    /// Seconds.
    retry_after: Option<u64>,
    /// The answer ends the connection.
    close: bool,
}

/// What handlers return.
pub type ApiResult<T = HttpResponse> = Result<T, ApiError>;

impl ApiError {
    /// A problem of a kind, with what happened, what was expected and what to do next.
    pub fn new(kind: ProblemKind, detail: impl Into<String>) -> Self {
        Problem::new(kind, detail).into()
    }

    /// There is no such thing, or the asker may not know of it: the same answer.
    pub fn not_found(what: impl std::fmt::Display) -> Self {
        Self::new(
            ProblemKind::NotFound,
            format!("there is no {what}, or this token may not see it"),
        )
    }

    /// Something broke here. The asker gets no details; the log does.
    pub fn internal(cause: impl std::fmt::Display) -> Self {
        tracing::error!(%cause, "request failed");
        Self::new(
            ProblemKind::Internal,
            "something broke in the registry; its log says what. Try again later",
        )
    }

    /// The same problem with a time to wait, in seconds.
    #[must_use]
    pub fn retry_after(mut self, seconds: u64) -> Self {
        self.retry_after = Some(seconds);
        self
    }

    /// The same problem, and the connection ends with it: part of the request's body was not read.
    #[must_use]
    pub fn closing(mut self) -> Self {
        self.close = true;
        self
    }

    /// The problem document.
    pub fn problem(&self) -> &Problem {
        &self.problem
    }
}

impl From<Problem> for ApiError {
    fn from(problem: Problem) -> Self {
        let retry_after = (problem.kind == ProblemKind::Unavailable).then_some(1);
        Self {
            problem: Box::new(problem),
            retry_after,
            close: false,
        }
    }
}

impl std::fmt::Display for ApiError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.problem.title, self.problem.detail)
    }
}

impl std::error::Error for ApiError {}

impl ResponseError for ApiError {
    fn status_code(&self) -> StatusCode {
        StatusCode::from_u16(self.problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    fn error_response(&self) -> HttpResponse {
        let mut answer = HttpResponse::build(self.status_code());
        answer.insert_header((CONTENT_TYPE, MEDIA_TYPE));
        if let Some(seconds) = self.retry_after {
            answer.insert_header((RETRY_AFTER, seconds));
        }
        if self.close {
            answer.force_close();
        }
        if self.problem.kind == ProblemKind::Unauthorized {
            answer.insert_header((WWW_AUTHENTICATE, "Bearer"));
        }
        // A problem is plain data: serialising it cannot fail; were it to, the status still tells.
        answer.body(serde_json::to_vec(&self.problem).unwrap_or_default())
    }
}

impl From<DatabaseError> for ApiError {
    fn from(error: DatabaseError) -> Self {
        use ProblemKind as Kind;
        let detail = error.to_string();
        match error {
            DatabaseError::Conflict { .. } | DatabaseError::ReleaseChanged { .. } => {
                Self::new(Kind::StaleParent, detail)
            }
            DatabaseError::Exists { .. } => Self::new(Kind::NamespaceExists, detail),
            DatabaseError::Missing { .. } => Self::new(Kind::NotFound, detail),
            DatabaseError::ReleasePublished { .. } => Self::new(Kind::ReleaseExists, detail),
            DatabaseError::BlobsMissing { missing } => {
                let mut problem = Problem::new(Kind::BlobsMissing, detail);
                problem.missing = missing.into_iter().take(100).collect();
                problem.into()
            }
            DatabaseError::OffsetMoved { .. } => Self::new(Kind::UploadBusy, detail),
            DatabaseError::BadCursor { .. } => Self::new(Kind::BadRequest, detail),
            DatabaseError::Full(cause) => {
                tracing::error!(%cause, "the database's disk is full");
                Self::new(
                    Kind::StorageFull,
                    "the registry's database has no space left; tell its operator",
                )
            }
            DatabaseError::Raced(cause) => {
                tracing::warn!(%cause, "two requests at once");
                let detail = "another request wrote the same at the same time; try again";
                Self::new(Kind::Unavailable, detail)
            }
            DatabaseError::Unavailable(cause) => {
                tracing::error!(%cause, "database unreachable");
                Self::new(
                    Kind::Unavailable,
                    "the registry's database does not answer; try again",
                )
            }
            DatabaseError::Corrupt { .. } | DatabaseError::Failed(_) => Self::internal(detail),
        }
    }
}

impl From<BlobError> for ApiError {
    fn from(error: BlobError) -> Self {
        match &error {
            BlobError::Full { .. } => {
                tracing::error!(%error, "storage full");
                Self::new(
                    ProblemKind::StorageFull,
                    "the registry's storage has no space left; what it acknowledged is kept, go on once there is space",
                )
            }
            BlobError::Store { .. } => {
                tracing::error!(%error, "storage failed");
                Self::new(
                    ProblemKind::Unavailable,
                    "the registry's storage does not answer; try again",
                )
            }
            _ => Self::internal(error),
        }
    }
}

impl From<StartError> for ApiError {
    fn from(error: StartError) -> Self {
        match error {
            StartError::Database(error) => error.into(),
            StartError::Blobs(error) => error.into(),
            other => Self::internal(other),
        }
    }
}

impl From<Stopped> for ApiError {
    fn from(stopped: Stopped) -> Self {
        Self::internal(stopped)
    }
}

impl From<BadName> for ApiError {
    fn from(error: BadName) -> Self {
        Self::new(ProblemKind::BadName, error.to_string())
    }
}

impl From<BadDigest> for ApiError {
    fn from(error: BadDigest) -> Self {
        Self::new(ProblemKind::BadName, error.to_string())
    }
}

impl From<BadManifest> for ApiError {
    fn from(error: BadManifest) -> Self {
        Self::new(ProblemKind::BadManifest, error.to_string())
    }
}

impl From<JsonError> for ApiError {
    fn from(error: JsonError) -> Self {
        let kind = match error {
            JsonError::TooLong { .. } => ProblemKind::TooLarge,
            _ => ProblemKind::BadRequest,
        };
        Self::new(kind, format!("JSON: {error}"))
    }
}

/// What an unknown path answers.
pub async fn no_such_path(request: actix_web::HttpRequest) -> ApiResult {
    Err(ApiError::not_found(format_args!(
        "path {:?}",
        request.path().chars().take(200).collect::<String>()
    )))
}

/// Middleware: an error that the framework made by itself (405, a malformed path) becomes a problem, too.
///
/// # Errors
/// Those of the service, which the framework answers with [`ResponseError`].
pub async fn as_problems<B: MessageBody + 'static>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<BoxBody>, actix_web::Error> {
    let head = request.method() == actix_web::http::Method::HEAD;
    let answer = next.call(request).await?.map_into_boxed_body();
    let status = answer.status();
    let ours = answer
        .headers()
        .get(CONTENT_TYPE)
        .is_some_and(|value| value == HeaderValue::from_static(MEDIA_TYPE));
    if !(status.is_client_error() || status.is_server_error()) || ours || head {
        return Ok(answer);
    }
    let text = match answer.response().body().size() {
        BodySize::None | BodySize::Sized(0) => String::new(),
        _ => answer
            .response()
            .error()
            .map(ToString::to_string)
            .unwrap_or_default(),
    };
    let kind = match status {
        StatusCode::NOT_FOUND => ProblemKind::NotFound,
        StatusCode::METHOD_NOT_ALLOWED => ProblemKind::MethodNotAllowed,
        StatusCode::PAYLOAD_TOO_LARGE => ProblemKind::TooLarge,
        status if status.is_client_error() => ProblemKind::BadRequest,
        _ => ProblemKind::Internal,
    };
    let detail = match kind {
        ProblemKind::MethodNotAllowed => {
            format!(
                "{} is not a method of this path; see /openapi.json",
                answer.request().method()
            )
        }
        ProblemKind::BadRequest if !text.is_empty() => text,
        _ => format!("{}; see /openapi.json", kind.title()),
    };
    let allow = answer.headers().get(actix_web::http::header::ALLOW).cloned();
    let mut problem = ApiError::new(kind, detail).error_response();
    if let Some(allow) = allow {
        problem
            .headers_mut()
            .insert(actix_web::http::header::ALLOW, allow);
    }
    Ok(answer.into_response(problem))
}
