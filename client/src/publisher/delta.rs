//! A delta that a publisher makes and attaches: from an earlier release, whose files are still at hand, to one that is published.
//!
//! Nobody signs it and no device trusts it. It saves the registry the work, and may be made where the files lie anyway.

use std::path::{Path, PathBuf};

use assay_authority::metadata::Targets;
use assay_schema::delta::{AttachDelta, DeltaInfo};
use assay_schema::{ReleaseManifest, Sha256Digest, VersionName};
use assay_trust::releases::ListedRelease;
use jiff::Timestamp;

use super::authority::NamespaceRecord;
use super::refresh::{self, Current};
use super::registry::Registry;
use super::release::ReleaseTerms;
use super::upload::{Source, Upload, upload_all};
use super::{PublishError, Publisher};
use crate::delta::{self, Tree};
use crate::folder::Folder;
use crate::hash;

/// What a delta is to be made from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeltaFrom {
    /// The folder with the files of an earlier release, as they were published.
    pub folder: PathBuf,
    /// Which release that is; the highest below the target if absent.
    pub version: Option<VersionName>,
}

/// A delta that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttachedDelta {
    /// The release that it builds on.
    pub base: VersionName,
    /// Its bytes.
    pub size: u64,
    /// Bytes of the target's files.
    pub full: u64,
    /// What the registry serves for this pair of releases now: this delta, or one that is at least as small. `None` where the delta is
    /// no smaller than the files, and was not attached.
    pub kept: Option<DeltaInfo>,
}

impl Publisher {
    /// Makes the delta from an earlier release to the one that `folder` was published as, uploads it and attaches it. `progress` is
    /// told how many bytes of the target are encoded, of how many.
    ///
    /// # Errors
    /// One of the folders is not what was published, the release is not published yet, or the registry takes no deltas.
    pub fn attach_delta(
        &self,
        folder: &Path,
        terms: &ReleaseTerms,
        from: &DeltaFrom,
        now: Timestamp,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<AttachedDelta, PublishError> {
        let record = self.folder.namespace()?;
        let current = self.base(&record, Some(&terms.model), now)?;
        let target = listed(&current, &terms.version)?;
        let version = match &from.version {
            Some(version) => version.clone(),
            None => below(&current, &target)?,
        };
        let base = listed(&current, &version)?;
        let base_files = self.published(&record, &base, &version, &from.folder, &terms.ignore)?;
        let target_files = self.published(&record, &target, &terms.version, folder, &terms.ignore)?;
        let identities = [base.target.sha256, target.target.sha256];
        // In the authority's own folder: a shared one for temporary files is no place for what is about to be published.
        let name = format!(".delta-{}", target.target.sha256);
        let out = self.folder.path().join(&name);
        let root = Folder::open(self.folder.path())?;
        root.remove_file(&name)?;
        let full = target_files.size();
        let made = delta::make(
            &base_files,
            &target_files,
            identities,
            &out,
            hash::threads(),
            &mut |done| progress(done, full),
        )?;
        let attached = if made.size < full {
            self.send_delta(&record, &root, &out, terms, identities).map(Some)
        } else {
            Ok(None)
        };
        root.remove_file(&name)?;
        Ok(AttachedDelta {
            base: version,
            size: made.size,
            full,
            kept: attached?,
        })
    }

    /// The files of a folder, if they are the release's.
    fn published(
        &self,
        record: &NamespaceRecord,
        listed: &ListedRelease,
        version: &VersionName,
        folder: &Path,
        ignore: &[String],
    ) -> Result<Tree, PublishError> {
        let bytes = refresh::manifest(record, self.transport.as_ref(), listed)?;
        let manifest = ReleaseManifest::parse(&bytes)?;
        let tree = Tree::of_release(folder, ignore, &|_| {})?;
        let files = &tree.listing().files;
        let other = |found: String| PublishError::OtherFiles {
            folder: folder.to_owned(),
            version: version.clone(),
            found,
        };
        let differing = manifest
            .files
            .iter()
            .zip(files)
            .find(|(entry, file)| entry.path.as_str() != file.path || entry.sha256 != file.sha256);
        if let Some((entry, file)) = differing {
            return Err(other(format!("{:?} in place of {}", file.path, entry.path)));
        }
        if manifest.files.len() != files.len() {
            return Err(other(format!(
                "{} files in place of {}",
                files.len(),
                manifest.files.len()
            )));
        }
        Ok(tree)
    }

    fn send_delta(
        &self,
        record: &NamespaceRecord,
        root: &Folder,
        made: &Path,
        terms: &ReleaseTerms,
        [base, target]: [Sha256Digest; 2],
    ) -> Result<DeltaInfo, PublishError> {
        let registry = Registry {
            transport: self.transport.as_ref(),
            namespace: &record.name,
        };
        let tree = Tree::open(made, &|_| {})?;
        let missing = || PublishError::BytesChanged {
            what: made.display().to_string(),
        };
        let blob = tree.listing().files.first().ok_or_else(missing)?;
        let name = made
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default();
        let path = name.parse().map_err(|source| crate::scan::ScanError::Name {
            folder: root.path().to_owned(),
            source,
        })?;
        let upload = Upload {
            sha256: blob.sha256,
            size: blob.size,
            source: Source::File(&path),
        };
        upload_all(registry, root, &[upload], &|_| {})?;
        let attached = AttachDelta {
            base,
            target,
            blob: blob.sha256,
        };
        Ok(registry.attach_delta(&terms.model, &attached)?)
    }
}

fn listed(current: &Current, version: &VersionName) -> Result<ListedRelease, PublishError> {
    current
        .version(version)?
        .ok_or_else(|| PublishError::NotPublished {
            version: version.clone(),
        })
}

/// The highest release below another one.
fn below(current: &Current, target: &ListedRelease) -> Result<VersionName, PublishError> {
    let mut highest = None;
    for (_, bytes) in current.model_roles() {
        let targets = Targets::read(bytes).and_then(|role| role.targets());
        for (path, found) in targets.map_err(assay_authority::release::PublishError::from)? {
            let name = path
                .rsplit('/')
                .next()
                .and_then(|name| name.strip_suffix(".json"));
            let version = name.and_then(|name| name.parse::<VersionName>().ok());
            if let (Some(order), Some(version)) = (found.note.order, version)
                && order < target.order
                && highest.as_ref().is_none_or(|(most, _)| *most < order)
            {
                highest = Some((order, version));
            }
        }
    }
    highest
        .map(|(_, version)| version)
        .ok_or(PublishError::NoBase { order: target.order })
}
