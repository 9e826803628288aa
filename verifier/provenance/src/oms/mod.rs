//! OpenSSF Model Signing v1.0: one signature over the names and digests of all files of a model.
//!
//! A model signature is a Sigstore bundle v0.3 around an in-toto statement with the predicate type [`PREDICATE_TYPE`]. Its *subject*
//! digest is the SHA-256 of the files' raw digests in the order of `predicate.resources`; it does not bind the files' names. So what
//! counts is [`VerifiedSignature::resources`]: the caller compares names *and* digests with the release, in both directions.
//!
//! By key, OMS knows P-256, P-384 and P-521; Ed25519 is Assay's own extension, which `model_signing` refuses. The bundle's key hint
//! and transparency entries are not evidence in this mode, and are not looked at. By certificate, see [`crate::certificate`]. Read,
//! and never written, is the format of before 1.0 ([`legacy`]). Not supported, and refused: files in shards, one digest for the
//! whole model, and hashes other than SHA-256.

pub mod legacy;
mod predicate;
mod verify;

pub use crate::signer::SignedBy;
pub use legacy::LEGACY_PREDICATE_TYPE;
pub use predicate::{OmsError, PREDICATE_TYPE, Predicate, Resource, Serialization, subject_digest};
pub use verify::{UnverifiedClaims, VerifiedSignature, read_unverified_claims, verify_model_signature};

/// The predicate types of model signatures: of OMS 1.0, and of the format before it.
pub const MODEL_SIGNATURES: [&str; 2] = [PREDICATE_TYPE, LEGACY_PREDICATE_TYPE];
