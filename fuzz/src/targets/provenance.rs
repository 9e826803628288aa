//! `assay-provenance`: keys, Sigstore bundles, statements, trusted roots.

use std::sync::OnceLock;

use assay_provenance::attestation::UnverifiedStatement;
use assay_provenance::oms::read_unverified_claims;
use assay_provenance::sigstore::{Artifact, Expected, TrustedRoot, verify};
use assay_provenance::{PublicKey, certificate, statement};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::{text, texts};
use crate::target::{Form, Memory, Outcome, Target};

/// The targets of this area.
pub const TARGETS: &[Target] = &[
    Target {
        fixtures: KEYS,
        words: &[
            "-----BEGIN PUBLIC KEY-----",
            "-----END PUBLIC KEY-----",
            "-----BEGIN RSA PUBLIC KEY-----",
        ],
        covers: &["verifier/provenance/src/key.rs PublicKey::from_pem"],
        runs: 3_000,
        ..Target::new("provenance/pem", Form::Text, pem)
    },
    Target {
        made: ders,
        runs: 4_000,
        covers: &[
            "verifier/provenance/src/key.rs PublicKey::from_spki_der",
            "verifier/provenance/src/key.rs PublicKey::from_spki_base64",
        ],
        ..Target::new("provenance/spki", Form::Binary, spki)
    },
    Target {
        fixtures: &["verifier/provenance/tests/fixtures/keyless-model/trusted_root.json"],
        runs: 1_500,
        longest: 64 << 10,
        covers: &["verifier/provenance/src/sigstore.rs TrustedRoot::read"],
        ..Target::new("provenance/trusted-root", Form::Json, trusted_root)
    },
    Target {
        fixtures: &[
            "verifier/provenance/tests/fixtures/oms/model.ec-p256.sig",
            "verifier/provenance/tests/fixtures/keyless-model/bundle.sigstore.json",
            "verifier/provenance/tests/fixtures/sigstore-bundles/happy-path-intoto-in-dsse-v3/bundle.sigstore.json",
        ],
        runs: 3_000,
        longest: 32 << 10,
        covers: &[
            "verifier/provenance/src/attestation/mod.rs UnverifiedStatement::read",
            "verifier/provenance/src/oms/verify.rs read_unverified_claims",
        ],
        ..Target::new("provenance/bundle", Form::Json, bundle)
    },
    Target {
        fixtures: &[
            "verifier/provenance/tests/fixtures/sigstore-bundles/happy-path-v0.2/bundle.sigstore.json",
            "verifier/provenance/tests/fixtures/sigstore-bundles/happy-path-v0.3-new-mediaType/bundle.sigstore.json",
            "verifier/provenance/tests/fixtures/sigstore-bundles/rekor2-happy-path/bundle.sigstore.json",
            "verifier/provenance/tests/fixtures/sigstore-bundles/rekor2-timestamp-with-embedded-cert/bundle.sigstore.json",
            "verifier/provenance/tests/fixtures/sigstore-bundles/happy-path-intoto-in-dsse-v3/bundle.sigstore.json",
        ],
        runs: 1_200,
        longest: 32 << 10,
        memory: Memory {
            flat: 16 << 20,
            each: 400,
        },
        ..Target::new("provenance/sigstore", Form::Json, keyless)
    },
    Target {
        made: statements,
        words: &[
            "https://slsa.dev/provenance/v1",
            "https://slsa.dev/verification_summary/v1",
            "https://in-toto.io/attestation/test-result/v0.1",
            "https://cyclonedx.org/bom",
            "https://spdx.dev/Document",
            "https://model_signing/signature/v1.0",
            "https://model_signing/Digests/v0.1",
            "predicate",
            "subject",
            "digest",
            "sha256",
        ],
        runs: 5_000,
        covers: &["verifier/provenance/src/statement.rs read"],
        ..Target::new("provenance/statement", Form::Json, wrapped)
    },
];

const KEYS: &[&str] = &[
    "verifier/provenance/tests/fixtures/openssl/ed25519.pem",
    "verifier/provenance/tests/fixtures/openssl/p256.pem",
    "verifier/provenance/tests/fixtures/openssl/p256-compressed.pem",
    "verifier/provenance/tests/fixtures/openssl/p384.pem",
    "verifier/provenance/tests/fixtures/openssl/p521.pem",
    "verifier/provenance/tests/fixtures/openssl/secp256k1.pem",
    "verifier/provenance/tests/fixtures/openssl/rsa-2048.spki.pem",
];

fn pem(bytes: &[u8]) -> Outcome {
    text(bytes, |pem| {
        Outcome::of(PublicKey::from_pem(pem), |key| {
            let again = PublicKey::from_pem(key.pem()).expect("what was written can be read");
            assert_eq!(again, key, "read back");
            key.algorithm()
        })
    })
}

fn spki(bytes: &[u8]) -> Outcome {
    let encoded = PublicKey::from_spki_base64(&STANDARD.encode(bytes));
    let key = PublicKey::from_spki_der(bytes);
    assert_eq!(encoded.is_ok(), key.is_ok(), "two ways to say one key");
    let roots = certificate::check_roots(&[STANDARD.encode(bytes)]);
    Outcome::of(key, |key| {
        let again = PublicKey::from_spki_der(key.spki_der()).expect("what was written can be read");
        assert_eq!(again, key, "read back");
        assert!(
            key.verify(b"message", &[1; 64]).is_err(),
            "a signature that nobody made"
        );
        key.algorithm()
    })
    .and(Outcome::of(roots, |()| ()))
}

