//! The driver itself: what it must find, and that the same seed finds the same.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::tests_outside_test_module
)]

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use assay_fuzz::{Finding, Form, Outcome, Plan, Tally, Target, drive};

fn seeds() -> Vec<Vec<u8>> {
    vec![b"{\"a\":[1,2,3]}".to_vec()]
}

/// Accepts what holds no `z`.
fn harmless(bytes: &[u8]) -> Outcome {
    match bytes.contains(&b'z') {
        true => Outcome::refused("a z"),
        false => Outcome::accepted(bytes.len().min(3)),
    }
}

fn target(name: &'static str, run: fn(&[u8]) -> Outcome) -> Target {
    Target {
        made: seeds,
        runs: 3_000,
        longest: 4 << 10,
        ..Target::new(name, Form::Json, run)
    }
}

fn driven(target: &Target, folder: &Path) -> Result<Tally, Box<Finding>> {
    drive(target, &Plan::tests(target, folder)).unwrap()
}

#[test]
fn a_target_that_panics_is_reported_with_the_input_that_does_it() {
    fn panics(bytes: &[u8]) -> Outcome {
        assert!(!bytes.starts_with(b"{\"\""), "an empty name");
        harmless(bytes)
    }
    let folder = tempfile::tempdir().unwrap();
    let finding = driven(&target("test/panics", panics), folder.path()).unwrap_err();
    assert_eq!(finding.target, "test/panics");
    assert!(
        finding.what.contains("an empty name") && finding.what.contains("driver.rs"),
        "{finding}"
    );
    // As short as it can be, and where the report says.
    assert_eq!(finding.input, b"{\"\"");
    assert_eq!(fs::read(&finding.path).unwrap(), finding.input);
    assert!(finding.to_string().contains("again test/panics"), "{finding}");
}

#[test]
fn a_target_that_takes_memory_beyond_its_bound_is_reported() {
    fn takes(bytes: &[u8]) -> Outcome {
        let claimed = if bytes.len() > 60 { 8 << 20 } else { 10 };
        drop(std::hint::black_box(vec![1_u8; claimed]));
        harmless(bytes)
    }
    let folder = tempfile::tempdir().unwrap();
    let finding = driven(&target("test/memory", takes), folder.path()).unwrap_err();
    assert!(finding.what.contains("bytes of memory"), "{finding}");
    assert_eq!(finding.input.len(), 61);
}

#[test]
fn a_target_that_is_slow_each_time_is_reported() {
    fn slow(bytes: &[u8]) -> Outcome {
        std::thread::sleep(Duration::from_millis(5));
        harmless(bytes)
    }
    let folder = tempfile::tempdir().unwrap();
    let target = target("test/slow", slow);
    let plan = Plan {
        slow: Duration::from_millis(1),
        ..Plan::tests(&target, folder.path())
    };
    let finding = drive(&target, &plan).unwrap().unwrap_err();
    assert!(
        finding.what.contains("expected an answer within 1ms"),
        "{finding}"
    );
}

#[test]
fn a_refusal_that_repeats_a_strangers_text_at_length_is_reported() {
    fn repeats(bytes: &[u8]) -> Outcome {
        Outcome::refused(format!("found {:?}", String::from_utf8_lossy(bytes)))
    }
    let folder = tempfile::tempdir().unwrap();
    let target = Target {
        longest: 64 << 10,
        ..target("test/repeats", repeats)
    };
    let finding = driven(&target, folder.path()).unwrap_err();
    assert!(finding.what.contains("a refusal of"), "{finding}");
}

#[test]
fn a_harmless_target_passes_and_one_seed_gives_one_sequence() {
    let folder = tempfile::tempdir().unwrap();
    let target = target("test/harmless", harmless);
    let first = driven(&target, folder.path()).unwrap();
    let second = driven(&target, folder.path()).unwrap();
    assert_eq!(
        (first.runs, first.accepted, first.classes),
        (second.runs, second.accepted, second.classes)
    );
    assert_eq!(first.runs, 3_000);
    assert!(first.accepted > 0 && first.accepted < first.runs, "{first:?}");
    let plan = Plan {
        seed: 1,
        ..Plan::tests(&target, folder.path())
    };
    let other = drive(&target, &plan).unwrap().unwrap();
    assert_ne!(first.accepted, other.accepted, "another seed gives other inputs");
    // Nothing is left behind.
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn what_is_kept_begins_the_next_run() {
    let folder = tempfile::tempdir().unwrap();
    let target = target("test/kept", harmless);
    let plan = Plan {
        kept: Some(folder.path().join("kept")),
        ..Plan::tests(&target, folder.path())
    };
    drive(&target, &plan).unwrap().unwrap();
    let kept = assay_fuzz::corpus::kept(&folder.path().join("kept"), &target).unwrap();
    assert!(!kept.is_empty());
    // Every way is known by then, so that nothing is added.
    drive(
        &target,
        &Plan {
            runs: Some(kept.len() as u32),
            ..plan
        },
    )
    .unwrap()
    .unwrap();
    assert_eq!(
        assay_fuzz::corpus::kept(&folder.path().join("kept"), &target).unwrap(),
        kept
    );
}

/// Not a test: what `a_target_that_never_answers_ends_with_its_input_on_disk` starts in another process.
#[test]
#[ignore = "never ends by itself"]
fn never_answers() {
    fn hangs(bytes: &[u8]) -> Outcome {
        while std::hint::black_box(!bytes.is_empty()) {
            std::thread::sleep(Duration::from_millis(10));
        }
        harmless(bytes)
    }
    let folder = std::env::var_os("ASSAY_FUZZ_FOLDER").expect("only by the test");
    let target = target("test/hangs", hangs);
    let plan = Plan {
        hung: Duration::from_millis(50),
        ..Plan::tests(&target, Path::new(&folder))
    };
    drive(&target, &plan).unwrap().unwrap();
}

#[test]
fn a_target_that_never_answers_ends_with_its_input_on_disk() {
    let folder = tempfile::tempdir().unwrap();
    let ended = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "never_answers", "--ignored", "--nocapture"])
        .env("ASSAY_FUZZ_FOLDER", folder.path())
        .output()
        .unwrap();
    assert!(ended.status.code().is_none(), "ended by itself: {ended:?}");
    let told = String::from_utf8_lossy(&ended.stderr);
    assert!(
        told.contains("target test/hangs: expected an answer within 50ms"),
        "{told}"
    );
    assert_eq!(
        fs::read(folder.path().join("test-hangs.running")).unwrap(),
        seeds()[0]
    );
}
