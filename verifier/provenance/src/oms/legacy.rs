//! Model signatures of `model_signing` 0.2, before OMS 1.0: still in use, and never made here.
//!
//! The statement's subjects are the files themselves; its predicate says nothing. Signatures by key and certificate do not cover what
//! DSSE says: the prefix is `DSSEV1`, the payload stands in it as Python writes bytes (`b'..'`), and the hash is SHA-256 for every
//! curve. On P-521 such a signature is refused: a hash of half the curve's length is too little for it.

use std::collections::BTreeMap;

use assay_schema::Sha256Digest;
use assay_schema::limits::MAX_FILES;
use serde::Deserialize;
use serde_json::Value;

use super::predicate::{Listing, OmsError, Serialization, file};
use crate::statement::{PAYLOAD_TYPE, StatementError, shown};

/// `predicateType` of a statement whose subjects are a model's files.
pub const LEGACY_PREDICATE_TYPE: &str = "https://model_signing/Digests/v0.1";

/// What a file was hashed with, where the subject says it: the whole file with SHA-256, in the words of that version.
const WHOLE_FILE: [&str; 2] = ["sha256", "file-sha256"];

#[derive(Deserialize)]
struct LegacyStatement {
    subject: Vec<LegacySubject>,
}

#[derive(Deserialize)]
struct LegacySubject {
    name: String,
    digest: BTreeMap<String, String>,
    #[serde(default)]
    annotations: BTreeMap<String, Value>,
}

/// The bytes that such a signature covers.
pub(crate) fn signed_bytes(payload: &[u8]) -> Vec<u8> {
    let mut bytes = format!("DSSEV1 {} {PAYLOAD_TYPE} {} ", PAYLOAD_TYPE.len(), payload.len()).into_bytes();
    push_python_literal(payload, &mut bytes);
    bytes
}

/// Bytes as Python 3 writes them (`repr`): in single quotes unless there are some inside and no double ones.
fn push_python_literal(payload: &[u8], into: &mut Vec<u8>) {
    let double = payload.contains(&b'\'') && !payload.contains(&b'"');
    let quote = if double { b'"' } else { b'\'' };
    into.extend([b'b', quote]);
    for byte in payload {
        match byte {
            b'\\' => into.extend(br"\\"),
            b'\t' => into.extend(br"\t"),
            b'\n' => into.extend(br"\n"),
            b'\r' => into.extend(br"\r"),
            b'\'' if !double => into.extend(br"\'"),
            0x20..=0x7e => into.push(*byte),
            _ => into.extend(format!("\\x{byte:02x}").into_bytes()),
        }
    }
    into.push(quote);
}

/// What such a statement lists.
pub(super) fn listing(payload: &[u8]) -> Result<Result<Listing, OmsError>, StatementError> {
    let statement: LegacyStatement = serde_json::from_slice(payload)?;
    Ok(read(statement.subject))
}

fn read(subjects: Vec<LegacySubject>) -> Result<Listing, OmsError> {
    if subjects.is_empty() || subjects.len() > MAX_FILES {
        return Err(OmsError::Count {
            found: subjects.len(),
        });
    }
    let mut files: BTreeMap<String, Sha256Digest> = BTreeMap::new();
    for LegacySubject {
        name,
        mut digest,
        annotations,
    } in subjects
    {
        let hashed = annotations.get("actual_hash_algorithm");
        if let Some(found) =
            hashed.filter(|value| !value.as_str().is_some_and(|text| WHOLE_FILE.contains(&text)))
        {
            return Err(OmsError::Algorithm {
                name: shown(&name),
                found: shown(&found.to_string()),
            });
        }
        let digest = digest
            .remove(super::predicate::HASH)
            .ok_or_else(|| OmsError::SubjectDigest {
                found: "none".to_owned(),
            })?;
        let (name, digest) = file(name, super::predicate::HASH, &digest)?;
        if files.contains_key(&name) {
            return Err(OmsError::Duplicate { name });
        }
        files.insert(name, digest);
    }
    Ok(Listing {
        model_name: String::new(),
        resources: files,
        serialization: Serialization {
            method: super::predicate::METHOD.to_owned(),
            hash_type: super::predicate::HASH.to_owned(),
            allow_symlinks: false,
            ignore_paths: Vec::new(),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_written_as_python_writes_them() {
        let literal = |payload: &[u8]| {
            let mut out = Vec::new();
            push_python_literal(payload, &mut out);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(literal(b"{\n \"a\": 'b'\\}"), r#"b'{\n "a": \'b\'\\}'"#);
        assert_eq!(literal(b"it's"), r#"b"it's""#);
        assert_eq!(
            literal("\u{e9}\x00\t\r\x7f".as_bytes()),
            r"b'\xc3\xa9\x00\t\r\x7f'"
        );
    }
}
