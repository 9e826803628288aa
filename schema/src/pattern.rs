//! Patterns for names that come from certificates and statements.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Bytes of a pattern.
const MAX: usize = 1024;

/// A name with wildcards: `*` stands for any characters but `/`, at least one; `**` for any characters at all, at least one. The
/// whole name has to fit, capitals count, and there is no way to mean an asterisk itself.
///
/// `https://github.com/acme/*/.github/workflows/release.yml@refs/tags/*` fits the release workflow of every repository of `acme` at
/// every tag without a slash in its name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
#[cfg_attr(feature = "json-schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "json-schema", schemars(with = "String"))]
pub struct Pattern(String);

/// Text that is no pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("pattern: expected {expected}, found {found:?}")]
pub struct BadPattern {
    /// The rule.
    pub expected: String,
    /// What is there.
    pub found: String,
}

impl Pattern {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the whole of `name` fits.
    pub fn fits(&self, name: &str) -> bool {
        fits(self.0.as_bytes(), name.as_bytes())
    }

    /// Whether it fits more than one name.
    pub fn has_wildcard(&self) -> bool {
        self.0.contains('*')
    }

    /// Whether it says whose names fit, and not merely that there is one: a URI's scheme and host, or a mail address's domain, hold no
    /// wildcard; nor does the beginning of any other name.
    pub fn names_somebody(&self) -> bool {
        let literal = |part: &str| !part.is_empty() && !part.contains('*');
        match (self.0.split_once("://"), self.0.rsplit_once('@')) {
            (Some((scheme, rest)), _) => {
                let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
                literal(scheme)
                    && literal(host)
                    && path.split_once('*').is_none_or(|(before, _)| !before.is_empty())
            }
            (None, Some((_, domain))) => literal(domain),
            (None, None) => !self.0.starts_with('*'),
        }
    }
}

/// Memory of the last wildcard alone is enough for one kind of wildcard; with two kinds the last `**` is remembered beside it.
fn fits(pattern: &[u8], name: &[u8]) -> bool {
    // Where to go on after the wildcard, and how far the name was taken by it.
    type Resume = Option<(usize, usize)>;
    let (mut p, mut n) = (0, 0);
    let (mut single, mut double): (Resume, Resume) = (None, None);
    loop {
        match (pattern.get(p), name.get(n)) {
            (None, None) => return true,
            (Some(b'*'), Some(taken)) => {
                if pattern.get(p + 1) == Some(&b'*') {
                    p += 2;
                    n += 1;
                    (double, single) = (Some((p, n)), None);
                    continue;
                }
                if *taken != b'/' {
                    p += 1;
                    n += 1;
                    single = Some((p, n));
                    continue;
                }
            }
            (Some(wanted), Some(found)) if wanted == found => {
                p += 1;
                n += 1;
                continue;
            }
            _ => {}
        }
        // What does not fit is taken by the last wildcard that can take it.
        match (single, double) {
            (Some((after, taken)), _) if name.get(taken).is_some_and(|next| *next != b'/') => {
                single = Some((after, taken + 1));
                (p, n) = (after, taken + 1);
            }
            (_, Some((after, taken))) if taken < name.len() => {
                (single, double) = (None, Some((after, taken + 1)));
                (p, n) = (after, taken + 1);
            }
            _ => return false,
        }
    }
}

impl FromStr for Pattern {
    type Err = BadPattern;

    fn from_str(text: &str) -> Result<Self, BadPattern> {
        Self::try_from(text.to_owned())
    }
}

impl TryFrom<String> for Pattern {
    type Error = BadPattern;

    fn try_from(text: String) -> Result<Self, BadPattern> {
        let bad = |expected: &str, found: &str| BadPattern {
            expected: expected.to_owned(),
            found: found.chars().take(80).collect(),
        };
        if text.is_empty() || text.len() > MAX {
            return Err(bad(&format!("1 to {MAX} bytes"), &text));
        }
        if text.chars().any(char::is_control) {
            return Err(bad("no control characters", &text));
        }
        if text.contains("***") {
            return Err(bad("`*` or `**`", &text));
        }
        Ok(Self(text))
    }
}

impl From<Pattern> for String {
    fn from(pattern: Pattern) -> Self {
        pattern.0
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn fits(pattern: &str, name: &str) -> bool {
        pattern.parse::<Pattern>().unwrap().fits(name)
    }

    #[test]
    fn wildcards_stand_for_what_they_say() {
        for (pattern, name) in [
            ("me@acme.example", "me@acme.example"),
            ("*@acme.example", "me@acme.example"),
            (
                "https://github.com/acme/*/.github/workflows/release.yml@refs/tags/*",
                "https://github.com/acme/minilm/.github/workflows/release.yml@refs/tags/v1.0",
            ),
            ("https://acme.example/**", "https://acme.example/a/b/c"),
            ("a/**/z*", "a/b/c/z1"),
            ("a*b*c", "aXbbYc"),
            ("**/b/*", "x/b/y/b/z"),
        ] {
            assert!(fits(pattern, name), "{pattern} {name}");
        }
    }

    #[test]
    fn refuses_what_is_longer_shorter_deeper_or_differs_in_capitals() {
        for (pattern, name) in [
            ("me@acme.example", "me@acme.example.org"),
            ("me@acme.example", "ame@acme.example"),
            ("*@acme.example", "@acme.example"),
            ("*@acme.example", "x/y@acme.example"),
            ("https://github.com/acme/*/a@*", "https://github.com/acme/x/y/a@b"),
            ("https://github.com/acme/*", "https://github.com/acme/"),
            ("https://github.com/acme/**", "https://github.com/acme-evil/x"),
            ("Me@acme.example", "me@acme.example"),
            ("a*b*c", "aXc"),
            ("a/**", "a/"),
        ] {
            assert!(!fits(pattern, name), "{pattern} {name}");
        }
    }

    #[test]
    fn a_pattern_that_names_nobody_is_found_out() {
        let names = |text: &str| text.parse::<Pattern>().unwrap().names_somebody();
        for wide in [
            "**",
            "*",
            "*@*",
            "me@*.com",
            "https://*/acme/x",
            "https://github.com/**",
            "h*://a/b",
            "https://**",
        ] {
            assert!(!names(wide), "{wide}");
        }
        for narrow in [
            "*@acme.example",
            "https://github.com/acme/**",
            "https://acme.example/x",
            "Acme Models",
            "Acme *",
        ] {
            assert!(names(narrow), "{narrow}");
        }
    }

    #[test]
    fn hostile_patterns_end_soon() {
        let pattern = format!("{}b", "*a".repeat(500));
        assert!(!fits(&pattern, &"a".repeat(100_000)));
        let pattern = format!("{}b", "**a".repeat(300));
        assert!(!fits(&pattern, &"a".repeat(100_000)));
    }

    #[test]
    fn refuses_text_that_is_no_pattern() {
        for text in ["", "a***b", "a\nb"] {
            text.parse::<Pattern>().unwrap_err();
        }
    }
}
