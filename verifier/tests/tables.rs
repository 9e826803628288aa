//! The tables of attacks (`SECURITY.md`) and of thieves (`ARCHITECTURE.md`) say what was tried: each row names its tests, each test its row.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test that reads the repository"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Where tests stand, and what ends a test file's name.
const TESTS: [(&str, &str); 7] = [
    ("verifier", "rs"),
    ("authority", "rs"),
    ("client", "rs"),
    ("cli", "rs"),
    ("server", "rs"),
    ("schema", "rs"),
    ("tests", "py"),
];

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn below(folder: &Path, ending: &str, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && path.file_name().is_some_and(|name| name != "target") {
            below(&path, ending, found);
        } else if path.extension().is_some_and(|e| e == ending) {
            found.push(path);
        }
    }
}

/// The name of the function that this line begins.
fn function(line: &str) -> Option<&str> {
    let line = line.trim_start();
    let line = line
        .strip_prefix("pub(super) ")
        .or(line.strip_prefix("pub(crate) "))
        .unwrap_or(line);
    let line = line.strip_prefix("async ").unwrap_or(line);
    let name = line.strip_prefix("fn ").or(line.strip_prefix("def "))?;
    name.split(['(', '<']).next()
}

/// Every test that is run, with the file that it stands in.
fn tests() -> BTreeMap<String, PathBuf> {
    let mut all = BTreeMap::new();
    for (folder, ending) in TESTS {
        let mut files = Vec::new();
        below(&repository().join(folder), ending, &mut files);
        for file in files {
            let text = std::fs::read_to_string(&file).unwrap();
            let mut attributes: Vec<&str> = Vec::new();
            for line in text.lines() {
                let trimmed = line.trim();
                if trimmed.starts_with("#[") {
                    attributes.push(trimmed);
                    continue;
                }
                if let Some(name) = function(line) {
                    let run = match ending {
                        "py" => name.starts_with("test_"),
                        _ => {
                            attributes.iter().any(|a| a.ends_with("test]"))
                                && !attributes.iter().any(|a| a.contains("ignore"))
                        }
                    };
                    if run {
                        all.insert(name.to_owned(), file.clone());
                    }
                }
                if !trimmed.is_empty() && !trimmed.starts_with("//") {
                    attributes.clear();
                }
            }
        }
    }
    assert!(all.len() > 500, "only {} tests were found", all.len());
    all
}

/// The rows of the table under a heading: the first cell, and the names in the last one.
fn rows(document: &str, heading: &str) -> Vec<(String, Vec<String>)> {
    let text = std::fs::read_to_string(repository().join(document)).unwrap();
    let (_, section) = text
        .split_once(&format!("\n## {heading}\n"))
        .unwrap_or_else(|| panic!("{document}: no section {heading:?}"));
    let section = section.split("\n## ").next().unwrap();
    let lines = section.lines().filter(|line| line.starts_with('|')).skip(2);
    let rows: Vec<_> = lines
        .map(|line| {
            let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
            let names = cells
                .last()
                .unwrap()
                .split('`')
                .skip(1)
                .step_by(2)
                .map(str::to_owned)
                .collect();
            (cells[0].to_owned(), names)
        })
        .collect();
    assert!(
        rows.len() > 10,
        "{document}: only {} rows under {heading:?}",
        rows.len()
    );
    rows
}

/// Every row names tests that are run, and every test of the files whose paths end so is named by a row.
fn correspond(rows: &[(String, Vec<String>)], files: &[&str]) {
    let tests = tests();
    let mut named = BTreeSet::new();
    for (row, names) in rows {
        assert!(!names.is_empty(), "the row {row:?} names no test");
        for name in names {
            assert!(
                tests.contains_key(name),
                "the row {row:?} names the test {name}, which is not there or not run"
            );
            named.insert(name.as_str());
        }
    }
    let ours = tests
        .iter()
        .filter(|(_, file)| files.iter().any(|end| file.ends_with(end)));
    let mut count = 0;
    for (name, _) in ours {
        assert!(named.contains(name.as_str()), "no row names the test {name}");
        count += 1;
    }
    assert!(count > 10, "only {count} tests in {files:?}");
}

#[test]
fn every_attack_has_its_test_and_every_test_its_attack() {
    let rows = rows("SECURITY.md", "What a hostile registry tries");
    for (attack, names) in &rows {
        // Named after the attack.
        let first = attack.split(',').next().unwrap().replace([' ', '-'], "_");
        assert_eq!(names.first(), Some(&first), "the row {attack:?}");
    }
    let files =
        ["keys.rs", "time.rs", "delivery.rs", "names.rs", "log.rs"].map(|file| format!("it/attacks/{file}"));
    correspond(&rows, &files.each_ref().map(String::as_str));
}

#[test]
fn every_thief_has_its_test_and_every_test_its_thief() {
    let rows = rows("ARCHITECTURE.md", "Stores, and what their thief gains");
    correspond(&rows, &["it/thieves.rs"]);
}
