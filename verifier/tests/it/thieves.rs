//! What a thief gains (`ARCHITECTURE.md`), row by row: what he can do succeeds here, and what he cannot is refused. The simulator's
//! state is what he copies; its keys are those that he holds.

use std::collections::BTreeMap;

use assay_schema::log::LogTrust;
use assay_schema::tuf::ModelRole;
use assay_schema::{Outcome, Stage};
use assay_verifier::provenance::sha256;
use assay_verifier::{Answer, Content, DeviceState};
use serde_json::json;

use crate::support::driver::Driver;
use crate::support::keys::new_signer;
use crate::support::testlog::{self, TestLog, Witness};
use crate::support::*;

const MODEL_ROLE: &str = "model.minilm.0";

/// A namespace and a device that has activated 1.0.0.
fn activated(by: By) -> (Simulator, Device) {
    let sim = Simulator::new();
    let mut device = Device::new(&sim, by);
    let approved = device.permitted(&sim);
    device.activate(&approved);
    (sim, device)
}

/// A copy of what a registry serves, by somebody who holds the keys of these roles and makes up the others.
fn copied(sim: &Simulator, holds: &[&str]) -> Simulator {
    let mut thief = sim.clone();
    for (role, keys) in &mut thief.keys {
        if !holds.contains(&role.as_str()) {
            *keys = keys.iter().map(|_| new_key()).collect();
        }
    }
    if !holds.contains(&"signer") {
        thief.signer = new_signer();
    }
    thief
}

/// A namespace in a log whose witnesses are all demanded, and a device that has checked it.
fn witnessed(by: By, witnesses: usize) -> (Simulator, TestLog, Device) {
    let mut sim = Simulator::new();
    let mut log = TestLog::new();
    for n in 0..witnesses {
        log.witnesses
            .push(Witness::new(&format!("w{n}.example"), sim.now));
    }
    log.witnessed_by(&mut sim, witnesses as u32);
    log.root_logged(&sim);
    log.logged(&sim);
    let mut device = Device::new(&sim, by);
    permit(testlog::check(&mut device, &sim, &log));
    (sim, log, device)
}

#[test]
fn the_registrys_disk_lets_its_thief_damage_and_delete() {
    // He can read what is stored; what he damages or deletes, devices refuse or do not get.
    let mut sim = Simulator::new();
    sim.release(draft("1.1.0", 2));
    let stored: Vec<_> = sim.blobs.keys().copied().collect();
    let approved = Device::new(&sim, By::Bundle).permitted(&sim);
    let files: BTreeMap<_, _> = approved
        .manifest()
        .files
        .iter()
        .map(|f| (f.sha256, f.path.clone()))
        .collect();
    assert!(
        stored.iter().any(|digest| files.contains_key(digest)),
        "files lie open"
    );
    for digest in stored {
        for damaged in [true, false] {
            let mut thief = sim.clone();
            match damaged {
                true => thief.blobs.get_mut(&digest).unwrap()[0] ^= 1,
                false => drop(thief.blobs.remove(&digest)),
            }
            let mut driver = Driver {
                blobs: thief.blobs.clone(),
                ..Driver::default()
            };
            let verdict = driver.run(&mut Content::pull((*approved).clone(), &[]), |_| 0);
            match verdict.outcome {
                Outcome::Permit => assert!(!files.contains_key(&digest), "what was damaged was not needed"),
                _ => assert_eq!(decided(&verdict).0, Stage::Content),
            }
            for (n, file) in approved.manifest().files.iter().enumerate() {
                if let Some(bytes) = driver.files.get(&n) {
                    assert_eq!(
                        sha256(bytes),
                        file.sha256,
                        "not one byte of {} is another",
                        file.path
                    );
                }
            }
        }
    }
}

