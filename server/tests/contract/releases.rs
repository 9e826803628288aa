//! Candidates, listings, search.

use assay_schema::api::{ReleaseState, Visibility};
use assay_server::persistence::{DatabaseError, Viewer};

use super::Fixture;
use super::samples::{at, blob, candidate, metadata, name, namespace, publication, release, sha256};

pub async fn a_candidate_with_missing_blobs_is_refused(Fixture { db, .. }: Fixture) {
    let acme = namespace(&db, "acme", Visibility::Public).await;
    let other = namespace(&db, "other", Visibility::Public).await;
    let mut new = candidate(&acme, "minilm", "1.0.0", 1);
    let mine = blob(&db, &acme, "mine").await;
    // Another namespace has it, and the digest is known: that grants nothing.
    let theirs = blob(&db, &other, "theirs").await;
    new.references = vec![mine, theirs, mine];
    match db.put_candidate(new.clone()).await {
        Err(DatabaseError::BlobsMissing { missing }) => assert_eq!(missing, [theirs]),
        unexpected => panic!("{unexpected:?}"),
    }
    assert!(
        db.release(&acme, &new.model, &new.version)
            .await
            .unwrap()
            .is_none()
    );
    assert!(
        db.linked_blob(&acme, &new.manifest.sha256)
            .await
            .unwrap()
            .is_none()
    );
    blob(&db, &acme, "theirs").await;
    assert_eq!(
        db.put_candidate(new).await.unwrap().state,
        ReleaseState::Candidate
    );
}

pub async fn the_same_candidate_again_changes_nothing(Fixture { db, .. }: Fixture) {
    let acme = namespace(&db, "acme", Visibility::Public).await;
    let mut new = candidate(&acme, "minilm", "1.0.0", 7);
    // More than one statement may carry.
    new.references = Vec::new();
    for i in 0..20 {
        new.references.push(blob(&db, &acme, &format!("file {i}")).await);
    }
    let first = db.put_candidate(new.clone()).await.unwrap();
    let writes = db.writes().get();
    new.created = at(99);
    assert_eq!(db.put_candidate(new.clone()).await.unwrap(), first);
    assert_eq!(db.writes().get(), writes);
    db.commit_publication(&acme, 1, Vec::new(), &[publication(&new)], at(2))
        .await
        .unwrap();
    let published = db.put_candidate(new.clone()).await.unwrap();
    assert_eq!(
        (published.state, published.published),
        (ReleaseState::Published, Some(at(2)))
    );
    // Published again, as after a lost answer: the first time stays.
    db.commit_publication(&acme, 2, Vec::new(), &[publication(&new)], at(5))
        .await
        .unwrap();
    let again = db
        .release(&acme, &new.model, &new.version)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(again, published);
    assert!(
        db.linked_blob(&acme, &new.manifest.sha256)
            .await
            .unwrap()
            .is_some()
    );
}

pub async fn a_candidate_may_be_replaced_but_a_published_release_never(Fixture { db, .. }: Fixture) {
    let acme = namespace(&db, "acme", Visibility::Public).await;
    let first = candidate(&acme, "minilm", "1.0.0", 1);
    db.put_candidate(first.clone()).await.unwrap();
    let mut second = first.clone();
    second.manifest.sha256 = sha256("second");
    second.size = 7;
    let replaced = db.put_candidate(second.clone()).await.unwrap();
    assert_eq!((replaced.manifest, replaced.size), (sha256("second"), 7));
    db.commit_publication(&acme, 1, Vec::new(), &[publication(&second)], at(2))
        .await
        .unwrap();
    match db.put_candidate(first).await {
        Err(DatabaseError::ReleasePublished { published, .. }) => assert_eq!(published, sha256("second")),
        unexpected => panic!("{unexpected:?}"),
    }
    let kept = db
        .release(&acme, &second.model, &second.version)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        (kept.manifest, kept.state),
        (sha256("second"), ReleaseState::Published)
    );
}

pub async fn a_candidate_that_changed_is_not_published(Fixture { db, .. }: Fixture) {
    let acme = namespace(&db, "acme", Visibility::Public).await;
    let judged = candidate(&acme, "minilm", "1.0.0", 1);
    db.put_candidate(judged.clone()).await.unwrap();
    let mut swapped = judged.clone();
    swapped.manifest.sha256 = sha256("swapped");
    db.put_candidate(swapped).await.unwrap();
    let refused = db
        .commit_publication(
            &acme,
            1,
            vec![metadata("targets", 2)],
            &[publication(&judged)],
            at(2),
        )
        .await;
    assert!(
        matches!(refused, Err(DatabaseError::ReleaseChanged { .. })),
        "{refused:?}"
    );
    assert_eq!(db.namespace(&acme).await.unwrap().unwrap().revision, 1);
}

