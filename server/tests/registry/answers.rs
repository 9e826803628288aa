//! Whatever is wrong with a request, the answer is a problem.

use assay_schema::api::Visibility;
use assay_schema::problem::{MEDIA_TYPE, ProblemKind};
use assay_server::state::{AppState, StartError};
use reqwest::Method;

use super::support::{Registry, config, open, problem, sha256};

#[tokio::test]
async fn unknown_paths_and_methods_are_problems() {
    let folder = tempfile::tempdir().unwrap();
    let registry = Registry::start(folder.path()).await;
    for path in [
        "/",
        "/v1",
        "/v1/nothing",
        "/v1/namespaces/acme/uploads/",
        "/%00",
        "/v1/tokens/a/b",
    ] {
        let answer = registry.request(Method::GET, path).send().await.unwrap();
        problem(answer, ProblemKind::NotFound).await;
    }
    for (method, path) in [
        (Method::PUT, "/healthz"),
        (Method::PATCH, "/v1/tokens"),
        (Method::GET, "/v1/namespaces/acme/uploads"),
        (Method::GET, "/v1/tokens/abc"),
    ] {
        let answer = registry.request(method, path).send().await.unwrap();
        problem(answer, ProblemKind::MethodNotAllowed).await;
    }
    let head = registry
        .request(Method::HEAD, "/v1/nothing")
        .send()
        .await
        .unwrap();
    assert_eq!(
        (
            head.status().as_u16(),
            head.headers()["content-type"].to_str().unwrap()
        ),
        (404, MEDIA_TYPE)
    );
}

#[tokio::test]
async fn malformed_bodies_are_problems() {
    let folder = tempfile::tempdir().unwrap();
    let registry = Registry::start(folder.path()).await;
    registry.namespace("acme", Visibility::Public).await;
    let good = format!(r#"{{"sha256":"{}","size":1}}"#, sha256(b"x"));
    let send = async |body: String| {
        let request = registry.request(Method::POST, "/v1/namespaces/acme/uploads");
        request
            .header("Content-Type", "application/json")
            .body(body)
            .send()
            .await
            .unwrap()
    };
    for bad in [
        String::new(),
        "{".to_owned(),
        good[..good.len() - 1].to_owned(),
        format!("{good}{good}"),
        good.replace("size", "colour"),
        good.replace("\"size\":1", "\"size\":1,\"extra\":true"),
        good.replace(":1}", ":-1}"),
        good.replace(":1}", ":1.5}"),
        good.replace(":1}", ":99999999999999999999}"),
        good.replace(":1}", ":1,\"size\":2}"),
        good.replace("\"sha256\":\"", "\"sha256\":\"zz"),
        good.to_uppercase(),
        "[".repeat(100_000),
        format!("{}{}", "{\"a\":".repeat(5_000), "1"),
        "null".to_owned(),
        "\u{0}".to_owned(),
    ] {
        let shown: String = bad.chars().take(60).collect();
        let answer = send(bad).await;
        assert_eq!(answer.status(), 400, "{shown}");
        problem(answer, ProblemKind::BadRequest).await;
    }
    problem(send(" ".repeat((1 << 20) + 1)).await, ProblemKind::TooLarge).await;
    assert_eq!(send(good).await.status(), 201);
}

#[tokio::test]
async fn bad_names_are_problems() {
    let folder = tempfile::tempdir().unwrap();
    let registry = Registry::start(folder.path()).await;
    for bad in [
        "..%2f..",
        "ACME",
        "a%00b",
        "a%0ab",
        ".hidden",
        "trailing.",
        "a..b",
        "%c3%a9",
        &"a".repeat(65),
        "c%3a",
    ] {
        let path = format!("/v1/namespaces/{bad}/uploads");
        let answer = registry
            .request(Method::POST, &path)
            .body("{}")
            .send()
            .await
            .unwrap();
        problem(answer, ProblemKind::BadName).await;
    }
    for query in ["limit=0", "limit=201", "limit=-1", "limit=a", "colour=red"] {
        let answer = registry
            .request(Method::GET, &format!("/v1/tokens?{query}"))
            .send()
            .await
            .unwrap();
        problem(answer, ProblemKind::BadRequest).await;
    }
}

#[tokio::test]
async fn who_asks_too_often_is_told_when_to_come_back() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = config(folder.path());
    config.rate.enabled = true;
    config.rate.address_per_second = 1;
    config.rate.address_burst = 5;
    let registry = Registry::with(open(config).await, None).await;
    let mut refused = 0;
    for _ in 0..8 {
        let answer = registry
            .anonymous(Method::GET, "/v1/nothing")
            .send()
            .await
            .unwrap();
        if answer.status() == 429 {
            let wait: u64 = answer.headers()["retry-after"].to_str().unwrap().parse().unwrap();
            assert!((1..=5).contains(&wait), "{wait}");
            problem(answer, ProblemKind::RateLimited).await;
            refused += 1;
        }
    }
    assert!(refused >= 2, "{refused}");
    let health = registry.anonymous(Method::GET, "/healthz").send().await.unwrap();
    assert_eq!(
        health.status(),
        200,
        "a probe must not fail because others ask too often"
    );
}

#[tokio::test]
async fn one_token_used_up_does_not_use_up_another() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = config(folder.path());
    config.rate.enabled = true;
    config.rate.token_per_second = 1;
    config.rate.token_burst = 3;
    let registry = Registry::with(open(config).await, None).await;
    let ask = async |token: &str| {
        registry
            .anonymous(Method::GET, "/v1/tokens")
            .bearer_auth(token)
            .send()
            .await
            .unwrap()
    };
    for _ in 0..6 {
        ask("assay_0_0").await;
    }
    problem(ask("assay_0_0").await, ProblemKind::RateLimited).await;
    assert_eq!(ask(&registry.token).await.status(), 200);
}

#[tokio::test]
async fn a_nul_is_refused_before_any_database_sees_it() {
    let folder = tempfile::tempdir().unwrap();
    let registry = Registry::start(folder.path()).await;
    registry.namespace("acme", Visibility::Public).await;
    for (method, path, kind) in [
        (Method::GET, "/v1/search?q=%00", ProblemKind::BadRequest),
        (Method::GET, "/v1/tokens?cursor=%00", ProblemKind::BadRequest),
        (Method::DELETE, "/v1/tokens/%00", ProblemKind::NotFound),
        (
            Method::GET,
            "/v1/namespaces/acme/uploads/%00",
            ProblemKind::NotFound,
        ),
        (
            Method::GET,
            "/tuf/acme/metadata/1.%00.json",
            ProblemKind::NotFound,
        ),
    ] {
        let answer = registry.request(method, path).send().await.unwrap();
        problem(answer, kind).await;
    }
}

#[tokio::test]
async fn a_lost_sealing_key_is_not_replaced_by_another() {
    let folder = tempfile::tempdir().unwrap();
    let registry = Registry::start(folder.path()).await;
    let made = registry
        .request(Method::POST, "/v1/namespaces/acme/keys")
        .send()
        .await
        .unwrap();
    assert!(made.status().is_success());
    let (config, token) = (config(folder.path()), registry.token.clone());
    registry.running.stop().await.unwrap();
    let (key, away) = (folder.path().join("seal.key"), folder.path().join("away"));
    std::fs::rename(&key, &away).unwrap();
    let refused = AppState::open(config.clone()).await.unwrap_err();
    assert!(matches!(refused, StartError::SealKeyGone { .. }), "{refused}");
    assert!(!key.exists());
    std::fs::rename(&away, &key).unwrap();
    Registry::with(open(config).await, Some(token)).await;
}
