//! Attacks on one history for everybody.

use assay_log::checkpoint::{Checkpoint, Origin, SignedCheckpoint};
use assay_log::merkle::Plan;
use assay_log::witness::AddCheckpoint;
use assay_schema::Stage;
use assay_verifier::{CheckStep, check};

use super::LoggedScene;
use crate::support::testlog::{self, TestLog, Witness};
use crate::support::*;

/// A namespace in a log with so many witnesses, all of them demanded, and a device that has checked it.
fn scene(by: By, witnesses: usize) -> LoggedScene {
    let mut honest = Simulator::new();
    let mut log = TestLog::new();
    for n in 0..witnesses {
        log.witnesses
            .push(Witness::new(&format!("w{n}.example"), honest.now));
    }
    log.witnessed_by(&mut honest, witnesses as u32);
    log.strangers(5);
    log.root_logged(&honest);
    log.logged(&honest);
    let mut device = Device::new(&honest, by);
    permit(testlog::check(&mut device, &honest, &log));
    LoggedScene { honest, log, device }
}

fn signed(log: &TestLog) -> SignedCheckpoint {
    let origin = Origin::try_from(log.public.name().to_string()).unwrap();
    let checkpoint = Checkpoint::new(origin, log.head()).unwrap();
    SignedCheckpoint::sign(checkpoint, &log.public, |text| {
        <[u8; 64]>::try_from(log.key.sign(text).unwrap()).map_err(|_| "length")
    })
    .unwrap()
}

#[test]
pub(super) fn log_equivocation() {
    for by in ROUTES {
        let scene = scene(by, 0);
        // One size, two roots: another snapshot in the place of the one that this device saw, by the log's own key.
        let mut evil = scene.honest.clone();
        evil.release(draft("1.1.0", 2));
        let mut other = scene.log.clone();
        other.entries.pop();
        other.logged(&evil);
        scene.refuses(
            "another tree of the same size",
            &evil,
            &other,
            (Stage::Log, "split-view"),
        );
        // And one that grew from there.
        other.strangers(3);
        let grown = (Stage::Log, "log-inconsistent");
        scene.refuses(
            "a larger tree that does not contain the known one",
            &evil,
            &other,
            grown,
        );
        // A witness that cosigned the one cosigns neither.
        let known = scene.log.head();
        for size in [known.size as usize, other.entries.len()] {
            let mut shown = other.clone();
            shown.entries.truncate(size);
            let proof = Plan::consistency(known.size, shown.head().size)
                .unwrap()
                .prove(&shown)
                .unwrap();
            let request = AddCheckpoint::new(known.size, proof, signed(&shown)).unwrap();
            let refused = request
                .decide(std::slice::from_ref(&shown.public), Some(known))
                .unwrap_err();
            assert!([409, 422].contains(&refused.status()), "{refused:?}");
        }
    }
}

#[test]
pub(super) fn targeted_split() {
    for by in ROUTES {
        // Stolen online keys choose for one device among what the offline roles signed. They cannot log it in secret.
        let scene = scene(by, 1);
        let mut chosen = scene.honest.clone();
        chosen.publish();
        scene.refuses(
            "a state that is not in the log",
            &chosen,
            &scene.log,
            (Stage::Log, "unavailable"),
        );
        // With the log's key, too, it is in a log that the witnesses did not cosign.
        let mut secret = scene.log.clone();
        secret.witnesses.clear();
        secret.logged(&chosen);
        scene.refuses(
            "a log without its witnesses",
            &chosen,
            &secret,
            (Stage::Log, "too-few-witnesses"),
        );
        // Logged for everybody to see it is admitted: that is what the table says of online keys.
        let mut public = scene.log.clone();
        public.logged(&chosen);
        let mut device = scene.device.clone();
        permit(scene.checks("a state in the log", &mut device, &chosen, &public));
        assert_eq!(device.state().log.unwrap().head, public.head());
    }
    // Without witnesses the log's key splits, and every verdict says that this is not excluded.
    let scene = scene(By::Bundle, 0);
    let (mut one, mut other) = (scene.honest.clone(), scene.honest.clone());
    one.publish();
    other.next_snapshot();
    other.publish();
    for view in [one, other] {
        let mut branch = scene.log.clone();
        branch.logged(&view);
        let mut device = scene.device.clone();
        let verdict = permit(scene.checks("one of two branches", &mut device, &view, &branch)).verdict();
        let evidence = &verdict.stage(Stage::Log).unwrap().evidence["split_view"];
        assert!(evidence.contains("not excluded"), "{evidence}");
    }
}

#[test]
pub(super) fn retired_root_fork() {
    for by in ROUTES {
        let scene = scene(by, 1);
        // Whoever has the retired root keys signs another next root, which names keys and a log of their own.
        let mut fork = scene.honest.clone();
        fork.rotate("root");
        fork.rotate("targets");
        fork.release(draft("9.9.9", 50));
        let mut own = TestLog::named("log.example/thief", new_key());
        own.named_by(&mut fork, &[], 0);
        own.root_logged(&fork);
        own.logged(&fork);
        let unlogged = (Stage::Log, "root-not-in-log");
        scene.refuses("a forked root that names another log", &fork, &own, unlogged);
        let mut device = scene.device.clone();
        refuse(testlog::check(&mut device, &fork, &own));
        assert_eq!(device.state(), scene.device.state(), "nothing of it is kept");
        // The true next root is followed all the same.
        let (mut honest, mut log) = (scene.honest.clone(), scene.log.clone());
        honest.rotate("root");
        log.root_logged(&honest);
        log.logged(&honest);
        permit(scene.checks("the true root", &mut device, &honest, &log));
        assert_eq!(device.state().root, text(honest.roots.last().unwrap()));
    }
}

#[test]
pub(super) fn crash_between_two_roots() {
    // A device is killed behind each state that it persists; a registry that then shows a fork gets no further than before.
    for by in ROUTES {
        let scene = scene(by, 1);
        let (mut honest, mut log) = (scene.honest.clone(), scene.log.clone());
        for role in ["root", "timestamp", "targets"] {
            honest.rotate(role);
            log.root_logged(&honest);
        }
        log.logged(&honest);
        let mut fork = scene.honest.clone();
        fork.rotate("root");
        let mut deaths = 0;
        for kill in 1.. {
            let mut device = scene.device.clone();
            let mut left = kill;
            let mut step = check(&device.pin.clone(), device.state(), device.request(), honest.now);
            let killed = loop {
                step = match step {
                    CheckStep::Fetch(waiting) => {
                        let answer = log.serve(&honest, waiting.wanted());
                        waiting.answer(answer)
                    }
                    CheckStep::Persist(waiting) => {
                        device.persist(&waiting.state().clone());
                        left -= 1;
                        if left == 0 {
                            break true;
                        }
                        waiting.persisted()
                    }
                    CheckStep::Done(_) => break false,
                };
            };
            if !killed {
                break;
            }
            deaths += 1;
            let what = format!("a fork after death {kill}");
            let (stage, _) = refuse(scene.checks(&what, &mut device.clone(), &fork, &scene.log));
            assert!(
                [Stage::TrustRoot, Stage::Freshness, Stage::Log].contains(&stage),
                "{stage}"
            );
            permit(scene.checks("the true roots", &mut device, &honest, &log));
            assert_eq!(
                device.state().root,
                text(honest.roots.last().unwrap()),
                "killed behind state {kill}"
            );
            assert_eq!(device.state().settled, None);
        }
        assert!(deaths > 0, "the device persisted on its way");
    }
}
