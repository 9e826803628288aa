//! A thread that hashes, decodes, or fetches.

use std::fs::File;
use std::io::{self, Read};
use std::sync::mpsc::{Receiver, Sender};
use std::sync::{Mutex, PoisonError};

use assay_delta::{Scratch, decode_chunk};
use assay_schema::Sha256Digest;
use assay_schema::manifest::FileEntry;
use assay_verifier::{Event, Piece};

use super::tally::Via;
use super::{Buffers, Done, From, Job, Sources, failed};
use crate::device::DeviceError;
use crate::folder;
use crate::hash;
use crate::transport::{Fetched, TransportError, paths};

pub(super) struct Worker<'a> {
    pub(super) entries: &'a [FileEntry],
    pub(super) sources: Sources<'a>,
    pub(super) done: Sender<Vec<Done>>,
    pub(super) buffers: &'a Buffers,
}

impl Worker<'_> {
    pub(super) fn run(&self, queue: &Mutex<Receiver<Job>>) {
        let mut open: Option<(usize, Option<File>)> = None;
        let mut scratch = Scratch::new();
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
                Job::Copy {
                    piece,
                    from,
                    expected,
                } => self.send(vec![self.copy(piece, from, &expected)]),
                Job::Frames { delta, pieces } => self.frames(delta, &pieces),
                Job::Decode {
                    delta,
                    piece,
                    frame,
                    expected,
                } => self.send(vec![self.decode((delta, piece), &frame, &expected, &mut scratch)]),
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
            let mut bytes = self.buffer(piece);
            // A short body is a dropped connection as far as anybody can tell; the machine counts the attempts.
            body.read_exact(&mut bytes).map_err(|e| (e.to_string(), true))?;
            let sha256 = hash::sha256(&bytes);
            *left = rest;
            if !self.send(vec![Done::Received {
                piece: *piece,
                bytes,
                sha256,
                via: Via::Whole,
            }]) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Room for a piece.
    fn buffer(&self, piece: &Piece) -> Vec<u8> {
        let mut buffers = self.buffers.lock().unwrap_or_else(PoisonError::into_inner);
        let mut bytes = buffers.pop().unwrap_or_default();
        bytes.resize(usize::try_from(piece.len).unwrap_or(0), 0);
        bytes
    }

    fn copy(&self, piece: Piece, from: From, expected: &Sha256Digest) -> Done {
        let mut bytes = self.buffer(&piece);
        let missed = |reason: String| Done::Missed {
            piece,
            via: Via::Copy,
            reason,
        };
        if let Err(error) = self.read_copy(from, &mut bytes) {
            return missed(format!("what lies on this device cannot be read: {error}"));
        }
        let sha256 = hash::sha256(&bytes);
        if sha256 != *expected {
            return missed(format!(
                "expected SHA-256 {expected} on this device, found {sha256}: the file was changed"
            ));
        }
        Done::Received {
            piece,
            bytes,
            sha256,
            via: Via::Copy,
        }
    }

    fn read_copy(&self, from: From, into: &mut [u8]) -> io::Result<()> {
        match (from, self.sources.ways) {
            (From::Held(place), Some(ways)) => ways.held().read(place, into),
            (From::Written(file, offset), _) => {
                let entry = self.entries.get(file).ok_or(io::ErrorKind::NotFound)?;
                let found = self.sources.files.read_at_path(&entry.path);
                let file = found.map_err(io::Error::other)?.ok_or(io::ErrorKind::NotFound)?;
                match folder::read_at(&file, into, offset)? {
                    n if n == into.len() => Ok(()),
                    _ => Err(io::ErrorKind::UnexpectedEof.into()),
                }
            }
            (From::Held(_), None) => Err(io::ErrorKind::NotFound.into()),
        }
    }

    /// Fetches the frames of neighbouring pieces by one range request, which is repeated once where the connection breaks. False when
    /// nobody listens any more.
    fn frames(&self, delta: usize, pieces: &[Piece]) -> bool {
        let mut left = pieces;
        let mut reason = String::new();
        for _ in 0..2 {
            match self.fetch_frames(delta, &mut left) {
                Ok(listened) => return listened,
                Err((why, passing)) => {
                    reason = why;
                    if !passing {
                        break;
                    }
                }
            }
        }
        let missed = left.iter().map(|piece| Done::Missed {
            piece: *piece,
            via: Via::Frame(delta),
            reason: reason.clone(),
        });
        self.send(missed.collect())
    }

    fn fetch_frames(&self, number: usize, left: &mut &[Piece]) -> std::result::Result<bool, (String, bool)> {
        let none = || ("the delta has no such chunk".to_owned(), false);
        let delta = self
            .sources
            .ways
            .and_then(|ways| ways.delta(number))
            .ok_or_else(none)?;
        let (transport, namespace) = self.sources.remote.ok_or_else(none)?;
        let entry = |piece: &Piece| delta.index.chunk(u32::try_from(piece.file).ok()?, piece.chunk);
        let ranges: Option<Vec<_>> = left.iter().map(|piece| Some(entry(piece)?.frame)).collect();
        let ranges = ranges.ok_or_else(none)?;
        // Frames of neighbouring chunks are neighbours (schema/delta.md, "Entries"); copies alone have none.
        let start = ranges.first().map_or(0, |range| range.start);
        let len = ranges.last().map_or(0, |range| range.end.saturating_sub(start));
        let mut body = match len {
            0 => Box::new(io::empty()),
            len => transport
                .open(&paths::blob(namespace, &delta.blob), start, len)
                .map_err(|e| (e.to_string(), e.is_passing()))?,
        };
        for range in ranges {
            let Some((piece, rest)) = left.split_first() else {
                break;
            };
            let mut frame = vec![0; usize::try_from(range.end - range.start).unwrap_or(0)];
            body.read_exact(&mut frame).map_err(|e| (e.to_string(), true))?;
            *left = rest;
            if !self.send(vec![Done::Frame {
                delta: number,
                piece: *piece,
                frame,
            }]) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn decode(
        &self,
        (number, piece): (usize, Piece),
        frame: &[u8],
        expected: &Sha256Digest,
        scratch: &mut Scratch,
    ) -> Done {
        let missed = |reason: String| Done::Missed {
            piece,
            via: Via::Frame(number),
            reason,
        };
        let delta = self.sources.ways.and_then(|ways| ways.delta(number));
        let entry = delta.and_then(|delta| {
            let file = u32::try_from(piece.file).ok()?;
            Some((delta, delta.index.chunk(file, piece.chunk)?))
        });
        let Some((delta, entry)) = entry else {
            return missed("the delta has no such chunk".to_owned());
        };
        match decode_chunk(&delta.index, &entry, frame, &delta.bases, expected, scratch) {
            Ok(checked) => {
                let mut bytes = self.buffer(&piece);
                bytes.clear();
                bytes.extend_from_slice(checked.bytes());
                Done::Received {
                    piece,
                    bytes,
                    sha256: checked.sha256(),
                    via: Via::Frame(number),
                }
            }
            Err(bad) => missed(bad.why.to_string()),
        }
    }
}
