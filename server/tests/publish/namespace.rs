//! Creating namespaces: what the registry takes, and what it refuses before anybody sees it.

use actix_web::http::Method;
use assay_schema::api::{CreateNamespace, NamespaceInfo, Scope, Visibility};
use serde_json::{Value, json};

use crate::authority::{Authority, key, key_id, role, sha256, sign, tuf_key};
use crate::support::{Registry, start};

const EXPIRES: &str = "2027-05-01T00:00:00Z";

type Change<'a> = Box<dyn FnOnce(&mut Value) + 'a>;

async fn authority(registry: &Registry) -> Authority {
    Authority::new(&registry.keys("acme").await, EXPIRES)
}

/// Changes the root and signs it again with both root keys.
async fn with_root(registry: &Registry, change: impl FnOnce(&mut Value)) -> CreateNamespace {
    let made = authority(registry).await;
    let own = registry.keys("acme").await;
    let mut root = Authority::root_value(&own, &made.root_keys, &made.targets_keys, EXPIRES);
    change(&mut root);
    let root = sign(&root, &made.root_keys);
    let identity = sha256(root.as_bytes());
    let made = Authority {
        root,
        identity,
        ..made
    };
    made.creation(&[role("minilm")])
}

#[actix_web::test]
async fn keys_stay_the_same_and_are_not_shared_between_namespaces() {
    let registry = Registry::new().await;
    let keys = registry.keys("acme").await;
    assert_eq!(keys, registry.keys("acme").await);
    assert_ne!(keys.snapshot, keys.timestamp);
    let other = registry.keys("other").await;
    assert!(other.snapshot != keys.snapshot && other.timestamp != keys.timestamp);
    let path = "/v1/namespaces/acme/keys";
    registry
        .send(Method::POST, path, None, &[], "")
        .await
        .expect(401)
        .problem("unauthorized");
}

#[actix_web::test]
async fn a_namespace_is_created_once_and_the_same_content_again_changes_nothing() {
    let registry = Registry::new().await;
    let request = authority(&registry).await.creation(&[role("minilm")]);
    let made: NamespaceInfo = registry.create("acme", &request).await.expect(201).json();
    assert_eq!(made.created, start());
    assert!(
        made.versions.values().all(|v| *v == 1) && made.versions.len() == 4,
        "{made:?}"
    );
    let again: NamespaceInfo = registry.create("acme", &request).await.expect(200).json();
    assert_eq!(again, made);
    let shown: NamespaceInfo = registry.get("/v1/namespaces/acme").await.expect(200).json();
    assert_eq!(shown, made);

    let other = CreateNamespace {
        visibility: Visibility::Private,
        ..request.clone()
    };
    registry
        .create("acme", &other)
        .await
        .expect(409)
        .problem("namespace-exists");
    let another = Authority {
        targets_keys: vec![key(13), key(14)],
        ..authority(&registry).await
    };
    let other = CreateNamespace {
        targets: another.targets(1, &[], &[]),
        ..request
    };
    registry
        .create("acme", &other)
        .await
        .expect(409)
        .problem("namespace-exists");
}

#[actix_web::test]
async fn refuses_creation_without_scope_or_keys() {
    let registry = Registry::new().await;
    let request = Authority::new(&registry.keys("other").await, EXPIRES).creation(&[]);
    let problem = registry
        .create("acme", &request)
        .await
        .expect(400)
        .problem("bad-request");
    assert!(problem.detail.contains("keys"), "{}", problem.detail);
    let path = "/v1/namespaces/acme";
    let body = serde_json::to_vec(&request).unwrap();
    registry
        .send(Method::PUT, path, None, &[], body)
        .await
        .expect(401);
    registry
        .create("Not%20A%20Name", &request)
        .await
        .expect(400)
        .problem("bad-name");
}

