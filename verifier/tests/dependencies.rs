//! What must not stand in the verifier: a runtime, a network stack, a clock, files.
#![allow(clippy::unwrap_used, clippy::panic, clippy::disallowed_methods)]

use std::path::{Path, PathBuf};
use std::process::Command;

const BANNED_CRATES: [&str; 5] = ["tokio", "reqwest", "hyper", "ring", "aws-lc"];
const BANNED_NAMES: [&str; 6] = [
    "std::fs",
    "std::net",
    "SystemTime",
    "Instant::now",
    "Timestamp::now",
    "Zoned::now",
];
/// Folders below `verifier/` that hold a crate's sources.
const SOURCES: [&str; 4] = ["src", "trust/src", "provenance/src", "log/src"];

#[test]
fn no_runtime_network_or_foreign_cryptography_in_the_tree() {
    let tree = Command::new(env!("CARGO"))
        .args([
            "tree",
            "--package",
            "assay-verifier",
            "--no-default-features",
            "--edges",
            "normal",
            "--prefix",
            "none",
            "--format",
            "{p}",
            "--locked",
            "--offline",
        ])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(tree.status.success(), "{}", String::from_utf8_lossy(&tree.stderr));
    let tree = String::from_utf8(tree.stdout).unwrap();
    let names: Vec<&str> = tree.lines().filter_map(|line| line.split(' ').next()).collect();
    assert!(names.contains(&"sigstore-tuf"), "the tree was read: {tree}");
    for name in names {
        let banned = BANNED_CRATES
            .iter()
            .find(|b| name == **b || name.strip_prefix(**b).is_some_and(|rest| rest.starts_with('-')));
        assert_eq!(banned, None, "{name} is in the verifier's tree");
    }
}

#[test]
fn no_clock_file_or_socket_in_the_sources() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut read = 0;
    for folder in SOURCES {
        for file in rust_files(&root.join(folder)) {
            let text = std::fs::read_to_string(&file).unwrap();
            // Unit tests stand at the end of a file and may do what they like.
            let (code, _) = text.split_once("#[cfg(test)]").unwrap_or((&text, ""));
            for (number, line) in code.lines().enumerate() {
                let statement = line.split("//").next().unwrap_or_default();
                if let Some(banned) = BANNED_NAMES.iter().find(|b| statement.contains(**b)) {
                    panic!("{}:{}: {banned}", file.display(), number + 1);
                }
            }
            read += 1;
        }
    }
    assert!(read > 20, "only {read} files were found");
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(rust_files(&path));
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
    found
}
