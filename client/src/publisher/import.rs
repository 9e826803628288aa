//! A namespace moves to another registry: its export is verified, uploaded, and created there under a root that lists the new
//! registry's keys.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use assay_authority::metadata::{Target, Targets};
use assay_authority::namespace::trust_target;
use assay_schema::api::{CreateNamespace, NamespaceInfo, Publication, Published, RoleState, Visibility};
use assay_schema::limits::{MAX_ROOT, MAX_TRUST_TARGET};
use assay_schema::log::{self, LogTrust};
use assay_schema::{FilePath, Sha256Digest, canonical};
use jiff::Timestamp;

use super::authority::NamespaceRecord;
use super::export::{ExportRecord, RECORD, read_record};
use super::namespace_log::offered;
use super::proposal::{Proposal, mismatch};
use super::registry::Registry;
use super::upload::{Source, Upload, upload_all};
use super::whole::{self, Whole};
use super::{Progress, PublishError, Publisher, folder_error};
use crate::folder::Folder;
use crate::transport::{
    Body, Fetched, FolderTransport, Reply, Request, Traffic, Transport, TransportError, file_path, paths,
};

/// A verified export.
pub struct Export {
    folder: Folder,
    files: FolderTransport,
    record: ExportRecord,
    whole: Whole,
}

impl std::fmt::Debug for Export {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Export")
            .field("record", &self.record)
            .finish_non_exhaustive()
    }
}

/// Whether a registry has the namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It has not.
    Absent,
    /// It is the one that the export came from: the roots are the same, and no later one is there.
    Here,
    /// It moved there before: the roots are the same, and a later one is there.
    Moved,
}

impl Export {
    /// Opens an export and verifies its metadata and manifests as a device would. Blobs are judged when they are uploaded.
    ///
    /// # Errors
    /// There is none in the folder, it is another namespace's, or [`PublishError::DamagedExport`]: a file is missing, or a device would
    /// refuse it.
    pub fn open(path: &Path, identity: Sha256Digest, now: Timestamp) -> Result<Self, PublishError> {
        let folder = Folder::open(path)?;
        let record = read_record(&folder)?.ok_or_else(|| {
            folder_error(
                folder.path().join(RECORD),
                "no export here. Make one with `assay namespace export`",
            )
        })?;
        if record.identity != identity {
            return Err(mismatch("namespace of the export", identity, record.identity));
        }
        let files = FolderTransport::new(folder.clone());
        // Whoever checks verifies every byte against what is signed; the record only says where to look.
        let whole = whole::read(&files, &record.namespace, identity, now, true, &mut |_, _| Ok(()));
        let whole = whole.map_err(|e| damaged(&folder, e))?;
        // Roots are followed as far as they go (TUF 5.3.3): the record tells the last one from one that is gone.
        let roots = whole.roots.len() as u64;
        if roots < record.root {
            let what = format!("{}.root.json", roots + 1);
            return Err(damaged(&folder, PublishError::Missing { what }));
        }
        Ok(Self {
            folder,
            files,
            record,
            whole,
        })
    }

    /// The version of every file that an authority signs.
    pub(super) fn versions(&self) -> Result<BTreeMap<String, u64>, PublishError> {
        let top = Targets::read(&self.whole.targets.1)?.version()?;
        let mut versions = BTreeMap::from([
            ("root".to_owned(), self.whole.roots.len() as u64),
            ("targets".to_owned(), top),
        ]);
        for (role, (_, bytes)) in &self.whole.roles {
            versions.insert(role.clone(), Targets::read(bytes)?.version()?);
        }
        Ok(versions)
    }

    /// What the export says of itself.
    pub fn record(&self) -> &ExportRecord {
        &self.record
    }

