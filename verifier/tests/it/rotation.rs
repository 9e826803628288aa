//! Runs that end between two roots, and what rotation of the online keys forgives.

use assay_schema::{Stage, limits};
use assay_verifier::{CheckStep, Resource, check};
use serde_json::json;

use crate::support::testlog::{self, TestLog};
use crate::support::*;

/// Checks until so many states are persisted, and is killed then. Whether it was.
fn killed_after(device: &mut Device, sim: &Simulator, persisted: usize) -> bool {
    let mut left = persisted;
    let mut step = check(&device.pin.clone(), device.state(), device.request(), sim.now);
    loop {
        step = match step {
            CheckStep::Fetch(waiting) => {
                let answer = sim.serve(waiting.wanted());
                waiting.answer(answer)
            }
            CheckStep::Persist(waiting) => {
                device.persist(&waiting.state().clone());
                left -= 1;
                if left == 0 {
                    return true;
                }
                waiting.persisted()
            }
            CheckStep::Done(_) => return false,
        };
    }
}

#[test]
fn a_device_killed_between_any_two_roots_goes_on_from_the_last_that_it_persisted() {
    let mut sim = Simulator::new();
    for role in ["root", "timestamp", "targets", "root", "snapshot"] {
        sim.rotate(role);
    }
    let mut seen = std::collections::BTreeSet::new();
    for kill in 1.. {
        let mut device = Device::new(&sim, By::Static);
        if !killed_after(&mut device, &sim, kill) {
            break;
        }
        let at = sim
            .roots
            .iter()
            .position(|root| text(root) == device.state().root)
            .unwrap();
        seen.insert(at + 1);
        device.permitted(&sim);
        let asked = &device.requests[0].resource;
        let next = format!("{}.root.json", at + 2);
        assert!(
            matches!(asked, Resource::Metadata { file } if *file == next),
            "{asked:?}"
        );
        assert_eq!(device.state().root, text(sim.roots.last().unwrap()));
    }
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), [2, 3, 4, 5, 6]);
}

#[test]
fn more_roots_than_one_run_follows_go_on_also_where_a_log_must_show_the_last() {
    for by in ROUTES {
        let mut sim = Simulator::new();
        let mut log = TestLog::new();
        log.named_by(&mut sim, &[], 0);
        log.logged(&sim);
        let mut device = Device::new(&sim, by);
        permit(testlog::check(&mut device, &sim, &log));
        for _ in 0..limits::MAX_ROOT_ROTATIONS + 3 {
            sim.rotate("timestamp");
        }
        log.root_logged(&sim);
        log.logged(&sim);
        assert_eq!(
            refuse(testlog::check(&mut device, &sim, &log)),
            code(Stage::Freshness, "signature-threshold")
        );
        permit(testlog::check(&mut device, &sim, &log));
        assert_eq!(device.state().settled, None);
    }
}

#[test]
fn fast_forward_recovers_also_where_a_log_must_show_the_root() {
    for role in ["timestamp", "snapshot"] {
        for by in ROUTES {
            let mut honest = Simulator::new();
            let mut log = TestLog::new();
            log.named_by(&mut honest, &[], 0);
            let mut thief = honest.clone();
            thief.signed.get_mut(role).unwrap()["version"] = json!(9_000_000_000_000_000_u64);
            thief.publish();
            log.logged(&thief);
            let mut device = Device::new(&honest, by);
            permit(testlog::check(&mut device, &thief, &log));
            let mut recovered = honest.clone();
            recovered.rotate(role);
            log.logged(&recovered);
            // Until the log shows the new root, the old floors stay (TUF 5.3.11 is about roots that are trusted).
            assert_eq!(
                refuse(testlog::check(&mut device, &recovered, &log)),
                code(Stage::Log, "root-not-in-log")
            );
            assert_eq!(device.refused(&honest), code(Stage::Freshness, "rollback"));
            log.root_logged(&recovered);
            permit(testlog::check(&mut device, &recovered, &log));
            permit(testlog::check(&mut device, &recovered, &log));
        }
    }
}
