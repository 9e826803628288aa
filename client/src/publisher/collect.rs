//! Proposals that collect signatures on the registry.
//!
//! The registry is believed nothing: a proposal is the one that its id names or it is refused, who signed is verified here, and the
//! bytes that are published are those that this software computed, with the signatures that it found right.

use std::collections::{BTreeMap, BTreeSet};

use assay_authority::metadata::{Root, Targets};
use assay_authority::proposal as signing;
use assay_schema::Sha256Digest;
use assay_schema::api::{Publication, Published, RoleState};
use assay_schema::problem::ProblemKind;
use assay_schema::proposal::{AddSignatures, ProposalDetail, ProposalStanding};
use assay_schema::status;
use assay_schema::tuf::ModelRole;
use jiff::Timestamp;

use super::authority::NamespaceRecord;
use super::journal::{self, Recorded};
use super::proposal::{Files, Outcome, Proposal, Review, SignedHere, mismatch};
use super::refresh::{self, Current};
use super::registry::Registry;
use super::{PublishError, Publisher};

/// The least digits of an id that name a proposal to be signed or withdrawn. Of fewer a hostile registry finds another proposal that
/// begins alike: of 8 digits it has to try 2^32, on one machine in minutes.
const ENOUGH_DIGITS: usize = 32;
/// The least digits of an id by which a proposal is looked at: what is shown says its whole id.
const LOOK_DIGITS: usize = 8;

/// A proposal on the registry, as it is in truth.
#[derive(Debug, Clone)]
pub struct ProposalView {
    /// Its id.
    pub id: Sha256Digest,
    /// The registry's word: whether it may still be published.
    pub standing: ProposalStanding,
    /// When it was made, by the registry's word.
    pub created: Timestamp,
    /// The roles that it changes.
    pub roles: Vec<String>,
    /// What it changes, as recomputed; or why it cannot be signed.
    pub changes: Result<Vec<String>, String>,
    /// Ids of the keys that signed, verified, by role.
    pub signers: BTreeMap<String, BTreeSet<String>>,
    /// Which signatures are missing.
    pub missing: Vec<String>,
}

impl Publisher {
    fn registry<'a>(&'a self, record: &'a NamespaceRecord) -> Registry<'a> {
        Registry {
            transport: self.transport.as_ref(),
            namespace: &record.name,
        }
    }

    /// The proposals that the registry keeps, each verified as far as that goes without what it would publish.
    ///
    /// # Errors
    /// The registry cannot be asked.
    pub fn proposals(&self, now: Timestamp) -> Result<Vec<ProposalView>, PublishError> {
        let record = self.folder.namespace()?;
        let mut views = Vec::new();
        for info in self.registry(&record).proposals()? {
            let mut view = ProposalView {
                id: info.id,
                standing: info.standing,
                created: info.created,
                roles: info.files.keys().cloned().collect(),
                changes: Ok(Vec::new()),
                signers: BTreeMap::new(),
                missing: Vec::new(),
            };
            if info.standing == ProposalStanding::Open {
                let compared = self
                    .fetch_proposal(&record, &info.id)
                    .and_then(|proposal| Ok(self.compare(&record, proposal, now)?.0));
                match compared {
                    Ok(review) => {
                        view.changes = Ok(review.changes().to_vec());
                        view.signers = review.signers();
                        view.missing = review.missing()?;
                    }
                    Err(e @ PublishError::Transport(_)) => return Err(e),
                    Err(e) => view.changes = Err(e.to_string()),
                }
            }
            views.push(view);
        }
        Ok(views)
    }

    /// A proposal that the registry keeps, by its id or the first 32 digits of it or more. It is the one that the id names; what
    /// it says is for [`Publisher::review`].
    ///
    /// # Errors
    /// [`PublishError::ProposalId`], [`PublishError::NoProposal`], or the registry hands out another.
    pub fn proposal(&self, id: &str) -> Result<Proposal, PublishError> {
        let record = self.folder.namespace()?;
        let id = self.find_proposal(&record, id, ENOUGH_DIGITS)?;
        self.fetch_proposal(&record, &id)
    }

