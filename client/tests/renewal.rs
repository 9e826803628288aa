//! Files that expired or that a removed key signed: whoever holds the right keys signs them anew.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod common;

use std::collections::BTreeSet;

use assay_authority::PublicKey;
use assay_authority::public::key_id;
use assay_client::device::Options;
use assay_client::publisher::{
    Grant, KeyRole, Outcome, Proposal, PublishError, Publisher, ReleaseTerms, Revocation,
};
use assay_schema::{ModelName, Outcome as Verdict};
use assay_verifier::Want;
use common::{World, model, now};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

const ROLE: &str = "model.minilm.0";

fn minilm() -> ModelName {
    model().model
}

fn days(count: i64) -> Timestamp {
    now().checked_add(SignedDuration::from_hours(24 * count)).unwrap()
}

fn done(publisher: &Publisher, proposal: Proposal, at: Timestamp) {
    let review = publisher.review(proposal, None, at).unwrap();
    let outcome = publisher.sign(review, at).unwrap();
    assert!(matches!(outcome, Outcome::Published(_)), "{outcome:?}");
}

fn publish(world: &World, version: &str, counter: u64, at: Timestamp) -> Result<(), PublishError> {
    let folder = world.files(&format!("at-{version}"), &[("weights.bin", version.as_bytes())]);
    let terms = ReleaseTerms {
        counter: Some(counter),
        ..ReleaseTerms::new(minilm(), version.parse().unwrap())
    };
    world.publisher().publish(&folder, &terms, at).map(drop)
}

/// What a new device comes to.
fn permitted(world: &World, version: Option<&str>, at: Timestamp) -> bool {
    let path = world.dir.path().join(format!("store-{}", tree(world)));
    let device = world
        .device_with(assay_client::Store::open(&path).unwrap())
        .clock(move || at);
    let known = assay_client::device::Fingerprint::Known(world.identity);
    device
        .trust_add("http://registry.test", &model().namespace, known)
        .unwrap();
    let options = Options {
        want: version.map_or(Want::Highest, |v| Want::Version(v.parse().unwrap())),
        ..Options::default()
    };
    device.check(&model(), &options).unwrap().outcome == Verdict::Permit
}

fn tree(world: &World) -> usize {
    std::fs::read_dir(world.dir.path()).unwrap().count()
}

/// The version of a role's newest file, and who signed it.
fn signed(world: &World, role: &str) -> (u64, BTreeSet<String>) {
    let files = (1..).map_while(|v| Some((v, world.registry.file(&format!("{v}.{role}.json"))?)));
    let (version, bytes) = files.last().unwrap();
    let file: Value = serde_json::from_slice(&bytes).unwrap();
    let signatures = file["signatures"].as_array().unwrap();
    let ids = signatures.iter().map(|s| s["keyid"].as_str().unwrap().to_owned());
    (version, ids.collect())
}

fn id(key: &PublicKey) -> String {
    key_id(&key.to_tuf().unwrap()).unwrap()
}

#[test]
fn a_model_whose_role_expired_is_published_again() {
    let world = World::new();
    publish(&world, "1.0.0", 1, now()).unwrap();
    let publisher = world.publisher();
    world.registry.at(days(170));
    done(
        &publisher,
        publisher.propose_targets_renewal(days(170)).unwrap(),
        days(170),
    );
    world.registry.at(days(181));
    assert!(!permitted(&world, None, days(181)));
    publish(&world, "1.1.0", 2, days(181)).unwrap();
    assert!(permitted(&world, None, days(181)));
    assert!(permitted(&world, Some("1.0.0"), days(181)));
}

