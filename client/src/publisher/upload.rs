//! Resumable uploads by digest, several files at once.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use assay_schema::api::UploadInfo;
use assay_schema::problem::ProblemKind;
use assay_schema::{FilePath, Sha256Digest};

use super::registry::Registry;
use super::{Progress, PublishError};
use crate::folder::Folder;
use crate::transport::TransportError;

/// Bytes of one `PATCH`: what a dropped connection costs at most is part of one.
const PART: u64 = 64 << 20;
/// Files on their way at once. More connections help little, and each costs the registry a buffer.
const PARALLEL: usize = 4;
/// Attempts in a row that brought no byte forward.
const ATTEMPTS: u32 = 5;

/// Bytes to upload.
pub(super) enum Source<'a> {
    /// A file of the folder that is published.
    File(&'a FilePath),
    /// A small document.
    Bytes(&'a [u8]),
}

/// A blob to upload.
pub(super) struct Upload<'a> {
    pub(super) sha256: Sha256Digest,
    pub(super) size: u64,
    pub(super) source: Source<'a>,
}

/// Uploads what the registry does not have. Equal files go once.
pub(super) fn upload_all(
    registry: Registry<'_>,
    root: &Folder,
    uploads: &[Upload<'_>],
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<(), PublishError> {
    let mut seen = BTreeSet::new();
    let different: Vec<&Upload<'_>> = uploads.iter().filter(|u| seen.insert(u.sha256)).collect();
    let next = AtomicUsize::new(0);
    let failure: Mutex<Option<PublishError>> = Mutex::new(None);
    std::thread::scope(|scope| {
        for _ in 0..PARALLEL.min(different.len()) {
            scope.spawn(|| {
                while let Some(upload) = different.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if let Err(error) = upload_one(registry, root, upload, progress) {
                        next.store(different.len(), Ordering::Relaxed);
                        failure
                            .lock()
                            .unwrap_or_else(PoisonError::into_inner)
                            .get_or_insert(error);
                    }
                }
            });
        }
    });
    failure
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner)
        .map_or(Ok(()), Err)
}

fn upload_one(
    registry: Registry<'_>,
    root: &Folder,
    upload: &Upload<'_>,
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<(), PublishError> {
    let what = match upload.source {
        Source::File(path) => path.to_string(),
        Source::Bytes(_) => format!("document {}", upload.sha256),
    };
    let file = match upload.source {
        Source::File(path) => Some(
            root.read_at_path(path)?
                .ok_or(PublishError::BytesChanged { what: what.clone() })?,
        ),
        Source::Bytes(_) => None,
    };
    // An empty blob needs no part: starting it completes it, or one part of nothing does.
    let mut info = start(registry, upload, &what)?;
    let mut reported = 0;
    let mut failures = 0;
    loop {
        if info.offset > upload.size || (!info.complete && info.id.is_none()) {
            return Err(malformed(
                &what,
                &format!("offset {} of {} bytes", info.offset, upload.size),
            ));
        }
        let at = if info.complete { upload.size } else { info.offset };
        if at > reported {
            progress(Progress::Uploaded(at - reported));
            reported = at;
            failures = 0;
        }
        let Some(id) = info.id.clone().filter(|_| !info.complete) else {
            return Ok(());
        };
        let len = (upload.size - info.offset).min(PART);
        let mut part = Part {
            upload,
            file: file.as_ref(),
            at: info.offset,
            end: info.offset + len,
        };
        let before = info.offset;
        let error = match registry.send_part(&id, before, &mut part, len) {
            Ok(next) if next.complete || next.offset > before => {
                info = next;
                continue;
            }
            Ok(next) => malformed(
                &what,
                &format!("offset {} after a part from {before}", next.offset),
            ),
            Err(error) => match error.problem().map(|p| p.kind) {
                Some(ProblemKind::DigestMismatch) => return Err(PublishError::BytesChanged { what }),
                Some(ProblemKind::OffsetMismatch | ProblemKind::UploadBusy) => error.into(),
                _ if error.is_passing() => error.into(),
                _ => return Err(error.into()),
            },
        };
        failures += 1;
        if failures >= ATTEMPTS {
            return Err(error);
        }
        std::thread::sleep(pause(failures));
        // The registry knows how far it has safely come; a sweep may have taken the upload away meanwhile.
        info = match registry.upload(&id) {
            Ok(Some(info)) => info,
            Ok(None) => start(registry, upload, &what)?,
            Err(e) if e.is_passing() => info,
            Err(e) => return Err(e.into()),
        };
    }
}

/// Starts or finds the upload. The part of an earlier, killed run may still be on its way to the registry's disk.
fn start(registry: Registry<'_>, upload: &Upload<'_>, what: &str) -> Result<UploadInfo, PublishError> {
    for attempt in 1.. {
        let error = match registry.start_upload(upload.sha256, upload.size) {
            Ok(info) => return Ok(info),
            Err(error) => error,
        };
        match error.problem().map(|p| p.kind) {
            Some(ProblemKind::UploadBusy) if attempt < ATTEMPTS => std::thread::sleep(pause(attempt)),
            Some(ProblemKind::DigestMismatch) => break,
            _ => return Err(error.into()),
        }
    }
    Err(PublishError::BytesChanged {
        what: what.to_owned(),
    })
}

fn pause(failures: u32) -> Duration {
    Duration::from_millis(200 << failures.min(5))
}

fn malformed(what: &str, found: &str) -> PublishError {
    PublishError::Transport(TransportError::Malformed {
        path: format!("upload of {what}"),
        expected: "an upload that moves forward within its size",
        found: found.to_owned(),
    })
}

struct Part<'a> {
    upload: &'a Upload<'a>,
    file: Option<&'a File>,
    at: u64,
    end: u64,
}

impl Read for Part<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.end - self.at)
            .unwrap_or(usize::MAX)
            .min(buffer.len());
        let buffer = buffer.get_mut(..left).unwrap_or_default();
        let n = match (&self.upload.source, self.file) {
            (Source::Bytes(bytes), _) => {
                let from = usize::try_from(self.at)
                    .ok()
                    .and_then(|at| bytes.get(at..))
                    .unwrap_or_default();
                let mut from = from;
                from.read(buffer)?
            }
            (Source::File(_), Some(file)) => file.read_at(buffer, self.at)?,
            (Source::File(_), None) => 0,
        };
        if n == 0 && left > 0 {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the file became shorter while it was uploaded",
            ));
        }
        self.at += n as u64;
        Ok(n)
    }
}
