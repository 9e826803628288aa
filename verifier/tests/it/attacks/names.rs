//! Right signatures in the wrong place: another role, another namespace, another device.

use assay_schema::Stage;
use assay_schema::tuf::{FIELD, ModelRole};
use assay_verifier::provenance::sha256;
use serde_json::json;

use super::{Heals, Scene};
use crate::support::simulator::{ids, listed};
use crate::support::*;

const MODEL_ROLE: &str = "model.minilm.0";
const PATH: &str = "models/minilm/0/1.0.0.json";

/// A namespace that delegates another model to keys which a thief holds.
fn with_other_model(by: By) -> (Scene, ModelRole, Vec<assay_authority::SigningKey>) {
    let mut sim = Simulator::new();
    let thief = vec![new_key(), new_key()];
    let other = ModelRole {
        model: "other".parse().unwrap(),
        block: 0,
    };
    let entry = json!({
        "name": other.name(), "keyids": ids(&thief), "threshold": 1, "paths": [other.pattern()],
        "terminating": true, FIELD: {"max_epoch": 9},
    });
    sim.edit("targets", |signed| {
        let keys = signed["delegations"]["keys"].as_object_mut().unwrap();
        keys.extend(listed(&thief).as_object().unwrap().clone());
        signed["delegations"]["roles"]
            .as_array_mut()
            .unwrap()
            .insert(0, entry);
    });
    (Scene::of(sim, by), other, thief)
}

#[test]
pub(super) fn delegation_escape() {
    for by in ROUTES {
        // The role of another model lists a path of this one, with a higher order.
        let (scene, other, thief) = with_other_model(by);
        let mut evil = scene.honest.clone();
        let mut document = evil.signed[MODEL_ROLE].clone();
        document[FIELD]["role"] = json!(other.name());
        document["version"] = json!(0);
        document["targets"]["models/minilm/0/9.9.9.json"] = document["targets"][PATH].clone();
        document["targets"]["models/minilm/0/9.9.9.json"]["custom"][FIELD]["order"] =
            json!({"epoch": 9, "counter": 99});
        evil.signed.insert(other.name(), document);
        evil.keys.insert("model".into(), thief.clone());
        evil.bump(&other.name());
        evil.publish();
        scene.permits("another model's role lists our path", &evil, "1.0.0");
        let mut asks = scene.clone();
        asks.device = asks.device.wants("9.9.9");
        assert_eq!(asks.device.refused(&evil), code(Stage::Release, "no-release"));

        // A role of the same name and other keys, which only the targets role could delegate.
        let mut evil = scene.honest.clone();
        evil.edit("targets", |signed| {
            let roles = signed["delegations"]["roles"].as_array_mut().unwrap();
            let mut twin = roles.iter().find(|r| r["name"] == MODEL_ROLE).unwrap().clone();
            twin["keyids"] = json!(ids(&thief));
            twin["threshold"] = json!(1);
            roles.insert(0, twin);
        });
        scene.refuses(
            "a shared role name",
            &evil,
            (Stage::Freshness, "malformed"),
            Heals::ByRotation,
        );

        // The model's own role lists what was not delegated to it, and signs an epoch that it was not granted.
        let mut evil = scene.honest.clone();
        evil.edit(MODEL_ROLE, |signed| {
            signed["targets"]["trust/signers.json"] = signed["targets"][PATH].clone();
            for path in ["models/other/0/9.0.0.json", "models/minilm/1/9.0.0.json"] {
                signed["targets"][path] = signed["targets"][PATH].clone();
                signed["targets"][path]["custom"][FIELD]["order"] = json!({"epoch": 1, "counter": 99});
            }
        });
        scene.permits("paths outside the delegation", &evil, "1.0.0");
        let mut evil = scene.honest.clone();
        let mut raised = draft("9.9.9", 9);
        raised.order = (2, 9);
        evil.release(raised);
        scene.refuses(
            "an epoch that was not granted",
            &evil,
            (Stage::Release, "malformed"),
            Heals::ByRotation,
        );
    }
}

