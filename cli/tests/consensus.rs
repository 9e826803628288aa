//! The real command against two real registries: a publisher's on the one, a second authority's on the other.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod support;

use std::net::TcpListener;
use std::time::{Duration, Instant};

use serde_json::Value;
use support::exit::{DENIED, DONE, NOT_FOUND, REFUSED, USAGE};
use support::{Ran, Registry, World};

/// `acme` on its registry; `regulator` on another one, with a device's store of its own that trusts `acme`.
struct Two {
    acme: World,
    other: World,
    regulator: String,
    fingerprint: String,
}

impl Two {
    fn new() -> Self {
        let (acme, other) = (World::new(), World::new());
        let regulator = other.at("regulator");
        other.run(["keygen", &regulator, "--status", "1"]).exits(DONE);
        let mut two = Self {
            acme,
            other,
            regulator,
            fingerprint: String::new(),
        };
        let created = two.authority(&["namespace", "create", "regulator", "--json"]);
        let created = created.exits(DONE).json();
        two.fingerprint = created["fingerprint"].as_str().unwrap().to_owned();
        two.acme
            .run(["publish", &two.acme.model("one", 1), "acme/minilm@1.0.0"])
            .exits(DONE);
        two.authority(&[
            "trust",
            "add",
            "acme",
            "--registry",
            &two.acme.registry.url,
            "--fingerprint",
            &two.acme.fingerprint,
        ])
        .exits(DONE);
        two
    }

    /// The regulator's tool: its keys, its registry, its store.
    fn authority(&self, args: &[&str]) -> Ran {
        let store = self.other.at("regulators-store");
        let env = [
            ("ASSAY_AUTHORITY", Some(self.regulator.as_str())),
            ("ASSAY_STORE", Some(store.as_str())),
        ];
        self.other.run_with(&env, args)
    }

    /// The device, which trusts both from here on and requires the regulator's signature.
    fn require(&self) {
        let (url, fingerprint) = (&self.other.registry.url, &self.fingerprint);
        let add = ["trust", "add", "regulator", "--registry", url, "--fingerprint"];
        self.device(&[&add[..], &[fingerprint]].concat()).exits(DONE);
        let require = ["trust", "require", "acme/minilm", "--authority", "regulator"];
        self.device(&require).exits(DONE);
    }

    fn device(&self, args: &[&str]) -> Ran {
        self.acme.run_with(&[], args)
    }

    #[track_caller]
    fn missing(&self, args: &[&str]) -> String {
        let ran = self.device(&[args, &["--json"]].concat()).exits(REFUSED);
        let error = &ran.json()["error"];
        assert_eq!(error["code"], "consensus-missing", "{ran:?}");
        ran.out
    }
}

#[test]
fn a_release_needs_the_signature_of_an_authority_on_another_registry() {
    let two = Two::new();
    two.device(&["pull", "acme/minilm"]).exits(DONE);
    two.require();

    // What was active before is not handed out any more; nothing that the publisher's registry says helps.
    for command in ["check", "pull", "update", "path", "verify"] {
        two.missing(&[command, "acme/minilm"]);
    }
    // Nobody agreed: nothing is signed. Then the regulator's tool checks the release at its own registry, and signs.
    let endorse = ["endorse", "acme/minilm@1.0.0", "--namespace", "regulator"];
    let unasked = two.authority(&endorse).exits(DENIED);
    assert!(
        unasked
            .err
            .contains("endorses minilm@1.0.0 of the namespace with identity"),
        "{unasked:?}"
    );
    let yes = [&endorse[..], &["--yes", "--json"]].concat();
    let signed = two.authority(&yes).exits(DONE).json();
    assert_eq!(signed["published"], true);
    assert_eq!(two.authority(&yes).exits(DONE).json()["already"], true);

    let check = two.device(&["check", "acme/minilm", "--json"]).exits(DONE).json();
    let evidence = &check["verdict"]["stages"][2]["evidence"];
    assert_eq!(
        evidence["authorities"], "1 of 1 signed it too, 1 required",
        "{check}"
    );
    let static_paths = ["check", "acme/minilm", "--static"];
    two.device(&static_paths).exits(DONE);
    let pulled = two.device(&["pull", "acme/minilm", "--json"]).exits(DONE).json();
    assert_eq!(pulled["already_active"], true);
    two.device(&["path", "acme/minilm"]).exits(DONE);
    two.device(&["verify", "acme/minilm"]).exits(DONE);
    two.device(&["verify", "acme/minilm", "--online"]).exits(DONE);

    // The next release is the publisher's word alone: the one before stays active.
    let next = two.acme.model("two", 2);
    two.acme.run(["publish", &next, "acme/minilm@1.1.0"]).exits(DONE);
    let refused = two.missing(&["pull", "acme/minilm"]);
    assert!(
        refused.contains("without regulator (release: not-endorsed"),
        "{refused}"
    );
    two.device(&["verify", "acme/minilm"]).exits(DONE);
    let yes = ["endorse", "acme/minilm@1.1.0", "--yes"];
    two.authority(&yes).exits(DONE);
    two.device(&["pull", "acme/minilm"]).exits(DONE);
    // Both kept releases were endorsed when they were activated.
    two.device(&["rollback", "acme/minilm"]).exits(DONE);
    two.device(&["path", "acme/minilm"]).exits(DONE);
}

