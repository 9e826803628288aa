//! Monitors: each thing that an authority did not make, or that hides what is made in its name, raises its alert, once.
//!
//! Over 600 lines: the alerts stand side by side, so that one sees which is missing.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod common;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use assay_client::log::monitor::{Alert, AlertKind, Journals, Monitor, Round, Terms, Webhook};
use assay_client::log::{FollowStep, LogError, LogFolder, LogReader, StepHook};
use assay_client::publisher::{PublishedRelease, ReleaseTerms};
use assay_client::sha256;
use assay_log::cosignature::WitnessPolicy;
use assay_log::leaf::LeafKind;
use assay_log::policy::LogPolicy;
use assay_schema::Sha256Digest;
use common::{Cut, Logged, MemoryLog, Witnesses, World, now};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

/// An authority whose registry logs, and its monitor's folder.
struct Watched {
    world: World,
    logged: Logged,
    journals: Vec<PathBuf>,
    agree: usize,
    max_age: Option<SignedDuration>,
    policy: LogPolicy,
}

fn minutes(n: i64) -> Timestamp {
    now() + SignedDuration::from_mins(n)
}

impl Watched {
    fn new() -> Self {
        let world = World::new();
        let logged = Logged::new(world.registry.clone());
        logged.sequence(world.identity);
        Self {
            journals: vec![world.dir.path().join("authority/signed.jsonl")],
            policy: LogPolicy::new(logged.log(|log| log.key.clone()), None).unwrap(),
            world,
            logged,
            agree: 1,
            max_age: None,
        }
    }

    fn publish(&self, version: &str) -> PublishedRelease {
        let published = self
            .world
            .publish(version, &[("weights.bin", version.as_bytes())]);
        self.logged.sequence(self.world.identity);
        published
    }

    fn monitor(&self, hook: Option<StepHook>) -> Result<Monitor, LogError> {
        let mut folder = LogFolder::open(&self.world.dir.path().join("monitor"))?;
        if let Some(hook) = hook {
            folder = folder.on_step(hook);
        }
        Monitor::open(folder, self.policy.clone())
    }

    fn terms(&self) -> Terms {
        Terms {
            namespaces: BTreeMap::from([(self.world.identity, "acme".parse().unwrap())]),
            journals: Journals {
                files: self.journals.clone(),
                agree: self.agree,
            },
            grace: SignedDuration::from_mins(10),
            patience: Duration::from_secs(3600),
            max_age: self.max_age,
        }
    }

    fn round(&self, monitor: &mut Monitor, at: Timestamp) -> Result<Round, LogError> {
        let reader = LogReader::new(&self.logged, "/log");
        monitor.round(&reader, &self.logged, &self.terms(), at)
    }

    /// What a process that looks once at this time raises.
    fn alerts_at(&self, at: Timestamp) -> Vec<Alert> {
        let mut monitor = self.monitor(None).unwrap();
        self.round(&mut monitor, at).unwrap();
        let mut alerts = Vec::new();
        monitor
            .deliver(None, &mut |alert| alerts.push(alert.clone()), at)
            .unwrap();
        assert_eq!(monitor.undelivered(), 0);
        alerts
    }

    fn kinds(&self) -> Vec<AlertKind> {
        self.kinds_at(now())
    }

    fn kinds_at(&self, at: Timestamp) -> Vec<AlertKind> {
        self.alerts_at(at).into_iter().map(|alert| alert.kind).collect()
    }

    fn quiet(&self) {
        let alerts = self.alerts_at(now());
        assert!(alerts.is_empty(), "{alerts:#?}");
    }

    fn newest(&self) -> (u64, Value) {
        let mut version = 1;
        while self
            .world
            .registry
            .file(&format!("{}.snapshot.json", version + 1))
            .is_some()
        {
            version += 1;
        }
        let bytes = self
            .world
            .registry
            .file(&format!("{version}.snapshot.json"))
            .unwrap();
        (version, serde_json::from_slice(&bytes).unwrap())
    }

    /// The holder of the online keys publishes a snapshot of their own and logs it.
    fn snapshot(&self, version: u64, change: impl FnOnce(&mut Value)) {
        let (_, mut file) = self.newest();
        file["signed"]["version"] = json!(version);
        change(&mut file["signed"]["meta"]);
        let bytes = serde_json::to_vec(&file).unwrap();
        self.logged
            .leaf(self.world.identity, LeafKind::Snapshot, version, sha256(&bytes));
        self.world
            .registry
            .set_file(&format!("{version}.snapshot.json"), bytes);
        self.logged.log(MemoryLog::publish);
    }

    /// A file of somebody else's on the registry, and what a snapshot says of it.
    fn plant(&self, from: &str, role: &str, version: u64) -> Value {
        let mut file: Value = serde_json::from_slice(&self.world.registry.file(from).unwrap()).unwrap();
        file["signed"]["version"] = json!(version);
        file["signed"]["expires"] = json!("2030-01-01T00:00:00Z");
        let bytes = serde_json::to_vec(&file).unwrap();
        let meta = json!({"version": version, "length": bytes.len(), "hashes": {"sha256": sha256(&bytes)}});
        self.world
            .registry
            .set_file(&format!("{version}.{role}.json"), bytes);
        meta
    }
}

