//! Attacks with time: something older, something frozen, something far ahead, a clock that is wrong.

use assay_schema::Stage;
use assay_verifier::{Answer, Resource};
use serde_json::{Value, json};

use super::{Heals, LoggedScene, Scene};
use crate::support::testlog::{self, TestLog, Witness};
use crate::support::*;

const MODEL_ROLE: &str = "model.minilm.0";

/// A later state in which the file of a role is an older one, named and signed by stolen online keys where it has to be.
fn with_older(role: &str) -> (Simulator, Simulator) {
    let mut sim = Simulator::new();
    let old = sim.clone();
    match role {
        "timestamp" => sim.next_timestamp(),
        "snapshot" => sim.publish(),
        role => {
            sim.bump(role);
            sim.publish();
        }
    }
    let honest = sim.clone();
    if role == "timestamp" {
        return (honest, old);
    }
    sim.signed.insert(role.to_owned(), old.signed[role].clone());
    sim.put(role, old.current[role].clone());
    match role {
        "snapshot" => sim.next_timestamp(),
        _ => sim.publish(),
    }
    (honest, sim)
}

#[test]
pub(super) fn rollback() {
    for by in ROUTES {
        for role in ["timestamp", "snapshot", "targets", MODEL_ROLE] {
            let (honest, older) = with_older(role);
            let scene = Scene::of(honest, by);
            // A device restarts before every check: its floors come from its disk.
            let what = format!("an older {role}");
            scene.refuses(&what, &older, (Stage::Freshness, "rollback"), Heals::AtOnce);
            let mut forgetful = scene.clone();
            forgetful.device.cached = None;
            let what = format!("an older {role}, without a cache");
            forgetful.refuses(&what, &older, (Stage::Freshness, "rollback"), Heals::AtOnce);
        }
        // The release counter: the publishers' stolen keys delist what was activated, in a newer file.
        let mut sim = Simulator::new();
        sim.release(draft("1.1.0", 2));
        let scene = Scene::of(sim, by);
        let mut evil = scene.honest.clone();
        evil.edit(MODEL_ROLE, |signed| {
            signed["targets"]
                .as_object_mut()
                .unwrap()
                .remove("models/minilm/0/1.1.0.json");
        });
        evil.releases.pop();
        scene.refuses(
            "a lower release order",
            &evil,
            (Stage::Freshness, "rollback"),
            Heals::ByRotation,
        );
        let mut asks = scene.clone();
        asks.device = asks.device.wants("1.0.0");
        let refused = asks.device.refused(&asks.honest);
        assert_eq!(
            refused,
            code(Stage::Freshness, "rollback"),
            "an older release by name"
        );
    }
}

#[test]
pub(super) fn freeze() {
    let stages = [
        (2, "timestamp", Stage::Freshness),
        (8, "snapshot", Stage::Freshness),
        (181, "targets", Stage::Freshness),
        (181, MODEL_ROLE, Stage::Release),
        (366, "root", Stage::TrustRoot),
    ];
    for by in ROUTES {
        for (days, role, stage) in stages {
            let scene = Scene::new(by);
            let mut evil = scene.honest.clone();
            evil.now = after_days(evil.now, days);
            let mut healed = scene.clone();
            healed.honest.now = evil.now;
            // Whoever holds the keys of the others renews theirs.
            for renewed in ["targets", MODEL_ROLE] {
                healed.honest.bump(renewed);
                if renewed != role {
                    evil.bump(renewed);
                }
            }
            if role == "root" {
                // Only the authority can end this one.
                let roots = healed.honest.keys["root"].clone();
                healed.honest.sign_root(&roots);
            }
            match role {
                "timestamp" => {}
                "snapshot" => evil.next_timestamp(),
                _ => evil.publish(),
            }
            healed.refuses(
                &format!("an expired {role}"),
                &evil,
                (stage, "expired"),
                Heals::AtOnce,
            );
            if (role, by) == ("timestamp", By::Bundle) {
                let unchanged = |fetch: &assay_verifier::Fetch| match (&fetch.resource, &fetch.etag) {
                    (Resource::Bundle { .. }, Some(_)) => Answer::NotModified,
                    _ => evil.serve(fetch),
                };
                let what = "304 for ever";
                healed.refuses_answers(what, evil.now, unchanged, (stage, "expired"), Heals::AtOnce);
            }
        }
    }
}

