//! A device pulls by what it has: chunks that lie on it, and deltas, whoever made them. Whatever is wrong with these costs bytes, and
//! never a refusal or a wrong file.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod common;

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use assay_client::delta::{self, Tree};
use assay_client::device::{Delivery, Options};
use assay_client::publisher::{DeltaFrom, PublishError, ReleaseTerms};
use assay_client::{Device, Store};
use assay_delta::Header;
use assay_delta::index::HEADER;
use assay_schema::delta::{DeltaInfo, DeltaMaker};
use assay_schema::{Outcome, Sha256Digest, Stage};
use common::{Answering, World, contents, model, noise, now, pull};

const MIB: usize = 1 << 20;
/// Elements of a tensor.
const SIDE: usize = 700_000;

/// A safetensors file of bf16 tensors.
fn safetensors(tensors: &[(&str, &[u8])]) -> Vec<u8> {
    let (mut entries, mut at) = (Vec::new(), 0);
    for (name, bytes) in tensors {
        let (count, end) = (bytes.len() / 2, at + bytes.len());
        entries.push(format!(
            r#""{name}":{{"dtype":"BF16","shape":[{count}],"data_offsets":[{at},{end}]}}"#
        ));
        at = end;
    }
    let header = format!("{{{}}}", entries.join(","));
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header.bytes());
    for (_, bytes) in tensors {
        file.extend(*bytes);
    }
    file
}

/// Weights between about 0.008 and 2, of either sign.
fn tensor(seed: u64) -> Vec<u8> {
    let pairs = noise(2 * SIDE, seed);
    let weight = |pair: &[u8]| {
        let sign = u16::from(pair[0] & 0x80) << 8;
        let exponent = 120 + u16::from(pair[0] & 7);
        (sign | exponent << 7 | u16::from(pair[1] & 0x7f)).to_le_bytes()
    };
    pairs.chunks(2).flat_map(weight).collect()
}

/// The same after a little training: one weight in sixteen has moved by the least that there is.
fn tuned(tensor: &[u8], seed: u64) -> Vec<u8> {
    let moves = noise(tensor.len() / 2, seed);
    let weights = tensor.chunks(2).zip(moves);
    let step = |(pair, chance): (&[u8], u8)| {
        let weight = u16::from_le_bytes([pair[0], pair[1]]);
        let moved = if chance < 8 {
            weight + 1
        } else if chance < 16 {
            weight - 1
        } else {
            weight
        };
        moved.to_le_bytes()
    };
    weights.flat_map(step).collect()
}

const NAMES: [&str; 4] = ["a", "b", "c", "d"];

fn base() -> Vec<u8> {
    let tensors: Vec<Vec<u8>> = (1..5).map(tensor).collect();
    whole(&tensors)
}

fn fine_tune() -> Vec<u8> {
    let tensors: Vec<Vec<u8>> = (1..5).map(|i| tuned(&tensor(i), 10 + i)).collect();
    whole(&tensors)
}

fn whole(tensors: &[Vec<u8>]) -> Vec<u8> {
    let named: Vec<_> = NAMES
        .iter()
        .zip(tensors)
        .map(|(name, bytes)| (*name, bytes.as_slice()))
        .collect();
    safetensors(&named)
}

/// A world whose device has 1.0.0, while 1.1.0 is the highest release.
struct Update {
    world: World,
    device: Device,
    manifests: [Sha256Digest; 2],
    new: Vec<(String, Vec<u8>)>,
}

type Files<'a> = &'a [(&'a str, &'a [u8])];

fn update(old: Files<'_>, new: Files<'_>) -> Update {
    let world = World::new();
    let first = world.publish("1.0.0", old).manifest;
    let device = world.device();
    assert_eq!(pull(&device).unwrap().verdict.outcome, Outcome::Permit);
    let second = world.publish("1.1.0", new).manifest;
    world.registry.take_opened();
    let new = new
        .iter()
        .map(|(path, bytes)| ((*path).to_owned(), bytes.to_vec()));
    Update {
        new: new.collect(),
        manifests: [first, second],
        world,
        device,
    }
}

fn to_fine_tune() -> Update {
    update(
        &[("model.safetensors", &base()), ("README.md", b"a model")],
        &[
            ("model.safetensors", &fine_tune()),
            ("README.md", b"a better model"),
        ],
    )
}

