//! Deltas that the registry makes by itself, one at a time, in the background.
//!
//! What is to be made follows from the tables alone: to each model's highest release from the releases before it, and from the bases
//! that devices reported. So a registry that stops, however, goes on at its next start; and what it left half made is made anew.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use assay_schema::delta::{DeltaInfo, DeltaMaker};
use jiff::{SignedDuration, Timestamp};

use super::make::{self, Made, MakeError, Work};
use super::spool::{self, PIECE, Spooled};
use super::{release, source, unused};
use crate::blobs::segment_path;
use crate::nonce;
use crate::persistence::{DeltaPair, JobEnd, Segment};
use crate::problem::{ApiError, ApiResult};
use crate::state::AppState;
use crate::steps::{Step, Stopped};
use crate::tasks::Tasks;

/// How often it looks for work that nobody told it of: other registries of the same database publish, too.
const PERIOD: Duration = Duration::from_secs(60);
/// How long a pair is held without a sign of life.
const LEASE: SignedDuration = SignedDuration::from_secs(120);
/// How often the holder gives one.
const SIGN_OF_LIFE: Duration = Duration::from_secs(40);
/// When a delta that could not be made is tried again.
const AGAIN: SignedDuration = SignedDuration::from_hours(1);
/// A base that nobody reported for so long is forgotten.
const REPORTED: SignedDuration = SignedDuration::from_hours(24 * 30);
/// Deltas that are dropped in one round of asking.
const BATCH: u32 = 100;
/// The file that holds this registry's name among those of its database.
const HOLDER: &str = "holder";

/// Says when work is to end early.
#[derive(Debug, Clone)]
pub(super) struct Halt {
    tasks: Tasks,
    called_off: Arc<AtomicBool>,
}

impl Halt {
    fn new(tasks: &Tasks) -> Self {
        Self {
            tasks: tasks.clone(),
            called_off: Arc::default(),
        }
    }

    fn call_off(&self) {
        self.called_off.store(true, Ordering::Relaxed);
    }

    /// The registry stops, or the pair is another's.
    pub(super) fn is_set(&self) -> bool {
        self.called_off.load(Ordering::Relaxed) || self.tasks.stopping()
    }
}

/// Ends the work of a future that was dropped.
struct CallOff(Halt);

impl Drop for CallOff {
    fn drop(&mut self) {
        self.0.call_off();
    }
}

/// Makes deltas until the registry stops, if `[deltas]` says so.
pub fn start(state: &AppState) {
    if !state.config.deltas.enabled {
        return;
    }
    let owned = state.clone();
    state.tasks.spawn(async move {
        let state = owned;
        while !state.tasks.stopping() {
            if let Err(error) = round(&state).await {
                tracing::warn!(%error, "making deltas failed; the next round goes on");
            }
            tokio::select! {
                () = state.tasks.stopped() => {}
                () = state.delta_work.notified() => {}
                () = tokio::time::sleep(PERIOD) => {}
            }
        }
    });
}

/// Drops what no longer pays, and makes what is to be made; says how many deltas it made.
///
/// # Errors
/// A store fails; the next round goes on.
pub async fn round(state: &AppState) -> ApiResult<u64> {
    drop_old(state).await?;
    let place = place(&state.config.data_dir).map_err(ApiError::internal)?;
    let mut made = 0_u64;
    while !state.tasks.stopping() {
        let now = state.clock.now();
        let bases = state.config.deltas.bases;
        let Some(pair) = state.db.next_delta_pair(bases, &place.holder, now).await? else {
            break;
        };
        if one(state, &place, &pair).await? {
            made = made.saturating_add(1);
        }
    }
    Ok(made)
}