#[test]
fn what_the_authority_makes_raises_nothing_and_is_looked_at_once() {
    let watched = Watched::new();
    watched.quiet();
    watched.publish("1.0.0");
    watched.publish("1.1.0");
    let mut monitor = watched.monitor(None).unwrap();
    let round = watched.round(&mut monitor, now()).unwrap();
    // Entries that an earlier round saw do not count, although they lie in one bundle with the new ones.
    assert_eq!((round.entries, round.leaves, round.raised), (2, 2, 0));
    let size = watched.logged.log(|log| log.head().size);
    assert_eq!(round.head.unwrap().size, size);
    let requests = assay_client::Transport::traffic(&watched.logged).requests;
    let round = watched.round(&mut monitor, now()).unwrap();
    assert_eq!((round.entries, round.leaves), (0, 0));
    // The checkpoint, and nothing else.
    assert_eq!(
        assay_client::Transport::traffic(&watched.logged).requests,
        requests + 1
    );
}

#[test]
fn a_root_that_no_journal_holds() {
    let watched = Watched::new();
    watched.quiet();
    watched.plant("1.root.json", "root", 2);
    watched.logged.sequence(watched.world.identity);
    let alerts = watched.alerts_at(now());
    assert_eq!(alerts.len(), 1, "{alerts:#?}");
    assert_eq!(
        (alerts[0].kind, alerts[0].subject.as_str()),
        (AlertKind::NotMade, "2.root.json")
    );
    watched.quiet();
}

#[test]
fn a_release_that_somebody_signed_with_stolen_keys_on_another_machine() {
    let watched = Watched::new();
    watched.publish("1.0.0");
    watched.quiet();
    let folder = watched.world.files("stolen", &[("weights.bin", b"poisoned")]);
    let thief = watched.world.elsewhere("thief");
    let terms = ReleaseTerms::new("minilm".parse().unwrap(), "1.0.1".parse().unwrap());
    thief.publish(&folder, &terms, now()).unwrap();
    watched.logged.sequence(watched.world.identity);
    let alerts = watched.alerts_at(now());
    assert_eq!(alerts.len(), 1, "{alerts:#?}");
    assert_eq!(
        (alerts[0].kind, alerts[0].subject.as_str()),
        (AlertKind::NotMade, "2.model.minilm.0.json")
    );
    assert_eq!(alerts[0].namespace.as_ref().unwrap().as_str(), "acme");
}

#[test]
fn another_key_holders_journal_counts_and_as_many_as_are_demanded() {
    let mut watched = Watched::new();
    watched.publish("1.0.0");
    // The other holder signed everything but the first version of all.
    let journal = std::fs::read_to_string(&watched.journals[0]).unwrap();
    let other = watched.world.dir.path().join("other.jsonl");
    let rest: Vec<&str> = journal
        .lines()
        .filter(|line| !line.contains("\"role\":\"root\""))
        .collect();
    std::fs::write(&other, format!("{}\n{{\"v\":1,\"a", rest.join("\n"))).unwrap();
    watched.journals.push(other);
    watched.agree = 2;
    let alerts = watched.alerts_at(now());
    assert_eq!(alerts.len(), 1, "{alerts:#?}");
    assert_eq!(
        (alerts[0].kind, alerts[0].subject.as_str()),
        (AlertKind::NotMade, "1.root.json")
    );
    assert!(alerts[0].found.ends_with("which 1 hold"), "{}", alerts[0].found);
    // One journal twice in one file is one journal.
    std::fs::write(&watched.journals[0], format!("{journal}{journal}")).unwrap();
    watched.journals.truncate(1);
    std::fs::remove_dir_all(watched.world.dir.path().join("monitor")).unwrap();
    assert!(watched.kinds().iter().all(|kind| *kind == AlertKind::NotMade));
}

#[test]
fn a_journal_that_cannot_be_read_judges_nothing_and_is_raised_when_that_lasts() {
    let mut watched = Watched::new();
    watched.journals = vec![watched.world.dir.path().join("nowhere.jsonl")];
    let mut monitor = watched.monitor(None).unwrap();
    let mut round_at = |at| {
        let round = watched.round(&mut monitor, at).unwrap();
        assert!(matches!(round.failure, Some(LogError::Journal { .. })));
        let mut kinds = Vec::new();
        monitor
            .deliver(None, &mut |alert| kinds.push(alert.kind), at)
            .unwrap();
        kinds
    };
    assert_eq!(round_at(now()), []);
    assert_eq!(round_at(minutes(9)), []);
    assert_eq!(round_at(minutes(11)), [AlertKind::Unread]);
    assert_eq!(round_at(minutes(12)), []);
    drop(monitor);
    watched.journals = vec![watched.world.dir.path().join("authority/signed.jsonl")];
    watched.quiet();
}

#[test]
fn two_snapshots_of_one_version() {
    let watched = Watched::new();
    watched.publish("1.0.0");
    watched.quiet();
    let (version, _) = watched.newest();
    let other = sha256(b"what other devices are shown");
    watched
        .logged
        .leaf(watched.world.identity, LeafKind::Snapshot, version, other);
    watched.logged.log(MemoryLog::publish);
    assert_eq!(watched.kinds(), [AlertKind::Fork, AlertKind::OtherFile]);
}