#[test]
fn the_online_keys_let_their_thief_freeze_and_hide() {
    for by in ROUTES {
        let (sim, device) = activated(by);
        let mut newer = sim.clone();
        newer.release(draft("1.1.0", 2));
        // He can freeze a device, and hide what it has not seen, for as long as the offline roles' files last.
        let mut thief = copied(&sim, &["snapshot", "timestamp"]);
        let mut frozen = device.clone();
        for days in [20, 100, 179] {
            thief.now = after_days(sim.now, days);
            thief.publish();
            assert_eq!(frozen.permitted(&thief).manifest().version, version("1.0.0"));
        }
        thief.now = after_days(sim.now, 181);
        thief.publish();
        assert_eq!(frozen.refused(&thief), code(Stage::Freshness, "expired"));
        // With version numbers far ahead that lasts until the root names other online keys.
        let mut thief = copied(&sim, &["snapshot", "timestamp"]);
        thief.signed.get_mut("timestamp").unwrap()["version"] = json!(9_000_000_000_000_000_u64);
        thief.publish();
        let mut ahead = device.clone();
        ahead.permitted(&thief);
        assert_eq!(ahead.refused(&newer), code(Stage::Freshness, "rollback"));
        newer.rotate("timestamp");
        assert_eq!(ahead.permitted(&newer).manifest().version, version("1.1.0"));
        // He cannot add, replace or bring back.
        let mut seen = device.clone();
        seen.permitted(&newer);
        let mut adds = copied(&newer, &["snapshot", "timestamp"]);
        adds.release(draft("9.9.9", 9));
        assert_eq!(
            seen.clone().refused(&adds),
            code(Stage::Release, "signature-threshold")
        );
        let mut replaces = copied(&newer, &["snapshot", "timestamp"]);
        replaces.replace_manifest(|m| m["files"][0]["sha256"] = json!(sha256(b"mine")));
        assert_eq!(
            seen.clone().refused(&replaces),
            code(Stage::Release, "signature-threshold")
        );
        let mut brings_back = copied(&newer, &["snapshot", "timestamp"]);
        brings_back
            .signed
            .insert(MODEL_ROLE.into(), sim.signed[MODEL_ROLE].clone());
        brings_back.put(MODEL_ROLE, sim.current[MODEL_ROLE].clone());
        brings_back.publish();
        assert_eq!(seen.refused(&brings_back), code(Stage::Freshness, "rollback"));
    }
}

#[test]
fn the_log_key_lets_its_thief_split_devices_that_demand_no_witnesses() {
    for by in ROUTES {
        let (sim, log, device) = witnessed(by, 0);
        let mut views = Vec::new();
        for n in 0..2 {
            let mut view = sim.clone();
            (0..=n).for_each(|_| view.publish());
            let mut branch = log.clone();
            branch.logged(&view);
            let mut device = device.clone();
            let verdict = permit(testlog::check(&mut device, &view, &branch)).verdict();
            assert!(verdict.stage(Stage::Log).unwrap().evidence["split_view"].contains("not excluded"));
            views.push((device, branch));
        }
        // Devices that compare their checkpoints find that out: one size, two roots, both signed by the log.
        let heads: Vec<_> = views
            .iter()
            .map(|(device, _)| device.state().log.unwrap().head)
            .collect();
        assert_eq!(heads[0].size, heads[1].size);
        assert_ne!(heads[0], heads[1]);
        // He cannot show it to those who demand a witness, nor make anybody install what the authority did not sign.
        let (sim, log, mut device) = witnessed(by, 1);
        let mut view = copied(&sim, &["snapshot", "timestamp"]);
        view.publish();
        let mut branch = log.clone();
        branch.witnesses.clear();
        branch.logged(&view);
        assert_eq!(
            refuse(testlog::check(&mut device, &view, &branch)),
            code(Stage::Log, "too-few-witnesses")
        );
        view.release(draft("9.9.9", 9));
        branch.logged(&view);
        assert_eq!(
            refuse(testlog::check(&mut device, &view, &branch)),
            code(Stage::Release, "signature-threshold")
        );
    }
}

