//! What may be published, and the keys that sign it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod common;

use std::os::unix::fs::PermissionsExt;

use assay_authority::KeyKind;
use assay_client::publisher::{AuthorityFolder, KeyRole, NamespaceTerms, PublishError, ReleaseTerms};
use assay_client::scan::{ScanError, scan};
use assay_schema::api::Visibility;
use assay_schema::signers::{Signer, SignerIdentity};
use common::{World, now};
use tempfile::tempdir;

fn scan_of(names: &[&str]) -> Result<Vec<String>, ScanError> {
    let dir = tempdir().unwrap();
    for name in names {
        let at = dir.path().join(name);
        std::fs::create_dir_all(at.parent().unwrap()).unwrap();
        std::fs::write(at, name).unwrap();
    }
    Ok(scan(dir.path(), &[".git".to_owned()])?
        .into_iter()
        .map(|f| f.path.to_string())
        .collect())
}

#[test]
fn files_come_sorted_and_ignored_ones_not() {
    let found = scan_of(&["b/c", "b-", "a", ".git/config", "sub/.git/x"]).unwrap();
    assert_eq!(found, ["a", "b-", "b/c", "sub/.git/x"]);
}

#[test]
fn names_that_other_systems_read_differently_are_refused() {
    for name in [
        "trailing.",
        "space ",
        "a:b",
        "back\\slash",
        "nul",
        "com1.txt",
        "line\nfeed",
        "bi\u{202e}di",
    ] {
        let refused = scan_of(&["fine", name]);
        assert!(
            matches!(refused, Err(ScanError::Name { .. })),
            "{name:?}: {refused:?}"
        );
    }
}

#[test]
fn names_that_are_not_unicode_are_refused() {
    use std::os::unix::ffi::OsStrExt;
    let dir = tempdir().unwrap();
    std::fs::write(dir.path().join(std::ffi::OsStr::from_bytes(b"\xff")), b"").unwrap();
    assert!(matches!(scan(dir.path(), &[]), Err(ScanError::NotUnicode { .. })));
}

#[test]
fn names_that_differ_only_in_case_are_refused() {
    assert!(matches!(
        scan_of(&["Readme", "README"]),
        Err(ScanError::Collision { .. })
    ));
    assert!(matches!(
        scan_of(&["sub/a", "Sub/b"]),
        Err(ScanError::Collision { .. })
    ));
}

#[test]
fn links_pipes_and_empty_folders_are_refused() {
    let dir = tempdir().unwrap();
    assert!(matches!(scan(dir.path(), &[]), Err(ScanError::Count { .. })));
    std::os::unix::fs::symlink("/etc/hostname", dir.path().join("link")).unwrap();
    assert!(matches!(
        scan(dir.path(), &[]),
        Err(ScanError::NotAFile {
            found: "a symbolic link",
            ..
        })
    ));
    std::fs::remove_file(dir.path().join("link")).unwrap();
    std::os::unix::net::UnixListener::bind(dir.path().join("socket")).unwrap();
    assert!(matches!(
        scan(dir.path(), &[]),
        Err(ScanError::NotAFile {
            found: "a socket",
            ..
        })
    ));
}

#[test]
fn keys_are_private_and_never_overwritten() {
    let dir = tempdir().unwrap();
    let folder = AuthorityFolder::open(dir.path()).unwrap();
    folder.generate(KeyRole::Root, 1, KeyKind::Ed25519, None).unwrap();
    let file = dir.path().join("root.pem");
    assert_eq!(
        std::fs::metadata(&file).unwrap().permissions().mode() & 0o777,
        0o600
    );
    let before = std::fs::read(&file).unwrap();
    let again = folder.generate(KeyRole::Root, 1, KeyKind::Ed25519, None);
    assert!(matches!(again, Err(PublishError::KeyExists { .. })));
    assert_eq!(std::fs::read(&file).unwrap(), before);
    let public = std::fs::read_to_string(dir.path().join("root.pem.pub")).unwrap();
    assert!(public.starts_with("-----BEGIN PUBLIC KEY-----"));
    let missing = folder.keys(KeyRole::Targets, &|_| None);
    assert!(matches!(missing, Err(PublishError::NoKey { .. })));
}

#[test]
fn encrypted_keys_need_their_passphrase() {
    let dir = tempdir().unwrap();
    let folder = AuthorityFolder::open(dir.path()).unwrap();
    let public = folder
        .generate(KeyRole::Publisher, 1, KeyKind::Ed25519, Some("correct horse"))
        .unwrap();
    folder
        .generate(KeyRole::Publisher, 2, KeyKind::Ed25519, None)
        .unwrap();
    let keys = folder
        .keys(KeyRole::Publisher, &|_| Some("correct horse".to_owned()))
        .unwrap();
    assert_eq!(keys.len(), 2);
    assert_eq!(keys[0].public_key(), &public);
    for wrong in [None, Some("wrong".to_owned())] {
        assert!(matches!(
            folder.keys(KeyRole::Publisher, &|_| wrong.clone()),
            Err(PublishError::Key { .. })
        ));
    }
}

