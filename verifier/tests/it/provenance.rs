//! Stage 5: who made the release.

use assay_authority::{KeyKind, SigningKey};
use assay_schema::verdict::StageOutcome;
use assay_schema::{Outcome, Stage};
use serde_json::json;

use crate::support::*;

fn everywhere(sim: &Simulator, expected: &str) {
    for by in ROUTES {
        assert_eq!(
            Device::new(sim, by).refused(sim),
            code(Stage::Provenance, expected),
            "{by:?}"
        );
    }
}

fn key() -> SigningKey {
    SigningKey::generate(KeyKind::P256).unwrap()
}

#[test]
fn every_kind_of_key_signs() {
    for kind in [KeyKind::P256, KeyKind::P384, KeyKind::P521, KeyKind::Ed25519] {
        let mut sim = Simulator::empty();
        sim.signer = SigningKey::generate(kind).unwrap();
        let signer = sim.signer.clone();
        sim.allow(&[("Ada", &signer)]);
        sim.release(draft("1.0.0", 1));
        for by in ROUTES {
            Device::new(&sim, by).permitted(&sim);
        }
    }
}

#[test]
fn a_missing_signature_is_refused() {
    let mut sim = Simulator::new();
    sim.replace_manifest(|m| drop(m.as_object_mut().unwrap().remove("attestations")));
    sim.releases[0].attestations.clear();
    everywhere(&sim, "signature-missing");
}

#[test]
fn an_attestation_of_another_kind_is_no_signature() {
    let mut sim = Simulator::new();
    sim.replace_manifest(|m| {
        m["attestations"][0]["predicate_type"] = json!("https://slsa.dev/provenance/v1")
    });
    everywhere(&sim, "signature-missing");
}

#[test]
fn a_signature_by_a_signer_who_is_not_permitted_is_refused() {
    let mut sim = Simulator::new();
    let mut other = draft("2.0.0", 2);
    other.signers = vec![key()];
    sim.release(other);
    everywhere(&sim, "signature-invalid");
}

#[test]
fn a_signer_of_another_model_is_not_permitted() {
    let mut sim = Simulator::new();
    let mut signer = assay_authority::namespace::key_signer("Ada", sim.signer.public_key());
    signer.models = vec!["other".parse().unwrap()];
    let document = assay_schema::canonical::document(&json!({"v": 1, "signers": [signer]})).unwrap();
    sim.trust_target(SIGNERS, &document, true);
    everywhere(&sim, "no-permitted-signer");
}

