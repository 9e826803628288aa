//! Deltas over HTTP: what publishers may attach, who may read it, and that a pair keeps the smallest.

#![allow(unreachable_pub)]

use actix_web::http::Method;
use assay_delta::matching::{ModelFile, correspond};
use assay_delta::{EncodeScratch, Encoder, Segment};
use assay_schema::api::{Scope, Visibility};
use assay_schema::delta::{AttachDelta, DeltaInfo, DeltaList, DeltaMaker};
use assay_schema::{ReleaseManifest, Sha256Digest};
use serde_json::json;

use crate::authority::{Authority, publication, role, sha256};
use crate::support::{Answer, Registry, digest_of};

pub const DELTAS: &str = "/v1/namespaces/acme/models/minilm/deltas";

/// Weights that no compressor shrinks.
pub fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed;
    let mut next = || {
        // splitmix64
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    };
    let mut bytes: Vec<u8> = (0..length.div_ceil(8))
        .flat_map(|_| next().to_le_bytes())
        .collect();
    bytes.truncate(length);
    bytes
}

/// A delta as a publisher makes it; `small` finds what both have in common.
pub fn delta(roots: [Sha256Digest; 2], bases: &[Vec<u8>], targets: &[Vec<u8>], small: bool) -> Vec<u8> {
    let segments = if small {
        correspond(&models_of(bases), &models_of(targets)).unwrap()
    } else {
        let whole = |bytes: &Vec<u8>| Segment {
            target: 0..bytes.len() as u64,
            base: None,
            dtype: assay_delta::Dtype::Bytes,
            row: None,
        };
        targets.iter().map(|bytes| vec![whole(bytes)]).collect()
    };
    let encoder = Encoder::new(roots[0], roots[1], bases, targets, segments).unwrap();
    let (mut index, mut frames, mut scratch) = (encoder.index(), Vec::new(), EncodeScratch::default());
    for (file, chunk) in encoder.chunks() {
        let encoded = encoder.encode_chunk(file, chunk, &mut scratch).unwrap();
        index.push(&encoded);
        frames.extend_from_slice(&encoded.frame);
    }
    [index.finish().unwrap(), frames].concat()
}

fn models_of(files: &[Vec<u8>]) -> Vec<ModelFile<'_>> {
    const NAMES: [&str; 2] = ["file-000.bin", "file-001.bin"];
    files
        .iter()
        .zip(NAMES)
        .map(|(bytes, path)| ModelFile {
            path,
            bytes,
            spans: &[],
        })
        .collect()
}

/// The contents of the `n`-th release: two files, of which the second never changes and the first a little.
pub fn contents(n: u64) -> Vec<Vec<u8>> {
    let mut first = noise(1, 300_000);
    let patch = noise(100 + n, 5_000);
    first[100_000..105_000].copy_from_slice(&patch);
    vec![first, noise(2, 100_000)]
}

/// Releases of `minilm`, one after the other.
pub struct Series {
    pub authority: Authority,
    pub manifests: Vec<ReleaseManifest>,
    file: Option<String>,
}

impl Series {
    pub async fn new(registry: &Registry, visibility: Visibility) -> Self {
        Self {
            authority: registry.namespace("acme", visibility).await,
            manifests: Vec::new(),
            file: None,
        }
    }

    /// Publishes the next release with these contents.
    pub async fn publish(&mut self, registry: &Registry, contents: &[Vec<u8>]) -> Sha256Digest {
        let n = self.manifests.len() as u64 + 1;
        let contents: Vec<&[u8]> = contents.iter().map(Vec::as_slice).collect();
        let manifest = registry
            .candidate("acme", &self.authority, &format!("{n}.0.0"), n, &contents)
            .await;
        let digest = digest_of(&manifest);
        self.manifests.push(manifest);
        let all: Vec<_> = self.manifests.iter().collect();
        let file = self.authority.model(&role("minilm"), n, &all);
        let sent = publication(&[("model.minilm.0", &file, self.file.as_deref())]);
        registry.publish("acme", &sent).await.expect(200);
        self.file = Some(file);
        digest
    }
}

/// Two published releases; gives their digests.
async fn two(registry: &Registry, visibility: Visibility) -> [Sha256Digest; 2] {
    let mut series = Series::new(registry, visibility).await;
    [
        series.publish(registry, &contents(1)).await,
        series.publish(registry, &contents(2)).await,
    ]
}

pub async fn attach(registry: &Registry, roots: [Sha256Digest; 2], bytes: &[u8]) -> Answer {
    registry.upload("acme", bytes).await;
    let asked = AttachDelta {
        base: roots[0],
        target: roots[1],
        blob: sha256(bytes),
    };
    registry.as_admin(Method::POST, DELTAS, &asked).await
}

pub async fn list(registry: &Registry, target: &Sha256Digest) -> Vec<DeltaInfo> {
    let list: DeltaList = registry
        .get(&format!("{DELTAS}?target={target}"))
        .await
        .expect(200)
        .json();
    list.items
}

