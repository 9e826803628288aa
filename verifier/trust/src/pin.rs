//! What a device knows a namespace by, and what it persists about it.

use std::collections::BTreeMap;

use assay_log::LogState;
use assay_provenance::crypto::sha256;
use assay_schema::{ModelName, NamespaceName, ReleaseOrder, Sha256Digest, limits};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sigstore_tuf::TrustedMetadataSet;

use crate::error::TrustError;
use crate::floors::{Followed, Restrictions};
use crate::keys;
use crate::rules::TrustedSet;
use crate::terms::Terms;

/// What a device knows a namespace by: learned out of band, or on first use where the owner allowed that.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pin {
    /// The namespace's name on its registry.
    pub namespace: NamespaceName,
    /// SHA-256 of the namespace's first root file.
    pub identity: Sha256Digest,
    /// The identity was taken from the registry itself, without a fingerprint from elsewhere. Every verdict says so.
    #[serde(default)]
    pub first_use: bool,
    /// What the owner demands beside.
    #[serde(default, skip_serializing_if = "Terms::is_empty")]
    pub terms: Terms,
}

impl Pin {
    /// A namespace by the identity that was learned out of band, without further terms.
    pub fn new(namespace: NamespaceName, identity: Sha256Digest) -> Self {
        Self {
            namespace,
            identity,
            first_use: false,
            terms: Terms::default(),
        }
    }
}

/// What a device persists for one namespace. Its floors are never lowered, except as TUF 5.3.11 says.
///
/// All of it is one document, so that no crash separates a root from the files that it made obsolete.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeviceState {
    /// The document's version: 1.
    pub v: u32,
    /// The trusted root's exact bytes.
    pub root: String,
    /// The newest trusted timestamp's exact bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timestamp: Option<String>,
    /// The newest trusted snapshot's exact bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<String>,
    /// The timestamp that named `snapshot`, where `timestamp` is newer: a refresh ended between the two. Without it the snapshot
    /// could not be loaded again, and a registry could erase the floors of all targets files by withholding one snapshot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot_timestamp: Option<String>,
    /// For each model, the highest order that was activated on this device.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub floors: BTreeMap<ModelName, ReleaseOrder>,
    /// The manifest of the release that has that order: another one under the same order is refused, whoever signed it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub activated: BTreeMap<ModelName, Sha256Digest>,
    /// The largest checkpoint that was accepted of the log that the namespace names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<LogState>,
    /// The k-th largest cosignature time of pinned witnesses that was seen: no earlier time is believed of any clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_floor: Option<Timestamp>,
    /// When this device first accepted `timestamp`: as of then it knows its state, where the timestamp itself does not say more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timestamp_seen: Option<Timestamp>,
    /// For each model, as of when the state was that let it pass last.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub fresh: BTreeMap<ModelName, Timestamp>,
    /// What the authority's status restricted, as far as it concerns roots.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restrictions: Option<Restrictions>,
    /// The log that the last accepted state was in: a later root must be in it, too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub followed: Option<Followed>,
    /// The state before roots were followed that no log has confirmed yet. A check that refuses goes back to it: else a root that
    /// was forked in secret would lock the device out of the true one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settled: Option<Box<DeviceState>>,
}

impl DeviceState {
    /// A state that knows nothing but a root, which is judged when the state is opened.
    pub const fn of_root(root: String) -> Self {
        Self {
            v: 1,
            root,
            timestamp: None,
            snapshot: None,
            snapshot_timestamp: None,
            floors: BTreeMap::new(),
            activated: BTreeMap::new(),
            log: None,
            time_floor: None,
            timestamp_seen: None,
            fresh: BTreeMap::new(),
            restrictions: None,
            followed: None,
            settled: None,
        }
    }

    /// The state of a device that has just learned a namespace: nothing but its first root.
    ///
    /// # Errors
    /// The bytes are not a first root of Assay, or not the one that `pin` names.
    pub fn first(pin: &Pin, root: &[u8]) -> Result<Self, TrustError> {
        let found = sha256(root);
        if found != pin.identity {
            return Err(TrustError::Identity {
                expected: pin.identity,
                found,
            });
        }
        let text = utf8(root, "1.root.json")?;
        let set: TrustedMetadataSet = load_root(root)?;
        keys::check_root(set.root())?;
        if set.root().version != 1 {
            return Err(TrustError::Version {
                subject: "root".into(),
                expected: 1,
                found: set.root().version,
            });
        }
        Ok(Self::of_root(text))
    }

    /// The state of a device that has just learned a foreign repository, by a root that its owner trusts. Its version is any
    /// (TUF 5.1), and it is judged when the state is opened.
    ///
    /// # Errors
    /// The bytes are not text.
    pub fn foreign(root: &[u8]) -> Result<Self, TrustError> {
        Ok(Self::of_root(utf8(root, "root.json")?))
    }

    /// Raises a model's floor to the release of this order and manifest; a lower order changes nothing.
    pub fn raise_floor(&mut self, model: &ModelName, order: ReleaseOrder, manifest: Sha256Digest) {
        self.raise_floor_to(model, order, Some(manifest));
    }

    /// The same, of a state that may be of before manifests were kept.
    pub(crate) fn raise_floor_to(
        &mut self,
        model: &ModelName,
        order: ReleaseOrder,
        manifest: Option<Sha256Digest>,
    ) {
        let floor = self.floors.get(model).copied();
        if floor.is_some_and(|floor| floor > order) {
            return;
        }
        self.floors.insert(model.clone(), order);
        match manifest {
            Some(manifest) => {
                self.activated.insert(model.clone(), manifest);
            }
            // What was kept is of the lower order.
            None if floor != Some(order) => {
                self.activated.remove(model);
            }
            None => {}
        }
    }
}

/// Reads a root that is judged by its own keys only: a pinned one, or one that the device persisted.
pub(crate) fn load_root<S: TrustedSet>(bytes: &[u8]) -> Result<S, TrustError> {
    assay_provenance::crypto::install().map_err(|e| TrustError::Provider(e.to_string()))?;
    if bytes.len() as u64 > limits::MAX_ROOT {
        return Err(TrustError::too_long("root", limits::MAX_ROOT, bytes.len()));
    }
    S::from_root(bytes).map_err(|e| TrustError::tuf("root", e))
}

pub(crate) fn utf8(bytes: &[u8], subject: &str) -> Result<String, TrustError> {
    String::from_utf8(bytes.to_vec()).map_err(|_| TrustError::NotText {
        subject: subject.to_owned(),
    })
}
