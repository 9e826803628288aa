//! Hashes and proofs: published roots, every small size, another implementation, and forged proofs.

use assay_log::merkle::{
    Frontier, MerkleError, Node, Plan, TreeHead, leaf_hash, node_hash, peaks, verify_consistency,
    verify_inclusion,
};
use assay_schema::Sha256Digest;
use assay_schema::limits::MAX_LOG_SIZE;
use proptest::prelude::*;
use tlog_tiles::{Hash, HashReader, check_record, check_tree, prove_record, prove_tree, stored_hashes};

use crate::support::{Leaves, entry, flip, mth};

/// The reference tree of the Certificate Transparency project: its entries, and the roots of its first 1 to 8 of them.
const ENTRIES: [&str; 8] = [
    "",
    "00",
    "10",
    "2021",
    "3031",
    "40414243",
    "5051525354555657",
    "606162636465666768696a6b6c6d6e6f",
];
const ROOTS: [&str; 8] = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
];

#[test]
fn the_reference_tree_has_its_published_roots() {
    let mut frontier = Frontier::empty();
    assert_eq!(frontier.head(), TreeHead::EMPTY);
    for (entry, root) in ENTRIES.iter().zip(ROOTS) {
        frontier
            .push(leaf_hash(&hex::decode(entry).unwrap()), |_, _| ())
            .unwrap();
        assert_eq!(frontier.head().root.to_hex(), root, "{} entries", frontier.size());
    }
}

/// The store of Go's `tlog`: all complete subtrees in the order in which they arise.
#[derive(Default)]
struct Stored(Vec<Hash>);

impl HashReader for Stored {
    fn read_hashes(&self, indexes: &[u64]) -> Result<Vec<Hash>, tlog_tiles::Error> {
        Ok(indexes.iter().map(|i| self.0[*i as usize]).collect())
    }
}

fn theirs(digest: &Sha256Digest) -> Hash {
    Hash(*digest.as_bytes())
}

fn ours(hashes: &[Hash]) -> Vec<Sha256Digest> {
    hashes.iter().map(|h| Sha256Digest::new(h.0)).collect()
}

#[test]
fn every_proof_of_every_small_tree_equals_that_of_another_implementation() {
    const MAX: u64 = 70;
    let leaves = Leaves::new(MAX);
    let mut stored = Stored::default();
    for size in 1..=MAX {
        let hashes = stored_hashes(size - 1, &entry(size - 1), &stored).unwrap();
        stored.0.extend(hashes);
        let head = leaves.head(size);
        for index in 0..size {
            let proof = leaves.inclusion(index, size);
            assert_eq!(
                proof,
                ours(&prove_record(size, index, &stored).unwrap()),
                "{index} in {size}"
            );
            verify_inclusion(&leaves.0[index as usize], index, &head, &proof).unwrap();
            let proof = proof.iter().map(theirs).collect();
            check_record(
                &proof,
                size,
                theirs(&head.root),
                index,
                theirs(&leaves.0[index as usize]),
            )
            .unwrap();
        }
        for old in 1..=size {
            let proof = leaves.consistency(old, size);
            assert_eq!(
                proof,
                ours(&prove_tree(size, old, &stored).unwrap()),
                "{old} to {size}"
            );
            verify_consistency(&leaves.head(old), &head, &proof).unwrap();
            let proof = proof.iter().map(theirs).collect();
            check_tree(
                &proof,
                size,
                theirs(&head.root),
                old,
                theirs(&leaves.head(old).root),
            )
            .unwrap();
        }
    }
}

#[test]
fn the_frontier_has_the_root_of_every_size_up_to_600_and_yields_every_node() {
    let leaves = Leaves::new(600);
    let mut frontier = Frontier::empty();
    for size in 0..=600 {
        assert_eq!(frontier.head(), leaves.head(size));
        assert_eq!(TreeHead::read(size, &leaves).unwrap(), leaves.head(size));
        assert_eq!(Frontier::read(size, &leaves).unwrap(), frontier);
        assert_eq!(Frontier::new(size, frontier.peaks().to_vec()).unwrap(), frontier);
        if size == 600 {
            break;
        }
        let mut made = Vec::new();
        frontier
            .push(leaves.0[size as usize], |node, hash| made.push((node, hash)))
            .unwrap();
        assert_eq!(made.len() as u32, (size + 1).trailing_zeros() + 1);
        for (Node { level, index }, hash) in made {
            let from = (index << level) as usize;
            assert_eq!(hash, mth(&leaves.0[from..from + (1 << level)]));
        }
    }
}

