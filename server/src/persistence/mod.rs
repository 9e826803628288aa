//! The only place that queries the database. Rooms call the methods of [`Database`]; entities never leave this module.
//!
//! It is trusted with names, states and digests, never with authority: whoever steals or rewrites it still cannot make a device
//! accept what its authority did not sign.
//!
//! | file | holds |
//! |---|---|
//! | `namespaces` | namespaces, metadata, the compare-and-swap of a publication |
//! | `online_keys` | sealed keys of the online roles, present and next |
//! | `lookups` | what publication and distribution ask about blobs and releases |
//! | `releases` | candidates, listings, search |
//! | `transaction` | how transactions that write begin and commit |
//! | `blobs` | blobs, links, pins, the segments that hold them |
//! | `uploads` | uploads from their first row to their blob |
//! | `tokens` | API tokens |
//! | `proposals` | publications that collect signatures |
//! | `log` | entries of the transparency log, its tree and batches |
//! | `log_keys` | its next key, and those that it had |
//! | `cosignatures` | what witnesses cosigned of it |
//! | `deltas` | deltas between releases, with their blobs |
//! | `delta_work` | which of them are to be made, and by whom; which bases devices reported |
//!
//! SQLite has one writing connection, whose transactions begin IMMEDIATE, and a few reading ones (WAL). No transaction stays
//! open across the object store.

mod blobs;
mod connection;
mod convert;
mod cosignatures;
mod delta_work;
mod deltas;
mod entity;
mod error;
mod log;
mod log_keys;
mod lookups;
mod migration;
mod namespaces;
mod online_keys;
mod proposals;
mod releases;
mod tokens;
mod transaction;
mod types;
mod uploads;

pub use connection::{Database, WriteCount};
pub use cosignatures::Cosignature;
pub use delta_work::{BASES_OF_A_MODEL, DeltaPair, JobEnd, StaleDelta};
pub use deltas::KeptDelta;
pub use error::DatabaseError;
pub use log::{LogPlace, LogRecord};
pub use log_keys::NextLogKey;
pub use proposals::{AddedProposal, ProposalRecord, ProposalSignature};
pub use tokens::{NewTokenRecord, TokenRecord};
pub use types::*;
pub use uploads::Finished;
