//! Stage 4: the snapshot that this check rests on is in the log that the namespace names, and the log only grew.
//!
//! It is walked after stage 5, so that a registry can let a release pass everything else before its snapshot has a place in the log.
//! The log's key and witnesses come from `trust/log.json`, which the top-level targets role signs.

use assay_log::follow::{FollowError, Next, follow};
use assay_log::leaf::LeafKind;
use assay_log::policy::{LogPolicy, PolicyError, VerifiedCheckpoint};
use assay_log::proof::ProofError;
use assay_log::{Leaf, LogProof, LogState, VerifierKey, WitnessPolicy};
use assay_provenance::crypto::sha256;
use assay_schema::bundle::LogPart;
use assay_schema::log::{LogTrust, TARGET, VERSION};
use assay_schema::verdict::Refusal;
use assay_schema::{Sha256Digest, Stage, canonical, limits};
use assay_trust::releases::TargetRef;
use assay_trust::{DeviceState, Refreshed};

use super::phase::{Phase, stop};
use super::release::Passed;
use super::{Context, Flow};
use crate::report::refusal;
use crate::request::{Fetch, Resource};

const ADVICE: &str = "The registry shows a state that its log does not hold: do not use the release; tell the namespace's authority \
     and keep what was shown.";

/// Judging the log: what is due is the first of these that is not there yet.
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
    /// The proof for the snapshot.
    Proof(Box<LogPolicy>),
}

/// Why a proof does not do.
enum Unfit {
    /// Two histories, both signed by the log: nothing that is fetched makes it good.
    SplitView(Refusal),
    /// Another proof may do.
    Other(Refusal),
}

impl Log {
    pub(super) fn state(&self) -> &DeviceState {
        self.trust.state()
    }

    pub(super) fn begin(trust: Refreshed, passed: Passed, ctx: &mut Context) -> Flow {
        match trust.top_level_target(TARGET) {
            Err(error) => stop(Stage::Log, error, trust.into_state()),
            Ok(Some(target)) => Flow::Next(Self::due(trust, passed, Due::Policy(target))),
            Ok(None) => {
                let reason = format!(
                    "the namespace names no log ({TARGET} is not among its targets): a split view is not excluded"
                );
                ctx.reports.skip(Stage::Log, reason);
                pass(trust, passed)
            }
        }
    }

    fn due(trust: Refreshed, passed: Passed, due: Due) -> Phase {
        Phase::Log(Box::new(Self { trust, passed, due }))
    }

    pub(super) fn step(self: Box<Self>, ctx: &mut Context) -> Flow {
        match &self.due {
            Due::Policy(target) => {
                let at_hand = target
                    .note
                    .inline
                    .clone()
                    .or_else(|| ctx.prefetch.blob(&target.sha256).map(str::to_owned));
                if let Some(text) = at_hand {
                    return self.accept(text.as_bytes(), ctx);
                }
                let resource = Resource::Target {
                    path: target.consistent_path(),
                };
                let fetch = Fetch {
                    resource,
                    max: target.length,
                    etag: None,
                };
                Flow::Need(Phase::Log(self), fetch)
            }
            Due::Proof(policy) => {
                // What is at hand may be of an older snapshot, or lack what connects it with this device's checkpoint.
                let judged = ctx
                    .prefetch
                    .log()
                    .map(|part| (judge(part, policy, &self.trust, ctx), part.clone()));
                match judged {
                    Some((Ok(accepted), part)) => self.passes(accepted, part, ctx),
                    Some((Err(Unfit::SplitView(refusal)), _)) => {
                        Flow::Stop(Stage::Log, refusal, self.trust.into_state())
                    }
                    Some((Err(Unfit::Other(_)), _)) | None => {
                        let resource = Resource::LogProof {
                            snapshot: self.trust.snapshot_version(),
                            size: known(self.trust.state(), policy).map(|state| state.head.size),
                        };
                        let fetch = Fetch {
                            resource,
                            max: limits::MAX_LOG_PART,
                            etag: None,
                        };
                        Flow::Need(Phase::Log(self), fetch)
                    }
                }
            }
        }
    }

