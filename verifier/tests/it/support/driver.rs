//! Drives the content machine over files in memory, in any order that a test likes.

use std::collections::{BTreeMap, BTreeSet};

use assay_schema::{Sha256Digest, Verdict};
use assay_verifier::provenance::sha256;
use assay_verifier::{Action, Content, DeviceState, Event, Piece};

/// What a driver was asked to do beside pieces, in order.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Step {
    Seal,
    Persist(Box<DeviceState>),
    Activate,
}

/// Changes the bytes of a piece on their way.
pub(crate) type Tamper = Box<dyn FnMut(Piece, &mut Vec<u8>)>;

/// A device's disk and a registry, both in memory.
#[derive(Default)]
pub(crate) struct Driver {
    pub(crate) blobs: BTreeMap<Sha256Digest, Vec<u8>>,
    /// The staged or present files by their index.
    pub(crate) files: BTreeMap<usize, Vec<u8>>,
    /// Pieces in memory.
    pub(crate) held: BTreeMap<Piece, Vec<u8>>,
    /// Pieces whose hash was reported as right, so that they may be written.
    pub(crate) hashed: BTreeSet<Piece>,
    pub(crate) steps: Vec<Step>,
    pub(crate) fetched: Vec<Piece>,
    pub(crate) most_held: usize,
    pub(crate) discarded: usize,
    /// Breaks instead of doing this.
    pub(crate) break_at: Option<fn(&Action) -> bool>,
    /// What the registry sends for a piece, where it is not the blob's bytes.
    pub(crate) tamper: Option<Tamper>,
    /// Every event is reported twice.
    pub(crate) twice: bool,
    /// After so many events, and again after as many more, one that was told before is told again.
    pub(crate) late: Option<usize>,
}

impl Driver {
    /// Polls and handles until the end. `pick` chooses which of the waiting events is told next.
    pub(crate) fn run(&mut self, content: &mut Content, mut pick: impl FnMut(usize) -> usize) -> Verdict {
        let mut waiting: Vec<Event> = Vec::new();
        let mut told: Vec<Event> = Vec::new();
        for _ in 0..2_000_000 {
            match content.poll() {
                Some(Action::Finish(verdict)) => {
                    assert!(content.poll().is_none(), "nothing is asked for after the end");
                    return *verdict;
                }
                Some(action) => waiting.extend(self.perform(action)),
                None => {
                    assert!(
                        !waiting.is_empty(),
                        "the machine waits for nothing that is under way"
                    );
                    let event = waiting.swap_remove(pick(waiting.len()));
                    if self.twice {
                        content.handle(event.clone());
                    }
                    if let Some(every) = self.late.filter(|every| told.len().is_multiple_of(*every))
                        && let Some(old) = told.get(told.len().saturating_sub(2 * every))
                    {
                        content.handle(old.clone());
                    }
                    told.push(event.clone());
                    content.handle(event);
                }
            }
        }
        panic!("the machine does not end");
    }

    fn perform(&mut self, action: Action) -> Vec<Event> {
        if self.break_at.is_some_and(|at| at(&action)) {
            return vec![Event::Broken {
                reason: "no space left".into(),
            }];
        }
        match action {
            Action::ReadIndex { file, sha256, size } => match self.blobs.get(&sha256) {
                Some(bytes) => {
                    assert_eq!(bytes.len() as u64, size);
                    vec![Event::Index {
                        file,
                        bytes: bytes.clone(),
                    }]
                }
                None => vec![missing(file, Vec::new())],
            },
            Action::HashLocal(piece) => vec![match self.local(piece) {
                Some(bytes) => Event::Hashed {
                    piece,
                    sha256: sha256(&bytes),
                },
                None => Event::Absent(piece),
            }],
            Action::Fetch { file, sha256, pieces } => {
                let mut events = Vec::new();
                let Some(blob) = self.blobs.get(&sha256) else {
                    return vec![missing(file, pieces)];
                };
                for piece in pieces {
                    let from = piece.offset as usize;
                    let mut bytes = blob[from..from + piece.len as usize].to_vec();
                    if let Some(tamper) = &mut self.tamper {
                        tamper(piece, &mut bytes);
                    }
                    self.fetched.push(piece);
                    self.held.insert(piece, bytes);
                    self.most_held = self.most_held.max(self.held.len());
                    events.push(Event::Received(piece));
                }
                events
            }
            Action::HashReceived(piece) => {
                self.hashed.insert(piece);
                vec![Event::Hashed {
                    piece,
                    sha256: sha256(&self.held[&piece]),
                }]
            }
            Action::Write(piece) => {
                let bytes = match piece.len {
                    0 => Vec::new(),
                    _ => {
                        assert!(self.hashed.remove(&piece), "only what was hashed is written");
                        self.held.remove(&piece).expect("only what is held is written")
                    }
                };
                let file = self.files.entry(piece.file).or_default();
                let end = piece.offset as usize + bytes.len();
                file.resize(file.len().max(end), 0);
                file[piece.offset as usize..end].copy_from_slice(&bytes);
                vec![Event::Written(piece)]
            }
            Action::Discard(piece) => {
                self.held.remove(&piece);
                self.discarded += 1;
                Vec::new()
            }
            Action::Seal => self.durable(Step::Seal, Event::Sealed),
            Action::Persist(state) => self.durable(Step::Persist(state), Event::Persisted),
            Action::Activate => self.durable(Step::Activate, Event::Activated),
            Action::Finish(_) => unreachable!("the caller takes it"),
        }
    }

    fn durable(&mut self, step: Step, event: Event) -> Vec<Event> {
        assert!(
            self.held.is_empty(),
            "nothing is held any more once everything is written"
        );
        self.steps.push(step);
        vec![event]
    }

    fn local(&self, piece: Piece) -> Option<Vec<u8>> {
        let from = piece.offset as usize;
        let file = self.files.get(&piece.file)?;
        file.get(from..from + piece.len as usize).map(<[u8]>::to_vec)
    }

    /// Bytes of each file that lie there.
    pub(crate) fn staged(&self, files: usize) -> Vec<u64> {
        (0..files)
            .map(|i| self.files.get(&i).map_or(0, |f| f.len() as u64))
            .collect()
    }
}

fn missing(file: usize, pieces: Vec<Piece>) -> Event {
    Event::Failed {
        file,
        pieces,
        reason: "404".into(),
        retry: true,
    }
}
