//! Proposals: what the registry keeps, whose signatures it takes, and what it makes of those that nobody goes on with.

use std::sync::{Arc, Mutex};

use actix_web::http::Method;
use assay_schema::Sha256Digest;
use assay_schema::api::{Page, Publication, Published, Scope, Visibility};
use assay_schema::limits::MAX_PROPOSALS;
use assay_schema::proposal::{AddSignatures, ProposalDetail, ProposalInfo, ProposalStanding, RoleSignature};
use assay_server::steps::{Observer, Step, Steps, Stopped};
use ed25519_dalek::SigningKey;
use jiff::SignedDuration;
use serde_json::{Value, json};

use crate::authority::{Authority, key, publication, role, sha256, sign};
use crate::support::{Answer, Registry};

const PROPOSALS: &str = "/v1/namespaces/acme/proposals";

/// A signed file in the one form that proposals have.
fn file(signed: &Value, keys: &[SigningKey]) -> String {
    let mut value: Value = serde_json::from_str(&sign(signed, keys)).unwrap();
    let list = value["signatures"].as_array_mut().unwrap();
    list.sort_by_key(|s| s["keyid"].as_str().unwrap().to_owned());
    value.sort_all_objects();
    value.to_string()
}

async fn world() -> (Registry, Authority) {
    let registry = Registry::new().await;
    let authority = registry.namespace("acme", Visibility::Public).await;
    (registry, authority)
}

/// The targets that stand, as the registry serves them.
async fn targets(registry: &Registry) -> String {
    let path = "/tuf/acme/metadata/1.targets.json";
    String::from_utf8(registry.get(path).await.expect(200).body.to_vec()).unwrap()
}

/// The next targets, which delegate another model; signed by these.
async fn next(registry: &Registry, authority: &Authority, model: &str, keys: &[SigningKey]) -> Publication {
    let signed = authority.targets_value(2, &[role("minilm"), role(model)], &[]);
    let parent = targets(registry).await;
    publication(&[("targets", &file(&signed, keys), Some(&parent))])
}

async fn propose(registry: &Registry, proposal: &Publication) -> Answer {
    registry.as_admin(Method::POST, PROPOSALS, proposal).await
}

async fn add(registry: &Registry, id: &Sha256Digest, signatures: Vec<RoleSignature>) -> Answer {
    let body = AddSignatures {
        roles: [("targets".to_owned(), signatures)].into(),
    };
    let path = format!("{PROPOSALS}/{id}/signatures");
    registry.as_admin(Method::POST, &path, &body).await
}

async fn get(registry: &Registry, id: &Sha256Digest) -> Answer {
    registry
        .as_admin(Method::GET, &format!("{PROPOSALS}/{id}"), &())
        .await
}

async fn list(registry: &Registry) -> Vec<ProposalInfo> {
    let page: Page<ProposalInfo> = registry
        .as_admin(Method::GET, PROPOSALS, &())
        .await
        .expect(200)
        .json();
    page.items
}

/// The signature of a key over the targets of a proposal.
fn by(publication: &Publication, key: &SigningKey) -> RoleSignature {
    let text = &publication.roles["targets"].metadata;
    let value: Value = serde_json::from_str(text).unwrap();
    let signed: Value = serde_json::from_str(&sign(&value["signed"], std::slice::from_ref(key))).unwrap();
    serde_json::from_value(signed["signatures"][0].clone()).unwrap()
}

#[actix_web::test]
async fn signatures_come_together_and_whoever_has_them_publishes() {
    let (registry, authority) = world().await;
    let [first, second] = [0, 1].map(|n| authority.targets_keys[n].clone());
    let proposal = next(&registry, &authority, "other", std::slice::from_ref(&first)).await;
    let made: ProposalDetail = propose(&registry, &proposal).await.expect(201).json();
    let id = made.proposal.id;
    assert_eq!(made.publication, proposal);
    let threshold = &made.proposal.files["targets"].thresholds[0];
    assert_eq!(
        (threshold.threshold, threshold.signed, threshold.keys.len()),
        (2, 1, 2)
    );
    // The same again is the same proposal; it is not published by being kept.
    let again: ProposalDetail = propose(&registry, &proposal).await.expect(200).json();
    assert_eq!(again.proposal.files, made.proposal.files);
    assert_eq!(list(&registry).await.len(), 1);
    registry.publish("acme", &proposal).await.expect(422);

    let signed: ProposalDetail = add(&registry, &id, vec![by(&proposal, &second)])
        .await
        .expect(200)
        .json();
    assert_eq!(signed.proposal.files["targets"].thresholds[0].signed, 2);
    let kept: ProposalDetail = get(&registry, &id).await.expect(200).json();
    assert_eq!(kept, signed);
    let done: Published = registry
        .publish("acme", &kept.publication)
        .await
        .expect(200)
        .json();
    assert_eq!(done.roles["targets"].version, 2);
    let published: ProposalDetail = get(&registry, &id).await.expect(200).json();
    assert_eq!(published.proposal.standing, ProposalStanding::Published);
    // A signature that comes too late is no failure of its signer.
    add(&registry, &id, vec![by(&proposal, &second)])
        .await
        .expect(200);
}

