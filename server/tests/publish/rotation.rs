//! The next root: who must have signed it, what it retires, and how devices follow it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use actix_web::http::Method;
use assay_authority::metadata::{FileMeta, Snapshot, TimestampRole};
use assay_schema::api::{NamespaceInfo, OnlineKeys, Publication, Published, Visibility};
use assay_server::persistence::OnlineRole;
use assay_server::steps::{Observer, Step, Steps, Stopped};
use assay_trust::Roots;
use assay_verifier::{Checked, DeviceState, Pin, Route, Want};
use ed25519_dalek::SigningKey;
use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use crate::authority::{Authority, key, publication, role, sign};
use crate::support::{Registry, device, device_with};

const STATIC: Route = Route::Static { cached: None };

async fn next_keys(registry: &Registry) -> OnlineKeys {
    registry
        .as_admin(Method::POST, "/v1/namespaces/acme/keys?next=true", &())
        .await
        .expect(200)
        .json()
}

/// A root of this version, signed by these keys.
fn root(
    authority: &Authority,
    own: &OnlineKeys,
    version: u64,
    root_keys: &[SigningKey],
    signers: &[SigningKey],
) -> String {
    let mut value = Authority::root_value(own, root_keys, &authority.targets_keys, &authority.expires);
    value["version"] = json!(version);
    sign(&value, signers)
}

fn rotation(root: &str, parent: &str) -> Publication {
    publication(&[("root", root, Some(parent))])
}

fn pin(authority: &Authority) -> Pin {
    Pin::new("acme".parse().unwrap(), authority.identity)
}

async fn world() -> (Registry, Authority, OnlineKeys) {
    let registry = Registry::new().await;
    let authority = registry.namespace("acme", Visibility::Public).await;
    registry.first_release("acme", &authority).await;
    let own = registry.keys("acme").await;
    (registry, authority, own)
}

#[actix_web::test]
async fn a_device_that_was_away_follows_several_rotations() {
    let (registry, authority, own) = world().await;
    let (mut parent, mut keys) = (authority.root.clone(), authority.root_keys.clone());
    for (version, seeds) in [(2, [1, 11]), (3, [11, 12]), (4, [12, 13])] {
        let new: Vec<_> = seeds.into_iter().map(key).collect();
        let fresh = new.iter().filter(|key| !keys.contains(key));
        let signers: Vec<_> = keys.iter().chain(fresh).cloned().collect();
        let next = root(&authority, &own, version, &new, &signers);
        let sent = rotation(&next, &parent);
        let done: Published = registry.publish("acme", &sent).await.expect(200).json();
        assert_eq!(done.roles["root"].version, version);
        // Sent again, it is what stands.
        let again: Published = registry.publish("acme", &sent).await.expect(200).json();
        assert_eq!(again.roles["root"], done.roles["root"]);
        (parent, keys) = (next, new);
    }
    for route in [STATIC, Route::Bundle { cached: None }] {
        let approved = device(&registry, "acme", &authority, Want::Highest, route)
            .await
            .permitted();
        assert_eq!(approved.state().root, parent);
    }
    let info: NamespaceInfo = registry.get("/v1/namespaces/acme").await.expect(200).json();
    assert_eq!((info.versions["root"], info.identity), (4, authority.identity));
}

#[actix_web::test]
async fn refuses_a_root_without_the_threshold_of_either_root() {
    let (registry, authority, own) = world().await;
    let new = [key(11), key(12)];
    let old = &authority.root_keys;
    let cases = [
        ("only the new keys", new.to_vec()),
        ("only the old keys", old.clone()),
        (
            "one old key",
            vec![old[0].clone(), new[0].clone(), new[1].clone()],
        ),
        (
            "one new key",
            vec![old[0].clone(), old[1].clone(), new[0].clone()],
        ),
    ];
    for (case, signers) in cases {
        let sent = rotation(&root(&authority, &own, 2, &new, &signers), &authority.root);
        let refused = registry.publish("acme", &sent).await.expect(422);
        let problem = refused.problem("metadata-refused");
        assert!(problem.detail.contains("root"), "{case}: {}", problem.detail);
    }
}

