//! What lies on this device already: the releases that are active or kept, leased so that they stay for as long as a pull reads them.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use assay_delta::ReadAt;
use assay_schema::chunk::{self, ChunkIndex};
use assay_schema::manifest::FileEntry;
use assay_schema::{ModelRef, ReleaseManifest, Sha256Digest};

use crate::folder::{self, Folder};
use crate::store::{Store, active_record, lease, manifest, names};

/// Files of held releases that are open at once.
const OPEN_FILES: usize = 64;

/// A release on this device. Its bytes were right when it was activated; whoever reads them now checks what comes of it.
struct Held {
    root: Sha256Digest,
    /// Of the model's own namespace: its deltas may build on it.
    own: bool,
    manifest: ReleaseManifest,
    release: Folder,
    files: Folder,
    _lease: File,
}

/// Where the bytes of a chunk lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::device) struct Place {
    release: usize,
    file: usize,
    offset: u64,
}

/// The releases that a pull may read from.
#[derive(Default)]
pub(in crate::device) struct Holdings {
    releases: Vec<Held>,
    open: Mutex<HashMap<(usize, usize), Arc<File>>>,
}

impl Holdings {
    /// The active and kept releases of `model`, and those of every other model that comes from the same registry: what is not fetched
    /// tells a registry what the device has, so it is to be what that registry has given it. `except` is the release that is wanted.
    ///
    /// What cannot be read, is damaged or goes away meanwhile does not count.
    pub(super) fn gather(store: &Store, model: &ModelRef, registry: &str, except: Sha256Digest) -> Self {
        let mut models = vec![model.clone()];
        for trusted in store.list().unwrap_or_default() {
            if trusted.pin.registry != registry {
                continue;
            }
            let namespace = trusted.pin.namespace;
            models.extend(trusted.models.into_iter().map(|kept| ModelRef {
                namespace: namespace.clone(),
                model: kept.model,
            }));
        }
        let others = models.split_off(1);
        models.extend(others.into_iter().filter(|other| other != model));
        let mut releases = Vec::new();
        for other in &models {
            let Ok(Some(folder)) = store.find_model(other) else {
                continue;
            };
            let Ok(Some(record)) = active_record(&folder) else {
                continue;
            };
            for record in record.all().filter(|record| record.manifest != except) {
                let Ok(Some((release, lease))) = lease(&folder, record) else {
                    continue;
                };
                let (Ok((manifest, _)), Ok(files)) = (manifest(&release, record), release.sub(names::FILES))
                else {
                    continue;
                };
                releases.push(Held {
                    root: record.manifest,
                    own: other.namespace == model.namespace,
                    manifest,
                    release,
                    files,
                    _lease: lease,
                });
            }
        }
        Self {
            releases,
            open: Mutex::default(),
        }
    }

    /// Releases that a delta may build on, the model's own first.
    pub(super) fn roots(&self) -> impl Iterator<Item = Sha256Digest> + '_ {
        self.releases.iter().filter(|held| held.own).map(|held| held.root)
    }

    /// A chunk index that one of them has, with the right digest.
    pub(super) fn index(&self, sha256: Sha256Digest, size: u64) -> Option<Vec<u8>> {
        let found = self.releases.iter().find_map(|held| held.index(sha256, size));
        found.filter(|bytes| crate::sha256(bytes) == sha256)
    }

    /// Where those of the wanted chunks lie that are here.
    pub(super) fn places(&self, wanted: &HashSet<Sha256Digest>) -> HashMap<Sha256Digest, Place> {
        let mut places = HashMap::new();
        for (release, held) in self.releases.iter().enumerate() {
            for (file, entry) in held.manifest.files.iter().enumerate() {
                let digests = held.chunks(entry).unwrap_or_default();
                for (at, sha256) in (0..).zip(digests) {
                    if let Some((offset, _)) = chunk::range(entry.size, at)
                        && wanted.contains(&sha256)
                    {
                        places.entry(sha256).or_insert(Place {
                            release,
                            file,
                            offset,
                        });
                    }
                }
            }
        }
        places
    }

    /// Fills `into` with what lies there now.
    pub(in crate::device) fn read(&self, place: Place, into: &mut [u8]) -> io::Result<()> {
        let Place {
            release,
            file,
            offset,
        } = place;
        let file = self.file(release, file)?;
        match folder::read_at(&file, into, offset)? {
            n if n == into.len() => Ok(()),
            _ => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }

    fn file(&self, release: usize, file: usize) -> io::Result<Arc<File>> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(file) = open.get(&(release, file)) {
            return Ok(Arc::clone(file));
        }
        let held = self.releases.get(release);
        let found = held.and_then(|held| {
            let entry = held.manifest.files.get(file)?;
            Some(held.files.read_at_path(&entry.path).map_err(io::Error::other))
        });
        let opened = Arc::new(found.transpose()?.flatten().ok_or(io::ErrorKind::NotFound)?);
        if open.len() >= OPEN_FILES {
            open.clear();
        }
        open.insert((release, file), Arc::clone(&opened));
        Ok(opened)
    }

    /// The files of a release as a decoder reads them, in the order of sorted paths.
    pub(super) fn bases(self: &Arc<Self>, root: Sha256Digest) -> Vec<BaseFile> {
        let found = self.releases.iter().position(|held| held.root == root);
        let files = found.and_then(|release| Some((release, self.releases.get(release)?)));
        let Some((release, held)) = files else {
            return Vec::new();
        };
        let files = held.manifest.files.iter().enumerate();
        files
            .map(|(file, entry)| BaseFile {
                held: Arc::clone(self),
                release,
                file,
                len: entry.size,
            })
            .collect()
    }
}

impl Held {
    fn index(&self, sha256: Sha256Digest, size: u64) -> Option<Vec<u8>> {
        crate::device::pull::read_index(&self.release, sha256, size).ok()?
    }

    /// A file's chunk digests.
    fn chunks(&self, entry: &FileEntry) -> Option<Vec<Sha256Digest>> {
        let Some(sha256) = entry.chunks else {
            return Some(vec![entry.sha256]);
        };
        let bytes = self.index(sha256, chunk::encoded_len(entry.size))?;
        let index = ChunkIndex::decode(&bytes, entry.size).ok()?;
        (crate::sha256(&bytes) == sha256).then(|| index.digests().to_vec())
    }
}

/// A file of a held release.
pub(in crate::device) struct BaseFile {
    held: Arc<Holdings>,
    release: usize,
    file: usize,
    len: u64,
}

impl ReadAt for BaseFile {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        let place = Place {
            release: self.release,
            file: self.file,
            offset,
        };
        self.held.read(place, into)
    }
}
