//! Stage 4: what a device refuses of a log, and what it keeps.

use assay_log::leaf::{Leaf, LeafKind};
use assay_log::merkle::Plan;
use assay_schema::bundle::LogPart;
use assay_schema::log::TARGET;
use assay_schema::verdict::StageOutcome;
use assay_schema::{Outcome, Stage};
use assay_verifier::provenance::sha256;
use assay_verifier::{Answer, Checked, Resource};

use crate::support::device::{By, Device, ROUTES, code, outcome, permit, refuse};
use crate::support::new_key;
use crate::support::simulator::{Simulator, draft};
use crate::support::testlog::{TestLog, Witness, check, leaf, logged, requiring, serve_part};

fn refused(checked: Checked) -> (Stage, String) {
    refuse(checked)
}

#[test]
fn a_logged_snapshot_passes_on_both_routes_and_the_evidence_says_what_is_not_excluded() {
    for by in ROUTES {
        let (sim, log) = logged();
        let mut device = requiring(&sim, by);
        let approved = permit(check(&mut device, &sim, &log));
        let verdict = approved.verdict();
        assert_eq!(outcome(&verdict, Stage::Log), &StageOutcome::Passed);
        let evidence = &verdict.stage(Stage::Log).unwrap().evidence;
        assert_eq!(evidence["size"], "6");
        assert_eq!(evidence["index"], "5");
        assert!(evidence["split_view"].contains("split view not excluded"));
        let kept = device.state().log.unwrap();
        assert_eq!(kept.head, log.head(), "the checkpoint is persisted");
        assert_eq!(approved.state().log, Some(kept));
    }
}

#[test]
fn an_unchanged_check_by_bundle_is_one_request_and_nothing_new() {
    let (sim, mut log) = logged();
    let mut device = requiring(&sim, By::Bundle);
    let first = log.clone();
    permit(check(&mut device, &sim, &log));
    assert_eq!(device.requests.len(), 1, "{:?}", device.requests);
    // The log grew; the registry goes on showing the proof that it made first.
    log.strangers(100);
    permit(device.check_with(sim.now, |fetch| first.serve(&sim, fetch)));
    assert_eq!(device.requests.len(), 1);
    assert!(device.requests[0].etag.is_some());
}

#[test]
fn a_new_release_is_followed_by_a_consistency_proof_and_the_floor_rises() {
    for by in ROUTES {
        let (mut sim, mut log) = logged();
        let mut device = requiring(&sim, by);
        permit(check(&mut device, &sim, &log));
        log.strangers(90);
        sim.release(draft("1.1.0", 2));
        log.logged(&sim);
        permit(check(&mut device, &sim, &log));
        let asked = &device.requests;
        match by {
            // The bundle connects the checkpoints.
            By::Bundle => {
                assert_eq!(asked.len(), 1, "{asked:?}");
                assert!(matches!(asked[0].resource, Resource::Bundle { log: Some(6), .. }));
            }
            By::Static => assert!(
                asked
                    .iter()
                    .any(|f| matches!(f.resource, Resource::LogProof { size: Some(6), .. }))
            ),
        }
        assert_eq!(device.state().log.unwrap().head, log.head());
    }
}

#[test]
fn a_bundle_that_does_not_connect_the_checkpoints_costs_a_request_for_the_proof() {
    let (mut sim, mut log) = logged();
    let mut device = requiring(&sim, By::Bundle);
    permit(check(&mut device, &sim, &log));
    log.strangers(90);
    sim.release(draft("1.1.0", 2));
    log.logged(&sim);
    let wrong = |known: Option<u64>| {
        let mut part = log.part(&sim, known)?;
        part.consistency.as_mut()?.pop();
        Some(part)
    };
    permit(device.check_with(sim.now, |fetch| match fetch.resource {
        Resource::LogProof { .. } => log.serve(&sim, fetch),
        _ => serve_part(&sim, fetch, wrong),
    }));
    let asked = &device.requests;
    assert_eq!(asked.len(), 2, "{asked:?}");
    assert!(matches!(
        asked[1].resource,
        Resource::LogProof { size: Some(6), .. }
    ));
}

