//! The check bundle, and what an unchanged check costs on the wire.

use std::io::{Read, Write};

use assay_schema::CheckBundle;
use assay_schema::api::Visibility;
use assay_schema::bundle::BundleDifference;
use assay_schema::difference::{Edit, Part};
use assay_server::config::StorageConfig;
use assay_verifier::{Pin, Route, Want};

use crate::authority::{Authority, publication, role, sha256, sign};
use crate::support::{Registry, device, device_with, digest_of};

const CHECK: &str = "/v1/namespaces/acme/models/minilm/check";

#[actix_web::test]
async fn a_bundle_holds_what_a_device_needs_and_a_device_takes_it_in_two_requests() {
    let registry = Registry::new().await;
    let authority = registry.namespace("acme", Visibility::Public).await;
    let (manifest, file) = registry.first_release("acme", &authority).await;
    let answer = registry.get(&format!("{CHECK}?root=1")).await.expect(200);
    // A weak one: it names the state, which has several forms.
    assert!(answer.header("etag").starts_with("W/\""));
    assert_eq!(answer.header("vary"), "accept-encoding");
    assert_eq!(answer.header("cache-control"), "no-cache");
    let bundle: CheckBundle = answer.json();
    assert!(bundle.roots.is_empty());
    assert_eq!(bundle.delegated[0].metadata, file);
    assert_eq!(bundle.blobs[0].sha256, digest_of(&manifest));
    assert_eq!(sha256(bundle.blobs[0].content.as_bytes()), digest_of(&manifest));

    let checked = device(
        &registry,
        "acme",
        &authority,
        Want::Highest,
        Route::Bundle { cached: None },
    )
    .await;
    assert!(checked.requests.len() <= 2, "{:?}", checked.requests);
    let approved = checked.permitted();
    assert_eq!(approved.manifest_digest(), digest_of(&manifest));
}

#[actix_web::test]
async fn a_device_takes_the_same_release_by_the_static_paths() {
    let registry = Registry::new().await;
    let authority = registry.namespace("acme", Visibility::Public).await;
    let (manifest, _) = registry.first_release("acme", &authority).await;
    let checked = device(
        &registry,
        "acme",
        &authority,
        Want::Highest,
        Route::Static { cached: None },
    )
    .await;
    assert!(checked.requests.len() <= 7, "{:?}", checked.requests);
    assert_eq!(checked.permitted().manifest_digest(), digest_of(&manifest));
}

#[actix_web::test]
async fn the_highest_comes_by_default_and_a_certain_version_when_asked_for() {
    let registry = Registry::new().await;
    let authority = registry.namespace("acme", Visibility::Public).await;
    let (first, file) = registry.first_release("acme", &authority).await;
    let second = registry
        .candidate("acme", &authority, "0.9.0", 2, &[b"two"])
        .await;
    let next = authority.model(&role("minilm"), 2, &[&first, &second]);
    registry
        .publish("acme", &publication(&[("model.minilm.0", &next, Some(&file))]))
        .await
        .expect(200);
    let highest: CheckBundle = registry.get(&format!("{CHECK}?root=1")).await.expect(200).json();
    assert_eq!(highest.blobs[0].sha256, digest_of(&second));
    let older: CheckBundle = registry
        .get(&format!("{CHECK}?root=1&version=1.0.0"))
        .await
        .expect(200)
        .json();
    assert_eq!(older.blobs[0].sha256, digest_of(&first));
    // Wherever the device says that it stands, a root that does not exist changes nothing.
    let ahead: CheckBundle = registry.get(&format!("{CHECK}?root=99")).await.expect(200).json();
    assert_eq!(ahead, highest);
    let behind: CheckBundle = registry.get(&format!("{CHECK}?root=0")).await.expect(200).json();
    assert_eq!(behind.roots, [authority.root]);
}

