//! Attacks with keys: none, too few, stolen ones, retired ones.

use assay_authority::metadata::sign_value;
use assay_schema::Stage;
use assay_schema::tuf::consistent_target;
use assay_verifier::provenance::sha256;
use serde_json::{Value, json};

use super::{Heals, Scene};
use crate::support::*;

const MODEL_ROLE: &str = "model.minilm.0";

const ROLES: [(&str, Stage, Heals); 4] = [
    ("timestamp", Stage::Freshness, Heals::AtOnce),
    ("snapshot", Stage::Freshness, Heals::AtOnce),
    ("targets", Stage::Freshness, Heals::ByRotation),
    (MODEL_ROLE, Stage::Release, Heals::ByRotation),
];

/// The next version of a role by `keys` strangers; everything above it names it and is signed as it must be.
fn forged(honest: &Simulator, role: &str, keys: usize) -> Simulator {
    let mut sim = honest.clone();
    let owner = if role == MODEL_ROLE { "model" } else { role };
    let right = sim.keys[owner].clone();
    sim.keys
        .insert(owner.to_owned(), (0..keys).map(|_| new_key()).collect());
    sim.bump(role);
    sim.keys.insert(owner.to_owned(), right);
    match role {
        "timestamp" => {}
        "snapshot" => sim.next_timestamp(),
        _ => sim.publish(),
    }
    sim
}

#[test]
pub(super) fn arbitrary_install() {
    for by in ROUTES {
        let scene = Scene::new(by);
        for (role, stage, heals) in ROLES {
            for strangers in [0, 3] {
                let evil = forged(&scene.honest, role, strangers);
                let what = format!("{role} signed by {strangers} strangers");
                scene.refuses(&what, &evil, (stage, "signature-threshold"), heals);
            }
        }
        // Wrong hash: of the manifest, and of the model's signature.
        let mut evil = scene.honest.clone();
        evil.release(draft("1.1.0", 2));
        let released = Scene {
            honest: evil.clone(),
            ..scene.clone()
        };
        let release = evil.releases.last_mut().unwrap();
        let at = consistent_target(&release.path, &sha256(&release.manifest));
        release.manifest[20] ^= 1;
        evil.targets.get_mut(&at).unwrap()[20] ^= 1;
        released.refuses(
            "a manifest of other bytes",
            &evil,
            (Stage::Release, "digest-mismatch"),
            Heals::AtOnce,
        );
        let mut evil = released.honest.clone();
        let signature = evil.releases.last().unwrap().attestations[0];
        evil.blobs.get_mut(&signature).unwrap()[20] ^= 1;
        let wrong = (Stage::Provenance, "digest-mismatch");
        released.refuses("a model signature of other bytes", &evil, wrong, Heals::AtOnce);
    }
}

#[test]
pub(super) fn keys_below_threshold() {
    for by in ROUTES {
        let scene = Scene::new(by);
        for (role, stage, heals) in &ROLES[2..] {
            let owner = if *role == MODEL_ROLE { "model" } else { role };
            let mut evil = scene.honest.clone();
            let keys = evil.keys[owner].clone();
            evil.keys.get_mut(owner).unwrap().truncate(1);
            evil.bump(role);
            evil.publish();
            let what = format!("{role} by one key of two");
            scene.refuses(&what, &evil, (*stage, "signature-threshold"), *heals);

            let mut file = sign_value(role, &evil.signed[*role], &[&keys[0]]).unwrap();
            let mut twice: Value = serde_json::from_slice(&file).unwrap();
            let signature = twice["signatures"][0].clone();
            twice["signatures"].as_array_mut().unwrap().push(signature);
            file = serde_json::to_vec(&twice).unwrap();
            evil.put(role, file);
            evil.publish();
            let what = format!("{role} by one key twice");
            scene.refuses(&what, &evil, (*stage, "duplicate-signature"), *heals);
        }
        // One stolen root key of a threshold of two.
        let mut evil = scene.honest.clone();
        let stolen = evil.keys["root"][0].clone();
        evil.keys
            .insert("root".into(), vec![stolen, new_key(), new_key()]);
        evil.list_root_keys();
        evil.sign_root(&[]);
        let what = "a root by one key of two";
        scene.refuses(
            what,
            &evil,
            (Stage::TrustRoot, "signature-threshold"),
            Heals::AtOnce,
        );
    }
}