#[test]
pub(super) fn fast_forward() {
    for role in ["timestamp", "snapshot"] {
        for by in ROUTES {
            let mut scene = Scene::new(by);
            let mut thief = scene.honest.clone();
            thief.signed.get_mut(role).unwrap()["version"] = json!(9_000_000_000_000_000_u64);
            thief.publish();
            scene.device = scene.permits(&format!("a {role} far ahead"), &thief, "1.0.0");
            // It is a floor, until the root names other online keys.
            let honest = scene.honest.clone();
            let what = format!("the honest {role} behind it");
            scene.refuses(&what, &honest, (Stage::Freshness, "rollback"), Heals::ByRotation);
            let mut recovered = scene.honest.clone();
            recovered.rotate(role);
            let mut device = scene.permits("other online keys", &recovered, "1.0.0");
            device.permitted(&recovered);
        }
    }
}

#[test]
pub(super) fn clock_set_back() {
    for by in ROUTES {
        let mut honest = Simulator::new();
        let mut log = TestLog::new();
        for name in ["a.example", "b.example"] {
            log.witnesses.push(Witness::new(name, honest.now));
        }
        log.witnessed_by(&mut honest, 2);
        let then = honest.now;
        let early = honest.clone();
        honest.now = after_days(then, 3);
        honest.publish();
        log.logged(&honest);
        log.witnesses.iter_mut().for_each(|w| w.time = honest.now);
        let mut device = Device::new(&honest, by);
        permit(testlog::check(&mut device, &honest, &log));
        let scene = LoggedScene { honest, log, device };
        // The thief of the online keys signs what expires within a day of then, and the clock says then.
        let mut thief = scene.honest.clone();
        thief.now = early.now;
        thief.publish();
        let mut log = scene.log.clone();
        log.logged(&thief);
        scene.refuses(
            "what expired before the time floor",
            &thief,
            &log,
            (Stage::Freshness, "expired"),
        );
        assert_eq!(scene.device.state().time_floor, Some(scene.honest.now));
    }
}

#[test]
pub(super) fn withheld_revocation() {
    let status =
        |revoked: Value| json!({"v": 1, "issued": "2026-12-01T00:00:00Z", "revoked_releases": revoked});
    for by in ROUTES {
        let mut honest = Simulator::new();
        honest.status(&status(json!([])));
        let before = honest.clone();
        let mut informed = Scene::of(honest, by);
        let unaware = informed.clone();
        // 1.0.0 is revoked; 1.0.1 is what follows it.
        informed
            .honest
            .restrict(&status(json!([{"model": "minilm", "version": "1.0.0"}])));
        let revoked = informed.honest.clone();
        informed.honest.release(draft("1.0.1", 2));
        informed.refuses(
            "the revocation itself",
            &revoked,
            (Stage::Release, "revoked"),
            Heals::AtOnce,
        );
        informed.device.refused(&revoked);

        let mut none = revoked.clone();
        none.signed.remove("status");
        none.current.remove("status");
        none.signed.get_mut("snapshot").unwrap()["meta"]
            .as_object_mut()
            .unwrap()
            .remove("status.json");
        none.publish();
        // A status that the device saw is a floor of the snapshot; for a device that has just learned the namespace it is missing.
        informed.refuses(
            "no status",
            &none,
            (Stage::Freshness, "digest-mismatch"),
            Heals::AtOnce,
        );
        let mut new = Device::new(&none, by);
        assert_eq!(new.refused(&none), code(Stage::Freshness, "status-missing"));

        let mut older = revoked.clone();
        older
            .signed
            .insert("status".into(), before.signed["status"].clone());
        older.put("status", before.current["status"].clone());
        older.publish();
        informed.refuses(
            "the status before",
            &older,
            (Stage::Freshness, "rollback"),
            Heals::AtOnce,
        );

        // A device that has not seen it can be kept from it, while the status of then lasts and no longer.
        let mut frozen = before;
        frozen.now = after_days(frozen.now, 29);
        frozen.publish();
        let mut kept = unaware.clone();
        kept.device = unaware.permits("the state before, within its time", &frozen, "1.0.0");
        frozen.now = after_days(frozen.now, 2);
        frozen.publish();
        kept.honest = informed.honest.clone();
        kept.honest.now = frozen.now;
        kept.honest.restrict(&status(json!([])));
        kept.refuses(
            "the state before, after it",
            &frozen,
            (Stage::Freshness, "expired"),
            Heals::ByRotation,
        );
    }
}
