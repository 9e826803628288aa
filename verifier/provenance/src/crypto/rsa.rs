//! RSA verification, for trusted roots whose logs or authorities have RSA keys.
//!
//! The `rsa` crate's known timing weakness (RUSTSEC-2023-0071) is about private keys; nothing here holds one.

use rsa::RsaPublicKey;
use rsa::pkcs1::DecodeRsaPublicKey as _;
use rsa::signature::hazmat::PrehashVerifier as _;
use rsa::{pkcs1v15, pss};
use sha2::{Sha256, Sha384, Sha512};
use sigstore_crypto::{Error, SigningScheme};

/// Modulus sizes in bits, those of the sigstore crates: less is breakable, more is a way to burn a device's time.
const MODULUS: std::ops::RangeInclusive<u32> = 2048..=8192;

/// Whether the signature is right. `key` is a PKCS#1 `RSAPublicKey` in DER.
pub(super) fn verify_digest(
    scheme: SigningScheme,
    key: &[u8],
    digest: &[u8],
    signature: &[u8],
) -> Result<bool, Error> {
    use rsa::traits::PublicKeyParts as _;
    let key = RsaPublicKey::from_pkcs1_der(key)
        .map_err(|error| Error::InvalidKey(format!("expected an RSA public key, found {error}")))?;
    let bits = key.n().bits_vartime();
    if !MODULUS.contains(&bits) {
        return Err(Error::InvalidKey(format!(
            "expected an RSA modulus of {} to {} bits, found {bits}",
            MODULUS.start(),
            MODULUS.end()
        )));
    }
    Ok(match scheme {
        SigningScheme::RsaPkcs1Sha256 => {
            pkcs1(&pkcs1v15::VerifyingKey::<Sha256>::new(key), digest, signature)
        }
        SigningScheme::RsaPkcs1Sha384 => {
            pkcs1(&pkcs1v15::VerifyingKey::<Sha384>::new(key), digest, signature)
        }
        SigningScheme::RsaPkcs1Sha512 => {
            pkcs1(&pkcs1v15::VerifyingKey::<Sha512>::new(key), digest, signature)
        }
        // `new` demands a salt as long as the digest, as RFC 8446 4.2.3 and the sigstore crates do.
        SigningScheme::RsaPssSha256 => {
            probabilistic(&pss::VerifyingKey::<Sha256>::new(key), digest, signature)
        }
        SigningScheme::RsaPssSha384 => {
            probabilistic(&pss::VerifyingKey::<Sha384>::new(key), digest, signature)
        }
        SigningScheme::RsaPssSha512 => {
            probabilistic(&pss::VerifyingKey::<Sha512>::new(key), digest, signature)
        }
        other => {
            return Err(Error::UnsupportedAlgorithm(format!(
                "{} is not RSA",
                other.name()
            )));
        }
    })
}

fn pkcs1<D>(key: &pkcs1v15::VerifyingKey<D>, digest: &[u8], signature: &[u8]) -> bool
where
    pkcs1v15::VerifyingKey<D>: rsa::signature::hazmat::PrehashVerifier<pkcs1v15::Signature>,
    D: sha2::Digest,
{
    pkcs1v15::Signature::try_from(signature)
        .and_then(|signature| key.verify_prehash(digest, &signature))
        .is_ok()
}

fn probabilistic<D>(key: &pss::VerifyingKey<D>, digest: &[u8], signature: &[u8]) -> bool
where
    pss::VerifyingKey<D>: rsa::signature::hazmat::PrehashVerifier<pss::Signature>,
    D: sha2::Digest,
{
    pss::Signature::try_from(signature)
        .and_then(|signature| key.verify_prehash(digest, &signature))
        .is_ok()
}
