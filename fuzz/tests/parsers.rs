//! Every target gets its fixed number of runs, the same ones each time.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::tests_outside_test_module
)]

use std::collections::BTreeSet;
use std::path::Path;

use assay_fuzz::{Plan, drive, inventory, targets};

fn withstand(area: &str) {
    let targets = targets::of(area);
    assert!(!targets.is_empty(), "no target in {area}");
    for target in targets {
        let plan = Plan::tests(&target, &Path::new(env!("CARGO_TARGET_TMPDIR")).join("fuzz"));
        let tally = match drive(&target, &plan).unwrap() {
            Ok(tally) => tally,
            Err(finding) => panic!("{finding}"),
        };
        println!("{:<24} {tally}", target.name);
        // Otherwise the first comparison would be all that was tried.
        assert!(
            tally.accepted_seeds > 0,
            "{}: no seed is accepted: {tally:?}",
            target.name
        );
        assert!(tally.classes >= 2, "{}: {tally:?}", target.name);
        assert!(
            tally.accepted > tally.accepted_seeds as u64,
            "{}: no mutated input is accepted: {tally:?}",
            target.name
        );
        assert!(tally.accepted < tally.runs, "{}: {tally:?}", target.name);
    }
}

#[test]
fn schema() {
    withstand("schema");
}

#[test]
fn log() {
    withstand("log");
}

#[test]
fn delta() {
    withstand("delta");
}

#[test]
fn provenance() {
    withstand("provenance");
}

#[test]
fn trust() {
    withstand("trust");
}

#[test]
fn authority() {
    withstand("authority");
}

#[test]
fn server() {
    withstand("server");
}

#[test]
fn every_area_is_driven() {
    let driven = BTreeSet::from([
        "schema",
        "log",
        "delta",
        "provenance",
        "trust",
        "authority",
        "server",
    ]);
    let all = targets::all();
    let areas: BTreeSet<&str> = all
        .iter()
        .filter_map(|target| target.name.split('/').next())
        .collect();
    assert_eq!(areas, driven);
    let names: BTreeSet<&str> = all.iter().map(|target| target.name).collect();
    assert_eq!(names.len(), all.len(), "a name is there twice");
}

#[test]
fn every_parser_of_the_sources_has_a_target_or_a_reason() {
    let declared = inventory::declared().unwrap();
    let covered: BTreeSet<&str> = targets::all()
        .iter()
        .flat_map(|target| target.covers)
        .copied()
        .collect();
    let exempt = |parser: &str| inventory::EXEMPT.iter().any(|(key, _)| parser.starts_with(key));
    let forgotten: Vec<_> = declared
        .iter()
        .filter(|parser| !covered.contains(parser.as_str()) && !exempt(parser))
        .collect();
    assert!(
        forgotten.is_empty(),
        "expected a target that covers each, or a reason in `inventory::EXEMPT`, found neither for {forgotten:#?}"
    );
    let gone: Vec<_> = covered
        .iter()
        .filter(|parser| !declared.contains(**parser))
        .collect();
    assert!(gone.is_empty(), "covered, but in no source: {gone:#?}");
    for (key, reason) in inventory::EXEMPT {
        assert!(
            !reason.is_empty() && declared.iter().any(|parser| parser.starts_with(key)),
            "{key}: {reason}"
        );
        assert!(
            !covered.iter().any(|parser| parser.starts_with(key)),
            "{key} has a target"
        );
    }
}
