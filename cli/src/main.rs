//! The command `assay`: reads the command line, calls the libraries, prints what came of it. Nothing is decided here.
#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic
    )
)]

mod args;
mod commands;
mod context;
mod exit;
mod failure;
mod observed;
mod output;
mod passphrase;
mod progress;
mod verdict;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser;

use crate::args::Cli;
use crate::context::Context;

fn main() -> ExitCode {
    let line: Vec<OsString> = std::env::args_os().collect();
    let cli = match Cli::try_parse_from(&line) {
        Ok(cli) => cli,
        Err(error) => return output::usage(&error, line.iter().any(|arg| arg == "--json")).into(),
    };
    let context = Context::new(cli.show);
    let result = commands::run(&context, cli.command);
    output::finish(&context, result).into()
}
