//! Stage 5: statements beside the model signature, as the namespace or the device's owner requires them.

use assay_authority::attestation::sign_statement;
use assay_authority::namespace::key_signer;
use assay_authority::oms::digest_of_model;
use assay_authority::release::attestation_ref;
use assay_authority::{KeyKind, SigningKey};
use assay_provenance::sha256;
use assay_schema::signers::{RequiredStatement, Signer, Signers};
use assay_schema::verdict::StageOutcome;
use assay_schema::{Sha256Digest, Stage};
use assay_verifier::{Approved, Resource};
use serde_json::{Value, json};

use crate::support::*;

const SLSA: &str = "https://slsa.dev/provenance/v1";
const TEST: &str = "https://in-toto.io/attestation/test-result/v0.1";

fn key() -> SigningKey {
    SigningKey::generate(KeyKind::P256).unwrap()
}

fn slsa() -> Value {
    json!({
        "buildDefinition": {"buildType": "https://acme.example/train/v1", "resolvedDependencies": [{"name": "corpus"}]},
        "runDetails": {"builder": {"id": "https://acme.example/trainer"}},
    })
}

fn may(name: &str, key: &SigningKey, kinds: &[&str]) -> Signer {
    Signer {
        statements: kinds.iter().map(|kind| kind.parse().unwrap()).collect(),
        ..key_signer(name, key.public_key())
    }
}

fn require(kind: &str, signers: &[&str]) -> RequiredStatement {
    RequiredStatement {
        predicate_type: kind.parse().unwrap(),
        signers: signers.iter().map(|&name| name.to_owned()).collect(),
        models: Vec::new(),
        files: Vec::new(),
    }
}

/// The namespace's document: Ada signs models, the lab statements.
fn document(sim: &Simulator, lab: &SigningKey, require: Vec<RequiredStatement>) -> Signers {
    Signers {
        v: 1,
        signers: vec![
            key_signer("Ada", sim.signer.public_key()),
            may("lab", lab, &["**"]),
        ],
        require,
    }
}

fn demand(sim: &mut Simulator, lab: &SigningKey, demands: Vec<RequiredStatement>) {
    let signers = document(sim, lab, demands);
    let bytes = assay_schema::canonical::document(&signers).unwrap();
    sim.trust_target(SIGNERS, &bytes, true);
}

/// The digests of the newest release's files, and of the whole.
fn digests(sim: &Simulator) -> (Sha256Digest, Vec<Sha256Digest>) {
    let manifest: assay_schema::ReleaseManifest =
        serde_json::from_slice(&sim.releases.last().unwrap().manifest).unwrap();
    let files = manifest.files.iter().map(|f| (&f.path, f.sha256));
    (
        digest_of_model(files),
        manifest.files.iter().map(|f| f.sha256).collect(),
    )
}

/// Attaches a bundle to the newest release, listed as this kind.
fn attach(sim: &mut Simulator, kind: &str, bundle: Vec<u8>) {
    let listed = attestation_ref(kind, &bundle);
    sim.blobs.insert(sha256(&bundle), bundle);
    sim.replace_manifest(|m| {
        m["attestations"]
            .as_array_mut()
            .unwrap()
            .push(serde_json::to_value(&listed).unwrap())
    });
    sim.releases.last_mut().unwrap().attestations.push(listed.sha256);
}

fn state(sim: &mut Simulator, key: &SigningKey, kind: &str, subjects: &[Sha256Digest], predicate: &Value) {
    let subjects = subjects.iter().map(|digest| ("x", *digest));
    let bundle = sign_statement(key, kind, subjects, predicate).unwrap();
    attach(sim, kind, bundle);
}

fn evidence(approved: &Approved) -> std::collections::BTreeMap<String, String> {
    approved
        .verdict()
        .stage(Stage::Provenance)
        .unwrap()
        .evidence
        .clone()
}

fn everywhere(sim: &Simulator, expected: &str) {
    for by in ROUTES {
        assert_eq!(
            Device::new(sim, by).refused(sim),
            code(Stage::Provenance, expected),
            "{by:?}"
        );
    }
}

#[test]
fn a_required_statement_by_its_signer_about_the_whole_model_lets_pass() {
    let (mut sim, lab) = (Simulator::new(), key());
    demand(
        &mut sim,
        &lab,
        vec![require("https://slsa.dev/provenance/*", &["lab"])],
    );
    let (whole, files) = digests(&sim);
    for subjects in [vec![whole], files] {
        let mut sim = sim.clone();
        state(&mut sim, &lab, SLSA, &subjects, &slsa());
        for by in ROUTES {
            let found = evidence(&Device::new(&sim, by).permitted(&sim));
            assert_eq!(found["signer"], "Ada");
            let line = &found["attestation_01"];
            assert!(
                line.contains("by lab") && line.contains("https://acme.example/trainer"),
                "{line}"
            );
        }
    }
}

