//! The commands: each calls a library and says what came of it.

mod attest;
mod catalog;
mod change;
mod delta;
mod endorse;
mod foreign;
mod key;
mod keygen;
mod local;
mod log;
mod monitor;
mod moving;
mod namespace;
mod namespace_log;
mod namespace_signers;
mod proposals;
mod publish;
mod pull;
mod restrict;
mod trust;
mod verify;
mod witness;

use clap::CommandFactory;
use serde_json::json;

use crate::args::{Cli, Command};
use crate::context::Context;
use crate::exit::{self, Exit};
use crate::failure::Failure;
use crate::output::Answer;

pub(crate) fn run(context: &Context, command: Command) -> Result<Answer, Failure> {
    match command {
        Command::Keygen(args) => keygen::run(&args),
        Command::Key(command) => key::run(&command),
        Command::Namespace(command) => namespace::run(context, &command),
        Command::Publish(args) => publish::run(context, &args),
        Command::Attest(args) => attest::run(&args),
        Command::Root(command) => change::root(context, &command),
        Command::Role(command) => change::role(context, &command),
        Command::Endorse(args) => endorse::run(context, &args),
        Command::Approve(args) => change::approve(context, &args),
        Command::Proposals(args) => proposals::run(context, &args),
        Command::Trust(command) => trust::run(context, &command),
        Command::Check(args) => pull::check(context, &args),
        Command::Pull(args) => pull::pull(context, &args),
        Command::Update(args) => pull::update(context, &args),
        Command::Repair(args) => pull::repair(context, &args),
        Command::Verify(args) => verify::run(context, &args),
        Command::Rollback(args) => local::rollback(context, &args),
        Command::Resume(args) => local::resume(context, &args),
        Command::Status(args) => match &args.command {
            Some(command) => restrict::run(context, command),
            None => local::status(context, &args),
        },
        Command::Path(args) => local::path(context, &args),
        Command::Search(args) => catalog::search(context, &args),
        Command::Releases(args) => catalog::releases(context, &args),
        Command::Token(command) => catalog::token(context, &command),
        Command::Delta(command) => delta::run(context, &command),
        Command::Log(command) => log::run(context, &command),
        Command::Monitor(args) => monitor::run(context, &args),
        Command::Witness(command) => witness::run(context, &command),
        Command::Completions { shell } => Ok(completions(shell)),
        Command::ExitCodes => Ok(exit_codes()),
    }
}

fn completions(shell: clap_complete::Shell) -> Answer {
    // Into memory first: the generator panics when its reader goes away.
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "assay", &mut script);
    let script = String::from_utf8_lossy(&script).into_owned();
    Answer::new(json!({"shell": shell.to_string(), "script": script}), script)
}

fn exit_codes() -> Answer {
    let codes: Vec<_> = Exit::ALL
        .iter()
        .map(|e| json!({"code": e.code(), "meaning": e.meaning()}))
        .collect();
    Answer::new(json!({"exit_codes": codes}), exit::table())
}
