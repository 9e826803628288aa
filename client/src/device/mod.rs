//! A device: what it trusts, what it checks, what it pulls, what is active.
//!
//! Decisions are the verifier's. This module does what the verifier asks for: fetch, hash, write, persist, activate.

mod check;
mod compare;
mod drive;
mod oms;
mod pull;
mod require;
mod trust;
mod verification;
mod verify;
mod ways;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use assay_schema::verdict::Refusal;
use assay_schema::{ModelRef, NamespaceName, Sha256Digest, Stage, Verdict};
use assay_verifier::{Pin, TrustError, Want, check_age};
use jiff::{SignedDuration, Timestamp};

pub use check::Endorsable;
pub use oms::{OmsCheck, VerifiedDirectory, root_certificates};
pub use pull::{Delivery, PullProgress, Pulled};
pub use trust::{Change, Fingerprint, TermsChange};
pub use verification::Verification;

use crate::folder::FileError;
use crate::hash;
use crate::scan::ScanError;
use crate::store::{ActiveRelease, PinRecord, Store, StoreError};
use crate::transport::{HttpTransport, Limits, Traffic, Transport, TransportError};

/// Makes a transport to the registry at an address.
pub type Connect = dyn Fn(&str) -> std::result::Result<Arc<dyn Transport>, TransportError> + Send + Sync;

/// A device with its store.
pub struct Device {
    store: Store,
    connect: Arc<Connect>,
    /// To the registries of other authorities, where these are not the release's own.
    connect_briefly: Arc<Connect>,
    connected: Mutex<BTreeMap<(String, bool), Arc<dyn Transport>>>,
    clock: Box<dyn Fn() -> Timestamp + Send + Sync>,
    threads: usize,
    max_stale: Option<SignedDuration>,
    verification: Verification,
}

impl std::fmt::Debug for Device {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Device")
            .field("store", &self.store)
            .field("threads", &self.threads)
            .finish_non_exhaustive()
    }
}

/// How metadata comes to the device.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum RouteChoice {
    /// By check bundle: one request.
    #[default]
    Bundle,
    /// By the static TUF paths, which any web server or mirror can hold.
    Static,
}

/// What the caller wants of a check or pull.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Which release.
    pub want: Want,
    /// How metadata comes.
    pub route: RouteChoice,
    /// Stages that must have passed: one that is skipped refuses.
    pub require: BTreeSet<Stage>,
    /// Whether a pull asks the registry for deltas from what is on the device. Chunks that are on the device are not fetched either
    /// way.
    pub deltas: bool,
}

impl Default for Options {
    /// The highest release, by check bundle. Required is what every release that Assay publishes can pass: a release without a
    /// model signature of a permitted signer needs a caller who says that they want it all the same.
    fn default() -> Self {
        Self {
            want: Want::Highest,
            route: RouteChoice::Bundle,
            require: BTreeSet::from([
                Stage::TrustRoot,
                Stage::Freshness,
                Stage::Release,
                Stage::Provenance,
            ]),
            deltas: true,
        }
    }
}

