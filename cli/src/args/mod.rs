//! What the command line can say. Nothing here does anything.

mod authority;
mod catalog;
mod change;
mod delta;
mod device;
mod log;
mod moving;
mod shared;
mod witness;

use clap::{Parser, Subcommand};

use crate::exit;

pub(crate) use authority::{
    Attest, KeyAdd, KeyCommand, KeyList, KeySigner, KeyType, Keygen, LogChoice, LogName, NamespaceCommand,
    NamespaceCreate, NamespaceLog, NamespaceRenew, NamespaceSigners, Publish, SigstoreSigner,
};
pub(crate) use catalog::{Releases, ScopeName, Search, TokenCommand};
pub(crate) use change::{
    Approve, Endorse, NamespaceJoin, ProposalCommand, ProposalList, ProposalOf, Proposals, ReachArgs,
    RoleCommand, RoleGrant, RoleRenew, RoleRevoke, RootCommand, RootRotate, SignArgs, StatusCommand,
    StatusInit, StatusLift, StatusRevoke, StatusShow,
};
pub(crate) use delta::{DeltaApply, DeltaCommand, DeltaMake, DeltaShow};
pub(crate) use device::{
    Check, DeliveryArgs, ForeignArgs, HeldModel, PartArgs, PathOf, Pull, Repair, Rollback, Status, Term,
    TermsArgs, TrustAdd, TrustCommand, TrustRemove, TrustRequire, TrustSet, TrustUnrequire, Update, Verify,
};
pub(crate) use log::{LogArgs, LogAudit, LogCommand, Monitor};
pub(crate) use moving::{NamespaceExport, NamespaceImport, TrustMove};
pub(crate) use shared::{
    Age, AuthorityArgs, ChainArgs, DeviceArgs, PassphraseArgs, RegistryArgs, StoreArgs, TokenArgs,
    TokensArgs, Wanted,
};
pub(crate) use witness::{WitnessAddLog, WitnessCommand, WitnessInit, WitnessRun, WitnessShow};

const TOP_EXAMPLES: &str = "\
A publisher, once:
  assay keygen ./authority --encrypt
  assay namespace create acme --authority ./authority --registry https://models.example.org
  assay publish ./minilm acme/minilm@1.0.0 --authority ./authority

A device:
  assay trust add acme --registry https://models.example.org --fingerprint 3f9c...
  assay pull acme/minilm
  ls \"$(assay path acme/minilm)\"

Environment:
  ASSAY_REGISTRY    the registry's address, where a command needs one and --registry is not given
  ASSAY_TOKEN       the token; it is sent to ASSAY_REGISTRY only, where that is set
  ASSAY_STORE       the device's store
  ASSAY_MAX_STALE   how old a registry's state may be, for namespaces that `assay trust` gave no --max-stale: 12h, 2d
  ASSAY_AUTHORITY   the authority's folder
  ASSAY_PASSPHRASE  the passphrase of encrypted keys
  ASSAY_PKCS11_MODULE, ASSAY_PKCS11_PIN  the library of the token that holds keys, and its PIN";

