//! Deltas between files on this machine: made, looked at, applied. What a registry and its devices do with deltas is the same codec
//! behind the release's own digests; here a [`Listing`] stands for them.
//!
//! | module | holds |
//! |---|---|
//! | `tree` | a file or a folder with its digests |
//! | `make` | a delta, encoded on all cores |
//! | `apply` | the target, checked chunk by chunk before it is written, in its place in one step |
//! | `show` | where a delta's bytes go, tensor by tensor |

mod apply;
mod make;
mod show;
mod tree;

use std::io;
use std::path::{Path, PathBuf};

use assay_delta::matching::MatchError;
use assay_delta::{BadChunk, BadIndex, EncodeError};
use assay_schema::Sha256Digest;

pub use apply::apply;
pub use make::{Made, make};
pub use show::{Row, Shown, show};
pub use tree::{Listed, Listing, Tree};

use crate::folder::FileError;
use crate::scan::ScanError;

/// Chunks that each thread has under way at a time: results are written in order, and memory is bounded by these.
const AHEAD: usize = 8;

/// Why a delta is not made, shown or applied.
#[derive(Debug, thiserror::Error)]
pub enum DeltaError {
    /// A file or folder cannot be used.
    #[error(transparent)]
    File(#[from] FileError),
    /// A folder holds what no release can.
    #[error(transparent)]
    Scan(#[from] ScanError),
    /// What is to be made is there already.
    #[error("{}: expected a new name, found {found}; remove it or choose another name", path.display())]
    Exists {
        /// Where.
        path: PathBuf,
        /// What is there.
        found: &'static str,
    },
    /// A file cannot be read or written.
    #[error("{doing} {}: {source}", path.display())]
    Io {
        /// "read", "write" ...
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// A listing that is damaged, or another delta's.
    #[error("{}: expected the listing of what the delta makes, found {found}; use the one that was made with it", path.display())]
    Listing {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        found: String,
    },
    /// Base and target cannot be matched.
    #[error(transparent)]
    Match(#[from] MatchError),
    /// No delta can be made.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// The delta is none, or another one's.
    #[error(transparent)]
    Index(#[from] BadIndex),
    /// A chunk did not come out as the listing says: the base is another one, or was changed, or the delta lies.
    #[error("{0}. Nothing was put in place; check the base, or copy the file as it is")]
    Chunk(#[from] BadChunk),
    /// All chunks are right and the whole is not: the listing contradicts itself.
    #[error(
        "expected files with the identity {expected}, found {found}; nothing was put in place. Use the listing that was made with the delta"
    )]
    Identity {
        /// The delta's target.
        expected: Sha256Digest,
        /// What came out.
        found: Sha256Digest,
    },
}

impl DeltaError {
    fn io(doing: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io {
            doing,
            path: path.to_owned(),
            source,
        }
    }
}

type Result<T> = std::result::Result<T, DeltaError>;

/// The name under which something is made before it is renamed to `path`: beside it, so that the renaming is one step.
fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(suffix);
    path.with_file_name(name)
}

/// Refuses a path where something is.
fn vacant(path: &Path) -> Result<()> {
    match std::fs::symlink_metadata(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(DeltaError::io("look at", path, e)),
        Ok(found) => Err(DeltaError::Exists {
            path: path.to_owned(),
            found: if found.is_dir() { "a folder" } else { "a file" },
        }),
    }
}

/// Renames within a folder and syncs it.
fn put_in_place(from: &Path, to: &Path) -> Result<()> {
    let fail = |e| DeltaError::io("rename", from, e);
    std::fs::rename(from, to).map_err(fail)?;
    let folder = match to.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    std::fs::File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(fail)
}
