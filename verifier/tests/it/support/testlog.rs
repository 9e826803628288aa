//! A log in memory, with its witnesses.

use assay_authority::SigningKey;
use assay_log::checkpoint::{Checkpoint, Origin, SignedCheckpoint};
use assay_log::leaf::{Leaf, LeafKind};
use assay_log::merkle::{Node, NodeReader, Plan, TreeHead, leaf_hash, node_hash};
use assay_log::note::KeyName;
use assay_log::{LogProof, VerifierKey};
use assay_schema::bundle::LogPart;
use assay_schema::log::{LogTrust, TARGET};
use assay_schema::{Sha256Digest, Stage};
use assay_verifier::provenance::sha256;
use assay_verifier::{Answer, Checked, Fetch, Resource};
use jiff::Timestamp;

use super::device::{By, Device};
use super::keys::new_key;
use super::simulator::Simulator;

/// The 32 bytes of an Ed25519 key, with which its DER ends.
pub(crate) fn raw(key: &SigningKey) -> [u8; 32] {
    *key.public_key_spki_der().last_chunk().unwrap()
}

/// A log in memory, which holds what it is told to.
#[derive(Clone)]
pub(crate) struct TestLog {
    pub(crate) key: SigningKey,
    pub(crate) public: VerifierKey,
    pub(crate) entries: Vec<Vec<u8>>,
    /// Who cosigns every checkpoint, and at what time.
    pub(crate) witnesses: Vec<Witness>,
}

#[derive(Clone)]
pub(crate) struct Witness {
    key: SigningKey,
    pub(crate) public: VerifierKey,
    pub(crate) time: Timestamp,
}

impl Witness {
    pub(crate) fn new(name: &str, time: Timestamp) -> Self {
        let key = new_key();
        let public = VerifierKey::witness(KeyName::new(name).unwrap(), &raw(&key)).unwrap();
        Self { key, public, time }
    }

    fn cosign(&self, signed: &mut SignedCheckpoint) {
        let message = assay_log::cosignature::message(self.time, signed.note().text());
        let mut signature = u64::try_from(self.time.as_second())
            .unwrap()
            .to_be_bytes()
            .to_vec();
        signature.extend(self.key.sign(&message).unwrap());
        let line = assay_log::note::SignatureLine {
            name: self.public.name().clone(),
            id: self.public.id(),
            signature,
        };
        signed.add(line).unwrap();
    }
}

impl NodeReader for TestLog {
    type Error = String;

    fn node(&self, node: Node) -> Result<Sha256Digest, String> {
        match node.level {
            0 => Ok(leaf_hash(&self.entries[node.index as usize])),
            level => {
                let under = |index| {
                    self.node(Node {
                        level: level - 1,
                        index,
                    })
                };
                Ok(node_hash(&under(2 * node.index)?, &under(2 * node.index + 1)?))
            }
        }
    }
}

impl TestLog {
    pub(crate) fn new() -> Self {
        Self::named("log.example/one", new_key())
    }

    pub(crate) fn named(origin: &str, key: SigningKey) -> Self {
        let public = VerifierKey::log(KeyName::new(origin).unwrap(), &raw(&key)).unwrap();
        Self {
            key,
            public,
            entries: Vec::new(),
            witnesses: Vec::new(),
        }
    }

    /// The namespace names this log.
    pub(crate) fn named_by(&self, sim: &mut Simulator, witnesses: &[String], threshold: u32) {
        let trust = LogTrust {
            v: 1,
            log: self.public.to_string(),
            witnesses: witnesses.to_vec(),
            threshold,
        };
        let document = assay_schema::canonical::document(&trust).unwrap();
        sim.trust_target(TARGET, &document, true);
    }

    pub(crate) fn strangers(&mut self, count: usize) {
        let from = self.entries.len();
        self.entries
            .extend((from..from + count).map(|n| format!("entry {n}").into_bytes()));
    }

    pub(crate) fn logged(&mut self, sim: &Simulator) {
        self.entries.push(leaf(sim).to_bytes().unwrap());
    }

    /// The namespace names this log, and so many of its witnesses.
    pub(crate) fn witnessed_by(&self, sim: &mut Simulator, threshold: u32) {
        let keys: Vec<String> = self.witnesses.iter().map(|w| w.public.to_string()).collect();
        self.named_by(sim, &keys, threshold);
    }

