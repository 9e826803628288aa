//! What is at hand before anything is fetched: the parts of a check bundle, fresh or kept from the last check.

use std::collections::BTreeMap;

use assay_provenance::crypto::sha256;
use assay_schema::bundle::{BundleDifference, BundledBlob, Held, LogPart, RoleFile};
use assay_schema::canonical::{self, JsonError};
use assay_schema::difference::Part;
use assay_schema::tuf::ModelRole;
use assay_schema::{CheckBundle, ModelName, Sha256Digest, VersionName, limits};
use serde::Deserialize;
use serde::de::DeserializeOwned;

/// Parts of a bundle by what they are. None of them is trusted: each goes through the same step as a fetched file.
#[derive(Debug, Clone, Default)]
pub(crate) struct Prefetch {
    bundle: Option<CheckBundle>,
    /// The registry gave the bundle just now, so it also answers what is newest: the next root, the timestamp.
    fresh: bool,
}

impl Prefetch {
    /// What the last check used.
    pub(crate) fn kept(bundle: CheckBundle) -> Self {
        let (bundle, fresh) = (Some(bundle), false);
        Self { bundle, fresh }
    }

    /// What the registry says is all there is: a bundle, or that the kept one still is it.
    pub(crate) fn fresh_bundle(bundle: CheckBundle) -> Self {
        let (bundle, fresh) = (Some(bundle), true);
        Self { bundle, fresh }
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

/// Reads a whole bundle.
pub(crate) fn read(bytes: &[u8]) -> Result<CheckBundle, JsonError> {
    let bundle: CheckBundle = canonical::read(bytes, limits::MAX_BUNDLE)?;
    version_one(bundle.v)?;
    Ok(bundle)
}

fn version_one(found: u32) -> Result<(), JsonError> {
    match found {
        1 => Ok(()),
        other => {
            let wrong = format!("expected version 1, found {other}");
            Err(JsonError::Parse(serde::de::Error::custom(wrong)))
        }
    }
}

/// What a device has of an earlier state, which a registry may send differences from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bases<'a> {
    pub(crate) snapshot: Option<&'a str>,
    pub(crate) kept: Option<&'a CheckBundle>,
}

#[derive(Deserialize)]
struct Versioned {
    signed: Version,
}

#[derive(Deserialize)]
struct Version {
    version: u64,
}

#[derive(Deserialize)]
struct Named {
    model: ModelName,
    version: VersionName,
}

/// What can be read of a text that may be anything.
fn glance<T: DeserializeOwned>(text: &str) -> Option<T> {
    serde_json::from_str(text).ok()
}

impl<'a> Bases<'a> {
    /// The names under which the registry knows them. They come from files that may be damaged or were never judged: a wrong one
    /// costs a request, because what is rebuilt on it does not fit.
    pub(crate) fn held(&self, model: &ModelName) -> Held {
        let kept = |role: &str| match (ModelRole::parse(role), role) {
            (Some(role), _) => role.model == *model,
            (None, role) => Held::names(role),
        };
        let top = [
            ("snapshot", self.snapshot),
            ("targets", self.kept.map(|k| k.targets.as_str())),
        ];
        let top = top.into_iter().filter_map(|(role, text)| Some((role, text?)));
        let delegated = self.kept.into_iter().flat_map(|k| &k.delegated);
        let delegated = delegated.map(|r| (r.role.as_str(), r.metadata.as_str()));
        let roles = top
            .chain(delegated.filter(|(role, _)| kept(role)))
            .filter_map(|(role, text)| Some((role.to_owned(), glance::<Versioned>(text)?.signed.version)))
            .filter(|(_, version)| *version <= limits::MAX_INTEGER)
            .take(limits::MAX_HELD_ROLES);
        let blobs = self.kept.into_iter().flat_map(|k| &k.blobs);
        let manifests = blobs.filter_map(|b| glance::<Named>(&b.content));
        Held {
            roles: roles.collect(),
            release: manifests.filter(|m| m.model == *model).map(|m| m.version).next(),
        }
    }

    fn role(&self, name: &str) -> Option<&'a str> {
        let mut roles = self.kept?.delegated.iter();
        roles.find(|r| r.role == name).map(|r| r.metadata.as_str())
    }

    fn blob(&self, digest: &Sha256Digest) -> Option<&'a str> {
        let mut blobs = self.kept?.blobs.iter();
        blobs.find(|b| b.sha256 == *digest).map(|b| b.content.as_str())
    }

    /// Rebuilds a bundle, all its parts together no longer than one. What does not fit is left out: it is fetched from its static
    /// path then, like whatever turns out to have another digest.
    pub(crate) fn rebuild(&self, bytes: &[u8]) -> Result<CheckBundle, JsonError> {
        let sent: BundleDifference = canonical::read(bytes, limits::MAX_BUNDLE)?;
        version_one(sent.v)?;
        let mut left = limits::MAX_BUNDLE;
        let mut text = |part: Part, base: Option<&str>| {
            let text = part.rebuild(base, left).ok()?;
            left = left.saturating_sub(text.len() as u64);
            Some(text)
        };
        let snapshot = text(sent.snapshot, self.snapshot).unwrap_or_default();
        let base = self.kept.map(|k| k.targets.as_str());
        let targets = text(sent.targets, base).unwrap_or_default();
        let mut delegated = Vec::new();
        for part in sent.delegated {
            if let Some(metadata) = text(part.metadata, self.role(&part.role)) {
                let role = part.role;
                delegated.push(RoleFile { role, metadata });
            }
        }
        let mut blobs = Vec::new();
        for part in sent.blobs {
            let base = part.base.and_then(|base| self.blob(&base));
            if let Some(content) = text(part.content, base) {
                let sha256 = part.sha256;
                blobs.push(BundledBlob { sha256, content });
            }
        }
        Ok(CheckBundle {
            v: sent.v,
            roots: sent.roots,
            timestamp: sent.timestamp,
            snapshot,
            targets,
            delegated,
            blobs,
            log: sent.log,
        })
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
