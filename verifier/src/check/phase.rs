//! The phases of a check up to the top-level targets, one after the other.
//!
//! `step` goes on with what is at hand - a check bundle, the cache - and says what is missing; `answered` takes what was fetched.
//! Both end in the same `accept` of the workflow: bytes are judged alike wherever they come from.

use assay_schema::{Stage, limits};
use assay_trust::workflow::Pinned;
use assay_trust::{AwaitSnapshot, AwaitTargets, AwaitTimestamp, DeviceState, Failure, Roots, TrustError};

use super::log::Log;
use super::provenance::Provenance;
use super::release::{Manifest, Role};
use super::status::AwaitStatus;
use super::{Context, Flow};
use crate::prefetch::{Bases, Prefetch};
use crate::report::refusal;
use crate::request::{Answer, Fetch, Resource};

/// Where a check stands.
#[derive(Debug)]
pub(super) enum Phase {
    /// The check bundle was asked for.
    Bundle(Roots),
    /// Roots are followed; so many of the bundle's have been used.
    Roots(Roots, usize),
    /// The timestamp is due.
    Timestamp(AwaitTimestamp),
    /// The snapshot is due.
    Snapshot(AwaitSnapshot),
    /// The top-level targets are due.
    Targets(AwaitTargets),
    /// The status is due.
    Status(Box<AwaitStatus>),
    /// A model's role is due.
    Role(Box<Role>),
    /// The release manifest is due.
    Manifest(Box<Manifest>),
    /// Provenance is judged.
    Provenance(Box<Provenance>),
    /// The log is judged.
    Log(Box<Log>),
}

impl Phase {
    pub(super) fn state(&self) -> &DeviceState {
        match self {
            Self::Bundle(p) | Self::Roots(p, _) => p.state(),
            Self::Timestamp(p) => p.state(),
            Self::Snapshot(p) => p.state(),
            Self::Targets(p) => p.state(),
            Self::Status(p) => p.state(),
            Self::Role(p) => p.state(),
            Self::Manifest(p) => p.state(),
            Self::Provenance(p) => p.state(),
            Self::Log(p) => p.state(),
        }
    }

    fn stage(&self) -> Stage {
        match self {
            Self::Bundle(_) | Self::Timestamp(_) | Self::Snapshot(_) | Self::Targets(_) | Self::Status(_) => {
                Stage::Freshness
            }
            Self::Roots(..) => Stage::TrustRoot,
            Self::Role(_) | Self::Manifest(_) => Stage::Release,
            Self::Provenance(_) => Stage::Provenance,
            Self::Log(_) => Stage::Log,
        }
    }

    /// Goes on as far as what is at hand allows.
    pub(super) fn step(self, ctx: &mut Context) -> Flow {
        match self {
            // Without its bundle a check goes on by the static paths.
            Self::Bundle(roots) => Flow::Next(Self::Roots(roots, 0)),
            Self::Roots(roots, used) => step_roots(roots, used, ctx),
            Self::Timestamp(p) => match ctx.prefetch.timestamp().map(str::to_owned) {
                Some(bytes) => accept_timestamp(p, bytes.as_bytes(), ctx),
                None => Flow::Need(
                    Self::Timestamp(p),
                    metadata("timestamp.json", limits::MAX_TIMESTAMP),
                ),
            },
            Self::Snapshot(p) => {
                let wanted = match p.wanted() {
                    Ok(wanted) => wanted,
                    Err(error) => return stop(Stage::Freshness, error, p.into_state()),
                };
                match at_hand(&wanted, [p.kept(), ctx.prefetch.snapshot()]) {
                    Some(bytes) => accept_snapshot(p, &bytes, ctx),
                    None => Flow::Need(Self::Snapshot(p), pinned(&wanted)),
                }
            }
            Self::Targets(p) => {
                let wanted = match p.wanted() {
                    Ok(wanted) => wanted,
                    Err(error) => return stop(Stage::Freshness, error, p.into_state()),
                };
                match at_hand(&wanted, [ctx.prefetch.targets()]) {
                    Some(bytes) => accept_targets(p, &bytes, ctx),
                    None => Flow::Need(Self::Targets(p), pinned(&wanted)),
                }
            }
            Self::Status(p) => p.step(ctx),
            Self::Role(p) => p.step(ctx),
            Self::Manifest(p) => p.step(ctx),
            Self::Provenance(p) => p.step(ctx),
            Self::Log(p) => p.step(ctx),
        }
    }

