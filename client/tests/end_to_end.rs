//! An authority publishes, a device checks, pulls and verifies; the registry between them lives in memory.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod common;

use std::os::unix::fs::PermissionsExt;

use assay_client::device::{DeviceError, Fingerprint, Options, RouteChoice};
use assay_client::publisher::{PublishError, ReleaseTerms};
use assay_client::{Store, StoreError};
use assay_schema::verdict::StageOutcome;
use assay_schema::{Outcome, Stage};
use common::{World, contents, model, noise, now, pull};

fn weights() -> Vec<u8> {
    noise(5 * (1 << 20) + 777, 1)
}

fn release() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("config.json", b"{}".to_vec()),
        ("weights.bin", weights()),
        ("tokenizer/vocab.txt", noise(70_000, 2)),
        ("empty", Vec::new()),
    ]
}

fn as_refs<'a>(files: &'a [(&'static str, Vec<u8>)]) -> Vec<(&'a str, &'a [u8])> {
    files
        .iter()
        .map(|(path, bytes)| (*path, bytes.as_slice()))
        .collect()
}

#[test]
fn a_release_reaches_a_device_that_verifies_every_byte() {
    let world = World::new();
    let files = release();
    let published = world.publish("1.0.0", &as_refs(&files));
    assert_eq!(published.order.to_string(), "1.1");

    let device = world.device();
    let verdict = device.check(&model(), &Options::default()).unwrap();
    assert_eq!(verdict.outcome, Outcome::Permit, "{verdict:#?}");
    assert!(
        device.active(&model()).unwrap().is_none(),
        "a check activates nothing"
    );

    let mut last = 0;
    let pulled = device
        .pull(&model(), &Options::default(), &mut |p| {
            assert!(p.done >= last && p.done <= p.total);
            last = p.done;
        })
        .unwrap();
    assert_eq!(pulled.verdict.outcome, Outcome::Permit, "{:#?}", pulled.verdict);
    assert_eq!(
        pulled.verdict.stage(Stage::Provenance).unwrap().outcome,
        StageOutcome::Passed
    );
    for (path, bytes) in &files {
        assert_eq!(contents(&device, path).as_ref(), Some(bytes), "{path}");
    }
    let active = device.active(&model()).unwrap().unwrap();
    assert_eq!(active.manifest_digest(), published.manifest);
    let mode = std::fs::metadata(active.path().join("weights.bin"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o222, 0, "released files are read-only");
    assert_eq!(
        device.verify_active(&model(), &mut |_| {}).unwrap().outcome,
        Outcome::Permit
    );

    let again = pull(&device).unwrap();
    assert!(again.already_active);
    assert_eq!(
        again.traffic.requests, 1,
        "an unchanged check is one conditional request"
    );
}

#[test]
fn the_static_paths_lead_to_the_same_release() {
    let world = World::new();
    world.publish("1.0.0", &as_refs(&release()));
    let device = world.device();
    let options = Options {
        route: RouteChoice::Static,
        ..Options::default()
    };
    let pulled = device.pull(&model(), &options, &mut |_| {}).unwrap();
    assert_eq!(pulled.verdict.outcome, Outcome::Permit, "{:#?}", pulled.verdict);
    assert!(contents(&device, "weights.bin") == Some(weights()));
}

#[test]
fn a_fingerprint_is_needed_or_first_use_must_be_allowed() {
    let world = World::new();
    let namespace = "acme".parse().unwrap();
    let device = world.device_with(Store::open(&world.store_path()).unwrap());
    let unknown = device.trust_add("http://registry.test", &namespace, Fingerprint::Unknown);
    assert!(matches!(unknown, Err(DeviceError::FingerprintNeeded { found, .. }) if found == world.identity));
    let wrong = Fingerprint::Known(assay_client::sha256(b"another root"));
    assert!(matches!(
        device.trust_add("http://registry.test", &namespace, wrong),
        Err(DeviceError::Root { .. })
    ));
    assert!(matches!(
        pull(&device),
        Err(DeviceError::Store(StoreError::NotTrusted(_)))
    ));

    let pin = device
        .trust_add("http://registry.test", &namespace, Fingerprint::FirstUse)
        .unwrap();
    assert!(pin.first_use);
    let known = Fingerprint::Known(world.identity);
    assert!(
        !device
            .trust_add("http://registry.test", &namespace, known)
            .unwrap()
            .first_use,
        "confirmed later"
    );
}

#[test]
fn another_root_under_a_trusted_name_is_refused() {
    let world = World::new();
    let device = world.device();
    let other = World::new();
    world
        .registry
        .set_file("1.root.json", other.registry.file("1.root.json").unwrap());
    let added = device.trust_add(
        "http://registry.test",
        &"acme".parse().unwrap(),
        Fingerprint::FirstUse,
    );
    assert!(
        matches!(added, Err(DeviceError::Store(StoreError::OtherIdentity { .. }))),
        "{added:?}"
    );
}

#[test]
fn publishing_again_is_idempotent_and_other_content_is_refused() {
    let world = World::new();
    let files = release();
    let first = world.publish("1.0.0", &as_refs(&files));
    assert!(!first.already);
    let second = world.publish("1.0.0", &as_refs(&files));
    assert!(second.already);
    assert_eq!(second.manifest, first.manifest);

    let folder = world.files("changed", &[("config.json", b"[]")]);
    let terms = ReleaseTerms::new("minilm".parse().unwrap(), "1.0.0".parse().unwrap());
    let taken = world.publisher().publish(&folder, &terms, now());
    assert!(
        matches!(taken, Err(PublishError::VersionTaken { .. })),
        "{taken:?}"
    );
}

#[test]
fn the_loser_of_a_race_signs_again_on_top_of_the_winner() {
    // Lost when the candidate is made, and when the metadata is published.
    for before in [
        "PUT /v1/namespaces/acme/models/minilm/releases/",
        "POST /v1/namespaces/acme/metadata",
    ] {
        let world = World::new();
        world.publish("1.0.0", &[("a", b"1")]);
        let rival = world.files("rival", &[("a", b"rival")]);
        let publisher = world.elsewhere("rival-authority");
        world.registry.race(before, move || {
            let terms = ReleaseTerms::new("minilm".parse().unwrap(), "1.1.0-rival".parse().unwrap());
            publisher.publish(&rival, &terms, now()).unwrap();
        });
        let published = world.publish("1.1.0", &[("a", b"2")]);
        assert_eq!(published.order.to_string(), "1.3", "the rival took 1.2");
        let device = world.device();
        pull(&device).unwrap();
        assert_eq!(contents(&device, "a").unwrap(), b"2");
    }
}

#[test]
fn a_counter_below_the_published_ones_is_refused() {
    let world = World::new();
    world.publish("1.0.0", &[("a", b"1")]);
    let folder = world.files("low", &[("a", b"2")]);
    let mut terms = ReleaseTerms::new("minilm".parse().unwrap(), "0.9.0".parse().unwrap());
    terms.counter = Some(1);
    let low = world.publisher().publish(&folder, &terms, now());
    assert!(matches!(low, Err(PublishError::OrderTooLow { .. })), "{low:?}");
}

#[test]
fn uploads_go_on_where_the_connection_broke() {
    let world = World::new();
    world.registry.break_parts(2);
    let published = world.publish("1.0.0", &[("weights.bin", &weights())]);
    assert_eq!(published.files, 1);
    let sent = assay_client::Transport::traffic(world.registry.as_ref()).sent;
    assert!(
        sent < weights().len() as u64 + 100_000,
        "no byte went twice, found {sent}"
    );
}

#[test]
fn nothing_is_signed_on_top_of_metadata_that_does_not_verify() {
    let world = World::new();
    world.publish("1.0.0", &[("a", b"1")]);
    let mut timestamp = world.registry.file("timestamp.json").unwrap();
    let at = timestamp.len() / 2;
    timestamp[at] ^= 1;
    world.registry.set_file("timestamp.json", timestamp);
    let folder = world.files("next", &[("a", b"2")]);
    let terms = ReleaseTerms::new("minilm".parse().unwrap(), "1.1.0".parse().unwrap());
    let refused = world.publisher().publish(&folder, &terms, now());
    assert!(matches!(refused, Err(PublishError::Untrusted(_))), "{refused:?}");
}

#[test]
fn a_rollback_holds_the_model_until_it_is_resumed() {
    let world = World::new();
    world.publish("1.0.0", &[("a", b"1")]);
    let device = world.device();
    pull(&device).unwrap();
    world.publish("1.1.0", &[("a", b"2")]);
    pull(&device).unwrap();
    assert_eq!(contents(&device, "a").unwrap(), b"2");

    let verdict = device.rollback(&model(), None, &mut |_| {}).unwrap();
    assert_eq!(verdict.outcome, Outcome::Permit);
    assert_eq!(contents(&device, "a").unwrap(), b"1");
    assert!(device.active(&model()).unwrap().unwrap().is_held());
    world.publish("1.2.0", &[("a", b"3")]);
    let held = pull(&device);
    assert!(
        matches!(held, Err(DeviceError::Store(StoreError::Held { .. }))),
        "{held:?}"
    );

    assert!(device.resume(&model()).unwrap());
    assert!(!device.resume(&model()).unwrap(), "nothing to resume any more");
    pull(&device).unwrap();
    assert_eq!(contents(&device, "a").unwrap(), b"3");
}

#[test]
fn a_rollback_to_a_damaged_release_changes_nothing() {
    let world = World::new();
    world.publish("1.0.0", &[("a", b"1")]);
    let device = world.device();
    pull(&device).unwrap();
    let old = device.active(&model()).unwrap().unwrap().path().join("a");
    world.publish("1.1.0", &[("a", b"2")]);
    pull(&device).unwrap();
    std::fs::remove_file(&old).unwrap();
    std::fs::write(&old, b"x").unwrap();
    let verdict = device.rollback(&model(), None, &mut |_| {}).unwrap();
    assert_eq!(verdict.outcome, Outcome::Refuse);
    assert_eq!(contents(&device, "a").unwrap(), b"2");
}

#[test]
fn a_rollback_to_what_is_not_kept_says_what_is() {
    let world = World::new();
    world.publish("1.0.0", &[("a", b"1")]);
    let device = world.device();
    pull(&device).unwrap();
    let missing = device.rollback(&model(), None, &mut |_| {}).unwrap_err();
    assert!(missing.to_string().contains("kept: 1.0.0"), "{missing}");
}

#[test]
fn a_directory_is_verified_against_a_release() {
    let world = World::new();
    let files = release();
    world.publish("1.0.0", &as_refs(&files));
    let device = world.device();
    let copy = world.files("copy", &as_refs(&files));
    let verify = || {
        let release = "acme/minilm@1.0.0".parse().unwrap();
        device
            .verify_directory(&copy, &release, &Options::default(), &mut |_| {})
            .unwrap()
    };
    let verdict = verify();
    assert_eq!(verdict.outcome, Outcome::Permit, "{verdict:#?}");

    std::fs::write(copy.join("adapter.bin"), b"extra").unwrap();
    assert_eq!(verify().refusal().unwrap().1.code, "extraneous-file");
    std::fs::remove_file(copy.join("adapter.bin")).unwrap();
    let mut changed = weights();
    changed[3 << 20] ^= 1;
    std::fs::write(copy.join("weights.bin"), changed).unwrap();
    assert_eq!(verify().refusal().unwrap().1.code, "digest-mismatch");
}

#[test]
fn old_releases_go_and_leased_ones_stay() {
    let world = World::new();
    let device = world.device();
    let mut leases = Vec::new();
    for version in ["1.0.0", "1.1.0", "1.2.0", "1.3.0"] {
        world.publish(version, &[("a", version.as_bytes())]);
        pull(&device).unwrap();
        if version == "1.0.0" {
            leases.push(device.active(&model()).unwrap().unwrap());
        }
    }
    let releases = || {
        let model = world.store_path().join("namespaces/acme/models/minilm/releases");
        std::fs::read_dir(model).unwrap().count()
    };
    assert_eq!(
        releases(),
        3,
        "the active one, the one before, and the leased one"
    );
    assert_eq!(std::fs::read(leases[0].path().join("a")).unwrap(), b"1.0.0");
    leases.clear();
    world.publish("1.4.0", &[("a", b"1.4.0")]);
    pull(&device).unwrap();
    assert_eq!(releases(), 2);
}