#[test]
fn an_expired_file_of_an_older_block_stops_neither_the_next_release_nor_its_own_renewal() {
    let world = World::new();
    publish(&world, "1.0.0", 1, now()).unwrap();
    world.registry.at(days(100));
    publish(&world, "2.0.0", 100, days(100)).unwrap();
    let publisher = world.publisher();
    world.registry.at(days(181));
    publish(&world, "2.1.0", 101, days(181)).unwrap();
    assert!(permitted(&world, None, days(181)));
    assert!(!permitted(&world, Some("1.0.0"), days(181)));

    let stranger = publisher.propose_role_renewal(&minilm(), &[7], days(181));
    assert!(
        matches!(stranger, Err(PublishError::Proposal { .. })),
        "{stranger:?}"
    );
    let (before, _) = signed(&world, "model.minilm.1");
    let proposal = publisher
        .propose_role_renewal(&minilm(), &[0], days(181))
        .unwrap();
    done(&publisher, proposal, days(181));
    assert!(permitted(&world, Some("1.0.0"), days(181)));
    assert_eq!(signed(&world, "model.minilm.1").0, before);
    // Without a block every one of them is.
    let proposal = publisher.propose_role_renewal(&minilm(), &[], days(181)).unwrap();
    done(&publisher, proposal, days(181));
    assert_eq!(signed(&world, "model.minilm.1").0, before + 1);
}

#[test]
fn a_renewal_changes_nothing_but_version_and_expiry() {
    let world = World::new();
    publish(&world, "1.0.0", 1, now()).unwrap();
    let publisher = world.publisher();
    let content = |role: &str| {
        let bytes = world
            .registry
            .file(&format!("{}.{role}.json", signed(&world, role).0));
        let mut file: Value = serde_json::from_slice(&bytes.unwrap()).unwrap();
        for field in ["version", "expires"] {
            file["signed"].as_object_mut().unwrap().remove(field).unwrap();
        }
        file["signed"].take()
    };
    let before = (content("targets"), content(ROLE));
    world.registry.at(days(20));
    let targets = publisher.propose_targets_renewal(days(20)).unwrap();
    let review = publisher.review(targets, None, days(20)).unwrap();
    assert_eq!(review.changes().len(), 2, "{:?}", review.changes());
    publisher.sign(review, days(20)).unwrap();
    let role = publisher.propose_role_renewal(&minilm(), &[], days(20)).unwrap();
    done(&publisher, role, days(20));
    assert_eq!((content("targets"), content(ROLE)), before);
    assert_eq!(
        publisher.delegations(&minilm(), days(20)).unwrap()[0].expires,
        Some(days(200))
    );
}

#[test]
fn a_file_that_a_removed_key_signed_is_signed_anew_though_others_signed_it_too() {
    let world = World::new();
    let publisher = world.publisher();
    let make = |number| {
        let kind = KeyRole::Publisher.default_kind();
        publisher
            .folder()
            .generate(KeyRole::Publisher, number, kind, None)
            .unwrap()
    };
    let own = publisher.folder().list_keys().unwrap();
    let own = own.into_iter().find(|k| k.role == KeyRole::Publisher).unwrap();
    let (first, second) = (own.public.unwrap(), make(2));
    let grant = Grant {
        model: minilm(),
        blocks: vec![0],
        keys: vec![first.clone(), second.clone()],
        threshold: 1,
        max_epoch: None,
    };
    done(&publisher, publisher.propose_grant(&grant, now()).unwrap(), now());
    publish(&world, "1.0.0", 1, now()).unwrap();
    assert_eq!(
        signed(&world, ROLE).1,
        [id(&first), id(&second)].into(),
        "both publishers signed"
    );
    let revocation = Revocation {
        model: minilm(),
        key: id(&second),
        replace: Vec::new(),
        threshold: None,
    };
    done(
        &publisher,
        publisher.propose_revocation(&revocation, now()).unwrap(),
        now(),
    );
    assert_eq!(signed(&world, ROLE), (2, [id(&first)].into()));
    // What stands is what is asked for: nothing is left to sign.
    let same = Grant {
        keys: vec![first],
        ..grant
    };
    assert!(publisher.propose_grant(&same, now()).is_err());
}
