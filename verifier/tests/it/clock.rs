//! The time floor: what pinned witnesses confirmed of the time, against clocks that were set back and witnesses that lie.

use assay_schema::verdict::Verdict;
use assay_schema::{Outcome, Stage};
use assay_verifier::Checked;
use jiff::{SignedDuration, Timestamp};

use crate::support::testlog::{TestLog, Witness};
use crate::support::*;

fn hours(time: Timestamp, hours: i64) -> Timestamp {
    time.checked_add(SignedDuration::from_hours(hours)).unwrap()
}

/// A namespace whose log has witnesses that cosign at these times, so many of whom are demanded.
fn witnessed(times: &[Timestamp], threshold: u32) -> (Simulator, TestLog) {
    let mut sim = Simulator::new();
    let mut log = TestLog::new();
    for (i, time) in times.iter().enumerate() {
        log.witnesses.push(Witness::new(&format!("w{i}.example"), *time));
    }
    log.witnessed_by(&mut sim, threshold);
    log.logged(&sim);
    (sim, log)
}

fn at(device: &mut Device, clock: Timestamp, sim: &Simulator, log: &TestLog) -> Checked {
    device.check_with(clock, |fetch| log.serve(sim, fetch))
}

fn cosigned_at(log: &mut TestLog, time: Timestamp) {
    log.witnesses.iter_mut().for_each(|w| w.time = time);
}

fn refusal(checked: Checked) -> (Stage, assay_schema::verdict::Refusal) {
    let Checked::Refused(verdict) = checked else {
        panic!("expected a refusal");
    };
    let (stage, refusal) = verdict.refusal().unwrap();
    (stage, refusal.clone())
}

fn evidence<'v>(verdict: &'v Verdict, key: &str) -> Option<&'v String> {
    verdict.stage(Stage::Freshness).unwrap().evidence.get(key)
}

#[test]
fn the_floor_rises_by_the_kth_largest_cosignature_time_so_that_one_liar_moves_nothing() {
    let far = after_days(start(), 36_500);
    for by in ROUTES {
        let (sim, log) = witnessed(&[hours(start(), 1), hours(start(), 2), far], 2);
        let mut device = Device::new(&sim, by);
        permit(at(&mut device, sim.now, &sim, &log));
        assert_eq!(device.state().time_floor, Some(hours(start(), 2)));
        permit(at(&mut device, sim.now, &sim, &log));
        assert_eq!(device.state().time_floor, Some(hours(start(), 2)));
    }
}

#[test]
fn neither_the_devices_clock_nor_a_log_without_witnesses_moves_the_floor() {
    let (sim, log) = crate::support::testlog::logged();
    let mut device = Device::new(&sim, By::Bundle);
    permit(at(&mut device, hours(sim.now, 20), &sim, &log));
    assert_eq!(device.state().time_floor, None);
}

#[test]
fn a_checkpoint_that_was_refused_does_not_move_the_floor() {
    let (sim, mut log) = witnessed(&[hours(start(), 1), hours(start(), 1)], 2);
    log.witnesses.pop();
    let mut device = Device::new(&sim, By::Bundle);
    assert_eq!(
        refuse(at(&mut device, sim.now, &sim, &log)),
        code(Stage::Log, "too-few-witnesses")
    );
    assert_eq!(device.state().time_floor, None);
}

#[test]
fn expired_metadata_is_refused_although_the_clock_was_set_back() {
    for by in ROUTES {
        let (mut sim, mut log) = witnessed(&[start(), start()], 2);
        let early = sim.clone();
        let mut device = Device::new(&sim, by);
        sim.now = after_days(start(), 3);
        sim.publish();
        log.logged(&sim);
        cosigned_at(&mut log, sim.now);
        permit(at(&mut device, sim.now, &sim, &log));
        // The thief of the online keys signs what expires in a day of then, and the clock says then.
        let mut thief = sim.clone();
        thief.now = early.now;
        thief.publish();
        log.logged(&thief);
        let (stage, refusal) = refusal(at(&mut device, early.now, &thief, &log));
        assert_eq!((stage, refusal.code.as_str()), (Stage::Freshness, "expired"));
        assert!(
            refusal.advice.contains("This device's clock is wrong"),
            "{refusal:?}"
        );
        assert!(refusal.advice.contains(&early.now.to_string()), "{refusal:?}");
        assert!(refusal.expected.contains(&sim.now.to_string()), "{refusal:?}");
    }
}