#[actix_web::test]
async fn refuses_checks_of_what_is_not_published() {
    let registry = Registry::new().await;
    let authority = registry.namespace("acme", Visibility::Public).await;
    registry.candidate("acme", &authority, "1.0.0", 1, &[b"x"]).await;
    for query in ["?root=1", "?root=1&version=1.0.0", "?root=1&version=9"] {
        registry
            .get(&format!("{CHECK}{query}"))
            .await
            .expect(404)
            .problem("not-found");
    }
    for query in ["", "?root=x", "?root=1&unknown=1", "?root=-1"] {
        registry
            .get(&format!("{CHECK}{query}"))
            .await
            .expect(400)
            .problem("bad-request");
    }
    registry
        .get(&format!("{CHECK}?root=1&version=.."))
        .await
        .expect(400)
        .problem("bad-name");
}

#[actix_web::test]
async fn a_bundle_changes_with_every_commit_and_only_then() {
    let registry = Registry::new().await;
    let authority = registry.namespace("acme", Visibility::Public).await;
    let (first, file) = registry.first_release("acme", &authority).await;
    let path = format!("{CHECK}?root=1");
    let tag = registry.get(&path).await.header("etag").to_owned();
    registry.pass(jiff::SignedDuration::from_hours(2));
    registry
        .get_with(&path, &[("if-none-match", &tag)])
        .await
        .expect(304);
    registry.pass(jiff::SignedDuration::from_hours(12));
    resigned(&registry).await;
    let answer = registry
        .get_with(&path, &[("if-none-match", &tag)])
        .await
        .expect(200);
    let second = registry
        .candidate("acme", &authority, "1.1.0", 2, &[b"two"])
        .await;
    let next = authority.model(&role("minilm"), 2, &[&first, &second]);
    registry
        .publish("acme", &publication(&[("model.minilm.0", &next, Some(&file))]))
        .await
        .expect(200);
    let tag = answer.header("etag").to_owned();
    registry
        .get_with(&path, &[("if-none-match", &tag)])
        .await
        .expect(200);
}

/// A namespace with two releases, and what a device came to that checked the first one.
async fn second_release(registry: &Registry) -> (Authority, assay_verifier::Approved, Pin) {
    let authority = registry.namespace("acme", Visibility::Public).await;
    let (first, file) = registry.first_release("acme", &authority).await;
    let route = Route::Bundle { cached: None };
    let approved = device(registry, "acme", &authority, Want::Highest, route)
        .await
        .permitted();
    let second = registry
        .candidate("acme", &authority, "1.1.0", 2, &[b"weights of two"])
        .await;
    let next = authority.model(&role("minilm"), 2, &[&first, &second]);
    registry
        .publish("acme", &publication(&[("model.minilm.0", &next, Some(&file))]))
        .await
        .expect(200);
    let pin = Pin::new("acme".parse().unwrap(), authority.identity);
    (authority, approved, pin)
}

#[actix_web::test]
async fn a_device_with_the_release_before_gets_the_differences_and_rebuilds_the_same_files() {
    let registry = Registry::new().await;
    let (authority, before, pin) = second_release(&registry).await;
    let route = Route::Bundle {
        cached: before.bundle().cloned(),
    };
    let checked = device_with(&registry, &pin, before.state().clone(), Want::Highest, route).await;
    assert_eq!(checked.requests.len(), 1, "{:?}", checked.requests);
    let path = checked.requests[0].clone();
    assert!(
        path.ends_with("&have=model.minilm.0:1,snapshot:2,targets:1,release:1.0.0"),
        "{path}"
    );
    let approved = checked.permitted();
    assert_eq!(approved.manifest().version.as_str(), "1.1.0");
    let sent = registry.get(&path).await.expect(200);
    let difference: BundleDifference = sent.json();
    assert_eq!(
        difference.targets,
        Part::Edits(vec![Edit::Copy([
            0,
            authority.targets(1, &[role("minilm")], &[]).len() as u64
        ])]),
        "unchanged"
    );
    assert!(matches!(difference.snapshot, Part::Edits(_)));
    assert!(matches!(difference.delegated[0].metadata, Part::Edits(_)));
    assert!(matches!(difference.blobs[0].content, Part::Edits(_)));
    // What the device rebuilt and keeps is what a new device is sent.
    let whole = registry.get(&format!("{CHECK}?root=1")).await.expect(200);
    assert!(
        sent.body.len() < whole.body.len() / 2,
        "{} of {}",
        sent.body.len(),
        whole.body.len()
    );
    let kept: CheckBundle = serde_json::from_slice(&approved.bundle().unwrap().bytes).unwrap();
    assert_eq!(kept, whole.json());
    assert_eq!(whole.header("etag"), sent.header("etag"));
}

