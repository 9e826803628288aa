//! What all roles' `signed` parts have in common.

use assay_schema::Sha256Digest;
use assay_schema::limits::{MAX_INTEGER, MAX_ROOT, MAX_SNAPSHOT, MAX_TARGETS, MAX_TIMESTAMP};
use assay_schema::tuf::{Binding, FIELD, SPEC_VERSION};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Map, Value};

use super::error::{MetadataError, field};
use super::expiry;
use super::signed::{self, Signed};
use crate::key::SigningKey;

/// A `signed` object with all its fields, known or not.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Document {
    pub(super) role: String,
    pub(super) signed: Map<String, Value>,
}

impl Document {
    pub(super) fn new(
        kind: &str,
        role: &str,
        version: u64,
        expires: Timestamp,
    ) -> Result<Self, MetadataError> {
        let mut document = Self {
            role: role.to_owned(),
            signed: Map::new(),
        };
        document.put("_type", &kind)?;
        document.put("spec_version", &SPEC_VERSION)?;
        document.put("version", &version)?;
        document.version()?;
        document.set_expires(expires)?;
        Ok(document)
    }

    pub(super) fn bound(mut self, namespace: Sha256Digest) -> Result<Self, MetadataError> {
        let role = self.role.clone();
        let binding = Binding {
            namespace,
            role,
            issued: None,
        };
        self.put(FIELD, &binding)?;
        Ok(self)
    }

    /// Reads a file of this `_type`; the role's name is that of its binding, or the type's.
    pub(super) fn read(kind: &str, bytes: &[u8], limit: u64) -> Result<Self, MetadataError> {
        let signed = match signed::read_envelope(kind, bytes, limit)?.remove("signed") {
            Some(Value::Object(signed)) => signed,
            _ => return Err(field(kind, "signed", "an object", "something else")),
        };
        let mut document = Self {
            role: kind.to_owned(),
            signed,
        };
        document.expect("_type", |found| found == kind, kind)?;
        // TUF 4.3: the same major version.
        document.expect("spec_version", |found| found.starts_with("1."), "1.x")?;
        document.version()?;
        document.expires()?;
        if kind != "root" {
            document.role = document.binding()?.role;
        }
        Ok(document)
    }

    fn expect(&self, name: &str, rule: impl Fn(&str) -> bool, expected: &str) -> Result<(), MetadataError> {
        match self.signed.get(name).and_then(Value::as_str) {
            Some(found) if rule(found) => Ok(()),
            Some(found) => Err(field(&self.role, name, expected, found)),
            None => Err(field(&self.role, name, expected, "none")),
        }
    }

    pub(super) fn put(&mut self, name: &str, value: &impl Serialize) -> Result<(), MetadataError> {
        let value = serde_json::to_value(value).map_err(|e| MetadataError::Json {
            role: self.role.clone(),
            source: e.into(),
        })?;
        self.signed.insert(name.to_owned(), value);
        Ok(())
    }

    pub(super) fn object(&self, name: &str) -> Result<&Map<String, Value>, MetadataError> {
        self.signed
            .get(name)
            .and_then(Value::as_object)
            .ok_or_else(|| field(&self.role, name, "an object", "none or something else"))
    }

    pub(super) fn object_mut(&mut self, name: &str) -> Result<&mut Map<String, Value>, MetadataError> {
        self.signed
            .get_mut(name)
            .and_then(Value::as_object_mut)
            .ok_or_else(|| field(&self.role, name, "an object", "none or something else"))
    }

    pub(super) fn version(&self) -> Result<u64, MetadataError> {
        let found = self.signed.get("version").unwrap_or(&Value::Null);
        found
            .as_u64()
            .filter(|version| (1..=MAX_INTEGER).contains(version))
            .ok_or_else(|| field(&self.role, "version", "1 to 2^53-1", found))
    }

