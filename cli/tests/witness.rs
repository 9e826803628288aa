//! `assay witness` as a process: over HTTP, killed, stopped, bothered.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

#[path = "../../client/tests/common/log.rs"]
mod log;
mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use assay_log::VerifierKey;
use assay_log::witness::{Answer, read_answer};
use log::MemoryLog;
use support::{assay, run};
use tempfile::TempDir;

/// A witness process on a free port.
struct Running {
    child: Child,
    address: String,
}

impl Running {
    fn start(dir: &str) -> Self {
        let mut command = assay();
        command.args(["witness", "run", dir, "--listen", "127.0.0.1:0"]);
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let address = line
            .trim()
            .strip_prefix("listening on http://")
            .unwrap()
            .to_owned();
        Self { child, address }
    }

    /// Status, media type and body of the answer.
    fn post(&self, body: &str) -> (u16, String, String) {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        let head = format!(
            "POST /add-checkpoint HTTP/1.1\r\nHost: w\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(body.as_bytes()).unwrap();
        answer(stream)
    }

    fn terminate(mut self) -> i32 {
        let kill = Command::new("kill").arg(self.child.id().to_string()).status();
        assert!(kill.unwrap().success());
        self.child.wait().unwrap().code().unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn answer(mut stream: TcpStream) -> (u16, String, String) {
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let media = head.lines().find_map(|line| {
        line.to_lowercase()
            .strip_prefix("content-type: ")
            .map(str::to_owned)
    });
    (status, media.unwrap_or_default(), body.to_owned())
}

fn init(log: &MemoryLog) -> (TempDir, String, VerifierKey) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("witness").to_str().unwrap().to_owned();
    let made = run(["witness", "init", &path, "--name", "witness.example/w", "--json"])
        .exits(0)
        .json();
    run(["witness", "add-log", &path, "--log", &log.key.to_string()]).exits(0);
    let key = made["key"].as_str().unwrap().parse().unwrap();
    (dir, path, key)
}

#[test]
fn killed_at_any_moment_it_never_cosigns_a_fork_and_stops_gracefully() {
    let mut log = MemoryLog::of("log.example/1", 1);
    let (_dir, path, key) = init(&log);
    let mut known = 0;
    for round in 0..6 {
        let fork = log.clone();
        log.grow(5);
        let size = log.head().size;
        let mut witness = Running::start(&path);
        // What an earlier round persisted before it was killed is still known.
        let (status, _, body) = witness.post(&log.request(known, size));
        if status == 409 {
            let found: u64 = body.trim().parse().unwrap();
            assert!(found > known, "the witness forgot: {found} < {known}");
            known = found;
            assert_eq!(witness.post(&log.request(known, size)).0, 200);
        } else {
            let answer = read_answer(status, "text/plain", body.as_bytes(), &log.at(size), &key).unwrap();
            assert!(matches!(answer, Answer::Cosigned { .. }));
        }
        known = size;
        // A fork of the same size is refused by this process and, after kill -9, by the next.
        let mut fork = fork;
        fork.append(format!("fork {round}").into_bytes());
        fork.grow(4);
        let other = format!("old {size}\n\n{}", fork.at(size));
        assert_eq!(witness.post(&other).0, 409);
        // Another request is under way when the process is killed.
        log.grow(3);
        let body = log.request(size, log.head().size);
        let mut stream = TcpStream::connect(&witness.address).unwrap();
        let head = format!(
            "POST /add-checkpoint HTTP/1.1\r\nHost: w\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(body.as_bytes()).unwrap();
        witness.child.kill().unwrap();
        witness.child.wait().unwrap();
        let again = Running::start(&path);
        assert_eq!(again.post(&other).0, 409, "round {round}");
        assert_eq!(again.terminate(), 0);
    }
    let shown = run(["witness", "show", &path, "--json"]).exits(0).json();
    assert_eq!(shown["logs"][0]["evidence"], 6);
}

#[test]
fn strangers_get_their_status_and_cannot_hold_it_up() {
    let log = MemoryLog::of("log.example/1", 3);
    let (_dir, path, _) = init(&log);
    let witness = Running::start(&path);
    // Connections that say nothing, or begin a request and go silent.
    let idle: Vec<TcpStream> = (0..50)
        .map(|n| {
            let mut stream = TcpStream::connect(&witness.address).unwrap();
            if n % 2 == 0 {
                stream
                    .write_all(b"POST /add-checkpoint HTTP/1.1\r\nHost: w\r\nContent-Length: 500\r\n\r\nold")
                    .unwrap();
            }
            stream
        })
        .collect();
    assert_eq!(witness.post(&log.request(0, 3)).0, 200);
    assert_eq!(
        witness.post(&MemoryLog::of("log.example/2", 1).request(0, 1)).0,
        404
    );
    assert_eq!(
        witness.post(&MemoryLog::of("log.example/1", 1).request(0, 1)).0,
        403
    );
    assert_eq!(witness.post("no request").0, 400);
    let (status, media, body) = witness.post(&log.request(0, 3));
    assert_eq!(
        (status, media.as_str(), body.as_str()),
        (409, "text/x.tlog.size", "3\n")
    );
    let mut stream = TcpStream::connect(&witness.address).unwrap();
    stream
        .write_all(b"GET /add-checkpoint HTTP/1.1\r\nHost: w\r\nConnection: close\r\n\r\n")
        .unwrap();
    assert_eq!(answer(stream).0, 405);
    // A body over the limit is refused without being read.
    let mut stream = TcpStream::connect(&witness.address).unwrap();
    stream
        .write_all(b"POST /add-checkpoint HTTP/1.1\r\nHost: w\r\nContent-Length: 900000000\r\n\r\n")
        .unwrap();
    assert_eq!(answer(stream).0, 413);
    // Silent connections are closed by the witness.
    let begun = Instant::now();
    for mut stream in idle {
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest);
    }
    assert!(
        begun.elapsed() < Duration::from_secs(60),
        "a silent connection stayed open"
    );
    assert_eq!(witness.terminate(), 0);
}

/// Connections are few: pieces of a body that nobody reads hold none of them for ever.
#[test]
fn a_body_that_trickles_on_after_the_refusal_ends_the_connection() {
    let log = MemoryLog::of("log.example/1", 3);
    let (_dir, path, _) = init(&log);
    let witness = Running::start(&path);
    let mut stream = TcpStream::connect(&witness.address).unwrap();
    stream
        .write_all(b"POST /elsewhere HTTP/1.1\r\nHost: w\r\nTransfer-Encoding: chunked\r\n\r\n")
        .unwrap();
    let begun = Instant::now();
    while stream.write_all(b"1\r\nx\r\n").is_ok() {
        assert!(
            begun.elapsed() < Duration::from_secs(60),
            "the connection stayed open"
        );
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(witness.post(&log.request(0, 3)).0, 200);
}

#[test]
fn a_folder_without_witness_a_second_process_and_a_witness_without_log_are_refused() {
    let log = MemoryLog::of("log.example/1", 3);
    let (dir, path, key) = init(&log);
    run(["witness", "run", dir.path().join("other").to_str().unwrap()]).exits(6);
    run(["witness", "init", &path, "--name", "w"]).exits(7);
    run(["witness", "add-log", &path, "--log", &key.to_string()]).exits(2);
    let _running = Running::start(&path);
    run(["witness", "run", &path]).exits(8);
    let empty = dir.path().join("empty");
    run(["witness", "init", empty.to_str().unwrap(), "--name", "w"]).exits(0);
    run(["witness", "run", empty.to_str().unwrap()]).exits(6);
}

#[test]
fn a_key_that_an_interrupted_init_left_open_is_not_called_encrypted() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let (path, passphrase) = (at("witness"), at("passphrase"));
    std::fs::write(&passphrase, "sesame opens it\n").unwrap();
    let made = run(["witness", "init", &path, "--name", "w", "--json"])
        .exits(0)
        .json();
    assert_eq!(made["encrypted"], false);
    // As a crash between the key and its name leaves it.
    std::fs::remove_file(at("witness/witness.json")).unwrap();
    let again = run([
        "witness",
        "init",
        &path,
        "--name",
        "w",
        "--encrypt",
        "--passphrase-file",
        &passphrase,
        "--json",
    ])
    .exits(0)
    .json();
    assert_eq!(again["encrypted"], true);
    let pem = std::fs::read_to_string(at("witness/witness.pem")).unwrap();
    assert!(pem.contains("BEGIN ENCRYPTED PRIVATE KEY"), "the key lies open");
    assert_ne!(again["key"], made["key"], "a key that lay open is in use");
}
