//! Keys: PEM forms, signatures against published vectors, key ids against securesystemslib.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

use assay_authority::public::key_id;
use assay_authority::{KeyError, KeyKind, PublicKey, SigningKey};
use assay_schema::tuf::{TufKey, TufKeyValue};
use proptest::prelude::*;

const KINDS: [KeyKind; 4] = [KeyKind::Ed25519, KeyKind::P256, KeyKind::P384, KeyKind::P521];
const ED25519: &str = include_str!("keys/ed25519.pem");
const P256: &str = include_str!("keys/p256.pem");
const P384: &str = include_str!("keys/p384.pem");
const P521: &str = include_str!("keys/p521.pem");
const P256_AES: &str = include_str!("keys/p256-aes256.pem");
const PASSPHRASE: &str = "correct horse";

fn read(pem: &str) -> SigningKey {
    SigningKey::from_pem(pem, None).unwrap()
}

#[test]
fn signatures_are_those_of_rfc_8032_and_rfc_6979() {
    let cases = [
        (
            ED25519,
            &b""[..],
            "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
        ),
        (
            P256,
            b"sample",
            "3046022100efd48b2aacb6a8fd1140dd9cd45e81d69d2c877b56aaf991c34d0ea84eaf3716022100f7cb1c942d657c41d436c7a1b6e29f65f3e900dbb9aff4064dc4ab2f843acda8",
        ),
        (
            P384,
            b"sample",
            "306602310094edbb92a5ecb8aad4736e56c691916b3f88140666ce9fa73d64c4ea95ad133c81a648152e44acf96e36dd1e80fabe4602310099ef4aeb15f178cea1fe40db2603138f130e740a19624526203b6351d0a3a94fa329c145786e679e7b82c71a38628ac8",
        ),
        (
            P521,
            b"sample",
            "308187024200c328fafcbd79dd77850370c46325d987cb525569fb63c5d3bc53950e6d4c5f174e25a1ee9017b5d450606add152b534931d7d4e8455cc91f9b15bf05ec36e377fa0241617cce7cf5064806c467f678d3b4080d6f1cc50af26ca209417308281b68af282623eaa63e5b5c0723d8b8c37ff0777b1a20f8ccb1dccc43997f1ee0e44da4a67a",
        ),
    ];
    for (pem, message, signature) in cases {
        let key = read(pem);
        assert_eq!(
            hex::encode(key.sign(message).unwrap()),
            signature,
            "{}",
            key.kind()
        );
    }
}

/// Computed by `securesystemslib.signer.SSlibKey.from_crypto(..).keyid` 1.6.0.
#[test]
fn key_ids_are_those_of_securesystemslib() {
    let cases = [
        (
            ED25519,
            "74c181c7ad8a0855d4b55e44d2ba87aabdddb196832571f15f92fece332e4916",
        ),
        (
            P256,
            "716d622ec609eff48475645919645bb30ef604f59a69c764608fb64272dd5fe5",
        ),
        (
            P384,
            "0ab51ad0366a443f9ae4676ab9a221830128b415de871610ec8e7a7a547b7263",
        ),
    ];
    for (pem, id) in cases {
        assert_eq!(read(pem).key_id().unwrap(), id);
    }
    let ed25519 = read(ED25519).tuf_key().unwrap();
    assert_eq!(
        ed25519.keyval.public,
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
    );
}

#[test]
fn every_kind_survives_pem_and_signs_the_same_again() {
    for kind in KINDS {
        let key = SigningKey::generate(kind).unwrap();
        let again = read(&key.to_pem().unwrap());
        assert_eq!(again.kind(), kind);
        assert_eq!(again.public_key(), key.public_key());
        assert_eq!(again.sign(b"m").unwrap(), key.sign(b"m").unwrap());
        let public = PublicKey::from_pem(&key.public_key_pem().unwrap()).unwrap();
        assert_eq!(&public, key.public_key());
        assert_eq!(public.spki_der(), key.public_key_spki_der());
        assert_ne!(SigningKey::generate(kind).unwrap().public_key(), key.public_key());
        assert_eq!(kind.as_str().parse::<KeyKind>().unwrap(), kind);
    }
}

#[test]
fn an_encrypted_key_survives_with_its_passphrase_only() {
    let key = SigningKey::generate(KeyKind::Ed25519).unwrap();
    let pem = key.to_encrypted_pem("päss").unwrap();
    assert!(SigningKey::is_encrypted(&pem));
    assert!(!SigningKey::is_encrypted(&key.to_pem().unwrap()));
    assert_eq!(
        SigningKey::from_pem(&pem, Some("päss")).unwrap().public_key(),
        key.public_key()
    );
    assert!(matches!(
        SigningKey::from_pem(&pem, Some("pass")),
        Err(KeyError::WrongPassphrase)
    ));
    assert!(matches!(
        SigningKey::from_pem(&pem, None),
        Err(KeyError::PassphraseNeeded)
    ));
    assert!(matches!(key.to_encrypted_pem(""), Err(KeyError::EmptyPassphrase)));
}

#[test]
fn keys_that_openssl_encrypted_are_read() {
    let p256 = SigningKey::from_pem(P256_AES, Some(PASSPHRASE)).unwrap();
    assert_eq!(p256.public_key(), read(P256).public_key());
    let scrypt = SigningKey::from_pem(include_str!("keys/ed25519-scrypt.pem"), Some(PASSPHRASE)).unwrap();
    assert_eq!(scrypt.public_key(), read(ED25519).public_key());
    assert!(matches!(
        SigningKey::from_pem(P256_AES, Some("wrong")),
        Err(KeyError::WrongPassphrase)
    ));
}

