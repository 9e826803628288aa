//! A plain TUF client on Assay's workflow: the adapter that the public TUF conformance suite drives.
//!
//! ```text
//! tuf_conformance --metadata-dir D init ROOT
//! tuf_conformance --metadata-dir D --metadata-url U refresh
//! tuf_conformance --metadata-dir D --metadata-url U --target-name P ... --target-base-url B --target-dir T download
//! ```
//!
//! Exit code 0 or 1. What it trusts is in D by names without versions: `root.json`, `timestamp.json`, `snapshot.json`,
//! `targets.json`, and each delegated role's file by its percent-encoded name.

use std::error::Error;
use std::fs;
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use assay_client::transport::{Fetched, Limits, TransportError};
use assay_client::{HttpTransport, Transport as _};
use assay_schema::limits;
use assay_trust::foreign::{Edge, ForeignTarget, Next, Search, Wanted, encoded};
use assay_trust::workflow::Failure;
use assay_trust::{DeviceState, Plain, Refreshed, Roots};
use jiff::Timestamp;

/// The timestamp that named the kept snapshot, where a newer one is trusted already. Its name has no `.json`, because D holds one
/// trusted file for each role.
const NAMED_BY: &str = "timestamp-of-snapshot";

/// The largest target: one is judged in memory before it is written. Assay's own releases do not come this way.
const MAX_TARGET: u64 = 1 << 30;

type Fallible<T> = Result<T, Box<dyn Error>>;

#[allow(dead_code)] // The tests run `run` without a process.
fn main() -> ExitCode {
    match run(std::env::args().skip(1), Timestamp::now()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tuf_conformance: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Does what the command line says, at this time.
pub(crate) fn run(args: impl Iterator<Item = String>, now: Timestamp) -> Fallible<()> {
    let options = Options::read(args)?;
    let dir = Dir(options.metadata_dir.clone().ok_or("--metadata-dir is missing")?);
    match options.words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        // TUF 5.2 judges the root when it is used.
        ["init", root] => dir.write("root.json", Some(&fs::read(root)?)),
        ["refresh"] => refresh(&dir, &transport(options.metadata_url.as_deref())?, now).map(drop),
        ["download"] => download(&options, &dir, now),
        _ => Err("expected init ROOT, refresh or download".into()),
    }
}

#[derive(Default)]
struct Options {
    metadata_dir: Option<PathBuf>,
    metadata_url: Option<String>,
    target_names: Vec<String>,
    target_base_url: Option<String>,
    target_dir: Option<PathBuf>,
    words: Vec<String>,
}

impl Options {
    fn read(mut args: impl Iterator<Item = String>) -> Fallible<Self> {
        let mut options = Self::default();
        while let Some(word) = args.next() {
            let mut value = || args.next().ok_or_else(|| format!("{word} needs a value"));
            match word.as_str() {
                "--metadata-dir" => options.metadata_dir = Some(value()?.into()),
                "--metadata-url" => options.metadata_url = Some(value()?),
                "--target-name" => options.target_names.push(value()?),
                "--target-base-url" => options.target_base_url = Some(value()?),
                "--target-dir" => options.target_dir = Some(value()?.into()),
                flag if flag.starts_with("--") => return Err(format!("{flag} is not an option").into()),
                _ => options.words.push(word),
            }
        }
        Ok(options)
    }
}

fn transport(address: Option<&str>) -> Fallible<HttpTransport> {
    let limits = Limits {
        // Whoever counts requests counts each.
        attempts: 1,
        ..Limits::default()
    };
    Ok(HttpTransport::new(
        address.ok_or("the address is missing")?,
        None,
        limits,
    )?)
}

/// The folder of trusted metadata.
struct Dir(PathBuf);

impl Dir {
    fn read(&self, name: &str) -> Fallible<Option<Vec<u8>>> {
        match fs::read(self.0.join(name)) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::InvalidFilename) => Ok(None),
            Err(e) => Err(format!("{name}: {e}").into()),
        }
    }

    /// A cached file that is not text is no file: it is fetched again.
    fn text(&self, name: &str) -> Fallible<Option<String>> {
        Ok(self.read(name)?.and_then(|bytes| String::from_utf8(bytes).ok()))
    }

    fn write(&self, name: &str, bytes: Option<&[u8]>) -> Fallible<()> {
        match bytes {
            Some(bytes) => replace(&self.0, name, bytes),
            None => match fs::remove_file(self.0.join(name)) {
                Err(e) if e.kind() != ErrorKind::NotFound => Err(format!("{name}: {e}").into()),
                _ => Ok(()),
            },
        }
    }

    fn state(&self) -> Fallible<DeviceState> {
        let root = self.read("root.json")?.ok_or("root.json: none; run init first")?;
        let (timestamp, snapshot) = (self.text("timestamp.json")?, self.text("snapshot.json")?);
        // A run that ended between writing the snapshot and removing this one has left it.
        let needed = !names(timestamp.as_deref(), snapshot.as_deref());
        Ok(DeviceState {
            timestamp,
            snapshot,
            snapshot_timestamp: self.text(NAMED_BY)?.filter(|_| needed),
            ..DeviceState::foreign(&root)?
        })
    }

    /// Writes what changed, so that a run that ends in between loses no floor. The root is first: files that it made obsolete are
    /// not signed by its keys, whereas floors that went before their root would be missed. The timestamp that named the snapshot
    /// is kept before another takes its place, and goes after the snapshot has.
    fn persist(&self, state: &DeviceState) -> Fallible<()> {
        let keep = |name: &str, text: Option<&String>| match self.text(name)?.as_ref() == text {
            true => Ok(()),
            false => self.write(name, text.map(String::as_bytes)),
        };
        let named_by = state.snapshot_timestamp.as_ref();
        keep("root.json", Some(&state.root))?;
        if named_by.is_some() {
            keep(NAMED_BY, named_by)?;
        }
        keep("timestamp.json", state.timestamp.as_ref())?;
        keep("snapshot.json", state.snapshot.as_ref())?;
        keep(NAMED_BY, named_by)
    }

    /// What was trusted before a refusal stays trusted.
    fn settle<T>(&self, step: Result<T, Box<Failure>>) -> Fallible<T> {
        step.or_else(|failure| {
            self.persist(&failure.state)?;
            Err(failure.error.into())
        })
    }
}

