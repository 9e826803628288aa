//! Paths that go chunk by chunk: everything, what is missing, and mixes with the frames of deltas.

use std::collections::HashSet;

use super::energy::{Cost, Prices};
use super::{Found, Frames, Have, MAX_OFFERS, Offer, Path, Source, Want, beside, size};

/// A delta whose index is here, by its place in the offers.
type Indexed<'a> = (usize, &'a Offer<'a>, &'a [u32]);

/// Full, chunks or nothing, and the best mix if frames take part in it.
pub(super) fn chunkwise(have: &Have<'_>, want: &Want<'_>, prices: &Prices) -> Vec<Found> {
    let without = Whole::new(have, want, prices);
    let mut found = vec![without.found(have, want)];
    found.push(Found {
        path: Path::Full,
        cost: prices.raw(size(want)),
        scratch: beside(have, want),
        sources: vec![Source::Raw; want.chunks.len()],
    });
    let indexed = usable(have, want);
    let mut best = without.cost;
    let mut chosen: Vec<Indexed<'_>> = Vec::new();
    // One delta more, as long as its index pays. Deltas of one target are few, and seldom does a second one help.
    loop {
        let left = indexed
            .iter()
            .filter(|(i, ..)| chosen.iter().all(|(c, ..)| c != i));
        let tried = left.map(|offer| {
            let mut with = chosen.clone();
            with.push(*offer);
            (without.with(want, prices, &with).0, *offer)
        });
        let next = tried.min_by_key(|(cost, _)| prices.key(*cost, 0));
        match next {
            Some((cost, offer)) if prices.cheaper(cost, best) => {
                best = cost;
                chosen.push(offer);
            }
            _ => break,
        }
    }
    if !chosen.is_empty() {
        let (cost, sources) = without.with(want, prices, &chosen);
        found.extend(mixed(have, want, cost, &chosen, &sources));
    }
    found
}

/// Deltas from a release on the device to the wanted one, with one frame for each chunk.
fn usable<'a>(have: &Have<'_>, want: &Want<'a>) -> Vec<Indexed<'a>> {
    let offers = want.offers.iter().enumerate();
    let direct =
        offers.filter(|(_, o)| o.target == want.root && have.releases.iter().any(|r| r.root == o.base));
    direct
        .filter_map(|(i, offer)| match offer.frames {
            Frames::Each(frames) if frames.len() == want.chunks.len() => Some((i, offer, frames)),
            _ => None,
        })
        .take(MAX_OFFERS)
        .collect()
}

/// Every chunk from the device, or whole from the registry.
struct Whole {
    each: Vec<(Source, Cost)>,
    cost: Cost,
}

impl Whole {
    fn new(have: &Have<'_>, want: &Want<'_>, prices: &Prices) -> Self {
        let mut seen = HashSet::new();
        let each: Vec<(Source, Cost)> = want
            .chunks
            .iter()
            .map(|chunk| {
                let length = u64::from(chunk.length);
                // A chunk that comes twice is fetched once.
                if !seen.insert(chunk.sha256) || (have.holds)(&chunk.sha256) {
                    return (Source::Device, prices.kept(length));
                }
                let raw = prices.raw(length);
                let compressed = chunk.compressed.map(|c| prices.decoded(c.into(), length));
                match compressed.filter(|c| prices.cheaper(*c, raw)) {
                    Some(cost) => (Source::Compressed, cost),
                    None => (Source::Raw, raw),
                }
            })
            .collect();
        let cost = each.iter().fold(Cost::default(), |sum, (_, c)| sum.plus(*c));
        Self { each, cost }
    }

    fn found(&self, have: &Have<'_>, want: &Want<'_>) -> Found {
        let sources: Vec<Source> = self.each.iter().map(|(source, _)| *source).collect();
        let held = count(&sources, |s| s == Source::Device);
        let path = if held == want.chunks.len() as u64 {
            Path::Nothing
        } else {
            Path::Chunks {
                held,
                compressed: count(&sources, |s| s == Source::Compressed),
                raw: count(&sources, |s| s == Source::Raw),
            }
        };
        Found {
            path,
            cost: self.cost,
            scratch: beside(have, want),
            sources,
        }
    }

    /// The same, with the frames of these deltas to choose from, and their indexes to pay for.
    fn with(&self, want: &Want<'_>, prices: &Prices, deltas: &[Indexed<'_>]) -> (Cost, Vec<Source>) {
        let indexes = deltas.iter().map(|(_, offer, _)| prices.fetched(offer.index));
        let mut sum = indexes.fold(Cost::default(), Cost::plus);
        let mut sources = Vec::with_capacity(self.each.len());
        for (i, ((source, cost), chunk)) in self.each.iter().zip(want.chunks).enumerate() {
            let (mut source, mut cost) = (*source, *cost);
            for (offer, _, frames) in deltas {
                let Some(frame) = frames.get(i).filter(|_| source != Source::Device) else {
                    continue;
                };
                let by_frame = prices.decoded((*frame).into(), chunk.length.into());
                if prices.cheaper(by_frame, cost) {
                    (source, cost) = (Source::Frame { offer: *offer }, by_frame);
                }
            }
            sum = sum.plus(cost);
            sources.push(source);
        }
        (sum, sources)
    }
}

fn count(sources: &[Source], which: impl Fn(Source) -> bool) -> u64 {
    sources.iter().filter(|s| which(**s)).count() as u64
}

/// The mix beside the present release and, if its owner consents, in its place.
fn mixed(
    have: &Have<'_>,
    want: &Want<'_>,
    cost: Cost,
    deltas: &[Indexed<'_>],
    sources: &[Source],
) -> Vec<Found> {
    let path = |in_place| Path::Mix {
        bases: deltas.iter().map(|(_, offer, _)| offer.base).collect(),
        held: count(sources, |s| s == Source::Device),
        frames: count(sources, |s| matches!(s, Source::Frame { .. })),
        compressed: count(sources, |s| s == Source::Compressed),
        raw: count(sources, |s| s == Source::Raw),
        in_place,
    };
    let mut found = vec![Found {
        path: path(false),
        cost,
        scratch: beside(have, want),
        sources: sources.to_vec(),
    }];
    if let [(_, offer, _)] = deltas
        && consents(have, offer)
    {
        found.push(Found {
            path: path(true),
            cost: rewritten(cost),
            scratch: in_place(have, want, cost.bytes),
            sources: sources.to_vec(),
        });
    }
    found
}

/// Whether the owner gives up the base of a delta to the release that is made from it.
pub(super) fn consents(have: &Have<'_>, offer: &Offer<'_>) -> bool {
    have.releases.iter().any(|r| r.root == offer.base && r.in_place)
}

/// Scratch space in place: everything that is fetched is here before the first byte changes, and the journal keeps what changes.
pub(super) fn in_place(have: &Have<'_>, want: &Want<'_>, fetched: u64) -> u64 {
    let missing = want.chunks.iter().filter(|c| !(have.holds)(&c.sha256));
    let journal = missing.fold(0_u64, |n, c| n.saturating_add(c.length.into()));
    fetched.saturating_add(journal)
}

/// In place costs as much, and the journal and the dry decode on top: it is chosen where nothing else fits.
pub(super) fn rewritten(cost: Cost) -> Cost {
    Cost {
        bytes: cost.bytes,
        nanojoules: cost.nanojoules.saturating_add(1),
    }
}
