//! Listings and search.

use actix_web::http::Method;
use assay_schema::api::{ModelInfo, NamespaceInfo, Page, ReleaseInfo, SearchHit, Visibility};

use crate::authority::{publication, role};
use crate::support::Registry;

#[actix_web::test]
async fn pages_hold_everything_once_and_in_order() {
    let registry = Registry::new().await;
    let authority = registry.namespace("acme", Visibility::Public).await;
    let mut manifests = Vec::new();
    for counter in 1..=5 {
        let version = format!("1.{counter}.0");
        manifests.push(
            registry
                .candidate("acme", &authority, &version, counter, &[version.as_bytes()])
                .await,
        );
    }
    let all: Vec<_> = manifests.iter().collect();
    let file = authority.model(&role("minilm"), 1, &all[..4]);
    registry
        .publish("acme", &publication(&[("model.minilm.0", &file, None)]))
        .await
        .expect(200);

    let path = "/v1/namespaces/acme/models/minilm/releases";
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    loop {
        let page: Page<ReleaseInfo> = registry
            .get(&format!("{path}?limit=3{cursor}"))
            .await
            .expect(200)
            .json();
        seen.extend(page.items.iter().map(|r| r.version.to_string()));
        match page.next {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(seen, ["1.4.0", "1.3.0", "1.2.0", "1.1.0"]);
    let token = registry.admin.clone();
    let page: Page<ReleaseInfo> = registry
        .send(Method::GET, path, Some(&token), &[], "")
        .await
        .expect(200)
        .json();
    assert_eq!(page.items.len(), 5, "a publisher sees the candidate, too");

    let model: ModelInfo = registry
        .get("/v1/namespaces/acme/models/minilm")
        .await
        .expect(200)
        .json();
    assert_eq!((model.releases, model.highest.unwrap().as_str()), (4, "1.4.0"));
    let models: Page<ModelInfo> = registry
        .get("/v1/namespaces/acme/models")
        .await
        .expect(200)
        .json();
    assert_eq!(models.items.len(), 1);
    registry.get("/v1/namespaces/acme/models/other").await.expect(404);
}

#[actix_web::test]
async fn private_namespaces_are_found_by_their_token_holders_only() {
    let registry = Registry::new().await;
    for (name, visibility) in [("acme", Visibility::Public), ("hidden", Visibility::Private)] {
        let authority = registry.namespace(name, visibility).await;
        registry.first_release(name, &authority).await;
    }
    let names = |page: Page<NamespaceInfo>| {
        page.items
            .into_iter()
            .map(|n| n.name.to_string())
            .collect::<Vec<_>>()
    };
    let hits = |page: Page<SearchHit>| {
        page.items
            .into_iter()
            .map(|h| h.namespace.to_string())
            .collect::<Vec<_>>()
    };
    let token = registry.admin.clone();
    assert_eq!(
        names(registry.get("/v1/namespaces").await.expect(200).json()),
        ["acme"]
    );
    let all = registry
        .send(Method::GET, "/v1/namespaces", Some(&token), &[], "")
        .await;
    assert_eq!(names(all.json()), ["acme", "hidden"]);
    assert_eq!(
        hits(registry.get("/v1/search?q=mini").await.expect(200).json()),
        ["acme"]
    );
    let all = registry
        .send(Method::GET, "/v1/search?q=MINI", Some(&token), &[], "")
        .await;
    assert_eq!(hits(all.json()), ["acme", "hidden"]);
    assert!(hits(registry.get("/v1/search?q=%25").await.expect(200).json()).is_empty());
}

#[actix_web::test]
async fn refuses_limits_cursors_and_fields_that_do_not_exist() {
    let registry = Registry::new().await;
    let bad = [
        "/v1/namespaces?limit=0",
        "/v1/namespaces?limit=201",
        "/v1/namespaces?limit=x",
        "/v1/namespaces?cursor=Not%20a%20name",
        "/v1/namespaces?offset=3",
        "/v1/search",
        "/v1/search?q=a&cursor=zzz",
    ];
    for path in bad {
        registry.get(path).await.expect(400).problem("bad-request");
    }
    let long = "q".repeat(201);
    registry
        .get(&format!("/v1/search?q={long}"))
        .await
        .expect(400)
        .problem("bad-request");
    registry
        .get("/v1/namespaces/NOT")
        .await
        .expect(400)
        .problem("bad-name");
}
