//! A verdict for people.

use std::fmt::Write as _;

use assay_schema::verdict::{Outcome, StageOutcome, StageReport, Verdict};

use crate::output::columns;

/// One line for each stage and one for the outcome; with the evidence if `verbose`.
pub(crate) fn table(verdict: &Verdict, verbose: bool) -> String {
    let rows: Vec<[String; 4]> = verdict.stages.iter().map(row).collect();
    let mut text = String::new();
    for (line, report) in columns(&rows).lines().zip(&verdict.stages) {
        let _ = writeln!(text, "{line}");
        if verbose {
            let evidence: Vec<[String; 2]> = report
                .evidence
                .iter()
                .map(|(name, value)| [format!("      {name}"), printable(value)])
                .collect();
            text.push_str(&columns(&evidence));
        }
    }
    let _ = writeln!(text, "{}", conclusion(verdict));
    text
}

/// `permitted: acme/minilm@1.2.0 (order 1.12)`.
pub(crate) fn conclusion(verdict: &Verdict) -> String {
    let word = match verdict.outcome {
        Outcome::Permit => "permitted",
        Outcome::Refuse => "refused",
        Outcome::Defer => "deferred",
    };
    let subject = &verdict.subject;
    let mut text = format!("{word}: {}/{}", subject.namespace, subject.model);
    if let Some(version) = &subject.version {
        let _ = write!(text, "@{version}");
    }
    if let Some(order) = &subject.order {
        let _ = write!(text, " (order {order})");
    }
    text
}

fn row(report: &StageReport) -> [String; 4] {
    let (word, detail) = match &report.outcome {
        StageOutcome::Passed => ("passed", String::new()),
        StageOutcome::Refused(refusal) => ("REFUSED", refusal.to_string()),
        StageOutcome::Deferred { until, reason } => ("deferred", format!("until {until}: {reason}")),
        StageOutcome::Skipped { reason } => ("skipped", reason.clone()),
    };
    let number = format!("{:>2}", report.stage.number());
    [
        number,
        report.stage.name().to_owned(),
        word.to_owned(),
        printable(&detail),
    ]
}

/// Text that may come from a stranger, without what would move a terminal's cursor or colour.
pub(crate) fn printable(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect()
}
