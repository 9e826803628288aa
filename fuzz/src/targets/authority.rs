//! `assay-authority`: metadata, proposals and keys that others send to whoever signs.

use std::collections::BTreeMap;

use assay_authority::metadata::{Root, Snapshot, Targets, TimestampRole, sign_value};
use assay_authority::{KeyKind, PublicKey, SigningKey, proposal};
use assay_schema::api::{Publication, SignedRole};
use assay_schema::canonical::read;
use assay_schema::limits::MAX_PUBLICATION;
use assay_schema::tuf::TufKey;
use serde_json::Value;

use super::trust::{key, namespace};
use super::{text, texts};
use crate::target::{Form, Outcome, Target};

/// The targets of this area.
pub const TARGETS: &[Target] = &[
    Target {
        made: files,
        words: &[
            "keyids",
            "threshold",
            "meta",
            "delegations",
            "roles",
            "signatures",
            "sig",
            "keyid",
            "custom",
            "x-assay",
        ],
        runs: 3_000,
        covers: &[
            "authority/src/metadata/root.rs Root::read",
            "authority/src/metadata/targets.rs Targets::read",
            "authority/src/metadata/online.rs Snapshot::read",
            "authority/src/metadata/online.rs TimestampRole::read",
        ],
        ..Target::new("authority/metadata", Form::Json, metadata)
    },
    Target {
        made: publications,
        words: &[
            "root",
            "targets",
            "status",
            "model.minilm.0",
            "parent",
            "metadata",
            "manifests",
        ],
        runs: 2_000,
        ..Target::new("authority/proposal", Form::Json, proposed)
    },
    Target {
        made: || vec![serde_json::to_vec(&key(1).public_key().to_tuf().expect("a key")).expect("written")],
        words: &[
            "ed25519",
            "ecdsa",
            "ecdsa-sha2-nistp256",
            "ecdsa-sha2-nistp384",
            "rsa",
            "keyval",
            "public",
            "scheme",
        ],
        runs: 2_000,
        covers: &["authority/src/public.rs PublicKey::from_tuf"],
        ..Target::new("authority/tuf-key", Form::Json, tuf_key)
    },
    Target {
        fixtures: &[
            "verifier/provenance/tests/fixtures/openssl/ed25519.pem",
            "verifier/provenance/tests/fixtures/openssl/p256.pem",
            "verifier/provenance/tests/fixtures/openssl/p384.pem",
            "verifier/provenance/tests/fixtures/openssl/p521.pem",
        ],
        made: || vec![key(1).to_pem().expect("a key").as_bytes().to_vec()],
        words: &[
            "-----BEGIN PRIVATE KEY-----",
            "-----END PRIVATE KEY-----",
            "-----BEGIN ENCRYPTED PRIVATE KEY-----",
        ],
        runs: 2_000,
        covers: &[
            "authority/src/public.rs PublicKey::from_pem",
            "authority/src/public.rs PublicKey::from_spki_der",
            "authority/src/public.rs PublicKey::from_point",
            "authority/src/key.rs SigningKey::from_pem",
            "authority/src/key.rs KeyKind::from_str",
        ],
        ..Target::new("authority/pem", Form::Text, pem)
    },
];

fn metadata(bytes: &[u8]) -> Outcome {
    let root = Outcome::of(Root::read(bytes), |root| {
        // A number that is no integer has no signed form: then signing refuses.
        if let Ok(again) = sign_value("root", &root.signed_value(), &[&key(1)]) {
            let read = Root::read(&again).map(|root| root.signed_value());
            assert_eq!(read.ok(), Some(root.signed_value()), "read back");
        }
        root.version().ok().map(u64::leading_zeros)
    });
    let targets = Outcome::of(Targets::read(bytes), |targets| {
        let listed = targets
            .targets()
            .map(|targets| targets.len().min(2))
            .map_err(|e| Outcome::refused(e).class);
        let status = targets
            .status_keys()
            .map(|keys| keys.is_some())
            .map_err(|e| Outcome::refused(e).class);
        let roles = targets.delegated();
        let delegations = roles
            .iter()
            .filter_map(|role| targets.delegation(role).ok()?)
            .count();
        (listed, status, delegations.min(2))
    });
    let snapshot = Outcome::of(Snapshot::read(bytes), |snapshot| {
        snapshot
            .files()
            .map(|files| files.len().min(3))
            .map_err(|e| Outcome::refused(e).class)
    });
    let timestamp = Outcome::of(TimestampRole::read(bytes), |timestamp| {
        timestamp
            .snapshot()
            .map(|meta| meta.version.leading_zeros())
            .map_err(|e| Outcome::refused(e).class)
    });
    root.and(targets).and(snapshot).and(timestamp)
}

