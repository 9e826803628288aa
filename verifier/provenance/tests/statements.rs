//! Statements beside the model signature: typed by kind, by signers who may make that kind, about a release or not.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::disallowed_methods
)]

#[path = "oms/forge.rs"]
#[allow(dead_code)]
mod forge;

use assay_provenance::attestation::{
    About, Predicate, TestOutcome, UnverifiedStatement, kinds, model_digest,
};
use assay_provenance::error::{Mismatch, StatementError};
use assay_provenance::{ProvenanceError, VerifiedStatement, sha256, verify_statement};
use assay_schema::signers::Signer;
use assay_schema::{ReleaseManifest, Sha256Digest};
use serde_json::{Value, json};

use forge::{TestKey, fixture, now, sign};

fn manifest() -> ReleaseManifest {
    let file = |path: &str| json!({"path": path, "size": path.len(), "sha256": sha256(path.as_bytes())});
    serde_json::from_value(json!({
        "v": 1,
        "namespace": sha256(b"root"),
        "model": "minilm",
        "version": "1.0.0",
        "order": {"epoch": 1, "counter": 1},
        "files": [file("a-b"), file("a/x"), file("weights")],
    }))
    .unwrap()
}

fn statement(kind: &str, digests: &[Sha256Digest], predicate: Value) -> Value {
    let subjects: Vec<Value> = digests
        .iter()
        .map(|d| json!({"name": "x", "digest": {"sha256": d}}))
        .collect();
    json!({
        "_type": "https://in-toto.io/Statement/v1",
        "subject": subjects,
        "predicateType": kind,
        "predicate": predicate,
    })
}

fn may(key: &TestKey, name: &str, statements: &[&str]) -> Signer {
    Signer {
        statements: statements.iter().map(|text| text.parse().unwrap()).collect(),
        ..key.signer(name)
    }
}

fn judge(statement: &Value) -> Result<VerifiedStatement, ProvenanceError> {
    let key = TestKey::p256(7);
    verify_statement(&sign(&key, statement), &[&may(&key, "lab", &["**"])], None, now())
}

fn slsa() -> Value {
    json!({
        "buildDefinition": {
            "buildType": "https://acme.example/train/v1",
            "externalParameters": {"config": "train.yaml"},
            "resolvedDependencies": [{"uri": "hf://base", "digest": {"sha256": "00"}}, {"name": "data"}],
        },
        "runDetails": {"builder": {"id": "https://acme.example/trainer"}, "metadata": {"invocationId": "7"}},
    })
}

#[test]
fn known_kinds_have_types() {
    let whole = [model_digest(&manifest().files)];
    let Predicate::SlsaProvenance(it) = judge(&statement(kinds::SLSA_PROVENANCE, &whole, slsa()))
        .unwrap()
        .predicate
    else {
        panic!()
    };
    assert_eq!(it.run_details.builder.id, "https://acme.example/trainer");
    assert_eq!(it.build_definition.resolved_dependencies[0].uri, "hf://base");

    let result = json!({"result": "WARNED", "configuration": [{"name": "mmlu"}], "passedTests": ["a"], "warnedTests": ["b"]});
    let Predicate::TestResult(it) = judge(&statement(kinds::TEST_RESULT, &whole, result))
        .unwrap()
        .predicate
    else {
        panic!()
    };
    assert_eq!((it.result, it.warned_tests.len()), (TestOutcome::Warned, 1));

    let bom = json!({"bomFormat": "CycloneDX", "specVersion": "1.6", "components": [
        {"type": "machine-learning-model", "name": "minilm", "version": "1", "modelCard": {}},
        {"type": "data", "name": "corpus"},
        {"type": "library", "name": "torch"},
    ]});
    for kind in [kinds::CYCLONEDX, "https://cyclonedx.org/bom/v1.6"] {
        let Predicate::CycloneDx(it) = judge(&statement(kind, &whole, bom.clone())).unwrap().predicate else {
            panic!("{kind}")
        };
        assert_eq!((it.models().count(), it.data_sets().count()), (1, 1));
    }

    let spdx = json!({"@context": "https://spdx.org/rdf/3.0.1/spdx-context.jsonld", "@graph": [
        {"type": "ai_AIPackage", "spdxId": "urn:1", "name": "minilm", "software_packageVersion": "1.0.0"},
        {"type": "dataset_DatasetPackage", "spdxId": "urn:2", "name": "corpus"},
        {"type": "SpdxDocument"},
    ]});
    for kind in [kinds::SPDX_3, "https://spdx.dev/Document/v3.0.1"] {
        let Predicate::Spdx(it) = judge(&statement(kind, &whole, spdx.clone())).unwrap().predicate else {
            panic!("{kind}")
        };
        let models: Vec<_> = it.models().collect();
        assert_eq!((models[0].name, models[0].version), ("minilm", "1.0.0"));
        assert_eq!(it.data_sets().count(), 1);
    }

    let summary = json!({
        "verifier": {"id": "https://auditor.example"}, "timeVerified": "2026-10-01T00:00:00Z", "resourceUri": "acme/minilm",
        "policy": {"uri": "https://auditor.example/policy"}, "verificationResult": "PASSED", "verifiedLevels": ["SLSA_BUILD_LEVEL_3"],
    });
    let Predicate::VerificationSummary(it) = judge(&statement(kinds::VERIFICATION_SUMMARY, &whole, summary))
        .unwrap()
        .predicate
    else {
        panic!()
    };
    assert_eq!(it.verified_levels, ["SLSA_BUILD_LEVEL_3"]);
}

