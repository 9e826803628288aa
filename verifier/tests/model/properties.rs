//! What must hold whatever is stolen, what may happen with it, and that each would be noticed.

use std::sync::Arc;

use stateright::{Checker, HasDiscoveries, Model, Property};

use crate::space::{Files, Proof, Space, State, Stolen, one_history};
use crate::world::{Without, World};

const ONLY_SIGNED: &str = "no device installs what the offline keys did not sign at their threshold";
const FLOORS: &str = "floors never fall";
const FORWARD: &str = "no release is brought back or replaced";
const ONE_HISTORY: &str = "a device keeps to one history of the log";
const IN_THE_OPEN: &str =
    "what a device accepts stands in the public log, unless the log's and the witness' keys are stolen";
const NO_SPLIT: &str = "two devices keep to one history, unless the log's and the witness' keys are stolen";
const NO_SECRET_FORK: &str = "a root forked by retired keys is followed in the open only, unless the log's and the witness' keys are stolen";

const HIDDEN: &str = "a device checks, and does not get what is published";
const NEWEST: &str = "a device has the newest release";
const CHOSEN: &str = "a device accepts a state of a thief's choice among what was signed";
const MALICIOUS: &str = "a device installs a release by stolen publishers' keys";
const FORKED: &str = "a device follows a forked root";
const SPLIT: &str = "two devices are split";

fn every(state: &State, holds: impl Fn(&crate::space::DeviceModel) -> bool) -> bool {
    state.devices.iter().all(holds)
}

fn some(state: &State, holds: impl Fn(&crate::space::DeviceModel) -> bool) -> bool {
    state.devices.iter().any(holds)
}

fn secret(space: &Space) -> bool {
    space.stolen.log && space.stolen.witness
}

fn split(state: &State) -> bool {
    let devices = &state.devices;
    devices.iter().any(|one| {
        devices
            .iter()
            .any(|other| !one_history(&one.accepted, &other.accepted))
    })
}

pub(crate) fn all() -> Vec<Property<Space>> {
    vec![
        Property::always(ONLY_SIGNED, |space: &Space, state: &State| {
            every(state, |device| {
                device.installed.as_ref().is_none_or(|installed| installed.honest)
                    || space.stolen.publishers >= 2
                    || (space.stolen.retired_root && device.forked)
            })
        }),
        Property::always(FLOORS, |_, state: &State| every(state, |device| !device.fell)),
        Property::always(FORWARD, |_, state: &State| {
            every(state, |device| !device.went_back)
        }),
        Property::always(ONE_HISTORY, |_, state: &State| {
            every(state, |device| !device.turned)
        }),
        Property::always(IN_THE_OPEN, |space: &Space, state: &State| {
            secret(space) || every(state, |device| state.log.contains(&device.accepted.files))
        }),
        Property::always(NO_SPLIT, |space: &Space, state: &State| {
            secret(space) || !split(state)
        }),
        Property::always(NO_SECRET_FORK, |space: &Space, state: &State| {
            let open = state.log.contains(&Files::ForkInTheLog) || state.log.contains(&Files::ForkElsewhere);
            secret(space)
                || open
                || every(state, |device| {
                    device.accepted.proof != Proof::Elsewhere && !device.forked
                })
        }),
        Property::sometimes(HIDDEN, |_, state: &State| {
            state.published > 1
                && some(state, |device| {
                    device.installed.as_ref().is_some_and(|i| i.counter == 1)
                })
        }),
        Property::sometimes(NEWEST, |_, state: &State| {
            some(state, |device| {
                device
                    .installed
                    .as_ref()
                    .is_some_and(|i| i.counter == 3 && i.honest)
            })
        }),
        Property::sometimes(CHOSEN, |_, state: &State| {
            some(state, |device| matches!(device.accepted.files, Files::Chosen(_)))
        }),
        Property::sometimes(MALICIOUS, |_, state: &State| {
            some(state, |device| {
                !device.forked && device.installed.as_ref().is_some_and(|i| !i.honest)
            })
        }),
        Property::sometimes(FORKED, |_, state: &State| {
            some(state, |device| {
                device.forked && device.accepted.files == Files::ForkInTheLog
            })
        }),
        Property::sometimes(SPLIT, |_, state: &State| split(state)),
    ]
}

