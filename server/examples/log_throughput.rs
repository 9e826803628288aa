//! How many entries the transparency log takes: submitters that each wait for a synchronous commit before they send the next, beside
//! the sequencer, up to published checkpoints. Prints one line of JSON.
//!
//! `log_throughput FOLDER [--seconds S] [--submitters N] [--database-url URL]`

#![allow(clippy::print_stdout)]

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use assay_log::leaf::{Leaf, LeafKind};
use assay_schema::Sha256Digest;
use assay_server::config::{Config, Secret};
use assay_server::log::sequence;
use assay_server::state::AppState;
use clap::Parser;

type Failure = Box<dyn std::error::Error + Send + Sync>;

#[derive(Debug, Parser)]
struct Line {
    /// An empty folder for database and tiles.
    folder: PathBuf,
    /// How long to submit.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Submitters at the same time.
    #[arg(long, default_value_t = 64)]
    submitters: u64,
    /// PostgreSQL instead of the embedded database.
    #[arg(long)]
    database_url: Option<String>,
}

/// An entry that was acknowledged: what, and when it was sent and committed.
struct Sent {
    version: u64,
    begun: Instant,
    committed: Instant,
}

fn entry(submitter: u64, version: u64) -> Result<Leaf, Failure> {
    let mut identity = [0; 32];
    let (head, _) = identity.split_at_mut(8);
    head.copy_from_slice(&submitter.to_be_bytes());
    let mut digest = [0xa5; 32];
    let (head, _) = digest.split_at_mut(8);
    head.copy_from_slice(&version.to_be_bytes());
    let (identity, digest) = (Sha256Digest::new(identity), Sha256Digest::new(digest));
    Ok(Leaf::new(identity, LeafKind::Snapshot, version, digest)?)
}

async fn submit(state: AppState, submitter: u64, stop: Arc<AtomicBool>) -> Result<Vec<Sent>, Failure> {
    let mut sent = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let version = sent.len() as u64 + 1;
        let (leaf, begun) = (entry(submitter, version)?, Instant::now());
        state.db.submit_log_entry(&leaf, state.clock.now()).await?;
        sent.push(Sent {
            version,
            begun,
            committed: Instant::now(),
        });
    }
    Ok(sent)
}

/// When each size was published.
async fn watch(state: AppState, stop: Arc<AtomicBool>) -> Result<Vec<(u64, Instant)>, Failure> {
    let mut seen = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let published = state.db.log_state().await?.map_or(0, |record| record.published);
        if seen.last().is_none_or(|(size, _)| *size < published) {
            seen.push((published, Instant::now()));
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(seen)
}

fn percentile(sorted: &[Duration], of: f64) -> f64 {
    let last = sorted.len().saturating_sub(1);
    let at = (last as f64 * of).round() as usize;
    sorted.get(at).map_or(0.0, Duration::as_secs_f64)
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let line = Line::parse();
    let mut config = Config::in_folder(&line.folder)?;
    if let Some(url) = line.database_url {
        config.database.url = Secret::new(url);
    }
    let state = AppState::open(config).await?;
    sequence::prepare(&state).await?;
    sequence::start(&state);

    let (done, stop) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let watching = tokio::spawn(watch(state.clone(), Arc::clone(&done)));
    let began = Instant::now();
    let submitters: Vec<_> = (0..line.submitters)
        .map(|n| tokio::spawn(submit(state.clone(), n, Arc::clone(&stop))))
        .collect();
    tokio::time::sleep(Duration::from_secs(line.seconds)).await;
    stop.store(true, Ordering::Relaxed);
    let mut sent = HashMap::new();
    for (submitter, task) in (0..).zip(submitters) {
        for one in task.await?? {
            sent.insert(entry(submitter, one.version)?.hash()?, one);
        }
    }
    let total = sent.len() as u64;
    while state
        .db
        .log_state()
        .await?
        .is_none_or(|record| record.published < total)
    {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let took = began.elapsed().as_secs_f64();
    done.store(true, Ordering::Relaxed);
    let mut seen = watching.await??;
    seen.push((total, Instant::now()));

    let (mut commits, mut inclusions) = (Vec::new(), Vec::new());
    for (place, leaf) in (0..).zip(state.db.log_entries(0, total).await?) {
        let one = sent
            .remove(&leaf.hash()?)
            .ok_or("the log holds an entry that nobody sent")?;
        let shown = seen
            .iter()
            .find(|(size, _)| *size > place)
            .ok_or("an entry is in no checkpoint")?;
        commits.push(one.committed - one.begun);
        inclusions.push(shown.1.saturating_duration_since(one.committed));
    }
    if !sent.is_empty() {
        return Err(format!("{} acknowledged entries are not in the log", sent.len()).into());
    }
    commits.sort_unstable();
    inclusions.sort_unstable();
    println!(
        "{}",
        serde_json::json!({
            "entries": total,
            "per_second": total as f64 / took,
            "commit_p99": percentile(&commits, 0.99),
            "inclusion_p50": percentile(&inclusions, 0.5),
            "inclusion_p99": percentile(&inclusions, 0.99),
        })
    );
    state.tasks.stop(Duration::from_secs(10)).await;
    Ok(())
}
