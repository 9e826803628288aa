//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// The registry of Assay: stores and serves model releases that devices verify by themselves.
#[derive(Debug, Clone, Parser)]
#[command(name = "assay-server", version, about, after_help = EXAMPLES)]
pub struct Line {
    /// Where everything is.
    #[command(flatten)]
    pub options: Options,
    /// What to do instead of serving.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// What the program does instead of serving.
#[derive(Debug, Clone, Subcommand)]
pub enum Command {
    /// Make another admin token, where all were lost or revoked, and end
    ///
    /// Whoever may read and write the data folder and the database may do this. The registry must not run meanwhile.
    #[command(after_help = "Example:\n  assay-server token --data-dir /var/lib/assay")]
    Token {
        /// What it is for, shown in listings
        #[arg(default_value = "admin, made beside the registry")]
        label: String,
    },
    /// Change the key of the transparency log, in two steps, and end
    ///
    /// Whoever may read and write the data folder, the database and the sealing key may do this. The registry must not run meanwhile;
    /// others on the same database may.
    #[command(subcommand, after_help = LOG_KEY)]
    LogKey(LogKeyCommand),
}

/// A step of a change of the log's key.
#[derive(Debug, Clone, Subcommand)]
pub enum LogKeyCommand {
    /// Make the next key: from now on checkpoints carry the signatures of both; asking again shows the same key
    Next,
    /// Let the next key take the place of the present one, whose private half is deleted: from now on only the next one signs
    Retire,
}

/// Options that every command takes.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// Configuration file (TOML)
    #[arg(long, global = true, env = "ASSAY_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Address to listen on; port 0 takes any free port and prints which
    #[arg(long, global = true, env = "ASSAY_LISTEN", value_name = "ADDRESS:PORT")]
    pub listen: Option<SocketAddr>,
    /// Folder of the database, the blobs and the sealing key, unless their URLs say otherwise
    #[arg(long, global = true, env = "ASSAY_DATA_DIR", value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// sqlite://PATH or postgres://USER:PASSWORD@HOST/DATABASE
    #[arg(
        long,
        global = true,
        env = "ASSAY_DATABASE_URL",
        value_name = "URL",
        hide_env_values = true
    )]
    pub database_url: Option<String>,
    /// file:///PATH, s3://BUCKET/PREFIX, gs://..., az://... ; credentials as AWS_*, GOOGLE_* or AZURE_* variables
    #[arg(
        long,
        global = true,
        env = "ASSAY_STORAGE_URL",
        value_name = "URL",
        hide_env_values = true
    )]
    pub storage_url: Option<String>,
}

const LOG_KEY: &str = "A change takes as long as the slowest device:
  1. assay-server log-key next
  2. every authority names the next key in its trust/log.json, and every witness and monitor adds it
  3. every device has taken that in: one that has not refuses the next root behind step 4 (root-not-in-log), until its owner confirms
     it: `assay trust set NAMESPACE --confirm-root SHA256`. Owners who pinned the present key pin the next one: `--log VKEY`
  4. assay-server log-key retire
If the present key was stolen, do not wait long: a thief signs other histories until the authorities no longer name it.";

const EXAMPLES: &str = "Examples:
  assay-server
  assay-server --listen 0.0.0.0:8750 --data-dir /var/lib/assay
  assay-server --config /etc/assay/server.toml
  assay-server token --data-dir /var/lib/assay
  assay-server log-key next --data-dir /var/lib/assay
  AWS_ACCESS_KEY_ID=... AWS_SECRET_ACCESS_KEY=... assay-server --storage-url s3://models/assay";
