//! Approving what a registry hands out: nothing is signed that was not computed here, nothing is published that is not complete.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

#[path = "../common/mod.rs"]
mod common;
mod keeper;
mod signers;

use std::collections::BTreeMap;
use std::io::Read;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use assay_authority::proposal as signing;
use assay_authority::{KeyKind, SigningKey};
use assay_client::publisher::{
    AuthorityFolder, Grant, KeyRole, LogChange, NamedLog, Outcome, Proposal, PublishError, PublishedRelease,
    Publisher, ReleaseTerms, public_key,
};
use assay_client::transport::{Body, Fetched, Reply, Request, Traffic, Transport, TransportError};
use assay_log::VerifierKey;
use assay_log::note::{KeyName, NoteError};
use assay_schema::Sha256Digest;
use assay_schema::api::{Page, Publication};
use assay_schema::problem::{Problem, ProblemKind};
use assay_schema::proposal::{
    AddSignatures, ProposalDetail, ProposalInfo, ProposalStanding, ProposedFile, RoleSignature,
};
use common::{MemoryRegistry, World, now, pull};
use jiff::SignedDuration;
use keeper::Keeper;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// A namespace in which two publishers' keys must sign the releases of `minilm`.
struct Two {
    world: World,
    keeper: Arc<Keeper>,
}

impl Two {
    fn new() -> Self {
        let world = World::new();
        let keeper = Arc::new(Keeper {
            inner: world.registry.clone(),
            identity: world.identity,
            kept: Mutex::default(),
            doctor: Mutex::default(),
            cut: AtomicBool::new(false),
        });
        let two = Self { world, keeper };
        for (name, role) in [("second", Some(KeyRole::Publisher)), ("nobody", None)] {
            let folder = AuthorityFolder::open(&two.at(name)).unwrap();
            if let Some(role) = role {
                folder.generate(role, 1, role.default_kind(), None).unwrap();
            }
            let publisher = two.publisher(name);
            let namespace = "acme".parse().unwrap();
            publisher
                .join(&namespace, two.world.identity, "http://registry.test")
                .unwrap();
        }
        let keys = ["authority", "second"].map(|name| two.at(name).join("publisher.pem.pub"));
        let grant = Grant {
            model: "minilm".parse().unwrap(),
            blocks: vec![0],
            keys: keys.iter().map(|path| public_key(path).unwrap()).collect(),
            threshold: 2,
            max_epoch: None,
        };
        let first = two.publisher("authority");
        let review = first
            .review(first.propose_grant(&grant, now()).unwrap(), None, now())
            .unwrap();
        assert!(matches!(first.collect(review, now()), Ok(Outcome::Published(_))));
        two
    }

    fn at(&self, name: &str) -> PathBuf {
        self.world.dir.path().join(name)
    }

    fn publisher(&self, name: &str) -> Publisher {
        Publisher::new(
            AuthorityFolder::open(&self.at(name)).unwrap(),
            self.keeper.clone(),
        )
    }

    /// The first publisher's part of a release.
    fn propose(&self, version: &str, content: &[u8], again: bool) -> (PublishedRelease, Sha256Digest) {
        let folder = self.world.files(
            &format!("{version}-{}", content.len()),
            &[("weights.bin", content)],
        );
        let terms = ReleaseTerms::new("minilm".parse().unwrap(), version.parse().unwrap());
        let first = self.publisher("authority").sign_again(again);
        let made = first.publish(&folder, &terms, now()).unwrap();
        let id = made.proposal.as_ref().unwrap().id;
        (made, id)
    }

    /// What a publisher comes to that approves whatever it is shown.
    fn approve(&self, name: &str, id: &Sha256Digest) -> Result<Outcome, PublishError> {
        let publisher = self.publisher(name);
        let proposal = publisher.proposal(&id.to_hex())?;
        let review = publisher.review(proposal, None, now())?;
        publisher.collect(review, now())
    }

    fn signed(&self, name: &str) -> usize {
        self.publisher(name).folder().journal().unwrap().len()
    }
}

