//! What is in a folder that is to become a release, or that is to be compared with one.

use std::path::{Path, PathBuf};

use assay_schema::FilePath;
use assay_schema::limits::{MAX_FILE_SIZE, MAX_FILES};
use assay_schema::path::{self, BadPath, PathCollision};

use crate::folder::{self, FileError, Folder, Kind, Mark};

/// Folders nested deeper than this are refused: their paths would be too long anyway.
const MAX_DEPTH: usize = 64;

/// A folder that cannot be a release.
#[derive(Debug, thiserror::Error)]
pub enum ScanError {
    /// A file or folder cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// A name that not every system reads alike.
    #[error("{}: {source}. Rename it", folder.display())]
    Name {
        /// The folder that was scanned.
        folder: PathBuf,
        /// What is wrong.
        source: BadPath,
    },
    /// A name that is not Unicode.
    #[error("{}: expected a name in UTF-8. Rename it", path.display())]
    NotUnicode {
        /// Where.
        path: PathBuf,
    },
    /// Two names that some system takes for one.
    #[error("{}: {source}. Rename one of them", folder.display())]
    Collision {
        /// The folder that was scanned.
        folder: PathBuf,
        /// The names.
        source: PathCollision,
    },
    /// A symbolic link, device, pipe or socket.
    #[error("{}: expected files and folders only, found {found}. Replace it by the file that it stands for", path.display())]
    NotAFile {
        /// Where.
        path: PathBuf,
        /// What is there.
        found: &'static str,
    },
    /// Somebody wrote to the file while it was read.
    #[error("{}: the file changed while it was read. Try again when nothing writes to the folder", path.display())]
    Changed {
        /// The file.
        path: PathBuf,
    },
    /// Larger than a file of a release may be.
    #[error("{}: {reason}", path.display())]
    Size {
        /// The file.
        path: PathBuf,
        /// The rule.
        reason: String,
    },
    /// No file, or more than a release may have.
    #[error("{}: expected 1 to {MAX_FILES} files, found {found}", folder.display())]
    Count {
        /// The folder that was scanned.
        folder: PathBuf,
        /// How many.
        found: String,
    },
}

/// A file that was found, and how it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundFile {
    /// Its path inside the folder.
    pub path: FilePath,
    pub(crate) mark: Mark,
}

impl FoundFile {
    /// Bytes.
    pub fn size(&self) -> u64 {
        self.mark.size
    }
}

/// Lists all files below a folder, sorted by path. Entries whose path is in `ignore` are left out with all below them.
///
/// # Errors
/// A name, link, special file or collision that a release cannot have; or more files than it may have.
pub fn scan(folder: &Path, ignore: &[String]) -> Result<Vec<FoundFile>, ScanError> {
    scan_folder(&Folder::open(folder)?, ignore)
}

pub(crate) fn scan_folder(root: &Folder, ignore: &[String]) -> Result<Vec<FoundFile>, ScanError> {
    let mut files = Vec::new();
    walk(root, root, "", ignore, 0, &mut files)?;
    if files.is_empty() {
        return Err(ScanError::Count {
            folder: root.path().to_owned(),
            found: "none".to_owned(),
        });
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    path::check_together(files.iter().map(|f| &f.path)).map_err(|source| ScanError::Collision {
        folder: root.path().to_owned(),
        source,
    })?;
    Ok(files)
}

fn walk(
    root: &Folder,
    folder: &Folder,
    prefix: &str,
    ignore: &[String],
    depth: usize,
    files: &mut Vec<FoundFile>,
) -> Result<(), ScanError> {
    if depth > MAX_DEPTH {
        let reason = format!("expected folders nested at most {MAX_DEPTH} deep");
        return Err(ScanError::Size {
            path: folder.path().to_owned(),
            reason,
        });
    }
    for (name, kind) in folder.entries()? {
        let at = folder.path().join(&name);
        let text = name
            .to_str()
            .ok_or_else(|| ScanError::NotUnicode { path: at.clone() })?;
        let path = format!("{prefix}{text}");
        if ignore.contains(&path) {
            continue;
        }
        match kind {
            Kind::Other(found) => return Err(ScanError::NotAFile { path: at, found }),
            Kind::Folder => walk(
                root,
                &folder.sub(&name)?,
                &format!("{path}/"),
                ignore,
                depth + 1,
                files,
            )?,
            Kind::File => {
                let bad = |source| ScanError::Name {
                    folder: root.path().to_owned(),
                    source,
                };
                let path: FilePath = path.parse().map_err(bad)?;
                let mark = folder::mark(&folder.read_file(&name)?, &at)?;
                if mark.size > MAX_FILE_SIZE {
                    let reason = format!("expected at most {MAX_FILE_SIZE} bytes, found {}", mark.size);
                    return Err(ScanError::Size { path: at, reason });
                }
                if files.len() == MAX_FILES {
                    return Err(ScanError::Count {
                        folder: root.path().to_owned(),
                        found: "more".to_owned(),
                    });
                }
                files.push(FoundFile { path, mark });
            }
        }
    }
    Ok(())
}
