//! Stage 3: the model's role, and the release manifest that it lists.

use assay_provenance::crypto::sha256;
use assay_schema::{ReleaseManifest, Sha256Digest, Stage, tuf};
use assay_trust::releases::ListedRelease;
use assay_trust::restricted::{self, revoked_signer};
use assay_trust::{DeviceState, Refreshed, TrustError};

use super::endorsement::not_endorsed;
use super::log::Log;
use super::phase::{Phase, at_hand, failed, pinned, stop};
use super::provenance::Provenance;
use super::{Context, Flow, Goal};
use crate::report::refusal;
use crate::request::{Fetch, Resource, Want};

/// A release that passed, with what was trusted by then.
#[derive(Debug, Clone)]
pub(super) struct Passed {
    pub(super) manifest: ReleaseManifest,
    pub(super) bytes: Vec<u8>,
    pub(super) digest: Sha256Digest,
    pub(super) state: DeviceState,
}

/// Looking through a model's roles, the one that may reach the highest order first.
#[derive(Debug)]
pub(super) struct Role {
    trust: Refreshed,
    current: tuf::ModelRole,
    /// Still to look through, the next one last.
    rest: Vec<tuf::ModelRole>,
    /// The highest release so far.
    best: Option<ListedRelease>,
}

impl Role {
    pub(super) fn state(&self) -> &DeviceState {
        self.trust.state()
    }

    pub(super) fn begin(trust: Refreshed, ctx: &mut Context) -> Flow {
        let mut rest = match trust.roles_of(&ctx.request.model) {
            Ok(roles) => roles,
            Err(error) => return stop(Stage::Release, error, trust.into_state()),
        };
        if let Want::Version(_) = ctx.request.want {
            // The bundle holds the role that lists the version: it is looked at first. The blocks' paths are disjoint, so the
            // order of looking decides nothing else.
            rest.sort_by_key(|role| ctx.prefetch.role(&role.name()).is_none());
        }
        if let Goal::Endorsement(gathering) = &ctx.goal {
            rest.retain(|role| role == gathering.role());
        }
        rest.truncate(assay_schema::limits::MAX_DELEGATIONS as usize);
        rest.reverse();
        next_role(trust, rest, None, ctx)
    }

    pub(super) fn step(self: Box<Self>, ctx: &mut Context) -> Flow {
        let name = self.current.name();
        let wanted = match self.trust.wanted_role(&name) {
            Ok(Some(wanted)) => wanted,
            // `roles_of` lists only roles that the snapshot names.
            Ok(None) => return next_role(self.trust, self.rest, self.best, ctx),
            Err(error) => return stop(Stage::Release, error, self.trust.into_state()),
        };
        match at_hand(&wanted, [ctx.prefetch.role(&name)]) {
            Some(bytes) => self.accept(&bytes, ctx),
            None => Flow::Need(Phase::Role(self), pinned(&wanted)),
        }
    }

    pub(super) fn accept(self: Box<Self>, bytes: &[u8], ctx: &mut Context) -> Flow {
        let Self {
            trust,
            current,
            rest,
            best,
        } = *self;
        let name = current.name();
        let trust = match trust.accept_role(&name, bytes) {
            Ok(trust) => trust,
            Err(failure) => return failed(Stage::Release, *failure),
        };
        if let Some(status) = &ctx.status
            && let Err(error) = revoked_signer(status, &name, bytes)
        {
            return stop(Stage::Release, error, trust.into_state());
        }
        let found = match &ctx.request.want {
            Want::Highest => trust.highest(&current),
            Want::Version(version) => trust.version(&current, version),
        };
        // Also a role that lists nothing of interest is looked at again by the next check.
        ctx.used.role(name, bytes);
        let best = match found {
            Ok(found) => [best, found].into_iter().flatten().max_by_key(|r| r.order),
            Err(error) => return stop(Stage::Release, error, trust.into_state()),
        };
        next_role(trust, rest, best, ctx)
    }
}

fn next_role(
    trust: Refreshed,
    mut rest: Vec<tuf::ModelRole>,
    best: Option<ListedRelease>,
    ctx: &mut Context,
) -> Flow {
    let next = rest.pop().filter(|next| match (&best, &ctx.request.want) {
        (Some(best), Want::Highest) => trust.may_reach(next) > (best.order.epoch(), best.order.counter()),
        (Some(_), Want::Version(_)) => false,
        (None, _) => true,
    });
    match (next, best) {
        (Some(current), best) => Flow::Next(Phase::Role(Box::new(Role {
            trust,
            current,
            rest,
            best,
        }))),
        (None, Some(best)) => match &ctx.goal {
            Goal::Release => Manifest::begin(trust, best, ctx),
            Goal::Endorsement(gathering) => match gathering.judge(&trust, &best, ctx) {
                Ok((passed, keys)) => {
                    ctx.keys = keys;
                    ctx.reports.pass(Stage::Release);
                    Log::begin(trust, passed, ctx)
                }
                Err(refusal) => Flow::Stop(Stage::Release, refusal, trust.into_state()),
            },
        },
        (None, None) => {
            if let Goal::Endorsement(gathering) = &ctx.goal {
                return Flow::Stop(Stage::Release, not_endorsed(gathering), trust.into_state());
            }
            let wanted = match &ctx.request.want {
                Want::Highest => "a release".to_owned(),
                Want::Version(version) => format!("release {version}"),
            };
            let error = TrustError::NoRelease {
                model: ctx.request.model.clone(),
                wanted,
            };
            stop(Stage::Release, error, trust.into_state())
        }
    }
}

