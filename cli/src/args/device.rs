//! The commands of a device.

use std::path::PathBuf;

use assay_schema::{ModelRef, NamespaceName, Sha256Digest, VersionName};
use clap::{ArgGroup, Args, Subcommand};

use super::change::StatusCommand;
use super::moving::TrustMove;
use super::shared::{Age, ChainArgs, DeviceArgs, RegistryArgs, StoreArgs, Wanted};

#[derive(Debug, Subcommand)]
pub(crate) enum TrustCommand {
    /// Trust a namespace from now on, by the fingerprint of its first root
    Add(TrustAdd),
    /// List the namespaces that this device trusts
    List(TrustList),
    /// Require other namespaces' signatures for a model's releases
    Require(TrustRequire),
    /// Let a model's own namespace suffice again
    Unrequire(TrustUnrequire),
    /// Show what this device knows a namespace by
    Show(TrustShow),
    /// Ask another registry for a namespace that its authority moved there
    Move(TrustMove),
    /// Change what you demand of a namespace beyond its fingerprint, or confirm a root
    Set(TrustSet),
    /// Trust a namespace no longer, and remove its releases from this device
    Remove(TrustRemove),
}

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("how").required(true))]
#[command(after_help = "\
The fingerprint is what `assay namespace create` printed. Get it from the namespace's authority, not from the registry. \
With --trust-on-first-use the registry's answer is believed once, and every verdict says so from then on.

--log, --witness and --least-root protect a new device from a root that was signed with keys which the authority retired \
long ago; like the fingerprint, get them from the authority.

Examples:
  assay trust add acme --registry https://models.example.org --fingerprint 3f9c...
  assay trust add acme --registry https://models.example.org --fingerprint 3f9c... --least-root 4 --max-stale 2d")]
