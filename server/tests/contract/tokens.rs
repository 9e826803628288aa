//! API tokens.

use assay_schema::api::Scope;
use assay_server::persistence::NewTokenRecord;

use super::Fixture;
use super::samples::{at, name};

fn token(id: &str) -> NewTokenRecord {
    NewTokenRecord {
        id: id.to_owned(),
        label: format!("for {id}"),
        hash: "00".repeat(32),
        scope: Scope::Publish,
        namespace: Some(name("acme")),
        created: at(0),
        expires: Some(at(100)),
    }
}

pub async fn a_revoked_token_is_gone(Fixture { db, .. }: Fixture) {
    assert!(!db.has_tokens().await.unwrap());
    let info = db.add_token(token("a")).await.unwrap();
    let found = db.token("a").await.unwrap().unwrap();
    assert_eq!((found.info.clone(), found.hash), (info, "00".repeat(32)));
    assert_eq!(
        (found.info.scope, found.info.namespace, found.info.expires),
        (Scope::Publish, Some(name("acme")), Some(at(100)))
    );
    assert!(db.revoke_token("a", at(1)).await.unwrap());
    assert!(!db.revoke_token("a", at(2)).await.unwrap());
    assert!(db.token("a").await.unwrap().is_none());
    assert!(db.list_tokens(None, 10).await.unwrap().items.is_empty());
    // A registry whose tokens were all revoked does not print a new admin token at its next start.
    assert!(db.has_tokens().await.unwrap());
}

pub async fn tokens_come_in_pages(Fixture { db, .. }: Fixture) {
    for id in ["c", "a", "b"] {
        db.add_token(token(id)).await.unwrap();
    }
    let first = db.list_tokens(None, 2).await.unwrap();
    assert_eq!(first.next.as_deref(), Some("b"));
    let second = db.list_tokens(Some("b"), 2).await.unwrap();
    let ids: Vec<_> = first
        .items
        .into_iter()
        .chain(second.items)
        .map(|info| info.id)
        .collect();
    assert_eq!(ids, ["a", "b", "c"]);
    assert!(second.next.is_none());
}
