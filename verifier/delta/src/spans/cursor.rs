//! Reading a header forwards through a window, whatever lengths it claims.

use std::io;

use super::{Format, SpanError};
use crate::ReadAt;

/// Bytes in memory at once.
const WINDOW: usize = 64 << 10;

/// A place in a file, up to an end that no read passes.
pub(super) struct Cursor<'a> {
    format: Format,
    file: &'a dyn ReadAt,
    position: u64,
    end: u64,
    window: Vec<u8>,
    /// Where the window begins in the file.
    start: u64,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(format: Format, file: &'a dyn ReadAt) -> Self {
        Self {
            format,
            file,
            position: 0,
            end: file.len(),
            window: Vec::new(),
            start: 0,
        }
    }

    pub(super) const fn position(&self) -> u64 {
        self.position
    }

    pub(super) const fn left(&self) -> u64 {
        self.end.saturating_sub(self.position)
    }

    /// Nothing beyond `end` is read from now on; it may lie further back than before, when a nested message ends.
    pub(super) fn set_end(&mut self, end: u64) {
        self.end = end.min(self.file.len());
    }

    pub(super) fn malformed(
        &self,
        what: impl ToString,
        expected: impl ToString,
        found: impl ToString,
    ) -> SpanError {
        SpanError::malformed(self.format, what, expected, found)
    }

    /// Bytes from the window, which is filled again where it holds none; empty at the end.
    fn ahead(&mut self, wanted: usize) -> Result<&[u8], SpanError> {
        let inside = self
            .position
            .checked_sub(self.start)
            .and_then(|i| usize::try_from(i).ok())
            .filter(|i| *i < self.window.len());
        let at = match inside {
            Some(at) => at,
            None => {
                // A few bytes of a header of lengths and skips cost no large read.
                let length = self.left().min(wanted.clamp(4 << 10, WINDOW) as u64) as usize;
                self.window.resize(length, 0);
                self.start = self.position;
                self.file
                    .read_at(self.start, &mut self.window)
                    .map_err(|source| SpanError::Read {
                        format: self.format,
                        offset: self.start,
                        length,
                        source,
                    })?;
                0
            }
        };
        let here = self.window.get(at..).unwrap_or_default();
        let allowed = usize::try_from(self.end.saturating_sub(self.position)).unwrap_or(usize::MAX);
        let length = here.len().min(wanted).min(allowed);
        Ok(here.get(..length).unwrap_or_default())
    }

    pub(super) fn fill(&mut self, what: &str, into: &mut [u8]) -> Result<(), SpanError> {
        let (from, length) = (self.position, into.len());
        let mut rest = into;
        while !rest.is_empty() {
            let ahead = self.ahead(rest.len())?;
            let taken = ahead.len();
            let Some((part, after)) = rest.split_at_mut_checked(taken).filter(|_| taken > 0) else {
                let found = format!("the end at {}", self.end);
                return Err(self.malformed(what, format!("{length} bytes at {from}"), found));
            };
            part.copy_from_slice(ahead);
            self.position += taken as u64;
            rest = after;
        }
        Ok(())
    }

    pub(super) fn array<const N: usize>(&mut self, what: &str) -> Result<[u8; N], SpanError> {
        let mut bytes = [0; N];
        self.fill(what, &mut bytes)?;
        Ok(bytes)
    }

    pub(super) fn u32(&mut self, what: &str) -> Result<u32, SpanError> {
        self.array(what).map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self, what: &str) -> Result<u64, SpanError> {
        self.array(what).map(u64::from_le_bytes)
    }

    /// `length` bytes of text, if there are at most `most`.
    pub(super) fn text(&mut self, what: &str, length: u64, most: usize) -> Result<String, SpanError> {
        let length = match usize::try_from(length) {
            Ok(length) if length <= most => length,
            _ => return Err(self.malformed(what, format!("at most {most} bytes"), length)),
        };
        let mut bytes = vec![0; length];
        self.fill(what, &mut bytes)?;
        String::from_utf8(bytes).map_err(|e| self.malformed(what, "UTF-8", e))
    }

    pub(super) fn skip(&mut self, what: &str, length: u64) -> Result<(), SpanError> {
        if length > self.left() {
            let found = format!("{} bytes to the end", self.left());
            return Err(self.malformed(what, format!("{length} bytes at {}", self.position), found));
        }
        self.position += length;
        Ok(())
    }
}

/// For parsers that take a reader. What the file's reader says is passed on; the end is an end.
impl io::Read for Cursor<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let ahead = self.ahead(into.len()).map_err(io::Error::other)?;
        let length = ahead.len();
        if let Some(part) = into.get_mut(..length) {
            part.copy_from_slice(ahead);
        }
        self.position += length as u64;
        Ok(length)
    }
}