#[test]
fn a_snapshot_that_goes_back() {
    let watched = Watched::new();
    for version in ["1.0.0", "1.1.0", "1.2.0"] {
        watched.publish(version);
    }
    watched.quiet();
    let (version, _) = watched.newest();
    watched.snapshot(version + 5, |_| {});
    watched.quiet();
    watched.snapshot(version + 2, |_| {});
    assert_eq!(watched.kinds(), [AlertKind::WentBack]);
    // The same leaf once more is nothing new.
    let bytes = watched
        .world
        .registry
        .file(&format!("{version}.snapshot.json"))
        .unwrap();
    watched.logged.leaf(
        watched.world.identity,
        LeafKind::Snapshot,
        version,
        sha256(&bytes),
    );
    watched.logged.log(MemoryLog::publish);
    watched.quiet();
}

#[test]
fn a_snapshot_that_names_an_older_another_or_no_file() {
    let watched = Watched::new();
    watched.publish("1.0.0");
    let (_, first) = watched.newest();
    watched.publish("1.1.0");
    watched.quiet();
    let (version, _) = watched.newest();
    let role = "model.minilm.0.json";
    let old = first["signed"]["meta"][role].clone();
    watched.snapshot(version + 1, |meta| meta[role] = old);
    assert_eq!(watched.kinds(), [AlertKind::WentBack]);
    let (_, honest) = watched.newest();
    let now = honest["signed"]["meta"][role].clone();
    let other = watched.plant("2.model.minilm.0.json", "model.minilm.0", 1);
    watched.snapshot(version + 2, |meta| meta[role] = other);
    assert_eq!(watched.kinds(), [AlertKind::Fork, AlertKind::NotMade]);
    watched.snapshot(version + 3, |meta| {
        drop(meta.as_object_mut().unwrap().remove(role))
    });
    assert_eq!(watched.kinds(), [AlertKind::Dropped]);
    let targets = watched.plant("1.targets.json", "targets", 9);
    watched.snapshot(version + 4, |meta| {
        meta[role] = now;
        meta["targets.json"] = targets;
    });
    let alerts = watched.alerts_at(common::now());
    let found: Vec<_> = alerts
        .iter()
        .map(|alert| (alert.kind, alert.subject.as_str()))
        .collect();
    assert!(
        found.contains(&(AlertKind::NotMade, "9.targets.json")),
        "{alerts:#?}"
    );
}

#[test]
fn snapshots_and_leaves_that_are_none() {
    let watched = Watched::new();
    watched.quiet();
    let identity = watched.world.identity;
    for (n, meta) in [
        json!({"../../root.json": {"version": 1, "hashes": {"sha256": identity}}}),
        json!({"root.json": {"version": 1, "hashes": {"sha256": identity}}}),
        json!({"targets.json": {"version": 1, "hashes": {}}}),
        json!([]),
    ]
    .into_iter()
    .enumerate()
    {
        watched.snapshot(10 + n as u64, |all| *all = meta);
        assert_eq!(watched.kinds(), [AlertKind::Unreadable]);
    }
    watched.logged.log(|log| {
        log.append(format!("{{\"v\":2,\"namespace\":\"{identity}\"}}").into_bytes());
        log.append(b"another's entry of another kind".to_vec());
        log.publish()
    });
    assert_eq!(watched.kinds(), [AlertKind::Unreadable]);
    let next = 20;
    watched
        .logged
        .leaf(identity, LeafKind::Root, next, sha256(b"not JSON"));
    watched
        .world
        .registry
        .set_file(&format!("{next}.root.json"), b"not JSON".to_vec());
    watched.logged.log(MemoryLog::publish);
    assert_eq!(watched.kinds(), [AlertKind::Unreadable]);
}

#[test]
fn a_first_root_that_is_not_the_identity() {
    let watched = Watched::new();
    watched.quiet();
    watched
        .logged
        .leaf(watched.world.identity, LeafKind::Root, 1, sha256(b"another"));
    watched.logged.log(MemoryLog::publish);
    assert_eq!(
        watched.kinds(),
        [AlertKind::Fork, AlertKind::NotMade, AlertKind::OtherFile]
    );
}

#[test]
fn a_file_that_is_withheld_is_waited_for_then_raised_once_and_judged_when_it_comes() {
    for how in [Cut::Missing, Cut::Unreachable] {
        let watched = Watched::new();
        watched.quiet();
        watched.plant("1.root.json", "root", 2);
        watched.logged.cut("2.root.json", how);
        watched.logged.sequence(watched.world.identity);
        watched.logged.log(|log| log.grow(3));
        watched.quiet();
        assert_eq!(watched.kinds_at(minutes(9)), []);
        let alerts = watched.alerts_at(minutes(11));
        assert_eq!((alerts.len(), alerts[0].kind), (1, AlertKind::Withheld));
        assert_eq!(watched.kinds_at(minutes(30)), []);
        // Raised once; that it lasts on is still to be seen.
        let standing: Vec<_> = watched.monitor(None).unwrap().standing().collect();
        assert_eq!(standing, [AlertKind::Withheld]);
        // What it hid is found when it is handed out.
        watched.logged.mend();
        assert_eq!(watched.kinds_at(minutes(31)), [AlertKind::NotMade]);
        assert_eq!(watched.kinds_at(minutes(32)), []);
    }
}

