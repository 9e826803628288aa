//! What the command looks like to people and scripts, without any registry.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod support;

use std::io::Read;
use std::process::Stdio;

use support::{Ran, assay, run};

/// Every command that does something, as one types it.
const COMMANDS: [&[&str]; 61] = [
    &["keygen"],
    &["key"],
    &["key", "add"],
    &["key", "list"],
    &["namespace", "export"],
    &["namespace", "import"],
    &["trust", "move"],
    &["namespace", "create"],
    &["namespace", "log"],
    &["namespace", "join"],
    &["namespace", "show"],
    &["namespace", "list"],
    &["publish"],
    &["root", "show"],
    &["root", "rotate"],
    &["root", "sign"],
    &["root"],
    &["role", "grant"],
    &["role", "revoke"],
    &["role", "list"],
    &["role"],
    &["endorse"],
    &["approve"],
    &["trust", "add"],
    &["trust", "list"],
    &["trust", "show"],
    &["trust", "remove"],
    &["trust", "require"],
    &["trust", "unrequire"],
    &["check"],
    &["pull"],
    &["update"],
    &["repair"],
    &["verify"],
    &["rollback"],
    &["resume"],
    &["namespace", "signers"],
    &["status"],
    &["status", "init"],
    &["status", "show"],
    &["status", "renew"],
    &["status", "revoke"],
    &["path"],
    &["search"],
    &["releases"],
    &["token", "create"],
    &["token", "list"],
    &["token", "revoke"],
    &["log", "audit"],
    &["log"],
    &["monitor"],
    &["witness", "init"],
    &["witness", "add-log"],
    &["witness", "show"],
    &["witness", "run"],
    &["witness"],
    &["completions"],
    &["exit-codes"],
    &["namespace"],
    &["trust"],
    &["token"],
];

#[test]
fn every_command_explains_itself_with_an_example() {
    for command in COMMANDS {
        let ran: Ran = assay().args(command).arg("--help").output().unwrap().into();
        let ran = ran.exits(0);
        assert!(ran.out.contains("Usage: assay"), "{command:?}: {}", ran.out);
        let is_group = matches!(
            command,
            ["namespace" | "key" | "trust" | "token" | "root" | "role" | "log" | "witness" | "exit-codes"]
        );
        assert!(
            is_group || ran.out.contains("Example"),
            "{command:?} has no example: {}",
            ran.out
        );
        assert!(ran.out.contains("--json"), "{command:?} has no --json");
    }
}

#[test]
fn the_help_lists_commands_environment_and_exit_codes() {
    let help = run(["--help"]).exits(0).out;
    for command in COMMANDS {
        assert!(
            help.contains(&format!("\n  {} ", command[0])),
            "{command:?} is not listed"
        );
    }
    for name in [
        "ASSAY_REGISTRY",
        "ASSAY_TOKEN",
        "ASSAY_STORE",
        "ASSAY_AUTHORITY",
        "ASSAY_PASSPHRASE",
    ] {
        assert!(help.contains(name), "{name} is not listed");
    }
    let codes = run(["exit-codes"]).exits(0).out;
    assert_eq!(codes.lines().count(), 12);
    assert!(help.contains(codes.trim_end()));
    assert!(
        run(["help", "exit-codes"])
            .exits(0)
            .out
            .contains(codes.trim_end())
    );
}

#[test]
fn the_version_is_the_crates() {
    assert_eq!(
        run(["--version"]).exits(0).out,
        format!("assay {}\n", env!("CARGO_PKG_VERSION"))
    );
}

#[test]
fn mistakes_on_the_command_line_exit_with_2_and_as_json_where_asked() {
    run([]).exits(2);
    run(["no-such-command"]).exits(2);
    run(["check", "acme"]).exits(2);
    run(["pull", "acme/../x"]).exits(2);
    run(["publish", ".", "acme/minilm"]).exits(2);
    run(["check", "acme/m", "--require", "luck"]).exits(2);
    run([
        "trust",
        "add",
        "acme",
        "--registry",
        "http://127.0.0.1:1",
        "--fingerprint",
        "abc",
    ])
    .exits(2);
    run(["verify", "x", "--signature", "y"]).exits(2);
    for signer in ["lab", "=lab.pub", "lab="] {
        run(["namespace", "create", "acme", "--signer-key", signer]).exits(2);
    }
    for signer in ["ci", "ci=https://issuer.example", "ci=,me@acme.example", "=a,b"] {
        run([
            "namespace",
            "create",
            "acme",
            "--sigstore-signer",
            signer,
            "--sigstore-root",
            "x",
        ])
        .exits(2);
    }
    // A Sigstore identity means nothing without the instance that vouches for it.
    run(["namespace", "create", "acme", "--sigstore-signer", "ci=a,b"]).exits(2);
    let ran = run(["check", "acme", "--json"]).exits(2);
    assert_eq!(ran.json()["error"]["code"], "usage");
    assert_eq!(ran.json()["exit"], 2);
    assert_eq!(ran.err, "");
}

