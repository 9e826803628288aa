//! Blobs: ranges, conditions, digests, and who may have them.

use actix_web::http::Method;
use assay_schema::api::{NewToken, Visibility};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use crate::authority::{publication, role, sha256};
use crate::support::Registry;

const CONTENT: &[u8] = b"0123456789abcdefghijklmnopqrstuvwxyz";

/// A registry with one published release of one file; gives the blob's path.
async fn published() -> (Registry, String) {
    let registry = Registry::new().await;
    let authority = registry.namespace("acme", Visibility::Public).await;
    let manifest = registry
        .candidate("acme", &authority, "1.0.0", 1, &[CONTENT])
        .await;
    let file = authority.model(&role("minilm"), 1, &[&manifest]);
    registry
        .publish("acme", &publication(&[("model.minilm.0", &file, None)]))
        .await
        .expect(200);
    (registry, format!("/v1/namespaces/acme/blobs/{}", sha256(CONTENT)))
}

#[actix_web::test]
async fn a_whole_blob_comes_with_its_digest_and_may_be_kept_for_ever() {
    let (registry, path) = published().await;
    let answer = registry.get(&path).await.expect(200);
    assert_eq!(answer.body, CONTENT);
    assert_eq!(answer.header("etag"), format!("\"{}\"", sha256(CONTENT)));
    let digest = format!("sha-256=:{}:", STANDARD.encode(sha256(CONTENT).as_bytes()));
    assert_eq!(answer.header("repr-digest"), digest);
    assert_eq!(
        answer.header("cache-control"),
        "public, max-age=31536000, immutable"
    );
    assert_eq!(answer.header("accept-ranges"), "bytes");
    assert_eq!(answer.header("content-type"), "application/octet-stream");
}

#[actix_web::test]
async fn a_range_is_answered_with_206_and_the_digest_of_the_whole() {
    let (registry, path) = published().await;
    for (range, from, to) in [
        ("bytes=0-0", 0, 0),
        ("bytes=10-19", 10, 19),
        ("bytes=30-", 30, 35),
        ("bytes=-4", 32, 35),
    ] {
        let answer = registry.get_with(&path, &[("range", range)]).await.expect(206);
        assert_eq!(answer.body, &CONTENT[from..=to], "{range}");
        assert_eq!(answer.header("content-range"), format!("bytes {from}-{to}/36"));
        let digest = format!("sha-256=:{}:", STANDARD.encode(sha256(CONTENT).as_bytes()));
        assert_eq!(answer.header("repr-digest"), digest);
    }
    let several = registry
        .get_with(&path, &[("range", "bytes=0-1,4-5")])
        .await
        .expect(200);
    assert_eq!(several.body, CONTENT);
}

#[actix_web::test]
async fn a_range_outside_is_416_with_the_length() {
    let (registry, path) = published().await;
    let answer = registry
        .get_with(&path, &[("range", "bytes=36-")])
        .await
        .expect(416);
    assert_eq!(answer.header("content-range"), "bytes */36");
    answer.problem("range-not-satisfiable");
}

#[actix_web::test]
async fn conditions_are_answered_with_304_or_the_whole() {
    let (registry, path) = published().await;
    let tag = format!("\"{}\"", sha256(CONTENT));
    let answer = registry
        .get_with(&path, &[("if-none-match", &tag)])
        .await
        .expect(304);
    assert!(answer.body.is_empty());
    assert_eq!(answer.header("etag"), tag);
    registry
        .get_with(&path, &[("if-none-match", "\"other\"")])
        .await
        .expect(200);
    registry
        .get_with(&path, &[("range", "bytes=0-3"), ("if-range", &tag)])
        .await
        .expect(206);
    registry
        .get_with(&path, &[("range", "bytes=0-3"), ("if-range", "\"other\"")])
        .await
        .expect(200);
}

#[actix_web::test]
async fn a_range_across_pieces_of_a_large_blob_is_exact() {
    let registry = Registry::new().await;
    registry.namespace("acme", Visibility::Public).await;
    let large: Vec<u8> = (0..900_000_u32).flat_map(u32::to_le_bytes).collect();
    registry.upload("acme", &large).await;
    let path = format!("/v1/namespaces/acme/blobs/{}", sha256(&large));
    let token = registry.admin.clone();
    for (from, to) in [
        (0, 1 << 20),
        ((1 << 20) - 1, (2 << 20) + 1),
        (3_000_000, 3_599_999),
    ] {
        let range = format!("bytes={from}-{to}");
        let answer = registry
            .send(Method::GET, &path, Some(&token), &[("range", &range)], "")
            .await
            .expect(206);
        assert_eq!(answer.body, &large[from..=to], "{range}");
    }
    let whole = registry
        .send(Method::GET, &path, Some(&token), &[], "")
        .await
        .expect(200);
    assert_eq!(sha256(&whole.body), sha256(&large));
}

