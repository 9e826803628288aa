//! Seeded simulation: an honest authority goes on, while a mirror without keys serves any mixture of what there ever was.

use std::collections::BTreeSet;

use assay_schema::Sha256Digest;
use assay_verifier::provenance::sha256;
use assay_verifier::{Answer, Checked, Resource};
use proptest::prelude::*;

use crate::support::*;

#[derive(Debug, Clone)]
enum Act {
    Release,
    Resign,
    Rotate(u8),
    NextDay,
    /// A check against the present registry.
    Honest,
    /// A check against the registry as it was.
    Old(prop::sample::Index),
    /// Every answer comes from another moment.
    Mixture(Vec<prop::sample::Index>),
    /// The n-th answer stays out.
    Withheld(usize),
    Activate,
    ForgetCache,
}

fn acts() -> impl Strategy<Value = Act> {
    prop_oneof![
        Just(Act::Release),
        Just(Act::Resign),
        any::<u8>().prop_map(Act::Rotate),
        Just(Act::NextDay),
        Just(Act::Honest),
        any::<prop::sample::Index>().prop_map(Act::Old),
        prop::collection::vec(any::<prop::sample::Index>(), 1..9).prop_map(Act::Mixture),
        (1_usize..8).prop_map(Act::Withheld),
        Just(Act::Activate),
        Just(Act::ForgetCache),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_mirror_without_keys_never_takes_a_device_back(
        bundle in any::<bool>(),
        acts in prop::collection::vec(acts(), 1..24),
    ) {
        let mut sim = Simulator::new();
        let mut device = Device::new(&sim, if bundle { By::Bundle } else { By::Static });
        let mut history = vec![sim.clone()];
        let mut manifests: BTreeSet<Sha256Digest> = [sha256(&sim.releases[0].manifest)].into();
        let mut counter = 1;
        let mut last = None;
        for act in acts {
            let before = device.state();
            let now = sim.now;
            let checked = match act {
                Act::Release => {
                    counter += 40;
                    let mut release = draft("0", counter);
                    release.version = Box::leak(format!("1.{counter}").into_boxed_str());
                    manifests.insert(sha256(&sim.release(release).manifest));
                    None
                }
                Act::Resign => {
                    sim.publish();
                    None
                }
                Act::Rotate(n) => {
                    sim.rotate(["root", "targets", "snapshot", "timestamp"][usize::from(n % 4)]);
                    None
                }
                Act::NextDay => {
                    sim.now = after_days(sim.now, 1);
                    sim.publish();
                    None
                }
                Act::Honest => Some(device.check(&sim)),
                Act::Old(at) => {
                    let old = at.get(&history).clone();
                    Some(device.check_with(now, |fetch| old.serve(fetch)))
                }
                Act::Mixture(moments) => {
                    let mut turn = 0;
                    Some(device.check_with(now, |fetch| {
                        turn += 1;
                        moments[turn % moments.len()].get(&history).serve(fetch)
                    }))
                }
                Act::Withheld(n) => {
                    let mut turn = 0;
                    Some(device.check_with(now, |fetch| {
                        turn += 1;
                        match &fetch.resource {
                            Resource::Metadata { .. } if turn == n => Answer::Missing,
                            _ if turn == n => Answer::Failed { reason: "time-out".into() },
                            _ => sim.serve(fetch),
                        }
                    }))
                }
                Act::Activate => {
                    if let Some(approved) = last.take() {
                        device.activate(&approved);
                    }
                    None
                }
                Act::ForgetCache => {
                    device.cached = None;
                    None
                }
            };
            history.push(sim.clone());
            no_rollback(&before, &device.state());
            match checked {
                Some(Checked::Permitted(approved)) => {
                    assert!(manifests.contains(&approved.manifest_digest()));
                    let floor = before.floors.get(&model()).copied();
                    assert!(floor.is_none_or(|floor| approved.manifest().order >= floor));
                    last = Some(*approved);
                }
                Some(Checked::Refused(verdict)) => drop(decided(&verdict)),
                Some(Checked::Deferred(verdict)) => panic!("{verdict:#?}"),
                None => {}
            }
        }
        // Whatever the mirror did, the honest registry is believed at once.
        let newest = device.permitted(&sim);
        assert_eq!(newest.manifest().order.counter(), counter);
    }
}
