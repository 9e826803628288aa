//! What is wrong with metadata, or with what was to be signed.

use assay_schema::canonical::JsonError;

use crate::key::KeyError;

/// Metadata that is not signed or read, and why.
#[derive(Debug, thiserror::Error)]
pub enum MetadataError {
    /// Not JSON, too long, or without a canonical form.
    #[error("{role} metadata: {source}")]
    Json {
        /// The role.
        role: String,
        /// Why.
        source: JsonError,
    },
    /// A field that is missing or not what it must be.
    #[error("{role} metadata: {what}: expected {expected}, found {found}")]
    Field {
        /// The role.
        role: String,
        /// The field.
        what: String,
        /// The rule.
        expected: String,
        /// What is there.
        found: String,
    },
    /// A key that cannot be read or used.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// A key id that is not the digest of its key.
    #[error("{role} metadata: key id: expected {computed} (the digest of its key), found {declared}")]
    KeyId {
        /// The role whose metadata lists it.
        role: String,
        /// As declared.
        declared: String,
        /// As computed.
        computed: String,
    },
    /// One key twice in a role: it would count twice towards the threshold.
    #[error("role {role}: expected different keys, found one key twice (key id {key_id})")]
    SameKeyTwice {
        /// The role.
        role: String,
        /// The key.
        key_id: String,
    },
    /// One key in two roles.
    #[error(
        "expected no key in two roles, found one in {first} and {second} (key id {key_id}); make another key for one of them"
    )]
    KeyInTwoRoles {
        /// One role.
        first: String,
        /// The other.
        second: String,
        /// The key.
        key_id: String,
    },
    /// A threshold that cannot be met, or that nobody needs to meet.
    #[error("role {role}: threshold: expected 1 to {keys} (its number of keys), found {found}")]
    Threshold {
        /// The role.
        role: String,
        /// How many keys it has.
        keys: usize,
        /// The threshold.
        found: u64,
    },
    /// A signing key that the role does not list.
    #[error("role {role}: expected one of its own keys, found key id {key_id}, which it does not list")]
    NotListed {
        /// The role.
        role: String,
        /// The key.
        key_id: String,
    },
    /// Fewer keys than the threshold.
    #[error(
        "role {role}: expected signatures of {threshold} of its keys, found {found}; bring more of its keys"
    )]
    NotEnough {
        /// The role.
        role: String,
        /// The threshold.
        threshold: u64,
        /// How many keys signed.
        found: usize,
    },
    /// No version after this one.
    #[error("{role} metadata: no version above {version} (2^53-1) exists; the role's name is used up")]
    LastVersion {
        /// The role.
        role: String,
        /// The version.
        version: u64,
    },
    /// A time that cannot be written.
    #[error("{role} metadata: expires: expected a time in the years 1970 to 9999, found {found}")]
    Expiry {
        /// The role.
        role: String,
        /// The time, or the beginning of its text.
        found: String,
    },
    /// A release that is listed already, with other content.
    #[error(
        "target {path}: it is published with SHA-256 {published} and never changes, found {found}; publish the change as a new version"
    )]
    ReleaseChanged {
        /// The target path.
        path: String,
        /// SHA-256 of the manifest that is published.
        published: String,
        /// SHA-256 of the manifest that was to replace it.
        found: String,
    },
    /// A path that the role may not sign.
    #[error("role {role}: expected a target path of {expected}, found {path}")]
    NotItsPath {
        /// The role.
        role: String,
        /// What it may sign.
        expected: String,
        /// The path.
        path: String,
    },
}

pub(crate) fn field(
    role: &str,
    what: impl ToString,
    expected: impl ToString,
    found: impl ToString,
) -> MetadataError {
    MetadataError::Field {
        role: role.to_owned(),
        what: what.to_string(),
        expected: expected.to_string(),
        found: found.to_string(),
    }
}
