//! A foreign TUF repository: its documents can be changed at will, and are published with whatever keys are given. It is served
//! over HTTP, and notes what was asked for.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use assay_authority::metadata::sign_value;
use assay_authority::{KeyKind, SigningKey};
use jiff::Timestamp;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::adapter;

pub(crate) const NOW: &str = "2026-12-01T00:00:00Z";
const EXPIRES: &str = "2027-01-01T00:00:00Z";

#[derive(Default)]
struct Served {
    files: BTreeMap<String, Vec<u8>>,
    asked: Vec<String>,
}

/// The repository and the folders of a client.
pub(crate) struct Repository {
    pub(crate) documents: BTreeMap<String, Value>,
    pub(crate) keys: BTreeMap<String, Vec<SigningKey>>,
    /// Whether timestamp and snapshot say lengths and hashes.
    pub(crate) with_hashes: bool,
    served: Arc<Mutex<Served>>,
    address: String,
    folder: TempDir,
}

pub(crate) fn key() -> SigningKey {
    SigningKey::generate(KeyKind::Ed25519).unwrap()
}

pub(crate) fn sha256(bytes: &[u8]) -> String {
    assay_client::sha256(bytes).to_string()
}

fn document(kind: &str) -> Value {
    json!({"_type": kind, "spec_version": "1.0.31", "version": 0, "expires": EXPIRES})
}

impl Repository {
    /// Root, targets, snapshot and timestamp of version 1, each with a key of its own, and a client that was given the root.
    pub(crate) fn new() -> Self {
        Self::of(KeyKind::Ed25519)
    }

    pub(crate) fn of(kind: KeyKind) -> Self {
        let mut repository = Self::empty();
        for role in ["root", "targets", "snapshot", "timestamp"] {
            repository.documents.insert(role.into(), document(role));
        }
        let root = repository.edit("root");
        root["consistent_snapshot"] = json!(true);
        root["keys"] = json!({});
        root["roles"] = json!({});
        repository.edit("targets")["targets"] = json!({});
        repository.edit("snapshot")["meta"] = json!({});
        repository.edit("timestamp")["meta"] = json!({});
        for role in ["root", "targets", "snapshot", "timestamp"] {
            repository.set_keys(role, vec![SigningKey::generate(kind).unwrap()], 1);
        }
        repository.publish(&["root", "targets", "snapshot", "timestamp"]);
        let root = repository.served("metadata/1.root.json");
        repository.init(&root).unwrap();
        repository
    }

