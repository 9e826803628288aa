//! Public keys in every form that they come in, and what must not pass for one.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::disallowed_methods
)]

use std::fs;
use std::path::Path;

use assay_provenance::key::{KeyAlgorithm, KeyError, PublicKey};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

const KEYS: [(&str, &str, KeyAlgorithm, usize); 4] = [
    ("p256.pem", "p256-sha256.sig", KeyAlgorithm::EcdsaP256, 65),
    ("p384.pem", "p384-sha384.sig", KeyAlgorithm::EcdsaP384, 97),
    ("p521.pem", "p521-sha512.sig", KeyAlgorithm::EcdsaP521, 133),
    ("ed25519.pem", "ed25519.sig", KeyAlgorithm::Ed25519, 32),
];

fn fixture(name: &str) -> Vec<u8> {
    fs::read(
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/fixtures")
            .join(name),
    )
    .unwrap()
}

fn openssl(name: &str) -> Vec<u8> {
    fixture(&format!("openssl/{name}"))
}

fn text(name: &str) -> String {
    String::from_utf8(fixture(name)).unwrap()
}

fn key(name: &str) -> PublicKey {
    PublicKey::from_pem(&text(&format!("openssl/{name}"))).unwrap()
}

#[test]
fn accepts_what_openssl_signed_with_every_algorithm() {
    for (pem, signature, algorithm, raw) in KEYS {
        let key = key(pem);
        assert_eq!(key.algorithm(), algorithm);
        assert_eq!(key.raw_bytes().len(), raw, "{pem}");
        key.verify(&openssl("message"), &openssl(signature)).unwrap();
    }
}

#[test]
fn refuses_a_changed_message_a_changed_signature_and_the_other_keys() {
    for (pem, signature, ..) in KEYS {
        let key = key(pem);
        let (message, good) = (openssl("message"), openssl(signature));
        assert!(
            matches!(
                key.verify(b"another message", &good),
                Err(KeyError::Signature { .. })
            ),
            "{pem}"
        );
        for index in 0..good.len() {
            let mut bad = good.clone();
            bad[index] ^= 1;
            assert!(key.verify(&message, &bad).is_err(), "{pem}: byte {index}");
        }
        for cut in [0, 1, good.len() - 1] {
            assert!(key.verify(&message, &good[..cut]).is_err(), "{pem}: {cut} bytes");
        }
        let mut longer = good.clone();
        longer.push(0);
        assert!(key.verify(&message, &longer).is_err(), "{pem}: one byte more");
        for (_, other, ..) in KEYS.iter().filter(|(other, ..)| *other != pem) {
            assert!(key.verify(&message, &openssl(other)).is_err(), "{pem}: {other}");
        }
    }
}

#[test]
fn refuses_a_signature_over_another_hash_than_the_curves() {
    assert!(
        key("p256.pem")
            .verify(&openssl("message"), &openssl("p256-sha384.sig"))
            .is_err()
    );
    assert!(
        key("p384.pem")
            .verify(&openssl("message"), &openssl("p384-sha256.sig"))
            .is_err()
    );
}

#[test]
fn every_form_gives_the_same_key() {
    for (pem, ..) in KEYS {
        let key = key(pem);
        assert_eq!(PublicKey::from_spki_der(key.spki_der()).unwrap(), key);
        assert_eq!(PublicKey::from_spki_base64(&key.spki_base64()).unwrap(), key);
        assert_eq!(
            key.pem(),
            text(&format!("openssl/{pem}")),
            "byte for byte as OpenSSL writes it"
        );
    }
}

#[test]
fn the_hint_is_the_one_that_model_signing_wrote() {
    for curve in ["p256", "p384"] {
        let key = PublicKey::from_pem(&text(&format!("oms/ec-{curve}.pub"))).unwrap();
        let bundle: serde_json::Value =
            serde_json::from_slice(&fixture(&format!("oms/model.ec-{curve}.sig"))).unwrap();
        assert_eq!(
            key.oms_hint(),
            bundle["verificationMaterial"]["publicKey"]["hint"]
                .as_str()
                .unwrap()
        );
    }
}

#[test]
fn refuses_the_second_encoding_of_a_key() {
    let refused = PublicKey::from_pem(&text("openssl/p256-compressed.pem")).unwrap_err();
    assert_eq!(
        refused,
        KeyError::NotCanonical {
            algorithm: KeyAlgorithm::EcdsaP256
        }
    );
}

#[test]
fn refuses_algorithms_that_are_not_supported() {
    for pem in ["rsa-2048.spki.pem", "secp256k1.pem"] {
        let refused = PublicKey::from_pem(&text(&format!("openssl/{pem}"))).unwrap_err();
        assert!(matches!(refused, KeyError::Algorithm { .. }), "{pem}: {refused}");
    }
}

#[test]
fn refuses_a_point_that_is_not_on_the_curve() {
    for (pem, ..) in KEYS.iter().take(3) {
        let mut der = key(pem).spki_der().to_vec();
        *der.last_mut().unwrap() ^= 1;
        assert!(
            matches!(PublicKey::from_spki_der(&der), Err(KeyError::Encoding { .. })),
            "{pem}"
        );
    }
}

/// SPKI of Ed25519 around 32 bytes.
fn ed25519(raw: [u8; 32]) -> Vec<u8> {
    let mut der = vec![
        0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
    ];
    der.extend_from_slice(&raw);
    der
}

#[test]
fn refuses_an_ed25519_key_of_small_order() {
    let mut neutral = [0; 32];
    neutral[0] = 1;
    for raw in [[0; 32], neutral] {
        assert_eq!(
            PublicKey::from_spki_der(&ed25519(raw)).unwrap_err(),
            KeyError::Weak
        );
    }
}

#[test]
fn refuses_an_ed25519_key_with_an_unreduced_coordinate() {
    // y = p + 3, which most decoders read as y = 3.
    let mut raw = [0xff; 32];
    (raw[0], raw[31]) = (0xf0, 0x7f);
    let mut reduced = [0; 32];
    reduced[0] = 3;
    PublicKey::from_spki_der(&ed25519(reduced)).unwrap();
    assert!(PublicKey::from_spki_der(&ed25519(raw)).is_err());
}

#[test]
fn refuses_garbage_truncation_and_another_label() {
    let good = key("p256.pem");
    let der = good.spki_der();
    for cut in 0..der.len() {
        assert!(PublicKey::from_spki_der(&der[..cut]).is_err(), "{cut} bytes");
    }
    let mut longer = der.to_vec();
    longer.push(0);
    assert!(PublicKey::from_spki_der(&longer).is_err());
    assert!(PublicKey::from_spki_der(&vec![0x30; 1 << 20]).is_err());
    for bad in ["", "not base64!", "AAAA", &BASE64_STANDARD.encode(&longer)] {
        assert!(
            matches!(PublicKey::from_spki_base64(bad), Err(KeyError::Encoding { .. })),
            "{bad}"
        );
    }
    let private = good.pem().replace("PUBLIC KEY", "PRIVATE KEY");
    for bad in ["", "-----BEGIN PUBLIC KEY-----", &private, &good.pem().repeat(40)] {
        assert!(
            matches!(PublicKey::from_pem(bad), Err(KeyError::Encoding { .. })),
            "{bad}"
        );
    }
}

#[test]
fn the_fingerprint_is_the_digest_of_the_der() {
    let key = key("p256.pem");
    assert_eq!(key.fingerprint(), assay_provenance::sha256(key.spki_der()));
}
