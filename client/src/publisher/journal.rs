//! The signing journal: what this authority signed, so that it never signs two bodies of one version unasked.
//!
//! `signed.jsonl` in the authority's folder only grows: one JSON object a line, synced before a signature leaves this machine. It
//! tells the authority's own statements from those that somebody made with stolen keys.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Read;
use std::path::Path;

use assay_schema::api::{CreateNamespace, Publication};
use assay_schema::{Sha256Digest, canonical};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::authority::AuthorityFolder;
use super::lines::End;
use super::{PublishError, folder_error};

/// The journal's file.
const JOURNAL: &str = "signed.jsonl";
const LOST: &str = "it is missing. It keeps this folder from signing two bodies of one version, so it is not begun anew by itself. \
     Restore it from a backup; without one, make it as an empty file, and before each signature ask the other holders what was signed";
/// A line is some 250 bytes: far more lines than any authority signs.
const MAX_JOURNAL: u64 = 256 << 20;
/// An interrupted run is gone on with at its own time for so long; later the body would expire too soon.
const GO_ON: SignedDuration = SignedDuration::from_hours(24 * 30);

/// One signed body.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JournalEntry {
    /// The entry's version: 1.
    pub v: u32,
    /// The time from which the body's expiry counts.
    pub at: Timestamp,
    /// The namespace's identity.
    pub namespace: Sha256Digest,
    /// The role.
    pub role: String,
    /// The version.
    pub version: u64,
    /// SHA-256 of the signed bytes: the canonical form of `signed`.
    pub sha256: Sha256Digest,
}

/// Signed metadata that stands in the journal. Only [`record`] makes one, and only this is sent to a registry.
#[derive(Debug)]
pub(super) struct Recorded<T>(T);

impl<T> Recorded<T> {
    pub(super) fn get(&self) -> &T {
        &self.0
    }
}

/// Something that carries signed metadata, by role.
pub(super) trait Carries {
    fn files(&self) -> Vec<(&str, &str)>;
}

impl Carries for Publication {
    fn files(&self) -> Vec<(&str, &str)> {
        let files = self.roles.iter();
        files
            .map(|(role, file)| (role.as_str(), file.metadata.as_str()))
            .collect()
    }
}

impl Carries for CreateNamespace {
    fn files(&self) -> Vec<(&str, &str)> {
        vec![("root", &self.root), ("targets", &self.targets)]
    }
}

/// Writes every body down, all or none, before the signatures leave.
///
/// # Errors
/// [`PublishError::SignedBefore`]: another body of one of these versions was signed, and `again` does not permit it; or the
/// journal cannot be read or written.
pub(super) fn record<T: Carries>(
    folder: &AuthorityFolder,
    namespace: Sha256Digest,
    signed: T,
    at: Timestamp,
    again: bool,
) -> Result<Recorded<T>, PublishError> {
    let all = signed
        .files()
        .iter()
        .map(|(role, _)| (*role).to_owned())
        .collect();
    record_some(folder, namespace, signed, at, again, &all)
}

/// As [`record`], of the roles that this folder's keys signed.
///
/// # Errors
/// As [`record`].
pub(super) fn record_some<T: Carries>(
    folder: &AuthorityFolder,
    namespace: Sha256Digest,
    signed: T,
    at: Timestamp,
    again: bool,
    here: &BTreeSet<String>,
) -> Result<Recorded<T>, PublishError> {
    let mut journal = Journal::open(folder)?;
    let mut lines = Vec::new();
    for (role, metadata) in signed
        .files()
        .into_iter()
        .filter(|(role, _)| here.contains(*role))
    {
        let (version, sha256) = body(role, metadata)?;
        let entry = JournalEntry {
            v: 1,
            at,
            namespace,
            role: role.to_owned(),
            version,
            sha256,
        };
        let of_version = |e: &&JournalEntry| e.is_of(namespace, role, version);
        let before: Vec<_> = journal.entries.iter().filter(of_version).collect();
        if before.iter().any(|e| e.sha256 == sha256) {
            continue;
        }
        if let (Some(first), false) = (before.first(), again) {
            return Err(PublishError::SignedBefore {
                role: role.to_owned(),
                version,
                signed: first.sha256,
                asked: sha256,
            });
        }
        let line = serde_json::to_string(&entry).map_err(|e| journal.error(e.to_string()))?;
        lines.push(line);
    }
    journal.append(&lines)?;
    Ok(Recorded(signed))
}

