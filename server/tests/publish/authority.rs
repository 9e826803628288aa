//! An authority made by hand, so that it can also sign what no honest one would.

#![allow(unreachable_pub)]

use std::collections::BTreeMap;

use assay_schema::api::{CreateNamespace, OnlineKeys, Publication, SignedRole, Visibility};
use assay_schema::manifest::{FileEntry, VERSION};
use assay_schema::tuf::ModelRole;
use assay_schema::{ReleaseManifest, ReleaseOrder, Sha256Digest, canonical};
use ed25519_dalek::{Signer, SigningKey};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

pub fn sha256(bytes: &[u8]) -> Sha256Digest {
    Sha256Digest::new(Sha256::digest(bytes).into())
}

pub fn key(seed: u8) -> SigningKey {
    SigningKey::from_bytes(&[seed; 32])
}

pub fn tuf_key(key: &SigningKey) -> Value {
    let public = hex::encode(key.verifying_key().as_bytes());
    json!({"keytype": "ed25519", "scheme": "ed25519", "keyval": {"public": public}})
}

pub fn key_id(key: &Value) -> String {
    sha256(&canonical::signed_bytes(key).unwrap()).to_hex()
}

/// A signed TUF file.
pub fn sign(signed: &Value, keys: &[SigningKey]) -> String {
    let bytes = canonical::signed_bytes(signed).unwrap();
    let signatures: Vec<_> = keys
        .iter()
        .map(|k| json!({"keyid": key_id(&tuf_key(k)), "sig": hex::encode(k.sign(&bytes).to_bytes())}))
        .collect();
    json!({"signatures": signatures, "signed": signed}).to_string()
}

/// Two root keys of two, two targets keys of two, one publisher.
pub struct Authority {
    pub root_keys: Vec<SigningKey>,
    pub targets_keys: Vec<SigningKey>,
    pub publisher: Vec<SigningKey>,
    pub root: String,
    pub identity: Sha256Digest,
    pub expires: String,
}

impl Authority {
    pub fn root_value(
        own: &OnlineKeys,
        root_keys: &[SigningKey],
        targets_keys: &[SigningKey],
        expires: &str,
    ) -> Value {
        let own = [
            serde_json::to_value(&own.snapshot).unwrap(),
            serde_json::to_value(&own.timestamp).unwrap(),
        ];
        let publics = |keys: &[SigningKey]| keys.iter().map(tuf_key).collect::<Vec<_>>();
        let (root, targets) = (publics(root_keys), publics(targets_keys));
        let keys: BTreeMap<_, _> = root
            .iter()
            .chain(&targets)
            .chain(&own)
            .map(|k| (key_id(k), k.clone()))
            .collect();
        let role = |keys: &[Value]| {
            let ids: Vec<_> = keys.iter().map(key_id).collect();
            json!({"keyids": ids, "threshold": ids.len()})
        };
        json!({"_type": "root", "spec_version": "1.0.31", "version": 1, "expires": expires,
            "consistent_snapshot": true, "keys": keys, "roles": {
                "root": role(&root), "targets": role(&targets),
                "snapshot": role(&own[..1]), "timestamp": role(&own[1..])}})
    }

    pub fn new(own: &OnlineKeys, expires: &str) -> Self {
        let (root_keys, targets_keys) = (vec![key(1), key(2)], vec![key(3), key(4)]);
        let root = sign(
            &Self::root_value(own, &root_keys, &targets_keys, expires),
            &root_keys,
        );
        let identity = sha256(root.as_bytes());
        Self {
            root_keys,
            targets_keys,
            publisher: vec![key(5)],
            root,
            identity,
            expires: expires.to_owned(),
        }
    }

