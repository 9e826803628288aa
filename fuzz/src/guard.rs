//! One run under watch: panics, memory, time. Where a run takes the process with it, its input is on disk already.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::panic;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::MEMORY;
use crate::target::{Outcome, Target};

/// Where and why the last run panicked; hooks are the process's, and so is this.
static PANIC: Mutex<Option<String>> = Mutex::new(None);
/// One guard at a time: memory and the hook are the whole process's.
static TURN: Mutex<()> = Mutex::new(());

/// What came of one run.
#[derive(Debug)]
pub struct Run {
    /// What the parser said, or how it panicked.
    pub outcome: Result<Outcome, String>,
    /// How long it took.
    pub time: Duration,
    /// Bytes at its peak, beyond what was allocated before.
    pub memory: usize,
}

/// Watches one target's runs, until it is dropped.
pub struct Guard<'t> {
    target: &'t Target,
    running: PathBuf,
    file: File,
    since: Arc<Mutex<Option<Instant>>>,
    done: Arc<AtomicBool>,
    _turn: MutexGuard<'static, ()>,
}

impl<'t> Guard<'t> {
    /// Begins to watch. Inputs are put into `folder` before they run; a run of more than `hung` ends the process.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn new(target: &'t Target, folder: &Path, hung: Duration) -> io::Result<Self> {
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        fs::create_dir_all(folder)?;
        let running = folder.join(format!("{}.running", target.name.replace('/', "-")));
        let guard = Self {
            target,
            file: File::create(&running)?,
            running,
            since: Arc::default(),
            done: Arc::default(),
            _turn: turn,
        };
        panic::set_hook(Box::new(|info: &panic::PanicHookInfo<'_>| {
            let place = info.location().map(ToString::to_string).unwrap_or_default();
            let why = info.payload_as_str().unwrap_or("not a text");
            *PANIC.lock().unwrap_or_else(PoisonError::into_inner) = Some(format!("{place}: {why}"));
        }));
        guard.watch(hung);
        Ok(guard)
    }

    fn watch(&self, hung: Duration) {
        let (since, done) = (Arc::clone(&self.since), Arc::clone(&self.done));
        let (name, running) = (self.target.name, self.running.clone());
        thread::spawn(move || {
            while !done.load(Ordering::Relaxed) {
                thread::sleep(hung.min(Duration::from_millis(500)));
                let began = *since.lock().unwrap_or_else(PoisonError::into_inner);
                if began.is_some_and(|began| began.elapsed() > hung) {
                    eprintln!(
                        "target {name}: expected an answer within {hung:?}, found none; its input is {}",
                        running.display()
                    );
                    // The run cannot be stopped in any other way.
                    std::process::abort();
                }
            }
        });
    }

    /// Runs the target once.
    ///
    /// # Errors
    /// The input cannot be put aside.
    pub fn run(&self, input: &[u8]) -> io::Result<Run> {
        self.file.set_len(input.len() as u64)?;
        self.file.write_all_at(input, 0)?;
        let run = self.target.run;
        let before = MEMORY.current_usage();
        MEMORY.reset_peak_usage();
        let began = Instant::now();
        *self.since() = Some(began);
        let outcome = panic::catch_unwind(|| run(input));
        *self.since() = None;
        Ok(Run {
            time: began.elapsed(),
            memory: MEMORY.peak_usage().saturating_sub(before),
            outcome: outcome.map_err(|_| {
                let mut panic = PANIC.lock().unwrap_or_else(PoisonError::into_inner);
                panic.take().unwrap_or_default()
            }),
        })
    }

    fn since(&self) -> MutexGuard<'_, Option<Instant>> {
        self.since.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        self.done.store(true, Ordering::Relaxed);
        drop(fs::remove_file(&self.running));
        if !thread::panicking() {
            drop(panic::take_hook());
        }
    }
}
