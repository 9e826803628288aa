//! The commands that take a namespace to another registry.

use std::path::PathBuf;

use assay_schema::{NamespaceName, Sha256Digest};
use clap::Args;

use super::authority::LogChoice;
use super::change::SignArgs;
use super::shared::{RegistryArgs, StoreArgs, TokenArgs};

#[derive(Debug, Args)]
#[command(after_help = "\
Every root, the present metadata, every release with its files, and the log's proof, each verified before it is written. What an \
earlier run fetched is kept. Any web server can serve the folder to devices that check by static paths. Candidates, which no \
authority signed, are not exported.

Examples:
  assay namespace export acme ./acme-export --authority ./authority
  assay namespace export acme ./mirror --fingerprint 3f9c... --registry https://models.example.org")]
pub(crate) struct NamespaceExport {
    /// The namespace's name
    pub(crate) namespace: NamespaceName,
    /// The folder to write
    pub(crate) dir: PathBuf,
    /// The namespace's identity [default: that of the authority's folder]
    #[arg(long, value_name = "SHA256")]
    pub(crate) fingerprint: Option<Sha256Digest>,
    /// The authority's folder
    #[arg(long, value_name = "DIR", env = "ASSAY_AUTHORITY", help_heading = "Authority")]
    pub(crate) authority: Option<PathBuf>,
    /// Leave out the files of the releases
    #[arg(long)]
    pub(crate) metadata_only: bool,
    /// The registry's address [default: the one that the namespace was created on]
    #[arg(long, value_name = "URL", env = "ASSAY_REGISTRY", help_heading = "Registry")]
    pub(crate) registry: Option<String>,
    #[command(flatten)]
    pub(crate) token: TokenArgs,
}

#[derive(Debug, Args)]
#[command(after_help = "\
The namespace keeps its identity, its roots and its releases. The export is verified and uploaded; then the next root, with the new \
registry's online keys, is shown and signed, and the registry makes all of it visible at once. Run again after an interruption, it \
goes on. Where other key holders have to sign, too, the proposal goes to --out; they, or you with their signatures, run the \
command with --proposal. Devices move with `assay trust move`. The token needs the scope admin. Nobody signed who may read the \
namespace: without --public only holders of a token may.

Examples:
  assay namespace import ./acme-export --public --authority ./authority --registry https://other.example.net --token-file ./token
  assay namespace import ./acme-export --registry https://other.example.net --proposal ./proposal.json")]
pub(crate) struct NamespaceImport {
    /// The export
    pub(crate) dir: PathBuf,
    /// Where the namespace names a log: the new registry's in its place, or none
    #[arg(long, value_enum, default_value = "registry")]
    pub(crate) log: LogChoice,
    /// Everybody may read it there; else only holders of a token may, whatever it was before
    #[arg(long)]
    pub(crate) public: bool,
    /// Import also if this folder signed later versions than the export has: they are given up
    #[arg(long)]
    pub(crate) accept_older: bool,
    /// Sign this proposal of another key holder instead of making one
    #[arg(long, value_name = "FILE")]
    pub(crate) proposal: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) sign: SignArgs,
}

#[derive(Debug, Args)]
#[command(after_help = "\
For a namespace whose authority took it to another registry. Fingerprint and floors stay: the new registry must go on from what this \
device trusts. The log of the registry before is followed no longer, unless the namespace still names it.

Example:
  assay trust move acme --registry https://other.example.net")]
pub(crate) struct TrustMove {
    /// The namespace
    pub(crate) namespace: NamespaceName,
    #[command(flatten)]
    pub(crate) registry: RegistryArgs,
    #[command(flatten)]
    pub(crate) store: StoreArgs,
}
