//! What an authority restricts, and what it takes back: slips that would stop devices are refused before they are signed.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod common;

use std::collections::BTreeMap;

use assay_authority::PublicKey;
use assay_authority::public::key_id;
use assay_client::publisher::{
    Grant, KeyRole, Lift, Outcome as Signed, Proposal, PublishError, Publisher, Restriction, RootView,
};
use assay_schema::status::RevokedRelease;
use assay_schema::{ModelName, Outcome, ReleaseOrder};
use common::{World, model, now, pull};

fn minilm() -> ModelName {
    model().model
}

/// A key of this role that the folder gets, and its id.
fn key(publisher: &Publisher, role: KeyRole) -> (PublicKey, String) {
    let number = publisher.folder().next_number(role).unwrap();
    let made = publisher
        .folder()
        .generate(role, number, role.default_kind(), None);
    let made = made.unwrap();
    let id = key_id(&made.to_tuf().unwrap()).unwrap();
    (made, id)
}

fn own(publisher: &Publisher, role: KeyRole) -> PublicKey {
    let keys = publisher.folder().list_keys().unwrap();
    keys.into_iter().find(|k| k.role == role).unwrap().public.unwrap()
}

fn done(publisher: &Publisher, proposal: Proposal) -> Vec<String> {
    let review = publisher.review(proposal, None, now()).unwrap();
    let changes = review.changes().to_vec();
    let signed = publisher.sign(review, now()).unwrap();
    assert!(matches!(signed, Signed::Published(_)), "{signed:?}");
    changes
}

/// A namespace with one release and a status role.
fn world() -> (World, Publisher) {
    let world = World::new();
    world.publish("1.0.0", &[("weights.bin", b"weights")]);
    let publisher = world.publisher();
    let keys = [own(&publisher, KeyRole::Status)];
    done(
        &publisher,
        publisher.propose_status_keys(&keys, 1, false, now()).unwrap(),
    );
    (world, publisher)
}

fn of(root: &RootView, role: &str) -> String {
    let role = root.roles.iter().find(|r| r.role == role).unwrap();
    role.keys[0].0.clone()
}

/// What the device comes to.
fn pulled(world: &World) -> Outcome {
    pull(&world.device()).unwrap().verdict.outcome
}

fn id(key: &PublicKey) -> String {
    key_id(&key.to_tuf().unwrap()).unwrap()
}

fn release(model: &str, version: &str) -> Restriction {
    Restriction {
        releases: vec![RevokedRelease {
            model: model.parse().unwrap(),
            version: Some(version.parse().unwrap()),
            manifest: None,
            reason: String::new(),
        }],
        ..Restriction::default()
    }
}

fn version(role: &str, least: u64) -> Restriction {
    Restriction {
        versions: BTreeMap::from([(role.to_owned(), least)]),
        ..Restriction::default()
    }
}

fn revoked(id: &str) -> Restriction {
    Restriction {
        keys: vec![id.to_owned()],
        ..Restriction::default()
    }
}

#[test]
fn a_status_that_would_stop_every_device_is_not_signed_though_somebody_insists() {
    let (_world, publisher) = world();
    let root = publisher.root(now()).unwrap();
    for stops in [
        version("tragets", 3),
        version("targets", 9),
        version("root", 2),
        version("snapshot", 99),
        revoked(&of(&root, "targets")),
        revoked(&id(&own(&publisher, KeyRole::Status))),
    ] {
        let refused = publisher.propose_restriction(&stops, true, now());
        assert!(
            matches!(refused, Err(PublishError::StopsDevices { .. })),
            "{stops:?}: {refused:?}"
        );
    }
}

#[test]
fn a_restriction_of_what_is_not_there_needs_somebody_who_insists() {
    let (world, publisher) = world();
    let order = Restriction {
        orders: BTreeMap::from([("nosuch".parse().unwrap(), ReleaseOrder::new(1, 1).unwrap())]),
        ..Restriction::default()
    };
    for slip in [
        release("nosuch", "9.9.9"),
        release("minilm", "9.9.9"),
        version("model.minilm.7", 1),
        version("model.minilm.0", 2),
        order,
    ] {
        let refused = publisher.propose_restriction(&slip, false, now());
        assert!(
            matches!(&refused, Err(PublishError::Doubtful { doubts }) if doubts.len() == 1),
            "{slip:?}: {refused:?}"
        );
        publisher.propose_restriction(&slip, true, now()).unwrap();
    }
    let real = publisher.propose_restriction(&release("minilm", "1.0.0"), false, now());
    done(&publisher, real.unwrap());
    assert_eq!(pulled(&world), Outcome::Refuse);
}

