//! `trust/signers.json`: who may sign the provenance of a namespace's models, by name.

use serde::{Deserialize, Serialize};

use crate::name::ModelName;

/// The TUF target that holds [`Signers`], signed by the top-level targets role.
pub const TARGET: &str = "trust/signers.json";
/// The TUF target that holds the Sigstore trusted root for [`SignerIdentity::Sigstore`], where one is named.
pub const SIGSTORE_ROOT_TARGET: &str = "trust/sigstore.json";

/// The permitted signers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "json-schema", derive(schemars::JsonSchema))]
pub struct Signers {
    /// The document's version: 1.
    pub v: u32,
    /// Every permitted signer.
    pub signers: Vec<Signer>,
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
    /// A Sigstore certificate's subject and issuer, both exactly.
    Sigstore {
        /// The OIDC issuer's URL.
        issuer: String,
        /// The subject alternative name: an e-mail address or URI.
        subject: String,
    },
}

impl Signers {
    /// The signers that may sign this model.
    pub fn for_model<'a>(&'a self, model: &'a ModelName) -> impl Iterator<Item = &'a Signer> {
        self.signers
            .iter()
            .filter(move |s| s.models.is_empty() || s.models.contains(model))
    }
}
