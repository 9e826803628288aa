//! `assay witness`.

use std::net::SocketAddr;
use std::path::PathBuf;

use assay_log::VerifierKey;
use clap::{Args, Subcommand};

use super::shared::PassphraseArgs;

#[derive(Debug, Subcommand)]
pub(crate) enum WitnessCommand {
    /// Make a witness's key in a folder
    Init(WitnessInit),
    /// Follow a log, or accept a further key of one
    AddLog(WitnessAddLog),
    /// Show a witness's key, the logs that it follows, and the evidence that it keeps
    Show(WitnessShow),
    /// Answer logs that ask for cosignatures, until SIGTERM
    Run(WitnessRun),
}

#[derive(Debug, Args)]
#[command(after_help = "\
Prints the verifier key. Give it to the operators of the logs that you will follow, and to the authorities and devices that shall \
count your cosignatures. The name is a URL without its scheme that you control, as in witness.example.org/w1.

Example:
  assay witness init ./witness --name witness.example.org/w1")]
pub(crate) struct WitnessInit {
    /// The folder to make
    pub(crate) dir: PathBuf,
    /// The witness's name
    #[arg(long, value_name = "NAME")]
    pub(crate) name: String,
    /// Encrypt the key under a passphrase
    #[arg(long)]
    pub(crate) encrypt: bool,
    #[command(flatten)]
    pub(crate) passphrase: PassphraseArgs,
}

#[derive(Debug, Args)]
#[command(after_help = "\
A witness that runs must be stopped before and started again. A registry shows its log's key under /v1/log.

Example:
  assay witness add-log ./witness --log models.example.org/log+1a2b3c4d+AR...")]
pub(crate) struct WitnessAddLog {
    /// The witness's folder
    pub(crate) dir: PathBuf,
    /// The log's key. Repeatable
    #[arg(long, value_name = "VKEY", required = true)]
    pub(crate) log: Vec<VerifierKey>,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  assay witness show ./witness")]
pub(crate) struct WitnessShow {
    /// The witness's folder
    pub(crate) dir: PathBuf,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Speaks c2sp.org/tlog-witness: POST /add-checkpoint. Put a server with TLS before it. A checkpoint is on disk before its cosignature \
leaves; requests that show two histories of a log are kept in the folder's logs/*/evidence. The folder is the witness's memory: a \
backup that is restored makes it forget, and cosign again what it should refuse.

Examples:
  assay witness run ./witness --listen 127.0.0.1:8765
  assay witness run ./witness --log models.example.org/log+1a2b3c4d+AR...")]
pub(crate) struct WitnessRun {
    /// The witness's folder
    pub(crate) dir: PathBuf,
    /// The address to listen on; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8765")]
    pub(crate) listen: SocketAddr,
    /// Follow this log from now on, as `add-log` does. Repeatable
    #[arg(long, value_name = "VKEY")]
    pub(crate) log: Vec<VerifierKey>,
    #[command(flatten)]
    pub(crate) passphrase: PassphraseArgs,
}
