//! Freeze: replay past expiry, and clocks that are wrong.

use assay_schema::{Outcome, Stage, limits};
use assay_verifier::{Answer, Checked, Resource};
use jiff::Timestamp;
use serde_json::json;

use crate::support::*;

#[test]
fn replayed_timestamp_does_not_freeze_past_expiry() {
    for by in ROUTES {
        let mut sim = Simulator::new();
        let mut device = Device::new(&sim, by);
        device.permitted(&sim);
        sim.now = after_days(sim.now, 2);
        // The same version as the trusted one, and by 304.
        assert_eq!(device.refused(&sim), code(Stage::Freshness, "expired"));
        let always_unchanged = device.check_with(sim.now, |fetch| match (&fetch.resource, &fetch.etag) {
            (Resource::Bundle { .. }, Some(_)) => Answer::NotModified,
            _ => sim.serve(fetch),
        });
        assert_eq!(refuse(always_unchanged), code(Stage::Freshness, "expired"));
        assert_eq!(
            Device::new(&sim, by).refused(&sim),
            code(Stage::Freshness, "expired")
        );
        sim.next_timestamp();
        device.permitted(&sim);
    }
}

#[test]
fn metadata_ends_at_the_instant_of_its_expiry() {
    // TUF 5.4.4: the expiry must be higher than the time of the update.
    for by in ROUTES {
        let mut sim = Simulator::new();
        let mut device = Device::new(&sim, by);
        let expiry = after_days(sim.now, 1);
        sim.now = expiry.checked_sub(jiff::SignedDuration::from_nanos(1)).unwrap();
        device.permitted(&sim);
        sim.now = expiry;
        assert_eq!(device.refused(&sim), code(Stage::Freshness, "expired"));
        assert_eq!(
            Device::new(&sim, by).refused(&sim),
            code(Stage::Freshness, "expired")
        );
    }
}

#[test]
fn an_intermediary_that_always_says_unchanged_is_not_believed_over_an_expiry() {
    let mut sim = Simulator::new();
    let mut device = Device::new(&sim, By::Bundle);
    device.permitted(&sim);
    sim.now = after_days(sim.now, 2);
    sim.next_timestamp();
    let checked = device.check_with(sim.now, |fetch| match fetch.etag {
        Some(_) => Answer::NotModified,
        None => sim.serve(fetch),
    });
    permit(checked);
    assert_eq!(device.requests.len(), 2);
}

#[test]
fn an_expired_root_in_the_middle_of_the_chain_is_no_obstacle() {
    for by in ROUTES {
        let mut sim = Simulator::new();
        let mut device = Device::new(&sim, by);
        sim.rotate("timestamp");
        sim.now = after_days(sim.now, 400);
        sim.rotate("timestamp");
        for role in ["targets", "model.minilm.0"] {
            sim.bump(role);
        }
        sim.publish();
        device.permitted(&sim);
    }
}

#[test]
fn expired_metadata_still_is_a_floor() {
    for by in ROUTES {
        let old = Simulator::new();
        let mut sim = old.clone();
        sim.publish();
        let mut device = Device::new(&sim, by);
        device.permitted(&sim);
        let mut later = old;
        later.now = after_days(later.now, 30);
        later.signed.get_mut("timestamp").unwrap()["version"] = json!(0);
        later.publish();
        assert_eq!(device.refused(&later), code(Stage::Freshness, "rollback"));
    }
}

#[test]
fn a_clock_before_this_software_was_made_is_refused() {
    let sim = Simulator::new();
    for by in ROUTES {
        let mut device = Device::new(&sim, by);
        let earliest = Timestamp::from_second(limits::EARLIEST_CREDIBLE_TIME).unwrap();
        for now in [Timestamp::UNIX_EPOCH, Timestamp::MIN, after_days(earliest, -1)] {
            let checked = device.check_with(now, |fetch| sim.serve(fetch));
            assert_eq!(refuse(checked), code(Stage::Freshness, "wrong-clock"));
            assert!(device.requests.is_empty());
        }
        permit(device.check_with(earliest, |fetch| sim.serve(fetch)));
    }
}

#[test]
fn a_clock_far_ahead_refuses_and_heals() {
    let sim = Simulator::new();
    for by in ROUTES {
        let mut device = Device::new(&sim, by);
        for now in [after_days(start(), 40_000), Timestamp::MAX] {
            let checked = device.check_with(now, |fetch| sim.serve(fetch));
            assert_eq!(refuse(checked), code(Stage::TrustRoot, "expired"));
        }
        // Nothing was persisted that the right clock would not get past.
        device.permitted(&sim);
    }
}

#[test]
fn a_release_before_its_time_defers() {
    for by in ROUTES {
        let mut sim = Simulator::new();
        let mut later = draft("2.0.0", 2);
        later.not_before = Some(after_days(sim.now, 3));
        sim.release(later);
        let mut device = Device::new(&sim, by);
        let Checked::Deferred(verdict) = device.check(&sim) else {
            panic!("expected a deferral");
        };
        assert_eq!(verdict.outcome, Outcome::Defer);
        assert!(matches!(
            outcome(&verdict, Stage::Release),
            assay_schema::verdict::StageOutcome::Deferred { until, .. } if *until == after_days(sim.now, 3)
        ));
        sim.now = after_days(sim.now, 3);
        sim.next_timestamp();
        assert_eq!(device.permitted(&sim).manifest().version, version("2.0.0"));
    }
}
