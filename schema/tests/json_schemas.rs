//! The JSON Schemas under `schema/json` are those of the code. `ASSAY_BLESS=1` writes them anew.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods
)]

use std::collections::BTreeSet;
use std::path::Path;

use assay_schema::api::{
    CreateNamespace, CreateToken, LogInfo, ModelInfo, NamespaceInfo, NewToken, OnlineKeys, Page, Publication,
    Published, ReleaseInfo, SearchHit, StartUpload, TokenInfo, UploadInfo,
};
use assay_schema::bundle::{BundleDifference, LogPart};
use assay_schema::delta::{AttachDelta, DeltaInfo, DeltaList};
use assay_schema::log::LogTrust;
use assay_schema::problem::Problem;
use assay_schema::proposal::{AddSignatures, ProposalDetail, ProposalInfo};
use assay_schema::signers::Signers;
use assay_schema::status::Status;
use assay_schema::{CheckBundle, ReleaseManifest, TrustPolicy, Verdict};
use schemars::{Schema, schema_for};

fn schemas() -> Vec<(&'static str, Schema)> {
    vec![
        ("release-manifest", schema_for!(ReleaseManifest)),
        ("check-bundle", schema_for!(CheckBundle)),
        ("bundle-difference", schema_for!(BundleDifference)),
        ("verdict", schema_for!(Verdict)),
        ("log", schema_for!(LogTrust)),
        ("log-info", schema_for!(LogInfo)),
        ("log-part", schema_for!(LogPart)),
        ("signers", schema_for!(Signers)),
        ("status", schema_for!(Status)),
        ("trust-policy", schema_for!(TrustPolicy)),
        ("problem", schema_for!(Problem)),
        ("online-keys", schema_for!(OnlineKeys)),
        ("create-namespace", schema_for!(CreateNamespace)),
        ("namespace-info", schema_for!(NamespaceInfo)),
        ("namespace-page", schema_for!(Page<NamespaceInfo>)),
        ("model-info", schema_for!(ModelInfo)),
        ("model-page", schema_for!(Page<ModelInfo>)),
        ("release-info", schema_for!(ReleaseInfo)),
        ("release-page", schema_for!(Page<ReleaseInfo>)),
        ("search-page", schema_for!(Page<SearchHit>)),
        ("publication", schema_for!(Publication)),
        ("published", schema_for!(Published)),
        ("proposal-detail", schema_for!(ProposalDetail)),
        ("proposal-page", schema_for!(Page<ProposalInfo>)),
        ("add-signatures", schema_for!(AddSignatures)),
        ("attach-delta", schema_for!(AttachDelta)),
        ("delta-info", schema_for!(DeltaInfo)),
        ("delta-list", schema_for!(DeltaList)),
        ("start-upload", schema_for!(StartUpload)),
        ("upload-info", schema_for!(UploadInfo)),
        ("create-token", schema_for!(CreateToken)),
        ("token-info", schema_for!(TokenInfo)),
        ("new-token", schema_for!(NewToken)),
    ]
}

#[test]
fn json_schemas_are_those_of_the_code() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("json");
    let bless = std::env::var_os("ASSAY_BLESS").is_some();
    let mut expected = BTreeSet::new();
    for (name, schema) in schemas() {
        let file = format!("{name}.json");
        let text = format!("{}\n", serde_json::to_string_pretty(&schema).unwrap());
        if bless {
            std::fs::write(folder.join(&file), &text).unwrap();
        }
        let found = std::fs::read_to_string(folder.join(&file)).unwrap_or_default();
        assert_eq!(
            found, text,
            "schema/json/{file} is not what the code says; `make bless` writes it anew"
        );
        expected.insert(file);
    }
    let found: BTreeSet<_> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(
        found, expected,
        "schema/json holds files that no type stands behind"
    );
}
