//! Another namespace's releases among a model's targets (TUF TAP 4): every TUF client can fetch them, and nothing takes them for
//! the namespace's own.

use assay_schema::api::{Publication, Published, Visibility};
use assay_schema::tuf::consistent_target;
use assay_schema::{CheckBundle, ReleaseManifest, Stage};
use assay_verifier::{Checked, Route, Want};

use crate::authority::{Authority, publication, role};
use crate::support::{Registry, device, digest_of};

const ROLE: &str = "model.minilm.0";

struct World {
    registry: Registry,
    regulator: Authority,
    /// `acme`'s release, which is not on this registry.
    manifest: ReleaseManifest,
}

async fn world() -> World {
    let elsewhere = Registry::new().await;
    let acme = elsewhere.namespace("acme", Visibility::Public).await;
    let registry = Registry::new().await;
    let regulator = registry.namespace("regulator", Visibility::Public).await;
    World {
        registry,
        regulator,
        manifest: acme.manifest("minilm", "1.0.0", 1, &[b"weights that nobody uploads here"]),
    }
}

impl World {
    fn endorse(&self, listed: &[&ReleaseManifest], along: &[&ReleaseManifest]) -> Publication {
        let file = self.regulator.model(&role("minilm"), 1, listed);
        let text = |m: &&ReleaseManifest| String::from_utf8(m.to_bytes().unwrap()).unwrap();
        Publication {
            manifests: along.iter().map(text).collect(),
            ..publication(&[(ROLE, &file, None)])
        }
    }

    async fn endorsed() -> Self {
        let world = world().await;
        let sent = world.endorse(&[&world.manifest], &[&world.manifest]);
        for _ in 0..2 {
            let done: Published = world
                .registry
                .publish("regulator", &sent)
                .await
                .expect(200)
                .json();
            assert!(done.releases.is_empty(), "it is no release of the regulator's");
            assert_eq!(done.roles[ROLE].version, 1);
        }
        world
    }
}

#[actix_web::test]
async fn an_endorsed_manifest_is_a_target_and_no_release() {
    let world = World::endorsed().await;
    let registry = &world.registry;
    let path = consistent_target("models/minilm/0/1.0.0.json", &digest_of(&world.manifest));
    let target = registry
        .get(&format!("/tuf/regulator/targets/{path}"))
        .await
        .expect(200);
    assert_eq!(target.body, world.manifest.to_bytes().unwrap());

    let base = "/v1/namespaces/regulator";
    for absent in [
        "/models/minilm",
        "/models/minilm/check?root=1",
        "/models/minilm/check?root=1&version=1.0.0",
        "/models/minilm/releases/1.0.0",
    ] {
        registry.get(&format!("{base}{absent}")).await.expect(404);
    }
    for listing in ["/v1/namespaces/regulator/models", "/v1/search?q=minilm"] {
        let page: serde_json::Value = registry.get(listing).await.expect(200).json();
        assert_eq!(page["items"], serde_json::json!([]), "{listing}");
    }
    let page: serde_json::Value = registry
        .as_admin(
            actix_web::http::Method::GET,
            &format!("{base}/models/minilm/releases"),
            &(),
        )
        .await
        .json();
    assert!(page["items"].as_array().is_none_or(Vec::is_empty), "{page}");
}

#[actix_web::test]
async fn a_device_that_asks_for_it_as_a_release_of_the_endorser_refuses() {
    let world = World::endorsed().await;
    let route = Route::Bundle { cached: None };
    let found = device(
        &world.registry,
        "regulator",
        &world.regulator,
        Want::Highest,
        route,
    )
    .await;
    let Checked::Refused(verdict) = found.checked else {
        panic!("{:?}", found.checked);
    };
    let (stage, refusal) = verdict.refusal().unwrap();
    assert_eq!((stage, refusal.code.as_str()), (Stage::Release, "wrong-release"));
}