impl Update {
    fn folder(&self, version: &str) -> PathBuf {
        self.world.dir.path().join(format!("model-{version}"))
    }

    /// The bytes of the delta between two folders, said to be between these releases.
    fn made(&self, from: &Path, to: &Path, named: [Sha256Digest; 2]) -> Vec<u8> {
        let out = self.world.dir.path().join("delta");
        let [from, to] = [from, to].map(|path| Tree::open(path, &|_| {}).unwrap());
        delta::make(&from, &to, named, &out, 2, &mut |_| {}).unwrap();
        let bytes = std::fs::read(&out).unwrap();
        std::fs::remove_file(&out).unwrap();
        bytes
    }

    fn honest(&self) -> Vec<u8> {
        self.made(&self.folder("1.0.0"), &self.folder("1.1.0"), self.manifests)
    }

    /// What the registry says of a delta.
    fn info(&self, bytes: &[u8]) -> DeltaInfo {
        let [base, target] = self.manifests;
        DeltaInfo {
            base,
            target,
            blob: self.world.registry.set_blob(bytes.to_vec()),
            size: bytes.len() as u64,
            index: Header::parse(&bytes[..HEADER]).map_or(HEADER as u64, |header| header.frames()),
            full: self.new.iter().map(|(_, bytes)| bytes.len() as u64).sum(),
            made_by: DeltaMaker::Publisher,
            created: now(),
        }
    }

    fn offer(&self, bytes: &[u8]) -> DeltaInfo {
        let info = self.info(bytes);
        self.world.registry.offer(vec![info.clone()]);
        info
    }

    /// The pull succeeds, and every file is the new release's.
    fn arrives(&self) -> Delivery {
        let pulled = pull(&self.device).unwrap();
        assert_eq!(pulled.verdict.outcome, Outcome::Permit, "{:#?}", pulled.verdict);
        for (path, bytes) in &self.new {
            assert!(contents(&self.device, path).unwrap() == *bytes, "{path}");
        }
        let verified = self.device.verify_active(&model(), &mut |_| {}).unwrap();
        assert_eq!(verified.outcome, Outcome::Permit);
        let delivery = pulled.delivery.unwrap();
        let evidence = &pulled.verdict.stage(Stage::Plan).unwrap().evidence;
        assert_eq!(evidence.get("path"), delivery.plan.as_ref());
        assert_eq!(evidence.contains_key("missed"), delivery.missed > 0);
        let full: u64 = self.new.iter().map(|(_, bytes)| bytes.len() as u64).sum();
        assert_eq!(delivery.full, full);
        assert_eq!(delivery.copied + delivery.decoded + delivery.whole, full);
        delivery
    }

    /// The release that the device has, opened for damage.
    fn on_disk(&self, path: &str) -> PathBuf {
        let releases = self
            .world
            .store_path()
            .join("namespaces/acme/models/minilm/releases")
            .join(self.manifests[0].to_hex())
            .join("files");
        let file = releases.join(path);
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
        file
    }
}

#[test]
fn a_fine_tune_comes_by_frames() {
    let update = to_fine_tune();
    let info = update.offer(&update.honest());
    let before = update.device.traffic();
    let delivery = update.arrives();
    let received = update.device.traffic().since(before).received;
    assert!(received * 12 < delivery.full, "{received} of {}", delivery.full);
    assert!(delivery.delta <= info.size);
    // A few bytes of README.md are no more as they are.
    assert!(delivery.whole < 20, "{delivery:?}");
    assert_eq!((delivery.missed, delivery.problems.len()), (0, 0), "{delivery:?}");
    assert!(delivery.saved > delivery.full * 9 / 10);
    let opened = update.world.registry.take_opened();
    let weights = assay_client::sha256(&update.new[0].1);
    assert!(opened.iter().all(|(blob, ..)| *blob != weights));
    // The index, all frames of the weights, and the other file.
    assert_eq!(opened.len(), 3, "{opened:?}");
}

