//! Real files for the model's views, and the device's real check over them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use assay_schema::Sha256Digest;
use assay_verifier::provenance::sha256;
use assay_verifier::{Checked, DeviceState};
use serde_json::{Value, json};

use crate::space::{Files, History, Proof, View};
use crate::support::keys::number_keys_from;
use crate::support::testlog::{TestLog, Witness};
use crate::support::{By, Device, Simulator, after_days, draft, new_key, start, text};

/// A rule of the device or of the namespace that is left out, to see which property stands on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Without {
    Nothing,
    /// The model's role needs one signature instead of two.
    Threshold,
    /// The device forgets timestamp and snapshot before every check.
    Floors,
    /// The device forgets the order and the manifest that it activated.
    Order,
    /// The device forgets the log's last checkpoint.
    Checkpoint,
    /// The namespace demands no witness of its log.
    Witness,
    /// The device forgets the log that it followed.
    Followed,
}

/// A device's state as it lies on its disk, by its number: states of the model are compared and hashed often.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Disk(usize);

/// A release that a device activated.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Installed {
    pub(crate) manifest: Sha256Digest,
    pub(crate) counter: u64,
    /// The authority published it.
    pub(crate) honest: bool,
}

/// What a check came to.
#[derive(Debug, Clone)]
pub(crate) struct Outcome {
    pub(crate) disk: Disk,
    /// The release that passed, and was activated.
    pub(crate) installed: Option<Installed>,
    /// A floor is lower than before.
    pub(crate) fell: bool,
    /// The trusted root is one that retired keys forked.
    pub(crate) forked: bool,
}

/// The namespace's real files, and every check that was made of them.
pub(crate) struct World {
    without: Without,
    device: Device,
    honest: Vec<Simulator>,
    forks: [Simulator; 2],
    log: TestLog,
    own: TestLog,
    files: Mutex<HashMap<Files, Arc<Simulator>>>,
    logs: Mutex<HashMap<(History, Proof), Arc<TestLog>>>,
    disks: Mutex<Vec<String>>,
    checks: Mutex<HashMap<(Disk, View), Outcome>>,
}

/// How many states the authority publishes: a release; other root and online keys with a second release; a third release.
pub(crate) const STATES: u8 = 3;

impl World {
    pub(crate) fn new(without: Without) -> Self {
        number_keys_from(0);
        let mut sim = Simulator::empty();
        let mut log = TestLog::new();
        log.witnesses.push(Witness::new("witness.example", sim.now));
        match without {
            Without::Witness => log.named_by(&mut sim, &[], 0),
            _ => log.witnessed_by(&mut sim, 1),
        }
        let own = TestLog::named("log.example/thief", new_key());
        let mut honest = Vec::new();
        sim.release(draft("1.0.0", 1));
        if without == Without::Threshold {
            sim.edit("targets", |signed| {
                signed["delegations"]["roles"][0]["threshold"] = json!(1)
            });
        }
        honest.push(sim.clone());
        sim.rotate("root");
        sim.rotate("timestamp");
        sim.release(draft("1.1.0", 2));
        honest.push(sim.clone());
        sim.release(draft("1.2.0", 3));
        honest.push(sim);
        assert_eq!(honest.len(), usize::from(STATES));
        let forks = [true, false].map(|elsewhere| {
            let mut fork = honest[0].clone();
            for role in ["root", "timestamp", "targets"] {
                fork.rotate(role);
            }
            fork.keys.insert("model".into(), vec![new_key(), new_key()]);
            let block = assay_schema::tuf::ModelRole {
                model: crate::support::model(),
                block: 0,
            };
            fork.delegate(&block, 1);
            if elsewhere {
                own.named_by(&mut fork, &[], 0);
            }
            fork.release(draft("6.6.6", 66));
            fork
        });
        let device = Device::new(&honest[0], By::Bundle);
        Self {
            without,
            device,
            honest,
            forks,
            log,
            own,
            files: Mutex::default(),
            logs: Mutex::default(),
            disks: Mutex::default(),
            checks: Mutex::default(),
        }
    }

    /// A device that has just learned the namespace.
    pub(crate) fn new_device(&self) -> Disk {
        self.numbered(&self.device.disk)
    }

    fn numbered(&self, disk: &str) -> Disk {
        let mut disks = self.disks.lock().unwrap();
        let known = disks.iter().position(|known| known == disk);
        Disk(known.unwrap_or_else(|| {
            disks.push(disk.to_owned());
            disks.len() - 1
        }))
    }

    /// How many checks the verifier made.
    pub(crate) fn checks(&self) -> usize {
        self.checks.lock().unwrap().len()
    }

    /// The real files of a view, signed once.
    fn files(&self, files: Files) -> Arc<Simulator> {
        let mut all = self.files.lock().unwrap();
        if let Some(made) = all.get(&files) {
            return Arc::clone(made);
        }
        number_keys_from(100_000 + 1000 * all.len() as u64);
        let made = Arc::new(self.sign(files));
        all.insert(files, Arc::clone(&made));
        made
    }

