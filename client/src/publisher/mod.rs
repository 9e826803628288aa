//! For publishers: keys, namespaces, uploads, releases.
//!
//! What an authority knows stands in its own folder ([`AuthorityFolder`]); keys are read there, used here, and never leave. The
//! registry's current metadata is verified like on a device before anything is signed on top of it.

mod attest;
mod authority;
mod collect;
mod delta;
mod difference;
mod effects;
mod endorse;
mod examine;
mod export;
mod grants;
mod import;
mod journal;
mod lines;
mod namespace;
mod namespace_log;
mod namespace_signers;
mod newest;
mod plan;
mod proposal;
mod refresh;
mod registry;
mod release;
mod renew;
mod restrict;
mod rotate;
mod token;
mod upload;
mod whole;

use std::path::PathBuf;
use std::sync::Arc;

use assay_authority::attestation::AttestationError;
use assay_authority::metadata::MetadataError;
use assay_authority::namespace::NamespaceError;
use assay_authority::oms::OmsError;
use assay_authority::{KeyError, release as signing};
use assay_log::policy::PolicyError;
use assay_schema::api::Published;
use assay_schema::{NamespaceName, ReleaseOrder, Sha256Digest, VersionName};
use assay_trust::TrustError;
use assay_verifier::documents::BadDocument;
use assay_verifier::provenance::sigstore::SigstoreError;

pub use attest::{SignedStatement, Statement};
pub use authority::{AuthorityFolder, KeyPlace, KeyRole, KeyView, NamespaceRecord};
pub use collect::ProposalView;
pub use delta::{AttachedDelta, DeltaFrom};
pub use export::{ExportRecord, Exported, export_namespace};
pub use grants::{DelegationView, Grant, Revocation, public_key};
pub use import::{Export, Standing};
pub(crate) use journal::body as signed_body;
pub use journal::{JournalEntry, read_journal};
pub use namespace::NamespaceTerms;
pub use namespace_log::{LogChange, NamedLog};
pub use namespace_signers::SignersChange;
pub use newest::Unpublished;
pub use plan::Planned;
pub use proposal::{Outcome, Proposal, Review};
pub use release::{ProposedRelease, PublishedRelease, ReleaseTerms};
pub use restrict::{Lift, Restriction, StatusView};
pub use rotate::{RoleView, RootChange, RootView};

use crate::folder::FileError;
use crate::scan::ScanError;
use crate::transport::{Transport, TransportError};

/// What a publisher is told while it works.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// So many more bytes of the folder were hashed.
    Hashed(u64),
    /// Hashing is done: so many bytes are to be uploaded at most.
    Uploading(u64),
    /// So many more bytes are on the registry; those that were there already count.
    Uploaded(u64),
    /// Another publication came first; signing again on top of it.
    Rebasing(u32),
}

/// Gives the passphrase of a key file, or gives up.
type AskPassphrase = dyn Fn(&std::path::Path) -> Option<String> + Send + Sync;

/// Signs and publishes for one namespace.
pub struct Publisher {
    folder: AuthorityFolder,
    transport: Arc<dyn Transport>,
    progress: Box<dyn Fn(Progress) + Send + Sync>,
    passphrase: Box<AskPassphrase>,
    sign_again: bool,
    offline: bool,
}

impl std::fmt::Debug for Publisher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Publisher")
            .field("folder", &self.folder)
            .finish_non_exhaustive()
    }
}

impl Publisher {
    /// A publisher that signs with the keys of `folder` and talks through `transport`.
    pub fn new(folder: AuthorityFolder, transport: Arc<dyn Transport>) -> Self {
        Self {
            folder,
            transport,
            progress: Box::new(|_| {}),
            passphrase: Box::new(|_| None),
            sign_again: false,
            offline: false,
        }
    }

    /// Tells `progress` how far it is.
    #[must_use]
    pub fn on_progress(mut self, progress: impl Fn(Progress) + Send + Sync + 'static) -> Self {
        self.progress = Box::new(progress);
        self
    }

