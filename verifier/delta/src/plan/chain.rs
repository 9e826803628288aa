//! Paths of whole deltas: one, or several in a row.

use std::collections::HashMap;

use assay_schema::Sha256Digest;

use super::energy::{Cost, Prices};
use super::mix::{consents, in_place, rewritten};
use super::{Found, Frames, Have, MAX_CHAIN, MAX_OFFERS, Offer, Path, Source, Want, beside};

/// Every direct delta, and the cheapest chain.
pub(super) fn deltas(have: &Have<'_>, want: &Want<'_>, prices: &Prices) -> Vec<Found> {
    let offers = considered(want);
    let mut found = Vec::new();
    for (i, offer) in &offers {
        let held = have.releases.iter().any(|r| r.root == offer.base);
        if !held || offer.target != want.root || !fits(want, offer) {
            continue;
        }
        let cost = cost(offer, prices);
        let indexed = matches!(offer.frames, Frames::Each(_));
        let sources = match indexed {
            true => vec![Source::Frame { offer: *i }; want.chunks.len()],
            false => Vec::new(),
        };
        found.push(Found {
            path: Path::Delta {
                base: offer.base,
                in_place: false,
            },
            cost,
            scratch: beside(have, want),
            sources: sources.clone(),
        });
        if consents(have, offer) {
            found.push(Found {
                path: Path::Delta {
                    base: offer.base,
                    in_place: true,
                },
                cost: rewritten(cost),
                scratch: in_place(have, want, cost.bytes),
                sources,
            });
        }
    }
    found.extend(chain(have, want, prices, &offers));
    found
}

/// At most [`MAX_OFFERS`], the smallest ones.
fn considered<'a>(want: &Want<'a>) -> Vec<(usize, &'a Offer<'a>)> {
    let mut offers: Vec<_> = want.offers.iter().enumerate().collect();
    offers.sort_by_key(|(i, o)| (o.frames.total().saturating_add(o.index), *i));
    offers.truncate(MAX_OFFERS);
    offers
}

/// A delta whose index has another number of chunks is none to this release.
fn fits(want: &Want<'_>, offer: &Offer<'_>) -> bool {
    match offer.frames {
        Frames::Total(_) => true,
        Frames::Each(frames) => frames.len() == want.chunks.len(),
    }
}

fn cost(offer: &Offer<'_>, prices: &Prices) -> Cost {
    let frames = prices.decoded(offer.frames.total(), offer.size);
    frames.plus(prices.fetched(offer.index))
}

/// A row of deltas to one release.
#[derive(Clone)]
struct Row<'a> {
    cost: Cost,
    offers: Vec<&'a Offer<'a>>,
}

/// The cheapest row of two to [`MAX_CHAIN`] deltas: the cheapest row of every length to every release, one link after the other.
fn chain(have: &Have<'_>, want: &Want<'_>, prices: &Prices, offers: &[(usize, &Offer<'_>)]) -> Option<Found> {
    let held = |root: &Sha256Digest| have.releases.iter().any(|r| r.root == *root);
    let mut rows: HashMap<Sha256Digest, Row<'_>> = HashMap::new();
    for (_, offer) in offers.iter().filter(|(_, o)| held(&o.base) && !held(&o.target)) {
        let row = Row {
            cost: cost(offer, prices),
            offers: vec![*offer],
        };
        keep(&mut rows, row, prices);
    }
    let mut best: Option<Row<'_>> = None;
    for _ in 1..MAX_CHAIN {
        let mut longer = HashMap::new();
        for (_, offer) in offers
            .iter()
            .filter(|(_, o)| o.base != want.root && !held(&o.target))
        {
            let Some(row) = rows.get(&offer.base) else {
                continue;
            };
            // Back to a release that the row has been at is never cheaper.
            if row.offers.iter().any(|o| o.target == offer.target) {
                continue;
            }
            let mut next = row.clone();
            next.cost = next.cost.plus(cost(offer, prices));
            next.offers.push(*offer);
            keep(&mut longer, next, prices);
        }
        if let Some(row) = longer.get(&want.root)
            && best.as_ref().is_none_or(|b| prices.cheaper(row.cost, b.cost))
        {
            best = Some(row.clone());
        }
        rows = longer;
    }
    let best = best?;
    Some(Found {
        path: Path::Chain {
            through: best.offers.iter().map(|o| o.base).collect(),
        },
        cost: best.cost,
        scratch: scratch(have, want, &best.offers),
        sources: Vec::new(),
    })
}

fn keep<'a>(rows: &mut HashMap<Sha256Digest, Row<'a>>, row: Row<'a>, prices: &Prices) {
    let Some(target) = row.offers.last().map(|o| o.target) else {
        return;
    };
    if rows
        .get(&target)
        .is_none_or(|known| prices.cheaper(row.cost, known.cost))
    {
        rows.insert(target, row);
    }
}

/// A release on the way stays until the next one is complete.
fn scratch(have: &Have<'_>, want: &Want<'_>, offers: &[&Offer<'_>]) -> u64 {
    let (mut before, mut most) = (0_u64, 0);
    for offer in offers {
        let here = match offer.target == want.root {
            true => beside(have, want),
            false => offer.size,
        };
        most = most.max(before.saturating_add(here));
        before = here;
    }
    most
}
