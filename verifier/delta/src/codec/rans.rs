//! Range asymmetric numeral systems (Duda, arXiv 1311.2540) with eight interleaved 32-bit states and 16-bit words.
//!
//! A stream is the eight final states of the encoder (little-endian u32, lane 0 first), followed by little-endian u16 words in the
//! order in which the decoder takes them. Symbols come in batches; within each batch, symbol `i` belongs to lane `i mod 8`. A state
//! lies in 2^16..2^32 and begins, seen from the encoder, as 2^16: a decoder that does not end there was given other bytes.

use super::Corrupt;

/// Frequencies of a table add up to 2^12.
pub(crate) const PROBABILITY_BITS: u32 = 12;
/// Sum of a table's frequencies, and number of its slots.
pub(crate) const TOTAL: u32 = 1 << PROBABILITY_BITS;
/// States that take turns.
pub(crate) const LANES: usize = 8;
const LOW: u32 = 1 << 16;

/// What a slot of a decoding table says: symbol (8 bits), frequency minus one (12 bits), slot minus the symbol's first slot (12 bits).
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Slot(u32);

impl Slot {
    pub(crate) const fn new(symbol: u8, frequency: u32, bias: u32) -> Self {
        Self(symbol as u32 | (frequency - 1) << 8 | bias << 20)
    }

    const fn symbol(self) -> u8 {
        self.0 as u8
    }

    const fn frequency(self) -> u32 {
        ((self.0 >> 8) & (TOTAL - 1)) + 1
    }

    const fn bias(self) -> u32 {
        self.0 >> 20
    }
}

/// Reads a stream. Memory: the words, which the caller's buffer keeps.
pub(crate) struct Decoder<'a> {
    states: [u32; LANES],
    /// The words, and then at least [`LANES`] zeros.
    words: &'a [u16],
    position: usize,
    end: usize,
}

impl<'a> Decoder<'a> {
    /// Begins to read `stream`; `buffer` keeps its words.
    pub(crate) fn new(stream: &[u8], buffer: &'a mut Vec<u16>) -> Result<Self, Corrupt> {
        buffer.clear();
        let (states, words) = stream
            .split_at_checked(4 * LANES)
            .ok_or(Corrupt("rANS stream is shorter than its states"))?;
        let (words, odd) = words.as_chunks::<2>();
        if !odd.is_empty() {
            return Err(Corrupt("rANS stream ends within a word"));
        }
        buffer.extend(words.iter().map(|word| u16::from_le_bytes(*word)));
        let end = buffer.len();
        buffer.extend([0; LANES]);
        let mut begin = [0; LANES];
        for (state, bytes) in begin.iter_mut().zip(states.as_chunks::<4>().0) {
            *state = u32::from_le_bytes(*bytes);
            if *state < LOW {
                return Err(Corrupt("rANS state is below its range"));
            }
        }
        Ok(Self {
            states: begin,
            words: buffer,
            position: 0,
            end,
        })
    }

    /// Decodes a batch: symbol `i` with the table that `contexts[i]` maps to.
    #[inline]
    pub(crate) fn batch(
        &mut self,
        tables: Tables<'_>,
        contexts: &[u8],
        symbols: &mut [u8],
    ) -> Result<(), Corrupt> {
        let (contexts, last_contexts) = contexts.as_chunks::<LANES>();
        let (symbols, last_symbols) = symbols.as_chunks_mut::<LANES>();
        let mut states = self.states;
        for (contexts, symbols) in contexts.iter().zip(symbols) {
            let words = self
                .words
                .get(self.position..)
                .and_then(|words| words.first_chunk::<LANES>());
            let words = words.ok_or(Corrupt("rANS stream is too short"))?;
            let mut taken = 0_usize;
            for ((state, &context), symbol) in states.iter_mut().zip(contexts).zip(symbols) {
                let slot = tables.slot(context, *state);
                *symbol = slot.symbol();
                let next = slot.frequency() * (*state >> PROBABILITY_BITS) + slot.bias();
                let word = u32::from(words.get(taken).copied().unwrap_or_default());
                let low = next < LOW;
                *state = if low { next << 16 | word } else { next };
                taken += usize::from(low);
            }
            self.position += taken;
        }
        self.states = states;
        for (lane, (&context, symbol)) in last_contexts.iter().zip(last_symbols).enumerate() {
            *symbol = self.one(tables, context, lane)?;
        }
        Ok(())
    }

    /// Decodes one symbol on `lane`, which the encoder must have chosen likewise.
    #[inline]
    pub(crate) fn one(&mut self, tables: Tables<'_>, context: u8, lane: usize) -> Result<u8, Corrupt> {
        let state = self.states.get_mut(lane).ok_or(Corrupt("no such rANS lane"))?;
        let slot = tables.slot(context, *state);
        let next = slot.frequency() * (*state >> PROBABILITY_BITS) + slot.bias();
        *state = if next < LOW {
            let word = self
                .words
                .get(self.position)
                .ok_or(Corrupt("rANS stream is too short"))?;
            self.position += 1;
            next << 16 | u32::from(*word)
        } else {
            next
        };
        Ok(slot.symbol())
    }