/// Changes the `signed` part of one file, as if nobody had signed it.
fn edit(publication: &mut Publication, role: &str, change: impl Fn(&mut Value)) {
    let file = publication.roles.get_mut(role).unwrap();
    let mut value: Value = serde_json::from_str(&file.metadata).unwrap();
    change(&mut value["signed"]);
    file.metadata = value.to_string();
}

const ROLE: &str = "model.minilm.0";
const PATH: &str = "models/minilm/0/1.0.0.json";

#[test]
fn the_second_publisher_publishes_what_it_computed_itself() {
    let two = Two::new();
    let (made, id) = two.propose("1.0.0", b"weights", false);
    assert_eq!(made.proposal.unwrap().missing.len(), 1);
    assert!(two.world.registry.file("1.model.minilm.0.json").is_none());
    let second = two.publisher("second");
    let views = second.proposals(now()).unwrap();
    assert_eq!((views.len(), views[0].id, views[0].missing.len()), (1, id, 1));
    let review = second
        .review(second.look_at_proposal(&id.to_hex()[..8]).unwrap(), None, now())
        .unwrap();
    let shown = review.changes().join("\n");
    for said in [
        "acme/minilm@1.0.0",
        "weights.bin, 7 bytes",
        "signed by \"acme models\"",
    ] {
        assert!(shown.contains(said), "{said}: {shown}");
    }
    assert!(matches!(second.collect(review, now()), Ok(Outcome::Published(_))));
    pull(&two.world.device()).unwrap();
}

