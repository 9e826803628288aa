//! `assay namespace log`: the log that a namespace names, and the witnesses that it demands.

use assay_client::publisher::{LogChange, NamedLog, Publisher};
use assay_schema::log::LogTrust;
use jiff::Timestamp;
use serde_json::json;

use super::change::{decide, open};
use crate::args::{LogName, NamespaceLog};
use crate::context::Context;
use crate::failure::Failure;
use crate::output::{Answer, columns, complain};
use crate::verdict::printable;

pub(super) fn run(context: &Context, args: &NamespaceLog) -> Result<Answer, Failure> {
    let (publisher, _) = open(context, &args.sign, Some(&args.namespace))?;
    let now = Timestamp::now();
    let change = LogChange {
        log: match &args.log {
            None => NamedLog::Keep,
            Some(LogName::None) => NamedLog::None,
            Some(LogName::Registry) => NamedLog::Registry,
            Some(LogName::Key(key)) => NamedLog::Key(key.clone()),
        },
        witnesses: (args.no_witnesses || !args.witness.is_empty()).then(|| args.witness.clone()),
        threshold: args.witness_threshold,
    };
    if change == LogChange::default() {
        return Ok(shown(publisher.log(now)?.as_ref()));
    }
    let proposal = publisher.propose_log(&change, now)?;
    // By what is about to be signed, so that nobody signs it unwarned.
    if let Some(trust) = publisher.proposed_log(&proposal)? {
        warn_of_unasked(&publisher, &trust)?;
    }
    decide(&publisher, proposal, &args.sign)
}

/// Devices refuse while the registry does not ask as many witnesses as they demand.
pub(super) fn warn_of_unasked(publisher: &Publisher, trust: &LogTrust) -> Result<(), Failure> {
    for key in publisher.unasked(trust)? {
        complain(&printable(&format!(
            "warning: the registry does not ask witness {key}; its operator adds it to [transparency] witnesses"
        )));
    }
    Ok(())
}

fn shown(trust: Option<&LogTrust>) -> Answer {
    let Some(trust) = trust else {
        let text = "the namespace names no log: devices do not demand that its states are in one";
        return Answer::new(json!({"log": null}), text);
    };
    let mut rows = vec![
        ["log".to_owned(), printable(&trust.log)],
        [
            "witnesses".to_owned(),
            format!(
                "{} of {} must have cosigned",
                trust.threshold,
                trust.witnesses.len()
            ),
        ],
    ];
    rows.extend(trust.witnesses.iter().map(|key| [String::new(), printable(key)]));
    Answer::new(json!({"log": trust}), columns(&rows))
}