    /// A server without files, and a client that knows nothing.
    pub(crate) fn empty() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let served = Arc::new(Mutex::new(Served::default()));
        let folder = TempDir::new().unwrap();
        for name in ["trusted", "targets"] {
            std::fs::create_dir(folder.path().join(name)).unwrap();
        }
        let state = Arc::clone(&served);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                answer(stream, &state);
            }
        });
        Self {
            documents: BTreeMap::new(),
            keys: BTreeMap::new(),
            with_hashes: false,
            served,
            address,
            folder,
        }
    }

    pub(crate) fn edit(&mut self, role: &str) -> &mut Value {
        self.documents.get_mut(role).unwrap()
    }

    /// Makes these the keys of a top-level role, and its signers.
    pub(crate) fn set_keys(&mut self, role: &str, keys: Vec<SigningKey>, threshold: usize) {
        let ids: Vec<String> = keys.iter().map(|k| k.key_id().unwrap()).collect();
        let root = self.edit("root");
        for (id, key) in ids.iter().zip(&keys) {
            root["keys"][id] = serde_json::to_value(key.tuf_key().unwrap()).unwrap();
        }
        root["roles"][role] = json!({"keyids": ids, "threshold": threshold});
        self.keys.insert(role.into(), keys);
    }

    /// Delegates `role` to a key of its own. `rest` holds `paths` or `path_hash_prefixes`, and may hold `terminating`.
    pub(crate) fn delegate(&mut self, delegator: &str, role: &str, rest: Value) {
        let key = key();
        self.delegate_to(delegator, role, rest, &key);
        self.keys.entry(role.into()).or_default().push(key);
    }

    /// Delegates `role` to a key that need not sign.
    pub(crate) fn delegate_to(&mut self, delegator: &str, role: &str, rest: Value, key: &SigningKey) {
        let id = key.key_id().unwrap();
        let mut delegation = json!({"name": role, "keyids": [id], "threshold": 1, "terminating": false});
        for (name, value) in rest.as_object().unwrap() {
            delegation[name] = value.clone();
        }
        let delegator = self.edit(delegator);
        if delegator["delegations"].is_null() {
            delegator["delegations"] = json!({"keys": {}, "roles": []});
        }
        delegator["delegations"]["keys"][&id] = serde_json::to_value(key.tuf_key().unwrap()).unwrap();
        delegator["delegations"]["roles"]
            .as_array_mut()
            .unwrap()
            .push(delegation);
        self.documents.entry(role.into()).or_insert_with(|| {
            let mut targets = document("targets");
            targets["targets"] = json!({});
            targets
        });
    }

    /// Lists a target and serves it, by its hash and by its plain name.
    pub(crate) fn add_target(&mut self, role: &str, path: &str, bytes: &[u8]) {
        let hash = sha256(bytes);
        self.edit(role)["targets"][path] = json!({"length": bytes.len(), "hashes": {"sha256": hash}});
        let named = match path.rsplit_once('/') {
            Some((folder, name)) => format!("targets/{folder}/{hash}.{name}"),
            None => format!("targets/{hash}.{path}"),
        };
        self.serve(&named, bytes);
        self.serve(&format!("targets/{path}"), bytes);
    }

    /// Raises the versions of these roles, signs and serves them, and says so in snapshot and timestamp.
    pub(crate) fn publish(&mut self, roles: &[&str]) {
        for role in roles {
            let version = self.documents[*role]["version"].as_u64().unwrap() + 1;
            self.publish_as(role, version);
        }
    }

    /// As [`Self::publish`], with this version.
    pub(crate) fn publish_as(&mut self, role: &str, version: u64) {
        self.edit(role)["version"] = json!(version);
        let signers: Vec<&SigningKey> = self.keys[role].iter().collect();
        let bytes = sign_value(role, &self.documents[role], &signers).unwrap();
        let mut meta = json!({"version": version});
        if self.with_hashes {
            meta["length"] = json!(bytes.len());
            meta["hashes"] = json!({"sha256": sha256(&bytes)});
        }
        let parent = match role {
            "root" | "timestamp" => None,
            "snapshot" => Some("timestamp"),
            _ => Some("snapshot"),
        };
        if let Some(parent) = parent {
            self.edit(parent)["meta"][format!("{role}.json")] = meta;
        }
        let consistent = self.documents["root"]["consistent_snapshot"] == json!(true);
        let name = assay_trust::foreign::encoded(role);
        let name = match role {
            "timestamp" => "timestamp.json".to_owned(),
            "root" => format!("{version}.root.json"),
            _ if consistent => format!("{version}.{name}.json"),
            _ => format!("{name}.json"),
        };
        self.serve(&format!("metadata/{name}"), &bytes);
    }

    pub(crate) fn serve(&self, path: &str, bytes: &[u8]) {
        let mut served = self.served.lock().unwrap();
        served.files.insert(format!("/{path}"), bytes.to_vec());
    }

    pub(crate) fn withdraw(&self, path: &str) {
        self.served.lock().unwrap().files.remove(&format!("/{path}"));
    }

    pub(crate) fn served(&self, path: &str) -> Vec<u8> {
        self.served.lock().unwrap().files[&format!("/{path}")].clone()
    }

    /// What was asked for since the last time.
    pub(crate) fn asked(&self) -> Vec<String> {
        let asked = std::mem::take(&mut self.served.lock().unwrap().asked);
        asked
            .iter()
            .map(|path| path.trim_start_matches("/metadata/").to_owned())
            .collect()
    }

    fn run(&self, words: &[&str], now: &str) -> Result<(), String> {
        let now: Timestamp = now.parse().unwrap();
        let trusted = self.folder.path().join("trusted");
        let args = ["--metadata-dir", trusted.to_str().unwrap()];
        adapter::run(args.iter().chain(words).map(|w| (*w).to_owned()), now).map_err(|e| e.to_string())
    }

    pub(crate) fn init(&self, root: &[u8]) -> Result<(), String> {
        let path = self.folder.path().join("given.json");
        std::fs::write(&path, root).unwrap();
        self.run(&["init", path.to_str().unwrap()], NOW)
    }

    pub(crate) fn refresh(&self) -> Result<(), String> {
        self.refresh_at(NOW)
    }

    pub(crate) fn refresh_at(&self, now: &str) -> Result<(), String> {
        let metadata = format!("{}/metadata/", self.address);
        self.run(&["--metadata-url", &metadata, "refresh"], now)
    }

    pub(crate) fn download(&self, paths: &[&str]) -> Result<(), String> {
        self.download_at(paths, NOW)
    }

    pub(crate) fn download_at(&self, paths: &[&str], now: &str) -> Result<(), String> {
        let (metadata, targets) = (
            format!("{}/metadata", self.address),
            format!("{}/targets", self.address),
        );
        let folder = self.folder.path().join("targets");
        let mut words = vec!["--metadata-url", &metadata];
        for path in paths {
            words.extend(["--target-name", path]);
        }
        words.extend([
            "--target-base-url",
            &targets,
            "--target-dir",
            folder.to_str().unwrap(),
            "download",
        ]);
        self.run(&words, now)
    }

    /// The bytes of everything in the folder of targets, sorted.
    pub(crate) fn downloaded(&self) -> Vec<Vec<u8>> {
        let entries = std::fs::read_dir(self.folder.path().join("targets")).unwrap();
        let mut found: Vec<Vec<u8>> = entries
            .map(|e| std::fs::read(e.unwrap().path()).unwrap())
            .collect();
        found.sort();
        found
    }

    pub(crate) fn trusted_path(&self, role: &str) -> PathBuf {
        self.folder.path().join("trusted").join(format!("{role}.json"))
    }

    /// The client's trusted bytes of a role.
    pub(crate) fn trusted(&self, role: &str) -> Option<Vec<u8>> {
        std::fs::read(self.trusted_path(role)).ok()
    }

    /// The client's trusted versions of root, timestamp, snapshot and targets; 0 for none.
    pub(crate) fn versions(&self) -> [u64; 4] {
        ["root", "timestamp", "snapshot", "targets"].map(|role| {
            self.trusted(role).map_or(0, |bytes| {
                let file: Value = serde_json::from_slice(&bytes).unwrap();
                file["signed"]["version"].as_u64().unwrap()
            })
        })
    }

    /// How many roles the client trusts.
    pub(crate) fn trusted_roles(&self) -> usize {
        let entries = std::fs::read_dir(self.folder.path().join("trusted")).unwrap();
        entries
            .filter(|e| {
                e.as_ref()
                    .unwrap()
                    .path()
                    .extension()
                    .is_some_and(|x| x == "json")
            })
            .count()
    }
}

fn answer(mut stream: TcpStream, state: &Mutex<Served>) {
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
    let first = lines.next().and_then(Result::ok).unwrap_or_default();
    while lines
        .next()
        .and_then(Result::ok)
        .is_some_and(|line| !line.is_empty())
    {}
    let path = first.split(' ').nth(1).unwrap_or_default().to_owned();
    let body = {
        let mut served = state.lock().unwrap();
        served.asked.push(path.clone());
        served.files.get(&path).cloned()
    };
    let status = if body.is_some() { "200 OK" } else { "404 Not Found" };
    let body = body.unwrap_or_default();
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    // A client may have gone.
    let _ = stream
        .write_all(head.as_bytes())
        .and_then(|()| stream.write_all(&body));
}