#[test]
fn a_resharded_model_costs_next_to_nothing() {
    let tensors: Vec<Vec<u8>> = (1..5).map(tensor).collect();
    let halves = [
        safetensors(&[("a", &tensors[0]), ("c", &tensors[2])]),
        safetensors(&[("b", &tensors[1]), ("d", &tensors[3])]),
    ];
    let update = update(
        &[("model.safetensors", &whole(&tensors))],
        &[
            ("model-1.safetensors", &halves[0]),
            ("model-2.safetensors", &halves[1]),
        ],
    );
    update.offer(&update.honest());
    let delivery = update.arrives();
    assert!(delivery.delta * 1000 < delivery.full, "{delivery:?}");
    assert_eq!(delivery.whole, 0);
}

#[test]
fn chunks_that_lie_on_the_device_are_not_fetched_even_without_a_delta() {
    let weights = noise(3 * MIB + 5, 1);
    let grown = [weights.as_slice(), &noise(MIB, 2)].concat();
    let update = update(
        &[("weights.bin", &weights), ("tokenizer.json", b"{}")],
        &[
            ("renamed.bin", &weights),
            ("grown.bin", &grown),
            ("tokenizer.json", b"{}"),
        ],
    );
    let delivery = update.arrives();
    // The last chunk of what has grown, and the one in which it grew.
    assert_eq!(delivery.whole, 5 + MIB as u64);
    assert_eq!(delivery.saved, delivery.full - delivery.whole);
}

#[test]
fn a_chunk_that_comes_again_is_fetched_once_it_is_written() {
    let zeros = vec![0; 64 * MIB];
    let update = update(&[("weights.bin", b"old")], &[("weights.bin", &zeros)]);
    let delivery = update.arrives();
    // What is under way before the first is written cannot know.
    assert!(delivery.whole <= 48 * MIB as u64, "{delivery:?}");
    assert_eq!(delivery.missed, 0);
}

#[test]
fn whoever_wants_no_deltas_is_not_asked_for_any() {
    let update = to_fine_tune();
    let info = update.offer(&update.honest());
    let options = Options {
        deltas: false,
        ..Options::default()
    };
    let pulled = update.device.pull(&model(), &options, &mut |_| {}).unwrap();
    assert_eq!(pulled.verdict.outcome, Outcome::Permit);
    let delivery = pulled.delivery.unwrap();
    assert_eq!((delivery.whole, delivery.delta), (delivery.full, 0));
    let opened = update.world.registry.take_opened();
    assert!(opened.iter().all(|(blob, ..)| *blob != info.blob));
}

#[test]
fn a_release_that_only_a_pull_needed_is_collected_after_it() {
    let world = World::new();
    world.publish("1.0.0", &[("model.safetensors", &base())]);
    let device = world.device_with(Store::open(&world.store_path()).unwrap().keep(1));
    let known = assay_client::device::Fingerprint::Known(world.identity);
    device
        .trust_add("http://registry.test", &"acme".parse().unwrap(), known)
        .unwrap();
    pull(&device).unwrap();
    world.publish("1.1.0", &[("model.safetensors", &base()), ("more", b"x")]);
    let delivery = pull(&device).unwrap().delivery.unwrap();
    assert_eq!(delivery.whole, 1);
    let releases = world.store_path().join("namespaces/acme/models/minilm/releases");
    assert_eq!(std::fs::read_dir(releases).unwrap().count(), 1);
}

#[test]
fn a_base_that_was_damaged_meanwhile_costs_its_chunks() {
    let update = to_fine_tune();
    update.offer(&update.honest());
    let file = update.on_disk("model.safetensors");
    let mut bytes = std::fs::read(&file).unwrap();
    bytes[2 * MIB + 7] ^= 0x40;
    std::fs::write(&file, bytes).unwrap();
    let delivery = update.arrives();
    assert_eq!(delivery.missed, 1, "{delivery:?}");
    // And the few bytes of README.md, which are no more as they are.
    assert_eq!(delivery.whole, MIB as u64 + 14);
    assert!(
        delivery.problems[0].contains("chunk 2 of model.safetensors"),
        "{delivery:?}"
    );
}

#[test]
fn a_base_that_is_cut_or_gone_costs_a_full_fetch() {
    for damage in [
        (|path: &Path| std::fs::write(path, b"short").unwrap()) as fn(&Path),
        |path| std::fs::remove_file(path).unwrap(),
    ] {
        let update = to_fine_tune();
        update.offer(&update.honest());
        damage(&update.on_disk("model.safetensors"));
        let delivery = update.arrives();
        assert!(delivery.missed > 0, "{delivery:?}");
        assert!(delivery.whole >= base().len() as u64, "{delivery:?}");
    }
}

