//! How the pieces of a pull came.

/// Chunks that a delta may fail to give before it is not asked any more.
const MISSES: u32 = 8;

/// How a piece came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Via {
    /// From this device.
    Copy,
    /// Out of a delta, by its number.
    Frame(usize),
    /// From the registry as it is.
    Whole,
}

/// Sums over the pieces of a pull.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::device) struct Tally {
    /// Bytes that were copied from this device.
    pub(in crate::device) copied: u64,
    /// Bytes that came out of deltas.
    pub(in crate::device) decoded: u64,
    /// Bytes of the frames that were received.
    pub(in crate::device) frames: u64,
    /// Bytes that came as they are.
    pub(in crate::device) whole: u64,
    /// Chunks that their way did not give, so that they were fetched whole.
    pub(in crate::device) missed: u64,
    /// The first of them, and why.
    pub(in crate::device) first_missed: Option<String>,
    /// Misses of each delta.
    of: Vec<u32>,
}

impl Tally {
    pub(super) fn new(deltas: usize) -> Self {
        Self {
            of: vec![0; deltas],
            ..Self::default()
        }
    }

    pub(super) fn received(&mut self, via: Via, len: u32) {
        let sum = match via {
            Via::Copy => &mut self.copied,
            Via::Frame(_) => &mut self.decoded,
            Via::Whole => &mut self.whole,
        };
        *sum = sum.saturating_add(u64::from(len));
    }

    pub(super) fn frame(&mut self, len: usize) {
        self.frames = self.frames.saturating_add(len as u64);
    }

    pub(super) fn missed(&mut self, via: Via, why: impl FnOnce() -> String) {
        self.missed = self.missed.saturating_add(1);
        self.first_missed.get_or_insert_with(why);
        if let Via::Frame(delta) = via
            && let Some(misses) = self.of.get_mut(delta)
        {
            *misses = misses.saturating_add(1);
        }
    }

    /// A delta that failed so often lies, or was made for another base: asking it again only costs.
    pub(super) fn is_given_up(&self, delta: usize) -> bool {
        self.of.get(delta).is_none_or(|misses| *misses >= MISSES)
    }
}