#[test]
pub(super) fn online_keys_stolen() {
    for by in ROUTES {
        // What the offline roles never signed, under a snapshot and timestamp that are right.
        let scene = Scene::new(by);
        let mut evil = scene.honest.clone();
        let publishers = evil
            .keys
            .insert("model".into(), vec![new_key(), new_key()])
            .unwrap();
        evil.release(draft("9.9.9", 99));
        let unsigned = (Stage::Release, "signature-threshold");
        scene.refuses(
            "a release that no publisher signed",
            &evil,
            unsigned,
            Heals::ByRotation,
        );
        evil.keys.insert("model".into(), publishers);

        // A role that the targets do not delegate grants nothing: the highest release is the honest one.
        let mut evil = scene.honest.clone();
        let mut own = evil.signed[MODEL_ROLE].clone();
        own["x-assay"]["role"] = json!("model.minilm.7");
        own["targets"] = json!({"models/minilm/7/9.9.9.json": own["targets"]["models/minilm/0/1.0.0.json"]});
        evil.signed.insert("model.minilm.7".into(), own);
        evil.keys.insert("model".into(), vec![new_key(), new_key()]);
        evil.bump("model.minilm.7");
        evil.publish();
        scene.permits("a role that nobody delegated", &evil, "1.0.0");

        // Choosing among what was signed: an older file of a role, or none of it, is what floors are against.
        let mut newer = scene.honest.clone();
        let old = newer.clone();
        newer.release(draft("1.1.0", 2));
        let seen = Scene::of(newer, by);
        for role in ["targets", MODEL_ROLE] {
            let mut evil = seen.honest.clone();
            if role == "targets" {
                evil.bump("targets");
                evil.publish();
                let seen = Scene::of(evil.clone(), by);
                evil.signed.insert(role.into(), old.signed[role].clone());
                evil.put(role, old.current[role].clone());
                evil.publish();
                seen.refuses(
                    "older targets",
                    &evil,
                    (Stage::Freshness, "rollback"),
                    Heals::AtOnce,
                );
                continue;
            }
            evil.signed.insert(role.into(), old.signed[role].clone());
            evil.put(role, old.current[role].clone());
            evil.publish();
            seen.refuses(
                "an older file of the model's role",
                &evil,
                (Stage::Freshness, "rollback"),
                Heals::AtOnce,
            );
        }
    }
}

#[test]
pub(super) fn revoked_key() {
    for by in ROUTES {
        // The targets name other publishers; the role is cached under the old ones.
        let scene = Scene::new(by);
        let mut evil = scene.honest.clone();
        evil.keys.insert("model".into(), vec![new_key(), new_key()]);
        let block = assay_schema::tuf::ModelRole {
            model: model(),
            block: 0,
        };
        evil.delegate(&block, 1);
        let mut next = scene.clone();
        next.honest = evil.clone();
        next.honest.bump(MODEL_ROLE);
        next.honest.publish();
        let replaced = (Stage::Release, "signature-threshold");
        next.refuses(
            "a cached role whose keys were replaced",
            &evil,
            replaced,
            Heals::AtOnce,
        );
        // And signed anew by the old keys.
        evil.keys
            .insert("model".into(), scene.honest.keys["model"].clone());
        evil.release(draft("9.9.9", 9));
        next.refuses(
            "a release by keys that were replaced",
            &evil,
            replaced,
            Heals::ByRotation,
        );

        // The authority's status revokes a key: what it signed is refused, although the threshold is met.
        let scene = Scene::new(by);
        let mut evil = scene.honest.clone();
        let key = evil.keys["model"][0].key_id().unwrap();
        evil.status(&json!({"v": 1, "issued": "2026-12-01T00:00:00Z", "revoked_keys": [key]}));
        let mut next = scene.clone();
        next.honest = evil.clone();
        next.honest
            .keys
            .insert("model".into(), vec![new_key(), new_key()]);
        next.honest.delegate(&block, 1);
        next.honest.bump(MODEL_ROLE);
        next.honest.publish();
        next.refuses(
            "a cached role by a revoked key",
            &evil,
            (Stage::Release, "revoked-key"),
            Heals::AtOnce,
        );
    }
}

#[test]
pub(super) fn two_bodies_at_threshold() {
    for by in ROUTES {
        // The publishers' keys sign a second release 1.0.0. Whoever has activated the first keeps it.
        let scene = Scene::new(by);
        let mut evil = scene.honest.clone();
        evil.replace_manifest(|m| m["files"][0]["sha256"] = json!(sha256(b"another")));
        let replaced = (Stage::Release, "release-replaced");
        scene.refuses(
            "another manifest of an activated release",
            &evil,
            replaced,
            Heals::ByRotation,
        );
        let mut evil = scene.honest.clone();
        let mut again = draft("1.0.0-b", 1);
        again.files = vec![("config.json", b"{}".to_vec())];
        evil.release(again);
        evil.edit(MODEL_ROLE, |signed| {
            signed["targets"]
                .as_object_mut()
                .unwrap()
                .remove("models/minilm/0/1.0.0.json");
        });
        scene.refuses(
            "another version of the same order",
            &evil,
            replaced,
            Heals::ByRotation,
        );

        // Two bodies of one version of a role: a device keeps to the one that it was shown, as the snapshots say which.
        let first = Scene::new(by);
        let mut one = first.honest.clone();
        let mut other = first.honest.clone();
        one.release(draft("1.1.0", 2));
        other.release(draft("1.1.1", 2));
        assert_eq!(
            one.signed[MODEL_ROLE]["version"],
            other.signed[MODEL_ROLE]["version"]
        );
        let mut seen = Scene {
            honest: one.clone(),
            ..first.clone()
        };
        seen.device.permitted(&one);
        seen.device.cached = None;
        let mut mixed = one.clone();
        mixed.put(MODEL_ROLE, other.current[MODEL_ROLE].clone());
        let mixture = (Stage::Release, "digest-mismatch");
        seen.refuses("another body of a role's version", &mixed, mixture, Heals::AtOnce);
    }
}
