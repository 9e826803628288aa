//! Endless data: answers longer than they may be, many roots, many roles.

use assay_schema::{Stage, limits};
use assay_verifier::{Answer, Resource};
use serde_json::json;

use crate::support::*;

#[test]
fn every_fetch_is_bounded() {
    let sim = Simulator::new();
    for by in ROUTES {
        let mut device = Device::new(&sim, by);
        device.permitted(&sim);
        for fetch in &device.requests {
            let bound = match &fetch.resource {
                Resource::Bundle { .. } | Resource::Endorsement { .. } => limits::MAX_BUNDLE,
                Resource::Metadata { .. } => limits::MAX_ROOT,
                Resource::Target { .. } => limits::MAX_MANIFEST,
                Resource::Blob { .. } => limits::MAX_ATTESTATION,
                Resource::LogProof { .. } | Resource::RootProof { .. } => limits::MAX_LOG_PART,
            };
            assert!(fetch.max <= bound, "{fetch:?}");
        }
    }
}

#[test]
fn lengths_above_the_limits_are_refused_before_anything_is_fetched() {
    let pins = [
        (
            "timestamp",
            "snapshot.json",
            limits::MAX_SNAPSHOT,
            Stage::Freshness,
        ),
        ("snapshot", "targets.json", limits::MAX_TARGETS, Stage::Freshness),
        (
            "snapshot",
            "model.minilm.0.json",
            limits::MAX_TARGETS,
            Stage::Release,
        ),
    ];
    for (role, file, limit, stage) in pins {
        let mut sim = Simulator::new();
        sim.signed.get_mut(role).unwrap()["meta"][file]["length"] = json!(limit + 1);
        sim.bump(role);
        if role == "snapshot" {
            sim.next_timestamp();
        }
        for by in ROUTES {
            assert_eq!(
                Device::new(&sim, by).refused(&sim),
                code(stage, "too-long"),
                "{file}"
            );
        }
    }
    let mut sim = Simulator::new();
    sim.edit("model.minilm.0", |signed| {
        signed["targets"]["models/minilm/0/1.0.0.json"]["length"] = json!(limits::MAX_MANIFEST + 1);
    });
    for by in ROUTES {
        assert_eq!(
            Device::new(&sim, by).refused(&sim),
            code(Stage::Release, "too-long")
        );
    }
}

#[test]
fn a_timestamp_or_root_that_is_too_long_in_a_bundle_is_refused() {
    let mut sim = Simulator::new();
    let mut long = sim.current["timestamp"].clone();
    long.resize(limits::MAX_TIMESTAMP as usize + 1, b' ');
    sim.put("timestamp", long);
    assert_eq!(
        Device::new(&sim, By::Bundle).refused(&sim),
        code(Stage::Freshness, "too-long")
    );

    let mut sim = Simulator::new();
    sim.rotate("timestamp");
    sim.roots[1].resize(limits::MAX_ROOT as usize + 1, b' ');
    sim.metadata.insert("2.root.json".into(), sim.roots[1].clone());
    assert_eq!(
        refuse(Device::new(&Simulator::new(), By::Bundle).check_with(sim.now, |_| Answer::Missing)).1,
        "unavailable"
    );
    let first = sim.clone();
    assert_eq!(
        Device::new(&first, By::Bundle).refused(&sim),
        code(Stage::TrustRoot, "too-long")
    );
    assert_eq!(
        Device::new(&first, By::Static).refused(&sim),
        code(Stage::TrustRoot, "unavailable")
    );
}

#[test]
fn a_registry_that_invents_roots_for_ever_is_stopped() {
    let sim = Simulator::new();
    let mut device = Device::new(&sim, By::Static);
    let checked = device.check_with(sim.now, |fetch| match &fetch.resource {
        Resource::Metadata { file } if file.ends_with("root.json") => Answer::Found {
            bytes: sim.roots[0].clone(),
            etag: None,
        },
        _ => sim.serve(fetch),
    });
    assert_eq!(refuse(checked), code(Stage::TrustRoot, "wrong-version"));
    assert_eq!(device.requests.len(), 1);
}

#[test]
pub(crate) fn a_search_through_many_roles_is_bounded() {
    let mut sim = Simulator::new();
    for block in 1..=limits::MAX_DELEGATIONS as u64 + 8 {
        let mut release = draft("0.0.0", block * 100);
        release.version = Box::leak(format!("0.0.{block}").into_boxed_str());
        sim.release(release);
    }
    let mut device = Device::new(&sim, By::Static).wants("no-such-version");
    assert_eq!(device.refused(&sim), code(Stage::Release, "no-release"));
    assert!(device.requests.len() <= limits::MAX_DELEGATIONS as usize + 4);
}
