//! Who may do what.

use assay_schema::api::{Page, Scope, TokenInfo, Visibility};
use assay_schema::problem::ProblemKind;
use jiff::{SignedDuration, Timestamp};
use reqwest::{Method, Response, StatusCode};

use super::support::{Registry, json, problem, sha256};

async fn start_upload(registry: &Registry, namespace: &str, token: Option<&str>) -> Response {
    let path = format!("/v1/namespaces/{namespace}/uploads");
    let mut request = registry.anonymous(Method::POST, &path);
    if let Some(token) = token {
        request = request.bearer_auth(token);
    }
    request
        .json(&serde_json::json!({ "sha256": sha256(b"x"), "size": 1 }))
        .send()
        .await
        .unwrap()
}

#[tokio::test]
async fn each_scope_allows_its_own_and_no_more() {
    let folder = tempfile::tempdir().unwrap();
    let registry = Registry::start(folder.path()).await;
    registry.namespace("acme", Visibility::Public).await;
    registry.namespace("other", Visibility::Public).await;
    let read = registry.token(Scope::Read, None).await;
    let publish = registry.token(Scope::Publish, Some("acme")).await;
    problem(
        start_upload(&registry, "acme", None).await,
        ProblemKind::Unauthorized,
    )
    .await;
    problem(
        start_upload(&registry, "acme", Some(&read)).await,
        ProblemKind::Forbidden,
    )
    .await;
    problem(
        start_upload(&registry, "other", Some(&publish)).await,
        ProblemKind::Forbidden,
    )
    .await;
    assert_eq!(
        start_upload(&registry, "acme", Some(&publish)).await.status(),
        StatusCode::CREATED
    );
    let list = async |token: &str| {
        registry
            .anonymous(Method::GET, "/v1/tokens")
            .bearer_auth(token)
            .send()
            .await
            .unwrap()
    };
    problem(list(&publish).await, ProblemKind::Forbidden).await;
    assert_eq!(list(&registry.token).await.status(), StatusCode::OK);
}

#[tokio::test]
async fn an_admin_of_one_namespace_rules_that_one_only() {
    let folder = tempfile::tempdir().unwrap();
    let registry = Registry::start(folder.path()).await;
    let admin = registry.token(Scope::Admin, Some("acme")).await;
    let make = async |namespace: Option<&str>| {
        let body = serde_json::json!({ "label": "x", "scope": "publish", "namespace": namespace });
        registry
            .anonymous(Method::POST, "/v1/tokens")
            .bearer_auth(&admin)
            .json(&body)
            .send()
            .await
            .unwrap()
    };
    assert_eq!(make(Some("acme")).await.status(), StatusCode::CREATED);
    problem(make(Some("other")).await, ProblemKind::Forbidden).await;
    problem(make(None).await, ProblemKind::Forbidden).await;
    let list = registry
        .anonymous(Method::GET, "/v1/tokens")
        .bearer_auth(&admin)
        .send()
        .await
        .unwrap();
    problem(list, ProblemKind::Forbidden).await;
}

#[tokio::test]
async fn a_private_namespace_is_hidden_from_those_who_may_not_read_it() {
    let folder = tempfile::tempdir().unwrap();
    let registry = Registry::start(folder.path()).await;
    registry.namespace("hidden", Visibility::Private).await;
    let other = registry.token(Scope::Publish, Some("other")).await;
    let hidden = problem(
        start_upload(&registry, "hidden", Some(&other)).await,
        ProblemKind::NotFound,
    )
    .await;
    let missing = problem(
        start_upload(&registry, "nothing", Some(&other)).await,
        ProblemKind::NotFound,
    )
    .await;
    assert_eq!(hidden.detail.replace("hidden", "nothing"), missing.detail);
    problem(
        start_upload(&registry, "hidden", None).await,
        ProblemKind::NotFound,
    )
    .await;
    let reader = registry.token(Scope::Read, Some("hidden")).await;
    problem(
        start_upload(&registry, "hidden", Some(&reader)).await,
        ProblemKind::Forbidden,
    )
    .await;
}

