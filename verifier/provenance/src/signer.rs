//! Who of the permitted signers signed an envelope: by key, by certificate of their own authorities, or by Sigstore identity.

use std::borrow::Cow;
use std::cell::OnceCell;

use assay_schema::Sha256Digest;
use assay_schema::signers::{Signer, SignerIdentity};
use jiff::Timestamp;
use sigstore_types::{Bundle, DsseEnvelope, MediaType};

use crate::bundle::{self, Carried};
use crate::certificate::{self, CertificateError};
use crate::error::{Attempt, BundleError, Mismatch, ProvenanceError};
use crate::key::{KeyAlgorithm, PublicKey};
use crate::oms::legacy;
use crate::sigstore::{self, Artifact, Evidence, Expected, SigstoreError, TrustedRoot};

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
    /// A certificate of the signer's own authorities.
    Certificate {
        /// The name of it that fits.
        subject: String,
        /// The SHA-256 of the certificate.
        fingerprint: Sha256Digest,
    },
    /// A Sigstore certificate.
    Sigstore {
        /// The subject alternative name.
        subject: String,
        /// The OIDC issuer.
        issuer: String,
    },
}

impl std::fmt::Display for SignedBy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Key {
                fingerprint,
                algorithm,
            } => write!(f, "{algorithm:?} key {fingerprint}"),
            Self::Certificate { subject, fingerprint } => {
                write!(f, "certificate {fingerprint} of {subject}")
            }
            Self::Sigstore { subject, issuer } => {
                write!(f, "certificate of {subject}, issued through {issuer}")
            }
        }
    }
}

/// An envelope whose signer is to be found.
pub(crate) struct Claim<'a> {
    pub(crate) bundle: &'a Bundle,
    pub(crate) envelope: &'a DsseEnvelope,
    /// The statement says that it is of `model_signing` 0.2, whose signatures covered other bytes.
    pub(crate) legacy: bool,
}

/// A permitted signer, what proved to be them, and the earliest proven time of signing.
pub(crate) type Found<'a> = (&'a Signer, SignedBy, Option<Timestamp>);

/// The first of the permitted signers whose signature it is.
pub(crate) fn find<'a>(
    claim: &Claim<'_>,
    permitted: &[&'a Signer],
    sigstore_root: Option<&[u8]>,
    now: Timestamp,
) -> Result<Found<'a>, ProvenanceError> {
    let carried = bundle::carried(claim.bundle);
    let by_key = matches!(carried, Carried::Key { .. });
    // OMS 1.0: by key, the bundle is v0.3 and nothing else.
    if by_key && claim.bundle.media_type != MediaType::Bundle0_3 {
        return Err(BundleError::MediaType {
            expected: MediaType::Bundle0_3.as_str(),
            found: claim.bundle.media_type.to_string(),
        }
        .into());
    }
    let messages = messages(claim);
    let root = Root {
        json: sigstore_root,
        read: OnceCell::new(),
    };
    let mut attempts = Vec::new();
    for signer in permitted {
        let tried = match (&signer.identity, by_key) {
            (SignerIdentity::Key { spki }, true) => with_key(spki, claim, &messages),
            (SignerIdentity::Key { .. }, false) => Err(Mismatch::SignsByKey),
            (SignerIdentity::Certificate { .. }, true) => Err(Mismatch::SignsByCertificate),
            (SignerIdentity::Certificate { roots, subject }, false) => {
                certificate::verify(claim.bundle, roots, subject, now)
                    .map_err(Mismatch::from)
                    .and_then(|leaf| with_certificate(leaf, claim, &messages))
            }
            (SignerIdentity::Sigstore { .. } | SignerIdentity::SigstorePattern { .. }, true) => {
                Err(Mismatch::SignsBySigstore)
            }
            (identity, false) => match root.get()? {
                None => Err(Mismatch::NoRoot),
                Some(root) => with_sigstore(claim.bundle, identity, root, now),
            },
        };
        match tried {
            Ok((signed_by, signed_at)) => return Ok((signer, signed_by, signed_at)),
            Err(reason) => attempts.push(Attempt {
                signer: signer.name.clone(),
                reason,
            }),
        }
    }
    Err(ProvenanceError::NotPermitted {
        carried,
        permitted: attempts,
    })
}

