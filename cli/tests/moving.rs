//! A namespace moves from one real registry to another, and devices with it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod support;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use support::exit::{CONFLICT, DONE, NOT_FOUND, REFUSED};
use support::{Ran, Registry, World, files, flip};

fn another(world: &World, name: &str) -> Registry {
    let data = world.folder.path().join(name);
    std::fs::create_dir(&data).unwrap();
    Registry::start(&data)
}

/// Runs the command against this registry.
fn at(world: &World, registry: &Registry, args: &[&str]) -> Ran {
    let env = [
        ("ASSAY_REGISTRY", Some(registry.url.as_str())),
        ("ASSAY_TOKEN", Some(registry.token.as_str())),
    ];
    world.run_with(&env, args)
}

/// A world with two releases, a second root and a status; its export lies in `export`.
fn exported() -> (World, String) {
    let world = World::with_keys(&["--status", "1"], Vec::new());
    for (seed, version) in [(1, "acme/minilm@1.0.0"), (2, "acme/minilm@1.1.0")] {
        let model = world.model(&format!("model-{seed}"), seed);
        world.run(["publish", &model, version]).exits(DONE);
    }
    world
        .run(["root", "rotate", "acme", "--renew", "--yes"])
        .exits(DONE);
    let key = format!("{}/status.pem.pub", world.at("authority"));
    world
        .run(["status", "init", "acme", "--key", &key, "--yes"])
        .exits(DONE);
    let export = world.at("export");
    world.run(["namespace", "export", "acme", &export]).exits(DONE);
    (world, export)
}

fn import(world: &World, registry: &Registry, export: &str) -> Ran {
    at(
        world,
        registry,
        &["namespace", "import", export, "--public", "--yes", "--json"],
    )
}

/// Neither the registry nor the connection is blamed.
#[track_caller]
fn damaged(ran: &Ran, path: &Path) {
    assert_eq!(ran.code, 8, "{}: {ran:?}", path.display());
    assert_eq!(code(ran), "export-damaged", "{}: {ran:?}", path.display());
}

fn code(ran: &Ran) -> String {
    ran.json()["error"]["code"].as_str().unwrap().to_owned()
}

#[test]
fn a_namespace_moves_with_its_releases_and_devices_keep_trust_and_floors() {
    let (world, export) = exported();
    world.run(["pull", "acme/minilm"]).exits(DONE);
    let before = world.run(["trust", "show", "acme", "--json"]).exits(DONE).json();
    let new = another(&world, "new");

    // Nobody was asked: nothing is signed, and nothing is visible on the new registry.
    let unasked = at(&world, &new, &["namespace", "import", &export, "--public"]).exits(9);
    assert!(unasked.err.contains("snapshot: removes"), "{unasked:?}");
    assert!(unasked.err.contains("trust/log.json"), "{unasked:?}");
    at(&world, &new, &["namespace", "show", "acme"]).exits(NOT_FOUND);

    let moved = import(&world, &new, &export).exits(DONE).json();
    assert_eq!(moved["published"], true);
    let shown = at(&world, &new, &["namespace", "show", "acme", "--json"])
        .exits(DONE)
        .json();
    assert_eq!(shown["namespace"]["identity"], world.fingerprint.as_str());
    assert_eq!(shown["namespace"]["versions"]["root"], 3);
    let listed = at(&world, &new, &["releases", "acme/minilm", "--json"])
        .exits(DONE)
        .json();
    assert_eq!(listed["releases"].as_array().unwrap().len(), 2, "{listed}");

    // The device goes with it: no new pin, the same floors, and every stage passes by both routes.
    at(&world, &new, &["trust", "move", "acme"]).exits(DONE);
    let after = world.run(["trust", "show", "acme", "--json"]).exits(DONE).json();
    assert_eq!(after["floors"], before["floors"]);
    assert_eq!(
        after["namespace"]["fingerprint"],
        before["namespace"]["fingerprint"]
    );
    assert_eq!(after["namespace"]["registry"], new.url.as_str());
    world
        .run(["check", "acme/minilm", "--require", "log"])
        .exits(DONE);
    world.run(["check", "acme/minilm", "--static"]).exits(DONE);
    world.run(["check", "acme/minilm@1.0.0"]).exits(REFUSED);
    world.run(["repair", "acme/minilm"]).exits(DONE);

    // The authority publishes there from now on, by itself; a new device starts there.
    let next = world.model("model-3", 3);
    let publish = ["publish", next.as_str(), "acme/minilm@1.2.0"];
    world
        .run_with(
            &[("ASSAY_REGISTRY", None), ("ASSAY_TOKEN", Some(&new.token))],
            &publish,
        )
        .exits(DONE);
    world.run(["update", "acme/minilm"]).exits(DONE);
    let fresh = world.at("fresh");
    let trust = [
        "trust",
        "add",
        "acme",
        "--fingerprint",
        &world.fingerprint,
        "--store",
        &fresh,
    ];
    at(&world, &new, &trust).exits(DONE);
    at(&world, &new, &["pull", "acme/minilm", "--store", &fresh]).exits(DONE);

    // Run again, there is nothing to do.
    let again = import(&world, &new, &export).exits(DONE).json();
    assert_eq!(again["imported"], false);
    // And it moves on from there.
    let (second, third) = (world.at("export-2"), another(&world, "third"));
    at(&world, &new, &["namespace", "export", "acme", &second]).exits(DONE);
    import(&world, &third, &second).exits(DONE);
    at(&world, &third, &["trust", "move", "acme"]).exits(DONE);
    world.run(["check", "acme/minilm"]).exits(DONE);
}