#[test]
fn a_signature_over_other_files_is_refused() {
    let others: [Vec<(&'static str, Vec<u8>)>; 4] = [
        vec![
            ("config.json", b"{}".to_vec()),
            ("weights.bin", b"other bytes".to_vec()),
        ],
        vec![("config.json", br#"{"layers":2}"#.to_vec())],
        vec![
            ("config.json", br#"{"layers":2}"#.to_vec()),
            ("extra.bin", b"x".to_vec()),
            ("weights.bin", b"2.0.0".repeat(50)),
        ],
        // Renamed: the digests and their order are the same, and so is the subject's digest.
        vec![
            ("config2.json", br#"{"layers":2}"#.to_vec()),
            ("weights.bin", b"2.0.0".repeat(50)),
        ],
    ];
    for files in others {
        let mut sim = Simulator::new();
        let mut release = draft("2.0.0", 2);
        release.signed_files = Some(files);
        sim.release(release);
        everywhere(&sim, "signature-mismatch");
    }
}

#[test]
fn a_second_signature_that_is_right_is_accepted_after_a_wrong_one() {
    for right_first in [false, true] {
        let mut sim = Simulator::new();
        let mut release = draft("2.0.0", 2);
        release.signers = vec![key(), sim.signer.clone()];
        if right_first {
            release.signers.reverse();
        }
        sim.release(release);
        for by in ROUTES {
            let verdict = Device::new(&sim, by).permitted(&sim).verdict();
            assert_eq!(
                verdict.stage(Stage::Provenance).unwrap().evidence["signer"],
                "Ada"
            );
        }
    }
}

#[test]
fn two_signatures_by_strangers_are_refused() {
    let mut sim = Simulator::new();
    let mut release = draft("2.0.0", 2);
    release.signers = vec![key(), key()];
    sim.release(release);
    everywhere(&sim, "signature-invalid");
}

#[test]
fn changed_permitted_signers_are_refused() {
    let mut sim = Simulator::new();
    let document = assay_schema::canonical::document(&json!({"v": 1, "signers": [
        assay_authority::namespace::key_signer("Ada", sim.signer.public_key())
    ]}))
    .unwrap();
    sim.trust_target(SIGNERS, &document, false);
    let thief = key();
    let forged = assay_schema::canonical::document(&json!({"v": 1, "signers": [
        assay_authority::namespace::key_signer("Ada", thief.public_key())
    ]}))
    .unwrap();
    for (path, bytes) in &mut sim.targets {
        if path.starts_with("trust/") {
            bytes.clone_from(&forged);
        }
    }
    everywhere(&sim, "digest-mismatch");
}

#[test]
fn permitted_signers_of_another_form_are_refused() {
    for document in [
        json!({"v": 2, "signers": []}),
        json!({"v": 1}),
        json!([]),
        json!({"v": 1, "signers": [], "more": 1}),
    ] {
        let mut sim = Simulator::new();
        let bytes = serde_json::to_vec(&document).unwrap();
        sim.trust_target(SIGNERS, &bytes, true);
        everywhere(&sim, "malformed");
    }
}

#[test]
fn permitted_signers_longer_than_they_may_be_are_refused_unread() {
    let mut sim = Simulator::new();
    sim.edit("targets", |signed| {
        signed["targets"][SIGNERS]["length"] = json!(2 << 20)
    });
    everywhere(&sim, "too-long");
}

#[test]
fn a_namespace_without_permitted_signers_says_so_and_refuses_where_that_is_required() {
    let mut sim = Simulator::empty();
    sim.release(draft("1.0.0", 1));
    for by in ROUTES {
        let mut device = Device::new(&sim, by);
        let verdict = device.permitted(&sim).verdict();
        assert_eq!(verdict.outcome, Outcome::Permit);
        assert!(matches!(
            outcome(&verdict, Stage::Provenance),
            StageOutcome::Skipped { .. }
        ));
        device.require.insert(Stage::Provenance);
        assert_eq!(
            device.refused(&sim),
            code(Stage::Provenance, "required-stage-skipped")
        );
    }
}

/// Names a signer by a Sigstore identity, and a Sigstore root where one is given.
fn keyless(root: Option<(&[u8], bool)>) -> Simulator {
    let mut sim = Simulator::new();
    let document = json!({"v": 1, "signers": [{"name": "Grace", "identity": {
        "kind": "sigstore", "issuer": "https://issuer.example", "subject": "grace@example.org"
    }}]});
    let bytes = assay_schema::canonical::document(&document).unwrap();
    sim.trust_target(SIGNERS, &bytes, true);
    if let Some((bytes, inline)) = root {
        sim.trust_target(assay_schema::signers::SIGSTORE_ROOT_TARGET, bytes, inline);
    }
    sim
}

#[test]
fn a_keyless_signer_without_a_sigstore_root_is_refused() {
    everywhere(&keyless(None), "signature-invalid");
}

#[test]
fn a_malformed_sigstore_root_is_refused() {
    for bytes in [&b"{}"[..], b"nonsense", b""] {
        for inline in [true, false] {
            everywhere(&keyless(Some((bytes, inline))), "signature-invalid");
        }
    }
}

#[test]
fn a_changed_sigstore_root_is_refused() {
    let mut sim = keyless(Some((b"{}", false)));
    for (path, bytes) in &mut sim.targets {
        if path.ends_with(".sigstore.json") {
            *bytes = b"[]".to_vec();
        }
    }
    everywhere(&sim, "digest-mismatch");
}
