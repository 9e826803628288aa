//! Judging one proof by one demand.

use assay_log::follow::{FollowError, Next, follow};
use assay_log::leaf::LeafKind;
use assay_log::policy::{LogPolicy, PolicyError, VerifiedCheckpoint};
use assay_log::proof::ProofError;
use assay_log::{Leaf, LogProof, LogState};
use assay_provenance::crypto::sha256;
use assay_schema::Sha256Digest;
use assay_schema::bundle::LogPart;
use assay_schema::verdict::Refusal;
use assay_trust::{DeviceState, Refreshed};

use super::super::Context;
use super::demand::Demand;
use crate::report::refusal;

const ADVICE: &str = "The registry shows a state that its log does not hold: do not use the release; tell the namespace's authority \
     and keep what was shown.";

const OTHER_LOG: &str = "The registry shows another log than the one that is demanded: do not use the release. If the log changed its \
     key, learn the new one from the namespace's authority; who pinned the old one pins that: `assay trust set NAMESPACE --log VKEY`.";

/// Why a proof does not do.
pub(super) enum Unfit {
    /// Two histories, both signed by the log: nothing that is fetched makes it good.
    SplitView(Refusal),
    /// Another proof may do.
    Other(Refusal),
}

/// A proof that does.
pub(super) struct Accepted {
    /// The snapshot's place.
    pub(super) index: u64,
    pub(super) checkpoint: VerifiedCheckpoint,
    /// What the device knows of the log from here on.
    pub(super) state: LogState,
}

/// What the device knows of this very log. The authority may name another one, in metadata that no registry can roll back; then the
/// device begins anew with that.
pub(super) fn known<'a>(state: &'a DeviceState, policy: &LogPolicy) -> Option<&'a LogState> {
    let log = state.log.as_ref();
    log.filter(|known| known.origin.as_str() == policy.log().name().as_str())
}

/// The leaf of the snapshot that this check rests on, or of its root.
fn leaf(kind: LeafKind, trust: &Refreshed, ctx: &Context) -> Result<Sha256Digest, String> {
    let (version, sha256) = match kind {
        LeafKind::Root => (trust.root_version(), trust.root_digest()),
        LeafKind::Snapshot => {
            let snapshot = trust.state().snapshot.as_deref().unwrap_or_default();
            (trust.snapshot_version(), sha256(snapshot.as_bytes()))
        }
    };
    let leaf = Leaf::new(ctx.pin.identity, kind, version, sha256);
    leaf.and_then(|leaf| leaf.hash()).map_err(|e| e.to_string())
}

/// Whether the proof shows that what is demanded is in the log, which only grew.
pub(super) fn judge(
    part: &LogPart,
    demand: &Demand,
    trust: &Refreshed,
    ctx: &Context,
) -> Result<Accepted, Unfit> {
    let policy = &demand.policy;
    let subject = match demand.kind {
        LeafKind::Root => format!("root {} in the log", trust.root_version()),
        LeafKind::Snapshot => format!("snapshot {} in the log", trust.snapshot_version()),
    };
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
    let leaf = leaf(demand.kind, trust, ctx).map_err(|e| unfit("malformed", expected(), e, ADVICE))?;
    let checkpoint = proof.verify(&leaf, policy).map_err(|e| {
        let (code, advice) = match &e {
            ProofError::Policy(PolicyError::TooFewWitnesses { .. }) => (
                "too-few-witnesses",
                "Wait until enough witnesses have cosigned, and try again. What is active stays active.",
            ),
            ProofError::Merkle(_) => ("not-in-log", ADVICE),
            _ => ("wrong-log", OTHER_LOG),
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
