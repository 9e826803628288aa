//! What a proposal would publish: manifests, model signatures, chunk indexes, and the files themselves where they are at hand.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use assay_authority::metadata::{Target, Targets};
use assay_authority::oms::DEFAULT_IGNORED;
use assay_schema::api::Publication;
use assay_schema::limits::{MAX_MANIFEST, MAX_TRUST_TARGET};
use assay_schema::manifest::{AttestationRef, FileEntry};
use assay_schema::signers::{self, Signers};
use assay_schema::tuf::ModelRole;
use assay_schema::{ChunkIndex, ReleaseManifest, ReleaseOrder, Sha256Digest, VersionName, chunk};
use assay_verifier::provenance::attestation::About;
use assay_verifier::provenance::oms::MODEL_SIGNATURES;
use assay_verifier::{documents, judge_signature, judge_statement};
use jiff::Timestamp;

use super::authority::NamespaceRecord;
use super::proposal::{mismatch, successor};
use super::refresh::{self, Current};
use super::release::entry;
use super::{Progress, PublishError, Publisher};
use crate::folder::Folder;
use crate::{hash, scan};

/// Who may sign models, as the targets metadata says that the proposal leads to.
struct Permitted {
    signers: Signers,
    sigstore_root: Option<Vec<u8>>,
}

impl Publisher {
    /// Looks at every release that the files list for the first time, as a device would, and says what is published.
    ///
    /// # Errors
    /// A manifest that is not there or not what its entry says; an order that devices would not take; no model signature of a
    /// permitted signer; a chunk index of other bytes; or another folder than the release's.
    pub(super) fn examine(
        &self,
        record: &NamespaceRecord,
        base: &Current,
        publication: &Publication,
        folder: Option<&Path>,
        now: Timestamp,
    ) -> Result<Vec<String>, PublishError> {
        let top = publication.roles.get("targets");
        let top = Targets::read(top.map_or(&base.targets, |file| file.metadata.as_bytes()))?;
        let along: BTreeSet<_> = publication
            .manifests
            .iter()
            .map(|m| refresh::digest(m.as_bytes()))
            .collect();
        let mut releases = Vec::new();
        for (name, file) in &publication.roles {
            let Some(role) = ModelRole::parse(name) else {
                continue;
            };
            let (old, new) = successor(record, name, file, base.role(&role))?;
            let old = old.map_or_else(|| Ok(BTreeMap::new()), |old| old.targets())?;
            let max_epoch = top.delegation(&role)?.map_or(0, |d| d.terms.max_epoch);
            let highest = base.highest()?.map(|highest| highest.order);
            for (path, target) in new.targets()? {
                // Another namespace's release comes with its manifest, and is shown as that.
                if !old.contains_key(&path) && !along.contains(&target.sha256) {
                    let manifest = self.manifest(record, &role, &path, &target)?;
                    order(&role, &manifest, max_epoch, highest)?;
                    releases.push((manifest, target));
                }
            }
        }
        let old = Targets::read(&base.targets)?;
        let mut lines = self.log_changes(record, &old, &top)?;
        lines.extend(self.signer_changes(record, &old, &top)?);
        self.judge_documents(record, &old, &top)?;
        let permitted = match releases.is_empty() {
            true => None,
            false => self.permitted(record, &top)?,
        };
        for (manifest, target) in &releases {
            lines.extend(described(record, manifest, target));
            lines.push(self.signed_by(record, manifest, permitted.as_ref(), now)?);
            lines.extend(self.stated(record, manifest, permitted.as_ref(), now)?);
            self.chunk_indexes(record, manifest)?;
        }
        match (folder, releases.as_slice()) {
            (None, _) => {}
            (Some(folder), [(manifest, _)]) => {
                self.same_files(folder, manifest)?;
                lines.push(format!(
                    "release {}: every file is the one in {}",
                    manifest.version,
                    folder.display()
                ));
            }
            (Some(_), others) => {
                let expected = "one, to compare with the folder";
                return Err(mismatch("releases of the proposal", expected, others.len()));
            }
        }
        Ok(lines)
    }