    /// The `signed` part of top-level targets that delegate to these roles.
    pub fn targets_value(&self, version: u64, roles: &[ModelRole], trust: &[(&str, &str)]) -> Value {
        let publisher = tuf_key(&self.publisher[0]);
        let id = key_id(&publisher);
        let delegated: Vec<_> = roles
            .iter()
            .map(|r| {
                json!({"name": r.name(), "keyids": [id], "threshold": 1, "terminating": true,
                    "paths": [r.pattern()], "x-assay": {"max_epoch": 1}})
            })
            .collect();
        let targets: BTreeMap<_, _> = trust
            .iter()
            .map(|(path, text)| {
                let target = json!({"length": text.len(), "hashes": {"sha256": sha256(text.as_bytes())},
                    "custom": {"x-assay": {"inline": text}}});
                ((*path).to_owned(), target)
            })
            .collect();
        json!({"_type": "targets", "spec_version": "1.0.31", "version": version, "expires": self.expires,
            "targets": targets, "delegations": {"keys": {id.as_str(): publisher}, "roles": delegated},
            "x-assay": {"namespace": self.identity, "role": "targets"}})
    }

    pub fn targets(&self, version: u64, roles: &[ModelRole], trust: &[(&str, &str)]) -> String {
        sign(&self.targets_value(version, roles, trust), &self.targets_keys)
    }

    /// The `signed` part of a model's role that lists these manifests.
    pub fn model_value(&self, role: &ModelRole, version: u64, manifests: &[&ReleaseManifest]) -> Value {
        let targets: BTreeMap<_, _> = manifests
            .iter()
            .map(|m| {
                let bytes = m.to_bytes().unwrap();
                let target = json!({"length": bytes.len(), "hashes": {"sha256": sha256(&bytes)},
                    "custom": {"x-assay": {"order": m.order}}});
                (role.manifest_path(&m.version), target)
            })
            .collect();
        json!({"_type": "targets", "spec_version": "1.0.31", "version": version, "expires": self.expires,
            "targets": targets, "x-assay": {"namespace": self.identity, "role": role.name()}})
    }

    pub fn model(&self, role: &ModelRole, version: u64, manifests: &[&ReleaseManifest]) -> String {
        sign(&self.model_value(role, version, manifests), &self.publisher)
    }

    pub fn creation(&self, roles: &[ModelRole]) -> CreateNamespace {
        CreateNamespace {
            root: self.root.clone(),
            later_roots: Vec::new(),
            targets: self.targets(1, roles, &[]),
            roles: BTreeMap::new(),
            blobs: Vec::new(),
            visibility: Visibility::Public,
        }
    }

    /// A manifest with one small file for each content.
    pub fn manifest(&self, model: &str, version: &str, counter: u64, contents: &[&[u8]]) -> ReleaseManifest {
        let files = contents
            .iter()
            .enumerate()
            .map(|(i, bytes)| FileEntry {
                path: format!("file-{i:03}.bin").parse().unwrap(),
                size: bytes.len() as u64,
                sha256: sha256(bytes),
                chunks: None,
            })
            .collect();
        ReleaseManifest {
            v: VERSION,
            namespace: self.identity,
            model: model.parse().unwrap(),
            version: version.parse().unwrap(),
            order: ReleaseOrder::new(1, counter).unwrap(),
            not_before: None,
            files,
            attestations: Vec::new(),
        }
    }
}

/// The role of a model's first block.
pub fn role(model: &str) -> ModelRole {
    ModelRole {
        model: model.parse().unwrap(),
        block: 0,
    }
}

/// A publication of these files: name, bytes, digest of the parent.
pub fn publication(roles: &[(&str, &str, Option<&str>)]) -> Publication {
    let roles = roles
        .iter()
        .map(|(name, metadata, parent)| {
            let parent = parent.map(|bytes| sha256(bytes.as_bytes()));
            (
                (*name).to_owned(),
                SignedRole {
                    metadata: (*metadata).to_owned(),
                    parent,
                },
            )
        })
        .collect();
    Publication {
        roles,
        manifests: Vec::new(),
    }
}
