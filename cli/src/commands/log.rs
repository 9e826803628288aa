//! `assay log audit`, and what `assay monitor` shares with it.

use std::path::Path;

use assay_client::log::audit::{Audit, Audited};
use assay_client::log::{LogError, LogFolder, LogReader};
use assay_log::cosignature::WitnessPolicy;
use assay_log::policy::{LogPolicy, PolicyError};
use assay_log::{LogProof, SignedCheckpoint, VerifierKey};
use assay_schema::limits::MAX_LOG_PROOF_FILE;
use serde_json::json;

use crate::args::{LogArgs, LogAudit, LogCommand, TokenArgs};
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::Answer;
use crate::progress;

pub(super) fn run(context: &Context, command: &LogCommand) -> Result<Answer, Failure> {
    match command {
        LogCommand::Audit(args) => audit(context, args),
    }
}

/// The log's key and witnesses, and whether the key is believed because the registry says so.
pub(super) fn policy(
    reader: &LogReader<'_>,
    folder: Option<&LogFolder>,
    args: &LogArgs,
) -> Result<(LogPolicy, bool), Failure> {
    let remembered = folder.map(LogFolder::pinned).transpose()?.flatten();
    let (key, first_use) = match args.log.clone().or(remembered) {
        Some(key) => (key, false),
        None => (offered(reader)?, true),
    };
    let bad = |e: PolicyError| Failure::new(Exit::Usage, "log-policy", e.to_string());
    let witnesses = match args.witness.as_slice() {
        [] => None,
        keys => {
            let threshold = args.witness_threshold.unwrap_or(keys.len());
            Some(WitnessPolicy::new(threshold, keys.to_vec()).map_err(bad)?)
        }
    };
    Ok((LogPolicy::new(key, witnesses).map_err(bad)?, first_use))
}

fn offered(reader: &LogReader<'_>) -> Result<VerifierKey, Failure> {
    let info = reader.info()?.ok_or_else(|| {
        Failure::new(Exit::NotFound, "no-log", "the registry has no log")
            .advise("Name the log's key with --log")
    })?;
    let bad = |e: assay_log::note::NoteError| Failure::new(Exit::Network, "malformed-answer", e.to_string());
    info.key.parse().map_err(bad)
}

fn audit(context: &Context, args: &LogAudit) -> Result<Answer, Failure> {
    let token = TokenArgs {
        token: None,
        token_file: None,
    };
    let transport = context.connect(&args.url, &token)?;
    let reader = LogReader::new(&*transport, &args.log.prefix);
    let mirror = args.dir.as_deref().map(LogFolder::open).transpose()?;
    let (policy, first_use) = policy(&reader, mirror.as_ref(), &args.log)?;
    let given = args
        .checkpoint
        .iter()
        .map(|path| Ok((path.display().to_string(), checkpoint(path)?)))
        .collect::<Result<_, Failure>>()?;
    let audit = Audit {
        reader: &reader,
        policy: &policy,
        mirror: mirror.as_ref(),
        given,
        full: args.full,
    };
    let bar = progress::entries(context.show);
    let audited = audit.run(&mut |read| bar.set_position(read));
    bar.finish_and_clear();
    Ok(answer(&audited?, &policy, first_use))
}

/// A signed note, or the proof that a device got.
fn checkpoint(path: &Path) -> Result<SignedCheckpoint, Failure> {
    let bytes = std::fs::read(path).map_err(|e| {
        let exit = match e.kind() {
            std::io::ErrorKind::NotFound => Exit::NotFound,
            _ => Exit::Store,
        };
        Failure::new(exit, "checkpoint-file", format!("{}: {e}", path.display()))
    })?;
    let note = match bytes.len() > MAX_LOG_PROOF_FILE {
        true => None,
        false => SignedCheckpoint::parse(&bytes).ok().or_else(|| {
            LogProof::parse(&bytes)
                .ok()
                .map(|proof| proof.checkpoint().clone())
        }),
    };
    note.ok_or_else(|| {
        let message = format!(
            "{}: expected a signed checkpoint or a tlog-proof, found something else",
            path.display()
        );
        Failure::new(Exit::Usage, "checkpoint-file", message)
    })
}

fn answer(audited: &Audited, policy: &LogPolicy, first_use: bool) -> Answer {
    let (key, head) = (policy.log(), audited.head);
    let mut text = format!("{}: {} entries, root {}\n", key.name(), head.size, head.root);
    if first_use {
        text.push_str(&format!("its key was believed at first use: {key}\n"));
    }
    text.push_str(&format!(
        "{} checkpoints of one history ({} pairs), {} of them new\n",
        audited.checkpoints,
        audited.pairs(),
        audited.added
    ));
    match &audited.witnessed {
        Some(witnessed) => {
            let names: Vec<_> = witnessed.cosigners.keys().map(ToString::to_string).collect();
            text.push_str(&format!(
                "witnessed at {} by {}\n",
                witnessed.time,
                names.join(", ")
            ));
        }
        None => {
            text.push_str("no witnesses demanded: that others are shown another history is not excluded\n")
        }
    }
    if let Some(entries) = audited.entries {
        text.push_str(&format!(
            "read {} entries, {} of them states of namespaces; every root follows from them\n",
            entries.read, entries.leaves
        ));
    }
    let witnessed = audited.witnessed.as_ref().map(|witnessed| {
        let cosigners = witnessed
            .cosigners
            .iter()
            .map(|(name, time)| (name.to_string(), json!(time)));
        json!({"time": witnessed.time, "cosigners": cosigners.collect::<serde_json::Map<_, _>>()})
    });
    let entries = audited
        .entries
        .map(|entries| json!({"read": entries.read, "leaves": entries.leaves}));
    let document = json!({
        "origin": key.name().to_string(), "key": key, "first_use": first_use, "size": head.size, "root": head.root,
        "checkpoints": audited.checkpoints, "pairs": audited.pairs(), "added": audited.added, "witnessed": witnessed,
        "entries": entries,
    });
    Answer::new(document, text)
}

impl From<LogError> for Failure {
    fn from(error: LogError) -> Self {
        let message = crate::verdict::printable(&error.to_string());
        let (exit, code) = match error {
            LogError::Transport(e) => return e.into(),
            LogError::Store(e) => return e.into(),
            LogError::Split { evidence, .. } => {
                let mut failure = Self::new(Exit::Alarm, "log-split", message);
                failure.fields.insert("evidence".to_owned(), json!(evidence));
                return failure;
            }
            LogError::Entries { .. } => (Exit::Alarm, "log-entries"),
            LogError::Missing { .. } => (Exit::Network, "log-incomplete"),
            LogError::Tile(_) => (Exit::Refused, "log-tiles"),
            LogError::Checkpoint { .. } => (Exit::Refused, "bad-checkpoint"),
            LogError::Policy {
                source: PolicyError::TooFewWitnesses { .. },
                ..
            } => (Exit::Refused, "log-witnesses"),
            LogError::Policy { .. } => (Exit::Refused, "log-checkpoint"),
            LogError::Behind { .. } => (Exit::Refused, "log-behind"),
            LogError::OtherLog { .. } => (Exit::Conflict, "other-log"),
            LogError::Journal { .. } => (Exit::Store, "journal"),
            LogError::Stopped(_) => (Exit::Failed, "stopped"),
        };
        Self::new(exit, code, message)
    }
}
