//! The public Sigstore conformance cases: a folder that ends in `_fail` is refused for the reason that its README gives, every
//! other one is accepted.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::disallowed_methods
)]

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

/// What must be wrong with each case, as the variants of [`SigstoreError`] tell it. One is refused for an earlier reason than its
/// README's: `bundle-empty-certificate-chain_fail` lacks a checkpoint too; `sigstore.rs` beside this file has that defect alone.
const FAILURES: [(&str, &str); 31] = [
    ("bundle-empty-certificate-chain_fail", "Bundle"),
    ("bundle-from-wrong-instance_fail", "Log"),
    ("bundle-malformed-json_fail", "Bundle"),
    ("bundle-negative-log-index_fail", "Bundle"),
    ("bundle-with-root-cert_fail", "Bundle"),
    ("checkpoint-wrong-roothash_fail", "Bundle"),
    ("dsse-invalid-sig_fail", "Signature"),
    ("dsse-mismatch-sig_fail", "Log"),
    ("inclusion-proof-corrupted-hash_fail", "Log"),
    ("incorrect-public-key_fail", "Log"),
    ("intoto-expired-certificate_fail", "Certificate"),
    ("intoto-log-entry-mismatch_fail", "Log"),
    ("intoto-set-outside-signing-cert-validity_fail", "Certificate"),
    ("intoto-tsa-timestamp-outside-cert-validity_fail", "Certificate"),
    ("invalid-checkpoint-signature_fail", "Log"),
    ("invalid-ct-key_fail", "Certificate"),
    ("message-digest-mismatch_fail", "Artifact"),
    ("rekor2-checkpoint-missing-log-signature_fail", "Bundle"),
    ("rekor2-checkpoint-missing-origin_fail", "Bundle"),
    ("rekor2-checkpoint-missing-size_fail", "Bundle"),
    ("rekor2-dsse-invalid-sig_fail", "Signature"),
    ("rekor2-dsse-mismatch-sig_fail", "Log"),
    ("rekor2-no-timestamp_fail", "Timestamp"),
    (
        "rekor2-timestamp-outside-trust-root-tsa-validity_fail",
        "Timestamp",
    ),
    ("rekor2-timestamp-payload-mismatch_fail", "Timestamp"),
    (
        "rekor2-timestamp-untrusted-tsa-with-embedded-cert_fail",
        "Timestamp",
    ),
    ("set-invalid-signature_fail", "Log"),
    ("trust-root-tlog-missing-validity-start_fail", "Root"),
    ("wrong-hashedrekord-artifact_fail", "Artifact"),
    ("wrong-hashedrekord-cert-and-sig_fail", "Log"),
    ("wrong-material_fail", "Artifact"),
];

/// Its key is no key at all: it is refused before the bundle is looked at.
const NO_KEY: &str = "managed-key-wrong-key_fail";

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

/// The variant's name.
fn kind(error: &SigstoreError) -> String {
    let text = format!("{error:?}");
    text.split([' ', '(', '{']).next().unwrap().to_owned()
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
    let mut wrong = Vec::new();
    for name in names().iter().filter(|name| name.ends_with("_fail")) {
        let case = Case::read(name);
        if name == NO_KEY {
            assert!(matches!(case.key, Some(Err(KeyError::Encoding { .. }))), "{name}");
            continue;
        }
        let expected = FAILURES
            .iter()
            .find(|(case, _)| case == name)
            .map(|(_, kinds)| *kinds);
        let expected = expected.unwrap_or_else(|| panic!("{name}: no reason is written down"));
        match case.judge(Artifact::Bytes(&case.artifact), now()) {
            Ok(_) => wrong.push(format!("{name}: accepted")),
            Err(error) if expected == kind(&error) => {}
            Err(error) => wrong.push(format!(
                "{name}: expected {expected}, found {}: {error}",
                kind(&error)
            )),
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
