//! The loop: inputs in, what breaks a target out.

use std::collections::HashSet;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::corpus;
use crate::guard::{Guard, Run};
use crate::mutate::mutate;
use crate::random::Random;
use crate::target::Target;

/// The seed of the tests.
pub const SEED: u64 = 0x00a5_5a71;
/// Inputs that are mutated further: the seeds, and those that were refused or accepted in a way of their own.
const MOST_KEPT: usize = 600;
/// Attempts to make an input shorter that breaks a target.
const SHORTENING: usize = 400;

/// How long to go on, and where to put what is found.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Ends after so many runs.
    pub runs: Option<u32>,
    /// Ends after so long.
    pub time: Option<Duration>,
    /// Which sequence of inputs.
    pub seed: u64,
    /// A run that takes longer three times in a row is a finding: as inputs are short, only a blow-up does.
    pub slow: Duration,
    /// A run of more than this ends the process.
    pub hung: Duration,
    /// What broke a target is put here.
    pub findings: PathBuf,
    /// What took a way of its own is read from here and put here.
    pub kept: Option<PathBuf>,
}

impl Plan {
    /// A target's fixed number of runs.
    pub fn tests(target: &Target, findings: &Path) -> Self {
        Self {
            runs: Some(target.runs),
            time: None,
            seed: SEED,
            slow: Duration::from_secs(5),
            hung: Duration::from_secs(120),
            findings: findings.to_owned(),
            kept: None,
        }
    }
}

/// What was tried without a finding.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    /// Runs.
    pub runs: u64,
    /// Of them with an accepted input.
    pub accepted: u64,
    /// Ways of being refused or accepted.
    pub classes: usize,
    /// Inputs to begin with.
    pub seeds: usize,
    /// Those of them that were accepted.
    pub accepted_seeds: usize,
    /// The longest run.
    pub slowest: Duration,
    /// The most memory of one run, in bytes.
    pub memory: usize,
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let taken = self.accepted * 100 / self.runs.max(1);
        let (slowest, memory) = (self.slowest.as_millis(), self.memory / 1024);
        write!(
            f,
            "{:>9} {taken:>5}% {:>9} {slowest:>6} ms {memory:>6} KiB",
            self.runs, self.classes
        )
    }
}

/// An input that breaks a target.
#[derive(Debug)]
pub struct Finding {
    /// The target's name.
    pub target: &'static str,
    /// What it did, and what was expected.
    pub what: String,
    /// The shortest input that was found to do it.
    pub input: Vec<u8>,
    /// Where that lies.
    pub path: PathBuf,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "target {}: {}", self.target, self.what)?;
        let shown: Vec<u8> = self.input.iter().take(300).copied().collect();
        writeln!(
            f,
            "  input of {} bytes: {}",
            self.input.len(),
            shown.escape_ascii()
        )?;
        write!(
            f,
            "  again: assay-fuzz again {} {}",
            self.target,
            self.path.display()
        )
    }
}

/// Drives one target. `Ok(Err(_))` is the first input that breaks it.
///
/// # Errors
/// A corpus cannot be read, or a folder cannot be written.
pub fn drive(target: &Target, plan: &Plan) -> io::Result<Result<Tally, Box<Finding>>> {
    let mut pool = corpus::seeds(target)?;
    let seeds = pool.len();
    if let Some(kept) = &plan.kept {
        pool.extend(corpus::kept(kept, target)?);
    }
    let guard = Guard::new(target, &plan.findings, plan.hung)?;
    let mut random = Random::for_name(plan.seed, target.name);
    let mut tally = Tally {
        seeds,
        ..Tally::default()
    };
    let mut classes = HashSet::new();
    let began = Instant::now();
    let beginning = pool.len();
    let mut given = 0;
    loop {
        let input = match pool.get(given) {
            // First what is there already, as it is.
            Some(seed) if given < beginning => seed.clone(),
            _ => {
                let enough = plan.runs.is_some_and(|runs| tally.runs >= u64::from(runs))
                    || plan.time.is_some_and(|time| began.elapsed() >= time);
                if enough {
                    break;
                }
                mutate(&mut random, &pool, target)
            }
        };
        let run = guard.run(&input)?;
        tally.runs += 1;
        tally.slowest = tally.slowest.max(run.time);
        tally.memory = tally.memory.max(run.memory);
        if let Some(what) = broken(&guard, target, plan, &input, &run)? {
            return Ok(Err(Box::new(report(&guard, target, plan, input, what)?)));
        }
        if let Ok(outcome) = run.outcome {
            tally.accepted += u64::from(outcome.accepted);
            tally.accepted_seeds += usize::from(outcome.accepted && given < seeds);
            if classes.insert((outcome.accepted, outcome.class)) && given >= beginning {
                keep(target, plan, &input)?;
                if pool.len() < MOST_KEPT {
                    pool.push(input);
                }
            }
        }
        given += 1;
    }
    tally.classes = classes.len();
    Ok(Ok(tally))
}

/// What is wrong with a run, if something is.
fn broken(
    guard: &Guard<'_>,
    target: &Target,
    plan: &Plan,
    input: &[u8],
    run: &Run,
) -> io::Result<Option<String>> {
    if let Err(panic) = &run.outcome {
        return Ok(Some(format!("panicked at {panic}")));
    }
    let bound = target.memory.bound(input.len());
    if run.memory > bound {
        return Ok(Some(format!(
            "expected at most {bound} bytes of memory, found {}",
            run.memory
        )));
    }
    let mut fastest = run.time;
    for _ in 0..2 {
        if fastest <= plan.slow {
            return Ok(None);
        }
        // A busy machine slows one run down, hardly three.
        fastest = fastest.min(guard.run(input)?.time);
    }
    Ok(
        (fastest > plan.slow)
            .then(|| format!("expected an answer within {:?}, found {fastest:?}", plan.slow)),
    )
}

/// Shortens the input while the target stays broken, and puts it aside.
fn report(
    guard: &Guard<'_>,
    target: &Target,
    plan: &Plan,
    mut input: Vec<u8>,
    what: String,
) -> io::Result<Finding> {
    let mut left = SHORTENING;
    let mut piece = input.len() / 2;
    while piece > 0 {
        let mut at = 0;
        while at < input.len() && left > 0 {
            left -= 1;
            let mut shorter = input.clone();
            shorter.drain(at..(at + piece).min(input.len()));
            let run = guard.run(&shorter)?;
            // Where it is slow every attempt costs as long: those inputs stay as they are.
            let still = match (&run.outcome, what.starts_with("panicked")) {
                (Err(panic), true) => what.ends_with(panic.as_str()),
                (Ok(_), false) => run.memory > target.memory.bound(shorter.len()),
                _ => false,
            };
            match still {
                true => input = shorter,
                false => at += piece,
            }
        }
        piece /= 2;
    }
    let path = put(&plan.findings.join(target.name), &input)?;
    Ok(Finding {
        target: target.name,
        what,
        input,
        path,
    })
}

fn keep(target: &Target, plan: &Plan, input: &[u8]) -> io::Result<()> {
    match &plan.kept {
        Some(kept) => put(&corpus::folder(kept, target), input).map(drop),
        None => Ok(()),
    }
}

/// Writes bytes under a name that is made of them.
fn put(folder: &Path, bytes: &[u8]) -> io::Result<PathBuf> {
    use sha2::{Digest, Sha256};
    fs::create_dir_all(folder)?;
    let digest = Sha256::digest(bytes);
    let name: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    let path = folder.join(name);
    fs::write(&path, bytes)?;
    Ok(path)
}
