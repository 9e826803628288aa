//! A namespace on disk: everything public of it, at the paths under which a registry serves it.
//!
//! A plain web server can serve the folder, and devices check by static paths against it. An authority takes it to another registry.

use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;

use assay_schema::api::{NamespaceInfo, Visibility};
use assay_schema::limits::{MAX_JSON_BODY, MAX_LOG_PART};
use assay_schema::{FilePath, NamespaceName, Sha256Digest};
use assay_verifier::Resource;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::whole::{self, NamedBlob, Whole};
use super::{Progress, PublishError, folder_error};
use crate::folder::Folder;
use crate::transport::{Fetched, Transport, file_path, paths};

/// What describes the folder.
pub(super) const RECORD: &str = "export.json";
const MAX_RECORD: u64 = 64 << 10;
const MODE: u32 = 0o644;

/// `export.json`. Nothing is judged by it: what it says is for people and for finding the rest; that the namespace was private is
/// believed, that it was public is not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExportRecord {
    /// The record's version: 1.
    pub v: u32,
    /// The namespace.
    pub namespace: NamespaceName,
    /// SHA-256 of its first root file.
    pub identity: Sha256Digest,
    /// Who may read it where it was exported from.
    pub visibility: Visibility,
    /// When the export was complete.
    pub exported: Timestamp,
    /// The highest root version.
    pub root: u64,
    /// The snapshot's version.
    pub snapshot: u64,
    /// How many releases it has.
    pub releases: usize,
    /// Whether the blobs were left out.
    pub metadata_only: bool,
}

/// What an export came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exported {
    /// What stands in `export.json`.
    pub record: ExportRecord,
    /// How many blobs are there.
    pub blobs: usize,
    /// Bytes of these.
    pub bytes: u64,
}

