//! Tokens and online keys: each write is a durable step, and what stopped behind one goes on.

use assay_schema::api::{NewToken, OnlineKeys, Page, TokenInfo};
use assay_server::steps::Step;
use reqwest::{Method, Response, StatusCode};

use super::steps::{Witness, allowed, watched, written};
use super::support::{Registry, json};

const KEYS: &str = "/v1/namespaces/acme/keys";

async fn make(registry: &Registry) -> Response {
    let body = serde_json::json!({ "label": "test", "scope": "read" });
    let request = registry.request(Method::POST, "/v1/tokens").json(&body);
    request.send().await.unwrap()
}

async fn revoke(registry: &Registry, id: &str) -> Response {
    let request = registry.request(Method::DELETE, &format!("/v1/tokens/{id}"));
    request.send().await.unwrap()
}

async fn keys(registry: &Registry) -> Response {
    registry.request(Method::POST, KEYS).send().await.unwrap()
}

/// The tokens that were made after the first.
async fn others(registry: &Registry) -> Vec<TokenInfo> {
    let answer = registry.request(Method::GET, "/v1/tokens").send().await.unwrap();
    let page: Page<TokenInfo> = json(answer, StatusCode::OK).await;
    page.items
        .into_iter()
        .filter(|token| token.label == "test")
        .collect()
}

#[tokio::test]
async fn every_write_of_an_administrator_is_a_step_on_the_list() {
    let folder = tempfile::tempdir().unwrap();
    let witness = Witness::new(usize::MAX);
    let registry = watched(folder.path(), &witness, None).await;
    let before = written(registry.state());
    let token: NewToken = json(make(&registry).await, StatusCode::CREATED).await;
    assert_eq!(
        revoke(&registry, &token.token.id).await.status(),
        StatusCode::NO_CONTENT
    );
    let first: OnlineKeys = json(keys(&registry).await, StatusCode::OK).await;
    // Asking again writes nothing.
    let again: OnlineKeys = json(keys(&registry).await, StatusCode::OK).await;
    assert_eq!(first, again);
    let seen = witness.seen();
    assert_eq!(seen, Step::ADMINISTER);
    let after = written(registry.state());
    assert_eq!([0, 1, 2].map(|i| after[i] - before[i]), allowed(&seen));
}

#[tokio::test]
async fn what_an_administrator_did_stands_behind_every_step() {
    for step in Step::ADMINISTER {
        let folder = tempfile::tempdir().unwrap();
        let registry = Registry::start(folder.path()).await;
        let kept: NewToken = json(make(&registry).await, StatusCode::CREATED).await;
        let token = registry.token.clone();
        registry.running.stop().await.unwrap();

        let witness = Witness::new(0);
        let registry = watched(folder.path(), &witness, Some(token)).await;
        let stopped = match step {
            Step::N1 => make(&registry).await,
            Step::N2 => revoke(&registry, &kept.token.id).await,
            _ => keys(&registry).await,
        };
        assert_eq!(stopped.status(), StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(witness.seen(), [step]);

        let registry = registry.restart().await;
        let ids: Vec<String> = others(&registry)
            .await
            .into_iter()
            .map(|token| token.id)
            .collect();
        match step {
            // Nobody was told the secret; whoever looks finds the token and revokes it.
            Step::N1 => {
                assert_eq!(ids.len(), 2);
                for id in ids {
                    assert_eq!(revoke(&registry, &id).await.status(), StatusCode::NO_CONTENT);
                }
            }
            Step::N2 => {
                assert!(ids.is_empty());
                let request = registry.anonymous(Method::GET, "/v1/tokens");
                let refused = request.bearer_auth(&kept.secret).send().await.unwrap();
                assert_eq!(refused.status(), StatusCode::UNAUTHORIZED);
            }
            _ => {
                let first: OnlineKeys = json(keys(&registry).await, StatusCode::OK).await;
                let again: OnlineKeys = json(keys(&registry).await, StatusCode::OK).await;
                assert_eq!(first, again);
            }
        }
        registry.running.stop().await.unwrap();
    }
}
