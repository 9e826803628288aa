//! The real command against the real registry: from keys to a device, and what is refused on the way.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod support;

use std::path::{Path, PathBuf};

use support::exit::{CONFLICT, DEFERRED, DENIED, DONE, NETWORK, NOT_FOUND, REFUSED, STORE, USAGE};
use support::{World, files, flip, weights};

#[test]
fn a_release_travels_from_publisher_to_device_and_is_used_offline() {
    let world = World::new();
    let model = world.model("model", 1);

    let planned = world
        .run(["publish", &model, "acme/minilm@1.0.0", "--dry-run", "--json"])
        .exits(DONE)
        .json();
    assert_eq!(planned["dry_run"], true);
    assert_eq!(planned["listing"].as_array().unwrap().len(), 3);
    world.run(["check", "acme/minilm"]).exits(NOT_FOUND);

    let published = world
        .run(["publish", &model, "acme/minilm@1.0.0", "--json"])
        .exits(DONE)
        .json();
    assert_eq!(published["already"], false);
    let again = world
        .run(["publish", &model, "acme/minilm@1.0.0", "--json"])
        .exits(DONE)
        .json();
    assert_eq!(
        (&again["already"], &again["manifest"]),
        (&true.into(), &published["manifest"])
    );

    let checked = world.run(["check", "acme/minilm", "--json"]).exits(DONE).json();
    assert_eq!(checked["verdict"]["outcome"], "permit");
    assert_eq!(checked["verdict"]["stages"].as_array().unwrap().len(), 10);
    assert!(checked["requests"].as_u64().unwrap() <= 2, "{checked}");
    let unchanged = world.run(["check", "acme/minilm", "--json"]).exits(DONE).json();
    assert_eq!(unchanged["requests"], 1, "{unchanged}");
    world.run(["check", "acme/minilm@1.0.0", "--static"]).exits(DONE);
    let logged = world
        .run(["check", "acme/minilm", "--require", "log", "--json"])
        .exits(DONE)
        .json();
    let stages = logged["verdict"]["stages"].as_array().unwrap();
    let log = stages.iter().find(|stage| stage["stage"] == "log").unwrap();
    assert_eq!(log["outcome"], "passed", "{log}");
    world.run(["check", "acme/minilm@9.9.9"]).exits(NOT_FOUND);
    world.run(["path", "acme/minilm"]).exits(NOT_FOUND);
    let not_here = world.run(["verify", &model, "acme/minilm"]).exits(NOT_FOUND);
    assert!(not_here.err.contains("--online"), "{not_here:?}");
    world
        .run(["verify", &model, "acme/minilm@1.0.0", "--online"])
        .exits(DONE);

    let pulled = world
        .run(["pull", "acme/minilm", "--require", "log", "--json"])
        .exits(DONE)
        .json();
    let path = PathBuf::from(pulled["path"].as_str().unwrap());
    assert_eq!(std::fs::read(path.join("weights.bin")).unwrap(), weights(1));
    assert_eq!(
        world.run(["path", "acme/minilm"]).exits(DONE).out.trim_end(),
        path.to_str().unwrap()
    );
    let again = world.run(["pull", "acme/minilm", "--json"]).exits(DONE).json();
    assert_eq!(again["already_active"], true);

    let table = world
        .run(["verify", "acme/minilm", "--online", "--verbose"])
        .exits(DONE)
        .out;
    assert!(
        table.contains("freshness") && table.contains("permitted: acme/minilm@1.0.0"),
        "{table}"
    );
    assert_eq!(
        world.run(["verify", "acme/minilm", "--quiet"]).exits(DONE).out,
        ""
    );
    let searched = world.run(["search", "mini", "--json"]).exits(DONE).json();
    assert_eq!(searched["models"][0]["model"], "minilm");
    let releases = world
        .run(["releases", "acme/minilm", "--json"])
        .exits(DONE)
        .json();
    assert_eq!(releases["releases"][0]["state"], "published");
    world.run(["releases", "acme/nothing"]).exits(NOT_FOUND);
    let shown = world
        .run(["namespace", "show", "acme", "--json"])
        .exits(DONE)
        .json();
    assert_eq!(shown["namespace"]["identity"], world.fingerprint.as_str());
    assert!(world.run(["namespace", "list"]).exits(DONE).out.contains("acme"));

    // The registry is gone: what is on the device stays usable.
    let copy = world.model("copy", 1);
    let store = world.at("store");
    drop(world.registry);
    let offline = |args: &[&str]| {
        let run: support::Ran = support::assay()
            .args(args)
            .env("ASSAY_STORE", &store)
            .output()
            .unwrap()
            .into();
        run
    };
    offline(&["verify", "acme/minilm"]).exits(DONE);
    offline(&["verify", &copy, "acme/minilm"]).exits(DONE);
    offline(&["verify", "acme/minilm", "--require", "freshness"]).exits(USAGE);
    let unreachable = offline(&["check", "acme/minilm", "--json"]).exits(NETWORK).json();
    assert_eq!(unreachable["error"]["code"], "unreachable");
    assert_eq!(unreachable["verdict"]["outcome"], "refuse");
}

