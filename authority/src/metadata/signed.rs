//! Signed files, and signatures on values.

use std::collections::BTreeMap;

use assay_schema::Sha256Digest;
use assay_schema::api::SignedRole;
use assay_schema::canonical::{self, JsonError};
use assay_schema::limits::MAX_TARGETS;
use assay_schema::tuf::{FIELD, metadata_file};
use serde_json::{Map, Value};

use super::error::{MetadataError, field};
use super::keys::RoleKeys;
use super::online::FileMeta;
use crate::key::SigningKey;
use crate::public::sha256;

/// A metadata file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed {
    /// The role's name.
    pub role: String,
    /// Its version.
    pub version: u64,
    /// The exact bytes: JSON with sorted keys.
    pub bytes: Vec<u8>,
}

impl Signed {
    /// SHA-256 of the bytes.
    pub fn sha256(&self) -> Sha256Digest {
        sha256(&self.bytes)
    }

    /// The bytes as text.
    ///
    /// # Errors
    /// [`MetadataError::Field`]: bytes that somebody put here are not UTF-8.
    pub fn text(&self) -> Result<String, MetadataError> {
        String::from_utf8(self.bytes.clone()).map_err(|e| field(&self.role, "bytes", "UTF-8", e))
    }

    /// `VERSION.ROLE.json`, or `timestamp.json`.
    pub fn file_name(&self) -> String {
        match self.role.as_str() {
            "timestamp" => "timestamp.json".to_owned(),
            role => metadata_file(role, self.version),
        }
    }

    /// What a snapshot or timestamp says about the file.
    pub fn meta(&self) -> FileMeta {
        FileMeta::of(self.version, &self.bytes)
    }

    /// The file for a publication that replaces `parent`.
    ///
    /// # Errors
    /// As [`Signed::text`].
    pub fn publish(&self, parent: Option<Sha256Digest>) -> Result<SignedRole, MetadataError> {
        Ok(SignedRole {
            metadata: self.text()?,
            parent,
        })
    }
}

/// Signs any `signed` value and checks nothing about it. For tests that need metadata which the builders refuse to make, and
/// for metadata of other repositories.
///
/// # Errors
/// [`MetadataError::Json`]: no canonical form; [`MetadataError::Key`]: a key that TUF has no scheme for.
pub fn sign_value(role: &str, signed: &Value, keys: &[&SigningKey]) -> Result<Vec<u8>, MetadataError> {
    let mut envelope = Map::new();
    envelope.insert("signed".to_owned(), signed.clone());
    envelope.insert("signatures".to_owned(), Value::Array(Vec::new()));
    sign_envelope(role, envelope, keys)
}

/// Adds a signature to a file that others signed; a second signature by one key replaces its first. Everything else in the
/// file stays. `listed` are the role's keys where they are known; the key must be one of them.
///
/// # Errors
/// [`MetadataError::NotListed`], [`MetadataError::Field`] for metadata of another role, or the bytes are no metadata.
pub fn add_signature(
    bytes: &[u8],
    key: &SigningKey,
    role: &str,
    listed: Option<&RoleKeys>,
) -> Result<Signed, MetadataError> {
    if let Some(listed) = listed {
        listed.require_listed(role, &[key])?;
    }
    let envelope = read_envelope(role, bytes, MAX_TARGETS)?;
    let signed = envelope.get("signed").unwrap_or(&Value::Null);
    // Only root metadata carries no binding, and what says that it is for another role is not signed for this one.
    let pointer = if role == "root" {
        "/_type".to_owned()
    } else {
        format!("/{FIELD}/role")
    };
    let found = signed.pointer(&pointer).and_then(Value::as_str).unwrap_or("none");
    if found != role {
        return Err(field(role, "role of the file", role, found));
    }
    let version = signed
        .get("version")
        .and_then(Value::as_u64)
        .ok_or_else(|| field(role, "version", "a number", "none"))?;
    let bytes = sign_envelope(role, envelope, &[key])?;
    Ok(Signed {
        role: role.to_owned(),
        version,
        bytes,
    })
}

pub(super) fn read_envelope(
    role: &str,
    bytes: &[u8],
    limit: u64,
) -> Result<Map<String, Value>, MetadataError> {
    canonical::read(bytes, limit).map_err(|source| MetadataError::Json {
        role: role.to_owned(),
        source,
    })
}

pub(super) fn sign_envelope(
    role: &str,
    mut envelope: Map<String, Value>,
    keys: &[&SigningKey],
) -> Result<Vec<u8>, MetadataError> {
    let json = |source: JsonError| MetadataError::Json {
        role: role.to_owned(),
        source,
    };
    let signed = envelope
        .get("signed")
        .ok_or_else(|| field(role, "signed", "an object", "none"))?;
    let message = canonical::signed_bytes(signed).map_err(json)?;
    let mut signatures = BTreeMap::new();
    let existing = match envelope.remove("signatures") {
        Some(Value::Array(list)) => list,
        _ => return Err(field(role, "signatures", "a list", "something else")),
    };
    for signature in existing {
        let id = signature
            .get("keyid")
            .and_then(Value::as_str)
            .ok_or_else(|| field(role, "signatures", "key ids", "a signature without one"))?;
        signatures.insert(id.to_owned(), signature);
    }
    for key in keys {
        let id = key.key_id()?;
        let mut signature = Map::new();
        signature.insert("keyid".to_owned(), id.clone().into());
        signature.insert("sig".to_owned(), hex::encode(key.sign(&message)?).into());
        signatures.insert(id, signature.into());
    }
    envelope.insert("signatures".to_owned(), signatures.into_values().collect());
    let mut file = Value::Object(envelope);
    // Another crate of the build may have switched serde_json to insertion order.
    file.sort_all_objects();
    serde_json::to_vec(&file).map_err(|e| json(e.into()))
}
