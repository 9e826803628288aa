//! Witnesses: what they cosign is shown and proven; what they do wrong harms nobody but their own cosignature.

use std::sync::Arc;
use std::time::Duration;

use assay_log::policy::LogPolicy;
use assay_log::proof::LogProof;
use assay_log::{SignedCheckpoint, TreeHead, VerifierKey, WitnessPolicy};
use assay_schema::api::{LogInfo, Visibility};
use assay_schema::bundle::LogPart;
use assay_schema::verdict::StageOutcome;
use assay_schema::{CheckBundle, Stage};
use assay_server::distribute::cache::BundleCache;
use assay_server::log::LogError;
use assay_server::log::ask::{Asked, WitnessError, ask};
use assay_server::log::cosign::turn;
use assay_server::log::sequence::{integrate, prepare};
use assay_server::steps::{Step, Steps};
use assay_verifier::{Route, Want};

use crate::log::{CHECK, PROOF, head, naming_witnesses};
use crate::support::{Registry, StopsEverywhere, device};
use crate::witness::{Manner, Witness};

/// A registry whose log is begun, with these witnesses, which follow it.
async fn registry(witnesses: &[&Witness]) -> Registry {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let configured = witnesses.iter().map(|witness| witness.config()).collect();
    let registry = Registry::with(|config| config.transparency.witnesses = configured).await;
    prepare(&registry.state).await.unwrap();
    let info: LogInfo = registry.get("/v1/log").await.expect(200).json();
    for witness in witnesses {
        witness.follows(&info.key);
    }
    registry
}

/// One look of the loop of the `n`-th witness.
async fn looks(registry: &Registry, n: usize) -> Result<bool, WitnessError> {
    turn(&registry.state, &registry.state.witnessing.all()[n]).await
}

/// Who must have cosigned, under the log's key.
async fn policy(registry: &Registry, witnesses: &[&Witness]) -> LogPolicy {
    let info: LogInfo = registry.get("/v1/log").await.expect(200).json();
    let key: VerifierKey = info.key.parse().unwrap();
    let keys = witnesses.iter().map(|witness| witness.key.clone()).collect();
    let all = WitnessPolicy::new(witnesses.len(), keys).unwrap();
    LogPolicy::new(key, Some(all)).unwrap()
}

async fn grow(registry: &Registry, name: &str) -> u64 {
    registry.namespace(name, Visibility::Public).await;
    integrate(&registry.state).await.unwrap();
    head(registry).await.size
}

/// The size of the checkpoint that proves acme's first snapshot.
async fn proven_at(registry: &Registry) -> (u64, LogProof) {
    let part: LogPart = registry
        .get(&format!("{PROOF}?snapshot=1"))
        .await
        .expect(200)
        .json();
    let proof = LogProof::parse(part.proof.as_bytes()).unwrap();
    (proof.checkpoint().checkpoint().head().size, proof)
}

#[actix_web::test]
async fn what_is_published_is_cosigned_shown_and_proven() {
    let (a, b) = (Witness::start("a.example"), Witness::start("b.example"));
    let registry = registry(&[&a, &b]).await;
    let info: LogInfo = registry.get("/v1/log").await.expect(200).json();
    assert!(
        info.witnesses
            .iter()
            .all(|w| w.size.is_none() && w.cosigned.is_none())
    );
    let (authority, ..) = naming_witnesses(&registry, 2).await;
    integrate(&registry.state).await.unwrap();
    for n in [0, 1] {
        assert!(looks(&registry, n).await.unwrap());
        assert!(
            !looks(&registry, n).await.unwrap(),
            "there is nothing more to cosign"
        );
    }
    let newest = head(&registry).await;
    let policy = policy(&registry, &[&a, &b]).await;
    let shown = registry.get("/log/checkpoint").await.expect(200);
    let signed = SignedCheckpoint::parse(&shown.body).unwrap();
    let verified = policy.verify(&signed).unwrap();
    assert_eq!(
        (verified.head(), verified.witnessed().unwrap().cosigners.len()),
        (newest, 2)
    );
    let (size, _) = proven_at(&registry).await;
    assert_eq!(size, newest.size);
    for route in [Route::Bundle { cached: None }, Route::Static { cached: None }] {
        let checked = device(&registry, "acme", &authority, Want::Highest, route).await;
        let verdict = checked.permitted().verdict();
        let stage = verdict.stage(Stage::Log).unwrap();
        assert_eq!(stage.outcome, StageOutcome::Passed);
        assert!(
            stage.evidence["split_view"].contains("a.example, b.example"),
            "{stage:?}"
        );
    }
    // The next one is led to from the last, without asking for its size.
    let larger = grow(&registry, "other").await;
    assert!(looks(&registry, 0).await.unwrap());
    let asked: Vec<_> = a
        .asked()
        .into_iter()
        .map(|(old, head)| (old, head.size))
        .collect();
    assert_eq!(asked, [(0, newest.size), (newest.size, larger)]);
    let info: LogInfo = registry.get("/v1/log").await.expect(200).json();
    let sizes: Vec<_> = info.witnesses.iter().map(|w| w.size.unwrap()).collect();
    assert_eq!(sizes, [larger, newest.size]);
    assert!(info.witnesses.iter().all(|w| w.cosigned.is_some()));
}

