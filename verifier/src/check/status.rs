//! Stage 2, its end: the authority's status, where the top-level targets delegate one. It can only restrict.
//!
//! A role that exists must be there, valid and unexpired: else a registry could hide a revocation by withholding it.

use std::collections::BTreeSet;

use assay_provenance::crypto::sha256;
use assay_schema::status::{ROLE, Status, TARGET};
use assay_schema::verdict::Refusal;
use assay_schema::{Stage, tuf};
use assay_trust::releases::ListedRelease;
use assay_trust::{DeviceState, Refreshed};
use serde::Deserialize;

use super::phase::{Phase, at_hand, failed, pinned, stop};
use super::release::Role;
use super::{Context, Flow};
use crate::report::refusal;

/// The status role is due.
#[derive(Debug)]
pub(super) struct AwaitStatus {
    trust: Refreshed,
}

#[derive(Deserialize)]
struct Signatures {
    signatures: Vec<Signature>,
}

#[derive(Deserialize)]
struct Signature {
    keyid: String,
}

impl AwaitStatus {
    pub(super) fn state(&self) -> &DeviceState {
        self.trust.state()
    }

    pub(super) fn begin(trust: Refreshed, ctx: &mut Context) -> Flow {
        if trust.has_status() {
            return Flow::Next(Phase::Status(Box::new(Self { trust })));
        }
        ctx.reports.evidence(Stage::Freshness, "status", "none");
        if let Some(refusal) = old_root(&trust) {
            return Flow::Stop(Stage::Freshness, refusal, trust.into_state());
        }
        ctx.reports.pass(Stage::Freshness);
        Role::begin(trust, ctx)
    }

    pub(super) fn step(self: Box<Self>, ctx: &mut Context) -> Flow {
        let wanted = match self.trust.wanted_role(ROLE) {
            Ok(Some(wanted)) => wanted,
            Ok(None) => {
                let missing = refusal(
                    "status-missing",
                    "snapshot",
                    "the status role, which the top-level targets delegate",
                    "none",
                    "The registry withholds what its authority restricts, or lost it: tell the namespace's authority. What is \
                     active stays active.",
                );
                return Flow::Stop(Stage::Freshness, missing, self.trust.into_state());
            }
            Err(error) => return stop(Stage::Freshness, error, self.trust.into_state()),
        };
        match at_hand(&wanted, [ctx.prefetch.role(ROLE)]) {
            Some(bytes) => self.accept(&bytes, ctx),
            None => Flow::Need(Phase::Status(self), pinned(&wanted)),
        }
    }

    pub(super) fn accept(self: Box<Self>, bytes: &[u8], ctx: &mut Context) -> Flow {
        let trust = match self.trust.accept_role(ROLE, bytes) {
            Ok(trust) => trust,
            Err(failure) => return failed(Stage::Freshness, *failure),
        };
        let status = match read(&trust) {
            Ok(status) => status,
            Err(refusal) => return Flow::Stop(Stage::Freshness, *refusal, trust.into_state()),
        };
        if let Some((version, expires)) = trust.role_version(ROLE) {
            ctx.reports.evidence(Stage::Freshness, "status", version);
            ctx.reports.evidence(Stage::Freshness, "status_expires", expires);
        }
        ctx.reports
            .evidence(Stage::Freshness, "status_issued", status.issued);
        let least_root = status.versions.get("root").copied().unwrap_or(0);
        let trust = trust.restrict(least_root, &status.revoked_keys);
        let too_old = too_old(&trust, &status, ctx).or_else(|| old_root(&trust));
        let targets = revoked_signer(&status, "targets", ctx.used.targets.as_bytes());
        let own = revoked_signer(&status, ROLE, bytes);
        if let Some(refusal) = too_old.or(targets).or(own) {
            return Flow::Stop(Stage::Freshness, refusal, trust.into_state());
        }
        ctx.used.role(ROLE.to_owned(), bytes);
        ctx.status = Some(status);
        ctx.reports.pass(Stage::Freshness);
        Role::begin(trust, ctx)
    }
}

