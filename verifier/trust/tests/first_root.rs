//! What a device accepts as the first root of a namespace, and the floors that it keeps.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use assay_authority::metadata::sign_value;
use assay_authority::{RoleKeys, Root, SigningKey};
use assay_provenance::sha256;
use assay_schema::{ReleaseOrder, Sha256Digest, limits};
use assay_trust::{DeviceState, Pin, Roots, TrustError};
use jiff::Timestamp;
use serde_json::{Value, json};

fn now() -> Timestamp {
    "2026-12-01T00:00:00Z".parse().unwrap()
}

fn keys(n: usize) -> Vec<SigningKey> {
    (0..n)
        .map(|_| SigningKey::generate(assay_authority::KeyKind::Ed25519).unwrap())
        .collect()
}

fn role(keys: &[SigningKey], threshold: u64) -> RoleKeys {
    RoleKeys::of(&keys.iter().collect::<Vec<_>>(), threshold).unwrap()
}

/// A root's `signed` document, and its root keys.
fn root() -> (Value, Vec<SigningKey>) {
    let [root, targets, snapshot, timestamp] = [3, 2, 1, 1].map(keys);
    let made = Root::new(
        &role(&root, 2),
        &role(&targets, 1),
        &role(&snapshot, 1),
        &role(&timestamp, 1),
        "2027-12-01T00:00:00Z".parse().unwrap(),
    );
    (made.unwrap().signed_value(), root)
}

fn pin(bytes: &[u8]) -> Pin {
    Pin::new("acme".parse().unwrap(), sha256(bytes))
}

fn signed(document: &Value, keys: &[SigningKey]) -> Vec<u8> {
    sign_value("root", document, &keys.iter().collect::<Vec<_>>()).unwrap()
}

fn refused(bytes: &[u8]) -> String {
    DeviceState::first(&pin(bytes), bytes).unwrap_err().refusal().code
}

#[test]
fn a_right_first_root_is_accepted() {
    let (document, keys) = root();
    let bytes = signed(&document, &keys);
    let state = DeviceState::first(&pin(&bytes), &bytes).unwrap();
    assert_eq!(state.root.as_bytes(), bytes);
    let roots = Roots::open(&pin(&bytes), state, now()).unwrap();
    assert_eq!((roots.version(), roots.next_version()), (1, Some(2)));
}

#[test]
fn another_root_than_the_pinned_one_is_refused() {
    let (document, keys) = root();
    let bytes = signed(&document, &keys);
    let error = DeviceState::first(&pin(b"another"), &bytes).unwrap_err();
    assert!(matches!(error, TrustError::Identity { .. }), "{error}");
}

#[test]
fn a_root_below_its_own_threshold_is_refused() {
    let (document, keys) = root();
    assert_eq!(refused(&signed(&document, &keys[..1])), "signature-threshold");
    assert_eq!(refused(&signed(&document, &[])), "signature-threshold");
}

#[test]
fn a_later_root_is_no_first_root() {
    let (mut document, keys) = root();
    document["version"] = json!(2);
    assert_eq!(refused(&signed(&document, &keys)), "wrong-version");
}

#[test]
fn a_root_without_one_of_the_four_roles_is_refused() {
    for name in ["targets", "snapshot", "timestamp"] {
        let (mut document, keys) = root();
        document["roles"].as_object_mut().unwrap().remove(name);
        assert_eq!(refused(&signed(&document, &keys)), "malformed");
    }
}

#[test]
fn a_root_that_lists_one_key_under_two_ids_is_refused() {
    let (mut document, keys) = root();
    document["keys"]["again"] = serde_json::to_value(keys[0].tuf_key().unwrap()).unwrap();
    assert_eq!(refused(&signed(&document, &keys)), "duplicate-key");
    // Upper case is another text of the same key.
    let public = document["keys"]["again"]["keyval"]["public"]
        .as_str()
        .unwrap()
        .to_uppercase();
    document["keys"]["again"]["keyval"]["public"] = json!(public);
    assert_eq!(refused(&signed(&document, &keys)), "duplicate-key");
}

#[test]
fn a_root_that_is_too_long_is_refused_unread() {
    assert_eq!(refused(&vec![b' '; limits::MAX_ROOT as usize + 1]), "too-long");
}

#[test]
fn nonsense_is_refused() {
    for bytes in [
        &b""[..],
        b"{}",
        b"[]",
        b"\xff\xfe",
        br#"{"signed":{},"signatures":[]}"#,
    ] {
        assert_eq!(refused(bytes), "malformed");
    }
}

#[test]
fn an_order_never_lowers_a_floor() {
    let (document, keys) = root();
    let bytes = signed(&document, &keys);
    let mut state = DeviceState::first(&pin(&bytes), &bytes).unwrap();
    let model = "minilm".parse().unwrap();
    let order = |epoch, counter| ReleaseOrder::new(epoch, counter).unwrap();
    let [first, second] = [Sha256Digest::new([1; 32]), Sha256Digest::new([2; 32])];
    state.raise_floor(&model, order(2, 1), first);
    state.raise_floor(&model, order(1, 500), second);
    assert_eq!(state.floors[&model], order(2, 1));
    assert_eq!(
        state.activated[&model], first,
        "of the release that has the floor's order"
    );
}