#[test]
fn a_frontier_with_other_peaks_than_its_size_demands_is_refused() {
    let one = leaf_hash(b"");
    assert!(matches!(
        Frontier::new(3, vec![one]),
        Err(MerkleError::Peaks {
            expected: 2,
            found: 1,
            ..
        })
    ));
    assert!(matches!(
        Frontier::new(MAX_LOG_SIZE + 1, vec![one]),
        Err(MerkleError::TooLarge { .. })
    ));
    let mut full = Frontier::new(MAX_LOG_SIZE, vec![one; 53]).unwrap();
    let before = full.clone();
    assert!(matches!(
        full.push(one, |_, _| panic!("made a node")),
        Err(MerkleError::TooLarge { .. })
    ));
    assert_eq!(full, before);
}

#[test]
fn an_entry_outside_the_tree_is_refused() {
    let leaves = Leaves::new(4);
    let proof = leaves.inclusion(3, 4);
    let refused = verify_inclusion(&leaves.0[3], 4, &leaves.head(4), &proof);
    assert_eq!(refused, Err(MerkleError::Index { index: 4, size: 4 }));
    assert!(verify_inclusion(&leaves.0[0], 0, &TreeHead::EMPTY, &[]).is_err());
    assert!(
        verify_inclusion(
            &leaves.0[0],
            u64::MAX,
            &TreeHead {
                size: u64::MAX,
                ..leaves.head(1)
            },
            &[]
        )
        .is_err()
    );
    assert!(matches!(Plan::inclusion(4, 4), Err(MerkleError::Index { .. })));
    assert!(matches!(
        Plan::inclusion(0, u64::MAX),
        Err(MerkleError::TooLarge { .. })
    ));
}

#[test]
fn a_shrunken_tree_is_refused() {
    let leaves = Leaves::new(4);
    let refused = verify_consistency(&leaves.head(4), &leaves.head(3), &[]);
    assert_eq!(refused, Err(MerkleError::Shrunk { old: 4, new: 3 }));
    assert_eq!(
        Plan::consistency(4, 3),
        Err(MerkleError::Shrunk { old: 4, new: 3 })
    );
}

#[test]
fn a_second_root_of_one_size_is_refused() {
    let head = Leaves::new(4).head(4);
    let other = TreeHead {
        root: flip(&head.root, 0),
        ..head
    };
    assert!(matches!(
        verify_consistency(&head, &other, &[]),
        Err(MerkleError::Root { size: 4, .. })
    ));
    let empty = TreeHead { size: 0, ..head };
    for (old, new) in [
        (empty, head),
        (TreeHead::EMPTY, empty),
        (empty, TreeHead::EMPTY),
        (empty, empty),
    ] {
        assert!(matches!(
            verify_consistency(&old, &new, &[]),
            Err(MerkleError::Root { size: 0, .. })
        ));
    }
    verify_consistency(&TreeHead::EMPTY, &head, &[]).unwrap();
    verify_consistency(&TreeHead::EMPTY, &TreeHead::EMPTY, &[]).unwrap();
}

#[test]
fn hashes_where_none_belong_are_refused() {
    let head = Leaves::new(4).head(4);
    for old in [head, TreeHead::EMPTY] {
        let refused = verify_consistency(&old, &head, &[head.root]);
        assert!(matches!(refused, Err(MerkleError::Length { found: 1, .. })));
    }
    let bigger = Leaves::new(5).head(5);
    assert!(matches!(
        verify_consistency(&head, &bigger, &[]),
        Err(MerkleError::Length { found: 0, .. })
    ));
}

#[test]
fn a_path_that_goes_on_above_the_trees_height_is_refused() {
    // A root that is a node of two, under a size that has no place for them: the hashes lead there, the shape does not.
    let leaves = Leaves::new(4);
    for (size, index, proof) in [
        (1, 0, vec![leaves.0[0]]),
        (2, 1, leaves.inclusion(1, 4)),
        (2, 1, leaves.inclusion(3, 4)),
    ] {
        let root = proof
            .iter()
            .fold(leaves.0[1], |hash, sibling| node_hash(sibling, &hash));
        let refused = verify_inclusion(&leaves.0[1], index, &TreeHead { size, root }, &proof);
        assert_eq!(
            refused,
            Err(MerkleError::Length {
                proof: "inclusion",
                found: proof.len()
            })
        );
    }
    let (old, new) = (leaves.head(1), leaves.head(2));
    let proof = [leaves.0[1], leaves.0[2]];
    let root = node_hash(&leaves.0[2], &new.root);
    for root in [root, node_hash(&new.root, &leaves.0[2])] {
        let refused = verify_consistency(&old, &TreeHead { size: 2, root }, &proof);
        assert_eq!(
            refused,
            Err(MerkleError::Length {
                proof: "consistency",
                found: 2
            })
        );
    }
}