#[actix_web::test]
async fn one_request_shows_what_an_authority_signed_and_304_that_nothing_changed() {
    let world = World::endorsed().await;
    let path = "/v1/namespaces/regulator/models/minilm/check?root=1&block=0";
    let answer = world.registry.get(path).await.expect(200);
    let bundle: CheckBundle = answer.json();
    assert_eq!(bundle.delegated[0].role, ROLE);
    assert!(
        bundle.delegated[0]
            .metadata
            .contains(&digest_of(&world.manifest).to_hex())
            && bundle.blobs.is_empty()
    );
    let tag = answer.header("etag").to_owned();
    let headers = [("if-none-match", tag.as_str())];
    world.registry.get_with(path, &headers).await.expect(304);
    // A block, or a model, of which nothing is signed: shown by one request, too.
    for other in ["minilm/check?root=1&block=7", "other/check?root=1&block=0"] {
        let path = format!("/v1/namespaces/regulator/models/{other}");
        let bundle: CheckBundle = world.registry.get(&path).await.expect(200).json();
        assert!(bundle.delegated.is_empty());
    }
    world
        .registry
        .get("/v1/namespaces/nobody/models/minilm/check?root=1&block=0")
        .await
        .expect(404);
}

#[actix_web::test]
async fn refuses_a_foreign_manifest_that_does_not_come_along() {
    let world = world().await;
    let sent = world.endorse(&[&world.manifest], &[]);
    let refused = world.registry.publish("regulator", &sent).await;
    assert!(refused.problem("metadata-refused").detail.contains("candidate"));
}

#[actix_web::test]
async fn refuses_a_manifest_that_nothing_lists() {
    let world = world().await;
    let other = ReleaseManifest {
        version: "1.0.1".parse().unwrap(),
        ..world.manifest.clone()
    };
    let sent = world.endorse(&[&world.manifest], &[&world.manifest, &other]);
    world
        .registry
        .publish("regulator", &sent)
        .await
        .problem("bad-request");
}

#[actix_web::test]
async fn refuses_a_manifest_of_its_own_that_comes_along() {
    let world = world().await;
    let own = world.regulator.manifest("minilm", "1.0.0", 1, &[b"weights"]);
    let sent = world.endorse(&[&own], &[&own]);
    let refused = world.registry.publish("regulator", &sent).await;
    assert!(
        refused
            .problem("bad-manifest")
            .detail
            .contains("put as a candidate")
    );
}

#[actix_web::test]
async fn refuses_a_manifest_under_another_releases_path() {
    let world = world().await;
    let other = ReleaseManifest {
        version: "2.0.0".parse().unwrap(),
        ..world.manifest.clone()
    };
    // The file lists the one's bytes under the other's path.
    let mut value = world
        .regulator
        .model_value(&role("minilm"), 1, &[&world.manifest]);
    let targets = value["targets"].as_object_mut().unwrap();
    let entry = targets.remove("models/minilm/0/1.0.0.json").unwrap();
    targets.insert("models/minilm/0/2.0.0.json".to_owned(), entry);
    let file = crate::authority::sign(&value, &world.regulator.publisher);
    let sent = Publication {
        manifests: vec![String::from_utf8(world.manifest.to_bytes().unwrap()).unwrap()],
        ..publication(&[(ROLE, &file, None)])
    };
    let refused = world.registry.publish("regulator", &sent).await;
    let detail = refused.problem("bad-manifest").detail;
    assert!(
        detail.contains(&format!("minilm@{} order", other.version)),
        "{detail}"
    );
}

#[actix_web::test]
async fn a_model_has_releases_of_one_kind() {
    // Its own first: then no other namespace's.
    let world = world().await;
    let (own, file) = world.registry.first_release("regulator", &world.regulator).await;
    let later = ReleaseManifest {
        version: "1.1.0".parse().unwrap(),
        order: assay_schema::ReleaseOrder::new(1, 2).unwrap(),
        ..world.manifest.clone()
    };
    let next = world.regulator.model(&role("minilm"), 2, &[&own, &later]);
    let sent = Publication {
        manifests: vec![String::from_utf8(later.to_bytes().unwrap()).unwrap()],
        ..publication(&[(ROLE, &next, Some(&file))])
    };
    let refused = world.registry.publish("regulator", &sent).await;
    assert!(
        refused
            .problem("bad-manifest")
            .detail
            .contains("no releases of its own")
    );

    // Another's first: then none of its own.
    let world = World::endorsed().await;
    let before = world.regulator.model(&role("minilm"), 1, &[&world.manifest]);
    let own = world
        .registry
        .candidate("regulator", &world.regulator, "1.1.0", 2, &[b"own weights"])
        .await;
    let next = world
        .regulator
        .model(&role("minilm"), 2, &[&world.manifest, &own]);
    let sent = publication(&[(ROLE, &next, Some(&before))]);
    let refused = world.registry.publish("regulator", &sent).await;
    assert!(refused.problem("bad-manifest").detail.contains("signs no other"));
}