#[test]
fn a_held_chunk_that_was_damaged_is_fetched() {
    let weights = noise(3 * MIB, 1);
    let update = update(
        &[("weights.bin", &weights)],
        &[("weights.bin", &weights), ("more", b"x")],
    );
    let file = update.on_disk("weights.bin");
    let mut bytes = weights;
    bytes[MIB] ^= 1;
    std::fs::write(&file, bytes).unwrap();
    let delivery = update.arrives();
    assert_eq!(
        (delivery.missed, delivery.whole),
        (1, MIB as u64 + 1),
        "{delivery:?}"
    );
}

/// Pulls with a delta that is offered and answered so, and is expected to be of no or little use.
fn lied_to(
    offered: impl FnOnce(&Update) -> DeltaInfo,
    answer: impl Fn(u64, &[u8]) -> Answering + Send + Sync + 'static,
) -> Delivery {
    let update = to_fine_tune();
    let info = offered(&update);
    update.world.registry.offer(vec![info.clone()]);
    update.world.registry.hostile(move |blob, offset, part| {
        if *blob == info.blob {
            answer(offset, part)
        } else {
            Answering::Honestly
        }
    });
    let delivery = update.arrives();
    assert!(delivery.whole > 0, "{delivery:?}");
    assert!(!delivery.problems.is_empty(), "{delivery:?}");
    delivery
}

fn honestly(_: u64, _: &[u8]) -> Answering {
    Answering::Honestly
}

fn honest(update: &Update) -> DeltaInfo {
    update.info(&update.honest())
}

#[test]
fn frames_with_other_bytes_are_refused_chunk_by_chunk() {
    let delivery = lied_to(honest, |offset, part| {
        let mut part = part.to_vec();
        // The index stands at the beginning.
        if offset > 0 {
            part[0] ^= 1;
        }
        Answering::With(part)
    });
    assert!(delivery.missed > 0 && delivery.decoded > 0, "{delivery:?}");
}

#[test]
fn frames_that_are_cut_are_refused_chunk_by_chunk() {
    let delivery = lied_to(honest, |offset, part| match offset {
        0 => Answering::Honestly,
        _ => Answering::With(part[..part.len() / 2].to_vec()),
    });
    assert!(delivery.missed > 0, "{delivery:?}");
}

#[test]
fn frames_that_do_not_come_cost_a_full_fetch() {
    let delivery = lied_to(honest, |offset, _| match offset {
        0 => Answering::Honestly,
        _ => Answering::Missing,
    });
    assert_eq!(delivery.whole, delivery.full);
}

#[test]
fn a_delta_of_other_content_between_these_releases_is_refused_chunk_by_chunk() {
    // Well made and with the right names in its header; only the signed digests tell.
    let delivery = lied_to(
        |update| {
            let other: Vec<Vec<u8>> = (1..5).map(|i| tuned(&tensor(i), 90 + i)).collect();
            let files: [(&str, &[u8]); 2] = [
                ("model.safetensors", &whole(&other)),
                ("README.md", b"a worse  model"),
            ];
            let folder = update.world.files("other", &files);
            update.info(&update.made(&update.folder("1.0.0"), &folder, update.manifests))
        },
        honestly,
    );
    assert_eq!(
        (delivery.whole, delivery.decoded),
        (delivery.full, 0),
        "{delivery:?}"
    );
}

#[test]
fn an_index_of_other_bytes_is_not_followed() {
    let garbled = lied_to(honest, |_, part| Answering::With(noise(part.len(), 3)));
    let cut = lied_to(honest, |_, part| Answering::With(part[..part.len() / 2].to_vec()));
    let endless = lied_to(honest, |_, _| Answering::WithoutEnd);
    let gone = lied_to(honest, |_, _| Answering::Missing);
    let flipped = lied_to(honest, |_, part| {
        let mut part = part.to_vec();
        part[HEADER] ^= 1;
        Answering::With(part)
    });
    for delivery in [garbled, cut, endless, gone, flipped] {
        assert_eq!(
            (delivery.whole, delivery.missed),
            (delivery.full, 0),
            "{delivery:?}"
        );
    }
}

