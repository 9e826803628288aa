//! A log in memory: entries, keys, and a tree computed as RFC 6962 defines it, without any of the crate's shortcuts.

use std::convert::Infallible;

use assay_log::checkpoint::Checkpoint;
use assay_log::merkle::{Node, NodeReader, Plan, TreeHead, leaf_hash, node_hash};
use assay_log::note::KeyName;
use assay_log::{LogPolicy, LogProof, SignedCheckpoint, VerifierKey};
use assay_schema::Sha256Digest;
use ed25519_dalek::{Signer as _, SigningKey};

pub(crate) const ORIGIN: &str = "example.com/log";

pub(crate) fn entry(index: u64) -> Vec<u8> {
    format!("entry {index}").into_bytes()
}

/// MTH of RFC 6962 section 2.1, word by word.
pub(crate) fn mth(leaves: &[Sha256Digest]) -> Sha256Digest {
    match leaves {
        [] => Sha256Digest::EMPTY,
        [leaf] => *leaf,
        _ => {
            let mut k = 1;
            while k * 2 < leaves.len() {
                k *= 2;
            }
            node_hash(&mth(&leaves[..k]), &mth(&leaves[k..]))
        }
    }
}

/// All leaf hashes; a node is hashed anew each time.
pub(crate) struct Leaves(pub Vec<Sha256Digest>);

impl Leaves {
    pub(crate) fn new(size: u64) -> Self {
        Self((0..size).map(|i| leaf_hash(&entry(i))).collect())
    }

    pub(crate) fn head(&self, size: u64) -> TreeHead {
        TreeHead {
            size,
            root: mth(&self.0[..size as usize]),
        }
    }

    pub(crate) fn inclusion(&self, index: u64, size: u64) -> Vec<Sha256Digest> {
        Plan::inclusion(index, size).unwrap().prove(self).unwrap()
    }

    pub(crate) fn consistency(&self, old: u64, new: u64) -> Vec<Sha256Digest> {
        Plan::consistency(old, new).unwrap().prove(self).unwrap()
    }
}

impl NodeReader for Leaves {
    type Error = Infallible;

    fn node(&self, node: Node) -> Result<Sha256Digest, Infallible> {
        let from = (node.index << node.level) as usize;
        Ok(mth(&self.0[from..from + (1 << node.level)]))
    }
}

/// A key pair of a log or witness.
pub(crate) struct Pair {
    secret: SigningKey,
    pub key: VerifierKey,
}

impl Pair {
    pub(crate) fn log(name: &str, seed: u8) -> Self {
        let secret = SigningKey::from_bytes(&[seed; 32]);
        let key = VerifierKey::log(KeyName::new(name).unwrap(), secret.verifying_key().as_bytes()).unwrap();
        Self { secret, key }
    }

    pub(crate) fn witness(name: &str, seed: u8) -> Self {
        let secret = SigningKey::from_bytes(&[seed; 32]);
        let key =
            VerifierKey::witness(KeyName::new(name).unwrap(), secret.verifying_key().as_bytes()).unwrap();
        Self { secret, key }
    }

    pub(crate) fn sign(&self, message: &[u8]) -> Result<[u8; 64], Infallible> {
        Ok(self.secret.sign(message).to_bytes())
    }
}

pub(crate) fn our_log() -> Pair {
    Pair::log(ORIGIN, 1)
}

pub(crate) fn checkpoint_of(pair: &Pair, head: TreeHead) -> SignedCheckpoint {
    let origin = pair.key.name().to_string().try_into().unwrap();
    let checkpoint = Checkpoint::new(origin, head).unwrap();
    SignedCheckpoint::sign(checkpoint, &pair.key, |m| pair.sign(m)).unwrap()
}

pub(crate) fn policy() -> LogPolicy {
    LogPolicy::new(our_log().key, None).unwrap()
}

pub(crate) fn proof(leaves: &Leaves, index: u64, size: u64) -> LogProof {
    let checkpoint = checkpoint_of(&our_log(), leaves.head(size));
    LogProof::new(index, leaves.inclusion(index, size), checkpoint, None).unwrap()
}

/// Another digest, one bit away.
pub(crate) fn flip(digest: &Sha256Digest, bit: usize) -> Sha256Digest {
    let mut bytes = *digest.as_bytes();
    bytes[bit / 8 % 32] ^= 1 << (bit % 8);
    Sha256Digest::new(bytes)
}
