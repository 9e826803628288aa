//! One key counts once and serves one role.

use assay_authority::{KeyKind, SigningKey};
use assay_schema::Stage;
use base64::Engine as _;
use serde_json::{Value, json};

use crate::support::simulator::{ids, listed};
use crate::support::*;

/// Publishes a second root whose keys were changed after they were listed; the old root keys sign it too.
fn next_root(sim: &mut Simulator, change: impl FnOnce(&mut Value)) {
    let old = sim.keys["root"].clone();
    change(sim.signed.get_mut("root").unwrap());
    sim.sign_root(&old);
}

#[test]
fn one_key_under_two_ids_in_root_is_refused() {
    let mut sim = Simulator::new();
    let key = sim.keys["root"][0].clone();
    next_root(&mut sim, |root| {
        root["keys"]["another-id"] = serde_json::to_value(key.tuf_key().unwrap()).unwrap();
        let listed = root["roles"]["root"]["keyids"].as_array_mut().unwrap();
        listed.push(json!("another-id"));
    });
    for by in ROUTES {
        assert_eq!(
            Device::new(&sim, by).refused(&sim),
            code(Stage::TrustRoot, "duplicate-key")
        );
    }
}

/// The same P-256 key with its point compressed (SEC 1, 2.3.3), as PEM.
fn compressed(key: &SigningKey) -> String {
    let der = key.public_key().spki_der();
    let point = &der[der.len() - 65..];
    let mut out: Vec<u8> = vec![
        0x30, 0x39, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86,
        0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x22, 0x00,
    ];
    out.push(2 + (point[64] & 1));
    out.extend_from_slice(&point[1..33]);
    let text = base64::engine::general_purpose::STANDARD.encode(out);
    let lines: Vec<&str> = text
        .as_bytes()
        .chunks(64)
        .map(|l| std::str::from_utf8(l).unwrap())
        .collect();
    format!(
        "-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n",
        lines.join("\n")
    )
}

#[test]
fn one_key_with_its_point_compressed_is_refused() {
    // One thief's key, listed twice in a delegation of threshold 2: its signature would count under both ids.
    let mut sim = Simulator::new();
    let key = SigningKey::generate(KeyKind::P256).unwrap();
    let again =
        json!({"keytype": "ecdsa", "scheme": "ecdsa-sha2-nistp256", "keyval": {"public": compressed(&key)}});
    let id = key.key_id().unwrap();
    sim.keys.insert("model".into(), vec![key.clone()]);
    sim.edit("targets", |signed| {
        signed["delegations"]["keys"] = listed(&[key]);
        signed["delegations"]["keys"]["again"] = again;
        signed["delegations"]["roles"][0]["keyids"] = json!([id, "again"]);
    });
    sim.bump("model.minilm.0");
    let mut file: Value = serde_json::from_slice(&sim.current["model.minilm.0"]).unwrap();
    let signature = file["signatures"][0]["sig"].clone();
    let signatures = file["signatures"].as_array_mut().unwrap();
    signatures.push(json!({"keyid": "again", "sig": signature}));
    sim.put("model.minilm.0", serde_json::to_vec(&file).unwrap());
    sim.publish();
    for by in ROUTES {
        assert_eq!(
            Device::new(&sim, by).refused(&sim),
            code(Stage::Freshness, "malformed")
        );
    }
}

#[test]
fn one_key_under_two_ids_in_a_delegation_is_refused() {
    let mut sim = Simulator::new();
    let key = sim.keys["model"][0].clone();
    sim.edit("targets", |signed| {
        signed["delegations"]["keys"]["another-id"] = serde_json::to_value(key.tuf_key().unwrap()).unwrap();
        let listed = signed["delegations"]["roles"][0]["keyids"]
            .as_array_mut()
            .unwrap();
        listed.push(json!("another-id"));
    });
    for by in ROUTES {
        assert_eq!(
            Device::new(&sim, by).refused(&sim),
            code(Stage::Freshness, "duplicate-key")
        );
    }
}

#[test]
fn one_key_in_two_roles_of_root_is_refused() {
    let mut sim = Simulator::new();
    let timestamp = ids(&sim.keys["timestamp"]);
    next_root(&mut sim, |root| {
        root["roles"]["snapshot"]["keyids"] = json!(timestamp)
    });
    for by in ROUTES {
        assert_eq!(
            Device::new(&sim, by).refused(&sim),
            code(Stage::TrustRoot, "shared-key")
        );
    }
}

#[test]
fn a_registry_key_in_a_delegation_is_refused() {
    for role in ["snapshot", "timestamp", "targets", "root"] {
        let mut sim = Simulator::new();
        let key = sim.keys[role][0].clone();
        sim.edit("targets", |signed| {
            let id = key.key_id().unwrap();
            signed["delegations"]["keys"][&id] = serde_json::to_value(key.tuf_key().unwrap()).unwrap();
            signed["delegations"]["roles"][0]["keyids"]
                .as_array_mut()
                .unwrap()
                .push(json!(id));
        });
        for by in ROUTES {
            assert_eq!(
                Device::new(&sim, by).refused(&sim),
                code(Stage::Freshness, "shared-key")
            );
        }
    }
}

#[test]
fn thresholds_that_cannot_be_are_refused() {
    for threshold in [0, 4] {
        let mut sim = Simulator::new();
        next_root(&mut sim, |root| {
            root["roles"]["targets"]["threshold"] = json!(threshold)
        });
        for by in ROUTES {
            assert_eq!(
                Device::new(&sim, by).refused(&sim),
                code(Stage::TrustRoot, "malformed")
            );
        }
        let mut sim = Simulator::new();
        sim.edit("targets", |signed| {
            signed["delegations"]["roles"][0]["threshold"] = json!(threshold)
        });
        for by in ROUTES {
            assert_eq!(
                Device::new(&sim, by).refused(&sim),
                code(Stage::Freshness, "malformed")
            );
        }
    }
}

#[test]
fn root_without_consistent_snapshots_is_refused() {
    let mut sim = Simulator::new();
    next_root(&mut sim, |root| root["consistent_snapshot"] = json!(false));
    for by in ROUTES {
        assert_eq!(
            Device::new(&sim, by).refused(&sim),
            code(Stage::TrustRoot, "malformed")
        );
    }
}

#[test]
fn keys_of_unknown_schemes_sign_nothing_and_disturb_nothing() {
    let mut sim = Simulator::new();
    next_root(&mut sim, |root| {
        root["keys"]["future"] = json!({"keytype": "new", "scheme": "new", "keyval": {"public": "?"}});
    });
    for by in ROUTES {
        Device::new(&sim, by).permitted(&sim);
    }
}
