//! The transparency log: what is published gets into it, a stop behind any step loses nothing, and what it serves is what others' tools
//! expect.

use std::sync::{Arc, Mutex};

use assay_log::leaf::{Leaf, LeafKind};
use assay_log::policy::LogPolicy;
use assay_log::proof::LogProof;
use assay_log::tile::{EntryBundle, VerifiedTiles, edge_tiles};
use assay_log::{SignedCheckpoint, TreeHead, VerifierKey};
use assay_schema::api::{CreateNamespace, LogInfo, Visibility};
use assay_schema::bundle::LogPart;
use assay_schema::log::{LogTrust, TARGET};
use assay_schema::verdict::StageOutcome;
use assay_schema::{CheckBundle, ReleaseManifest, Stage};
use assay_server::log::LogError;
use assay_server::log::sequence::{integrate, prepare};
use assay_server::steps::{Observer, Step, Steps, Stopped, Writes};
use assay_verifier::{Route, Want};
use jiff::SignedDuration;

use crate::authority::{Authority, publication, role};
use crate::support::{Registry, device, device_with};

pub(crate) const PROOF: &str = "/v1/namespaces/acme/log-proof";

async fn registry() -> Registry {
    let registry = Registry::new().await;
    prepare(&registry.state).await.unwrap();
    registry
}

async fn policy(registry: &Registry) -> LogPolicy {
    let info: LogInfo = registry.get("/v1/log").await.expect(200).json();
    let key: VerifierKey = info.key.parse().unwrap();
    assert_eq!(key.name().as_str(), info.origin);
    LogPolicy::new(key, None).unwrap()
}

pub(crate) async fn head(registry: &Registry) -> TreeHead {
    let answer = registry.get("/log/checkpoint").await.expect(200);
    assert_eq!(answer.header("cache-control"), "no-cache");
    let signed = SignedCheckpoint::parse(&answer.body).unwrap();
    policy(registry).await.verify(&signed).unwrap().head()
}

/// All entries as somebody reads them who has nothing but the paths of tlog-tiles.
async fn entries(registry: &Registry) -> Vec<Leaf> {
    let head = head(registry).await;
    if head.size == 0 {
        return Vec::new();
    }
    let mut tiles = Vec::new();
    for tile in edge_tiles(head.size) {
        let answer = registry.get(&format!("/log/{tile}")).await.expect(200);
        assert!(answer.header("cache-control").contains("immutable"));
        tiles.push((tile, answer.body.to_vec()));
    }
    let tiles = VerifiedTiles::check(head, tiles).unwrap();
    let bundle = EntryBundle::new(0, u16::try_from(head.size).unwrap()).unwrap();
    let bytes = registry.get(&format!("/log/{bundle}")).await.expect(200).body;
    let entries = tiles.entries(bundle, &bytes).unwrap();
    entries.into_iter().map(|e| Leaf::parse(e).unwrap()).collect()
}

fn named(entries: &[Leaf]) -> Vec<(LeafKind, u64)> {
    entries.iter().map(|leaf| (leaf.kind(), leaf.version())).collect()
}

#[actix_web::test]
async fn every_root_and_snapshot_is_in_the_log_once() {
    let registry = registry().await;
    assert_eq!(head(&registry).await, TreeHead::EMPTY);
    let authority = registry.namespace("acme", Visibility::Public).await;
    registry.first_release("acme", &authority).await;
    assert!(!integrate(&registry.state).await.unwrap());
    let found = entries(&registry).await;
    use LeafKind::{Root, Snapshot};
    assert_eq!(named(&found), [(Root, 1), (Snapshot, 1), (Snapshot, 2)]);
    assert!(found.iter().all(|leaf| leaf.namespace() == authority.identity));
    assert_eq!(found[0].sha256(), authority.identity);
    // Signed again after half a week: another snapshot, another leaf.
    registry.pass(SignedDuration::from_hours(24 * 4));
    assert_eq!(assay_server::publish::resign::all_due(&registry.state).await, 1);
    integrate(&registry.state).await.unwrap();
    integrate(&registry.state).await.unwrap();
    let found = entries(&registry).await;
    assert_eq!(named(&found).last(), Some(&(Snapshot, 3)));
    assert_eq!(found.len(), 4);
}