#[test]
fn refuses_an_export_in_which_any_file_was_changed() {
    let (world, export) = exported();
    let new = another(&world, "new");
    let skipped = |path: &Path| path.ends_with("log-proof") || path.ends_with("export.json");
    let all: Vec<PathBuf> = files(Path::new(&export))
        .into_iter()
        .filter(|p| !skipped(p))
        .collect();
    let (mut kinds, mut tried) = (std::collections::BTreeSet::new(), 0);
    for path in &all {
        // One blob of each size does for the others.
        let length = std::fs::metadata(path).unwrap().len();
        let is_blob = path.to_str().unwrap().contains("/blobs/");
        // The registry computes chunk indexes itself; these are of files of three chunks.
        let index = is_blob && length == 24 + 3 * 32;
        if index || (is_blob && !kinds.insert(length)) {
            continue;
        }
        tried += 1;
        // A registry that has the blob from an earlier try does not ask for it again.
        let fresh = is_blob.then(|| another(&world, &format!("new-{tried}")));
        let new = fresh.as_ref().unwrap_or(&new);
        flip(path, usize::try_from(length / 2).unwrap());
        let ran = import(&world, new, &export);
        damaged(&ran, path);
        at(&world, new, &["namespace", "show", "acme"]).exits(NOT_FOUND);
        flip(path, usize::try_from(length / 2).unwrap());
        // Cut short, and away.
        let kept = std::fs::read(path).unwrap();
        std::fs::write(path, &kept[..kept.len() - 1]).unwrap();
        damaged(&import(&world, new, &export), path);
        std::fs::remove_file(path).unwrap();
        damaged(&import(&world, new, &export), path);
        if tried == 1 {
            std::os::unix::fs::symlink("/etc/passwd", path).unwrap();
            damaged(&import(&world, new, &export), path);
            std::fs::remove_file(path).unwrap();
            std::fs::create_dir(path).unwrap();
            damaged(&import(&world, new, &export), path);
            std::fs::remove_dir(path).unwrap();
        }
        std::fs::write(path, &kept).unwrap();
    }
    assert!(tried > 10, "{tried}");
    import(&world, &new, &export).exits(DONE);
}

#[test]
fn refuses_an_export_of_another_namespace_and_a_name_that_is_taken() {
    let (world, export) = exported();
    let new = another(&world, "new");
    let folder = world.at("others");
    at(&world, &new, &["keygen", &folder]).exits(DONE);
    let create = ["namespace", "create", "acme", "--authority", &folder];
    at(&world, &new, &create).exits(DONE);
    let taken = import(&world, &new, &export).exits(CONFLICT);
    assert_eq!(code(&taken), "namespace-exists");
    // The others' folder is not the authority of this export.
    let theirs = [
        "namespace",
        "import",
        &export,
        "--authority",
        &folder,
        "--yes",
        "--json",
    ];
    let refused = at(&world, &new, &theirs).exits(REFUSED);
    assert_eq!(code(&refused), "bad-proposal");
    // A device does not follow to a namespace that has only the name.
    at(&world, &new, &["trust", "move", "acme", "--json"]).exits(REFUSED);
    let pin = world.run(["trust", "show", "acme", "--json"]).exits(DONE).json();
    assert_eq!(pin["namespace"]["registry"], world.registry.url.as_str());
    // Where it came from, it did not move to.
    let here = import(&world, &world.registry, &export).exits(CONFLICT);
    assert_eq!(code(&here), "not-moved");
    // A folder is one namespace's.
    let other = ["namespace", "export", "acme", &export, "--authority", &folder];
    at(&world, &new, &other).exits(8);
}