/// D4 for each of this registry's deltas to releases that are not among the last, and for work that is out of date.
async fn drop_old(state: &AppState) -> ApiResult<()> {
    let last = state.config.deltas.bases.saturating_add(1);
    loop {
        let stale = state.db.stale_deltas(last, BATCH).await?;
        if stale.is_empty() {
            break;
        }
        for old in stale {
            let dropped = state
                .db
                .drop_delta(&old.namespace, &old.base, &old.target, &old.blob, false)
                .await?;
            if let Some(objects) = dropped {
                state.steps.done(Step::D4)?;
                tracing::info!(namespace = %old.namespace, base = %old.base, target = %old.target, "delta dropped");
                unused::delete(state, &objects).await?;
            }
        }
    }
    let now = state.clock.now();
    if state.db.forget_delta_work(before(now, REPORTED)).await? {
        state.steps.done(Step::D4)?;
    }
    Ok(())
}

/// Where frames are spooled, and this registry's name.
struct Place {
    folder: PathBuf,
    holder: String,
}

/// The same name after a restart: what this registry held then, it holds still.
fn place(data: &Path) -> io::Result<Place> {
    let folder = spool::folder(data)?;
    spool::clear(&folder)?;
    let file = folder.join(HOLDER);
    let holder = match std::fs::read_to_string(&file) {
        Ok(holder) if nonce::is_nonce(&holder) => holder,
        Ok(_) => new_holder(&file)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => new_holder(&file)?,
        Err(error) => return Err(error),
    };
    Ok(Place { folder, holder })
}

/// A file that a crash cut is no name, and the next start makes another.
fn new_holder(file: &Path) -> io::Result<String> {
    let holder = nonce::nonce().map_err(io::Error::other)?;
    std::fs::write(file, &holder)?;
    Ok(holder)
}

/// Makes the delta of one pair, unless somebody else has it; whether there is a new delta.
async fn one(state: &AppState, place: &Place, pair: &DeltaPair) -> ApiResult<bool> {
    let now = state.clock.now();
    let until = behind(now, LEASE);
    if !state.db.hold_delta_pair(pair, &place.holder, now, until).await? {
        return Ok(false);
    }
    state.steps.done(Step::D1)?;
    let halt = Halt::new(&state.tasks);
    let _ends_with_this = CallOff(halt.clone());
    tokio::select! {
        made = make_and_keep(state, place, pair, &halt) => made,
        stopped = hold_on(state, place, pair, &halt) => Err(stopped.into()),
    }
}

/// Gives signs of life until its work is done; D1, again and again.
async fn hold_on(state: &AppState, place: &Place, pair: &DeltaPair, halt: &Halt) -> Stopped {
    loop {
        tokio::time::sleep(SIGN_OF_LIFE).await;
        let now = state.clock.now();
        let until = behind(now, LEASE);
        match state.db.hold_delta_pair(pair, &place.holder, now, until).await {
            Ok(true) => {
                if let Err(stopped) = state.steps.done(Step::D1) {
                    return stopped;
                }
            }
            // Another registry makes it now: the work notices, and ends by itself.
            Ok(false) => halt.call_off(),
            Err(error) => tracing::warn!(%error, "cannot hold on to a delta's job; trying again"),
        }
    }
}

async fn make_and_keep(state: &AppState, place: &Place, pair: &DeltaPair, halt: &Halt) -> ApiResult<bool> {
    let (spooled, sha256) = match make_one(state, place, pair, halt).await {
        Ok(Made::Delta(spooled, sha256)) => (spooled, sha256),
        Ok(Made::TooLarge) => {
            tracing::info!(namespace = %pair.namespace, model = %pair.model, base = %pair.base, "a delta does not pay");
            return end(state, place, pair, JobEnd::Unpaid).await;
        }
        Err(Failure::Make(MakeError::Halted)) => return Ok(false),
        Err(failure) => {
            tracing::warn!(namespace = %pair.namespace, model = %pair.model, base = %pair.base, %failure, "no delta");
            let again = JobEnd::Failed(behind(state.clock.now(), AGAIN));
            let last = matches!(&failure, Failure::Make(error) if error.is_final());
            return end(state, place, pair, if last { JobEnd::Unpaid } else { again }).await;
        }
    };
    let (size, index) = (spooled.size(), spooled.index().len() as u64);
    let upload = nonce::nonce().map_err(ApiError::internal)?;
    let segments = match put(state, spooled, &upload).await {
        Ok(segments) => segments,
        Err(PutError::Stopped(stopped)) => return Err(stopped.into()),
        Err(failure) => {
            tracing::warn!(namespace = %pair.namespace, model = %pair.model, %failure, "a delta cannot be stored");
            let again = JobEnd::Failed(behind(state.clock.now(), AGAIN));
            return end(state, place, pair, again).await;
        }
    };
    let info = DeltaInfo {
        base: pair.base,
        target: pair.target,
        blob: sha256,
        size,
        index,
        full: pair.full,
        made_by: DeltaMaker::Registry,
        created: state.clock.now(),
    };
    let stored = Some((upload.as_str(), segments));
    let kept = state
        .db
        .keep_delta(&pair.namespace, &pair.model, &info, stored)
        .await?;
    state.steps.done(Step::D3)?;
    unused::delete(state, &kept.unused).await?;
    tracing::info!(namespace = %pair.namespace, model = %pair.model, base = %pair.base, target = %pair.target,
        size, full = pair.full, "delta made");
    Ok(kept.changed)
}

