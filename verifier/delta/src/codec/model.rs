//! Statistics that the frames of a delta share: which contexts a dtype has, and the frequencies of tokens in each.
//!
//! They travel once, in the index, because a table of its own would cost a chunk of a nightly step several percent of its size.

use super::Corrupt;
use super::rans::{Interval, Slot, TOTAL, Tables};
use super::token::ESCAPE;
use crate::Dtype;
use crate::wire::{Reader, put_varint};

/// Tables that one model may have: with 16 KiB each when decoding, at most 1 MiB.
pub(crate) const MAX_TABLES: usize = 64;
/// A context that has no table.
const NONE: u8 = 255;

/// What a stream of tokens is decoded with.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Model {
    pub(crate) dtype: Dtype,
    /// Elements that share an activity class.
    pub(crate) block: u16,
    /// The exponent of bucket 0; smaller exponents have higher buckets.
    pub(crate) peak: u8,
    /// The base is multiplied by this before the difference is taken: AdamW's weight decay. 1.0 where it is not.
    pub(crate) factor: f32,
    map: [u8; 256],
    tables: Vec<Vec<(u8, u16)>>,
}

impl Model {
    /// Whether `context` has a table. A token in a context without one cannot be coded.
    fn table(&self, context: u8) -> Option<usize> {
        let table = self.map.get(usize::from(context)).copied().unwrap_or(NONE);
        (usize::from(table) < self.tables.len()).then_some(usize::from(table))
    }

    /// Chooses at most [`MAX_TABLES`] tables for the contexts' token counts. Contexts alike share a table.
    pub(crate) fn fit(dtype: Dtype, block: u16, peak: u8, factor: f32, counts: &Counts) -> Self {
        let mut order: Vec<(u64, usize)> = counts
            .rows()
            .enumerate()
            .map(|(context, row)| (row.iter().map(|n| u64::from(*n)).sum::<u64>(), context))
            .collect();
        order.sort_unstable_by(|a, b| b.cmp(a));
        let (mut clusters, mut map): (Vec<Cluster>, _) = (Vec::new(), [0; 256]);
        for (total, context) in order {
            let Some(row) = counts.row(context) else { continue };
            let own = Cluster::of(row);
            // A table of its own costs about 14 bits a token in the index.
            let price = own.distinct() as f32 * 14.0;
            let nearest = clusters
                .iter()
                .map(|cluster| cluster.price_of_joining(row, &own))
                .enumerate()
                .min_by(|a, b| a.1.total_cmp(&b.1));
            let home = match nearest {
                Some((home, cost)) if total == 0 || cost <= price || clusters.len() == MAX_TABLES => home,
                _ => {
                    clusters.push(Cluster::default());
                    clusters.len() - 1
                }
            };
            if let (Some(cluster), Some(entry)) = (clusters.get_mut(home), map.get_mut(context)) {
                cluster.join(row);
                *entry = home as u8;
            }
        }
        let tables = clusters.iter().map(Cluster::frequencies).collect();
        Self {
            dtype,
            block,
            peak,
            factor,
            map,
            tables,
        }
    }

