//! Driving stage 8: threads that hash and fetch, one thread that decides and writes.
//!
//! The machine bounds how many pieces are under way, so the queues here need no bound of their own. Fetched pieces are hashed on
//! the thread that received them, while they are in its cache.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::iter::repeat_n;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, PoisonError};

use assay_schema::manifest::FileEntry;
use assay_schema::{NamespaceName, Sha256Digest, Verdict};
use assay_verifier::{Action, Content, DeviceState, Event, Piece};

use super::{DeviceError, Result};
use crate::folder::Folder;
use crate::hash;
use crate::transport::{Fetched, Transport, TransportError, paths};

/// Connections that fetch at once.
const FETCHERS: usize = 3;
/// Local pieces that the machine has under way at most, shared out in [`batch`]es.
const LOCAL: usize = 32;

/// Local pieces that a thread takes at a time: more mean fewer wake-ups of the deciding thread, but two batches a thread must be
/// under way for none to wait.
fn batch(threads: usize) -> usize {
    (LOCAL / (2 * threads.max(1))).clamp(1, 8)
}

/// What the machine's durable actions do here.
pub(super) trait Host {
    /// A chunk index from this device; `None` if it is not here.
    fn index(&mut self, sha256: Sha256Digest, size: u64) -> Result<Option<Vec<u8>>>;
    /// Keeps an index that came from the registry and has the right digest.
    fn keep_index(&mut self, sha256: Sha256Digest, bytes: &[u8]) -> Result<()>;
    /// A1.
    fn write(&mut self, piece: Piece, entry: &FileEntry, bytes: &[u8]) -> Result<()>;
    /// A2 and A3.
    fn seal(&mut self) -> Result<()>;
    /// A4.
    fn persist(&mut self, state: &DeviceState) -> Result<()>;
    /// A5.
    fn activate(&mut self) -> Result<()>;
}

/// Where pieces come from.
#[derive(Clone, Copy)]
pub(super) struct Sources<'a> {
    /// The files on this device.
    pub(super) files: &'a Folder,
    /// The registry, if it may be asked.
    pub(super) remote: Option<(&'a dyn Transport, &'a NamespaceName)>,
    pub(super) threads: usize,
}

enum Job {
    Hash(Vec<Piece>),
    Index {
        file: usize,
        sha256: Sha256Digest,
        size: u64,
    },
    Fetch {
        file: usize,
        sha256: Sha256Digest,
        pieces: Vec<Piece>,
    },
}

enum Done {
    Event(Event),
    Received {
        piece: Piece,
        bytes: Vec<u8>,
        sha256: Sha256Digest,
    },
    /// A file on this device cannot be read, for another reason than that it is not there.
    Broken(DeviceError),
}

/// Buffers for fetched pieces, used again.
type Buffers = Mutex<Vec<Vec<u8>>>;

/// Runs the machine to its end. An error of the device itself (a full disk, a crash in a test) ends it at once, without a verdict.
pub(super) fn drive(
    mut content: Content,
    sources: Sources<'_>,
    host: &mut dyn Host,
    progress: &mut dyn FnMut(u64),
) -> Result<Box<Verdict>> {
    let entries = content.manifest().files.clone();
    let (hash_jobs, hash_queue) = channel();
    let (fetch_jobs, fetch_queue) = channel();
    let (done, results) = channel();
    let (hash_queue, fetch_queue) = (Mutex::new(hash_queue), Mutex::new(fetch_queue));
    let buffers = Buffers::default();
    std::thread::scope(|scope| {
        let fetchers = sources.remote.map_or(0, |_| FETCHERS);
        for queue in repeat_n(&hash_queue, sources.threads).chain(repeat_n(&fetch_queue, fetchers)) {
            let worker = Worker {
                entries: &entries,
                sources,
                done: done.clone(),
                buffers: &buffers,
            };
            scope.spawn(move || worker.run(queue));
        }
        let mut deciding = Deciding {
            entries: &entries,
            host,
            hash: hash_jobs,
            fetch: fetch_jobs,
            fetches: sources.remote.is_some(),
            held: BTreeMap::new(),
            buffers: &buffers,
            batch: Vec::new(),
            batch_len: batch(sources.threads),
            under_way: 0,
        };
        let result = deciding.run(&mut content, &results, progress);
        // Whatever the threads still have queued is of no use to anybody.
        drain(&hash_queue);
        drain(&fetch_queue);
        result
    })
}

fn drain(queue: &Mutex<Receiver<Job>>) {
    // A thread that waits for a job holds the lock; then there is nothing to drain.
    if let Ok(queue) = queue.try_lock() {
        while queue.try_recv().is_ok() {}
    }
}

