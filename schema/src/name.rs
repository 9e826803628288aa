//! Names of namespaces, models, versions and releases.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::limits::MAX_NAME;
use crate::path::is_device_name;

/// Text that is not a name of the kind asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind}: expected {expected}, found {found:?}")]
pub struct BadName {
    /// What was to be named: "namespace", "model", "version" or "release".
    pub kind: &'static str,
    /// The rule.
    pub expected: &'static str,
    /// The beginning of the text.
    pub found: String,
}

const LOWER_RULE: &str = "1 to 64 of a-z, 0-9, '-', '_' and '.', beginning and ending with a letter or digit, no '..', no device name of Windows";
const VERSION_RULE: &str = "1 to 64 of A-Z, a-z, 0-9, '-', '_', '+' and '.', beginning and ending with a letter or digit, no '..', no device name of Windows";

fn well_formed(text: &str, allowed: impl Fn(u8) -> bool) -> bool {
    let edge = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_alphanumeric());
    text.len() <= MAX_NAME
        && edge(text.bytes().next())
        && edge(text.bytes().last())
        && !text.contains("..")
        && text.bytes().all(allowed)
        // A store that names a folder or file after it must be able to.
        && !is_device_name(text)
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $kind:literal, $rule:expr, $pattern:literal, $allowed:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        #[cfg_attr(feature = "json-schema", derive(schemars::JsonSchema), schemars(with = "String", extend("pattern" = $pattern)))]
        #[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(value_type = String, pattern = $pattern))]
        pub struct $name(String);

        impl $name {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = BadName;

            fn from_str(text: &str) -> Result<Self, BadName> {
                Self::try_from(text.to_owned())
            }
        }

        impl TryFrom<String> for $name {
            type Error = BadName;

            fn try_from(text: String) -> Result<Self, BadName> {
                if well_formed(&text, $allowed) {
                    Ok(Self(text))
                } else {
                    Err(BadName { kind: $kind, expected: $rule, found: text.chars().take(80).collect() })
                }
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

fn lower(b: u8) -> bool {
    matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.')
}

name!(
    /// A namespace's name, `acme`. A name is a label that a registry gives out; a namespace's *identity* is the SHA-256 of
    /// its first root file.
    NamespaceName, "namespace", LOWER_RULE, "^[a-z0-9]([a-z0-9._-]{0,62}[a-z0-9])?$", lower
);
name!(
    /// A model's name within its namespace, `minilm`.
    ModelName, "model", LOWER_RULE, "^[a-z0-9]([a-z0-9._-]{0,62}[a-z0-9])?$", lower
);
name!(
    /// A release's version within its model, `1.2.0`. Versions are labels; the order of releases is
    /// [`ReleaseOrder`](crate::ReleaseOrder).
    VersionName, "version", VERSION_RULE, "^[A-Za-z0-9]([A-Za-z0-9._+-]{0,62}[A-Za-z0-9])?$",
    |b| lower(b) || matches!(b, b'A'..=b'Z' | b'+')
);

/// `acme/minilm`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
#[cfg_attr(
    feature = "json-schema",
    derive(schemars::JsonSchema),
    schemars(with = "String")
)]
pub struct ModelRef {
    /// The namespace.
    pub namespace: NamespaceName,
    /// The model.
    pub model: ModelName,
}

/// `acme/minilm@1.2.0`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
#[cfg_attr(
    feature = "json-schema",
    derive(schemars::JsonSchema),
    schemars(with = "String")
)]
pub struct ReleaseRef {
    /// The model.
    pub model: ModelRef,
    /// The version.
    pub version: VersionName,
}

impl FromStr for ModelRef {
    type Err = BadName;

    fn from_str(text: &str) -> Result<Self, BadName> {
        let (namespace, model) = text.split_once('/').ok_or_else(|| BadName {
            kind: "model",
            expected: "NAMESPACE/MODEL, as in acme/minilm",
            found: text.chars().take(80).collect(),
        })?;
        Ok(Self {
            namespace: namespace.parse()?,
            model: model.parse()?,
        })
    }
}

impl FromStr for ReleaseRef {
    type Err = BadName;

    fn from_str(text: &str) -> Result<Self, BadName> {
        let (model, version) = text.split_once('@').ok_or_else(|| BadName {
            kind: "release",
            expected: "NAMESPACE/MODEL@VERSION, as in acme/minilm@1.2.0",
            found: text.chars().take(80).collect(),
        })?;
        Ok(Self {
            model: model.parse()?,
            version: version.parse()?,
        })
    }
}

impl TryFrom<String> for ModelRef {
    type Error = BadName;

    fn try_from(text: String) -> Result<Self, BadName> {
        text.parse()
    }
}

impl TryFrom<String> for ReleaseRef {
    type Error = BadName;

    fn try_from(text: String) -> Result<Self, BadName> {
        text.parse()
    }
}

impl From<ModelRef> for String {
    fn from(name: ModelRef) -> Self {
        name.to_string()
    }
}

impl From<ReleaseRef> for String {
    fn from(name: ReleaseRef) -> Self {
        name.to_string()
    }
}

impl fmt::Display for ModelRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.model)
    }
}

impl fmt::Display for ReleaseRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.model, self.version)
    }
}
