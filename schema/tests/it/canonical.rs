//! Canonical JSON: the same bytes as the reference implementation, one spelling only, and bounds on strangers' JSON.

use assay_schema::canonical::{JsonError, document, read, read_document, signed_bytes};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

#[test]
fn gives_the_bytes_of_the_reference_implementation() {
    let vectors: Vec<Value> =
        serde_json::from_str(include_str!("../../vectors/canonical-json.json")).unwrap();
    assert!(vectors.len() > 5);
    for vector in vectors {
        let ours = signed_bytes(&vector["value"]).unwrap();
        assert_eq!(
            hex::encode(&ours),
            vector["canonical"].as_str().unwrap(),
            "{}",
            vector["value"]
        );
    }
}

#[test]
fn refuses_every_second_spelling() {
    let spellings: &[&[u8]] = &[
        br#"{"a": 1}"#,
        b"{\"a\":1}\n",
        br#" {"a":1}"#,
        br#"{"b":1,"a":1}"#,
        br#"{"a":1,"a":1}"#,
        br#"{"a":0,"a":1}"#,
        br#"{"\u0061":1}"#,
        br#"{"a":"\/"}"#,
        b"\xef\xbb\xbf{\"a\":1}",
    ];
    for bytes in spellings {
        assert!(
            read_document::<Value>(bytes, 100).is_err(),
            "{}",
            String::from_utf8_lossy(bytes)
        );
    }
    assert_eq!(
        read_document::<Value>(br#"{"a":1}"#, 100).unwrap(),
        json!({"a": 1})
    );
}

#[test]
fn refuses_numbers_that_readers_hold_differently() {
    for text in ["1.0", "1e2", "-0", "1E400", "18446744073709551616", "0.1"] {
        let found = read_document::<Value>(format!("{{\"a\":{text}}}").as_bytes(), 100);
        assert!(found.is_err(), "{text}: {found:?}");
    }
    for text in ["01", "+1", ".5", "NaN", "Infinity", "0x1"] {
        assert!(read::<Value>(text.as_bytes(), 100).is_err(), "{text}");
    }
}

#[test]
fn refuses_control_characters_in_own_documents() {
    for c in ['\0', '\n', '\u{1b}', '\u{7f}', '\u{85}'] {
        for value in [json!({"a": c.to_string()}), json!([{c.to_string(): 1}])] {
            assert!(
                matches!(document(&value), Err(JsonError::ControlCharacter(_))),
                "{c:?}"
            );
            // TUF's own form takes them as they are, as the reference implementation does.
            let bytes = signed_bytes(&value).unwrap();
            assert!(read_document::<Value>(&bytes, 100).is_err(), "{c:?}");
        }
    }
}

#[test]
fn refuses_truncated_json() {
    let bytes = document(&json!({"a": [1, {"b": "c"}], "d": null})).unwrap();
    for end in 0..bytes.len() {
        assert!(read::<Value>(&bytes[..end], 100).is_err(), "{end}");
    }
}

#[test]
fn refuses_oversized_json_before_parsing_it() {
    assert!(matches!(
        read::<Value>(b"[[[[", 3),
        Err(JsonError::TooLong { limit: 3, found: 4 })
    ));
    assert!(read::<Value>(b"[1]", 3).is_ok());
}

#[test]
fn refuses_deep_nesting_without_overflowing_the_stack() {
    for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
        let deep = format!("{}1{}", open.repeat(200_000), close.repeat(200_000));
        assert!(matches!(
            read::<Value>(deep.as_bytes(), 1 << 30),
            Err(JsonError::Parse(_))
        ));
    }
}

#[test]
fn refuses_what_is_not_utf8() {
    assert!(read::<Value>(b"\"\xff\"", 100).is_err());
    assert!(read::<Value>(br#""\ud800""#, 100).is_err());
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        "[^\\p{Cc}]{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 40, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::btree_map("[^\\p{Cc}]{0,8}", inner, 0..6)
                .prop_map(|map| Value::Object(map.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

proptest! {
    #[test]
    fn a_document_reads_back_and_has_one_form(value in any_json()) {
        let bytes = document(&value).unwrap();
        let back: Value = read_document(&bytes, u64::MAX).unwrap();
        prop_assert_eq!(&back, &value);
        prop_assert_eq!(document(&back).unwrap(), bytes);
    }

    #[test]
    fn one_changed_byte_never_reads_as_the_same_value(value in any_json(), at in any::<prop::sample::Index>(), flip in 1..=255u8) {
        let mut bytes = document(&value).unwrap();
        let at = at.index(bytes.len());
        bytes[at] ^= flip;
        if let Ok(other) = read_document::<Value>(&bytes, u64::MAX) {
            prop_assert_ne!(other, value);
        }
    }
}

#[test]
fn repro_a_refusal_repeats_no_strangers_text_at_length_and_no_control_character() {
    let long = format!("{{\"v\":\"{}\"}}", "x".repeat(1 << 20));
    let unknown = format!("{{\"\u{1b}[31m{}\":1}}", "y".repeat(1 << 20)).replace('\u{1b}', "\\u001b");
    for text in [long, unknown] {
        let refused = assay_schema::status::Status::parse(text.as_bytes());
        assert!(matches!(refused, Err(JsonError::TooLong { .. })));
        let refused = read::<assay_schema::status::Status>(text.as_bytes(), u64::MAX)
            .unwrap_err()
            .to_string();
        assert!(
            refused.len() < 1000 && refused.contains("... at line 1 column "),
            "{refused}"
        );
        assert!(!refused.chars().any(char::is_control), "{refused:?}");
    }
}
