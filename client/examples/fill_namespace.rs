//! Fills a namespace with many small releases, a hundred models in one publication: what `bench/wire.py` measures.
//!
//!     ASSAY_REGISTRY=URL ASSAY_TOKEN=TOKEN fill_namespace AUTHORITY MODELS RELEASES [WITNESS]
//!
//! `AUTHORITY` is a folder that `assay keygen` and `assay namespace create` made. Afterwards the namespace has the models `m0000` and so
//! on, `MODELS` of them, with `RELEASES` releases each; models that are there stay as they are. All releases have the same one file and
//! signature, so that the time goes into metadata. With a witness's verifier key every device demands its cosignature from then on. Its signatures do not stand in the folder's journal.
#![allow(clippy::print_stdout, reason = "a program that tells how far it is")]

use std::collections::BTreeMap;
use std::error::Error;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use assay_authority::metadata::{Delegation, Root, Target, Targets, TopRole, default_expiry};
use assay_authority::namespace::trust_target;
use assay_authority::release::{FileHasher, ReleaseDraft, attestation_ref, build_manifest};
use assay_authority::{RoleKeys, SigningKey, oms};
use assay_client::publisher::{AuthorityFolder, KeyRole};
use assay_client::sha256;
use assay_client::transport::{Body, Fetched, HttpTransport, Limits, Request, Secret, Transport, paths};
use assay_schema::api::{Publication, SignedRole, StartUpload, UploadInfo};
use assay_schema::canonical;
use assay_schema::limits::MAX_TARGETS;
use assay_schema::log::{self, LogTrust};
use assay_schema::manifest::FileEntry;
use assay_schema::tuf::{DelegationTerms, ModelRole};
use assay_schema::{ModelName, NamespaceName, ReleaseOrder, Sha256Digest, VersionName};
use jiff::Timestamp;
use serde_json::Value;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Models of one publication: its metadata stays far below what a registry takes.
const BATCH: usize = 100;
/// Requests at once.
const PARALLEL: usize = 4;
/// The file that every release has.
const FILE: (&str, &[u8]) = ("weights.bin", b"the same in every release");

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let ([authority, models, releases] | [authority, models, releases, _]) = arguments.as_slice() else {
        return Err("expected AUTHORITY MODELS RELEASES [WITNESS]; see the head of this file".into());
    };
    let variable = |name: &str| std::env::var(name).map_err(|_| format!("{name} is not set"));
    let limits = Limits {
        // The registry judges every release of a publication before it answers.
        answer: Duration::from_secs(900),
        ..Limits::default()
    };
    let token = Secret::new(&variable("ASSAY_TOKEN")?);
    let transport = HttpTransport::new(&variable("ASSAY_REGISTRY")?, Some(token), limits)?;
    let folder = AuthorityFolder::open(Path::new(authority))?;
    let record = folder.namespace()?;
    let keys = |role| folder.keys(role, &|_| None);
    let filling = Filling {
        namespace: record.name,
        identity: record.identity,
        targets: keys(KeyRole::Targets)?,
        publishers: keys(KeyRole::Publisher)?,
        signer: keys(KeyRole::ModelSigning)?,
        witness: arguments.get(3).cloned(),
        transport,
        now: Timestamp::now(),
    };
    let (models, releases): (usize, u64) = (models.parse()?, releases.parse()?);
    let names: Vec<ModelName> = (0..models)
        .map(|n| format!("m{n:04}").parse())
        .collect::<std::result::Result<_, _>>()?;
    let content = filling.content()?;
    let known = Targets::read(&filling.current_targets()?)?.delegated();
    let new: Vec<_> = names
        .iter()
        .filter(|name| !known.iter().any(|role| role.model == **name))
        .collect();
    for batch in new.chunks(BATCH) {
        filling.publish(batch, releases, &content)?;
        println!("{} more models with {releases} releases each", batch.len());
    }
    Ok(())
}

struct Filling {
    namespace: NamespaceName,
    identity: Sha256Digest,
    targets: Vec<SigningKey>,
    publishers: Vec<SigningKey>,
    signer: Vec<SigningKey>,
    witness: Option<String>,
    transport: HttpTransport,
    now: Timestamp,
}

/// What all releases are made of.
struct Content {
    file: FileEntry,
    signature: Vec<u8>,
}

/// A release, ready to be put.
struct Made {
    model: ModelName,
    version: VersionName,
    manifest: Vec<u8>,
}

impl Filling {
    fn get(&self, file: &str) -> Result<Vec<u8>> {
        match self
            .transport
            .get(&paths::metadata(&self.namespace, file), MAX_TARGETS, None)?
        {
            Fetched::Found { bytes, .. } => Ok(bytes),
            _ => Err(format!("the registry has no {file}").into()),
        }
    }

    /// The version that a metadata file names of another one.
    fn version(&self, file: &str, names: &str) -> Result<u64> {
        let read: Value = serde_json::from_slice(&self.get(file)?)?;
        let found = read
            .pointer(&format!("/signed/meta/{names}/version"))
            .and_then(Value::as_u64);
        found.ok_or_else(|| format!("{file} names no {names}").into())
    }

    fn current_targets(&self) -> Result<Vec<u8>> {
        let snapshot = self.version("timestamp.json", "snapshot.json")?;
        let targets = self.version(&format!("{snapshot}.snapshot.json"), "targets.json")?;
        self.get(&format!("{targets}.targets.json"))
    }

    fn content(&self) -> Result<Content> {
        let mut hasher = FileHasher::new();
        hasher.update(FILE.1);
        let file = hasher.finish()?.entry(FILE.0.parse()?);
        let key = self.signer.first().ok_or("the folder has no model-signing key")?;
        let signature = oms::sign_model(key, "fill", [(&file.path, file.sha256)], &[])?;
        self.upload(FILE.1)?;
        self.upload(&signature)?;
        Ok(Content { file, signature })
    }

