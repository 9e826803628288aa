//! Gathering a body's pieces into segments.

use bytes::{Bytes, BytesMut};

/// Bytes of a full segment. The last one of a request is as long as what came.
pub(super) const SEGMENT: usize = 16 << 20;
/// Bytes of one buffer. Pieces are copied out of the connection's buffers, which they would else keep alive.
const BUFFER: usize = 1 << 20;

/// A segment that is being gathered.
#[derive(Debug, Default)]
pub(super) struct Gather {
    full: Vec<Bytes>,
    last: BytesMut,
    len: usize,
}

impl Gather {
    /// Takes bytes up to the end of the segment; gives back what does not fit.
    pub(super) fn take(&mut self, mut piece: Bytes) -> Bytes {
        while !piece.is_empty() && self.len < SEGMENT {
            if self.last.is_empty() {
                self.last.reserve(BUFFER);
            }
            let room = BUFFER
                .saturating_sub(self.last.len())
                .min(SEGMENT.saturating_sub(self.len));
            let part = piece.split_to(room.min(piece.len()));
            self.last.extend_from_slice(&part);
            self.len = self.len.saturating_add(part.len());
            if self.last.len() >= BUFFER {
                self.full.push(self.last.split().freeze());
            }
        }
        piece
    }

    /// Bytes gathered.
    pub(super) const fn len(&self) -> usize {
        self.len
    }

    /// Whether no more fits.
    pub(super) const fn is_full(&self) -> bool {
        self.len >= SEGMENT
    }

    /// What was gathered; the next segment begins empty.
    pub(super) fn finish(&mut self) -> Vec<Bytes> {
        if !self.last.is_empty() {
            self.full.push(self.last.split().freeze());
        }
        self.len = 0;
        std::mem::take(&mut self.full)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_takes_exactly_what_fits_and_keeps_the_order() {
        let all: Vec<u8> = (0..SEGMENT + 70_000).map(|i| (i % 251) as u8).collect();
        let mut gather = Gather::default();
        let mut left = Bytes::new();
        for piece in all.chunks(65_521) {
            left = gather.take(Bytes::copy_from_slice(piece));
            if gather.is_full() {
                break;
            }
        }
        let segment = gather.finish().concat();
        assert_eq!(segment.len(), SEGMENT);
        assert_eq!(segment, all[..SEGMENT]);
        assert_eq!(left, all[SEGMENT..SEGMENT + left.len()]);
        assert_eq!(gather.len(), 0);
        assert!(gather.finish().is_empty());
    }
}
