//! `trust/signers.json`: who may sign the provenance of a namespace's models, by name.

use serde::{Deserialize, Serialize};

use crate::name::ModelName;
use crate::path::FilePath;
use crate::pattern::Pattern;

/// The TUF target that holds [`Signers`], signed by the top-level targets role.
pub const TARGET: &str = "trust/signers.json";
/// The TUF target that holds the Sigstore trusted root for [`SignerIdentity::Sigstore`], where one is named.
pub const SIGSTORE_ROOT_TARGET: &str = "trust/sigstore.json";

/// The permitted signers, and what they must have signed: the namespace's (`trust/signers.json`), or those that the owner of a device
/// pins beside them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "json-schema", derive(schemars::JsonSchema))]
pub struct Signers {
    /// The document's version: 1.
    pub v: u32,
    /// Every permitted signer.
    pub signers: Vec<Signer>,
    /// Statements that a release must have beside its model signature.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub require: Vec<RequiredStatement>,
}

/// A signer: a name that people know, and what proves to be them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "json-schema", derive(schemars::JsonSchema))]
pub struct Signer {
    /// Shown in the verdict.
    pub name: String,
    /// The models that they may sign; empty means all of the namespace.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub models: Vec<ModelName>,
    /// The predicate types of the statements that they may sign; empty means model signatures and nothing else.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub statements: Vec<Pattern>,
    /// What proves to be them.
    pub identity: SignerIdentity,
}

/// What proves to be a signer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
#[cfg_attr(feature = "json-schema", derive(schemars::JsonSchema))]
pub enum SignerIdentity {
    /// A public key: base64 of its DER SubjectPublicKeyInfo (P-256, P-384, P-521 or Ed25519).
    Key {
        /// Base64 of the DER.
        spki: String,
    },
    /// A certificate of certification authorities of one's own (model signing by certificate): no log and no proven time.
    Certificate {
        /// Base64 of the DER of the authorities' root certificates; the chain must end in one of them.
        roots: Vec<String>,
        /// A name of the certificate: an e-mail address, URI or DNS name of it, or, if it has none of these, its common name.
        subject: Pattern,
    },
    /// A Sigstore certificate's subject and issuer, both exactly.
    Sigstore {
        /// The OIDC issuer's URL.
        issuer: String,
        /// The subject alternative name: an e-mail address or URI.
        subject: String,
    },
    /// A Sigstore certificate's issuer, exactly, and a pattern for its subject.
    SigstorePattern {
        /// The OIDC issuer's URL.
        issuer: String,
        /// The subject alternative name: an e-mail address or URI.
        subject: Pattern,
    },
}

/// A statement that a release must have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "json-schema", derive(schemars::JsonSchema))]
pub struct RequiredStatement {
    /// The predicate type: `https://slsa.dev/provenance/v1`.
    pub predicate_type: Pattern,
    /// Names of signers of the same document; one of them must have signed it.
    pub signers: Vec<String>,
    /// The models of which it is required; empty means all of the namespace.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub models: Vec<ModelName>,
    /// The files that the statement must be about; empty means every file of the release.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<FilePath>,
}

impl Signer {
    /// Whether they may sign statements of this predicate type; a model signature's is one of `model_signature`.
    pub fn may_sign(&self, predicate_type: &str, model_signature: &[&str]) -> bool {
        match self.statements.as_slice() {
            [] => model_signature.contains(&predicate_type),
            listed => listed.iter().any(|pattern| pattern.fits(predicate_type)),
        }
    }
}

impl SignerIdentity {
    /// Whether a Sigstore trusted root is needed to judge it.
    pub const fn is_sigstore(&self) -> bool {
        matches!(self, Self::Sigstore { .. } | Self::SigstorePattern { .. })
    }
}

impl RequiredStatement {
    /// Whether it is required of this model.
    pub fn is_for(&self, model: &ModelName) -> bool {
        self.models.is_empty() || self.models.contains(model)
    }
}

impl Signers {
    /// The signers that may sign this model.
    pub fn for_model<'a>(&'a self, model: &'a ModelName) -> impl Iterator<Item = &'a Signer> {
        self.signers
            .iter()
            .filter(move |s| s.models.is_empty() || s.models.contains(model))
    }
}
