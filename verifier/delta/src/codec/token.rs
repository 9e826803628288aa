//! How a signed difference becomes a token, which is entropy-coded in its context, and raw bits, which are not.
//!
//! | difference | token | raw bits |
//! |---|---|---|
//! | -15..=15 | difference + 15 | none |
//! | magnitude with highest bit n, 4..=31 | 31 + 8 (n - 4) + 2 (the two bits below the highest) + (1 if negative) | the n - 2 lowest bits of the magnitude |
//! | one whose token the table does not have | 255 | the token (8 bits), then its raw bits |

use super::Corrupt;

/// Stands for a token that a table does not have.
pub(crate) const ESCAPE: u8 = 255;
/// The token of no difference.
pub(crate) const ZERO: u8 = 15;
/// Below this, a token is the difference itself, plus 15.
pub(crate) const DIRECT: u8 = 31;

/// Splits a difference: token, raw bits, number of raw bits.
#[inline(always)]
pub(crate) fn split(difference: i32) -> (u8, u32, u32) {
    let magnitude = difference.unsigned_abs();
    if magnitude < 16 {
        return ((difference + 15) as u8, 0, 0);
    }
    let n = 31 - magnitude.leading_zeros();
    let upper = (magnitude >> (n - 2)) & 3;
    let token = 31 + 8 * (n - 4) + 2 * upper + u32::from(difference < 0);
    (token as u8, magnitude & ((1 << (n - 2)) - 1), n - 2)
}

/// The token alone.
#[inline(always)]
pub(crate) fn of(difference: i32) -> u8 {
    split(difference).0
}

/// Raw bits that follow a token.
#[cfg(test)]
const fn raw_bits(token: u8) -> u32 {
    if token < DIRECT || token == ESCAPE {
        0
    } else {
        ((token - DIRECT) as u32 >> 3) + 2
    }
}

/// The difference that a token begins, with its raw bits from `bits`.
#[inline(always)]
pub(crate) fn join(token: u8, bits: &mut BitReader<'_>) -> Result<i32, Corrupt> {
    let token = if token == ESCAPE {
        bits.take(8) as u8
    } else {
        token
    };
    if token < DIRECT {
        return Ok(i32::from(token) - 15);
    }
    if token == ESCAPE {
        return Err(Corrupt("token escapes twice"));
    }
    let code = u32::from(token - DIRECT);
    let n = (code >> 3) + 4;
    let raw = bits.take(n - 2);
    let magnitude = (4 | (code >> 1) & 3) << (n - 2) | raw;
    let signed = magnitude as i32;
    Ok(if code & 1 == 1 {
        signed.wrapping_neg()
    } else {
        signed
    })
}

/// Writes bits, lowest first.
#[derive(Default)]
pub(crate) struct BitWriter {
    bytes: Vec<u8>,
    pending: u64,
    count: u32,
}

impl BitWriter {
    /// Appends the `count` (at most 32) lowest bits of `bits`, which has no others.
    #[inline(always)]
    pub(crate) fn put(&mut self, bits: u32, count: u32) {
        self.pending |= u64::from(bits) << self.count;
        self.count += count;
        if self.count >= 32 {
            self.bytes.extend_from_slice(&(self.pending as u32).to_le_bytes());
            self.pending >>= 32;
            self.count -= 32;
        }
    }

    /// Appends everything to `out`, the last byte filled with zeros, and begins anew.
    pub(crate) fn finish(&mut self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.bytes);
        let rest = self.pending.to_le_bytes();
        out.extend(rest.iter().take(self.count.div_ceil(8) as usize));
        self.clear();
    }

    /// Forgets everything, keeps the memory.
    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.pending = 0;
        self.count = 0;
    }

    /// Bits so far.
    pub(crate) fn len(&self) -> u64 {
        self.bytes.len() as u64 * 8 + u64::from(self.count)
    }
}

/// Reads bits, lowest first. Beyond the end it reads zeros; [`BitReader::finish`] tells.
pub(crate) struct BitReader<'a> {
    /// The bytes, and then at least eight zeros.
    bytes: &'a [u8],
    position: usize,
    end: usize,
}

impl<'a> BitReader<'a> {
    /// Begins to read `stream`; `buffer` keeps it.
    pub(crate) fn new(stream: &[u8], buffer: &'a mut Vec<u8>) -> Self {
        buffer.clear();
        buffer.extend_from_slice(stream);
        buffer.extend([0; 8]);
        Self {
            bytes: buffer,
            position: 0,
            end: stream.len(),
        }
    }

    /// The next `count` (at most 32) bits.
    #[inline(always)]
    pub(crate) fn take(&mut self, count: u32) -> u32 {
        let window = self
            .bytes
            .get(self.position >> 3..)
            .and_then(|rest| rest.first_chunk::<8>());
        let window = u64::from_le_bytes(window.copied().unwrap_or_default()) >> (self.position & 7);
        self.position += count as usize;
        (window & ((1_u64 << count) - 1)) as u32
    }

    /// Refuses a stream that was not read to its last byte, or beyond it.
    pub(crate) fn finish(self) -> Result<(), Corrupt> {
        if self.position.div_ceil(8) != self.end {
            return Err(Corrupt("raw bits do not end as they must"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_come_back() {
        let mut values = vec![
            0,
            1,
            -1,
            15,
            -15,
            16,
            -16,
            17,
            31,
            32,
            255,
            -256,
            i32::MAX,
            i32::MIN,
            i32::MIN + 1,
        ];
        values.extend((4..31).flat_map(|n| [1 << n, -(1 << n), (1 << n) + (1 << (n - 1)) + 1, (1 << n) - 1]));
        let (mut writer, mut tokens) = (BitWriter::default(), Vec::new());
        for value in &values {
            let (token, raw, count) = split(*value);
            assert_eq!(count, raw_bits(token));
            assert_ne!(token, ESCAPE);
            tokens.push(token);
            writer.put(raw, count);
        }
        let (mut stream, mut buffer) = (Vec::new(), Vec::new());
        writer.finish(&mut stream);
        let mut reader = BitReader::new(&stream, &mut buffer);
        for (token, value) in tokens.iter().zip(&values) {
            assert_eq!(join(*token, &mut reader).unwrap(), *value);
        }
        reader.finish().unwrap();
    }

    #[test]
    fn a_token_that_escapes_twice_is_refused() {
        let mut buffer = Vec::new();
        assert!(join(ESCAPE, &mut BitReader::new(&[255], &mut buffer)).is_err());
    }

    #[test]
    fn bits_beyond_the_end_are_refused() {
        let mut buffer = Vec::new();
        let mut reader = BitReader::new(&[1], &mut buffer);
        assert_eq!(reader.take(9), 1);
        assert!(reader.finish().is_err());
    }
}
