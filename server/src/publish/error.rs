//! What can go wrong in publication.

use std::collections::BTreeMap;

use assay_schema::api::RoleState;
use assay_schema::manifest::BadManifest;
use assay_schema::problem::{Problem, ProblemKind};
use assay_schema::{ModelName, NamespaceName, Sha256Digest, Verdict, VersionName};
use assay_verifier::TrustError;

use super::collect::BadProposal;
use super::decide::BadPublication;
use super::first::BadRoot;
use super::online::OnlineError;
use crate::blobs::BlobError;
use crate::metadata::BadMetadata;
use crate::persistence::DatabaseError;
use crate::problem::ApiError;
use crate::state::StartError;
use crate::steps::Stopped;

/// Digests that a problem names at most.
const NAMED: usize = 100;

/// A publication that was not done.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// The database did not do it.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// The object store did not do it.
    #[error(transparent)]
    Blobs(#[from] BlobError),
    /// A test ends the work here.
    #[error(transparent)]
    Stopped(#[from] Stopped),
    /// The registry's own keys cannot be used.
    #[error(transparent)]
    Online(#[from] OnlineError),
    /// The registry's parts failed in another way.
    #[error(transparent)]
    State(StartError),
    /// There is no such namespace, as far as the asker may know.
    #[error("there is no namespace {0}")]
    NoNamespace(NamespaceName),
    /// The name is taken by a namespace of other content.
    #[error(
        "namespace {name} exists with identity {identity}; choose another name, or send its very first root and targets"
    )]
    NamespaceExists {
        /// The name.
        name: NamespaceName,
        /// What devices pin it by.
        identity: Sha256Digest,
    },
    /// The first root is not one that the registry can serve.
    #[error(transparent)]
    Root(#[from] BadRoot),
    /// The online keys were never asked for.
    #[error("namespace {0} has no online keys yet; POST to its `keys` first and list them in its root")]
    NoKeys(NamespaceName),
    /// A file or its place is wrong.
    #[error(transparent)]
    Publication(#[from] BadPublication),
    /// A stored file cannot be read.
    #[error("stored {0}; restore the database from a backup")]
    Stored(BadMetadata),
    /// A current file that must be there is not.
    #[error(
        "namespace {namespace}: expected a current {role} file, found none; restore the database from a backup"
    )]
    NoFile {
        /// The namespace.
        namespace: NamespaceName,
        /// The role.
        role: String,
    },
    /// Somebody else published first.
    #[error(
        "another publication replaced {}; fetch the current files, build on them and sign again",
        .current.keys().map(String::as_str).collect::<Vec<_>>().join(", ")
    )]
    Stale {
        /// The current file of each role that the publication named.
        current: BTreeMap<String, RoleState>,
    },
    /// Too many others committed meanwhile.
    #[error("namespace {0} is being changed by others all the time; try again")]
    Busy(NamespaceName),
    /// The manifest is not one.
    #[error(transparent)]
    Manifest(#[from] BadManifest),
    /// The manifest does not fit its place.
    #[error("release manifest: {what}: expected {expected}, found {found}")]
    ManifestField {
        /// The field.
        what: String,
        /// What should be there.
        expected: String,
        /// What is there.
        found: String,
    },
    /// The version is published with another manifest.
    #[error(
        "{model}@{version} is published with manifest {published}; a release never changes, publish a new version"
    )]
    ReleaseExists {
        /// The model.
        model: ModelName,
        /// The version.
        version: VersionName,
        /// The published manifest.
        published: Sha256Digest,
    },
    /// Blobs that the namespace has not uploaded.
    #[error("{} blobs that {what} names are not uploaded to this namespace; upload them first", .missing.len())]
    BlobsMissing {
        /// What names them.
        what: String,
        /// Their digests.
        missing: Vec<Sha256Digest>,
    },
    /// A listed release is not a candidate with that manifest.
    #[error(
        "{role} metadata: {path}: expected {expected}, found {found}; put the candidate first, then sign its manifest"
    )]
    NoCandidate {
        /// The role that lists it.
        role: String,
        /// The target.
        path: String,
        /// As listed.
        expected: String,
        /// As stored.
        found: String,
    },
    /// A blob that no target names.
    #[error(
        "blob {0}: expected only blobs that the metadata lists, found none that names it; send what it lists and nothing else"
    )]
    Unlisted(Sha256Digest),
    /// A proposal that is not kept, or signatures of one.
    #[error(transparent)]
    Proposal(#[from] BadProposal),
    /// The device's own verifier refuses the metadata.
    #[error("{0}; a device would refuse this, so nothing was published{remedy}", remedy = remedy(.0))]
    Trust(#[from] TrustError),
    /// The device's own verifier refuses a release.
    #[error("a device would refuse {model}@{version}, so nothing was published: {}", reason(.verdict))]
    Refused {
        /// The model.
        model: ModelName,
        /// The version.
        version: VersionName,
        /// Why.
        verdict: Box<Verdict>,
    },
    /// Devices could not use any more what they may use now.
    #[error(
        "devices use {model}@{version} and would refuse it under this root or targets, so nothing was published: {}. To withdraw a \
         release, revoke it in the status first; to change signers, publish a release of the new ones first", reason(.verdict)
    )]
    TakesAway {
        /// The model.
        model: ModelName,
        /// Its highest release that is not revoked.
        version: VersionName,
        /// Why.
        verdict: Box<Verdict>,
    },
}