#[actix_web::test]
async fn refuses_a_root_that_does_not_list_the_registrys_keys_alone() {
    let registry = Registry::new().await;
    let own = registry.keys("acme").await;
    let snapshot_id = key_id(&serde_json::to_value(&own.snapshot).unwrap());
    let stranger = tuf_key(&key(9));
    let cases: [Change<'_>; 3] = [
        Box::new(|root| {
            root["keys"][key_id(&stranger)] = stranger.clone();
            root["roles"]["snapshot"]["keyids"] = json!([key_id(&stranger)]);
        }),
        Box::new(|root| root["roles"]["timestamp"]["keyids"] = json!([snapshot_id])),
        Box::new(|root| root["version"] = json!(2)),
    ];
    for case in cases {
        let request = with_root(&registry, case).await;
        registry
            .create("acme", &request)
            .await
            .expect(422)
            .problem("metadata-refused");
    }
    // Another namespace's online keys are not this one's.
    let request = Authority::new(&registry.keys("other").await, EXPIRES).creation(&[]);
    registry
        .create("acme", &request)
        .await
        .expect(422)
        .problem("metadata-refused");
    registry.get("/v1/namespaces/acme").await.expect(404);
}

#[actix_web::test]
async fn refuses_a_key_that_serves_two_roles() {
    let registry = Registry::new().await;
    let request = with_root(&registry, |root| {
        root["roles"]["targets"] = root["roles"]["root"].clone();
    })
    .await;
    let problem = registry
        .create("acme", &request)
        .await
        .expect(422)
        .problem("metadata-refused");
    assert!(problem.detail.contains("serves"), "{}", problem.detail);
}

#[actix_web::test]
async fn refuses_two_ids_for_one_key() {
    let registry = Registry::new().await;
    let request = with_root(&registry, |root| {
        let second = tuf_key(&key(1));
        root["keys"]["another-id"] = second;
        root["roles"]["root"]["keyids"]
            .as_array_mut()
            .unwrap()
            .push(json!("another-id"));
    })
    .await;
    registry
        .create("acme", &request)
        .await
        .expect(422)
        .problem("metadata-refused");
}

#[actix_web::test]
async fn refuses_roots_and_targets_below_their_threshold() {
    let registry = Registry::new().await;
    let made = authority(&registry).await;
    let good = made.creation(&[role("minilm")]);
    let own = registry.keys("acme").await;
    let root = Authority::root_value(&own, &made.root_keys, &made.targets_keys, EXPIRES);
    for signers in [vec![], vec![key(1)], vec![key(1), key(3)]] {
        let root = sign(&root, &signers);
        let identity = sha256(root.as_bytes());
        let forged = Authority {
            root,
            identity,
            ..authority(&registry).await
        };
        let request = forged.creation(&[role("minilm")]);
        registry
            .create("acme", &request)
            .await
            .expect(422)
            .problem("metadata-refused");
    }
    let targets = made.targets_value(1, &[], &[]);
    for signers in [vec![], vec![key(3)], vec![key(1), key(2)]] {
        let request = CreateNamespace {
            targets: sign(&targets, &signers),
            ..good.clone()
        };
        registry
            .create("acme", &request)
            .await
            .expect(422)
            .problem("metadata-refused");
    }
    registry.get("/v1/namespaces/acme").await.expect(404);
    registry.create("acme", &good).await.expect(201);
}

#[actix_web::test]
async fn refuses_targets_bound_elsewhere_expired_or_of_a_later_version() {
    let registry = Registry::new().await;
    let made = authority(&registry).await;
    let good = made.creation(&[]);
    let cases: [fn(&mut Value); 5] = [
        |t| t["x-assay"]["namespace"] = json!("00".repeat(32)),
        |t| t["x-assay"]["role"] = json!("snapshot"),
        |t| _ = t.as_object_mut().unwrap().remove("x-assay"),
        |t| t["expires"] = json!("2026-11-30T00:00:00Z"),
        |t| t["version"] = json!(2),
    ];
    for (i, change) in cases.into_iter().enumerate() {
        let mut targets = made.targets_value(1, &[], &[]);
        change(&mut targets);
        let request = CreateNamespace {
            targets: sign(&targets, &made.targets_keys),
            ..good.clone()
        };
        let answer = registry.create("acme", &request).await;
        assert_eq!(answer.status, 422, "case {i}");
        answer.problem("metadata-refused");
    }
}