    /// Asks `passphrase` for that of an encrypted key file; `None` gives up.
    #[must_use]
    pub fn ask_passphrase(
        mut self,
        passphrase: impl Fn(&std::path::Path) -> Option<String> + Send + Sync + 'static,
    ) -> Self {
        self.passphrase = Box::new(passphrase);
        self
    }

    /// Permits to sign another body of a version that was signed before: the earlier one must have been given up, for whoever
    /// holds it could still publish it.
    #[must_use]
    pub const fn sign_again(mut self, permitted: bool) -> Self {
        self.sign_again = permitted;
        self
    }

    /// What stands comes from an export: its snapshot and timestamp may have expired.
    #[must_use]
    pub const fn offline(mut self, offline: bool) -> Self {
        self.offline = offline;
        self
    }

    /// The authority's folder.
    pub fn folder(&self) -> &AuthorityFolder {
        &self.folder
    }
}

/// Why nothing was published.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// A file of the authority's folder.
    #[error(transparent)]
    File(#[from] FileError),
    /// The folder to publish.
    #[error(transparent)]
    Scan(#[from] ScanError),
    /// The registry.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// A key.
    #[error("{}: {source}", path.display())]
    Key {
        /// Its file.
        path: PathBuf,
        /// What is wrong.
        source: KeyError,
    },
    /// A key file that is needed and not there.
    #[error("{}: no such key. Make one with `assay keygen`, or bring it from where it is kept", path.display())]
    NoKey {
        /// Where it should be.
        path: PathBuf,
    },
    /// A key file that is there already.
    #[error("{}: a key is there already; it is never overwritten. Remove it if nothing needs it any more", path.display())]
    KeyExists {
        /// Its file.
        path: PathBuf,
    },
    /// The authority's folder has no namespace yet, or its record is damaged.
    #[error("{}: {reason}", path.display())]
    Folder {
        /// The file.
        path: PathBuf,
        /// What is wrong and what to do.
        reason: String,
    },
    /// Metadata cannot be signed.
    #[error(transparent)]
    Metadata(#[from] MetadataError),
    /// A namespace cannot be made.
    #[error(transparent)]
    Namespace(#[from] NamespaceError),
    /// A log or witnesses that no device could use.
    #[error("trust/log.json: {0}")]
    LogPolicy(#[from] PolicyError),
    /// A document under `trust/` that no device could read.
    #[error("nothing was signed: {0}")]
    Document(#[from] BadDocument),
    /// The Sigstore trusted root that signers are to be judged by.
    #[error("the Sigstore trusted root: {0}")]
    SigstoreRoot(#[from] SigstoreError),
    /// A signer whom no device could recognise.
    #[error(
        "signer {signer:?}: a Sigstore identity needs a Sigstore trusted root beside it; give its trusted_root.json"
    )]
    NoSigstoreRoot {
        /// The signer.
        signer: String,
    },
    /// A signer whose certificates cannot be judged by what is given.
    #[error("signer {signer:?}: {reason}; give the root certificates of their certification authorities")]
    Roots {
        /// The signer.
        signer: String,
        /// What is wrong.
        reason: String,
    },
    /// A model cannot be signed.
    #[error(transparent)]
    ModelSignature(#[from] OmsError),
    /// A statement cannot be signed.
    #[error(transparent)]
    Statement(#[from] AttestationError),
    /// An attestation that the release cannot carry.
    #[error("attestation {name}: expected {expected}, found {found}")]
    Attestation {
        /// Its file, or its number.
        name: String,
        /// The rule.
        expected: String,
        /// What is there.
        found: String,
    },
    /// A release cannot be signed.
    #[error(transparent)]
    Release(#[from] signing::PublishError),
    /// A manifest that no device would take.
    #[error(transparent)]
    Manifest(#[from] assay_schema::manifest::BadManifest),
    /// Another body of this version was signed before.
    #[error(
        "{role} version {version}: this folder signed another body of it before ({signed}), now {asked}; whoever holds the first \
         could still publish it. Finish that run with its options, or sign again with --sign-again"
    )]
    SignedBefore {
        /// The role.
        role: String,
        /// The version.
        version: u64,
        /// SHA-256 of the signed bytes that the journal has.
        signed: Sha256Digest,
        /// SHA-256 of what was to be signed.
        asked: Sha256Digest,
    },
    /// A proposal that is not what it must be.
    #[error(
        "proposal: {what}: expected {expected}, found {found}. Make the proposal again on top of what stands"
    )]
    Proposal {
        /// What was compared.
        what: String,
        /// What it should be.
        expected: String,
        /// What is there.
        found: String,
    },
    /// A proposal of which nothing is left to sign: these very bodies stand.
    #[error("published already: {}", versions(.0))]
    PublishedAlready(Box<Published>),
    /// A proposal that builds on a file that stands no more.
    #[error(
        "proposal: the {role} file that it replaces: expected {stands}, which stands, found {parent}: another publication came \
         first, or this one and then others. If it is still wanted, make it again on top of what stands"
    )]
    Superseded {
        /// The role.
        role: String,
        /// SHA-256 of the file that stands, or "none".
        stands: String,
        /// SHA-256 of the file that the proposal builds on, or "none".
        parent: String,
    },
    /// What names no proposal, or not one only.
    #[error(
        "id of a proposal: expected {expected}, found {found:?}. Whoever runs a registry can make another proposal that begins with \
         the same few digits; `assay proposals` lists whole ids"
    )]
    ProposalId {
        /// What an id is here.
        expected: String,
        /// What was given.
        found: String,
    },
    /// A status under which every device would refuse every model.
    #[error("status: no device would use the namespace any more: {reason}")]
    StopsDevices {
        /// What devices would refuse.
        reason: String,
    },
    /// A restriction that looks like a slip.
    #[error("status: {}. Look at the names again; --insist signs it all the same", .doubts.join("; "))]
    Doubtful {
        /// What is wrong with it.
        doubts: Vec<String>,
    },
    /// The registry does not keep such a proposal.
    #[error(
        "there is no proposal {id} on the registry: published long ago, withdrawn or forgotten. `assay proposals` lists them"
    )]
    NoProposal {
        /// Its id, or the beginning of it.
        id: String,
    },
    /// The registry's current metadata does not verify; nothing was signed on top of it.
    #[error("the registry's present metadata is refused, so nothing was signed on top of it: {0}")]
    Untrusted(#[from] TrustError),
    /// The registry lacks a file that its own signed metadata names.
    #[error("the registry does not have {what}, which its signed metadata names. Tell its operator")]
    Missing {
        /// The file.
        what: String,
    },
    /// Somebody else has the name.
    #[error(
        "namespace {namespace} exists on the registry with the identity {found}; yours is {own}. Take another name, and \
         remove create.json from the authority's folder first: it was signed for this one"
    )]
    NamespaceTaken {
        /// The name.
        namespace: NamespaceName,
        /// Whose it is.
        found: Sha256Digest,
        /// The identity of this folder's root.
        own: Sha256Digest,
    },
    /// The version is published with other content.
    #[error(
        "version {version} is published with other content ({difference}); a release never changes. Take a new version"
    )]
    VersionTaken {
        /// The version.
        version: VersionName,
        /// What differs first.
        difference: String,
    },
    /// A counter or epoch that is not above the published ones.
    #[error(
        "release order {order}: expected one above {highest}, the highest published. Leave the counter out to take the next one"
    )]
    OrderTooLow {
        /// The order asked for.
        order: ReleaseOrder,
        /// The highest published.
        highest: ReleaseOrder,
    },
    /// Keys, thresholds or delegations changed while this release was prepared: a person must look at that.
    #[error("another publication came first and changed {what}; look at it, then publish again")]
    Conflict {
        /// What changed.
        what: &'static str,
    },
    /// Others published again and again in between.
    #[error("another publication came first {0} times in a row; try again when the registry is less busy")]
    Crowded(u32),
    /// The registry said yes and its metadata does not show it.
    #[error(
        "the registry accepted release {version}, but its signed metadata does not list it. Tell its operator"
    )]
    NotListed {
        /// The version.
        version: VersionName,
    },
    /// A folder that is to be one side of a delta holds something else.
    #[error(
        "{}: expected the files of release {version}, found {found}. Give the folder that was published as it", folder.display()
    )]
    OtherFiles {
        /// The folder.
        folder: PathBuf,
        /// The release.
        version: VersionName,
        /// What differs first.
        found: String,
    },
    /// A release that is to be one side of a delta.
    #[error(
        "release {version} is not published, so no delta can name it. Publish it, or name another version"
    )]
    NotPublished {
        /// The version.
        version: VersionName,
    },
    /// No release that a delta could start from.
    #[error("no release is published below order {order}: there is nothing to make a delta from")]
    NoBase {
        /// The target's order.
        order: ReleaseOrder,
    },
    /// A delta cannot be made.
    #[error(transparent)]
    Delta(#[from] Box<crate::delta::DeltaError>),
    /// The registry does not have the namespace, or does not show it.
    #[error("the registry has no namespace {0}, or does not show it without a token. Check the name")]
    NoNamespace(NamespaceName),
    /// A file is not the one that signed metadata names.
    #[error("{what}: expected {expected}, found {found}. Fetch or export it again")]
    Damaged {
        /// The file.
        what: String,
        /// What the metadata says.
        expected: String,
        /// What is there.
        found: String,
    },
    /// An export that is not whole, or that somebody changed.
    #[error("the export in {} is damaged: {reason}. Export again", path.display())]
    DamagedExport {
        /// Its folder.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// An export that the device's own check refuses by what this folder trusted last.
    #[error(
        "the export is refused by what this folder trusted last, so nothing was signed on top of it: {0}. Export again, from the \
         registry that has the newest state"
    )]
    StaleExport(#[source] TrustError),
    /// An export that is older than what the folder signed.
    #[error(
        "this folder signed {role} version {signed}, the export has {}: what came later, be it a revocation, would be lost. Export \
         again from the registry that has it; or give --accept-older if it was never published, or is given up", version(*found)
    )]
    OlderExport {
        /// The role.
        role: String,
        /// The version that the journal has.
        signed: u64,
        /// The export's, 0 for none.
        found: u64,
    },
    /// A registry that has less than what this folder signed on top of.
    #[error(
        "this folder signed {role} version {signed}, on top of {}; the registry has {}: it withholds what stood, or was set back. \
         Restore state.json from a backup, or ask another registry that has the namespace", signed - 1, version(*found)
    )]
    OlderRegistry {
        /// The role.
        role: String,
        /// The version that the journal has.
        signed: u64,
        /// The registry's, 0 for none.
        found: u64,
    },
    /// The registry has the namespace with other roots.
    #[error(
        "namespace {namespace} is on the registry already, with another root version {version} than the export's. One of the two \
         was signed by stolen or retired keys: compare both with your journal"
    )]
    OtherHistory {
        /// The namespace.
        namespace: NamespaceName,
        /// The first root that differs.
        version: u64,
    },
    /// The file changed between hashing and uploading.
    #[error(
        "{what}: the registry received other bytes than were hashed: the file changed, or the connection damages data. Publish again"
    )]
    BytesChanged {
        /// The file.
        what: String,
    },
}

/// The published version of every role, for people: `root 3, targets 7`.
pub fn versions(published: &Published) -> String {
    let roles = published.roles.iter();
    let roles = roles.map(|(role, state)| format!("{role} {}", state.version));
    roles.collect::<Vec<_>>().join(", ")
}

fn version(found: u64) -> String {
    match found {
        0 => "none".to_owned(),
        version => version.to_string(),
    }
}

/// This software's own mistakes and damaged JSON both end here, with the file's name.
pub(crate) fn folder_error(path: PathBuf, reason: impl Into<String>) -> PublishError {
    PublishError::Folder {
        path,
        reason: reason.into(),
    }
}

impl From<crate::delta::DeltaError> for PublishError {
    fn from(error: crate::delta::DeltaError) -> Self {
        Self::Delta(Box::new(error))
    }
}
