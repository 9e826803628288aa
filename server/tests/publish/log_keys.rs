//! Changing the log's key: both sign while it lasts, and nobody who trusts either is sent away.

use std::sync::Arc;

use assay_log::policy::{LogPolicy, PolicyError};
use assay_log::{SignedCheckpoint, VerifierKey};
use assay_schema::Stage;
use assay_schema::api::{LogInfo, Visibility};
use assay_schema::verdict::StageOutcome;
use assay_server::log::LogError;
use assay_server::log::rotate::{next, retire};
use assay_server::log::sequence::{integrate, prepare};
use assay_server::steps::{Step, Steps};
use assay_verifier::{Checked, Route, Want};

use crate::log::naming_witnesses;
use crate::support::{Registry, StopsEverywhere, device};

async fn registry() -> Registry {
    let registry = Registry::new().await;
    prepare(&registry.state).await.unwrap();
    registry
}

async fn info(registry: &Registry) -> LogInfo {
    registry.get("/v1/log").await.expect(200).json()
}

async fn signed_by(registry: &Registry, key: &VerifierKey) -> bool {
    let bytes = registry.get("/log/checkpoint").await.expect(200).body;
    let signed = SignedCheckpoint::parse(&bytes).unwrap();
    match LogPolicy::new(key.clone(), None).unwrap().verify(&signed) {
        Ok(_) => true,
        Err(PolicyError::Note(_)) => false,
        Err(other) => panic!("{other}"),
    }
}

#[actix_web::test]
async fn both_keys_sign_until_the_old_one_is_retired() {
    let registry = registry().await;
    let (authority, ..) = naming_witnesses(&registry, 0).await;
    integrate(&registry.state).await.unwrap();
    let old: VerifierKey = info(&registry).await.key.parse().unwrap();
    let new = next(&registry.state).await.unwrap();
    assert_eq!(new.name(), old.name(), "the origin stays");
    assert_eq!(
        next(&registry.state).await.unwrap(),
        new,
        "asking again changes nothing"
    );
    let told = info(&registry).await;
    assert_eq!(
        (told.key, told.next_key),
        (old.to_string(), Some(new.to_string()))
    );
    for key in [&old, &new] {
        assert!(signed_by(&registry, key).await);
    }
    // Of two namespaces one names the old key, and one, created meanwhile, the new.
    let verdict = async |registry: &Registry| {
        let route = Route::Bundle { cached: None };
        device(registry, "acme", &authority, Want::Highest, route)
            .await
            .checked
    };
    let Checked::Permitted(approved) = verdict(&registry).await else {
        panic!("a device that trusts the old key");
    };
    let stage = approved.verdict();
    assert_eq!(stage.stage(Stage::Log).unwrap().outcome, StageOutcome::Passed);

    let changed = retire(&registry.state).await.unwrap();
    assert_eq!((&changed.retired, &changed.present), (&old, &new));
    let told = info(&registry).await;
    assert_eq!((told.key, told.next_key), (new.to_string(), None));
    assert!(signed_by(&registry, &new).await && !signed_by(&registry, &old).await);
    let mut registry = registry;
    // As after a restart: no bundle is kept.
    registry.state.bundles = Arc::new(assay_server::distribute::cache::BundleCache::new(1 << 20));
    let Checked::Refused(refused) = verdict(&registry).await else {
        panic!("a device that trusts the old key only");
    };
    assert_eq!(refused.refusal().unwrap().0, Stage::Log);
}

#[actix_web::test]
async fn a_registry_starts_on_a_checkpoint_that_a_retired_key_signed() {
    let registry = registry().await;
    registry.namespace("acme", Visibility::Public).await;
    integrate(&registry.state).await.unwrap();
    // Nothing is published between the two steps, so that the stored checkpoint has the first key's signature only.
    for _ in 0..2 {
        next(&registry.state).await.unwrap();
        retire(&registry.state).await.unwrap();
        prepare(&registry.state).await.unwrap();
    }
    registry.namespace("other", Visibility::Public).await;
    integrate(&registry.state).await.unwrap();
    prepare(&registry.state).await.unwrap();
    // A key that the log never had is still refused.
    let other = self::registry().await;
    let theirs = other.get("/log/checkpoint").await.body;
    let blobs = &registry.state.blobs;
    blobs.put_checkpoint("log/checkpoint", theirs).await.unwrap();
    let refused = prepare(&registry.state).await.unwrap_err();
    assert!(matches!(refused, LogError::OtherLog(_)), "{refused}");
}

#[actix_web::test]
async fn refuses_to_retire_the_only_key_and_to_change_the_key_of_no_log() {
    let registry = Registry::new().await;
    for refused in [
        next(&registry.state).await.unwrap_err(),
        retire(&registry.state).await.unwrap_err(),
    ] {
        assert!(matches!(refused, LogError::NotBegun), "{refused}");
    }
    prepare(&registry.state).await.unwrap();
    let refused = retire(&registry.state).await.unwrap_err();
    assert!(matches!(refused, LogError::NoNextKey { .. }), "{refused}");
}

#[actix_web::test]
async fn a_stop_behind_either_step_of_the_change_loses_no_key() {
    let mut registry = registry().await;
    let seen = Arc::new(StopsEverywhere::default());
    registry.state.steps = Steps::observed_by(seen.clone());
    let before = registry.state.db.writes().get();
    let old: VerifierKey = info(&registry).await.key.parse().unwrap();
    assert!(matches!(next(&registry.state).await, Err(LogError::Stopped(_))));
    let new = next(&registry.state).await.expect("it was kept");
    for key in [&old, &new] {
        assert!(signed_by(&registry, key).await);
    }
    assert!(matches!(retire(&registry.state).await, Err(LogError::Stopped(_))));
    assert!(signed_by(&registry, &new).await && !signed_by(&registry, &old).await);
    assert_eq!(*seen.0.lock().unwrap(), Step::LOG_KEY);
    assert_eq!(registry.state.db.writes().get() - before, 2);
}
