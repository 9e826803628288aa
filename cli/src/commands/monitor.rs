//! `assay monitor`.

use std::collections::BTreeMap;
use std::io::Write;
use std::time::Duration;

use assay_client::log::monitor::{Alert, Journals, Monitor, Round, Terms, Webhook};
use assay_client::log::{LogFolder, LogReader};
use assay_client::publisher::AuthorityFolder;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::log::policy;
use crate::args;
use crate::context::{Context, Pace};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{Answer, complain};
use crate::verdict::printable;

/// The signing journal in an authority's folder.
const JOURNAL: &str = "signed.jsonl";
/// What files of a registry may take in a round, all together.
const PATIENCE: Duration = Duration::from_secs(60);

pub(super) fn run(context: &Context, args: &args::Monitor) -> Result<Answer, Failure> {
    let (terms, registry) = terms(args)?;
    let transport = context.connect(&registry, &args.token)?;
    // A registry that leaves a file without an answer must not keep alerts back; it is asked again in the next round.
    let files = context.connect_at(&registry, &args.token, Pace::Brief)?;
    let reader = LogReader::new(&*transport, &args.log.prefix);
    let webhook = args.webhook.as_deref().map(Webhook::new).transpose();
    let webhook = webhook.map_err(|e| Failure::new(Exit::Usage, "webhook", e.to_string()))?;
    let folder = LogFolder::open(&args.dir)?;
    let (policy, first_use) = policy(&reader, Some(&folder), &args.log)?;
    if first_use {
        complain(&format!(
            "the log's key was believed at first use: {}",
            policy.log()
        ));
    }
    let mut monitor = Monitor::open(folder, policy)?;
    let (mut alerts, mut entries, mut leaves) = (Vec::new(), 0, 0);
    loop {
        let now = Timestamp::now();
        let round = monitor.round(&reader, &*files, &terms, now);
        let show = context.show;
        // Also behind a round that could not be written down: its alerts wait in memory.
        let delivered = monitor.deliver(
            webhook.as_ref(),
            &mut |alert| match (show.json, args.every) {
                (true, None) => alerts.push(alert.clone()),
                (true, Some(_)) => print(&format!("{}\n", json!(alert))),
                (false, every) => {
                    if every.is_none() {
                        alerts.push(alert.clone());
                    }
                    print(&people(alert));
                }
            },
            now,
        );
        let looked = round.and_then(|round| Ok((round, delivered?)));
        let (mut round, undelivered) = match (looked, args.every) {
            (Ok(looked), _) => looked,
            // A disk that is full for a moment must not end the watch.
            (Err(error), Some(every)) => {
                complain(&printable(&format!("error: {error}; the next round tries again")));
                std::thread::sleep(every.try_into().unwrap_or_default());
                continue;
            }
            (Err(error), None) => return Err(error.into()),
        };
        if let Some(why) = &undelivered {
            complain(&format!(
                "{why}; {} alerts wait for the next round",
                monitor.undelivered()
            ));
        }
        if round.unfinished {
            (entries, leaves) = (entries + round.entries, leaves + round.leaves);
            continue;
        }
        round.entries += std::mem::take(&mut entries);
        round.leaves += std::mem::take(&mut leaves);
        let Some(every) = args.every else {
            return outcome(context, &monitor, round, &alerts, undelivered);
        };
        if let Some(failure) = &round.failure {
            complain(&printable(&format!(
                "error: {failure}; the next round goes on there"
            )));
        } else if context.show.verbose {
            complain(&summary(&round));
        }
        std::thread::sleep(every.try_into().unwrap_or_default());
    }
}

fn terms(args: &args::Monitor) -> Result<(Terms, String), Failure> {
    if args.every.is_some_and(|every| every.as_secs() < 1) {
        return Err(Failure::new(
            Exit::Usage,
            "usage",
            "--every: expected at least 1s",
        ));
    }
    let mut namespaces: BTreeMap<_, _> = args
        .namespace
        .iter()
        .map(|named| (named.identity, named.name.clone()))
        .collect();
    let (mut files, mut registry) = (args.journal.clone(), args.registry.clone());
    for path in &args.authority {
        if !path.is_dir() {
            let message = format!("{}: expected an authority's folder, found none", path.display());
            return Err(Failure::new(Exit::NotFound, "authority-folder", message));
        }
        let record = AuthorityFolder::open(path)?.namespace()?;
        namespaces.insert(record.identity, record.name);
        files.push(path.join(JOURNAL));
        registry = registry.or(Some(record.registry));
    }
    if args.agree == 0 || args.agree > files.len() {
        let message = format!(
            "--agree: expected 1 to {}, the number of journals, found {}",
            files.len(),
            args.agree
        );
        return Err(Failure::new(Exit::Usage, "usage", message));
    }
    let registry = registry.ok_or_else(|| {
        Failure::new(
            Exit::Usage,
            "usage",
            "--registry: expected the registry's address, found none",
        )
        .advise("Give it with --registry or ASSAY_REGISTRY")
    })?;
    let terms = Terms {
        namespaces,
        journals: Journals {
            files,
            agree: args.agree,
        },
        grace: args.grace,
        patience: PATIENCE,
        max_age: Some(args.max_age),
    };
    Ok((terms, registry))
}

fn summary(round: &Round) -> String {
    let size = round.head.map_or(0, |head| head.size);
    format!(
        "log of {size} entries, {} looked at, {} of them of these namespaces; {} alerts",
        round.entries, round.leaves, round.raised
    )
}

/// What came of the one round: an alarm before anything else.
fn outcome(
    context: &Context,
    monitor: &Monitor,
    round: Round,
    alerts: &[Alert],
    undelivered: Option<String>,
) -> Result<Answer, Failure> {
    let standing: Vec<_> = monitor.standing().collect();
    let document = json!({
        "size": round.head.map(|head| head.size), "root": round.head.map(|head| head.root), "entries": round.entries,
        "leaves": round.leaves, "alerts": alerts, "standing": standing, "undelivered": monitor.undelivered(),
        "webhook_error": undelivered,
    });
    let fields = match document {
        Value::Object(fields) => fields,
        _ => Map::new(),
    };
    let waiting = monitor.undelivered();
    if !alerts.is_empty() || waiting > 0 || !standing.is_empty() {
        let lasting: Vec<_> = standing.iter().map(ToString::to_string).collect();
        let mut message = format!("{} alerts", alerts.len());
        if waiting > 0 {
            message.push_str(&format!(", {waiting} not delivered to the webhook yet"));
        }
        if !lasting.is_empty() {
            message.push_str(&format!("; lasting: {}", lasting.join(", ")));
        }
        return Err(Failure {
            fields,
            ..Failure::new(Exit::Alarm, "alarm", message)
        });
    }
    let text = match context.show.quiet {
        true => String::new(),
        false => summary(&round),
    };
    match round.failure {
        Some(failure) => Err(Failure {
            fields,
            ..failure.into()
        }),
        None => Ok(Answer::new(Value::Object(fields), text)),
    }
}

fn people(alert: &Alert) -> String {
    let mut text = format!(
        "ALERT {}\n  {}\n",
        printable(&alert.text),
        printable(&alert.advice)
    );
    if let Some(path) = &alert.evidence {
        text.push_str(&format!("  evidence: {}\n", path.display()));
    }
    text
}

/// Whoever reads the output may be gone; the webhook is told all the same.
fn print(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}
