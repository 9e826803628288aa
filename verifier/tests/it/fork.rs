//! A root forked by keys that were stolen after they were retired: a hostile registry shows it to devices that were away, and to new
//! ones.

use assay_schema::log::LogTrust;
use assay_schema::{Sha256Digest, Stage};
use assay_verifier::provenance::sha256;
use assay_verifier::{Answer, CheckStep, Checked, Resource, check};
use serde_json::{Value, json};

use crate::support::simulator::{ids, listed};
use crate::support::testlog::{self, TestLog, Witness, logged};
use crate::support::*;

/// A namespace in a log with a witness, and a device that has checked it at root 1.
fn followed(by: By) -> (Simulator, TestLog, Device) {
    let mut sim = Simulator::new();
    let mut log = TestLog::new();
    log.witnesses.push(Witness::new("witness.example", sim.now));
    log.witnessed_by(&mut sim, 1);
    log.strangers(5);
    log.root_logged(&sim);
    log.logged(&sim);
    let mut device = Device::new(&sim, by);
    permit(testlog::check(&mut device, &sim, &log));
    (sim, log, device)
}

/// What whoever has the retired root keys makes of the namespace: a root of their own, and targets under it.
fn forked(sim: &Simulator) -> Simulator {
    let mut thief = sim.clone();
    thief.rotate("root");
    thief.rotate("targets");
    thief.release(draft("9.9.9", 50));
    thief
}

/// The authority's own next root.
fn honest(sim: &Simulator, log: &TestLog) -> (Simulator, TestLog) {
    let (mut sim, mut log) = (sim.clone(), log.clone());
    sim.rotate("root");
    log.root_logged(&sim);
    log.logged(&sim);
    (sim, log)
}

fn digest(sim: &Simulator) -> Sha256Digest {
    sha256(sim.roots.last().unwrap())
}

#[test]
fn a_root_in_the_log_is_followed_and_costs_one_request_more() {
    for by in ROUTES {
        let (sim, log, mut device) = followed(by);
        let (sim, log) = honest(&sim, &log);
        permit(testlog::check(&mut device, &sim, &log));
        let asked = |device: &Device| {
            let roots = device.requests.iter();
            roots
                .filter(|f| matches!(f.resource, Resource::RootProof { .. }))
                .count()
        };
        assert_eq!(asked(&device), 1);
        let state = device.state();
        assert_eq!(state.root, text(sim.roots.last().unwrap()));
        assert_eq!((state.settled, state.followed.unwrap().root), (None, 2));
        permit(testlog::check(&mut device, &sim, &log));
        assert_eq!(asked(&device), 0);
    }
}

#[test]
fn a_forked_root_that_names_no_log_is_not_followed() {
    for by in ROUTES {
        let (sim, log, mut device) = followed(by);
        let mut thief = forked(&sim);
        thief.edit("targets", |signed| {
            signed["targets"]
                .as_object_mut()
                .unwrap()
                .remove("trust/log.json");
        });
        assert_eq!(
            refuse(testlog::check(&mut device, &thief, &log)),
            code(Stage::Log, "root-not-in-log")
        );
    }
}

#[test]
fn a_forked_root_that_the_stolen_log_key_signs_without_the_witnesses_is_not_followed() {
    for by in ROUTES {
        let (sim, log, mut device) = followed(by);
        let mut thief = forked(&sim);
        let mut colluding = log.clone();
        colluding.witnesses.clear();
        colluding.named_by(&mut thief, &[], 0);
        colluding.root_logged(&thief);
        colluding.logged(&thief);
        assert_eq!(
            refuse(testlog::check(&mut device, &thief, &colluding)),
            code(Stage::Log, "root-not-in-log")
        );
    }
}

#[test]
fn a_forked_root_under_an_honest_logged_state_is_not_followed() {
    // The fork keeps the honest targets and online keys: the honest snapshot holds under it, and is in the log.
    for by in ROUTES {
        let (sim, log, mut device) = followed(by);
        let mut thief = sim.clone();
        thief.rotate("root");
        let mut log = log.clone();
        log.logged(&thief);
        assert_eq!(
            refuse(testlog::check(&mut device, &thief, &log)),
            code(Stage::Log, "root-not-in-log")
        );
        assert_eq!(device.state().root, text(&sim.roots[0]));
    }
}

#[test]
fn a_device_killed_in_the_middle_of_a_forked_root_finds_back() {
    for by in ROUTES {
        let (sim, log, mut device) = followed(by);
        let thief = forked(&sim);
        // Killed when the proof is asked for: the forked root is on the disk by then.
        let mut step = check(&device.pin.clone(), device.state(), device.request(), thief.now);
        loop {
            step = match step {
                CheckStep::Fetch(waiting) => match waiting.wanted().resource {
                    Resource::LogProof { .. } | Resource::RootProof { .. } => break,
                    _ => {
                        let answer = log.serve(&thief, waiting.wanted());
                        waiting.answer(answer)
                    }
                },
                CheckStep::Persist(waiting) => {
                    device.persist(&waiting.state().clone());
                    waiting.persisted()
                }
                CheckStep::Done(_) => panic!("the proof is asked for"),
            };
        }
        assert_eq!(device.state().root, text(thief.roots.last().unwrap()));
        let (sim, log) = honest(&sim, &log);
        device.cached = None;
        // One check ends at the fork, which nothing honest follows; the next one begins where the log confirmed it.
        refuse(testlog::check(&mut device, &sim, &log));
        permit(testlog::check(&mut device, &sim, &log));
        assert_eq!(device.state().root, text(sim.roots.last().unwrap()));
    }
}

