//! Role names and target paths.

use assay_schema::tuf::{ModelRole, consistent_target, metadata_file};
use assay_schema::{ReleaseOrder, Sha256Digest};
use proptest::prelude::*;

#[test]
fn a_release_has_one_role_and_one_path() {
    let role = ModelRole::of(&"mini.lm".parse().unwrap(), ReleaseOrder::new(3, 250).unwrap());
    assert_eq!(role.name(), "model.mini.lm.2");
    assert_eq!(role.pattern(), "models/mini.lm/2/*");
    assert_eq!(
        role.manifest_path(&"1.0".parse().unwrap()),
        "models/mini.lm/2/1.0.json"
    );
    assert_eq!(metadata_file(&role.name(), 7), "7.model.mini.lm.2.json");
    let digest = Sha256Digest::EMPTY;
    assert_eq!(
        consistent_target("a/b/c.json", &digest),
        format!("a/b/{digest}.c.json")
    );
    assert_eq!(consistent_target("c.json", &digest), format!("{digest}.c.json"));
}

#[test]
fn refuses_second_spellings_of_a_role() {
    for name in [
        "model.a.00",
        "model.a.+1",
        "model.a.",
        "model..1",
        "model.a",
        "Model.a.1",
        "model.A.1",
        "model.a.1 ",
        "targets",
        "model.../x.1",
        "model.a.-1",
    ] {
        assert_eq!(ModelRole::parse(name), None, "{name}");
    }
}

proptest! {
    #[test]
    fn role_names_read_back(model in "[a-z0-9]([a-z0-9._-]{0,8}[a-z0-9])?", block in any::<u64>()) {
        if let Ok(model) = model.parse() {
            let role = ModelRole { model, block };
            prop_assert_eq!(ModelRole::parse(&role.name()), Some(role));
        }
    }
}