#[test]
fn an_endorsement_is_no_release_of_the_authority() {
    let two = Two::new();
    two.authority(&["endorse", "acme/minilm@1.0.0", "--yes"])
        .exits(DONE);
    two.authority(&["releases", "regulator/minilm"]).exits(NOT_FOUND);
    two.require();
    let refused = two
        .device(&["pull", "regulator/minilm", "--json"])
        .exits(REFUSED)
        .json();
    assert_eq!(refused["error"]["code"], "wrong-release", "{refused}");
    // Its own namespace's releases are published, not endorsed.
    let own = two.acme.run(["endorse", "acme/minilm@1.0.0", "--yes"]);
    assert_ne!(own.code, DONE);
    assert!(own.err.contains("assay publish"), "{own:?}");
}

#[test]
fn a_revoked_endorsement_and_a_silent_registry_do_not_count() {
    let mut two = Two::new();
    two.require();
    two.authority(&["endorse", "acme/minilm@1.0.0", "--yes"])
        .exits(DONE);
    two.device(&["pull", "acme/minilm"]).exits(DONE);

    let key = format!("{}/status.pem.pub", two.regulator);
    two.authority(&["status", "init", "regulator", "--key", &key, "--yes"])
        .exits(DONE);
    two.device(&["check", "acme/minilm"]).exits(DONE);
    let revoke = [
        "status",
        "revoke",
        "regulator",
        "--release",
        "regulator/minilm@1.0.0",
        "--yes",
    ];
    two.authority(&revoke).exits(DONE);
    let refused = two.missing(&["check", "acme/minilm"]);
    assert!(
        refused.contains("without regulator (release: revoked"),
        "{refused}"
    );
    // What it is active with stays, as after every revocation.
    two.device(&["verify", "acme/minilm"]).exits(DONE);
    two.device(&["path", "acme/minilm"]).exits(DONE);

    two.other = World::new();
    let refused = two.missing(&["check", "acme/minilm"]);
    assert!(refused.contains("unavailable"), "{refused}");
}

#[test]
fn the_owner_alone_changes_what_is_required() {
    let two = Two::new();
    let require = |more: &[&str]| two.device(&[&["trust", "require", "acme/minilm"], more].concat());
    // Not trusted here; then named twice, too many, none, and the model's own.
    require(&["--authority", "regulator"]).exits(NOT_FOUND);
    two.require();
    require(&["--authority", "regulator", "--authority", "regulator"]).exits(USAGE);
    require(&["--authority", "regulator", "--threshold", "2"]).exits(USAGE);
    require(&["--authority", "regulator", "--threshold", "0"]).exits(USAGE);
    require(&["--authority", "acme"]).exits(USAGE);
    require(&[]).exits(USAGE);

    let listed = two.device(&["trust", "list", "--json"]).exits(DONE).json();
    assert_eq!(listed["require"][0]["model"], "acme/minilm");
    assert_eq!(
        listed["require"][0]["authorities"][0]["identity"],
        two.fingerprint.as_str()
    );
    let shown = two.device(&["trust", "show", "regulator"]).exits(DONE);
    assert!(
        shown
            .out
            .contains("acme/minilm needs the signatures of 1 of: regulator"),
        "{shown:?}"
    );

    // Without its pin the authority does not count; the requirement stays.
    two.device(&["trust", "remove", "regulator"]).exits(DONE);
    let refused = two.missing(&["pull", "acme/minilm"]);
    assert!(refused.contains("not-trusted"), "{refused}");
    // Nor when the model's own namespace is trusted anew.
    two.device(&["trust", "remove", "acme"]).exits(DONE);
    two.device(&["trust", "add", "acme", "--fingerprint", &two.acme.fingerprint])
        .exits(DONE);
    two.missing(&["pull", "acme/minilm"]);
    let removed = two
        .device(&["trust", "unrequire", "acme/minilm", "--json"])
        .exits(DONE)
        .json();
    assert_eq!(removed["removed"], true);
    two.device(&["pull", "acme/minilm"]).exits(DONE);

    // A policy that cannot be read lets nothing be used.
    std::fs::write(
        two.acme.at("store/trust-policy.json"),
        r#"{"v": 1, "require": [], "waive": true}"#,
    )
    .unwrap();
    for command in ["check", "pull", "path"] {
        let ran = two.device(&[command, "acme/minilm"]);
        assert!(
            ran.code != DONE && ran.err.contains("trust-policy.json"),
            "{ran:?}"
        );
    }
}

