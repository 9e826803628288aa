//! Certificates of an authority's own, as OpenSSF Model Signing's certificate mode has them: a chain in the bundle, roots from whoever
//! permits the signer, and no transparency log.
//!
//! No trusted time says when such a signature was made. Like the reference implementation, the chain is judged at the moment from which
//! the signing certificate was valid, so that a model stays verifiable after its signer's certificate has ended. Whoever wants to
//! forbid a certificate takes its signer, or its root, out of the permitted signers.

use assay_schema::{Pattern, Sha256Digest};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use jiff::Timestamp;
use rustls_pki_types::{
    AlgorithmIdentifier, CertificateDer, InvalidSignature, SignatureVerificationAlgorithm, TrustAnchor,
    UnixTime, alg_id,
};
use sigstore_crypto::WEBPKI_VERIFICATION_ALGS;
use sigstore_types::Bundle;
use sigstore_types::bundle::VerificationMaterialContent;
use webpki::{EndEntityCert, KeyUsage};
use x509_cert::Certificate;
use x509_cert::der::asn1::{Ia5StringRef, PrintableStringRef, Utf8StringRef};
use x509_cert::der::{Decode as _, Encode as _};
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{ExtendedKeyUsage, KeyUsage as KeyUsageExtension, SubjectAltName};
use x509_cert::spki::ObjectIdentifier;

use crate::crypto::sha256;
use crate::key::{KeyError, PublicKey};
use crate::statement::shown;

/// Certificates of one chain.
const MAX_CHAIN: usize = 8;
/// id-kp-codeSigning (RFC 5280 4.2.1.12), as webpki wants it: the identifier's contents.
const CODE_SIGNING: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x03];
const ID_CODE_SIGNING: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.3");
const ID_COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");

/// A certificate that is not the permitted signer's.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// No certificates, too many, or bytes that are none.
    #[error("certificate: expected {expected}, found {found}")]
    Malformed {
        /// The rule.
        expected: &'static str,
        /// What is there.
        found: String,
    },
    /// The chain does not lead to one of the signer's roots.
    #[error("certificate: expected a chain to one of the signer's {roots} root certificates, found {found}")]
    Chain {
        /// How many roots the signer has.
        roots: usize,
        /// What is wrong.
        found: String,
    },
    /// The certificate is for something else.
    #[error("certificate: expected one for signing code or documents, found {found}")]
    Usage {
        /// What it may be used for.
        found: String,
    },
    /// The certificate is somebody else's.
    #[error("certificate: expected one for {expected:?}, found one for {found:?}")]
    Subject {
        /// The pattern.
        expected: String,
        /// The certificate's names.
        found: Vec<String>,
    },
    /// The certificate begins after the present.
    #[error(
        "certificate: expected one that is valid since before {now}, found one from {found}; is this device's clock right?"
    )]
    Future {
        /// When it begins.
        found: Timestamp,
        /// The present, as the caller sees it.
        now: Timestamp,
    },
    /// Its key cannot be used, or did not make the signature.
    #[error(transparent)]
    Key(#[from] KeyError),
}

fn malformed(expected: &'static str, found: impl ToString) -> CertificateError {
    CertificateError::Malformed {
        expected,
        found: shown(&found.to_string()),
    }
}

/// A signing certificate that a chain vouches for.
#[derive(Debug)]
pub(crate) struct Leaf {
    pub(crate) key: PublicKey,
    pub(crate) fingerprint: Sha256Digest,
    /// The name that fits the signer's pattern.
    pub(crate) subject: String,
}

/// Reads root certificates: base64 of DER, at least one.
pub(crate) fn read_roots(roots: &[String]) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
    if roots.is_empty() {
        return Err(malformed("at least one root certificate", "none"));
    }
    let read = |text: &String| {
        let der = BASE64_STANDARD.decode(text);
        let der = CertificateDer::from(der.map_err(|e| malformed("base64 of a root certificate's DER", e))?);
        // Fails for what is no certificate.
        webpki::anchor_from_trusted_cert(&der).map_err(|e| malformed("a root certificate", e))?;
        Ok(der)
    };
    roots.iter().map(read).collect()
}

/// DER in the form of a signer's root certificates.
pub fn base64(der: &[u8]) -> String {
    BASE64_STANDARD.encode(der)
}

/// Whether these can be a signer's root certificates: base64 of DER each.
///
/// # Errors
/// One is not, or there is none.
pub fn check_roots(roots: &[String]) -> Result<(), CertificateError> {
    read_roots(roots).map(drop)
}