fn trusted_root(bytes: &[u8]) -> Outcome {
    Outcome::of(TrustedRoot::read(bytes), |_| ())
}

fn bundle(bytes: &[u8]) -> Outcome {
    let claims = Outcome::of(read_unverified_claims(bytes), |claims| {
        claims.resources.len().min(3)
    });
    claims.and(Outcome::of(UnverifiedStatement::read(bytes), |said| {
        said.predicate_type.len()
    }))
}

/// A bundle that may say anything but that another artifact was signed.
fn keyless(bytes: &[u8]) -> Outcome {
    static ROOT: OnceLock<TrustedRoot> = OnceLock::new();
    let root = ROOT.get_or_init(|| TrustedRoot::public_good().expect("the root that the library carries"));
    let expected = Expected::Identity {
        subject: "https://github.com/sigstore-conformance/extremely-dangerous-public-oidc-beacon/.github/workflows/extremely-dangerous-oidc-beacon.yml@refs/heads/main",
        issuer: "https://token.actions.githubusercontent.com",
    };
    let now = Timestamp::from_second(1_795_000_000).expect("a time");
    let artifact = include_bytes!("../../../verifier/provenance/tests/fixtures/sigstore-bundles/a.txt");
    let other = verify(bytes, Artifact::Bytes(b"another artifact"), expected, root, now);
    assert!(other.is_err(), "it holds for another artifact");
    Outcome::of(
        verify(bytes, Artifact::Bytes(artifact), expected, root, now),
        |evidence| evidence.signed_at.is_some(),
    )
}

/// A statement inside a bundle, and alone.
fn wrapped(bytes: &[u8]) -> Outcome {
    let bundle = json!({
        "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
        "verificationMaterial": {"publicKey": {"hint": "x"}, "tlogEntries": []},
        "dsseEnvelope": {
            "payload": STANDARD.encode(bytes), "payloadType": "application/vnd.in-toto+json",
            "signatures": [{"sig": "AA==", "keyid": ""}],
        },
    });
    let bundle = serde_json::to_vec(&bundle).expect("a bundle");
    let alone = statement::predicate_type(bytes).and_then(|kind| statement::read::<Value>(bytes, &kind));
    let said = UnverifiedStatement::read(&bundle);
    assert!(
        said.is_err() || alone.is_ok(),
        "a bundle's statement is one alone"
    );
    let claims = Outcome::of(read_unverified_claims(&bundle), |claims| {
        claims.resources.len().min(3)
    });
    Outcome::of(said, |said| std::mem::discriminant(&said.predicate)).and(claims)
}

fn ders() -> Vec<Vec<u8>> {
    let pems = KEYS
        .iter()
        .filter_map(|path| std::fs::read_to_string(crate::corpus::workspace().join(path)).ok());
    pems.filter_map(|pem| PublicKey::from_pem(&pem).ok())
        .map(|key| key.spki_der().to_vec())
        .collect()
}

fn statements() -> Vec<Vec<u8>> {
    let digest = "11".repeat(32);
    let subject = json!([{"name": "minilm", "digest": {"sha256": digest}}]);
    let of = |kind: &str, predicate: Value| json!({"_type": "https://in-toto.io/Statement/v1", "subject": subject, "predicateType": kind, "predicate": predicate});
    let all = [
        of(
            "https://model_signing/signature/v1.0",
            json!({
                "serialization": {"method": "files", "hash_type": "sha256", "allow_symlinks": false},
                "resources": [{"name": "a", "algorithm": "sha256", "digest": digest}],
            }),
        ),
        of("https://model_signing/Digests/v0.1", json!({"a": 1})),
        of(
            "https://slsa.dev/provenance/v1",
            json!({
                "buildDefinition": {"buildType": "t", "externalParameters": {}, "resolvedDependencies": [{"uri": "u", "digest": {"sha256": digest}}]},
                "runDetails": {"builder": {"id": "b"}, "metadata": {"invocationId": "i", "startedOn": "2026-11-20T10:00:00Z"}},
            }),
        ),
        of(
            "https://slsa.dev/verification_summary/v1",
            json!({
                "verifier": {"id": "v"}, "timeVerified": "2026-11-20T10:00:00Z", "resourceUri": "r", "policy": {"uri": "p"},
                "verificationResult": "PASSED", "verifiedLevels": ["SLSA_BUILD_LEVEL_3"],
            }),
        ),
        of(
            "https://in-toto.io/attestation/test-result/v0.1",
            json!({
                "result": "PASSED", "configuration": [{"uri": "c"}], "passedTests": ["a"],
            }),
        ),
        of(
            "https://cyclonedx.org/bom",
            json!({
                "bomFormat": "CycloneDX", "specVersion": "1.6", "components": [{"type": "machine-learning-model", "name": "m"}],
            }),
        ),
        of(
            "https://spdx.dev/Document",
            json!({"@context": "c", "@graph": [{"type": "ai_AIPackage", "name": "m"}]}),
        ),
        of("https://example.com/unknown/v1", json!({"x": [1, 2]})),
    ];
    texts(
        &all.each_ref()
            .map(|statement| statement.to_string())
            .each_ref()
            .map(String::as_str),
    )
}
