//! Check bundles that bring only what the device lacks: what they cost, and what becomes of those that do not fit.

use assay_schema::Stage;
use assay_schema::bundle::{BundleDifference, Held};
use assay_schema::difference::{Edit, Part};
use assay_schema::limits::MAX_EDITS;
use assay_verifier::{Answer, Fetch, Resource};

use crate::support::*;

fn named(device: &Device) -> String {
    match &device.requests[0].resource {
        Resource::Bundle { have, .. } => have.to_string(),
        other => panic!("expected a check bundle, found {other:?}"),
    }
}

/// A namespace whose device has its first release, and which has another one since.
fn behind() -> (Simulator, Device) {
    let mut sim = Simulator::new();
    let mut device = Device::new(&sim, By::Bundle);
    device.permitted(&sim);
    sim.release(draft("1.1.0", 2));
    (sim, device)
}

/// Serves bundles that were changed on their way.
fn tampered(sim: &Simulator, change: impl Fn(&mut BundleDifference)) -> impl Fn(&Fetch) -> Answer {
    move |fetch| match (sim.serve(fetch), &fetch.resource) {
        (Answer::Found { bytes, etag }, Resource::Bundle { .. }) => {
            let mut sent = serde_json::from_slice(&bytes).unwrap();
            change(&mut sent);
            let bytes = serde_json::to_vec(&sent).unwrap();
            Answer::Found { bytes, etag }
        }
        (other, _) => other,
    }
}

#[test]
fn a_device_names_what_it_has_and_a_new_release_is_one_request() {
    let (sim, mut device) = behind();
    let kept = device.cached.clone().unwrap();
    let mut new = Device::new(&sim, By::Bundle);
    new.permitted(&sim);
    assert_eq!(named(&new), "", "a device without state names nothing");
    let approved = device.permitted(&sim);
    assert_eq!(approved.manifest().version, version("1.1.0"));
    assert_eq!(device.requests.len(), 1, "{:?}", device.requests);
    assert_eq!(
        named(&device),
        "model.minilm.0:1,snapshot:4,targets:3,release:1.0.0"
    );
    // What it keeps is the whole bundle, as if it had never had another.
    assert_eq!(device.cached, new.cached);
    assert_ne!(device.cached, Some(kept));
    device.permitted(&sim);
    assert_eq!(sim.serve(&device.requests[0]), Answer::NotModified);
}

#[test]
fn a_device_that_lost_its_cache_still_names_its_snapshot() {
    let (sim, mut device) = behind();
    device.cached = None;
    device.permitted(&sim);
    assert_eq!(named(&device), "snapshot:4");
    assert_eq!(device.requests.len(), 1);
}

#[test]
fn a_check_of_a_certain_version_takes_differences_too() {
    let (sim, device) = behind();
    let mut device = device.wants("1.0.0");
    assert_eq!(device.permitted(&sim).manifest().version, version("1.0.0"));
    assert_eq!(device.requests.len(), 1);
}

#[test]
fn a_difference_that_does_not_fit_costs_requests_only() {
    let (sim, device) = behind();
    let copy = |offset, length| Part::Edits(vec![Edit::Copy([offset, length])]);
    // Outside its base, of another version, cut off, changed by one letter, and one that blows up.
    let wrong = [
        copy(0, u64::MAX),
        copy(u64::MAX, 2),
        copy(0, 40),
        Part::Edits(Vec::new()),
        Part::Whole("{}".to_owned()),
        Part::Edits(vec![Edit::Copy([0, 500]); MAX_EDITS]),
    ];
    for wrong in wrong {
        for at in 0..4 {
            let serve = tampered(&sim, |sent| {
                let part = match at {
                    0 => &mut sent.snapshot,
                    1 => &mut sent.targets,
                    2 => &mut sent.delegated[0].metadata,
                    _ => &mut sent.blobs[0].content,
                };
                *part = wrong.clone();
            });
            let mut device = device.clone();
            let approved = permit(device.check_with(sim.now, serve));
            assert_eq!(approved.manifest().version, version("1.1.0"));
            assert_eq!(device.requests.len(), 2, "{at}: {:?}", device.requests);
        }
    }
}

#[test]
fn a_difference_for_somebody_else_costs_requests_only() {
    let (sim, mut device) = behind();
    // The registry mixes up who has what.
    let approved = permit(device.check_with(sim.now, |fetch| {
        let mut fetch = fetch.clone();
        if let Resource::Bundle { have, .. } = &mut fetch.resource {
            *have = "snapshot:2,targets:2,model.minilm.0:2,release:1.1.0"
                .parse::<Held>()
                .unwrap();
        }
        sim.serve(&fetch)
    }));
    assert_eq!(approved.manifest().version, version("1.1.0"));
    assert!(device.requests.len() <= 7, "{:?}", device.requests);
}

#[test]
fn a_blob_without_its_base_is_fetched() {
    let (sim, mut device) = behind();
    let serve = tampered(&sim, |sent| {
        for blob in &mut sent.blobs {
            blob.base = Some(assay_schema::Sha256Digest::new([7; 32]));
            blob.content = Part::Edits(vec![Edit::Copy([0, 1])]);
        }
    });
    permit(device.check_with(sim.now, serve));
    assert!(device.requests.len() > 1);
}

#[test]
fn refuses_a_difference_that_is_none() {
    let (sim, device) = behind();
    let many = format!("[{}\"\"]", "\"\",".repeat(MAX_EDITS));
    for snapshot in ["1", "[[1]]", "[[1,2,3]]", &many] {
        let text = format!("{{\"v\":1,\"timestamp\":\"\",\"snapshot\":{snapshot},\"targets\":\"\"}}");
        let mut device = device.clone();
        let refused = refuse(device.check_with(sim.now, |_| Answer::Found {
            bytes: text.clone().into_bytes(),
            etag: None,
        }));
        assert_eq!(refused, code(Stage::Freshness, "malformed"));
    }
}

#[test]
fn a_damaged_cache_names_what_it_likes_and_costs_requests_only() {
    let (sim, device) = behind();
    let kept = device.cached.clone().unwrap();
    for at in (0..kept.bytes.len()).step_by(53) {
        let mut damaged = kept.clone();
        damaged.bytes[at] = b'9';
        let mut device = device.clone();
        device.cached = Some(damaged);
        device.permitted(&sim);
        assert!(device.requests.len() <= 8, "{at}: {:?}", device.requests);
    }
}
