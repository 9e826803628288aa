//! The `x-assay` binding: whose role a metadata file is.

use std::collections::BTreeMap;

use assay_schema::{Sha256Digest, tuf};
use serde_json::Value;

use crate::error::TrustError;

/// Refuses a file whose signed part does not name this namespace and this role.
///
/// TUF's signed bytes name neither the repository nor, for targets files, the role: where a key serves two of them, one's file
/// could be served as the other's.
pub(crate) fn check(
    extra: &BTreeMap<String, Value>,
    identity: &Sha256Digest,
    role: &str,
) -> Result<(), TrustError> {
    let found = extra.get(tuf::FIELD);
    match read(extra) {
        Some(binding) if binding.namespace == *identity && binding.role == role => Ok(()),
        _ => Err(TrustError::Binding {
            role: role.to_owned(),
            expected: format!("namespace {identity}, role {role}"),
            found: found.map_or_else(
                || "no x-assay field".to_owned(),
                |v| v.to_string().chars().take(200).collect(),
            ),
        }),
    }
}

/// The binding, if it can be read.
pub(crate) fn read(extra: &BTreeMap<String, Value>) -> Option<tuf::Binding> {
    serde_json::from_value(extra.get(tuf::FIELD)?.clone()).ok()
}