    /// The current root gets its place.
    pub(crate) fn root_logged(&mut self, sim: &Simulator) {
        self.entries.push(root_leaf(sim).to_bytes().unwrap());
    }

    /// Its place's proof.
    pub(crate) fn root_part(&self, sim: &Simulator, known: Option<u64>) -> Option<LogPart> {
        let entry = root_leaf(sim).to_bytes().unwrap();
        let index = self.entries.iter().position(|e| *e == entry)? as u64;
        self.part_of(index, known)
    }

    pub(crate) fn head(&self) -> TreeHead {
        TreeHead::read(self.entries.len() as u64, self).unwrap()
    }

    pub(crate) fn part(&self, sim: &Simulator, known: Option<u64>) -> Option<LogPart> {
        let entry = leaf(sim).to_bytes().unwrap();
        let index = self.entries.iter().position(|e| *e == entry)? as u64;
        self.part_of(index, known)
    }

    pub(crate) fn part_of(&self, index: u64, known: Option<u64>) -> Option<LogPart> {
        let head = self.head();
        let origin = Origin::try_from(self.public.name().to_string()).unwrap();
        let checkpoint = Checkpoint::new(origin, head).unwrap();
        let mut signed = SignedCheckpoint::sign(checkpoint, &self.public, |text| {
            <[u8; 64]>::try_from(self.key.sign(text).unwrap()).map_err(|_| "length")
        })
        .unwrap();
        self.witnesses
            .iter()
            .for_each(|witness| witness.cosign(&mut signed));
        let hashes = Plan::inclusion(index, head.size).unwrap().prove(self).unwrap();
        let consistency = known
            .filter(|known| *known <= head.size)
            .map(|known| Plan::consistency(known, head.size).unwrap().prove(self).unwrap());
        Some(LogPart {
            proof: LogProof::new(index, hashes, signed, None).unwrap().to_string(),
            consistency,
        })
    }

    /// What a registry with this log answers.
    pub(crate) fn serve(&self, sim: &Simulator, fetch: &Fetch) -> Answer {
        match &fetch.resource {
            Resource::RootProof { size, .. } => match self.root_part(sim, *size) {
                Some(part) => Answer::Found {
                    bytes: serde_json::to_vec(&part).unwrap(),
                    etag: None,
                },
                None => Answer::Missing,
            },
            _ => serve_part(sim, fetch, |known| self.part(sim, known)),
        }
    }
}

pub(crate) fn serve_part(
    sim: &Simulator,
    fetch: &Fetch,
    part: impl Fn(Option<u64>) -> Option<LogPart>,
) -> Answer {
    let found = |bytes: Vec<u8>| {
        let etag = sha256(&bytes).to_hex();
        match fetch.etag.as_ref() == Some(&etag) {
            true => Answer::NotModified,
            false => Answer::Found {
                bytes,
                etag: Some(etag),
            },
        }
    };
    match &fetch.resource {
        Resource::LogProof { size, .. } => match part(*size) {
            Some(part) => found(serde_json::to_vec(&part).unwrap()),
            None => Answer::Missing,
        },
        Resource::Bundle { log, .. } => sim.bundle_for(fetch, part(*log)).unwrap(),
        _ => sim.serve(fetch),
    }
}

pub(crate) fn leaf(sim: &Simulator) -> Leaf {
    let version = sim.signed["snapshot"]["version"].as_u64().unwrap();
    let digest = sha256(&sim.current["snapshot"]);
    Leaf::new(sim.identity, LeafKind::Snapshot, version, digest).unwrap()
}

fn root_leaf(sim: &Simulator) -> Leaf {
    let root = sim.roots.last().unwrap();
    Leaf::new(sim.identity, LeafKind::Root, sim.roots.len() as u64, sha256(root)).unwrap()
}

/// A namespace that names a log which holds its snapshot.
pub(crate) fn logged() -> (Simulator, TestLog) {
    let mut sim = Simulator::new();
    let mut log = TestLog::new();
    log.named_by(&mut sim, &[], 0);
    log.strangers(5);
    log.logged(&sim);
    (sim, log)
}

pub(crate) fn requiring(sim: &Simulator, by: By) -> Device {
    let mut device = Device::new(sim, by);
    device.require = [Stage::Log].into();
    device
}

pub(crate) fn check(device: &mut Device, sim: &Simulator, log: &TestLog) -> Checked {
    device.check_with(sim.now, |fetch| log.serve(sim, fetch))
}
