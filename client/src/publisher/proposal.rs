//! Changes to a namespace's keys: proposed by one key holder, reviewed and signed by as many as the thresholds ask for.
//!
//! A proposal is worth nothing by itself. Whoever signs has verified the registry's present metadata with the device's own
//! workflow, recomputed from it what the proposal changes, and shown that to a person.

use std::collections::{BTreeMap, BTreeSet};

use assay_authority::metadata::{Delegation, RoleKeys, Root, Signed, Targets, TopRole, add_signature};
use assay_schema::api::{Publication, Published, SignedRole};
use assay_schema::status;
use assay_schema::tuf::ModelRole;
use assay_schema::{ModelName, NamespaceName, Sha256Digest};
use assay_trust::TrustError;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::authority::{KeyRole, NamespaceRecord};
use super::difference;
use super::endorse;
use super::namespace::refs;
use super::refresh::{self, Current, refresh};
use super::registry::Registry;
use super::{PublishError, Publisher, journal};

/// The version of a proposal file.
const VERSION: u32 = 1;

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
    at: Option<Timestamp>,
}

impl Proposal {
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
        }
    }
}

/// A proposal that was compared with what stands.
#[derive(Debug)]
pub struct Review {
    proposal: Proposal,
    changes: Vec<String>,
    files: Vec<Due>,
}

impl Review {
    /// What it changes, line by line, as recomputed from the present metadata.
    pub fn changes(&self) -> &[String] {
        &self.changes
    }
}

/// Who signs a file.
#[derive(Debug)]
struct Due {
    role: String,
    holders: KeyRole,
    /// Each with what it is called: a root needs the threshold of the root before it and its own (TUF 5.3.4).
    thresholds: Vec<(String, RoleKeys)>,
}

/// What came of signing.
#[derive(Debug)]
pub enum Outcome {
    /// The thresholds are met, and the registry published it.
    Published(Published),
    /// Others have to sign, too.
    Incomplete {
        /// With this folder's signatures, if they were asked for.
        proposal: Box<Proposal>,
        /// Which signatures are missing.
        missing: Vec<String>,
    },
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

    /// Compares a proposal with what stands, and says what it changes.
    ///
    /// # Errors
    /// It is another namespace's, builds on something else than what stands, or changes what nobody may change; or the present
    /// metadata does not verify.
    pub fn review(&self, proposal: Proposal, now: Timestamp) -> Result<Review, PublishError> {
        let record = self.folder.namespace()?;
        if proposal.v != VERSION {
            return Err(mismatch("version of the file", VERSION, proposal.v));
        }
        if proposal.identity != record.identity {
            return Err(mismatch("namespace", record.identity, proposal.identity));
        }
        let roles = &proposal.publication.roles;
        let mut model_roles = Vec::new();
        for name in roles.keys() {
            match (name.as_str(), ModelRole::parse(name)) {
                ("root" | "targets" | status::ROLE, _) => {}
                (_, Some(role)) => model_roles.push(role),
                _ => return Err(mismatch("role", "root, targets, status or a model's role", name)),
            }
        }
        let model = model_roles.first().map(|role| role.model.clone());
        if let Some(other) = model_roles
            .iter()
            .find(|role| Some(&role.model) != model.as_ref())
        {
            return Err(mismatch("models", "one", other.name()));
        }
        let base = self.base(&record, model.as_ref(), now)?;
        let (mut changes, mut files) = (Vec::new(), Vec::new());

        let old_root = Root::read(&base.root)?;
        let new_root = match roles.get("root") {
            Some(file) => {
                same_parent("root", file, Some(&base.root))?;
                let new = Root::read(file.metadata.as_bytes())?;
                new.check()?;
                next_version("root", old_root.version()?, new.version()?)?;
                changes.extend(difference::root(&old_root, &new)?);
                files.push(Due {
                    role: "root".to_owned(),
                    holders: KeyRole::Root,
                    thresholds: vec![
                        (
                            format!("root keys of version {}", old_root.version()?),
                            old_root.role(TopRole::Root)?,
                        ),
                        (
                            format!("root keys of version {}", new.version()?),
                            new.role(TopRole::Root)?,
                        ),
                    ],
                });
                new
            }
            None => old_root,
        };
        let old_targets = Targets::read(&base.targets)?;
        let new_targets = match roles.get("targets") {
            Some(file) => {
                same_parent("targets", file, Some(&base.targets))?;
                let new = bound(&record, "targets", file)?;
                next_version("targets", old_targets.version()?, new.version()?)?;
                changes.extend(difference::targets(&old_targets, &new)?);
                files.push(Due {
                    role: "targets".to_owned(),
                    holders: KeyRole::Targets,
                    thresholds: vec![("targets keys".to_owned(), new_root.role(TopRole::Targets)?)],
                });
                new
            }
            None => old_targets,
        };
        if let Some(file) = roles.get(status::ROLE) {
            let before = base.status();
            same_parent(status::ROLE, file, before)?;
            let new = bound(&record, status::ROLE, file)?;
            let old = before.map(Targets::read).transpose()?;
            let version = old.as_ref().map_or(Ok(0), Targets::version)?;
            next_version(status::ROLE, version, new.version()?)?;
            changes.extend(difference::status(old.as_ref(), &new)?);
            let keys = new_targets.status_keys()?;
            let keys =
                keys.ok_or_else(|| mismatch(status::ROLE, "a delegation in the targets metadata", "none"))?;
            files.push(Due {
                role: status::ROLE.to_owned(),
                holders: KeyRole::Status,
                thresholds: vec![("status keys".to_owned(), keys)],
            });
        }
        let mut of_models = BTreeMap::new();
        for role in model_roles {
            let name = role.name();
            let Some(file) = roles.get(&name) else { continue };
            let before = base.role(&role);
            same_parent(&name, file, before)?;
            let new = bound(&record, &name, file)?;
            let old = before.map(Targets::read).transpose()?;
            let version = old.as_ref().map_or(Ok(0), Targets::version)?;
            next_version(&name, version, new.version()?)?;
            changes.extend(difference::model(&name, old.as_ref(), &new)?);
            let delegation: Delegation = new_targets
                .delegation(&role)?
                .ok_or_else(|| mismatch(&name, "a delegation in the targets metadata", "none"))?;
            files.push(Due {
                thresholds: vec![(format!("keys of {name}"), delegation.keys)],
                role: name,
                holders: KeyRole::Publisher,
            });
            of_models.insert(role, new);
        }
        changes.extend(endorse::review(
            &record,
            &proposal.publication.manifests,
            &of_models,
        )?);
        Ok(Review {
            proposal,
            changes,
            files,
        })
    }

