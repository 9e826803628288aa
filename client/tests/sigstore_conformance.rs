//! The adapter of the public Sigstore conformance suite over that suite's cases, by file and by digest, through its command line.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs
)]

#[path = "../examples/sigstore_conformance.rs"]
mod adapter;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use adapter::{Refusal, run};
use jiff::Timestamp;

const SUBJECT: &str = "https://github.com/sigstore-conformance/extremely-dangerous-public-oidc-beacon/.github/workflows/extremely-dangerous-oidc-beacon.yml@refs/heads/main";
const ISSUER: &str = "https://token.actions.githubusercontent.com";
const CASES: usize = 47;

fn cases() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../verifier/provenance/tests/fixtures/sigstore-bundles")
}

fn now() -> Timestamp {
    "2026-11-01T00:00:00Z".parse().unwrap()
}

/// The case's command line without its artifact, and the artifact's file.
fn command(case: &Path) -> (Vec<String>, PathBuf) {
    let at = |name: &str| Some(case.join(name)).filter(|path| path.exists());
    let text = |name: &str, default: &str| {
        at(name).map_or(default.to_owned(), |path| {
            fs::read_to_string(path).unwrap().trim().to_owned()
        })
    };
    let mut args = vec!["verify-bundle".to_owned()];
    let mut add = |name: &str, value: String| args.extend([format!("--{name}"), value]);
    add("bundle", shown(&case.join("bundle.sigstore.json")));
    match at("key.pub") {
        Some(key) => add("key", shown(&key)),
        None => {
            add("certificate-identity", text("identity", SUBJECT));
            add("certificate-oidc-issuer", text("issuer", ISSUER));
        }
    }
    if let Some(root) = at("trusted_root.json") {
        add("trusted-root", shown(&root));
    }
    (args, at("artifact").unwrap_or_else(|| cases().join("a.txt")))
}

fn shown(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}

fn judge(args: &[String], artifact: String) -> Result<(), Refusal> {
    run(args.iter().cloned().chain([artifact]), now())
}

#[test]
fn every_case_ends_as_its_name_says_and_for_its_reason_by_file_and_by_digest() {
    let reasons: BTreeMap<String, String> =
        serde_json::from_slice(&fs::read(cases().join("reasons.json")).unwrap()).unwrap();
    let mut seen = 0;
    for entry in fs::read_dir(cases()).unwrap() {
        let case = entry.unwrap().path();
        if !case.is_dir() {
            continue;
        }
        seen += 1;
        let name = case.file_name().unwrap().to_str().unwrap();
        let (args, artifact) = command(&case);
        let digest = assay_client::sha256(&fs::read(&artifact).unwrap());
        for by in [shown(&artifact), format!("sha256:{digest}")] {
            let found = judge(&args, by.clone()).err();
            let found_code = found.as_ref().map(Refusal::code);
            let expected = reasons.get(name).map(String::as_str);
            assert_eq!(expected.is_some(), name.ends_with("_fail"), "{name}");
            assert_eq!(found_code, expected, "{name} by {by}: {found:?}");
        }
    }
    assert_eq!(seen, CASES);
}

#[test]
fn refuses_a_good_bundle_for_another_signer_artifact_and_instance() {
    let (args, artifact) = command(&cases().join("happy-path-v0.3-new-mediaType"));
    let with = |name: &str, value: &str| {
        let mut args = args.clone();
        let at = args.iter().position(|a| a == name).unwrap();
        args[at + 1] = value.to_owned();
        judge(&args, shown(&artifact)).unwrap_err().code()
    };
    judge(&args, shown(&artifact)).unwrap();
    assert_eq!(
        with("--certificate-identity", "https://example.org/else"),
        "identity"
    );
    assert_eq!(with("--certificate-oidc-issuer", "https://example.org"), "issuer");
    assert_eq!(
        judge(&args, format!("sha256:{}", "0".repeat(64)))
            .unwrap_err()
            .code(),
        "artifact"
    );
    let staging: Vec<String> = args.iter().cloned().chain(["--staging".to_owned()]).collect();
    let refused = judge(&staging, shown(&artifact)).unwrap_err();
    assert!(matches!(refused.code(), "certificate" | "log"), "{refused}");
}

#[test]
fn refuses_a_command_line_that_names_no_signer_or_two() {
    let (args, artifact) = command(&cases().join("happy-path-v0.3-new-mediaType"));
    let nobody: Vec<String> = args[..3].to_vec();
    let key = shown(&cases().join("managed-key-happy-path/key.pub"));
    let two: Vec<String> = args.iter().cloned().chain(["--key".to_owned(), key]).collect();
    for args in [nobody, two] {
        assert_eq!(judge(&args, shown(&artifact)).unwrap_err().code(), "usage");
    }
    let unknown: Vec<String> = args.iter().cloned().chain(["--skip".to_owned()]).collect();
    assert_eq!(judge(&unknown, shown(&artifact)).unwrap_err().code(), "usage");
}
