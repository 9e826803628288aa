//! Folders signed by `model_signing`, the OpenSSF's own tool.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

use std::path::{Path, PathBuf};

use assay_authority::PublicKey;
use assay_authority::namespace::key_signer;
use assay_client::device::{DeviceError, OmsCheck, VerifiedDirectory};
use assay_schema::signers::Signer;
use tempfile::TempDir;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../verifier/provenance/tests/fixtures/oms")
}

fn signer(key: &str) -> Signer {
    let pem = std::fs::read_to_string(fixtures().join(key)).unwrap();
    key_signer("foreign", &PublicKey::from_pem(&pem).unwrap())
}

/// A copy of the signed folder, to be changed.
fn copy() -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let to = dir.path().join("model");
    copy_folder(&fixtures().join("model"), &to);
    (dir, to)
}

fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_folder(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).unwrap();
        }
    }
}

fn check(folder: &Path, signature: &Path, key: &str) -> Result<VerifiedDirectory, DeviceError> {
    let signers = [signer(key)];
    let now = "2026-11-20T12:00:00Z".parse().unwrap();
    let check = OmsCheck {
        folder,
        signature,
        signers: &signers,
        sigstore_root: None,
        ignore: &[],
        now,
        threads: 2,
    };
    check.run(&|_| {})
}

fn code(result: Result<VerifiedDirectory, DeviceError>) -> String {
    match result {
        Err(DeviceError::Refused(refusal)) => refusal.code,
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_was_signed_is_accepted() {
    for curve in ["p256", "p384"] {
        let (_dir, folder) = copy();
        let signature = fixtures().join(format!("model.ec-{curve}.sig"));
        let verified = check(&folder, &signature, &format!("ec-{curve}.pub")).unwrap();
        assert_eq!(verified.signature.signer, "foreign");
        assert!(verified.files > 0 && verified.bytes > 0);
    }
}

#[test]
fn what_version_control_leaves_and_the_signature_itself_are_ignored() {
    let (_dir, folder) = copy();
    std::fs::create_dir(folder.join(".git")).unwrap();
    std::fs::write(folder.join(".git/config"), b"x").unwrap();
    std::fs::write(folder.join(".gitattributes"), b"x").unwrap();
    std::fs::copy(fixtures().join("model.ec-p256.sig"), folder.join("model.sig")).unwrap();
    check(&folder, &folder.join("model.sig"), "ec-p256.pub").unwrap();
}

#[test]
fn another_key_is_refused() {
    let (_dir, folder) = copy();
    let refused = check(&folder, &fixtures().join("model.ec-p256.sig"), "ec-p384.pub");
    assert!(matches!(refused, Err(DeviceError::Signature(_))), "{refused:?}");
}

#[test]
fn changed_missing_and_extra_files_are_refused() {
    let signature = fixtures().join("model.ec-p256.sig");
    let (_dir, folder) = copy();
    std::fs::write(folder.join("adapter.bin"), b"extra").unwrap();
    assert_eq!(code(check(&folder, &signature, "ec-p256.pub")), "extraneous-file");

    let (_dir, folder) = copy();
    let file = assay_client::scan::scan(&folder, &[]).unwrap()[0]
        .path
        .to_string();
    let mut bytes = std::fs::read(folder.join(&file)).unwrap();
    bytes.push(b'x');
    std::fs::write(folder.join(&file), bytes).unwrap();
    assert_eq!(code(check(&folder, &signature, "ec-p256.pub")), "digest-mismatch");
    std::fs::remove_file(folder.join(&file)).unwrap();
    assert_eq!(code(check(&folder, &signature, "ec-p256.pub")), "missing-file");
}