#[test]
fn an_address_that_is_none_and_a_token_in_the_clear_are_refused() {
    let bad = run(["search", "x", "--registry", "ftp://models.example.org", "--json"]).exits(2);
    assert_eq!(bad.json()["error"]["code"], "registry-address");
    let plain = run([
        "search",
        "x",
        "--registry",
        "http://models.example.org",
        "--token",
        "secret",
        "--json",
    ])
    .exits(2);
    assert_eq!(plain.json()["error"]["code"], "plain-token");
    assert!(!plain.out.contains("secret"));
}

#[test]
fn completions_come_for_every_shell() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        assert!(
            run(["completions", shell]).exits(0).out.contains("namespace"),
            "{shell}"
        );
    }
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let mut child = assay()
        .args(["completions", "bash"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let mut complaints = String::new();
    child
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut complaints)
        .unwrap();
    assert_eq!((child.wait().unwrap().code(), complaints.as_str()), (Some(0), ""));
}

#[test]
fn output_that_cannot_be_written_is_a_failure() {
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let ran: Ran = assay()
        .args(["completions", "bash"])
        .stdout(full)
        .output()
        .unwrap()
        .into();
    assert!(ran.exits(1).err.contains("standard output"));
}

#[test]
fn keys_are_private_to_their_owner_and_never_overwritten() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let keys = folder.path().join("keys");
    let keys = keys.to_str().unwrap();
    let made = run(["keygen", keys, "--root", "2", "--root-threshold", "2", "--json"])
        .exits(0)
        .json();
    assert_eq!(made["keys"].as_array().unwrap().len(), 5);
    for name in [
        "root.pem",
        "root-2.pem",
        "targets.pem",
        "publisher.pem",
        "model-signing.pem",
    ] {
        let path = folder.path().join("keys").join(name);
        assert_eq!(
            std::fs::metadata(&path).unwrap().permissions().mode() & 0o077,
            0,
            "{name}"
        );
        assert!(path.with_file_name(format!("{name}.pub")).exists(), "{name}");
    }
    let before = std::fs::read(folder.path().join("keys/root.pem")).unwrap();
    run(["keygen", keys]).exits(7);
    assert_eq!(
        std::fs::read(folder.path().join("keys/root.pem")).unwrap(),
        before
    );

    let other = folder.path().join("other");
    let other = other.to_str().unwrap();
    run(["keygen", other, "--targets-threshold", "2"]).exits(2);
    run(["keygen", other, "--kind", "p521"]).exits(2);
    // Nobody to ask: standard input is no terminal.
    run(["keygen", other, "--encrypt"]).exits(9);
    assert!(
        !std::path::Path::new(other).exists(),
        "a refusal leaves nothing behind"
    );
}

#[test]
fn a_device_that_trusts_nothing_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().to_str().unwrap();
    for command in [
        "check", "pull", "update", "repair", "verify", "rollback", "resume", "path",
    ] {
        let ran = run([command, "acme/m", "--store", store, "--json"]).exits(6);
        assert_eq!(ran.json()["error"]["code"], "not-trusted", "{command}");
    }
    run(["trust", "remove", "acme", "--store", store]).exits(6);
    let folder = run(["verify", store, "--store", store, "--json"]).exits(2);
    assert!(
        folder.json()["error"]["advice"]
            .as_str()
            .unwrap()
            .contains("DIR NS/MODEL")
    );
    assert_eq!(
        run(["status", "--store", store, "--json"]).exits(0).json()["models"],
        serde_json::json!([])
    );
    run([
        "namespace",
        "create",
        "acme",
        "--authority",
        "/nonexistent",
        "--registry",
        "http://127.0.0.1:1",
    ])
    .exits(6);
}

