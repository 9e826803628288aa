//! New targets and roots take nothing away that devices may use: not by a document that nobody can read, nor by one that permits
//! nobody who signed.

use actix_web::http::Method;
use assay_schema::Stage;
use assay_schema::api::{CreateNamespace, Visibility};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::SignedDuration;
use serde_json::{Value, json};

use crate::authority::{Authority, key, publication, role, sha256, sign};
use crate::support::{Registry, device};

const SIGNERS: &str = "trust/signers.json";
const NOBODY: &str = r#"{"signers":[],"v":1}"#;

/// Permitted signers of whom one is this key.
fn builder(seed: u8) -> String {
    let mut spki = hex::decode("302a300506032b6570032100").unwrap();
    spki.extend(key(seed).verifying_key().as_bytes());
    let signer = json!({"name": "builder", "identity": {"kind": "key", "spki": STANDARD.encode(spki)}});
    json!({"v": 1, "signers": [signer]}).to_string()
}

/// A registry, an authority, and its first targets file.
async fn acme(trust: &[(&str, &str)]) -> (Registry, Authority, String) {
    let registry = Registry::new().await;
    let authority = Authority::new(&registry.keys("acme").await, "2027-05-01T00:00:00Z");
    let targets = authority.targets(1, &[role("minilm")], trust);
    let request = CreateNamespace {
        targets: targets.clone(),
        visibility: Visibility::Public,
        ..authority.creation(&[])
    };
    registry.create("acme", &request).await.expect(201);
    (registry, authority, targets)
}

/// Publishes the next targets; gives the refusal's detail.
async fn refused(registry: &Registry, authority: &Authority, signed: &Value, parent: &str) -> String {
    let file = sign(signed, &authority.targets_keys);
    let sent = publication(&[("targets", &file, Some(parent))]);
    let answer = registry.publish("acme", &sent).await;
    answer.expect(422).problem("metadata-refused").detail
}

#[actix_web::test]
async fn refuses_inline_bytes_that_are_not_the_documents() {
    let documents = [(SIGNERS, NOBODY), ("trust/other.json", "theirs")];
    let (registry, authority, first) = acme(&documents).await;
    for (path, text) in documents {
        // The document is stored already, under its digest; devices read what stands in the entry.
        for other in ["", "garbage", &text.replace('s', "S")] {
            let mut next = authority.targets_value(2, &[role("minilm")], &documents);
            next["targets"][path]["custom"]["x-assay"]["inline"] = other.into();
            let detail = refused(&registry, &authority, &next, &first).await;
            assert!(detail.contains(path), "{detail}");
            assert!(detail.contains(&sha256(text.as_bytes()).to_hex()), "{detail}");
            // Nor may it collect signatures.
            let file = sign(&next, &authority.targets_keys[..1]);
            let sent = publication(&[("targets", &file, Some(&first))]);
            let path = "/v1/namespaces/acme/proposals";
            let answer = registry.as_admin(Method::POST, path, &sent).await;
            answer.expect(422).problem("metadata-refused");
        }
    }
}

#[actix_web::test]
async fn refuses_documents_that_no_device_could_read() {
    let (registry, authority, first) = acme(&[]).await;
    let bad_key = json!({"v": 1, "signers": [{"name": "a", "identity": {"kind": "key", "spki": "AAAA"}}]});
    let bad_key = bad_key.to_string();
    for (path, text) in [
        (SIGNERS, "garbage"),
        (SIGNERS, r#"{"signers":[],"v":2}"#),
        (SIGNERS, &bad_key),
        ("trust/sigstore.json", "garbage"),
        ("trust/log.json", "garbage"),
        ("trust/log.json", r#"{"log":"nobody","v":1}"#),
    ] {
        let mut next = authority.targets_value(2, &[role("minilm")], &[(path, text)]);
        let inline = refused(&registry, &authority, &next, &first).await;
        // The same where the registry has the bytes from an upload.
        registry.upload("acme", text.as_bytes()).await;
        next["targets"][path].as_object_mut().unwrap().remove("custom");
        let apart = refused(&registry, &authority, &next, &first).await;
        for detail in [inline, apart] {
            assert!(detail.contains(path), "{text}: {detail}");
        }
    }
}

#[actix_web::test]
async fn refuses_to_take_a_release_away_by_other_signers() {
    let (registry, authority, first) = acme(&[]).await;
    registry.first_release("acme", &authority).await;
    for signers in [NOBODY, &builder(7)] {
        let next = authority.targets_value(2, &[role("minilm")], &[(SIGNERS, signers)]);
        let file = sign(&next, &authority.targets_keys);
        let sent = publication(&[("targets", &file, Some(&first))]);
        let answer = registry.publish("acme", &sent).await;
        let problem = answer.expect(422).problem("metadata-refused");
        assert!(problem.detail.contains("minilm@1.0.0"), "{}", problem.detail);
        assert_eq!(problem.verdict.unwrap().refusal().unwrap().0, Stage::Provenance);
    }
    let (want, route) = (
        assay_verifier::Want::Highest,
        assay_verifier::Route::Static { cached: None },
    );
    device(&registry, "acme", &authority, want, route)
        .await
        .permitted();
}

#[actix_web::test]
async fn refuses_to_drop_the_permitted_signers() {
    let (registry, authority, first) = acme(&[(SIGNERS, &builder(7))]).await;
    let without = authority.targets_value(2, &[role("minilm")], &[]);
    let detail = refused(&registry, &authority, &without, &first).await;
    assert!(detail.contains(SIGNERS), "{detail}");
    // Others may take their place as long as no release is theirs.
    let other = authority.targets(2, &[role("minilm")], &[(SIGNERS, &builder(8))]);
    let sent = publication(&[("targets", &other, Some(&first))]);
    registry.publish("acme", &sent).await.expect(200);
}

#[actix_web::test]
async fn what_devices_refuse_already_keeps_no_targets_from_changing() {
    let (registry, mut authority, first) = acme(&[]).await;
    // The model's role expires; the targets do not.
    authority.expires = "2026-12-03T00:00:00Z".to_owned();
    registry.first_release("acme", &authority).await;
    authority.expires = "2027-05-01T00:00:00Z".to_owned();
    registry.pass(SignedDuration::from_hours(72));
    let trust = [("trust/other.json", "ours")];
    let second = authority.targets(2, &[role("minilm")], &trust);
    let sent = publication(&[("targets", &second, Some(&first))]);
    registry.publish("acme", &sent).await.expect(200);
    // What expired is its publisher's to renew: it may not be lost for good either.
    let third = authority.targets_value(3, &[role("minilm")], &[(SIGNERS, NOBODY)]);
    let detail = refused(&registry, &authority, &third, &second).await;
    assert!(detail.contains("minilm@1.0.0"), "{detail}");
}