#[test]
fn more_withheld_files_than_are_asked_for_again_neither_stop_nor_silence_the_monitor() {
    let watched = Watched::new();
    watched.quiet();
    let versions = 1000..2100_u64;
    for version in versions.clone() {
        watched.snapshot(version, |_| {});
        watched
            .logged
            .cut(&format!("/{version}.snapshot.json"), Cut::Missing);
    }
    let alerts = watched.alerts_at(now());
    assert_eq!((alerts.len(), alerts[0].kind), (1, AlertKind::ManyWithheld));
    assert!(
        alerts[0].found.starts_with("1000, and 100 further"),
        "{alerts:#?}"
    );
    // The log is read on behind them.
    watched.plant("1.root.json", "root", 2);
    watched.logged.sequence(watched.world.identity);
    let made = watched.alerts_at(minutes(1));
    assert_eq!((made.len(), made[0].kind), (1, AlertKind::NotMade), "{made:#?}");
    // Each that is remembered is raised in its time, also when the log grows in every round.
    watched.logged.log(|log| log.grow(1));
    assert_eq!(watched.kinds_at(minutes(11)), [AlertKind::Withheld; 1000]);
    let standing: Vec<_> = watched.monitor(None).unwrap().standing().collect();
    assert_eq!(standing, [AlertKind::ManyWithheld, AlertKind::Withheld]);
    // Some come: not enough to look again at those that were passed over.
    watched.logged.mend();
    watched.logged.cut("/1500.snapshot.json", Cut::Missing);
    assert_eq!(watched.kinds_at(minutes(12)), []);
    let standing: Vec<_> = watched.monitor(None).unwrap().standing().collect();
    assert_eq!(standing, [AlertKind::ManyWithheld, AlertKind::Withheld]);
    // All come: everything is looked at, and what was raised has its id.
    watched.logged.mend();
    let again = watched.alerts_at(minutes(13));
    assert_eq!((again.len(), again[0].id), (1, made[0].id), "{again:#?}");
    assert_eq!(watched.monitor(None).unwrap().standing().count(), 0);
    assert_eq!(watched.kinds_at(minutes(14)), []);
}

#[test]
fn what_was_withheld_is_raised_also_while_the_log_cannot_be_read_on() {
    for cut in ["/checkpoint", "tile/entries/000.p/6"] {
        let watched = Watched::new();
        watched.quiet();
        watched.plant("1.root.json", "root", 2);
        watched.logged.cut("2.root.json", Cut::Missing);
        watched.logged.sequence(watched.world.identity);
        watched.logged.log(|log| log.grow(1));
        watched.quiet();
        watched.logged.log(|log| log.grow(2));
        assert_eq!(watched.logged.log(|log| log.head().size), 6);
        watched.logged.cut(cut, Cut::Unreachable);
        let mut monitor = watched.monitor(None).unwrap();
        let round = watched.round(&mut monitor, minutes(11)).unwrap();
        assert!(matches!(round.failure, Some(LogError::Transport(_))), "{cut}");
        let mut kinds = Vec::new();
        monitor
            .deliver(None, &mut |alert| kinds.push(alert.kind), minutes(11))
            .unwrap();
        assert_eq!(kinds, [AlertKind::Withheld], "{cut}");
    }
}

#[test]
fn files_that_get_no_answer_hold_up_a_round_only_so_long_and_the_others_have_their_turn() {
    for how in [Cut::Unreachable, Cut::PutOff] {
        let watched = Watched::new();
        watched.quiet();
        for version in 2..10 {
            watched.plant("1.root.json", "root", version);
            watched.logged.cut(&format!("/{version}.root.json"), how);
        }
        watched.logged.sequence(watched.world.identity);
        watched.quiet();
        // The checkpoint, and three files that get no answer.
        let before = assay_client::Transport::traffic(&watched.logged).requests;
        assert_eq!(watched.kinds_at(minutes(1)), []);
        let asked = assay_client::Transport::traffic(&watched.logged).requests - before;
        assert_eq!(asked, 4);
        watched.logged.mend();
        for version in 2..5 {
            watched.logged.cut(&format!("/{version}.root.json"), how);
        }
        assert_eq!(watched.kinds_at(minutes(2)), [AlertKind::NotMade; 5]);
        watched.logged.mend();
        assert_eq!(watched.kinds_at(minutes(3)), [AlertKind::NotMade; 3]);
    }
}

#[test]
fn a_namespace_that_is_watched_again_is_asked_for_what_was_withheld() {
    let watched = Watched::new();
    watched.quiet();
    watched.plant("1.root.json", "root", 2);
    watched.logged.cut("2.root.json", Cut::Missing);
    watched.logged.sequence(watched.world.identity);
    watched.quiet();
    let nobody = Terms {
        namespaces: BTreeMap::new(),
        ..watched.terms()
    };
    let mut monitor = watched.monitor(None).unwrap();
    let reader = LogReader::new(&watched.logged, "/log");
    monitor.round(&reader, &watched.logged, &nobody, now()).unwrap();
    assert_eq!(monitor.standing().count(), 0);
    drop(monitor);
    watched.logged.mend();
    assert_eq!(watched.kinds_at(minutes(1)), [AlertKind::NotMade]);
}