    /// As [`Publisher::proposal`], to look at: the first 8 digits of its id or more do. Which proposal they name is the registry's
    /// word, so nobody signs what was found by so few.
    ///
    /// # Errors
    /// As [`Publisher::proposal`].
    pub fn look_at_proposal(&self, id: &str) -> Result<Proposal, PublishError> {
        let record = self.folder.namespace()?;
        let id = self.find_proposal(&record, id, LOOK_DIGITS)?;
        self.fetch_proposal(&record, &id)
    }

    /// Withdraws a proposal, by its id or the first 32 digits of it or more. Whoever has a copy may propose it again.
    ///
    /// # Errors
    /// [`PublishError::ProposalId`], [`PublishError::NoProposal`], or the registry cannot be asked.
    pub fn withdraw(&self, id: &str) -> Result<Sha256Digest, PublishError> {
        let record = self.folder.namespace()?;
        let id = self.find_proposal(&record, id, ENOUGH_DIGITS)?;
        match self.registry(&record).withdraw(&id) {
            Err(e) if e.problem().is_some_and(|p| p.kind == ProblemKind::NotFound) => {
                Err(PublishError::NoProposal { id: id.to_hex() })
            }
            done => {
                done?;
                Ok(id)
            }
        }
    }

    fn find_proposal(
        &self,
        record: &NamespaceRecord,
        id: &str,
        least: usize,
    ) -> Result<Sha256Digest, PublishError> {
        let digits = id.to_ascii_lowercase();
        if let Ok(whole) = digits.parse() {
            return Ok(whole);
        }
        let bad = |expected: String| PublishError::ProposalId {
            expected,
            found: id.chars().take(80).collect(),
        };
        if !(least..64).contains(&digits.len()) || digits.bytes().any(|b| !b.is_ascii_hexdigit()) {
            return Err(bad(format!(
                "its 64 hexadecimal digits, or the first {least} of them or more"
            )));
        }
        let found = self.registry(record).proposals()?;
        let mut fitting = found.iter().filter(|info| info.id.to_hex().starts_with(&digits));
        match (fitting.next(), fitting.next()) {
            (Some(one), None) => Ok(one.id),
            (None, _) => Err(PublishError::NoProposal { id: digits }),
            (Some(_), Some(_)) => Err(bad("digits of one proposal only".to_owned())),
        }
    }

    fn fetch_proposal(&self, record: &NamespaceRecord, id: &Sha256Digest) -> Result<Proposal, PublishError> {
        let found = self.registry(record).proposal(id)?;
        let detail = found.ok_or_else(|| PublishError::NoProposal { id: id.to_hex() })?;
        same_id(record, id, &detail)?;
        Ok(Proposal::kept(record, detail.publication))
    }

    /// Signs with every key of the folder that the files list, writes that into the journal, and publishes if the thresholds are
    /// met with the signatures that others left on the registry; otherwise leaves its own there.
    ///
    /// # Errors
    /// No key of the folder is listed, another body of a version was signed before, or the registry refuses.
    pub fn collect(&self, review: Review, now: Timestamp) -> Result<Outcome, PublishError> {
        let record = self.folder.namespace()?;
        let (id, files) = (review.id(), review.files);
        let signed = self.sign_here(review.proposal, &files, now)?;
        self.gather(&record, id, &files, signed, now)
    }

