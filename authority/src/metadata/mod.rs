//! TUF metadata as an authority and a registry write it: made or read back, edited, signed.
//!
//! Every type keeps the fields of the file that it was read from; the next version of a root or targets file has those only that
//! this software knows ([`Targets::known`]), for nobody can be shown what the others mean. The signature covers the canonical
//! (OLPC) form of `signed`; the file is ordinary JSON with sorted keys.

mod document;
mod error;
mod expiry;
mod keys;
mod known;
mod online;
mod root;
mod signed;
mod targets;

pub use error::MetadataError;
pub use expiry::{
    MODEL_ROLE_DAYS, ROOT_DAYS, SNAPSHOT_DAYS, STATUS_DAYS, TARGETS_DAYS, TIMESTAMP_DAYS, default_expiry,
};
pub use keys::RoleKeys;
pub use known::Unknown;
pub use online::{FileMeta, Snapshot, TimestampRole};
pub use root::Root;
pub use signed::{Signed, add_signature, sign_value};
pub use targets::{Delegation, Target, Targets};

/// A top-level role.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TopRole {
    /// `root`.
    Root,
    /// `targets`.
    Targets,
    /// `snapshot`.
    Snapshot,
    /// `timestamp`.
    Timestamp,
}

impl TopRole {
    /// All four.
    pub const ALL: [Self; 4] = [Self::Root, Self::Targets, Self::Snapshot, Self::Timestamp];

    /// The role's name in TUF.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::Targets => "targets",
            Self::Snapshot => "snapshot",
            Self::Timestamp => "timestamp",
        }
    }
}
