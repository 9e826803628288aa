//! The commands of an authority and its publishers.

use std::path::PathBuf;
use std::str::FromStr;

use assay_client::publisher::KeyRole;
use assay_log::VerifierKey;
use assay_schema::{NamespaceName, ReleaseRef, VersionName};
use clap::{Args, Subcommand, ValueEnum};
use jiff::Timestamp;

use super::change::{NamespaceJoin, SignArgs};
use super::moving::{NamespaceExport, NamespaceImport};
use super::shared::{AuthorityArgs, PageArgs, PassphraseArgs, RegistryArgs, TokenArgs, TokensArgs};

/// Kinds of keys by the names that the command line uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum KeyType {
    Ed25519,
    P256,
    P384,
    P521,
}

/// Which log a namespace names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogChoice {
    Registry,
    None,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Makes root.pem, targets.pem and publisher.pem (Ed25519) and model-signing.pem (P-256), each with its public half beside it \
(root.pem.pub). A role's further keys are root-2.pem, root-3.pem and so on. Keep root and targets keys offline. Existing keys \
are never overwritten. With --pkcs11 the private keys are made in a token and never leave it; root.pkcs11 says where the key is.

Examples:
  assay keygen ./authority
  assay keygen ./authority --encrypt --passphrase-file ./passphrase
  assay keygen ./authority --root 3 --root-threshold 2 --targets 2 --targets-threshold 2
  assay keygen ./authority --pkcs11 'pkcs11:token=acme?module-path=/usr/lib/softhsm/libsofthsm2.so' --in-token root --in-token targets")]
pub(crate) struct Keygen {
    /// The folder to make; it must hold no keys yet
    pub(crate) dir: PathBuf,
    /// How many root keys
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=16))]
    pub(crate) root: u32,
    /// How many root keys must sign
    #[arg(long, value_name = "K", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=16))]
    pub(crate) root_threshold: u32,
    /// How many targets keys
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=16))]
    pub(crate) targets: u32,
    /// How many targets keys must sign
    #[arg(long, value_name = "K", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=16))]
    pub(crate) targets_threshold: u32,
    /// How many keys for the status role (status.pem): a scheduled job may hold one
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=16))]
    pub(crate) status: u32,
    /// Encrypt the keys under a passphrase
    #[arg(long)]
    pub(crate) encrypt: bool,
    /// The kind of the root, targets and publisher keys
    #[arg(long, value_enum, default_value = "ed25519")]
    pub(crate) kind: KeyType,
    /// The kind of the model-signing key
    #[arg(long, value_enum, default_value = "p256")]
    pub(crate) signing_kind: KeyType,
    /// Make the keys in this token (RFC 7512), labelled assay-root and so on; its object= stands in place of assay
    #[arg(long, value_name = "URI")]
    pub(crate) pkcs11: Option<String>,
    /// Make only the keys of this role in the token, and the others in files. Repeatable
    #[arg(long, value_name = "ROLE", requires = "pkcs11")]
    pub(crate) in_token: Vec<KeyRole>,
    #[command(flatten)]
    pub(crate) passphrase: PassphraseArgs,
    #[command(flatten)]
    pub(crate) tokens: TokensArgs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum KeyCommand {
    /// Add a key to an authority's folder: a new one in a file, or one in a token
    Add(KeyAdd),
    /// List the keys of an authority's folder, without their secrets
    List(KeyList),
}

#[derive(Debug, Args)]
#[command(after_help = "\
The key gets the role's next free name: root-2.pem, or root-2.pkcs11 for a key in a token. It signs nothing before the namespace \
lists it: `assay root rotate` or `assay role grant` with the file of its public half.

Examples:
  assay key add ./authority --role root --pkcs11 'pkcs11:token=acme;object=root' --pkcs11-module /usr/lib/softhsm/libsofthsm2.so
  assay key add ./authority --role root --pkcs11 'pkcs11:token=acme' --make
  assay key add ./authority --role root --encrypt")]
pub(crate) struct KeyAdd {
    /// The authority's folder
    pub(crate) dir: PathBuf,
    /// What the key is for: root, targets, publisher, model-signing or status
    #[arg(long)]
    pub(crate) role: KeyRole,
    /// The key in its token (RFC 7512)
    #[arg(long, value_name = "URI")]
    pub(crate) pkcs11: Option<String>,
    /// Make the key in the token that the URI names
    #[arg(long, requires = "pkcs11")]
    pub(crate) make: bool,
    /// The kind of a new key [default: ed25519; p256 for model-signing]
    #[arg(long, value_enum)]
    pub(crate) kind: Option<KeyType>,
    /// Encrypt the new key's file under a passphrase
    #[arg(long, conflicts_with = "pkcs11")]
    pub(crate) encrypt: bool,
    #[command(flatten)]
    pub(crate) passphrase: PassphraseArgs,
    #[command(flatten)]
    pub(crate) tokens: TokensArgs,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  assay key list ./authority")]
pub(crate) struct KeyList {
    /// The authority's folder
    pub(crate) dir: PathBuf,
}

/// `NAME=PEM`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KeySigner {
    pub(crate) name: String,
    pub(crate) public_key: PathBuf,
}