#[test]
fn retired_root_keys_let_their_thief_fork_in_the_open_only() {
    for by in ROUTES {
        let (mut sim, mut log, mut device) = witnessed(by, 1);
        let before = sim.clone();
        sim.rotate("root");
        let mut fork = before.clone();
        fork.rotate("root");
        fork.rotate("targets");
        // In a log that everybody sees, a device that was away follows it.
        let mut public = log.clone();
        public.root_logged(&fork);
        public.logged(&fork);
        let mut away = device.clone();
        permit(testlog::check(&mut away, &fork, &public));
        // So does a new device that knows the identity alone.
        let mut own = TestLog::named("log.example/thief", new_key());
        let mut secret = fork.clone();
        own.named_by(&mut secret, &[], 0);
        own.root_logged(&secret);
        own.logged(&secret);
        permit(testlog::check(&mut Device::new(&before, by), &secret, &own));
        // He cannot do it in secret, where a log is followed or pinned, or the least root is.
        assert_eq!(
            refuse(testlog::check(&mut device, &secret, &own)),
            code(Stage::Log, "root-not-in-log")
        );
        let mut pinned = Device::new(&before, by);
        pinned.pin.terms.log = Some(LogTrust {
            v: 1,
            log: log.public.to_string(),
            witnesses: vec![log.witnesses[0].public.to_string()],
            threshold: 1,
        });
        assert_eq!(refuse(testlog::check(&mut pinned, &secret, &own)).0, Stage::Log);
        log.root_logged(&sim);
        log.logged(&sim);
        permit(testlog::check(&mut device, &sim, &log));

        // Nor with keys that a status revoked.
        let mut sim = Simulator::new();
        let revoked: Vec<String> = sim.keys["root"].iter().map(|k| k.key_id().unwrap()).collect();
        sim.status(&json!({"v": 1, "issued": "2026-12-01T00:00:00Z", "revoked_keys": revoked}));
        let mut told = Device::new(&sim, by);
        told.permitted(&sim);
        sim.rotate("root");
        assert_eq!(told.refused(&sim), code(Stage::TrustRoot, "revoked-key"));
    }
}

#[test]
fn a_publishers_key_at_its_threshold_lets_its_thief_publish_releases_of_that_model() {
    for by in ROUTES {
        let (sim, device) = activated(by);
        let online = ["snapshot", "timestamp", "model"];
        // He can publish a release of this model, if he holds its signer's key, too.
        let mut thief = copied(&sim, &[&online[..], &["signer"]].concat());
        thief.release(draft("6.6.6", 66));
        assert_eq!(
            device.clone().permitted(&thief).manifest().version,
            version("6.6.6")
        );
        // Without that key nobody takes it for the signer's.
        let mut thief = copied(&sim, &online);
        thief.release(draft("6.6.6", 66));
        assert_eq!(device.clone().refused(&thief).0, Stage::Provenance);
        // He cannot replace a release, raise the epoch, touch another block or another model.
        let mut thief = copied(&sim, &online);
        thief.replace_manifest(|m| m["files"][0]["sha256"] = json!(sha256(b"mine")));
        assert_eq!(
            device.clone().refused(&thief),
            code(Stage::Release, "release-replaced")
        );
        let mut thief = copied(&sim, &online);
        let mut epoch = draft("6.6.6", 66);
        epoch.order = (2, 66);
        thief.release(epoch);
        assert_eq!(device.clone().refused(&thief), code(Stage::Release, "malformed"));
        let mut thief = copied(&sim, &online);
        thief.release(draft("6.6.6", 166));
        assert_eq!(
            device.clone().refused(&thief),
            code(Stage::Freshness, "signature-threshold")
        );
        let mut thief = copied(&sim, &online);
        thief.edit(MODEL_ROLE, |signed| {
            signed["targets"]["models/other/0/1.0.0.json"] =
                signed["targets"]["models/minilm/0/1.0.0.json"].clone();
        });
        assert_eq!(
            device.clone().permitted(&thief).manifest().version,
            version("1.0.0")
        );
    }
}

