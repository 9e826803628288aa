//! The process's provider: what it accepts was made by OpenSSL, what it refuses is one step away from that.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::disallowed_methods
)]

use std::fs;
use std::path::Path;

use assay_provenance::PublicKey;
use assay_provenance::crypto::{RustCrypto, install};
use sha2::Digest as _;
use sigstore_crypto::{CryptoProvider as _, Error, SigningScheme, default_provider};
use sigstore_types::HashAlgorithm;

fn openssl(name: &str) -> Vec<u8> {
    fs::read(
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/fixtures/openssl")
            .join(name),
    )
    .unwrap()
}

fn raw(pem: &str) -> Vec<u8> {
    PublicKey::from_pem(&String::from_utf8(openssl(pem)).unwrap())
        .unwrap()
        .raw_bytes()
        .to_vec()
}

fn digest(scheme: SigningScheme, message: &[u8]) -> Vec<u8> {
    match scheme.hash_algorithm().unwrap() {
        HashAlgorithm::Sha2256 => sha2::Sha256::digest(message).to_vec(),
        HashAlgorithm::Sha2384 => sha2::Sha384::digest(message).to_vec(),
        _ => sha2::Sha512::digest(message).to_vec(),
    }
}

fn vectors() -> Vec<(SigningScheme, Vec<u8>, Vec<u8>)> {
    let rsa = || openssl("rsa-2048.pkcs1.der");
    vec![
        (
            SigningScheme::EcdsaP256Sha256,
            raw("p256.pem"),
            openssl("p256-sha256.sig"),
        ),
        (
            SigningScheme::EcdsaP256Sha384,
            raw("p256.pem"),
            openssl("p256-sha384.sig"),
        ),
        (
            SigningScheme::EcdsaP384Sha256,
            raw("p384.pem"),
            openssl("p384-sha256.sig"),
        ),
        (
            SigningScheme::EcdsaP384Sha384,
            raw("p384.pem"),
            openssl("p384-sha384.sig"),
        ),
        (
            SigningScheme::RsaPkcs1Sha256,
            rsa(),
            openssl("rsa-pkcs1-sha256.sig"),
        ),
        (
            SigningScheme::RsaPkcs1Sha384,
            rsa(),
            openssl("rsa-pkcs1-sha384.sig"),
        ),
        (
            SigningScheme::RsaPkcs1Sha512,
            rsa(),
            openssl("rsa-pkcs1-sha512.sig"),
        ),
        (SigningScheme::RsaPssSha256, rsa(), openssl("rsa-pss-sha256.sig")),
        (SigningScheme::RsaPssSha384, rsa(), openssl("rsa-pss-sha384.sig")),
        (SigningScheme::RsaPssSha512, rsa(), openssl("rsa-pss-sha512.sig")),
        (SigningScheme::Ed25519, raw("ed25519.pem"), openssl("ed25519.sig")),
    ]
}

#[test]
fn installing_twice_is_as_installing_once() {
    install().unwrap();
    install().unwrap();
    assert_eq!(format!("{:?}", default_provider()), "RustCrypto");
}

#[test]
fn accepts_what_openssl_signed_with_every_scheme() {
    let message = openssl("message");
    for (scheme, key, signature) in vectors() {
        RustCrypto
            .verify_raw(scheme, &key, &message, &signature)
            .unwrap_or_else(|e| panic!("{scheme:?}: {e}"));
        if scheme.supports_prehashed() {
            RustCrypto
                .verify_prehashed(scheme, &key, &digest(scheme, &message), &signature)
                .unwrap();
        }
    }
}

#[test]
fn refuses_another_message_and_another_signature_with_every_scheme() {
    let message = openssl("message");
    for (scheme, key, signature) in vectors() {
        let refused = RustCrypto.verify_raw(scheme, &key, b"another message", &signature);
        assert!(
            matches!(refused, Err(Error::Verification(_))),
            "{scheme:?}: {refused:?}"
        );
        for index in [0, 1, signature.len() / 2, signature.len() - 1] {
            let mut bad = signature.clone();
            bad[index] ^= 1;
            assert!(
                RustCrypto.verify_raw(scheme, &key, &message, &bad).is_err(),
                "{scheme:?}: byte {index}"
            );
        }
        assert!(
            RustCrypto.verify_raw(scheme, &key, &message, &[]).is_err(),
            "{scheme:?}"
        );
        assert!(
            RustCrypto.verify_raw(scheme, &[], &message, &signature).is_err(),
            "{scheme:?}"
        );
        if scheme.supports_prehashed() {
            let refused = RustCrypto.verify_prehashed(scheme, &key, &digest(scheme, b"another"), &signature);
            assert!(refused.is_err(), "{scheme:?}");
        }
    }
}

