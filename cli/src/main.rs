//! The command `assay`: reads the command line, calls the libraries, prints what came of it. Nothing is decided here.
mod args;
mod exit;

use clap::Parser;

fn main() {
    let cli = args::Cli::parse();
    let _ = cli;
}
