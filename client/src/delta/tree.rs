//! A file or a folder with its digests, and the listing that stands for a release's manifest.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use assay_delta::ReadAt;
use assay_delta::matching::ModelFile;
use assay_delta::spans::{FileSpans, read_release};
use assay_schema::Sha256Digest;
use assay_schema::chunk;
use serde::{Deserialize, Serialize};

use super::{DeltaError, Result};
use crate::folder::{self, Folder};
use crate::hash::{self, HashedFile};
use crate::scan::{FoundFile, scan_folder};

/// The largest listing that is read: a 20 GB model has 1.3 MB.
const MAX_LISTING: u64 = 256 << 20;

/// A file of a listing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listed {
    /// Its path in the folder; empty for a single file.
    pub path: String,
    /// Bytes.
    pub size: u64,
    /// SHA-256 of the whole.
    pub sha256: Sha256Digest,
    /// SHA-256 of each 1 MiB piece; none where the file is no larger than one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub chunks: Vec<Sha256Digest>,
}

impl Listed {
    /// The digest of a chunk.
    pub fn chunk(&self, chunk: u64) -> Option<Sha256Digest> {
        if chunk::count(self.size) <= 1 {
            return (chunk == 0).then_some(self.sha256);
        }
        self.chunks.get(usize::try_from(chunk).ok()?).copied()
    }
}

/// What a delta makes: the digests that its chunks are compared with, where no release manifest gives them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listing {
    /// The document's version: 1.
    pub v: u32,
    /// The files, by path.
    pub files: Vec<Listed>,
}

impl Listing {
    /// Their identity (`schema/delta.md`, "Object").
    pub fn identity(&self) -> Sha256Digest {
        let line = |file: &Listed| format!("{} {} {}\n", file.sha256, file.size, file.path);
        let lines: String = self.files.iter().map(line).collect();
        crate::sha256(lines.as_bytes())
    }

    /// Reads a listing, which must be the one of a delta's target.
    ///
    /// # Errors
    /// It cannot be read, or is another delta's.
    pub fn read(path: &Path, target: Sha256Digest) -> Result<Self> {
        let bad = |found: String| DeltaError::Listing {
            path: path.to_owned(),
            found,
        };
        let length = std::fs::metadata(path).map_err(|e| DeltaError::io("read", path, e))?;
        if length.len() > MAX_LISTING {
            return Err(bad(format!("{} bytes, more than {MAX_LISTING}", length.len())));
        }
        let bytes = std::fs::read(path).map_err(|e| DeltaError::io("read", path, e))?;
        let listing: Self = serde_json::from_slice(&bytes).map_err(|e| bad(e.to_string()))?;
        let chunked = |file: &Listed| match chunk::count(file.size) {
            0 | 1 => file.chunks.is_empty(),
            chunks => file.chunks.len() as u64 == chunks,
        };
        if let Some(file) = listing.files.iter().find(|file| !chunked(file)) {
            return Err(bad(format!("{:?} with {} chunks", file.path, file.chunks.len())));
        }
        if !listing.files.is_sorted_by(|a, b| a.path < b.path) {
            return Err(bad("files that are not in order".to_owned()));
        }
        let found = listing.identity();
        if listing.v != 1 || found != target {
            return Err(bad(format!(
                "version {} of files with identity {found}",
                listing.v
            )));
        }
        Ok(listing)
    }
}

/// A file that is read wherever the codec likes.
#[derive(Debug)]
pub(super) struct DiskFile {
    pub(super) file: File,
    len: u64,
}

impl DiskFile {
    pub(super) fn new(file: File, len: u64) -> Self {
        Self { file, len }
    }
}

impl ReadAt for DiskFile {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        if folder::read_at(&self.file, into, offset)? == into.len() {
            Ok(())
        } else {
            Err(io::ErrorKind::UnexpectedEof.into())
        }
    }
}