#[test]
fn approval_of_a_doctored_proposal() {
    type Case = (&'static str, fn(&mut Publication));
    let cases: [Case; 7] = [
        ("digest", |p| {
            edit(p, ROLE, |s| {
                s["targets"][PATH]["hashes"]["sha256"] = json!("00".repeat(32));
            });
        }),
        ("path", |p| {
            edit(p, ROLE, |s| {
                let target = s["targets"][PATH].take();
                s["targets"] = json!({"models/minilm/0/9.9.9.json": target});
            });
        }),
        ("order", |p| {
            edit(p, ROLE, |s| {
                s["targets"][PATH]["custom"]["x-assay"]["order"]["counter"] = json!(50);
            });
        }),
        ("expiry", |p| {
            edit(p, ROLE, |s| s["expires"] = json!("2099-01-01T00:00:00Z"));
        }),
        ("namespace", |p| {
            edit(p, ROLE, |s| s["x-assay"]["namespace"] = json!("11".repeat(32)));
        }),
        ("parent", |p| {
            p.roles.get_mut(ROLE).unwrap().parent = Some(Sha256Digest::new([1; 32]));
        }),
        ("another file", |p| {
            let file = p.roles[ROLE].clone();
            p.roles.insert("model.minilm.1".to_owned(), file);
        }),
    ];
    let two = Two::new();
    let (_, id) = two.propose("1.0.0", b"weights", false);
    let before = two.signed("second");
    for (case, doctor) in cases {
        two.keeper.doctored(doctor);
        let refused = two.approve("second", &id);
        let Err(PublishError::Proposal { what, .. }) = &refused else {
            panic!("{case}: {refused:?}");
        };
        assert!(what.contains("handed out"), "{case}: {what}");
        let view = &two.publisher("second").proposals(now()).unwrap()[0];
        assert!(view.changes.is_err(), "{case}");
    }
    assert_eq!(two.signed("second"), before);
    // A proposal that another namespace's id names is no better.
    two.keeper.doctored(|_| {});
    let missing = two.approve("second", &Sha256Digest::new([7; 32]));
    assert!(
        matches!(missing, Err(PublishError::NoProposal { .. })),
        "{missing:?}"
    );
}

/// A proposal as somebody hands it over who made all of it up.
fn handed(two: &Two, id: &Sha256Digest, doctor: impl Fn(&mut Publication)) -> Proposal {
    let mut publication = two.keeper.kept.lock().unwrap()[id].clone();
    doctor(&mut publication);
    let file =
        json!({"v": 1, "namespace": "acme", "identity": two.world.identity, "publication": publication});
    serde_json::from_value(file).unwrap()
}

#[test]
fn a_made_up_release_is_refused_whatever_name_it_comes_under() {
    let two = Two::new();
    two.propose("0.9.0", b"older", false);
    let older = two.keeper.kept.lock().unwrap().keys().next().copied().unwrap();
    assert!(matches!(two.approve("second", &older), Ok(Outcome::Published(_))));
    let (_, id) = two.propose("1.0.0", b"weights", false);
    type Case = (&'static str, fn(&mut Value));
    let cases: [Case; 8] = [
        ("on the registry", |s| {
            s["targets"][PATH]["hashes"]["sha256"] = json!("00".repeat(32));
        }),
        ("order in the manifest", |s| {
            s["targets"][PATH]["custom"]["x-assay"]["order"]["counter"] = json!(50);
        }),
        ("version in the manifest", |s| {
            let target = s["targets"][PATH].take();
            s["targets"].as_object_mut().unwrap().remove(PATH);
            s["targets"]["models/minilm/0/9.9.9.json"] = target;
        }),
        ("target path", |s| {
            let target = s["targets"][PATH].take();
            s["targets"].as_object_mut().unwrap().remove(PATH);
            s["targets"]["models/other/0/1.0.0.json"] = target;
        }),
        ("on the registry", |s| s["targets"][PATH]["length"] = json!(1)),
        ("models/minilm/0/0.9.0.json", |s| {
            s["targets"]
                .as_object_mut()
                .unwrap()
                .remove("models/minilm/0/0.9.0.json");
        }),
        ("version of model.minilm.0", |s| s["version"] = json!(7)),
        ("x-assay of model.minilm.0", |s| {
            s["x-assay"]["namespace"] = json!("11".repeat(32))
        }),
    ];
    let before = two.signed("second");
    let second = two.publisher("second");
    for (expected, change) in cases {
        let proposal = handed(&two, &id, |p| edit(p, ROLE, change));
        let refused = second.review(proposal, None, now());
        let Err(error) = &refused else {
            panic!("{expected}: {refused:?}");
        };
        assert!(error.to_string().contains(expected), "{expected}: {error}");
    }
    let other_parent = handed(&two, &id, |p| {
        p.roles.get_mut(ROLE).unwrap().parent = None;
    });
    let refused = second.review(other_parent, None, now()).unwrap_err();
    assert!(refused.to_string().contains("that it replaces"), "{refused}");
    assert_eq!(two.signed("second"), before);
}

#[test]
fn a_folder_of_other_files_is_refused() {
    let two = Two::new();
    let (_, id) = two.propose("1.0.0", b"weights", false);
    let second = two.publisher("second");
    let review = |folder: &[(&str, &[u8])], name: &str| {
        let folder = two.world.files(name, folder);
        second.review(second.proposal(&id.to_hex()).unwrap(), Some(&folder), now())
    };
    let cases: [&[(&str, &[u8])]; 3] = [
        &[("weights.bin", b"Weights")],
        &[("weights.bin", b"weights"), ("more.bin", b"x")],
        &[("other.bin", b"weights")],
    ];
    for (n, files) in cases.into_iter().enumerate() {
        let refused = review(files, &format!("other-{n}"));
        assert!(
            matches!(refused, Err(PublishError::Proposal { .. })),
            "{n}: {refused:?}"
        );
    }
    let same = review(&[("weights.bin", b"weights")], "same").unwrap();
    assert!(same.changes().join("\n").contains("every file is the one in"));
}

#[test]
fn signatures_that_are_not_right_count_for_nothing() {
    let two = Two::new();
    let (_, id) = two.propose("1.0.0", b"weights", false);
    let kept = two.keeper.kept.lock().unwrap()[&id].clone();
    let bytes = kept.roles[ROLE].metadata.as_bytes();
    let first = signing::signatures(ROLE, bytes).unwrap().remove(0);
    let second_key = public_key(&two.at("second").join("publisher.pem.pub")).unwrap();
    let second_id = assay_authority::public::key_id(&second_key.to_tuf().unwrap()).unwrap();
    // The first publisher's signature under the second one's id, and a stranger's.
    let junk = [
        RoleSignature {
            keyid: second_id,
            ..first
        },
        RoleSignature {
            keyid: "ab".repeat(32),
            sig: "cd".repeat(64),
        },
    ];
    for bad in junk {
        let put = bad.clone();
        two.keeper.doctored(move |p| {
            let file = p.roles.get_mut(ROLE).unwrap();
            let mut all = signing::signatures(ROLE, file.metadata.as_bytes()).unwrap();
            all.push(put.clone());
            file.metadata = signing::with_signatures(ROLE, file.metadata.as_bytes(), all).unwrap();
        });
        // Whoever has no key cannot publish what only looks complete.
        let nobody = two.approve("nobody", &id);
        assert!(matches!(nobody, Err(PublishError::NoKey { .. })), "{nobody:?}");
        let first = two.publisher("authority");
        let review = first
            .review(first.proposal(&id.to_hex()).unwrap(), None, now())
            .unwrap();
        assert!(review.changes().iter().any(|line| line.contains(&bad.keyid)));
        assert_eq!(review.missing().unwrap().len(), 1);
        // The answer to its own signature carries the junk again.
        let outcome = first.collect(review, now()).unwrap();
        assert!(matches!(outcome, Outcome::Incomplete { .. }), "{outcome:?}");
    }
    assert!(two.world.registry.file("1.model.minilm.0.json").is_none());
    let published = two.approve("second", &id);
    assert!(matches!(published, Ok(Outcome::Published(_))), "{published:?}");
    let file = two.world.registry.file("1.model.minilm.0.json").unwrap();
    assert_eq!(signing::signatures(ROLE, &file).unwrap().len(), 2);
}

#[test]
fn inline_bytes_that_are_not_the_documents_are_not_signed() {
    let two = Two::new();
    let first = two.publisher("authority");
    let change = LogChange {
        log: NamedLog::Key(Box::new(verifier_key("log.example", VerifierKey::log))),
        witnesses: None,
        threshold: None,
    };
    let mut file = serde_json::to_value(first.propose_log(&change, now()).unwrap()).unwrap();
    let text = &mut file["publication"]["roles"]["targets"]["metadata"];
    let honest: Value = serde_json::from_str(text.as_str().unwrap()).unwrap();
    // Length and digest stay: only devices would see what stands in the entry.
    for (path, other) in [
        ("trust/signers.json", r#"{"signers":[],"v":1}"#),
        ("trust/log.json", "garbage"),
    ] {
        let mut doctored = honest.clone();
        doctored["signed"]["targets"][path]["custom"]["x-assay"]["inline"] = json!(other);
        file["publication"]["roles"]["targets"]["metadata"] = doctored.to_string().into();
        let proposal: Proposal = serde_json::from_value(file.clone()).unwrap();
        let refused = first.review(proposal, None, now());
        let Err(PublishError::Metadata(error)) = &refused else {
            panic!("{path}: {refused:?}");
        };
        assert!(
            error.to_string().contains(&format!("inline bytes of {path}")),
            "{error}"
        );
    }
}

#[test]
fn another_answer_to_a_signature_than_its_proposal_is_refused() {
    let two = Two::new();
    let (_, id) = two.propose("1.0.0", b"weights", false);
    let first = two.publisher("authority");
    let review = first
        .review(first.proposal(&id.to_hex()).unwrap(), None, now())
        .unwrap();
    two.keeper
        .doctored(|p| edit(p, ROLE, |s| s["expires"] = json!("2099-01-01T00:00:00Z")));
    let refused = first.collect(review, now());
    assert!(
        matches!(refused, Err(PublishError::Proposal { .. })),
        "{refused:?}"
    );
}

#[test]
fn what_ended_between_the_last_signature_and_the_publication_anybody_finishes() {
    for finisher in ["authority", "second", "nobody"] {
        let two = Two::new();
        let (_, id) = two.propose("1.0.0", b"weights", false);
        // The second publisher's signature reaches the registry alone.
        let second = two.publisher("second");
        let review = second
            .review(second.proposal(&id.to_hex()).unwrap(), None, now())
            .unwrap();
        let Outcome::Incomplete { proposal, .. } = signed_alone(&two, &second, review) else {
            panic!("published alone");
        };
        let file = &proposal.publication.roles[ROLE];
        let added = AddSignatures {
            roles: [(
                ROLE.to_owned(),
                signing::signatures(ROLE, file.metadata.as_bytes()).unwrap(),
            )]
            .into(),
        };
        two.keeper.merge(id, &added);
        let done = two.approve(finisher, &id);
        assert!(matches!(done, Ok(Outcome::Published(_))), "{finisher}: {done:?}");
        pull(&two.world.device()).unwrap();
    }
}

/// Signs a copy from which the others' signatures were taken.
fn signed_alone(two: &Two, publisher: &Publisher, review: assay_client::publisher::Review) -> Outcome {
    let id = review.id();
    let bare = handed(two, &id, |p| {
        for (role, file) in &mut p.roles {
            file.metadata = signing::with_signatures(role, file.metadata.as_bytes(), []).unwrap();
        }
    });
    let review = publisher.review(bare, None, now()).unwrap();
    assert_eq!(review.id(), id);
    publisher.sign(review, now()).unwrap()
}

#[test]
fn of_two_bodies_of_one_version_the_second_needs_a_persons_word() {
    let two = Two::new();
    let (_, first) = two.propose("1.0.0", b"weights", false);
    two.keeper.cut.store(true, Ordering::SeqCst);
    let cut = two.approve("second", &first);
    assert!(matches!(cut, Err(PublishError::Transport(_))), "{cut:?}");
    two.keeper.cut.store(false, Ordering::SeqCst);
    let (_, other) = two.propose("1.0.1", b"other weights", true);
    assert_ne!(first, other);
    let before = two.signed("second");
    let refused = two.approve("second", &other);
    let Err(PublishError::SignedBefore { role, version, .. }) = &refused else {
        panic!("{refused:?}");
    };
    assert_eq!((role.as_str(), *version, two.signed("second")), (ROLE, 1, before));
    assert!(matches!(two.approve("second", &first), Ok(Outcome::Published(_))));
}

#[test]
fn who_signs_last_at_the_same_time_finds_it_published() {
    let two = Two::new();
    let (_, id) = two.propose("1.0.0", b"weights", false);
    let keeper = two.keeper.clone();
    let path = two.at("second");
    let twin = two.at("twin");
    std::fs::create_dir(&twin).unwrap();
    for entry in std::fs::read_dir(&path).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), twin.join(entry.file_name())).unwrap();
    }
    let told = Arc::new(AtomicBool::new(false));
    let seen = told.clone();
    two.world
        .registry
        .race("POST /v1/namespaces/acme/metadata", move || {
            let publisher = Publisher::new(AuthorityFolder::open(&twin).unwrap(), keeper);
            let proposal = publisher.proposal(&id.to_hex()).unwrap();
            let review = publisher.review(proposal, None, now()).unwrap();
            assert!(matches!(
                publisher.collect(review, now()),
                Ok(Outcome::Published(_))
            ));
            seen.store(true, Ordering::SeqCst);
        });
    let done = two.approve("second", &id);
    assert!(matches!(done, Ok(Outcome::Published(_))), "{done:?}");
    assert!(told.load(Ordering::SeqCst));
}