#[test]
fn sec1_keys_of_openssl_are_read() {
    assert_eq!(
        read(include_str!("keys/p384-sec1.pem")).public_key(),
        read(P384).public_key()
    );
    assert_eq!(
        read(include_str!("keys/p521-parameters-sec1.pem")).public_key(),
        read(P521).public_key()
    );
}

#[test]
fn other_curves_and_algorithms_are_refused() {
    for pem in [
        include_str!("keys/secp256k1_fail.pem"),
        include_str!("keys/secp256k1-pkcs8_fail.pem"),
        include_str!("keys/x25519_fail.pem"),
    ] {
        assert!(
            matches!(SigningKey::from_pem(pem, None), Err(KeyError::Unsupported { .. })),
            "{pem}"
        );
    }
}

#[test]
fn encryptions_of_old_are_refused_with_what_to_do() {
    for pem in [
        include_str!("keys/p256-old-encryption_fail.pem"),
        include_str!("keys/p256-pbes1_fail.pem"),
    ] {
        let error = SigningKey::from_pem(pem, Some("x")).unwrap_err();
        assert!(matches!(error, KeyError::Encryption { .. }), "{error}");
        assert!(error.to_string().contains("openssl pkcs8"), "{error}");
    }
}

#[test]
fn what_is_no_private_key_is_refused() {
    let public = read(P256).public_key_pem().unwrap();
    for text in ["", "secret", "-----BEGIN PRIVATE KEY-----", public.as_str()] {
        assert!(
            matches!(
                SigningKey::from_pem(text, None),
                Err(KeyError::NotPrivatePem { .. })
            ),
            "{text}"
        );
    }
    assert!(matches!(
        PublicKey::from_pem(P256),
        Err(KeyError::NotPublic { .. })
    ));
}

#[test]
fn debug_shows_no_secret() {
    let key = read(ED25519);
    let shown = format!("{key:?}");
    assert!(shown.contains("redacted"), "{shown}");
    assert!(
        !shown.contains("9d61b19d") && !shown.contains("157, 97"),
        "{shown}"
    );
}

#[test]
fn p521_is_no_tuf_key() {
    assert!(matches!(
        read(P521).tuf_key(),
        Err(KeyError::NotForTuf { kind: KeyKind::P521 })
    ));
    assert!(matches!(read(P521).key_id(), Err(KeyError::NotForTuf { .. })));
}

#[test]
fn a_key_under_another_scheme_is_refused() {
    let p256 = read(P256).tuf_key().unwrap();
    assert_eq!(&PublicKey::from_tuf(&p256).unwrap(), read(P256).public_key());
    for (keytype, scheme) in [
        ("ecdsa", "ecdsa-sha2-nistp384"),
        ("rsa", "rsassa-pss-sha256"),
        ("ed25519", "ed25519"),
        ("ecdsa", "ed25519"),
    ] {
        let key = TufKey {
            keytype: keytype.into(),
            scheme: scheme.into(),
            keyval: p256.keyval.clone(),
        };
        assert!(
            matches!(PublicKey::from_tuf(&key), Err(KeyError::Unsupported { .. })),
            "{keytype} {scheme}"
        );
    }
}

/// The neutral element: a signature by it verifies for many messages.
#[test]
fn an_ed25519_key_of_small_order_is_refused() {
    let mut public = "01".to_owned();
    public.push_str(&"00".repeat(31));
    let key = TufKey {
        keytype: "ed25519".into(),
        scheme: "ed25519".into(),
        keyval: TufKeyValue { public },
    };
    assert!(matches!(
        PublicKey::from_tuf(&key),
        Err(KeyError::Unsupported { .. })
    ));
}

#[test]
fn the_id_depends_on_how_a_key_is_written_and_equality_does_not() {
    let plain = read(ED25519).tuf_key().unwrap();
    let mut upper = plain.clone();
    upper.keyval.public = upper.keyval.public.to_uppercase();
    assert_ne!(key_id(&plain).unwrap(), key_id(&upper).unwrap());
    assert_eq!(
        PublicKey::from_tuf(&plain).unwrap(),
        PublicKey::from_tuf(&upper).unwrap()
    );
}

proptest! {
    #[test]
    fn no_text_makes_the_readers_panic(text in ".{0,300}", label in "(ENCRYPTED |EC )?(PRIVATE|PUBLIC) KEY", body in "[A-Za-z0-9+/=\n]{0,200}") {
        let pem = format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n");
        for text in [text, pem] {
            prop_assert!(SigningKey::from_pem(&text, Some("p")).is_err());
            prop_assert!(PublicKey::from_pem(&text).is_err());
        }
    }
}

proptest! {
    // P-521 is slow without optimisation.
    #![proptest_config(ProptestConfig::with_cases(8))]
    #[test]
    fn signatures_are_deterministic(message in prop::collection::vec(any::<u8>(), 0..100)) {
        for pem in [ED25519, P256, P384, P521] {
            prop_assert_eq!(read(pem).sign(&message).unwrap(), read(pem).sign(&message).unwrap());
        }
    }
}
