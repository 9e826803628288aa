//! The real command against the real registry: proposals that collect signatures, of roots and of releases.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod support;

use std::path::Path;

use serde_json::Value;
use support::exit::{CONFLICT, DENIED, DONE, NOT_FOUND, REFUSED, USAGE};
use support::{Ran, World};

/// Runs the command with another folder of keys.
fn with(world: &World, folder: &str, args: &[&str]) -> Ran {
    world.run_with(&[("ASSAY_AUTHORITY", Some(folder))], args)
}

/// A folder of the namespace that has only these of its new keys.
fn holder(world: &World, name: &str, roles: &[&str]) -> String {
    let folder = world.at(name);
    world.run(["keygen", &folder]).exits(DONE);
    for role in ["root", "targets", "publisher", "model-signing"] {
        if !roles.contains(&role) {
            std::fs::remove_file(Path::new(&folder).join(format!("{role}.pem"))).unwrap();
        }
    }
    let args = ["namespace", "join", "acme", "--fingerprint", &world.fingerprint];
    with(world, &folder, &args).exits(DONE);
    folder
}

fn version(world: &World) -> Value {
    let root = world.run(["root", "show", "acme", "--json"]).exits(DONE);
    root.json()["version"].clone()
}

fn proposals(world: &World, folder: &str) -> Vec<Value> {
    let listed = with(world, folder, &["proposals", "acme", "--json"]).exits(DONE);
    listed.json()["proposals"].as_array().unwrap().clone()
}

fn id(document: &Value) -> String {
    assert_eq!(document["published"], false, "{document}");
    document["proposal"].as_str().unwrap().to_owned()
}

/// Three holders of root keys, two of whom must sign.
fn three_holders(world: &World) -> [String; 2] {
    let others = ["second", "third"].map(|name| holder(world, name, &["root"]));
    let public = others.each_ref().map(|folder| format!("{folder}/root.pem.pub"));
    let own = world.at("authority/root-2.pem");
    std::fs::copy(format!("{}/root.pem", others[0]), &own).unwrap();
    world
        .run([
            "root",
            "rotate",
            "acme",
            "--add-root-key",
            &public[0],
            "--add-root-key",
            &public[1],
            "--root-threshold",
            "2",
            "--yes",
        ])
        .exits(DONE);
    std::fs::remove_file(own).unwrap();
    others
}

#[test]
fn two_of_three_root_holders_sign_on_the_registry() {
    let world = World::new();
    let [second, third] = three_holders(&world);
    let begun = world
        .run(["root", "rotate", "acme", "--renew", "--yes", "--json"])
        .exits(DONE);
    let id = id(&begun.json());
    assert_eq!(version(&world), 2);

    let listed = proposals(&world, &third);
    assert_eq!(listed.len(), 1);
    assert_eq!(
        (&listed[0]["id"], &listed[0]["standing"]),
        (&id.as_str().into(), &"open".into())
    );
    assert_eq!(listed[0]["signers"]["root"].as_array().unwrap().len(), 1);
    let shown = with(&world, &third, &["proposals", "show", "acme", &id[..8]]).exits(DONE);
    assert!(shown.out.contains("root: version 2 -> 3"), "{shown:?}");
    assert!(
        shown.out.contains("1 of 2 root keys of version 2 signed"),
        "{shown:?}"
    );

    // Nobody was asked, so nothing is signed; somebody without a listed key cannot sign.
    with(&world, &second, &["approve", "acme", &id]).exits(DENIED);
    let stranger = holder(&world, "stranger", &["root"]);
    with(&world, &stranger, &["approve", "acme", &id, "--yes"]).exits(NOT_FOUND);
    with(&world, &second, &["approve", "acme", &"0".repeat(64), "--yes"]).exits(NOT_FOUND);
    let upper = id.to_uppercase();
    for few in [
        "",
        &id[..7],
        &id[..8],
        &id[..31],
        "zz",
        &format!("{id}0"),
        &format!("{}zz", &id[..62]),
    ] {
        for verb in [&["approve"][..], &["proposals", "withdraw"]] {
            let mut args = verb.to_vec();
            args.extend(["acme", few]);
            args.extend((verb.len() == 1).then_some("--yes"));
            let refused = with(&world, &second, &args).exits(USAGE);
            assert!(
                refused.err.contains("first 32 of them or more"),
                "{few}: {refused:?}"
            );
        }
    }
    assert_eq!(version(&world), 2);

    let asked = with(&world, &second, &["approve", "acme", &upper[..32]]).exits(DENIED);
    assert!(asked.err.contains(&format!("proposal {id}")), "{asked:?}");
    let approved = with(
        &world,
        &second,
        &["approve", "acme", &upper[..32], "--yes", "--json"],
    )
    .exits(DONE);
    assert_eq!(approved.json()["published"], true);
    assert_eq!(version(&world), 3);
    assert_eq!(proposals(&world, &third)[0]["standing"], "published");
    // Whoever comes late, or was interrupted before the answer came, is told that it is done.
    for again in [
        &["approve", "acme", &id, "--yes"][..],
        &["proposals", "show", "acme", &id[..8]],
    ] {
        let late = with(&world, &third, again).exits(DONE);
        assert_eq!(
            late.out.trim(),
            "published already: root 3, targets 2",
            "{late:?}"
        );
    }
    world
        .run(["publish", &world.model("model", 1), "acme/minilm@1.0.0"])
        .exits(DONE);
    world.run(["check", "acme/minilm"]).exits(DONE);
}

