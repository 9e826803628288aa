//! Publishing a folder as a release.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use assay_authority::metadata::{Delegation, Root, Targets, TopRole};
use assay_authority::proposal::id as proposal_id;
use assay_authority::release::{
    Authority, PublishError as SigningError, PublishRelease, ReleaseDraft, attestation_ref, build_manifest,
    publish_release,
};
use assay_authority::{RoleKeys, SigningKey, oms};
use assay_schema::limits::MAX_ATTESTATIONS;
use assay_schema::manifest::FileEntry;
use assay_schema::tuf::{DelegationTerms, ModelRole};
use assay_schema::{ModelName, ReleaseManifest, ReleaseOrder, Sha256Digest, VersionName};
use assay_verifier::provenance::attestation::{About, UnverifiedStatement, model_digest};
use assay_verifier::provenance::oms::MODEL_SIGNATURES;
use jiff::Timestamp;

use super::authority::{KeyRole, NamespaceRecord};
use super::namespace::refs;
use super::proposal::{Files, Outcome, Proposal, SignedHere};
use super::refresh::{self, Current};
use super::registry::Registry;
use super::upload::{Source, Upload, upload_all};
use super::{Progress, PublishError, Publisher, journal};
use crate::folder::Folder;
use crate::hash::{self, HashedFile};
use crate::scan;

/// How often a publication is signed again on top of another that came first.
const REBASES: u32 = 5;

/// How long a publication of another run of this folder may be on its way.
const OTHER_RUN: Duration = Duration::from_millis(700);

/// What to publish a folder as.
#[derive(Debug, Clone)]
pub struct ReleaseTerms {
    /// The model.
    pub model: ModelName,
    /// The version's label.
    pub version: VersionName,
    /// The counter; the next one if absent.
    pub counter: Option<u64>,
    /// The epoch; that of the highest release if absent.
    pub epoch: Option<u64>,
    /// No device activates it before this time.
    pub not_before: Option<Timestamp>,
    /// Paths in the folder, relative, that are not part of the release.
    pub ignore: Vec<String>,
    /// Statements about the release, signed already, by a name for messages: Sigstore bundles. One that is a model signature stands
    /// beside the one that publishing makes, or in its place where the folder has no key for that.
    pub attestations: Vec<(String, Vec<u8>)>,
}

impl ReleaseTerms {
    /// The next release of a model, without what version control leaves in a folder.
    pub fn new(model: ModelName, version: VersionName) -> Self {
        let ignore = oms::DEFAULT_IGNORED.map(str::to_owned).to_vec();
        Self {
            model,
            version,
            counter: None,
            epoch: None,
            not_before: None,
            ignore,
            attestations: Vec::new(),
        }
    }
}

/// A release that is published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublishedRelease {
    /// SHA-256 of its manifest.
    pub manifest: Sha256Digest,
    /// Its order.
    pub order: ReleaseOrder,
    /// Bytes of all its files.
    pub size: u64,
    /// How many files.
    pub files: usize,
    /// An earlier run had published it with the same content.
    pub already: bool,
    /// It is not published yet: other keys of its role have to sign, too.
    pub proposal: Option<ProposedRelease>,
}

/// A release that waits for signatures on the registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProposedRelease {
    /// The proposal's id.
    pub id: Sha256Digest,
    /// Which signatures are missing.
    pub missing: Vec<String>,
}

/// What does not change however often the release is signed again.
struct Prepared<'a> {
    terms: &'a ReleaseTerms,
    entries: Vec<FileEntry>,
    /// Bundles with their predicate types: the model signature first, then what was given.
    attestations: Vec<(String, &'a [u8])>,
}

/// Keys of the release's role, and of the role that may delegate it.
struct Keys {
    publishers: Vec<SigningKey>,
    /// Absent where the targets key is kept elsewhere: publishing works until the next block of a hundred releases.
    targets: Option<Vec<SigningKey>>,
}