struct Deciding<'a> {
    entries: &'a [FileEntry],
    host: &'a mut dyn Host,
    hash: Sender<Job>,
    fetch: Sender<Job>,
    fetches: bool,
    held: BTreeMap<(usize, u64), (Vec<u8>, Sha256Digest)>,
    buffers: &'a Buffers,
    batch: Vec<Piece>,
    batch_len: usize,
    /// Results that the threads still owe.
    under_way: usize,
}

impl Deciding<'_> {
    fn run(
        &mut self,
        content: &mut Content,
        results: &Receiver<Vec<Done>>,
        progress: &mut dyn FnMut(u64),
    ) -> Result<Box<Verdict>> {
        loop {
            while let Some(action) = content.poll() {
                if let Some(verdict) = self.act(content, action)? {
                    return Ok(verdict);
                }
            }
            self.flush();
            progress(content.done());
            if self.under_way == 0 {
                return Err(DeviceError::Stuck);
            }
            let mut next = Some(results.recv().map_err(|_| DeviceError::Stuck)?);
            while let Some(all) = next {
                for done in all {
                    self.take(content, done)?;
                }
                next = results.try_recv().ok();
            }
        }
    }

    fn act(&mut self, content: &mut Content, action: Action) -> Result<Option<Box<Verdict>>> {
        match action {
            Action::HashLocal(piece) => {
                self.under_way += 1;
                self.batch.push(piece);
                if self.batch.len() == self.batch_len {
                    self.flush();
                }
            }
            Action::ReadIndex { file, sha256, size } => match self.host.index(sha256, size)? {
                Some(bytes) => content.handle(Event::Index { file, bytes }),
                None if self.fetches => {
                    self.under_way += 1;
                    let _ = self.fetch.send(Job::Index { file, sha256, size });
                }
                None => content.handle(failed(
                    file,
                    Vec::new(),
                    "its chunk index is not on this device",
                    false,
                )),
            },
            Action::Fetch { file, pieces, .. } if !self.fetches => {
                content.handle(failed(
                    file,
                    pieces,
                    "it is missing or damaged on this device",
                    false,
                ));
            }
            Action::Fetch { file, sha256, pieces } => {
                self.under_way += pieces.len();
                let _ = self.fetch.send(Job::Fetch { file, sha256, pieces });
            }
            Action::HashReceived(piece) => {
                if let Some((_, sha256)) = self.held.get(&(piece.file, piece.chunk)) {
                    content.handle(Event::Hashed {
                        piece,
                        sha256: *sha256,
                    });
                }
            }
            Action::Write(piece) => {
                let held = self.held.remove(&(piece.file, piece.chunk));
                let entry = self.entries.get(piece.file).ok_or(DeviceError::Stuck)?;
                let bytes = held.map(|(bytes, _)| bytes).unwrap_or_default();
                if bytes.len() as u64 != u64::from(piece.len) {
                    return Err(DeviceError::Stuck);
                }
                self.host.write(piece, entry, &bytes)?;
                self.release(bytes);
                content.handle(Event::Written(piece));
            }
            Action::Discard(piece) => {
                if let Some((bytes, _)) = self.held.remove(&(piece.file, piece.chunk)) {
                    self.release(bytes);
                }
            }
            Action::Seal => {
                self.host.seal()?;
                content.handle(Event::Sealed);
            }
            Action::Persist(state) => {
                self.host.persist(&state)?;
                content.handle(Event::Persisted);
            }
            Action::Activate => {
                self.host.activate()?;
                content.handle(Event::Activated);
            }
            Action::Finish(verdict) => return Ok(Some(verdict)),
        }
        Ok(None)
    }

    fn take(&mut self, content: &mut Content, done: Done) -> Result<()> {
        match done {
            Done::Event(event) => {
                self.under_way -= match &event {
                    Event::Failed { pieces, .. } => pieces.len().max(1),
                    _ => 1,
                };
                if let Event::Index { file, bytes } = &event
                    && let Some(sha256) = self.entries.get(*file).and_then(|e| e.chunks)
                    && hash::sha256(bytes) == sha256
                {
                    self.host.keep_index(sha256, bytes)?;
                }
                content.handle(event);
            }
            Done::Received { piece, bytes, sha256 } => {
                self.under_way -= 1;
                self.held.insert((piece.file, piece.chunk), (bytes, sha256));
                content.handle(Event::Received(piece));
            }
            Done::Broken(error) => return Err(error),
        }
        Ok(())
    }

    fn flush(&mut self) {
        if !self.batch.is_empty() {
            let _ = self.hash.send(Job::Hash(std::mem::take(&mut self.batch)));
        }
    }

    fn release(&self, bytes: Vec<u8>) {
        if bytes.capacity() > 0 {
            self.buffers
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(bytes);
        }
    }
}

struct Worker<'a> {
    entries: &'a [FileEntry],
    sources: Sources<'a>,
    done: Sender<Vec<Done>>,
    buffers: &'a Buffers,
}