#[test]
fn a_clock_that_was_set_back_is_told_and_the_floor_counts_instead() {
    for by in ROUTES {
        let (sim, log) = witnessed(&[hours(start(), 6)], 1);
        let mut device = Device::new(&sim, by);
        permit(at(&mut device, hours(start(), 6), &sim, &log));
        let verdict = permit(at(&mut device, start(), &sim, &log)).verdict();
        assert_eq!(verdict.outcome, Outcome::Permit);
        let told = evidence(&verdict, "clock").unwrap();
        assert!(
            told.contains("6 h 0 min before") && told.contains("set the clock"),
            "{told}"
        );
        assert_eq!(
            evidence(&verdict, "time_floor"),
            Some(&hours(start(), 6).to_string())
        );
        let right = permit(at(&mut device, hours(start(), 7), &sim, &log)).verdict();
        assert_eq!(evidence(&right, "clock"), None);
        assert_eq!(
            device.state().time_floor,
            Some(hours(start(), 6)),
            "it never falls"
        );
    }
}

#[test]
fn a_device_that_lost_its_time_goes_on_by_the_floor() {
    let (sim, log) = witnessed(&[start()], 1);
    let mut device = Device::new(&sim, By::Bundle);
    assert_eq!(
        refuse(at(&mut device, Timestamp::UNIX_EPOCH, &sim, &log)),
        code(Stage::Freshness, "wrong-clock")
    );
    permit(at(&mut device, sim.now, &sim, &log));
    permit(at(&mut device, Timestamp::UNIX_EPOCH, &sim, &log));
}

#[test]
fn a_release_does_not_begin_earlier_because_the_clock_was_set_back() {
    let (mut sim, mut log) = witnessed(&[hours(start(), 12)], 1);
    let mut later = draft("2.0.0", 2);
    later.not_before = Some(hours(start(), 6));
    sim.release(later);
    log.logged(&sim);
    let mut device = Device::new(&sim, By::Bundle);
    permit(at(&mut device, hours(start(), 12), &sim, &log));
    // By the clock alone it would have to wait again.
    permit(at(&mut device, start(), &sim, &log));
}

#[test]
fn witnesses_that_all_lie_stop_a_device_while_they_lie_and_no_longer() {
    for by in ROUTES {
        let far = after_days(start(), 36_500);
        let (mut sim, mut log) = witnessed(&[far], 1);
        let mut device = Device::new(&sim, by);
        let (stage, refusal) = refusal(at(&mut device, sim.now, &sim, &log));
        assert_eq!((stage, refusal.code.as_str()), (Stage::Freshness, "expired"));
        // It rose to the first expiry of what it saw, and not to the lie.
        assert_eq!(device.state().time_floor, Some(after_days(start(), 1)));
        // The very state stays refused, whatever else is said of the time.
        cosigned_at(&mut log, sim.now);
        assert_eq!(
            refuse(at(&mut device, sim.now, &sim, &log)),
            code(Stage::Freshness, "expired")
        );
        sim.now = hours(start(), 12);
        sim.publish();
        log.logged(&sim);
        permit(at(&mut device, sim.now, &sim, &log));
    }
}

#[test]
fn a_state_of_before_the_floor_is_read_and_gains_one() {
    let (sim, log) = witnessed(&[start()], 1);
    let mut device = Device::new(&sim, By::Bundle);
    let old: serde_json::Value = serde_json::from_str(&device.disk).unwrap();
    assert_eq!(
        old.as_object().unwrap().len(),
        2,
        "only the version and the root: {old}"
    );
    permit(at(&mut device, sim.now, &sim, &log));
    assert_eq!(device.state().time_floor, Some(start()));
}
