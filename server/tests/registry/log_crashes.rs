//! The log's process ends at any moment, and no checkpoint that anybody saw becomes a lie.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use assay_log::Leaf;
use assay_schema::Sha256Digest;
use assay_server::persistence::Database;

use super::follower::{Follower, log_info};
use super::postgres::Cluster;
use super::process::{Process, server};
use super::support::{eventually, logged_namespace, sha256};
use super::witness::{Manner, Witness};

fn configuration(witnesses: &[&Witness]) -> String {
    let each: Vec<String> = witnesses
        .iter()
        .map(|witness| {
            let config = witness.config();
            format!("{{ url = '{}', key = '{}' }}", config.url, config.key)
        })
        .collect();
    format!(
        "[rate]\nenabled = false\n[transparency]\nbatch_millis = 20\nwitnesses = [{}]\n",
        each.join(", ")
    )
}

fn sqlite(folder: &Path) -> String {
    format!("sqlite://{}", folder.join("data/assay.sqlite").display())
}

/// The namespaces of a log's entries, of which every one must be there once.
fn namespaces(leaves: &[Leaf]) -> BTreeSet<Sha256Digest> {
    let different: BTreeSet<_> = leaves.iter().map(|leaf| leaf.hash().unwrap()).collect();
    assert_eq!(different.len(), leaves.len(), "an entry is there twice");
    leaves.iter().map(Leaf::namespace).collect()
}

async fn published(db: &Database, size: u64) {
    eventually("everything is published", async || {
        db.log_state().await.unwrap().unwrap().published == size
    })
    .await;
}

/// Entries wait when the process starts, or come while it runs; behind the step it ends.
#[cfg(feature = "crash-points")]
#[tokio::test]
async fn a_process_killed_behind_any_step_of_the_log_goes_on() {
    use assay_server::steps::Step;

    let _ = rustls::crypto::ring::default_provider().install_default();
    for (step, waiting) in [Step::LOG.as_slice(), &Step::WITNESS]
        .concat()
        .into_iter()
        .flat_map(|step| [(step, false), (step, true)])
    {
        let folder = tempfile::tempdir().unwrap();
        let witness = Witness::start("a.example");
        let good = configuration(&[&witness]);
        let process = Process::start(folder.path(), &good);
        let mut follower = Follower::of(process.url()).await;
        witness.follows(&log_info(process.url()).await.key);
        let db = Database::connect(&sqlite(folder.path())).await.unwrap();
        logged_namespace(&db, "first").await;
        published(&db, 2).await;
        follower.look(process.url()).await.unwrap();
        drop(process);

        if waiting {
            logged_namespace(&db, "second").await;
        }
        let bad = format!("{good}[testing]\nstop_after = '{step:?}'\n");
        let process = Process::start(folder.path(), &bad);
        if !waiting {
            logged_namespace(&db, "second").await;
        }
        process.dies();

        let process = Process::start(folder.path(), &good);
        logged_namespace(&db, "third").await;
        published(&db, 6).await;
        follower.heard_of(witness.asked().into_iter().map(|(_, head)| head));
        let leaves = follower.read(process.url()).await;
        let all = ["first", "second", "third"].map(|name| sha256(name.as_bytes()));
        assert_eq!(namespaces(&leaves), all.into(), "{step:?}, {waiting}");
        eventually("the witness cosigns the newest checkpoint", async || {
            db.cosignatures(6, 2).await.unwrap().len() == 1
        })
        .await;
        db.close().await.unwrap();
    }
}