#[test]
fn sizes_that_are_lies_are_not_followed() {
    let lies: [fn(&mut DeltaInfo); 4] = [
        |info| info.size += 1,
        |info| info.size -= 1,
        |info| info.index -= 1,
        |info| info.index += 1,
    ];
    for lie in lies {
        let lied = |update: &Update| {
            let mut info = honest(update);
            lie(&mut info);
            info
        };
        let delivery = lied_to(lied, honestly);
        assert_eq!(
            (delivery.whole, delivery.missed),
            (delivery.full, 0),
            "{delivery:?}"
        );
    }
}

#[test]
fn a_delta_that_is_said_to_be_larger_than_the_release_is_not_touched() {
    let update = to_fine_tune();
    let mut info = honest(&update);
    info.size = u64::MAX;
    info.index = u64::MAX;
    update.world.registry.offer(vec![info.clone()]);
    let delivery = update.arrives();
    assert_eq!((delivery.whole, delivery.delta), (delivery.full, 0));
    let opened = update.world.registry.take_opened();
    assert!(opened.iter().all(|(blob, ..)| *blob != info.blob));
}

#[test]
fn a_delta_for_another_release_is_not_followed() {
    for swap in [[1, 0], [0, 0], [1, 1]] {
        let delivery = lied_to(
            |update| {
                let named = swap.map(|i| update.manifests[i]);
                update.info(&update.made(&update.folder("1.0.0"), &update.folder("1.1.0"), named))
            },
            honestly,
        );
        assert_eq!(
            (delivery.whole, delivery.missed),
            (delivery.full, 0),
            "{delivery:?}"
        );
        assert!(delivery.problems[0].contains("expected a delta"), "{delivery:?}");
    }
}

#[test]
fn a_delta_from_what_the_device_does_not_have_is_passed_over() {
    let update = to_fine_tune();
    let mut info = honest(&update);
    info.base = Sha256Digest::new([7; 32]);
    update.world.registry.offer(vec![info.clone()]);
    let delivery = update.arrives();
    assert_eq!((delivery.whole, delivery.delta), (delivery.full, 0));
    let opened = update.world.registry.take_opened();
    assert!(opened.iter().all(|(blob, ..)| *blob != info.blob));
}

#[test]
fn a_publisher_makes_and_attaches_the_delta() {
    let update = to_fine_tune();
    let terms = ReleaseTerms::new("minilm".parse().unwrap(), "1.1.0".parse().unwrap());
    let attach = |folder: PathBuf, version: Option<&str>| {
        let from = DeltaFrom {
            folder,
            version: version.map(|version| version.parse().unwrap()),
        };
        let publisher = update.world.publisher();
        publisher.attach_delta(&update.folder("1.1.0"), &terms, &from, now(), &mut |_, _| {})
    };
    // The folder of another release, and a release that there is not.
    let other = attach(update.folder("1.1.0"), Some("1.0.0"));
    assert!(matches!(other, Err(PublishError::OtherFiles { .. })), "{other:?}");
    let none = attach(update.folder("1.0.0"), Some("0.9.0"));
    assert!(matches!(none, Err(PublishError::NotPublished { .. })), "{none:?}");

    let attached = attach(update.folder("1.0.0"), None).unwrap();
    assert_eq!(attached.base, "1.0.0".parse().unwrap());
    let kept = attached.kept.unwrap();
    assert_eq!([kept.base, kept.target], update.manifests);
    assert_eq!((kept.size, kept.full), (attached.size, attached.full));
    let authority = common::tree(&update.world.dir.path().join("authority"));
    assert!(
        !authority.iter().any(|name| name.contains("delta")),
        "{authority:?}"
    );
    let delivery = update.arrives();
    assert!(delivery.delta * 12 < delivery.full, "{delivery:?}");
}

#[test]
fn no_delta_is_made_to_the_first_release() {
    let world = World::new();
    world.publish("1.0.0", &[("weights.bin", b"old")]);
    let terms = ReleaseTerms::new("minilm".parse().unwrap(), "1.0.0".parse().unwrap());
    let folder = world.dir.path().join("model-1.0.0");
    let from = DeltaFrom {
        folder: folder.clone(),
        version: None,
    };
    let made = world
        .publisher()
        .attach_delta(&folder, &terms, &from, now(), &mut |_, _| {});
    assert!(matches!(made, Err(PublishError::NoBase { .. })), "{made:?}");
}
