//! Files, manifests and publications.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod common;

use assay_authority::metadata::Delegation;
use assay_authority::namespace::CreatedNamespace;
use assay_authority::release::{
    Authority, FileHasher, HashedFile, PublishError, PublishRelease, ReleaseDraft, build_manifest,
    delegate_block, publish_release,
};
use assay_authority::{MetadataError, RoleKeys, SigningKey, Targets};
use assay_schema::api::Publication;
use assay_schema::limits::CHUNK_SIZE;
use assay_schema::tuf::{DelegationTerms, ModelRole};
use assay_schema::{ChunkIndex, ReleaseManifest, ReleaseOrder, Sha256Digest};
use common::{Keys, digest, key, now};
use proptest::prelude::*;
use sha2::{Digest, Sha256};

const ROLE: &str = "model.minilm.0";

fn sha256(bytes: &[u8]) -> Sha256Digest {
    Sha256Digest::new(Sha256::digest(bytes).into())
}

fn hash(bytes: &[u8]) -> HashedFile {
    let mut hasher = FileHasher::new();
    hasher.update(bytes);
    hasher.finish().unwrap()
}

/// A namespace, a publisher, and the metadata as it stands.
struct World {
    keys: Keys,
    namespace: CreatedNamespace,
    publisher: SigningKey,
    targets: Vec<u8>,
    role: Option<Vec<u8>>,
}

impl World {
    fn new() -> Self {
        let keys = Keys::new();
        let namespace = keys.namespace();
        let targets = namespace.body.targets.clone().into_bytes();
        Self {
            keys,
            namespace,
            publisher: key(),
            targets,
            role: None,
        }
    }

    fn manifest(&self, version: &str, epoch: u64, counter: u64, content: &[u8]) -> Vec<u8> {
        build_manifest(ReleaseDraft {
            namespace: self.namespace.identity,
            model: "minilm".parse().unwrap(),
            version: version.parse().unwrap(),
            order: ReleaseOrder::new(epoch, counter).unwrap(),
            not_before: None,
            files: vec![
                hash(content).entry("weights.bin".parse().unwrap()),
                hash(b"{}").entry("config.json".parse().unwrap()),
            ],
            attestations: Vec::new(),
        })
        .unwrap()
    }

    fn delegation(&self) -> Delegation {
        Delegation {
            keys: RoleKeys::of(&[&self.publisher], 1).unwrap(),
            terms: DelegationTerms { max_epoch: 1 },
        }
    }

    fn publish(&self, manifest: &[u8], authority: bool) -> Result<Option<Publication>, PublishError> {
        let delegation = self.delegation();
        let signers = [&self.keys.targets[0]];
        let root = self.namespace.body.root.as_bytes();
        publish_release(&PublishRelease {
            targets: &self.targets,
            role: self.role.as_deref(),
            manifest,
            publishers: &[&self.publisher],
            authority: authority.then_some(Authority {
                root,
                signers: &signers,
                delegation: &delegation,
            }),
            proposal: false,
            now: now(),
        })
    }

    /// What the registry does with a publication.
    fn accept(&mut self, publication: &Publication) {
        for (name, file) in &publication.roles {
            let bytes = file.metadata.clone().into_bytes();
            let current = if name == "targets" {
                Some(self.targets.clone())
            } else {
                self.role.clone()
            };
            assert_eq!(file.parent, current.as_deref().map(sha256), "{name}");
            if name == "targets" {
                self.targets = bytes
            } else {
                self.role = Some(bytes)
            }
        }
    }

    fn published(manifest: &dyn Fn(&Self) -> Vec<u8>) -> Self {
        let mut world = Self::new();
        let publication = world.publish(&manifest(&world), true).unwrap().unwrap();
        world.accept(&publication);
        world
    }
}

#[test]
fn the_first_release_comes_with_its_delegation() {
    let mut world = World::new();
    let manifest = world.manifest("1.0.0", 1, 1, b"w");
    let publication = world.publish(&manifest, true).unwrap().unwrap();
    assert_eq!(publication.roles.keys().collect::<Vec<_>>(), [ROLE, "targets"]);
    assert_eq!(publication.roles["targets"].parent, Some(sha256(&world.targets)));
    assert_eq!(publication.roles[ROLE].parent, None);
    world.accept(&publication);
    let role = Targets::read(world.role.as_ref().unwrap()).unwrap();
    assert_eq!((role.role(), role.version().unwrap()), (ROLE, 1));
    assert_eq!(role.binding().unwrap().namespace, world.namespace.identity);
    let target = role.target("models/minilm/0/1.0.0.json").unwrap().unwrap();
    assert_eq!(
        (target.sha256, target.length),
        (sha256(&manifest), manifest.len() as u64)
    );
    assert_eq!(target.note.order, Some(ReleaseOrder::new(1, 1).unwrap()));
    let top = Targets::read(&world.targets).unwrap();
    assert_eq!(top.version().unwrap(), 2);
    assert!(top.target("trust/signers.json").unwrap().is_some());
}