/// What administrators do stands, or is done by asking again, and the log is none the worse.
#[cfg(feature = "crash-points")]
#[tokio::test]
async fn a_process_killed_behind_any_step_of_administration_goes_on() {
    use assay_schema::api::{NewToken, OnlineKeys, Page, TokenInfo};
    use assay_server::steps::Step;

    let _ = rustls::crypto::ring::default_provider().install_default();
    let folder = tempfile::tempdir().unwrap();
    let good = configuration(&[]);
    let process = Process::start(folder.path(), &good);
    let admin = process.token().unwrap().to_owned();
    let mut follower = Follower::of(process.url()).await;
    let db = Database::connect(&sqlite(folder.path())).await.unwrap();
    let client = reqwest::Client::new();
    let tokens = |process: &Process| format!("{}/v1/tokens", process.url());
    let keys = |process: &Process| format!("{}/v1/namespaces/acme/keys", process.url());
    let body = serde_json::json!({ "label": "test", "scope": "read" });
    let make = client.post(tokens(&process)).bearer_auth(&admin).json(&body);
    let made: NewToken = make.send().await.unwrap().json().await.unwrap();
    drop(process);

    for (n, step) in Step::ADMINISTER.into_iter().enumerate() {
        let bad = format!("{good}[testing]\nstop_after = '{step:?}'\n");
        let process = Process::start(folder.path(), &bad);
        let request = match step {
            Step::N1 => client.post(tokens(&process)).json(&body),
            Step::N2 => client.delete(format!("{}/{}", tokens(&process), made.token.id)),
            Step::N3 => client.post(keys(&process)),
            other => panic!("no request takes {other:?}"),
        };
        assert!(request.bearer_auth(&admin).send().await.is_err(), "{step:?}");
        process.dies();

        let process = Process::start(folder.path(), &good);
        logged_namespace(&db, &format!("acme{n}")).await;
        let size = 2 * (n as u64 + 1);
        published(&db, size).await;
        assert_eq!(follower.read(process.url()).await.len() as u64, size);
        let listed = client
            .get(tokens(&process))
            .bearer_auth(&admin)
            .send()
            .await
            .unwrap();
        let listed: Page<TokenInfo> = listed.json().await.unwrap();
        let left = listed.items.iter().filter(|token| token.label == "test").count();
        match step {
            Step::N1 => assert_eq!(left, 2, "one whose secret nobody was told"),
            Step::N2 => assert_eq!(left, 1),
            _ => {
                let mut asked = Vec::new();
                for _ in 0..2 {
                    let request = client.post(keys(&process)).bearer_auth(&admin);
                    asked.push(request.send().await.unwrap().json::<OnlineKeys>().await.unwrap());
                }
                assert_eq!(asked[0], asked[1]);
            }
        }
    }
    db.close().await.unwrap();
}

/// Killed wherever they happen to be, while entries come in.
async fn killed_again_and_again(url: &str, configurations: &[String], folders: &[&Path], witness: &Witness) {
    const NAMESPACES: usize = 60;
    let mut processes: Vec<Process> = Vec::new();
    for (folder, configuration) in folders.iter().zip(configurations) {
        processes.push(Process::start(folder, configuration));
    }
    let mut follower = Follower::of(processes[0].url()).await;
    witness.follows(&log_info(processes[0].url()).await.key);
    let db = Database::connect(url).await.unwrap();
    let publishing = tokio::spawn({
        let db = db.clone();
        async move {
            for n in 0..NAMESPACES {
                logged_namespace(&db, &format!("acme{n}")).await;
                tokio::time::sleep(Duration::from_millis(30)).await;
            }
        }
    });
    let mut kills = 0;
    while !publishing.is_finished() || kills < 3 * folders.len() {
        for n in 0..folders.len() {
            for process in &processes {
                follower.look(process.url()).await;
            }
            // Another moment with every round.
            tokio::time::sleep(Duration::from_millis(7 * (kills as u64 % 11))).await;
            processes[n].signal("-KILL");
            processes[n].child.wait().unwrap();
            processes[n] = Process::start(folders[n], &configurations[n]);
            kills += 1;
        }
    }
    publishing.await.unwrap();
    published(&db, 2 * NAMESPACES as u64).await;
    follower.heard_of(witness.asked().into_iter().map(|(_, head)| head));
    for process in &processes {
        let leaves = follower.read(process.url()).await;
        assert_eq!(leaves.len(), 2 * NAMESPACES);
        assert_eq!(namespaces(&leaves).len(), NAMESPACES);
    }
    db.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sequencer_killed_again_and_again_makes_one_history() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let folder = tempfile::tempdir().unwrap();
    let witness = Witness::start("a.example");
    let configurations = [configuration(&[&witness])];
    let url = sqlite(folder.path());
    killed_again_and_again(&url, &configurations, &[folder.path()], &witness).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_sequencers_on_postgres_killed_again_and_again_make_one_history() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let cluster = Cluster::find_or_start().await;
    let url = cluster.fresh_database().await;
    let shared = tempfile::tempdir().unwrap();
    let own = [(); 3].map(|()| tempfile::tempdir().unwrap());
    let witness = Witness::start("a.example");
    let common = format!(
        "{}[database]\nurl = '{url}'\n[storage]\nurl = 'file://{}'\n[signing]\nseal_key = '{}'\n",
        configuration(&[&witness]),
        shared.path().display(),
        shared.path().join("seal.key").display()
    );
    let folders = [&own[0], &own[1], &own[2]].map(tempfile::TempDir::path);
    let configurations = [common.clone(), common.clone(), common];
    killed_again_and_again(&url, &configurations, &folders, &witness).await;
    cluster.drop_database(&url).await;
}