#[test]
fn one_changed_byte_is_refused_wherever_it_is_changed() {
    let world = World::new();
    let model = world.model("model", 2);
    world.run(["publish", &model, "acme/m@1.0.0"]).exits(DONE);

    // On the registry's disk.
    let needle = &weights(2)[(1 << 20) + 7..(1 << 20) + 71];
    // The registry writes its log meanwhile: a temporary object may be gone by now.
    let find = |path: &Path| {
        std::fs::read(path)
            .ok()?
            .windows(needle.len())
            .position(|w| w == needle)
    };
    let (path, at) = files(&world.registry.data)
        .into_iter()
        .find_map(|path| find(&path).map(|at| (path, at)))
        .expect("the registry holds the bytes");
    flip(&path, at);
    let refused = world.run(["pull", "acme/m", "--json"]).exits(REFUSED).json();
    assert_eq!(refused["error"]["code"], "digest-mismatch", "{refused}");
    assert_eq!(refused["exit"], REFUSED);
    world.run(["path", "acme/m"]).exits(NOT_FOUND);
    flip(&path, at);
    world.run(["pull", "acme/m"]).exits(DONE);

    // On the device.
    let active = PathBuf::from(world.run(["path", "acme/m"]).exits(DONE).out.trim_end());
    flip(&active.join("weights.bin"), 3);
    let refused = world.run(["verify", "acme/m", "--json"]).exits(REFUSED).json();
    assert_eq!(refused["verdict"]["outcome"], "refuse");
    let people = world.run(["verify", "acme/m"]).exits(REFUSED);
    assert!(
        people.out.contains("REFUSED") && people.err.contains("weights.bin"),
        "{people:?}"
    );

    let by_folder = world.run(["verify", active.to_str().unwrap()]).exits(REFUSED);
    assert!(by_folder.err.contains("assay repair"), "{by_folder:?}");

    // A pull does not read again what it activated; a repair does, and fetches the one chunk.
    assert_eq!(
        world.run(["pull", "acme/m", "--json"]).exits(DONE).json()["already_active"],
        true
    );
    let repaired = world.run(["repair", "acme/m", "--json"]).exits(DONE).json();
    assert_eq!(repaired["release"], "acme/m@1.0.0");
    assert!(
        repaired["bytes_received"].as_u64().unwrap() < 2 << 20,
        "{repaired}"
    );
    let active = world.run(["path", "acme/m"]).exits(DONE).out;
    world.run(["verify", active.trim_end()]).exits(DONE);
    world.run(["verify", "acme/m"]).exits(DONE);

    // In somebody's copy.
    world.run(["verify", &model, "acme/m"]).exits(DONE);
    flip(&Path::new(&model).join("config.json"), 0);
    world.run(["verify", &model, "acme/m"]).exits(REFUSED);
    world
        .run(["verify", &model, "acme/m@1.0.0", "--online"])
        .exits(REFUSED);
    std::os::unix::fs::symlink("/etc/hostname", Path::new(&model).join("link")).unwrap();
    world.run(["verify", &model, "acme/m"]).exits(REFUSED);
}

