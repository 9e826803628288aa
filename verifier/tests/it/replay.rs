//! Replay: right signatures in the wrong place. The keys are shared on purpose; `x-assay` must tell the files apart.

use assay_schema::Stage;
use assay_schema::tuf::FIELD;
use serde_json::json;

use crate::support::*;

#[test]
fn another_namespaces_files_under_shared_keys_are_refused() {
    let ours = Simulator::new();
    let theirs = assay_verifier::provenance::sha256(b"another first root");
    for role in ["timestamp", "snapshot", "targets", "model.minilm.0"] {
        let mut sim = ours.clone();
        let mut document = sim.signed[role].clone();
        document[FIELD]["namespace"] = json!(theirs);
        sim.signed.insert(role.to_owned(), document);
        match role {
            "timestamp" => sim.next_timestamp(),
            "snapshot" => sim.publish(),
            role => {
                sim.bump(role);
                sim.publish();
            }
        }
        let stage = if role.starts_with("model.") {
            Stage::Release
        } else {
            Stage::Freshness
        };
        for by in ROUTES {
            assert_eq!(
                Device::new(&sim, by).refused(&sim),
                code(stage, "wrong-binding"),
                "{role}"
            );
        }
    }
}

#[test]
fn a_whole_other_namespace_under_shared_keys_is_refused() {
    let ours = Simulator::new();
    let mut theirs = ours.clone();
    theirs.identity = assay_verifier::provenance::sha256(b"another first root");
    for role in ["targets", "model.minilm.0", "snapshot", "timestamp"] {
        theirs.signed.get_mut(role).unwrap()[FIELD]["namespace"] = json!(theirs.identity);
    }
    theirs.bump("targets");
    theirs.bump("model.minilm.0");
    theirs.publish();
    for by in ROUTES {
        assert_eq!(
            Device::new(&ours, by).refused(&theirs),
            code(Stage::Freshness, "wrong-binding")
        );
    }
}

#[test]
fn one_roles_file_served_as_anothers_is_refused() {
    // Both blocks are signed by the same publishers.
    for by in ROUTES {
        let mut sim = Simulator::new();
        sim.release(draft("2.0.0", 100));
        let other = sim.signed["model.minilm.0"].clone();
        let version = sim.signed["model.minilm.1"]["version"].clone();
        sim.signed.insert("model.minilm.1".into(), other);
        sim.signed.get_mut("model.minilm.1").unwrap()["version"] = version;
        sim.bump("model.minilm.1");
        sim.publish();
        assert_eq!(
            Device::new(&sim, by).refused(&sim),
            code(Stage::Release, "wrong-binding")
        );
    }
}

#[test]
fn a_snapshot_served_as_timestamp_is_refused() {
    let mut sim = Simulator::new();
    let snapshot = sim.current["snapshot"].clone();
    sim.put("timestamp", snapshot);
    for by in ROUTES {
        assert_eq!(
            Device::new(&sim, by).refused(&sim),
            code(Stage::Freshness, "malformed")
        );
    }
}
