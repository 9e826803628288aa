//! Several authorities (TUF TAP 4): what the owner's trust policy requires, and every way to seem to have it.

use std::collections::{BTreeMap, BTreeSet};

use assay_schema::trust_policy::{RequiredAuthority, Requirement};
use assay_schema::verdict::Refusal;
use assay_schema::{Sha256Digest, Stage, Verdict};
use assay_verifier::provenance::sha256;
use assay_verifier::{
    Answer, Approved, CachedBundle, CheckRequest, CheckStep, Checked, Consensus, Content, DeviceState, Known,
    Pin, PresentFile, Resource, Route, Want, check,
};
use serde_json::json;

use crate::support::driver::Driver;
use crate::support::simulator::Release;
use crate::support::*;

const OWN: &str = "acme";

/// A namespace, its registry, and what the device keeps of it.
#[derive(Clone)]
struct Party {
    sim: Simulator,
    disk: String,
    cached: Option<CachedBundle>,
    /// Its registry answers nothing.
    down: bool,
    /// The device has no pin of it.
    unknown: bool,
    first_use: bool,
}

impl Party {
    fn new(sim: Simulator) -> Self {
        let state = DeviceState::first(&sim.pin(), &sim.roots[0]).unwrap();
        let disk = serde_json::to_string(&state).unwrap();
        Self {
            sim,
            disk,
            cached: None,
            down: false,
            unknown: false,
            first_use: false,
        }
    }

    fn state(&self) -> DeviceState {
        serde_json::from_str(&self.disk).unwrap()
    }
}

/// `acme`, and other authorities that endorsed its release 1.0.0.
#[derive(Clone)]
struct World {
    parties: BTreeMap<String, Party>,
    requirement: Requirement,
    by: By,
    requests: Vec<(String, Resource, bool)>,
}

fn pin(name: &str, sim: &Simulator) -> Pin {
    Pin {
        namespace: name.parse().unwrap(),
        ..sim.pin()
    }
}

impl World {
    fn new(authorities: &[&str], threshold: u32) -> Self {
        let own = Simulator::new();
        let release = own.releases[0].clone();
        let others = authorities.iter().map(|name| {
            let mut sim = Simulator::empty();
            sim.endorse(&release);
            ((*name).to_owned(), sim)
        });
        Self::of(own.clone(), others.collect(), threshold)
    }

    fn of(own: Simulator, others: Vec<(String, Simulator)>, threshold: u32) -> Self {
        let authorities = others.iter().map(|(name, sim)| RequiredAuthority {
            namespace: name.parse().unwrap(),
            identity: sim.identity,
        });
        let requirement = Requirement {
            model: format!("{OWN}/{}", model()).parse().unwrap(),
            authorities: authorities.collect(),
            threshold,
        };
        let all = others.into_iter().chain([(OWN.to_owned(), own)]);
        Self {
            parties: all.map(|(name, sim)| (name, Party::new(sim))).collect(),
            requirement,
            by: By::Bundle,
            requests: Vec::new(),
        }
    }

    fn party(&mut self, name: &str) -> &mut Party {
        self.parties.get_mut(name).unwrap()
    }

    fn sim(&mut self, name: &str) -> &mut Simulator {
        &mut self.party(name).sim
    }

    fn release(&self) -> Release {
        self.parties[OWN].sim.releases[0].clone()
    }

    fn consensus(&self) -> Consensus {
        let others = self.parties.iter().filter(|(name, _)| *name != OWN);
        let known = others.filter(|(_, p)| !p.unknown).map(|(name, p)| Known {
            pin: Pin {
                first_use: p.first_use,
                ..pin(name, &p.sim)
            },
            state: p.state(),
            cached: p.cached.clone(),
        });
        Consensus::new(self.requirement.clone(), known.collect::<Vec<_>>()).unwrap()
    }

