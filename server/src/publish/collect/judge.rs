//! Whether a proposal may be kept, and whether signatures are what they say.

use std::collections::BTreeMap;

use assay_authority::Targets;
use assay_authority::metadata::Root;
use assay_authority::proposal::{self, Base, Threshold};
use assay_schema::Sha256Digest;
use assay_schema::api::{Publication, SignedRole};
use assay_schema::proposal::{AddSignatures, RoleSignature};

use super::BadProposal;
use crate::persistence::ProposalSignature;
use crate::publish::commit::follows;
use crate::publish::decide::{self, ROOT};
use crate::publish::error::PublishError;
use crate::publish::online;
use crate::publish::proposed::Present;
use crate::state::AppState;

/// A proposal that may be kept.
pub(super) struct Judged {
    pub(super) id: Sha256Digest,
    /// Its files without signatures.
    pub(super) unsigned: Publication,
    /// Every signature, verified.
    pub(super) signatures: Vec<ProposalSignature>,
}

pub(super) fn base(present: &Present) -> Base<'_> {
    Base {
        root: present.root.as_bytes(),
        targets: &present.targets.bytes,
    }
}

/// Judges a proposal on top of what stands: everything that publication asks for but the thresholds, for which the device's own
/// verifier stands when it is published.
pub(super) async fn new(
    state: &AppState,
    present: &Present,
    publication: Publication,
) -> Result<Judged, PublishError> {
    let sent = decide::read(publication.clone())?;
    follows(state, present, &sent).await?;
    if let Some(root) = &sent.root {
        // A root that lists somebody else's online keys could never be published here.
        let name = &present.record.name;
        let (now, next) = (
            state.db.online_keys(name).await?,
            state.db.next_online_keys(name).await?,
        );
        online::listed(&root.file, now, next)?;
        Root::read(root.bytes.as_bytes())
            .and_then(|root| root.check())
            .map_err(BadProposal::from)?;
    }
    let (mut unsigned, mut signatures) = (BTreeMap::new(), Vec::new());
    let (mut begun, base) = (false, base(present));
    let thresholds = proposal::thresholds(base, &publication).map_err(BadProposal::from)?;
    for (role, file) in &publication.roles {
        let found = read(present, role, &file.metadata)?;
        let listed = thresholds.get(role).map_or(&[][..], Vec::as_slice);
        let valid = verified(role, &file.metadata, &found, listed)?;
        // Keys that only the proposal itself would list do not count: anybody can make those.
        if let Some(keys) = proposal::standing_keys(base, role).map_err(BadProposal::from)? {
            let ids = keys.ids().map_err(|e| BadProposal::Metadata(e.into()))?;
            begun |= valid.iter().any(|s| ids.contains(&s.keyid));
        }
        signatures.extend(rows(role, valid));
        let metadata = proposal::with_signatures(role, file.metadata.as_bytes(), []);
        let bare = SignedRole {
            metadata: metadata.map_err(BadProposal::from)?,
            parent: file.parent,
        };
        unsigned.insert(role.clone(), bare);
    }
    if !begun {
        return Err(BadProposal::Unsigned.into());
    }
    let unsigned = Publication {
        roles: unsigned,
        manifests: publication.manifests,
    };
    let id = proposal::id(present.record.identity, &unsigned).map_err(BadProposal::from)?;
    Ok(Judged {
        id,
        unsigned,
        signatures,
    })
}

/// Signatures that are to be added: all of them verified, or none.
pub(super) fn more(
    present: &Present,
    publication: &Publication,
    added: AddSignatures,
) -> Result<Vec<ProposalSignature>, BadProposal> {
    let thresholds = proposal::thresholds(base(present), publication)?;
    let mut all = Vec::new();
    for (role, signatures) in added.roles {
        let (Some(file), Some(listed)) = (publication.roles.get(&role), thresholds.get(&role)) else {
            return Err(BadProposal::Role(role.chars().take(120).collect()));
        };
        let valid = verified(&role, &file.metadata, &signatures, listed)?;
        all.extend(rows(&role, valid));
    }
    Ok(all)
}

fn rows(role: &str, signatures: Vec<RoleSignature>) -> impl Iterator<Item = ProposalSignature> {
    signatures.into_iter().map(move |signature| ProposalSignature {
        role: role.to_owned(),
        signature,
    })
}

/// Form and binding of a file; gives its signatures, not yet verified.
fn read(present: &Present, role: &str, metadata: &str) -> Result<Vec<RoleSignature>, BadProposal> {
    let found = proposal::signatures(role, metadata.as_bytes())?;
    // Signatures are taken off and put on again: the bytes must come out as the signer's tool would write them.
    if proposal::with_signatures(role, metadata.as_bytes(), found.clone())? != metadata {
        return Err(BadProposal::Form {
            role: role.to_owned(),
        });
    }
    if role != ROOT {
        let binding = Targets::read(metadata.as_bytes())?.binding()?;
        let identity = present.record.identity;
        if binding.namespace != identity || binding.role != role {
            return Err(BadProposal::Binding {
                role: role.to_owned(),
                expected: format!("namespace {identity}, role {role}"),
                found: format!("namespace {}, role {}", binding.namespace, binding.role),
            });
        }
    }
    Ok(found)
}

fn verified(
    role: &str,
    metadata: &str,
    signatures: &[RoleSignature],
    thresholds: &[Threshold],
) -> Result<Vec<RoleSignature>, BadProposal> {
    let checked = proposal::check(role, metadata.as_bytes(), signatures, thresholds)?;
    match checked.invalid.into_iter().next() {
        None => Ok(checked.valid),
        Some(keyid) => Err(BadProposal::Signature {
            role: role.to_owned(),
            keyid,
        }),
    }
}
