//! Known answers that a provider must give, and wrong ones that it must refuse, before Assay uses somebody else's.

use sigstore_crypto::{CryptoProvider, SigningScheme};
use sigstore_types::HashAlgorithm;

use super::CryptoError;

/// FIPS 180-4, the one-block example "abc".
const SHA256_ABC: [u8; 32] = [
    0xba, 0x78, 0x16, 0xbf, 0x8f, 0x01, 0xcf, 0xea, 0x41, 0x41, 0x40, 0xde, 0x5d, 0xae, 0x22, 0x23, 0xb0,
    0x03, 0x61, 0xa3, 0x96, 0x17, 0x7a, 0x9c, 0xb4, 0x10, 0xff, 0x61, 0xf2, 0x00, 0x15, 0xad,
];

/// RFC 8032 7.1, test 2: key and signature over the byte 0x72.
const ED25519_KEY: &str = "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c";
const ED25519_MESSAGE: &[u8] = &[0x72];
const ED25519_SIGNATURE: &str = "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da\
                                 085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00";

/// RFC 6979 A.2.5: P-256 with SHA-256 over "sample"; the signature in DER.
const P256_KEY: &str = "0460fed4ba255a9d31c961eb74c6356d68c049b8923b61fa6ce669622e60f29fb6\
                        7903fe1008b8bc99a41ae9e95628bc64f2f1b20c2d7e9f5177a3c294d4462299";
const P256_MESSAGE: &[u8] = b"sample";
const P256_SIGNATURE: &str = "3046022100efd48b2aacb6a8fd1140dd9cd45e81d69d2c877b56aaf991c34d0ea84eaf3716\
                              022100f7cb1c942d657c41d436c7a1b6e29f65f3e900dbb9aff4064dc4ab2f843acda8";

/// `Some(true)` where the provider answered rightly, `None` where it did not answer.
type KnownAnswer = fn(&dyn CryptoProvider) -> Option<bool>;

/// Passes a provider that gives every known answer.
pub(super) fn check(provider: &dyn CryptoProvider) -> Result<(), CryptoError> {
    let tests: [(&'static str, KnownAnswer); 5] = [
        ("the SHA-256 of \"abc\" (FIPS 180-4)", hashes),
        ("a right Ed25519 signature (RFC 8032 7.1)", |p| {
            ed25519(p, ED25519_MESSAGE)
        }),
        ("the refusal of a wrong Ed25519 signature", |p| {
            ed25519(p, b"s").map(|right| !right)
        }),
        ("a right P-256 signature (RFC 6979 A.2.5)", |p| {
            p256(p, P256_MESSAGE)
        }),
        ("the refusal of a wrong P-256 signature", |p| {
            p256(p, b"simple").map(|right| !right)
        }),
    ];
    for (test, run) in tests {
        if run(provider) != Some(true) {
            return Err(CryptoError::WrongAnswer {
                provider: format!("{provider:?}"),
                test,
            });
        }
    }
    Ok(())
}

fn hashes(provider: &dyn CryptoProvider) -> Option<bool> {
    let mut pieces = provider.hash(HashAlgorithm::Sha2256).ok()?;
    pieces.update(b"a");
    pieces.update(b"bc");
    Some(provider.sha256(b"abc") == SHA256_ABC && pieces.finalize() == SHA256_ABC)
}

fn ed25519(provider: &dyn CryptoProvider, message: &[u8]) -> Option<bool> {
    let (key, signature) = (
        hex::decode(ED25519_KEY).ok()?,
        hex::decode(ED25519_SIGNATURE).ok()?,
    );
    Some(
        provider
            .verify_raw(SigningScheme::Ed25519, &key, message, &signature)
            .is_ok(),
    )
}

/// Both ways of the trait must agree.
fn p256(provider: &dyn CryptoProvider, message: &[u8]) -> Option<bool> {
    let (key, signature) = (hex::decode(P256_KEY).ok()?, hex::decode(P256_SIGNATURE).ok()?);
    let scheme = SigningScheme::EcdsaP256Sha256;
    let whole = provider.verify_raw(scheme, &key, message, &signature).is_ok();
    let digest = super::sha256(message);
    let prehashed = provider
        .verify_prehashed(scheme, &key, digest.as_bytes(), &signature)
        .is_ok();
    (whole == prehashed).then_some(whole)
}

#[cfg(test)]
mod tests {
    use sigstore_crypto::{Error, HashContext};

    use super::*;
    use crate::crypto::RustCrypto;

    /// Answers as `RustCrypto` does, but for one lie.
    #[derive(Debug)]
    enum Liar {
        RefusesEd25519,
        AcceptsEd25519,
        RefusesP256,
        AcceptsP256,
        AcceptsPrehashed,
        HashesWrongly,
    }

    impl CryptoProvider for Liar {
        fn hash(&self, algorithm: HashAlgorithm) -> Result<Box<dyn HashContext>, Error> {
            let mut hash = RustCrypto.hash(algorithm)?;
            if matches!(self, Self::HashesWrongly) {
                hash.update(b"salt");
            }
            Ok(hash)
        }

        fn verify_raw(
            &self,
            scheme: SigningScheme,
            key: &[u8],
            data: &[u8],
            signature: &[u8],
        ) -> Result<(), Error> {
            match (self, scheme) {
                (Self::AcceptsEd25519, SigningScheme::Ed25519)
                | (Self::AcceptsP256, SigningScheme::EcdsaP256Sha256) => Ok(()),
                (Self::RefusesEd25519, SigningScheme::Ed25519)
                | (Self::RefusesP256, SigningScheme::EcdsaP256Sha256) => {
                    Err(Error::Verification("no".to_owned()))
                }
                _ => RustCrypto.verify_raw(scheme, key, data, signature),
            }
        }

        fn verify_prehashed(
            &self,
            scheme: SigningScheme,
            key: &[u8],
            digest: &[u8],
            signature: &[u8],
        ) -> Result<(), Error> {
            match self {
                Self::AcceptsPrehashed => Ok(()),
                _ => RustCrypto.verify_prehashed(scheme, key, digest, signature),
            }
        }
    }

    #[test]
    fn passes_the_provider_of_this_crate() {
        check(&RustCrypto).unwrap();
    }

    #[test]
    fn refuses_every_liar() {
        let liars = [
            (Liar::HashesWrongly, "SHA-256"),
            (Liar::RefusesEd25519, "right Ed25519"),
            (Liar::AcceptsEd25519, "wrong Ed25519"),
            (Liar::RefusesP256, "right P-256"),
            (Liar::AcceptsP256, "wrong P-256"),
            (Liar::AcceptsPrehashed, "wrong P-256"),
        ];
        for (liar, expected) in liars {
            let Err(CryptoError::WrongAnswer { test, .. }) = check(&liar) else {
                panic!("{liar:?} passed");
            };
            assert!(test.contains(expected), "{liar:?}: {test}");
        }
    }
}