pub fn blob_path(sha256: &Sha256Digest) -> String {
    format!("/v1/namespaces/acme/blobs/{sha256}")
}

#[actix_web::test]
async fn a_publishers_delta_is_listed_and_served_by_ranges() {
    let registry = Registry::new().await;
    let roots = two(&registry, Visibility::Public).await;
    let bytes = delta(roots, &contents(1), &contents(2), true);
    assert!(bytes.len() < 20_000, "{}", bytes.len());
    registry.upload("acme", &bytes).await;
    let path = blob_path(&sha256(&bytes));
    registry.get(&path).await.expect(404);
    let info: DeltaInfo = attach(&registry, roots, &bytes).await.expect(201).json();
    assert_eq!(
        (info.base, info.target, info.blob, info.size),
        (roots[0], roots[1], sha256(&bytes), bytes.len() as u64)
    );
    assert_eq!((info.full, info.made_by), (400_000, DeltaMaker::Publisher));
    assert_eq!(list(&registry, &roots[1]).await, std::slice::from_ref(&info));
    assert!(list(&registry, &roots[0]).await.is_empty());
    let last = info.index - 1;
    let range = format!("bytes=0-{last}");
    let head = registry.get_with(&path, &[("range", &range)]).await.expect(206);
    let index = assay_delta::Index::parse(&head.body).unwrap();
    assert_eq!(index.total(), info.size);
    assert_eq!(registry.get(&path).await.expect(200).body, bytes);
    // Only what was asked for.
    let of = |bases: String| format!("{DELTAS}?target={}&base={bases}", roots[1]);
    let found: DeltaList = registry.get(&of(roots[0].to_string())).await.expect(200).json();
    assert_eq!(found.items, [info]);
    let other = of(format!("{},{}", roots[1], sha256(b"other")));
    let found: DeltaList = registry.get(&other).await.expect(200).json();
    assert!(found.items.is_empty());
}

#[actix_web::test]
async fn of_two_deltas_of_a_pair_the_smaller_stays_and_the_other_goes_with_its_bytes() {
    let registry = Registry::new().await;
    let roots = two(&registry, Visibility::Public).await;
    let large = delta(roots, &contents(1), &contents(2), false);
    let small = delta(roots, &contents(1), &contents(2), true);
    attach(&registry, roots, &large).await.expect(201);
    let kept: DeltaInfo = attach(&registry, roots, &small).await.expect(201).json();
    registry.get(&blob_path(&sha256(&large))).await.expect(404);
    assert!(registry.state.db.blob(&sha256(&large)).await.unwrap().is_none());
    for bytes in [&large, &small] {
        let answer: DeltaInfo = attach(&registry, roots, bytes).await.expect(200).json();
        assert_eq!(answer, kept);
        assert_eq!(list(&registry, &roots[1]).await, std::slice::from_ref(&kept));
    }
}

#[actix_web::test]
async fn a_delta_whose_bytes_a_release_names_leaves_them_there() {
    let registry = Registry::new().await;
    let mut series = Series::new(&registry, Visibility::Public).await;
    let roots = [
        series.publish(&registry, &contents(1)).await,
        series.publish(&registry, &contents(2)).await,
    ];
    let bytes = delta(roots, &contents(1), &contents(2), true);
    attach(&registry, roots, &bytes).await.expect(201);
    series.publish(&registry, std::slice::from_ref(&bytes)).await;
    let path = format!("{DELTAS}/{}/{}", roots[0], roots[1]);
    registry.as_admin(Method::DELETE, &path, &()).await.expect(204);
    assert_eq!(
        registry.get(&blob_path(&sha256(&bytes))).await.expect(200).body,
        bytes
    );
}

#[actix_web::test]
async fn refuses_what_is_no_delta_between_these_releases() {
    let registry = Registry::new().await;
    let roots = two(&registry, Visibility::Public).await;
    let [base, target] = [contents(1), contents(2)];
    let good = delta(roots, &base, &target, true);
    let mut damaged = good.clone();
    damaged[97] ^= 1;
    let shorter = vec![base[0].clone(), base[1][1..].to_vec()];
    let renamed = vec![target[1].clone(), target[0].clone()];
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("garbage", noise(9, 1_000)),
        ("a few bytes", b"ASSAYDL1".to_vec()),
        ("an index that is damaged", damaged),
        ("an index that is cut", good[..200].to_vec()),
        ("frames that are cut", good[..good.len() - 1].to_vec()),
        ("bytes behind it", [good.as_slice(), b"x"].concat()),
        ("the other way", delta([roots[1], roots[0]], &target, &base, true)),
        (
            "another base",
            delta([sha256(b"x"), roots[1]], &base, &target, true),
        ),
        ("a base of another size", delta(roots, &shorter, &target, true)),
        ("a file less", delta(roots, &base[..1], &target[..1], true)),
        ("files in another order", delta(roots, &base, &renamed, true)),
    ];
    for (what, bytes) in cases {
        let problem = attach(&registry, roots, &bytes).await.problem("bad-delta");
        assert!(!problem.detail.is_empty(), "{what}");
        assert!(list(&registry, &roots[1]).await.is_empty(), "{what}");
    }
    attach(&registry, roots, &good).await.expect(201);
}

