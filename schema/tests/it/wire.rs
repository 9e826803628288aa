//! Request bodies refuse what they do not know; answers and signed documents may gain fields; problems are RFC 9457.

use assay_schema::api::{CreateNamespace, CreateToken, Publication, Published, StartUpload, UploadInfo};
use assay_schema::delta::AttachDelta;
use assay_schema::problem::{Problem, ProblemKind};
use assay_schema::signers::{SignerIdentity, Signers};
use assay_schema::verdict::{Refusal, StageOutcome, StageReport};
use assay_schema::{Sha256Digest, Stage};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

fn refuses_unknown<T: DeserializeOwned>(mut body: Value) {
    assert!(serde_json::from_value::<T>(body.clone()).is_ok(), "{body}");
    body["surprise"] = json!(1);
    assert!(serde_json::from_value::<T>(body.clone()).is_err(), "{body}");
}

#[test]
fn refuses_unknown_fields_in_request_bodies() {
    let digest = Sha256Digest::EMPTY;
    refuses_unknown::<CreateNamespace>(json!({"root": "", "targets": ""}));
    refuses_unknown::<StartUpload>(json!({"sha256": digest, "size": 1}));
    refuses_unknown::<AttachDelta>(json!({"base": digest, "target": digest, "blob": digest}));
    refuses_unknown::<CreateToken>(json!({"label": "ci", "scope": "publish"}));
    refuses_unknown::<Publication>(json!({"roles": {"targets": {"metadata": "", "parent": digest}}}));
    assert!(
        serde_json::from_value::<Publication>(json!({"roles": {"targets": {"metadata": "", "x": 1}}}))
            .is_err()
    );
    refuses_unknown::<Signers>(json!({"v": 1, "signers": []}));
}

#[test]
fn refuses_duplicate_fields_in_request_bodies() {
    let digest = Sha256Digest::EMPTY;
    let text = format!(r#"{{"sha256":"{digest}","size":1,"size":2}}"#);
    assert!(serde_json::from_str::<StartUpload>(&text).is_err());
}

#[test]
fn answers_may_gain_fields() {
    let digest = Sha256Digest::EMPTY;
    let upload = json!({"sha256": digest, "size": 1, "offset": 0, "complete": false, "later": {}});
    assert!(serde_json::from_value::<UploadInfo>(upload).is_ok());
    assert!(serde_json::from_value::<Published>(json!({"roles": {}, "releases": [], "later": 1})).is_ok());
}

#[test]
fn a_signer_is_one_kind_of_identity() {
    let signer = |identity: Value| serde_json::from_value::<SignerIdentity>(identity);
    assert!(signer(json!({"kind": "key", "spki": "AA=="})).is_ok());
    assert!(signer(json!({"kind": "sigstore", "issuer": "i", "subject": "s"})).is_ok());
    assert!(signer(json!({"kind": "sigstore", "issuer": "i"})).is_err());
    assert!(signer(json!({"kind": "key", "spki": "AA==", "issuer": "i"})).is_err());
    assert!(signer(json!({"kind": "anyone"})).is_err());
}

#[test]
fn every_problem_has_its_own_uri_and_an_error_status() {
    let mut uris: Vec<_> = ProblemKind::ALL.iter().map(|k| k.uri()).collect();
    uris.sort_unstable();
    uris.dedup();
    assert_eq!(uris.len(), ProblemKind::ALL.len());
    for kind in ProblemKind::ALL {
        assert!((400..600).contains(&kind.status()), "{kind:?}");
        let problem = Problem::new(*kind, "detail");
        let value = serde_json::to_value(&problem).unwrap();
        assert_eq!(value["type"], kind.uri());
        assert_eq!(value["status"], kind.status());
        assert_eq!(serde_json::from_value::<Problem>(value).unwrap(), problem);
    }
}

#[test]
fn stages_are_numbered_in_order_and_read_back() {
    for (i, stage) in Stage::ALL.into_iter().enumerate() {
        assert_eq!(usize::from(stage.number()), i + 1);
        assert_eq!(stage.name().parse::<Stage>().unwrap(), stage);
        assert_eq!(serde_json::to_value(stage).unwrap(), stage.name());
    }
    assert!("Content".parse::<Stage>().is_err());
}

#[test]
fn a_stage_report_is_flat_and_reads_back() {
    let report = StageReport {
        stage: Stage::Content,
        outcome: StageOutcome::Refused(Refusal {
            code: "digest-mismatch".into(),
            subject: "chunk 3 of a.bin".into(),
            expected: "x".into(),
            found: "y".into(),
            advice: "Pull again.".into(),
        }),
        evidence: [("chunks".to_owned(), "3".to_owned())].into(),
    };
    let value = serde_json::to_value(&report).unwrap();
    assert_eq!(value["stage"], "content");
    assert_eq!(value["outcome"], "refused");
    assert_eq!(value["code"], "digest-mismatch");
    assert_eq!(serde_json::from_value::<StageReport>(value).unwrap(), report);
}
