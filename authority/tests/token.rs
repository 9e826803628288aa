//! A token that answers wrongly: nothing leaves that does not verify under the recorded public key.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

use std::sync::Arc;

use assay_authority::{KeyError, KeyKind, SigningKey, TokenError, TokenKey};

#[derive(Debug)]
struct Answers(Result<Vec<u8>, TokenError>);

impl TokenKey for Answers {
    fn sign(&self, _: &[u8]) -> Result<Vec<u8>, TokenError> {
        self.0.clone()
    }
}

fn sign(kind: KeyKind, answer: Result<Vec<u8>, TokenError>) -> Result<Vec<u8>, KeyError> {
    let public = SigningKey::generate(kind).unwrap().public_key().clone();
    SigningKey::in_token(public, Arc::new(Answers(answer))).sign(b"message")
}

#[test]
fn refuses_a_signature_of_another_key_or_shape() {
    let other = SigningKey::generate(KeyKind::Ed25519)
        .unwrap()
        .sign(b"message")
        .unwrap();
    let lengths = [0, 1, 63, 64, 65, 96, 132, 5000];
    let junk = lengths.map(|n| vec![0x42; n]);
    for kind in [KeyKind::Ed25519, KeyKind::P256, KeyKind::P384, KeyKind::P521] {
        for answer in junk.iter().chain([&other]) {
            let result = sign(kind, Ok(answer.clone()));
            assert!(
                matches!(result, Err(KeyError::WrongSignature { .. })),
                "{kind}: {} bytes: {result:?}",
                answer.len()
            );
        }
    }
}

#[test]
fn what_the_token_refuses_is_passed_on() {
    let locked = TokenError::PinLocked { token: "acme".into() };
    let Err(KeyError::Token(found)) = sign(KeyKind::P256, Err(locked.clone())) else {
        panic!("signed");
    };
    assert_eq!(*found, locked);
}

#[test]
fn public_keys_verify_what_their_keys_signed_and_nothing_else() {
    for kind in [KeyKind::Ed25519, KeyKind::P256, KeyKind::P384, KeyKind::P521] {
        let (key, other) = (
            SigningKey::generate(kind).unwrap(),
            SigningKey::generate(kind).unwrap(),
        );
        let signature = key.sign(b"message").unwrap();
        assert!(key.public_key().verifies(b"message", &signature));
        assert!(!key.public_key().verifies(b"other", &signature));
        assert!(!other.public_key().verifies(b"message", &signature));
        assert!(!key.public_key().verifies(b"message", &[]));
    }
}
