//! Stage 7, the plan: the cheapest permitted way from what a device has to the release that it wants.
//!
//! Pure arithmetic over what the caller found out; nothing here is trusted or checked, because every path ends in chunks whose signed
//! digests decide. A wrong length in an offered delta makes a plan dearer than it said, never a release wrong.
//!
//! | path | when |
//! |---|---|
//! | nothing | every chunk is on the device already |
//! | delta | the device holds the base of one |
//! | chain | deltas lead from a release that it holds, over others, to the wanted one |
//! | mix | some chunks from the device, some from the frames of one or more deltas, some whole |
//! | chunks | those that are missing, compressed where that is offered and cheaper |
//! | full | everything |
//!
//! A plan is made twice where that pays: with the deltas' total lengths, to learn whether their indexes are worth fetching, and with
//! the indexes' frame lengths, to choose chunk by chunk.

mod chain;
mod energy;
mod explain;
mod mix;

use assay_schema::Sha256Digest;
use serde::Serialize;

pub use energy::{Energy, Network};

/// Deltas that a plan considers; more are left out, the largest first.
pub const MAX_OFFERS: usize = 64;
/// Deltas of one chain. Every link costs a whole release of scratch space and decoding.
pub const MAX_CHAIN: usize = 4;

/// What the device has.
#[derive(Clone, Copy)]
pub struct Have<'a> {
    /// Releases that lie on it complete, by the root that deltas name them by.
    pub releases: &'a [HeldRelease],
    /// Whether a chunk of these bytes lies on it, in whichever file or release, or in staging.
    pub holds: &'a dyn Fn(&Sha256Digest) -> bool,
    /// Bytes of the wanted release that an earlier run left in staging.
    pub staged: u64,
    /// Bytes that may be written: scratch space.
    pub free: u64,
    /// How it is connected now.
    pub network: Network,
}

/// A release on the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeldRelease {
    /// The root that deltas name it by.
    pub root: Sha256Digest,
    /// The owner consents that the new release takes this one's place, chunk by chunk, with an undo journal until activation.
    pub in_place: bool,
}

/// What the device wants, and what the registry offers towards it.
#[derive(Clone, Copy)]
pub struct Want<'a> {
    /// The root of the wanted release.
    pub root: Sha256Digest,
    /// The chunks of all its files, in the order of the manifest.
    pub chunks: &'a [WantedChunk],
    /// Deltas, also those that lead to or from other releases.
    pub offers: &'a [Offer<'a>],
}

/// A chunk of the wanted release.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WantedChunk {
    /// Its signed digest.
    pub sha256: Sha256Digest,
    /// Bytes.
    pub length: u32,
    /// Bytes of its compressed form, where the registry offers one.
    pub compressed: Option<u32>,
}

/// A delta that the registry offers.
#[derive(Debug, Clone, Copy)]
pub struct Offer<'a> {
    /// The root of the release that it builds on.
    pub base: Sha256Digest,
    /// The root of the release that it leads to.
    pub target: Sha256Digest,
    /// Bytes of all files of `target`.
    pub size: u64,
    /// Bytes of its index that are still to be fetched; 0 once it is on the device.
    pub index: u64,
    /// Its frames.
    pub frames: Frames<'a>,
}

/// How long a delta's frames are.
#[derive(Debug, Clone, Copy)]
pub enum Frames<'a> {
    /// All together: the index is not here.
    Total(u64),
    /// One for each chunk of its target, in their order.
    Each(&'a [u32]),
}

impl Frames<'_> {
    fn total(self) -> u64 {
        match self {
            Self::Total(bytes) => bytes,
            Self::Each(frames) => frames.iter().fold(0, |n, f| n.saturating_add(u64::from(*f))),
        }
    }
}

/// What the owner permits and prefers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// What to save first.
    pub least: Least,
    /// Bytes that may be received at most.
    pub max_bytes: Option<u64>,
    /// Energy that may be used at most.
    pub max_millijoules: Option<u64>,
    /// What things cost.
    pub energy: Energy,
}

impl Default for Terms {
    fn default() -> Self {
        Self {
            least: Least::Energy,
            max_bytes: None,
            max_millijoules: None,
            energy: Energy::default(),
        }
    }
}

/// What a plan saves first; the other decides between equals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Least {
    /// Estimated energy, of network and device together.
    Energy,
    /// Bytes received: for metered connections.
    Bytes,
}

/// What a plan came to: every candidate with what it costs and why it was chosen or not. It says so in the verdict.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// The root of the wanted release.
    pub target: Sha256Digest,
    /// Every path that was considered.
    pub candidates: Vec<Candidate>,
    /// Where each wanted chunk comes from. Empty unless a path was chosen that goes chunk by chunk: a chain, and a delta whose index
    /// is not here yet, do not.
    #[serde(skip)]
    pub sources: Vec<Source>,
}

