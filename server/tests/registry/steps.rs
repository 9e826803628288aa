//! Every durable step of an upload: stop behind it, begin a new registry on what it left, and go on.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use assay_schema::ChunkIndex;
use assay_schema::api::Visibility;
use assay_server::auth;
use assay_server::state::AppState;
use assay_server::steps::{Observer, Step, Steps, Stopped, Writes};
use assay_server::store;
use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};

use super::support::{MIB, Registry, config, open, sample, sha256};

/// Writes down every step, and stops everything behind the one of this number.
pub struct Witness {
    seen: Mutex<Vec<Step>>,
    stop_behind: AtomicUsize,
}

impl Witness {
    pub fn new(stop_behind: usize) -> Arc<Self> {
        Arc::new(Self {
            seen: Mutex::default(),
            stop_behind: AtomicUsize::new(stop_behind),
        })
    }

    pub fn seen(&self) -> Vec<Step> {
        self.seen.lock().unwrap().clone()
    }
}

impl Observer for Witness {
    fn done(&self, step: Step) -> Result<(), Stopped> {
        let mut seen = self.seen.lock().unwrap();
        seen.push(step);
        if seen.len() > self.stop_behind.load(Ordering::SeqCst) {
            Err(Stopped(step))
        } else {
            Ok(())
        }
    }
}

/// What a state wrote so far: transactions, objects, deletions.
pub fn written(state: &AppState) -> [u64; 3] {
    let objects = state.blobs.count();
    [state.db.writes().get(), objects.puts(), objects.deletes()]
}

/// What these steps may write.
pub fn allowed(steps: &[Step]) -> [u64; 3] {
    [Writes::Transaction, Writes::Object, Writes::Deletion]
        .map(|kind| steps.iter().filter(|step| step.writes() == kind).count() as u64)
}

/// A registry whose steps are watched, but for the one that makes its first token.
pub async fn watched(folder: &std::path::Path, witness: &Arc<Witness>, token: Option<String>) -> Registry {
    let mut state = open(config(folder)).await;
    let token = match token {
        Some(token) => token,
        None => auth::first_token(&state).await.unwrap().unwrap().secret,
    };
    state.steps = Steps::observed_by(Arc::clone(witness) as Arc<dyn Observer>);
    Registry::with(state, Some(token)).await
}

/// An upload as a publisher does it, who gives up when the registry fails.
async fn try_upload(registry: &Registry, namespace: &str, bytes: &Bytes) {
    let body = serde_json::json!({ "sha256": sha256(bytes), "size": bytes.len() });
    let path = format!("/v1/namespaces/{namespace}/uploads");
    let answer = registry
        .request(reqwest::Method::POST, &path)
        .json(&body)
        .send()
        .await
        .unwrap();
    if answer.status() != 201 {
        return;
    }
    let info: assay_schema::api::UploadInfo = answer.json().await.unwrap();
    let namespace = namespace.parse().unwrap();
    let rest = bytes.slice(info.offset as usize..);
    let _ = registry
        .patch(&namespace, &info.id.unwrap(), info.offset)
        .body(rest)
        .send()
        .await;
}

#[tokio::test]
async fn every_write_of_an_upload_is_a_step_on_the_list() {
    let folder = tempfile::tempdir().unwrap();
    let witness = Witness::new(usize::MAX);
    let registry = watched(folder.path(), &witness, None).await;
    let acme = registry.namespace("acme", Visibility::Public).await;
    let other = registry.namespace("other", Visibility::Public).await;
    let bytes = sample(17 * MIB);
    let before = written(registry.state());
    registry.upload(&acme, &bytes).await;
    use Step::{U1, U2, U3, U4, U5, U6};
    let first = vec![U1, U2, U3, U2, U3, U4, U5];
    assert_eq!(witness.seen(), first);
    registry.upload(&other, &bytes).await;
    let second = [U1, U2, U3, U2, U3, U4, U5, U6, U6];
    let all = [first, second.to_vec()].concat();
    assert_eq!(witness.seen(), all);
    let after = written(registry.state());
    let delta = [0, 1, 2].map(|i| after[i] - before[i]);
    assert_eq!(
        delta,
        allowed(&all),
        "transactions, objects, deletions: written and on the list"
    );
    assert!(
        Step::UPLOAD.iter().all(|step| all.contains(step)),
        "a step that no test takes"
    );
}

