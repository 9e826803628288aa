//! Malformed, truncated, deeply nested and damaged bytes at every fetch: a refusal or the same release, never a panic, never
//! another release.

use assay_verifier::{Answer, Checked};
use proptest::prelude::*;

use crate::support::*;

/// Answers the `n`th fetch with something else.
fn with(sim: &Simulator, device: &mut Device, n: usize, damage: &dyn Fn(Vec<u8>) -> Vec<u8>) -> Checked {
    let mut count = 0;
    device.check_with(sim.now, |fetch| {
        let answer = sim.serve(fetch);
        count += 1;
        match answer {
            Answer::Found { bytes, etag } if count == n => Answer::Found {
                bytes: damage(bytes),
                etag,
            },
            other => other,
        }
    })
}

fn same_or_refused(sim: &Simulator, checked: Checked) {
    match checked {
        Checked::Permitted(approved) => assert_eq!(approved.manifest_bytes(), sim.releases[0].manifest),
        Checked::Refused(verdict) => drop(decided(&verdict)),
        Checked::Deferred(verdict) => panic!("{verdict:#?}"),
    }
}

#[test]
fn malformed_truncated_and_deeply_nested_answers_are_refused() {
    let mut sim = Simulator::new();
    let document = assay_schema::canonical::document(&serde_json::json!({"v": 1, "signers": [
        assay_authority::namespace::key_signer("Ada", sim.signer.public_key())
    ]}))
    .unwrap();
    // Not inline, so that it is fetched too.
    sim.trust_target(SIGNERS, &document, false);
    type Damage = Box<dyn Fn(Vec<u8>) -> Vec<u8>>;
    let damages: Vec<Damage> = vec![
        Box::new(|_| Vec::new()),
        Box::new(|_| b"null".to_vec()),
        Box::new(|_| b"{}".to_vec()),
        Box::new(|_| vec![0xff; 10]),
        Box::new(|mut bytes| {
            bytes.truncate(bytes.len() / 2);
            bytes
        }),
        Box::new(|bytes| b"[".repeat(bytes.len().clamp(200, 100_000))),
        Box::new(|bytes| br#"{"signed":"#.repeat(bytes.len().clamp(200, 100_000) / 10)),
        Box::new(|mut bytes| {
            bytes.extend_from_slice(b"}");
            bytes
        }),
    ];
    for by in ROUTES {
        let mut honest = Device::new(&sim, by);
        honest.permitted(&sim);
        let all = honest.requests.len();
        for n in 1..=all {
            for damage in &damages {
                let mut device = Device::new(&sim, by);
                let before = device.state();
                let checked = with(&sim, &mut device, n, damage);
                if matches!(checked, Checked::Permitted(_)) {
                    // The root that is not there yet was answered as it should be.
                    assert_eq!((by, n), (By::Static, 1));
                    continue;
                }
                refuse(checked);
                assert_eq!(device.state().root, before.root);
                // Nothing that was persisted stands in the way of the honest registry.
                device.permitted(&sim);
            }
        }
    }
}

#[test]
fn versions_at_the_ends_of_their_range_do_not_overflow() {
    for role in ["timestamp", "snapshot", "targets", "model.minilm.0"] {
        for version in [u64::MAX - 1, (1 << 53) - 2] {
            let mut sim = Simulator::new();
            sim.signed.get_mut(role).unwrap()["version"] = version.into();
            match role {
                "timestamp" => sim.next_timestamp(),
                "snapshot" => sim.publish(),
                role => {
                    sim.bump(role);
                    sim.publish();
                }
            }
            for by in ROUTES {
                Device::new(&sim, by).permitted(&sim);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn a_changed_byte_never_permits_another_release(
        by_bundle in any::<bool>(),
        n in 1_usize..8,
        at in any::<prop::sample::Index>(),
        flip in 1_u8..=255,
    ) {
        thread_local!(static SIM: Simulator = Simulator::new());
        SIM.with(|sim| {
            let by = if by_bundle { By::Bundle } else { By::Static };
            let n = if by_bundle { 1 } else { n };
            let mut device = Device::new(sim, by);
            let checked = with(sim, &mut device, n, &|mut bytes| {
                let at = at.index(bytes.len());
                bytes[at] ^= flip;
                bytes
            });
            same_or_refused(sim, checked);
            device.permitted(sim);
        });
    }

    #[test]
    fn any_bytes_are_refused_at_every_fetch(
        by_bundle in any::<bool>(),
        n in 1_usize..8,
        bytes in prop::collection::vec(any::<u8>(), 0..400),
    ) {
        thread_local!(static SIM: Simulator = Simulator::new());
        SIM.with(|sim| {
            let by = if by_bundle { By::Bundle } else { By::Static };
            let mut device = Device::new(sim, by);
            let checked = with(sim, &mut device, n, &|_| bytes.clone());
            same_or_refused(sim, checked);
            device.permitted(sim);
        });
    }
}
