//! Refusals of the TUF workflow.

use assay_schema::verdict::Refusal;
use assay_schema::{ModelName, ReleaseOrder, Sha256Digest, VersionName};
use jiff::{SignedDuration, Timestamp};

use crate::workflow::Times;

/// Why the workflow refused a file, with what was expected and what was found.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// The first root is not the one that the device pinned.
    #[error("1.root.json: expected SHA-256 {expected}, found {found}")]
    Identity {
        /// The pinned digest.
        expected: Sha256Digest,
        /// The digest of what was offered.
        found: Sha256Digest,
    },
    /// `sigstore-tuf` refused.
    #[error("{subject}: {}", chain(.source))]
    Tuf {
        /// The file.
        subject: String,
        /// Its reason.
        source: sigstore_tuf::Error,
    },
    /// A file longer than its limit.
    #[error("{subject}: expected at most {expected} bytes, found {found}")]
    TooLong {
        /// The file.
        subject: String,
        /// The limit.
        expected: u64,
        /// The length.
        found: u64,
    },
    /// A file that is not UTF-8.
    #[error("{subject}: expected UTF-8 text")]
    NotText {
        /// The file.
        subject: String,
    },
    /// A file of another version than its place demands.
    #[error("{subject}: expected version {expected}, found {found}")]
    Version {
        /// The file.
        subject: String,
        /// The version that was due.
        expected: u64,
        /// The version inside.
        found: u64,
    },
    /// A file that breaks one of Assay's rules for its role.
    #[error("{subject}: expected {expected}, found {found}")]
    Malformed {
        /// The file.
        subject: String,
        /// The rule.
        expected: String,
        /// What is there.
        found: String,
    },
    /// One raw key under two key ids.
    #[error("{subject}: key ids {first} and {second} carry the same key")]
    OneKeyTwoIds {
        /// The file.
        subject: String,
        /// One id.
        first: String,
        /// The other.
        second: String,
    },
    /// A key that serves two roles.
    #[error("key {key} serves {first} and {second}")]
    OneKeyTwoRoles {
        /// The key's id.
        key: String,
        /// One role.
        first: String,
        /// The other.
        second: String,
    },
    /// Another namespace's or role's file.
    #[error("{role}: expected x-assay of {expected}, found {found}")]
    Binding {
        /// The role that was due.
        role: String,
        /// Its binding.
        expected: String,
        /// What is there.
        found: String,
    },
    /// Expired metadata.
    #[error("{role} expired at {expires}; it is {now}{}", behind(*.now, *.clock))]
    Expired {
        /// The role.
        role: String,
        /// When it expired.
        expires: Timestamp,
        /// The time by which it was judged.
        now: Timestamp,
        /// What the device's clock says, which may be behind that.
        clock: Timestamp,
    },
    /// A next root that holds only with signatures of revoked keys.
    #[error("{subject} ({sha256}) holds only with signatures of the revoked keys {keys}")]
    RevokedRoot {
        /// The file.
        subject: String,
        /// Its digest.
        sha256: Sha256Digest,
        /// The revoked keys that signed it.
        keys: String,
    },
    /// A role that is older than the status demands.
    #[error("{role}: expected version {least} or more, as the authority's status demands, found {}", standing(*.found))]
    OldRole {
        /// The role.
        role: String,
        /// The least version.
        least: u64,
        /// What stands; `None` where there is no such role.
        found: Option<u64>,
    },
    /// A file with the signature of a key that the status revokes.
    #[error(
        "{role}: expected no signatures of keys that the authority's status revokes, found one of key {key}"
    )]
    RevokedKey {
        /// The role.
        role: String,
        /// The key's id.
        key: String,
    },
    /// A release that the status revokes.
    #[error("release {version} is revoked: {}", why(.reason))]
    RevokedRelease {
        /// The release.
        version: VersionName,
        /// For people; may be empty.
        reason: String,
    },
    /// A release below the least order that the status demands of its model.
    #[error(
        "release {version}: expected order {least} or more, as the authority's status demands, found {found}"
    )]
    OldRelease {
        /// The release.
        version: VersionName,
        /// The least order.
        least: ReleaseOrder,
        /// The release's.
        found: ReleaseOrder,
    },
    /// A root that is older than the owner's least.
    #[error("root: expected version {expected} or more, as this device's owner demands, found {found}")]
    OldRoot {
        /// The owner's least.
        expected: u64,
        /// The newest that the registry shows.
        found: u64,
    },
    /// No release of this description.
    #[error("{model}: expected {wanted}, found none listed")]
    NoRelease {
        /// The model.
        model: ModelName,
        /// What was looked for.
        wanted: String,
    },
    /// A release below what this device has activated.
    #[error("{model}: expected a release of at least order {floor}, found {found}")]
    BelowFloor {
        /// The model.
        model: ModelName,
        /// The floor.
        floor: ReleaseOrder,
        /// The release's order.
        found: ReleaseOrder,
    },
    /// The cryptographic provider is not usable.
    #[error("cryptographic provider: {0}")]
    Provider(String),
}

