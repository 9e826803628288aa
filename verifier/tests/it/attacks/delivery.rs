//! Attacks on the way: mixtures, floods, gaps, strangers' files, mirrors.

use assay_schema::bundle::BundleDifference;
use assay_schema::{Stage, limits};
use assay_verifier::provenance::sha256;
use assay_verifier::{Answer, Checked, Content, PresentFile, Resource};
use serde_json::{Value, json};

use super::{Heals, Scene, vectors};
use crate::content::{approved, driver, files, present};
use crate::support::*;

const MODEL_ROLE: &str = "model.minilm.0";

#[test]
pub(super) fn mix_and_match() {
    for by in ROUTES {
        let mut scene = Scene::new(by);
        let old = scene.honest.clone();
        scene.honest.bump("targets");
        scene.honest.release(draft("1.1.0", 2));
        for (role, stage) in [
            ("targets", Stage::Freshness),
            (MODEL_ROLE, Stage::Release),
            ("snapshot", Stage::Freshness),
        ] {
            let mut mixed = scene.honest.clone();
            mixed.put(role, old.current[role].clone());
            let what = format!("an old {role} with what names a new one");
            scene.refuses(&what, &mixed, (stage, "digest-mismatch"), Heals::AtOnce);
        }
    }
    // A difference on a base that the device does not have gives bytes that nobody signed: they count as not sent.
    let mut scene = Scene::new(By::Bundle);
    let mut other = scene.honest.clone();
    other.release(draft("0.9.0", 2));
    scene.honest.release(draft("1.1.0", 2));
    let elsewhere = Scene::of(other, By::Bundle);
    let wrong = elsewhere.device.cached.clone().unwrap();
    let bases: Value = serde_json::from_slice(&wrong.bytes).unwrap();
    scene.device.cached = Some(wrong);
    assert!(bases["targets"].is_string());
    let served = |fetch: &assay_verifier::Fetch| match &fetch.resource {
        Resource::Bundle { .. } => scene.honest.serve(fetch),
        _ => Answer::Missing,
    };
    let whole = (Stage::Release, "unavailable");
    let what = "a difference on another base, and nothing else";
    scene.refuses_answers(what, scene.honest.now, served, whole, Heals::AtOnce);
    scene.permits(
        "a difference on another base, and the files",
        &scene.honest,
        "1.1.0",
    );
}

#[test]
pub(super) fn endless_data() {
    for by in ROUTES {
        let mut scene = Scene::new(by);
        scene.honest.release(draft("1.1.0", 2));
        let mut counting = scene.device.clone();
        counting.permitted(&scene.honest);
        for n in 1..=counting.requests.len() {
            let mut count = 0;
            let long = |fetch: &assay_verifier::Fetch| {
                count += 1;
                match count == n {
                    true => Answer::Found {
                        bytes: vec![b' '; fetch.max as usize + 1],
                        etag: None,
                    },
                    false => scene.honest.serve(fetch),
                }
            };
            let mut device = scene.device.clone();
            let checked = vectors::recorded(
                &format!("request {n} without end"),
                &mut device,
                scene.honest.now,
                long,
            );
            assert_eq!(refuse(checked).1, "unavailable", "{by:?} request {n}");
            device.permitted(&scene.honest);
        }
    }
    // Roots without end, each of them right: a run follows so many, keeps them, and the next one goes on.
    let mut honest = Simulator::new();
    let mut device = Device::new(&honest, By::Static);
    for _ in 0..=limits::MAX_ROOT_ROTATIONS {
        let keys = honest.keys["root"].clone();
        honest.sign_root(&keys);
    }
    let checked = device.check_with(honest.now, |fetch| match fetch.resource {
        Resource::Metadata { ref file } if file == "timestamp.json" => Answer::Missing,
        _ => honest.serve(fetch),
    });
    assert_eq!(refuse(checked), code(Stage::Freshness, "unavailable"));
    assert_eq!(
        device.requests.len() as u64,
        u64::from(limits::MAX_ROOT_ROTATIONS) + 1
    );
    device.permitted(&honest);
    // Delegations without end.
    crate::volume::a_search_through_many_roles_is_bounded();
}

#[test]
pub(super) fn extraneous_files() {
    let (sim, approved) = approved(files());
    for stranger in ["c/long-00002-of-00002", "adapter_model.safetensors", ".hidden"] {
        let mut listing = present(&approved);
        listing.push(PresentFile {
            path: stranger.into(),
            size: 3,
        });
        let mut driver = driver(&sim);
        driver.files = files().into_iter().map(|(_, b)| b).enumerate().collect();
        let verdict = driver.run(&mut Content::verify(approved.clone(), &listing), |_| 0);
        assert_eq!(
            decided(&verdict),
            code(Stage::Content, "extraneous-file"),
            "{stranger}"
        );
        assert!(driver.steps.is_empty());
    }
}