    /// The manifest of a target that nothing lists yet.
    fn manifest(
        &self,
        record: &NamespaceRecord,
        role: &ModelRole,
        path: &str,
        target: &Target,
    ) -> Result<ReleaseManifest, PublishError> {
        let version = path
            .strip_prefix(&role.prefix())
            .and_then(|p| p.strip_suffix(".json"));
        let version: Option<VersionName> = version.and_then(|v| v.parse().ok());
        let Some(version) = version else {
            return Err(mismatch("target path", role.pattern(), path));
        };
        if target.length > MAX_MANIFEST {
            let expected = format!("at most {MAX_MANIFEST} bytes");
            return Err(mismatch(format!("length of {path}"), expected, target.length));
        }
        let found = refresh::blob(record, self.transport.as_ref(), &target.sha256, target.length)?;
        let bytes = found
            .filter(|bytes| bytes.len() as u64 == target.length)
            .ok_or_else(|| {
                mismatch(
                    path,
                    format!("the manifest {} on the registry", target.sha256),
                    "none",
                )
            })?;
        let manifest = ReleaseManifest::parse(&bytes)?;
        let says = |what: &str, expected: String, found: String| match expected == found {
            true => Ok(()),
            false => Err(mismatch(
                format!("{what} in the manifest of {path}"),
                expected,
                found,
            )),
        };
        says("namespace", record.identity.to_hex(), manifest.namespace.to_hex())?;
        says("model", role.model.to_string(), manifest.model.to_string())?;
        says("version", version.to_string(), manifest.version.to_string())?;
        let listed = target
            .note
            .order
            .map_or_else(|| "none".to_owned(), |o| o.to_string());
        says("order", listed, manifest.order.to_string())?;
        Ok(manifest)
    }

    /// Permitted signers, from the targets metadata; `None` if it names none.
    fn permitted(&self, record: &NamespaceRecord, top: &Targets) -> Result<Option<Permitted>, PublishError> {
        let Some(signers) = self.named_signers(record, top)? else {
            return Ok(None);
        };
        Ok(Some(Permitted {
            signers,
            sigstore_root: self.document(record, top, signers::SIGSTORE_ROOT_TARGET)?,
        }))
    }

    /// Every document under `trust/` that targets metadata changes is one that devices can read.
    pub(super) fn judge_documents(
        &self,
        record: &NamespaceRecord,
        old: &Targets,
        new: &Targets,
    ) -> Result<(), PublishError> {
        let before = old.targets()?;
        for (path, target) in new.targets()? {
            if !documents::is_known(&path) || before.get(&path) == Some(&target) {
                continue;
            }
            let bytes = self.document(record, new, &path)?.unwrap_or_default();
            documents::judge(&path, target.length, target.sha256, &bytes)?;
        }
        Ok(())
    }

    /// The bytes of a document under `trust/`, as targets metadata lists it; `None` if it does not.
    pub(super) fn document(
        &self,
        record: &NamespaceRecord,
        top: &Targets,
        path: &str,
    ) -> Result<Option<Vec<u8>>, PublishError> {
        let Some(target) = top.target(path)? else {
            return Ok(None);
        };
        if target.length > MAX_TRUST_TARGET {
            let expected = format!("at most {MAX_TRUST_TARGET} bytes");
            return Err(mismatch(format!("length of {path}"), expected, target.length));
        }
        let inline = target.note.inline.clone().map(String::into_bytes);
        let bytes = match inline.filter(|bytes| crate::sha256(bytes) == target.sha256) {
            Some(bytes) => Some(bytes),
            None => refresh::blob(record, self.transport.as_ref(), &target.sha256, target.length)?,
        };
        bytes.map(Some).ok_or_else(|| PublishError::Missing {
            what: path.to_owned(),
        })
    }

    /// Who signed the model, judged as a device judges it.
    fn signed_by(
        &self,
        record: &NamespaceRecord,
        manifest: &ReleaseManifest,
        permitted: Option<&Permitted>,
        now: Timestamp,
    ) -> Result<String, PublishError> {
        let version = &manifest.version;
        let Some(permitted) = permitted else {
            return Ok(format!(
                "release {version}: the namespace names no permitted signers, so nobody vouches for the files"
            ));
        };
        let mut refused = "no model signature".to_owned();
        let models = |a: &&AttestationRef| MODEL_SIGNATURES.contains(&a.predicate_type.as_str());
        for attestation in manifest.attestations.iter().filter(models) {
            let transport = self.transport.as_ref();
            let Some(bundle) = refresh::blob(record, transport, &attestation.sha256, attestation.size)?
            else {
                refused = format!("no attestation {} on the registry", attestation.sha256);
                continue;
            };
            let root = permitted.sigstore_root.as_deref();
            match judge_signature(&bundle, &permitted.signers, root, manifest, now) {
                Ok(verified) => {
                    return Ok(format!("release {version}: signed by {:?}", verified.signer));
                }
                Err(refusal) => refused = refusal.to_string(),
            }
        }
        let what = format!("model signature of release {version}");
        Err(mismatch(what, "one by a permitted signer", refused))
    }

