//! Following a log: it may only grow.

use assay_log::follow::{FollowError, LogState, Next, follow};
use assay_log::merkle::TreeHead;
use assay_log::policy::VerifiedCheckpoint;
use assay_log::{LogPolicy, Origin};

use crate::support::{Leaves, ORIGIN, Pair, checkpoint_of, flip, our_log, policy};

fn verified(head: TreeHead) -> VerifiedCheckpoint {
    policy().verify(&checkpoint_of(&our_log(), head)).unwrap()
}

fn state(head: TreeHead) -> LogState {
    LogState {
        origin: Origin::try_from(ORIGIN.to_owned()).unwrap(),
        head,
    }
}

fn prove(state: &LogState, head: TreeHead) -> assay_log::follow::AwaitConsistency {
    match follow(Some(state), &verified(head)).unwrap() {
        Next::Prove(prove) => prove,
        Next::Accept(_) => panic!("accepted without a proof"),
    }
}

#[test]
fn a_growing_log_is_followed_through_every_pair_of_sizes() {
    let leaves = Leaves::new(40);
    for old in 1..40 {
        let known = state(leaves.head(old));
        assert_eq!(
            follow(None, &verified(leaves.head(old))),
            Ok(Next::Accept(known.clone()))
        );
        assert_eq!(
            follow(Some(&known), &verified(leaves.head(old))),
            Ok(Next::Accept(known.clone()))
        );
        for new in old + 1..=40 {
            let wait = prove(&known, leaves.head(new));
            assert_eq!(wait.sizes(), (old, new));
            assert_eq!(
                wait.proven(&leaves.consistency(old, new)),
                Ok(state(leaves.head(new)))
            );
        }
    }
}

#[test]
fn the_persisted_state_round_trips() {
    let known = state(Leaves::new(3).head(3));
    let json = serde_json::to_string(&known).unwrap();
    assert_eq!(serde_json::from_str::<LogState>(&json).unwrap(), known);
    assert!(serde_json::from_str::<LogState>(&json.replace(ORIGIN, "two\\nlines")).is_err());
    assert!(serde_json::from_str::<LogState>(&json.replace("\"size\"", "\"length\"")).is_err());
}

#[test]
fn equivocation_is_refused() {
    let head = Leaves::new(9).head(9);
    let fork = TreeHead {
        root: flip(&head.root, 0),
        ..head
    };
    let refused = follow(Some(&state(head)), &verified(fork)).unwrap_err();
    assert!(
        matches!(&refused, FollowError::Equivocation { size: 9, expected, found, .. } if *expected == head.root && *found == fork.root)
    );
    let text = refused.to_string();
    assert!(
        text.contains(&head.root.to_hex())
            && text.contains(&fork.root.to_hex())
            && text.contains("report them"),
        "{text}"
    );
}

#[test]
fn a_fork_that_grew_is_refused() {
    let (honest, mut forked) = (Leaves::new(9), Leaves::new(20));
    forked.0[3] = flip(&forked.0[3], 0);
    let wait = prove(&state(honest.head(9)), forked.head(20));
    let refused = wait.proven(&forked.consistency(9, 20));
    assert!(matches!(refused, Err(FollowError::Inconsistent { .. })));
}

#[test]
fn growth_without_a_proof_is_refused() {
    let leaves = Leaves::new(20);
    let wait = prove(&state(leaves.head(9)), leaves.head(20));
    assert!(matches!(
        wait.clone().proven(&[]),
        Err(FollowError::Inconsistent { .. })
    ));
    assert!(matches!(
        wait.unproven(),
        FollowError::NoProof { old: 9, new: 20, .. }
    ));
}

#[test]
fn rollback_is_refused() {
    let leaves = Leaves::new(20);
    let wait = prove(&state(leaves.head(20)), leaves.head(9));
    assert!(matches!(
        wait.clone().unproven(),
        FollowError::Rollback {
            expected: 20,
            found: 9,
            ..
        }
    ));
    assert!(matches!(wait.proven(&[]), Err(FollowError::Inconsistent { .. })));
    // An older fork cannot be a part of the known log, whatever proof comes with it.
    let fork = TreeHead {
        root: flip(&leaves.head(9).root, 0),
        size: 9,
    };
    let wait = prove(&state(leaves.head(20)), fork);
    assert!(matches!(
        wait.proven(&leaves.consistency(9, 20)),
        Err(FollowError::Inconsistent { .. })
    ));
}

#[test]
fn an_older_part_of_the_known_log_is_evidence_and_lowers_nothing() {
    let leaves = Leaves::new(20);
    let wait = prove(&state(leaves.head(20)), leaves.head(9));
    assert_eq!(wait.sizes(), (9, 20));
    assert_eq!(
        wait.proven(&leaves.consistency(9, 20)),
        Ok(state(leaves.head(20)))
    );
}

#[test]
fn another_log_is_refused() {
    let head = Leaves::new(9).head(9);
    let other = Pair::log("example.com/other", 4);
    let theirs = LogPolicy::new(other.key.clone(), None)
        .unwrap()
        .verify(&checkpoint_of(&other, head))
        .unwrap();
    assert!(matches!(
        follow(Some(&state(head)), &theirs),
        Err(FollowError::OtherLog { .. })
    ));
}

#[test]
fn an_empty_log_with_a_root_of_its_own_is_refused() {
    let forged = TreeHead {
        size: 0,
        ..Leaves::new(1).head(1)
    };
    assert!(matches!(
        follow(None, &verified(forged)),
        Err(FollowError::Equivocation { size: 0, .. })
    ));
    assert!(matches!(
        follow(None, &verified(TreeHead::EMPTY)),
        Ok(Next::Accept(_))
    ));
    let leaves = Leaves::new(3);
    assert_eq!(
        prove(&state(TreeHead::EMPTY), leaves.head(3)).proven(&[]),
        Ok(state(leaves.head(3)))
    );
}