#[test]
pub(super) fn wrong_software() {
    type Change = fn(&mut Value);
    let changes: [(&str, Change); 4] = [
        ("another version", |m| m["version"] = json!("9.9.9")),
        ("another model", |m| m["model"] = json!("other")),
        ("another order", |m| m["order"]["counter"] = json!(7)),
        ("another namespace", |m| {
            m["namespace"] = json!(sha256(b"another namespace"))
        }),
    ];
    for by in ROUTES {
        let mut scene = Scene::new(by);
        scene.honest.release(draft("1.1.0", 2));
        for (what, change) in changes {
            let mut evil = scene.honest.clone();
            evil.replace_manifest(change);
            let what = format!("the manifest of {what}");
            scene.refuses(&what, &evil, (Stage::Release, "wrong-release"), Heals::ByRotation);
        }
        // The right file of another release on the path of the one that was asked for.
        let mut evil = scene.honest.clone();
        let path = |release: &simulator::Release| {
            assay_schema::tuf::consistent_target(&release.path, &sha256(&release.manifest))
        };
        let (old, new) = (evil.releases[0].clone(), evil.releases[1].clone());
        evil.targets.insert(path(&new), old.manifest.clone());
        evil.releases[1].manifest = old.manifest;
        scene.refuses(
            "another release's file",
            &evil,
            (Stage::Release, "digest-mismatch"),
            Heals::AtOnce,
        );
    }
}

#[test]
pub(super) fn malicious_mirror() {
    for by in ROUTES {
        let mut scene = Scene::new(by);
        scene.honest.release(draft("1.1.0", 2));
        let mut bad = scene.honest.clone();
        bad.bundles = false;
        for file in bad.targets.values_mut() {
            file[5] ^= 1;
        }
        let mut device = scene.device.clone();
        let checked = vectors::recorded("a mirror of damaged files", &mut device, bad.now, |fetch| {
            bad.serve(fetch)
        });
        assert_eq!(refuse(checked), code(Stage::Release, "digest-mismatch"));
        // The other mirror has no bundles, either.
        let mut good = scene.honest.clone();
        good.bundles = false;
        assert_eq!(device.permitted(&good).manifest().version, version("1.1.0"));
    }
}

#[test]
pub(super) fn partial_bundle() {
    for by in ROUTES {
        let mut scene = Scene::new(by);
        scene.honest.release(draft("1.1.0", 2));
        let mut all = scene.device.clone();
        all.permitted(&scene.honest);
        for n in 1..=all.requests.len() {
            let mut device = scene.device.clone();
            let mut count = 0;
            let blocked = |fetch: &assay_verifier::Fetch| {
                count += 1;
                match count == n {
                    true => Answer::Failed {
                        reason: "connection reset".into(),
                    },
                    false => scene.honest.serve(fetch),
                }
            };
            let what = format!("request {n} blocked");
            let checked = vectors::recorded(&what, &mut device, scene.honest.now, blocked);
            assert_eq!(refuse(checked).1, "unavailable", "{by:?} request {n}");
            no_rollback(&scene.device.state(), &device.state());
            device.permitted(&scene.honest);
        }
    }
    // A bundle that lacks a part, while the part's own path is blocked.
    let mut scene = Scene::new(By::Bundle);
    scene.honest.release(draft("1.1.0", 2));
    type Cut = fn(&mut BundleDifference);
    let cuts: [(Cut, Stage); 5] = [
        (
            |b| b.snapshot = assay_schema::difference::Part::Whole(String::new()),
            Stage::Freshness,
        ),
        (
            |b| b.targets = assay_schema::difference::Part::Whole(String::new()),
            Stage::Freshness,
        ),
        (|b| b.delegated.clear(), Stage::Release),
        (|b| drop(b.blobs.remove(0)), Stage::Release),
        (|b| b.blobs.truncate(1), Stage::Provenance),
    ];
    for (cut, stage) in cuts {
        let mut device = scene.device.clone();
        let partial = |fetch: &assay_verifier::Fetch| match (&fetch.resource, scene.honest.serve(fetch)) {
            (Resource::Bundle { .. }, Answer::Found { bytes, etag }) => {
                let mut bundle: BundleDifference = serde_json::from_slice(&bytes).unwrap();
                cut(&mut bundle);
                Answer::Found {
                    bytes: serde_json::to_vec(&bundle).unwrap(),
                    etag,
                }
            }
            _ => Answer::Missing,
        };
        let what = format!("a bundle without its part of stage {stage}");
        let checked = vectors::recorded(&what, &mut device, scene.honest.now, partial);
        assert_eq!(refuse(checked), code(stage, "unavailable"));
        device.permitted(&scene.honest);
    }
    // One blob of the content: nothing is sealed, nothing activated.
    let (mut sim, approved) = approved(files());
    for file in approved.manifest().files.clone() {
        let Some(blob) = sim.blobs.remove(&file.sha256) else {
            continue;
        };
        let mut driver = driver(&sim);
        let verdict = driver.run(&mut Content::pull(approved.clone(), &[]), |_| 0);
        if file.size > 0 {
            assert_eq!(
                decided(&verdict),
                code(Stage::Content, "unavailable"),
                "{}",
                file.path
            );
            assert!(driver.steps.is_empty(), "{:?}", driver.steps);
        }
        sim.blobs.insert(file.sha256, blob);
    }
}

#[test]
pub(super) fn drop_and_retry() {
    // The registry answers 5xx, in turn, at every request: the state that is active stays, and the check ends.
    for by in ROUTES {
        let mut scene = Scene::new(by);
        scene.honest.release(draft("1.1.0", 2));
        let mut device = scene.device.clone();
        let down = |_: &assay_verifier::Fetch| Answer::Failed {
            reason: "503 Service Unavailable".into(),
        };
        let checked = vectors::recorded("a registry that is down", &mut device, scene.honest.now, down);
        assert!(matches!(checked, Checked::Refused(_)));
        assert_eq!(device.disk, scene.device.disk, "nothing was forgotten");
        device.permitted(&scene.honest);
    }
}
