//! Checking proofs, by the algorithms of RFC 9162.

use assay_schema::Sha256Digest;

use super::{MerkleError, TreeHead, node_hash};

/// Checks that `leaf` is entry `index` of the tree (RFC 9162 2.1.3.2).
///
/// # Errors
/// The tree has no such entry, the proof has another length, or it leads to another root.
pub fn verify_inclusion(
    leaf: &Sha256Digest,
    index: u64,
    head: &TreeHead,
    proof: &[Sha256Digest],
) -> Result<(), MerkleError> {
    let size = head.size;
    let length = || MerkleError::Length {
        proof: "inclusion",
        found: proof.len(),
    };
    // RFC 9162 2.1.3.2 step 1.
    let Some(mut last) = size.checked_sub(1).filter(|last| index <= *last) else {
        return Err(MerkleError::Index { index, size });
    };
    let mut place = index;
    let mut hash = *leaf;
    for sibling in proof {
        // Step 4: the path is already at the root.
        if last == 0 {
            return Err(length());
        }
        if place & 1 == 1 || place == last {
            hash = node_hash(sibling, &hash);
            while place & 1 == 0 && place != 0 {
                place >>= 1;
                last >>= 1;
            }
        } else {
            hash = node_hash(&hash, sibling);
        }
        place >>= 1;
        last >>= 1;
    }
    // Step 5.
    if last != 0 {
        return Err(length());
    }
    same("inclusion", head, hash)
}

/// Checks that `old` is a prefix of `new` (RFC 9162 2.1.4.2). Of an empty tree, and of equal sizes, the proof is empty.
///
/// # Errors
/// The tree shrank, the proof has another length, or it leads to another root.
pub fn verify_consistency(old: &TreeHead, new: &TreeHead, proof: &[Sha256Digest]) -> Result<(), MerkleError> {
    let length = || MerkleError::Length {
        proof: "consistency",
        found: proof.len(),
    };
    if new.size < old.size {
        return Err(MerkleError::Shrunk {
            old: old.size,
            new: new.size,
        });
    }
    if old.size == 0 || old.size == new.size {
        if !proof.is_empty() {
            return Err(length());
        }
        // The empty tree has one root; and one size has one root.
        if old.size == 0 {
            same("consistency", old, TreeHead::EMPTY.root)?;
        }
        return match new.size {
            0 => same("consistency", new, TreeHead::EMPTY.root),
            size if size == old.size => same("consistency", old, new.root),
            _ => Ok(()),
        };
    }
    let mut path = proof.iter();
    // Step 2: a perfect older tree is a node of the newer one, and the proof leaves it out.
    let first = match old.size.is_power_of_two() {
        true => Some(old.root),
        false => path.next().copied(),
    };
    let first = first.filter(|_| !proof.is_empty()).ok_or_else(length)?;
    let (mut place, mut last) = (old.size - 1, new.size - 1);
    while place & 1 == 1 {
        place >>= 1;
        last >>= 1;
    }
    let (mut before, mut after) = (first, first);
    for sibling in path {
        if last == 0 {
            return Err(length());
        }
        if place & 1 == 1 || place == last {
            before = node_hash(sibling, &before);
            after = node_hash(sibling, &after);
            while place & 1 == 0 && place != 0 {
                place >>= 1;
                last >>= 1;
            }
        } else {
            after = node_hash(&after, sibling);
        }
        place >>= 1;
        last >>= 1;
    }
    // Step 7.
    if last != 0 {
        return Err(length());
    }
    same("consistency", old, before)?;
    same("consistency", new, after)
}

fn same(proof: &'static str, head: &TreeHead, found: Sha256Digest) -> Result<(), MerkleError> {
    match head.root == found {
        true => Ok(()),
        false => Err(MerkleError::Root {
            proof,
            size: head.size,
            expected: head.root,
            found,
        }),
    }
}