#[test]
fn what_is_kept_below_a_larger_checkpoint_holds_without_asking_for_the_proof_again() {
    let (sim, mut log) = logged();
    let early = log.clone();
    log.strangers(3);
    let mut device = requiring(&sim, By::Bundle);
    permit(check(&mut device, &sim, &log));
    assert_eq!(device.state().log.unwrap().head, log.head());
    // The same snapshot under an earlier checkpoint, as a device of several models may meet it.
    device.cached = None;
    let earlier = |known: Option<u64>| {
        let proven = Plan::consistency(6, known?).unwrap().prove(&log).unwrap();
        Some(LogPart {
            consistency: Some(proven),
            ..early.part(&sim, None)?
        })
    };
    for _ in 0..2 {
        permit(device.check_with(sim.now, |fetch| serve_part(&sim, fetch, earlier)));
        assert_eq!(device.requests.len(), 1, "{:?}", device.requests);
        assert_eq!(device.state().log.unwrap().head, log.head(), "the floor stays");
    }
    assert!(device.requests[0].etag.is_some());
}

#[test]
fn without_a_named_log_the_stage_is_skipped_and_refuses_where_it_is_required() {
    let sim = Simulator::new();
    let approved = Device::new(&sim, By::Bundle).permitted(&sim);
    assert!(matches!(
        outcome(&approved.verdict(), Stage::Log),
        StageOutcome::Skipped { reason } if reason.contains("split view is not excluded")
    ));
    let mut device = requiring(&sim, By::Bundle);
    assert_eq!(device.refused(&sim), code(Stage::Log, "required-stage-skipped"));
}

#[test]
fn refuses_a_snapshot_that_the_registry_cannot_prove() {
    for by in ROUTES {
        let (mut sim, log) = logged();
        sim.release(draft("1.1.0", 2));
        let mut device = Device::new(&sim, by);
        assert_eq!(
            refused(check(&mut device, &sim, &log)),
            code(Stage::Log, "unavailable")
        );
        assert_eq!(device.state().log, None);
    }
}

#[test]
fn refuses_the_proof_of_another_version_namespace_or_kind() {
    for by in ROUTES {
        let (sim, mut log) = logged();
        let this = leaf(&sim);
        let others = [
            Leaf::new(
                sha256(b"other"),
                LeafKind::Snapshot,
                this.version(),
                this.sha256(),
            ),
            Leaf::new(
                this.namespace(),
                LeafKind::Snapshot,
                this.version() + 1,
                this.sha256(),
            ),
            Leaf::new(this.namespace(), LeafKind::Root, this.version(), this.sha256()),
            Leaf::new(
                this.namespace(),
                LeafKind::Snapshot,
                this.version(),
                sha256(b"other"),
            ),
        ];
        for other in others {
            log.entries[5] = other.unwrap().to_bytes().unwrap();
            let mut device = Device::new(&sim, by);
            let answer = device.check_with(sim.now, |fetch| {
                serve_part(&sim, fetch, |known| log.part_of(5, known))
            });
            assert_eq!(refused(answer), code(Stage::Log, "not-in-log"));
            assert_eq!(device.state().log, None);
        }
    }
}

#[test]
fn refuses_a_larger_tree_that_does_not_contain_the_known_one() {
    for by in ROUTES {
        let (mut sim, mut log) = logged();
        let mut device = requiring(&sim, by);
        permit(check(&mut device, &sim, &log));
        let seen = device.state().log;
        sim.release(draft("1.1.0", 2));
        log.entries[2] = b"forged".to_vec();
        log.logged(&sim);
        assert_eq!(
            refused(check(&mut device, &sim, &log)),
            code(Stage::Log, "log-inconsistent")
        );
        let silent = device.check_with(sim.now, |fetch| serve_part(&sim, fetch, |_| log.part(&sim, None)));
        assert_eq!(refused(silent), code(Stage::Log, "log-unproven"));
        assert_eq!(device.state().log, seen);
    }
}