/// A publication that a stranger proposes on top of a namespace.
fn proposed(bytes: &[u8]) -> Outcome {
    let publication = match read::<Publication>(bytes, MAX_PUBLICATION) {
        Ok(publication) => publication,
        Err(error) => return Outcome::refused(error),
    };
    let namespace = namespace();
    let targets = sign_value("targets", &namespace.signed[1], &[&namespace.keys[1]]).expect("signed");
    let base = proposal::Base {
        root: &namespace.first_root,
        targets: &targets,
    };
    let mut outcome = Outcome::of(proposal::id(namespace.identity, &publication), |_| ());
    let thresholds = proposal::thresholds(base, &publication);
    for (role, file) in &publication.roles {
        let bytes = file.metadata.as_bytes();
        let signatures = proposal::signatures(role, bytes);
        if let (Ok(signatures), Ok(thresholds)) = (&signatures, &thresholds) {
            let written = proposal::with_signatures(role, bytes, signatures.clone())
                .expect("what was read can be written");
            let again = proposal::signatures(role, written.as_bytes()).expect("and read");
            assert!(again.len() <= signatures.len(), "one signature a key");
            let digests = [bytes, written.as_bytes()].map(|bytes| proposal::signed_digest(role, bytes).ok());
            assert_eq!(digests[0], digests[1], "the signed part is the same");
            let thresholds = thresholds.get(role).map_or(&[][..], Vec::as_slice);
            outcome = outcome.and(Outcome::of(
                proposal::check(role, bytes, signatures, thresholds),
                |checked| (checked.valid.len().min(2), checked.invalid.len().min(2)),
            ));
        }
        outcome = outcome.and(Outcome::of(signatures, |signatures| signatures.len().min(2)));
    }
    outcome.and(Outcome::of(thresholds, |thresholds| thresholds.len()))
}

fn tuf_key(bytes: &[u8]) -> Outcome {
    let key = match read::<TufKey>(bytes, 64 << 10) {
        Ok(key) => key,
        Err(error) => return Outcome::refused(error),
    };
    Outcome::of(PublicKey::from_tuf(&key), |public| {
        let again = PublicKey::from_tuf(&public.to_tuf().expect("a key")).expect("read back");
        assert_eq!(again.spki_der(), public.spki_der(), "read back");
        assert!(
            !public.verifies(b"message", &[1; 64]),
            "a signature that nobody made"
        );
        key.scheme
    })
}

fn pem(bytes: &[u8]) -> Outcome {
    text(bytes, |pem| {
        let kind = Outcome::of(pem.trim().parse::<KeyKind>(), |kind| kind.to_string());
        let private = Outcome::of(SigningKey::from_pem(pem, Some("passphrase")), |key| {
            let again = SigningKey::from_pem(&key.to_pem().expect("written"), None).expect("read back");
            assert_eq!(
                again.public_key().spki_der(),
                key.public_key().spki_der(),
                "read back"
            );
        });
        let public = Outcome::of(PublicKey::from_pem(pem), |key| {
            let again = PublicKey::from_spki_der(key.spki_der()).expect("read back");
            assert_eq!(again.spki_der(), key.spki_der(), "read back");
            key.to_tuf().is_ok()
        });
        let points = [KeyKind::Ed25519, KeyKind::P256, KeyKind::P384, KeyKind::P521];
        points
            .map(|kind| Outcome::of(PublicKey::from_point(kind, bytes), |_| ()))
            .into_iter()
            .fold(kind.and(private).and(public), Outcome::and)
    })
}

pub(super) fn files() -> Vec<Vec<u8>> {
    let namespace = namespace();
    let roles = ["root", "targets", "snapshot", "timestamp"];
    let files = roles.iter().zip(&namespace.signed).zip(&namespace.keys);
    files
        .map(|((role, signed), key)| sign_value(role, signed, &[key]).expect("signed"))
        .collect()
}

pub(super) fn publications() -> Vec<Vec<u8>> {
    let files = files();
    let role = |at: usize| SignedRole {
        metadata: String::from_utf8_lossy(&files[at]).into_owned(),
        parent: Some(namespace().identity),
    };
    [vec![("root", 0), ("targets", 1)], vec![("targets", 1)]]
        .map(|roles| {
            let roles: BTreeMap<_, _> = roles
                .into_iter()
                .map(|(name, at)| (name.to_owned(), role(at)))
                .collect();
            let publication = Publication {
                roles,
                manifests: Vec::new(),
            };
            let value: Value = serde_json::to_value(&publication).expect("a publication");
            texts(&[&value.to_string()]).remove(0)
        })
        .to_vec()
}