/// Publish models that devices can trust, and use models without trusting who hosts them.
#[derive(Debug, Parser)]
#[command(name = "assay", version, after_help = TOP_EXAMPLES, after_long_help = exit::with_table(TOP_EXAMPLES), max_term_width = 110)]
#[command(
    propagate_version = true,
    subcommand_required = true,
    arg_required_else_help = true
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) show: Show,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// How results are shown.
#[derive(Debug, Clone, Copy, clap::Args)]
#[command(next_help_heading = "Output")]
pub(crate) struct Show {
    /// Print one JSON document on standard output, also for errors
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Show the evidence of every stage
    #[arg(long, short, global = true)]
    pub(crate) verbose: bool,
    /// Show no progress bars, and no verdict that permits
    #[arg(long, short, global = true)]
    pub(crate) quiet: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make an authority's keys in a new folder
    Keygen(Keygen),
    /// Add keys to an authority's folder, and list them
    #[command(subcommand)]
    Key(KeyCommand),
    /// Create and look at namespaces
    #[command(subcommand)]
    Namespace(NamespaceCommand),
    /// Sign a folder as a release and publish it
    Publish(Publish),
    /// Sign a statement about a model: what it was made from, how it was evaluated, what it consists of
    Attest(Attest),
    /// Look at a namespace's root keys and change them
    #[command(subcommand)]
    Root(RootCommand),
    /// Choose who publishes a model
    #[command(subcommand)]
    Role(RoleCommand),
    /// Sign another namespace's release in one's own: for devices that require both
    Endorse(Endorse),
    /// Look at a proposal of another key holder and sign it
    Approve(Approve),
    /// List, show and withdraw proposals that wait for signatures on the registry
    Proposals(Proposals),
    /// Choose which namespaces this device trusts
    #[command(subcommand)]
    Trust(TrustCommand),
    /// Ask whether this device may use a release, without fetching it
    Check(Check),
    /// Fetch a release, check every byte of it, and make it active
    Pull(Pull),
    /// Pull the release that is highest in order
    Update(Update),
    /// Check every byte of a model that lies on this device
    Verify(Verify),
    /// Check every byte of the active release, and fetch again what is damaged
    Repair(Repair),
    /// Go back to a release that is kept on this device, and stay there
    Rollback(Rollback),
    /// Let a model that was rolled back update again
    Resume(HeldModel),
    /// Show which releases are active, held and kept; with a subcommand, what an authority restricts
    Status(Status),
    /// Print the folder of the active release
    Path(PathOf),
    /// Find models on a registry
    Search(Search),
    /// List a model's releases on a registry
    Releases(Releases),
    /// Make, list and revoke a registry's tokens
    #[command(subcommand)]
    Token(TokenCommand),
    /// Make, look at and apply deltas between files on this machine
    #[command(subcommand)]
    Delta(DeltaCommand),
    /// Look at a transparency log from outside
    #[command(subcommand)]
    Log(LogCommand),
    /// Watch a log for what is made in an authority's name
    Monitor(Monitor),
    /// Run a witness of transparency logs, which anybody can host
    #[command(subcommand)]
    Witness(WitnessCommand),
    /// Print a completion script for a shell
    #[command(
        after_help = "Example:\n  assay completions bash > ~/.local/share/bash-completion/completions/assay"
    )]
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// List the exit codes
    #[command(after_help = exit::table())]
    ExitCodes,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn parse(line: &str) -> Result<Command, clap::error::ErrorKind> {
        match Cli::try_parse_from(line.split_whitespace()) {
            Ok(cli) => Ok(cli.command),
            Err(e) => Err(e.kind()),
        }
    }

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_release_is_a_model_with_or_without_a_version() {
        let wanted: Wanted = "acme/minilm@1.2.0+cpu".parse().unwrap();
        assert_eq!(
            (wanted.model.to_string(), wanted.version.unwrap().to_string()),
            ("acme/minilm".into(), "1.2.0+cpu".into())
        );
        assert_eq!("acme/minilm".parse::<Wanted>().unwrap().version, None);
        for bad in [
            "acme",
            "acme/",
            "/minilm",
            "acme/minilm@",
            "acme/../x",
            "acme/minilm@1@2",
            "Acme/minilm",
        ] {
            assert!(bad.parse::<Wanted>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_namespace_is_not_trusted_without_fingerprint_or_flag_nor_with_both() {
        use clap::error::ErrorKind::{ArgumentConflict, MissingRequiredArgument};
        let base = "assay trust add acme --registry http://r";
        let digest = "a".repeat(64);
        assert_eq!(parse(base).unwrap_err(), MissingRequiredArgument);
        assert_eq!(
            parse(&format!("{base} --fingerprint {digest} --trust-on-first-use")).unwrap_err(),
            ArgumentConflict
        );
        assert!(parse(&format!("{base} --fingerprint {digest}")).is_ok());
        assert!(parse(&format!("{base} --trust-on-first-use")).is_ok());
    }

    #[test]
    fn a_foreign_signature_needs_its_key_and_names_no_release() {
        use clap::error::ErrorKind::{ArgumentConflict, MissingRequiredArgument};
        assert_eq!(
            parse("assay verify d --signature s").unwrap_err(),
            MissingRequiredArgument
        );
        assert_eq!(
            parse("assay verify d --ignore x").unwrap_err(),
            MissingRequiredArgument
        );
        assert_eq!(
            parse("assay verify d acme/m --signature s --public-key k").unwrap_err(),
            ArgumentConflict
        );
        assert!(parse("assay verify d --signature s --public-key k --ignore a --ignore b").is_ok());
    }

    #[test]
    fn proposals_are_listed_by_namespace_and_shown_by_id() {
        let Ok(Command::Proposals(listed)) = parse("assay proposals acme --authority a") else {
            panic!("not a list");
        };
        assert!(matches!(listed, Proposals::List(list) if list.namespace.as_str() == "acme"));
        let Ok(Command::Proposals(shown)) = parse("assay proposals show acme 3f9c01d2 --authority a") else {
            panic!("not one");
        };
        assert!(matches!(shown, Proposals::Of(ProposalCommand::Show(of)) if of.id == "3f9c01d2"));
        assert!(parse("assay proposals").is_err());
    }

    #[test]
    fn required_stages_add_up() {
        let Ok(Command::Check(check)) =
            parse("assay check acme/m --require log --require provenance --static")
        else {
            panic!("not a check");
        };
        assert_eq!(check.chain.require.len(), 2);
        assert!(check.chain.static_files);
    }

    #[test]
    fn a_monitor_waits_for_a_sign_of_life_without_being_asked() {
        let Ok(Command::Monitor(monitor)) = parse("assay monitor --authority a --dir d --once") else {
            panic!("not a monitor");
        };
        // Snapshots are signed anew within 7 days.
        assert_eq!(monitor.max_age, jiff::SignedDuration::from_hours(8 * 24));
    }

    #[test]
    fn no_token_is_shown_when_arguments_are_printed() {
        let Ok(Command::Search(search)) = parse("assay search x --registry http://r --token sesame") else {
            panic!("not a search");
        };
        assert!(!format!("{search:?}").contains("sesame"));
    }
}
