//! Stage 8: pulls that go well, in any order of events.

use std::time::Duration;

use assay_schema::{Outcome, Stage, limits};
use assay_verifier::{Approved, Content, PresentFile};
use proptest::prelude::*;

use crate::support::driver::{Driver, Step};
use crate::support::*;

const MIB: usize = 1 << 20;

/// Bytes that differ from chunk to chunk.
pub(crate) fn filler(len: usize) -> Vec<u8> {
    (0..len).map(|i| ((i >> 20) + i) as u8).collect()
}

pub(crate) fn files() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("a/empty", Vec::new()),
        ("a/exact", filler(2 * MIB)),
        ("b", b"small".to_vec()),
        ("c/long", filler(3 * MIB + 17)),
        ("z-empty", Vec::new()),
    ]
}

pub(crate) fn approved(files: Vec<(&'static str, Vec<u8>)>) -> (Simulator, Approved) {
    let mut sim = Simulator::empty();
    let mut release = draft("1.0.0", 1);
    release.files = files;
    sim.release(release);
    let approved = Device::new(&sim, By::Bundle).permitted(&sim);
    (sim, *approved)
}

pub(crate) fn driver(sim: &Simulator) -> Driver {
    Driver {
        blobs: sim.blobs.clone(),
        ..Driver::default()
    }
}

pub(crate) fn complete(driver: &Driver, files: &[(&'static str, Vec<u8>)]) {
    for (i, (path, bytes)) in files.iter().enumerate() {
        assert_eq!(driver.files.get(&i), Some(bytes), "{path}");
    }
}

pub(crate) fn present(approved: &Approved) -> Vec<PresentFile> {
    let files = approved.manifest().files.iter();
    files
        .map(|f| PresentFile {
            path: f.path.to_string(),
            size: f.size,
        })
        .collect()
}

/// The durable steps of a good end, in their order, with the floor raised before the activation.
pub(crate) fn well_ended(driver: &Driver, approved: &Approved) {
    let [Step::Seal, Step::Persist(state), Step::Activate] = driver.steps.as_slice() else {
        panic!("{:?}", driver.steps);
    };
    let manifest = approved.manifest();
    assert_eq!(state.floors[&manifest.model], manifest.order);
    let mut before = approved.state().clone();
    before.raise_floor(&manifest.model, manifest.order, approved.manifest_digest());
    assert_eq!(**state, before, "nothing else of the state changes");
}

#[test]
fn a_pull_writes_every_file_and_ends_in_order() {
    let (sim, approved) = approved(files());
    let mut driver = driver(&sim);
    let mut content = Content::pull(approved.clone(), &[]);
    let verdict = driver.run(&mut content, |_| 0);
    assert_eq!(verdict.outcome, Outcome::Permit);
    complete(&driver, &files());
    well_ended(&driver, &approved);
    assert_eq!(content.done(), approved.manifest().size());
    let evidence = &verdict.stage(Stage::Content).unwrap().evidence;
    assert_eq!(evidence["bytes_right"], approved.manifest().size().to_string());
    assert_eq!(evidence["bytes_written"], evidence["bytes_right"]);
}

#[test]
fn a_pull_that_goes_on_fetches_only_what_is_missing_or_wrong() {
    let (sim, approved) = approved(files());
    let mut driver = driver(&sim);
    driver.files.insert(1, filler(2 * MIB));
    // One chunk whole, one with a wrong byte, one cut short.
    let mut staged = filler(2 * MIB + 100);
    staged[MIB + 5] ^= 1;
    driver.files.insert(3, staged);
    let staged = driver.staged(5);
    let verdict = driver.run(&mut Content::pull(approved.clone(), &staged), |_| 0);
    assert_eq!(verdict.outcome, Outcome::Permit);
    complete(&driver, &files());
    let mut fetched: Vec<_> = driver.fetched.iter().map(|p| (p.file, p.chunk)).collect();
    fetched.sort_unstable();
    assert_eq!(fetched, [(2, 0), (3, 1), (3, 2), (3, 3)]);
}

#[test]
fn a_complete_staging_folder_fetches_nothing() {
    let (sim, approved) = approved(files());
    let mut driver = driver(&sim);
    driver.files = files().into_iter().map(|(_, b)| b).enumerate().collect();
    let staged = driver.staged(5);
    let verdict = driver.run(&mut Content::pull(approved.clone(), &staged), |_| 0);
    assert_eq!(verdict.outcome, Outcome::Permit);
    assert!(driver.fetched.is_empty());
    well_ended(&driver, &approved);
}

#[test]
fn staged_lengths_that_are_nonsense_do_no_harm() {
    let (sim, approved) = approved(files());
    for staged in [vec![u64::MAX; 9], vec![1], vec![limits::MAX_FILE_SIZE; 5]] {
        let mut driver = driver(&sim);
        let verdict = driver.run(&mut Content::pull(approved.clone(), &staged), |_| 0);
        assert_eq!(verdict.outcome, Outcome::Permit);
        complete(&driver, &files());
    }
}

#[test]
fn memory_that_held_pieces_take_is_bounded() {
    let (sim, approved) = approved(vec![("a", filler(70 * MIB)), ("b", filler(5 * MIB))]);
    let mut driver = driver(&sim);
    driver.run(&mut Content::pull(approved, &[]), |waiting| waiting - 1);
    assert!(driver.most_held <= 47, "{}", driver.most_held);
}

#[test]
fn twenty_thousand_small_files_end_quickly() {
    let files: Vec<(&'static str, Vec<u8>)> = (0..limits::MAX_FILES)
        .map(|i| {
            (
                &*Box::leak(format!("f/{i:05}").into_boxed_str()),
                i.to_string().into_bytes(),
            )
        })
        .collect();
    let (sim, approved) = approved(files.clone());
    let mut driver = driver(&sim);
    #[allow(clippy::disallowed_methods)]
    let began = std::time::Instant::now();
    let verdict = driver.run(&mut Content::pull(approved, &[]), |_| 0);
    assert_eq!(verdict.outcome, Outcome::Permit);
    complete(&driver, &files);
    #[allow(clippy::disallowed_methods)]
    let took = began.elapsed();
    assert!(took < Duration::from_secs(20), "{took:?}");
}

#[test]
fn a_folder_is_verified_without_a_request() {
    let (sim, approved) = approved(files());
    let mut driver = driver(&sim);
    driver.files = files().into_iter().map(|(_, b)| b).enumerate().collect();
    let listing = present(&approved);
    let verdict = driver.run(&mut Content::verify(approved.clone(), &listing), |_| 0);
    assert_eq!(verdict.outcome, Outcome::Permit);
    assert!(driver.fetched.is_empty() && driver.steps.is_empty());

    let again = Content::recheck(
        &sim.pin(),
        approved.manifest_bytes(),
        approved.manifest_digest(),
        &listing,
        sim.now,
    );
    let verdict = driver.run(&mut again.unwrap(), |_| 0);
    assert_eq!(verdict.outcome, Outcome::Permit);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn any_order_of_events_gives_the_same_result(
        order in prop::collection::vec(any::<usize>(), 64),
        staged in prop::collection::vec(0_usize..4 * MIB, 5),
        damaged in prop::collection::vec(any::<bool>(), 5),
        twice in any::<bool>(),
        late in prop::option::of(1_usize..9),
    ) {
        thread_local!(static RELEASE: (Simulator, Approved) = approved(files()));
        RELEASE.with(|(sim, approved)| {
            let mut driver = driver(sim);
            driver.twice = twice;
            driver.late = late;
            for (i, (_, bytes)) in files().into_iter().enumerate() {
                let mut bytes = bytes[..bytes.len().min(staged[i])].to_vec();
                if let (true, Some(byte)) = (damaged[i], bytes.last_mut()) {
                    *byte ^= 1;
                }
                driver.files.insert(i, bytes);
            }
            // The registry's first answer for some pieces is damaged.
            let mut left = 3;
            driver.tamper = Some(Box::new(move |piece, bytes| {
                if left > 0 && piece.chunk == 1 {
                    left -= 1;
                    bytes[0] ^= 1;
                }
            }));
            let lengths = driver.staged(5);
            let mut content = Content::pull(approved.clone(), &lengths);
            let mut turn = 0;
            let verdict = driver.run(&mut content, |waiting| {
                turn += 1;
                order[turn % order.len()] % waiting
            });
            // Two files have a chunk 1; three damaged answers for one of them are its last.
            if verdict.outcome == Outcome::Permit {
                complete(&driver, &files());
                well_ended(&driver, approved);
                assert_eq!(content.done(), approved.manifest().size());
            } else {
                assert_eq!(decided(&verdict), code(Stage::Content, "digest-mismatch"));
                assert!(driver.steps.is_empty());
            }
        });
    }
}