#[test]
fn a_registry_that_cannot_prove_a_new_root_costs_a_check_and_no_state() {
    for by in ROUTES {
        let (sim, log, mut device) = followed(by);
        let (sim, log) = honest(&sim, &log);
        let before = device.state();
        let down = device.check_with(sim.now, |fetch| match fetch.resource {
            Resource::RootProof { .. } => Answer::Failed {
                reason: "time-out".into(),
            },
            _ => log.serve(&sim, fetch),
        });
        assert_eq!(refuse(down), code(Stage::Log, "unavailable"));
        assert_eq!(device.state(), before);
        permit(testlog::check(&mut device, &sim, &log));
    }
}

#[test]
fn an_owner_who_asked_the_authority_can_confirm_a_root_that_moved_to_another_log() {
    for by in ROUTES {
        let (sim, _, mut device) = followed(by);
        let mut moved = sim.clone();
        moved.rotate("timestamp");
        let mut other = TestLog::named("log.example/two", new_key());
        other.named_by(&mut moved, &[], 0);
        other.logged(&moved);
        let Checked::Refused(verdict) = testlog::check(&mut device, &moved, &other) else {
            panic!("expected a refusal");
        };
        let advice = &verdict.refusal().unwrap().1.advice;
        assert!(advice.contains(&digest(&moved).to_string()), "{advice}");
        // The confirmation of another root is none.
        device.pin.terms.confirmed_root = Some(digest(&sim));
        refuse(testlog::check(&mut device, &moved, &other));
        device.pin.terms.confirmed_root = Some(digest(&moved));
        permit(testlog::check(&mut device, &moved, &other));
        // From here on it is the new log that the next root must be in.
        let mut thief = moved.clone();
        thief.rotate("root");
        assert_eq!(
            refuse(testlog::check(&mut device, &thief, &other)),
            code(Stage::Log, "root-not-in-log")
        );
    }
}

#[test]
fn a_new_device_with_a_pinned_log_does_not_follow_a_forked_root() {
    for by in ROUTES {
        let (sim, log, _) = followed(by);
        let pinned = LogTrust {
            v: 1,
            log: log.public.to_string(),
            witnesses: vec![log.witnesses[0].public.to_string()],
            threshold: 1,
        };
        let mut thief = forked(&sim);
        let mut other = TestLog::named("log.example/thief", new_key());
        other.named_by(&mut thief, &[], 0);
        other.root_logged(&thief);
        other.logged(&thief);
        // Known by its identity alone, the namespace may lead anywhere.
        permit(testlog::check(&mut Device::new(&sim, by), &thief, &other));
        let mut device = Device::new(&sim, by);
        device.pin.terms.log = Some(pinned);
        assert_eq!(refuse(testlog::check(&mut device, &thief, &other)).0, Stage::Log);
        let (sim, log) = honest(&sim, &log);
        permit(testlog::check(&mut device, &sim, &log));
        assert_eq!(device.state().root, text(sim.roots.last().unwrap()));
    }
}

#[test]
fn a_new_device_with_a_least_root_does_not_begin_with_an_older_one() {
    for by in ROUTES {
        let mut sim = Simulator::new();
        sim.rotate("root");
        let withheld = sim.clone();
        sim.rotate("root");
        let mut device = Device::new(&sim, by);
        device.pin.terms.least_root = Some(3);
        assert_eq!(device.refused(&withheld), code(Stage::TrustRoot, "below-pin"));
        device.permitted(&sim);
    }
}

fn status(field: &str, value: Value) -> Value {
    let mut status = json!({"v": 1, "issued": "2026-12-01T00:00:00Z"});
    status[field] = value;
    status
}

/// A device that has seen a status revoke so many of the three root keys, two of which are the threshold.
fn revoked(by: By, count: usize) -> (Simulator, Device) {
    let mut sim = Simulator::new();
    let keys: Vec<String> = sim.keys["root"]
        .iter()
        .take(count)
        .map(|k| k.key_id().unwrap())
        .collect();
    sim.status(&status("revoked_keys", json!(keys)));
    let mut device = Device::new(&sim, by);
    device.permitted(&sim);
    (sim, device)
}

#[test]
fn a_root_that_only_revoked_keys_signed_is_refused() {
    for by in ROUTES {
        let (mut sim, mut device) = revoked(by, 2);
        sim.rotate("root");
        assert_eq!(device.refused(&sim), code(Stage::TrustRoot, "revoked-key"));
        assert_eq!(device.state().root, text(&sim.roots[0]));
        // The authority confirmed it all the same.
        device.pin.terms.confirmed_root = Some(digest(&sim));
        device.permitted(&sim);
    }
}