#[actix_web::test]
async fn having_a_digest_grants_nothing() {
    let (registry, path) = published().await;
    registry.namespace("other", Visibility::Public).await;
    registry
        .get(&path.replace("acme", "other"))
        .await
        .expect(404)
        .problem("not-found");
    registry
        .get(&path.replace("acme", "nobody"))
        .await
        .expect(404)
        .problem("not-found");
    registry
        .get("/v1/namespaces/acme/blobs/0000")
        .await
        .expect(400)
        .problem("bad-name");
    let unknown = format!("/v1/namespaces/acme/blobs/{}", sha256(b"unknown"));
    registry.get(&unknown).await.expect(404).problem("not-found");
}

#[actix_web::test]
async fn a_candidates_blobs_are_for_its_publishers_only() {
    let registry = Registry::new().await;
    let authority = registry.namespace("acme", Visibility::Public).await;
    let manifest = registry
        .candidate("acme", &authority, "1.0.0", 1, &[b"early"])
        .await;
    let paths = [sha256(b"early"), crate::support::digest_of(&manifest)];
    let token = registry.admin.clone();
    for path in paths.map(|sha256| format!("/v1/namespaces/acme/blobs/{sha256}")) {
        registry.get(&path).await.expect(404);
        registry
            .send(Method::GET, &path, Some(&token), &[], "")
            .await
            .expect(200);
    }
}

#[actix_web::test]
async fn a_private_namespace_is_404_in_every_way_to_those_without_a_token() {
    let registry = Registry::new().await;
    let authority = registry.namespace("acme", Visibility::Private).await;
    let (manifest, _) = registry.first_release("acme", &authority).await;
    let sha256 = manifest.files[0].sha256;
    let consistent = assay_schema::tuf::consistent_target(
        &role("minilm").manifest_path(&manifest.version),
        &crate::support::digest_of(&manifest),
    );
    let paths = [
        format!("/v1/namespaces/acme/blobs/{sha256}"),
        "/v1/namespaces/acme".into(),
        "/v1/namespaces/acme/models".into(),
        "/v1/namespaces/acme/models/minilm".into(),
        "/v1/namespaces/acme/models/minilm/releases".into(),
        "/v1/namespaces/acme/models/minilm/releases/1.0.0".into(),
        "/v1/namespaces/acme/models/minilm/check?root=1".into(),
        "/tuf/acme/metadata/timestamp.json".into(),
        "/tuf/acme/metadata/1.root.json".into(),
        format!("/tuf/acme/targets/{consistent}"),
    ];
    let reader: NewToken = registry
        .as_admin(
            Method::POST,
            "/v1/tokens",
            &json!({"label": "r", "scope": "read", "namespace": "acme"}),
        )
        .await
        .expect(201)
        .json();
    let stranger: NewToken = registry
        .as_admin(
            Method::POST,
            "/v1/tokens",
            &json!({"label": "s", "scope": "admin", "namespace": "other"}),
        )
        .await
        .expect(201)
        .json();
    for path in &paths {
        registry.get(path).await.expect(404).problem("not-found");
        registry
            .send(Method::GET, path, Some(&stranger.secret), &[], "")
            .await
            .expect(404);
        let answer = registry
            .send(Method::GET, path, Some(&reader.secret), &[], "")
            .await
            .expect(200);
        assert!(!answer.header("cache-control").contains("public"), "{path}");
    }
    let writes = [
        (Method::PUT, "/v1/namespaces/acme/models/minilm/releases/2.0.0"),
        (Method::POST, "/v1/namespaces/acme/metadata"),
    ];
    for (method, path) in writes {
        registry
            .send(method.clone(), path, None, &[], "{}")
            .await
            .expect(404);
        registry
            .send(method, path, Some(&reader.secret), &[], "{}")
            .await
            .expect(403);
    }
}

#[actix_web::test]
async fn a_blob_that_the_store_has_lost_is_a_problem_and_not_a_broken_connection() {
    let (registry, path) = published().await;
    let blob = registry.state.db.blob(&sha256(CONTENT)).await.unwrap().unwrap();
    for piece in registry.state.db.pieces(&blob, 0..blob.size).await.unwrap() {
        registry.state.blobs.delete(&piece.object).await.unwrap();
    }
    for headers in [&[][..], &[("range", "bytes=1-2")]] {
        registry.get_with(&path, headers).await.problem("internal");
    }
}