#[tokio::test]
async fn a_wrong_revoked_or_expired_token_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let registry = Registry::start(folder.path()).await;
    registry.namespace("acme", Visibility::Public).await;
    let good = registry.token(Scope::Publish, None).await;
    let mut wrong = good.clone();
    let last = if wrong.pop() == Some('0') { '1' } else { '0' };
    wrong.push(last);
    for bad in [wrong.as_str(), "assay_0_0", "", "x y"] {
        problem(
            start_upload(&registry, "acme", Some(bad)).await,
            ProblemKind::Unauthorized,
        )
        .await;
    }
    let soon = Timestamp::now() + SignedDuration::from_millis(400);
    let body = serde_json::json!({ "label": "short", "scope": "publish", "expires": soon });
    let made = registry
        .request(Method::POST, "/v1/tokens")
        .json(&body)
        .send()
        .await
        .unwrap();
    let short = json::<assay_schema::api::NewToken>(made, StatusCode::CREATED).await;
    assert_eq!(
        start_upload(&registry, "acme", Some(&short.secret))
            .await
            .status(),
        StatusCode::CREATED
    );
    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    problem(
        start_upload(&registry, "acme", Some(&short.secret)).await,
        ProblemKind::Unauthorized,
    )
    .await;
    let id = good.split('_').nth(1).unwrap();
    let path = format!("/v1/tokens/{id}");
    let revoked = registry.request(Method::DELETE, &path).send().await.unwrap();
    assert_eq!(revoked.status(), StatusCode::NO_CONTENT);
    problem(
        start_upload(&registry, "acme", Some(&good)).await,
        ProblemKind::Unauthorized,
    )
    .await;
    problem(
        registry.request(Method::DELETE, &path).send().await.unwrap(),
        ProblemKind::NotFound,
    )
    .await;
}

#[tokio::test]
async fn no_listing_shows_a_secret() {
    let folder = tempfile::tempdir().unwrap();
    let registry = Registry::start(folder.path()).await;
    let secret = registry.token(Scope::Read, None).await;
    let answer = registry.request(Method::GET, "/v1/tokens").send().await.unwrap();
    let text = answer.text().await.unwrap();
    let hash = sha256(secret.rsplit('_').next().unwrap().as_bytes()).to_hex();
    assert!(!text.contains(secret.rsplit('_').next().unwrap()) && !text.contains(&hash));
    let page: Page<TokenInfo> = serde_json::from_str(&text).unwrap();
    assert_eq!(page.items.len(), 2);
}

#[tokio::test]
async fn a_token_of_a_namespace_that_one_may_not_know_of_answers_like_none() {
    let folder = tempfile::tempdir().unwrap();
    let registry = Registry::start(folder.path()).await;
    let hidden = registry.token(Scope::Read, Some("hidden")).await;
    let id = hidden.split('_').nth(1).unwrap();
    let admin = registry.token(Scope::Admin, Some("acme")).await;
    for token in [None, Some(&admin)] {
        let revoke = async |id: &str| {
            let path = format!("/v1/tokens/{id}");
            let mut request = registry.anonymous(Method::DELETE, &path);
            if let Some(token) = token {
                request = request.bearer_auth(token);
            }
            request.send().await.unwrap().text().await.unwrap()
        };
        assert_eq!(revoke(id).await, revoke("0000000000000000").await);
    }
}

#[tokio::test]
async fn who_may_make_no_token_is_told_so_before_the_body_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let registry = Registry::start(folder.path()).await;
    let publish = registry.token(Scope::Publish, Some("acme")).await;
    let request = || registry.anonymous(Method::POST, "/v1/tokens").body("no JSON");
    problem(request().send().await.unwrap(), ProblemKind::Unauthorized).await;
    let answer = request().bearer_auth(publish).send().await.unwrap();
    problem(answer, ProblemKind::Forbidden).await;
}
