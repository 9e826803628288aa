//! Names of namespaces, models, versions and releases, and digests.

use assay_schema::{ModelName, ModelRef, NamespaceName, ReleaseRef, Sha256Digest, VersionName};
use proptest::prelude::*;

const BAD_FOR_ALL: &[&str] = &[
    "",
    ".",
    "..",
    "a..b",
    "../a",
    "a/b",
    "/a",
    "a\\b",
    "C:",
    "a:b",
    "a\0b",
    "a\nb",
    "a\u{7f}",
    "a b",
    " a",
    "a ",
    "a.",
    ".a",
    "-a",
    "a-",
    "_a",
    "a_",
    "a%2e",
    "ä",
    "a\u{200b}b",
    "a@b",
    "a*",
    "a?",
    "a~1",
    "con",
    "nul",
    "aux",
    "prn",
    "com1",
    "lpt9",
    "con.model",
    "nul.1",
];

#[test]
fn refuses_names_that_are_no_safe_path_component() {
    for text in BAD_FOR_ALL {
        assert!(text.parse::<NamespaceName>().is_err(), "namespace {text:?}");
        assert!(text.parse::<ModelName>().is_err(), "model {text:?}");
        assert!(text.parse::<VersionName>().is_err(), "version {text:?}");
    }
    assert!("a".repeat(65).parse::<ModelName>().is_err());
    assert!("a".repeat(64).parse::<ModelName>().is_ok());
}

#[test]
fn refuses_names_that_differ_only_in_case() {
    for text in ["Acme", "aCme", "ACME", "CON"] {
        assert!(text.parse::<NamespaceName>().is_err());
        assert!(text.parse::<ModelName>().is_err());
    }
    assert!("1.0.0-RC1+build.5".parse::<VersionName>().is_ok());
    assert!("CON".parse::<VersionName>().is_err());
}

#[test]
fn an_error_says_what_was_expected_and_shows_only_the_beginning() {
    let error = "A\nB".repeat(1000).parse::<ModelName>().unwrap_err();
    assert_eq!(error.kind, "model");
    assert!(error.found.chars().count() <= 80);
    let text = error.to_string();
    assert!(
        text.contains("expected 1 to 64") && !text.contains('\n'),
        "{text}"
    );
}

#[test]
fn references_read_back() {
    let release: ReleaseRef = "acme/mini.lm@1.2.0".parse().unwrap();
    assert_eq!(release.model, "acme/mini.lm".parse::<ModelRef>().unwrap());
    assert_eq!(release.to_string(), "acme/mini.lm@1.2.0");
    for text in [
        "acme",
        "acme/",
        "/x",
        "a/b/c",
        "a/b@",
        "a@b",
        "a/b@c@d",
        "a//b",
        "https://a/b",
    ] {
        assert!(text.parse::<ReleaseRef>().is_err(), "{text}");
    }
    for text in ["a/b@1", "a/b/c", "acme"] {
        assert!(text.parse::<ModelRef>().is_err(), "{text}");
    }
}

#[test]
fn refuses_bad_names_inside_json_too() {
    assert!(serde_json::from_str::<ModelName>(r#""..""#).is_err());
    assert!(serde_json::from_str::<ReleaseRef>(r#""a/..@1""#).is_err());
    assert!(serde_json::from_str::<NamespaceName>(r#""a\u0000b""#).is_err());
}

#[test]
fn refuses_digests_in_any_other_spelling() {
    let good = "0123456789abcdef".repeat(4);
    assert_eq!(good.parse::<Sha256Digest>().unwrap().to_hex(), good);
    let bad = [
        good.to_uppercase(),
        good[1..].to_owned(),
        format!("{good}0"),
        format!("0x{}", &good[2..]),
        "é".repeat(32),
        format!("sha256:{good}"),
        String::new(),
    ];
    for text in bad {
        assert!(text.parse::<Sha256Digest>().is_err(), "{text}");
    }
    let empty: [u8; 32] = <sha2::Sha256 as sha2::Digest>::digest(b"").into();
    assert_eq!(Sha256Digest::EMPTY, Sha256Digest::new(empty));
}

proptest! {
    #[test]
    fn whatever_is_accepted_is_one_safe_component(text in "\\PC{0,70}|[a-z0-9._-]{0,70}") {
        if let Ok(name) = text.parse::<ModelName>() {
            prop_assert_eq!(name.as_str(), &text);
            prop_assert!(!text.contains(['/', '\\', ':', '@']) && !text.contains(".."));
            prop_assert!(text.bytes().all(|b| b.is_ascii_graphic() && !b.is_ascii_uppercase()));
            prop_assert!(text.parse::<assay_schema::FilePath>().is_ok());
        }
    }
}