#[actix_web::test]
async fn an_unchanged_state_is_304_whatever_a_device_names_but_roots_are_never_withheld() {
    let registry = Registry::new().await;
    second_release(&registry).await;
    let tag = registry
        .get(&format!("{CHECK}?root=1"))
        .await
        .header("etag")
        .to_owned();
    let with_tag = [("if-none-match", tag.as_str())];
    for query in [
        "root=1",
        "root=9",
        "root=1&log=7",
        "root=1&have=snapshot:1,release:1.1.0",
    ] {
        let path = format!("{CHECK}?{query}");
        registry.get_with(&path, &with_tag).await.expect(304);
    }
    let behind = registry.get_with(&format!("{CHECK}?root=0"), &with_tag).await;
    assert_eq!(behind.expect(200).json::<CheckBundle>().roots.len(), 1);
}

#[actix_web::test]
async fn names_of_what_does_not_exist_or_is_not_published_grant_nothing() {
    let registry = Registry::new().await;
    let (authority, ..) = second_release(&registry).await;
    registry
        .candidate("acme", &authority, "2.0.0", 3, &[b"not yet published"])
        .await;
    let whole = registry.get(&format!("{CHECK}?root=1")).await;
    for have in [
        "snapshot:99",
        "model.other.0:1",
        "release:9.9.9",
        "release:2.0.0",
        "status:1",
        "targets:0",
    ] {
        let answer = registry
            .get(&format!("{CHECK}?root=1&have={have}"))
            .await
            .expect(200);
        assert_eq!(answer.body, whole.body, "{have}");
    }
    for have in [
        "snapshot",
        "snapshot:x",
        "timestamp:1",
        "release:..",
        "snapshot:1,snapshot:2",
    ] {
        registry
            .get(&format!("{CHECK}?root=1&have={have}"))
            .await
            .expect(400)
            .problem("bad-request");
    }
}

#[actix_web::test]
async fn whoever_asks_for_gzip_gets_it() {
    let registry = Registry::new().await;
    second_release(&registry).await;
    let path = format!("{CHECK}?root=1");
    let plain = registry.get(&path).await.expect(200);
    assert!(!plain.headers.contains_key("content-encoding"));
    let coded = registry
        .get_with(&path, &[("accept-encoding", "gzip, br")])
        .await
        .expect(200);
    assert_eq!(coded.header("content-encoding"), "gzip");
    assert_eq!(coded.header("etag"), plain.header("etag"));
    let mut read = Vec::new();
    flate2::read::GzDecoder::new(&coded.body[..])
        .read_to_end(&mut read)
        .unwrap();
    assert_eq!(read, plain.body);
    assert!(coded.body.len() < plain.body.len());
}

async fn resigned(registry: &Registry) {
    assert_eq!(assay_server::publish::resign::all_due(&registry.state).await, 1);
}

#[actix_web::test]
async fn trust_targets_that_are_not_inline_are_in_the_bundle() {
    let registry = Registry::new().await;
    let authority = registry.namespace("acme", Visibility::Public).await;
    registry.first_release("acme", &authority).await;
    let text = "theirs";
    registry.upload("acme", text.as_bytes()).await;
    let mut targets = authority.targets_value(2, &[role("minilm")], &[("trust/other.json", text)]);
    targets["targets"]["trust/other.json"]
        .as_object_mut()
        .unwrap()
        .remove("custom");
    let bare = sign(&targets, &authority.targets_keys);
    let first = authority.targets(1, &[role("minilm")], &[]);
    registry
        .publish("acme", &publication(&[("targets", &bare, Some(&first))]))
        .await
        .expect(200);
    let bundle: CheckBundle = registry.get(&format!("{CHECK}?root=1")).await.expect(200).json();
    assert!(
        bundle.blobs.iter().any(|b| b.content == text),
        "{:?}",
        bundle.blobs
    );
}