pub(crate) struct TrustAdd {
    /// The namespace
    pub(crate) namespace: NamespaceName,
    /// SHA-256 of the namespace's first root file, 64 hexadecimal digits
    #[arg(long, value_name = "HEX", group = "how")]
    pub(crate) fingerprint: Option<Sha256Digest>,
    /// Believe whatever root the registry answers now
    #[arg(long, group = "how")]
    pub(crate) trust_on_first_use: bool,
    #[command(flatten)]
    pub(crate) terms: TermsArgs,
    #[command(flatten)]
    pub(crate) registry: RegistryArgs,
    #[command(flatten)]
    pub(crate) store: StoreArgs,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  assay trust list --json")]
pub(crate) struct TrustList {
    #[command(flatten)]
    pub(crate) store: StoreArgs,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Each of them must list the release's manifest in its own repository, under the same path and with the same digest (TUF TAP 4): their \
authorities do so with `assay endorse`. They may live on other registries; this device trusts each by its own fingerprint. What is \
active is not handed out before they have signed it, too: `assay pull` asks them.

Examples:
  assay trust require acme/minilm --authority regulator
  assay trust require acme/minilm --authority regulator --authority lab --threshold 1")]
pub(crate) struct TrustRequire {
    /// The model
    #[arg(value_name = "NS/MODEL")]
    pub(crate) model: ModelRef,
    /// A namespace that has to sign, too. Repeatable; they take the place of those that were required before
    #[arg(long, value_name = "NS", required = true)]
    pub(crate) authority: Vec<NamespaceName>,
    /// How many of them must have signed [default: all]
    #[arg(long, value_name = "K")]
    pub(crate) threshold: Option<u32>,
    #[command(flatten)]
    pub(crate) store: StoreArgs,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  assay trust unrequire acme/minilm")]
pub(crate) struct TrustUnrequire {
    /// The model
    #[arg(value_name = "NS/MODEL")]
    pub(crate) model: ModelRef,
    #[command(flatten)]
    pub(crate) store: StoreArgs,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  assay trust show acme")]
pub(crate) struct TrustShow {
    /// The namespace
    pub(crate) namespace: NamespaceName,
    #[command(flatten)]
    pub(crate) store: StoreArgs,
}

/// What the owner demands of a namespace.
#[derive(Debug, Args)]
#[command(next_help_heading = "Terms")]
pub(crate) struct TermsArgs {
    /// Refuse when the registry's state is older than this: 12h, 2d. The registry signs it anew when half of its `timestamp_hours`
    /// are over, by default every 12 hours
    #[arg(long, value_name = "TIME")]
    pub(crate) max_stale: Option<Age>,
    /// The key of a log that every state must be in, beside the log that the namespace names: NAME+ID+KEY
    #[arg(long, value_name = "VKEY")]
    pub(crate) log: Option<String>,
    /// The key of a witness of that log. Repeatable
    #[arg(long, value_name = "VKEY", requires = "log")]
    pub(crate) witness: Vec<String>,
    /// How many of the witnesses must have cosigned [default: all]
    #[arg(long, value_name = "K", requires = "witness")]
    pub(crate) witness_threshold: Option<u32>,
    /// The least version of the namespace's root
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) least_root: Option<u64>,
    /// A document of signers who must have signed beside those whom the namespace permits, and of statements that releases must have
    /// (schema/json/signers.json)
    #[arg(long, value_name = "FILE")]
    pub(crate) signers: Option<PathBuf>,
    /// The trusted_root.json of the Sigstore instance by which they are known [default: the namespace's]
    #[arg(long, value_name = "FILE")]
    pub(crate) sigstore_root: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
What is not named stays as it is, floors included.

--confirm-root is for a root that a check refused: one that only revoked keys signed, or whose state is not in the log that this \
device has followed. Ask the authority for the root's SHA-256 by another way than the registry. The confirmation holds for that \
file alone.

Examples:
  assay trust set acme --max-stale 6h
  assay trust set acme --log log.example.org+1a2b3c4d+AT... --witness w.example+5e6f7a8b+BM... --witness-threshold 1
  assay trust set acme --confirm-root 9e1b...
  assay trust set acme --drop max-stale,log")]
pub(crate) struct TrustSet {
    /// The namespace
    pub(crate) namespace: NamespaceName,
    #[command(flatten)]
    pub(crate) terms: TermsArgs,
    /// SHA-256 of a root file that the authority has confirmed to you
    #[arg(long, value_name = "HEX")]
    pub(crate) confirm_root: Option<Sha256Digest>,
    /// Terms to drop
    #[arg(long, value_enum, value_delimiter = ',', value_name = "TERM")]
    pub(crate) drop: Vec<Term>,
    #[command(flatten)]
    pub(crate) store: StoreArgs,
}

/// A term that can be dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Term {
    MaxStale,
    Log,
    LeastRoot,
    ConfirmRoot,
    Signers,
    SigstoreRoot,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Its fingerprint, its floors and its releases go. Added again, the namespace begins anew: this device then takes releases that \
are older than those it had. A release that a program uses is not removed, and nothing else is.

Example:
  assay trust remove acme")]
pub(crate) struct TrustRemove {
    /// The namespace
    pub(crate) namespace: NamespaceName,
    #[command(flatten)]
    pub(crate) store: StoreArgs,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Exit codes: 0 permitted, 3 refused, 4 deferred. The verdict says which stage decided, and on what evidence.

Examples:
  assay check acme/minilm
  assay check acme/minilm@1.2.0 --require provenance --verbose
  assay check acme/minilm --json")]
pub(crate) struct Check {
    /// The model, highest release, or one release of it
    #[arg(value_name = "NS/MODEL[@VERSION]")]
    pub(crate) release: Wanted,
    #[command(flatten)]
    pub(crate) device: DeviceArgs,
    #[command(flatten)]
    pub(crate) chain: ChainArgs,
}

/// How the files of a release come.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct DeliveryArgs {
    /// Do not ask the registry for deltas from the releases on this device
    #[arg(long)]
    pub(crate) no_delta: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
A pull that was interrupted goes on where it stopped: chunks that are on disk and right are not fetched again. Neither is what lies \
on this device in another release; and where the registry has a delta from one of these, its frames come instead of whole chunks. \
Every chunk is compared with its signed digest, wherever it comes from.

Examples:
  assay pull acme/minilm
  assay pull acme/minilm@1.2.0
  assay pull acme/minilm --no-delta
  assay pull acme/minilm --static --registry https://mirror.example.net")]
pub(crate) struct Pull {
    /// The model, highest release, or one release of it
    #[arg(value_name = "NS/MODEL[@VERSION]")]
    pub(crate) release: Wanted,
    #[command(flatten)]
    pub(crate) device: DeviceArgs,
    #[command(flatten)]
    pub(crate) chain: ChainArgs,
    #[command(flatten)]
    pub(crate) delivery: DeliveryArgs,
}

#[derive(Debug, Args)]
#[command(after_help = "\
A model that was rolled back is held and does not update until `assay resume`.

Example:
  assay update acme/minilm")]
pub(crate) struct Update {
    /// The model
    #[arg(value_name = "NS/MODEL")]
    pub(crate) model: ModelRef,
    #[command(flatten)]
    pub(crate) device: DeviceArgs,
    #[command(flatten)]
    pub(crate) chain: ChainArgs,
    #[command(flatten)]
    pub(crate) delivery: DeliveryArgs,
}

#[derive(Debug, Args)]
#[command(after_help = "\
`assay pull` does not read again what it activated before; this reads every byte. What is damaged is fetched, and the whole \
takes the damaged release's place in one step. Programs that have it open keep reading the old files.

Example:
  assay verify acme/minilm || assay repair acme/minilm")]
pub(crate) struct Repair {
    /// The model
    #[arg(value_name = "NS/MODEL")]
    pub(crate) model: ModelRef,
    #[command(flatten)]
    pub(crate) device: DeviceArgs,
    #[command(flatten)]
    pub(crate) chain: ChainArgs,
    #[command(flatten)]
    pub(crate) delivery: DeliveryArgs,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Without --online nothing is asked of the network, and the verdict says that freshness was not checked.

Examples:
  assay verify acme/minilm                   what is active on this device
  assay verify \"$(assay path acme/minilm)\"  the same, by its folder
  assay verify ./copy acme/minilm            any folder, against the release that is active here
  assay verify ./copy acme/minilm --online   the same, and whether the release is still current
  assay verify ./model --signature model.sig --public-key signer.pub --ignore .git
                                             a folder signed with OpenSSF Model Signing
  assay verify ./model --signature model.sig --identity me@example.org --issuer https://accounts.example.org \\
    --sigstore-root trusted_root.json        the same, signed by a Sigstore identity
  assay verify ./model --signature model.sig --identity '*@example.org' --certificate-root ca.pem
                                             the same, signed with a certificate of one's own authority
  assay verify ./model acme/minilm --file model.safetensors
                                             one file, without the others
  assay verify acme/minilm --trust-unchanged ./verified.json
                                             again, without reading what has not changed since")]
pub(crate) struct Verify {
    /// NS/MODEL for what is active on this device; otherwise a folder: one of the device's store by itself, any other with the
    /// release that it should be or with its signature
    #[arg(value_name = "NS/MODEL | DIR")]
    pub(crate) what: String,
    /// The release that the folder should be
    #[arg(value_name = "NS/MODEL[@VERSION]", conflicts_with = "signature")]
    pub(crate) release: Option<Wanted>,
    /// Also ask the registry whether the release is current
    #[arg(long, conflicts_with = "signature")]
    pub(crate) online: bool,
    #[command(flatten)]
    pub(crate) foreign: ForeignArgs,
    #[command(flatten)]
    pub(crate) part: PartArgs,
    #[command(flatten)]
    pub(crate) device: DeviceArgs,
    #[command(flatten)]
    pub(crate) chain: ChainArgs,
}

/// Less than every byte of every file. What was left out, and on whose word, is in the verdict.
#[derive(Debug, Args)]
#[command(next_help_heading = "Part of it")]
pub(crate) struct PartArgs {
    /// Verify this file alone, by its path in the model; the others need not be there. Repeatable
    #[arg(long, value_name = "PATH")]
    pub(crate) file: Vec<String>,
    /// Believe these digests instead of reading the files: lines of SHA-256 and path, as sha256sum writes them
    #[arg(long, value_name = "FILE")]
    pub(crate) digests: Option<PathBuf>,
    /// Do not read files again whose size, times and inode are what they were when this record was written, and bring it up to date.
    /// Whoever can write the record, or set files' times, can pass off a changed file
    #[arg(long, value_name = "RECORD")]
    pub(crate) trust_unchanged: Option<PathBuf>,
}

/// A folder that another tool signed.
#[derive(Debug, Args)]
#[command(next_help_heading = "OpenSSF Model Signing")]
#[command(group = ArgGroup::new("signed_by").args(["public_key", "identity"]))]
#[command(group = ArgGroup::new("by_authority").args(["sigstore_root", "certificate_root"]))]
pub(crate) struct ForeignArgs {
    /// The signature: a Sigstore bundle
    #[arg(long, value_name = "FILE", requires = "signed_by")]
    pub(crate) signature: Option<PathBuf>,
    /// The signer's public key in PEM (P-256, P-384, P-521 or Ed25519)
    #[arg(long, value_name = "FILE", requires = "signature")]
    pub(crate) public_key: Option<PathBuf>,
    /// The signer's identity instead: the subject of their Sigstore certificate, exactly, or with --certificate-root a name of their
    /// certificate, in which * stands for anything but a slash and ** for anything
    #[arg(long, value_name = "SUBJECT", requires_all = ["signature", "by_authority"])]
    pub(crate) identity: Option<String>,
    /// Who vouches for the identity: the OIDC issuer's URL
    #[arg(long, value_name = "URL", requires_all = ["identity", "sigstore_root"])]
    pub(crate) issuer: Option<String>,
    /// The trusted_root.json of the Sigstore instance
    #[arg(long, value_name = "FILE", requires_all = ["identity", "issuer"])]
    pub(crate) sigstore_root: Option<PathBuf>,
    /// A root certificate of the signer's certification authority, in PEM or DER. Repeatable
    #[arg(long, value_name = "FILE", requires = "identity")]
    pub(crate) certificate_root: Vec<PathBuf>,
    /// A path inside the folder that is not part of the model. Repeatable
    #[arg(long, value_name = "PATH", requires = "signature")]
    pub(crate) ignore: Vec<String>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Only releases that are kept on this device can be rolled back to, and their bytes are checked again first. The model is \
then held: it does not update until `assay resume`. Floors stay where they are.

Examples:
  assay rollback acme/minilm
  assay rollback acme/minilm --to 1.0.0")]
pub(crate) struct Rollback {
    /// The model
    #[arg(value_name = "NS/MODEL")]
    pub(crate) model: ModelRef,
    /// The version to go back to [default: the one before the active]
    #[arg(long, value_name = "VERSION")]
    pub(crate) to: Option<VersionName>,
    #[command(flatten)]
    pub(crate) store: StoreArgs,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  assay resume acme/minilm && assay update acme/minilm")]
pub(crate) struct HeldModel {
    /// The model
    #[arg(value_name = "NS/MODEL")]
    pub(crate) model: ModelRef,
    #[command(flatten)]
    pub(crate) store: StoreArgs,
}

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
#[command(
    after_help = "Examples:\n  assay status\n  assay status acme/minilm --json\n  assay status renew acme --yes"
)]
pub(crate) struct Status {
    #[command(subcommand)]
    pub(crate) command: Option<StatusCommand>,
    /// One model only
    #[arg(value_name = "NS/MODEL")]
    pub(crate) model: Option<ModelRef>,
    #[command(flatten)]
    pub(crate) store: StoreArgs,
}

#[derive(Debug, Args)]
#[command(after_help = "\
The folder is read-only. It stays in place for as long as the release is active or kept.

Example:
  llama-server --model \"$(assay path acme/minilm)/model.gguf\"")]
pub(crate) struct PathOf {
    /// The model
    #[arg(value_name = "NS/MODEL")]
    pub(crate) model: ModelRef,
    #[command(flatten)]
    pub(crate) store: StoreArgs,
}
