//! Who may sign models: shown signer by signer, refused where no device could use it, replaced where a key was lost.

use assay_authority::namespace::key_signer;
use assay_client::publisher::SignersChange;
use assay_schema::signers::{Signer, SignerIdentity};

use super::*;

const SIGNERS: &str = "trust/signers.json";
const SIGSTORE: &str = "trust/sigstore.json";
const ROOT: &str = include_str!(
    "../../../verifier/provenance/tests/fixtures/sigstore-bundles/rekor2-dsse-happy-path/trusted_root.json"
);

/// A proposal with another document, as somebody makes it up.
fn with_document(honest: &Proposal, path: &str, text: &str) -> Proposal {
    let mut file = serde_json::to_value(honest).unwrap();
    let metadata = &mut file["publication"]["roles"]["targets"]["metadata"];
    let mut value: Value = serde_json::from_str(metadata.as_str().unwrap()).unwrap();
    let digest = Sha256Digest::new(Sha256::digest(text.as_bytes()).into());
    value["signed"]["targets"][path] = json!({
        "length": text.len(), "hashes": {"sha256": digest}, "custom": {"x-assay": {"inline": text}},
    });
    *metadata = value.to_string().into();
    serde_json::from_value(file).unwrap()
}

fn some_change(two: &Two) -> Proposal {
    let grant = Grant {
        model: "other".parse().unwrap(),
        blocks: vec![0],
        keys: vec![public_key(&two.at("second").join("publisher.pem.pub")).unwrap()],
        threshold: 1,
        max_epoch: None,
    };
    two.publisher("authority").propose_grant(&grant, now()).unwrap()
}

fn stranger() -> SigningKey {
    SigningKey::generate(KeyKind::P256).unwrap()
}

#[test]
fn who_may_sign_models_is_shown_signer_by_signer_whoever_slips_it_in() {
    let two = Two::new();
    let first = two.publisher("authority");
    let honest = some_change(&two);
    let mut signers = first.signers(now()).unwrap().unwrap();
    let stood = signers.signers.remove(0);
    let thief = key_signer(&stood.name, stranger().public_key());
    signers.signers.push(thief.clone());
    let doctored = with_document(&honest, SIGNERS, &serde_json::to_string(&signers).unwrap());
    let shown = first.review(doctored, None, now()).unwrap().changes().join("\n");
    for (verb, signer) in [("adds", &thief), ("removes", &stood)] {
        let SignerIdentity::Key { spki } = &signer.identity else {
            panic!("a key");
        };
        let said =
            format!("signers: {verb} \"acme models\", for every model, signs models: public key {spki}");
        assert!(shown.contains(&said), "{said}: {shown}");
    }

    // A demand that goes is a change, too, as is what else a signer may sign.
    let demand = |signers: &[&str]| {
        let key = json!({"kind": "key", "spki": match &thief.identity {
            SignerIdentity::Key { spki } => spki,
            _ => panic!("a key"),
        }});
        let signer = json!({"name": "x", "identity": key, "statements": ["https://slsa.dev/provenance/v1"]});
        let require = json!({"predicate_type": "https://slsa.dev/provenance/v1", "signers": signers});
        json!({"v": 1, "signers": [signer], "require": [require]}).to_string()
    };
    let doctored = with_document(&honest, SIGNERS, &demand(&["x"]));
    let shown = first.review(doctored, None, now()).unwrap().changes().join("\n");
    for said in [
        "signers: adds \"x\", for every model, signs statements https://slsa.dev/provenance/v1: public key",
        "signers: adds demand: https://slsa.dev/provenance/v1 by \"x\", for every model, about every file",
    ] {
        assert!(shown.contains(said), "{said}: {shown}");
    }
    let refused = first.review(with_document(&honest, SIGNERS, &demand(&["y"])), None, now());
    assert!(
        matches!(refused, Err(PublishError::Proposal { .. })),
        "{refused:?}"
    );

    let doctored = with_document(&honest, SIGSTORE, ROOT);
    let shown = first.review(doctored, None, now()).unwrap().changes().join("\n");
    for said in [
        "sigstore: adds tlogs {",
        "sigstore: adds certificateAuthorities {",
        "\"sha256\":",
    ] {
        assert!(shown.contains(said), "{said}: {shown}");
    }
}

