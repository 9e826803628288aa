//! Web pages of other origins: what they may read, and what they may not ask for.

use assay_schema::api::Visibility;
use assay_schema::problem::ProblemKind;
use reqwest::{Method, Response};

use super::support::{Registry, config, open, problem};

const PAGE: &str = "https://app.example.org";
const ALLOWED: &str = "access-control-allow-origin";

async fn asked(registry: &Registry, method: Method, path: &str, headers: &[(&str, &str)]) -> Response {
    let request = registry.anonymous(method, path).header("origin", PAGE);
    let request = headers
        .iter()
        .fold(request, |request, (name, value)| request.header(*name, *value));
    request.send().await.unwrap()
}

/// What a browser asks before a request that is not simple.
async fn preflight(registry: &Registry, method: &str, headers: &str) -> Response {
    let ask = [
        ("access-control-request-method", method),
        ("access-control-request-headers", headers),
    ];
    asked(registry, Method::OPTIONS, "/v1/namespaces/acme/blobs/x", &ask).await
}

fn header<'a>(answer: &'a Response, name: &str) -> &'a str {
    answer
        .headers()
        .get(name)
        .map_or("", |value| value.to_str().unwrap())
}

#[tokio::test]
async fn a_page_of_any_origin_may_read_what_everybody_may_and_why_it_was_refused() {
    let folder = tempfile::tempdir().unwrap();
    let registry = Registry::start(folder.path()).await;
    registry.namespace("acme", Visibility::Public).await;
    let found = asked(&registry, Method::GET, "/v1/namespaces/acme", &[]).await;
    assert_eq!(found.status(), 200);
    assert_eq!(header(&found, ALLOWED), "*");
    for name in ["etag", "content-range", "repr-digest", "retry-after"] {
        assert!(
            header(&found, "access-control-expose-headers").contains(name),
            "{name}"
        );
    }
    for path in ["/v1/namespaces/none", "/nothing"] {
        let missing = asked(&registry, Method::GET, path, &[]).await;
        assert_eq!(header(&missing, ALLOWED), "*");
        problem(missing, ProblemKind::NotFound).await;
    }
    // A command that is no page is not told anything.
    let plain = registry
        .anonymous(Method::GET, "/v1/namespaces")
        .send()
        .await
        .unwrap();
    assert_eq!(header(&plain, ALLOWED), "");
}

#[tokio::test]
async fn a_page_that_asks_too_often_is_told_so() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = config(folder.path());
    config.rate.enabled = true;
    config.rate.address_per_second = 1;
    config.rate.address_burst = 1;
    let registry = Registry::with(open(config).await, None).await;
    let mut last = asked(&registry, Method::GET, "/v1/namespaces", &[]).await;
    for _ in 0..20 {
        if last.status() == 429 {
            break;
        }
        last = asked(&registry, Method::GET, "/v1/namespaces", &[]).await;
    }
    assert_eq!(header(&last, ALLOWED), "*");
    problem(last, ProblemKind::RateLimited).await;
}

#[tokio::test]
async fn conditional_requests_and_ranges_may_be_sent() {
    let folder = tempfile::tempdir().unwrap();
    let registry = Registry::start(folder.path()).await;
    for method in ["GET", "HEAD"] {
        let may = preflight(&registry, method, "if-none-match, if-range, range").await;
        assert!(may.status().is_success(), "{method}: {}", may.status());
        assert_eq!(header(&may, ALLOWED), "*");
        assert!(header(&may, "access-control-allow-methods").contains(method));
    }
}

#[tokio::test]
async fn refuses_credentials_and_everything_that_changes_something() {
    let folder = tempfile::tempdir().unwrap();
    let registry = Registry::start(folder.path()).await;
    let asked_for = [
        ("GET", "authorization"),
        ("GET", "x-forwarded-for"),
        ("POST", "content-type"),
        ("PUT", "range"),
        ("PATCH", "upload-offset"),
        ("DELETE", "range"),
    ];
    for (method, headers) in asked_for {
        let refused = preflight(&registry, method, headers).await;
        assert!(refused.status().is_client_error(), "{method} {headers}");
    }
    let with = [("cookie", "a=b")];
    let found = asked(&registry, Method::GET, "/v1/namespaces", &with).await;
    assert_eq!(header(&found, "access-control-allow-credentials"), "");
}

#[tokio::test]
async fn only_listed_origins_may_read_where_some_are_listed() {
    for (origins, allowed) in [
        (vec![PAGE], PAGE),
        (vec!["https://other.example.org"], ""),
        (vec![], ""),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let mut config = config(folder.path());
        config.cors.origins = origins.into_iter().map(str::to_owned).collect();
        let registry = Registry::with(open(config).await, None).await;
        let found = asked(&registry, Method::GET, "/v1/namespaces", &[]).await;
        assert_eq!(found.status(), 200);
        assert_eq!(header(&found, ALLOWED), allowed);
        // Caches must not give one page the answer to another.
        assert!(header(&found, "vary").to_lowercase().contains("origin"));
        let may = preflight(&registry, "GET", "range").await;
        assert_eq!(may.status().is_success(), !allowed.is_empty());
    }
}
