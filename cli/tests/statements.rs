//! Statements about a release: signed, published, shown, demanded; and parts of a model verified.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod support;

use serde_json::{Value, json};
use support::World;
use support::exit::{CONFLICT, DONE, REFUSED, STORE, USAGE};

const SLSA: &str = "https://slsa.dev/provenance/v1";

fn predicate() -> Value {
    json!({
        "buildDefinition": {"buildType": "https://acme.example/train/v1"},
        "runDetails": {"builder": {"id": "https://acme.example/trainer"}},
    })
}

fn write(path: &str, value: &Value) {
    std::fs::write(path, serde_json::to_vec(value).unwrap()).unwrap();
}

/// The owner's document: the lab must have stated how the model was built.
fn demand(world: &World) -> String {
    let pem = std::fs::read_to_string(world.at("lab/model-signing.pem.pub")).unwrap();
    let spki: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
    let path = world.at("signers.json");
    write(
        &path,
        &json!({"v": 1,
            "signers": [{"name": "lab", "statements": ["https://slsa.dev/**"], "identity": {"kind": "key", "spki": spki}}],
            "require": [{"predicate_type": SLSA, "signers": ["lab"]}]}),
    );
    path
}

#[test]
fn a_statement_is_signed_published_shown_and_demanded() {
    let world = World::new();
    let model = world.model("model", 1);
    let (lab, predicate_file, out) = (world.at("lab"), world.at("predicate.json"), world.at("slsa.json"));
    world.run(["keygen", &lab]).exits(DONE);
    write(&predicate_file, &predicate());
    let attest = [
        "attest",
        &model,
        "--type",
        SLSA,
        "--predicate",
        &predicate_file,
        "--authority",
        &lab,
        "--out",
        &out,
    ];
    let signed = world.run_with(&[], &[attest.as_slice(), &["--json"]].concat());
    assert_eq!(signed.exits(DONE).json()["files"], 3);
    // What is there is not overwritten.
    world.run(attest).exits(STORE);

    let signers = demand(&world);
    world.run(["publish", &model, "acme/minilm@1.0.0"]).exits(DONE);
    world.run(["check", "acme/minilm"]).exits(DONE);
    world
        .run(["trust", "set", "acme", "--signers", &signers])
        .exits(DONE);
    let refused = world.run(["check", "acme/minilm"]).exits(REFUSED);
    assert!(
        refused.out.contains("attestation-missing") && refused.err.contains("lab"),
        "{refused:?}"
    );

    // A published release never changes: the statement comes with another one.
    world
        .run(["publish", &model, "acme/minilm@1.0.0", "--attestation", &out])
        .exits(CONFLICT);
    world
        .run(["publish", &model, "acme/minilm@1.1.0", "--attestation", &out])
        .exits(DONE);
    let shown = world.run(["check", "acme/minilm"]).exits(DONE);
    assert!(
        shown.out.contains(SLSA) && shown.out.contains("https://acme.example/trainer"),
        "{shown:?}"
    );
    let terms = world.run(["trust", "show", "acme"]).exits(DONE);
    assert!(terms.out.contains("lab"), "{terms:?}");
    world
        .run(["trust", "set", "acme", "--drop", "signers"])
        .exits(DONE);
    world.run(["check", "acme/minilm@1.1.0"]).exits(DONE);
}

#[test]
fn a_statement_about_something_else_or_of_no_form_is_not_published() {
    let world = World::new();
    let (model, other) = (world.model("model", 1), world.model("other", 2));
    let (predicate_file, out) = (world.at("predicate.json"), world.at("slsa.json"));
    write(&predicate_file, &predicate());
    let authority = world.at("authority");
    world
        .run([
            "attest",
            &other,
            "--type",
            SLSA,
            "--predicate",
            &predicate_file,
            "--authority",
            &authority,
            "--out",
            &out,
        ])
        .exits(DONE);
    // The other model shares files with this one, so that only a statement about its weights is about something else.
    let weights = world.at("weights.json");
    world
        .run([
            "attest",
            &other,
            "--type",
            SLSA,
            "--predicate",
            &predicate_file,
            "--authority",
            &authority,
            "--out",
            &weights,
            "--file",
            "weights.bin",
        ])
        .exits(DONE);
    let refused = world
        .run(["publish", &model, "acme/minilm@1.0.0", "--attestation", &weights])
        .exits(USAGE);
    assert!(
        refused.err.contains("bad-attestation") || refused.err.contains("subjects"),
        "{refused:?}"
    );
    write(&out, &json!({"mediaType": "x"}));
    world
        .run([
            "publish",
            &model,
            "acme/minilm@1.0.0",
            "--attestation",
            &out,
            "--dry-run",
        ])
        .exits(USAGE);
    world
        .run([
            "attest",
            &model,
            "--type",
            "no uri",
            "--predicate",
            &predicate_file,
            "--authority",
            &authority,
            "--out",
            &world.at("x"),
        ])
        .exits(1);
}

#[test]
fn a_part_of_a_model_is_verified_and_the_verdict_says_which() {
    let world = World::new();
    let model = world.model("model", 1);
    world.run(["publish", &model, "acme/minilm@1.0.0"]).exits(DONE);
    world.run(["pull", "acme/minilm"]).exits(DONE);
    let copy = world.model("copy", 1);
    let weights = std::path::Path::new(&copy).join("weights.bin");
    std::fs::write(std::path::Path::new(&copy).join("extra.bin"), b"x").unwrap();
    world.run(["verify", &copy, "acme/minilm"]).exits(REFUSED);
    let part = world
        .run(["verify", &copy, "acme/minilm", "--file", "weights.bin"])
        .exits(DONE);
    assert!(
        part.out.contains("1 of 3 files; the others were not looked at"),
        "{part:?}"
    );
    support::flip(&weights, 7);
    world
        .run(["verify", &copy, "acme/minilm", "--file", "weights.bin"])
        .exits(REFUSED);

    let digests = world.at("SHA256SUMS");
    let sum = |bytes: &[u8]| assay_client::sha256(bytes).to_hex();
    std::fs::write(&digests, format!("{}  weights.bin\n", sum(&support::weights(1)))).unwrap();
    let given = world
        .run([
            "verify",
            &copy,
            "acme/minilm",
            "--file",
            "weights.bin",
            "--digests",
            &digests,
        ])
        .exits(DONE);
    assert!(given.out.contains("not computed here"), "{given:?}");
    std::fs::write(&digests, format!("{} *./weights.bin\n", sum(b"other"))).unwrap();
    world
        .run([
            "verify",
            &copy,
            "acme/minilm",
            "--file",
            "weights.bin",
            "--digests",
            &digests,
        ])
        .exits(REFUSED);
    std::fs::write(&digests, "weights.bin\n").unwrap();
    world
        .run(["verify", "acme/minilm", "--digests", &digests])
        .exits(USAGE);

    let record = world.at("record.json");
    world
        .run(["verify", "acme/minilm", "--trust-unchanged", &record])
        .exits(DONE);
    assert!(std::path::Path::new(&record).exists());
    // What was pulled or rolled back to is read in any case, and so is everything without that word.
    let whole = world.run(["verify", "acme/minilm", "--json"]).exits(DONE).json();
    let stages = whole["verdict"]["stages"].as_array().unwrap();
    let content = stages.iter().find(|stage| stage["stage"] == "content").unwrap();
    assert!(content["evidence"].get("unchanged").is_none(), "{content}");
}