#[test]
fn the_targets_keys_at_their_threshold_let_their_thief_delegate_until_the_root_names_others() {
    for by in ROUTES {
        let (sim, device) = activated(by);
        let mut thief = copied(&sim, &["snapshot", "timestamp", "targets"]);
        let signer = thief.signer.clone();
        thief.allow(&[("Mallory", &signer)]);
        thief.delegate(
            &ModelRole {
                model: model(),
                block: 0,
            },
            9,
        );
        let mut release = draft("6.6.6", 66);
        release.order = (9, 66);
        thief.release(release);
        let mut taken = device.clone();
        assert_eq!(taken.permitted(&thief).manifest().order.epoch(), 9);
        // A rotation by the root ends it.
        let mut honest = sim.clone();
        honest.rotate("targets");
        honest.rotate("timestamp");
        taken.permitted(&honest);
        thief.roots = honest.roots.clone();
        thief
            .metadata
            .extend((1..=3).map(|n| (format!("{n}.root.json"), honest.roots[n - 1].clone())));
        thief
            .keys
            .insert("timestamp".into(), honest.keys["timestamp"].clone());
        thief.publish();
        assert_eq!(
            taken.refused(&thief),
            code(Stage::Freshness, "signature-threshold")
        );
    }
}

#[test]
fn the_root_keys_at_their_threshold_give_their_thief_this_namespace_and_no_other() {
    for by in ROUTES {
        let (sim, mut device) = activated(by);
        let other = Simulator::new();
        let mut thief = copied(&sim, &["root"]);
        let roots = thief.keys["root"].clone();
        thief.list_root_keys();
        thief.sign_root(&roots);
        thief.bump("targets");
        let signer = thief.signer.clone();
        thief.delegate(
            &ModelRole {
                model: model(),
                block: 0,
            },
            1,
        );
        thief.allow(&[("Mallory", &signer)]);
        thief.release(draft("6.6.6", 66));
        assert_eq!(device.permitted(&thief).manifest().version, version("6.6.6"));
        let mut elsewhere = Device::new(&other, by);
        assert_eq!(elsewhere.refused(&thief).0, Stage::TrustRoot);
        elsewhere.permitted(&other);
    }
}

#[test]
fn a_devices_store_gives_its_thief_that_device_and_no_other() {
    for by in ROUTES {
        let mut sim = Simulator::new();
        let old = sim.clone();
        sim.release(draft("1.1.0", 2));
        let mut mine = Device::new(&sim, by);
        mine.permitted(&sim);
        let mut others = mine.clone();
        // Whoever writes to the store forgets its floors.
        let first = DeviceState::first(&mine.pin, &sim.roots[0]).unwrap();
        mine.persist(&first);
        mine.cached = None;
        mine.permitted(&old);
        assert_eq!(others.refused(&old), code(Stage::Freshness, "rollback"));
        // Not even there does he bring in what no key signed.
        let mut forged = copied(&sim, &[]);
        forged.publish();
        assert_eq!(
            mine.refused(&forged),
            code(Stage::Freshness, "signature-threshold")
        );
    }
}

#[test]
fn a_witnesss_folder_gives_its_thief_nothing_below_the_threshold() {
    for by in ROUTES {
        // One of two demanded, with the log's key and the online keys: no split.
        let (sim, log, device) = witnessed(by, 2);
        let mut view = copied(&sim, &["snapshot", "timestamp"]);
        view.publish();
        let mut branch = log.clone();
        branch.witnesses.truncate(1);
        branch.logged(&view);
        let mut below = device.clone();
        assert_eq!(
            refuse(testlog::check(&mut below, &view, &branch)),
            code(Stage::Log, "too-few-witnesses")
        );
        assert_eq!(below.state().time_floor, device.state().time_floor);
        // At the threshold: split views, and a time floor as high as the first expiry of what the device accepts.
        let mut branch = log.clone();
        branch
            .witnesses
            .iter_mut()
            .for_each(|w| w.time = after_days(view.now, 9_000));
        branch.logged(&view);
        let mut split = device.clone();
        refuse(testlog::check(&mut split, &view, &branch));
        assert_eq!(split.state().time_floor, Some(after_days(view.now, 1)));
        branch.witnesses.iter_mut().for_each(|w| w.time = view.now);
        permit(testlog::check(&mut device.clone(), &view, &branch));
        // He signs no release, and what he cosigns is in no log without the log's key.
        let mut alone = TestLog::named("log.example/one", new_key());
        alone.entries = log.entries.clone();
        alone.witnesses = log.witnesses.clone();
        alone.logged(&view);
        assert_eq!(
            refuse(testlog::check(&mut device.clone(), &view, &alone)).0,
            Stage::Log
        );
        view.release(draft("9.9.9", 9));
        branch.logged(&view);
        assert_eq!(
            refuse(testlog::check(&mut device.clone(), &view, &branch)).0,
            Stage::Release
        );
    }
}

