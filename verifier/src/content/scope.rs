//! Verifying less than everything: some files without the others, or by digests that nobody computed here just now.
//!
//! What is left out, and on whose word, stands in the verdict's evidence: `partial`, `not_recomputed`, `unchanged`.

use std::collections::{BTreeMap, BTreeSet};

use assay_schema::manifest::FileEntry;
use assay_schema::verdict::Refusal;
use assay_schema::{ReleaseManifest, Sha256Digest, Stage};

use super::{Content, Mode, PresentFile, REPULL, compare_listing};
use crate::report::{Reports, refusal};

/// What a verification covers. The default is every byte of every file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scope {
    /// Only these files, by their paths in the release; other files, and whether they are there, are not looked at.
    pub only: Option<BTreeSet<String>>,
    /// SHA-256 of whole files that somebody else computed: these files are not read.
    pub given: BTreeMap<String, Sha256Digest>,
    /// SHA-256 of whole files as they were read before; the owner takes it that they have not changed since. Read again only if the
    /// digest is not the release's.
    pub unchanged: BTreeMap<String, Sha256Digest>,
}

impl Scope {
    /// Whether a file is looked at.
    pub fn covers(&self, path: &str) -> bool {
        self.only.as_ref().is_none_or(|only| only.contains(path))
    }

    fn compare(&self, manifest: &ReleaseManifest, present: &[PresentFile]) -> Option<Refusal> {
        let Some(only) = &self.only else {
            return compare_listing(manifest, present);
        };
        let unknown = only
            .iter()
            .find(|path| !manifest.files.iter().any(|f| f.path.as_str() == **path));
        if let Some(path) = unknown {
            return Some(refusal(
                "extraneous-file",
                path,
                "a file that the manifest lists",
                "another path",
                "Name a file of the release by its path in it.",
            ));
        }
        // As if there were nothing else.
        let mut part = manifest.clone();
        part.files.retain(|file| self.covers(file.path.as_str()));
        let present: Vec<PresentFile> = present.iter().filter(|f| self.covers(&f.path)).cloned().collect();
        compare_listing(&part, &present)
    }

    /// Whether the file need not be read, or why it is wrong.
    fn settles(&self, entry: &FileEntry, counts: &mut Counts) -> Result<bool, Box<Refusal>> {
        let path = entry.path.as_str();
        if !self.covers(path) {
            return Ok(true);
        }
        counts.files += 1;
        if let Some(found) = self.given.get(path) {
            if *found != entry.sha256 {
                return Err(Box::new(refusal(
                    "digest-mismatch",
                    path,
                    format!("SHA-256 {}", entry.sha256),
                    format!("SHA-256 {found}, by the digests that were given"),
                    REPULL,
                )));
            }
            counts.given += 1;
            return Ok(true);
        }
        let unchanged = self.unchanged.get(path) == Some(&entry.sha256);
        counts.unchanged += usize::from(unchanged);
        Ok(unchanged)
    }
}

#[derive(Default)]
struct Counts {
    files: usize,
    given: usize,
    unchanged: usize,
}

impl Counts {
    fn report(&self, all: usize, reports: &mut Reports) {
        if self.files < all {
            let partial = format!("{} of {all} files; the others were not looked at", self.files);
            reports.evidence(Stage::Content, "partial", partial);
        }
        if self.given > 0 {
            let given = format!(
                "{} files, by digests that were given and not computed here",
                self.given
            );
            reports.evidence(Stage::Content, "not_recomputed", given);
        }
        if self.unchanged > 0 {
            let unchanged = format!(
                "{} files, by digests of an earlier reading: size, times and inode are what they were",
                self.unchanged
            );
            reports.evidence(Stage::Content, "unchanged", unchanged);
        }
    }
}

impl Content {
    /// Verifies what `scope` covers, and no more; before the first poll, with the same `present` that the verification was made with.
    /// A pull is not narrowed: what is activated is checked byte by byte.
    #[must_use]
    pub fn within(mut self, scope: &Scope, present: &[PresentFile]) -> Self {
        if self.mode == Mode::Pull {
            return self;
        }
        self.failure = scope.compare(&self.manifest, present);
        let mut counts = Counts::default();
        for (entry, file) in self.manifest.files.iter().zip(&mut self.files) {
            match scope.settles(entry, &mut counts) {
                Ok(true) => file.pass_over(),
                Ok(false) => {}
                Err(refused) => {
                    self.failure.get_or_insert(*refused);
                }
            }
        }
        counts.report(self.manifest.files.len(), &mut self.reports);
        self
    }
}