fn standing(version: Option<u64>) -> String {
    version.map_or_else(|| "none".to_owned(), |v| v.to_string())
}

fn why(reason: &str) -> &str {
    match reason {
        "" => "no reason is given",
        reason => reason,
    }
}

fn chain(error: &sigstore_tuf::Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

impl TrustError {
    pub(crate) fn tuf(subject: impl Into<String>, source: sigstore_tuf::Error) -> Self {
        Self::Tuf {
            subject: subject.into(),
            source,
        }
    }

    pub(crate) fn expired(role: impl Into<String>, expires: Timestamp, time: Times) -> Self {
        Self::Expired {
            role: role.into(),
            expires,
            now: time.now,
            clock: time.clock,
        }
    }

    pub(crate) fn too_long(subject: impl Into<String>, expected: u64, found: usize) -> Self {
        Self::TooLong {
            subject: subject.into(),
            expected,
            found: found as u64,
        }
    }

    /// The refusal as a verdict states it.
    pub fn refusal(&self) -> Refusal {
        let (code, subject, expected, found) = self.parts();
        Refusal {
            code: code.to_owned(),
            subject,
            expected,
            found,
            advice: self.advice(code),
        }
    }

    fn parts(&self) -> (&'static str, String, String, String) {
        let parts = |code, subject: &str, expected: String, found: String| {
            (code, subject.to_owned(), expected, found)
        };
        match self {
            Self::Identity { expected, found } => parts(
                "wrong-identity",
                "1.root.json",
                format!("SHA-256 {expected}"),
                format!("SHA-256 {found}"),
            ),
            Self::Tuf { subject, source } => tuf_parts(subject, source),
            Self::TooLong {
                subject,
                expected,
                found,
            } => parts(
                "too-long",
                subject,
                format!("at most {expected} bytes"),
                format!("{found} bytes"),
            ),
            Self::NotText { subject } => {
                parts("malformed", subject, "UTF-8 text".into(), "other bytes".into())
            }
            Self::Version {
                subject,
                expected,
                found,
            } => parts(
                "wrong-version",
                subject,
                format!("version {expected}"),
                format!("version {found}"),
            ),
            Self::Malformed {
                subject,
                expected,
                found,
            } => parts("malformed", subject, expected.clone(), found.clone()),
            Self::OneKeyTwoIds {
                subject,
                first,
                second,
            } => parts(
                "duplicate-key",
                subject,
                "one id for each key".into(),
                format!("{first} and {second} for one key"),
            ),
            Self::OneKeyTwoRoles { key, first, second } => parts(
                "shared-key",
                &format!("key {key}"),
                "a key that serves one role".into(),
                format!("{first} and {second}"),
            ),
            Self::Binding {
                role,
                expected,
                found,
            } => parts("wrong-binding", role, expected.clone(), found.clone()),
            Self::Expired {
                role,
                expires,
                now,
                clock,
            } => parts(
                "expired",
                role,
                match clock < now {
                    true => format!("an expiry after {now}, a time that the log's witnesses confirmed"),
                    false => format!("an expiry after {now}, this device's time"),
                },
                format!(
                    "it expired at {expires}, {} ago",
                    length(now.duration_since(*expires))
                ),
            ),
            Self::RevokedRoot {
                subject,
                sha256,
                keys,
            } => parts(
                "revoked-key",
                subject,
                "a root that holds without signatures of keys that the authority revoked".to_owned(),
                format!("SHA-256 {sha256}, which needs those of {keys}"),
            ),
            Self::OldRole { role, least, found } => parts(
                "below-status",
                role,
                format!("version {least} or more, as the authority's status demands"),
                standing(*found),
            ),
            Self::RevokedKey { role, key } => parts(
                "revoked-key",
                role,
                "signatures of keys that the authority has not revoked".to_owned(),
                format!("one of key {key}"),
            ),
            Self::RevokedRelease { version, reason } => parts(
                "revoked",
                &format!("release {version}"),
                "a release that its authority has not revoked".to_owned(),
                format!("revoked: {}", why(reason)),
            ),
            Self::OldRelease {
                version,
                least,
                found,
            } => parts(
                "below-status",
                &format!("release {version}"),
                format!("order {least} or more, as the authority's status demands"),
                format!("order {found}"),
            ),
            Self::OldRoot { expected, found } => parts(
                "below-pin",
                "root",
                format!("version {expected} or more, which this device's owner demands"),
                format!("version {found}"),
            ),
            Self::NoRelease { model, wanted } => parts(
                "no-release",
                model.as_str(),
                wanted.clone(),
                "none in the signed metadata".into(),
            ),
            Self::BelowFloor { model, floor, found } => parts(
                "rollback",
                model.as_str(),
                format!("order {floor} or higher, which this device has activated"),
                format!("order {found}"),
            ),
            Self::Provider(reason) => parts(
                "provider",
                "cryptography",
                "a provider that passes its known-answer tests".into(),
                reason.clone(),
            ),
        }
    }
}

fn tuf_parts(subject: &str, error: &sigstore_tuf::Error) -> (&'static str, String, String, String) {
    use sigstore_tuf::Error as E;
    let version = |v: &u64| format!("version {v}");
    match error {
        E::ThresholdNotMet {
            role,
            found,
            threshold,
        } => (
            "signature-threshold",
            subject.to_owned(),
            format!("{threshold} valid signatures by keys of {role}"),
            format!("{found}"),
        ),
        E::DuplicateSignature { key_id, .. } => (
            "duplicate-signature",
            subject.to_owned(),
            "one signature for each key".to_owned(),
            format!("two by key {key_id}"),
        ),
        E::Rollback { role, trusted, new } => (
            "rollback",
            role.clone(),
            format!("{} or higher", version(trusted)),
            version(new),
        ),
        E::BadRootVersion { trusted, new } => (
            "wrong-version",
            subject.to_owned(),
            version(&trusted.saturating_add(1)),
            version(new),
        ),
        E::Expired { role, expires } => (
            "expired",
            role.clone(),
            "metadata that is still valid".to_owned(),
            format!("it expired at {expires}"),
        ),
        E::IntegrityMismatch(what) => (
            "digest-mismatch",
            subject.to_owned(),
            "the length, hash and version that its parent names".to_owned(),
            what.clone(),
        ),
        other => (
            "malformed",
            subject.to_owned(),
            "TUF 1.0 metadata".to_owned(),
            chain(other),
        ),
    }
}

impl TrustError {
    fn advice(&self, code: &str) -> String {
        match self {
            Self::Expired { role, now, clock, .. } => expiry_advice(role, *now, *clock),
            Self::RevokedRoot { sha256, .. } => format!(
                "Whoever stole a retired key may have signed it: do not follow it. {}",
                confirm_root(sha256)
            ),
            Self::OldRelease { .. } => "Take a newer release of this model.".to_owned(),
            _ => advice(code).to_owned(),
        }
    }
}

/// What an owner can do who believes that a refused root is right.
pub fn confirm_root(sha256: &Sha256Digest) -> String {
    format!(
        "Ask the namespace's authority, by another way than this registry, for the SHA-256 of its root file; if it is {sha256}, \
         confirm it: `assay trust set NAMESPACE --confirm-root {sha256}`. What is active stays active."
    )
}

/// Who must renew what, and what a wrong clock has to do with it.
fn expiry_advice(role: &str, now: Timestamp, clock: Timestamp) -> String {
    let who = match role {
        "root" => {
            "The namespace's authority must sign the next root (`assay root rotate`); or this registry withholds it."
        }
        "targets" => {
            "The namespace's authority must sign its targets anew (`assay namespace renew`), as every change of delegations, signers or \
             log does, too; or this registry withholds that."
        }
        "status" => {
            "The namespace's authority must renew its status (`assay status renew`, as a scheduled job); or this registry withholds \
             it."
        }
        "snapshot" | "timestamp" => {
            "The registry signs it anew by itself, long before: it is down, or it or something on the way shows an old state. Try \
             again later or by another registry or mirror, and tell the registry's operator."
        }
        model if model.starts_with("model.") => {
            "The model's publishers must sign their role anew (`assay role renew`), as their next release does, too; or this registry \
             withholds that."
        }
        _ => "Whoever signs this role must sign it anew; or this registry withholds that.",
    };
    let clock = match clock < now {
        true => format!(
            "This device's clock is wrong: {}. Set it. ",
            behind(now, clock).trim_start_matches("; ")
        ),
        false => format!("If this device's clock ({clock}) is wrong, set it. "),
    };
    format!("{who} {clock}What is active stays active.")
}

fn behind(now: Timestamp, clock: Timestamp) -> String {
    match clock < now {
        true => format!(
            "; it says {clock}, {} before {now}, a time that the log's witnesses confirmed",
            length(now.duration_since(clock))
        ),
        false => String::new(),
    }
}

/// A length of time for people: `3 days`, `2 h 10 min`, `40 s`.
pub fn length(duration: SignedDuration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        172_800.. => format!("{} days", seconds / 86_400),
        3_600.. => format!("{} h {} min", seconds / 3_600, seconds % 3_600 / 60),
        60.. => format!("{} min", seconds / 60),
        _ => format!("{seconds} s"),
    }
}

