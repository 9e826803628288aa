//! Positioned reads, which the caller implements: over a file, memory, or a browser's blob.

use std::io;

/// Bytes that can be read at any position.
///
/// # Contract
///
/// `read_at` fills all of `into` or fails; a range beyond `len()` fails with [`io::ErrorKind::UnexpectedEof`]. Two reads of one range
/// may differ (a file can change under its reader): nobody relies on more than that the result is checked.
pub trait ReadAt {
    /// Length in bytes.
    fn len(&self) -> u64;

    /// Whether there is nothing to read.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Fills `into` with the bytes from `offset` on.
    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()>;
}

impl ReadAt for [u8] {
    fn len(&self) -> u64 {
        <[u8]>::len(self) as u64
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        let bytes = usize::try_from(offset)
            .ok()
            .and_then(|start| self.get(start..start.checked_add(into.len())?))
            .ok_or(io::ErrorKind::UnexpectedEof)?;
        into.copy_from_slice(bytes);
        Ok(())
    }
}

impl ReadAt for Vec<u8> {
    fn len(&self) -> u64 {
        self.as_slice().len() as u64
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        self.as_slice().read_at(offset, into)
    }
}

impl<R: ReadAt + ?Sized> ReadAt for &R {
    fn len(&self) -> u64 {
        (**self).len()
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        (**self).read_at(offset, into)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_beyond_the_end_is_refused() {
        let bytes = vec![1_u8, 2, 3];
        let mut two = [0; 2];
        bytes.read_at(1, &mut two).unwrap();
        assert_eq!(two, [2, 3]);
        assert!(bytes.read_at(2, &mut two).is_err());
        assert!(bytes.read_at(u64::MAX, &mut two).is_err());
    }
}