#[test]
fn publishing_without_the_key_leaves_nothing_on_the_registry() {
    let world = World::new();
    std::fs::remove_file(world.dir.path().join("authority/publisher.pem")).unwrap();
    let folder = world.files("model", &[("a", b"1")]);
    let terms = ReleaseTerms::new("minilm".parse().unwrap(), "1.0.0".parse().unwrap());
    let before = assay_client::Transport::traffic(world.registry.as_ref());
    let refused = world.publisher().publish(&folder, &terms, now());
    assert!(matches!(refused, Err(PublishError::NoKey { .. })), "{refused:?}");
    assert_eq!(assay_client::Transport::traffic(world.registry.as_ref()), before);
}

#[test]
fn without_the_targets_key_a_new_block_needs_the_authority() {
    let world = World::new();
    world.publish("1.0.0", &[("a", b"1")]);
    std::fs::remove_file(world.dir.path().join("authority/targets.pem")).unwrap();
    world.publish("1.1.0", &[("a", b"2")]);
    let folder = world.files("far", &[("a", b"3")]);
    let mut terms = ReleaseTerms::new("minilm".parse().unwrap(), "2.0.0".parse().unwrap());
    terms.counter = Some(100);
    let refused = world.publisher().publish(&folder, &terms, now());
    assert!(matches!(refused, Err(PublishError::Release(_))), "{refused:?}");
    assert!(refused.unwrap_err().to_string().contains("delegate"));
}

#[test]
fn a_namespace_is_created_once() {
    let world = World::new();
    let again = World::new();
    // The other authority finds the name taken.
    std::fs::remove_file(again.dir.path().join("authority/namespace.json")).unwrap();
    let folder = AuthorityFolder::open(&again.dir.path().join("authority")).unwrap();
    let publisher = assay_client::publisher::Publisher::new(folder, world.registry.clone());
    let terms = assay_client::publisher::NamespaceTerms {
        name: "acme".parse().unwrap(),
        registry: "http://registry.test".into(),
        root_threshold: 1,
        targets_threshold: 1,
        signer: "acme models".into(),
        other_signers: Vec::new(),
        require: Vec::new(),
        sigstore_root: None,
        log: true,
        witnesses: Vec::new(),
        witness_threshold: None,
        visibility: assay_schema::api::Visibility::Public,
    };
    let taken = publisher.create_namespace(&terms, now());
    assert!(
        matches!(taken, Err(PublishError::NamespaceTaken { .. })),
        "{taken:?}"
    );
    // Its own, whose answer was lost, is recognised by its root.
    let folder = AuthorityFolder::open(&again.dir.path().join("authority")).unwrap();
    let publisher = assay_client::publisher::Publisher::new(folder, again.registry.clone());
    assert_eq!(
        publisher.create_namespace(&terms, now()).unwrap().identity,
        again.identity
    );
}

#[test]
fn a_creation_that_was_not_finished_goes_on_only_as_it_was_signed() {
    let world = World::new();
    let authority = world.dir.path().join("authority");
    std::fs::remove_file(authority.join("namespace.json")).unwrap();
    let terms = |signer: &str, others: Vec<Signer>, visibility| NamespaceTerms {
        name: "acme".parse().unwrap(),
        registry: "http://registry.test".into(),
        root_threshold: 1,
        targets_threshold: 1,
        signer: signer.into(),
        other_signers: others,
        require: Vec::new(),
        sigstore_root: None,
        log: true,
        witnesses: Vec::new(),
        witness_threshold: None,
        visibility,
    };
    let lab = Signer {
        name: "lab".into(),
        models: Vec::new(),
        statements: Vec::new(),
        identity: SignerIdentity::Key { spki: "AA==".into() },
    };
    for other in [
        terms("somebody", Vec::new(), Visibility::Public),
        terms("acme models", vec![lab], Visibility::Public),
        terms("acme models", Vec::new(), Visibility::Private),
    ] {
        let refused = world.publisher().create_namespace(&other, now());
        assert!(
            matches!(&refused, Err(PublishError::Folder { path, .. }) if path.ends_with("create.json")),
            "{refused:?}"
        );
    }
    let same = terms("acme models", Vec::new(), Visibility::Public);
    assert_eq!(
        world.publisher().create_namespace(&same, now()).unwrap().identity,
        world.identity
    );
}