#[test]
fn a_required_statement_that_is_missing_is_refused() {
    let (mut sim, lab) = (Simulator::new(), key());
    demand(&mut sim, &lab, vec![require(SLSA, &["lab"])]);
    everywhere(&sim, "attestation-missing");
    let (whole, _) = digests(&sim);
    state(&mut sim, &lab, TEST, &[whole], &json!({"result": "PASSED"}));
    everywhere(&sim, "attestation-missing");
}

#[test]
fn a_required_statement_by_somebody_else_is_refused() {
    let (mut sim, lab, other) = (Simulator::new(), key(), key());
    demand(&mut sim, &lab, vec![require(SLSA, &["lab"])]);
    let (whole, _) = digests(&sim);
    let mut stranger = sim.clone();
    state(&mut stranger, &other, SLSA, &[whole], &slsa());
    everywhere(&stranger, "signature-invalid");
    // Ada signs models, and nothing else.
    let ada = sim.signer.clone();
    state(&mut sim, &ada, SLSA, &[whole], &slsa());
    everywhere(&sim, "signature-invalid");
}

#[test]
fn a_permitted_signer_who_is_not_the_named_one_is_refused() {
    let (mut sim, lab, other) = (Simulator::new(), key(), key());
    let mut signers = document(&sim, &lab, vec![require(SLSA, &["lab"])]);
    signers.signers.push(may("other", &other, &["**"]));
    sim.trust_target(
        SIGNERS,
        &assay_schema::canonical::document(&signers).unwrap(),
        true,
    );
    let (whole, _) = digests(&sim);
    state(&mut sim, &other, SLSA, &[whole], &slsa());
    everywhere(&sim, "attestation-insufficient");
}

#[test]
fn a_statement_about_another_release_or_a_part_of_it_is_refused() {
    let (mut sim, lab) = (Simulator::new(), key());
    demand(&mut sim, &lab, vec![require(SLSA, &["lab"])]);
    let (_, files) = digests(&sim);
    let mut elsewhere = sim.clone();
    state(&mut elsewhere, &lab, SLSA, &[sha256(b"another model")], &slsa());
    everywhere(&elsewhere, "attestation-mismatch");
    let mut part = sim.clone();
    state(&mut part, &lab, SLSA, &files[..1], &slsa());
    everywhere(&part, "attestation-insufficient");
    // Unless that part is what is asked for.
    let only = RequiredStatement {
        files: vec!["config.json".parse().unwrap()],
        ..require(SLSA, &["lab"])
    };
    demand(&mut part, &lab, vec![only]);
    for by in ROUTES {
        let found = evidence(&Device::new(&part, by).permitted(&part));
        assert!(
            found["attestation_01"].contains("about 1 of 2 files"),
            "{found:?}"
        );
    }
}

#[test]
fn an_evaluation_that_failed_is_refused_and_a_later_one_that_passed_is_taken() {
    let (mut sim, lab) = (Simulator::new(), key());
    demand(&mut sim, &lab, vec![require(TEST, &["lab"])]);
    let (whole, _) = digests(&sim);
    state(
        &mut sim,
        &lab,
        TEST,
        &[whole],
        &json!({"result": "FAILED", "failedTests": ["toxicity"]}),
    );
    everywhere(&sim, "attestation-insufficient");
    state(&mut sim, &lab, TEST, &[whole], &json!({"result": "PASSED"}));
    for by in ROUTES {
        let found = evidence(&Device::new(&sim, by).permitted(&sim));
        assert!(found.contains_key("attestation_02"), "{found:?}");
    }
}

#[test]
fn a_statement_listed_as_another_kind_is_refused() {
    let (mut sim, lab) = (Simulator::new(), key());
    demand(&mut sim, &lab, vec![require(SLSA, &["lab"])]);
    let (whole, _) = digests(&sim);
    let bundle = sign_statement(&lab, TEST, [("x", whole)], &json!({"result": "PASSED"})).unwrap();
    attach(&mut sim, SLSA, bundle);
    everywhere(&sim, "attestation-mismatch");
}

#[test]
fn a_model_signature_passes_for_no_statement_and_a_statement_for_no_model_signature() {
    let (mut sim, lab) = (Simulator::new(), key());
    // Whoever may sign everything signs a model with that key: it does not stand for provenance.
    demand(&mut sim, &lab, vec![require(SLSA, &["lab"])]);
    let digest = sim.releases.last().unwrap().attestations[0];
    let signature = sim.blobs[&digest].clone();
    attach(&mut sim, SLSA, signature);
    everywhere(&sim, "attestation-mismatch");

    let mut sim = Simulator::new();
    let (whole, _) = digests(&sim);
    let ada = sim.signer.clone();
    sim.replace_manifest(|m| m["attestations"] = json!([]));
    let bundle = sign_statement(&ada, SLSA, [("x", whole)], &slsa()).unwrap();
    attach(&mut sim, "https://model_signing/signature/v1.0", bundle);
    everywhere(&sim, "signature-invalid");
}