impl FromStr for KeySigner {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, file) = named(text, "NAME=PEM")?;
        Ok(Self {
            name,
            public_key: file.into(),
        })
    }
}

/// `NAME=ISSUER,SUBJECT`. An issuer is a URL, which may hold no comma unescaped; a subject may.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SigstoreSigner {
    pub(crate) name: String,
    pub(crate) issuer: String,
    pub(crate) subject: String,
}

impl FromStr for SigstoreSigner {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let form = "NAME=ISSUER,SUBJECT";
        let (name, identity) = named(text, form)?;
        let (issuer, subject) = identity
            .split_once(',')
            .filter(|(issuer, subject)| !issuer.is_empty() && !subject.is_empty())
            .ok_or_else(|| format!("expected {form}, found no issuer and subject after the name"))?;
        Ok(Self {
            name,
            issuer: issuer.to_owned(),
            subject: subject.to_owned(),
        })
    }
}

fn named<'t>(text: &'t str, form: &str) -> Result<(String, &'t str), String> {
    text.split_once('=')
        .filter(|(name, value)| !name.trim().is_empty() && !value.is_empty())
        .map(|(name, value)| (name.to_owned(), value))
        .ok_or_else(|| format!("expected {form}, found {text:?}"))
}

#[derive(Debug, Subcommand)]
pub(crate) enum NamespaceCommand {
    /// Sign a namespace's first metadata and create it on a registry
    Create(NamespaceCreate),
    /// Show or change the log that a namespace names, and the witnesses that it demands
    Log(NamespaceLog),
    /// Sign the namespace's targets metadata anew as it stands, with a later expiry
    Renew(NamespaceRenew),
    /// Show or change who may sign a namespace's models
    Signers(NamespaceSigners),
    /// Let a folder of keys sign for a namespace that exists
    Join(NamespaceJoin),
    /// Write everything public of a namespace into a folder
    Export(NamespaceExport),
    /// Take an exported namespace to another registry
    Import(NamespaceImport),
    /// Show a namespace as its registry describes it
    Show(NamespaceShow),
    /// List a registry's namespaces
    List(NamespaceList),
}

#[derive(Debug, Args)]
#[command(after_help = "\
Prints the namespace's identity: the fingerprint that you give to devices, by a way that the registry does not control. \
The token needs the scope admin.

Examples:
  assay namespace create acme --authority ./authority --registry https://models.example.org --token-file ./token
  assay namespace create acme --private --signer 'Acme model team'
  assay namespace create acme --signer-key 'Evaluation lab=./lab.pub' \\
    --sigstore-signer 'Release CI=https://token.actions.githubusercontent.com,https://github.com/acme/models/...' \\
    --sigstore-root ./trusted_root.json
  assay namespace create acme --witness w1.example+1a2b3c4d+BA... --witness w2.example+5e6f7a8b+BB... --witness-threshold 1")]