#[test]
fn documents_that_no_device_could_use_are_refused_at_once() {
    let two = Two::new();
    let first = two.publisher("authority");
    let honest = some_change(&two);
    let no_key = json!({"v": 1, "signers": [{"name": "x", "identity": {"kind": "key", "spki": "AAAA"}}]});
    let more = json!({"v": 1, "signers": [], "more": true});
    let later = json!({"v": 2, "signers": []});
    let cases = [
        (SIGNERS, "{}".to_owned()),
        (SIGNERS, no_key.to_string()),
        (SIGNERS, more.to_string()),
        (SIGNERS, later.to_string()),
        (SIGSTORE, "{}".to_owned()),
        (SIGSTORE, "no JSON".to_owned()),
    ];
    for (path, text) in cases {
        let refused = first.review(with_document(&honest, path, &text), None, now());
        let Err(PublishError::Proposal { what, .. }) = &refused else {
            panic!("{path} {text}: {refused:?}");
        };
        assert_eq!(what, path, "{text}");
    }
    // A signer whom no device could recognise, for want of a root.
    let keyless = json!({"v": 1, "signers": [{
        "name": "ci", "identity": {"kind": "sigstore", "issuer": "https://issuer.test", "subject": "ci@acme.test"},
    }]});
    let refused = first.review(with_document(&honest, SIGNERS, &keyless.to_string()), None, now());
    assert!(
        matches!(refused, Err(PublishError::NoSigstoreRoot { .. })),
        "{refused:?}"
    );
}

#[test]
fn a_model_signing_key_that_was_lost_is_replaced() {
    let world = World::new();
    world.publish("1.0.0", &[("weights.bin", b"one")]);
    let device = world.device();
    pull(&device).unwrap();
    let authority = world.dir.path().join("authority");
    std::fs::remove_file(authority.join("model-signing.pem")).unwrap();
    std::fs::remove_file(authority.join("model-signing.pem.pub")).unwrap();
    let publisher = world.publisher();
    let role = KeyRole::ModelSigning;
    let key = publisher
        .folder()
        .generate(role, 1, role.default_kind(), None)
        .unwrap();
    let change = SignersChange {
        remove: vec!["acme models".to_owned()],
        add: vec![key_signer("acme models", &key)],
        ..SignersChange::default()
    };
    let proposal = publisher.propose_signers(&change, now()).unwrap();
    let review = publisher.review(proposal, None, now()).unwrap();
    assert!(matches!(publisher.sign(review, now()), Ok(Outcome::Published(_))));
    world.publish("1.1.0", &[("weights.bin", b"two")]);
    let pulled = pull(&device).unwrap();
    assert_eq!(
        common::contents(&device, "weights.bin").unwrap(),
        b"two",
        "{pulled:?}"
    );

    let again = publisher.propose_signers(&SignersChange::default(), now());
    let unknown = SignersChange {
        remove: vec!["nobody".to_owned()],
        ..SignersChange::default()
    };
    let taken = SignersChange {
        add: change.add.clone(),
        ..SignersChange::default()
    };
    let nobody = SignersChange {
        remove: change.remove.clone(),
        ..SignersChange::default()
    };
    let keyless = SignersChange {
        add: vec![Signer {
            name: "ci".to_owned(),
            models: Vec::new(),
            statements: Vec::new(),
            identity: SignerIdentity::Sigstore {
                issuer: "https://issuer.test".to_owned(),
                subject: "ci@acme.test".to_owned(),
            },
        }],
        ..SignersChange::default()
    };
    let propose = |change| publisher.propose_signers(&change, now());
    for refused in [again, propose(unknown), propose(taken), propose(nobody)] {
        assert!(
            matches!(refused, Err(PublishError::Proposal { .. })),
            "{refused:?}"
        );
    }
    let refused = publisher.review(propose(keyless.clone()).unwrap(), None, now());
    assert!(
        matches!(refused, Err(PublishError::NoSigstoreRoot { .. })),
        "{refused:?}"
    );
    // With its root, which is too long to stand in its entry and goes to the registry first.
    let with_root = SignersChange {
        sigstore_root: Some(ROOT.to_owned()),
        ..keyless
    };
    let review = publisher
        .review(propose(with_root).unwrap(), None, now())
        .unwrap();
    let shown = review.changes().join("\n");
    assert!(shown.contains("Sigstore certificate of ci@acme.test"), "{shown}");
    assert!(matches!(publisher.sign(review, now()), Ok(Outcome::Published(_))));
}
