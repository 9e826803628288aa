//! Targets metadata: what roles list, and what is delegated to them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod common;

use assay_authority::metadata::Delegation;
use assay_authority::{MetadataError, RoleKeys, Target, Targets};
use assay_schema::limits::MAX_INTEGER;
use assay_schema::tuf::{DelegationTerms, ModelRole};
use common::{Keys, digest, key, now, one, role, root};
use serde_json::json;

fn release(byte: u8, counter: u64) -> Target {
    let mut target = Target {
        length: 7,
        sha256: digest(byte),
        note: Default::default(),
    };
    target.note.order = Some(assay_schema::ReleaseOrder::new(1, counter).unwrap());
    target
}

#[test]
fn a_published_release_never_changes() {
    let mut targets = Targets::model_role(&role(), digest(1), now()).unwrap();
    let path = "models/minilm/0/1.0.0.json";
    targets.set_target(path, &release(1, 1)).unwrap();
    targets.set_target(path, &release(1, 1)).unwrap();
    for changed in [release(2, 1), release(1, 2)] {
        let result = targets.set_target(path, &changed);
        assert!(
            matches!(result, Err(MetadataError::ReleaseChanged { .. })),
            "{result:?}"
        );
    }
    assert_eq!(targets.target(path).unwrap(), Some(release(1, 1)));
    assert_eq!(targets.targets().unwrap().len(), 1);
}

#[test]
fn a_role_lists_only_its_own_paths() {
    let mut model = Targets::model_role(&role(), digest(1), now()).unwrap();
    for path in [
        "models/minilm/1/1.0.0.json",
        "models/other/0/1.0.0.json",
        "models/minilm/0/a/b.json",
        "models/minilm/0/",
        "trust/signers.json",
    ] {
        assert!(
            matches!(
                model.set_target(path, &release(1, 1)),
                Err(MetadataError::NotItsPath { .. })
            ),
            "{path}"
        );
    }
    let mut top = Targets::top_level(digest(1), now()).unwrap();
    let result = top.set_target("models/minilm/0/1.0.0.json", &release(1, 1));
    assert!(matches!(result, Err(MetadataError::NotItsPath { .. })));
}

#[test]
fn inline_bytes_of_something_else_are_refused() {
    let mut top = Targets::top_level(digest(1), now()).unwrap();
    let mut target = Target::of(b"{}");
    target.note.inline = Some("[]".to_owned());
    assert!(matches!(
        top.set_target("trust/a.json", &target),
        Err(MetadataError::Field { .. })
    ));
}

#[test]
fn a_delegation_says_what_the_role_may_and_no_more() {
    let keys = Keys::new();
    let publisher = key();
    let delegation = Delegation {
        keys: one(&publisher),
        terms: DelegationTerms { max_epoch: 3 },
    };
    let mut top = Targets::top_level(digest(1), now()).unwrap();
    assert_eq!(top.delegation(&role()).unwrap(), None);
    top.delegate(&role(), &delegation, &root(&keys)).unwrap();
    assert_eq!(top.delegation(&role()).unwrap(), Some(delegation.clone()));
    assert_eq!(
        top.signed_value()["delegations"]["roles"],
        json!([{
            "name": "model.minilm.0",
            "keyids": [publisher.key_id().unwrap()],
            "threshold": 1,
            "terminating": true,
            "paths": ["models/minilm/0/*"],
            "x-assay": {"max_epoch": 3},
        }])
    );
    let next = ModelRole { block: 1, ..role() };
    top.delegate(&next, &delegation, &root(&keys)).unwrap();
    let other = key();
    top.delegate(
        &role(),
        &Delegation {
            keys: one(&other),
            ..delegation.clone()
        },
        &root(&keys),
    )
    .unwrap();
    top.delegate(
        &next,
        &Delegation {
            keys: one(&other),
            ..delegation
        },
        &root(&keys),
    )
    .unwrap();
    let delegations = &top.signed_value()["delegations"];
    assert_eq!(delegations["roles"].as_array().unwrap().len(), 2);
    assert_eq!(delegations["roles"][0]["name"], "model.minilm.0");
    assert_eq!(
        delegations["keys"]
            .as_object()
            .unwrap()
            .keys()
            .collect::<Vec<_>>(),
        [&other.key_id().unwrap()]
    );
}

#[test]
fn a_bad_delegation_is_refused() {
    let keys = Keys::new();
    let mut top = Targets::top_level(digest(1), now()).unwrap();
    let terms = DelegationTerms { max_epoch: 1 };
    for top_level in [&keys.root[0], &keys.targets[1], &keys.snapshot] {
        let result = top.delegate(
            &role(),
            &Delegation {
                keys: one(top_level),
                terms,
            },
            &root(&keys),
        );
        assert!(
            matches!(result, Err(MetadataError::KeyInTwoRoles { .. })),
            "{result:?}"
        );
    }
    let none = RoleKeys {
        keys: Vec::new(),
        threshold: 1,
    };
    let result = top.delegate(&role(), &Delegation { keys: none, terms }, &root(&keys));
    assert!(matches!(result, Err(MetadataError::Threshold { .. })));
    let fresh = one(&key());
    for max_epoch in [0, MAX_INTEGER + 1] {
        let delegation = Delegation {
            keys: fresh.clone(),
            terms: DelegationTerms { max_epoch },
        };
        assert!(matches!(
            top.delegate(&role(), &delegation, &root(&keys)),
            Err(MetadataError::Field { .. })
        ));
    }
    let mut model = Targets::model_role(&role(), digest(1), now()).unwrap();
    let delegation = Delegation { keys: fresh, terms };
    assert!(matches!(
        model.delegate(&role(), &delegation, &root(&keys)),
        Err(MetadataError::Field { .. })
    ));
}
