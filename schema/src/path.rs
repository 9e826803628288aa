//! File paths inside a release.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use unicode_normalization::UnicodeNormalization as _;

use crate::limits::{MAX_PATH, MAX_PATH_COMPONENT, MAX_PATH_DEPTH};

/// A relative path with `/` between its components that means the same file on every system that Assay runs on.
///
/// Refused: absolute paths, drive letters, `.` and `..`, empty components, backslashes, control characters and NUL, characters
/// that Windows forbids, trailing dots and spaces, Windows device names (`con`, `nul`, `com1` ...), invisible characters, and
/// over-long or over-deep paths.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
#[cfg_attr(
    feature = "json-schema",
    derive(schemars::JsonSchema),
    schemars(with = "String")
)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(value_type = String))]
pub struct FilePath(String);

/// A path that a release may not hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("file path {found:?}: {reason}")]
pub struct BadPath {
    /// The beginning of the path.
    pub found: String,
    /// What is wrong with it.
    pub reason: &'static str,
}

impl FilePath {
    /// The path as text, components separated by `/`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The components, none of them empty.
    pub fn components(&self) -> impl Iterator<Item = &str> {
        self.0.split('/')
    }

    /// What two paths share that some file system takes for one, because it ignores case or Unicode's ways to write a letter.
    pub fn folded(&self) -> String {
        fold(&self.0)
    }
}

// Upper case first: "ς" and "σ", "ſ" and "s", "ß" and "ss" are one name where names are folded fully (APFS). Decomposed on both
// sides, because folding can produce what decomposes further.
fn fold(text: &str) -> String {
    if text.is_ascii() {
        return text.to_ascii_lowercase();
    }
    let folded: String = text
        .nfd()
        .flat_map(char::to_uppercase)
        .flat_map(char::to_lowercase)
        .collect();
    folded.nfd().collect()
}

fn fault(path: &str) -> Option<&'static str> {
    if path.is_empty() {
        return Some("it is empty");
    }
    if path.len() > MAX_PATH {
        return Some("it is longer than 1024 bytes");
    }
    if path.starts_with('/') {
        return Some("it is absolute; paths are relative to the release");
    }
    if path.chars().any(char::is_control) {
        return Some("it holds a control character");
    }
    if path.contains('\\') {
        return Some("it holds a backslash; components are separated by '/'");
    }
    if path.contains(['<', '>', ':', '"', '|', '?', '*']) {
        return Some("it holds one of < > : \" | ? *, which some systems forbid or read as a drive");
    }
    if path.chars().any(invisible) {
        return Some("it holds an invisible formatting character");
    }
    if path.split('/').count() > MAX_PATH_DEPTH {
        return Some("it has more than 32 components");
    }
    path.split('/').find_map(component_fault)
}

// Bidirectional, zero-width and line-separating characters make two different names look the same to a person, or one name
// look like two lines.
const fn invisible(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}' | '\u{180b}'..='\u{180f}'
        | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{feff}'
        | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}')
}

fn component_fault(part: &str) -> Option<&'static str> {
    if part.is_empty() {
        return Some("it has an empty component");
    }
    if part == "." || part == ".." {
        return Some("it has a '.' or '..' component");
    }
    if part.len() > MAX_PATH_COMPONENT {
        return Some("a component is longer than 255 bytes");
    }
    if part.ends_with(['.', ' ']) || part.starts_with(' ') {
        return Some("a component ends with a dot or space, or begins with a space");
    }
    if is_device_name(part) {
        return Some("a component is a device name on Windows");
    }
    None
}

/// Whether Windows opens a device instead of a file of this name, whatever follows its first dot.
pub(crate) fn is_device_name(part: &str) -> bool {
    let stem = part
        .split('.')
        .next()
        .unwrap_or(part)
        .trim_end()
        .to_ascii_lowercase();
    let numbered = |device: &str| {
        stem.strip_prefix(device).is_some_and(|n| {
            let mut chars = n.chars();
            // The superscripts count as digits there.
            matches!(
                (chars.next(), chars.next()),
                (Some('0'..='9' | '¹' | '²' | '³'), None)
            )
        })
    };
    matches!(
        stem.as_str(),
        "con" | "prn" | "aux" | "nul" | "conin$" | "conout$" | "clock$"
    ) || numbered("com")
        || numbered("lpt")
}

/// Two paths of one release that cannot stand beside each other.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("file paths {first:?} and {second:?}: {reason}")]
pub struct PathCollision {
    /// The one that came first in order.
    pub first: String,
    /// The other.
    pub second: String,
    /// Why both cannot be.
    pub reason: &'static str,
}

/// Checks that all paths can be files of one folder on every system: no duplicates, none that differ only in case
/// or in the way Unicode writes a letter, none that is also a folder of another.
///
/// # Errors
/// The first pair that collides.
pub fn check_together<'a>(paths: impl IntoIterator<Item = &'a FilePath>) -> Result<(), PathCollision> {
    let mut folded: BTreeMap<String, &FilePath> = BTreeMap::new();
    for path in paths {
        if let Some(first) = folded.insert(path.folded(), path) {
            let reason = if first == path {
                "the same file twice"
            } else {
                "they differ only in case or in how a letter is written"
            };
            return Err(PathCollision {
                first: first.0.clone(),
                second: path.0.clone(),
                reason,
            });
        }
    }
    for (key, path) in &folded {
        for (at, _) in key.match_indices('/') {
            // `at` comes from match_indices on the same string, so it is a boundary.
            if let Some(file) = key.get(..at).and_then(|folder| folded.get(folder)) {
                return Err(PathCollision {
                    first: file.0.clone(),
                    second: path.0.clone(),
                    reason: "one is a file where the other needs a folder",
                });
            }
        }
    }
    // "Ä/x" and "ä/y" name one folder on some systems: the folders' own spelling must agree too. Folding neither makes nor
    // takes away a '/', so that the n-th one of a path and of its folded form stand at the same place.
    let mut folders: BTreeMap<&str, &str> = BTreeMap::new();
    for (key, path) in &folded {
        for ((folded_at, _), (at, _)) in key.match_indices('/').zip(path.0.match_indices('/')) {
            let (Some(key), Some(folder)) = (key.get(..folded_at), path.0.get(..at)) else {
                continue;
            };
            if let Some(other) = folders.insert(key, folder)
                && other != folder
            {
                return Err(PathCollision {
                    first: other.to_owned(),
                    second: folder.to_owned(),
                    reason: "folders that differ only in case or in how a letter is written",
                });
            }
        }
    }
    Ok(())
}

impl FromStr for FilePath {
    type Err = BadPath;

    fn from_str(text: &str) -> Result<Self, BadPath> {
        Self::try_from(text.to_owned())
    }
}

impl TryFrom<String> for FilePath {
    type Error = BadPath;

    fn try_from(text: String) -> Result<Self, BadPath> {
        match fault(&text) {
            None => Ok(Self(text)),
            Some(reason) => Err(BadPath {
                found: text.chars().take(120).collect(),
                reason,
            }),
        }
    }
}

impl From<FilePath> for String {
    fn from(path: FilePath) -> Self {
        path.0
    }
}

impl fmt::Display for FilePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
