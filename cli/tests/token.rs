//! An authority whose keys are in a token, with the real command, the real registry and SoftHSM 2.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

#[path = "../../authority/pkcs11/tests/softhsm/mod.rs"]
mod softhsm;
mod support;

use std::path::{Path, PathBuf};

use serde_json::Value;
use softhsm::{PIN, configure, init_token, make_key, module};
use support::World;
use support::exit::{CONFLICT, DENIED, DONE, NOT_FOUND, REFUSED, USAGE};
use tempfile::TempDir;

/// A token `acme`, and the variables by which the command reaches it.
fn token() -> (TempDir, PathBuf, Vec<(String, String)>) {
    let folder = tempfile::tempdir().unwrap();
    let configuration = configure(folder.path());
    init_token(&configuration, "acme");
    let env = vec![
        (
            "SOFTHSM2_CONF".to_owned(),
            configuration.to_str().unwrap().to_owned(),
        ),
        ("ASSAY_PKCS11_PIN".to_owned(), PIN.to_owned()),
    ];
    (folder, configuration, env)
}

fn uri(rest: &str) -> String {
    format!("pkcs11:token=acme{rest}?module-path={}", module().display())
}

fn key_ids(world: &World) -> Vec<(String, String)> {
    let shown = world
        .run(["key", "list", &world.at("authority"), "--json"])
        .exits(DONE)
        .json();
    let text = |key: &Value, name: &str| key[name].as_str().unwrap().to_owned();
    let keys = shown["keys"].as_array().unwrap();
    keys.iter()
        .map(|key| (text(key, "file"), text(key, "key_id")))
        .collect()
}

fn id(world: &World, file: &str) -> String {
    let found = key_ids(world).into_iter().find(|(name, _)| name == file);
    found.unwrap_or_else(|| panic!("no {file}")).1
}

fn remove(world: &World, file: &str) {
    std::fs::remove_file(Path::new(&world.at("authority")).join(file)).unwrap();
}

#[test]
fn an_authority_lives_with_all_its_keys_in_a_token() {
    let (_token, _, env) = token();
    let world = World::with_keys(&["--pkcs11", &uri(""), "--status", "1"], env);
    let authority = world.at("authority");
    let files = support::files(Path::new(&authority));
    assert!(
        files.iter().all(|file| !file.to_str().unwrap().ends_with(".pem")),
        "{files:?}"
    );

    let model = world.model("model", 1);
    world.run(["publish", &model, "acme/minilm@1.0.0"]).exits(DONE);
    let status = format!("{authority}/status.pkcs11.pub");
    world
        .run(["status", "init", "acme", "--key", &status, "--yes"])
        .exits(DONE);
    world.run(["status", "renew", "acme", "--yes"]).exits(DONE);
    world
        .run(["root", "rotate", "acme", "--renew", "--yes"])
        .exits(DONE);
    world.run(["pull", "acme/minilm"]).exits(DONE);
    // The model signature, too, comes from the token (ECDSA), and what was done once is done.
    world.run(["publish", &model, "acme/minilm@1.0.0"]).exits(DONE);
    world
        .run(["publish", &world.model("next", 2), "acme/minilm@1.1.0"])
        .exits(DONE);
    world.run(["update", "acme/minilm"]).exits(DONE);

    // No secret stands in the folder.
    for file in support::files(Path::new(&authority)) {
        let text = String::from_utf8_lossy(&std::fs::read(&file).unwrap()).into_owned();
        assert!(
            !text.contains("PRIVATE KEY") && !text.contains(PIN),
            "{}",
            file.display()
        );
    }
}

#[test]
fn a_root_key_moves_from_a_file_into_the_token_and_back() {
    let (_token, configuration, env) = token();
    let world = World::with_keys(&[], env);
    let authority = world.at("authority");
    world
        .run(["publish", &world.model("model", 1), "acme/minilm@1.0.0"])
        .exits(DONE);
    world.run(["check", "acme/minilm"]).exits(DONE);
    make_key(&configuration, "acme", "root", "01", "EC:edwards25519");

    let first = id(&world, "root.pem");
    let added = world
        .run([
            "key",
            "add",
            &authority,
            "--role",
            "root",
            "--pkcs11",
            &uri(";object=root"),
            "--json",
        ])
        .exits(DONE)
        .json();
    assert_eq!(added["file"], "root-2.pkcs11");
    let public = format!("{authority}/root-2.pkcs11.pub");
    let rotate = |public: &str, old: &str| {
        world.run_with(
            &[],
            &[
                "root",
                "rotate",
                "acme",
                "--add-root-key",
                public,
                "--remove-key",
                old,
                "--yes",
            ],
        )
    };
    rotate(&public, &first).exits(DONE);
    remove(&world, "root.pem");
    world
        .run(["root", "rotate", "acme", "--renew", "--yes"])
        .exits(DONE);
    world.run(["check", "acme/minilm"]).exits(DONE);

    let added = world
        .run(["key", "add", &authority, "--role", "root", "--json"])
        .exits(DONE)
        .json();
    assert_eq!(added["file"], "root.pem");
    let second = id(&world, "root-2.pkcs11");
    rotate(&format!("{authority}/root.pem.pub"), &second).exits(DONE);
    remove(&world, "root-2.pkcs11");
    world
        .run(["root", "rotate", "acme", "--renew", "--yes"])
        .exits(DONE);
    world.run(["check", "acme/minilm", "--static"]).exits(DONE);
}