/// Version and digest of the signed bytes of a metadata file, as the journal has them.
pub(crate) fn body(role: &str, metadata: &str) -> Result<(u64, Sha256Digest), PublishError> {
    let bad = |found: String| PublishError::Proposal {
        what: format!("{role} metadata"),
        expected: "signed TUF metadata".to_owned(),
        found,
    };
    let file: Value = serde_json::from_str(metadata).map_err(|e| bad(e.to_string()))?;
    let signed = file
        .get("signed")
        .ok_or_else(|| bad("no signed part".to_owned()))?;
    let version = signed.get("version").and_then(Value::as_u64);
    let version = version.ok_or_else(|| bad("no version".to_owned()))?;
    let bytes = canonical::signed_bytes(signed).map_err(|e| bad(e.to_string()))?;
    Ok((version, crate::sha256(&bytes)))
}

impl JournalEntry {
    fn is_of(&self, namespace: Sha256Digest, role: &str, version: u64) -> bool {
        self.namespace == namespace && self.role == role && self.version == version
    }
}

impl AuthorityFolder {
    /// Everything that was signed with this folder's keys, oldest first.
    ///
    /// # Errors
    /// The journal cannot be read, or is damaged.
    pub fn journal(&self) -> Result<Vec<JournalEntry>, PublishError> {
        Ok(Journal::open(self)?.entries)
    }

    /// The time to sign these versions at: that of an earlier run that signed one of them and was interrupted, so that the same
    /// terms give the same body; else `now`.
    pub(super) fn signing_time(
        &self,
        namespace: Sha256Digest,
        versions: &BTreeMap<String, u64>,
        now: Timestamp,
    ) -> Result<Timestamp, PublishError> {
        let entries = self.journal()?;
        let recent = |e: &&JournalEntry| e.at <= now && now.duration_since(e.at) < GO_ON;
        let before = entries.iter().rev().filter(recent).find(|entry| {
            let wanted = versions.get(&entry.role);
            wanted.is_some_and(|version| entry.is_of(namespace, &entry.role, *version))
        });
        Ok(before.map_or(now, |entry| entry.at))
    }
}

/// The entries of a journal anywhere, also of a copy, oldest first. Another run may be writing to it: a line that is not whole yet
/// does not count, and its signature has not left.
///
/// # Errors
/// It cannot be read, or is damaged.
pub fn read_journal(path: &Path) -> Result<Vec<JournalEntry>, PublishError> {
    let fail = |e: String| folder_error(path.to_owned(), e);
    let mut file = File::open(path).map_err(|e| fail(e.to_string()))?;
    Ok(read(&mut file).map_err(fail)?.0)
}

/// Begins the journal of a folder that becomes a namespace's; one that is there stays.
///
/// # Errors
/// It cannot be written.
pub(super) fn begin(folder: &AuthorityFolder) -> Result<(), PublishError> {
    folder.folder().write_file(JOURNAL)?;
    Ok(folder.folder().sync()?)
}

/// The entries, and where the next one goes.
fn read(file: &mut File) -> Result<(Vec<JournalEntry>, End), String> {
    let mut text = String::new();
    let read = Read::by_ref(file).take(MAX_JOURNAL + 1).read_to_string(&mut text);
    let length = read.map_err(|e| e.to_string())? as u64;
    if length > MAX_JOURNAL {
        return Err(format!("more than {MAX_JOURNAL} bytes"));
    }
    let end = End::of::<JournalEntry>(&text);
    let entry = |(n, line)| {
        serde_json::from_str(line).map_err(|e| format!("line {}: {e}. Restore it from a backup", n + 1_usize))
    };
    let lines = end.lines(&text).enumerate();
    Ok((lines.map(entry).collect::<Result<_, _>>()?, end))
}

/// The journal, locked against other runs until it is dropped.
struct Journal<'a> {
    folder: &'a AuthorityFolder,
    file: File,
    entries: Vec<JournalEntry>,
    end: End,
}

impl<'a> Journal<'a> {
    fn open(folder: &'a AuthorityFolder) -> Result<Self, PublishError> {
        let fail = |e: String| folder_error(folder.path().join(JOURNAL), e);
        if folder.folder().kind(JOURNAL)?.is_none() && folder.is_anybodys()? {
            return Err(fail(LOST.to_owned()));
        }
        let mut file = folder.folder().write_file(JOURNAL)?;
        file.lock().map_err(|e| fail(e.to_string()))?;
        let (entries, end) = read(&mut file).map_err(fail)?;
        Ok(Self {
            folder,
            file,
            entries,
            end,
        })
    }

    fn error(&self, reason: String) -> PublishError {
        folder_error(self.folder.path().join(JOURNAL), reason)
    }

    fn append(&mut self, lines: &[String]) -> Result<(), PublishError> {
        if lines.is_empty() {
            return Ok(());
        }
        let text: String = lines.iter().flat_map(|line| [line.as_str(), "\n"]).collect();
        let written = self.end.append(&mut self.file, &text);
        written.map_err(|e| self.error(e.to_string()))?;
        Ok(self.folder.folder().sync()?)
    }
}