#[tokio::test]
async fn an_upload_that_stopped_behind_any_step_goes_on() {
    let bytes = sample(17 * MIB);
    let mut stopped_behind = Vec::new();
    // The second namespace's upload takes every step there is, 9 in all.
    for stop in 0..9 {
        let folder = tempfile::tempdir().unwrap();
        let registry = Registry::start(folder.path()).await;
        let acme = registry.namespace("acme", Visibility::Public).await;
        let other = registry.namespace("other", Visibility::Public).await;
        registry.upload(&acme, &bytes).await;
        let token = registry.token.clone();
        registry.running.stop().await.unwrap();

        let witness = Witness::new(stop);
        let registry = watched(folder.path(), &witness, Some(token.clone())).await;
        let before = written(registry.state());
        try_upload(&registry, "other", &bytes).await;
        let seen = witness.seen();
        assert_eq!(seen.len(), stop + 1, "{seen:?}");
        let after = written(registry.state());
        assert_eq!(
            [0, 1, 2].map(|i| after[i] - before[i]),
            allowed(&seen),
            "{seen:?}"
        );
        stopped_behind.extend(seen.last());

        let registry = registry.restart().await;
        let info = registry.upload(&other, &bytes).await;
        assert!(info.complete, "stopped behind {seen:?}");
        for namespace in [&acme, &other] {
            assert_eq!(
                registry.stored(namespace, &sha256(&bytes)).await.unwrap(),
                bytes,
                "stopped behind {seen:?}"
            );
            let index = registry.stored(namespace, &info.chunks.unwrap()).await.unwrap();
            ChunkIndex::decode(&index, bytes.len() as u64).unwrap();
        }
        let later = Timestamp::now() + SignedDuration::from_hours(24 * 8);
        store::sweep(registry.state(), later).await.unwrap();
        assert_eq!(
            registry.segments_on_disk(),
            2,
            "what is left over behind {seen:?} is swept"
        );
        assert_eq!(registry.stored(&other, &sha256(&bytes)).await.unwrap(), bytes);
        registry.running.stop().await.unwrap();
    }
    assert!(
        Step::UPLOAD.iter().all(|step| stopped_behind.contains(step)),
        "{stopped_behind:?}"
    );
}

#[tokio::test]
async fn a_wrong_digest_that_stopped_behind_any_step_leaves_no_blob() {
    let bytes = sample(2 * MIB);
    // U1, U2, U3, U5 (the row goes), U6.
    for stop in 0..5 {
        let folder = tempfile::tempdir().unwrap();
        let witness = Witness::new(stop);
        let registry = watched(folder.path(), &witness, None).await;
        let acme = registry.namespace("acme", Visibility::Public).await;
        let path = "/v1/namespaces/acme/uploads";
        let wrong = serde_json::json!({ "sha256": sha256(b"other"), "size": bytes.len() });
        let answer = registry
            .request(reqwest::Method::POST, path)
            .json(&wrong)
            .send()
            .await
            .unwrap();
        if let Ok(info) = answer.json::<assay_schema::api::UploadInfo>().await {
            let answer = registry
                .patch(&acme, &info.id.unwrap(), 0)
                .body(bytes.clone())
                .send()
                .await
                .unwrap();
            assert!(!answer.status().is_success());
        }
        assert_eq!(witness.seen().len(), stop + 1);
        let registry = registry.restart().await;
        assert!(registry.stored(&acme, &sha256(b"other")).await.is_none());
        let later = Timestamp::now() + SignedDuration::from_hours(24 * 8);
        store::sweep(registry.state(), later).await.unwrap();
        assert_eq!(registry.segments_on_disk(), 0);
        assert!(!registry.declare(&acme, sha256(b"other"), 5).await.complete);
        registry.running.stop().await.unwrap();
    }
}
