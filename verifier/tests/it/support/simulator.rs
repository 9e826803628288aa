//! A namespace and its registry in memory: it signs honestly until a test tells it not to. [`serving`](super::serving) is what it answers.
//!
//! `signed` documents are plain JSON values, so that a test can make what `assay-authority` refuses to make.

use std::collections::BTreeMap;

use assay_authority::oms;
use assay_authority::release::{FileHasher, ReleaseDraft, attestation_ref, build_manifest};
use assay_authority::{SigningKey, metadata::sign_value};
use assay_schema::tuf::{FIELD, ModelRole, consistent_target};
use assay_schema::{ModelName, NamespaceName, ReleaseOrder, Sha256Digest, VersionName};
use assay_verifier::Pin;
use assay_verifier::provenance::sha256;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::keys::{new_key, new_signer};

pub(crate) const MODEL: &str = "minilm";
pub(crate) const SIGNERS: &str = "trust/signers.json";

/// When the namespace begins.
pub(crate) fn start() -> Timestamp {
    "2026-12-01T00:00:00Z".parse().unwrap()
}

pub(crate) fn after_days(time: Timestamp, days: i64) -> Timestamp {
    time.checked_add(SignedDuration::from_hours(24 * days)).unwrap()
}

pub(crate) fn model() -> ModelName {
    MODEL.parse().unwrap()
}