    /// A check at the time of the model's own namespace.
    fn check(&mut self) -> Checked {
        self.requests.clear();
        let own = &self.parties[OWN];
        let cached = own.cached.clone();
        let request = CheckRequest {
            model: model(),
            want: Want::Highest,
            route: match self.by {
                By::Bundle => Route::Bundle { cached },
                By::Static => Route::Static { cached },
            },
            require: BTreeSet::new(),
            consensus: self.consensus(),
        };
        let mut step = check(&pin(OWN, &own.sim), own.state(), request, own.sim.now);
        loop {
            step = match step {
                CheckStep::Fetch(wait) => {
                    let name = wait.namespace().to_string();
                    let party = &self.parties[&name];
                    let answer = match party.down {
                        true => Answer::Failed {
                            reason: "no answer".into(),
                        },
                        false => party.sim.serve(wait.wanted()),
                    };
                    let unchanged = matches!(answer, Answer::NotModified);
                    self.requests
                        .push((name, wait.wanted().resource.clone(), unchanged));
                    assert!(self.requests.len() < 300, "a check must end");
                    wait.answer(answer)
                }
                CheckStep::Persist(wait) => {
                    let (name, disk) = (
                        wait.namespace().to_string(),
                        serde_json::to_string(wait.state()).unwrap(),
                    );
                    self.party(&name).disk = disk;
                    wait.persisted()
                }
                CheckStep::Done(checked) => {
                    if let Checked::Permitted(approved) = &checked {
                        self.party(OWN).cached = approved.bundle().cloned();
                        for endorsement in approved.endorsements() {
                            let name = endorsement.authority().namespace.to_string();
                            self.party(&name).cached = endorsement.bundle().cloned();
                        }
                    }
                    return checked;
                }
            };
        }
    }

    /// Both routes permit.
    #[track_caller]
    fn permitted(&mut self) -> Box<Approved> {
        let mut other = self.clone();
        other.by = By::Static;
        permit(other.check());
        permit(self.check())
    }

    /// Both routes refuse alike.
    #[track_caller]
    fn refused(&mut self) -> Refusal {
        let mut other = self.clone();
        other.by = By::Static;
        let (by_bundle, by_static) = (refusal(self.check()), refusal(other.check()));
        assert_eq!(by_bundle.code, by_static.code);
        by_bundle
    }

    /// Both routes refuse since this authority does not count, for this reason.
    #[track_caller]
    fn missing(&mut self, name: &str, why: &str) {
        let refused = self.refused();
        assert_eq!(refused.code, "consensus-missing");
        assert!(
            refused.found.contains(&format!("without {name} ("))
                && refused.found.contains(&format!(": {why}: ")),
            "{refused}"
        );
    }
}

#[track_caller]
fn refusal(checked: Checked) -> Refusal {
    match checked {
        Checked::Refused(verdict) => {
            let (stage, refusal) = verdict.refusal().unwrap();
            assert_eq!(stage, Stage::Release, "{refusal}");
            refusal.clone()
        }
        Checked::Permitted(approved) => panic!("expected a refusal, found {:#?}", approved.verdict()),
        Checked::Deferred(verdict) => panic!("expected a refusal, found {verdict:#?}"),
    }
}

fn evidence<'v>(verdict: &'v Verdict, key: &str) -> &'v str {
    &verdict.stage(Stage::Release).unwrap().evidence[key]
}

#[test]
fn a_release_that_all_of_them_signed_is_permitted() {
    let mut world = World::new(&["regulator", "lab"], 2);
    let approved = world.permitted();
    let identities: BTreeSet<Sha256Digest> = ["regulator", "lab"]
        .map(|name| world.parties[name].sim.identity)
        .into();
    assert_eq!(approved.endorsed_by(), identities);
    let verdict = approved.verdict();
    assert_eq!(
        evidence(&verdict, "authorities"),
        "2 of 2 signed it too, 2 required"
    );
    let said = evidence(&verdict, "authority regulator");
    assert!(said.starts_with("signed: models/minilm/0/1.0.0.json, "), "{said}");
    assert!(said.contains(&approved.manifest_digest().to_hex()));
}

#[test]
fn each_authority_costs_one_request_which_is_304_where_nothing_changed() {
    let mut world = World::new(&["regulator", "lab"], 2);
    permit(world.check());
    let asked: Vec<_> = world.requests.iter().map(|(name, ..)| name.as_str()).collect();
    assert_eq!(asked, ["acme", "regulator", "lab"]);
    permit(world.check());
    assert_eq!(world.requests.len(), 3);
    assert!(
        world.requests.iter().all(|(.., unchanged)| *unchanged),
        "{:?}",
        world.requests
    );
    // By static paths: root, timestamp, snapshot, targets and the role each; then root and timestamp.
    let mut world = World::new(&["regulator"], 1);
    world.by = By::Static;
    let asked = |world: &World| world.requests.iter().filter(|(n, ..)| n == "regulator").count();
    permit(world.check());
    assert_eq!(asked(&world), 5);
    permit(world.check());
    assert_eq!(asked(&world), 2);
}

