//! The parsers that the sources declare. A test compares them with what the targets cover, so that a new one is not forgotten.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::Path;

use crate::corpus::workspace;

/// The crates whose parsers see a stranger's bytes.
const SOURCES: &[&str] = &[
    "schema/src",
    "verifier/log/src",
    "verifier/delta/src",
    "verifier/provenance/src",
    "verifier/trust/src",
    "authority/src",
    "server/src",
    "client/src",
];

/// What a function is called that makes a value of bytes or text.
const VERBS: &[&str] = &["parse", "read", "decode", "from", "load", "open", "try_from"];

/// Parsers without a target, and why. A key ends one, or begins several.
pub const EXEMPT: &[(&str, &str)] = &[
    (
        "verifier/log/src/merkle/frontier.rs Frontier::read",
        "reads hashes that `VerifiedTiles` has checked",
    ),
    (
        "verifier/log/src/merkle/prove.rs TreeHead::read",
        "reads hashes through a reader; `log/tiles` reaches it by way of `VerifiedTiles::check`",
    ),
    (
        "verifier/trust/src/workflow/roots.rs Roots::open",
        "opens a device's own state; the four `trust/` targets begin with it and give it back what they accepted",
    ),
    (
        "authority/src/release/files.rs HashedFile::from_parts",
        "digests of the publisher's own files",
    ),
    ("server/src/blobs/", "the registry's own objects, by digest"),
    ("server/src/config.rs Config::load", "the operator's own file"),
    ("server/src/persistence/", "rows of the registry's own database"),
    (
        "server/src/publish/online.rs OnlineSigner::open",
        "a key of the registry's own database",
    ),
    ("server/src/seal.rs ", "sealed by the registry itself"),
    ("client/src/delta/tree.rs ", "the user's own folder"),
    ("client/src/device/mod.rs Device::open", "the device's own store"),
    ("client/src/log/", "the auditor's own folder"),
    ("client/src/publisher/authority.rs ", "the authority's own folder"),
    (
        "client/src/publisher/import.rs Export::open",
        "a folder; each of its files is judged by digest and by `trust/` targets' parsers",
    ),
    (
        "client/src/publisher/journal.rs read_journal",
        "the authority's own journal",
    ),
    ("client/src/store/mod.rs Store::open", "the device's own store"),
    (
        "client/src/witness/folder.rs WitnessFolder::open",
        "the witness's own folder",
    ),
];

/// Every public function of the sources that is called like a parser, as `path Type::function`.
///
/// # Errors
/// A source cannot be read.
pub fn declared() -> io::Result<BTreeSet<String>> {
    let root = workspace();
    let mut declared = BTreeSet::new();
    for source in SOURCES {
        walk(&root, &root.join(source), &mut declared)?;
    }
    Ok(declared)
}

fn walk(root: &Path, folder: &Path, declared: &mut BTreeSet<String>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            walk(root, &path, declared)?;
        } else if path.extension().is_some_and(|end| end == "rs") {
            let text = fs::read_to_string(&path)?;
            let name = path.strip_prefix(root).unwrap_or(&path);
            declared.extend(
                of_file(&text)
                    .into_iter()
                    .map(|parser| format!("{} {parser}", name.display())),
            );
        }
    }
    Ok(())
}

/// The parsers of one file, `Type::function` or `function`. It relies on how rustfmt sets blocks.
fn of_file(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut block: Option<(usize, String, bool)> = None;
    for line in text.lines() {
        // Tests stand at the end of a file.
        if line == "#[cfg(test)]" {
            break;
        }
        let code = line.trim_start();
        let indent = line.len() - code.len();
        if block.as_ref().is_some_and(|(of, ..)| *of == indent) && code.starts_with('}') {
            block = None;
        }
        if code.starts_with("impl") && code.ends_with('{') {
            let (of_trait, subject) = subject(code);
            block = Some((indent, subject, of_trait));
            continue;
        }
        let of_trait = block.as_ref().is_some_and(|(.., of_trait)| *of_trait);
        let public = code.strip_prefix("pub ").or(of_trait.then_some(code));
        let Some(function) = public.and_then(|code| code.trim_start_matches("const ").strip_prefix("fn "))
        else {
            continue;
        };
        let name: String = function
            .chars()
            .take_while(|c| c.is_alphanumeric() || *c == '_')
            .collect();
        // `from` of a trait cannot fail: it converts what was checked before.
        let parses = VERBS.iter().any(|verb| {
            let rest = name.strip_prefix(verb);
            rest.is_some_and(|rest| rest.starts_with('_') || (rest.is_empty() && *verb != "from"))
        });
        if parses {
            match &block {
                Some((_, subject, _)) => found.push(format!("{subject}::{name}")),
                None => found.push(name),
            }
        }
    }
    found
}

/// Whether an `impl` is of a trait that reads, and what it is for.
fn subject(code: &str) -> (bool, String) {
    let (head, of_trait) = match code.split_once(" for ") {
        Some((head, subject)) => (subject, head.contains("FromStr") || head.contains("TryFrom")),
        None => (code.trim_start_matches("impl"), false),
    };
    // Generic parameters of the block itself stand before the type.
    let head = match head.strip_prefix('<') {
        Some(rest) => rest.split_once("> ").map_or(rest, |(_, after)| after),
        None => head,
    };
    let name = head
        .trim()
        .chars()
        .take_while(|c| c.is_alphanumeric() || matches!(c, '_' | '$'));
    (of_trait, name.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parsers_are_found_where_they_are_declared() {
        let text = "impl Note {\n    pub fn parse(bytes: &[u8]) -> X {\n    }\n    fn read(a: u8) {}\n    pub fn parser() {}\n}\n\
                    impl FromStr for Key {\n    fn from_str(text: &str) -> X {\n    }\n}\n\
                    impl<T: A> TryFrom<&T> for Held<T> {\n    fn try_from(text: &T) {}\n}\n\
                    impl<R: Rules> Roots<R> {\n    pub const fn open_plain() {}\n}\n\
                    impl From<A> for B {\n    fn from(a: A) -> B {}\n}\n\
                    pub fn read_answer(\n";
        assert_eq!(
            of_file(text),
            [
                "Note::parse",
                "Key::from_str",
                "Held::try_from",
                "Roots::open_plain",
                "read_answer"
            ]
        );
    }
}
