//! Changes of lines, words and numbers.

use super::bytes;
use crate::random::Random;

/// What parsers of text trip over.
const PIECES: &[&str] = &[
    "\n",
    "\n\n",
    "\r\n",
    " ",
    "\t",
    "\0",
    "\u{1b}[31m",
    "\u{7f}",
    "\u{2028}",
    "\u{feff}",
    "\u{202e}",
    "é",
    "e\u{301}",
    "\u{1f600}",
    "=",
    "==",
    "/",
    "//",
    "..",
    "../",
    "%2f",
    "%00",
    "+",
    "-",
    "-0",
    "0",
    "00",
    "0x10",
    "1e9",
    ".",
    ",",
    ":",
    ";",
    "\"",
    "\\",
    "\\u0000",
    "'",
    "[",
    "]",
    "{",
    "}",
    "null",
    "true",
    "NaN",
    "AAAA",
    "—",
    "— ",
];

/// Numbers at the edges of what they are read into.
pub(super) const NUMBERS: &[&str] = &[
    "0",
    "1",
    "-1",
    "255",
    "256",
    "65535",
    "65536",
    "2147483648",
    "4294967295",
    "4294967296",
    "9007199254740991",
    "9007199254740992",
    "9223372036854775807",
    "9223372036854775808",
    "18446744073709551615",
    "18446744073709551616",
    "100000000000000000000000000000000000000",
    "01",
    "+1",
    "1.0",
    "1e3",
    "-0",
    "",
];

/// One change; of bytes where it is no text.
pub(super) fn mutate(random: &mut Random, input: Vec<u8>, other: &[u8], words: &[&str]) -> Vec<u8> {
    let Ok(text) = str::from_utf8(&input) else {
        return bytes::mutate(random, input, other, words);
    };
    let changed = match random.below(8) {
        0 | 1 => number(random, text),
        2 => insert(random, text, PIECES),
        3 if !words.is_empty() => insert(random, text, words),
        4..=6 => lines(random, text, other),
        _ => return bytes::mutate(random, input, other, words),
    };
    changed.into_bytes()
}

/// A run of digits becomes another number.
fn number(random: &mut Random, text: &str) -> String {
    let mut runs = Vec::new();
    let mut start = None;
    for (at, byte) in text.bytes().chain([b' ']).enumerate() {
        match (byte.is_ascii_digit(), start) {
            (true, None) => start = Some(at),
            (false, Some(begin)) => {
                runs.push(begin..at);
                start = None;
            }
            _ => {}
        }
    }
    if runs.is_empty() {
        return insert(random, text, NUMBERS);
    }
    let mut changed = text.to_owned();
    let run = random.pick(&runs).clone();
    changed.replace_range(run, NUMBERS[random.below(NUMBERS.len())]);
    changed
}

fn insert(random: &mut Random, text: &str, pieces: &[&str]) -> String {
    let mut at = random.below(text.len() + 1);
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    let times = if random.once_in(20) { 400 } else { 1 };
    let mut changed = text.to_owned();
    changed.insert_str(at, &random.pick(pieces).repeat(times));
    changed
}

fn lines(random: &mut Random, text: &str, other: &[u8]) -> String {
    let mut lines: Vec<&str> = text.split_inclusive('\n').collect();
    if lines.is_empty() {
        return String::new();
    }
    let at = random.below(lines.len());
    match random.below(5) {
        0 => {
            lines.remove(at);
        }
        1 => {
            let times = if random.once_in(4) { 100 } else { 1 };
            let line = lines[at];
            lines.splice(at..at, std::iter::repeat_n(line, times));
        }
        2 => {
            let with = random.below(lines.len());
            lines.swap(at, with);
        }
        3 => {
            let other = str::from_utf8(other).unwrap_or_default();
            let others: Vec<&str> = other.split_inclusive('\n').collect();
            if !others.is_empty() {
                lines.insert(at, others[random.below(others.len())]);
            }
        }
        _ => lines.truncate(at),
    }
    lines.concat()
}