pub(crate) struct NamespaceCreate {
    /// The namespace's name
    pub(crate) namespace: NamespaceName,
    /// Only holders of a token for this namespace may read it
    #[arg(long)]
    pub(crate) private: bool,
    /// The name that verdicts show for the holder of model-signing.pem [default: the namespace's name]
    #[arg(long, value_name = "NAME")]
    pub(crate) signer: Option<String>,
    /// Another signer of models, by a name and the file of their public key. Repeatable
    #[arg(long, value_name = "NAME=PEM")]
    pub(crate) signer_key: Vec<KeySigner>,
    /// Another signer of models, by a name and the issuer and subject of their Sigstore certificate. Repeatable
    #[arg(long, value_name = "NAME=ISSUER,SUBJECT", requires = "sigstore_root")]
    pub(crate) sigstore_signer: Vec<SigstoreSigner>,
    /// A document with further signers - by key, certificate, Sigstore identity or pattern, of models and of other statements - and the
    /// statements that releases must have (schema/json/signers.json)
    #[arg(long, value_name = "FILE")]
    pub(crate) signers: Option<PathBuf>,
    /// The trusted_root.json of the Sigstore instance that these signers use
    #[arg(long, value_name = "FILE")]
    pub(crate) sigstore_root: Option<PathBuf>,
    /// The transparency log that devices find every state of the namespace in: the registry's, if it offers one, or none
    #[arg(long, value_enum, default_value = "registry")]
    pub(crate) log: LogChoice,
    /// The key of a witness whose cosignature devices demand: NAME+ID+KEY. Repeatable
    #[arg(long, value_name = "VKEY")]
    pub(crate) witness: Vec<VerifierKey>,
    /// How many of the witnesses must have cosigned [default: a majority]
    #[arg(long, value_name = "K", requires = "witness", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) witness_threshold: Option<u32>,
    #[command(flatten)]
    pub(crate) authority: AuthorityArgs,
    #[command(flatten)]
    pub(crate) registry: RegistryArgs,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Without options, shows what stands. Devices then refuse every state that is not in that log under a checkpoint which so many of these \
witnesses cosigned: the registry has to ask them ([transparency] witnesses in its configuration) before the change is published. \
Changes are shown before they are signed; where other key holders have to sign, too, they run `assay approve`.

Examples:
  assay namespace log acme
  assay namespace log acme --witness w1.example+1a2b3c4d+BA... --witness w2.example+5e6f7a8b+BB... --witness-threshold 1
  assay namespace log acme --log registry
  assay namespace log acme --no-witnesses")]
pub(crate) struct NamespaceLog {
    /// The namespace's name
    pub(crate) namespace: NamespaceName,
    /// The log: its key, registry for the one that the registry offers, or none [default: as it stands]
    #[arg(long, value_name = "VKEY|registry|none")]
    pub(crate) log: Option<LogName>,
    /// The key of a witness whose cosignature devices demand: NAME+ID+KEY. These replace the present ones. Repeatable
    #[arg(long, value_name = "VKEY")]
    pub(crate) witness: Vec<VerifierKey>,
    /// How many of the witnesses must have cosigned [default: a majority of new ones, else as it stands]
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) witness_threshold: Option<u32>,
    /// Demand no witnesses any more: a split view is then not excluded
    #[arg(long, conflicts_with_all = ["witness", "witness_threshold"])]
    pub(crate) no_witnesses: bool,
    #[command(flatten)]
    pub(crate) sign: SignArgs,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Delegations and what the namespace says of signers and logs expire 180 days after they were signed; every change of them signs them anew, \
too. It takes targets keys only. The root is renewed by `assay root rotate --renew`, a model's releases by `assay role renew`.

Example:
  assay namespace renew acme")]
pub(crate) struct NamespaceRenew {
    /// The namespace's name
    pub(crate) namespace: NamespaceName,
    #[command(flatten)]
    pub(crate) sign: SignArgs,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Without options, shows what stands. A model-signing key that was lost or stolen is replaced by removing its signer and adding the new \
one in one change. Devices then refuse releases that nobody else signed: publish them again under another version. Changes are shown \
before they are signed; where other key holders have to sign, too, they run `assay approve`.

Examples:
  assay namespace signers acme
  assay namespace signers acme --remove acme --signer-key acme=./authority/model-signing-2.pem.pub
  assay namespace signers acme --sigstore-root ./trusted_root.json \\
    --sigstore-signer 'Release CI=https://token.actions.githubusercontent.com,https://github.com/acme/models/...'")]
pub(crate) struct NamespaceSigners {
    /// The namespace's name
    pub(crate) namespace: NamespaceName,
    /// The whole document, in the place of the present one (schema/json/signers.json)
    #[arg(long, value_name = "FILE", conflicts_with_all = ["remove", "signer_key", "sigstore_signer"])]
    pub(crate) signers: Option<PathBuf>,
    /// The name of a signer that may no longer sign. Repeatable
    #[arg(long, value_name = "NAME")]
    pub(crate) remove: Vec<String>,
    /// A new signer, by a name and the file of their public key. Repeatable
    #[arg(long, value_name = "NAME=PEM")]
    pub(crate) signer_key: Vec<KeySigner>,
    /// A new signer, by a name and the issuer and subject of their Sigstore certificate. Repeatable
    #[arg(long, value_name = "NAME=ISSUER,SUBJECT")]
    pub(crate) sigstore_signer: Vec<SigstoreSigner>,
    /// The trusted_root.json of the Sigstore instance that signers use [default: as it stands]
    #[arg(long, value_name = "FILE")]
    pub(crate) sigstore_root: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) sign: SignArgs,
}

/// A log by its key, or by where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum LogName {
    Registry,
    None,
    Key(Box<VerifierKey>),
}