/// The manifest of the release that was found.
#[derive(Debug)]
pub(super) struct Manifest {
    trust: Refreshed,
    release: ListedRelease,
}

impl Manifest {
    pub(super) fn state(&self) -> &DeviceState {
        self.trust.state()
    }

    fn begin(trust: Refreshed, release: ListedRelease, ctx: &mut Context) -> Flow {
        let subject = ctx.reports.subject();
        subject.version = Some(release.version.clone());
        subject.order = Some(release.order);
        subject.manifest = Some(release.target.sha256);
        let evidence = [
            ("role", release.role.name()),
            ("role_version", release.role_version.to_string()),
            ("order", release.order.to_string()),
            ("max_epoch", release.max_epoch.to_string()),
            ("manifest", release.target.sha256.to_string()),
        ];
        for (key, value) in evidence {
            ctx.reports.evidence(Stage::Release, key, value);
        }
        let model = &ctx.request.model;
        // The release counter of Uptane: what this device has activated is the least that it accepts.
        if let Some(floor) = trust.state().floors.get(model)
            && release.order < *floor
        {
            let error = TrustError::BelowFloor {
                model: model.clone(),
                floor: *floor,
                found: release.order,
            };
            return stop(Stage::Freshness, error, trust.into_state());
        }
        // A release is immutable: whoever holds its publishers' keys replaces none that this device has activated.
        if let Some(expected) = trust.state().activated.get(model)
            && trust.state().floors.get(model) == Some(&release.order)
            && release.target.sha256 != *expected
        {
            let replaced = refusal(
                "release-replaced",
                model.as_str(),
                format!(
                    "the manifest {expected} under order {}, which this device has activated",
                    release.order
                ),
                format!("the manifest {}", release.target.sha256),
                "A release never changes: its publishers, or whoever has their keys, signed another one in its place. Do not use it, and \
                 tell the namespace's authority. What is active stays active.",
            );
            return Flow::Stop(Stage::Release, replaced, trust.into_state());
        }
        if let Some(status) = &ctx.status
            && let Err(error) = restricted::release(status, model, &release)
        {
            return stop(Stage::Release, error, trust.into_state());
        }
        Flow::Next(Phase::Manifest(Box::new(Self { trust, release })))
    }

    pub(super) fn step(self: Box<Self>, ctx: &mut Context) -> Flow {
        let target = &self.release.target;
        match ctx.prefetch.blob(&target.sha256).map(str::to_owned) {
            Some(text) => self.accept(text.as_bytes(), ctx),
            None => {
                let fetch = Fetch {
                    resource: Resource::Target {
                        path: target.consistent_path(),
                    },
                    max: target.length,
                    etag: None,
                };
                Flow::Need(Phase::Manifest(self), fetch)
            }
        }
    }

    /// TUF 5.7.2: length and digest as the role signed them; then the manifest must be of the release that it is listed as.
    pub(super) fn accept(self: Box<Self>, bytes: &[u8], ctx: &mut Context) -> Flow {
        let Self { trust, release } = *self;
        let target = &release.target;
        let advice = "The registry or something on the way changed the manifest: try again, or tell the namespace's authority.";
        let digest = sha256(bytes);
        if digest != target.sha256 || bytes.len() as u64 != target.length {
            let expected = format!("{} bytes with SHA-256 {}", target.length, target.sha256);
            let found = format!("{} bytes with SHA-256 {digest}", bytes.len());
            let mismatch = refusal("digest-mismatch", &target.path, expected, found, advice);
            return Flow::Stop(Stage::Release, mismatch, trust.into_state());
        }
        let manifest = match ReleaseManifest::parse(bytes) {
            Ok(manifest) => manifest,
            Err(error) => {
                let advice = "The publisher signed a manifest that this software cannot accept: ask them for another release.";
                let malformed = refusal(
                    "malformed",
                    &target.path,
                    "a release manifest of version 1",
                    error,
                    advice,
                );
                return Flow::Stop(Stage::Release, malformed, trust.into_state());
            }
        };
        let named =
            |m: &ReleaseManifest| format!("{} {}@{} order {}", m.namespace, m.model, m.version, m.order);
        let listed = format!(
            "{} {}@{} order {}",
            ctx.pin.identity, ctx.request.model, release.version, release.order
        );
        if named(&manifest) != listed {
            let advice = "The publisher signed one release's manifest as another's: ask them.";
            let mismatch = refusal("wrong-release", &target.path, listed, named(&manifest), advice);
            return Flow::Stop(Stage::Release, mismatch, trust.into_state());
        }
        if let Some(until) = manifest.not_before.filter(|t| *t > ctx.now) {
            let reason = format!(
                "the release is not to be used before {until}; this device's time is {}",
                ctx.now
            );
            return Flow::Wait(Stage::Release, until, reason, trust.into_state());
        }
        if ctx.request.consensus.is_demanded() {
            match trust.authority_keys(&release.role.name()) {
                Ok(keys) => ctx.keys = keys,
                Err(error) => return stop(Stage::Release, error, trust.into_state()),
            }
        }
        ctx.used.blob(digest, bytes);
        ctx.reports
            .evidence(Stage::Release, "files", manifest.files.len());
        ctx.reports.evidence(Stage::Release, "size", manifest.size());
        ctx.reports.pass(Stage::Release);
        Provenance::begin(
            trust,
            Passed {
                manifest,
                bytes: bytes.to_vec(),
                digest,
                state: DeviceState::clone(&ctx.persisted),
            },
            ctx,
        )
    }
}