#[actix_web::test]
async fn a_stop_behind_the_cosignature_keeps_it_and_a_stop_before_it_asks_again() {
    let witness = Witness::start("a.example");
    let mut registry = registry(&[&witness]).await;
    grow(&registry, "acme").await;
    let seen = Arc::new(StopsEverywhere::default());
    registry.state.steps = Steps::observed_by(seen.clone());
    let before = registry.state.db.writes().get();
    let stopped = looks(&registry, 0).await.unwrap_err();
    assert!(
        matches!(stopped, WitnessError::Log(LogError::Stopped(_))),
        "{stopped}"
    );
    assert_eq!(*seen.0.lock().unwrap(), Step::WITNESS);
    assert_eq!(registry.state.db.writes().get() - before, 1);
    // What was stored is found, and nobody is asked for it again.
    registry.state.steps = Steps::default();
    assert!(!looks(&registry, 0).await.unwrap());
    assert_eq!(witness.asked().len(), 1);
    // The witness cosigned, and the registry ended before it knew: the witness is ahead of the database.
    grow(&registry, "other").await;
    let newest = head(&registry).await;
    witness.knows(Some(newest));
    assert!(looks(&registry, 0).await.unwrap());
    let last = *witness.asked().last().unwrap();
    assert_eq!(last, (newest.size, newest), "an empty proof from its own size");
}

#[actix_web::test]
async fn a_witness_that_is_behind_gets_a_proof_from_where_it_is() {
    let witness = Witness::start("a.example");
    let registry = registry(&[&witness]).await;
    grow(&registry, "acme").await;
    looks(&registry, 0).await.unwrap();
    let early = witness.head();
    for name in ["b", "c"] {
        grow(&registry, name).await;
        looks(&registry, 0).await.unwrap();
    }
    // Its own store was restored from a backup.
    for forgotten in [early, None] {
        witness.knows(forgotten);
        grow(&registry, if forgotten.is_some() { "d" } else { "e" }).await;
        assert!(looks(&registry, 0).await.unwrap());
        assert_eq!(witness.head(), Some(head(&registry).await));
    }
}

#[actix_web::test]
async fn refuses_whatever_a_witness_answers_but_its_cosignature() {
    let witness = Witness::start("a.example");
    let registry = registry(&[&witness]).await;
    let size = grow(&registry, "acme").await;
    for (manner, grave, said) in [
        (Manner::Forges, false, "forged"),
        (Manner::Endless, false, "at most 32768 bytes"),
        (Manner::Claims(u64::MAX >> 11), true, "restore a newer backup"),
        (Manner::Claims(size + 1), true, "restore a newer backup"),
        (Manner::Claims(1), false, "does not take a proof from there"),
        (Manner::Refuses(422), true, "another history"),
        (Manner::Refuses(409), true, "another history"),
        (Manner::Refuses(404), false, "ask its operator to add"),
        (Manner::Refuses(403), false, "trusts another key"),
        (Manner::Refuses(301), false, "found 301"),
        (Manner::Refuses(500), false, "found 500"),
    ] {
        witness.behaves(manner.clone());
        let refused = looks(&registry, 0).await.unwrap_err();
        let text = refused.to_string();
        assert!(
            text.contains(said) && text.contains("a.example"),
            "{manner:?}: {text}"
        );
        assert_eq!(refused.is_grave(), grave, "{manner:?}");
        assert!(
            !registry.state.witnessing.may_grow(size),
            "{manner:?}: nobody waits for it"
        );
    }
    assert_eq!(registry.state.db.last_cosigned(&witness.key).await.unwrap(), None);
    // The log goes on, and so does the witness when it comes to its senses.
    witness.behaves(Manner::Honest);
    let size = grow(&registry, "other").await;
    assert!(looks(&registry, 0).await.unwrap());
    assert_eq!(witness.head().unwrap().size, size);
}

#[actix_web::test]
async fn a_witness_that_saw_another_history_cosigns_nothing() {
    let witness = Witness::start("a.example");
    let registry = registry(&[&witness]).await;
    let size = grow(&registry, "acme").await;
    for other in [size, 1] {
        witness.knows(Some(TreeHead {
            size: other,
            root: TreeHead::EMPTY.root,
        }));
        let refused = looks(&registry, 0).await.unwrap_err();
        assert!(matches!(refused, WitnessError::OtherHistory { .. }), "{refused}");
    }
}