/// Whether this timestamp names this snapshot. It only chooses which of two kept timestamps is tried; neither is believed here.
fn names(timestamp: Option<&str>, snapshot: Option<&str>) -> bool {
    let version = |text: Option<&str>, pointer| {
        let file: serde_json::Value = serde_json::from_str(text?).ok()?;
        file.pointer(pointer)?.as_u64()
    };
    let named = version(timestamp, "/signed/meta/snapshot.json/version");
    named.is_some() && named == version(snapshot, "/signed/version")
}

/// Writes a file whole or not at all.
fn replace(folder: &Path, name: &str, bytes: &[u8]) -> Fallible<()> {
    let path = folder.join(name);
    let part = folder.join(format!(".part-{}", std::process::id()));
    let written = fs::File::create(&part)
        .and_then(|mut file| {
            file.write_all(bytes)?;
            file.sync_all()
        })
        .and_then(|()| fs::rename(&part, &path));
    written.map_err(|e| {
        let _ = fs::remove_file(&part);
        format!("{}: {e}", path.display()).into()
    })
}

/// A metadata file; it must be there.
fn fetch(http: &HttpTransport, wanted: &Wanted) -> Fallible<Vec<u8>> {
    let path = format!("/{}", wanted.file);
    match http.get(&path, wanted.max, None)? {
        Fetched::Found { bytes, .. } => Ok(bytes),
        _ => Err(format!("{path}: not there").into()),
    }
}

