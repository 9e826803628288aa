//! Whose demand it is that a state is in a log.

use assay_log::Witnessed;
use assay_log::leaf::LeafKind;
use assay_log::policy::{LogPolicy, VerifiedCheckpoint};
use assay_schema::Stage;
use assay_schema::log::LogTrust;
use assay_schema::verdict::Refusal;
use assay_trust::Refreshed;
use assay_trust::error::confirm_root;

use super::super::Context;
use super::judge::Accepted;
use crate::report::refusal;

/// A log that the state or its root must be in, and who wants that.
#[derive(Debug)]
pub(super) struct Demand {
    pub(super) policy: LogPolicy,
    /// What must be in it: the snapshot binds every file but the root.
    pub(super) kind: LeafKind,
    /// The namespace's authority, by `trust/log.json`.
    named: bool,
    /// The device's owner.
    pinned: bool,
    /// The device: the root is another since its last state, which was in this log; or it is the first that the owner's log has to
    /// show.
    pub(super) before: bool,
}

/// What is demanded of this state. The namespace's own demand is the last: it is judged first, and its checkpoint is the one to keep.
pub(super) fn all(
    trust: &Refreshed,
    named: Option<LogPolicy>,
    ctx: &Context,
) -> Result<Vec<Demand>, Box<Refusal>> {
    let terms = &ctx.pin.terms;
    let followed = trust.state().followed.as_ref();
    let advanced = followed.filter(|f| trust.root_version() > f.root);
    // The owner learned from the authority that this root is right, wherever its states are logged.
    let advanced = advanced.filter(|_| terms.confirmed_root != Some(trust.root_digest()));
    let before = advanced
        .map(|f| read("this device's state", &f.log))
        .transpose()?;
    let pinned = terms.log.as_ref();
    let pinned = pinned
        .map(|log| read("the log that this device's owner pinned", log))
        .transpose()?;
    // The first root is pinned itself; later ones are another's word until the log shows them.
    let new_root = trust.state().settled.is_some() && terms.confirmed_root != Some(trust.root_digest());
    let wanted = [
        (LeafKind::Root, before.clone(), [false, false, true]),
        (
            LeafKind::Root,
            pinned.clone().filter(|_| new_root),
            [false, true, true],
        ),
        (LeafKind::Snapshot, before, [false, false, true]),
        (LeafKind::Snapshot, pinned, [false, true, false]),
        (LeafKind::Snapshot, named, [true, false, false]),
    ];
    let mut all: Vec<Demand> = Vec::new();
    for (kind, policy, [named, pinned, before]) in wanted {
        let Some(policy) = policy else { continue };
        let mut demand = Demand {
            policy,
            kind,
            named,
            pinned,
            before,
        };
        // One proof does for equal demands.
        let same = |other: &Demand| other.kind == kind && other.policy == demand.policy;
        if let Some(at) = all.iter().position(same) {
            let other = all.remove(at);
            demand.pinned |= other.pinned;
            demand.before |= other.before;
        }
        all.push(demand);
    }
    Ok(all)
}

fn read(subject: &str, log: &LogTrust) -> Result<LogPolicy, Box<Refusal>> {
    LogPolicy::try_from(log).map_err(|e| {
        Box::new(refusal(
            "malformed",
            subject,
            "a log with its key, its witnesses' keys and a threshold",
            e,
            "Pin the log again: `assay trust set NAMESPACE --log VKEY`; if that does not help, restore this device's state.",
        ))
    })
}

impl Demand {
    /// A later root, or a state under it, that is not in the log that has to show it.
    pub(super) fn refused(&self, trust: &Refreshed, found: &str) -> Refusal {
        let log = self.policy.log().name();
        let advice = format!(
            "Somebody with keys that the authority retired may have signed this root, or the namespace moved to another log, or \
             the log changed its key while this device was away: do not follow it unasked. {}",
            confirm_root(&trust.root_digest())
        );
        let witnesses = match self.policy.witnesses() {
            Some(w) => format!(", cosigned by {} of its witnesses", w.threshold()),
            None => String::new(),
        };
        refusal(
            "root-not-in-log",
            format!("root {}", trust.root_version()),
            format!("it and its state in the log {log}{witnesses}, on which this device relies"),
            found,
            &advice,
        )
    }

    /// For the verdict.
    pub(super) fn evidence(&self, accepted: &Accepted, ctx: &mut Context) {
        let checkpoint = &accepted.checkpoint;
        if self.kind == LeafKind::Root {
            let place = format!("entry {} of {}", accepted.index, checkpoint.origin());
            return ctx.reports.evidence(Stage::Log, "new_root", place);
        }
        let prefix = match (self.named, self.pinned) {
            (true, _) => "",
            (false, true) => "pinned_",
            (false, false) => "followed_",
        };
        let witnessed = checkpoint.witnessed().map(|w| ("witnessed", w.time.to_string()));
        let evidence = [
            ("log", checkpoint.origin().to_string()),
            ("size", checkpoint.head().size.to_string()),
            ("root", checkpoint.head().root.to_string()),
            ("index", accepted.index.to_string()),
            ("split_view", split_view(checkpoint)),
        ];
        for (key, value) in evidence.into_iter().chain(witnessed) {
            ctx.reports.evidence(Stage::Log, &format!("{prefix}{key}"), value);
        }
    }
}

fn split_view(checkpoint: &VerifiedCheckpoint) -> String {
    match checkpoint.witnessed() {
        None => "split view not excluded: no witnesses are demanded".to_owned(),
        Some(witnessed) => format!("excluded by {}", names(witnessed)),
    }
}

fn names(witnessed: &Witnessed) -> String {
    let names: Vec<String> = witnessed.cosigners.keys().map(ToString::to_string).collect();
    names.join(", ")
}
