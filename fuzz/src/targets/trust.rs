//! `assay-trust`: a repository's metadata on a device, as it comes and as its keys would have signed it.

use std::sync::OnceLock;

use assay_authority::SigningKey;
use assay_authority::metadata::{FileMeta, RoleKeys, Root, Snapshot, Targets, TimestampRole, sign_value};
use assay_schema::{ModelName, Sha256Digest};
use assay_trust::{DeviceState, Pin, Roots};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::SigningKey as Seed;
use jiff::Timestamp;
use serde_json::Value;

use super::sha256;
use crate::target::{Form, Outcome, Target};

/// The targets of this area.
pub const TARGETS: &[Target] = &[
    Target {
        made: || documents(0),
        words: WORDS,
        runs: 1_500,
        ..Target::new("trust/root", Form::Json, |bytes| walk(0, bytes))
    },
    Target {
        made: || documents(3),
        words: WORDS,
        runs: 1_500,
        ..Target::new("trust/timestamp", Form::Json, |bytes| walk(3, bytes))
    },
    Target {
        made: || documents(2),
        words: WORDS,
        runs: 1_500,
        ..Target::new("trust/snapshot", Form::Json, |bytes| walk(2, bytes))
    },
    Target {
        made: || documents(1),
        words: WORDS,
        runs: 1_500,
        ..Target::new("trust/targets", Form::Json, |bytes| walk(1, bytes))
    },
];

/// The top-level roles, in the order of their keys below.
const ROLES: [&str; 4] = ["root", "targets", "snapshot", "timestamp"];

const WORDS: &[&str] = &[
    "x-assay",
    "_type",
    "spec_version",
    "consistent_snapshot",
    "expires",
    "2027-01-01T00:00:00Z",
    "meta",
    "hashes",
    "sha256",
    "length",
    "delegations",
    "paths",
    "terminating",
    "threshold",
    "keyids",
    "custom",
    "issued",
    "status",
    "model.minilm.0",
    "ed25519",
    "targets",
];

/// A key made of one byte.
pub(super) fn key(byte: u8) -> SigningKey {
    let seed = Seed::from_bytes(&[byte; 32]);
    let der = [
        &[
            0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20,
        ][..],
        seed.as_bytes(),
    ];
    let pem = format!(
        "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n",
        STANDARD.encode(der.concat())
    );
    SigningKey::from_pem(&pem, None).expect("a key")
}

fn now() -> Timestamp {
    Timestamp::from_second(1_795_000_000).expect("a time")
}

/// A namespace: the `signed` parts of its first metadata, the second root among them, and its identity.
pub(super) struct Namespace {
    pub(super) keys: [SigningKey; 4],
    pub(super) first_root: Vec<u8>,
    pub(super) identity: Sha256Digest,
    pub(super) signed: [Value; 4],
}

pub(super) fn namespace() -> &'static Namespace {
    static MADE: OnceLock<Namespace> = OnceLock::new();
    MADE.get_or_init(|| {
        let keys = [1, 2, 3, 4].map(key);
        let expires: Timestamp = "2027-06-01T00:00:00Z".parse().expect("a time");
        let roles = keys
            .each_ref()
            .map(|key| RoleKeys::of(&[key], 1).expect("a role"));
        let mut root = Root::new(&roles[0], &roles[1], &roles[2], &roles[3], expires).expect("a root");
        let first_root = sign_value("root", &root.signed_value(), &[&keys[0]]).expect("signed");
        let identity = sha256(&first_root);
        root.advance(expires).expect("a next root");
        let mut targets = Targets::top_level(identity, expires).expect("targets");
        let model: ModelName = "minilm".parse().expect("a name");
        let role = assay_schema::tuf::ModelRole { model, block: 0 };
        let publisher = key(5);
        let delegation = assay_authority::metadata::Delegation {
            keys: RoleKeys::of(&[&publisher], 1).expect("a role"),
            terms: assay_schema::tuf::DelegationTerms { max_epoch: 1 },
        };
        targets.delegate(&role, &delegation, &root).expect("delegated");
        let bytes = sign_value("targets", &targets.signed_value(), &[&keys[1]]).expect("signed");
        let snapshot = Snapshot::new(
            identity,
            1,
            expires,
            &[("targets.json".to_owned(), FileMeta::of(1, &bytes))].into(),
        )
        .expect("a snapshot");
        let bytes = sign_value("snapshot", &snapshot.signed_value(), &[&keys[2]]).expect("signed");
        let timestamp =
            TimestampRole::new(identity, 1, expires, &FileMeta::of(1, &bytes)).expect("a timestamp");
        let signed = [
            root.signed_value(),
            targets.signed_value(),
            snapshot.signed_value(),
            timestamp.signed_value(),
        ];
        Namespace {
            keys,
            first_root,
            identity,
            signed,
        }
    })
}

