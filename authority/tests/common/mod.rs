//! Keys and a namespace that the tests share.
#![allow(dead_code, reason = "each test file uses its own part")]

use assay_authority::metadata::default_expiry;
use assay_authority::namespace::{CreatedNamespace, NewNamespace, create_namespace, key_signer};
use assay_authority::{KeyKind, RoleKeys, Root, SigningKey};
use assay_schema::Sha256Digest;
use assay_schema::api::{OnlineKeys, Visibility};
use assay_schema::signers::Signers;
use assay_schema::tuf::ModelRole;
use jiff::Timestamp;

pub(crate) fn now() -> Timestamp {
    "2026-11-20T09:00:00.123Z".parse().unwrap()
}

pub(crate) fn key() -> SigningKey {
    SigningKey::generate(KeyKind::Ed25519).unwrap()
}

pub(crate) fn digest(byte: u8) -> Sha256Digest {
    Sha256Digest::new([byte; 32])
}

/// Two of three root keys, one of two targets keys (one of them P-256), the registry's two.
pub(crate) struct Keys {
    pub(crate) root: [SigningKey; 3],
    pub(crate) targets: [SigningKey; 2],
    pub(crate) snapshot: SigningKey,
    pub(crate) timestamp: SigningKey,
    pub(crate) signer: SigningKey,
}

impl Keys {
    pub(crate) fn new() -> Self {
        let p256 = || SigningKey::generate(KeyKind::P256).unwrap();
        Self {
            root: [key(), key(), key()],
            targets: [key(), p256()],
            snapshot: key(),
            timestamp: key(),
            signer: p256(),
        }
    }

    pub(crate) fn root_keys(&self) -> RoleKeys {
        RoleKeys::of(&self.root.each_ref(), 2).unwrap()
    }

    pub(crate) fn targets_keys(&self) -> RoleKeys {
        RoleKeys::of(&self.targets.each_ref(), 1).unwrap()
    }

    pub(crate) fn online(&self) -> OnlineKeys {
        OnlineKeys {
            snapshot: self.snapshot.tuf_key().unwrap(),
            timestamp: self.timestamp.tuf_key().unwrap(),
        }
    }

    pub(crate) fn signers(&self) -> Signers {
        Signers {
            v: 1,
            signers: vec![key_signer("Release team", self.signer.public_key())],
            require: Vec::new(),
        }
    }

    pub(crate) fn namespace(&self) -> CreatedNamespace {
        create_namespace(&NewNamespace {
            root: &self.root_keys(),
            root_signers: &[&self.root[0], &self.root[2]],
            targets: &self.targets_keys(),
            targets_signers: &[&self.targets[1]],
            online: &self.online(),
            signers: &self.signers(),
            sigstore_root: None,
            log: None,
            visibility: Visibility::Public,
            now: now(),
        })
        .unwrap()
    }
}

/// One key, which must sign.
pub(crate) fn one(key: &SigningKey) -> RoleKeys {
    RoleKeys::of(&[key], 1).unwrap()
}

/// The role of `minilm`'s first releases.
pub(crate) fn role() -> ModelRole {
    ModelRole {
        model: "minilm".parse().unwrap(),
        block: 0,
    }
}

/// A root of these keys that is not signed yet.
pub(crate) fn root(keys: &Keys) -> Root {
    let expires = default_expiry("root", now()).unwrap();
    let (snapshot, timestamp) = (one(&keys.snapshot), one(&keys.timestamp));
    Root::new(
        &keys.root_keys(),
        &keys.targets_keys(),
        &snapshot,
        &timestamp,
        expires,
    )
    .unwrap()
}