#[test]
fn a_token_that_does_not_sign_is_named_and_nothing_is_published() {
    let (folder, configuration, env) = token();
    let world = World::with_keys(&["--pkcs11", &uri(""), "--in-token", "root"], env);
    let version = || {
        let shown = world.run(["root", "show", "acme", "--json"]).exits(DONE).json();
        shown["version"].as_u64().unwrap()
    };
    let rotate = ["root", "rotate", "acme", "--renew", "--yes", "--json"];
    let refused = |env: &[(&str, Option<&str>)], code: i32, name: &str| {
        let ran = world.run_with(env, &rotate).exits(code);
        assert_eq!(ran.json()["error"]["code"], name, "{ran:?}");
        assert!(
            !ran.out.contains("999999") && !ran.err.contains("999999"),
            "{ran:?}"
        );
        assert_eq!(version(), 1);
    };
    refused(&[("ASSAY_PKCS11_PIN", Some("999999"))], DENIED, "pin");
    refused(&[("ASSAY_PKCS11_PIN", None)], DENIED, "pin");
    refused(
        &[("ASSAY_PKCS11_MODULE", Some("/no/such/module.so"))],
        1,
        "token-module",
    );

    // Another machine, without the token; and with another token of this name.
    let elsewhere = tempfile::tempdir().unwrap();
    let other = configure(elsewhere.path());
    let other_name = other.to_str().unwrap();
    refused(&[("SOFTHSM2_CONF", Some(other_name))], NOT_FOUND, "no-token");
    init_token(&other, "acme");
    refused(&[("SOFTHSM2_CONF", Some(other_name))], NOT_FOUND, "no-key");
    make_key(&other, "acme", "assay-root", "01", "EC:edwards25519");
    let file = format!("{}/root.pkcs11", world.at("authority"));
    let kept = std::fs::read_to_string(&file).unwrap();
    let by_label: String = kept
        .lines()
        .map(|line| match line.starts_with("pkcs11:") {
            true => uri(";object=assay-root") + "\n",
            false => format!("{line}\n"),
        })
        .collect();
    std::fs::write(&file, &by_label).unwrap();
    refused(&[("SOFTHSM2_CONF", Some(other_name))], REFUSED, "other-key");
    // A PIN does not belong into the file.
    std::fs::write(
        &file,
        by_label.replace("?module-path", "?pin-value=999999&module-path"),
    )
    .unwrap();
    refused(&[], USAGE, "token-uri");
    std::fs::write(&file, kept).unwrap();

    // What is signed without the root needs no token at all.
    let away = folder.path().join("away");
    std::fs::rename(folder.path().join("tokens"), &away).unwrap();
    world
        .run_with(
            &[("ASSAY_PKCS11_PIN", None)],
            &["publish", &world.model("model", 1), "acme/minilm@1.0.0"],
        )
        .exits(DONE);
    std::fs::rename(&away, folder.path().join("tokens")).unwrap();
    world.run_with(&[], &rotate).exits(DONE);
    assert_eq!(version(), 2);
    assert!(configuration.exists());
}

#[test]
fn a_key_is_neither_replaced_nor_in_two_places() {
    let (_token, _, env) = token();
    let world = World::with_keys(&["--pkcs11", &uri(""), "--in-token", "root"], env);
    let authority = world.at("authority");
    let again = world.at("again");
    world.run(["keygen", &authority]).exits(CONFLICT);
    // The token has the label already: another authority takes another one.
    let taken = world.run_with(&[], &["keygen", &again, "--pkcs11", &uri(""), "--json"]);
    assert_eq!(taken.exits(CONFLICT).json()["error"]["code"], "key-exists");
    let third = world.at("third");
    world
        .run_with(&[], &["keygen", &third, "--pkcs11", &uri(";object=third")])
        .exits(DONE);
    std::fs::copy(format!("{third}/targets.pkcs11"), format!("{third}/targets.pem")).unwrap();
    std::fs::copy(
        format!("{authority}/root.pkcs11"),
        format!("{authority}/targets.pkcs11"),
    )
    .unwrap();
    let both = world.run(["root", "rotate", "acme", "--renew", "--yes"]).exits(8);
    assert!(both.err.contains("in a file and in a token"), "{both:?}");
}
