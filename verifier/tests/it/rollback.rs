//! What rollback can hide behind, beside the attack by its name: files that vanish, snapshots that are withheld, rotations.

use assay_schema::Stage;
use assay_verifier::Answer;
use assay_verifier::Resource;

use crate::support::*;

/// What the registry would serve had it forgotten its later versions.
fn restored(old: &Simulator, now: &Simulator) -> Simulator {
    let mut sim = old.clone();
    sim.now = now.now;
    sim
}

/// A snapshot of stolen online keys: versions rise, but it names an older file of `role`.
fn older_role(role: &str) -> (Simulator, Simulator) {
    let mut sim = Simulator::new();
    let (signed, file) = (sim.signed[role].clone(), sim.current[role].clone());
    sim.bump(role);
    sim.publish();
    let honest = sim.clone();
    sim.signed.insert(role.to_owned(), signed);
    sim.put(role, file);
    sim.publish();
    (honest, sim)
}

#[test]
fn a_model_role_that_vanishes_from_the_snapshot_is_refused() {
    for by in ROUTES {
        let mut sim = Simulator::new();
        let mut device = Device::new(&sim, by);
        device.permitted(&sim);
        let meta = sim.signed.get_mut("snapshot").unwrap();
        meta["meta"]
            .as_object_mut()
            .unwrap()
            .remove("model.minilm.0.json");
        sim.bump("snapshot");
        sim.next_timestamp();
        assert_eq!(device.refused(&sim), code(Stage::Freshness, "digest-mismatch"));
    }
}

#[test]
fn withholding_one_snapshot_does_not_erase_the_floors_of_targets() {
    // The registry shows timestamp 3, withholds its snapshot, and then names older targets under timestamp 4.
    for role in ["targets", "model.minilm.0"] {
        for by in ROUTES {
            let (honest, mut stolen) = older_role(role);
            let mut device = Device::new(&honest, by);
            device.permitted(&honest);
            let mut next = honest.clone();
            next.publish();
            for _ in 0..2 {
                next.next_timestamp();
                let served = next.clone();
                let checked = device.check_with(next.now, |fetch| match &fetch.resource {
                    Resource::Bundle { .. } => Answer::Missing,
                    Resource::Metadata { file } if file.ends_with("snapshot.json") => Answer::Missing,
                    _ => served.serve(fetch),
                });
                assert_eq!(refuse(checked), code(Stage::Freshness, "unavailable"));
                assert!(device.state().snapshot_timestamp.is_some());
            }
            for _ in 0..6 {
                stolen.publish();
            }
            device.cached = None;
            assert_eq!(
                device.refused(&stolen),
                code(Stage::Freshness, "rollback"),
                "{role} {by:?}"
            );
            // The honest way on stays open.
            for _ in 0..6 {
                next.publish();
            }
            device.permitted(&next);
            assert!(device.state().snapshot_timestamp.is_none());
        }
    }
}

#[test]
fn floors_never_fall() {
    let sim = Simulator::new();
    let mut state = Device::new(&sim, By::Static).state();
    let order = |e, c| assay_schema::ReleaseOrder::new(e, c).unwrap();
    for (raise, floor) in [
        ((1, 5), (1, 5)),
        ((1, 3), (1, 5)),
        ((2, 1), (2, 1)),
        ((1, 900), (2, 1)),
    ] {
        state.raise_floor(&model(), order(raise.0, raise.1), sim.identity);
        assert_eq!(state.floors[&model()], order(floor.0, floor.1));
    }
}

#[test]
fn rotation_of_other_keys_erases_no_floor() {
    for by in ROUTES {
        let old = Simulator::new();
        let mut sim = old.clone();
        for _ in 0..3 {
            sim.publish();
        }
        let mut device = Device::new(&sim, by);
        device.permitted(&sim);
        let mut restored = restored(&old, &sim);
        restored.rotate("targets");
        assert_eq!(device.refused(&restored), code(Stage::Freshness, "rollback"));
        assert!(device.state().timestamp.is_some());
    }
}

#[test]
fn an_added_online_key_is_no_rotation() {
    for by in ROUTES {
        let old = Simulator::new();
        let mut sim = old.clone();
        for _ in 0..3 {
            sim.publish();
        }
        let mut device = Device::new(&sim, by);
        device.permitted(&sim);
        let mut restored = restored(&old, &sim);
        let roots = restored.keys["root"].clone();
        restored.keys.get_mut("timestamp").unwrap().push(new_key());
        restored.list_root_keys();
        restored.sign_root(&roots);
        restored.publish();
        assert_eq!(device.refused(&restored), code(Stage::Freshness, "rollback"));
    }
}

#[test]
fn an_older_root_is_not_gone_back_to() {
    let mut sim = Simulator::new();
    let old = sim.clone();
    sim.rotate("timestamp");
    for by in ROUTES {
        let mut device = Device::new(&sim, by);
        device.permitted(&sim);
        device.cached = None;
        assert_eq!(
            device.refused(&old),
            code(Stage::Freshness, "signature-threshold")
        );
        assert_eq!(device.state().root, text(&sim.roots[1]));
    }
}

#[test]
fn a_state_of_another_version_is_refused() {
    let sim = Simulator::new();
    for by in ROUTES {
        let mut device = Device::new(&sim, by);
        let mut state = device.state();
        state.v = 2;
        device.persist(&state);
        assert_eq!(device.refused(&sim), code(Stage::TrustRoot, "wrong-version"));
        assert!(device.requests.is_empty());
    }
}
