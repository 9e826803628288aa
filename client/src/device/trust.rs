//! Learning a namespace.

use assay_authority::namespace::check_signers;
use assay_log::policy::LogPolicy;
use assay_schema::limits::{MAX_ROOT, MAX_TIMESTAMP, MAX_TRUST_TARGET};
use assay_schema::log::{self, LogTrust};
use assay_schema::signers::{SignerIdentity, Signers};
use assay_schema::{NamespaceName, Sha256Digest, canonical};
use assay_trust::releases::TargetRef;
use assay_trust::workflow::Failure;
use assay_trust::{Roots, TrustError};
use assay_verifier::provenance::certificate::check_roots;
use assay_verifier::provenance::sigstore::TrustedRoot;
use assay_verifier::{DeviceState, Resource, Terms};
use jiff::SignedDuration;

use super::{Device, DeviceError, Result};
use crate::store::{PinRecord, StoreError};
use crate::transport::{Fetched, Transport, paths};

/// Roots that moving follows at most: a registry could go on for ever.
const MOST_ROOTS: u32 = 1024;

/// What the device knows of a namespace's root before it asks the registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fingerprint {
    /// SHA-256 of `1.root.json`, learned from the authority by another way than this registry.
    Known(Sha256Digest),
    /// Nothing, and the owner lets the device believe the registry's first answer. Every verdict will say so.
    FirstUse,
    /// Nothing: the device shows what the registry says, and trusts nothing.
    Unknown,
}

/// What becomes of one of the owner's terms.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Change<T> {
    /// It stays as it is.
    #[default]
    Keep,
    /// It is this from now on.
    Set(T),
    /// It is dropped.
    Drop,
}

impl<T> Change<T> {
    fn apply(self, term: &mut Option<T>) {
        match self {
            Self::Keep => {}
            Self::Set(value) => *term = Some(value),
            Self::Drop => *term = None,
        }
    }
}

/// What the owner demands of a namespace from now on; see [`Terms`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TermsChange {
    /// The log that every state must be in.
    pub log: Change<LogTrust>,
    /// The least version of the root.
    pub least_root: Change<u64>,
    /// SHA-256 of a root file that the authority confirmed.
    pub confirmed_root: Change<Sha256Digest>,
    /// How old the state may be that a verdict rests on.
    pub max_stale: Change<SignedDuration>,
    /// Signers who must have signed beside those whom the namespace permits.
    pub signers: Change<Signers>,
    /// The Sigstore trusted root (JSON) that they are judged by.
    pub sigstore_root: Change<String>,
}

impl TermsChange {
    fn apply(self, terms: &mut Terms) -> Result<()> {
        if let Change::Set(log) = &self.log {
            LogPolicy::try_from(log)?;
        }
        if let Change::Set(signers) = &self.signers {
            check_signers(signers).map_err(|e| DeviceError::Signers(e.to_string()))?;
            for signer in &signers.signers {
                if let SignerIdentity::Certificate { roots, .. } = &signer.identity {
                    check_roots(roots).map_err(|e| DeviceError::Signers(format!("{}: {e}", signer.name)))?;
                }
            }
        }
        if let Change::Set(root) = &self.sigstore_root {
            TrustedRoot::read(root.as_bytes()).map_err(|e| DeviceError::Signers(e.to_string()))?;
        }
        self.log.apply(&mut terms.log);
        self.least_root.apply(&mut terms.least_root);
        self.confirmed_root.apply(&mut terms.confirmed_root);
        self.max_stale.apply(&mut terms.max_stale);
        self.signers.apply(&mut terms.signers);
        self.sigstore_root.apply(&mut terms.sigstore_root);
        Ok(())
    }
}

impl Device {
    /// Changes what the owner demands of a namespace; pin and floors stay.
    ///
    /// # Errors
    /// The namespace is not trusted here, the log's terms cannot be met, or the store cannot be written.
    pub fn trust_set(&self, namespace: &NamespaceName, change: TermsChange) -> Result<PinRecord> {
        let writer = self.store.writer()?;
        let mut record = self.store.pin(namespace)?;
        change.apply(&mut record.terms)?;
        writer.trust(&record, None)?;
        Ok(record)
    }

