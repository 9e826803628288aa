//! Publications: what may become visible.

use actix_web::http::Method;
use assay_schema::api::{Published, ReleaseInfo, ReleaseState, Visibility};
use assay_schema::limits::{MAX_CREATION, MAX_MANIFEST, MAX_PUBLICATION};
use assay_schema::verdict::StageOutcome;
use assay_schema::{ReleaseOrder, Stage};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::authority::{Authority, key, publication, role, sha256, sign};
use crate::support::{Registry, digest_of};

const NAME: &str = "model.minilm.0";

type Change = fn(&mut Value);

async fn acme() -> (Registry, Authority) {
    let registry = Registry::new().await;
    let authority = registry.namespace("acme", Visibility::Public).await;
    (registry, authority)
}

#[actix_web::test]
async fn a_release_goes_from_candidate_to_published_and_every_step_may_be_repeated() {
    let (registry, authority) = acme().await;
    let manifest = registry
        .candidate("acme", &authority, "1.0.0", 1, &[b"weights", b"tokens"])
        .await;
    let again: ReleaseInfo = registry.put("acme", &manifest).await.expect(200).json();
    assert_eq!(
        (again.state, again.size, again.files),
        (ReleaseState::Candidate, 13, 2)
    );
    registry
        .get("/v1/namespaces/acme/models/minilm/releases/1.0.0")
        .await
        .expect(404);

    let file = authority.model(&role("minilm"), 1, &[&manifest]);
    let sent = publication(&[(NAME, &file, None)]);
    let done: Published = registry.publish("acme", &sent).await.expect(200).json();
    assert_eq!(done.releases, std::slice::from_ref(&manifest.version));
    assert_eq!(done.roles[NAME].version, 1);
    assert_eq!(done.roles[NAME].sha256, sha256(file.as_bytes()));
    assert_eq!(
        (done.roles["snapshot"].version, done.roles["timestamp"].version),
        (2, 2)
    );
    let again: Published = registry.publish("acme", &sent).await.expect(200).json();
    assert_eq!(again, done);
    registry.put("acme", &manifest).await.expect(200);
    let shown: ReleaseInfo = registry
        .get("/v1/namespaces/acme/models/minilm/releases/1.0.0")
        .await
        .expect(200)
        .json();
    assert_eq!(
        (shown.state, shown.manifest),
        (ReleaseState::Published, digest_of(&manifest))
    );
    assert!(shown.published.is_some());
}

#[actix_web::test]
async fn refuses_a_candidate_whose_blobs_are_missing_or_of_another_size() {
    let (registry, authority) = acme().await;
    let manifest = authority.manifest("minilm", "1.0.0", 1, &[b"never uploaded"]);
    let problem = registry
        .put("acme", &manifest)
        .await
        .expect(422)
        .problem("blobs-missing");
    assert_eq!(problem.missing, [sha256(b"never uploaded")]);
    registry.upload("acme", b"never uploaded").await;
    let mut wrong = manifest.clone();
    wrong.files[0].size += 1;
    registry
        .put("acme", &wrong)
        .await
        .expect(422)
        .problem("bad-manifest");
    registry.put("acme", &manifest).await.expect(201);
}

#[actix_web::test]
async fn a_blob_of_another_namespace_is_missing_here() {
    let (registry, authority) = acme().await;
    registry.namespace("other", Visibility::Public).await;
    registry.upload("other", b"theirs").await;
    let manifest = authority.manifest("minilm", "1.0.0", 1, &[b"theirs"]);
    registry
        .put("acme", &manifest)
        .await
        .expect(422)
        .problem("blobs-missing");
}

#[actix_web::test]
async fn refuses_a_manifest_of_another_chunk_index_namespace_model_or_version() {
    let (registry, authority) = acme().await;
    let large: Vec<u8> = (0..3 << 19).map(|i: u32| i.to_le_bytes()[1]).collect();
    let info = registry.upload("acme", &large).await;
    let mut manifest = authority.manifest("minilm", "1.0.0", 1, &[&large]);
    manifest.files[0].chunks = Some(sha256(b"not its index"));
    registry
        .put("acme", &manifest)
        .await
        .expect(422)
        .problem("bad-manifest");
    manifest.files[0].chunks = info.chunks;
    assert!(info.chunks.is_some());
    registry.put("acme", &manifest).await.expect(201);

    let token = registry.admin.clone();
    let path = "/v1/namespaces/acme/models/minilm/releases/2.0.0";
    let bytes = manifest.to_bytes().unwrap();
    registry
        .send(Method::PUT, path, Some(&token), &[], bytes)
        .await
        .expect(422)
        .problem("bad-manifest");
    let mut elsewhere = manifest.clone();
    elsewhere.namespace = sha256(b"another root");
    elsewhere.version = "2.0.0".parse().unwrap();
    registry
        .put("acme", &elsewhere)
        .await
        .expect(422)
        .problem("bad-manifest");
    for body in ["", "{}", "{\"v\":1}", "[]"] {
        registry
            .send(Method::PUT, path, Some(&token), &[], body)
            .await
            .expect(422)
            .problem("bad-manifest");
    }
}

