//! Whole-file and chunk digests in one reading, as a publisher needs them.
//!
//! One thread a core reads a file in chunks and feeds its whole digest, which is sequential by nature; it hands each chunk on to
//! the chunk threads, so that a single large file keeps two cores busy and many files keep all of them.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

use assay_schema::limits::CHUNK_SIZE;
use assay_schema::{ChunkIndex, FilePath, Sha256Digest};
use sha2::{Digest, Sha256};

use super::sha256;
use crate::folder::{self, Folder, io_error};
use crate::scan::{FoundFile, ScanError};

/// A file with its digests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HashedFile {
    pub(crate) path: FilePath,
    pub(crate) size: u64,
    pub(crate) sha256: Sha256Digest,
    /// For files of more than one chunk, where chunks were asked for.
    pub(crate) index: Option<ChunkIndex>,
}

/// A chunk on its way to be hashed, and where its digest goes.
struct Job {
    number: usize,
    bytes: Arc<Vec<u8>>,
    done: Sender<(usize, Sha256Digest)>,
}

/// Buffers that are used again: allocating a megabyte for each chunk costs more than it looks.
#[derive(Default)]
struct Buffers(Mutex<Vec<Vec<u8>>>);

impl Buffers {
    fn take(&self) -> Vec<u8> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop()
            .unwrap_or_default()
    }

    /// Keeps the buffer if nobody else reads it any more.
    fn release(&self, bytes: Arc<Vec<u8>>) {
        if let Some(buffer) = Arc::into_inner(bytes) {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).push(buffer);
        }
    }
}

/// Hashes files below `root` on `threads` threads. `chunks` asks for chunk digests too; `progress` is told bytes as they are
/// hashed.
///
/// # Errors
/// A file cannot be read, or is not the one that was listed any more.
pub(crate) fn hash_files(
    root: &Folder,
    files: &[FoundFile],
    chunks: bool,
    threads: usize,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<Vec<HashedFile>, ScanError> {
    // The largest first, so that no thread begins one when the others are done.
    let mut order: Vec<usize> = (0..files.len()).collect();
    order.sort_by_key(|i| std::cmp::Reverse(files.get(*i).map_or(0, |f| f.mark.size)));
    let next = AtomicUsize::new(0);
    let stop = AtomicBool::new(false);
    let results: Mutex<Vec<Option<HashedFile>>> = Mutex::new(vec![None; files.len()]);
    let failure: Mutex<Option<ScanError>> = Mutex::new(None);
    let buffers = Buffers::default();
    let (jobs, queue) = sync_channel::<Job>(2 * threads);
    let queue = Mutex::new(queue);

    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| chunk_thread(&queue, &buffers));
        }
        for _ in 0..threads {
            let jobs = jobs.clone();
            scope.spawn(|| {
                let jobs = jobs;
                while !stop.load(Ordering::Relaxed) {
                    let Some(index) = order.get(next.fetch_add(1, Ordering::Relaxed)) else {
                        break;
                    };
                    let Some(file) = files.get(*index) else { break };
                    match hash_file(root, file, chunks.then_some(&jobs), &buffers, &stop, progress) {
                        Ok(hashed) => {
                            let mut results = results.lock().unwrap_or_else(PoisonError::into_inner);
                            if let Some(slot) = results.get_mut(*index) {
                                *slot = hashed;
                            }
                        }
                        Err(error) => {
                            stop.store(true, Ordering::Relaxed);
                            failure
                                .lock()
                                .unwrap_or_else(PoisonError::into_inner)
                                .get_or_insert(error);
                        }
                    }
                }
            });
        }
        // The chunk threads end when the last file thread has dropped its sender.
        drop(jobs);
    });
    match failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
        Some(error) => Err(error),
        None => Ok(results
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner)
            .into_iter()
            .flatten()
            .collect()),
    }
}

fn chunk_thread(queue: &Mutex<Receiver<Job>>, buffers: &Buffers) {
    loop {
        // The lock is held while waiting: whoever waits for the lock would wait for a job anyway.
        let job = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(Job { number, bytes, done }) = job else {
            return;
        };
        let digest = sha256(&bytes);
        buffers.release(bytes);
        // The file's thread is gone only when it failed, and then nobody wants the digest.
        let _ = done.send((number, digest));
    }
}

