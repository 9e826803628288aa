//! Stage 2, its end: the authority's status, where the top-level targets delegate one. It can only restrict.
//!
//! A role that exists must be there, valid and unexpired: else a registry could hide a revocation by withholding it.

use assay_schema::Stage;
use assay_schema::status::ROLE;
use assay_trust::restricted::old_role;
use assay_trust::{DeviceState, Refreshed, TrustError};

use super::phase::{Phase, at_hand, failed, pinned, stop};
use super::release::Role;
use super::{Context, Flow};
use crate::report::refusal;

/// The status role is due.
#[derive(Debug)]
pub(super) struct AwaitStatus {
    trust: Refreshed,
}

impl AwaitStatus {
    pub(super) fn state(&self) -> &DeviceState {
        self.trust.state()
    }

    pub(super) fn begin(trust: Refreshed, ctx: &mut Context) -> Flow {
        if trust.has_status() {
            return Flow::Next(Phase::Status(Box::new(Self { trust })));
        }
        if let Some(error) = trust.refused_root() {
            return stop(Stage::TrustRoot, error, trust.into_state());
        }
        ctx.reports.evidence(Stage::Freshness, "status", "none");
        if let Err(error) = old_root(&trust) {
            return stop(Stage::Freshness, error, trust.into_state());
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
        let status = match trust.status() {
            Ok(status) => status,
            Err(error) => return stop(Stage::Freshness, error, trust.into_state()),
        };
        if let Some((version, expires)) = trust.role_version(ROLE) {
            ctx.reports.evidence(Stage::Freshness, "status", version);
            ctx.reports.evidence(Stage::Freshness, "status_expires", expires);
        }
        ctx.reports
            .evidence(Stage::Freshness, "status_issued", status.issued);
        let least_root = status.versions.get("root").copied().unwrap_or(0);
        let trust = trust.restrict(least_root, &status.revoked_keys);
        // A registry that withheld the next root would have shown this very state, and the device would have gone on from it: so what
        // a status of stolen, replaced keys revoked holds no longer, and the root is judged again without it.
        match trust.refused_root() {
            Some(error) => return stop(Stage::TrustRoot, error, trust.into_state()),
            None if trust.stayed() => return Flow::Again(trust.into_state()),
            None => {}
        }
        let version = |role: &str| trust.current_version(role);
        let judged = old_role(&status, Some(&ctx.request.model), version)
            .and_then(|()| old_root(&trust))
            .and_then(|()| trust.stopped_by(&status, ctx.used.targets.as_bytes(), bytes));
        if let Err(error) = judged {
            return stop(Stage::Freshness, error, trust.into_state());
        }
        ctx.used.role(ROLE.to_owned(), bytes);
        ctx.status = Some(status);
        ctx.reports.pass(Stage::Freshness);
        Role::begin(trust, ctx)
    }
}

/// The root's version that any status asked for which this device has seen.
fn old_root(trust: &Refreshed) -> Result<(), TrustError> {
    let restrictions = trust.state().restrictions.as_ref();
    let (least, found) = (restrictions.map_or(0, |r| r.least_root), trust.root_version());
    match found < least {
        true => Err(TrustError::OldRole {
            role: "root".to_owned(),
            least,
            found: Some(found),
        }),
        false => Ok(()),
    }
}