#[test]
fn a_withheld_snapshot_does_not_hide_what_it_names() {
    let watched = Watched::new();
    watched.publish("1.0.0");
    watched.quiet();
    let (version, honest) = watched.newest();
    let planted = watched.plant("1.targets.json", "targets", 7);
    watched.snapshot(version + 1, |meta| meta["targets.json"] = planted);
    watched
        .logged
        .cut(&format!("{}.snapshot.json", version + 1), Cut::Missing);
    watched.snapshot(version + 2, |meta| *meta = honest["signed"]["meta"].clone());
    assert_eq!(watched.kinds(), []);
    watched.logged.mend();
    assert_eq!(
        watched.kinds_at(minutes(1)),
        [AlertKind::WentBack, AlertKind::NotMade]
    );
}

#[test]
fn a_rollback_that_is_handed_out_a_round_later() {
    for newer_meanwhile in [false, true] {
        let watched = Watched::new();
        watched.publish("1.0.0");
        let (_, first) = watched.newest();
        watched.publish("1.1.0");
        watched.quiet();
        let (version, honest) = watched.newest();
        let role = "model.minilm.0.json";
        watched.snapshot(version + 1, |meta| {
            meta[role] = first["signed"]["meta"][role].clone();
            drop(meta.as_object_mut().unwrap().remove("status.json"));
        });
        watched
            .logged
            .cut(&format!("/{}.snapshot.json", version + 1), Cut::Missing);
        if newer_meanwhile {
            watched.snapshot(version + 2, |meta| *meta = honest["signed"]["meta"].clone());
        }
        watched.quiet();
        watched.logged.mend();
        let kinds = watched.kinds_at(minutes(1));
        assert!(
            kinds.contains(&AlertKind::WentBack),
            "{newer_meanwhile}: {kinds:?}"
        );
        assert_eq!(watched.kinds_at(minutes(2)), []);
    }
}

#[test]
fn a_rollback_of_what_was_withheld_itself() {
    for newer_first in [false, true] {
        let watched = Watched::new();
        watched.publish("1.0.0");
        watched.quiet();
        let (_, old) = watched.newest();
        watched.publish("1.1.0");
        let (version, _) = watched.newest();
        // Between the two snapshots that name the old release, one names the new one; each is late.
        watched.snapshot(version + 1, |meta| *meta = old["signed"]["meta"].clone());
        watched
            .logged
            .cut(&format!("/{version}.snapshot.json"), Cut::Missing);
        if !newer_first {
            watched
                .logged
                .cut(&format!("/{}.snapshot.json", version + 1), Cut::Missing);
        }
        watched.quiet();
        watched.logged.mend();
        let kinds = watched.kinds_at(minutes(1));
        assert!(kinds.contains(&AlertKind::WentBack), "{newer_first}: {kinds:?}");
    }
}

#[test]
fn a_file_other_than_the_logged_one() {
    let watched = Watched::new();
    watched.quiet();
    watched.publish("1.0.0");
    let file = watched.world.registry.file("1.model.minilm.0.json").unwrap();
    let mut other: Value = serde_json::from_slice(&file).unwrap();
    other["signatures"] = json!([]);
    watched
        .world
        .registry
        .set_file("1.model.minilm.0.json", serde_json::to_vec(&other).unwrap());
    assert_eq!(watched.kinds(), [AlertKind::OtherFile]);
}

#[test]
fn new_online_keys_of_the_authoritys_let_versions_begin_anew() {
    let watched = Watched::new();
    for version in ["1.0.0", "1.1.0"] {
        watched.publish(version);
    }
    watched.quiet();
    // Stolen online keys ran ahead, and the authority names others.
    watched.snapshot(1 << 40, |_| {});
    watched.quiet();
    let mut root: Value =
        serde_json::from_slice(&watched.world.registry.file("1.root.json").unwrap()).unwrap();
    root["signed"]["version"] = json!(2);
    root["signed"]["roles"]["snapshot"]["keyids"] = json!(["a".repeat(64)]);
    let signed = assay_schema::canonical::signed_bytes(&root["signed"]).unwrap();
    let line = json!({
        "v": 1, "at": now(), "namespace": watched.world.identity, "role": "root", "version": 2, "sha256": sha256(&signed),
    });
    let mut journal = std::fs::OpenOptions::new()
        .append(true)
        .open(&watched.journals[0])
        .unwrap();
    writeln!(journal, "{line}").unwrap();
    watched
        .world
        .registry
        .set_file("2.root.json", serde_json::to_vec(&root).unwrap());
    watched.logged.sequence(watched.world.identity);
    watched.snapshot(30, |_| {});
    watched.quiet();
    watched.snapshot(29, |_| {});
    assert_eq!(watched.kinds(), [AlertKind::WentBack]);
}

#[test]
fn a_log_that_shows_two_histories_and_one_that_only_lags() {
    let watched = Watched::new();
    watched.publish("1.0.0");
    let old = watched.logged.log(|log| log.head());
    watched.publish("1.1.0");
    watched.quiet();
    watched.logged.log(|log| log.show(old));
    watched.quiet();
    let honest = watched.logged.log(|log| log.clone());
    watched.logged.log(|log| {
        *log = log.rewritten(0);
        log.grow(3)
    });
    let alerts = watched.alerts_at(now());
    assert_eq!(
        (alerts.len(), alerts[0].kind),
        (1, AlertKind::Split),
        "{alerts:#?}"
    );
    assert!(alerts[0].evidence.as_ref().unwrap().exists());
    // It lasts on, and is not raised again; the honest history is gone on with.
    assert!(watched.kinds().is_empty());
    watched.logged.log(|log| *log = honest);
    watched.publish("1.2.0");
    watched.quiet();
    assert_eq!(watched.monitor(None).unwrap().standing().count(), 0);
}