fn advice(code: &str) -> &'static str {
    match code {
        "wrong-identity" => {
            "Compare the fingerprint with the one that the namespace's authority gave you. Do not go on if they differ."
        }
        "below-pin" => {
            "The registry withholds newer roots: try another registry or mirror, or tell the authority. If the version was a mistake, \
             `assay trust set NAMESPACE --least-root N`. What is active stays active."
        }
        "rollback" => {
            "The registry offers something older than this device has seen. To go back to a release that is kept on \
             this device use `assay rollback`."
        }
        "signature-threshold" | "wrong-binding" | "digest-mismatch" | "wrong-version" => {
            "The registry or something between it and this device changed a file, or serves a half-finished state: \
             try again; if it stays, tell the namespace's authority. What is active stays active."
        }
        "below-status" => {
            "The registry serves an old state, or hands out one that the authority gave up: try another registry or mirror, or tell \
             the authority. What is active stays active."
        }
        "revoked-key" => "Wait until the authority has this file signed anew. What is active stays active.",
        "revoked" => "Wait for another release of this model. If this one is active here, stop using it.",
        "no-release" => {
            "Check the model's name and version; `assay search` and `assay releases` list what the registry says that it has."
        }
        "duplicate-key" | "shared-key" => {
            "Ask the namespace's authority to sign metadata in which each key stands once."
        }
        "provider" => "This build of the software is broken: install it again.",
        _ => {
            "Tell the namespace's authority and the registry's operator; what is active on this device stays active."
        }
    }
}
