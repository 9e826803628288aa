//! Model signatures against permitted signers.

use std::collections::BTreeMap;

use assay_schema::Sha256Digest;
use assay_schema::signers::{Signer, SignerIdentity};
use jiff::Timestamp;
use sigstore_types::{Bundle, DsseEnvelope, MediaType};

use super::predicate::{self, Listing, PREDICATE_TYPE, Predicate, Serialization};
use crate::bundle::{self, Carried};
use crate::crypto;
use crate::error::{Attempt, BundleError, Mismatch, ProvenanceError};
use crate::key::{KeyAlgorithm, PublicKey};
use crate::sigstore::{self, Artifact, Evidence, Expected, SigstoreError, TrustedRoot};
use crate::statement;

/// A model signature that a permitted signer made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedSignature {
    /// The permitted signer's name.
    pub signer: String,
    /// What proved to be them.
    pub signed_by: SignedBy,
    /// Always [`PREDICATE_TYPE`].
    pub predicate_type: String,
    /// What the signer called the model: the name of the folder that they signed. Free text, for showing only.
    pub model_name: String,
    /// Every file that was signed, by name. The names are the signer's: compare them, and never open a file by them.
    pub resources: BTreeMap<String, Sha256Digest>,
    /// How the files became that list.
    pub serialization: Serialization,
    /// The earliest verified time of signing; none for a key, whose signature proves no time.
    pub signed_at: Option<Timestamp>,
}

/// What proved to be the signer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SignedBy {
    /// A key.
    Key {
        /// The SHA-256 of its `SubjectPublicKeyInfo`.
        fingerprint: Sha256Digest,
        /// What kind of key it is.
        algorithm: KeyAlgorithm,
    },
    /// A Sigstore certificate.
    Sigstore {
        /// The subject alternative name.
        subject: String,
        /// The OIDC issuer.
        issuer: String,
    },
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
/// `sigstore_root` is the namespace's `trusted_root.json`; without it no [`SignerIdentity::Sigstore`] can be verified. Whether the
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
    match bundle::carried(&bundle) {
        carried @ Carried::Key { .. } => {
            // OMS 1.0: by key, the bundle is v0.3 and nothing else.
            if bundle.media_type != MediaType::Bundle0_3 {
                return Err(BundleError::MediaType {
                    expected: MediaType::Bundle0_3.as_str(),
                    found: bundle.media_type.to_string(),
                }
                .into());
            }
            // The signature comes first: nothing of a stranger's statement is interpreted.
            let (signer, key) = signed_by_key(envelope, permitted, carried)?;
            let signed_by = SignedBy::Key {
                fingerprint: key.fingerprint(),
                algorithm: key.algorithm(),
            };
            let listing = read_listing(payload)?;
            Ok(verified(signer, signed_by, listing, None))
        }
        carried @ Carried::Certificate { .. } => {
            // The library wants to know the artifact: the list, whose digest is the subject.
            let listing = read_listing(payload)?;
            let root = sigstore_root
                .map(TrustedRoot::read)
                .transpose()
                .map_err(ProvenanceError::Root)?;
            let claim = Claim {
                bundle: &bundle,
                subject_digest: listing.subject_digest,
                carried,
            };
            let (signer, signed_by, evidence) = signed_by_certificate(claim, permitted, root.as_ref(), now)?;
            Ok(verified(signer, signed_by, listing, evidence.signed_at))
        }
    }
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

fn read_listing(payload: &[u8]) -> Result<Listing, ProvenanceError> {
    let statement = statement::read::<Predicate>(payload, PREDICATE_TYPE)?;
    Ok(predicate::listing(statement)?)
}

fn signed_by_key<'a>(
    envelope: &DsseEnvelope,
    permitted: &[&'a Signer],
    carried: Carried,
) -> Result<(&'a Signer, PublicKey), ProvenanceError> {
    let message = envelope.pae();
    let mut attempts = Vec::new();
    for signer in permitted {
        let reason = match &signer.identity {
            SignerIdentity::Sigstore { .. } => Mismatch::SignsBySigstore,
            SignerIdentity::Key { spki } => {
                let tried = PublicKey::from_spki_base64(spki).and_then(|key| {
                    key.verify(&message, envelope.signature.sig.as_bytes())?;
                    Ok(key)
                });
                match tried {
                    Ok(key) => return Ok((signer, key)),
                    Err(error) => error.into(),
                }
            }
        };
        attempts.push(Attempt {
            signer: signer.name.clone(),
            reason,
        });
    }
    Err(ProvenanceError::NotPermitted {
        carried,
        permitted: attempts,
    })
}

/// A certificate's signature over a list of files, not verified yet.
struct Claim<'a> {
    bundle: &'a Bundle,
    subject_digest: Sha256Digest,
    carried: Carried,
}

fn signed_by_certificate<'a>(
    claim: Claim<'_>,
    permitted: &[&'a Signer],
    root: Option<&TrustedRoot>,
    now: Timestamp,
) -> Result<(&'a Signer, SignedBy, Evidence), ProvenanceError> {
    let artifact = Artifact::Digest(claim.subject_digest);
    let claimed = bundle::certificate_claims(claim.bundle);
    let mut attempts = Vec::new();
    for signer in permitted {
        let reason = match (&signer.identity, root) {
            (SignerIdentity::Key { .. }, _) => Mismatch::SignsByKey,
            (SignerIdentity::Sigstore { .. }, None) => Mismatch::NoRoot,
            (SignerIdentity::Sigstore { issuer, subject }, Some(root)) => {
                let expected = Expected::Identity { subject, issuer };
                // A certificate that does not even claim to be theirs need not be verified for each of many signers.
                let tried = theirs(&claimed, subject, issuer)
                    .and_then(|()| sigstore::verify_parsed(claim.bundle, artifact, expected, root, now));
                match tried {
                    Ok(evidence) => {
                        let (subject, issuer) = (subject.clone(), issuer.clone());
                        return Ok((signer, SignedBy::Sigstore { subject, issuer }, evidence));
                    }
                    Err(error) => error.into(),
                }
            }
        };
        attempts.push(Attempt {
            signer: signer.name.clone(),
            reason,
        });
    }
    Err(ProvenanceError::NotPermitted {
        carried: claim.carried,
        permitted: attempts,
    })
}

fn theirs(
    (claimed_subject, claimed_issuer): &(Option<String>, Option<String>),
    subject: &str,
    issuer: &str,
) -> Result<(), SigstoreError> {
    if claimed_subject.as_deref() != Some(subject) {
        return Err(SigstoreError::Identity {
            expected: subject.to_owned(),
            found: claimed_subject.clone(),
        });
    }
    if claimed_issuer.as_deref() != Some(issuer) {
        return Err(SigstoreError::Issuer {
            expected: issuer.to_owned(),
            found: claimed_issuer.clone(),
        });
    }
    Ok(())
}

fn verified(
    signer: &Signer,
    signed_by: SignedBy,
    listing: Listing,
    signed_at: Option<Timestamp>,
) -> VerifiedSignature {
    VerifiedSignature {
        signer: signer.name.clone(),
        signed_by,
        predicate_type: PREDICATE_TYPE.to_owned(),
        model_name: listing.model_name,
        resources: listing.resources,
        serialization: listing.serialization,
        signed_at,
    }
}