fn read(trust: &Refreshed) -> Result<Status, Box<Refusal>> {
    let target = trust.status_target().map_err(|e| Box::new(e.refusal()))?;
    let inline = target.note.inline.unwrap_or_default();
    let digest = sha256(inline.as_bytes());
    let advice = "The authority signed a status that cannot be read: tell them, or update this software. What is active stays \
                  active.";
    let malformed =
        |expected: String, found: String| Box::new(refusal("malformed", TARGET, expected, found, advice));
    if digest != target.sha256 || inline.len() as u64 != target.length {
        return Err(malformed(
            format!("{} inline bytes with SHA-256 {}", target.length, target.sha256),
            format!("{} with {digest}", inline.len()),
        ));
    }
    Status::parse(inline.as_bytes()).map_err(|e| malformed("a status of version 1".to_owned(), e.to_string()))
}

/// The versions that the status asks for, of the top-level roles and of this model's.
fn too_old(trust: &Refreshed, status: &Status, ctx: &Context) -> Option<Refusal> {
    let concerns = |role: &str| match tuf::ModelRole::parse(role) {
        Some(role) => role.model == ctx.request.model,
        None => true,
    };
    let mut wanted = status.versions.iter().filter(|(role, _)| concerns(role));
    let (role, least) =
        wanted.find(|(role, least)| trust.current_version(role).is_none_or(|v| v < **least))?;
    let found = trust
        .current_version(role)
        .map_or_else(|| "none".to_owned(), |v| v.to_string());
    Some(below(role, *least, &found))
}

/// The root's version that any status asked for which this device has seen.
fn old_root(trust: &Refreshed) -> Option<Refusal> {
    let least = trust.state().restrictions.as_ref()?.least_root;
    let found = trust.root_version();
    (found < least).then(|| below("root", least, &found.to_string()))
}

fn below(role: &str, least: u64, found: &str) -> Refusal {
    refusal(
        "below-status",
        role,
        format!("version {least} or more, as the authority's status demands"),
        found,
        "The registry serves an old state, or hands out one that the authority gave up: try another registry or mirror, or tell \
         the authority. What is active stays active.",
    )
}

/// A revoked key's signature on a file of this role. Others may have signed it, too; but without this one the file might not
/// have reached its threshold, and the authority has it signed anew by those who remain.
pub(super) fn revoked_signer(status: &Status, role: &str, bytes: &[u8]) -> Option<Refusal> {
    // The file was verified: it has signatures, each with a key id.
    let signers: BTreeSet<String> = serde_json::from_slice::<Signatures>(bytes)
        .map(|file| file.signatures.into_iter().map(|s| s.keyid).collect())
        .unwrap_or_default();
    let revoked = signers.intersection(&status.revoked_keys).next()?;
    Some(refusal(
        "revoked-key",
        role,
        "signatures of keys that the authority has not revoked",
        format!("one of key {revoked}"),
        "Wait until the authority has this file signed anew. What is active stays active.",
    ))
}

/// What the status says of a release.
pub(super) fn restricted(release: &ListedRelease, ctx: &Context) -> Option<Refusal> {
    let (status, model) = (ctx.status.as_ref()?, &ctx.request.model);
    if let Some(revoked) = status.revocation(model, &release.version, &release.target.sha256) {
        let why = match revoked.reason.is_empty() {
            true => "no reason is given",
            false => revoked.reason.as_str(),
        };
        return Some(refusal(
            "revoked",
            format!("release {}", release.version),
            "a release that its authority has not revoked",
            format!("revoked: {why}"),
            "Wait for another release of this model. If this one is active here, stop using it.",
        ));
    }
    let least = status.orders.get(model).filter(|least| release.order < **least)?;
    Some(refusal(
        "below-status",
        format!("release {}", release.version),
        format!("order {least} or more, as the authority's status demands"),
        format!("order {}", release.order),
        "Take a newer release of this model.",
    ))
}
