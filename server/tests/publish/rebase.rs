//! Publications next to what stands: rebasing, other publishers, roles that stay.

use std::collections::BTreeMap;

use assay_schema::api::{Published, Visibility};
use serde_json::json;

use crate::authority::{Authority, key, publication, role, sha256, sign};
use crate::support::Registry;

const NAME: &str = "model.minilm.0";

async fn acme() -> (Registry, Authority) {
    let registry = Registry::new().await;
    let authority = registry.namespace("acme", Visibility::Public).await;
    (registry, authority)
}

#[actix_web::test]
async fn an_older_publication_again_gives_its_releases_although_others_came_behind_it() {
    let (registry, authority) = acme().await;
    let (first, file) = registry.first_release("acme", &authority).await;
    let second = registry
        .candidate("acme", &authority, "1.1.0", 2, &[b"weights of two"])
        .await;
    let next = authority.model(&role("minilm"), 2, &[&first, &second]);
    registry
        .publish("acme", &publication(&[(NAME, &next, Some(&file))]))
        .await
        .expect(200);
    let again: Published = registry
        .publish("acme", &publication(&[(NAME, &file, None)]))
        .await
        .expect(200)
        .json();
    assert_eq!(again.releases, [first.version]);
    assert_eq!(again.roles[NAME].version, 2);
}

#[actix_web::test]
async fn refuses_targets_that_take_a_models_role_away() {
    let (registry, authority) = acme().await;
    registry.first_release("acme", &authority).await;
    let first = authority.targets(1, &[role("minilm")], &[]);
    let without = authority.targets(2, &[], &[]);
    let sent = publication(&[("targets", &without, Some(&first))]);
    registry
        .publish("acme", &sent)
        .await
        .expect(422)
        .problem("metadata-refused");
    // Other keys for the role, without a file that they signed.
    let stranger = Authority {
        publisher: vec![key(8)],
        ..registry.namespace("other", Visibility::Public).await
    };
    let stranger = Authority {
        identity: authority.identity,
        ..stranger
    };
    let rekeyed = stranger.targets(2, &[role("minilm")], &[]);
    let sent = publication(&[("targets", &rekeyed, Some(&first))]);
    registry
        .publish("acme", &sent)
        .await
        .expect(422)
        .problem("metadata-refused");
    let more = authority.targets(2, &[role("minilm"), role("other")], &[]);
    registry
        .publish("acme", &publication(&[("targets", &more, Some(&first))]))
        .await
        .expect(200);
}

#[actix_web::test]
async fn other_keys_for_a_role_come_with_a_file_that_they_signed() {
    let (registry, authority) = acme().await;
    let (manifest, file) = registry.first_release("acme", &authority).await;
    let first = authority.targets(1, &[role("minilm")], &[]);
    let rekeyed = Authority {
        publisher: vec![key(8)],
        ..authority
    };
    let targets = rekeyed.targets(2, &[role("minilm")], &[]);
    let model = rekeyed.model(&role("minilm"), 2, &[&manifest]);
    let sent = publication(&[("targets", &targets, Some(&first)), (NAME, &model, Some(&file))]);
    let done: Published = registry.publish("acme", &sent).await.expect(200).json();
    assert!(done.releases.is_empty());
}

#[actix_web::test]
async fn another_parent_is_stale_and_the_answer_names_the_current_file() {
    let (registry, authority) = acme().await;
    let (first, file) = registry.first_release("acme", &authority).await;
    let second = registry
        .candidate("acme", &authority, "1.1.0", 2, &[b"two"])
        .await;
    let next = authority.model(&role("minilm"), 2, &[&first, &second]);
    for parent in [None, Some("something else")] {
        let sent = publication(&[(NAME, &next, parent)]);
        let problem = registry
            .publish("acme", &sent)
            .await
            .expect(409)
            .problem("stale-parent");
        assert_eq!(problem.current.keys().collect::<Vec<_>>(), [NAME]);
        assert_eq!(problem.current[NAME].version, 1);
        assert_eq!(problem.current[NAME].sha256, sha256(file.as_bytes()));
    }
}