impl Worker<'_> {
    fn run(&self, queue: &Mutex<Receiver<Job>>) {
        let mut open: Option<(usize, Option<File>)> = None;
        loop {
            // The lock is held while waiting: whoever waits for the lock would wait for a job anyway.
            let job = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
            let Ok(job) = job else { return };
            let going = match job {
                Job::Hash(pieces) => {
                    let runs = pieces.chunk_by(|a, b| a.file == b.file);
                    self.send(runs.flat_map(|run| self.hash(run, &mut open)).collect())
                }
                Job::Index { file, sha256, size } => {
                    self.send(vec![Done::Event(self.index(file, sha256, size))])
                }
                Job::Fetch { file, sha256, pieces } => self.fetch(file, sha256, &pieces),
            };
            if !going {
                return;
            }
        }
    }

    /// What came of a job goes together, so that the next job is as large: pieces are hashed four at a time. False when nobody listens
    /// any more.
    fn send(&self, done: Vec<Done>) -> bool {
        self.done.send(done).is_ok()
    }

    /// Hashes pieces of one file.
    fn hash(&self, pieces: &[Piece], open: &mut Option<(usize, Option<File>)>) -> Vec<Done> {
        let Some(first) = pieces.first().map(|piece| piece.file) else {
            return Vec::new();
        };
        let Some(entry) = self.entries.get(first) else {
            return vec![Done::Broken(DeviceError::Stuck)];
        };
        if open.as_ref().is_none_or(|(file, _)| *file != first) {
            match self.sources.files.read_at_path(&entry.path) {
                Ok(file) => *open = Some((first, file)),
                Err(error) => return vec![Done::Broken(error.into())],
            }
        }
        let ranges: Vec<_> = pieces.iter().map(|p| (p.offset, p.len.into())).collect();
        let hashed = match open {
            Some((_, Some(file))) => hash::hash_ranges(file, &ranges),
            _ => Ok(vec![None; pieces.len()]),
        };
        match hashed {
            Ok(digests) => pieces
                .iter()
                .zip(digests)
                .map(|(&piece, digest)| {
                    Done::Event(match digest {
                        Some(sha256) => Event::Hashed { piece, sha256 },
                        None => Event::Absent(piece),
                    })
                })
                .collect(),
            Err(error) => {
                let path = self.sources.files.path().join(entry.path.as_str());
                vec![Done::Broken(crate::folder::io_error("read", &path, error).into())]
            }
        }
    }

    fn index(&self, file: usize, sha256: Sha256Digest, size: u64) -> Event {
        let Some((transport, namespace)) = self.sources.remote else {
            return failed(file, Vec::new(), "no registry may be asked", false);
        };
        match transport.get(&paths::blob(namespace, &sha256), size, None) {
            Ok(Fetched::Found { bytes, .. }) => Event::Index { file, bytes },
            Ok(_) => failed(
                file,
                Vec::new(),
                "the registry does not have its chunk index",
                false,
            ),
            Err(error) => failed(file, Vec::new(), &error.to_string(), error.is_passing()),
        }
    }

    /// False when nobody listens any more.
    fn fetch(&self, file: usize, sha256: Sha256Digest, pieces: &[Piece]) -> bool {
        let mut left = pieces;
        let problem = match self.fetch_run(sha256, pieces, &mut left) {
            Ok(listened) => return listened,
            Err(problem) => problem,
        };
        self.send(vec![Done::Event(failed(
            file,
            left.to_vec(),
            &problem.0,
            problem.1,
        ))])
    }

    fn fetch_run(
        &self,
        sha256: Sha256Digest,
        pieces: &[Piece],
        left: &mut &[Piece],
    ) -> std::result::Result<bool, (String, bool)> {
        let Some((transport, namespace)) = self.sources.remote else {
            return Err(("no registry may be asked".to_owned(), false));
        };
        let refused = |e: TransportError| (e.to_string(), e.is_passing());
        let offset = pieces.first().map_or(0, |p| p.offset);
        let len = pieces.iter().map(|p| u64::from(p.len)).sum();
        let mut body = transport
            .open(&paths::blob(namespace, &sha256), offset, len)
            .map_err(refused)?;
        while let Some((piece, rest)) = left.split_first() {
            let mut bytes = self
                .buffers
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .pop()
                .unwrap_or_default();
            bytes.resize(usize::try_from(piece.len).unwrap_or(0), 0);
            // A short body is a dropped connection as far as anybody can tell; the machine counts the attempts.
            body.read_exact(&mut bytes).map_err(|e| (e.to_string(), true))?;
            let sha256 = hash::sha256(&bytes);
            *left = rest;
            if !self.send(vec![Done::Received {
                piece: *piece,
                bytes,
                sha256,
            }]) {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

fn failed(file: usize, pieces: Vec<Piece>, reason: &str, retry: bool) -> Event {
    Event::Failed {
        file,
        pieces,
        reason: reason.to_owned(),
        retry,
    }
}
