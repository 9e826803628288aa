//! `assay witness`: a witness of transparency logs that anybody can host.

mod serve;

use std::io::Write;
use std::sync::Arc;

use assay_client::witness::{FollowedLog, WitnessFolder, view};
use serde_json::{Value, json};

use crate::args::{WitnessAddLog, WitnessCommand, WitnessInit, WitnessRun, WitnessShow};
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{Answer, columns, complain};
use crate::passphrase::{self, Passphrases};

pub(super) fn run(context: &Context, command: &WitnessCommand) -> Result<Answer, Failure> {
    match command {
        WitnessCommand::Init(args) => init(args),
        WitnessCommand::AddLog(args) => add_log(args),
        WitnessCommand::Show(args) => show(args),
        WitnessCommand::Run(args) => serve(context, args),
    }
}

fn init(args: &WitnessInit) -> Result<Answer, Failure> {
    let passphrase = match args.encrypt {
        true => Some(passphrase::choose(args.passphrase.passphrase_file.as_deref())?),
        false => None,
    };
    let folder = WitnessFolder::open(&args.dir)?;
    let made = folder.init(&args.name, passphrase.as_deref().map(String::as_str))?;
    let document = json!({"folder": args.dir, "encrypted": made.encrypted, "key": made.key});
    Ok(Answer::new(document, made.key.to_string()))
}

fn add_log(args: &WitnessAddLog) -> Result<Answer, Failure> {
    let folder = WitnessFolder::open(&args.dir)?;
    let mut logs = Vec::new();
    for key in &args.log {
        logs.push(folder.add_log(key)?);
    }
    let text: Vec<String> = logs
        .iter()
        .map(|log| format!("follows {}\n", log.origin))
        .collect();
    let documents: Vec<Value> = logs.iter().map(document).collect();
    Ok(Answer::new(json!({"logs": documents}), text.concat()))
}

fn document(log: &FollowedLog) -> Value {
    let head = log.last.as_ref().map(|last| last.checkpoint().head());
    json!({
        "origin": log.origin, "keys": log.keys, "size": head.map(|head| head.size), "root": head.map(|head| head.root),
        "evidence": log.equivocations + log.unproven, "equivocations": log.equivocations, "unproven": log.unproven,
    })
}

fn show(args: &WitnessShow) -> Result<Answer, Failure> {
    let (key, logs) = view(&args.dir)?;
    let mut rows = vec![["key".to_owned(), key.to_string()]];
    for log in &logs {
        let head = log.last.as_ref().map(|last| last.checkpoint().head());
        let known = head.map_or_else(
            || "nothing cosigned yet".to_owned(),
            |head| format!("cosigned {} entries, root {}", head.size, head.root),
        );
        rows.push([format!("log {}", log.origin), known]);
        let kept = [
            (log.equivocations, "show two histories"),
            (log.unproven, "may: their proof does not hold"),
        ];
        for (count, what) in kept.into_iter().filter(|(count, _)| *count > 0) {
            rows.push([String::new(), format!("requests that {what}: {count}")]);
        }
    }
    let logs: Vec<Value> = logs.iter().map(document).collect();
    Ok(Answer::new(json!({"key": key, "logs": logs}), columns(&rows)))
}

fn serve(context: &Context, args: &WitnessRun) -> Result<Answer, Failure> {
    let folder = WitnessFolder::open(&args.dir)?;
    for key in &args.log {
        folder.add_log(key)?;
    }
    let passphrases = Passphrases::new(&args.passphrase)?;
    let witness = Arc::new(folder.witness(&|path| passphrases.of(path))?);
    if witness.origins().next().is_none() {
        let message = format!("{}: expected a log to follow, found none", args.dir.display());
        return Err(Failure::new(Exit::NotFound, "no-log", message)
            .advise("Name one with --log, or with `assay witness add-log`"));
    }
    let ready = |address: std::net::SocketAddr| {
        let line = format!("listening on http://{address}");
        if context.show.json {
            // Standard output is for the one document at the end.
            complain(&line);
        } else {
            let mut out = std::io::stdout().lock();
            // Nobody may be reading; the witness serves all the same.
            let _ = writeln!(out, "{line}").and_then(|()| out.flush());
        }
    };
    let key = witness.key().clone();
    let cosigned = serve::serve(witness, args.listen, context.show.quiet, ready).map_err(|e| {
        Failure::new(
            Exit::Network,
            "listen",
            format!("cannot serve on {}: {e}", args.listen),
        )
        .advise("Choose another address with --listen")
    })?;
    let document = json!({"key": key, "cosigned": cosigned});
    Ok(Answer::new(
        document,
        format!("stopped; cosigned {cosigned} checkpoints"),
    ))
}