#[test]
pub(super) fn cross_namespace_replay() {
    // The keys are shared on purpose: what tells the files apart is signed.
    let stages = [
        ("timestamp", Stage::Freshness, Heals::AtOnce),
        ("snapshot", Stage::Freshness, Heals::AtOnce),
        ("targets", Stage::Freshness, Heals::ByRotation),
        (MODEL_ROLE, Stage::Release, Heals::ByRotation),
    ];
    for by in ROUTES {
        let scene = Scene::new(by);
        let theirs = sha256(b"another first root");
        for (role, stage, heals) in stages {
            let mut evil = scene.honest.clone();
            evil.signed.get_mut(role).unwrap()[FIELD]["namespace"] = json!(theirs);
            evil.bump(role);
            match role {
                "timestamp" => {}
                "snapshot" => evil.next_timestamp(),
                _ => evil.publish(),
            }
            let what = format!("another namespace's {role}");
            scene.refuses(&what, &evil, (stage, "wrong-binding"), heals);
        }
        let mut evil = scene.honest.clone();
        for role in ["targets", MODEL_ROLE, "snapshot", "timestamp"] {
            evil.signed.get_mut(role).unwrap()[FIELD]["namespace"] = json!(theirs);
        }
        evil.bump("targets");
        evil.bump(MODEL_ROLE);
        evil.publish();
        let whole = (Stage::Freshness, "wrong-binding");
        scene.refuses("a whole other namespace", &evil, whole, Heals::AtOnce);
    }
}

#[test]
pub(super) fn cross_role_replay() {
    for by in ROUTES {
        // Both blocks are signed by the same publishers.
        let mut sim = Simulator::new();
        sim.release(draft("2.0.0", 100));
        let scene = Scene::of(sim, by);
        let mut evil = scene.honest.clone();
        let version = evil.signed["model.minilm.1"]["version"].clone();
        let mut other = evil.signed[MODEL_ROLE].clone();
        other["version"] = version;
        evil.signed.insert("model.minilm.1".into(), other);
        evil.bump("model.minilm.1");
        evil.publish();
        let what = "one block's file as another's";
        scene.refuses(what, &evil, (Stage::Release, "wrong-binding"), Heals::ByRotation);
        let mut evil = scene.honest.clone();
        let snapshot = evil.current["snapshot"].clone();
        evil.put("timestamp", snapshot);
        scene.refuses(
            "a snapshot as timestamp",
            &evil,
            (Stage::Freshness, "malformed"),
            Heals::AtOnce,
        );
        // One key for both: the role stands in what is signed.
        let mut evil = scene.honest.clone();
        let mut timestamp = evil.signed["timestamp"].clone();
        timestamp[FIELD]["role"] = json!("snapshot");
        evil.signed.insert("timestamp".into(), timestamp);
        evil.bump("timestamp");
        scene.refuses(
            "a timestamp bound to snapshot",
            &evil,
            (Stage::Freshness, "wrong-binding"),
            Heals::AtOnce,
        );
    }
}

#[test]
pub(super) fn replay() {
    // What a registry made for one device is shown to another, which stands elsewhere: it has seen more, or has another base.
    let mut sim = Simulator::new();
    let early = sim.clone();
    sim.release(draft("1.1.0", 2));
    let (behind, ahead) = (
        Scene::of(early.clone(), By::Bundle),
        Scene::of(sim.clone(), By::Bundle),
    );
    let of_behind = |fetch: &assay_verifier::Fetch| match behind.device.request().route {
        _ if matches!(fetch.resource, assay_verifier::Resource::Bundle { .. }) => early.serve(fetch),
        _ => assay_verifier::Answer::Missing,
    };
    ahead.refuses_answers(
        "a bundle for a device that saw less",
        sim.now,
        of_behind,
        (Stage::Freshness, "rollback"),
        Heals::AtOnce,
    );
    // A whole state of another device of the namespace, as after a restored backup: floors come with it, never below its own files.
    let mut restored = behind.clone();
    restored.honest = sim.clone();
    restored.device = Device {
        disk: ahead.device.disk.clone(),
        ..behind.device.clone()
    };
    restored.refuses(
        "an older registry for a newer state",
        &early,
        (Stage::Freshness, "rollback"),
        Heals::AtOnce,
    );
    // The state of a device of another namespace serves no pin but its own.
    let other = Scene::new(By::Bundle);
    let mut mixed = ahead.device.clone();
    mixed.disk = other.device.disk;
    assert_eq!(mixed.refused(&sim), code(Stage::TrustRoot, "wrong-identity"));
}