#[actix_web::test]
async fn a_proof_stays_the_same_while_the_log_grows_and_consistency_leads_to_it() {
    let registry = registry().await;
    let policy = policy(&registry).await;
    let authority = registry.namespace("acme", Visibility::Public).await;
    registry
        .get(&format!("{PROOF}?snapshot=1"))
        .await
        .expect(404)
        .problem("not-found");
    integrate(&registry.state).await.unwrap();
    let first: LogPart = registry
        .get(&format!("{PROOF}?snapshot=1"))
        .await
        .expect(200)
        .json();
    let old = head(&registry).await;
    registry.first_release("acme", &authority).await;
    integrate(&registry.state).await.unwrap();
    let with_second = head(&registry).await;
    for other in ["other", "third"] {
        registry.namespace(other, Visibility::Public).await;
        integrate(&registry.state).await.unwrap();
    }
    let again: LogPart = registry
        .get(&format!("{PROOF}?snapshot=1"))
        .await
        .expect(200)
        .json();
    assert_eq!(again, first);

    let second: LogPart = registry
        .get(&format!("{PROOF}?snapshot=2&log={}", old.size))
        .await
        .expect(200)
        .json();
    let file = registry
        .state
        .db
        .metadata(&"acme".parse().unwrap(), "snapshot", 2)
        .await
        .unwrap()
        .unwrap();
    let leaf = |version| Leaf::new(authority.identity, LeafKind::Snapshot, version, file.sha256).unwrap();
    let proof = LogProof::parse(second.proof.as_bytes()).unwrap();
    let verified = proof.verify(&leaf(2).hash().unwrap(), &policy).unwrap();
    assert_eq!(verified.head(), with_second);
    assert!(proof.verify(&leaf(3).hash().unwrap(), &policy).is_err());
    let hashes = second.consistency.unwrap();
    assay_log::merkle::verify_consistency(&old, &verified.head(), &hashes).unwrap();
    // A device that knows more than the first checkpoint with its snapshot.
    let newest = head(&registry).await;
    let behind: LogPart = registry
        .get(&format!("{PROOF}?snapshot=2&log={}", newest.size))
        .await
        .expect(200)
        .json();
    let hashes = behind.consistency.unwrap();
    assay_log::merkle::verify_consistency(&with_second, &newest, &hashes).unwrap();
    // A size that was never published has no proof.
    let never: LogPart = registry
        .get(&format!("{PROOF}?snapshot=2&log=1000"))
        .await
        .expect(200)
        .json();
    assert_eq!(never.consistency, None);
}

#[actix_web::test]
async fn a_root_has_its_own_proof() {
    let registry = registry().await;
    let policy = policy(&registry).await;
    let authority = registry.namespace("acme", Visibility::Public).await;
    integrate(&registry.state).await.unwrap();
    let part: LogPart = registry.get(&format!("{PROOF}?root=1")).await.expect(200).json();
    let proof = LogProof::parse(part.proof.as_bytes()).unwrap();
    let leaf = |kind| Leaf::new(authority.identity, kind, 1, authority.identity).unwrap();
    proof
        .verify(&leaf(LeafKind::Root).hash().unwrap(), &policy)
        .unwrap();
    assert!(
        proof
            .verify(&leaf(LeafKind::Snapshot).hash().unwrap(), &policy)
            .is_err()
    );
    registry
        .get(&format!("{PROOF}?root=2"))
        .await
        .expect(404)
        .problem("not-found");
    for neither_nor in ["", "?log=1", "?root=1&snapshot=1"] {
        let answer = registry.get(&format!("{PROOF}{neither_nor}")).await;
        answer.expect(400).problem("bad-request");
    }
}

#[actix_web::test]
async fn refuses_paths_that_are_no_tiles() {
    let registry = registry().await;
    registry.namespace("acme", Visibility::Public).await;
    integrate(&registry.state).await.unwrap();
    for path in [
        "tile/0/000",
        "tile/0/000.p/1",
        "tile/0/001.p/2",
        "tile/00/000.p/2",
        "tile/0/../../checkpoint",
        "tile/x/000",
        "tile/entries/000.p/256",
    ] {
        registry.get(&format!("/log/{path}")).await.expect(404);
    }
    registry.get("/log/tile/0/000.p/2").await.expect(200);
}

