//! Changes to a namespace's keys: proposed by one key holder, reviewed and signed by as many as the thresholds ask for.
//!
//! A proposal is worth nothing by itself. Whoever signs has verified the registry's present metadata with the device's own
//! workflow, recomputed from it what the proposal changes, and shown that to a person.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use assay_authority::metadata::{RoleKeys, Root, Signed, Targets, add_signature};
use assay_authority::proposal::{self as signing, Base, Checked, Threshold};
use assay_authority::public::key_id;
use assay_schema::api::{Publication, Published, SignedRole};
use assay_schema::proposal::RoleSignature;
use assay_schema::status;
use assay_schema::tuf::{ModelRole, TufKey};
use assay_schema::{ModelName, NamespaceName, Sha256Digest};
use assay_trust::TrustError;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::authority::{KeyRole, NamespaceRecord};
use super::difference;
use super::endorse;
use super::journal::Recorded;
use super::namespace::refs;
use super::refresh::{self, Current, refresh};
use super::{PublishError, Publisher, folder_error, journal};
use crate::folder::Folder;

/// The version of a proposal file.
const VERSION: u32 = 1;

/// A proposal's file holds no secret.
const FILE: u32 = 0o644;

/// Metadata that some of its signers have not signed yet.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Proposal {
    /// The file's version: 1.
    pub v: u32,
    /// The namespace's name.
    pub namespace: NamespaceName,
    /// Its identity.
    pub identity: Sha256Digest,
    /// The files, with the signatures that there are.
    pub publication: Publication,
    /// The time from which expiry counts, for whoever made it.
    #[serde(skip)]
    pub(super) at: Option<Timestamp>,
    /// The registry keeps it already.
    #[serde(skip)]
    pub(super) kept: bool,
}

impl Proposal {
    /// Writes it as JSON to a file, for those who sign next: a crash at any moment leaves the file that was there, with the
    /// signatures in it, or this one.
    ///
    /// # Errors
    /// The path has no file name in UTF-8, or cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), PublishError> {
        let fail = |reason: String| folder_error(path.to_owned(), reason);
        let name = path.file_name().and_then(|name| name.to_str());
        let name = name.ok_or_else(|| fail("expected the name of a file, in UTF-8".to_owned()))?;
        let text = serde_json::to_string_pretty(self).map_err(|e| fail(e.to_string()))?;
        let folder = path.parent().filter(|parent| *parent != Path::new(""));
        let folder = Folder::open(folder.unwrap_or(Path::new(".")))?;
        Ok(folder.replace(name, format!("{text}\n").as_bytes(), FILE)?)
    }

    pub(super) fn new(record: &NamespaceRecord, roles: BTreeMap<String, SignedRole>, at: Timestamp) -> Self {
        Self {
            v: VERSION,
            namespace: record.name.clone(),
            identity: record.identity,
            publication: Publication {
                roles,
                manifests: Vec::new(),
            },
            at: Some(at),
            kept: false,
        }
    }

    /// One that the registry handed out; nothing of it is believed yet.
    pub(super) fn kept(record: &NamespaceRecord, publication: Publication) -> Self {
        Self {
            v: VERSION,
            namespace: record.name.clone(),
            identity: record.identity,
            publication,
            at: None,
            kept: true,
        }
    }
}

/// A proposal that was compared with what stands. Signatures that are not right were left out.
#[derive(Debug)]
pub struct Review {
    pub(super) proposal: Proposal,
    pub(super) id: Sha256Digest,
    changes: Vec<String>,
    pub(super) files: Files,
}

impl Review {
    /// The proposal's id: the digest of its content without signatures.
    pub const fn id(&self) -> Sha256Digest {
        self.id
    }

    /// What it changes, line by line, as recomputed from the present metadata.
    pub fn changes(&self) -> &[String] {
        &self.changes
    }

    /// Which signatures are missing, in words; none if it can be published.
    ///
    /// # Errors
    /// A listed key cannot be read.
    pub fn missing(&self) -> Result<Vec<String>, PublishError> {
        self.files.missing(&self.proposal.publication)
    }

    /// Ids of the keys that signed, verified, by role.
    pub fn signers(&self) -> BTreeMap<String, BTreeSet<String>> {
        let files = self.proposal.publication.roles.iter();
        files
            .map(|(role, file)| (role.clone(), signers(&file.metadata)))
            .collect()
    }
}

/// Who signs each file: a root needs the threshold of the root before it and its own (TUF 5.3.4).
#[derive(Debug)]
pub(super) struct Files(BTreeMap<String, Vec<Threshold>>);

