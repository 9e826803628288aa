//! Several authorities for one release: consensus on a target (TUF TAP 4).
//!
//! The owner's [`TrustPolicy`](assay_schema::TrustPolicy) names the namespaces. Each is asked by itself, from its own pinned root,
//! with its own floors, status and log, whether it lists the very manifest that the model's namespace lists, under the same path.

use std::collections::{BTreeMap, BTreeSet};

use assay_schema::trust_policy::{BadTrustPolicy, RequiredAuthority, Requirement};
use assay_schema::verdict::Refusal;
use assay_schema::{NamespaceName, Sha256Digest, Stage};
use assay_trust::{DeviceState, Pin};

use crate::report::refusal;
use crate::request::CachedBundle;

const ADVICE: &str = "Wait until they have signed the release, or ask them to (`assay endorse`). Who has to sign is this device's \
     own trust policy: `assay trust list`.";

/// What a device knows of a namespace whose word is required.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// What it is known by.
    pub pin: Pin,
    /// The state as it was persisted.
    pub state: DeviceState,
    /// What the last check of this model used of it.
    pub cached: Option<CachedBundle>,
}

/// Whose signatures a release needs beside its own namespace's, and what the device knows of them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Consensus {
    requirement: Option<Requirement>,
    known: BTreeMap<NamespaceName, Known>,
}

impl Consensus {
    /// The model's own namespace suffices.
    pub fn none() -> Self {
        Self::default()
    }

    /// What the trust policy requires. A namespace that is not among `known` cannot count.
    ///
    /// # Errors
    /// The requirement cannot be followed.
    pub fn new(
        requirement: Requirement,
        known: impl IntoIterator<Item = Known>,
    ) -> Result<Self, BadTrustPolicy> {
        requirement.check()?;
        Ok(Self {
            requirement: Some(requirement),
            known: known.into_iter().map(|k| (k.pin.namespace.clone(), k)).collect(),
        })
    }

    pub(crate) fn demanded(self) -> Option<(Requirement, BTreeMap<NamespaceName, Known>)> {
        Some((self.requirement?, self.known))
    }

    pub(crate) fn is_demanded(&self) -> bool {
        self.requirement.is_some()
    }
}

/// What one authority said of a release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endorsement {
    pub(crate) authority: RequiredAuthority,
    pub(crate) said: Said,
    pub(crate) bundle: Option<CachedBundle>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Said {
    /// The same manifest under the same path; the evidence.
    Signed(String),
    /// Other bytes under the same path.
    Contradicted(Refusal),
    /// Nothing that counts.
    Nothing(Stage, Refusal),
}

impl Endorsement {
    /// Who.
    pub const fn authority(&self) -> &RequiredAuthority {
        &self.authority
    }

    /// Whether it signed the release and counts.
    pub const fn counts(&self) -> bool {
        matches!(self.said, Said::Signed(_))
    }

    /// What to keep for the next check.
    pub const fn bundle(&self) -> Option<&CachedBundle> {
        self.bundle.as_ref()
    }

    /// For the verdict.
    pub(crate) fn evidence(&self) -> String {
        match &self.said {
            Said::Signed(evidence) => format!("signed: {evidence}"),
            Said::Contradicted(refusal) => format!("contradicts: {refusal}"),
            Said::Nothing(stage, refusal) => format!("does not count: {stage}: {refusal}"),
        }
    }
}

/// Whether what the authorities said suffices.
pub(crate) fn judge(
    requirement: &Requirement,
    release: &str,
    manifest: Sha256Digest,
    found: &[Endorsement],
) -> Result<(), Refusal> {
    let contradiction = found.iter().find_map(|e| match &e.said {
        Said::Contradicted(refusal) => Some((e, refusal)),
        Said::Signed(_) | Said::Nothing(..) => None,
    });
    // However many others agree: one of the two signed what it should not have.
    if let Some((by, contradiction)) = contradiction {
        return Err(refusal(
            "consensus-contradicted",
            release,
            format!("SHA-256 {manifest} in every authority's repository"),
            format!("{} lists {}", by.authority.namespace, contradiction.found),
            "Two authorities signed different bytes as the same release: do not use it, and tell both of them.",
        ));
    }
    let counted = found.iter().filter(|e| e.counts()).count();
    if counted >= requirement.threshold as usize {
        return Ok(());
    }
    let missing: Vec<String> = found
        .iter()
        .filter_map(|e| match &e.said {
            Said::Nothing(stage, why) => Some(format!(
                "{} ({stage}: {}: expected {}, found {})",
                e.authority.namespace, why.code, why.expected, why.found
            )),
            Said::Signed(_) | Said::Contradicted(_) => None,
        })
        .collect();
    Err(missing_refusal(
        requirement,
        release,
        format!("{counted}; without {}", missing.join("; without ")),
    ))
}

/// Whether a release that was activated on this device has the signatures that are required now, by those that counted then.
/// Nobody is asked.
///
/// # Errors
/// A refusal that names who is missing.
pub fn kept(
    requirement: Option<&Requirement>,
    release: &str,
    endorsed_by: &BTreeSet<Sha256Digest>,
) -> Result<(), Box<Refusal>> {
    let Some(requirement) = requirement else {
        return Ok(());
    };
    let (signed, missing): (Vec<_>, Vec<_>) = requirement
        .authorities
        .iter()
        .partition(|a| endorsed_by.contains(&a.identity));
    if signed.len() >= requirement.threshold as usize {
        return Ok(());
    }
    let names: Vec<_> = missing.iter().map(|a| a.namespace.as_str()).collect();
    let found = format!(
        "{} when it was activated here; without {}",
        signed.len(),
        names.join(", ")
    );
    let mut refused = missing_refusal(requirement, release, found);
    refused.advice = format!("`assay pull` asks them. {ADVICE}");
    Err(Box::new(refused))
}

fn missing_refusal(requirement: &Requirement, release: &str, found: String) -> Refusal {
    let expected = format!(
        "the signatures of {} of {}: {}",
        requirement.threshold,
        requirement.authorities.len(),
        requirement.names()
    );
    refusal("consensus-missing", release, expected, found, ADVICE)
}