#[test]
fn a_damaged_statement_is_refused_where_it_is_required() {
    let (mut sim, lab) = (Simulator::new(), key());
    demand(&mut sim, &lab, vec![require(SLSA, &["lab"])]);
    attach(&mut sim, SLSA, b"{}".to_vec());
    everywhere(&sim, "signature-invalid");
}

#[test]
fn statements_that_nobody_requires_are_shown_and_decide_nothing() {
    let (mut sim, lab, stranger) = (Simulator::new(), key(), key());
    demand(&mut sim, &lab, Vec::new());
    let (whole, _) = digests(&sim);
    state(
        &mut sim,
        &lab,
        "https://acme.example/carbon/v1",
        &[whole],
        &json!({"kg": 7}),
    );
    state(&mut sim, &stranger, SLSA, &[whole], &slsa());
    attach(&mut sim, "https://acme.example/nonsense", b"nonsense".to_vec());
    let bundle = Device::new(&sim, By::Bundle).permitted(&sim);
    let found = evidence(&bundle);
    assert!(
        found["attestation_01"].contains("of a kind that is not known here"),
        "{found:?}"
    );
    assert!(found["attestation_02"].contains("not accepted"), "{found:?}");
    assert!(found["attestation_03"].contains("not accepted"), "{found:?}");
    // Without a bundle nothing is fetched for them.
    let mut device = Device::new(&sim, By::Static);
    let found = evidence(&device.permitted(&sim));
    assert!(found["attestation_01"].contains("not read"), "{found:?}");
    let blobs = device
        .requests
        .iter()
        .filter(|f| matches!(f.resource, Resource::Blob { .. }));
    assert_eq!(blobs.count(), 1, "the model signature alone");
}

#[test]
fn the_owner_requires_what_the_namespace_does_not() {
    let (mut sim, lab) = (Simulator::new(), key());
    let pinned = Signers {
        v: 1,
        signers: vec![may("auditor", &lab, &[SLSA])],
        require: vec![require(SLSA, &["auditor"])],
    };
    for by in ROUTES {
        let mut device = Device::new(&sim, by);
        device.pin.terms.signers = Some(pinned.clone());
        assert_eq!(
            device.refused(&sim),
            code(Stage::Provenance, "attestation-missing")
        );
    }
    let (whole, _) = digests(&sim);
    state(&mut sim, &lab, SLSA, &[whole], &slsa());
    for by in ROUTES {
        let mut device = Device::new(&sim, by);
        device.pin.terms.signers = Some(pinned.clone());
        let found = evidence(&device.permitted(&sim));
        assert!(found["attestation_01"].contains("by auditor"), "{found:?}");
        // Whom the namespace does not name counts for the owner alone.
        let found = evidence(&Device::new(&sim, By::Bundle).permitted(&sim));
        assert!(found["attestation_01"].contains("not accepted"), "{found:?}");
    }
}

#[test]
fn the_owner_pins_who_signs_models_beside_the_namespace_and_without_it() {
    let (mut sim, bob) = (Simulator::new(), key());
    let pinned = |key: &SigningKey| Signers {
        v: 1,
        signers: vec![key_signer("Bob", key.public_key())],
        require: Vec::new(),
    };
    let with = |sim: &Simulator, by, key: &SigningKey| {
        let mut device = Device::new(sim, by);
        device.pin.terms.signers = Some(pinned(key));
        device
    };
    for by in ROUTES {
        let refused = with(&sim, by, &bob).refused(&sim);
        assert_eq!(refused, code(Stage::Provenance, "signature-invalid"));
    }
    let mut both = draft("2.0.0", 2);
    both.signers = vec![sim.signer.clone(), bob.clone()];
    sim.release(both);
    for by in ROUTES {
        let found = evidence(&with(&sim, by, &bob).permitted(&sim));
        assert_eq!(found["signer"], "Ada");
        assert!(found["signer_of_the_owner"].starts_with("Bob"), "{found:?}");
    }

    // A namespace that names nobody: the owner's word is all there is, and enough.
    let mut sim = Simulator::empty();
    sim.signer = bob.clone();
    sim.release(draft("1.0.0", 1));
    for by in ROUTES {
        let mut device = with(&sim, by, &bob);
        device.require.insert(Stage::Provenance);
        let approved = device.permitted(&sim);
        let report = approved.verdict().stage(Stage::Provenance).unwrap().clone();
        assert_eq!(report.outcome, StageOutcome::Passed);
        assert_eq!(report.evidence["signers_from"], "the owner's terms");
        let refused = with(&sim, by, &key()).refused(&sim);
        assert_eq!(refused, code(Stage::Provenance, "signature-invalid"));
    }
}
