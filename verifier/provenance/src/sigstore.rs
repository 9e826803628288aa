//! Sigstore bundles (v0.1 to v0.3) against a trusted root and a named signer, on `sigstore-verify`.
//!
//! That crate's interface still changes, so nothing of it shows here. Every check that it can skip stays on: certificate chain, SCT,
//! transparency log, identity *and* issuer.
//!
//! # The clock
//!
//! `sigstore-verify` reads the system's clock by itself and cannot be given another: to refuse times that lie in the future, and to
//! see whether a log's key is in use yet. Certificates it checks at verified signing times, not at the clock's. What remains is
//! made good here: authorities and logs that start after the caller's `now` are taken out of the trusted root before, and verified
//! times after `now` are refused behind. So a system clock that is *ahead* changes nothing; one that is *behind* can only refuse
//! more, never accept more. In a browser `jiff`'s feature `js` supplies that clock.

use assay_schema::Sha256Digest;
use assay_schema::limits::MAX_TRUST_TARGET;
use jiff::Timestamp;
use serde::de::DeserializeOwned;
use sigstore_types::bundle::VerificationMaterialContent;
use sigstore_types::{Artifact as Input, Bundle, DerPublicKey, Sha256Hash, SignatureContent, TimeRange};
use sigstore_verify::{PublicKeyVerificationPolicy, VerificationPolicy, VerificationResult, Verifier};

use x509_cert::Certificate;
use x509_cert::der::Decode as _;

use crate::bundle;
use crate::crypto::{self, CryptoError};
use crate::error::{BundleError, StatementError};
use crate::key::PublicKey;
use crate::statement::{self, Statement};

/// Why a Sigstore bundle is not accepted. The texts explain; only the variants are to be matched on.
#[derive(Debug, thiserror::Error)]
pub enum SigstoreError {
    /// The process's cryptographic provider must not be used.
    #[error(transparent)]
    Crypto(#[from] CryptoError),
    /// Not a bundle, or one that contradicts itself.
    #[error("sigstore: expected a well-formed bundle, found {0}")]
    Bundle(String),
    /// A bundle with contents that cannot be verified here.
    #[error("sigstore: expected contents that can be verified, found {0}")]
    Unsupported(String),
    /// The trusted root cannot be used.
    #[error(
        "sigstore: expected a usable trusted root, found {0}; fetch the instance's current trusted_root.json"
    )]
    Root(String),
    /// The certificate is somebody else's.
    #[error("sigstore: expected a certificate for {expected:?}, found one for {found:?}")]
    Identity {
        /// The subject that is permitted.
        expected: String,
        /// The certificate's.
        found: Option<String>,
    },
    /// The certificate's owner was known to another issuer.
    #[error("sigstore: expected a certificate on the word of issuer {expected:?}, found {found:?}")]
    Issuer {
        /// The issuer that is permitted.
        expected: String,
        /// The certificate's.
        found: Option<String>,
    },
    /// The signature is not the signer's.
    #[error("sigstore: expected the signer's signature, found {0}")]
    Signature(String),
    /// The bundle is about something else.
    #[error("sigstore: expected a bundle about this artifact, found {0}")]
    Artifact(String),
    /// The signing certificate is not one of the trusted root's.
    #[error("sigstore: expected a certificate that the trusted root vouches for, found {0}")]
    Certificate(String),
    /// The transparency log does not vouch for the signature.
    #[error("sigstore: expected a proof by a trusted transparency log, found {0}")]
    Log(String),
    /// No trusted time of signing.
    #[error("sigstore: expected a trusted time of signing, found {0}")]
    Timestamp(String),
    /// Signed after the present.
    #[error(
        "sigstore: expected a time of signing not after {now}, found {found}; is this device's clock right?"
    )]
    Future {
        /// When it was signed.
        found: Timestamp,
        /// The present, as the caller sees it.
        now: Timestamp,
    },
    /// The library accepted the bundle but did not report having checked this.
    #[error("sigstore: expected {0} to be verified, found that it was not")]
    NotChecked(&'static str),
    /// The signed statement is not the one that is needed.
    #[error(transparent)]
    Statement(#[from] StatementError),
}

impl SigstoreError {
    /// The kind of refusal as a word that stays the same: for programs, and for other languages.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Crypto(_) => "crypto",
            Self::Bundle(_) => "bundle",
            Self::Unsupported(_) => "unsupported",
            Self::Root(_) => "root",
            Self::Identity { .. } => "identity",
            Self::Issuer { .. } => "issuer",
            Self::Signature(_) => "signature",
            Self::Artifact(_) => "artifact",
            Self::Certificate(_) => "certificate",
            Self::Log(_) => "log",
            Self::Timestamp(_) => "timestamp",
            Self::Future { .. } => "future",
            Self::NotChecked(_) => "not-checked",
            Self::Statement(_) => "statement",
        }
    }
}

/// A Sigstore trusted root: whose certificates, logs and timestamps count.
#[derive(Debug, Clone)]
pub struct TrustedRoot(sigstore_trust_root::TrustedRoot);

