//! The commands that change a namespace's keys: root, delegated roles, proposals.

use std::path::PathBuf;

use assay_schema::{ModelName, ModelRef, NamespaceName, ReleaseRef, Sha256Digest};
use clap::{ArgGroup, ArgMatches, Args, Command, FromArgMatches, Subcommand};

use super::shared::{AuthorityArgs, RegistryArgs, StoreArgs, TokenArgs};

/// What an authority restricts: these commands need its folder.
#[derive(Debug, Subcommand)]
pub(crate) enum StatusCommand {
    /// Authority: delegate the status role to keys, and sign its first file
    Init(StatusInit),
    /// Authority: show what the namespace's status restricts
    Show(StatusShow),
    /// Authority: sign the status again, with a later expiry; fit for a scheduled job
    Renew(StatusShow),
    /// Authority: revoke releases and keys, raise least orders and versions
    Revoke(StatusRevoke),
    /// Authority: take back what the status restricts
    Lift(StatusLift),
}

#[derive(Debug, Args)]
#[command(after_help = "\
From then on no device uses the namespace without a status that is valid: it must be renewed before it expires, every 30 days. Keys \
are made by `assay keygen DIR --status 1`.

Again, with other keys: a present key that is not among them is taken away. It may have been stolen, so the new status restricts \
nothing; what it does not carry over is shown, and --carry-over keeps it. Do this before anything else where a status key was stolen, \
and renew or rotate the root only when devices have checked since: what a stolen key revoked of root keys holds on each device until it \
sees the status of the other keys. A device that meets both at once finds its way unless the root changed the registry's online keys; \
then its owner needs `assay trust set --confirm-root`.

Example:
  assay status init acme --key ./status.pem.pub")]