#[test]
fn refuses_a_digest_of_another_length() {
    let message = openssl("message");
    for (scheme, key, signature) in vectors()
        .into_iter()
        .filter(|(scheme, ..)| scheme.supports_prehashed())
    {
        let mut longer = digest(scheme, &message);
        longer.push(0);
        let shorter = &longer[..longer.len() - 2];
        assert!(
            RustCrypto
                .verify_prehashed(scheme, &key, &longer, &signature)
                .is_err(),
            "{scheme:?}"
        );
        assert!(
            RustCrypto
                .verify_prehashed(scheme, &key, shorter, &signature)
                .is_err(),
            "{scheme:?}"
        );
    }
}

#[test]
fn refuses_a_signature_under_every_other_scheme_of_its_key() {
    let message = openssl("message");
    for (made_with, key, signature) in vectors() {
        for (scheme, ..) in vectors().iter().filter(|(scheme, ..)| *scheme != made_with) {
            assert!(
                RustCrypto
                    .verify_raw(*scheme, &key, &message, &signature)
                    .is_err(),
                "{made_with:?} as {scheme:?}"
            );
        }
    }
}

#[test]
fn refuses_an_rsa_key_that_is_too_small() {
    let (key, signature) = (
        openssl("rsa-1024.pkcs1.der"),
        openssl("rsa-1024-pkcs1-sha256.sig"),
    );
    let refused = RustCrypto.verify_raw(
        SigningScheme::RsaPkcs1Sha256,
        &key,
        &openssl("message"),
        &signature,
    );
    assert!(matches!(refused, Err(Error::InvalidKey(_))), "{refused:?}");
}

#[test]
fn refuses_a_pss_salt_of_another_length() {
    let (key, signature) = (
        openssl("rsa-2048.pkcs1.der"),
        openssl("rsa-pss-sha256-salt20.sig"),
    );
    let refused = RustCrypto.verify_raw(SigningScheme::RsaPssSha256, &key, &openssl("message"), &signature);
    assert!(matches!(refused, Err(Error::Verification(_))), "{refused:?}");
}

#[test]
fn refuses_what_it_does_not_support() {
    for scheme in [
        SigningScheme::MlDsa44,
        SigningScheme::MlDsa65,
        SigningScheme::MlDsa87,
    ] {
        let refused = RustCrypto.verify_raw(scheme, &[0; 1312], b"message", &[0; 2420]);
        assert!(
            matches!(refused, Err(Error::UnsupportedAlgorithm(_))),
            "{scheme:?}"
        );
    }
    let refused =
        RustCrypto.verify_prehashed(SigningScheme::Ed25519, &raw("ed25519.pem"), &[0; 64], &[0; 64]);
    assert!(matches!(refused, Err(Error::UnsupportedAlgorithm(_))));
    assert!(matches!(
        RustCrypto.generate_key_pair(sigstore_crypto::KeyAlgorithm::EcdsaP256),
        Err(Error::UnsupportedAlgorithm(_))
    ));
}

#[test]
fn hashes_as_fips_180_4_says() {
    let hashed = |algorithm| {
        let mut pieces = RustCrypto.hash(algorithm).unwrap();
        pieces.update(b"a");
        pieces.update(b"bc");
        hex::encode(pieces.finalize())
    };
    assert!(hashed(HashAlgorithm::Sha2256).starts_with("ba7816bf8f01cfea"));
    assert!(hashed(HashAlgorithm::Sha2384).starts_with("cb00753f45a35e8b"));
    assert!(hashed(HashAlgorithm::Sha2512).starts_with("ddaf35a193617aba"));
}