    /// Appends the model's bytes (`schema/delta.md`, "Models").
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        out.push(self.dtype.code());
        out.push(self.peak);
        out.extend_from_slice(&self.block.to_le_bytes());
        out.extend_from_slice(&self.factor.to_bits().to_le_bytes());
        put_varint(out, self.tables.len() as u64);
        for run in self.map.chunk_by(|a, b| a == b) {
            out.extend(run.first());
            out.push((run.len() - 1) as u8);
        }
        for table in &self.tables {
            put_varint(out, table.len() as u64 - 1);
            let mut next = 0;
            for (at, (token, frequency)) in table.iter().enumerate() {
                out.push(token - next);
                next = token.saturating_add(1);
                if at + 1 < table.len() {
                    put_varint(out, u64::from(*frequency));
                }
            }
        }
    }

    /// Reads a model. Everything that a decoder relies on later is checked here.
    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, Corrupt> {
        let dtype = Dtype::from_code(reader.byte()?).ok_or(Corrupt("model of an unknown dtype"))?;
        let peak = reader.byte()?;
        let block = u16::from_le_bytes(reader.array()?);
        if !(16..=1024).contains(&block) {
            return Err(Corrupt("model's blocks are not of 16 to 1024 elements"));
        }
        let factor = f32::from_bits(u32::from_le_bytes(reader.array()?));
        let predicts = matches!(dtype, Dtype::F32 | Dtype::F16 | Dtype::Bf16);
        if !(0.5..=2.0).contains(&factor) || (factor != 1.0 && !predicts) {
            return Err(Corrupt("model's factor is none that its dtype may have"));
        }
        let count = reader.count(MAX_TABLES as u64, "model has too many tables")?;
        if count == 0 {
            return Err(Corrupt("model has no table"));
        }
        let (mut map, mut filled) = ([NONE; 256], 0_usize);
        while filled < map.len() {
            let table = reader.byte()?;
            let end = filled + usize::from(reader.byte()?) + 1;
            if usize::from(table) >= count {
                return Err(Corrupt("model maps a context to a table that it does not have"));
            }
            map.get_mut(filled..end)
                .ok_or(Corrupt("model maps more contexts than there are"))?
                .fill(table);
            filled = end;
        }
        let tables = (0..count).map(|_| read_table(reader)).collect::<Result<_, _>>()?;
        Ok(Self {
            dtype,
            block,
            peak,
            factor,
            map,
            tables,
        })
    }

    /// Writes the decoding slots of all tables to `slots`.
    pub(crate) fn expand(&self, slots: &mut Vec<Slot>) {
        slots.clear();
        for table in &self.tables {
            for (token, frequency) in table {
                let frequency = u32::from(*frequency);
                slots.extend((0..frequency).map(|bias| Slot::new(*token, frequency, bias)));
            }
        }
    }

    /// The tables that [`Model::expand`] wrote.
    pub(crate) fn tables<'a>(&'a self, slots: &'a [Slot]) -> Tables<'a> {
        Tables {
            map: &self.map,
            slots,
        }
    }

    /// Intervals of all tokens, by table, for an encoder.
    pub(crate) fn intervals(&self) -> Intervals {
        let tables = self
            .tables
            .iter()
            .map(|table| {
                let (mut intervals, mut start) = ([Interval::default(); 256], 0);
                for (token, frequency) in table {
                    if let Some(interval) = intervals.get_mut(usize::from(*token)) {
                        *interval = Interval {
                            start,
                            frequency: *frequency,
                        };
                    }
                    start += frequency;
                }
                intervals
            })
            .collect();
        let map = std::array::from_fn(|context| self.table(context as u8).unwrap_or_default() as u8);
        Intervals { map, tables }
    }
}

fn read_table(reader: &mut Reader<'_>) -> Result<Vec<(u8, u16)>, Corrupt> {
    let count = reader.count(255, "table has too many tokens")? + 1;
    let (mut table, mut next, mut left) = (Vec::with_capacity(count), 0_u32, TOTAL);
    for at in 0..count {
        let token = next + u32::from(reader.byte()?);
        let token = u8::try_from(token).map_err(|_| Corrupt("table has a token above 255"))?;
        next = u32::from(token) + 1;
        let frequency = if at + 1 == count {
            u64::from(left)
        } else {
            reader.varint()?
        };
        // The last one is what is left: at least 1, because each before it had to leave something.
        if frequency == 0 || frequency > u64::from(left) || (at + 1 < count && frequency == u64::from(left)) {
            return Err(Corrupt("table's frequencies do not add up"));
        }
        left -= frequency as u32;
        table.push((token, frequency as u16));
    }
    Ok(table)
}

/// Where each token lies in the table of each context.
pub(crate) struct Intervals {
    map: [u8; 256],
    tables: Vec<[Interval; 256]>,
}

impl Intervals {
    /// The interval of `token` in `context`, or that of [`ESCAPE`] and `true`.
    #[inline(always)]
    pub(crate) fn find(&self, context: u8, token: u8) -> (Interval, bool) {
        let table = self
            .map
            .get(usize::from(context))
            .and_then(|table| self.tables.get(usize::from(*table)));
        let Some(table) = table else {
            return (Interval::default(), true);
        };
        match table.get(usize::from(token)) {
            Some(interval) if interval.frequency > 0 => (*interval, false),
            _ => (table.get(usize::from(ESCAPE)).copied().unwrap_or_default(), true),
        }
    }
}

/// How often each token was seen in each context.
#[derive(Clone)]
pub(crate) struct Counts(Vec<u32>);

impl Default for Counts {
    fn default() -> Self {
        Self(vec![0; 256 * 256])
    }
}

impl Counts {
    #[inline(always)]
    pub(crate) fn add(&mut self, context: u8, token: u8) {
        if let Some(count) = self.0.get_mut(usize::from(context) << 8 | usize::from(token)) {
            *count += 1;
        }
    }

    fn rows(&self) -> impl Iterator<Item = &[u32]> {
        self.0.chunks_exact(256)
    }

    fn row(&self, context: usize) -> Option<&[u32]> {
        self.rows().nth(context)
    }