#[actix_web::test]
async fn refuses_a_root_that_skips_a_version_or_follows_another() {
    let (registry, authority, own) = world().await;
    let keys = &authority.root_keys;
    for version in [1, 3] {
        let mut skipped = root(&authority, &own, version, keys, keys);
        skipped.push(' ');
        let answer = registry
            .publish("acme", &rotation(&skipped, &authority.root))
            .await;
        answer.expect(422).problem("metadata-refused");
    }
    let next = root(&authority, &own, 2, keys, keys);
    let stale = registry.publish("acme", &rotation(&next, "another root")).await;
    let problem = stale.expect(409).problem("stale-parent");
    assert_eq!(problem.current["root"].version, 1);
}

#[actix_web::test]
async fn refuses_a_second_root_of_a_version_and_never_logs_it() {
    let (registry, authority, own) = world().await;
    let (old, new) = (&authority.root_keys, [key(11), key(12)]);
    let both: Vec<_> = old.iter().chain(&new).cloned().collect();
    let second = root(&authority, &own, 2, &new, &both);
    registry
        .publish("acme", &rotation(&second, &authority.root))
        .await
        .expect(200);
    // Whoever stole the retired keys of version 1 signs another version 2.
    let thief = [key(66), key(67)];
    let both: Vec<_> = old.iter().chain(&thief).cloned().collect();
    let forked = root(&authority, &own, 2, &thief, &both);
    let answer = registry
        .publish("acme", &rotation(&forked, &authority.root))
        .await;
    answer.expect(409).problem("stale-parent");
    let answer = registry.publish("acme", &rotation(&forked, &second)).await;
    answer.expect(422).problem("metadata-refused");
    let stands = registry.get("/tuf/acme/metadata/2.root.json").await.expect(200);
    assert_eq!(&stands.body[..], second.as_bytes());
    let leaf = |file: &str| {
        let digest = assay_verifier::provenance::sha256(file.as_bytes());
        assay_log::Leaf::new(authority.identity, assay_log::leaf::LeafKind::Root, 2, digest).unwrap()
    };
    let mut waiting = registry.state.db.pending_log_entries(100).await.unwrap();
    waiting.retain(|entry| [leaf(&second), leaf(&forked)].contains(entry));
    assert_eq!(waiting, [leaf(&second)]);
}

#[actix_web::test]
async fn refuses_a_root_that_lists_somebody_elses_online_key() {
    let (registry, authority, own) = world().await;
    let thief: assay_schema::tuf::TufKey =
        serde_json::from_value(crate::authority::tuf_key(&key(66))).unwrap();
    let keys = &authority.root_keys;
    let others = [
        OnlineKeys {
            snapshot: thief.clone(),
            ..own.clone()
        },
        OnlineKeys {
            timestamp: thief,
            ..own
        },
    ];
    for other in others {
        let next = root(&authority, &other, 2, keys, keys);
        let refused = registry.publish("acme", &rotation(&next, &authority.root)).await;
        refused.expect(422).problem("metadata-refused");
    }
}

#[actix_web::test]
async fn a_retired_targets_key_publishes_nothing_and_its_last_file_is_refused() {
    let (registry, mut authority, own) = world().await;
    let keys = authority.root_keys.clone();
    let retired = std::mem::replace(&mut authority.targets_keys, vec![key(13), key(14)]);
    let next = root(&authority, &own, 2, &keys, &keys);
    // The targets file that stands would be refused by every device under the new root.
    let alone = registry.publish("acme", &rotation(&next, &authority.root)).await;
    alone.expect(422).problem("metadata-refused");

    let old_targets = authority.creation(&[role("minilm")]).targets;
    let stands: NamespaceInfo = registry.get("/v1/namespaces/acme").await.json();
    assert_eq!(stands.versions["root"], 1);
    let first = registry
        .get("/tuf/acme/metadata/1.targets.json")
        .await
        .expect(200);
    let first = String::from_utf8(first.body.to_vec()).unwrap();
    assert_ne!(first, old_targets);
    let targets = authority.targets(2, &[role("minilm")], &[]);
    let both = publication(&[
        ("root", &next, Some(&authority.root)),
        ("targets", &targets, Some(&first)),
    ]);
    registry.publish("acme", &both).await.expect(200);

    let by_retired = sign(&authority.targets_value(3, &[role("minilm")], &[]), &retired);
    let refused = registry
        .publish("acme", &publication(&[("targets", &by_retired, Some(&targets))]))
        .await;
    refused.expect(422).problem("metadata-refused");
    device(&registry, "acme", &authority, Want::Highest, STATIC)
        .await
        .permitted();
}