impl Publisher {
    /// Publishes the files of a folder as a release; where other keys have to sign, too, leaves a proposal of it on the registry,
    /// which [`Publisher::collect`] of each of them goes on with. Killed at any moment and run again, it goes on; run again after it is done,
    /// it finds that the release is published.
    ///
    /// # Errors
    /// See [`PublishError`]. Nothing is visible to devices unless the last step, one transaction on the registry, succeeds.
    pub fn publish(
        &self,
        folder: &Path,
        terms: &ReleaseTerms,
        now: Timestamp,
    ) -> Result<PublishedRelease, PublishError> {
        let record = self.folder.namespace()?;
        let registry = Registry {
            transport: self.transport.as_ref(),
            namespace: &record.name,
        };
        let root = Folder::open(folder)?;
        let keys = self.release_keys()?;
        let found = scan::scan_folder(&root, &terms.ignore)?;
        let files = hash::hash_files(&root, &found, true, hash::threads(), &|n| {
            (self.progress)(Progress::Hashed(n))
        })?;
        let entries: Vec<FileEntry> = files.iter().map(entry).collect();

        let mut current = self.base(&record, Some(&terms.model), now)?;
        if let Some(already) = self.already(&record, &current, terms, &entries)? {
            return Ok(already);
        }
        let given = attested(terms, &entries)?;
        let signature = self.sign_model(&record, terms, &files, &given)?;
        let own = signature
            .as_deref()
            .map(|bytes| (oms::PREDICATE_TYPE.to_owned(), bytes));
        let prepared = Prepared {
            terms,
            attestations: own.into_iter().chain(given).collect(),
            entries,
        };
        let mut uploads: Vec<Upload<'_>> = files
            .iter()
            .map(|f| Upload {
                sha256: f.sha256,
                size: f.size,
                source: Source::File(&f.path),
            })
            .collect();
        uploads.extend(prepared.attestations.iter().map(|(_, bytes)| Upload {
            sha256: hash::sha256(bytes),
            size: bytes.len() as u64,
            source: Source::Bytes(bytes),
        }));
        (self.progress)(Progress::Uploading(uploads.iter().map(|u| u.size).sum()));
        upload_all(registry, &root, &uploads, &*self.progress)?;

        let mut lost: Option<PublishError> = None;
        for rebase in 0..=REBASES {
            if let Some(lost) = lost.take() {
                (self.progress)(Progress::Rebasing(rebase));
                let newer = self.base(&record, Some(&terms.model), now)?;
                // An answer that was lost on its way: the publication was ours.
                if let Some(already) = self.already(&record, &newer, terms, &prepared.entries)? {
                    return Ok(already);
                }
                if newer.is(&current) {
                    return Err(lost);
                }
                may_rebase(&current, &newer, &terms.model, order(&current, terms)?)?;
                current = newer;
            }
            match self.attempt(registry, &record, &current, &prepared, &keys, now) {
                Ok(proposed) if proposed.proposal.is_some() => return Ok(proposed),
                Ok(published) => return self.confirm(&record, published, terms, now),
                // Whatever the registry objects to, another publication may be the reason: the metadata tells.
                Err(PublishError::Transport(e))
                    if e.problem().is_some_and(|p| matches!(p.status, 409 | 422)) =>
                {
                    lost = Some(e.into());
                }
                // Another run may be signing with this very folder: what it signed is published in a moment, or never.
                Err(e @ PublishError::SignedBefore { .. }) => {
                    std::thread::sleep(OTHER_RUN);
                    lost = Some(e);
                }
                Err(e) => return Err(e),
            }
        }
        Err(PublishError::Crowded(REBASES))
    }

    fn release_keys(&self) -> Result<Keys, PublishError> {
        let publishers = self.folder.keys(KeyRole::Publisher, &*self.passphrase)?;
        let targets = match self.folder.keys(KeyRole::Targets, &*self.passphrase) {
            Ok(keys) => Some(keys),
            Err(PublishError::NoKey { .. }) => None,
            Err(e) => return Err(e),
        };
        Ok(Keys { publishers, targets })
    }