/// The bundle's signing certificate, if its chain leads to one of the roots and one of its names fits.
pub(crate) fn verify(
    bundle: &Bundle,
    roots: &[String],
    subject: &Pattern,
    now: Timestamp,
) -> Result<Leaf, CertificateError> {
    let chain: Vec<CertificateDer<'_>> = match &bundle.verification_material.content {
        VerificationMaterialContent::X509CertificateChain { certificates } => certificates
            .iter()
            .map(|c| CertificateDer::from(c.raw_bytes.as_bytes()))
            .collect(),
        VerificationMaterialContent::Certificate(certificate) => {
            vec![CertificateDer::from(certificate.raw_bytes.as_bytes())]
        }
        _ => Vec::new(),
    };
    let [leaf, intermediates @ ..] = chain.as_slice() else {
        return Err(malformed("a certificate", "none"));
    };
    if chain.len() > MAX_CHAIN {
        return Err(malformed("at most 8 certificates", chain.len()));
    }
    let parsed = Certificate::from_der(leaf).map_err(|e| malformed("a certificate in DER", e))?;
    let validity = parsed.tbs_certificate.validity;
    let begins = validity.not_before.to_unix_duration();
    let begins_at = i64::try_from(begins.as_secs())
        .ok()
        .and_then(|seconds| Timestamp::from_second(seconds).ok())
        .ok_or_else(|| malformed("a credible beginning of validity", begins.as_secs()))?;
    if begins_at > now {
        return Err(CertificateError::Future {
            found: begins_at,
            now,
        });
    }

    let roots = read_roots(roots)?;
    let anchors: Vec<TrustAnchor<'_>> = roots
        .iter()
        .filter_map(|root| webpki::anchor_from_trusted_cert(root).ok())
        .collect();
    let broken = |e: webpki::Error| CertificateError::Chain {
        roots: anchors.len(),
        found: e.to_string(),
    };
    let algorithms: Vec<&dyn SignatureVerificationAlgorithm> =
        WEBPKI_VERIFICATION_ALGS.iter().copied().chain([P521]).collect();
    // RFC 5280 6.1, at the time from which the signing certificate counts.
    EndEntityCert::try_from(leaf)
        .map_err(broken)?
        .verify_for_usage(
            &algorithms,
            &anchors,
            intermediates,
            UnixTime::since_unix_epoch(begins),
            KeyUsage::required_if_present(CODE_SIGNING),
            None,
            None,
        )
        .map_err(broken)?;
    signs(&parsed)?;
    let names = names(&parsed)?;
    let Some(fitting) = names.iter().find(|name| subject.fits(name)) else {
        return Err(CertificateError::Subject {
            expected: subject.to_string(),
            found: names.iter().take(8).map(|name| shown(name)).collect(),
        });
    };
    let spki = parsed
        .tbs_certificate
        .subject_public_key_info
        .to_der()
        .map_err(|e| malformed("a public key", e))?;
    Ok(Leaf {
        key: PublicKey::from_spki_der(&spki)?,
        fingerprint: sha256(leaf),
        subject: fitting.clone(),
    })
}

/// OMS 1.0 wants one of the two; RFC 5280 4.2.1.3 and 4.2.1.12 want each that is there to allow it.
fn signs(certificate: &Certificate) -> Result<(), CertificateError> {
    let usage = extension::<KeyUsageExtension>(certificate)?.map(|usage| usage.digital_signature());
    let extended =
        extension::<ExtendedKeyUsage>(certificate)?.map(|usage| usage.0.contains(&ID_CODE_SIGNING));
    match (usage, extended) {
        (Some(false), _) => Err(CertificateError::Usage {
            found: "a key usage without digital signatures".to_owned(),
        }),
        (_, Some(false)) => Err(CertificateError::Usage {
            found: "an extended key usage without code signing".to_owned(),
        }),
        (None, None) => Err(CertificateError::Usage {
            found: "no key usage at all".to_owned(),
        }),
        _ => Ok(()),
    }
}

fn extension<'a, E>(certificate: &'a Certificate) -> Result<Option<E>, CertificateError>
where
    E: x509_cert::der::Decode<'a> + x509_cert::der::oid::AssociatedOid,
{
    certificate
        .tbs_certificate
        .get::<E>()
        .map(|found| found.map(|(_, extension)| extension))
        .map_err(|e| malformed("well-formed extensions", e))
}

/// The certificate's e-mail addresses, URIs and DNS names; where it has none, its common name.
fn names(certificate: &Certificate) -> Result<Vec<String>, CertificateError> {
    let alternative = extension::<SubjectAltName>(certificate)?.map_or_else(Vec::new, |names| names.0);
    let names: Vec<String> = alternative
        .into_iter()
        .filter_map(|name| match name {
            GeneralName::Rfc822Name(text)
            | GeneralName::DnsName(text)
            | GeneralName::UniformResourceIdentifier(text) => Some(text.to_string()),
            _ => None,
        })
        .collect();
    if !names.is_empty() {
        return Ok(names);
    }
    let subject = &certificate.tbs_certificate.subject;
    let attributes = subject.0.iter().flat_map(|relative| relative.0.iter());
    let common = attributes
        .filter(|attribute| attribute.oid == ID_COMMON_NAME)
        .filter_map(|attribute| {
            let value = &attribute.value;
            let utf8 = Utf8StringRef::try_from(value)
                .ok()
                .map(|text| text.as_str().to_owned());
            let printable = || {
                PrintableStringRef::try_from(value)
                    .ok()
                    .map(|text| text.as_str().to_owned())
            };
            let ia5 = || {
                Ia5StringRef::try_from(value)
                    .ok()
                    .map(|text| text.as_str().to_owned())
            };
            utf8.or_else(printable).or_else(ia5)
        });
    Ok(common.collect())
}

/// ECDSA on P-521 with SHA-512, which the sigstore crates do not have.
#[derive(Debug)]
struct EcdsaP521Sha512;

const P521: &dyn SignatureVerificationAlgorithm = &EcdsaP521Sha512;

impl SignatureVerificationAlgorithm for EcdsaP521Sha512 {
    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        alg_id::ECDSA_P521
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        alg_id::ECDSA_SHA512
    }

    fn verify_signature(&self, key: &[u8], message: &[u8], signature: &[u8]) -> Result<(), InvalidSignature> {
        use p521::ecdsa::signature::Verifier as _;
        let key = p521::ecdsa::VerifyingKey::from_sec1_bytes(key).map_err(|_| InvalidSignature)?;
        let signature = p521::ecdsa::Signature::from_der(signature).map_err(|_| InvalidSignature)?;
        key.verify(message, &signature).map_err(|_| InvalidSignature)
    }
}