/// Stops once behind the n-th step from now on.
struct StopAfter {
    left: Mutex<usize>,
    seen: Mutex<Vec<Step>>,
}

impl Observer for StopAfter {
    fn done(&self, step: Step) -> Result<(), Stopped> {
        self.seen.lock().unwrap().push(step);
        let mut left = self.left.lock().unwrap();
        *left = left.wrapping_sub(1);
        if *left == 0 { Err(Stopped(step)) } else { Ok(()) }
    }
}

#[actix_web::test]
async fn a_stop_behind_any_step_of_sequencing_loses_nothing_and_writes_nothing_twice() {
    let mut stopped_behind = Vec::new();
    for stop in 1.. {
        let mut registry = registry().await;
        registry.namespace("acme", Visibility::Public).await;
        integrate(&registry.state).await.unwrap();
        registry.namespace("other", Visibility::Public).await;
        let written = |registry: &Registry| {
            let state = &registry.state;
            [state.db.writes().get(), state.blobs.count().puts()]
        };
        let before = written(&registry);
        let observer = Arc::new(StopAfter {
            left: Mutex::new(stop),
            seen: Mutex::default(),
        });
        registry.state.steps = Steps::observed_by(observer.clone());
        let stopped = integrate(&registry.state).await;
        let seen = observer.seen.lock().unwrap().clone();
        let count = |kind| seen.iter().filter(|step| step.writes() == kind).count() as u64;
        let after = written(&registry);
        assert_eq!(
            [after[0] - before[0], after[1] - before[1]],
            [count(Writes::Transaction), count(Writes::Object)],
            "every write is on the list: {seen:?}"
        );
        if stopped.is_ok() {
            assert_eq!(seen, [Step::L1, Step::L2, Step::L2, Step::L3, Step::L4]);
            break;
        }
        stopped_behind.extend(seen.last());
        // What was published in between comes behind what has its place already.
        registry.namespace("third", Visibility::Public).await;
        prepare(&registry.state).await.unwrap();
        let found = entries(&registry).await;
        assert_eq!(found.len(), 6, "stopped behind {seen:?}");
        prepare(&registry.state).await.unwrap();
        assert_eq!(entries(&registry).await, found);
    }
    assert!(Step::LOG.iter().all(|step| stopped_behind.contains(step)));
}

#[actix_web::test]
async fn a_log_grows_over_full_tiles() {
    let registry = registry().await;
    let authority = registry.namespace("acme", Visibility::Public).await;
    let name = "acme".parse().unwrap();
    let db = &registry.state.db;
    let template = db.metadata(&name, "snapshot", 1).await.unwrap().unwrap();
    let mut version = 1;
    for batch in [253, 1, 1, 300, 700] {
        for _ in 0..batch {
            version += 1;
            let revision = db.namespace(&name).await.unwrap().unwrap().revision;
            let file = assay_server::persistence::NewMetadata {
                role: "snapshot".to_owned(),
                version,
                sha256: template.sha256,
                bytes: template.bytes.clone(),
                expires: template.expires,
            };
            db.commit_publication(&name, revision, vec![file], &[], registry.now())
                .await
                .unwrap();
        }
        integrate(&registry.state).await.unwrap();
        assert_eq!(head(&registry).await.size, version + 1);
    }
    let policy = policy(&registry).await;
    for version in [1, 254, 255, 256, 512, 1000] {
        let part = registry
            .state
            .log_part(authority.identity, version, template.sha256, Some(2))
            .await
            .unwrap()
            .unwrap()
            .part;
        let leaf = Leaf::new(authority.identity, LeafKind::Snapshot, version, template.sha256).unwrap();
        LogProof::parse(part.proof.as_bytes())
            .unwrap()
            .verify(&leaf.hash().unwrap(), &policy)
            .unwrap();
        assert!(part.consistency.is_some());
    }
}

#[actix_web::test]
async fn refuses_to_start_over_a_storage_that_is_not_the_databases() {
    let registry = registry().await;
    registry.namespace("acme", Visibility::Public).await;
    integrate(&registry.state).await.unwrap();
    // The storage is lost; another, empty one stands in its place.
    let fresh = Registry::new().await;
    let mut mixed = registry.state.clone();
    mixed.blobs = fresh.state.blobs.clone();
    let refused = prepare(&mixed).await.unwrap_err();
    assert!(
        matches!(refused, LogError::NoStorage { expected: 2 }),
        "{refused}"
    );
}

