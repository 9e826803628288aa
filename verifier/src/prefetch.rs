//! What is at hand before anything is fetched: the parts of a check bundle, fresh or kept from the last check.

use std::collections::BTreeMap;

use assay_provenance::crypto::sha256;
use assay_schema::bundle::{BundledBlob, LogPart, RoleFile};
use assay_schema::canonical::{self, JsonError};
use assay_schema::{CheckBundle, Sha256Digest, limits};

/// Parts of a bundle by what they are. None of them is trusted: each goes through the same step as a fetched file.
#[derive(Debug, Clone, Default)]
pub(crate) struct Prefetch {
    bundle: Option<CheckBundle>,
    /// The registry gave the bundle just now, so it also answers what is newest: the next root, the timestamp.
    fresh: bool,
}

impl Prefetch {
    pub(crate) fn read(bytes: &[u8], fresh: bool) -> Result<Self, JsonError> {
        let bundle: CheckBundle = canonical::read(bytes, limits::MAX_BUNDLE)?;
        if bundle.v != 1 {
            let wrong = format!("expected version 1, found {}", bundle.v);
            return Err(JsonError::Parse(serde::de::Error::custom(wrong)));
        }
        Ok(Self {
            bundle: Some(bundle),
            fresh,
        })
    }

    pub(crate) fn is_fresh(&self) -> bool {
        self.fresh
    }

    fn fresh(&self) -> Option<&CheckBundle> {
        self.bundle.as_ref().filter(|_| self.fresh)
    }

    /// Roots in the order given; the workflow refuses any that is not the next.
    pub(crate) fn roots(&self) -> &[String] {
        self.fresh().map_or(&[], |b| &b.roots)
    }

    pub(crate) fn timestamp(&self) -> Option<&str> {
        self.fresh().map(|b| b.timestamp.as_str())
    }

    pub(crate) fn snapshot(&self) -> Option<&str> {
        self.bundle.as_ref().map(|b| b.snapshot.as_str())
    }

    pub(crate) fn targets(&self) -> Option<&str> {
        self.bundle.as_ref().map(|b| b.targets.as_str())
    }

    pub(crate) fn role(&self, name: &str) -> Option<&str> {
        let roles = self.bundle.iter().flat_map(|b| &b.delegated);
        roles
            .into_iter()
            .find(|r| r.role == name)
            .map(|r| r.metadata.as_str())
    }

    /// The proof of the bundle's snapshot.
    pub(crate) fn log(&self) -> Option<&LogPart> {
        self.bundle.as_ref().and_then(|b| b.log.as_ref())
    }

    /// Bytes of this digest: what the bundle says of them is not believed.
    pub(crate) fn blob(&self, digest: &Sha256Digest) -> Option<&str> {
        let mut blobs = self
            .bundle
            .iter()
            .flat_map(|b| &b.blobs)
            .filter(|b| b.sha256 == *digest);
        blobs
            .find(|b| sha256(b.content.as_bytes()) == *digest)
            .map(|b| b.content.as_str())
    }
}

/// Collects what a check used, to be kept for the next one.
#[derive(Debug, Clone, Default)]
pub(crate) struct Used {
    pub(crate) timestamp: String,
    pub(crate) snapshot: String,
    pub(crate) targets: String,
    roles: BTreeMap<String, String>,
    blobs: BTreeMap<Sha256Digest, String>,
    pub(crate) log: Option<LogPart>,
}

impl Used {
    pub(crate) fn role(&mut self, name: String, bytes: &[u8]) {
        self.roles
            .insert(name, String::from_utf8_lossy(bytes).into_owned());
    }

    pub(crate) fn blob(&mut self, digest: Sha256Digest, bytes: &[u8]) {
        if let Ok(text) = std::str::from_utf8(bytes) {
            self.blobs.insert(digest, text.to_owned());
        }
    }

    pub(crate) fn bundle(self) -> CheckBundle {
        CheckBundle {
            v: 1,
            roots: Vec::new(),
            timestamp: self.timestamp,
            snapshot: self.snapshot,
            targets: self.targets,
            delegated: self
                .roles
                .into_iter()
                .map(|(role, metadata)| RoleFile { role, metadata })
                .collect(),
            blobs: self
                .blobs
                .into_iter()
                .map(|(sha256, content)| BundledBlob { sha256, content })
                .collect(),
            log: self.log,
        }
    }
}
