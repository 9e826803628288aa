//! The commands that ask a registry what it holds, and its tokens.

use assay_schema::{ModelRef, NamespaceName};
use clap::{Args, Subcommand, ValueEnum};
use jiff::Timestamp;

use super::shared::{PageArgs, RegistryArgs};

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  assay search embedding --registry https://models.example.org")]
pub(crate) struct Search {
    /// What the model's or namespace's name contains
    pub(crate) text: String,
    #[command(flatten)]
    pub(crate) registry: RegistryArgs,
    #[command(flatten)]
    pub(crate) page: PageArgs,
}

#[derive(Debug, Args)]
#[command(after_help = "\
This is what the registry says. What a device would accept, `assay check` says.

Example:
  assay releases acme/minilm --registry https://models.example.org")]
pub(crate) struct Releases {
    /// The model
    #[arg(value_name = "NS/MODEL")]
    pub(crate) model: ModelRef,
    #[command(flatten)]
    pub(crate) registry: RegistryArgs,
    #[command(flatten)]
    pub(crate) page: PageArgs,
}

/// What a token allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ScopeName {
    /// Read private namespaces
    Read,
    /// Also upload and publish
    Publish,
    /// Also create namespaces and tokens
    Admin,
}

#[derive(Debug, Subcommand)]
pub(crate) enum TokenCommand {
    /// Make a token; its secret is shown this once
    Create(TokenCreate),
    /// List the tokens, without their secrets
    List(TokenList),
    /// Revoke a token, at once
    Revoke(TokenRevoke),
}

#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  assay token create 'CI of the model team' --scope publish --namespace acme --expires 2027-06-30T00:00:00Z")]
pub(crate) struct TokenCreate {
    /// What it is for, shown in listings
    pub(crate) label: String,
    /// What it allows; each includes the ones before it
    #[arg(long, value_enum)]
    pub(crate) scope: ScopeName,
    /// The one namespace that it is for [default: all]
    #[arg(long, value_name = "NS")]
    pub(crate) namespace: Option<NamespaceName>,
    /// When it ends (RFC 3339) [default: never]
    #[arg(long, value_name = "TIME")]
    pub(crate) expires: Option<Timestamp>,
    #[command(flatten)]
    pub(crate) registry: RegistryArgs,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  assay token list --registry https://models.example.org")]
pub(crate) struct TokenList {
    #[command(flatten)]
    pub(crate) registry: RegistryArgs,
    #[command(flatten)]
    pub(crate) page: PageArgs,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  assay token revoke 4f2a --registry https://models.example.org")]
pub(crate) struct TokenRevoke {
    /// The token's id, from `assay token list`
    pub(crate) id: String,
    #[command(flatten)]
    pub(crate) registry: RegistryArgs,
}
