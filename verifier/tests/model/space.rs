//! The states of the model and what may happen in each.

use std::sync::Arc;

use stateright::{Model, Property};

use crate::properties;
use crate::world::{Disk, Installed, STATES, World};

/// What a thief holds. Both of the publishers' keys are their threshold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stolen {
    /// The root keys of the first root, at their threshold; they are retired by the second state.
    pub(crate) retired_root: bool,
    pub(crate) publishers: u8,
    /// Snapshot and timestamp.
    pub(crate) online: bool,
    pub(crate) log: bool,
    pub(crate) witness: bool,
}

impl Stolen {
    pub(crate) const NOTHING: Self = Self {
        retired_root: false,
        publishers: 0,
        online: false,
        log: false,
        witness: false,
    };

    /// Every subset.
    pub(crate) fn every() -> impl Iterator<Item = Self> {
        (0..16_u8).flat_map(|bits| {
            (0..3).map(move |publishers| Self {
                retired_root: bits & 1 != 0,
                publishers,
                online: bits & 2 != 0,
                log: bits & 4 != 0,
                witness: bits & 8 != 0,
            })
        })
    }

    fn makes(self, files: Files) -> bool {
        match files {
            Files::Honest(_) => true,
            Files::Chosen(_) | Files::Unsigned(_) => self.online,
            Files::ByOne(_) => self.online && self.publishers >= 1,
            Files::Malicious(_) | Files::Replaced(_) => self.online && self.publishers >= 2,
            Files::ForkElsewhere | Files::ForkInTheLog => self.retired_root,
        }
    }
}

/// Metadata and releases that a registry can show, each over one of the authority's states.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Files {
    Honest(u8),
    /// What the offline roles signed then, under a newer snapshot and timestamp.
    Chosen(u8),
    /// A release that no publisher signed.
    Unsigned(u8),
    /// One that a single key signed.
    ByOne(u8),
    /// One that the publishers' keys signed.
    Malicious(u8),
    /// Another manifest for the highest release, by the publishers' keys.
    Replaced(u8),
    /// A next root by retired keys, which names a log of the thief's.
    ForkElsewhere,
    /// One that keeps the namespace's log.
    ForkInTheLog,
}

/// The states that a log holds, in order.
pub(crate) type History = Arc<[Files]>;

/// Whose log is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Proof {
    /// The log that everybody sees, with its witness.
    Public,
    /// The thief's own branch of it, by the log's key.
    Secret,
    /// The same, with the witness' key.
    SecretCosigned,
    /// Another log, whose key is the thief's.
    Elsewhere,
}

