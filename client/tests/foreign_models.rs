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
use assay_client::device::{DeviceError, OmsCheck, Verification, VerifiedDirectory};
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
        how: &Verification::default(),
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

fn by(folder: &Path, how: &Verification) -> Result<VerifiedDirectory, DeviceError> {
    let signers = [signer("ec-p256.pub")];
    OmsCheck {
        folder,
        signature: &fixtures().join("model.ec-p256.sig"),
        signers: &signers,
        sigstore_root: None,
        ignore: &[],
        how,
        // A key's signature has no time; marks count only if they are older than the present.
        now: "2200-01-01T00:00:00Z".parse().unwrap(),
        threads: 2,
    }
    .run(&|_| {})
}

fn paths(folder: &Path) -> Vec<String> {
    let found = assay_client::scan::scan(folder, &[]).unwrap();
    found.into_iter().map(|f| f.path.to_string()).collect()
}

#[test]
fn one_file_is_verified_without_the_others_and_the_report_says_so() {
    let (_dir, folder) = copy();
    let all = paths(&folder);
    let one = Verification {
        only: [all[1].clone()].into(),
        ..Verification::default()
    };
    for other in all.iter().filter(|path| **path != all[1]) {
        std::fs::remove_file(folder.join(other)).unwrap();
    }
    std::fs::write(folder.join("extra"), b"x").unwrap();
    let verified = by(&folder, &one).unwrap();
    assert_eq!(verified.files, 1);
    assert_eq!(
        verified.unread["partial"],
        format!("1 of {} files; the others were not looked at", all.len())
    );
    std::fs::write(folder.join(&all[1]), b"changed").unwrap();
    assert_eq!(code(by(&folder, &one)), "digest-mismatch");
    std::fs::remove_file(folder.join(&all[1])).unwrap();
    assert_eq!(code(by(&folder, &one)), "missing-file");
    let unknown = Verification {
        only: ["nothing.bin".to_owned()].into(),
        ..Verification::default()
    };
    assert_eq!(code(by(&folder, &unknown)), "extraneous-file");
}

#[test]
fn digests_from_elsewhere_are_believed_and_marked_and_wrong_ones_refused() {
    let (_dir, folder) = copy();
    let all = paths(&folder);
    let digest = assay_client::sha256(&std::fs::read(folder.join(&all[0])).unwrap());
    let mut given = Verification {
        digests: [(all[0].clone(), digest)].into(),
        ..Verification::default()
    };
    // Not read: what lies there is another matter.
    std::fs::write(folder.join(&all[0]), b"changed").unwrap();
    let verified = by(&folder, &given).unwrap();
    assert!(
        verified.unread["not_recomputed"].starts_with("1 files"),
        "{verified:?}"
    );
    given
        .digests
        .insert(all[0].clone(), assay_client::sha256(b"changed"));
    assert_eq!(code(by(&folder, &given)), "digest-mismatch");
}

#[test]
fn unchanged_files_are_read_again_unless_the_owner_trusts_their_marks() {
    let (dir, folder) = copy();
    let all = paths(&folder);
    let record = dir.path().join("record.json");
    let trusting = Verification {
        trust_unchanged: Some(record.clone()),
        ..Verification::default()
    };
    let read = by(&folder, &trusting).unwrap();
    assert!(read.unread.is_empty(), "{read:?}");
    assert!(record.exists());
    let again = by(&folder, &trusting).unwrap();
    assert_eq!(
        again.unread["unchanged"],
        format!("{} files, by digests of an earlier reading", all.len())
    );
    assert!(by(&folder, &Verification::default()).unwrap().unread.is_empty());
    std::fs::write(folder.join(&all[0]), b"changed").unwrap();
    assert_eq!(code(by(&folder, &trusting)), "digest-mismatch");
    std::fs::write(&record, b"{\"v\":2,\"files\":{}}").unwrap();
    assert!(matches!(by(&folder, &trusting), Err(DeviceError::Marks { .. })));
}

#[test]
fn a_folder_signed_with_a_certificate_is_accepted_by_its_authority_s_root() {
    let (_dir, folder) = copy();
    let formats = fixtures().join("../oms-formats");
    let root = |name: &str| {
        assay_client::device::root_certificates(&std::fs::read(formats.join(name)).unwrap()).unwrap()
    };
    let judge = |root: Vec<String>, signature: &str| {
        let signers = [Signer {
            identity: assay_schema::signers::SignerIdentity::Certificate {
                roots: root,
                subject: "*@acme.example".parse().unwrap(),
            },
            ..signer("ec-p256.pub")
        }];
        OmsCheck {
            folder: &folder,
            signature: &formats.join(signature),
            signers: &signers,
            sigstore_root: None,
            ignore: &[],
            how: &Verification::default(),
            now: "2026-11-20T12:00:00Z".parse().unwrap(),
            threads: 2,
        }
        .run(&|_| {})
    };
    for signature in ["certificate-p256.sig", "legacy-certificate.sig"] {
        assert_eq!(
            judge(root("root-ec.der"), signature).unwrap().files,
            paths(&folder).len()
        );
        let refused = judge(root("root-twin.der"), signature);
        assert!(matches!(refused, Err(DeviceError::Signature(_))), "{refused:?}");
    }
    assert!(assay_client::device::root_certificates(b"no certificate").is_err());
}