    pub(super) fn accept(self: Box<Self>, bytes: &[u8], ctx: &mut Context) -> Flow {
        match &self.due {
            Due::Policy(target) => {
                let digest = sha256(bytes);
                if (digest, bytes.len() as u64) != (target.sha256, target.length) {
                    let mismatch = refusal(
                        "digest-mismatch",
                        TARGET,
                        format!("{} bytes with SHA-256 {}", target.length, target.sha256),
                        format!("{} bytes with SHA-256 {digest}", bytes.len()),
                        "The registry or something on the way changed it: try again, or tell the namespace's authority.",
                    );
                    return Flow::Stop(Stage::Log, mismatch, self.trust.into_state());
                }
                match policy(bytes) {
                    Ok(policy) => {
                        ctx.used.blob(digest, bytes);
                        let Self { trust, passed, .. } = *self;
                        Flow::Next(Self::due(trust, passed, Due::Proof(Box::new(policy))))
                    }
                    Err(found) => {
                        let malformed = refusal(
                            "malformed",
                            TARGET,
                            "a log of version 1 with its key, its witnesses' keys and a threshold",
                            found,
                            "Ask the namespace's authority to sign a document of version 1, or update this software.",
                        );
                        Flow::Stop(Stage::Log, malformed, self.trust.into_state())
                    }
                }
            }
            Due::Proof(policy) => {
                let part = match canonical::read::<LogPart>(bytes, limits::MAX_LOG_PART) {
                    Ok(part) => part,
                    Err(error) => {
                        let advice =
                            "The registry is broken: tell its operator. What is active stays active.";
                        let malformed =
                            refusal("malformed", "log proof", "a proof and consistency", error, advice);
                        return Flow::Stop(Stage::Log, malformed, self.trust.into_state());
                    }
                };
                match judge(&part, policy, &self.trust, ctx) {
                    Ok(accepted) => self.passes(accepted, part, ctx),
                    Err(Unfit::SplitView(refusal) | Unfit::Other(refusal)) => {
                        Flow::Stop(Stage::Log, refusal, self.trust.into_state())
                    }
                }
            }
        }
    }

    fn passes(self: Box<Self>, accepted: Accepted, part: LogPart, ctx: &mut Context) -> Flow {
        let Self { trust, passed, .. } = *self;
        let Accepted {
            index,
            checkpoint,
            state,
        } = accepted;
        let evidence = [
            ("log", checkpoint.origin().to_string()),
            ("size", checkpoint.head().size.to_string()),
            ("root", checkpoint.head().root.to_string()),
            ("index", index.to_string()),
            ("split_view", split_view(&checkpoint)),
        ];
        for (key, value) in evidence {
            ctx.reports.evidence(Stage::Log, key, value);
        }
        ctx.reports.pass(Stage::Log);
        // The state that is persisted now is the proof's checkpoint, or a larger one that contains it. Only the larger one needs the
        // consistency proof again, so that what is kept holds without a network.
        let contained = state.head.size > checkpoint.head().size;
        ctx.used.log = Some(LogPart {
            consistency: part.consistency.filter(|_| contained),
            ..part
        });
        pass(trust.with_log(state), passed)
    }
}

struct Accepted {
    index: u64,
    checkpoint: VerifiedCheckpoint,
    state: LogState,
}

fn pass(trust: Refreshed, passed: Passed) -> Flow {
    Flow::Pass(Box::new(Passed {
        state: trust.into_state(),
        ..passed
    }))
}

/// What the device knows of this very log. The authority may name another one, in metadata that no registry can roll back; then the
/// device begins anew with that.
fn known<'a>(state: &'a DeviceState, policy: &LogPolicy) -> Option<&'a LogState> {
    let log = state.log.as_ref();
    log.filter(|known| known.origin.as_str() == policy.log().name().as_str())
}

fn split_view(checkpoint: &VerifiedCheckpoint) -> String {
    match checkpoint.witnessed() {
        None => "split view not excluded: the namespace demands no witnesses".to_owned(),
        Some(witnessed) => format!("excluded by {}", names(witnessed)),
    }
}