    fn sign(&self, files: Files) -> Simulator {
        // Version numbers above all that the authority signs: nothing is refused for them alone.
        let ahead = |state: u8, by: u64| {
            let mut sim = self.honest[usize::from(state)].clone();
            for role in ["snapshot", "timestamp"] {
                let version = &mut sim.signed.get_mut(role).unwrap()["version"];
                *version = json!(version.as_u64().unwrap() + by);
            }
            sim
        };
        let malicious = |sim: &mut Simulator| {
            sim.signer = crate::support::keys::new_signer();
            sim.release(draft("6.6.6", 66));
        };
        match files {
            Files::Honest(state) => self.honest[usize::from(state)].clone(),
            Files::Chosen(state) => {
                let mut sim = ahead(state, 100);
                sim.publish();
                sim
            }
            Files::Unsigned(state) => {
                let mut sim = ahead(state, 200);
                sim.keys.insert("model".into(), vec![new_key(), new_key()]);
                malicious(&mut sim);
                sim
            }
            Files::ByOne(state) => {
                let mut sim = ahead(state, 300);
                sim.keys.get_mut("model").unwrap().truncate(1);
                malicious(&mut sim);
                sim
            }
            Files::Malicious(state) => {
                let mut sim = ahead(state, 400);
                malicious(&mut sim);
                sim
            }
            Files::Replaced(state) => {
                let mut sim = ahead(state, 500);
                sim.replace_manifest(|m| m["not_before"] = json!(after_days(start(), -1)));
                sim
            }
            Files::ForkElsewhere => self.forks[0].clone(),
            Files::ForkInTheLog => self.forks[1].clone(),
        }
    }

    /// The log that holds these states, in this order.
    fn log(&self, history: &History, proof: Proof) -> Arc<TestLog> {
        let key = (history.clone(), proof);
        if let Some(made) = self.logs.lock().unwrap().get(&key) {
            return Arc::clone(made);
        }
        let mut log = match proof {
            Proof::Elsewhere => self.own.clone(),
            _ => self.log.clone(),
        };
        if proof == Proof::Secret {
            log.witnesses.clear();
        }
        for files in history.iter() {
            let sim = self.files(*files);
            log.root_logged(&sim);
            log.logged(&sim);
        }
        let log = Arc::new(log);
        self.logs.lock().unwrap().insert(key, Arc::clone(&log));
        log
    }

    /// The device's check of this view, by the verifier itself, and the activation of what passes.
    pub(crate) fn check(&self, disk: Disk, view: &View) -> Outcome {
        let key = (disk, view.clone());
        if let Some(known) = self.checks.lock().unwrap().get(&key) {
            return known.clone();
        }
        let (sim, log) = (self.files(view.files), self.log(&view.history, view.proof));
        let mut device = self.device.clone();
        device.disk = self.disks.lock().unwrap()[disk.0].clone();
        let before = device.state();
        device.persist(&self.forgetting(before.clone()));
        let checked = device.check_with(sim.now, |fetch| log.serve(&sim, fetch));
        let installed = match checked {
            Checked::Permitted(approved) => {
                device.activate(&approved);
                let manifest = approved.manifest_digest();
                let honest = self.honest.iter().flat_map(|sim| &sim.releases);
                Some(Installed {
                    manifest,
                    counter: approved.manifest().order.counter(),
                    honest: honest
                        .into_iter()
                        .any(|release| sha256(&release.manifest) == manifest),
                })
            }
            _ => None,
        };
        let after = device.state();
        let outcome = Outcome {
            installed,
            fell: fell(&before, &after),
            forked: self
                .forks
                .iter()
                .any(|fork| fork.roots[1..].iter().any(|root| text(root) == after.root)),
            disk: self.numbered(&device.disk),
        };
        self.checks.lock().unwrap().insert(key, outcome.clone());
        outcome
    }

    fn forgetting(&self, mut state: DeviceState) -> DeviceState {
        match self.without {
            Without::Floors => {
                state.timestamp = None;
                state.snapshot = None;
                state.snapshot_timestamp = None;
            }
            Without::Order => {
                state.floors.clear();
                state.activated.clear();
            }
            Without::Checkpoint => state.log = None,
            Without::Followed => state.followed = None,
            Without::Nothing | Without::Threshold | Without::Witness => {}
        }
        state
    }
}

fn version(file: Option<&String>) -> Option<u64> {
    let file: Value = serde_json::from_str(file?).unwrap();
    file["signed"]["version"].as_u64()
}

/// Whether what the device remembers is lower than before: of files as long as the root is the same (TUF 5.3.11).
fn fell(before: &DeviceState, after: &DeviceState) -> bool {
    let root = |state: &DeviceState| version(Some(&state.root));
    let orders = before
        .floors
        .iter()
        .any(|(model, floor)| after.floors.get(model) < Some(floor));
    let files = root(before) == root(after)
        && (version(before.timestamp.as_ref()) > version(after.timestamp.as_ref())
            || version(before.snapshot.as_ref()) > version(after.snapshot.as_ref()));
    let log = before.log.as_ref().map(|log| log.head.size) > after.log.as_ref().map(|log| log.head.size);
    orders || files || log || root(before) > root(after)
}
