//! Check bundles that were assembled before: an unchanged device costs one read of the namespace's revision.
//!
//! Both stores answer for nothing but their keys, so an entry is never wrong; a new revision has new keys, and what no longer is
//! asked for goes when the space is needed. Only while witnesses are still to cosign can the same state get a better proof: until
//! then it is kept for a moment. A bundle has many forms, one for each state that a device may come from, but one
//! [`Head`], which is all that an unchanged device needs.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use assay_schema::bundle::Held;
use assay_schema::{ModelName, Sha256Digest, VersionName};
use bytes::Bytes;
use tokio::sync::{Semaphore, SemaphorePermit};

/// What the present state of a model depends on.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Key {
    /// The namespace's identity.
    pub identity: Sha256Digest,
    /// The namespace's revision.
    pub revision: u64,
    /// The model.
    pub model: ModelName,
    /// The version asked for.
    pub version: Option<VersionName>,
    /// The block whose listing of another namespace's releases is asked for, instead of a release.
    pub block: Option<u64>,
}

/// What an answer depends on beside it: where the device stands.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Form {
    /// The state.
    pub key: Key,
    /// The device's root version, at most the current one.
    pub root: u64,
    /// The size of its last checkpoint.
    pub log: Option<u64>,
    /// What it has of an earlier bundle.
    pub held: Held,
}

/// What identifies a state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// SHA-256 of the bundle without roots and consistency proof: its entity tag.
    pub sha256: Sha256Digest,
    /// The version of the newest root.
    pub newest_root: u64,
}

/// An answer's bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Body {
    /// JSON.
    pub plain: Bytes,
    /// The same in gzip, where that is shorter.
    pub gzip: Option<Bytes>,
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

impl Keep {
    /// Until when; the outer `None` says not at all.
    fn until(self) -> Option<Option<Instant>> {
        match self {
            Self::Long => Some(None),
            Self::Short => Some(Some(Instant::now() + SHORT)),
            Self::Not => None,
        }
    }
}

/// Two bounded stores, least recently asked for first out.
#[derive(Debug)]
pub struct BundleCache {
    heads: Mutex<Recent<Key, Head>>,
    bodies: Mutex<Recent<Form, Body>>,
    largest: usize,
    assembling: Semaphore,
}

/// Bytes that an entry takes beside its value.
const ENTRY: usize = 512;
/// Bundles that are assembled at the same time; each may need tens of megabytes.
const ASSEMBLING: usize = 4;

impl BundleCache {
    /// A cache of at most `limit` bytes, heads and bodies each.
    pub fn new(limit: usize) -> Self {
        Self {
            heads: Mutex::new(Recent::new(limit)),
            bodies: Mutex::new(Recent::new(limit)),
            largest: limit / 4,
            assembling: Semaphore::new(ASSEMBLING),
        }
    }