#[actix_web::test]
async fn signers_at_once_lose_no_signature() {
    let (registry, authority) = world().await;
    let root_keys = authority.root_keys.clone();
    // Five new root keys, all of which have to sign the root that lists them.
    let new: Vec<_> = (40..45).map(key).collect();
    let own = registry.keys("acme").await;
    let mut value = Authority::root_value(&own, &new, &authority.targets_keys, &authority.expires);
    value["version"] = json!(2);
    let sent = publication(&[("root", &file(&value, &root_keys[..1]), Some(&authority.root))]);
    let made: ProposalDetail = propose(&registry, &sent).await.expect(201).json();
    let path = format!("{PROPOSALS}/{}/signatures", made.proposal.id);
    let one = |key: &SigningKey| {
        let signed: Value = serde_json::from_str(&sign(&value, std::slice::from_ref(key))).unwrap();
        let signature: RoleSignature = serde_json::from_value(signed["signatures"][0].clone()).unwrap();
        AddSignatures {
            roles: [("root".to_owned(), vec![signature])].into(),
        }
    };
    let bodies: Vec<_> = new.iter().chain(&root_keys[1..]).map(one).collect();
    let all = bodies
        .iter()
        .map(|body| registry.as_admin(Method::POST, &path, body));
    for answer in futures_util::future::join_all(all).await {
        answer.expect(200);
    }
    let kept: ProposalDetail = get(&registry, &made.proposal.id).await.expect(200).json();
    let signed: Vec<_> = kept.proposal.files["root"]
        .thresholds
        .iter()
        .map(|t| t.signed)
        .collect();
    assert_eq!(signed, [2, 5]);
    registry.publish("acme", &kept.publication).await.expect(200);
}

#[actix_web::test]
async fn refuses_a_proposal_that_no_standing_key_signed() {
    let (registry, authority) = world().await;
    let nobody = next(&registry, &authority, "other", &[]).await;
    let refused = propose(&registry, &nobody)
        .await
        .expect(422)
        .problem("metadata-refused");
    assert!(refused.detail.contains("at least one key"), "{}", refused.detail);

    // A stranger's own root lists the stranger's keys: that makes none of them a signer.
    let strangers = [key(70), key(71)];
    let own = registry.keys("acme").await;
    let mut value = Authority::root_value(&own, &strangers, &authority.targets_keys, &authority.expires);
    value["version"] = json!(2);
    let sent = publication(&[("root", &file(&value, &strangers), Some(&authority.root))]);
    let refused = propose(&registry, &sent)
        .await
        .expect(422)
        .problem("metadata-refused");
    assert!(refused.detail.contains("at least one key"), "{}", refused.detail);
    assert!(list(&registry).await.is_empty());
}

#[actix_web::test]
async fn refuses_signatures_of_unlisted_keys_and_of_other_files() {
    let (registry, authority) = world().await;
    let [first, second] = [0, 1].map(|n| authority.targets_keys[n].clone());
    let proposal = next(&registry, &authority, "other", std::slice::from_ref(&first)).await;
    let other = next(&registry, &authority, "third", std::slice::from_ref(&second)).await;
    let junk = next(&registry, &authority, "other", &[first.clone(), key(70)]).await;
    propose(&registry, &junk)
        .await
        .expect(422)
        .problem("metadata-refused");

    let made: ProposalDetail = propose(&registry, &proposal).await.expect(201).json();
    let id = made.proposal.id;
    let (stranger, swapped) = (by(&proposal, &key(70)), by(&other, &second));
    let renamed = RoleSignature {
        keyid: by(&proposal, &second).keyid,
        ..by(&proposal, &first)
    };
    let short = RoleSignature {
        sig: "00".to_owned(),
        ..by(&proposal, &second)
    };
    for bad in [stranger, swapped, renamed, short] {
        // None is taken, not even the one beside it that is right.
        let answer = add(&registry, &id, vec![by(&proposal, &second), bad.clone()]).await;
        let refused = answer.expect(422).problem("metadata-refused");
        assert!(refused.detail.contains(&bad.keyid), "{}", refused.detail);
    }
    // A key's signature again costs no verification, and is none.
    let flood = vec![by(&proposal, &second); 2_000];
    let refused = add(&registry, &id, flood).await.expect(422);
    let refused = refused.problem("metadata-refused");
    assert!(
        refused.detail.contains(&by(&proposal, &second).keyid),
        "{}",
        refused.detail
    );
    let path = format!("{PROPOSALS}/{id}/signatures");
    for (role, status) in [("root", 422), ("snapshot", 422)] {
        let body = json!({"roles": {role: [by(&proposal, &second)]}});
        registry.as_admin(Method::POST, &path, &body).await.expect(status);
    }
    let kept: ProposalDetail = get(&registry, &id).await.expect(200).json();
    assert_eq!(kept.proposal.files["targets"].signatures.len(), 1);
}