/// A fork that is shown without the tiles that would tell, and is taken back before the monitor can compare.
#[test]
fn a_fork_that_is_taken_back_before_its_tiles_come() {
    let watched = Watched::new();
    watched.publish("1.0.0");
    watched.quiet();
    let honest = watched.logged.log(|log| log.clone());
    watched.logged.log(|log| {
        *log = log.rewritten(0);
        log.grow(1);
        log.files.retain(|path, _| !path.starts_with("tile/"));
    });
    assert!(!watched.kinds().contains(&AlertKind::Split));
    watched.logged.log(|log| *log = honest);
    watched.publish("1.1.0");
    watched.publish("1.2.0");
    let alerts = watched.alerts_at(now());
    assert_eq!(
        (alerts.len(), alerts[0].kind),
        (1, AlertKind::Split),
        "{alerts:#?}"
    );
    assert!(alerts[0].evidence.as_ref().unwrap().exists());
    // It lasts on.
    assert!(watched.kinds().is_empty());
    let standing: Vec<_> = watched.monitor(None).unwrap().standing().collect();
    assert_eq!(standing, [AlertKind::Split]);
}

#[test]
fn a_log_that_hands_out_other_tiles_or_entries_than_it_signed() {
    for path in ["tile/0/000.p/3", "tile/entries/000.p/3"] {
        let watched = Watched::new();
        watched.publish("1.0.0");
        let honest = watched.logged.log(|log| log.clone());
        watched
            .logged
            .log(|log| *log.files.get_mut(path).unwrap().last_mut().unwrap() ^= 1);
        assert_eq!(watched.kinds(), [AlertKind::Unproven], "{path}");
        assert_eq!(watched.kinds(), [], "{path}");
        watched.logged.log(|log| *log = honest);
        watched.quiet();
        assert_eq!(watched.monitor(None).unwrap().standing().count(), 0);
    }
}

#[test]
fn a_checkpoint_that_another_key_signed() {
    let watched = Watched::new();
    watched.quiet();
    let honest = watched.logged.log(|log| log.clone());
    watched.logged.log(|log| *log = MemoryLog::of(common::ORIGIN, 9));
    assert_eq!(watched.kinds(), [AlertKind::BadCheckpoint]);
    watched.logged.log(|log| *log = honest);
    watched.quiet();
}

#[test]
fn too_few_witnesses_are_raised_each_time_that_they_go() {
    let mut watched = Watched::new();
    let witnesses = Witnesses::new(2);
    let policy = WitnessPolicy::new(2, witnesses.keys()).unwrap();
    watched.policy = LogPolicy::new(watched.policy.log().clone(), Some(policy)).unwrap();
    let cosigned = |watched: &Watched, count| {
        watched.logged.log(|log| {
            let mut checkpoint = log.sign(log.head());
            witnesses.cosign(&log.key, &mut checkpoint, count, now());
            log.files
                .insert("checkpoint".to_owned(), checkpoint.to_string().into_bytes());
        });
    };
    cosigned(&watched, 1);
    assert_eq!(watched.kinds(), [AlertKind::Witnesses]);
    assert_eq!(watched.kinds_at(minutes(1)), []);
    cosigned(&watched, 2);
    assert_eq!(watched.kinds_at(minutes(2)), []);
    cosigned(&watched, 0);
    let alerts = watched.alerts_at(minutes(3));
    assert_eq!((alerts.len(), alerts[0].kind), (1, AlertKind::Witnesses));
}

#[test]
fn a_log_without_a_sign_of_life_also_when_it_cannot_be_reached() {
    let mut watched = Watched::new();
    watched.max_age = Some(SignedDuration::from_hours(1));
    watched.quiet();
    assert_eq!(watched.kinds_at(minutes(59)), []);
    watched.logged.cut("/checkpoint", Cut::Unreachable);
    let mut monitor = watched.monitor(None).unwrap();
    let round = watched.round(&mut monitor, minutes(61)).unwrap();
    assert!(matches!(round.failure, Some(LogError::Transport(_))));
    let mut kinds = Vec::new();
    monitor
        .deliver(None, &mut |alert| kinds.push(alert.kind), minutes(61))
        .unwrap();
    assert_eq!(kinds, [AlertKind::Stale]);
    drop(monitor);
    watched.logged.mend();
    watched.publish("1.0.0");
    assert_eq!(watched.kinds_at(minutes(62)), []);
    assert_eq!(watched.kinds_at(minutes(130)), [AlertKind::Stale]);
}

#[test]
fn entries_that_are_not_handed_out_are_raised_and_such_a_log_shows_no_life() {
    for how in [Cut::Missing, Cut::Unreachable, Cut::PutOff] {
        let mut watched = Watched::new();
        watched.max_age = Some(SignedDuration::from_hours(1));
        watched.quiet();
        watched.logged.cut("tile/entries/000.p/", how);
        let mut raised = Vec::new();
        for at in [1, 5, 10, 12, 30, 62] {
            // The log grows all the time.
            watched.logged.log(|log| log.grow(1));
            for size in 1..20 {
                watched.logged.cut(&format!("tile/entries/000.p/{size}"), how);
            }
            watched.logged.cut("tile/entries/000", how);
            let kinds = watched.kinds_at(minutes(at));
            raised.extend(kinds.into_iter().map(|kind| (kind, at)));
        }
        assert!(raised.contains(&(AlertKind::Unread, 12)), "{raised:?}");
        assert!(raised.contains(&(AlertKind::Stale, 62)), "{raised:?}");
        let standing: Vec<_> = watched.monitor(None).unwrap().standing().collect();
        assert!(standing.contains(&AlertKind::Unread), "{standing:?}");
        watched.logged.mend();
        assert_eq!(watched.kinds_at(minutes(63)), []);
        assert_eq!(watched.monitor(None).unwrap().standing().count(), 0);
    }
}

