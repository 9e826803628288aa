//! The real process.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

fn command(folder: &Path, configuration: &str) -> Command {
    let file = folder.join("server.toml");
    std::fs::write(&file, configuration).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_assay-server"));
    command
        .args(["--listen", "127.0.0.1:0", "--config"])
        .arg(&file)
        .arg("--data-dir")
        .arg(folder.join("data"));
    command
}

/// A registry's process, killed when it is dropped.
pub struct Process {
    pub child: Child,
    lines: Vec<String>,
}

impl Process {
    /// Starts a registry on any free port and waits until it listens.
    pub fn start(folder: &Path, configuration: &str) -> Self {
        let mut child = command(folder, configuration)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = Vec::new();
        for line in BufReader::new(child.stdout.take().unwrap()).lines() {
            lines.push(line.unwrap());
            if lines.last().unwrap().starts_with("listening on ") {
                break;
            }
        }
        Self { child, lines }
    }

    /// What a registry that does not start says.
    pub fn refused(folder: &Path, configuration: &str) -> String {
        let refused = command(folder, configuration).output().unwrap();
        assert!(!refused.status.success(), "{refused:?}");
        String::from_utf8(refused.stderr).unwrap()
    }

    /// Waits until it ends by itself; it must not have ended well.
    pub fn dies(mut self) {
        for _ in 0..1200 {
            if let Some(status) = self.child.try_wait().unwrap() {
                assert!(!status.success());
                return;
            }
            std::thread::sleep(Duration::from_millis(25));
        }
        panic!("the process should have died");
    }

    pub fn url(&self) -> &str {
        self.lines.last().unwrap().strip_prefix("listening on ").unwrap()
    }

    pub fn token(&self) -> Option<&str> {
        self.lines
            .iter()
            .find_map(|line| line.strip_prefix("admin token (shown once): "))
    }

    pub fn signal(&self, name: &str) {
        assert!(
            Command::new("kill")
                .args([name, &self.child.id().to_string()])
                .status()
                .unwrap()
                .success()
        );
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs the program until it ends.
pub fn server(args: &[&str], data: &Path) -> std::process::Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_assay-server"));
    command.args(args).arg("--data-dir").arg(data).output().unwrap()
}
