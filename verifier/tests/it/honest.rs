//! An honest registry: what a check costs, and what it finds.

use assay_schema::verdict::StageOutcome;
use assay_schema::{Outcome, Stage, limits};
use assay_verifier::Resource;

use crate::support::*;

#[test]
fn first_check_by_bundle_is_one_request() {
    let sim = Simulator::new();
    let mut device = Device::new(&sim, By::Bundle);
    let approved = device.permitted(&sim);
    assert_eq!(device.requests.len(), 1);
    assert_eq!(approved.manifest().version, version("1.0.0"));
    let verdict = approved.verdict();
    assert_eq!(verdict.outcome, Outcome::Permit);
    for stage in [
        Stage::TrustRoot,
        Stage::Freshness,
        Stage::Release,
        Stage::Provenance,
    ] {
        assert_eq!(outcome(&verdict, stage), &StageOutcome::Passed, "{stage}");
    }
    for stage in [
        Stage::Log,
        Stage::Permission,
        Stage::Plan,
        Stage::Content,
        Stage::Screening,
    ] {
        assert!(
            matches!(outcome(&verdict, stage), StageOutcome::Skipped { .. }),
            "{stage}"
        );
    }
    let stages: Vec<Stage> = verdict.stages.iter().map(|s| s.stage).collect();
    assert_eq!(stages, Stage::ALL);
    assert_eq!(
        verdict.stage(Stage::Provenance).unwrap().evidence["signer"],
        "Ada"
    );
}

#[test]
fn unchanged_check_by_bundle_is_one_conditional_request() {
    let sim = Simulator::new();
    let mut device = Device::new(&sim, By::Bundle);
    let first = device.permitted(&sim);
    let second = device.permitted(&sim);
    assert_eq!(device.requests.len(), 1);
    assert!(device.requests[0].etag.is_some());
    assert_eq!(
        sim.serve(&device.requests[0]),
        assay_verifier::Answer::NotModified
    );
    assert_eq!(first.manifest(), second.manifest());
}

#[test]
fn check_by_static_paths_costs_seven_requests_first_and_two_when_unchanged() {
    let sim = Simulator::new();
    let mut device = Device::new(&sim, By::Static);
    device.permitted(&sim);
    assert_eq!(device.requests.len(), 7, "{:#?}", device.requests);
    device.permitted(&sim);
    assert_eq!(device.requests.len(), 2, "{:#?}", device.requests);
}

#[test]
fn both_routes_find_the_same() {
    let sim = Simulator::new();
    let [a, b] = ROUTES.map(|by| {
        let mut device = Device::new(&sim, by);
        (device.permitted(&sim).manifest_digest(), device.disk)
    });
    assert_eq!(a, b);
}

#[test]
fn registry_without_bundles_is_checked_by_static_paths_with_what_was_kept() {
    let mut sim = Simulator::new();
    let mut device = Device::new(&sim, By::Bundle);
    device.permitted(&sim);
    sim.bundles = false;
    device.permitted(&sim);
    assert_eq!(device.requests.len(), 3, "{:#?}", device.requests);
}

#[test]
fn a_new_release_is_found_and_an_older_one_on_request() {
    for by in ROUTES {
        let mut sim = Simulator::new();
        let mut device = Device::new(&sim, by);
        device.permitted(&sim);
        sim.release(draft("1.1.0", 2));
        assert_eq!(device.permitted(&sim).manifest().version, version("1.1.0"));
        let mut other = Device::new(&sim, by).wants("1.0.0");
        assert_eq!(other.permitted(&sim).manifest().version, version("1.0.0"));
    }
}

#[test]
fn releases_of_several_blocks_are_all_found() {
    for by in ROUTES {
        let mut sim = Simulator::new();
        sim.release(draft("1.5.0", 99));
        sim.release(draft("2.0.0", 100));
        sim.release(draft("3.0.0", 250));
        assert_eq!(
            Device::new(&sim, by).permitted(&sim).manifest().order.counter(),
            250
        );
        for (text, counter) in [("1.0.0", 1), ("1.5.0", 99), ("2.0.0", 100)] {
            let found = Device::new(&sim, by).wants(text).permitted(&sim);
            assert_eq!(found.manifest().order.counter(), counter);
        }
    }
}

#[test]
fn a_higher_epoch_in_a_lower_block_is_the_highest_release() {
    for by in ROUTES {
        let mut sim = Simulator::new();
        let block = assay_schema::tuf::ModelRole {
            model: model(),
            block: 0,
        };
        sim.release(draft("9.0.0", 150));
        sim.delegate(&block, 2);
        let mut recovered = draft("1.0.1", 2);
        recovered.order = (2, 2);
        sim.release(recovered);
        // The bundle of a registry that offers the higher block changes nothing.
        sim.releases.retain(|r| r.order.epoch() == 1);
        let mut device = Device::new(&sim, by);
        let approved = match by {
            By::Static => device.permitted(&sim),
            By::Bundle => permit(device.check_with(sim.now, |fetch| sim.serve(fetch))),
        };
        assert_eq!(approved.manifest().version, version("1.0.1"), "{by:?}");
        device.permitted(&sim);
        assert!(device.requests.len() <= 2, "unchanged: {:#?}", device.requests);
    }
}