    /// Waits for one's turn to assemble a bundle.
    pub async fn permit(&self) -> Option<SemaphorePermit<'_>> {
        // The semaphore is never closed.
        self.assembling.acquire().await.ok()
    }

    /// What identifies this state, where it was assembled before.
    pub fn head(&self, key: &Key) -> Option<Head> {
        lock(&self.heads).get(key)
    }

    /// Keeps what identifies a state.
    pub fn put_head(&self, key: Key, head: Head, keep: Keep) {
        let Some(until) = keep.until() else { return };
        let mut heads = lock(&self.heads);
        // Older revisions are never asked for again.
        heads.retain(|k| k.identity != key.identity || k.revision >= key.revision);
        heads.put(key, head, ENTRY, until);
    }

    /// An answer that was made before.
    pub fn body(&self, form: &Form) -> Option<Body> {
        lock(&self.bodies).get(form)
    }

    /// Keeps an answer, unless it is larger than a quarter of the cache.
    pub fn put_body(&self, form: Form, body: &Body, keep: Keep) {
        let Some(until) = keep.until() else { return };
        let size = body.plain.len() + body.gzip.as_ref().map_or(0, Bytes::len);
        if size > self.largest {
            return;
        }
        let mut bodies = lock(&self.bodies);
        bodies.retain(|f| f.key.identity != form.key.identity || f.key.revision >= form.key.revision);
        bodies.put(form, body.clone(), ENTRY + size, until);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A bounded store, least recently asked for first out.
#[derive(Debug)]
struct Recent<K, V> {
    limit: usize,
    used: usize,
    clock: u64,
    entries: HashMap<K, Entry<V>>,
}

#[derive(Debug)]
struct Entry<V> {
    asked: u64,
    cost: usize,
    until: Option<Instant>,
    value: V,
}

impl<K: Hash + Eq + Clone, V: Clone> Recent<K, V> {
    fn new(limit: usize) -> Self {
        Self {
            limit,
            used: 0,
            clock: 0,
            entries: HashMap::new(),
        }
    }

    fn get(&mut self, key: &K) -> Option<V> {
        self.clock += 1;
        let entry = self.entries.get_mut(key)?;
        if entry.until.is_some_and(|until| until <= Instant::now()) {
            self.remove(key);
            return None;
        }
        entry.asked = self.clock;
        Some(entry.value.clone())
    }

    fn retain(&mut self, keep: impl Fn(&K) -> bool) {
        self.entries.retain(|key, _| keep(key));
        self.used = self.entries.values().map(|entry| entry.cost).sum();
    }

    fn put(&mut self, key: K, value: V, cost: usize, until: Option<Instant>) {
        self.remove(&key);
        while self.used + cost > self.limit {
            let oldest = self.entries.iter().min_by_key(|(_, entry)| entry.asked);
            match oldest.map(|(key, _)| key.clone()) {
                Some(oldest) => self.remove(&oldest),
                None => return,
            }
        }
        self.clock += 1;
        self.used += cost;
        let asked = self.clock;
        self.entries.insert(
            key,
            Entry {
                asked,
                cost,
                until,
                value,
            },
        );
    }

    fn remove(&mut self, key: &K) {
        if let Some(entry) = self.entries.remove(key) {
            self.used -= entry.cost;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(model: &str, revision: u64) -> Form {
        Form {
            key: Key {
                identity: Sha256Digest::new([1; 32]),
                revision,
                model: model.parse().unwrap(),
                version: None,
                block: None,
            },
            root: 1,
            log: None,
            held: Held::default(),
        }
    }

    fn body(size: usize) -> Body {
        Body {
            plain: vec![0; size].into(),
            gzip: None,
        }
    }

    #[test]
    fn the_least_recently_asked_for_goes_first() {
        let cache = BundleCache::new(4 * (ENTRY + 1000));
        for model in ["a", "b", "c", "d"] {
            cache.put_body(form(model, 1), &body(1000), Keep::Long);
        }
        assert!(cache.body(&form("a", 1)).is_some());
        cache.put_body(form("e", 1), &body(1000), Keep::Long);
        assert!(cache.body(&form("a", 1)).is_some());
        assert!(cache.body(&form("b", 1)).is_none());
        assert!(cache.body(&form("e", 1)).is_some());
    }

    #[test]
    fn a_new_revision_replaces_the_old() {
        let cache = BundleCache::new(1 << 20);
        let head = Head {
            sha256: Sha256Digest::new([9; 32]),
            newest_root: 1,
        };
        for revision in [1, 2] {
            cache.put_body(form("a", revision), &body(10), Keep::Long);
            cache.put_head(form("a", revision).key, head, Keep::Long);
        }
        assert!(cache.body(&form("a", 1)).is_none() && cache.head(&form("a", 1).key).is_none());
        assert!(cache.body(&form("a", 2)).is_some() && cache.head(&form("a", 2).key).is_some());
    }

    #[test]
    fn every_state_that_a_device_comes_from_has_a_form_of_its_own() {
        let cache = BundleCache::new(1 << 20);
        cache.put_body(form("a", 1), &body(10), Keep::Long);
        let others = [
            Form {
                root: 2,
                ..form("a", 1)
            },
            Form {
                log: Some(1),
                ..form("a", 1)
            },
            Form {
                held: "snapshot:1".parse().unwrap(),
                ..form("a", 1)
            },
        ];
        assert!(others.iter().all(|other| cache.body(other).is_none()));
    }

    #[test]
    fn a_large_bundle_is_not_kept() {
        let cache = BundleCache::new(10_000);
        cache.put_body(form("a", 1), &body(2_501), Keep::Long);
        assert!(cache.body(&form("a", 1)).is_none());
        cache.put_body(form("b", 1), &body(1_500), Keep::Long);
        assert!(cache.body(&form("b", 1)).is_some());
    }

    #[test]
    fn a_bundle_that_may_get_better_is_kept_for_a_moment() {
        let cache = BundleCache::new(1 << 20);
        cache.put_body(form("a", 1), &body(10), Keep::Not);
        assert!(cache.body(&form("a", 1)).is_none());
        cache.put_body(form("a", 1), &body(10), Keep::Short);
        assert!(cache.body(&form("a", 1)).is_some());
        lock(&cache.bodies).entries.get_mut(&form("a", 1)).unwrap().until = Some(Instant::now());
        assert!(cache.body(&form("a", 1)).is_none());
        assert_eq!(lock(&cache.bodies).used, 0);
    }
}
