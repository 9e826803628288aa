//! The status role: published with its delegation, judged, and given to devices.

use assay_schema::api::{Publication, Visibility};
use assay_schema::canonical;
use assay_schema::verdict::Verdict;
use assay_schema::{Stage, status};
use assay_verifier::{Checked, Route, Want};
use ed25519_dalek::SigningKey;
use jiff::SignedDuration;
use serde_json::{Value, json};

use crate::authority::{Authority, key, key_id, publication, role, sha256, sign, tuf_key};
use crate::support::{Registry, device};

const STATIC: Route = Route::Static { cached: None };
const BUNDLE: Route = Route::Bundle { cached: None };

fn content(extra: &Value) -> String {
    let mut content = json!({"v": 1, "issued": "2026-12-01T00:00:00Z"});
    for (name, value) in extra.as_object().unwrap() {
        content[name] = value.clone();
    }
    String::from_utf8(canonical::document(&content).unwrap()).unwrap()
}

fn status_file(
    authority: &Authority,
    version: u64,
    expires: &str,
    content: &str,
    signer: &SigningKey,
) -> String {
    let target = json!({"length": content.len(), "hashes": {"sha256": sha256(content.as_bytes())},
        "custom": {"x-assay": {"inline": content}}});
    let signed = json!({"_type": "targets", "spec_version": "1.0.31", "version": version, "expires": expires,
        "targets": {"status.json": target}, "x-assay": {"namespace": authority.identity, "role": "status"}});
    sign(&signed, std::slice::from_ref(signer))
}

/// Targets that delegate the status role to key 30.
fn targets(authority: &Authority, version: u64) -> String {
    let mut value = authority.targets_value(version, &[role("minilm")], &[]);
    let key = tuf_key(&key(30));
    let id = key_id(&key);
    value["delegations"]["keys"][&id] = key;
    value["delegations"]["roles"].as_array_mut().unwrap().push(json!({
        "name": "status", "keyids": [id], "threshold": 1, "terminating": true, "paths": ["status.json"]}));
    sign(&value, &authority.targets_keys)
}

async fn first_targets(registry: &Registry) -> String {
    let file = registry
        .get("/tuf/acme/metadata/1.targets.json")
        .await
        .expect(200);
    String::from_utf8(file.body.to_vec()).unwrap()
}

struct World {
    registry: Registry,
    authority: Authority,
    targets: String,
    status: String,
}

const LATER: &str = "2026-12-31T00:00:00Z";

impl World {
    async fn new(extra: &Value) -> Self {
        let registry = Registry::new().await;
        let authority = registry.namespace("acme", Visibility::Public).await;
        registry.first_release("acme", &authority).await;
        let parent = first_targets(&registry).await;
        let targets = targets(&authority, 2);
        let status = status_file(&authority, 1, LATER, &content(extra), &key(30));
        let sent = publication(&[("targets", &targets, Some(&parent)), ("status", &status, None)]);
        registry.publish("acme", &sent).await.expect(200);
        Self {
            registry,
            authority,
            targets,
            status,
        }
    }

    async fn refused(&self, route: Route) -> Box<Verdict> {
        let found = device(&self.registry, "acme", &self.authority, Want::Highest, route).await;
        match found.checked {
            Checked::Refused(verdict) => verdict,
            other => panic!("{other:?}"),
        }
    }
}

#[actix_web::test]
async fn devices_get_the_status_in_one_request_and_by_static_paths() {
    let world = World::new(&json!({})).await;
    for (route, requests) in [(BUNDLE, 1), (STATIC, 8)] {
        let found = device(&world.registry, "acme", &world.authority, Want::Highest, route).await;
        assert!(found.requests.len() <= requests, "{:?}", found.requests);
        let verdict = found.permitted().verdict();
        assert_eq!(verdict.stage(Stage::Freshness).unwrap().evidence["status"], "1");
    }
    let text = content(&json!({}));
    let path = format!("/tuf/acme/targets/{}.{}", sha256(text.as_bytes()), status::TARGET);
    let target = world.registry.get(&path).await.expect(200);
    assert_eq!(target.body, text);
}

#[actix_web::test]
async fn a_revocation_reaches_devices_with_the_next_status() {
    let world = World::new(&json!({})).await;
    let revoked = content(&json!({"revoked_releases": [{"model": "minilm", "version": "1.0.0"}]}));
    let next = status_file(&world.authority, 2, LATER, &revoked, &key(30));
    let sent = publication(&[("status", &next, Some(&world.status))]);
    world.registry.publish("acme", &sent).await.expect(200);
    for route in [BUNDLE, STATIC] {
        let verdict = world.refused(route).await;
        assert_eq!(verdict.refusal().unwrap().1.code, "revoked");
    }
}

#[actix_web::test]
async fn refuses_a_delegation_without_its_status_and_a_status_without_its_delegation() {
    let registry = Registry::new().await;
    let authority = registry.namespace("acme", Visibility::Public).await;
    let parent = first_targets(&registry).await;
    let status = status_file(&authority, 1, LATER, &content(&json!({})), &key(30));
    let refuse = async |sent: Publication| {
        let answer = registry.publish("acme", &sent).await.expect(422);
        answer.problem("metadata-refused").detail
    };
    let alone = refuse(publication(&[(
        "targets",
        &targets(&authority, 2),
        Some(&parent),
    )]))
    .await;
    assert!(alone.contains("status"), "{alone}");
    let stray = refuse(publication(&[("status", &status, None)])).await;
    assert!(stray.contains("delegation to status"), "{stray}");
}