#[actix_web::test]
async fn a_candidate_may_be_replaced_and_a_published_release_may_not() {
    let (registry, authority) = acme().await;
    let first = registry
        .candidate("acme", &authority, "1.0.0", 1, &[b"first try"])
        .await;
    let second = registry
        .candidate("acme", &authority, "1.0.0", 1, &[b"second try"])
        .await;
    assert_ne!(digest_of(&first), digest_of(&second));
    // What was signed for the first try is not what stands now.
    let stale = authority.model(&role("minilm"), 1, &[&first]);
    registry
        .publish("acme", &publication(&[(NAME, &stale, None)]))
        .await
        .expect(422)
        .problem("metadata-refused");
    let file = authority.model(&role("minilm"), 1, &[&second]);
    registry
        .publish("acme", &publication(&[(NAME, &file, None)]))
        .await
        .expect(200);
    registry
        .put("acme", &first)
        .await
        .expect(409)
        .problem("release-exists");
    registry.put("acme", &second).await.expect(200);
}

#[actix_web::test]
async fn refuses_a_counter_that_a_published_release_has() {
    let (registry, authority) = acme().await;
    let (first, file) = registry.first_release("acme", &authority).await;
    registry.upload("acme", b"x").await;
    let taken = authority.manifest("minilm", "1.0.1", 1, &[b"x"]);
    registry
        .put("acme", &taken)
        .await
        .expect(422)
        .problem("bad-manifest");
    // Two candidates may share one; publishing both may not.
    let a = registry.candidate("acme", &authority, "2.0.0", 2, &[b"a"]).await;
    let b = registry.candidate("acme", &authority, "2.0.1", 2, &[b"b"]).await;
    let both = authority.model(&role("minilm"), 2, &[&first, &a, &b]);
    let sent = publication(&[(NAME, &both, Some(&file))]);
    registry
        .publish("acme", &sent)
        .await
        .expect(422)
        .problem("metadata-refused");
}

#[actix_web::test]
async fn refuses_metadata_that_no_device_would_take() {
    let (registry, authority) = acme().await;
    let manifest = registry
        .candidate("acme", &authority, "1.0.0", 1, &[b"weights"])
        .await;
    let cases: [(&str, Change); 7] = [
        ("another namespace's", |m| {
            m["x-assay"]["namespace"] = json!("00".repeat(32))
        }),
        ("another role's", |m| {
            m["x-assay"]["role"] = json!("model.minilm.1")
        }),
        ("bound to nothing", |m| {
            _ = m.as_object_mut().unwrap().remove("x-assay")
        }),
        ("expired", |m| m["expires"] = json!("2026-11-30T00:00:00Z")),
        ("a skipped version", |m| m["version"] = json!(2)),
        ("an epoch above the delegation's", |m| {
            m["targets"]["models/minilm/0/1.0.0.json"]["custom"]["x-assay"]["order"]["epoch"] = json!(2);
        }),
        ("an order that is not the manifest's", |m| {
            m["targets"]["models/minilm/0/1.0.0.json"]["custom"]["x-assay"]["order"]["counter"] = json!(7);
        }),
    ];
    for (what, change) in cases {
        let mut signed = authority.model_value(&role("minilm"), 1, &[&manifest]);
        change(&mut signed);
        let file = sign(&signed, &authority.publisher);
        let answer = registry
            .publish("acme", &publication(&[(NAME, &file, None)]))
            .await;
        assert_eq!(answer.status, 422, "{what}");
        answer.problem("metadata-refused");
    }
    let good = authority.model_value(&role("minilm"), 1, &[&manifest]);
    for (what, keys) in [
        ("unsigned", vec![]),
        ("a stranger's", vec![key(9)]),
        ("the targets role's", vec![key(3)]),
    ] {
        let file = sign(&good, &keys);
        let answer = registry
            .publish("acme", &publication(&[(NAME, &file, None)]))
            .await;
        assert_eq!(answer.status, 422, "{what}");
        answer.problem("metadata-refused");
    }
    let file = sign(&good, &authority.publisher);
    registry
        .publish("acme", &publication(&[(NAME, &file, None)]))
        .await
        .expect(200);
}