fn sign(role: usize, signed: &Value) -> Vec<u8> {
    sign_value(ROLES[role], signed, &[&namespace().keys[role]])
        .unwrap_or_else(|_| signed.to_string().into_bytes())
}

/// The `signed` part of a role, and its whole file.
fn documents(role: usize) -> Vec<Vec<u8>> {
    let signed = &namespace().signed[role];
    vec![
        assay_schema::canonical::signed_bytes(signed).expect("canonical"),
        sign(role, signed),
    ]
}

/// A device walks the namespace with one role's file exchanged; where the input is a `signed` part, the role's key has signed it. What
/// names the file by digest is made anew.
fn walk(role: usize, input: &[u8]) -> Outcome {
    let namespace = namespace();
    let signed: Option<Value> = serde_json::from_slice(input)
        .ok()
        .filter(|value: &Value| value.get("signatures").is_none());
    let given = signed.map_or_else(|| input.to_vec(), |signed| sign(role, &signed));
    let mut files: Vec<Vec<u8>> = (0..4)
        .map(|n| {
            if n == role {
                given.clone()
            } else {
                sign(n, &namespace.signed[n])
            }
        })
        .collect();
    if role == 1 {
        let mut snapshot = namespace.signed[2].clone();
        snapshot["meta"]["targets.json"] = meta(&files[1]);
        files[2] = sign(2, &snapshot);
    }
    if role == 1 || role == 2 {
        let mut timestamp = namespace.signed[3].clone();
        timestamp["meta"]["snapshot.json"] = meta(&files[2]);
        files[3] = sign(3, &timestamp);
    }
    let pin = Pin::new("acme".parse().expect("a name"), namespace.identity);
    let state = DeviceState::first(&pin, &namespace.first_root).expect("the first root");
    let roots = Roots::open(&pin, state, now())
        .map_err(|failure| failure.error)
        .expect("a state");
    let walked = roots
        .accept(&files[0])
        .and_then(|roots| roots.finish())
        .and_then(|walk| walk.accept(&files[3]));
    let walked = walked
        .and_then(|walk| walk.accept(&files[2]))
        .and_then(|walk| walk.accept(&files[1]));
    let refusal = match walked {
        Ok(refreshed) => {
            let model: ModelName = "minilm".parse().expect("a name");
            let roles = refreshed
                .roles_of(&model)
                .map(|roles| roles.len())
                .map_err(|e| e.refusal().code);
            let status = refreshed.has_status();
            // What was accepted is where the next run begins.
            let state = refreshed.into_state();
            let kept = serde_json::to_vec(&state).expect("a state can be written");
            let read: DeviceState = serde_json::from_slice(&kept).expect("and read");
            assert!(Roots::open(&pin, read, now()).is_ok(), "an accepted state opens");
            return Outcome::accepted((roles, status));
        }
        Err(failure) => failure.error.refusal(),
    };
    assert!(
        !refusal.code.is_empty() && !refusal.advice.is_empty(),
        "{refusal}"
    );
    Outcome::refused(refusal)
}

fn meta(bytes: &[u8]) -> Value {
    serde_json::json!({"version": 1, "length": bytes.len(), "hashes": {"sha256": sha256(bytes).to_hex()}})
}
