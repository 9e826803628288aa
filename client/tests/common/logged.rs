//! A registry in memory with a log that tests can let lie, and ways that can be cut.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::sync::{Arc, Mutex};

use assay_client::sha256;
use assay_client::transport::{Fetched, Meter, Reply, Request, Traffic, Transport, TransportError};
use assay_log::Leaf;
use assay_log::leaf::LeafKind;
use assay_schema::Sha256Digest;
use assay_schema::api::LogInfo;

use super::{MemoryLog, MemoryRegistry};

pub const ORIGIN: &str = "log.example/1";

/// What a test does to a path.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    Missing,
    Unreachable,
    /// "Try again later", for ever.
    PutOff,
}

pub struct Logged {
    pub registry: Arc<MemoryRegistry>,
    log: Mutex<MemoryLog>,
    /// Files of the registry that are in the log.
    logged: Mutex<BTreeSet<String>>,
    cuts: Mutex<BTreeMap<String, Cut>>,
    meter: Meter,
}

impl Logged {
    pub fn new(registry: Arc<MemoryRegistry>) -> Self {
        Self {
            registry,
            log: Mutex::new(MemoryLog::new(ORIGIN)),
            logged: Mutex::default(),
            cuts: Mutex::default(),
            meter: Meter::default(),
        }
    }

    pub fn log<T>(&self, change: impl FnOnce(&mut MemoryLog) -> T) -> T {
        change(&mut self.log.lock().unwrap())
    }

    /// Logs every root and snapshot that the registry holds and that is not in the log yet, as registries do.
    pub fn sequence(&self, identity: Sha256Digest) {
        for (role, kind) in [("root", LeafKind::Root), ("snapshot", LeafKind::Snapshot)] {
            for version in 1.. {
                let name = format!("{version}.{role}.json");
                let Some(bytes) = self.registry.file(&name) else {
                    break;
                };
                if self.logged.lock().unwrap().insert(name) {
                    self.leaf(identity, kind, version, sha256(&bytes));
                }
            }
        }
        self.log(MemoryLog::publish);
    }

    pub fn leaf(&self, identity: Sha256Digest, kind: LeafKind, version: u64, sha256: Sha256Digest) {
        let leaf = Leaf::new(identity, kind, version, sha256).unwrap();
        self.log(|log| log.append(leaf.to_bytes().unwrap()));
    }

    /// The file with this end of its path is not handed out any more.
    pub fn cut(&self, path: &str, how: Cut) {
        self.cuts.lock().unwrap().insert(path.to_owned(), how);
    }

    pub fn mend(&self) {
        self.cuts.lock().unwrap().clear();
    }

    fn find(&self, path: &str, max: u64) -> Result<Fetched, TransportError> {
        let cut = self
            .cuts
            .lock()
            .unwrap()
            .iter()
            .find(|(end, _)| path.ends_with(*end))
            .map(|(_, how)| *how);
        match cut {
            Some(Cut::Missing) => return Ok(Fetched::Missing),
            Some(Cut::Unreachable) => {
                return Err(TransportError::Unreachable {
                    registry: "memory".into(),
                    path: path.into(),
                    reason: "cut".into(),
                    attempts: 1,
                });
            }
            Some(Cut::PutOff) => {
                return Err(TransportError::Status {
                    registry: "memory".into(),
                    path: path.into(),
                    status: 503,
                });
            }
            None => {}
        }
        let log = self.log.lock().unwrap();
        let bytes = match path.strip_prefix("/log/") {
            Some(file) => log.files.get(file).cloned(),
            None if path == "/v1/log" => {
                let info = LogInfo {
                    origin: log.key.name().to_string(),
                    key: log.key.to_string(),
                    next_key: None,
                    size: log.head().size,
                    witnesses: Vec::new(),
                };
                Some(serde_json::to_vec(&info).unwrap())
            }
            None => {
                drop(log);
                return self.registry.get(path, max, None);
            }
        };
        match bytes {
            Some(bytes) if bytes.len() as u64 > max => Err(TransportError::TooLong {
                path: path.into(),
                max,
            }),
            Some(bytes) => Ok(Fetched::Found { bytes, etag: None }),
            None => Ok(Fetched::Missing),
        }
    }
}

impl Transport for Logged {
    fn get(&self, path: &str, max: u64, _: Option<&str>) -> Result<Fetched, TransportError> {
        self.meter.request();
        self.find(path, max)
    }

    fn open(&self, path: &str, offset: u64, len: u64) -> Result<Box<dyn Read + '_>, TransportError> {
        self.registry.open(path, offset, len)
    }

    fn send(&self, request: Request<'_>) -> Result<Reply, TransportError> {
        self.registry.send(request)
    }

    fn traffic(&self) -> Traffic {
        self.meter.total()
    }
}
