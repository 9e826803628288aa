//! When metadata expires: the defaults, and how the time is written.

use assay_schema::status;
use jiff::{SignedDuration, Timestamp};

use super::error::MetadataError;

/// Days until root metadata expires.
pub const ROOT_DAYS: i64 = 365;
/// Days until top-level targets metadata expires.
pub const TARGETS_DAYS: i64 = 180;
/// Days until a model role's metadata expires.
pub const MODEL_ROLE_DAYS: i64 = 180;
/// Days until the status role's metadata expires.
pub const STATUS_DAYS: i64 = 30;
/// Days until snapshot metadata expires.
pub const SNAPSHOT_DAYS: i64 = 7;
/// Days until timestamp metadata expires.
pub const TIMESTAMP_DAYS: i64 = 1;

/// When metadata of this role, signed at `now`, expires by default. Every other name is a model role's.
///
/// # Errors
/// [`MetadataError::Expiry`]: `now` is at the end of time.
pub fn default_expiry(role: &str, now: Timestamp) -> Result<Timestamp, MetadataError> {
    let days = match role {
        "root" => ROOT_DAYS,
        "targets" => TARGETS_DAYS,
        status::ROLE => STATUS_DAYS,
        "snapshot" => SNAPSHOT_DAYS,
        "timestamp" => TIMESTAMP_DAYS,
        _ => MODEL_ROLE_DAYS,
    };
    now.checked_add(SignedDuration::from_hours(24 * days))
        .map_err(|_| bad(role, now))
}

/// `YYYY-MM-DDTHH:MM:SSZ` (TUF 1.0.31, 4.2.2): whole seconds, rounded down.
pub(super) fn format(role: &str, time: Timestamp) -> Result<String, MetadataError> {
    let text = time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    if time.as_second() < 0 || text.len() != "1970-01-01T00:00:00Z".len() {
        return Err(bad(role, time));
    }
    Ok(text)
}

fn bad(role: &str, time: Timestamp) -> MetadataError {
    MetadataError::Expiry {
        role: role.to_owned(),
        found: time.to_string(),
    }
}
