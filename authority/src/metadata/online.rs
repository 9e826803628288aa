//! The registry's own roles: snapshot and timestamp.

use std::collections::BTreeMap;

use assay_schema::Sha256Digest;
use assay_schema::limits::{MAX_SNAPSHOT, MAX_TIMESTAMP};
use assay_schema::tuf::{Binding, FIELD};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::document::{Document, advance, common};
use super::error::{MetadataError, field};
use super::signed::Signed;
use crate::key::SigningKey;
use crate::public::sha256;

const SNAPSHOT_FILE: &str = "snapshot.json";

/// What snapshot and timestamp say about a file. TUF lets length and hashes be absent; Assay never does, so that nothing
/// unbounded is fetched and a file cannot be exchanged for another of its version (TUF 4.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileMeta {
    /// The version.
    pub version: u64,
    /// Bytes.
    pub length: u64,
    /// SHA-256 of the bytes.
    pub sha256: Sha256Digest,
}

impl FileMeta {
    /// Of these bytes.
    pub fn of(version: u64, bytes: &[u8]) -> Self {
        Self {
            version,
            length: bytes.len() as u64,
            sha256: sha256(bytes),
        }
    }

    fn write(&self) -> Value {
        json!({"version": self.version, "length": self.length, "hashes": {"sha256": self.sha256}})
    }

    fn read(role: &str, name: &str, entry: &Value) -> Result<Self, MetadataError> {
        let number = |what: &str| {
            entry
                .get(what)
                .and_then(Value::as_u64)
                .ok_or_else(|| field(role, format!("{what} of {name}"), "a number", "none"))
        };
        let sha256 = entry
            .pointer("/hashes/sha256")
            .and_then(Value::as_str)
            .unwrap_or_default();
        Ok(Self {
            version: number("version")?,
            length: number("length")?,
            sha256: sha256
                .parse()
                .map_err(|e| field(role, format!("SHA-256 of {name}"), "a digest", e))?,
        })
    }
}

/// Snapshot metadata: the current file of the top-level targets role and of every model role.
#[derive(Debug, Clone, PartialEq)]
pub struct Snapshot {
    document: Document,
}

common!(Snapshot);
advance!(Snapshot);

/// Timestamp metadata: the current snapshot.
#[derive(Debug, Clone, PartialEq)]
pub struct TimestampRole {
    document: Document,
}

common!(TimestampRole);
advance!(TimestampRole);

impl Snapshot {
    /// A snapshot of these files, by name (`targets.json`, `model.minilm.0.json`).
    ///
    /// # Errors
    /// [`MetadataError::Field`] for a version out of range, [`MetadataError::Expiry`].
    pub fn new(
        namespace: Sha256Digest,
        version: u64,
        expires: Timestamp,
        files: &BTreeMap<String, FileMeta>,
    ) -> Result<Self, MetadataError> {
        let mut document = Document::new("snapshot", "snapshot", version, expires)?.bound(namespace)?;
        let meta: BTreeMap<_, _> = files.iter().map(|(name, file)| (name, file.write())).collect();
        document.put("meta", &meta)?;
        Ok(Self { document })
    }

    /// Reads a snapshot file, whatever else it holds.
    ///
    /// # Errors
    /// [`MetadataError::Json`], [`MetadataError::Field`] or [`MetadataError::Expiry`].
    pub fn read(bytes: &[u8]) -> Result<Self, MetadataError> {
        let document = Document::read("snapshot", bytes, MAX_SNAPSHOT)?;
        document.object("meta")?;
        Ok(Self { document })
    }

    /// The files by name.
    ///
    /// # Errors
    /// [`MetadataError::Field`]: an entry without version, length or SHA-256.
    pub fn files(&self) -> Result<BTreeMap<String, FileMeta>, MetadataError> {
        let meta = self.document.object("meta")?;
        meta.iter()
            .map(|(name, entry)| Ok((name.clone(), FileMeta::read("snapshot", name, entry)?)))
            .collect()
    }

    /// Sets a file's entry.
    ///
    /// # Errors
    /// [`MetadataError::Field`]: its version went down, which every device refuses (TUF 5.5.5).
    pub fn set_file(&mut self, name: &str, file: &FileMeta) -> Result<(), MetadataError> {
        let meta = self.document.object_mut("meta")?;
        if let Some(entry) = meta.get(name) {
            let old = FileMeta::read("snapshot", name, entry)?;
            if file.version < old.version {
                return Err(field(
                    "snapshot",
                    format!("version of {name}"),
                    format!("{} or more", old.version),
                    file.version,
                ));
            }
        }
        meta.insert(name.to_owned(), file.write());
        Ok(())
    }

    /// Signs.
    ///
    /// # Errors
    /// [`MetadataError::Key`] or [`MetadataError::Json`].
    pub fn sign(&self, keys: &[&SigningKey]) -> Result<Signed, MetadataError> {
        self.document.sign(keys)
    }
}

impl TimestampRole {
    /// A timestamp of this snapshot.
    ///
    /// # Errors
    /// [`MetadataError::Field`] for a version out of range, [`MetadataError::Expiry`].
    pub fn new(
        namespace: Sha256Digest,
        version: u64,
        expires: Timestamp,
        snapshot: &FileMeta,
    ) -> Result<Self, MetadataError> {
        let document = Document::new("timestamp", "timestamp", version, expires)?.bound(namespace)?;
        let mut made = Self { document };
        made.set_snapshot(snapshot)?;
        Ok(made)
    }

    /// Reads a timestamp file, whatever else it holds.
    ///
    /// # Errors
    /// [`MetadataError::Json`], [`MetadataError::Field`] or [`MetadataError::Expiry`].
    pub fn read(bytes: &[u8]) -> Result<Self, MetadataError> {
        let read = Self {
            document: Document::read("timestamp", bytes, MAX_TIMESTAMP)?,
        };
        read.snapshot()?;
        Ok(read)
    }

    /// The snapshot.
    ///
    /// # Errors
    /// [`MetadataError::Field`].
    pub fn snapshot(&self) -> Result<FileMeta, MetadataError> {
        let entry = self
            .document
            .object("meta")?
            .get(SNAPSHOT_FILE)
            .ok_or_else(|| field("timestamp", "meta", SNAPSHOT_FILE, "none"))?;
        FileMeta::read("timestamp", SNAPSHOT_FILE, entry)
    }

    /// When it is signed, so that devices can tell the age of what they are shown.
    ///
    /// # Errors
    /// [`MetadataError::Field`]: it has no binding.
    pub fn set_issued(&mut self, issued: Timestamp) -> Result<(), MetadataError> {
        let binding = Binding {
            issued: Some(issued),
            ..self.document.binding()?
        };
        self.document.put(FIELD, &binding)
    }

    /// Points to another snapshot.
    ///
    /// # Errors
    /// [`MetadataError::Json`].
    pub fn set_snapshot(&mut self, snapshot: &FileMeta) -> Result<(), MetadataError> {
        // TUF 4.6: the timestamp names the snapshot and nothing else.
        self.document
            .put("meta", &json!({SNAPSHOT_FILE: snapshot.write()}))
    }

    /// Signs.
    ///
    /// # Errors
    /// [`MetadataError::Key`] or [`MetadataError::Json`].
    pub fn sign(&self, keys: &[&SigningKey]) -> Result<Signed, MetadataError> {
        self.document.sign(keys)
    }
}
