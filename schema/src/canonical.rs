//! Canonical JSON as TUF signs it (OLPC, not RFC 8785), and bounded parsing of strangers' JSON.
//!
//! Keys sorted by their UTF-8 bytes, no white space, integers only, and in strings only `"` and `\` escaped. A string with a
//! control character has no form that is both canonical and JSON, so Assay's own documents hold none.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::shown;

/// A value without a canonical form, or bytes that are not what they should be.
#[derive(Debug, thiserror::Error)]
pub enum JsonError {
    /// Longer than this kind of document may be.
    #[error("expected at most {limit} bytes, found {found}")]
    TooLong {
        /// The limit in bytes.
        limit: u64,
        /// The length in bytes.
        found: u64,
    },
    /// Not JSON, nested too deeply (128 levels), or not of the expected form.
    #[error("{}", shown::json_error(.0))]
    Parse(#[from] serde_json::Error),
    /// A number that is not an integer of 64 bits.
    #[error("expected integers only, found {0}")]
    NotAnInteger(serde_json::Number),
    /// A control character in a string of one of Assay's own documents.
    #[error("expected no control character, found one in {0:?}")]
    ControlCharacter(String),
    /// JSON whose bytes are not in canonical form.
    #[error("expected canonical JSON (sorted keys, no white space, no duplicate keys), found another form")]
    NotCanonical,
}

/// The bytes that a TUF signature covers; strings may hold control characters, which stand as they are.
///
/// # Errors
/// A number is not an integer.
pub fn signed_bytes(value: &Value) -> Result<Vec<u8>, JsonError> {
    let mut out = Vec::new();
    encode(value, &mut out)?;
    Ok(out)
}

/// One of Assay's own documents in canonical form, which is also JSON.
///
/// # Errors
/// A number is not an integer, or a string holds a control character.
pub fn document<T: Serialize>(value: &T) -> Result<Vec<u8>, JsonError> {
    let value = serde_json::to_value(value)?;
    refuse_controls(&value)?;
    signed_bytes(&value)
}

/// Reads one of Assay's own documents, whose bytes must be its canonical form.
///
/// # Errors
/// Too long, not JSON, not canonical, or not of the form of `T`.
pub fn read_document<T: DeserializeOwned>(bytes: &[u8], limit: u64) -> Result<T, JsonError> {
    let value: Value = read(bytes, limit)?;
    refuse_controls(&value)?;
    if signed_bytes(&value)? != bytes {
        return Err(JsonError::NotCanonical);
    }
    Ok(serde_json::from_value(value)?)
}

/// Reads JSON of any form, at most `limit` bytes and 128 levels deep.
///
/// # Errors
/// Too long, not JSON, or not of the form of `T`.
pub fn read<T: DeserializeOwned>(bytes: &[u8], limit: u64) -> Result<T, JsonError> {
    let found = bytes.len() as u64;
    if found > limit {
        return Err(JsonError::TooLong { limit, found });
    }
    Ok(serde_json::from_slice(bytes)?)
}

fn refuse_controls(value: &Value) -> Result<(), JsonError> {
    let text = |s: &String| match s.chars().any(char::is_control) {
        true => Err(JsonError::ControlCharacter(s.chars().take(80).collect())),
        false => Ok(()),
    };
    match value {
        Value::String(s) => text(s),
        Value::Array(items) => items.iter().try_for_each(refuse_controls),
        Value::Object(map) => map.iter().try_for_each(|(key, value)| {
            text(key)?;
            refuse_controls(value)
        }),
        Value::Null | Value::Bool(_) | Value::Number(_) => Ok(()),
    }
}

fn encode(value: &Value, out: &mut Vec<u8>) -> Result<(), JsonError> {
    match value {
        Value::Null => out.extend_from_slice(b"null"),
        Value::Bool(true) => out.extend_from_slice(b"true"),
        Value::Bool(false) => out.extend_from_slice(b"false"),
        Value::Number(n) if n.is_i64() || n.is_u64() => out.extend_from_slice(n.to_string().as_bytes()),
        Value::Number(n) => return Err(JsonError::NotAnInteger(n.clone())),
        Value::String(s) => encode_string(s, out),
        Value::Array(items) => {
            out.push(b'[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push(b',');
                }
                encode(item, out)?;
            }
            out.push(b']');
        }
        Value::Object(map) => {
            // `&str` compares by UTF-8 bytes, which is the order of code points.
            let mut entries: Vec<_> = map.iter().collect();
            entries.sort_unstable_by_key(|(key, _)| key.as_str());
            out.push(b'{');
            for (i, (key, item)) in entries.into_iter().enumerate() {
                if i > 0 {
                    out.push(b',');
                }
                encode_string(key, out);
                out.push(b':');
                encode(item, out)?;
            }
            out.push(b'}');
        }
    }
    Ok(())
}

fn encode_string(s: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    for b in s.bytes() {
        if matches!(b, b'"' | b'\\') {
            out.push(b'\\');
        }
        out.push(b);
    }
    out.push(b'"');
}