#[test]
fn nothing_is_signed_on_top_of_expired_metadata_of_the_registry() {
    let two = Two::new();
    let (_, id) = two.propose("1.0.0", b"weights", false);
    let second = two.publisher("second");
    let later = now() + SignedDuration::from_hours(24 * 3);
    let refused = second.review(second.proposal(&id.to_hex()).unwrap(), None, later);
    assert!(matches!(refused, Err(PublishError::Untrusted(_))), "{refused:?}");
}

#[test]
fn keys_thresholds_and_delegations_are_shown_as_they_would_become() {
    let two = Two::new();
    let stranger = AuthorityFolder::open(&two.at("stranger")).unwrap();
    let key = stranger
        .generate(KeyRole::Publisher, 1, KeyRole::Publisher.default_kind(), None)
        .unwrap();
    let first = two.publisher("authority");
    let grant = Grant {
        model: "minilm".parse().unwrap(),
        blocks: vec![0, 3],
        keys: vec![key.clone()],
        threshold: 1,
        max_epoch: Some(9),
    };
    let honest = first.propose_grant(&grant, now()).unwrap();
    let review = first.review(honest.clone(), None, now()).unwrap();
    let id = assay_authority::public::key_id(&key.to_tuf().unwrap()).unwrap();
    let shown = review.changes().join("\n");
    for said in [
        format!("model.minilm.0: adds ed25519 key {id}"),
        "model.minilm.0: threshold 2 of 2 -> 1 of 1".to_owned(),
        "model.minilm.3: highest epoch none -> 9".to_owned(),
    ] {
        assert!(shown.contains(&said), "{said}: {shown}");
    }
    // What widens a delegation's paths, or adds anything that nobody was shown, is refused.
    let bad = |at: &str, doctor: &dyn Fn(&mut Value)| {
        let (mut file, mut value) = (serde_json::to_value(&honest).unwrap(), Value::Null);
        let metadata = &mut file["publication"]["roles"]["targets"]["metadata"];
        value.clone_from(&serde_json::from_str(metadata.as_str().unwrap()).unwrap());
        doctor(&mut value["signed"]);
        *metadata = value.to_string().into();
        let proposal: Proposal = serde_json::from_value(file).unwrap();
        let refused = first.review(proposal, None, now());
        let PublishError::Proposal { what, .. } = refused.expect_err(at) else {
            panic!("{at}: refused otherwise");
        };
        assert!(what.contains(at), "{at}: {what}");
    };
    let role = |s: &mut Value, name: &str, value: Value| s["delegations"]["roles"][0][name] = value;
    bad("/delegations/roles/0/paths", &|s| {
        role(s, "paths", json!(["models/*"]))
    });
    bad("terminating", &|s| role(s, "terminating", json!(false)));
    bad("path_hash_prefixes", &|s| {
        role(s, "path_hash_prefixes", json!([""]))
    });
    bad("roles/0/x-note", &|s| role(s, "x-note", json!("unseen")));
    bad("x-assay/more", &|s| {
        s["delegations"]["roles"][0]["x-assay"]["more"] = json!(1)
    });
    bad("/delegations/succinct_roles", &|s| {
        s["delegations"]["succinct_roles"] = json!({"bit_length": 1});
    });
    bad("/delegations/keys/", &|s| {
        let keys = s["delegations"]["keys"].as_object_mut().unwrap();
        let unused = keys.values().next().unwrap().clone();
        keys.insert("ab".repeat(32), unused);
    });
    bad("hashes/sha512", &|s| {
        s["targets"]["trust/signers.json"]["hashes"]["sha512"] = json!("00".repeat(64));
    });
    bad("custom/note", &|s| {
        s["targets"]["trust/signers.json"]["custom"]["note"] = json!("unseen");
    });
    bad("/x-other", &|s| s["x-other"] = json!(true));
    bad("x-assay/issued", &|s| {
        s["x-assay"]["issued"] = json!("2026-01-01T00:00:00Z")
    });
    bad("spec_version", &|s| s["spec_version"] = json!("1.9.9"));
    bad("order of the delegations", &|s| {
        s["delegations"]["roles"].as_array_mut().unwrap().reverse();
    });
}

