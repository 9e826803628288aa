//! Who made it: signatures over models, and the cryptography that the whole verifier stands on.
//!
//! Nothing here reads files or the network. `now` is always an argument; the one place where a dependency looks at the system's
//! clock by itself is described in [`sigstore`].
//!
//! | module | holds |
//! |---|---|
//! | [`crypto`] | the one RustCrypto provider of the process, and SHA-256 |
//! | [`key`] | public keys: P-256, P-384, P-521, Ed25519 |
//! | [`statement`] | in-toto Statement v1 and the DSSE encoding that signatures cover |
//! | [`sigstore`] | Sigstore bundles v0.1-0.3 against a trusted root and a named signer |
//! | [`certificate`] | chains of an authority's own certificates |
//! | [`oms`] | `OpenSSF` Model Signing v1.0 and the format before it, by key, certificate or Sigstore identity |
//! | [`attestation`] | any other statement by a permitted signer, and what it is about |
//!
//! Signatures are never judged by what they carry: keys, identities and roots come from the caller, who has them from the
//! namespace's authority.

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
mod bundle;
pub mod certificate;
pub mod crypto;
pub mod error;
pub mod key;
pub mod oms;
mod signer;
pub mod sigstore;
pub mod statement;

pub use attestation::{VerifiedStatement, verify_statement};
pub use crypto::{Sha256, install, sha256};
pub use error::ProvenanceError;
pub use key::{KeyAlgorithm, KeyError, PublicKey};
pub use oms::{VerifiedSignature, verify_model_signature};
