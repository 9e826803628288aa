//! Driving stage 8: threads that hash, decode and fetch, one thread that decides and writes.
//!
//! Where a way was planned for a piece - a release on this device, a delta's frame - that is tried first, and the registry's own bytes
//! where it fails. The machine learns nothing of it: a piece has arrived, and its digest decides.
//!
//! The machine bounds how many pieces are under way, so the queues here need no bound of their own. Fetched pieces are hashed on
//! the thread that received them, while they are in its cache.

mod tally;
mod worker;

use std::collections::{BTreeMap, HashMap};
use std::iter::repeat_n;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, PoisonError};

use assay_schema::manifest::FileEntry;
use assay_schema::{NamespaceName, Sha256Digest, Verdict};
use assay_verifier::{Action, Content, DeviceState, Event, Piece};

pub(super) use tally::Tally;
use tally::Via;
use worker::Worker;

use super::ways::{Place, Way, Ways};
use super::{DeviceError, Result};
use crate::folder::Folder;
use crate::hash;
use crate::transport::Transport;

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
    /// Where pieces are had cheaper than from the registry.
    pub(super) ways: Option<&'a Ways>,
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
    /// Read a piece from where the same bytes lie.
    Copy {
        piece: Piece,
        from: From,
        expected: Sha256Digest,
    },
    /// Fetch the frames of neighbouring pieces.
    Frames {
        delta: usize,
        pieces: Vec<Piece>,
    },
    /// Make a piece of its frame.
    Decode {
        delta: usize,
        piece: Piece,
        frame: Vec<u8>,
        expected: Sha256Digest,
    },
}

/// Where the bytes of a piece lie on this device.
#[derive(Debug, Clone, Copy)]
enum From {
    /// In another release.
    Held(Place),
    /// In this one: the file and where in it.
    Written(usize, u64),
}

enum Done {
    Event(Event),
    Received {
        piece: Piece,
        bytes: Vec<u8>,
        sha256: Sha256Digest,
        via: Via,
    },
    /// The frame of a piece, which is still to be decoded.
    Frame {
        delta: usize,
        piece: Piece,
        frame: Vec<u8>,
    },
    /// The way that was tried for a piece does not give it.
    Missed {
        piece: Piece,
        via: Via,
        reason: String,
    },
    /// A file on this device cannot be read, for another reason than that it is not there.
    Broken(DeviceError),
}

/// Buffers for fetched pieces, used again.
type Buffers = Mutex<Vec<Vec<u8>>>;

/// What a run of the machine came to.
pub(super) struct Driven {
    pub(super) verdict: Box<Verdict>,
    /// How its pieces came.
    pub(super) tally: Tally,
}