fn names(witnessed: &assay_log::Witnessed) -> String {
    let names: Vec<String> = witnessed.cosigners.keys().map(ToString::to_string).collect();
    names.join(", ")
}

/// Reads `trust/log.json`.
fn policy(bytes: &[u8]) -> Result<LogPolicy, String> {
    let trust: LogTrust = canonical::read(bytes, limits::MAX_TRUST_TARGET).map_err(|e| e.to_string())?;
    if trust.v != VERSION {
        return Err(format!("version {}", trust.v));
    }
    let key = |text: &String| text.parse::<VerifierKey>().map_err(|e| e.to_string());
    let witnesses = trust.witnesses.iter().map(key).collect::<Result<Vec<_>, _>>()?;
    let demanded = match trust.threshold {
        0 => None,
        k => {
            let threshold = usize::try_from(k).map_err(|e| e.to_string())?;
            Some(WitnessPolicy::new(threshold, witnesses).map_err(|e| e.to_string())?)
        }
    };
    LogPolicy::new(key(&trust.log)?, demanded).map_err(|e| e.to_string())
}

/// The leaf of the snapshot that this check rests on.
fn leaf(trust: &Refreshed, ctx: &Context) -> Result<Sha256Digest, String> {
    let snapshot = trust.state().snapshot.as_deref().unwrap_or_default();
    let version = trust.snapshot_version();
    let leaf = Leaf::new(
        ctx.pin.identity,
        LeafKind::Snapshot,
        version,
        sha256(snapshot.as_bytes()),
    );
    leaf.and_then(|leaf| leaf.hash()).map_err(|e| e.to_string())
}

fn judge(part: &LogPart, policy: &LogPolicy, trust: &Refreshed, ctx: &Context) -> Result<Accepted, Unfit> {
    let subject = format!("snapshot {} in the log", trust.snapshot_version());
    let unfit = |code, expected: String, found: String, advice| {
        Unfit::Other(refusal(code, &subject, expected, found, advice))
    };
    let expected = || format!("a proof of the log {}", policy.log().name());
    let proof = LogProof::parse(part.proof.as_bytes()).map_err(|e| {
        unfit(
            "malformed",
            expected(),
            e.to_string(),
            "The registry is broken: tell its operator.",
        )
    })?;
    let leaf = leaf(trust, ctx).map_err(|e| unfit("malformed", expected(), e, ADVICE))?;
    let checkpoint = proof.verify(&leaf, policy).map_err(|e| {
        let (code, advice) = match &e {
            ProofError::Policy(PolicyError::TooFewWitnesses { .. }) => (
                "too-few-witnesses",
                "Wait until enough witnesses have cosigned, and try again. What is active stays active.",
            ),
            ProofError::Merkle(_) => ("not-in-log", ADVICE),
            _ => ("wrong-log", ADVICE),
        };
        unfit(code, expected(), e.to_string(), advice)
    })?;
    let next = follow(known(trust.state(), policy), &checkpoint);
    let state = match next {
        Ok(Next::Accept(state)) => state,
        Ok(Next::Prove(wait)) => {
            let (old, new) = wait.sizes();
            let expected = format!("one history from {old} to {new} entries");
            match &part.consistency {
                Some(hashes) => wait
                    .proven(hashes)
                    .map_err(|e| unfit("log-inconsistent", expected, e.to_string(), ADVICE))?,
                None => {
                    let found = wait.unproven().to_string();
                    return Err(unfit("log-unproven", expected, found, ADVICE));
                }
            }
        }
        Err(error) => {
            let expected = match &error {
                FollowError::Equivocation { size, expected, .. } => {
                    format!("root {expected} at size {size}, which this device has seen")
                }
                _ => "the log that this device follows".to_owned(),
            };
            let advice = "The log shows two histories: keep both checkpoints, report them, and trust no release that only one holds.";
            return Err(Unfit::SplitView(refusal(
                "split-view",
                &subject,
                expected,
                error,
                advice,
            )));
        }
    };
    Ok(Accepted {
        index: proof.index(),
        checkpoint,
        state,
    })
}
