//! Verifying less than every byte, where the caller says so: some files, digests from elsewhere, files that have not changed.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use assay_schema::Sha256Digest;
use assay_schema::limits::MAX_FILES;
use assay_verifier::{PresentFile, Scope};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{DeviceError, Result};
use crate::folder::{Folder, Mark, io_error};
use crate::scan::{FoundFile, scan_folder};

/// The most bytes of a record of marks: a line of 1.5 KiB for each file of the largest release.
const MAX_RECORD: u64 = MAX_FILES as u64 * 1536;
/// Seconds within which two changes may leave the same times behind, on the coarsest file systems in use.
const COARSEST: i64 = 2;

/// What a verification covers, and on whose word. The default reads every byte of every file.
///
/// Whatever was not read here just now stands in the verdict: `partial`, `not_recomputed`, `unchanged`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verification {
    /// Only these files, by their paths in the model; none means all of them.
    pub only: BTreeSet<String>,
    /// SHA-256 of whole files that somebody else computed: these files are not read.
    pub digests: BTreeMap<String, Sha256Digest>,
    /// A record of what was read before. A file whose size, times, inode and device are what they were then is not read again; the
    /// record is brought up to date when the verification has ended well. Whoever can write it, or set a file's times, can pass a
    /// changed file off as verified.
    pub trust_unchanged: Option<PathBuf>,
}

/// A record of files as they were read.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    v: u32,
    files: BTreeMap<String, Seen>,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Seen {
    mark: Mark,
    sha256: Sha256Digest,
}

/// A verification that has begun.
pub(super) struct Begun {
    pub(super) scope: Scope,
    record: Option<(PathBuf, Record)>,
    found: Vec<FoundFile>,
    began: i64,
}

impl Verification {
    /// Whether everything is read.
    pub fn is_whole(&self) -> bool {
        *self == Self::default()
    }

    /// What need not be read of the files that were found.
    pub(super) fn begin(&self, found: Vec<FoundFile>, now: Timestamp) -> Result<Begun> {
        let record = match &self.trust_unchanged {
            Some(path) => Some((path.clone(), read(path)?)),
            None => None,
        };
        let seen = record.iter().flat_map(|(_, record)| &record.files);
        let unchanged = seen
            .filter(|(path, seen)| mark_of(&found, path) == Some(seen.mark))
            .map(|(path, seen)| (path.clone(), seen.sha256))
            .collect();
        Ok(Begun {
            scope: Scope {
                only: (!self.only.is_empty()).then(|| self.only.clone()),
                given: self.digests.clone(),
                unchanged,
            },
            record,
            found,
            began: now.as_second(),
        })
    }
}

impl Begun {
    /// Every file below the folder, for the verifier to compare with a manifest.
    pub(super) fn present(&self) -> Vec<PresentFile> {
        self.found
            .iter()
            .map(|f| PresentFile {
                size: f.size(),
                path: f.path.as_str().to_owned(),
            })
            .collect()
    }

    /// Keeps what the verification found right: `right` are the digests of the files, by path.
    pub(super) fn keep<'a>(
        self,
        root: &Folder,
        ignore: &[String],
        right: impl IntoIterator<Item = (&'a str, Sha256Digest)>,
    ) -> Result<()> {
        let Some((path, mut record)) = self.record else {
            return Ok(());
        };
        let after = scan_folder(root, ignore)?;
        for (name, sha256) in right {
            // What somebody else computed was not read here.
            if !self.scope.covers(name) || self.scope.given.contains_key(name) {
                continue;
            }
            let steady = mark_of(&self.found, name).filter(|mark| {
                mark_of(&after, name) == Some(*mark) && mark.is_older_than(self.began - COARSEST)
            });
            match steady {
                Some(mark) => drop(record.files.insert(name.to_owned(), Seen { mark, sha256 })),
                None => drop(record.files.remove(name)),
            }
        }
        record.v = 1;
        let bytes = serde_json::to_vec(&record).map_err(|e| bad(&path, &e))?;
        let (folder, name) = split(&path)?;
        Ok(folder.replace(&name, &bytes, 0o600)?)
    }
}

fn mark_of(found: &[FoundFile], path: &str) -> Option<Mark> {
    let at = found.binary_search_by(|f| f.path.as_str().cmp(path)).ok()?;
    found.get(at).map(|f| f.mark)
}

fn bad(path: &Path, reason: &dyn std::fmt::Display) -> DeviceError {
    DeviceError::Marks {
        path: path.to_owned(),
        reason: reason.to_string(),
    }
}

fn split(path: &Path) -> Result<(Folder, String)> {
    let name = path.file_name().and_then(|name| name.to_str());
    let name = name.ok_or_else(|| bad(path, &"expected the name of a file"))?;
    let parent = path.parent().filter(|p| !p.as_os_str().is_empty());
    let parent = parent.unwrap_or(Path::new("."));
    if !parent.is_dir() {
        return Err(io_error("open", parent, std::io::ErrorKind::NotFound.into()).into());
    }
    Ok((Folder::open(parent)?, name.to_owned()))
}

fn read(path: &Path) -> Result<Record> {
    let (folder, name) = split(path)?;
    let Some(bytes) = folder.read(&name, MAX_RECORD)? else {
        return Ok(Record::default());
    };
    let record: Record = serde_json::from_slice(&bytes).map_err(|e| bad(path, &e))?;
    match record.v {
        1 => Ok(record),
        v => Err(bad(path, &format!("expected version 1, found {v}"))),
    }
}