    /// Goes on with what came of a fetch.
    pub(super) fn answered(self, ctx: &mut Context, fetch: &Fetch, answer: Answer) -> Flow {
        let (bytes, etag) = match answer {
            Answer::Found { bytes, etag } => (bytes, etag),
            // The registry says that what it sent last time still is all there is: timestamp and expiry are judged again.
            Answer::NotModified if matches!(self, Self::Bundle(_)) && fetch.etag.is_some() => {
                return self.unchanged(fetch, ctx);
            }
            Answer::Missing if matches!(self, Self::Bundle(_) | Self::Roots(..)) => return self.absent(ctx),
            Answer::Missing if matches!(self, Self::Log(_)) => return self.unlogged(fetch),
            other => return self.unavailable(fetch, &other),
        };
        match self {
            Self::Bundle(p) => accept_bundle(p, &bytes, etag, ctx),
            Self::Roots(p, used) => accept_root(p, used, &bytes),
            Self::Timestamp(p) => accept_timestamp(p, &bytes, ctx),
            Self::Snapshot(p) => accept_snapshot(p, &bytes, ctx),
            Self::Targets(p) => accept_targets(p, &bytes, ctx),
            Self::Status(p) => p.accept(&bytes, ctx),
            Self::Role(p) => p.accept(&bytes, ctx),
            Self::Manifest(p) => p.accept(&bytes, ctx),
            Self::Provenance(p) => p.accept(bytes, ctx),
            Self::Log(p) => p.accept(&bytes, ctx),
        }
    }

    fn unchanged(self, fetch: &Fetch, ctx: &mut Context) -> Flow {
        match (self, ctx.kept.clone()) {
            (Self::Bundle(roots), Some(kept)) => {
                ctx.prefetch = Prefetch::fresh_bundle(kept);
                ctx.etag.clone_from(&fetch.etag);
                ctx.rests_on_kept = true;
                Flow::Next(Self::Roots(roots, 0))
            }
            (other, _) => other.unavailable(fetch, &Answer::NotModified),
        }
    }

    fn absent(self, ctx: &mut Context) -> Flow {
        match self {
            // A registry without bundles, or a mirror of the static paths.
            Self::Bundle(p) => {
                ctx.use_kept();
                Flow::Next(Self::Roots(p, 0))
            }
            // TUF 5.3.3: no next root means that the trusted one is the newest.
            Self::Roots(p, _) => finish_roots(p, ctx),
            other => Flow::Next(other),
        }
    }

    fn unlogged(self, fetch: &Fetch) -> Flow {
        match self {
            Self::Log(p) => match p.missing() {
                Ok(flow) => flow,
                Err(p) => Self::Log(p).unavailable(fetch, &Answer::Missing),
            },
            other => other.unavailable(fetch, &Answer::Missing),
        }
    }

    fn unavailable(self, fetch: &Fetch, answer: &Answer) -> Flow {
        let (found, advice) = match answer {
            Answer::Missing => (
                "the registry has none".to_owned(),
                "The registry withholds a file that its own metadata names: try again later, or use a mirror.",
            ),
            Answer::Failed { reason } => (
                reason.clone(),
                "Check the network and the registry's address, and try again. What is active stays active.",
            ),
            _ => (
                "an answer that makes no sense here".to_owned(),
                "The registry is broken: tell its operator.",
            ),
        };
        let unavailable = refusal("unavailable", name(&fetch.resource), "the file", found, advice);
        Flow::Stop(self.stage(), unavailable, self.state().clone())
    }
}

fn name(resource: &Resource) -> String {
    match resource {
        Resource::Bundle { model, .. } => format!("check bundle of {model}"),
        Resource::Endorsement { model, .. } => format!("what the authority lists of {model}"),
        Resource::Metadata { file } => file.clone(),
        Resource::Target { path } => path.clone(),
        Resource::Blob { sha256, .. } => format!("blob {sha256}"),
        Resource::LogProof { snapshot, .. } => format!("log proof of snapshot {snapshot}"),
        Resource::RootProof { root, .. } => format!("log proof of root {root}"),
    }
}

pub(super) fn stop(stage: Stage, error: TrustError, state: DeviceState) -> Flow {
    Flow::Stop(stage, error.refusal(), state)
}

pub(super) fn failed(stage: Stage, failure: Failure) -> Flow {
    let stage = match failure.error {
        TrustError::RevokedRoot { .. } => Stage::TrustRoot,
        _ => stage,
    };
    stop(stage, failure.error, failure.state)
}

fn metadata(file: &str, max: u64) -> Fetch {
    Fetch {
        resource: Resource::Metadata {
            file: file.to_owned(),
        },
        max,
        etag: None,
    }
}

pub(super) fn pinned(wanted: &Pinned) -> Fetch {
    metadata(&wanted.file, wanted.length)
}

/// The first of these that is the pinned file.
pub(super) fn at_hand<'a>(
    wanted: &Pinned,
    sources: impl IntoIterator<Item = Option<&'a str>>,
) -> Option<Vec<u8>> {
    let mut sources = sources.into_iter().flatten();
    sources
        .find(|text| wanted.matches(text.as_bytes()))
        .map(|text| text.as_bytes().to_vec())
}