#[test]
fn of_two_roots_of_one_version_nobody_signs_both() {
    let world = World::new();
    let [second, third] = three_holders(&world);
    let first = world
        .run(["root", "rotate", "acme", "--renew", "--yes", "--json"])
        .exits(DONE);
    let other = with(
        &world,
        &third,
        &[
            "root",
            "rotate",
            "acme",
            "--root-threshold",
            "3",
            "--yes",
            "--json",
        ],
    );
    let (first, other) = (id(&first.json()), id(&other.exits(DONE).json()));
    assert_eq!(proposals(&world, &second).len(), 2);
    for (folder, proposal) in [(world.at("authority"), &other), (third.clone(), &first)] {
        let refused = with(&world, &folder, &["approve", "acme", proposal, "--yes"]).exits(CONFLICT);
        assert!(refused.err.contains("signed another body"), "{refused:?}");
    }
    with(&world, &third, &["proposals", "withdraw", "acme", &other]).exits(DONE);
    with(&world, &third, &["proposals", "withdraw", "acme", &other]).exits(NOT_FOUND);
    with(&world, &second, &["approve", "acme", &first, "--yes"]).exits(DONE);
    assert_eq!(version(&world), 3);
}

#[test]
fn a_release_of_two_publishers_waits_until_both_have_signed() {
    let world = World::new();
    world
        .run(["publish", &world.model("model", 1), "acme/minilm@1.0.0"])
        .exits(DONE);
    let ci = holder(&world, "ci", &["publisher"]);
    let (own, public) = (
        world.at("authority/publisher.pem.pub"),
        format!("{ci}/publisher.pem.pub"),
    );
    // The second publisher signs the role's file, too, in the publication that takes effect with it.
    let granted = world
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
            "--threshold",
            "2",
            "--yes",
            "--json",
        ])
        .exits(DONE);
    let grant = id(&granted.json());
    let approved = with(&world, &ci, &["approve", "acme", &grant, "--yes", "--json"]).exits(DONE);
    assert_eq!(approved.json()["published"], true);

    let next = world.model("next", 2);
    let proposed = world
        .run(["publish", &next, "acme/minilm@1.1.0", "--json"])
        .exits(DONE);
    let release = id(&proposed.json());
    // Asked for again it is the same proposal; devices are shown nothing of it.
    let again = world
        .run(["publish", &next, "acme/minilm@1.1.0", "--json"])
        .exits(DONE);
    assert_eq!(id(&again.json()), release);
    let seen = world.run(["check", "acme/minilm", "--json"]).exits(DONE).out;
    assert!(!seen.contains("1.1.0"), "{seen}");

    let shown = with(&world, &ci, &["proposals", "show", "acme", &release]).exits(DONE);
    for said in ["acme/minilm@1.1.0", "weights.bin", "signed by \"acme\""] {
        assert!(shown.out.contains(said), "{said}: {shown:?}");
    }
    let other = with(
        &world,
        &ci,
        &[
            "approve",
            "acme",
            &release,
            "--folder",
            &world.at("model"),
            "--yes",
        ],
    );
    let other = other.exits(REFUSED);
    assert!(other.err.contains("config.json"), "{other:?}");
    let approved = with(
        &world,
        &ci,
        &["approve", "acme", &release, "--folder", &next, "--yes", "--json"],
    );
    let approved = approved.exits(DONE).json();
    assert_eq!(approved["published"], true);
    let changes = approved["changes"].to_string();
    assert!(changes.contains("every file is the one in"), "{changes}");

    world.run(["pull", "acme/minilm@1.1.0"]).exits(DONE);
    let again = world.run(["publish", &next, "acme/minilm@1.1.0"]).exits(DONE);
    assert!(again.out.contains("is published already"), "{again:?}");
}

#[test]
fn a_proposal_that_others_overtook_is_shown_as_superseded() {
    let world = World::new();
    let [second, _] = three_holders(&world);
    let begun = world
        .run(["root", "rotate", "acme", "--renew", "--yes", "--json"])
        .exits(DONE);
    let lost = id(&begun.json());
    // The targets file that comes with it is replaced before anybody else signs.
    world
        .run([
            "publish",
            &world.model("model", 1),
            "acme/minilm@1.0.0",
            "--sign-again",
        ])
        .exits(DONE);
    let listed = proposals(&world, &second);
    assert_eq!(listed[0]["standing"], "superseded", "{listed:?}");
    let refused = with(&world, &second, &["approve", "acme", &lost, "--yes"]).exits(CONFLICT);
    assert!(
        refused.err.contains("the targets file that it replaces"),
        "{refused:?}"
    );
}
