//! A PostgreSQL server of the test's own.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use sea_orm::ConnectionTrait;

/// A server to make databases on.
pub struct Cluster {
    url: String,
    started: Option<Started>,
    made: AtomicU32,
}

struct Started {
    bin: PathBuf,
    folder: tempfile::TempDir,
    user: Option<String>,
}

impl Cluster {
    /// The server that the environment names, or a new one.
    pub async fn find_or_start() -> Self {
        let (url, started) = match std::env::var("ASSAY_TEST_POSTGRES_URL") {
            Ok(url) => (url, None),
            Err(_) => {
                let started = Started::start();
                (started.url(), Some(started))
            }
        };
        Self {
            url,
            started,
            made: AtomicU32::new(0),
        }
    }

    /// The URL of a new, empty database.
    pub async fn fresh_database(&self) -> String {
        let n = self.made.fetch_add(1, Ordering::Relaxed);
        let name = format!("assay_test_{}_{n}", std::process::id());
        self.execute(&format!("CREATE DATABASE {name}")).await;
        let mut url = url::Url::parse(&self.url).unwrap();
        url.set_path(&name);
        url.to_string()
    }

    /// Drops a database that [`Cluster::fresh_database`] made.
    pub async fn drop_database(&self, url: &str) {
        let name = url::Url::parse(url)
            .unwrap()
            .path()
            .trim_start_matches('/')
            .to_owned();
        self.execute(&format!("DROP DATABASE {name} WITH (FORCE)")).await;
    }

    async fn execute(&self, sql: &str) {
        let db = sea_orm::Database::connect(self.url.as_str()).await.unwrap();
        db.execute_unprepared(sql).await.unwrap();
        db.close().await.unwrap();
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if let Some(started) = &self.started {
            let data = started.folder.path().join("data");
            started.run(
                "pg_ctl",
                &["-D", data.to_str().unwrap(), "-m", "immediate", "-w", "stop"],
            );
        }
    }
}

impl Started {
    fn start() -> Self {
        let bin = binaries().expect(
            "PostgreSQL's initdb and pg_ctl are neither in PATH nor in /usr/lib/postgresql/*/bin: \
             install them (Debian: apt-get install postgresql) or set ASSAY_TEST_POSTGRES_URL",
        );
        // A short path: that of a Unix socket has at most 107 bytes.
        let folder = tempfile::Builder::new().prefix("assay-pg-").tempdir().unwrap();
        let user = (output("id", &["-u"]) == "0").then(other_user);
        if let Some(user) = &user {
            // PostgreSQL refuses to run as root.
            assert!(
                Command::new("chown")
                    .arg(user)
                    .arg(folder.path())
                    .status()
                    .unwrap()
                    .success()
            );
        }
        let started = Self { bin, folder, user };
        let data = started.folder.path().join("data");
        let (data, log) = (data.to_str().unwrap(), started.folder.path().join("log"));
        let sync = "--no-sync";
        assert!(
            started.run(
                "initdb",
                &[
                    "-D",
                    data,
                    "-U",
                    "assay",
                    "-A",
                    "trust",
                    "-E",
                    "UTF8",
                    "--locale=C.UTF-8",
                    sync
                ]
            ),
            "initdb failed"
        );
        let options = format!(
            "-F -c listen_addresses='' -k '{}'",
            started.folder.path().display()
        );
        let arguments = [
            "-D",
            data,
            "-l",
            log.to_str().unwrap(),
            "-w",
            "-o",
            &options,
            "start",
        ];
        assert!(
            started.run("pg_ctl", &arguments),
            "pg_ctl start failed: {}",
            std::fs::read_to_string(&log).unwrap_or_default()
        );
        started
    }

    fn url(&self) -> String {
        format!(
            "postgres://assay@localhost/postgres?host={}",
            self.folder.path().display()
        )
    }

    fn run(&self, program: &str, arguments: &[&str]) -> bool {
        let program = self.bin.join(program);
        let mut command = match &self.user {
            Some(user) => {
                let mut command = Command::new("runuser");
                command.args(["-u", user, "--"]).arg(program);
                command
            }
            None => Command::new(program),
        };
        // pg_ctl leaves a server behind that would hold the test's own output open.
        let log = std::fs::OpenOptions::new()
            .append(true)
            .create(true)
            .open(self.folder.path().join("tools"))
            .unwrap();
        let status = command
            .args(arguments)
            .current_dir("/")
            .stdin(std::process::Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .status()
            .unwrap();
        if !status.success() {
            println!(
                "{}",
                std::fs::read_to_string(self.folder.path().join("tools")).unwrap_or_default()
            );
        }
        status.success()
    }
}

fn output(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn other_user() -> String {
    let exists = |user: &&str| {
        Command::new("id")
            .args(["-u", user])
            .output()
            .unwrap()
            .status
            .success()
    };
    ["postgres", "nobody"]
        .iter()
        .find(|user| exists(user))
        .expect("a user that is not root")
        .to_string()
}

fn binaries() -> Option<PathBuf> {
    let whole = |folder: &Path| {
        ["initdb", "pg_ctl", "postgres"]
            .iter()
            .all(|name| folder.join(name).is_file())
    };
    let path = std::env::var_os("PATH").unwrap_or_default();
    if let Some(found) = std::env::split_paths(&path).find(|folder| whole(folder)) {
        return Some(found);
    }
    let mut versions: Vec<_> = std::fs::read_dir("/usr/lib/postgresql")
        .ok()?
        .flatten()
        .map(|entry| entry.path().join("bin"))
        .collect();
    versions.sort();
    versions.into_iter().rev().find(|folder| whole(folder))
}
