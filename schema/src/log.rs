//! `trust/log.json`: the transparency log that a namespace's states must be in, and who must have witnessed it.

use serde::{Deserialize, Serialize};

/// The target's path.
pub const TARGET: &str = "trust/log.json";

/// The version of the document that this software reads and writes.
pub const VERSION: u32 = 1;

/// The pinned log. Signed by the top-level targets role, never taken from what is being judged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "json-schema", derive(schemars::JsonSchema))]
pub struct LogTrust {
    /// The document's version: 1.
    pub v: u32,
    /// The log's key as a C2SP verifier key (`name+id+key`); its name is the log's origin.
    pub log: String,
    /// The keys of the witnesses that count, as C2SP verifier keys.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub witnesses: Vec<String>,
    /// How many of them must have cosigned a checkpoint; 0 demands none, and then a split view is not excluded.
    #[serde(default)]
    pub threshold: u32,
}
