//! A registry in memory that tests can turn hostile.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::sync::{Arc, Mutex};

use assay_authority::metadata::{FileMeta, Snapshot, Target, Targets, TimestampRole, default_expiry};
use assay_authority::{KeyKind, SigningKey};
use assay_client::sha256;
use assay_client::transport::{Body, Fetched, Meter, Reply, Request, Traffic, Transport, TransportError};
use assay_delta::Header;
use assay_delta::index::HEADER;
use assay_schema::api::{
    CreateNamespace, NamespaceInfo, OnlineKeys, Publication, Published, ReleaseInfo, ReleaseState, RoleState,
    StartUpload, UploadInfo, Visibility,
};
use assay_schema::bundle::{BundledBlob, CheckBundle, RoleFile};
use assay_schema::delta::{AttachDelta, DeltaInfo, DeltaList, DeltaMaker};
use assay_schema::problem::{Problem, ProblemKind};
use assay_schema::tuf::{ModelRole, consistent_target};
use assay_schema::{ChunkIndex, ReleaseManifest, Sha256Digest};
use jiff::Timestamp;

/// What a hostile registry does with a part of a blob.
pub enum Answering {
    Honestly,
    With(Vec<u8>),
    WithoutEnd,
    /// The connection breaks after so many bytes.
    Breaking(usize),
    Missing,
}

type Judge = Box<dyn Fn(&Sha256Digest, u64, &[u8]) -> Answering + Send + Sync>;

