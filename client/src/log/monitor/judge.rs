//! What a leaf means: the file behind it, and whether the authority made it.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use assay_log::Leaf;
use assay_log::leaf::LeafKind;
use assay_schema::limits::{MAX_ROOT, MAX_SNAPSHOT, MAX_TARGETS};
use assay_schema::tuf::{Binding, metadata_file};
use assay_schema::{NamespaceName, Sha256Digest, canonical};
use jiff::Timestamp;
use serde::Deserialize;

use super::alert::{AlertKind, Finding};
use super::journals::Made;
use super::state::{Listed, Named, Order, Place, Seen, Withheld};
use crate::publisher::signed_body;
use crate::transport::{Fetched, Transport, paths};

const ROOT: &str = "root";
const SNAPSHOT: &str = "snapshot";
/// Files of a round that a registry may leave without an answer, or put off ("try again later"). Each takes the transport's whole
/// patience, and a monitor that waits raises nothing.
const UNANSWERED: u32 = 3;
/// Of what a registry says, as many characters are kept.
const REASON: usize = 300;

/// Compares what is in the log with what the authority made. Nothing here fails: what cannot be had is withheld.
pub(super) struct Judge<'a> {
    transport: &'a dyn Transport,
    made: &'a Made,
    pub(super) now: Timestamp,
    unanswered: Cell<u32>,
    patience: Duration,
    began: Cell<Instant>,
}

/// What came of a leaf or a file.
#[derive(Default)]
pub(super) struct Judged {
    pub(super) findings: Vec<Finding>,
    pub(super) withheld: Vec<Withheld>,
}

enum Answer {
    File(Vec<u8>),
    /// A file of another digest.
    Other(Sha256Digest),
    Nothing(String),
}

#[derive(Deserialize)]
struct SnapshotFile {
    signed: SnapshotBody,
}

#[derive(Deserialize)]
struct SnapshotBody {
    #[serde(rename = "_type")]
    kind: String,
    version: u64,
    meta: BTreeMap<String, Meta>,
    #[serde(rename = "x-assay")]
    binding: Binding,
}

#[derive(Deserialize)]
struct Meta {
    version: u64,
    hashes: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct RootFile {
    signed: RootBody,
}

#[derive(Deserialize)]
struct RootBody {
    roles: BTreeMap<String, RootRole>,
}

#[derive(Deserialize)]
struct RootRole {
    keyids: BTreeSet<String>,
}

impl<'a> Judge<'a> {
    pub(super) fn new(
        transport: &'a dyn Transport,
        made: &'a Made,
        patience: Duration,
        now: Timestamp,
    ) -> Self {
        Self {
            transport,
            made,
            now,
            unanswered: Cell::new(0),
            patience,
            began: Cell::new(Instant::now()),
        }
    }

    /// Whether the registry left so much without an answer, or took so long, that it is not asked any more.
    pub(super) fn gave_up(&self) -> bool {
        self.unanswered.get() >= UNANSWERED || self.began.get().elapsed() >= self.patience
    }

    /// Begins to count the time anew: what was withheld before takes none from what is new.
    pub(super) fn renew(&self) {
        self.began.set(Instant::now());
    }

    /// Whether it is time to tell what was found; the rest of the patience is for the files of one more entry.
    pub(super) fn is_long(&self) -> bool {
        self.began.get().elapsed() >= self.patience / 2
    }

    /// Entry `index` of the log, which is a leaf of this namespace.
    pub(super) fn leaf(&self, seen: &mut Seen, index: u64, leaf: &Leaf) -> Judged {
        let mut judged = Judged::default();
        let (version, sha256) = (leaf.version(), leaf.sha256());
        let (role, versions) = match leaf.kind() {
            LeafKind::Root => (ROOT, &mut seen.roots),
            LeafKind::Snapshot => {
                // A restart covers the first snapshot behind the root that permits it.
                if std::mem::take(&mut seen.restart) {
                    seen.snapshots.forget();
                }
                (SNAPSHOT, &mut seen.snapshots)
            }
        };
        let subject = format!("entry {index} of the log, {}", metadata_file(role, version));
        match versions.note(version, sha256) {
            Order::New => {}
            Order::Repeated => return judged,
            Order::Fork(first) => {
                judged.find(
                    AlertKind::Fork,
                    &subject,
                    format!("SHA-256 {first}, as before"),
                    format!("SHA-256 {sha256}"),
                );
            }
            Order::Back(highest) => {
                judged.find(
                    AlertKind::WentBack,
                    &subject,
                    format!("a version over {highest}"),
                    format!("version {version}"),
                );
            }
        }
        if role == ROOT && version == 1 && sha256 != leaf.namespace() {
            let expected = format!("SHA-256 {}, the namespace's identity", leaf.namespace());
            judged.find(
                AlertKind::NotMade,
                &subject,
                expected,
                format!("SHA-256 {sha256}"),
            );
        }
        let restarts = seen.restarts;
        let place = (role == SNAPSHOT).then_some(Place {
            entry: index,
            restarts,
        });
        judged.add(self.file(seen, leaf.namespace(), role, version, sha256, place, false));
        judged
    }

