//! The staging folder of one pull.

use std::collections::VecDeque;
use std::fs::File;
use std::os::unix::fs::FileExt;

use assay_schema::{FilePath, ReleaseManifest, Sha256Digest};

use super::error::Result;
use super::{ActivateStep, Store, names};
use crate::folder::{Folder, io_error};

/// Files kept open for writing: pieces of one file mostly come one after the other.
const OPEN_FILES: usize = 8;

pub(crate) struct Staging {
    store: Store,
    folder: Folder,
    files: Folder,
    indexes: Folder,
    digest: Sha256Digest,
    open: VecDeque<(usize, File)>,
}

impl Staging {
    pub(super) fn open(store: &Store, model: &Folder, digest: Sha256Digest) -> Result<Self> {
        let folder = model.ensure_sub(names::STAGING)?.ensure_sub(digest.to_hex())?;
        Ok(Self {
            store: store.clone(),
            files: folder.ensure_sub(names::FILES)?,
            indexes: folder.ensure_sub(names::INDEXES)?,
            folder,
            digest,
            open: VecDeque::new(),
        })
    }

    pub(crate) fn folder(&self) -> &Folder {
        &self.folder
    }

    pub(crate) fn files(&self) -> &Folder {
        &self.files
    }

    pub(crate) fn digest(&self) -> Sha256Digest {
        self.digest
    }

    /// Bytes of each file that an earlier run left; 0 where it left none. What is longer than it should be is cut, what the
    /// manifest does not list is removed.
    pub(crate) fn prepare(&self, manifest: &ReleaseManifest) -> Result<Vec<u64>> {
        remove_strangers(&self.files, "", manifest)?;
        let mut lengths = Vec::with_capacity(manifest.files.len());
        for entry in &manifest.files {
            let Some(file) = self.files.read_at_path(&entry.path)? else {
                lengths.push(0);
                continue;
            };
            let fail = |e| io_error("look at", &self.files.path().join(entry.path.as_str()), e);
            let found = file.metadata().map_err(fail)?.len();
            if found > entry.size {
                self.files
                    .write_at_path(&entry.path)?
                    .set_len(entry.size)
                    .map_err(fail)?;
            }
            lengths.push(found.min(entry.size));
        }
        Ok(lengths)
    }

    /// A1. Writes a checked piece of file number `index`.
    pub(crate) fn write(&mut self, index: usize, path: &FilePath, offset: u64, bytes: &[u8]) -> Result<()> {
        if let Some(at) = self.open.iter().position(|(open, _)| *open == index) {
            // The most recently used stays longest.
            if let Some(entry) = self.open.remove(at) {
                self.open.push_front(entry);
            }
        } else {
            self.open.truncate(OPEN_FILES - 1);
            self.open.push_front((index, self.files.write_at_path(path)?));
        }
        if let Some((_, file)) = self.open.front() {
            file.write_all_at(bytes, offset)
                .map_err(|e| io_error("write", &self.files.path().join(path.as_str()), e))?;
        }
        self.store.step(ActivateStep::Chunk)
    }

    /// A1, in bulk: takes over the files of a damaged release. The pull checks every chunk of them.
    pub(crate) fn salvage(&self, from: &Folder, manifest: &ReleaseManifest) -> Result<()> {
        for entry in &manifest.files {
            // A link or another stranger in a file's place is not copied; the file is fetched.
            let Ok(Some(mut source)) = from.read_at_path(&entry.path) else {
                continue;
            };
            let mut copy = self.files.write_at_path(&entry.path)?;
            std::io::copy(&mut source, &mut copy)
                .map_err(|e| io_error("copy", &from.path().join(entry.path.as_str()), e))?;
            self.store.step(ActivateStep::Chunk)?;
        }
        Ok(())
    }

    /// A1. Makes a file of no bytes, for which there is no piece to write.
    pub(crate) fn touch(&self, path: &FilePath) -> Result<()> {
        self.files.write_at_path(path)?;
        self.store.step(ActivateStep::Chunk)
    }

    /// A1. Writes a checked chunk index.
    pub(crate) fn write_index(&self, sha256: Sha256Digest, bytes: &[u8]) -> Result<()> {
        self.indexes.replace(&sha256.to_hex(), bytes, 0o644)?;
        self.store.step(ActivateStep::Chunk)
    }
}

/// Removes from a staging folder what belongs to no file of the release: it would become part of it.
fn remove_strangers(folder: &Folder, prefix: &str, manifest: &ReleaseManifest) -> Result<()> {
    use crate::folder::Kind;
    for (name, kind) in folder.entries()? {
        let path = name.to_str().map(|name| format!("{prefix}{name}"));
        match (path, kind) {
            (Some(path), Kind::Folder) => {
                let inside = format!("{path}/");
                if manifest
                    .files
                    .iter()
                    .any(|f| f.path.as_str().starts_with(&inside))
                {
                    remove_strangers(&folder.sub(&name)?, &inside, manifest)?;
                } else {
                    folder.remove_tree(&name)?;
                }
            }
            (Some(path), Kind::File) if is_listed(manifest, &path) => {}
            _ => folder.remove_tree(&name)?,
        }
    }
    Ok(())
}

fn is_listed(manifest: &ReleaseManifest, path: &str) -> bool {
    manifest
        .files
        .binary_search_by(|f| f.path.as_str().cmp(path))
        .is_ok()
}
