//! Signing for Assay: keys, TUF metadata, namespaces, releases and model signatures.
//!
//! Used by an authority and its publishers, and by the registry for its own online roles. Nothing here reads a file or a
//! clock: bytes and times come in, bytes go out. Randomness is drawn only to make keys and to encrypt them.
//!
//! | module | holds |
//! |---|---|
//! | [`attestation`] | in-toto statements in Sigstore bundles, by key |
//! | [`key`] | private keys (Ed25519, P-256, P-384, P-521), their PEM forms, signatures |
//! | [`public`] | public keys, TUF key objects and key ids |
//! | [`metadata`] | root, targets, snapshot and timestamp: made, read back, edited, signed |
//! | [`namespace`] | the first metadata of a namespace |
//! | [`release`] | file digests, release manifests, publications |
//! | [`proposal`] | publications that some of their signers have not signed yet |
//! | [`token`] | keys that are kept in a token (PKCS#11): traits and refusals |
//! | [`oms`] | OpenSSF Model Signing v1.0 signatures by key |
#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic
    )
)]

pub mod attestation;
pub mod key;
pub mod metadata;
pub mod namespace;
pub mod oms;
pub mod proposal;
pub mod public;
pub mod release;
pub mod token;

pub use key::{KeyError, KeyKind, SigningKey};
pub use metadata::{
    FileMeta, MetadataError, RoleKeys, Root, Signed, Snapshot, Target, Targets, TimestampRole, TopRole,
};
pub use public::PublicKey;
pub use token::{FoundKey, TokenError, TokenKey, Tokens};