#[test]
fn every_role_that_may_reach_more_is_looked_through() {
    // Both blocks may give epoch 2; only the lower one has.
    for by in ROUTES {
        let mut sim = Simulator::new();
        sim.release(draft("9.0.0", 150));
        for block in [0, 1] {
            sim.delegate(
                &assay_schema::tuf::ModelRole {
                    model: model(),
                    block,
                },
                2,
            );
        }
        let mut recovered = draft("1.0.1", 2);
        recovered.order = (2, 2);
        sim.release(recovered);
        let mut device = Device::new(&sim, by);
        assert_eq!(
            device.permitted(&sim).manifest().version,
            version("1.0.1"),
            "{by:?}"
        );
        device.permitted(&sim);
        assert!(device.requests.len() <= 2, "unchanged: {:#?}", device.requests);
    }
}

#[test]
fn several_root_rotations_are_followed_in_one_check() {
    for by in ROUTES {
        let mut sim = Simulator::new();
        let mut device = Device::new(&sim, by);
        for role in ["root", "targets", "snapshot", "timestamp", "root"] {
            sim.rotate(role);
        }
        let verdict = device.permitted(&sim).verdict();
        assert_eq!(
            verdict.stage(Stage::TrustRoot).unwrap().evidence["root_version"],
            "6"
        );
        let expected = if by == By::Bundle { 1 } else { 12 };
        assert_eq!(device.requests.len(), expected);
        // What was followed is persisted: the next check asks for the seventh.
        device.permitted(&sim);
        let asked = &device.requests[0].resource;
        match by {
            By::Bundle => assert!(matches!(asked, Resource::Bundle { root: 6, .. })),
            By::Static => assert!(matches!(asked, Resource::Metadata { file } if file == "7.root.json")),
        }
    }
}

#[test]
fn more_rotations_than_one_run_follows_go_on_in_the_next_run() {
    for by in ROUTES {
        let mut sim = Simulator::new();
        let mut device = Device::new(&sim, by);
        for _ in 0..limits::MAX_ROOT_ROTATIONS + 3 {
            sim.rotate("timestamp");
        }
        let (stage, found) = device.refused(&sim);
        assert_eq!((stage, found.as_str()), (Stage::Freshness, "signature-threshold"));
        assert!(device.requests.len() <= limits::MAX_ROOT_ROTATIONS as usize + 2);
        device.permitted(&sim);
    }
}

#[test]
fn damaged_cache_costs_requests_only() {
    for by in ROUTES {
        let sim = Simulator::new();
        let mut device = Device::new(&sim, by);
        device.permitted(&sim);
        let kept = device.cached.clone().unwrap();
        for at in (0..kept.bytes.len()).step_by(97) {
            let mut damaged = kept.clone();
            damaged.bytes[at] ^= 1;
            device.cached = Some(damaged);
            device.permitted(&sim);
            assert!(device.requests.len() <= 7, "{by:?} at {at}");
        }
        for bytes in [
            Vec::new(),
            b"{}".to_vec(),
            kept.bytes[..kept.bytes.len() / 2].to_vec(),
        ] {
            device.cached = Some(assay_verifier::CachedBundle {
                bytes,
                ..kept.clone()
            });
            device.permitted(&sim);
        }
    }
}

#[test]
fn trust_on_first_use_stays_in_the_verdict() {
    for by in ROUTES {
        let sim = Simulator::new();
        let mut device = Device::new(&sim, by);
        let seen = |d: &mut Device| {
            let verdict = d.permitted(&sim).verdict();
            verdict
                .stage(Stage::TrustRoot)
                .unwrap()
                .evidence
                .contains_key("trust_on_first_use")
        };
        assert!(!seen(&mut device));
        device.pin.first_use = true;
        assert!(seen(&mut device));
        device.cached.as_mut().unwrap().bytes[10] ^= 1;
        assert!(seen(&mut device), "also after a check that began again");
    }
}

#[test]
fn permitted_signers_that_are_not_inline_are_fetched() {
    let mut sim = Simulator::new();
    let document = assay_schema::canonical::document(&serde_json::json!({"v": 1, "signers": [
        assay_authority::namespace::key_signer("Ada", sim.signer.public_key())
    ]}))
    .unwrap();
    sim.trust_target(SIGNERS, &document, false);
    for by in ROUTES {
        let mut device = Device::new(&sim, by);
        device.permitted(&sim);
        let fetched = device.requests.iter().any(
            |f| matches!(&f.resource, Resource::Target { path } if path.starts_with("trust/") && path.ends_with(".signers.json")),
        );
        assert!(fetched);
        device.permitted(&sim);
        assert!(device.requests.len() <= 2);
    }
}