    fn upload(&self, bytes: &[u8]) -> Result<()> {
        let base = format!("/v1/namespaces/{}/uploads", self.namespace);
        let start = StartUpload {
            sha256: sha256(bytes),
            size: bytes.len() as u64,
        };
        let reply = self.transport.send(Request {
            method: "POST",
            path: base.clone(),
            body: Body::Json(serde_json::to_vec(&start)?),
            offset: None,
        })?;
        let info: UploadInfo = serde_json::from_slice(&reply.body)?;
        if let Some(id) = info.id.filter(|_| !info.complete) {
            self.transport.send(Request {
                method: "PATCH",
                path: format!("{base}/{id}"),
                body: Body::Part(&mut &*bytes, bytes.len() as u64),
                offset: Some(0),
            })?;
        }
        Ok(())
    }

    fn publish(&self, models: &[&ModelName], releases: u64, content: &Content) -> Result<()> {
        let (root, targets) = (Root::read(&self.get("1.root.json")?)?, self.current_targets()?);
        let publishers: Vec<&SigningKey> = self.publishers.iter().collect();
        let delegation = Delegation {
            keys: RoleKeys::of(&publishers, 1)?,
            terms: DelegationTerms { max_epoch: 1 },
        };
        let mut top = Targets::read(&targets)?;
        let mut roles: BTreeMap<String, SignedRole> = BTreeMap::new();
        let mut all = Vec::new();
        for model in models {
            let made = (1..=releases)
                .map(|counter| self.release(model, counter, content))
                .collect::<Result<Vec<_>>>()?;
            for (role, file) in self.files(&made)? {
                top.delegate(&role, &delegation, &root)?;
                let signed = file.sign(&publishers, Some(&delegation.keys))?;
                roles.insert(role.name(), signed.publish(None)?);
            }
            all.extend(made.into_iter().map(|(_, made)| made));
        }
        if let Some(witness) = &self.witness {
            let named = top.target(log::TARGET)?.and_then(|target| target.note.inline);
            let trust: LogTrust = serde_json::from_str(&named.ok_or("the namespace names no log")?)?;
            let demanding = LogTrust {
                witnesses: vec![witness.clone()],
                threshold: 1,
                ..trust
            };
            let text = String::from_utf8(canonical::document(&demanding)?)?;
            top.set_target(log::TARGET, &trust_target(log::TARGET, &text)?)?;
        }
        top.advance(default_expiry(TopRole::Targets.as_str(), self.now)?)?;
        let signers: Vec<&SigningKey> = self.targets.iter().collect();
        let top = top.sign(&signers, Some(&root.role(TopRole::Targets)?))?;
        roles.insert(
            TopRole::Targets.as_str().to_owned(),
            top.publish(Some(sha256(&targets)))?,
        );
        self.put(&all)?;
        self.transport.send(Request {
            method: "POST",
            path: format!("/v1/namespaces/{}/metadata", self.namespace),
            body: Body::Json(serde_json::to_vec(&Publication {
                roles,
                manifests: Vec::new(),
            })?),
            offset: None,
        })?;
        Ok(())
    }

    fn release(&self, model: &ModelName, counter: u64, content: &Content) -> Result<(ReleaseOrder, Made)> {
        let (version, order) = (format!("1.0.{counter}").parse()?, ReleaseOrder::new(1, counter)?);
        let draft = ReleaseDraft {
            namespace: self.identity,
            model: model.clone(),
            version,
            order,
            not_before: None,
            files: vec![content.file.clone()],
            attestations: vec![attestation_ref(oms::PREDICATE_TYPE, &content.signature)],
        };
        let version = draft.version.clone();
        let made = Made {
            model: model.clone(),
            version,
            manifest: build_manifest(draft)?,
        };
        Ok((order, made))
    }

    /// The model's roles, one for each block.
    fn files(&self, made: &[(ReleaseOrder, Made)]) -> Result<Vec<(ModelRole, Targets)>> {
        let mut files: BTreeMap<ModelRole, Targets> = BTreeMap::new();
        for (order, release) in made {
            let role = ModelRole::of(&release.model, *order);
            let mut file = match files.remove(&role) {
                Some(file) => file,
                None => Targets::model_role(&role, self.identity, default_expiry(&role.name(), self.now)?)?,
            };
            let mut target = Target::of(&release.manifest);
            target.note.order = Some(*order);
            file.set_target(&role.manifest_path(&release.version), &target)?;
            files.insert(role, file);
        }
        Ok(files.into_iter().collect())
    }

    /// Puts the candidates.
    fn put(&self, all: &[Made]) -> Result<()> {
        let next = AtomicUsize::new(0);
        let failure: Mutex<Option<String>> = Mutex::new(None);
        std::thread::scope(|scope| {
            for _ in 0..PARALLEL {
                scope.spawn(|| {
                    while let Some(made) = all.get(next.fetch_add(1, Ordering::Relaxed)) {
                        let put = self.transport.send(Request {
                            method: "PUT",
                            path: paths::release(&self.namespace, &made.model, &made.version),
                            body: Body::Json(made.manifest.clone()),
                            offset: None,
                        });
                        if let (Err(error), Ok(mut failure)) = (put, failure.lock()) {
                            next.store(all.len(), Ordering::Relaxed);
                            failure.get_or_insert(error.to_string());
                        }
                    }
                });
            }
        });
        match failure.into_inner() {
            Ok(None) => Ok(()),
            Ok(Some(error)) => Err(error.into()),
            Err(_) => Err("a thread panicked".into()),
        }
    }
}