#[actix_web::test]
async fn a_refused_release_comes_with_the_devices_verdict() {
    let (registry, authority) = acme().await;
    registry.upload("acme", b"weights").await;
    // Somebody may sign the provenance, and it was not them.
    let spki = [
        &hex::decode("302a300506032b6570032100").unwrap()[..],
        key(7).verifying_key().as_bytes(),
    ]
    .concat();
    let signer = json!({"name": "builder", "identity": {"kind": "key", "spki": STANDARD.encode(spki)}});
    let signers = json!({"v": 1, "signers": [signer]}).to_string();
    let first = authority.targets(1, &[role("minilm")], &[]);
    let targets = authority.targets(2, &[role("minilm")], &[("trust/signers.json", &signers)]);
    registry
        .publish("acme", &publication(&[("targets", &targets, Some(&first))]))
        .await
        .expect(200);
    let signature = br#"{"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json"}"#;
    registry.upload("acme", signature).await;
    let mut manifest = authority.manifest("minilm", "1.0.0", 1, &[b"weights"]);
    manifest
        .attestations
        .push(assay_schema::manifest::AttestationRef {
            predicate_type: "https://model_signing/signature/v1.0".into(),
            size: signature.len() as u64,
            sha256: sha256(signature),
        });
    registry.put("acme", &manifest).await.expect(201);
    let file = authority.model(&role("minilm"), 1, &[&manifest]);
    let answer = registry
        .publish("acme", &publication(&[(NAME, &file, None)]))
        .await;
    let problem = answer.expect(422).problem("metadata-refused");
    let verdict = problem.verdict.unwrap();
    let provenance = verdict.stage(Stage::Provenance).unwrap();
    assert!(
        matches!(provenance.outcome, StageOutcome::Refused(_)),
        "{verdict:?}"
    );
    let release = verdict.stage(Stage::Release).unwrap();
    assert!(matches!(release.outcome, StageOutcome::Passed), "{verdict:?}");
}

#[actix_web::test]
async fn refuses_roles_that_publishers_do_not_sign() {
    let (registry, authority) = acme().await;
    for role in ["snapshot", "timestamp", "model.minilm.00", "director"] {
        let sent = publication(&[(role, &authority.root, None)]);
        let problem = registry
            .publish("acme", &sent)
            .await
            .expect(400)
            .problem("bad-request");
        assert!(problem.detail.contains(role), "{}", problem.detail);
    }
    let nothing = json!({"roles": {}});
    registry
        .as_admin(Method::POST, "/v1/namespaces/acme/metadata", &nothing)
        .await
        .expect(400);
}

#[actix_web::test]
async fn refuses_to_change_or_delist_a_published_release() {
    let (registry, authority) = acme().await;
    let (first, file) = registry.first_release("acme", &authority).await;
    let second = registry
        .candidate("acme", &authority, "1.1.0", 2, &[b"weights of two"])
        .await;
    let gone = authority.model(&role("minilm"), 2, &[&second]);
    let mut changed = first.clone();
    changed.order = ReleaseOrder::new(1, 3).unwrap();
    let changed = authority.model(&role("minilm"), 2, &[&changed, &second]);
    for file_sent in [gone, changed] {
        let sent = publication(&[(NAME, &file_sent, Some(&file))]);
        let problem = registry
            .publish("acme", &sent)
            .await
            .expect(422)
            .problem("metadata-refused");
        assert!(problem.detail.contains("1.0.0"), "{}", problem.detail);
    }
    registry
        .get("/v1/namespaces/acme/models/minilm/releases/1.1.0")
        .await
        .expect(404);
}

#[actix_web::test]
async fn refuses_a_release_without_its_candidate() {
    let (registry, authority) = acme().await;
    let never = authority.manifest("minilm", "1.0.0", 1, &[b"never put"]);
    let file = authority.model(&role("minilm"), 1, &[&never]);
    let sent = publication(&[(NAME, &file, None)]);
    let problem = registry
        .publish("acme", &sent)
        .await
        .expect(422)
        .problem("metadata-refused");
    assert!(problem.detail.contains("candidate"), "{}", problem.detail);
}

