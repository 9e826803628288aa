//! One line in the log for every request.

use std::time::Instant;

use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::middleware::Next;

/// Middleware: method, path, status and how long until the answer began. Neither the query nor a header: a token must not reach
/// the log.
///
/// # Errors
/// Those of the service.
pub async fn log<B: MessageBody>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<B>, actix_web::Error> {
    let began = Instant::now();
    let method = request.method().clone();
    let path = request.path().to_owned();
    let answer = next.call(request).await;
    let status = match &answer {
        Ok(answer) => answer.status(),
        Err(error) => error.as_response_error().status_code(),
    };
    let micros = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
    if matches!(path.as_str(), "/healthz" | "/readyz") {
        tracing::debug!(%method, path, status = status.as_u16(), micros, "request");
    } else {
        tracing::info!(%method, path, status = status.as_u16(), micros, "request");
    }
    answer
}