#[test]
fn a_first_file_says_no_more_than_is_shown() {
    let two = Two::new();
    let (_, id) = two.propose("1.0.0", b"weights", false);
    let second = two.publisher("second");
    for (at, change) in [
        ("/x-other", (|s| s["x-other"] = json!(true)) as fn(&mut Value)),
        ("/delegations", |s| {
            s["delegations"] = json!({"keys": {}, "roles": []})
        }),
        ("hashes/sha512", |s| {
            s["targets"][PATH]["hashes"]["sha512"] = json!("00".repeat(64));
        }),
        ("spec_version", |s| s["spec_version"] = json!("1.0.0")),
    ] {
        let proposal = handed(&two, &id, |p| edit(p, ROLE, change));
        let refused = second.review(proposal, None, now());
        let Err(PublishError::Proposal { what, .. }) = &refused else {
            panic!("{at}: {refused:?}");
        };
        assert!(what.contains(at), "{at}: {what}");
    }
}

#[test]
fn what_this_software_does_not_know_goes_with_the_next_change_and_is_shown() {
    let two = Two::new();
    two.world.sign_targets(|signed| {
        signed["delegations"]["x-note"] = json!("theirs");
        signed["delegations"]["roles"][0]["x-note"] = json!("theirs, too");
    });
    let grant = Grant {
        model: "other".parse().unwrap(),
        blocks: vec![0],
        keys: vec![public_key(&two.at("second").join("publisher.pem.pub")).unwrap()],
        threshold: 1,
        max_epoch: None,
    };
    let first = two.publisher("authority");
    let review = first
        .review(first.propose_grant(&grant, now()).unwrap(), None, now())
        .unwrap();
    let shown = review.changes().join("\n");
    for at in ["/delegations/x-note", "/delegations/roles/0/x-note"] {
        let said = format!("targets: drops what this software does not know, {at}: \"theirs");
        assert!(shown.contains(&said), "{said}: {shown}");
    }
    assert!(matches!(first.collect(review, now()), Ok(Outcome::Published(_))));
    let text = two.world.registry.file("4.targets.json").unwrap();
    assert!(!String::from_utf8(text).unwrap().contains("theirs"));
}

