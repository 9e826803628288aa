//! `RustCrypto` behind the sigstore crates' provider trait. It verifies and hashes; it signs nothing.

use ed25519_dalek::{Signature as Ed25519Signature, VerifyingKey as Ed25519Key};
use p256::ecdsa::signature::hazmat::PrehashVerifier as _;
use sha2::Digest as _;
use sigstore_crypto::{CryptoProvider, Error, HashContext, SigningScheme};
use sigstore_types::HashAlgorithm;

use super::rsa;

/// The provider. ECDSA on P-256 and P-384 (each with SHA-256 and SHA-384), Ed25519 by its strict rules, RSA PKCS#1 v1.5 and PSS
/// with SHA-256, SHA-384 and SHA-512. ML-DSA is refused as unsupported: no pure Rust implementation of it has been reviewed.
#[derive(Debug)]
pub struct RustCrypto;

struct Hashing<D>(D);

impl<D: sha2::Digest + Send> HashContext for Hashing<D> {
    fn update(&mut self, data: &[u8]) {
        self.0.update(data);
    }

    fn finalize(self: Box<Self>) -> Vec<u8> {
        self.0.finalize().to_vec()
    }
}

impl CryptoProvider for RustCrypto {
    fn hash(&self, algorithm: HashAlgorithm) -> Result<Box<dyn HashContext>, Error> {
        Ok(match algorithm {
            HashAlgorithm::Sha2256 => Box::new(Hashing(sha2::Sha256::new())),
            HashAlgorithm::Sha2384 => Box::new(Hashing(sha2::Sha384::new())),
            HashAlgorithm::Sha2512 => Box::new(Hashing(sha2::Sha512::new())),
            other => {
                return Err(Error::UnsupportedAlgorithm(format!(
                    "expected SHA-256, SHA-384 or SHA-512, found {other}"
                )));
            }
        })
    }

    fn verify_raw(
        &self,
        scheme: SigningScheme,
        key: &[u8],
        data: &[u8],
        signature: &[u8],
    ) -> Result<(), Error> {
        match scheme.hash_algorithm() {
            Some(HashAlgorithm::Sha2256) => {
                verify_digest(scheme, key, &sha2::Sha256::digest(data), signature)
            }
            Some(HashAlgorithm::Sha2384) => {
                verify_digest(scheme, key, &sha2::Sha384::digest(data), signature)
            }
            Some(HashAlgorithm::Sha2512) => {
                verify_digest(scheme, key, &sha2::Sha512::digest(data), signature)
            }
            _ if scheme == SigningScheme::Ed25519 => verify_ed25519(key, data, signature),
            _ => Err(unsupported(scheme)),
        }
    }

    fn verify_prehashed(
        &self,
        scheme: SigningScheme,
        key: &[u8],
        digest: &[u8],
        signature: &[u8],
    ) -> Result<(), Error> {
        // ECDSA would take a digest of another length and cut it; the trait only promises the right one.
        let expected = scheme
            .hash_algorithm()
            .ok_or_else(|| unsupported(scheme))?
            .digest_size();
        if digest.len() != expected {
            return Err(Error::Verification(format!(
                "expected a digest of {expected} bytes for {}, found {}",
                scheme.name(),
                digest.len()
            )));
        }
        verify_digest(scheme, key, digest, signature)
    }
}

fn verify_digest(scheme: SigningScheme, key: &[u8], digest: &[u8], signature: &[u8]) -> Result<(), Error> {
    let right = match scheme {
        SigningScheme::EcdsaP256Sha256 | SigningScheme::EcdsaP256Sha384 => {
            let key = p256::ecdsa::VerifyingKey::from_sec1_bytes(key).map_err(|_| bad_key(scheme))?;
            p256::ecdsa::Signature::from_der(signature)
                .and_then(|signature| key.verify_prehash(digest, &signature))
                .is_ok()
        }
        SigningScheme::EcdsaP384Sha256 | SigningScheme::EcdsaP384Sha384 => {
            let key = p384::ecdsa::VerifyingKey::from_sec1_bytes(key).map_err(|_| bad_key(scheme))?;
            p384::ecdsa::Signature::from_der(signature)
                .and_then(|signature| key.verify_prehash(digest, &signature))
                .is_ok()
        }
        SigningScheme::RsaPkcs1Sha256
        | SigningScheme::RsaPkcs1Sha384
        | SigningScheme::RsaPkcs1Sha512
        | SigningScheme::RsaPssSha256
        | SigningScheme::RsaPssSha384
        | SigningScheme::RsaPssSha512 => rsa::verify_digest(scheme, key, digest, signature)?,
        _ => return Err(unsupported(scheme)),
    };
    match right {
        true => Ok(()),
        false => Err(wrong_signature(scheme)),
    }
}

fn verify_ed25519(key: &[u8], data: &[u8], signature: &[u8]) -> Result<(), Error> {
    let scheme = SigningScheme::Ed25519;
    let key = <[u8; 32]>::try_from(key)
        .ok()
        .and_then(|bytes| Ed25519Key::from_bytes(&bytes).ok())
        .ok_or_else(|| bad_key(scheme))?;
    // RFC 8032 5.1.7 leaves small-order keys and points open; the strict rule refuses them, so that a signature has one meaning.
    Ed25519Signature::from_slice(signature)
        .and_then(|signature| key.verify_strict(data, &signature))
        .map_err(|_| wrong_signature(scheme))
}

fn bad_key(scheme: SigningScheme) -> Error {
    Error::InvalidKey(format!(
        "expected a public key for {}, found other bytes",
        scheme.name()
    ))
}

fn wrong_signature(scheme: SigningScheme) -> Error {
    Error::Verification(format!("{} signature invalid", scheme.name()))
}

fn unsupported(scheme: SigningScheme) -> Error {
    Error::UnsupportedAlgorithm(format!("{} is not supported here", scheme.name()))
}
