//! What is at hand, and in which order, makes no difference: a check ends with the same release and the same state.

use assay_schema::bundle::BundleDifference;
use assay_schema::difference::Part;
use assay_verifier::{Answer, Approved, CachedBundle, DeviceState, Fetch, Resource};
use proptest::prelude::*;

use crate::support::*;

/// What happens to the parts of a bundle on their way.
#[derive(Debug, Clone)]
struct Disorder {
    snapshot: Fate,
    targets: Fate,
    roles: Vec<(usize, Fate)>,
    blobs: Vec<(usize, Fate)>,
    uninterrupted: bool,
}

#[derive(Debug, Clone, Copy)]
enum Fate {
    Kept,
    Lost,
    /// Bytes that fit nothing.
    Damaged,
    /// It is there twice.
    Twice,
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        Just(Fate::Kept),
        Just(Fate::Lost),
        Just(Fate::Damaged),
        Just(Fate::Twice)
    ]
}

fn disorder() -> impl Strategy<Value = Disorder> {
    let parts = || prop::collection::vec((0_usize..8, fate()), 6);
    (fate(), fate(), parts(), parts(), any::<bool>()).prop_map(
        |(snapshot, targets, roles, blobs, uninterrupted)| Disorder {
            snapshot,
            targets,
            roles,
            blobs,
            uninterrupted,
        },
    )
}

fn part(part: &mut Part, fate: Fate) {
    match fate {
        Fate::Kept | Fate::Twice => {}
        Fate::Lost => *part = Part::Whole(String::new()),
        Fate::Damaged => *part = Part::Whole("{\"signed\":{\"version\":7}}".to_owned()),
    }
}

/// Each part by its fate, then all of them in another order.
fn parts<T: Clone>(all: &mut Vec<T>, fates: &[(usize, Fate)], content: impl Fn(&mut T) -> &mut Part) {
    let mut changed: Vec<(usize, T)> = Vec::new();
    for (n, mut item) in all.drain(..).enumerate() {
        let (place, fate) = fates[n % fates.len()];
        part(content(&mut item), fate);
        match fate {
            Fate::Lost => {}
            Fate::Twice => changed.extend([(place, item.clone()), (7 - place, item)]),
            Fate::Kept | Fate::Damaged => changed.push((place, item)),
        }
    }
    changed.sort_by_key(|(place, _)| *place);
    *all = changed.into_iter().map(|(_, item)| item).collect();
}

fn disordered(sim: &Simulator, fetch: &Fetch, by: &Disorder) -> Answer {
    match (&fetch.resource, sim.serve(fetch)) {
        (Resource::Bundle { .. }, Answer::Found { bytes, etag }) => {
            let mut bundle: BundleDifference = serde_json::from_slice(&bytes).unwrap();
            part(&mut bundle.snapshot, by.snapshot);
            part(&mut bundle.targets, by.targets);
            parts(&mut bundle.delegated, &by.roles, |role| &mut role.metadata);
            parts(&mut bundle.blobs, &by.blobs, |blob| &mut blob.content);
            let bytes = serde_json::to_vec(&bundle).unwrap();
            Answer::Found { bytes, etag }
        }
        (_, answer) => answer,
    }
}

/// What a check leaves: the release, the state, and what is kept for the next one but its entity tag.
fn left(approved: &Approved) -> (Vec<u8>, DeviceState, Option<Vec<u8>>) {
    let kept = approved.bundle().map(|CachedBundle { bytes, .. }| bytes.clone());
    (approved.manifest_bytes().to_vec(), approved.state().clone(), kept)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_order_loss_damage_or_repetition_of_a_bundles_parts_gives_the_same_check(
        disorder in disorder(),
        seen in 0_usize..3,
        cut in prop::option::of(0_usize..4000),
    ) {
        // A device that has seen so many states, a kept bundle that may be cut off, and a registry that is ahead.
        let mut sim = Simulator::new();
        sim.release(draft("1.1.0", 2));
        let mut device = Device::new(&sim, By::Bundle);
        for n in 0..seen {
            device.permitted(&sim);
            sim.release(draft(["1.2.0", "2.0.0"][n], [3, 100][n]));
        }
        let straight = left(&device.clone().permitted(&sim));
        if let (Some(cut), Some(kept)) = (cut, &mut device.cached) {
            kept.bytes.truncate(cut);
        }
        let now = sim.now;
        let mut by_bundle = device.clone();
        let found = permit(by_bundle.check_with(now, |fetch| disordered(&sim, fetch, &disorder)));
        prop_assert_eq!(left(&found), straight.clone());
        // Asked again where an answer stayed out, after the state that was persisted by then.
        let mut again = device.clone();
        let mut count = 0;
        let interrupted = again.check_with(now, |fetch| {
            count += 1;
            match count == 2 && !disorder.uninterrupted {
                true => Answer::Failed { reason: "time-out".into() },
                false => disordered(&sim, fetch, &disorder),
            }
        });
        drop(interrupted);
        prop_assert_eq!(left(&again.permitted(&sim)), straight.clone());
        // File by file it is the same release and state.
        let mut by_files = Device { by: By::Static, ..device };
        let found = by_files.permitted(&sim);
        prop_assert_eq!(left(&found), straight);
    }
}
