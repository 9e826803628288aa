//! The authority's status: it restricts, and a device never goes without one that exists.

use assay_schema::Stage;
use serde_json::{Value, json};

use crate::support::*;

const MODEL: &str = "minilm";

fn empty() -> Value {
    json!({"v": 1, "issued": "2026-12-01T00:00:00Z"})
}

fn with(field: &str, value: Value) -> Value {
    let mut status = empty();
    status[field] = value;
    status
}

fn restricted(content: &Value) -> Simulator {
    let mut sim = Simulator::new();
    sim.status(content);
    sim
}

fn refused(sim: &Simulator) -> (Stage, String) {
    let (bundle, files) = (
        Device::new(sim, By::Bundle).refused(sim),
        Device::new(sim, By::Static).refused(sim),
    );
    assert_eq!(bundle, files);
    bundle
}

#[test]
fn without_a_status_the_verdict_says_so() {
    let sim = Simulator::new();
    let verdict = Device::new(&sim, By::Bundle).permitted(&sim).verdict();
    assert_eq!(
        verdict.stage(Stage::Freshness).unwrap().evidence["status"],
        "none"
    );
}

#[test]
fn a_status_costs_no_request_by_bundle_and_one_by_static_paths() {
    let sim = restricted(&empty());
    let mut device = Device::new(&sim, By::Bundle);
    let verdict = device.permitted(&sim).verdict();
    assert_eq!(device.requests.len(), 1);
    let evidence = &verdict.stage(Stage::Freshness).unwrap().evidence;
    assert_eq!(evidence["status_issued"], "2026-12-01T00:00:00Z");
    device.permitted(&sim);
    assert_eq!(device.requests.len(), 1);

    let mut device = Device::new(&sim, By::Static);
    device.permitted(&sim);
    assert_eq!(device.requests.len(), 8);
    device.permitted(&sim);
    assert_eq!(device.requests.len(), 2);
}

#[test]
fn refuses_an_expired_status() {
    let mut sim = restricted(&empty());
    sim.now = after_days(sim.now, 31);
    sim.publish();
    assert_eq!(refused(&sim), code(Stage::Freshness, "expired"));
    sim.restrict(&empty());
    Device::new(&sim, By::Bundle).permitted(&sim);
}

#[test]
fn refuses_a_status_of_somebody_elses_key() {
    let mut sim = restricted(&empty());
    sim.keys.insert("status".into(), vec![new_key()]);
    sim.restrict(&empty());
    assert_eq!(refused(&sim).0, Stage::Freshness);
}

#[test]
fn refuses_a_revoked_release_by_version_or_manifest() {
    let sim = Simulator::new();
    let manifest = assay_verifier::provenance::sha256(&sim.releases[0].manifest);
    for named in [json!({"version": "1.0.0"}), json!({"manifest": manifest})] {
        let mut revoked = named;
        revoked["model"] = MODEL.into();
        let sim = restricted(&with("revoked_releases", json!([revoked])));
        if revoked.get("version").is_some() {
            assert_eq!(refused(&sim), code(Stage::Release, "revoked"));
        }
    }
    let mut sim = sim;
    sim.status(&with(
        "revoked_releases",
        json!([{"model": MODEL, "manifest": manifest, "reason": "poisoned"}]),
    ));
    assert_eq!(refused(&sim), code(Stage::Release, "revoked"));
    // Another release of the model is not touched.
    sim.release(draft("1.0.1", 2));
    Device::new(&sim, By::Bundle).permitted(&sim);
}

#[test]
fn refuses_a_release_below_the_least_order() {
    let mut sim = restricted(&with("orders", json!({MODEL: {"epoch": 1, "counter": 2}})));
    assert_eq!(refused(&sim), code(Stage::Release, "below-status"));
    sim.release(draft("1.0.1", 2));
    Device::new(&sim, By::Bundle).permitted(&sim);
}

#[test]
fn refuses_roles_below_their_least_version() {
    for role in [
        "root",
        "timestamp",
        "snapshot",
        "targets",
        "model.minilm.0",
        "model.minilm.7",
    ] {
        let sim = restricted(&with("versions", json!({role: 1000})));
        assert_eq!(refused(&sim), code(Stage::Freshness, "below-status"), "{role}");
    }
    // Another model's roles are its own devices' business.
    let sim = restricted(&with("versions", json!({"model.other.0": 1000, "root": 1})));
    Device::new(&sim, By::Bundle).permitted(&sim);
}

#[test]
fn refuses_files_that_a_revoked_key_signed() {
    for (role, stage) in [("targets", Stage::Freshness), ("model", Stage::Release)] {
        let mut sim = Simulator::new();
        let key = sim.keys[role][0].key_id().unwrap();
        sim.status(&with("revoked_keys", json!([key])));
        assert_eq!(refused(&sim), code(stage, "revoked-key"), "{role}");
    }
}

#[test]
fn refuses_a_status_that_cannot_be_read_whole() {
    let bad = [
        with("v", 2.into()),
        with("allow", true.into()),
        with("revoked_releases", json!([{"model": MODEL}])),
        json!({}),
    ];
    for content in bad {
        let sim = restricted(&content);
        assert_eq!(refused(&sim), code(Stage::Freshness, "malformed"), "{content}");
    }
}

#[test]
fn refuses_a_status_whose_inline_bytes_are_not_the_signed_target() {
    let mut sim = restricted(&empty());
    sim.edit("status", |signed| {
        signed["targets"]["status.json"]["custom"]["x-assay"]["inline"] = "{}".into();
    });
    assert_eq!(refused(&sim), code(Stage::Freshness, "malformed"));
    sim.edit("status", |signed| {
        signed["targets"]["status.json"]["custom"] = json!({});
    });
    assert_eq!(refused(&sim), code(Stage::Freshness, "malformed"));
}

#[test]
fn refuses_a_status_role_that_lists_other_targets() {
    let mut sim = restricted(&empty());
    sim.edit("status", |signed| {
        let target = signed["targets"]["status.json"].clone();
        signed["targets"]["trust/signers.json"] = target;
    });
    assert_eq!(refused(&sim).0, Stage::Freshness);
}

#[test]
fn refuses_a_status_path_that_resolves_to_another_role() {
    let mut sim = restricted(&empty());
    sim.edit("targets", |signed| {
        let roles = signed["delegations"]["roles"].as_array_mut().unwrap();
        let mut first = roles.iter().find(|r| r["name"] == "status").unwrap().clone();
        first["name"] = "early".into();
        roles.insert(0, first);
    });
    assert_eq!(refused(&sim).0, Stage::Freshness);
}
