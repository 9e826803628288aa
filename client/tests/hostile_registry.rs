//! What a registry may try, and what a device makes of it: nothing wrong is written, and what is active stays active.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use assay_client::device::Pulled;
use assay_client::sha256;
use assay_schema::{Outcome, Sha256Digest, Stage};
use common::{Answering, World, contents, model, noise, pull};

const MIB: usize = 1 << 20;

/// A world in which 1.0.0 is active on a device and 1.1.0 waits on the registry.
fn world() -> (World, assay_client::Device) {
    let world = World::new();
    world.publish("1.0.0", &[("weights.bin", b"old")]);
    let device = world.device();
    assert_eq!(pull(&device).unwrap().verdict.outcome, Outcome::Permit);
    world.publish("1.1.0", &[("weights.bin", &new())]);
    (world, device)
}

fn new() -> Vec<u8> {
    noise(6 * MIB + 5, 9)
}

/// The third chunk is wrong however often it is asked for.
fn third_chunk_wrong(_: &Sha256Digest, offset: u64, part: &[u8]) -> Answering {
    let mut part = part.to_vec();
    let at = (2 * MIB as u64).checked_sub(offset).map(|at| at as usize);
    if let Some(byte) = at.and_then(|at| part.get_mut(at)) {
        *byte ^= 1;
    }
    Answering::With(part)
}

fn refused(device: &assay_client::Device) -> Pulled {
    let pulled = pull(device).unwrap();
    assert_eq!(pulled.verdict.outcome, Outcome::Refuse, "{:#?}", pulled.verdict);
    assert_eq!(pulled.verdict.refusal().unwrap().0, Stage::Content);
    assert_eq!(
        contents(device, "weights.bin").unwrap(),
        b"old",
        "the previous release stays active"
    );
    pulled
}

/// And once the registry is honest, the device gets there.
fn recovers(world: &World, device: &assay_client::Device) {
    world.registry.honest();
    assert_eq!(pull(device).unwrap().verdict.outcome, Outcome::Permit);
    assert!(contents(device, "weights.bin").unwrap() == new());
}

#[test]
fn wrong_bytes_are_never_written() {
    let (world, device) = world();
    world.registry.hostile(third_chunk_wrong);
    let pulled = refused(&device);
    assert_eq!(pulled.verdict.refusal().unwrap().1.code, "digest-mismatch");
    let staging = world.store_path().join("namespaces/acme/models/minilm/staging");
    let staged = common::tree(&staging)
        .into_iter()
        .find(|p| p.ends_with("weights.bin"))
        .unwrap();
    let staged = std::fs::read(staging.join(staged)).unwrap();
    for (chunk, right) in staged.chunks(MIB).zip(new().chunks(MIB)) {
        let hole = chunk.iter().all(|b| *b == 0);
        assert!(
            hole || sha256(chunk) == sha256(right),
            "only checked chunks are in the staging folder"
        );
    }
    recovers(&world, &device);
}

#[test]
fn short_bodies_are_not_taken_for_whole_ones() {
    let (world, device) = world();
    world
        .registry
        .hostile(|_, _, part| Answering::With(part[..part.len() / 2].to_vec()));
    refused(&device);
    recovers(&world, &device);
}

#[test]
fn long_bodies_are_cut_and_judged() {
    let (world, device) = world();
    world.registry.hostile(|_, _, part| {
        let mut part = part.to_vec();
        part.extend(noise(3 * MIB, 5));
        Answering::With(part)
    });
    assert_eq!(
        pull(&device).unwrap().verdict.outcome,
        Outcome::Permit,
        "the right bytes came first"
    );
    assert!(contents(&device, "weights.bin").unwrap() == new());
}

#[test]
fn endless_data_ends() {
    let (world, device) = world();
    world.registry.hostile(|_, _, _| Answering::WithoutEnd);
    refused(&device);
    recovers(&world, &device);
}

#[test]
fn a_missing_blob_refuses_and_keeps_what_is_active() {
    let (world, device) = world();
    world.registry.hostile(|_, _, _| Answering::Missing);
    refused(&device);
    recovers(&world, &device);
}

#[test]
fn a_connection_that_drops_now_and_then_is_survived() {
    let (world, device) = world();
    let count = Arc::new(AtomicUsize::new(0));
    world
        .registry
        .hostile(move |_, _, _| match count.fetch_add(1, Ordering::Relaxed) {
            0 => Answering::Breaking(2 * MIB + 9),
            1 => Answering::Breaking(0),
            _ => Answering::Honestly,
        });
    assert_eq!(pull(&device).unwrap().verdict.outcome, Outcome::Permit);
    assert!(contents(&device, "weights.bin").unwrap() == new());
}

#[test]
fn after_an_interruption_only_missing_pieces_are_fetched() {
    let (world, device) = world();
    // Three chunks and a half arrive, then nothing more.
    world
        .registry
        .hostile(|_, offset, _| Answering::Breaking(if offset == 0 { 3 * MIB + MIB / 2 } else { 0 }));
    refused(&device);
    world.registry.take_opened();
    world.registry.honest();
    assert_eq!(pull(&device).unwrap().verdict.outcome, Outcome::Permit);
    let opened = world.registry.take_opened();
    let rest = (sha256(&new()), 3 * MIB as u64, (new().len() - 3 * MIB) as u64);
    assert_eq!(opened, [rest], "one request for exactly what was missing");
    assert!(contents(&device, "weights.bin").unwrap() == new());
}

#[test]
fn neighbouring_pieces_come_in_one_request() {
    let (world, device) = world();
    world.registry.take_opened();
    pull(&device).unwrap();
    assert_eq!(world.registry.take_opened().len(), 1, "seven pieces, one run");
}

#[test]
fn an_unreachable_registry_leaves_the_active_release() {
    let (world, device) = world();
    drop(device);
    let store = assay_client::Store::open(&world.store_path()).unwrap();
    let device = assay_client::Device::new(store)
        .clock(common::now)
        .connect_by(|address| {
            // Nobody listens on port 1.
            let limits = assay_client::transport::Limits {
                attempts: 2,
                pause: std::time::Duration::from_millis(1),
                ..Default::default()
            };
            assert_eq!(address, "http://registry.test");
            Ok(Arc::new(assay_client::HttpTransport::new(
                "http://127.0.0.1:1",
                None,
                limits,
            )?))
        });
    let pulled = pull(&device).unwrap();
    assert_eq!(pulled.verdict.outcome, Outcome::Refuse);
    assert_eq!(
        device
            .active(&model())
            .unwrap()
            .unwrap()
            .manifest()
            .version
            .as_str(),
        "1.0.0"
    );
}