#[test]
fn a_folder_that_another_tool_signed_is_judged_like_a_release() {
    let fixtures = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../verifier/provenance/tests/fixtures/oms"
    );
    let at = |name: &str| format!("{fixtures}/{name}");
    let (model, signature, key) = (at("model"), at("model.ec-p256.sig"), at("ec-p256.pub"));
    let permitted = run([
        "verify",
        &model,
        "--signature",
        &signature,
        "--public-key",
        &key,
        "--json",
    ])
    .exits(0);
    assert_eq!(permitted.json()["verdict"]["outcome"], "permit");

    let other = run([
        "verify",
        &model,
        "--signature",
        &signature,
        "--public-key",
        &at("ec-p384.pub"),
        "--json",
    ])
    .exits(3);
    assert_eq!(other.json()["verdict"]["stages"][0]["code"], "signature-invalid");

    let folder = tempfile::tempdir().unwrap();
    let copy = |from: &str| std::fs::copy(format!("{model}/{from}"), folder.path().join(from)).unwrap();
    std::fs::create_dir(folder.path().join("tokenizer")).unwrap();
    for name in [
        "README.md",
        "config.json",
        "tokenizer/vocab.txt",
        "weights-00001.safetensors",
    ] {
        copy(name);
    }
    let here = folder.path().to_str().unwrap();
    let args = [
        "verify",
        here,
        "--signature",
        &signature,
        "--public-key",
        &key,
        "--json",
    ];
    run(args).exits(0);
    std::fs::write(folder.path().join("extra.bin"), "unsigned").unwrap();
    assert_eq!(run(args).exits(3).json()["error"]["code"], "extraneous-file");
    run([
        "verify",
        here,
        "--signature",
        &signature,
        "--public-key",
        &key,
        "--ignore",
        "extra.bin",
    ])
    .exits(0);
    std::fs::remove_file(folder.path().join("extra.bin")).unwrap();
    std::fs::write(folder.path().join("config.json"), "{}").unwrap();
    assert_eq!(run(args).exits(3).json()["error"]["code"], "digest-mismatch");
    run([
        "verify",
        here,
        "--signature",
        "/nonexistent",
        "--public-key",
        &key,
    ])
    .exits(6);
}

#[test]
fn a_folder_that_a_sigstore_identity_signed_is_accepted_from_that_identity_only() {
    let fixtures = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../verifier/provenance/tests/fixtures/keyless-model"
    );
    let (signature, root) = (
        format!("{fixtures}/bundle.sigstore.json"),
        format!("{fixtures}/trusted_root.json"),
    );
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("README.md"), "readme").unwrap();
    std::fs::write(folder.path().join("weights.safetensors"), "weights").unwrap();
    let here = folder.path().to_str().unwrap();
    let verify = |identity: &str, issuer: &str, root: &str| {
        run([
            "verify",
            here,
            "--signature",
            &signature,
            "--identity",
            identity,
            "--issuer",
            issuer,
            "--sigstore-root",
            root,
            "--json",
        ])
    };
    let ci = "https://ci.assay.test/acme/minilm/release.yml@refs/heads/main";
    let issuer = "https://token.assay.test";
    let permitted = verify(ci, issuer, &root).exits(0).json();
    assert_eq!(permitted["verdict"]["stages"][0]["evidence"]["identity"], ci);
    for (identity, issuer) in [
        (
            "https://ci.assay.test/acme/minilm/release.yml@refs/heads/fork",
            issuer,
        ),
        (ci, "https://other.assay.test"),
    ] {
        let refused = verify(identity, issuer, &root).exits(3).json();
        assert_eq!(refused["error"]["code"], "signature-invalid");
    }
    verify(ci, issuer, "/nonexistent").exits(6);
    verify(ci, issuer, &signature).exits(3);
    std::fs::write(folder.path().join("weights.safetensors"), "weightz").unwrap();
    assert_eq!(
        verify(ci, issuer, &root).exits(3).json()["error"]["code"],
        "digest-mismatch"
    );
    // Half of what names a signer names none.
    run(["verify", here, "--signature", &signature, "--identity", ci]).exits(2);
}
