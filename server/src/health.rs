//! `/healthz`: the process answers. `/readyz`: database and object store answer, and the registry is not stopping.

use std::time::Duration;

use actix_web::HttpResponse;
use actix_web::web::{self, ServiceConfig};
use assay_schema::problem::ProblemKind;

use crate::problem::{ApiError, ApiResult};
use crate::state::State;

/// How long the stores may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Wires the paths.
pub fn configure(cfg: &mut ServiceConfig) {
    cfg.service(web::resource("/healthz").get(alive))
        .service(web::resource("/readyz").get(ready));
}

async fn alive() -> HttpResponse {
    HttpResponse::Ok()
        .content_type("text/plain; charset=utf-8")
        .body("ok\n")
}

async fn ready(state: State) -> ApiResult {
    let unavailable = |what: &str| ApiError::new(ProblemKind::Unavailable, format!("{what}; try again"));
    if state.tasks.stopping() {
        return Err(unavailable("the registry is stopping"));
    }
    let both = async {
        state.db.ping().await?;
        state.blobs.ping().await?;
        Ok::<_, ApiError>(())
    };
    match tokio::time::timeout(PATIENCE, both).await {
        Ok(Ok(())) => Ok(HttpResponse::Ok()
            .content_type("text/plain; charset=utf-8")
            .body("ready\n")),
        Ok(Err(error)) => Err(unavailable(&error.problem().detail)),
        Err(_) => Err(unavailable(
            "database or object store did not answer within 5 seconds",
        )),
    }
}
