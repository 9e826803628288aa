//! The real command and the real registry, each test with folders of its own.
#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

/// The exit codes that `assay --help` lists.
pub(crate) mod exit {
    pub(crate) const DONE: i32 = 0;
    pub(crate) const FAILED: i32 = 1;
    pub(crate) const USAGE: i32 = 2;
    pub(crate) const REFUSED: i32 = 3;
    pub(crate) const DEFERRED: i32 = 4;
    pub(crate) const NETWORK: i32 = 5;
    pub(crate) const NOT_FOUND: i32 = 6;
    pub(crate) const CONFLICT: i32 = 7;
    pub(crate) const STORE: i32 = 8;
    pub(crate) const DENIED: i32 = 9;
}

const ASSAY: &str = env!("CARGO_BIN_EXE_assay");

/// The command, with nothing of the caller's environment that it would read.
pub(crate) fn assay() -> Command {
    let mut command = Command::new(ASSAY);
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("ASSAY_")) {
        command.env_remove(name);
    }
    command.stdin(Stdio::null());
    command
}

/// What a run came to.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ran {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|e| panic!("not one JSON document: {e}: {self:?}"))
    }

    #[track_caller]
    pub(crate) fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{self:?}");
        assert!(!self.err.contains("panicked"), "{self:?}");
        self
    }
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

/// Runs the command with these arguments.
pub(crate) fn run<const N: usize>(args: [&str; N]) -> Ran {
    assay().args(args).output().unwrap().into()
}

/// The registry's binary beside the command's, built if it is not there.
fn server() -> PathBuf {
    let folder = Path::new(ASSAY).parent().unwrap();
    let path = folder.join("assay-server");
    if !path.exists() {
        let mut build = Command::new(env!("CARGO"));
        build.args(["build", "--quiet", "-p", "assay-server", "--target-dir"]);
        build.arg(folder.parent().unwrap());
        if folder.ends_with("release") {
            build.arg("--release");
        }
        assert!(build.status().unwrap().success(), "assay-server does not build");
    }
    path
}

/// A registry on a free port of this machine, with an empty folder.
pub(crate) struct Registry {
    pub(crate) url: String,
    pub(crate) token: String,
    pub(crate) data: PathBuf,
    child: Child,
}

impl Registry {
    /// On this folder, which must exist.
    pub(crate) fn start(data: &Path) -> Self {
        let (child, token, url) = Self::spawn(data);
        Self {
            url,
            token: token.unwrap(),
            data: data.to_owned(),
            child,
        }
    }

    /// The same registry, which stopped for its log to get its next key.
    pub(crate) fn with_next_log_key(mut self) -> (Self, String) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        let next = Self::command()
            .args(["log-key", "next", "--data-dir"])
            .arg(&self.data)
            .output()
            .unwrap();
        assert!(next.status.success(), "{next:?}");
        let (child, _, url) = Self::spawn(&self.data);
        (self.child, self.url) = (child, url);
        let told = String::from_utf8(next.stdout).unwrap();
        let key = told.trim().strip_prefix("next log key: ").unwrap();
        (self, key.to_owned())
    }

    fn command() -> Command {
        let mut command = Command::new(server());
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("ASSAY_")) {
            command.env_remove(name);
        }
        command
    }

    fn spawn(data: &Path) -> (Child, Option<String>, String) {
        let mut child = Self::command()
            .args(["--listen", "127.0.0.1:0", "--data-dir"])
            .arg(data)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(std::fs::File::create(data.with_extension("log")).unwrap())
            .spawn()
            .unwrap();
        let mut token = None;
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let url = loop {
            let Some(line) = lines.next() else {
                let log = std::fs::read_to_string(data.with_extension("log"));
                panic!("the registry did not start: {log:?}");
            };
            let line = line.unwrap();
            if let Some(secret) = line.strip_prefix("admin token (shown once): ") {
                token = Some(secret.to_owned());
            } else if let Some(url) = line.strip_prefix("listening on ") {
                break url.to_owned();
            }
        };
        (child, token, url)
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A registry, an authority with its namespace `acme`, and one device that trusts it.
pub(crate) struct World {
    pub(crate) registry: Registry,
    pub(crate) fingerprint: String,
    pub(crate) folder: TempDir,
    /// Set for every run of the command.
    pub(crate) env: Vec<(String, String)>,
}

impl World {
    /// Keys and a namespace on a new registry; the device trusts it.
    pub(crate) fn new() -> Self {
        Self::with_keys(&[], Vec::new())
    }

    /// As [`World::new`], with further options of `assay keygen` and variables for every run.
    pub(crate) fn with_keys(keygen: &[&str], env: Vec<(String, String)>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("registry");
        std::fs::create_dir(&data).unwrap();
        let mut world = Self {
            registry: Registry::start(&data),
            fingerprint: String::new(),
            folder,
            env,
        };
        let authority = world.at("authority");
        world
            .run_with(&[], &[&["keygen", authority.as_str()], keygen].concat())
            .exits(0);
        let created = world
            .run(["namespace", "create", "acme", "--json"])
            .exits(0)
            .json();
        world.fingerprint = created["fingerprint"].as_str().unwrap().to_owned();
        world
            .run(["trust", "add", "acme", "--fingerprint", &world.fingerprint])
            .exits(0);
        world
    }

    /// A path in the test's folder.
    pub(crate) fn at(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }

    /// The command in this world's environment: registry, token, authority, store.
    pub(crate) fn command(&self) -> Command {
        let mut command = assay();
        command
            .env("ASSAY_REGISTRY", &self.registry.url)
            .env("ASSAY_TOKEN", &self.registry.token)
            .env("ASSAY_AUTHORITY", self.folder.path().join("authority"))
            .env("ASSAY_STORE", self.folder.path().join("store"))
            .envs(self.env.iter().map(|(name, value)| (name, value)));
        command
    }

    pub(crate) fn run<const N: usize>(&self, args: [&str; N]) -> Ran {
        self.command().args(args).output().unwrap().into()
    }

    /// The command with these variables set, or removed where they are `None`.
    pub(crate) fn run_with(&self, env: &[(&str, Option<&str>)], args: &[&str]) -> Ran {
        let mut command = self.command();
        for (name, value) in env {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        command.args(args).output().unwrap().into()
    }

    /// A model of two chunks and a bit, whose bytes are the same for the same seed.
    pub(crate) fn model(&self, name: &str, seed: u8) -> String {
        let folder = self.folder.path().join(name);
        std::fs::create_dir_all(folder.join("tokenizer")).unwrap();
        std::fs::write(folder.join("config.json"), format!("{{\"seed\": {seed}}}")).unwrap();
        std::fs::write(folder.join("weights.bin"), weights(seed)).unwrap();
        std::fs::write(folder.join("tokenizer/vocab.txt"), "a\nb\n").unwrap();
        folder.to_str().unwrap().to_owned()
    }
}

/// No two blocks alike, so that a byte is found in one place only.
pub(crate) fn weights(seed: u8) -> Vec<u8> {
    let mut state = u64::from(seed) + 1;
    let words = (0..(5 << 17)).flat_map(|_| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 16).to_le_bytes().into_iter().take(4)
    });
    words.collect()
}

/// All files below a folder.
pub(crate) fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path))
        } else {
            found.push(path)
        }
    }
    found
}

/// Changes one byte of a file, whatever its permissions.
pub(crate) fn flip(path: &Path, at: usize) {
    use std::os::unix::fs::PermissionsExt;
    let mut bytes = std::fs::read(path).unwrap();
    bytes[at] ^= 1;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o644)).unwrap();
    std::fs::write(path, bytes).unwrap();
}