#[test]
fn later_releases_need_the_publisher_only() {
    let mut world = World::published(&|w| w.manifest("1.0.0", 1, 1, b"w"));
    let parent = sha256(world.role.as_ref().unwrap());
    let publication = world
        .publish(&world.manifest("1.1.0", 1, 2, b"x"), false)
        .unwrap()
        .unwrap();
    assert_eq!(publication.roles.len(), 1);
    assert_eq!(publication.roles[ROLE].parent, Some(parent));
    world.accept(&publication);
    let role = Targets::read(world.role.as_ref().unwrap()).unwrap();
    assert_eq!((role.version().unwrap(), role.targets().unwrap().len()), (2, 2));
}

#[test]
fn publishing_again_changes_nothing_and_other_content_is_refused() {
    let world = World::published(&|w| w.manifest("1.0.0", 1, 1, b"w"));
    assert_eq!(
        world
            .publish(&world.manifest("1.0.0", 1, 1, b"w"), false)
            .unwrap(),
        None
    );
    for changed in [
        world.manifest("1.0.0", 1, 1, b"other"),
        world.manifest("1.0.0", 1, 2, b"w"),
    ] {
        let result = world.publish(&changed, false);
        assert!(
            matches!(
                result,
                Err(PublishError::Metadata(MetadataError::ReleaseChanged { .. }))
            ),
            "{result:?}"
        );
    }
}

#[test]
fn an_order_that_another_release_has_is_refused() {
    let world = World::published(&|w| w.manifest("1.0.0", 1, 1, b"w"));
    let result = world.publish(&world.manifest("1.0.1", 1, 1, b"x"), false);
    assert!(
        matches!(result, Err(PublishError::OrderTaken { .. })),
        "{result:?}"
    );
}

#[test]
fn a_block_that_nobody_delegated_is_refused() {
    let world = World::published(&|w| w.manifest("1.0.0", 1, 99, b"w"));
    let next_block = World { role: None, ..world };
    let result = next_block.publish(&next_block.manifest("1.0.1", 1, 100, b"x"), false);
    assert!(
        matches!(&result, Err(PublishError::NotDelegated { role }) if role == "model.minilm.1"),
        "{result:?}"
    );
    assert!(
        next_block
            .publish(&next_block.manifest("1.0.1", 1, 100, b"x"), true)
            .unwrap()
            .is_some()
    );
}

#[test]
fn an_epoch_that_the_authority_did_not_permit_is_refused() {
    let world = World::published(&|w| w.manifest("1.0.0", 1, 1, b"w"));
    let result = world.publish(&world.manifest("2.0.0", 2, 2, b"x"), false);
    assert!(
        matches!(result, Err(PublishError::Epoch { max_epoch: 1, .. })),
        "{result:?}"
    );
}

#[test]
fn the_authority_permits_a_new_epoch_and_another_publisher() {
    let mut world = World::published(&|w| w.manifest("1.0.0", 1, 1, b"w"));
    world.publisher = key();
    let delegation = Delegation {
        terms: DelegationTerms { max_epoch: 2 },
        ..world.delegation()
    };
    let signers = [&world.keys.targets[1]];
    let root = world.namespace.body.root.as_bytes();
    let authority = Authority {
        root,
        signers: &signers,
        delegation: &delegation,
    };
    let role = ModelRole::parse(ROLE).unwrap();
    let file = delegate_block(&world.targets, &role, &authority, now()).unwrap();
    assert_eq!(file.parent, Some(sha256(&world.targets)));
    let without = Authority {
        signers: &[],
        ..authority
    };
    let result = delegate_block(&world.targets, &role, &without, now());
    assert!(
        matches!(
            result,
            Err(PublishError::Metadata(MetadataError::NotEnough { .. }))
        ),
        "{result:?}"
    );
    let result = delegate_block(world.role.as_ref().unwrap(), &role, &authority, now());
    assert!(
        matches!(result, Err(PublishError::Elsewhere { .. })),
        "{result:?}"
    );
    world.accept(&Publication {
        roles: [("targets".to_owned(), file)].into(),
        manifests: Vec::new(),
    });
    let publication = world
        .publish(&world.manifest("2.0.0", 2, 2, b"x"), false)
        .unwrap()
        .unwrap();
    world.accept(&publication);
    assert_eq!(
        Targets::read(world.role.as_ref().unwrap())
            .unwrap()
            .targets()
            .unwrap()
            .len(),
        2
    );
}