#[actix_web::test]
async fn refuses_what_could_never_be_published() {
    let (registry, authority) = world().await;
    let parent = targets(&registry).await;
    let keys = &authority.targets_keys[..1];
    let good = authority.targets_value(2, &[role("minilm"), role("other")], &[]);
    let of = |value: &Value, parent: &str| publication(&[("targets", &file(value, keys), Some(parent))]);

    let stale = propose(&registry, &of(&good, "another file")).await;
    let problem = stale.expect(409).problem("stale-parent");
    assert_eq!(problem.current["targets"].sha256, sha256(parent.as_bytes()));

    let mut cases = Vec::new();
    let mut value = good.clone();
    value["version"] = json!(3);
    cases.push(("a version that skips one", of(&value, &parent)));
    let mut value = good.clone();
    value["x-assay"]["namespace"] = json!(sha256(b"another"));
    cases.push(("another namespace", of(&value, &parent)));
    let mut value = good.clone();
    value["x-assay"]["role"] = json!("model.minilm.0");
    cases.push(("another role", of(&value, &parent)));
    let spaced = format!("{} ", file(&good, keys));
    cases.push((
        "another form",
        publication(&[("targets", &spaced, Some(&parent))]),
    ));
    let manifest = authority.manifest("minilm", "1.0.0", 1, &[b"weights"]);
    let model = file(
        &authority.model_value(&role("minilm"), 1, &[&manifest]),
        &authority.publisher,
    );
    cases.push((
        "a release that is no candidate",
        publication(&[("model.minilm.0", &model, None)]),
    ));
    let undelegated = file(
        &authority.model_value(&role("nobody"), 1, &[]),
        &authority.publisher,
    );
    cases.push((
        "a role that nothing delegates",
        publication(&[("model.nobody.0", &undelegated, None)]),
    ));
    for (case, sent) in cases {
        let answer = propose(&registry, &sent).await;
        assert_eq!(answer.status, 422, "{case}: {answer:?}");
    }
    assert!(list(&registry).await.is_empty());
}

#[actix_web::test]
async fn a_superseded_proposal_takes_no_signatures_and_is_swept() {
    let (registry, authority) = world().await;
    let keys = authority.targets_keys.clone();
    let lost = next(&registry, &authority, "other", &keys[..1]).await;
    let made: ProposalDetail = propose(&registry, &lost).await.expect(201).json();
    let id = made.proposal.id;
    let won = next(&registry, &authority, "third", &keys).await;
    registry.publish("acme", &won).await.expect(200);

    let kept: ProposalDetail = get(&registry, &id).await.expect(200).json();
    assert_eq!(kept.proposal.standing, ProposalStanding::Superseded);
    assert!(kept.proposal.files["targets"].thresholds.is_empty());
    let late = add(&registry, &id, vec![by(&lost, &keys[1])]).await;
    late.expect(409).problem("stale-parent");
    registry.publish("acme", &lost).await.expect(409);

    let swept = || assay_server::publish::collect::sweep(&registry.state, registry.now());
    registry.pass(SignedDuration::from_hours(24 * 6));
    assert_eq!(swept().await.unwrap(), 0);
    registry.pass(SignedDuration::from_hours(24 * 2));
    assert_eq!(swept().await.unwrap(), 1);
    get(&registry, &id).await.expect(404);
}

#[actix_web::test]
async fn an_open_proposal_is_kept_until_nobody_goes_on_with_it() {
    let (registry, authority) = world().await;
    let keys = authority.targets_keys.clone();
    let proposal = next(&registry, &authority, "other", &keys[..1]).await;
    let made: ProposalDetail = propose(&registry, &proposal).await.expect(201).json();
    let swept = || assay_server::publish::collect::sweep(&registry.state, registry.now());
    registry.pass(SignedDuration::from_hours(24 * 80));
    assert_eq!(swept().await.unwrap(), 0);
    add(&registry, &made.proposal.id, vec![by(&proposal, &keys[1])])
        .await
        .expect(200);
    registry.pass(SignedDuration::from_hours(24 * 80));
    assert_eq!(swept().await.unwrap(), 0);
    registry.pass(SignedDuration::from_hours(24 * 20));
    assert_eq!(swept().await.unwrap(), 1);
}