#[test]
fn a_model_that_was_rolled_back_is_held_until_resumed() {
    let world = World::new();
    world
        .run(["publish", &world.model("v1", 1), "acme/m@1.0.0"])
        .exits(DONE);
    world.run(["pull", "acme/m"]).exits(DONE);
    world.run(["rollback", "acme/m"]).exits(NOT_FOUND);
    world
        .run(["publish", &world.model("v2", 2), "acme/m@2.0.0"])
        .exits(DONE);
    world.run(["update", "acme/m"]).exits(DONE);

    let back = world.run(["rollback", "acme/m", "--json"]).exits(DONE).json();
    assert_eq!(back["release"], "acme/m@1.0.0");
    let status = world.run(["status", "acme/m", "--json"]).exits(DONE).json();
    assert_eq!(status["models"][0]["active"]["version"], "1.0.0");
    assert_eq!(status["models"][0]["held"], true);
    assert_eq!(status["models"][0]["kept"][0]["version"], "2.0.0");
    assert!(world.run(["status"]).exits(DONE).out.contains("held"));
    assert!(
        world
            .run(["update", "acme/m"])
            .exits(DEFERRED)
            .err
            .contains("assay resume")
    );
    world
        .run(["rollback", "acme/m", "--to", "0.1.0"])
        .exits(NOT_FOUND);

    assert_eq!(
        world.run(["resume", "acme/m", "--json"]).exits(DONE).json()["was_held"],
        true
    );
    assert_eq!(
        world.run(["resume", "acme/m", "--json"]).exits(DONE).json()["was_held"],
        false
    );
    let updated = world.run(["update", "acme/m", "--json"]).exits(DONE).json();
    assert_eq!(updated["release"], "acme/m@2.0.0");
    // Floors never fall: an older release than the highest that was active is a rollback of the registry's.
    world.run(["pull", "acme/m@1.0.0"]).exits(REFUSED);
}

#[test]
fn what_conflicts_is_told_apart_from_what_is_not_allowed() {
    let world = World::new();
    let model = world.model("model", 1);
    world.run(["publish", &model, "acme/m@1.0.0"]).exits(DONE);
    let other = world.model("other", 9);
    let conflict = world
        .run(["publish", &other, "acme/m@1.0.0", "--json"])
        .exits(CONFLICT)
        .json();
    assert_eq!(conflict["error"]["code"], "release-exists");
    world
        .run(["publish", &other, "acme/m@1.0.0", "--dry-run"])
        .exits(CONFLICT);
    world.run(["publish", &other, "beta/m@1.0.0"]).exits(USAGE);
    // Without a registry, the one that the namespace was created on is meant.
    let home = [("ASSAY_REGISTRY", Some(""))];
    world
        .run_with(&home, &["publish", &model, "acme/m@1.0.0"])
        .exits(DONE);
    world
        .run(["publish", &world.at("nowhere"), "acme/m@1.1.0"])
        .exits(NOT_FOUND);

    // The name is taken; the keys are there already.
    let rival = world.at("rival");
    world.run(["keygen", &rival]).exits(DONE);
    world
        .run(["namespace", "create", "acme", "--authority", &rival])
        .exits(CONFLICT);
    world.run(["keygen", &rival]).exits(CONFLICT);

    // No token, a wrong one, one that allows too little, one that is meant for another registry.
    let publish = ["publish", &other, "acme/m@1.1.0"];
    world.run_with(&[("ASSAY_TOKEN", None)], &publish).exits(DENIED);
    world
        .run_with(&[("ASSAY_TOKEN", Some("nonsense"))], &publish)
        .exits(DENIED);
    let elsewhere = [&publish[..], &["--registry", &world.registry.url]].concat();
    world
        .run_with(&[("ASSAY_REGISTRY", Some("http://127.0.0.1:1"))], &elsewhere)
        .exits(DENIED);
    let reader = world
        .run(["token", "create", "reader", "--scope", "read", "--json"])
        .exits(DONE)
        .json();
    world
        .run_with(&[("ASSAY_TOKEN", reader["secret"].as_str())], &publish)
        .exits(DENIED);

    let file = world.at("token");
    std::fs::write(&file, format!("{}\n", world.registry.token)).unwrap();
    let by_file = [&publish[..], &["--token-file", &file]].concat();
    world.run_with(&[("ASSAY_TOKEN", None)], &by_file).exits(DONE);

    let id = reader["token"]["id"].as_str().unwrap();
    assert!(world.run(["token", "list"]).exits(DONE).out.contains(id));
    world.run(["token", "revoke", id]).exits(DONE);
    assert!(!world.run(["token", "list"]).exits(DONE).out.contains(id));
}