#[test]
fn unknown_kinds_are_kept_as_they_are() {
    for kind in [
        "https://acme.example/carbon/v1",
        "https://cyclonedx.org/bomb",
        "https://slsa.dev/provenance/v2",
    ] {
        let predicate = json!({"kg": 7, "nested": [1, {"a": null}]});
        let verified = judge(&statement(kind, &[], predicate.clone())).unwrap();
        assert_eq!(verified.predicate, Predicate::Unknown(predicate));
        assert_eq!(verified.predicate_type, kind);
    }
}

#[test]
fn refuses_a_known_kind_without_its_form() {
    for (kind, predicate) in [
        (kinds::SLSA_PROVENANCE, json!({"builder": {"id": "x"}})),
        (kinds::TEST_RESULT, json!({"result": "SPLENDID"})),
        (kinds::CYCLONEDX, json!([])),
        (kinds::SPDX_3, json!({"graph": []})),
        (
            kinds::VERIFICATION_SUMMARY,
            json!({"verificationResult": "PASSED"}),
        ),
    ] {
        let refused = judge(&statement(kind, &[], predicate)).unwrap_err();
        assert!(
            matches!(refused, ProvenanceError::Statement(StatementError::Parse(_))),
            "{kind}: {refused}"
        );
    }
}

#[test]
fn only_what_speaks_for_the_release_does() {
    let failed = json!({"result": "FAILED", "failedTests": ["toxicity"]});
    let objection = judge(&statement(kinds::TEST_RESULT, &[], failed))
        .unwrap()
        .predicate
        .objection();
    assert!(objection.unwrap().contains("toxicity"));
    for result in ["FAILED", "", "passed"] {
        let summary = json!({
            "verifier": {"id": "v"}, "resourceUri": "r", "policy": {}, "verificationResult": result,
        });
        let verified = judge(&statement(kinds::VERIFICATION_SUMMARY, &[], summary)).unwrap();
        assert!(verified.predicate.objection().is_some(), "{result}");
    }
    let verified = judge(&statement(kinds::SLSA_PROVENANCE, &[], slsa())).unwrap();
    assert_eq!(verified.predicate.objection(), None);
}

#[test]
fn subjects_bind_by_digest_and_never_by_name() {
    let manifest = manifest();
    let all: Vec<Sha256Digest> = manifest.files.iter().map(|f| f.sha256).collect();
    let about = |digests: &[Sha256Digest]| {
        judge(&statement("x", digests, json!({})))
            .unwrap()
            .about(&manifest.files)
    };
    assert_eq!(about(&[model_digest(&manifest.files)]), About::Everything);
    assert_eq!(about(&all), About::Everything);
    assert_eq!(about(&all[2..]), About::Files(vec!["weights".to_owned()]));
    assert_eq!(about(&[sha256(b"something else")]), About::Nothing);
    assert_eq!(about(&[]), About::Nothing);
    let mut named = statement("x", &[], json!({}));
    named["subject"] = json!([{"name": "weights", "digest": {"sha256": sha256(b"other"), "sha512": "00"}}]);
    assert_eq!(judge(&named).unwrap().about(&manifest.files), About::Nothing);
}

#[test]
fn a_model_is_named_by_the_digest_that_its_signature_has() {
    let manifest = manifest();
    let mut bytes = Vec::new();
    // By components: `a/x` before `a-b`, although the manifest sorts them the other way round.
    for path in ["a/x", "a-b", "weights"] {
        bytes.extend_from_slice(sha256(path.as_bytes()).as_bytes());
    }
    assert_eq!(model_digest(&manifest.files), sha256(&bytes));
}

#[test]
fn refuses_a_signer_of_models_or_of_another_kind() {
    let key = TestKey::p256(7);
    let signed = sign(&key, &statement(kinds::SLSA_PROVENANCE, &[], slsa()));
    for signer in [
        key.signer("models only"),
        may(&key, "evaluations only", &[kinds::TEST_RESULT]),
    ] {
        let refused = verify_statement(&signed, &[&signer], None, now()).unwrap_err();
        assert!(matches!(refused, ProvenanceError::NotForThis { .. }), "{refused}");
    }
    let signer = may(&key, "trainer", &["https://slsa.dev/*/v1"]);
    assert_eq!(
        verify_statement(&signed, &[&signer], None, now()).unwrap().signer,
        "trainer"
    );
}

#[test]
fn refuses_another_key_a_changed_statement_and_a_certificate_of_nobody() {
    let (key, other) = (TestKey::p256(7), TestKey::p256(8));
    let signed = sign(&key, &statement(kinds::SLSA_PROVENANCE, &[], slsa()));
    let refused = verify_statement(&signed, &[&may(&other, "lab", &["**"])], None, now()).unwrap_err();
    assert!(
        matches!(&refused, ProvenanceError::NotPermitted { permitted, .. }
        if matches!(permitted[0].reason, Mismatch::Key(_))),
        "{refused}"
    );
    let keyless = fixture("sigstore-bundles/happy-path-intoto-in-dsse-v3/bundle.sigstore.json");
    assert_eq!(
        UnverifiedStatement::read(&keyless).unwrap().predicate_type,
        "https://slsa.dev/provenance/v1"
    );
    let refused = verify_statement(&keyless, &[&may(&key, "lab", &["**"])], None, now()).unwrap_err();
    assert!(
        matches!(&refused, ProvenanceError::NotPermitted { permitted, .. }
        if matches!(permitted[0].reason, Mismatch::SignsByKey)),
        "{refused}"
    );
}
