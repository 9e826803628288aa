//! What can go wrong with a device's store.

use std::path::PathBuf;
use std::time::Duration;

use assay_schema::trust_policy::BadTrustPolicy;
use assay_schema::verdict::Refusal;
use assay_schema::{ModelRef, NamespaceName, Sha256Digest, VersionName};

use super::ActivateStep;
use crate::folder::FileError;

/// What can go wrong with a device's store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A file or folder.
    #[error(transparent)]
    File(#[from] FileError),
    /// The disk is full. The active release is untouched.
    #[error(
        "{}: the disk is full: expected {needed} bytes of free space, found {available}. \
         The active release is untouched; free some space and pull again, it goes on where it stopped",
        path.display()
    )]
    Full {
        /// The store.
        path: PathBuf,
        /// Bytes that the rest of the pull takes.
        needed: u64,
        /// Bytes that are free.
        available: u64,
    },
    /// Another process writes to the store.
    #[error(
        "{}: another process is writing to this store, waited {} s. Try again when it is done",
        path.display(), waited.as_secs()
    )]
    Busy {
        /// The store.
        path: PathBuf,
        /// How long this one waited.
        waited: Duration,
    },
    /// One of the store's own records is not what this software wrote.
    #[error("{}: {reason}. {advice}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
        /// What to do.
        advice: &'static str,
    },
    /// The namespace was never pinned here.
    #[error("namespace {0} is not trusted on this device. Run `assay trust add` with its fingerprint first")]
    NotTrusted(NamespaceName),
    /// Another root was pinned under this name.
    #[error(
        "namespace {namespace}: expected the pinned identity {pinned}, found {found}. \
         If the change is meant, run `assay trust remove {namespace}` first; its releases and floors go with it"
    )]
    OtherIdentity {
        /// The namespace.
        namespace: NamespaceName,
        /// The identity that is pinned.
        pinned: Sha256Digest,
        /// The identity that was to be added.
        found: Sha256Digest,
    },
    /// A release of the namespace that is to go is in use.
    #[error(
        "{}: another program uses this release. End it, then remove the namespace",
        path.display()
    )]
    InUse {
        /// The release's folder.
        path: PathBuf,
    },
    /// No release of this model is active.
    #[error("{0} has no active release on this device. Run `assay pull` first")]
    NotActive(ModelRef),
    /// The release that is asked for is not kept here.
    #[error("{model}: {} is not kept on this device; kept: {kept}", wanted.as_ref().map_or("an older release", |v| v.as_str()))]
    NotKept {
        /// The model.
        model: ModelRef,
        /// The version asked for; `None` for the one before the active.
        wanted: Option<VersionName>,
        /// Versions that are kept.
        kept: String,
    },
    /// The model was rolled back and not resumed.
    #[error(
        "{model} is held at {version} since a rollback. Run `assay resume {model}` to let it update again"
    )]
    Held {
        /// The model.
        model: ModelRef,
        /// The version that is active.
        version: VersionName,
    },
    /// The trust policy requires other authorities' signatures, which this release did not have when it was activated.
    #[error("{0}")]
    NotEndorsed(Box<Refusal>),
    /// A requirement that cannot be followed.
    #[error(transparent)]
    TrustPolicy(BadTrustPolicy),
    /// The model's own namespace under another name.
    #[error(
        "{namespace} is the namespace of {model} under another name, and has to sign in any case. Name another authority"
    )]
    OwnAuthority {
        /// The model.
        model: ModelRef,
        /// The name that was given.
        namespace: NamespaceName,
    },
    /// The step hook stopped the run (tests).
    #[error("stopped behind step {0:?}")]
    Stopped(ActivateStep),
}

pub(crate) type Result<T> = std::result::Result<T, StoreError>;
