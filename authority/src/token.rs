//! Keys that are kept in a token (PKCS#11): what this crate asks of one, and what can go wrong.
//!
//! Nothing here talks to a token. `assay-pkcs11` does, so that the registry, which uses this crate too, never loads a module.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use crate::key::KeyKind;
use crate::public::PublicKey;

/// A private key that never leaves its token.
pub trait TokenKey: fmt::Debug + Send + Sync {
    /// Signs. For Ed25519 `input` is the message, and the answer its 64 bytes (RFC 8032); for ECDSA `input` is the message's digest,
    /// and the answer r and s, each as long as the curve's order (PKCS#11 v3.1, 6.3.1).
    ///
    /// # Errors
    /// See [`TokenError`]; a token may vanish between two signatures.
    fn sign(&self, input: &[u8]) -> Result<Vec<u8>, TokenError>;
}

/// Where tokens are reached.
pub trait Tokens: fmt::Debug + Send + Sync {
    /// The key that the URI (RFC 7512) names. Nothing touches the token before its first signature; then the token's public key must
    /// be `public`.
    ///
    /// # Errors
    /// [`TokenError::Uri`] or [`TokenError::NoModule`].
    fn key(&self, uri: &str, public: &PublicKey) -> Result<Arc<dyn TokenKey>, TokenError>;

    /// Finds a key that lies in a token.
    ///
    /// # Errors
    /// See [`TokenError`].
    fn find(&self, uri: &str) -> Result<FoundKey, TokenError>;

    /// Makes a key in the token that the URI names. It can never be read out. Its label is the URI's `object`, or `assay`, then a
    /// hyphen, then `name`.
    ///
    /// # Errors
    /// See [`TokenError`]; a key of this label is there already.
    fn make(&self, uri: &str, name: &str, kind: KeyKind) -> Result<FoundKey, TokenError>;
}

/// No tokens at all.
#[derive(Debug, Clone, Copy)]
pub struct NoTokens;

impl Tokens for NoTokens {
    fn key(&self, _: &str, _: &PublicKey) -> Result<Arc<dyn TokenKey>, TokenError> {
        Err(TokenError::NotBuilt)
    }

    fn find(&self, _: &str) -> Result<FoundKey, TokenError> {
        Err(TokenError::NotBuilt)
    }

    fn make(&self, _: &str, _: &str, _: KeyKind) -> Result<FoundKey, TokenError> {
        Err(TokenError::NotBuilt)
    }
}

/// A key in a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundKey {
    /// The URI (RFC 7512) that names this one key.
    pub uri: String,
    /// Its public half.
    pub public: PublicKey,
}

/// Why a token does not sign.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// This program reaches no tokens.
    #[error("a key in a PKCS#11 token: this program reaches none; build assay-cli with its feature `pkcs11`")]
    NotBuilt,
    /// Not a URI of a key in a token.
    #[error("PKCS#11 URI: {what}: expected {expected}, found {found}")]
    Uri {
        /// The part of it.
        what: String,
        /// The rule.
        expected: String,
        /// What is there.
        found: String,
    },
    /// No module is named.
    #[error(
        "no PKCS#11 module for {uri}: give the token's library with --pkcs11-module, ASSAY_PKCS11_MODULE or module-path= in \
         the URI"
    )]
    NoModule {
        /// The URI.
        uri: String,
    },
    /// The module cannot be loaded.
    #[error("PKCS#11 module {}: {reason}; expected the library that came with the token", path.display())]
    Module {
        /// The library.
        path: PathBuf,
        /// The system's words.
        reason: String,
    },
    /// No token that is here is the one.
    #[error("no token {wanted}: found {found}. Connect the token, or correct the URI")]
    Absent {
        /// What the URI asks for.
        wanted: String,
        /// The tokens that are here.
        found: String,
    },
    /// More than one thing fits the URI.
    #[error("{wanted} fits {found} {what}; add {add} to the URI")]
    Ambiguous {
        /// The URI's words.
        wanted: String,
        /// Tokens or keys.
        what: &'static str,
        /// The attributes of a URI that tell them apart.
        add: &'static str,
        /// How many.
        found: usize,
    },
    /// The file that the PIN should be in.
    #[error("PIN file {}: {reason}", path.display())]
    PinFile {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// Nobody gave the PIN.
    #[error(
        "token {token}: its PIN is needed; give it in ASSAY_PKCS11_PIN, or name a file with pin-source= in the URI"
    )]
    PinNeeded {
        /// The token.
        token: String,
    },
    /// The PIN is wrong.
    #[error("token {token}: the PIN is wrong{warning}")]
    WrongPin {
        /// The token.
        token: String,
        /// How few tries are left, if the token says so.
        warning: &'static str,
    },
    /// Too many wrong PINs.
    #[error(
        "token {token}: its PIN is locked after too many wrong ones; unlock it with the token's own tool and its SO PIN"
    )]
    PinLocked {
        /// The token.
        token: String,
    },
    /// The token does not hold the key.
    #[error("token {token}: no {what} {wanted}. Is this the right token?")]
    NoKey {
        /// The token.
        token: String,
        /// Private or public key.
        what: &'static str,
        /// The URI's words.
        wanted: String,
    },
    /// A key of this name is there.
    #[error(
        "token {token}: a key {label:?} is there already; it is never replaced. Take it with `assay key add`, or give another \
         object= in the URI"
    )]
    KeyExists {
        /// The token.
        token: String,
        /// The label.
        label: String,
    },
    /// The key under this name is another one.
    #[error(
        "token {token}: {wanted} is another key than recorded: expected {recorded}, found {found}. Nothing was signed; is this the \
         right token?"
    )]
    OtherKey {
        /// The token.
        token: String,
        /// The URI's words.
        wanted: String,
        /// The public key on record.
        recorded: String,
        /// The token's.
        found: String,
    },
    /// A key or token that this software cannot use.
    #[error("token {token}: {what}: expected {expected}, found {found}")]
    Unsupported {
        /// The token.
        token: String,
        /// The attribute.
        what: &'static str,
        /// What it should be.
        expected: String,
        /// What is there.
        found: String,
    },
    /// The token was taken away.
    #[error("token {token} was removed while it was in use ({reason}). Connect it and run the command again")]
    Removed {
        /// The token.
        token: String,
        /// The module's words.
        reason: String,
    },
    /// Anything else that the token refuses.
    #[error("token {token}: {what}: {reason}")]
    Failed {
        /// The token.
        token: String,
        /// What was asked of it.
        what: &'static str,
        /// The module's words.
        reason: String,
    },
    /// What the signatures of a token are remembered in.
    #[error("remembering a token's signature: {0}")]
    Memory(String),
}