    /// The release as it is published, if this version is; other content is refused.
    pub(super) fn already(
        &self,
        record: &NamespaceRecord,
        current: &Current,
        terms: &ReleaseTerms,
        entries: &[FileEntry],
    ) -> Result<Option<PublishedRelease>, PublishError> {
        let Some(listed) = current.version(&terms.version)? else {
            return Ok(None);
        };
        let bytes = refresh::manifest(record, self.transport.as_ref(), &listed)?;
        let published = ReleaseManifest::parse(&bytes)?;
        let taken = |difference: String| PublishError::VersionTaken {
            version: terms.version.clone(),
            difference,
        };
        let differing = published.files.iter().zip(entries).find(|(a, b)| a != b);
        if let Some((theirs, ours)) = differing {
            return Err(taken(format!("{} there, {} here", shown(theirs), shown(ours))));
        }
        if published.files.len() != entries.len() {
            return Err(taken(format!(
                "{} files there, {} here",
                published.files.len(),
                entries.len()
            )));
        }
        for (name, bytes) in &terms.attestations {
            let digest = hash::sha256(bytes);
            if !published.attestations.iter().any(|a| a.sha256 == digest) {
                return Err(taken(format!("attestation {name} here, not there")));
            }
        }
        if terms.not_before.is_some() && published.not_before != terms.not_before {
            return Err(taken("another not_before".to_owned()));
        }
        Ok(Some(PublishedRelease {
            manifest: listed.target.sha256,
            order: listed.order,
            size: published.size(),
            files: published.files.len(),
            already: true,
            proposal: None,
        }))
    }

    fn sign_model(
        &self,
        record: &NamespaceRecord,
        terms: &ReleaseTerms,
        files: &[HashedFile],
        given: &[(String, &[u8])],
    ) -> Result<Option<Vec<u8>>, PublishError> {
        let signed = given
            .iter()
            .any(|(kind, _)| MODEL_SIGNATURES.contains(&kind.as_str()));
        let keys = match self.folder.keys(KeyRole::ModelSigning, &*self.passphrase) {
            Err(PublishError::NoKey { .. }) if signed => return Ok(None),
            keys => keys?,
        };
        let key = keys.first().ok_or_else(|| PublishError::NoKey {
            path: self.folder.path().to_owned(),
        })?;
        let name = format!("{}/{}", record.name, terms.model);
        let digests = files.iter().map(|f| (&f.path, f.sha256));
        // Only the model's own files are in a pulled release, so nothing needs to be ignored there.
        Ok(Some(oms::sign_model(key, &name, digests, &[])?))
    }