/// Runs the machine to its end. An error of the device itself (a full disk, a crash in a test) ends it at once, without a verdict.
pub(super) fn drive(
    mut content: Content,
    sources: Sources<'_>,
    host: &mut dyn Host,
    progress: &mut dyn FnMut(u64),
) -> Result<Driven> {
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
            ways: sources.ways,
            written: HashMap::new(),
            missed: Vec::new(),
            tally: Tally::new(sources.ways.map_or(0, Ways::deltas)),
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
        let tally = deciding.tally;
        result.map(|verdict| Driven { verdict, tally })
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
    ways: Option<&'a Ways>,
    /// Where chunks were written that come again.
    written: HashMap<Sha256Digest, (usize, u64)>,
    /// Pieces that no way gave, to be fetched whole.
    missed: Vec<Piece>,
    tally: Tally,
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
            self.fetch_missed()?;
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
                match self.ways {
                    Some(ways) => self.go(content, ways, (file, sha256), &pieces),
                    None => self.send_fetch(Job::Fetch { file, sha256, pieces }),
                }
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
                if let (Some(ways), Some(sha256)) = (self.ways, content.expected(piece))
                    && ways.is_repeated(&sha256)
                {
                    self.written.insert(sha256, (piece.file, piece.offset));
                }
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
            Done::Received {
                piece,
                bytes,
                sha256,
                via,
            } => {
                self.under_way -= 1;
                self.tally.received(via, piece.len);
                self.held.insert((piece.file, piece.chunk), (bytes, sha256));
                content.handle(Event::Received(piece));
            }
            Done::Frame { delta, piece, frame } => {
                self.tally.frame(frame.len());
                match content.expected(piece) {
                    Some(expected) => self.send_hash(Job::Decode {
                        delta,
                        piece,
                        frame,
                        expected,
                    }),
                    None => self.missed.push(piece),
                }
            }
            Done::Missed { piece, via, reason } => {
                let path = self.entries.get(piece.file).map_or("", |e| e.path.as_str());
                self.tally
                    .missed(via, || format!("chunk {} of {path}: {reason}", piece.chunk));
                self.missed.push(piece);
            }
            Done::Broken(error) => return Err(error),
        }
        Ok(())
    }

    /// Sends a run of pieces on their ways, neighbours with the same delta together.
    fn go(
        &mut self,
        content: &Content,
        ways: &Ways,
        (file, sha256): (usize, Sha256Digest),
        pieces: &[Piece],
    ) {
        let mut left = pieces;
        while let Some((&first, rest)) = left.split_first() {
            let way = self.way(content, ways, first);
            left = rest;
            let mut run = vec![first];
            if matches!(way, Way::Frame(_) | Way::Whole) {
                while let Some((&next, rest)) = left.split_first()
                    && self.way(content, ways, next) == way
                {
                    run.push(next);
                    left = rest;
                }
            }
            let expected = content.expected(first);
            match (way, expected) {
                (Way::Held(place), Some(expected)) => self.send_hash(Job::Copy {
                    piece: first,
                    from: From::Held(place),
                    expected,
                }),
                (Way::Again, Some(expected)) if self.written.contains_key(&expected) => {
                    let (file, offset) = self.written.get(&expected).copied().unwrap_or_default();
                    self.send_hash(Job::Copy {
                        piece: first,
                        from: From::Written(file, offset),
                        expected,
                    });
                }
                (Way::Frame(delta), _) => self.send_fetch(Job::Frames { delta, pieces: run }),
                _ => self.send_fetch(Job::Fetch {
                    file,
                    sha256,
                    pieces: run,
                }),
            }
        }
    }

    /// The planned way of a piece, or another one where that is known not to lead to it.
    fn way(&self, content: &Content, ways: &Ways, piece: Piece) -> Way {
        let Some(expected) = content.expected(piece) else {
            return Way::Whole;
        };
        let mut way = ways.of(piece, &expected);
        if way == Way::Again && !self.written.contains_key(&expected) {
            way = ways.otherwise();
        }
        match way {
            Way::Frame(delta) if self.tally.is_given_up(delta) => Way::Whole,
            way => way,
        }
    }

    /// What no way gave is fetched whole, neighbours together.
    fn fetch_missed(&mut self) -> Result<()> {
        let mut missed = std::mem::take(&mut self.missed);
        missed.sort_unstable();
        for run in missed.chunk_by(|a, b| a.file == b.file && a.chunk + 1 == b.chunk) {
            let Some(first) = run.first() else { continue };
            let entry = self.entries.get(first.file).ok_or(DeviceError::Stuck)?;
            self.send_fetch(Job::Fetch {
                file: first.file,
                sha256: entry.sha256,
                pieces: run.to_vec(),
            });
        }
        Ok(())
    }

    fn send_fetch(&self, job: Job) {
        let _ = self.fetch.send(job);
    }

    fn send_hash(&self, job: Job) {
        let _ = self.hash.send(job);
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

fn failed(file: usize, pieces: Vec<Piece>, reason: &str, retry: bool) -> Event {
    Event::Failed {
        file,
        pieces,
        reason: reason.to_owned(),
        retry,
    }
}