#[actix_web::test]
async fn refuses_a_status_that_no_device_would_take() {
    let world = World::new(&json!({})).await;
    let text = content(&json!({}));
    let other_key = status_file(&world.authority, 2, LATER, &text, &key(31));
    let expired = status_file(&world.authority, 2, "2026-11-30T00:00:00Z", &text, &key(30));
    let unknown = status_file(
        &world.authority,
        2,
        LATER,
        &content(&json!({"allow": true})),
        &key(30),
    );
    let skipped = status_file(&world.authority, 3, LATER, &text, &key(30));
    for sent in [other_key, expired, unknown, skipped] {
        let sent = publication(&[("status", &sent, Some(&world.status))]);
        world
            .registry
            .publish("acme", &sent)
            .await
            .expect(422)
            .problem("metadata-refused");
    }
}

#[actix_web::test]
async fn refuses_a_status_under_which_devices_would_use_nothing_any_more() {
    let world = World::new(&json!({})).await;
    let id = |seed| key_id(&tuf_key(&key(seed)));
    for extra in [
        json!({"versions": {"tragets": 3}}),
        json!({"versions": {"root": 2}}),
        json!({"versions": {"targets": 3}}),
        json!({"revoked_keys": [id(30)]}),
        json!({"revoked_keys": [id(4)]}),
    ] {
        let stops = status_file(&world.authority, 2, LATER, &content(&extra), &key(30));
        let sent = publication(&[("status", &stops, Some(&world.status))]);
        let problem = world.registry.publish("acme", &sent).await.expect(422);
        let detail = problem.problem("metadata-refused").detail;
        assert!(detail.contains("the authority's status"), "{extra}: {detail}");
    }
    device(&world.registry, "acme", &world.authority, Want::Highest, BUNDLE)
        .await
        .permitted();
    // What stops one model is the authority's to say.
    let one = json!({"versions": {"model.minilm.0": 1, "model.nosuch.0": 9}, "revoked_keys": [id(5)]});
    let status = status_file(&world.authority, 2, LATER, &content(&one), &key(30));
    let sent = publication(&[("status", &status, Some(&world.status))]);
    world.registry.publish("acme", &sent).await.expect(200);
    let verdict = world.refused(BUNDLE).await;
    assert_eq!(verdict.refusal().unwrap().1.code, "revoked-key");
}

#[actix_web::test]
async fn refuses_a_file_that_a_revoked_key_signed() {
    let registry = Registry::new().await;
    let authority = registry.namespace("acme", Visibility::Public).await;
    let (manifest, file) = registry.first_release("acme", &authority).await;
    let parent = first_targets(&registry).await;
    let publisher = key_id(&tuf_key(&key(5)));
    let text = content(&json!({"revoked_keys": [publisher]}));
    let status = status_file(&authority, 1, LATER, &text, &key(30));
    let targets = targets(&authority, 2);
    let sent = publication(&[("targets", &targets, Some(&parent)), ("status", &status, None)]);
    registry.publish("acme", &sent).await.expect(200);
    let again = authority.model(&role("minilm"), 2, &[&manifest]);
    let sent = publication(&[("model.minilm.0", &again, Some(&file))]);
    let problem = registry.publish("acme", &sent).await.expect(422);
    let detail = problem.problem("metadata-refused").detail;
    assert!(detail.contains(&publisher), "{detail}");
}

#[actix_web::test]
async fn an_expired_status_stops_devices_until_it_is_renewed() {
    let world = World::new(&json!({})).await;
    world.registry.pass(SignedDuration::from_hours(24 * 31));
    assay_server::publish::resign::all_due(&world.registry.state).await;
    let verdict = world.refused(BUNDLE).await;
    let (stage, refusal) = verdict.refusal().unwrap();
    assert_eq!((stage, refusal.code.as_str()), (Stage::Freshness, "expired"));
    // The authority's other files go on all the same.
    let next = targets(&world.authority, 3);
    let sent = publication(&[("targets", &next, Some(&world.targets))]);
    world.registry.publish("acme", &sent).await.expect(200);
    let renewed = status_file(
        &world.authority,
        2,
        "2027-02-01T00:00:00Z",
        &content(&json!({})),
        &key(30),
    );
    let sent = publication(&[("status", &renewed, Some(&world.status))]);
    world.registry.publish("acme", &sent).await.expect(200);
    device(&world.registry, "acme", &world.authority, Want::Highest, BUNDLE)
        .await
        .permitted();
}

#[actix_web::test]
async fn a_role_that_expired_is_renewed_as_it_stands_and_its_releases_are_used_again() {
    let registry = Registry::new().await;
    let authority = registry.namespace("acme", Visibility::Public).await;
    let (manifest, file) = registry.first_release("acme", &authority).await;
    let role_at = |version, expires: &str| {
        let mut value = authority.model_value(&role("minilm"), version, &[&manifest]);
        value["expires"] = expires.into();
        sign(&value, &authority.publisher)
    };
    let short = role_at(2, "2026-12-05T00:00:00Z");
    let sent = publication(&[("model.minilm.0", &short, Some(&file))]);
    registry.publish("acme", &sent).await.expect(200);
    registry.pass(SignedDuration::from_hours(24 * 5));
    assay_server::publish::resign::all_due(&registry.state).await;
    let late = role_at(3, "2026-12-05T00:00:00Z");
    let sent = publication(&[("model.minilm.0", &late, Some(&short))]);
    let problem = registry.publish("acme", &sent).await.expect(422);
    let detail = problem.problem("metadata-refused").detail;
    assert!(detail.contains("assay role renew"), "{detail}");
    let renewed = role_at(3, LATER);
    let sent = publication(&[("model.minilm.0", &renewed, Some(&short))]);
    registry.publish("acme", &sent).await.expect(200);
    device(&registry, "acme", &authority, Want::Highest, BUNDLE)
        .await
        .permitted();
}