pub async fn candidates_are_not_shown(Fixture { db, .. }: Fixture) {
    let acme = namespace(&db, "acme", Visibility::Public).await;
    let new = candidate(&acme, "minilm", "2.0.0", 2);
    db.put_candidate(new.clone()).await.unwrap();
    assert!(db.model(&acme, &new.model).await.unwrap().is_none());
    assert!(db.highest_release(&acme, &new.model).await.unwrap().is_none());
    assert!(
        db.search(&Viewer::Everything, "mini", None, 10)
            .await
            .unwrap()
            .items
            .is_empty()
    );
    assert!(db.list_models(&acme, None, 10).await.unwrap().items.is_empty());
    release(&db, &acme, "minilm", "1.0.0", 1).await;
    let info = db.model(&acme, &new.model).await.unwrap().unwrap();
    assert_eq!(
        (info.releases, info.highest.unwrap().to_string()),
        (1, "1.0.0".to_owned())
    );
    let listed = async |candidates| {
        db.list_releases(&acme, &new.model, candidates, None, 10)
            .await
            .unwrap()
            .items
            .len()
    };
    assert_eq!((listed(false).await, listed(true).await), (1, 2));
}

pub async fn pages_neither_skip_nor_repeat(Fixture { db, .. }: Fixture) {
    let acme = namespace(&db, "acme", Visibility::Public).await;
    // Order is not that of the labels.
    for (version, counter) in [
        ("1.0.0", 1),
        ("1.9.0", 9),
        ("1.10.0", 10),
        ("beta", 5),
        ("1.0.0+a", 105),
    ] {
        release(&db, &acme, "minilm", version, counter).await;
    }
    for model in ["a", "b", "zeta"] {
        release(&db, &acme, model, "1", 1).await;
    }
    let minilm = "minilm".parse().unwrap();
    let (mut seen, mut cursor) = (Vec::new(), None::<String>);
    loop {
        let page = db
            .list_releases(&acme, &minilm, false, cursor.as_deref(), 2)
            .await
            .unwrap();
        seen.extend(page.items.into_iter().map(|release| release.version.to_string()));
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(seen, ["1.0.0+a", "1.10.0", "1.9.0", "beta", "1.0.0"]);
    assert_eq!(
        db.highest_release(&acme, &minilm)
            .await
            .unwrap()
            .unwrap()
            .version
            .to_string(),
        "1.0.0+a"
    );
    let (mut models, mut cursor) = (Vec::new(), None::<String>);
    loop {
        let page = db.list_models(&acme, cursor.as_deref(), 3).await.unwrap();
        models.extend(
            page.items
                .into_iter()
                .map(|info| (info.model.to_string(), info.releases)),
        );
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    let expected = [("a", 1), ("b", 1), ("minilm", 5), ("zeta", 1)].map(|(model, n)| (model.to_owned(), n));
    assert_eq!(models, expected);
}

pub async fn a_cursor_that_no_page_gave_is_refused(Fixture { db, .. }: Fixture) {
    let acme = namespace(&db, "acme", Visibility::Public).await;
    for bad in ["", "' OR 1=1 --", "1.2", "0.1.a", "a.b.c", "1.1.../x"] {
        let page = db
            .list_releases(&acme, &"minilm".parse().unwrap(), false, Some(bad), 2)
            .await;
        assert!(matches!(page, Err(DatabaseError::BadCursor { .. })), "{bad}");
    }
    for bad in ["", "../x", "A", "%"] {
        let page = db.list_models(&acme, Some(bad), 2).await;
        assert!(matches!(page, Err(DatabaseError::BadCursor { .. })), "{bad}");
        let page = db.search(&Viewer::Everything, "a", Some(bad), 2).await;
        assert!(matches!(page, Err(DatabaseError::BadCursor { .. })), "{bad}");
    }
}

pub async fn search_finds_parts_of_names_and_no_wildcards(Fixture { db, .. }: Fixture) {
    for (text, visibility) in [
        ("acme", Visibility::Public),
        ("hidden", Visibility::Private),
        ("zeta", Visibility::Public),
    ] {
        let namespace = namespace(&db, text, visibility).await;
        release(&db, &namespace, "mini-lm", "1.0.0", 1).await;
        release(&db, &namespace, "mini_lm", "1.0.0", 1).await;
        release(&db, &namespace, "mini_lm", "2.0.0", 2).await;
    }
    let found = async |viewer: Viewer, text: &str| {
        let page = db.search(&viewer, text, None, 50).await.unwrap();
        page.items
            .into_iter()
            .map(|hit| format!("{}/{}", hit.namespace, hit.model))
            .collect::<Vec<_>>()
    };
    let public = Viewer::Public { and: None };
    assert_eq!(
        found(public.clone(), "I_L").await,
        ["acme/mini_lm", "zeta/mini_lm"]
    );
    assert_eq!(
        found(public.clone(), "acme/mini").await,
        ["acme/mini-lm", "acme/mini_lm"]
    );
    assert!(found(public.clone(), "%").await.is_empty());
    assert!(found(public.clone(), "hidden").await.is_empty());
    assert!(found(public, "!").await.is_empty());
    let own = Viewer::Public {
        and: Some(name("hidden")),
    };
    assert_eq!(found(own, "hidden").await, ["hidden/mini-lm", "hidden/mini_lm"]);
    let first = db.search(&Viewer::Everything, "mini", None, 4).await.unwrap();
    let second = db
        .search(&Viewer::Everything, "mini", first.next.as_deref(), 4)
        .await
        .unwrap();
    assert_eq!((first.items.len(), second.items.len(), second.next), (4, 2, None));
    assert!(first.items.iter().all(|hit| !second.items.contains(hit)));
    let newest = first
        .items
        .iter()
        .find(|hit| hit.model.as_str() == "mini_lm")
        .unwrap();
    assert_eq!(newest.highest.as_ref().unwrap().to_string(), "2.0.0");
}
