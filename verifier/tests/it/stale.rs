//! Freeze within the expiry: the device's owner says how old a state may be.

use assay_schema::Stage;
use assay_schema::tuf::FIELD;
use assay_verifier::{Answer, Resource, check_age};
use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use crate::support::*;

fn hours(time: Timestamp, hours: i64) -> Timestamp {
    time.checked_add(SignedDuration::from_hours(hours)).unwrap()
}

/// A device whose owner allows six hours.
fn impatient(sim: &Simulator, by: By) -> Device {
    let mut device = Device::new(sim, by);
    device.pin.terms.max_stale = Some(SignedDuration::from_hours(6));
    device
}

#[test]
fn a_frozen_timestamp_that_has_not_expired_is_refused_once_it_is_too_old_for_the_owner() {
    for by in ROUTES {
        let mut sim = Simulator::new();
        let mut device = impatient(&sim, by);
        sim.now = hours(start(), 6);
        device.permitted(&sim);
        sim.now = hours(start(), 7);
        assert_eq!(device.refused(&sim), code(Stage::Freshness, "stale"));
        assert_eq!(impatient(&sim, by).refused(&sim), code(Stage::Freshness, "stale"));
        let unchanged = device.check_with(sim.now, |fetch| match (&fetch.resource, &fetch.etag) {
            (Resource::Bundle { .. }, Some(_)) => Answer::NotModified,
            _ => sim.serve(fetch),
        });
        assert_eq!(refuse(unchanged), code(Stage::Freshness, "stale"));
        // Other owners are patient, until it expires.
        Device::new(&sim, by).permitted(&sim);
        sim.next_timestamp();
        device.permitted(&sim);
    }
}

#[test]
fn a_timestamp_that_hides_when_it_was_signed_ages_from_when_it_was_first_seen() {
    for by in ROUTES {
        let mut sim = Simulator::new();
        let timestamp = sim.signed.get_mut("timestamp").unwrap();
        timestamp[FIELD].as_object_mut().unwrap().remove("issued");
        sim.bump("timestamp");
        let mut device = impatient(&sim, by);
        sim.now = hours(start(), 5);
        device.permitted(&sim);
        // Checked again and again, it does not become younger.
        for later in [8, 11] {
            sim.now = hours(start(), later);
            device.permitted(&sim);
        }
        sim.now = hours(start(), 12);
        assert_eq!(device.refused(&sim), code(Stage::Freshness, "stale"));
    }
}

#[test]
fn a_timestamp_of_the_future_is_no_younger_than_now() {
    let mut sim = Simulator::new();
    sim.signed.get_mut("timestamp").unwrap()[FIELD]["issued"] = json!(after_days(start(), 9));
    sim.bump("timestamp");
    let mut device = impatient(&sim, By::Bundle);
    device.permitted(&sim);
    assert_eq!(device.state().fresh[&model()], start());
}

#[test]
fn what_is_on_the_device_ages_with_the_last_check_that_let_it_pass() {
    let mut sim = Simulator::new();
    let mut device = impatient(&sim, By::Bundle);
    let age = |device: &Device, clock| check_age(&device.pin, &device.state(), &model(), clock);
    assert_eq!(age(&device, start()).unwrap_err().code, "stale");
    device.permitted(&sim);
    age(&device, hours(start(), 6)).unwrap();
    let refusal = age(&device, hours(start(), 7)).unwrap_err();
    assert!(refusal.found.contains("7 h"), "{refusal:?}");
    // The registry is asked, refuses the model, and nothing is fresher for that.
    sim.now = hours(start(), 7);
    sim.status(&json!({"v": 1, "issued": "2026-12-01T00:00:00Z", "revoked_releases": [{"model": "minilm", "version": "1.0.0"}]}));
    assert_eq!(device.refused(&sim), code(Stage::Release, "revoked"));
    age(&device, hours(start(), 7)).unwrap_err();
    let mut patient = device.clone();
    patient.pin.terms.max_stale = None;
    age(&patient, after_days(start(), 900)).unwrap();
}

#[test]
fn a_clock_set_back_makes_nothing_younger() {
    let sim = Simulator::new();
    let mut device = impatient(&sim, By::Bundle);
    device.permitted(&sim);
    let mut state = device.state();
    state.raise_time(hours(start(), 20));
    let refusal = check_age(&device.pin, &state, &model(), start()).unwrap_err();
    assert_eq!(refusal.code, "stale");
    assert!(refusal.advice.contains("set the clock"), "{refusal:?}");
}

#[test]
fn a_release_that_waits_does_not_make_the_active_one_stale() {
    let mut sim = Simulator::new();
    let mut device = impatient(&sim, By::Bundle);
    device.permitted(&sim);
    let mut later = draft("2.0.0", 2);
    later.not_before = Some(after_days(start(), 30));
    sim.now = hours(start(), 7);
    sim.release(later);
    assert!(matches!(device.check(&sim), assay_verifier::Checked::Deferred(_)));
    check_age(&device.pin, &device.state(), &model(), hours(start(), 8)).unwrap();
}
