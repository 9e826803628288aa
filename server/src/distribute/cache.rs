//! Check bundles that were assembled before: an unchanged device costs one read of the namespace's revision.
//!
//! A bundle depends on nothing but its [`Key`], so an entry is never wrong; a new revision has new keys, and what no longer is
//! asked for goes when the space is needed. Only while witnesses are still to cosign can the same key get a better bundle: until
//! then one is kept for a moment. Of a bundle too large to keep at least the digest stays, which is all that an
//! unchanged device needs.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use assay_schema::{ModelName, Sha256Digest, VersionName};
use bytes::Bytes;
use tokio::sync::{Semaphore, SemaphorePermit};

/// What a bundle depends on.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Key {
    /// The namespace's identity.
    pub identity: Sha256Digest,
    /// The namespace's revision.
    pub revision: u64,
    /// The device's root version, at most the current one.
    pub root: u64,
    /// The model.
    pub model: ModelName,
    /// The version asked for.
    pub version: Option<VersionName>,
}

/// An assembled bundle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assembled {
    /// Its JSON.
    pub bytes: Bytes,
    /// SHA-256 of the JSON: its entity tag.
    pub sha256: Sha256Digest,
}

/// For how long a bundle is good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// As long as there is space.
    Long,
    /// For [`SHORT`]: it will get better, but not for each device that asks until then.
    Short,
    /// Not at all.
    Not,
}

/// How long a bundle is served that may get better.
pub const SHORT: Duration = Duration::from_secs(2);

/// What is kept of a bundle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// SHA-256 of its JSON.
    pub sha256: Sha256Digest,
    /// Its JSON, unless it is too large to keep.
    pub bytes: Option<Bytes>,
}

impl Kept {
    /// What it counts for in the cache, keys and all.
    fn cost(&self) -> usize {
        ENTRY + self.bytes.as_ref().map_or(0, Bytes::len)
    }
}

/// A bounded store of bundles, least recently asked for first out.
#[derive(Debug)]
pub struct BundleCache {
    limit: usize,
    inner: Mutex<Inner>,
    assembling: Semaphore,
}

/// Bytes that an entry takes beside its bundle.
const ENTRY: usize = 512;
/// Bundles that are assembled at the same time; each may need tens of megabytes.
const ASSEMBLING: usize = 4;
/// Namespaces whose newest root is remembered.
const ROOTS: usize = 100_000;

#[derive(Debug)]
struct Entry {
    used: u64,
    until: Option<Instant>,
    kept: Kept,
}

#[derive(Debug, Default)]
struct Inner {
    used: usize,
    clock: u64,
    entries: HashMap<Key, Entry>,
    /// By identity: a revision and the version of its root.
    roots: HashMap<Sha256Digest, (u64, u64)>,
}

impl BundleCache {
    /// A cache of at most `limit` bytes of bundles.
    pub fn new(limit: usize) -> Self {
        Self {
            limit,
            inner: Mutex::default(),
            assembling: Semaphore::new(ASSEMBLING),
        }
    }