/// What a publisher can do about it. Other refusals advise devices whom to ask, which is whoever reads this.
fn remedy(error: &TrustError) -> String {
    match error {
        TrustError::Expired { .. } => format!(". {}", error.refusal().advice),
        _ => String::new(),
    }
}

fn reason(verdict: &Verdict) -> String {
    verdict.refusal().map_or_else(
        || "the verifier gave no reason".to_owned(),
        |(stage, refusal)| format!("stage {stage}: {refusal}"),
    )
}

impl From<StartError> for PublishError {
    fn from(error: StartError) -> Self {
        match error {
            StartError::Database(error) => Self::Database(error),
            StartError::Blobs(error) => Self::Blobs(error),
            other => Self::State(other),
        }
    }
}

impl PublishError {
    const fn kind(&self) -> ProblemKind {
        match self {
            Self::Database(_) | Self::Blobs(_) | Self::State(_) | Self::Stopped(_) => ProblemKind::Internal,
            Self::Online(_) | Self::Stored(_) | Self::NoFile { .. } => ProblemKind::Internal,
            Self::NoNamespace(_) => ProblemKind::NotFound,
            Self::NamespaceExists { .. } => ProblemKind::NamespaceExists,
            Self::NoKeys(_) | Self::Unlisted(_) => ProblemKind::BadRequest,
            Self::Publication(BadPublication::Empty | BadPublication::Role(_)) => ProblemKind::BadRequest,
            Self::Root(_) | Self::Publication(_) | Self::NoCandidate { .. } => ProblemKind::MetadataRefused,
            Self::Proposal(BadProposal::None(_)) => ProblemKind::NotFound,
            Self::Proposal(BadProposal::Full) => ProblemKind::TooManyProposals,
            Self::Proposal(_) | Self::Trust(_) | Self::Refused { .. } | Self::TakesAway { .. } => {
                ProblemKind::MetadataRefused
            }
            Self::Stale { .. } => ProblemKind::StaleParent,
            Self::Busy(_) => ProblemKind::Unavailable,
            Self::Manifest(_) | Self::ManifestField { .. } => ProblemKind::BadManifest,
            Self::ReleaseExists { .. } => ProblemKind::ReleaseExists,
            Self::BlobsMissing { .. } => ProblemKind::BlobsMissing,
        }
    }
}

impl From<PublishError> for ApiError {
    fn from(error: PublishError) -> Self {
        let mut problem = match error {
            // The stores' failures and the registry's own have one mapping for all rooms.
            PublishError::Database(error) => return error.into(),
            PublishError::Blobs(error) => return error.into(),
            PublishError::Stopped(error) => return error.into(),
            ref error if error.kind() == ProblemKind::Internal => return Self::internal(error),
            ref error => Problem::new(error.kind(), error.to_string()),
        };
        match error {
            PublishError::Stale { current } => problem.current = current,
            PublishError::BlobsMissing { missing, .. } => {
                problem.missing = missing.into_iter().take(NAMED).collect()
            }
            PublishError::Refused { verdict, .. } | PublishError::TakesAway { verdict, .. } => {
                problem.verdict = Some(verdict)
            }
            _ => {}
        }
        problem.into()
    }
}