    /// Pins a namespace. Adding one again with the same identity keeps its floors and terms, and may move it to another registry.
    ///
    /// # Errors
    /// The registry's root is not the one with this fingerprint, is no root, or another one is pinned under the name.
    pub fn trust_add(
        &self,
        registry: &str,
        namespace: &NamespaceName,
        fingerprint: Fingerprint,
    ) -> Result<PinRecord> {
        self.trust_add_with(registry, namespace, fingerprint, TermsChange::default())
    }

    /// As [`Device::trust_add`], with terms of the owner's.
    ///
    /// # Errors
    /// As [`Device::trust_add`], or the log's terms cannot be met.
    pub fn trust_add_with(
        &self,
        registry: &str,
        namespace: &NamespaceName,
        fingerprint: Fingerprint,
        change: TermsChange,
    ) -> Result<PinRecord> {
        let path = paths::metadata(namespace, "1.root.json");
        let bytes = match self.transport(registry)?.get(&path, MAX_ROOT, None)? {
            Fetched::Found { bytes, .. } => bytes,
            Fetched::Missing | Fetched::NotModified => {
                return Err(DeviceError::NoNamespace {
                    registry: registry.to_owned(),
                    namespace: namespace.clone(),
                });
            }
        };
        let found = crate::sha256(&bytes);
        let (identity, first_use) = match fingerprint {
            Fingerprint::Known(identity) => (identity, false),
            Fingerprint::FirstUse => (found, true),
            Fingerprint::Unknown => {
                return Err(DeviceError::FingerprintNeeded {
                    namespace: namespace.clone(),
                    found,
                });
            }
        };
        let mut record = PinRecord {
            v: 1,
            registry: registry.to_owned(),
            namespace: namespace.clone(),
            identity,
            first_use,
            terms: Terms::default(),
        };
        // TUF 5.2: the pinned root is the start of everything; its bytes must be those of the fingerprint.
        let first =
            DeviceState::first(&self.pin_of(&record), &bytes).map_err(|source| DeviceError::Root {
                namespace: namespace.clone(),
                source,
            })?;
        let writer = self.store.writer()?;
        match self.store.find_pin(namespace)? {
            None => {
                change.apply(&mut record.terms)?;
                writer.trust(&record, Some(&first))?;
            }
            Some(pinned) if pinned.identity == identity => {
                // A damaged state must not be replaced by one without floors.
                self.store.state(namespace)?;
                record.first_use &= pinned.first_use;
                record.terms = pinned.terms;
                change.apply(&mut record.terms)?;
                writer.trust(&record, None)?;
            }
            Some(pinned) => {
                let (namespace, pinned) = (namespace.clone(), pinned.identity);
                return Err(StoreError::OtherIdentity {
                    namespace,
                    pinned,
                    found: identity,
                }
                .into());
            }
        }
        Ok(record)
    }