#[test]
fn a_private_namespace_stays_private() {
    let world = World::with_keys(&[], Vec::new());
    let folder = world.at("secret-keys");
    let with = [("ASSAY_AUTHORITY", Some(folder.as_str()))];
    world.run(["keygen", &folder]).exits(DONE);
    world
        .run_with(&with, &["namespace", "create", "secret", "--private"])
        .exits(DONE);
    let model = world.model("model", 1);
    world
        .run_with(&with, &["publish", &model, "secret/minilm@1.0.0"])
        .exits(DONE);
    let export = world.at("export");
    let anonymous = [with[0], ("ASSAY_TOKEN", None)];
    world
        .run_with(&anonymous, &["namespace", "export", "secret", &export])
        .exits(NOT_FOUND);
    world
        .run_with(&with, &["namespace", "export", "secret", &export])
        .exits(DONE);
    let new = another(&world, "new");
    // Whoever hands the export on decides nothing.
    let record = Path::new(&export).join("export.json");
    let text = std::fs::read_to_string(&record).unwrap();
    assert!(text.contains("\"private\""), "{text}");
    std::fs::write(&record, text.replace("\"private\"", "\"public\"")).unwrap();
    let args = ["namespace", "import", &export, "--yes", "--authority", &folder];
    let moved = at(&world, &new, &args).exits(DONE);
    assert!(moved.err.contains("holders of a token only"), "{moved:?}");
    at(&world, &new, &["namespace", "show", "secret"]).exits(DONE);
    let url = [("ASSAY_REGISTRY", Some(new.url.as_str())), ("ASSAY_TOKEN", None)];
    world
        .run_with(&url, &["namespace", "show", "secret"])
        .exits(NOT_FOUND);
}

#[test]
fn refuses_an_export_that_is_older_than_what_the_authority_signed() {
    let (world, export) = exported();
    let authority = world.at("authority");
    let state = Path::new(&authority).join("state.json");
    let earlier = std::fs::read(&state).unwrap();
    let revoke = [
        "status",
        "revoke",
        "acme",
        "--release",
        "acme/minilm@1.0.0",
        "--yes",
    ];
    world.run(revoke).exits(DONE);
    let new = another(&world, "new");
    // By its floors, once it has seen what it published.
    world.run(["root", "show", "acme"]).exits(DONE);
    let refused = import(&world, &new, &export).exits(REFUSED);
    assert_eq!(code(&refused), "export-stale");
    // By the journal, where the state came from a backup.
    std::fs::write(&state, &earlier).unwrap();
    let refused = import(&world, &new, &export).exits(REFUSED);
    assert_eq!(code(&refused), "export-older");
    let said = refused.json()["error"]["message"].to_string();
    assert!(
        said.contains("signed status version 2, the export has 1"),
        "{said}"
    );
    // Where it is lost, nothing is begun anew.
    std::fs::remove_file(&state).unwrap();
    for args in [
        &["root", "show", "acme", "--json"][..],
        &["namespace", "import", &export, "--yes", "--json"],
    ] {
        let lost = at(&world, &new, args).exits(8);
        assert_eq!(code(&lost), "authority-folder");
    }
    at(&world, &new, &["namespace", "show", "acme"]).exits(NOT_FOUND);
    let join = ["namespace", "join", "acme", "--fingerprint", &world.fingerprint];
    // A registry that has only the export, or less than was signed on top of, cannot heal it.
    at(&world, &new, &join).exits(5);
    let restored = world.run(join).exits(DONE);
    assert!(
        restored.err.contains("read again from the registry"),
        "{restored:?}"
    );
    let refused = import(&world, &new, &export).exits(REFUSED);
    assert_eq!(code(&refused), "export-stale");
    // What came later is given up only by a word of its own.
    std::fs::write(&state, &earlier).unwrap();
    let args = ["namespace", "import", &export, "--accept-older", "--yes"];
    at(&world, &new, &args).exits(DONE);
}

#[test]
fn two_holders_of_root_keys_sign_the_move() {
    let world = World::with_keys(&["--root", "2", "--root-threshold", "2"], Vec::new());
    let (authority, second) = (world.at("authority"), world.at("second"));
    world
        .run(["publish", &world.model("model", 1), "acme/minilm@1.0.0"])
        .exits(DONE);
    let export = world.at("export");
    world.run(["namespace", "export", "acme", &export]).exits(DONE);
    std::fs::create_dir(&second).unwrap();
    std::fs::rename(format!("{authority}/root-2.pem"), format!("{second}/root.pem")).unwrap();
    let join = [
        "namespace",
        "join",
        "acme",
        "--fingerprint",
        &world.fingerprint,
        "--authority",
        &second,
    ];
    world.run_with(&[], &join).exits(DONE);

    let new = another(&world, "new");
    let proposal = world.at("proposal.json");
    let half = at(
        &world,
        &new,
        &[
            "namespace",
            "import",
            &export,
            "--public",
            "--yes",
            "--out",
            &proposal,
        ],
    )
    .exits(DONE);
    assert!(half.out.contains("more signatures are needed"), "{half:?}");
    at(&world, &new, &["namespace", "show", "acme"]).exits(NOT_FOUND);
    let args = [
        "namespace",
        "import",
        &export,
        "--public",
        "--yes",
        "--authority",
        &second,
        "--proposal",
        &proposal,
    ];
    at(&world, &new, &args).exits(DONE);
    at(&world, &new, &["trust", "move", "acme"]).exits(DONE);
    world.run(["check", "acme/minilm"]).exits(DONE);
}

