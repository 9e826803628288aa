//! Proposals: publications that wait here for the signatures that they still need.
//!
//! The registry shows who signed and never signs. A proposal is kept only with a signature by a key that stands now, so that a
//! token alone cannot fill the place with junk; every signature is verified before it is stored. Publishing stays what it was:
//! whoever adds the last signature sends the whole publication (P3), and whoever comes later may do it just as well.
//!
//! The durable steps are C1 to C3 of [`crate::steps`].

pub mod handlers;
mod judge;
mod show;

use assay_authority::metadata::MetadataError;
use assay_schema::api::{Page, Publication};
use assay_schema::limits::{MAX_PROPOSALS, MAX_SIGNATURES};
use assay_schema::proposal::{AddSignatures, ProposalDetail, ProposalInfo, ProposalStanding};
use assay_schema::{NamespaceName, Sha256Digest};
use jiff::{SignedDuration, Timestamp};

use super::commit::find;
use super::error::PublishError;
use super::proposed::Present;
use crate::persistence::{AddedProposal, ProposalRecord};
use crate::state::AppState;
use crate::steps::Step;

/// Proposals that are void are shown for so long after their last signature.
const VOID: SignedDuration = SignedDuration::from_hours(24 * 7);
/// Proposals that nobody goes on with are forgotten after so long.
const IDLE: SignedDuration = SignedDuration::from_hours(24 * 90);
/// Namespaces that a sweep asks the database for at a time.
const ROUND: u32 = 1_000;

/// A proposal that is not kept, or signatures that are not added.
#[derive(Debug, thiserror::Error)]
pub enum BadProposal {
    /// There is no such proposal.
    #[error("there is no proposal {0}; it may have been withdrawn or forgotten, propose it again")]
    None(Sha256Digest),
    /// The namespace keeps as many as it may.
    #[error(
        "the namespace keeps {MAX_PROPOSALS} open proposals, as many as it may; withdraw those that nobody goes on with"
    )]
    Full,
    /// A file that cannot be read, or keys and thresholds that nobody could accept.
    #[error(transparent)]
    Metadata(#[from] MetadataError),
    /// Bytes in another form than that in which signatures are put together.
    #[error(
        "{role} metadata: expected JSON with sorted keys, without white space, signatures ordered by key id; found another form"
    )]
    Form {
        /// The role.
        role: String,
    },
    /// A file of another namespace or role.
    #[error("{role} metadata: x-assay: expected {expected}, found {found}; sign it for this namespace")]
    Binding {
        /// The role.
        role: String,
        /// Namespace and role that it is sent for.
        expected: String,
        /// Those that it names.
        found: String,
    },
    /// A signature that no listed key made over this file.
    #[error(
        "{role} metadata: signature of key {keyid}: expected one by a listed key over this very file (at most {MAX_SIGNATURES}), found another"
    )]
    Signature {
        /// The role.
        role: String,
        /// The key id that it names.
        keyid: String,
    },
    /// No key that stands now signed any of its files.
    #[error(
        "proposal: expected a signature by at least one key that signs one of these roles now, found none; let such a key begin"
    )]
    Unsigned,
    /// A signature for a role that the proposal does not change.
    #[error("proposal: expected signatures of the files that it brings, found one of {0:?}")]
    Role(String),
}

/// Keeps a proposal, or adds its signatures to the one that is kept already; says whether it is new.
///
/// # Errors
/// It does not follow what stands, a signature is not right, no standing key signed it, or there are too many.
pub async fn propose(
    state: &AppState,
    name: &NamespaceName,
    publication: Publication,
    now: Timestamp,
) -> Result<(ProposalDetail, bool), PublishError> {
    let present = Present::read(state, find(state, name).await?).await?;
    let judged = judge::new(state, &present, publication).await?;
    let id = judged.id;
    let json = |e: serde_json::Error| {
        BadProposal::Metadata(MetadataError::Json {
            role: "proposal".to_owned(),
            source: e.into(),
        })
    };
    let record = ProposalRecord {
        namespace: name.clone(),
        id,
        publication: serde_json::to_vec(&judged.unsigned).map_err(json)?,
        created: now,
        updated: now,
    };
    let signatures = judged.signatures;
    let add = || {
        state
            .db
            .add_proposal(record.clone(), signatures.clone(), MAX_PROPOSALS)
    };
    // C1
    let mut added = add().await?;
    if added == AddedProposal::Full && forget(state, name, |_, open| !open).await? > 0 {
        added = add().await?;
    }
    if added == AddedProposal::Full {
        return Err(BadProposal::Full.into());
    }
    state.steps.done(Step::C1)?;
    let detail = one(state, &present, &id).await?;
    Ok((detail, added == AddedProposal::New))
}

/// A proposal as it stands.
///
/// # Errors
/// There is none.
pub async fn get(
    state: &AppState,
    name: &NamespaceName,
    id: &Sha256Digest,
) -> Result<ProposalDetail, PublishError> {
    let present = Present::read(state, find(state, name).await?).await?;
    one(state, &present, id).await
}

async fn one(state: &AppState, present: &Present, id: &Sha256Digest) -> Result<ProposalDetail, PublishError> {
    let found = state.db.proposal(&present.record.name, id).await?;
    let (record, signatures) = found.ok_or(BadProposal::None(*id))?;
    show::detail(state, present, record, signatures).await
}

