//! Delegation escape: a role's word counts for what was delegated to it, and for nothing else.

use assay_schema::tuf::{FIELD, ModelRole};
use assay_schema::{ReleaseOrder, Stage};
use serde_json::{Value, json};

use crate::support::simulator::{ids, listed};
use crate::support::*;

const ROLE: &str = "model.minilm.0";
const PATH: &str = "models/minilm/0/1.0.0.json";

fn delegations(sim: &mut Simulator, change: impl FnOnce(&mut Vec<Value>)) {
    sim.edit("targets", |signed| {
        change(signed["delegations"]["roles"].as_array_mut().unwrap());
    });
}

fn everywhere(sim: &Simulator, expected: (Stage, &str)) {
    for by in ROUTES {
        assert_eq!(
            Device::new(sim, by).refused(sim),
            code(expected.0, expected.1),
            "{by:?}"
        );
    }
}

#[test]
fn a_path_that_another_delegation_takes_first_is_refused() {
    let mut sim = Simulator::new();
    delegations(&mut sim, |roles| {
        let mut first = roles[0].clone();
        first["name"] = json!("somebody-else");
        first["paths"] = json!(["models/*/0/*"]);
        roles.insert(0, first);
    });
    everywhere(&sim, (Stage::Release, "malformed"));
}

#[test]
fn a_role_without_its_path_is_refused() {
    let mut sim = Simulator::new();
    delegations(&mut sim, |roles| roles[0]["paths"] = json!(["models/minilm/7/*"]));
    everywhere(&sim, (Stage::Release, "malformed"));
}

#[test]
fn a_delegation_that_readers_could_take_for_another_is_refused() {
    // TUF 4.5: exactly one of paths and path_hash_prefixes. A reader that takes the latter gives the role every path.
    for (paths, prefixes) in [
        (true, Some(json!([""]))),
        (false, Some(json!([""]))),
        (false, None),
    ] {
        let mut sim = Simulator::new();
        delegations(&mut sim, |roles| {
            let role = roles[0].as_object_mut().unwrap();
            if !paths {
                role.remove("paths");
            }
            role.extend(prefixes.map(|value| ("path_hash_prefixes".to_owned(), value)));
        });
        everywhere(&sim, (Stage::Freshness, "malformed"));
    }
}

#[test]
fn a_delegation_that_is_not_terminating_is_refused() {
    let mut sim = Simulator::new();
    delegations(&mut sim, |roles| roles[0]["terminating"] = json!(false));
    everywhere(&sim, (Stage::Release, "malformed"));
}

#[test]
fn two_delegations_of_one_name_are_refused() {
    // The first has a thief's keys and a path of no interest, the second the path and an epoch that the thief wants.
    let mut sim = Simulator::new();
    let thief = vec![new_key(), new_key()];
    sim.edit("targets", |signed| {
        let keys = signed["delegations"]["keys"].as_object_mut().unwrap();
        keys.extend(listed(&thief).as_object().unwrap().clone());
        let roles = signed["delegations"]["roles"].as_array_mut().unwrap();
        let mut first = roles[0].clone();
        first["keyids"] = json!(ids(&thief));
        first["paths"] = json!(["elsewhere/*"]);
        roles.insert(0, first);
    });
    sim.keys.insert("model".into(), thief);
    sim.bump(ROLE);
    sim.publish();
    everywhere(&sim, (Stage::Freshness, "malformed"));
}

#[test]
fn a_release_that_the_top_level_lists_too_is_refused() {
    let mut sim = Simulator::new();
    let entry = sim.signed[ROLE]["targets"][PATH].clone();
    sim.edit("targets", |signed| signed["targets"][PATH] = entry);
    everywhere(&sim, (Stage::Release, "malformed"));
}

#[test]
fn a_role_that_delegates_on_is_refused() {
    let mut sim = Simulator::new();
    let delegations = sim.signed["targets"]["delegations"].clone();
    sim.edit(ROLE, |signed| signed["delegations"] = delegations);
    everywhere(&sim, (Stage::Release, "malformed"));
}

#[test]
fn an_epoch_above_the_delegations_is_refused() {
    let mut sim = Simulator::new();
    let mut raised = draft("2.0.0", 2);
    raised.order = (2, 2);
    sim.release(raised);
    everywhere(&sim, (Stage::Release, "malformed"));
    sim.delegate(
        &ModelRole {
            model: model(),
            block: 0,
        },
        2,
    );
    for by in ROUTES {
        let approved = Device::new(&sim, by).permitted(&sim);
        assert_eq!(approved.manifest().order, ReleaseOrder::new(2, 2).unwrap());
    }
}

#[test]
fn a_delegation_without_readable_terms_grants_nothing() {
    for terms in [
        json!(null),
        json!({}),
        json!({"max_epoch": 0}),
        json!({"max_epoch": "9"}),
    ] {
        let mut sim = Simulator::new();
        delegations(&mut sim, |roles| roles[0][FIELD] = terms);
        everywhere(&sim, (Stage::Release, "malformed"));
    }
}

#[test]
fn an_order_of_another_block_is_refused() {
    let mut sim = Simulator::new();
    sim.edit(ROLE, |signed| {
        signed["targets"][PATH]["custom"][FIELD]["order"] = json!({"epoch": 1, "counter": 100});
    });
    everywhere(&sim, (Stage::Release, "malformed"));
}

#[test]
fn an_order_in_the_note_other_than_the_manifests_is_refused() {
    let mut sim = Simulator::new();
    let mut lifted = draft("2.0.0", 2);
    lifted.noted_order = Some((1, 99));
    sim.release(lifted);
    everywhere(&sim, (Stage::Release, "wrong-release"));
}

#[test]
fn a_release_without_an_order_is_never_the_highest_and_refused_by_name() {
    let mut sim = Simulator::new();
    sim.edit(ROLE, |signed| {
        signed["targets"][PATH].as_object_mut().unwrap().remove("custom");
    });
    everywhere(&sim, (Stage::Release, "no-release"));
    for by in ROUTES {
        assert_eq!(
            Device::new(&sim, by).wants("1.0.0").refused(&sim),
            code(Stage::Release, "malformed")
        );
    }
}

#[test]
fn unknown_model_and_version_are_refused() {
    let sim = Simulator::new();
    for by in ROUTES {
        assert_eq!(
            Device::new(&sim, by).wants("7.0.0").refused(&sim),
            code(Stage::Release, "no-release")
        );
    }
    everywhere(&Simulator::empty(), (Stage::Release, "no-release"));
}