    /// Bits that ideal tables would need, and about what those tables would cost.
    pub(crate) fn bits(&self) -> f32 {
        self.rows()
            .map(|row| {
                let own = Cluster::of(row);
                own.bits() + own.distinct() as f32 * 10.0
            })
            .sum()
    }
}

#[derive(Clone)]
struct Cluster {
    counts: [u32; 256],
    total: u64,
}

impl Default for Cluster {
    fn default() -> Self {
        Self {
            counts: [0; 256],
            total: 0,
        }
    }
}

fn n_log_n(n: u64) -> f32 {
    if n == 0 { 0.0 } else { n as f32 * (n as f32).log2() }
}

impl Cluster {
    fn of(row: &[u32]) -> Self {
        let mut own = Self::default();
        own.join(row);
        own
    }

    fn join(&mut self, row: &[u32]) {
        for (count, n) in self.counts.iter_mut().zip(row) {
            *count += n;
            self.total += u64::from(*n);
        }
    }

    fn distinct(&self) -> usize {
        self.counts.iter().filter(|n| **n > 0).count()
    }

    fn bits(&self) -> f32 {
        n_log_n(self.total) - self.counts.iter().map(|n| n_log_n(u64::from(*n))).sum::<f32>()
    }

    /// Bits by which coding `row` with the common table exceeds coding it with its own.
    fn price_of_joining(&self, row: &[u32], own: &Self) -> f32 {
        let merged: f64 = self
            .counts
            .iter()
            .zip(row)
            .filter(|(_, n)| **n > 0)
            .map(|(c, n)| {
                let (c, n) = (u64::from(*c), u64::from(*n));
                f64::from(n_log_n(c)) - f64::from(n_log_n(c + n)) + f64::from(n_log_n(n))
            })
            .sum();
        let totals = f64::from(n_log_n(self.total + own.total))
            - f64::from(n_log_n(self.total))
            - f64::from(n_log_n(own.total));
        (merged + totals) as f32
    }

    /// Frequencies that add up to [`TOTAL`]; each token that was seen, and [`ESCAPE`], has at least 1.
    fn frequencies(&self) -> Vec<(u8, u16)> {
        let mut table: Vec<(u8, u32)> = Vec::new();
        for (token, n) in self.counts.iter().enumerate() {
            let share = u64::from(*n) * u64::from(TOTAL) * 2 / self.total.max(1);
            if *n > 0 || token == usize::from(ESCAPE) {
                table.push((token as u8, (share.div_ceil(2) as u32).max(1)));
            }
        }
        let mut sum: u32 = table.iter().map(|(_, f)| f).sum();
        while sum != TOTAL {
            // What rounding left over goes to, or comes from, the largest, where it matters least.
            let Some((_, most)) = table.iter_mut().max_by_key(|(_, f)| *f) else {
                break;
            };
            let change = if sum < TOTAL {
                TOTAL - sum
            } else {
                (sum - TOTAL).min(*most / 8 + 1).min(*most - 1)
            };
            if sum < TOTAL {
                *most += change;
                sum += change;
            } else {
                *most -= change;
                sum -= change;
            }
        }
        table.into_iter().map(|(token, f)| (token, f as u16)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(crate) fn sample() -> Model {
        let mut counts = Counts::default();
        for i in 0..100_000_u32 {
            counts.add(
                (i % 200) as u8,
                15 + (i.trailing_zeros() + i % 200 / 50).min(30) as u8,
            );
        }
        Model::fit(Dtype::Bf16, 128, 120, 1.0, &counts)
    }

    #[test]
    fn a_model_reads_as_it_was_written() {
        let model = sample();
        let mut bytes = Vec::new();
        model.write(&mut bytes);
        let mut reader = Reader::new(&bytes);
        assert_eq!(Model::read(&mut reader).unwrap(), model);
        assert!(reader.is_empty());
        let mut slots = Vec::new();
        model.expand(&mut slots);
        assert_eq!(slots.len(), model.tables.len() * TOTAL as usize);
    }

    #[test]
    fn a_damaged_model_is_refused_or_has_full_tables() {
        let mut bytes = Vec::new();
        sample().write(&mut bytes);
        for i in 0..bytes.len() {
            for flip in [1, 0x80, 0xff] {
                let mut bad = bytes.clone();
                bad[i] ^= flip;
                if let Ok(model) = Model::read(&mut Reader::new(&bad)) {
                    let mut slots = Vec::new();
                    model.expand(&mut slots);
                    assert_eq!(slots.len(), model.tables.len() * TOTAL as usize, "byte {i}");
                }
            }
            assert!(Model::read(&mut Reader::new(&bytes[..i])).is_err(), "cut at {i}");
        }
    }
}