    /// What statements beside the model signature come to, one line each. They decide nothing here: devices and the registry refuse a
    /// release that lacks a required one.
    fn stated(
        &self,
        record: &NamespaceRecord,
        manifest: &ReleaseManifest,
        permitted: Option<&Permitted>,
        now: Timestamp,
    ) -> Result<Vec<String>, PublishError> {
        let mut lines = Vec::new();
        let others = |a: &&AttestationRef| !MODEL_SIGNATURES.contains(&a.predicate_type.as_str());
        for listed in manifest.attestations.iter().filter(others) {
            let bundle = refresh::blob(record, self.transport.as_ref(), &listed.sha256, listed.size)?;
            let judged = match (&bundle, permitted) {
                (None, _) => Err("it is not on the registry".to_owned()),
                (_, None) => Err("the namespace names no permitted signers".to_owned()),
                (Some(bundle), Some(permitted)) => {
                    let root = permitted.sigstore_root.as_deref();
                    judge_statement(bundle, listed, &permitted.signers, root, manifest, now)
                        .map_err(|refusal| refusal.found)
                }
            };
            let what = match judged {
                Ok((verified, About::Files(files))) => format!(
                    "stated by {:?} about {} of {} files: {}",
                    verified.signer,
                    files.len(),
                    manifest.files.len(),
                    verified.predicate
                ),
                Ok((verified, _)) => format!("stated by {:?}: {}", verified.signer, verified.predicate),
                Err(found) => format!("NOT BY A PERMITTED SIGNER, or not about it: {found}"),
            };
            lines.push(format!(
                "release {}: {}: {what}",
                manifest.version, listed.predicate_type
            ));
        }
        Ok(lines)
    }

    /// Every chunk index is of its file's length and of the bytes that the manifest names.
    fn chunk_indexes(
        &self,
        record: &NamespaceRecord,
        manifest: &ReleaseManifest,
    ) -> Result<(), PublishError> {
        for file in &manifest.files {
            let Some(sha256) = &file.chunks else { continue };
            let length = chunk::encoded_len(file.size);
            let what = format!("chunk index of {}", file.path);
            let bytes = refresh::blob(record, self.transport.as_ref(), sha256, length)?
                .ok_or_else(|| mismatch(&what, format!("{sha256} on the registry"), "none"))?;
            ChunkIndex::decode(&bytes, file.size).map_err(|e| mismatch(&what, "one of its file", e))?;
        }
        Ok(())
    }

    /// Hashes a folder whole, and compares every file with the manifest, both ways.
    fn same_files(&self, folder: &Path, manifest: &ReleaseManifest) -> Result<(), PublishError> {
        let root = Folder::open(folder)?;
        let found = scan::scan_folder(&root, &DEFAULT_IGNORED.map(str::to_owned))?;
        let hashed = hash::hash_files(&root, &found, true, hash::threads(), &|n| {
            (self.progress)(Progress::Hashed(n));
        })?;
        let here: Vec<FileEntry> = hashed.iter().map(entry).collect();
        let by_path = |files: &[FileEntry]| -> BTreeMap<String, FileEntry> {
            files.iter().map(|f| (f.path.to_string(), f.clone())).collect()
        };
        let (here, there) = (by_path(&here), by_path(&manifest.files));
        let shown = |file: Option<&FileEntry>| {
            file.map_or_else(
                || "no such file".to_owned(),
                |f| format!("{} bytes, {}", f.size, f.sha256),
            )
        };
        let differs = |path: &&String| here.get(*path) != there.get(*path);
        match here.keys().chain(there.keys()).find(differs) {
            None => Ok(()),
            Some(path) => Err(mismatch(
                format!("{path} in {}", folder.display()),
                shown(there.get(path)),
                shown(here.get(path)),
            )),
        }
    }
}

/// Devices take a release only in its own block, within the epoch that the role may give, above every other.
fn order(
    role: &ModelRole,
    manifest: &ReleaseManifest,
    max_epoch: u64,
    highest: Option<ReleaseOrder>,
) -> Result<(), PublishError> {
    let (order, version) = (manifest.order, &manifest.version);
    let block = ModelRole::of(&manifest.model, order);
    if block != *role {
        return Err(mismatch(
            format!("block of release {version}"),
            role.name(),
            block.name(),
        ));
    }
    if order.epoch() > max_epoch {
        let expected = format!("at most {max_epoch}, which the authority permits");
        return Err(mismatch(
            format!("epoch of release {version}"),
            expected,
            order.epoch(),
        ));
    }
    match highest {
        Some(highest) if order <= highest => {
            let expected = format!("above {highest}, the highest published");
            Err(mismatch(format!("order of release {version}"), expected, order))
        }
        _ => Ok(()),
    }
}

fn described(record: &NamespaceRecord, manifest: &ReleaseManifest, target: &Target) -> Vec<String> {
    let files = &manifest.files;
    let mut lines = vec![format!(
        "release {}/{}@{}: order {}, {} files, {} bytes, manifest {}",
        record.name,
        manifest.model,
        manifest.version,
        manifest.order,
        files.len(),
        manifest.size(),
        target.sha256
    )];
    if let Some(time) = manifest.not_before {
        lines.push(format!("release {}: not before {time}", manifest.version));
    }
    let shown = |f: &FileEntry| -> (String, u64, Sha256Digest) { (f.path.to_string(), f.size, f.sha256) };
    lines.extend(files.iter().map(shown).map(|(path, size, sha256)| {
        format!(
            "release {}: {path}, {size} bytes, SHA-256 {sha256}",
            manifest.version
        )
    }));
    lines
}