/// The command that changes the log's key ends behind each of its steps; asked again, it goes on.
#[cfg(feature = "crash-points")]
#[tokio::test]
async fn a_change_of_the_logs_key_killed_behind_any_step_goes_on() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let good = configuration(&[]);
    let process = Process::start(folder.path(), &good);
    let before = log_info(process.url()).await;
    let busy = server(&["log-key", "next"], &data);
    assert!(String::from_utf8_lossy(&busy.stderr).contains("found another registry"));
    drop(process);
    let none = server(&["log-key", "retire"], &data);
    assert!(
        String::from_utf8_lossy(&none.stderr).contains("log-key next"),
        "{none:?}"
    );

    for (step, command) in [("N4", "next"), ("N5", "retire")] {
        let bad = folder.path().join("bad.toml");
        std::fs::write(&bad, format!("[testing]\nstop_after = '{step}'\n")).unwrap();
        let died = server(&["log-key", command, "--config", bad.to_str().unwrap()], &data);
        assert!(!died.status.success() && died.stdout.is_empty(), "{died:?}");
    }
    // Behind its step the change was done; the first command shows the next change's key.
    let shown = server(&["log-key", "next"], &data);
    let shown = String::from_utf8(shown.stdout).unwrap();
    let process = Process::start(folder.path(), &good);
    let now = log_info(process.url()).await;
    assert_eq!(
        shown.trim_end(),
        format!("next log key: {}", now.next_key.unwrap())
    );
    assert!(now.key != before.key && now.origin == before.origin);
    drop(process);
    let shown = String::from_utf8(server(&["log-key", "retire"], &data).stdout).unwrap();
    assert!(
        shown.starts_with(&format!("retired log key: {}\nlog key: ", now.key)),
        "{shown}"
    );
    let process = Process::start(folder.path(), &good);
    let mut follower = Follower::of(process.url()).await;
    let db = Database::connect(&sqlite(folder.path())).await.unwrap();
    logged_namespace(&db, "acme").await;
    published(&db, 2).await;
    assert_eq!(follower.read(process.url()).await.len(), 2);
    db.close().await.unwrap();
}

fn copy(from: &Path, to: &Path) {
    let _ = std::fs::remove_dir_all(to);
    let status = std::process::Command::new("cp")
        .arg("-r")
        .args([from, to])
        .status();
    assert!(status.unwrap().success());
}

#[tokio::test]
async fn refuses_to_start_on_an_old_backup_and_says_what_to_do() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let folder = tempfile::tempdir().unwrap();
    let (data, backup) = (folder.path().join("data"), folder.path().join("backup"));
    // Two: a size is not signed, and one witness alone is not believed.
    let witnesses = [Witness::start("a.example"), Witness::start("b.example")];
    let configuration = configuration(&[&witnesses[0], &witnesses[1]]);
    let grow = async |name: &str, size: u64| {
        let process = Process::start(folder.path(), &configuration);
        let key = log_info(process.url()).await.key;
        witnesses.iter().for_each(|witness| witness.follows(&key));
        let db = Database::connect(&sqlite(folder.path())).await.unwrap();
        logged_namespace(&db, name).await;
        published(&db, size).await;
        eventually("it is cosigned", async || {
            db.cosignatures(size, 2).await.unwrap().len() == 2
        })
        .await;
        db.close().await.unwrap();
        process.signal("-TERM");
        let mut process = process;
        process.child.wait().unwrap();
    };
    grow("first", 2).await;
    copy(&data, &backup);
    grow("second", 4).await;
    let newest = folder.path().join("newest");
    copy(&data, &newest);

    // The database alone: the storage knows better.
    copy(&backup.join("assay.sqlite"), &data.join("assay.sqlite"));
    let said = Process::refused(folder.path(), &configuration);
    assert!(
        said.contains("old backup") && said.contains("a checkpoint over 4"),
        "{said}"
    );
    // Database and storage together: only the witnesses know better.
    copy(&backup, &data);
    let said = Process::refused(folder.path(), &configuration);
    assert!(
        said.contains("old backup") && said.contains("a.example"),
        "{said}"
    );
    // Witnesses that are down keep no registry from starting.
    witnesses
        .iter()
        .for_each(|witness| witness.behaves(Manner::Refuses(503)));
    drop(Process::start(folder.path(), &configuration));
    // The newer backup goes on.
    witnesses
        .iter()
        .for_each(|witness| witness.behaves(Manner::Honest));
    copy(&newest, &data);
    grow("third", 6).await;
}