    /// Whether a registry has the namespace already, with the history of the export.
    ///
    /// # Errors
    /// Somebody else has the name, or the namespace has another history there.
    pub fn standing(&self, transport: &dyn Transport) -> Result<Standing, PublishError> {
        let namespace = &self.record.namespace;
        let Some(info) = (Registry { transport, namespace }).info()? else {
            return Ok(Standing::Absent);
        };
        if info.identity != self.record.identity {
            return Err(PublishError::NamespaceTaken {
                namespace: namespace.clone(),
                found: info.identity,
                own: self.record.identity,
            });
        }
        for (version, root) in (1..).zip(&self.whole.roots) {
            let path = paths::metadata(namespace, &format!("{version}.root.json"));
            match transport.get(&path, MAX_ROOT, None)? {
                Fetched::Found { bytes, .. } if bytes == *root => {}
                _ => {
                    let namespace = namespace.clone();
                    return Err(PublishError::OtherHistory { namespace, version });
                }
            }
        }
        let highest = info.versions.get("root").copied().unwrap_or_default();
        match highest > self.whole.roots.len() as u64 {
            true => Ok(Standing::Moved),
            false => Ok(Standing::Here),
        }
    }

    /// Uploads every manifest and blob that the registry lacks, resumably. Nothing of it is visible there yet. The registry computes
    /// every digest, and refuses what is not the blob that the manifests name.
    ///
    /// # Errors
    /// A blob is missing or damaged, or the registry refuses.
    pub fn upload(
        &self,
        transport: &dyn Transport,
        progress: &(dyn Fn(Progress) + Sync),
    ) -> Result<(), PublishError> {
        let namespace = &self.record.namespace;
        let registry = Registry { transport, namespace };
        // A name is uploaded to once it has online keys.
        registry.online_keys()?;
        let mut files: Vec<(FilePath, Sha256Digest, u64)> = Vec::new();
        for (target, path) in &self.whole.target_files {
            files.extend(file_path(path).map(|path| (path, target.sha256, target.length)));
        }
        for blob in self.whole.blobs.iter().filter(|blob| !blob.index) {
            let path = paths::blob(namespace, &blob.sha256);
            files.extend(file_path(&path).map(|path| (path, blob.sha256, blob.size)));
        }
        let mut uploads = Vec::new();
        for (path, sha256, size) in &files {
            let found = self.folder.read_at_path(path);
            let found = found.map_err(|e| damaged(&self.folder, e.into()))?;
            let length = found.and_then(|file| file.metadata().ok()).map(|m| m.len());
            if length != Some(*size) {
                let found = match (length, self.record.metadata_only) {
                    (Some(length), _) => length.to_string(),
                    (None, true) => "none: the export has metadata only".to_owned(),
                    (None, false) => "none".to_owned(),
                };
                return Err(PublishError::DamagedExport {
                    path: self.folder.path().to_owned(),
                    reason: format!("{path}: expected {size} bytes, found {found}"),
                });
            }
            uploads.push(Upload {
                sha256: *sha256,
                size: *size,
                source: Source::File(path),
            });
        }
        progress(Progress::Uploading(uploads.iter().map(|u| u.size).sum()));
        match upload_all(registry, &self.folder, &uploads, progress) {
            Err(e @ (PublishError::BytesChanged { .. } | PublishError::File(_))) => {
                Err(damaged(&self.folder, e))
            }
            done => done,
        }
    }

    /// The export as what stands, and `registry` as where the namespace is made on top of it: a [`Publisher`] on this proposes,
    /// reviews and signs as ever, and what it publishes creates the namespace.
    pub fn on(self: Arc<Self>, registry: Arc<dyn Transport>, visibility: Visibility) -> Arc<dyn Transport> {
        Arc::new(Moving {
            export: self,
            registry,
            visibility,
        })
    }