impl FromStr for LogName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "registry" => Ok(Self::Registry),
            "none" => Ok(Self::None),
            key => key
                .parse()
                .map(|key| Self::Key(Box::new(key)))
                .map_err(|e| format!("expected registry, none or a log's key: {e}")),
        }
    }
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  assay namespace show acme --registry https://models.example.org")]
pub(crate) struct NamespaceShow {
    /// The namespace's name
    pub(crate) namespace: NamespaceName,
    #[command(flatten)]
    pub(crate) registry: RegistryArgs,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  assay namespace list --registry https://models.example.org")]
pub(crate) struct NamespaceList {
    #[command(flatten)]
    pub(crate) registry: RegistryArgs,
    #[command(flatten)]
    pub(crate) page: PageArgs,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Publishing the same content again changes nothing and succeeds; other content under a published version is refused (exit code 7). \
A publication that was interrupted goes on where it stopped. Where several publishers have to sign, the first leaves a proposal on \
the registry, and the others run `assay approve`. The token needs the scope publish.

Examples:
  assay publish ./minilm acme/minilm@1.0.0 --authority ./authority --token-file ./token
  assay publish ./minilm acme/minilm@1.1.0 --not-before 2027-01-15T08:00:00Z
  assay publish ./minilm acme/minilm@1.1.0 --attestation ./provenance.json --attestation ./evaluation.json
  assay publish ./minilm acme/minilm@1.1.0 --base ./minilm-1.0 --delta-from 1.0.0
  assay publish ./minilm acme/minilm@1.1.0 --dry-run")]
pub(crate) struct Publish {
    /// The model's folder
    pub(crate) dir: PathBuf,
    /// The release, as NAMESPACE/MODEL@VERSION
    #[arg(value_name = "NS/MODEL@VERSION")]
    pub(crate) release: ReleaseRef,
    /// No device activates the release before this time (RFC 3339)
    #[arg(long, value_name = "TIME")]
    pub(crate) not_before: Option<Timestamp>,
    /// A signed statement about these files to publish with them: an in-toto statement in a Sigstore bundle, of `assay attest` or of
    /// another tool. A model signature made elsewhere is one, too. Repeatable
    #[arg(long, value_name = "FILE")]
    pub(crate) attestation: Vec<PathBuf>,
    /// The folder of an earlier release, as it was published: a delta from it is made here and attached, so that devices that have that
    /// release fetch the delta
    #[arg(long, value_name = "DIR")]
    pub(crate) base: Option<PathBuf>,
    /// Which release the folder of --base is [default: the highest below the one that is published]
    #[arg(long, value_name = "VERSION", requires = "base")]
    pub(crate) delta_from: Option<VersionName>,
    /// Hash and check everything, show what would be published, and change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Sign although this folder signed another body of the same version before
    #[arg(long)]
    pub(crate) sign_again: bool,
    #[command(flatten)]
    pub(crate) authority: AuthorityArgs,
    /// The registry's address [default: the one that the namespace was created on]
    #[arg(long, value_name = "URL", env = "ASSAY_REGISTRY", help_heading = "Registry")]
    pub(crate) registry: Option<String>,
    #[command(flatten)]
    pub(crate) token: TokenArgs,
}

#[derive(Debug, Args)]
#[command(after_help = "\
The statement's subjects are the model's digest, as model signatures have it, and every file. Any predicate type is taken; Assay shows \
what it understands of SLSA provenance (https://slsa.dev/provenance/v1), verification summaries \
(https://slsa.dev/verification_summary/v1), test results (https://in-toto.io/attestation/test-result/v0.1), CycloneDX \
(https://cyclonedx.org/bom) and SPDX 3 (https://spdx.dev/Document/v3). Devices believe it if the namespace, or their owner, permits \
the signer to make such statements.

Examples:
  assay attest ./minilm --type https://slsa.dev/provenance/v1 --predicate provenance.json --authority ./authority --out p.json
  assay attest ./minilm --type https://in-toto.io/attestation/test-result/v0.1 --predicate eval.json --key lab.pem --out e.json
  assay attest ./minilm --type https://cyclonedx.org/bom --predicate bom.json --file model.safetensors --key lab.pem --out b.json")]
#[command(group = clap::ArgGroup::new("signing").args(["key", "authority"]).required(true))]
pub(crate) struct Attest {
    /// The model's folder
    pub(crate) dir: PathBuf,
    /// The statement's predicate type, a URI
    #[arg(long = "type", value_name = "URI")]
    pub(crate) predicate_type: String,
    /// What is to be said: a JSON file of the predicate's form
    #[arg(long, value_name = "FILE")]
    pub(crate) predicate: PathBuf,
    /// Say it about this file alone, by its path in the folder. Repeatable
    #[arg(long, value_name = "PATH")]
    pub(crate) file: Vec<String>,
    /// Where the bundle goes; a file that is there is not overwritten
    #[arg(long, value_name = "FILE")]
    pub(crate) out: PathBuf,
    /// The signer's private key in PEM
    #[arg(long, value_name = "PEM")]
    pub(crate) key: Option<PathBuf>,
    /// An authority's folder, whose model-signing key signs
    #[arg(long, value_name = "DIR")]
    pub(crate) authority: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) passphrase: PassphraseArgs,
    #[command(flatten)]
    pub(crate) tokens: TokensArgs,
}
