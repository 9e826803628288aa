//! Stage 7 on a device: what is here already, what the registry offers, and from where each chunk of a release is best had.
//!
//! Nothing of it is trusted. Whatever a way brings is compared with the chunk's signed digest before it is written, and what fails
//! costs a full fetch of that chunk.

mod held;
mod offers;
mod wanted;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use assay_delta::plan::{self, Have, HeldRelease, Network, Path, Plan, Source, Terms, Want};
use assay_schema::{ModelRef, Sha256Digest};
use assay_verifier::{Approved, Piece};

pub(super) use held::{Holdings, Place};
pub(super) use offers::Delta;
use offers::{Offered, list};
use wanted::Wanted;

use super::Result;
use crate::store::{Staging, Store};
use crate::transport::Transport;

/// Indexes of deltas that a pull fetches at most, usable or not.
const MAX_INDEXES: usize = 3;

/// What there is to plan.
pub(super) struct Task<'a> {
    pub(super) store: &'a Store,
    pub(super) model: &'a ModelRef,
    /// The registry's address in the namespace's pin.
    pub(super) registry: &'a str,
    pub(super) transport: &'a dyn Transport,
    pub(super) approved: &'a Approved,
    pub(super) staging: &'a Staging,
    /// Bytes of each file that an earlier run left.
    pub(super) staged: &'a [u64],
    /// Whether the registry is asked for deltas.
    pub(super) deltas: bool,
}

/// Where each chunk of a release is best had from.
pub(super) struct Ways {
    held: Arc<Holdings>,
    places: HashMap<Sha256Digest, Place>,
    offered: Vec<Offered>,
    wanted: Wanted,
    repeated: HashSet<Sha256Digest>,
    plan: Plan,
    /// Deltas that could not be used, each with the reason.
    unusable: Vec<String>,
    /// Bytes of their indexes.
    received: u64,
}

/// Where one chunk is best had from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// A release on this device.
    Held(Place),
    /// Another chunk of this release, wherever that comes from.
    Again,
    /// The frame of a delta, by its number.
    Frame(usize),
    /// The registry, whole.
    Whole,
}

impl Task<'_> {
    /// Plans the pull; `None` where a chunk index is not to be had, or there are too many chunks.
    pub(super) fn plan(&self) -> Result<Option<Ways>> {
        let manifest = self.approved.manifest();
        let target = self.approved.manifest_digest();
        let held = Arc::new(Holdings::gather(self.store, self.model, self.registry, target));
        let remote = (self.transport, &self.model.namespace);
        let Some(wanted) = Wanted::read(manifest, self.staging, &held, remote)? else {
            return Ok(None);
        };
        let places = held.places(&wanted.digests());
        let staged = wanted.staged(self.staged);
        let releases: Vec<HeldRelease> = held
            .roots()
            .map(|root| HeldRelease {
                root,
                in_place: false,
            })
            .collect();
        let holds = |sha256: &Sha256Digest| places.contains_key(sha256) || staged.contains(sha256);
        let have = Have {
            releases: &releases,
            holds: &holds,
            staged: self.staged.iter().sum(),
            free: self.staging.folder().free_space().unwrap_or(u64::MAX),
            network: Network::Fixed,
        };
        let planned = |offered: &[Offered]| {
            let offers: Vec<_> = offered.iter().map(Offered::offer).collect();
            let want = Want {
                root: target,
                chunks: &wanted.chunks,
                offers: &offers,
            };
            plan::plan(&have, &want, &Terms::default())
        };
        let (mut offered, mut unusable) = (Vec::new(), Vec::new());
        let without = planned(&offered);
        if self.deltas && !matches!(without.chosen().map(|c| &c.path), Some(Path::Nothing)) {
            match list(self.transport, self.model, target, &held) {
                Ok(found) => offered = found,
                Err(reason) => unusable.push(format!("deltas could not be listed: {reason}")),
            }
        }
        let (mut fetched, mut received) = (0, 0);
        let plan = loop {
            let plan = planned(&offered);
            let Some(at) = worth_fetching(&plan, &offered) else {
                break plan;
            };
            fetched += 1;
            let usable = match offered.get_mut(at) {
                Some(offer) if fetched <= MAX_INDEXES => {
                    offer.fetch(self.transport, self.model, &held, manifest, &mut received)
                }
                _ => Err("enough indexes were fetched".to_owned()),
            };
            if let Err(reason) = usable {
                let offer: Offered = offered.remove(at);
                unusable.push(format!("delta from {}: {reason}", offer.base()));
            }
        };
        Ok(Some(Ways {
            repeated: wanted.repeated(),
            held,
            places,
            offered,
            wanted,
            plan,
            unusable,
            received,
        }))
    }
}

/// The delta that the plan rests on although its index is not here.
fn worth_fetching(plan: &Plan, offered: &[Offered]) -> Option<usize> {
    let Path::Delta { base, .. } = &plan.chosen()?.path else {
        return None;
    };
    offered
        .iter()
        .position(|offer| offer.base() == *base && offer.delta.is_none())
}

impl Ways {
    /// What the verdict shows of stage 7.
    pub(super) fn evidence(&self) -> BTreeMap<String, String> {
        let mut evidence = self.plan.evidence();
        for (i, reason) in self.unusable.iter().enumerate() {
            evidence.insert(format!("unusable_{:02}", i + 1), reason.clone());
        }
        evidence
    }

    /// The chosen path in words.
    pub(super) fn chosen(&self) -> Option<String> {
        self.plan.chosen().map(|chosen| chosen.path.to_string())
    }

    /// Deltas that could not be used, each with the reason.
    pub(super) fn unusable(&self) -> &[String] {
        &self.unusable
    }

    /// Where a piece is best had from; `expected` is its signed digest.
    pub(super) fn of(&self, piece: Piece, expected: &Sha256Digest) -> Way {
        let planned = self.wanted.ordinal(piece.file, piece.chunk);
        match planned.and_then(|at| self.plan.sources.get(at)) {
            Some(Source::Device) => match self.places.get(expected) {
                Some(place) => Way::Held(*place),
                None if self.repeated.contains(expected) => Way::Again,
                // It was thought to be in staging.
                None => self.otherwise(),
            },
            Some(Source::Frame { offer }) => Way::Frame(*offer),
            Some(Source::Compressed | Source::Raw) | None => Way::Whole,
        }
    }

    /// How a chunk comes that is not where it was thought to be.
    pub(super) fn otherwise(&self) -> Way {
        let usable = self.offered.iter().position(|offer| offer.delta.is_some());
        usable.map_or(Way::Whole, Way::Frame)
    }

    /// Whether other chunks of the release are the same.
    pub(super) fn is_repeated(&self, sha256: &Sha256Digest) -> bool {
        self.repeated.contains(sha256)
    }

    /// Bytes of indexes that were received, usable or not.
    pub(super) const fn received(&self) -> u64 {
        self.received
    }

    /// The delta of that number.
    pub(super) fn delta(&self, number: usize) -> Option<&Delta> {
        self.offered.get(number)?.delta.as_ref()
    }

    /// How many deltas are used.
    pub(super) fn deltas(&self) -> usize {
        self.offered.len()
    }

    /// The releases on this device.
    pub(super) fn held(&self) -> &Holdings {
        &self.held
    }
}