#[test]
fn an_approver_is_told_of_a_key_that_no_role_lists() {
    let (_world, publisher) = world();
    let proposal = publisher.propose_restriction(&revoked(&"ab".repeat(32)), false, now());
    let changes = done(&publisher, proposal.unwrap()).join("\n");
    assert!(changes.contains("no role lists it now"), "{changes}");
}

#[test]
fn a_key_that_still_signs_a_models_file_is_not_revoked_by_a_slip() {
    let (world, publisher) = world();
    let first = own(&publisher, KeyRole::Publisher);
    let (second, lost) = key(&publisher, KeyRole::Publisher);
    let grant = Grant {
        model: minilm(),
        blocks: vec![0],
        keys: vec![first, second],
        threshold: 1,
        max_epoch: None,
    };
    done(&publisher, publisher.propose_grant(&grant, now()).unwrap());
    world.publish("1.1.0", &[("weights.bin", b"by both")]);
    let refused = publisher.propose_restriction(&revoked(&lost), false, now());
    let Err(PublishError::Doubtful { doubts }) = refused else {
        panic!("{refused:?}");
    };
    let advised = format!("`assay role revoke acme/minilm {lost}`");
    assert!(doubts[0].contains(&advised), "{doubts:?}");

    // Whoever insists stops the model. The revoked key signs nothing more, though the role lists it and the folder has it.
    let insisted = publisher
        .propose_restriction(&revoked(&lost), true, now())
        .unwrap();
    let changes = done(&publisher, insisted).join("\n");
    assert!(changes.contains("signed model.minilm.0"), "{changes}");
    assert_eq!(pulled(&world), Outcome::Refuse);
    let renewal = publisher.propose_role_renewal(&minilm(), &[], now()).unwrap();
    done(&publisher, renewal);
    assert_eq!(pulled(&world), Outcome::Permit);
    world.publish("1.2.0", &[("weights.bin", b"by the other")]);
    assert_eq!(pulled(&world), Outcome::Permit);
}

#[test]
fn what_is_lifted_is_shown_and_stands_no_more() {
    let (world, publisher) = world();
    let add = Restriction {
        orders: BTreeMap::from([(minilm(), ReleaseOrder::new(1, 1).unwrap())]),
        keys: vec!["ab".repeat(32)],
        versions: BTreeMap::from([("targets".to_owned(), 1)]),
        ..release("minilm", "1.0.0")
    };
    done(
        &publisher,
        publisher.propose_restriction(&add, false, now()).unwrap(),
    );
    let stranger = Lift {
        versions: vec!["root".to_owned()],
        ..Lift::default()
    };
    assert!(publisher.propose_lift(&stranger, now()).is_err());
    let lift = Lift {
        releases: vec![(minilm(), "1.0.0".parse().unwrap())],
        keys: add.keys.clone(),
        orders: vec![minilm()],
        ..Lift::default()
    };
    let changes = done(&publisher, publisher.propose_lift(&lift, now()).unwrap());
    let removed = changes.iter().filter(|line| line.starts_with("status: removes"));
    assert_eq!(removed.count(), 3, "{changes:?}");
    let stands = publisher.status(now()).unwrap().unwrap().status;
    assert_eq!(stands.versions.len(), 1);
    assert!(stands.revoked_keys.is_empty() && stands.revoked_releases.is_empty());
    assert_eq!(pulled(&world), Outcome::Permit);
    let all = Lift {
        all: true,
        ..Lift::default()
    };
    done(&publisher, publisher.propose_lift(&all, now()).unwrap());
    assert!(
        publisher
            .status(now())
            .unwrap()
            .unwrap()
            .status
            .versions
            .is_empty()
    );
}

#[test]
fn other_status_keys_begin_from_nothing_unless_told_otherwise() {
    let (_world, publisher) = world();
    let thiefs = "ab".repeat(32);
    let add = publisher.propose_restriction(&revoked(&thiefs), true, now());
    done(&publisher, add.unwrap());
    let stands = || publisher.status(now()).unwrap().unwrap().status.revoked_keys;
    // One key more: the others are still trusted.
    let (first, (second, _)) = (own(&publisher, KeyRole::Status), key(&publisher, KeyRole::Status));
    let more = publisher.propose_status_keys(&[first, second.clone()], 1, false, now());
    done(&publisher, more.unwrap());
    assert_eq!(stands().len(), 1);
    let kept = publisher.propose_status_keys(std::slice::from_ref(&second), 1, true, now());
    done(&publisher, kept.unwrap());
    assert_eq!(stands().len(), 1);

    let (third, _) = key(&publisher, KeyRole::Status);
    let other = publisher.propose_status_keys(&[third], 1, false, now());
    let changes = done(&publisher, other.unwrap());
    let removed = format!("status: removes revoked key {thiefs}");
    assert!(changes.contains(&removed), "{changes:?}");
    assert!(stands().is_empty());
}