/// The beginning of a request's method and path, and what happens before it.
type Race = (&'static str, Box<dyn FnOnce() + Send>);

#[derive(Default)]
struct Upload {
    sha256: Option<Sha256Digest>,
    size: u64,
    bytes: Vec<u8>,
}

#[derive(Default)]
struct Inner {
    blobs: BTreeMap<Sha256Digest, Vec<u8>>,
    uploads: BTreeMap<String, Upload>,
    identity: Option<Sha256Digest>,
    /// Metadata files by name.
    files: BTreeMap<String, Vec<u8>>,
    /// The current file of `targets` and of each delegated role.
    roles: BTreeMap<String, (u64, Vec<u8>)>,
    online: u64,
    candidates: BTreeMap<String, Vec<u8>>,
    /// Before the next candidate or publication, this happens.
    race: Option<Race>,
    part_faults: u32,
    /// What it offers; `None` for a registry that knows of no deltas.
    deltas: Option<Vec<DeltaInfo>>,
}

pub struct MemoryRegistry {
    inner: Mutex<Inner>,
    snapshot: SigningKey,
    timestamp: SigningKey,
    judge: Mutex<Option<Judge>>,
    now: Mutex<Timestamp>,
    meter: Meter,
    /// Ranges of blobs that were opened: digest, offset, length.
    pub opened: Mutex<Vec<(Sha256Digest, u64, u64)>>,
}

fn problem(path: &str, kind: ProblemKind, detail: &str) -> TransportError {
    TransportError::Problem {
        path: path.to_owned(),
        problem: Box::new(Problem::new(kind, detail)),
    }
}

fn json(value: &impl serde::Serialize) -> Result<Reply, TransportError> {
    Ok(Reply {
        status: 200,
        body: serde_json::to_vec(value).unwrap(),
    })
}

impl MemoryRegistry {
    pub fn new(now: Timestamp) -> Arc<Self> {
        Arc::new(Self {
            inner: Mutex::default(),
            snapshot: SigningKey::generate(KeyKind::Ed25519).unwrap(),
            timestamp: SigningKey::generate(KeyKind::Ed25519).unwrap(),
            judge: Mutex::default(),
            now: Mutex::new(now),
            meter: Meter::default(),
            opened: Mutex::default(),
        })
    }

    pub fn now(&self) -> Timestamp {
        *self.now.lock().unwrap()
    }

    /// It is this time, and snapshot and timestamp are signed anew.
    pub fn at(&self, now: Timestamp) {
        *self.now.lock().unwrap() = now;
        self.sign_online(&mut self.inner.lock().unwrap());
    }

    /// From now on parts of blobs are answered as `judge` says.
    pub fn hostile(&self, judge: impl Fn(&Sha256Digest, u64, &[u8]) -> Answering + Send + Sync + 'static) {
        *self.judge.lock().unwrap() = Some(Box::new(judge));
    }

    pub fn honest(&self) {
        *self.judge.lock().unwrap() = None;
    }

    /// Something that happens right before the next request whose method and path's end are these is looked at.
    pub fn race(&self, before: &'static str, with: impl FnOnce() + Send + 'static) {
        self.inner.lock().unwrap().race = Some((before, Box::new(with)));
    }

    /// The next parts of uploads break off in the middle.
    pub fn break_parts(&self, count: u32) {
        self.inner.lock().unwrap().part_faults = count;
    }

    pub fn blob(&self, sha256: &Sha256Digest) -> Option<Vec<u8>> {
        self.inner.lock().unwrap().blobs.get(sha256).cloned()
    }

    pub fn set_blob(&self, bytes: Vec<u8>) -> Sha256Digest {
        let digest = sha256(&bytes);
        self.inner.lock().unwrap().blobs.insert(digest, bytes);
        digest
    }

    /// From now on these deltas are listed, whatever is asked for.
    pub fn offer(&self, deltas: Vec<DeltaInfo>) {
        self.inner.lock().unwrap().deltas = Some(deltas);
    }

    pub fn file(&self, name: &str) -> Option<Vec<u8>> {
        self.inner.lock().unwrap().files.get(name).cloned()
    }

    pub fn set_file(&self, name: &str, bytes: Vec<u8>) {
        self.inner.lock().unwrap().files.insert(name.to_owned(), bytes);
    }

    /// Serves what another registry serves from here on, as a mirror of it does.
    pub fn adopt(&self, other: &Self) {
        let (mut own, other) = (self.inner.lock().unwrap(), other.inner.lock().unwrap());
        own.blobs = other.blobs.clone();
        own.identity = other.identity;
        own.files = other.files.clone();
        own.roles = other.roles.clone();
        own.online = other.online;
    }

    pub fn take_opened(&self) -> Vec<(Sha256Digest, u64, u64)> {
        std::mem::take(&mut *self.opened.lock().unwrap())
    }

    fn sign_online(&self, inner: &mut Inner) {
        let identity = inner.identity.unwrap();
        inner.online += 1;
        let version = inner.online;
        let files: BTreeMap<String, FileMeta> = inner
            .roles
            .iter()
            .map(|(role, (version, bytes))| (format!("{role}.json"), FileMeta::of(*version, bytes)))
            .collect();
        let expires = default_expiry("snapshot", self.now()).unwrap();
        let snapshot = Snapshot::new(identity, version, expires, &files)
            .unwrap()
            .sign(&[&self.snapshot])
            .unwrap();
        let expires = default_expiry("timestamp", self.now()).unwrap();
        let timestamp = TimestampRole::new(identity, version, expires, &snapshot.meta())
            .unwrap()
            .sign(&[&self.timestamp])
            .unwrap();
        inner.files.insert(snapshot.file_name(), snapshot.bytes);
        inner.files.insert(timestamp.file_name(), timestamp.bytes);
    }

    fn create(&self, path: &str, body: &CreateNamespace) -> Result<Reply, TransportError> {
        let mut inner = self.inner.lock().unwrap();
        if inner.identity.is_some() {
            return Err(problem(path, ProblemKind::NamespaceExists, "it exists"));
        }
        inner.identity = Some(sha256(body.root.as_bytes()));
        inner
            .files
            .insert("1.root.json".into(), body.root.clone().into_bytes());
        inner
            .files
            .insert("1.targets.json".into(), body.targets.clone().into_bytes());
        inner
            .roles
            .insert("targets".into(), (1, body.targets.clone().into_bytes()));
        for blob in &body.blobs {
            inner
                .blobs
                .insert(sha256(blob.as_bytes()), blob.clone().into_bytes());
        }
        self.sign_online(&mut inner);
        json(&self.info(&inner))
    }

    fn info(&self, inner: &Inner) -> NamespaceInfo {
        NamespaceInfo {
            name: "acme".parse().unwrap(),
            identity: inner.identity.unwrap(),
            visibility: Visibility::Public,
            versions: BTreeMap::new(),
            created: self.now(),
        }
    }

    fn publish(&self, path: &str, publication: &Publication) -> Result<Reply, TransportError> {
        let mut inner = self.inner.lock().unwrap();
        for (role, file) in &publication.roles {
            if inner.roles.get(role).map(|(_, bytes)| sha256(bytes)) != file.parent {
                return Err(problem(path, ProblemKind::StaleParent, "another came first"));
            }
        }
        for (role, file) in &publication.roles {
            let bytes = file.metadata.clone().into_bytes();
            let version = Targets::read(&bytes).unwrap().version().unwrap();
            inner
                .files
                .insert(format!("{version}.{role}.json"), bytes.clone());
            inner.roles.insert(role.clone(), (version, bytes));
        }
        self.sign_online(&mut inner);
        let roles = inner
            .roles
            .iter()
            .map(|(role, (version, bytes))| {
                (
                    role.clone(),
                    RoleState {
                        version: *version,
                        sha256: sha256(bytes),
                    },
                )
            })
            .collect();
        json(&Published {
            roles,
            releases: Vec::new(),
        })
    }

    fn upload_info(inner: &Inner, id: &str) -> UploadInfo {
        let upload = &inner.uploads[id];
        let digest = upload.sha256.unwrap();
        let complete = inner.blobs.contains_key(&digest);
        UploadInfo {
            id: (!complete).then(|| id.to_owned()),
            sha256: digest,
            size: upload.size,
            offset: if complete {
                upload.size
            } else {
                upload.bytes.len() as u64
            },
            complete,
            chunks: None,
        }
    }

    fn part(&self, path: &str, id: &str, offset: u64, mut part: impl Read) -> Result<Reply, TransportError> {
        let mut inner = self.inner.lock().unwrap();
        let breaks = inner.part_faults > 0;
        inner.part_faults = inner.part_faults.saturating_sub(1);
        let upload = inner.uploads.get_mut(id).unwrap();
        if upload.bytes.len() as u64 != offset {
            return Err(problem(path, ProblemKind::OffsetMismatch, "elsewhere"));
        }
        let mut bytes = Vec::new();
        let read = part.read_to_end(&mut bytes);
        if breaks {
            bytes.truncate(bytes.len() / 2);
        }
        upload.bytes.extend(&bytes);
        self.meter.sent(bytes.len() as u64);
        if breaks || read.is_err() {
            return Err(TransportError::Unreachable {
                registry: "memory".into(),
                path: path.into(),
                reason: "the connection broke".into(),
                attempts: 1,
            });
        }
        if upload.bytes.len() as u64 == upload.size {
            let bytes = std::mem::take(&mut upload.bytes);
            let digest = upload.sha256.unwrap();
            if sha256(&bytes) != digest {
                return Err(problem(path, ProblemKind::DigestMismatch, "other bytes"));
            }
            if let Some(index) = index(&bytes) {
                inner.blobs.insert(sha256(&index), index);
            }
            inner.blobs.insert(digest, bytes);
        }
        json(&Self::upload_info(&inner, id))
    }

    fn bundle(&self, model: &str, root: u64) -> Option<CheckBundle> {
        let inner = self.inner.lock().unwrap();
        let text = |name: &str| {
            inner
                .files
                .get(name)
                .map(|b| String::from_utf8(b.clone()).unwrap())
        };
        let roots = (root + 1..)
            .map_while(|v| text(&format!("{v}.root.json")))
            .collect();
        let mut blobs = BTreeMap::new();
        let mut delegated = Vec::new();
        for (role, (_, bytes)) in &inner.roles {
            if ModelRole::parse(role).is_none_or(|r| r.model.as_str() != model) {
                continue;
            }
            delegated.push(RoleFile {
                role: role.clone(),
                metadata: String::from_utf8(bytes.clone()).unwrap(),
            });
            for target in Targets::read(bytes).unwrap().targets().unwrap().values() {
                let manifest = inner.blobs.get(&target.sha256)?;
                blobs.insert(target.sha256, manifest.clone());
                for attestation in ReleaseManifest::parse(manifest).unwrap().attestations {
                    blobs.insert(attestation.sha256, inner.blobs.get(&attestation.sha256)?.clone());
                }
            }
        }
        let blobs = blobs
            .into_iter()
            .map(|(sha256, content)| BundledBlob {
                sha256,
                content: String::from_utf8(content).unwrap(),
            })
            .collect();
        let targets = String::from_utf8(inner.roles.get("targets")?.1.clone()).unwrap();
        let snapshot = text(&format!("{}.snapshot.json", inner.online))?;
        Some(CheckBundle {
            v: 1,
            roots,
            timestamp: text("timestamp.json")?,
            snapshot,
            targets,
            delegated,
            blobs,
            log: None,
        })
    }

    fn find(&self, path: &str) -> Option<Vec<u8>> {
        let rest = path
            .strip_prefix("/v1/namespaces/acme/")
            .or_else(|| path.strip_prefix("/tuf/acme/"));
        if path == "/v1/namespaces/acme" {
            let inner = self.inner.lock().unwrap();
            inner.identity?;
            return Some(serde_json::to_vec(&self.info(&inner)).unwrap());
        }
        let rest = rest?;
        if let Some(file) = rest.strip_prefix("metadata/") {
            return self.file(file);
        }
        if let Some(target) = rest.strip_prefix("targets/") {
            let inner = self.inner.lock().unwrap();
            for (_, bytes) in inner.roles.values() {
                for (path, found) in Targets::read(bytes).unwrap().targets().unwrap() {
                    if consistent_target(&path, &found.sha256) == target {
                        return inner.blobs.get(&found.sha256).cloned();
                    }
                }
            }
            return None;
        }
        if let Some(digest) = rest.strip_prefix("blobs/") {
            return self.blob(&digest.parse().unwrap());
        }
        if let Some(id) = rest.strip_prefix("uploads/") {
            let inner = self.inner.lock().unwrap();
            inner.uploads.get(id)?;
            return Some(serde_json::to_vec(&Self::upload_info(&inner, id)).unwrap());
        }
        if rest.contains("/deltas?target=") {
            let items = self.inner.lock().unwrap().deltas.clone()?;
            return Some(serde_json::to_vec(&DeltaList { items }).unwrap());
        }
        let (model, query) = rest.strip_prefix("models/")?.split_once("/check?root=")?;
        let root = query.split('&').next()?.parse().ok()?;
        Some(serde_json::to_vec(&self.bundle(model, root)?).unwrap())
    }
}

/// The encoded chunk index of a file of more than one chunk.
pub fn index(bytes: &[u8]) -> Option<Vec<u8>> {
    (bytes.len() > 1 << 20).then(|| {
        let digests = bytes.chunks(1 << 20).map(sha256).collect();
        ChunkIndex::new(bytes.len() as u64, digests).unwrap().encode()
    })
}

impl Transport for MemoryRegistry {
    fn get(&self, path: &str, max: u64, etag: Option<&str>) -> Result<Fetched, TransportError> {
        self.meter.request();
        let Some(bytes) = self.find(path) else {
            return Ok(Fetched::Missing);
        };
        let tag = format!("\"{}\"", sha256(&bytes));
        if etag == Some(&tag) {
            return Ok(Fetched::NotModified);
        }
        if bytes.len() as u64 > max {
            return Err(TransportError::TooLong {
                path: path.into(),
                max,
            });
        }
        self.meter.received(bytes.len() as u64);
        Ok(Fetched::Found {
            bytes,
            etag: Some(tag),
        })
    }

    fn open(&self, path: &str, offset: u64, len: u64) -> Result<Box<dyn Read + '_>, TransportError> {
        self.meter.request();
        let digest: Sha256Digest = path.rsplit('/').next().unwrap().parse().unwrap();
        self.opened.lock().unwrap().push((digest, offset, len));
        let part = match self.inner.lock().unwrap().blobs.get(&digest) {
            Some(blob) => match blob.get(offset as usize..(offset + len) as usize) {
                Some(part) => part.to_vec(),
                None => return Err(problem(path, ProblemKind::OffsetMismatch, "shorter")),
            },
            None => return Err(problem(path, ProblemKind::NotFound, "none")),
        };
        let judge = self.judge.lock().unwrap();
        Ok(
            match judge
                .as_ref()
                .map_or(Answering::Honestly, |judge| judge(&digest, offset, &part))
            {
                Answering::Honestly => {
                    self.meter.received(len);
                    Box::new(io::Cursor::new(part))
                }
                Answering::With(other) => Box::new(io::Cursor::new(other)),
                Answering::WithoutEnd => Box::new(io::repeat(7)),
                Answering::Breaking(after) => {
                    Box::new(io::Cursor::new(part[..after.min(part.len())].to_vec()))
                }
                Answering::Missing => return Err(problem(path, ProblemKind::NotFound, "none")),
            },
        )
    }

    fn send(&self, request: Request<'_>) -> Result<Reply, TransportError> {
        self.meter.request();
        let path = request.path.clone();
        let mut inner = self.inner.lock().unwrap();
        let due = |(before, _): &mut (&str, _)| format!("{} {path}", request.method).starts_with(*before);
        let race = inner.race.take_if(due);
        drop(inner);
        if let Some((_, race)) = race {
            race();
        }
        let rest = path.strip_prefix("/v1/namespaces/acme").unwrap();
        match (request.method, rest, request.body) {
            ("POST", "/keys", Body::Empty) => json(&OnlineKeys {
                snapshot: self.snapshot.tuf_key().unwrap(),
                timestamp: self.timestamp.tuf_key().unwrap(),
            }),
            ("PUT", "", Body::Json(body)) => self.create(&path, &serde_json::from_slice(&body).unwrap()),
            ("POST", "/metadata", Body::Json(body)) => {
                self.publish(&path, &serde_json::from_slice(&body).unwrap())
            }
            ("POST", "/uploads", Body::Json(body)) => {
                let start: StartUpload = serde_json::from_slice(&body).unwrap();
                let mut inner = self.inner.lock().unwrap();
                let id = start.sha256.to_hex();
                let upload = inner.uploads.entry(id.clone()).or_default();
                (upload.sha256, upload.size) = (Some(start.sha256), start.size);
                json(&Self::upload_info(&inner, &id))
            }
            ("PATCH", upload, Body::Part(part, len)) => {
                let id = upload.strip_prefix("/uploads/").unwrap();
                self.part(&path, id, request.offset.unwrap(), part.take(len))
            }
            ("PUT", release, Body::Json(body)) if release.contains("/releases/") => {
                let manifest = ReleaseManifest::parse(&body).unwrap();
                let mut inner = self.inner.lock().unwrap();
                let missing = manifest
                    .files
                    .iter()
                    .any(|f| !inner.blobs.contains_key(&f.sha256));
                assert!(!missing, "a candidate needs its blobs");
                let role = ModelRole::of(&manifest.model, manifest.order);
                let listed = inner
                    .roles
                    .get(&role.name())
                    .map(|(_, bytes)| Targets::read(bytes).unwrap().targets().unwrap());
                let own = role.manifest_path(&manifest.version);
                let taken = |(path, target): (&String, &Target)| {
                    *path != own && target.note.order == Some(manifest.order)
                };
                if listed.is_some_and(|listed| listed.iter().any(taken)) {
                    return Err(problem(&path, ProblemKind::BadManifest, "the counter is taken"));
                }
                inner.candidates.insert(release.to_owned(), body.clone());
                inner.blobs.insert(sha256(&body), body.clone());
                json(&ReleaseInfo {
                    namespace: "acme".parse().unwrap(),
                    model: manifest.model.clone(),
                    version: manifest.version.clone(),
                    order: manifest.order,
                    manifest: sha256(&body),
                    state: ReleaseState::Candidate,
                    size: manifest.size(),
                    files: manifest.files.len() as u64,
                    created: self.now(),
                    published: None,
                })
            }
            ("POST", deltas, Body::Json(body)) if deltas.ends_with("/deltas") => {
                let asked: AttachDelta = serde_json::from_slice(&body).unwrap();
                let mut inner = self.inner.lock().unwrap();
                let blob = &inner.blobs[&asked.blob];
                let target = ReleaseManifest::parse(&inner.blobs[&asked.target]).unwrap();
                let info = DeltaInfo {
                    base: asked.base,
                    target: asked.target,
                    blob: asked.blob,
                    size: blob.len() as u64,
                    index: Header::parse(&blob[..HEADER]).unwrap().frames(),
                    full: target.size(),
                    made_by: DeltaMaker::Publisher,
                    created: self.now(),
                };
                inner.deltas.get_or_insert_default().push(info.clone());
                json(&info)
            }
            (method, rest, _) => panic!("unexpected request {method} {rest}"),
        }
    }

    fn traffic(&self) -> Traffic {
        self.meter.total()
    }
}