#[test]
fn another_publishers_key_is_refused() {
    let mut world = World::published(&|w| w.manifest("1.0.0", 1, 1, b"w"));
    world.publisher = key();
    let result = world.publish(&world.manifest("1.1.0", 1, 2, b"x"), false);
    assert!(
        matches!(
            result,
            Err(PublishError::Metadata(MetadataError::NotListed { .. }))
        ),
        "{result:?}"
    );
}

#[test]
fn metadata_of_another_namespace_or_role_is_refused() {
    let world = World::published(&|w| w.manifest("1.0.0", 1, 1, b"w"));
    let other = World::published(&|w| w.manifest("1.0.0", 1, 1, b"w"));
    let manifest = world.manifest("1.1.0", 1, 2, b"x");
    let mixed = [
        World {
            role: other.role.clone(),
            ..World {
                keys: Keys::new(),
                namespace: world.namespace.clone(),
                publisher: world.publisher.clone(),
                targets: world.targets.clone(),
                role: None,
            }
        },
        World {
            role: Some(world.targets.clone()),
            keys: Keys::new(),
            namespace: world.namespace.clone(),
            publisher: world.publisher.clone(),
            targets: world.targets.clone(),
        },
        World {
            role: None,
            keys: Keys::new(),
            namespace: world.namespace.clone(),
            publisher: world.publisher.clone(),
            targets: other.targets.clone(),
        },
    ];
    for (at, mixed) in mixed.iter().enumerate() {
        let result = mixed.publish(&manifest, false);
        assert!(
            matches!(result, Err(PublishError::Elsewhere { .. })),
            "{at}: {result:?}"
        );
    }
}

#[test]
fn a_manifest_sorts_its_files_and_refuses_bad_ones() {
    let world = World::new();
    let manifest = ReleaseManifest::parse(&world.manifest("1.0.0", 1, 1, b"w")).unwrap();
    let paths: Vec<_> = manifest.files.iter().map(|f| f.path.as_str()).collect();
    assert_eq!(paths, ["config.json", "weights.bin"]);
    let entry = |path: &str| hash(b"a").entry(path.parse().unwrap());
    for files in [
        vec![],
        vec![entry("a"), entry("a")],
        vec![entry("a"), entry("A")],
        vec![entry("a"), entry("a/b")],
    ] {
        let draft = ReleaseDraft {
            namespace: digest(1),
            model: "m".parse().unwrap(),
            version: "1".parse().unwrap(),
            order: ReleaseOrder::new(1, 1).unwrap(),
            not_before: None,
            files,
            attestations: Vec::new(),
        };
        assert!(build_manifest(draft).is_err());
    }
}

#[test]
fn chunks_computed_out_of_order_give_the_same_entry() {
    let chunk = CHUNK_SIZE as usize;
    for len in [0, 1, chunk - 1, chunk, chunk + 1, 3 * chunk, 3 * chunk + 7] {
        let bytes: Vec<u8> = (0..len).map(|i| (i * 31 % 251) as u8).collect();
        let digests: Vec<_> = bytes.chunks(chunk).map(sha256).collect();
        let parts = HashedFile::from_parts(len as u64, sha256(&bytes), digests).unwrap();
        let hashed = hash(&bytes);
        assert_eq!(hashed, parts, "{len}");
        let entry = hashed.entry("a".parse().unwrap());
        assert_eq!((entry.size, entry.sha256), (len as u64, sha256(&bytes)));
        assert_eq!(entry.chunks.is_some(), len > chunk, "{len}");
        if let Some((blob, digest)) = hashed.index_blob() {
            assert_eq!(entry.chunks, Some(digest));
            assert_eq!(digest, sha256(&blob));
            assert_eq!(
                ChunkIndex::decode(&blob, len as u64).unwrap(),
                *hashed.index().unwrap()
            );
        }
    }
}

#[test]
fn digests_that_do_not_fit_the_file_are_refused() {
    assert!(HashedFile::from_parts(1, digest(1), vec![]).is_err());
    assert!(HashedFile::from_parts(0, digest(1), vec![digest(1)]).is_err());
    assert!(HashedFile::from_parts(1, digest(1), vec![digest(2)]).is_err());
    assert!(HashedFile::from_parts(u64::MAX, digest(1), vec![digest(1)]).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]
    #[test]
    fn pieces_of_any_size_give_the_same_digests(cuts in prop::collection::vec(0_usize..2_500_000, 0..8)) {
        let bytes: Vec<u8> = (0..2_500_000_usize).map(|i| (i * 7 % 253) as u8).collect();
        let mut cuts = cuts;
        cuts.extend([0, bytes.len()]);
        cuts.sort_unstable();
        let mut hasher = FileHasher::new();
        for pair in cuts.windows(2) {
            hasher.update(&bytes[pair[0]..pair[1]]);
        }
        prop_assert_eq!(hasher.size(), bytes.len() as u64);
        prop_assert_eq!(hasher.finish().unwrap(), hash(&bytes));
    }
}
