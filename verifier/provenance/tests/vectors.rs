//! `fixtures/model-signatures.json`: bundles, documents of signers, and how each ends - for this crate and for the module in Node.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::disallowed_methods
)]

use std::fs;
use std::path::Path;

use assay_provenance::oms::{MODEL_SIGNATURES, verify_model_signature};
use assay_schema::signers::{Signer, Signers};
use serde::Deserialize;
use sigstore_trust_root::SIGSTORE_PRODUCTION_TRUSTED_ROOT;

#[derive(Deserialize)]
struct Case {
    bundle: String,
    signers: Signers,
    root: Option<String>,
    outcome: String,
}

fn fixture(name: &str) -> Vec<u8> {
    fs::read(
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/fixtures")
            .join(name),
    )
    .unwrap()
}

#[test]
fn every_case_ends_as_it_says() {
    let cases: Vec<Case> = serde_json::from_slice(&fixture("model-signatures.json")).unwrap();
    assert!(cases.len() >= 30);
    for (number, case) in cases.iter().enumerate() {
        let permitted: Vec<&Signer> = case
            .signers
            .signers
            .iter()
            .filter(|s| {
                MODEL_SIGNATURES
                    .iter()
                    .any(|kind| s.may_sign(kind, &MODEL_SIGNATURES))
            })
            .collect();
        let root = case.root.as_deref().map(fixture);
        let now = "2026-11-01T00:00:00Z".parse().unwrap();
        let judged = verify_model_signature(&fixture(&case.bundle), &permitted, root.as_deref(), now);
        let found = judged.as_ref().map_or_else(|error| error.code(), |_| "accepted");
        assert_eq!(found, case.outcome, "case {number}, {}: {judged:?}", case.bundle);
    }
}

#[test]
fn the_public_good_root_of_the_cases_is_the_library_s() {
    assert_eq!(
        fixture("sigstore-bundles/public-good.json"),
        SIGSTORE_PRODUCTION_TRUSTED_ROOT.as_bytes()
    );
}