#[actix_web::test]
async fn of_two_publishers_at_once_one_wins_and_the_other_is_told_to_rebase() {
    let (registry, authority) = acme().await;
    let (first, file) = registry.first_release("acme", &authority).await;
    let mut sent = Vec::new();
    for (version, counter) in [("1.1.0", 2), ("1.2.0", 3)] {
        let manifest = registry
            .candidate("acme", &authority, version, counter, &[version.as_bytes()])
            .await;
        let next = authority.model(&role("minilm"), 2, &[&first, &manifest]);
        sent.push((
            publication(&[(NAME, &next, Some(&file))]),
            sha256(next.as_bytes()),
        ));
    }
    let (a, b) = futures_util::future::join(
        registry.publish("acme", &sent[0].0),
        registry.publish("acme", &sent[1].0),
    )
    .await;
    let by_status: BTreeMap<u16, _> = [(a, sent[0].1), (b, sent[1].1)]
        .into_iter()
        .map(|(answer, sha256)| (answer.status.as_u16(), (answer, sha256)))
        .collect();
    assert_eq!(by_status.keys().copied().collect::<Vec<_>>(), [200, 409]);
    let winner = by_status[&200].1;
    let (loser, _) = by_status
        .into_iter()
        .find(|(status, _)| *status == 409)
        .unwrap()
        .1;
    let problem = loser.problem("stale-parent");
    assert_eq!(problem.current[NAME].sha256, winner);
    assert_eq!(problem.current[NAME].version, 2);
}

#[actix_web::test]
async fn publishers_of_different_roles_do_not_hinder_each_other() {
    let (registry, authority) = acme().await;
    let first = authority.targets(1, &[role("minilm")], &[]);
    let both = authority.targets(2, &[role("minilm"), role("other")], &[]);
    registry
        .publish("acme", &publication(&[("targets", &both, Some(&first))]))
        .await
        .expect(200);
    let one = registry
        .candidate("acme", &authority, "1.0.0", 1, &[b"one"])
        .await;
    let mut two = authority.manifest("other", "1.0.0", 1, &[b"one"]);
    two.model = "other".parse().unwrap();
    registry.put("acme", &two).await.expect(201);
    let files = [
        authority.model(&role("minilm"), 1, &[&one]),
        authority.model(&role("other"), 1, &[&two]),
    ];
    let sent = [
        publication(&[(NAME, &files[0], None)]),
        publication(&[("model.other.0", &files[1], None)]),
    ];
    let (a, b) = futures_util::future::join(
        registry.publish("acme", &sent[0]),
        registry.publish("acme", &sent[1]),
    )
    .await;
    a.expect(200);
    b.expect(200);
}

#[actix_web::test]
async fn refuses_targets_that_take_a_role_away_even_after_the_old_ones_expired() {
    let registry = Registry::new().await;
    let keys = registry.keys("acme").await;
    let authority = Authority::new(&keys, "2027-05-01T00:00:00Z");
    let mut first = authority.targets_value(1, &[role("minilm")], &[]);
    first["expires"] = json!("2026-12-20T00:00:00Z");
    let first = sign(&first, &authority.targets_keys);
    let mut request = authority.creation(&[]);
    request.targets = first.clone();
    registry.create("acme", &request).await.expect(201);
    registry.first_release("acme", &authority).await;
    registry.pass(jiff::SignedDuration::from_hours(24 * 30));
    let without = authority.targets(2, &[], &[]);
    let sent = publication(&[("targets", &without, Some(&first))]);
    registry
        .publish("acme", &sent)
        .await
        .expect(422)
        .problem("metadata-refused");
    let with = authority.targets(2, &[role("minilm")], &[]);
    registry
        .publish("acme", &publication(&[("targets", &with, Some(&first))]))
        .await
        .expect(200);
}

#[actix_web::test]
async fn an_expired_role_does_not_keep_the_others_from_going_on() {
    let (registry, authority) = acme().await;
    let manifest = registry
        .candidate("acme", &authority, "1.0.0", 1, &[b"weights"])
        .await;
    let mut file = authority.model_value(&role("minilm"), 1, &[&manifest]);
    file["expires"] = json!("2026-12-20T00:00:00Z");
    let file = sign(&file, &authority.publisher);
    registry
        .publish("acme", &publication(&[(NAME, &file, None)]))
        .await
        .expect(200);
    registry.pass(jiff::SignedDuration::from_hours(24 * 30));
    let first = authority.targets(1, &[role("minilm")], &[]);
    let without = authority.targets(2, &[role("other")], &[]);
    let sent = publication(&[("targets", &without, Some(&first))]);
    registry
        .publish("acme", &sent)
        .await
        .expect(422)
        .problem("metadata-refused");
    let more = authority.targets(2, &[role("minilm"), role("other")], &[]);
    registry
        .publish("acme", &publication(&[("targets", &more, Some(&first))]))
        .await
        .expect(200);
}
