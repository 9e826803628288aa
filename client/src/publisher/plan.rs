//! What a publication would do, without doing it.

use std::path::Path;

use assay_schema::manifest::FileEntry;
use jiff::Timestamp;

use super::release::{PublishedRelease, ReleaseTerms, attested, entry, order};
use super::{PublishError, Publisher};
use crate::folder::Folder;
use crate::{hash, scan};

/// What a publication would lead to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Planned {
    /// The release as it is published, if an earlier run published it with the same content.
    pub already: Option<PublishedRelease>,
    /// The order that the release would get.
    pub order: assay_schema::ReleaseOrder,
    /// The files that the release would have.
    pub files: Vec<FileEntry>,
}

impl Publisher {
    /// Hashes the folder, verifies the registry's metadata like [`Publisher::publish`], and says what that would do. Keys are
    /// not read, nothing is uploaded or signed.
    ///
    /// # Errors
    /// What [`Publisher::publish`] would refuse: the folder's content, other content under the version, an order too low.
    pub fn plan(&self, folder: &Path, terms: &ReleaseTerms, now: Timestamp) -> Result<Planned, PublishError> {
        let record = self.folder.namespace()?;
        let root = Folder::open(folder)?;
        let found = scan::scan_folder(&root, &terms.ignore)?;
        let files = hash::hash_files(&root, &found, true, hash::threads(), &|n| {
            (self.progress)(super::Progress::Hashed(n));
        })?;
        let files: Vec<FileEntry> = files.iter().map(entry).collect();
        attested(terms, &files)?;
        let current = self.base(&record, Some(&terms.model), now)?;
        let already = self.already(&record, &current, terms, &files)?;
        let order = match &already {
            Some(already) => already.order,
            None => order(&current, terms)?,
        };
        Ok(Planned {
            already,
            order,
            files,
        })
    }
}