    /// A file that was withheld before.
    ///
    /// # Errors
    /// It still is; what was found instead.
    pub(super) fn again(&self, seen: &mut Seen, file: &Withheld) -> Result<Judged, String> {
        let mut judged = self.file(
            seen,
            file.namespace,
            &file.role,
            file.version,
            file.sha256,
            file.place,
            true,
        );
        let still = |w: &Withheld| w.role == file.role && w.version == file.version;
        match judged.withheld.iter().position(still) {
            Some(place) => Err(judged.withheld.swap_remove(place).found),
            None => Ok(judged),
        }
    }

    /// Fetches a file that the log or a snapshot in it names, and judges it. A `late` root says nothing about the registry's keys of
    /// today; a snapshot is compared with its neighbours in the log, whenever it comes.
    #[expect(clippy::too_many_arguments, reason = "what names a file, and where")]
    fn file(
        &self,
        seen: &mut Seen,
        namespace: Sha256Digest,
        role: &str,
        version: u64,
        sha256: Sha256Digest,
        place: Option<Place>,
        late: bool,
    ) -> Judged {
        let mut judged = Judged::default();
        let name = metadata_file(role, version);
        let bytes = match self.fetch(&seen.name, role, version, sha256) {
            Answer::File(bytes) => bytes,
            Answer::Other(found) => {
                judged.find(
                    AlertKind::OtherFile,
                    &name,
                    format!("SHA-256 {sha256}, as the log has it"),
                    format!("SHA-256 {found}"),
                );
                return judged;
            }
            Answer::Nothing(found) => {
                judged.withheld.push(Withheld {
                    namespace,
                    role: role.to_owned(),
                    version,
                    sha256,
                    place,
                    since: self.now,
                    found,
                    raised: false,
                });
                return judged;
            }
        };
        match place {
            Some(place) => self.snapshot(&mut judged, seen, namespace, version, &bytes, place),
            None => {
                let made = self.body(&mut judged, namespace, role, version, &bytes);
                if role == ROOT && made && !late {
                    online_keys(seen, &bytes);
                }
            }
        }
        judged
    }

    fn fetch(&self, name: &NamespaceName, role: &str, version: u64, sha256: Sha256Digest) -> Answer {
        let max = match role {
            ROOT => MAX_ROOT,
            SNAPSHOT => MAX_SNAPSHOT,
            _ => MAX_TARGETS,
        };
        if self.gave_up() {
            return Answer::Nothing(match self.unanswered.get() >= UNANSWERED {
                true => format!("no answer to {UNANSWERED} other files, and did not ask for it"),
                false => format!("other files took {:?}, and did not ask for it", self.patience),
            });
        }
        let path = paths::metadata(name, &metadata_file(role, version));
        match self.transport.get(&path, max, None) {
            Ok(Fetched::Found { bytes, .. }) => match crate::sha256(&bytes) {
                found if found == sha256 => Answer::File(bytes),
                found => Answer::Other(found),
            },
            Ok(Fetched::Missing | Fetched::NotModified) => Answer::Nothing("nothing".to_owned()),
            Err(error) => {
                if error.is_passing() {
                    self.unanswered.set(self.unanswered.get() + 1);
                }
                Answer::Nothing(error.to_string().chars().take(REASON).collect())
            }
        }
    }

    /// Whether the authority made a body; a finding if not.
    fn body(
        &self,
        judged: &mut Judged,
        namespace: Sha256Digest,
        role: &str,
        version: u64,
        bytes: &[u8],
    ) -> bool {
        let name = metadata_file(role, version);
        let read = String::from_utf8(bytes.to_vec()).map_err(|e| e.to_string());
        let read = read.and_then(|text| signed_body(role, &text).map_err(|e| e.to_string()));
        let (inside, digest) = match read {
            Ok(body) => body,
            Err(found) => {
                judged.find(AlertKind::Unreadable, &name, "signed TUF metadata", found);
                return false;
            }
        };
        if inside != version {
            judged.find(
                AlertKind::Unreadable,
                &name,
                format!("version {version} in it"),
                format!("version {inside}"),
            );
            return false;
        }
        match self.made.has(namespace, role, version, digest) {
            Ok(()) => true,
            Err((count, agree)) => {
                let expected = format!(
                    "a body that {agree} signing journal{} hold",
                    if agree == 1 { "" } else { "s" }
                );
                judged.find(
                    AlertKind::NotMade,
                    &name,
                    expected,
                    format!("signed bytes {digest}, which {count} hold"),
                );
                false
            }
        }
    }

