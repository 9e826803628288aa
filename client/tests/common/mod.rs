//! An authority, its registry in memory, and devices.
#![allow(
    dead_code,
    unused_imports,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "each test binary uses a part of it"
)]

mod log;
mod logged;
mod registry;

use std::path::Path;
use std::sync::Arc;

use assay_client::device::{Fingerprint, Options};
use assay_client::publisher::{AuthorityFolder, KeyRole, NamespaceTerms, Publisher, ReleaseTerms};
use assay_client::transport::Transport;
use assay_client::{Device, Store};
use assay_schema::api::Visibility;
use assay_schema::{ModelRef, Sha256Digest};
use jiff::Timestamp;
use tempfile::TempDir;

pub use log::{MemoryLog, Witnesses};
pub use logged::{Cut, Logged, ORIGIN};
pub use registry::{Answering, MemoryRegistry, index};

pub fn now() -> Timestamp {
    "2026-11-20T12:00:00Z".parse().unwrap()
}

pub fn model() -> ModelRef {
    "acme/minilm".parse().unwrap()
}

/// An authority, its registry, and folders for devices and models.
pub struct World {
    pub dir: TempDir,
    pub registry: Arc<MemoryRegistry>,
    pub identity: Sha256Digest,
}

impl World {
    /// A namespace `acme` without releases.
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let registry = MemoryRegistry::new(now());
        let folder = AuthorityFolder::open(&dir.path().join("authority")).unwrap();
        for role in KeyRole::ALL {
            folder.generate(role, 1, role.default_kind(), None).unwrap();
        }
        let terms = NamespaceTerms {
            name: "acme".parse().unwrap(),
            registry: "http://registry.test".to_owned(),
            root_threshold: 1,
            targets_threshold: 1,
            signer: "acme models".to_owned(),
            other_signers: Vec::new(),
            require: Vec::new(),
            sigstore_root: None,
            log: true,
            witnesses: Vec::new(),
            witness_threshold: None,
            visibility: Visibility::Public,
        };
        let record = Publisher::new(folder, registry.clone())
            .create_namespace(&terms, now())
            .unwrap();
        Self {
            dir,
            registry,
            identity: record.identity,
        }
    }

    pub fn publisher(&self) -> Publisher {
        let folder = AuthorityFolder::open(&self.dir.path().join("authority")).unwrap();
        Publisher::new(folder, self.registry.clone())
    }

    /// The same authority on another machine, as it stands now.
    pub fn elsewhere(&self, name: &str) -> Publisher {
        let (from, to) = (self.dir.path().join("authority"), self.dir.path().join(name));
        std::fs::create_dir(&to).unwrap();
        for entry in std::fs::read_dir(from).unwrap() {
            let entry = entry.unwrap();
            std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
        Publisher::new(AuthorityFolder::open(&to).unwrap(), self.registry.clone())
    }

    /// Publishes targets that another tool of the authority's wrote: the next version of what stands, changed in any way.
    pub fn sign_targets(&self, change: impl FnOnce(&mut serde_json::Value)) {
        let pem = std::fs::read_to_string(self.dir.path().join("authority/targets.pem")).unwrap();
        let key = assay_authority::SigningKey::from_pem(&pem, None).unwrap();
        let stands = (1..).map_while(|n| self.registry.file(&format!("{n}.targets.json")));
        let stands = stands.last().unwrap();
        let mut value: serde_json::Value = serde_json::from_slice(&stands).unwrap();
        let version = value["signed"]["version"].as_u64().unwrap();
        value["signed"]["version"] = (version + 1).into();
        change(&mut value["signed"]);
        let metadata = assay_authority::metadata::sign_value("targets", &value["signed"], &[&key]).unwrap();
        let publication = serde_json::json!({"roles": {"targets": {
            "metadata": String::from_utf8(metadata).unwrap(), "parent": assay_client::sha256(&stands),
        }}});
        let request = assay_client::transport::Request {
            method: "POST",
            path: "/v1/namespaces/acme/metadata".to_owned(),
            body: assay_client::transport::Body::Json(serde_json::to_vec(&publication).unwrap()),
            offset: None,
        };
        self.registry.send(request).unwrap();
    }

    /// A folder of files.
    pub fn files(&self, name: &str, files: &[(&str, &[u8])]) -> std::path::PathBuf {
        let root = self.dir.path().join(name);
        for (path, bytes) in files {
            let at = root.join(path);
            std::fs::create_dir_all(at.parent().unwrap()).unwrap();
            std::fs::write(at, bytes).unwrap();
        }
        root
    }

    pub fn publish(
        &self,
        version: &str,
        files: &[(&str, &[u8])],
    ) -> assay_client::publisher::PublishedRelease {
        let folder = self.files(&format!("model-{version}"), files);
        let terms = ReleaseTerms::new("minilm".parse().unwrap(), version.parse().unwrap());
        self.publisher().publish(&folder, &terms, now()).unwrap()
    }

    pub fn store_path(&self) -> std::path::PathBuf {
        self.dir.path().join("store")
    }

    /// The device, which has not learned the namespace.
    pub fn device_with(&self, store: Store) -> Device {
        let registry: Arc<dyn Transport> = self.registry.clone();
        Device::new(store)
            .connect_by(move |_| Ok(Arc::clone(&registry)))
            .clock(now)
            .threads(2)
    }

    /// The device, which trusts the namespace.
    pub fn device(&self) -> Device {
        let device = self.device_with(Store::open(&self.store_path()).unwrap());
        let known = Fingerprint::Known(self.identity);
        device
            .trust_add("http://registry.test", &"acme".parse().unwrap(), known)
            .unwrap();
        device
    }
}

pub fn pull(device: &Device) -> Result<assay_client::device::Pulled, assay_client::device::DeviceError> {
    device.pull(&model(), &Options::default(), &mut |_| {})
}

/// Bytes that do not repeat.
pub fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    std::iter::repeat_with(next).take(len).collect()
}

/// What the active release holds.
pub fn contents(device: &Device, file: &str) -> Option<Vec<u8>> {
    let active = device.active(&model()).unwrap()?;
    Some(std::fs::read(active.path().join(file)).unwrap())
}

pub fn tree(path: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![path.to_owned()];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = std::fs::read_dir(&folder) else {
            continue;
        };
        for entry in entries {
            let entry = entry.unwrap();
            found.push(
                entry
                    .path()
                    .strip_prefix(path)
                    .unwrap()
                    .to_str()
                    .unwrap()
                    .to_owned(),
            );
            if entry.file_type().unwrap().is_dir() {
                folders.push(entry.path());
            }
        }
    }
    found.sort();
    found
}
