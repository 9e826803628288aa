//! What the owner of a device demands of a namespace beyond its identity.

use assay_schema::Sha256Digest;
use assay_schema::log::LogTrust;
use assay_schema::signers::Signers;
use jiff::SignedDuration;
use serde::{Deserialize, Serialize};

/// What the owner of a device demands of a namespace beyond its identity, and what they have confirmed. All of it was learned out
/// of band, or decided by the owner; nothing of it comes from a registry.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Terms {
    /// A log that every state must be in, with its witnesses, beside the one that the namespace names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<LogTrust>,
    /// The least version of the root. A device that learned a namespace by its identity alone would follow any root that the keys
    /// of the first one lead to, retired ones included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub least_root: Option<u64>,
    /// SHA-256 of a root file that the authority confirmed to the owner: neither revoked keys nor a log speak against this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirmed_root: Option<Sha256Digest>,
    /// How old the state may be that a verdict rests on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_stale: Option<SignedDuration>,
    /// Signers who must have signed beside those whom the namespace permits: the models, if any of them may sign those, and what the
    /// document requires.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signers: Option<Signers>,
    /// The Sigstore trusted root (JSON) that [`Self::signers`] are judged by; without it the namespace's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sigstore_root: Option<String>,
}

impl Terms {
    /// Whether nothing is demanded.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}
