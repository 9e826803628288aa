//! The public Sigstore conformance cases: a folder that ends in `_fail` is refused for the reason that its README gives, every
//! other one is accepted.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::disallowed_methods
)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use assay_provenance::error::SigstoreError;
use assay_provenance::key::{KeyError, PublicKey};
use assay_provenance::sha256;
use assay_provenance::sigstore::{Artifact, Evidence, Expected, TrustedRoot, verify};
use jiff::Timestamp;
use sigstore_trust_root::SIGSTORE_PRODUCTION_TRUSTED_ROOT;

const SUBJECT: &str = "https://github.com/sigstore-conformance/extremely-dangerous-public-oidc-beacon/.github/workflows/extremely-dangerous-oidc-beacon.yml@refs/heads/main";
const ISSUER: &str = "https://token.actions.githubusercontent.com";
const CASES: usize = 47;

/// Its key is no key at all: it is refused before the bundle is looked at.
const NO_KEY: &str = "managed-key-wrong-key_fail";

/// What must be wrong with each case: `reasons.json`, shared with whoever else runs the cases. One is refused for an earlier reason
/// than its README's: `bundle-empty-certificate-chain_fail` lacks a checkpoint too; `sigstore.rs` beside this file has that defect
/// alone.
fn reasons() -> BTreeMap<String, String> {
    serde_json::from_slice(&fs::read(folder().join("reasons.json")).unwrap()).unwrap()
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/sigstore-bundles")
}

fn now() -> Timestamp {
    "2026-11-01T00:00:00Z".parse().unwrap()
}

struct Case {
    bundle: Vec<u8>,
    artifact: Vec<u8>,
    subject: String,
    issuer: String,
    key: Option<Result<PublicKey, KeyError>>,
    root: Vec<u8>,
}

impl Case {
    fn read(name: &str) -> Self {
        let folder = folder().join(name);
        let text = |file: &str, default: &str| {
            fs::read_to_string(folder.join(file)).map_or(default.to_owned(), |text| text.trim().to_owned())
        };
        Self {
            bundle: fs::read(folder.join("bundle.sigstore.json")).unwrap(),
            artifact: fs::read(folder.join("artifact"))
                .unwrap_or_else(|_| fs::read(folder.join("../a.txt")).unwrap()),
            subject: text("identity", SUBJECT),
            issuer: text("issuer", ISSUER),
            key: fs::read_to_string(folder.join("key.pub"))
                .ok()
                .map(|pem| PublicKey::from_pem(&pem)),
            root: fs::read(folder.join("trusted_root.json"))
                .unwrap_or_else(|_| SIGSTORE_PRODUCTION_TRUSTED_ROOT.as_bytes().to_vec()),
        }
    }

    fn expected(&self) -> Expected<'_> {
        match &self.key {
            Some(key) => Expected::Key(key.as_ref().unwrap()),
            None => Expected::Identity {
                subject: &self.subject,
                issuer: &self.issuer,
            },
        }
    }

    fn judge(&self, artifact: Artifact<'_>, now: Timestamp) -> Result<Evidence, SigstoreError> {
        verify(
            &self.bundle,
            artifact,
            self.expected(),
            &TrustedRoot::read(&self.root)?,
            now,
        )
    }
}

fn names() -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.file_type().unwrap().is_dir())
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn every_case_is_there() {
    assert_eq!(names().len(), CASES);
}

#[test]
fn every_good_case_is_accepted_by_bytes_and_by_digest() {
    for name in names().iter().filter(|name| !name.ends_with("_fail")) {
        let case = Case::read(name);
        let by_bytes = case.judge(Artifact::Bytes(&case.artifact), now());
        let evidence = by_bytes.unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(evidence.signed_at.is_some() || case.key.is_some(), "{name}");
        if case.key.is_none() {
            assert_eq!(evidence.subject.as_deref(), Some(case.subject.as_str()), "{name}");
        }
        case.judge(Artifact::Digest(sha256(&case.artifact)), now())
            .unwrap_or_else(|error| panic!("{name}: {error}"));
    }
}

#[test]
fn every_bad_case_is_refused_for_its_own_reason() {
    let (mut wrong, reasons) = (Vec::new(), reasons());
    for name in names().iter().filter(|name| name.ends_with("_fail")) {
        let case = Case::read(name);
        if name == NO_KEY {
            assert!(matches!(case.key, Some(Err(KeyError::Encoding { .. }))), "{name}");
            continue;
        }
        let expected = reasons
            .get(name)
            .unwrap_or_else(|| panic!("{name}: no reason is written down"));
        for artifact in [
            Artifact::Bytes(&case.artifact),
            Artifact::Digest(sha256(&case.artifact)),
        ] {
            match case.judge(artifact, now()) {
                Ok(_) => wrong.push(format!("{name}: accepted")),
                Err(error) if expected == error.code() => {}
                Err(error) => wrong.push(format!(
                    "{name}: expected {expected}, found {}: {error}",
                    error.code()
                )),
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