#[test]
fn an_export_goes_on_where_it_stopped_and_repairs_what_is_damaged() {
    let (world, export) = exported();
    let blobs: Vec<_> = files(Path::new(&export))
        .into_iter()
        .filter(|path| path.to_str().unwrap().contains("/blobs/"))
        .collect();
    let large = blobs
        .iter()
        .max_by_key(|path| std::fs::metadata(path).unwrap().len())
        .unwrap();
    let bytes = std::fs::read(large).unwrap();
    let part = large.with_file_name(format!("{}.part", large.file_name().unwrap().to_str().unwrap()));
    let traffic = |ran: &Ran| ran.json()["bytes_received"].as_u64().unwrap();
    let again = || {
        world
            .run(["namespace", "export", "acme", &export, "--json"])
            .exits(DONE)
    };
    let nothing = traffic(&again());

    // Half of it is here: half of it is fetched.
    std::fs::remove_file(large).unwrap();
    std::fs::write(&part, &bytes[..bytes.len() / 2]).unwrap();
    let half = traffic(&again()) - nothing;
    assert!(half <= bytes.len() as u64 / 2 + 4096, "{half}");
    assert_eq!(std::fs::read(large).unwrap(), bytes);
    assert!(!part.exists());
    // Garbage is fetched anew; so is what was damaged later, and too long.
    for junk in [vec![7; bytes.len() / 2], vec![7; bytes.len() + 9], Vec::new()] {
        std::fs::remove_file(large).unwrap();
        std::fs::write(&part, junk).unwrap();
        again();
        assert_eq!(std::fs::read(large).unwrap(), bytes);
    }
    flip(large, 5);
    again();
    assert_eq!(std::fs::read(large).unwrap(), bytes);

    // Without blobs there is nothing to import.
    let bare = world.at("bare");
    let args = ["namespace", "export", "acme", &bare, "--metadata-only"];
    world.run_with(&[], &args).exits(DONE);
    assert!(
        files(Path::new(&bare))
            .iter()
            .all(|p| !p.to_str().unwrap().contains("/blobs/"))
    );
    let new = another(&world, "new");
    let refused = import(&world, &new, &bare).exits(8);
    assert!(
        refused.err.contains("metadata only") || refused.out.contains("metadata only"),
        "{refused:?}"
    );
}

/// Any web server that serves files.
struct WebServer(Child, String);

impl WebServer {
    fn on(folder: &str, port: u16) -> Self {
        let child = Command::new("python3")
            .args([
                "-m",
                "http.server",
                "--bind",
                "127.0.0.1",
                &port.to_string(),
                "--directory",
                folder,
            ])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        for _ in 0..200 {
            if std::net::TcpStream::connect(("127.0.0.1", port)).is_ok() {
                break;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Self(child, format!("http://127.0.0.1:{port}"))
    }
}

impl Drop for WebServer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn devices_check_and_pull_from_an_export_behind_a_plain_web_server() {
    let (world, export) = exported();
    let port = {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        free.local_addr().unwrap().port()
    };
    let server = WebServer::on(&export, port);
    let from = |command: &str| world.run([command, "acme/minilm", "--static", "--registry", &server.1]);
    from("check").exits(DONE);
    from("pull").exits(DONE);
}

#[test]
fn a_move_names_the_key_that_will_sign_the_log_and_warns_of_witnesses_that_nobody_asks() {
    let world = World::new();
    world
        .run(["publish", &world.model("model", 1), "acme/minilm@1.0.0"])
        .exits(DONE);
    let witness = world.at("witness");
    let made = world
        .run([
            "witness",
            "init",
            &witness,
            "--name",
            "witness.example/w",
            "--json",
        ])
        .exits(DONE)
        .json();
    let key = made["key"].as_str().unwrap();
    world
        .run(["namespace", "log", "acme", "--witness", key, "--yes"])
        .exits(DONE);
    let export = world.at("export");
    world.run(["namespace", "export", "acme", &export]).exits(DONE);
    let (new, next) = another(&world, "new").with_next_log_key();

    let unasked = at(&world, &new, &["namespace", "import", &export, "--public"]).exits(9);
    assert!(
        unasked.err.contains(&format!("does not ask witness {key}")),
        "{unasked:?}"
    );
    import(&world, &new, &export).exits(DONE);
    let named = at(
        &world,
        &new,
        &["namespace", "log", "acme", "--registry", &new.url, "--json"],
    );
    assert_eq!(named.exits(DONE).json()["log"]["log"], next.as_str());
}