/// A page of a namespace's proposals, by id.
///
/// # Errors
/// The database fails.
pub async fn list(
    state: &AppState,
    name: &NamespaceName,
    after: Option<&Sha256Digest>,
    limit: u32,
) -> Result<Page<ProposalInfo>, PublishError> {
    let present = Present::read(state, find(state, name).await?).await?;
    let mut ids = state
        .db
        .proposal_ids(name, after, limit.saturating_add(1))
        .await?;
    let more = ids.len() as u64 > u64::from(limit);
    ids.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
    let next = more.then(|| ids.last().map(ToString::to_string)).flatten();
    let mut items = Vec::with_capacity(ids.len());
    for id in ids {
        // One that was withdrawn meanwhile is left out.
        if let Some((record, signatures)) = state.db.proposal(name, &id).await? {
            items.push(show::detail(state, &present, record, signatures).await?.proposal);
        }
    }
    Ok(Page { items, next })
}

/// Adds signatures to an open proposal; to one that is published, nothing.
///
/// # Errors
/// There is none, it is superseded, or a signature is not by a listed key over the file: then none of them is added.
pub async fn sign(
    state: &AppState,
    name: &NamespaceName,
    id: &Sha256Digest,
    added: AddSignatures,
    now: Timestamp,
) -> Result<ProposalDetail, PublishError> {
    let present = Present::read(state, find(state, name).await?).await?;
    let detail = one(state, &present, id).await?;
    match detail.proposal.standing {
        ProposalStanding::Published => return Ok(detail),
        ProposalStanding::Superseded => return Err(show::superseded(&present, detail.publication)),
        ProposalStanding::Open => {}
    }
    let signatures = judge::more(&present, &detail.publication, added)?;
    // C2
    let kept = state
        .db
        .add_proposal_signatures(name, id, signatures, now)
        .await?;
    if !kept {
        return Err(BadProposal::None(*id).into());
    }
    state.steps.done(Step::C2)?;
    one(state, &present, id).await
}

/// Forgets a proposal.
///
/// # Errors
/// There is none.
pub async fn withdraw(state: &AppState, name: &NamespaceName, id: &Sha256Digest) -> Result<(), PublishError> {
    // C3
    if !state.db.remove_proposal(name, id, None).await? {
        return Err(BadProposal::None(*id).into());
    }
    Ok(state.steps.done(Step::C3)?)
}

/// Forgets proposals that are void or that nobody went on with; says how many. What cannot be read is named in the log and left
/// for the next sweep.
///
/// # Errors
/// The database fails; the next sweep goes on.
pub async fn sweep(state: &AppState, now: Timestamp) -> Result<u64, PublishError> {
    let since = |time| now.saturating_sub(time).unwrap_or(Timestamp::MIN);
    let (void, idle) = (since(VOID), since(IDLE));
    let due = |updated: Timestamp, open: bool| updated < if open { idle } else { void };
    let (mut forgotten, mut after) = (0_u64, None);
    loop {
        let names = state
            .db
            .namespaces_with_idle_proposals(void, after.as_ref(), ROUND)
            .await?;
        for name in &names {
            forgotten = forgotten.saturating_add(forget(state, name, due).await?);
        }
        match names.into_iter().next_back() {
            Some(last) => after = Some(last),
            None => break,
        }
    }
    if forgotten > 0 {
        tracing::info!(forgotten, "swept proposals");
    }
    Ok(forgotten)
}

/// Forgets the namespace's proposals for which `due` holds, asked with the time of the last signature and whether it is open. One
/// that gets a signature meanwhile stays.
async fn forget(
    state: &AppState,
    name: &NamespaceName,
    due: impl Fn(Timestamp, bool) -> bool,
) -> Result<u64, PublishError> {
    let mut forgotten = 0_u64;
    for id in state.db.proposal_ids(name, None, MAX_PROPOSALS).await? {
        let (updated, open) = match seen(state, name, &id).await {
            Ok(Some(seen)) => seen,
            Ok(None) => continue,
            Err(error) => {
                tracing::warn!(namespace = %name, proposal = %id, %error, "a proposal cannot be judged; it is left as it is");
                continue;
            }
        };
        if due(updated, open) && state.db.remove_proposal(name, &id, Some(updated)).await? {
            state.steps.done(Step::C3)?;
            forgotten = forgotten.saturating_add(1);
        }
    }
    Ok(forgotten)
}

/// When a proposal was signed last, and whether it is open. What stands is read behind it: a proposal on top of a publication that
/// came meanwhile must not be compared with the state before.
async fn seen(
    state: &AppState,
    name: &NamespaceName,
    id: &Sha256Digest,
) -> Result<Option<(Timestamp, bool)>, PublishError> {
    let Some((record, signatures)) = state.db.proposal(name, id).await? else {
        return Ok(None);
    };
    let updated = record.updated;
    let present = Present::read(state, find(state, name).await?).await?;
    let detail = show::detail(state, &present, record, signatures).await?;
    Ok(Some((
        updated,
        detail.proposal.standing == ProposalStanding::Open,
    )))
}
