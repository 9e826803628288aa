//! The first metadata of a namespace.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod common;

use assay_authority::namespace::{
    NamespaceError, NewNamespace, create_namespace, key_signer, signers_target,
};
use assay_authority::{MetadataError, RoleKeys, Root, SigningKey, Targets, TopRole};
use assay_schema::Sha256Digest;
use assay_schema::api::Visibility;
use assay_schema::limits::MAX_INLINE_TARGET;
use assay_schema::signers::{SIGSTORE_ROOT_TARGET, SignerIdentity, Signers, TARGET};
use common::{Keys, key, now};
use sha2::{Digest, Sha256};

fn sha256(bytes: &[u8]) -> Sha256Digest {
    Sha256Digest::new(Sha256::digest(bytes).into())
}

fn create(
    keys: &Keys,
    root_signers: &[&SigningKey],
    targets_signers: &[&SigningKey],
    sigstore_root: Option<&str>,
) -> Result<assay_authority::namespace::CreatedNamespace, NamespaceError> {
    create_namespace(&NewNamespace {
        root: &keys.root_keys(),
        root_signers,
        targets: &keys.targets_keys(),
        targets_signers,
        online: &keys.online(),
        signers: &keys.signers(),
        sigstore_root,
        log: None,
        visibility: Visibility::Private,
        now: now(),
    })
}

#[test]
fn a_namespace_is_known_by_its_first_root() {
    let keys = Keys::new();
    let made = keys.namespace();
    assert_eq!(made.identity, sha256(made.body.root.as_bytes()));
    let root = Root::read(made.body.root.as_bytes()).unwrap();
    assert_eq!(root.version().unwrap(), 1);
    assert_eq!(
        root.role(TopRole::Snapshot).unwrap(),
        RoleKeys::single(keys.online().snapshot)
    );
    assert_eq!(
        root.role(TopRole::Timestamp).unwrap(),
        RoleKeys::single(keys.online().timestamp)
    );
    let targets = Targets::read(made.body.targets.as_bytes()).unwrap();
    assert_eq!(targets.binding().unwrap().namespace, made.identity);
    let signers = targets.target(TARGET).unwrap().unwrap();
    assert_eq!(signers.note.inline.as_ref(), made.body.blobs.first());
    assert_eq!(signers.sha256, sha256(made.body.blobs[0].as_bytes()));
    let read: Signers = serde_json::from_str(&made.body.blobs[0]).unwrap();
    assert_eq!(read, keys.signers());
}

#[test]
fn a_long_document_does_not_stand_in_its_entry() {
    let keys = Keys::new();
    let long = format!("\"{}\"", "x".repeat(MAX_INLINE_TARGET as usize));
    let made = create(
        &keys,
        &[&keys.root[0], &keys.root[1]],
        &[&keys.targets[0]],
        Some(&long),
    )
    .unwrap();
    let targets = Targets::read(made.body.targets.as_bytes()).unwrap();
    let entry = targets.target(SIGSTORE_ROOT_TARGET).unwrap().unwrap();
    assert_eq!((entry.note.inline, entry.length), (None, long.len() as u64));
    assert_eq!(made.body.blobs[1], long);
    assert_eq!(made.body.visibility, Visibility::Private);
}

#[test]
fn keys_below_the_threshold_make_no_namespace() {
    let keys = Keys::new();
    let both = [&keys.root[0], &keys.root[1]];
    for (root, targets) in [
        (&both[..1], &[&keys.targets[0]][..]),
        (&[both[0], both[0]], &[&keys.targets[0]]),
        (&both, &[]),
    ] {
        let result = create(&keys, root, targets, None);
        assert!(
            matches!(
                result,
                Err(NamespaceError::Metadata(MetadataError::NotEnough { .. }))
            ),
            "{result:?}"
        );
    }
    let result = create(&keys, &both, &[&key()], None);
    assert!(matches!(
        result,
        Err(NamespaceError::Metadata(MetadataError::NotListed { .. }))
    ));
}

#[test]
fn an_online_key_that_is_the_authoritys_makes_no_namespace() {
    let mut keys = Keys::new();
    keys.timestamp = keys.targets[0].clone();
    let result = create(&keys, &[&keys.root[0], &keys.root[1]], &[&keys.targets[0]], None);
    assert!(
        matches!(
            result,
            Err(NamespaceError::Metadata(MetadataError::KeyInTwoRoles { .. }))
        ),
        "{result:?}"
    );
}

#[test]
fn signers_that_no_verifier_could_use_are_refused() {
    let signer = key_signer("A", key().public_key());
    let with = |name: &str, identity| {
        let signer = assay_schema::signers::Signer {
            name: name.into(),
            models: Vec::new(),
            statements: Vec::new(),
            identity,
        };
        Signers {
            v: 1,
            signers: vec![signer],
            require: Vec::new(),
        }
    };
    let required = |names: &[&str]| Signers {
        v: 1,
        signers: vec![signer.clone()],
        require: vec![assay_schema::signers::RequiredStatement {
            predicate_type: "https://slsa.dev/provenance/v1".parse().unwrap(),
            signers: names.iter().map(|&name| name.to_owned()).collect(),
            models: Vec::new(),
            files: Vec::new(),
        }],
    };
    let bad = [
        Signers {
            v: 2,
            signers: vec![signer.clone()],
            require: Vec::new(),
        },
        // Required of nobody, of somebody unknown, and of one who signs models only.
        required(&[]),
        required(&["Nobody"]),
        required(&[&signer.name]),
        with(
            "A",
            SignerIdentity::SigstorePattern {
                issuer: "https://issuer.example".into(),
                subject: "https://**".parse().unwrap(),
            },
        ),
        with(
            "A",
            SignerIdentity::Certificate {
                roots: Vec::new(),
                subject: "a@example.com".parse().unwrap(),
            },
        ),
        with(" ", signer.identity.clone()),
        with(
            "A",
            SignerIdentity::Key {
                spki: "not base64".into(),
            },
        ),
        with("A", SignerIdentity::Key { spki: "AAAA".into() }),
        with(
            "A",
            SignerIdentity::Sigstore {
                issuer: String::new(),
                subject: "a@example.com".into(),
            },
        ),
    ];
    for signers in bad {
        let result = signers_target(&signers);
        assert!(
            matches!(result, Err(NamespaceError::Signer { .. })),
            "{signers:?}: {result:?}"
        );
    }
    let control = with("A\nB", signer.identity);
    assert!(matches!(
        signers_target(&control),
        Err(NamespaceError::Signers(_))
    ));
}