/// A file, or a folder with all that is below it, hashed.
#[derive(Debug)]
pub struct Tree {
    listing: Listing,
    bytes: Vec<DiskFile>,
}

impl Tree {
    /// Reads and hashes a file or folder. `progress` is told of each piece's bytes.
    ///
    /// # Errors
    /// It cannot be read, changes meanwhile, or holds what no release can.
    pub fn open(path: &Path, progress: &(dyn Fn(u64) + Sync)) -> Result<Self> {
        Self::of_release(path, &[], progress)
    }

    /// As [`Tree::open`], of what is published of a folder: without the paths in `ignore`.
    ///
    /// # Errors
    /// As [`Tree::open`].
    pub fn of_release(path: &Path, ignore: &[String], progress: &(dyn Fn(u64) + Sync)) -> Result<Self> {
        let kind = std::fs::metadata(path).map_err(|e| DeltaError::io("open", path, e))?;
        let (root, found, single) = if kind.is_dir() {
            let root = Folder::open(path)?;
            let found = scan_folder(&root, ignore)?;
            (root, found, false)
        } else {
            let (root, found) = single(path)?;
            (root, vec![found], true)
        };
        let hashed = hash::hash_files(&root, &found, true, hash::threads(), progress)?;
        let mut bytes = Vec::with_capacity(hashed.len());
        for file in &hashed {
            let opened = root.read_at_path(&file.path)?;
            let gone = || DeltaError::io("open", path, io::ErrorKind::NotFound.into());
            bytes.push(DiskFile::new(opened.ok_or_else(gone)?, file.size));
        }
        let files = hashed.into_iter().map(|file| listed(file, single)).collect();
        let listing = Listing { v: 1, files };
        Ok(Self { listing, bytes })
    }

    /// The files with their digests.
    pub fn listing(&self) -> &Listing {
        &self.listing
    }

    /// Bytes of all files.
    pub fn size(&self) -> u64 {
        self.listing.files.iter().map(|file| file.size).sum()
    }

    pub(super) fn bytes(&self) -> &[DiskFile] {
        &self.bytes
    }

    /// Where the tensors lie, file by file.
    pub fn spans(&self) -> Vec<FileSpans> {
        let paths = self.listing.files.iter().map(|file| file.path.as_str());
        let files: Vec<(&str, &dyn ReadAt)> = paths
            .zip(&self.bytes)
            .map(|(path, bytes)| (path, bytes as &dyn ReadAt))
            .collect();
        read_release(&files)
    }

    pub(super) fn models<'a>(&'a self, spans: &'a [FileSpans]) -> Vec<ModelFile<'a>> {
        let files = self.listing.files.iter().zip(&self.bytes).zip(spans);
        files
            .map(|((file, bytes), found)| ModelFile {
                path: &file.path,
                bytes,
                spans: &found.spans,
            })
            .collect()
    }
}

fn listed(file: HashedFile, single: bool) -> Listed {
    let chunks = file.index.map(|index| index.digests().to_vec());
    Listed {
        path: if single {
            String::new()
        } else {
            file.path.to_string()
        },
        size: file.size,
        sha256: file.sha256,
        chunks: chunks.unwrap_or_default(),
    }
}

fn single(path: &Path) -> Result<(Folder, FoundFile)> {
    let path: PathBuf = std::path::absolute(path).map_err(|e| DeltaError::io("open", path, e))?;
    let unnamed = || DeltaError::io("open", &path, io::ErrorKind::InvalidFilename.into());
    let parent = path.parent().ok_or_else(unnamed)?;
    let name = path
        .file_name()
        .and_then(|name| name.to_str())
        .ok_or_else(unnamed)?;
    let root = Folder::open(parent)?;
    let mark = folder::mark(&root.read_file(name)?, &path)?;
    let path = name.parse().map_err(|source| crate::scan::ScanError::Name {
        folder: parent.to_owned(),
        source,
    })?;
    Ok((root, FoundFile { path, mark }))
}
