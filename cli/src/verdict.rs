//! A verdict for people.

use std::fmt::Write as _;

use assay_schema::Stage;
use assay_schema::verdict::{Outcome, StageOutcome, StageReport, Verdict};

use crate::output::columns;

/// One line for each stage, the last of which is the outcome; with the evidence if `verbose`.
pub(crate) fn table(verdict: &Verdict, verbose: bool) -> String {
    // That the tenth stage came to an end says nothing that its outcome does not.
    let before: Vec<StageReport> = verdict
        .stages
        .iter()
        .filter(|report| report.stage != Stage::Verdict)
        .cloned()
        .collect();
    format!("{}{}\n", stages(&before, verbose), conclusion(verdict))
}

/// One line for each stage; with the evidence if `verbose`.
pub(crate) fn stages(reports: &[StageReport], verbose: bool) -> String {
    let rows: Vec<[String; 4]> = reports.iter().map(row).collect();
    let mut text = String::new();
    for (line, report) in columns(&rows).lines().zip(reports) {
        let _ = writeln!(text, "{line}");
        if verbose {
            let evidence: Vec<[String; 2]> = report
                .evidence
                .iter()
                .map(|(name, value)| [format!("      {name}"), printable(value)])
                .collect();
            text.push_str(&columns(&evidence));
        } else {
            // What nobody may overlook: statements about the release, and what was not read.
            let shown = |name: &str| {
                name.starts_with("attestation_") || matches!(name, "partial" | "not_recomputed" | "unchanged")
            };
            for (_, value) in report.evidence.iter().filter(|(name, _)| shown(name)) {
                let _ = writeln!(text, "      {}", printable(value));
            }
        }
    }
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
        // What was expected and found follows in the error.
        StageOutcome::Refused(refusal) => ("REFUSED", format!("{}: {}", refusal.code, refusal.subject)),
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

/// Text that may come from a stranger, without what would move a terminal's cursor, colour it, or turn its writing round.
pub(crate) fn printable(text: &str) -> String {
    let harmless = |c: char| {
        !c.is_control()
            && !matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    text.chars()
        .map(|c| if harmless(c) { c } else { '\u{fffd}' })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_that_turns_the_writing_round_is_not_printed() {
        assert_eq!(
            printable("a\u{202e}b\u{1b}[31m\nc"),
            "a\u{fffd}b\u{fffd}[31m\u{fffd}c"
        );
        assert_eq!(printable("plain \u{e9}"), "plain \u{e9}");
    }
}
