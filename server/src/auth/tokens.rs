//! `/v1/tokens`.

use actix_web::HttpResponse;
use actix_web::web::{Path, Payload, Query};
use assay_schema::api::{CreateToken, NewToken, Scope, TokenInfo};
use assay_schema::limits::MAX_JSON_BODY;
use assay_schema::problem::ProblemKind;

use super::{Caller, secret};
use crate::body;
use crate::page::PageQuery;
use crate::persistence::{NewTokenRecord, TokenRecord};
use crate::problem::{ApiError, ApiResult};
use crate::state::{AppState, State};
use crate::steps::Step;

/// Characters of a label.
const MAX_LABEL: usize = 200;

pub(super) async fn list(state: State, caller: Caller, query: Query<PageQuery>) -> ApiResult {
    caller.require(Scope::Admin, None)?;
    if query.cursor().is_some_and(|cursor| !secret::is_id(cursor)) {
        let detail = "cursor: expected one that an earlier page gave, found another";
        return Err(ApiError::new(ProblemKind::BadRequest, detail));
    }
    let page = state.db.list_tokens(query.cursor(), query.limit()?).await?;
    Ok(HttpResponse::Ok().json(page))
}

pub(super) async fn create(state: State, caller: Caller, payload: Payload) -> ApiResult {
    // Nobody's body is read who could make no token at all.
    caller.require(Scope::Admin, caller.namespace())?;
    let asked: CreateToken = body::json(&state, payload, MAX_JSON_BODY).await?;
    // An admin of one namespace makes tokens for that namespace.
    caller.require(Scope::Admin, asked.namespace.as_ref())?;
    check_label(&asked.label)?;
    if let Some(end) = asked.expires.filter(|end| *end <= state.clock.now()) {
        return Err(ApiError::new(
            ProblemKind::BadRequest,
            format!("expires: expected a time to come, found {end}"),
        ));
    }
    let token = add(&state, asked).await?;
    // The answer holds a secret.
    Ok(HttpResponse::Created()
        .insert_header(("Cache-Control", "no-store"))
        .json(token))
}

pub(super) async fn revoke(state: State, caller: Caller, id: Path<String>) -> ApiResult {
    let known = secret::is_id(&id);
    let found = if known { state.db.token(&id).await? } else { None };
    let whose = found
        .as_ref()
        .and_then(|record: &TokenRecord| record.info.namespace.as_ref());
    if caller.require(Scope::Admin, whose).is_err() {
        // The same answer whether there is such a token or not: it would name a namespace that the asker may not know of.
        caller.require(Scope::Admin, None)?;
    }
    if known && state.db.revoke_token(&id, state.clock.now()).await? {
        state.steps.done(Step::N2)?;
        Ok(HttpResponse::NoContent().finish())
    } else {
        Err(ApiError::not_found("such token"))
    }
}

/// The admin token of a new registry; `None` if tokens were made before.
///
/// # Errors
/// The database fails, or there is no randomness.
pub async fn first_token(state: &AppState) -> ApiResult<Option<NewToken>> {
    if state.db.has_tokens().await? {
        return Ok(None);
    }
    admin_token(state, "first admin".to_owned()).await.map(Some)
}

/// A new admin token for the whole registry, which does not expire.
///
/// # Errors
/// The label is no label, the database fails, or there is no randomness.
pub async fn admin_token(state: &AppState, label: String) -> ApiResult<NewToken> {
    check_label(&label)?;
    let asked = CreateToken {
        label,
        scope: Scope::Admin,
        namespace: None,
        expires: None,
    };
    add(state, asked).await
}

fn check_label(label: &str) -> ApiResult<()> {
    if (1..=MAX_LABEL).contains(&label.chars().count()) && !label.chars().any(char::is_control) {
        return Ok(());
    }
    let detail = format!("label: expected 1 to {MAX_LABEL} characters without control characters");
    Err(ApiError::new(ProblemKind::BadRequest, detail))
}

async fn add(state: &AppState, asked: CreateToken) -> ApiResult<NewToken> {
    let fresh = secret::fresh().map_err(ApiError::internal)?;
    let token: TokenInfo = state
        .db
        .add_token(NewTokenRecord {
            id: fresh.id,
            label: asked.label,
            hash: fresh.hash,
            scope: asked.scope,
            namespace: asked.namespace,
            created: state.clock.now(),
            expires: asked.expires,
        })
        .await?;
    state.steps.done(Step::N1)?;
    Ok(NewToken {
        secret: fresh.text,
        token,
    })
}
