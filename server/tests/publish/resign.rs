//! Signing snapshot and timestamp again, over a simulated clock.

use assay_schema::api::{NamespaceInfo, Visibility};
use assay_server::publish::resign;
use assay_server::seal::Sealing;
use assay_verifier::{Route, Want};
use jiff::SignedDuration;

use crate::authority::{publication, role};
use crate::support::{Registry, device};

const HOUR: SignedDuration = SignedDuration::from_hours(1);

async fn versions(registry: &Registry) -> (u64, u64) {
    let info: NamespaceInfo = registry.get("/v1/namespaces/acme").await.expect(200).json();
    (info.versions["snapshot"], info.versions["timestamp"])
}

#[actix_web::test]
async fn both_are_signed_again_before_they_expire() {
    let registry = Registry::new().await;
    registry.namespace("acme", Visibility::Public).await;
    assert_eq!(resign::all_due(&registry.state).await, 0);
    assert_eq!(versions(&registry).await, (1, 1));
    registry.pass(HOUR * 13);
    assert_eq!(resign::all_due(&registry.state).await, 1);
    assert_eq!(versions(&registry).await, (1, 2));
    assert_eq!(resign::all_due(&registry.state).await, 0);
    registry.pass(HOUR * 24 * 3);
    assert_eq!(resign::all_due(&registry.state).await, 1);
    assert_eq!(versions(&registry).await, (2, 3));
    // Hour by hour for two weeks: neither ever has less than half of its life left for long.
    for _ in 0..14 * 24 {
        registry.pass(HOUR);
        resign::all_due(&registry.state).await;
        for (role, least) in [("timestamp", HOUR * 10), ("snapshot", HOUR * 82)] {
            let file = registry
                .state
                .db
                .current_metadata(&"acme".parse().unwrap(), role)
                .await
                .unwrap()
                .unwrap();
            assert!(
                file.expires.duration_since(registry.now()) > least,
                "{role} expires at {}",
                file.expires
            );
        }
    }
}

#[actix_web::test]
async fn after_a_long_stop_the_expired_ones_are_signed_at_once_and_devices_go_on() {
    let registry = Registry::new().await;
    let authority = registry.namespace("acme", Visibility::Public).await;
    let (first, file) = registry.first_release("acme", &authority).await;
    registry.pass(HOUR * 24 * 30);
    let task = resign::start(&registry.state);
    // The task signs first and pauses then; a publication in the meantime is not hindered by it.
    let second = registry
        .candidate("acme", &authority, "1.1.0", 2, &[b"two"])
        .await;
    let next = authority.model(&role("minilm"), 2, &[&first, &second]);
    registry
        .publish("acme", &publication(&[("model.minilm.0", &next, Some(&file))]))
        .await
        .expect(200);
    assert!(
        registry
            .state
            .tasks
            .stop(std::time::Duration::from_secs(10))
            .await
    );
    task.await.unwrap();
    let checked = device(
        &registry,
        "acme",
        &authority,
        Want::Highest,
        Route::Bundle { cached: None },
    )
    .await;
    assert_eq!(checked.permitted().manifest().version.as_str(), "1.1.0");
}

#[actix_web::test]
async fn a_namespace_whose_keys_cannot_be_opened_does_not_keep_the_others_waiting() {
    let mut registry = Registry::new().await;
    registry.namespace("acme", Visibility::Public).await;
    // Its name comes first, and its keys are sealed under another key file than this registry has later.
    let elsewhere = tempfile::tempdir().unwrap();
    let own = registry.state.seal.clone();
    registry.state.seal = Sealing::new(elsewhere.path().join("seal.key"));
    registry.namespace("abc", Visibility::Public).await;
    registry.state.seal = own;
    registry.pass(HOUR * 13);
    assert_eq!(resign::all_due(&registry.state).await, 1);
    assert_eq!(versions(&registry).await, (1, 2));
}
