//! Stage 10: putting the verdict together.

use std::collections::{BTreeMap, BTreeSet};

use assay_schema::verdict::{Refusal, StageOutcome, StageReport, Subject};
use assay_schema::{Outcome, Stage, Verdict};
use jiff::Timestamp;

/// What is known of each stage so far.
#[derive(Debug, Clone)]
pub(crate) struct Reports {
    subject: Subject,
    time: Timestamp,
    require: BTreeSet<Stage>,
    outcomes: BTreeMap<Stage, StageOutcome>,
    evidence: BTreeMap<Stage, BTreeMap<String, String>>,
}

/// A refusal from its parts.
pub(crate) fn refusal(
    code: &str,
    subject: impl ToString,
    expected: impl ToString,
    found: impl ToString,
    advice: &str,
) -> Refusal {
    Refusal {
        code: code.to_owned(),
        subject: subject.to_string(),
        expected: expected.to_string(),
        found: found.to_string(),
        advice: advice.to_owned(),
    }
}

impl Reports {
    pub(crate) fn new(subject: Subject, time: Timestamp, require: BTreeSet<Stage>) -> Self {
        Self {
            subject,
            time,
            require,
            outcomes: BTreeMap::new(),
            evidence: BTreeMap::new(),
        }
    }

    pub(crate) fn subject(&mut self) -> &mut Subject {
        &mut self.subject
    }

    pub(crate) fn evidence(&mut self, stage: Stage, key: &str, value: impl ToString) {
        self.evidence
            .entry(stage)
            .or_default()
            .insert(key.to_owned(), value.to_string());
    }

    /// What was found so far.
    pub(crate) fn found(&self, stage: Stage, key: &str) -> Option<&str> {
        self.evidence.get(&stage)?.get(key).map(String::as_str)
    }

    /// Forgets what the stages came to and what was found of the release; what is known of the pin stays.
    pub(crate) fn restart(&mut self) {
        self.subject.version = None;
        self.subject.order = None;
        self.subject.manifest = None;
        self.outcomes.clear();
        let keep = ["identity", "trust_on_first_use"];
        for evidence in self.evidence.values_mut() {
            evidence.retain(|key, _| keep.contains(&key.as_str()));
        }
    }

    pub(crate) fn pass(&mut self, stage: Stage) {
        self.outcomes.insert(stage, StageOutcome::Passed);
    }

    pub(crate) fn skip(&mut self, stage: Stage, reason: impl ToString) {
        self.outcomes.insert(
            stage,
            StageOutcome::Skipped {
                reason: reason.to_string(),
            },
        );
    }

    pub(crate) fn refuse(&mut self, stage: Stage, refusal: Refusal) {
        self.outcomes.insert(stage, StageOutcome::Refused(refusal));
    }

    pub(crate) fn defer(&mut self, stage: Stage, until: Timestamp, reason: impl ToString) {
        self.outcomes.insert(
            stage,
            StageOutcome::Deferred {
                until,
                reason: reason.to_string(),
            },
        );
    }

    /// Turns every required stage that was skipped into a refusal, but for those in `later`.
    pub(crate) fn enforce(&mut self, later: &[Stage]) -> bool {
        let mut enforced = false;
        for stage in self.require.clone() {
            if later.contains(&stage) || stage == Stage::Verdict {
                continue;
            }
            let reason = match self.outcomes.get(&stage) {
                None => not_built(stage).to_owned(),
                Some(StageOutcome::Skipped { reason }) => reason.clone(),
                Some(_) => continue,
            };
            enforced = true;
            self.refuse(
                stage,
                refusal(
                    "required-stage-skipped",
                    stage,
                    "the stage to pass, because the caller requires it",
                    format!("it was skipped: {reason}"),
                    "Provide what the stage needs, or do not require it.",
                ),
            );
        }
        enforced
    }

    /// The verdict over what is known; stages without an outcome are skipped.
    pub(crate) fn verdict(&self) -> Verdict {
        let decided: Vec<&StageOutcome> = self.outcomes.values().collect();
        let outcome = if decided.iter().any(|o| matches!(o, StageOutcome::Refused(_))) {
            Outcome::Refuse
        } else if decided.iter().any(|o| matches!(o, StageOutcome::Deferred { .. })) {
            Outcome::Defer
        } else {
            Outcome::Permit
        };
        let stages = Stage::ALL
            .into_iter()
            .map(|stage| StageReport {
                stage,
                outcome: match self.outcomes.get(&stage) {
                    Some(outcome) => outcome.clone(),
                    None if stage == Stage::Verdict => StageOutcome::Passed,
                    None => StageOutcome::Skipped {
                        reason: self.not_reached(stage),
                    },
                },
                evidence: self.evidence.get(&stage).cloned().unwrap_or_default(),
            })
            .collect();
        Verdict {
            v: 1,
            outcome,
            subject: self.subject.clone(),
            time: self.time,
            stages,
        }
    }

    fn not_reached(&self, stage: Stage) -> String {
        let stopped = self
            .outcomes
            .iter()
            .find(|(_, o)| matches!(o, StageOutcome::Refused(_) | StageOutcome::Deferred { .. }));
        match stopped {
            Some((by, _)) if *by < stage => format!("not reached: {by} stopped the check"),
            _ => not_built(stage).to_owned(),
        }
    }
}

fn not_built(stage: Stage) -> &'static str {
    match stage {
        Stage::Log => "not asked for: a split view is not excluded",
        Stage::Permission => "this version evaluates no policy",
        Stage::Plan => "nothing was planned",
        Stage::Screening => "this version does not screen tensors",
        Stage::Content => "nothing was pulled",
        _ => "nothing was received that it could judge",
    }
}