/// The registry's online keys, as a thief of its disk has them.
async fn stolen(registry: &Registry) -> [assay_authority::SigningKey; 2] {
    let name = "acme".parse().unwrap();
    let keys = registry.state.db.online_keys(&name).await.unwrap();
    [OnlineRole::Snapshot, OnlineRole::Timestamp].map(|role| {
        let key = keys.iter().find(|key| key.role == role).unwrap();
        let seal = registry.state.seal.key().unwrap();
        let pem = seal.open(&name, role.name(), &key.sealed).unwrap();
        assay_authority::SigningKey::from_pem(std::str::from_utf8(&pem).unwrap(), None).unwrap()
    })
}

/// The state of a device to which a thief showed versions far ahead.
async fn fast_forwarded(registry: &Registry, authority: &Authority) -> DeviceState {
    let [snapshot_key, timestamp_key] = stolen(registry).await;
    let name = "acme".parse().unwrap();
    let current = registry
        .state
        .db
        .current_metadata(&name, "snapshot")
        .await
        .unwrap()
        .unwrap();
    let files = Snapshot::read(&current.bytes).unwrap().files().unwrap();
    let (far, expires) = ((1 << 53) - 1, registry.now() + SignedDuration::from_hours(48));
    let snapshot = Snapshot::new(authority.identity, far, expires, &files).unwrap();
    let snapshot = snapshot.sign(&[&snapshot_key]).unwrap();
    let meta = FileMeta::of(far, &snapshot.bytes);
    let timestamp = TimestampRole::new(authority.identity, far, expires, &meta).unwrap();
    let timestamp = timestamp.sign(&[&timestamp_key]).unwrap();
    let pin = pin(authority);
    let state = DeviceState::first(&pin, authority.root.as_bytes()).unwrap();
    let walked = Roots::open(&pin, state, registry.now())
        .and_then(Roots::finish)
        .and_then(|timestamp_due| timestamp_due.accept(&timestamp.bytes))
        .and_then(|snapshot_due| snapshot_due.accept(&snapshot.bytes));
    walked.unwrap().state().clone()
}

#[actix_web::test]
async fn rotated_online_keys_recover_devices_from_a_fast_forward() {
    let (registry, authority, own) = world().await;
    let state = fast_forwarded(&registry, &authority).await;
    let stuck = device_with(&registry, &pin(&authority), state.clone(), Want::Highest, STATIC).await;
    assert!(matches!(stuck.checked, Checked::Refused(_)));

    let before: NamespaceInfo = registry.get("/v1/namespaces/acme").await.json();
    let fresh = next_keys(&registry).await;
    assert_eq!(fresh, next_keys(&registry).await);
    assert!(fresh.snapshot != own.snapshot && fresh.timestamp != own.timestamp);
    // Until a root lists them, the current keys sign.
    assert_eq!(registry.keys("acme").await, own);
    let keys = &authority.root_keys;
    let next = root(&authority, &fresh, 2, keys, keys);
    let done: Published = registry
        .publish("acme", &rotation(&next, &authority.root))
        .await
        .expect(200)
        .json();
    assert_eq!(registry.keys("acme").await, fresh);
    assert_ne!(next_keys(&registry).await, fresh);
    for role in ["snapshot", "timestamp"] {
        assert_eq!(done.roles[role].version, before.versions[role] + 1, "{role}");
    }
    for route in [STATIC, Route::Bundle { cached: None }] {
        let healed = device_with(&registry, &pin(&authority), state.clone(), Want::Highest, route).await;
        healed.permitted();
    }
    // The new keys sign from now on, without anybody's help.
    registry.pass(SignedDuration::from_hours(24 * 6));
    assert_eq!(assay_server::publish::resign::all_due(&registry.state).await, 1);
    device(&registry, "acme", &authority, Want::Highest, STATIC)
        .await
        .permitted();
}