    fn snapshot(
        &self,
        judged: &mut Judged,
        seen: &mut Seen,
        namespace: Sha256Digest,
        version: u64,
        bytes: &[u8],
        place: Place,
    ) {
        let name = metadata_file(SNAPSHOT, version);
        let roles = match listed(namespace, version, bytes) {
            Ok(roles) => roles,
            Err(found) => {
                judged.find(
                    AlertKind::Unreadable,
                    &name,
                    "a snapshot of this namespace and version",
                    found,
                );
                return;
            }
        };
        let named = Named {
            restarts: place.restarts,
            roles,
        };
        let before = seen
            .named
            .range(..place.entry)
            .next_back()
            .map(|(_, named)| named);
        let after = seen.named.range(place.entry..).next().map(|(_, named)| named);
        // All that needs no file comes before the first that may be withheld.
        judged.findings.extend(
            before
                .map(|before| compare(before, &named, &name))
                .unwrap_or_default(),
        );
        if let Some(after) = after {
            let subject = format!("the next snapshot that was handed out behind {name}");
            let known = before
                .map(|before| compare(before, after, &subject))
                .unwrap_or_default();
            let found = compare(&named, after, &subject);
            // What the newer one did to the older neighbour was raised when it came.
            judged
                .findings
                .extend(found.into_iter().filter(|finding| !known.contains(finding)));
        }
        let judged_before = |role: &String, now: &Listed| {
            let neighbours = [before, after];
            neighbours
                .iter()
                .flatten()
                .any(|other| other.roles.get(role) == Some(now))
        };
        let new: Vec<(String, Listed)> = named
            .roles
            .iter()
            .filter(|(role, now)| !judged_before(role, now))
            .map(|(role, now)| (role.clone(), *now))
            .collect();
        seen.named.insert(place.entry, named);
        for (role, now) in new {
            judged.add(self.file(seen, namespace, &role, now.version, now.sha256, None, false));
        }
    }
}

/// What is wrong with a snapshot that came behind another one, apart from the files that it names.
fn compare(before: &Named, now: &Named, name: &str) -> Vec<Finding> {
    let mut judged = Judged::default();
    let restart = before.restarts != now.restarts;
    for (role, was) in &before.roles {
        let Some(is) = now.roles.get(role) else {
            let expected = format!("{role}.json, as before");
            judged.find(AlertKind::Dropped, name, expected, "no such entry");
            continue;
        };
        let subject = format!("{}, which {name} names", metadata_file(role, is.version));
        if was.version == is.version && was.sha256 != is.sha256 {
            let expected = format!("SHA-256 {}, as before", was.sha256);
            judged.find(
                AlertKind::Fork,
                &subject,
                expected,
                format!("SHA-256 {}", is.sha256),
            );
        }
        if was.version > is.version && !restart {
            let expected = format!("at least version {}", was.version);
            judged.find(
                AlertKind::WentBack,
                &subject,
                expected,
                format!("version {}", is.version),
            );
        }
    }
    judged.findings
}

/// What a snapshot names, by role.
fn listed(namespace: Sha256Digest, version: u64, bytes: &[u8]) -> Result<BTreeMap<String, Listed>, String> {
    let SnapshotFile { signed } = canonical::read(bytes, MAX_SNAPSHOT).map_err(|e| e.to_string())?;
    let bound = signed.binding.namespace == namespace && signed.binding.role == SNAPSHOT;
    if signed.kind != SNAPSHOT || signed.version != version || !bound {
        return Err(format!(
            "{} {} of {}",
            signed.kind, signed.version, signed.binding.namespace
        ));
    }
    let mut listed = BTreeMap::new();
    for (file, meta) in signed.meta {
        // A role named `root` or `snapshot` would be fetched as one; a slash would lead elsewhere.
        let role = file
            .strip_suffix(".json")
            .filter(|role| !role.is_empty() && !role.contains('/') && *role != ROOT && *role != SNAPSHOT);
        let role = role.ok_or_else(|| format!("an entry {:?}", file.chars().take(80).collect::<String>()))?;
        let sha256 = meta.hashes.get("sha256").and_then(|hex| hex.parse().ok());
        let sha256 = sha256.ok_or_else(|| format!("no SHA-256 of {role}"))?;
        let version = meta.version;
        listed.insert(role.to_owned(), Listed { version, sha256 });
    }
    Ok(listed)
}

/// Takes note of the registry's keys in a root of the authority's. Where they change, devices drop the floors that the old ones
/// signed, and versions may begin anew (TUF 5.3.11).
fn online_keys(seen: &mut Seen, bytes: &[u8]) {
    let Ok(RootFile { signed }) = canonical::read(bytes, MAX_ROOT) else {
        return;
    };
    let online = [SNAPSHOT, "timestamp"]
        .iter()
        .filter_map(|role| signed.roles.get(*role));
    let keys: BTreeSet<String> = online.flat_map(|role| role.keyids.iter().cloned()).collect();
    if seen.online_keys.as_ref().is_some_and(|before| *before != keys) {
        seen.restart = true;
        seen.restarts += 1;
    }
    seen.online_keys = Some(keys);
}

impl Judged {
    fn find(
        &mut self,
        kind: AlertKind,
        subject: &str,
        expected: impl Into<String>,
        found: impl Into<String>,
    ) {
        self.findings.push(Finding::new(kind, subject, expected, found));
    }

    fn add(&mut self, other: Self) {
        self.findings.extend(other.findings);
        self.withheld.extend(other.withheld);
    }
}