/// The next root, or none. Some object stores answer 403 for what is not there.
fn fetch_root(http: &HttpTransport, version: u64) -> Fallible<Option<Vec<u8>>> {
    match http.get(&format!("/{version}.root.json"), limits::MAX_ROOT, None) {
        Ok(Fetched::Found { bytes, .. }) => Ok(Some(bytes)),
        Ok(_) | Err(TransportError::Status { status: 403, .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// TUF 5.3 to 5.6. What is kept and still right is not fetched again.
fn refresh(dir: &Dir, http: &HttpTransport, now: Timestamp) -> Fallible<Refreshed<Plain>> {
    let mut roots = dir.settle(Roots::open_plain(dir.state()?, now))?;
    while let Some(version) = roots.next_version() {
        let Some(bytes) = fetch_root(http, version)? else {
            break;
        };
        roots = dir.settle(roots.accept(&bytes))?;
        dir.persist(roots.state())?;
    }
    let timestamp = dir.settle(roots.finish())?;

    let wanted = Wanted {
        file: "timestamp.json".into(),
        max: limits::MAX_TIMESTAMP,
    };
    let snapshot = dir.settle(timestamp.accept(&fetch(http, &wanted)?))?;
    dir.persist(snapshot.state())?;

    let kept = snapshot.kept().map(str::to_owned);
    let kept = kept.and_then(|text| snapshot.clone().accept(text.as_bytes()).ok());
    let targets = match kept {
        Some(targets) => targets,
        None => {
            let bytes = fetch(http, &snapshot.wanted_file()?)?;
            dir.settle(snapshot.accept(&bytes))?
        }
    };
    dir.persist(targets.state())?;

    let kept = dir.read("targets.json")?;
    if let Some(refreshed) = kept.and_then(|bytes| targets.clone().accept(&bytes).ok()) {
        return Ok(refreshed);
    }
    let bytes = fetch(http, &targets.wanted_file()?)?;
    let refreshed = dir.settle(targets.accept(&bytes))?;
    dir.write("targets.json", Some(&bytes))?;
    Ok(refreshed)
}

/// Accepts a delegated role: the kept file if it is still the one that the snapshot names and this delegator's keys signed it,
/// else the repository's.
fn load_role(
    dir: &Dir,
    http: &HttpTransport,
    refreshed: Refreshed<Plain>,
    edge: &Edge,
) -> Fallible<Refreshed<Plain>> {
    let name = format!("{}.json", encoded(&edge.role));
    let kept = dir.read(&name)?;
    if let Some(accepted) = kept.and_then(|bytes| refreshed.clone().accept_delegated(edge, &bytes).ok()) {
        return Ok(accepted);
    }
    let bytes = fetch(http, &refreshed.wanted_file(&edge.role)?)?;
    let accepted = dir.settle(refreshed.accept_delegated(edge, &bytes))?;
    dir.write(&name, Some(&bytes))?;
    Ok(accepted)
}

/// TUF 5.6.7 and 5.7, for each target in turn.
fn download(options: &Options, dir: &Dir, now: Timestamp) -> Fallible<()> {
    let folder = options.target_dir.as_ref().ok_or("--target-dir is missing")?;
    let base = transport(options.target_base_url.as_deref())?;
    let http = transport(options.metadata_url.as_deref())?;
    if options.target_names.is_empty() {
        return Err("--target-name is missing".into());
    }
    let mut refreshed = refresh(dir, &http, now)?;
    for path in &options.target_names {
        let mut search = Search::new(path);
        let target = loop {
            match refreshed.search(&mut search)? {
                Next::Found(target) => break target,
                Next::Role(edge) => refreshed = load_role(dir, &http, refreshed, &edge)?,
                Next::Nowhere => return Err(format!("{path}: no role that may lists it").into()),
            }
        };
        save(&base, folder, path, &target, refreshed.is_consistent())?;
    }
    Ok(())
}

fn save(
    base: &HttpTransport,
    folder: &Path,
    path: &str,
    target: &ForeignTarget,
    consistent: bool,
) -> Fallible<()> {
    // One flat name: a target's path never chooses a folder of this machine.
    let name = match encoded(path) {
        long if long.len() > 200 => assay_client::sha256(path.as_bytes()).to_string(),
        // Neither the folder itself nor the one above it.
        dots if dots.bytes().all(|b| b == b'.') => dots.replace('.', "%2E"),
        name => name,
    };
    let there = fs::metadata(folder.join(&name)).is_ok_and(|file| file.len() == target.length);
    if there && fs::read(folder.join(&name)).is_ok_and(|bytes| target.matches(&bytes)) {
        return Ok(());
    }
    if target.length > MAX_TARGET {
        return Err(format!(
            "{path}: expected at most {MAX_TARGET} bytes, found {}",
            target.length
        )
        .into());
    }
    let remote = target.remote_path(consistent);
    let remote: Vec<String> = remote.split('/').map(encoded).collect();
    let wanted = Wanted {
        file: remote.join("/"),
        max: target.length,
    };
    let bytes = fetch(base, &wanted)?;
    if !target.matches(&bytes) {
        return Err(
            format!("{path}: expected the length and hashes that its role signed, found others").into(),
        );
    }
    replace(folder, &name, &bytes)
}