#[actix_web::test]
async fn refuses_to_start_behind_the_published_checkpoint() {
    let registry = registry().await;
    registry.namespace("acme", Visibility::Public).await;
    integrate(&registry.state).await.unwrap();
    let newest = registry.get("/log/checkpoint").await.body;
    // The storage of the present with a database that never saw it.
    let fresh = Registry::new().await;
    fresh
        .state
        .blobs
        .put_checkpoint("log/checkpoint", newest)
        .await
        .unwrap();
    let refused = prepare(&fresh.state).await.unwrap_err();
    assert!(matches!(refused, LogError::NoLog { .. }), "{refused}");

    // The database of an hour ago: one entry fewer than what was published.
    let (old, now) = (registry.state.db.log_state().await.unwrap().unwrap(), registry);
    let key = assay_server::log::key::LogKey::open(&now.state, &old)
        .await
        .unwrap();
    for (size, root) in [
        (old.head.size + 1, old.head.root),
        (old.head.size, TreeHead::EMPTY.root),
    ] {
        let other = key.checkpoint(TreeHead { size, root }).unwrap().to_string();
        now.state
            .blobs
            .put_checkpoint("log/checkpoint", other.into())
            .await
            .unwrap();
        let refused = prepare(&now.state).await.unwrap_err();
        match refused {
            LogError::Behind { expected, found } => assert_eq!((expected, found), (size, old.head.size)),
            LogError::Forked { size: at, .. } => assert_eq!(at, old.head.size),
            other => panic!("{other}"),
        }
    }
}

#[actix_web::test]
async fn refuses_to_go_on_over_damaged_tiles() {
    let registry = registry().await;
    registry.namespace("acme", Visibility::Public).await;
    integrate(&registry.state).await.unwrap();
    let tile = vec![7; 64];
    // Not the way that anything here writes a tile: it stands for a damaged disk.
    registry
        .state
        .blobs
        .put_checkpoint("log/tile/0/000.p/2", tile.into())
        .await
        .unwrap();
    registry.namespace("other", Visibility::Public).await;
    let refused = integrate(&registry.state).await.unwrap_err();
    assert!(matches!(refused, LogError::Tile(_)), "{refused}");
}

/// A namespace that names the registry's log, with one release: its manifest and its model's file.
async fn naming_the_log(registry: &Registry) -> (Authority, ReleaseManifest, String) {
    naming_witnesses(registry, 0).await
}

/// As [`naming_the_log`], and demanding so many of the registry's witnesses.
pub(crate) async fn naming_witnesses(
    registry: &Registry,
    threshold: u32,
) -> (Authority, ReleaseManifest, String) {
    let info: LogInfo = registry.get("/v1/log").await.expect(200).json();
    let trust = LogTrust {
        v: 1,
        log: info.key,
        witnesses: info.witnesses.into_iter().map(|witness| witness.key).collect(),
        threshold,
    };
    let document = serde_json::to_string(&trust).unwrap();
    let authority = Authority::new(&registry.keys("acme").await, "2027-05-01T00:00:00Z");
    let trust = [(TARGET, document.as_str())];
    let request = CreateNamespace {
        targets: authority.targets(1, &[role("minilm")], &trust),
        blobs: vec![document.clone()],
        ..authority.creation(&[role("minilm")])
    };
    registry.create("acme", &request).await.expect(201);
    let (first, file) = registry.first_release("acme", &authority).await;
    (authority, first, file)
}

pub(crate) const CHECK: &str = "/v1/namespaces/acme/models/minilm/check?root=1";