#[actix_web::test]
async fn trust_targets_must_be_uploaded_or_inline() {
    let (registry, authority) = acme().await;
    let first = authority.targets(1, &[role("minilm")], &[]);
    let signers = r#"{"signers":[],"v":1}"#;
    let mut targets = authority.targets_value(2, &[role("minilm")], &[("trust/signers.json", signers)]);
    let inline = sign(&targets, &authority.targets_keys);
    targets["targets"]["trust/signers.json"]
        .as_object_mut()
        .unwrap()
        .remove("custom");
    let bare = sign(&targets, &authority.targets_keys);
    let sent = publication(&[("targets", &bare, Some(&first))]);
    let problem = registry
        .publish("acme", &sent)
        .await
        .expect(422)
        .problem("blobs-missing");
    assert_eq!(problem.missing, [sha256(signers.as_bytes())]);
    registry
        .publish("acme", &publication(&[("targets", &inline, Some(&first))]))
        .await
        .expect(200);
    let path = format!(
        "/tuf/acme/targets/trust/{}.signers.json",
        sha256(signers.as_bytes())
    );
    assert_eq!(registry.get(&path).await.expect(200).body, signers.as_bytes());
}

#[actix_web::test]
async fn publishing_needs_its_scope() {
    let (registry, authority) = acme().await;
    let asked = json!({"label": "reader", "scope": "read"});
    let made: assay_schema::api::NewToken =
        registry.as_admin(Method::POST, "/v1/tokens", &asked).await.json();
    let manifest = authority.manifest("minilm", "1.0.0", 1, &[b"x"]);
    let path = "/v1/namespaces/acme/models/minilm/releases/1.0.0";
    for (token, status) in [(None, 401), (Some(made.secret.as_str()), 403)] {
        let bytes = manifest.to_bytes().unwrap();
        registry
            .send(Method::PUT, path, token, &[], bytes)
            .await
            .expect(status);
        registry
            .send(Method::POST, "/v1/namespaces/acme/metadata", token, &[], "{}")
            .await
            .expect(status);
    }
}

#[actix_web::test]
async fn a_release_that_devices_have_to_wait_for_may_be_published() {
    let (registry, authority) = acme().await;
    registry.upload("acme", b"weights").await;
    let mut manifest = authority.manifest("minilm", "1.0.0", 1, &[b"weights"]);
    manifest.not_before = Some("2027-01-01T00:00:00Z".parse().unwrap());
    registry.put("acme", &manifest).await.expect(201);
    let file = authority.model(&role("minilm"), 1, &[&manifest]);
    registry
        .publish("acme", &publication(&[(NAME, &file, None)]))
        .await
        .expect(200);
}

#[actix_web::test]
async fn refuses_everything_once_the_root_has_expired() {
    let (registry, authority) = acme().await;
    let manifest = registry
        .candidate("acme", &authority, "1.0.0", 1, &[b"weights"])
        .await;
    registry.pass(jiff::SignedDuration::from_hours(24 * 200));
    let mut signed = authority.model_value(&role("minilm"), 1, &[&manifest]);
    signed["expires"] = json!("2028-01-01T00:00:00Z");
    let file = sign(&signed, &authority.publisher);
    let answer = registry
        .publish("acme", &publication(&[(NAME, &file, None)]))
        .await;
    let problem = answer.expect(422).problem("metadata-refused");
    assert!(problem.detail.contains("root expired"), "{}", problem.detail);
}

#[actix_web::test]
async fn refuses_bodies_beyond_their_limits() {
    let (registry, _) = acme().await;
    let token = registry.admin.clone();
    let cases = [
        (Method::POST, "/v1/namespaces/acme/metadata", MAX_PUBLICATION),
        (Method::PUT, "/v1/namespaces/acme", MAX_CREATION),
        (
            Method::PUT,
            "/v1/namespaces/acme/models/minilm/releases/1.0.0",
            MAX_MANIFEST,
        ),
    ];
    for (method, path, limit) in cases {
        let body = vec![b' '; usize::try_from(limit).unwrap() + 1];
        registry
            .send(method, path, Some(&token), &[], body)
            .await
            .expect(413)
            .problem("too-large");
    }
}