/// A path and what it costs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Candidate {
    /// The path.
    pub path: Path,
    /// Bytes to receive.
    pub bytes: u64,
    /// Estimated energy of network and device.
    pub millijoules: u64,
    /// Bytes of scratch space that are needed at a time.
    pub scratch: u64,
    /// What became of it.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// A way to the wanted release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Path {
    /// Every chunk is on the device.
    Nothing,
    /// One delta.
    Delta {
        /// The root of its base.
        base: Sha256Digest,
        /// In the base's place.
        in_place: bool,
    },
    /// Several deltas, one after the other.
    Chain {
        /// The roots on the way: the one that the device holds, then every release before the wanted one.
        through: Vec<Sha256Digest>,
    },
    /// Chunk by chunk whatever is cheapest.
    Mix {
        /// The roots of the bases of the deltas that are used.
        bases: Vec<Sha256Digest>,
        /// Chunks that are on the device.
        held: u64,
        /// Chunks from frames.
        frames: u64,
        /// Chunks that are fetched compressed.
        compressed: u64,
        /// Chunks that are fetched as they are.
        raw: u64,
        /// In the base's place.
        in_place: bool,
    },
    /// The missing chunks, whole.
    Chunks {
        /// Chunks that are on the device.
        held: u64,
        /// Chunks that are fetched compressed.
        compressed: u64,
        /// Chunks that are fetched as they are.
        raw: u64,
    },
    /// Every chunk as it is.
    Full,
}

/// What became of a candidate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "outcome", rename_all = "kebab-case")]
pub enum Outcome {
    /// This is the way.
    Chosen,
    /// It is permitted, and dearer.
    Dearer,
    /// It is not permitted or not possible.
    Refused {
        /// Why.
        reason: Unfit,
    },
}

/// Why a path cannot be gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, thiserror::Error)]
#[serde(tag = "code", rename_all = "kebab-case")]
pub enum Unfit {
    /// Something has to be fetched.
    #[error("the device is offline and {bytes} bytes are missing; connect it")]
    Offline {
        /// Bytes to receive.
        bytes: u64,
    },
    /// The owner's limit on bytes.
    #[error(
        "expected at most {most} bytes to receive, as the owner permits, found {bytes}; raise the limit or wait for another network"
    )]
    Bytes {
        /// Bytes to receive.
        bytes: u64,
        /// The limit.
        most: u64,
    },
    /// The owner's limit on energy.
    #[error(
        "expected at most {most} mJ, as the owner permits, found {millijoules}; raise the limit or wait for another network"
    )]
    Energy {
        /// What it takes.
        millijoules: u64,
        /// The limit.
        most: u64,
    },
    /// The device's disk.
    #[error("expected {needed} bytes of scratch space, found {free}; free {} bytes", needed.saturating_sub(*free))]
    Scratch {
        /// What it takes.
        needed: u64,
        /// What there is.
        free: u64,
    },
}

/// Where one chunk comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The device: a chunk of the same digest, which may be an earlier one of this very release.
    Device,
    /// The frame of this chunk in a delta, by its place in [`Want::offers`].
    Frame {
        /// Which delta.
        offer: usize,
    },
    /// Its compressed form.
    Compressed,
    /// Its bytes.
    Raw,
}

/// Looks for the cheapest permitted path. [`Plan::chosen`] is `None` if there is none.
pub fn plan(have: &Have<'_>, want: &Want<'_>, terms: &Terms) -> Plan {
    let prices = energy::Prices::new(terms, have.network);
    let mut paths = mix::chunkwise(have, want, &prices);
    paths.extend(chain::deltas(have, want, &prices));
    let mut best: Option<(usize, (u128, u128, u64))> = None;
    let mut candidates = Vec::new();
    for (i, found) in paths.iter().enumerate() {
        let candidate = found.candidate(have, terms);
        if candidate.outcome == Outcome::Dearer {
            let key = prices.key(found.cost, candidate.scratch);
            if best.is_none_or(|(_, least)| key < least) {
                best = Some((i, key));
            }
        }
        candidates.push(candidate);
    }
    let mut sources = Vec::new();
    if let Some((i, _)) = best {
        if let Some(candidate) = candidates.get_mut(i) {
            candidate.outcome = Outcome::Chosen;
        }
        sources = paths.into_iter().nth(i).map(|p| p.sources).unwrap_or_default();
    }
    Plan {
        target: want.root,
        candidates,
        sources,
    }
}

/// A path before it is judged.
struct Found {
    path: Path,
    cost: energy::Cost,
    scratch: u64,
    sources: Vec<Source>,
}

impl Found {
    fn candidate(&self, have: &Have<'_>, terms: &Terms) -> Candidate {
        let (bytes, millijoules) = (self.cost.bytes, self.cost.millijoules());
        let unfit = if bytes > 0 && have.network == Network::Offline {
            Some(Unfit::Offline { bytes })
        } else if let Some(most) = terms.max_bytes.filter(|most| bytes > *most) {
            Some(Unfit::Bytes { bytes, most })
        } else if let Some(most) = terms.max_millijoules.filter(|most| millijoules > *most) {
            Some(Unfit::Energy { millijoules, most })
        } else if self.scratch > have.free {
            Some(Unfit::Scratch {
                needed: self.scratch,
                free: have.free,
            })
        } else {
            None
        };
        Candidate {
            path: self.path.clone(),
            bytes,
            millijoules,
            scratch: self.scratch,
            outcome: unfit.map_or(Outcome::Dearer, |reason| Outcome::Refused { reason }),
        }
    }
}

/// Bytes of all wanted chunks.
fn size(want: &Want<'_>) -> u64 {
    want.chunks.iter().map(|c| u64::from(c.length)).sum()
}

/// Scratch space of a release beside the ones that are there.
fn beside(have: &Have<'_>, want: &Want<'_>) -> u64 {
    size(want).saturating_sub(have.staged)
}