/// The namespace's Sigstore root, read once and only where somebody is judged by it.
struct Root<'a> {
    json: Option<&'a [u8]>,
    read: OnceCell<TrustedRoot>,
}

impl Root<'_> {
    fn get(&self) -> Result<Option<&TrustedRoot>, ProvenanceError> {
        let Some(json) = self.json else { return Ok(None) };
        if let Some(read) = self.read.get() {
            return Ok(Some(read));
        }
        let read = TrustedRoot::read(json).map_err(ProvenanceError::Root)?;
        Ok(Some(self.read.get_or_init(|| read)))
    }
}

/// What the signature may cover: DSSE's encoding, and for the old format what its signer took for that.
enum Message<'a> {
    Dsse(Vec<u8>),
    Legacy(Cow<'a, [u8]>),
}

fn messages<'a>(claim: &Claim<'_>) -> Vec<Message<'a>> {
    let mut messages = vec![Message::Dsse(claim.envelope.pae())];
    if claim.legacy {
        messages.push(Message::Legacy(Cow::Owned(legacy::signed_bytes(
            claim.envelope.payload.as_bytes(),
        ))));
    }
    messages
}

fn signed_with(
    key: &PublicKey,
    claim: &Claim<'_>,
    messages: &[Message<'_>],
) -> Result<(), crate::key::KeyError> {
    let signature = claim.envelope.signature.sig.as_bytes();
    let mut result = Ok(());
    for message in messages {
        result = match message {
            Message::Dsse(bytes) => key.verify(bytes, signature),
            Message::Legacy(bytes) => key.verify_sha256(bytes, signature),
        };
        if result.is_ok() {
            break;
        }
    }
    result
}

type Tried = Result<(SignedBy, Option<Timestamp>), Mismatch>;

fn with_key(spki: &str, claim: &Claim<'_>, messages: &[Message<'_>]) -> Tried {
    let key = PublicKey::from_spki_base64(spki)?;
    signed_with(&key, claim, messages)?;
    let (fingerprint, algorithm) = (key.fingerprint(), key.algorithm());
    // The key's hint and transparency entries are no evidence in this mode.
    Ok((
        SignedBy::Key {
            fingerprint,
            algorithm,
        },
        None,
    ))
}

fn with_certificate(leaf: certificate::Leaf, claim: &Claim<'_>, messages: &[Message<'_>]) -> Tried {
    signed_with(&leaf.key, claim, messages).map_err(CertificateError::from)?;
    let (subject, fingerprint) = (leaf.subject, leaf.fingerprint);
    Ok((SignedBy::Certificate { subject, fingerprint }, None))
}

fn with_sigstore(bundle: &Bundle, identity: &SignerIdentity, root: &TrustedRoot, now: Timestamp) -> Tried {
    let (claimed_subject, claimed_issuer) = bundle::certificate_claims(bundle);
    let (issuer, wanted, fits) = match identity {
        SignerIdentity::Sigstore { issuer, subject } => (
            issuer,
            subject.as_str(),
            claimed_subject.as_deref() == Some(subject),
        ),
        SignerIdentity::SigstorePattern { issuer, subject } => {
            let fits = claimed_subject
                .as_deref()
                .is_some_and(|claimed| subject.fits(claimed));
            (issuer, subject.as_str(), fits)
        }
        _ => return Err(Mismatch::SignsByKey),
    };
    // A certificate that does not even claim to be theirs need not be verified for each of many signers.
    let Some(subject) = claimed_subject.as_deref().filter(|_| fits) else {
        return Err(SigstoreError::Identity {
            expected: wanted.to_owned(),
            found: claimed_subject,
        }
        .into());
    };
    if claimed_issuer.as_deref() != Some(issuer) {
        return Err(SigstoreError::Issuer {
            expected: issuer.clone(),
            found: claimed_issuer,
        }
        .into());
    }
    let expected = Expected::Identity { subject, issuer };
    let Evidence { signed_at, .. } =
        sigstore::verify_parsed(bundle, Artifact::Statement, expected, root, now)?;
    let (subject, issuer) = (subject.to_owned(), issuer.clone());
    Ok((SignedBy::Sigstore { subject, issuer }, signed_at))
}