pub(crate) struct StatusInit {
    /// The namespace's name
    pub(crate) namespace: NamespaceName,
    /// The file of a public status key. Repeatable
    #[arg(long, value_name = "PEM", required = true)]
    pub(crate) key: Vec<PathBuf>,
    /// How many of them must sign
    #[arg(long, value_name = "K", default_value_t = 1)]
    pub(crate) threshold: u64,
    /// Keep what the present status restricts, though one of its keys is taken away
    #[arg(long)]
    pub(crate) carry_over: bool,
    #[command(flatten)]
    pub(crate) sign: SignArgs,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  assay status renew acme --authority ./ci --yes")]
pub(crate) struct StatusShow {
    /// The namespace's name
    pub(crate) namespace: NamespaceName,
    #[command(flatten)]
    pub(crate) sign: SignArgs,
}

#[derive(Debug, Args)]
#[command(group(ArgGroup::new("what").required(true).multiple(true).args(["release", "key_id", "least_order", "least_version"])))]
#[command(after_help = "\
Devices learn it with their next check. A release that is active on a device stays there; the verdict tells its owner to stop using it.

Devices refuse every file that a revoked key signed, whoever else signed it: take a publisher's key away first with `assay role revoke`, \
which has those who remain sign anew, and a root or targets key with `assay root rotate --remove-key`. A status under which devices \
would refuse every model is not signed.

Examples:
  assay status revoke acme --release acme/minilm@1.2.0 --reason 'poisoned weights'
  assay status revoke acme --key-id 3f9c... --least-order minilm=1.7 --least-version root=4")]
pub(crate) struct StatusRevoke {
    /// The namespace's name
    pub(crate) namespace: NamespaceName,
    /// A release to revoke. Repeatable
    #[arg(long, value_name = "NS/MODEL@VERSION")]
    pub(crate) release: Vec<ReleaseRef>,
    /// Why these releases are revoked, for people
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub(crate) reason: String,
    /// The whole id of a key to revoke. Repeatable
    #[arg(long, value_name = "ID")]
    pub(crate) key_id: Vec<Sha256Digest>,
    /// The least order of a model's releases. Repeatable
    #[arg(long, value_name = "MODEL=EPOCH.COUNTER")]
    pub(crate) least_order: Vec<String>,
    /// The least version of a role. Repeatable
    #[arg(long, value_name = "ROLE=VERSION")]
    pub(crate) least_version: Vec<String>,
    /// Sign also what stops a model's present releases, or names a release, model or role that the namespace does not have
    #[arg(long)]
    pub(crate) insist: bool,
    #[command(flatten)]
    pub(crate) sign: SignArgs,
}

#[derive(Debug, Args)]
#[command(group(ArgGroup::new("what").required(true).multiple(true).args(["all", "release", "key_id", "least_order", "least_version"])))]
#[command(after_help = "\
`assay status show` lists what stands. Devices take releases again with their next check. What they have seen restricted of roots they \
keep, though: revoked root keys and the least root stay until a status key is taken away (`assay status init`).

Examples:
  assay status lift acme --release acme/minilm@1.2.0
  assay status lift acme --key-id 3f9c... --least-order minilm --least-version targets
  assay status lift acme --all")]
pub(crate) struct StatusLift {
    /// The namespace's name
    pub(crate) namespace: NamespaceName,
    /// Everything that the status restricts
    #[arg(long, conflicts_with_all = ["release", "key_id", "least_order", "least_version"])]
    pub(crate) all: bool,
    /// A release that is revoked. Repeatable
    #[arg(long, value_name = "NS/MODEL@VERSION")]
    pub(crate) release: Vec<ReleaseRef>,
    /// The whole id of a revoked key. Repeatable
    #[arg(long, value_name = "ID")]
    pub(crate) key_id: Vec<String>,
    /// A model that has a least order. Repeatable
    #[arg(long, value_name = "MODEL")]
    pub(crate) least_order: Vec<ModelName>,
    /// A role that has a least version. Repeatable
    #[arg(long, value_name = "ROLE")]
    pub(crate) least_version: Vec<String>,
    #[command(flatten)]
    pub(crate) sign: SignArgs,
}

#[derive(Debug, Args)]
#[command(after_help = "\
The release is checked first, at its own registry, as a device does that trusts its namespace (`assay trust add`). Then it is listed in \
the namespace of --authority under the same path and with the same digest (TUF TAP 4). Nothing but its manifest is stored there. One \
namespace signs the releases of one publisher's model of a name.

Example:
  assay endorse acme/minilm@1.2.0 --authority ./regulator --namespace regulator")]
pub(crate) struct Endorse {
    /// The release
    #[arg(value_name = "NS/MODEL@VERSION")]
    pub(crate) release: ReleaseRef,
    /// The namespace that signs it, too [default: that of the authority's folder]
    #[arg(long, value_name = "NS")]
    pub(crate) namespace: Option<NamespaceName>,
    #[command(flatten)]
    pub(crate) store: StoreArgs,
    #[command(flatten)]
    pub(crate) sign: SignArgs,
}

/// The authority's keys, the registry, and how to sign.
#[derive(Debug, Clone, Args)]
pub(crate) struct SignArgs {
    #[command(flatten)]
    pub(crate) reach: ReachArgs,
    /// Sign without asking, after the changes were shown
    #[arg(long)]
    pub(crate) yes: bool,
    /// Sign although this folder signed another body of the same version before
    #[arg(long)]
    pub(crate) sign_again: bool,
    /// Keep the proposal in a file, not on the registry, if other key holders have to sign, too: for machines without a network
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum RootCommand {
    /// Show the keys and thresholds of the top-level roles, verified
    Show(RootShow),
    /// Sign the next root: other keys, other thresholds, a later expiry
    Rotate(RootRotate),
    /// Sign a proposal that another key holder began
    Sign(Approve),
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  assay root show acme --authority ./authority")]
pub(crate) struct RootShow {
    /// The namespace's name
    pub(crate) namespace: NamespaceName,
    #[command(flatten)]
    pub(crate) sign: SignArgs,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Every change is shown before anything is signed. The new root needs the threshold of the old root keys and of the new ones; where \
this folder has too few of them, the proposal goes to the registry (or to --out), for the others to sign with `assay approve`. \
Private keys are looked for in root.pem, root-2.pem and so on up to root-16.pem.

Examples:
  assay root rotate acme --renew
  assay root rotate acme --add-root-key ./root-4.pem.pub --remove-key 3f9c01d2
  assay root rotate acme --online-keys --yes")]
pub(crate) struct RootRotate {
    /// The namespace's name
    pub(crate) namespace: NamespaceName,
    /// The file of a public root key to add. Repeatable
    #[arg(long, value_name = "PEM")]
    pub(crate) add_root_key: Vec<PathBuf>,
    /// The file of a public targets key to add. Repeatable
    #[arg(long, value_name = "PEM")]
    pub(crate) add_targets_key: Vec<PathBuf>,
    /// The id of a root or targets key to remove, or its first 8 digits or more. Repeatable
    #[arg(long, value_name = "ID")]
    pub(crate) remove_key: Vec<String>,
    /// How many root keys must sign from now on
    #[arg(long, value_name = "K")]
    pub(crate) root_threshold: Option<u64>,
    /// How many targets keys must sign from now on
    #[arg(long, value_name = "K")]
    pub(crate) targets_threshold: Option<u64>,
    /// Let the registry make new online keys: what a thief of the present ones signed is refused from then on. The token needs
    /// the scope admin
    #[arg(long)]
    pub(crate) online_keys: bool,
    /// Sign a later expiry, though nothing else changes
    #[arg(long)]
    pub(crate) renew: bool,
    #[command(flatten)]
    pub(crate) sign: SignArgs,
}

#[derive(Debug, Args)]
#[command(after_help = "\
The registry's present metadata is verified, and what the proposal changes is computed anew from it and shown, before anything is \
signed; a release's manifest, model signature and chunk indexes are fetched and judged as a device judges them. Once the thresholds \
are met it is published; else the registry, the file or --out holds it with this folder's signatures.

Examples:
  assay approve acme 3f9c01d2
  assay approve acme 3f9c01d2 --folder ./minilm
  assay approve ./proposal.json --authority ./authority")]
pub(crate) struct Approve {
    /// The namespace, with the proposal's ID; or a proposal's file
    #[arg(value_name = "NS|FILE")]
    pub(crate) what: String,
    /// The proposal's id on the registry, or its first 8 digits or more
    pub(crate) id: Option<String>,
    /// Compare every file of the release that is proposed with this folder
    #[arg(long, value_name = "DIR")]
    pub(crate) folder: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) sign: SignArgs,
}

/// `assay proposals NS`, or a subcommand. Written by hand: clap derives no choice between arguments and subcommands where the
/// arguments are required.
#[derive(Debug)]
pub(crate) enum Proposals {
    List(ProposalList),
    Of(ProposalCommand),
}

const PROPOSALS_HELP: &str = "\
Who signed is verified here, whatever the registry says. The token needs the scope publish.

Examples:
  assay proposals acme
  assay proposals show acme 3f9c01d2
  assay proposals withdraw acme 3f9c01d2";

impl Args for Proposals {
    fn augment_args(command: Command) -> Command {
        ProposalCommand::augment_subcommands(ProposalList::augment_args(command))
            .args_conflicts_with_subcommands(true)
            .subcommand_required(false)
            .arg_required_else_help(true)
            .after_help(PROPOSALS_HELP)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for Proposals {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        match matches.subcommand_name() {
            Some(_) => ProposalCommand::from_arg_matches(matches).map(Self::Of),
            None => ProposalList::from_arg_matches(matches).map(Self::List),
        }
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum ProposalCommand {
    /// Show what a proposal changes, who signed, and what is missing
    Show(ProposalOf),
    /// Take a proposal off the registry
    Withdraw(ProposalOf),
}

#[derive(Debug, Args)]
pub(crate) struct ProposalList {
    /// The namespace's name
    pub(crate) namespace: NamespaceName,
    #[command(flatten)]
    pub(crate) reach: ReachArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ProposalOf {
    /// The namespace's name
    pub(crate) namespace: NamespaceName,
    /// The proposal's id, or its first 8 digits or more
    pub(crate) id: String,
    #[command(flatten)]
    pub(crate) reach: ReachArgs,
}

/// The authority's folder and the registry, where nothing is signed.
#[derive(Debug, Clone, Args)]
pub(crate) struct ReachArgs {
    #[command(flatten)]
    pub(crate) authority: AuthorityArgs,
    /// The registry's address [default: the one that the namespace was created on]
    #[arg(long, value_name = "URL", env = "ASSAY_REGISTRY", help_heading = "Registry")]
    pub(crate) registry: Option<String>,
    #[command(flatten)]
    pub(crate) token: TokenArgs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum RoleCommand {
    /// Delegate blocks of a model's releases to publishers' keys
    Grant(RoleGrant),
    /// Take a publisher's key from a model
    Revoke(RoleRevoke),
    /// Sign a model's files anew as they stand, with a later expiry
    Renew(RoleRenew),
    /// List who publishes a model, block by block
    List(RoleList),
}

#[derive(Debug, Args)]
#[command(group(ArgGroup::new("which").required(true).multiple(false).args(["block", "from_counter"])))]
#[command(after_help = "\
A block is a hundred counters: block 0 holds 1 to 99, block 1 holds 100 to 199. The keys replace the ones that the block has. \
Whoever holds one of them publishes with a folder that has publisher.pem, made a part of the namespace by `assay namespace join`. \
The next block goes to the same keys when a targets key is at hand.

Examples:
  assay role grant acme/minilm --block 0 --key ./ci.pem.pub
  assay role grant acme/minilm --from-counter 100 --key ./a.pem.pub --key ./b.pem.pub --max-epoch 2")]
pub(crate) struct RoleGrant {
    /// The model, as NAMESPACE/MODEL
    #[arg(value_name = "NS/MODEL")]
    pub(crate) model: ModelRef,
    /// The block: counter / 100. Repeatable
    #[arg(long, value_name = "N")]
    pub(crate) block: Vec<u64>,
    /// The block that this counter is in
    #[arg(long, value_name = "COUNTER")]
    pub(crate) from_counter: Option<u64>,
    /// The file of a publisher's public key. Repeatable
    #[arg(long, value_name = "PEM", required = true)]
    pub(crate) key: Vec<PathBuf>,
    /// How many of them must sign
    #[arg(long, value_name = "K", default_value_t = 1)]
    pub(crate) threshold: u64,
    /// The highest epoch that they may give a release [default: what the block has, or 1]
    #[arg(long, value_name = "E")]
    pub(crate) max_epoch: Option<u64>,
    #[command(flatten)]
    pub(crate) sign: SignArgs,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Releases that only this key signed would be refused by every device from then on, and others once `assay status revoke --key-id` \
revokes it; so a role's file with its signature is signed anew by those who remain, in the same publication. Where this folder has none of their keys, the proposal goes to the registry for them to sign.

Example:
  assay role revoke acme/minilm 3f9c01d2 --replace ./new.pem.pub")]
pub(crate) struct RoleRevoke {
    /// The model, as NAMESPACE/MODEL
    #[arg(value_name = "NS/MODEL")]
    pub(crate) model: ModelRef,
    /// The key's id, or its first 8 digits or more
    pub(crate) key: String,
    /// The file of a public key that takes its place. Repeatable
    #[arg(long, value_name = "PEM")]
    pub(crate) replace: Vec<PathBuf>,
    /// How many must sign from now on [default: as before]
    #[arg(long, value_name = "K")]
    pub(crate) threshold: Option<u64>,
    #[command(flatten)]
    pub(crate) sign: SignArgs,
}

#[derive(Debug, Args)]
#[command(after_help = "\
A file expires 180 days after it was signed, and devices then refuse the releases in it until it is signed anew; publishing does that for \
the block of the release. Signatures of keys that the block does not list any more fall away. Nothing else changes.

Examples:
  assay role renew acme/minilm
  assay role renew acme/minilm --block 0 --yes")]
pub(crate) struct RoleRenew {
    /// The model, as NAMESPACE/MODEL
    #[arg(value_name = "NS/MODEL")]
    pub(crate) model: ModelRef,
    /// A block: counter / 100. Repeatable [default: every block that has releases]
    #[arg(long, value_name = "N")]
    pub(crate) block: Vec<u64>,
    #[command(flatten)]
    pub(crate) sign: SignArgs,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  assay role list acme/minilm --authority ./authority")]
pub(crate) struct RoleList {
    /// The model, as NAMESPACE/MODEL
    #[arg(value_name = "NS/MODEL")]
    pub(crate) model: ModelRef,
    #[command(flatten)]
    pub(crate) sign: SignArgs,
}

#[derive(Debug, Args)]
#[command(after_help = "\
For publishers and for holders of single keys: the folder then knows which namespace its keys sign for.

Example:
  assay namespace join acme --fingerprint 3f9c... --authority ./ci --registry https://models.example.org")]
pub(crate) struct NamespaceJoin {
    /// The namespace's name
    pub(crate) namespace: NamespaceName,
    /// The namespace's identity, from its authority and not from the registry
    #[arg(long, value_name = "SHA256")]
    pub(crate) fingerprint: Sha256Digest,
    #[command(flatten)]
    pub(crate) authority: AuthorityArgs,
    #[command(flatten)]
    pub(crate) registry: RegistryArgs,
}
