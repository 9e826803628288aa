//! A delta in two files below the data folder, until it is complete: its index is known only behind its last frame.

use std::fs::File;
use std::io::{self, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use assay_schema::Sha256Digest;
use bytes::Bytes;
use sha2::{Digest, Sha256};

/// Where frames lie while they come.
pub(super) const FOLDER: &str = "deltas";
/// Ends the name of a spooled delta.
const SUFFIX: &str = ".frames";
/// Bytes of one piece in the object store.
pub(super) const PIECE: u64 = 16 << 20;

/// Frames in a file that goes with its owner.
pub(super) struct Spool {
    path: PathBuf,
    file: BufWriter<File>,
    length: u64,
}

/// A complete delta: its index in memory, its frames in a file.
pub(super) struct Spooled {
    index: Vec<u8>,
    frames: File,
    length: u64,
    path: PathBuf,
}

/// The folder, made if need be.
///
/// # Errors
/// It cannot be made.
pub(super) fn folder(data: &Path) -> io::Result<PathBuf> {
    let folder = data.join(FOLDER);
    std::fs::create_dir_all(&folder)?;
    Ok(folder)
}

/// Removes what an earlier run left: nobody else works in the data folder.
///
/// # Errors
/// The folder cannot be read.
pub(super) fn clear(folder: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.to_str().is_some_and(|path| path.ends_with(SUFFIX)) {
            std::fs::remove_file(path)?;
        }
    }
    Ok(())
}

impl Spool {
    /// An empty one.
    ///
    /// # Errors
    /// The file cannot be made.
    pub(super) fn new(folder: &Path, name: &str) -> io::Result<Self> {
        let path = folder.join(format!("{name}{SUFFIX}"));
        let file = File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .open(&path)?;
        Ok(Self {
            path,
            file: BufWriter::with_capacity(1 << 20, file),
            length: 0,
        })
    }

    /// Adds a frame.
    ///
    /// # Errors
    /// The disk is full, or fails.
    pub(super) fn push(&mut self, frame: &[u8]) -> io::Result<()> {
        self.file.write_all(frame)?;
        self.length = self.length.saturating_add(frame.len() as u64);
        Ok(())
    }

    /// Bytes so far.
    pub(super) const fn length(&self) -> u64 {
        self.length
    }

    /// Puts the index in front.
    ///
    /// # Errors
    /// The disk is full, or fails.
    pub(super) fn finish(mut self, index: Vec<u8>) -> io::Result<Spooled> {
        self.file.flush()?;
        Ok(Spooled {
            index,
            frames: self.file.get_ref().try_clone()?,
            length: self.length,
            // Taken over: what is left of `self` has nothing to remove.
            path: std::mem::take(&mut self.path),
        })
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        remove(&self.path);
    }
}

impl Drop for Spooled {
    fn drop(&mut self) {
        remove(&self.path);
    }
}

/// What cannot be removed now is at the next start.
fn remove(path: &Path) {
    if !path.as_os_str().is_empty() {
        let _ = std::fs::remove_file(path);
    }
}

impl Spooled {
    /// Header and index.
    pub(super) fn index(&self) -> &[u8] {
        &self.index
    }

    /// Bytes of all of it.
    pub(super) fn size(&self) -> u64 {
        (self.index.len() as u64).saturating_add(self.length)
    }

    /// The bytes from `offset` on, `length` of them.
    ///
    /// # Errors
    /// The file is shorter, or cannot be read.
    pub(super) fn read(&mut self, offset: u64, length: u64) -> io::Result<Vec<u8>> {
        let length = length.min(self.size().saturating_sub(offset));
        let mut out = vec![0; length as usize];
        let indexed = self.index.len() as u64;
        let head = usize::try_from(offset)
            .ok()
            .and_then(|from| self.index.get(from..))
            .unwrap_or_default();
        let count = head.len().min(out.len());
        let (first, rest) = out.split_at_mut(count);
        first.copy_from_slice(head.get(..count).unwrap_or_default());
        if !rest.is_empty() {
            let from = offset.max(indexed).saturating_sub(indexed);
            self.frames.seek(SeekFrom::Start(from))?;
            self.frames.read_exact(rest)?;
        }
        Ok(out)
    }

    /// SHA-256 of all of it.
    ///
    /// # Errors
    /// The file cannot be read.
    pub(super) fn sha256(&mut self) -> io::Result<Sha256Digest> {
        let (mut hash, mut at) = (Sha256::new(), 0_u64);
        while at < self.size() {
            let piece = self.read(at, 1 << 20)?;
            hash.update(&piece);
            at = at.saturating_add(piece.len() as u64);
        }
        Ok(Sha256Digest::new(hash.finalize().into()))
    }

    /// The piece that begins at `offset`, as it goes into the object store.
    ///
    /// # Errors
    /// The file cannot be read.
    pub(super) fn piece(&mut self, offset: u64) -> io::Result<Vec<Bytes>> {
        let (mut parts, mut at) = (Vec::new(), offset);
        let end = self.size().min(offset.saturating_add(PIECE));
        while at < end {
            let part = self.read(at, (1 << 20).min(end.saturating_sub(at)))?;
            at = at.saturating_add(part.len() as u64);
            parts.push(Bytes::from(part));
        }
        Ok(parts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn index_and_frames_read_as_one_and_leave_no_file() {
        let folder = tempfile::tempdir().unwrap();
        let mut spool = Spool::new(folder.path(), "one").unwrap();
        spool.push(b"frame").unwrap();
        spool.push(b"s").unwrap();
        assert_eq!(spool.length(), 6);
        let mut all = spool.finish(b"index ".to_vec()).unwrap();
        assert_eq!(all.size(), 12);
        for (offset, length, expected) in [
            (0, 12, "index frames"),
            (2, 6, "dex fr"),
            (6, 3, "fra"),
            (9, 100, "mes"),
            (0, 2, "in"),
        ] {
            assert_eq!(all.read(offset, length).unwrap(), expected.as_bytes());
        }
        assert_eq!(all.piece(0).unwrap().concat(), b"index frames");
        let digest: [u8; 32] = Sha256::digest(b"index frames").into();
        assert_eq!(all.sha256().unwrap(), Sha256Digest::new(digest));
        drop(all);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn what_an_earlier_run_left_is_removed_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("left.frames"), b"x").unwrap();
        std::fs::write(folder.path().join("holder"), b"y").unwrap();
        clear(folder.path()).unwrap();
        assert!(folder.path().join("holder").exists() && !folder.path().join("left.frames").exists());
    }
}
