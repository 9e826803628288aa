//! Stage 4: the snapshot that this check rests on is in the logs that it must be in, and they only grew.
//!
//! It is walked after stage 5, so that a registry can let a release pass everything else before its snapshot has a place in the log.
//! Which logs: the one of `trust/log.json`, which the top-level targets role signs; the one that the device's owner pinned; and where
//! the root advanced, the one that the device followed before, by the witnesses of then - and the root with the snapshot, which does not
//! bind it. Keys that were retired could sign another next root, and whom that names they have chosen themselves.

mod demand;
mod judge;

use assay_log::LogState;
use assay_log::leaf::LeafKind;
use assay_log::policy::LogPolicy;
use assay_provenance::crypto::sha256;
use assay_schema::bundle::LogPart;
use assay_schema::log::{LogTrust, TARGET};
use assay_schema::{Stage, canonical, limits};
use assay_trust::releases::TargetRef;
use assay_trust::{DeviceState, Refreshed};
use jiff::Timestamp;

use super::phase::{Phase, failed, stop};
use super::release::Passed;
use super::{Context, Flow};
use crate::documents;
use crate::report::refusal;
use crate::request::{Fetch, Resource};
use demand::Demand;
use judge::{Accepted, Unfit, judge, known};

/// Judging the logs: what is due is the first of these that is not there yet.
#[derive(Debug)]
pub(super) struct Log {
    trust: Refreshed,
    passed: Passed,
    due: Due,
}

#[derive(Debug)]
enum Due {
    /// `trust/log.json`.
    Policy(TargetRef),
    /// The proof for the snapshot, in one log after the other.
    Proof(Box<Proofs>),
}

#[derive(Debug)]
struct Proofs {
    /// Those not judged yet, the next one last.
    open: Vec<Demand>,
    /// Proofs at hand, of whichever log.
    parts: Vec<LogPart>,
    /// The log that the namespace names.
    named: Option<LogTrust>,
    /// The checkpoint that becomes the device's floor: of the first log that was judged.
    checkpoint: Option<LogState>,
    /// The latest time that enough witnesses confirmed.
    witnessed: Option<Timestamp>,
}

impl Log {
    pub(super) fn state(&self) -> &DeviceState {
        self.trust.state()
    }

    pub(super) fn begin(trust: Refreshed, passed: Passed, ctx: &mut Context) -> Flow {
        match trust.top_level_target(TARGET) {
            Err(error) => stop(Stage::Log, error, trust.into_state()),
            Ok(Some(target)) => Flow::Next(Self::due(trust, passed, Due::Policy(target))),
            Ok(None) => Self::demand(trust, passed, None, ctx),
        }
    }

    fn due(trust: Refreshed, passed: Passed, due: Due) -> Phase {
        Phase::Log(Box::new(Self { trust, passed, due }))
    }

    /// All logs that the state must be in are known.
    fn demand(
        trust: Refreshed,
        passed: Passed,
        named: Option<(LogTrust, LogPolicy)>,
        ctx: &mut Context,
    ) -> Flow {
        let (named, policy) = named.unzip();
        let open = match demand::all(&trust, policy, ctx) {
            Ok(open) => open,
            Err(refusal) => return Flow::Stop(Stage::Log, *refusal, trust.into_state()),
        };
        let proofs = Proofs {
            open,
            parts: ctx.prefetch.log().cloned().into_iter().collect(),
            named,
            checkpoint: None,
            witnessed: None,
        };
        Flow::Next(Self::due(trust, passed, Due::Proof(Box::new(proofs))))
    }

    pub(super) fn step(self: Box<Self>, ctx: &mut Context) -> Flow {
        let Self { trust, passed, due } = *self;
        match due {
            Due::Policy(target) => {
                let at_hand = target
                    .note
                    .inline
                    .clone()
                    .or_else(|| ctx.prefetch.blob(&target.sha256).map(str::to_owned));
                if let Some(text) = at_hand {
                    return Self::accept_policy(trust, passed, &target, text.as_bytes(), ctx);
                }
                let resource = Resource::Target {
                    path: target.consistent_path(),
                };
                let fetch = Fetch {
                    resource,
                    max: target.length,
                    etag: None,
                };
                Flow::Need(Self::due(trust, passed, Due::Policy(target)), fetch)
            }
            Due::Proof(mut proofs) => {
                let Some(demand) = proofs.open.last() else {
                    return Self::finish(trust, passed, *proofs, ctx);
                };
                // What is at hand may be of an older snapshot, of another log, or lack what connects it with this device's checkpoint.
                for part in &proofs.parts {
                    match judge(part, demand, &trust, ctx) {
                        Ok(accepted) => {
                            let part = part.clone();
                            proofs.accept(accepted, part, ctx);
                            return Flow::Next(Self::due(trust, passed, Due::Proof(proofs)));
                        }
                        Err(Unfit::SplitView(refusal)) => {
                            return Flow::Stop(Stage::Log, refusal, trust.into_state());
                        }
                        Err(Unfit::Other(_)) => {}
                    }
                }
                let size = known(trust.state(), &demand.policy).map(|state| state.head.size);
                let resource = match demand.kind {
                    LeafKind::Snapshot => Resource::LogProof {
                        snapshot: trust.snapshot_version(),
                        size,
                    },
                    LeafKind::Root => Resource::RootProof {
                        root: trust.root_version(),
                        size,
                    },
                };
                let fetch = Fetch {
                    resource,
                    max: limits::MAX_LOG_PART,
                    etag: None,
                };
                Flow::Need(Self::due(trust, passed, Due::Proof(proofs)), fetch)
            }
        }
    }

