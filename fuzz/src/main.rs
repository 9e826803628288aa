//! `assay-fuzz`: drives the targets for as long as is asked. `make fuzz` calls it.
#![allow(clippy::print_stdout, reason = "a command")]

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, SystemTime};

use assay_fuzz::guard::Guard;
use assay_fuzz::{Plan, Target, drive, targets};
use clap::{Parser, Subcommand};

/// Mutated inputs for every parser that sees a stranger's bytes.
#[derive(Parser)]
struct Args {
    #[command(subcommand)]
    command: Action,
}

#[derive(Subcommand)]
enum Action {
    /// The targets.
    List,
    /// Drives targets, each in a process of its own, one after the other.
    Run {
        /// Seconds for all of them together.
        #[arg(long, default_value_t = 300)]
        seconds: u64,
        /// Which inputs; another one each time where none is named.
        #[arg(long)]
        seed: Option<u64>,
        /// Where findings and what is worth keeping are put.
        #[arg(long, default_value = "target/fuzz")]
        folder: PathBuf,
        /// Targets, or areas of them; all where none is named.
        of: Vec<String>,
    },
    /// Drives one target in this process.
    #[command(hide = true)]
    One {
        target: String,
        millis: u64,
        seed: u64,
        folder: PathBuf,
    },
    /// Runs a target once, with the input in a file.
    Again {
        /// The target.
        target: String,
        /// The input.
        input: PathBuf,
    },
}

fn main() -> ExitCode {
    let done = match Args::parse().command {
        Action::List => {
            for target in targets::all() {
                println!("{:<28} {:>6} runs in the tests", target.name, target.runs);
            }
            Ok(true)
        }
        Action::Run {
            seconds,
            seed,
            folder,
            of,
        } => run(seconds, seed, &folder, &of),
        Action::One {
            target,
            millis,
            seed,
            folder,
        } => one(&target, millis, seed, &folder),
        Action::Again { target, input } => again(&target, &input),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("assay-fuzz: {error}");
            ExitCode::from(2)
        }
    }
}

fn named(name: &str) -> io::Result<Target> {
    let found = targets::all().into_iter().find(|target| target.name == name);
    found.ok_or_else(|| {
        io::Error::new(
            io::ErrorKind::NotFound,
            format!("expected a target of `assay-fuzz list`, found {name}"),
        )
    })
}

fn run(seconds: u64, seed: Option<u64>, folder: &Path, of: &[String]) -> io::Result<bool> {
    let chosen: Vec<Target> = match of.is_empty() {
        true => targets::all(),
        false => of
            .iter()
            .flat_map(|name| {
                targets::all()
                    .into_iter()
                    .filter(move |t| t.name.starts_with(name.as_str()))
            })
            .collect(),
    };
    if chosen.is_empty() {
        named(&of.join(" "))?;
    }
    let clock = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |now| now.as_secs());
    let seed = seed.unwrap_or(clock);
    println!(
        "{} targets, {seconds} s together, --seed {seed}, {}",
        chosen.len(),
        folder.display()
    );
    println!(
        "{:<24} {:>9} {:>6} {:>9} {:>9} {:>10}",
        "target", "runs", "taken", "ways", "slowest", "memory"
    );
    let millis = (seconds * 1000 / chosen.len() as u64).max(1);
    let mut fine = true;
    for target in chosen {
        let ended = Command::new(std::env::current_exe()?)
            .args(["one", target.name, &millis.to_string(), &seed.to_string()])
            .arg(folder)
            .status()?;
        // A finding has been told; whoever ends by a signal left no word but its input.
        if ended.code().is_none() {
            let input = folder
                .join("findings")
                .join(format!("{}.running", target.name.replace('/', "-")));
            println!(
                "target {}: ended by {ended}\n  again: assay-fuzz again {} {}",
                target.name,
                target.name,
                input.display()
            );
        }
        fine &= ended.success();
    }
    Ok(fine)
}

fn one(target: &str, millis: u64, seed: u64, folder: &Path) -> io::Result<bool> {
    let target = named(target)?;
    let plan = Plan {
        runs: None,
        time: Some(Duration::from_millis(millis)),
        seed,
        kept: Some(folder.join("kept")),
        ..Plan::tests(&target, &folder.join("findings"))
    };
    match drive(&target, &plan)? {
        Ok(tally) => {
            println!("{:<24} {tally}", target.name);
            Ok(true)
        }
        Err(finding) => {
            println!("{finding}");
            Ok(false)
        }
    }
}

fn again(target: &str, input: &Path) -> io::Result<bool> {
    let target = named(target)?;
    let bytes = std::fs::read(input)?;
    let folder = tempfile::tempdir()?;
    let run = Guard::new(&target, folder.path(), Duration::from_secs(600))?.run(&bytes)?;
    let fits = run.memory <= target.memory.bound(bytes.len());
    println!(
        "{}: {:?}, {:?}, {} bytes of memory",
        target.name, run.outcome, run.time, run.memory
    );
    Ok(fits && run.outcome.is_ok())
}