    /// Leaves the signatures on the registry unless they suffice, takes those of others, and publishes once the thresholds are met.
    pub(super) fn gather(
        &self,
        record: &NamespaceRecord,
        id: Sha256Digest,
        files: &Files,
        signed: SignedHere,
        now: Timestamp,
    ) -> Result<Outcome, PublishError> {
        let SignedHere {
            mut proposal,
            recorded,
            here,
            at,
        } = signed;
        if files.missing(&proposal.publication)?.is_empty() {
            return Ok(Outcome::Published(self.publish_signed(&recorded, now)?));
        }
        let registry = self.registry(record);
        let detail = match proposal.kept {
            true => {
                let mut added = AddSignatures::default();
                for role in &here {
                    if let Some(file) = recorded.get().roles.get(role) {
                        let signatures = signing::signatures(role, file.metadata.as_bytes())?;
                        added.roles.insert(role.clone(), signatures);
                    }
                }
                registry.add_signatures(&id, &added)
            }
            false => registry.propose(&recorded),
        };
        let detail = match detail {
            // Who signed last was faster.
            Err(e) if e.problem().is_some_and(|p| p.kind == ProblemKind::StaleParent) => {
                return match self.stands(record, recorded.get(), now)? {
                    Some(published) => Ok(Outcome::Published(published)),
                    None => Err(e.into()),
                };
            }
            detail => detail?,
        };
        same_id(record, &id, &detail)?;
        proposal.kept = true;
        for (role, file) in &mut proposal.publication.roles {
            let Some(theirs) = detail.publication.roles.get(role) else {
                continue;
            };
            let mut all = signing::signatures(role, file.metadata.as_bytes())?;
            let theirs = signing::signatures(role, theirs.metadata.as_bytes())?;
            all.extend(files.check(role, &file.metadata, &theirs)?.valid);
            file.metadata = signing::with_signatures(role, file.metadata.as_bytes(), all)?;
        }
        let missing = files.missing(&proposal.publication)?;
        if missing.is_empty() {
            let all = proposal.publication;
            let recorded = journal::record_some(&self.folder, record.identity, all, at, false, &here)?;
            return Ok(Outcome::Published(self.publish_signed(&recorded, now)?));
        }
        let proposal = Box::new(proposal);
        Ok(Outcome::Incomplete {
            proposal,
            id,
            missing,
        })
    }

    /// Publishes; that somebody else published the same bodies a moment before is no failure.
    pub(super) fn publish_signed(
        &self,
        publication: &Recorded<Publication>,
        now: Timestamp,
    ) -> Result<Published, PublishError> {
        let record = self.folder.namespace()?;
        match self.registry(&record).publish(publication) {
            Err(e) if e.problem().is_some_and(|p| p.kind == ProblemKind::StaleParent) => self
                .stands(&record, publication.get(), now)?
                .ok_or_else(|| e.into()),
            done => Ok(done?),
        }
    }

    /// What stands, if it is these very bodies, whoever signed them.
    fn stands(
        &self,
        record: &NamespaceRecord,
        publication: &Publication,
        now: Timestamp,
    ) -> Result<Option<Published>, PublishError> {
        let model = publication.roles.keys().find_map(|role| ModelRole::parse(role));
        let base = self.base(record, model.as_ref().map(|role| &role.model), now)?;
        stands_in(&base, publication)
    }
}

/// What stands, if it is a publication's very bodies, whoever signed them.
pub(super) fn stands_in(
    base: &Current,
    publication: &Publication,
) -> Result<Option<Published>, PublishError> {
    let mut roles = BTreeMap::new();
    for (role, file) in &publication.roles {
        let Some(stands) = file_of(base, role) else {
            return Ok(None);
        };
        let ours = signing::signed_digest(role, file.metadata.as_bytes())?;
        if signing::signed_digest(role, stands)? != ours {
            return Ok(None);
        }
        let version = match role.as_str() {
            "root" => Root::read(stands)?.version()?,
            _ => Targets::read(stands)?.version()?,
        };
        let sha256 = refresh::digest(stands);
        roles.insert(role.clone(), RoleState { version, sha256 });
    }
    // Without a role there is nothing that could stand.
    Ok((!roles.is_empty()).then_some(Published {
        roles,
        releases: Vec::new(),
    }))
}

fn file_of<'a>(base: &'a Current, role: &str) -> Option<&'a [u8]> {
    match (role, ModelRole::parse(role)) {
        ("root", _) => Some(&base.root),
        ("targets", _) => Some(&base.targets),
        (status::ROLE, _) => base.status(),
        (_, Some(role)) => base.role(&role),
        (_, None) => None,
    }
}

/// Whatever the registry says about a proposal: its content is what the id names.
fn same_id(record: &NamespaceRecord, id: &Sha256Digest, detail: &ProposalDetail) -> Result<(), PublishError> {
    let found = signing::id(record.identity, &detail.publication)?;
    match found == *id {
        true => Ok(()),
        false => Err(mismatch("id of what the registry handed out", id, found)),
    }
}