/// How far a space is explored: with one device, until the authority published all that it does and the device got it; with two, whose
/// files are fewer, until each has followed another branch of the log.
const fn depth(devices: usize) -> usize {
    3 + 2 * devices
}

/// What is found of a space of this depth: the names of properties that fail, and of those that are reached.
fn explore(
    world: &Arc<World>,
    stolen: Stolen,
    devices: usize,
) -> (Vec<&'static str>, Vec<&'static str>, usize) {
    let space = Space {
        world: Arc::clone(world),
        stolen,
        devices,
    };
    let checker = space
        .checker()
        .threads(2)
        .target_max_depth(depth(devices))
        .finish_when(HasDiscoveries::AnyFailures)
        .spawn_bfs()
        .join();
    let found = |expected: fn(&stateright::Expectation) -> bool| {
        let properties = all().into_iter().filter(move |p| expected(&p.expectation));
        let names = properties
            .map(|p| p.name)
            .filter(|name| checker.discovery(name).is_some());
        names.collect::<Vec<_>>()
    };
    let failed = found(|e| *e == stateright::Expectation::Always);
    let reached = found(|e| *e == stateright::Expectation::Sometimes);
    for name in &failed {
        let path = checker.discovery(name).unwrap();
        println!("{stolen:?}: {name}: {:?}", path.into_actions());
    }
    (failed, reached, checker.unique_state_count())
}

#[test]
fn no_subset_of_stolen_keys_gains_more_than_the_table_says() {
    let world = Arc::new(World::new(Without::Nothing));
    let mut states = 0;
    for stolen in Stolen::every() {
        let (failed, reached, seen) = explore(&world, stolen, 1);
        assert_eq!(failed, Vec::<&str>::new(), "{stolen:?}");
        // And no less: what the table admits is reached.
        let mut expected = vec![HIDDEN, NEWEST];
        expected.extend(stolen.online.then_some(CHOSEN));
        expected.extend((stolen.online && stolen.publishers == 2).then_some(MALICIOUS));
        expected.extend(stolen.retired_root.then_some(FORKED));
        assert_eq!(reached, expected, "{stolen:?}");
        states += seen;
    }
    println!("{states} states, {} checks by the verifier", world.checks());
}

#[test]
fn two_devices_are_split_by_the_logs_and_the_witness_keys_together_only() {
    let world = Arc::new(World::new(Without::Nothing));
    let mut states = 0;
    for stolen in Stolen::every().filter(|stolen| !stolen.retired_root && stolen.publishers == 0) {
        let (failed, reached, seen) = explore(&world, stolen, 2);
        assert_eq!(failed, Vec::<&str>::new(), "{stolen:?}");
        assert_eq!(
            reached.contains(&SPLIT),
            stolen.log && stolen.witness,
            "{stolen:?}"
        );
        states += seen;
    }
    println!("{states} states, {} checks by the verifier", world.checks());
}

#[test]
fn without_one_rule_its_property_fails() {
    let online = Stolen {
        online: true,
        ..Stolen::NOTHING
    };
    let weakened = [
        (
            Without::Threshold,
            Stolen {
                publishers: 1,
                ..online
            },
            1,
            ONLY_SIGNED,
        ),
        (Without::Floors, Stolen::NOTHING, 1, FLOORS),
        (
            Without::Order,
            Stolen {
                publishers: 2,
                ..online
            },
            1,
            FORWARD,
        ),
        (
            Without::Checkpoint,
            Stolen {
                log: true,
                witness: true,
                ..online
            },
            2,
            ONE_HISTORY,
        ),
        (Without::Witness, Stolen { log: true, ..online }, 1, IN_THE_OPEN),
        (Without::Witness, Stolen { log: true, ..online }, 2, NO_SPLIT),
        (
            Without::Followed,
            Stolen {
                retired_root: true,
                ..Stolen::NOTHING
            },
            1,
            NO_SECRET_FORK,
        ),
    ];
    for (without, stolen, devices, property) in weakened {
        let world = Arc::new(World::new(without));
        let space = Space {
            world,
            stolen,
            devices,
        };
        let finish = HasDiscoveries::AnyOf([property].into());
        let checker = space
            .checker()
            .target_max_depth(depth(devices))
            .finish_when(finish)
            .spawn_bfs()
            .join();
        assert!(
            checker.discovery(property).is_some(),
            "without {without:?}: {property}"
        );
    }
}