/// A new verifier key: of a log, or of a witness.
fn verifier_key(name: &str, make: fn(KeyName, &[u8; 32]) -> Result<VerifierKey, NoteError>) -> VerifierKey {
    let key = SigningKey::generate(KeyKind::Ed25519).unwrap();
    let public = key.public_key().ed25519_bytes().unwrap();
    make(KeyName::new(name).unwrap(), &public).unwrap()
}

#[test]
fn a_log_and_its_witnesses_are_shown_key_by_key_and_one_that_no_device_could_use_is_refused() {
    let two = Two::new();
    let first = two.publisher("authority");
    let log = verifier_key("log.example", VerifierKey::log);
    let witnesses = ["w1.example", "w2.example", "w3.example"].map(|w| verifier_key(w, VerifierKey::witness));
    let change = LogChange {
        log: NamedLog::Key(Box::new(log.clone())),
        witnesses: Some(witnesses.to_vec()),
        threshold: None,
    };
    let honest = first.propose_log(&change, now()).unwrap();
    let review = first.review(honest.clone(), None, now()).unwrap();
    let shown = review.changes().join("\n");
    let keys = witnesses.iter().map(|key| format!("log: adds witness {key}"));
    for said in keys.chain([format!("-> {log}"), "-> 2 of 3".to_owned()]) {
        assert!(shown.contains(&said), "{said}: {shown}");
    }
    let mut file = serde_json::to_value(&honest).unwrap();
    let text = file["publication"]["roles"]["targets"]["metadata"]
        .as_str()
        .unwrap();
    let metadata: Value = serde_json::from_str(text).unwrap();
    let trust = metadata["signed"]["targets"]["trust/log.json"]["custom"]["x-assay"]["inline"].as_str();
    let trust: Value = serde_json::from_str(trust.unwrap()).unwrap();
    let (own, w1) = (json!([log.to_string()]), witnesses[0].to_string());
    for (field, bad) in [
        ("threshold", json!(4)),
        ("log", json!("nobody")),
        ("log", json!(w1)),
        ("witnesses", own),
        ("witnesses", json!([w1, w1])),
        ("v", json!(2)),
    ] {
        let mut trust = trust.clone();
        trust[field] = bad.clone();
        let (trust, mut value) = (trust.to_string(), metadata.clone());
        let target = &mut value["signed"]["targets"]["trust/log.json"];
        target["length"] = json!(trust.len());
        target["hashes"]["sha256"] = json!(Sha256Digest::new(Sha256::digest(trust.as_bytes()).into()));
        target["custom"]["x-assay"]["inline"] = json!(trust);
        file["publication"]["roles"]["targets"]["metadata"] = value.to_string().into();
        let proposal: Proposal = serde_json::from_value(file.clone()).unwrap();
        let refused = first.review(proposal, None, now());
        assert!(
            matches!(refused, Err(PublishError::LogPolicy(_))),
            "{field} {bad}: {refused:?}"
        );
    }
    assert!(matches!(first.collect(review, now()), Ok(Outcome::Published(_))));
    assert_eq!(first.log(now()).unwrap().unwrap().threshold, 2);
    let again = first.propose_log(&change, now());
    assert!(matches!(again, Err(PublishError::Proposal { .. })), "{again:?}");
}
