//! Reading ranges across segments, a piece at a time.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use futures_util::stream::{self, Stream, StreamExt};
use object_store::ObjectStoreExt;
use object_store::path::Path;

use super::{BlobError, Blobs};
use crate::persistence::Segment;

/// Bytes of one read. The local store's own stream comes in 8 KiB pieces, each a trip to the blocking pool.
const READ: u64 = 1 << 20;
/// Reads under way for one reader: its memory is this times [`READ`].
const AHEAD: usize = 2;
/// Readers from which on each gets smaller pieces: one that takes nothing keeps what was read for it in memory, and anybody can
/// open many.
const MANY: usize = 64;
/// Bytes of one read for each of many.
const READ_OF_MANY: u64 = 64 << 10;

/// How many readers there are.
#[derive(Debug, Clone, Default)]
pub(super) struct Readers(Arc<AtomicUsize>);

/// One of them, until it is dropped.
struct Reader(Readers);

impl Readers {
    /// One more, and the size of its pieces.
    fn enter(&self) -> (Reader, u64) {
        let before = self.0.fetch_add(1, Ordering::Relaxed);
        let read = if before < MANY { READ } else { READ_OF_MANY };
        (Reader(self.clone()), read)
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Blobs {
    /// The bytes of `range` of what `segments` hold together, in pieces of at most 1 MiB. `segments` are in order and cover the
    /// range; a gap ends the stream with an error.
    pub fn read(
        &self,
        segments: Vec<Segment>,
        range: Range<u64>,
    ) -> impl Stream<Item = Result<Bytes, BlobError>> + Send + 'static + use<> {
        let (reader, read) = self.readers.enter();
        let plan = Plan {
            segments: segments.into(),
            at: range.start,
            end: range.end,
            read,
        };
        let store = self.clone();
        stream::iter(plan)
            .map(move |read| {
                // It counts for as long as the stream lives.
                let _counted = &reader;
                let store = store.clone();
                async move { store.read_one(read?).await }
            })
            .buffered(AHEAD)
    }

    async fn read_one(&self, read: Read) -> Result<Bytes, BlobError> {
        let expected = read.range.end.saturating_sub(read.range.start);
        let bytes = self
            .store
            .get_range(&Path::from(read.object.as_str()), read.range)
            .await
            .map_err(|e| BlobError::store(&read.object, e))?;
        let found = bytes.len() as u64;
        if found == expected {
            Ok(bytes)
        } else {
            Err(BlobError::Short {
                object: read.object,
                expected,
                found,
            })
        }
    }
}

struct Read {
    object: String,
    range: Range<u64>,
}

struct Plan {
    segments: VecDeque<Segment>,
    at: u64,
    end: u64,
    /// Bytes of one read at most.
    read: u64,
}

impl Iterator for Plan {
    type Item = Result<Read, BlobError>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.at < self.end {
            let Some(segment) = self.segments.front() else {
                let missing = BlobError::Gone {
                    object: format!("the segment that holds byte {}", self.at),
                };
                self.at = self.end;
                return Some(Err(missing));
            };
            let segment_end = segment.start.saturating_add(segment.len);
            if segment_end <= self.at {
                self.segments.pop_front();
                continue;
            }
            let Some(from) = self.at.checked_sub(segment.start) else {
                let missing = BlobError::Gone {
                    object: format!("the segment that holds byte {}", self.at),
                };
                self.at = self.end;
                return Some(Err(missing));
            };
            let until = segment_end.min(self.end).min(self.at.saturating_add(self.read));
            let range = from..until.saturating_sub(segment.start);
            self.at = until;
            return Some(Ok(Read {
                object: segment.object.clone(),
                range,
            }));
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment(start: u64, len: u64) -> Segment {
        Segment {
            start,
            len,
            object: format!("at-{start}"),
        }
    }

    fn plan(segments: &[Segment], range: Range<u64>) -> Vec<Option<(String, Range<u64>)>> {
        let plan = Plan {
            segments: segments.to_vec().into(),
            at: range.start,
            end: range.end,
            read: READ,
        };
        plan.map(|read| read.ok().map(|read| (read.object, read.range)))
            .collect()
    }

    #[test]
    fn a_range_crosses_segments_of_any_length() {
        let segments = [segment(0, 10), segment(10, 3), segment(13, 20)];
        let expected = [("at-0", 8..10), ("at-10", 0..3), ("at-13", 0..2)];
        let expected: Vec<_> = expected
            .into_iter()
            .map(|(o, r)| Some((o.to_owned(), r)))
            .collect();
        assert_eq!(plan(&segments, 8..15), expected);
    }

    #[test]
    fn reads_are_at_most_a_mebibyte() {
        let reads = plan(&[segment(0, 3 * READ)], 1..2 * READ + 2);
        let ranges: Vec<_> = reads.into_iter().map(|read| read.unwrap().1).collect();
        assert_eq!(
            ranges,
            [1..READ + 1, READ + 1..2 * READ + 1, 2 * READ + 1..2 * READ + 2]
        );
    }

    #[test]
    fn each_of_many_readers_gets_smaller_pieces() {
        let readers = Readers::default();
        let mut few: Vec<_> = (0..MANY).map(|_| readers.enter()).collect();
        assert!(few.iter().all(|(_, read)| *read == READ));
        assert_eq!(readers.enter().1, READ_OF_MANY);
        few.pop();
        assert_eq!(readers.enter().1, READ);
    }

    #[test]
    fn a_gap_is_an_error_and_not_fewer_bytes() {
        assert_eq!(
            plan(&[segment(0, 4), segment(6, 4)], 2..8),
            [Some(("at-0".to_owned(), 2..4)), None]
        );
        assert_eq!(
            plan(&[segment(0, 4)], 2..8),
            [Some(("at-0".to_owned(), 2..4)), None]
        );
    }
}