    /// One candidate and its publication on top of `current`.
    fn attempt(
        &self,
        registry: Registry<'_>,
        record: &NamespaceRecord,
        current: &Current,
        prepared: &Prepared<'_>,
        keys: &Keys,
        now: Timestamp,
    ) -> Result<PublishedRelease, PublishError> {
        let terms = prepared.terms;
        let order = order(current, terms)?;
        let manifest = build_manifest(ReleaseDraft {
            namespace: record.identity,
            model: terms.model.clone(),
            version: terms.version.clone(),
            order,
            not_before: terms.not_before,
            files: prepared.entries.clone(),
            attestations: prepared
                .attestations
                .iter()
                .map(|(kind, bytes)| attestation_ref(kind, bytes))
                .collect(),
        })?;
        let publishers = refs(&keys.publishers);
        let bad_key = |source| PublishError::Key {
            path: self.folder.path().to_owned(),
            source,
        };
        let role = ModelRole::of(&terms.model, order);
        let top = Targets::read(&current.targets).map_err(SigningError::from)?;
        // A new block goes to those who publish the model already, if somebody does.
        let delegation = match latest_delegation(&top, &terms.model)? {
            Some(found) => Delegation {
                terms: DelegationTerms {
                    max_epoch: found.terms.max_epoch.max(order.epoch()),
                },
                ..found
            },
            None => Delegation {
                keys: RoleKeys::of(&publishers, 1).map_err(bad_key)?,
                terms: DelegationTerms {
                    max_epoch: order.epoch(),
                },
            },
        };
        let delegated = top.delegation(&role).map_err(SigningError::from)?;
        // Retired and revoked keys may still lie in the folder.
        let revoked = current.revoked_keys()?;
        let usable = |key: &&SigningKey| key.key_id().is_ok_and(|id| !revoked.contains(&id));
        let mut publishers = delegated
            .as_ref()
            .unwrap_or(&delegation)
            .keys
            .held(&publishers)
            .map_err(bad_key)?;
        publishers.retain(usable);
        let root = Root::read(&current.root).map_err(SigningError::from)?;
        let listed = root.role(TopRole::Targets).map_err(SigningError::from)?;
        let signers = keys.targets.as_deref().map(|keys| listed.held(&refs(keys)));
        let signers = signers
            .transpose()
            .map_err(bad_key)?
            .map(|held| held.into_iter().filter(usable).collect::<Vec<_>>())
            .filter(|held| !held.is_empty());
        let versions = next_versions(current, &role, &top)?;
        let now = self.folder.signing_time(record.identity, &versions, now)?;
        let authority = signers.as_deref().map(|signers| Authority {
            root: &current.root,
            signers,
            delegation: &delegation,
        });
        // Signed before the candidate is made, so that a missing key leaves nothing behind on the registry.
        let publication = publish_release(&PublishRelease {
            targets: &current.targets,
            role: current.role(&role),
            manifest: &manifest,
            publishers: &publishers,
            authority,
            proposal: true,
            now,
        })?;
        let digest = hash::sha256(&manifest);
        let published = |already, proposal| PublishedRelease {
            manifest: digest,
            order,
            size: prepared.entries.iter().map(|f| f.size).sum(),
            files: prepared.entries.len(),
            already,
            proposal,
        };
        let put = || registry.put_release(&terms.model, &terms.version, &manifest);
        let Some(publication) = publication else {
            put()?;
            return Ok(published(true, None));
        };
        let proposal = Proposal::new(record, publication.roles, now);
        let files = Files::of(current, &proposal.publication)?;
        let all = proposal.publication.clone();
        let signed = SignedHere {
            here: all.roles.keys().cloned().collect(),
            recorded: journal::record(&self.folder, record.identity, all, now, self.sign_again)?,
            proposal,
            at: now,
        };
        put()?;
        let id = proposal_id(record.identity, &signed.proposal.publication).map_err(SigningError::from)?;
        match self.gather(record, id, &files, signed, now)? {
            Outcome::Published(_) => Ok(published(false, None)),
            Outcome::Incomplete { id, missing, .. } => {
                Ok(published(false, Some(ProposedRelease { id, missing })))
            }
        }
    }

    /// Looks with a device's eyes whether the release is there now.
    fn confirm(
        &self,
        record: &NamespaceRecord,
        published: PublishedRelease,
        terms: &ReleaseTerms,
        now: Timestamp,
    ) -> Result<PublishedRelease, PublishError> {
        // The registry signs its part at its own time, which may be a moment after `now`.
        let listed = self
            .base(record, Some(&terms.model), now)?
            .version(&terms.version)?;
        match listed {
            Some(listed) if listed.target.sha256 == published.manifest => Ok(published),
            _ => Err(PublishError::NotListed {
                version: terms.version.clone(),
            }),
        }
    }
}

/// The delegation of the model's highest block.
pub(super) fn latest_delegation(
    top: &Targets,
    model: &ModelName,
) -> Result<Option<Delegation>, PublishError> {
    let roles = top.delegated();
    let latest = roles
        .iter()
        .filter(|role| role.model == *model)
        .max_by_key(|role| role.block);
    Ok(latest
        .map(|role| top.delegation(role))
        .transpose()
        .map_err(SigningError::from)?
        .flatten())
}

/// The versions that a publication in this role may sign.
fn next_versions(
    current: &Current,
    role: &ModelRole,
    top: &Targets,
) -> Result<BTreeMap<String, u64>, PublishError> {
    let next = |file: &Targets| Ok::<_, SigningError>(file.version()? + 1);
    let model = match current.role(role) {
        Some(bytes) => next(&Targets::read(bytes).map_err(SigningError::from)?)?,
        None => 1,
    };
    Ok(BTreeMap::from([
        (role.name(), model),
        ("targets".to_owned(), next(top)?),
    ]))
}

