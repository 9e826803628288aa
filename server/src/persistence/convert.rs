//! Between columns and types that cannot hold a bad value.

use assay_schema::api::{ReleaseInfo, ReleaseState, Scope, Visibility};
use assay_schema::{ReleaseOrder, Sha256Digest};
use jiff::Timestamp;

use super::entity::{blob, metadata, namespace, release, segment, upload};
use super::error::DatabaseError;
use super::types::{BlobLocation, BlobRecord, MetadataFile, NamespaceRecord, Segment, UploadRecord};

type Result<T> = std::result::Result<T, DatabaseError>;

pub(super) fn integer(value: u64) -> Result<i64> {
    i64::try_from(value).map_err(|_| DatabaseError::corrupt("number", "at most 2^63-1", value))
}

pub(super) fn unsigned(value: i64) -> Result<u64> {
    u64::try_from(value).map_err(|_| DatabaseError::corrupt("number", "at least 0", value))
}

/// Microseconds since 1970.
pub(super) fn micros(time: Timestamp) -> i64 {
    time.as_microsecond()
}

pub(super) fn time(micros: i64) -> Result<Timestamp> {
    Timestamp::from_microsecond(micros)
        .map_err(|_| DatabaseError::corrupt("time", "microseconds since 1970", micros))
}

/// A name or digest that was checked before it was stored.
pub(super) fn parsed<T: std::str::FromStr>(what: &'static str, text: &str) -> Result<T> {
    text.parse()
        .map_err(|_| DatabaseError::corrupt(what, "a well-formed value", text))
}

pub(super) fn digest(text: &str) -> Result<Sha256Digest> {
    parsed("sha256", text)
}

pub(super) const fn visibility_name(visibility: Visibility) -> &'static str {
    match visibility {
        Visibility::Public => "public",
        Visibility::Private => "private",
    }
}

pub(super) const CANDIDATE: &str = "candidate";
pub(super) const PUBLISHED: &str = "published";

pub(super) const fn scope_name(scope: Scope) -> &'static str {
    match scope {
        Scope::Read => "read",
        Scope::Publish => "publish",
        Scope::Admin => "admin",
    }
}

pub(super) fn scope(name: &str) -> Result<Scope> {
    match name {
        "read" => Ok(Scope::Read),
        "publish" => Ok(Scope::Publish),
        "admin" => Ok(Scope::Admin),
        other => Err(DatabaseError::corrupt(
            "tokens.scope",
            "read, publish or admin",
            other,
        )),
    }
}

impl TryFrom<namespace::Model> for NamespaceRecord {
    type Error = DatabaseError;

    fn try_from(row: namespace::Model) -> Result<Self> {
        Ok(Self {
            name: parsed("namespaces.name", &row.name)?,
            identity: digest(&row.identity)?,
            visibility: match row.visibility.as_str() {
                "public" => Visibility::Public,
                "private" => Visibility::Private,
                other => {
                    return Err(DatabaseError::corrupt(
                        "namespaces.visibility",
                        "public or private",
                        other,
                    ));
                }
            },
            created: time(row.created)?,
            revision: unsigned(row.revision)?,
        })
    }
}

impl TryFrom<metadata::Model> for MetadataFile {
    type Error = DatabaseError;

    fn try_from(row: metadata::Model) -> Result<Self> {
        Ok(Self {
            version: unsigned(row.version)?,
            sha256: digest(&row.sha256)?,
            expires: time(row.expires)?,
            role: row.role,
            bytes: row.bytes,
        })
    }
}

impl TryFrom<release::Model> for ReleaseInfo {
    type Error = DatabaseError;

    fn try_from(row: release::Model) -> Result<Self> {
        Ok(Self {
            namespace: parsed("releases.namespace", &row.namespace)?,
            model: parsed("releases.model", &row.model)?,
            version: parsed("releases.version", &row.version)?,
            order: ReleaseOrder::new(unsigned(row.epoch)?, unsigned(row.counter)?)
                .map_err(|e| DatabaseError::corrupt("releases.epoch", "an order", e))?,
            manifest: digest(&row.manifest)?,
            state: match row.state.as_str() {
                CANDIDATE => ReleaseState::Candidate,
                PUBLISHED => ReleaseState::Published,
                other => {
                    return Err(DatabaseError::corrupt(
                        "releases.state",
                        "candidate or published",
                        other,
                    ));
                }
            },
            size: unsigned(row.size)?,
            files: unsigned(row.files)?,
            created: time(row.created)?,
            published: row.published.map(time).transpose()?,
        })
    }
}

impl TryFrom<blob::Model> for BlobRecord {
    type Error = DatabaseError;

    fn try_from(row: blob::Model) -> Result<Self> {
        Ok(Self {
            sha256: digest(&row.sha256)?,
            size: unsigned(row.size)?,
            chunks: row.chunks.as_deref().map(digest).transpose()?,
            location: match row.upload {
                Some(upload) => BlobLocation::Segments { upload },
                None => BlobLocation::Object,
            },
        })
    }
}

impl TryFrom<upload::Model> for UploadRecord {
    type Error = DatabaseError;

    fn try_from(row: upload::Model) -> Result<Self> {
        Ok(Self {
            namespace: parsed("uploads.namespace", &row.namespace)?,
            sha256: digest(&row.sha256)?,
            size: unsigned(row.size)?,
            offset: unsigned(row.stored)?,
            updated: time(row.updated)?,
            id: row.id,
        })
    }
}

impl TryFrom<segment::Model> for Segment {
    type Error = DatabaseError;

    fn try_from(row: segment::Model) -> Result<Self> {
        Ok(Self {
            start: unsigned(row.start)?,
            len: unsigned(row.len)?,
            object: row.object,
        })
    }
}