#[test]
fn an_authority_that_cannot_be_reached_does_not_count() {
    let mut world = World::new(&["regulator", "lab"], 2);
    world.party("regulator").down = true;
    world.missing("regulator", "unavailable");
    world.requirement.threshold = 1;
    let verdict = world.permitted().verdict();
    assert!(evidence(&verdict, "authority regulator").starts_with("does not count: "));
}

#[test]
fn one_signature_fewer_than_the_threshold_is_refused() {
    let mut world = World::new(&["regulator", "lab", "auditor"], 3);
    let mut silent = Simulator::empty();
    silent.release(draft("9.0.0", 9));
    world.requirement.authorities[1].identity = silent.identity;
    world.parties.insert("lab".into(), Party::new(silent));
    world.missing("lab", "not-endorsed");
    world.requirement.threshold = 2;
    world.permitted();
}

#[test]
fn one_namespace_cannot_be_named_twice_by_whatever_name() {
    let world = World::new(&["regulator", "lab"], 2);
    let twice = |change: fn(&mut Requirement)| {
        let mut requirement = world.requirement.clone();
        change(&mut requirement);
        Consensus::new(requirement, []).unwrap_err().to_string()
    };
    let by_name = twice(|r| r.authorities[1].namespace = r.authorities[0].namespace.clone());
    let by_identity = twice(|r| r.authorities[1].identity = r.authorities[0].identity);
    for error in [by_name, by_identity] {
        assert!(error.contains("each namespace once"), "{error}");
    }
    for threshold in [0, 3] {
        let mut requirement = world.requirement.clone();
        requirement.threshold = threshold;
        assert!(Consensus::new(requirement, []).is_err());
    }
    let own = twice(|r| r.authorities[0].namespace = OWN.parse().unwrap());
    assert!(own.contains("beside the model's own"), "{own}");
}

#[test]
fn the_models_own_namespace_under_another_name_does_not_count() {
    let own = Simulator::new();
    let mut world = World::of(own.clone(), vec![("mirror".into(), own)], 1);
    world.missing("mirror", "not-independent");
}

#[test]
fn two_authorities_with_a_common_key_count_once() {
    let own = Simulator::new();
    let (mut regulator, mut lab) = (Simulator::empty(), Simulator::empty());
    lab.keys.insert(
        "model".into(),
        vec![new_key(), regulator.keys["model"][0].clone()],
    );
    for sim in [&mut regulator, &mut lab] {
        sim.endorse(&own.releases[0]);
    }
    let others = vec![("regulator".into(), regulator), ("lab".into(), lab)];
    let mut world = World::of(own, others, 2);
    world.missing("lab", "not-independent");
    world.requirement.threshold = 1;
    world.permitted();
}

#[test]
fn an_authority_with_a_key_of_the_publisher_does_not_count() {
    let own = Simulator::new();
    let mut keys = Simulator::empty().keys;
    keys.get_mut("targets").unwrap()[2] = own.keys["model"][1].clone();
    let mut regulator = Simulator::with_keys(keys);
    regulator.endorse(&own.releases[0]);
    let mut world = World::of(own, vec![("regulator".into(), regulator)], 1);
    world.missing("regulator", "not-independent");
}

#[test]
fn the_keys_of_a_second_authority_let_pass_or_stop_what_the_first_signed() {
    // With every key of the second authority a thief lets pass what the first one signed, or makes devices refuse it.
    let mut world = World::new(&["regulator"], 1);
    assert_eq!(
        world.permitted().manifest_digest(),
        sha256(&world.release().manifest)
    );
    let mut refusing = world.clone();
    let mut other = world.release();
    other.manifest.push(b'\n');
    refusing.sim("regulator").endorse(&other);
    assert_eq!(refusing.refused().code, "consensus-contradicted");
    // He cannot make them take what the first one did not sign, though his own authority lists it.
    let thief = world.sim("regulator");
    let mut made_up = draft("9.9.9", 9);
    made_up.signers = vec![thief.signer.clone()];
    thief.release(made_up);
    let approved = world.permitted();
    assert_eq!(approved.manifest().version, version("1.0.0"));
    let mut forged = world.clone();
    let keys = forged.sim("regulator").keys.clone();
    let own = forged.sim(OWN);
    own.keys.insert("model".into(), keys["model"].clone());
    own.release(draft("9.9.9", 9));
    assert_eq!(forged.refused().code, "signature-threshold");
}

