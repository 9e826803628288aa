//! Differences between texts: what they cost, and what is refused.

use assay_schema::difference::{BadEdits, Edit, Part};
use assay_schema::limits::MAX_EDITS;

const LONG: u64 = 1 << 20;

/// Something like a snapshot of many roles.
fn listing(roles: usize, changed: &[usize]) -> String {
    let entry = |n: usize| {
        let version = if changed.contains(&n) { 10 } else { 9 };
        // As unlike each other as digests are.
        let digest = (n as u64 + 1 + version * 7919).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        format!(
            "\"model.m{n}.0.json\":{{\"hashes\":{{\"sha256\":\"{digest:064x}\"}},\"length\":{},\"version\":{version}}}",
            1000 + n
        )
    };
    let entries: Vec<String> = (0..roles).map(entry).collect();
    format!("{{\"meta\":{{{}}}}}", entries.join(","))
}

fn json(part: &Part) -> String {
    serde_json::to_string(part).unwrap()
}

fn round_trip(base: &str, new: &str) -> Part {
    let part = Part::between(base, new);
    let read: Part = serde_json::from_str(&json(&part)).unwrap();
    assert_eq!(read, part);
    assert_eq!(read.rebuild(Some(base), LONG).unwrap(), new);
    part
}

#[test]
fn a_change_costs_what_changed() {
    let base = listing(1000, &[]);
    let part = round_trip(&base, &listing(1000, &[7, 500]));
    assert!(json(&part).len() < 500, "{part:?}");
    let part = round_trip(&base, &listing(1001, &[1000]));
    assert!(json(&part).len() < 300, "{part:?}");
    let part = round_trip(&listing(1001, &[]), &base);
    assert!(json(&part).len() < 300, "{part:?}");
    assert_eq!(
        round_trip(&base, &base),
        Part::Edits(vec![Edit::Copy([0, base.len() as u64])])
    );
}

#[test]
fn texts_that_have_nothing_in_common_are_sent_whole() {
    for (base, new) in [("", "new"), ("old", "new"), ("old", "")] {
        assert_eq!(round_trip(base, new), Part::Whole(new.to_owned()));
    }
}

#[test]
fn characters_stay_whole() {
    let base = "\u{e4}\u{1f980}\u{20ac}".repeat(40);
    for cut in [0, 1, 2, 41, 97] {
        let mut chars: Vec<char> = base.chars().collect();
        chars.insert(cut, '\u{e5}');
        round_trip(&base, &chars.into_iter().collect::<String>());
    }
}

#[test]
fn refuses_copies_outside_the_base_and_missing_bases() {
    let copy = |offset, length| Part::Edits(vec![Edit::Copy([offset, length])]);
    for (offset, length) in [(0, 5), (4, 1), (5, 0), (u64::MAX, 1), (1, u64::MAX)] {
        let found = copy(offset, length).rebuild(Some("base"), LONG);
        assert!(
            matches!(found, Err(BadEdits::Outside { .. })),
            "{offset} {length}"
        );
    }
    assert_eq!(copy(0, 1).rebuild(None, LONG), Err(BadEdits::NoBase));
    assert_eq!(copy(0, 1).rebuild(Some("\u{e4}"), LONG), Err(BadEdits::NotText));
}

#[test]
fn refuses_a_difference_that_blows_up() {
    let base = "x".repeat(1000);
    let bomb = Part::Edits(vec![Edit::Copy([0, 1000]); MAX_EDITS]);
    assert_eq!(
        bomb.rebuild(Some(&base), 5000),
        Err(BadEdits::TooLong { max: 5000 })
    );
    assert_eq!(
        Part::Whole(base).rebuild(None, 999),
        Err(BadEdits::TooLong { max: 999 })
    );
}

#[test]
fn refuses_other_json() {
    let endless = format!("[{}\"\"]", "\"\",".repeat(MAX_EDITS));
    for bad in [
        "1",
        "null",
        "{}",
        "[1]",
        "[[1]]",
        "[[1,2,3]]",
        "[[-1,2]]",
        "[[1.5,2]]",
        "[{}]",
        &endless,
    ] {
        assert!(serde_json::from_str::<Part>(bad).is_err(), "{}", bad.len());
    }
}
