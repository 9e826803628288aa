//! Metadata and files that nobody with a key signed, beside the attacks by their names: roots, pins, withheld files.

use assay_schema::Stage;
use assay_schema::tuf::FIELD;
use assay_verifier::provenance::sha256;
use assay_verifier::{Answer, Resource};
use serde_json::json;

use crate::support::*;

const ROLES: [(&str, Stage); 4] = [
    ("timestamp", Stage::Freshness),
    ("snapshot", Stage::Freshness),
    ("targets", Stage::Freshness),
    ("model.minilm.0", Stage::Release),
];

#[test]
fn root_that_the_old_keys_did_not_sign_is_refused() {
    let mut sim = Simulator::new();
    sim.keys
        .insert("root".into(), vec![new_key(), new_key(), new_key()]);
    sim.list_root_keys();
    sim.sign_root(&[]);
    for by in ROUTES {
        assert_eq!(
            Device::new(&sim, by).refused(&sim),
            code(Stage::TrustRoot, "signature-threshold")
        );
    }
}

#[test]
fn root_that_its_own_keys_did_not_sign_is_refused() {
    let mut sim = Simulator::new();
    let old = sim.keys["root"].clone();
    sim.keys
        .insert("root".into(), vec![new_key(), new_key(), new_key()]);
    sim.list_root_keys();
    sim.keys.insert("root".into(), old);
    sim.sign_root(&[]);
    for by in ROUTES {
        assert_eq!(
            Device::new(&sim, by).refused(&sim),
            code(Stage::TrustRoot, "signature-threshold")
        );
    }
}

#[test]
fn a_skipped_root_version_is_refused() {
    let mut sim = Simulator::new();
    sim.signed.get_mut("root").unwrap()["version"] = json!(2);
    sim.sign_root(&[]);
    for by in ROUTES {
        assert_eq!(
            Device::new(&sim, by).refused(&sim),
            code(Stage::TrustRoot, "wrong-version")
        );
    }
}

#[test]
fn a_first_root_other_than_the_pinned_one_is_refused() {
    let (sim, other) = (Simulator::new(), Simulator::new());
    let error = assay_verifier::DeviceState::first(&sim.pin(), &other.roots[0]).unwrap_err();
    assert_eq!(error.refusal().code, "wrong-identity");
    for by in ROUTES {
        let mut device = Device::new(&sim, by);
        device.pin.identity = other.identity;
        assert_eq!(device.refused(&sim), code(Stage::TrustRoot, "wrong-identity"));
    }
}

#[test]
fn a_later_root_of_another_namespace_does_not_serve_a_pin() {
    // A device's state that was mixed up: later roots carry no identity, what they sign does.
    let (mut sim, mut other) = (Simulator::new(), Simulator::new());
    sim.rotate("root");
    other.rotate("root");
    for by in ROUTES {
        let mut device = Device::new(&sim, by);
        let mut state = device.state();
        state.root = text(&other.roots[1]);
        device.persist(&state);
        assert_eq!(device.refused(&other), code(Stage::Freshness, "wrong-binding"));
    }
}

#[test]
fn changed_files_are_refused_by_their_digests() {
    let mut sim = Simulator::new();
    let release = sim.releases[0].clone();
    let at = assay_schema::tuf::consistent_target(&release.path, &sha256(&release.manifest));
    sim.targets.get_mut(&at).unwrap()[20] ^= 1;
    let mut device = Device::new(&sim, By::Static);
    assert_eq!(device.refused(&sim), code(Stage::Release, "digest-mismatch"));

    // In a bundle a changed manifest is none: it is asked for by its path.
    sim.releases[0].manifest[20] ^= 1;
    let mut device = Device::new(&sim, By::Bundle);
    assert_eq!(device.refused(&sim), code(Stage::Release, "digest-mismatch"));
    assert_eq!(device.requests.len(), 2);

    let mut sim = Simulator::new();
    let signature = sim.releases[0].attestations[0];
    sim.blobs.get_mut(&signature).unwrap()[20] ^= 1;
    for by in ROUTES {
        assert_eq!(
            Device::new(&sim, by).refused(&sim),
            code(Stage::Provenance, "digest-mismatch")
        );
    }
}

#[test]
fn a_file_other_than_the_one_that_is_pinned_is_refused() {
    for (role, stage) in &ROLES[1..] {
        let mut sim = Simulator::new();
        // White space: the signatures still are right, the hash is not.
        let mut bytes = sim.current[*role].clone();
        bytes.push(b' ');
        bytes.rotate_right(1);
        bytes.pop();
        sim.put(role, bytes);
        let mut device = Device::new(&sim, By::Static);
        assert_eq!(device.refused(&sim), code(*stage, "digest-mismatch"), "{role}");
        assert_eq!(
            Device::new(&sim, By::Bundle).refused(&sim),
            code(*stage, "digest-mismatch")
        );
    }
}

#[test]
fn metadata_without_pinned_hashes_is_refused() {
    for (role, file) in [("snapshot", "targets.json"), ("timestamp", "snapshot.json")] {
        for field in ["hashes", "length"] {
            let mut sim = Simulator::new();
            sim.signed.get_mut(role).unwrap()["meta"][file]
                .as_object_mut()
                .unwrap()
                .remove(field);
            sim.bump(role);
            if role == "snapshot" {
                sim.next_timestamp();
            }
            for by in ROUTES {
                assert_eq!(
                    Device::new(&sim, by).refused(&sim),
                    code(Stage::Freshness, "malformed")
                );
            }
        }
    }
}

#[test]
fn withheld_files_refuse_and_change_nothing() {
    let sim = Simulator::new();
    for by in ROUTES {
        let mut device = Device::new(&sim, by);
        device.permitted(&sim);
        let (disk, all) = (device.disk.clone(), device.requests.len());
        device.cached = None;
        for n in 0..all {
            for answer in [
                Answer::Missing,
                Answer::NotModified,
                Answer::Failed { reason: "503".into() },
            ] {
                let mut count = 0;
                let checked = device.check_with(sim.now, |fetch| {
                    count += 1;
                    let optional = matches!(&fetch.resource, Resource::Bundle { .. })
                        || matches!(&fetch.resource, Resource::Metadata { file } if file.ends_with("root.json"));
                    match count == n + 1 && !(optional && answer == Answer::Missing) {
                        true => answer.clone(),
                        false => sim.serve(fetch),
                    }
                });
                if count <= n || matches!(checked, assay_verifier::Checked::Permitted(_)) {
                    continue;
                }
                assert_eq!(refuse(checked).1, "unavailable");
                assert_eq!(device.disk, disk);
            }
        }
    }
}

#[test]
fn x_assay_of_a_role_must_be_there() {
    for (role, stage) in ROLES {
        let mut sim = Simulator::new();
        sim.signed
            .get_mut(role)
            .unwrap()
            .as_object_mut()
            .unwrap()
            .remove(FIELD);
        match role {
            "timestamp" => sim.next_timestamp(),
            "snapshot" => sim.publish(),
            role => {
                sim.bump(role);
                sim.publish();
            }
        }
        for by in ROUTES {
            assert_eq!(
                Device::new(&sim, by).refused(&sim),
                code(stage, "wrong-binding"),
                "{role}"
            );
        }
    }
}