#[actix_web::test]
async fn a_silent_witness_and_one_that_is_down_cost_their_own_time_only() {
    let (silent, honest) = (Witness::start("a.example"), Witness::start("b.example"));
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut configured = vec![silent.config(), honest.config(), Witness::nobody("c.example")];
    configured[0].timeout_seconds = 1;
    let registry = Registry::with(|config| config.transparency.witnesses = configured).await;
    prepare(&registry.state).await.unwrap();
    let info: LogInfo = registry.get("/v1/log").await.expect(200).json();
    honest.follows(&info.key);
    silent.behaves(Manner::Silent);
    let size = grow(&registry, "acme").await;
    let (waited, cosigned) = tokio::join!(looks(&registry, 0), async {
        let cosigned = looks(&registry, 1).await;
        // While the silent one still has its time.
        assert_eq!(registry.state.witnessing.all()[1].cosigned(), size);
        cosigned
    });
    assert!(cosigned.unwrap());
    for (refused, name) in [(waited, "a.example"), (looks(&registry, 2).await, "c.example")] {
        let refused = refused.unwrap_err();
        assert!(matches!(refused, WitnessError::Unreachable { .. }), "{refused}");
        assert!(refused.to_string().contains(name), "{refused}");
    }
    assert!(!registry.state.witnessing.may_grow(size));
    // A proof with what there is comes at once, although two cosignatures are missing.
    let (at, proof) = proven_at(&registry).await;
    assert_eq!((at, proof.checkpoint().note().signatures().len()), (size, 2));
}

#[actix_web::test]
async fn a_proof_goes_to_the_first_checkpoint_that_all_cosigned_and_stays_there() {
    let (a, b) = (Witness::start("a.example"), Witness::start("b.example"));
    let registry = registry(&[&a, &b]).await;
    let first = grow(&registry, "acme").await;
    b.behaves(Manner::Refuses(500));
    looks(&registry, 1).await.unwrap_err();
    assert_eq!(
        proven_at(&registry).await.0,
        first,
        "nobody has cosigned anything"
    );
    let mut sizes = vec![first];
    for name in ["b", "c", "d"] {
        looks(&registry, 0).await.unwrap();
        sizes.push(grow(&registry, name).await);
    }
    assert_eq!(
        proven_at(&registry).await.0,
        first,
        "the earliest of those with one"
    );
    // The second one is back when the third batch is published.
    b.behaves(Manner::Honest);
    looks(&registry, 0).await.unwrap();
    assert!(looks(&registry, 1).await.unwrap());
    let (at, proof) = proven_at(&registry).await;
    assert_eq!(at, sizes[3], "the first that both cosigned");
    let policy = policy(&registry, &[&a, &b]).await;
    policy.verify(proof.checkpoint()).unwrap();
    grow(&registry, "e").await;
    for n in [0, 1] {
        looks(&registry, n).await.unwrap();
    }
    assert_eq!(proven_at(&registry).await, (at, proof));
}

#[actix_web::test]
async fn a_bundle_whose_proof_may_get_better_is_not_kept_for_good() {
    let (a, b) = (Witness::start("a.example"), Witness::start("b.example"));
    let mut registry = registry(&[&a, &b]).await;
    naming_witnesses(&registry, 2).await;
    integrate(&registry.state).await.unwrap();
    b.behaves(Manner::Refuses(500));
    looks(&registry, 0).await.unwrap();
    looks(&registry, 1).await.unwrap_err();
    let early: CheckBundle = registry.get(CHECK).await.expect(200).json();
    let again: CheckBundle = registry.get(CHECK).await.expect(200).json();
    assert_eq!(again, early);
    b.behaves(Manner::Honest);
    looks(&registry, 1).await.unwrap();
    // As after the moment for which it is kept.
    registry.state.bundles = Arc::new(BundleCache::new(1 << 20));
    let later: CheckBundle = registry.get(CHECK).await.expect(200).json();
    let cosigned = |bundle: &CheckBundle| {
        let proof = LogProof::parse(bundle.log.as_ref().unwrap().proof.as_bytes()).unwrap();
        proof.checkpoint().note().signatures().len() - 1
    };
    assert_eq!((cosigned(&early), cosigned(&later)), (1, 2));
}

#[actix_web::test]
async fn an_answer_waits_for_a_cosignature_that_is_under_way() {
    let witness = Witness::start("a.example");
    let registry = registry(&[&witness]).await;
    let size = grow(&registry, "acme").await;
    witness.behaves(Manner::Slow(Duration::from_millis(150)));
    let ((at, proof), asked) = tokio::join!(proven_at(&registry), looks(&registry, 0));
    assert!(asked.unwrap());
    assert_eq!(at, size);
    policy(&registry, &[&witness])
        .await
        .verify(proof.checkpoint())
        .unwrap();
}