#[test]
fn a_checkpoint_that_does_not_come_is_raised() {
    let watched = Watched::new();
    watched.quiet();
    watched.logged.cut("/checkpoint", Cut::PutOff);
    assert_eq!(watched.kinds_at(minutes(1)), []);
    assert_eq!(watched.kinds_at(minutes(12)), [AlertKind::Unread]);
    assert_eq!(watched.kinds_at(minutes(13)), []);
}

#[test]
fn files_for_which_there_is_no_time_are_put_off_and_what_needs_no_file_is_raised_before() {
    let watched = Watched::new();
    watched.quiet();
    for version in [9, 8] {
        watched.snapshot(version, |_| {});
    }
    watched.plant("1.root.json", "root", 2);
    watched.logged.sequence(watched.world.identity);
    let mut monitor = watched.monitor(None).unwrap();
    let reader = LogReader::new(&watched.logged, "/log");
    let terms = Terms {
        patience: Duration::ZERO,
        ..watched.terms()
    };
    let before = assay_client::Transport::traffic(&watched.logged).requests;
    let (mut rounds, mut kinds) = (0, Vec::new());
    loop {
        let round = monitor.round(&reader, &watched.logged, &terms, now()).unwrap();
        monitor
            .deliver(None, &mut |alert| kinds.push((rounds, alert.kind)), now())
            .unwrap();
        rounds += 1;
        if !round.unfinished {
            break;
        }
    }
    // One round for each entry: the alert of the second does not wait for the third. None asks for more than checkpoint, tile, bundle.
    assert_eq!((rounds, kinds.as_slice()), (3, &[(1, AlertKind::WentBack)][..]));
    let asked = assay_client::Transport::traffic(&watched.logged).requests - before;
    assert!(asked <= 4 * rounds, "{asked}");
    drop(monitor);
    assert_eq!(watched.kinds_at(minutes(1)), [AlertKind::NotMade]);
}

#[test]
fn what_is_found_in_one_stretch_is_told_before_the_next_is_read() {
    let watched = Watched::new();
    watched.quiet();
    watched.plant("1.root.json", "root", 2);
    watched.logged.sequence(watched.world.identity);
    watched.logged.log(|log| log.grow(20_000));
    let mut monitor = watched.monitor(None).unwrap();
    let round = watched.round(&mut monitor, now()).unwrap();
    assert!(round.unfinished && round.raised == 1, "{round:?}");
    let rest = watched.round(&mut monitor, now()).unwrap();
    assert!(!rest.unfinished && rest.raised == 0, "{rest:?}");
    assert_eq!(
        round.entries + rest.entries + 2,
        watched.logged.log(|log| log.head().size)
    );
}

#[test]
fn alerts_beyond_the_outbox_are_counted() {
    let watched = Watched::new();
    watched.quiet();
    for n in 0..1500_u64 {
        watched.logged.log(|log| {
            log.append(format!("{} {n}", watched.world.identity).into_bytes());
        });
    }
    watched.logged.log(MemoryLog::publish);
    assert_eq!(watched.alerts_at(now()).len(), 1000);
    let rest = watched.alerts_at(now());
    assert_eq!((rest.len(), rest[0].kind), (1, AlertKind::More));
    assert!(rest[0].found.starts_with("500 "), "{}", rest[0].found);
}

#[test]
fn a_large_log_of_others_is_read_by_the_stretch_and_gone_on_with() {
    let watched = Watched::new();
    watched.logged.log(|log| log.grow(70_000));
    watched.publish("1.0.0");
    watched.plant("1.root.json", "root", 2);
    watched.logged.sequence(watched.world.identity);
    // The way breaks in the middle: what was read stays read.
    watched.logged.cut("tile/entries/200", Cut::Unreachable);
    let mut monitor = watched.monitor(None).unwrap();
    let round = watched.round(&mut monitor, now()).unwrap();
    assert!(matches!(round.failure, Some(LogError::Transport(_))));
    assert!((40_000..60_000).contains(&round.entries), "{}", round.entries);
    watched.logged.mend();
    let rest = watched.round(&mut monitor, now()).unwrap();
    assert_eq!(
        round.entries + rest.entries,
        watched.logged.log(|log| log.head().size)
    );
    assert_eq!((rest.raised, rest.leaves), (1, 2));
}

