//! Options that several commands take.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use assay_schema::name::BadName;
use assay_schema::{ModelRef, ReleaseRef, Stage, VersionName};
use clap::Args;
use jiff::{SignedDuration, Span, SpanRelativeTo};

/// `acme/minilm` or `acme/minilm@1.2.0`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) model: ModelRef,
    pub(crate) version: Option<VersionName>,
}

impl FromStr for Wanted {
    type Err = BadName;

    fn from_str(text: &str) -> Result<Self, BadName> {
        if text.contains('@') {
            let release: ReleaseRef = text.parse()?;
            Ok(Self {
                model: release.model,
                version: Some(release.version),
            })
        } else {
            Ok(Self {
                model: text.parse()?,
                version: None,
            })
        }
    }
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.version {
            Some(version) => write!(f, "{}@{version}", self.model),
            None => self.model.fmt(f),
        }
    }
}

/// How old something may be: `90m`, `12h`, `2d`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Age(pub(crate) SignedDuration);

impl FromStr for Age {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            "expected a time of at least a second in days, hours, minutes or seconds, such as 12h or 2d"
                .to_owned()
        };
        let span: Span = text.trim().parse().map_err(|_| wrong())?;
        let age = span
            .to_duration(SpanRelativeTo::days_are_24_hours())
            .map_err(|_| wrong())?;
        match age >= SignedDuration::from_secs(1) {
            true => Ok(Self(age)),
            false => Err(wrong()),
        }
    }
}

/// A token, not from the command line unless somebody insists: other users of the machine can read command lines.
#[derive(Clone, Args)]
#[command(next_help_heading = "Registry")]
pub(crate) struct TokenArgs {
    /// The token; better given by ASSAY_TOKEN or --token-file, which other users of this machine cannot read
    #[arg(long, value_name = "TOKEN", conflicts_with = "token_file")]
    pub(crate) token: Option<String>,
    /// A file whose first line is the token [env: ASSAY_TOKEN holds the token itself]
    #[arg(long, value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
}

impl TokenArgs {
    /// None on the command line.
    pub(crate) const fn none() -> Self {
        Self {
            token: None,
            token_file: None,
        }
    }
}

impl fmt::Debug for TokenArgs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenArgs")
            .field("token", &self.token.as_ref().map(|_| "redacted"))
            .field("token_file", &self.token_file)
            .finish()
    }
}

/// A registry that is named.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Registry")]
pub(crate) struct RegistryArgs {
    /// The registry's address
    #[arg(long, value_name = "URL", env = "ASSAY_REGISTRY")]
    pub(crate) registry: String,
    #[command(flatten)]
    pub(crate) token: TokenArgs,
}

/// The device's store.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Device")]
pub(crate) struct StoreArgs {
    /// The device's store [default: $XDG_DATA_HOME/assay, or ~/.local/share/assay]
    #[arg(long, value_name = "DIR", env = "ASSAY_STORE")]
    pub(crate) store: Option<PathBuf>,
}

/// The device's store, and the registry that a namespace was trusted with.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Device")]
pub(crate) struct DeviceArgs {
    #[command(flatten)]
    pub(crate) store: StoreArgs,
    /// Ask this registry or mirror instead of the one that the namespace was trusted with
    #[arg(long, value_name = "URL")]
    pub(crate) registry: Option<String>,
    #[command(flatten)]
    pub(crate) token: TokenArgs,
}

/// What the verdict has to cover, and how the metadata is fetched.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Trust chain")]
pub(crate) struct ChainArgs {
    /// Refuse unless this stage passed, too: log, permission, plan, content, screening. Repeatable; trust-root, freshness,
    /// release and provenance are always required
    #[arg(long, value_name = "STAGE")]
    pub(crate) require: Vec<Stage>,
    /// Take a release that its authority lists although no permitted signer signed its files
    #[arg(long)]
    pub(crate) allow_unsigned: bool,
    /// Walk the static TUF files instead of asking for one check bundle: works with any file server
    #[arg(long = "static")]
    pub(crate) static_files: bool,
}

/// The authority's keys.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Authority")]
pub(crate) struct AuthorityArgs {
    /// The authority's folder, which `assay keygen` made
    #[arg(long, value_name = "DIR", env = "ASSAY_AUTHORITY")]
    pub(crate) authority: PathBuf,
    #[command(flatten)]
    pub(crate) passphrase: PassphraseArgs,
    #[command(flatten)]
    pub(crate) tokens: TokensArgs,
}

/// How keys in tokens are reached.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Authority")]
pub(crate) struct TokensArgs {
    /// The library of the token that holds keys (PKCS#11) [default: what the key's URI names] [env: ASSAY_PKCS11_PIN holds the
    /// token's PIN; asked for where neither it nor the URI's pin-source is there]
    #[arg(long, value_name = "LIBRARY", env = "ASSAY_PKCS11_MODULE")]
    pub(crate) pkcs11_module: Option<PathBuf>,
}

/// Where the passphrase of encrypted keys comes from.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Authority")]
pub(crate) struct PassphraseArgs {
    /// A file whose first line is the passphrase of the keys [env: ASSAY_PASSPHRASE holds the passphrase itself; asked for
    /// where neither is given]
    #[arg(long, value_name = "FILE")]
    pub(crate) passphrase_file: Option<PathBuf>,
}

/// How much of a listing.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct PageArgs {
    /// At most so many entries
    #[arg(long, value_name = "N", default_value_t = 200)]
    pub(crate) limit: usize,
}