impl Files {
    /// The thresholds of a publication on top of what stands. Keys that its status revokes, or else the one that stands, do not count.
    pub(super) fn of(base: &Current, publication: &Publication) -> Result<Self, PublishError> {
        let files = Base {
            root: &base.root,
            targets: &base.targets,
        };
        let mut all = signing::thresholds(files, publication)?;
        let revoked = match publication.roles.get(status::ROLE) {
            Some(file) => Targets::read(file.metadata.as_bytes())?.status()?.revoked_keys,
            None => base.revoked_keys()?,
        };
        // Devices refuse a file with a revoked key's signature, though others signed it. Roots they judge without such signatures.
        for (_, thresholds) in all.iter_mut().filter(|(role, _)| *role != "root") {
            for threshold in thresholds {
                let usable = |key: &TufKey| key_id(key).is_ok_and(|id| !revoked.contains(&id));
                threshold.keys.keys.retain(usable);
            }
        }
        Ok(Self(all))
    }

    fn of_role(&self, role: &str) -> &[Threshold] {
        self.0.get(role).map_or(&[], Vec::as_slice)
    }

    /// Those of these signatures that one of the role's keys made over this very file.
    pub(super) fn check(
        &self,
        role: &str,
        metadata: &str,
        signatures: &[RoleSignature],
    ) -> Result<Checked, PublishError> {
        Ok(signing::check(
            role,
            metadata.as_bytes(),
            signatures,
            self.of_role(role),
        )?)
    }

    /// Which signatures are missing. Those in the files are counted by their ids: they were checked, or made here.
    pub(super) fn missing(&self, publication: &Publication) -> Result<Vec<String>, PublishError> {
        let mut missing = Vec::new();
        for (role, thresholds) in &self.0 {
            let signers = publication.roles.get(role).map(|file| signers(&file.metadata));
            let signers = signers.unwrap_or_default();
            for threshold in thresholds {
                let (found, needed) = (threshold.met_by(&signers)?, threshold.keys.threshold);
                if found < needed {
                    missing.push(format!("{role}: {found} of {needed} {} signed", threshold.of));
                }
            }
        }
        Ok(missing)
    }
}

/// What came of signing.
#[derive(Debug)]
pub enum Outcome {
    /// The thresholds are met, and the registry published it.
    Published(Published),
    /// Others have to sign, too.
    Incomplete {
        /// With this folder's signatures.
        proposal: Box<Proposal>,
        /// Its id.
        id: Sha256Digest,
        /// Which signatures are missing.
        missing: Vec<String>,
    },
}

/// A proposal with this folder's signatures, which stand in the journal.
pub(super) struct SignedHere {
    pub(super) proposal: Proposal,
    pub(super) recorded: Recorded<Publication>,
    /// The roles that keys of this folder signed.
    pub(super) here: BTreeSet<String>,
    pub(super) at: Timestamp,
}

pub(super) fn mismatch(
    what: impl Into<String>,
    expected: impl ToString,
    found: impl ToString,
) -> PublishError {
    PublishError::Proposal {
        what: what.into(),
        expected: expected.to_string(),
        found: found.to_string(),
    }
}

impl Publisher {
    /// The metadata that a change builds on, verified. Expiry of a file that the authority itself signs does not stand in the way
    /// of its replacement: everything is then judged at that file's last valid moment. The floors hold all the same, and the
    /// registry judges the outcome at its own time.
    pub(super) fn base(
        &self,
        record: &NamespaceRecord,
        model: Option<&ModelName>,
        now: Timestamp,
    ) -> Result<Current, PublishError> {
        let mut at = now;
        loop {
            let transport = self.transport.as_ref();
            match refresh(&self.folder, record, transport, model, at) {
                Err(PublishError::Untrusted(TrustError::Expired { role, expires, .. }))
                    if (self.offline || (role != "snapshot" && role != "timestamp")) && expires <= at =>
                {
                    at = expires - SignedDuration::from_secs(1);
                }
                done => return done,
            }
        }
    }

    /// Compares a proposal with what stands, looks at the releases that it would publish, and says what it changes. Where the files
    /// of the release lie on this machine, too, `folder` names them: every one is hashed and compared with the manifest.
    ///
    /// # Errors
    /// It is another namespace's, builds on something else than what stands, or changes what nobody may change; a release in it is
    /// not what devices take; or the present metadata does not verify.
    pub fn review(
        &self,
        proposal: Proposal,
        folder: Option<&Path>,
        now: Timestamp,
    ) -> Result<Review, PublishError> {
        let record = self.folder.namespace()?;
        let (mut review, base) = self.compare(&record, proposal, now)?;
        let publication = &review.proposal.publication;
        let lines = self.examine(&record, &base, publication, folder, now)?;
        let effects = self.effects(&record, &base, publication)?;
        let said = effects.notes.into_iter().chain(effects.doubts);
        review.changes.extend(lines);
        review.changes.extend(said.map(|line| format!("status: {line}")));
        Ok(review)
    }