impl TrustedRoot {
    /// Reads `trusted_root.json`, at most [`MAX_TRUST_TARGET`] bytes.
    ///
    /// # Errors
    /// Too long, or not a trusted root.
    pub fn read(json: &[u8]) -> Result<Self, SigstoreError> {
        if json.len() as u64 > MAX_TRUST_TARGET {
            return Err(SigstoreError::Root(format!(
                "{} bytes, more than {MAX_TRUST_TARGET}",
                json.len()
            )));
        }
        let text = std::str::from_utf8(json).map_err(|error| SigstoreError::Root(error.to_string()))?;
        sigstore_trust_root::TrustedRoot::from_json(text)
            .map(Self)
            .map_err(|error| SigstoreError::Root(statement::shown(&error.to_string())))
    }

    /// The root of Sigstore's public-good instance as it was when this software was made. For tools whose user names no other; a
    /// device takes its namespace's.
    ///
    /// # Errors
    /// None, unless the library's copy is broken.
    pub fn public_good() -> Result<Self, SigstoreError> {
        Self::read(sigstore_trust_root::SIGSTORE_PRODUCTION_TRUSTED_ROOT.as_bytes())
    }

    /// The root of the public-good instance's staging environment, where anybody can get any certificate: for tests alone.
    ///
    /// # Errors
    /// None, unless the library's copy is broken.
    pub fn public_good_staging() -> Result<Self, SigstoreError> {
        Self::read(sigstore_trust_root::SIGSTORE_STAGING_TRUSTED_ROOT.as_bytes())
    }

    /// Without what starts after `now` (see the module about clocks).
    fn at(&self, now: Timestamp) -> sigstore_trust_root::TrustedRoot {
        let started = |window: &Option<TimeRange>| window.as_ref().is_none_or(|range| range.start <= now);
        let mut root = self.0.clone();
        root.tlogs.retain(|log| started(&log.public_key.valid_for));
        root.ctlogs.retain(|log| started(&log.public_key.valid_for));
        root.certificate_authorities
            .retain(|authority| started(&authority.valid_for));
        root.timestamp_authorities
            .retain(|authority| started(&authority.valid_for));
        root
    }
}

/// What the bundle must be about.
#[derive(Debug, Clone, Copy)]
pub enum Artifact<'a> {
    /// These bytes.
    Bytes(&'a [u8]),
    /// The bytes that have this digest.
    Digest(Sha256Digest),
    /// An in-toto statement for its own sake: comparing its subjects with anything is left to the caller.
    Statement,
}

/// Who must have signed.
#[derive(Debug, Clone, Copy)]
pub enum Expected<'a> {
    /// The owner of a certificate; both exactly.
    Identity {
        /// The subject alternative name: an e-mail address or URI.
        subject: &'a str,
        /// The OIDC issuer's URL.
        issuer: &'a str,
    },
    /// The owner of a key (P-256, P-384 or Ed25519), logged in the transparency log.
    Key(&'a PublicKey),
}

/// What a verified bundle proved.
#[derive(Debug, Clone)]
pub struct Evidence {
    /// The certificate's subject; none for a key.
    pub subject: Option<String>,
    /// The certificate's issuer; none for a key.
    pub issuer: Option<String>,
    /// The earliest verified time of signing, by a log or a timestamp authority; none if a key's bundle has no time.
    pub signed_at: Option<Timestamp>,
    payload: Option<Vec<u8>>,
}

impl Evidence {
    /// The signed statement, if it is one of this kind.
    ///
    /// # Errors
    /// The bundle signs bytes and no statement, or a statement of another predicate type or form.
    pub fn statement<P: DeserializeOwned>(
        &self,
        predicate_type: &str,
    ) -> Result<Statement<P>, SigstoreError> {
        let payload = self.payload.as_deref().ok_or_else(|| {
            SigstoreError::Unsupported("a message signature, where a statement is needed".to_owned())
        })?;
        Ok(statement::read(payload, predicate_type)?)
    }
}

/// Verifies a Sigstore bundle: certificate or key, transparency log, time and signature, for one artifact and one signer.
///
/// # Errors
/// Anything that does not hold; the variant says what.
pub fn verify(
    bundle: &[u8],
    artifact: Artifact<'_>,
    expected: Expected<'_>,
    root: &TrustedRoot,
    now: Timestamp,
) -> Result<Evidence, SigstoreError> {
    let bundle = bundle::read(bundle).map_err(|error| match error {
        BundleError::Parse(found) => SigstoreError::Bundle(found),
        other => SigstoreError::Bundle(other.to_string()),
    })?;
    verify_parsed(&bundle, artifact, expected, root, now)
}