#[test]
fn other_bytes_under_the_same_path_refuse_however_many_agree() {
    let mut world = World::new(&["regulator", "lab"], 1);
    let mut other = world.release();
    other.manifest.push(b'\n');
    let mut regulator = Simulator::empty();
    regulator.endorse(&other);
    world.requirement.authorities[0].identity = regulator.identity;
    world.parties.insert("regulator".into(), Party::new(regulator));
    let refused = world.refused();
    assert_eq!(refused.code, "consensus-contradicted");
    assert!(refused.found.contains("regulator lists"), "{refused}");
    assert!(
        refused.found.contains(&sha256(&other.manifest).to_hex()),
        "{refused}"
    );
}

#[test]
fn the_same_digest_with_another_length_is_a_contradiction() {
    let mut world = World::new(&["regulator"], 1);
    let path = world.release().path;
    world.sim("regulator").edit("model.minilm.0", |signed| {
        signed["targets"][&path]["length"] = json!(1);
    });
    assert_eq!(world.refused().code, "consensus-contradicted");
}

#[test]
fn the_same_bytes_under_another_path_do_not_count() {
    for path in ["models/minilm/0/1.0.1.json", "models/minilm/0/a/1.0.0.json"] {
        let mut world = World::new(&["regulator"], 1);
        let own = world.release().path;
        world.sim("regulator").edit("model.minilm.0", |signed| {
            let entry = signed["targets"].as_object_mut().unwrap().remove(&own).unwrap();
            signed["targets"][path] = entry;
        });
        world.missing("regulator", "not-endorsed");
    }
}

#[test]
fn an_endorsement_of_another_model_or_block_does_not_count() {
    for (role, path) in [
        ("model.other.0", "models/other/0/1.0.0.json"),
        ("model.minilm.1", "models/minilm/0/1.0.0.json"),
    ] {
        let mut world = World::new(&[], 1);
        let mut regulator = Simulator::empty();
        let release = Release {
            role: role.into(),
            path: path.into(),
            ..world.release()
        };
        regulator.endorse(&release);
        world.requirement.authorities.push(RequiredAuthority {
            namespace: "regulator".parse().unwrap(),
            identity: regulator.identity,
        });
        world.parties.insert("regulator".into(), Party::new(regulator));
        world.missing("regulator", "not-endorsed");
    }
}

#[test]
fn an_entry_with_another_order_does_not_count() {
    let mut world = World::new(&["regulator"], 1);
    let path = world.release().path;
    world.sim("regulator").edit("model.minilm.0", |signed| {
        signed["targets"][&path]["custom"]["x-assay"]["order"]["counter"] = json!(7);
    });
    world.missing("regulator", "wrong-release");
}

#[test]
fn an_endorsement_that_its_authority_revoked_does_not_count() {
    for by_digest in [true, false] {
        let mut world = World::new(&["regulator"], 1);
        world.permitted();
        let manifest = sha256(&world.release().manifest);
        let revoked = match by_digest {
            true => json!({"model": "minilm", "manifest": manifest}),
            false => json!({"model": "minilm", "version": "1.0.0", "reason": "evaluation withdrawn"}),
        };
        let status = json!({"v": 1, "issued": "2026-12-01T00:00:00Z", "revoked_releases": [revoked]});
        world.sim("regulator").status(&status);
        world.missing("regulator", "revoked");
    }
}

#[test]
fn an_authority_whose_repository_is_frozen_does_not_count() {
    let mut world = World::new(&["regulator"], 1);
    world.permitted();
    // Its registry replays what it had; the model's own goes on.
    let later = after_days(world.parties[OWN].sim.now, 2);
    let own = world.sim(OWN);
    own.now = later;
    own.publish();
    world.missing("regulator", "expired");
}

