//! What Assay logs.

use assay_log::leaf::{Leaf, LeafError, LeafKind};
use assay_log::merkle::leaf_hash;
use assay_schema::Sha256Digest;
use assay_schema::limits::MAX_INTEGER;

const EXAMPLE: &str = "{\"kind\":\"snapshot\",\"namespace\":\"1111111111111111111111111111111111111111111111111111111111111111\",\
    \"sha256\":\"2222222222222222222222222222222222222222222222222222222222222222\",\"v\":1,\"version\":7}";

fn digest(byte: u8) -> Sha256Digest {
    Sha256Digest::new([byte; 32])
}

#[test]
fn a_leaf_is_canonical_json() {
    let leaf = Leaf::new(digest(0x11), LeafKind::Snapshot, 7, digest(0x22)).unwrap();
    assert_eq!(leaf.to_bytes().unwrap(), EXAMPLE.as_bytes());
    assert_eq!(Leaf::parse(EXAMPLE.as_bytes()).unwrap(), leaf);
    assert_eq!(leaf.hash().unwrap(), leaf_hash(EXAMPLE.as_bytes()));
    let root = Leaf::new(digest(0x11), LeafKind::Root, MAX_INTEGER, digest(0x22)).unwrap();
    assert_eq!(Leaf::parse(&root.to_bytes().unwrap()).unwrap(), root);
    assert_eq!(
        (root.kind(), root.version(), root.namespace(), root.sha256()),
        (LeafKind::Root, MAX_INTEGER, digest(0x11), digest(0x22))
    );
}

#[test]
fn a_second_form_of_a_leaf_is_refused() {
    for (from, to) in [
        ("{\"kind", "{ \"kind"),
        ("snapshot", "targets"),
        ("snapshot", "Snapshot"),
        ("\"v\":1,", ""),
        ("\"v\":1", "\"v\":1.0"),
        ("\"version\":7", "\"version\":07"),
        ("\"version\":7", "\"version\":7,\"x\":1"),
        ("\"version\":7", "\"version\":-7"),
        ("2222", "222"),
        ("\"version\":7", "\"version\":\"7\""),
        ("}", "}\n"),
        (
            "\"kind\":\"snapshot\",",
            "\"kind\":\"root\",\"kind\":\"snapshot\",",
        ),
    ] {
        let bad = EXAMPLE.replacen(from, to, 1);
        assert!(
            matches!(Leaf::parse(bad.as_bytes()), Err(LeafError::Json(_))),
            "{bad}"
        );
    }
    assert!(matches!(Leaf::parse(&[b' '; 70_000]), Err(LeafError::Json(_))));
}

#[test]
fn a_leaf_of_another_format_or_version_is_refused() {
    let other = EXAMPLE.replacen("\"v\":1", "\"v\":2", 1);
    assert!(matches!(
        Leaf::parse(other.as_bytes()),
        Err(LeafError::Format { found: 2 })
    ));
    for version in ["0", "9007199254740992"] {
        let bad = EXAMPLE.replacen("\"version\":7", &format!("\"version\":{version}"), 1);
        assert!(
            matches!(Leaf::parse(bad.as_bytes()), Err(LeafError::Version { .. })),
            "{bad}"
        );
    }
}