/// The given attestations with their predicate types: each must be a statement about these files.
pub(super) fn attested<'a>(
    terms: &'a ReleaseTerms,
    files: &[FileEntry],
) -> Result<Vec<(String, &'a [u8])>, PublishError> {
    let bad = |name: &str, expected: String, found: String| PublishError::Attestation {
        name: name.to_owned(),
        expected,
        found,
    };
    // The model signature that publishing makes counts, too.
    let most = MAX_ATTESTATIONS - 1;
    if let Some((name, _)) = terms.attestations.get(most) {
        let found = terms.attestations.len().to_string();
        return Err(bad(name, format!("at most {most} attestations"), found));
    }
    let read = |(name, bytes): &'a (String, Vec<u8>)| {
        let statement = UnverifiedStatement::read(bytes).map_err(|e| {
            bad(
                name,
                "an in-toto statement in a Sigstore bundle".to_owned(),
                e.to_string(),
            )
        })?;
        // A model signature of the old format has its files for subjects, too.
        if statement.about(files) == About::Nothing {
            let expected = format!(
                "a statement about these files: a subject with SHA-256 {}, or one of the files'",
                model_digest(files)
            );
            let subjects = statement.subjects.len();
            return Err(bad(name, expected, format!("{subjects} subjects, none of them")));
        }
        Ok((statement.predicate_type, bytes.as_slice()))
    };
    terms.attestations.iter().map(read).collect()
}

pub(super) fn entry(file: &HashedFile) -> FileEntry {
    let chunks = file.index.as_ref().map(|index| hash::sha256(&index.encode()));
    FileEntry {
        path: file.path.clone(),
        size: file.size,
        sha256: file.sha256,
        chunks,
    }
}

fn shown(file: &FileEntry) -> String {
    format!("{} ({} bytes, {})", file.path, file.size, file.sha256)
}

/// The order that the release gets on top of `current`.
pub(super) fn order(current: &Current, terms: &ReleaseTerms) -> Result<ReleaseOrder, PublishError> {
    let highest = current.highest()?.map(|h| h.order);
    let counter = terms
        .counter
        .unwrap_or_else(|| highest.map_or(1, |h| h.counter() + 1));
    let epoch = terms.epoch.unwrap_or_else(|| highest.map_or(1, |h| h.epoch()));
    let order = ReleaseOrder::new(epoch, counter).map_err(|e| PublishError::Folder {
        path: "release order".into(),
        reason: e.to_string(),
    })?;
    match highest {
        Some(highest) if order <= highest => Err(PublishError::OrderTooLow { order, highest }),
        _ => Ok(order),
    }
}

/// Whether nothing but releases (and delegations of other blocks) changed between two states of the metadata.
fn may_rebase(
    before: &Current,
    after: &Current,
    model: &ModelName,
    order: ReleaseOrder,
) -> Result<(), PublishError> {
    if refresh::digest(&before.root) != refresh::digest(&after.root) {
        return Err(PublishError::Conflict {
            what: "the root keys or thresholds",
        });
    }
    if before.targets == after.targets {
        return Ok(());
    }
    let read = |bytes: &[u8]| Targets::read(bytes).map_err(SigningError::from);
    let (old, new) = (read(&before.targets)?, read(&after.targets)?);
    let role = ModelRole::of(model, order);
    let delegated = (
        old.delegation(&role).map_err(SigningError::from)?,
        new.delegation(&role).map_err(SigningError::from)?,
    );
    if delegated.0.is_some() && delegated.0 != delegated.1 {
        return Err(PublishError::Conflict {
            what: "who may publish this model",
        });
    }
    let targets = |t: &Targets| t.targets().map_err(SigningError::from);
    if targets(&old)? != targets(&new)? {
        return Err(PublishError::Conflict {
            what: "the permitted signers or other trust settings",
        });
    }
    Ok(())
}