#[test]
fn a_wrong_fingerprint_and_a_wrong_path_are_refused() {
    let world = World::new();
    let store = world.at("other-store");
    let zeros = "0".repeat(64);
    let wrong = world
        .run([
            "trust",
            "add",
            "acme",
            "--fingerprint",
            &zeros,
            "--store",
            &store,
            "--json",
        ])
        .exits(REFUSED);
    assert_eq!(wrong.json()["error"]["code"], "wrong-identity");
    world
        .run(["trust", "show", "acme", "--store", &store])
        .exits(NOT_FOUND);
    world
        .run(["trust", "add", "acme", "--store", &store])
        .exits(USAGE);
    world
        .run([
            "trust",
            "add",
            "nobody",
            "--fingerprint",
            &zeros,
            "--store",
            &store,
        ])
        .exits(NOT_FOUND);
    let first = world
        .run([
            "trust",
            "add",
            "acme",
            "--trust-on-first-use",
            "--store",
            &store,
            "--json",
        ])
        .exits(DONE);
    assert_eq!(
        first.json()["namespace"]["fingerprint"],
        world.fingerprint.as_str()
    );
    let shown = world
        .run(["trust", "show", "acme", "--store", &store])
        .exits(DONE)
        .out;
    assert!(shown.contains("on first use"), "{shown}");
    let listed = world.run(["trust", "list", "--json"]).exits(DONE).json();
    assert_eq!(listed["namespaces"][0]["trust_on_first_use"], false);

    std::fs::write(world.at("file"), "x").unwrap();
    world.run(["status", "--store", &world.at("file")]).exits(STORE);
    std::fs::write(Path::new(&store).join("namespaces/acme/state.json"), "{").unwrap();
    let damaged = world
        .run(["check", "acme/m", "--store", &store, "--json"])
        .exits(STORE)
        .json();
    assert_eq!(damaged["error"]["code"], "store-damaged");
    world
        .run(["trust", "remove", "acme", "--store", &store])
        .exits(DONE);
    world.run(["check", "acme/m", "--store", &store]).exits(NOT_FOUND);
}

#[test]
fn an_owners_terms_are_kept_and_hold() {
    let world = World::new();
    let model = world.model("model", 1);
    world.run(["publish", &model, "acme/minilm@1.0.0"]).exits(DONE);
    world.run(["pull", "acme/minilm"]).exits(DONE);

    let set = |args: &[&str]| world.run_with(&[], &[&["trust", "set", "acme"], args].concat());
    let kept = set(&["--max-stale", "1d 12h", "--least-root", "1", "--json"])
        .exits(DONE)
        .json();
    assert_eq!(kept["namespace"]["terms"]["max_stale"], "PT36H", "{kept}");
    world.run(["check", "acme/minilm"]).exits(DONE);
    world.run(["path", "acme/minilm"]).exits(DONE);
    let shown = world.run(["trust", "show", "acme"]).exits(DONE).out;
    assert!(
        shown.contains("max stale") && shown.contains("least root"),
        "{shown}"
    );

    set(&["--least-root", "2"]).exits(DONE);
    let refused = world.run(["check", "acme/minilm", "--json"]).exits(REFUSED);
    assert!(format!("{refused:?}").contains("below-pin"), "{refused:?}");
    set(&["--drop", "least-root"]).exits(DONE);
    world.run(["check", "acme/minilm"]).exits(DONE);

    // The state is older than a second by the time that it is asked for.
    set(&["--max-stale", "1s"]).exits(DONE);
    std::thread::sleep(std::time::Duration::from_millis(1100));
    for offline in [["path", "acme/minilm"], ["verify", "acme/minilm"]] {
        let refused = world.run(offline).exits(REFUSED);
        assert!(refused.err.contains("--max-stale"), "{refused:?}");
    }
    let refused = world.run(["check", "acme/minilm"]).exits(REFUSED);
    assert!(refused.err.contains("timestamp_hours"), "{refused:?}");
    set(&["--drop", "max-stale"]).exits(DONE);
    world.run(["path", "acme/minilm"]).exits(DONE);
    let whole_device = [("ASSAY_MAX_STALE", Some("1s"))];
    world
        .run_with(&whole_device, &["path", "acme/minilm"])
        .exits(REFUSED);
    world
        .run_with(&[("ASSAY_MAX_STALE", Some("soon"))], &["path", "acme/minilm"])
        .exits(USAGE);

    set(&[]).exits(USAGE);
    set(&["--max-stale", "6h", "--drop", "max-stale"]).exits(USAGE);
    set(&["--log", "no key"]).exits(USAGE);
    set(&["--witness", "without a log"]).exits(USAGE);
    for age in ["0s", "-1h", "1 month", "often"] {
        set(&["--max-stale", age]).exits(USAGE);
    }
}