/// Two who each require both could never begin, if the one who is to sign waited for its own word.
#[test]
fn an_authority_endorses_what_its_own_device_may_not_use_yet() {
    let two = Two::new();
    let (url, fingerprint) = (&two.other.registry.url, &two.fingerprint);
    let add = ["trust", "add", "regulator", "--registry", url, "--fingerprint"];
    two.authority(&[&add[..], &[fingerprint]].concat()).exits(DONE);
    let require = ["trust", "require", "acme/minilm", "--authority", "regulator"];
    two.authority(&require).exits(DONE);
    two.authority(&["check", "acme/minilm"]).exits(REFUSED);
    let endorse = ["endorse", "acme/minilm@1.0.0", "--namespace", "regulator"];
    two.authority(&[&endorse[..], &["--yes"]].concat()).exits(DONE);
    two.authority(&["check", "acme/minilm"]).exits(DONE);
}

/// A registry that takes connections and never answers is asked briefly: the others' word may be enough.
#[test]
fn an_authority_that_never_answers_is_not_waited_for_as_a_registry_is() {
    let two = Two::new();
    two.require();
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", silent.local_addr().unwrap());
    let pin = two.acme.at("store/namespaces/regulator/pin.json");
    let mut record: Value = serde_json::from_slice(&std::fs::read(&pin).unwrap()).unwrap();
    record["registry"] = address.into();
    std::fs::write(&pin, record.to_string()).unwrap();
    let begun = Instant::now();
    let missing = two.missing(&["check", "acme/minilm"]);
    assert!(missing.contains("without regulator"), "{missing}");
    // Four patient attempts would be four minutes.
    assert!(
        begun.elapsed() < Duration::from_secs(120),
        "{:?}",
        begun.elapsed()
    );
}

#[test]
fn a_second_authority_moves_to_another_registry_with_what_it_endorsed() {
    let two = Two::new();
    two.require();
    let endorse = [
        "endorse",
        "acme/minilm@1.0.0",
        "--namespace",
        "regulator",
        "--yes",
    ];
    two.authority(&endorse).exits(DONE);
    let export = two.other.at("export");
    let exported = two.authority(&["namespace", "export", "regulator", &export, "--json"]);
    // Nothing of it is a release of its own, and no file of the release is there.
    let exported = exported.exits(DONE).json();
    assert_eq!(exported["export"]["releases"], 0);
    assert_eq!(exported["blobs"], 0);
    let data = two.other.folder.path().join("new");
    std::fs::create_dir(&data).unwrap();
    let new = Registry::start(&data);
    let at_new = [
        ("ASSAY_REGISTRY", Some(new.url.as_str())),
        ("ASSAY_TOKEN", Some(new.token.as_str())),
        ("ASSAY_AUTHORITY", Some(two.regulator.as_str())),
    ];
    let import = ["namespace", "import", &export, "--public", "--yes", "--json"];
    let moved = two.other.run_with(&at_new, &import).exits(DONE).json();
    assert_eq!(moved["published"], true);
    // Devices follow, and the word of the second authority counts as before.
    two.device(&["trust", "move", "regulator", "--registry", &new.url])
        .exits(DONE);
    two.device(&["pull", "acme/minilm"]).exits(DONE);
    two.device(&["check", "acme/minilm", "--static"]).exits(DONE);
}
