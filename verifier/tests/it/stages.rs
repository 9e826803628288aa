//! A stage that is required and skipped is a refusal.

use assay_schema::{Outcome, Stage};
use assay_verifier::Content;

use crate::support::driver::Driver;
use crate::support::*;

#[test]
fn each_stage_that_is_not_built_refuses_where_it_is_required() {
    for stage in [Stage::Log, Stage::Permission, Stage::Screening] {
        for by in ROUTES {
            let sim = Simulator::new();
            let mut device = Device::new(&sim, by);
            device.require.insert(stage);
            assert_eq!(device.refused(&sim), code(stage, "required-stage-skipped"));
        }
    }
}

#[test]
fn stages_that_pass_may_be_required() {
    for by in ROUTES {
        let sim = Simulator::new();
        let mut device = Device::new(&sim, by);
        device.require = [
            Stage::TrustRoot,
            Stage::Freshness,
            Stage::Release,
            Stage::Provenance,
            Stage::Verdict,
        ]
        .into();
        assert_eq!(device.permitted(&sim).verdict().outcome, Outcome::Permit);
    }
}

#[test]
fn required_content_is_permitted_only_by_a_pull() {
    let sim = Simulator::new();
    let mut device = Device::new(&sim, By::Bundle);
    device.require.insert(Stage::Content);
    let approved = device.permitted(&sim);
    assert_eq!(
        decided(&approved.verdict()),
        code(Stage::Content, "required-stage-skipped")
    );
    let mut driver = Driver {
        blobs: sim.blobs.clone(),
        ..Driver::default()
    };
    let verdict = driver.run(&mut Content::pull(*approved, &[]), |_| 0);
    assert_eq!(verdict.outcome, Outcome::Permit);
}

#[test]
fn a_required_plan_is_permitted_only_by_a_pull_that_has_one() {
    let sim = Simulator::new();
    let mut device = Device::new(&sim, By::Bundle);
    device.require.insert(Stage::Plan);
    let approved = device.permitted(&sim);
    let mut driver = Driver {
        blobs: sim.blobs.clone(),
        ..Driver::default()
    };
    let unplanned = driver.run(&mut Content::pull((*approved).clone(), &[]), |_| 0);
    assert_eq!(decided(&unplanned), code(Stage::Plan, "required-stage-skipped"));
    let path = ("path".to_owned(), "every chunk as it is".to_owned());
    let mut planned = Content::pull(*approved, &[]).planned([path]);
    let verdict = driver.run(&mut planned, |_| 0);
    assert_eq!(verdict.outcome, Outcome::Permit);
    let evidence = &verdict.stage(Stage::Plan).unwrap().evidence;
    assert_eq!(evidence["path"], "every chunk as it is");
}