#[test]
fn a_path_that_ends_below_the_root_is_refused() {
    // A smaller tree's root under a larger size.
    let leaves = Leaves::new(4);
    for (size, proof) in [(2, vec![]), (3, vec![leaves.0[1]]), (1 << 40, vec![leaves.0[1]])] {
        let root = proof
            .iter()
            .fold(leaves.0[0], |hash, sibling| node_hash(&hash, sibling));
        let head = TreeHead { size, root };
        let refused = verify_inclusion(&leaves.0[0], 0, &head, &proof);
        assert_eq!(
            refused,
            Err(MerkleError::Length {
                proof: "inclusion",
                found: proof.len()
            })
        );
    }
    for size in [3, 4, 1 << 40] {
        let head = TreeHead {
            size,
            root: leaves.head(2).root,
        };
        let refused = verify_consistency(&leaves.head(1), &head, &[leaves.0[1]]);
        assert_eq!(
            refused,
            Err(MerkleError::Length {
                proof: "consistency",
                found: 1
            })
        );
    }
}

#[test]
fn a_node_passed_off_as_a_leaf_is_refused() {
    // Without the prefixes of RFC 6962 a node's two hashes would be an entry.
    let leaves = Leaves::new(2);
    let bytes = [*leaves.0[0].as_bytes(), *leaves.0[1].as_bytes()].concat();
    let forged = leaf_hash(&bytes);
    assert_ne!(forged, node_hash(&leaves.0[0], &leaves.0[1]));
    assert!(
        verify_inclusion(
            &forged,
            0,
            &TreeHead {
                size: 1,
                ..leaves.head(2)
            },
            &[]
        )
        .is_err()
    );
}

#[test]
fn peaks_of_the_largest_log_are_its_bits() {
    assert_eq!(peaks(MAX_LOG_SIZE).len(), 53);
    assert_eq!(peaks(u64::MAX).len(), 64);
    assert_eq!(peaks(0), []);
    assert_eq!(
        Plan::inclusion(MAX_LOG_SIZE - 1, MAX_LOG_SIZE)
            .unwrap()
            .nodes()
            .count(),
        52
    );
}

fn fork(head: TreeHead, bit: usize) -> TreeHead {
    TreeHead {
        root: flip(&head.root, bit),
        ..head
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn a_changed_inclusion_proof_is_refused((size, index, at, bit) in (2u64..600).prop_flat_map(|size| (Just(size), 0..size, any::<usize>(), 0usize..256))) {
        let leaves = Leaves::new(size);
        let head = leaves.head(size);
        let leaf = leaves.0[index as usize];
        let proof = leaves.inclusion(index, size);
        verify_inclusion(&leaf, index, &head, &proof).unwrap();
        let at = at % proof.len();
        let mut changed = proof.clone();
        changed[at] = flip(&proof[at], bit);
        prop_assert!(verify_inclusion(&leaf, index, &head, &changed).is_err());
        prop_assert!(verify_inclusion(&flip(&leaf, bit), index, &head, &proof).is_err());
        prop_assert!(verify_inclusion(&leaf, (index + 1) % size, &head, &proof).is_err());
        prop_assert!(verify_inclusion(&leaf, index, &fork(head, bit), &proof).is_err());
        changed = proof.clone();
        changed.remove(at);
        prop_assert!(verify_inclusion(&leaf, index, &head, &changed).is_err());
        changed = proof.clone();
        changed.insert(at, proof[at]);
        prop_assert!(verify_inclusion(&leaf, index, &head, &changed).is_err());
        changed = proof.clone();
        changed.push(leaf);
        prop_assert!(verify_inclusion(&leaf, index, &head, &changed).is_err());
    }

    #[test]
    fn a_changed_consistency_proof_is_refused((new, old, at, bit) in (2u64..600).prop_flat_map(|new| (Just(new), 1..new, any::<usize>(), 0usize..256))) {
        let leaves = Leaves::new(new);
        let (before, after) = (leaves.head(old), leaves.head(new));
        let proof = leaves.consistency(old, new);
        verify_consistency(&before, &after, &proof).unwrap();
        let at = at % proof.len();
        let mut changed = proof.clone();
        changed[at] = flip(&proof[at], bit);
        prop_assert!(verify_consistency(&before, &after, &changed).is_err());
        prop_assert!(verify_consistency(&fork(before, bit), &after, &proof).is_err());
        prop_assert!(verify_consistency(&before, &fork(after, bit), &proof).is_err());
        changed = proof.clone();
        changed.remove(at);
        prop_assert!(verify_consistency(&before, &after, &changed).is_err());
        changed = proof.clone();
        changed.push(after.root);
        prop_assert!(verify_consistency(&before, &after, &changed).is_err());
    }

    #[test]
    fn proofs_at_the_edge_of_u64_never_panic(index: u64, size: u64, old: u64, hashes in 0usize..70) {
        let root = leaf_hash(b"");
        let proof = vec![root; hashes];
        let _ = verify_inclusion(&root, index, &TreeHead { size, root }, &proof);
        let _ = verify_consistency(&TreeHead { size: old, root }, &TreeHead { size, root }, &proof);
        let _ = Plan::consistency(old, size);
        let _ = Plan::inclusion(index, size);
    }
}