/// Why there is no verdict. A verdict that refuses is not an error; it is a [`Verdict`].
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    /// The device's store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The registry.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// A folder that was to be verified.
    #[error(transparent)]
    Scan(#[from] ScanError),
    /// A root that cannot be trusted.
    #[error("namespace {namespace}: {source}")]
    Root {
        /// The namespace.
        namespace: NamespaceName,
        /// What is wrong with its root.
        source: TrustError,
    },
    /// The registry does not have the namespace, or does not show it.
    #[error(
        "registry {registry} has no namespace {namespace}, or does not show it without a token. Check the name"
    )]
    NoNamespace {
        /// The registry's address.
        registry: String,
        /// The namespace.
        namespace: NamespaceName,
    },
    /// Nobody said what the root's fingerprint is, nor that the first answer may be believed.
    #[error(
        "namespace {namespace}: a fingerprint is needed; the registry shows {found}. Compare it with the one that the authority \
         publishes elsewhere and give it, or allow trust on first use, which every verdict will mention"
    )]
    FingerprintNeeded {
        /// The namespace.
        namespace: NamespaceName,
        /// What the registry shows.
        found: Sha256Digest,
    },
    /// A record of files as they were read, which cannot be used.
    #[error("{}: {reason}; expected a record that `--trust-unchanged` wrote. Remove it, and every file is read once more", path.display())]
    Marks {
        /// The record.
        path: std::path::PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// Signers or a Sigstore root that an owner cannot pin.
    #[error("the signers to pin: {0}")]
    Signers(String),
    /// A log's key, its witnesses or their threshold cannot be what an owner pins.
    #[error("the log to pin: {0}")]
    Log(#[from] assay_log::policy::PolicyError),
    /// What lies on the device is not what it should be, before any verdict could be made.
    #[error("{0}")]
    Refused(Box<Refusal>),
    /// A model signature that proves nothing.
    #[error("model signature: {0}")]
    Signature(#[from] assay_verifier::provenance::ProvenanceError),
    /// The verifier waits for something that nobody does: an error in Assay.
    #[error("the verifier came to no end; please report this")]
    Stuck,
}

impl From<FileError> for DeviceError {
    fn from(error: FileError) -> Self {
        Self::Store(error.into())
    }
}

pub(crate) type Result<T> = std::result::Result<T, DeviceError>;

impl Device {
    /// A device with its store at a path, which is made if it is missing; registries over HTTP without a token, the system's
    /// clock, one hashing thread a core.
    ///
    /// # Errors
    /// The store cannot be made or opened.
    pub fn open(store: &Path) -> Result<Self> {
        Ok(Self::new(Store::open(store)?))
    }

    /// A device with this store.
    pub fn new(store: Store) -> Self {
        Self {
            store,
            connect: over_http(Limits::default),
            connect_briefly: over_http(Limits::brief),
            connected: Mutex::default(),
            clock: Box::new(Timestamp::now),
            threads: hash::threads(),
            max_stale: None,
            verification: Verification::default(),
        }
    }

    /// How old the state may be that a verdict rests on, for namespaces whose terms say nothing of it. The registry signs its
    /// timestamps anew when half of their life is over: a bound below that refuses an honest registry.
    #[must_use]
    pub fn max_stale(mut self, bound: SignedDuration) -> Self {
        self.max_stale = Some(bound);
        self
    }

    /// Reaches all registries by `connect`: with a token, other limits, or from memory.
    #[must_use]
    pub fn connect_by(
        mut self,
        connect: impl Fn(&str) -> std::result::Result<Arc<dyn Transport>, TransportError> + Send + Sync + 'static,
    ) -> Self {
        self.connect = Arc::new(connect);
        self.connect_briefly = Arc::clone(&self.connect);
        self
    }

    /// Takes the time from `clock`.
    #[must_use]
    pub fn clock(mut self, clock: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        self.clock = Box::new(clock);
        self
    }

    /// Hashes on so many threads.
    #[must_use]
    pub fn threads(mut self, threads: usize) -> Self {
        self.threads = threads.max(1);
        self
    }

    /// Verifies as the caller says, where something is verified that lies on this device: [`Device::verify_active`],
    /// [`Device::verify_copy`] and [`Device::verify_directory`]. What is pulled, repaired or rolled back to is read in any case.
    #[must_use]
    pub fn verify_by(mut self, verification: Verification) -> Self {
        self.verification = verification;
        self
    }

    /// The device's store.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// The active release of a model, leased. See [`Store::active`], which asks nothing of its age.
    ///
    /// # Errors
    /// A record is damaged or cannot be read, or the last check that let the model pass is older than the owner lets it be.
    pub fn active(&self, model: &ModelRef) -> Result<Option<ActiveRelease>> {
        let active = self.store.active(model)?;
        if active.is_some() {
            self.check_age(model)?;
        }
        Ok(active)
    }

    /// What went over the wire so far, to all registries.
    pub fn traffic(&self) -> Traffic {
        let connected = self.connected.lock().unwrap_or_else(PoisonError::into_inner);
        connected
            .values()
            .map(|t| t.traffic())
            .fold(Traffic::default(), |sum, t| Traffic {
                requests: sum.requests + t.requests,
                received: sum.received + t.received,
                sent: sum.sent + t.sent,
            })
    }

    fn now(&self) -> Timestamp {
        (self.clock)()
    }

    fn transport(&self, registry: &str) -> Result<Arc<dyn Transport>> {
        self.reach(registry, false)
    }

    fn reach(&self, registry: &str, briefly: bool) -> Result<Arc<dyn Transport>> {
        let mut connected = self.connected.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (registry.to_owned(), briefly);
        if let Some(transport) = connected.get(&key) {
            return Ok(Arc::clone(transport));
        }
        let connect = if briefly {
            &self.connect_briefly
        } else {
            &self.connect
        };
        let transport = connect(registry)?;
        connected.insert(key, Arc::clone(&transport));
        Ok(transport)
    }
}

fn over_http(limits: fn() -> Limits) -> Arc<Connect> {
    Arc::new(move |address| Ok(Arc::new(HttpTransport::new(address, None, limits())?)))
}

impl Device {
    /// What the verifier is told of a namespace: its record, with this device's bound on age where the record has none.
    fn pin_of(&self, record: &PinRecord) -> Pin {
        let mut terms = record.terms.clone();
        terms.max_stale = terms.max_stale.or(self.max_stale);
        Pin {
            namespace: record.namespace.clone(),
            identity: record.identity,
            first_use: record.first_use,
            terms,
        }
    }

    /// Refuses to rely on a model's last check once it is older than the owner lets it be.
    fn check_age(&self, model: &ModelRef) -> Result<()> {
        let pin = self.pin_of(&self.store.pin(&model.namespace)?);
        if pin.terms.max_stale.is_none() {
            return Ok(());
        }
        let state = self.store.state(&model.namespace)?;
        check_age(&pin, &state, &model.model, self.now()).map_err(DeviceError::Refused)
    }
}

/// Whether a verdict lets a device use the release.
pub fn permits(verdict: &Verdict) -> bool {
    verdict.outcome == assay_schema::Outcome::Permit
}
