//! The registry's process.

use std::io::IsTerminal;
use std::process::ExitCode;

use assay_server::config::{Command, Config, Line, LogConfig};
use assay_server::run::{self, RunError};
use clap::Parser;
use tracing_subscriber::EnvFilter;

#[tokio::main]
async fn main() -> ExitCode {
    match started(Line::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Not by the log: it may not have begun yet, or be filtered.
            #[expect(clippy::print_stderr, reason = "the last word of a process that cannot run")]
            {
                eprintln!("assay-server: {error}");
            }
            ExitCode::FAILURE
        }
    }
}

async fn started(line: Line) -> Result<(), RunError> {
    let config = Config::load(line.options, std::env::vars())?;
    log(&config.log);
    // Two providers are compiled in; rustls wants to be told which. A second call finds the first's and changes nothing.
    let _ = rustls::crypto::ring::default_provider().install_default();
    match line.command {
        None => run::serve(config).await,
        Some(Command::Token { label }) => run::admin_token(config, label).await,
        Some(Command::LogKey(command)) => run::log_key(config, &command).await,
    }
}

fn log(config: &LogConfig) {
    let filter = EnvFilter::try_new(&config.filter).unwrap_or_else(|_| EnvFilter::new("info"));
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    if config.json {
        lines.json().init();
    } else {
        lines.init();
    }
}