    /// The registry has no proof. In a log that the device followed before that is what a forked root looks like.
    pub(super) fn missing(self: Box<Self>) -> Result<Flow, Box<Self>> {
        let demand = match &self.due {
            Due::Proof(proofs) => proofs.open.last(),
            Due::Policy(_) => None,
        };
        match demand {
            Some(demand) if demand.before => {
                let refusal = demand.refused(&self.trust, "the registry has no proof");
                Ok(Flow::Stop(Stage::Log, refusal, self.trust.into_state()))
            }
            _ => Err(self),
        }
    }

    pub(super) fn accept(self: Box<Self>, bytes: &[u8], ctx: &mut Context) -> Flow {
        let Self { trust, passed, due } = *self;
        match due {
            Due::Policy(target) => Self::accept_policy(trust, passed, &target, bytes, ctx),
            Due::Proof(mut proofs) => {
                let part = match canonical::read::<LogPart>(bytes, limits::MAX_LOG_PART) {
                    Ok(part) => part,
                    Err(error) => {
                        let advice =
                            "The registry is broken: tell its operator. What is active stays active.";
                        let malformed =
                            refusal("malformed", "log proof", "a proof and consistency", error, advice);
                        return Flow::Stop(Stage::Log, malformed, trust.into_state());
                    }
                };
                let Some(demand) = proofs.open.last() else {
                    return Self::finish(trust, passed, *proofs, ctx);
                };
                match judge(&part, demand, &trust, ctx) {
                    Ok(accepted) => {
                        proofs.parts.push(part.clone());
                        proofs.accept(accepted, part, ctx);
                        Flow::Next(Self::due(trust, passed, Due::Proof(proofs)))
                    }
                    Err(Unfit::SplitView(refusal)) => Flow::Stop(Stage::Log, refusal, trust.into_state()),
                    Err(Unfit::Other(refusal)) => {
                        let refusal = match demand.before {
                            true => demand.refused(&trust, &refusal.found),
                            false => refusal,
                        };
                        Flow::Stop(Stage::Log, refusal, trust.into_state())
                    }
                }
            }
        }
    }

    fn accept_policy(
        trust: Refreshed,
        passed: Passed,
        target: &TargetRef,
        bytes: &[u8],
        ctx: &mut Context,
    ) -> Flow {
        let digest = sha256(bytes);
        if (digest, bytes.len() as u64) != (target.sha256, target.length) {
            let mismatch = refusal(
                "digest-mismatch",
                TARGET,
                format!("{} bytes with SHA-256 {}", target.length, target.sha256),
                format!("{} bytes with SHA-256 {digest}", bytes.len()),
                "The registry or something on the way changed it: try again, or tell the namespace's authority.",
            );
            return Flow::Stop(Stage::Log, mismatch, trust.into_state());
        }
        match documents::read_log(bytes) {
            Ok(named) => {
                ctx.used.blob(digest, bytes);
                Self::demand(trust, passed, Some(named), ctx)
            }
            Err(error) => Flow::Stop(Stage::Log, error.refusal(), trust.into_state()),
        }
    }

    fn finish(trust: Refreshed, passed: Passed, proofs: Proofs, ctx: &mut Context) -> Flow {
        match &proofs.checkpoint {
            Some(_) => ctx.reports.pass(Stage::Log),
            None => {
                let reason = format!(
                    "the namespace names no log ({TARGET} is not among its targets): a split view is not excluded"
                );
                ctx.reports.skip(Stage::Log, reason);
            }
        }
        let trust = trust.accept_logged(proofs.checkpoint, proofs.named);
        let trust = match proofs.witnessed {
            None => trust,
            Some(time) => match trust.raise_time(time) {
                Ok(trust) => trust,
                Err(failure) => return failed(Stage::Freshness, *failure),
            },
        };
        Flow::Pass(Box::new(Passed {
            state: trust.into_state(),
            ..passed
        }))
    }
}

impl Proofs {
    fn accept(&mut self, accepted: Accepted, part: LogPart, ctx: &mut Context) {
        let Some(demand) = self.open.pop() else { return };
        demand.evidence(&accepted, ctx);
        let witnessed = accepted.checkpoint.witnessed().map(|w| w.time);
        self.witnessed = self.witnessed.max(witnessed);
        if self.checkpoint.is_none() {
            // The state that is persisted now is the proof's checkpoint, or a larger one that contains it. Only the larger one needs
            // the consistency proof again, so that what is kept holds without a network.
            let contained = accepted.state.head.size > accepted.checkpoint.head().size;
            self.checkpoint = Some(accepted.state);
            ctx.used.log = Some(LogPart {
                consistency: part.consistency.filter(|_| contained),
                ..part
            });
        }
    }
}
