//! Assay for device apps and publishers: what does the I/O that the verifier asks for.
//!
//! Synchronous, on plain threads; memory stays bounded whatever the size of a model.
//!
//! | module | holds |
//! |---|---|
//! | [`transport`] | how bytes come from a registry: a trait, and HTTP |
//! | [`store`] | a device's store: pins, trusted metadata, releases, leases, durable steps |
//! | [`device`] | [`Device`]: trust, check, pull, verify, roll back, resume |
//! | [`publisher`] | the authority's folder of keys, namespaces, uploads, releases |
//! | [`catalog`] | what a registry says that it holds, and its tokens |
//! | [`delta`] | deltas between files on this machine |
//! | [`log`] | looking at a transparency log: audits, and a monitor for authorities |
//! | [`scan`] | what is in a folder, and whether a release may hold it |
//! | [`witness`] | a witness of transparency logs: its key, its memory, its answers |
//!
//! Trust decisions are not made here: they are `assay-verifier`'s, which this crate drives.
#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic
    )
)]

mod exclusive;
mod folder;
mod hash;

pub mod catalog;
pub mod delta;
pub mod device;
pub mod log;
pub mod publisher;
pub mod scan;
pub mod store;
pub mod transport;
pub mod witness;

pub use assay_verifier::Want;
pub use device::Device;
pub use folder::FileError;
pub use hash::sha256;
pub use store::{ActivateStep, ActiveRelease, Store, StoreError};
pub use transport::{HttpTransport, Transport, TransportError};
