//! The static TUF repository.

use assay_schema::api::Visibility;
use assay_schema::tuf::consistent_target;
use serde_json::Value;

use crate::authority::{publication, role, sha256};
use crate::support::{Registry, digest_of};

#[actix_web::test]
async fn every_version_stays_and_only_the_timestamp_is_asked_for_again() {
    let registry = Registry::new().await;
    let authority = registry.namespace("acme", Visibility::Public).await;
    let (first, file) = registry.first_release("acme", &authority).await;
    let second = registry
        .candidate("acme", &authority, "1.1.0", 2, &[b"two"])
        .await;
    let next = authority.model(&role("minilm"), 2, &[&first, &second]);
    registry
        .publish("acme", &publication(&[("model.minilm.0", &next, Some(&file))]))
        .await
        .expect(200);

    let files = [
        ("1.root.json", authority.root.as_str()),
        ("1.model.minilm.0.json", file.as_str()),
        ("2.model.minilm.0.json", next.as_str()),
        // As clients write role names that they percent-encode.
        ("2.model%2Eminilm.0.json", next.as_str()),
    ];
    for (name, bytes) in files {
        let answer = registry
            .get(&format!("/tuf/acme/metadata/{name}"))
            .await
            .expect(200);
        assert_eq!(answer.body, bytes.as_bytes(), "{name}");
        assert_eq!(
            answer.header("cache-control"),
            "public, max-age=31536000, immutable"
        );
        assert_eq!(answer.header("content-type"), "application/json");
    }
    let answer = registry
        .get("/tuf/acme/metadata/timestamp.json")
        .await
        .expect(200);
    assert_eq!(answer.header("cache-control"), "no-cache");
    let timestamp: Value = answer.json();
    assert_eq!(timestamp["signed"]["meta"]["snapshot.json"]["version"], 3);
    let tag = answer.header("etag").to_owned();
    registry
        .get_with("/tuf/acme/metadata/timestamp.json", &[("if-none-match", &tag)])
        .await
        .expect(304);

    let snapshot = registry
        .get("/tuf/acme/metadata/3.snapshot.json")
        .await
        .expect(200);
    let listed: Value = snapshot.json();
    let entry = &listed["signed"]["meta"]["model.minilm.0.json"];
    assert_eq!(
        (entry["version"].as_u64(), entry["length"].as_u64()),
        (Some(2), Some(next.len() as u64))
    );
    assert_eq!(entry["hashes"]["sha256"], sha256(next.as_bytes()).to_hex());
    assert_eq!(listed["signed"]["x-assay"]["role"], "snapshot");
}

#[actix_web::test]
async fn refuses_names_that_are_no_metadata_files() {
    let registry = Registry::new().await;
    registry.namespace("acme", Visibility::Public).await;
    for name in [
        "root.json",
        "2.root.json",
        "01.root.json",
        "1.timestamp.json",
        "snapshot.json",
        "1.root",
        "..%2f1.root.json",
    ] {
        registry
            .get(&format!("/tuf/acme/metadata/{name}"))
            .await
            .expect(404)
            .problem("not-found");
    }
}

#[actix_web::test]
async fn a_manifest_is_a_target_once_its_release_is_published() {
    let registry = Registry::new().await;
    let authority = registry.namespace("acme", Visibility::Public).await;
    let manifest = registry.candidate("acme", &authority, "1.0.0", 1, &[b"x"]).await;
    let path = role("minilm").manifest_path(&manifest.version);
    let target = format!(
        "/tuf/acme/targets/{}",
        consistent_target(&path, &digest_of(&manifest))
    );
    registry.get(&target).await.expect(404);
    let file = authority.model(&role("minilm"), 1, &[&manifest]);
    registry
        .publish("acme", &publication(&[("model.minilm.0", &file, None)]))
        .await
        .expect(200);
    let answer = registry.get(&target).await.expect(200);
    assert_eq!(answer.body, manifest.to_bytes().unwrap());
    assert_eq!(
        answer.header("cache-control"),
        "public, max-age=31536000, immutable"
    );

    let sha256 = digest_of(&manifest);
    for wrong in [
        path.clone(),
        consistent_target(&path, &crate::authority::sha256(b"other")),
        format!("models/minilm/1/{sha256}.1.0.0.json"),
        format!("models/other/0/{sha256}.1.0.0.json"),
        format!("models/minilm/0/{sha256}.1.0.1.json"),
        format!("trust/{sha256}.1.0.0.json"),
        // A file of the release is a blob, not a target.
        format!("models/minilm/0/{}.1.0.0.json", manifest.files[0].sha256),
    ] {
        registry
            .get(&format!("/tuf/acme/targets/{wrong}"))
            .await
            .expect(404)
            .problem("not-found");
    }
}
