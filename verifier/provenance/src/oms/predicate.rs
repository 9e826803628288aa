//! The predicate of a model signature, and what must hold inside it.

use std::collections::BTreeMap;

use assay_schema::Sha256Digest;
use assay_schema::digest::BadDigest;
use assay_schema::limits::{MAX_FILES, MAX_PATH};
use serde::{Deserialize, Serialize};

use crate::crypto::Sha256;
use crate::statement::{Statement, shown};

/// `predicateType` of a model signature.
pub const PREDICATE_TYPE: &str = "https://model_signing/signature/v1.0";
/// The only serialization method that is read: one digest a file.
pub(super) const METHOD: &str = "files";
/// The only hash that is read.
pub(super) const HASH: &str = "sha256";

/// What a model signature says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Predicate {
    /// How the files became the list.
    pub serialization: Serialization,
    /// The files.
    pub resources: Vec<Resource>,
}

/// How the files of a folder became the list of resources.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Serialization {
    /// `files`: one digest for each file.
    pub method: String,
    /// `sha256`.
    pub hash_type: String,
    /// Whether symbolic links were followed.
    pub allow_symlinks: bool,
    /// Paths relative to the model's folder that were left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ignore_paths: Vec<String>,
}

/// One file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resource {
    /// Its path relative to the model's folder, with `/`.
    pub name: String,
    /// `sha256`.
    pub algorithm: String,
    /// Its digest in hexadecimal.
    pub digest: String,
}

/// A statement that does not describe a model as OMS defines it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OmsError {
    /// Not exactly one subject.
    #[error("expected exactly one subject, found {found}")]
    Subjects {
        /// How many.
        found: usize,
    },
    /// The subject has no SHA-256 digest, or a malformed one.
    #[error("expected the subject's SHA-256 digest, found {found}")]
    SubjectDigest {
        /// What is there instead.
        found: String,
    },
    /// The files' digests do not make up the subject's.
    #[error(
        "expected the files' digests to hash to the subject's {expected}, found {found}: the list was changed"
    )]
    Inconsistent {
        /// The subject's digest.
        expected: Sha256Digest,
        /// What the list hashes to.
        found: Sha256Digest,
    },
    /// Files hashed in another way than one SHA-256 a file.
    #[error(
        "expected the serialization method {METHOD:?} with {HASH:?}, found {method:?} with {hash:?}; sign with the defaults"
    )]
    Serialization {
        /// The method.
        method: String,
        /// The hash.
        hash: String,
    },
    /// A file hashed with something else.
    #[error("expected {name:?} to be hashed with {HASH:?}, found {found:?}; sign with the default hash")]
    Algorithm {
        /// The file.
        name: String,
        /// The algorithm.
        found: String,
    },
    /// A malformed digest.
    #[error("file {name:?}: {source}")]
    Digest {
        /// The file.
        name: String,
        /// What is wrong.
        source: BadDigest,
    },
    /// A name that is empty, too long or not printable.
    #[error("expected file names of 1 to {MAX_PATH} bytes without control characters, found {name:?}")]
    Name {
        /// The beginning of the name.
        name: String,
    },
    /// One name twice: two readers could believe different digests.
    #[error("expected every file once, found {name:?} twice")]
    Duplicate {
        /// The file.
        name: String,
    },
    /// No file, or more than a release may have.
    #[error("expected 1 to {MAX_FILES} files, found {found}")]
    Count {
        /// How many.
        found: usize,
    },
}

/// The subject digest that belongs to these digests, in the order of the resources. It binds no names.
pub fn subject_digest<'a>(digests: impl IntoIterator<Item = &'a Sha256Digest>) -> Sha256Digest {
    let mut hash = Sha256::new();
    for digest in digests {
        hash.update(digest.as_bytes());
    }
    hash.finalize()
}

/// What a statement lists, once its inner consistency is proved.
#[derive(Debug)]
pub(super) struct Listing {
    pub(super) model_name: String,
    pub(super) resources: BTreeMap<String, Sha256Digest>,
    pub(super) serialization: Serialization,
}

/// Checks everything about the statement but its signature.
pub(super) fn listing(statement: Statement<Predicate>) -> Result<Listing, OmsError> {
    let [subject] = statement.subject.as_slice() else {
        return Err(OmsError::Subjects {
            found: statement.subject.len(),
        });
    };
    let expected = match subject.digest.get(HASH) {
        Some(text) => text
            .parse::<Sha256Digest>()
            .map_err(|_| OmsError::SubjectDigest {
                found: format!("{:?}", shown(text)),
            })?,
        None => {
            return Err(OmsError::SubjectDigest {
                found: "none".to_owned(),
            });
        }
    };
    let Predicate {
        serialization,
        resources,
    } = statement.predicate;
    if serialization.method != METHOD || serialization.hash_type != HASH {
        return Err(OmsError::Serialization {
            method: shown(&serialization.method),
            hash: shown(&serialization.hash_type),
        });
    }
    if resources.is_empty() || resources.len() > MAX_FILES {
        return Err(OmsError::Count {
            found: resources.len(),
        });
    }
    let mut hash = Sha256::new();
    let mut files = BTreeMap::new();
    for Resource {
        name,
        algorithm,
        digest,
    } in resources
    {
        let (name, digest) = file(name, &algorithm, &digest)?;
        hash.update(digest.as_bytes());
        if files.contains_key(&name) {
            return Err(OmsError::Duplicate { name });
        }
        files.insert(name, digest);
    }
    let found = hash.finalize();
    if found != expected {
        return Err(OmsError::Inconsistent { expected, found });
    }
    Ok(Listing {
        model_name: shown(&subject.name),
        resources: files,
        serialization,
    })
}

/// One file's name and digest, well-formed.
pub(super) fn file(name: String, algorithm: &str, digest: &str) -> Result<(String, Sha256Digest), OmsError> {
    if name.is_empty() || name.len() > MAX_PATH || name.chars().any(char::is_control) {
        return Err(OmsError::Name { name: shown(&name) });
    }
    if algorithm != HASH {
        return Err(OmsError::Algorithm {
            name,
            found: shown(algorithm),
        });
    }
    match digest.parse() {
        Ok(digest) => Ok((name, digest)),
        Err(source) => Err(OmsError::Digest { name, source }),
    }
}