#[actix_web::test]
async fn refuses_deltas_of_releases_that_are_not_published_or_not_there() {
    let registry = Registry::new().await;
    let mut series = Series::new(&registry, Visibility::Public).await;
    let first = series.publish(&registry, &contents(1)).await;
    let two = contents(2);
    let parts: Vec<&[u8]> = two.iter().map(Vec::as_slice).collect();
    let candidate = registry
        .candidate("acme", &series.authority, "2.0.0", 2, &parts)
        .await;
    for roots in [
        [first, digest_of(&candidate)],
        [digest_of(&candidate), first],
        [first, sha256(b"nothing")],
    ] {
        let bytes = delta(roots, &contents(1), &contents(2), true);
        attach(&registry, roots, &bytes).await.problem("not-found");
    }
    // Another model's release is none of this one's.
    let bytes = delta([first, first], &contents(1), &contents(1), true);
    registry.upload("acme", &bytes).await;
    let asked = json!({"base": first, "target": first, "blob": sha256(&bytes)});
    let path = DELTAS.replace("minilm", "other");
    registry
        .as_admin(Method::POST, &path, &asked)
        .await
        .problem("not-found");
}

#[actix_web::test]
async fn refuses_a_delta_that_the_namespace_did_not_upload() {
    let registry = Registry::new().await;
    let roots = two(&registry, Visibility::Public).await;
    registry.namespace("other", Visibility::Public).await;
    let bytes = delta(roots, &contents(1), &contents(2), true);
    registry.upload("other", &bytes).await;
    let asked = json!({"base": roots[0], "target": roots[1], "blob": sha256(&bytes)});
    let problem = registry
        .as_admin(Method::POST, DELTAS, &asked)
        .await
        .problem("blobs-missing");
    assert_eq!(problem.missing, [sha256(&bytes)]);
    for body in ["{}", "null", r#"{"base": "x", "target": "y", "blob": "z"}"#] {
        registry
            .send(Method::POST, DELTAS, Some(&registry.admin), &[], body)
            .await
            .problem("bad-request");
    }
}

#[actix_web::test]
async fn refuses_lists_of_what_is_no_digest_and_of_too_many() {
    let registry = Registry::new().await;
    let [base, target] = two(&registry, Visibility::Public).await;
    registry.get(DELTAS).await.problem("bad-request");
    registry
        .get(&format!("{DELTAS}?target=x"))
        .await
        .problem("bad-name");
    registry
        .get(&format!("{DELTAS}?target={target}&base=x"))
        .await
        .problem("bad-name");
    let many = vec![base.to_string(); 65].join(",");
    registry
        .get(&format!("{DELTAS}?target={target}&base={many}"))
        .await
        .problem("bad-request");
    registry
        .get(&format!("{DELTAS}?target={target}&base={}", &many[65..]))
        .await
        .expect(200);
}

#[actix_web::test]
async fn only_publishers_attach_and_remove() {
    let registry = Registry::new().await;
    let roots = two(&registry, Visibility::Public).await;
    let bytes = delta(roots, &contents(1), &contents(2), true);
    attach(&registry, roots, &bytes).await.expect(201);
    let reader = registry.token(Scope::Read).await;
    let one = format!("{DELTAS}/{}/{}", roots[0], roots[1]);
    for (method, path) in [(Method::POST, DELTAS), (Method::DELETE, one.as_str())] {
        registry
            .send(method.clone(), path, None, &[], "{}")
            .await
            .expect(401);
        registry
            .send(method, path, Some(&reader), &[], "{}")
            .await
            .expect(403);
    }
    let publisher = registry.token(Scope::Publish).await;
    registry
        .send(Method::DELETE, &one, Some(&publisher), &[], "")
        .await
        .expect(204);
    assert!(list(&registry, &roots[1]).await.is_empty());
    registry.get(&blob_path(&sha256(&bytes))).await.expect(404);
    assert!(registry.state.db.blob(&sha256(&bytes)).await.unwrap().is_none());
    registry
        .send(Method::DELETE, &one, Some(&publisher), &[], "")
        .await
        .problem("not-found");
}

#[actix_web::test]
async fn a_private_namespaces_deltas_are_404_to_those_without_a_token() {
    let registry = Registry::new().await;
    let roots = two(&registry, Visibility::Private).await;
    let bytes = delta(roots, &contents(1), &contents(2), true);
    attach(&registry, roots, &bytes).await.expect(201);
    let reader = registry.token(Scope::Read).await;
    for path in [
        format!("{DELTAS}?target={}", roots[1]),
        blob_path(&sha256(&bytes)),
    ] {
        registry.get(&path).await.problem("not-found");
        let answer = registry
            .send(Method::GET, &path, Some(&reader), &[], "")
            .await
            .expect(200);
        assert!(!answer.header("cache-control").contains("public"), "{path}");
    }
    registry
        .send(Method::POST, DELTAS, None, &[], "{}")
        .await
        .problem("not-found");
}
