//! Keys in tokens of SoftHSM 2: made, found, used, and every way in which a token may fail.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod softhsm;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use assay_authority::{KeyError, KeyKind, PublicKey, SigningKey, TokenError, Tokens};
use assay_pkcs11::Pkcs11Tokens;
use softhsm::{PIN, configure, init_token, make_key, module};
use zeroize::Zeroizing;

const ROLE: &str = "ASSAY_TEST_TOKENS";

/// SoftHSM reads its environment when it is loaded, which a process must not change for itself: the test runs again in a process of
/// its own, whose environment says where the tokens are.
fn with_tokens(test: &str, body: impl FnOnce(&Path)) {
    if let Some(folder) = std::env::var_os(ROLE) {
        return body(Path::new(&folder));
    }
    let folder = tempfile::tempdir().unwrap();
    let configuration = configure(folder.path());
    let ran = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env("SOFTHSM2_CONF", configuration)
        .env(ROLE, folder.path())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&ran.stdout);
    assert!(
        ran.status.success(),
        "{text}\n{}",
        String::from_utf8_lossy(&ran.stderr)
    );
    assert!(text.contains("1 passed"), "no test of this name ran: {text}");
}

fn conf(folder: &Path) -> PathBuf {
    folder.join("softhsm2.conf")
}

fn tokens(pin: &'static str) -> Pkcs11Tokens {
    Pkcs11Tokens::new(Some(module()), move |_| Some(Zeroizing::new(pin.to_owned())))
}

fn key(tokens: &Pkcs11Tokens, uri: &str, public: &PublicKey) -> SigningKey {
    SigningKey::in_token(public.clone(), tokens.key(uri, public).unwrap())
}

