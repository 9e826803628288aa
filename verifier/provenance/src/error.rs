//! Why a model's signature is not accepted.

use std::fmt;

pub use crate::bundle::{BundleError, Carried};
pub use crate::certificate::CertificateError;
pub use crate::crypto::CryptoError;
pub use crate::key::KeyError;
pub use crate::oms::OmsError;
pub use crate::sigstore::SigstoreError;
pub use crate::statement::StatementError;

/// Signers that a message names one by one; it counts the others.
const NAMED: usize = 8;

/// Why a model's signature is not accepted.
#[derive(Debug, thiserror::Error)]
pub enum ProvenanceError {
    /// The process's cryptographic provider must not be used.
    #[error(transparent)]
    Crypto(#[from] CryptoError),
    /// Not a bundle that can hold a model signature.
    #[error("model signature: {0}")]
    Bundle(#[from] BundleError),
    /// The signed payload is not the statement that it should be.
    #[error("model signature: {0}")]
    Statement(#[from] StatementError),
    /// The statement does not describe a model as OMS defines it.
    #[error("model signature: {0}")]
    Oms(#[from] OmsError),
    /// The namespace's Sigstore trusted root cannot be used.
    #[error("model signature, trust/sigstore.json: {0}")]
    Root(#[source] SigstoreError),
    /// Nobody is permitted to sign statements of this kind.
    #[error(
        "statement: expected a kind that somebody is permitted to sign, found {predicate_type:?}; let the namespace's authority \
         add its signer to trust/signers.json"
    )]
    NotForThis {
        /// The statement's predicate type.
        predicate_type: String,
    },
    /// No permitted signer made this signature.
    #[error(
        "model signature: expected one by a permitted signer ({}), found {carried}; sign the model as a permitted signer, \
         or let the namespace's authority add its signer to trust/signers.json", Attempts(.permitted)
    )]
    NotPermitted {
        /// What the bundle says about its signer, unchecked.
        carried: Carried,
        /// Every signer that was permitted, and why the signature is not theirs.
        permitted: Vec<Attempt>,
    },
}

impl ProvenanceError {
    /// The kind of refusal as a word that stays the same: for programs, and for other languages.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Crypto(_) => "crypto",
            Self::Bundle(_) => "bundle",
            Self::Statement(_) => "statement",
            Self::Oms(_) => "oms",
            Self::Root(_) => "root",
            Self::NotForThis { .. } => "not-for-this",
            Self::NotPermitted { .. } => "not-permitted",
        }
    }
}

/// A permitted signer whose signature this is not.
#[derive(Debug)]
pub struct Attempt {
    /// The signer's name.
    pub signer: String,
    /// Why not.
    pub reason: Mismatch,
}

/// Why a signature is not a permitted signer's.
#[derive(Debug, thiserror::Error)]
pub enum Mismatch {
    /// The signer's key is unusable or did not make this signature.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The signer's Sigstore identity does not stand behind this bundle.
    #[error(transparent)]
    Sigstore(#[from] SigstoreError),
    /// The signer's certificates do not vouch for this bundle.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// The signer signs with a certificate and the bundle carries a key signature.
    #[error("they sign with a certificate")]
    SignsByCertificate,
    /// The signer signs with a key and the bundle carries a certificate.
    #[error("they sign with a key")]
    SignsByKey,
    /// The signer signs with Sigstore and the bundle carries a key signature.
    #[error("they sign with Sigstore")]
    SignsBySigstore,
    /// The signer signs with Sigstore and the namespace names no trusted root for it.
    #[error("the namespace has no trust/sigstore.json to judge Sigstore by")]
    NoRoot,
}

struct Attempts<'a>(&'a [Attempt]);

impl fmt::Display for Attempts<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("nobody is permitted to sign this model");
        }
        for (i, Attempt { signer, reason }) in self.0.iter().take(NAMED).enumerate() {
            let comma = if i > 0 { ", " } else { "" };
            write!(f, "{comma}{signer:?}: {reason}")?;
        }
        match self.0.len().saturating_sub(NAMED) {
            0 => Ok(()),
            more => write!(f, ", and {more} more"),
        }
    }
}