    /// Compares a proposal with what stands, without fetching what it would publish.
    pub(super) fn compare(
        &self,
        record: &NamespaceRecord,
        mut proposal: Proposal,
        now: Timestamp,
    ) -> Result<(Review, Current), PublishError> {
        if proposal.v != VERSION {
            return Err(mismatch("version of the file", VERSION, proposal.v));
        }
        if proposal.identity != record.identity {
            return Err(mismatch("namespace", record.identity, proposal.identity));
        }
        let model_roles = model_roles(&proposal.publication)?;
        let base = self.base(record, model_roles.first().map(|role| &role.model), now)?;
        let mut changes = differences(record, &base, &proposal.publication, &model_roles)?;
        let files = Files::of(&base, &proposal.publication)?;
        for (role, file) in &mut proposal.publication.roles {
            let found = signing::signatures(role, file.metadata.as_bytes())?;
            let checked = files.check(role, &file.metadata, &found)?;
            for id in &checked.invalid {
                changes.push(format!(
                    "{role}: the signature under key id {id} is no listed key's over this file; it was left out"
                ));
            }
            // From here on the bytes are those that this software writes.
            file.metadata = signing::with_signatures(role, file.metadata.as_bytes(), checked.valid)?;
        }
        let id = signing::id(record.identity, &proposal.publication)?;
        let review = Review {
            proposal,
            id,
            changes,
            files,
        };
        Ok((review, base))
    }

    /// Signs with every key of the folder that the files list, writes that into the journal, and publishes if the thresholds are
    /// met. Otherwise the proposal comes back, to be handed to those who have to sign, too.
    ///
    /// # Errors
    /// No key of the folder is listed, another body of a version was signed before, or the registry refuses.
    pub fn sign(&self, review: Review, now: Timestamp) -> Result<Outcome, PublishError> {
        let (id, files) = (review.id, review.files);
        let signed = self.sign_here(review.proposal, &files, now)?;
        let missing = files.missing(&signed.proposal.publication)?;
        if missing.is_empty() {
            let published = self.publish_signed(&signed.recorded, now)?;
            return Ok(Outcome::Published(published));
        }
        let proposal = Box::new(signed.proposal);
        Ok(Outcome::Incomplete {
            proposal,
            id,
            missing,
        })
    }

    /// Adds the signatures of this folder's keys, and writes them into the journal.
    pub(super) fn sign_here(
        &self,
        mut proposal: Proposal,
        files: &Files,
        now: Timestamp,
    ) -> Result<SignedHere, PublishError> {
        let bad_key = |source| PublishError::Key {
            path: self.folder.path().to_owned(),
            source,
        };
        let mut here = BTreeSet::new();
        for (role, thresholds) in &files.0 {
            let Some(file) = proposal.publication.roles.get_mut(role) else {
                continue;
            };
            let keys = self.folder.keys_at_hand(holders(role), &*self.passphrase)?;
            let listed = RoleKeys {
                keys: thresholds.iter().flat_map(|t| t.keys.keys.clone()).collect(),
                threshold: 1,
            };
            for key in listed.held(&refs(&keys)).map_err(bad_key)? {
                let signed: Signed = add_signature(file.metadata.as_bytes(), key, role, Some(&listed))?;
                file.metadata = signed.text()?;
                here.insert(role.clone());
            }
        }
        if here.is_empty() && !files.missing(&proposal.publication)?.is_empty() {
            let role = files.0.keys().next().map_or("the proposal", String::as_str);
            return Err(PublishError::NoKey {
                path: self.folder.path().join(format!("a key that {role} lists")),
            });
        }
        let at = proposal.at.unwrap_or(now);
        let recorded = journal::record_some(
            &self.folder,
            proposal.identity,
            proposal.publication.clone(),
            at,
            self.sign_again,
            &here,
        )?;
        Ok(SignedHere {
            proposal,
            recorded,
            here,
            at,
        })
    }
}

fn holders(role: &str) -> KeyRole {
    match role {
        "root" => KeyRole::Root,
        "targets" => KeyRole::Targets,
        status::ROLE => KeyRole::Status,
        _ => KeyRole::Publisher,
    }
}