#[actix_web::test]
async fn one_online_key_rotates_without_the_other() {
    let (registry, authority, own) = world().await;
    let fresh = next_keys(&registry).await;
    let mixed = OnlineKeys {
        timestamp: fresh.timestamp.clone(),
        ..own.clone()
    };
    let keys = &authority.root_keys;
    let next = root(&authority, &mixed, 2, keys, keys);
    registry
        .publish("acme", &rotation(&next, &authority.root))
        .await
        .expect(200);
    assert_eq!(registry.keys("acme").await, mixed);
    let later = next_keys(&registry).await;
    assert_eq!(later.snapshot, fresh.snapshot);
    assert_ne!(later.timestamp, fresh.timestamp);
    device(&registry, "acme", &authority, Want::Highest, STATIC)
        .await
        .permitted();
}

#[actix_web::test]
async fn refuses_to_hand_out_next_keys_of_no_namespace() {
    let registry = Registry::new().await;
    let answer = registry
        .as_admin(Method::POST, "/v1/namespaces/acme/keys?next=true", &())
        .await;
    answer.expect(404).problem("not-found");
}

#[actix_web::test]
async fn an_expired_root_is_followed_by_a_fresh_one() {
    let (registry, mut authority, own) = world().await;
    registry.pass(SignedDuration::from_hours(24 * 200));
    authority.expires = "2028-01-01T00:00:00Z".to_owned();
    assert!(registry.now() > "2027-05-01T00:00:00Z".parse::<Timestamp>().unwrap());
    let keys = &authority.root_keys;
    let next = root(&authority, &own, 2, keys, keys);
    let first = registry
        .get("/tuf/acme/metadata/1.targets.json")
        .await
        .expect(200);
    let first = String::from_utf8(first.body.to_vec()).unwrap();
    let targets = authority.targets(2, &[role("minilm")], &[]);
    let both = publication(&[
        ("root", &next, Some(&authority.root)),
        ("targets", &targets, Some(&first)),
    ]);
    registry.publish("acme", &both).await.expect(200);
}

/// Stops once behind P3.
#[derive(Default)]
struct StopOnce(AtomicBool);

impl Observer for StopOnce {
    fn done(&self, step: Step) -> Result<(), Stopped> {
        match step == Step::P3 && !self.0.swap(true, Ordering::SeqCst) {
            true => Err(Stopped(step)),
            false => Ok(()),
        }
    }
}

#[actix_web::test]
async fn a_stop_behind_the_rotation_leaves_keys_and_root_together() {
    let (mut registry, authority, _) = world().await;
    let fresh = next_keys(&registry).await;
    let keys = &authority.root_keys;
    let sent = rotation(&root(&authority, &fresh, 2, keys, keys), &authority.root);
    registry.state.steps = Steps::observed_by(Arc::new(StopOnce::default()));
    let writes = registry.state.db.writes().get();
    registry.publish("acme", &sent).await.expect(500);
    assert_eq!(registry.state.db.writes().get() - writes, 1);
    assert_eq!(registry.keys("acme").await, fresh);
    device(&registry, "acme", &authority, Want::Highest, STATIC)
        .await
        .permitted();
    let done: Published = registry.publish("acme", &sent).await.expect(200).json();
    assert_eq!(done.roles["root"].version, 2);
    assert_eq!(registry.keys("acme").await, fresh);
}
