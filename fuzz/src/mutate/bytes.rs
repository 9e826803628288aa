//! Changes of any bytes.

use crate::random::Random;

/// One change. Three in four are near the beginning, where headers and lengths stand.
pub(super) fn mutate(random: &mut Random, mut input: Vec<u8>, other: &[u8], words: &[&str]) -> Vec<u8> {
    if input.is_empty() {
        let count = 1 + random.below(32);
        return random.bytes(count);
    }
    let reach = match random.once_in(4) {
        true => input.len(),
        false => input.len().min(400),
    };
    let at = random.below(reach);
    match random.below(12) {
        0 => input[at] ^= 1 << random.below(8),
        1 => input[at] = random.next() as u8,
        2 => input[at] = input[at].wrapping_add(if random.once_in(2) { 1 } else { 0xff }),
        3 | 4 => {
            let number = number(random);
            overwrite(&mut input, at, &number);
        }
        5 => input.truncate(at),
        6 => {
            let end = (at + 1 + random.below(16)).min(input.len());
            input.drain(at..end);
        }
        7 => {
            let count = 1 + random.below(16);
            let inserted = random.bytes(count);
            input.splice(at..at, inserted);
        }
        8 => {
            // The same piece again, sometimes very often.
            let end = (at + 1 + random.below(64)).min(input.len());
            let times = if random.once_in(8) {
                300
            } else {
                1 + random.below(3)
            };
            let piece = input[at..end].repeat(times);
            input.splice(at..at, piece);
        }
        9 if !words.is_empty() => {
            let word = random.pick(words).as_bytes().to_vec();
            match random.once_in(2) {
                true => overwrite(&mut input, at, &word),
                false => drop(input.splice(at..at, word)),
            }
        }
        10 => {
            // The beginning of one and the end of another.
            input.truncate(at);
            input.extend_from_slice(&other[random.below(other.len())..]);
        }
        _ => {
            let from = random.below(other.len());
            let end = (from + 1 + random.below(64)).min(other.len());
            overwrite(&mut input, at, other.get(from..end).unwrap_or_default());
        }
    }
    input
}

/// A number at an edge, of 1 to 8 bytes in either order, or as a varint.
fn number(random: &mut Random) -> Vec<u8> {
    let edge = match random.below(4) {
        0 => u64::MAX >> random.below(64),
        1 => 1 << random.below(64),
        2 => random.next() % 1024,
        _ => (u64::MAX >> random.below(64)).wrapping_add(1 + random.next() % 3),
    };
    let width = [1, 2, 4, 8][random.below(4)];
    match random.below(3) {
        0 => edge.to_le_bytes()[..width].to_vec(),
        1 => edge.to_be_bytes()[8 - width..].to_vec(),
        _ => varint(edge),
    }
}

fn varint(mut number: u64) -> Vec<u8> {
    let mut out = Vec::new();
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
    out
}

fn overwrite(input: &mut Vec<u8>, at: usize, with: &[u8]) {
    let end = (at + with.len()).min(input.len());
    input.splice(at..end, with.iter().copied());
}
