//! The real command against the real registry: rotations, key holders, publishers, and the journal.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod support;

use std::path::Path;

use serde_json::Value;
use support::exit::{CONFLICT, DENIED, DONE, FAILED, REFUSED};
use support::{Ran, World};

/// Runs the command with another folder of keys.
fn with(world: &World, folder: &str, args: &[&str]) -> Ran {
    world.run_with(&[("ASSAY_AUTHORITY", Some(folder))], args)
}

/// A folder of new keys that belongs to the namespace.
fn holder(world: &World, name: &str) -> String {
    let folder = world.at(name);
    world.run(["keygen", &folder]).exits(DONE);
    join(world, &folder);
    folder
}

fn join(world: &World, folder: &str) {
    let args = ["namespace", "join", "acme", "--fingerprint", &world.fingerprint];
    with(world, folder, &args).exits(DONE);
}

fn copy(from: &str, to: &str) {
    std::fs::copy(from, to).unwrap();
}

fn root(world: &World) -> Value {
    world.run(["root", "show", "acme", "--json"]).exits(DONE).json()
}

/// The ids of a top-level role's keys.
fn ids(root: &Value, role: &str) -> Vec<String> {
    let roles = root["roles"].as_array().unwrap();
    let role = roles.iter().find(|r| r["role"] == role).unwrap();
    let keys = role["keys"].as_array().unwrap();
    keys.iter()
        .map(|k| k["id"].as_str().unwrap().to_owned())
        .collect()
}