pub(crate) fn version(text: &str) -> VersionName {
    text.parse().unwrap()
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// A key under an id of the test's choice.
pub(crate) fn listed(keys: &[SigningKey]) -> Value {
    let entries = keys.iter().map(|k| {
        (
            k.key_id().unwrap(),
            serde_json::to_value(k.tuf_key().unwrap()).unwrap(),
        )
    });
    Value::Object(entries.collect())
}

pub(crate) fn ids(keys: &[SigningKey]) -> Vec<String> {
    keys.iter().map(|k| k.key_id().unwrap()).collect()
}

/// A release as the registry knows it.
#[derive(Clone)]
pub(crate) struct Release {
    pub(crate) role: String,
    pub(crate) version: VersionName,
    pub(crate) order: ReleaseOrder,
    pub(crate) path: String,
    pub(crate) manifest: Vec<u8>,
    pub(crate) attestations: Vec<Sha256Digest>,
}

/// What to publish.
#[derive(Clone)]
pub(crate) struct Draft {
    pub(crate) version: &'static str,
    pub(crate) order: (u64, u64),
    pub(crate) files: Vec<(&'static str, Vec<u8>)>,
    pub(crate) not_before: Option<Timestamp>,
    /// Who signs the model; several give several signatures.
    pub(crate) signers: Vec<SigningKey>,
    /// The files that the signatures name, where they are others.
    pub(crate) signed_files: Option<Vec<(&'static str, Vec<u8>)>>,
    /// What the role's entry says of the order, where it is not the manifest's.
    pub(crate) noted_order: Option<(u64, u64)>,
}

pub(crate) fn draft(version: &'static str, counter: u64) -> Draft {
    Draft {
        version,
        order: (1, counter),
        files: vec![
            ("config.json", br#"{"layers":2}"#.to_vec()),
            ("weights.bin", version.as_bytes().repeat(50)),
        ],
        not_before: None,
        signers: Vec::new(),
        signed_files: None,
        noted_order: None,
    }
}

/// The namespace, its keys, and what its registry serves.
#[derive(Clone)]
pub(crate) struct Simulator {
    pub(crate) now: Timestamp,
    pub(crate) identity: Sha256Digest,
    /// Who signs each role; `model` for every model role.
    pub(crate) keys: BTreeMap<String, Vec<SigningKey>>,
    /// Who may sign the models.
    pub(crate) signer: SigningKey,
    /// The `signed` documents of root, targets, model roles, snapshot and timestamp.
    pub(crate) signed: BTreeMap<String, Value>,
    /// The current file of each role: what a check bundle holds.
    pub(crate) current: BTreeMap<String, Vec<u8>>,
    pub(crate) roots: Vec<Vec<u8>>,
    /// The static metadata and targets paths.
    pub(crate) metadata: BTreeMap<String, Vec<u8>>,
    pub(crate) targets: BTreeMap<String, Vec<u8>>,
    pub(crate) blobs: BTreeMap<Sha256Digest, Vec<u8>>,
    pub(crate) releases: Vec<Release>,
    /// A mirror of the static paths has no bundles.
    pub(crate) bundles: bool,
}

impl Simulator {
    /// A namespace with one permitted signer and the release 1.0.0.
    pub(crate) fn new() -> Self {
        let mut sim = Self::empty();
        let signer = sim.signer.clone();
        sim.allow(&[("Ada", &signer)]);
        sim.release(draft("1.0.0", 1));
        sim
    }

    /// A namespace that names no signers and lists no release.
    pub(crate) fn empty() -> Self {
        let keys: BTreeMap<String, Vec<SigningKey>> = [
            ("root", 3),
            ("targets", 3),
            ("snapshot", 1),
            ("timestamp", 1),
            ("model", 2),
        ]
        .into_iter()
        .map(|(role, n)| (role.to_owned(), (0..n).map(|_| new_key()).collect()))
        .collect();
        Self::with_keys(keys)
    }

    pub(crate) fn with_keys(keys: BTreeMap<String, Vec<SigningKey>>) -> Self {
        let mut sim = Self {
            now: start(),
            identity: sha256(b""),
            keys,
            signer: new_signer(),
            signed: BTreeMap::new(),
            current: BTreeMap::new(),
            roots: Vec::new(),
            metadata: BTreeMap::new(),
            targets: BTreeMap::new(),
            blobs: BTreeMap::new(),
            releases: Vec::new(),
            bundles: true,
        };
        let mut root = sim.document("root", "root", 365);
        root["version"] = 0.into();
        root.as_object_mut().unwrap().remove(FIELD);
        root["consistent_snapshot"] = true.into();
        sim.signed.insert("root".into(), root);
        sim.list_root_keys();
        sim.sign_root(&[]);
        sim.identity = sha256(&sim.roots[0]);
        let mut targets = sim.document("targets", "targets", 180);
        targets["targets"] = json!({});
        targets["delegations"] = json!({"keys": {}, "roles": []});
        sim.signed.insert("targets".into(), targets);
        sim.sign("targets");
        for role in ["snapshot", "timestamp"] {
            let mut document = sim.document(role, role, if role == "snapshot" { 7 } else { 1 });
            document["version"] = 0.into();
            document["meta"] = json!({});
            sim.signed.insert(role.into(), document);
        }
        sim.publish();
        sim
    }

    pub(crate) fn pin(&self) -> Pin {
        Pin::new("acme".parse::<NamespaceName>().unwrap(), self.identity)
    }

    fn document(&self, kind: &str, role: &str, days: i64) -> Value {
        json!({
            "_type": kind, "spec_version": "1.0.31", "version": 1, "expires": after_days(self.now, days).to_string(),
            FIELD: {"namespace": self.identity, "role": role},
        })
    }

    /// Writes the present keys into the root document: thresholds 2 for offline roles, 1 for the registry's.
    pub(crate) fn list_root_keys(&mut self) {
        let (mut keys, mut roles) = (json!({}), json!({}));
        for (role, threshold) in [("root", 2), ("targets", 2), ("snapshot", 1), ("timestamp", 1)] {
            let of_role = &self.keys[role];
            keys.as_object_mut()
                .unwrap()
                .extend(listed(of_role).as_object().unwrap().clone());
            roles[role] = json!({"keyids": ids(of_role), "threshold": threshold});
        }
        let root = self.signed.get_mut("root").unwrap();
        root["keys"] = keys;
        root["roles"] = roles;
    }

    /// The next root version, signed by the present root keys and by `old` ones.
    pub(crate) fn sign_root(&mut self, old: &[SigningKey]) {
        let expires = after_days(self.now, 365).to_string();
        let root = self.signed.get_mut("root").unwrap();
        root["version"] = (root["version"].as_u64().unwrap() + 1).into();
        root["expires"] = expires.into();
        let root = root.clone();
        let new = self.keys["root"].clone();
        let keys: Vec<&SigningKey> = new.iter().chain(old).collect();
        self.push_root(sign_value("root", &root, &keys).unwrap());
    }

    pub(crate) fn push_root(&mut self, bytes: Vec<u8>) {
        self.roots.push(bytes.clone());
        self.metadata
            .insert(format!("{}.root.json", self.roots.len()), bytes);
    }

    /// Replaces a top-level role's keys by new ones, in a new root; the role's files are signed again with them.
    pub(crate) fn rotate(&mut self, role: &str) {
        let old_roots = self.keys["root"].clone();
        let n = self.keys[role].len();
        self.keys
            .insert(role.to_owned(), (0..n).map(|_| new_key()).collect());
        self.list_root_keys();
        self.sign_root(&old_roots);
        if role == "targets" {
            self.bump("targets");
        }
        self.publish();
    }

    /// Signs a role's document as it stands and serves it; the snapshot does not know of it yet.
    pub(crate) fn sign(&mut self, role: &str) {
        let owner = if role.starts_with("model.") { "model" } else { role };
        let keys: Vec<&SigningKey> = self.keys[owner].iter().collect();
        let bytes = sign_value(role, &self.signed[role], &keys).unwrap();
        self.put(role, bytes);
    }

    /// Serves these bytes as the current file of a role, on both routes.
    pub(crate) fn put(&mut self, role: &str, bytes: Vec<u8>) {
        self.metadata.insert(self.file_name(role), bytes.clone());
        self.current.insert(role.to_owned(), bytes);
    }

    pub(crate) fn file_name(&self, role: &str) -> String {
        match role {
            "timestamp" => "timestamp.json".to_owned(),
            role => format!("{}.{role}.json", self.signed[role]["version"]),
        }
    }

    /// The next version of a role, expiring as it should from now on.
    pub(crate) fn bump(&mut self, role: &str) {
        let days = match role {
            "snapshot" => 7,
            "timestamp" => 1,
            _ => 180,
        };
        let expires = after_days(self.now, days).to_string();
        let document = self.signed.get_mut(role).unwrap();
        document["version"] = (document["version"].as_u64().unwrap() + 1).into();
        document["expires"] = expires.into();
        self.sign(role);
    }

    /// Changes a role's document and publishes its next version.
    pub(crate) fn edit(&mut self, role: &str, change: impl FnOnce(&mut Value)) {
        change(self.signed.get_mut(role).unwrap());
        self.bump(role);
        self.publish();
    }

    fn meta(&self, role: &str) -> Value {
        let bytes = &self.current[role];
        json!({"version": self.signed[role]["version"], "length": bytes.len(), "hashes": {"sha256": sha256(bytes)}})
    }

    pub(crate) fn next_snapshot(&mut self) {
        let roles: Vec<String> = self
            .signed
            .keys()
            .filter(|r| *r == "targets" || *r == "status" || r.starts_with("model."))
            .cloned()
            .collect();
        for role in roles {
            let meta = self.meta(&role);
            self.signed.get_mut("snapshot").unwrap()["meta"][format!("{role}.json")] = meta;
        }
        self.bump("snapshot");
    }

    pub(crate) fn next_timestamp(&mut self) {
        let meta = self.meta("snapshot");
        let now = self.now.to_string();
        let timestamp = self.signed.get_mut("timestamp").unwrap();
        timestamp["meta"] = json!({"snapshot.json": meta});
        timestamp[FIELD]["issued"] = now.into();
        self.bump("timestamp");
    }

    /// The next snapshot and timestamp.
    pub(crate) fn publish(&mut self) {
        self.next_snapshot();
        self.next_timestamp();
    }

    /// Goes on for a while, past the versions that a thief of the online keys signed.
    pub(crate) fn renew(&mut self) {
        for _ in 0..8 {
            self.publish();
        }
    }

    /// Names the permitted signers, of all models.
    pub(crate) fn allow(&mut self, signers: &[(&str, &SigningKey)]) {
        let entries: Vec<_> = signers
            .iter()
            .map(|(name, key)| assay_authority::namespace::key_signer(name, key.public_key()))
            .collect();
        let document = assay_schema::canonical::document(&json!({"v": 1, "signers": entries})).unwrap();
        self.trust_target(SIGNERS, &document, true);
    }

    /// A target of the top-level role, inline or not.
    pub(crate) fn trust_target(&mut self, path: &str, bytes: &[u8], inline: bool) {
        let digest = sha256(bytes);
        let mut entry = json!({"length": bytes.len(), "hashes": {"sha256": digest}});
        if inline {
            entry["custom"] = json!({FIELD: {"inline": text(bytes)}});
        }
        self.targets
            .insert(consistent_target(path, &digest), bytes.to_vec());
        self.edit("targets", |signed| signed["targets"][path] = entry);
    }

    /// Delegates the status role, and publishes its first file with this content.
    pub(crate) fn status(&mut self, content: &Value) {
        let key = new_key();
        let (id, keys) = (
            ids(std::slice::from_ref(&key)),
            listed(std::slice::from_ref(&key)),
        );
        self.keys.insert("status".to_owned(), vec![key]);
        let mut document = self.document("targets", "status", 30);
        document["targets"] = json!({});
        self.signed.insert("status".to_owned(), document);
        self.restrict(content);
        self.edit("targets", |signed| {
            let delegations = &mut signed["delegations"];
            delegations["keys"]
                .as_object_mut()
                .unwrap()
                .extend(keys.as_object().unwrap().clone());
            delegations["roles"].as_array_mut().unwrap().push(json!({
                "name": "status", "keyids": id, "threshold": 1, "paths": ["status.json"], "terminating": true,
            }));
        });
    }

    /// The next status.
    pub(crate) fn restrict(&mut self, content: &Value) {
        let content = content.to_string();
        let target = json!({"length": content.len(), "hashes": {"sha256": sha256(content.as_bytes())},
            "custom": {FIELD: {"inline": content}}});
        let expires = after_days(self.now, 30).to_string();
        let document = self.signed.get_mut("status").unwrap();
        document["targets"] = json!({"status.json": target});
        document["version"] = (document["version"].as_u64().unwrap() + 1).into();
        document["expires"] = expires.into();
        self.sign("status");
        self.publish();
    }

    /// Delegates a block of the model up to an epoch.
    pub(crate) fn delegate(&mut self, role: &ModelRole, max_epoch: u64) {
        let publishers = self.keys["model"].clone();
        let entry = json!({
            "name": role.name(), "keyids": ids(&publishers), "threshold": 2, "paths": [role.pattern()],
            "terminating": true, FIELD: {"max_epoch": max_epoch},
        });
        let keys = listed(&publishers);
        let name = role.name();
        self.edit("targets", |signed| {
            let delegations = &mut signed["delegations"];
            delegations["keys"]
                .as_object_mut()
                .unwrap()
                .extend(keys.as_object().unwrap().clone());
            let roles = delegations["roles"].as_array_mut().unwrap();
            roles.retain(|r| r["name"] != name.as_str());
            roles.push(entry);
        });
    }

    /// Publishes a release: delegation where it is needed, manifest, signature, metadata.
    pub(crate) fn release(&mut self, draft: Draft) -> Release {
        let order = ReleaseOrder::new(draft.order.0, draft.order.1).unwrap();
        let role = ModelRole::of(&model(), order);
        if !self.signed.contains_key(&role.name()) {
            self.delegate(&role, 1);
            let mut document = self.document("targets", &role.name(), 180);
            document["version"] = 0.into();
            document["targets"] = json!({});
            self.signed.insert(role.name(), document);
        }
        let release = self.build(&role, order, &draft);
        let noted = draft.noted_order.unwrap_or(draft.order);
        let entry = json!({
            "length": release.manifest.len(), "hashes": {"sha256": sha256(&release.manifest)},
            "custom": {FIELD: {"order": {"epoch": noted.0, "counter": noted.1}}},
        });
        self.signed.get_mut(&role.name()).unwrap()["targets"][&release.path] = entry;
        self.bump(&role.name());
        self.publish();
        self.releases.push(release.clone());
        release
    }

    fn build(&mut self, role: &ModelRole, order: ReleaseOrder, draft: &Draft) -> Release {
        let entries = |files: &[(&str, Vec<u8>)]| {
            let hashed = files.iter().map(|(path, bytes)| {
                let mut hasher = FileHasher::new();
                hasher.update(bytes);
                (path.parse().unwrap(), hasher.finish().unwrap())
            });
            hashed.collect::<Vec<_>>()
        };
        let hashed = entries(&draft.files);
        let signed = draft
            .signed_files
            .as_deref()
            .map_or_else(|| hashed.clone(), entries);
        for ((_, bytes), (_, hashed)) in draft.files.iter().zip(&hashed) {
            self.blobs.insert(hashed.sha256(), bytes.clone());
            if let Some((index, digest)) = hashed.index_blob() {
                self.blobs.insert(digest, index);
            }
        }
        let signers = match draft.signers.is_empty() {
            true => vec![self.signer.clone()],
            false => draft.signers.clone(),
        };
        let mut attestations = Vec::new();
        for signer in signers {
            let files = signed.iter().map(|(path, hashed)| (path, hashed.sha256()));
            let bundle = oms::sign_model(&signer, MODEL, files, &[]).unwrap();
            attestations.push(attestation_ref(oms::PREDICATE_TYPE, &bundle));
            self.blobs.insert(sha256(&bundle), bundle);
        }
        let version = version(draft.version);
        let manifest = build_manifest(ReleaseDraft {
            namespace: self.identity,
            model: model(),
            version: version.clone(),
            order,
            not_before: draft.not_before,
            files: hashed.iter().map(|(path, h)| h.entry(path.clone())).collect(),
            attestations: attestations.clone(),
        })
        .unwrap();
        self.list_manifest(role, &version, order, manifest, &attestations)
    }

    fn list_manifest(
        &mut self,
        role: &ModelRole,
        version: &VersionName,
        order: ReleaseOrder,
        manifest: Vec<u8>,
        attestations: &[assay_schema::manifest::AttestationRef],
    ) -> Release {
        let path = role.manifest_path(version);
        let digest = sha256(&manifest);
        self.targets
            .insert(consistent_target(&path, &digest), manifest.clone());
        self.blobs.insert(digest, manifest.clone());
        Release {
            role: role.name(),
            version: version.clone(),
            order,
            path,
            manifest,
            attestations: attestations.iter().map(|a| a.sha256).collect(),
        }
    }

    /// Puts another manifest in the place of the newest release's, and signs that.
    pub(crate) fn replace_manifest(&mut self, change: impl FnOnce(&mut Value)) {
        let mut release = self.releases.pop().unwrap();
        let mut value: Value = serde_json::from_slice(&release.manifest).unwrap();
        change(&mut value);
        let bytes = assay_schema::canonical::document(&value).unwrap();
        let digest = sha256(&bytes);
        self.targets
            .insert(consistent_target(&release.path, &digest), bytes.clone());
        self.blobs.insert(digest, bytes.clone());
        release.manifest = bytes.clone();
        let (role, path) = (release.role.clone(), release.path.clone());
        self.releases.push(release);
        self.edit(&role, |signed| {
            signed["targets"][&path]["length"] = bytes.len().into();
            signed["targets"][&path]["hashes"]["sha256"] = json!(digest);
        });
    }

    /// Lists another namespace's release, as an authority that endorses it does: the same path, length, digest and order.
    pub(crate) fn endorse(&mut self, release: &Release) {
        let role = ModelRole::parse(&release.role).unwrap();
        if !self.signed.contains_key(&release.role) {
            self.delegate(&role, 1);
            let mut document = self.document("targets", &release.role, 180);
            document["version"] = 0.into();
            document["targets"] = json!({});
            self.signed.insert(release.role.clone(), document);
        }
        let entry = json!({
            "length": release.manifest.len(), "hashes": {"sha256": sha256(&release.manifest)},
            "custom": {FIELD: {"order": {"epoch": release.order.epoch(), "counter": release.order.counter()}}},
        });
        self.targets.insert(
            consistent_target(&release.path, &sha256(&release.manifest)),
            release.manifest.clone(),
        );
        self.edit(&release.role, |signed| signed["targets"][&release.path] = entry);
    }
}
