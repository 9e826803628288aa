//! Learning a namespace.

use assay_schema::limits::MAX_ROOT;
use assay_schema::{NamespaceName, Sha256Digest};
use assay_verifier::DeviceState;

use super::{Device, DeviceError, Result, pin_of};
use crate::store::{PinRecord, StoreError};
use crate::transport::{Fetched, paths};

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

impl Device {
    /// Pins a namespace. Adding one again with the same identity keeps its floors, and may move it to another registry.
    ///
    /// # Errors
    /// The registry's root is not the one with this fingerprint, is no root, or another one is pinned under the name.
    pub fn trust_add(
        &self,
        registry: &str,
        namespace: &NamespaceName,
        fingerprint: Fingerprint,
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
        };
        // TUF 5.2: the pinned root is the start of everything; its bytes must be those of the fingerprint.
        let first = DeviceState::first(&pin_of(&record), &bytes).map_err(|source| DeviceError::Root {
            namespace: namespace.clone(),
            source,
        })?;
        let writer = self.store.writer()?;
        match self.store.find_pin(namespace)? {
            None => writer.trust(&record, Some(&first))?,
            Some(pinned) if pinned.identity == identity => {
                // A damaged state must not be replaced by one without floors.
                self.store.state(namespace)?;
                record.first_use &= pinned.first_use;
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
