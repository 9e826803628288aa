//! `assay log` and `assay monitor`: looking at a transparency log from outside.

use std::path::PathBuf;
use std::str::FromStr;

use assay_log::VerifierKey;
use assay_schema::{NamespaceName, Sha256Digest};
use clap::{ArgGroup, Args, Subcommand};
use jiff::SignedDuration;

use super::shared::TokenArgs;

#[derive(Debug, Subcommand)]
pub(crate) enum LogCommand {
    /// Prove that a log showed one history only
    Audit(LogAudit),
}

/// Which log, and whom to demand as witnesses.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Log")]
pub(crate) struct LogArgs {
    /// The log's key [default: the one that --dir remembers, else what the registry says, which is believed and remembered]
    #[arg(long, value_name = "VKEY")]
    pub(crate) log: Option<VerifierKey>,
    /// Where the log lies below the address; / for a log at the address itself
    #[arg(long, value_name = "PATH", default_value = assay_client::log::reader::REGISTRY_PREFIX)]
    pub(crate) prefix: String,
    /// The key of a witness that must have cosigned the newest checkpoint. Repeatable
    #[arg(long, value_name = "VKEY")]
    pub(crate) witness: Vec<VerifierKey>,
    /// How many of the witnesses must have [default: all of them]
    #[arg(long, value_name = "K", requires = "witness")]
    pub(crate) witness_threshold: Option<usize>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Every checkpoint is kept in --dir and proven to be of one history with all that were kept before, with hashes that are recomputed from \
the log's tiles. If two are not (exit code 10), both are kept in DIR/evidence with the proof, which anybody can check offline. \
Checkpoints from elsewhere - a device's log proof, another auditor's checkpoint - find out a log that shows others another history.

Examples:
  assay log audit https://models.example.org --dir ./audit
  assay log audit https://models.example.org --dir ./audit --log models.example.org/log+1a2b3c4d+AR... --full
  assay log audit https://models.example.org --checkpoint ./from-a-device.note --witness w1+... --witness w2+... --witness-threshold 1
  assay log audit https://log.example.org/2027 --prefix / --log log.example.org/2027+5e6f7a8b+AU...")]
pub(crate) struct LogAudit {
    /// The registry's address, or a log's own
    #[arg(value_name = "URL", env = "ASSAY_REGISTRY")]
    pub(crate) url: String,
    /// The folder that keeps every checkpoint; without it nothing is remembered
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
    /// A file with a checkpoint or a tlog-proof from elsewhere, which must be of the same history. Repeatable
    #[arg(long, value_name = "FILE")]
    pub(crate) checkpoint: Vec<PathBuf>,
    /// Read every entry, and recompute the root of every known checkpoint
    #[arg(long)]
    pub(crate) full: bool,
    #[command(flatten)]
    pub(crate) log: LogArgs,
}

/// `NAME=SHA256`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NamedIdentity {
    pub(crate) name: NamespaceName,
    pub(crate) identity: Sha256Digest,
}

impl FromStr for NamedIdentity {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || format!("expected NAME=SHA256 with the namespace's fingerprint, found {text:?}");
        let (name, identity) = text.split_once('=').ok_or_else(bad)?;
        Ok(Self {
            name: name.parse().map_err(|_| bad())?,
            identity: identity.parse().map_err(|_| bad())?,
        })
    }
}

#[derive(Debug, Args)]
#[command(group(ArgGroup::new("made").required(true).multiple(true).args(["authority", "journal"])))]
#[command(group(ArgGroup::new("whose").required(true).multiple(true).args(["authority", "namespace"])))]
#[command(group(ArgGroup::new("when").required(true).args(["once", "every"])))]
#[command(after_help = "\
Compares what the log holds of your namespaces with what your key holders' folders say that they signed (signed.jsonl). Name the folder \
or journal of everybody who signs for the namespace: other key holders, publishers, the job that renews the status. Copies of journals \
will do, but must come before what they hold is published; no key is needed here.

An alert is something that is in no journal; two bodies of one version; a version that went back; a file that the log names and the \
registry withholds, or entries of the log that cannot be looked at, for longer than --grace; a log that shows two histories, shows no \
sign of life for longer than --max-age - the same checkpoint again and again is none -, or misses the witnesses that --witness demands. \
Each is printed, and posted to the webhook as JSON until that takes it (Idempotency-Key: the alert's id). With --once the exit code is \
10 if there is any, or if one lasts on; with --every and --json each alert is one line.

Examples:
  assay monitor --authority ./authority --dir ./monitor --once
  assay monitor --namespace acme=3f9c... --journal ./alice.jsonl --journal ./bob.jsonl --agree 2 --registry https://models.example.org \\
    --dir ./monitor --every 60s --max-age 36h --webhook https://hooks.example.org/T0/B0")]
pub(crate) struct Monitor {
    /// The folder of a key holder: its namespace, registry and journal. Repeatable
    #[arg(long, value_name = "DIR", env = "ASSAY_AUTHORITY")]
    pub(crate) authority: Vec<PathBuf>,
    /// A signing journal, or a copy of one. Repeatable
    #[arg(long, value_name = "FILE")]
    pub(crate) journal: Vec<PathBuf>,
    /// A namespace to watch, where no --authority names it. Repeatable
    #[arg(long, value_name = "NAME=SHA256")]
    pub(crate) namespace: Vec<NamedIdentity>,
    /// In how many journals a version must stand
    #[arg(long, value_name = "K", default_value_t = 1)]
    pub(crate) agree: usize,
    /// The folder that remembers what was seen, and alerts that were not delivered
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: PathBuf,
    /// Look once: for scheduled jobs
    #[arg(long)]
    pub(crate) once: bool,
    /// Look again and again, so far apart
    #[arg(long, value_name = "TIME")]
    pub(crate) every: Option<SignedDuration>,
    /// How long a file that the log names may be missing on the registry, and the log's entries out of reach
    #[arg(long, value_name = "TIME", default_value = "10m")]
    pub(crate) grace: SignedDuration,
    /// How old the log's last sign of life may be: that it grew, or that the demanded witnesses cosigned. Give less where witnesses are
    /// demanded; without them a registry's log grows within 7 days, when snapshots are signed anew
    #[arg(long, value_name = "TIME", default_value = "192h")]
    pub(crate) max_age: SignedDuration,
    /// An address that takes each alert as JSON; better given by ASSAY_WEBHOOK, if it is a secret
    #[arg(long, value_name = "URL", env = "ASSAY_WEBHOOK", hide_env_values = true)]
    pub(crate) webhook: Option<String>,
    /// The registry's address [default: the one that the first --authority was made with]
    #[arg(long, value_name = "URL", env = "ASSAY_REGISTRY", help_heading = "Registry")]
    pub(crate) registry: Option<String>,
    #[command(flatten)]
    pub(crate) token: TokenArgs,
    #[command(flatten)]
    pub(crate) log: LogArgs,
}
