//! The order of a model's releases.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::limits::{BLOCK, MAX_INTEGER};

/// A release's place among its model's releases: first by `epoch`, then by `counter`, both 1..2^53-1.
///
/// Publishers raise the counter, which never starts again; only the top-level targets role raises the epoch, by the
/// `max_epoch` of a delegation. A device never goes to a lower order by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "RawOrder")]
#[cfg_attr(feature = "json-schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ReleaseOrder {
    /// Raised by the authority only.
    epoch: u64,
    /// Raised with every release.
    counter: u64,
}

#[derive(Deserialize)]
#[cfg_attr(feature = "json-schema", derive(schemars::JsonSchema))]
struct RawOrder {
    #[cfg_attr(feature = "json-schema", schemars(range(min = 1, max = MAX_INTEGER)))]
    epoch: u64,
    #[cfg_attr(feature = "json-schema", schemars(range(min = 1, max = MAX_INTEGER)))]
    counter: u64,
}

/// An epoch or counter out of range.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected epoch and counter between 1 and 2^53-1, found {epoch} and {counter}")]
pub struct BadOrder {
    /// The epoch as found.
    pub epoch: u64,
    /// The counter as found.
    pub counter: u64,
}

impl ReleaseOrder {
    /// Checks the range of both numbers.
    ///
    /// # Errors
    /// One of them is 0 or above 2^53-1.
    pub fn new(epoch: u64, counter: u64) -> Result<Self, BadOrder> {
        let range = 1..=MAX_INTEGER;
        if range.contains(&epoch) && range.contains(&counter) {
            Ok(Self { epoch, counter })
        } else {
            Err(BadOrder { epoch, counter })
        }
    }

    /// The epoch.
    pub const fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The counter.
    pub const fn counter(&self) -> u64 {
        self.counter
    }

    /// The block of releases that one delegated role signs: `counter / 100`.
    pub const fn block(&self) -> u64 {
        self.counter / BLOCK
    }
}

impl TryFrom<RawOrder> for ReleaseOrder {
    type Error = BadOrder;

    fn try_from(raw: RawOrder) -> Result<Self, BadOrder> {
        Self::new(raw.epoch, raw.counter)
    }
}

impl fmt::Display for ReleaseOrder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.epoch, self.counter)
    }
}