#[test]
fn refuses_an_older_tree_without_proof_that_it_is_a_part_of_the_known_one() {
    let (sim, mut log) = logged();
    let older = log.clone();
    log.strangers(3);
    let mut device = requiring(&sim, By::Static);
    permit(check(&mut device, &sim, &log));
    device.cached = None;
    let seen = device.state().log;
    assert_eq!(
        refused(check(&mut device, &sim, &older)),
        code(Stage::Log, "log-unproven")
    );
    // With the proof it is right, and the floor stays where it is.
    let proven = Plan::consistency(6, 9).unwrap().prove(&log).unwrap();
    let answer = device.check_with(sim.now, |fetch| {
        serve_part(&sim, fetch, |_| {
            older.part(&sim, None).map(|part| LogPart {
                consistency: Some(proven.clone()),
                ..part
            })
        })
    });
    permit(answer);
    assert_eq!(device.state().log, seen);
}

#[test]
fn refuses_a_checkpoint_by_another_key_or_of_another_log() {
    for by in ROUTES {
        let (sim, log) = logged();
        let forgers = [
            TestLog::named("log.example/one", new_key()),
            TestLog::named("log.example/two", log.key.clone()),
        ];
        for mut forger in forgers {
            forger.entries = log.entries.clone();
            let mut device = Device::new(&sim, by);
            let answer = check(&mut device, &sim, &forger);
            assert_eq!(refused(answer), code(Stage::Log, "wrong-log"));
        }
    }
}

#[test]
fn the_authority_may_name_another_log_and_the_device_begins_anew_with_it() {
    let (mut sim, log) = logged();
    let mut device = requiring(&sim, By::Bundle);
    permit(check(&mut device, &sim, &log));
    let mut other = TestLog::named("log.example/two", new_key());
    other.named_by(&mut sim, &[], 0);
    other.logged(&sim);
    permit(check(&mut device, &sim, &other));
    let kept = device.state().log.unwrap();
    assert_eq!((kept.origin.as_str(), kept.head.size), ("log.example/two", 1));
}

#[test]
fn refuses_too_few_witnesses_and_says_who_excludes_a_split_view() {
    let (mut sim, mut log) = logged();
    log.witnesses.push(Witness::new("witness.example", sim.now));
    log.witnessed_by(&mut sim, 1);
    log.logged(&sim);
    let mut device = requiring(&sim, By::Bundle);
    let mut silent = log.clone();
    silent.witnesses.clear();
    assert_eq!(
        refused(check(&mut device, &sim, &silent)),
        code(Stage::Log, "too-few-witnesses")
    );
    let verdict = permit(check(&mut device, &sim, &log)).verdict();
    assert_eq!(verdict.outcome, Outcome::Permit);
    let evidence = &verdict.stage(Stage::Log).unwrap().evidence;
    assert_eq!(evidence["split_view"], "excluded by witness.example");
}

#[test]
fn refuses_documents_and_proofs_that_are_none() {
    for document in [
        "{}",
        r#"{"v":2,"log":"x"}"#,
        r#"{"v":1,"log":"x"}"#,
        r#"{"v":1,"log":"x","threshold":1}"#,
    ] {
        let mut sim = Simulator::new();
        sim.trust_target(TARGET, document.as_bytes(), true);
        assert_eq!(
            Device::new(&sim, By::Bundle).refused(&sim),
            code(Stage::Log, "malformed")
        );
    }
    let (sim, log) = logged();
    for garbage in [
        "",
        "{}",
        "[]",
        r#"{"proof":""}"#,
        r#"{"proof":"c2sp.org/tlog-proof@v1\n"}"#,
    ] {
        let mut device = Device::new(&sim, By::Static);
        let answer = device.check_with(sim.now, |fetch| match fetch.resource {
            Resource::LogProof { .. } => Answer::Found {
                bytes: garbage.into(),
                etag: None,
            },
            _ => log.serve(&sim, fetch),
        });
        assert_eq!(refused(answer), code(Stage::Log, "malformed"));
    }
}
