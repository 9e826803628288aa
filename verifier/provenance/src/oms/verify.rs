//! Model signatures against permitted signers.

use std::collections::BTreeMap;

use assay_schema::Sha256Digest;
use assay_schema::signers::Signer;
use jiff::Timestamp;

use super::legacy::{self, LEGACY_PREDICATE_TYPE};
use super::predicate::{self, Listing, PREDICATE_TYPE, Predicate, Serialization};
use crate::bundle::{self, Carried};
use crate::crypto;
use crate::error::ProvenanceError;
use crate::signer::{self, Claim, SignedBy};
use crate::statement;

/// A model signature that a permitted signer made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedSignature {
    /// The permitted signer's name.
    pub signer: String,
    /// What proved to be them.
    pub signed_by: SignedBy,
    /// [`PREDICATE_TYPE`] or [`LEGACY_PREDICATE_TYPE`].
    pub predicate_type: String,
    /// What the signer called the model: the name of the folder that they signed; empty in the old format. Free text, for showing
    /// only.
    pub model_name: String,
    /// Every file that was signed, by name. The names are the signer's: compare them, and never open a file by them.
    pub resources: BTreeMap<String, Sha256Digest>,
    /// How the files became that list.
    pub serialization: Serialization,
    /// The earliest verified time of signing; none for a key, whose signature proves no time.
    pub signed_at: Option<Timestamp>,
}

/// What a bundle *claims*. Nobody checked a signature: for showing to people, never for a decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnverifiedClaims {
    /// What it says about its signer.
    pub carried: Carried,
    /// What it calls the model.
    pub model_name: String,
    /// The files that it lists.
    pub resources: BTreeMap<String, Sha256Digest>,
}

/// Verifies a model signature: one of the permitted signers made it, and its statement is consistent with itself.
///
/// `sigstore_root` is the namespace's `trusted_root.json`; without it no Sigstore identity can be verified. Whether the
/// signed names and digests are the release's is for the caller to compare.
///
/// # Errors
/// Not a model signature, or none of the permitted signers made it; the error lists them all with reasons.
pub fn verify_model_signature(
    bundle: &[u8],
    permitted: &[&Signer],
    sigstore_root: Option<&[u8]>,
    now: Timestamp,
) -> Result<VerifiedSignature, ProvenanceError> {
    crypto::install()?;
    let bundle = bundle::read(bundle)?;
    let envelope = bundle::envelope(&bundle)?;
    let payload = bundle::in_toto(envelope)?;
    let claim = Claim {
        bundle: &bundle,
        envelope,
        legacy: is_legacy(payload),
    };
    // The signature comes first: of a stranger's statement nothing is interpreted but its kind.
    let (signer, signed_by, signed_at) = signer::find(&claim, permitted, sigstore_root, now)?;
    let listing = read_listing(payload)?;
    Ok(VerifiedSignature {
        signer: signer.name.clone(),
        signed_by,
        predicate_type: match claim.legacy {
            true => LEGACY_PREDICATE_TYPE.to_owned(),
            false => PREDICATE_TYPE.to_owned(),
        },
        model_name: listing.model_name,
        resources: listing.resources,
        serialization: listing.serialization,
        signed_at,
    })
}

/// Reads what a model signature claims, *without verifying any signature*, to show it to people.
///
/// # Errors
/// Not a model signature, or one that contradicts itself.
pub fn read_unverified_claims(bundle: &[u8]) -> Result<UnverifiedClaims, ProvenanceError> {
    let bundle = bundle::read(bundle)?;
    let listing = read_listing(bundle::in_toto(bundle::envelope(&bundle)?)?)?;
    Ok(UnverifiedClaims {
        carried: bundle::carried(&bundle),
        model_name: listing.model_name,
        resources: listing.resources,
    })
}

fn is_legacy(payload: &[u8]) -> bool {
    statement::predicate_type(payload).is_ok_and(|found| found == LEGACY_PREDICATE_TYPE)
}

fn read_listing(payload: &[u8]) -> Result<Listing, ProvenanceError> {
    if is_legacy(payload) {
        return Ok(legacy::listing(payload)??);
    }
    let statement = statement::read::<Predicate>(payload, PREDICATE_TYPE)?;
    Ok(predicate::listing(statement)?)
}