/// One request over a real connection; gives the whole answer with its headers.
fn ask(address: std::net::SocketAddr, request: &str) -> Vec<u8> {
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    answer
}

#[actix_web::test]
async fn an_unchanged_check_costs_at_most_a_kilobyte_on_the_wire() {
    let registry = Registry::new().await;
    let authority = registry.namespace("acme", Visibility::Public).await;
    let (manifest, _) = registry.first_release("acme", &authority).await;
    let path = format!("{CHECK}?root=1");
    let tag = registry.get(&path).await.header("etag").to_owned();
    let running = assay_server::run::start(registry.state.clone()).await.unwrap();
    let address = running.address;
    let blob = format!("/v1/namespaces/acme/blobs/{}", manifest.files[0].sha256);
    let (unchanged, head) = tokio::task::spawn_blocking(move || {
        let rest = "Host: registry\r\nConnection: close\r\n\r\n";
        let unchanged = ask(
            address,
            &format!("GET {path} HTTP/1.1\r\nIf-None-Match: {tag}\r\n{rest}"),
        );
        let head = ask(address, &format!("HEAD {blob} HTTP/1.1\r\n{rest}"));
        (unchanged, String::from_utf8(head).unwrap().to_lowercase())
    })
    .await
    .unwrap();
    assert!(
        unchanged.starts_with(b"HTTP/1.1 304"),
        "{}",
        String::from_utf8_lossy(&unchanged)
    );
    assert!(unchanged.len() <= 1024, "{} bytes", unchanged.len());
    // HEAD tells the length and sends nothing.
    assert!(head.starts_with("http/1.1 200"), "{head}");
    assert!(
        head.contains(&format!("content-length: {}\r\n", manifest.files[0].size)),
        "{head}"
    );
    assert!(
        head.contains("repr-digest: sha-256=:") && head.ends_with("\r\n\r\n"),
        "{head}"
    );
    running.stop().await.unwrap();
}

#[actix_web::test]
async fn an_unchanged_bundle_is_not_assembled_again() {
    let registry = Registry::new().await;
    let authority = registry.namespace("acme", Visibility::Public).await;
    registry.first_release("acme", &authority).await;
    let path = format!("{CHECK}?root=1");
    let first = registry.get(&path).await.expect(200);
    // Without its objects the registry cannot assemble anything.
    let StorageConfig::Folder(storage) = &registry.state.config.storage else {
        panic!("a folder")
    };
    std::fs::remove_dir_all(storage).unwrap();
    let again = registry.get(&path).await.expect(200);
    assert_eq!(first.body, again.body);
    let tag = first.header("etag").to_owned();
    registry
        .get_with(&path, &[("if-none-match", &tag)])
        .await
        .expect(304);
    registry
        .get(&format!("{CHECK}?root=0"))
        .await
        .expect(500)
        .problem("internal");
}

#[actix_web::test]
async fn a_version_with_a_plus_is_found_by_every_path() {
    let registry = Registry::new().await;
    let authority = registry.namespace("acme", Visibility::Public).await;
    let manifest = registry
        .candidate("acme", &authority, "1.0.0+cpu", 1, &[b"weights"])
        .await;
    let file = authority.model(&role("minilm"), 1, &[&manifest]);
    registry
        .publish("acme", &publication(&[("model.minilm.0", &file, None)]))
        .await
        .expect(200);
    registry
        .get(&format!("{CHECK}?root=1&version=1.0.0%2Bcpu"))
        .await
        .expect(200);
    let path = role("minilm").manifest_path(&manifest.version);
    let target = assay_schema::tuf::consistent_target(&path, &digest_of(&manifest));
    for spelling in [target.clone(), target.replace('+', "%2B")] {
        registry
            .get(&format!("/tuf/acme/targets/{spelling}"))
            .await
            .expect(200);
    }
    registry
        .get("/v1/namespaces/acme/models/minilm/releases/1.0.0+cpu")
        .await
        .expect(200);
}