#[test]
fn a_mirror_or_the_network_lets_its_thief_withhold_and_replay() {
    for by in ROUTES {
        let (old, device) = activated(by);
        let mut sim = old.clone();
        sim.release(draft("1.1.0", 2));
        // He can withhold, and replay what is not yet expired to a device that has not seen more,
        let silent = device.clone().check_with(sim.now, |_| Answer::Failed {
            reason: "no answer".into(),
        });
        assert_eq!(refuse(silent).1, "unavailable");
        let mut behind = device.clone();
        let checked = behind.check_with(sim.now, |fetch| old.serve(fetch));
        assert_eq!(permit(checked).manifest().version, version("1.0.0"));
        // until it expires, or until the owner's `max_stale`.
        let checked = behind.check_with(after_days(sim.now, 1), |fetch| old.serve(fetch));
        assert_eq!(refuse(checked), code(Stage::Freshness, "expired"));
        let mut impatient = device.clone();
        impatient.pin.terms.max_stale = Some(jiff::SignedDuration::from_hours(6));
        let later = old.now.checked_add(jiff::SignedDuration::from_hours(7)).unwrap();
        let checked = impatient.check_with(later, |fetch| old.serve(fetch));
        assert_eq!(refuse(checked), code(Stage::Freshness, "stale"));
        // Everything else he cannot: what he changes is found, each file in turn.
        let mut fetched = device.clone();
        fetched.permitted(&sim);
        for n in 1..=fetched.requests.len() {
            let mut count = 0;
            let checked = device.clone().check_with(sim.now, |fetch| {
                count += 1;
                let answer = sim.serve(fetch);
                match answer {
                    Answer::Found { bytes, etag } if count == n => {
                        // A digit of a version, digest or signature.
                        let at = bytes.iter().rposition(u8::is_ascii_hexdigit).unwrap();
                        let mut bytes = bytes;
                        bytes[at] = if bytes[at] == b'0' { b'1' } else { b'0' };
                        Answer::Found { bytes, etag }
                    }
                    other => other,
                }
            });
            if let assay_verifier::Checked::Permitted(approved) = checked {
                assert_eq!(
                    sha256(approved.manifest_bytes()),
                    sha256(&sim.releases[1].manifest)
                );
            }
        }
    }
}

#[test]
fn a_devices_clock_lets_its_thief_replay_as_far_as_the_time_floor() {
    for by in ROUTES {
        let (sim, mut log, mut device) = witnessed(by, 1);
        let mut later = sim.clone();
        later.now = after_days(sim.now, 3);
        later.publish();
        log.logged(&later);
        log.witnesses.iter_mut().for_each(|w| w.time = later.now);
        permit(testlog::check(&mut device, &later, &log));
        // Set forward, it stops the device until it is right.
        let ahead = device.check_with(after_days(later.now, 9_000), |fetch| log.serve(&later, fetch));
        assert_eq!(refuse(ahead).1, "expired");
        permit(testlog::check(&mut device, &later, &log));
        // Set back, it replays what expired after the floor,
        let expired = after_days(later.now, 2);
        let honest = device
            .clone()
            .check_with(expired, |fetch| log.serve(&later, fetch));
        assert_eq!(refuse(honest), code(Stage::Freshness, "expired"));
        permit(
            device
                .clone()
                .check_with(later.now, |fetch| log.serve(&later, fetch)),
        );
        // and nothing that had expired by then.
        let mut thief = sim.clone();
        thief
            .signed
            .insert("snapshot".into(), later.signed["snapshot"].clone());
        thief
            .signed
            .insert("timestamp".into(), later.signed["timestamp"].clone());
        thief.publish();
        log.logged(&thief);
        let back = device.check_with(sim.now, |fetch| log.serve(&thief, fetch));
        assert_eq!(refuse(back), code(Stage::Freshness, "expired"));
    }
}
