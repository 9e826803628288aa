//! The one cryptographic provider of the process (`RustCrypto`), and SHA-256 for everything that Assay hashes itself.
//!
//! The sigstore crates look their provider up in a process-wide `OnceLock` and panic when there is none, so every entry of the
//! verifier calls [`install`] first. Whoever comes first wins that lock: another library in the same process may have put its own
//! provider there. Assay uses that one only after it gave the right answers, and above all refused the wrong signatures, in
//! known-answer tests.

mod hash;
mod known_answers;
mod provider;
mod rsa;

use std::sync::OnceLock;

use sigstore_crypto::{SigningScheme, VerificationKey, install_default_provider, try_default_provider};
use sigstore_types::{DerPublicKey, SignatureBytes};

pub use hash::{Sha256, sha256};
pub use provider::RustCrypto;

/// A provider that must not be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CryptoError {
    /// Another library installed a cryptographic provider before Assay, and it answers wrongly.
    #[error(
        "crypto: expected the provider that is installed in this process ({provider}) to pass {test}, found another answer; \
         call assay_provenance::crypto::install() before any other library uses sigstore"
    )]
    WrongAnswer {
        /// How the provider describes itself.
        provider: String,
        /// The known-answer test that it failed.
        test: &'static str,
    },
    /// The process-wide lock refused Assay's provider and yet holds none.
    #[error("crypto: expected a cryptographic provider in this process, found none after installing one")]
    NoProvider,
}

static PROVIDER: RustCrypto = RustCrypto;
static OUTCOME: OnceLock<Result<(), CryptoError>> = OnceLock::new();

/// Makes [`RustCrypto`] the process's provider, once; later calls return what the first one found.
///
/// # Errors
/// Somebody else's provider is installed already and fails a known-answer test.
pub fn install() -> Result<(), CryptoError> {
    OUTCOME
        .get_or_init(|| match install_default_provider(&PROVIDER) {
            Ok(()) => Ok(()),
            Err(_) => known_answers::check(try_default_provider().ok_or(CryptoError::NoProvider)?),
        })
        .clone()
}

/// Whether `signature` is an RSA PKCS#1 v1.5 one with SHA-256 over `data`, by the key of this PEM: a scheme of foreign TUF
/// repositories (`rsa-pkcs1v15-sha256`) that `sigstore-tuf` does not read. [`install`] must have been called.
pub fn verify_rsa_pkcs1_sha256(pem: &str, data: &[u8], signature: &[u8]) -> bool {
    let Ok(der) = DerPublicKey::from_pem(pem.trim()) else {
        return false;
    };
    VerificationKey::from_spki_with_scheme(&der, SigningScheme::RsaPkcs1Sha256)
        .is_ok_and(|key| key.verify(data, &SignatureBytes::new(signature.to_vec())).is_ok())
}