#[actix_web::test]
async fn a_bundle_proves_its_snapshot_and_an_unchanged_namespace_answers_304_while_the_log_grows() {
    let registry = registry().await;
    let (authority, ..) = naming_the_log(&registry).await;
    integrate(&registry.state).await.unwrap();
    let first = registry.get(CHECK).await.expect(200);
    let bundle: CheckBundle = first.json();
    assert!(bundle.log.unwrap().proof.starts_with("c2sp.org/tlog-proof@v1\n"));
    for other in ["other", "third"] {
        registry.namespace(other, Visibility::Public).await;
        integrate(&registry.state).await.unwrap();
    }
    let tag = first.header("etag").to_owned();
    registry
        .get_with(CHECK, &[("if-none-match", &tag)])
        .await
        .expect(304);
    // Nor does a restart change it: nothing of the proof is kept in memory only.
    let mut again = registry;
    again.state.bundles = Arc::new(assay_server::distribute::cache::BundleCache::new(1 << 20));
    again
        .get_with(CHECK, &[("if-none-match", &tag)])
        .await
        .expect(304);
    for route in [Route::Bundle { cached: None }, Route::Static { cached: None }] {
        let checked = device(&again, "acme", &authority, Want::Highest, route).await;
        let verdict = checked.permitted().verdict();
        let stage = verdict.stage(Stage::Log).unwrap();
        assert_eq!(stage.outcome, StageOutcome::Passed);
    }
}

#[actix_web::test]
async fn a_check_after_the_log_grew_is_one_request() {
    let registry = registry().await;
    let (authority, first, file) = naming_the_log(&registry).await;
    integrate(&registry.state).await.unwrap();
    let route = Route::Bundle { cached: None };
    let before = device(&registry, "acme", &authority, Want::Highest, route)
        .await
        .permitted();
    let second = registry
        .candidate("acme", &authority, "1.1.0", 2, &[b"weights of two"])
        .await;
    let model = authority.model(&role("minilm"), 2, &[&first, &second]);
    let files = [("model.minilm.0", model.as_str(), Some(file.as_str()))];
    registry.publish("acme", &publication(&files)).await.expect(200);
    registry.namespace("other", Visibility::Public).await;
    integrate(&registry.state).await.unwrap();
    let pin = assay_verifier::Pin::new("acme".parse().unwrap(), authority.identity);
    let route = Route::Bundle {
        cached: before.bundle().cloned(),
    };
    let checked = device_with(&registry, &pin, before.state().clone(), Want::Highest, route).await;
    assert_eq!(checked.requests.len(), 1, "{:?}", checked.requests);
    assert!(checked.requests[0].contains("&log="), "{:?}", checked.requests);
    let approved = checked.permitted();
    assert!(
        approved.state().log.as_ref().unwrap().head.size > before.state().log.as_ref().unwrap().head.size
    );
    // A size that no checkpoint had connects nothing, and costs nothing.
    let strange: CheckBundle = registry
        .get(&format!("{CHECK}&log=999999"))
        .await
        .expect(200)
        .json();
    assert_eq!(strange.log.unwrap().consistency, None);
}

#[actix_web::test]
async fn a_bundle_waits_for_its_place_in_the_log_and_goes_without_proof_after_a_while() {
    let registry = registry().await;
    naming_the_log(&registry).await;
    let early: CheckBundle = registry.get(CHECK).await.expect(200).json();
    assert_eq!(early.log, None);
    let state = registry.state.clone();
    let sequencer = actix_web::rt::spawn(async move {
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        integrate(&state).await.unwrap();
    });
    let later: CheckBundle = registry.get(CHECK).await.expect(200).json();
    assert!(later.log.is_some(), "the one without proof was not kept");
    sequencer.await.unwrap();
}

#[actix_web::test]
async fn refuses_to_publish_under_a_log_that_devices_could_not_read() {
    let registry = registry().await;
    let (authority, first, file) = naming_the_log(&registry).await;
    let document = r#"{"v":1,"log":"no key"}"#;
    let start = registry.upload("acme", document.as_bytes()).await;
    assert!(start.complete);
    let targets = authority.targets(2, &[role("minilm")], &[(TARGET, document)]);
    let old: CheckBundle = registry.get(CHECK).await.expect(200).json();
    let second = registry
        .candidate("acme", &authority, "1.1.0", 2, &[b"weights of two"])
        .await;
    let model = authority.model(&role("minilm"), 2, &[&first, &second]);
    let files = [
        ("targets", targets.as_str(), Some(old.targets.as_str())),
        ("model.minilm.0", &model, Some(&file)),
    ];
    let refused = registry.publish("acme", &publication(&files)).await;
    let problem = refused.expect(422).problem("metadata-refused");
    assert!(problem.detail.contains(TARGET), "{}", problem.detail);
}