pub(crate) fn verify_parsed(
    bundle: &Bundle,
    artifact: Artifact<'_>,
    expected: Expected<'_>,
    root: &TrustedRoot,
    now: Timestamp,
) -> Result<Evidence, SigstoreError> {
    crypto::install()?;
    refuse_root_in_chain(bundle)?;
    let verifier = Verifier::new(&root.at(now)).map_err(|error| SigstoreError::Root(error.to_string()))?;
    let payload = match &bundle.content {
        SignatureContent::DsseEnvelope(envelope) => Some(bundle::in_toto(envelope)?.to_vec()),
        _ => None,
    };
    let input = match artifact {
        Artifact::Bytes(bytes) => Input::from_blob(bytes),
        Artifact::Digest(digest) => Input::from_digest(Sha256Hash::new(*digest.as_bytes())),
        Artifact::Statement => Input::from_digest(first_subject(payload.as_deref())?),
    };
    let result = match expected {
        Expected::Identity { subject, issuer } => {
            verifier.verify(input, bundle, &VerificationPolicy::new(subject, issuer))
        }
        Expected::Key(key) => {
            let key = DerPublicKey::new(key.spki_der().to_vec());
            verifier.verify(input, bundle, &PublicKeyVerificationPolicy::new(key))
        }
    }?;
    refuse_unchecked(&result, expected)?;
    if let Some(found) = result.verified_timestamps().iter().find(|time| **time > now) {
        return Err(SigstoreError::Future { found: *found, now });
    }
    Ok(Evidence {
        subject: result.identity().map(|name| name.as_str().to_owned()),
        issuer: result.issuer().map(str::to_owned),
        signed_at: result.verified_timestamps().iter().min().copied(),
        payload,
    })
}

/// Sigstore bundle, `X509CertificateChain`: signers must not put root certificates into it. The library lets them pass, since its
/// anchors come from the trusted root alone; other clients refuse such a bundle, and so must Assay.
fn refuse_root_in_chain(bundle: &Bundle) -> Result<(), SigstoreError> {
    let VerificationMaterialContent::X509CertificateChain { certificates } =
        &bundle.verification_material.content
    else {
        return Ok(());
    };
    for certificate in certificates {
        let parsed = Certificate::from_der(certificate.raw_bytes.as_bytes())
            .map_err(|error| SigstoreError::Bundle(format!("a malformed certificate: {error}")))?;
        if parsed.tbs_certificate.issuer == parsed.tbs_certificate.subject {
            return Err(SigstoreError::Bundle(
                "a root certificate in its chain".to_owned(),
            ));
        }
    }
    Ok(())
}

/// The digest that binds a statement to itself: the library insists on some artifact.
fn first_subject(payload: Option<&[u8]>) -> Result<Sha256Hash, SigstoreError> {
    let payload = payload.ok_or_else(|| {
        SigstoreError::Unsupported("a message signature, where a statement is needed".to_owned())
    })?;
    let statement: sigstore_types::Statement =
        serde_json::from_slice(payload).map_err(|error| SigstoreError::Statement(error.into()))?;
    statement
        .subject
        .iter()
        .find_map(|subject| subject.digest.sha256)
        .ok_or_else(|| SigstoreError::Unsupported("a statement without a SHA-256 subject".to_owned()))
}

/// A library update that skips something by default must not go unnoticed.
fn refuse_unchecked(result: &VerificationResult, expected: Expected<'_>) -> Result<(), SigstoreError> {
    let by_certificate = matches!(expected, Expected::Identity { .. });
    let checks = [
        ("the transparency log", result.tlog_verified()),
        (
            "the certificate chain",
            !by_certificate || result.certificate_verified(),
        ),
        ("the certificate's SCT", !by_certificate || result.sct_verified()),
        (
            "the signer's identity",
            !by_certificate || result.identity_policy_checked(),
        ),
        (
            "a time of signing",
            !by_certificate || !result.verified_timestamps().is_empty(),
        ),
    ];
    match checks.iter().find(|(_, checked)| !checked) {
        Some((what, _)) => Err(SigstoreError::NotChecked(what)),
        None => Ok(()),
    }
}

impl From<sigstore_verify::Error> for SigstoreError {
    fn from(error: sigstore_verify::Error) -> Self {
        use sigstore_verify::Error as E;
        let text = error.to_string();
        match error {
            E::IdentityMismatch { expected, actual } => Self::Identity {
                expected: expected.to_string(),
                found: actual.map(|name| name.as_str().to_owned()),
            },
            E::IssuerMismatch { expected, actual } => Self::Issuer {
                expected,
                found: actual,
            },
            E::SignatureInvalid(_) => Self::Signature(text),
            E::ArtifactMismatch(_) => Self::Artifact(text),
            E::Certificate(_) => Self::Certificate(text),
            E::TransparencyLog(_) => Self::Log(text),
            E::Timestamp(_) => Self::Timestamp(text),
            E::InvalidBundle(_) | E::Types(_) | E::Bundle(_) => Self::Bundle(text),
            E::InvalidTrustRoot(_) | E::TrustRoot(_) | E::TrustedCertificate(_) => Self::Root(text),
            E::Crypto(sigstore_crypto::Error::Verification(_)) => Self::Signature(text),
            // The crate's errors may grow; what is unknown is refused as unsupported.
            _ => Self::Unsupported(text),
        }
    }
}
