//! The inputs to begin with: fixtures of the repository, `corpus/<target>/`, and what a target makes itself.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::target::Target;

/// The workspace's folder.
pub fn workspace() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_owned()
}

/// Where the inputs of a target lie below `folder`.
pub fn folder(folder: &Path, target: &Target) -> PathBuf {
    folder.join(target.name)
}

/// All inputs to begin with, in the same order always.
///
/// # Errors
/// A file cannot be read.
pub fn seeds(target: &Target) -> io::Result<Vec<Vec<u8>>> {
    let mut seeds = (target.made)();
    for fixture in target.fixtures {
        let path = workspace().join(fixture);
        let bytes = fs::read(&path)
            .map_err(|e| io::Error::new(e.kind(), format!("fixture {}: {e}", path.display())))?;
        seeds.push(bytes);
    }
    seeds.extend(kept(&workspace().join("fuzz/corpus"), target)?);
    Ok(seeds)
}

/// The inputs in a target's folder below `root`, by name; none where there is no folder.
///
/// # Errors
/// One cannot be read.
pub fn kept(root: &Path, target: &Target) -> io::Result<Vec<Vec<u8>>> {
    let mut paths = match fs::read_dir(folder(root, target)) {
        Ok(entries) => entries
            .map(|entry| Ok(entry?.path()))
            .collect::<io::Result<Vec<_>>>()?,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(e),
    };
    paths.sort();
    paths.iter().map(fs::read).collect()
}