fn accept_bundle(roots: Roots, bytes: &[u8], etag: Option<String>, ctx: &mut Context) -> Flow {
    let bases = Bases {
        snapshot: roots.state().snapshot.as_deref(),
        kept: ctx.kept.as_ref(),
    };
    match bases.rebuild(bytes) {
        Ok(bundle) => {
            ctx.prefetch = Prefetch::fresh_bundle(bundle);
            ctx.etag = etag;
            Flow::Next(Phase::Roots(roots, 0))
        }
        Err(error) => {
            let malformed = refusal(
                "malformed",
                "check bundle",
                "a check bundle of version 1",
                error,
                "The registry is broken: tell its operator. What is active stays active.",
            );
            Flow::Stop(Stage::Freshness, malformed, roots.state().clone())
        }
    }
}

fn step_roots(roots: Roots, used: usize, ctx: &mut Context) -> Flow {
    let Some(version) = roots.next_version() else {
        return finish_roots(roots, ctx);
    };
    if let Some(bytes) = ctx.prefetch.roots().get(used).cloned() {
        return accept_root(roots, used.saturating_add(1), bytes.as_bytes());
    }
    if ctx.prefetch.is_fresh() {
        // The bundle holds every root above the device's; what it does not hold, the static path would not have either.
        return finish_roots(roots, ctx);
    }
    Flow::Need(
        Phase::Roots(roots, used),
        metadata(&format!("{version}.root.json"), limits::MAX_ROOT),
    )
}

fn accept_root(roots: Roots, used: usize, bytes: &[u8]) -> Flow {
    match roots.accept_or_stay(bytes) {
        Ok(roots) => Flow::Next(Phase::Roots(roots, used)),
        Err(failure) => failed(Stage::TrustRoot, *failure),
    }
}

fn finish_roots(roots: Roots, ctx: &mut Context) -> Flow {
    ctx.more_roots = roots.has_more();
    match roots.finish() {
        Ok(next) => {
            let (threshold, keys) = next.root_threshold();
            ctx.reports
                .evidence(Stage::TrustRoot, "root_version", next.root_version());
            ctx.reports.evidence(
                Stage::TrustRoot,
                "root_threshold",
                format!("{threshold} of {keys}"),
            );
            ctx.reports.pass(Stage::TrustRoot);
            Flow::Next(Phase::Timestamp(next))
        }
        Err(failure) => failed(Stage::TrustRoot, *failure),
    }
}

fn accept_timestamp(phase: AwaitTimestamp, bytes: &[u8], ctx: &mut Context) -> Flow {
    match phase.accept(bytes) {
        Ok(next) => {
            if let Some((version, expires)) = next.timestamp() {
                ctx.reports
                    .evidence(Stage::Freshness, "timestamp_version", version);
                ctx.reports
                    .evidence(Stage::Freshness, "timestamp_expires", expires);
            }
            // Of an equal version the trusted file stays, which is the one to keep.
            ctx.used.timestamp = next.state().timestamp.clone().unwrap_or_default();
            match ctx.known_as_of(next.as_of()) {
                Some(stale) => Flow::Stop(Stage::Freshness, stale, next.into_state()),
                None => Flow::Next(Phase::Snapshot(next)),
            }
        }
        Err(failure) => failed(Stage::Freshness, *failure),
    }
}

fn accept_snapshot(phase: AwaitSnapshot, bytes: &[u8], ctx: &mut Context) -> Flow {
    match phase.accept(bytes) {
        Ok(next) => {
            if let Some((version, expires)) = next.snapshot() {
                ctx.reports
                    .evidence(Stage::Freshness, "snapshot_version", version);
                ctx.reports
                    .evidence(Stage::Freshness, "snapshot_expires", expires);
            }
            ctx.used.snapshot = next.state().snapshot.clone().unwrap_or_default();
            Flow::Next(Phase::Targets(next))
        }
        Err(failure) => failed(Stage::Freshness, *failure),
    }
}

fn accept_targets(phase: AwaitTargets, bytes: &[u8], ctx: &mut Context) -> Flow {
    match phase.accept(bytes) {
        Ok(next) => {
            if let Some(targets) = next.targets() {
                ctx.reports
                    .evidence(Stage::Freshness, "targets_version", targets.version);
                ctx.reports
                    .evidence(Stage::Freshness, "targets_expires", targets.expires);
            }
            ctx.used.targets = String::from_utf8_lossy(bytes).into_owned();
            AwaitStatus::begin(next, ctx)
        }
        Err(failure) => failed(Stage::Freshness, *failure),
    }
}