#[test]
fn encrypted_keys_of_several_holders_sign_with_their_passphrase_only() {
    let world = World::new();
    let (keys, secret) = (world.at("keys"), world.at("passphrase"));
    std::fs::write(&secret, "open sesame\n").unwrap();
    let thresholds = [
        "--root",
        "3",
        "--root-threshold",
        "2",
        "--targets",
        "2",
        "--targets-threshold",
        "2",
    ];
    let mut command = world.command();
    command
        .args(["keygen", &keys, "--encrypt", "--passphrase-file", &secret])
        .args(thresholds);
    support::Ran::from(command.output().unwrap()).exits(DONE);

    let create = ["namespace", "create", "beta", "--authority", &keys];
    let denied = world.run(create).exits(DENIED);
    assert!(denied.err.contains("ASSAY_PASSPHRASE"), "{denied:?}");
    world
        .run_with(&[("ASSAY_PASSPHRASE", Some("guess"))], &create)
        .exits(DENIED);
    world
        .run_with(&[("ASSAY_PASSPHRASE", Some("open sesame"))], &create)
        .exits(DONE);
    let model = world.model("model", 1);
    world
        .run([
            "publish",
            &model,
            "beta/m@1.0.0",
            "--authority",
            &keys,
            "--passphrase-file",
            &secret,
        ])
        .exits(DONE);
}

#[test]
fn a_release_before_its_time_is_deferred() {
    let world = World::new();
    let model = world.model("model", 1);
    world
        .run([
            "publish",
            &model,
            "acme/m@1.0.0",
            "--not-before",
            "2199-01-01T00:00:00Z",
        ])
        .exits(DONE);
    let deferred = world.run(["pull", "acme/m", "--json"]).exits(DEFERRED).json();
    assert_eq!(deferred["verdict"]["outcome"], "defer");
    world.run(["path", "acme/m"]).exits(NOT_FOUND);
}

#[test]
fn a_private_namespace_needs_a_token() {
    let world = World::new();
    let keys = world.at("private");
    world.run(["keygen", &keys]).exits(DONE);
    let created = world
        .run([
            "namespace",
            "create",
            "secret",
            "--private",
            "--authority",
            &keys,
            "--json",
        ])
        .exits(DONE);
    let fingerprint = created.json()["fingerprint"].as_str().unwrap().to_owned();
    let trust = ["trust", "add", "secret", "--fingerprint", &fingerprint];
    let stranger = world.run_with(&[("ASSAY_TOKEN", None)], &trust);
    assert!([NOT_FOUND, DENIED].contains(&stranger.code), "{stranger:?}");
    world.run(trust).exits(DONE);
    world
        .run([
            "publish",
            &world.model("model", 1),
            "secret/m@1.0.0",
            "--authority",
            &keys,
        ])
        .exits(DONE);
    let stranger = world.run_with(&[("ASSAY_TOKEN", None)], &["pull", "secret/m"]);
    assert!([NOT_FOUND, DENIED].contains(&stranger.code), "{stranger:?}");
    world.run(["pull", "secret/m"]).exits(DONE);
}

#[test]
fn a_namespace_names_its_other_signers_from_the_beginning() {
    let world = World::new();
    let (keys, lab) = (world.at("keys"), world.at("lab"));
    world.run(["keygen", &keys]).exits(DONE);
    world.run(["keygen", &lab, "--signing-kind", "p384"]).exits(DONE);
    let root = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../verifier/provenance/tests/fixtures/keyless-model/trusted_root.json"
    );
    let create = |signer_key: &str, root: &str| {
        let mut command = world.command();
        command.args(["namespace", "create", "beta", "--authority", &keys, "--json"]);
        command.args(["--signer-key", signer_key]);
        command.args(["--sigstore-signer", "CI=https://issuer.example,ci@acme.example"]);
        command.args(["--sigstore-root", root]);
        support::Ran::from(command.output().unwrap())
    };
    let good = format!("Evaluation lab={lab}/model-signing.pem.pub");
    create("lab=/nonexistent", root).exits(NOT_FOUND);
    let no_key = create(&format!("lab={lab}/thresholds.json"), root).exits(1);
    assert_eq!(no_key.json()["error"]["code"], "bad-key");
    let no_root = create(&good, &format!("{lab}/thresholds.json")).exits(1);
    assert_eq!(no_root.json()["error"]["code"], "sigstore-root");

    create(&good, root).exits(DONE);
    let sent = std::fs::read(Path::new(&keys).join("create.json")).unwrap();
    let sent: serde_json::Value = serde_json::from_slice(&sent).unwrap();
    let signers: serde_json::Value = serde_json::from_str(sent["blobs"][0].as_str().unwrap()).unwrap();
    let names: Vec<_> = signers["signers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|s| {
            (
                s["name"].as_str().unwrap(),
                s["identity"]["kind"].as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!(
        names,
        [("beta", "key"), ("Evaluation lab", "key"), ("CI", "sigstore")]
    );
    let model = world.model("model", 1);
    world
        .run(["publish", &model, "beta/m@1.0.0", "--authority", &keys])
        .exits(DONE);
}