#[test]
fn stopped_behind_any_step_no_alert_is_lost_or_raised_twice() {
    let mut covered = Vec::new();
    let mut steps = 0;
    for stop in 0..40 {
        let watched = Watched::new();
        watched.publish("1.0.0");
        watched.plant("1.root.json", "root", 2);
        watched.logged.sequence(watched.world.identity);
        let (count, seen) = (AtomicUsize::new(0), Arc::new(std::sync::Mutex::new(Vec::new())));
        let log = seen.clone();
        let hook: StepHook = Arc::new(move |step| {
            log.lock().unwrap().push(step);
            match count.fetch_add(1, Ordering::Relaxed) == stop {
                true => Err(LogError::Stopped(step)),
                false => Ok(()),
            }
        });
        let mut ids: Vec<Sha256Digest> = Vec::new();
        let stopped = (|| {
            let mut monitor = watched.monitor(Some(hook.clone()))?;
            watched.round(&mut monitor, now())?;
            monitor.deliver(None, &mut |alert| ids.push(alert.id), now())?;
            watched.logged.log(|log| {
                *log = log.rewritten(0);
                log.grow(2)
            });
            watched.round(&mut monitor, now())?;
            monitor.deliver(None, &mut |alert| ids.push(alert.id), now())
        })();
        covered.extend(seen.lock().unwrap().iter().copied());
        if stopped.is_ok() {
            steps = stop;
            break;
        }
        // The next process, and one more.
        watched.logged.log(|log| {
            if log.head().size < 5 {
                *log = log.rewritten(0);
                log.grow(2);
            }
        });
        let first = ids.len();
        for _ in 0..2 {
            ids.extend(watched.alerts_at(now()).iter().map(|alert| alert.id));
        }
        let mut different = ids.clone();
        different.sort();
        different.dedup();
        // If the process stopped before it knew any checkpoint, the fork is the first that the next one sees.
        assert!(!different.is_empty(), "stopped at {stop}");
        // An alert may be delivered again, under its id, if the crash came right behind its delivery.
        assert!(
            ids.len() - different.len() <= 1,
            "stopped at {stop}, behind {first}: {ids:?}"
        );
    }
    assert!(steps >= 5, "{steps}");
    for step in [
        FollowStep::Pin,
        FollowStep::Evidence,
        FollowStep::Position,
        FollowStep::Delivered,
    ] {
        assert!(covered.contains(&step), "{step:?} was never reached");
    }
}

/// A webhook that answers with these statuses in turn, and what it was sent.
fn receiver(statuses: &'static [u16]) -> (String, std::thread::JoinHandle<Vec<(String, Value)>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/hook?secret=1", listener.local_addr().unwrap());
    let thread = std::thread::spawn(move || {
        let mut taken = Vec::new();
        for status in statuses {
            let (mut stream, _) = listener.accept().unwrap();
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let (mut length, mut key) = (0, String::new());
            loop {
                let mut line = String::new();
                reader.read_line(&mut line).unwrap();
                let lower = line.to_lowercase();
                if let Some(value) = lower.strip_prefix("content-length: ") {
                    length = value.trim().parse().unwrap();
                }
                if let Some(value) = lower.strip_prefix("idempotency-key: ") {
                    key = value.trim().to_owned();
                }
                if line.trim().is_empty() {
                    break;
                }
            }
            let mut body = vec![0; length];
            reader.read_exact(&mut body).unwrap();
            write!(
                stream,
                "HTTP/1.1 {status} X\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            )
            .unwrap();
            if *status == 200 {
                taken.push((key, serde_json::from_slice(&body).unwrap()));
            }
        }
        taken
    });
    (url, thread)
}

#[test]
fn a_webhook_that_fails_gets_the_alert_again_until_it_takes_it_once() {
    let watched = Watched::new();
    watched.quiet();
    watched.plant("1.root.json", "root", 2);
    watched.logged.sequence(watched.world.identity);
    let (url, thread) = receiver(&[500, 302, 200]);
    let hook = Webhook::new(&url).unwrap();
    let mut printed = 0;
    for attempt in 0..4 {
        // Each attempt is another process.
        let mut monitor = watched.monitor(None).unwrap();
        watched.round(&mut monitor, now()).unwrap();
        let failed = monitor
            .deliver(Some(&hook), &mut |_| printed += 1, now())
            .unwrap();
        assert_eq!(failed.is_some(), attempt < 2, "{failed:?}");
        assert_eq!(monitor.undelivered(), usize::from(attempt < 2));
        assert!(!failed.unwrap_or_default().contains("secret"));
    }
    assert_eq!(printed, 1);
    let taken = thread.join().unwrap();
    assert_eq!(taken.len(), 1);
    assert_eq!(taken[0].1["kind"], "not-made");
    assert_eq!(taken[0].0, taken[0].1["id"].as_str().unwrap());
    assert!(
        taken[0].1["text"]
            .as_str()
            .unwrap()
            .starts_with("acme: not made by the authority: 2.root.json")
    );
}

#[test]
fn a_second_monitor_another_log_and_a_damaged_memory_are_refused() {
    let mut watched = Watched::new();
    watched.quiet();
    let first = watched.monitor(None).unwrap();
    assert!(
        watched
            .monitor(None)
            .unwrap_err()
            .to_string()
            .contains("another process")
    );
    drop(first);
    let state = watched.world.dir.path().join("monitor/monitor.json");
    let whole = std::fs::read(&state).unwrap();
    std::fs::write(&state, &whole[..whole.len() / 2]).unwrap();
    assert!(matches!(watched.monitor(None), Err(LogError::Store(_))));
    std::fs::write(&state, whole).unwrap();
    watched.policy = LogPolicy::new(MemoryLog::new("log.example/2").key, None).unwrap();
    assert!(matches!(watched.monitor(None), Err(LogError::OtherLog { .. })));
}