    /// Asks another registry for a namespace from now on: its authority moved it there. The identity stays, and so do the floors. What
    /// the registry serves must go on from what this device trusts, by roots that the authority signed.
    ///
    /// The log of the registry before is followed no longer, unless the namespace still names it: the owner's word for moving is the
    /// word for that, too.
    ///
    /// # Errors
    /// The namespace is not trusted here, or the registry has it not, with another identity, or with a history that does not go on
    /// from what this device trusts. Nothing changes then.
    pub fn trust_move(&self, registry: &str, namespace: &NamespaceName) -> Result<PinRecord> {
        let writer = self.store.writer()?;
        let pinned = self.store.pin(namespace)?;
        let (pin, now) = (self.pin_of(&pinned), self.now());
        let transport = self.transport(registry)?;
        let get = |file: &str, max: u64| -> Result<Option<Vec<u8>>> {
            match transport.get(&paths::metadata(namespace, file), max, None)? {
                Fetched::Found { bytes, .. } => Ok(Some(bytes)),
                Fetched::Missing | Fetched::NotModified => Ok(None),
            }
        };
        let missing = || DeviceError::NoNamespace {
            registry: registry.to_owned(),
            namespace: namespace.clone(),
        };
        let refused = |source: TrustError| DeviceError::Root {
            namespace: namespace.clone(),
            source,
        };
        let broken = |failure: Box<Failure>| refused(failure.error);
        // The same namespace, and not one of the same name.
        let first = get("1.root.json", MAX_ROOT)?.ok_or_else(missing)?;
        DeviceState::first(&pin, &first).map_err(refused)?;

        // TUF 5.3 to 5.6, from this device's own state on.
        let mut roots = Roots::open(&pin, self.store.state(namespace)?, now).map_err(broken)?;
        let mut read = 0;
        loop {
            let Some(version) = roots.next_version() else {
                // More rotations than one run follows: on from here, as the next run would.
                let state = roots.state().clone();
                roots = Roots::open(&pin, state, now).map_err(broken)?;
                continue;
            };
            let Some(bytes) = get(&format!("{version}.root.json"), MAX_ROOT)? else {
                break;
            };
            roots = roots.accept(&bytes).map_err(broken)?;
            read += 1;
            if read > MOST_ROOTS {
                break;
            }
        }
        let timestamp = get("timestamp.json", MAX_TIMESTAMP)?.ok_or_else(missing)?;
        let snapshot = roots
            .finish()
            .map_err(broken)?
            .accept(&timestamp)
            .map_err(broken)?;
        let wanted = snapshot.wanted().map_err(refused)?;
        let bytes = get(&wanted.file, wanted.length)?.ok_or_else(missing)?;
        let targets = snapshot.accept(&bytes).map_err(broken)?;
        let wanted = targets.wanted().map_err(refused)?;
        let bytes = get(&wanted.file, wanted.length)?.ok_or_else(missing)?;
        let refreshed = targets.accept(&bytes).map_err(broken)?;
        let listed = refreshed.top_level_target(log::TARGET).map_err(refused)?;
        let mut state = refreshed.into_state();
        let trust = match listed {
            Some(target) => Some(named_log(transport.as_ref(), namespace, &target)?),
            None => None,
        };
        let name = trust.as_ref().and_then(|trust| trust.log.split_once('+'));
        state.log = state
            .log
            .filter(|log| name.is_some_and(|(name, _)| name == log.origin.as_str()));
        // The owner's word for the move is their word for its roots, too: the next check follows the log that is named here.
        state.followed = None;
        state.settled = None;
        let record = PinRecord {
            registry: registry.to_owned(),
            ..pinned
        };
        // S1, then T1: a crash between them leaves the device where it was, with newer roots.
        writer.state(namespace, &state)?;
        writer.trust(&record, None)?;
        Ok(record)
    }

    /// Stops trusting a namespace: its pin, its floors and its releases go in one step. Added again, it begins anew, and takes
    /// releases that are older than those it had.
    ///
    /// # Errors
    /// It is not trusted here, a program uses one of its releases, or the store cannot be written.
    pub fn trust_remove(&self, namespace: &NamespaceName) -> Result<()> {
        if self.store.writer()?.forget(namespace)? {
            Ok(())
        } else {
            Err(StoreError::NotTrusted(namespace.clone()).into())
        }
    }
}

/// The log that targets metadata names. Where it does not stand in its entry it is fetched: without it nobody could say whether the
/// device's checkpoint is of a log that it still follows.
fn named_log(transport: &dyn Transport, namespace: &NamespaceName, target: &TargetRef) -> Result<LogTrust> {
    let refused = |found: String| DeviceError::Root {
        namespace: namespace.clone(),
        source: TrustError::Malformed {
            subject: target.path.clone(),
            expected: format!("the log that the namespace names, with SHA-256 {}", target.sha256),
            found,
        },
    };
    let bytes = match &target.note.inline {
        Some(text) => text.clone().into_bytes(),
        None => {
            let path = target.consistent_path();
            let path = paths::resource(namespace, &Resource::Target { path });
            match transport.get(&path, target.length, None)? {
                Fetched::Found { bytes, .. } => bytes,
                Fetched::Missing | Fetched::NotModified => return Err(refused("none".to_owned())),
            }
        }
    };
    let found = crate::sha256(&bytes);
    if found != target.sha256 {
        return Err(refused(found.to_hex()));
    }
    canonical::read(&bytes, MAX_TRUST_TARGET).map_err(|e| refused(e.to_string()))
}
