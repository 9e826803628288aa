//! in-toto Statement v1, and the encoding of it that a DSSE signature covers.
//!
//! A statement is never handed out without its `predicateType` having been compared with the one that the caller expects: the same
//! key may sign statements of many kinds, and one kind must not pass for another.

use std::collections::BTreeMap;

use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Serialize};

/// `_type` of an in-toto Statement v1.
pub const STATEMENT_TYPE: &str = "https://in-toto.io/Statement/v1";
/// `payloadType` of a DSSE envelope that holds an in-toto statement.
pub const PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";

/// A payload that is not the statement it should be.
#[derive(Debug, thiserror::Error)]
pub enum StatementError {
    /// A DSSE envelope that holds something else.
    #[error("statement: expected the DSSE payload type {PAYLOAD_TYPE}, found {found:?}")]
    PayloadType {
        /// The beginning of the payload type that it has.
        found: String,
    },
    /// Not an in-toto Statement v1.
    #[error(
        "statement: expected the type {STATEMENT_TYPE}, found {found:?}; sign it again with a current tool"
    )]
    Type {
        /// The beginning of the `_type` that it has.
        found: String,
    },
    /// A statement about something else.
    #[error(
        "statement: expected the predicate type {expected}, found {found:?}; this is not that kind of statement"
    )]
    PredicateType {
        /// The predicate type that was asked for.
        expected: String,
        /// The beginning of the one that it has.
        found: String,
    },
    /// Not JSON, or not of the predicate's form.
    #[error("statement: expected an in-toto statement in JSON, found {}", assay_schema::shown::json_error(.0))]
    Parse(#[from] serde_json::Error),
}

/// An in-toto Statement v1 whose predicate type was checked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Statement<P> {
    /// Always [`STATEMENT_TYPE`].
    #[serde(rename = "_type")]
    pub kind: String,
    /// What the statement is about.
    pub subject: Vec<Subject>,
    /// What kind of statement it is.
    #[serde(rename = "predicateType")]
    pub predicate_type: String,
    /// What it says.
    pub predicate: P,
}

/// One thing that a statement is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subject {
    /// Its name; a statement may leave it out.
    #[serde(default)]
    pub name: String,
    /// Its digests in hexadecimal, by algorithm.
    pub digest: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Head {
    #[serde(rename = "_type")]
    kind: String,
    #[serde(rename = "predicateType")]
    predicate_type: String,
    #[serde(rename = "subject")]
    _subject: IgnoredAny,
}

/// Reads a statement of one kind. Unknown fields are ignored, as in-toto demands of readers.
///
/// # Errors
/// Not JSON, not a Statement v1, another predicate type, or not of the form of `P`.
pub fn read<P: DeserializeOwned>(
    payload: &[u8],
    predicate_type: &str,
) -> Result<Statement<P>, StatementError> {
    let found = self::predicate_type(payload)?;
    if found != predicate_type {
        return Err(StatementError::PredicateType {
            expected: predicate_type.to_owned(),
            found: shown(&found),
        });
    }
    Ok(serde_json::from_slice(payload)?)
}

/// The predicate type that a statement says it has.
///
/// # Errors
/// Not JSON, or not a Statement v1.
pub fn predicate_type(payload: &[u8]) -> Result<String, StatementError> {
    let head: Head = serde_json::from_slice(payload)?;
    // in-toto Statement v1: `_type` is exactly this URI.
    if head.kind != STATEMENT_TYPE {
        return Err(StatementError::Type {
            found: shown(&head.kind),
        });
    }
    Ok(head.predicate_type)
}

/// The bytes that a DSSE signature over an in-toto payload covers (DSSE v1, PAE).
pub fn signed_bytes(payload: &[u8]) -> Vec<u8> {
    sigstore_types::pae(PAYLOAD_TYPE, payload)
}

/// A stranger's text as an error may repeat it.
pub(crate) fn shown(text: &str) -> String {
    assay_schema::shown::shortened(text, 256)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signs_the_bytes_that_dsse_says() {
        // DSSE v1, "PAE": lengths in decimal, one space between.
        assert_eq!(
            signed_bytes(b"{ }"),
            b"DSSEv1 28 application/vnd.in-toto+json 3 { }"
        );
    }

    #[test]
    fn refuses_a_statement_of_another_kind_before_reading_its_predicate() {
        let payload =
            br#"{"_type":"https://in-toto.io/Statement/v1","subject":[],"predicateType":"b","predicate":7}"#;
        let refused = read::<String>(payload, "a").unwrap_err();
        assert!(
            matches!(refused, StatementError::PredicateType { expected, found } if expected == "a" && found == "b")
        );
        assert!(matches!(
            read::<String>(payload, "b"),
            Err(StatementError::Parse(_))
        ));
        assert_eq!(read::<u8>(payload, "b").unwrap().predicate, 7);
    }

    #[test]
    fn repro_a_refusal_repeats_no_strangers_text_at_length() {
        let payload = format!("\"{}\"", "x".repeat(1 << 20));
        let refused = predicate_type(payload.as_bytes()).unwrap_err().to_string();
        assert!(refused.len() < 1000, "{} bytes", refused.len());
    }
}