    /// The bytes of every document under `trust/` that the new targets list without holding it.
    fn documents(&self, targets: &Targets) -> Result<Vec<String>, PublishError> {
        let mut documents = Vec::new();
        for (path, target) in targets.targets()? {
            if target.note.inline.is_some() {
                continue;
            }
            let is_it = |(found, _): &&(Target, String)| found.sha256 == target.sha256;
            let served = self.whole.target_files.iter().find(is_it);
            let served = served.ok_or_else(|| PublishError::Missing { what: path })?;
            if let Fetched::Found { bytes, .. } = self.files.get(&served.1, MAX_TRUST_TARGET, None)? {
                let text = String::from_utf8(bytes);
                documents.push(text.map_err(|_| mismatch(&served.1, "text", "other bytes"))?);
            }
        }
        Ok(documents)
    }

    fn creation(
        &self,
        publication: &Publication,
        visibility: Visibility,
    ) -> Result<CreateNamespace, PublishError> {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let sent = |role: &str| publication.roles.get(role).map(|file| file.metadata.clone());
        let mut roots: Vec<_> = self.whole.roots.iter().map(|root| text(root)).collect();
        roots.extend(sent("root"));
        let later_roots = roots.split_off(1);
        let targets = sent("targets").unwrap_or_else(|| text(&self.whole.targets.1));
        let mut roles: BTreeMap<_, _> = self
            .whole
            .roles
            .iter()
            .map(|(role, (_, bytes))| (role.clone(), text(bytes)))
            .collect();
        let others = publication
            .roles
            .iter()
            .filter(|(role, _)| !matches!(role.as_str(), "root" | "targets"));
        roles.extend(others.map(|(role, file)| (role.clone(), file.metadata.clone())));
        Ok(CreateNamespace {
            root: roots.pop().unwrap_or_default(),
            later_roots,
            blobs: self.documents(&Targets::read(targets.as_bytes())?)?,
            targets,
            roles,
            visibility,
        })
    }
}

/// Whoever damaged an export, it was neither its registry nor the connection.
fn damaged(folder: &Folder, error: PublishError) -> PublishError {
    let reason = match error {
        PublishError::Missing { what } => format!("{what} is missing"),
        PublishError::Transport(TransportError::Unreachable { reason, .. }) => reason,
        PublishError::Damaged {
            what,
            expected,
            found,
        } => format!("{what}: expected {expected}, found {found}"),
        PublishError::Untrusted(error) => error.to_string(),
        PublishError::BytesChanged { what } => format!("{what}: other bytes than the releases name"),
        error => error.to_string(),
    };
    PublishError::DamagedExport {
        path: folder.path().to_owned(),
        reason,
    }
}

/// See [`Export::on`].
struct Moving {
    export: Arc<Export>,
    registry: Arc<dyn Transport>,
    visibility: Visibility,
}

impl Moving {
    fn create(&self, publication: &[u8]) -> Result<Reply, PublishError> {
        let bad = |e: serde_json::Error| mismatch("publication", "one that can be read", e);
        let publication: Publication = serde_json::from_slice(publication).map_err(bad)?;
        let body = self.export.creation(&publication, self.visibility)?;
        let reply = self.registry.send(Request {
            method: "PUT",
            path: format!("/v1/namespaces/{}", self.export.record.namespace),
            body: Body::Json(serde_json::to_vec(&body).map_err(bad)?),
            offset: None,
        })?;
        let info: NamespaceInfo = serde_json::from_slice(&reply.body).map_err(bad)?;
        let state = |(role, version): (&String, &u64)| {
            let sent = publication.roles.get(role)?;
            let sha256 = crate::sha256(sent.metadata.as_bytes());
            let version = *version;
            Some((role.clone(), RoleState { version, sha256 }))
        };
        let published = Published {
            roles: info.versions.iter().filter_map(state).collect(),
            releases: Vec::new(),
        };
        let body = serde_json::to_vec(&published).map_err(bad)?;
        Ok(Reply { body, ..reply })
    }
}

impl Transport for Moving {
    fn get(&self, path: &str, max: u64, etag: Option<&str>) -> Result<Fetched, TransportError> {
        match path.starts_with("/tuf/") {
            true => self.export.files.get(path, max, etag),
            false => self.registry.get(path, max, etag),
        }
    }