    /// Refuses a stream that was not read to its end, or that does not end as its encoder began.
    pub(crate) fn finish(self) -> Result<(), Corrupt> {
        if self.position != self.end || self.states != [LOW; LANES] {
            return Err(Corrupt("rANS stream does not end as it must"));
        }
        Ok(())
    }
}

/// Decoding tables of one model: slots of all tables, and which table a context has.
#[derive(Clone, Copy)]
pub(crate) struct Tables<'a> {
    pub(crate) map: &'a [u8; 256],
    /// `TOTAL` slots for each table.
    pub(crate) slots: &'a [Slot],
}

impl Tables<'_> {
    #[inline(always)]
    fn slot(&self, context: u8, state: u32) -> Slot {
        let table = self.map.get(usize::from(context)).copied().unwrap_or_default();
        let at = usize::from(table) << PROBABILITY_BITS | (state & (TOTAL - 1)) as usize;
        self.slots.get(at).copied().unwrap_or_default()
    }
}

/// Where a symbol lies in its table.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Interval {
    pub(crate) start: u16,
    /// 1..=4096; 0 for a symbol that the table does not have.
    pub(crate) frequency: u16,
}

/// Collects symbols in the decoder's order and writes the stream.
#[derive(Default)]
pub(crate) struct Encoder {
    symbols: Vec<(Interval, u8)>,
}

impl Encoder {
    /// Adds a symbol on `lane`.
    #[inline]
    pub(crate) fn push(&mut self, interval: Interval, lane: usize) {
        self.symbols.push((interval, (lane % LANES) as u8));
    }

    /// Forgets all symbols, keeps the memory.
    pub(crate) fn clear(&mut self) {
        self.symbols.clear();
    }

    /// Writes the stream to the end of `out`; `words` is scratch.
    pub(crate) fn finish(&self, words: &mut Vec<u16>, out: &mut Vec<u8>) {
        let mut states = [LOW; LANES];
        words.clear();
        for (interval, lane) in self.symbols.iter().rev() {
            let Some(state) = states.get_mut(usize::from(*lane)) else {
                continue;
            };
            let frequency = u32::from(interval.frequency.max(1));
            let mut x = *state;
            // The decoder refills below 2^16, so a state must come out below frequency * 2^20; 64 bits, since that can be 2^32.
            if u64::from(x) >= u64::from(frequency) << (32 - PROBABILITY_BITS) {
                words.push(x as u16);
                x >>= 16;
            }
            *state = ((x / frequency) << PROBABILITY_BITS) + x % frequency + u32::from(interval.start);
        }
        for state in states {
            out.extend_from_slice(&state.to_le_bytes());
        }
        for word in words.iter().rev() {
            out.extend_from_slice(&word.to_le_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> (Vec<Slot>, [Interval; 3]) {
        let frequencies = [4000_u32, 95, 1];
        let (mut slots, mut intervals, mut start) = (Vec::new(), [Interval::default(); 3], 0);
        for (symbol, frequency) in frequencies.into_iter().enumerate() {
            intervals[symbol] = Interval {
                start: start as u16,
                frequency: frequency as u16,
            };
            slots.extend((0..frequency).map(|bias| Slot::new(symbol as u8, frequency, bias)));
            start += frequency;
        }
        (slots, intervals)
    }

    fn stream(symbols: &[u8]) -> Vec<u8> {
        let (_, intervals) = table();
        let mut encoder = Encoder::default();
        for (i, symbol) in symbols.iter().enumerate() {
            encoder.push(intervals[usize::from(*symbol)], i);
        }
        let mut out = Vec::new();
        encoder.finish(&mut Vec::new(), &mut out);
        out
    }

    fn read(stream: &[u8], count: usize) -> Result<Vec<u8>, Corrupt> {
        let (slots, _) = table();
        let map = [0; 256];
        let tables = Tables {
            map: &map,
            slots: &slots,
        };
        let mut buffer = Vec::new();
        let mut decoder = Decoder::new(stream, &mut buffer)?;
        let mut out = vec![0; count];
        decoder.batch(tables, &vec![0; count], &mut out)?;
        decoder.finish()?;
        Ok(out)
    }

    #[test]
    fn symbols_come_back() {
        for count in [0, 1, 7, 8, 9, 10_000] {
            let symbols: Vec<u8> = (0..count)
                .map(|i: u32| u8::from(i.is_multiple_of(41)) + u8::from(i % 4001 == 7))
                .collect();
            assert_eq!(read(&stream(&symbols), symbols.len()).unwrap(), symbols);
        }
    }

    #[test]
    fn a_truncated_extended_or_altered_stream_is_refused() {
        let symbols: Vec<u8> = (0..3000).map(|i: u32| u8::from(i.is_multiple_of(5))).collect();
        let good = stream(&symbols);
        assert!(read(&good[..good.len() - 2], symbols.len()).is_err());
        assert!(read(&good[..31], symbols.len()).is_err());
        assert!(read(&[&good[..], &[0, 0]].concat(), symbols.len()).is_err());
        assert!(read(&good, symbols.len() - 1).is_err());
        for i in 0..good.len() {
            let mut bad = good.clone();
            bad[i] ^= 1;
            assert_ne!(read(&bad, symbols.len()).ok(), Some(symbols.clone()));
        }
    }
}