    /// Waits for one's turn to assemble a bundle.
    pub async fn permit(&self) -> Option<SemaphorePermit<'_>> {
        // The semaphore is never closed.
        self.assembling.acquire().await.ok()
    }

    /// The version of a namespace's newest root at this revision, where it is known.
    pub fn newest_root(&self, identity: &Sha256Digest, revision: u64) -> Option<u64> {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner
            .roots
            .get(identity)
            .filter(|(at, _)| *at == revision)
            .map(|(_, root)| *root)
    }

    /// Remembers the version of a namespace's newest root.
    pub fn set_newest_root(&self, identity: Sha256Digest, revision: u64, root: u64) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if inner.roots.len() >= ROOTS {
            inner.roots.clear();
        }
        inner.roots.insert(identity, (revision, root));
    }

    /// What was kept of a bundle.
    pub fn get(&self, key: &Key) -> Option<Kept> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.clock += 1;
        let now = inner.clock;
        let entry = inner.entries.get_mut(key)?;
        if entry.until.is_some_and(|until| until <= Instant::now()) {
            inner.remove(key);
            return None;
        }
        entry.used = now;
        Some(entry.kept.clone())
    }

    /// Keeps a bundle, and drops what has to go for it. Of one that is larger than a quarter of the cache only the digest stays.
    pub fn put(&self, key: Key, bundle: &Assembled, keep: Keep) {
        let until = match keep {
            Keep::Long => None,
            Keep::Short => Some(Instant::now() + SHORT),
            Keep::Not => return,
        };
        let bytes = (bundle.bytes.len() <= self.limit / 4).then(|| bundle.bytes.clone());
        let kept = Kept {
            sha256: bundle.sha256,
            bytes,
        };
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        // Older revisions of the same question are never asked for again.
        let stale: Vec<_> = inner
            .entries
            .keys()
            .filter(|k| k.identity == key.identity && k.revision < key.revision)
            .cloned()
            .collect();
        for old in stale {
            inner.remove(&old);
        }
        inner.remove(&key);
        while inner.used + kept.cost() > self.limit {
            let oldest = inner
                .entries
                .iter()
                .min_by_key(|(_, entry)| entry.used)
                .map(|(k, _)| k.clone());
            match oldest {
                Some(oldest) => inner.remove(&oldest),
                None => return,
            }
        }
        inner.clock += 1;
        let used = inner.clock;
        inner.used += kept.cost();
        inner.entries.insert(key, Entry { used, until, kept });
    }
}

impl Inner {
    fn remove(&mut self, key: &Key) {
        if let Some(entry) = self.entries.remove(key) {
            self.used -= entry.kept.cost();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(model: &str, revision: u64) -> Key {
        Key {
            identity: Sha256Digest::new([1; 32]),
            revision,
            root: 1,
            model: model.parse().unwrap(),
            version: None,
        }
    }

    fn bundle(size: usize) -> Assembled {
        Assembled {
            bytes: vec![0; size].into(),
            sha256: Sha256Digest::new([9; 32]),
        }
    }

    #[test]
    fn the_least_recently_asked_for_goes_first() {
        let cache = BundleCache::new(4 * (ENTRY + 1000));
        for model in ["a", "b", "c", "d"] {
            cache.put(key(model, 1), &bundle(1000), Keep::Long);
        }
        assert!(cache.get(&key("a", 1)).is_some());
        cache.put(key("e", 1), &bundle(1000), Keep::Long);
        assert!(cache.get(&key("a", 1)).is_some());
        assert!(cache.get(&key("b", 1)).is_none());
        assert!(cache.get(&key("e", 1)).is_some());
    }

    #[test]
    fn a_new_revision_replaces_the_old() {
        let cache = BundleCache::new(1 << 20);
        cache.put(key("a", 1), &bundle(10), Keep::Long);
        cache.put(key("a", 2), &bundle(10), Keep::Long);
        assert!(cache.get(&key("a", 1)).is_none());
        assert!(cache.get(&key("a", 2)).is_some());
    }

    #[test]
    fn of_a_large_bundle_the_digest_stays() {
        let cache = BundleCache::new(10_000);
        cache.put(key("a", 1), &bundle(2_501), Keep::Long);
        let kept = cache.get(&key("a", 1)).unwrap();
        assert_eq!((kept.sha256, kept.bytes), (Sha256Digest::new([9; 32]), None));
        cache.put(key("b", 1), &bundle(2_500), Keep::Long);
        assert!(cache.get(&key("b", 1)).unwrap().bytes.is_some());
    }
    #[test]
    fn a_bundle_that_may_get_better_is_kept_for_a_moment() {
        let cache = BundleCache::new(1 << 20);
        cache.put(key("a", 1), &bundle(10), Keep::Not);
        assert!(cache.get(&key("a", 1)).is_none());
        cache.put(key("a", 1), &bundle(10), Keep::Short);
        assert!(cache.get(&key("a", 1)).is_some());
        {
            let mut inner = cache.inner.lock().unwrap();
            inner.entries.get_mut(&key("a", 1)).unwrap().until = Some(Instant::now());
        }
        assert!(cache.get(&key("a", 1)).is_none());
        assert_eq!(cache.inner.lock().unwrap().used, 0);
    }
}
