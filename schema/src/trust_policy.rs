//! The trust policy of a device's owner: which namespaces beside a model's own must have signed its releases (TUF TAP 4).

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::digest::Sha256Digest;
use crate::limits::MAX_AUTHORITIES;
use crate::name::{ModelRef, NamespaceName};

/// The only version there is.
pub const VERSION: u32 = 1;

/// The owner's trust policy. It lies on the device, and no registry can change or hide it. It can only restrict: a field that a
/// reader does not know could be a restriction, so unknown fields are refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "json-schema", derive(schemars::JsonSchema))]
pub struct TrustPolicy {
    /// The document's version: 1.
    pub v: u32,
    /// At most one for each model.
    #[serde(default)]
    pub require: Vec<Requirement>,
}

/// So many of these namespaces must list a release's manifest under the same path, with the same length and SHA-256, in their
/// own repositories.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "json-schema", derive(schemars::JsonSchema))]
pub struct Requirement {
    /// The model, under the name by which the device knows its namespace.
    pub model: ModelRef,
    /// The namespaces, without the model's own, which has to sign in any case.
    pub authorities: Vec<RequiredAuthority>,
    /// How many of them; at least 1.
    pub threshold: u32,
}

/// A namespace whose word counts.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "json-schema", derive(schemars::JsonSchema))]
pub struct RequiredAuthority {
    /// The name by which the device knows it.
    pub namespace: NamespaceName,
    /// Its identity when the requirement was made: another one under the same name does not count.
    pub identity: Sha256Digest,
}

/// A trust policy that cannot be followed.
#[derive(Debug, thiserror::Error)]
#[error("trust policy: {what}: expected {expected}, found {found}")]
pub struct BadTrustPolicy {
    /// What was looked at.
    pub what: String,
    /// The rule.
    pub expected: String,
    /// What is there.
    pub found: String,
}

fn bad(what: impl ToString, expected: impl ToString, found: impl ToString) -> BadTrustPolicy {
    BadTrustPolicy {
        what: what.to_string(),
        expected: expected.to_string(),
        found: found.to_string(),
    }
}

impl Default for TrustPolicy {
    /// One that requires nothing.
    fn default() -> Self {
        Self {
            v: VERSION,
            require: Vec::new(),
        }
    }
}

impl TrustPolicy {
    /// What is required of a model's releases.
    pub fn of(&self, model: &ModelRef) -> Option<&Requirement> {
        self.require.iter().find(|r| r.model == *model)
    }

    /// Sets what is required of a model's releases, in place of what was required before.
    ///
    /// # Errors
    /// See [`Requirement::check`].
    pub fn set(&mut self, requirement: Requirement) -> Result<(), BadTrustPolicy> {
        requirement.check()?;
        self.remove(&requirement.model);
        self.require.push(requirement);
        self.require.sort_by(|a, b| a.model.cmp(&b.model));
        Ok(())
    }

    /// Requires nothing of a model's releases any more. Whether something was required.
    pub fn remove(&mut self, model: &ModelRef) -> bool {
        let before = self.require.len();
        self.require.retain(|r| r.model != *model);
        self.require.len() != before
    }

    /// Whether the whole document can be followed.
    ///
    /// # Errors
    /// Another version, two requirements for one model, or one that [`Requirement::check`] refuses.
    pub fn check(&self) -> Result<(), BadTrustPolicy> {
        if self.v != VERSION {
            return Err(bad("v", VERSION, self.v));
        }
        let mut models = BTreeSet::new();
        for requirement in &self.require {
            requirement.check()?;
            if !models.insert(&requirement.model) {
                return Err(bad(&requirement.model, "one requirement", "two"));
            }
        }
        Ok(())
    }
}

impl Requirement {
    /// Whether the requirement can be met, and means what it says: no namespace may count twice, under whatever name.
    ///
    /// # Errors
    /// No authority or too many, a threshold out of range, a name or an identity twice, or the model's own namespace.
    pub fn check(&self) -> Result<(), BadTrustPolicy> {
        let all = self.authorities.len();
        if all == 0 || all > MAX_AUTHORITIES {
            let expected = format!("1 to {MAX_AUTHORITIES}");
            return Err(bad(format_args!("authorities of {}", self.model), expected, all));
        }
        if self.threshold == 0 || self.threshold as usize > all {
            let expected = format!("1 to {all}");
            return Err(bad(
                format_args!("threshold of {}", self.model),
                expected,
                self.threshold,
            ));
        }
        let (mut names, mut identities) = (BTreeSet::new(), BTreeSet::new());
        for authority in &self.authorities {
            let RequiredAuthority { namespace, identity } = authority;
            if *namespace == self.model.namespace {
                let what = format_args!("authorities of {}", self.model);
                let expected = "namespaces beside the model's own, which has to sign in any case";
                return Err(bad(what, expected, namespace));
            }
            if !names.insert(namespace) || !identities.insert(identity) {
                let expected = "each namespace once, by its name and by its identity";
                let found = format!("{namespace} with identity {identity} twice");
                return Err(bad(
                    format_args!("authorities of {}", self.model),
                    expected,
                    found,
                ));
            }
        }
        Ok(())
    }

    /// The namespaces' names, for people.
    pub fn names(&self) -> String {
        let names: Vec<_> = self.authorities.iter().map(|a| a.namespace.as_str()).collect();
        names.join(", ")
    }
}