/// Writes a namespace into a folder, every file verified before it is written. Run again it goes on, and brings an older export up to
/// date. Candidates, which no authority has signed yet, are not part of it.
///
/// # Errors
/// The registry lacks a file, a device that has pinned `identity` would refuse what it serves, or the folder is another namespace's.
pub fn export_namespace(
    transport: &dyn Transport,
    name: &NamespaceName,
    identity: Sha256Digest,
    folder: &Path,
    metadata_only: bool,
    now: Timestamp,
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<Exported, PublishError> {
    let folder = Folder::ensure(folder)?;
    if let Some(earlier) = read_record(&folder)?
        && earlier.identity != identity
    {
        let reason = format!(
            "the folder holds namespace {} ({})",
            earlier.namespace, earlier.identity
        );
        return Err(folder_error(folder.path().join(RECORD), reason));
    }
    let path = format!("/v1/namespaces/{name}");
    let info: NamespaceInfo = match transport.get(&path, MAX_JSON_BODY, None)? {
        Fetched::Found { bytes, .. } => serde_json::from_slice(&bytes)
            .map_err(|e| folder_error(folder.path().join(path), e.to_string()))?,
        Fetched::Missing | Fetched::NotModified => return Err(PublishError::NoNamespace(name.clone())),
    };
    let mut keep = |path: &str, bytes: &[u8]| write(&folder, path, bytes);
    let whole = whole::read(transport, name, identity, now, false, &mut keep)?;

    let (mut blobs, mut bytes) = (0, 0);
    if !metadata_only {
        progress(Progress::Uploading(
            whole.blobs.iter().map(|blob| blob.size).sum(),
        ));
        for blob in &whole.blobs {
            fetch_blob(transport, name, &folder, blob)?;
            progress(Progress::Uploaded(blob.size));
            blobs += 1;
            bytes += blob.size;
        }
    }
    write_metadata(transport, name, &folder, &whole)?;
    let record = ExportRecord {
        v: 1,
        namespace: name.clone(),
        identity,
        visibility: info.visibility,
        exported: now,
        root: whole.roots.len() as u64,
        snapshot: whole.snapshot_version,
        releases: whole.releases,
        metadata_only,
    };
    let text = serde_json::to_vec_pretty(&record)
        .map_err(|e| folder_error(folder.path().join(RECORD), e.to_string()))?;
    folder.replace(RECORD, &text, MODE)?;
    Ok(Exported { record, blobs, bytes })
}

pub(super) fn read_record(folder: &Folder) -> Result<Option<ExportRecord>, PublishError> {
    let Some(bytes) = folder.read(RECORD, MAX_RECORD)? else {
        return Ok(None);
    };
    serde_json::from_slice(&bytes).map(Some).map_err(|e| {
        folder_error(
            folder.path().join(RECORD),
            format!("expected the description of an export, found {e}"),
        )
    })
}

/// The timestamp last: until then a web server that serves the folder shows the state before.
fn write_metadata(
    transport: &dyn Transport,
    name: &NamespaceName,
    folder: &Folder,
    whole: &Whole,
) -> Result<(), PublishError> {
    let put = |file: &str, bytes: &[u8]| write(folder, &paths::metadata(name, file), bytes);
    for (version, root) in (1..).zip(&whole.roots) {
        put(&format!("{version}.root.json"), root)?;
    }
    let signed = whole.roles.values().chain([&whole.targets, &whole.snapshot]);
    for (file, bytes) in signed {
        put(file, bytes)?;
    }
    // Judged by every device that reads it (stage 4); without a log there is none.
    let proof = Resource::LogProof {
        snapshot: whole.snapshot_version,
        size: None,
    };
    let path = paths::resource(name, &proof);
    if let Fetched::Found { bytes, .. } = transport.get(&path, MAX_LOG_PART, None)? {
        write(folder, &path, &bytes)?;
    }
    put("timestamp.json", &whole.timestamp)
}

fn place(path: &str) -> Result<FilePath, PublishError> {
    file_path(path).ok_or_else(|| PublishError::Damaged {
        what: path.to_owned(),
        expected: "a path that a file can have".to_owned(),
        found: "another".to_owned(),
    })
}

fn write(folder: &Folder, path: &str, bytes: &[u8]) -> Result<(), PublishError> {
    let path = place(path)?;
    let (parent, name) = folder.parent_of(&path, true)?;
    if parent
        .read(name, bytes.len() as u64)
        .is_ok_and(|found| found.as_deref() == Some(bytes))
    {
        return Ok(());
    }
    Ok(parent.replace(name, bytes, MODE)?)
}

/// Fetches what is missing of a blob, behind what an earlier run left.
fn fetch_blob(
    transport: &dyn Transport,
    name: &NamespaceName,
    folder: &Folder,
    blob: &NamedBlob,
) -> Result<(), PublishError> {
    let path = paths::blob(name, &blob.sha256);
    let file = place(&path)?;
    let (parent, name) = folder.parent_of(&file, true)?;
    if let Some(found) = folder.read_at_path(&file)?
        && digest(found, blob.size)? == (blob.size, blob.sha256)
    {
        return Ok(());
    }
    let part = format!("{name}.part");
    let io = |e: std::io::Error| folder_error(parent.path().join(&part), e.to_string());
    // What an earlier run left may be damaged; then everything is fetched once more.
    for begin_anew in [false, true] {
        let mut out = parent.write_file(&part)?;
        if begin_anew {
            out.set_len(0).map_err(io)?;
        }
        let mut hash = Sha256::new();
        let mut at = copy(&mut Read::by_ref(&mut out).take(blob.size), |bytes| {
            hash.update(bytes);
            Ok(())
        })
        .map_err(io)?;
        out.set_len(at).map_err(io)?;
        out.seek(SeekFrom::Start(at)).map_err(io)?;
        if at < blob.size {
            let mut rest = transport.open(&path, at, blob.size - at)?;
            at += copy(&mut rest, |bytes| {
                hash.update(bytes);
                out.write_all(bytes)
            })
            .map_err(io)?;
        }
        out.sync_all().map_err(io)?;
        let found = Sha256Digest::new(hash.finalize().into());
        if (at, found) == (blob.size, blob.sha256) {
            return Ok(parent.rename(&part, &parent, name)?);
        }
        if begin_anew {
            out.set_len(0).map_err(io)?;
            return Err(PublishError::Damaged {
                what: path,
                expected: format!("{} bytes with SHA-256 {}", blob.size, blob.sha256),
                found: format!("{at} with {found}"),
            });
        }
    }
    Ok(())
}

fn copy(from: &mut dyn Read, mut to: impl FnMut(&[u8]) -> std::io::Result<()>) -> std::io::Result<u64> {
    let (mut buffer, mut total) = (vec![0; 1 << 20], 0);
    loop {
        match from.read(&mut buffer)? {
            0 => return Ok(total),
            n => {
                to(buffer.get(..n).unwrap_or_default())?;
                total += n as u64;
            }
        }
    }
}

/// Bytes and digest of a file, not read further than one byte behind `max`.
pub(super) fn digest(file: std::fs::File, max: u64) -> Result<(u64, Sha256Digest), PublishError> {
    let mut hash = Sha256::new();
    let read = copy(&mut file.take(max.saturating_add(1)), |bytes| {
        hash.update(bytes);
        Ok(())
    });
    let read = read.map_err(|e| folder_error(RECORD.into(), e.to_string()))?;
    Ok((read, Sha256Digest::new(hash.finalize().into())))
}
