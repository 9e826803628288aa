//! What a target is.

use std::fmt::{Debug, Display};
use std::hash::{DefaultHasher, Hash, Hasher};

/// How its inputs are mutated beside their bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// By their bytes alone.
    Binary,
    /// By lines, words and numbers, too.
    Text,
    /// By members, elements and values, too.
    Json,
}

/// What a parser made of an input. Two inputs of one class took, as far as can be told from outside, the same way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outcome {
    /// Whether the parser accepted it.
    pub accepted: bool,
    /// The way that it took.
    pub class: u64,
}

/// Longer than any refusal should be, whatever a stranger wrote: it ends in logs and on terminals.
const LONGEST_REFUSAL: usize = 4 << 10;

impl Outcome {
    /// Accepted. `feature` tells kinds of accepted inputs apart.
    pub fn accepted(feature: impl Debug) -> Self {
        Self {
            accepted: true,
            class: class(&format!("{feature:?}")),
        }
    }

    /// Refused with this error.
    ///
    /// # Panics
    /// It says nothing, or repeats a stranger's text at any length.
    pub fn refused(error: impl Display) -> Self {
        let text = error.to_string();
        assert!(!text.is_empty(), "a refusal without a word");
        assert!(
            text.len() <= LONGEST_REFUSAL,
            "a refusal of {} bytes: {}...",
            text.len(),
            text.chars().take(200).collect::<String>()
        );
        Self {
            accepted: false,
            class: class(&text),
        }
    }

    /// Refused, or accepted and then looked at.
    pub fn of<T, E: Display, F: Debug>(result: Result<T, E>, accept: impl FnOnce(T) -> F) -> Self {
        match result {
            Ok(value) => Self::accepted(accept(value)),
            Err(error) => Self::refused(error),
        }
    }

    /// This one, and what became of the same input elsewhere.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            accepted: self.accepted || other.accepted,
            class: self.class.wrapping_mul(31).wrapping_add(other.class),
        }
    }
}

/// What was found, what stands in quotes, and digits, are the input's and tell nothing of the way that it took.
fn class(text: &str) -> u64 {
    let rule = text.rsplit_once(", found").map_or(text, |(rule, _)| rule);
    // Names and digests.
    let words = rule.split_inclusive(|c: char| !c.is_alphanumeric());
    let rule: String = words
        .filter(|word| !word.contains(|c: char| c.is_ascii_digit()))
        .collect();
    let mut hasher = DefaultHasher::new();
    let mut quote = None;
    let mut chars = rule.chars().take(600);
    while let Some(c) = chars.next() {
        match quote {
            Some(_) if c == '\\' => drop(chars.next()),
            Some(open) if c == open => quote = None,
            Some(_) => {}
            None if matches!(c, '"' | '`') => quote = Some(c),
            None => c.hash(&mut hasher),
        }
    }
    hasher.finish()
}

/// Memory that one run may take beyond what was there before.
#[derive(Debug, Clone, Copy)]
pub struct Memory {
    /// Bytes, whatever the input.
    pub flat: usize,
    /// Bytes for each byte of the input.
    pub each: usize,
}

impl Memory {
    /// What JSON takes at worst: a member of seven bytes becomes a map of more than six hundred, in the value and in what is read from it.
    pub const USUAL: Self = Self {
        flat: 1 << 20,
        each: 400,
    };

    /// For an input of `length` bytes.
    pub const fn bound(self, length: usize) -> usize {
        self.flat + self.each * length
    }
}

/// One parser that sees a stranger's bytes.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// `area/what`; its corpus lies in a folder of this name.
    pub name: &'static str,
    /// The parser, and what is checked of whatever it accepts.
    pub run: fn(&[u8]) -> Outcome,
    /// How its inputs are mutated.
    pub form: Form,
    /// Words of its language.
    pub words: &'static [&'static str],
    /// Fixtures of the repository that are inputs of it, relative to the workspace.
    pub fixtures: &'static [&'static str],
    /// Inputs that are made: what is signed or compressed cannot be written by hand.
    pub made: fn() -> Vec<Vec<u8>>,
    /// Runs in the tests.
    pub runs: u32,
    /// Bytes of the longest input that is tried.
    pub longest: usize,
    /// Memory that a run may take.
    pub memory: Memory,
    /// The parsers that it drives, as [`inventory`](crate::inventory) names them.
    pub covers: &'static [&'static str],
}

impl Target {
    /// A target with an empty corpus and the usual bounds.
    pub const fn new(name: &'static str, form: Form, run: fn(&[u8]) -> Outcome) -> Self {
        Self {
            name,
            run,
            form,
            words: &[],
            fixtures: &[],
            made: Vec::new,
            runs: 4_000,
            longest: 16 << 10,
            memory: Memory::USUAL,
            covers: &[],
        }
    }
}