/// What a device is shown.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct View {
    pub(crate) files: Files,
    pub(crate) history: History,
    pub(crate) proof: Proof,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct DeviceModel {
    pub(crate) disk: Disk,
    pub(crate) installed: Option<Installed>,
    /// The last view that the device accepted.
    pub(crate) accepted: View,
    /// Anything that it remembers was lowered.
    pub(crate) fell: bool,
    /// It activated a lower release than before, or another one of the same order.
    pub(crate) went_back: bool,
    /// It accepted a history that does not continue the one before.
    pub(crate) turned: bool,
    pub(crate) forked: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct State {
    /// How many of the authority's states are published.
    pub(crate) published: u8,
    pub(crate) log: History,
    /// What the thief's own branch of the log holds.
    pub(crate) branch: History,
    pub(crate) devices: Vec<DeviceModel>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Action {
    /// The authority rotates or publishes; its registry logs that.
    Publish,
    /// The thief has the log, as everybody sees it, take his files.
    Log(Files),
    /// He adds them to his own branch.
    Branch(Files),
    /// The registry shows this to a device.
    Serve(usize, Files, Proof),
}

pub(crate) struct Space {
    pub(crate) world: Arc<World>,
    pub(crate) stolen: Stolen,
    pub(crate) devices: usize,
}

/// Each log takes so much of the thief's.
const MADE_UP: usize = 1;

fn made_up(history: &History) -> usize {
    history
        .iter()
        .filter(|files| !matches!(files, Files::Honest(_)))
        .count()
}

fn with(history: &History, files: Files) -> History {
    history.iter().copied().chain([files]).collect()
}

/// Whether one history continues the other.
pub(crate) fn one_history(one: &View, other: &View) -> bool {
    let elsewhere = |view: &View| view.proof == Proof::Elsewhere;
    let (short, long) = match one.history.len() <= other.history.len() {
        true => (&one.history, &other.history),
        false => (&other.history, &one.history),
    };
    elsewhere(one) == elsewhere(other) && long.starts_with(short)
}

impl Space {
    /// What the registry can show now: the authority's states, and what the thief makes of the first and the newest of them.
    fn files(&self, state: &State) -> Vec<Files> {
        let newest = state.published - 1;
        let mut all: Vec<Files> = (0..=newest).map(Files::Honest).collect();
        let mut bases = vec![0, newest];
        bases.dedup();
        for base in bases {
            all.push(Files::Chosen(base));
        }
        // Two devices are there to be split: one made-up state is as good as another for that.
        if self.devices == 1 {
            all.extend([
                Files::Unsigned(newest),
                Files::ByOne(newest),
                Files::Malicious(newest),
                Files::Replaced(newest),
            ]);
            all.extend([Files::ForkElsewhere, Files::ForkInTheLog]);
        }
        all.retain(|files| self.stolen.makes(*files));
        all
    }

    fn shown(&self, state: &State, files: Files, proof: Proof) -> View {
        let history = match proof {
            Proof::Public => state.log.clone(),
            Proof::Secret | Proof::SecretCosigned => state.branch.clone(),
            Proof::Elsewhere => Arc::new([files]),
        };
        View {
            files,
            history,
            proof,
        }
    }
}

impl Model for Space {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let log: History = Arc::new([Files::Honest(0)]);
        let first = View {
            files: Files::Honest(0),
            history: log.clone(),
            proof: Proof::Public,
        };
        let outcome = self.world.check(self.world.new_device(), &first);
        assert!(
            outcome.installed.is_some(),
            "the devices follow the namespace and its log"
        );
        let device = DeviceModel {
            disk: outcome.disk,
            installed: outcome.installed,
            accepted: first,
            fell: outcome.fell,
            went_back: false,
            turned: false,
            forked: outcome.forked,
        };
        vec![State {
            published: 1,
            log: log.clone(),
            branch: log,
            devices: vec![device; self.devices],
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        if state.published < STATES {
            actions.push(Action::Publish);
        }
        for files in self.files(state) {
            let honest = matches!(files, Files::Honest(_));
            if !honest && made_up(&state.log) < MADE_UP {
                actions.push(Action::Log(files));
            }
            if self.stolen.log
                && made_up(&state.branch) < MADE_UP + usize::from(honest)
                && !state.branch.contains(&files)
            {
                actions.push(Action::Branch(files));
            }
            let branch = match (self.stolen.log, self.stolen.witness) {
                (false, _) => None,
                (true, false) => Some(Proof::Secret),
                (true, true) => Some(Proof::SecretCosigned),
            };
            let elsewhere = (files == Files::ForkElsewhere).then_some(Proof::Elsewhere);
            for proof in [Some(Proof::Public), branch, elsewhere].into_iter().flatten() {
                actions.extend((0..self.devices).map(|device| Action::Serve(device, files, proof)));
            }
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        match action {
            Action::Publish => {
                state.log = with(&state.log, Files::Honest(state.published));
                state.published += 1;
            }
            Action::Log(files) => state.log = with(&state.log, files),
            Action::Branch(files) => state.branch = with(&state.branch, files),
            Action::Serve(n, files, proof) => {
                let view = self.shown(&state, files, proof);
                let device = &mut state.devices[n];
                let outcome = self.world.check(device.disk, &view);
                device.disk = outcome.disk;
                device.fell |= outcome.fell;
                device.forked |= outcome.forked;
                if let Some(new) = outcome.installed {
                    if let Some(old) = &device.installed {
                        device.went_back |= new.counter < old.counter
                            || (new.counter == old.counter && new.manifest != old.manifest);
                    }
                    device.turned |= !one_history(&device.accepted, &view);
                    device.accepted = view;
                    device.installed = Some(new);
                }
            }
        }
        (state != *last).then_some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        properties::all()
    }
}