/// The model roles among a publication's files, all of one model.
fn model_roles(publication: &Publication) -> Result<Vec<ModelRole>, PublishError> {
    let mut found: Vec<ModelRole> = Vec::new();
    for name in publication.roles.keys() {
        match (name.as_str(), ModelRole::parse(name)) {
            ("root" | "targets" | status::ROLE, _) => {}
            (_, Some(role)) if found.first().is_some_and(|first| first.model != role.model) => {
                return Err(mismatch("models", "one", name));
            }
            (_, Some(role)) => found.push(role),
            _ => return Err(mismatch("role", "root, targets, status or a model's role", name)),
        }
    }
    Ok(found)
}

/// What every file changes, file by file, whose parents must be what stands.
fn differences(
    record: &NamespaceRecord,
    base: &Current,
    publication: &Publication,
    model_roles: &[ModelRole],
) -> Result<Vec<String>, PublishError> {
    let roles = &publication.roles;
    let mut changes = Vec::new();
    if let Some(file) = roles.get("root") {
        same_parent("root", file, Some(&base.root))?;
        let (old, new) = (Root::read(&base.root)?, Root::read(file.metadata.as_bytes())?);
        new.check()?;
        next_version("root", old.version()?, new.version()?)?;
        changes.extend(difference::root(&old, &new)?);
    }
    if let Some(file) = roles.get("targets") {
        same_parent("targets", file, Some(&base.targets))?;
        let (old, new) = (Targets::read(&base.targets)?, bound(record, "targets", file)?);
        next_version("targets", old.version()?, new.version()?)?;
        changes.extend(difference::targets(&old, &new)?);
    }
    if let Some(file) = roles.get(status::ROLE) {
        let (old, new) = successor(record, status::ROLE, file, base.status())?;
        changes.extend(difference::status(old.as_ref(), &new)?);
    }
    let mut of_models = BTreeMap::new();
    for role in model_roles {
        let name = role.name();
        let Some(file) = roles.get(&name) else { continue };
        let (old, new) = successor(record, &name, file, base.role(role))?;
        changes.extend(difference::model(&name, old.as_ref(), &new)?);
        of_models.insert(role.clone(), new);
    }
    changes.extend(endorse::review(record, &publication.manifests, &of_models)?);
    Ok(changes)
}

/// A delegated role's file and the one before it, which must be the one that stands.
pub(super) fn successor(
    record: &NamespaceRecord,
    role: &str,
    file: &SignedRole,
    before: Option<&[u8]>,
) -> Result<(Option<Targets>, Targets), PublishError> {
    same_parent(role, file, before)?;
    let new = bound(record, role, file)?;
    let old = before.map(Targets::read).transpose()?;
    let version = old.as_ref().map_or(Ok(0), Targets::version)?;
    next_version(role, version, new.version()?)?;
    Ok((old, new))
}

/// The key ids that signed a file.
pub(super) fn signers(metadata: &str) -> BTreeSet<String> {
    let file: Value = serde_json::from_str(metadata).unwrap_or_default();
    let signatures = file.get("signatures").and_then(Value::as_array);
    let ids = signatures
        .into_iter()
        .flatten()
        .filter_map(|s| s.get("keyid")?.as_str());
    ids.map(str::to_owned).collect()
}

fn same_parent(role: &str, file: &SignedRole, stands: Option<&[u8]>) -> Result<(), PublishError> {
    let stands = stands.map(refresh::digest);
    let shown = |digest: Option<Sha256Digest>| digest.map_or_else(|| "none".to_owned(), |d| d.to_hex());
    if file.parent == stands {
        return Ok(());
    }
    Err(mismatch(
        format!("the {role} file that it replaces"),
        shown(stands),
        shown(file.parent),
    ))
}

fn next_version(role: &str, stands: u64, found: u64) -> Result<(), PublishError> {
    match found == stands + 1 {
        true => Ok(()),
        false => Err(mismatch(format!("version of {role}"), stands + 1, found)),
    }
}

fn bound(record: &NamespaceRecord, role: &str, file: &SignedRole) -> Result<Targets, PublishError> {
    let new = Targets::read(file.metadata.as_bytes())?;
    let binding = new.binding()?;
    if binding.namespace != record.identity || binding.role != role {
        return Err(mismatch(
            format!("x-assay of {role}"),
            format!("namespace {}, role {role}", record.identity),
            format!("namespace {}, role {}", binding.namespace, binding.role),
        ));
    }
    Ok(new)
}