    pub(super) fn expires(&self) -> Result<Timestamp, MetadataError> {
        let found = self
            .signed
            .get("expires")
            .and_then(Value::as_str)
            .unwrap_or_default();
        found.parse().map_err(|_| MetadataError::Expiry {
            role: self.role.clone(),
            found: found.chars().take(40).collect(),
        })
    }

    pub(super) fn set_expires(&mut self, expires: Timestamp) -> Result<(), MetadataError> {
        let text = expiry::format(&self.role, expires)?;
        self.put("expires", &text)
    }

    pub(super) fn binding(&self) -> Result<Binding, MetadataError> {
        let value = self.signed.get(FIELD).cloned().unwrap_or(Value::Null);
        serde_json::from_value(value)
            .map_err(|e| field(&self.role, FIELD, "the namespace and the role that it is for", e))
    }

    /// One version on, with a new expiry.
    pub(super) fn advance(&mut self, expires: Timestamp) -> Result<(), MetadataError> {
        let version = self.version()?;
        if version == MAX_INTEGER {
            return Err(MetadataError::LastVersion {
                role: self.role.clone(),
                version,
            });
        }
        self.put("version", &(version + 1))?;
        self.set_expires(expires)
    }

    /// Signs, unless every device would refuse the file for its length.
    pub(super) fn sign(&self, keys: &[&SigningKey]) -> Result<Signed, MetadataError> {
        let limit = match self.role.as_str() {
            "root" => MAX_ROOT,
            "snapshot" => MAX_SNAPSHOT,
            "timestamp" => MAX_TIMESTAMP,
            _ => MAX_TARGETS,
        };
        let bytes = signed::sign_value(&self.role, &Value::Object(self.signed.clone()), keys)?;
        if bytes.len() as u64 > limit {
            return Err(field(
                &self.role,
                "length",
                format!("at most {limit} bytes"),
                bytes.len(),
            ));
        }
        Ok(Signed {
            role: self.role.clone(),
            version: self.version()?,
            bytes,
        })
    }
}

/// What every role's type offers, for one that holds a `document`.
macro_rules! common {
    ($name:ident) => {
        impl $name {
            /// The version, 1 to 2^53-1.
            ///
            /// # Errors
            /// None for metadata that was made or read here.
            pub fn version(&self) -> Result<u64, MetadataError> {
                self.document.version()
            }

            /// When it expires.
            ///
            /// # Errors
            /// None for metadata that was made or read here.
            pub fn expires(&self) -> Result<Timestamp, MetadataError> {
                self.document.expires()
            }

            /// The `signed` object as it stands.
            pub fn signed_value(&self) -> serde_json::Value {
                serde_json::Value::Object(self.document.signed.clone())
            }
        }
    };
}
pub(super) use common;

/// The next version of a role that a registry signs.
macro_rules! advance {
    ($name:ident) => {
        impl $name {
            /// The next version, with a new expiry.
            ///
            /// # Errors
            /// [`MetadataError::LastVersion`] or [`MetadataError::Expiry`].
            pub fn advance(&mut self, expires: Timestamp) -> Result<(), MetadataError> {
                self.document.advance(expires)
            }
        }
    };
}
pub(super) use advance;

/// The next version of a role that an authority signs.
macro_rules! advance_known {
    ($name:ident) => {
        impl $name {
            /// The next version, with a new expiry and without what this software does not know.
            ///
            /// # Errors
            /// [`MetadataError::LastVersion`] or [`MetadataError::Expiry`]; or a part of the file cannot be read.
            pub fn advance(&mut self, expires: Timestamp) -> Result<(), MetadataError> {
                let mut next = self.known()?;
                next.document.advance(expires)?;
                *self = next;
                Ok(())
            }

            pub(super) fn document(&self) -> &Document {
                &self.document
            }

            pub(super) fn of(document: Document) -> Self {
                Self { document }
            }
        }
    };
}
pub(super) use advance_known;
