//! The verdict: what was decided, stage by stage, on what evidence.

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::digest::Sha256Digest;
use crate::name::{ModelName, NamespaceName, VersionName};
use crate::order::ReleaseOrder;
use crate::shown::shortened;

/// The stages of the trust chain, in the order in which a device walks them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(feature = "json-schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Stage {
    /// 1: the pinned root and its rotations.
    TrustRoot,
    /// 2: timestamp, snapshot, expiry, floors.
    Freshness,
    /// 3: the release manifest and the delegations that lead to it.
    Release,
    /// 4: the transparency log.
    Log,
    /// 5: who made the release.
    Provenance,
    /// 6: network and local policy.
    Permission,
    /// 7: the cheapest permitted path.
    Plan,
    /// 8: every byte.
    Content,
    /// 9: poisoned updates.
    Screening,
    /// 10: this document.
    Verdict,
}

impl Stage {
    /// All stages in order.
    pub const ALL: [Self; 10] = [
        Self::TrustRoot,
        Self::Freshness,
        Self::Release,
        Self::Log,
        Self::Provenance,
        Self::Permission,
        Self::Plan,
        Self::Content,
        Self::Screening,
        Self::Verdict,
    ];

    /// 1 to 10.
    pub const fn number(self) -> u8 {
        self as u8 + 1
    }

    /// The name in documents and options: `trust-root`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::TrustRoot => "trust-root",
            Self::Freshness => "freshness",
            Self::Release => "release",
            Self::Log => "log",
            Self::Provenance => "provenance",
            Self::Permission => "permission",
            Self::Plan => "plan",
            Self::Content => "content",
            Self::Screening => "screening",
            Self::Verdict => "verdict",
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl std::str::FromStr for Stage {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|s| s.name() == text).ok_or_else(|| {
            let names: Vec<_> = Self::ALL.iter().map(|s| s.name()).collect();
            let found = shortened(text, 80);
            format!("expected one of {}, found {found:?}", names.join(", "))
        })
    }
}

/// What a verdict comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(feature = "json-schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Outcome {
    /// The device may use the release.
    Permit,
    /// It may not.
    Refuse,
    /// Not now.
    Defer,
}

/// What one stage came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "kebab-case")]
#[cfg_attr(feature = "json-schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum StageOutcome {
    /// The stage's checks all held.
    Passed,
    /// One did not.
    Refused(Refusal),
    /// It holds later: not before the time given.
    Deferred {
        /// When to ask again.
        #[cfg_attr(feature = "json-schema", schemars(with = "String"))]
        #[cfg_attr(feature = "openapi", schema(value_type = String))]
        until: Timestamp,
        /// Why.
        reason: String,
    },
    /// It was not done.
    Skipped {
        /// Why not.
        reason: String,
    },
}

/// Why a stage refused: what was expected, what was found, and what to do next.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "json-schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Refusal {
    /// A name for programs, stable: `signature-threshold`, `expired`, `rollback`, `digest-mismatch` ...
    pub code: String,
    /// What the thing checked is: `timestamp`, `models/minilm/0/1.0.0.json`, `chunk 3 of weights.safetensors` ...
    pub subject: String,
    /// What should be there.
    pub expected: String,
    /// What is there.
    pub found: String,
    /// What a person can do.
    pub advice: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: {}: expected {}, found {}. {}",
            self.code, self.subject, self.expected, self.found, self.advice
        )
    }
}

/// One stage in a verdict.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "json-schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct StageReport {
    /// Which one.
    pub stage: Stage,
    /// What it came to.
    #[serde(flatten)]
    pub outcome: StageOutcome,
    /// What it rests on: versions, key ids, digests, signers, times.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub evidence: BTreeMap<String, String>,
}

/// The release that a verdict is about, as far as it became known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "json-schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Subject {
    /// The namespace's name on the registry.
    pub namespace: NamespaceName,
    /// The namespace's identity.
    pub identity: Sha256Digest,
    /// The model.
    pub model: ModelName,
    /// The release's version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<VersionName>,
    /// The release's order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<ReleaseOrder>,
    /// SHA-256 of the release manifest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest: Option<Sha256Digest>,
}

/// The machine-readable outcome of a check, pull or verification.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "json-schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Verdict {
    /// The document's version: 1.
    pub v: u32,
    /// What it comes to.
    pub outcome: Outcome,
    /// What it is about.
    pub subject: Subject,
    /// The device's time that it was made with.
    #[cfg_attr(feature = "json-schema", schemars(with = "String"))]
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub time: Timestamp,
    /// Every stage, 1 to 10, in order.
    pub stages: Vec<StageReport>,
}

impl Verdict {
    /// The refusal that decided, where there is one.
    pub fn refusal(&self) -> Option<(Stage, &Refusal)> {
        self.stages.iter().find_map(|report| match &report.outcome {
            StageOutcome::Refused(refusal) => Some((report.stage, refusal)),
            _ => None,
        })
    }

    /// The report of one stage.
    pub fn stage(&self, stage: Stage) -> Option<&StageReport> {
        self.stages.iter().find(|report| report.stage == stage)
    }
}
