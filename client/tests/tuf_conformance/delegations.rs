//! The search through delegations.

use serde_json::json;

use crate::repository::{Repository, key, sha256};

/// Delegator, role, terminating, pattern.
type Edge = (&'static str, &'static str, bool, &'static str);

fn build(edges: &[Edge]) -> Repository {
    let mut repository = Repository::new();
    for (delegator, role, terminating, pattern) in edges {
        repository.delegate(
            delegator,
            role,
            json!({"terminating": terminating, "paths": [pattern]}),
        );
    }
    repository
}

fn publish_all(repository: &mut Repository) {
    let roles: Vec<String> = repository.documents.keys().cloned().collect();
    for role in roles {
        if !["root", "snapshot", "timestamp"].contains(&role.as_str()) {
            repository.publish(&[&role]);
        }
    }
    repository.publish(&["snapshot", "timestamp"]);
}

/// The delegated roles that were asked for, in order.
fn visited(repository: &Repository) -> String {
    let asked = repository.asked();
    let roles = asked
        .iter()
        .filter_map(|f| f.strip_prefix("1.")?.strip_suffix(".json"));
    roles.filter(|role| role.len() == 1).collect()
}

#[test]
fn roles_are_searched_depth_first_in_the_order_of_their_delegators() {
    let cases: [(&[Edge], &str); 12] = [
        (&[("targets", "A", false, "*")], "A"),
        (
            &[("targets", "A", false, "*"), ("targets", "B", false, "*")],
            "AB",
        ),
        (
            &[
                ("targets", "A", false, "*"),
                ("targets", "B", false, "*"),
                ("B", "C", false, "*"),
            ],
            "ABC",
        ),
        (
            &[
                ("targets", "A", false, "*"),
                ("targets", "B", false, "*"),
                ("A", "C", false, "*"),
                ("A", "D", false, "*"),
            ],
            "ACDB",
        ),
        (
            &[
                ("targets", "A", false, "*"),
                ("targets", "B", false, "*"),
                ("A", "C", false, "*"),
                ("C", "D", false, "*"),
            ],
            "ACDB",
        ),
        (
            &[
                ("targets", "A", false, "*"),
                ("targets", "B", false, "*"),
                ("A", "C", true, "*"),
                ("A", "D", false, "*"),
            ],
            "AC",
        ),
        (
            &[
                ("targets", "A", false, "*"),
                ("targets", "B", false, "*"),
                ("A", "C", true, "*"),
                ("C", "D", false, "*"),
            ],
            "ACD",
        ),
        (
            &[
                ("targets", "A", false, "*.py"),
                ("targets", "B", false, "*"),
                ("A", "C", false, "*"),
            ],
            "B",
        ),
        (
            &[
                ("targets", "A", false, "*"),
                ("targets", "B", false, "*"),
                ("A", "C", false, "*.py"),
                ("C", "D", false, "*"),
            ],
            "AB",
        ),
        (
            &[
                ("targets", "A", false, "*"),
                ("targets", "B", false, "*"),
                ("B", "C", false, "*"),
                ("C", "D", false, "*"),
                ("D", "B", false, "*"),
            ],
            "ABCD",
        ),
        (
            &[
                ("targets", "A", false, "*"),
                ("targets", "B", false, "*"),
                ("B", "C", false, "*"),
                ("A", "C", false, "*"),
            ],
            "ACB",
        ),
        (
            &[
                ("targets", "A", false, "*"),
                ("targets", "B", false, "*"),
                ("B", "C", false, "*"),
                ("A", "C", false, "*.py"),
            ],
            "ABC",
        ),
    ];
    for (edges, order) in cases {
        let mut repository = build(edges);
        publish_all(&mut repository);
        repository.download(&["missing"]).unwrap_err();
        assert_eq!(visited(&repository), order, "{edges:?}");
        // The second time all of them are kept.
        repository.download(&["missing"]).unwrap_err();
        assert_eq!(visited(&repository), "", "{edges:?}");
    }
}

#[test]
fn a_pattern_does_not_cross_folders_and_every_delegator_must_match() {
    for (path, order) in [
        ("plain", Some("")),
        ("README.md", Some("A")),
        ("releases/x/x_v1", Some("BC")),
        ("releases/y/y_v1.zip", Some("BD")),
        ("releases/z/z_v1.zip", None),
        ("docs/README.md", None),
    ] {
        let mut repository = build(&[
            ("targets", "A", false, "*.md"),
            ("targets", "B", false, "releases/*/*"),
            ("B", "C", false, "releases/x/*"),
            ("B", "D", false, "releases/y/*.zip"),
        ]);
        for (role, path) in [
            ("targets", "plain"),
            ("A", "README.md"),
            ("A", "docs/README.md"),
            ("C", "releases/x/x_v1"),
            ("D", "releases/y/y_v1.zip"),
            ("D", "releases/z/z_v1.zip"),
        ] {
            repository.add_target(role, path, path.as_bytes());
        }
        publish_all(&mut repository);
        assert_eq!(repository.download(&[path]).is_ok(), order.is_some(), "{path}");
        if let Some(order) = order {
            assert_eq!(visited(&repository), order, "{path}");
            assert_eq!(repository.downloaded(), [path.as_bytes()]);
        }
    }
}

#[test]
fn hash_prefixes_choose_the_role() {
    let path = "some/file";
    let first = &sha256(path.as_bytes())[..1];
    let others: Vec<String> = (0..16).map(|n| format!("{n:x}")).filter(|n| n != first).collect();
    let mut repository = Repository::new();
    repository.delegate("targets", "A", json!({"path_hash_prefixes": others}));
    repository.delegate("targets", "B", json!({"path_hash_prefixes": [first]}));
    repository.add_target("A", path, b"from A");
    repository.add_target("B", path, b"from B");
    publish_all(&mut repository);
    repository.download(&[path]).unwrap();
    assert_eq!(repository.downloaded(), [b"from B"]);
}

#[test]
fn a_role_is_judged_by_the_keys_of_the_delegator_that_led_to_it() {
    let mut repository = build(&[
        ("targets", "A", true, "a/*"),
        ("targets", "B", true, "b/*"),
        ("A", "C", false, "a/*"),
    ]);
    repository.delegate_to("B", "C", json!({"paths": ["b/*"]}), &key());
    repository.add_target("C", "a/one", b"one");
    repository.add_target("C", "b/two", b"two");
    publish_all(&mut repository);
    // In one run, and in a run that finds C kept.
    repository.download(&["a/one", "b/two"]).unwrap_err();
    repository.download(&["b/two"]).unwrap_err();
    assert_eq!(repository.downloaded(), [b"one"]);
}

#[test]
fn a_search_visits_no_more_than_32_delegated_roles() {
    let mut repository = Repository::new();
    let names: Vec<String> = (0..33).map(|n| format!("role{n}")).collect();
    let mut delegator = "targets".to_owned();
    for name in &names {
        repository.delegate(&delegator, name, json!({"paths": ["*"]}));
        delegator.clone_from(name);
    }
    repository.add_target("role31", "within", b"within");
    repository.add_target("role32", "beyond", b"beyond");
    publish_all(&mut repository);
    repository.download(&["within"]).unwrap();
    let error = repository.download(&["beyond"]).unwrap_err();
    assert!(error.contains("at most 32"), "{error}");
}

#[test]
fn unusual_names_of_roles_stay_in_their_place() {
    for (role, encoded) in [
        ("?", "%3F"),
        ("#", "%23"),
        ("/delegatedrole", "%2Fdelegatedrole"),
        ("../delegatedrole", "..%2Fdelegatedrole"),
        ("..", ".."),
        ("%2F", "%252F"),
        ("1.root", "1.root"),
    ] {
        let mut repository = Repository::new();
        repository.delegate("targets", role, json!({"paths": ["*"]}));
        publish_all(&mut repository);
        repository.download(&["missing"]).unwrap_err();
        assert_eq!(repository.asked().last().unwrap(), &format!("1.{encoded}.json"));
        assert!(repository.trusted_path(encoded).exists(), "{role}");
        assert_eq!(repository.trusted_roles(), 5, "{role}");
    }
}

#[test]
fn a_role_that_the_snapshot_hides_is_not_skipped() {
    let mut repository = build(&[("targets", "A", false, "*"), ("targets", "B", false, "*")]);
    repository.add_target("B", "file", b"by the wrong role");
    publish_all(&mut repository);
    repository.edit("snapshot")["meta"]
        .as_object_mut()
        .unwrap()
        .remove("A.json");
    repository.publish(&["snapshot", "timestamp"]);
    repository.download(&["file"]).unwrap_err();
    assert_eq!(repository.downloaded().len(), 0);
}

#[test]
fn ambiguous_delegations_are_refused() {
    let paths = json!({"paths": ["*"]});
    for (name, rest) in [
        ("snapshot", paths.clone()),
        ("twice", paths.clone()),
        ("both", json!({"paths": ["*"], "path_hash_prefixes": ["0"]})),
        ("neither", json!({})),
        ("none", json!({"paths": ["*"], "threshold": 0})),
    ] {
        let mut repository = Repository::new();
        repository.delegate_to("targets", name, rest, &key());
        if name == "twice" {
            repository.delegate_to("targets", name, paths.clone(), &key());
        }
        repository.publish(&["targets", "snapshot", "timestamp"]);
        repository.refresh().unwrap_err();
        assert_eq!(repository.versions()[3], 0, "{name}");
    }
}