fn refused(result: Result<Vec<u8>, KeyError>) -> TokenError {
    match result {
        Err(KeyError::Token(error)) => *error,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_key_of_every_kind_is_made_in_a_token_and_signs_what_verifies() {
    with_tokens(
        "a_key_of_every_kind_is_made_in_a_token_and_signs_what_verifies",
        |folder| {
            init_token(&conf(folder), "acme");
            let tokens = tokens(PIN);
            for kind in [KeyKind::Ed25519, KeyKind::P256, KeyKind::P384, KeyKind::P521] {
                let made = tokens.make("pkcs11:token=acme", kind.as_str(), kind).unwrap();
                assert_eq!(made.public.kind(), kind);
                assert!(
                    made.uri.contains(&format!("object=assay-{kind};id=%")),
                    "{}",
                    made.uri
                );
                assert!(made.uri.contains("?module-path=/"), "{}", made.uri);
                assert_eq!(tokens.find(&made.uri).unwrap(), made);
                let key = key(&tokens, &made.uri, &made.public);
                let signature = key.sign(b"message").unwrap();
                assert!(made.public.verifies(b"message", &signature));
                assert!(!made.public.verifies(b"massage", &signature));
                assert!(matches!(key.to_pem(), Err(KeyError::InToken)));
                let again = tokens.make("pkcs11:token=acme", kind.as_str(), kind);
                assert!(matches!(again, Err(TokenError::KeyExists { .. })), "{again:?}");
            }
        },
    );
}

#[test]
fn a_key_that_another_tool_made_is_found_and_used() {
    with_tokens("a_key_that_another_tool_made_is_found_and_used", |folder| {
        init_token(&conf(folder), "acme");
        make_key(&conf(folder), "acme", "root", "01", "EC:prime256v1");
        make_key(&conf(folder), "acme", "root", "02", "EC:edwards25519");
        let tokens = tokens(PIN);
        let both = tokens.find("pkcs11:token=acme;object=root");
        assert!(
            matches!(
                both,
                Err(TokenError::Ambiguous {
                    found: 2,
                    add: "object= or id=",
                    ..
                })
            ),
            "{both:?}"
        );
        for (id, kind) in [("%01", KeyKind::P256), ("%02", KeyKind::Ed25519)] {
            let found = tokens
                .find(&format!("pkcs11:token=acme;object=root;id={id}"))
                .unwrap();
            assert_eq!(found.public.kind(), kind);
            let signature = key(&tokens, &found.uri, &found.public).sign(b"m").unwrap();
            assert!(found.public.verifies(b"m", &signature));
        }
    });
}

#[test]
fn refuses_an_rsa_key_by_its_kind() {
    with_tokens("refuses_an_rsa_key_by_its_kind", |folder| {
        init_token(&conf(folder), "acme");
        make_key(&conf(folder), "acme", "root", "01", "rsa:2048");
        let rsa = tokens(PIN).find("pkcs11:token=acme;object=root");
        let Err(TokenError::Unsupported { found, expected, .. }) = &rsa else {
            panic!("{rsa:?}")
        };
        assert!(found.contains("RSA") && expected.contains("P-256"), "{rsa:?}");
    });
}

#[test]
fn refuses_another_token_another_key_and_a_module_that_is_none() {
    with_tokens(
        "refuses_another_token_another_key_and_a_module_that_is_none",
        |folder| {
            init_token(&conf(folder), "acme");
            init_token(&conf(folder), "other");
            let tokens = tokens(PIN);
            let made = tokens
                .make("pkcs11:token=acme;object=a", "root", KeyKind::P256)
                .unwrap();
            let foreign = tokens
                .make("pkcs11:token=other;object=a", "root", KeyKind::P256)
                .unwrap();

            let absent = refused(key(&tokens, "pkcs11:token=gone", &made.public).sign(b"m"));
            let TokenError::Absent { found, .. } = &absent else {
                panic!("{absent:?}")
            };
            assert!(found.contains("acme") && found.contains("other"), "{absent}");
            let lacks = refused(key(&tokens, "pkcs11:token=acme;object=b", &made.public).sign(b"m"));
            assert!(matches!(lacks, TokenError::NoKey { .. }), "{lacks:?}");
            // The same label in another token is another key.
            let wrong = refused(key(&tokens, "pkcs11:token=other;object=a-root", &made.public).sign(b"m"));
            assert!(matches!(wrong, TokenError::OtherKey { .. }), "{wrong:?}");
            let any = refused(key(&tokens, "pkcs11:object=a-root", &made.public).sign(b"m"));
            assert!(
                matches!(
                    any,
                    TokenError::Ambiguous {
                        what: "tokens",
                        add: "token= or serial=",
                        ..
                    }
                ),
                "{any:?}"
            );
            // Of another kind, too.
            let ed25519 = SigningKey::generate(KeyKind::Ed25519).unwrap();
            let kind = refused(key(&tokens, &foreign.uri, ed25519.public_key()).sign(b"m"));
            assert!(matches!(kind, TokenError::OtherKey { .. }), "{kind:?}");

            let none = Pkcs11Tokens::new(None, |_| None);
            let no_module = none.key("pkcs11:token=acme", &made.public);
            assert!(matches!(no_module, Err(TokenError::NoModule { .. })));
            let gone = none.find("pkcs11:token=acme?module-path=/no/such.so");
            assert!(matches!(gone, Err(TokenError::Module { .. })), "{gone:?}");
            let text = folder.join("text.so");
            std::fs::write(&text, "no library").unwrap();
            let text = none.find(&format!("pkcs11:token=acme?module-path={}", text.display()));
            assert!(matches!(text, Err(TokenError::Module { .. })), "{text:?}");
        },
    );
}

#[test]
fn a_wrong_pin_is_refused_and_not_tried_again() {
    with_tokens("a_wrong_pin_is_refused_and_not_tried_again", |folder| {
        init_token(&conf(folder), "acme");
        let made = tokens(PIN)
            .make("pkcs11:token=acme", "root", KeyKind::Ed25519)
            .unwrap();
        let asked = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&asked);
        let wrong = Pkcs11Tokens::new(Some(module()), move |token| {
            assert_eq!(token, "acme");
            count.fetch_add(1, Ordering::Relaxed);
            Some(Zeroizing::new("000000".to_owned()))
        });
        let error = refused(key(&wrong, &made.uri, &made.public).sign(b"m"));
        assert!(matches!(error, TokenError::WrongPin { .. }), "{error:?}");
        assert_eq!(asked.load(Ordering::Relaxed), 1);
        assert!(!error.to_string().contains("000000"));

        let nobody = Pkcs11Tokens::new(Some(module()), |_| None);
        let error = refused(key(&nobody, &made.uri, &made.public).sign(b"m"));
        assert!(matches!(error, TokenError::PinNeeded { .. }), "{error:?}");

        let file = folder.join("pin");
        let from_file = format!("{}&pin-source={}", made.uri, file.display());
        let error = refused(key(&nobody, &from_file, &made.public).sign(b"m"));
        assert!(matches!(error, TokenError::PinFile { .. }), "{error:?}");
        std::fs::write(&file, "\n").unwrap();
        let error = refused(key(&nobody, &from_file, &made.public).sign(b"m"));
        assert!(matches!(error, TokenError::PinFile { .. }), "{error:?}");
        std::fs::write(&file, format!("{PIN}\n")).unwrap();
        assert!(key(&nobody, &from_file, &made.public).sign(b"m").is_ok());
    });
}

#[test]
fn one_login_does_for_all_keys_of_a_token() {
    with_tokens("one_login_does_for_all_keys_of_a_token", |folder| {
        init_token(&conf(folder), "acme");
        let asked = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&asked);
        let tokens = Pkcs11Tokens::new(Some(module()), move |_| {
            count.fetch_add(1, Ordering::Relaxed);
            Some(Zeroizing::new(PIN.to_owned()))
        });
        let made: Vec<_> = ["root", "targets", "status"]
            .iter()
            .map(|name| tokens.make("pkcs11:token=acme", name, KeyKind::P256).unwrap())
            .collect();
        let before = asked.load(Ordering::Relaxed);
        let keys: Vec<_> = made.iter().map(|m| key(&tokens, &m.uri, &m.public)).collect();
        for key in &keys {
            key.sign(b"m").unwrap();
            key.sign(b"n").unwrap();
        }
        assert_eq!(asked.load(Ordering::Relaxed), before + 1);
    });
}

#[test]
fn a_token_that_goes_away_between_two_signatures_is_named() {
    with_tokens(
        "a_token_that_goes_away_between_two_signatures_is_named",
        |folder| {
            init_token(&conf(folder), "acme");
            let tokens = tokens(PIN);
            let made = tokens.make("pkcs11:token=acme", "root", KeyKind::P256).unwrap();
            let key = key(&tokens, &made.uri, &made.public);
            key.sign(b"one").unwrap();
            std::fs::remove_dir_all(folder.join("tokens")).unwrap();
            let error = refused(key.sign(b"two"));
            assert!(error.to_string().contains("token acme"), "{error}");
            assert!(
                matches!(
                    error,
                    TokenError::Removed { .. } | TokenError::Failed { what: "sign", .. }
                ),
                "{error:?}"
            );
            // It is looked for anew, and is not there.
            refused(key.sign(b"three"));
        },
    );
}