#[actix_web::test]
async fn void_proposals_make_room_and_open_ones_do_not() {
    let (registry, authority) = world().await;
    let keys = authority.targets_keys.clone();
    let mut last = None;
    for n in 0..MAX_PROPOSALS {
        last = Some(next(&registry, &authority, &format!("m{n}"), &keys[..1]).await);
        propose(&registry, last.as_ref().unwrap()).await.expect(201);
    }
    let more = next(&registry, &authority, "more", &keys[..1]).await;
    propose(&registry, &more)
        .await
        .expect(409)
        .problem("too-many-proposals");
    // One that is kept takes signatures all the same.
    propose(&registry, last.as_ref().unwrap()).await.expect(200);
    assert_eq!(list(&registry).await.len() as u32, MAX_PROPOSALS);

    let parent = targets(&registry).await;
    let second = authority.targets(2, &[role("minilm")], &[]);
    let sent = publication(&[("targets", &second, Some(&parent))]);
    registry.publish("acme", &sent).await.expect(200);
    let value = authority.targets_value(3, &[role("minilm"), role("more")], &[]);
    let sent = publication(&[("targets", &file(&value, &keys[..1]), Some(&second))]);
    propose(&registry, &sent).await.expect(201);
    assert_eq!(list(&registry).await.len(), 1);
}

#[actix_web::test]
async fn only_a_token_that_publishes_sees_signs_or_withdraws_proposals() {
    let (registry, authority) = world().await;
    let proposal = next(&registry, &authority, "other", &authority.targets_keys[..1]).await;
    let made: ProposalDetail = propose(&registry, &proposal).await.expect(201).json();
    let token = registry.token(Scope::Read).await;
    let one = format!("{PROPOSALS}/{}", made.proposal.id);
    let signatures = format!("{one}/signatures");
    for (method, path) in [
        (Method::GET, PROPOSALS),
        (Method::POST, PROPOSALS),
        (Method::GET, one.as_str()),
        (Method::DELETE, one.as_str()),
        (Method::POST, signatures.as_str()),
    ] {
        let body = "{\"roles\": {}}";
        registry
            .send(method.clone(), path, None, &[], body)
            .await
            .expect(401);
        registry
            .send(method, path, Some(&token), &[], body)
            .await
            .expect(403);
    }
    registry.as_admin(Method::DELETE, &one, &()).await.expect(204);
    registry.as_admin(Method::DELETE, &one, &()).await.expect(404);
    get(&registry, &made.proposal.id).await.expect(404);
    let nowhere = "/v1/namespaces/nobody/proposals";
    registry.as_admin(Method::GET, nowhere, &()).await.expect(404);
}

/// Stops once behind a step, and remembers every step.
struct StopBehind {
    step: Step,
    seen: Mutex<Vec<Step>>,
}

impl Observer for StopBehind {
    fn done(&self, step: Step) -> Result<(), Stopped> {
        let mut seen = self.seen.lock().unwrap();
        seen.push(step);
        match step == self.step && seen.iter().filter(|s| **s == step).count() == 1 {
            true => Err(Stopped(step)),
            false => Ok(()),
        }
    }
}

#[actix_web::test]
async fn a_stop_behind_any_step_of_collecting_loses_nothing() {
    for step in Step::COLLECT {
        let (mut registry, authority) = world().await;
        let keys = authority.targets_keys.clone();
        let proposal = next(&registry, &authority, "other", &keys[..1]).await;
        let observer = Arc::new(StopBehind {
            step,
            seen: Mutex::default(),
        });
        registry.state.steps = Steps::observed_by(observer.clone());
        let transactions = registry.state.db.writes().get();
        if step == Step::C1 {
            propose(&registry, &proposal).await.expect(500);
        }
        let made: ProposalDetail = propose(&registry, &proposal).await.json();
        let id = made.proposal.id;
        let second = vec![by(&proposal, &keys[1])];
        if step == Step::C2 {
            add(&registry, &id, second.clone()).await.expect(500);
            // Whoever asks next finds the signature, and may publish.
            let kept: ProposalDetail = get(&registry, &id).await.expect(200).json();
            assert_eq!(kept.proposal.files["targets"].signatures.len(), 2);
        }
        let signed: ProposalDetail = add(&registry, &id, second).await.expect(200).json();
        assert_eq!(signed.proposal.files["targets"].signatures.len(), 2);
        let path = format!("{PROPOSALS}/{id}");
        let expected = if step == Step::C3 { 500 } else { 204 };
        registry
            .as_admin(Method::DELETE, &path, &())
            .await
            .expect(expected);
        registry.as_admin(Method::DELETE, &path, &()).await.expect(404);
        let seen = observer.seen.lock().unwrap();
        assert!(Step::COLLECT.iter().all(|step| seen.contains(step)), "{seen:?}");
        // The second DELETE found nothing and committed nothing.
        assert_eq!(registry.state.db.writes().get() - transactions, seen.len() as u64);
    }
}