/// D3 of a job that made no delta.
async fn end(state: &AppState, place: &Place, pair: &DeltaPair, end: JobEnd) -> ApiResult<bool> {
    state.db.end_delta_job(pair, &place.holder, end).await?;
    state.steps.done(Step::D3)?;
    Ok(false)
}

#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Make(#[from] MakeError),
    #[error("{0}")]
    Store(#[from] ApiError),
    #[error("the thread that made it: {0}")]
    Thread(#[from] tokio::task::JoinError),
}

async fn make_one(state: &AppState, place: &Place, pair: &DeltaPair, halt: &Halt) -> Result<Made, Failure> {
    let base = release::manifest(state, &pair.namespace, &pair.base).await?;
    let manifest = release::manifest(state, &pair.namespace, &pair.target).await?;
    let config = &state.config.deltas;
    let work = Work {
        namespace: pair.namespace.clone(),
        roots: [pair.base, pair.target],
        bases: source::open(state, &pair.namespace, &base, halt).await?,
        targets: source::open(state, &pair.namespace, &manifest, halt).await?,
        manifests: [base, manifest],
        most: (pair.full as f64 * config.most_of_full) as u64,
        threads: config.threads,
        halt: halt.clone(),
    };
    let (owned, folder) = (state.clone(), place.folder.clone());
    let name = nonce::nonce().map_err(ApiError::internal)?;
    let made = tokio::task::spawn_blocking(move || make::make(&owned, &folder, &name, &work));
    Ok(made.await??)
}

#[derive(Debug, thiserror::Error)]
enum PutError {
    #[error(transparent)]
    Stopped(#[from] Stopped),
    #[error(transparent)]
    Store(#[from] crate::blobs::BlobError),
    #[error("reading the spooled delta: {0}")]
    Spool(#[from] io::Error),
    #[error("the thread that read it: {0}")]
    Thread(#[from] tokio::task::JoinError),
}

/// D2: puts the delta piece by piece, under names that nobody else has. What a crash leaves over, the sweep of segments finds.
async fn put(state: &AppState, mut spooled: Spooled, upload: &str) -> Result<Vec<Segment>, PutError> {
    let (mut segments, mut at) = (Vec::new(), 0_u64);
    while at < spooled.size() {
        let (parts, back) = tokio::task::spawn_blocking(move || (spooled.piece(at), spooled)).await?;
        spooled = back;
        let len = PIECE.min(spooled.size().saturating_sub(at));
        let object = segment_path(upload, at, "delta");
        state.blobs.put_segment(&object, parts?).await?;
        state.steps.done(Step::D2)?;
        segments.push(Segment {
            start: at,
            len,
            object,
        });
        at = at.saturating_add(len);
    }
    Ok(segments)
}

fn behind(now: Timestamp, by: SignedDuration) -> Timestamp {
    now.saturating_add(by).unwrap_or(Timestamp::MAX)
}

fn before(now: Timestamp, by: SignedDuration) -> Timestamp {
    now.saturating_sub(by).unwrap_or(Timestamp::MIN)
}