    /// Signs with every key of the folder that the files list, writes that into the journal, and publishes if the thresholds are
    /// met. Signatures of others are counted here and judged by the registry, and by every device. Where others have to sign, too,
    /// nothing is signed unless `partly`: the proposal will be kept.
    ///
    /// # Errors
    /// No key of the folder is listed, another body of a version was signed before, or the registry refuses.
    pub fn sign(&self, review: Review, partly: bool, now: Timestamp) -> Result<Outcome, PublishError> {
        let record = self.folder.namespace()?;
        let before = review.proposal.clone();
        let mut proposal = review.proposal;
        let (mut here, mut missing) = (BTreeSet::new(), Vec::new());
        for due in &review.files {
            let Some(file) = proposal.publication.roles.get_mut(&due.role) else {
                continue;
            };
            let keys = self.folder.keys_at_hand(due.holders, &*self.passphrase)?;
            let listed = RoleKeys {
                keys: due.thresholds.iter().flat_map(|(_, k)| k.keys.clone()).collect(),
                threshold: 1,
            };
            let held = listed.held(&refs(&keys)).map_err(|source| PublishError::Key {
                path: self.folder.path().to_owned(),
                source,
            })?;
            for key in held {
                let signed: Signed = add_signature(file.metadata.as_bytes(), key, &due.role, Some(&listed))?;
                file.metadata = signed.text()?;
                here.insert(due.role.clone());
            }
            let signers = signers(&file.metadata);
            for (what, keys) in &due.thresholds {
                let ids = keys.ids().map_err(|source| PublishError::Key {
                    path: self.folder.path().to_owned(),
                    source,
                })?;
                let found = ids.iter().filter(|id| signers.contains(*id)).count() as u64;
                if found < keys.threshold {
                    missing.push(format!(
                        "{}: {found} of {} {what} signed",
                        due.role, keys.threshold
                    ));
                }
            }
        }
        if here.is_empty() && !missing.is_empty() {
            return Err(PublishError::NoKey {
                path: self.folder.path().join(format!(
                    "a key that {} lists",
                    review.files.first().map_or("the proposal", |f| f.role.as_str())
                )),
            });
        }
        if !missing.is_empty() && !partly {
            let proposal = Box::new(before);
            return Ok(Outcome::Incomplete { proposal, missing });
        }
        let at = proposal.at.unwrap_or(now);
        let recorded = journal::record_some(
            &self.folder,
            record.identity,
            proposal.publication.clone(),
            at,
            self.sign_again,
            &here,
        )?;
        if !missing.is_empty() {
            let proposal = Box::new(proposal);
            return Ok(Outcome::Incomplete { proposal, missing });
        }
        let registry = Registry {
            transport: self.transport.as_ref(),
            namespace: &record.name,
        };
        Ok(Outcome::Published(registry.publish(&recorded)?))
    }
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