#[test]
fn an_authority_whose_repository_is_rolled_back_does_not_count() {
    let mut world = World::new(&["regulator"], 1);
    let before = world.sim("regulator").clone();
    world.sim("regulator").publish();
    permit(world.check());
    // Its own floors persist, also over a check that is refused.
    world.party("regulator").sim = before;
    for _ in 0..2 {
        world.party("regulator").cached = None;
        world.missing("regulator", "rollback");
    }
}

#[test]
fn another_namespaces_repository_in_an_authoritys_place_does_not_count() {
    let mut world = World::new(&["regulator", "lab"], 2);
    // The hostile registry of the regulator serves what the lab signed.
    let (disk, lab) = (world.party("regulator").disk.clone(), world.sim("lab").clone());
    let identity = world.parties["regulator"].sim.identity;
    let party = world.party("regulator");
    party.sim = lab;
    party.sim.identity = identity;
    party.disk = disk;
    world.missing("regulator", "signature-threshold");
}

#[test]
fn a_device_without_a_pin_counts_nobody() {
    let mut world = World::new(&["regulator"], 1);
    world.party("regulator").unknown = true;
    world.missing("regulator", "not-trusted");
    assert!(world.requests.iter().all(|(name, ..)| name == OWN));
}

#[test]
fn a_namespace_that_took_an_authoritys_name_does_not_count() {
    let mut world = World::new(&["regulator"], 1);
    world.requirement.authorities[0].identity = Sha256Digest::new([7; 32]);
    world.missing("regulator", "other-identity");
}

#[test]
fn an_authority_that_was_trusted_on_first_use_says_so() {
    let mut world = World::new(&["regulator"], 1);
    let said = |world: &mut World| {
        let verdict = world.permitted().verdict();
        let said = evidence(&verdict, "authority regulator");
        said.ends_with("its identity was taken from its registry itself")
    };
    assert!(!said(&mut world));
    world.party("regulator").first_use = true;
    assert!(said(&mut world));
}

#[test]
fn an_endorsed_manifest_is_no_release_of_the_endorser() {
    let world = World::new(&["regulator"], 1);
    let regulator = &world.parties["regulator"].sim;
    let mut device = Device::new(regulator, By::Static);
    assert_eq!(device.refused(regulator), code(Stage::Release, "wrong-release"));
}

#[test]
fn the_authorities_states_persist_each_by_itself() {
    let mut world = World::new(&["regulator", "lab"], 2);
    permit(world.check());
    for party in world.parties.values() {
        let state = party.state();
        assert_eq!(state.root, text(&party.sim.roots[0]));
        assert_eq!(state.snapshot, Some(text(&party.sim.current["snapshot"])));
        assert_eq!(state.timestamp, Some(text(&party.sim.current["timestamp"])));
    }
}

#[test]
fn offline_a_release_counts_for_what_it_was_activated_with() {
    let mut world = World::new(&["regulator", "lab"], 2);
    let approved = permit(world.check());
    let sim = &world.parties[OWN].sim;
    let verify = |endorsed_by: &BTreeSet<Sha256Digest>| {
        let manifest = approved.manifest();
        let present: Vec<_> = manifest
            .files
            .iter()
            .map(|f| PresentFile {
                path: f.path.to_string(),
                size: f.size,
            })
            .collect();
        let again = Content::recheck(
            &pin(OWN, sim),
            approved.manifest_bytes(),
            approved.manifest_digest(),
            &present,
            sim.now,
        );
        let mut driver = Driver::default();
        for (i, file) in manifest.files.iter().enumerate() {
            driver.files.insert(i, sim.blobs[&file.sha256].clone());
        }
        let mut content = again.unwrap().under(Some(&world.requirement), endorsed_by);
        driver.run(&mut content, |_| 0)
    };
    let all = approved.endorsed_by();
    assert_eq!(verify(&all).outcome, assay_schema::Outcome::Permit);
    let one: BTreeSet<_> = all.iter().take(1).copied().collect();
    for fewer in [one, BTreeSet::new()] {
        let verdict = verify(&fewer);
        assert_eq!(decided(&verdict), code(Stage::Release, "consensus-missing"));
        assert_eq!(
            *outcome(&verdict, Stage::Content),
            assay_schema::verdict::StageOutcome::Passed
        );
    }
}