#[actix_web::test]
async fn trust_targets_come_inline_or_along_and_none_may_be_missing() {
    let registry = Registry::new().await;
    let made = authority(&registry).await;
    let signers = r#"{"signers":[],"v":1}"#;
    let large = "x".repeat(20_000);
    let mut targets = made.targets_value(
        1,
        &[],
        &[("trust/signers.json", signers), ("trust/other.json", &large)],
    );
    targets["targets"]["trust/other.json"]
        .as_object_mut()
        .unwrap()
        .remove("custom");
    let targets = sign(&targets, &made.targets_keys);
    let request = CreateNamespace {
        targets,
        ..made.creation(&[])
    };
    registry
        .create("acme", &request)
        .await
        .expect(422)
        .problem("blobs-missing");
    let stray = CreateNamespace {
        blobs: vec![large.clone(), "stray".into()],
        ..request.clone()
    };
    registry
        .create("acme", &stray)
        .await
        .expect(400)
        .problem("bad-request");
    let whole = CreateNamespace {
        blobs: vec![large.clone()],
        ..request
    };
    registry.create("acme", &whole).await.expect(201);

    for (name, bytes) in [("signers.json", signers), ("other.json", large.as_str())] {
        let sha256 = sha256(bytes.as_bytes());
        let answer = registry
            .get(&format!("/tuf/acme/targets/trust/{sha256}.{name}"))
            .await
            .expect(200);
        assert_eq!(answer.body, bytes.as_bytes());
        assert_eq!(
            answer.header("cache-control"),
            "public, max-age=31536000, immutable"
        );
        registry
            .get(&format!("/tuf/acme/targets/trust/{sha256}.another.json"))
            .await
            .expect(404);
    }
}

#[actix_web::test]
async fn refuses_unknown_fields_and_bodies_that_are_not_json() {
    let registry = Registry::new().await;
    let made = authority(&registry).await;
    let mut request = serde_json::to_value(made.creation(&[])).unwrap();
    request["extra"] = json!(1);
    let path = "/v1/namespaces/acme";
    registry
        .as_admin(Method::PUT, path, &request)
        .await
        .expect(400)
        .problem("bad-request");
    let deep = "[".repeat(10_000);
    let token = registry.admin.clone();
    for body in ["{", "", "null", deep.as_str()] {
        registry
            .send(Method::PUT, path, Some(&token), &[], body.to_owned())
            .await
            .expect(400)
            .problem("bad-request");
    }
}

#[actix_web::test]
async fn refuses_another_namespaces_token() {
    let registry = Registry::new().await;
    let asked = json!({"label": "other", "scope": Scope::Admin, "namespace": "other"});
    let made: assay_schema::api::NewToken = registry
        .as_admin(Method::POST, "/v1/tokens", &asked)
        .await
        .expect(201)
        .json();
    let path = "/v1/namespaces/acme/keys";
    registry
        .send(Method::POST, path, Some(&made.secret), &[], "")
        .await
        .expect(403)
        .problem("forbidden");
    registry
        .send(
            Method::POST,
            "/v1/namespaces/other/keys",
            Some(&made.secret),
            &[],
            "",
        )
        .await
        .expect(200);
}

#[actix_web::test]
async fn refuses_a_delegation_to_a_key_of_a_top_level_role() {
    let registry = Registry::new().await;
    for seed in [1, 3] {
        let made = Authority {
            publisher: vec![key(seed)],
            ..authority(&registry).await
        };
        let answer = registry.create("acme", &made.creation(&[role("minilm")])).await;
        let problem = answer.expect(422).problem("metadata-refused");
        assert!(problem.detail.contains("serves"), "{}", problem.detail);
    }
}