#[test]
fn a_root_that_holds_without_the_revoked_key_is_followed() {
    for by in ROUTES {
        let (mut sim, mut device) = revoked(by, 1);
        sim.rotate("root");
        device.permitted(&sim);
    }
}

#[test]
fn a_later_status_takes_no_revocation_of_a_root_key_back() {
    for by in ROUTES {
        let (mut sim, mut device) = revoked(by, 2);
        sim.restrict(&status("revoked_keys", json!([])));
        device.permitted(&sim);
        sim.rotate("root");
        assert_eq!(device.refused(&sim), code(Stage::TrustRoot, "revoked-key"));
    }
}

#[test]
fn a_least_root_outlives_the_status_that_asked_for_it() {
    for by in ROUTES {
        let mut sim = Simulator::new();
        sim.status(&status("versions", json!({"root": 2})));
        let mut device = Device::new(&sim, by);
        assert_eq!(device.refused(&sim), code(Stage::Freshness, "below-status"));
        // Neither a milder status nor targets without one bring the old root back.
        sim.restrict(&status("versions", json!({})));
        assert_eq!(device.refused(&sim), code(Stage::Freshness, "below-status"));
        let mut without = sim.clone();
        without.edit("targets", |signed| {
            let roles = signed["delegations"]["roles"].as_array_mut().unwrap();
            roles.retain(|r| r["name"] != "status");
        });
        assert_eq!(device.refused(&without), code(Stage::Freshness, "below-status"));
        sim.rotate("timestamp");
        device.permitted(&sim);
    }
}

#[test]
fn an_unchanged_root_may_change_its_log() {
    let (mut sim, log) = logged();
    let mut device = Device::new(&sim, By::Bundle);
    permit(testlog::check(&mut device, &sim, &log));
    let mut other = TestLog::named("log.example/two", new_key());
    other.named_by(&mut sim, &[], 0);
    other.logged(&sim);
    permit(testlog::check(&mut device, &sim, &other));
    assert_eq!(device.state().followed.unwrap().log.log, other.public.to_string());
}

/// The authority gives the status role to another key, whose first status restricts nothing.
fn replace_status_key(sim: &mut Simulator) {
    let key = vec![new_key()];
    let (id, listed) = (ids(&key), listed(&key));
    sim.keys.insert("status".to_owned(), key);
    sim.restrict(&status("versions", json!({})));
    sim.edit("targets", |signed| {
        let delegations = &mut signed["delegations"];
        let keys = delegations["keys"].as_object_mut().unwrap();
        keys.extend(listed.as_object().unwrap().clone());
        let roles = delegations["roles"].as_array_mut().unwrap();
        let role = roles.iter_mut().find(|r| r["name"] == "status").unwrap();
        role["keyids"] = json!(id);
    });
}

#[test]
fn what_a_stolen_status_key_revoked_of_root_keys_ends_with_that_key_though_the_root_comes_first() {
    for by in ROUTES {
        let (mut sim, mut device) = revoked(by, 3);
        replace_status_key(&mut sim);
        sim.rotate("root");
        sim.rotate("root");
        device.permitted(&sim);
        let state = device.state();
        assert_eq!(state.root, text(sim.roots.last().unwrap()));
        assert!(state.restrictions.unwrap().revoked_keys.is_empty());
    }
}

#[test]
fn a_root_of_revoked_keys_stays_refused_under_a_status_of_another_key_that_revokes_them_too() {
    for by in ROUTES {
        let (mut sim, mut device) = revoked(by, 2);
        let keys: Vec<String> = sim.keys["root"]
            .iter()
            .take(2)
            .map(|k| k.key_id().unwrap())
            .collect();
        replace_status_key(&mut sim);
        sim.restrict(&status("revoked_keys", json!(keys)));
        sim.rotate("root");
        assert_eq!(device.refused(&sim), code(Stage::TrustRoot, "revoked-key"));
        assert_eq!(device.state().root, text(&sim.roots[0]));
    }
}

#[test]
fn a_root_of_revoked_keys_lets_nothing_pass_that_holds_under_the_root_before_it() {
    // A registry that shows the root is not believed the rest either, though the rest would do without it.
    for by in ROUTES {
        let (mut sim, mut device) = revoked(by, 2);
        sim.rotate("root");
        assert_eq!(device.refused(&sim), code(Stage::TrustRoot, "revoked-key"));
        let mut without = sim.clone();
        without.edit("targets", |signed| {
            let roles = signed["delegations"]["roles"].as_array_mut().unwrap();
            roles.retain(|r| r["name"] != "status");
        });
        assert_eq!(device.refused(&without), code(Stage::TrustRoot, "revoked-key"));
    }
}

#[test]
fn a_root_of_revoked_keys_with_other_online_keys_needs_its_owners_word() {
    for by in ROUTES {
        let (mut sim, mut device) = revoked(by, 3);
        replace_status_key(&mut sim);
        sim.rotate("timestamp");
        assert_eq!(device.refused(&sim), code(Stage::TrustRoot, "revoked-key"));
        device.pin.terms.confirmed_root = Some(digest(&sim));
        device.permitted(&sim);
    }
}
