//! Rollback: something older than the device has seen, also after a restart.

use assay_schema::Stage;
use assay_verifier::Answer;
use assay_verifier::Resource;
use serde_json::json;

use crate::support::*;

/// What the registry would serve had it forgotten its later versions.
fn restored(old: &Simulator, now: &Simulator) -> Simulator {
    let mut sim = old.clone();
    sim.now = now.now;
    sim
}

#[test]
fn older_timestamp_is_refused() {
    for by in ROUTES {
        let old = Simulator::new();
        let mut sim = old.clone();
        sim.next_timestamp();
        let mut device = Device::new(&sim, by);
        device.permitted(&sim);
        assert_eq!(device.refused(&old), code(Stage::Freshness, "rollback"));
        // Refused once more: the floor lies on the disk, and every check starts from there.
        assert_eq!(device.refused(&old), code(Stage::Freshness, "rollback"));
        device.permitted(&sim);
    }
}

#[test]
fn older_snapshot_under_a_newer_timestamp_is_refused() {
    for by in ROUTES {
        let mut sim = Simulator::new();
        let (signed, file) = (sim.signed["snapshot"].clone(), sim.current["snapshot"].clone());
        sim.next_snapshot();
        sim.next_timestamp();
        let mut device = Device::new(&sim, by);
        device.permitted(&sim);
        sim.signed.insert("snapshot".into(), signed);
        sim.put("snapshot", file);
        sim.next_timestamp();
        assert_eq!(device.refused(&sim), code(Stage::Freshness, "rollback"));
    }
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
fn older_targets_and_model_roles_under_a_newer_snapshot_are_refused() {
    for role in ["targets", "model.minilm.0"] {
        for by in ROUTES {
            let (honest, stolen) = older_role(role);
            let mut device = Device::new(&honest, by);
            device.permitted(&honest);
            assert_eq!(
                device.refused(&stolen),
                code(Stage::Freshness, "rollback"),
                "{role}"
            );
            assert_eq!(
                device.refused(&stolen),
                code(Stage::Freshness, "rollback"),
                "{role}"
            );
        }
    }
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
fn release_below_the_one_that_was_activated_is_refused() {
    for by in ROUTES {
        let mut sim = Simulator::new();
        sim.release(draft("1.1.0", 2));
        let mut device = Device::new(&sim, by);
        let approved = device.permitted(&sim);
        device.activate(&approved);
        let mut asks = device.clone().wants("1.0.0");
        assert_eq!(asks.refused(&sim), code(Stage::Freshness, "rollback"));
        assert_eq!(
            asks.clone().wants("1.1.0").permitted(&sim).manifest().version,
            version("1.1.0")
        );
        // The publishers' keys, stolen, delist it: everything is signed, and the floor holds.
        sim.edit("model.minilm.0", |signed| {
            let path = "models/minilm/0/1.1.0.json";
            signed["targets"].as_object_mut().unwrap().remove(path);
        });
        sim.releases.pop();
        device.cached = None;
        assert_eq!(device.refused(&sim), code(Stage::Freshness, "rollback"));
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
        state.raise_floor(&model(), order(raise.0, raise.1));
        assert_eq!(state.floors[&model()], order(floor.0, floor.1));
    }
}

#[test]
fn fast_forward_recovers_by_key_rotation() {
    for role in ["timestamp", "snapshot"] {
        for by in ROUTES {
            let honest = Simulator::new();
            let mut thief = honest.clone();
            let far = json!(9_000_000_000_000_000_u64);
            thief.signed.get_mut(role).unwrap()["version"] = far;
            thief.publish();
            let mut device = Device::new(&honest, by);
            device.permitted(&thief);
            assert_eq!(device.refused(&honest), code(Stage::Freshness, "rollback"));
            let mut recovered = honest.clone();
            recovered.rotate(role);
            device.permitted(&recovered);
            device.permitted(&recovered);
        }
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
