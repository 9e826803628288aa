//! What a proposal looks like from outside: its standing, who signed, what is missing.

use std::collections::BTreeMap;

use assay_authority::proposal::{self, Threshold};
use assay_schema::api::Publication;
use assay_schema::proposal::{
    ProposalDetail, ProposalInfo, ProposalStanding, ProposalThreshold, ProposedFile, RoleSignature,
};

use super::{BadProposal, judge};
use crate::persistence::{DatabaseError, ProposalRecord, ProposalSignature};
use crate::publish::commit::stale;
use crate::publish::decide::{self, Sent, Standing};
use crate::publish::error::PublishError;
use crate::publish::proposed::Present;
use crate::state::AppState;

pub(super) async fn detail(
    state: &AppState,
    present: &Present,
    record: ProposalRecord,
    rows: Vec<ProposalSignature>,
) -> Result<ProposalDetail, PublishError> {
    let read = serde_json::from_slice::<Publication>(&record.publication);
    let mut publication = read.map_err(|e| DatabaseError::Corrupt {
        what: "proposals.publication",
        expected: "a publication",
        found: e.to_string(),
    })?;
    let sent = decide::read(publication.clone())?;
    let (mut standing, mut thresholds) = (standing(state, present, &sent).await?, BTreeMap::new());
    if standing == ProposalStanding::Open {
        match proposal::thresholds(judge::base(present), &publication) {
            Ok(found) => thresholds = found,
            // Its own files stand, and what would delegate to them is gone.
            Err(_) => standing = ProposalStanding::Superseded,
        }
    }
    let mut files = BTreeMap::new();
    for file in sent.files() {
        let of_role = rows.iter().filter(|row| row.role == file.name);
        let signatures: Vec<RoleSignature> = of_role.map(|row| row.signature.clone()).collect();
        let bytes = proposal::with_signatures(file.name, file.bytes.as_bytes(), signatures.clone());
        if let Some(role) = publication.roles.get_mut(file.name) {
            role.metadata = bytes.map_err(BadProposal::from)?;
        }
        let of_file = thresholds.get(file.name).map_or(&[][..], Vec::as_slice);
        let shown = ProposedFile {
            version: file.version,
            parent: file.parent,
            thresholds: of_file
                .iter()
                .map(|threshold| shown(threshold, &signatures))
                .collect::<Result<_, _>>()?,
            signatures,
        };
        files.insert(file.name.to_owned(), shown);
    }
    let proposal = ProposalInfo {
        id: record.id,
        standing,
        files,
        created: record.created,
        updated: record.updated,
    };
    Ok(ProposalDetail {
        proposal,
        publication,
    })
}

fn shown(threshold: &Threshold, signatures: &[RoleSignature]) -> Result<ProposalThreshold, BadProposal> {
    let signers = signatures.iter().map(|s| s.keyid.clone()).collect();
    Ok(ProposalThreshold {
        of: threshold.of.clone(),
        threshold: threshold.keys.threshold,
        signed: threshold.met_by(&signers)?,
        keys: threshold
            .keys
            .ids()
            .map_err(|e| BadProposal::Metadata(e.into()))?,
    })
}

async fn standing(
    state: &AppState,
    present: &Present,
    sent: &Sent,
) -> Result<ProposalStanding, PublishError> {
    if matches!(decide::compare(sent, &present.states), Ok(Standing::Next)) {
        return Ok(ProposalStanding::Open);
    }
    for file in sent.files() {
        let stands = state
            .db
            .metadata(&present.record.name, file.name, file.version)
            .await?;
        // With whichever signatures it was published.
        let same = stands.is_some_and(|stands| {
            let (theirs, ours) = (
                proposal::signed_digest(file.name, &stands.bytes),
                proposal::signed_digest(file.name, file.bytes.as_bytes()),
            );
            matches!((theirs, ours), (Ok(theirs), Ok(ours)) if theirs == ours)
        });
        if !same {
            return Ok(ProposalStanding::Superseded);
        }
    }
    Ok(ProposalStanding::Published)
}

/// Another publication came first: with the files that stand.
pub(super) fn superseded(present: &Present, publication: Publication) -> PublishError {
    match decide::read(publication) {
        Ok(sent) => stale(present, &sent),
        Err(error) => error.into(),
    }
}