/// `None` if another thread's failure stopped it.
fn hash_file(
    root: &Folder,
    found: &FoundFile,
    jobs: Option<&SyncSender<Job>>,
    buffers: &Buffers,
    stop: &AtomicBool,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<Option<HashedFile>, ScanError> {
    let path = root.path().join(found.path.as_str());
    let changed = || ScanError::Changed { path: path.clone() };
    let file = root.read_at_path(&found.path)?.ok_or_else(changed)?;
    if folder::mark(&file, &path)? != found.mark {
        return Err(changed());
    }
    let size = found.mark.size;
    let jobs = jobs.filter(|_| size > u64::from(CHUNK_SIZE));
    let (done, digests) = channel();
    let mut whole = Sha256::new();
    let mut offset = 0;
    let mut count = 0;
    while offset < size {
        if stop.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let mut buffer = buffers.take();
        buffer.resize(
            usize::try_from((size - offset).min(CHUNK_SIZE.into())).unwrap_or(0),
            0,
        );
        let n = folder::read_at(&file, &mut buffer, offset).map_err(|e| io_error("read", &path, e))?;
        if n < buffer.len() {
            return Err(changed());
        }
        let bytes = Arc::new(buffer);
        if let Some(jobs) = jobs {
            let job = Job {
                number: count,
                bytes: Arc::clone(&bytes),
                done: done.clone(),
            };
            if jobs.send(job).is_err() {
                return Ok(None);
            }
        }
        whole.update(bytes.as_slice());
        buffers.release(bytes);
        progress(n as u64);
        offset += n as u64;
        count += 1;
    }
    drop(done);
    let index = match jobs {
        Some(_) => Some(collect(size, count, &digests, &path)?),
        None => None,
    };
    // Somebody who writes while we read leaves another size or time behind.
    if folder::mark(&file, &path)? != found.mark {
        return Err(changed());
    }
    let sha256 = Sha256Digest::new(whole.finalize().into());
    Ok(Some(HashedFile {
        path: found.path.clone(),
        size,
        sha256,
        index,
    }))
}

fn collect(
    size: u64,
    count: usize,
    digests: &Receiver<(usize, Sha256Digest)>,
    path: &Path,
) -> Result<ChunkIndex, ScanError> {
    let mut all = vec![Sha256Digest::new([0; 32]); count];
    let mut seen = 0;
    for (number, digest) in digests {
        if let Some(slot) = all.get_mut(number) {
            *slot = digest;
            seen += 1;
        }
    }
    // A chunk without its digest means that a hashing thread died; an index with a hole in it must not be published.
    all.truncate(seen);
    ChunkIndex::new(size, all).map_err(|e| ScanError::Size {
        path: path.to_owned(),
        reason: e.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scan::scan_folder;

    fn folder(files: &[(&str, usize)]) -> (tempfile::TempDir, Folder) {
        let dir = tempfile::tempdir().unwrap();
        for (name, len) in files {
            let bytes: Vec<u8> = (0..*len).map(|i| (i % 251) as u8).collect();
            std::fs::write(dir.path().join(name), bytes).unwrap();
        }
        let folder = Folder::open(dir.path()).unwrap();
        (dir, folder)
    }

    #[test]
    fn digests_are_those_of_hashing_one_after_the_other() {
        let mib = 1 << 20;
        let files = [
            ("a", 0),
            ("b", 1),
            ("c", mib),
            ("d", mib + 1),
            ("e", 9 * mib),
            ("f", 5 * mib - 1),
        ];
        let (dir, folder) = folder(&files);
        let found = scan_folder(&folder, &[]).unwrap();
        let total = std::sync::atomic::AtomicU64::new(0);
        let count = |n| {
            total.fetch_add(n, Ordering::Relaxed);
        };
        let hashed = hash_files(&folder, &found, true, 3, &count).unwrap();
        assert_eq!(
            total.into_inner(),
            files.iter().map(|(_, len)| *len as u64).sum::<u64>()
        );
        for (file, (name, len)) in hashed.iter().zip(files) {
            let bytes = std::fs::read(dir.path().join(name)).unwrap();
            assert_eq!((file.path.as_str(), file.size), (name, len as u64));
            assert_eq!(file.sha256, sha256(&bytes));
            let expected: Vec<_> = bytes.chunks(mib).map(sha256).collect();
            assert_eq!(
                file.index.as_ref().map(|i| i.digests().to_vec()),
                (len > mib).then_some(expected),
                "{name}"
            );
        }
    }

    #[test]
    fn files_that_change_while_they_are_read_are_refused() {
        let (dir, folder) = folder(&[("a", 3 << 20), ("b", 10)]);
        let found = scan_folder(&folder, &[]).unwrap();
        let at = dir.path().join("a");
        let grow = || {
            use std::io::Write as _;
            std::fs::OpenOptions::new()
                .append(true)
                .open(&at)
                .unwrap()
                .write_all(b"x")
                .unwrap();
        };
        // In the middle of the reading...
        let once = std::sync::Once::new();
        let changed = hash_files(&folder, &found, true, 1, &|_| once.call_once(grow));
        assert!(matches!(changed, Err(ScanError::Changed { .. })), "{changed:?}");
        // ... and between listing and reading.
        let changed = hash_files(&folder, &found, false, 1, &|_| {});
        assert!(matches!(changed, Err(ScanError::Changed { .. })), "{changed:?}");
        std::fs::remove_file(&at).unwrap();
        let changed = hash_files(&folder, &found, false, 1, &|_| {});
        assert!(matches!(changed, Err(ScanError::Changed { .. })), "{changed:?}");
    }
}
