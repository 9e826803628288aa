//! Who asks, and what they may do.

use std::future::Future;
use std::pin::Pin;

use actix_web::dev::Payload;
use actix_web::http::header::AUTHORIZATION;
use actix_web::{FromRequest, HttpRequest};
use assay_schema::NamespaceName;
use assay_schema::api::{Scope, TokenInfo, Visibility};
use assay_schema::problem::ProblemKind;

use super::secret;
use crate::persistence::{NamespaceRecord, Viewer};
use crate::problem::{ApiError, ApiResult};
use crate::state::{AppState, State};

/// Whoever sent the request: somebody with a valid token, or anybody. A handler that takes a `Caller` answers 401 to a token
/// that is wrong, revoked or expired, even where none is needed.
#[derive(Debug, Clone)]
pub struct Caller {
    token: Option<TokenInfo>,
}

impl Caller {
    /// Somebody without a token.
    pub const fn anybody() -> Self {
        Self { token: None }
    }

    /// The token, without its secret.
    pub const fn token(&self) -> Option<&TokenInfo> {
        self.token.as_ref()
    }

    /// The one namespace that the token is for; `None` for the whole registry, and for somebody without a token.
    pub fn namespace(&self) -> Option<&NamespaceName> {
        self.token.as_ref()?.namespace.as_ref()
    }

    fn covers(&self, scope: Scope, namespace: Option<&NamespaceName>) -> bool {
        self.token.as_ref().is_some_and(|token| {
            let whose = match (&token.namespace, namespace) {
                (None, _) => true,
                (Some(one), Some(asked)) => one == asked,
                // What is the whole registry's is not a single namespace's to change.
                (Some(_), None) => false,
            };
            whose && token.scope >= scope
        })
    }

    /// Demands a scope, for one namespace or for the whole registry.
    ///
    /// # Errors
    /// `unauthorized` without a token, `forbidden` with one that does not allow it.
    pub fn require(&self, scope: Scope, namespace: Option<&NamespaceName>) -> ApiResult<()> {
        if self.covers(scope, namespace) {
            return Ok(());
        }
        let what = match namespace {
            Some(name) => format!("a token with scope {} for namespace {name}", scope_name(scope)),
            None => format!("a token with scope {} for the whole registry", scope_name(scope)),
        };
        Err(match self.token {
            None => ApiError::new(
                ProblemKind::Unauthorized,
                format!("expected {what}, found none; send it as Authorization: Bearer"),
            ),
            Some(_) => ApiError::new(
                ProblemKind::Forbidden,
                format!("expected {what}, found one that allows less"),
            ),
        })
    }

    /// Whether a namespace may be read.
    pub fn may_read(&self, namespace: &NamespaceRecord) -> bool {
        namespace.visibility == Visibility::Public || self.covers(Scope::Read, Some(&namespace.name))
    }

    /// What listings and searches show.
    pub fn viewer(&self) -> Viewer {
        match &self.token {
            Some(TokenInfo { namespace: None, .. }) => Viewer::Everything,
            Some(TokenInfo {
                namespace: Some(name),
                ..
            }) => Viewer::Public {
                and: Some(name.clone()),
            },
            None => Viewer::Public { and: None },
        }
    }

    /// A namespace that may be read. One that may not answers as one that does not exist.
    ///
    /// # Errors
    /// `not-found`.
    pub async fn reads(&self, state: &AppState, name: &NamespaceName) -> ApiResult<NamespaceRecord> {
        match state.db.namespace(name).await? {
            Some(namespace) if self.may_read(&namespace) => Ok(namespace),
            _ => Err(ApiError::not_found(format_args!("namespace {name}"))),
        }
    }

    /// A namespace that blobs may be uploaded to: one that may be published to; or, for those who may create it, one that only has
    /// online keys yet. What moves here from another registry is uploaded before it is visible.
    ///
    /// # Errors
    /// As [`Caller::publishes`].
    pub async fn uploads(&self, state: &AppState, name: &NamespaceName) -> ApiResult<()> {
        if self.covers(Scope::Admin, Some(name))
            && state.db.namespace(name).await?.is_none()
            && !state.db.online_keys(name).await?.is_empty()
        {
            return Ok(());
        }
        self.publishes(state, name).await.map(drop)
    }

    /// A namespace that may be published to.
    ///
    /// # Errors
    /// `not-found` if it may not even be read; else `unauthorized` or `forbidden`.
    pub async fn publishes(&self, state: &AppState, name: &NamespaceName) -> ApiResult<NamespaceRecord> {
        let namespace = self.reads(state, name).await?;
        self.require(Scope::Publish, Some(name))?;
        Ok(namespace)
    }
}

const fn scope_name(scope: Scope) -> &'static str {
    match scope {
        Scope::Read => "read",
        Scope::Publish => "publish",
        Scope::Admin => "admin",
    }
}

/// The bearer token as sent.
pub(crate) fn presented(request: &HttpRequest) -> Option<Result<&str, ()>> {
    let value = request.headers().get(AUTHORIZATION)?;
    let token = value.to_str().ok().and_then(|text| {
        let (scheme, token) = text.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
    });
    Some(token.ok_or(()))
}

async fn identify(state: State, presented: Option<Result<String, ()>>) -> ApiResult<Caller> {
    let invalid = || {
        ApiError::new(
            ProblemKind::Unauthorized,
            "expected Authorization: Bearer with a valid token, found one that is malformed, unknown, revoked or expired",
        )
    };
    let Some(presented) = presented else {
        return Ok(Caller::anybody());
    };
    let text = presented.map_err(|()| invalid())?;
    let (id, secret) = secret::split(&text).ok_or_else(invalid)?;
    let record = state.db.token(id).await?.ok_or_else(invalid)?;
    let live = record.info.expires.is_none_or(|end| state.clock.now() < end);
    if !secret::matches(secret, &record.hash) || !live {
        return Err(invalid());
    }
    Ok(Caller {
        token: Some(record.info),
    })
}

impl FromRequest for Caller {
    type Error = ApiError;
    type Future = Pin<Box<dyn Future<Output = Result<Self, ApiError>>>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let state = request.app_data::<State>().cloned();
        let presented = presented(request).map(|token| token.map(str::to_owned));
        Box::pin(async move {
            let state = state.ok_or_else(|| ApiError::internal("the application has no state"))?;
            identify(state, presented).await
        })
    }
}