    fn open(&self, path: &str, offset: u64, len: u64) -> Result<Box<dyn std::io::Read + '_>, TransportError> {
        self.export.files.open(path, offset, len)
    }

    fn send(&self, request: Request<'_>) -> Result<Reply, TransportError> {
        let publishes = format!("/v1/namespaces/{}/metadata", self.export.record.namespace);
        match request.body {
            Body::Json(ref bytes) if request.path == publishes => match self.create(bytes) {
                Ok(reply) => Ok(reply),
                Err(PublishError::Transport(e)) => Err(e),
                Err(e) => Err(TransportError::Malformed {
                    path: request.path,
                    expected: "what the export and the new root make together",
                    found: e.to_string(),
                }),
            },
            _ => self.registry.send(request),
        }
    }

    fn traffic(&self) -> Traffic {
        self.registry.traffic()
    }
}

impl Publisher {
    /// The root that takes the namespace to the registry of this publisher: on top of the export, with the new registry's online keys.
    /// Where the namespace names a log, the new registry's takes its place; with `log` false none does. The witnesses that the
    /// authority demands stay.
    ///
    /// # Errors
    /// The export does not verify, or the new registry offers no log where one is demanded.
    pub fn propose_move(&self, log: bool, now: Timestamp) -> Result<Proposal, PublishError> {
        let mut next = self.succession(now)?;
        let registry = Registry {
            transport: self.transport.as_ref(),
            namespace: &next.record.name,
        };
        let online = registry.online_keys()?;
        let other_log = self.move_log(registry, &next.record, &mut next.top, log)?;
        next.online(online)?;
        let with_targets = other_log || next.top.expires()? <= now || self.signs_targets_under(&next.new)?;
        next.propose(with_targets)
    }

    /// Names the new registry's log where the namespace names one.
    fn move_log(
        &self,
        registry: Registry<'_>,
        record: &NamespaceRecord,
        top: &mut Targets,
        log: bool,
    ) -> Result<bool, PublishError> {
        let Some(target) = top.target(log::TARGET)? else {
            return Ok(false);
        };
        if !log {
            return Ok(top.remove_trust(log::TARGET)?);
        }
        let path = assay_schema::tuf::consistent_target(log::TARGET, &target.sha256);
        let text = match target.note.inline {
            Some(text) => text,
            None => {
                let path = paths::resource(&record.name, &assay_verifier::Resource::Target { path });
                match self.transport.get(&path, MAX_TRUST_TARGET, None)? {
                    Fetched::Found { bytes, .. } => String::from_utf8_lossy(&bytes).into_owned(),
                    Fetched::Missing | Fetched::NotModified => {
                        return Err(PublishError::Missing { what: path });
                    }
                }
            }
        };
        let bad = |found: String| mismatch(log::TARGET, "a log that this software knows", found);
        let mut trust: LogTrust = serde_json::from_str(&text).map_err(|e| bad(e.to_string()))?;
        let offered = offered(registry)?.ok_or_else(|| {
            mismatch(
                "log of the new registry",
                "one, as the namespace names a log; or --log none",
                "none",
            )
        })?;
        if trust.log == offered {
            return Ok(false);
        }
        trust.log = offered;
        let document = canonical::document(&trust).map_err(|e| bad(e.to_string()))?;
        let text = String::from_utf8_lossy(&document).into_owned();
        top.set_target(log::TARGET, &trust_target(log::TARGET, &text)?)?;
        Ok(true)
    }

    /// The namespace is at this registry from now on.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn moved_to(&self, registry: &str) -> Result<NamespaceRecord, PublishError> {
        let record = NamespaceRecord {
            registry: registry.to_owned(),
            ..self.folder.namespace()?
        };
        self.folder.save_namespace(&record)?;
        Ok(record)
    }
}
