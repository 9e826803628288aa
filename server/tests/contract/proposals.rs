//! Proposals: rows of signatures, and the limit of what a namespace keeps.

use assay_schema::Sha256Digest;
use assay_schema::api::Visibility;
use assay_schema::proposal::RoleSignature;
use assay_server::persistence::{AddedProposal, Database, ProposalRecord, ProposalSignature};
use jiff::{SignedDuration, Timestamp};

use super::Fixture;
use super::samples::{at, name, namespace, sha256};

fn now() -> Timestamp {
    at(0)
}

fn digest(n: u8) -> Sha256Digest {
    sha256(&n.to_string())
}

fn record(n: u8, updated: Timestamp) -> ProposalRecord {
    ProposalRecord {
        namespace: name("acme"),
        id: digest(n),
        publication: vec![n, 0, 255],
        created: updated,
        updated,
    }
}

fn signature(role: &str, key: u8, sig: &str) -> ProposalSignature {
    ProposalSignature {
        role: role.to_owned(),
        signature: RoleSignature {
            keyid: digest(key).to_hex(),
            sig: sig.to_owned(),
        },
    }
}

async fn signatures(db: &Database, n: u8) -> Vec<ProposalSignature> {
    db.proposal(&name("acme"), &digest(n)).await.unwrap().unwrap().1
}

pub async fn signatures_of_a_proposal_add_up_and_the_first_of_a_key_stays(fixture: Fixture) {
    let db = fixture.db;
    namespace(&db, "acme", Visibility::Public).await;
    let (first, second) = (signature("root", 1, "aa"), signature("root", 2, "bb"));
    let add = |signatures| db.add_proposal(record(1, now()), signatures, 9);
    assert_eq!(add(vec![first.clone()]).await.unwrap(), AddedProposal::New);
    let again = add(vec![signature("root", 1, "cc"), second.clone()])
        .await
        .unwrap();
    assert_eq!(again, AddedProposal::Known);
    assert_eq!(signatures(&db, 1).await, [first.clone(), second.clone()]);

    let later = now() + SignedDuration::from_hours(1);
    let third = signature("targets", 1, "dd");
    let added = |n, sent| {
        let db = &db;
        async move {
            db.add_proposal_signatures(&name("acme"), &digest(n), sent, later)
                .await
                .unwrap()
        }
    };
    assert!(added(1, vec![first.clone(), third.clone()]).await);
    assert_eq!(signatures(&db, 1).await, [first, second, third.clone()]);
    let (kept, _) = db.proposal(&name("acme"), &digest(1)).await.unwrap().unwrap();
    assert_eq!(
        (kept.publication, kept.created, kept.updated),
        (vec![1, 0, 255], now(), later)
    );
    assert!(!added(2, vec![third]).await);
    assert!(db.proposal(&name("acme"), &digest(2)).await.unwrap().is_none());
}

pub async fn signers_at_once_lose_no_signature(fixture: Fixture) {
    let (db, other) = (fixture.db, Database::connect(&fixture.url).await.unwrap());
    namespace(&db, "acme", Visibility::Public).await;
    db.add_proposal(record(1, now()), Vec::new(), 9).await.unwrap();
    let signers = (0..12_u8).map(|key| {
        let db = if key % 2 == 0 { &db } else { &other };
        async move {
            let sent = vec![signature("root", key, "aa")];
            db.add_proposal_signatures(&name("acme"), &digest(1), sent, now())
                .await
                .unwrap()
        }
    });
    assert!(
        futures_util::future::join_all(signers)
            .await
            .iter()
            .all(|added| *added)
    );
    assert_eq!(signatures(&db, 1).await.len(), 12);
}

pub async fn a_namespace_keeps_so_many_proposals_and_no_more(fixture: Fixture) {
    let (db, other) = (fixture.db, Database::connect(&fixture.url).await.unwrap());
    namespace(&db, "acme", Visibility::Public).await;
    let made = (0..8_u8).map(|n| {
        let db = if n % 2 == 0 { &db } else { &other };
        db.add_proposal(record(n, now()), vec![signature("root", 1, "aa")], 3)
    });
    let made = futures_util::future::join_all(made).await;
    let new = made
        .iter()
        .filter(|added| matches!(added, Ok(AddedProposal::New)))
        .count();
    assert_eq!(new, 3, "{made:?}");
    let ids = db.proposal_ids(&name("acme"), None, 9).await.unwrap();
    assert_eq!(ids.len(), 3);
    assert_eq!(
        db.proposal_ids(&name("acme"), Some(&ids[0]), 1).await.unwrap(),
        ids[1..2]
    );

    let idle = |before| db.namespaces_with_idle_proposals(before, None, 9);
    assert!(idle(now()).await.unwrap().is_empty());
    let later = now() + SignedDuration::from_secs(1);
    assert_eq!(idle(later).await.unwrap(), [name("acme")]);
    namespace(&db, "beta", Visibility::Public).await;
    let of_beta = ProposalRecord {
        namespace: name("beta"),
        ..record(1, now())
    };
    db.add_proposal(of_beta, Vec::new(), 3).await.unwrap();
    let (acme, beta) = (name("acme"), name("beta"));
    let after = |name| db.namespaces_with_idle_proposals(later, name, 1);
    assert_eq!(after(None).await.unwrap(), [name("acme")]);
    assert_eq!(after(Some(&acme)).await.unwrap(), [name("beta")]);
    assert!(after(Some(&beta)).await.unwrap().is_empty());
    db.remove_proposal(&name("beta"), &digest(1), None).await.unwrap();

    let kept = ids.clone();
    // Signed since it was looked at: it stays, with its signatures.
    let sent = vec![signature("root", 2, "bb")];
    db.add_proposal_signatures(&name("acme"), &ids[0], sent, later)
        .await
        .unwrap();
    let removed = db.remove_proposal(&name("acme"), &ids[0], Some(now())).await;
    assert!(!removed.unwrap());
    let (_, signed) = db.proposal(&name("acme"), &ids[0]).await.unwrap().unwrap();
    assert_eq!(signed.len(), 2);
    for id in &kept {
        assert!(db.remove_proposal(&name("acme"), id, None).await.unwrap());
        assert!(!db.remove_proposal(&name("acme"), id, None).await.unwrap());
    }
    let late = later + SignedDuration::from_secs(1);
    assert!(idle(late).await.unwrap().is_empty());
    // Nothing of the signatures of the one that had the name is left.
    db.add_proposal(record(1, now()), Vec::new(), 3).await.unwrap();
    assert!(signatures(&db, 1).await.is_empty());
}
