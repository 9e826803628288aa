//! The durable steps of upload, publish, collect, log, deltas and administration, as `ARCHITECTURE.md` numbers them: a step that is not here may not write.
//!
//! Each step is a function of its own that writes once and then calls [`Steps::done`]. A test stops there, or the process ends
//! there, and the next request must go on from what was written.

use std::sync::Arc;

/// A durable step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Deserialize)]
pub enum Step {
    /// Insert the upload's row.
    U1,
    /// Put a segment.
    U2,
    /// Advance the offset.
    U3,
    /// Put the chunk index.
    U4,
    /// Blob, index, link; the upload's row goes.
    U5,
    /// Delete segments that nothing needs.
    U6,
    /// Put the manifest.
    P1,
    /// The candidate and what it pins.
    P2,
    /// New metadata, releases published.
    P3,
    /// A proposal with the signatures that it came with.
    C1,
    /// Signatures of a proposal.
    C2,
    /// A proposal and its signatures go.
    C3,
    /// Entries get their places in the log.
    L1,
    /// Put a tile or an entry bundle.
    L2,
    /// Put the checkpoint.
    L3,
    /// The checkpoint is shown.
    L4,
    /// A witness's cosignature of a published checkpoint.
    L5,
    /// A pair's job: taken, or held on to.
    D1,
    /// Put a piece of a delta.
    D2,
    /// The delta with its blob and link; or that it does not pay.
    D3,
    /// What no longer pays goes: the delta's row, its link, its blob.
    D4,
    /// Delete objects that D3 or D4 left without a row.
    D5,
    /// Bases that devices reported.
    D6,
    /// Insert a token's row.
    N1,
    /// Revoke a token.
    N2,
    /// Insert a namespace's online keys.
    N3,
    /// Insert the log's next key.
    N4,
    /// The log's next key takes the place of the present one.
    N5,
}

impl Step {
    /// The steps of an upload in order.
    pub const UPLOAD: [Self; 6] = [Self::U1, Self::U2, Self::U3, Self::U4, Self::U5, Self::U6];
    /// The steps of a publication in order.
    pub const PUBLISH: [Self; 3] = [Self::P1, Self::P2, Self::P3];
    /// The steps of collecting signatures in order.
    pub const COLLECT: [Self; 3] = [Self::C1, Self::C2, Self::C3];
    /// The steps of the log's sequencing in order.
    pub const LOG: [Self; 4] = [Self::L1, Self::L2, Self::L3, Self::L4];
    /// The step of each witness's loop, which runs beside the log's.
    pub const WITNESS: [Self; 1] = [Self::L5];
    /// The steps of making and dropping deltas in order.
    pub const DELTA: [Self; 5] = [Self::D1, Self::D2, Self::D3, Self::D4, Self::D5];
    /// The step of a device's request that names what it has.
    pub const REPORT: [Self; 1] = [Self::D6];
    /// The steps that stand by themselves.
    pub const ADMINISTER: [Self; 3] = [Self::N1, Self::N2, Self::N3];
    /// The steps of a change of the log's key in order.
    pub const LOG_KEY: [Self; 2] = [Self::N4, Self::N5];

    /// What the step writes.
    pub const fn writes(self) -> Writes {
        match self {
            Self::U1
            | Self::U3
            | Self::U5
            | Self::P2
            | Self::P3
            | Self::C1
            | Self::C2
            | Self::C3
            | Self::L1
            | Self::L4
            | Self::L5
            | Self::D1
            | Self::D3
            | Self::D4
            | Self::D6
            | Self::N1
            | Self::N2
            | Self::N3
            | Self::N4
            | Self::N5 => Writes::Transaction,
            Self::U2 | Self::U4 | Self::P1 | Self::L2 | Self::L3 | Self::D2 => Writes::Object,
            Self::U6 | Self::D5 => Writes::Deletion,
        }
    }
}

/// What a step writes, once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Writes {
    /// One transaction of the database.
    Transaction,
    /// One object.
    Object,
    /// It deletes one object.
    Deletion,
}

/// The work ends behind a step, as if the process had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("stopped behind step {0:?}, as the test asked")]
pub struct Stopped(pub Step);

/// Hears of every step that was done.
pub trait Observer: Send + Sync {
    /// The step's write is durable.
    ///
    /// # Errors
    /// [`Stopped`] ends the work here.
    fn done(&self, step: Step) -> Result<(), Stopped>;
}

/// Goes on behind every step: what a registry does that is not under test.
struct GoOn;

impl Observer for GoOn {
    fn done(&self, _: Step) -> Result<(), Stopped> {
        Ok(())
    }
}

/// Ends the process behind a step.
#[cfg(feature = "crash-points")]
struct Crash(Step);

#[cfg(feature = "crash-points")]
impl Observer for Crash {
    fn done(&self, step: Step) -> Result<(), Stopped> {
        if step == self.0 {
            std::process::abort();
        }
        Ok(())
    }
}

/// Where rooms report their steps.
#[derive(Clone)]
pub struct Steps(Arc<dyn Observer>);

impl Default for Steps {
    fn default() -> Self {
        Self(Arc::new(GoOn))
    }
}

impl std::fmt::Debug for Steps {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Steps")
    }
}

impl Steps {
    /// Reports to an observer.
    pub fn observed_by(observer: Arc<dyn Observer>) -> Self {
        Self(observer)
    }

    /// Aborts the process behind a step.
    #[cfg(feature = "crash-points")]
    pub fn crash_behind(step: Step) -> Self {
        Self(Arc::new(Crash(step)))
    }

    /// The step's write is durable.
    ///
    /// # Errors
    /// [`Stopped`], under test.
    pub fn done(&self, step: Step) -> Result<(), Stopped> {
        self.0.done(step)
    }
}
