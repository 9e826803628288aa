//! The planner over devices and offers that a few numbers describe.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

use std::collections::HashSet;

use assay_delta::plan::{
    Energy, Frames, Have, HeldRelease, Least, Network, Offer, Outcome, Path, Plan, Source, Terms, Unfit,
    Want, WantedChunk, plan,
};
use assay_schema::Sha256Digest;

const CHUNK: u32 = 1 << 20;
const SIZE: u64 = 10 << 20;

fn root(n: u8) -> Sha256Digest {
    Sha256Digest::new([n; 32])
}

fn chunk(n: u8) -> Sha256Digest {
    let mut bytes = [0xcc; 32];
    bytes[0] = n;
    Sha256Digest::new(bytes)
}

struct Device {
    releases: Vec<HeldRelease>,
    chunks: HashSet<Sha256Digest>,
    staged: u64,
    free: u64,
    network: Network,
}

impl Device {
    fn new(releases: &[u8]) -> Self {
        let held = |n: &u8| HeldRelease {
            root: root(*n),
            in_place: false,
        };
        Self {
            releases: releases.iter().map(held).collect(),
            chunks: HashSet::new(),
            staged: 0,
            free: u64::MAX,
            network: Network::Fixed,
        }
    }

    fn plan(&self, chunks: &[WantedChunk], offers: &[Offer<'_>], terms: &Terms) -> Plan {
        let have = Have {
            releases: &self.releases,
            holds: &|sha256| self.chunks.contains(sha256),
            staged: self.staged,
            free: self.free,
            network: self.network,
        };
        let want = Want {
            root: root(9),
            chunks,
            offers,
        };
        let plan = plan(&have, &want, terms);
        let chosen = plan
            .candidates
            .iter()
            .filter(|c| c.outcome == Outcome::Chosen)
            .count();
        assert_eq!(chosen, usize::from(plan.chosen().is_some()));
        plan
    }
}

/// Ten chunks, each with other bytes.
fn wanted() -> Vec<WantedChunk> {
    let each = |n| WantedChunk {
        sha256: chunk(n),
        length: CHUNK,
        compressed: None,
    };
    (0..10).map(each).collect()
}

fn offer(base: u8, target: u8, frames: Frames<'_>) -> Offer<'_> {
    Offer {
        base: root(base),
        target: root(target),
        size: SIZE,
        index: 1_000,
        frames,
    }
}

fn path(plan: &Plan) -> &Path {
    &plan.chosen().expect("a path").path
}

#[test]
fn a_release_whose_chunks_are_all_here_costs_nothing() {
    let mut device = Device::new(&[1]);
    device.chunks = wanted().iter().map(|c| c.sha256).collect();
    device.network = Network::Offline;
    let plan = device.plan(&wanted(), &[offer(1, 9, Frames::Total(5))], &Terms::default());
    assert_eq!(path(&plan), &Path::Nothing);
    assert_eq!(plan.chosen().unwrap().bytes, 0);
    assert_eq!(plan.sources, vec![Source::Device; 10]);
}

#[test]
fn without_a_base_the_missing_chunks_are_fetched() {
    let mut chunks = wanted();
    chunks[3].compressed = Some(700_000);
    chunks[4].compressed = Some(CHUNK + 1);
    // The same bytes again.
    chunks[9].sha256 = chunks[8].sha256;
    let mut device = Device::new(&[2]);
    device.chunks.insert(chunk(0));
    let plan = device.plan(&chunks, &[offer(1, 9, Frames::Total(5))], &Terms::default());
    let expected = Path::Chunks {
        held: 2,
        compressed: 1,
        raw: 7,
    };
    assert_eq!(path(&plan), &expected);
    assert_eq!(plan.chosen().unwrap().bytes, 7 * u64::from(CHUNK) + 700_000);
    assert_eq!(
        (plan.sources[3], plan.sources[4], plan.sources[9]),
        (Source::Compressed, Source::Raw, Source::Device)
    );
}

#[test]
fn a_delta_is_chosen_by_its_total_before_its_index_is_here() {
    let device = Device::new(&[1, 2]);
    let offers = [
        offer(1, 9, Frames::Total(900_000)),
        offer(2, 9, Frames::Total(800_000)),
        offer(3, 9, Frames::Total(5)),
    ];
    let plan = device.plan(&wanted(), &offers, &Terms::default());
    let expected = Path::Delta {
        base: root(2),
        in_place: false,
    };
    assert_eq!(path(&plan), &expected);
    assert_eq!(plan.chosen().unwrap().bytes, 801_000);
    assert!(plan.sources.is_empty());
    // The one whose base is not here is no candidate.
    assert!(
        plan.candidates
            .iter()
            .all(|c| !matches!(&c.path, Path::Delta { base, .. } if *base == root(3)))
    );
}

#[test]
fn chunks_come_from_whichever_source_is_cheapest() {
    let mut device = Device::new(&[1, 2]);
    device.chunks.insert(chunk(0));
    let mut chunks = wanted();
    chunks[1].compressed = Some(400_000);
    // The first delta is good but for chunks 1 and 2; the second is good for 2.
    let mut first = vec![10_000; 10];
    (first[1], first[2]) = (CHUNK + 100, 900_000);
    let mut second = vec![CHUNK + 50; 10];
    second[2] = 20_000;
    let offers = [
        offer(1, 9, Frames::Each(&first)),
        offer(2, 9, Frames::Each(&second)),
    ];
    let plan = device.plan(&chunks, &offers, &Terms::default());
    let expected = Path::Mix {
        bases: vec![root(1), root(2)],
        held: 1,
        frames: 8,
        compressed: 1,
        raw: 0,
        in_place: false,
    };
    assert_eq!(path(&plan), &expected);
    assert_eq!(
        plan.chosen().unwrap().bytes,
        7 * 10_000 + 20_000 + 400_000 + 2_000
    );
    assert_eq!(plan.sources[0], Source::Device);
    assert_eq!(plan.sources[1], Source::Compressed);
    assert_eq!(plan.sources[2], Source::Frame { offer: 1 });
    assert_eq!(plan.sources[3], Source::Frame { offer: 0 });
}

#[test]
fn a_second_delta_whose_index_does_not_pay_is_left_out() {
    let device = Device::new(&[1, 2]);
    let first = vec![10_000; 10];
    let mut second = first.clone();
    second[5] = 9_500;
    let offers = [
        offer(1, 9, Frames::Each(&first)),
        offer(2, 9, Frames::Each(&second)),
    ];
    let plan = device.plan(&wanted(), &offers, &Terms::default());
    match path(&plan) {
        Path::Mix { bases, .. } => assert_eq!(bases, &[root(2)]),
        Path::Delta { base, .. } => assert_eq!(*base, root(2)),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_chain_is_gone_where_no_direct_delta_is_as_cheap() {
    let device = Device::new(&[1]);
    let offers = [
        offer(1, 9, Frames::Total(9_000_000)),
        offer(1, 2, Frames::Total(100_000)),
        offer(2, 3, Frames::Total(100_000)),
        offer(3, 9, Frames::Total(100_000)),
        // A loop, and a way round that is dearer.
        offer(3, 2, Frames::Total(1)),
        offer(2, 9, Frames::Total(300_000)),
    ];
    let plan = device.plan(&wanted(), &offers, &Terms::default());
    let expected = Path::Chain {
        through: vec![root(1), root(2), root(3)],
    };
    assert_eq!(path(&plan), &expected);
    let chosen = plan.chosen().unwrap();
    assert_eq!((chosen.bytes, chosen.scratch), (303_000, 2 * SIZE));
}

#[test]
fn a_chain_that_does_not_fit_the_disk_gives_way() {
    let mut device = Device::new(&[1]);
    device.free = SIZE;
    let offers = [
        offer(1, 9, Frames::Total(900_000)),
        offer(1, 2, Frames::Total(100_000)),
        offer(2, 9, Frames::Total(100_000)),
    ];
    let plan = device.plan(&wanted(), &offers, &Terms::default());
    assert!(matches!(path(&plan), Path::Delta { .. }));
    let chain = plan
        .candidates
        .iter()
        .find(|c| matches!(c.path, Path::Chain { .. }))
        .unwrap();
    let reason = Unfit::Scratch {
        needed: 2 * SIZE,
        free: SIZE,
    };
    assert_eq!(chain.outcome, Outcome::Refused { reason });
    assert!(
        plan.evidence()
            .values()
            .any(|text| text.contains("scratch space, found"))
    );
}

#[test]
fn in_place_is_chosen_only_with_consent_and_only_where_space_is_short() {
    let frames = vec![10_000; 10];
    let offers = [offer(1, 9, Frames::Each(&frames))];
    let mut device = Device::new(&[1]);
    // Half of the chunks stay as they are: the journal holds the others.
    device.chunks = (0..5).map(chunk).collect();
    device.free = 6 << 20;
    let terms = Terms::default();
    assert!(device.plan(&wanted(), &offers, &terms).chosen().is_none());
    device.releases[0].in_place = true;
    let plan = device.plan(&wanted(), &offers, &terms);
    assert!(
        matches!(path(&plan), Path::Mix { in_place: true, .. }),
        "{:?}",
        path(&plan)
    );
    assert_eq!(
        plan.chosen().unwrap().scratch,
        5 * u64::from(CHUNK) + 50_000 + 1_000
    );
    device.free = SIZE;
    let plan = device.plan(&wanted(), &offers, &terms);
    assert!(matches!(path(&plan), Path::Mix { in_place: false, .. }));
}

#[test]
fn what_the_owner_does_not_permit_is_refused_with_the_figures() {
    let device = Device::new(&[1]);
    let offers = [offer(1, 9, Frames::Total(900_000))];
    let terms = Terms {
        max_bytes: Some(800_000),
        ..Terms::default()
    };
    let plan = device.plan(&wanted(), &offers, &terms);
    assert!(plan.chosen().is_none());
    assert!(plan.candidates.iter().all(|c| matches!(
        c.outcome,
        Outcome::Refused {
            reason: Unfit::Bytes { most: 800_000, .. }
        }
    )));
    let terms = Terms {
        max_millijoules: Some(1),
        ..Terms::default()
    };
    assert!(device.plan(&wanted(), &offers, &terms).chosen().is_none());
}

#[test]
fn offline_nothing_can_be_fetched() {
    let mut device = Device::new(&[1]);
    device.network = Network::Offline;
    let plan = device.plan(&wanted(), &[offer(1, 9, Frames::Total(1))], &Terms::default());
    assert!(plan.chosen().is_none());
    assert!(plan.evidence().values().all(|text| text.contains("offline")));
}

#[test]
fn an_index_of_another_number_of_chunks_is_not_used() {
    let device = Device::new(&[1]);
    let frames = vec![1; 9];
    let plan = device.plan(
        &wanted(),
        &[offer(1, 9, Frames::Each(&frames))],
        &Terms::default(),
    );
    assert!(matches!(path(&plan), Path::Chunks { .. }));
}

#[test]
fn where_decoding_is_dearer_than_fetching_energy_and_bytes_choose_differently() {
    let mut device = Device::new(&[1]);
    device.network = Network::Local;
    let offers = [offer(1, 9, Frames::Total(SIZE - 2_000_000))];
    let energy = Energy {
        decoded: 100,
        ..Energy::default()
    };
    let mut terms = Terms {
        energy,
        ..Terms::default()
    };
    assert!(!matches!(
        path(&device.plan(&wanted(), &offers, &terms)),
        Path::Delta { .. }
    ));
    terms.least = Least::Bytes;
    assert!(matches!(
        path(&device.plan(&wanted(), &offers, &terms)),
        Path::Delta { .. }
    ));
}

#[test]
fn lengths_that_overflow_make_a_path_dear_and_nothing_worse() {
    let device = Device::new(&[1]);
    let mut lying = offer(1, 9, Frames::Total(u64::MAX));
    (lying.index, lying.size) = (u64::MAX, u64::MAX);
    let mut link = lying;
    link.target = root(2);
    let mut last = lying;
    last.base = root(2);
    let plan = device.plan(&wanted(), &[lying, link, last], &Terms::default());
    assert!(matches!(path(&plan), Path::Chunks { .. }));
}

proptest::proptest! {
    /// Whatever is offered: the chosen path is no dearer than any permitted one, and its sources cost what it says.
    #[test]
    fn the_chosen_path_is_the_cheapest_permitted_one(
        held in proptest::collection::vec(proptest::bool::ANY, 10),
        compressed in proptest::collection::vec(proptest::option::of(1..2 * CHUNK), 10),
        frames in proptest::collection::vec(proptest::collection::vec(0..2 * CHUNK, 10), 0..4),
        free in 0..4 * SIZE,
        bytes in proptest::bool::ANY,
    ) {
        let mut device = Device::new(&[0, 1, 2, 3]);
        device.free = free;
        device.chunks = (0..10).filter(|i| held[usize::from(*i)]).map(chunk).collect();
        let mut chunks = wanted();
        for (chunk, compressed) in chunks.iter_mut().zip(compressed) {
            chunk.compressed = compressed;
        }
        let offers: Vec<Offer<'_>> =
            (0..).zip(&frames).map(|(i, frames)| offer(i, 9, Frames::Each(frames))).collect();
        let least = if bytes { Least::Bytes } else { Least::Energy };
        let plan = device.plan(&chunks, &offers, &Terms { least, ..Terms::default() });
        let permitted = plan.candidates.iter().filter(|c| !matches!(c.outcome, Outcome::Refused { .. }));
        proptest::prop_assert_eq!(plan.chosen().is_none(), permitted.clone().count() == 0);
        let Some(chosen) = plan.chosen() else { return Ok(()) };
        for other in permitted {
            let cheaper = if bytes { other.bytes < chosen.bytes } else { other.millijoules < chosen.millijoules };
            proptest::prop_assert!(!cheaper, "{} is cheaper than {}", other, chosen);
        }
        proptest::prop_assert_eq!(plan.sources.len(), 10);
        let mut used = HashSet::new();
        let fetched: u64 = plan.sources.iter().enumerate().map(|(i, source)| u64::from(match source {
            Source::Device => {
                assert!(held[i]);
                0
            }
            Source::Compressed => chunks[i].compressed.unwrap(),
            Source::Raw => CHUNK,
            Source::Frame { offer } => {
                used.insert(*offer);
                frames[*offer][i]
            }
        })).sum();
        let indexes: u64 = used.iter().map(|offer| offers[*offer].index).sum();
        proptest::prop_assert_eq!(fetched + indexes, chosen.bytes);
    }
}

#[test]
fn a_plan_explains_itself_in_json_and_in_words() {
    let device = Device::new(&[1]);
    let plan = device.plan(
        &wanted(),
        &[offer(1, 9, Frames::Total(900_000))],
        &Terms::default(),
    );
    let json = serde_json::to_value(&plan).unwrap();
    let chosen = json["candidates"]
        .as_array()
        .unwrap()
        .iter()
        .find(|c| c["outcome"] == "chosen")
        .unwrap();
    assert_eq!(chosen["path"]["kind"], "delta");
    assert_eq!(chosen["bytes"], 901_000);
    let evidence = plan.evidence();
    assert_eq!(
        evidence["path"],
        format!("delta from {}", &root(1).to_string()[..12])
    );
    assert_eq!(evidence["bytes"], "901000");
    assert!(evidence["not_01"].ends_with("dearer"), "{evidence:?}");
}