#[actix_web::test]
async fn refuses_to_start_behind_what_most_witnesses_cosigned() {
    let all = ["a.example", "b.example", "c.example"].map(Witness::start);
    let [a, b, c] = &all;
    let registry = registry(&[a, b, c]).await;
    let size = grow(&registry, "acme").await;
    // Database and storage of an hour ago, together: they agree with each other.
    let beyond = TreeHead {
        size: size + 5,
        root: TreeHead::EMPTY.root,
    };
    a.knows(Some(beyond));
    prepare(&registry.state)
        .await
        .expect("a size is a claim, and one of three is not believed");
    b.knows(Some(beyond));
    c.behaves(Manner::Refuses(500));
    let refused = prepare(&registry.state).await.unwrap_err();
    let text = refused.to_string();
    let LogError::WitnessedBeyond { expected, found, .. } = refused else {
        panic!("{text}");
    };
    assert_eq!((expected, found), (size + 5, size));
    for said in ["old backup", "a.example, b.example", "[transparency] witnesses"] {
        assert!(text.contains(said), "{text}");
    }
}

#[actix_web::test]
async fn a_single_witness_does_not_keep_a_registry_from_starting() {
    let witness = Witness::start("a.example");
    let registry = registry(&[&witness]).await;
    let size = grow(&registry, "acme").await;
    witness.behaves(Manner::Claims(size + 5));
    prepare(&registry.state)
        .await
        .expect("of one witness, one would be most");
    assert!(!witness.asked().is_empty(), "it was asked, and not believed");
    assert!(looks(&registry, 0).await.unwrap_err().is_grave());
}

#[actix_web::test]
async fn a_size_that_no_cosignature_shows_is_not_waited_for_and_ends_in_a_pause() {
    let witness = Witness::start("a.example");
    let registry = registry(&[&witness]).await;
    let first = grow(&registry, "acme").await;
    let second = grow(&registry, "other").await;
    let (state, asked) = (&registry.state, &registry.state.witnessing.all()[0]);
    witness.behaves(Manner::Claims(second));
    // Another registry may be about to store what shows it; nobody waits for that.
    for _ in 0..3 {
        assert_eq!(ask(state, asked, first).await.unwrap(), Asked::Passed);
        assert!(!state.witnessing.may_grow(first));
    }
    for _ in 0..2 {
        let refused = ask(state, asked, first).await.unwrap_err();
        assert!(matches!(refused, WitnessError::Unshown { .. }), "{refused}");
        assert!(!refused.is_grave());
    }
    // With its cosignature it is another registry's turn, however often.
    witness.behaves(Manner::Honest);
    assert_eq!(ask(state, asked, second).await.unwrap(), Asked::Cosigned);
    witness.behaves(Manner::Claims(second));
    for _ in 0..5 {
        assert_eq!(ask(state, asked, first).await.unwrap(), Asked::Passed);
    }
}

#[actix_web::test]
async fn refuses_to_start_behind_a_stored_checkpoint_with_cosignatures() {
    let witness = Witness::start("a.example");
    let registry = registry(&[&witness]).await;
    grow(&registry, "acme").await;
    looks(&registry, 0).await.unwrap();
    let cosigned = registry.get("/log/checkpoint").await.body;
    let state = &registry.state;
    state
        .blobs
        .put_checkpoint("log/checkpoint", cosigned.clone())
        .await
        .unwrap();
    prepare(state).await.expect("it is the database's own");
    let record = state.db.log_state().await.unwrap().unwrap();
    let key = assay_server::log::key::LogKey::open(state, &record)
        .await
        .unwrap();
    let mut beyond = key
        .checkpoint(TreeHead {
            size: record.head.size + 1,
            root: record.head.root,
        })
        .unwrap();
    // It does not hold for this text, and need not: the log's own signature says enough.
    let line = SignedCheckpoint::parse(&cosigned).unwrap().note().signatures()[1].clone();
    beyond.add(line).unwrap();
    let bytes = beyond.to_string().into();
    state.blobs.put_checkpoint("log/checkpoint", bytes).await.unwrap();
    let refused = prepare(state).await.unwrap_err();
    assert!(matches!(refused, LogError::Behind { .. }), "{refused}");
}

#[actix_web::test]
async fn a_log_that_begins_is_not_kept_back_by_a_witness() {
    let witness = Witness::start("a.example");
    witness.behaves(Manner::Claims(1000));
    let registry = registry(&[&witness]).await;
    assert!(witness.asked().is_empty());
    grow(&registry, "acme").await;
}