fn journal(folder: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(Path::new(folder).join("signed.jsonl")).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn a_root_key_changes_hands_and_the_retired_one_signs_nothing_any_more() {
    let world = World::new();
    let model = world.model("model", 1);
    world.run(["publish", &model, "acme/minilm@1.0.0"]).exits(DONE);
    world.run(["check", "acme/minilm"]).exits(DONE);
    let old = ids(&root(&world), "root").remove(0);
    let other = holder(&world, "other");
    let (pem, public) = (format!("{other}/root.pem"), format!("{other}/root.pem.pub"));

    // Nobody was asked, so nothing is signed.
    let args = [
        "root",
        "rotate",
        "acme",
        "--add-root-key",
        &public,
        "--remove-key",
        &old,
    ];
    let unasked = world.run(args).exits(DENIED);
    assert!(
        unasked.err.contains(&format!("root: removes ed25519 key {old}")),
        "{unasked:?}"
    );
    assert_eq!(root(&world)["version"], 1);
    let signed = journal(&world.at("authority"));
    assert!(signed.iter().all(|e| e["role"] != "root" || e["version"] == 1));

    // The new key must sign, too: one folder alone is not enough.
    let half = world
        .run([
            "root",
            "rotate",
            "acme",
            "--add-root-key",
            &public,
            "--remove-key",
            &old,
            "--yes",
        ])
        .exits(DONE);
    assert!(half.out.contains("root keys of version 2"), "{half:?}");
    assert_eq!(root(&world)["version"], 1);
    copy(&pem, &world.at("authority/root-2.pem"));
    let rotated = world
        .run([
            "root",
            "rotate",
            "acme",
            "--add-root-key",
            &public,
            "--remove-key",
            &old,
            "--yes",
            "--json",
        ])
        .exits(DONE)
        .json();
    assert_eq!(rotated["roles"]["root"]["version"], 2);
    let now = root(&world);
    assert_eq!(now["version"], 2);
    assert!(!ids(&now, "root").contains(&old));

    // The device follows; what it had stays usable.
    world.run(["check", "acme/minilm"]).exits(DONE);
    world.run(["check", "acme/minilm", "--static"]).exits(DONE);
    std::fs::remove_file(world.at("authority/root-2.pem")).unwrap();
    let retired = world
        .run(["root", "rotate", "acme", "--renew", "--yes", "--json"])
        .exits(DONE);
    assert_eq!(retired.json()["published"], false);
    with(&world, &other, &["root", "rotate", "acme", "--renew", "--yes"]).exits(DONE);
    assert_eq!(root(&world)["version"], 3);
    world
        .run(["publish", &world.model("next", 2), "acme/minilm@1.1.0"])
        .exits(DONE);
    world.run(["update", "acme/minilm"]).exits(DONE);
}

#[test]
fn two_holders_of_root_keys_sign_one_proposal() {
    let world = World::new();
    let second = holder(&world, "second");
    copy(&format!("{second}/root.pem"), &world.at("authority/root-2.pem"));
    let public = format!("{second}/root.pem.pub");
    world
        .run([
            "root",
            "rotate",
            "acme",
            "--add-root-key",
            &public,
            "--root-threshold",
            "2",
            "--yes",
        ])
        .exits(DONE);
    std::fs::remove_file(world.at("authority/root-2.pem")).unwrap();

    let alone = world
        .run(["root", "rotate", "acme", "--renew", "--yes"])
        .exits(DONE);
    assert!(alone.out.contains("assay approve acme "), "{alone:?}");
    let file = world.at("proposal.json");
    // Neither somebody's file of a name that looks temporary nor what a link there points to is written over.
    let (notes, victim) = (world.at("proposal.new"), world.at("victim"));
    std::fs::write(&victim, "precious").unwrap();
    std::os::unix::fs::symlink(&victim, &notes).unwrap();
    let half = world
        .run([
            "root", "rotate", "acme", "--renew", "--yes", "--out", &file, "--json",
        ])
        .exits(DONE)
        .json();
    assert_eq!(half["published"], false);
    assert_eq!(root(&world)["version"], 2);
    assert_eq!(std::fs::read_to_string(&victim).unwrap(), "precious");
    assert!(std::fs::symlink_metadata(&notes).unwrap().is_symlink());
    assert!(std::fs::symlink_metadata(&file).unwrap().is_file());

    // A proposal that somebody changed on the way is shown for what it is, and what was signed before does not fit it.
    let honest = std::fs::read_to_string(&file).unwrap();
    let mut tampered: Value = serde_json::from_str(&honest).unwrap();
    let text = tampered["publication"]["roles"]["root"]["metadata"]
        .as_str()
        .unwrap();
    let mut metadata: Value = serde_json::from_str(text).unwrap();
    metadata["signed"]["roles"]["root"]["threshold"] = 1.into();
    tampered["publication"]["roles"]["root"]["metadata"] = metadata.to_string().into();
    let bad = world.at("tampered.json");
    std::fs::write(&bad, tampered.to_string()).unwrap();
    let other = with(&world, &second, &["approve", &bad, "--yes"]).exits(DONE);
    assert!(other.err.contains("threshold 2 of 2 -> 1 of 2"), "{other:?}");
    assert!(other.err.contains("it was left out"), "{other:?}");
    assert!(
        other.out.contains("1 of 2 root keys of version 2 signed"),
        "{other:?}"
    );
    // Its second body of version 3 needs a person's word.
    with(&world, &second, &["root", "sign", &file, "--yes"]).exits(CONFLICT);

    let done = with(
        &world,
        &second,
        &["root", "sign", &file, "--yes", "--sign-again", "--json"],
    );
    assert_eq!(done.exits(DONE).json()["published"], true);
    assert_eq!(root(&world)["version"], 3);
    // The very bodies stand: nothing is left to sign.
    let again = with(&world, &second, &["approve", &file, "--yes"]).exits(DONE);
    assert!(again.out.contains("published already: root 3"), "{again:?}");
    // The other one built on a root that is replaced now.
    let stale = with(&world, &second, &["approve", &bad, "--yes", "--sign-again"]).exits(CONFLICT);
    assert!(stale.err.contains("the root file that it replaces"), "{stale:?}");
}

#[test]
fn a_targets_key_is_replaced_with_the_file_that_it_signed() {
    let world = World::new();
    world
        .run(["publish", &world.model("model", 1), "acme/minilm@1.0.0"])
        .exits(DONE);
    let old = ids(&root(&world), "targets").remove(0);
    let other = holder(&world, "other");
    copy(
        &format!("{other}/targets.pem"),
        &world.at("authority/targets-2.pem"),
    );
    let public = format!("{other}/targets.pem.pub");
    let rotated = world
        .run([
            "root",
            "rotate",
            "acme",
            "--add-targets-key",
            &public,
            "--remove-key",
            &old[..8],
            "--yes",
            "--json",
        ])
        .exits(DONE)
        .json();
    assert!(
        rotated["roles"]["targets"]["version"].as_u64() >= Some(3),
        "{rotated}"
    );
    world.run(["check", "acme/minilm"]).exits(DONE);
    // The retired key still lies in the folder; another model's first block is delegated by the new one.
    world
        .run(["publish", &world.model("other-model", 2), "acme/other@1.0.0"])
        .exits(DONE);
    std::fs::remove_file(world.at("authority/targets-2.pem")).unwrap();
    let refused = world
        .run(["publish", &world.model("third", 3), "acme/third@1.0.0"])
        .exits(DENIED);
    assert!(refused.err.contains("has not delegated"), "{refused:?}");
}

#[test]
fn new_online_keys_take_over_and_devices_follow() {
    let world = World::new();
    world
        .run(["publish", &world.model("model", 1), "acme/minilm@1.0.0"])
        .exits(DONE);
    world.run(["pull", "acme/minilm"]).exits(DONE);
    let before = root(&world);
    world
        .run(["root", "rotate", "acme", "--online-keys", "--yes"])
        .exits(DONE);
    let after = root(&world);
    for role in ["snapshot", "timestamp"] {
        assert_ne!(ids(&before, role), ids(&after, role));
    }
    world.run(["check", "acme/minilm"]).exits(DONE);
    world
        .run(["publish", &world.model("next", 2), "acme/minilm@1.1.0"])
        .exits(DONE);
    world.run(["update", "acme/minilm"]).exits(DONE);
}

#[test]
fn a_publisher_without_the_targets_key_publishes_what_was_granted_until_it_is_revoked() {
    let world = World::new();
    world
        .run(["publish", &world.model("model", 1), "acme/minilm@1.0.0"])
        .exits(DONE);
    let ci = holder(&world, "ci");
    for file in ["root.pem", "targets.pem"] {
        std::fs::remove_file(Path::new(&ci).join(file)).unwrap();
    }
    // The permitted signer of the files is the authority's; who lists them is the role's business.
    copy(
        &world.at("authority/model-signing.pem"),
        &format!("{ci}/model-signing.pem"),
    );
    let next = world.model("next", 2);
    with(&world, &ci, &["publish", &next, "acme/minilm@1.1.0"]).exits(FAILED);

    let (own, public) = (
        world.at("authority/publisher.pem.pub"),
        format!("{ci}/publisher.pem.pub"),
    );
    world
        .run([
            "role",
            "grant",
            "acme/minilm",
            "--block",
            "0",
            "--key",
            &own,
            "--key",
            &public,
            "--yes",
        ])
        .exits(DONE);
    let granted = world
        .run(["role", "list", "acme/minilm", "--json"])
        .exits(DONE)
        .json();
    assert_eq!(granted["roles"][0]["keys"].as_array().unwrap().len(), 2);
    with(
        &world,
        &ci,
        &["publish", &next, "acme/minilm@1.1.0", "--sign-again"],
    )
    .exits(DONE);
    world.run(["pull", "acme/minilm@1.1.0"]).exits(DONE);

    let before = world
        .run(["role", "list", "acme/minilm", "--json"])
        .exits(DONE)
        .json();
    let keys: Vec<_> = before["roles"][0]["keys"].as_array().unwrap().iter().collect();
    let text = world.run(["root", "show", "acme"]).exits(DONE).out;
    assert!(keys.iter().all(|key| !text.contains(key.as_str().unwrap())));
    // Which of the two is the CI's: the one that alone signed the block's present file.
    let ci_key = granted_to(&world, &public);
    let revoked = world
        .run(["role", "revoke", "acme/minilm", &ci_key, "--yes", "--json"])
        .exits(DONE)
        .json();
    let shown = revoked["changes"].to_string();
    assert!(shown.contains("model.minilm.0: version 2 -> 3"), "{shown}");
    assert_eq!(revoked["roles"]["model.minilm.0"]["version"], 3);
    let refused = with(
        &world,
        &ci,
        &[
            "publish",
            &world.model("third", 3),
            "acme/minilm@1.2.0",
            "--sign-again",
        ],
    );
    refused.exits(FAILED);
    // What it published stays, signed by those who remain.
    world.run(["check", "acme/minilm@1.1.0"]).exits(DONE);
    world
        .run(["publish", &world.model("fourth", 4), "acme/minilm@1.2.0"])
        .exits(DONE);
    world.run(["update", "acme/minilm"]).exits(DONE);
    world
        .run(["role", "revoke", "acme/minilm", &ci_key, "--yes"])
        .exits(REFUSED);
}

#[test]
fn a_publishers_key_that_signed_with_another_is_taken_away_and_revoked_and_the_model_goes_on() {
    let world = World::new();
    let second = holder(&world, "second");
    let (own, public) = (
        world.at("authority/publisher.pem.pub"),
        format!("{second}/publisher.pem.pub"),
    );
    copy(
        &format!("{second}/publisher.pem"),
        &world.at("authority/publisher-2.pem"),
    );
    let grant = [
        "role",
        "grant",
        "acme/minilm",
        "--block",
        "0",
        "--key",
        &own,
        "--key",
        &public,
        "--yes",
    ];
    world.run(grant).exits(DONE);
    let model = world.model("model", 1);
    world.run(["publish", &model, "acme/minilm@1.0.0"]).exits(DONE);
    let keys = ["key", "add", &world.at("authority"), "--role", "status"];
    world.run(keys).exits(DONE);
    let status = world.at("authority/status.pem.pub");
    world
        .run(["status", "init", "acme", "--key", &status, "--yes"])
        .exits(DONE);
    let lost = granted_to(&world, &public);
    world
        .run(["role", "revoke", "acme/minilm", &lost, "--yes"])
        .exits(DONE);
    world
        .run(["status", "revoke", "acme", "--key-id", &lost, "--yes"])
        .exits(DONE);
    world.run(["check", "acme/minilm"]).exits(DONE);
    world.run(["pull", "acme/minilm"]).exits(DONE);
    world.run(["role", "renew", "acme/minilm", "--yes"]).exits(DONE);
    world.run(["namespace", "renew", "acme", "--yes"]).exits(DONE);
    world.run(["check", "acme/minilm"]).exits(DONE);
}

/// The id of this public key, as a grant to it alone shows it.
fn granted_to(world: &World, public: &str) -> String {
    let shown = world.run(["role", "grant", "acme/other", "--block", "7", "--key", public]);
    let line = shown.err.lines().find(|l| l.contains("adds")).unwrap().to_owned();
    line.rsplit(' ').next().unwrap().to_owned()
}

#[test]
fn a_key_of_another_role_is_not_granted_and_a_threshold_needs_its_keys() {
    let world = World::new();
    let (targets, own) = (
        world.at("authority/targets.pem.pub"),
        world.at("authority/publisher.pem.pub"),
    );
    let refused = world
        .run([
            "role",
            "grant",
            "acme/minilm",
            "--block",
            "0",
            "--key",
            &targets,
            "--yes",
        ])
        .exits(FAILED);
    assert!(refused.err.contains("no key in two roles"), "{refused:?}");
    world
        .run([
            "role",
            "grant",
            "acme/minilm",
            "--block",
            "0",
            "--key",
            &own,
            "--threshold",
            "2",
            "--yes",
        ])
        .exits(FAILED);
    let root_key = ids(&root(&world), "root").remove(0);
    world
        .run(["root", "rotate", "acme", "--remove-key", &root_key, "--yes"])
        .exits(FAILED);
    world.run(["root", "rotate", "acme", "--yes"]).exits(REFUSED);
    world
        .run(["root", "rotate", "acme", "--remove-key", "0123456789", "--yes"])
        .exits(REFUSED);
}

#[test]
fn everything_signed_stands_in_the_journal() {
    let world = World::new();
    world
        .run(["publish", &world.model("model", 1), "acme/minilm@1.0.0"])
        .exits(DONE);
    world
        .run(["root", "rotate", "acme", "--renew", "--yes"])
        .exits(DONE);
    let entries = journal(&world.at("authority"));
    let named: Vec<String> = entries
        .iter()
        .map(|e| format!("{} {}", e["role"].as_str().unwrap(), e["version"]))
        .collect();
    let expected = [
        "root 1",
        "targets 1",
        "model.minilm.0 1",
        "targets 2",
        "root 2",
        "targets 3",
    ];
    assert_eq!(named, expected);
    assert!(
        entries
            .iter()
            .all(|e| e["namespace"] == world.fingerprint.as_str())
    );
}

#[test]
fn a_folder_joins_the_namespace_of_its_fingerprint_only() {
    let world = World::new();
    let folder = world.at("stranger");
    world.run(["keygen", &folder]).exits(DONE);
    let wrong = "a".repeat(64);
    let args = ["namespace", "join", "acme", "--fingerprint", &wrong];
    with(&world, &folder, &args).exits(REFUSED);
    assert!(!Path::new(&folder).join("namespace.json").exists());
    join(&world, &folder);
    with(&world, &folder, &args).exits(REFUSED);
}

#[test]
fn a_status_revokes_a_release_and_devices_keep_what_they_had() {
    let world = World::new();
    world
        .run(["publish", &world.model("model", 1), "acme/minilm@1.0.0"])
        .exits(DONE);
    world.run(["pull", "acme/minilm"]).exits(DONE);
    world.run(["status", "renew", "acme", "--yes"]).exits(REFUSED);

    let job = world.at("job");
    world.run(["keygen", &job, "--status", "1"]).exits(DONE);
    join(&world, &job);
    for file in ["root.pem", "targets.pem", "publisher.pem", "model-signing.pem"] {
        std::fs::remove_file(Path::new(&job).join(file)).unwrap();
    }
    copy(&format!("{job}/status.pem"), &world.at("authority/status.pem"));
    let public = format!("{job}/status.pem.pub");
    world
        .run(["status", "init", "acme", "--key", &public, "--yes"])
        .exits(DONE);
    let checked = world.run(["check", "acme/minilm", "--json"]).exits(DONE).json();
    assert!(checked["requests"].as_u64() <= Some(2), "{checked}");
    let unchanged = world.run(["check", "acme/minilm", "--json"]).exits(DONE).json();
    assert_eq!(unchanged["requests"], 1);
    world.run(["check", "acme/minilm", "--static"]).exits(DONE);

    with(&world, &job, &["status", "renew", "acme", "--yes"]).exits(DONE);
    let revoke = [
        "status",
        "revoke",
        "acme",
        "--release",
        "acme/minilm@1.0.0",
        "--reason",
        "poisoned",
        "--least-order",
        "minilm=1.2",
        "--yes",
    ];
    with(&world, &job, &revoke).exits(DONE);
    let shown = world.run(["status", "show", "acme", "--json"]).exits(DONE).json();
    assert_eq!(shown["version"], 3);
    assert_eq!(shown["status"]["revoked_releases"][0]["reason"], "poisoned");
    let refused = world.run(["check", "acme/minilm"]).exits(REFUSED);
    assert!(refused.err.contains("poisoned"), "{refused:?}");
    // The active one stays usable offline; the next release is above the least order.
    world.run(["path", "acme/minilm"]).exits(DONE);
    world
        .run(["publish", &world.model("next", 2), "acme/minilm@1.1.0"])
        .exits(DONE);
    world.run(["update", "acme/minilm"]).exits(DONE);
}

#[test]
fn what_the_thief_of_a_status_key_revoked_ends_with_that_key() {
    let world = World::new();
    let model = world.model("model", 1);
    world.run(["publish", &model, "acme/minilm@1.0.0"]).exits(DONE);
    for _ in 0..2 {
        let key = ["key", "add", &world.at("authority"), "--role", "status"];
        world.run(key).exits(DONE);
    }
    let stolen = world.at("authority/status.pem.pub");
    world
        .run(["status", "init", "acme", "--key", &stolen, "--yes"])
        .exits(DONE);
    world.run(["check", "acme/minilm"]).exits(DONE);
    let key = ids(&root(&world), "root").remove(0);
    let slip = world
        .run(["status", "revoke", "acme", "--key-id", &key, "--yes"])
        .exits(REFUSED);
    assert!(slip.err.contains("--insist"), "{slip:?}");
    let theft = ["status", "revoke", "acme", "--key-id", &key, "--insist", "--yes"];
    world.run(theft).exits(DONE);
    world.run(["check", "acme/minilm"]).exits(DONE);
    // The device that saw it meets the root before the status of the other key.
    let other = world.at("authority/status-2.pem.pub");
    let init = world
        .run(["status", "init", "acme", "--key", &other, "--yes"])
        .exits(DONE);
    let removed = format!("status: removes revoked key {key}");
    assert!(init.err.contains(&removed), "{init:?}");
    world
        .run(["root", "rotate", "acme", "--renew", "--yes"])
        .exits(DONE);
    world.run(["check", "acme/minilm"]).exits(DONE);
    world
        .run(["root", "rotate", "acme", "--renew", "--yes"])
        .exits(DONE);
    world.run(["check", "acme/minilm", "--static"]).exits(DONE);

    // What was restricted by a slip is taken back.
    let revoke = [
        "status",
        "revoke",
        "acme",
        "--release",
        "acme/minilm@1.0.0",
        "--yes",
    ];
    world.run(revoke).exits(DONE);
    world.run(["check", "acme/minilm"]).exits(REFUSED);
    let lift = [
        "status",
        "lift",
        "acme",
        "--release",
        "acme/minilm@1.0.0",
        "--yes",
    ];
    let lifted = world.run(lift).exits(DONE);
    assert!(
        lifted
            .err
            .contains("status: removes revoked release minilm@1.0.0"),
        "{lifted:?}"
    );
    world.run(["check", "acme/minilm"]).exits(DONE);
    let typo = [
        "status",
        "revoke",
        "acme",
        "--least-version",
        "tragets=3",
        "--yes",
        "--insist",
    ];
    world.run(typo).exits(REFUSED);
}
