//! A transparency log in memory, which tests can let lie.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "test binaries of several crates include it, and each uses a part of it"
)]

use std::collections::BTreeMap;

use assay_authority::{KeyKind, SigningKey};
use assay_log::checkpoint::{Checkpoint, Origin};
use assay_log::merkle::{Plan, TreeHead, leaf_hash};
use assay_log::note::KeyName;
use assay_log::tile::{Edge, Tile, TileError, TileReader, VerifiedTiles, encode_entries, new_bundles};
use assay_log::witness::AddCheckpoint;
use assay_log::{SignedCheckpoint, VerifierKey};
use assay_schema::Sha256Digest;
use jiff::Timestamp;

/// Signs and serves whatever a test wants.
#[derive(Clone)]
pub struct MemoryLog {
    secret: SigningKey,
    pub key: VerifierKey,
    entries: Vec<Vec<u8>>,
    edge: Edge,
    /// The head at each published size.
    heads: BTreeMap<u64, TreeHead>,
    /// What it serves, by the path below its prefix.
    pub files: BTreeMap<String, Vec<u8>>,
}

impl MemoryLog {
    /// An empty log; its checkpoint is published.
    pub fn new(origin: &str) -> Self {
        let secret = SigningKey::generate(KeyKind::Ed25519).unwrap();
        let raw = secret.public_key().ed25519_bytes().unwrap();
        let mut log = Self {
            key: VerifierKey::log(KeyName::new(origin).unwrap(), &raw).unwrap(),
            secret,
            entries: Vec::new(),
            edge: Edge::empty(),
            heads: BTreeMap::new(),
            files: BTreeMap::new(),
        };
        log.publish();
        log
    }

    /// A log of so many strangers' entries, in one batch.
    pub fn of(origin: &str, entries: u64) -> Self {
        let mut log = Self::new(origin);
        for n in 0..entries {
            log.append(format!("entry {n}").into_bytes());
        }
        log.publish();
        log
    }

    pub fn append(&mut self, entry: Vec<u8>) {
        self.edge.push(leaf_hash(&entry)).unwrap();
        self.entries.push(entry);
    }

    /// Writes the tiles and the checkpoint of what was appended.
    pub fn publish(&mut self) -> SignedCheckpoint {
        let head = self.edge.head().unwrap();
        let old = self.heads.keys().next_back().copied().unwrap_or(0);
        for (tile, bytes) in self.edge.take_tiles() {
            self.files.insert(tile.to_string(), bytes);
        }
        for bundle in new_bundles(old, head.size) {
            let from = bundle.start() as usize;
            let entries = self.entries[from..from + usize::from(bundle.width())].iter();
            let bytes = encode_entries(entries.map(Vec::as_slice)).unwrap();
            self.files.insert(bundle.to_string(), bytes);
        }
        self.heads.insert(head.size, head);
        self.show(head)
    }

    /// Appends entries and publishes them.
    pub fn grow(&mut self, entries: u64) -> SignedCheckpoint {
        for _ in 0..entries {
            self.append(format!("entry {}", self.edge.size()).into_bytes());
        }
        self.publish()
    }

    /// Signs a head, whatever it is, and serves it.
    pub fn show(&mut self, head: TreeHead) -> SignedCheckpoint {
        let signed = self.sign(head);
        self.files
            .insert("checkpoint".to_owned(), signed.to_string().into_bytes());
        signed
    }

    /// Signs a head, whatever it is.
    pub fn sign(&self, head: TreeHead) -> SignedCheckpoint {
        let origin = Origin::try_from(self.key.name().to_string()).unwrap();
        let checkpoint = Checkpoint::new(origin, head).unwrap();
        let sign = |text: &[u8]| <[u8; 64]>::try_from(self.secret.sign(text).unwrap());
        SignedCheckpoint::sign(checkpoint, &self.key, sign).unwrap()
    }

    pub fn head(&self) -> TreeHead {
        *self.heads.values().next_back().unwrap()
    }

    /// The checkpoint of a size that was published.
    pub fn at(&self, size: u64) -> SignedCheckpoint {
        self.sign(self.heads[&size])
    }

    pub fn checkpoint(&self) -> SignedCheckpoint {
        SignedCheckpoint::parse(&self.files["checkpoint"]).unwrap()
    }

    pub fn consistency(&self, old: u64, new: u64) -> Vec<Sha256Digest> {
        let plan = Plan::consistency(old, new).unwrap();
        let tiles = VerifiedTiles::read(self, self.heads[&new], plan.nodes()).unwrap();
        plan.prove(&tiles).unwrap()
    }

    /// The body of an `add-checkpoint` request from one published size to another.
    pub fn request(&self, old: u64, new: u64) -> String {
        AddCheckpoint::new(old, self.consistency(old, new), self.at(new))
            .unwrap()
            .to_string()
    }

    /// The same key over another history: one entry is another one, the rest and the sizes are the same.
    pub fn rewritten(&self, place: usize) -> Self {
        let mut other = Self {
            edge: Edge::empty(),
            entries: Vec::new(),
            heads: BTreeMap::new(),
            files: BTreeMap::new(),
            ..self.clone()
        };
        let mut from = 0;
        for size in self.heads.keys() {
            for (n, entry) in self.entries.iter().enumerate().take(*size as usize).skip(from) {
                let changed = if n == place {
                    b"another entry".to_vec()
                } else {
                    entry.clone()
                };
                other.append(changed);
            }
            from = *size as usize;
            other.publish();
        }
        other
    }

    /// A partial tile need not be kept once the full one is there (tlog-tiles, "Partial Tiles").
    pub fn forget_partial(&mut self) {
        let kept: Vec<String> = self
            .files
            .keys()
            .filter(|path| match path.split_once(".p/") {
                None => true,
                Some((full, _)) => !self.files.contains_key(full),
            })
            .cloned()
            .collect();
        self.files.retain(|path, _| kept.contains(path));
    }
}

impl TileReader for MemoryLog {
    type Error = TileError;

    fn tiles(&self, tiles: &[Tile]) -> Result<Vec<Vec<u8>>, TileError> {
        let find = |tile: &Tile| self.files[&tile.to_string()].clone();
        Ok(tiles.iter().map(find).collect())
    }
}

/// Witnesses that cosign whatever a test wants, at the time that it says.
pub struct Witnesses(Vec<(SigningKey, VerifierKey)>);

impl Witnesses {
    pub fn new(count: usize) -> Self {
        let make = |n| {
            let secret = SigningKey::generate(KeyKind::Ed25519).unwrap();
            let raw = secret.public_key().ed25519_bytes().unwrap();
            let name = KeyName::new(&format!("witness.example/{n}")).unwrap();
            let key = VerifierKey::witness(name, &raw).unwrap();
            (secret, key)
        };
        Self((0..count).map(make).collect())
    }

    pub fn keys(&self) -> Vec<VerifierKey> {
        self.0.iter().map(|(_, key)| key.clone()).collect()
    }

    /// Adds the cosignatures of the first `count` of them.
    pub fn cosign(
        &self,
        log: &VerifierKey,
        checkpoint: &mut SignedCheckpoint,
        count: usize,
        time: Timestamp,
    ) {
        for (secret, key) in self.0.iter().take(count) {
            let request = AddCheckpoint::new(0, Vec::new(), checkpoint.clone()).unwrap();
            let accepted = request.decide(std::slice::from_ref(log), None).unwrap();
            let sign = |text: &[u8]| <[u8; 64]>::try_from(secret.sign(text).unwrap());
            checkpoint.add(accepted.cosign(key, time, sign).unwrap()).unwrap();
        }
    }
}
